//! Alerts of one journey as one incident, and what each receiver is told of it.
//!
//! Every alert is routed by its own labels. What a receiver hears is a *thread*: the alerts of one incident that are
//! routed to it. So a page that clears while a ticket of the same journey stays open still resolves at the pager, and
//! a page that returns pages again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::alert::AlertKey;
use super::histogram::{Labels, place};
use super::names::{self, AlertName, Names, Places};
use super::notification::{AlertFacts, HeldBack, Moves, Notification, Reason};
use super::route::{Destination, Hold};
use super::rule::{Level, Stage, Urgency};
use super::thread::{Concern, Listener, News};
use super::time::{Duration, Timestamp};

/// The key of the incident that tells that the source is out of sight.
pub const SOURCE_INCIDENT: &str = names::SOURCE;

/// An incident from its first alert to its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Why nobody is told of what stands of it, if all of that is held back.
    #[serde(default)]
    pub held: Option<Hold>,
    /// For the incident of the source: what is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What stands in for the identity of an incident: whose it is and who cares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// One incident: open, or over and remembered for as long as its receivers were told of it of late.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub identity: Identity,
    pub record: IncidentRecord,
    /// Alerts that ever took part.
    members: BTreeSet<AlertKey>,
    /// By receiver.
    listeners: BTreeMap<usize, Listener>,
}

/// An incident by names alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentMemory {
    pub identity: Identity,
    pub record: IncidentRecord,
    members: Vec<AlertName>,
    /// By receiver.
    listeners: BTreeMap<String, Listener<AlertName>>,
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
            held: None,
            detail: None,
        };
        Self { identity, record, members: BTreeSet::new(), listeners: BTreeMap::new() }
    }

    /// Takes the alerts that stand at `now` and decides what to tell whom. `facts` describes alerts as they stand or
    /// last stood, worst first. Returns the notifications, which have no ids yet, and counts those that were held back and
    /// the alerts that joined without making it worse.
    pub fn update(
        &mut self,
        now: Timestamp,
        standing: &[Standing],
        facts: &dyn Fn(&BTreeSet<AlertKey>) -> Vec<AlertFacts>,
        held_back: &mut HeldBack,
        flapping_within: Duration,
    ) -> Vec<Notification> {
        let worst_before = (self.record.worst_stage, self.record.worst_urgency);
        let first = self.members.is_empty();
        for alert in standing {
            if self.members.insert(alert.alert) && !first && alert.level <= worst_before {
                held_back.joined += 1;
            }
            self.worsen(alert.level);
        }
        if let Some(level) = standing.iter().map(|alert| alert.level).max() {
            (self.record.stage, self.record.urgency) = level;
        }
        self.record.alerts = self.members.len();
        self.record.held = hold_of(standing);
        let notifications = self.tell(now, standing, facts, held_back, flapping_within);
        // It goes on for whoever was not told of its end yet.
        if standing.is_empty() && !self.listeners.values().any(Listener::is_open) {
            self.record.resolved_at = Some(now);
            self.members.clear();
        }
        notifications
    }

    /// Whether a receiver was told of it, and not yet that it is over.
    pub fn is_open_at(&self, receiver: usize) -> bool {
        self.listeners.get(&receiver).is_some_and(Listener::is_open)
    }

    pub fn is_over(&self) -> bool {
        self.record.resolved_at.is_some()
    }

    /// Another incident of the same key. What receivers were told of the one before is not forgotten.
    pub fn open_again(&mut self, now: Timestamp, identity: Identity, level: Level) {
        let listeners = std::mem::take(&mut self.listeners);
        *self = Self { listeners, ..Self::open(now, identity, level) };
    }

    /// Whether there is nothing to remember at `now` of an incident that is over.
    pub fn is_forgotten(&mut self, now: Timestamp) -> bool {
        self.listeners.retain(|_, listener| listener.remembers(now));
        self.is_over() && self.listeners.is_empty()
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
        held_back: &mut HeldBack,
        flapping_within: Duration,
    ) -> Vec<Notification> {
        let mut concerns: BTreeMap<usize, Vec<Concern>> = self.listeners.keys().map(|to| (*to, Vec::new())).collect();
        for Standing { alert, level, breached_at, destinations } in standing {
            for Destination { receiver, repeat_interval, held } in destinations {
                concerns.entry(*receiver).or_default().push(Concern {
                    alert: *alert,
                    level: *level,
                    breached_at: *breached_at,
                    repeat_interval: *repeat_interval,
                    held: *held,
                });
            }
        }
        let mut news = Vec::new();
        for (receiver, concerns) in concerns {
            let listener = self.listeners.entry(receiver).or_default();
            let update = listener.update(now, &concerns, flapping_within);
            if let Some((hold, notifications)) = update.held {
                held_back.hold(hold, notifications);
            }
            held_back.flapping += update.flapping;
            news.extend(update.news.into_iter().map(|news| (receiver, news)));
        }
        self.listeners.retain(|_, listener| listener.remembers(now));
        // What is over goes out before what begins.
        news.sort_by_key(|(_, news)| news.reason != Reason::Resolved);
        news.into_iter().map(|(receiver, news)| self.notification(now, receiver, &news, facts(&news.alerts))).collect()
    }

    fn notification(&self, now: Timestamp, receiver: usize, news: &News, alerts: Vec<AlertFacts>) -> Notification {
        let reason = match news.reason {
            Reason::Opened if self.identity.journey.is_none() => Reason::Blind,
            reason => reason,
        };
        let pages = alerts.iter().filter(|alert| news.leaves_some && alert.urgency == Urgency::Page);
        let began_at = pages.map(|alert| alert.breached_at).min();
        let mut notification = Notification {
            id: String::new(),
            at: now,
            receiver,
            reason,
            incident: self.identity.key.clone(),
            journey: self.identity.journey.clone(),
            owner: self.identity.owner.clone(),
            runbook: self.identity.runbook.clone(),
            group: self.identity.group.clone(),
            stage: news.level.0,
            urgency: news.level.1,
            opened_at: began_at.unwrap_or(news.began_at),
            resolved_at: (reason == Reason::Resolved).then_some(now),
            alerts,
            detail: self.record.detail.clone(),
            digest: None,
            summary: String::new(),
        };
        notification.summarize();
        notification
    }

    /// Whether some receiver is to be told something at `now`, or nothing is to be remembered, though nothing changed.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.listeners.values().any(|listener| listener.is_due(now))
    }

    /// Goes on under another configuration. A receiver that is gone hears nothing any more.
    pub fn renumber(&mut self, moves: &Moves) {
        self.members = self.members.iter().filter_map(|key| moves.alert(*key)).collect();
        let listeners = std::mem::take(&mut self.listeners).into_iter().filter_map(|(receiver, listener)| {
            Some((moves.receivers[receiver]?, listener.map(&|key| moves.alert(*key))))
        });
        self.listeners = listeners.collect();
    }

    /// Goes on at `now` though the clock was set back: nobody waits for a repetition until the clock has caught up.
    pub fn rewind(&mut self, now: Timestamp, by: Duration) {
        self.record.opened_at = self.record.opened_at.min(now);
        self.listeners.values_mut().for_each(|listener| listener.rewind(now, by));
    }

    /// What is to be remembered of it. Receivers and rules without a name are of no configuration any more.
    pub fn remember(&self, names: &Names<'_>) -> IncidentMemory {
        let listeners = self.listeners.iter();
        let named = listeners.filter_map(|(to, listener)| {
            Some(((names.receiver)(*to)?, listener.clone().map(&|alert| names.alert(*alert))))
        });
        IncidentMemory {
            identity: self.identity.clone(),
            record: self.record.clone(),
            members: self.members.iter().filter_map(|alert| names.alert(*alert)).collect(),
            listeners: named.collect(),
        }
    }

    /// The incident as it was remembered. A receiver that is gone hears nothing any more.
    pub fn recall(memory: IncidentMemory, places: &Places) -> Self {
        let IncidentMemory { identity, record, members, listeners } = memory;
        let placed = listeners.into_iter().filter_map(|(receiver, listener)| {
            Some((*places.receivers.get(&receiver)?, listener.map(&|name| places.alert(name))))
        });
        Self {
            identity,
            record,
            members: members.iter().filter_map(|name| places.alert(name)).collect(),
            listeners: placed.collect(),
        }
    }

    pub fn members(&self) -> &BTreeSet<AlertKey> {
        &self.members
    }
}

/// Why nobody is told of any of these; `None` if somebody is.
fn hold_of(standing: &[Standing]) -> Option<Hold> {
    let holds = standing.iter().flat_map(|alert| &alert.destinations).map(|destination| destination.held);
    let holds: Option<Vec<Hold>> = holds.collect();
    holds?.into_iter().min()
}

/// The key of an incident: `journey`, or `journey{label="value"}` where more labels group.
pub fn incident_key(journey: &str, group: &Labels) -> String {
    let split = group.iter().filter(|(name, value)| *name != "journey" && !value.is_empty());
    let split = split.map(|(name, value)| (name.clone(), value.clone())).collect();
    place(journey, None, &split)
}
