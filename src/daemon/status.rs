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
use crate::telemetry::metrics;

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

impl Journal {
    pub fn push(&mut self, spec: &Spec, notification: &Notification) {
        if self.told.len() == MAX_TOLD {
            self.told.pop_front();
        }
        let receiver = spec.receivers.get(notification.receiver);
        self.told.push_back(Told {
            id: notification.id.clone(),
            at: notification.at,
            receiver: receiver.map(|receiver| receiver.name.clone()).unwrap_or_default(),
            reason: notification.reason,
            incident: notification.incident.clone(),
            stage: notification.stage,
            urgency: notification.urgency,
            summary: notification.summary.clone(),
            outcome: None,
        });
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
