//! A source that counts as its script says, and what befalls it. It answers for any slot that has passed, as a
//! Prometheus does, or only for now, as a service that is scraped.

use std::ops::Range;
use std::sync::Arc;

use slowburn::engine::Engine;
use slowburn::engine::histogram::{Labels, Snapshot};
use slowburn::engine::time::{Duration, Timestamp};

/// Requests take 50 ms, or 150: over the budget of 100.
const BOUNDS_S: [f64; 4] = [0.05, 0.1, 0.2, f64::INFINITY];
const REQUESTS: f64 = 100.0;

#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// No answer, with these words.
    Silent(&'static str),
    /// This SLO's series are missing from the answer, which says so.
    Partial(usize),
}

pub struct Source {
    interval: Duration,
    /// The slot of the first count.
    origin: Timestamp,
    /// By SLO: slow requests up to each slot.
    slow: Vec<Vec<f64>>,
    pub troubles: Vec<(Range<Timestamp>, Trouble)>,
    pub keeps_history: bool,
}

impl Source {
    /// `script` has, by SLO, the percentage of slow requests of each slot from `start` on; before it all is well for
    /// `past`.
    pub fn new(interval: Duration, start: Timestamp, past: Duration, script: &[Vec<u8>]) -> Self {
        let quiet = past.in_slots(interval) as usize + 2;
        let origin = start - Duration::from_ms(quiet as i64 * interval.ms());
        let slow = script.iter().map(|percents| {
            let mut sum = 0.0;
            let counts = percents.iter().map(|percent| {
                sum += REQUESTS * f64::from(*percent) / 100.0;
                sum
            });
            std::iter::repeat_n(0.0, quiet).chain(counts).collect()
        });
        Self { interval, origin, slow: slow.collect(), troubles: Vec::new(), keeps_history: true }
    }

    fn trouble(&self, at: Timestamp) -> Option<&Trouble> {
        self.troubles.iter().find(|(when, _)| when.contains(&at)).map(|(_, trouble)| trouble)
    }

    /// Why there is no answer at `now`.
    pub fn silence(&self, now: Timestamp) -> Option<&'static str> {
        match self.trouble(now) {
            Some(Trouble::Silent(why)) => Some(why),
            _ => None,
        }
    }

    /// What it answers at `now` for `slot`. Of the future it knows nothing.
    pub fn fill(&self, engine: &mut Engine, now: Timestamp, slot: Timestamp, snapshot: &mut Snapshot) {
        snapshot.clear();
        let absent = match self.trouble(now) {
            Some(Trouble::Partial(slo)) => Some(*slo),
            _ => None,
        };
        snapshot.partial = absent.is_some();
        let bounds: Arc<[f64]> = BOUNDS_S.into();
        for slo in (0..self.slow.len()).filter(|slo| Some(*slo) != absent) {
            let Some(counts) = self.counts(slo, now, slot) else { continue };
            let Some(id) = engine.bind(slo, &Labels::new(), &bounds) else { continue };
            snapshot.push(id, &counts);
        }
    }

    fn counts(&self, slo: usize, now: Timestamp, slot: Timestamp) -> Option<[f64; 4]> {
        let at = if self.keeps_history { slot } else { now.align_down(self.interval) };
        if at > now || at < self.origin {
            return None;
        }
        let number = (at.slot_number(self.interval) - self.origin.slot_number(self.interval)) as usize;
        let slow = self.slow[slo].get(number).or(self.slow[slo].last())?;
        let total = REQUESTS * (number + 1) as f64;
        Some([total - slow, total - slow, total, total])
    }
}
