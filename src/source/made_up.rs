//! Series that nobody ever scraped, for tests of rules: what polls would have seen of them.
//!
//! As with a real server, a poll sees the newest sample of a bucket that is no older than the lookback, and none of a
//! bucket that ended. Nothing is read from anywhere.

use std::collections::BTreeMap;

use crate::config::selector::Selector;
use crate::config::testing::{Sample, Series};
use crate::engine::counter::LOOKBACK;
use crate::engine::histogram::{Labels, Poll};
use crate::engine::sli::SloSpec;
use crate::engine::time::{Duration, Timestamp};

use super::plan::Plan;
use super::series::PollBuilder;

/// Made-up series with the SLOs that select them.
pub struct MadeUp<'a> {
    plan: Plan,
    /// By request of the plan, then labels.
    series: Vec<BTreeMap<&'a Labels, Vec<&'a Series>>>,
    start: Timestamp,
    /// Distance of two samples.
    interval: Duration,
}

impl<'a> MadeUp<'a> {
    /// The test begins at `start`. `selectors` are the histograms of `slos`, in the same order; a series that none
    /// of them selects is never seen.
    pub fn new(
        slos: &[SloSpec],
        selectors: &[Selector],
        series: &'a [Series],
        start: Timestamp,
        interval: Duration,
    ) -> Self {
        let plan = Plan::new(slos, selectors);
        let mut by_request: Vec<BTreeMap<&Labels, Vec<&Series>>> =
            plan.requests.iter().map(|_| BTreeMap::new()).collect();
        for series in series {
            if let Some(request) = plan.position(&series.metric) {
                by_request[request].entry(&series.labels).or_default().push(series);
            }
        }
        Self { plan, series: by_request, start, interval }
    }

    /// What a poll at `slot` would have seen.
    pub fn poll(&self, slot: Timestamp) -> Poll {
        let mut poll = PollBuilder::default();
        for (request, series) in self.plan.requests.iter().zip(&self.series) {
            for (labels, buckets) in series {
                let seen = buckets.iter().filter_map(|bucket| Some((bucket.bound_s, self.value(bucket, slot)?)));
                let seen: Vec<(f64, f64)> = seen.collect();
                if !seen.is_empty() {
                    poll.push(request, (*labels).clone(), seen);
                }
            }
        }
        poll.finish()
    }

    /// The newest sample at or before `slot`, unless it is too old or says that the series ended.
    fn value(&self, series: &Series, slot: Timestamp) -> Option<f64> {
        let step_ms = self.interval.ms();
        let newest = (slot.unix_ms() - self.start.unix_ms()).div_euclid(step_ms);
        let oldest = newest - LOOKBACK.ms() / step_ms;
        for number in (oldest.max(-(series.lead as i64))..=newest).rev() {
            let age_ms = slot.unix_ms() - self.start.unix_ms() - number * step_ms;
            match sample(series, number) {
                // As in Prometheus 3, a sample exactly that old is too old.
                _ if age_ms >= LOOKBACK.ms() => return None,
                None | Some(Sample::Missing) => {}
                Some(Sample::Stale) => return None,
                Some(Sample::Value(value)) => return Some(value),
            }
        }
        None
    }
}

/// The sample so many intervals after the test's beginning, or before it.
fn sample(series: &Series, number: i64) -> Option<Sample> {
    match (usize::try_from(number), series.samples.first()) {
        (Ok(number), _) => series.samples.get(number).copied(),
        (Err(_), Some(Sample::Value(first))) => Some(Sample::Value(first + series.growth * number as f64)),
        (Err(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::plan::tests::selector;

    #[test]
    fn polls_see_the_newest_sample_within_the_lookback() {
        let value = Sample::Value;
        let check = |lead: usize, samples: &[Sample], interval_s: i64, slot_s: i64, expected: Option<f64>| {
            let series = [Series {
                metric: "m".to_owned(),
                labels: Labels::new(),
                bound_s: f64::INFINITY,
                lead,
                growth: 1.0,
                samples: samples.to_vec(),
            }];
            let start = Timestamp::from_unix_s(1_000_000);
            let made_up = MadeUp::new(&[], &[selector("m", &[])], &series, start, Duration::from_secs(interval_s));
            let poll = made_up.poll(Timestamp::from_unix_s(1_000_000 + slot_s));
            let seen = poll.series.first().map(|(_, histogram)| histogram.counts[0]);
            assert_eq!(seen, expected, "{samples:?} at {slot_s}");
        };
        let samples = [value(1.0), Sample::Missing, value(3.0), Sample::Stale, Sample::Missing, value(6.0)];
        for (slot_s, expected) in [(0, 1.0), (59, 1.0), (60, 1.0), (120, 3.0), (179, 3.0), (300, 6.0), (599, 6.0)] {
            check(0, &samples, 60, slot_s, Some(expected));
        }
        for slot_s in [180, 240, 600, 100_000] {
            check(0, &samples, 60, slot_s, None);
        }
        // Samples further apart than the lookback.
        check(0, &samples, 600, 299, Some(1.0));
        check(0, &samples, 600, 300, None);
        check(0, &[], 60, 0, None);
        // What was before the beginning.
        for (slot_s, expected) in [(0, Some(9.0)), (-1, Some(8.0)), (-60, Some(8.0)), (-180, Some(6.0)), (-181, None)] {
            check(3, &[value(9.0)], 60, slot_s, expected);
        }
    }
}
