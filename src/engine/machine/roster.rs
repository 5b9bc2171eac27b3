//! What is posted to receivers that hold alerts only for as long as they are told of them.

use std::collections::BTreeMap;

use super::Engine;
use crate::engine::alert::AlertKey;
use crate::engine::incident::{Incident, Standing};
use crate::engine::notification::{Notification, Reason};
use crate::engine::roster;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::Timestamp;

/// Alerts that are described anew each time: the numbers of more than that nobody reads, and each takes a look at all
/// SLOs. The others stay described as they began.
const MAX_DESCRIBED: usize = 1000;

impl Engine {
    /// What stands at a receiver, and what has ended there lately: a notification each alert and stage. They are to be
    /// posted now and again, and have no ids. Only what was decided counts: while the source is out of sight all stands
    /// on.
    pub fn roster(&self, receiver: usize, now: Timestamp) -> Vec<Notification> {
        self.posts(receiver, now, |_| true)
    }

    /// What is to be posted for a notification: what stands of its incident by now, however old it is. Nothing for one
    /// that tells of what is over and forgotten, unless it tells of that end.
    pub fn roster_for(&self, notification: &Notification, now: Timestamp) -> Vec<Notification> {
        let posts = self.posts(notification.receiver, now, |incident| incident == notification.incident);
        match notification.reason {
            Reason::Opened | Reason::Escalated | Reason::Repeated | Reason::Blind => posts,
            Reason::Resolved if !posts.is_empty() => posts,
            Reason::Resolved | Reason::Digest | Reason::Test => vec![notification.clone()],
        }
    }

    fn posts(&self, receiver: usize, now: Timestamp, is_wanted: impl Fn(&str) -> bool) -> Vec<Notification> {
        let posts = self.roster.posts(receiver, now).filter(|post| is_wanted(&post.notification.incident));
        let told = posts.enumerate().map(|(number, post)| {
            post.told(now, |key| {
                // Without a slot the windows are empty: nothing was seen since the program began.
                let incident = self.incidents.get(&post.notification.incident)?;
                let seen = self.newest_slot.is_some() || key == AlertKey::SOURCE;
                (seen && number < MAX_DESCRIBED).then(|| self.describe(receiver, incident, key, now))
            })
        });
        told.collect()
    }

    /// Brings what stands of an incident up to date.
    pub(super) fn note_roster(&mut self, slot: Timestamp, incident: &Incident, standing: &[Standing]) {
        let mut roster = std::mem::take(&mut self.roster);
        for (receiver, _) in self.spec.receivers.iter().enumerate().filter(|(_, receiver)| receiver.resends) {
            let routed: Vec<roster::Standing> =
                standing.iter().filter_map(|alert| self.stands_at(receiver, alert)).collect();
            roster.note(slot, (receiver, &incident.identity.key), &routed, &|key| {
                self.describe(receiver, incident, key, slot)
            });
        }
        self.roster = roster;
    }

    /// Lists what stands after a restart, so that nothing expires before the source is in sight again.
    pub(super) fn fill_roster(&mut self, now: Timestamp) {
        let mut standing: BTreeMap<String, Vec<Standing>> = BTreeMap::new();
        for (identity, alert) in self.standing.iter().filter_map(|key| self.stand(*key)) {
            standing.entry(identity.key).or_default().push(alert);
        }
        let incidents = std::mem::take(&mut self.incidents);
        for (key, alerts) in &standing {
            if let Some(incident) = incidents.get(key) {
                self.note_roster(now, incident, alerts);
            }
        }
        self.incidents = incidents;
    }

    fn stands_at(&self, receiver: usize, alert: &Standing) -> Option<roster::Standing> {
        let destination = alert.destinations.iter().find(|destination| destination.receiver == receiver)?;
        let key = alert.alert;
        let record = self.rules.get(key.slo).and_then(|rules| rules[key.rule].standing());
        Some(roster::Standing {
            alert: key,
            layer: record.and_then(|record| record.layer.clone()),
            labels: record.map(|record| record.labels.clone()).unwrap_or_default(),
            rule: record.map(|record| record.rule.clone()).unwrap_or_default(),
            stage: alert.level.0,
            held: destination.held.is_some(),
        })
    }

    /// One alert of an incident as it stands.
    fn describe(&self, receiver: usize, incident: &Incident, key: AlertKey, now: Timestamp) -> Notification {
        let facts = self.alert_facts(key);
        let identity = &incident.identity;
        let mut notification = Notification {
            id: String::new(),
            at: now,
            receiver,
            reason: if identity.journey.is_some() { Reason::Opened } else { Reason::Blind },
            incident: identity.key.clone(),
            journey: identity.journey.clone(),
            owner: identity.owner.clone(),
            runbook: identity.runbook.clone(),
            group: identity.group.clone(),
            stage: facts.as_ref().map_or(Stage::Critical, |alert| alert.stage),
            urgency: facts.as_ref().map_or(Urgency::Page, |alert| alert.urgency),
            opened_at: facts.as_ref().map_or(incident.record.opened_at, |alert| alert.breached_at),
            resolved_at: None,
            alerts: facts.into_iter().collect(),
            detail: incident.record.detail.clone(),
            digest: None,
            summary: String::new(),
        };
        notification.summarize();
        notification
    }
}
