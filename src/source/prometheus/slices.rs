//! A long range of history as slices that fit an answer, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::clock::Deadline;
use crate::engine::time::{Duration, Timestamp};
use crate::source::SourceError;

use super::history::{MAX_SLOTS, MAX_SLOTS_OF_CHUNKS, Surveys, columns, grid};
use super::{Detail, History, Prometheus, slots_per_slice};

/// What an answer of queries may take for one slice, in bytes: small enough that a few slices are nothing, large enough
/// that the requests themselves are.
const SLICE_BYTES: usize = 16 << 20;
/// What the counts of one slice of chunks may take in memory, in bytes: each slice costs the server a search, and the
/// engine has something to do while most is still to be read.
const CHUNKS_SLICE_BYTES: usize = 4 << 20;
/// Slots that a slice of chunks has at least, in `SLICE_BYTES` of counts: at its edges are chunks of which only a part
/// is of use, each of up to 120 samples.
const LEAST_SLOTS_OF_CHUNKS: usize = 2_880;
/// Slices asked for at once: the server reads one while another is decoded here.
const SLICES_AT_ONCE: usize = 2;
const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_ms(500);

/// Reads `[from, to]` slice by slice.
#[derive(Debug)]
pub struct Slices {
    prometheus: Prometheus,
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
    from: Timestamp,
    to: Timestamp,
    task: JoinHandle<Result<History, SourceError>>,
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
        Self { prometheus, next: from, to, step, detail, deadline, slots: None, surveys, asked }
    }

    /// The next slice; `None` when all are read. After an error the next call goes on behind the slice that failed, so
    /// a caller may leave a gap or give up.
    pub async fn next(&mut self) -> Option<Result<History, SourceError>> {
        let mut attempt = 0;
        while !self.asked.is_empty() || self.next <= self.to {
            let (from, to, result) = match self.size().await {
                Ok(slots) => self.oldest(slots).await?,
                Err(error) => (self.next, self.next, Err(error)),
            };
            match result {
                Err(SourceError::TooManySlots { .. }) if self.slots.is_some_and(|slots| slots > MAX_SLOTS) => {
                    self.slots = Some(slots_per_slice(columns(&self.surveys, self.detail), SLICE_BYTES));
                }
                Err(SourceError::TooLarge { .. }) if self.slots.is_some_and(|slots| slots > 1) => {
                    self.slots = self.slots.map(|slots| slots / 2);
                }
                Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => {
                    tokio::time::sleep(FIRST_BACKOFF.times(f64::from(1 << attempt)).to_std()).await;
                    attempt += 1;
                }
                result => {
                    self.next = self.next.max(to + self.step);
                    return Some(result);
                }
            }
            // Once more from there.
            self.asked.clear();
            self.next = from;
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
        let fit = |bytes: usize| bytes / size_of::<f64>() / columns;
        let as_chunks = fit(CHUNKS_SLICE_BYTES).max(fit(SLICE_BYTES).min(LEAST_SLOTS_OF_CHUNKS));
        let slots = if self.prometheus.may_have_chunks() {
            as_chunks.clamp(1, MAX_SLOTS_OF_CHUNKS)
        } else {
            slots_per_slice(columns, SLICE_BYTES)
        };
        (self.slots, self.surveys) = (Some(slots), Arc::new(surveys));
        Ok(slots)
    }

    /// The oldest slice that is not read yet, while others are being read.
    async fn oldest(&mut self, slots: usize) -> Option<(Timestamp, Timestamp, Result<History, SourceError>)> {
        while self.asked.len() < SLICES_AT_ONCE && self.next <= self.to {
            let from = self.next;
            let to = (from + Duration::from_ms(self.step.ms() * (slots as i64 - 1))).min(self.to);
            self.next = to + self.step;
            let (prometheus, surveys) = (self.prometheus.clone(), Arc::clone(&self.surveys));
            let (step, detail, deadline) = (self.step, self.detail, self.deadline);
            let task = tokio::spawn(async move {
                let grid = grid(from, to, step)?;
                prometheus.surveyed_history(&surveys, grid, detail, Deadline::after(deadline)).await
            });
            self.asked.push_back(Asked { from, to, task });
        }
        // Taken off only once it is there: a caller may stop waiting and come back.
        let asked = self.asked.front_mut()?;
        let result = (&mut asked.task).await.unwrap_or_else(|_panicked| Err(SourceError::decoder()));
        let Asked { from, to, .. } = *asked;
        self.asked.pop_front();
        Some((from, to, result))
    }
}
