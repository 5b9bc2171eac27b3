//! Saving before sending: deliveries wait until what was decided is on the disk, and no longer than that is worth.
//!
//! A disk that fails or hangs stops nobody from being paged. It is said, once, that nothing is promised any more, and
//! everything is written anew as soon as it can be.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::clock::Deadline;
use crate::config;
use crate::engine::memory::{Change, Memory};
use crate::engine::outbox::Delivery;
use crate::engine::time::{Duration, Timestamp};
use crate::store::sqlite::SetAside;
use crate::store::{Attempt, Batch, Saved, StoreError, Windows};

use super::event::{Answer, Event};
use super::writer::{self, Found, Job, Written};

/// A page waits no longer for the disk.
const PATIENCE: Duration = Duration::from_secs(2);
/// A disk that failed is tried again this often.
const RETRY_EVERY: Duration = Duration::from_secs(10);
/// The delivery log is cut to its retention this often.
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// Ended sends that are kept for a disk that failed.
const MAX_UNSAVED: usize = 1000;

/// What is not to happen before something is saved.
#[derive(Debug)]
pub enum Held {
    Delivery(Delivery),
    Answer(Answer),
}

/// The write that some wait for.
#[derive(Debug)]
struct Waiting {
    number: u64,
    until: Deadline,
    held: Vec<Held>,
}

/// Why nothing is promised.
#[derive(Debug)]
struct Trouble {
    since: Timestamp,
    why: String,
    /// When everything is to be written anew; `None` once that is handed over.
    retry: Option<Deadline>,
    /// The job that writes everything anew.
    anew: Option<u64>,
}

/// A state file in use.
#[derive(Debug)]
struct Writing {
    config: config::State,
    jobs: std_mpsc::SyncSender<Job>,
    /// The newest job that was handed over, and the newest that is on the disk.
    submitted: u64,
    committed: u64,
    trouble: Option<Trouble>,
    set_aside: Option<SetAside>,
    unsaved: VecDeque<Attempt>,
    windows: Vec<Windows>,
    useless_windows: Vec<String>,
    forgot_at: Option<Timestamp>,
    write_s: f64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Saves {
    /// `None` without a state file.
    writing: Option<Writing>,
    waiting: VecDeque<Waiting>,
}

/// The state file, for `status`.
#[derive(Debug, Clone, Serialize)]
pub struct StateView {
    pub path: PathBuf,
    /// Why it is not as it should be: what is decided now may be forgotten, or what was before is.
    pub degraded: Option<String>,
    /// Since when it cannot be written.
    pub since: Option<Timestamp>,
    /// Where the damaged file is that was found in its place.
    pub set_aside: Option<PathBuf>,
    /// How long the newest write took, in seconds.
    pub write_s: f64,
}

impl Saves {
    /// Opens what the configuration names. Returns what was in it.
    pub fn open(
        config: Option<&config::State>,
        now: Timestamp,
        events: mpsc::Sender<Event>,
    ) -> Result<(Self, Saved), StoreError> {
        let Some(config) = config else {
            tracing::warn!("there is no 'state' in the configuration: a restart forgets what fires and what waits");
            return Ok((Self { writing: None, waiting: VecDeque::new() }, Saved::default()));
        };
        let (jobs, Found { saved, set_aside, trouble }) = writer::start(&config.sqlite, events)?;
        let mut writing = Writing {
            config: config.clone(),
            jobs,
            submitted: 0,
            committed: 0,
            trouble: None,
            set_aside: None,
            unsaved: VecDeque::new(),
            windows: Vec::new(),
            useless_windows: Vec::new(),
            forgot_at: None,
            write_s: 0.0,
        };
        for slo in &saved.lost_windows {
            tracing::error!(slo, path = %config.sqlite.display(), "the windows of an SLO are damaged and left out");
        }
        writing.note_set_aside(set_aside);
        if let Some(why) = trouble {
            writing.fail(now, why);
        }
        Ok((Self { writing: Some(writing), waiting: VecDeque::new() }, saved))
    }

    pub fn path(&self) -> Option<&Path> {
        self.writing.as_ref().map(|writing| writing.config.sqlite.as_path())
    }

    /// Whether what is decided now outlives the program.
    pub fn is_durable(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.trouble.is_none())
    }

    /// Whether nothing waits for the disk that could still get there.
    pub fn is_settled(&self) -> bool {
        self.writing.as_ref().is_none_or(|writing| writing.trouble.is_some() || writing.committed == writing.submitted)
    }

    pub fn is_anybody_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes what changed, and the deliveries that follow from it.
    pub fn take(&mut self, now: Timestamp, changes: Vec<Change>, deliveries: Vec<Delivery>) {
        let mut number = 0;
        if let Some(writing) = &mut self.writing {
            writing.submit(now, changes);
            number = writing.submitted;
        }
        if !deliveries.is_empty() {
            let held = deliveries.into_iter().map(Held::Delivery).collect();
            self.waiting.push_back(Waiting { number, until: Deadline::after(PATIENCE), held });
        }
    }

    /// Keeps an answer until all that was taken before is saved.
    pub fn hold(&mut self, answer: Answer) {
        let number = self.writing.as_ref().map_or(0, |writing| writing.submitted);
        self.waiting.push_back(Waiting { number, until: Deadline::after(PATIENCE), held: vec![Held::Answer(answer)] });
    }

    /// A send ended; it goes into the log with the next batch.
    pub fn log(&mut self, attempt: Attempt) {
        let Some(writing) = &mut self.writing else { return };
        if writing.unsaved.len() == MAX_UNSAVED {
            writing.unsaved.pop_front();
        }
        writing.unsaved.push_back(attempt);
    }

    /// Windows go with the next batch.
    pub fn keep_windows(&mut self, windows: Vec<Windows>) {
        if let Some(writing) = self.writing.as_mut().filter(|writing| writing.trouble.is_none()) {
            writing.windows.extend(windows);
        }
    }

    /// So do the names of SLOs whose windows are of no use.
    pub fn forget_windows(&mut self, slos: Vec<String>) {
        if let Some(writing) = &mut self.writing {
            writing.useless_windows.extend(slos);
        }
    }

    /// What waits no longer.
    pub fn ready(&mut self) -> Vec<Held> {
        let committed = match &self.writing {
            Some(writing) if writing.trouble.is_none() => writing.committed,
            _ => u64::MAX,
        };
        let ready = self.waiting.iter().take_while(|waiting| waiting.number <= committed).count();
        self.waiting.drain(..ready).flat_map(|waiting| waiting.held).collect()
    }

    /// A write ended. Returns whether everything is to be written anew at once.
    pub fn written(&mut self, now: Timestamp, written: Written) -> bool {
        let Some(writing) = &mut self.writing else { return false };
        let Written { number, took_s, result } = written;
        writing.write_s = took_s;
        match result {
            Ok(set_aside) => {
                writing.note_set_aside(set_aside);
                writing.committed = number;
                // A disk that hung is back. What came meanwhile was not handed over.
                let Some(trouble) = &writing.trouble else { return false };
                let Some(anew) = trouble.anew else { return true };
                if number >= anew {
                    let (path, since) = (writing.config.sqlite.display(), trouble.since);
                    tracing::info!(%path, %since, "state is saved again");
                    writing.trouble = None;
                }
                false
            }
            Err(why) => {
                writing.fail(now, why);
                false
            }
        }
    }

    /// Somebody has waited for too long.
    pub fn late(&mut self, now: Timestamp) {
        if let Some(writing) = &mut self.writing {
            writing.fail(now, format!("a write has taken longer than {PATIENCE}"));
        }
    }

    /// Writes everything anew.
    pub fn save_anew(&mut self, now: Timestamp, memory: Memory) {
        let Some(writing) = &mut self.writing else { return };
        if let Some(trouble) = &mut writing.trouble {
            (trouble.retry, trouble.anew) = (None, Some(writing.submitted + 1));
        }
        writing.hand_over(now, vec![Change::Anew(memory)]);
    }

    /// Returns once somebody has waited for too long.
    pub async fn patience_over(&self) {
        wait(self.waiting.front().map(|waiting| waiting.until)).await;
    }

    /// Returns once a disk that failed is worth another try.
    pub async fn retry_due(&self) {
        let trouble = self.writing.as_ref().and_then(|writing| writing.trouble.as_ref());
        wait(trouble.and_then(|trouble| trouble.retry)).await;
    }

    pub fn view(&self) -> Option<StateView> {
        let writing = self.writing.as_ref()?;
        let trouble = writing.trouble.as_ref();
        let lost = writing.set_aside.as_ref().map(|aside| {
            format!(
                "the state file was damaged ({}); what it held is forgotten, and it is now {}",
                aside.why,
                aside.path.display()
            )
        });
        Some(StateView {
            path: writing.config.sqlite.clone(),
            degraded: trouble.map(|trouble| trouble.why.clone()).or(lost),
            since: trouble.map(|trouble| trouble.since),
            set_aside: writing.set_aside.as_ref().map(|aside| aside.path.clone()),
            write_s: writing.write_s,
        })
    }
}

impl Writing {
    fn submit(&mut self, now: Timestamp, changes: Vec<Change>) {
        // While in trouble nothing is handed over that does not follow everything anew.
        let may = self.trouble.as_ref().is_none_or(|trouble| trouble.anew.is_some());
        if may && !(changes.is_empty() && self.unsaved.is_empty() && self.windows.is_empty()) {
            self.hand_over(now, changes);
        }
    }

    fn hand_over(&mut self, now: Timestamp, changes: Vec<Change>) {
        let due = self.forgot_at.is_none_or(|at| now.since(at) >= FORGET_EVERY || at > now);
        let attempts: Vec<Attempt> = self.unsaved.iter().cloned().collect();
        let batch = Batch {
            changes,
            attempts,
            windows: std::mem::take(&mut self.windows),
            forget_windows: std::mem::take(&mut self.useless_windows),
            forget_before: due.then(|| now - self.config.retention),
        };
        match self.jobs.try_send(Job { number: self.submitted + 1, batch }) {
            Ok(()) => {
                self.submitted += 1;
                self.unsaved.clear();
                self.forgot_at = if due { Some(now) } else { self.forgot_at };
            }
            Err(std_mpsc::TrySendError::Full(_)) => self.fail(now, "the disk does not keep up".into()),
            Err(std_mpsc::TrySendError::Disconnected(_)) => self.fail(now, "its writer has ended".into()),
        }
    }

    fn fail(&mut self, now: Timestamp, why: String) {
        let retry = Some(Deadline::after(RETRY_EVERY));
        match &mut self.trouble {
            Some(trouble) => (trouble.why, trouble.retry, trouble.anew) = (why, retry, None),
            none => {
                tracing::error!(
                    path = %self.config.sqlite.display(),
                    why,
                    "state cannot be saved: everybody is told all the same, and a restart may repeat or forget it"
                );
                *none = Some(Trouble { since: now, why, retry, anew: None });
            }
        }
    }

    fn note_set_aside(&mut self, set_aside: Option<SetAside>) {
        let Some(aside) = set_aside else { return };
        let (path, now_at) = (self.config.sqlite.display(), aside.path.display());
        tracing::error!(%path, why = aside.why, set_aside = %now_at, "the state file was damaged, and is set aside");
        self.set_aside = Some(aside);
    }
}

async fn wait(until: Option<Deadline>) {
    match until {
        Some(until) => tokio::time::sleep(until.remaining().to_std()).await,
        None => std::future::pending().await,
    }
}
