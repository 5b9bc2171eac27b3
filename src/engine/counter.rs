//! From cumulative buckets to increases, one series at a time: resets, ends and returns of a series.
//!
//! A counter that went down was reset, and its later value is the increase. A series that was absent from polls and
//! comes back within [`RETURN_WITHIN`] goes on from its last value: one failed scrape makes Prometheus end every series
//! of a target, just when it is overloaded. After that its return counts as a new series. Time without any answer is
//! nobody's absence, so polls are counted and not slots.
//!
//! ```
//! use slowburn::engine::counter::{Counter, Seen};
//! let mut counter = Counter::new(2);
//! let mut increase = [0.0; 2];
//! let at = |poll| Seen { poll, slot: poll };
//! assert!(!counter.advance(at(100), &[5.0, 9.0], 120, false, &mut increase), "the first sample sets the baseline");
//! assert!(counter.advance(at(101), &[7.0, 12.0], 120, false, &mut increase));
//! assert_eq!(increase, [2.0, 3.0]);
//! ```

use serde::{Deserialize, Serialize};

use super::time::Duration;

/// What a series counted while it was absent for longer than this (Prometheus' default lookback) belongs to the beginning
/// of its absence rather than to its return: a window that began meanwhile never saw where the counter stood.
pub const LOOKBACK: Duration = Duration::from_minutes(5);

/// How long a series may be absent from answers and still be the same one.
pub const RETURN_WITHIN: Duration = Duration::from_hours(1);

/// When a series was present: the number of the poll, of those that were answered, and of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub poll: i64,
    pub slot: i64,
}

/// The last known buckets of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counter {
    last: Box<[f64]>,
    seen: Option<Seen>,
    /// Whether some of `last` are NaN, which is unknown: just after the bounds changed.
    gaps: bool,
}

impl Counter {
    pub fn new(buckets: usize) -> Self {
        Self { last: vec![0.0; buckets].into_boxed_slice(), seen: None, gaps: false }
    }

    /// The same series with other bounds. Buckets that both have go on from their last value; one that is new goes with
    /// the bucket below it, so that what is unknown counts as slower.
    pub fn with_bounds(&self, old: &[f64], new: &[f64]) -> Self {
        let last = new.iter().map(|bound| {
            let known = old.iter().position(|known| known == bound);
            known.map_or(f64::NAN, |bucket| self.last[bucket])
        });
        Self { last: last.collect(), seen: self.seen, gaps: true }
    }

    /// Takes the cumulative counts of a poll and adds their increases to `sums`, bucket by bucket. Returns whether an
    /// increase could be measured: a first sample (unless `born_at_zero`), or one after an absence from more than
    /// `return_within_polls`, only sets the baseline.
    ///
    /// Any bucket that fell means that the process behind the series started anew, so all its buckets did.
    pub fn advance(
        &mut self,
        now: Seen,
        counts: &[f64],
        return_within_polls: i64,
        born_at_zero: bool,
        sums: &mut [f64],
    ) -> bool {
        debug_assert_eq!(counts.len(), self.last.len());
        let known = self.seen.is_some_and(|seen| now.poll - seen.poll <= return_within_polls);
        let never_seen = self.seen.is_none();
        self.seen = Some(now);
        let measured = known || (never_seen && born_at_zero);
        if measured {
            if self.gaps {
                self.fill_gaps(counts);
            }
            // Without a branch, so that the compiler makes vectors of both loops.
            let reset = self.last.iter().zip(counts).fold(false, |reset, (last, count)| reset | (count < last));
            if reset {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            } else {
                let increases = self.last.iter().zip(counts).map(|(last, count)| count - last);
                sums.iter_mut().zip(increases).for_each(|(sum, increase)| *sum += increase);
            }
        }
        self.last.copy_from_slice(counts);
        measured
    }

    /// Gives each unknown bucket the baseline with which it increases as much as the bucket below it.
    fn fill_gaps(&mut self, counts: &[f64]) {
        let mut below = 0.0;
        for (last, count) in self.last.iter_mut().zip(counts) {
            if last.is_nan() {
                *last = count - below;
            }
            below = count - *last;
        }
        self.gaps = false;
    }

    /// The newest counts it took; zero before the first.
    pub fn last(&self) -> &[f64] {
        &self.last
    }

    /// Goes on from counts whose increases were taken elsewhere.
    pub fn stand_at(&mut self, seen: Seen, counts: &[f64]) {
        self.seen = Some(seen);
        self.last.copy_from_slice(counts);
    }

    pub fn buckets(&self) -> usize {
        self.last.len()
    }

    /// Goes on as if the series had been seen `slots` earlier.
    pub fn rewind(&mut self, slots: i64) {
        self.seen = self.seen.map(|seen| Seen { slot: seen.slot - slots, ..seen });
    }

    /// When the series was last present.
    pub fn seen(&self) -> Option<Seen> {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(poll: i64) -> Seen {
        Seen { poll, slot: poll }
    }

    /// Feeds `(poll, count)` samples of a one-bucket series and returns the increase each one added.
    fn check(born_at_zero: bool, samples: &[(i64, f64)], expected: &[Option<f64>]) {
        let mut counter = Counter::new(1);
        for ((poll, count), expected) in samples.iter().zip(expected) {
            let mut sums = [0.0];
            let measured = counter.advance(at(*poll), &[*count], 10, born_at_zero, &mut sums);
            assert_eq!(measured.then_some(sums[0]), *expected, "sample {count} at poll {poll}");
        }
    }

    #[test]
    fn increases() {
        let none = None;
        // Steady growth; the first sample may be old.
        check(false, &[(1, 100.0), (2, 103.0), (3, 103.0)], &[none, Some(3.0), Some(0.0)]);
        // A reset: the later value is what was counted since.
        check(false, &[(1, 100.0), (2, 4.0), (3, 6.0)], &[none, Some(4.0), Some(2.0)]);
        // Absent for a while: the same series within the limit (10 polls here), a new one after it.
        check(false, &[(1, 100.0), (11, 130.0)], &[none, Some(30.0)]);
        check(false, &[(1, 100.0), (12, 130.0), (13, 131.0)], &[none, none, Some(1.0)]);
        // Born late from zero, but a return is no birth.
        check(true, &[(1, 7.0), (2, 9.0), (30, 500.0)], &[Some(7.0), Some(2.0), none]);
    }

    #[test]
    fn shared_buckets_go_on_under_new_bounds() {
        let mut counter = Counter::new(3);
        counter.advance(at(1), &[10.0, 20.0, 30.0], 10, false, &mut [0.0; 3]);
        let mut counter = counter.with_bounds(&[0.1, 0.2, f64::INFINITY], &[0.1, 0.15, 0.2, f64::INFINITY]);
        let mut sums = [0.0; 4];
        assert!(counter.advance(at(2), &[12.0, 19.0, 25.0, 36.0], 10, false, &mut sums));
        assert_eq!(sums, [2.0, 2.0, 5.0, 6.0], "the new bucket goes with the one below");
        counter.advance(at(3), &[13.0, 21.0, 28.0, 40.0], 10, false, &mut sums);
        assert_eq!(sums, [3.0, 4.0, 8.0, 10.0], "and has a baseline of its own from then on");
    }

    #[test]
    fn one_bucket_that_fell_resets_all() {
        let mut counter = Counter::new(3);
        let mut sums = [0.0; 3];
        counter.advance(at(1), &[50.0, 80.0, 100.0], 10, false, &mut sums);
        // The restarted process already counted more slow requests than the old one had.
        counter.advance(at(2), &[10.0, 90.0, 150.0], 10, false, &mut sums);
        assert_eq!(sums, [10.0, 90.0, 150.0]);
    }
}
