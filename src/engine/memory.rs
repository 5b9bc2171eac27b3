//! What must survive the end of the program, record by record, each under a name that outlives a configuration.
//!
//! Windows are not among it: a source that keeps history has them, and the others' are saved apart.
//!
//! ```
//! use slowburn::engine::memory::{Change, Kind, Memory, Progress, Record};
//! let progress = Progress { evaluations: 7, ..Progress::default() };
//! let mut memory = Memory::default();
//! memory.apply(Change::Put(Record::Progress(progress)));
//! assert_eq!(memory.records().next(), Some(&Record::Progress(progress)));
//! memory.apply(Change::Drop(Record::Progress(progress).name()));
//! assert!(memory.is_empty());
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alert::RuleState;
use super::collect::DigestMemory;
use super::incident::IncidentMemory;
use super::names::AlertName;
use super::notification::HeldBack;
use super::outbox::{self, DeadLetter, Pending, ReceiverMemory};
use super::silence::Silence;
use super::time::Timestamp;

/// How far the engine has come, and what it counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The newest slot that was evaluated.
    pub evaluated_slot: Option<Timestamp>,
    /// The newest slot that was due, whether the source answered or not.
    pub due_slot: Option<Timestamp>,
    pub failed_in_a_row: u32,
    pub last_answer: Option<Timestamp>,
    pub held_back: HeldBack,
    pub missed: Missed,
    pub evaluations: u64,
}

/// Slots without a full evaluation when they were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// Slots that were not evaluated when they were due.
    pub slots: u64,
    /// Slots evaluated on an answer that may be incomplete.
    pub partial: u64,
    /// How often the wall clock was set back, so that slots came again.
    pub clock_set_back: u64,
}

/// A rule on an SLO that is more than quiet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleMemory {
    pub name: AlertName,
    /// What kind of limit it has; another kind is another rule.
    pub limit: String,
    pub state: RuleState,
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Progress,
    Alert,
    Incident,
    Delivery,
    Receiver,
    DeadLetters,
    Silence,
    Digest,
}

/// The name of a record: no two of a kind have the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub kind: Kind,
    pub key: String,
}

/// One thing that must survive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Progress(Progress),
    Alert(RuleMemory),
    Incident(IncidentMemory),
    Delivery(Pending),
    Receiver(ReceiverMemory),
    DeadLetters(Vec<DeadLetter>),
    Silence(Silence),
    Digest(DigestMemory),
}

/// What became of a record, or of all of them.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the largest")]
pub enum Change {
    Put(Record),
    Drop(Name),
    /// All there was is gone; this is all there is.
    Anew(Memory),
}

/// All records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    records: BTreeMap<Name, Record>,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Progress => "progress",
            Kind::Alert => "alert",
            Kind::Incident => "incident",
            Kind::Delivery => "delivery",
            Kind::Receiver => "receiver",
            Kind::DeadLetters => "dead_letters",
            Kind::Silence => "silence",
            Kind::Digest => "digest",
        }
    }
}

impl Record {
    pub fn name(&self) -> Name {
        let (kind, key) = match self {
            Record::Progress(_) => (Kind::Progress, String::new()),
            Record::Alert(rule) => (Kind::Alert, rule.name.to_string()),
            Record::Incident(incident) => (Kind::Incident, incident.identity.key.clone()),
            Record::Delivery(pending) => (Kind::Delivery, outbox::key(&pending.receiver, &pending.incident)),
            Record::Receiver(receiver) => (Kind::Receiver, receiver.name.clone()),
            Record::DeadLetters(_) => (Kind::DeadLetters, String::new()),
            Record::Silence(silence) => (Kind::Silence, silence.id.clone()),
            Record::Digest(digest) => (Kind::Digest, digest.name.clone()),
        };
        Name { kind, key }
    }
}

impl Memory {
    pub fn put(&mut self, record: Record) {
        self.records.insert(record.name(), record);
    }

    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(record) => self.put(record),
            Change::Drop(name) => drop(self.records.remove(&name)),
            Change::Anew(memory) => *self = memory,
        }
    }

    /// All records, sorted by name.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub fn into_records(self) -> impl Iterator<Item = Record> {
        self.records.into_values()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl FromIterator<Record> for Memory {
    fn from_iter<T: IntoIterator<Item = Record>>(records: T) -> Self {
        let mut memory = Self::default();
        records.into_iter().for_each(|record| memory.put(record));
        memory
    }
}
