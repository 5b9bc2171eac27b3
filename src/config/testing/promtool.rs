//! promtool's test files, as far as they are about burn-rate alerts: an alert's name is that of a rule as 'slowburn
//! rules export' writes it, and its labels are those that the export gives it. All else is skipped, with a word, but for
//! names that only an export gives: a rule that was renamed must not leave its tests behind, green for ever.

use crate::config::decode::{Field, Spanned};
use crate::config::diagnostic::Diagnostic;
use crate::config::exported::{PREFIX, alert_name};
use crate::config::types::MaybeZero;
use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};

use super::{Check, CheckKind, MAX_SLOTS, Reading, Series, Test, raw};

/// How often promtool evaluates, and how far samples are apart, if nobody says.
const DEFAULT_INTERVAL: Duration = Duration::from_minutes(1);
/// The most characters of an expression that are shown.
const SHOWN_CHARS: usize = 40;

pub(super) fn tests(raw: &raw::PromtoolTests, reading: &mut Reading<'_>) -> Vec<Test> {
    let interval = raw.evaluation_interval.copied().unwrap_or(DEFAULT_INTERVAL);
    let tests = raw.tests.value().map_or(&[][..], Vec::as_slice);
    (1..).zip(tests).filter_map(|(number, test)| reading.group(number, test, interval)).collect()
}

impl Reading<'_> {
    fn group(&mut self, number: usize, raw: &Spanned<raw::PromtoolTest>, interval: Duration) -> Option<Test> {
        let (line, raw) = (self.line(raw.span), &raw.value);
        let mut checks = Vec::new();
        for Spanned { value: raw, span } in raw.alert_rule_test.value().into_iter().flatten() {
            let line = self.line(*span);
            checks.extend(self.alerts(raw).map(|kind| Check { line, kind }));
        }
        for Spanned { value: raw, span } in raw.promql_expr_test.value().into_iter().flatten() {
            let expr = raw.expr.value().map_or("", |expr| &expr.0);
            let what = format!("{} at {}", shortened(expr), at(&raw.eval_time));
            let kind = CheckKind::Skipped { what, why: "PromQL is not evaluated here".to_owned() };
            checks.push(Check { line: self.line(*span), kind });
        }
        checks.sort_by_key(|check| check.line);
        let series = raw.input_series.value().into_iter().flatten();
        let series: Vec<Series> = series.filter_map(|series| self.bucket(&series.value, false)).collect();
        let times = checks.iter().filter_map(|check| match check.kind {
            CheckKind::Exported { at, .. } => Some(at),
            _ => None,
        });
        let until = times.max().unwrap_or_default();
        if until.ms() / self.config.spec.interval.ms() > MAX_SLOTS {
            self.findings.error(raw.at, format!("this test lasts longer than {MAX_SLOTS} slots"));
            return None;
        }
        let start = raw.start_timestamp.value().map_or(Timestamp::from_unix_s(0), |start| start.0);
        Some(Test {
            name: raw.name.value().cloned().unwrap_or_else(|| format!("test {number}")),
            line,
            start: start.align_up(self.config.spec.interval),
            history: Duration::ZERO,
            until,
            interval: raw.interval.copied().unwrap_or(interval),
            series,
            outages: Vec::new(),
            silences: Vec::new(),
            checks,
        })
    }

    fn alerts(&mut self, raw: &raw::AlertRuleTest) -> Option<CheckKind> {
        let alertname = raw.alertname.value()?.clone();
        let at = at(&raw.eval_time);
        let mut rules = self.config.spec.slos.iter().flat_map(|slo| &slo.rules);
        if !rules.any(|rule| alert_name(&rule.name) == alertname) {
            let names = self.config.spec.slos.iter().flat_map(|slo| &slo.rules).map(|rule| alert_name(&rule.name));
            let names: Vec<String> = names.collect();
            let meant = self.findings.suggest(&alertname, names.iter().map(String::as_str));
            if alertname.starts_with(PREFIX) {
                let span = raw.alertname.get()?.span;
                let message = format!("no rule of the configuration is exported as '{alertname}'");
                let names = || "'slowburn rules export' shows the names".to_owned();
                let help = meant.map_or_else(names, |meant| format!("did you mean '{meant}'?"));
                self.findings.add(Diagnostic::error(span, message).help(help));
                return None;
            }
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean '{meant}'?"));
            let why = format!("no rule of the configuration is exported under this name{meant}");
            return Some(CheckKind::Skipped { what: format!("{alertname} at {at}"), why });
        }
        let alerts = raw.exp_alerts.value().map_or(&[][..], Vec::as_slice);
        let expected = alerts.iter().map(|alert| {
            let labels = alert.value.exp_labels.value().map_or(&[][..], |labels| &labels.0);
            let labels = labels.iter().map(|(name, value)| (name.value.clone(), value.value.0.clone()));
            // An empty label is none, and the name is said already.
            labels.filter(|(name, value)| !value.is_empty() && name != "alertname").collect::<Labels>()
        });
        let annotations = alerts.iter().any(|alert| !alert.value.exp_annotations.is_absent());
        Some(CheckKind::Exported { at, alertname, expected: expected.collect(), annotations })
    }
}

fn at(field: &Field<MaybeZero>) -> Duration {
    field.value().map_or(Duration::ZERO, |time| time.0)
}

fn shortened(expr: &str) -> String {
    let line = expr.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
