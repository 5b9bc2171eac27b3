//! Made-up histories with known truth: layers with latencies and traffic, and what befalls their processes.
//!
//! Everything follows from a seed; nothing asks for the time. Requests of a scrape interval are Poisson-distributed,
//! bucket by bucket; latencies are log-logistic, because the share beyond a bound then has a closed form.

use std::fmt::Write as _;
use std::sync::Arc;

use slowburn::engine::histogram::Labels;
use slowburn::engine::time::{Duration, Timestamp};

/// The histogram all layers are in, told apart by `layer` and `pod`.
pub const METRIC: &str = "request_duration_seconds";

/// What a history is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub from: Timestamp,
    pub length: Duration,
    pub scrape_interval: Duration,
    pub layers: Vec<Layer>,
    pub incidents: Vec<Incident>,
    /// Daily quiet: no requests at all from midnight, UTC, for this long.
    pub idle: Duration,
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub name: String,
    /// In seconds, ascending, without `+Inf`.
    pub bounds_s: Vec<f64>,
    pub budget_s: f64,
    /// Share of requests over the budget while all is well.
    pub slow: f64,
    /// Requests a second of each pod at the busiest time of day.
    pub rps: f64,
    pub pods: Vec<Pod>,
}

/// One process' series, and what befalls it. Times count from the history's start.
#[derive(Debug, Clone, Default)]
pub struct Pod {
    pub name: String,
    /// When it is scraped, within the scrape interval.
    pub offset: Duration,
    pub born: Duration,
    /// `None` for to the end.
    pub dies: Option<Duration>,
    /// Its counters start anew.
    pub resets: Vec<Duration>,
    /// `(from, length)` without samples, while it goes on serving.
    pub gaps: Vec<(Duration, Duration)>,
}

/// A time in which a share of a layer's requests overruns the budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub layer: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub slow: f64,
}

/// A pod's samples.
#[derive(Debug, Clone)]
pub struct Series {
    pub labels: Labels,
    /// In seconds, with `+Inf`.
    pub bounds_s: Arc<[f64]>,
    /// Times ascend; counts are cumulative, one a bound.
    pub samples: Vec<(Timestamp, Vec<f64>)>,
}

impl Plan {
    pub fn to(&self) -> Timestamp {
        self.from + self.length
    }

    /// The samples of every pod. The same plan gives the same samples.
    pub fn series(&self) -> Vec<Series> {
        let mut random = Random::new(self.seed);
        self.layers
            .iter()
            .flat_map(|layer| layer.pods.iter().map(move |pod| (layer, pod)))
            .map(|(layer, pod)| self.live(layer, pod, &mut random))
            .collect()
    }

    /// Share of a layer's requests that are over its budget at an instant.
    fn slow(&self, layer: &Layer, at: Timestamp) -> f64 {
        let now = self.incidents.iter().filter(|i| i.layer == layer.name && i.from <= at && at < i.to);
        now.map(|incident| incident.slow).fold(layer.slow, f64::max)
    }

    /// Share of the busiest time's traffic: quietest at 3, busiest at 15 o'clock.
    fn traffic(&self, at: Timestamp) -> f64 {
        let day_ms = at.unix_ms().rem_euclid(86_400_000);
        if day_ms < self.idle.ms() {
            return 0.0;
        }
        let hour = day_ms as f64 / 3.6e6;
        0.6 - 0.4 * ((hour - 3.0) / 24.0 * std::f64::consts::TAU).cos()
    }

    fn live(&self, layer: &Layer, pod: &Pod, random: &mut Random) -> Series {
        let bounds_s: Arc<[f64]> = layer.bounds_s.iter().copied().chain([f64::INFINITY]).collect();
        let labels = [("layer", &layer.name), ("pod", &pod.name)].map(|(name, value)| (name.to_owned(), value.clone()));
        let mut counts = vec![0.0; bounds_s.len()];
        let mut samples = Vec::new();
        let mut before = self.from + pod.born;
        let end = pod.dies.map_or(self.to(), |dies| self.from + dies);
        let mut at = before.align_up(self.scrape_interval) + pod.offset;
        while at <= end {
            let (since, until) = (before.since(self.from), at.since(self.from));
            if pod.resets.iter().any(|reset| since < *reset && *reset <= until) {
                counts.fill(0.0);
            }
            let events = layer.rps * self.traffic(at) * at.since(before).secs();
            let slow = self.slow(layer, at);
            let mut below = 0.0;
            let mut requests = 0.0;
            for (count, bound_s) in counts.iter_mut().zip(bounds_s.iter()) {
                let share = share_within(*bound_s, layer.budget_s, slow);
                requests += random.poisson(events * (share - below));
                below = share;
                *count += requests;
            }
            if !pod.gaps.iter().any(|(gap, length)| *gap <= until && until.ms() < gap.ms() + length.ms()) {
                samples.push((at, counts.clone()));
            }
            before = at;
            at += self.scrape_interval;
        }
        Series { labels: labels.into(), bounds_s, samples }
    }
}

/// Share of requests up to `bound_s`, if a share `slow` is over `budget_s`: log-logistic with shape 4.
fn share_within(bound_s: f64, budget_s: f64, slow: f64) -> f64 {
    let odds_over_budget = slow / (1.0 - slow);
    1.0 / (1.0 + odds_over_budget * (budget_s / bound_s).powi(4))
}

/// The series as OpenMetrics text, for promtool.
pub fn openmetrics(series: &[Series]) -> String {
    let mut text = format!("# TYPE {METRIC} histogram\n");
    for Series { labels, bounds_s, samples } in series {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = labels.join(",");
        for (bucket, bound_s) in bounds_s.iter().enumerate() {
            let le = if bound_s.is_finite() { bound_s.to_string() } else { "+Inf".to_owned() };
            for (at, counts) in samples {
                let (count, at_s) = (counts[bucket], at.unix_s());
                writeln!(text, "{METRIC}_bucket{{{labels},le=\"{le}\"}} {count} {at_s}").expect("a string grows");
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

/// Small, seeded and good enough. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// In (0, 1].
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// One of the whole numbers below.
    pub fn below(&mut self, below: usize) -> usize {
        ((1.0 - self.unit()) * below as f64) as usize
    }

    /// Whole seconds in [0, below).
    pub fn duration(&mut self, below: Duration) -> Duration {
        Duration::from_secs((below.secs() * (1.0 - self.unit())) as i64)
    }

    /// Exact below 30, from the normal distribution above.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
            return (mean + mean.sqrt() * normal).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(seed: u64, slow: f64, resets_min: &[i64], gap: (i64, i64)) -> Plan {
        let minutes = Duration::from_minutes;
        let pod = Pod {
            name: "a".to_owned(),
            offset: Duration::from_secs(7),
            resets: resets_min.iter().copied().map(minutes).collect(),
            gaps: vec![(minutes(gap.0), minutes(gap.1))],
            ..Pod::default()
        };
        let layer = Layer {
            name: "edge".to_owned(),
            bounds_s: vec![0.005, 0.01, 0.02],
            budget_s: 0.01,
            slow,
            rps: 100.0,
            pods: vec![pod],
        };
        Plan {
            seed,
            from: Timestamp::from_unix_s(1_772_409_600),
            length: Duration::from_hours(6),
            scrape_interval: Duration::from_secs(30),
            layers: vec![layer],
            incidents: Vec::new(),
            idle: Duration::ZERO,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn counters_only_fall_where_they_are_reset(
            seed: u64,
            slow in 0.001..0.9f64,
            resets_min in prop::collection::btree_set(1i64..360, 0..4),
            gap in (0i64..360, 0i64..60),
        ) {
            let resets_min: Vec<i64> = resets_min.into_iter().collect();
            let plan = plan(seed, slow, &resets_min, gap);
            let series = plan.series().remove(0);
            prop_assert!(series.samples.iter().all(|(_, counts)| counts.is_sorted()), "buckets are cumulative");
            for pair in series.samples.windows(2) {
                let ((before, earlier), (at, later)) = (&pair[0], &pair[1]);
                let reset = resets_min.iter().map(|reset| plan.from + Duration::from_minutes(*reset));
                let reset = reset.into_iter().any(|reset| *before < reset && reset <= *at);
                let gap = at.since(*before) > plan.scrape_interval;
                let fell = earlier.iter().zip(later).any(|(earlier, later)| later < earlier);
                prop_assert!(!fell || reset);
                prop_assert!(!reset || fell || gap || earlier[3] < 10_000.0, "a reset shows");
            }
            prop_assert_eq!(openmetrics(&plan.series()), openmetrics(&[series]), "a plan tells one story");
        }

        #[test]
        fn the_share_of_slow_requests_is_as_planned(seed: u64, slow in 0.01..0.9f64) {
            let samples = plan(seed, slow, &[], (0, 0)).series().remove(0).samples;
            let counts = &samples.last().unwrap().1;
            let found = 1.0 - counts[1] / counts[3];
            // A million requests: five times the standard error.
            prop_assert!((found - slow).abs() < 5.0 * (slow * (1.0 - slow) / counts[3]).sqrt(), "{}", found);
        }
    }
}
