//! From the histograms of many SLOs to one query a metric name, and from an answer's series back to the SLOs.
//!
//! Nothing here talks to a server. Selectors of one metric that differ only in the values of their labels become one
//! selector with alternatives; what cannot be merged is joined by PromQL's `or`. The merged query selects exactly the
//! series that any of the selectors selects.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::quote::quote;
use crate::config::selector::{LabelMatcher, MatchOp, Selector};
use crate::engine::histogram::Labels;
use crate::engine::sli::{Between, SloSpec};

use super::error::SourceError;

/// An error repeats so many selectors.
const MAX_NAMED: usize = 3;

/// The values of `le` that each SLO needs, as they are written.
pub type NeededLe = BTreeMap<usize, BTreeSet<String>>;

/// Different sets of them up to which each set has selectors of its own. With more, all are asked for everywhere: every
/// selector is a search of the server's index.
const MAX_LE_SETS: usize = 16;

/// All that has to be asked of a source.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// One a metric name, sorted by it.
    pub requests: Vec<MetricRequest>,
    /// The latency budget of each SLO in seconds.
    pub(super) budgets_s: Vec<f64>,
    /// What `le` likely is of the buckets that each SLO needs; `None` where its budget need not be a bound.
    likely_le: Vec<Option<BTreeSet<String>>>,
    /// The selector of each SLO, as it was written.
    selectors: Vec<String>,
}

/// One metric and the SLOs that are measured by it.
#[derive(Debug, Clone)]
pub struct MetricRequest {
    /// The base name, without `_bucket`.
    pub metric: String,
    /// Indices of the SLOs, ascending.
    pub slos: Vec<usize>,
    /// Together they select all that the SLOs select.
    merged: Vec<Merged>,
    shapes: Vec<Shape>,
}

/// Selectors with the same label names under `=` and the same other matchers: they differ in values only.
#[derive(Debug, Clone)]
struct Shape {
    names: Vec<String>,
    others: Vec<LabelMatcher>,
    /// The values, in the order of `names`, and the SLOs that ask for exactly them.
    slos_by_values: BTreeMap<Vec<String>, Vec<usize>>,
}

/// A selector with alternatives: each label has one of its values, and the other matchers hold.
#[derive(Debug, Clone)]
struct Merged {
    alternatives: Vec<(String, BTreeSet<String>)>,
    others: Vec<LabelMatcher>,
}

impl Plan {
    /// `selectors` are the histograms of `slos`, in the same order.
    pub fn new(slos: &[SloSpec], selectors: &[Selector]) -> Self {
        let mut by_metric: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (slo, selector) in selectors.iter().enumerate() {
            by_metric.entry(&selector.metric).or_default().push(slo);
        }
        let requests =
            by_metric.into_iter().map(|(metric, slos)| MetricRequest::new(metric, slos, selectors)).collect();
        let selectors = slos.iter().map(|slo| slo.selector.clone()).collect();
        let likely_le = slos.iter().map(|slo| (slo.between == Between::Refuse).then(|| likely_le(slo.budget_s)));
        let likely_le = likely_le.collect();
        Self { requests, budgets_s: slos.iter().map(|slo| slo.budget_s).collect(), likely_le, selectors }
    }

    /// What `le` likely is of the buckets that the SLOs of a request need; `None` if nobody can tell.
    pub(super) fn likely_le(&self, request: &MetricRequest) -> Option<NeededLe> {
        request.slos.iter().map(|slo| Some((*slo, self.likely_le[*slo].clone()?))).collect()
    }

    /// The error for SLOs that find native histograms and nothing else, if there are any.
    pub(super) fn only_native(&self, slos: impl IntoIterator<Item = usize>) -> Result<(), SourceError> {
        let mut selectors: Vec<&str> = slos.into_iter().map(|slo| &*self.selectors[slo]).collect();
        selectors.sort_unstable();
        selectors.dedup();
        let more = selectors.len().saturating_sub(MAX_NAMED);
        selectors.truncate(MAX_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if selectors.is_empty() { Ok(()) } else { Err(SourceError::Native(selectors.join(", ") + &more)) }
    }

    /// The position of the request for a metric's base name.
    pub fn position(&self, metric: &str) -> Option<usize> {
        self.requests.binary_search_by(|request| request.metric.as_str().cmp(metric)).ok()
    }
}

impl MetricRequest {
    fn new(metric: &str, slos: Vec<usize>, selectors: &[Selector]) -> Self {
        let shapes = shapes(&slos, selectors);
        let merged = shapes.iter().flat_map(|shape| shape.merge(|_| true)).collect();
        Self { metric: metric.to_owned(), slos, merged, shapes }
    }

    /// The PromQL that selects every bucket of every SLO of this metric; `matcher`, such as `le="+Inf"`, narrows it
    /// unless it is empty.
    pub fn query(&self, matcher: &str) -> String {
        self.selectors(matcher).join(" or ")
    }

    /// Plain selectors whose union is [`Self::query`].
    pub fn selectors(&self, matcher: &str) -> Vec<String> {
        let bucket = format!("{}_bucket", self.metric);
        self.merged.iter().map(|merged| merged.promql(&bucket, matcher)).collect()
    }

    /// The same as lists of matchers, `__name__` among them. `le` narrows each SLO's to these values, or nothing if it
    /// is empty.
    pub fn matchers(&self, le: &NeededLe) -> Vec<Vec<LabelMatcher>> {
        if le.is_empty() {
            return self.merged.iter().map(|merged| self.matchers_of(merged, &BTreeSet::new())).collect();
        }
        let mut slos: BTreeMap<&BTreeSet<String>, BTreeSet<usize>> = BTreeMap::new();
        for (slo, le) in le {
            slos.entry(le).or_default().insert(*slo);
        }
        if slos.len() > MAX_LE_SETS {
            let all = le.values().flatten().cloned().collect();
            return self.merged.iter().map(|merged| self.matchers_of(merged, &all)).collect();
        }
        let narrowed = slos.iter().flat_map(|(le, slos)| {
            let merged = self.shapes.iter().flat_map(|shape| shape.merge(|slo| slos.contains(&slo)));
            merged.map(|merged| self.matchers_of(&merged, le))
        });
        narrowed.collect()
    }

    fn matchers_of(&self, merged: &Merged, le: &BTreeSet<String>) -> Vec<LabelMatcher> {
        let matcher = |name: &str, op, value| LabelMatcher { name: name.to_owned(), op, value, regex: None };
        let one = |name: &str, values: &BTreeSet<String>| match values.first() {
            Some(value) if values.len() == 1 => matcher(name, MatchOp::Equal, value.clone()),
            _ => matcher(name, MatchOp::Regex, alternatives(values.iter().map(String::as_str))),
        };
        let metric = matcher("__name__", MatchOp::Equal, format!("{}_bucket", self.metric));
        let equal = merged.alternatives.iter().map(|(name, values)| one(name, values));
        let le = (!le.is_empty()).then(|| one("le", le));
        [metric].into_iter().chain(equal).chain(merged.others.iter().cloned()).chain(le).collect()
    }

    /// The PromQL for the metric itself, without `_bucket`: where a native histogram would be.
    pub fn query_native(&self) -> String {
        let selectors: Vec<String> = self.merged.iter().map(|merged| merged.promql(&self.metric, "")).collect();
        selectors.join(" or ")
    }

    /// The SLOs, ascending, that select a series with these labels (`le` and `__name__` make no difference).
    pub fn assign(&self, labels: &Labels) -> Vec<usize> {
        let mut slos: Vec<usize> = self.shapes.iter().flat_map(|shape| shape.assign(labels)).copied().collect();
        slos.sort_unstable();
        slos
    }
}

/// A budget as a bound, the way that Prometheus 2 and 3 write it, and the bound of all requests.
fn likely_le(budget_s: f64) -> BTreeSet<String> {
    let whole = (budget_s.fract() == 0.0).then(|| format!("{budget_s:.1}"));
    [budget_s.to_string(), "+Inf".to_owned()].into_iter().chain(whole).collect()
}

/// A matcher for any of these values, for [`MetricRequest::query`].
pub fn any_of<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> String {
    format!("{name}=~{}", quote(&alternatives(values)))
}

/// The regular expression of any of these values.
fn alternatives<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<String> = values.into_iter().map(regex::escape).collect();
    values.join("|")
}

/// Sorts the selectors of one metric into shapes.
fn shapes(slos: &[usize], selectors: &[Selector]) -> Vec<Shape> {
    type Key<'a> = (Vec<&'a str>, Vec<(&'a str, MatchOp, &'a str)>);
    let mut found: BTreeMap<Key, Shape> = BTreeMap::new();
    for &slo in slos {
        let mut matchers: Vec<&LabelMatcher> = selectors[slo].matchers.iter().collect();
        matchers.sort_by_key(|matcher| (matcher.name.as_str(), matcher.op, matcher.value.as_str()));
        matchers.dedup_by_key(|matcher| (matcher.name.as_str(), matcher.op, matcher.value.as_str()));
        let (equal, others): (Vec<_>, Vec<_>) = matchers.into_iter().partition(|matcher| matcher.op == MatchOp::Equal);
        let names: Vec<&str> = equal.iter().map(|matcher| matcher.name.as_str()).collect();
        let key = others.iter().map(|matcher| (matcher.name.as_str(), matcher.op, matcher.value.as_str())).collect();
        let shape = found.entry((names, key)).or_insert_with(|| Shape {
            names: equal.iter().map(|matcher| matcher.name.clone()).collect(),
            others: others.into_iter().cloned().collect(),
            slos_by_values: BTreeMap::new(),
        });
        let values = equal.iter().map(|matcher| matcher.value.clone()).collect();
        shape.slos_by_values.entry(values).or_default().push(slo);
    }
    found.into_values().collect()
}

impl Shape {
    fn assign(&self, labels: &Labels) -> &[usize] {
        let value = |name: &String| labels.get(name).map_or("", String::as_str);
        if !self.others.iter().all(|matcher| matcher.matches(value(&matcher.name))) {
            return &[];
        }
        let values: Vec<String> = self.names.iter().map(|name| value(name).to_owned()).collect();
        self.slos_by_values.get(&values).map_or(&[], Vec::as_slice)
    }

    /// The fewest selectors that merging finds for some of the SLOs. Two of them merge if they differ in one label's values only, so no
    /// merger selects a series that neither of its parts does.
    fn merge(&self, is_of: impl Fn(usize) -> bool) -> Vec<Merged> {
        let single = |value: &String| BTreeSet::from([value.clone()]);
        let asked = self.slos_by_values.iter().filter(|(_, slos)| slos.iter().any(|slo| is_of(*slo)));
        let mut boxes: BTreeSet<Vec<BTreeSet<String>>> =
            asked.map(|(values, _)| values.iter().map(single).collect()).collect();
        for label in self.labels_by_spread() {
            let mut merged: BTreeMap<Vec<BTreeSet<String>>, BTreeSet<String>> = BTreeMap::new();
            for mut sides in boxes {
                let values = std::mem::take(&mut sides[label]);
                merged.entry(sides).or_default().extend(values);
            }
            boxes = BTreeSet::new();
            for (mut sides, values) in merged {
                sides[label] = values;
                boxes.insert(sides);
            }
        }
        let whole = |sides: Vec<_>| Merged {
            alternatives: self.names.iter().cloned().zip(sides).collect(),
            others: self.others.clone(),
        };
        boxes.into_iter().map(whole).collect()
    }

    /// Positions of the labels, the one with the most values first: merging along it saves the most.
    fn labels_by_spread(&self) -> Vec<usize> {
        let values = |label: usize| self.slos_by_values.keys().map(move |values| &values[label]);
        let mut labels: Vec<usize> = (0..self.names.len()).collect();
        labels.sort_by_cached_key(|&label| Reverse(values(label).collect::<BTreeSet<_>>().len()));
        labels
    }
}

impl Merged {
    fn promql(&self, metric: &str, matcher: &str) -> String {
        let equal = self.alternatives.iter().map(|(name, values)| match values.first() {
            Some(value) if values.len() == 1 => format!("{name}={}", quote(value)),
            _ => any_of(name, values.iter().map(String::as_str)),
        });
        let others = self.others.iter().map(|other| other.to_string());
        let further = Some(matcher.to_owned()).filter(|matcher| !matcher.is_empty());
        let matchers: Vec<String> = equal.chain(others).chain(further).collect();
        if matchers.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", matchers.join(",")) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::engine::sli;

    /// A selector from `(name, operator, value)`.
    pub(in crate::source) fn selector(metric: &str, matchers: &[(&str, MatchOp, &str)]) -> Selector {
        let matcher = |&(name, op, value): &(&str, MatchOp, &str)| {
            let regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex).then(|| anchored(value));
            LabelMatcher { name: name.to_owned(), op, value: value.to_owned(), regex }
        };
        Selector { metric: metric.to_owned(), matchers: matchers.iter().map(matcher).collect() }
    }

    /// A plan whose SLOs differ in selector and budget only.
    pub(in crate::source) fn plan(slos: &[(Selector, f64)]) -> Plan {
        let specs: Vec<SloSpec> = slos.iter().map(|(selector, budget_s)| slo(selector, *budget_s)).collect();
        let selectors: Vec<Selector> = slos.iter().map(|(selector, _)| selector.clone()).collect();
        Plan::new(&specs, &selectors)
    }

    fn slo(selector: &Selector, budget_s: f64) -> SloSpec {
        SloSpec { selector: selector.to_string(), budget_s, ..sli::tests::slo() }
    }

    fn anchored(pattern: &str) -> Regex {
        Regex::new(&format!("^(?s:{pattern})$")).unwrap()
    }

    #[track_caller]
    fn check(selectors: &[&[(&str, MatchOp, &str)]], query: &str) {
        let slos: Vec<_> = selectors.iter().map(|matchers| (selector("m", matchers), 0.1)).collect();
        let plan = plan(&slos);
        assert_eq!(plan.requests.len(), 1);
        assert_eq!(plan.requests[0].query(""), query);
    }

    #[test]
    fn selectors_become_one_query_a_metric() {
        use MatchOp::{Equal, NotEqual, Regex};
        check(&[&[]], "m_bucket");
        check(&[&[("a", Equal, "x")]], r#"m_bucket{a="x"}"#);
        check(&[&[("a", Equal, "x")], &[("a", Equal, "x")]], r#"m_bucket{a="x"}"#);
        check(&[&[("a", Equal, "x")], &[("a", Equal, "y.z")]], r#"m_bucket{a=~"x|y\\.z"}"#);
        check(&[&[("a", Equal, "x\"\n")]], r#"m_bucket{a="x\"\n"}"#);
        // Order makes no difference, and a product of values is one selector.
        check(
            &[
                &[("a", Equal, "1"), ("b", Equal, "1")],
                &[("b", Equal, "2"), ("a", Equal, "1")],
                &[("a", Equal, "2"), ("b", Equal, "1")],
                &[("a", Equal, "2"), ("b", Equal, "2")],
            ],
            r#"m_bucket{a=~"1|2",b=~"1|2"}"#,
        );
        check(
            &[&[("a", Equal, "1"), ("b", Equal, "1")], &[("a", Equal, "2"), ("b", Equal, "2")]],
            r#"m_bucket{a="1",b="1"} or m_bucket{a="2",b="2"}"#,
        );
        check(
            &[&[("a", Equal, "1"), ("b", Regex, "x.*")], &[("a", Equal, "2"), ("b", Regex, "x.*")]],
            r#"m_bucket{a=~"1|2",b=~"x.*"}"#,
        );
        check(&[&[("a", NotEqual, "1")], &[]], r#"m_bucket or m_bucket{a!="1"}"#);
        let plan = plan(&[(selector("n", &[]), 0.1), (selector("m", &[]), 0.1), (selector("n", &[]), 0.2)]);
        let asked: Vec<_> = plan.requests.iter().map(|request| (request.metric.as_str(), &*request.slos)).collect();
        assert_eq!(asked, [("m", &[1][..]), ("n", &[0, 2][..])]);
        assert_eq!(plan.requests[0].query(&any_of("le", ["0.1", "+Inf"])), r#"m_bucket{le=~"0\\.1|\\+Inf"}"#);
    }

    #[test]
    fn budgets_are_spelled_as_prometheus_2_and_3_do() {
        let check = |budget_s: f64, between, expected: Option<&[&str]>| {
            let selector = selector("m", &[]);
            let plan = Plan::new(&[SloSpec { between, ..slo(&selector, budget_s) }], &[selector]);
            let expected = expected.map(|le| BTreeMap::from([(0, le.iter().map(|le| (*le).to_owned()).collect())]));
            assert_eq!(plan.likely_le(&plan.requests[0]), expected, "{budget_s}");
        };
        check(0.005, Between::Refuse, Some(&["0.005", "+Inf"]));
        check(2.5, Between::Refuse, Some(&["2.5", "+Inf"]));
        check(1.0, Between::Refuse, Some(&["1", "1.0", "+Inf"]));
        check(60.0, Between::Refuse, Some(&["60", "60.0", "+Inf"]));
        for between in [Between::Lower, Between::Upper, Between::Interpolate] {
            check(0.1, between, None);
        }
    }

    /// What the merged query selects, by the selectors' own arithmetic.
    fn selects(request: &MetricRequest, labels: &Labels) -> bool {
        request.merged.iter().any(|merged| {
            let matchers = merged.alternatives.iter().map(|(name, values)| {
                let values: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
                (name.clone(), values.join("|"))
            });
            let alternatives = matchers.map(|(name, value)| {
                let regex = Some(anchored(&value));
                LabelMatcher { name, op: MatchOp::Regex, value, regex }
            });
            let matchers = alternatives.chain(merged.others.iter().cloned()).collect();
            Selector { metric: "m_bucket".into(), matchers }.matches(labels)
        })
    }

    fn any_matcher() -> impl Strategy<Value = (&'static str, MatchOp, &'static str)> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let equal =
            prop::sample::select(vec!["", "x", "y", "x.y", "x|y", "{z}"]).prop_map(|value| (MatchOp::Equal, value));
        let other = prop::sample::select(vec![
            (MatchOp::NotEqual, "x"),
            (MatchOp::Regex, "x|y"),
            (MatchOp::Regex, ".*"),
            (MatchOp::NotRegex, "x.*"),
        ]);
        (name, prop_oneof![4 => equal, 1 => other]).prop_map(|(name, (op, value))| (name, op, value))
    }

    proptest! {
        #[test]
        fn merging_neither_adds_nor_loses_a_series(
            slos in prop::collection::vec(prop::collection::vec(any_matcher(), 0..4), 1..12),
            series in prop::collection::vec(
                prop::collection::btree_map("[abcd]", prop::sample::select(vec!["x", "y", "x.y", "xzy", "x|y", "{z}"]), 0..4),
                1..30,
            ),
        ) {
            let slos: Vec<_> = slos.iter().map(|matchers| (selector("m", matchers), 0.1)).collect();
            let plan = plan(&slos);
            let request = &plan.requests[0];
            for labels in series {
                let labels: Labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
                let expected: Vec<usize> = (0..slos.len()).filter(|&slo| slos[slo].0.matches(&labels)).collect();
                prop_assert_eq!(selects(request, &labels), !expected.is_empty());
                prop_assert_eq!(request.assign(&labels), expected);
            }
        }
    }
}
