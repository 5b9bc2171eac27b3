//! What holds notifications back: silences, maintenance windows and the active hours of routes, as of the newest slot.

use super::Engine;
use crate::engine::hours::{NEVER, Phase};
use crate::engine::maintenance::Maintenance;
use crate::engine::route::{Destination, Hold, Matcher};
use crate::engine::silence::{Refused, Silence, Silences};
use crate::engine::time::Timestamp;

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Holds {
    pub(in crate::engine) silences: Silences,
    /// In the order of the spec's hours, once a slot was looked at.
    phases: Vec<Phase>,
    /// The slot that was looked at last.
    slot: Option<Timestamp>,
    /// Of the hours of maintenance windows in which requests do not count, as of the newest slot that was counted in.
    excluding: Vec<Phase>,
}

impl Holds {
    pub(super) fn new(known: &[Silence]) -> Self {
        let mut silences = Silences::default();
        // At the beginning of time, when none of them is over yet.
        known.iter().for_each(|silence| silences.set(Timestamp::from_unix_ms(0), silence));
        Self { silences, ..Self::default() }
    }

    pub(in crate::engine) fn slot(&self) -> Option<Timestamp> {
        self.slot
    }

    /// The same silences for another configuration, or another time.
    pub(super) fn forget_hours(&mut self) {
        self.phases.clear();
        self.excluding.clear();
    }
}

impl Engine {
    /// Whether [`super::Input::Silence`] would be taken at `now`.
    pub fn check_silence(&self, now: Timestamp, silence: &Silence) -> Result<(), Refused> {
        self.holds.silences.check(now, silence)
    }

    /// Brings silences and hours to `slot`; returns whether alerts may be held otherwise than before.
    pub(super) fn look_at_holds(&mut self, slot: Timestamp) -> bool {
        let Holds { silences, phases, slot: looked_at, .. } = &mut self.holds;
        *looked_at = Some(slot);
        let mut changed = silences.advance(slot, self.spec.interval);
        if phases.len() != self.spec.hours.len() {
            *phases = self.spec.hours.iter().map(|hours| hours.phase(slot)).collect();
            return true;
        }
        for (phase, hours) in phases.iter_mut().zip(&self.spec.hours).filter(|(phase, _)| phase.until <= slot) {
            let was_open = phase.open;
            *phase = hours.phase(slot);
            changed |= phase.open != was_open;
        }
        changed
    }

    /// Whether silences or hours may be otherwise at `slot`, or at one before, than at the slot that was looked at last.
    pub(super) fn holds_are_due(&self, slot: Timestamp) -> bool {
        let Holds { silences, phases, slot: looked_at, .. } = &self.holds;
        let Some(before) = *looked_at else { return true };
        phases.len() != self.spec.hours.len()
            || phases.iter().any(|phase| phase.until <= slot)
            || silences.change_by(before, slot, self.spec.interval)
    }

    /// How many alerts that stand match all of these.
    pub(in crate::engine) fn count_standing(&self, matchers: &[Matcher]) -> usize {
        let matching = self.standing.iter().filter(|key| {
            let Some(record) = self.rules[key.slo][key.rule].standing() else { return false };
            matchers.iter().all(|matcher| matcher.matches(&|name| self.alert_label(**key, record, name)))
        });
        matching.count()
    }

    /// Notes for which SLOs what was counted since the newest slot does not count: those of maintenance windows that were
    /// open for any part of that time. So a window that ends between two polls leaves nothing behind.
    pub(super) fn note_excluded(&mut self, slot: Timestamp) {
        if self.spec.maintenance.is_empty() {
            return;
        }
        let since = self.newest_slot.unwrap_or(slot - self.spec.interval);
        let spec = self.spec.clone();
        let windows: Vec<&Maintenance> = spec.maintenance.iter().filter(|window| !window.counts).collect();
        let phases = &mut self.holds.excluding;
        if self.newest_slot.is_none() || phases.len() != windows.len() {
            *phases = windows.iter().map(|window| spec.hours[window.hours].phase(since)).collect();
        }
        for (index, window) in windows.into_iter().enumerate() {
            let phase = &mut self.holds.excluding[index];
            if phase.until <= since {
                *phase = spec.hours[window.hours].phase(since);
            }
            if !phase.open && phase.until >= slot {
                continue;
            }
            for slo in 0..self.slos.len() {
                if window.matches(&|name| self.slo_label(slo, name)) {
                    self.slos[slo].exclude(slot.slot_number(spec.interval));
                }
            }
        }
    }

    /// Up to which slot, from `slot` on, all requests count, maintenance or not; `None` if those just before `slot` do not.
    pub(super) fn all_count_until(&self, slot: Timestamp) -> Option<Timestamp> {
        let mut until = NEVER;
        for window in self.spec.maintenance.iter().filter(|window| !window.counts) {
            let phase = self.spec.hours[window.hours].phase(slot - self.spec.interval);
            if phase.open || phase.until < slot {
                return None;
            }
            until = until.min(phase.until);
        }
        Some(until)
    }

    pub(in crate::engine) fn is_open(&self, hours: usize) -> bool {
        self.holds.phases.get(hours).is_some_and(|phase| phase.open)
    }

    /// Why nobody at all is told of an alert with these labels.
    pub(super) fn hold<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> Option<Hold> {
        let in_maintenance = || {
            let mut open = self.spec.maintenance.iter().filter(|window| self.is_open(window.hours));
            open.any(|window| window.matches(label))
        };
        if self.holds.silences.hold(label) {
            Some(Hold::Silenced)
        } else {
            in_maintenance().then_some(Hold::Maintenance)
        }
    }

    /// Who hears of an alert with these labels, and who would were it not held.
    pub(super) fn destinations<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> Vec<Destination> {
        let mut destinations = self.spec.route.destinations(label, &|hours| self.is_open(hours));
        if let Some(hold) = self.hold(label) {
            destinations.iter_mut().for_each(|to| to.held = Some(hold));
        }
        destinations
    }
}
