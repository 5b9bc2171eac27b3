//! A long range of history as slices that fit an answer, oldest first.

use crate::clock::Deadline;
use crate::engine::time::{Duration, Timestamp};
use crate::source::SourceError;

use super::history::{MAX_SLOTS, MAX_SLOTS_OF_CHUNKS, Surveys, columns, grid};
use super::{Detail, History, Prometheus, slots_per_slice};

/// What an answer of one slice may take, in bytes, and what its counts may take in memory: small enough that a few
/// slices are nothing, large enough that the requests themselves are.
const SLICE_BYTES: usize = 16 << 20;
const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_ms(500);

/// Reads `[from, to]` slice by slice.
#[derive(Debug)]
pub struct Slices {
    prometheus: Prometheus,
    next: Timestamp,
    to: Timestamp,
    step: Duration,
    detail: Detail,
    deadline: Duration,
    /// Unknown before the first slice.
    slots: Option<usize>,
    surveys: Surveys,
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
        Self { prometheus, next: from, to, step, detail, deadline, slots: None, surveys: Surveys::new() }
    }

    /// The next slice; `None` when all are read. After an error the next call goes on behind the slice that failed, so
    /// a caller may leave a gap or give up.
    pub async fn next(&mut self) -> Option<Result<History, SourceError>> {
        let mut attempt = 0;
        while self.next <= self.to {
            let result = self.read().await;
            match result {
                Err(SourceError::TooManySlots { .. }) if self.slots.is_some_and(|slots| slots > MAX_SLOTS) => {
                    self.slots = Some(slots_per_slice(columns(&self.surveys, self.detail), SLICE_BYTES));
                    continue;
                }
                Err(SourceError::TooLarge { .. }) if self.slots.is_some_and(|slots| slots > 1) => {
                    self.slots = self.slots.map(|slots| slots / 2);
                    continue;
                }
                Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => {
                    tokio::time::sleep(FIRST_BACKOFF.times(f64::from(1 << attempt)).to_std()).await;
                    attempt += 1;
                    continue;
                }
                _ => {}
            }
            self.next = self.end() + self.step;
            return Some(result);
        }
        None
    }

    async fn read(&mut self) -> Result<History, SourceError> {
        if self.slots.is_none() {
            let deadline = Deadline::after(self.deadline);
            // Once for all slices: where bounds come or go, the slices that it concerns show it.
            self.surveys = self.prometheus.surveys(self.next, self.to, deadline).await?;
            self.prometheus.refuse_native(&self.surveys, self.to, deadline).await?;
            let columns = columns(&self.surveys, self.detail);
            let as_chunks = (SLICE_BYTES / size_of::<f64>() / columns.max(1)).clamp(1, MAX_SLOTS_OF_CHUNKS);
            let by_query = slots_per_slice(columns, SLICE_BYTES);
            self.slots = Some(if self.prometheus.may_have_chunks() { as_chunks } else { by_query });
        }
        let grid = grid(self.next, self.end(), self.step)?;
        self.prometheus.surveyed_history(&self.surveys, grid, self.detail, Deadline::after(self.deadline)).await
    }

    /// The last slot of the slice that starts at `next`.
    fn end(&self) -> Timestamp {
        let slots = self.slots.unwrap_or(1) as i64;
        (self.next + Duration::from_ms(self.step.ms() * (slots - 1))).min(self.to)
    }
}
