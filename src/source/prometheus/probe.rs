//! Questions about histograms rather than about their values: how often they are scraped, how far back they reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Deadline;
use crate::config::units::duration;
use crate::engine::time::{Duration, Timestamp};
use crate::source::error::{SourceError, scrubbed};
use crate::source::plan::MetricRequest;
use crate::source::probe::Probe;
use crate::source::series::Warnings;

use super::answer::{self, MatrixRow, Notes, Shape, VectorRow};
use super::survey::Survey;
use super::{Prometheus, seconds};

const TOTALS: &str = "le=\"+Inf\"";
/// Over how long samples are looked at, and how closely, to see how far apart they are.
const WATCHED: &str = "10m:1s";
/// Into how many steps the time is cut in which the first sample is looked for.
const STEPS: i64 = 200;
const SHORTEST_STEP: Duration = Duration::from_minutes(1);

impl Prometheus {
    /// What is known of each SLO's histogram at `now`, and how much of the time `reach` before it holds samples. An
    /// error only if the server answers nothing at all; a question that it refuses is a warning.
    pub async fn probe(&self, now: Timestamp, reach: Duration, deadline: Duration) -> Result<Probe, SourceError> {
        scrubbed(&self.scrubber, self.probe_all(now, reach, deadline).await, |probe| &mut probe.warnings)
    }

    async fn probe_all(&self, now: Timestamp, reach: Duration, deadline: Duration) -> Result<Probe, SourceError> {
        let until = Deadline::after(deadline);
        let mut probe = Probe::from_poll(&self.plan, self.poll(now, deadline).await?);
        let mut warnings = Warnings::default();
        for (index, request) in self.plan.requests.iter().enumerate() {
            let refused = |error: SourceError| format!("{}: {error}", request.metric);
            match self.intervals(index, now, until).await {
                Ok(intervals) => intervals.into_iter().for_each(|(slo, t)| probe.slos[slo].scrape_interval = Some(t)),
                Err(error) => warnings.push(&refused(error)),
            }
            match self.earliest(index, now, reach, until).await {
                Ok(earliest) => earliest.into_iter().for_each(|(slo, at)| probe.slos[slo].earliest = Some(at)),
                Err(error) => warnings.push(&refused(error)),
            }
            if request.slos.iter().all(|slo| probe.slos[*slo].series > 0) {
                continue;
            }
            match self.native(index, now, until).await {
                Ok(slos) => slos.into_iter().for_each(|slo| probe.slos[slo].native = probe.slos[slo].series == 0),
                Err(error) => warnings.push(&refused(error)),
            }
        }
        probe.warnings.extend(warnings.into_list());
        probe.retention = self.retention(until).await;
        Ok(probe)
    }

    /// For how long the server keeps samples. Only Prometheus itself says so; with others, and where only the size is
    /// bounded, it stays unknown.
    async fn retention(&self, deadline: Deadline) -> Option<Duration> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct RuntimeInfo {
            storage_retention: String,
        }
        let data = self.status::<RuntimeInfo>("runtimeinfo", deadline).await.ok()??;
        // `15d`, `512MB`, or `15d or 512MB`.
        data.storage_retention.split(" or ").find_map(|bound| duration(bound).ok())
    }

    /// The scrape interval of each SLO that has one.
    async fn intervals(
        &self,
        index: usize,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<BTreeMap<usize, Duration>, SourceError> {
        // By their own times: a count over a window would be too small for series younger than it.
        let apart = |selector: &String| {
            let times = format!("timestamp({selector})[{WATCHED}]");
            format!("(max_over_time({times}) - min_over_time({times})) / changes({times})")
        };
        let apart: Vec<String> = self.plan.requests[index].selectors(TOTALS).iter().map(apart).collect();
        let form = vec![("query", apart.join(" or ")), ("time", seconds(now))];
        let plan = Arc::clone(&self.plan);
        let apart_s = self.ask("query", form, deadline, move |body| read_values(body, &plan.requests[index])).await?;
        Ok(apart_s.into_iter().filter_map(|(slo, apart_s)| Some((slo, interval(apart_s)?))).collect())
    }

    /// When the first sample of each SLO is seen. What is younger than a step is looked for once more, closely.
    async fn earliest(
        &self,
        index: usize,
        now: Timestamp,
        reach: Duration,
        deadline: Deadline,
    ) -> Result<BTreeMap<usize, Timestamp>, SourceError> {
        let mut earliest = self.earliest_within(index, now, reach, deadline).await?;
        let is_young = |at: Timestamp| now.since(at) < step_of(reach);
        if step_of(reach) > SHORTEST_STEP && earliest.values().any(|at| is_young(*at)) {
            let mut closely = self.earliest_within(index, now, step_of(reach), deadline).await?;
            closely.retain(|slo, _| earliest.get(slo).is_none_or(|at| is_young(*at)));
            earliest.append(&mut closely);
        }
        Ok(earliest)
    }

    async fn earliest_within(
        &self,
        index: usize,
        now: Timestamp,
        reach: Duration,
        deadline: Deadline,
    ) -> Result<BTreeMap<usize, Timestamp>, SourceError> {
        let step = step_of(reach);
        let form = vec![
            ("query", self.plan.requests[index].query(TOTALS)),
            ("start", seconds(now - reach)),
            ("end", seconds(now)),
            ("step", format!("{:.3}", step.secs())),
        ];
        let plan = Arc::clone(&self.plan);
        self.ask("query_range", form, deadline, move |body| read_earliest(body, &plan.requests[index])).await
    }

    /// Refuses a source that has native histograms at `at`, and no buckets in the range of the surveys, for an SLO. A
    /// server that does not answer this is believed to have none.
    pub(super) async fn refuse_native(
        &self,
        surveys: &[Arc<Survey>],
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), SourceError> {
        let mut only = Vec::new();
        for (index, (request, survey)) in self.plan.requests.iter().zip(surveys).enumerate() {
            let found: BTreeSet<usize> = survey.series.keys().flat_map(|labels| request.assign(labels)).collect();
            if request.slos.iter().all(|slo| found.contains(slo)) {
                continue;
            }
            let native = self.native(index, at, deadline).await.unwrap_or_default();
            only.extend(native.into_iter().filter(|slo| !found.contains(slo)));
        }
        self.plan.only_native(only)
    }

    /// The SLOs whose selector finds native histograms.
    async fn native(&self, index: usize, now: Timestamp, deadline: Deadline) -> Result<Vec<usize>, SourceError> {
        let form = vec![("query", self.plan.requests[index].query_native()), ("time", seconds(now))];
        let plan = Arc::clone(&self.plan);
        self.ask("query", form, deadline, move |body| read_native(body, &plan.requests[index])).await
    }
}

fn step_of(reach: Duration) -> Duration {
    Duration::from_ms(reach.ms() / STEPS).max(SHORTEST_STEP)
}

/// Every value of each SLO.
fn read_values(body: &[u8], request: &MetricRequest) -> Result<BTreeMap<usize, Vec<f64>>, SourceError> {
    let mut values: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let read = answer::read(body, Shape::Result("vector"), |row: VectorRow| {
        for slo in request.assign(&answer::owned(row.metric.labels)) {
            values.entry(slo).or_default().extend(row.value.map(|point| point.1));
        }
    });
    read.map(|Notes { .. }| values)
}

/// The median of how far apart samples are, to the second. A series with one sample has none, and no number.
fn interval(mut apart_s: Vec<f64>) -> Option<Duration> {
    apart_s.retain(|apart_s| apart_s.is_finite());
    apart_s.sort_by(f64::total_cmp);
    let median_s = apart_s.get(apart_s.len() / 2)?;
    Some(Duration::from_secs((median_s.round() as i64).max(1)))
}

fn read_earliest(body: &[u8], request: &MetricRequest) -> Result<BTreeMap<usize, Timestamp>, SourceError> {
    let mut earliest: BTreeMap<usize, Timestamp> = BTreeMap::new();
    let read = answer::read(body, Shape::Result("matrix"), |row: MatrixRow| {
        let Some(first) = row.values.first() else { return };
        let at = Timestamp::from_unix_ms((first.0 * 1000.0).round() as i64);
        for slo in request.assign(&answer::owned(row.metric.labels)) {
            let known = earliest.entry(slo).or_insert(at);
            *known = at.min(*known);
        }
    });
    read.map(|Notes { .. }| earliest)
}

fn read_native(body: &[u8], request: &MetricRequest) -> Result<Vec<usize>, SourceError> {
    let mut slos = Vec::new();
    let read = answer::read(body, Shape::Result("vector"), |row: VectorRow| {
        if row.histogram.is_some() {
            slos.extend(request.assign(&answer::owned(row.metric.labels)));
            slos.sort_unstable();
            slos.dedup();
        }
    });
    read.map(|Notes { .. }| slos)
}
