//! slowburn's own form of tests, made ready to run.

use std::collections::BTreeMap;

use crate::config::decode::{Field, Spanned};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::engine::time::{Duration, Timestamp};

use super::{Check, CheckKind, MAX_SAMPLES, MAX_SLOTS, Reading, Series, Test, raw};

/// A Monday noon, when active hours are mostly open: 2026-01-05T12:00:00Z.
const DEFAULT_START: Timestamp = Timestamp::from_unix_s(1_767_614_400);

/// The end of a test that is not known yet.
pub(super) const LAST: Duration = Duration::from_days(365_000);

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
        let history = interval.times(raw.history.copied().unwrap_or_default().in_slots(interval) as f64);
        if let (Some(history), true) = (raw.history.get(), raw.traffic.is_absent()) {
            self.findings
                .error(history.span, "series have no samples before the beginning: 'history' goes with 'traffic'");
        }
        let (outages, silences) = (self.outages(raw), self.silences(raw, start));
        let until = self.until(raw, &checks, &given, interval);
        for traffic in raw.traffic.value().into_iter().flatten() {
            given.extend(self.traffic(&traffic.value, interval, (history, until.unwrap_or_default())));
        }
        self.report_repeats(&given);
        let until = until?;
        for check in &mut checks {
            if let CheckKind::Notifications { to, .. } = &mut check.kind {
                *to = (*to).min(until);
            }
        }
        Some(Test {
            name: raw.name.value()?.clone(),
            line,
            start,
            history,
            until,
            interval,
            outages,
            silences,
            series: given.into_iter().map(|(series, _)| series).collect(),
            checks,
        })
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
