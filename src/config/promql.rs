//! What an SLO measures, as PromQL: for links in messages, for exported rules and for questions to a source.
//!
//! Pure text. The daemon does not ask Prometheus for these: it reads plain buckets and counts by itself. `rate`
//! extrapolates to the edges of a window and needs two samples in it, so figures agree to about a percent and differ
//! most where a series begins or ends.
//!
//! Every bound is matched in the spellings of Prometheus 2 (`le="1"`) and 3 (`le="1.0"`).

use crate::engine::histogram::Labels;
use crate::engine::rule::Limit;
use crate::engine::sli::{Good, SloSpec};
use crate::engine::time::Duration;

use super::quote::quote;
use super::selector::Selector;

/// An SLO to be put into words that Prometheus understands.
///
/// Ratios are NaN while there are no requests; a comparison with NaN is false.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    pub selector: &'a Selector,
    pub slo: &'a SloSpec,
    /// The values of the SLO's `by` labels. Without them, one query answers for every combination of values.
    pub by: &'a Labels,
    /// The histogram's bounds in seconds, ascending up to `+Inf`. Empty where they are not known; then the latency
    /// budget itself is taken for a bound, and the answer is empty if it is none.
    pub bounds: &'a [f64],
}

impl Query<'_> {
    /// Share of the window's requests that were within the latency budget.
    pub fn good_ratio(self, window: Duration) -> String {
        let rate_at = |bound_s: f64| self.sum_of_rates(&matcher_of_le(bound_s), window);
        let total = rate_at(f64::INFINITY);
        match self.good() {
            Some(Good::At(bucket)) => format!("{} / {total}", rate_at(self.bounds[bucket])),
            Some(Good::Between { upper: 0, weight }) => {
                format!("{} * {} / {total}", rate_at(self.bounds[0]), rounded(weight))
            }
            Some(Good::Between { upper, weight }) => {
                let (below, above) = (rate_at(self.bounds[upper - 1]), rate_at(self.bounds[upper]));
                format!("({below} * {} + {above} * {}) / {total}", rounded(1.0 - weight), rounded(weight))
            }
            None => format!("{} / {total}", rate_at(self.slo.budget_s)),
        }
    }

    /// Share of the window's requests that were over the latency budget.
    pub fn bad_ratio(self, window: Duration) -> String {
        format!("1 - {}", self.good_ratio(window))
    }

    /// The bad ratio over the share of requests that may be slow.
    pub fn burn_rate(self, window: Duration) -> String {
        format!("({}) / {}", self.bad_ratio(window), self.slo.allowed_ratio())
    }

    /// How many requests the window saw.
    pub fn events(self, window: Duration) -> String {
        format!("{} * {}", self.sum_of_rates(&matcher_of_le(f64::INFINITY), window), window.secs())
    }

    /// The `q`-quantile of the window's requests, in seconds.
    pub fn quantile(self, q: f64, window: Duration) -> String {
        let labels: Vec<&str> = std::iter::once("le").chain(self.grouping()).collect();
        let buckets = self.buckets(None);
        format!("histogram_quantile({q}, sum by ({}) (rate({buckets}[{window}])))", labels.join(", "))
    }

    /// A condition that holds while `threshold_ppm` (parts per million) of the limit are in use.
    pub fn breach(self, limit: Limit, threshold_ppm: u32) -> String {
        let threshold = f64::from(threshold_ppm) / 1e6;
        match limit {
            Limit::BurnRate { factor, long, short } => {
                let least = rounded(factor * threshold);
                format!("{} >= {least}\nand\n{} >= {least}", self.burn_rate(long), self.burn_rate(short))
            }
            Limit::BudgetConsumed { share } => {
                format!("{} >= {}", self.burn_rate(self.slo.period), rounded(share * threshold))
            }
            Limit::Exhaustion { within, short } => {
                let remaining_s = format!("(1 - {}) * {}", self.burn_rate(self.slo.period), self.slo.period.secs());
                let most_s = rounded(within.secs() / threshold);
                // Without a burn there is no time to divide by, however little is left.
                format!("{remaining_s}\n/\n({} > 0) <= {most_s}", self.burn_rate(short))
            }
            Limit::Latency { quantile, over } => {
                format!("{} >= {}", self.quantile(quantile, over), rounded(self.slo.budget_s * threshold))
            }
        }
    }

    fn good(self) -> Option<Good> {
        if self.bounds.is_empty() {
            return None;
        }
        Good::locate(self.slo.budget_s, self.bounds, self.slo.between).ok()
    }

    fn sum_of_rates(self, le: &str, window: Duration) -> String {
        let labels: Vec<&str> = self.grouping().collect();
        let by = if labels.is_empty() { String::new() } else { format!(" by ({}) ", labels.join(", ")) };
        format!("sum{by}(rate({}[{window}]))", self.buckets(Some(le)))
    }

    /// The labels by which one query's answers are told apart.
    fn grouping(&self) -> impl Iterator<Item = &str> {
        self.slo.by.iter().filter(|name| !self.by.contains_key(*name)).map(String::as_str)
    }

    fn buckets(self, le: Option<&str>) -> String {
        let mut matchers: Vec<String> = self.selector.matchers.iter().map(ToString::to_string).collect();
        matchers.extend(self.by.iter().map(|(name, value)| format!("{name}={}", quote(value))));
        matchers.extend(le.map(str::to_owned));
        if matchers.is_empty() {
            return format!("{}_bucket", self.selector.metric);
        }
        format!("{}_bucket{{{}}}", self.selector.metric, matchers.join(","))
    }
}

/// A matcher for the bucket of this bound, however its exporter and Prometheus spell the number.
pub fn matcher_of_le(bound_s: f64) -> String {
    if bound_s == f64::INFINITY {
        return "le=\"+Inf\"".to_owned();
    }
    let spellings = spellings(bound_s);
    match spellings.as_slice() {
        [only] => format!("le={}", quote(only)),
        several => {
            format!("le=~{}", quote(&several.join("|").replace('.', "\\.").replace('+', "\\+")))
        }
    }
}

/// How a finite number is written by Rust and plain hands (`0.00001`, `1`), Prometheus 3, Python and Java (`1.0`),
/// Go (`1e-05` below 1e-4, `1e+06` from 1e6) and Java (`1.0E-5` below 1e-3, `1.0E7` from 1e7).
fn spellings(number: f64) -> Vec<String> {
    let mut spellings = vec![number.to_string()];
    if number.fract() == 0.0 {
        spellings.push(format!("{number}.0"));
    }
    // `{:e}` writes the shortest digits and a bare exponent: 1.5e-5.
    let scientific = format!("{number:e}");
    if let Some((digits, exponent)) = scientific.split_once('e')
        && let Ok(exponent) = exponent.parse::<i32>()
    {
        if !(-4..6).contains(&exponent) {
            spellings.push(format!("{digits}e{exponent:+03}"));
        }
        if !(-3..7).contains(&exponent) {
            let point = if digits.contains('.') { "" } else { ".0" };
            spellings.push(format!("{digits}{point}E{exponent}"));
        }
    }
    spellings
}

/// Without the noise of binary fractions: 14.4 * 0.8 is 11.52.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sli::{self, Between};
    use proptest::prelude::*;

    fn slo(budget_s: f64, between: Between, by: &[&str]) -> SloSpec {
        let by = by.iter().map(ToString::to_string).collect();
        SloSpec { layer: Some("edge".to_owned()), selector: String::new(), budget_s, between, by, ..sli::tests::slo() }
    }

    fn check(
        selector: &str,
        slo: &SloSpec,
        by: &[(&str, &str)],
        bounds: &[f64],
        write: impl Fn(Query) -> String,
        expected: &str,
    ) {
        let by: Labels = by.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let text = write(Query { selector: &Selector::parse(selector).unwrap(), slo, by: &by, bounds });
        assert_eq!(text, expected);
        promql_parser::parser::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    const FIVE_MINUTES: Duration = Duration::from_minutes(5);

    #[test]
    fn ratios_are_written_as_prometheus_reads_them() {
        let bad_ratio: fn(Query) -> String = |query| query.bad_ratio(FIVE_MINUTES);
        let plain = slo(0.01, Between::Refuse, &[]);
        check(
            "x{layer='edge'}",
            &plain,
            &[],
            &[],
            bad_ratio,
            r#"1 - sum(rate(x_bucket{layer="edge",le="0.01"}[5m])) / sum(rate(x_bucket{layer="edge",le="+Inf"}[5m]))"#,
        );
        check(
            "x",
            &slo(1.0, Between::Refuse, &[]),
            &[],
            &[],
            |query| query.burn_rate(Duration::from_minutes(90)),
            r#"(1 - sum(rate(x_bucket{le=~"1|1\\.0"}[1h30m])) / sum(rate(x_bucket{le="+Inf"}[1h30m]))) / 0.01"#,
        );
        let by_region = slo(0.01, Between::Refuse, &["region"]);
        check(
            "x",
            &by_region,
            &[],
            &[],
            bad_ratio,
            r#"1 - sum by (region) (rate(x_bucket{le="0.01"}[5m])) / sum by (region) (rate(x_bucket{le="+Inf"}[5m]))"#,
        );
        check(
            "x",
            &by_region,
            &[("region", "a\"")],
            &[],
            bad_ratio,
            r#"1 - sum(rate(x_bucket{region="a\"",le="0.01"}[5m])) / sum(rate(x_bucket{region="a\"",le="+Inf"}[5m]))"#,
        );
    }

    #[test]
    fn a_budget_between_two_bounds_is_measured_as_the_user_chose() {
        let good_ratio: fn(Query) -> String = |query| query.good_ratio(FIVE_MINUTES);
        let bounds = [0.02, 0.04, f64::INFINITY];
        let total = r#"sum(rate(x_bucket{le="+Inf"}[5m]))"#;
        let check = |budget_s: f64, between: Between, good: &str| {
            check("x", &slo(budget_s, between, &[]), &[], &bounds, good_ratio, &format!("{good} / {total}"));
        };
        check(0.03, Between::Lower, r#"sum(rate(x_bucket{le="0.02"}[5m]))"#);
        check(0.03, Between::Upper, r#"sum(rate(x_bucket{le="0.04"}[5m]))"#);
        check(0.04, Between::Lower, r#"sum(rate(x_bucket{le="0.04"}[5m]))"#);
        check(
            0.025,
            Between::Interpolate,
            r#"(sum(rate(x_bucket{le="0.02"}[5m])) * 0.75 + sum(rate(x_bucket{le="0.04"}[5m])) * 0.25)"#,
        );
        check(0.01, Between::Interpolate, r#"sum(rate(x_bucket{le="0.02"}[5m])) * 0.5"#);
        check(0.03, Between::Refuse, r#"sum(rate(x_bucket{le="0.03"}[5m]))"#);
        check(0.05, Between::Interpolate, r#"sum(rate(x_bucket{le="0.05"}[5m]))"#);
    }

    #[test]
    fn every_kind_of_limit_has_its_condition() {
        let slo = slo(0.04, Between::Refuse, &[]);
        let bad = |window: &str| {
            format!(r#"1 - sum(rate(x_bucket{{le="0.04"}}[{window}])) / sum(rate(x_bucket{{le="+Inf"}}[{window}]))"#)
        };
        let (hour, minutes, month) = (bad("1h"), bad("5m"), bad("30d"));
        let (long, short) = (Duration::from_hours(1), FIVE_MINUTES);
        let check = |limit: Limit, threshold_ppm: u32, expected: &str| {
            check("x", &slo, &[], &[], |query| query.breach(limit, threshold_ppm), expected);
        };
        check(
            Limit::BurnRate { factor: 14.4, long, short },
            800_000,
            &format!("({hour}) / 0.01 >= 11.52\nand\n({minutes}) / 0.01 >= 11.52"),
        );
        check(Limit::BudgetConsumed { share: 1.0 }, 1_000_000, &format!("({month}) / 0.01 >= 1"));
        check(
            Limit::Exhaustion { within: long, short },
            800_000,
            &format!("(1 - ({month}) / 0.01) * 2592000\n/\n(({minutes}) / 0.01 > 0) <= 4500"),
        );
        check(
            Limit::Latency { quantile: 0.99, over: long },
            800_000,
            "histogram_quantile(0.99, sum by (le) (rate(x_bucket[1h]))) >= 0.032",
        );
    }

    #[test]
    fn bounds_are_matched_in_every_spelling() {
        let check = |bound_s: f64, expected: &str| assert_eq!(matcher_of_le(bound_s), expected);
        check(f64::INFINITY, r#"le="+Inf""#);
        check(0.1, r#"le="0.1""#);
        check(2.5, r#"le="2.5""#);
        check(10.0, r#"le=~"10|10\\.0""#);
        check(0.0005, r#"le=~"0\\.0005|5\\.0E-4""#);
        check(0.000025, r#"le=~"0\\.000025|2\\.5e-05|2\\.5E-5""#);
        check(1e6, r#"le=~"1000000|1000000\\.0|1e\\+06""#);
        check(1e7, r#"le=~"10000000|10000000\\.0|1e\\+07|1\\.0E7""#);
    }

    proptest! {
        #[test]
        fn every_spelling_is_the_same_number(
            number in prop_oneof![1e-9..1e9f64, (0i32..10_000_000).prop_map(f64::from)]
        ) {
            for spelling in spellings(number) {
                prop_assert_eq!(spelling.parse::<f64>().unwrap(), number, "{}", spelling);
            }
        }
    }
}
