//! What the buckets of one series had counted by each of many slots.
//!
//! Nearly always those are whole numbers. Then each is kept as how far it is above its bucket's base, which takes half as
//! much memory, and those of slots that follow one another are added several at once.
//!
//! ```
//! use slowburn::engine::counts::Counts;
//! let counts = Counts::new(vec![f64::NAN, f64::NAN, 5.0, 9.0, 7.0, 12.0], 2).packed();
//! assert_eq!((counts.slots(), counts.first_present(0..3)), (3, Some(1)));
//! assert_eq!(counts.row(2).map(Iterator::collect::<Vec<_>>), Some(vec![7.0, 12.0]));
//! ```

use std::ops::Range;

/// Up to here all whole numbers are exact.
const MAX_WHOLE: f64 = (1u64 << 53) as f64;
/// Stands in every bucket of a slot without the series, behind one with it: no count is as far above its base.
const ABSENT: u32 = u32::MAX;
/// What is above a base is less.
const MAX_ABOVE: f64 = (1u64 << 31) as f64;
/// A whole number below [`MAX_ABOVE`] that this was added to has its binary digits in the lower half of the bits.
const SHIFT: f64 = (1u64 << 52) as f64;

/// Cumulative counts, slot by slot, one a bucket; a slot without the series has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    slots: usize,
    buckets: usize,
    cells: Cells,
}

#[derive(Debug, Clone, PartialEq)]
enum Cells {
    /// Slot by slot; NaN in every bucket of a slot without the series.
    Any(Vec<f64>),
    /// Whole numbers, bucket by bucket, in the slots `there` and in no others, nor in all of those if it `has_gaps`:
    /// [`ABSENT`] stands there.
    Whole { there: Range<usize>, has_gaps: bool, bases: Vec<f64>, above: Vec<u32> },
}

/// Some of the slots, of a series with `N` buckets.
#[derive(Debug)]
pub(super) enum Rows<'a, const N: usize> {
    Any(&'a [[f64; N]]),
    Whole(Whole<'a, N>),
}

#[derive(Debug)]
pub(super) struct Whole<'a, const N: usize> {
    first: usize,
    bases: [f64; N],
    /// By bucket, one a slot.
    above: [&'a [u32]; N],
}

impl Counts {
    /// Of rows of `buckets` counts; a slot without the series is NaN throughout.
    pub fn new(rows: Vec<f64>, buckets: usize) -> Self {
        Self { slots: rows.len() / buckets.max(1), buckets, cells: Cells::Any(rows) }
    }

    /// Of buckets, each with its counts in the slots from `first` on; no other of the `slots` has any, nor those in which
    /// every bucket `is_absent`. `None` if not all are whole, or some count is more than that of the next bucket; or if
    /// they are not of one length, or go beyond the slots.
    pub fn whole(columns: &[&[f64]], first: usize, slots: usize, is_absent: impl Fn(f64) -> bool) -> Option<Self> {
        let (buckets, length) = (columns.len(), columns.first()?.len());
        if first + length > slots || columns.iter().any(|column| column.len() != length) {
            return None;
        }
        let (mut bases, mut cells) = (Vec::with_capacity(buckets), Vec::with_capacity(buckets * length));
        let mut has_gaps = false;
        for column in columns {
            let base = base(column)?;
            let (begin, mut odd) = (cells.len(), 0);
            cells.extend(column.iter().map(|count| {
                let (above, is_odd) = above(*count, base);
                odd |= is_odd;
                above
            }));
            // Nearly always nothing is, and that was quickly seen.
            if odd != 0 {
                has_gaps = true;
                for (cell, count) in cells[begin..].iter_mut().zip(*column) {
                    *cell = match above(*count, base) {
                        _ if is_absent(*count) => ABSENT,
                        (above, 0) => above,
                        _ => return None,
                    };
                }
            }
            bases.push(base);
        }
        let goes_on = |now: &f64, before: &f64| now >= before || is_absent(*now) && is_absent(*before);
        let are_cumulative = columns.windows(2).all(|pair| match has_gaps {
            false => none_falls(pair[1], pair[0]),
            true => pair[1].iter().zip(pair[0]).all(|(now, before)| goes_on(now, before)),
        });
        let cells = Cells::Whole { there: first..first + length, has_gaps, bases, above: cells };
        are_cumulative.then_some(Self { slots, buckets, cells })
    }

    /// The same in half the memory, where that can be.
    pub fn packed(self) -> Self {
        let Cells::Any(rows) = &self.cells else { return self };
        let Some(first) = self.first_present(0..self.slots) else { return self };
        let end = (first..self.slots).rfind(|slot| self.is_present(*slot)).map_or(first, |last| last + 1);
        let there = &rows[first * self.buckets..end * self.buckets];
        let column = |bucket| there.iter().skip(bucket).step_by(self.buckets).copied().collect();
        let columns: Vec<Vec<f64>> = (0..self.buckets).map(column).collect();
        let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        Self::whole(&columns, first, self.slots, f64::is_nan).unwrap_or(self)
    }

    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// What the counts take in memory.
    pub fn bytes(&self) -> usize {
        match &self.cells {
            Cells::Any(rows) => size_of_val(&rows[..]),
            Cells::Whole { bases, above, .. } => size_of_val(&bases[..]) + size_of_val(&above[..]),
        }
    }

    /// The count of one bucket; NaN in a slot without the series.
    pub fn count(&self, slot: usize, bucket: usize) -> f64 {
        match &self.cells {
            Cells::Any(rows) => rows[slot * self.buckets + bucket],
            Cells::Whole { there, bases, above, .. } => {
                let place = there.contains(&slot).then(|| bucket * there.len() + slot - there.start);
                let above = place.map(|place| above[place]).filter(|above| *above != ABSENT);
                above.map_or(f64::NAN, |above| bases[bucket] + f64::from(above))
            }
        }
    }

    pub fn is_present(&self, slot: usize) -> bool {
        !self.count(slot, 0).is_nan()
    }

    /// The counts of a slot, one a bucket; `None` without the series.
    pub fn row(&self, slot: usize) -> Option<impl Iterator<Item = f64> + '_> {
        self.is_present(slot).then(|| (0..self.buckets).map(move |bucket| self.count(slot, bucket)))
    }

    /// All counts, slot by slot; NaN in a slot without the series.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.slots).flat_map(move |slot| (0..self.buckets).map(move |bucket| self.count(slot, bucket)))
    }

    /// The first slot of `range` that has the series.
    pub fn first_present(&self, mut range: Range<usize>) -> Option<usize> {
        match &self.cells {
            Cells::Any(_) | Cells::Whole { has_gaps: true, .. } => range.find(|slot| self.is_present(*slot)),
            Cells::Whole { there, .. } => {
                let first = range.start.max(there.start);
                (first < range.end.min(there.end)).then_some(first)
            }
        }
    }

    /// The first slot of `range`, whose first one has the series, that has it again after more than `most` slots without,
    /// or the end.
    pub fn first_return(&self, range: Range<usize>, most: usize) -> usize {
        // Else one at least would be looked at here.
        let may_be_absent = || range.clone().step_by(most.max(1)).any(|slot| !self.is_present(slot));
        if matches!(self.cells, Cells::Whole { has_gaps: false, .. }) || !may_be_absent() {
            return range.end;
        }
        let mut seen = range.start;
        let returns = |slot: &usize| self.is_present(*slot) && slot - std::mem::replace(&mut seen, *slot) > most;
        range.clone().find(returns).unwrap_or(range.end)
    }

    /// Those of some of the slots.
    pub fn part(&self, range: Range<usize>) -> Self {
        let (slots, buckets) = (range.len(), self.buckets);
        let cells = match &self.cells {
            Cells::Any(rows) => Cells::Any(rows[range.start * buckets..range.end * buckets].to_vec()),
            Cells::Whole { there, has_gaps, bases, above } => {
                let (first, places) = within(there, &range);
                let columns = above.chunks_exact(there.len().max(1)).flat_map(|column| &column[places.clone()]);
                let there = first..first + places.len();
                let above = columns.copied().collect();
                Cells::Whole { there, has_gaps: *has_gaps, bases: bases.clone(), above }
            }
        };
        Self { slots, buckets, cells }
    }

    /// Those of some of the slots, if there are `N` buckets.
    pub(super) fn rows<const N: usize>(&self, range: Range<usize>) -> Option<Rows<'_, N>> {
        match &self.cells {
            _ if self.buckets != N => None,
            Cells::Any(rows) => Some(Rows::Any(&rows.as_chunks().0[range])),
            Cells::Whole { there, bases, above, .. } => {
                let (first, places) = within(there, &range);
                let above = std::array::from_fn(|bucket| &above[bucket * there.len()..][places.clone()]);
                Some(Rows::Whole(Whole { first, bases: std::array::from_fn(|bucket| bases[bucket]), above }))
            }
        }
    }
}

impl<const N: usize> Rows<'_, N> {
    /// The counts of a slot; `None` without the series.
    #[inline]
    pub fn at(&self, slot: usize) -> Option<[f64; N]> {
        match self {
            Self::Any(rows) => Some(rows[slot]).filter(|row| !row[0].is_nan()),
            Self::Whole(whole) => slot.checked_sub(whole.first).and_then(|at| whole.at(at)),
        }
    }

    /// Whether the series is there in each of the slots, and no bucket ever falls, first from `last`.
    pub fn rise(&self, last: &[f64; N], slots: Range<usize>) -> bool {
        match self {
            Self::Any(rows) => {
                let rows = &rows[slots];
                let (first, counts) = (rows[0], rows.as_flattened());
                none_falls(&first, last) && none_falls(&counts[N..], counts)
            }
            Self::Whole(whole) => {
                let Some(columns) = whole.columns(&slots) else { return false };
                // What follows a gap falls, but the last slot has none behind it.
                self.at(slots.start).is_some_and(|first| none_falls(&first, last))
                    && columns[0].last().is_some_and(|last| *last != ABSENT)
                    && columns.iter().all(|column| none_falls(&column[1..], column))
            }
        }
    }
}

impl<const N: usize> Whole<'_, N> {
    fn at(&self, at: usize) -> Option<[f64; N]> {
        let is_there = self.above[0].get(at).is_some_and(|above| *above != ABSENT);
        is_there.then(|| std::array::from_fn(|bucket| self.bases[bucket] + f64::from(self.above[bucket][at])))
    }

    /// What is above the bases in the slots; `None` if some are before the series begins or after it ends.
    fn columns(&self, slots: &Range<usize>) -> Option<[&[u32]; N]> {
        let there = slots.start.checked_sub(self.first)?..slots.end - self.first;
        (there.end <= self.above[0].len()).then(|| self.above.map(|column| &column[there.clone()]))
    }
}

/// Adds to `sums` what series that [rise](Rows::rise) from their last counts count in the slots; `counted` takes the sums
/// after each slot. Returns whether it did: only where every number is whole, so that it does not matter in what order
/// they are added. If not, nothing was done.
pub(super) fn add_whole<'a, const N: usize>(
    series: impl Iterator<Item = (&'a Rows<'a, N>, [f64; N])> + Clone,
    slots: &Range<usize>,
    sums: &mut [f64; N],
    counted: &mut [[f64; N]],
) -> bool {
    if !sums.iter().all(|sum| is_whole(*sum)) {
        return false;
    }
    // What each slot has more is above the bases.
    let (mut offsets, mut above) = (*sums, [0.0; N]);
    for (rows, last) in series.clone() {
        let Rows::Whole(whole) = rows else { return false };
        let Some(columns) = whole.columns(slots).filter(|_| last.into_iter().all(is_whole)) else { return false };
        for bucket in 0..N {
            offsets[bucket] += whole.bases[bucket] - last[bucket];
            above[bucket] += columns[bucket].last().map_or(0.0, |last| f64::from(*last));
        }
    }
    // Sums grow from slot to slot and from series to series: the last one is the greatest of all.
    let total: [f64; N] = std::array::from_fn(|bucket| offsets[bucket] + above[bucket]);
    if !total.iter().all(|total| *total < MAX_WHOLE) {
        return false;
    }
    counted.fill(offsets);
    let columns = |rows: &'a Rows<'a, N>| match rows {
        Rows::Any(_) => None,
        Rows::Whole(whole) => whole.columns(slots),
    };
    for columns in series.filter_map(|(rows, _)| columns(rows)) {
        let columns = columns.map(|column| &column[..counted.len()]);
        for (place, counted) in counted.iter_mut().enumerate() {
            for bucket in 0..N {
                counted[bucket] += f64::from(columns[bucket][place]);
            }
        }
    }
    *sums = total;
    true
}

/// Which part of the run `there` is in `range`: where it begins in that, and its places in the run.
fn within(there: &Range<usize>, range: &Range<usize>) -> (usize, Range<usize>) {
    let begin = range.start.clamp(there.start, there.end);
    let end = range.end.clamp(begin, there.end);
    (begin.saturating_sub(range.start), begin - there.start..end - there.start)
}

/// Whether no number is less than the one before it, nor anything but a number. Without a way out in the middle, it takes
/// several at once.
fn none_falls<T: PartialOrd>(now: &[T], before: &[T]) -> bool {
    now.iter().zip(before).fold(1, |rise, (now, before)| rise & u64::from(now >= before)) == 1
}

/// What the counts of a column are above; `None` if it cannot be whole numbers.
fn base(column: &[f64]) -> Option<f64> {
    let (first, last) = (*column.first()?, *column.last()?);
    // With zero, a counter may start anew.
    let base = if first.max(last) < MAX_ABOVE { 0.0 } else { first };
    (is_whole(base) && (0.0..MAX_WHOLE - MAX_ABOVE).contains(&base)).then_some(base)
}

fn is_whole(number: f64) -> bool {
    number.abs() < MAX_WHOLE && number.fract() == 0.0
}

/// How far `count` is above `base`, and zero if that is a whole number below [`MAX_ABOVE`].
#[inline]
fn above(count: f64, base: f64) -> (u32, u64) {
    let far = count - base;
    let shifted = far + SHIFT;
    let bits = shifted.to_bits();
    let lost = (shifted - SHIFT).to_bits() ^ far.to_bits();
    (bits as u32, (bits ^ SHIFT.to_bits()) >> 31 | lost)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = Option<[f64; 2]>;

    fn of(rows: &[Row]) -> Counts {
        Counts::new(rows.iter().flat_map(|row| row.unwrap_or([f64::NAN; 2])).collect(), 2)
    }

    /// A series that counts, and now and then starts anew, is not there, or counts halves.
    fn any_rows() -> impl Strategy<Value = Vec<Row>> {
        let begin = prop::sample::select(vec![
            0.0,
            3.0,
            2_147_483_640.0,
            1e12,
            MAX_WHOLE - MAX_ABOVE - 50.0,
            MAX_WHOLE - 2.0,
            1e300,
        ]);
        let steps = |odd: u32| {
            let does = prop_oneof![30 => Just(0u8), 3 * odd => Just(1), odd => Just(2), odd => Just(3)];
            prop::collection::vec((does, 0..9u32, 0..9u32), 1..40)
        };
        let steps = prop_oneof![steps(0), steps(1)];
        (begin, 0..4u32, 0..4usize, 0..4usize, steps).prop_map(|(begin, slow, before, after, steps)| {
            let (mut good, mut slow): (f64, f64) = (begin, f64::from(slow));
            let there = steps.into_iter().map(|(does, more, slower)| {
                match does {
                    1 => (good, slow) = (0.0, 0.0),
                    2 => return None,
                    3 => good += 0.5,
                    _ => (good, slow) = (good + f64::from(more), slow + f64::from(slower)),
                }
                Some([good, good + slow])
            });
            let there: Vec<Row> = there.collect();
            [vec![None; before], there, vec![None; after]].concat()
        })
    }

    /// As [`Counts::first_return`] says.
    fn first_return(rows: &[Row], range: Range<usize>, most: usize) -> usize {
        let mut seen = range.start;
        for slot in range.clone().filter(|slot| rows[*slot].is_some()) {
            if slot - seen > most {
                return slot;
            }
            seen = slot;
        }
        range.end
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_it_was(rows in any_rows(), cut in 0..40usize, more in 0..40usize, most in 1..6usize) {
            let begin = cut.min(rows.len());
            let range = begin..(begin + more).min(rows.len());
            for counts in [of(&rows), of(&rows).packed()] {
                prop_assert_eq!((counts.slots(), counts.buckets()), (rows.len(), 2));
                let part = counts.part(range.clone());
                prop_assert_eq!(part.slots(), range.len());
                let typed = counts.rows::<2>(range.clone()).unwrap();
                prop_assert!(counts.rows::<3>(range.clone()).is_none());
                for (slot, expected) in rows.iter().enumerate() {
                    let expected = expected.map(|row| row.to_vec());
                    prop_assert_eq!(counts.row(slot).map(Iterator::collect::<Vec<f64>>), expected.clone());
                    prop_assert_eq!(counts.is_present(slot), expected.is_some());
                    if range.contains(&slot) {
                        let at = slot - range.start;
                        prop_assert_eq!(part.row(at).map(Iterator::collect::<Vec<f64>>), expected);
                        prop_assert_eq!(typed.at(at), rows[slot]);
                    }
                }
                let first = range.clone().find(|slot| rows[*slot].is_some());
                prop_assert_eq!(counts.first_present(range.clone()), first);
                if let Some(first) = first {
                    let expected = first_return(&rows, first..range.end, most);
                    prop_assert_eq!(counts.first_return(first..range.end, most), expected);
                }
            }
        }

        #[test]
        fn sums_do_not_depend_on_how_they_are_added(
            all in prop::collection::vec(any_rows(), 1..4),
            sums in prop::sample::select(vec![0.0, 7.0, 0.1, MAX_WHOLE - 20.0]),
            cut in 0..20usize,
            length in 1..12usize,
        ) {
            let most = all.iter().map(Vec::len).min().unwrap_or(0);
            let packed: Vec<Counts> = all.iter().map(|rows| of(rows).packed()).collect();
            let rows: Option<Vec<Rows<'_, 2>>> = packed.iter().map(|counts| counts.rows(0..most)).collect();
            let rows = rows.unwrap();
            let slots = (1 + cut).min(most)..(1 + cut + length).min(most);
            let last: Vec<[f64; 2]> = all.iter().map(|rows| rows[slots.start - 1].unwrap_or([0.0; 2])).collect();
            let rise = |rows: &[Row], last: &[f64; 2]| {
                let mut last = *last;
                rows[slots.clone()].iter().all(|row| {
                    let rises = row.is_some_and(|row| row[0] >= last[0] && row[1] >= last[1]);
                    last = row.unwrap_or(last);
                    rises
                })
            };
            if slots.is_empty() {
                return Ok(());
            }
            let mut all_rise = true;
            for ((typed, expected), last) in rows.iter().zip(&all).zip(&last) {
                prop_assert_eq!(typed.rise(last, slots.clone()), rise(expected, last));
                all_rise &= rise(expected, last);
            }
            if !all_rise {
                return Ok(());
            }
            let (mut together, mut counted) = ([sums; 2], vec![[0.0; 2]; slots.len()]);
            let series = rows.iter().zip(last.iter().copied());
            if !add_whole(series, &slots, &mut together, &mut counted) {
                prop_assert_eq!(together, [sums; 2]);
                return Ok(());
            }
            let (mut singly, mut last) = ([sums; 2], last);
            for (at, counted) in slots.zip(counted) {
                for (rows, last) in all.iter().zip(&mut last) {
                    let now = rows[at].unwrap();
                    for bucket in 0..2 {
                        singly[bucket] += now[bucket] - last[bucket];
                    }
                    *last = now;
                }
                prop_assert_eq!(counted, singly);
            }
            prop_assert_eq!(together, singly);
        }
    }

    #[test]
    fn a_counter_that_starts_anew_falls_wherever_that_is() {
        let anew = [None, Some([5.0, 9.0]), Some([1.0, 2.0]), Some([2.0, 3.0])];
        for counts in [of(&anew), of(&anew).packed()] {
            let rows = counts.rows::<2>(0..4).unwrap();
            let check = |last: [f64; 2], slots, expected| assert_eq!(rows.rise(&last, slots), expected, "{last:?}");
            check([5.0, 9.0], 1..2, true);
            check([5.0, 9.0], 1..3, false);
            check([5.0, 9.0], 2..4, false);
            check([1.0, 3.0], 2..4, false);
            check([1.0, 2.0], 2..4, true);
            check([0.0, 0.0], 0..2, false);
        }
    }

    #[test]
    fn what_is_gone_now_and_then_goes_on_where_it_is_there() {
        let gone = [Some([5.0, 9.0]), Some([6.0, 9.0]), None, None, Some([7.0, 9.0])];
        for counts in [of(&gone), of(&gone).packed()] {
            let rows = counts.rows::<2>(0..5).unwrap();
            let goes_on = |slots| rows.rise(&[5.0, 9.0], slots);
            let expected = [(0..2, true), (0..3, false), (0..5, false), (2..3, false), (3..5, false), (4..5, true)];
            assert_eq!(expected.clone().map(|(slots, _)| (slots.clone(), goes_on(slots))), expected);
            for (counts, first) in [(counts.clone(), 0), (counts.part(1..5), 1)] {
                assert_eq!(
                    [2..4, 2..5, 4..5].map(|range| counts.first_present(range.start - first..range.end - first)),
                    [None, Some(4 - first), Some(4 - first)]
                );
            }
        }
    }

    #[test]
    fn whole_numbers_take_half_the_room() {
        let check = |rows: &[Row], half: bool| {
            let (any, packed) = (of(rows), of(rows).packed());
            assert_eq!(packed.bytes() < any.bytes(), half, "{packed:?}");
        };
        let rows = |from: f64| -> Vec<Row> { (0..8).map(|slot| Some([from, from + f64::from(slot)])).collect() };
        check(&rows(0.0), true);
        check(&rows(1e12), true);
        check(&rows(0.5), false);
        check(&rows(-1.0), false);
        check(&rows(MAX_WHOLE - 1.0), false);
        // Before it came, after it went, and between.
        let long = [vec![None; 3], rows(5.0), vec![None; 2]].concat();
        check(&long, true);
        check(&[long.clone(), long].concat(), true);
        // A counter that starts anew, and one that had counted more.
        check(&[rows(9.0), rows(0.0)].concat(), true);
        check(&[rows(1e12), rows(0.0)].concat(), false);
        // 2^31 above its base, and one less.
        check(&[rows(0.0), vec![Some([2_147_483_647.0; 2])], rows(2_147_483_000.0)].concat(), true);
        check(&[rows(0.0), vec![Some([2_147_483_648.0; 2])], rows(2_147_483_000.0)].concat(), false);
        check(&[None, None], false);
        // What a bucket counts, the next one counts too; and where one has a slot, all have.
        assert!(Counts::whole(&[&[1.0], &[2.0]], 0, 1, f64::is_nan).is_some());
        assert!(Counts::whole(&[&[2.0], &[1.0]], 0, 1, f64::is_nan).is_none());
        const GONE: f64 = f64::NAN;
        assert!(Counts::whole(&[&[1.0, GONE, 2.0], &[1.0, GONE, 2.0]], 0, 3, f64::is_nan).is_some());
        assert!(Counts::whole(&[&[1.0, GONE, 2.0], &[3.0, GONE, 1.0]], 0, 3, f64::is_nan).is_none());
        assert!(Counts::whole(&[&[1.0, GONE, 2.0], &[1.0, 1.0, 2.0]], 0, 3, f64::is_nan).is_none());
        assert!(Counts::whole(&[&[1.0, 1.0, 2.0], &[1.0, GONE, 2.0]], 0, 3, f64::is_nan).is_none());
        assert!(Counts::whole(&[&[1.0, GONE, 2.0]], 0, 3, |_| false).is_none());
        assert!(Counts::whole(&[&[1.0], &[1.0, 2.0]], 0, 2, f64::is_nan).is_none());
        assert!(Counts::whole(&[&[1.0, 2.0]], 1, 2, f64::is_nan).is_none());
    }
}
