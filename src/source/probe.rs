//! What a source knows of each SLO's histogram, for `check --online`: plain data, to be judged and shown elsewhere.

use crate::engine::histogram::Poll;
use crate::engine::time::{Duration, Timestamp};

use super::plan::Plan;

/// What was found for all SLOs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Probe {
    /// One an SLO, in their order.
    pub slos: Vec<SloProbe>,
    /// For how long the source keeps samples, if it says so.
    pub retention: Option<Duration>,
    /// The source's warnings, and questions it did not answer; bounded in number.
    pub warnings: Vec<String>,
}

/// What was found for one SLO. The bounds are those of all its series together, the neighbours those of the first
/// series whose bounds lack the budget.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SloProbe {
    /// How many usable series its selector finds now.
    pub series: usize,
    /// In seconds, ascending.
    pub bounds_s: Vec<f64>,
    /// How many series do not have the budget among their bounds.
    pub between: usize,
    /// The finite bounds next to the budget where it is none itself.
    pub neighbours_s: (Option<f64>, Option<f64>),
    /// How far apart its samples are: the median of its series over the last ten minutes.
    pub scrape_interval: Option<Duration>,
    /// A time at which there were samples, and before which there probably were none; or the start of the time that
    /// was asked about. Late by a two-hundredth of that time at most, and by a minute or so where it is younger than that.
    pub earliest: Option<Timestamp>,
    /// There is no classic histogram, but a native one of the same name, which is not read here.
    pub native: bool,
}

impl Probe {
    /// What a poll alone can tell.
    pub(super) fn from_poll(plan: &Plan, poll: Poll) -> Self {
        let mut slos = vec![SloProbe::default(); plan.budgets_s.len()];
        for (slo, histogram) in &poll.series {
            slos[*slo].add(&histogram.bounds, plan.budgets_s[*slo]);
        }
        for slo in &mut slos {
            slo.bounds_s.sort_by(f64::total_cmp);
            slo.bounds_s.dedup();
        }
        Self { slos, retention: None, warnings: poll.warnings }
    }
}

impl SloProbe {
    fn add(&mut self, bounds: &[f64], budget_s: f64) {
        self.series += 1;
        self.bounds_s.extend(bounds.iter().filter(|bound| bound.is_finite()));
        let above = bounds.partition_point(|bound| *bound < budget_s);
        if bounds.get(above) == Some(&budget_s) {
            return;
        }
        if self.between == 0 {
            let below = above.checked_sub(1).and_then(|below| bounds.get(below));
            self.neighbours_s = (below.copied(), bounds.get(above).copied().filter(|bound| bound.is_finite()));
        }
        self.between += 1;
    }
}
