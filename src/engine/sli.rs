//! From a histogram to good and total requests, and from those to burn rates, budgets and quantiles.

use std::fmt;

use serde::Serialize;

use super::histogram::Labels;
use super::rule::Rule;
use super::time::Duration;

/// What to do when the latency budget lies between two bounds of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Between {
    /// Measure nothing and say which bounds there are.
    #[default]
    Refuse,
    /// Count good up to the bound below the budget: stricter than asked.
    Lower,
    /// Count good up to the bound above the budget: laxer than asked.
    Upper,
    /// Assume that requests lie evenly between the two bounds.
    Interpolate,
}

/// What the first sample of a series adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NewSeries {
    /// Nothing: its counter may be old.
    #[default]
    Skip,
    /// All of it: its counter was born at zero since the poll before.
    Zero,
}

/// One service level objective: a layer of a journey, or the journey itself, and the rules that watch it.
#[derive(Debug, Clone)]
pub struct SloSpec {
    pub journey: String,
    /// `None` for the journey as its users feel it.
    pub layer: Option<String>,
    pub tier: Option<String>,
    pub owner: Option<String>,
    pub runbook: Option<String>,
    /// The user's own labels, for routing.
    pub labels: Labels,
    /// The histogram's selector as the user wrote it, without `_bucket`.
    pub selector: String,
    /// The latency budget in seconds.
    pub budget_s: f64,
    /// The share of requests that must be within the budget, in parts per million; below 1,000,000.
    pub objective_ppm: u32,
    pub period: Duration,
    pub between: Between,
    pub new_series: NewSeries,
    /// Label names whose every combination of values is an SLO of its own.
    pub by: Vec<String>,
    /// At most this many combinations are watched; further ones are refused and reported.
    pub max_by: usize,
    pub rules: Vec<Rule>,
}

impl SloSpec {
    /// The share of requests that may be slow: 1 - objective.
    pub fn allowed_ratio(&self) -> f64 {
        f64::from(1_000_000 - self.objective_ppm) / 1e6
    }

    /// How far back its windows reach: the period, or a rule's window that is longer.
    pub fn longest_window(&self) -> Duration {
        self.rules.iter().filter_map(|rule| rule.limit.long_window()).fold(self.period, Duration::max)
    }
}

/// How to read the number of good requests off cumulative buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Good {
    /// The count of this bucket.
    At(usize),
    /// `weight` of the way from the bucket before `upper` (zero requests if it is the first) to `upper`.
    Between { upper: usize, weight: f64 },
}

/// A latency budget that a histogram's bounds cannot measure as asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Misfit {
    pub budget_s: f64,
    /// The nearest bounds; `None` below the first, infinite above the last.
    pub lower_s: Option<f64>,
    pub upper_s: f64,
}

impl Good {
    /// Finds `budget_s` among `bounds` (ascending seconds, the last `+Inf`), compared as numbers.
    pub fn locate(budget_s: f64, bounds: &[f64], between: Between) -> Result<Good, Misfit> {
        let upper = bounds.partition_point(|bound| *bound < budget_s).min(bounds.len() - 1);
        let (upper_s, lower_s) = (bounds[upper], upper.checked_sub(1).map(|lower| bounds[lower]));
        if upper_s == budget_s {
            return Ok(Good::At(upper));
        }
        match between {
            Between::Lower if upper > 0 => Ok(Good::At(upper - 1)),
            Between::Upper if upper_s.is_finite() => Ok(Good::At(upper)),
            Between::Interpolate if upper_s.is_finite() => {
                let start_s = lower_s.unwrap_or(0.0);
                Ok(Good::Between { upper, weight: (budget_s - start_s) / (upper_s - start_s) })
            }
            _ => Err(Misfit { budget_s, lower_s, upper_s }),
        }
    }

    /// The bounds that are read, in seconds: one, or the two around the budget.
    pub fn bounds_s(self, bounds: &[f64]) -> [f64; 2] {
        match self {
            Good::At(bucket) => [bounds[bucket]; 2],
            Good::Between { upper, .. } => [if upper == 0 { 0.0 } else { bounds[upper - 1] }, bounds[upper]],
        }
    }

    /// Good requests among cumulative counts (or increases) in the order of the bounds.
    pub fn count(self, counts: &[f64]) -> f64 {
        match self {
            Good::At(bucket) => counts[bucket],
            Good::Between { upper, weight } => {
                let below = if upper == 0 { 0.0 } else { counts[upper - 1] };
                below + (counts[upper] - below) * weight
            }
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget of {} s is not a bound of the histogram", self.budget_s)?;
        match self.lower_s {
            Some(lower_s) if self.upper_s.is_finite() => {
                write!(
                    f,
                    ": it lies between {lower_s} and {}; use one of them, or say 'between: lower', 'upper' or 'interpolate'",
                    self.upper_s
                )
            }
            Some(lower_s) => write!(f, ": its greatest is {lower_s}; use that or less"),
            None => write!(f, ": its least is {}; use that or more", self.upper_s),
        }
    }
}

/// Requests in a window and how much of the window was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    pub good: f64,
    pub total: f64,
    /// Share of the window's slots with a measured increase, 0 to 1.
    pub coverage: f64,
}

impl Traffic {
    pub fn bad(self) -> f64 {
        (self.total - self.good).max(0.0)
    }

    /// Share of slow requests; 0 without requests, as nobody was kept waiting.
    pub fn bad_ratio(self) -> f64 {
        if self.total > 0.0 { self.bad() / self.total } else { 0.0 }
    }

    /// How many times faster than allowed the error budget goes: 1 spends it exactly over the period.
    /// Source: Google, "The Site Reliability Workbook", chapter 5.
    pub fn burn(self, allowed_ratio: f64) -> f64 {
        self.bad_ratio() / allowed_ratio
    }

    /// Lower end of the one-sided Wilson score interval of the bad ratio.
    /// Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    pub fn bad_ratio_at_least(self, z: f64) -> f64 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let (n, p, z2) = (self.total, self.bad_ratio(), z * z);
        let centre = p + z2 / (2.0 * n);
        let spread = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        ((centre - spread) / (1.0 + z2 / n)).max(0.0)
    }
}

/// The `q`-quantile, in seconds, of cumulative counts by bound, as Prometheus' `histogram_quantile` computes it:
/// linear inside a bucket, the first bucket from zero, the greatest finite bound for what lies beyond it.
/// `None` without requests or without a finite bound.
pub fn quantile_s(q: f64, bounds: &[f64], counts: &[f64]) -> Option<f64> {
    let total = *counts.last()?;
    if total <= 0.0 || bounds.len() < 2 {
        return None;
    }
    let rank = q * total;
    let bucket = counts.partition_point(|count| *count < rank).min(counts.len() - 1);
    if bucket == bounds.len() - 1 {
        return Some(bounds[bucket - 1]);
    }
    if bucket == 0 && bounds[0] <= 0.0 {
        return Some(bounds[0]);
    }
    let (start_s, below) = if bucket == 0 { (0.0, 0.0) } else { (bounds[bucket - 1], counts[bucket - 1]) };
    let inside = counts[bucket] - below;
    let share = if inside > 0.0 { (rank - below) / inside } else { 1.0 };
    Some(start_s + (bounds[bucket] - start_s) * share)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use Between::{Interpolate, Lower, Refuse, Upper};

    const INF: f64 = f64::INFINITY;

    /// One without rules, for tests that change what they look at.
    pub(crate) fn slo() -> SloSpec {
        SloSpec {
            journey: "checkout".into(),
            layer: None,
            tier: None,
            owner: None,
            runbook: None,
            labels: Labels::new(),
            selector: "m".into(),
            budget_s: 0.1,
            objective_ppm: 990_000,
            period: Duration::from_days(30),
            between: Refuse,
            new_series: NewSeries::Skip,
            by: vec![],
            max_by: 10,
            rules: vec![],
        }
    }

    #[test]
    fn good_requests_by_policy() {
        let check = |budget_s, bounds: &[f64], counts: &[f64], between, expected: Option<f64>| {
            let found = Good::locate(budget_s, bounds, between).map(|good| good.count(counts)).ok();
            assert_eq!(found, expected, "budget {budget_s} s, {between:?}");
        };
        let (bounds, counts) = ([0.01, 0.05, INF], [10.0, 20.0, 24.0]);
        check(0.05, &bounds, &counts, Refuse, Some(20.0));
        check(0.03, &bounds, &counts, Refuse, None);
        check(0.03, &bounds, &counts, Lower, Some(10.0));
        check(0.03, &bounds, &counts, Upper, Some(20.0));
        check(0.03, &bounds, &counts, Interpolate, Some(15.0));
        check(0.005, &bounds, &counts, Interpolate, Some(5.0));
        // Nothing below the first bound and nothing finite above the last: neither could ever tell good from bad.
        check(0.005, &bounds, &counts, Lower, None);
        check(0.5, &bounds, &counts, Upper, None);
        check(0.5, &bounds, &counts, Interpolate, None);
        check(0.5, &bounds, &counts, Lower, Some(20.0));
        check(0.5, &[INF], &[24.0], Upper, None);
    }

    #[test]
    fn burn_rates() {
        let traffic = Traffic { good: 850.0, total: 1000.0, coverage: 1.0 };
        assert!((traffic.burn(0.001) - 150.0).abs() < 1e-9);
        assert_eq!(Traffic::default().burn(0.001), 0.0);
    }

    #[test]
    fn few_requests_prove_little() {
        let half = |total: f64| Traffic { good: total / 2.0, total, coverage: 1.0 }.bad_ratio_at_least(1.645);
        assert!(half(2.0) < 0.13 && half(20.0) > 0.3 && half(20_000.0) > 0.49);
    }

    #[test]
    fn quantiles_as_prometheus_has_them() {
        let check = |q, bounds: &[f64], counts: &[f64], expected| assert_eq!(quantile_s(q, bounds, counts), expected);
        check(0.5, &[0.1, 0.2, INF], &[10.0, 20.0, 20.0], Some(0.1));
        check(0.75, &[0.1, 0.2, INF], &[10.0, 20.0, 20.0], Some(0.15000000000000002));
        check(0.25, &[0.1, 0.2, INF], &[10.0, 20.0, 20.0], Some(0.05));
        check(0.99, &[0.1, 0.2, INF], &[10.0, 20.0, 40.0], Some(0.2));
        check(0.99, &[0.1, INF], &[0.0, 0.0], None);
        check(0.99, &[INF], &[3.0], None);
    }
}
