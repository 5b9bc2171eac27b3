//! Every notification as it would have read, in the order in which they would have gone out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use maud::{Markup, html};

use super::timeline::Incidents;
use super::{Reading, Report, words};
use crate::engine::notification::Notification;
use crate::engine::rule::Urgency;
use crate::engine::time::Timestamp;
use crate::replay::text;

/// Further notifications are counted: a list that nobody reads to its end.
const MAX_LISTED: usize = 2000;
/// All messages together, in bytes of text; later ones are told by their summaries, so that the page stays light.
const MAX_MESSAGES: usize = 500_000;

/// The same news for one or more receivers.
pub struct News<'a> {
    /// Its anchor: the id of the first of its notifications, which stays the same from run to run.
    pub id: &'a str,
    pub first: &'a Notification,
    /// Indices into the document's notifications.
    pub told: std::ops::Range<usize>,
}

/// Notifications in their order, those of the same news as one.
pub fn news(notifications: &[Arc<Notification>]) -> Vec<News<'_>> {
    let mut begin = 0;
    let same = |a: &Arc<Notification>, b: &Arc<Notification>| key(a) == key(b);
    let news = notifications.chunk_by(same).map(|group| {
        let told = begin..begin + group.len();
        begin = told.end;
        News { id: &group[0].id, first: &group[0], told }
    });
    news.collect()
}

/// As the text of a replay has it: what is an escalation to one and news to another reads the same.
fn key(told: &Notification) -> (Timestamp, &'static str, &str, &str) {
    (told.at, text::mark(told.reason, told.urgency, told.stage), &told.incident, &told.summary)
}

/// The section.
pub fn section(report: &Report<'_>, news: &[News<'_>], incidents: &Incidents<'_>) -> Markup {
    let listed = &news[..news.len().min(MAX_LISTED)];
    let mut room = MAX_MESSAGES;
    let days = listed.chunk_by(|a, b| day(a) == day(b));
    html! {
        section id="notifications" aria-labelledby="notifications-h" {
            h2 id="notifications-h" { "What would have gone out" }
            @if news.is_empty() {
                p { "Nothing." }
            } @else {
                p.about {
                    (text::grouped(report.notifications.len() as u64)) " notifications. Open one to read it as its receiver \
                     would have; nothing was sent."
                }
                (filters(report, listed))
                @for day in days {
                    div.day {
                        h3 { (words::time(day[0].first.at)[..10]) }
                        ol.told {
                            @for news in day { (item(report, news, incidents, &mut room)) }
                        }
                    }
                }
                @if news.len() > listed.len() {
                    p { (text::grouped((news.len() - listed.len()) as u64)) " more; the JSON document has them all." }
                }
            }
        }
    }
}

fn day(news: &News<'_>) -> String {
    words::time(news.first.at)[..10].to_owned()
}

fn item(report: &Report<'_>, news: &News<'_>, incidents: &Incidents<'_>, room: &mut usize) -> Markup {
    let told = news.first;
    let at = told.at.to_string();
    let mark = text::mark(told.reason, told.urgency, told.stage);
    let receivers: Vec<usize> = news.told.clone().map(|index| report.notifications[index].receiver).collect();
    let names: Vec<&str> = receivers.iter().map(|receiver| report.spec.receivers[*receiver].name.as_str()).collect();
    let listed: Vec<String> = receivers.iter().map(usize::to_string).collect();
    let readings = readings(report, news);
    let length: usize = readings.values().map(|(reading, _)| reading.text.len() + reading.title.len()).sum();
    let fits = length <= *room;
    *room = if fits { *room - length } else { 0 };
    html! {
        li id=(news.id) data-journey=[told.journey.as_deref()] data-receivers=(listed.join(" ")) data-urgency=(told.urgency.as_str()) data-mark=(mark) {
            details {
                summary {
                    span.at { (at[11..19]) } " "
                    span.mark.(mark_class(mark)) { (mark) } " "
                    span { (told.summary) } " "
                    span.to { "→ " (names.join(", ")) }
                }
                @if fits {
                    @for (reading, receivers) in readings.values() {
                        p.as { (reading.channel) ", as " (receivers.join(", ")) " would have read it:" }
                        div.reading {
                            p.title { (reading.title) }
                            pre { (reading.text) }
                        }
                        @if let Some(note) = &reading.note { p.as.poor { (note) } }
                    }
                } @else {
                    p.as { "Its message is left out to keep this page light; a shorter range shows it." }
                }
                @if let Some(id) = incidents.of(told) { p { a href={ "#" (id) } { "Its incident" } } }
            }
        }
    }
}

/// Each distinct message with the receivers that would have read it.
fn readings<'a>(report: &'a Report<'_>, news: &News<'_>) -> BTreeMap<usize, (&'a Reading, Vec<&'a str>)> {
    let mut distinct: BTreeMap<usize, (&Reading, Vec<&str>)> = BTreeMap::new();
    for index in news.told.clone() {
        let reading = &report.readings[index];
        let name = report.spec.receivers[report.notifications[index].receiver].name.as_str();
        match distinct.values_mut().find(|(known, _)| *known == reading) {
            Some((_, receivers)) => receivers.push(name),
            None => drop(distinct.insert(index, (reading, vec![name]))),
        }
    }
    distinct
}

fn mark_class(mark: &str) -> &'static str {
    match mark {
        "PAGE" => "critical",
        "resolved" => "good",
        "ticket" | "warning" | "blind" => "warning",
        _ => "quiet",
    }
}

/// Shown once the script is there that makes them work.
fn filters(report: &Report<'_>, news: &[News<'_>]) -> Markup {
    let journeys: BTreeSet<&str> = news.iter().filter_map(|news| news.first.journey.as_deref()).collect();
    let indices = news.iter().flat_map(|news| news.told.clone());
    let receivers: BTreeSet<usize> = indices.map(|index| report.notifications[index].receiver).collect();
    let mark = |news: &News<'_>| text::mark(news.first.reason, news.first.urgency, news.first.stage);
    let marks: BTreeSet<&str> = news.iter().map(mark).collect();
    let choice = |name: &str, label: &str, options: Vec<(String, &str)>| {
        html! {
            label {
                (label) " "
                select name=(name) {
                    option value="" { "all" }
                    @for (value, text) in options { option value=(value) { (text) } }
                }
            }
        }
    };
    let urgencies = [Urgency::Page, Urgency::Ticket].map(|it| (it.as_str().to_owned(), it.as_str()));
    html! {
        form.filters hidden aria-label="Filter notifications" {
            (choice("journey", "Journey", journeys.into_iter().map(|name| (name.to_owned(), name)).collect()))
            (choice("receivers", "Receiver", receivers.into_iter().map(|index| (index.to_string(), report.spec.receivers[index].name.as_str())).collect()))
            (choice("urgency", "Urgency", urgencies.to_vec()))
            (choice("mark", "What", marks.into_iter().map(|mark| (mark.to_owned(), mark)).collect()))
            button type="button" data-open="" { "Open all" }
            span.shown role="status" {}
        }
    }
}
