//! What the terminal view and the plain lines have in common: each SLO's reading, and the numbers in words.

use crate::engine::notification::HeldBack;
use crate::engine::rule::{Limit, Stage};
use crate::engine::slo::Sight;
use crate::engine::time::Duration;
use crate::engine::view::{RuleView, SloView};

use super::script::Incident;
use super::simulation::LAYERS;
use super::story::Scene;

pub const SETTING: &str = "slowburn demo: a checkout through five simulated layers, 400 requests/s";
pub const SCALE: &str = "Scaled down: windows of 10m, 1h, 6h last 10s, 1m, 6m; a 30d error budget, 1h.";
pub const LEGEND: [&str; 3] = [
    "Objective: 99% of requests within their layer's budget; 1% is the error budget.",
    "Burn rate: 1x uses up the error budget in its period; 14.4x/10s or 6x/6m pages.",
    "Stage: warning at 80% of a rule's limit, critical at 100%, if twice in a row.",
];

/// One SLO on one line.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<'a> {
    /// The layer, or the journey.
    pub name: &'a str,
    pub budget_ms: f64,
    pub p95_ms: Option<f64>,
    /// Share of the error budget that is left; negative once overspent.
    pub left: f64,
    /// Window and burn rate: the long and the short window of the rule that is shown.
    pub burns: Vec<(Duration, f64)>,
    pub stage: Option<Stage>,
    /// `CRITICAL spike`.
    pub verdict: String,
}

/// The readings of all layers, then those of the journey as a whole.
pub fn readings<'a>(scene: &'a Scene<'_>) -> Vec<Reading<'a>> {
    let (mut layers, mut journeys) = (Vec::new(), Vec::new());
    for (slo, p95_ms) in scene.view.slos.iter().zip(&scene.p95_ms) {
        let list = if slo.layer.is_some() { &mut layers } else { &mut journeys };
        list.push(reading(slo, *p95_ms));
    }
    layers.append(&mut journeys);
    layers
}

fn reading(slo: &SloView, p95_ms: Option<f64>) -> Reading<'_> {
    let worst = slo.rules.iter().reduce(|worst, rule| if rank(rule) > rank(worst) { rule } else { worst });
    let burning = slo.rules.iter().filter(|rule| matches!(rule.limit, Limit::BurnRate { .. }));
    // The first is the quickest: shown while nothing is wrong.
    let burning = burning.reduce(|worst, rule| if rank(rule) > rank(worst) { rule } else { worst });
    Reading {
        name: slo.layer.as_deref().unwrap_or(&slo.journey),
        budget_ms: slo.budget_ms,
        p95_ms,
        left: slo.budget_remaining.unwrap_or(1.0),
        burns: burning.map_or_else(Vec::new, |rule| burns(slo, rule)),
        stage: worst.and_then(|rule| rule.stage),
        verdict: worst.map_or_else(|| "no rules".into(), |rule| verdict(slo, rule)),
    }
}

fn rank(rule: &RuleView) -> (Option<Stage>, bool) {
    (rule.stage, rule.pending > 0)
}

fn burns(slo: &SloView, rule: &RuleView) -> Vec<(Duration, f64)> {
    let windows = [rule.limit.long_window(), rule.limit.short_window()].into_iter().flatten();
    let burn = |window| slo.windows.iter().find(|known| known.window == window)?.burn_rate;
    windows.filter_map(|window| Some((window, burn(window)?))).collect()
}

fn verdict(slo: &SloView, worst: &RuleView) -> String {
    match (slo.sight, worst.stage) {
        (Sight::Ok | Sight::Idle, Some(Stage::Critical)) => format!("CRITICAL {}", worst.rule),
        (Sight::Ok | Sight::Idle, Some(Stage::Warning)) => format!("WARNING {}", worst.rule),
        (Sight::Ok | Sight::Idle, None) if worst.pending > 0 => {
            format!("ok, over {} of {}", worst.pending, worst.consecutive)
        }
        (Sight::Ok | Sight::Idle, None) => "ok".into(),
        (sight, _) => format!("no data: {}", sight.as_str()),
    }
}

/// What is really going on behind the histograms.
pub fn plot(incident: Option<&Incident>, elapsed_ms: i64) -> String {
    let Some(incident) = incident else { return "nothing more happens".into() };
    let layer = LAYERS[incident.layer].name;
    let in_s = |ms: i64| Duration::from_secs((ms - elapsed_ms + 999) / 1000).coarse();
    if incident.begins_ms > elapsed_ms {
        return format!("all is well; the next incident begins in {}", in_s(incident.begins_ms));
    }
    let (kind, percent) = (incident.kind.as_str(), 100.0 * incident.share);
    format!("{kind} of the {layer}: {percent:.0}% of its requests are slow, for {} more", in_s(incident.ends_ms))
}

/// What passed a threshold and was not told.
pub fn held_back(held: &HeldBack) -> String {
    let HeldBack { same_stage, not_consecutive, joined, .. } = held;
    format!("{same_stage} already told, {not_consecutive} not twice in a row, {joined} joined the incident")
}

/// `02:05` since the start.
pub fn clock(elapsed_ms: i64) -> String {
    let s = elapsed_ms.max(0) / 1000;
    format!("{:02}:{:02}", s / 60, s % 60)
}

/// A burn rate in three digits or so.
pub fn factor(burn: f64) -> String {
    if burn < 99.95 { format!("{burn:.1}x") } else { format!("{burn:.0}x") }
}

/// A latency in milliseconds, short enough for a column of seven.
pub fn latency(ms: Option<f64>) -> String {
    match ms {
        None => "-".into(),
        Some(ms) if ms < 9.95 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

/// Whole percents of an error budget, held to what a column can show.
pub fn percent(left: f64) -> String {
    // Adding zero makes a rounded -0 a plain 0.
    format!("{:.0}%", (100.0 * left).clamp(-999.0, 100.0).round() + 0.0)
}
