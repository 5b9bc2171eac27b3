//! Running ahead: rows are pushed and looked at as far as they are known, then hidden again, and shown in their turn.
//!
//! Tier 0 gets room for them. The other tiers stay as they are meanwhile, and take over what came when somebody runs ahead
//! again, or counts a slot by itself: until then tier 0 still has it. So each slot sees what it would have seen had nobody
//! run ahead.

use super::{Age, EXACT_SLOTS, History, TIER_ROWS};

/// Rows that tier 0 keeps beyond those that it must: windows that end there are read without a search.
const KEPT_ROWS: i64 = 4 * EXACT_SLOTS;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Lead {
    /// The slot to come back to, while it runs ahead.
    shown_slot: Option<i64>,
    /// The newest slot that tiers have seen.
    pub(super) settled_slot: i64,
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
        self.settle_shown();
        if let Some(lead) = &mut self.lead {
            (lead.shown_slot, lead.furthest_slot) = (Some(self.newest_slot), self.newest_slot);
        }
    }

    pub(super) fn is_ahead(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.shown_slot.is_some())
    }

    pub(super) fn settled_slot(&self) -> i64 {
        self.lead.as_ref().map_or(self.newest_slot, |lead| lead.settled_slot)
    }

    /// Adds the rows of the slots after the newest, while it runs ahead. `N` is the width.
    pub fn extend<const N: usize>(&mut self, mut rows: &[[f64; N]]) {
        let ring = (self.exact_rows + self.room) as usize;
        while !rows.is_empty() {
            let at = (self.newest_row + 1) as usize % ring;
            let (now, later) = rows.split_at(rows.len().min(ring - at));
            self.rows[at * N..(at + now.len()) * N].copy_from_slice(now.as_flattened());
            self.newest_row = (at + now.len() - 1) as i64;
            self.newest_slot += now.len() as i64;
            rows = later;
        }
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
        if let Some(shown_slot) = self.lead.as_mut().and_then(|lead| lead.shown_slot.take())
            && !self.is_empty()
        {
            self.stand_at(shown_slot - self.ahead);
        }
    }

    /// Goes on to `slot`, up to which it ran ahead before.
    pub fn follow(&mut self, slot: i64) {
        if !self.is_empty() && slot + self.ahead > self.newest_slot {
            self.stand_at(slot);
        }
    }

    /// Brings the tiers to the newest slot, if nobody is ahead of it.
    pub(super) fn settle_shown(&mut self) {
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.shown_slot.is_none()) else { return };
        let (before, now) = (lead.settled_slot, self.newest_slot);
        lead.settled_slot = now;
        if before >= now {
            return;
        }
        let whole_from = self.whole_from();
        // The older tiers first: they take rows that younger ones will lose.
        for tier in (1..=self.last_tier).rev() {
            let youngest = EXACT_SLOTS << (tier - 1);
            let to = (now >> tier << tier) - youngest;
            // What would leave the tier again before `now` need not come there.
            let from = (before + 1 - youngest).max(to - ((TIER_ROWS - 1) << tier)).max(self.first_slot);
            for slot in multiples(tier, from, to) {
                let source = if slot >= whole_from { 0 } else { Age::in_slots(before - slot).tier };
                self.move_row(tier, source, slot);
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
        let ring = (self.exact_rows + self.room) as usize;
        let (rows, _) = self.rows[..ring * N].as_chunks::<N>();
        let (age, whole_from) = (self.served(age), self.whole_from());
        let difference = |now: &[f64; N], then: &[f64; N]| std::array::from_fn(|column| now[column] - then[column]);
        let mut slot = first;
        while slot <= last {
            let at = (slot - first) as usize;
            let now = self.place(slot);
            if age.tier == 0 && slot - age.slots > whole_from {
                // As far as neither end of the window comes to the end of the ring.
                let before = self.place(slot - age.slots);
                let many = (ring - now.max(before)).min((last - slot + 1) as usize);
                let both = rows[now..now + many].iter().zip(&rows[before..before + many]);
                (at..).zip(both).for_each(|(at, (now, then))| each(at, difference(now, then)));
                slot += many as i64;
            } else {
                each(at, difference(&rows[now], &self.then(slot, age, whole_from)));
                slot += 1;
            }
        }
    }

    /// The rows of the slots `first` and `last`, both of which it ran through, and those the `age` before each of them.
    pub fn around<const N: usize>(&self, age: Age, first: i64, last: i64) -> [[f64; N]; 4] {
        let (age, whole_from) = (self.served(age), self.whole_from());
        let [first, last] = [first, last].map(|slot| slot + self.ahead);
        [self.known(first), self.known(last), self.then(first, age, whole_from), self.then(last, age, whole_from)]
    }

    /// The earliest slot whose row a look `age` back from `slot` depends on; no later than the first one.
    pub fn reach(&self, age: Age, slot: i64) -> i64 {
        (slot - age.slots - (1 << age.tier)).max(self.first_slot - self.ahead)
    }

    /// The row the `age`, one that is served, back from `slot`; tier 0 has every row since `whole_from`.
    #[inline]
    fn then<const N: usize>(&self, slot: i64, age: Age, whole_from: i64) -> [f64; N] {
        let (wanted, stride) = (slot - age.slots, 1 << age.tier);
        // Later than this, tier 0 has the rows on both sides of the window's edge.
        if wanted <= whole_from.saturating_add(stride) {
            let mut then = [0.0; N];
            self.read_from(slot, age, &mut then);
            return then;
        }
        let before = wanted >> age.tier << age.tier;
        let then = self.known(before);
        if before == wanted {
            return then;
        }
        let later: [f64; N] = self.known(before + stride);
        let share = (wanted - before) as f64 / stride as f64;
        std::array::from_fn(|column| then[column] + (later[column] - then[column]) * share)
    }

    /// The row of `slot`, which tier 0 still has or has already.
    #[inline]
    fn known<const N: usize>(&self, slot: i64) -> [f64; N] {
        let at = self.place(slot) * N;
        std::array::from_fn(|column| self.rows[at + column])
    }

    /// Which row of tier 0 is that of `slot`, earlier or later than the one it stands at.
    #[inline]
    fn place(&self, slot: i64) -> usize {
        let (row, ring) = (self.newest_row + slot - self.newest_slot, self.exact_rows + self.room);
        (if row < 0 {
            row + ring
        } else if row >= ring {
            row - ring
        } else {
            row
        }) as usize
    }

    fn make_room(&mut self, room: i64) {
        let kept = self.exact_rows + self.room;
        self.settle_shown();
        let (settled_slot, least) = (self.newest_slot, i64::MIN);
        let mut lead = Lead { shown_slot: None, settled_slot, furthest_slot: least, whole_from: least };
        let all_rows = self.exact_rows + room + i64::from(self.last_tier) * TIER_ROWS;
        // All at once, or it would be copied for each tier.
        let mut rows = Vec::with_capacity(all_rows as usize * self.width);
        if !self.is_empty() {
            lead.whole_from =
                self.lead.as_ref().map_or(i64::MIN, |lead| lead.whole_from).max(self.newest_slot - kept + 1);
            let tiers = &self.rows[kept as usize * self.width..];
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
