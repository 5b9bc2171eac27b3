//! Digests: what they collect as alerts come and go, and that they are sent in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Effect, Engine};
use crate::engine::alert::AlertKey;
use crate::engine::collect::{Collection, DigestMemory, Stood};
use crate::engine::names::Places;
use crate::engine::notification::Moves;
use crate::engine::spec::Spec;
use crate::engine::stable_hash;
use crate::engine::time::Timestamp;

/// What the digests of a configuration have collected.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Digests {
    /// By the digest's name.
    by_name: BTreeMap<String, Collection>,
    /// The newest slot at which they were looked at.
    looked_at: Option<Timestamp>,
}

/// A standing alert, the key of its incident, and whether nobody is told of it.
pub(super) type Seen = (AlertKey, String, bool);

impl Engine {
    /// Takes all alerts that stand at `slot`.
    pub(super) fn collect(&mut self, slot: Timestamp, standing: &[Seen]) {
        let mut digests = std::mem::take(&mut self.digests);
        for spec in &self.spec.digests {
            let collection = digests.by_name.entry(spec.name.clone()).or_default();
            let mut changed = false;
            for (key, incident, is_held) in standing {
                let Some(record) = self.rules[key.slo][key.rule].standing() else { continue };
                let label = |name: &str| self.alert_label(*key, record, name);
                if spec.matchers.iter().all(|matcher| matcher.matches(&label)) {
                    let name = &self.alert_name(*key);
                    changed |= collection.take(slot, *key, Stood { name, record, incident, is_held: *is_held });
                }
            }
            changed |= collection.follow(slot, |key| self.rules.get(key.slo)?.get(key.rule)?.record.as_deref());
            if let Some(remembered) = self.remembered.as_mut().filter(|_| changed) {
                remembered.touch_digest(&spec.name);
            }
        }
        self.digests = digests;
    }

    /// Whether the time of a digest came by `slot`.
    pub(super) fn digests_are_due(&self, slot: Timestamp) -> bool {
        let Digests { by_name, looked_at } = &self.digests;
        let Some(before) = *looked_at else { return true };
        self.spec.digests.iter().any(|digest| {
            let sent_at = by_name.get(&digest.name).and_then(|collection| collection.sent_at);
            digest.calendar.occurs_within(sent_at.map_or(before, |sent_at| before.max(sent_at)), slot)
        })
    }

    /// Sends the digests whose time came since the slot before.
    pub(super) fn look_at_digests(&mut self, slot: Timestamp, effects: &mut Vec<Effect>) {
        let before = self.digests.looked_at.replace(slot).unwrap_or(slot - self.spec.interval);
        let spec = self.spec.clone();
        for digest in &spec.digests {
            let collection = self.digests.by_name.entry(digest.name.clone()).or_default();
            // Slots may come again after the clock was set back.
            let after = collection.sent_at.map_or(before, |sent_at| before.max(sent_at));
            if !digest.calendar.occurs_within(after, slot) {
                continue;
            }
            collection.follow(slot, |key| self.rules.get(key.slo)?.get(key.rule)?.record.as_deref());
            if let Some(remembered) = &mut self.remembered {
                remembered.touch_digest(&digest.name);
            }
            let Some(told) = collection.tell(slot, &digest.name) else { continue };
            for receiver in &digest.receivers {
                // A key of its own for each one, as none supersedes another.
                let incident = format!("slowburn:digest:{}:{slot}", digest.name);
                let id = stable_hash(&[&incident, &spec.receivers[*receiver].name]);
                let notification = told.clone().into_notification(format!("sb-{id:032x}"), slot, *receiver, incident);
                effects.push(Effect::Notify(Arc::new(notification.clone())));
                self.outbox.push(slot, notification);
            }
        }
    }
}

impl Digests {
    /// The same collections for another configuration.
    pub(super) fn renumbered(mut self, spec: &Spec, moves: &Moves) -> Self {
        self.by_name.retain(|name, _| spec.digests.iter().any(|digest| digest.name == *name));
        if let Some(now) = self.looked_at {
            self.by_name.values_mut().for_each(|collection| collection.renumber(now, moves));
        }
        self
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Collection> {
        self.by_name.get(name)
    }

    /// Takes back what was remembered up to `slot`, as far as there still is such a digest.
    pub(super) fn restore(
        &mut self,
        memories: Vec<DigestMemory>,
        slot: Option<Timestamp>,
        spec: &Spec,
        places: &Places,
    ) {
        self.looked_at = slot;
        let known = |memory: &DigestMemory| spec.digests.iter().any(|digest| digest.name == memory.name);
        for memory in memories.into_iter().filter(known) {
            let name = memory.name.clone();
            if let Some(slot) = slot {
                self.by_name.insert(name, Collection::recall(memory, slot, places));
            }
        }
    }

    /// Goes on at `now` though the clock was set back.
    pub(super) fn rewind(&mut self, now: Timestamp) {
        self.looked_at = self.looked_at.map(|at| at.min(now));
        for collection in self.by_name.values_mut() {
            collection.sent_at = collection.sent_at.map(|at| at.min(now));
        }
    }
}
