//! A notification's alerts as Alertmanager knows alerts: a set of labels that says which one it is, annotations that
//! say what is wrong, and when it began and ends.
//!
//! The labels hold nothing that changes while an alert stands, as another set would be another alert to Alertmanager,
//! and the first one would be left to expire. A stage is part of the identity: an alert that becomes critical is a
//! second alert beside its warning, which inhibition mutes.
//!
//! `alertname` is the same for all of them and not the rule's name. Alertmanagers are shared: one matcher tells
//! slowburn's alerts from others' there, an alert called `budget` would tell nobody anything, and `group_by:
//! [alertname, ...]`, which everybody has, would tear an incident apart by rules. The rule is a label of its own.
//!
//! `severity` is for the routes that are there already: only a critical page is `critical`, since such routes page.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::engine::histogram::Labels;
use crate::engine::notification::{AlertFacts, Notification, Reason};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::Timestamp;
use crate::notify::facts::{Fact, is_of_source, kind, place};
use crate::notify::format::{UNKNOWN, factor, percent};
use crate::notify::message::{Context, Message};
use crate::notify::{short_hash, text};

/// A longer value is cut, with a hash of the whole, so that two alerts never become one.
const MAX_LABEL: usize = 512;
/// Room for the hundred lines of a digest.
const MAX_ANNOTATION: usize = 16_384;
/// What slowburn says of each alert. A label of this name from elsewhere is told under another.
const OWN_LABELS: [&str; 12] = [
    "alertname",
    "incident",
    "journey",
    "kind",
    "layer",
    "owner",
    "rule",
    "severity",
    "slo",
    "stage",
    "tier",
    "urgency",
];

/// One alert, and what to call it in a log.
pub struct Alert {
    pub name: String,
    labels: Labels,
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    generator_url: Option<String>,
}

/// The alerts of a notification. What still stands is said to end `until`, unless it is posted again before.
pub fn alerts(notification: &Notification, context: &Context, until: Timestamp) -> Vec<Alert> {
    if notification.alerts.is_empty() {
        return vec![Alert::of_whole(notification, context, until)];
    }
    let frame = Notification { alerts: Vec::new(), ..notification.clone() };
    notification.alerts.iter().map(|alert| Alert::of(alert, &frame, context, until)).collect()
}

impl Alert {
    /// `frame` is the notification without its alerts.
    fn of(alert: &AlertFacts, frame: &Notification, context: &Context, until: Timestamp) -> Self {
        let ended_at = alert.ended_at.or(frame.resolved_at);
        let alone = Notification {
            reason: if ended_at.is_some() { Reason::Resolved } else { Reason::Opened },
            stage: alert.stage,
            urgency: alert.urgency,
            opened_at: alert.breached_at,
            resolved_at: ended_at,
            alerts: vec![alert.clone()],
            ..frame.clone()
        };
        let message = Message::new(&alone, context);
        let place = place(frame.journey.as_deref().unwrap_or_default(), alert);
        let mut annotations = annotations(&alone, &message);
        annotations.extend(numbers(alert));
        Self {
            name: format!("{place} {} {}", alert.rule, alert.stage.as_str()),
            labels: labels(alert, frame, context, place),
            annotations,
            starts_at: alert.breached_at,
            ends_at: ended_at.unwrap_or(until).max(alert.breached_at),
            generator_url: message.query,
        }
    }

    /// For what has no alerts: the source's incident, a digest, a test. The last two are posted once, so they end by
    /// themselves.
    fn of_whole(notification: &Notification, context: &Context, until: Timestamp) -> Self {
        let name = match notification.reason {
            _ if is_of_source(notification) => "SlowburnBlind",
            Reason::Digest => "SlowburnDigest",
            Reason::Test => "SlowburnTest",
            _ => "SlowburnLatency",
        };
        let mut labels = Labels::new();
        put(&mut labels, common(notification, (notification.stage, notification.urgency), name));
        if notification.digest.is_some() {
            // A list to read, whatever stands in it.
            put(&mut labels, [("severity", "info")]);
        }
        put(&mut labels, [("journey", notification.journey.as_deref().unwrap_or_default())]);
        Self {
            name: format!("{name} {}", notification.stage.as_str()),
            labels,
            annotations: annotations(notification, &Message::new(notification, context)),
            starts_at: notification.opened_at,
            ends_at: notification.resolved_at.unwrap_or(until).max(notification.opened_at),
            generator_url: None,
        }
    }

    pub fn json(&self) -> Value {
        let mut alert = json!({
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": self.starts_at,
            "endsAt": self.ends_at,
        });
        if let Some(url) = &self.generator_url {
            alert["generatorURL"] = json!(url);
        }
        alert
    }
}

fn labels(alert: &AlertFacts, frame: &Notification, context: &Context, place: String) -> Labels {
    let slo = context.spec.slos.get(alert.slo);
    let mut labels = Labels::new();
    for (name, value) in slo.iter().flat_map(|slo| &slo.labels) {
        put(&mut labels, [(elsewhere("label_", name).as_str(), value.as_str())]);
    }
    for (name, value) in &alert.labels {
        put(&mut labels, [(elsewhere("by_", name).as_str(), value.as_str())]);
    }
    put(&mut labels, common(frame, (alert.stage, alert.urgency), "SlowburnLatency"));
    put(
        &mut labels,
        [
            ("journey", frame.journey.as_deref().unwrap_or_default()),
            ("layer", alert.layer.as_deref().unwrap_or_default()),
            ("slo", &place),
            ("rule", &alert.rule),
            ("kind", kind(&alert.limit)),
            ("tier", slo.and_then(|slo| slo.tier.as_deref()).unwrap_or_default()),
        ],
    );
    labels
}

/// What alerts of a journey and of the source have alike.
fn common<'a>(
    notification: &'a Notification,
    (stage, urgency): (Stage, Urgency),
    name: &'static str,
) -> [(&'static str, &'a str); 6] {
    [
        ("alertname", name),
        ("incident", &notification.incident),
        ("owner", notification.owner.as_deref().unwrap_or_default()),
        ("severity", severity(stage, urgency)),
        ("stage", stage.as_str()),
        ("urgency", urgency.as_str()),
    ]
}

fn severity(stage: Stage, urgency: Urgency) -> &'static str {
    match (urgency, stage) {
        (Urgency::Page, Stage::Critical) => "critical",
        (Urgency::Page, Stage::Warning) | (Urgency::Ticket, Stage::Critical) => "warning",
        (Urgency::Ticket, Stage::Warning) => "info",
    }
}

/// An empty label is no label to Alertmanager, and makes some versions refuse the alert.
fn put<'a>(labels: &mut Labels, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for (name, value) in pairs {
        if !value.trim().is_empty() {
            labels.insert(label_name(name), label_value(value));
        }
    }
}

/// The name for a label that is not slowburn's own.
fn elsewhere(prefix: &str, name: &str) -> String {
    if OWN_LABELS.contains(&name) { format!("{prefix}{name}") } else { name.to_owned() }
}

/// Letters, digits and `_`, no digit first: what every version takes.
fn label_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut fit: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if fit.is_empty() || fit.starts_with(|c: char| c.is_ascii_digit()) {
        fit.insert(0, '_');
    }
    // Another name may come out the same, and a long one would be cut.
    let as_it_was = fit == name && name.len() <= MAX_LABEL;
    if as_it_was { fit } else { format!("{}_{}", &fit[..fit.len().min(MAX_LABEL)], short_hash(&[name])) }
}

fn label_value(value: &str) -> String {
    if text::units(value) <= MAX_LABEL {
        return value.to_owned();
    }
    let hash = short_hash(&[value]);
    format!("{}-{hash}", text::clip(value, MAX_LABEL - hash.len() - 1))
}

fn annotations(notification: &Notification, message: &Message) -> BTreeMap<String, String> {
    let line = |fact: &Fact| format!("{}: {}", fact.label, fact.text);
    let incidents = message.further.iter().filter(|_| notification.digest.is_some()).cloned();
    let facts: Vec<String> = message.facts.iter().map(line).chain(incidents).collect();
    let mut annotations = BTreeMap::from([
        ("summary".to_owned(), message.title.clone()),
        ("description".to_owned(), text::clip(&facts.join("\n"), MAX_ANNOTATION)),
    ]);
    if notification.reason == Reason::Test {
        annotations.insert("summary".to_owned(), message.summary.clone());
    }
    annotations.extend(message.runbook.clone().map(|url| ("runbook_url".to_owned(), url)));
    annotations
}

/// For templates that pick their own: what is not known is left out.
fn numbers(alert: &AlertFacts) -> impl Iterator<Item = (String, String)> {
    let slow = if alert.events >= 0.5 { (alert.bad_events / alert.events).clamp(0.0, 1.0) } else { f64::NAN };
    let numbers = [
        ("burn_rate_long", factor(alert.burn_long)),
        ("burn_rate_short", factor(alert.burn_short)),
        ("error_budget_left", percent(alert.budget_remaining)),
        ("slow_requests", percent(slow)),
    ];
    let known = numbers.into_iter().filter(|(_, text)| text != UNKNOWN);
    known.map(|(name, text)| (name.to_owned(), text))
}
