//! A long range of history, oldest first: asked for in slices that fit an answer, and put into slots in pieces that fit a
//! processor's cache.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::clock::Deadline;
use crate::engine::time::{Duration, Timestamp};
use crate::source::SourceError;

use super::history::{MAX_SLOTS, MAX_SLOTS_OF_CHUNKS, Surveys, columns, grid};
use super::{Detail, History, Prometheus, slots_per_slice};

/// What an answer of queries may take for one slice, in bytes, and what the counts of a slice of chunks would take, were
/// they all put into slots at once: small enough that a few slices are nothing, large enough that the requests themselves
/// and the server's search for each are.
const SLICE_BYTES: usize = 16 << 20;
/// What the counts of one piece may take in memory, in bytes: a processor's cache holds them from when they are decoded
/// until they are counted, and the next piece takes their place.
const PIECE_BYTES: usize = 640 << 10;
/// Slots of a piece, at least and at most. Chunks at its edges are decoded for the next piece once more.
const PIECE_SLOTS: RangeInclusive<usize> = 960..=4_096;
/// Pieces put into slots before they are asked for.
const PIECES_AHEAD: usize = 1;
/// Slices asked for at once: the server reads one while another is decoded here.
const SLICES_AT_ONCE: usize = 2;
const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_ms(500);

/// Reads `[from, to]` piece by piece.
#[derive(Debug)]
pub struct Slices {
    prometheus: Prometheus,
    /// The first slot that was not handed over.
    at: Timestamp,
    /// The first slot that was not asked for.
    next: Timestamp,
    to: Timestamp,
    step: Duration,
    detail: Detail,
    deadline: Duration,
    /// Unknown before the first slice.
    slots: Option<usize>,
    surveys: Arc<Surveys>,
    /// What was asked for, the oldest first.
    asked: VecDeque<Asked>,
}

/// A slice that is being read; dropping it stops that.
#[derive(Debug)]
struct Asked {
    to: Timestamp,
    pieces: mpsc::Receiver<Result<History, SourceError>>,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Slices {
    /// `from` and `to` are multiples of `step`, both included; `deadline` is for each request.
    pub fn new(
        prometheus: Prometheus,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
        detail: Detail,
        deadline: Duration,
    ) -> Self {
        let (surveys, asked) = (Arc::new(Surveys::new()), VecDeque::new());
        Self { prometheus, at: from, next: from, to, step, detail, deadline, slots: None, surveys, asked }
    }

    /// The next piece; `None` when all are read. After an error the next call goes on behind the slice that failed, so
    /// a caller may leave a gap or give up.
    pub async fn next(&mut self) -> Option<Result<History, SourceError>> {
        let mut attempt = 0;
        while self.at <= self.to {
            let (to, piece) = match self.size().await {
                Ok(slots) => self.oldest(slots).await?,
                Err(error) => (self.at, Err(error)),
            };
            let error = match piece {
                Ok(history) => {
                    self.at = history.to() + self.step;
                    if self.at > to {
                        self.asked.pop_front();
                    }
                    return Some(Ok(history));
                }
                Err(error) => error,
            };
            // Once more from there, or on behind it.
            self.asked.clear();
            self.next = self.at;
            match error {
                SourceError::TooManySlots { .. } if self.slots.is_some_and(|slots| slots > MAX_SLOTS) => {
                    self.slots = Some(slots_per_slice(columns(&self.surveys, self.detail), SLICE_BYTES));
                }
                SourceError::TooLarge { .. } if self.slots.is_some_and(|slots| slots > 1) => {
                    self.slots = self.slots.map(|slots| slots / 2);
                }
                error if error.is_transient() && attempt + 1 < ATTEMPTS => {
                    tokio::time::sleep(FIRST_BACKOFF.times(f64::from(1 << attempt)).to_std()).await;
                    attempt += 1;
                }
                error => {
                    self.at = to + self.step;
                    self.next = self.at;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// How many slots a slice has.
    async fn size(&mut self) -> Result<usize, SourceError> {
        if let Some(slots) = self.slots {
            return Ok(slots);
        }
        // Once for all slices: where bounds come or go, the slices that it concerns show it.
        let deadline = Deadline::after(self.deadline);
        let surveys = self.prometheus.surveys(self.next, self.to, deadline);
        // Every slice needs what the server says of itself; where it does not answer, the first slice meets that.
        let (surveys, _) = tokio::join!(surveys, self.prometheus.external_labels(deadline));
        let surveys = surveys?;
        self.prometheus.refuse_native(&surveys, self.to, deadline).await?;
        let columns = columns(&surveys, self.detail).max(1);
        let slots = if self.prometheus.may_have_chunks() {
            (SLICE_BYTES / size_of::<f64>() / columns).clamp(1, MAX_SLOTS_OF_CHUNKS)
        } else {
            slots_per_slice(columns, SLICE_BYTES)
        };
        (self.slots, self.surveys) = (Some(slots), Arc::new(surveys));
        Ok(slots)
    }

    /// The next piece of the oldest slice, and where that slice ends, while others are being read.
    async fn oldest(&mut self, slots: usize) -> Option<(Timestamp, Result<History, SourceError>)> {
        while self.asked.len() < SLICES_AT_ONCE && self.next <= self.to {
            let from = self.next;
            let to = (from + Duration::from_ms(self.step.ms() * (slots as i64 - 1))).min(self.to);
            self.next = to + self.step;
            let (prometheus, surveys) = (self.prometheus.clone(), Arc::clone(&self.surveys));
            let (step, detail, deadline) = (self.step, self.detail, self.deadline);
            let (send, pieces) = mpsc::channel(PIECES_AHEAD);
            let task = tokio::spawn(async move {
                let read = read(&prometheus, &surveys, (from, to, step), detail, deadline, &send).await;
                if let Err(error) = read {
                    // Nobody listens any more.
                    let _ = send.send(Err(error)).await;
                }
            });
            self.asked.push_back(Asked { to, pieces, task: task.abort_handle() });
        }
        // A caller may stop waiting and come back.
        let Asked { to, pieces, .. } = self.asked.front_mut()?;
        Some((*to, pieces.recv().await.unwrap_or_else(|| Err(SourceError::decoder()))))
    }
}

/// Reads one slice and hands its pieces to `send`, as long as somebody wants them.
async fn read(
    prometheus: &Prometheus,
    surveys: &Surveys,
    (from, to, step): (Timestamp, Timestamp, Duration),
    detail: Detail,
    deadline: Duration,
    send: &mpsc::Sender<Result<History, SourceError>>,
) -> Result<(), SourceError> {
    let grid = grid(from, to, step)?;
    let mut asked = prometheus.ask_history(surveys, grid, detail, Deadline::after(deadline)).await?;
    let columns = asked.columns();
    let slots = if asked.is_packed() && columns > 0 {
        (PIECE_BYTES / size_of::<f64>() / columns).clamp(*PIECE_SLOTS.start(), *PIECE_SLOTS.end())
    } else {
        grid.slots
    };
    for piece in grid.pieces(slots) {
        let history = prometheus.put(&mut asked, piece, grid.last(), Deadline::after(deadline)).await?;
        if send.send(Ok(history)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
