//! Many incidents in one message: how they are ordered, counted and named. It never decides what goes into one.

use std::cmp::Reverse;
use std::fmt::Write as _;

use super::histogram::Labels;
use super::notification::{Digest, DigestEntry, DigestKind, Notification, Reason};
use super::rule::{Stage, Urgency};
use super::time::Timestamp;

/// More incidents than this are not told in one message: each is a line, and 100 lines fit into one of Slack's.
pub const MAX_DIGEST_ENTRIES: usize = 100;

/// Where an entry stands in a digest.
pub type Rank = (bool, Reverse<Urgency>, Reverse<Stage>, Timestamp);

impl Digest {
    /// Puts the worst first and counts what does not fit. `open` is how many incidents stand of all that the receiver
    /// knows of by digests only.
    pub fn new(kind: DigestKind, mut entries: Vec<DigestEntry>, open: u64) -> Self {
        entries.sort_by(|a, b| a.rank().cmp(&b.rank()).then_with(|| a.incident.cmp(&b.incident)));
        let left_out = entries.len().saturating_sub(MAX_DIGEST_ENTRIES);
        entries.truncate(MAX_DIGEST_ENTRIES);
        Self { kind, entries, left_out: left_out as u64, open }
    }

    /// What its entries are: a scheduled digest tells of alerts, one by one.
    pub fn noun(&self) -> &'static str {
        match self.kind {
            DigestKind::Flood => "incident",
            DigestKind::Scheduled { .. } => "alert",
        }
    }

    /// `37 incidents opened, 4 resolved`.
    pub fn in_words(&self) -> String {
        let noun = self.noun();
        let mut counts = [("opened", 0), ("escalated", 0), ("still open", 0), ("resolved", 0)];
        for entry in &self.entries {
            counts[match (entry.ended_at, entry.reason) {
                (Some(_), _) | (None, Reason::Resolved) => 3,
                (None, Reason::Repeated) => 2,
                (None, Reason::Escalated) => 1,
                (None, Reason::Opened | Reason::Blind | Reason::Digest | Reason::Test) => 0,
            }]
            .1 += 1;
        }
        let mut words = String::new();
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let _ = match (words.is_empty(), count) {
                (true, 1) => write!(words, "1 {noun} {what}"),
                (true, _) => write!(words, "{count} {noun}s {what}"),
                (false, _) => write!(words, ", {count} {what}"),
            };
        }
        match self.left_out {
            0 if words.is_empty() => format!("no {noun}s"),
            0 => words,
            more => format!("{words}, and {more} more"),
        }
    }

    /// The message that tells it: as bad as the worst of what stands, or else of what stood. `incident` is the key it
    /// goes by.
    pub fn into_notification(self, id: String, at: Timestamp, receiver: usize, incident: String) -> Notification {
        let level = self.entries.first().map(|worst| (worst.stage, worst.urgency));
        let (stage, urgency) = level.unwrap_or((Stage::Warning, Urgency::Ticket));
        let mut notification = Notification {
            id,
            at,
            receiver,
            reason: Reason::Digest,
            incident,
            journey: None,
            owner: None,
            runbook: None,
            group: Labels::new(),
            stage,
            urgency,
            opened_at: self.entries.iter().map(|entry| entry.began_at).min().unwrap_or(at),
            resolved_at: None,
            alerts: Vec::new(),
            detail: None,
            digest: Some(self),
            summary: String::new(),
        };
        notification.summarize();
        notification
    }
}

impl Notification {
    /// Whether what goes by this incident's key is over for the receiver with this. A scheduled digest is never: it is
    /// there to be read.
    pub fn is_over(&self) -> bool {
        match &self.digest {
            Some(digest) => digest.kind == DigestKind::Flood && digest.open == 0,
            None => self.reason == Reason::Resolved,
        }
    }
}

impl DigestEntry {
    /// What a notification of one incident says.
    pub fn of(notification: &Notification) -> Self {
        let summary = notification.summary.strip_suffix(&notification.level_in_brackets());
        Self {
            incident: notification.incident.clone(),
            journey: notification.journey.clone(),
            at: notification.at,
            reason: notification.reason,
            stage: notification.stage,
            urgency: notification.urgency,
            summary: summary.unwrap_or(&notification.summary).to_owned(),
            began_at: notification.opened_at,
            ended_at: notification.resolved_at,
            held: false,
        }
    }

    /// Orders the worst first: what stands before what is over, pages before tickets, the oldest first among equals.
    pub fn rank(&self) -> Rank {
        (self.ended_at.is_some(), Reverse(self.urgency), Reverse(self.stage), self.began_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_s(1_772_366_400);

    fn entry(number: usize, reason: Reason, urgency: Urgency) -> DigestEntry {
        DigestEntry {
            incident: format!("journey-{number}"),
            journey: None,
            at: START,
            reason,
            stage: Stage::Critical,
            urgency,
            summary: String::new(),
            began_at: START,
            ended_at: (reason == Reason::Resolved).then_some(START),
            held: false,
        }
    }

    #[test]
    fn the_worst_stands_first_and_everything_is_counted() {
        let check = |news: &[(usize, Reason)], words: &str| {
            let all = news.iter().flat_map(|(n, reason)| (0..*n).map(|number| entry(number, *reason, Urgency::Page)));
            assert_eq!(Digest::new(DigestKind::Flood, all.collect(), 0).in_words(), words);
        };
        use Reason::{Escalated, Opened, Repeated, Resolved};
        check(&[], "no incidents");
        check(&[(1, Opened)], "1 incident opened");
        check(&[(4, Resolved), (37, Opened)], "37 incidents opened, 4 resolved");
        check(&[(1, Resolved), (2, Escalated), (3, Repeated)], "2 incidents escalated, 3 still open, 1 resolved");
        check(&[(120, Opened), (5, Resolved)], "100 incidents opened, and 25 more");
        let entries =
            vec![entry(0, Opened, Urgency::Ticket), entry(1, Resolved, Urgency::Page), entry(2, Opened, Urgency::Page)];
        let digest = Digest::new(DigestKind::Scheduled { name: "daily".into() }, entries, 2);
        let order: Vec<&str> = digest.entries.iter().map(|entry| entry.incident.as_str()).collect();
        assert_eq!(order, ["journey-2", "journey-0", "journey-1"]);
        let told = digest.into_notification("sb-1".into(), START, 0, "slowburn:daily".into());
        assert_eq!(told.summary, "daily: 2 alerts opened, 1 resolved [critical page]");
    }
}
