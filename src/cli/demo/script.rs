//! The plot: which layer goes wrong when, how badly and for how long.
//!
//! Endless and decided by the seed. The first incident begins early, so that a newcomer sees a page within a minute;
//! the kinds follow each other in a fixed order, so that the slow burn is met within minutes too.

use super::random::Random;
use super::simulation::LAYERS;

/// The first incident begins here, in milliseconds after the start.
pub const FIRST_INCIDENT_MS: i64 = 20_000;

/// How an incident develops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Most requests are slow at once: the fast rules page within seconds.
    Outage,
    /// Enough requests are slow to warn, not enough to page.
    Degradation,
    /// Few requests are slow, for long: only the rule with the long window notices.
    SlowBurn,
    /// Some requests are slow: over the threshold, not by much.
    Brownout,
}

/// One layer answers some of its requests slowly for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub kind: Kind,
    /// Index into [`LAYERS`].
    pub layer: usize,
    /// In milliseconds after the start.
    pub begins_ms: i64,
    pub ends_ms: i64,
    /// The share of the layer's requests that are hit.
    pub share: f64,
}

/// All incidents, in order; never two at a time.
#[derive(Debug, Clone)]
pub struct Script {
    random: Random,
    stretch: i64,
    next_begins_ms: i64,
    count: usize,
    last_layer: usize,
}

impl Kind {
    const ORDER: [Kind; 4] = [Kind::Outage, Kind::Degradation, Kind::SlowBurn, Kind::Brownout];

    /// Least and greatest length in seconds, least and greatest share of requests hit.
    fn ranges(self) -> ([f64; 2], [f64; 2]) {
        match self {
            Kind::Outage => ([18.0, 22.0], [0.5, 0.65]),
            Kind::Degradation => ([25.0, 35.0], [0.126, 0.13]),
            Kind::SlowBurn => ([270.0, 300.0], [0.09, 0.1]),
            Kind::Brownout => ([30.0, 40.0], [0.19, 0.23]),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Outage => "outage",
            Kind::Degradation => "degradation",
            Kind::SlowBurn => "slow burn",
            Kind::Brownout => "brownout",
        }
    }
}

impl Script {
    /// `stretch` makes every incident and every pause that many times as long.
    pub fn new(seed: u64, stretch: u32) -> Self {
        Self {
            random: Random::new(seed ^ 0x5c21_97f0),
            stretch: i64::from(stretch.max(1)),
            next_begins_ms: FIRST_INCIDENT_MS,
            count: 0,
            last_layer: LAYERS.len(),
        }
    }

    /// Any layer but the one of the incident before.
    fn layer(&mut self) -> usize {
        let others: Vec<usize> = (0..LAYERS.len()).filter(|layer| *layer != self.last_layer).collect();
        others[self.random.below(others.len())]
    }

    fn span_ms(&mut self, [least_s, most_s]: [f64; 2]) -> i64 {
        // Whole seconds: an incident begins and ends with a slot.
        self.random.between(least_s, most_s).round() as i64 * 1000 * self.stretch
    }
}

impl Iterator for Script {
    type Item = Incident;

    fn next(&mut self) -> Option<Incident> {
        let kind = Kind::ORDER[self.count % Kind::ORDER.len()];
        let (length_s, share) = kind.ranges();
        let layer = self.layer();
        let begins_ms = self.next_begins_ms;
        let ends_ms = begins_ms + self.span_ms(length_s);
        let share = self.random.between(share[0], share[1]);
        self.count += 1;
        self.last_layer = layer;
        self.next_begins_ms = ends_ms + self.span_ms([100.0, 150.0]);
        Some(Incident { kind, layer, begins_ms, ends_ms, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incidents_follow_each_other_and_vary() {
        for seed in 0..20 {
            let plot: Vec<Incident> = Script::new(seed, 1).take(12).collect();
            assert_eq!(plot, Script::new(seed, 1).take(12).collect::<Vec<_>>());
            assert_eq!((plot[0].kind, plot[0].begins_ms), (Kind::Outage, FIRST_INCIDENT_MS));
            assert!(plot[0].ends_ms <= 45_000, "the first must be over soon enough to resolve within the minute");
            assert!(plot.iter().any(|incident| incident.kind == Kind::SlowBurn));
            for pair in plot.windows(2) {
                let pause_ms = pair[1].begins_ms - pair[0].ends_ms;
                assert!((100_000..=150_000).contains(&pause_ms) && pair[0].ends_ms > pair[0].begins_ms);
                assert_ne!(pair[0].layer, pair[1].layer);
            }
        }
        assert_ne!(Script::new(1, 1).nth(1), Script::new(2, 1).nth(1));
    }

    #[test]
    fn stretched_incidents_begin_as_early_and_last_longer() {
        let (plain, stretched) = (Script::new(3, 1).next().unwrap(), Script::new(3, 15).next().unwrap());
        assert_eq!(stretched.begins_ms, plain.begins_ms);
        assert_eq!(stretched.ends_ms - stretched.begins_ms, 15 * (plain.ends_ms - plain.begins_ms));
    }
}
