//! What a replay is judged to be worth: against known incidents, and by how much it disturbs.

pub mod cases;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use slowburn::config::incidents::{Known, KnownIncidents};
use slowburn::engine::Spec;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::replay::{Document, Recorder};
use slowburn::source::prometheus::Detail;
use slowburn::zone::Zone;

use super::history::{Plan, Series};
use super::replay::slice;
use super::{golden, quality};

pub const DAY: Duration = Duration::from_days(1);

/// The standard pack over a made-up history, from its second day, or its first.
fn replayed(plan: &Plan, series: &[Series], from: Timestamp, known: &[Known]) -> Document {
    replayed_with(quality::spec("standard", 2), plan, series, from, known)
}

pub fn replayed_with(spec: Arc<Spec>, plan: &Plan, series: &[Series], from: Timestamp, known: &[Known]) -> Document {
    let mut recorder = Recorder::new(spec, from, Detail::Counts).knowing(known);
    let mut day = plan.from;
    while day < plan.to() {
        recorder.take(&slice(plan, series, day));
        day += DAY;
    }
    recorder.finish()
}

pub fn shipped_incidents() -> KnownIncidents {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/checkout/incidents.yml");
    match KnownIncidents::load(&path, &quality::spec("standard", 2)) {
        Ok(known) => known,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

#[test]
fn a_score_reads_well() {
    let plan = quality::plan(1, 3);
    let known = shipped_incidents();
    let mut document = replayed(&plan, &plan.series(), plan.from + DAY, &known.list);
    let berlin = Zone::named("Europe/Berlin").unwrap();
    document.judge(&berlin, Some(&known.list));
    let text = document.to_string();
    let judged = text.split_once("\nNoise\n").expect("a section on noise").1;
    golden::check("replay/score.txt", judged);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let judged = serde_json::json!({ "statistics": document.statistics, "score": document.score });
    golden::check("replay/score.json", &format!("{judged:#}\n"));
}

/// The polls' newest samples at a slot, added up over a layer's pods: requests, and those over the budget.
fn counted(plan: &Plan, series: &[Series], layer: &str, slot: Timestamp) -> [f64; 2] {
    let budget_s = plan.layers.iter().find(|known| known.name == layer).expect("a layer").budget_s;
    let mut sums = [0.0; 2];
    for series in series.iter().filter(|series| series.labels["layer"] == layer) {
        let newest = series.samples.partition_point(|(at, _)| *at <= slot).saturating_sub(1);
        let counts = &series.samples[newest].1;
        let good = series.bounds_s.iter().position(|bound| *bound == budget_s).expect("a bound");
        sums[0] += counts[counts.len() - 1];
        sums[1] += counts[counts.len() - 1] - counts[good];
    }
    sums
}

/// Against what the histories' own test finds by looking for pages from an incident's start to 31 minutes after its end,
/// and against slow requests counted from the samples.
#[test]
fn figures_are_those_of_an_independent_count() {
    for seed in [4, 5] {
        let plan = quality::plan(seed, 3);
        let series = plan.series();
        let known: Vec<Known> = plan
            .incidents
            .iter()
            .filter(|it| it.to <= plan.to())
            .map(|it| known("checkout", None, it.from, it.to))
            .collect();
        let mut document = replayed(&plan, &series, plan.from, &known);
        document.judge(&Zone::UTC, Some(&known));
        let score = document.score.expect("it was judged");
        let expected = quality::score(&plan, &series, quality::spec("standard", 2));
        let grave: BTreeMap<Timestamp, bool> = plan
            .incidents
            .iter()
            .map(|it| (it.from, it.slow >= 0.5 && it.to.since(it.from) >= Duration::from_minutes(15)))
            .collect();
        let graves: Vec<_> = score.incidents.iter().filter(|it| grave[&it.known.start]).collect();
        assert_eq!(graves.len(), expected.grave);
        assert!(expected.grave >= 3 && expected.pages >= 3, "the histories hold too little: {expected:?}");
        assert_eq!(graves.iter().filter_map(|it| it.delay).map(Duration::secs).collect::<Vec<_>>(), expected.delays_s);
        assert_eq!(score.overall.pages as usize, expected.pages);
        assert_eq!(score.overall.unexplained_pages as usize, expected.unexplained);
        for outcome in &score.incidents {
            let Some(at) = outcome.detected_at else { continue };
            let start = outcome.known.start.align_down(Duration::from_secs(30));
            let spent = plan.layers.iter().map(|layer| {
                let [[first, _], [_, before], [last, bad]] =
                    [plan.from, start, at].map(|slot| counted(&plan, &series, &layer.name, slot));
                (bad - before) / (0.01 * (last - first))
            });
            let expected = spent.fold(0.0, f64::max);
            let found = outcome.budget_before_page.expect("it was paged");
            assert!((found - expected).abs() < 1e-9 * expected.max(1.0), "{found} is not {expected}: {outcome:?}");
            assert!(found > 0.0);
        }
    }
}

pub fn known(journey: &str, layer: Option<&str>, start: Timestamp, end: Timestamp) -> Known {
    Known { journey: journey.into(), layer: layer.map(str::to_owned), start, end, note: None }
}

#[test]
fn mistakes_in_a_file_of_incidents_are_told_together() {
    let yaml = "
incidents:
  - {journey: chekout, start: 2026-03-02T14:00:00Z, end: 2026-03-02T14:40:00Z}
  - {journey: checkout, layer: databse, start: 1772460000, end: 1772463600}
  - {journey: checkout, start: 2026-03-02T14:00:00Z, end: 2026-03-02T13:40:00Z}
  - {journey: checkout, start: 2026-03-02T14:00:00, end: 1772463600000, not: nothing}
  - {start: yesterday}
  - {journey: checkout, start: 1772460000, end: 1772463600, note: once}
  - {journey: checkout, start: 2026-03-02T14:00:00Z, end: 2026-03-02T15:00:00Z, note: twice}
";
    let csv = "\
journey,layer,start,end,nota
checkout,edge,2026-03-02T14:00:00Z,2026-03-02T14:40:00Z,
checkout,\"core, left\",2026-03-02T14:00:00Z,2026-03-02T13:40:00Z,\"a \"\"b\"\"\"
checkout,,2026-03-02T14:00:00Z
checkout,,,2026-03-02T14:00:00Z,x,y
";
    let spec = quality::spec("standard", 2);
    let header = "journey,Start,note,end,note\nnone,x,y\n";
    let at_once = "journey,start,end\ncheckout,1772520120,1772520120\n";
    let mistakes = [
        ("incidents.yml", yaml),
        ("incidents.csv", csv),
        ("incidents.csv", header),
        ("incidents.csv", at_once),
        ("incidents.yml", ""),
        ("incidents.csv", ""),
    ];
    let mistakes = mistakes.map(|(name, text)| {
        KnownIncidents::parse(name, text, &spec).expect_err("it is full of mistakes").render(false)
    });
    golden::check("replay/incidents-broken.txt", &mistakes.join("\n"));
}

#[test]
fn yaml_and_csv_say_the_same() {
    let yaml = shipped_incidents();
    let csv = "journey;layer;start;end;note\r
checkout;database;2026-03-02T20:25:00+01:00;2026-03-02T19:55:00Z;failover\r
checkout;network;1772520120;1772520660.0;packet loss in one zone\r
checkout;edge;2026-03-03T13:52:00Z;2026-03-03T15:02:00Z;certificates checked twice\r
checkout;;2026-03-04T07:12:00Z;2026-03-04T08:01:00Z;\"cart cache cold after a deployment\"\r
";
    let spec = quality::spec("standard", 2);
    for name in ["incidents.csv", "/dev/stdin"] {
        let read = KnownIncidents::parse(name, csv, &spec).unwrap_or_else(|wrong| panic!("{}", wrong.render(false)));
        assert_eq!(read.list, yaml.list);
    }
    // The first is a day too early.
    let from: Timestamp = "2026-03-03T00:00:00Z".parse().expect("a time");
    let warned = yaml.outside(from, from + DAY + DAY);
    assert!(!warned.has_errors());
    let said = warned.to_string();
    assert!(said.contains("incidents.yml:4:") && said.contains("--from 2026-03-02T19:25:00Z"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
