//! Slices that are asked for before the server has said which buckets there are. Most budgets are bounds that are written
//! as everybody writes them; then the answer itself shows all that a survey would, and nobody has to wait for one.
//!
//! Nothing is taken for true because of a guess: where the answer leaves anything open, nothing of it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Deadline;
use crate::config::selector::LabelMatcher;
use crate::engine::histogram::Labels;
use crate::source::chunks::Answer;
use crate::source::gather::gather;
use crate::source::plan::Plan;
use crate::source::sampler::Grid;

use super::history::{Asked, Metric, Packed};
use super::remote::{as_queries_name_them, selects_external};
use super::survey::{LOOKBACK, Survey};
use super::{Prometheus, QUERIES_AT_ONCE};

/// What the answer to a guess may take, in bytes: a few times a slice of the usual size, and a survey is cheaper.
const GUESS_BYTES: usize = 32 << 20;

impl Prometheus {
    /// Whether the buckets that the budgets need can be guessed.
    pub(super) fn may_guess(&self) -> bool {
        self.may_have_chunks() && self.plan.requests.iter().all(|request| self.plan.likely_le(request).is_some())
    }

    /// What is needed of the slots of `grid`, if a guess at what that is turns out to be right.
    pub(super) async fn guess(&self, grid: Grid, deadline: Deadline) -> Option<Asked> {
        let prometheus = Self { max_response_bytes: self.max_response_bytes.min(GUESS_BYTES), ..self.clone() };
        let metric = |index| {
            let prometheus = prometheus.clone();
            async move { prometheus.guess_metric(index, grid, deadline).await }
        };
        let metrics = gather((0..self.plan.requests.len()).map(metric).collect(), QUERIES_AT_ONCE).await;
        let metrics = metrics.into_iter().map(|packed| packed.flatten().map(Metric::Packed));
        Some(Asked { metrics: metrics.collect::<Option<_>>()? })
    }

    async fn guess_metric(&self, index: usize, grid: Grid, deadline: Deadline) -> Option<Packed> {
        let request = &self.plan.requests[index];
        let le = self.plan.likely_le(request)?;
        let selectors = request.matchers(&le);
        // What the server says of itself is small and no hurry: one connection will do.
        let says = async {
            let names = self.names(index, &selectors, grid, deadline).await;
            (names, self.lookback(deadline).await)
        };
        let (answer, (names, lookback)) = tokio::join!(self.read_chunks(&selectors, grid, LOOKBACK, deadline), says);
        let (mut answer, names) = (answer.ok()??, names?);
        if answer.native || lookback.length > LOOKBACK {
            return None;
        }
        let survey = match names {
            Names::AsTheyAre => shown(&answer, &self.plan, index)?,
            Names::Surveyed { external, survey } => {
                let is_named = as_queries_name_them(&mut answer, external, &survey.series);
                let needed = &survey.needed;
                let is_there = needed.iter().all(|(slo, needed)| le.get(slo).is_some_and(|le| needed.is_subset(le)));
                let is_all = request.slos.iter().all(|slo| needed.contains_key(slo));
                (is_named && is_there && is_all).then_some(survey)?
            }
        };
        Some(Packed { answer: Arc::new(answer), survey: Some(Arc::new(survey)), le, is_needed: true, lookback })
    }

    /// How to tell the labels of series from those that the server adds; `None` if that cannot be known.
    async fn names(
        &self,
        index: usize,
        selectors: &[Vec<LabelMatcher>],
        grid: Grid,
        deadline: Deadline,
    ) -> Option<Names<'_>> {
        let external = self.external_labels(deadline).await.ok()?;
        if external.is_some_and(Labels::is_empty) {
            return Some(Names::AsTheyAre);
        }
        if selects_external(selectors, external) {
            return None;
        }
        let survey = self.survey(index, grid.from, grid.last(), deadline).await.ok()?;
        Some(Names::Surveyed { external, survey })
    }
}

enum Names<'a> {
    /// The server adds nothing.
    AsTheyAre,
    Surveyed {
        external: Option<&'a Labels>,
        survey: Survey,
    },
}

/// What an answer with the likely bounds shows, if that is all there is to know: every SLO has series, and all of them
/// have the bound that is its budget.
fn shown(answer: &Answer, plan: &Plan, index: usize) -> Option<Survey> {
    let request = &plan.requests[index];
    let mut bounds: BTreeMap<&Labels, Vec<f64>> = BTreeMap::new();
    for packed in &answer.series {
        bounds.entry(&packed.labels).or_default().push(packed.bound);
    }
    let mut survey = Survey { buckets: answer.series.len(), ..Survey::default() };
    let mut seen = BTreeSet::new();
    for (labels, bounds) in bounds {
        let slos = request.assign(labels);
        let budgets = slos.iter().map(|slo| plan.budgets_s[*slo]);
        let mut wanted: Vec<f64> = budgets.chain([f64::INFINITY]).collect();
        if !wanted.iter().all(|bound| bounds.contains(bound)) {
            return None;
        }
        wanted.sort_by(f64::total_cmp);
        wanted.dedup();
        seen.extend(slos);
        survey.series.insert(labels.clone(), wanted);
    }
    request.slos.iter().all(|slo| seen.contains(slo)).then_some(survey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::selector::MatchOp;
    use crate::source::chunks;
    use crate::source::plan::tests::{plan, selector};

    #[test]
    fn an_answer_shows_all_where_every_series_has_its_budgets() {
        type Series<'a> = (&'a str, &'a [f64]);
        let slo = |layer, budget_s| (selector("m", &[("layer", MatchOp::Equal, layer)]), budget_s);
        let plan = plan(&[slo("a", 0.1), slo("b", 0.2), slo("b", 0.4)]);
        let check = |series: &[Series<'_>], expected: Option<&[Series<'_>]>| {
            let packed = series.iter().flat_map(|(layer, bounds)| {
                let labels = Labels::from([("layer".to_owned(), (*layer).to_owned())]);
                bounds.iter().map(move |bound| (labels.clone(), *bound))
            });
            let packed = packed.map(|(labels, bound)| chunks::Packed { labels, bound, chunks: Vec::new() });
            let survey = shown(&Answer { series: packed.collect(), native: false }, &plan, 0);
            let found: Option<Vec<(String, Vec<f64>)>> = survey.map(|survey| {
                survey.series.into_iter().map(|(labels, wanted)| (labels["layer"].clone(), wanted)).collect()
            });
            let expected = expected.map(|all| all.iter().map(|(layer, wanted)| ((*layer).into(), wanted.to_vec())));
            assert_eq!(found, expected.map(Iterator::collect), "{series:?}");
        };
        const ALL: f64 = f64::INFINITY;
        let (a, b): (Series<'_>, Series<'_>) = (("a", &[0.1, ALL]), ("b", &[0.2, 0.4, ALL]));
        check(&[b, a], Some(&[a, b]));
        check(&[a, ("b", &[0.2, ALL])], None);
        check(&[a, ("b", &[0.2, 0.4])], None);
        // What has no series may have native histograms, or other bounds.
        check(&[a], None);
        check(&[], None);
    }
}
