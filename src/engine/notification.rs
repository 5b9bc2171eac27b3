//! What a receiver is told: everything a person at 3 a.m. wants to know, as data. `notify` renders it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::alert::AlertKey;
use super::histogram::{Labels, place};
use super::route::Hold;
use super::rule::{Level, Limit, Stage, Urgency};
use super::stable_hash;
use super::time::{Duration, Timestamp};

/// Why a notification is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    Opened,
    Escalated,
    Repeated,
    Resolved,
    /// The source went out of sight.
    Blind,
    /// Many incidents in one message: see [`Notification::digest`].
    Digest,
    /// Somebody wants to see whether a receiver can be told. The engine decides none of these.
    Test,
}

/// Why something that passed a threshold was not told, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldBack {
    /// Evaluations over a threshold whose `consecutive` was not reached yet.
    pub not_consecutive: u64,
    /// Evaluations that found an alert still at the stage already told.
    pub same_stage: u64,
    /// Alerts that joined an open incident without making it worse.
    pub joined: u64,
    /// Notifications that a silence held back ...
    pub silenced: u64,
    /// ... a maintenance window ...
    pub maintenance: u64,
    /// ... or the active hours of a route.
    pub inactive_hours: u64,
    /// Evaluations over a threshold with too few requests, or too little confidence.
    pub low_traffic: u64,
    /// Notifications of incidents that come and go: see [`super::flapping`].
    pub flapping: u64,
    /// Times that a rule came to what would have been a page, for fewer evaluations than its `consecutive` ...
    pub brief_pages: u64,
    /// ... and to what would have been a warning or a ticket.
    pub brief_tickets: u64,
}

impl HeldBack {
    /// Counts what would have been told, had a rule not asked for more evaluations in a row.
    pub fn brief(&mut self, level: Level) {
        if level == (Stage::Critical, Urgency::Page) {
            self.brief_pages += 1;
        } else {
            self.brief_tickets += 1;
        }
    }

    /// Counts notifications that would have been made.
    pub fn hold(&mut self, hold: Hold, notifications: u64) {
        *match hold {
            Hold::Silenced => &mut self.silenced,
            Hold::Maintenance => &mut self.maintenance,
            Hold::InactiveHours => &mut self.inactive_hours,
        } += notifications;
    }
}

/// A message for one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Constant over retries, unique among all notifications of a daemon's life.
    pub id: String,
    /// The slot at which it was decided.
    pub at: Timestamp,
    /// Index into [`super::Spec::receivers`]. Not written down: another configuration has other indices.
    #[serde(skip)]
    pub receiver: usize,
    pub reason: Reason,
    /// The incident's stable key.
    pub incident: String,
    /// `None` for an incident of the source itself (see [`Reason::Blind`]).
    pub journey: Option<String>,
    pub owner: Option<String>,
    pub runbook: Option<String>,
    /// The labels the incident is grouped by, `journey` among them.
    pub group: Labels,
    /// The worst stage and urgency among the alerts, or, when resolved, the worst they came to.
    pub stage: Stage,
    pub urgency: Urgency,
    /// When the first breach of this incident began.
    pub opened_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// Worst first. When resolved: the alerts that had been told, as they last stood.
    pub alerts: Vec<AlertFacts>,
    /// For an incident of the source: what is wrong, in words.
    pub detail: Option<String>,
    /// The incidents it tells of, if the reason is [`Reason::Digest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// One line, the same in replay and in the daemon.
    pub summary: String,
}

/// Many incidents in one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    pub kind: DigestKind,
    /// Worst first, at most [`super::digest::MAX_DIGEST_ENTRIES`].
    pub entries: Vec<DigestEntry>,
    /// Incidents it should tell of as well, but has no room for.
    pub left_out: u64,
    /// Incidents that stand and that the receiver knows of by digests only, those told of here among them.
    pub open: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestKind {
    /// More at once than the receiver takes one by one.
    Flood,
    /// What was collected until its time came.
    Scheduled { name: String },
}

/// What a digest says of one incident: its newest state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DigestEntry {
    /// The incident's stable key.
    pub incident: String,
    pub journey: Option<String>,
    /// When that state was decided.
    pub at: Timestamp,
    /// [`Reason::Opened`] if the receiver did not know of the incident yet, whatever became of it since.
    pub reason: Reason,
    pub stage: Stage,
    pub urgency: Urgency,
    /// One line, without stage and urgency.
    pub summary: String,
    pub began_at: Timestamp,
    /// Set once the incident is over.
    pub ended_at: Option<Timestamp>,
    /// Whether it would have been told by itself, but was held back.
    pub held: bool,
}

/// An alert as it stood when a notification was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertFacts {
    /// Index into [`super::Spec::slos`]. Not written down either.
    #[serde(skip)]
    pub slo: usize,
    pub layer: Option<String>,
    /// The values of the SLO's `by` labels.
    pub labels: Labels,
    pub rule: String,
    pub limit: Limit,
    pub urgency: Urgency,
    pub stage: Stage,
    /// Share of the rule's limit in use: 1 is the critical threshold by default.
    #[serde(with = "super::exact")]
    pub usage: f64,
    /// First evaluation of the breach.
    pub breached_at: Timestamp,
    pub fired_at: Timestamp,
    /// Set when the alert has ended.
    pub ended_at: Option<Timestamp>,
    /// Burn rate over the rule's long window (the short one for a rule with one window).
    #[serde(with = "super::exact")]
    pub burn_long: f64,
    #[serde(with = "super::exact")]
    pub burn_short: f64,
    /// Requests, and those over the latency budget, in the rule's long window.
    #[serde(with = "super::exact")]
    pub events: f64,
    #[serde(with = "super::exact")]
    pub bad_events: f64,
    /// Share of the slow requests of all of the incident's layers in that window that are this layer's.
    #[serde(with = "super::exact")]
    pub share_of_slow: f64,
    /// p50, p95 and p99 in seconds over the shortest long window of a rule, at most ten minutes; `None` without traffic
    /// or without all bounds.
    #[serde(with = "super::exact::three")]
    pub quantiles_s: Option<[f64; 3]>,
    #[serde(with = "super::exact")]
    pub budget_s: f64,
    pub objective_ppm: u32,
    pub period: Duration,
    /// Share of the period's error budget that is left; negative once overspent.
    #[serde(with = "super::exact")]
    pub budget_remaining: f64,
    /// Until the budget is gone at the short window's burn rate; `None` if it is not burning or gone.
    pub exhausted_in: Option<Duration>,
    /// Share of the period that was seen at all.
    #[serde(with = "super::exact")]
    pub period_coverage: f64,
}

/// Where what an old configuration counted up is in a new one.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// By old index into [`super::Spec::slos`].
    pub slos: Vec<Option<usize>>,
    /// By old index into [`super::Spec::receivers`].
    pub receivers: Vec<Option<usize>>,
    pub alerts: BTreeMap<AlertKey, AlertKey>,
}

impl Moves {
    /// The alert's new key; that of the source is always the same.
    pub fn alert(&self, key: AlertKey) -> Option<AlertKey> {
        if key == AlertKey::SOURCE { Some(key) } else { self.alerts.get(&key).copied() }
    }

    /// The same notification for the new configuration, if its receiver is still there. An SLO that is gone has an index
    /// beyond all others.
    pub fn notification(&self, notification: &Notification) -> Option<Notification> {
        let receiver = self.receivers[notification.receiver]?;
        let mut moved = Notification { receiver, ..notification.clone() };
        for alert in &mut moved.alerts {
            alert.slo = self.slos.get(alert.slo).copied().flatten().unwrap_or(usize::MAX);
        }
        Some(moved)
    }
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Opened => "opened",
            Reason::Escalated => "escalated",
            Reason::Repeated => "repeated",
            Reason::Resolved => "resolved",
            Reason::Blind => "blind",
            Reason::Digest => "digest",
            Reason::Test => "test",
        }
    }
}

impl Notification {
    /// Gives [`Notification::id`]: the same decision for the same receiver has the same one. Slots come again after the
    /// clock was set back, ids must not.
    pub fn identify(&mut self, receiver: &str, clock_set_back: u64) {
        let (at, times) = (self.at.to_string(), clock_set_back.to_string());
        let hash = stable_hash(&[&self.incident, receiver, self.reason.as_str(), &at, &times]);
        self.id = format!("sb-{hash:032x}");
    }

    /// Writes [`Notification::summary`] from the other fields.
    pub fn summarize(&mut self) {
        if let Some(digest) = &self.digest {
            let name = match &digest.kind {
                DigestKind::Flood => "slowburn",
                DigestKind::Scheduled { name } => name,
            };
            self.summary = format!("{name}: {}{}", digest.in_words(), self.level_in_brackets());
            return;
        }
        let mut line = self.journey.clone().unwrap_or_else(|| "slowburn".into());
        let worst = self.alerts.first();
        if let Some(worst) = worst {
            line.push_str(&worst.place());
        }
        line.push_str(": ");
        match (self.reason, worst) {
            (Reason::Resolved, _) => {
                let lasted = self.resolved_at.unwrap_or(self.at).since(self.opened_at);
                let what = if self.journey.is_some() { "resolved" } else { "sees the source again" };
                let _ = write!(line, "{what} after {lasted}");
            }
            (_, Some(worst)) => {
                let _ = write!(line, "{}", worst.limit_in_words());
                if self.alerts.len() > 1 {
                    let _ = write!(line, ", and {} more", self.alerts.len() - 1);
                }
            }
            (_, None) => {
                let _ = write!(line, "cannot see the source: {}", self.detail.as_deref().unwrap_or("no answer"));
            }
        }
        line.push_str(&self.level_in_brackets());
        self.summary = line;
    }

    /// ` [critical page]`, as a summary ends.
    pub fn level_in_brackets(&self) -> String {
        format!(" [{} {}]", self.stage.as_str(), self.urgency.as_str())
    }
}

impl AlertFacts {
    /// `/layer` and `{label="value"}`, as far as there are any.
    pub fn place(&self) -> String {
        place("", self.layer.as_deref(), &self.labels)
    }

    /// What the rule found, in one clause.
    pub fn limit_in_words(&self) -> String {
        let period = self.period;
        match self.limit {
            Limit::BurnRate { long, .. } => {
                format!("error budget burns {:.1}x too fast over {long}", self.burn_long)
            }
            Limit::BudgetConsumed { .. } => {
                let spent = 100.0 * (1.0 - self.budget_remaining);
                if self.period_coverage >= 0.9 {
                    format!("{spent:.1}% of the {period} error budget is spent")
                } else {
                    // What was not seen is not judged, and that it was not is said.
                    let seen = period.times(self.period_coverage).coarse();
                    format!("{spent:.1}% of the error budget is spent ({seen} of {period} seen)")
                }
            }
            Limit::Exhaustion { .. } => match self.exhausted_in {
                Some(left) => format!("the {period} error budget is gone in {} at this rate", left.coarse()),
                None => format!("the {period} error budget is gone"),
            },
            Limit::Latency { quantile, over } => {
                format!("p{} over {over} is {:.2} times the latency budget", 100.0 * quantile, self.usage)
            }
        }
    }
}
