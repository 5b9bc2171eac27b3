//! Slices of history: what polls at every slot of a range would have seen, put together from buckets' runs.
//!
//! Every reader of history ends here, so that none of them can see another history than the others.

use std::sync::Arc;

use crate::engine::counts::Counts;
use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};

use super::columns::{self, Column, Layout, OutOfRoom};
use super::error::SourceError;
use super::plan::MetricRequest;
use super::series::{Warnings, show};

/// Decoded counts may take so many times the largest answer: series that come and go are sparse in the answer and
/// dense in memory.
const ROOM_FACTOR: usize = 2;

/// Samples of other times, in milliseconds, are mistakes: from 1970 to 2200.
pub(super) const TIMES_MS: std::ops::Range<i64> = 0..7_258_118_400_000;

/// How much of the histograms a slice brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Each SLO's budget (or, where that is no bound, the two bounds around it) and `+Inf`; all bounds where a
    /// series' bounds change within the slice. A scrape that raced with an observation may show a budget's count up to
    /// that observation higher than a poll, which sees the bounds above it too.
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
    /// One a bound in each slot.
    pub counts: Counts,
}

impl History {
    pub(super) fn empty(from: Timestamp, step: Duration, slots: usize) -> Self {
        Self { from, step, slots, series: vec![], flawed: vec![], warnings: vec![], partial: false }
    }

    /// Adds the metrics' parts up. Each of them is sorted by labels and bounds, and no SLO is in two of them.
    pub(super) fn with(mut self, parts: impl IntoIterator<Item = Part>) -> Self {
        let mut warnings = Warnings::default();
        for part in parts {
            self.series.extend(part.series);
            self.partial |= part.partial;
            self.flawed.extend(part.flawed);
            warnings.extend(part.warnings);
        }
        self.series.sort_by_key(|series| series.slo);
        self.flawed.sort_unstable();
        self.flawed.dedup();
        self.warnings = warnings.into_list();
        self
    }

    /// How many slots from the first on hold nothing at all.
    pub fn idle_slots(&self) -> usize {
        if self.partial {
            return 0;
        }
        let begins = |series: &HistorySeries| series.counts.first_present(0..self.slots);
        let flawed = self.flawed.first().map(|(slot, _)| *slot);
        self.series.iter().filter_map(begins).chain(flawed).min().unwrap_or(self.slots)
    }

    /// The last slot; before `from` if there is none.
    pub fn to(&self) -> Timestamp {
        self.from + Duration::from_ms(self.step.ms() * self.slots as i64) - self.step
    }
}

impl HistorySeries {
    /// The same in less memory, where that can be.
    pub fn packed(self) -> Self {
        Self { counts: self.counts.packed(), ..self }
    }
}

/// How many counts may be in memory at once, if an answer may have `max_bytes`.
pub(super) fn room(max_bytes: usize) -> usize {
    max_bytes.saturating_mul(ROOM_FACTOR) / size_of::<f64>()
}

/// One metric's share of a slice.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Sorted by labels and bounds.
    pub series: Vec<HistorySeries>,
    /// Some series' bounds changed within the slice.
    pub changes: bool,
    pub flawed: Vec<(usize, usize)>,
    pub warnings: Warnings,
    pub partial: bool,
}

/// A metric's share in the making: one series after the other, so that the columns of one are all that there are beside.
pub(super) struct Filling<'a> {
    part: Part,
    request: &'a MetricRequest,
    slots: usize,
    max_bytes: usize,
    /// How many more counts may be kept.
    room: usize,
}

impl Part {
    /// Says that series are left out, as there are more than `limit`.
    pub fn overflow(&mut self, request: &MetricRequest, limit: usize) {
        self.partial = true;
        let metric = &request.metric;
        self.warnings.push(&format!("{metric}_bucket has more than {limit} series; those beyond are left out"));
    }

    /// Goes on with the metric's series.
    pub fn filling(self, request: &MetricRequest, slots: usize, max_bytes: usize) -> Filling<'_> {
        Filling { part: self, request, slots, max_bytes, room: room(max_bytes) }
    }

    /// Puts a series' columns side by side for every SLO that selects it.
    fn push(
        &mut self,
        request: &MetricRequest,
        labels: &Labels,
        columns: Vec<Column>,
        slots: usize,
        room: &mut usize,
    ) -> Result<(), OutOfRoom> {
        let slos = request.assign(labels);
        let Some((last, others)) = slos.split_last() else { return Ok(()) };
        let table = columns::tabulate(columns, slots, room)?;
        self.changes |= table.layouts.len() > 1;
        if !table.flawed_slots.is_empty() {
            let why = table.flaw.map_or_else(|| "its bounds change too often".to_owned(), |flaw| flaw.to_string());
            let shown = show(&request.metric, labels);
            self.warnings.push(&format!("{} slots of {shown} are left out: {why}", table.flawed_slots.len()));
        }
        self.flawed
            .extend(table.flawed_slots.iter().flat_map(|slot| slos.iter().map(move |slo| (*slot as usize, *slo))));
        for layout in table.layouts {
            *room = room.checked_sub(layout.cells() * (slos.len() - 1)).ok_or(OutOfRoom)?;
            for &slo in others {
                let (labels, bounds, counts) = (labels.clone(), Arc::clone(&layout.bounds), layout.counts.clone());
                self.series.push(HistorySeries { slo, labels, bounds, counts });
            }
            let Layout { bounds, counts } = layout;
            self.series.push(HistorySeries { slo: *last, labels: labels.clone(), bounds, counts });
        }
        Ok(())
    }
}

impl Filling<'_> {
    /// Series come sorted by labels. A column without counts is none, and neither is a series without columns.
    pub fn add(&mut self, labels: &Labels, mut columns: Vec<Column>) -> Result<(), SourceError> {
        columns.retain(|column| !column.run.is_empty());
        if columns.is_empty() {
            return Ok(());
        }
        let pushed = self.part.push(self.request, labels, columns, self.slots, &mut self.room);
        pushed.map_err(|OutOfRoom| SourceError::TooLarge { limit_bytes: self.max_bytes })
    }

    pub fn finish(self) -> Part {
        self.part
    }
}
