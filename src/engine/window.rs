//! Cumulative counters over time, thinned with age, and differences over windows.
//!
//! A row is kept for every slot up to an age of [`EXACT_SLOTS`]; each further tier keeps every second row of the tier
//! before, for twice its age, and between two of them counters are taken to have grown evenly. So a window's older edge
//! is known to less than 1% of its length, and what lies inside it is exact. 30 days at 30 s are about 1,120 rows.
//!
//! Missed slots hold the row before them, which makes a lookup "the last poll at or before `now - w`": the meaning of
//! Prometheus 3's `anchored` modifier, without extrapolation.
//!
//! History that is known beforehand may be counted in ahead of the slot that everybody else looks back from: see
//! [`History::run_ahead`].
//!
//! ```
//! use slowburn::engine::window::{Age, History};
//! let mut history = History::new(1, 1000);
//! for slot in 0..=500 {
//!     history.push(slot, &[10.0 * slot as f64]);
//! }
//! assert_eq!(history.newest()[0] - history.at::<1>(Age::in_slots(20))[0], 200.0);
//! ```

mod ahead;

use serde::{Deserialize, Serialize};

use ahead::Lead;

/// Up to this age, in slots, every slot has a row.
pub const EXACT_SLOTS: i64 = 200;

/// Rows a further tier needs for ages from `EXACT_SLOTS / 2` to `EXACT_SLOTS` of its strides, edges included.
const TIER_ROWS: i64 = EXACT_SLOTS / 2 + 2;

/// A distance back from the newest slot, with the tier that serves it worked out once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    slots: i64,
    tier: u32,
}

/// Rows of `width` cumulative counters by slot number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct History {
    width: usize,
    /// Rows of tier 0: fewer than `EXACT_SLOTS + 1` where no older age is ever asked for.
    exact_rows: i64,
    /// Further rows of tier 0, for running ahead.
    #[serde(skip)]
    room: i64,
    last_tier: u32,
    first_slot: i64,
    newest_slot: i64,
    /// How many slots the rows' numbers are ahead of those that others use: see [`History::rewind`].
    ahead: i64,
    /// Which row of tier 0 is the newest.
    newest_row: i64,
    /// `None` for one that never ran ahead.
    #[serde(skip)]
    lead: Option<Box<Lead>>,
    /// The first row ever pushed: what a window reaching back before it starts from.
    first_row: Box<[f64]>,
    /// Tier 0, then each further tier once it is reached.
    rows: Vec<f64>,
}

impl Age {
    pub fn in_slots(slots: i64) -> Self {
        let slots = slots.max(0);
        // The least tier with `slots <= EXACT_SLOTS << tier`.
        let tier = if slots <= EXACT_SLOTS { 0 } else { i64::BITS - ((slots - 1) / EXACT_SLOTS).leading_zeros() };
        Self { slots, tier }
    }

    pub fn slots(self) -> i64 {
        self.slots
    }
}

impl History {
    /// For rows of `width` counters, with ages up to `max_age_slots`.
    pub fn new(width: usize, max_age_slots: i64) -> Self {
        Self {
            width,
            exact_rows: max_age_slots.min(EXACT_SLOTS) + 1,
            room: 0,
            last_tier: Age::in_slots(max_age_slots).tier,
            first_slot: i64::MAX,
            newest_slot: i64::MIN,
            ahead: 0,
            newest_row: 0,
            lead: None,
            first_row: vec![0.0; width].into_boxed_slice(),
            rows: Vec::new(),
        }
    }

    /// Whether this one, which was read again, has the form of `fresh`, so that it can take its place.
    pub fn fits(&self, fresh: &History) -> bool {
        let form = |history: &History| (history.width, history.exact_rows, history.last_tier, history.first_row.len());
        let rows = |tiers: i64| (self.exact_rows + tiers * TIER_ROWS) as usize * self.width;
        let is_whole =
            self.rows.is_empty() || (0..=i64::from(self.last_tier)).any(|tiers| self.rows.len() == rows(tiers));
        form(self) == form(fresh) && is_whole && (0..self.exact_rows).contains(&self.newest_row)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn newest_slot(&self) -> Option<i64> {
        (!self.is_empty()).then_some(self.newest_slot - self.ahead)
    }

    /// Goes on as if every row's slot had been `slots` earlier. The rows stay where they are.
    pub fn rewind(&mut self, slots: i64) {
        self.ahead += slots;
    }

    /// Adds the row of `slot`, which must be later than any before; slots left out hold the row before them.
    pub fn push(&mut self, slot: i64, row: &[f64]) {
        debug_assert_eq!(row.len(), self.width);
        let slot = slot + self.ahead;
        if self.is_empty() {
            self.first_slot = slot;
            self.first_row.copy_from_slice(row);
            self.rows.resize((self.exact_rows + self.room) as usize * self.width, 0.0);
        } else {
            debug_assert!(slot > self.newest_slot);
            self.settle_shown();
            self.hold_until(slot);
        }
        self.write_newest(slot, row);
    }

    /// Repeats the newest row for every slot before `slot`.
    fn hold_until(&mut self, slot: i64) {
        if slot == self.newest_slot + 1 {
            return;
        }
        let held: Vec<f64> = self.newest().to_vec();
        // Beyond the oldest age every row would be overwritten anyway.
        let oldest_needed = slot - ((EXACT_SLOTS + 2) << self.last_tier);
        if oldest_needed > self.newest_slot {
            self.first_slot = oldest_needed;
            self.first_row.copy_from_slice(&held);
        }
        for missed in (self.newest_slot + 1).max(oldest_needed)..slot {
            self.write_newest(missed, &held);
        }
    }

    fn write_newest(&mut self, slot: i64, row: &[f64]) {
        self.show_next(slot);
        let at = self.offset(0, slot);
        self.rows[at..at + self.width].copy_from_slice(row);
        if !self.is_ahead() {
            self.settle(slot);
        }
    }

    fn show_next(&mut self, slot: i64) {
        self.newest_slot = slot;
        self.newest_row = if self.newest_row + 1 == self.exact_rows + self.room { 0 } else { self.newest_row + 1 };
    }

    /// Brings the tiers to `slot`, the newest.
    fn settle(&mut self, slot: i64) {
        for tier in 1..=self.last_tier.min(slot.trailing_zeros()) {
            // A row leaves tier k for tier k + 1 at the age of EXACT_SLOTS << k, if it is on the coarser stride: and since
            // that age is itself a multiple of the stride, exactly when the newest slot is.
            let moving = slot - (EXACT_SLOTS << (tier - 1));
            if moving >= self.first_slot {
                self.move_row(tier, tier - 1, moving);
            }
        }
        if let Some(lead) = &mut self.lead {
            lead.settled_slot = slot;
        }
    }

    /// Copies the row of `slot`, which is on the stride of `tier`, from the tier `source` to `tier`.
    fn move_row(&mut self, tier: u32, source: u32, slot: i64) {
        let from = self.offset(source, slot);
        let to = self.offset(tier, slot);
        if self.rows.len() < to + self.width {
            let cells = (self.exact_rows + self.room + i64::from(tier) * TIER_ROWS) as usize * self.width;
            self.rows.reserve_exact(cells - self.rows.len());
            self.rows.resize(cells, 0.0);
        }
        self.rows.copy_within(from..from + self.width, to);
    }

    /// Adds `by` to every row later than that of `slot`: it was counted then, and only came to be known now.
    pub fn raise_after(&mut self, slot: i64, by: &[f64]) {
        if self.is_empty() {
            return;
        }
        self.settle_shown();
        let slot = slot + self.ahead;
        for tier in 0..=self.last_tier {
            let stride = 1 << tier;
            let (youngest, oldest) = match tier {
                0 => (0, self.exact_rows + self.room - 1),
                _ => (EXACT_SLOTS << (tier - 1), (EXACT_SLOTS << tier) + stride - 1),
            };
            let from = (slot + 1).max(self.newest_slot - oldest).max(self.first_slot);
            let mut raised = (from + stride - 1) >> tier << tier;
            while raised <= self.newest_slot - youngest {
                let at = self.offset(tier, raised);
                self.rows[at..at + self.width].iter_mut().zip(by).for_each(|(column, by)| *column += by);
                raised += stride;
            }
        }
    }

    /// Where the row of `slot` starts in tier `tier`; `slot` is a multiple of the tier's stride.
    fn offset(&self, tier: u32, slot: i64) -> usize {
        let row = match tier {
            // Counted back from the newest row: a division by a variable would cost more than all the rest.
            0 => {
                let row = self.newest_row - (self.newest_slot - slot);
                if row < 0 { row + self.exact_rows + self.room } else { row }
            }
            _ => self.exact_rows + self.room + i64::from(tier - 1) * TIER_ROWS + (slot >> tier).rem_euclid(TIER_ROWS),
        };
        row as usize * self.width
    }

    /// The newest row. Empty before the first push.
    pub fn newest(&self) -> &[f64] {
        if self.is_empty() {
            return &[];
        }
        self.row(0, self.newest_slot)
    }

    /// The counters as they stood `age` back from the newest slot: the row of the last poll at or before it. Between
    /// thinned rows they are taken to have grown evenly, which is off by less than 1% of the age. Ages before the
    /// first row are the first row; ages beyond the greatest asked for in [`History::new`] count as that. All zero
    /// before the first push. `N` is the width.
    pub fn at<const N: usize>(&self, age: Age) -> [f64; N] {
        // Most windows end where every slot has its row.
        let slot = self.newest_slot.saturating_sub(age.slots);
        if age.tier == 0 && age.slots < self.exact_rows && slot >= self.first_slot {
            let at = self.offset(0, slot);
            return std::array::from_fn(|column| self.rows[at + column]);
        }
        let mut row = [0.0; N];
        self.read(age, &mut row);
        row
    }

    /// [`History::at`] for rows of any width.
    pub fn read(&self, age: Age, out: &mut [f64]) {
        self.read_from(self.newest_slot, age, out);
    }

    /// The same `age` back from `slot`.
    fn read_from(&self, slot: i64, age: Age, out: &mut [f64]) {
        if self.is_empty() {
            return out.fill(0.0);
        }
        let age = self.served(age);
        let wanted = slot - age.slots;
        if wanted <= self.first_slot {
            return out.copy_from_slice(&self.first_row);
        }
        let stride = 1 << age.tier;
        let before = (wanted >> age.tier) << age.tier;
        if before < self.first_slot {
            self.between(&self.first_row, self.first_slot, before + stride, wanted, out);
        } else if before == wanted {
            out.copy_from_slice(self.found(age.tier, before));
        } else {
            self.between(self.found(age.tier, before), before, before + stride, wanted, out);
        }
    }

    /// The age that is read for `age`.
    fn served(&self, age: Age) -> Age {
        let age = if age.tier > self.last_tier { Age::in_slots(EXACT_SLOTS << self.last_tier) } else { age };
        let slots = if age.tier == 0 { age.slots.min(self.exact_rows - 1) } else { age.slots };
        Age { slots, ..age }
    }

    /// Between the row `then` of slot `from` and the row of slot `to`.
    fn between(&self, then: &[f64], from: i64, to: i64, wanted: i64, out: &mut [f64]) {
        let later = self.found(self.last_tier, to);
        let share = (wanted - from) as f64 / (to - from) as f64;
        for ((out, then), later) in out.iter_mut().zip(then).zip(later) {
            *out = then + (later - then) * share;
        }
    }

    /// The row of `slot`, a multiple of `tier`'s stride, which may not have come as far as this tier.
    fn found(&self, tier: u32, slot: i64) -> &[f64] {
        self.row(tier.min(Age::in_slots(self.settled_slot() - slot).tier), slot)
    }

    fn row(&self, tier: u32, slot: i64) -> &[f64] {
        let at = self.offset(tier, slot);
        &self.rows[at..at + self.width]
    }

    /// Bytes of the rows on the heap.
    pub fn heap_bytes(&self) -> usize {
        (self.rows.capacity() + self.first_row.len()) * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every row ever pushed: what the thinned history must agree with.
    struct Oracle(Vec<(i64, f64)>);

    impl Oracle {
        fn at_or_before(&self, slot: i64) -> f64 {
            self.0.iter().rev().find(|(at, _)| *at <= slot).unwrap_or(&self.0[0]).1
        }
    }

    proptest! {
        #[test]
        fn windows_end_within_one_percent(
            start in 1_000_000i64..2_000_000,
            steps in prop::collection::vec((prop_oneof![20 => Just(1i64), 1 => 2i64..900], 0u32..50), 1..2500),
            ages in prop::collection::vec(0i64..6400, 1..20),
            rewind in 0i64..5000,
        ) {
            let mut history = History::new(1, 6400);
            let mut oracle = Oracle(Vec::new());
            let (mut slot, mut count) = (start, 0.0);
            let half = steps.len() / 2;
            for (number, (gap, increase)) in steps.into_iter().enumerate() {
                if number == half {
                    history.rewind(rewind);
                    slot -= rewind;
                    oracle.0.iter_mut().for_each(|(at, _)| *at -= rewind);
                }
                slot += gap;
                count += f64::from(increase);
                history.push(slot, &[count]);
                prop_assert_eq!(history.newest_slot(), Some(slot));
                oracle.0.push((slot, count));
            }
            for age in ages {
                let [found] = history.at(Age::in_slots(age));
                if age <= EXACT_SLOTS {
                    prop_assert_eq!(found, oracle.at_or_before(slot - age), "age {}", age);
                } else {
                    // Counters never fall, so a count between those of two slots proves that the edge is between them.
                    let earliest = oracle.at_or_before(slot - age - age / 100);
                    let latest = oracle.at_or_before(slot - age + age / 100);
                    prop_assert!(earliest <= found && found <= latest, "age {}: {} not in {}..={}", age, found, earliest, latest);
                }
            }
        }
    }

    proptest! {
        /// Ahead, back again and on the way after, every row is read as if nobody had run ahead.
        #[test]
        fn running_ahead_shows_what_is_shown_slot_by_slot(
            start in 1_000_000i64..1_000_700,
            stretches in prop::collection::vec((1usize..1500, 1usize..1500), 1..5),
            most in 5i64..6000,
            ages in prop::collection::vec(0i64..6000, 1..20),
        ) {
            let read = |history: &History| -> Vec<[f64; 1]> {
                ages.iter().map(|age| history.at(Age::in_slots(*age))).chain([history.newest().try_into().unwrap()]).collect()
            };
            let (mut plain, mut ahead) = (History::new(1, most), History::new(1, most));
            let (mut slot, mut count) = (start, 0.0);
            for history in [&mut plain, &mut ahead] {
                history.push(slot, &[0.0]);
            }
            for (length, jump) in stretches {
                let shown = read(&ahead);
                ahead.run_ahead(length as i64);
                let mut by_slot = Vec::new();
                for next in slot + 1..=slot + length as i64 {
                    count += (next % 7) as f64;
                    plain.push(next, &[count]);
                    if next % 2 == 0 { ahead.push(next, &[count]) } else { ahead.extend(&[[count]]) }
                    by_slot.push(read(&plain));
                    prop_assert_eq!(read(&ahead), read(&plain), "ahead at {}", next);
                }
                for place in (0..length).step_by(jump) {
                    ahead.stand_at(slot + 1 + place as i64);
                    prop_assert_eq!(&read(&ahead), &by_slot[place], "ahead once more at {}", slot + 1 + place as i64);
                }
                for (index, age) in ages.iter().enumerate() {
                    let mut since = Vec::new();
                    ahead.each_since(Age::in_slots(*age), slot + 1, slot + length as i64, |at, [since_then]| {
                        since.push((at, since_then));
                    });
                    let expected = by_slot.iter().map(|read| read[ages.len()][0] - read[index][0]);
                    prop_assert_eq!(since, (0..).zip(expected).collect::<Vec<_>>(), "age {}", age);
                }
                ahead.come_back();
                prop_assert_eq!(read(&ahead), shown);
                for place in (0..length).step_by(jump).chain([length - 1]) {
                    ahead.follow(slot + 1 + place as i64);
                    prop_assert_eq!(&read(&ahead), &by_slot[place], "on the way at {}", slot + 1 + place as i64);
                }
                slot += length as i64;
            }
        }
    }

    #[test]
    fn a_month_at_30_s_stays_small() {
        let mut history = History::new(3, 86_400);
        for slot in 0..200_000 {
            history.push(slot, &[1.0, 2.0, 3.0]);
        }
        assert!(history.heap_bytes() <= 30_000, "{} bytes", history.heap_bytes());
    }

    #[test]
    fn before_the_first_row_is_the_first_row() {
        let mut history = History::new(1, 1000);
        history.push(500, &[7.0]);
        history.push(501, &[9.0]);
        assert_eq!(history.at(Age::in_slots(900)), [7.0]);
        assert_eq!(history.at(Age::in_slots(99_999)), [7.0]);
        assert_eq!(history.newest(), [9.0]);
    }

    proptest! {
        #[test]
        fn what_comes_to_be_known_late_counts_from_then_on(
            slots in 1i64..3000,
            late in prop::collection::vec((0i64..3000, 1u32..100), 1..5),
            ages in prop::collection::vec(0i64..3000, 1..20),
        ) {
            let mut history = History::new(1, 3000);
            (0..=slots).for_each(|slot| history.push(slot, &[0.0]));
            for (after, by) in &late {
                history.raise_after(*after, &[f64::from(*by)]);
            }
            for age in ages {
                let known_at = |slot: i64| -> f64 {
                    let before = late.iter().filter(|(after, _)| *after < slot && slot > 0);
                    before.map(|(_, by)| f64::from(*by)).sum()
                };
                let [found] = history.at(Age::in_slots(age));
                let slack = if age <= EXACT_SLOTS { 0 } else { age / 100 };
                let slot = (slots - age).max(0);
                prop_assert!(known_at(slot - slack) <= found && found <= known_at(slot + slack), "age {}: {}", age, found);
            }
        }
    }

    #[test]
    fn steady_growth_is_read_exactly_at_any_age() {
        let mut history = History::new(1, 86_400);
        for slot in 7..90_000 {
            history.push(slot, &[slot as f64]);
        }
        for age in 0..86_400 {
            assert_eq!(history.at(Age::in_slots(age)), [(89_999 - age).max(7) as f64], "age {age}");
        }
    }
}
