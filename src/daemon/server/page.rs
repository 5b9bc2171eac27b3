//! The page at `/`: what somebody woken at night looks at first. Plain HTML that needs no script and no other file.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::daemon::silences::in_words;
use crate::daemon::status::{Status, Told};
use crate::engine::Spec;
use crate::engine::alert::AlertRecord;
use crate::engine::notification::HeldBack;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::slo::Sight;
use crate::engine::time::{Duration, Timestamp};
use crate::engine::view::{RuleView, SloView, View, WindowView};

const STYLE: &str = include_str!("page.css");
/// The page asks for itself anew this often, in seconds.
const REFRESH_S: u32 = 15;

pub fn page(status: &Status) -> Markup {
    let view = &status.view;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_S);
                title { (title(status)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "slowburn" } (summary(status)) }
                main {
                    @if !view.incidents.is_empty() { (incidents(view, &status.config.spec, status.now)) }
                    (holds(status))
                    (slos(&view.slos, &status.config.spec))
                    (notifications(&status.notifications, &view.held_back, status.now))
                    (receivers(status))
                }
                footer {
                    "slowburn " (status.version) ", up " (Duration::from_secs(status.uptime_s).coarse())
                    " · " (status.config_file.display()) " · "
                    a href="api/v1/status" { "status" } " · " a href="api/v1/rules" { "rules" } " · " a href="metrics" { "metrics" }
                }
            }
        }
    }
}

fn title(status: &Status) -> String {
    match status.view.incidents.len() {
        0 => "slowburn".into(),
        n => format!("({n}) slowburn"),
    }
}

fn summary(status: &Status) -> Markup {
    let source = &status.view.source;
    html! {
        p {
            @if let Some(why) = &status.not_ready {
                strong.bad { "Not ready: " (why) }
            } @else if source.up {
                span.good { "Source up" }
                @if let Some(at) = status.view.at { ", evaluated at " (moment(at, status.now)) }
            } @else {
                strong.bad { "Source out of sight" } " for " (source.failed_in_a_row) @if source.failed_in_a_row == 1 { " poll" } @else { " polls" }
                @if let Some(at) = source.last_answer { ", last answer at " (moment(at, status.now)) }
            }
            @if let Some(reading) = &status.backfill { ", reading history up to " time { (reading.to) } }
        }
        @if let Some(why) = status.heartbeat.as_ref().and_then(|heartbeat| heartbeat.problem.as_ref()) {
            p.bad { strong { "The heartbeat is not taken: " } (why) }
        }
        @if let Some(error) = &status.last_reload.error {
            p.bad { strong { "The last reload failed: " } (error) }
        }
    }
}

fn incidents(view: &View, spec: &Spec, now: Timestamp) -> Markup {
    let mut incidents: Vec<_> = view.incidents.iter().collect();
    incidents.sort_by_key(|it| (it.stage != Stage::Critical, it.urgency != Urgency::Page, it.opened_at));
    html! {
        section.incidents {
            h2 { "Incidents" }
            @for incident in incidents {
                article class=(incident.stage.as_str()) {
                    h3 { (incident.key) " " small { (incident.stage.as_str()) " " (incident.urgency.as_str()) } }
                    p { "since " (moment(incident.opened_at, now)) @if let Some(why) = &incident.detail { ": " (why) } }
                    ul { @for alert in alerts(view, spec, &incident.key) { li { (alert_line(alert, now)) } } }
                }
            }
        }
    }
}

/// Those that stand of an incident, worst first.
fn alerts<'a>(view: &'a View, spec: &Spec, key: &str) -> Vec<&'a AlertRecord> {
    let mut its: Vec<_> = view.alerts.iter().filter(|alert| spec.incident_of(alert).as_deref() == Some(key)).collect();
    its.sort_by_key(|alert| (alert.stage != Stage::Critical, alert.urgency != Urgency::Page, alert.breached_at));
    its
}

/// Silences that are active or to come, and maintenance windows that are open.
fn holds(status: &Status) -> Markup {
    let (view, now) = (&status.view, status.now);
    let mut silences: Vec<_> = view.silences.iter().filter(|known| !known.silence.is_over(now)).collect();
    // What holds now stands first.
    silences.sort_by_key(|known| (known.silence.starts_at > now, known.silence.ends_at));
    html! {
        @if !silences.is_empty() || !view.maintenance.is_empty() {
            section {
                h2 { "Silences and maintenance" }
                ul {
                    @for known in silences {
                        @let silence = &known.silence;
                        li {
                            strong { (in_words(&silence.matchers)) }
                            @if silence.starts_at > now {
                                " will be silenced from " time { (silence.starts_at) } " until " time { (silence.ends_at) }
                            } @else {
                                " is silenced until " time { (silence.ends_at) } (holding(known.alerts))
                            }
                            br; small { (silence.author) ": " (silence.reason) }
                        }
                    }
                    @for window in &view.maintenance {
                        li {
                            "Maintenance " strong { (window.name) }
                            @if let Some(until) = window.until { " until " time { (until) } }
                            (holding(window.alerts))
                        }
                    }
                }
            }
        }
    }
}

fn holding(alerts: usize) -> Markup {
    html! {
        @match alerts {
            0 => ", nothing that stands is held back",
            1 => { ", " strong.poor { "1 alert" } " is held back" },
            n => { ", " strong.poor { (n) " alerts" } " are held back" },
        }
    }
}

fn alert_line(alert: &AlertRecord, now: Timestamp) -> Markup {
    html! {
        strong { (alert.layer.as_deref().unwrap_or("the whole journey")) } " " (labels(&alert.labels)) " "
        (alert.rule) ", " (alert.stage.as_str()) " " (alert.urgency.as_str()) " since " (moment(alert.breached_at, now))
        ", peak " (usage(alert.peak_usage)) " of its limit"
    }
}

fn slos(slos: &[SloView], spec: &Spec) -> Markup {
    html! {
        section {
            h2 { "Budgets" }
            div.wide {
                table {
                    thead {
                        tr { th { "SLO" } th { "Error budget left" } th { "Burn rate" } th { "p99 / budget" } th { "Rules" } }
                    }
                    tbody { @for slo in slos { (slo_row(slo, spec)) } }
                }
            }
        }
    }
}

fn slo_row(slo: &SloView, spec: &Spec) -> Markup {
    html! {
        tr {
            th scope="row" {
                (slo.journey) @if let Some(layer) = &slo.layer { "/" (layer) } " " (labels(&slo.labels))
                @if !matches!(slo.sight, Sight::Ok | Sight::Idle) {
                    " " span.bad { (slo.sight.as_str()) }
                }
                @if let Some(problem) = &slo.problem { p.bad { (problem) } }
            }
            td data-label="Error budget left" { (budget(slo)) }
            td data-label="Burn rate" { @for window in &slo.windows { (burn(window)) " " } }
            td.number data-label="p99 / budget" {
                @match slo.quantiles_ms { Some([.., p99]) => (short(p99)), None => "–" }
                " / " (short(slo.budget_ms)) " ms"
            }
            td data-label="Rules" { @for rule in &slo.rules { (rule_mark(rule, is_seen(slo, rule, spec))) " " } }
        }
    }
}

/// Whether enough was seen of what a rule looks back over: with less it is not evaluated.
fn is_seen(slo: &SloView, rule: &RuleView, spec: &Spec) -> bool {
    let mut its =
        spec.slos.iter().filter(|it| it.journey == slo.journey && it.layer == slo.layer).flat_map(|it| &it.rules);
    let least = its.find(|it| it.name == rule.rule).map_or(0.0, |it| f64::from(it.min_coverage_ppm) / 1e6);
    let coverage = match rule.limit.short_window() {
        Some(short) => slo.windows.iter().find(|window| window.window == short).map_or(1.0, |window| window.coverage),
        None => slo.coverage,
    };
    coverage >= least
}

/// A bar of what is left of the budget, with its number.
fn budget(slo: &SloView) -> Markup {
    let Some(left) = slo.budget_remaining else { return html! { small { "not seen yet" } } };
    let class = if left <= 0.0 {
        "bad"
    } else if left <= 0.2 {
        "poor"
    } else {
        "good"
    };
    html! {
        meter aria-label="error budget left" min="0" max="1" low="0.2" optimum="1" value=(format!("{:.4}", left.clamp(0.0, 1.0))) {}
        " "
        @if left > 0.0 { span class=(class) { (percent(left)) } " of " (slo.period) }
        @else { span class=(class) { "gone" } ": " (usage(1.0 - left)) " of " (slo.period) "’s used" }
        @if slo.coverage < 0.001 { small { ", under 0.1% of it seen" } }
        @else if slo.coverage < 0.995 { small { ", only " (percent(slo.coverage)) " of it seen" } }
    }
}

fn burn(window: &WindowView) -> Markup {
    let class = if window.burn_rate >= Some(1.0) { "burn hot" } else { "burn" };
    let rate = window.burn_rate.map_or_else(|| "–".into(), short);
    html! { span class=(class) title=(format!("{} seen", percent(window.coverage))) { (window.window) " " b { (rate) } } }
}

/// In words beside the colours, which not everybody can tell apart.
fn rule_mark(rule: &RuleView, is_seen: bool) -> Markup {
    let stage = rule.stage.map_or("quiet", Stage::as_str);
    let share =
        rule.usage.filter(|_| is_seen).map_or_else(|| ": not enough seen".into(), |it| format!(" {}", usage(it)));
    html! {
        span class={ "rule " (stage) } title=(format!("share of its limit in use, {}", rule.urgency.as_str())) {
            (rule.rule) @if rule.stage.is_some() { " " (stage) }
            (share)
        }
    }
}

fn notifications(told: &[Told], held: &HeldBack, now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Last notifications" }
            @if told.is_empty() { p { "None since the start." } } @else {
                div.wide {
                    table {
                        thead { tr { th { "Decided" } th { "Receiver" } th { "Reason" } th { "What" } th { "Outcome" } } }
                        tbody {
                            @for told in told.iter().take(20) {
                                tr {
                                    td data-label="Decided" { (moment(told.at, now)) }
                                    td data-label="Receiver" { (told.receiver) }
                                    td data-label="Reason" { (told.reason.as_str()) }
                                    td data-label="What" { (told.summary) }
                                    td data-label="Outcome" { (told.outcome.as_deref().unwrap_or("under way")) }
                                }
                            }
                        }
                    }
                }
            }
            (held_back(held))
        }
    }
}

/// What passed a threshold and was not told, as far as there is any.
fn held_back(held: &HeldBack) -> Markup {
    let counts = [
        (held.same_stage, "told already"),
        (held.joined, "joined an open incident"),
        (held.not_consecutive, "not often enough in a row"),
        (held.low_traffic, "too few requests"),
        (held.silenced, "silenced"),
        (held.maintenance, "in maintenance"),
        (held.inactive_hours, "out of active hours"),
    ];
    let told: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect();
    html! { @if !told.is_empty() { p { "Not told: " (told.join(", ")) "." } } }
}

fn receivers(status: &Status) -> Markup {
    html! {
        section {
            h2 { "Receivers" }
            ul {
                @for receiver in &status.view.receivers {
                    li {
                        strong { (receiver.name) } ": " (receiver.counts.delivered) " delivered, " (receiver.pending) " waiting"
                        @if receiver.summarised > 0 { ", " (receiver.summarised) " incidents told in summaries" }
                        @if let Some(until) = receiver.held_until.filter(|until| *until > status.now) {
                            ", waiting until " time { (until) } " as it asked to"
                        } @else if receiver.down { ", " span.bad { "down" } }
                        @if receiver.counts.rejected > 0 { ", " span.bad { (receiver.counts.rejected) " refused" } }
                        @if let Some(problem) = &receiver.problem { " – " span.bad { (problem) } }
                    }
                }
            }
            @if !status.view.dead_letters.is_empty() {
                h3 { "Dead letters" @if status.view.dead_letters_total > 0 { " (" (status.view.dead_letters_total) " in all)" } }
                ul {
                    @for letter in status.view.dead_letters.iter().rev() {
                        li { (moment(letter.at, status.now)) " " (letter.receiver) ": " (letter.summary) " – " span.bad { (letter.why) } }
                    }
                }
            }
        }
    }
}

fn labels(labels: &crate::engine::histogram::Labels) -> Markup {
    html! { @for (name, value) in labels { small { (name) "=" (value) } " " } }
}

/// `2026-03-01 12:00:30 UTC (5m ago)`.
fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let text = at.to_string();
    html! {
        time datetime=(at) { (text[..10]) " " (text[11..19]) " UTC" }
        @match now.since(at).coarse() {
            _ if at > now => {},
            age if age < Duration::from_secs(1) => " (now)",
            age => { " (" (age) " ago)" },
        }
    }
}

/// A share of a limit. It knows no bounds, and beyond some nobody compares.
fn usage(share: f64) -> String {
    if share > 100.0 { "over 10000%".to_owned() } else { format!("{:.0}%", 100.0 * share) }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// Three digits of a number.
fn short(n: f64) -> String {
    match n.abs() {
        n_abs if n_abs >= 100.0 => format!("{n:.0}"),
        n_abs if n_abs >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::engine::Engine;
    use crate::engine::incident::IncidentRecord;

    const CONFIG: &str = "
source: {prometheus: {url: 'http://127.0.0.1:9090'}}
receivers: [{name: hook, webhook: {url: 'http://127.0.0.1:9/'}}]
route: {receivers: [hook], group_by: [journey, layer]}
rules:
  - {name: spike, burn_rate: 14.4, long: 10m, short: 1m, urgency: page}
  - {name: budget, budget_consumed: 100%, urgency: ticket}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    rules: [spike, budget]
    layers:
      - {name: edge, budget: 10ms, histogram: d}
      - {name: database, budget: 40ms, histogram: e}
";

    fn engine() -> Engine {
        let texts = [("slowburn.yml".to_owned(), CONFIG.to_owned())].into();
        match config::load_texts("slowburn.yml", &texts, &|_| None) {
            Ok(loaded) => Engine::new(loaded.config.spec.clone()),
            Err(mistakes) => panic!("{}", mistakes.render(false)),
        }
    }

    #[test]
    fn an_incident_lists_its_own_alerts_worst_first() {
        let (engine, at) = (engine(), Timestamp::from_unix_s(1_772_366_400));
        let mut view = engine.view();
        let alert = |layer: &str, rule: &str, stage, urgency| AlertRecord {
            journey: "checkout".into(),
            layer: Some(layer.into()),
            labels: Default::default(),
            rule: rule.into(),
            urgency,
            stage,
            breached_at: at,
            fired_at: at,
            ended_at: None,
            peak_usage: 4000.0,
            evaluations: 1,
        };
        view.alerts = vec![
            alert("database", "budget", Stage::Critical, Urgency::Ticket),
            alert("edge", "spike", Stage::Warning, Urgency::Page),
            alert("database", "spike", Stage::Critical, Urgency::Page),
        ];
        let incident = |layer: &str| IncidentRecord {
            key: format!("checkout{{layer=\"{layer}\"}}"),
            journey: Some("checkout".into()),
            opened_at: at,
            resolved_at: None,
            stage: Stage::Critical,
            urgency: Urgency::Page,
            worst_stage: Stage::Critical,
            worst_urgency: Urgency::Page,
            alerts: 1,
            held: None,
            detail: None,
        };
        view.incidents = vec![IncidentRecord { stage: Stage::Warning, ..incident("edge") }, incident("database")];
        let shown = incidents(&view, engine.spec(), at + Duration::from_minutes(5)).into_string();
        let articles: Vec<Vec<&str>> = shown
            .split("<article")
            .skip(1)
            .map(|article| article.split("<li>").skip(1).map(|line| line.split(" since").next().unwrap()).collect())
            .collect();
        let line = |layer: &str, rest: &str| format!("<strong>{layer}</strong>  {rest}");
        assert_eq!(
            articles[0],
            [line("database", "spike, critical page"), line("database", "budget, critical ticket")]
        );
        assert_eq!(articles[1], [line("edge", "spike, warning page")]);
        assert!(shown.contains("2026-03-01 12:00:00 UTC</time> (5m ago)"), "{shown}");
        assert!(shown.contains("peak over 10000% of its limit"), "{shown}");
    }

    #[test]
    fn what_was_not_seen_is_no_number_and_a_stage_is_a_word() {
        let engine = engine();
        let mut slo = engine.view().slos.remove(0);
        let shown = slo_row(&slo, engine.spec()).into_string();
        for said in ["1m <b>–</b>", "10m <b>–</b>", "spike: not enough seen", "budget: not enough seen", "not seen yet"]
        {
            assert!(shown.contains(said), "{said} in {shown}");
        }
        (slo.coverage, slo.budget_remaining) = (0.05, Some(-59.0));
        slo.windows.iter_mut().for_each(|window| window.coverage = 1.0);
        slo.rules[0].stage = Some(Stage::Critical);
        slo.rules[0].usage = Some(3.0);
        let shown = slo_row(&slo, engine.spec()).into_string();
        for said in [
            "spike critical 300%",
            "budget: not enough seen",
            "gone</span>: 6000% of 30d’s used",
            "only 5.0% of it seen",
        ] {
            assert!(shown.contains(said), "{said} in {shown}");
        }
    }
}
