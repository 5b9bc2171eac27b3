//! Counting slots that are all known beforehand, ahead of what others look at.

use super::{GOOD, Layout, Row, Sight, Slo, TOTAL};
use crate::engine::counter::{Counter, Seen};
use crate::engine::time::{Duration, Timestamp};
use crate::engine::window::{Age, History};

/// Slots that follow one another.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    pub from: Timestamp,
    pub step: Duration,
    /// The first one.
    pub first: Seen,
    pub many: usize,
}

/// One series' cumulative counts in each of the slots; a slot without the series is NaN throughout.
#[derive(Debug)]
pub struct Counting<'a> {
    pub counts: &'a [f64],
    pub layout: usize,
    pub counter: Counter,
}

impl Slots {
    pub fn number(&self, at: usize) -> i64 {
        self.first.slot + at as i64
    }

    pub fn time(&self, at: usize) -> Timestamp {
        self.from + Duration::from_ms(self.step.ms() * at as i64)
    }

    pub fn seen(&self, at: usize) -> Seen {
        Seen { poll: self.first.poll + at as i64, slot: self.number(at) }
    }
}

impl<'a> Counting<'a> {
    pub fn counts_at(&self, at: usize) -> Option<&'a [f64]> {
        let buckets = self.counter.buckets();
        let counts = &self.counts[at * buckets..][..buckets];
        (!counts[0].is_nan()).then_some(counts)
    }
}

impl Slo {
    /// Whether it may run ahead: it was born, and so were all its histories.
    pub fn may_run_ahead(&self) -> bool {
        !self.counters.is_empty() && self.histories().all(|history| !history.is_empty())
    }

    /// How many counts a slot takes in its windows.
    pub fn row_counts(&self) -> usize {
        size_of::<Row>() / size_of::<f64>() + self.histories().map(History::width).sum::<usize>()
    }

    /// Begins to count up to `slots` slots ahead of what others look at: see [`History::run_ahead`]. Returns what is to
    /// be handed to [`Slo::come_back`].
    pub fn run_ahead(&mut self, slots: usize) -> (Sight, Timestamp) {
        self.counters.run_ahead(slots as i64);
        self.histories_mut().for_each(|history| history.run_ahead(slots as i64));
        (self.sight, self.sight_since)
    }

    /// Looks at the windows of slot number `slot`, one of those it ran through.
    pub fn stand_at(&mut self, slot: i64) {
        self.counters.stand_at(slot);
        self.histories_mut().for_each(|history| history.stand_at(slot));
    }

    /// Shows what it did before it ran ahead.
    pub fn come_back(&mut self, seen: (Sight, Timestamp)) {
        self.counters.come_back();
        self.histories_mut().for_each(History::come_back);
        (self.sight, self.sight_since) = seen;
    }

    /// Shows the windows of slot number `slot`, up to which it ran ahead.
    pub fn follow(&mut self, slot: i64) {
        self.counters.follow(slot);
        self.histories_mut().for_each(|history| history.follow(slot));
    }

    /// What was counted over the `window` before each of the slots, with the place of the slot.
    pub fn each_since(&self, window: Age, slots: &Slots, each: impl FnMut(usize, Row)) {
        self.counters.each_since(window, slots.number(0), slots.number(slots.many - 1), each);
    }

    /// Counts the slots in at one go, if its series have no more than a few buckets, the same ones for all. Each change
    /// of sight goes to `changed`. Returns whether it did; if not, nothing was done.
    pub fn count_ahead(
        &mut self,
        series: &mut [Counting<'_>],
        slots: &Slots,
        born_at_zero: bool,
        changed: impl FnMut(usize, Sight),
    ) -> bool {
        let [Layout { good: Ok(_), sums, history: None, .. }] = &self.layouts[..] else { return false };
        if self.counters.is_empty() {
            return false;
        }
        match sums.len() {
            // A budget and all, or the bounds around a budget and all.
            2 => self.count_buckets::<2>(series, slots, born_at_zero, changed),
            3 => self.count_buckets::<3>(series, slots, born_at_zero, changed),
            _ => return false,
        }
        true
    }

    /// What [`Counter::advance`] and [`Slo::close_slot`] would make of each slot.
    fn count_buckets<const N: usize>(
        &mut self,
        series: &mut [Counting<'_>],
        slots: &Slots,
        born_at_zero: bool,
        mut changed: impl FnMut(usize, Sight),
    ) {
        struct Known<'a, const N: usize> {
            rows: &'a [[f64; N]],
            last: Option<[f64; N]>,
            seen_at: Option<usize>,
        }
        let Layout { good: Ok(good), sums: kept, .. } = &self.layouts[0] else { return };
        let (good, mut sums) = (*good, [0.0; N]);
        sums.copy_from_slice(kept);
        let known = series.iter().map(|Counting { counts, counter, .. }| Known {
            rows: counts.as_chunks().0,
            last: counter.seen().and_then(|_| counter.last().try_into().ok()),
            seen_at: None,
        });
        let mut known: Vec<Known<'_, N>> = known.collect();
        let mut total_before = self.counters.newest()[TOTAL];
        let (mut present_at, mut measured_at) = (None, None);
        for at in 0..slots.many {
            let (mut present, mut measured) = (false, false);
            for Known { rows, last, seen_at } in &mut known {
                let counts = rows[at];
                if counts[0].is_nan() {
                    continue;
                }
                present = true;
                *seen_at = Some(at);
                if last.is_some() || born_at_zero {
                    let last = last.unwrap_or([0.0; N]);
                    let reset = (0..N).fold(false, |reset, bucket| reset | (counts[bucket] < last[bucket]));
                    for bucket in 0..N {
                        sums[bucket] += if reset { counts[bucket] } else { counts[bucket] - last[bucket] };
                    }
                    measured = true;
                }
                *last = Some(counts);
            }
            if present {
                present_at = Some(at);
            }
            if measured {
                measured_at = Some(at);
                self.seen_slots += 1.0;
            }
            let mut row = [0.0; 3];
            row[GOOD] = good.count(&sums);
            row[TOTAL] = sums[N - 1];
            row[2] = self.seen_slots;
            self.counters.push_next(row);
            let sight = match present {
                true if row[TOTAL] > total_before => Sight::Ok,
                true => Sight::Idle,
                false => Sight::Lost,
            };
            total_before = row[TOTAL];
            if sight != self.sight {
                self.see(sight, slots.time(at));
                changed(at, sight);
            }
        }
        self.layouts[0].sums.copy_from_slice(&sums);
        self.present_slot = present_at.map_or(self.present_slot, |at| slots.number(at));
        self.measured_slot = measured_at.map_or(self.measured_slot, |at| slots.number(at));
        let ends: Vec<_> = known.into_iter().map(|known| known.last.zip(known.seen_at)).collect();
        for (counting, end) in series.iter_mut().zip(ends) {
            if let Some((last, at)) = end {
                counting.counter.stand_at(slots.seen(at), &last);
            }
        }
    }
}
