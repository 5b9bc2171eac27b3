//! From a histogram to good and total requests, and from those to burn rates, budgets and quantiles.

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
}
