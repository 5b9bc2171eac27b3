//! What a rule limits, and how much of that limit is used: one number for every kind of rule.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::time::{Calendar, Duration, Timestamp};

/// How quickly a human must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    Ticket,
    Page,
}

/// How far a rule's usage has come. Ordered: critical is worse than warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Warning,
    Critical,
}

/// How bad an alert is; ordered.
pub type Level = (Stage, Urgency);

/// What a rule holds a layer to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// `min(burn(long), burn(short)) / factor`.
    BurnRate { factor: f64, long: Duration, short: Duration },
    /// `bad / ((1 - objective) * total) / share` over the period.
    BudgetConsumed { share: f64 },
    /// `within / time to exhaustion`, where that time is `remaining share * period / burn(short)`.
    Exhaustion { within: Duration, short: Duration },
    /// `quantile over the window / latency budget`; `quantile` lies in (0, 1).
    Latency { quantile: f64, over: Duration },
}

/// When a rule is evaluated.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// At each multiple of this length, itself a multiple of the engine's interval.
    Every(Duration),
    /// At the first slot at or after each occurrence.
    At(Arc<dyn Calendar>),
}

impl Schedule {
    /// Whether it is due at `slot`, if `before` is the slot that was evaluated last. One that was missed is made up for
    /// at the next.
    pub fn is_due(&self, before: Timestamp, slot: Timestamp) -> bool {
        match self {
            Schedule::Every(every) => slot.slot_number(*every) != before.slot_number(*every),
            Schedule::At(calendar) => calendar.occurs_within(before, slot),
        }
    }
}

/// A rule as the engine runs it, every default filled in.
#[derive(Debug, Clone)]
pub struct Rule {
    pub name: String,
    pub urgency: Urgency,
    pub limit: Limit,
    pub schedule: Schedule,
    /// Usage at which the stage is warning, in parts per million of the limit (default 800,000).
    pub warning_ppm: u32,
    /// Usage at which the stage is critical, in parts per million of the limit (default 1,000,000).
    pub critical_ppm: u32,
    /// A stage counts once it holds for this many evaluations in a row; at least 1.
    pub consecutive: u32,
    /// A stage falls only once usage is this far under its threshold, in parts per million of the threshold.
    pub hysteresis_ppm: u32,
    /// ... and has been so for this long.
    pub clear_after: Duration,
    /// Fewer requests than this in the long window raise nothing.
    pub min_events: f64,
    /// Fewer slow requests than this in the long window raise nothing.
    pub min_bad: f64,
    /// The z-score of the one-sided confidence with which the bad ratio must pass the threshold (1.645 for 95%).
    pub confidence_z: Option<f64>,
    /// The share of the short window that must have been seen, in parts per million.
    pub min_coverage_ppm: u32,
}

impl Limit {
    /// The word the user writes for this kind of limit.
    pub fn kind(&self) -> &'static str {
        match self {
            Limit::BurnRate { .. } => "burn_rate",
            Limit::BudgetConsumed { .. } => "budget_consumed",
            Limit::Exhaustion { .. } => "exhaustion",
            Limit::Latency { .. } => "latency",
        }
    }

    /// The window whose recovery counts: it decides `min_coverage` and the default of `clear_after`.
    /// `None` for a limit on the whole period.
    pub fn short_window(&self) -> Option<Duration> {
        match *self {
            Limit::BurnRate { short, .. } | Limit::Exhaustion { short, .. } => Some(short),
            Limit::Latency { over, .. } => Some(over),
            Limit::BudgetConsumed { .. } => None,
        }
    }

    /// The window whose traffic counts for `min_events`, `min_bad` and `confidence`; `None` for the whole period.
    pub fn long_window(&self) -> Option<Duration> {
        match *self {
            Limit::BurnRate { long, .. } => Some(long),
            Limit::Exhaustion { short, .. } => Some(short),
            Limit::Latency { over, .. } => Some(over),
            Limit::BudgetConsumed { .. } => None,
        }
    }
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Warning => "warning",
            Stage::Critical => "critical",
        }
    }
}

impl Urgency {
    pub fn as_str(self) -> &'static str {
        match self {
            Urgency::Ticket => "ticket",
            Urgency::Page => "page",
        }
    }
}
