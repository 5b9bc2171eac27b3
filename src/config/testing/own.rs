//! slowburn's own form of tests, made ready to run.

use std::collections::BTreeMap;

use crate::config::decode::{Field, Spanned};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::selector::MatchOp;
use crate::config::types::Percent;
use crate::engine::histogram::{Labels, braced};
use crate::engine::rule::Limit;
use crate::engine::silence::Silence;
use crate::engine::time::{Duration, Timestamp};

use super::traffic::{Phases, count_up};
use super::{
    AlertPattern, Check, CheckKind, MAX_SAMPLES, MAX_SLOTS, MAX_TEST_SAMPLES, NotificationPattern, Quantity, Reading,
    Sample, Series, Test, ValueCheck, notation, raw, series,
};

/// A Monday noon, when active hours are mostly open: 2026-01-05T12:00:00Z.
const DEFAULT_START: Timestamp = Timestamp::from_unix_s(1_767_614_400);
/// 0.1%.
const DEFAULT_TOLERANCE: f64 = 0.001;
const SUFFIX: &str = "_bucket";

pub(super) fn tests(raw: &raw::RuleTests, reading: &mut Reading<'_>) -> Vec<Test> {
    let tests = raw.tests.value().map_or(&[][..], Vec::as_slice);
    if tests.is_empty() && !matches!(raw.tests, Field::Bad) {
        reading.findings.error(raw.at, "there is no test in this file");
    }
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for name in tests.iter().filter_map(|test| test.value.name.get()) {
        if let Some(first) = names.insert(&name.value, name.span) {
            let diagnostic = Diagnostic::error(name.span, format!("two tests are named '{}'", name.value));
            reading.findings.add(diagnostic.also(first, "first here").help("rename one of the two"));
        }
    }
    tests.iter().filter_map(|test| reading.test(raw, test)).collect()
}

impl Reading<'_> {
    fn test(&mut self, file: &raw::RuleTests, raw: &Spanned<raw::RuleTest>) -> Option<Test> {
        let (line, raw) = (self.line(raw.span), &raw.value);
        let start = raw.start.or(&file.start).value().map_or(DEFAULT_START, |start| start.0);
        let start = start.align_up(self.config.spec.interval);
        let interval = raw.interval.or(&file.interval).copied().unwrap_or(self.config.spec.interval);
        let mut checks = self.checks(raw);
        let mut given = self.given_series(raw, interval);
        let until = self.until(raw, &checks, &given, interval)?;
        let history = raw.history.copied().unwrap_or_default();
        let lead = history.in_slots(interval) as usize;
        for check in &mut checks {
            if let CheckKind::Notifications { to, .. } = &mut check.kind {
                *to = (*to).min(until);
            }
        }
        for traffic in raw.traffic.value().into_iter().flatten() {
            given.extend(self.traffic(&traffic.value, interval, (lead, until)));
        }
        self.report_repeats(&given);
        if given.iter().map(|(series, _)| series.samples.len()).sum::<usize>() > MAX_TEST_SAMPLES {
            self.findings.error(raw.at, format!("the series of this test have more than {MAX_TEST_SAMPLES} samples"));
        }
        Some(Test {
            name: raw.name.value()?.clone(),
            line,
            start,
            history: interval.times(lead as f64),
            until,
            interval,
            outages: self.outages(raw),
            silences: self.silences(raw, start),
            series: given.into_iter().map(|(series, _)| series).collect(),
            checks,
        })
    }

    fn given_series(&mut self, raw: &raw::RuleTest, interval: Duration) -> Vec<(Series, Span)> {
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
        if ours || (is_asked && values.value.0.contains("{{")) {
            self.samples(values)?;
        }
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
        Some(Series { metric, labels, bound_s, lead: 0, samples: self.samples(values)? })
    }

    fn samples(&mut self, values: &Spanned<raw::Text>) -> Option<Vec<Sample>> {
        match notation::expand(&values.value.0) {
            Ok(samples) => Some(samples),
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

    fn report_repeats(&mut self, given: &[(Series, Span)]) {
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

    /// How long the test goes on.
    fn until(
        &mut self,
        raw: &raw::RuleTest,
        checks: &[Check],
        given: &[(Series, Span)],
        interval: Duration,
    ) -> Option<Duration> {
        let sampled = given.iter().map(|(series, _)| interval.times(series.samples.len().saturating_sub(1) as f64));
        let traffic = raw.traffic.value().into_iter().flatten();
        let requests = traffic.filter_map(|traffic| traffic.value.requests.value()?.0.end());
        let outages = raw.outages.value().into_iter().flatten().filter_map(|outage| outage.value.to.value());
        let expected = checks.iter().map(|check| last_time(&check.kind)).max().unwrap_or_default();
        let until = match raw.until.get() {
            Some(until) if until.value < expected => {
                let message = format!("the test ends before its last expectation at {expected}");
                self.findings.error(until.span, message);
                return None;
            }
            Some(until) => until.value,
            None => sampled.chain(requests).chain(outages.map(|to| to.0)).fold(expected, Duration::max),
        };
        if expects_nothing(raw) {
            let diagnostic = Diagnostic::error(raw.at, "this test expects nothing");
            self.findings.add(diagnostic.help("add expect_alerts, expect_notifications or expect_values"));
            return None;
        }
        if checks.is_empty() {
            // What is wrong with them has been reported.
            return None;
        }
        if until.is_zero() && checks.iter().all(|check| matches!(check.kind, CheckKind::Notifications { .. })) {
            let diagnostic = Diagnostic::error(raw.at, "nothing says how long this test goes on");
            self.findings.add(diagnostic.help("add 'until: 1h'"));
            return None;
        }
        let all = until + raw.history.copied().unwrap_or_default();
        if all.in_slots(self.config.spec.interval.min(interval)) > MAX_SLOTS.min(MAX_SAMPLES as i64) {
            let message = format!("{all} are more than {MAX_SLOTS} slots or samples; a test may have so many");
            let span = raw.history.get().or(raw.until.get()).map_or(raw.at, |length| length.span);
            self.findings.error(span, message);
            return None;
        }
        Some(until)
    }

    /// Buckets around the budget: the fast requests take at most half of it, the slow ones up to twice as long.
    fn traffic(
        &mut self,
        raw: &raw::Traffic,
        interval: Duration,
        (lead, until): (usize, Duration),
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
        let counts = count_up(&requests.0, slow, interval, (lead, until));
        let bucket = |bound_s: f64, all: bool| {
            let value = |[total, bad]: &[f64; 2]| Sample::Value(if all { *total } else { total - bad });
            let samples = counts.iter().map(value).collect();
            (Series { metric: selector.metric.clone(), labels: labels.clone(), bound_s, lead, samples }, raw.at)
        };
        let budget_s = slo.budget_s;
        vec![
            bucket(budget_s / 2.0, false),
            bucket(budget_s, false),
            bucket(budget_s * 2.0, true),
            bucket(f64::INFINITY, true),
        ]
    }

    fn outages(&mut self, raw: &raw::RuleTest) -> Vec<(Duration, Duration)> {
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

    fn silences(&mut self, raw: &raw::RuleTest, start: Timestamp) -> Vec<Silence> {
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

    fn checks(&mut self, raw: &raw::RuleTest) -> Vec<Check> {
        let mut checks = Vec::new();
        for Spanned { value: raw, span } in raw.expect_alerts.value().into_iter().flatten() {
            let only = self.alert(&raw.only, &AlertPattern::default());
            let alerts = raw.alerts.value().into_iter().flatten();
            let expected = alerts.map(|alert| self.alert(&alert.value, &only)).collect();
            let Some(at) = raw.time.value() else { continue };
            let kind = CheckKind::Alerts { at: at.0, only, expected };
            checks.push(Check { line: self.line(*span), kind });
        }
        for Spanned { value: raw, span } in raw.expect_notifications.value().into_iter().flatten() {
            let kind = self.notifications(raw);
            checks.push(Check { line: self.line(*span), kind });
        }
        for Spanned { value: raw, span } in raw.expect_values.value().into_iter().flatten() {
            let line = self.line(*span);
            checks.extend(self.values(raw).into_iter().map(|value| Check { line, kind: CheckKind::Value(value) }));
        }
        checks.sort_by_key(|check| check.line);
        checks
    }

    fn notifications(&mut self, raw: &raw::NotificationsIn) -> CheckKind {
        let only = self.notification(&raw.only, &NotificationPattern::default());
        let from = raw.from.value().map_or(Duration::ZERO, |from| from.0);
        let to = raw.to.value().map_or(LAST, |to| to.0);
        let mut expected = Vec::new();
        for Spanned { value: raw, span } in raw.notifications.value().into_iter().flatten() {
            let between = self.between(raw, *span);
            if let Some((first, last)) = between
                && (last < from || first > to)
            {
                self.findings.error(*span, "this notification lies outside of the time that is looked at");
            }
            expected.push(NotificationPattern { between, ..self.notification(&raw.words, &only) });
        }
        CheckKind::Notifications { from, to, only, expected }
    }

    fn between(&mut self, raw: &raw::NotificationAt, span: Span) -> Option<(Duration, Duration)> {
        if let (Some(time), Some(between)) = (raw.time.key(), raw.between.key()) {
            let diagnostic = Diagnostic::error(between, "both 'at' and 'between' are given");
            self.findings.add(diagnostic.also(time, "the other").help("keep one"));
        }
        if let Some(at) = raw.time.get() {
            let interval = self.config.spec.interval;
            if at.value.0.ms() % interval.ms() != 0 {
                let message =
                    format!("notifications are decided every {interval} from the beginning, never at {}", at.value.0);
                self.findings.add(Diagnostic::error(at.span, message).help("write a multiple, or 'between'"));
            }
            return Some((at.value.0, at.value.0));
        }
        let between = raw.between.get()?;
        match between.value.as_slice() {
            [first, last] if first.value.0 <= last.value.0 => Some((first.value.0, last.value.0)),
            _ => {
                let diagnostic = Diagnostic::error(span, "'between' takes the first moment and the last");
                self.findings.add(diagnostic.help("write between: [10m, 12m]"));
                None
            }
        }
    }

    fn values(&mut self, raw: &raw::ValueAt) -> Vec<ValueCheck> {
        let slo = self.slo(&raw.journey, &raw.layer);
        let labels = self.by(&raw.labels);
        self.rule(&raw.rule);
        let pairs = [
            (raw.burn_rate.key(), "over", raw.over.is_absent()),
            (raw.usage.key(), "rule", raw.rule.is_absent()),
            (raw.over.key(), "burn_rate", raw.burn_rate.is_absent()),
            (raw.rule.key(), "usage", raw.usage.is_absent()),
        ];
        for (key, other, is_absent) in pairs {
            if let (Some(key), true) = (key, is_absent) {
                self.findings.error(key, format!("'{other}' is missing beside it"));
            }
        }
        let quantities = quantities(raw);
        if quantities.is_empty() && raw.burn_rate.is_absent() && raw.usage.is_absent() {
            let diagnostic = Diagnostic::error(raw.at, "this expects nothing");
            self.findings.add(diagnostic.help("add burn_rate and over, usage and rule, budget_spent, or sight"));
        }
        let (Some(slo), Some(at)) = (slo, raw.time.value()) else { return Vec::new() };
        self.report_unmeasured(raw, slo);
        let slo = &self.config.spec.slos[slo];
        let tolerance = raw.tolerance.copied().map_or(DEFAULT_TOLERANCE, |Percent(ppm)| f64::from(ppm) / 1e6);
        let check = |quantity| ValueCheck {
            at: at.0,
            journey: slo.journey.clone(),
            layer: slo.layer.clone(),
            labels: labels.clone(),
            quantity,
            tolerance,
        };
        quantities.into_iter().map(check).collect()
    }

    /// A window that no rule looks at has no burn rate, and a rule that does not watch the SLO no usage.
    fn report_unmeasured(&mut self, raw: &raw::ValueAt, slo: usize) {
        let slo = &self.config.spec.slos[slo];
        let limits = || slo.rules.iter().map(|rule| rule.limit);
        let mut windows: Vec<Duration> =
            limits().flat_map(|limit: Limit| [limit.short_window(), limit.long_window()]).flatten().collect();
        windows.sort();
        windows.dedup();
        if let Some(over) = raw.over.get().filter(|over| !windows.contains(&over.value)) {
            let windows: Vec<String> = windows.iter().map(Duration::to_string).collect();
            let diagnostic =
                Diagnostic::error(over.span, format!("no rule of {} looks at {}", slo.place(), over.value));
            self.findings.add(diagnostic.help(format!("its windows: {}", windows.join(", "))));
        }
        if let Some(rule) = raw.rule.get().filter(|rule| slo.rules.iter().all(|known| known.name != rule.value)) {
            let rules: Vec<&str> = slo.rules.iter().map(|rule| rule.name.as_str()).collect();
            let diagnostic =
                Diagnostic::error(rule.span, format!("{} is not watched by '{}'", slo.place(), rule.value));
            self.findings.add(diagnostic.help(format!("its rules: {}", rules.join(", "))));
        }
    }
}

/// A histogram's name without what Prometheus adds for its parts.
fn base(name: &str) -> &str {
    ["_count", "_sum"].into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// The end of a test that is not known yet.
const LAST: Duration = Duration::from_days(365_000);

fn quantities(raw: &raw::ValueAt) -> Vec<Quantity> {
    let share = |percent: Percent| f64::from(percent.0) / 1e6;
    let burn_rate = raw.burn_rate.copied().zip(raw.over.copied());
    let usage = raw.usage.copied().zip(raw.rule.value());
    let all = [
        burn_rate.map(|(expected, over)| Quantity::BurnRate { over, expected }),
        usage.map(|(used, rule)| Quantity::Usage { rule: rule.clone(), expected: share(used) }),
        raw.budget_spent.copied().map(|spent| Quantity::BudgetSpent { expected: share(spent) }),
        raw.sight.copied().map(Quantity::Sight),
    ];
    all.into_iter().flatten().collect()
}

/// Whether there is no expectation at all, not even one that is wrong.
fn expects_nothing(raw: &raw::RuleTest) -> bool {
    fn none<T>(field: &Field<Vec<Spanned<T>>>) -> bool {
        field.is_absent() || field.value().is_some_and(Vec::is_empty)
    }
    none(&raw.expect_alerts) && none(&raw.expect_notifications) && none(&raw.expect_values)
}

/// The last time that an expectation names.
fn last_time(kind: &CheckKind) -> Duration {
    match kind {
        CheckKind::Alerts { at, .. } | CheckKind::Exported { at, .. } => *at,
        CheckKind::Value(value) => value.at,
        CheckKind::Notifications { from, to, expected, .. } => {
            let named = expected.iter().filter_map(|told| told.between).map(|(_, last)| last);
            let to = Some(*to).filter(|to| *to < LAST);
            named.chain(to).fold(*from, Duration::max)
        }
        CheckKind::Skipped { .. } => Duration::ZERO,
    }
}
