//! What every SLO measured over a replay, thinned while it comes in: the lowest, the highest and the last value of each
//! stretch of time, and how much of it was seen. Memory is bounded by the number of stretches, and no peak is lost.

use std::sync::Arc;

use crate::engine::histogram::Labels;
use crate::engine::rule::Limit;
use crate::engine::sli::SloSpec;
use crate::engine::slo::{Sight, Slo, Windows, message_window};
use crate::engine::time::{Duration, Timestamp};
use crate::engine::window::Age;
use crate::engine::{Engine, Spec};

/// A plot is not wider than this many pixels: more stretches would not be seen.
const MAX_STRETCHES: i64 = 900;

/// The usage of a limit on exhaustion is cut here: it knows no bounds once the budget is gone.
pub const MAX_USAGE: f64 = 100.0;

/// The quantiles that messages tell.
pub const TOLD: [f64; 3] = [0.5, 0.95, 0.99];

/// Lengths of stretches, in seconds, that begin at round times of day.
const ROUND_S: [i64; 20] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800];

/// The lowest, the highest and the last value of a stretch; not a number where nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    pub low: f32,
    pub high: f32,
    pub last: f32,
}

/// A number that is looked at in every slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gauge {
    BurnRate(Duration),
    /// In milliseconds.
    Quantile {
        quantile: f64,
        over: Duration,
    },
    /// Share of the period's error budget that is left.
    BudgetLeft,
    /// Share of the limit of the rule with this index that is in use.
    Usage(usize),
}

/// How many slots of a stretch were seen how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sights {
    pub whole: u32,
    pub partial: u32,
    pub unborn: u32,
    pub lost: u32,
    pub blind: u32,
    pub unmeasurable: u32,
}

/// The greatest usage of a rule, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    pub usage: f64,
    pub at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Track {
    pub gauge: Gauge,
    /// One for each stretch.
    pub extents: Vec<Extent>,
}

/// One SLO over the replay.
#[derive(Debug, Clone)]
pub struct SloSamples {
    /// Index into [`Spec::slos`].
    pub template: usize,
    pub labels: Labels,
    pub tracks: Vec<Track>,
    pub sights: Vec<Sights>,
    /// One for each rule.
    pub peaks: Vec<Option<Peak>>,
    /// Share of the period that was seen by the last slot of each stretch; not a number where nothing was measured.
    pub coverage: Vec<f32>,
    /// Where its histogram ends, in milliseconds: a quantile there is at least that. Zero if it was never seen.
    pub top_ms: f64,
}

/// All SLOs over the replay.
#[derive(Debug, Clone)]
pub struct Samples {
    spec: Arc<Spec>,
    pub start: Timestamp,
    /// The last slot that was to be replayed.
    pub to: Timestamp,
    /// The length of a stretch, a multiple of the engine's interval.
    pub stretch: Duration,
    /// How many there are.
    pub stretches: usize,
    /// In the order in which they appeared.
    pub slos: Vec<SloSamples>,
    /// By template.
    plans: Vec<Plan>,
}

/// What is asked of every SLO of a template.
#[derive(Debug, Clone)]
struct Plan {
    /// Each with the window it looks back over.
    gauges: Vec<(Gauge, Age)>,
    rules: Vec<Windows>,
    /// What the quantiles in messages look back over.
    told: Age,
}

impl Extent {
    pub const NONE: Extent = Extent { low: f32::NAN, high: f32::NAN, last: f32::NAN };

    pub fn is_none(self) -> bool {
        self.high.is_nan()
    }

    /// Takes a later value, or none, which is not a number.
    fn add(&mut self, value: f64) {
        let value = value as f32;
        self.join(Extent { low: value, high: value, last: value });
    }

    /// Takes in what comes later.
    pub fn join(&mut self, later: Extent) {
        self.low = self.low.min(later.low);
        self.high = self.high.max(later.high);
        if !later.is_none() {
            self.last = later.last;
        }
    }
}

impl Sights {
    fn note(&mut self, sight: Sight) {
        *match sight {
            Sight::Ok | Sight::Idle => &mut self.whole,
            Sight::Partial => &mut self.partial,
            Sight::Unborn => &mut self.unborn,
            Sight::Lost => &mut self.lost,
            Sight::Blind => &mut self.blind,
            Sight::Unmeasurable => &mut self.unmeasurable,
        } += 1;
    }

    pub fn join(&mut self, later: Sights) {
        self.whole += later.whole;
        self.partial += later.partial;
        self.unborn += later.unborn;
        self.lost += later.lost;
        self.blind += later.blind;
        self.unmeasurable += later.unmeasurable;
    }

    /// Slots of which nothing is known.
    pub fn unseen(self) -> u32 {
        self.unborn + self.lost + self.blind + self.unmeasurable
    }

    /// `4 of 120 lost`, for what was not seen in full.
    pub fn in_words(self) -> String {
        let kinds = [
            (self.lost, "lost"),
            (self.unborn, "never seen before"),
            (self.blind, "without an answer"),
            (self.unmeasurable, "not measurable"),
            (self.partial, "partial"),
        ];
        let said = kinds.iter().filter(|(slots, _)| *slots > 0).map(|(slots, what)| format!("{slots} {what}"));
        let said: Vec<String> = said.collect();
        match self.slots() {
            0 => "not replayed".to_owned(),
            _ if said.is_empty() => String::new(),
            slots => format!("{} of {slots}", said.join(", ")),
        }
    }

    /// Whether next to nothing is missing: less than a thousandth.
    pub fn is_nearly_whole(self) -> bool {
        1000 * u64::from(self.unseen() + self.partial) < u64::from(self.slots())
    }

    /// Slots that were looked at.
    pub fn slots(self) -> u32 {
        self.whole + self.partial + self.unseen()
    }
}

impl Samples {
    /// For a replay of `[from, to]`.
    pub fn new(spec: Arc<Spec>, from: Timestamp, to: Timestamp) -> Self {
        let stretch = stretch(to.since(from), spec.interval);
        let start = from.align_down(stretch);
        let stretches = (to.slot_number(stretch) - start.slot_number(stretch) + 1).max(1) as usize;
        let plans = spec.slos.iter().map(|slo| Plan::new(slo, spec.interval)).collect();
        Self { spec, start, to, stretch, stretches, slos: Vec::new(), plans }
    }

    /// Looks at every SLO in a slot that was evaluated.
    pub fn look(&mut self, engine: &Engine, slot: Timestamp) {
        for slo in engine.slos().iter().skip(self.slos.len()) {
            let plan = &self.plans[slo.template];
            self.slos.push(SloSamples::new(slo, plan, self.stretches));
        }
        let stretch = slot.slot_number(self.stretch) - self.start.slot_number(self.stretch);
        let Some(stretch) = usize::try_from(stretch).ok().filter(|stretch| *stretch < self.stretches) else { return };
        let number = slot.slot_number(self.spec.interval);
        for (slo, samples) in engine.slos().iter().zip(&mut self.slos) {
            let (spec, plan) = (&self.spec.slos[slo.template], &self.plans[slo.template]);
            samples.sights[stretch].note(slo.sight);
            let seen = match slo.sight {
                Sight::Ok | Sight::Idle => true,
                Sight::Partial => slo.is_present(number),
                Sight::Unborn | Sight::Lost | Sight::Blind | Sight::Unmeasurable => false,
            };
            if seen {
                samples.measure(stretch, slot, slo, spec, plan);
            }
        }
    }

    /// When a stretch begins.
    pub fn begins(&self, stretch: usize) -> Timestamp {
        self.start + Duration::from_ms(self.stretch.ms() * stretch as i64)
    }

    /// The same in stretches `times` as long, at most.
    pub fn coarser(mut self, times: usize) -> Self {
        if times > 1 {
            for slo in &mut self.slos {
                slo.sights = chunks(&slo.sights, times, Sights::default(), Sights::join);
                let last = |whole: &mut f32, part: f32| *whole = if part.is_nan() { *whole } else { part };
                slo.coverage = chunks(&slo.coverage, times, f32::NAN, last);
                for track in &mut slo.tracks {
                    track.extents = chunks(&track.extents, times, Extent::NONE, Extent::join);
                }
            }
            self.stretches = self.stretches.div_ceil(times);
            self.stretch = Duration::from_ms(self.stretch.ms() * times as i64);
        }
        self
    }
}

/// Every `times` of them as one.
pub fn chunks<T: Copy>(all: &[T], times: usize, none: T, join: impl Fn(&mut T, T)) -> Vec<T> {
    let joined = all.chunks(times).map(|chunk| {
        let mut whole = none;
        chunk.iter().for_each(|part| join(&mut whole, *part));
        whole
    });
    joined.collect()
}

/// The shortest round length that cuts `range` into few enough stretches.
fn stretch(range: Duration, interval: Duration) -> Duration {
    let fits = |length: Duration| range.ms() / length.ms().max(1) <= MAX_STRETCHES;
    if fits(interval) {
        return interval;
    }
    let in_intervals = |length: Duration| Duration::from_ms(length.in_slots(interval) * interval.ms());
    let mut round = ROUND_S.map(|s| in_intervals(Duration::from_secs(s))).into_iter();
    round.find(|length| fits(*length)).unwrap_or_else(|| in_intervals(range.times(1.0 / MAX_STRETCHES as f64)))
}

impl Plan {
    fn new(slo: &SloSpec, interval: Duration) -> Self {
        let limits = || slo.rules.iter().map(|rule| rule.limit);
        let mut windows: Vec<Duration> = limits()
            .filter(|limit| matches!(limit, Limit::BurnRate { .. }))
            .flat_map(|limit| [limit.short_window(), limit.long_window()])
            .flatten()
            .collect();
        windows.sort();
        windows.dedup();
        let told = message_window(slo);
        let mut gauges: Vec<(Gauge, Duration)> = windows.into_iter().map(|it| (Gauge::BurnRate(it), it)).collect();
        gauges.push((Gauge::BudgetLeft, slo.period));
        gauges.extend(TOLD.map(|quantile| (Gauge::Quantile { quantile, over: told }, told)));
        for (rule, limit) in limits().enumerate() {
            let gauge = match limit {
                Limit::Latency { quantile, over } => (Gauge::Quantile { quantile, over }, over),
                Limit::Exhaustion { short, .. } => (Gauge::Usage(rule), short),
                Limit::BurnRate { .. } | Limit::BudgetConsumed { .. } => continue,
            };
            if !gauges.contains(&gauge) {
                gauges.push(gauge);
            }
        }
        let age = |window: Duration| Age::in_slots(window.in_slots(interval));
        Self {
            gauges: gauges.into_iter().map(|(gauge, window)| (gauge, age(window))).collect(),
            rules: limits().map(|limit| Windows::new(&limit, slo.period, interval)).collect(),
            told: age(told),
        }
    }
}

impl SloSamples {
    fn new(slo: &Slo, plan: &Plan, stretches: usize) -> Self {
        let track = |(gauge, _): &(Gauge, Age)| Track { gauge: *gauge, extents: vec![Extent::NONE; stretches] };
        Self {
            template: slo.template,
            labels: slo.labels.clone(),
            tracks: plan.gauges.iter().map(track).collect(),
            sights: vec![Sights::default(); stretches],
            peaks: vec![None; plan.rules.len()],
            coverage: vec![f32::NAN; stretches],
            top_ms: 0.0,
        }
    }

    pub fn track(&self, gauge: Gauge) -> Option<&[Extent]> {
        self.tracks.iter().find(|track| track.gauge == gauge).map(|track| &track.extents[..])
    }

    fn measure(&mut self, stretch: usize, at: Timestamp, slo: &Slo, spec: &SloSpec, plan: &Plan) {
        let usages = spec.rules.iter().zip(&plan.rules).zip(&mut self.peaks).map(|((rule, windows), peak)| {
            let measured = slo.measure(spec, rule, *windows);
            // A rule with less than this is not evaluated.
            if measured.short.coverage < f64::from(rule.min_coverage_ppm) / 1e6 {
                return None;
            }
            if peak.is_none_or(|peak| measured.usage > peak.usage) {
                *peak = Some(Peak { usage: measured.usage, at });
            }
            Some(measured.usage)
        });
        let usages: Vec<Option<f64>> = usages.collect();
        self.top_ms = slo.highest_bound_s().map_or(0.0, |bound_s| bound_s * 1000.0);
        let told = slo.quantiles_over(TOLD, plan.told);
        for (track, (gauge, window)) in self.tracks.iter_mut().zip(&plan.gauges) {
            let traffic = slo.traffic(*window);
            let value = match *gauge {
                Gauge::BurnRate(_) => Some(traffic.burn(spec.allowed_ratio())).filter(|_| traffic.coverage > 0.0),
                Gauge::BudgetLeft => {
                    self.coverage[stretch] = traffic.coverage as f32;
                    Some(1.0 - traffic.burn(spec.allowed_ratio())).filter(|_| traffic.coverage > 0.0)
                }
                Gauge::Quantile { quantile, .. } => {
                    let known = TOLD.iter().position(|told| *told == quantile && *window == plan.told);
                    let found_s = known.map_or_else(|| slo.quantile_s(quantile, *window), |known| told[known]);
                    found_s.map(|found_s| found_s * 1000.0)
                }
                Gauge::Usage(rule) => usages[rule].map(|usage| usage.min(MAX_USAGE)),
            };
            track.extents[stretch].add(value.unwrap_or(f64::NAN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stretches_are_round_and_few() {
        let check = |range: Duration, interval_s: i64, expected: Duration| {
            assert_eq!(stretch(range, Duration::from_secs(interval_s)), expected, "{range} at {interval_s}s");
        };
        check(Duration::from_days(30), 30, Duration::from_hours(1));
        check(Duration::from_days(7), 30, Duration::from_minutes(15));
        check(Duration::from_hours(1), 30, Duration::from_secs(30));
        check(Duration::from_days(1), 7, Duration::from_secs(126));
        check(Duration::from_days(3650), 30, Duration::from_secs(350_400));
    }

    proptest! {
        /// However often values are thinned: the least, the greatest and the last of them stay.
        #[test]
        fn no_peak_is_lost(
            values in prop::collection::vec(prop::option::weighted(0.8, -10.0..1e4f64), 1..200),
            times in 1usize..20,
        ) {
            let extents: Vec<Extent> = values.iter().map(|value| {
                let mut extent = Extent::NONE;
                extent.add(value.unwrap_or(f64::NAN));
                extent
            }).collect();
            let thinned = chunks(&extents, times, Extent::NONE, Extent::join);
            prop_assert_eq!(thinned.len(), values.len().div_ceil(times));
            for (found, values) in thinned.iter().zip(values.chunks(times)) {
                let known: Vec<f32> = values.iter().flatten().map(|value| *value as f32).collect();
                prop_assert_eq!(found.is_none(), known.is_empty(), "a gap is a gap");
                if let Some(last) = known.last() {
                    prop_assert_eq!(found.high, known.iter().copied().fold(f32::MIN, f32::max));
                    prop_assert_eq!(found.low, known.iter().copied().fold(f32::MAX, f32::min));
                    prop_assert_eq!(found.last, *last);
                }
            }
        }
    }
}
