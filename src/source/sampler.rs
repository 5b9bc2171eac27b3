//! From samples to slots: what an instant query at each slot would answer.
//!
//! ```
//! use slowburn::engine::time::{Duration, Timestamp};
//! use slowburn::source::sampler::{Grid, Lookback, Sampler};
//! let grid = Grid { from: Timestamp::from_unix_s(60), step: Duration::from_secs(30), slots: 3 };
//! let mut sampler = Sampler::new(grid, Lookback::default());
//! sampler.push(58_000, 5.0);
//! sampler.push(91_000, 7.0);
//! assert_eq!(sampler.finish().points().collect::<Vec<_>>(), [(0, 5.0), (1, 5.0), (2, 7.0)]);
//! ```

use crate::engine::counter::LOOKBACK;
use crate::engine::time::{Duration, Timestamp};

use super::xor::{STALE_BITS, Samples};

const ABSENT: f64 = f64::from_bits(STALE_BITS);

/// The slots of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    pub from: Timestamp,
    pub step: Duration,
    pub slots: usize,
}

/// How far back from a slot the newest sample may lie to be its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookback {
    pub length: Duration,
    /// Whether a sample exactly that far back counts: it does before Prometheus 3.
    pub closed: bool,
}

/// One series' samples, in the order of time, put into slots.
#[derive(Debug)]
pub struct Sampler {
    grid: Grid,
    lookback_ms: i64,
    /// The first slot without a value yet, and its time.
    slot: u32,
    slot_ms: i64,
    newest_ms: i64,
    newest: f64,
    run: Run,
}

/// The values of one bucket from its first slot to its last.
#[derive(Debug, Clone, Default)]
pub struct Run {
    first: u32,
    /// A slot without a value holds the stale marker, which is no value either.
    values: Vec<f64>,
}

impl Default for Lookback {
    fn default() -> Self {
        Self { length: LOOKBACK, closed: false }
    }
}

impl Grid {
    pub fn last(&self) -> Timestamp {
        self.from + Duration::from_ms(self.step.ms() * (self.slots as i64 - 1))
    }

    /// The same slots in pieces of so many, the last one of fewer; at least one a piece.
    pub fn pieces(self, slots: usize) -> impl Iterator<Item = Self> {
        let slots = slots.max(1);
        (0..self.slots).step_by(slots).map(move |at| {
            let from = self.from + Duration::from_ms(self.step.ms() * at as i64);
            Self { from, slots: slots.min(self.slots - at), ..self }
        })
    }

    /// The first so many of its slots, and the others.
    pub fn split_at(self, slots: usize) -> (Self, Self) {
        let from = self.from + Duration::from_ms(self.step.ms() * slots as i64);
        (Self { slots, ..self }, Self { from, slots: self.slots - slots, ..self })
    }

    /// The slot at `unix_s`, or `None` if there is none.
    pub fn slot(&self, unix_s: f64) -> Option<u32> {
        let since = ((unix_s * 1000.0).round() as i64).saturating_sub(self.from.unix_ms());
        let slot = usize::try_from(since / self.step.ms()).ok()?;
        (since >= 0 && since % self.step.ms() == 0 && slot < self.slots).then_some(slot as u32)
    }
}

impl Run {
    /// Slots must ascend: one that does not is refused, with `false`.
    #[inline]
    pub fn push(&mut self, slot: u32, value: f64) -> bool {
        if self.values.is_empty() {
            self.first = slot;
        }
        if slot as usize == self.first as usize + self.values.len() {
            self.values.push(value);
            return true;
        }
        let Some(at) = (slot as usize).checked_sub(self.first as usize) else { return false };
        if at < self.values.len() {
            return false;
        }
        self.values.resize(at, ABSENT);
        self.values.push(value);
        true
    }

    /// Values of slots that follow one another, some of which may be none; the first comes behind those that are there.
    fn extend(&mut self, slot: u32, values: &[f64]) {
        if self.values.is_empty() {
            let Some(none) = values.iter().position(|value| value.to_bits() != STALE_BITS) else { return };
            self.first = slot + none as u32;
            return self.values.extend_from_slice(&values[none..]);
        }
        self.values.resize((slot - self.first) as usize, ABSENT);
        self.values.extend_from_slice(values);
    }

    /// Ends at the last slot that has a value.
    fn trim(&mut self) {
        while self.values.pop_if(|value| value.to_bits() == STALE_BITS).is_some() {}
    }

    /// The slots that have a value, with their values, ascending.
    pub fn points(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let slots = (self.first..).zip(self.values.iter().copied());
        slots.filter(|(_, value)| value.to_bits() != STALE_BITS)
    }

    /// The first slot that has a value, and all from there to the last; the stale marker stands where there is none.
    pub fn cells(&self) -> (usize, &[f64]) {
        (self.first as usize, &self.values)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What it takes in memory, in values.
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

/// Whether they are all so far apart.
fn is_regular(unix_ms: &[i64], apart_ms: i64) -> bool {
    // Without a way out in the middle, it takes several at once.
    unix_ms.windows(2).fold(0, |odd, pair| odd | (pair[1].wrapping_sub(pair[0]) ^ apart_ms)) == 0
}

impl FromIterator<(u32, f64)> for Run {
    fn from_iter<T: IntoIterator<Item = (u32, f64)>>(points: T) -> Self {
        let mut run = Run::default();
        for (slot, value) in points {
            run.push(slot, value);
        }
        run
    }
}

impl Sampler {
    pub fn new(grid: Grid, lookback: Lookback) -> Self {
        Self {
            grid,
            lookback_ms: lookback.length.ms() - i64::from(!lookback.closed),
            slot: 0,
            slot_ms: grid.from.unix_ms(),
            newest_ms: i64::MIN / 2,
            newest: ABSENT,
            run: Run::default(),
        }
    }

    /// A sample that is not later than the one before is left out: chunks may overlap.
    #[inline]
    pub fn push(&mut self, unix_ms: i64, value: f64) {
        if unix_ms <= self.newest_ms {
            return;
        }
        while self.slot_ms < unix_ms && (self.slot as usize) < self.grid.slots {
            self.close_slot();
        }
        (self.newest_ms, self.newest) = (unix_ms, value);
    }

    /// As pushing one after the other. Where one falls into each slot, which is how most are scraped, they are copied.
    pub fn push_all(&mut self, samples: &Samples) {
        let (unix_ms, values) = (&samples.unix_ms[..], &samples.values[..]);
        let step_ms = self.grid.step.ms();
        let mut one_a_slot = is_regular(unix_ms, step_ms);
        if one_a_slot && self.run.values.capacity() == 0 {
            // All at once, or it would be copied each time that it grows.
            self.run.values.reserve(self.grid.slots - self.slot as usize);
        }
        let mut at = 0;
        while at < unix_ms.len() {
            self.push(unix_ms[at], values[at]);
            at += 1;
            let age_ms = self.slot_ms - self.newest_ms;
            if one_a_slot
                && self.newest_ms == unix_ms[at - 1]
                && (0..step_ms.min(self.lookback_ms + 1)).contains(&age_ms)
            {
                at += self.copy(&unix_ms[at..], &values[at..]);
                one_a_slot = false;
            }
        }
    }

    /// The newest sample, which belongs to the next slot, and those after it, each of which belongs to the one after
    /// that: all but the last, for its slot is still open. Returns how many were taken.
    fn copy(&mut self, unix_ms: &[i64], values: &[f64]) -> usize {
        let left = self.grid.slots - self.slot as usize;
        let taken = unix_ms.len().min(left);
        let Some(last) = taken.checked_sub(1) else { return 0 };
        self.close_slot();
        self.run.extend(self.slot, &values[..last]);
        self.slot += last as u32;
        self.slot_ms += self.grid.step.ms() * last as i64;
        (self.newest_ms, self.newest) = (unix_ms[last], values[last]);
        taken
    }

    pub fn finish(mut self) -> Run {
        while (self.slot as usize) < self.grid.slots && self.slot_ms - self.newest_ms <= self.lookback_ms {
            self.close_slot();
        }
        self.run.trim();
        self.run
    }

    #[inline]
    fn close_slot(&mut self) {
        let fresh = self.slot_ms - self.newest_ms <= self.lookback_ms;
        if fresh && self.newest.to_bits() != STALE_BITS {
            self.run.push(self.slot, self.newest);
        }
        self.slot += 1;
        self.slot_ms += self.grid.step.ms();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_newest_sample_within_the_lookback_counts() {
        let grid = Grid { from: Timestamp::from_unix_s(0), step: Duration::from_secs(60), slots: 12 };
        let check = |closed: bool, samples: &[(i64, f64)], expected: &[u32]| {
            let mut sampler = Sampler::new(grid, Lookback { closed, ..Lookback::default() });
            samples.iter().for_each(|(s, value)| sampler.push(s * 1000, *value));
            let slots: Vec<u32> = sampler.finish().points().map(|(slot, _)| slot).collect();
            assert_eq!(slots, expected, "{samples:?}");
        };
        let stale = ABSENT;
        check(false, &[], &[]);
        // A sample at the slot itself counts there; one exactly five minutes old does not, unless the edge is closed.
        check(false, &[(60, 1.0)], &[1, 2, 3, 4, 5]);
        check(true, &[(60, 1.0)], &[1, 2, 3, 4, 5, 6]);
        check(false, &[(61, 1.0)], &[2, 3, 4, 5, 6]);
        // Ended, and begun anew; ended at the slot itself.
        check(false, &[(60, 1.0), (150, stale), (500, 2.0)], &[1, 2, 9, 10, 11]);
        check(false, &[(60, 1.0), (120, stale)], &[1]);
        // From before the first slot and after the last one.
        check(false, &[(-200, 1.0), (900, 2.0)], &[0, 1]);
        // What comes twice counts once.
        check(false, &[(60, 1.0), (60, stale), (30, stale)], &[1, 2, 3, 4, 5]);
    }

    /// Some chunks' samples: mostly regular, from before the grid to behind it, with repeats and markers.
    fn any_chunks() -> impl Strategy<Value = Vec<Samples>> {
        let apart = prop_oneof![6 => Just(60_000i64), 1 => Just(30_000), 1 => -90_000..400_000i64];
        let value = prop_oneof![12 => (0..9u32).prop_map(f64::from), 1 => Just(ABSENT), 1 => Just(f64::NAN)];
        let odd = prop::collection::vec((apart, value), 0..8);
        let due = prop_oneof![3 => (0..9u32).prop_map(f64::from), 1 => Just(ABSENT)];
        let regular = prop::collection::vec(due.prop_map(|value| (60_000, value)), 1..12);
        let chunk = prop_oneof![3 => regular, 2 => odd];
        (-400_000..400_000i64, prop::collection::vec(chunk, 0..5)).prop_map(|(start, chunks)| {
            let mut at = start;
            let mut samples = |chunk: Vec<(i64, f64)>| {
                let times = chunk.iter().map(|(apart, _)| {
                    at += apart;
                    at
                });
                Samples { unix_ms: times.collect(), values: chunk.iter().map(|(_, value)| *value).collect() }
            };
            chunks.into_iter().map(&mut samples).collect()
        })
    }

    proptest! {
        #[test]
        fn all_at_once_is_one_after_the_other(
            chunks in any_chunks(),
            slots in 0..14usize,
            lookback_ms in prop::sample::select(vec![0, 1, 29_999, 60_000, 300_000]),
            closed: bool,
        ) {
            let grid = Grid { from: Timestamp::from_unix_s(0), step: Duration::from_secs(60), slots };
            let lookback = Lookback { length: Duration::from_ms(lookback_ms), closed };
            let (mut together, mut singly) = (Sampler::new(grid, lookback), Sampler::new(grid, lookback));
            for chunk in &chunks {
                together.push_all(chunk);
                chunk.iter().for_each(|(at, value)| singly.push(at, value));
            }
            let bits = |run: Run| (run.first, run.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
            prop_assert_eq!(bits(together.finish()), bits(singly.finish()));
        }
    }

    #[test]
    fn only_the_slots_that_were_asked_for_exist() {
        let grid = Grid { from: Timestamp::from_unix_s(60), step: Duration::from_secs(30), slots: 3 };
        let slots = [60.0, 90.0, 119.9996, 120.0, 150.0, 30.0, 75.0, f64::NAN, 1e300, -1e300].map(|s| grid.slot(s));
        assert_eq!(slots, [Some(0), Some(1), Some(2), Some(2), None, None, None, None, None, None]);
    }
}
