//! Rules and packs: each limit with its windows, before it is known which journeys use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::decode::{Field, Findings, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::types::{MaybeZero, Percent};
use crate::config::{confidence, raw, units};
use crate::engine::rule::{Limit, Rule, Schedule};
use crate::engine::time::Duration;

use super::Context;
use super::names::{Names, report_repeats, unknown};

const MILLION: u32 = 1_000_000;
const DEFAULT_CONSECUTIVE: u32 = 2;
const MAX_CONSECUTIVE: u32 = 1000;
const DEFAULT_WARNING: Percent = Percent(800_000);
const DEFAULT_CRITICAL: Percent = Percent(MILLION);
const DEFAULT_HYSTERESIS: Percent = Percent(100_000);
const DEFAULT_MIN_COVERAGE: Percent = Percent(500_000);
/// More rules than this in a pack, or on one objective, are a generated file gone wrong.
pub(super) const MAX_RULES: usize = 64;
/// A window needs this many polls to show an increase that a single lost poll cannot hide.
const MIN_POLLS: i64 = 2;
/// The short window is this part of the long one (SRE workbook, chapter 5).
const SHORT_PER_LONG: i64 = 12;

/// All rules and packs by name.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    rules: BTreeMap<String, Defined>,
    packs: BTreeMap<String, Vec<String>>,
}

/// A rule and where its limit is written.
#[derive(Debug)]
pub(super) struct Defined {
    /// `None` once what is wrong with it has been reported.
    pub rule: Option<Rule>,
    pub limit_at: Span,
}

impl Catalogue {
    pub fn new(parts: &[&raw::RuleFile], context: &mut Context<'_>) -> Self {
        let (mut names, mut catalogue) = (Names::default(), Self::default());
        for raw in parts.iter().filter_map(|part| part.rules.value()).flatten() {
            let defined = Defined { rule: rule(&raw.value, context), limit_at: limit_at(&raw.value) };
            let Some(name) = raw.value.name.get() else { continue };
            if names.claim(name, "rule", context.findings) {
                catalogue.rules.insert(name.value.clone(), defined);
            }
        }
        let packs = || parts.iter().filter_map(|part| part.packs.value()).flat_map(|named| &named.0);
        // A pack may stand before the rules it names, and before the packs it must not name.
        for (name, _) in packs() {
            if names.claim(name, "pack", context.findings) {
                catalogue.packs.insert(name.value.clone(), Vec::new());
            }
        }
        for (name, members) in packs() {
            let members = catalogue.members(name, members, context.findings);
            if let Some(pack) = catalogue.packs.get_mut(&name.value).filter(|pack| pack.is_empty()) {
                *pack = members;
            }
        }
        catalogue
    }

    /// The rules that a list of rule and pack names stands for, each once, with the place of the name that brought it.
    pub fn resolve(&self, list: &[Spanned<String>], findings: &mut Findings) -> Vec<(&Defined, Span)> {
        let mut resolved: BTreeMap<&str, usize> = BTreeMap::new();
        let mut out = Vec::new();
        report_repeats(list, findings);
        for name in list {
            let members = match self.packs.get(&name.value) {
                Some(members) => members.as_slice(),
                None if self.rules.contains_key(&name.value) => std::slice::from_ref(&name.value),
                None => {
                    let known = self.packs.keys().chain(self.rules.keys()).map(String::as_str);
                    unknown(name, "rule or pack", known, findings);
                    continue;
                }
            };
            for member in members {
                if let Some((key, defined)) = self.rules.get_key_value(member)
                    && resolved.insert(key, out.len()).is_none()
                {
                    out.push((defined, name.span));
                }
            }
        }
        out
    }

    fn members(
        &self,
        pack: &Spanned<String>,
        list: &Spanned<Vec<Spanned<String>>>,
        findings: &mut Findings,
    ) -> Vec<String> {
        if list.value.is_empty() {
            findings.error(pack.span, format!("the pack '{}' holds no rule", clipped(&pack.value)));
        }
        report_repeats(&list.value, findings);
        let mut members = Vec::new();
        for name in bounded(&list.value, findings) {
            if self.rules.contains_key(&name.value) {
                members.push(name.value.clone());
            } else if self.packs.contains_key(&name.value) || name.value == pack.value {
                let message = format!("a pack holds rules, and '{}' is a pack", clipped(&name.value));
                findings.error(name.span, message);
            } else {
                unknown(name, "rule", self.rules.keys().map(String::as_str), findings);
            }
        }
        members
    }
}

/// As much of a list of rules as anybody needs; that there is more is reported.
pub(super) fn bounded<'a>(list: &'a [Spanned<String>], findings: &mut Findings) -> &'a [Spanned<String>] {
    if let Some(extra) = list.get(MAX_RULES) {
        findings.error(extra.span, format!("more than {MAX_RULES} rules in one list"));
    }
    &list[..list.len().min(MAX_RULES)]
}

fn limit_at(raw: &raw::Rule) -> Span {
    let keys = [raw.burn_rate.key(), raw.budget_consumed.key(), raw.exhaustion.key(), raw.latency.key()];
    keys.into_iter().flatten().next().unwrap_or(raw.at)
}

fn rule(raw: &raw::Rule, context: &mut Context<'_>) -> Option<Rule> {
    let limit = limit(raw, context);
    let schedule = schedule(raw, context);
    let consecutive = consecutive(&raw.consecutive, context.findings);
    let (warning, critical) = stages(raw.stages.value(), context.findings);
    let hysteresis = below(&raw.hysteresis, MILLION - 1, "'hysteresis' must be under 100%", context.findings);
    let min_coverage = below(&raw.min_coverage, MILLION, "'min_coverage' must be at most 100%", context.findings);
    let confidence_z = confidence_z(&raw.confidence, context.findings);
    let limit = limit?;
    let two_polls = Duration::from_ms(context.interval.ms() * MIN_POLLS);
    let clear_after = raw.clear_after.copied().map(|MaybeZero(length)| length);
    Some(Rule {
        name: raw.name.value()?.clone(),
        urgency: raw.urgency.copied()?,
        limit,
        schedule,
        warning_ppm: warning.0,
        critical_ppm: critical.0,
        consecutive,
        hysteresis_ppm: hysteresis.unwrap_or(DEFAULT_HYSTERESIS).0,
        clear_after: clear_after.or(limit.short_window()).unwrap_or(two_polls),
        min_events: raw.min_events.copied().unwrap_or(0.0),
        min_bad: raw.min_bad.copied().unwrap_or(0.0),
        confidence_z,
        min_coverage_ppm: min_coverage.unwrap_or(DEFAULT_MIN_COVERAGE).0,
    })
}

/// The one limit of the rule.
fn limit(raw: &raw::Rule, context: &mut Context<'_>) -> Option<Limit> {
    let kinds = [
        ("burn_rate", raw.burn_rate.key(), raw.burn_rate.is_absent()),
        ("budget_consumed", raw.budget_consumed.key(), raw.budget_consumed.is_absent()),
        ("exhaustion", raw.exhaustion.key(), raw.exhaustion.is_absent()),
        ("latency", raw.latency.key(), raw.latency.is_absent()),
    ];
    if kinds.iter().all(|(.., absent)| *absent) {
        let diagnostic = Diagnostic::error(raw.at, "a rule needs a limit");
        context.findings.add(diagnostic.help("one of: burn_rate, budget_consumed, exhaustion, latency"));
    }
    let given: Vec<(&str, Span)> = kinds.iter().filter_map(|(name, key, _)| Some((*name, (*key)?))).collect();
    if let [(first, first_key), (second, second_key), ..] = given[..] {
        let message = format!("a rule has one limit, not both '{first}' and '{second}'");
        let diagnostic = Diagnostic::error(second_key, message).also(first_key, "the other");
        context.findings.add(diagnostic.help("write two rules"));
        return None;
    }
    let (kind, _) = *given.first()?;
    if kind != "burn_rate" {
        misplaced(raw.long.key(), "long", "burn_rate", context.findings);
    }
    if !matches!(kind, "burn_rate" | "exhaustion") {
        misplaced(raw.short.key(), "short", "burn_rate and exhaustion", context.findings);
    }
    match kind {
        "burn_rate" => burn_rate(raw, context),
        "budget_consumed" => budget_consumed(&raw.budget_consumed, context.findings),
        "exhaustion" => {
            let within = raw.exhaustion.copied()?;
            let short = short(&raw.short, within, context);
            Some(Limit::Exhaustion { within, short })
        }
        _ => latency(raw.latency.value()?, context),
    }
}

fn misplaced(key: Option<Span>, name: &str, belongs: &str, findings: &mut Findings) {
    if let Some(key) = key {
        findings.add(Diagnostic::error(key, format!("'{name}' belongs to {belongs}; this limit has none")));
    }
}

fn burn_rate(raw: &raw::Rule, context: &mut Context<'_>) -> Option<Limit> {
    let factor = raw.burn_rate.get()?;
    if factor.value <= 0.0 {
        context.findings.error(factor.span, "'burn_rate' must be above zero");
        return None;
    }
    if raw.long.is_absent() {
        let diagnostic = Diagnostic::error(raw.at, "'burn_rate' needs 'long', the window it is measured over");
        context.findings.add(diagnostic.help("write, for example, long: 1h"));
    }
    let long = raw.long.get()?;
    let short = short(&raw.short, long.value, context);
    if short >= long.value {
        let (long, polls) = (long.value, MIN_POLLS + 1);
        let diagnostic = match raw.short.get() {
            Some(short) => {
                Diagnostic::error(short.span, format!("'short' must be shorter than 'long', which is {long}"))
                    .help("it confirms that the burn still goes on; a twelfth of 'long' is usual")
            }
            None => {
                let at = raw.long.get().map_or(raw.at, |long| long.span);
                let interval = context.interval;
                Diagnostic::error(at, format!("'long' must be at least {polls} polls of {interval}"))
            }
        };
        context.findings.add(diagnostic);
        return None;
    }
    Some(Limit::BurnRate { factor: factor.value, long: long.value, short })
}

/// The short window, or by default a twelfth of `long` in whole polls.
fn short(field: &Field<Duration>, long: Duration, context: &mut Context<'_>) -> Duration {
    let interval = context.interval;
    if let Some(short) = field.get() {
        require_two_polls("'short'", short, context);
        return short.value;
    }
    let polls = Duration::from_ms(long.ms() / SHORT_PER_LONG).in_slots(interval).max(MIN_POLLS);
    Duration::from_ms(interval.ms() * polls)
}

fn require_two_polls(name: &str, window: &Spanned<Duration>, context: &mut Context<'_>) {
    let interval = context.interval;
    if window.value.ms() < interval.ms() * MIN_POLLS {
        let message = format!("{name} holds less than {MIN_POLLS} polls: the interval is {interval}");
        let least = Duration::from_ms(interval.ms() * MIN_POLLS);
        context.findings.add(Diagnostic::error(window.span, message).help(format!("write {least} or more")));
    }
}

fn budget_consumed(field: &Field<Percent>, findings: &mut Findings) -> Option<Limit> {
    let Spanned { value: Percent(ppm), span } = field.get()?;
    if *ppm == 0 {
        findings.error(*span, "'budget_consumed' must be above 0%");
        return None;
    }
    Some(Limit::BudgetConsumed { share: f64::from(*ppm) / f64::from(MILLION) })
}

fn latency(raw: &raw::LatencyLimit, context: &mut Context<'_>) -> Option<Limit> {
    let over = raw.over.get();
    if let Some(over) = over {
        require_two_polls("'over'", over, context);
    }
    let quantile = raw.quantile.get()?;
    if quantile.value.0 == 0 || quantile.value.0 >= MILLION {
        context.findings.error(quantile.span, "a quantile lies between 0% and 100%, and is neither");
        return None;
    }
    Some(Limit::Latency { quantile: f64::from(quantile.value.0) / f64::from(MILLION), over: over?.value })
}

fn schedule(raw: &raw::Rule, context: &mut Context<'_>) -> Schedule {
    let interval = context.interval;
    if let (Some(every), Some(cron)) = (raw.every.key(), raw.cron.key()) {
        let diagnostic = Diagnostic::error(cron, "both 'every' and 'cron' are given").also(every, "the other");
        context.findings.add(diagnostic.help("keep one"));
    }
    if let Some(every) = raw.every.get()
        && every.value.ms() % interval.ms() != 0
    {
        let message = format!("'every' must be a multiple of the interval, which is {interval}");
        let nearest = Duration::from_ms(interval.ms() * every.value.in_slots(interval));
        context.findings.add(Diagnostic::error(every.span, message).help(format!("write {nearest}")));
    }
    match raw.cron.value().and_then(|cron| super::cron::calendar(cron, &raw.cron, context)) {
        Some(calendar) => Schedule::At(Arc::new(calendar)),
        None => Schedule::Every(raw.every.copied().unwrap_or(interval)),
    }
}

fn consecutive(field: &Field<u32>, findings: &mut Findings) -> u32 {
    match field.get() {
        Some(Spanned { value, span }) if !(1..=MAX_CONSECUTIVE).contains(value) => {
            findings.error(*span, format!("'consecutive' lies between 1 and {MAX_CONSECUTIVE}"));
            DEFAULT_CONSECUTIVE
        }
        Some(times) => times.value,
        None => DEFAULT_CONSECUTIVE,
    }
}

fn stages(raw: Option<&raw::Stages>, findings: &mut Findings) -> (Percent, Percent) {
    let Some(raw) = raw else { return (DEFAULT_WARNING, DEFAULT_CRITICAL) };
    let critical = raw.critical.copied().unwrap_or(DEFAULT_CRITICAL);
    let warning = raw.warning.copied().unwrap_or(DEFAULT_WARNING.min(critical));
    for stage in [&raw.warning, &raw.critical] {
        if let Some(Spanned { value: Percent(0), span }) = stage.get() {
            findings.error(*span, "a stage at 0% would always hold");
        }
    }
    if let Some(written) = raw.warning.get()
        && warning > critical
    {
        let critical = units::show_ppm(critical.0);
        findings.error(written.span, format!("'warning' must not be above 'critical', which is {critical}"));
    }
    (warning, critical)
}

fn below(field: &Field<Percent>, max_ppm: u32, message: &str, findings: &mut Findings) -> Option<Percent> {
    let Spanned { value, span } = field.get()?;
    if value.0 > max_ppm {
        findings.error(*span, message);
    }
    Some(*value)
}

fn confidence_z(field: &Field<Percent>, findings: &mut Findings) -> Option<f64> {
    let Spanned { value: Percent(ppm), span } = field.get()?;
    if !(500_000..=999_900).contains(ppm) {
        findings.error(*span, "'confidence' lies between 50% and 99.99%");
        return None;
    }
    Some(confidence::z_score(f64::from(*ppm) / f64::from(MILLION)))
}
