//! What `/api/v1/status` shows: the engine's view and the daemon around it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::engine::notification::{Notification, Reason};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::{Duration, Timestamp};
use crate::engine::view::View;
use crate::engine::{Outcome, Spec};
use crate::store::Attempt;
use crate::telemetry::metrics;

use super::saves::StateView;

/// Notifications kept for `status`.
const MAX_TOLD: usize = 50;

/// Everything at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub now: Timestamp,
    pub started_at: Timestamp,
    pub uptime_s: i64,
    /// Why the daemon has not begun to evaluate; `null` once it has.
    pub not_ready: Option<String>,
    pub config_file: PathBuf,
    pub last_reload: Reload,
    /// What is in force: for renderings of this status.
    #[serde(skip)]
    pub config: Arc<Config>,
    /// The backfill under way.
    pub backfill: Option<Reading>,
    /// How long the newest evaluation took, in seconds.
    pub evaluation_s: f64,
    /// The dead man's switch; `null` without one.
    pub heartbeat: Option<Heartbeat>,
    /// The state file; `null` without one.
    pub state: Option<StateView>,
    #[serde(flatten)]
    pub view: View,
    /// The last notifications, newest first.
    pub notifications: Vec<Told>,
}

/// How the last loading of the configuration went.
#[derive(Debug, Clone, Serialize)]
pub struct Reload {
    pub at: Timestamp,
    /// Why the configuration on disk is not the one in force; without any text of the files.
    pub error: Option<String>,
}

/// The dead man's switch.
#[derive(Debug, Clone, Serialize)]
pub struct Heartbeat {
    pub every: Duration,
    #[serde(flatten)]
    pub counts: metrics::Heartbeat,
    /// Why the last beat was not taken; without the address.
    pub problem: Option<String>,
}

/// A backfill and how far it has come.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    pub from: Timestamp,
    pub to: Timestamp,
    pub read_to: Option<Timestamp>,
}

/// A notification and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    pub id: String,
    pub at: Timestamp,
    pub receiver: String,
    pub reason: Reason,
    pub incident: String,
    pub stage: Stage,
    pub urgency: Urgency,
    pub summary: String,
    /// How the last try ended; `null` before the first has.
    pub outcome: Option<String>,
}

/// The last notifications, oldest first.
#[derive(Debug, Default)]
pub struct Journal {
    told: VecDeque<Told>,
}

impl Told {
    pub fn new(receiver: &str, notification: &Notification) -> Self {
        Self {
            id: notification.id.clone(),
            at: notification.at,
            receiver: receiver.to_owned(),
            reason: notification.reason,
            incident: notification.incident.clone(),
            stage: notification.stage,
            urgency: notification.urgency,
            summary: notification.summary.clone(),
            outcome: None,
        }
    }
}

impl Journal {
    pub fn push(&mut self, spec: &Spec, notification: &Notification) {
        if self.told.len() == MAX_TOLD {
            self.told.pop_front();
        }
        let receiver = spec.receivers.get(notification.receiver).map_or("", |receiver| &receiver.name);
        self.told.push_back(Told::new(receiver, notification));
    }

    /// Takes in what the delivery log says, newest first, and what was still to be told.
    pub fn restore(&mut self, attempts: Vec<Attempt>, waiting: Vec<Told>) {
        let mut told: Vec<Told> = waiting;
        for attempt in attempts {
            if let Some(known) = told.iter_mut().find(|told| told.id == attempt.id) {
                known.outcome.get_or_insert(attempt.in_words());
            } else {
                let outcome = Some(attempt.in_words());
                let Attempt { at, id, receiver, reason, incident, stage, urgency, summary, .. } = attempt;
                told.push(Told { id, at, receiver, reason, incident, stage, urgency, summary, outcome });
            }
        }
        told.sort_by_key(|told| told.at);
        let surplus = told.len().saturating_sub(MAX_TOLD);
        self.told = told.into_iter().skip(surplus).collect();
    }

    pub fn settle(&mut self, id: &str, outcome: &Outcome) {
        if let Some(told) = self.told.iter_mut().rev().find(|told| told.id == id) {
            told.outcome = Some(outcome.to_string());
        }
    }

    pub fn newest_first(&self) -> Vec<Told> {
        self.told.iter().rev().cloned().collect()
    }
}
