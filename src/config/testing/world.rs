//! The made-up world of a test: series, traffic, outages and silences.

use std::collections::BTreeMap;

use crate::config::decode::Spanned;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::selector::MatchOp;
use crate::engine::histogram::{Labels, braced};
use crate::engine::silence::Silence;
use crate::engine::time::{Duration, Timestamp};

use super::traffic::{Phases, count_up, growth_before};
use super::{MAX_SLOTS, Reading, Sample, Series, notation, raw, series};

const SUFFIX: &str = "_bucket";

impl Reading<'_> {
    pub(super) fn given_series(&mut self, raw: &raw::RuleTest, interval: Duration) -> Vec<(Series, Span)> {
        let mut given = Vec::new();
        for Spanned { value: raw, span } in raw.input_series.value().into_iter().flatten() {
            let series = self.bucket(raw, true);
            given.extend(series.map(|series| (series, *span)));
        }
        let last = given.iter().map(|(series, _)| series.samples.len()).max().unwrap_or(0) as i64;
        if last.saturating_mul(interval.ms()) / self.config.spec.interval.ms() > MAX_SLOTS {
            self.findings.error(raw.at, format!("this test lasts longer than {MAX_SLOTS} slots"));
        }
        given
    }

    /// A bucket that some SLO selects; where none does, that is a warning if `ours`, as in a file of slowburn's own.
    pub(super) fn bucket(&mut self, raw: &raw::InputSeries, ours: bool) -> Option<Series> {
        let (name, values) = (raw.series.get()?, raw.values.get()?);
        let parsed = series::parse(&name.value);
        let (full_name, mut labels) = match parsed {
            Ok(parsed) => parsed,
            Err(wrong) => {
                self.wrong(&name.value, name.span, wrong);
                return None;
            }
        };
        let metric = full_name.strip_suffix(SUFFIX).unwrap_or(&full_name).to_owned();
        let le = labels.remove("le");
        let is_asked = self.config.selectors.iter().any(|it| it.metric == metric && it.matches(&labels));
        // Other series of promtool's files are none of slowburn's business.
        let samples = if ours || is_asked { Some(self.samples(values)?) } else { None };
        if !is_asked || !full_name.ends_with(SUFFIX) {
            if ours {
                self.unasked(name, &full_name, &metric);
            }
            return None;
        }
        let Some(le) = le else {
            self.findings.error(name.span, "this bucket has no 'le', which tells buckets apart");
            return None;
        };
        let Some(bound_s) = le.parse::<f64>().ok().filter(|bound| !bound.is_nan()) else {
            self.findings.error(name.span, format!("le=\"{le}\" is no bound: write a number, or +Inf"));
            return None;
        };
        Some(Series { metric, labels, bound_s, lead: 0, growth: 0.0, samples: samples? })
    }

    fn samples(&mut self, values: &Spanned<raw::Text>) -> Option<Vec<Sample>> {
        match notation::expand(&values.value.0) {
            Ok(samples) => self.takes_up(samples.len(), values.span).then_some(samples),
            Err(wrong) => {
                self.wrong(&values.value.0, values.span, wrong);
                None
            }
        }
    }

    fn unasked(&mut self, name: &Spanned<String>, full_name: &str, metric: &str) {
        let metrics: Vec<&str> = self.config.selectors.iter().map(|selector| selector.metric.as_str()).collect();
        let message = if metrics.contains(&metric) && full_name.ends_with(SUFFIX) {
            "no SLO of the configuration selects this series".to_owned()
        } else if let Some(metric) = metrics.iter().find(|metric| base(full_name) == **metric) {
            format!("only buckets are read: write {metric}{SUFFIX}{{..., le=\"...\"}}")
        } else {
            format!("no SLO of the configuration reads '{full_name}'")
        };
        let diagnostic = Diagnostic::warning(name.span, message);
        self.findings.add(match self.findings.suggest(metric, metrics.into_iter()) {
            Some(meant) if meant != metric => diagnostic.label(format!("did you mean '{meant}{SUFFIX}'?")),
            _ => diagnostic,
        });
    }

    pub(super) fn report_repeats(&mut self, given: &[(Series, Span)]) {
        let mut first: BTreeMap<(&str, &Labels, u64), Span> = BTreeMap::new();
        for (series, span) in given {
            let key = (series.metric.as_str(), &series.labels, series.bound_s.to_bits());
            // Traffic makes several buckets of one line.
            if let Some(first) = first.insert(key, *span).filter(|first| first != span) {
                let shown = format!("{}{SUFFIX}{} is given twice", series.metric, braced(&series.labels));
                self.findings.add(Diagnostic::error(*span, shown).also(first, "first here"));
                return;
            }
        }
    }

    /// Buckets around the budget: the fast requests take at most half of it, the slow ones up to twice as long.
    pub(super) fn traffic(
        &mut self,
        raw: &raw::Traffic,
        interval: Duration,
        (history, until): (Duration, Duration),
    ) -> Vec<(Series, Span)> {
        let Some(index) = self.slo(&raw.journey, &raw.layer) else { return Vec::new() };
        let Some(requests) = raw.requests.value() else { return Vec::new() };
        let (slo, selector) = (&self.config.spec.slos[index], &self.config.selectors[index]);
        let demanded = selector.matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal);
        let mut labels: Labels = demanded.map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
        for (name, value) in raw.labels.value().map_or(&[][..], |labels| &labels.0) {
            labels.insert(name.value.clone(), value.value.clone());
        }
        labels.retain(|_, value| !value.is_empty());
        let missing = slo.by.iter().find(|name| !labels.contains_key(*name));
        if !selector.matches(&labels) || missing.is_some() {
            let message = match missing {
                Some(name) => format!("{} is split by '{name}'", slo.place()),
                None => format!("{selector} does not select a series with {}", braced(&labels)),
            };
            let diagnostic = Diagnostic::error(raw.at, message);
            self.findings.add(diagnostic.help("say what its labels are: labels: {name: value}"));
            return Vec::new();
        }
        let fast = Phases::constant(0.0);
        let slow = raw.slow.value().map_or(&fast, |slow| &slow.0);
        if !self.takes_up(4 * until.in_slots(interval) as usize, raw.at) {
            return Vec::new();
        }
        let lead = history.in_slots(interval) as usize;
        let growth = growth_before(&requests.0, slow, interval);
        let first = growth.map(|growth| growth * lead as f64);
        let counts = count_up(&requests.0, slow, interval, (first, until));
        let bucket = |bound_s: f64, all: bool| {
            let count = |[total, bad]: [f64; 2]| if all { total } else { total - bad };
            let samples = counts.iter().map(|counts| Sample::Value(count(*counts))).collect();
            let growth = count(growth);
            (Series { metric: selector.metric.clone(), labels: labels.clone(), bound_s, lead, growth, samples }, raw.at)
        };
        let budget_s = slo.budget_s;
        vec![
            bucket(budget_s / 2.0, false),
            bucket(budget_s, false),
            bucket(budget_s * 2.0, true),
            bucket(f64::INFINITY, true),
        ]
    }

    pub(super) fn outages(&mut self, raw: &raw::RuleTest) -> Vec<(Duration, Duration)> {
        let mut outages = Vec::new();
        for Spanned { value: raw, span } in raw.outages.value().into_iter().flatten() {
            if let (Some(from), Some(to)) = (raw.from.value(), raw.to.value()) {
                if to.0 <= from.0 {
                    self.findings.error(*span, "this outage is over before it begins");
                }
                outages.push((from.0, to.0));
            }
        }
        outages
    }

    pub(super) fn silences(&mut self, raw: &raw::RuleTest, start: Timestamp) -> Vec<Silence> {
        let mut silences = Vec::new();
        for (number, Spanned { value: raw, span }) in raw.silences.value().into_iter().flatten().enumerate() {
            let from = raw.from.value().map_or(Duration::ZERO, |from| from.0);
            let matchers = self.matchers(&raw.matches);
            let Some(to) = raw.to.value() else { continue };
            if to.0 <= from {
                self.findings.error(*span, "this silence is over before it begins");
            }
            if matchers.is_empty() {
                self.findings.error(*span, "this silence matches everything; say what it holds back");
            }
            silences.push(Silence {
                id: format!("silence-{}", number + 1),
                matchers,
                starts_at: start + from,
                ends_at: start + to.0,
                author: "slowburn test".to_owned(),
                reason: "in a test".to_owned(),
                created_at: start + from,
            });
        }
        silences
    }
}

/// A histogram's name without what Prometheus adds for its parts.
fn base(name: &str) -> &str {
    ["_count", "_sum"].into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}
