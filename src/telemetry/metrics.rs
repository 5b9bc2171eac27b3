//! Slowburn's own metrics.
//!
//! All but durations are read off a [`View`] when somebody asks, so that a series ends with the SLO it is about. What was
//! not seen has no value, so it has no series either: `slowburn_slo_sight` says why.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use serde::Serialize;

use crate::engine::rule::Stage;
use crate::engine::slo::Sight;
use crate::engine::time::Timestamp;
use crate::engine::view::{SloView, View};

use super::exposition::Exposition;

/// In seconds: a tick takes about 5 microseconds an SLO.
const EVALUATION_BOUNDS_S: [f64; 9] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
const WRITE_BOUNDS_S: [f64; 8] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0];
const POLL_BOUNDS_S: [f64; 9] = [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

/// What no view knows: how long things took.
#[derive(Debug)]
pub struct Durations {
    evaluation: Histogram,
    poll: Histogram,
    template_failures: Counters,
    state_write: Histogram,
}

/// What else is told beside a view.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub last_reload_successful: bool,
    pub version: &'static str,
    /// `None` without one.
    pub heartbeat: Option<Heartbeat>,
    /// Whether the state file is not as it should be; `None` without one.
    pub state_degraded: Option<bool>,
}

/// How the beats of the dead man's switch went.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Heartbeat {
    pub last_success: Option<Timestamp>,
    pub delivered: u64,
    pub failed: u64,
}

type Labels = Vec<(String, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter>;

impl Default for Durations {
    fn default() -> Self {
        Self {
            evaluation: Histogram::new(EVALUATION_BOUNDS_S),
            poll: Histogram::new(POLL_BOUNDS_S),
            template_failures: Counters::default(),
            state_write: Histogram::new(WRITE_BOUNDS_S),
        }
    }
}

impl Durations {
    pub fn evaluated_in(&self, took_s: f64) {
        self.evaluation.observe(took_s);
    }

    /// A user's template failed for this receiver, and the built-in message was told.
    pub fn template_failed(&self, receiver: &str) {
        self.template_failures.get_or_create(&pairs([("receiver", receiver.to_owned())])).inc();
    }

    pub fn polled_in(&self, took_s: f64) {
        self.poll.observe(took_s);
    }

    pub fn saved_in(&self, took_s: f64) {
        self.state_write.observe(took_s);
    }
}

/// All metrics, in this format.
pub fn render(view: &View, durations: &Durations, facts: Facts, format: Exposition) -> String {
    let mut registry = Registry::with_prefix("slowburn");
    let build = Info::new(vec![("version", facts.version)]);
    registry.register("build", "Which slowburn this is", build);
    slos(&mut registry, &view.slos);
    source(&mut registry, view);
    notifications(&mut registry, view);
    registry.register(
        "evaluation_duration_seconds",
        "Time to take in one poll and evaluate every rule",
        durations.evaluation.clone(),
    );
    registry.register(
        "template_failures",
        "Notifications told in the built-in words because a template failed",
        durations.template_failures.clone(),
    );
    registry.register("poll_duration_seconds", "Time until the source had answered a poll", durations.poll.clone());
    let reload: Gauge = Gauge::default();
    reload.set(i64::from(facts.last_reload_successful));
    registry.register("config_last_reload_successful", "Whether the configuration on disk is the one in force", reload);
    if let Some(degraded) = facts.state_degraded {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::from(degraded));
        let what = "Whether the state file cannot be written, or was damaged: a restart may repeat or forget";
        registry.register("state_degraded", what, gauge);
        registry.register("state_write_seconds", "Time to write to the state file", durations.state_write.clone());
    }
    if let Some(beats) = facts.heartbeat {
        heartbeat(&mut registry, beats);
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    format.write(&text)
}

fn slos(registry: &mut Registry, slos: &[SloView]) {
    let (burn, remaining, coverage) = (Gauges::default(), Gauges::default(), Gauges::default());
    let (stage, sight) = (Gauges::default(), Gauges::default());
    for slo in slos {
        for window in &slo.windows {
            let labels = labels(slo, [("window", window.window.to_string())]);
            if let Some(rate) = window.burn_rate {
                burn.get_or_create(&labels).set(rate);
            }
            coverage.get_or_create(&labels).set(window.coverage);
        }
        if let Some(left) = slo.budget_remaining {
            remaining.get_or_create(&labels(slo, [])).set(left);
        }
        for state in Sight::ALL {
            let is_it = if state == slo.sight { 1.0 } else { 0.0 };
            sight.get_or_create(&labels(slo, [("state", state.as_str().to_owned())])).set(is_it);
        }
        for rule in &slo.rules {
            let value = match rule.stage {
                None => 0.0,
                Some(Stage::Warning) => 1.0,
                Some(Stage::Critical) => 2.0,
            };
            let own = [("rule", rule.rule.clone()), ("urgency", rule.urgency.as_str().to_owned())];
            stage.get_or_create(&labels(slo, own)).set(value);
        }
    }
    registry.register("burn_rate", "How many times faster than allowed the error budget goes", burn);
    registry.register("window_coverage_ratio", "Share of a window that was seen", coverage);
    registry.register(
        "error_budget_remaining_ratio",
        "Share of the period's error budget that is left; negative once overspent",
        remaining,
    );
    registry.register("alert_stage", "Stage of an alert: 0 none, 1 warning, 2 critical", stage);
    registry.register("slo_sight", "What is known of an SLO: 1 for the state it is in, 0 for all others", sight);
}

fn source(registry: &mut Registry, view: &View) {
    let up: Gauge = Gauge::default();
    up.set(i64::from(view.source.up));
    registry.register("source_up", "Whether the source answered the newest poll", up);
    registry.register("missed_evaluations", "Slots without an evaluation", counted(view.missed.slots));
    registry.register("partial_evaluations", "Slots evaluated on an incomplete answer", counted(view.missed.partial));
    let set_back = counted(view.missed.clock_set_back);
    registry.register("clock_set_back", "How often the wall clock was set back and slots came again", set_back);
    registry.register("evaluations", "Evaluations of a rule on an SLO", counted(view.evaluations));
}

fn notifications(registry: &mut Registry, view: &View) {
    let (sent, held_back) = (Counters::default(), Counters::default());
    let (pending, summarised, up) = (Gauges::default(), Gauges::default(), Gauges::default());
    for receiver in &view.receivers {
        let counts = &receiver.counts;
        let outcomes = [
            ("delivered", counts.delivered),
            ("retried", counts.retried),
            ("rejected", counts.rejected),
            ("coalesced", counts.coalesced),
        ];
        for (outcome, n) in outcomes {
            let labels = pairs([("receiver", receiver.name.clone()), ("outcome", outcome.to_owned())]);
            sent.get_or_create(&labels).inc_by(n);
        }
        let labels = pairs([("receiver", receiver.name.clone())]);
        pending.get_or_create(&labels).set(receiver.pending as f64);
        summarised.get_or_create(&labels).set(receiver.summarised as f64);
        up.get_or_create(&labels).set(if receiver.down { 0.0 } else { 1.0 });
    }
    let held = &view.held_back;
    let reasons = [
        ("not_consecutive", held.not_consecutive),
        ("same_stage", held.same_stage),
        ("joined", held.joined),
        ("silenced", held.silenced),
        ("maintenance", held.maintenance),
        ("inactive_hours", held.inactive_hours),
        ("low_traffic", held.low_traffic),
        ("flapping", held.flapping),
    ];
    for (reason, n) in reasons {
        held_back.get_or_create(&pairs([("reason", reason.to_owned())])).inc_by(n);
    }
    let brief = Counters::default();
    for (kind, n) in [("page", held.brief_pages), ("ticket", held.brief_tickets)] {
        brief.get_or_create(&pairs([("kind", kind.to_owned())])).inc_by(n);
    }
    // Not among the reasons: their evaluations are counted there already.
    registry.register(
        "brief_breaches",
        "Breaches over before 'consecutive' was reached, by what they were to be",
        brief,
    );
    registry.register("notifications", "Sends to a receiver, by how they ended", sent);
    registry.register("notifications_held_back", "What passed a threshold and was not told, by reason", held_back);
    registry.register(
        "outbox_summarised",
        "Incidents that stand and are told in summaries, being too many",
        summarised,
    );
    registry.register("receiver_up", "Whether a receiver answers: 0 after three failures in a row", up);
    registry.register("dead_letters", "Notifications that no receiver took", counted(view.dead_letters_total));
    registry.register("outbox_pending", "Notifications waiting for a receiver", pending);
}

fn heartbeat(registry: &mut Registry, beats: Heartbeat) {
    let counts = Counters::default();
    for (outcome, n) in [("delivered", beats.delivered), ("failed", beats.failed)] {
        counts.get_or_create(&pairs([("outcome", outcome.to_owned())])).inc_by(n);
    }
    registry.register("heartbeats", "Beats of the dead man's switch, by how they ended", counts);
    let last: Gauge<f64, AtomicU64> = Gauge::default();
    last.set(beats.last_success.map_or(0.0, Timestamp::unix_s));
    registry.register(
        "heartbeat_last_success_timestamp_seconds",
        "When a beat of the dead man's switch was last taken; 0 for never",
        last,
    );
}

fn counted(n: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(n);
    counter
}

/// A label that is empty is none: a journey's own SLO has no layer.
fn labels<const N: usize>(slo: &SloView, own: [(&str, String); N]) -> Labels {
    const TAKEN: [&str; 6] = ["journey", "layer", "window", "rule", "urgency", "state"];
    let mut labels = pairs([("journey", slo.journey.clone()), ("layer", slo.layer.clone().unwrap_or_default())]);
    labels.extend(slo.labels.iter().map(|(name, value)| {
        let name = if TAKEN.contains(&name.as_str()) { format!("by_{name}") } else { name.clone() };
        (name, value.clone())
    }));
    labels.extend(pairs(own));
    labels
}

fn pairs<const N: usize>(pairs: [(&str, String); N]) -> Labels {
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Duration;
    use crate::engine::{Engine, ReceiverSpec, Spec};
    use std::sync::Arc;

    #[test]
    fn the_names_of_the_contract() {
        let receivers = vec![ReceiverSpec::new("oncall")];
        let engine = Engine::new(Arc::new(Spec { receivers, interval: Duration::from_secs(30), ..Spec::default() }));
        let durations = Durations::default();
        durations.evaluated_in(0.002);
        durations.template_failed("oncall");
        let mut view = engine.view();
        (view.held_back.brief_pages, view.held_back.brief_tickets) = (3, 1);
        let text = render(
            &view,
            &durations,
            Facts {
                last_reload_successful: true,
                version: "1.2.3",
                heartbeat: Some(Heartbeat {
                    last_success: Some(Timestamp::from_unix_s(1_772_366_400)),
                    delivered: 7,
                    failed: 1,
                }),
                state_degraded: Some(true),
            },
            Exposition::OpenMetrics,
        );
        for line in [
            r#"slowburn_build_info{version="1.2.3"} 1"#,
            r#"slowburn_evaluation_duration_seconds_bucket{le="0.005"} 1"#,
            "slowburn_missed_evaluations_total 0",
            "slowburn_state_degraded 1",
            "slowburn_state_write_seconds_count 0",
            "slowburn_clock_set_back_total 0",
            "slowburn_source_up 0",
            r#"slowburn_notifications_total{receiver="oncall",outcome="delivered"} 0"#,
            r#"slowburn_notifications_held_back_total{reason="same_stage"} 0"#,
            r#"slowburn_brief_breaches_total{kind="page"} 3"#,
            r#"slowburn_brief_breaches_total{kind="ticket"} 1"#,
            r#"slowburn_outbox_pending{receiver="oncall"} 0.0"#,
            r#"slowburn_template_failures_total{receiver="oncall"} 1"#,
            r#"slowburn_outbox_summarised{receiver="oncall"} 0.0"#,
            r#"slowburn_receiver_up{receiver="oncall"} 1.0"#,
            "slowburn_dead_letters_total 0",
            "slowburn_config_last_reload_successful 1",
            "slowburn_heartbeat_last_success_timestamp_seconds 1772366400.0",
            r#"slowburn_heartbeats_total{outcome="failed"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
