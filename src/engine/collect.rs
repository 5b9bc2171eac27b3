//! What warnings and tickets did, collected until the time of a digest comes. What was held back is among it, so that
//! nothing that passed a threshold goes unread.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::{AlertKey, AlertRecord};
use super::digest::MAX_DIGEST_ENTRIES;
use super::histogram::place;
use super::names::{AlertName, Places};
use super::notification::{Digest, DigestEntry, DigestKind, Moves, Reason};
use super::route::Matcher;
use super::rule::{Level, Stage, Urgency};
use super::time::{Calendar, Timestamp};

/// Alerts that a digest remembers; further ones are only counted. More than are shown, so that those that stand longest
/// and are worst can be shown first.
pub const MAX_COLLECTED: usize = 10 * MAX_DIGEST_ENTRIES;

/// When a digest is sent, to whom, and of which alerts.
#[derive(Debug, Clone)]
pub struct DigestSpec {
    pub name: String,
    pub calendar: Arc<dyn Calendar>,
    /// Indices into [`super::Spec::receivers`].
    pub receivers: Vec<usize>,
    pub matchers: Vec<Matcher>,
}

/// What one digest will tell.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    entries: BTreeMap<AlertKey, Entry>,
    /// Alerts whose rule or SLO is gone from the configuration.
    gone: Vec<Entry>,
    /// Alerts for which there was no room.
    left_out: u64,
    pub sent_at: Option<Timestamp>,
}

/// What one digest has collected, by names alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DigestMemory {
    pub name: String,
    entries: Vec<Entry>,
    left_out: u64,
    sent_at: Option<Timestamp>,
}

/// An alert since the last digest, however often it came and went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    incident: String,
    alert: AlertName,
    worst: Level,
    began_at: Timestamp,
    /// `None` while it stands.
    ended_at: Option<Timestamp>,
    times: u32,
    /// The greatest usage, in limits.
    peak_usage: f64,
    /// Whether anybody was told of it when it happened.
    was_told: bool,
    /// Whether it stood in the digest before.
    was_shown: bool,
}

/// An alert that stands.
#[derive(Debug, Clone, Copy)]
pub struct Stood<'a> {
    pub name: &'a AlertName,
    pub record: &'a AlertRecord,
    pub incident: &'a str,
    /// Whether nobody at all is told of it at present.
    pub is_held: bool,
}

impl Collection {
    /// Takes an alert that stands at `now`. What pages somebody is not collected, unless it was before. Returns whether
    /// there is something new to remember; a peak is not, as the alert itself remembers it.
    pub fn take(&mut self, now: Timestamp, key: AlertKey, stood: Stood<'_>) -> bool {
        let Stood { name, record, incident, is_held } = stood;
        let level = (record.stage, record.urgency);
        if self.entries.get(&key).is_some_and(|entry| entry.alert != *name) {
            // Values of `by` labels made room for others.
            self.part_with(now, key);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            let returned = entry.ended_at.take().is_some();
            let changed = returned || level > entry.worst || !is_held && !entry.was_told;
            entry.times += u32::from(returned);
            entry.worst = entry.worst.max(level);
            entry.peak_usage = entry.peak_usage.max(record.peak_usage);
            entry.was_told |= !is_held;
            return changed;
        }
        if level == (Stage::Critical, Urgency::Page) && !is_held {
            return false;
        }
        if self.entries.len() + self.gone.len() >= MAX_COLLECTED {
            // Once for each, though it may stand for long.
            self.left_out += u64::from(record.fired_at == now);
            return record.fired_at == now;
        }
        self.entries.insert(
            key,
            Entry {
                incident: incident.to_owned(),
                alert: name.clone(),
                worst: level,
                began_at: record.breached_at,
                ended_at: None,
                times: 1,
                peak_usage: record.peak_usage,
                was_told: !is_held,
                was_shown: false,
            },
        );
        true
    }

    /// Brings what stood up to `now`: its peak, and its end if it does not stand any more. `last` is the record of an
    /// alert as it stands or last stood. Returns whether something ended.
    pub fn follow<'a>(&mut self, now: Timestamp, last: impl Fn(AlertKey) -> Option<&'a AlertRecord>) -> bool {
        let mut ended = false;
        for (key, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.ended_at.is_none()) {
            match last(*key).filter(|record| record.rule == entry.alert.rule && record.labels == entry.alert.labels) {
                Some(record) => {
                    entry.ended_at = record.ended_at;
                    entry.peak_usage = entry.peak_usage.max(record.peak_usage);
                }
                None => entry.ended_at = Some(now),
            }
            ended |= entry.ended_at.is_some();
        }
        ended
    }

    fn part_with(&mut self, now: Timestamp, key: AlertKey) {
        if let Some(mut entry) = self.entries.remove(&key) {
            entry.ended_at.get_or_insert(now);
            self.gone.push(entry);
        }
    }

    /// All that was collected, for a digest at `now`; `None` if that is nothing. What still stands is collected on.
    pub fn tell(&mut self, now: Timestamp, name: &str) -> Option<Digest> {
        self.sent_at = Some(now);
        let left_out = std::mem::take(&mut self.left_out);
        let gone = std::mem::take(&mut self.gone);
        let entries: Vec<DigestEntry> = self.entries.values().chain(&gone).map(|entry| entry.told(now)).collect();
        self.entries.retain(|_, entry| entry.ended_at.is_none());
        self.entries.values_mut().for_each(|entry| entry.was_shown = true);
        if entries.is_empty() {
            return None;
        }
        let kind = DigestKind::Scheduled { name: name.to_owned() };
        let mut digest = Digest::new(kind, entries, self.entries.len() as u64);
        digest.left_out += left_out;
        Some(digest)
    }

    /// Goes on at `now` under another configuration.
    pub fn renumber(&mut self, now: Timestamp, moves: &Moves) {
        let keys: Vec<AlertKey> = self.entries.keys().filter(|key| moves.alert(**key).is_none()).copied().collect();
        keys.into_iter().for_each(|key| self.part_with(now, key));
        let entries = std::mem::take(&mut self.entries).into_iter();
        self.entries = entries.filter_map(|(key, entry)| Some((moves.alert(key)?, entry))).collect();
    }

    pub fn remember(&self, name: &str) -> DigestMemory {
        let entries = self.entries.values().chain(&self.gone).cloned().collect();
        DigestMemory { name: name.to_owned(), entries, left_out: self.left_out, sent_at: self.sent_at }
    }

    /// What was remembered, by the present configuration. What stood and is not of it ended by `now`.
    pub fn recall(memory: DigestMemory, now: Timestamp, places: &Places) -> Self {
        let DigestMemory { name: _, entries, left_out, sent_at } = memory;
        let mut collection = Self { left_out, sent_at, ..Self::default() };
        for mut entry in entries {
            match places.alert(&entry.alert) {
                Some(key) => drop(collection.entries.insert(key, entry)),
                None => {
                    entry.ended_at.get_or_insert(now);
                    collection.gone.push(entry);
                }
            }
        }
        collection
    }
}

impl Entry {
    fn told(&self, now: Timestamp) -> DigestEntry {
        let AlertName { journey, layer, labels, rule } = &self.alert;
        let place = place(journey, layer.as_deref(), labels);
        let often = if self.times > 1 { format!(", {} times", self.times) } else { String::new() };
        DigestEntry {
            incident: self.incident.clone(),
            journey: Some(journey.clone()),
            at: now,
            reason: if self.was_shown { Reason::Repeated } else { Reason::Opened },
            stage: self.worst.0,
            urgency: self.worst.1,
            summary: format!("{place}: {rule} at {:.0}% of its limit{often}", 100.0 * self.peak_usage),
            began_at: self.began_at,
            ended_at: self.ended_at,
            held: !self.was_told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::histogram::Labels;
    use Stage::{Critical, Warning};
    use Urgency::{Page, Ticket};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_s(1_772_366_400 + 60 * minutes)
    }

    fn record(rule: usize, level: Level, fired: i64, peak_usage: f64) -> AlertRecord {
        AlertRecord {
            journey: "checkout".into(),
            layer: Some("database".into()),
            labels: Labels::new(),
            rule: format!("rule-{rule}"),
            urgency: level.1,
            stage: level.0,
            breached_at: at(fired - 1),
            fired_at: at(fired),
            ended_at: None,
            peak_usage,
            evaluations: 1,
        }
    }

    /// Takes those that stand, each with whether it is held, as the only ones.
    fn stand(collection: &mut Collection, minute: i64, alerts: &[(usize, Level, f64, bool)]) {
        for (rule, level, peak_usage, is_held) in alerts {
            let record = record(*rule, *level, minute, *peak_usage);
            let AlertRecord { journey, layer, labels, rule: name, .. } = record.clone();
            let name = AlertName { journey, layer, labels, rule: name };
            let stood = Stood { name: &name, record: &record, incident: "checkout", is_held: *is_held };
            collection.take(at(minute), AlertKey { slo: 0, rule: *rule }, stood);
        }
        let standing = alerts.iter().map(|(rule, level, peak, _)| record(*rule, *level, minute, *peak));
        let standing: Vec<AlertRecord> = standing.collect();
        let rule = |key: AlertKey| format!("rule-{}", key.rule);
        collection.follow(at(minute), |key| standing.iter().find(|record| record.rule == rule(key)));
    }

    fn lines(digest: &Digest) -> Vec<String> {
        let line = |entry: &DigestEntry| {
            let (from, to) = (entry.began_at.to_string(), entry.ended_at.map(|at| at.to_string()));
            let to = to.as_deref().map_or("", |to| &to[11..16]);
            let (reason, held) = (entry.reason.as_str(), if entry.held { " held" } else { "" });
            let (stage, urgency) = (entry.stage.as_str(), entry.urgency.as_str());
            format!("{reason} {stage} {urgency} {}-{to} {}{held}", &from[11..16], entry.summary)
        };
        digest.entries.iter().map(line).collect()
    }

    #[test]
    fn a_digest_tells_what_came_and_went_and_what_stands() {
        let mut daily = Collection::default();
        assert_eq!(daily.tell(at(0), "daily"), None);
        stand(&mut daily, 1, &[(0, (Warning, Ticket), 0.9, true), (1, (Critical, Page), 9.0, false)]);
        stand(&mut daily, 3, &[(2, (Warning, Page), 0.8, false), (1, (Warning, Page), 0.9, false)]);
        stand(&mut daily, 5, &[(0, (Critical, Ticket), 1.5, true), (2, (Critical, Page), 2.0, false)]);
        stand(&mut daily, 8, &[(0, (Warning, Ticket), 1.0, true), (3, (Critical, Page), 3.0, true)]);
        let digest = daily.tell(at(10), "daily").unwrap();
        assert_eq!(
            lines(&digest),
            [
                // A page that nobody was told of.
                "opened critical page 12:07- checkout/database: rule-3 at 300% of its limit held",
                "opened critical ticket 12:00- checkout/database: rule-0 at 150% of its limit, 2 times held",
                // It began as a warning; and what a page had come down to.
                "opened critical page 12:02-12:08 checkout/database: rule-2 at 200% of its limit",
                "opened warning page 12:02-12:05 checkout/database: rule-1 at 90% of its limit",
            ]
        );
        assert_eq!((digest.open, digest.left_out), (2, 0));
        // What is over was told; what stands is told again, and whether anybody heard of it meanwhile.
        stand(&mut daily, 11, &[(0, (Warning, Ticket), 1.0, false)]);
        let digest = daily.tell(at(20), "daily").unwrap();
        assert_eq!(
            lines(&digest),
            [
                "repeated critical ticket 12:00- checkout/database: rule-0 at 150% of its limit, 2 times",
                "repeated critical page 12:07-12:11 checkout/database: rule-3 at 300% of its limit held",
            ]
        );
        stand(&mut daily, 21, &[]);
        assert_eq!(daily.tell(at(30), "daily").map(|digest| digest.entries.len()), Some(1));
        assert_eq!(daily.tell(at(40), "daily"), None);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut daily = Collection::default();
        let all: Vec<_> = (0..MAX_COLLECTED + 50).map(|rule| (rule, (Warning, Ticket), 1.0, false)).collect();
        stand(&mut daily, 1, &all);
        let digest = daily.tell(at(10), "daily").unwrap();
        assert_eq!(digest.entries.len(), MAX_DIGEST_ENTRIES);
        assert_eq!(digest.left_out as usize, MAX_COLLECTED + 50 - MAX_DIGEST_ENTRIES);
    }
}
