//! Buckets that arrive one by one, in any order, put together into histograms: shared by all sources.

use std::collections::BTreeMap;

use crate::engine::histogram::{Histogram, Labels, Poll};

use super::error::quote;
use super::plan::MetricRequest;

/// Series of one metric beyond this are left out, and what is known of it counts as partial.
pub(super) const MAX_SERIES: usize = 50_000;
/// How many warnings one answer may carry; the rest is counted.
const MAX_WARNINGS: usize = 20;

/// Warnings, bounded in number and length.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Warnings {
    list: Vec<String>,
    more: usize,
}

impl Warnings {
    pub fn push(&mut self, warning: &str) {
        if self.list.len() < MAX_WARNINGS { self.list.push(quote(warning)) } else { self.more += 1 }
    }

    pub fn extend(&mut self, others: Warnings) {
        others.list.iter().for_each(|warning| self.push(warning));
        self.more += others.more;
    }

    pub fn into_list(mut self) -> Vec<String> {
        if self.more > 0 {
            self.list.push(format!("and {} more warnings", self.more));
        }
        self.list
    }
}

/// Series by their labels, at most so many of them. Which ones stay does not depend on the order of arrival: those
/// that sort first.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    series: BTreeMap<K, V>,
    pub limit: usize,
    /// Whether any had to go.
    pub overflowed: bool,
}

impl<K: Ord, V: Default> Bounded<K, V> {
    pub fn new(limit: usize) -> Self {
        Self { series: BTreeMap::new(), limit, overflowed: false }
    }

    /// Where to put what belongs to `key`; `None` if that series is one too many.
    pub fn entry(&mut self, key: K) -> Option<&mut V> {
        if self.series.len() >= self.limit && !self.series.contains_key(&key) {
            self.overflowed = true;
            if self.series.last_key_value().is_none_or(|(last, _)| *last < key) {
                return None;
            }
            self.series.pop_last();
        }
        Some(self.series.entry(key).or_default())
    }

    pub fn series(&self) -> &BTreeMap<K, V> {
        &self.series
    }

    pub fn series_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.series.values_mut()
    }

    pub fn into_series(self) -> BTreeMap<K, V> {
        self.series
    }
}

/// A bucket's labels, told apart.
#[derive(Debug)]
pub(super) struct Named {
    /// The metric's, with `_bucket`; empty if there is none.
    pub name: String,
    /// The upper bound as it is written; empty if there is none.
    pub le: String,
    /// All others.
    pub own: Labels,
}

impl From<Labels> for Named {
    fn from(mut own: Labels) -> Self {
        let mut take = |name: &str| own.remove(name).unwrap_or_default();
        Self { name: take("__name__"), le: take("le"), own }
    }
}

/// A poll in the making.
#[derive(Debug, Default)]
pub(super) struct PollBuilder {
    series: Vec<(usize, Histogram)>,
    flawed: Vec<usize>,
    pub warnings: Warnings,
    pub partial: bool,
}

impl PollBuilder {
    pub fn new(warnings: Warnings, partial: bool) -> Self {
        Self { series: Vec::new(), flawed: Vec::new(), warnings, partial }
    }

    /// Adds one series' buckets to each SLO that selects it, or a warning if they are flawed.
    pub fn push(&mut self, request: &MetricRequest, labels: Labels, buckets: Vec<(f64, f64)>) {
        let slos = request.assign(&labels);
        if slos.is_empty() {
            return;
        }
        let shown = show(&request.metric, &labels);
        match Histogram::from_buckets(labels, buckets) {
            Ok(histogram) => self.series.extend(slos.into_iter().map(|slo| (slo, histogram.clone()))),
            Err(flaw) => {
                self.flawed.extend(slos);
                self.warnings.push(&format!("{shown} is left out: {flaw}"));
            }
        }
    }

    /// What has to be said of a metric with too many series.
    pub fn overflow(&mut self, metric: &str, limit: usize) {
        self.partial = true;
        self.warnings.push(&format!("{metric}_bucket has more than {limit} series; those beyond are left out"));
    }

    pub fn extend(&mut self, other: PollBuilder) {
        self.series.extend(other.series);
        self.flawed.extend(other.flawed);
        self.warnings.extend(other.warnings);
        self.partial |= other.partial;
    }

    pub fn finish(mut self) -> Poll {
        self.series.sort_by(|a, b| (a.0, &a.1.labels).cmp(&(b.0, &b.1.labels)));
        self.flawed.sort_unstable();
        self.flawed.dedup();
        Poll { series: self.series, flawed: self.flawed, warnings: self.warnings.into_list(), partial: self.partial }
    }
}

/// A series as PromQL would write it.
pub(super) fn show(metric: &str, labels: &Labels) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{metric}_bucket{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_series_stay_does_not_depend_on_their_order() {
        for order in [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2]] {
            let mut bounded: Bounded<i32, Vec<i32>> = Bounded::new(2);
            for key in order.into_iter().chain(order) {
                if let Some(values) = bounded.entry(key) {
                    values.push(key);
                }
            }
            assert!(bounded.overflowed);
            assert_eq!(bounded.into_series().into_keys().collect::<Vec<_>>(), [1, 2]);
        }
    }

    #[test]
    fn warnings_are_bounded_and_counted() {
        let mut warnings = Warnings::default();
        (0..25).for_each(|n| warnings.push(&n.to_string()));
        let list = warnings.into_list();
        assert_eq!((list.len(), list.last().map(String::as_str)), (MAX_WARNINGS + 1, Some("and 5 more warnings")));
    }
}
