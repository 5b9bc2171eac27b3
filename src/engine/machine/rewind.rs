//! The wall clock was set: back, and everything goes on with slots numbered anew; or ahead, and nobody trusts what is there.
//!
//! Nothing is resolved, told or evaluated because of it. What lies in the future after that happened now; waits that
//! were under way last as long as they would have.

use super::Engine;
use crate::engine::time::{Duration, Timestamp};

impl Engine {
    /// Goes on at `now`, as if all slots so far had been `by` earlier; `by` is rounded up to whole intervals. The windows
    /// go on without a gap, which is right for a source that only knows its values of now: where there is history,
    /// [`Engine::forget_windows`] makes room for it. Returns by how much slots went back.
    pub fn rewind(&mut self, now: Timestamp, by: Duration) -> Duration {
        let slots = by.in_slots(self.spec.interval);
        let by_slots = Duration::from_ms(slots * self.spec.interval.ms());
        for slot in [&mut self.newest_slot, &mut self.evaluated_slot, &mut self.due_slot, &mut self.last_answer] {
            *slot = slot.map(|slot| slot - by_slots);
        }
        self.slos.iter_mut().for_each(|slo| slo.rewind(now, slots));
        self.series.iter_mut().for_each(|series| series.counter.rewind(slots));
        self.rules.iter_mut().flatten().for_each(|state| state.rewind(now));
        for refusal in self.refused.iter_mut().flatten() {
            refusal.reported = refusal.reported.min(now);
        }
        self.incidents.values_mut().for_each(|incident| incident.rewind(now, by));
        self.holds.forget_hours();
        self.digests.rewind(now);
        self.roster.rewind(now);
        self.outbox.rewind(by);
        self.missed.clock_set_back += 1;
        if let Some(remembered) = &mut self.remembered {
            remembered.start_anew();
        }
        by_slots
    }

    /// The wall clock leapt ahead to `slot`, or the machine slept: the slots between are counted in, but not evaluated. A
    /// clock that is wrong asks for times that are not yet, and what a source has of them is no recovery.
    pub fn leap(&mut self, slot: Timestamp) {
        let before = slot - self.spec.interval;
        self.evaluated_slot = self.evaluated_slot.map(|evaluated| evaluated.max(before));
        for state in self.rules.iter_mut().flatten() {
            state.skip();
        }
        if let Some(remembered) = &mut self.remembered {
            remembered.start_anew();
        }
    }
}
