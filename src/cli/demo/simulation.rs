//! Five layers of a checkout under load, as a pure machine that time is fed to.
//!
//! Every request passes all five layers; the journey takes as long as they do together. Latencies are log-normal: most
//! requests take about a third of the layer's budget, a few in a thousand overrun it. An incident makes a share of one
//! layer's requests several times slower.

use std::fmt::Write as _;

use crate::engine::histogram::Poll;

use super::random::Random;
use super::script::{Incident, Script};

/// How a layer behaves.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    pub name: &'static str,
    /// As in the demo's configuration.
    budget_ms: f64,
    /// Share of the budget that the median request takes.
    median: f64,
    /// Standard deviation of the latency's natural logarithm.
    sigma: f64,
    /// How many times slower a request is that an incident hits.
    slowdown: f64,
}

pub const LAYERS: [Layer; 5] = [
    Layer { name: "edge", budget_ms: 10.0, median: 0.34, sigma: 0.37, slowdown: 7.0 },
    Layer { name: "gateway", budget_ms: 5.0, median: 0.34, sigma: 0.365, slowdown: 7.0 },
    Layer { name: "service", budget_ms: 30.0, median: 0.35, sigma: 0.36, slowdown: 10.0 },
    Layer { name: "database", budget_ms: 40.0, median: 0.34, sigma: 0.375, slowdown: 9.0 },
    Layer { name: "network", budget_ms: 10.0, median: 0.38, sigma: 0.33, slowdown: 7.0 },
];

/// Requests a second, on average.
pub const REQUESTS_PER_S: f64 = 400.0;

/// Upper bounds of the histograms' buckets, without `+Inf`. Every budget is one of them.
const BOUNDS_MS: [f64; 16] =
    [1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 250.0, 500.0, 1000.0];
const TICK_MS: i64 = 100;
/// A gap longer than this, such as a laptop's sleep, is passed over without requests.
const MOST_CAUGHT_UP_MS: i64 = 300_000;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Simulation {
    random: Random,
    script: Script,
    /// The one under way, or else the next.
    incident: Option<Incident>,
    now_ms: i64,
    /// By layer, then the journey as a whole.
    histograms: [Buckets; LAYERS.len() + 1],
}

#[derive(Debug, Clone, Default)]
struct Buckets {
    /// Not cumulative; the last is beyond every bound.
    counts: [u64; BOUNDS_MS.len() + 1],
    sum_ms: f64,
}

impl Simulation {
    /// Begins at `begin_ms`, which may be before the story's start at 0: then some healthy time comes first.
    pub fn new(seed: u64, stretch: u32, begin_ms: i64) -> Self {
        let mut script = Script::new(seed, stretch);
        let incident = script.next();
        Self { random: Random::new(seed), script, incident, now_ms: begin_ms, histograms: Default::default() }
    }

    /// Lets time pass until `now_ms` after the start. How often one calls it makes no difference to what happens.
    pub fn advance_to(&mut self, now_ms: i64) {
        let earliest_ms = (now_ms - MOST_CAUGHT_UP_MS).div_euclid(TICK_MS) * TICK_MS;
        self.now_ms = self.now_ms.max(earliest_ms);
        while self.now_ms + TICK_MS <= now_ms {
            self.turn_page();
            self.tick();
            self.now_ms += TICK_MS;
        }
        self.turn_page();
    }

    fn turn_page(&mut self) {
        while self.incident.as_ref().is_some_and(|incident| incident.ends_ms <= self.now_ms) {
            self.incident = self.script.next();
        }
    }

    /// The incident under way.
    fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref().filter(|incident| (incident.begins_ms..incident.ends_ms).contains(&self.now_ms))
    }

    /// The incident under way, or else the next.
    pub fn current_or_next(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }

    fn tick(&mut self) {
        // Traffic swells and ebbs by a tenth; arrivals are Poisson's, near enough.
        let swell = 1.0 + 0.1 * (self.now_ms as f64 / 97_000.0 * std::f64::consts::TAU).sin();
        let expected = REQUESTS_PER_S * swell * TICK_MS as f64 / 1000.0;
        let arrivals = expected + expected.sqrt() * self.random.normals()[0];
        let hit = self.incident().map(|incident| (incident.layer, incident.share));
        for _ in 0..arrivals.round().max(0.0) as u64 {
            self.request(hit);
        }
    }

    fn request(&mut self, hit: Option<(usize, f64)>) {
        let [a, b] = self.random.normals();
        let [c, d] = self.random.normals();
        let [e, _] = self.random.normals();
        let mut journey_ms = 0.0;
        for (index, (layer, z)) in LAYERS.iter().zip([a, b, c, d, e]).enumerate() {
            let mut latency_ms = layer.budget_ms * layer.median * (layer.sigma * z).exp();
            if hit.is_some_and(|(layer, share)| layer == index && self.random.unit() < share) {
                latency_ms *= layer.slowdown;
            }
            self.histograms[index].observe(latency_ms);
            journey_ms += latency_ms;
        }
        self.histograms[LAYERS.len()].observe(journey_ms);
    }

    /// Brings a poll of [`Simulation::metrics`] up to date: what reading the present text would yield.
    pub fn update(&self, poll: &mut Poll) {
        for (_, histogram) in &mut poll.series {
            let layer = histogram.labels.get("layer");
            let index = LAYERS.iter().position(|known| Some(known.name) == layer.map(String::as_str));
            let mut total = 0;
            for (count, own) in histogram.counts.iter_mut().zip(self.histograms[index.unwrap_or(LAYERS.len())].counts) {
                total += own;
                *count = total as f64;
            }
        }
    }

    /// What a service would show under `/metrics`, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::with_capacity(12_000);
        text.push_str("# HELP request_duration_seconds Time a layer took, simulated.\n");
        text.push_str("# TYPE request_duration_seconds histogram\n");
        for (layer, histogram) in LAYERS.iter().zip(&self.histograms) {
            histogram.write(&mut text, "request_duration_seconds", &format!("layer=\"{}\"", layer.name));
        }
        text.push_str("# HELP http_request_duration_seconds Time a request took as users feel it, simulated.\n");
        text.push_str("# TYPE http_request_duration_seconds histogram\n");
        self.histograms[LAYERS.len()].write(&mut text, "http_request_duration_seconds", "route=\"/checkout\"");
        text
    }
}

impl Buckets {
    fn observe(&mut self, latency_ms: f64) {
        self.counts[BOUNDS_MS.partition_point(|bound| *bound < latency_ms)] += 1;
        self.sum_ms += latency_ms;
    }

    fn write(&self, text: &mut String, metric: &str, labels: &str) {
        let bounds = BOUNDS_MS.iter().map(|bound_ms| (bound_ms / 1000.0).to_string()).chain(["+Inf".to_owned()]);
        let mut total = 0;
        for (bound, count) in bounds.zip(self.counts) {
            total += count;
            let _ = writeln!(text, "{metric}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        let _ = writeln!(text, "{metric}_sum{{{labels}}} {}", self.sum_ms / 1000.0);
        let _ = writeln!(text, "{metric}_count{{{labels}}} {total}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::script::Kind;

    /// The budget of a layer, or of the journey.
    fn budget_ms(index: usize) -> f64 {
        LAYERS.get(index).map_or(100.0, |layer| layer.budget_ms)
    }

    /// Requests by bucket until `to_ms`, for each layer and the journey.
    fn play(simulation: &mut Simulation, to_ms: i64) -> Vec<Vec<u64>> {
        let before = simulation.histograms.clone();
        simulation.advance_to(to_ms);
        let increase =
            |(now, then): (&Buckets, &Buckets)| now.counts.iter().zip(then.counts).map(|(a, b)| a - b).collect();
        simulation.histograms.iter().zip(&before).map(increase).collect()
    }

    fn slow_share(index: usize, counts: &[u64]) -> f64 {
        let within = BOUNDS_MS.iter().zip(counts).take_while(|(bound, _)| **bound <= budget_ms(index));
        1.0 - within.map(|(_, count)| count).sum::<u64>() as f64 / counts.iter().sum::<u64>() as f64
    }

    #[test]
    fn healthy_layers_keep_their_budgets() {
        let mut simulation = Simulation::new(1, 1, -97_000);
        for (index, counts) in play(&mut simulation, 0).iter().enumerate() {
            let total = counts.iter().sum::<u64>() as f64;
            assert!((total / 97.0 / REQUESTS_PER_S - 1.0).abs() < 0.03, "{total} requests in 97 s");
            let slow = slow_share(index, counts);
            assert!(slow < 0.005 && (index == LAYERS.len() || slow > 0.0005), "{index}: {slow} slow");
            let quantile_ms = |q: f64| {
                let below = counts.iter().scan(0, |below, count| {
                    *below += count;
                    Some(*below)
                });
                let bucket = below.take_while(|below| (*below as f64) < q * total).count();
                BOUNDS_MS.get(bucket).copied().unwrap_or(f64::INFINITY)
            };
            let (p50_ms, p95_ms) = (quantile_ms(0.5), quantile_ms(0.95));
            assert!(p50_ms <= 0.5 * budget_ms(index), "{index}: p50 {p50_ms} ms");
            assert!((0.5..=1.0).contains(&(p95_ms / budget_ms(index))), "{index}: p95 {p95_ms} ms");
        }
    }

    #[test]
    fn incidents_overrun_the_budget_of_their_layer_and_no_other() {
        for incident in Script::new(2, 1).take(8) {
            let mut simulation = Simulation::new(2, 1, incident.begins_ms);
            let counts = play(&mut simulation, incident.begins_ms + 18_000);
            for (index, counts) in counts[..LAYERS.len()].iter().enumerate() {
                let expected = if index == incident.layer { incident.share } else { 0.0 };
                let slow = slow_share(index, counts);
                assert!((slow - expected).abs() < 0.025, "{incident:?}: {slow} of layer {index}");
            }
        }
    }

    #[test]
    fn users_feel_an_outage_of_the_database() {
        let incident = Script::new(0, 1).next().unwrap();
        assert_eq!((incident.kind, LAYERS[incident.layer].name), (Kind::Outage, "database"));
        let counts = play(&mut Simulation::new(0, 1, incident.begins_ms), incident.ends_ms);
        assert!(slow_share(LAYERS.len(), &counts[LAYERS.len()]) > 0.3);
    }

    #[test]
    fn the_story_depends_on_the_seed_and_not_on_who_watches() {
        let after = |seed, steps_ms: &[i64]| {
            let mut simulation = Simulation::new(seed, 1, -1000);
            steps_ms.iter().for_each(|ms| simulation.advance_to(*ms));
            simulation.metrics()
        };
        assert_eq!(after(5, &[30_000]), after(5, &[-1000, 33, 1250, 29_999, 30_000, 30_050, 4]));
        assert_ne!(after(5, &[30_000]), after(6, &[30_000]));
    }

    #[test]
    fn a_long_sleep_is_passed_over() {
        let mut simulation = Simulation::new(5, 1, 0);
        simulation.advance_to(1000 * MOST_CAUGHT_UP_MS);
        let requests: u64 = simulation.histograms[0].counts.iter().sum();
        assert!((requests as f64) < 1.1 * REQUESTS_PER_S * MOST_CAUGHT_UP_MS as f64 / 1000.0);
    }
}
