//! Slices of history: what polls at every slot of a range would have seen, in one request a metric.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Deadline;
use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};
use crate::source::error::SourceError;
use crate::source::gather::gather;
use crate::source::plan::{MetricRequest, Plan, any_of};
use crate::source::series::{Bounded, Warnings, show};

use super::answer::{self, Key, MatrixRow, Metric, Notes, Shape};
use super::columns::{self, Column, Grid, OutOfRoom};
use super::{Prometheus, seconds};

/// The most slots one slice may have: what a server answers for one series.
pub const MAX_SLOTS: usize = 11_000;
/// What a point takes in an answer, in bytes: `[1772366400,"1234567"],` and its share of the labels.
const BYTES_PER_POINT: usize = 26;
/// Decoded counts may take so many times the largest answer: series that come and go are sparse in the answer and
/// dense in memory.
const ROOM_FACTOR: usize = 2;
/// How far before a slice a sample may lie that still counts at its start.
const LOOKBACK: Duration = Duration::from_minutes(15);
const SLICES_AT_ONCE: usize = 2;

/// How much of the histograms a slice brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Each SLO's budget (or, where that is no bound, the two bounds around it) and `+Inf`; all bounds where a
    /// series' bounds change within the slice. A scrape that raced with an observation may show a budget's count up to
    /// that observation lower than a poll, which sees the bounds below it too.
    Counts,
    /// Every bound.
    Buckets,
}

/// What polls at `from`, `from + step`, ... would have seen.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The first slot.
    pub from: Timestamp,
    pub step: Duration,
    pub slots: usize,
    /// Sorted by SLO, then labels, then bounds.
    pub series: Vec<HistorySeries>,
    /// `(slot, SLO)` where a series could not be used, sorted: what is known of the SLO there is not all.
    pub flawed: Vec<(usize, usize)>,
    /// The source's warnings, and what had to be left out; bounded in number.
    pub warnings: Vec<String>,
    /// The source said that its answer may be incomplete.
    pub partial: bool,
}

/// A series as long as its set of bounds does not change; a series whose bounds change comes once a set.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySeries {
    /// The SLO template.
    pub slo: usize,
    pub labels: Labels,
    /// Upper bounds in seconds, ascending; the last is `+Inf`.
    pub bounds: Arc<[f64]>,
    /// Cumulative counts, `slots * bounds.len()` of them, slot by slot. A slot without the series is NaN throughout.
    pub counts: Vec<f64>,
}

impl History {
    /// The last slot; before `from` if there is none.
    pub fn to(&self) -> Timestamp {
        self.from + Duration::from_ms(self.step.ms() * self.slots as i64) - self.step
    }
}

/// How many slots fit an answer of `byte_budget` bytes, if `columns` buckets are asked for
/// ([`Prometheus::columns`]). At least one, at most [`MAX_SLOTS`].
pub fn slots_per_slice(columns: usize, byte_budget: usize) -> usize {
    (byte_budget / BYTES_PER_POINT / columns.max(1)).clamp(1, MAX_SLOTS)
}

impl Prometheus {
    /// What polls at the multiples of `step` from `from` to `to`, both included, would have seen; at most
    /// [`MAX_SLOTS`] of them. [`SourceError::TooLarge`] asks for a shorter slice. Any query that fails, fails it all.
    pub async fn history(
        &self,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
        detail: Detail,
        deadline: Duration,
    ) -> Result<History, SourceError> {
        let deadline = Deadline::after(deadline);
        let grid = grid(from, to, step)?;
        let mut history = History {
            from: grid.from,
            step,
            slots: grid.slots,
            series: vec![],
            flawed: vec![],
            warnings: vec![],
            partial: false,
        };
        if grid.slots == 0 {
            return Ok(history);
        }
        let metric = |index| {
            let prometheus = self.clone();
            async move { prometheus.metric_history(index, grid, detail, deadline).await }
        };
        let mut warnings = Warnings::default();
        for part in gather((0..self.plan.requests.len()).map(metric).collect(), SLICES_AT_ONCE).await {
            let part = part.unwrap_or_else(|| Err(SourceError::decoder()))?;
            history.series.extend(part.series);
            history.partial |= part.partial;
            history.flawed.extend(part.flawed);
            warnings.extend(part.warnings);
        }
        // The parts are sorted by labels and bounds already, and no SLO is in two of them.
        history.series.sort_by_key(|series| series.slo);
        history.flawed.sort_unstable();
        history.flawed.dedup();
        history.warnings = warnings.into_list();
        Ok(history)
    }

    /// How many buckets a slice of this range would bring, for [`slots_per_slice`].
    pub async fn columns(
        &self,
        from: Timestamp,
        to: Timestamp,
        detail: Detail,
        deadline: Duration,
    ) -> Result<usize, SourceError> {
        let deadline = Deadline::after(deadline);
        let mut columns = 0;
        for index in 0..self.plan.requests.len() {
            let survey = self.survey(index, from, to, deadline).await?;
            columns += match detail {
                Detail::Counts => survey.series * survey.needed.len(),
                Detail::Buckets => survey.buckets,
            };
        }
        Ok(columns)
    }

    async fn metric_history(
        &self,
        index: usize,
        grid: Grid,
        detail: Detail,
        deadline: Deadline,
    ) -> Result<Part, SourceError> {
        if detail == Detail::Counts {
            let needed = self.survey(index, grid.from, grid.last(), deadline).await?.needed;
            if needed.is_empty() {
                return Ok(Part::default());
            }
            let part = self.range(index, grid, &any_of("le", needed.iter().map(String::as_str)), deadline).await?;
            if !part.changes {
                return Ok(part);
            }
        }
        self.range(index, grid, "", deadline).await
    }

    async fn range(&self, index: usize, grid: Grid, matcher: &str, deadline: Deadline) -> Result<Part, SourceError> {
        let form = vec![
            ("query", self.plan.requests[index].query(matcher)),
            ("start", seconds(grid.from)),
            ("end", seconds(grid.last())),
            ("step", format!("{:.3}", grid.step.secs())),
            // VictoriaMetrics would move the slots to where its cache has them.
            ("nocache", "1".to_owned()),
        ];
        let (plan, max_series, max_bytes) = (Arc::clone(&self.plan), self.max_series, self.max_response_bytes);
        let decode = move |body: &[u8]| read_range(body, &plan.requests[index], grid, max_series, max_bytes);
        self.ask("query_range", form, deadline, decode).await
    }

    async fn survey(
        &self,
        index: usize,
        from: Timestamp,
        to: Timestamp,
        deadline: Deadline,
    ) -> Result<Survey, SourceError> {
        let selectors = self.plan.requests[index].selectors("").into_iter().map(|selector| ("match[]", selector));
        let range = [("start", seconds(from - LOOKBACK)), ("end", seconds(to))];
        let (plan, max_series) = (Arc::clone(&self.plan), self.max_series);
        let decode = move |body: &[u8]| read_survey(body, &plan, index, max_series);
        self.ask("series", selectors.chain(range).collect(), deadline, decode).await
    }
}

fn grid(from: Timestamp, to: Timestamp, step: Duration) -> Result<Grid, SourceError> {
    if step.is_zero() {
        return Err(SourceError::Request("the step is zero".into()));
    }
    let from = from.align_up(step);
    let slots = match to.unix_ms() - from.unix_ms() {
        length @ 0.. => (length / step.ms()) as usize + 1,
        _ => 0,
    };
    if slots > MAX_SLOTS {
        return Err(SourceError::Request(format!("{slots} slots in one slice; at most {MAX_SLOTS}")));
    }
    Ok(Grid { from, step, slots })
}

/// One metric's share of a slice.
#[derive(Debug, Default)]
struct Part {
    /// Sorted by labels and bounds.
    series: Vec<HistorySeries>,
    /// Some series' bounds changed within the slice.
    changes: bool,
    flawed: Vec<(usize, usize)>,
    warnings: Warnings,
    partial: bool,
}

fn read_range(
    body: &[u8],
    request: &MetricRequest,
    grid: Grid,
    max_series: usize,
    max_bytes: usize,
) -> Result<Part, SourceError> {
    let mut series: Bounded<Key, Vec<Column>> = Bounded::new(max_series);
    let mut astray = None;
    let read = answer::read(body, Shape::Result("matrix"), |row: MatrixRow| {
        let bound = row.metric.bound();
        let Some(columns) = series.entry(row.metric.labels) else { return };
        let mut points = Vec::with_capacity(row.values.len());
        for point in row.values {
            match grid.slot(point.0) {
                Some(slot) => points.push((slot, point.1)),
                None => astray = Some(point.0),
            }
        }
        columns.push((bound, points));
    });
    let Notes { warnings, partial } = read?;
    if let Some(unix_s) = astray {
        return Err(SourceError::WrongShape(format!("there is a point at {unix_s}, where none was asked for")));
    }
    let mut part = Part { warnings, partial, ..Part::default() };
    if series.overflowed {
        part.partial = true;
        part.warnings
            .push(&format!("{}_bucket has more than {max_series} series; those beyond are left out", request.metric));
    }
    let mut room = max_bytes.saturating_mul(ROOM_FACTOR) / size_of::<f64>();
    for (labels, columns) in series.into_series() {
        part.push(request, answer::owned(labels), columns, grid.slots, &mut room)
            .map_err(|OutOfRoom| SourceError::TooLarge { limit_bytes: max_bytes })?;
    }
    Ok(part)
}

impl Part {
    fn push(
        &mut self,
        request: &MetricRequest,
        labels: Labels,
        columns: Vec<Column>,
        slots: usize,
        room: &mut usize,
    ) -> Result<(), OutOfRoom> {
        let slos = request.assign(&labels);
        if slos.is_empty() {
            return Ok(());
        }
        let table = columns::tabulate(columns, slots, room)?;
        self.changes |= table.layouts.len() > 1;
        if !table.flawed_slots.is_empty() {
            let why = table.flaw.map_or_else(|| "its bounds change too often".to_owned(), |flaw| flaw.to_string());
            let shown = show(&request.metric, &labels);
            self.warnings.push(&format!("{} slots of {shown} are left out: {why}", table.flawed_slots.len()));
        }
        self.flawed
            .extend(table.flawed_slots.iter().flat_map(|slot| slos.iter().map(move |slo| (*slot as usize, *slo))));
        for layout in table.layouts {
            *room = room.checked_sub(layout.counts.len() * (slos.len() - 1)).ok_or(OutOfRoom)?;
            for &slo in &slos {
                let (labels, bounds, counts) = (labels.clone(), Arc::clone(&layout.bounds), layout.counts.clone());
                self.series.push(HistorySeries { slo, labels, bounds, counts });
            }
        }
        Ok(())
    }
}

/// Which buckets a metric has in a range.
#[derive(Debug, Default)]
struct Survey {
    /// Sets of labels without `le`.
    series: usize,
    /// Sets of labels with `le`.
    buckets: usize,
    /// The `le` values, as written, that the budgets need.
    needed: BTreeSet<String>,
}

fn read_survey(body: &[u8], plan: &Plan, index: usize, max_series: usize) -> Result<Survey, SourceError> {
    let mut series: Bounded<Key, Vec<(f64, String)>> = Bounded::new(max_series);
    answer::read(body, Shape::Plain, |metric: Metric| {
        let bound = metric.bound();
        if let Some(bounds) = series.entry(metric.labels) {
            bounds.push((bound, metric.le.into_owned()));
        }
    })?;
    let mut survey = Survey::default();
    for (labels, bounds) in series.into_series() {
        survey.series += 1;
        survey.buckets += bounds.len();
        for slo in plan.requests[index].assign(&answer::owned(labels)) {
            let wanted = needed(&bounds, plan.budgets_s[slo]);
            survey.needed.extend(bounds.iter().filter(|(bound, _)| wanted.contains(bound)).map(|(_, le)| le.clone()));
        }
    }
    Ok(survey)
}

/// The bounds that a budget's counts come from: itself, or else its neighbours; and `+Inf`.
///
/// Bounds that a series had at different times may be mixed here. If one that is picked was missing at some slot, the
/// series' bounds are seen to change, and the slice is read again with all of them.
fn needed(bounds: &[(f64, String)], budget_s: f64) -> Vec<f64> {
    let values = || bounds.iter().map(|(bound, _)| *bound);
    let mut wanted = vec![f64::INFINITY];
    if values().any(|bound| bound == budget_s) {
        wanted.push(budget_s);
    } else {
        wanted.extend(values().filter(|bound| *bound < budget_s).max_by(f64::total_cmp));
        wanted.extend(values().filter(|bound| *bound > budget_s).min_by(f64::total_cmp));
    }
    wanted
}
