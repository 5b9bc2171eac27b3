//! The standard pack on histories whose incidents are known: what it pages, how late, and what it pages for nothing.
//!
//! `cargo bench --bench quality` prints the figures of many more histories.

use std::collections::BTreeMap;
use std::sync::Arc;

use slowburn::config;
use slowburn::engine::histogram::{Labels, SeriesId, Snapshot};
use slowburn::engine::notification::{Notification, Reason};
use slowburn::engine::rule::{Stage, Urgency};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::{Effect, Engine, Input, Outcome, Spec};

use super::history::{Incident, Layer, Plan, Pod, Random, Series};

const STANDARD_PACK: &str = include_str!("../../rules/standard.yml");
const LAYERS: [(&str, f64); 5] =
    [("edge", 0.01), ("gateway", 0.005), ("service", 0.03), ("database", 0.04), ("network", 0.01)];
const FROM: Timestamp = Timestamp::from_unix_s(1_772_409_600);
/// Prometheus' lookback: how old a sample may be that a poll still sees.
const LOOKBACK: Duration = Duration::from_minutes(5);
/// A page is explained by an incident that began before it and ended no longer ago than a short window reaches back
/// (30m is the longest of a page), two evaluations included.
const STILL_SHOWS: Duration = Duration::from_minutes(31);

/// How rules fared over histories. It is counted here by itself, so that [`slowburn::replay::score`] can be held against it.
#[derive(Debug, Clone, Default)]
pub struct Score {
    /// Incidents in which at least half of a layer's requests overran for 15 minutes.
    pub grave: usize,
    /// From the beginning of each of those that was paged to its first page, in seconds.
    pub delays_s: Vec<f64>,
    pub pages: usize,
    /// Pages that no incident explains.
    pub unexplained: usize,
}

impl Score {
    pub fn median_delay_s(&self) -> f64 {
        let mut delays = self.delays_s.clone();
        delays.sort_by(f64::total_cmp);
        delays.get(delays.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub fn add(&mut self, other: Score) {
        self.grave += other.grave;
        self.delays_s.extend(other.delays_s);
        self.pages += other.pages;
        self.unexplained += other.unexplained;
    }
}

/// A history of `days`, with grave incidents, milder ones, and stalls of a minute or two that are over before anybody
/// could look. Incidents lie hours apart, so that each page belongs to one.
pub fn plan(seed: u64, days: i64) -> Plan {
    let mut random = Random::new(seed);
    let pod = |layer: &str, number: i64| Pod {
        name: format!("{layer}-{number}"),
        offset: Duration::from_secs(random_offset(seed, number)),
        ..Pod::default()
    };
    let layers = LAYERS.map(|(name, budget_s)| Layer {
        name: name.to_owned(),
        bounds_s: [0.5, 1.0, 4.0].map(|share| budget_s * share).to_vec(),
        budget_s,
        slow: 0.002,
        rps: 40.0,
        pods: (0..2).map(|number| pod(name, number)).collect(),
    });
    let incidents = (1..days * 4).map(|number| {
        let from = FROM + Duration::from_hours(6 * number) + random.duration(Duration::from_hours(2));
        let (length, slow) = match number % 3 {
            0 => (Duration::from_minutes(15) + random.duration(Duration::from_minutes(60)), 0.5 + 0.49 * random.unit()),
            1 => (Duration::from_secs(45) + random.duration(Duration::from_secs(60)), 0.7 + 0.29 * random.unit()),
            _ => (Duration::from_minutes(5) + random.duration(Duration::from_minutes(20)), 0.1 * random.unit()),
        };
        let (layer, _) = LAYERS[(random.unit() * 4.999) as usize];
        Incident { layer: layer.to_owned(), from, to: from + length, slow }
    });
    Plan {
        seed,
        from: FROM,
        length: Duration::from_days(days),
        scrape_interval: Duration::from_secs(30),
        layers: layers.to_vec(),
        incidents: incidents.collect(),
        idle: Duration::ZERO,
    }
}

fn random_offset(seed: u64, number: i64) -> i64 {
    (seed as i64 * 7 + number * 11).rem_euclid(30)
}

/// The pack of that name over the checkout, every rule with so many consecutive windows.
pub fn spec(pack: &str, consecutive: u32) -> Arc<Spec> {
    let mut spec = Spec::clone(&configuration(pack).spec);
    for rule in spec.slos.iter_mut().flat_map(|slo| slo.rules.iter_mut()) {
        rule.consecutive = consecutive;
    }
    Arc::new(spec)
}

/// The pack of that name over the checkout.
pub fn configuration(pack: &str) -> config::Config {
    match config::load_texts("slowburn.yml", &texts(pack), &|_| None) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

/// Its files.
pub fn texts(pack: &str) -> BTreeMap<String, String> {
    let layers = LAYERS.map(|(name, budget_s)| {
        format!(
            "{{name: {name}, budget: {}ms, histogram: 'request_duration_seconds{{layer=\"{name}\"}}'}}",
            budget_s * 1e3
        )
    });
    let main = format!(
        "
source: {{prometheus: {{url: 'http://127.0.0.1:9090'}}}}
rule_files: [standard.yml]
receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:8080'}}}}]
packs: {{page-rules-of-sloth: [fast-burn, slow-burn]}}
journeys: [{{name: checkout, budget: 100ms, objective: 99%, rules: [{pack}], layers: [{}]}}]
",
        layers.join(", ")
    );
    [("slowburn.yml".into(), main), ("standard.yml".into(), STANDARD_PACK.into())].into()
}

/// Runs rules over a history and scores their pages.
pub fn score(plan: &Plan, series: &[Series], spec: Arc<Spec>) -> Score {
    let pages: Vec<Timestamp> = run(plan, series, spec)
        .iter()
        .filter(|told| told.urgency == Urgency::Page && told.stage == Stage::Critical)
        .filter(|told| matches!(told.reason, Reason::Opened | Reason::Escalated))
        .map(|told| told.at)
        .collect();
    let mut score = Score { pages: pages.len(), ..Score::default() };
    for incident in &plan.incidents {
        let grave = incident.slow >= 0.5 && incident.to.since(incident.from) >= Duration::from_minutes(15);
        if grave {
            score.grave += 1;
            let first = pages.iter().find(|at| explains(incident, **at));
            score.delays_s.extend(first.map(|at| at.since(incident.from).secs()));
        }
    }
    let explained = |at: &&Timestamp| plan.incidents.iter().any(|incident| explains(incident, **at));
    score.unexplained = pages.len() - pages.iter().filter(explained).count();
    score
}

fn explains(incident: &Incident, page: Timestamp) -> bool {
    incident.from <= page && page <= incident.to + STILL_SHOWS
}

/// Polls each slot of the history, as a daemon beside a Prometheus would.
fn run(plan: &Plan, series: &[Series], spec: Arc<Spec>) -> Vec<Arc<Notification>> {
    let interval = spec.interval;
    let mut engine = Engine::new(spec);
    let template = |labels: &Labels| LAYERS.iter().position(|(name, _)| labels["layer"] == *name);
    let bind = |series: &Series| -> Option<SeriesId> {
        engine.bind(template(&series.labels)?, &series.labels, &series.bounds_s)
    };
    let ids: Vec<SeriesId> = series.iter().filter_map(bind).collect();
    let mut next = vec![0; series.len()];
    let (mut snapshot, mut slot, mut told) = (Snapshot::default(), plan.from, Vec::new());
    while slot <= plan.to() {
        snapshot.clear();
        for ((series, id), next) in series.iter().zip(&ids).zip(&mut next) {
            while series.samples.get(*next).is_some_and(|(at, _)| *at <= slot) {
                *next += 1;
            }
            let newest = next.checked_sub(1).map(|newest| &series.samples[newest]);
            if let Some((_, counts)) = newest.filter(|(at, _)| slot.since(*at) < LOOKBACK) {
                snapshot.push(*id, counts);
            }
        }
        let mut effects = engine.step(slot, Input::Polled { slot, snapshot: &snapshot });
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Notify(notification) => told.push(notification),
                Effect::Deliver(delivery) => {
                    let (id, outcome) = (&delivery.notification.id, &Outcome::Delivered);
                    effects.extend(engine.step(slot, Input::Settled { id, outcome }));
                }
                _ => {}
            }
        }
        slot += interval;
    }
    told.sort_by_key(|notification| notification.at);
    told
}

#[test]
fn the_standard_pack_pages_what_is_grave_and_nothing_else() {
    let mut total = Score::default();
    for seed in 1..4 {
        let plan = plan(seed, 4);
        total.add(score(&plan, &plan.series(), spec("standard", 2)));
    }
    assert!(total.grave >= 12, "the histories hold too little: {total:?}");
    assert_eq!(total.delays_s.len(), total.grave, "missed: {total:?}");
    assert_eq!(total.unexplained, 0, "{total:?}");
    assert!(total.median_delay_s() <= 210.0, "{total:?}");
}
