//! slowburn's figures beside Prometheus' own, over a day and a half of every kind of history.
//!
//! What differs, and why:
//!
//! - *One increase.* `rate` over a window of w sees the samples inside it, w / scrape interval of them and so one
//!   increase fewer, and stretches what it sees to the window's edges. slowburn counts from the last sample at or before
//!   the window's start, as Prometheus 3's `anchored` does. In a ratio the stretching cancels out; the one increase does
//!   not. When the last slow increases leave a window, one of k left is 1/k of the burn rate.
//! - *The older edge of a long window* is read between thinned rows, up to 1% of its length apart: what lies between
//!   two of them is taken to have come evenly.
//! - *A series' first minutes.* `rate` stretches a counter that began inside the window back towards its zero.
//! - *An absence longer than the lookback.* What the counter did meanwhile counts in windows that reach back before the
//!   gap, as with `rate`, and in no others. While a window's edge crosses the gap the two differ.
//!
//! So every burn rate is compared twice: with `rate` over the same window, within 2%; and with `rate` over one scrape
//! interval more, which sees the very same increases, within 0.2% (1% where the edge lies between thinned rows).

use std::collections::BTreeMap;
use std::sync::Arc;

use slowburn::config;
use slowburn::config::promql::Query;
use slowburn::config::selector::Selector;
use slowburn::engine::histogram::Labels;
use slowburn::engine::rule::{Limit, Rule, Schedule, Stage, Urgency};
use slowburn::engine::sli::{NewSeries, SloSpec};
use slowburn::engine::slo::Sight;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::window::EXACT_SLOTS;
use slowburn::engine::{Engine, Input, Spec};
use slowburn::source::feed::feed;
use slowburn::source::plan::Plan;
use slowburn::source::prometheus::{Detail, History, Prometheus};

use super::history::{METRIC, openmetrics};
use super::kinds::{self, Kind};
use super::real;

const INTERVAL: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_hours(6);
const OBJECTIVE_PPM: u32 = 990_000;

/// The windows of the rules, and what is known of them at one slot.
type ByWindow = BTreeMap<Duration, f64>;

/// What slowburn made of one SLO at one slot.
struct Step {
    at: Timestamp,
    sight: Sight,
    burn: ByWindow,
    /// By rule.
    stages: Vec<Option<Stage>>,
}

fn rule(name: &str, limit: Limit) -> Rule {
    Rule {
        name: name.to_owned(),
        urgency: Urgency::Page,
        limit,
        schedule: Schedule::Every(INTERVAL),
        warning_ppm: 800_000,
        critical_ppm: 1_000_000,
        consecutive: 1,
        hysteresis_ppm: 0,
        clear_after: Duration::ZERO,
        min_events: 0.0,
        min_bad: 0.0,
        confidence_z: None,
        min_coverage_ppm: 500_000,
    }
}

fn rules() -> Vec<Rule> {
    let burn_rate = |factor, long, short| Limit::BurnRate { factor, long, short };
    let (minutes, hours) = (Duration::from_minutes, Duration::from_hours);
    vec![
        rule("spike", burn_rate(14.4, minutes(10), minutes(1))),
        rule("fast-burn", burn_rate(14.4, hours(1), minutes(5))),
        rule("slow-burn", burn_rate(6.0, hours(6), minutes(30))),
        rule("budget", Limit::BudgetConsumed { share: 1.0 }),
        rule("runway", Limit::Exhaustion { within: hours(1), short: minutes(5) }),
        rule("approach", Limit::Latency { quantile: 0.99, over: hours(1) }),
    ]
}

fn spec(kind: &Kind) -> Spec {
    let slo = |layer: &super::history::Layer| SloSpec {
        journey: "shop".to_owned(),
        layer: Some(layer.name.clone()),
        tier: None,
        owner: None,
        runbook: None,
        labels: Labels::new(),
        selector: format!("{METRIC}{{layer=\"{}\"}}", layer.name),
        budget_s: layer.budget_s,
        objective_ppm: OBJECTIVE_PPM,
        period: PERIOD,
        between: kind.between,
        new_series: NewSeries::Skip,
        by: Vec::new(),
        max_by: 1,
        rules: rules(),
    };
    let slos = kind.plan.layers.iter().map(slo).collect();
    Spec { interval: INTERVAL, blind_after: 3, slos, ..Spec::default() }
}

/// Runs the engine over what the server hands over, and notes each SLO at each slot.
async fn slowburn_on(
    spec: &Spec,
    selectors: &[Selector],
    url: String,
    from: Timestamp,
    to: Timestamp,
) -> Vec<Vec<Step>> {
    let config = config::Prometheus {
        external_url: url.clone(),
        url,
        timeout: Duration::from_minutes(2),
        delay: Duration::ZERO,
        max_response_bytes: 1 << 30,
        http: config::HttpClient::default(),
    };
    let source = Prometheus::new(&config, Arc::new(Plan::new(&spec.slos, selectors))).unwrap();
    let history: History =
        source.history(from, to, INTERVAL, Detail::Buckets, Duration::from_minutes(2)).await.unwrap();
    assert_eq!((history.partial, &history.warnings), (false, &Vec::new()));

    let mut engine = Engine::new(Arc::new(spec.clone()));
    let mut steps: Vec<Vec<Step>> = spec.slos.iter().map(|_| Vec::new()).collect();
    feed(&mut engine, &history, |engine, slot, snapshot| {
        engine.step(slot, Input::Polled { slot, snapshot });
        for (steps, slo) in steps.iter_mut().zip(engine.view().slos) {
            steps.push(Step {
                at: slot,
                sight: slo.sight,
                burn: slo.windows.iter().map(|window| (window.window, window.burn_rate.unwrap_or(0.0))).collect(),
                stages: slo.rules.iter().map(|rule| rule.stage).collect(),
            });
        }
    });
    steps
}

/// A query without labels, slot by slot; NaN is no answer.
fn ask(server: &real::Prometheus, promql: &str, from: Timestamp, to: Timestamp) -> BTreeMap<Timestamp, f64> {
    let answer = server.query_range(promql, from, to, INTERVAL);
    assert!(answer.len() <= 1, "{promql} has {} answers", answer.len());
    answer.into_iter().flat_map(|series| series.points).filter(|(_, value)| !value.is_nan()).collect()
}

/// How many of `all` are as they should be.
#[derive(Default, Clone, Copy)]
struct Share {
    good: usize,
    all: usize,
}

impl Share {
    fn add(&mut self, good: bool) {
        self.good += usize::from(good);
        self.all += 1;
    }

    fn and(self, other: Share) -> Share {
        Share { good: self.good + other.good, all: self.all + other.all }
    }

    fn ratio(self) -> f64 {
        if self.all == 0 { 1.0 } else { self.good as f64 / self.all as f64 }
    }
}

/// Steps at which Prometheus has a burn rate, and slowburn's is within `tolerance` of it.
fn burn_agrees(steps: &[Step], window: Duration, burns: &BTreeMap<Timestamp, f64>, tolerance: f64) -> Share {
    let mut share = Share::default();
    for step in steps {
        if let Some(expected) = burns.get(&step.at) {
            share.add((step.burn[&window] - expected).abs() <= tolerance * expected + 1e-9);
        }
    }
    share
}

/// Steps at which both fire, of those at which either does. Where slowburn sees nothing it keeps its alerts by intent,
/// and Prometheus' vanish: such steps are left out.
fn firing_agrees(steps: &[Step], rule: usize, least: Stage, expected: &BTreeMap<Timestamp, f64>) -> Share {
    let mut share = Share::default();
    for step in steps.iter().filter(|step| matches!(step.sight, Sight::Ok | Sight::Idle)) {
        let (ours, theirs) = (step.stages[rule] >= Some(least), expected.contains_key(&step.at));
        if ours || theirs {
            share.add(ours && theirs);
        }
    }
    share
}

/// What came of one kind of history.
struct Figures {
    /// Burn rates within 2% of `rate`, in windows with at least ten increases. (Where one is missing
    /// from two, as over a minute, the chance of single requests decides.)
    burn: Share,
    /// Burn rates that come from the same increases, in all windows.
    same_increases: Share,
    firing: Share,
}

/// Compares over one kind of history, and prints the figures of every window and rule.
async fn compare(kind: &Kind) -> Figures {
    let (from, to) = (kind.plan.from, kind.plan.to());
    let server = real::Prometheus::with_history(&openmetrics(&kind.plan.series()));
    let spec = spec(kind);
    let selectors: Vec<Selector> = spec.slos.iter().map(|slo| Selector::parse(&slo.selector).unwrap()).collect();
    let steps = slowburn_on(&spec, &selectors, server.url(), from, to).await;

    let (mut burns, mut firings) = (BTreeMap::new(), BTreeMap::new());
    for (index, (slo, selector)) in spec.slos.iter().zip(&selectors).enumerate() {
        let bounds: Vec<f64> = kind.plan.layers[index].bounds_s.iter().copied().chain([f64::INFINITY]).collect();
        let query = Query { selector, slo, by: &Labels::new(), bounds: &bounds };
        let steps = &steps[index];
        for window in steps[0].burn.keys() {
            let over = |length: Duration| ask(&server, &query.burn_rate(length), from, to);
            let anchored = over(*window + kind.plan.scrape_interval);
            let exact = window.in_slots(INTERVAL) <= EXACT_SLOTS;
            let rate = over(*window);
            let [plain, same]: &mut [Share; 2] = burns.entry(*window).or_default();
            *plain = plain.and(burn_agrees(steps, *window, &rate, 0.02));
            let tolerance = if exact { 0.002 } else { 0.01 };
            *same = same.and(burn_agrees(steps, *window, &anchored, tolerance));
        }
        for (number, rule) in slo.rules.iter().enumerate() {
            for (stage, ppm) in [(Stage::Warning, rule.warning_ppm), (Stage::Critical, rule.critical_ppm)] {
                let expected = ask(&server, &query.breach(rule.limit, ppm), from, to);
                let share: &mut Share = firings.entry((rule.name.clone(), stage.as_str())).or_default();
                *share = share.and(firing_agrees(steps, number, stage, &expected));
            }
        }
    }
    print(kind, &burns, &firings);
    let sum = |shares: &mut dyn Iterator<Item = Share>| shares.fold(Share::default(), Share::and);
    Figures {
        burn: sum(&mut burns.range(Duration::from_minutes(5)..).map(|(_, [plain, _])| *plain)),
        same_increases: sum(&mut burns.values().map(|[_, same]| *same)),
        firing: sum(&mut firings.into_values()),
    }
}

fn print(kind: &Kind, burns: &BTreeMap<Duration, [Share; 2]>, firings: &BTreeMap<(String, &str), Share>) {
    println!("{}", kind.name);
    for (window, [plain, same]) in burns {
        let (plain, same, steps) = (plain.ratio(), same.ratio(), plain.all);
        println!("  burn over {window:<4} within 2% {plain:.4}  same increases {same:.4}  of {steps} steps");
    }
    for ((rule, stage), share) in firings {
        println!("  {rule:<10} {stage:<8} fires alike {:.4} of {} steps", share.ratio(), share.all);
    }
}

/// A test for each kind of history, so that they run side by side.
macro_rules! figures_agree_with_prometheus {
    ($($kind:ident)*) => {$(
        #[tokio::test]
        #[ignore = "needs prometheus"]
        async fn $kind() {
            let Figures { burn, same_increases, firing } = compare(&kinds::$kind()).await;
            let figures = [burn, same_increases, firing].map(Share::ratio);
            println!("  burn within 2% {:.4}, same increases {:.4}, fires alike {:.4}", figures[0], figures[1], figures[2]);
            assert!(figures.iter().all(|figure| *figure >= 0.99), "{figures:?}");
        }
    )*};
}

figures_agree_with_prometheus! {
    plain
    scraped_twice_a_slot
    resets
    rolling_restarts
    short_gaps
    long_gaps
    idle_hours
    new_and_vanishing_series
    budget_between_bounds_interpolated
    budget_between_bounds_lower
    budget_between_bounds_upper
}
