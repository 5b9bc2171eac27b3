//! How much rules disturb, which needs no known incidents: pages a week and at night, the longest quiet, the noisiest
//! layer and rule, and what was spared.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Timelike as _};
use serde::Serialize;

use crate::engine::alert::AlertRecord;
use crate::engine::rule::Level;
use crate::engine::time::{Duration, Timestamp};
use crate::replay::document::Document;
use crate::zone::Zone;

use super::telling::{PAGE, Telling, Told, by_journey};

const WEEK: Duration = Duration::from_days(7);
/// The first hour of the night, and the first that is none.
const NIGHT: (u32, u32) = (22, 7);

/// See the module's documentation. Pages and tickets are moments, as in a score, however many receivers were told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// Whose night it is.
    pub time_zone: String,
    pub pages: u64,
    /// Warnings among them.
    pub tickets: u64,
    /// `None` for a range without length.
    pub pages_a_week: Option<f64>,
    pub tickets_a_week: Option<f64>,
    /// Pages told from 22:00 to before 07:00, on the clocks of the time zone.
    pub pages_at_night: u64,
    /// The longest stretch of the range in which no page was told, the earliest of equals.
    pub longest_quiet: Quiet,
    /// The one with the most pages, or, of equals, the most tickets; `None` where nothing was told.
    pub noisiest_layer: Option<Noise>,
    pub noisiest_rule: Option<Noise>,
    pub spared: Spared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quiet {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What made some of the pages and tickets: a moment that two layers made counts for both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Noise {
    /// `checkout/database`, `checkout`, or a rule's name.
    pub name: String,
    #[serde(flatten)]
    pub count: Count,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub pages: u64,
    pub tickets: u64,
}

/// What would have been told otherwise, as far as it can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spared {
    /// Alerts that would each have been told by themselves, and joined an incident that stood.
    pub by_incidents: Count,
    /// Times that a rule was over a threshold for fewer evaluations than its `consecutive`. At most so many: some of them
    /// would have been one alert, or would have joined an incident.
    pub by_consecutive_at_most: Count,
    /// Notifications, one a receiver, that silences, maintenance, active hours, and limits on what comes and goes held
    /// back.
    pub notifications: u64,
}

/// Counts what was told; the night is that of `zone`.
pub fn statistics(document: &Document, zone: &Zone) -> Statistics {
    let telling = Telling::of_all(document);
    let length = document.to.since(document.from);
    let a_week = |count: usize| (!length.is_zero()).then(|| count as f64 * WEEK.secs() / length.secs());
    let held = &document.held_back;
    Statistics {
        time_zone: zone.name().to_owned(),
        pages: telling.critical.len() as u64,
        tickets: telling.lesser.len() as u64,
        pages_a_week: a_week(telling.critical.len()),
        tickets_a_week: a_week(telling.lesser.len()),
        pages_at_night: telling.critical.iter().filter(|page| is_night(page.at, zone)).count() as u64,
        longest_quiet: longest_quiet(document, &telling.critical),
        noisiest_layer: noisiest(&telling, |told| {
            let name = |(layer, _): &(Option<String>, String)| match (&told.journey, layer) {
                (Some(journey), Some(layer)) => Some(format!("{journey}/{layer}")),
                (journey, _) => journey.clone(),
            };
            told.raised_by.iter().filter_map(name).collect()
        }),
        noisiest_rule: noisiest(&telling, |told| told.raised_by.iter().map(|(_, rule)| rule.clone()).collect()),
        spared: Spared {
            by_incidents: joined(document, &telling),
            by_consecutive_at_most: Count { pages: held.brief_pages, tickets: held.brief_tickets },
            notifications: held.silenced + held.maintenance + held.inactive_hours + held.flapping,
        },
    }
}

fn is_night(at: Timestamp, zone: &Zone) -> bool {
    let hour = DateTime::from_timestamp_millis(at.unix_ms()).map(|at| at.with_timezone(zone).hour());
    hour.is_some_and(|hour| hour >= NIGHT.0 || hour < NIGHT.1)
}

fn longest_quiet(document: &Document, pages: &[Told]) -> Quiet {
    let pages = pages.iter().map(|page| page.at);
    let moments: Vec<Timestamp> = [document.from].into_iter().chain(pages).chain([document.to]).collect();
    let stretches = moments.windows(2).map(|pair| Quiet { from: pair[0], to: pair[1] });
    // Of equals the last is taken, and the first is wanted.
    let longest = stretches.rev().max_by_key(|quiet| quiet.to.since(quiet.from));
    longest.unwrap_or(Quiet { from: document.from, to: document.to })
}

fn noisiest(telling: &Telling, names: impl Fn(&Told) -> BTreeSet<String>) -> Option<Noise> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for page in &telling.critical {
        names(page).into_iter().for_each(|name| counts.entry(name).or_default().pages += 1);
    }
    for ticket in &telling.lesser {
        names(ticket).into_iter().for_each(|name| counts.entry(name).or_default().tickets += 1);
    }
    let most = counts.into_iter().rev().max_by_key(|(_, count)| (count.pages, count.tickets));
    most.map(|(name, count)| Noise { name, count })
}

/// Alerts that came to a level while something of their journey stood that had been told, less those that told it.
fn joined(document: &Document, telling: &Telling) -> Count {
    let mut told: BTreeMap<&str, [Vec<&Told>; 2]> = BTreeMap::new();
    for (index, list) in [&telling.critical, &telling.lesser].into_iter().enumerate() {
        for moment in list {
            if let Some(journey) = &moment.journey {
                told.entry(journey).or_default()[index].push(moment);
            }
        }
    }
    let mut count = Count::default();
    for (journey, alerts) in by_journey(&document.alerts) {
        let Some([pages, tickets]) = told.get(journey) else { continue };
        let rises = rises(&alerts);
        let (page_rises, ticket_rises): (Vec<_>, Vec<_>) = rises.into_iter().partition(|(_, level)| *level == PAGE);
        let stand = |at: Timestamp, list: &[&Told]| list.iter().any(|told| told.stands_at(at));
        let covered_pages = page_rises.iter().filter(|(at, _)| stand(*at, pages)).count();
        let covered_tickets = ticket_rises.iter().filter(|(at, _)| stand(*at, pages) || stand(*at, tickets)).count();
        let made = |list: &[&Told], rises: &[(Timestamp, Level)]| {
            list.iter().filter(|told| rises.iter().any(|(at, _)| *at == told.at)).count()
        };
        count.pages += covered_pages.saturating_sub(made(pages, &page_rises)) as u64;
        count.tickets += covered_tickets.saturating_sub(made(tickets, &ticket_rises)) as u64;
    }
    count
}

/// Each moment at which one alert rose: began, or went to a worse stage.
fn rises(alerts: &[&AlertRecord]) -> Vec<(Timestamp, Level)> {
    let whose = |alert: &AlertRecord| (alert.layer.clone(), alert.labels.clone(), alert.rule.clone());
    let mut alerts = alerts.to_vec();
    alerts.sort_by_cached_key(|alert| (whose(alert), alert.fired_at));
    let rises = alerts.iter().enumerate().filter(|(index, alert)| {
        let before = index.checked_sub(1).map(|before| alerts[before]);
        let before = before.filter(|before| before.ended_at == Some(alert.fired_at) && whose(before) == whose(alert));
        before.is_none_or(|before| before.stage < alert.stage)
    });
    rises.map(|(_, alert)| (alert.fired_at, (alert.stage, alert.urgency))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nights_are_those_of_the_time_zone() {
        let check = |text: &str, zone: &str, night: bool| {
            let zone = &Zone::named(zone).expect("a time zone");
            let at: Timestamp = text.parse().expect("a time");
            assert_eq!(is_night(at, zone), night, "{text} in {zone}");
        };
        check("2026-03-01T21:59:30Z", "UTC", false);
        check("2026-03-01T22:00:00Z", "UTC", true);
        check("2026-03-01T06:59:30Z", "UTC", true);
        check("2026-03-01T07:00:00Z", "UTC", false);
        // An hour earlier there, and in summer two.
        check("2026-03-01T21:00:00Z", "Europe/Berlin", true);
        check("2026-07-01T20:00:00Z", "Europe/Berlin", true);
        check("2026-07-01T05:00:00Z", "Europe/Berlin", false);
    }
}
