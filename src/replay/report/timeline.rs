//! Incidents on the time axis that the plots share, and as a table to which one can link.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::axis::TimeAxis;
use super::plot::{self, Band, span};
use super::told::News;
use super::{Report, words};
use crate::engine::alert::AlertRecord;
use crate::engine::notification::{Notification, Reason};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::{Duration, Timestamp};
use crate::replay::document::IncidentSummary;
use crate::replay::text;

/// Further incidents are counted.
const MAX_LISTED: usize = 1000;
/// Notifications of one incident that are linked to.
const MAX_LINKS: usize = 8;
/// The height of a journey's row in pixels: its name, and its bars.
const ROW_PX: usize = 42;
/// What it has more where incidents are known.
const KNOWN_PX: usize = 11;
/// Marks have so many places side by side: more would not be seen.
const MARK_PLACES: i64 = 2000;

/// All incidents with their anchors.
pub struct Incidents<'a> {
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    id: String,
    summary: &'a IncidentSummary,
    alerts: Vec<&'a AlertRecord>,
}

impl<'a> Incidents<'a> {
    pub fn of_report(report: &Report<'a>) -> Self {
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        let entry = |summary: &'a IncidentSummary| {
            let opened: String = summary.opened_at.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
            let mut id = format!("incident-{}-{}", words::slug(&summary.key), opened.to_lowercase());
            // Two keys may differ by characters only that no anchor has.
            let times = used.entry(id.clone()).or_default();
            *times += 1;
            if *times > 1 {
                id = format!("{id}-{times}");
            }
            Entry { id, summary, alerts: alerts(report, summary) }
        };
        Self { entries: report.document.incidents.iter().map(entry).collect() }
    }

    /// The anchor of the incident that a notification tells of, if it is listed.
    pub fn of(&self, told: &Notification) -> Option<&str> {
        self.index_of(told).map(|index| self.entries[index].id.as_str())
    }

    fn index_of(&self, told: &Notification) -> Option<usize> {
        let is_its = |it: &Entry<'_>| it.summary.key == told.incident && it.summary.opened_at <= told.at;
        self.entries.iter().rposition(is_its).filter(|index| *index < MAX_LISTED)
    }

    /// The section. Notifications that are not on the page are not linked to.
    pub fn section(&self, report: &Report<'_>, news: &[News<'_>], is_listed: impl Fn(usize) -> bool) -> Markup {
        let axis = TimeAxis::of(report.samples);
        let listed = &self.entries[..self.entries.len().min(MAX_LISTED)];
        let mut its: Vec<Vec<usize>> = vec![Vec::new(); listed.len()];
        for (index, news) in news.iter().enumerate() {
            self.index_of(news.first).into_iter().for_each(|entry| its[entry].push(index));
        }
        html! {
            section id="incidents" aria-labelledby="incidents-h" {
                h2 id="incidents-h" { "Incidents" }
                @if listed.is_empty() { p { "None." } }
                @if !(listed.is_empty() && report.known().is_empty()) {
                    p.about {
                        "A bar is an incident, a high one if it became critical; the long marks above it are pages and the \
                         short ones other notifications."
                        @if !report.known().is_empty() { " Dark bars below are incidents that are known to have happened." }
                        " The tables have the same, and links."
                    }
                    div.frame.timeline { span {} (drawing(listed, &axis, report, news)) }
                    div.frame { (plot::times()) }
                }
                @if !listed.is_empty() {
                    div.wide tabindex="0" role="group" aria-label="Incidents" {
                        table.stack {
                            thead {
                                tr {
                                    th scope="col" { "Opened (UTC)" } th scope="col" { "Incident" } th scope="col" { "Worst" }
                                    th scope="col" { "Lasted" } th scope="col" { "Where, by which rules" }
                                    th scope="col" { "Told" }
                                }
                            }
                            tbody {
                                @for (entry, its) in listed.iter().zip(&its) { (row(entry, report, news, its, &is_listed)) }
                            }
                        }
                    }
                    @if self.entries.len() > listed.len() {
                        p { (self.entries.len() - listed.len()) " more; the JSON document has them all." }
                    }
                }
            }
        }
    }
}

/// The incidents of each journey in a row, under the marks of what was told, over those that are known to have happened.
fn drawing(listed: &[Entry<'_>], axis: &TimeAxis, report: &Report<'_>, news: &[News<'_>]) -> Markup {
    let known = report.known();
    let known = &known[..known.len().min(MAX_LISTED)];
    let journeys = listed.iter().map(|entry| journey(entry.summary)).chain(known.iter().map(|it| it.journey.as_str()));
    let rows: Vec<&str> = journeys.collect::<BTreeSet<&str>>().into_iter().collect();
    let row_px = if known.is_empty() { ROW_PX } else { ROW_PX + KNOWN_PX };
    let top = |name: &str| row_px * rows.iter().position(|row| *row == name).unwrap_or_default();
    let end = report.document.to;
    html! {
        // The table after it says the same, and its links take the keyboard.
        svg.area width="100%" height=(row_px * rows.len()) aria-hidden="true" {
            use href="#ticks" {}
            @for row in &rows {
                text.row x="2" y=(top(row) + 12) { (row) }
                line.edge x1="0" x2="100%" y1=(top(row) + row_px) y2=(top(row) + row_px) {}
            }
            (marks(axis, news, row_px * rows.len(), top))
            @for entry in listed {
                @let it = entry.summary;
                @let band = Band { from: it.opened_at, to: it.resolved_at.unwrap_or(end), stage: it.worst_stage };
                @let (x, width) = span(axis, &band);
                // A warning is half as high, for those who cannot tell the colours apart.
                @let (y, height) = if it.worst_stage == Stage::Critical { (30, 11) } else { (36, 5) };
                a href={ "#" (entry.id) } tabindex="-1" {
                    title { (it.key) ", " (it.worst_stage.as_str()) ", " (words::time(it.opened_at)) ", " (lasted(it, end)) }
                    rect.bar.(it.worst_stage.as_str()) x=(x) width=(width) y=(top(journey(it)) + y) height=(height) {}
                }
            }
            @for it in known {
                @let (x, width) = span(axis, &Band { from: it.start, to: it.end, stage: Stage::Critical });
                rect.known x=(x) width=(width) y=(top(&it.journey) + 45) height="7" {
                    title { "known: " (words::time(it.start)) @if let Some(note) = &it.note { ", " (note) } }
                }
            }
        }
    }
}

/// Marks of what was told: pages are long, and there are so many repeats that those at one place are one.
fn marks<'r>(axis: &TimeAxis, news: &[News<'r>], height: usize, top: impl Fn(&'r str) -> usize) -> Markup {
    let mut places: BTreeSet<(bool, usize, i64)> = BTreeSet::new();
    for told in news.iter().map(|news| news.first) {
        let x = (axis.share(told.at).clamp(0.0, 1.0) * MARK_PLACES as f64).round() as i64;
        places.insert((is_page(told), top(told.journey.as_deref().unwrap_or(SOURCE)), x));
    }
    let path = |pages: bool| -> String {
        let (y, length) = if pages { (15, 13) } else { (22, 6) };
        let its = places.iter().filter(|place| place.0 == pages);
        its.map(|(_, top, x)| format!("M{x} {}v{length}", top + y)).collect()
    };
    html! {
        svg width="100%" height=(height) viewBox={ "0 0 " (MARK_PLACES) " " (height) } preserveAspectRatio="none" {
            path.tick d=(path(false)) {}
            path.tick.page d=(path(true)) {}
        }
    }
}

fn row(
    entry: &Entry<'_>,
    report: &Report<'_>,
    news: &[News<'_>],
    its: &[usize],
    is_listed: impl Fn(usize) -> bool,
) -> Markup {
    let summary = entry.summary;
    let is_repeat = |index: &usize| news[*index].first.reason == Reason::Repeated;
    let (repeats, mut told): (Vec<usize>, Vec<usize>) = its.iter().partition(|index| is_repeat(index));
    let left_out = told.len().saturating_sub(MAX_LINKS);
    // Where they are too many, what woke somebody is linked to.
    told.sort_by_key(|index| !is_page(news[*index].first));
    told.truncate(MAX_LINKS);
    told.sort_unstable();
    html! {
        tr id=(entry.id) tabindex="-1" {
            th scope="row" { a href={ "#" (entry.id) } { (words::time(summary.opened_at)) } }
            td { (summary.key) }
            td data-label="Worst" { span.(summary.worst_stage.as_str()) { (summary.worst_stage.as_str()) } }
            td data-label="Lasted" { (lasted(summary, report.document.to)) }
            td data-label="Where" {
                @for (layer, rules) in by_layer(&entry.alerts) { div { b { (layer) } ": " (rules.join(", ")) } }
                @if entry.alerts.is_empty() { (summary.alerts) " alerts" }
            }
            td data-label="Told" {
                @if its.is_empty() { "nobody" }
                @for index in &told {
                    div.link {
                        @if is_listed(*index) { a href={ "#" (news[*index].id) } { (moment(&news[*index])) } }
                        @else { (moment(&news[*index])) }
                    }
                }
                @if left_out > 0 { div { "and " (left_out) " more" } }
                @if !repeats.is_empty() { div { (repeats.len()) @if repeats.len() == 1 { " repeat" } @else { " repeats" } } }
            }
        }
    }
}

/// `PAGE 03-05 00:18:30`
fn moment(news: &News<'_>) -> Markup {
    let told = news.first;
    html! { (text::mark(told.reason, told.urgency, told.stage)) " " (words::time(told.at)[5..]) }
}

/// What stands for the journey of an incident of the source.
const SOURCE: &str = "the source";

fn journey(incident: &IncidentSummary) -> &str {
    incident.journey.as_deref().unwrap_or(SOURCE)
}

fn is_page(told: &Notification) -> bool {
    let is_news = matches!(told.reason, Reason::Opened | Reason::Escalated | Reason::Blind);
    is_news && (told.urgency, told.stage) == (Urgency::Page, Stage::Critical)
}

fn lasted(incident: &IncidentSummary, end: Timestamp) -> String {
    let lasted: Duration = incident.resolved_at.unwrap_or(end).since(incident.opened_at).coarse();
    if incident.resolved_at.is_some() { lasted.to_string() } else { format!("{lasted}, and still does") }
}

/// Alerts that stood in an incident: those of its key that fired while it did.
fn alerts<'a>(report: &Report<'a>, incident: &IncidentSummary) -> Vec<&'a AlertRecord> {
    let end = incident.resolved_at.unwrap_or(report.document.to);
    let during = |alert: &&AlertRecord| {
        alert.fired_at <= end && alert.ended_at.is_none_or(|ended_at| ended_at > incident.opened_at)
    };
    let its = report.document.alerts.iter().filter(during);
    its.filter(|alert| report.spec.incident_of(alert).as_deref() == Some(&incident.key)).collect()
}

/// Rules by layer, in the order in which they fired.
fn by_layer<'a>(alerts: &[&'a AlertRecord]) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut layers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for alert in alerts {
        let rules = layers.entry(alert.layer.as_deref().unwrap_or("the whole journey")).or_default();
        if !rules.contains(&alert.rule.as_str()) {
            rules.push(&alert.rule);
        }
    }
    layers
}
