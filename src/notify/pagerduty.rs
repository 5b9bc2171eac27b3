//! PagerDuty's Events API v2: one alert an incident, triggered and resolved under the incident's key.
//!
//! Severity: a critical page is `critical`, a page's warning `error`, a critical ticket `warning`, a ticket's warning
//! `info`, so that PagerDuty's own rules can tell all four apart.
//!
//! Limits (Events API v2): `dedup_key` 255 characters, `summary` 1,024, the whole event 512 KB.

use serde_json::{Map, Value, json};

use crate::engine::notification::Notification;
use crate::engine::rule::{Stage, Urgency};

use super::facts::{is_of_source, kind, worst_place};
use super::message::Message;
use super::{short_hash, text};

const MAX_DEDUP_KEY: usize = 255;
const MAX_SUMMARY: usize = 1024;
const MAX_NAME: usize = 255;
/// Four bytes a character at most, and so well within the event's limit.
const MAX_DETAILS: usize = 100_000;

/// The body to post.
pub fn body(notification: &Notification, message: &Message, routing_key: &str) -> Value {
    let dedup_key = dedup_key(&notification.incident);
    if notification.is_over() {
        return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key});
    }
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "slowburn",
        "payload": payload(notification, message),
        "links": links(message),
    });
    if let Some(query) = &message.query {
        event["client_url"] = json!(query);
    }
    event
}

/// What PagerDuty found wrong with an event: the `errors` of its answer, or else its `message`.
pub fn word(answer: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let errors: Vec<&str> = answer["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if errors.is_empty() { answer["message"].as_str().map(str::to_owned) } else { Some(errors.join("; ")) }
}

/// The incident's key, which a longer one is cut to with a hash of the whole, so that two never become one.
pub fn dedup_key(incident: &str) -> String {
    if !incident.is_empty() && text::units(incident) <= MAX_DEDUP_KEY {
        return incident.to_owned();
    }
    let hash = short_hash(&[incident]);
    format!("{}-{hash}", text::clip(incident, MAX_DEDUP_KEY - hash.len() - 1))
}

fn payload(notification: &Notification, message: &Message) -> Value {
    let mut payload = json!({
        "summary": text::clip(message.custom.title.as_ref().unwrap_or(&message.summary), MAX_SUMMARY),
        "source": text::clip(&worst_place(notification), MAX_NAME),
        "severity": severity(notification.urgency, notification.stage),
        "timestamp": notification.at,
        "custom_details": details(notification, message),
    });
    let worst = notification.alerts.first();
    let class = match worst {
        _ if notification.digest.is_some() => Some("digest"),
        _ if is_of_source(notification) => Some("blind"),
        worst => worst.map(|alert| kind(&alert.limit)),
    };
    let layer = worst.and_then(|alert| alert.layer.as_deref());
    for (key, value) in [("class", class), ("component", layer), ("group", notification.journey.as_deref())] {
        if let Some(value) = value {
            payload[key] = json!(text::line(value, MAX_NAME));
        }
    }
    payload
}

fn severity(urgency: Urgency, stage: Stage) -> &'static str {
    match (urgency, stage) {
        (Urgency::Page, Stage::Critical) => "critical",
        (Urgency::Page, Stage::Warning) => "error",
        (Urgency::Ticket, Stage::Critical) => "warning",
        (Urgency::Ticket, Stage::Warning) => "info",
    }
}

fn details(notification: &Notification, message: &Message) -> Value {
    if let Some(said) = &message.custom.text {
        return json!({ "Details": text::clip(said, MAX_DETAILS), "About": message.footer });
    }
    let mut details: Map<String, Value> =
        message.facts.iter().map(|fact| (fact.label.to_owned(), json!(fact.text))).collect();
    if !message.further.is_empty() {
        let label = if notification.digest.is_some() { "Incidents" } else { "Further alerts" };
        details.insert(label.into(), json!(message.further));
    }
    details.insert("About".into(), json!(message.footer));
    Value::Object(details)
}

fn links(message: &Message) -> Value {
    let links = [("Runbook", &message.runbook), ("Query in Prometheus", &message.query)];
    links.into_iter().filter_map(|(text, url)| url.as_ref().map(|href| json!({"href": href, "text": text}))).collect()
}
