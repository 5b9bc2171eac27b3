//! What must survive of deliveries, by names alone: what waits and what summaries told, receiver by receiver and
//! incident by incident.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::names::Places;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::Timestamp;

use super::flood::Untold;
use super::queue::Item;
use super::receiver::Heard;
use super::{DeadLetter, DeliveryCounts, Outbox};

/// What one receiver is still to be told of one incident, and what it knows of it by other ways than by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    pub receiver: String,
    pub incident: String,
    /// Oldest first; only the first may be under way.
    pub items: Vec<Item>,
    /// For the next summary.
    pub untold: Option<Untold>,
    /// The level that summaries told, if only they tell of it.
    pub summarised: Option<(Urgency, Stage)>,
    /// What the receiver knows of it, if it refused some of it.
    pub refused: Option<Heard>,
}

/// What is to be remembered of a receiver as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiverMemory {
    pub name: String,
    pub counts: DeliveryCounts,
    pub last_problem: Option<String>,
    /// When its pace allows a whole burst again.
    #[serde(default)]
    pub restored_at: Option<Timestamp>,
    /// Until when it asked not to be sent anything.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// Whether it keeps an alert for its summaries.
    #[serde(default)]
    pub keeps_summary: bool,
}

/// The key of what is remembered of an incident for a receiver; no two have the same.
pub fn key(receiver: &str, incident: &str) -> String {
    format!("{receiver:?} {incident}")
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.untold.is_none() && self.summarised.is_none() && self.refused.is_none()
    }
}

impl Outbox {
    /// Notes from here on what changes.
    pub fn remember(&mut self) {
        self.remembers = true;
    }

    /// What changed since the last call, by key; `None` for what is no more.
    pub fn take_changes(&mut self) -> Vec<(String, Option<Pending>)> {
        let mut changes = Vec::new();
        for index in 0..self.receivers.len() {
            for incident in self.receivers[index].take_touched() {
                let pending = self.pending_of(index, &incident);
                changes.push((key(&self.specs[index].name, &incident), Some(pending).filter(|it| !it.is_empty())));
            }
        }
        changes
    }

    /// Everything that is to be told, and what summaries told.
    pub fn remembered(&self) -> impl Iterator<Item = Pending> {
        self.receivers.iter().enumerate().flat_map(move |(index, receiver)| {
            receiver.incidents().into_iter().map(move |incident| self.pending_of(index, &incident))
        })
    }

    fn pending_of(&self, index: usize, incident: &str) -> Pending {
        let receiver = &self.receivers[index];
        Pending {
            receiver: self.specs[index].name.clone(),
            incident: incident.to_owned(),
            items: receiver.items_of(incident),
            untold: receiver.flood.untold_of(incident).cloned(),
            summarised: receiver.flood.told_of(incident),
            refused: receiver.refused.get(incident).copied(),
        }
    }

    /// What is to be remembered of each receiver.
    pub fn receivers(&self) -> impl Iterator<Item = ReceiverMemory> {
        self.specs.iter().zip(&self.receivers).map(|(spec, receiver)| ReceiverMemory {
            name: spec.name.clone(),
            counts: receiver.counts.clone(),
            last_problem: receiver.last_problem.clone(),
            restored_at: receiver.gate.restored_at(),
            held_until: receiver.gate.held_until(),
            keeps_summary: receiver.flood.is_open(),
        })
    }

    /// Takes in what was remembered. A send that was under way may have arrived or not, so it is due again, under the
    /// same id. What waited for a receiver that is gone is dropped.
    pub fn restore(
        &mut self,
        now: Timestamp,
        pending: Vec<Pending>,
        receivers: Vec<ReceiverMemory>,
        dead_letters: Vec<DeadLetter>,
        places: &Places,
    ) {
        for memory in receivers {
            let Some(index) = places.receivers.get(&memory.name) else { continue };
            let receiver = &mut self.receivers[*index];
            receiver.gate.restore(memory.restored_at, memory.held_until);
            receiver.flood.set_open(memory.keeps_summary);
            receiver.counts = memory.counts;
            receiver.last_problem = memory.last_problem;
            self.buried += receiver.counts.rejected;
        }
        self.dead_letters = dead_letters.into();
        self.buried = self.buried.max(self.dead_letters.len() as u64);
        for Pending { receiver: name, incident, items, untold, summarised, refused } in pending {
            let Some(index) = places.receivers.get(&name).copied() else { continue };
            let (spec, receiver) = (&self.specs[index], &mut self.receivers[index]);
            receiver.flood.restore(&incident, untold, summarised);
            receiver.refused.extend(refused.map(|refused| (incident.clone(), refused)));
            for mut item in items {
                let Some(notification) = places.notification(&name, &item.notification) else { continue };
                item.notification = Arc::new(notification);
                if item.in_flight {
                    (item.in_flight, item.maybe_taken) = (false, true);
                    receiver.gate.start();
                    receiver.gate.end(now, spec.pace);
                }
                receiver.put_back(&incident, item, spec);
            }
        }
        self.receivers.iter_mut().for_each(super::receiver::Receiver::relist);
    }
}
