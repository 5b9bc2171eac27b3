//! Sources against a real Prometheus: what is polled, what history says, and what probes find.

use std::fmt::Write as _;

use slowburn::engine::histogram::Labels;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::source::prometheus::{Detail, History, HistorySeries, Prometheus, Slices, slots_per_slice};

use crate::real;
use crate::source::{SLOT, plan, prometheus};

pub const STEP: Duration = Duration::from_secs(30);
pub const SPAN: Duration = Duration::from_hours(2);
pub const DEADLINE: Duration = Duration::from_secs(20);
/// Edge is selected by two SLOs that cannot be merged; the worker's budget lies between two bounds.
pub const SLOS: [(&str, f64); 6] = [
    ("m{layer=\"edge\"}", 0.1),
    ("m{layer=\"database\"}", 0.5),
    ("m{layer=~\"work.*\"}", 0.3),
    ("m{layer=\"edge\",pod!=\"b\"}", 0.25),
    ("n", 1.0),
    ("nothing", 1.0),
];

/// A series' counters as text: one sample every 15 s with some jitter, within `[from, to)` seconds of the start.
struct Series<'a> {
    name: &'a str,
    labels: &'a str,
    bounds: &'a [&'a str],
    from: i64,
    to: i64,
    /// The counters fall to zero here.
    reset: i64,
}

impl Series<'_> {
    fn write(&self, out: &mut String) {
        for (place, le) in self.bounds.iter().enumerate() {
            for s in (self.from..self.to).step_by(15).filter(|s| !(4000..4600).contains(s)) {
                let requests = if s < self.reset { s - self.from } else { s - self.reset };
                let count = requests * (place as i64 + 1);
                let at_ms = SLOT.unix_ms() + s * 1000 + (s * 7919) % 400;
                let Self { name, labels, .. } = self;
                let _ =
                    writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {count} {}.{:03}", at_ms / 1000, at_ms % 1000);
            }
        }
    }
}

/// Two hours with a reset, a gap, series that come and go, bounds that change, and a bound that is spelled anew.
pub fn openmetrics() -> String {
    let old = ["0.1", "0.25", "0.5", "1", "+Inf"];
    let new = ["0.1", "0.2", "0.4", "1", "+Inf"];
    let series = |name, labels, bounds, from, to, reset| Series { name, labels, bounds, from, to, reset };
    let end = SPAN.ms() / 1000;
    let mut out = String::new();
    for one in [
        series("m", "layer=\"edge\",pod=\"a\"", &old, 0, end, 1800),
        series("m", "layer=\"edge\",pod=\"b\"", &old, 0, 3000, end),
        series("m", "layer=\"edge\",pod=\"c\"", &old, 2500, end, end),
        series("m", "layer=\"database\",pod=\"d\"", &old, 0, end, end),
        series("m", "layer=\"worker\",pod=\"w\"", &old, 0, 2000, end),
        series("m", "layer=\"worker\",pod=\"w\"", &new, 2600, end, end),
        series("m", "layer=\"worker\",pod=\"x\"", &new, 0, end, end),
        series("m", "layer=\"cache\",pod=\"z\"", &old, 0, end, end),
        series("n", "job=\"n\"", &["1", "+Inf"], 0, 3000, end),
        series("n", "job=\"n\"", &["1.0", "+Inf"], 3000, end, end),
    ] {
        one.write(&mut out);
    }
    // promtool wants the samples of one series side by side, in order.
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_by_key(|line| line.split('}').next());
    lines.join("\n") + "\n# EOF\n"
}

pub type Row = (usize, Labels, Vec<f64>, Vec<f64>);

/// What `history` says that a poll at `slot` would have seen.
pub fn at(history: &History, slot: usize) -> Vec<Row> {
    let row = |series: &HistorySeries| {
        let counts = series.counts.row(slot)?.collect();
        Some((series.slo, series.labels.clone(), series.bounds.to_vec(), counts))
    };
    history.series.iter().filter_map(row).collect()
}

pub async fn polled(source: &Prometheus, at: Timestamp) -> Vec<Row> {
    let poll = source.poll(at, DEADLINE).await.unwrap();
    assert!(!poll.partial);
    poll.series.into_iter().map(|(slo, h)| (slo, h.labels, h.bounds.to_vec(), h.counts)).collect()
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn history_is_what_polls_saw() {
    let server = real::Prometheus::with_history(&openmetrics());
    let source = prometheus(&server.url(), plan(&SLOS));
    // From before the first sample to after the last.
    let (from, to) = (SLOT - Duration::from_minutes(10), SLOT + SPAN + Duration::from_minutes(10));
    let buckets = source.history(from, to, STEP, Detail::Buckets, DEADLINE).await.unwrap();
    let counts = source.history(from, to, STEP, Detail::Counts, DEADLINE).await.unwrap();
    assert_eq!((buckets.from, buckets.slots, buckets.series.is_sorted_by_key(|series| series.slo)), (from, 281, true));
    let mut seen = 0;
    for slot in 0..buckets.slots {
        let at_slot = from + Duration::from_ms(STEP.ms() * slot as i64);
        let polled = polled(&source, at_slot).await;
        assert_eq!(at(&buckets, slot), polled, "{at_slot}");
        seen += polled.len();
        let narrow = at(&counts, slot);
        assert_eq!(narrow.len(), polled.len(), "{at_slot}");
        for ((slo, labels, bounds, counts), polled) in narrow.iter().zip(&polled) {
            assert_eq!((slo, labels), (&polled.0, &polled.1));
            assert_narrowed(SLOS[*slo].1, (bounds, counts), (&polled.2, &polled.3));
        }
    }
    assert!(seen > 1000, "{seen}");
    // For five minutes the old spelling of the bound and the new one are both in sight.
    let why = "9 slots of n_bucket{job=\"n\"} are left out: two of its buckets have the same bound 1";
    assert_eq!((&*buckets.warnings, &*counts.warnings), (&[why.to_owned()][..], &[why.to_owned()][..]));
}

/// The narrow row has the same counts, and the bounds that the budget needs among them.
#[track_caller]
fn assert_narrowed(budget_s: f64, (bounds, counts): (&[f64], &[f64]), (all_bounds, all_counts): (&[f64], &[f64])) {
    for (bound, count) in bounds.iter().zip(counts) {
        let place = all_bounds.iter().position(|other| other == bound).expect("a bound that polls see");
        assert_eq!(*count, all_counts[place]);
    }
    let above = all_bounds.partition_point(|bound| *bound < budget_s);
    let exact = all_bounds.get(above) == Some(&budget_s);
    let needed = if exact { &all_bounds[above..=above] } else { &all_bounds[above.saturating_sub(1)..=above] };
    assert!(needed.iter().all(|bound| bounds.contains(bound)), "{needed:?} are not all in {bounds:?}");
    assert_eq!(bounds.last(), Some(&f64::INFINITY));
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn slices_are_the_whole_in_pieces() {
    let server = real::Prometheus::with_history(&openmetrics());
    let source = prometheus(&server.url(), plan(&SLOS));
    let to = SLOT + SPAN;
    let columns = source.columns(SLOT, to, Detail::Buckets, DEADLINE).await.unwrap();
    // Three pods at the edge, one database, two workers (one with two sets of bounds), one `n` with two spellings.
    assert_eq!(columns, 3 * 5 + 5 + (5 + 2) + 5 + 3);
    assert_eq!(slots_per_slice(columns, 26 * columns * 7), 7);
    let whole = source.history(SLOT, to, STEP, Detail::Buckets, DEADLINE).await.unwrap();
    let mut slices = Slices::new(source, SLOT, to, STEP, Detail::Buckets, DEADLINE);
    let mut slot = 0;
    while let Some(slice) = slices.next().await {
        let slice = slice.unwrap();
        for number in 0..slice.slots {
            assert_eq!(at(&slice, number), at(&whole, slot), "slot {slot}");
            slot += 1;
        }
    }
    assert_eq!(slot, whole.slots);
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn probes_find_what_is_there() {
    let server = real::Prometheus::with_history(&openmetrics());
    let source = prometheus(&server.url(), plan(&SLOS));
    let probe = source.probe(SLOT + SPAN, Duration::from_days(30), DEADLINE).await.unwrap();
    assert!(probe.warnings.is_empty(), "{:?}", probe.warnings);
    let [edge, database, workers, edge_without_b, n, nothing] = &probe.slos[..] else { panic!("{probe:?}") };
    assert_eq!((edge.series, edge_without_b.series, database.series, workers.series, n.series), (2, 2, 1, 2, 1));
    assert_eq!(edge.bounds_s, [0.1, 0.25, 0.5, 1.0]);
    assert_eq!((edge.between, workers.between, workers.neighbours_s), (0, 2, (Some(0.2), Some(0.4))));
    for slo in [edge, database, workers, edge_without_b, n] {
        assert_eq!(slo.scrape_interval, Some(Duration::from_secs(15)));
        let earliest = slo.earliest.unwrap();
        assert!(earliest >= SLOT && earliest <= SLOT + SPAN, "{earliest}");
        assert!(!slo.native);
    }
    assert_eq!(*nothing, slowburn::source::probe::SloProbe::default());
    // A history shorter than a step of the longer reach is looked at as closely.
    for reach in [Duration::from_hours(3), Duration::from_days(30)] {
        let probe = source.probe(SLOT + SPAN, reach, DEADLINE).await.unwrap();
        let late = probe.slos[1].earliest.unwrap().since(SLOT);
        assert!(late <= Duration::from_ms(65_000), "{late} of {reach}");
    }
}
