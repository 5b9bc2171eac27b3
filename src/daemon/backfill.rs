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

/// The slots that are missing before `slot`: all that the windows reach, or those since `newest`.
pub fn missing(spec: &Spec, newest: Option<Timestamp>, slot: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let interval = spec.interval;
    let reach = (slot - spec.longest_window()).align_down(interval) - interval;
    let from = newest.map_or(reach, |newest| reach.max(newest + interval));
    let to = slot - interval;
    (from <= to).then_some((from, to))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_s(s)
    }

    #[test]
    fn what_is_missing() {
        let slo = crate::engine::sli::SloSpec { period: Duration::from_hours(1), ..slo() };
        let spec = Spec { interval: Duration::from_secs(30), slos: vec![slo], ..Spec::default() };
        let missing = |newest: Option<i64>, slot| missing(&spec, newest.map(at), at(slot));
        assert_eq!(missing(None, 36_000), Some((at(32_370), at(35_970))), "a baseline and every slot of the window");
        assert_eq!(missing(Some(35_970), 36_000), None);
        assert_eq!(missing(Some(35_940), 36_000), Some((at(35_970), at(35_970))));
        assert_eq!(missing(Some(30), 36_000), Some((at(32_370), at(35_970))), "no more than the windows reach");
    }

    fn slo() -> crate::engine::sli::SloSpec {
        crate::engine::sli::SloSpec {
            journey: "checkout".into(),
            layer: None,
            tier: None,
            owner: None,
            runbook: None,
            labels: Default::default(),
            selector: "m".into(),
            budget_s: 0.1,
            objective_ppm: 990_000,
            period: Duration::ZERO,
            between: Default::default(),
            new_series: Default::default(),
            by: vec![],
            max_by: 1,
            rules: vec![],
        }
    }
}
