//! From indices, which only one configuration knows, to names, which outlive it, and back.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::alert::AlertKey;
use super::histogram::{Labels, braced};
use super::notification::Notification;

/// What the alert of the source itself has for a journey. No journey can have this name.
pub(super) const SOURCE: &str = "slowburn:source";

/// Which rule of which SLO instance, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AlertName {
    pub journey: String,
    pub layer: Option<String>,
    /// The values of the SLO's `by` labels.
    pub labels: Labels,
    pub rule: String,
}

/// What indices of the present configuration are called. `None` for one that it does not have.
pub struct Names<'a> {
    pub rule: &'a dyn Fn(AlertKey) -> Option<AlertName>,
    pub receiver: &'a dyn Fn(usize) -> Option<String>,
}

/// Where in the present configuration is what has a name.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub alerts: BTreeMap<AlertName, AlertKey>,
    pub receivers: BTreeMap<String, usize>,
    /// By journey and layer.
    pub slos: BTreeMap<(String, Option<String>), usize>,
}

impl AlertName {
    /// The name of [`AlertKey::SOURCE`].
    pub fn source() -> Self {
        Self { journey: SOURCE.into(), layer: None, labels: Labels::new(), rule: String::new() }
    }
}

impl Names<'_> {
    pub fn alert(&self, key: AlertKey) -> Option<AlertName> {
        if key == AlertKey::SOURCE { Some(AlertName::source()) } else { (self.rule)(key) }
    }
}

impl Places {
    pub fn alert(&self, name: &AlertName) -> Option<AlertKey> {
        if name.journey == SOURCE { Some(AlertKey::SOURCE) } else { self.alerts.get(name).copied() }
    }

    /// A notification as it was read again, for the receiver it was for. An SLO that is gone has an index beyond all
    /// others.
    pub fn notification(&self, receiver: &str, notification: &Notification) -> Option<Notification> {
        let receiver = *self.receivers.get(receiver)?;
        let mut placed = Notification { receiver, ..notification.clone() };
        for alert in &mut placed.alerts {
            let slo = (placed.journey.clone().unwrap_or_default(), alert.layer.clone());
            alert.slo = self.slos.get(&slo).copied().unwrap_or(usize::MAX);
        }
        Some(placed)
    }
}

/// `checkout/edge{region="eu"} spike`, quoted where a name would make that ambiguous: no two alerts read alike.
impl fmt::Display for AlertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", slo_name(&self.journey, self.layer.as_deref(), &self.labels), word(&self.rule))
    }
}

/// The same without a rule.
pub fn slo_name(journey: &str, layer: Option<&str>, labels: &Labels) -> String {
    let layer = layer.map_or_else(String::new, |layer| format!("/{}", word(layer)));
    format!("{}{layer}{}", word(journey), braced(labels))
}

fn word(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    if !name.is_empty() && name.chars().all(is_plain) { name.to_owned() } else { format!("{name:?}") }
}
