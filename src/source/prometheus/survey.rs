//! Which buckets a metric has in a range of time, and which of them the budgets need.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Deadline;
use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};
use crate::source::error::SourceError;
use crate::source::history::{HistorySeries, Part};
use crate::source::needed::needed;
use crate::source::plan::{NeededLe, Plan};
use crate::source::series::Bounded;

use super::answer::{self, Key, Metric, Shape};
use super::{Prometheus, seconds};

/// How far before a range a sample may lie that still counts at its start, at least.
pub(super) const LOOKBACK: Duration = Duration::from_minutes(15);

/// What a metric has.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Sets of labels with `le`.
    pub buckets: usize,
    /// The `le` values, as written, that the budgets need.
    pub needed: NeededLe,
    /// All sets of labels without `le`, and the bounds in seconds that the budgets need of each.
    pub series: BTreeMap<Labels, Vec<f64>>,
}

impl Survey {
    /// Whether the series have all the bounds that their budgets need. They may not, where bounds came or went.
    pub fn is_met_by_all(&self, part: &Part) -> bool {
        let is_met_by = |series: &HistorySeries| {
            let wanted = self.series.get(&series.labels);
            wanted.is_none_or(|wanted| wanted.iter().all(|bound| series.bounds.contains(bound)))
        };
        !part.changes && part.series.iter().all(is_met_by)
    }
}

impl Prometheus {
    /// What the metric of request `index` has from `from`, less the lookback, to `to`.
    pub(super) async fn survey(
        &self,
        index: usize,
        from: Timestamp,
        to: Timestamp,
        deadline: Deadline,
    ) -> Result<Survey, SourceError> {
        // Nearly every server looks back no further than that, so nobody waits for it to say so.
        let (lookback, survey) =
            tokio::join!(self.lookback(deadline), self.survey_between(index, (from - LOOKBACK, to), deadline));
        if lookback.length <= LOOKBACK {
            return survey;
        }
        self.survey_between(index, (from - lookback.length, to), deadline).await
    }

    async fn survey_between(
        &self,
        index: usize,
        (from, to): (Timestamp, Timestamp),
        deadline: Deadline,
    ) -> Result<Survey, SourceError> {
        let selectors = self.plan.requests[index].selectors("").into_iter().map(|selector| ("match[]", selector));
        let range = [("start", seconds(from)), ("end", seconds(to))];
        let (plan, max_series) = (Arc::clone(&self.plan), self.max_series);
        let decode = move |body: &[u8]| read_survey(body, &plan, index, max_series);
        self.ask("series", selectors.chain(range).collect(), deadline, decode).await
    }
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
        survey.buckets += bounds.len();
        let labels = answer::owned(labels);
        let mut wanted: Vec<f64> = Vec::new();
        for slo in plan.requests[index].assign(&labels) {
            let own = needed(bounds.iter().map(|(bound, _)| *bound), [plan.budgets_s[slo]]);
            let le = bounds.iter().filter(|(bound, _)| own.contains(bound)).map(|(_, le)| le.clone());
            survey.needed.entry(slo).or_default().extend(le);
            wanted.extend(own);
        }
        wanted.sort_by(f64::total_cmp);
        wanted.dedup();
        survey.series.insert(labels, wanted);
    }
    Ok(survey)
}
