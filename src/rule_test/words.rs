//! Expectations and what came of them, in few words. Times are since the test's beginning.

use std::fmt::Display;

use crate::config::testing::{AlertPattern, CheckKind, NotificationPattern, Quantity, Test, ValueCheck};
use crate::engine::alert::AlertRecord;
use crate::engine::histogram::{Labels, braced, place};
use crate::engine::notification::Notification;
use crate::engine::time::{Duration, Timestamp};

/// What a check is about.
pub(super) fn title(kind: &CheckKind) -> String {
    match kind {
        CheckKind::Alerts { at, only, .. } => of(format!("alerts at {at}"), &alert_words(only)),
        CheckKind::Notifications { from, to, only, .. } => {
            of(format!("notifications from {from} to {to}"), &notification_words(only))
        }
        CheckKind::Value(check) => value_title(check),
        CheckKind::Exported { at, alertname, .. } => format!("{alertname} at {at}"),
        CheckKind::Skipped { what, .. } => what.clone(),
    }
}

fn of(what: String, only: &[String]) -> String {
    if only.is_empty() { what } else { format!("{what}, only {}", only.join(" ")) }
}

fn value_title(check: &ValueCheck) -> String {
    let place = place(&check.journey, check.layer.as_deref(), &check.labels);
    let at = check.at;
    match &check.quantity {
        Quantity::BurnRate { over, .. } => format!("burn rate of {place} over {over} at {at}"),
        Quantity::Usage { rule, .. } => format!("usage of {rule} on {place} at {at}"),
        Quantity::BudgetSpent { .. } => format!("budget of {place} spent at {at}"),
        Quantity::Sight(_) => format!("sight of {place} at {at}"),
    }
}

pub(super) fn alert_pattern(pattern: &AlertPattern) -> String {
    let words = alert_words(pattern);
    if words.is_empty() { "any alert".to_owned() } else { words.join(" ") }
}

fn alert_words(pattern: &AlertPattern) -> Vec<String> {
    let AlertPattern { journey, layer, labels, rule, stage, urgency } = pattern;
    let mut words = place_words(journey.as_deref(), layer.as_ref(), labels);
    words.extend(rule.clone());
    words.extend(stage.map(|stage| stage.as_str().to_owned()));
    words.extend(urgency.map(|urgency| urgency.as_str().to_owned()));
    words
}

pub(super) fn notification_pattern(pattern: &NotificationPattern) -> String {
    let mut words = Vec::new();
    match pattern.between {
        Some((first, last)) if first == last => words.push(format!("{first}")),
        Some((first, last)) => words.push(format!("{first} to {last}")),
        None => words.push("any time".to_owned()),
    }
    words.extend(notification_words(pattern));
    words.join(" ")
}

fn notification_words(pattern: &NotificationPattern) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(pattern.receiver.clone());
    words.extend(pattern.reason.map(|reason| reason.as_str().to_owned()));
    words.extend(pattern.stage.map(|stage| stage.as_str().to_owned()));
    words.extend(pattern.urgency.map(|urgency| urgency.as_str().to_owned()));
    words.extend(place_words(pattern.journey.as_deref(), pattern.layer.as_ref(), &Labels::new()));
    words.extend(pattern.rule.clone());
    words.extend(pattern.text.as_ref().map(|text| format!("{text:?}")));
    words
}

fn place_words(journey: Option<&str>, layer: Option<&Option<String>>, labels: &Labels) -> Vec<String> {
    let journey = journey.unwrap_or("*");
    match layer {
        None if journey == "*" && labels.is_empty() => Vec::new(),
        None => vec![format!("{journey}/*{}", braced(labels))],
        Some(layer) => vec![place(journey, layer.as_deref(), labels)],
    }
}

/// An alert without its times.
pub(super) fn alert(alert: &AlertRecord) -> String {
    let place = place(&alert.journey, alert.layer.as_deref(), &alert.labels);
    format!("{place} {} {} {}", alert.rule, alert.stage.as_str(), alert.urgency.as_str())
}

pub(super) fn notification(test: &Test, receivers: &[String], told: &Notification) -> String {
    let (at, receiver, reason) = (since(test, told.at), &receivers[told.receiver], told.reason.as_str());
    format!("{at} {receiver} {reason}: {}", told.summary)
}

/// With blanks, so that lines can be broken.
pub(super) fn labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// From when to when something stood.
pub(super) fn span(test: &Test, from: Timestamp, to: Option<Timestamp>) -> String {
    match to {
        Some(to) => format!("from {} to {}", since(test, from), since(test, to)),
        None => format!("from {} to the end", since(test, from)),
    }
}

pub(super) fn since(test: &Test, at: Timestamp) -> Duration {
    at.since(test.start)
}

/// A number with at most four digits behind the point.
pub(super) fn number(value: f64) -> impl Display {
    (value * 1e4).round() / 1e4
}

pub(super) fn percent(share: f64) -> String {
    format!("{}%", number(share * 100.0))
}
