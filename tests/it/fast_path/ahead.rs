//! SLOs that run ahead of one another decide what they decide slot by slot: the same bytes, over histories in which all
//! happens that can happen to a series.

use std::collections::BTreeMap;
use std::sync::Arc;

use slowburn::config::incidents::Known;
use slowburn::config::{self, Config};
use slowburn::engine::counts::Counts;
use slowburn::engine::histogram::Snapshot;
use slowburn::engine::machine::ahead::Job;
use slowburn::engine::silence::Silence;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::{Engine, Input};
use slowburn::replay::Recorder;
use slowburn::source::feed;
use slowburn::source::prometheus::{Detail, History, HistorySeries};
use slowburn::zone::Zone;

use crate::history::Random;

const HISTORIES: u64 = 60;
const BEGIN: Timestamp = Timestamp::from_unix_s(1_772_409_600);
const STEP: Duration = Duration::from_secs(30);
const SLOTS: usize = 1_500;
/// Slots that only fill the windows.
const WARM: i64 = 400;
/// The bounds of a layer's processes before and after a change.
type Bounds = [&'static [f64]; 2];
const EDGE: Bounds = [&[0.005, 0.01, 0.05, f64::INFINITY], &[0.01, 0.02, f64::INFINITY]];
const DATABASE: Bounds = [&[0.004, 0.008, 0.016, f64::INFINITY], &[0.008, 0.016, f64::INFINITY]];
/// No more than the budgets need, and none that change.
const EDGE_NEEDED: Bounds = [&[0.01, f64::INFINITY]; 2];
const DATABASE_NEEDED: Bounds = [&[0.008, 0.016, f64::INFINITY]; 2];

#[test]
fn slos_that_run_ahead_print_the_same_bytes() {
    let (mut told, mut scored) = (0, 0);
    for seed in 0..HISTORIES {
        let mut random = Random::new(seed);
        let config = config(seed);
        let known = known(&mut random);
        let slices = slices(&mut random, seed % 2 == 1 && !seed.is_multiple_of(7));
        let detail = if seed % 2 == 0 { Detail::Buckets } else { Detail::Counts };
        let replayed = |take: fn(&mut Recorder, &History)| {
            let from = BEGIN + STEP.times(WARM as f64);
            let mut recorder = Recorder::new(config.spec.clone(), from, detail).knowing(&known);
            slices.iter().for_each(|slice| take(&mut recorder, slice));
            let notifications = format!("{:#?}", recorder.notifications());
            let mut document = recorder.finish();
            document.judge(&Zone::UTC, Some(&known));
            let mut json = Vec::new();
            document.write_json(&mut json).unwrap();
            (String::from_utf8(json).unwrap(), notifications, document)
        };
        let (ahead, told_ahead, document) = replayed(Recorder::take);
        let (stepped, told_stepped, _) = replayed(|recorder, slice| recorder.take_observed(slice, |_, _| {}));
        assert_eq!(ahead, stepped, "history {seed}");
        assert_eq!(told_ahead, told_stepped, "history {seed}");
        told += document.notifications.len();
        scored += document.score.map_or(0, |score| score.incidents.len());
    }
    assert!(told > 1_000 && scored > 50, "too little was decided: {told} told, {scored} scored");
}

/// All that can be seen of the engine after each slice: windows, sights, what was evaluated and what waits to be sent.
#[test]
fn slos_that_run_ahead_are_seen_the_same() {
    for seed in 0..HISTORIES / 3 {
        let mut random = Random::new(seed);
        let spec = config(seed).spec;
        let [mut ahead, mut stepped] = [(); 2].map(|()| Engine::new(spec.clone()));
        let mut known_beforehand = 0;
        for slice in slices(&mut random, seed % 2 == 1) {
            let passage = feed::passage(&mut ahead, &slice);
            let (mut at, mut snapshot, mut effects) = (0, Snapshot::default(), Vec::new());
            while at < passage.slots {
                let run = |jobs: &mut [Job<'_>]| jobs.iter_mut().rev().for_each(Job::run);
                if let Some(mut some) = ahead.run_ahead(&passage, at..passage.slots, true, run) {
                    while let Some((_, followed)) = ahead.follow(&mut some) {
                        effects.extend(followed);
                    }
                    at += some.slots();
                    known_beforehand += some.slots();
                } else {
                    let slot = passage.slot(at);
                    passage.snapshot(at, &mut snapshot);
                    effects.extend(ahead.step(slot, Input::Polled { slot, snapshot: &snapshot }));
                    at += 1;
                }
            }
            let mut expected = Vec::new();
            feed::feed(&mut stepped, &slice, |engine, slot, snapshot| {
                expected.extend(engine.step(slot, Input::Polled { slot, snapshot }));
            });
            assert_eq!(effects, expected, "history {seed}");
            assert_eq!(ahead.view(), stepped.view(), "history {seed}");
        }
        assert!(known_beforehand > SLOTS / 4, "history {seed}: {known_beforehand} slots");
    }
}

/// Two journeys under rules of all kinds and schedules, or few that are seldom evaluated, so that much falls between.
fn config(seed: u64) -> Config {
    let (checkout, search) = match (seed % 5, seed % 2) {
        (0, _) => ("slow-burn, budget", "budget"),
        (_, 0) => ("spike, fast-burn, slow-burn, budget, runway, approach", "spike, slow-burn, budget"),
        _ => ("spike, fast-burn, slow-burn, budget, runway", "spike, slow-burn, budget"),
    };
    let text = format!(
        "
interval: 30s
source: {{prometheus: {{url: 'http://127.0.0.1:9'}}}}
receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}, {{name: team, webhook: {{url: 'http://127.0.0.1:9'}}}}]
route:
  receivers: [team]
  repeat_interval: 20m
  routes:
    - {{match: {{urgency: page}}, receivers: [oncall, team]}}
    - {{match: {{urgency: ticket}}, receivers: [team], active: {{cron: '7 */2 * * *', for: 45m, time_zone: UTC}}}}
digests: [{{cron: '33 * * * *', time_zone: UTC, receivers: [team]}}]
maintenance:
  - {{name: vacuum, cron: '15 */3 * * *', for: 7m, time_zone: UTC, match: {{layer: database}}, budget: exclude}}
  - {{name: move, cron: '40 */4 * * *', for: 10m, time_zone: UTC, match: {{layer: edge}}}}
rules:
  - {{name: spike, burn_rate: 14.4, long: 10m, short: 1m, urgency: page, consecutive: 2}}
  - {{name: fast-burn, burn_rate: 6, long: 1h, short: 5m, urgency: page}}
  - {{name: slow-burn, burn_rate: 2, long: 3h, short: 1h45m, urgency: ticket, every: 10m}}
  - {{name: budget, budget_consumed: 100%, urgency: ticket, cron: '*/10 * * * *'}}
  - {{name: runway, exhaustion: 1h, urgency: page, min_events: 300, confidence: 95%}}
  - {{name: approach, latency: {{quantile: 95%, over: 10m}}, urgency: ticket, clear_after: 3m}}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 4h
    rules: [{checkout}]
    layers:
      - {{name: edge, budget: 10ms, by: [pod], histogram: 'edge_seconds'}}
      - {{name: database, budget: 10ms, between: interpolate, new_series: zero, histogram: 'database_seconds'}}
  - name: search
    budget: 100ms
    objective: 99.5%
    period: 4h
    rules: [{search}]
    layers:
      - {{name: cache, budget: 10ms, histogram: 'edge_seconds'}}
      - {{name: never, budget: 10ms, histogram: 'never_seconds'}}
"
    );
    let texts = BTreeMap::from([("slowburn.yml".to_owned(), text)]);
    let mut config = match config::load_texts("slowburn.yml", &texts, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    };
    if seed.is_multiple_of(3) {
        let (starts_at, ends_at) = (at(600), at(760));
        let matchers =
            serde_json::from_value(serde_json::json!([{"label": "layer", "any_of": ["edge"], "negate": false}]))
                .unwrap();
        let [author, reason, id] = ["ada", "a test", "quiet"].map(str::to_owned);
        let silence = Silence { id, matchers, starts_at, ends_at, author, reason, created_at: starts_at };
        Arc::make_mut(&mut config.spec).silences.push(silence);
    }
    config
}

fn at(slot: usize) -> Timestamp {
    BEGIN + STEP.times(slot as f64)
}

fn known(random: &mut Random) -> Vec<Known> {
    let journey = |number: usize| if number == 2 { "search" } else { "checkout" };
    let known = (0..3).map(|number| {
        let start = at(WARM as usize + random.below(SLOTS - WARM as usize));
        let layer = (number == 0).then(|| "edge".to_owned());
        Known { journey: journey(number).to_owned(), layer, start, end: start + STEP.times(40.0), note: None }
    });
    known.collect()
}

/// The same history in slices of any length.
fn slices(random: &mut Random, needed: bool) -> Vec<History> {
    // Edge and cache measure the same processes.
    let mut series: Vec<HistorySeries> = Vec::new();
    let layers = if needed { [EDGE_NEEDED, DATABASE_NEEDED] } else { [EDGE, DATABASE] };
    for (slo, layer) in layers.into_iter().enumerate() {
        for pod in 0..2 + random.below(2) {
            series.extend(process(random, slo, pod, layer));
        }
    }
    let cached: Vec<_> =
        series.iter().filter(|it| it.slo == 0).map(|it| HistorySeries { slo: 2, ..it.clone() }).collect();
    series.extend(cached);
    series.sort_by(|a, b| (a.slo, &a.labels).cmp(&(b.slo, &b.labels)).then(a.bounds.partial_cmp(&b.bounds).unwrap()));
    let mut flawed: Vec<(usize, usize)> =
        (0..random.below(20)).map(|_| (random.below(SLOTS), random.below(3))).collect();
    flawed.sort_unstable();
    flawed.dedup();
    let (mut slices, mut first) = (Vec::new(), 0);
    while first < SLOTS {
        let end = (first + 1 + random.below(800)).min(SLOTS);
        let mut own = Vec::new();
        for series in series.iter().filter(|series| series.counts.first_present(first..end).is_some()) {
            let part = HistorySeries { counts: series.counts.part(first..end), ..series.clone() };
            own.push(if random.below(4) == 0 { part } else { part.packed() });
        }
        let flawed = flawed.iter().filter(|(at, _)| (first..end).contains(at)).map(|(at, slo)| (at - first, *slo));
        slices.push(History {
            from: at(first),
            step: STEP,
            slots: end - first,
            series: own,
            flawed: flawed.collect(),
            warnings: Vec::new(),
            partial: random.below(12) == 0,
        });
        first = end;
    }
    slices
}

/// One process: it starts anew, falls silent for moments or hours, idles, and may come back with other bounds.
fn process(random: &mut Random, slo: usize, pod: usize, layouts: Bounds) -> Vec<HistorySeries> {
    let born = if pod == 2 { random.below(SLOTS) } else { 0 };
    let mut rows = layouts.map(|bounds| vec![f64::NAN; bounds.len() * SLOTS]);
    let (mut layout, mut silent_until, mut idle_until, mut bad_until) = (0, born, 0, 0);
    let mut counted = vec![0.0; layouts[0].len()];
    for slot in 0..SLOTS {
        match random.below(600) {
            0 | 1 => silent_until = slot + 1 + random.below(14),
            2 => silent_until = slot + 1 + random.below(150),
            3 => idle_until = slot + random.below(40),
            4 | 5 => bad_until = slot + random.below(60),
            6 | 7 => counted.fill(0.0),
            8 if layouts[0] != layouts[1] => {
                layout = 1 - layout;
                counted = vec![0.0; layouts[layout].len()];
            }
            _ => {}
        }
        if slot < silent_until.max(born) {
            continue;
        }
        let slow = if slot < bad_until { 0.4 } else { 0.004 };
        let requests = if slot < idle_until { 0 } else { 20 + random.below(20) };
        for _ in 0..requests {
            let took_s = if random.unit() < slow { 0.015 } else { 0.003 };
            for (count, bound_s) in counted.iter_mut().zip(layouts[layout]) {
                *count += f64::from(took_s <= *bound_s);
            }
        }
        let width = counted.len();
        rows[layout][slot * width..][..width].copy_from_slice(&counted);
    }
    let labels = BTreeMap::from([("pod".to_owned(), pod.to_string())]);
    let series = layouts.into_iter().zip(rows);
    series
        .map(|(bounds, counts)| {
            let counts = Counts::new(counts, bounds.len());
            HistorySeries { slo, labels: labels.clone(), bounds: bounds.into(), counts }
        })
        .collect()
}
