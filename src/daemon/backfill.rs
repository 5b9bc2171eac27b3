//! Reading the history that the windows lack, slice by slice, beside the loop.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::engine::Spec;
use crate::engine::slo::quantile_window;
use crate::engine::time::{Duration, Timestamp};
use crate::source::SourceError;
use crate::source::prometheus::{Detail, History, Prometheus, Slices};

/// Quantiles of at least this much are there at the first evaluation.
const BUCKETS_FOR: Duration = Duration::from_hours(1);
/// Slices in a row that may fail before the rest is left as a gap.
const MAX_FAILURES: u32 = 3;

/// A backfill under way. Dropping it stops it.
#[derive(Debug)]
pub struct Backfill {
    pub from: Timestamp,
    /// The last slot.
    pub to: Timestamp,
    slices: mpsc::Receiver<Result<History, SourceError>>,
    task: JoinHandle<()>,
}

impl Backfill {
    /// Reads what polls at the slots `from` to `to` would have seen; `deadline` is for each request.
    pub fn start(prometheus: Prometheus, spec: &Spec, (from, to): (Timestamp, Timestamp), deadline: Duration) -> Self {
        let parts = parts(spec, from, to)
            .map(|(from, to, detail)| Slices::new(prometheus.clone(), from, to, spec.interval, detail, deadline));
        // One slice waits while the loop takes in the one before.
        let (sender, slices) = mpsc::channel(1);
        let task = tokio::spawn(read(parts, sender));
        Self { from, to, slices, task }
    }

    /// The next slice; `None` when all are read.
    pub async fn next(&mut self) -> Option<Result<History, SourceError>> {
        self.slices.recv().await
    }
}

impl Drop for Backfill {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Good and total requests of the far past, and all buckets where quantiles look.
fn parts(spec: &Spec, from: Timestamp, to: Timestamp) -> [(Timestamp, Timestamp, Detail); 2] {
    let quantiles = spec.slos.iter().map(quantile_window).fold(BUCKETS_FOR, Duration::max);
    let near = (to - quantiles).align_down(spec.interval).max(from);
    [(from, near - spec.interval, Detail::Counts), (near, to, Detail::Buckets)]
}

async fn read(parts: [Slices; 2], sender: mpsc::Sender<Result<History, SourceError>>) {
    let mut failures = 0;
    for mut slices in parts {
        while let Some(slice) = slices.next().await {
            failures = if slice.is_ok() { 0 } else { failures + 1 };
            if sender.send(slice).await.is_err() || failures == MAX_FAILURES {
                return;
            }
        }
    }
}
