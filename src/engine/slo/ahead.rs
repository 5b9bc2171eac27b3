//! Counting slots that are all known beforehand, ahead of what others look at.

use std::ops::Range;

use super::{GOOD, Layout, Row, SEEN, Sight, Slo, TOTAL};
use crate::engine::counter::{Counter, Seen};
use crate::engine::counts::{Counts, Rows, add_whole};
use crate::engine::time::{Duration, Timestamp};
use crate::engine::window::{Age, History};

/// Slots counted at once: as many as stay near the processor.
const AT_ONCE: usize = 256;
/// Of all requests ever counted, more than what rounding may add to a few sums of them.
const ROUNDING: f64 = 1e-12;

/// Slots that follow one another.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    pub from: Timestamp,
    pub step: Duration,
    /// The first one.
    pub first: Seen,
    pub many: usize,
}

/// One series' counts in the slots.
#[derive(Debug)]
pub struct Counting<'a> {
    pub counts: &'a Counts,
    /// Which of its slots is the first one here.
    pub from: usize,
    pub layout: usize,
    pub counter: Counter,
}

/// What windows hold at most and at least: see [`Slo::bounds_since`].
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub most_bad: f64,
    pub least_total: f64,
    pub least_seen: f64,
}

/// One series while its slots are counted.
struct Known<'a, const N: usize> {
    rows: Rows<'a, N>,
    last: Option<[f64; N]>,
    seen_at: Option<usize>,
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

impl Slo {
    /// Whether it may run ahead: it was born, and so were all its histories.
    pub fn may_run_ahead(&self) -> bool {
        !self.counters.is_empty() && self.histories().all(|history| !history.is_empty())
    }

    /// How many counts a slot takes in its windows.
    pub fn row_counts(&self) -> usize {
        size_of::<Row>() / size_of::<f64>() + self.histories().map(History::width).sum::<usize>()
    }

    /// Begins to count up to `slots` slots ahead of what others look at: see [`History::run_ahead`]. Its sight, and since
    /// when, are to be handed to [`Slo::come_back`].
    pub fn run_ahead(&mut self, slots: usize) {
        self.counters.run_ahead(slots as i64);
        self.histories_mut().for_each(|history| history.run_ahead(slots as i64));
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

    /// What was counted over the `window` before each of the slots numbered from `first` to `last`, with the place of the
    /// slot among them.
    pub fn each_since(&self, window: Age, first: i64, last: i64, each: impl FnMut(usize, Row)) {
        self.counters.each_since(window, first, last, each);
    }

    /// What was counted over the `window` before any of the slots numbered from `first` to `last`, from both sides;
    /// `None` if that would take a look at each.
    ///
    /// All requests only ever grow in number, and slow ones, too, unless counts of different buckets were scraped at
    /// different times: so a window has at most the slow requests between the earliest beginning and the latest end, and
    /// at least all requests between the latest beginning and the earliest end. Each slot is measured or not, so a window
    /// lacks no more of them than the first one does, and those from there to `last` together.
    pub fn bounds_since(&self, window: Age, first: i64, last: i64) -> Option<Bounds> {
        if !self.rising.contains(&self.counters.reach(window, first)) || !self.rising.contains(&last) {
            return None;
        }
        let [begin, end, before_begin, before_end]: [Row; 4] = self.counters.around(window, first, last);
        let bad = |[good, total, _]: Row| total - good;
        let unseen = (last - first) as f64 - (end[SEEN] - begin[SEEN]);
        Some(Bounds {
            most_bad: bad(end) - bad(before_begin) + end[TOTAL] * ROUNDING,
            least_total: begin[TOTAL] - before_end[TOTAL],
            least_seen: begin[SEEN] - before_begin[SEEN] - unseen,
        })
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
            _ => false,
        }
    }

    /// Takes note of what can be seen at slots that were counted, of which the first has number `from` of all; `before` is
    /// the row before them.
    fn look_at(
        &mut self,
        rows: &[Row],
        present: &[bool],
        before: &Row,
        (slots, from): (&Slots, usize),
        changed: &mut impl FnMut(usize, Sight),
    ) {
        let is_idle = |before: &Row, row: &Row| row[TOTAL] <= before[TOTAL];
        let falls = |before: &Row, row: &Row| row[TOTAL] - row[GOOD] < before[TOTAL] - before[GOOD];
        let pairs = || std::iter::once((before, &rows[0])).chain(rows.iter().zip(&rows[1..]));
        // Nearly always there are requests in each, and that is no news.
        let is_news = present.contains(&false)
            || pairs()
                .fold(self.sight != Sight::Ok, |news, (before, row)| news | is_idle(before, row) | falls(before, row));
        if !is_news {
            return;
        }
        for ((at, (before, row)), present) in (from..).zip(pairs()).zip(present) {
            let sight = match present {
                true if is_idle(before, row) => Sight::Idle,
                true => Sight::Ok,
                false => Sight::Lost,
            };
            if falls(before, row) {
                self.rising.start = slots.number(at);
            }
            if sight != self.sight {
                self.see(sight, slots.time(at));
                changed(at, sight);
            }
        }
    }

    /// What [`Counter::advance`] and [`Slo::close_slot`] would make of each slot. Returns whether it did; if not, nothing was
    /// done.
    fn count_buckets<const N: usize>(
        &mut self,
        series: &mut [Counting<'_>],
        slots: &Slots,
        born_at_zero: bool,
        mut changed: impl FnMut(usize, Sight),
    ) -> bool {
        let Layout { good: Ok(good), sums: kept, .. } = &self.layouts[0] else { return false };
        let (good, mut sums) = (*good, [0.0; N]);
        sums.copy_from_slice(kept);
        let known: Option<Vec<Known<'_, N>>> = series.iter().map(|series| Known::new(series, slots.many)).collect();
        let Some(mut known) = known else { return false };
        let mut before: Row = self.newest().unwrap_or_default();
        if self.rising.end != slots.number(0) {
            self.rising.start = slots.number(0) - 1;
        }
        let (mut present_at, mut measured_at) = (None, None);
        let (mut counted, mut rows, mut present) = ([[0.0; N]; AT_ONCE], [[0.0; 3]; AT_ONCE], [true; AT_ONCE]);
        let mut from = 0;
        while from < slots.many {
            let range = from..slots.many.min(from + AT_ONCE);
            let many = range.len();
            let (counted, rows, present) = (&mut counted[..many], &mut rows[..many], &mut present[..many]);
            if go_on(&mut known, &range, &mut sums, counted) {
                present.fill(true);
                // A whole number, as each slot adds one.
                let seen_slots = self.seen_slots;
                (1u32..).zip(&mut *rows).for_each(|(more, row)| row[SEEN] = seen_slots + f64::from(more));
                self.seen_slots += many as f64;
                (present_at, measured_at) = (Some(range.end - 1), Some(range.end - 1));
            } else {
                for (place, at) in range.clone().enumerate() {
                    let (mut is_there, mut is_measured) = (false, false);
                    for series in &mut known {
                        if let Some(is_known) = series.advance(at, born_at_zero, &mut sums) {
                            is_there = true;
                            is_measured |= is_known;
                        }
                    }
                    if is_there {
                        present_at = Some(at);
                    }
                    if is_measured {
                        measured_at = Some(at);
                        self.seen_slots += 1.0;
                    }
                    (counted[place], present[place], rows[place][SEEN]) = (sums, is_there, self.seen_slots);
                }
            }
            for (row, counted) in rows.iter_mut().zip(&*counted) {
                (row[GOOD], row[TOTAL]) = (good.count(counted), counted[N - 1]);
            }
            self.counters.extend(rows);
            self.look_at(rows, present, &before, (slots, from), &mut changed);
            before = rows[many - 1];
            from = range.end;
        }
        self.rising.end = slots.number(slots.many);
        self.layouts[0].sums.copy_from_slice(&sums);
        self.present_slot = present_at.map_or(self.present_slot, |at| slots.number(at));
        self.measured_slot = measured_at.map_or(self.measured_slot, |at| slots.number(at));
        let ends: Vec<_> = known.into_iter().map(|known| known.last.zip(known.seen_at)).collect();
        for (counting, end) in series.iter_mut().zip(ends) {
            if let Some((last, at)) = end {
                counting.counter.stand_at(slots.seen(at), &last);
            }
        }
        true
    }
}

/// Counts slots through which all series [go on](Known::goes_on) in whole numbers; `counted` takes the sums after each of
/// them. Returns whether it did; if not, nothing was done.
fn go_on<const N: usize>(
    known: &mut [Known<'_, N>],
    range: &Range<usize>,
    sums: &mut [f64; N],
    counted: &mut [[f64; N]],
) -> bool {
    let begun = known.iter().map(|series| (&series.rows, series.last.unwrap_or([0.0; N])));
    let goes_on = !known.is_empty() && known.iter().all(|series| series.goes_on(range.clone()));
    if !goes_on || !add_whole(begun, range, sums, counted) {
        return false;
    }
    for series in known {
        (series.last, series.seen_at) = (series.rows.at(range.end - 1), Some(range.end - 1));
    }
    true
}

impl<'a, const N: usize> Known<'a, N> {
    /// `None` if the series has other buckets.
    fn new(Counting { counts, from, counter, .. }: &Counting<'a>, slots: usize) -> Option<Self> {
        let last = counter.seen().and_then(|_| counter.last().try_into().ok());
        Some(Self { rows: counts.rows(*from..from + slots)?, last, seen_at: None })
    }

    /// Whether it is there in each of the slots, and no bucket ever falls.
    fn goes_on(&self, slots: Range<usize>) -> bool {
        self.last.as_ref().is_some_and(|last| self.rows.rise(last, slots))
    }

    /// Counts any slot. `None` where it is not there, or else whether its increase could be measured.
    #[inline]
    fn advance(&mut self, at: usize, born_at_zero: bool, sums: &mut [f64; N]) -> Option<bool> {
        let counts = self.rows.at(at)?;
        self.seen_at = Some(at);
        let is_known = self.last.is_some() || born_at_zero;
        if is_known {
            let last = self.last.unwrap_or([0.0; N]);
            let reset = (0..N).fold(false, |reset, bucket| reset | (counts[bucket] < last[bucket]));
            for bucket in 0..N {
                sums[bucket] += if reset { counts[bucket] } else { counts[bucket] - last[bucket] };
            }
        }
        self.last = Some(counts);
        Some(is_known)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::histogram::Labels;
    use crate::engine::sli::{self, SloSpec};

    const STEP: Duration = Duration::from_secs(30);

    /// What a series does in a slot.
    #[derive(Debug, Clone, Copy)]
    enum Does {
        Counts {
            good: u32,
            slow: u32,
        },
        /// Requests that were counted as slow turn out to be none: the budget's bucket was scraped too early.
        CatchesUp,
        IsAbsent,
        StartsAnew,
    }

    fn slo() -> Slo {
        let spec = SloSpec { period: Duration::from_hours(24), ..sli::tests::slo() };
        let mut slo = Slo::new(0, Labels::new(), &spec, STEP, Timestamp::from_unix_s(0));
        let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
        slo.layout(&spec, &bounds, STEP, Duration::ZERO);
        slo
    }

    fn counts(does: &[Does], packed: bool) -> Counts {
        let [mut good, mut total] = [0.0; 2];
        let rows = does.iter().map(|does| {
            match *does {
                Does::Counts { good: more, slow } => {
                    good += f64::from(more);
                    total += f64::from(more + slow);
                }
                Does::CatchesUp => good = total,
                Does::IsAbsent => return [f64::NAN; 2],
                Does::StartsAnew => [good, total] = [1.0, 2.0],
            }
            [good, total]
        });
        let counts = Counts::new(rows.collect::<Vec<_>>().into_flattened(), 2);
        if packed { counts.packed() } else { counts }
    }

    fn does(odd: bool) -> impl Strategy<Value = Vec<Does>> {
        let usual = || (0..30u32, 0..3u32).prop_map(|(good, slow)| Does::Counts { good, slow });
        let odd = if odd { 1 } else { 0 };
        let one = prop_oneof![
            60 => usual(),
            odd => Just(Does::CatchesUp),
            odd => Just(Does::IsAbsent),
            odd => Just(Does::StartsAnew),
        ];
        prop::collection::vec(one, 1400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_slot_of_a_range_is_beyond_its_bounds(
            (odd, series) in any::<bool>().prop_flat_map(|odd| (Just(odd), prop::collection::vec(does(odd), 1..4))),
            packed: bool,
            stretch in 1..1400usize,
            looks in prop::collection::vec((1..900i64, 0..1400usize, 1..80usize), 40),
        ) {
            let counts: Vec<Counts> = series.iter().map(|does| counts(does, packed)).collect();
            let mut slo = slo();
            // The slot before, in which a series was there.
            slo.sums_of(99, 0);
            slo.close_slot(99, Timestamp::from_unix_s(99 * 30), false);
            let mut counters: Vec<Counter> = counts.iter().map(|_| Counter::new(2)).collect();
            let mut known = 0;
            for from in (0..1400).step_by(stretch) {
                let many = stretch.min(1400 - from);
                let first = Seen { poll: 100 + from as i64, slot: 100 + from as i64 };
                let slots = Slots { from: Timestamp::from_unix_s(first.slot * 30), step: STEP, first, many };
                let counting = counts.iter().zip(std::mem::take(&mut counters)).map(|(counts, counter)| {
                    Counting { counts, from, layout: 0, counter }
                });
                let mut counting: Vec<Counting<'_>> = counting.collect();
                let seen = (slo.sight, slo.sight_since);
                slo.run_ahead(many);
                let counted = slo.count_ahead(&mut counting, &slots, false, |_, _| {});
                prop_assert!(counted);
                for (window, at, together) in &looks {
                    let (begin, end) = (*at, at + together.min(&(1400 - at)) - 1);
                    if begin < from || end >= from + many {
                        continue;
                    }
                    let (window, begin, end) = (Age::in_slots(*window), slots.number(begin - from), slots.number(end - from));
                    let Some(bounds) = slo.bounds_since(window, begin, end) else { continue };
                    known += 1;
                    slo.each_since(window, begin, end, |at, [good, total, seen]| {
                        let Bounds { most_bad, least_total, least_seen } = bounds;
                        let holds = total - good <= most_bad && total >= least_total && seen >= least_seen - 1e-9;
                        assert!(holds, "{window:?} at {at}: {good} {total} {seen} against {bounds:?}");
                    });
                }
                slo.come_back(seen);
                slo.follow(slots.number(many - 1));
                counters = counting.into_iter().map(|counting| counting.counter).collect();
            }
            // Else it is no help.
            prop_assert!(odd || stretch < 300 || known > 0);
        }
    }
}
