//! One SLO's memory: the requests its series counted, and what its rules ask of them.

mod ahead;

pub use self::ahead::{Bounds, Counting, Slots};

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::counter::Seen;
use super::histogram::Labels;
use super::rule::{Limit, Rule};
use super::sli::{Good, Misfit, SloSpec, Traffic, quantile_s};
use super::time::{Duration, Timestamp};
use super::window::{Age, History};

/// Quantiles in messages and status look back over the shortest long window of the SLO's rules, and no further than this.
const LONGEST_MESSAGE_WINDOW: Duration = Duration::from_minutes(10);

/// An SLO whose histograms come in more shapes than this is misconfigured; further shapes are refused.
pub const MAX_LAYOUTS: usize = 8;

/// Usages beyond this are cut to it, so that an exhausted budget stays a number.
const MAX_USAGE: f64 = 1e6;

/// Columns of an SLO's history. The third counts the slots with a measured increase: the share of a window that was
/// seen is a difference of it.
const GOOD: usize = 0;
const TOTAL: usize = 1;
const SEEN: usize = 2;
pub type Row = [f64; 3];

/// What is known of an SLO at the newest slot. Only `Ok` and `Idle` may lower a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sight {
    /// Measured, with requests.
    Ok,
    /// Measured, and there were no requests since the poll before.
    Idle,
    /// Never seen yet.
    Unborn,
    /// Was there, and is absent from the source's answer.
    Lost,
    /// The source said that its answer may be incomplete, or some series could not be used.
    Partial,
    /// The source did not answer.
    Blind,
    /// Its series are there, but their bounds cannot measure the budget.
    Unmeasurable,
}

impl Sight {
    pub const ALL: [Sight; 7] =
        [Sight::Ok, Sight::Idle, Sight::Unborn, Sight::Lost, Sight::Partial, Sight::Blind, Sight::Unmeasurable];

    pub fn as_str(self) -> &'static str {
        match self {
            Sight::Ok => "ok",
            Sight::Idle => "idle",
            Sight::Unborn => "unborn",
            Sight::Lost => "lost",
            Sight::Partial => "partial",
            Sight::Blind => "blind",
            Sight::Unmeasurable => "unmeasurable",
        }
    }

    /// Whether all was measured, requests or none.
    pub fn is_steady(self) -> bool {
        matches!(self, Sight::Ok | Sight::Idle)
    }
}

/// Windows in slots, worked out once per rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub long: Age,
    pub short: Age,
    pub period: Age,
}

/// The numbers behind one evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    pub usage: f64,
    /// See [`super::stage::Evidence::proven_usage`].
    pub proven_usage: f64,
    pub long: Traffic,
    pub short: Traffic,
}

/// A set of bounds and the requests its series counted.
#[derive(Debug, Clone)]
struct Layout {
    bounds: Arc<[f64]>,
    good: Result<Good, Misfit>,
    /// Increases of all series with these bounds, by bucket, since the beginning.
    sums: Vec<f64>,
    /// `sums` over time, for quantiles.
    history: Option<History>,
}

/// What one SLO counted, to be taken in by another life of the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SloMemory {
    sight: Sight,
    sight_since_ms: i64,
    /// Bounds, sums, and sums over time.
    layouts: Vec<(Vec<f64>, Vec<f64>, Option<History>)>,
    counters: History,
    seen_slots: f64,
    /// Present, measured and flawed.
    slots: [i64; 3],
}

/// The state of one SLO, or of one combination of its `by` labels.
#[derive(Debug, Clone)]
pub struct Slo {
    /// Index into the spec's SLOs.
    pub template: usize,
    /// The values of its `by` labels.
    pub labels: Labels,
    pub sight: Sight,
    /// Since when `sight` is what it is.
    pub sight_since: Timestamp,
    layouts: Vec<Layout>,
    counters: History,
    seen_slots: f64,
    /// The newest slot number in which a series was present, or measured.
    present_slot: i64,
    measured_slot: i64,
    /// The newest slot number in which a series was there and could not be used.
    flawed_slot: i64,
    /// The newest slot number since whose predecessor some requests were not to count: see [`super::maintenance`].
    excluded_slot: i64,
    /// Slot numbers from which to which slow requests are known never to have become fewer.
    rising: Range<i64>,
    quantile_age: Age,
}

impl Windows {
    pub fn new(limit: &Limit, period: Duration, interval: Duration) -> Self {
        let age = |window: Duration| Age::in_slots(window.in_slots(interval));
        // A limit on the whole period is looked at over the last hour of 30 days: nobody's budget is judged by the
        // first seconds after a start, and the rate at which it goes is that of now.
        let recent = period.times(1.0 / 720.0).max(interval.times(2.0));
        Self {
            long: age(limit.long_window().unwrap_or(period)),
            short: age(limit.short_window().unwrap_or(recent)),
            period: age(period),
        }
    }
}

impl Slo {
    pub fn new(template: usize, labels: Labels, spec: &SloSpec, interval: Duration, born: Timestamp) -> Self {
        Self {
            template,
            labels,
            sight: Sight::Unborn,
            sight_since: born,
            layouts: Vec::new(),
            counters: History::new(3, spec.longest_window().in_slots(interval)),
            seen_slots: 0.0,
            present_slot: i64::MIN,
            measured_slot: i64::MIN,
            flawed_slot: i64::MIN,
            excluded_slot: i64::MIN,
            rising: 0..0,
            quantile_age: Age::in_slots(message_window(spec).in_slots(interval)),
        }
    }

    /// Finds or adds the layout with these bounds; `None` beyond [`MAX_LAYOUTS`].
    /// `quantile_window` is zero where nobody asks for quantiles.
    pub fn layout(
        &mut self,
        spec: &SloSpec,
        bounds: &Arc<[f64]>,
        interval: Duration,
        quantile_window: Duration,
    ) -> Option<usize> {
        if let Some(known) = self.layouts.iter().position(|layout| layout.bounds == *bounds) {
            return Some(known);
        }
        if self.layouts.len() == MAX_LAYOUTS {
            return None;
        }
        let history =
            (!quantile_window.is_zero()).then(|| History::new(bounds.len(), quantile_window.in_slots(interval)));
        self.layouts.push(Layout {
            bounds: bounds.clone(),
            good: Good::locate(spec.budget_s, bounds, spec.between),
            sums: vec![0.0; bounds.len()],
            history,
        });
        Some(self.layouts.len() - 1)
    }

    /// Whether good requests are read off the same bounds in both layouts.
    pub fn same_good(&self, old: usize, new: usize) -> bool {
        let [old, new] = [old, new].map(|layout| {
            let Layout { bounds, good, .. } = &self.layouts[layout];
            good.ok().map(|good| good.bounds_s(bounds))
        });
        old.is_some() && old == new
    }

    pub fn bounds(&self, layout: usize) -> &[f64] {
        &self.layouts[layout].bounds
    }

    /// Notes that a series of `layout` is present in `slot` and hands out the sums its increases go to.
    pub fn sums_of(&mut self, slot: i64, layout: usize) -> &mut [f64] {
        self.present_slot = slot;
        if self.layouts[layout].good.is_err() {
            self.flawed_slot = slot;
        }
        &mut self.layouts[layout].sums
    }

    /// Notes that a series is there in `slot` and cannot be used: the others may show too little.
    pub fn note_flawed(&mut self, slot: i64) {
        self.flawed_slot = slot;
    }

    /// Notes that requests since the slot before `slot` do not count.
    pub fn exclude(&mut self, slot: i64) {
        self.excluded_slot = slot;
    }

    /// Whether some of what a series counted up to `slot`, since it was `seen` last, does not count: then nothing of it
    /// does, as it cannot be told apart.
    pub fn is_excluded(&self, slot: i64, seen: Option<Seen>) -> bool {
        self.excluded_slot > seen.map_or(slot - 1, |seen| seen.slot)
    }

    /// Good and all requests that the series of `layout` have counted so far.
    pub fn counted(&self, layout: usize) -> [f64; 2] {
        let Layout { good, sums, .. } = &self.layouts[layout];
        good.map_or([0.0; 2], |good| [good.count(sums), sums[sums.len() - 1]])
    }

    /// Puts what a series of `layout` counted since `counted` at the beginning of its absence, just after slot `last`.
    pub fn count_late(&mut self, last: i64, layout: usize, counted: [f64; 2]) {
        let now = self.counted(layout);
        self.rising = 0..0;
        self.counters.raise_after(last, &[now[0] - counted[0], now[1] - counted[1], 0.0]);
    }

    /// Notes that an increase of a series of `layout` was measured in `slot`.
    pub fn note_measured(&mut self, slot: i64, layout: usize) {
        if self.layouts[layout].good.is_ok() {
            self.measured_slot = slot;
        }
    }

    /// Ends a slot for which the source answered: the sums so far become the slot's row.
    pub fn close_slot(&mut self, slot: i64, at: Timestamp, partial: bool) {
        let present = self.present_slot == slot;
        let measured = self.measured_slot == slot;
        let total_before = self.counters.newest().get(TOTAL).copied();
        if measured {
            self.seen_slots += 1.0;
        }
        let mut row = [0.0, 0.0, self.seen_slots];
        for layout in 0..self.layouts.len() {
            let [good, total] = self.counted(layout);
            row[GOOD] += good;
            row[TOTAL] += total;
        }
        if present || !self.counters.is_empty() {
            self.counters.push(slot, &row);
            for layout in &mut self.layouts {
                if let Some(history) = &mut layout.history {
                    history.push(slot, &layout.sums);
                }
            }
        }
        let sight = match (present, self.counters.is_empty()) {
            (_, _) if partial => Sight::Partial,
            (true, _) if self.misfit().is_some() => Sight::Unmeasurable,
            _ if self.flawed_slot == slot => Sight::Partial,
            // What does not count is not looked at.
            (true, _) if self.excluded_slot == slot && self.sight.is_steady() => self.sight,
            (true, _) if total_before.is_none_or(|before| row[TOTAL] > before) => Sight::Ok,
            (true, _) => Sight::Idle,
            (false, true) => Sight::Unborn,
            (false, false) => Sight::Lost,
        };
        self.see(sight, at);
    }

    pub fn see(&mut self, sight: Sight, at: Timestamp) {
        if self.sight != sight {
            self.sight = sight;
            self.sight_since = at;
        }
    }

    fn histories(&self) -> impl Iterator<Item = &History> {
        self.layouts.iter().filter_map(|layout| layout.history.as_ref())
    }

    fn histories_mut(&mut self) -> impl Iterator<Item = &mut History> {
        self.layouts.iter_mut().filter_map(|layout| layout.history.as_mut())
    }

    /// Goes on at `now` as if all had been counted `slots` earlier.
    pub fn rewind(&mut self, now: Timestamp, slots: i64) {
        self.sight_since = self.sight_since.min(now);
        for slot in [&mut self.present_slot, &mut self.measured_slot, &mut self.flawed_slot, &mut self.excluded_slot] {
            *slot = slot.saturating_sub(slots);
        }
        self.rising = 0..0;
        self.counters.rewind(slots);
        self.histories_mut().for_each(|history| history.rewind(slots));
    }

    /// Whether a series was present in `slot`, the newest.
    pub fn is_present(&self, slot: i64) -> bool {
        self.present_slot == slot
    }

    /// Whether it ever had a series.
    pub fn has_counted(&self) -> bool {
        !self.counters.is_empty()
    }

    /// What keeps the SLO from being measured, if no layout can.
    pub fn misfit(&self) -> Option<Misfit> {
        let mut misfits = self.layouts.iter().map(|layout| layout.good.err());
        let first = misfits.next()??;
        misfits.all(|misfit| misfit.is_some()).then_some(first)
    }

    /// Requests over the last `window`.
    pub fn traffic(&self, window: Age) -> Traffic {
        let Some(newest) = self.newest() else { return Traffic::default() };
        let [good, total, seen] = self.since(newest, window);
        let coverage = (seen / window.slots().max(1) as f64).min(1.0);
        Traffic { good, total, coverage }
    }

    /// What was counted up to the newest slot; `None` before anything was.
    pub fn newest(&self) -> Option<Row> {
        self.counters.newest().try_into().ok()
    }

    /// The same, where it was measured in full.
    pub fn steady_newest(&self) -> Option<Row> {
        self.newest().filter(|_| self.sight.is_steady())
    }

    /// What was counted over the last `window` up to the `newest` slot.
    pub fn since(&self, newest: Row, window: Age) -> Row {
        let before: Row = self.counters.at(window);
        std::array::from_fn(|column| newest[column] - before[column])
    }

    /// Slots in which it was measured since the beginning.
    pub fn seen_slots(&self) -> f64 {
        self.seen_slots
    }

    /// Requests and slow requests since the beginning.
    pub fn totals(&self) -> [f64; 2] {
        match self.counters.newest() {
            [good, total, _] => [*total, (total - good).max(0.0)],
            _ => [0.0; 2],
        }
    }

    /// Share of the period's error budget that is spent: 1 is all of it.
    pub fn consumed(&self, spec: &SloSpec, period: Age) -> f64 {
        self.traffic(period).burn(spec.allowed_ratio())
    }

    /// The `q`-quantile over the last `window`, in seconds.
    pub fn quantile_s(&self, q: f64, window: Age) -> Option<f64> {
        let [found] = self.quantiles_over([q], window);
        found
    }

    /// Where its histogram ends, in seconds: a quantile that is found there may be anything above.
    pub fn highest_bound_s(&self) -> Option<f64> {
        let bounds = self.layouts.iter().flat_map(|layout| layout.bounds.iter().copied());
        bounds.filter(|bound| bound.is_finite()).reduce(f64::max)
    }

    /// Each of these quantiles over the last `window`, in seconds.
    pub fn quantiles_over<const N: usize>(&self, quantiles: [f64; N], window: Age) -> [Option<f64>; N] {
        let increases = self.layouts.iter().filter_map(|layout| {
            let history = layout.history.as_ref()?;
            let mut counts = vec![0.0; layout.bounds.len()];
            history.read(window, &mut counts);
            counts.iter_mut().zip(history.newest()).for_each(|(count, now)| *count = now - *count);
            (counts.last().copied().unwrap_or(0.0) > 0.0).then_some((&layout.bounds, counts))
        });
        let mut increases: Vec<_> = increases.collect();
        match increases.len() {
            0 => [None; N],
            1 => quantiles.map(|q| quantile_s(q, increases[0].0, &increases[0].1)),
            _ => {
                let (bounds, counts) = merge(&mut increases);
                quantiles.map(|q| quantile_s(q, &bounds, &counts))
            }
        }
    }

    /// p50, p95 and p99 over the last minutes, in seconds: over the shortest long window of a rule, at most ten minutes.
    pub fn quantiles_s(&self) -> Option<[f64; 3]> {
        let [p50, p95, p99] = self.quantiles_over([0.5, 0.95, 0.99], self.quantile_age);
        Some([p50?, p95?, p99?])
    }

    /// How much of the rule's limit is in use.
    pub fn measure(&self, spec: &SloSpec, rule: &Rule, windows: Windows) -> Measurement {
        let allowed = spec.allowed_ratio();
        let long = self.traffic(windows.long);
        let short = if windows.short == windows.long { long } else { self.traffic(windows.short) };
        let latency_usage =
            |quantile| self.quantile_s(quantile, windows.long).map_or(0.0, |found_s| found_s / spec.budget_s);
        // What usage would be, were the bad ratio of the rule's traffic `bad_ratio`.
        let usage_at = |bad_ratio: f64| match rule.limit {
            Limit::BurnRate { factor, .. } => (bad_ratio / allowed).min(short.burn(allowed)) / factor,
            Limit::BudgetConsumed { share } => bad_ratio / allowed / share,
            Limit::Exhaustion { within, .. } => {
                let burn = bad_ratio / allowed;
                let remaining = (1.0 - self.consumed(spec, windows.period)).max(0.0);
                if burn > 0.0 { within.secs() * burn / (remaining * spec.period.secs()) } else { 0.0 }
            }
            Limit::Latency { quantile, .. } => latency_usage(quantile),
        };
        let usage = usage_at(long.bad_ratio()).min(MAX_USAGE);
        let proven_usage = if long.total < rule.min_events || long.bad() < rule.min_bad {
            0.0
        } else {
            match (rule.confidence_z, rule.limit) {
                (None, _) => usage,
                (Some(z), Limit::Latency { quantile, .. }) => latency_usage(surely_at_least(quantile, long.total, z)),
                (Some(z), _) => usage_at(long.bad_ratio_at_least(z)).min(MAX_USAGE),
            }
        };
        Measurement { usage, proven_usage, long, short }
    }

    /// `None` before anything was counted.
    pub fn remember(&self) -> Option<SloMemory> {
        let layouts = self.layouts.iter();
        (!self.counters.is_empty()).then(|| SloMemory {
            sight: self.sight,
            sight_since_ms: self.sight_since.unix_ms(),
            layouts: layouts.map(|it| (it.bounds.to_vec(), it.sums.clone(), it.history.clone())).collect(),
            counters: self.counters.clone(),
            seen_slots: self.seen_slots,
            slots: [self.present_slot, self.measured_slot, self.flawed_slot],
        })
    }

    /// Goes on from what was counted, with quantiles over `quantile_window`. Returns whether it has the form it must.
    pub fn recall(&mut self, memory: SloMemory, spec: &SloSpec, interval: Duration, quantile_window: Duration) -> bool {
        let mut fresh = Self::new(self.template, self.labels.clone(), spec, interval, self.sight_since);
        if !memory.counters.fits(&fresh.counters) || memory.counters.is_empty() {
            return false;
        }
        for (bounds, sums, history) in memory.layouts {
            let ascends = bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.last() == Some(&f64::INFINITY);
            let known = fresh.layouts.len();
            if !ascends || fresh.layout(spec, &bounds.into(), interval, quantile_window) != Some(known) {
                return false;
            }
            let layout = &mut fresh.layouts[known];
            let fits = match (&history, &layout.history) {
                (Some(history), Some(fresh)) => history.fits(fresh),
                (None, None) => true,
                _ => false,
            };
            if !fits || sums.len() != layout.sums.len() {
                return false;
            }
            (layout.sums, layout.history) = (sums, history);
        }
        [fresh.present_slot, fresh.measured_slot, fresh.flawed_slot] = memory.slots;
        fresh.seen_slots = memory.seen_slots;
        fresh.sight = memory.sight;
        fresh.sight_since = Timestamp::from_unix_ms(memory.sight_since_ms);
        fresh.counters = memory.counters;
        *self = fresh;
        true
    }

    /// The newest slot number that was counted in.
    pub fn newest_slot(&self) -> Option<i64> {
        self.counters.newest_slot()
    }

    pub fn layouts(&self) -> usize {
        self.layouts.len()
    }

    /// Bytes of the windows on the heap.
    pub fn heap_bytes(&self) -> usize {
        let layouts = self.layouts.iter();
        let layouts: usize =
            layouts.map(|layout| layout.sums.len() * 8 + layout.history.as_ref().map_or(0, History::heap_bytes)).sum();
        self.counters.heap_bytes() + layouts
    }
}

/// The quantile of `n` samples that the true `q`-quantile is above, with the one-sided confidence of the z-score.
/// Source: W. J. Conover, "Practical Nonparametric Statistics", chapter 3.2 (normal approximation of order statistics).
fn surely_at_least(q: f64, n: f64, z: f64) -> f64 {
    (q - z * (q * (1.0 - q) / n.max(1.0)).sqrt()).max(0.0)
}

/// Adds cumulative counts of different bounds up over all bounds there are. A layout without some bound has no more
/// below it than at its own next lower one: what is unknown counts as slower.
fn merge(layouts: &mut [(&Arc<[f64]>, Vec<f64>)]) -> (Vec<f64>, Vec<f64>) {
    let mut bounds: Vec<f64> = layouts.iter().flat_map(|(bounds, _)| bounds.iter().copied()).collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let below = |bound: f64, own: &[f64], counts: &[f64]| match own.partition_point(|b| *b <= bound) {
        0 => 0.0,
        upto => counts[upto - 1],
    };
    let counts = bounds.iter().map(|bound| layouts.iter().map(|(own, counts)| below(*bound, own, counts)).sum());
    let counts = counts.collect();
    (bounds, counts)
}

/// What messages' quantiles look back over: what paged stands out in them.
pub fn message_window(spec: &SloSpec) -> Duration {
    spec.rules.iter().filter_map(|rule| rule.limit.long_window()).fold(LONGEST_MESSAGE_WINDOW, Duration::min)
}

/// The window that quantiles need rows for: the messages' own, and the longest of a latency rule.
pub fn quantile_window(spec: &SloSpec) -> Duration {
    let asked = spec.rules.iter().filter_map(|rule| match rule.limit {
        Limit::Latency { over, .. } => Some(over),
        _ => None,
    });
    asked.fold(message_window(spec), Duration::max)
}
