//! The thread that writes the state file. It takes batches in order, several as one transaction where they have piled
//! up, and never touches the daemon's state.

use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;

use tokio::sync::mpsc;

use crate::clock::{Clock, Stopwatch};
use crate::engine::memory::Change;
use crate::engine::time::Duration;
use crate::store::sqlite::{SetAside, Sqlite};
use crate::store::{Batch, Saved, Store as _, StoreError};

use super::event::Event;

/// Batches that wait while one is written. More of them, and the disk does not keep up.
pub const MAX_QUEUED: usize = 256;
/// How long the start waits for the file to be read: longer than any disk takes that is still to be trusted.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// A batch and its place among all.
#[derive(Debug)]
pub struct Job {
    pub number: u64,
    pub batch: Batch,
}

/// How a write ended.
#[derive(Debug)]
pub struct Written {
    /// Everything up to this job was part of it.
    pub number: u64,
    pub took_s: f64,
    /// What stood in the way and was moved out of it, or why nothing was written.
    pub result: Result<Option<SetAside>, String>,
}

/// What the file held, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Found {
    pub saved: Saved,
    pub set_aside: Option<SetAside>,
    /// It cannot be written, for now.
    pub trouble: Option<String>,
}

struct Writer {
    path: PathBuf,
    store: Option<Sqlite>,
    /// The file may lack a batch: only everything anew can make it whole.
    has_holes: bool,
}

/// Opens the file and starts the thread. Fails only where going on would do harm.
pub fn start(path: &Path, events: mpsc::Sender<Event>) -> Result<(std_mpsc::SyncSender<Job>, Found), StoreError> {
    let (jobs, queue) = std_mpsc::sync_channel::<Job>(MAX_QUEUED);
    let (tell, told) = std_mpsc::sync_channel(1);
    let owned = path.to_owned();
    let run = move || {
        let (mut writer, found) = Writer::open(owned);
        // A start that waits no longer has taken the file for hanging; the next write says that it is there.
        if tell.send(found).is_err() {
            return;
        }
        while let Ok(Job { mut number, mut batch }) = queue.recv() {
            while let Ok(later) = queue.try_recv() {
                number = later.number;
                batch.extend(later.batch);
            }
            let stopwatch = Stopwatch::start();
            let result = writer.write(batch);
            let took_s = stopwatch.elapsed_s();
            if events.blocking_send(Event::Saved(Written { number, took_s, result })).is_err() {
                return;
            }
        }
    };
    let unusable = |why: String| StoreError::Unusable { path: path.into(), why };
    std::thread::Builder::new().name("state".into()).spawn(run).map_err(|error| unusable(error.to_string()))?;
    let hanging = || Found { trouble: Some(format!("it could not be read within {OPEN_WITHIN}")), ..Found::default() };
    let found = told.recv_timeout(OPEN_WITHIN.to_std()).unwrap_or_else(|_| Ok(hanging()))?;
    Ok((jobs, found))
}

impl Writer {
    fn open(path: PathBuf) -> (Self, Result<Found, StoreError>) {
        let opened = Sqlite::open(&path, Clock.now());
        let mut writer = Self { path, store: None, has_holes: false };
        let found = match opened {
            Ok(opened) => {
                writer.store = Some(opened.store);
                Ok(Found { saved: opened.saved, set_aside: opened.set_aside, trouble: None })
            }
            Err(error @ (StoreError::Newer { .. } | StoreError::Locked { .. })) => Err(error),
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Unusable { .. })) => {
                writer.has_holes = true;
                // What cannot be written may still be read.
                let saved = Sqlite::read_copy(&writer.path, &std::env::temp_dir()).unwrap_or_default();
                Ok(Found { saved, set_aside: None, trouble: Some(error.to_string()) })
            }
        };
        (writer, found)
    }

    fn write(&mut self, mut batch: Batch) -> Result<Option<SetAside>, String> {
        let anew = batch.changes.iter().rposition(|change| matches!(change, Change::Anew(_)));
        if let Some(anew) = anew {
            batch.changes.drain(..anew);
        } else if self.has_holes {
            return Err("an earlier write failed".into());
        }
        let written = self.try_write(&batch).map_err(|error| error.to_string());
        self.has_holes = written.is_err();
        if written.is_err() {
            // Opening it anew finds out what is wrong with it.
            self.store = None;
        }
        written
    }

    fn try_write(&mut self, batch: &Batch) -> Result<Option<SetAside>, StoreError> {
        let mut set_aside = None;
        let store = match &mut self.store {
            Some(store) => store,
            none => {
                let opened = Sqlite::open(&self.path, Clock.now())?;
                set_aside = opened.set_aside;
                none.insert(opened.store)
            }
        };
        store.commit(batch)?;
        Ok(set_aside)
    }
}
