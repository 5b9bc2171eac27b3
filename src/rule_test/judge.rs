//! What came, held against what was expected; and where it is otherwise, when it would have been so.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use crate::config::Config;
use crate::config::exported::{alert_name, labels};
use crate::config::testing::{AlertPattern, CheckKind, NotificationPattern, Quantity, Test, ValueCheck};
use crate::engine::alert::AlertRecord;
use crate::engine::histogram::{Labels, place};
use crate::engine::notification::Notification;
use crate::engine::rule::Stage;
use crate::engine::slo::Sight;
use crate::engine::time::{Duration, Timestamp};
use crate::engine::view::{SloView, View};

use super::stage::{Run, look};
use super::{Failure, Row, Verdict, words};

/// More hints than this to one expectation say no more.
const MAX_HINTS: usize = 3;

pub(super) struct Judge<'a> {
    config: &'a Config,
    test: &'a Test,
    run: &'a Run,
    receivers: Vec<String>,
    closest: OnceCell<Closest<'a>>,
}

/// How close the whole test came to what was expected: gone through once, however many hints are given, and not at all
/// where nothing failed.
struct Closest<'a> {
    alerts: Vec<(&'a AlertPattern, Option<Peak>)>,
    /// The slot nearest to the check's at which it would have held.
    values: Vec<(&'a ValueCheck, Option<Timestamp>)>,
}

/// The greatest usage of the rules that a pattern is about.
#[derive(Clone)]
struct Peak {
    usage: f64,
    slot: Timestamp,
    place: String,
    rule: String,
}

impl<'a> Judge<'a> {
    pub fn new(config: &'a Config, test: &'a Test, run: &'a Run) -> Self {
        let receivers = config.spec.receivers.iter().map(|receiver| receiver.name.clone()).collect();
        Self { config, test, run, receivers, closest: OnceCell::new() }
    }

    pub fn judge(&self, kind: &CheckKind) -> Verdict {
        match kind {
            CheckKind::Alerts { at, only, expected } => self.alerts(*at, only, expected),
            CheckKind::Notifications { from, to, only, expected } => self.notifications((*from, *to), only, expected),
            CheckKind::Value(check) => self.value(check),
            CheckKind::Exported { at, alertname, expected, .. } => self.exported(*at, alertname, expected),
            CheckKind::Skipped { why, .. } => Verdict::Skipped(why.clone()),
        }
    }

    fn view(&self, at: Duration) -> Option<&View> {
        self.run.views.get(&(self.test.start + at).align_down(self.config.spec.interval))
    }

    fn alerts(&self, at: Duration, only: &AlertPattern, expected: &[AlertPattern]) -> Verdict {
        let standing = self.view(at).map_or(&[][..], |view| &view.alerts);
        let standing: Vec<&AlertRecord> = standing.iter().filter(|alert| fits_alert(only, alert)).collect();
        let show = |alert: &&AlertRecord| {
            format!("{}, since {}", words::alert(alert), words::since(self.test, alert.fired_at))
        };
        let compared = Compared {
            expected,
            got: &standing,
            fits: |pattern: &AlertPattern, alert: &&AlertRecord| fits_alert(pattern, alert),
        };
        compared.verdict(words::alert_pattern, show, |pattern| self.when_alert(at, pattern))
    }

    /// When such an alert stood, or how close its rule came.
    fn when_alert(&self, at: Duration, pattern: &AlertPattern) -> Option<String> {
        let at = self.test.start + at;
        let such = self.run.alerts.iter().filter(|alert| fits_alert(pattern, alert));
        match such.min_by_key(|alert| distance(alert, at)) {
            Some(nearest) => {
                let span = words::span(self.test, nearest.fired_at, nearest.ended_at);
                Some(format!("{} stands {span}", words::alert(nearest)))
            }
            None => Some(self.how_close(pattern).unwrap_or_else(|| "no such request was seen in this test".to_owned())),
        }
    }

    /// The greatest usage of the rules that a pattern is about, if none of them ever fired as it says.
    fn how_close(&self, pattern: &AlertPattern) -> Option<String> {
        let known = self.closest().alerts.iter().find(|(known, _)| std::ptr::eq(*known, pattern))?;
        let Peak { usage, slot, place, rule: name } = known.1.clone()?;
        let rule = self.config.spec.slos.iter().flat_map(|slo| &slo.rules).find(|rule| rule.name == name)?;
        let stage = pattern.stage.unwrap_or(Stage::Warning);
        let threshold = match stage {
            Stage::Warning => f64::from(rule.warning_ppm) / 1e6,
            Stage::Critical => f64::from(rule.critical_ppm) / 1e6,
        };
        let (came, begins) = (words::percent(usage), words::percent(threshold));
        let at = words::since(self.test, slot);
        let mut hint =
            format!("{place} {name} uses at most {came} of its limit, at {at}; {} is {begins}", stage.as_str());
        if usage >= threshold {
            hint += &format!(", for {} evaluations in a row and with enough requests", rule.consecutive);
        }
        Some(hint)
    }

    fn notifications(
        &self,
        (from, to): (Duration, Duration),
        only: &NotificationPattern,
        expected: &[NotificationPattern],
    ) -> Verdict {
        let within = |told: &&Notification| (from..=to).contains(&words::since(self.test, told.at));
        let such =
            || self.run.notifications.iter().map(|told| &**told).filter(|told| self.fits_notification(only, told));
        let told: Vec<&Notification> = such().filter(within).collect();
        let compared = Compared {
            expected,
            got: &told,
            fits: |pattern: &NotificationPattern, told: &&Notification| self.fits_notification(pattern, told),
        };
        let show = |told: &&Notification| words::notification(self.test, &self.receivers, told);
        let mut verdict = compared.verdict(words::notification_pattern, show, |pattern| {
            let (first, _) = pattern.between?;
            let any_time = NotificationPattern { between: None, ..pattern.clone() };
            let other = such().filter(|told| self.fits_notification(&any_time, told));
            let nearest = other.min_by_key(|told| apart(words::since(self.test, told.at), first))?;
            Some(format!("sent at {} instead of {first}: {}", words::since(self.test, nearest.at), nearest.summary))
        });
        if let Verdict::Failed(failure) = &mut verdict
            && failure.rows.iter().any(|row| matches!(row, Row::Missing(_)))
        {
            failure.hints.extend(self.held_back());
            if self.run.notifications.is_empty() {
                failure.hints.push("nothing was sent in this test".to_owned());
            }
        }
        verdict
    }

    /// What was held back over the whole test.
    fn held_back(&self) -> Option<String> {
        let held = &self.run.held_back;
        let reasons = [
            (held.silenced, "silenced"),
            (held.maintenance, "in maintenance"),
            (held.inactive_hours, "outside active hours"),
            (held.flapping, "of what comes and goes"),
        ];
        let held = reasons.into_iter().filter(|(count, _)| *count > 0);
        let held: Vec<String> = held.map(|(count, why)| format!("{count} {why}")).collect();
        (!held.is_empty()).then(|| format!("held back in this test: {}", held.join(", ")))
    }

    fn fits_notification(&self, pattern: &NotificationPattern, told: &Notification) -> bool {
        let at = words::since(self.test, told.at);
        pattern.between.is_none_or(|(first, last)| (first..=last).contains(&at))
            && pattern.receiver.as_ref().is_none_or(|name| *name == self.receivers[told.receiver])
            && pattern.reason.is_none_or(|reason| reason == told.reason)
            && pattern.stage.is_none_or(|stage| stage == told.stage)
            && pattern.urgency.is_none_or(|urgency| urgency == told.urgency)
            && (pattern.journey.is_none() || pattern.journey == told.journey)
            && pattern.layer.as_ref().is_none_or(|layer| told.alerts.iter().any(|alert| alert.layer == *layer))
            && pattern.rule.as_ref().is_none_or(|rule| told.alerts.iter().any(|alert| alert.rule == *rule))
            && pattern.text.as_ref().is_none_or(|text| told.summary.contains(text))
    }

    fn value(&self, check: &ValueCheck) -> Verdict {
        let place = place(&check.journey, check.layer.as_deref(), &check.labels);
        let slo = self.view(check.at).and_then(|view| slo_of(view, check));
        let Some((expected, got, fits)) = slo.and_then(|slo| measured(check, slo)) else {
            let rows = vec![Row::Missing(format!("{place} was never seen"))];
            return Verdict::Failed(Failure { rows, hints: Vec::new() });
        };
        if fits {
            return Verdict::Passed;
        }
        let nearest = self.closest().values.iter().find(|(known, _)| std::ptr::eq(*known, check)).and_then(|it| it.1);
        let hint = match nearest {
            Some(slot) => format!("it is so at {}", words::since(self.test, slot)),
            None => "it is never so in this test".to_owned(),
        };
        Verdict::Failed(Failure { rows: vec![Row::Missing(expected), Row::Instead(got)], hints: vec![hint] })
    }

    fn closest(&self) -> &Closest<'a> {
        self.closest.get_or_init(|| {
            let kinds = || self.test.checks.iter().map(|check| &check.kind);
            let patterns = kinds().filter_map(|kind| match kind {
                CheckKind::Alerts { expected, .. } => Some(expected),
                _ => None,
            });
            let values = kinds().filter_map(|kind| match kind {
                CheckKind::Value(check) => Some((check, None)),
                _ => None,
            });
            let alerts = patterns.flatten().map(|pattern| (pattern, None)).collect();
            let mut closest = Closest { alerts, values: values.collect() };
            look(self.config, self.test, |slot, view| closest.look(self.test, slot, view));
            closest
        })
    }

    fn exported(&self, at: Duration, alertname: &str, expected: &[Labels]) -> Verdict {
        let standing = self.view(at).map_or(&[][..], |view| &view.alerts);
        let named = |alert: &&AlertRecord| alert_name(&alert.rule) == alertname;
        let firing: Vec<Labels> = standing.iter().filter(named).flat_map(|alert| self.as_exported(alert)).collect();
        let compared = Compared { expected, got: &firing, fits: |expected: &Labels, got: &Labels| expected == got };
        let at = self.test.start + at;
        compared.verdict(words::labels, words::labels, |expected| {
            let such = self.run.alerts.iter().filter(named).filter(|alert| self.as_exported(alert).contains(expected));
            let nearest = such.min_by_key(|alert| distance(alert, at))?;
            let span = words::span(self.test, nearest.fired_at, nearest.ended_at);
            Some(format!("{} stands {span}", words::alert(nearest)))
        })
    }

    /// The labels under which Prometheus would show the alert: at a critical stage, that of the warning fires as well.
    fn as_exported(&self, alert: &AlertRecord) -> Vec<Labels> {
        let slos = &self.config.spec.slos;
        let slo = slos.iter().find(|slo| slo.journey == alert.journey && slo.layer == alert.layer);
        let rule = slo.and_then(|slo| slo.rules.iter().find(|rule| rule.name == alert.rule));
        let Some((slo, rule)) = slo.zip(rule) else { return Vec::new() };
        let own = |stage: Stage| -> Labels {
            let of_rule = labels(slo, rule, stage).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            alert.labels.clone().into_iter().chain(of_rule).filter(|(_, value)| !value.is_empty()).collect()
        };
        let stages = [Stage::Warning, Stage::Critical].into_iter().filter(|stage| *stage <= alert.stage);
        stages.map(own).collect()
    }
}

impl Closest<'_> {
    fn look(&mut self, test: &Test, slot: Timestamp, view: &View) {
        for (pattern, peak) in &mut self.alerts {
            let seen = |slo: &&SloView| slo.sight != Sight::Unborn && fits_place(pattern, slo);
            for slo in view.slos.iter().filter(seen) {
                let rules = slo.rules.iter().filter(|rule| pattern.rule.as_ref().is_none_or(|name| *name == rule.rule));
                for rule in rules.filter(|rule| pattern.urgency.is_none_or(|urgency| urgency == rule.urgency)) {
                    let usage = rule.usage.unwrap_or(0.0);
                    if peak.as_ref().is_none_or(|peak| usage > peak.usage) {
                        let place = place(&slo.journey, slo.layer.as_deref(), &slo.labels);
                        *peak = Some(Peak { usage, slot, place, rule: rule.rule.clone() });
                    }
                }
            }
        }
        for (check, nearest) in &mut self.values {
            let at = test.start + check.at;
            let is_so = slo_of(view, check).and_then(|slo| measured(check, slo)).is_some_and(|(.., fits)| fits);
            if is_so && nearest.is_none_or(|nearest| gap(slot, at) < gap(nearest, at)) {
                *nearest = Some(slot);
            }
        }
    }
}

/// What is expected beside what came.
struct Compared<'a, E, G, F> {
    expected: &'a [E],
    got: &'a [G],
    fits: F,
}

impl<E, G, F: Fn(&E, &G) -> bool> Compared<'_, E, G, F> {
    fn verdict(
        &self,
        show_expected: impl Fn(&E) -> String,
        show_got: impl Fn(&G) -> String,
        hint: impl Fn(&E) -> Option<String>,
    ) -> Verdict {
        let pairs = self.pairs();
        if pairs.len() == self.expected.len() && pairs.len() == self.got.len() {
            return Verdict::Passed;
        }
        let taken: Vec<usize> = pairs.values().copied().collect();
        let missing = self.expected.iter().enumerate().filter(|(index, _)| !taken.contains(index));
        let (mut rows, mut hints) = (Vec::new(), Vec::new());
        for (_, expected) in missing {
            rows.push(Row::Missing(show_expected(expected)));
            if hints.len() < MAX_HINTS {
                hints.extend(hint(expected).filter(|hint| !hints.contains(hint)));
            }
        }
        for (index, got) in self.got.iter().enumerate() {
            let shown = show_got(got);
            rows.push(if pairs.contains_key(&index) { Row::AsExpected(shown) } else { Row::Unexpected(shown) });
        }
        Verdict::Failed(Failure { rows, hints })
    }

    /// As many as possible of what came, each with one expectation that it fits and no other has: augmenting paths
    /// (Kuhn's algorithm for bipartite matching).
    fn pairs(&self) -> BTreeMap<usize, usize> {
        let mut pairs = BTreeMap::new();
        for expected in 0..self.expected.len() {
            self.place(expected, &mut pairs, &mut vec![false; self.got.len()]);
        }
        pairs
    }

    fn place(&self, expected: usize, pairs: &mut BTreeMap<usize, usize>, tried: &mut [bool]) -> bool {
        for (got, candidate) in self.got.iter().enumerate() {
            if tried[got] || !(self.fits)(&self.expected[expected], candidate) {
                continue;
            }
            tried[got] = true;
            let holder = pairs.get(&got).copied();
            if holder.is_none_or(|holder| self.place(holder, pairs, tried)) {
                pairs.insert(got, expected);
                return true;
            }
        }
        false
    }
}

fn fits_alert(pattern: &AlertPattern, alert: &AlertRecord) -> bool {
    pattern.journey.as_ref().is_none_or(|journey| *journey == alert.journey)
        && pattern.layer.as_ref().is_none_or(|layer| *layer == alert.layer)
        && pattern.labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value))
        && pattern.rule.as_ref().is_none_or(|rule| *rule == alert.rule)
        && pattern.stage.is_none_or(|stage| stage == alert.stage)
        && pattern.urgency.is_none_or(|urgency| urgency == alert.urgency)
}

fn fits_place(pattern: &AlertPattern, slo: &SloView) -> bool {
    pattern.journey.as_ref().is_none_or(|journey| *journey == slo.journey)
        && pattern.layer.as_ref().is_none_or(|layer| *layer == slo.layer)
        && pattern.labels.iter().all(|(name, value)| slo.labels.get(name) == Some(value))
}

fn slo_of<'a>(view: &'a View, check: &ValueCheck) -> Option<&'a SloView> {
    view.slos.iter().find(|slo| {
        slo.journey == check.journey
            && slo.layer == check.layer
            && check.labels.iter().all(|(name, value)| slo.labels.get(name) == Some(value))
    })
}

/// What is expected, what it is, and whether the two agree. What was not seen burns nothing here; a test may expect its
/// sight beside.
fn measured(check: &ValueCheck, slo: &SloView) -> Option<(String, String, bool)> {
    let near = |expected: f64, got: f64| (got - expected).abs() <= check.tolerance * expected.abs() + 1e-9;
    let shares = |expected: f64, got: f64| (words::percent(expected), words::percent(got), near(expected, got));
    match &check.quantity {
        Quantity::BurnRate { over, expected } => {
            let got = slo.windows.iter().find(|window| window.window == *over)?.burn_rate.unwrap_or(0.0);
            Some((words::number(*expected).to_string(), words::number(got).to_string(), near(*expected, got)))
        }
        Quantity::Usage { rule, expected } => {
            let rule = slo.rules.iter().find(|known| known.rule == *rule)?;
            Some(shares(*expected, rule.usage.unwrap_or(0.0)))
        }
        Quantity::BudgetSpent { expected } => Some(shares(*expected, 1.0 - slo.budget_remaining.unwrap_or(1.0))),
        Quantity::Sight(expected) => {
            Some((expected.as_str().to_owned(), slo.sight.as_str().to_owned(), *expected == slo.sight))
        }
    }
}

/// How far from `at` an alert stood.
fn distance(alert: &AlertRecord, at: Timestamp) -> Duration {
    if at < alert.fired_at {
        alert.fired_at.since(at)
    } else {
        alert.ended_at.map_or(Duration::ZERO, |ended| at.since(ended))
    }
}

fn gap(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
}

fn apart(a: Duration, b: Duration) -> i64 {
    (a.ms() - b.ms()).abs()
}
