//! Buckets' runs of counts put side by side: one slot a row, one bound a column, with the flaws a poll would find.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::counts::Counts;
use crate::engine::histogram::{Flaw, make_cumulative};

use super::sampler::Run;
use super::xor::STALE_BITS;

/// Sets of bounds that one series may have within a slice; slots with further ones are flawed.
const MAX_LAYOUTS: usize = 16;
/// Stands in a cell whose value was given and cannot be a count; NaN stands for "not given".
const FLAWED: f64 = f64::NEG_INFINITY;

/// One bucket's counts under its bound in seconds.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub bound: f64,
    pub run: Run,
}

/// The slots of a series that had one and the same set of bounds.
#[derive(Debug, PartialEq)]
pub(super) struct Layout {
    pub bounds: Arc<[f64]>,
    /// None in a slot that does not belong here.
    pub counts: Counts,
}

/// A layout in the making.
struct Sparse {
    bounds: Arc<[f64]>,
    rows: Vec<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Sorted by bounds.
    pub layouts: Vec<Layout>,
    /// The first flaw, and the slots that are left out for this or another.
    pub flaw: Option<Flaw>,
    pub flawed_slots: Vec<u32>,
}

/// More cells than allowed.
#[derive(Debug, PartialEq)]
pub(super) struct OutOfRoom;

/// Puts one series' columns side by side, taking what it allocates for good from `room`, in cells.
pub(super) fn tabulate(mut columns: Vec<Column>, slots: usize, room: &mut usize) -> Result<Table, OutOfRoom> {
    columns.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    let mut table = Table::default();
    if let Some(layout) = side_by_side(&columns, slots, *room) {
        *room -= layout.cells();
        table.layouts.push(layout);
        return Ok(table);
    }
    let (bounds, cells) = dense(columns, slots, *room, &mut table.flaw)?;
    let mut layouts: BTreeMap<Vec<bool>, Sparse> = BTreeMap::new();
    let mut present = vec![false; bounds.len()];
    for (slot, row) in cells.chunks_exact(bounds.len().max(1)).enumerate() {
        present.iter_mut().zip(row).for_each(|(present, count)| *present = !count.is_nan());
        if !present.contains(&true) {
            continue;
        }
        if let Some(flaw) = flaw(&bounds, row) {
            table.flawed_slots.push(slot as u32);
            table.flaw.get_or_insert(flaw);
            continue;
        }
        if !layouts.contains_key(&present) {
            if layouts.len() == MAX_LAYOUTS {
                table.flawed_slots.push(slot as u32);
                continue;
            }
            layouts.insert(present.clone(), Sparse::new(&bounds, &present, slots, room)?);
        }
        if let Some(layout) = layouts.get_mut(&present) {
            layout.put(slot, row.iter().copied().filter(|count| !count.is_nan()));
        }
    }
    table.layouts = layouts.into_values().map(Layout::from).collect();
    table.layouts.sort_by(|a, b| a.bounds.partial_cmp(&b.bounds).unwrap_or(Ordering::Equal));
    Ok(table)
}

/// What columns nearly always are, in one go: distinct bounds up to `+Inf`, and every slot has all of them or none.
/// `None` if they are anything else, which [`dense`] then sorts out, or if there is no room.
fn side_by_side(columns: &[Column], slots: usize, room: usize) -> Option<Layout> {
    let span = |column: &Column| (column.run.cells().0, column.run.len());
    let (first, length) = columns.first().map(span)?;
    let distinct = columns.windows(2).all(|pair| pair[0].bound < pair[1].bound);
    let alike = columns.iter().all(|column| span(column) == (first, length));
    if !distinct || !alike || columns[columns.len() - 1].bound != f64::INFINITY {
        return None;
    }
    let cells: Vec<&[f64]> = columns.iter().map(|column| column.run.cells().1).collect();
    let counts = match Counts::whole(&cells, first, slots, is_stale) {
        Some(counts) => counts,
        None if columns.len().saturating_mul(slots) <= room => Counts::new(zip(&cells, first, slots)?, columns.len()),
        None => return None,
    };
    let bounds = columns.iter().map(|column| column.bound).collect();
    Some(Layout { bounds, counts }).filter(|layout| layout.cells() <= room)
}

/// The same row by row: counts with fractions, and buckets that were counted at different times.
fn zip(columns: &[&[f64]], first: usize, slots: usize) -> Option<Vec<f64>> {
    let width = columns.len();
    let mut counts = vec![f64::NAN; width * slots];
    for (slot, row) in counts[first * width..].chunks_exact_mut(width).take(columns[0].len()).enumerate() {
        if is_stale(columns[0][slot]) {
            if !columns.iter().all(|column| is_stale(column[slot])) {
                return None;
            }
            continue;
        }
        for (cell, column) in row.iter_mut().zip(columns) {
            *cell = column[slot];
            if !(0.0..f64::INFINITY).contains(cell) {
                return None;
            }
        }
        make_cumulative(row);
    }
    Some(counts)
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// Distinct bounds, ascending, and the slot-major cells under them.
fn dense(
    columns: Vec<Column>,
    slots: usize,
    room: usize,
    first_flaw: &mut Option<Flaw>,
) -> Result<(Vec<f64>, Vec<f64>), OutOfRoom> {
    let mut bounds: Vec<f64> = columns.iter().map(|column| column.bound).collect();
    bounds.dedup();
    let width = bounds.len();
    if width.saturating_mul(slots) > room {
        return Err(OutOfRoom);
    }
    let mut cells = vec![f64::NAN; width * slots];
    let mut column = 0;
    for Column { bound, run } in columns {
        while bounds[column] != bound && column + 1 < width {
            column += 1;
        }
        for (slot, count) in run.points() {
            let cell = &mut cells[slot as usize * width + column];
            let flaw = match count {
                _ if !cell.is_nan() => Flaw::EqualBounds(bound),
                count if count.is_nan() => Flaw::NanCount,
                count if count < 0.0 || count.is_infinite() => Flaw::ImpossibleCount(count),
                _ => {
                    *cell = count;
                    continue;
                }
            };
            *cell = FLAWED;
            first_flaw.get_or_insert(flaw);
        }
    }
    Ok((bounds, cells))
}

/// What [`crate::engine::histogram::Histogram::from_buckets`] would object to in this row.
fn flaw(bounds: &[f64], row: &[f64]) -> Option<Flaw> {
    let mut given = bounds.iter().zip(row).filter(|(_, count)| !count.is_nan());
    let mut last = None;
    for (bound, count) in given.by_ref() {
        if bound.is_nan() {
            return Some(Flaw::NanBound);
        }
        if *count == FLAWED {
            return Some(Flaw::ImpossibleCount(*count));
        }
        last = Some(*bound);
    }
    (last != Some(f64::INFINITY)).then_some(Flaw::NoInfBucket)
}

impl Layout {
    /// What its counts take, as so many cells.
    pub fn cells(&self) -> usize {
        self.counts.bytes().div_ceil(size_of::<f64>())
    }
}

impl From<Sparse> for Layout {
    fn from(Sparse { bounds, rows }: Sparse) -> Self {
        let buckets = bounds.len();
        Self { bounds, counts: Counts::new(rows, buckets) }
    }
}

impl Sparse {
    fn new(bounds: &[f64], present: &[bool], slots: usize, room: &mut usize) -> Result<Self, OutOfRoom> {
        let bounds: Arc<[f64]> = bounds.iter().zip(present).filter(|(_, present)| **present).map(|(b, _)| *b).collect();
        let cells = bounds.len() * slots;
        *room = room.checked_sub(cells).ok_or(OutOfRoom)?;
        Ok(Self { bounds, rows: vec![f64::NAN; cells] })
    }

    fn put(&mut self, slot: usize, counts: impl Iterator<Item = f64>) {
        let width = self.bounds.len();
        let row = &mut self.rows[slot * width..][..width];
        row.iter_mut().zip(counts).for_each(|(cell, count)| *cell = count);
        make_cumulative(row);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::histogram::{Histogram, Labels};

    const SLOTS: usize = 5;

    /// What the table says of a slot, layout by layout.
    fn row(table: &Table, slot: usize) -> Vec<(Vec<f64>, Vec<f64>)> {
        let rows = table.layouts.iter().map(|layout| {
            let counts = layout.counts.row(slot)?.collect();
            Some((layout.bounds.to_vec(), counts))
        });
        rows.flatten().collect()
    }

    fn column(bound: f64, points: impl IntoIterator<Item = (u32, f64)>) -> Column {
        Column { bound, run: points.into_iter().collect() }
    }

    fn any_columns() -> impl Strategy<Value = Vec<Column>> {
        prop::sample::select(vec![None, None, Some(f64::NAN)]).prop_flat_map(columns_with)
    }

    /// In the plain ones, `hole` is in the middle.
    fn columns_with(hole: Option<f64>) -> impl Strategy<Value = Vec<Column>> {
        let bound = prop::sample::select(vec![0.1, 0.25, 0.5, 1.0, f64::INFINITY, f64::INFINITY, f64::NAN, -0.0, 0.0]);
        let count = prop_oneof![20 => (0..9u32).prop_map(f64::from), 1 => Just(f64::NAN), 1 => Just(-1.0), 1 => Just(f64::INFINITY)];
        let points = prop::collection::btree_map(0..SLOTS as u32, count, 0..=SLOTS);
        // Rarely all there, or the plain case would never be seen.
        let plain = prop::collection::vec((0..9u32).prop_map(f64::from), SLOTS);
        let in_slot = move |(slot, count)| if slot == 2 { hole.map(|hole| (slot, hole)) } else { Some((slot, count)) };
        let plain = plain.prop_map(move |counts| (0..SLOTS as u32).zip(counts).filter_map(in_slot).collect());
        let points = prop_oneof![1 => points, 3 => plain];
        prop::collection::vec((bound, points).prop_map(|(bound, points)| column(bound, points)), 0..6)
    }

    proptest! {
        #[test]
        fn each_slot_is_what_a_poll_would_make_of_it(columns in any_columns()) {
            let table = tabulate(columns.clone(), SLOTS, &mut 1_000_000).unwrap();
            let mut flawed = 0;
            for slot in 0..SLOTS {
                let at = |run: &Run| run.points().find(|(at, _)| *at == slot as u32).map(|(_, count)| count);
                let buckets: Vec<(f64, f64)> =
                    columns.iter().filter_map(|column| Some((column.bound, at(&column.run)?))).collect();
                let absent = buckets.is_empty();
                let expected = Histogram::from_buckets(Labels::new(), buckets).ok();
                flawed += usize::from(!absent && expected.is_none());
                let expected: Vec<_> = expected.into_iter().map(|h| (h.bounds.to_vec(), h.counts)).collect();
                prop_assert_eq!(row(&table, slot), expected, "slot {}", slot);
            }
            prop_assert_eq!(table.flawed_slots.len(), flawed);
            prop_assert_eq!(table.flaw.is_some(), flawed > 0);
        }
    }

    #[test]
    fn memory_is_bounded_whatever_the_answer_says() {
        let sparse = |bound: f64| column(bound, [(0, 0.5)]);
        assert!(matches!(tabulate(vec![sparse(f64::INFINITY)], 10_000, &mut 9_999), Err(OutOfRoom)));
        let mut room = 25_000;
        assert!(tabulate(vec![sparse(f64::INFINITY)], 10_000, &mut room).is_ok());
        assert_eq!(room, 15_000);
        // Whole numbers take half a cell each, and nothing where there are none.
        let whole = column(f64::INFINITY, (0..100).map(|slot| (slot, 1.0)));
        assert!(tabulate(vec![whole.clone()], 10_000, &mut room).is_ok());
        assert_eq!(room, 15_000 - 50 - 1);
        assert!(matches!(tabulate(vec![whole], 10_000, &mut 50), Err(OutOfRoom)));
        // Every slot another set of bounds.
        let changing: Vec<Column> = (0..40).map(|n| column(f64::from(n), [(n, 1.0)])).collect();
        let all = column(f64::INFINITY, (0..40).map(|slot| (slot, 1.0)));
        let table = tabulate([changing, vec![all]].concat(), 40, &mut 1_000_000).unwrap();
        assert_eq!((table.layouts.len(), table.flawed_slots.len()), (MAX_LAYOUTS, 40 - MAX_LAYOUTS));
    }
}
