//! Receivers in virtual time that enforce their limits, fail as they are told to, and judge what they hear.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use slowburn::engine::Outcome;
use slowburn::engine::notification::{Notification, Reason};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::notify::{self, retry_after};

use crate::history::Random;

/// What one of them takes of many, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 120 events a minute.
    PagerDuty,
    /// A message a second.
    Slack,
    Webhook,
}

/// The forms of `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Seconds(i64),
    /// So many seconds from the answer, as a date.
    Date(i64),
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// Nobody listens.
    Down,
    /// It reads and never answers.
    Hangs,
    /// It takes what it reads, and this share of its answers gets lost.
    Cuts(f64),
    /// It wants none of it.
    Refuses,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub at: Timestamp,
    pub answered_at: Timestamp,
    pub said: Option<Said>,
}

/// What a receiver knows of a notification it accepted.
#[derive(Debug, Clone)]
pub struct Heard {
    pub first_at: Timestamp,
    pub reason: Reason,
    pub incident: String,
    pub times: u32,
    /// Answers that never reached the daemon.
    pub unheard_answers: u32,
}

pub struct Receiver {
    pub name: String,
    kind: Kind,
    pub troubles: Vec<(Range<Timestamp>, Trouble)>,
    /// The next requests are answered with 429 and this.
    pub busy: VecDeque<Said>,
    pub requests: Vec<Request>,
    /// By id.
    pub heard: BTreeMap<String, Heard>,
    /// In the order of their coming, ids once each.
    pub order: Vec<String>,
    /// Which incidents it takes to be open.
    pub open: BTreeMap<String, bool>,
    /// When it accepted something, of late.
    accepted: VecDeque<Timestamp>,
    /// Requests beyond its limit.
    pub over_limit: u64,
    /// What must never happen, and did.
    pub wrongs: Vec<String>,
}

impl Receiver {
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            troubles: Vec::new(),
            busy: VecDeque::new(),
            requests: Vec::new(),
            heard: BTreeMap::new(),
            order: Vec::new(),
            open: BTreeMap::new(),
            accepted: VecDeque::new(),
            over_limit: 0,
            wrongs: Vec::new(),
        }
    }

    /// Takes a request at `now`. Returns when its answer comes and what the daemon makes of it.
    pub fn take(&mut self, now: Timestamp, notification: &Notification, random: &mut Random) -> (Timestamp, Outcome) {
        let trouble = self.troubles.iter().find(|(when, _)| when.contains(&now)).map(|(_, trouble)| *trouble);
        let latency = Duration::from_ms(50 + random.below(400) as i64);
        let (mut after, mut said) = (latency, None);
        let unanswered = |why: &str| Outcome::Unanswered { why: why.into() };
        let outcome = match trouble {
            Some(Trouble::Down) => Outcome::Retry { after: None, why: "cannot connect".into() },
            Some(Trouble::Hangs) => {
                after = notify::DEADLINE;
                unanswered("no whole answer")
            }
            Some(Trouble::Refuses) => Outcome::Rejected { why: "answered 404".into() },
            None | Some(Trouble::Cuts(_)) => {
                said = self.busy.pop_front().or_else(|| self.limit(now));
                if let Some(said) = said {
                    let after = said.header(now + latency).and_then(|header| retry_after(&header, now + latency));
                    Outcome::Retry { after, why: "answered 429".into() }
                } else {
                    let cut = matches!(trouble, Some(Trouble::Cuts(share)) if random.unit() <= share);
                    self.accept(now, notification, cut);
                    if cut { unanswered("the exchange broke off") } else { Outcome::Delivered }
                }
            }
        };
        let answered_at = now + after;
        self.requests.push(Request { at: now, answered_at, said });
        (answered_at, outcome)
    }

    /// The daemon came to an end before this one's answer came.
    pub fn answer_was_lost(&mut self, id: &str) {
        if let Some(heard) = self.heard.get_mut(id) {
            heard.unheard_answers += 1;
        }
    }

    /// What it says to a request beyond its limit.
    fn limit(&mut self, now: Timestamp) -> Option<Said> {
        let (most, within, said) = match self.kind {
            Kind::PagerDuty => (120, Duration::from_minutes(1), Said::Nothing),
            Kind::Slack => (1, Duration::from_secs(1), Said::Seconds(1)),
            Kind::Webhook => return None,
        };
        while self.accepted.front().is_some_and(|at| now.since(*at) >= within) {
            self.accepted.pop_front();
        }
        let full = self.accepted.len() >= most;
        self.over_limit += u64::from(full);
        full.then_some(said)
    }

    fn accept(&mut self, now: Timestamp, notification: &Notification, cut: bool) {
        self.accepted.push_back(now);
        let Notification { id, reason, incident, .. } = notification;
        if let Some(heard) = self.heard.get_mut(id) {
            heard.times += 1;
            if heard.times > 1 + heard.unheard_answers {
                self.wrongs.push(format!("{now}: {} was told {id} again though it had answered", self.name));
            }
            heard.unheard_answers += u32::from(cut);
            return;
        }
        self.order.push(id.clone());
        let heard = Heard {
            first_at: now,
            reason: *reason,
            incident: incident.clone(),
            times: 1,
            unheard_answers: u32::from(cut),
        };
        self.heard.insert(id.clone(), heard);
        if let Some(digest) = &notification.digest {
            for entry in &digest.entries {
                self.open.insert(entry.incident.clone(), entry.ended_at.is_none());
            }
            return;
        }
        // What another receiver refused is a story of its own.
        let passed_on = notification.detail.as_ref().is_some_and(|detail| detail.contains("refused this"));
        let incident = if passed_on { format!("{incident}, passed on") } else { incident.clone() };
        let open = self.open.entry(incident.clone()).or_insert(false);
        match reason {
            Reason::Resolved if !*open => {
                self.wrongs.push(format!("{now}: {} heard that {incident} is over, which it never was", self.name));
            }
            Reason::Escalated | Reason::Repeated if !*open => {
                self.wrongs.push(format!("{now}: {} heard {reason:?} of {incident} first", self.name));
            }
            _ => {}
        }
        *open = *reason != Reason::Resolved;
    }
}

impl Said {
    fn header(self, now: Timestamp) -> Option<String> {
        match self {
            Said::Seconds(s) => Some(s.to_string()),
            Said::Date(s) => {
                let at = chrono::DateTime::from_timestamp_millis((now + Duration::from_secs(s)).unix_ms()).unwrap();
                Some(at.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
            }
            Said::Nothing => None,
        }
    }
}
