//! A long range of history as slices that fit an answer, oldest first.

use crate::engine::time::{Duration, Timestamp};
use crate::source::SourceError;

use super::{Detail, History, Prometheus, slots_per_slice};

/// What an answer of one slice may take, in bytes: small enough that two slices in memory are nothing, large enough
/// that the requests themselves are.
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
        Self { prometheus, next: from, to, step, detail, deadline, slots: None }
    }

    /// The next slice; `None` when all are read. After an error the next call goes on behind the slice that failed, so
    /// a caller may leave a gap or give up.
    pub async fn next(&mut self) -> Option<Result<History, SourceError>> {
        let mut attempt = 0;
        while self.next <= self.to {
            let result = self.read().await;
            match result {
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
            let columns = self.prometheus.columns(self.next, self.to, self.detail, self.deadline).await?;
            self.slots = Some(slots_per_slice(columns, SLICE_BYTES));
        }
        self.prometheus.history(self.next, self.end(), self.step, self.detail, self.deadline).await
    }

    /// The last slot of the slice that starts at `next`.
    fn end(&self) -> Timestamp {
        let slots = self.slots.unwrap_or(1) as i64;
        (self.next + Duration::from_ms(self.step.ms() * (slots - 1))).min(self.to)
    }
}
