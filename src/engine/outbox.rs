//! What was decided to be told and is not delivered yet: order, retries, coalescing, dead letters.
//!
//! At least once, with the notification's id constant over retries. Per receiver and incident the order is kept, so a
//! resolve never goes before its trigger. One slow receiver delays no other; pages go before tickets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::names::Places;
use super::notification::{Moves, Notification, Reason};
use super::stable_hash;
use super::time::{Duration, Timestamp};
use super::{Outcome, ReceiverSpec};

/// Sends under way to one receiver at the same time.
pub const MAX_IN_FLIGHT: usize = 4;
/// Notifications waiting for one receiver; the oldest repetition, or else the oldest ticket, gives way beyond it.
pub const MAX_PENDING: usize = 10_000;
/// Dead letters kept for `status`.
pub const MAX_DEAD_LETTERS: usize = 100;
/// A delivery that could not be made for this long is given up as a dead letter.
pub const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_minutes(5);

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

#[derive(Debug, Clone)]
struct Item {
    notification: Arc<Notification>,
    /// Ascends with every decision: the order of those of one slot.
    number: u64,
    attempt: u32,
    not_before: Timestamp,
    in_flight: bool,
}

/// Counts of one receiver's deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCounts {
    pub delivered: u64,
    pub retried: u64,
    pub rejected: u64,
    /// Superseded by a newer state of the same incident before they could be delivered.
    pub coalesced: u64,
}

#[derive(Debug, Clone, Default)]
struct Receiver {
    /// By incident, oldest first.
    queues: BTreeMap<String, VecDeque<Item>>,
    counts: DeliveryCounts,
    last_problem: Option<String>,
}

impl Receiver {
    fn in_flight(&self) -> usize {
        self.queues.values().flatten().filter(|item| item.in_flight).count()
    }
}

/// All pending deliveries.
#[derive(Debug, Clone)]
pub struct Outbox {
    specs: Vec<ReceiverSpec>,
    receivers: Vec<Receiver>,
    dead_letters: VecDeque<DeadLetter>,
    /// How many decisions were taken in.
    pushed: u64,
    /// Ascends with every change of what is to be remembered.
    revision: u64,
}

/// A delivery that waits or is under way, by names alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    pub receiver: String,
    pub number: u64,
    pub attempt: u32,
    pub not_before: Timestamp,
    pub notification: Arc<Notification>,
}

/// What is known of a receiver beside what waits for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiverMemory {
    pub name: String,
    pub counts: DeliveryCounts,
    pub last_problem: Option<String>,
}

impl Outbox {
    pub fn new(specs: Vec<ReceiverSpec>) -> Self {
        let receivers = specs.iter().map(|_| Receiver::default()).collect();
        Self { specs, receivers, dead_letters: VecDeque::new(), pushed: 0, revision: 0 }
    }

    /// The same deliveries for another configuration; those for receivers that are gone are dropped.
    pub fn renumbered(self, specs: Vec<ReceiverSpec>, moves: &Moves) -> Self {
        let mut outbox = Self { dead_letters: self.dead_letters, pushed: self.pushed, ..Self::new(specs) };
        for (index, mut receiver) in self.receivers.into_iter().enumerate() {
            let Some(moved) = moves.receivers[index] else { continue };
            for item in receiver.queues.values_mut().flatten() {
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
        for item in self.receivers.iter_mut().flat_map(|receiver| receiver.queues.values_mut()).flatten() {
            item.not_before = item.not_before - by;
        }
    }

    /// Takes a decision in. What waits for the same receiver and incident and is stale now gives way to it.
    pub fn push(&mut self, now: Timestamp, mut notification: Notification) {
        self.revision += 1;
        let index = notification.receiver;
        let receiver = &mut self.receivers[index];
        let queue = receiver.queues.entry(notification.incident.clone()).or_default();
        let before = queue.len();
        if notification.reason == Reason::Resolved {
            // The trigger must still go first, for a receiver that forgets what it never opened; the news between may go.
            let news = |reason| matches!(reason, Reason::Escalated | Reason::Repeated);
            while queue.pop_back_if(|item| !item.in_flight && news(item.notification.reason)).is_some() {}
        } else {
            let stale = |item: &mut Item| !item.in_flight && item.notification.reason != Reason::Resolved;
            while let Some(item) = queue.pop_back_if(stale) {
                if item.notification.reason == Reason::Opened {
                    notification.reason = Reason::Opened;
                }
            }
            // What opened and resolved unheard is over; what was heard of must be told to be.
            if let Some(opened) = queue.len().checked_sub(2)
                && queue.iter().skip(opened).all(|item| !item.in_flight)
                && matches!(queue[opened].notification.reason, Reason::Opened | Reason::Blind)
            {
                queue.truncate(opened);
            }
        }
        receiver.counts.coalesced += (before - queue.len()) as u64;
        self.pushed += 1;
        let (notification, number) = (Arc::new(notification), self.pushed);
        queue.push_back(Item { notification, number, attempt: 0, not_before: now, in_flight: false });
        if self.pending(index) > MAX_PENDING {
            self.give_way(now, index);
        }
    }

    fn give_way(&mut self, now: Timestamp, index: usize) {
        let waiting = self.receivers[index].queues.iter();
        let victim = waiting
            .flat_map(|(incident, queue)| queue.iter().enumerate().map(move |(at, item)| (incident, at, item)))
            .filter(|(_, _, item)| !item.in_flight)
            .min_by_key(|(_, _, item)| {
                let fresh = item.notification.reason != Reason::Repeated;
                (fresh, item.notification.urgency, item.notification.at)
            })
            .map(|(incident, at, _)| (incident.clone(), at));
        let Some((incident, at)) = victim else { return };
        let removed = self.receivers[index].queues.get_mut(&incident).and_then(|queue| queue.remove(at));
        if let Some(item) = removed {
            self.bury(now, &item.notification, format!("more than {MAX_PENDING} deliveries were waiting"));
        }
    }

    /// Hands out the sends to make now, pages first, and marks them as under way.
    pub fn due(&mut self, now: Timestamp) -> Vec<Delivery> {
        let mut due = Vec::new();
        for receiver in &mut self.receivers {
            let in_flight = receiver.in_flight();
            let heads = receiver.queues.values_mut().filter_map(VecDeque::front_mut);
            let mut heads: Vec<&mut Item> = heads.filter(|item| !item.in_flight && item.not_before <= now).collect();
            heads.sort_by_key(|item| (std::cmp::Reverse(item.notification.urgency), item.notification.at));
            for item in heads.into_iter().take(MAX_IN_FLIGHT.saturating_sub(in_flight)) {
                item.in_flight = true;
                due.push(Delivery { notification: item.notification.clone(), attempt: item.attempt });
            }
        }
        due
    }

    /// When the next send is due, if one waits. For a receiver with as many under way as it may have, that is when one of
    /// them ends.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let free = self.receivers.iter().filter(|receiver| receiver.in_flight() < MAX_IN_FLIGHT);
        let heads = free.flat_map(|receiver| receiver.queues.values()).filter_map(VecDeque::front);
        heads.filter(|item| !item.in_flight).map(|item| item.not_before).min()
    }

    /// Takes the end of a send. Unknown ids are ignored: their delivery was given up meanwhile.
    pub fn settle(&mut self, now: Timestamp, id: &str, outcome: Outcome) {
        let Some((index, incident)) = self.find(id) else { return };
        self.revision += 1;
        let receiver = &mut self.receivers[index];
        let Some(queue) = receiver.queues.get_mut(&incident) else { return };
        let Some(item) = queue.front_mut() else { return };
        let after = if let Outcome::Retry { after, .. } = &outcome { *after } else { None };
        let settled = match outcome {
            Outcome::Delivered => {
                receiver.counts.delivered += 1;
                receiver.last_problem = None;
                None
            }
            Outcome::Rejected { why } => Some(why),
            Outcome::Retry { why, .. } | Outcome::Unanswered { why } => {
                receiver.counts.retried += 1;
                receiver.last_problem = Some(why.clone());
                item.in_flight = false;
                item.attempt += 1;
                item.not_before = now + after.unwrap_or_else(|| backoff(id, item.attempt));
                if now.since(item.notification.at) < GIVE_UP_AFTER {
                    return;
                }
                Some(format!("given up after {GIVE_UP_AFTER}: {why}"))
            }
        };
        let done = queue.pop_front();
        if queue.is_empty() {
            receiver.queues.remove(&incident);
        }
        if let (Some(item), Some(why)) = (done, settled) {
            self.receivers[index].counts.rejected += 1;
            self.receivers[index].last_problem = Some(why.clone());
            self.bury(now, &item.notification, why.clone());
            self.tell_fallback(now, &item.notification, &why);
        }
    }

    fn find(&self, id: &str) -> Option<(usize, String)> {
        self.receivers.iter().enumerate().find_map(|(index, receiver)| {
            let head =
                |queue: &VecDeque<Item>| queue.front().is_some_and(|item| item.in_flight && item.notification.id == id);
            let (incident, _) = receiver.queues.iter().find(|(_, queue)| head(queue))?;
            Some((index, incident.clone()))
        })
    }

    fn bury(&mut self, now: Timestamp, notification: &Notification, why: String) {
        if self.dead_letters.len() == MAX_DEAD_LETTERS {
            self.dead_letters.pop_front();
        }
        self.dead_letters.push_back(DeadLetter {
            at: now,
            receiver: self.specs[notification.receiver].name.clone(),
            incident: notification.incident.clone(),
            summary: notification.summary.clone(),
            why,
        });
    }

    fn tell_fallback(&mut self, now: Timestamp, refused: &Notification, why: &str) {
        let spec = &self.specs[refused.receiver];
        let Some(fallback) = spec.fallback else { return };
        let note = format!("receiver '{}' refused this: {why}", spec.name);
        let detail = refused.detail.as_ref().map_or(note.clone(), |detail| format!("{detail}; {note}"));
        let id = format!("sb-{:032x}", stable_hash(&[&refused.id, "fallback", &self.specs[fallback].name]));
        self.push(now, Notification { id, receiver: fallback, detail: Some(detail), ..refused.clone() });
    }

    /// Deliveries waiting or under way for a receiver.
    pub fn pending(&self, receiver: usize) -> usize {
        self.receivers[receiver].queues.values().map(VecDeque::len).sum()
    }

    /// Changes whenever what is to be remembered does.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Everything that waits or is under way, with its id.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, Pending)> {
        let receivers = self.specs.iter().zip(&self.receivers);
        receivers.flat_map(|(spec, receiver)| {
            receiver.queues.values().flatten().map(|item| {
                let Item { notification, number, attempt, not_before, .. } = item.clone();
                let receiver = spec.name.clone();
                (item.notification.id.as_str(), Pending { receiver, number, attempt, not_before, notification })
            })
        })
    }

    /// What is to be remembered of each receiver.
    pub fn receivers(&self) -> impl Iterator<Item = ReceiverMemory> {
        self.specs.iter().zip(&self.receivers).map(|(spec, receiver)| ReceiverMemory {
            name: spec.name.clone(),
            counts: receiver.counts.clone(),
            last_problem: receiver.last_problem.clone(),
        })
    }

    /// Takes in what was remembered. A send that was under way may have arrived or not, so it is due again, under the
    /// same id. What waited for a receiver that is gone is dropped.
    pub fn restore(
        &mut self,
        mut pending: Vec<Pending>,
        receivers: Vec<ReceiverMemory>,
        dead_letters: Vec<DeadLetter>,
        places: &Places,
    ) {
        pending.sort_by_key(|item| item.number);
        for Pending { receiver, number, attempt, not_before, notification } in pending {
            let Some(notification) = places.notification(&receiver, &notification).map(Arc::new) else { continue };
            self.pushed = self.pushed.max(number);
            let queue = self.receivers[notification.receiver].queues.entry(notification.incident.clone()).or_default();
            queue.push_back(Item { notification, number, attempt, not_before, in_flight: false });
        }
        for ReceiverMemory { name, counts, last_problem } in receivers {
            if let Some(receiver) = places.receivers.get(&name) {
                self.receivers[*receiver].counts = counts;
                self.receivers[*receiver].last_problem = last_problem;
            }
        }
        self.dead_letters = dead_letters.into();
    }

    pub fn counts(&self, receiver: usize) -> &DeliveryCounts {
        &self.receivers[receiver].counts
    }

    /// Why the last send to a receiver failed; `None` once one succeeded.
    pub fn last_problem(&self, receiver: usize) -> Option<&str> {
        self.receivers[receiver].last_problem.as_deref()
    }

    pub fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dead_letters.iter()
    }
}

/// Doubles from a second to five minutes, with up to a quarter less, spread by a hash of id and attempt.
fn backoff(id: &str, attempt: u32) -> Duration {
    let doubled = BACKOFF_FIRST.ms().saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(BACKOFF_MOST.ms());
    let spread = (stable_hash(&[id, &attempt.to_string()]) % 1000) as i64;
    Duration::from_ms(doubled - doubled * spread / 4000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rule::{Stage, Urgency};
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_unix_s(1_772_366_400);

    fn outbox() -> Outbox {
        let receiver = |name: &str, fallback| ReceiverSpec { fallback, ..ReceiverSpec::new(name) };
        Outbox::new(vec![receiver("oncall", Some(1)), receiver("team", None)])
    }

    fn notification(number: usize, receiver: usize, incident: u8, reason: Reason) -> Notification {
        Notification {
            id: format!("sb-{number}"),
            at: START,
            receiver,
            reason,
            incident: format!("journey-{incident}"),
            journey: Some(format!("journey-{incident}")),
            owner: None,
            runbook: None,
            group: Default::default(),
            stage: Stage::Critical,
            urgency: if incident.is_multiple_of(2) { Urgency::Page } else { Urgency::Ticket },
            opened_at: START,
            resolved_at: None,
            alerts: Vec::new(),
            detail: None,
            digest: None,
            summary: String::new(),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// The incident changes: opens, goes on, or resolves, as its state allows.
        Change {
            incident: u8,
            resolve: bool,
        },
        /// The oldest send under way ends.
        Settle(Outcome),
        Wait {
            s: i64,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let retry = Outcome::Retry { after: None, why: "503".into() };
        let later = Outcome::Retry { after: Some(Duration::from_secs(40)), why: "429".into() };
        prop_oneof![
            3 => (0u8..4, any::<bool>()).prop_map(|(incident, resolve)| Step::Change { incident, resolve }),
            4 => prop_oneof![Just(Outcome::Delivered), Just(retry), Just(later)].prop_map(Step::Settle),
            2 => (1i64..120).prop_map(|s| Step::Wait { s }),
        ]
    }

    proptest! {
        /// Whatever a receiver answers and however often, it hears of every incident, first that it opened, and in the
        /// end how it stands.
        #[test]
        fn order_and_the_newest_state_survive_any_receiver(steps in prop::collection::vec(step(), 1..120)) {
            let (mut outbox, mut now) = (outbox(), START);
            let mut open = [false; 4];
            let mut decided = [None; 4];
            let mut under_way: VecDeque<Delivery> = VecDeque::new();
            let mut heard: BTreeMap<String, Vec<Reason>> = BTreeMap::new();
            let mut number = 0;
            for step in steps.into_iter().chain((0..400).map(|_| Step::Settle(Outcome::Delivered))) {
                match step {
                    Step::Change { incident, resolve } => {
                        let at = usize::from(incident);
                        let reason = match (open[at], resolve) {
                            (false, _) => Reason::Opened,
                            (true, true) => Reason::Resolved,
                            (true, false) => Reason::Escalated,
                        };
                        open[at] = reason != Reason::Resolved;
                        decided[at] = Some(open[at]);
                        number += 1;
                        outbox.push(now, notification(number, 0, incident, reason));
                    }
                    Step::Settle(outcome) => match under_way.pop_front() {
                        Some(sent) => {
                            if outcome == Outcome::Delivered {
                                let told = &sent.notification;
                                heard.entry(told.incident.clone()).or_default().push(told.reason);
                            }
                            outbox.settle(now, &sent.notification.id, outcome);
                        }
                        None => now = outbox.wake_at().map_or(now, |at| at.max(now)),
                    },
                    Step::Wait { s } => now += Duration::from_secs(s),
                }
                under_way.extend(outbox.due(now));
                prop_assert!(under_way.len() <= MAX_IN_FLIGHT);
            }
            prop_assert_eq!(outbox.pending(0), 0);
            for (incident, decided) in decided.iter().enumerate() {
                let heard = heard.get(&format!("journey-{incident}")).cloned().unwrap_or_default();
                prop_assert_eq!(heard.last().map(|reason| *reason != Reason::Resolved), *decided);
                let mut firing = false;
                for reason in heard {
                    prop_assert!(firing || reason == Reason::Opened, "{:?} came first", reason);
                    firing = reason != Reason::Resolved;
                }
            }
        }
    }

    #[test]
    fn a_receiver_with_its_hands_full_wakes_nobody() {
        let mut outbox = outbox();
        for incident in 0..10 {
            outbox.push(START, notification(usize::from(incident), 0, incident, Reason::Opened));
        }
        let under_way = outbox.due(START);
        assert_eq!((under_way.len(), outbox.wake_at()), (MAX_IN_FLIGHT, None));
        outbox.settle(START, &under_way[0].notification.id, Outcome::Delivered);
        assert_eq!(outbox.wake_at(), Some(START));
    }

    #[test]
    fn pages_go_before_tickets() {
        let mut outbox = outbox();
        for incident in [1, 3, 5, 7, 0] {
            outbox.push(START, notification(usize::from(incident), 0, incident, Reason::Opened));
        }
        let first = &outbox.due(START)[0].notification;
        assert_eq!((first.urgency, first.incident.as_str()), (Urgency::Page, "journey-0"));
    }

    #[test]
    fn retries_wait_longer_each_time_and_are_given_up() {
        let (mut outbox, mut now) = (outbox(), START);
        outbox.push(now, notification(1, 1, 0, Reason::Opened));
        let mut waits_s = Vec::new();
        while let Some(at) = outbox.wake_at() {
            waits_s.push(at.since(now).secs());
            now = now.max(at);
            for delivery in outbox.due(now) {
                assert_eq!(delivery.notification.id, "sb-1", "the id is constant over retries");
                outbox.settle(now, "sb-1", Outcome::Retry { after: None, why: "503".into() });
            }
        }
        assert!(waits_s[1..9].windows(2).all(|pair| pair[0] < pair[1]), "{waits_s:?}");
        assert!(waits_s.iter().all(|wait_s| *wait_s <= 300.0), "{waits_s:?}");
        assert_eq!(now.since(START).coarse(), GIVE_UP_AFTER);
        assert_eq!(outbox.dead_letters().count(), 1);
    }

    #[test]
    fn a_flood_stays_bounded_and_says_what_gave_way() {
        let mut outbox = outbox();
        for number in 0..MAX_PENDING + 5 {
            let incident = format!("journey-{number}");
            outbox.push(START, Notification { incident, ..notification(number, 1, 1, Reason::Opened) });
        }
        assert_eq!(outbox.pending(1), MAX_PENDING);
        assert_eq!(outbox.dead_letters().count(), 5);
    }
}
