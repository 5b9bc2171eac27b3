//! A generic webhook: the body that receivers of Alertmanager's webhook (version 4) expect, with slowburn's own facts
//! beside it under `slowburn`, signed per Standard Webhooks.
//!
//! An alert's `fingerprint` is a hash of what it is (journey, layer, `by` labels, rule) and not of how bad it is:
//! unlike Alertmanager's it stays when a warning becomes critical. A digest has an alert `incident` for each incident.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::engine::exact;
use crate::engine::histogram::Labels;
use crate::engine::notification::{AlertFacts, DigestEntry, Notification};
use crate::engine::time::Timestamp;

use super::facts::{is_of_source, kind, one_line, place};
use super::message::{Context, Message};
use super::{short_hash, text};

/// Further alerts are counted in `truncatedAlerts`.
const MAX_ALERTS: usize = 100;
const MAX_STRING: usize = 1024;
/// Alertmanager's word for an end that is not known: Go's zero time.
const NO_END: &str = "0001-01-01T00:00:00Z";

/// What the body needs beside the notification and its message.
pub struct Sender<'a> {
    pub context: &'a Context,
    pub receiver: &'a str,
    /// The daemon's own address.
    pub external_url: &'a str,
}

/// The body to post.
pub fn body(notification: &Notification, message: &Message, sender: &Sender<'_>) -> Value {
    if let Some(body) = &message.custom.body {
        return body.clone();
    }
    let told = &notification.alerts[..notification.alerts.len().min(MAX_ALERTS)];
    let mut alerts: Vec<Alert> = told.iter().map(|alert| Alert::of(alert, notification, sender.context)).collect();
    let digest = notification.digest.iter();
    alerts.extend(digest.clone().flat_map(|digest| &digest.entries).map(Alert::of_entry));
    if alerts.is_empty() {
        alerts.push(Alert::of_whole(notification));
    }
    for alert in &mut alerts {
        alert.annotate(notification, message);
    }
    let mut body = json!({
        "version": "4",
        "groupKey": notification.incident,
        "truncatedAlerts": (notification.alerts.len() - told.len()) as u64 + digest.map(|it| it.left_out).sum::<u64>(),
        "status": if notification.is_over() { "resolved" } else { "firing" },
        "receiver": sender.receiver,
        "groupLabels": notification.group,
        "commonLabels": common(alerts.iter().map(|alert| &alert.labels)),
        "commonAnnotations": common(alerts.iter().map(|alert| &alert.annotations)),
        "externalURL": sender.external_url,
        "alerts": alerts.iter().map(Alert::json).collect::<Vec<_>>(),
        "slowburn": facts(notification),
    });
    if let Some(why) = &message.custom.failed {
        body["slowburn"]["template_failed"] = json!(why);
    }
    shorten(&mut body);
    body
}

/// Signs as Standard Webhooks says. Does not print.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// `secret` is `whsec_` and 24 to 64 bytes in base64.
    pub fn new(secret: &str) -> Option<Self> {
        let key = BASE64.decode(secret.strip_prefix("whsec_")?).ok()?;
        if !(24..=64).contains(&key.len()) {
            return None;
        }
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{}.", unix_s(at)).as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[signer]")
    }
}

/// The value of `webhook-timestamp`: whole seconds since the epoch.
pub fn unix_s(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(1000)
}

/// The value of `webhook-id`: the notification's id, or a hash of one that cannot stand in a header.
pub fn header_id(id: &str) -> String {
    let fits = !id.is_empty() && id.len() <= 256 && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { id.to_owned() } else { short_hash(&[id]) }
}

struct Alert {
    labels: Labels,
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    query: Option<String>,
    fingerprint: String,
}

impl Alert {
    fn of(alert: &AlertFacts, notification: &Notification, context: &Context) -> Self {
        let journey = notification.journey.as_deref().unwrap_or_default();
        // What slowburn says about an alert wins over a user's label of the same name.
        let mut labels = context.spec.slos.get(alert.slo).map(|slo| slo.labels.clone()).unwrap_or_default();
        labels.extend(alert.labels.clone());
        let own = [
            ("alertname", alert.rule.as_str()),
            ("rule", &alert.rule),
            ("kind", kind(&alert.limit)),
            ("journey", journey),
            ("layer", alert.layer.as_deref().unwrap_or_default()),
            ("stage", alert.stage.as_str()),
            ("severity", alert.stage.as_str()),
            ("urgency", alert.urgency.as_str()),
            ("owner", notification.owner.as_deref().unwrap_or_default()),
        ];
        // An empty label is no label.
        labels.extend(own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.into(), v.into())));
        let mut identity = vec![journey, alert.layer.as_deref().unwrap_or_default(), &alert.rule];
        identity.extend(alert.labels.iter().flat_map(|(name, value)| [name.as_str(), value]));
        let place = place(journey, alert);
        let annotations = [("description".to_owned(), format!("{place}: {}", one_line(alert, notification)))];
        Self {
            labels,
            annotations: annotations.into(),
            starts_at: alert.breached_at,
            ends_at: alert.ended_at.or(notification.resolved_at),
            query: context.query(alert),
            fingerprint: short_hash(&identity),
        }
    }

    /// An incident of a digest as one alert, whatever alerts it is made of.
    fn of_entry(entry: &DigestEntry) -> Self {
        let own = [
            ("alertname", "incident"),
            ("incident", entry.incident.as_str()),
            ("journey", entry.journey.as_deref().unwrap_or_default()),
            ("stage", entry.stage.as_str()),
            ("severity", entry.stage.as_str()),
            ("urgency", entry.urgency.as_str()),
        ];
        let labels = own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.into(), v.into()));
        Self {
            labels: labels.collect(),
            annotations: [("summary".to_owned(), text::clean(&entry.summary))].into(),
            starts_at: entry.began_at,
            ends_at: entry.ended_at,
            query: None,
            fingerprint: short_hash(&[&entry.incident]),
        }
    }

    /// For an incident without alerts, which receivers of the format would not expect: the source's.
    fn of_whole(notification: &Notification) -> Self {
        let mut labels = notification.group.clone();
        let name = match &notification.digest {
            Some(_) => "digest",
            None if is_of_source(notification) => "blind",
            None => "incident",
        };
        labels.insert("alertname".into(), name.into());
        labels.insert("severity".into(), notification.stage.as_str().into());
        labels.insert("stage".into(), notification.stage.as_str().into());
        labels.insert("urgency".into(), notification.urgency.as_str().into());
        let annotations =
            notification.detail.iter().map(|detail| ("description".to_owned(), text::clean(detail))).collect();
        Self {
            labels,
            annotations,
            starts_at: notification.opened_at,
            ends_at: notification.resolved_at,
            query: None,
            fingerprint: short_hash(&[&notification.incident]),
        }
    }

    fn annotate(&mut self, notification: &Notification, message: &Message) {
        self.annotations.entry("summary".into()).or_insert_with(|| message.summary.clone());
        if let Some(runbook) = &notification.runbook {
            self.annotations.insert("runbook_url".into(), runbook.clone());
        }
    }

    fn json(&self) -> Value {
        json!({
            "status": if self.ends_at.is_some() { "resolved" } else { "firing" },
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": self.starts_at,
            "endsAt": self.ends_at.map_or_else(|| NO_END.to_owned(), |at| at.to_string()),
            "generatorURL": self.query.as_deref().unwrap_or_default(),
            "fingerprint": self.fingerprint,
        })
    }
}

/// What all maps say alike.
fn common<'a>(mut maps: impl Iterator<Item = &'a BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut common = maps.next().cloned().unwrap_or_default();
    for map in maps {
        common.retain(|name, value| map.get(name) == Some(value));
    }
    common
}

/// The notification as data, without the indices that only this process understands.
fn facts(notification: &Notification) -> Value {
    let mut facts = json!(notification);
    if let Some(fields) = facts.as_object_mut() {
        fields.remove("receiver");
    }
    if let Some(alerts) = facts["alerts"].as_array_mut() {
        alerts.truncate(MAX_ALERTS);
        for fields in alerts.iter_mut().filter_map(Value::as_object_mut) {
            fields.remove("slo");
            let numbers = fields.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "layer" | "rule"));
            numbers.for_each(|(_, value)| only_numbers(value));
        }
    }
    facts
}

/// What JSON has no number for is nothing to a receiver, as everywhere else in JSON.
fn only_numbers(value: &mut Value) {
    match value {
        Value::String(word) if exact::is_no_number(word) => *value = Value::Null,
        Value::Array(values) => values.iter_mut().for_each(only_numbers),
        _ => {}
    }
}

/// Bounds every string but links, which are useless when cut.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_STRING && !text.starts_with("http") => {
            *text = text::clip(text, MAX_STRING)
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}
