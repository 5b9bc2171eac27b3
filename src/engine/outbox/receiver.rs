//! One receiver: what waits for it in which order, and what may be sent now.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::engine::notification::Reason;
use crate::engine::spec::ReceiverSpec;
use crate::engine::time::{Duration, Timestamp};

use super::flood::{self, Flood};
use super::gate::{Gate, backoff};
use super::queue::{Item, Queue, opens};
use super::{Delivery, DeliveryCounts, MAX_PENDING};

/// What waits longer than this even at the receiver's pace is told in summaries.
const TOLD_ONE_BY_ONE_WITHIN: Duration = Duration::from_secs(30);
/// See [`Item::rank`].
const LEAST_OF_PAGES: u8 = 3;

/// Whether a receiver that refused news of an incident which goes on knows of the incident nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heard {
    No,
    /// A try of its beginning went unanswered, or a summary told of it and it refused to hear of it by itself.
    Perhaps,
    Yes,
}

#[derive(Debug, Clone, Default)]
pub struct Receiver {
    /// By incident; summaries under a key of their own.
    queues: BTreeMap<String, Queue>,
    /// Fronts of queues that may be sent once the gate is open: by rank, age and incident.
    ready: BTreeSet<(u8, Timestamp, String)>,
    /// Those that failed, by when they are tried again.
    backing_off: BTreeSet<(Timestamp, String)>,
    /// Incidents of what is under way, by notification id.
    in_flight: BTreeMap<String, String>,
    /// Notifications in the queues.
    waiting: usize,
    pub flood: Flood,
    pub gate: Gate,
    /// What it knows of incidents of which it refused something.
    pub refused: BTreeMap<String, Heard>,
    /// Incidents whose state changed since they were last taken.
    touched: BTreeSet<String>,
    pub counts: DeliveryCounts,
    pub last_problem: Option<String>,
}

/// What is to be sent next.
enum Next {
    Front(String),
    Summary,
}

impl Receiver {
    /// Takes news of an incident in. Returns an end that nobody is told of here.
    pub fn push(&mut self, mut item: Item, spec: &ReceiverSpec) -> Option<Item> {
        let incident = item.notification.incident.clone();
        if self.flood.tells_of(&incident) {
            self.touch(&incident);
            if !self.flood.is_beyond(&item.notification) {
                let (superseded, untold) = self.flood.take(item, spec.keeps_alerts);
                self.counts.coalesced += superseded + u64::from(untold.is_some());
                return untold;
            }
            // Should it be refused now, its end must be told here nevertheless.
            item.maybe_taken |= self.flood.leave(&incident) && !spec.keeps_alerts;
            item.become_reason(Reason::Opened);
        }
        self.counts.coalesced += self.change(&incident, |queue| {
            queue.push(item);
            queue.coalesce(spec.keeps_alerts)
        });
        None
    }

    /// Notes that something is to be remembered anew.
    pub fn touch(&mut self, incident: &str) {
        if !self.touched.contains(incident) {
            self.touched.insert(incident.to_owned());
        }
    }

    pub fn take_touched(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.touched)
    }

    /// The only way to change a queue: keeps the order of fronts, and the count of what waits.
    fn change<T>(&mut self, incident: &str, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queues.remove(incident).unwrap_or_default();
        self.waiting -= queue.items().len();
        if let Some(front) = queue.front() {
            self.ready.remove(&(front.rank(), front.since, incident.to_owned()));
            self.backing_off.remove(&(front.not_before, incident.to_owned()));
        }
        let changed = change(&mut queue);
        self.waiting += queue.items().len();
        if !queue.items().is_empty() {
            self.queues.insert(incident.to_owned(), queue);
        }
        self.list(incident);
        self.touch(incident);
        changed
    }

    fn list(&mut self, incident: &str) {
        let Some(front) = self.queues.get(incident).and_then(Queue::front) else { return };
        if front.in_flight || self.flood.is_under_way(incident) {
            return;
        }
        if front.attempt == 0 {
            self.ready.insert((front.rank(), front.since, incident.to_owned()));
        } else {
            self.backing_off.insert((front.not_before, incident.to_owned()));
        }
    }

    /// What it knows of an incident of which it refused something. What waits may have been taken since, or left a
    /// summary that was: then its end must be told here, too.
    pub fn heard(&self, incident: &str) -> Option<Heard> {
        let heard = *self.refused.get(incident)?;
        let perhaps =
            || self.queues.get(incident).is_some_and(|queue| queue.items().iter().any(|item| item.maybe_taken));
        Some(match heard {
            _ if self.flood.tells_of(incident) => Heard::Yes,
            Heard::No if perhaps() => Heard::Perhaps,
            heard => heard,
        })
    }

    /// Hands out what may be sent at `now`, the most urgent first.
    pub fn due(&mut self, now: Timestamp, place: (usize, &ReceiverSpec), due: &mut Vec<Delivery>) {
        let (index, spec) = place;
        self.gate.tidy(now, spec.pace);
        while let Some((at, _)) = self.backing_off.first()
            && *at <= now
        {
            if let Some((_, incident)) = self.backing_off.pop_first()
                && let Some(front) = self.queues.get(&incident).and_then(Queue::front)
            {
                self.ready.insert((front.rank(), front.since, incident));
            }
        }
        self.fold(now, spec);
        while let Some((next, page)) = self.next(spec)
            && self.gate.is_open(now, spec.pace, page)
        {
            let incident = match next {
                Next::Front(incident) => incident,
                Next::Summary => {
                    let summary = self.flood.summarise(now, (index, &spec.name), spec.keeps_alerts);
                    self.block();
                    let key = summary.notification.incident.clone();
                    self.change(&key, |queue| queue.push(summary));
                    key
                }
            };
            let sent = self.change(&incident, |queue| {
                let item = queue.front_mut()?;
                item.in_flight = true;
                Some(Delivery { notification: item.notification.clone(), attempt: item.attempt })
            });
            let Some(delivery) = sent else { continue };
            self.gate.start();
            self.in_flight.insert(delivery.notification.id.clone(), incident);
            due.push(delivery);
        }
    }

    /// What is to be sent next, and whether it is a page.
    fn next(&self, spec: &ReceiverSpec) -> Option<(Next, bool)> {
        let rank = |incident: &String| {
            let front = self.queues.get(incident).and_then(Queue::front)?;
            Some((front.rank(), front.since))
        };
        let tried = || if self.gate.is_down() { self.backing_off.first().map(|(_, incident)| incident) } else { None };
        let front = self.ready.first().map(|(.., incident)| incident).or_else(tried);
        let front = front.and_then(|incident| Some((rank(incident)?, incident)));
        let summary =
            if self.queues.contains_key(&flood::key(&spec.name)) { None } else { self.flood.next(spec.keeps_alerts) };
        match (front, summary) {
            (Some((rank, _)), Some(summary)) if summary < rank => Some((Next::Summary, summary.0 <= LEAST_OF_PAGES)),
            (Some((rank, incident)), _) => Some((Next::Front(incident.clone()), rank.0 <= LEAST_OF_PAGES)),
            (None, Some(summary)) => Some((Next::Summary, summary.0 <= LEAST_OF_PAGES)),
            (None, None) => None,
        }
    }

    /// Takes what a summary names out of the order, so that nothing of it is told beside the summary.
    fn block(&mut self) {
        self.touched.extend(self.flood.named().cloned());
        let Self { queues, flood, ready, backing_off, .. } = self;
        for (incident, queue) in queues.iter().filter(|(incident, _)| flood.is_under_way(incident)) {
            if let Some(front) = queue.front() {
                ready.remove(&(front.rank(), front.since, incident.clone()));
                backing_off.remove(&(front.not_before, incident.clone()));
            }
        }
    }

    /// Leaves to summaries what would wait for too long, or is too much to keep one by one.
    fn fold(&mut self, now: Timestamp, spec: &ReceiverSpec) {
        let (most, keep) = match (self.gate.tokens(now, spec.pace), spec.pace) {
            (Some(tokens), Some(pace)) => {
                let soon = tokens as usize + (TOLD_ONE_BY_ONE_WITHIN.ms() / pace.every.ms().max(1)) as usize;
                (soon, tokens.div_ceil(2) as usize)
            }
            _ => (MAX_PENDING, MAX_PENDING / 2),
        };
        if self.ready.len() + self.backing_off.len() <= most {
            return;
        }
        let waiting = self.ready.iter().map(|(.., incident)| incident);
        let waiting = waiting.chain(self.backing_off.iter().map(|(_, incident)| incident));
        let foldable = waiting.skip(keep).filter(|incident| self.is_foldable(incident, spec)).cloned();
        for incident in foldable.collect::<Vec<_>>() {
            let items = self.change(&incident, std::mem::take).into_items();
            for item in items {
                let (superseded, _) = self.flood.take(item, spec.keeps_alerts);
                self.counts.coalesced += superseded;
            }
        }
    }

    /// A receiver that keeps alerts must be told by itself of the end of what it was told of by itself. The source's own
    /// incident is one, and stands for all.
    fn is_foldable(&self, incident: &str, spec: &ReceiverSpec) -> bool {
        let Some(queue) = self.queues.get(incident) else { return false };
        let folds =
            |item: &Item| !item.in_flight && item.notification.digest.is_none() && item.notification.journey.is_some();
        let unheard = |item: &Item| opens(item.notification.reason) && !item.maybe_taken;
        let items = queue.items();
        items.iter().all(folds) && (!spec.keeps_alerts || items.len() == 1 && items.iter().all(unheard))
    }

    /// The oldest time at which something may be sent; `None` if that depends on something else than time.
    pub fn wake_at(&self, spec: &ReceiverSpec) -> Option<Timestamp> {
        let waits = |page: bool| self.gate.opens_at(spec.pace, page);
        let at_once = Timestamp::from_unix_ms(0);
        let next = self.next(spec).and_then(|(_, page)| Some(waits(page)?.unwrap_or(at_once)));
        // What fails by itself is due in its own time.
        let tried = self.backing_off.first().and_then(|(at, _)| Some(waits(true)?.unwrap_or(at_once).max(*at)));
        next.into_iter().chain(tried).min()
    }

    /// The incident that a send under way is about.
    pub fn find(&self, id: &str) -> Option<&str> {
        self.in_flight.get(id).map(String::as_str)
    }

    /// Takes what was sent out of its queue, whatever its end.
    pub fn finish(&mut self, incident: &str, spec: &ReceiverSpec) -> Option<Item> {
        let item = self.change(incident, Queue::pop)?;
        self.in_flight.remove(&item.notification.id);
        if let Some(digest) = item.notification.digest.as_ref().filter(|_| incident == flood::key(&spec.name)) {
            for named in self.flood.settle(digest, spec.keeps_alerts) {
                if let Some(heard) = self.refused.get_mut(&named) {
                    *heard = Heard::Yes;
                }
                self.list(&named);
                self.touch(&named);
            }
        }
        Some(item)
    }

    /// The send under way failed and is to be tried again.
    pub fn postpone(
        &mut self,
        now: Timestamp,
        incident: &str,
        (after, unanswered): (Option<Duration>, bool),
        spec: &ReceiverSpec,
    ) {
        let mut id = None;
        self.counts.coalesced += self.change(incident, |queue| {
            if let Some(item) = queue.front_mut() {
                item.in_flight = false;
                item.attempt += 1;
                item.maybe_taken |= unanswered;
                item.not_before = now + after.unwrap_or_else(|| backoff(&item.notification.id, item.attempt));
                id = Some(item.notification.id.clone());
            }
            queue.coalesce(spec.keeps_alerts)
        });
        id.map(|id| self.in_flight.remove(&id));
    }

    /// The receiver is there again: what failed because of it need not wait for its own turn.
    pub fn recover(&mut self) {
        for (_, incident) in std::mem::take(&mut self.backing_off) {
            if let Some(front) = self.queues.get(&incident).and_then(Queue::front) {
                self.ready.insert((front.rank(), front.since, incident));
            }
        }
    }

    /// Takes out what has waited since before `since`.
    pub fn give_up(&mut self, since: Timestamp, spec: &ReceiverSpec) -> Vec<Item> {
        let waiting = self.ready.iter().map(|(.., incident)| incident);
        let waiting = waiting.chain(self.backing_off.iter().map(|(_, incident)| incident));
        let old = |incident: &&String| {
            let front = self.queues.get(*incident).and_then(Queue::front);
            front.is_some_and(|front| front.since <= since)
        };
        let old: Vec<String> = waiting.filter(old).cloned().collect();
        old.iter().filter_map(|incident| self.finish(incident, spec)).collect()
    }

    pub fn is_sending(&self, incident: &str) -> bool {
        self.queues.get(incident).and_then(Queue::front).is_some_and(|front| front.in_flight)
    }

    /// Takes everything out that waits for one incident.
    pub fn take_out(&mut self, incident: &str) -> Vec<Item> {
        self.change(incident, std::mem::take).into_items().into()
    }

    /// Takes out what is least urgent, if there is more than may wait even after folding.
    pub fn give_way(&mut self, now: Timestamp, spec: &ReceiverSpec) -> Vec<Item> {
        if self.waiting <= MAX_PENDING {
            return Vec::new();
        }
        self.fold(now, spec);
        if self.waiting <= MAX_PENDING {
            return Vec::new();
        }
        let least = self.ready.last().map(|(.., incident)| incident);
        let least = least.or_else(|| self.backing_off.last().map(|(_, incident)| incident)).cloned();
        least.map_or_else(Vec::new, |incident| self.take_out(&incident))
    }

    /// Notifications that wait or are under way, those told in summaries among them.
    pub fn pending(&self) -> usize {
        self.waiting + self.flood.untold()
    }

    /// Everything in the queues.
    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.queues.values_mut().flat_map(Queue::items_mut)
    }

    /// All incidents whose state is worth remembering.
    pub fn incidents(&self) -> BTreeSet<String> {
        self.queues.keys().chain(self.refused.keys()).chain(self.flood.incidents()).cloned().collect()
    }

    pub fn items_of(&self, incident: &str) -> Vec<Item> {
        self.queues.get(incident).map_or_else(Vec::new, |queue| queue.items().iter().cloned().collect())
    }

    /// Goes on with what another run had in a queue; what may be sent is known after [`Self::relist`].
    pub fn put_back(&mut self, incident: &str, item: Item, spec: &ReceiverSpec) {
        if let Some(digest) = item.notification.digest.as_ref().filter(|_| incident == flood::key(&spec.name)) {
            self.flood.restore_under_way(digest);
        }
        self.change(incident, |queue| queue.push(item));
    }

    pub fn relist(&mut self) {
        self.ready.clear();
        self.backing_off.clear();
        for incident in self.queues.keys().cloned().collect::<Vec<_>>() {
            self.flood.restore_left(&incident);
            self.list(&incident);
        }
    }

    pub fn rewind(&mut self, by: Duration) {
        self.items_mut().for_each(|item| item.not_before = item.not_before - by);
        self.backing_off = self.backing_off.iter().map(|(at, incident)| (*at - by, incident.clone())).collect();
        self.gate.rewind(by);
    }
}
