//! The scales of plots: where a time or a value lies, and which of them are written beside it.

use crate::engine::rule::Stage;
use crate::engine::time::{Duration, Timestamp};

use super::plot::{Band, span};
use super::samples::Samples;
use super::words;

/// At most so many times are written under a plot.
const MAX_TIMES: i64 = 10;
/// Distances of the times that are written, in seconds.
const STEPS_S: [i64; 18] = [
    60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 345_600, 604_800, 1_209_600,
    2_419_200, 7_257_600,
];
/// At most so many rows has a table ...
const MAX_ROWS: i64 = 40;
/// ... and fewer where there are many SLOs: the tables of one plot of each have so many rows together ...
const MAX_ROWS_IN_ALL: i64 = 3_000;
/// ... but never fewer than these.
const LEAST_ROWS: i64 = 12;
/// Values are written no closer to each other than this, in pixels.
const MIN_DISTANCE_PX: f64 = 15.0;
/// Beyond this many times its pivot, a scale is logarithmic.
const LINEAR_UP_TO: f64 = 8.0;

/// The time that all plots of a report share: the stretches of its [`Samples`].
#[derive(Debug, Clone, Copy)]
pub struct TimeAxis {
    pub start: Timestamp,
    pub stretch: Duration,
    pub stretches: usize,
    /// Of the table behind a plot.
    max_rows: i64,
}

/// Where values lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    /// `ln(1 + value / pivot)`: even below the pivot, logarithmic above it, and zero has its place.
    Log {
        pivot: f64,
        high: f64,
    },
}

impl TimeAxis {
    pub fn of(samples: &Samples) -> Self {
        let slos = samples.slos.len().max(1) as i64;
        let max_rows = (MAX_ROWS_IN_ALL / slos).clamp(LEAST_ROWS, MAX_ROWS);
        Self { start: samples.start, stretch: samples.stretch, stretches: samples.stretches, max_rows }
    }

    pub fn end(&self) -> Timestamp {
        self.begins(self.stretches)
    }

    /// When a stretch begins.
    pub fn begins(&self, stretch: usize) -> Timestamp {
        self.start + Duration::from_ms(self.stretch.ms() * stretch as i64)
    }

    /// Where stretches lie and how wide they are, in percent.
    pub fn place(&self, from: usize, to: usize) -> (String, String) {
        let band = Band { from: self.begins(from), to: self.begins(to), stage: Stage::Warning };
        span(self, &band)
    }

    fn length(&self) -> Duration {
        self.end().since(self.start)
    }

    /// From 0 at the start to 1 at the end.
    pub fn share(&self, at: Timestamp) -> f64 {
        (at.unix_ms() - self.start.unix_ms()) as f64 / self.length().ms().max(1) as f64
    }

    /// Round times with what is written there.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let few = |step: &Duration| self.length().ms() / step.ms() <= MAX_TIMES;
        let longest = Duration::from_ms(self.length().ms() / MAX_TIMES).max(Duration::from_secs(1));
        let step = STEPS_S.map(Duration::from_secs).into_iter().find(few).unwrap_or(longest);
        let mut at = self.start.align_up(step);
        let mut ticks = Vec::new();
        while at <= self.end() {
            ticks.push((self.share(at), words::tick(at)));
            at += step;
        }
        ticks
    }

    /// Stretches as the rows of a table, each of a round length if there is one.
    pub fn rows(&self) -> Vec<std::ops::Range<usize>> {
        let fits = |length: &Duration| {
            length.ms() % self.stretch.ms() == 0 && self.length().ms() / length.ms() < self.max_rows
        };
        let round = [self.stretch].into_iter().chain(STEPS_S.map(Duration::from_secs));
        let even = Duration::from_ms(self.stretch.ms() * (self.stretches as i64 / (self.max_rows - 1) + 1));
        let length = round.into_iter().find(fits).unwrap_or(even);
        let number = |stretch: usize| self.begins(stretch).slot_number(length);
        let mut rows: Vec<std::ops::Range<usize>> = Vec::new();
        for stretch in 0..self.stretches {
            match rows.last_mut() {
                Some(row) if number(row.start) == number(stretch) => row.end = stretch + 1,
                _ => rows.push(stretch..stretch + 1),
            }
        }
        rows
    }
}

impl Scale {
    /// From zero to `highest`; logarithmic if that is far beyond `pivot`.
    pub fn up_to(highest: f64, pivot: f64) -> Self {
        let high = if highest > 0.0 { highest } else { pivot };
        if highest > LINEAR_UP_TO * pivot { Scale::Log { pivot, high } } else { Scale::Linear { low: 0.0, high } }
    }

    /// From 0 at the bottom to 1 at the top; what lies outside is at the edge.
    pub fn share(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear { low, high } => (value - low) / (high - low),
            Scale::Log { pivot, high } => (value.max(0.0) / pivot).ln_1p() / (high / pivot).ln_1p(),
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values, ascending, that are far enough from each other in a plot of this height.
    pub fn ticks(self, height_px: f64) -> Vec<f64> {
        let candidates = match self {
            Scale::Linear { low, high } => {
                let step = round_step((high - low) / (height_px / 24.0).max(1.0));
                let first = (low / step).ceil() as i64;
                (first..).map(|n| n as f64 * step).take_while(|value| *value <= high).take(100).collect()
            }
            Scale::Log { pivot, high } => {
                let decades = |of: f64| (-3..9).map(move |power| of * 10f64.powi(power));
                let all = [0.0].into_iter().chain(decades(1.0)).chain(decades(3.0));
                all.filter(|value| *value == 0.0 || *value > pivot / 3.0 && *value <= high).collect::<Vec<f64>>()
            }
        };
        let mut ticks: Vec<f64> = Vec::new();
        for value in candidates {
            let distance = |other: &f64| (self.share(*other) - self.share(value)).abs() * height_px;
            if ticks.iter().all(|other| distance(other) >= MIN_DISTANCE_PX) {
                ticks.push(value);
            }
        }
        ticks.sort_by(f64::total_cmp);
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_round_ticks() {
        let check = |scale: Scale, expected: &[f64]| assert_eq!(scale.ticks(72.0), expected, "{scale:?}");
        check(Scale::up_to(5.0, 1.0), &[0.0, 2.0, 4.0]);
        check(Scale::up_to(100.0, 1.0), &[0.0, 3.0, 10.0, 30.0, 100.0]);
        check(Scale::Linear { low: -1.0, high: 1.0 }, &[-1.0, 0.0, 1.0]);
        check(Scale::up_to(0.0, 1.0), &[0.0, 0.5, 1.0]);
    }

    #[test]
    fn times_have_round_ticks() {
        let start = Timestamp::from_unix_s(1_772_323_200);
        let check = |stretch_s, stretches, expected: &[&str]| {
            let axis = TimeAxis { start, stretch: Duration::from_secs(stretch_s), stretches, max_rows: 40 };
            let ticks: Vec<String> = axis.ticks().into_iter().map(|(_, label)| label).collect();
            assert_eq!(ticks, expected);
            let rows = axis.rows();
            assert!(rows.len() <= 41 && rows.iter().map(|row| row.len()).sum::<usize>() == stretches, "{rows:?}");
        };
        check(30, 120, &["Mar 1", "00:10", "00:20", "00:30", "00:40", "00:50", "01:00"]);
        check(
            3600,
            30,
            &["Mar 1", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "Mar 2", "03:00", "06:00"],
        );
    }

    #[test]
    fn shares_stay_inside() {
        for scale in [Scale::up_to(3.0, 1.0), Scale::up_to(1e6, 1.0), Scale::Linear { low: -2.0, high: 1.0 }] {
            assert!([-1e9, -1.0, 0.0, 0.5, 1e3, f64::INFINITY].iter().all(|v| (0.0..=1.0).contains(&scale.share(*v))));
        }
    }
}
