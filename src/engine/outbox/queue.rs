//! What waits for one receiver about one incident, oldest first. It never holds more than the receiver needs to hear:
//! news that came while it waited gives way to newer news.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::notification::{Notification, Reason};
use crate::engine::rule::Urgency;
use crate::engine::time::Timestamp;

/// A notification on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub notification: Arc<Notification>,
    /// 0 for the first try.
    pub attempt: u32,
    pub not_before: Timestamp,
    /// When the oldest news in it was decided: what it replaced is counted, too.
    pub since: Timestamp,
    pub in_flight: bool,
    /// The receiver may know of it: a try of it ended without an answer, or summaries told of the incident before.
    pub maybe_taken: bool,
    /// Receivers that refused it before this one.
    pub refusals: usize,
    /// An end that the fallback was told as well, as this receiver had refused news of the incident.
    pub passed_on: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Queue {
    items: VecDeque<Item>,
}

impl Item {
    pub fn new(now: Timestamp, notification: Notification) -> Self {
        Self {
            since: notification.at.min(now),
            notification: Arc::new(notification),
            attempt: 0,
            not_before: now,
            in_flight: false,
            maybe_taken: false,
            refusals: 0,
            passed_on: false,
        }
    }

    fn is_end(&self) -> bool {
        self.notification.reason == Reason::Resolved
    }

    /// Orders what waits, the most urgent first: pages before tickets; what began before what repeats or is over; and
    /// one incident before a summary of many.
    pub fn rank(&self) -> u8 {
        let told = &self.notification;
        let stands = match &told.digest {
            Some(digest) => digest.entries.first().is_some_and(|worst| worst.ended_at.is_none()),
            None => !matches!(told.reason, Reason::Resolved | Reason::Repeated),
        };
        rank(told.urgency, stands, told.digest.is_some())
    }
}

pub fn rank(urgency: Urgency, stands: bool, in_summary: bool) -> u8 {
    let rank = match (urgency, stands) {
        (Urgency::Page, true) => 0,
        (Urgency::Page, false) => 2,
        (Urgency::Ticket, true) => 4,
        (Urgency::Ticket, false) => 6,
    };
    rank + u8::from(in_summary)
}

/// Whether this is the first that a receiver hears of an incident.
pub fn opens(reason: Reason) -> bool {
    matches!(reason, Reason::Opened | Reason::Blind)
}

impl Queue {
    pub fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub fn front_mut(&mut self) -> Option<&mut Item> {
        self.items.front_mut()
    }

    pub fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    pub fn items(&self) -> &VecDeque<Item> {
        &self.items
    }

    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.items.iter_mut()
    }

    pub fn into_items(self) -> VecDeque<Item> {
        self.items
    }

    pub fn push(&mut self, item: Item) {
        self.items.push_back(item);
    }

    /// Leaves of what waits only what brings the receiver from what it knows to what is so now. `keeps_alerts`: see
    /// [`crate::engine::ReceiverSpec`].
    /// Returns how many notifications gave way.
    pub fn coalesce(&mut self, keeps_alerts: bool) -> u64 {
        let under_way = usize::from(self.front().is_some_and(|item| item.in_flight));
        let waiting = self.items.len() - under_way;
        if waiting < 2 || self.items.iter().any(|item| item.notification.digest.is_some()) {
            return 0;
        }
        let mut news = self.items.split_off(under_way);
        let (first, mut last) = match (news.pop_front(), news.pop_back()) {
            (Some(first), Some(last)) => (first, last),
            _ => return 0,
        };
        last.since = last.since.min(first.since);
        // What is under way will be known once it has arrived; should it be refused, all this is looked at anew.
        let told = self.front().is_some_and(|item| item.notification.reason != Reason::Resolved);
        let known = told || !opens(first.notification.reason);
        let over = last.notification.reason == Reason::Resolved;
        if over {
            match (known, keeps_alerts) {
                // Whoever stands in for another receiver hears the end in its stead as well as its own.
                (true, _) if first.is_end() && first.refusals != last.refusals => self.items.extend([first, last]),
                // An end is an end: one that was tried goes on being tried under its own id.
                (true, true) if first.is_end() => self.items.push_back(first),
                (true, _) => self.items.push_back(last),
                // A resolve never goes before its trigger.
                (false, _) => self.items.extend([first, last]),
            }
        } else if known {
            // An end between must be told for what began anew to be new.
            news.push_front(first);
            let end = news.iter().rposition(|item| item.notification.reason == Reason::Resolved);
            let escalated = news.iter().any(|item| item.notification.reason == Reason::Escalated);
            if let Some(end) = end.and_then(|end| news.remove(end)) {
                let other = news.iter().rposition(|item| item.is_end() && item.refusals != end.refusals);
                self.items.extend(other.and_then(|other| news.remove(other)));
                self.items.push_back(end);
                last.become_reason(Reason::Opened);
            } else if escalated {
                last.become_reason(Reason::Escalated);
            }
            self.items.push_back(last);
        } else {
            last.become_reason(first.notification.reason);
            last.maybe_taken |= first.maybe_taken;
            self.items.push_back(last);
        }
        (under_way + waiting - self.items.len()) as u64
    }
}

impl Item {
    pub fn become_reason(&mut self, reason: Reason) {
        // The source's own incident is told of by another word.
        let keeps = opens(self.notification.reason) && opens(reason);
        if self.notification.reason != reason && !keeps {
            Arc::make_mut(&mut self.notification).reason = reason;
        }
    }
}
