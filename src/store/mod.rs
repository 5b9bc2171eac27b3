//! Durable state: what the engine must remember, the delivery log, and the windows of a source that keeps none.
//!
//! A store takes batches, each as a whole or not at all, and hands everything back at the next start. It never decides
//! anything, and it never loses the old for the new: a file that cannot be read is set aside, not overwritten.

pub mod in_memory;

mod schema;

pub mod sqlite;

pub mod windows;

use std::path::PathBuf;

use thiserror::Error;

use crate::engine::memory::{Change, Memory};
use crate::engine::notification::Reason;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::Timestamp;

/// Attempts that are handed back at a start: enough to show the last notifications.
pub const LAST_ATTEMPTS: usize = 200;
/// Attempts kept, however long they may be kept for.
pub const MAX_ATTEMPTS: u64 = 1_000_000;

/// Somewhere that outlives the program. A second implementation keeps everything in memory, for tests.
pub trait Store: Send {
    /// All there is.
    fn load(&mut self) -> Result<Saved, StoreError>;

    /// Takes all of a batch or nothing of it. What was taken survives a crash, and a power cut, once this returns.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;
}

/// What belongs together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub changes: Vec<Change>,
    /// Sends that ended.
    pub attempts: Vec<Attempt>,
    pub windows: Vec<Windows>,
    /// SLOs whose windows nobody can use any more.
    pub forget_windows: Vec<String>,
    /// The delivery log is forgotten up to here.
    pub forget_before: Option<Timestamp>,
}

/// One send of the delivery log.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub at: Timestamp,
    /// The notification's.
    pub id: String,
    pub receiver: String,
    pub incident: String,
    pub reason: Reason,
    pub stage: Stage,
    pub urgency: Urgency,
    pub summary: String,
    /// 0 for the first.
    pub attempt: u32,
    /// `delivered`, `to be retried` or `rejected`.
    pub outcome: String,
    /// Why it was not delivered.
    pub why: Option<String>,
}

/// The windows of one SLO, in a form that only their owner understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// The SLO's name.
    pub slo: String,
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    pub memory: Memory,
    /// Newest first, at most [`LAST_ATTEMPTS`].
    pub attempts: Vec<Attempt>,
    pub windows: Vec<Windows>,
    /// SLOs whose windows were damaged.
    pub lost_windows: Vec<String>,
}

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error(
        "{path} was written by a newer slowburn: its schema is version {theirs}, and this one knows up to {ours}; \
         run that version, or name another file"
    )]
    Newer { path: PathBuf, theirs: i64, ours: i64 },
    #[error("{path} is in use by another slowburn; two of them cannot share a state file")]
    Locked { path: PathBuf },
    #[error("{path} is damaged: {why}")]
    Corrupt { path: PathBuf, why: String },
    #[error("{path} cannot be used: {why}")]
    Unusable { path: PathBuf, why: String },
}

impl Attempt {
    /// How it ended, as `status` shows it.
    pub fn in_words(&self) -> String {
        self.why.as_ref().map_or_else(|| self.outcome.clone(), |why| format!("{}: {why}", self.outcome))
    }
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Adds what came later.
    pub fn extend(&mut self, later: Batch) {
        self.changes.extend(later.changes);
        self.attempts.extend(later.attempts);
        self.windows.extend(later.windows);
        self.forget_windows.extend(later.forget_windows);
        self.forget_before = self.forget_before.max(later.forget_before);
    }
}
