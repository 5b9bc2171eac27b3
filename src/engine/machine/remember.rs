//! What the engine knows beyond its windows, as records under stable names: taken out after each step, and back in after
//! a restart.
//!
//! What is restored is brought in line with the present configuration as a reload does it: nothing is resolved or told
//! again only because the program was started anew.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use super::Engine;
use crate::engine::alert::AlertKey;
use crate::engine::incident::{Incident, SOURCE_INCIDENT};
use crate::engine::memory::{Change, Kind, Memory, Name, Progress, Record, RuleMemory};
use crate::engine::names::{AlertName, Names, Places};
use crate::engine::outbox::{DeadLetter, ReceiverMemory};
use crate::engine::silence::Silence;
use crate::engine::time::Timestamp;

/// What changed since changes were last taken, and what was taken then, as far as that is needed to tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered {
    /// Nothing that was taken before holds any more.
    anew: bool,
    rules: BTreeSet<AlertKey>,
    incidents: BTreeSet<String>,
    /// Records of what has no place in the engine any more.
    gone: Vec<Name>,
    progress: Progress,
    receivers: Vec<ReceiverMemory>,
    dead_letters: Vec<DeadLetter>,
    silences: BTreeMap<String, Silence>,
    digests: BTreeSet<String>,
}

/// What came back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Alerts that stand.
    pub alerts: usize,
    /// Rules on their way to an alert.
    pub pending: usize,
    pub incidents: usize,
    pub deliveries: usize,
    /// Rules that the configuration has no more, or with another kind of limit.
    pub dropped: usize,
}

impl Remembered {
    pub(super) fn touch_rule(&mut self, key: AlertKey) {
        self.rules.insert(key);
    }

    pub(super) fn touch_incident(&mut self, key: &str) {
        if !self.incidents.contains(key) {
            self.incidents.insert(key.to_owned());
        }
    }

    pub(super) fn touch_digest(&mut self, name: &str) {
        self.digests.insert(name.to_owned());
    }

    /// Nothing can be told by its index any more.
    pub(super) fn start_anew(&mut self) {
        self.anew = true;
    }
}

impl Engine {
    /// Gathers changes from here on; without it they cost nothing. The first that are taken are all there is.
    pub fn remembering(mut self) -> Self {
        self.remembered = Some(Box::new(Remembered { anew: true, ..Remembered::default() }));
        self.outbox.remember();
        self
    }

    /// What changed since the last call, to be saved before the effects of the steps between are acted upon.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let Some(mut remembered) = self.remembered.take() else { return Vec::new() };
        let changes = if take(&mut remembered.anew) {
            self.forget_changes(&mut remembered);
            vec![Change::Anew(self.memory())]
        } else {
            self.changes_since(&mut remembered)
        };
        self.remembered = Some(remembered);
        changes
    }

    /// Everything that must survive.
    pub fn memory(&self) -> Memory {
        let members = self.members();
        let keys =
            (0..self.rules.len()).flat_map(|slo| (0..self.rules[slo].len()).map(move |rule| AlertKey { slo, rule }));
        let rules = keys.filter_map(|key| self.rule_memory(key, &members)).map(Record::Alert);
        let incidents = self.incidents.values().map(|incident| self.incident_memory(incident));
        let deliveries = self.outbox.remembered().map(Record::Delivery);
        let receivers = self.outbox.receivers().map(Record::Receiver);
        let rest =
            [Record::Progress(self.progress()), Record::DeadLetters(self.outbox.dead_letters().cloned().collect())];
        let silences = self.holds.silences.all().cloned().map(Record::Silence);
        let digests = self.digests.names().filter_map(|name| self.digest_memory(name));
        rules.chain(incidents).chain(silences).chain(digests).chain(deliveries).chain(receivers).chain(rest).collect()
    }

    /// Goes on from what was remembered; to be called on an engine that has taken nothing in yet but
    /// windows. A clock that was set
    /// back meanwhile is gone along with.
    pub fn restore(&mut self, now: Timestamp, memory: Memory) -> Restored {
        let mut restored = Restored::default();
        let mut places = self.places();
        let (mut incidents, mut pending, mut receivers, mut dead_letters, mut digests) =
            <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        for record in memory.into_records() {
            match record {
                Record::Progress(progress) => self.restore_progress(progress),
                Record::Alert(rule) => self.restore_rule(rule, &mut places, &mut restored),
                Record::Incident(incident) => incidents.push(incident),
                Record::Delivery(delivery) => pending.push(delivery),
                Record::Receiver(receiver) => receivers.push(receiver),
                Record::DeadLetters(letters) => dead_letters = letters,
                Record::Silence(silence) => self.holds.silences.restore(silence),
                Record::Digest(digest) => digests.push(digest),
            }
        }
        self.digests.restore(digests, self.due_slot, &self.spec, &places);
        for memory in incidents {
            self.incidents.insert(memory.identity.key.clone(), Incident::recall(memory, &places));
        }
        self.outbox.restore(now, pending, receivers, dead_letters, &places);
        restored.incidents = self.incidents.values().filter(|incident| !incident.is_over()).count();
        restored.deliveries = (0..self.spec.receivers.len()).map(|index| self.outbox.pending(index)).sum();
        self.incidents_stale = true;
        self.fill_roster(now);
        let newest = self.evaluated_slot.max(self.due_slot).max(self.newest_slot);
        if let Some(ahead) = newest.map(|slot| slot.since(now)).filter(|ahead| !ahead.is_zero()) {
            self.rewind(now, ahead);
        }
        if let Some(remembered) = &mut self.remembered {
            remembered.start_anew();
        }
        restored
    }

    fn restore_progress(&mut self, progress: Progress) {
        self.evaluated_slot = progress.evaluated_slot;
        self.due_slot = progress.due_slot;
        self.last_answer = progress.last_answer;
        self.failed_in_a_row = progress.failed_in_a_row;
        self.held_back = progress.held_back;
        self.missed = progress.missed;
        self.evaluations = progress.evaluations;
    }

    fn restore_rule(&mut self, memory: RuleMemory, places: &mut Places, restored: &mut Restored) {
        let RuleMemory { name, limit, mut state } = memory;
        let Some(key) = self.place(&name, &limit, places) else {
            restored.dropped += 1;
            return;
        };
        let spec = &self.spec.slos[self.slos[key.slo].template].rules[key.rule];
        if let Some(record) = &mut state.record {
            record.urgency = spec.urgency;
        }
        if state.standing().is_some() {
            self.standing.insert(key);
            restored.alerts += 1;
        } else if !state.is_quiet() {
            restored.pending += 1;
        }
        self.rules[key.slo][key.rule] = state;
        places.alerts.insert(name, key);
    }

    /// Where a rule is that has this name and this kind of limit.
    fn place(&mut self, name: &AlertName, limit: &str, places: &Places) -> Option<AlertKey> {
        let template = *places.slos.get(&(name.journey.clone(), name.layer.clone()))?;
        let spec = &self.spec.slos[template];
        let rule = spec.rules.iter().position(|rule| rule.name == name.rule && rule.limit.kind() == limit)?;
        let mut by: Vec<&String> = spec.by.iter().collect();
        by.sort();
        if !name.labels.keys().eq(by) {
            return None;
        }
        let slo = self.instance(template, &name.labels)?;
        Some(AlertKey { slo, rule })
    }

    fn places(&self) -> Places {
        let receivers = self.spec.receivers.iter().enumerate();
        let slos = self.spec.slos.iter().enumerate();
        Places {
            alerts: BTreeMap::new(),
            receivers: receivers.map(|(index, receiver)| (receiver.name.clone(), index)).collect(),
            slos: slos.map(|(index, slo)| ((slo.journey.clone(), slo.layer.clone()), index)).collect(),
        }
    }

    fn changes_since(&mut self, remembered: &mut Remembered) -> Vec<Change> {
        let mut changes: Vec<Change> = remembered.gone.drain(..).map(Change::Drop).collect();
        let rules = take(&mut remembered.rules);
        // Only a rule that ended needs to be looked for among the members of incidents.
        let ended = rules.iter().any(|key| self.rules[key.slo][key.rule].is_quiet());
        let members = if ended { self.members() } else { BTreeSet::new() };
        for key in rules {
            let name = || Name { kind: Kind::Alert, key: self.alert_name(key).to_string() };
            let memory = self.rule_memory(key, &members);
            changes.push(memory.map_or_else(|| Change::Drop(name()), |memory| Change::Put(Record::Alert(memory))));
        }
        for key in take(&mut remembered.incidents) {
            changes.push(match self.incidents.get(&key) {
                Some(incident) => Change::Put(self.incident_memory(incident)),
                None => Change::Drop(Name { kind: Kind::Incident, key }),
            });
        }
        self.outbox_changes(remembered, &mut changes);
        self.silence_changes(remembered, &mut changes);
        for key in take(&mut remembered.digests) {
            let memory = self.digest_memory(&key).map(Change::Put);
            changes.push(memory.unwrap_or(Change::Drop(Name { kind: Kind::Digest, key })));
        }
        let progress = self.progress();
        if progress != remembered.progress {
            remembered.progress = progress;
            changes.push(Change::Put(Record::Progress(progress)));
        }
        changes
    }

    fn outbox_changes(&mut self, remembered: &mut Remembered, changes: &mut Vec<Change>) {
        let deliveries = self.outbox.take_changes();
        changes.extend(deliveries.into_iter().map(|(key, pending)| match pending {
            Some(pending) => Change::Put(Record::Delivery(pending)),
            None => Change::Drop(Name { kind: Kind::Delivery, key }),
        }));
        let receivers: Vec<ReceiverMemory> = self.outbox.receivers().collect();
        let changed = receivers.iter().filter(|receiver| !remembered.receivers.contains(receiver)).cloned();
        changes.extend(changed.map(Record::Receiver).map(Change::Put));
        remembered.receivers = receivers;
        if !self.outbox.dead_letters().eq(&remembered.dead_letters) {
            remembered.dead_letters = self.outbox.dead_letters().cloned().collect();
            changes.push(Change::Put(Record::DeadLetters(remembered.dead_letters.clone())));
        }
    }

    /// There are few of them, and people rarely touch them; but they go by themselves, too.
    fn silence_changes(&self, remembered: &mut Remembered, changes: &mut Vec<Change>) {
        let silences = &self.holds.silences;
        if silences.all().eq(remembered.silences.values()) {
            return;
        }
        let mut gone = take(&mut remembered.silences);
        for silence in silences.all() {
            if gone.remove(&silence.id).as_ref() != Some(silence) {
                changes.push(Change::Put(Record::Silence(silence.clone())));
            }
            remembered.silences.insert(silence.id.clone(), silence.clone());
        }
        changes.extend(gone.into_keys().map(|key| Change::Drop(Name { kind: Kind::Silence, key })));
    }

    /// As if all there is had been taken.
    fn forget_changes(&mut self, remembered: &mut Remembered) {
        self.outbox.take_changes();
        *remembered = Remembered {
            progress: self.progress(),
            receivers: self.outbox.receivers().collect(),
            dead_letters: self.outbox.dead_letters().cloned().collect(),
            silences: self.holds.silences.all().map(|silence| (silence.id.clone(), silence.clone())).collect(),
            ..Remembered::default()
        };
    }

    /// Notes that an instance makes room for another: its rules are no more.
    pub(super) fn forget_rules(&mut self, slo: usize) {
        let names: Vec<Name> = (0..self.rules[slo].len())
            .map(|rule| Name { kind: Kind::Alert, key: self.alert_name(AlertKey { slo, rule }).to_string() })
            .collect();
        if let Some(remembered) = &mut self.remembered {
            remembered.rules.retain(|key| key.slo != slo);
            remembered.gone.extend(names);
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            evaluated_slot: self.evaluated_slot,
            due_slot: self.due_slot,
            failed_in_a_row: self.failed_in_a_row,
            last_answer: self.last_answer,
            held_back: self.held_back,
            missed: self.missed,
            evaluations: self.evaluations,
        }
    }

    fn members(&self) -> BTreeSet<AlertKey> {
        let journeys = self.incidents.iter().filter(|(key, _)| *key != SOURCE_INCIDENT);
        journeys.flat_map(|(_, incident)| incident.members().iter().copied()).collect()
    }

    /// `None` for a rule that is quiet and whose last alert no open incident speaks of.
    fn rule_memory(&self, key: AlertKey, members: &BTreeSet<AlertKey>) -> Option<RuleMemory> {
        let state = &self.rules[key.slo][key.rule];
        let told_of = || state.record.is_some() && members.contains(&key);
        if state.is_quiet() && state.standing().is_none() && !told_of() {
            return None;
        }
        let rule = &self.spec.slos[self.slos[key.slo].template].rules[key.rule];
        Some(RuleMemory { name: self.alert_name(key), limit: rule.limit.kind().into(), state: state.clone() })
    }

    fn incident_memory(&self, incident: &Incident) -> Record {
        let rule = |key: AlertKey| (key.slo < self.slos.len()).then(|| self.alert_name(key));
        let receiver = |index: usize| self.spec.receivers.get(index).map(|receiver| receiver.name.clone());
        Record::Incident(incident.remember(&Names { rule: &rule, receiver: &receiver }))
    }

    fn digest_memory(&self, name: &str) -> Option<Record> {
        let memory = self.digests.get(name)?.remember(name);
        Some(Record::Digest(memory))
    }

    pub(super) fn alert_name(&self, key: AlertKey) -> AlertName {
        let slo = &self.slos[key.slo];
        let spec = &self.spec.slos[slo.template];
        AlertName {
            journey: spec.journey.clone(),
            layer: spec.layer.clone(),
            labels: slo.labels.clone(),
            rule: spec.rules[key.rule].name.clone(),
        }
    }
}
