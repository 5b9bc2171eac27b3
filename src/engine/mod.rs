//! The pure engine: a deterministic state machine from polls to notifications.
//!
//! There is no I/O, no clock, no randomness, no async and no logging in here; `now` is a parameter. The daemon and
//! the replay are two drivers of this one machine, so a replay decides what the daemon would have decided.
//!
//! The files stand in the order of the flow, each using only earlier ones.

pub mod time;

pub mod histogram;

pub mod counter;

pub mod window;

pub mod rule;

pub mod sli;

pub mod stage;

pub mod incident;

use std::fmt;

use self::time::Duration;

/// All that the engine must know: the validated configuration without the world around it.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Distance of two slots.
    pub interval: Duration,
    /// The source counts as out of sight after this many slots without an answer.
    pub blind_after: u32,
    pub slos: Vec<sli::SloSpec>,
    /// Labels beside `journey` whose values split a journey's alerts into incidents.
    pub group_by: Vec<String>,
    pub route: incident::Route,
    pub receivers: Vec<ReceiverSpec>,
}

/// What the engine knows of a receiver.
#[derive(Debug, Clone)]
pub struct ReceiverSpec {
    pub name: String,
    /// Index of the receiver that is told what this one refuses for good.
    pub fallback: Option<usize>,
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
    /// Refused for good. The reason is free of secrets.
    Rejected {
        why: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Delivered => f.write_str("delivered"),
            Outcome::Retry { why, .. } => write!(f, "to be retried: {why}"),
            Outcome::Rejected { why } => write!(f, "rejected: {why}"),
        }
    }
}
