//! Each known incident against what was told, and what that comes to.

use std::cmp::Reverse;

use serde::{Serialize, Serializer};

use crate::engine::time::{Duration, Timestamp};

use super::ledger::Spending;
use super::telling::{Telling, Told};
use super::{Known, LEAD};

/// What rules come to against known incidents. Times are in seconds in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Incidents that a page answers, those early ones among them, ...
    pub detected: u64,
    pub early: u64,
    /// ... and the others that count.
    pub missed: u64,
    /// From the start of each that was detected to the first page that answers it.
    pub delay: Option<Spread<Duration>>,
    /// From the start of each to the first ticket that answers it in the same way.
    pub ticket_delay: Option<Spread<Duration>>,
    /// From the end of each that was detected to the end of the last page that answers it: zero if that was over before.
    /// Pages that stood when the range ended have none.
    pub reset_delay: Option<Spread<Duration>>,
    pub pages: u64,
    /// Warnings among them.
    pub tickets: u64,
    /// Pages that answer no incident.
    pub unexplained_pages: u64,
    /// Share of pages that are explained; `None` without pages.
    pub precision: Option<f64>,
    /// Share of incidents that were detected; `None` without incidents.
    pub recall: Option<f64>,
    /// Share of the period's error budget that went from the start of each to the first page: see
    /// [`super::Ledger`].
    pub budget_before_page: Option<Spread<f64>>,
}

/// The median (of an even number the mean of the middle two) and the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread<T> {
    pub median: T,
    pub worst: T,
}

/// How one incident went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    #[serde(flatten)]
    pub known: Known,
    /// When the first page that answers it did so; its start if that is early.
    pub detected_at: Option<Timestamp>,
    pub early: bool,
    /// When the page that answers it had gone out, if it was about something else then: nobody was paged anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined_page_of: Option<Timestamp>,
    #[serde(rename = "delay_s", serialize_with = "seconds")]
    pub delay: Option<Duration>,
    #[serde(rename = "ticket_delay_s", serialize_with = "seconds")]
    pub ticket_delay: Option<Duration>,
    #[serde(rename = "reset_delay_s", serialize_with = "seconds")]
    pub reset_delay: Option<Duration>,
    /// How many pages answer it.
    pub pages: u64,
    pub budget_before_page: Option<f64>,
    /// It was missed, but a page that had been told then, about something else, stood when it began.
    pub page_stood_since: Option<Timestamp>,
}

/// An incident, and what there is to know of it before any page is looked at.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    pub known: &'a Known,
    /// It lies within the replayed range.
    pub counts: bool,
    /// Those of its journey that began before it and may still show as it begins.
    going_on: Vec<&'a Known>,
    /// The last moment at which a page may be about it.
    until: Timestamp,
}

/// The first page that answers an incident.
struct First {
    at: Timestamp,
    early: bool,
    /// When it went out, if it came to be about the incident only later.
    joined: Option<Timestamp>,
}

/// How a page answers an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Early,
    At(Timestamp),
}

impl<'a> Case<'a> {
    /// `known` is sorted by start.
    pub fn of(known: &[&'a Known], grace: Duration, from: Timestamp, to: Timestamp) -> Vec<Self> {
        let case = |(index, incident): (usize, &&'a Known)| {
            let earlier = known[..index].iter().copied();
            let goes_on = |other: &&Known| other.journey == incident.journey && other.end + grace >= incident.start;
            Case {
                known: incident,
                counts: incident.start >= from && incident.end <= to,
                going_on: earlier.filter(goes_on).collect(),
                until: incident.end + grace,
            }
        };
        known.iter().enumerate().map(case).collect()
    }

    pub fn counting_if(self, condition: bool) -> Self {
        Self { counts: self.counts && condition, ..self }
    }

    fn answer(&self, told: &Told) -> Option<Answer> {
        let since = told.concerns(self.known)?;
        let start = self.known.start;
        if since >= start {
            return (since <= self.until).then_some(Answer::At(since));
        }
        // Or it was told early, or of one that goes on.
        let is_of = |known: &Known| told.concerns(known).is_some_and(|since| since + LEAD >= known.start);
        let is_near = is_of(self.known) || self.going_on.iter().any(|other| is_of(other));
        (is_near && told.stands_at(start)).then_some(Answer::Early)
    }

    /// The first of these that answers it; of several at one moment one that went out then.
    fn first_answer<'t>(&self, told: impl Iterator<Item = &'t Told>) -> Option<First> {
        let moments = told.filter_map(|told| match self.answer(told)? {
            Answer::Early => Some((self.known.start, false, Reverse(told.at))),
            Answer::At(at) => Some((at, true, Reverse(told.at))),
        });
        let (at, within, Reverse(told_at)) = moments.min()?;
        Some(First { at, early: !within, joined: (within && told_at < at).then_some(told_at) })
    }
}

pub fn explained(page: &Told, cases: &[Case<'_>]) -> bool {
    cases.iter().any(|case| case.answer(page).is_some())
}

impl Outcome {
    pub fn of(case: &Case<'_>, telling: &Telling, spending: &Spending) -> Self {
        let known = case.known;
        let detected = case.first_answer(telling.critical.iter());
        let tickets = telling.lesser.iter().chain(telling.critical.iter().filter(|_| !telling.pages));
        let ticket = case.first_answer(tickets);
        let answering: Vec<&Told> = telling.critical.iter().filter(|told| case.answer(told).is_some()).collect();
        let over = answering.iter().max_by_key(|told| told.at).and_then(|told| told.until);
        let stood = telling
            .critical
            .iter()
            .rfind(|told| told.concerns(known).is_some_and(|since| since < known.start) && told.stands_at(known.start));
        Outcome {
            known: known.clone(),
            detected_at: detected.as_ref().map(|first| first.at),
            early: detected.as_ref().is_some_and(|first| first.early),
            joined_page_of: detected.as_ref().and_then(|first| first.joined),
            delay: detected.as_ref().map(|first| first.at.since(known.start)),
            ticket_delay: ticket.map(|first| first.at.since(known.start)),
            reset_delay: over.map(|over| over.since(known.end)),
            pages: answering.len() as u64,
            page_stood_since: stood.filter(|_| detected.is_none()).map(|told| told.at),
            budget_before_page: detected
                .and_then(|first| if first.early { Some(0.0) } else { spending.at(known, first.at) }),
        }
    }
}

/// The figures of what was told over the cases that count.
pub fn judge(cases: &[Case<'_>], telling: &Telling, spending: &Spending) -> Figures {
    let counting = cases.iter().filter(|case| case.counts);
    let outcomes: Vec<Outcome> = counting.map(|case| Outcome::of(case, telling, spending)).collect();
    let detected = outcomes.iter().filter(|outcome| outcome.detected_at.is_some()).count();
    let critical = telling.critical.len();
    let (pages, tickets) =
        if telling.pages { (critical, telling.lesser.len()) } else { (0, telling.lesser.len() + critical) };
    let unexplained = telling.critical.iter().filter(|page| telling.pages && !explained(page, cases)).count();
    Figures {
        detected: detected as u64,
        early: outcomes.iter().filter(|outcome| outcome.early).count() as u64,
        missed: (outcomes.len() - detected) as u64,
        delay: Spread::of_durations(outcomes.iter().filter_map(|outcome| outcome.delay)),
        ticket_delay: Spread::of_durations(outcomes.iter().filter_map(|outcome| outcome.ticket_delay)),
        reset_delay: Spread::of_durations(outcomes.iter().filter_map(|outcome| outcome.reset_delay)),
        pages: pages as u64,
        tickets: tickets as u64,
        unexplained_pages: unexplained as u64,
        precision: share(pages - unexplained, pages),
        recall: share(detected, outcomes.len()),
        budget_before_page: Spread::of_shares(outcomes.iter().filter_map(|outcome| outcome.budget_before_page)),
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Spread<Duration> {
    pub fn of_durations(all: impl Iterator<Item = Duration>) -> Option<Self> {
        let mut all: Vec<Duration> = all.collect();
        all.sort();
        let (worst, middle) = (*all.last()?, all.len() / 2);
        let median = if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]).times(0.5) };
        Some(Self { median, worst })
    }
}

impl Spread<f64> {
    pub fn of_shares(all: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = all.collect();
        all.sort_by(f64::total_cmp);
        let (worst, middle) = (*all.last()?, all.len() / 2);
        let median = if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]) / 2.0 };
        Some(Self { median, worst })
    }
}

#[derive(Serialize)]
struct Seconds {
    median_s: f64,
    worst_s: f64,
}

#[derive(Serialize)]
struct Shares {
    median: f64,
    worst: f64,
}

impl Serialize for Spread<Duration> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Seconds { median_s: self.median.secs(), worst_s: self.worst.secs() }.serialize(serializer)
    }
}

impl Serialize for Spread<f64> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shares { median: self.median, worst: self.worst }.serialize(serializer)
    }
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(Duration::secs).serialize(serializer)
}
