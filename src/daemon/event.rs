//! Everything that can happen to the daemon, closed: its loop is one `match` over this.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::{Diagnostics, Loaded};
use crate::engine::Outcome;
use crate::engine::histogram::Poll;
use crate::engine::outbox::Delivery;
use crate::engine::silence::Silence;
use crate::engine::time::Timestamp;
use crate::notify::Heard;
use crate::source::SourceError;
use crate::source::prometheus::History;

use super::silences::{Made, NotMade, Wanted};
use super::status::Status;
use super::writer::Written;

/// See the module's documentation.
#[derive(Debug)]
pub enum Event {
    /// The time of the next poll has come.
    PollDue,
    /// A poll ended. `generation` is that of the configuration it was made for.
    Polled { generation: u64, slot: Timestamp, took_s: f64, result: Result<Poll, SourceError> },
    /// The source handed over a slice of history, or said why it cannot; `None` when all slices are read.
    Backfilled(Option<Result<History, SourceError>>),
    /// A retry is due.
    RetryDue,
    /// A send ended.
    Sent { delivery: Delivery, outcome: Outcome },
    /// A write of the state file ended.
    Saved(Written),
    /// Deliveries have waited for the disk for too long.
    SaveLate,
    /// A disk that failed is worth another try.
    SaveRetryDue,
    /// A beat of the dead man's switch, for the evaluation of `slot`, was taken, or why not.
    Beaten { slot: Timestamp, result: Result<(), String> },
    /// It is time to post what stands at a receiver.
    RosterDue,
    /// A post of what stands at a receiver ended; what each of its instances said.
    RosterPosted { receiver: String, heard: Vec<Heard> },
    /// Somebody asks over HTTP.
    Asked(Request),
    /// SIGHUP.
    ReloadAsked,
    /// The configuration was read anew.
    Loaded(Box<Result<Loaded, Diagnostics>>),
    /// SIGTERM or SIGINT.
    StopAsked,
    /// Draining has taken as long as it may.
    DrainOver,
    /// systemd wants to hear that the loop is alive.
    WatchdogDue,
}

/// What the HTTP server asks the loop; whoever asked may be gone by the time of the answer.
#[derive(Debug)]
pub enum Request {
    Status(oneshot::Sender<Arc<Status>>),
    /// Whether the daemon has begun to evaluate, or why not.
    Ready(oneshot::Sender<Result<(), String>>),
    /// Answered once the new configuration is in force, or refused.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Answered once the silence is made and saved, or refused.
    Silence(Box<Wanted>, oneshot::Sender<Result<Made, NotMade>>),
    /// Ends the silence of this id; answered with it, or `None` if there is none.
    Unsilence(String, oneshot::Sender<Option<Silence>>),
}

/// An answer to a [`Request`] that is given once what it tells of is saved.
#[derive(Debug)]
pub enum Answer {
    Silence(oneshot::Sender<Result<Made, NotMade>>, Result<Made, NotMade>),
    Unsilence(oneshot::Sender<Option<Silence>>, Option<Silence>),
}

impl Answer {
    pub fn give(self) {
        // Whoever asked may have gone away, which is no matter.
        match self {
            Answer::Silence(reply, made) => drop(reply.send(made)),
            Answer::Unsilence(reply, ended) => drop(reply.send(ended)),
        }
    }
}
