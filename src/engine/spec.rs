//! All that the engine must know: the validated configuration without the world around it.

use std::fmt;

use super::alert::AlertRecord;
use super::collect::DigestSpec;
use super::histogram::Labels;
use super::hours::Hours;
use super::incident::incident_key;
use super::maintenance::Maintenance;
use super::route::Route;
use super::silence::Silence;
use super::sli::SloSpec;
use super::time::Duration;

/// What the engine runs.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Distance of two slots.
    pub interval: Duration,
    /// The source counts as out of sight after this many slots without an answer.
    pub blind_after: u32,
    /// What comes and goes within this time is held back; zero for never.
    pub flapping_within: Duration,
    pub slos: Vec<SloSpec>,
    /// Labels beside `journey` whose values split a journey's alerts into incidents.
    pub group_by: Vec<String>,
    pub route: Route,
    pub receivers: Vec<ReceiverSpec>,
    /// What routes and maintenance windows go by.
    pub hours: Vec<Hours>,
    pub maintenance: Vec<Maintenance>,
    pub digests: Vec<DigestSpec>,
    /// Silences that are known from the start: a replay's. A daemon's come as inputs.
    pub silences: Vec<Silence>,
}

/// What the engine knows of a receiver.
#[derive(Debug, Clone, Default)]
pub struct ReceiverSpec {
    pub name: String,
    /// Index of the receiver that is told what this one refuses for good.
    pub fallback: Option<usize>,
    /// How much it takes; `None` without a limit.
    pub pace: Option<Pace>,
    /// Whether it keeps an alert of its own for each incident, from its trigger to its resolve, and wakes people for
    /// it: then every trigger it took needs its resolve, and what came and went unheard is better not told at all.
    pub keeps_alerts: bool,
    /// Whether it holds an alert only for as long as it is told of it again and again (see [`super::roster`]).
    pub resends: bool,
}

/// How much a receiver takes: `burst` notifications at once, and one more each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// At least 1.
    pub burst: u32,
    pub every: Duration,
}

/// How a send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// Worth another try; not before `after` if the receiver said so.
    Retry {
        after: Option<Duration>,
        why: String,
    },
    /// No whole answer came: it may have been taken, and is sent again.
    Unanswered {
        why: String,
    },
    /// Refused for good. The reason is free of secrets.
    Rejected {
        why: String,
    },
}

impl ReceiverSpec {
    /// One that takes everything and has no fallback.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl Spec {
    /// How far back the engine's windows reach: what a backfill must cover.
    pub fn longest_window(&self) -> Duration {
        self.slos.iter().map(SloSpec::longest_window).max().unwrap_or_default()
    }

    /// The key of the incident that an alert belongs to; `None` for an SLO of another configuration.
    pub fn incident_of(&self, alert: &AlertRecord) -> Option<String> {
        let slo = self.slos.iter().find(|slo| slo.journey == alert.journey && slo.layer == alert.layer)?;
        let label = |name: &str| match name {
            "stage" => Some(alert.stage.as_str()),
            "urgency" => Some(alert.urgency.as_str()),
            "rule" => Some(alert.rule.as_str()),
            name => alert.labels.get(name).map(String::as_str).or_else(|| slo.routing_label(name)),
        };
        let group = self.group_by.iter().map(|name| (name.clone(), label(name).unwrap_or_default().to_owned()));
        Some(incident_key(&alert.journey, &group.collect::<Labels>()))
    }
}

impl SloSpec {
    /// `journey/layer`, or the journey alone where it is measured as its users feel it.
    pub fn place(&self) -> String {
        match &self.layer {
            Some(layer) => format!("{}/{layer}", self.journey),
            None => self.journey.clone(),
        }
    }

    /// The value of a label that routes match on.
    pub fn routing_label(&self, name: &str) -> Option<&str> {
        match name {
            "journey" => Some(&self.journey),
            "layer" => self.layer.as_deref(),
            "tier" => self.tier.as_deref(),
            "owner" => self.owner.as_deref(),
            _ => self.labels.get(name).map(String::as_str),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Delivered => f.write_str("delivered"),
            Outcome::Retry { why, .. } => write!(f, "to be retried: {why}"),
            Outcome::Unanswered { why } => write!(f, "to be retried: {why}"),
            Outcome::Rejected { why } => write!(f, "rejected: {why}"),
        }
    }
}
