//! The section of one SLO: a plot for each rule on its burn rate, its latencies, its budget, and its alerts.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, PreEscaped, html};
use serde_json::json;

use super::Report;
use super::axis::{Scale, TimeAxis};
use super::plot::{self, Backdrop, Band, LimitLine, Line, NEAR, Plot};
use super::samples::{Gauge, MAX_USAGE, Sights, SloSamples, TOLD};
use super::words::{self, Unit};
use crate::engine::alert::AlertRecord;
use crate::engine::histogram::place;
use crate::engine::rule::{Limit, Rule, Stage};
use crate::engine::sli::SloSpec;
use crate::engine::time::{Duration, Timestamp};

/// More alerts of one SLO than this are counted and not listed ...
const MAX_ALERTS: usize = 200;
/// ... and fewer where there are many SLOs: all lists together are about a megabyte.
const MAX_ALERTS_IN_ALL: usize = 5_000;
/// With less of a period seen, what is left of its budget says little.
const SURE: f32 = 0.95;
/// SLOs that are plotted, at most: some 30 kB each, and nobody looks through more.
pub const MAX_PLOTTED: usize = 200;

/// One SLO with all that a report knows of it.
pub struct Layer<'a> {
    /// The anchor of its section.
    pub id: String,
    /// `journey/layer{name="value"}`.
    pub name: String,
    pub spec: &'a SloSpec,
    pub samples: &'a SloSamples,
    pub alerts: Vec<&'a AlertRecord>,
    pub is_plotted: bool,
}

/// All of them, as the configuration has them; instances by their labels. Where they are too many, those are plotted
/// that came nearest to a limit.
pub fn layers<'a>(report: &Report<'a>) -> Vec<Layer<'a>> {
    let mut samples: Vec<&SloSamples> = report.samples.slos.iter().collect();
    samples.sort_by(|a, b| (a.template, &a.labels).cmp(&(b.template, &b.labels)));
    let layer = |(number, samples): (usize, &'a SloSamples)| {
        let spec = &report.spec.slos[samples.template];
        let name = place(&spec.journey, spec.layer.as_deref(), &samples.labels);
        let is_its = |alert: &&AlertRecord| {
            (&alert.journey, &alert.layer, &alert.labels) == (&spec.journey, &spec.layer, &samples.labels)
        };
        // Two names may differ by characters only that no anchor has.
        let id = format!("slo-{}-{}", number + 1, words::slug(&name));
        let alerts = report.document.alerts.iter().filter(is_its).collect();
        Layer { id, name, spec, samples, alerts, is_plotted: true }
    };
    let mut layers: Vec<Layer<'a>> = samples.into_iter().enumerate().map(layer).collect();
    let mut nearest: Vec<usize> = (0..layers.len()).collect();
    nearest.sort_by(|a, b| layers[*b].peak_usage().total_cmp(&layers[*a].peak_usage()));
    nearest.into_iter().skip(MAX_PLOTTED).for_each(|number| layers[number].is_plotted = false);
    layers
}

impl Layer<'_> {
    pub fn render(&self, report: &Report<'_>) -> Markup {
        let spec = self.spec;
        html! {
            details.layer id=(self.id) open {
                summary { h3 { (self.name) } }
                p.about {
                    "Latency budget " b { (Unit::Milliseconds.words(spec.budget_s * 1000.0)) }
                    ", objective " b { (f64::from(spec.objective_ppm) / 1e4) "%" }
                    ", period " b { (spec.period) }
                    @if let Some(owner) = &spec.owner { ", owner " b { (owner) } }
                    ". " (self.unseen())
                }
                @if self.is_plotted { (self.plotted(report)) } @else { p.about { "Not plotted." } }
                (self.alerts(report))
            }
        }
    }

    fn plotted(&self, report: &Report<'_>) -> Markup {
        let axis = TimeAxis::of(report.samples);
        let incidents = incidents_of(report, &self.spec.journey);
        let known = known_of(report, self.spec);
        let backdrop = Backdrop { axis, incidents: &incidents, known: &known, sights: &self.samples.sights };
        let plots = self.plots(report);
        html! {
            div.plots {
                @for plot in &plots { (plot.render(&backdrop)) }
            }
            script type="application/json" { (PreEscaped(self.data(&plots, axis))) }
        }
    }

    /// The greatest share of a limit that was in use.
    fn peak_usage(&self) -> f64 {
        self.samples.peaks.iter().flatten().map(|peak| peak.usage).fold(0.0, f64::max)
    }

    fn plots(&self, report: &Report<'_>) -> Vec<Plot<'_>> {
        let rules = &self.spec.rules;
        let mut plots: Vec<Plot<'_>> = rules.iter().filter_map(|rule| self.burn_rate(rule, report)).collect();
        plots.extend(self.latency(report));
        plots.push(self.budget(report));
        plots.extend((0..rules.len()).filter_map(|rule| self.exhaustion(rule, report)));
        plots
    }

    fn plot(&self, name: &str, title: String, about: String, unit: Unit) -> Plot<'_> {
        let scale = Scale::Linear { low: 0.0, high: 1.0 };
        let id = format!("{}-{}", self.id, words::slug(name));
        Plot {
            id,
            title,
            about,
            unit,
            scale,
            lines: Vec::new(),
            limits: Vec::new(),
            stages: Vec::new(),
            unsure: Vec::new(),
            cap: None,
        }
    }

    fn line(&self, gauge: Gauge, label: String, weight: &'static str) -> Option<Line<'_>> {
        let extents = self.samples.track(gauge)?;
        Some(Line { label, weight, lowest: gauge == Gauge::BudgetLeft, extents })
    }

    fn burn_rate(&self, rule: &Rule, report: &Report<'_>) -> Option<Plot<'_>> {
        let Limit::BurnRate { factor, long, short } = rule.limit else { return None };
        let [warning, critical] = thresholds(rule).map(|share| share * factor);
        let about = format!(
            "{}: burn rate over {long} and {short}, critical from {}, warning from {}.{}",
            rule.urgency.as_str(),
            Unit::Factor.words(critical),
            Unit::Factor.words(warning),
            self.peak_of(rule)
        );
        let mut plot =
            self.plot(&format!("rule-{}", self.index_of(rule)), format!("Rule {}", rule.name), about, Unit::Factor);
        plot.lines.extend(self.line(Gauge::BurnRate(long), format!("{long}"), "strong"));
        if short != long {
            plot.lines.extend(self.line(Gauge::BurnRate(short), format!("{short}"), "weak"));
        }
        plot.limits = limits([warning, critical]);
        plot.scale = Scale::up_to(highest(&plot.lines).max(critical), 1.0);
        plot.stages = self.stages(report, |name| name == rule.name);
        Some(plot)
    }

    fn latency(&self, report: &Report<'_>) -> Option<Plot<'_>> {
        let budget_ms = self.spec.budget_s * 1000.0;
        let mut rules = Vec::new();
        let mut plot = self.plot("latency", "Latency".into(), String::new(), Unit::Milliseconds);
        let told = self.samples.tracks.iter().filter_map(|track| match track.gauge {
            Gauge::Quantile { quantile, over } => Some((quantile, over, track.gauge)),
            _ => None,
        });
        for (number, (quantile, over, gauge)) in told.enumerate() {
            let weight = if number < TOLD.len() { ["faint", "weak", "strong"][number] } else { "medium" };
            let name = format!("p{} over {over}", words::digits(100.0 * quantile));
            plot.lines.extend(self.line(gauge, name, weight));
        }
        // The slowest first, as the keys have them and the eye finds them.
        plot.lines.reverse();
        if plot.lines.iter().all(|line| line.extents.iter().all(|extent| extent.is_none())) {
            return None;
        }
        let at = |value: f64, stage, label| LimitLine { value, stage, label };
        let budget = Unit::Milliseconds.words(budget_ms);
        plot.about = format!("Quantiles of all requests against the budget of {budget}.");
        plot.limits.push(at(budget_ms, Stage::Critical, "budget"));
        for rule in &self.spec.rules {
            let Limit::Latency { .. } = rule.limit else { continue };
            let [warning, critical] = thresholds(rule).map(|share| share * budget_ms);
            plot.limits.push(at(warning, Stage::Warning, "warning"));
            if critical != budget_ms {
                plot.limits.push(at(critical, Stage::Critical, "critical"));
            }
            let [warning, critical] = [warning, critical].map(|limit| Unit::Milliseconds.words(limit));
            plot.about.push_str(&format!(" Rule {}: critical from {critical}, warning from {warning}.", rule.name));
            rules.push(rule.name.as_str());
        }
        let (highest, top_ms) = (highest(&plot.lines), self.samples.top_ms);
        if top_ms > 0.0 && highest >= top_ms * NEAR {
            let top = Unit::Milliseconds.words(top_ms);
            plot.about.push_str(&format!(" The histogram ends at {top}: a curve there may be anything above."));
            plot.cap = Some((top_ms, format!("at least {top}")));
        }
        plot.scale = Scale::up_to(highest.max(budget_ms), budget_ms);
        plot.stages = self.stages(report, |name| rules.contains(&name));
        Some(plot)
    }

    fn budget(&self, report: &Report<'_>) -> Plot<'_> {
        let period = self.spec.period;
        let mut about = format!("Share of the error budget of the last {period} that is left.");
        let measured = || self.samples.coverage.iter().copied().filter(|coverage| !coverage.is_nan());
        let percent = |coverage: f32| Unit::Percent.words(f64::from(coverage));
        if let Some(first) = measured().find(|coverage| *coverage < SURE) {
            let sure = percent(SURE);
            about.push_str(&format!(
                " Tinted where less than {sure} of the {period} had been seen, {} at first.",
                percent(first)
            ));
        }
        if let Some(last) = measured().next_back().filter(|last| *last < 0.995) {
            about.push_str(&format!(" At the end {} of the {period} had been seen.", percent(last)));
        }
        let mut plot = self.plot("budget", "Error budget left".into(), about, Unit::Percent);
        plot.unsure = runs(&self.samples.coverage, |coverage| *coverage < SURE);
        plot.lines.extend(self.line(Gauge::BudgetLeft, "left".into(), "strong"));
        let mut rules = Vec::new();
        for rule in &self.spec.rules {
            let Limit::BudgetConsumed { share } = rule.limit else { continue };
            let [warning, critical] = thresholds(rule).map(|threshold| 1.0 - threshold * share);
            plot.limits.extend(limits([warning, critical]));
            rules.push(rule.name.as_str());
        }
        let lowest = plot.lines.iter().filter_map(Line::peak).map(|(_, value)| value).fold(0.0, f64::min);
        plot.scale = Scale::Linear { low: lowest, high: 1.0 };
        plot.stages = self.stages(report, |name| rules.contains(&name));
        plot
    }

    fn exhaustion(&self, index: usize, report: &Report<'_>) -> Option<Plot<'_>> {
        let rule = &self.spec.rules[index];
        let Limit::Exhaustion { within, short } = rule.limit else { return None };
        let about = format!(
            "{}: share of the limit in use; all of it where the budget would be gone within {within} at the rate of the \
             last {short}.{}",
            rule.urgency.as_str(),
            match self.samples.peaks[index] {
                Some(peak) if peak.usage >= MAX_USAGE => format!(" The budget was gone at {}.", words::time(peak.at)),
                _ => self.peak_of(rule),
            }
        );
        let mut plot = self.plot(&format!("rule-{index}"), format!("Rule {}", rule.name), about, Unit::Percent);
        plot.lines.extend(self.line(Gauge::Usage(index), "limit in use".into(), "strong"));
        plot.limits = limits(thresholds(rule));
        plot.cap = Some((MAX_USAGE, "budget gone".into()));
        plot.scale = Scale::up_to(highest(&plot.lines).max(1.0), 1.0);
        plot.stages = self.stages(report, |name| name == rule.name);
        Some(plot)
    }

    fn index_of(&self, rule: &Rule) -> usize {
        self.spec.rules.iter().position(|known| std::ptr::eq(known, rule)).unwrap_or_default()
    }

    /// ` At most 312% of the limit was in use, at ...`: the two windows of a rule rarely peak at the same time.
    fn peak_of(&self, rule: &Rule) -> String {
        match self.samples.peaks[self.index_of(rule)] {
            Some(peak) if peak.usage > MAX_USAGE => {
                format!(" Peak over {MAX_USAGE} times the limit at {}.", words::time(peak.at))
            }
            Some(peak) => {
                format!(" Peak {} of the limit at {}.", Unit::Percent.words(peak.usage), words::time(peak.at))
            }
            None => " Never evaluated: too little of its windows was seen.".into(),
        }
    }

    fn stages(&self, report: &Report<'_>, is_its: impl Fn(&str) -> bool) -> Vec<Band> {
        let alerts = self.alerts.iter().filter(|alert| is_its(&alert.rule));
        let end = report.document.to;
        alerts.map(|it| Band { from: it.fired_at, to: it.ended_at.unwrap_or(end), stage: it.stage }).collect()
    }

    /// How much of it was seen.
    pub fn sights(&self) -> Sights {
        let mut all = Sights::default();
        self.samples.sights.iter().for_each(|sights| all.join(*sights));
        all
    }

    fn unseen(&self) -> Markup {
        let all = self.sights();
        html! {
            @if all.unseen() + all.partial > 0 {
                span class=[(!all.is_nearly_whole()).then_some("poor")] { "Not all was seen: " (all.in_words()) " evaluations." }
            } @else { "Seen in full." }
        }
    }

    fn alerts(&self, report: &Report<'_>) -> Markup {
        let end = report.document.to;
        let listed = (MAX_ALERTS_IN_ALL / report.samples.slos.len().max(1)).min(MAX_ALERTS);
        html! {
            @if self.alerts.is_empty() { p.about { "No alerts." } } @else {
                details.numbers {
                    summary { (self.alerts.len()) " alerts" span.unseen { " of " (self.name) } }
                    div.wide tabindex="0" role="group" aria-label={ "Alerts of " (self.name) } {
                        table {
                            thead {
                                tr {
                                    th scope="col" { "Fired (UTC)" } th scope="col" { "Rule" } th scope="col" { "Stage" }
                                    th scope="col" { "Breach began" } th scope="col" { "Stood" }
                                    th scope="col" { "Peak of the limit" }
                                }
                            }
                            tbody {
                                @for alert in self.alerts.iter().take(listed) {
                                    tr {
                                        th scope="row" { (words::time(alert.fired_at)) }
                                        td { (alert.rule) }
                                        td { span.(alert.stage.as_str()) { (alert.stage.as_str()) } " " (alert.urgency.as_str()) }
                                        td { (words::time(alert.breached_at)) }
                                        td { (stood(alert, end)) }
                                        td { @if alert.peak_usage > MAX_USAGE { "over 10000%" } @else { (Unit::Percent.words(alert.peak_usage)) } }
                                    }
                                }
                            }
                        }
                        @if self.alerts.len() > listed {
                            p { (self.alerts.len() - listed) " more; the JSON document has them all." }
                        }
                    }
                }
            }
        }
    }

    /// What the tooltips tell.
    fn data(&self, plots: &[Plot<'_>], axis: TimeAxis) -> String {
        let plot = |plot: &Plot<'_>| {
            let line = |line: &Line<'_>| json!([line.label, line.data(plot.unit)]);
            json!({
                "title": plot.title, "unit": plot.unit.suffix(),
                "cap": plot.cap.as_ref().map(|(value, said)| json!([words::compact(plot.unit.scaled(*value)), said])),
                "low": plot.lines.first().is_some_and(|line| line.lowest),
                "lines": plot.lines.iter().map(line).collect::<Vec<_>>(),
            })
        };
        let mut gaps: Vec<(usize, String)> = Vec::new();
        for (stretch, sights) in self.samples.sights.iter().enumerate() {
            let said = sights.in_words();
            if gaps.last().map_or("", |(_, known)| known) != said {
                gaps.push((stretch, said));
            }
        }
        let data = json!({
            "start": axis.start.unix_ms() / 1000, "step": axis.stretch.ms() as f64 / 1000.0, "count": axis.stretches,
            "plots": plots.iter().map(plot).collect::<Vec<_>>(), "gaps": gaps,
        });
        // Nothing in it may end the element that holds it.
        data.to_string().replace('<', "\\u003c")
    }
}

/// Stretches in a row, from and to.
fn runs<T>(all: &[T], is_meant: impl Fn(&T) -> bool) -> Vec<(usize, usize)> {
    let mut from = 0;
    let runs = all.chunk_by(|a, b| is_meant(a) == is_meant(b)).filter_map(|run| {
        let (begin, end) = (from, from + run.len());
        from = end;
        is_meant(&run[0]).then_some((begin, end))
    });
    runs.collect()
}

fn stood(alert: &AlertRecord, end: Timestamp) -> String {
    let stood: Duration = alert.ended_at.unwrap_or(end).since(alert.fired_at).coarse();
    if alert.ended_at.is_some() { stood.to_string() } else { format!("{stood}, and still does") }
}

/// The incidents of each journey that is plotted, once for all plots of its layers.
pub fn incidents(report: &Report<'_>, layers: &[Layer<'_>]) -> Markup {
    let (axis, end) = (TimeAxis::of(report.samples), report.document.to);
    let journeys: BTreeSet<&str> =
        layers.iter().filter(|layer| layer.is_plotted).map(|layer| layer.spec.journey.as_str()).collect();
    let bands = |journey: &str| -> Vec<Band> {
        let its = report.document.incidents.iter().filter(|it| it.journey.as_deref() == Some(journey));
        its.map(|it| Band { from: it.opened_at, to: it.resolved_at.unwrap_or(end), stage: it.worst_stage }).collect()
    };
    html! {
        @for journey in journeys { g id=(incidents_of(report, journey)) { (plot::incidents(&axis, &bands(journey))) } }
    }
}

/// What is known to have happened, once for all plots: by journey, and by layer where that is known, too.
pub fn known(report: &Report<'_>) -> Markup {
    let axis = TimeAxis::of(report.samples);
    let mut bands: BTreeMap<(&str, Option<&str>), Vec<Band>> = BTreeMap::new();
    for it in report.known() {
        let band = Band { from: it.start, to: it.end, stage: Stage::Critical };
        bands.entry((&it.journey, it.layer.as_deref())).or_default().push(band);
    }
    html! {
        @for ((journey, layer), bands) in &bands { g id=(known_id(report, journey, *layer)) { (plot::known(&axis, bands)) } }
    }
}

/// The anchors of what is known of an SLO.
fn known_of(report: &Report<'_>, spec: &SloSpec) -> Vec<String> {
    let known = report.known();
    let mut layers = vec![None];
    layers.extend(spec.layer.as_deref().map(Some));
    let is_known =
        |layer: &Option<&str>| known.iter().any(|it| it.journey == spec.journey && it.layer.as_deref() == *layer);
    layers.into_iter().filter(is_known).map(|layer| known_id(report, &spec.journey, layer)).collect()
}

fn known_id(report: &Report<'_>, journey: &str, layer: Option<&str>) -> String {
    let is_its = |slo: &SloSpec| slo.journey == journey && (layer.is_none() || slo.layer.as_deref() == layer);
    let number = report.spec.slos.iter().position(is_its).unwrap_or_default();
    let of = if layer.is_some() { "layer" } else { "journey" };
    format!("known-{of}-{}", number + 1)
}

/// Two names may differ by characters only that no anchor has.
fn incidents_of(report: &Report<'_>, journey: &str) -> String {
    let number = report.spec.slos.iter().position(|slo| slo.journey == journey).unwrap_or_default();
    format!("incidents-{}-{}", number + 1, words::slug(journey))
}

/// Of warning and critical, as shares of the limit.
fn thresholds(rule: &Rule) -> [f64; 2] {
    [rule.warning_ppm, rule.critical_ppm].map(|ppm| f64::from(ppm) / 1e6)
}

fn limits([warning, critical]: [f64; 2]) -> Vec<LimitLine> {
    let line = |value: f64, stage: Stage| LimitLine { value, stage, label: stage.as_str() };
    vec![line(critical, Stage::Critical), line(warning, Stage::Warning)]
}

fn highest(lines: &[Line<'_>]) -> f64 {
    let highs = lines.iter().flat_map(|line| line.extents).map(|extent| f64::from(extent.high));
    highs.filter(|high| high.is_finite()).fold(0.0, f64::max)
}
