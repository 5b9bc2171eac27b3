//! What a test expects, each thing with its place.

use crate::config::decode::Spanned;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::types::Percent;
use crate::engine::rule::Limit;
use crate::engine::time::Duration;

use super::own::LAST;
use super::{AlertPattern, Check, CheckKind, NotificationPattern, Quantity, Reading, ValueCheck, raw};

/// 0.1%.
const DEFAULT_TOLERANCE: f64 = 0.001;

impl Reading<'_> {
    pub(super) fn checks(&mut self, raw: &raw::RuleTest) -> Vec<Check> {
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
