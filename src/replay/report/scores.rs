//! How much the rules disturb, and how they fare against incidents that are known to have happened.

use maud::{Markup, html};

use super::{Report, words};
use crate::engine::time::Duration;
use crate::replay::score::text::{both, some};
use crate::replay::score::{Count, Figures, Known, Outcome, Percent, Score, Statistics};

/// Rates over less than this mean little.
const WEEK: Duration = Duration::from_days(7);

/// The sections, as far as there is anything to say.
pub fn sections(report: &Report<'_>) -> Markup {
    html! {
        @if let Some(score) = &report.document.score { (known(score)) }
        @if let Some(statistics) = &report.document.statistics { (noise(report, statistics)) }
    }
}

fn noise(report: &Report<'_>, it: &Statistics) -> Markup {
    let told = Count { pages: it.pages, tickets: it.tickets };
    let long = report.document.to.since(report.document.from) >= WEEK;
    let spared = &it.spared;
    html! {
        section id="noise" aria-labelledby="noise-h" {
            h2 id="noise-h" { "Noise" }
            ul {
                li {
                    b { (told) } " (warnings among them)"
                    @if let (true, Some(pages), Some(tickets)) = (long, it.pages_a_week, it.tickets_a_week) {
                        (format!(": {pages:.1} and {tickets:.1} a week"))
                    }
                }
                li { b { (some(it.pages_at_night, "page")) } " at night, 22:00 to 07:00 " (it.time_zone) }
                li {
                    "Longest without a page: " b { (it.longest_quiet.to.since(it.longest_quiet.from).coarse()) } ", from "
                    (words::time(it.longest_quiet.from))
                }
                @for (what, noisiest) in [("layer", &it.noisiest_layer), ("rule", &it.noisiest_rule)] {
                    @if let Some(noise) = noisiest {
                        li { "Noisiest " (what) ": " b { (noise.name) } ", with " (noise.count) }
                    }
                }
                @if spared.by_incidents != Count::default() {
                    li { "Spared by incidents: " b { (spared.by_incidents) } ", of alerts that joined one" }
                }
                @if spared.by_consecutive_at_most != Count::default() {
                    li { "Spared by consecutive windows: at most " b { (spared.by_consecutive_at_most) } }
                }
                @if spared.notifications > 0 {
                    li { "Spared by silences, hours and the like: " b { (some(spared.notifications, "notification")) } ", one a receiver" }
                }
            }
        }
    }
}

fn known(score: &Score) -> Markup {
    let overall = &score.overall;
    html! {
        section id="score" aria-labelledby="score-h" {
            h2 id="score-h" { "Against " (some(score.incidents.len() as u64, "known incident")) }
            p {
                b { (overall.detected) } " detected" @if overall.early > 0 { ", " (overall.early) " of them early" }
                ", " b { (overall.missed) } " missed"
                @if let Some(recall) = overall.recall { "; recall " b { (Percent(recall)) } }
                ". " b { (some(overall.pages, "page")) } ", " (overall.unexplained_pages) " of them unexplained"
                @if let Some(precision) = overall.precision { "; precision " b { (Percent(precision)) } }
                "."
            }
            @if !score.incidents.is_empty() {
                (rules(score))
                (outcomes(&score.incidents))
            }
            @if !score.unexplained.is_empty() {
                h3 { "Pages that no incident explains" }
                ul { @for page in &score.unexplained { li { (words::time(page.at)) " " (page.summary) } } }
            }
            @if !score.not_counted.is_empty() {
                h3 { "Not counted, as they are not within the replayed range" }
                ul { @for known in &score.not_counted { li { (words::time(known.start)) " " (named(known)) } } }
            }
        }
    }
}

fn rules(score: &Score) -> Markup {
    let rules = score.rules.iter().map(|rule| (rule.rule.as_str(), rule.urgency.as_str(), &rule.figures));
    let rows = [("all rules", "", &score.overall)].into_iter().chain(rules);
    html! {
        div.wide tabindex="0" role="group" aria-label="Scores of rules" {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "Rule" } th.number scope="col" { "Found" }
                        th.number scope="col" { "Delay, median" } th.number scope="col" { "Delay, worst" }
                        th.number scope="col" { "Reset delay, median" } th.number scope="col" { "Reset delay, worst" }
                        th.number scope="col" { "Budget before" } th.number scope="col" { "Unexplained pages" }
                        th.number scope="col" { "Tickets" }
                    }
                }
                tbody { @for (name, urgency, figures) in rows { (row(name, urgency, figures)) } }
            }
        }
        p.about {
            "Each rule as if it were the only one. One that pages nobody is judged by its critical tickets. Delays count from \
             an incident's start to its first page, reset delays from its end to the end of the last one."
        }
    }
}

fn row(name: &str, urgency: &str, figures: &Figures) -> Markup {
    let [delay, worst_delay] = both(figures.delay);
    let [reset, worst_reset] = both(figures.reset_delay);
    let budget = figures.budget_before_page.map_or_else(|| "-".to_owned(), |it| Percent(it.median).to_string());
    html! {
        tr {
            th scope="row" { (name) " " small { (urgency) } }
            td.number data-label="Found" { (figures.detected) " of " (figures.detected + figures.missed) }
            td.number data-label="Delay, median" { (delay) }
            td.number data-label="Delay, worst" { (worst_delay) }
            td.number data-label="Reset delay, median" { (reset) }
            td.number data-label="Reset delay, worst" { (worst_reset) }
            td.number data-label="Budget before" { (budget) }
            td.number data-label="Unexplained pages" { (figures.unexplained_pages) " of " (figures.pages) }
            td.number data-label="Tickets" { (figures.tickets) }
        }
    }
}

fn outcomes(outcomes: &[Outcome]) -> Markup {
    let length = |length: Option<Duration>| length.map_or_else(|| "-".to_owned(), |length| length.coarse().to_string());
    html! {
        h3 { "Incident by incident" }
        div.wide tabindex="0" role="group" aria-label="Known incidents" {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "Began (UTC)" } th scope="col" { "What" } th scope="col" { "Lasted" }
                        th scope="col" { "Paged after" } th scope="col" { "Budget before" }
                        th scope="col" { "Reset delay" }
                    }
                }
                tbody {
                    @for outcome in outcomes {
                        @let known = &outcome.known;
                        tr {
                            th scope="row" { (words::time(known.start)) }
                            td { (named(known)) @if let Some(note) = &known.note { " " small { (note) } } }
                            td data-label="Lasted" { (known.end.since(known.start).coarse()) }
                            td data-label="Paged after" {
                                @match (outcome.delay, outcome.page_stood_since) {
                                    (Some(_), _) if outcome.early => { span.good { "a page stood as it began" } },
                                    (Some(delay), _) => {
                                        @if let Some(page) = outcome.joined_page_of {
                                            "joined the page of " (words::time(page)) " after " (delay.coarse())
                                        } @else { span.good { (delay.coarse()) } }
                                    },
                                    (None, Some(since)) => {
                                        span.bad { "missed" } ": the page of " (words::time(since)) " stood, about something else"
                                    },
                                    (None, None) => { span.bad { "missed" } },
                                }
                            }
                            @let budget = outcome.budget_before_page.filter(|_| !outcome.early);
                            td data-label="Budget before" { (budget.map_or_else(|| "-".to_owned(), |it| Percent(it).to_string())) }
                            td data-label="Reset delay" { (length(outcome.reset_delay)) }
                        }
                    }
                }
            }
        }
    }
}

fn named(known: &Known) -> String {
    match &known.layer {
        Some(layer) => format!("{}/{layer}", known.journey),
        None => known.journey.clone(),
    }
}
