//! More incidents than a receiver takes one by one: their newest states, told in summaries of many. It never decides
//! that there are too many.
//!
//! An incident that was told in summaries only stays with them until it is over, or leaves them to be told by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::engine::digest::{MAX_DIGEST_ENTRIES, Rank};
use crate::engine::notification::{Digest, DigestEntry, DigestKind, Notification, Reason};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::stable_hash;
use crate::engine::time::Timestamp;

use super::queue::{Item, opens, rank};

/// Incidents that summaries know of, told or to be told. About 40 MB; what comes beyond them is a dead letter.
pub const MAX_SUMMARISED: usize = 100_000;

/// The state of an incident that the next summaries are to tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Untold {
    pub entry: DigestEntry,
    /// When the oldest news in it was decided.
    pub since: Timestamp,
    /// Whether the receiver may know by other ways than the summaries to come that the incident began.
    pub known: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Flood {
    untold: BTreeMap<String, Untold>,
    /// The incidents of those, the worst first.
    order: BTreeSet<(Rank, String)>,
    /// Incidents that stand and were told in summaries only, with the level that was told.
    told: BTreeMap<String, (Urgency, Stage)>,
    /// What the summary under way says.
    under_way: BTreeMap<String, DigestEntry>,
    /// Of those, the ones that are told by themselves from now on.
    left: BTreeSet<String>,
    /// Whether a receiver that keeps alerts keeps one for the summaries.
    is_open: bool,
}

impl Flood {
    /// Whether summaries tell of this incident.
    pub fn tells_of(&self, incident: &str) -> bool {
        let open_under_way = || self.under_way.get(incident).is_some_and(|entry| entry.ended_at.is_none());
        self.untold.contains_key(incident)
            || self.told.contains_key(incident)
            || open_under_way() && !self.left.contains(incident)
    }

    /// Whether news of this incident must wait for the summary under way, which names it.
    pub fn is_under_way(&self, incident: &str) -> bool {
        self.under_way.contains_key(incident)
    }

    /// Whether this is so much worse than what summaries said that it is to be told by itself.
    pub fn is_beyond(&self, notification: &Notification) -> bool {
        let incident = &notification.incident;
        let worst = (Urgency::Page, Stage::Critical);
        let entries = [self.under_way.get(incident), self.untold.get(incident).map(|untold| &untold.entry)];
        let standing = entries.into_iter().flatten().filter(|entry| entry.ended_at.is_none());
        let known = standing.map(|entry| (entry.urgency, entry.stage)).chain(self.told.get(incident).copied()).max();
        notification.reason != Reason::Resolved
            && (notification.urgency, notification.stage) == worst
            && known.is_none_or(|known| known < worst)
    }

    /// The incident is told by itself from here on. Returns whether the receiver may know of it.
    pub fn leave(&mut self, incident: &str) -> bool {
        let untold = self.remove(incident);
        let known = self.is_known(incident) || untold.is_some_and(|untold| untold.known);
        self.told.remove(incident);
        if self.under_way.contains_key(incident) {
            self.left.insert(incident.to_owned());
        }
        known
    }

    /// Takes the newest state of an incident in. Returns how many were superseded by it, and the item itself where a
    /// receiver that keeps alerts never needs to hear of it: it came and went untold.
    pub fn take(&mut self, item: Item, keeps_alerts: bool) -> (u64, Option<Item>) {
        let incident = item.notification.incident.clone();
        let known = item.maybe_taken || !opens(item.notification.reason);
        let mut untold = Untold { entry: DigestEntry::of(&item.notification), since: item.since, known };
        let over = untold.entry.ended_at.is_some();
        let before = self.remove(&incident);
        let superseded = u64::from(before.is_some());
        let was_opening = before.as_ref().is_some_and(|before| opens(before.entry.reason));
        if over && keeps_alerts && was_opening && !self.is_known(&incident) {
            return (superseded, Some(item));
        }
        if let Some(before) = before {
            untold.since = before.since.min(untold.since);
            untold.known = before.known || item.maybe_taken;
        }
        if was_opening && !over {
            untold.entry.reason = Reason::Opened;
        }
        self.insert(incident, untold);
        (superseded, None)
    }

    fn insert(&mut self, incident: String, untold: Untold) {
        self.order.insert((untold.entry.rank(), incident.clone()));
        self.untold.insert(incident, untold);
    }

    fn remove(&mut self, incident: &str) -> Option<Untold> {
        let untold = self.untold.remove(incident)?;
        self.order.remove(&(untold.entry.rank(), incident.to_owned()));
        Some(untold)
    }

    fn is_known(&self, incident: &str) -> bool {
        self.told.contains_key(incident) || self.under_way.contains_key(incident)
    }

    /// The rank and age of the next summary, if one is to be told once that under way has ended.
    pub fn next(&self, keeps_alerts: bool) -> Option<(u8, Timestamp)> {
        let ranked =
            |untold: &Untold| (rank(untold.entry.urgency, untold.entry.ended_at.is_none(), true), untold.since);
        let closes =
            || (keeps_alerts && self.is_open && self.told.is_empty()).then_some((LAST, Timestamp::from_unix_ms(0)));
        let worst = self.order.first().and_then(|(_, incident)| self.untold.get(incident));
        worst.map(ranked).or_else(closes)
    }

    /// The next summary: the worst that is untold. Where a receiver that keeps alerts has only ends to hear of, one
    /// says it all.
    pub fn summarise(&mut self, now: Timestamp, (index, name): (usize, &str), keeps_alerts: bool) -> Item {
        let open = self.open();
        let most = if keeps_alerts && open == 0 { self.untold.len() } else { MAX_DIGEST_ENTRIES };
        let chosen: Vec<String> = self.order.iter().take(most).map(|(_, incident)| incident.clone()).collect();
        let chosen: Vec<Untold> = chosen.iter().filter_map(|incident| self.remove(incident)).collect();
        let since = chosen.iter().map(|untold| untold.since).min().unwrap_or(now);
        let entries: Vec<DigestEntry> = chosen.into_iter().map(|untold| untold.entry).collect();
        self.under_way = entries.iter().map(|entry| (entry.incident.clone(), entry.clone())).collect();
        self.left.clear();
        let digest = Digest::new(DigestKind::Flood, entries, open);
        let told = digest.into_notification(id(now, name, &self.under_way), now, index, key(name));
        Item { since, ..Item::new(now, told) }
    }

    /// The summary under way has ended. Returns the incidents that it was about.
    pub fn settle(&mut self, told: &Digest, keeps_alerts: bool) -> BTreeSet<String> {
        self.is_open = keeps_alerts && told.open > 0;
        let mut changed = BTreeSet::new();
        let named = std::mem::take(&mut self.under_way);
        for (incident, entry) in &named {
            if self.left.contains(incident) || entry.ended_at.is_some() {
                self.told.remove(incident);
            } else {
                self.told.insert(incident.clone(), (entry.urgency, entry.stage));
            }
        }
        self.left.clear();
        if keeps_alerts && told.open == 0 {
            // One end was for all, those included that there was no room to name.
            changed.extend(std::mem::take(&mut self.told).into_keys());
        }
        changed.extend(named.into_keys());
        changed
    }

    /// Incidents that stand and that summaries tell of.
    pub fn open(&self) -> u64 {
        let stands = |entry: &DigestEntry| entry.ended_at.is_none();
        let untold = self.untold.values().filter(|untold| stands(&untold.entry)).count();
        let newer = |incident: &String| self.untold.contains_key(incident);
        let under_way = self.under_way.iter();
        let under_way = under_way.filter(|(at, entry)| stands(entry) && !newer(at) && !self.left.contains(*at)).count();
        let told = self.told.keys().filter(|at| !newer(at) && !self.under_way.contains_key(*at)).count();
        (untold + under_way + told) as u64
    }

    /// Incidents whose newest state waits to be told.
    pub fn untold(&self) -> usize {
        self.untold.len()
    }

    pub fn untold_of(&self, incident: &str) -> Option<&Untold> {
        self.untold.get(incident)
    }

    /// The level that was told of an incident that only summaries tell of.
    pub fn told_of(&self, incident: &str) -> Option<(Urgency, Stage)> {
        self.told.get(incident).copied()
    }

    /// The incidents of the summary under way.
    pub fn named(&self) -> impl Iterator<Item = &String> {
        self.under_way.keys()
    }

    /// All incidents whose state is worth remembering.
    pub fn incidents(&self) -> impl Iterator<Item = &String> {
        self.untold.keys().chain(self.told.keys())
    }

    pub fn is_open(&self) -> bool {
        self.is_open
    }

    pub fn set_open(&mut self, is_open: bool) {
        self.is_open = is_open;
    }

    /// Goes on where another run was.
    pub fn restore(&mut self, incident: &str, untold: Option<Untold>, told: Option<(Urgency, Stage)>) {
        if let Some(untold) = untold {
            self.insert(incident.to_owned(), untold);
        }
        self.told.extend(told.map(|level| (incident.to_owned(), level)));
    }

    /// The same for the summary under way. An incident that waits to be told by itself has left it.
    pub fn restore_under_way(&mut self, digest: &Digest) {
        self.under_way = digest.entries.iter().map(|entry| (entry.incident.clone(), entry.clone())).collect();
    }

    pub fn restore_left(&mut self, incident: &str) {
        if self.under_way.contains_key(incident) {
            self.left.insert(incident.to_owned());
        }
    }

    /// Gives up the least of what waits, if there is too much of it.
    pub fn overflow(&mut self) -> Option<Untold> {
        if self.untold.len() + self.told.len() <= MAX_SUMMARISED {
            return None;
        }
        let (_, least) = self.order.last()?.clone();
        self.remove(&least)
    }
}

/// Of the summary that only says that all is over.
const LAST: u8 = u8::MAX;

/// What stands where an incident's key does, for all summaries of one receiver. No journey can have this name.
pub fn key(receiver: &str) -> String {
    format!("slowburn:flood:{receiver}")
}

/// The same for the same members at the same time.
fn id(now: Timestamp, receiver: &str, members: &BTreeMap<String, DigestEntry>) -> String {
    let at = now.to_string();
    let mut parts = vec!["flood".to_owned(), receiver.to_owned(), at];
    for (incident, entry) in members {
        parts.extend([incident.clone(), entry.reason.as_str().to_owned(), entry.at.to_string()]);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    format!("sb-{:032x}", stable_hash(&parts))
}
