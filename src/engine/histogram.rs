//! Cumulative histograms as a source hands them over, one series at a time, and what makes one unusable.
//!
//! Nothing here sums series: counter resets belong to a series, so summing comes after differences (see `window`).
//!
//! ```
//! use slowburn::engine::histogram::{Histogram, Labels};
//! let h = Histogram::from_buckets(Labels::new(), vec![(f64::INFINITY, 10.0), (0.1, 9.0)]).unwrap();
//! assert_eq!(h.bounds.as_ref(), [0.1, f64::INFINITY]);
//! assert_eq!(h.counts, [9.0, 10.0]);
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Label names and values, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// `{name="value",...}`, or nothing without labels.
pub fn braced(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

/// `journey/layer{name="value"}`, as far as there are any.
pub fn place(journey: &str, layer: Option<&str>, labels: &Labels) -> String {
    let layer = layer.map_or_else(String::new, |layer| format!("/{layer}"));
    format!("{journey}{layer}{}", braced(labels))
}

/// One series' cumulative buckets at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Without `__name__` and `le`.
    pub labels: Labels,
    /// Upper bounds in seconds, ascending; the last is `+Inf`.
    pub bounds: Arc<[f64]>,
    /// Cumulative counts, one a bound, never descending.
    pub counts: Vec<f64>,
}

/// Why a series' buckets cannot be used. A flawed series is reported and left out; it is never read as a zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flaw {
    /// There is no `+Inf` bucket, so the total is unknown.
    NoInfBucket,
    /// Two `le` values are the same number.
    EqualBounds(f64),
    /// A bound is NaN.
    NanBound,
    /// A count is NaN.
    NanCount,
    /// A count is below zero or infinite.
    ImpossibleCount(f64),
}

impl Histogram {
    /// Sorts `(le in seconds, cumulative count)` pairs and checks them.
    ///
    /// Counts that fall from one bound to the next are lowered by [`make_cumulative`].
    pub fn from_buckets(labels: Labels, mut buckets: Vec<(f64, f64)>) -> Result<Self, Flaw> {
        if buckets.iter().any(|(bound, _)| bound.is_nan()) {
            return Err(Flaw::NanBound);
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in buckets.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(Flaw::EqualBounds(pair[0].0));
            }
        }
        if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            return Err(Flaw::NoInfBucket);
        }
        for (_, count) in &buckets {
            if count.is_nan() {
                return Err(Flaw::NanCount);
            }
            if *count < 0.0 || count.is_infinite() {
                return Err(Flaw::ImpossibleCount(*count));
            }
        }
        let (bounds, mut counts): (Vec<f64>, Vec<f64>) = buckets.into_iter().unzip();
        make_cumulative(&mut counts);
        Ok(Self { labels, bounds: bounds.into(), counts })
    }
}

/// Lowers each count to that of the bound above it. The total stands: it is the one bucket that every histogram has.
///
/// Counts fall from one bound to the next where a scrape raced with an observation, and where a process started anew
/// without a bound that it had: for a lookback, the last count of that bound is still there. Raised to it, as Prometheus'
/// `histogram_quantile` does, the total would hold thousands of slow requests that nobody made.
#[inline]
pub fn make_cumulative(counts: &mut [f64]) {
    let mut above = f64::INFINITY;
    for count in counts.iter_mut().rev() {
        above = if *count > above { above } else { *count };
        *count = above;
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NoInfBucket => f.write_str("it has no le=\"+Inf\" bucket"),
            Flaw::EqualBounds(bound) => write!(f, "two of its buckets have the same bound {bound}"),
            Flaw::NanBound => f.write_str("a bucket's le is not a number"),
            Flaw::NanCount => f.write_str("a bucket's value is NaN"),
            Flaw::ImpossibleCount(count) => write!(f, "a bucket's value {count} cannot be a count"),
        }
    }
}

/// Which of the engine's series a row of a [`Snapshot`] belongs to; handed out by [`super::Engine::bind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(super) u32);

/// Everything one poll saw, flat: no labels and no allocation per series.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(super) rows: Vec<(SeriesId, u32)>,
    pub(super) counts: Vec<f64>,
    pub(super) flawed: Vec<usize>,
    /// The source said that its answer may be incomplete.
    pub partial: bool,
}

impl Snapshot {
    /// Empties the snapshot for the next slot and keeps its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.counts.clear();
        self.flawed.clear();
        self.partial = false;
    }

    /// Adds a series' cumulative counts, in the order of the bounds it was bound with.
    pub fn push(&mut self, series: SeriesId, counts: &[f64]) {
        // A few numbers: not worth the call that copying a slice is.
        self.push_row(series, counts.iter().copied());
    }

    /// The same, one after the other.
    pub fn push_row(&mut self, series: SeriesId, counts: impl Iterator<Item = f64>) {
        self.rows.push((series, self.counts.len() as u32));
        self.counts.extend(counts);
    }

    /// Notes that a series of this SLO template is there and cannot be used.
    pub fn push_flawed(&mut self, template: usize) {
        self.flawed.push(template);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// What one poll of a source yielded before it is bound to the engine's series.
#[derive(Debug, Clone, Default)]
pub struct Poll {
    /// `(SLO template, series)`, sorted by template, then labels: the order must not depend on the source's mood.
    pub series: Vec<(usize, Histogram)>,
    /// SLO templates with a series that could not be used, ascending: what is known of them is not all.
    pub flawed: Vec<usize>,
    /// The source's warnings, and series that had to be left out; bounded in number by the source.
    pub warnings: Vec<String>,
    /// The source said that its answer may be incomplete.
    pub partial: bool,
}
