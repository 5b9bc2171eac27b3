//! Speed and memory of the engine alone, each figure beside its limit.
//!
//! Run with `cargo bench --bench engine`. Every figure is the median of five runs in this process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slowburn::clock::Stopwatch;
use slowburn::engine::histogram::{Labels, SeriesId, Snapshot};
use slowburn::engine::rule::{Limit, Rule, Schedule, Urgency};
use slowburn::engine::sli::{Between, NewSeries, SloSpec};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::{Engine, Input, Spec};

/// Counts the bytes that are allocated, so that memory is measured and not computed.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const INTERVAL: Duration = Duration::from_secs(30);
const BOUNDS_S: [f64; 12] = [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, f64::INFINITY];
const START: Timestamp = Timestamp::from_unix_s(1_767_225_600);

fn main() {
    println!("{:<58} {:>10} {:>10} {:>7}", "", "measured", "limit", "ratio");
    tick_and_memory();
    month();
}

/// One tick over 10,000 SLOs with the standard pack, windows full, on one core.
fn tick_and_memory() {
    const SLOS: usize = 10_000;
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut world = World::new(SLOS, 1, &standard_pack());
    // Full windows without a month of steps: every tier is reached once the newest slot is a month on.
    world.run(400, true);
    world.slot += Duration::from_days(30);
    world.run(400, true);
    let bytes = ALLOCATED.load(Ordering::Relaxed) - before;
    let ticks: Vec<f64> = (0..5).map(|_| world.timed_run(20) * 1000.0 / 20.0).collect();
    row("tick over 10,000 SLOs, standard pack (ms)", median(ticks), 50.0);
    row("windows an SLO, 30d period at 30s (KB)", world.engine.window_bytes() as f64 / SLOS as f64 / 1024.0, 32.0);
    row("  all memory an SLO, its series and rules included (KB)", bytes as f64 / SLOS as f64 / 1024.0, 32.0);
}

/// 30 days at 30 s of 5 layers with 2 instances and 4 rules, through the engine alone.
fn month() {
    let rules = &standard_pack()[..4];
    let runs = (0..5).map(|_| World::new(5, 2, rules).timed_run(86_400)).collect();
    row("30 days at 30s, 5 layers of 2 instances, 4 rules (s)", median(runs), 0.15);
}

fn row(what: &str, measured: f64, limit: f64) {
    println!("{what:<58} {measured:>10.3} {limit:>10.3} {:>7.2}", measured / limit);
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

/// An engine and series that go on counting.
struct World {
    engine: Engine,
    series: Vec<(SeriesId, [f64; 12])>,
    snapshot: Snapshot,
    slot: Timestamp,
    random: u64,
}

impl World {
    fn new(slos: usize, instances: usize, rules: &[Rule]) -> Self {
        let slos = (0..slos).map(|number| slo(number, rules)).collect();
        let spec = Spec { interval: INTERVAL, blind_after: 3, slos, ..Spec::default() };
        let mut engine = Engine::new(Arc::new(spec));
        let bounds: Arc<[f64]> = BOUNDS_S.into();
        let mut series = Vec::new();
        for template in 0..engine.spec().slos.len() {
            for instance in 0..instances {
                let labels: Labels = [("instance".to_string(), format!("{template}-{instance}"))].into();
                series.extend(engine.bind(template, &labels, &bounds).map(|id| (id, [0.0; 12])));
            }
        }
        Self { engine, series, snapshot: Snapshot::default(), slot: START, random: 1 }
    }

    /// Steps `slots` polls; fast, slow and idle requests change from poll to poll.
    fn run(&mut self, slots: usize, backfill: bool) {
        for _ in 0..slots {
            self.snapshot.clear();
            for (id, counts) in &mut self.series {
                self.random =
                    self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (requests, slow) = ((self.random >> 40) % 1000, (self.random >> 55) % 12);
                for (bucket, count) in counts.iter_mut().enumerate() {
                    *count += if bucket < 4 { requests } else { requests + slow } as f64;
                }
                self.snapshot.push(*id, counts);
            }
            let (slot, snapshot) = (self.slot, &self.snapshot);
            let input = if backfill { Input::Backfilled { slot, snapshot } } else { Input::Polled { slot, snapshot } };
            self.engine.step(slot, input);
            self.slot += INTERVAL;
        }
    }

    fn timed_run(&mut self, slots: usize) -> f64 {
        let stopwatch = Stopwatch::start();
        self.run(slots, false);
        stopwatch.elapsed_s()
    }
}

fn slo(number: usize, rules: &[Rule]) -> SloSpec {
    SloSpec {
        journey: format!("journey-{}", number / 5),
        layer: Some(format!("layer-{}", number % 5)),
        tier: None,
        owner: None,
        runbook: None,
        labels: Labels::new(),
        selector: "request_duration_seconds".into(),
        budget_s: 0.03,
        objective_ppm: 990_000,
        period: Duration::from_days(30),
        between: Between::Refuse,
        new_series: NewSeries::Skip,
        by: Vec::new(),
        max_by: 100,
        rules: rules.to_vec(),
    }
}

fn standard_pack() -> Vec<Rule> {
    let burn = |name, factor, long, short, urgency| rule(name, urgency, Limit::BurnRate { factor, long, short });
    let (minutes, hours) = (Duration::from_minutes, Duration::from_hours);
    vec![
        burn("spike", 14.4, minutes(10), minutes(1), Urgency::Page),
        burn("fast-burn", 14.4, hours(1), minutes(5), Urgency::Page),
        burn("slow-burn", 6.0, hours(6), minutes(30), Urgency::Page),
        burn("drain", 3.0, hours(24), hours(2), Urgency::Ticket),
        burn("leak", 1.0, hours(72), hours(6), Urgency::Ticket),
        rule("budget", Urgency::Ticket, Limit::BudgetConsumed { share: 1.0 }),
    ]
}

fn rule(name: &str, urgency: Urgency, limit: Limit) -> Rule {
    Rule {
        name: name.into(),
        urgency,
        limit,
        schedule: Schedule::Every(INTERVAL),
        warning_ppm: 800_000,
        critical_ppm: 1_000_000,
        consecutive: 2,
        hysteresis_ppm: 100_000,
        clear_after: limit.short_window().unwrap_or(Duration::from_minutes(1)),
        min_events: 0.0,
        min_bad: 0.0,
        confidence_z: None,
        min_coverage_ppm: 500_000,
    }
}
