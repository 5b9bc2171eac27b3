//! Slices of history by the HTTP API: chunks by remote read where the server has it, else one range query a metric.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Deadline;
use crate::engine::time::{Duration, Timestamp};
use crate::source::chunks::Answer;
use crate::source::error::SourceError;
use crate::source::gather::gather;
use crate::source::history::{Detail, History, Part};
use crate::source::plan::{NeededLe, any_of};
use crate::source::sampler::{Grid, Lookback};

use super::put::{put_chunks, read_range};
use super::remote::{as_queries_name_them, is_missing, selects_external};
use super::survey::Survey;
use super::{Prometheus, QUERIES_AT_ONCE, seconds};

/// The most slots one slice may have that a range query answers.
pub const MAX_SLOTS: usize = 11_000;
/// The most slots of a slice that comes as chunks: a year of 30 s.
pub(super) const MAX_SLOTS_OF_CHUNKS: usize = 1 << 20;
/// What a point takes in an answer, in bytes: `[1772366400,"1234567"],` and its share of the labels.
const BYTES_PER_POINT: usize = 26;
const SLICES_AT_ONCE: usize = 2;

/// How many slots fit an answer of `byte_budget` bytes, if `columns` buckets are asked for
/// ([`Prometheus::columns`]). At least one, at most [`MAX_SLOTS`].
pub fn slots_per_slice(columns: usize, byte_budget: usize) -> usize {
    (byte_budget / BYTES_PER_POINT / columns.max(1)).clamp(1, MAX_SLOTS)
}

/// What is known of each metric in a range that holds the slice, in the order of the plan's requests; empty if nothing
/// is.
pub(super) type Surveys = Vec<Arc<Survey>>;

/// What is known of a range of slots: see [`Prometheus::ask_history`].
#[derive(Debug)]
pub(super) struct Asked {
    /// In the order of the plan's requests.
    pub metrics: Vec<Metric>,
}

#[derive(Debug)]
pub(super) enum Metric {
    /// Chunks, for any of the slots.
    Packed(Packed),
    /// In its slots, all of them.
    Put(Part),
}

#[derive(Debug, Default)]
pub(super) struct Packed {
    pub answer: Arc<Answer>,
    pub survey: Option<Arc<Survey>>,
    /// Empty for all.
    pub le: NeededLe,
    /// Only what the budgets need was asked for.
    pub is_needed: bool,
    pub lookback: Lookback,
}

impl Packed {
    /// Whether `part`, which was put from it, has all the bounds that the budgets need.
    fn is_met_by(&self, part: &Part) -> bool {
        let survey = self.survey.as_ref().filter(|_| self.is_needed);
        survey.is_none_or(|survey| survey.is_met_by_all(part))
    }
}

impl Asked {
    /// Whether all came as chunks, which may be put into slots piece by piece.
    pub fn is_packed(&self) -> bool {
        self.metrics.iter().all(|metric| matches!(metric, Metric::Packed(_)))
    }

    /// How many slots at the start of `grid` no chunk reaches, if it is known and nothing else is to be said of them.
    pub fn idle_slots(&self, grid: Grid) -> usize {
        let first_ms = self.metrics.iter().map(|metric| match metric {
            Metric::Packed(packed) if !packed.answer.native => packed.answer.first_ms(),
            _ => Some(i64::MIN),
        });
        let Some(first_ms) = first_ms.flatten().min() else { return grid.slots };
        let idle = first_ms.saturating_sub(grid.from.unix_ms()).max(0) / grid.step.ms();
        (idle as usize).min(grid.slots)
    }

    /// Buckets that there are chunks of.
    pub fn columns(&self) -> usize {
        let packed = self.metrics.iter().filter_map(|metric| match metric {
            Metric::Packed(packed) => Some(packed.answer.series.len()),
            Metric::Put(_) => None,
        });
        packed.sum()
    }
}

impl Prometheus {
    /// What polls at the multiples of `step` from `from` to `to`, both included, would have seen.
    /// [`SourceError::TooLarge`] asks for a shorter slice, and so does [`SourceError::TooManySlots`]. Any query that
    /// fails, fails it all.
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
        if grid.slots == 0 {
            return Ok(History::empty(grid.from, step, 0));
        }
        let mut asked = self.ask_history(&Surveys::new(), grid, detail, deadline).await?;
        self.put(&mut asked, grid, grid.last(), deadline).await
    }

    /// What is to be known of the slots of `grid`, for [`Prometheus::put`].
    pub(super) async fn ask_history(
        &self,
        surveys: &Surveys,
        grid: Grid,
        detail: Detail,
        deadline: Deadline,
    ) -> Result<Asked, SourceError> {
        let metric = |index| {
            let (prometheus, survey) = (self.clone(), surveys.get(index).cloned());
            async move { prometheus.ask_metric(index, grid, survey, detail, deadline).await }
        };
        let metrics = gather((0..self.plan.requests.len()).map(metric).collect(), SLICES_AT_ONCE).await;
        let metrics: Result<Vec<Metric>, SourceError> =
            metrics.into_iter().map(|metric| metric.unwrap_or_else(|| Err(SourceError::decoder()))).collect();
        Ok(Asked { metrics: metrics? })
    }

    /// Puts chunks into the slots of `piece`: some of those that were asked for, or all if not all came as chunks. `to` is
    /// the last slot that was asked for.
    pub(super) async fn put(
        &self,
        asked: &mut Asked,
        piece: Grid,
        to: Timestamp,
        deadline: Deadline,
    ) -> Result<History, SourceError> {
        let mut parts = Vec::new();
        for (index, metric) in asked.metrics.iter_mut().enumerate() {
            parts.push(match metric {
                Metric::Put(part) => std::mem::take(part),
                Metric::Packed(packed) => self.put_metric(index, packed, piece, to, deadline).await?,
            });
        }
        Ok(History::empty(piece.from, piece.step, piece.slots).with(parts))
    }

    /// The same where nothing more has to be asked for; `None` where something has.
    pub(super) fn put_chunks(&self, asked: &Asked, piece: Grid) -> Option<History> {
        let part = |(index, metric): (usize, &Metric)| {
            let Metric::Packed(packed) = metric else { return None };
            let part = self.put_packed(index, packed, piece).ok()?;
            packed.is_met_by(&part).then_some(part)
        };
        let parts = asked.metrics.iter().enumerate().map(part).collect::<Option<Vec<Part>>>()?;
        Some(History::empty(piece.from, piece.step, piece.slots).with(parts))
    }

    /// One a request of the plan.
    pub(super) async fn surveys(
        &self,
        from: Timestamp,
        to: Timestamp,
        deadline: Deadline,
    ) -> Result<Surveys, SourceError> {
        let survey = |index| {
            let prometheus = self.clone();
            async move { prometheus.survey(index, from, to, deadline).await.map(Arc::new) }
        };
        let surveys = gather((0..self.plan.requests.len()).map(survey).collect(), QUERIES_AT_ONCE).await;
        surveys.into_iter().map(|survey| survey.unwrap_or_else(|| Err(SourceError::decoder()))).collect()
    }

    /// How many buckets a slice of this range would bring, for [`slots_per_slice`].
    pub async fn columns(
        &self,
        from: Timestamp,
        to: Timestamp,
        detail: Detail,
        deadline: Duration,
    ) -> Result<usize, SourceError> {
        let surveys = self.surveys(from, to, Deadline::after(deadline)).await?;
        Ok(columns(&surveys, detail))
    }

    async fn ask_metric(
        &self,
        index: usize,
        grid: Grid,
        survey: Option<Arc<Survey>>,
        detail: Detail,
        deadline: Deadline,
    ) -> Result<Metric, SourceError> {
        let survey = match (survey, detail) {
            (None, Detail::Counts) => Some(Arc::new(self.survey(index, grid.from, grid.last(), deadline).await?)),
            (survey, _) => survey,
        };
        let needed = match (&survey, detail) {
            (Some(survey), Detail::Counts) if survey.needed.is_empty() => {
                return Ok(Metric::Packed(Packed::default()));
            }
            (Some(survey), Detail::Counts) => Some(survey),
            _ => None,
        };
        let le = needed.map(|survey| survey.needed.clone()).unwrap_or_default();
        let part = match self.buckets(index, grid, grid, survey.as_ref(), &le, deadline).await? {
            Metric::Packed(packed) => return Ok(Metric::Packed(Packed { is_needed: needed.is_some(), ..packed })),
            Metric::Put(part) => part,
        };
        if needed.is_none_or(|survey| survey.is_met_by_all(&part)) {
            return Ok(Metric::Put(part));
        }
        self.buckets(index, grid, grid, survey.as_ref(), &NeededLe::new(), deadline).await
    }

    async fn put_metric(
        &self,
        index: usize,
        packed: &mut Packed,
        piece: Grid,
        to: Timestamp,
        deadline: Deadline,
    ) -> Result<Part, SourceError> {
        let mut part = self.put_packed(index, packed, piece);
        if part.as_ref().is_ok_and(|part| !packed.is_met_by(part)) {
            // The pieces that follow will need all of them, too.
            let (rest, all) = (grid(piece.from, to, piece.step)?, NeededLe::new());
            match self.buckets(index, rest, piece, packed.survey.as_ref(), &all, deadline).await? {
                Metric::Packed(all) => *packed = all,
                Metric::Put(part) => return Ok(part),
            }
            part = self.put_packed(index, packed, piece);
        }
        match part {
            Ok(part) => Ok(part),
            Err(broken) => self.by_query(index, piece, &packed.le, Some(broken), deadline).await,
        }
    }

    fn put_packed(&self, index: usize, packed: &Packed, grid: Grid) -> Result<Part, SourceError> {
        let request = &self.plan.requests[index];
        put_chunks(&packed.answer, request, grid, packed.lookback, self.max_series, self.max_response_bytes)
    }

    /// The buckets with these `le`, or all of them: the chunks of `grid`, or else the slots of `piece`.
    async fn buckets(
        &self,
        index: usize,
        grid: Grid,
        piece: Grid,
        survey: Option<&Arc<Survey>>,
        le: &NeededLe,
        deadline: Deadline,
    ) -> Result<Metric, SourceError> {
        let refused = match self.chunks(index, grid, survey, le, deadline).await {
            Ok(Some(packed)) => return Ok(Metric::Packed(packed)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        self.by_query(index, piece, le, refused, deadline).await.map(Metric::Put)
    }

    /// The same without chunks; `refused` is why, if it failed.
    async fn by_query(
        &self,
        index: usize,
        grid: Grid,
        le: &NeededLe,
        refused: Option<SourceError>,
        deadline: Deadline,
    ) -> Result<Part, SourceError> {
        if let Some(error @ (SourceError::TooLarge { .. } | SourceError::Timeout(_) | SourceError::Connect(_))) =
            refused
        {
            return Err(error);
        }
        if grid.slots > MAX_SLOTS {
            return Err(SourceError::TooManySlots { slots: grid.slots, limit: MAX_SLOTS });
        }
        let matcher = if le.is_empty() { String::new() } else { any_of("le", union(le)) };
        let mut part = self.without_chunks(index, grid, &matcher, deadline).await?;
        if let Some(error) = refused {
            part.warnings.push(&format!("remote read failed, so queries were asked instead: {error}"));
        }
        Ok(part)
    }

    /// By a query, which answers what polls see. Where queries are refused, by export: its samples are put into slots
    /// here, as Prometheus would.
    async fn without_chunks(
        &self,
        index: usize,
        grid: Grid,
        matcher: &str,
        deadline: Deadline,
    ) -> Result<Part, SourceError> {
        let exports = &self.remote.exports;
        if !exports.load(Ordering::Relaxed) {
            let refused = match self.range(index, grid, matcher, deadline).await {
                Err(error) if is_refusal(&error) => error,
                answered => return answered,
            };
            let Some(mut part) = self.export(index, grid, matcher, deadline).await? else { return Err(refused) };
            exports.store(true, Ordering::Relaxed);
            part.warnings.push(&format!("queries are refused, so samples were exported instead: {refused}"));
            return Ok(part);
        }
        let gone = || SourceError::WrongShape("the server exports samples no more".into());
        self.export(index, grid, matcher, deadline).await?.ok_or_else(gone)
    }

    /// By remote read; `None` where queries have to be asked instead.
    async fn chunks(
        &self,
        index: usize,
        grid: Grid,
        survey: Option<&Arc<Survey>>,
        le: &NeededLe,
        deadline: Deadline,
    ) -> Result<Option<Packed>, SourceError> {
        if !self.may_have_chunks() {
            return Ok(None);
        }
        let external = self.external_labels(deadline).await?;
        let selectors = self.plan.requests[index].matchers(le);
        if selects_external(&selectors, external) {
            return Ok(None);
        }
        let lookback = self.lookback(deadline).await;
        let answer = self.read_chunks(&selectors, grid, lookback.length, deadline).await?;
        let Some(mut answer) = answer else { return Ok(None) };
        let survey = match survey {
            Some(survey) => Arc::clone(survey),
            None => Arc::new(self.survey(index, grid.from, grid.last(), deadline).await?),
        };
        if !as_queries_name_them(&mut answer, external, &survey.series) {
            return Ok(None);
        }
        let (answer, survey) = (Arc::new(answer), Some(survey));
        Ok(Some(Packed { answer, survey, le: le.clone(), is_needed: false, lookback }))
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
}

/// Whether the server will not answer a query over a range, now or later: a limit of VictoriaMetrics' (422), or a proxy.
fn is_refusal(error: &SourceError) -> bool {
    matches!(error, SourceError::Api { status: 422, .. } | SourceError::Http { status: 422, .. }) || is_missing(error)
}

/// How many buckets a slice brings.
pub(super) fn columns(surveys: &Surveys, detail: Detail) -> usize {
    let columns = surveys.iter().map(|survey| match detail {
        Detail::Counts => survey.series.values().map(Vec::len).sum(),
        Detail::Buckets => survey.buckets,
    });
    columns.sum()
}

pub(super) fn grid(from: Timestamp, to: Timestamp, step: Duration) -> Result<Grid, SourceError> {
    if step.is_zero() {
        return Err(SourceError::Request("the step is zero".into()));
    }
    let from = from.align_up(step);
    let slots = match to.unix_ms() - from.unix_ms() {
        length @ 0.. => (length / step.ms()) as usize + 1,
        _ => 0,
    };
    if slots > MAX_SLOTS_OF_CHUNKS {
        return Err(SourceError::TooManySlots { slots, limit: MAX_SLOTS_OF_CHUNKS });
    }
    Ok(Grid { from, step, slots })
}

/// What any SLO needs.
fn union(le: &NeededLe) -> BTreeSet<&str> {
    le.values().flatten().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::histogram::Labels;
    use crate::source::chunks::{self, Chunk};

    #[test]
    fn slots_before_the_first_chunk_are_idle_if_nothing_else_is_to_be_said() {
        let grid = grid(Timestamp::from_unix_s(600), Timestamp::from_unix_s(900), Duration::from_secs(30)).unwrap();
        let check = |begin_s: &[i64], native: bool, expected: usize| {
            let chunk = |s: &i64| Chunk { min_time_ms: s * 1000, ..Chunk::default() };
            let chunks = begin_s.iter().map(chunk).collect();
            let series = vec![chunks::Packed { labels: Labels::new(), bound: 1.0, chunks }];
            let answer = Arc::new(Answer { series, native });
            let asked = Asked { metrics: vec![Metric::Packed(Packed { answer, ..Packed::default() })] };
            assert_eq!(asked.idle_slots(grid), expected, "{begin_s:?}");
        };
        check(&[], false, 11);
        check(&[701, 660], false, 2);
        check(&[689], false, 2);
        check(&[0, 660], false, 0);
        check(&[5000], false, 11);
        // Whoever puts them says so.
        check(&[660], true, 0);
        let put = Asked { metrics: vec![Metric::Put(Part::default())] };
        assert_eq!(put.idle_slots(grid), 0);
    }
}
