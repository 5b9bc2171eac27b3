//! Alerts of one journey as one incident, and what each receiver is told of it.
//!
//! Every alert is routed by its own labels. What a receiver hears is a *thread*: the alerts of one incident that are
//! routed to it. So a page that clears while a ticket of the same journey stays open still resolves at the pager, and
//! a page that returns pages again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::alert::AlertKey;
use super::histogram::{Labels, place};
use super::notification::Moves;
use super::notification::{AlertFacts, Notification, Reason};
use super::route::Destination;
use super::rule::{Stage, Urgency};
use super::stable_hash;
use super::time::{Duration, Timestamp};

/// How bad an alert is; ordered.
pub type Level = (Stage, Urgency);

/// The key of the incident that tells that the source is out of sight. No journey can have this name.
pub const SOURCE_INCIDENT: &str = "slowburn:source";

/// An incident from its first alert to its last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IncidentRecord {
    /// Journey and grouping labels; the same for every incident of them.
    pub key: String,
    /// `None` for the incident of the source.
    pub journey: Option<String>,
    pub opened_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// The worst of the alerts that stand, or that stood last.
    pub stage: Stage,
    pub urgency: Urgency,
    /// The worst it ever came to.
    pub worst_stage: Stage,
    pub worst_urgency: Urgency,
    /// Rules of SLOs that took part.
    pub alerts: usize,
}

/// What stands in for the identity of an incident: whose it is and who cares.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    pub key: String,
    pub journey: Option<String>,
    pub owner: Option<String>,
    pub runbook: Option<String>,
    pub group: Labels,
}

/// An alert that stands at `now`, with where it is to be told.
#[derive(Debug, Clone)]
pub struct Standing {
    pub alert: AlertKey,
    pub level: Level,
    pub breached_at: Timestamp,
    pub destinations: Vec<Destination>,
}

#[derive(Debug, Clone)]
struct Thread {
    alerts: BTreeSet<AlertKey>,
    /// The level the receiver knows of, or the lower one it has come to since.
    told: Level,
    worst: Level,
    began_at: Timestamp,
    last_told_at: Timestamp,
    repeat_interval: Option<Duration>,
}

/// One open incident.
#[derive(Debug, Clone)]
pub struct Incident {
    pub identity: Identity,
    pub record: IncidentRecord,
    /// Alerts that ever took part.
    members: BTreeSet<AlertKey>,
    /// By receiver.
    threads: BTreeMap<usize, Thread>,
    /// For the incident of the source.
    pub detail: Option<String>,
}

impl Thread {
    /// Over is a thread without alerts, and one that paged once only tickets are left: whoever was woken hears that it
    /// is over, and neither they nor their pager take the next page for part of an old ticket.
    fn is_over(&self, alerts: &[(&Standing, Destination)]) -> bool {
        let paged = self.worst == (Stage::Critical, Urgency::Page);
        let pages = alerts.iter().any(|(alert, _)| alert.level.1 == Urgency::Page);
        alerts.is_empty() || paged && !pages
    }
}

impl Incident {
    pub fn open(now: Timestamp, identity: Identity, level: Level) -> Self {
        let record = IncidentRecord {
            key: identity.key.clone(),
            journey: identity.journey.clone(),
            opened_at: now,
            resolved_at: None,
            stage: level.0,
            urgency: level.1,
            worst_stage: level.0,
            worst_urgency: level.1,
            alerts: 0,
        };
        Self { identity, record, members: BTreeSet::new(), threads: BTreeMap::new(), detail: None }
    }

    /// Takes the alerts that stand at `now` and decides what to tell whom. `facts` describes alerts as they stand or
    /// last stood, worst first. Returns the notifications and how many alerts joined without making it worse.
    pub fn update(
        &mut self,
        now: Timestamp,
        standing: &[Standing],
        facts: &dyn Fn(&BTreeSet<AlertKey>) -> Vec<AlertFacts>,
    ) -> (Vec<Notification>, u64) {
        let mut joined = 0;
        let worst_before = (self.record.worst_stage, self.record.worst_urgency);
        let first = self.members.is_empty();
        for alert in standing {
            if self.members.insert(alert.alert) && !first && alert.level <= worst_before {
                joined += 1;
            }
            self.worsen(alert.level);
        }
        if let Some(level) = standing.iter().map(|alert| alert.level).max() {
            (self.record.stage, self.record.urgency) = level;
        }
        self.record.alerts = self.members.len();
        if standing.is_empty() {
            self.record.resolved_at = Some(now);
        }
        (self.tell(now, standing, facts), joined)
    }

    fn worsen(&mut self, level: Level) {
        let worst = (self.record.worst_stage, self.record.worst_urgency).max(level);
        (self.record.worst_stage, self.record.worst_urgency) = worst;
    }

    fn tell(
        &mut self,
        now: Timestamp,
        standing: &[Standing],
        facts: &dyn Fn(&BTreeSet<AlertKey>) -> Vec<AlertFacts>,
    ) -> Vec<Notification> {
        let mut by_receiver: BTreeMap<usize, Vec<(&Standing, Destination)>> = BTreeMap::new();
        for alert in standing {
            for destination in &alert.destinations {
                by_receiver.entry(destination.receiver).or_default().push((alert, *destination));
            }
        }
        let mut notifications = Vec::new();
        let none = Vec::new();
        let over = self.threads.iter().filter(|(to, thread)| thread.is_over(by_receiver.get(to).unwrap_or(&none)));
        let over: Vec<usize> = over.map(|(to, _)| *to).collect();
        for receiver in over {
            if let Some(mut thread) = self.threads.remove(&receiver) {
                // What stands on is told anew, and is no part of what is over.
                for (alert, _) in by_receiver.get(&receiver).unwrap_or(&none) {
                    thread.alerts.remove(&alert.alert);
                }
                let facts = facts(&thread.alerts);
                if by_receiver.contains_key(&receiver) {
                    let pages = facts.iter().filter(|alert| alert.urgency == Urgency::Page);
                    thread.began_at = pages.map(|alert| alert.breached_at).min().unwrap_or(thread.began_at);
                }
                notifications.push(self.notification(now, receiver, Reason::Resolved, &thread, thread.worst, facts));
            }
        }
        for (receiver, alerts) in by_receiver {
            let Some((worst, destination)) = alerts.iter().max_by_key(|(alert, _)| alert.level) else { continue };
            let level = worst.level;
            let current: BTreeSet<AlertKey> = alerts.iter().map(|(alert, _)| alert.alert).collect();
            let began_at = alerts.iter().map(|(alert, _)| alert.breached_at).min().unwrap_or(now);
            let fresh = Thread {
                alerts: BTreeSet::new(),
                told: level,
                worst: level,
                began_at,
                last_told_at: now,
                repeat_interval: destination.repeat_interval,
            };
            let known = self.threads.contains_key(&receiver);
            let thread = self.threads.entry(receiver).or_insert(fresh);
            thread.alerts.extend(&current);
            thread.repeat_interval = destination.repeat_interval;
            let repeat_due = thread.repeat_interval.is_some_and(|every| now.since(thread.last_told_at) >= every);
            let worse = level > thread.told;
            // What got better and then worse again is news.
            thread.told = level;
            thread.worst = thread.worst.max(level);
            let reason = match (known, self.identity.journey.is_some()) {
                (false, true) => Reason::Opened,
                (false, false) => Reason::Blind,
                (true, _) if worse => Reason::Escalated,
                (true, _) if repeat_due => Reason::Repeated,
                (true, _) => continue,
            };
            thread.last_told_at = now;
            let thread = thread.clone();
            notifications.push(self.notification(now, receiver, reason, &thread, level, facts(&current)));
        }
        notifications
    }

    fn notification(
        &self,
        now: Timestamp,
        receiver: usize,
        reason: Reason,
        thread: &Thread,
        (stage, urgency): Level,
        alerts: Vec<AlertFacts>,
    ) -> Notification {
        let key = &self.identity.key;
        let mut notification = Notification {
            id: format!("sb-{:032x}", stable_hash(&[key, &receiver.to_string(), reason.as_str(), &now.to_string()])),
            at: now,
            receiver,
            reason,
            incident: key.clone(),
            journey: self.identity.journey.clone(),
            owner: self.identity.owner.clone(),
            runbook: self.identity.runbook.clone(),
            group: self.identity.group.clone(),
            stage,
            urgency,
            opened_at: thread.began_at,
            resolved_at: (reason == Reason::Resolved).then_some(now),
            alerts,
            detail: self.detail.clone(),
            summary: String::new(),
        };
        notification.summarize();
        notification
    }

    /// Whether some receiver is to be told again at `now` though nothing changed.
    pub fn repeat_due(&self, now: Timestamp) -> bool {
        self.threads
            .values()
            .any(|thread| thread.repeat_interval.is_some_and(|every| now.since(thread.last_told_at) >= every))
    }

    /// Goes on under another configuration. A receiver that is gone hears nothing any more.
    pub fn renumber(&mut self, moves: &Moves) {
        let alerts = |keys: &BTreeSet<AlertKey>| keys.iter().filter_map(|key| moves.alert(*key)).collect();
        self.members = alerts(&self.members);
        let threads = std::mem::take(&mut self.threads).into_iter().filter_map(|(receiver, thread)| {
            Some((moves.receivers[receiver]?, Thread { alerts: alerts(&thread.alerts), ..thread }))
        });
        self.threads = threads.collect();
    }

    /// Goes on at `now` though the clock was set back: nobody waits for a repetition until the clock has caught up.
    pub fn rewind(&mut self, now: Timestamp) {
        self.record.opened_at = self.record.opened_at.min(now);
        for thread in self.threads.values_mut() {
            thread.began_at = thread.began_at.min(now);
            thread.last_told_at = thread.last_told_at.min(now);
        }
    }

    pub fn members(&self) -> &BTreeSet<AlertKey> {
        &self.members
    }
}

/// The key of an incident: `journey`, or `journey{label="value"}` where more labels group.
pub fn incident_key(journey: &str, group: &Labels) -> String {
    let split = group.iter().filter(|(name, value)| *name != "journey" && !value.is_empty());
    let split = split.map(|(name, value)| (name.clone(), value.clone())).collect();
    place(journey, None, &split)
}
