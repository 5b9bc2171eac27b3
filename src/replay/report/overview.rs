//! What a report says before it goes into detail, and after: the figures, the budgets, what was held back, and what is
//! not known.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::layer::Layer;
use super::{Report, words};
use crate::engine::rule::Urgency;
use crate::engine::time::Duration;
use crate::replay::text;

/// SLOs that are named for not having been seen in full, and lines of them.
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
pub fn figures(report: &Report<'_>, layers: &[Layer<'_>]) -> Markup {
    let document = report.document;
    let (pages, others) = (document.opened(Urgency::Page), document.opened(Urgency::Ticket));
    let weeks = document.to.since(document.from).secs() / 604_800.0;
    let spent = document.slos.iter().filter(|slo| slo.events > 0).map(|slo| slo.budget_consumed);
    let worst = spent.reduce(f64::max);
    let of_all = document.missed.slots + document.missed.partial;
    let worst_seen = layers.iter().map(Layer::sights).max_by_key(|sights| sights.unseen() + sights.partial);
    let of_worst = worst_seen.map_or(0, |sights| u64::from(sights.unseen() + sights.partial));
    let unseen = of_all.max(of_worst);
    let seen_worst = if of_worst > of_all { "of the SLO that was seen least" } else { "" };
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
            @match worst {
                Some(worst) => (figure(format!("{:.0}%", 100.0 * worst), "Most budget spent", "of these requests' budget".into(), if worst >= 1.0 { "bad" } else { "" })),
                None => (figure("–".into(), "Most budget spent", "no requests".into(), "")),
            }
            (figure(text::grouped(unseen), "Slots not seen in full", seen_worst.into(), if 1000 * unseen >= document.evaluations.max(1) { "poor" } else { "" }))
        }
    }
}

/// Why not all of it is here, if so.
pub fn warnings(report: &Report<'_>, layers: &[Layer<'_>]) -> Markup {
    let missed = report.document.missed;
    let unseen = unseen(layers);
    let is_little = 1000 * (missed.slots + missed.partial) < report.document.evaluations
        && layers.iter().all(|layer| layer.sights().is_nearly_whole());
    html! {
        @if let Some(why) = &report.broken {
            p.notice role="note" { strong { "Reading ended early. " } (why) ". This page shows what was read until then." }
        } @else if report.document.to < report.samples.to {
            p.notice role="note" {
                strong { "Stopped early. " } "What follows " (words::time(report.document.to)) " UTC was not replayed."
            }
        }
        @if missed.slots + missed.partial > 0 || !unseen.is_empty() {
            div.(if is_little { "about" } else { "notice" }) role="note" {
                p {
                    @if is_little { "Nearly all data was there. " } @else { strong { "Not all data was there. " } }
                    @if missed.slots + missed.partial > 0 {
                        (text::grouped(missed.slots)) " slots without an answer, " (text::grouped(missed.partial)) " with a partial one."
                    }
                }
                @for (said, layers) in unseen.iter().take(MAX_NAMED) { (unseen_line(said, layers)) }
                @if unseen.len() > MAX_NAMED {
                    p { "And " (unseen[MAX_NAMED..].iter().map(|(_, layers)| layers.len()).sum::<usize>()) " more SLOs." }
                }
            }
        }
    }
}

/// What was not seen, in words, each with the SLOs it is said of; most first.
fn unseen<'l, 'a>(layers: &'l [Layer<'a>]) -> Vec<(String, Vec<&'l Layer<'a>>)> {
    let mut unseen: Vec<_> = layers.iter().filter(|layer| layer.sights().unseen() > 0).collect();
    unseen.sort_by_key(|layer| Reverse(layer.sights().unseen()));
    let mut lines: Vec<(String, Vec<&Layer<'_>>)> = Vec::new();
    for layer in unseen {
        let said = layer.sights().in_words();
        match lines.iter_mut().find(|(known, _)| *known == said) {
            Some((_, layers)) => layers.push(layer),
            None => lines.push((said, vec![layer])),
        }
    }
    lines
}

fn unseen_line(said: &str, layers: &[&Layer<'_>]) -> Markup {
    html! {
        p {
            @for (number, layer) in layers.iter().take(MAX_NAMED).enumerate() {
                @if number > 0 { ", " } a href={ "#" (layer.id) } { (layer.name) }
            }
            @if layers.len() > MAX_NAMED { " and " (layers.len() - MAX_NAMED) " more SLOs" }
            @if layers.len() > 1 { ", each" } ": " (said) " slots."
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
                                @if slo.events == 0 { td.number data-label="Budget spent" { "– " small { "no requests" } } td {} } @else {
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
