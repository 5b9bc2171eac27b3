//! Journeys and layers as service level objectives, each with the rules that watch it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::budget::Allocation;
use crate::config::decode::{Field, Findings, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw;
use crate::config::selector::Selector;
use crate::config::types::Latency;
use crate::config::units::show_ns;
use crate::engine::histogram::Labels;
use crate::engine::rule::Rule;
use crate::engine::sli::SloSpec;
use crate::engine::time::Duration;

use super::Context;
use super::names::{Names, check_label};
use super::reach::report_unreachable;
use super::rules::{Catalogue, MAX_RULES, bounded};

const MILLION: u32 = 1_000_000;
const DEFAULT_PERIOD: Duration = Duration::from_days(30);
const LONGEST_PERIOD: Duration = Duration::from_days(366);
const DEFAULT_MAX_BY: u32 = 100;
/// More objectives than this are a generated file gone wrong; `by` multiplies them further.
const MAX_SLOS: usize = 50_000;
const MAX_MAX_BY: u32 = 10_000;

/// All objectives in the order of the files, a journey's own before its layers'.
pub(super) fn journeys(
    parts: &[&raw::RuleFile],
    catalogue: &Catalogue,
    context: &mut Context<'_>,
) -> Vec<(SloSpec, Selector)> {
    let mut names = Names::default();
    let mut out = Vec::new();
    let raw: Vec<_> = parts.iter().filter_map(|part| part.journeys.value()).flatten().collect();
    if raw.is_empty() && parts.iter().all(|part| part.journeys.is_absent() || part.journeys.get().is_some()) {
        let diagnostic = Diagnostic::nowhere("there is no journey in any file, so there is nothing to watch");
        context.findings.add(diagnostic.help("write 'journeys:' in this file or in one that rule_files names"));
    }
    for raw in raw {
        if let Some(name) = raw.value.name.get() {
            names.claim(name, "journey", context.findings);
        }
        journey(&raw.value, catalogue, context, &mut out);
        if out.len() > MAX_SLOS {
            context.findings.error(raw.span, format!("more than {MAX_SLOS} layers and journeys"));
            break;
        }
    }
    out
}

fn journey(raw: &raw::Journey, catalogue: &Catalogue, context: &mut Context<'_>, out: &mut Vec<(SloSpec, Selector)>) {
    let layers = raw.layers.value().map_or(&[][..], Vec::as_slice);
    if raw.histogram.is_absent() && layers.is_empty() && !matches!(raw.layers, Field::Bad) {
        let diagnostic = Diagnostic::error(raw.at, "a journey needs 'layers', a 'histogram' of its own, or both");
        context.findings.add(diagnostic);
    }
    if let (Some(key), true) = (raw.histogram.key(), raw.budget.is_absent()) {
        let diagnostic = Diagnostic::error(key, "a journey's own histogram is measured against its 'budget': add it");
        context.findings.add(diagnostic.help("write, for example, budget: 100ms"));
    }
    if let (Some(key), true) = (raw.reserve.key(), raw.budget.is_absent()) {
        context.findings.error(key, "'reserve' is a part of the journey's 'budget', and there is none");
    }
    report_overallocation(raw, layers, context.findings);

    let name = raw.name.value().cloned();
    let own = Slo { journey: name.as_deref(), layer: None, of: &raw.shared, above: None, at: raw.at };
    own.report_shared(context);
    if raw.histogram.get().is_some() {
        out.extend(own.build(&raw.budget, &raw.histogram, catalogue, context));
    }
    let mut names = Names::default();
    for layer in layers {
        if let Some(name) = layer.value.name.get() {
            names.claim(name, "layer", context.findings);
        }
        let Spanned { value: layer, .. } = layer;
        let slo = Slo {
            journey: name.as_deref(),
            layer: Some(&layer.name),
            of: &layer.shared,
            above: Some(&raw.shared),
            at: layer.at,
        };
        slo.report_shared(context);
        out.extend(slo.build(&layer.budget, &layer.histogram, catalogue, context));
    }
}

/// A warning if the layers and the reserve promise more than the journey has.
fn report_overallocation(raw: &raw::Journey, layers: &[Spanned<raw::Layer>], findings: &mut Findings) {
    let Some(Spanned { value: Latency(total_ns), span }) = raw.budget.get() else { return };
    let reserve_ns = match raw.reserve.copied() {
        Some(raw::Reserve::Share(share)) => Allocation::share_ns(*total_ns, share.0),
        Some(raw::Reserve::Fixed(Latency(ns))) => ns,
        None => 0,
    };
    let layers_ns = layers.iter().filter_map(|layer| layer.value.budget.copied()).map(|Latency(ns)| ns).collect();
    let allocation = Allocation { total_ns: *total_ns, reserve_ns, layers_ns };
    let Some(excess_ns) = allocation.excess_ns() else { return };
    let layers = show_ns(allocation.layers_ns.iter().sum());
    let reserve = if reserve_ns > 0 { format!(" and the reserve of {}", show_ns(reserve_ns)) } else { String::new() };
    let (excess, total) = (show_ns(excess_ns), show_ns(*total_ns));
    let message = format!("the layers' {layers}{reserve} exceed the journey's budget of {total} by {excess}");
    let help = "lower a layer's budget or the reserve, or raise the journey's; layers that run side by side may \
                overlap";
    findings.add(Diagnostic::warning(*span, message).help(help));
}

/// One objective: what it says itself, and what its journey says for all layers.
struct Slo<'a> {
    journey: Option<&'a str>,
    layer: Option<&'a Field<String>>,
    of: &'a raw::Objective,
    above: Option<&'a raw::Objective>,
    at: Span,
}

impl Slo<'_> {
    fn field<T>(&self, get: fn(&raw::Objective) -> &Field<T>) -> &Field<T> {
        let own = get(self.of);
        self.above.map_or(own, |above| own.or(get(above)))
    }

    /// What can be judged by itself, where it is written.
    fn report_shared(&self, context: &mut Context<'_>) {
        if let Some(Spanned { value, span }) = self.of.objective.get()
            && (value.0 == 0 || value.0 >= MILLION)
        {
            let (message, help) = match value.0 {
                0 => ("an objective of 0% asks for nothing", "write, for example, 99%"),
                MILLION => ("an objective of 100% leaves no error budget to burn", "write, for example, 99.99%"),
                _ => ("an objective is a share of requests, below 100%", "write, for example, 99.9%"),
            };
            context.findings.add(Diagnostic::error(*span, message).help(help));
        }
        if let Some(Spanned { value, span }) = self.of.period.get()
            && !periods(context).contains(value)
        {
            let least = periods(context).start().to_string();
            let message = format!("a period of {value} is not between two polls ({least}) and {LONGEST_PERIOD}");
            context.findings.error(*span, message);
        }
        if let Some(Spanned { value, span }) = self.of.max_by.get()
            && !(1..=MAX_MAX_BY).contains(value)
        {
            context.findings.error(*span, format!("'max_by' lies between 1 and {MAX_MAX_BY}"));
        }
        if let Some(Spanned { value, span }) = self.of.runbook.get()
            && let Err(why) = crate::config::types::checked_url(value)
        {
            let message = format!("'{}' is not an http address", clipped(value));
            context.findings.add(Diagnostic::error(*span, message).label(why));
        }
        for (name, _) in self.of.labels.value().map_or(&[][..], |labels| &labels.0) {
            check_label(name, context.findings);
        }
        for name in self.of.by.value().into_iter().flatten() {
            check_label(name, context.findings);
        }
    }

    fn build(
        &self,
        budget: &Field<Latency>,
        histogram: &Field<String>,
        catalogue: &Catalogue,
        context: &mut Context<'_>,
    ) -> Option<(SloSpec, Selector)> {
        let selector = selector(histogram, context);
        let objective = self.field(|raw| &raw.objective);
        if objective.is_absent() {
            let (what, where_else) = match self.layer {
                Some(_) => ("a layer", ", here or in its journey"),
                None => ("a journey", ""),
            };
            let diagnostic = Diagnostic::error(self.at, format!("{what} needs 'objective'{where_else}"));
            context.findings.add(diagnostic.help("write, for example, objective: 99.9%"));
        }
        let labels = self.labels();
        let by = self.by(&labels, context);
        let period = self.field(|raw| &raw.period).copied().unwrap_or(DEFAULT_PERIOD);
        let period = if periods(context).contains(&period) { period } else { LONGEST_PERIOD };
        let objective_ppm = objective.copied().map(|percent| percent.0).filter(|ppm| (1..MILLION).contains(ppm));
        let rules = self.rules(objective_ppm, period, catalogue, context);
        let text = |field: &Field<String>| field.value().cloned();
        let slo = SloSpec {
            journey: self.journey?.to_owned(),
            layer: match self.layer {
                Some(name) => Some(name.value()?.clone()),
                None => None,
            },
            tier: text(self.field(|raw| &raw.tier)),
            owner: text(self.field(|raw| &raw.owner)),
            runbook: text(self.field(|raw| &raw.runbook)),
            labels,
            selector: histogram.value()?.clone(),
            budget_s: budget.copied()?.0 as f64 / 1e9,
            objective_ppm: objective_ppm?,
            period,
            between: self.field(|raw| &raw.between).copied().unwrap_or_default(),
            new_series: self.field(|raw| &raw.new_series).copied().unwrap_or_default(),
            by,
            max_by: self.field(|raw| &raw.max_by).copied().unwrap_or(DEFAULT_MAX_BY) as usize,
            rules,
        };
        Some((slo, selector?))
    }

    /// The journey's labels, overridden one by one by the layer's.
    fn labels(&self) -> Labels {
        let entries = |raw: &raw::Objective| -> Labels {
            let named = raw.labels.value().map_or(&[][..], |labels| &labels.0);
            named.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect()
        };
        let mut labels = self.above.map(entries).unwrap_or_default();
        labels.extend(entries(self.of));
        labels
    }

    fn by(&self, labels: &Labels, context: &mut Context<'_>) -> Vec<String> {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for name in self.field(|raw| &raw.by).value().into_iter().flatten() {
            if labels.contains_key(&name.value) {
                let message = format!("'{}' is both in 'by' and in 'labels'", clipped(&name.value));
                context.findings.error(name.span, message);
            }
            if let Some(first) = seen.insert(&name.value, name.span) {
                let message = format!("'{}' stands in this list twice", clipped(&name.value));
                context.findings.add(Diagnostic::error(name.span, message).also(first, "first here"));
            }
        }
        seen.into_keys().map(str::to_owned).collect()
    }

    fn rules(
        &self,
        objective_ppm: Option<u32>,
        period: Duration,
        catalogue: &Catalogue,
        context: &mut Context<'_>,
    ) -> Vec<Rule> {
        let field = self.field(|raw| &raw.rules);
        let list = field.value().map_or(&[][..], Vec::as_slice);
        if list.is_empty() && !matches!(field, Field::Bad) {
            let at = field.key().unwrap_or(self.at);
            let diagnostic = Diagnostic::warning(at, "no rule watches this, so it will never alert");
            context.findings.add(diagnostic.help("write, for example, rules: [standard]"));
        }
        let mut resolved = catalogue.resolve(bounded(list, context.findings), context.findings);
        if let Some((_, at)) = resolved.get(MAX_RULES) {
            context.findings.error(*at, format!("more than {MAX_RULES} rules watch this"));
            resolved.truncate(MAX_RULES);
        }
        let mut rules = Vec::with_capacity(resolved.len());
        for (defined, at) in resolved {
            let Some(rule) = &defined.rule else { continue };
            if let Some(objective_ppm) = objective_ppm {
                report_unreachable(rule, (objective_ppm, period), (at, defined.limit_at), context.findings);
            }
            rules.push(rule.clone());
        }
        rules
    }
}

fn periods(context: &Context<'_>) -> RangeInclusive<Duration> {
    Duration::from_ms(context.interval.ms() * 2)..=LONGEST_PERIOD
}

fn selector(field: &Field<String>, context: &mut Context<'_>) -> Option<Selector> {
    let text = field.get()?;
    match Selector::parse(&text.value) {
        Ok(selector) => Some(selector),
        Err(error) => {
            let at = context.inside(text, error.at);
            let diagnostic = Diagnostic::error(at, "not a selector of a histogram").label(error.message);
            context.findings.add(diagnostic.help("write 'request_duration_seconds{layer=\"edge\"}'"));
            None
        }
    }
}
