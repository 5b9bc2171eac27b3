//! What a replay prints, without a server: a few days of a checkout with known incidents.

use std::sync::Arc;

use slowburn::engine::time::{Duration, Timestamp};
use slowburn::replay::{Document, Recorder};
use slowburn::source::prometheus::{Detail, History, HistorySeries};

use super::history::{Plan, Series};
use super::{golden, quality};

const STEP: Duration = Duration::from_secs(30);

fn replayed() -> Document {
    let plan = quality::plan(1, 3);
    let mut recorder = Recorder::new(quality::spec("standard", 2), plan.from + Duration::from_days(1), Detail::Counts);
    let series = plan.series();
    for day in 0..3 {
        recorder.take(&slice(&plan, &series, plan.from + Duration::from_days(day)));
    }
    recorder.finish()
}

/// One day of the history, as a source hands it over.
fn slice(plan: &Plan, series: &[Series], from: Timestamp) -> History {
    let slots = (Duration::from_days(1).ms() / STEP.ms()) as usize;
    let slo = |series: &Series| plan.layers.iter().position(|layer| layer.name == series.labels["layer"]);
    let counts_at = |series: &Series, slot: Timestamp| {
        let newest = series.samples.partition_point(|(at, _)| *at <= slot).checked_sub(1);
        newest.map_or(vec![f64::NAN; series.bounds_s.len()], |newest| series.samples[newest].1.clone())
    };
    let rows = series.iter().map(|series| HistorySeries {
        slo: slo(series).expect("every series has a layer"),
        labels: series.labels.clone(),
        bounds: Arc::clone(&series.bounds_s),
        counts: (0..slots as i64)
            .flat_map(|slot| counts_at(series, from + Duration::from_ms(slot * STEP.ms())))
            .collect(),
    });
    History {
        from,
        step: STEP,
        slots,
        series: rows.collect(),
        flawed: Vec::new(),
        warnings: Vec::new(),
        partial: false,
    }
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
