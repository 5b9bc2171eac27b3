//! Running ahead: rows are pushed and looked at as far as they are known, then hidden again, and shown in their turn.
//!
//! Tier 0 gets room for them. The other tiers stay as they are meanwhile, and take their rows over when those are shown:
//! so each slot sees what it would have seen had nobody run ahead.

use super::{Age, EXACT_SLOTS, History, TIER_ROWS};

/// Rows that tier 0 keeps beyond those that it must: windows that end there are read without a search.
const KEPT_ROWS: i64 = 4 * EXACT_SLOTS;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Lead {
    /// While it runs ahead: the newest slot that tiers have seen.
    settled_slot: Option<i64>,
    /// The newest slot that was pushed.
    furthest_slot: i64,
    /// Tier 0 has every row from here on, as far back as it reaches.
    whole_from: i64,
}

impl History {
    /// Begins to run ahead by up to `slots` slots, one after the other: they are pushed and read as ever, until
    /// [`History::come_back`].
    pub fn run_ahead(&mut self, slots: i64) {
        if self.room < slots + KEPT_ROWS {
            self.make_room(slots + KEPT_ROWS);
        }
        if let Some(lead) = &mut self.lead {
            (lead.settled_slot, lead.furthest_slot) = (Some(self.newest_slot), self.newest_slot);
        }
    }

    pub(super) fn is_ahead(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.settled_slot.is_some())
    }

    pub(super) fn settled_slot(&self) -> i64 {
        self.lead.as_ref().and_then(|lead| lead.settled_slot).unwrap_or(self.newest_slot)
    }

    /// Adds the row of the slot after the newest, while it runs ahead. `N` is the width.
    #[inline]
    pub fn push_next<const N: usize>(&mut self, row: [f64; N]) {
        self.show_next(self.newest_slot + 1);
        let at = self.newest_row as usize * N;
        self.rows[at..at + N].copy_from_slice(&row);
    }

    /// Looks back from `slot`, one of those it ran through.
    pub fn stand_at(&mut self, slot: i64) {
        let slot = slot + self.ahead;
        if let Some(lead) = &mut self.lead {
            lead.furthest_slot = lead.furthest_slot.max(self.newest_slot);
        }
        self.newest_row = (self.newest_row + slot - self.newest_slot).rem_euclid(self.exact_rows + self.room);
        self.newest_slot = slot;
    }

    /// Stands where it stood before it ran ahead. It must go through the slots it saw by [`History::follow`] before it
    /// is given another.
    pub fn come_back(&mut self) {
        if !self.is_empty() {
            self.stand_at(self.settled_slot() - self.ahead);
        }
        if let Some(lead) = &mut self.lead {
            lead.settled_slot = None;
        }
    }

    /// Goes on to `slot`, up to which it ran ahead before.
    pub fn follow(&mut self, slot: i64) {
        if self.is_empty() || slot + self.ahead <= self.newest_slot {
            return;
        }
        let from = self.newest_slot + 1;
        self.stand_at(slot);
        let to = self.newest_slot;
        let whole_from = self.whole_from();
        // What would leave a tier again before `to` need not come there, if tier 0 still has it for the next tier.
        let mut first = 1;
        while first < self.last_tier && to - from > TIER_ROWS << first && from - (EXACT_SLOTS << first) >= whole_from {
            multiples(first, to - (TIER_ROWS << first), to).for_each(|slot| self.settle_tier(first, 0, slot));
            first += 1;
        }
        for slot in multiples(first, from, to) {
            self.settle_tier(first, 0, slot);
            for tier in first + 1..=self.last_tier.min(slot.trailing_zeros()) {
                self.settle_tier(tier, tier - 1, slot);
            }
        }
    }

    /// Tier 0 has every row from here on; later than any if it never had room.
    fn whole_from(&self) -> i64 {
        let Some(lead) = &self.lead else { return i64::MAX };
        let furthest = lead.furthest_slot.max(self.newest_slot);
        lead.whole_from.max(furthest - (self.exact_rows + self.room) + 1).max(self.first_slot)
    }

    /// Hands what was counted over the `age` before each slot from `first` to `last`, all of which it ran through, to
    /// `each`, with how many slots come before it. `N` is the width.
    pub fn each_since<const N: usize>(&self, age: Age, first: i64, last: i64, mut each: impl FnMut(usize, [f64; N])) {
        if self.is_empty() {
            return;
        }
        let (first, last) = (first + self.ahead, last + self.ahead);
        let ring = self.exact_rows + self.room;
        let (rows, _) = self.rows[..ring as usize * N].as_chunks::<N>();
        let place = |slot: i64| {
            let row = self.newest_row + slot - self.newest_slot;
            (if row < 0 {
                row + ring
            } else if row >= ring {
                row - ring
            } else {
                row
            }) as usize
        };
        let age = self.served(age);
        let stride = 1 << age.tier;
        // Later than this, tier 0 has the rows on both sides of the window's edge.
        let whole_from = self.whole_from().saturating_add(stride);
        let then = |slot: i64| {
            let wanted = slot - age.slots;
            if wanted <= whole_from {
                let mut then = [0.0; N];
                self.read_from(slot, age, &mut then);
                return then;
            }
            let before = wanted >> age.tier << age.tier;
            let then = rows[place(before)];
            if before == wanted {
                return then;
            }
            let later = rows[place(before + stride)];
            let share = (wanted - before) as f64 / stride as f64;
            std::array::from_fn(|column| then[column] + (later[column] - then[column]) * share)
        };
        let difference = |now: &[f64; N], then: &[f64; N]| std::array::from_fn(|column| now[column] - then[column]);
        let mut slot = first;
        while slot <= last {
            let at = (slot - first) as usize;
            let now = place(slot);
            if stride == 1 && slot - age.slots > whole_from {
                // As far as neither end of the window comes to the end of the ring.
                let before = place(slot - age.slots);
                let many = (ring as usize - now.max(before)).min((last - slot + 1) as usize);
                let both = rows[now..now + many].iter().zip(&rows[before..before + many]);
                (at..).zip(both).for_each(|(at, (now, then))| each(at, difference(now, then)));
                slot += many as i64;
            } else {
                each(at, difference(&rows[now], &then(slot)));
                slot += 1;
            }
        }
    }

    fn make_room(&mut self, room: i64) {
        let kept = self.exact_rows + self.room;
        let mut lead = Lead { settled_slot: None, furthest_slot: i64::MIN, whole_from: i64::MIN };
        let mut rows = Vec::new();
        if !self.is_empty() {
            lead.whole_from =
                self.lead.as_ref().map_or(i64::MIN, |lead| lead.whole_from).max(self.newest_slot - kept + 1);
            let tiers = &self.rows[kept as usize * self.width..];
            rows.reserve_exact((self.exact_rows + room) as usize * self.width + tiers.len());
            for age in (0..kept).rev() {
                rows.extend_from_slice(self.row(0, self.newest_slot - age));
            }
            rows.resize((self.exact_rows + room) as usize * self.width, 0.0);
            rows.extend_from_slice(tiers);
            self.newest_row = kept - 1;
        }
        (self.room, self.rows, self.lead) = (room, rows, Some(Box::new(lead)));
    }
}

/// Slots from `from` to `to` that a tier has rows of.
fn multiples(tier: u32, from: i64, to: i64) -> impl Iterator<Item = i64> {
    let stride = 1 << tier;
    ((from + stride - 1) >> tier << tier..=to).step_by(stride as usize)
}
