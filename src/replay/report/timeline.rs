//! Incidents on the time axis that the plots share, and as a table to which one can link.

use std::collections::BTreeMap;

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
const ROW_PX: usize = 34;

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
                @if listed.is_empty() {
                    p { "None." }
                } @else {
                    p.about {
                        "A bar is an incident, red if it became critical; the marks above it are pages and the fainter ones \
                         other notifications. The table has the same, and links."
                    }
                    div.frame.timeline { span {} (self.drawing(listed, &axis, report, news)) }
                    div.frame { span {} (plot::times(&axis)) }
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

    fn drawing(&self, listed: &[Entry<'_>], axis: &TimeAxis, report: &Report<'_>, news: &[News<'_>]) -> Markup {
        let mut rows: Vec<&str> = listed.iter().map(|entry| journey(entry.summary)).collect();
        rows.sort_unstable();
        rows.dedup();
        let top = |name: &str| ROW_PX * rows.iter().position(|row| *row == name).unwrap_or_default();
        let height = ROW_PX * rows.len();
        let end = report.document.to;
        let band = |entry: &Entry<'_>| {
            let it = entry.summary;
            Band { from: it.opened_at, to: it.resolved_at.unwrap_or(end), stage: it.worst_stage }
        };
        html! {
            // The table after it says the same, and its links take the keyboard.
            svg.area width="100%" height=(height) aria-hidden="true" {
                @for row in &rows {
                    text.row x="0" y=(top(row) + 11) { (row) }
                    line.grid x1="0" x2="100%" y1=(top(row) + 33) y2=(top(row) + 33) {}
                }
                @for told in news {
                    @let at = plot::percent(axis.share(told.first.at).clamp(0.0, 1.0));
                    @let y = top(told.first.journey.as_deref().unwrap_or(SOURCE));
                    @let class = if is_page(told.first) { "tick page" } else { "tick" };
                    line.(class) x1=(at) x2=(at) y1=(y + 13) y2=(y + 19) {}
                }
                @for entry in listed {
                    @let (x, width) = span(axis, &band(entry));
                    a href={ "#" (entry.id) } tabindex="-1" {
                        title { (entry.summary.key) ", " (words::time(entry.summary.opened_at)) ", " (lasted(entry.summary, end)) }
                        rect.bar.(entry.summary.worst_stage.as_str()) x=(x) width=(width) y=(top(journey(entry.summary)) + 20) height="11" {}
                    }
                }
            }
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
