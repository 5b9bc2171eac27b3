//! What a report says before it goes into detail, and after: the figures, the budgets, what was held back, and what is
//! not known.

use maud::{Markup, html};

use super::layer::Layer;
use super::{Report, words};
use crate::engine::rule::Urgency;
use crate::engine::time::Duration;
use crate::replay::text;

/// SLOs that are named for not having been seen in full.
const MAX_NAMED: usize = 20;

/// The range and what was done.
pub fn heading(report: &Report<'_>) -> Markup {
    let document = report.document;
    let interval = Duration::from_ms((document.interval_s * 1000.0) as i64);
    html! {
        p {
            (document.to.since(document.from).coarse()) ", "
            time datetime=(document.from) { (words::time(document.from)) } " to "
            time datetime=(document.to) { (words::time(document.to)) } " UTC. "
            (text::grouped(document.evaluations)) " slots of " (interval) " evaluated; nothing was sent."
        }
    }
}

/// The figures at a glance.
pub fn figures(report: &Report<'_>) -> Markup {
    let document = report.document;
    let (pages, others) = (document.opened(Urgency::Page), document.opened(Urgency::Ticket));
    let weeks = document.to.since(document.from).secs() / 604_800.0;
    let spent = document.slos.iter().filter(|slo| slo.events > 0).map(|slo| slo.budget_consumed);
    let worst = spent.fold(0.0, f64::max);
    let unseen = document.missed.slots + document.missed.partial;
    let figure = |number: String, what: &str, more: String, class: &str| {
        html! {
            div.figure {
                dt { (what) }
                dd { b class=(class) { (number) } @if !more.is_empty() { " " small { (more) } } }
            }
        }
    };
    let a_week = if weeks >= 1.0 { format!("{:.1} a week", pages as f64 / weeks) } else { String::new() };
    html! {
        dl.figures {
            (figure(document.incidents.len().to_string(), "Incidents", String::new(), ""))
            (figure(pages.to_string(), "Pages", a_week, if pages > 0 { "bad" } else { "" }))
            (figure(others.to_string(), "Warnings and tickets", String::new(), ""))
            (figure(format!("{:.0}%", 100.0 * worst), "Most budget spent", "of these requests' budget".into(), if worst >= 1.0 { "bad" } else { "" }))
            (figure(text::grouped(unseen), "Slots not seen in full", String::new(), if unseen > 0 { "poor" } else { "" }))
        }
    }
}

/// Why not all of it is here, if so.
pub fn warnings(report: &Report<'_>, layers: &[Layer<'_>]) -> Markup {
    let missed = report.document.missed;
    let unseen = layers.iter().map(|layer| (layer, layer.sights())).filter(|(_, sights)| sights.unseen() > 0);
    let unseen: Vec<_> = unseen.collect();
    html! {
        @if let Some(why) = &report.broken {
            p.notice role="note" { strong { "Reading ended early. " } (why) ". This page shows what was read until then." }
        } @else if report.document.to < report.samples.to {
            p.notice role="note" {
                strong { "Stopped early. " } "What follows " (words::time(report.document.to)) " UTC was not replayed."
            }
        }
        @if missed.slots + missed.partial > 0 || !unseen.is_empty() {
            div.notice role="note" {
                p {
                    strong { "Not all data was there. " }
                    (text::grouped(missed.slots)) " slots without an answer, " (text::grouped(missed.partial)) " with a partial one."
                }
                @for (layer, sights) in unseen.iter().take(MAX_NAMED) {
                    p { a href={ "#" (layer.id) } { (layer.name) } ": " (sights.in_words()) " slots." }
                }
                @if unseen.len() > MAX_NAMED { p { "And " (unseen.len() - MAX_NAMED) " more SLOs." } }
            }
        }
    }
}

pub fn budgets(report: &Report<'_>, layers: &[Layer<'_>]) -> Markup {
    html! {
        section id="budgets" aria-labelledby="budgets-h" {
            h2 id="budgets-h" { "Budgets" }
            div.wide tabindex="0" role="group" aria-label="Budgets" {
                table.stack {
                    thead {
                        tr {
                            th scope="col" { "SLO" } th.number scope="col" { "Latency budget" }
                            th.number scope="col" { "Objective" } th.number scope="col" { "Requests" }
                            th.number scope="col" { "Slow" } th.number scope="col" { "Budget spent" } th scope="col" { span.unseen { "As a bar" } }
                        }
                    }
                    tbody {
                        @for slo in &report.document.slos {
                            @let name = crate::engine::histogram::place(&slo.journey, slo.layer.as_deref(), &slo.labels);
                            @let section = layers.iter().find(|layer| layer.name == name);
                            tr {
                                th scope="row" {
                                    @match section { Some(layer) => { a href={ "#" (layer.id) } { (name) } }, None => { (name) } }
                                }
                                td.number data-label="Latency budget" { (words::digits(slo.budget_ms)) "ms" }
                                td.number data-label="Objective" { (f64::from(slo.objective_ppm) / 1e4) "%" }
                                td.number data-label="Requests" { (text::grouped(slo.events)) }
                                td.number data-label="Slow" { (text::grouped(slo.bad_events)) }
                                @if slo.events == 0 { td.number { "–" } td { "no requests" } } @else {
                                    @let class = if slo.budget_consumed >= 1.0 { "bad" } else if slo.budget_consumed >= 0.8 { "poor" } else { "good" };
                                    td.number data-label="Budget spent" { span.(class) { (format!("{:.1}%", 100.0 * slo.budget_consumed)) } }
                                    td {
                                        svg.share.(class) width="100" height="8" aria-hidden="true" {
                                            rect.whole width="100" height="8" {}
                                            rect.spent width=(format!("{:.1}", 100.0 * slo.budget_consumed.clamp(0.0, 1.0))) height="8" {}
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            p.about { "Spent: the share of the error budget of the requests of this range, slow requests over those allowed." }
        }
    }
}

/// What was not told and why, and what that took.
pub fn held_back(report: &Report<'_>) -> Markup {
    let document = report.document;
    let [evaluations, notifications] = text::held_back(&document.held_back);
    html! {
        section id="held-back" aria-labelledby="held-back-h" {
            h2 id="held-back-h" { "Rules, and what was held back" }
            ul {
                @for (rule, (alerts, longest)) in document.by_rule() {
                    li { b { (alerts) } " alerts of " b { (rule) } ", the longest " (longest.coarse()) }
                }
                @if document.alerts.is_empty() { li { "No rule fired." } }
            }
            (counts("Evaluations held back", &evaluations))
            (counts("Notifications held back", &notifications))
            @if !document.maintenance.is_empty() {
                h3 { "Maintenance" }
                ul {
                    @for window in &document.maintenance {
                        li {
                            b { (window.name) } ", "
                            @if window.times == 1 { "once" } @else { (window.times) " times" }
                            ", " (window.open.coarse()) " in all; "
                            @if window.counts { "requests counted" } @else { "no request counted" } " meanwhile"
                        }
                    }
                }
            }
        }
    }
}

fn counts(what: &str, counts: &[(u64, &str)]) -> Markup {
    html! {
        @if counts.iter().any(|(count, _)| *count > 0) {
            h3 { (what) }
            ul { @for (count, why) in counts.iter().filter(|it| it.0 > 0) { li { b { (text::grouped(*count)) } " " (why) } } }
        }
    }
}
