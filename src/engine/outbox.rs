//! What was decided to be told and is not delivered yet: order, pace, retries, coalescing, summaries, dead letters.
//!
//! At least once, with the notification's id constant over retries. Per receiver and incident the order is kept, so a
//! resolve never goes before its trigger. One slow receiver delays no other; pages go before tickets.
//!
//! - A receiver with a pace never sees more than that. What would wait for too long then is told in *summaries*: many
//!   incidents in one message, so that everything is told and nothing lost. An incident told in summaries only stays
//!   with them, unless it becomes a critical page.
//! - The patience that a receiver asks for holds for everything that waits for it. One that fails three times in a row
//!   counts as down: one send at a time, at least every 30 s, finds out whether it is there again.
//! - What is stale is never told: of an incident that escalated, repeated or resolved while the receiver was away, the
//!   newest state is told once, with its times. Of one that came and went meanwhile the beginning is told and then the
//!   end; in a summary, the end alone, and nothing at all where somebody would be woken for it.
//! - What a receiver refuses for good, or cannot be told for a day, is a dead letter, and its fallback is told, with the
//!   reason. What follows of that incident is tried as news at the one, and told at the other, too.

mod flood;
mod gate;
mod memory;
mod queue;
mod receiver;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::queue::opens;
use self::receiver::Receiver;
use super::notification::{Moves, Notification, Reason};
use super::stable_hash;
use super::time::{Duration, Timestamp};
use super::{Outcome, ReceiverSpec};

pub use self::flood::MAX_SUMMARISED;
pub use self::flood::Untold;
pub use self::gate::{DOWN_AFTER, LONGEST_HOLD, PROBE_AT_LEAST_EVERY};
pub use self::memory::{Pending, ReceiverMemory, key};
pub use self::queue::Item;
pub use self::receiver::Heard;

/// Sends under way to one receiver at the same time; one of them is for pages only.
pub const MAX_IN_FLIGHT: usize = 4;
/// Notifications waiting one by one for one receiver; beyond it the less urgent half is left to summaries.
pub const MAX_PENDING: usize = 10_000;
/// Dead letters kept for `status`.
pub const MAX_DEAD_LETTERS: usize = 100;
/// A delivery that could not be made for this long is given up as a dead letter.
pub const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// A send to make now.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub notification: Arc<Notification>,
    /// 0 for the first try.
    pub attempt: u32,
}

/// A notification that a receiver refused for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub at: Timestamp,
    pub receiver: String,
    pub incident: String,
    pub summary: String,
    pub why: String,
}

/// Counts of one receiver's deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCounts {
    pub delivered: u64,
    pub retried: u64,
    /// Dead letters: refused for good, given up, or too many.
    pub rejected: u64,
    /// Superseded by a newer state of the same incident before they could be delivered.
    pub coalesced: u64,
}

/// All pending deliveries.
#[derive(Debug, Clone)]
pub struct Outbox {
    specs: Vec<ReceiverSpec>,
    receivers: Vec<Receiver>,
    /// The newest ones, oldest first.
    dead_letters: VecDeque<DeadLetter>,
    /// All there ever were.
    buried: u64,
    /// Whether somebody takes changes.
    remembers: bool,
}

impl Outbox {
    pub fn new(specs: Vec<ReceiverSpec>) -> Self {
        let receivers = specs.iter().map(|_| Receiver::default()).collect();
        Self { specs, receivers, dead_letters: VecDeque::new(), buried: 0, remembers: false }
    }

    /// The same deliveries for another configuration; those for receivers that are gone are dropped.
    pub fn renumbered(self, specs: Vec<ReceiverSpec>, moves: &Moves) -> Self {
        let Self { dead_letters, buried, remembers, .. } = self;
        let mut outbox = Self { dead_letters, buried, remembers, ..Self::new(specs) };
        for (index, mut receiver) in self.receivers.into_iter().enumerate() {
            let Some(moved) = moves.receivers[index] else { continue };
            for item in receiver.items_mut() {
                if let Some(notification) = moves.notification(&item.notification) {
                    item.notification = Arc::new(notification);
                }
            }
            outbox.receivers[moved] = receiver;
        }
        outbox
    }

    /// Goes on though the clock was set back by `by`: what waits goes on waiting for as long as it would have.
    pub fn rewind(&mut self, by: Duration) {
        self.receivers.iter_mut().for_each(|receiver| receiver.rewind(by));
    }

    /// Takes a decision in. What waits for the same receiver and incident and is stale now gives way to it.
    pub fn push(&mut self, now: Timestamp, notification: Notification) {
        let index = notification.receiver;
        self.route(now, index, Item::new(now, notification));
    }

    /// Hands out the sends to make now, pages first, and marks them as under way.
    pub fn due(&mut self, now: Timestamp) -> Vec<Delivery> {
        let mut due = Vec::new();
        for (index, (spec, receiver)) in self.specs.iter().zip(&mut self.receivers).enumerate() {
            receiver.due(now, (index, spec), &mut due);
            if !self.remembers {
                receiver.take_touched();
            }
        }
        due
    }

    /// When the next send is due, if one waits for its time.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.specs.iter().zip(&self.receivers).filter_map(|(spec, receiver)| receiver.wake_at(spec)).min()
    }

    /// Takes the end of a send. Unknown ids are ignored: their delivery was given up meanwhile.
    pub fn settle(&mut self, now: Timestamp, id: &str, outcome: Outcome) {
        let found = self.receivers.iter().position(|receiver| receiver.find(id).is_some());
        let Some((index, incident)) = found.and_then(|at| Some((at, self.receivers[at].find(id)?.to_owned()))) else {
            return;
        };
        self.receivers[index].gate.end(now, self.specs[index].pace);
        match outcome {
            Outcome::Delivered => self.delivered(index, &incident),
            Outcome::Rejected { why } => {
                self.answered(index);
                if let Some(item) = self.receivers[index].finish(&incident, &self.specs[index]) {
                    self.refuse(now, index, item, &why);
                }
            }
            Outcome::Retry { after, why } => self.failed(now, (index, &incident), (after, false), &why),
            Outcome::Unanswered { why } => self.failed(now, (index, &incident), (None, true), &why),
        }
    }

    fn delivered(&mut self, index: usize, incident: &str) {
        self.answered(index);
        let receiver = &mut self.receivers[index];
        receiver.counts.delivered += 1;
        receiver.last_problem = None;
        receiver.finish(incident, &self.specs[index]);
        if let Some(heard) = receiver.refused.get_mut(incident) {
            *heard = Heard::Yes;
        }
    }

    fn answered(&mut self, index: usize) {
        let receiver = &mut self.receivers[index];
        if receiver.gate.succeed() {
            receiver.recover();
        }
    }

    fn failed(
        &mut self,
        now: Timestamp,
        (index, incident): (usize, &str),
        (after, unanswered): (Option<Duration>, bool),
        why: &str,
    ) {
        let (spec, receiver) = (&self.specs[index], &mut self.receivers[index]);
        receiver.counts.retried += 1;
        receiver.last_problem = Some(why.to_owned());
        // No patience at all is none that was asked for.
        let after = after.filter(|after| !after.is_zero());
        receiver.gate.fail(now, &spec.name, after);
        receiver.postpone(now, incident, (after, unanswered), spec);
        let given_up = receiver.give_up(now - GIVE_UP_AFTER, spec);
        for item in given_up {
            self.refuse(now, index, item, &format!("given up after {GIVE_UP_AFTER}: {why}"));
        }
    }

    /// Takes news in for one receiver, by way of what it refused of the same incident.
    fn route(&mut self, now: Timestamp, index: usize, mut item: Item) {
        let incident = item.notification.incident.clone();
        if let Some(heard) = self.receivers[index].heard(&incident) {
            if item.notification.reason == Reason::Resolved {
                self.receivers[index].refused.remove(&incident);
                self.receivers[index].touch(&incident);
                let note = format!("receiver '{}' refused this when it was news", self.specs[index].name);
                self.tell_fallback(now, index, &item, &note, item.notification.reason);
                item.passed_on = true;
                // What was to be tried again at it needs no more telling, unless it is on its way.
                if heard == Heard::No && !self.receivers[index].is_sending(&incident) {
                    self.receivers[index].counts.coalesced += self.receivers[index].take_out(&incident).len() as u64;
                    return;
                }
            } else if heard != Heard::Yes && !self.receivers[index].is_sending(&incident) {
                item.become_reason(Reason::Opened);
                item.maybe_taken = heard == Heard::Perhaps;
            }
        }
        let (spec, receiver) = (&self.specs[index], &mut self.receivers[index]);
        let untold = receiver.push(item, spec);
        let crowded_out = receiver.give_way(now, spec);
        if let Some(untold) = untold {
            self.tell_untold(now, index, &untold);
        }
        let why = format!("more than {MAX_PENDING} deliveries were waiting");
        for Item { notification: told, maybe_taken, .. } in crowded_out {
            if let Some(heard @ Heard::No) =
                self.receivers[index].refused.get_mut(&told.incident).filter(|_| maybe_taken)
            {
                *heard = Heard::Perhaps;
            }
            self.bury(now, index, (&told.incident, &told.summary), &why);
        }
        while let Some(least) = self.receivers[index].flood.overflow() {
            let why = format!("more than {MAX_SUMMARISED} incidents were waiting");
            self.receivers[index].touch(&least.entry.incident);
            self.bury(now, index, (&least.entry.incident, &least.entry.summary), &why);
        }
    }

    /// What a receiver refused for good, or could not be told for a day.
    fn refuse(&mut self, now: Timestamp, index: usize, item: Item, why: &str) {
        let told = item.notification.clone();
        let note = format!("receiver '{}' refused this: {why}", self.specs[index].name);
        self.bury(now, index, (&told.incident, &told.summary), why);
        self.receivers[index].last_problem = Some(why.to_owned());
        if told.digest.is_some() || told.reason == Reason::Resolved {
            return self.tell_fallback(now, index, &item, &note, told.reason);
        }
        // What came meanwhile did not know of this yet.
        let rest = self.receivers[index].take_out(&told.incident);
        let opening = opens(told.reason);
        if rest.iter().any(|item| item.passed_on) {
            // The fallback knows of the end already, which is all there is to know.
            let knew = !opening || item.maybe_taken;
            for item in rest.into_iter().filter(|item| knew || !item.passed_on) {
                self.receivers[index].push(item, &self.specs[index]);
            }
            return;
        }
        let known = self.note_refused(index, &item, opening);
        // The fallback hears of the incident for the first time, or goes on hearing of it.
        let reason = match (known, opening) {
            (false, true) | (true, false) => told.reason,
            (false, false) => Reason::Opened,
            (true, true) => Reason::Escalated,
        };
        self.tell_fallback(now, index, &item, &note, reason);
        for item in rest {
            self.route(now, index, item);
        }
    }

    /// Notes what the receiver knows of an incident, news of which it refused. Returns whether it had refused some of it
    /// before.
    fn note_refused(&mut self, index: usize, item: &Item, opening: bool) -> bool {
        let refused = &mut self.receivers[index].refused;
        let incident = &item.notification.incident;
        // Until one beginning was taken, the next try must tell of one, whatever summaries said.
        let heard = match (opening, item.maybe_taken) {
            (false, _) => Heard::Yes,
            (true, true) => Heard::Perhaps,
            (true, false) => Heard::No,
        };
        let known = refused.contains_key(incident);
        if known || refused.len() < MAX_PENDING {
            refused.insert(incident.clone(), heard);
        }
        known
    }

    fn tell_untold(&mut self, now: Timestamp, index: usize, item: &Item) {
        let note = format!("receiver '{}' could not be reached while this stood", self.specs[index].name);
        self.tell_fallback(now, index, item, &note, item.notification.reason);
    }

    fn tell_fallback(&mut self, now: Timestamp, index: usize, item: &Item, note: &str, reason: Reason) {
        let Some(fallback) = self.specs[index].fallback else { return };
        // A circle of fallbacks, which no configuration that was loaded has, ends with everybody asked once.
        if item.refusals + 1 >= self.specs.len() {
            return;
        }
        let told = &item.notification;
        let detail = told.detail.as_ref().map_or(note.to_owned(), |detail| format!("{detail}; {note}"));
        let id = format!("sb-{:032x}", stable_hash(&[&told.id, "fallback", &self.specs[fallback].name]));
        let mut item = Item {
            refusals: item.refusals + 1,
            ..Item::new(now, Notification { id, receiver: fallback, detail: Some(detail), ..Notification::clone(told) })
        };
        item.since = now;
        item.become_reason(reason);
        self.route(now, fallback, item);
    }

    fn bury(&mut self, now: Timestamp, index: usize, (incident, summary): (&str, &str), why: &str) {
        self.receivers[index].counts.rejected += 1;
        self.buried += 1;
        if self.dead_letters.len() == MAX_DEAD_LETTERS {
            self.dead_letters.pop_front();
        }
        self.dead_letters.push_back(DeadLetter {
            at: now,
            receiver: self.specs[index].name.clone(),
            incident: incident.to_owned(),
            summary: summary.to_owned(),
            why: why.to_owned(),
        });
    }

    /// Notifications waiting or under way for a receiver, those left to summaries among them.
    pub fn pending(&self, receiver: usize) -> usize {
        self.receivers[receiver].pending()
    }

    /// Incidents of which something waits for a receiver, and those that it refused or knows of by summaries.
    pub fn incidents(&self, receiver: usize) -> BTreeSet<String> {
        self.receivers[receiver].incidents()
    }

    /// Incidents that stand and that a receiver hears of in summaries.
    pub fn summarised(&self, receiver: usize) -> u64 {
        self.receivers[receiver].flood.open()
    }

    pub fn counts(&self, receiver: usize) -> &DeliveryCounts {
        &self.receivers[receiver].counts
    }

    /// Why the last send to a receiver failed; `None` once one succeeded.
    pub fn last_problem(&self, receiver: usize) -> Option<&str> {
        self.receivers[receiver].last_problem.as_deref()
    }

    /// Until when a receiver asked not to be sent anything; may be past.
    pub fn held_until(&self, receiver: usize) -> Option<Timestamp> {
        self.receivers[receiver].gate.held_until()
    }

    /// Whether a receiver failed so often in a row that only one send at a time finds out about it.
    pub fn is_down(&self, receiver: usize) -> bool {
        self.receivers[receiver].gate.is_down()
    }

    pub fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dead_letters.iter()
    }

    /// How many dead letters there ever were.
    pub fn buried(&self) -> u64 {
        self.buried
    }
}
