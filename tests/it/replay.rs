//! What a replay prints, without a server: a few days of a checkout with known incidents.

use std::sync::Arc;

use slowburn::engine::Spec;
use slowburn::engine::collect::DigestSpec;
use slowburn::engine::counts::Counts;
use slowburn::engine::hours::Hours;
use slowburn::engine::maintenance::Maintenance;
use slowburn::engine::time::{Calendar, Duration, Timestamp};
use slowburn::replay::{Document, Recorder};
use slowburn::source::prometheus::{Detail, History, HistorySeries};

use super::history::{Plan, Series};
use super::{golden, quality};

const STEP: Duration = Duration::from_secs(30);
/// How old a sample may be that a poll still sees.
const LOOKBACK: Duration = Duration::from_minutes(5);

fn replayed() -> Document {
    replayed_with(quality::spec("standard", 2))
}

fn replayed_with(spec: Arc<Spec>) -> Document {
    let plan = quality::plan(1, 3);
    let mut recorder = Recorder::new(spec, plan.from + Duration::from_days(1), Detail::Counts);
    let series = plan.series();
    for day in 0..3 {
        recorder.take(&slice(&plan, &series, plan.from + Duration::from_days(day)));
    }
    recorder.finish()
}

/// One day of the history, as a source hands it over.
pub fn slice(plan: &Plan, series: &[Series], from: Timestamp) -> History {
    part(plan, series, from, Duration::from_days(1), STEP)
}

/// The same of any part, polled at any interval.
pub fn part(plan: &Plan, series: &[Series], from: Timestamp, length: Duration, step: Duration) -> History {
    let slots = (length.ms() / step.ms()) as usize;
    let slo = |series: &Series| plan.layers.iter().position(|layer| layer.name == series.labels["layer"]);
    let counts_at = |series: &Series, slot: Timestamp| {
        let newest = series.samples.partition_point(|(at, _)| *at <= slot).checked_sub(1);
        let newest = newest.map(|newest| &series.samples[newest]).filter(|(at, _)| slot.since(*at) < LOOKBACK);
        newest.map_or(vec![f64::NAN; series.bounds_s.len()], |(_, counts)| counts.clone())
    };
    let rows = series.iter().map(|series| HistorySeries {
        slo: slo(series).expect("every series has a layer"),
        labels: series.labels.clone(),
        bounds: Arc::clone(&series.bounds_s),
        counts: Counts::new(
            (0..slots as i64).flat_map(|slot| counts_at(series, from + Duration::from_ms(slot * step.ms()))).collect(),
            series.bounds_s.len(),
        ),
    });
    History { from, step, slots, series: rows.collect(), flawed: Vec::new(), warnings: Vec::new(), partial: false }
}

#[test]
fn a_replay_reads_well_and_always_the_same() {
    let document = replayed();
    let text = document.to_string();
    let mut json = Vec::new();
    document.write_json(&mut json).expect("memory takes all");
    golden::check("replay/checkout.txt", &text);
    golden::check("replay/checkout.json", &String::from_utf8(json.clone()).expect("JSON is UTF-8"));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let mut again = Vec::new();
    replayed().write_json(&mut again).expect("memory takes all");
    assert!(json == again, "two replays differ");
}

/// Each day at nine.
#[derive(Debug)]
struct Nine;

impl Calendar for Nine {
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let nine = Duration::from_hours(9);
        Some((after - nine + Duration::from_ms(1)).align_up(Duration::from_days(1)) + nine)
    }
}

#[test]
fn a_replay_shows_what_was_held_back_and_what_a_digest_tells() {
    let free = replayed();
    let (from, to) = (free.from, free.to);
    // Tickets wait for three hours a day; the second day is maintenance.
    let mut spec = Spec::clone(&quality::spec("standard", 2));
    let day = Hours::Recurring { calendar: Arc::new(Nine), lasts: Duration::from_hours(3) };
    spec.hours = vec![day, Hours::Once { from: from + Duration::from_days(1), to }];
    spec.route.active = Some(0);
    let receivers = vec![0];
    spec.digests = vec![DigestSpec { name: "daily".into(), calendar: Arc::new(Nine), receivers, matchers: Vec::new() }];
    spec.maintenance = vec![Maintenance { name: "move".into(), hours: 1, matchers: Vec::new(), counts: false }];
    let document = replayed_with(Arc::new(spec));
    let text = document.to_string();
    golden::check("replay/held.txt", &text);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(document.held_back.inactive_hours > 0, "{:?}", document.held_back);
    let events = |document: &Document| document.slos.iter().map(|slo| slo.events).sum::<u64>();
    assert!(events(&document) < events(&free) * 6 / 10, "half of the requests do not count");
}
