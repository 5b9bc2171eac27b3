//! What a template sees. Every field is always there: a text that is not known is empty, a number is `NaN`, which the
//! filters show as `?`.

use serde::Serialize;

use crate::engine::histogram::{Labels, place};
use crate::engine::notification::{AlertFacts, DigestEntry, DigestKind, Notification};
use crate::engine::rule::Limit;
use crate::engine::time::{Duration, Timestamp};

/// A notification as templates see it; `docs/templates.md` says what each field means.
#[derive(Debug, Clone, Serialize)]
pub struct Fields {
    id: String,
    at: String,
    reason: &'static str,
    stage: &'static str,
    urgency: &'static str,
    over: bool,
    incident: String,
    journey: String,
    owner: String,
    runbook: String,
    group: Labels,
    summary: String,
    detail: String,
    opened_at: String,
    resolved_at: String,
    lasted_s: f64,
    alerts: Vec<AlertFields>,
    digest: DigestFields,
    message: Built,
}

#[derive(Debug, Clone, Serialize)]
struct AlertFields {
    place: String,
    layer: String,
    labels: Labels,
    rule: String,
    kind: &'static str,
    stage: &'static str,
    urgency: &'static str,
    usage: f64,
    breached_at: String,
    fired_at: String,
    ended_at: String,
    burn_long: f64,
    burn_short: f64,
    window_s: f64,
    events: f64,
    bad_events: f64,
    share_of_slow: f64,
    p50_s: f64,
    p95_s: f64,
    p99_s: f64,
    budget_s: f64,
    objective: f64,
    period_s: f64,
    budget_remaining: f64,
    exhausted_in_s: f64,
    period_coverage: f64,
}

#[derive(Debug, Clone, Default, Serialize)]
struct DigestFields {
    name: String,
    open: u64,
    left_out: u64,
    entries: Vec<EntryFields>,
}

#[derive(Debug, Clone, Serialize)]
struct EntryFields {
    incident: String,
    journey: String,
    reason: &'static str,
    stage: &'static str,
    urgency: &'static str,
    summary: String,
    began_at: String,
    ended_at: String,
    held: bool,
}

/// The built-in message, in parts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Built {
    pub title: String,
    pub facts: Vec<BuiltFact>,
    pub lines: Vec<String>,
    pub runbook_url: String,
    pub query_url: String,
    pub footer: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct BuiltFact {
    pub label: String,
    pub text: String,
}

/// The names of all fields, those within others included.
const NAMES: [&str; 57] = [
    "id",
    "at",
    "reason",
    "stage",
    "urgency",
    "over",
    "incident",
    "journey",
    "owner",
    "runbook",
    "group",
    "summary",
    "detail",
    "opened_at",
    "resolved_at",
    "lasted_s",
    "alerts",
    "digest",
    "message",
    "place",
    "layer",
    "labels",
    "rule",
    "kind",
    "usage",
    "breached_at",
    "fired_at",
    "ended_at",
    "burn_long",
    "burn_short",
    "window_s",
    "events",
    "bad_events",
    "share_of_slow",
    "p50_s",
    "p95_s",
    "p99_s",
    "budget_s",
    "objective",
    "period_s",
    "budget_remaining",
    "exhausted_in_s",
    "period_coverage",
    "name",
    "open",
    "left_out",
    "entries",
    "began_at",
    "held",
    "title",
    "facts",
    "lines",
    "runbook_url",
    "query_url",
    "footer",
    "label",
    "text",
];

/// The name that a misspelt one most likely stands for.
pub fn nearest(wrong: &str) -> Option<&'static str> {
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    let distances = NAMES.into_iter().map(|name| (strsim::osa_distance(wrong, name), name));
    distances.filter(|(distance, name)| (1..=limit).contains(distance) && *distance < name.len()).min().map(|it| it.1)
}

impl Fields {
    pub fn new(notification: &Notification, message: Built) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let journey = text(&notification.journey);
        let end = notification.resolved_at.unwrap_or(notification.at);
        Self {
            id: notification.id.clone(),
            at: notification.at.to_string(),
            reason: notification.reason.as_str(),
            stage: notification.stage.as_str(),
            urgency: notification.urgency.as_str(),
            over: notification.is_over(),
            incident: notification.incident.clone(),
            owner: text(&notification.owner),
            runbook: text(&notification.runbook),
            group: notification.group.clone(),
            summary: notification.summary.clone(),
            detail: text(&notification.detail),
            opened_at: notification.opened_at.to_string(),
            resolved_at: instant(notification.resolved_at),
            lasted_s: end.since(notification.opened_at).secs(),
            alerts: notification.alerts.iter().map(|alert| AlertFields::new(&journey, alert)).collect(),
            digest: DigestFields::new(notification),
            journey,
            message,
        }
    }
}

impl AlertFields {
    fn new(journey: &str, alert: &AlertFacts) -> Self {
        let [p50_s, p95_s, p99_s] = alert.quantiles_s.unwrap_or([f64::NAN; 3]);
        Self {
            place: place(journey, alert.layer.as_deref(), &alert.labels),
            layer: alert.layer.clone().unwrap_or_default(),
            labels: alert.labels.clone(),
            rule: alert.rule.clone(),
            kind: match alert.limit {
                Limit::BurnRate { .. } => "burn_rate",
                Limit::BudgetConsumed { .. } => "budget_consumed",
                Limit::Exhaustion { .. } => "exhaustion",
                Limit::Latency { .. } => "latency",
            },
            stage: alert.stage.as_str(),
            urgency: alert.urgency.as_str(),
            usage: alert.usage,
            breached_at: alert.breached_at.to_string(),
            fired_at: alert.fired_at.to_string(),
            ended_at: instant(alert.ended_at),
            burn_long: alert.burn_long,
            burn_short: alert.burn_short,
            window_s: alert.limit.long_window().unwrap_or(alert.period).secs(),
            events: alert.events,
            bad_events: alert.bad_events,
            share_of_slow: alert.share_of_slow,
            p50_s,
            p95_s,
            p99_s,
            budget_s: alert.budget_s,
            objective: f64::from(alert.objective_ppm) / 1e6,
            period_s: alert.period.secs(),
            budget_remaining: alert.budget_remaining,
            exhausted_in_s: alert.exhausted_in.map_or(f64::NAN, Duration::secs),
            period_coverage: alert.period_coverage,
        }
    }
}

impl DigestFields {
    fn new(notification: &Notification) -> Self {
        let Some(digest) = &notification.digest else { return Self::default() };
        Self {
            name: match &digest.kind {
                DigestKind::Flood => String::new(),
                DigestKind::Scheduled { name } => name.clone(),
            },
            open: digest.open,
            left_out: digest.left_out,
            entries: digest.entries.iter().map(EntryFields::new).collect(),
        }
    }
}

impl EntryFields {
    fn new(entry: &DigestEntry) -> Self {
        Self {
            incident: entry.incident.clone(),
            journey: entry.journey.clone().unwrap_or_default(),
            reason: entry.reason.as_str(),
            stage: entry.stage.as_str(),
            urgency: entry.urgency.as_str(),
            summary: entry.summary.clone(),
            began_at: entry.began_at.to_string(),
            ended_at: instant(entry.ended_at),
            held: entry.held,
        }
    }
}

fn instant(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::template::samples;

    /// `alerts.layer` for each field, lists by their first element.
    fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
        let Value::Object(fields) = value else { return };
        for (name, value) in fields {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            // The user's own labels are no fields.
            if !matches!(name.as_str(), "group" | "labels") {
                match value {
                    Value::Array(values) => values.iter().for_each(|value| paths(value, &path, found)),
                    value => paths(value, &path, found),
                }
            }
            found.insert(path);
        }
    }

    #[test]
    fn the_documentation_lists_exactly_the_fields() {
        let text = include_str!("../../docs/templates.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let documented: BTreeSet<String> =
            rows.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with('|')).collect();
        let mut found = BTreeSet::new();
        for fields in samples::fields() {
            paths(&serde_json::to_value(fields).expect("fields"), "", &mut found);
        }
        assert_eq!(documented, found);
        for path in found {
            let name = path.rsplit('.').next().unwrap_or_default();
            assert!(super::NAMES.contains(&name), "{name} is suggested to nobody");
        }
    }

    /// Each example of the documentation, in a fence that is marked `jinja`, is sound.
    #[test]
    fn the_examples_of_the_documentation_are_sound() {
        use crate::template::{Place, Template};
        let text = include_str!("../../docs/templates.md");
        let examples: Vec<&str> = text.split("```jinja").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(examples.len() >= 4, "{}", examples.len());
        for example in examples {
            let (place, source) = example.split_once('\n').expect("a line for the kind");
            let place = match place.trim() {
                "title" => Place::Title,
                "text" => Place::Text,
                "html" => Place::Html,
                _ => Place::Json,
            };
            assert_eq!(Template::new(place, source.trim_end().to_owned()).check(), Ok(()), "{source}");
        }
    }
}
