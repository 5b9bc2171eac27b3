//! Scores of documents that are written by hand, or at random: each term by itself.

use proptest::prelude::*;
use slowburn::engine::alert::AlertRecord;
use slowburn::engine::histogram::Labels;
use slowburn::engine::notification::{HeldBack, Reason};
use slowburn::engine::rule::{Stage, Urgency};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::replay::Document;
use slowburn::replay::document::{AlertName, IncidentSummary, NotificationSummary, RuleName, SloSummary};
use slowburn::replay::score::{Known, Score, score, statistics};
use slowburn::zone::Zone;

use super::known;

const BEGINS_S: i64 = 1_772_409_600;
/// A Monday's first minute, UTC.
pub const BEGINS: Timestamp = Timestamp::from_unix_s(BEGINS_S);
const WEEK: Duration = Duration::from_days(7);

/// An alert of the rule `spike`, told to two receivers from its first minute to its last.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub layer: &'static str,
    pub from: i64,
    pub to: Option<i64>,
    pub urgency: Urgency,
    /// Told by itself, or joining what stands.
    pub told: bool,
}

pub fn page(layer: &'static str, from: i64, to: i64) -> Page {
    Page { layer, from, to: Some(to), urgency: Urgency::Page, told: true }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_unix_s(BEGINS_S + 60 * minute)
}

/// A day of a checkout with these pages and tickets.
pub fn document(pages: &[Page], begins: Timestamp) -> Document {
    let at = |minute: i64| begins + Duration::from_minutes(minute);
    let rule = |urgency| if urgency == Urgency::Page { "spike" } else { "drain" };
    let alert = |page: &Page| AlertRecord {
        journey: "checkout".into(),
        layer: Some(page.layer.into()),
        labels: Labels::new(),
        rule: rule(page.urgency).into(),
        urgency: page.urgency,
        stage: Stage::Critical,
        breached_at: at(page.from),
        fired_at: at(page.from),
        ended_at: page.to.map(at),
        peak_usage: 1.0,
        evaluations: 1,
    };
    let mut alerts: Vec<AlertRecord> = pages.iter().map(alert).collect();
    alerts.sort_by_key(|alert| alert.fired_at);
    let tell = |page: &Page, minute: i64, reason: Reason| {
        let name = AlertName {
            layer: Some(page.layer.into()),
            labels: Labels::new(),
            rule: rule(page.urgency).into(),
            urgency: page.urgency,
            stage: Stage::Critical,
            fired_at: at(page.from),
        };
        ["oncall", "team"].map(|receiver| NotificationSummary {
            at: at(minute),
            receiver: receiver.into(),
            reason,
            // Each is an incident of its own, as where incidents are grouped by layer.
            incident: format!("checkout {}", page.layer),
            stage: Stage::Critical,
            urgency: page.urgency,
            summary: format!("checkout/{}", page.layer),
            alerts: vec![name.clone()],
        })
    };
    let told = pages.iter().filter(|page| page.told).flat_map(|page| {
        let over = page.to.map(|to| tell(page, to, Reason::Resolved));
        tell(page, page.from, Reason::Opened).into_iter().chain(over.into_iter().flatten())
    });
    let mut notifications: Vec<NotificationSummary> = told.collect();
    // What is over goes out before what begins.
    notifications.sort_by_key(|told| (told.at, told.reason != Reason::Resolved));
    let incidents = pages.iter().map(|page| IncidentSummary {
        key: format!("checkout {}", page.layer),
        journey: Some("checkout".into()),
        opened_at: at(page.from),
        resolved_at: page.to.map(at),
        worst_stage: Stage::Critical,
        alerts: 1,
    });
    let slo = |layer: &str| SloSummary {
        journey: "checkout".into(),
        layer: Some(layer.into()),
        labels: Labels::new(),
        objective_ppm: 990_000,
        budget_ms: 10.0,
        events: 1000,
        bad_events: 1,
        budget_consumed: 0.1,
        rules: vec![
            RuleName { name: "drain".into(), urgency: Urgency::Ticket },
            RuleName { name: "spike".into(), urgency: Urgency::Page },
        ],
        seen_slots: 2880,
    };
    Document {
        version: 1,
        from: begins,
        to: begins + Duration::from_days(1),
        interval_s: 30.0,
        evaluations: 2880,
        has_counted: true,
        unseen: Vec::new(),
        slos: vec![slo("edge"), slo("database")],
        alerts,
        incidents: incidents.collect(),
        notifications,
        held_back: HeldBack::default(),
        maintenance: Vec::new(),
        missed: Default::default(),
        statistics: None,
        score: None,
        spending: Default::default(),
    }
}

fn incident(layer: Option<&str>, from: i64, to: i64) -> Known {
    known("checkout", layer, at(from), at(to))
}

fn scored(pages: &[Page], incidents: &[Known]) -> Score {
    score(&document(pages, at(0)), incidents)
}

/// One incident's delay in minutes, whether it was early, and since when something else stood.
#[track_caller]
fn check(pages: &[Page], incidents: &[Known], delay: Option<i64>, early: bool, stood: Option<i64>) {
    let score = scored(pages, incidents);
    let last = score.incidents.last().expect("an incident that counts");
    let found = (last.delay, last.early, last.page_stood_since);
    assert_eq!(found, (delay.map(Duration::from_minutes), early, stood.map(at)), "{score:#?}");
}

#[test]
fn what_answers_an_incident() {
    let sixty = |layer| incident(layer, 600, 660);
    let edge = |from, to| [page("edge", from, to)];
    check(&edge(605, 700), &[sixty(None)], Some(5), false, None);
    check(&edge(600, 700), &[sixty(None)], Some(0), false, None);
    // Windows look back: half an hour and two slots.
    check(&edge(691, 700), &[sixty(None)], Some(91), false, None);
    check(&edge(692, 700), &[sixty(None)], None, false, None);
    // Early: a quarter of an hour, if it still stands.
    check(&edge(585, 601), &[sixty(None)], Some(0), true, None);
    check(&edge(585, 600), &[sixty(None)], None, false, None);
    check(&edge(584, 700), &[sixty(None)], None, false, Some(584));
    // The first of two counts.
    check(&[page("edge", 605, 610), page("database", 603, 604)], &[sixty(None)], Some(3), false, None);
    // A layer is found by its own alerts.
    check(&edge(605, 700), &[sixty(Some("edge"))], Some(5), false, None);
    check(&edge(605, 700), &[sixty(Some("database"))], None, false, None);
    let joins = |from, to| [page("edge", 605, 700), Page { told: false, ..page("database", from, to) }];
    check(&joins(620, 630), &[sixty(Some("database"))], Some(20), false, None);
    // One that stood before nobody was told of it, and one that is over, are no news at the time of the page.
    check(&joins(590, 630), &[sixty(Some("database"))], Some(5), false, None);
    check(&joins(590, 604), &[sixty(Some("database"))], None, false, None);
    // A page of an incident that goes on is there when the next begins.
    let before = incident(None, 500, 590);
    check(&edge(505, 700), &[before.clone(), sixty(None)], Some(0), true, None);
    check(&edge(505, 599), &[before.clone(), sixty(None)], None, false, None);
    let long_over = incident(None, 400, 450);
    check(&edge(405, 700), &[long_over, sixty(None)], None, false, Some(405));
    // Another journey's is another matter.
    let elsewhere = Known { journey: "search".into(), ..sixty(None) };
    check(&edge(605, 700), &[elsewhere], None, false, None);
}

#[test]
fn a_page_that_was_joined_went_out_before() {
    let check = |incident: Known, pages: &[Page], joined: Option<i64>| {
        let score = scored(pages, &[incident]);
        assert_eq!(score.incidents[0].joined_page_of, joined.map(at), "{score:#?}");
        let text = score.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(text.contains("joined the page of 2026-03-02 10:05 UTC after 20m"), joined.is_some(), "{text}");
    };
    let database = || incident(Some("database"), 600, 660);
    let joins = [page("edge", 605, 700), Page { told: false, ..page("database", 620, 630) }];
    check(database(), &joins, Some(605));
    check(database(), &[page("edge", 605, 700), page("database", 620, 630)], None);
    check(incident(None, 600, 660), &joins, None);
    // It was there early, whatever it was about at first.
    check(database(), &[page("database", 590, 630)], None);
}

#[test]
fn figures_add_up() {
    let ticket = |from, to| Page { urgency: Urgency::Ticket, ..page("database", from, to) };
    let pages = [
        page("edge", 102, 150),
        page("edge", 210, 300),
        page("edge", 405, 410),
        page("edge", 600, 605),
        ticket(101, 104),
        ticket(800, 810),
    ];
    let incidents = [
        incident(None, 100, 140),
        incident(Some("edge"), 200, 295),
        incident(None, 400, 420),
        incident(None, 1000, 1010),
        // Across the end of the range: it explains, and does not count.
        incident(None, 1430, 1450),
        incident(None, -30, -10),
    ];
    let score = scored(&pages, &incidents);
    let all = &score.overall;
    assert_eq!((all.detected, all.early, all.missed), (3, 0, 1));
    assert_eq!((all.pages, all.tickets, all.unexplained_pages), (4, 2, 1));
    assert_eq!((all.recall, all.precision), (Some(0.75), Some(0.75)));
    let minutes = |spread: Option<slowburn::replay::score::Spread<Duration>>| {
        spread.map(|it| [it.median, it.worst].map(|it| it.secs() / 60.0))
    };
    assert_eq!(minutes(all.delay), Some([5.0, 10.0]));
    assert_eq!(minutes(all.ticket_delay), Some([1.0, 1.0]));
    // The third was over before its incident was.
    assert_eq!(minutes(all.reset_delay), Some([5.0, 10.0]));
    assert_eq!(score.unexplained.iter().map(|page| page.at).collect::<Vec<_>>(), [at(600)]);
    assert_eq!(score.not_counted.len(), 2);
    // The rules: one pages, the other only opens tickets, so that it has no precision.
    let [drain, spike] = &score.rules[..] else { panic!("two rules: {:?}", score.rules) };
    assert_eq!((spike.rule.as_str(), &spike.figures.delay, spike.figures.tickets), ("spike", &all.delay, 0));
    let drain = &drain.figures;
    assert_eq!((drain.detected, drain.missed, drain.pages, drain.tickets, drain.precision), (1, 3, 0, 2, None));
    assert_eq!(minutes(drain.delay), Some([1.0, 1.0]));
}

#[test]
fn noise_is_counted() {
    let pages = [
        page("edge", 60, 90),
        page("edge", 400, 420),
        page("database", 420, 430),
        Page { told: false, ..page("database", 410, 415) },
    ];
    let document = document(&pages, at(0));
    let found = statistics(&document, &Zone::UTC);
    // Midnight is at(0): 01:00 and 06:40 are of the night, 07:00 is not.
    assert_eq!((found.pages, found.tickets, found.pages_at_night, found.pages_a_week), (3, 0, 2, Some(21.0)));
    assert_eq!((found.longest_quiet.from, found.longest_quiet.to), (at(420), at(1440)));
    let names = [found.noisiest_layer, found.noisiest_rule].map(|noise| noise.map(|it| (it.name, it.count.pages)));
    assert_eq!(names, [Some(("checkout/edge".into(), 2)), Some(("spike".into(), 3))]);
    assert_eq!((found.spared.by_incidents.pages, found.spared.by_incidents.tickets), (1, 0));
    let tokyo = Zone::named("Asia/Tokyo").unwrap();
    let quiet = statistics(&super::cases::document(&[], at(0)), &tokyo);
    assert_eq!((quiet.pages_a_week, quiet.noisiest_layer), (Some(0.0), None));
    assert_eq!((quiet.longest_quiet.from, quiet.longest_quiet.to), (at(0), at(1440)));
}

/// Pages that do not overlap, and incidents wherever.
fn any_day() -> impl Strategy<Value = (Vec<Page>, Vec<(i64, i64)>)> {
    let pages = prop::collection::vec((1i64..200, 1i64..100), 0..8).prop_map(|gaps| {
        let mut minute = 0;
        let pages = gaps.into_iter().map(|(gap, length)| {
            let from = minute + gap;
            minute = from + length;
            page("edge", from, minute)
        });
        pages.filter(|page| page.from < 1400).collect()
    });
    (pages, prop::collection::vec((0i64..1200, 1i64..150), 0..8))
}

proptest! {
    /// By the definitions, for incidents that each stand alone.
    #[test]
    fn one_incident_by_the_book((pages, incidents) in any_day()) {
        let Some((from, length)) = incidents.first().copied() else { return Ok(()) };
        let (from, to) = (from, from + length);
        let score = scored(&pages, &[incident(None, from, to)]);
        let within = pages.iter().map(|page| page.from).filter(|at| *at >= from && *at <= to + 31).min();
        let early = pages.iter().any(|page| page.from >= from - 15 && page.from < from && page.to.is_some_and(|to| to > from));
        let expected = if early { Some(0) } else { within.map(|at| at - from) };
        prop_assert_eq!(score.incidents[0].delay, expected.map(Duration::from_minutes));
        let explained = pages.iter().filter(|page| page.from >= from && page.from <= to + 31).count() + usize::from(early);
        prop_assert_eq!(score.overall.unexplained_pages as usize, pages.len() - explained);
    }

    /// What does not depend on the calendar is the same a week later.
    #[test]
    fn a_week_later_all_is_the_same((pages, incidents) in any_day()) {
        let later = |known: &Known| Known { start: known.start + WEEK, end: known.end + WEEK, ..known.clone() };
        let now: Vec<Known> = incidents.iter().map(|(from, length)| incident(None, *from, from + length)).collect();
        let then: Vec<Known> = now.iter().map(later).collect();
        let (today, next_week) = (document(&pages, at(0)), document(&pages, at(0) + WEEK));
        let scores = (score(&today, &now), score(&next_week, &then));
        prop_assert_eq!(scores.0.overall, scores.1.overall);
        prop_assert_eq!(scores.0.rules, scores.1.rules);
        let mut statistics = [statistics(&today, &Zone::UTC), statistics(&next_week, &Zone::UTC)];
        let quiet = &mut statistics[0].longest_quiet;
        (quiet.from, quiet.to) = (quiet.from + WEEK, quiet.to + WEEK);
        prop_assert_eq!(&statistics[0], &statistics[1]);
    }

    /// One that nothing pages for lowers recall by exactly its share, and touches nothing else.
    #[test]
    fn an_incident_without_a_page_is_missed_and_nothing_else((pages, incidents) in any_day()) {
        let mut known: Vec<Known> = incidents.iter().map(|(from, length)| incident(None, *from, from + length)).collect();
        let before = scored(&pages, &known).overall;
        known.push(incident(Some("database"), 30, 40));
        let after = scored(&pages, &known).overall;
        let all = known.len() as f64;
        prop_assert_eq!(after.missed, before.missed + 1);
        prop_assert_eq!(after.recall, Some(before.detected as f64 / all));
        let same = slowburn::replay::score::Figures { missed: before.missed, recall: before.recall, ..after };
        prop_assert_eq!(same, before);
    }
}
