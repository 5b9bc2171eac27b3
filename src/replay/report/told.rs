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

/// A page of so many bytes is light: it fits into a mail. Where there is more to tell, messages are left out ...
const LIGHT: usize = 1_900_000;
/// ... down to this much of them ...
const LEAST_ROOM: usize = 80_000;
/// ... and a page that is heavy for its plots has no more of them than this.
const ROOM_IN_HEAVY: usize = 500_000;

/// What an item takes beside its words: its anchor, and what filters go by.
const ITEM: usize = 200;
/// What is shown first where not all fits: that something is told, and the message itself, of these ranks.
const ORDER: [(Part, u8); 6] =
    [(Part::Head, 0), (Part::Head, 1), (Part::Body, 0), (Part::Body, 1), (Part::Head, 2), (Part::Body, 2)];

#[derive(Clone, Copy)]
enum Part {
    Head,
    Body,
}

/// What of the news has room on the page.
pub struct Listing {
    heads: Vec<Option<Markup>>,
    bodies: Vec<Option<Markup>>,
}

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

/// Pages come first and repeats, which are no news, last.
fn rank(told: &Notification) -> u8 {
    match text::mark(told.reason, told.urgency, told.stage) {
        "PAGE" => 0,
        "repeat" => 2,
        _ => 1,
    }
}

/// How many bytes there are for notifications on a page that has `rest` beside them.
pub fn room(rest: usize) -> usize {
    if rest < LIGHT { (LIGHT - rest).max(LEAST_ROOM) } else { ROOM_IN_HEAVY }
}

impl Listing {
    /// As much as `room`, in bytes of the page, allows.
    pub fn fit(report: &Report<'_>, news: &[News<'_>], incidents: &Incidents<'_>, mut room: usize) -> Self {
        let mut listing = Self { heads: vec![None; news.len()], bodies: vec![None; news.len()] };
        for (part, rank) in ORDER {
            for (index, news) in news.iter().enumerate().filter(|(_, news)| self::rank(news.first) == rank) {
                let (markup, place) = match part {
                    Part::Head => (head(report, news), &mut listing.heads[index]),
                    Part::Body => (body(report, news, incidents), &mut listing.bodies[index]),
                };
                let around = match part {
                    Part::Head => ITEM + news.first.journey.as_ref().map_or(0, String::len),
                    Part::Body => 0,
                };
                let length = markup.0.len() + around;
                if length > room {
                    return listing;
                }
                room -= length;
                *place = Some(markup);
            }
        }
        listing
    }

    pub fn has(&self, index: usize) -> bool {
        self.heads[index].is_some()
    }

    /// What was left out, in words.
    fn left_out(&self, news: &[News<'_>]) -> Option<String> {
        let without = |parts: &[Option<Markup>], is_meant: &dyn Fn(usize) -> bool| {
            (0..news.len()).filter(|index| parts[*index].is_none() && is_meant(*index)).count() as u64
        };
        let is_repeat = |index: usize| rank(news[index].first) == 2;
        let counts = [
            (without(&self.heads, &is_repeat), "repeats"),
            (without(&self.heads, &|index| !is_repeat(index)), "other notifications"),
            (without(&self.bodies, &|index| self.has(index)), "messages of those that are listed"),
        ];
        let said = counts.iter().filter(|(count, _)| *count > 0);
        let said: Vec<String> = said.map(|(count, what)| format!("{} {what}", text::grouped(*count))).collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// The section.
pub fn section(report: &Report<'_>, news: &[News<'_>], listing: &Listing) -> Markup {
    let listed: Vec<usize> = (0..news.len()).filter(|index| listing.has(*index)).collect();
    let days = listed.chunk_by(|a, b| day(&news[*a]) == day(&news[*b]));
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
                @if let Some(left_out) = listing.left_out(news) {
                    p.notice role="note" {
                        strong { "Left out to keep this page light: " } (left_out) ". A shorter range shows more, and the \
                         JSON document has all notifications."
                    }
                }
                p.about.paper { "On paper, pages are printed as they read, other notifications in one line, and repeats not at all." }
                (filters(report, news, &listed))
                @for day in days {
                    div.day {
                        h3 { (words::time(news[day[0]].first.at)[..10]) }
                        ol.told { @for index in day { (item(report, &news[*index], *index, listing)) } }
                    }
                }
            }
        }
    }
}

fn day(news: &News<'_>) -> String {
    words::time(news.first.at)[..10].to_owned()
}

fn item(report: &Report<'_>, news: &News<'_>, index: usize, listing: &Listing) -> Markup {
    let told = news.first;
    let mark = text::mark(told.reason, told.urgency, told.stage);
    let receivers: Vec<String> =
        news.told.clone().map(|index| report.notifications[index].receiver.to_string()).collect();
    html! {
        li id=(news.id) data-journey=[told.journey.as_deref()] data-receivers=(receivers.join(" ")) data-urgency=(told.urgency.as_str()) data-mark=(mark) {
            @match (&listing.heads[index], &listing.bodies[index]) {
                (Some(head), Some(body)) => { details { summary { (head) } (body) } },
                (head, _) => { p.bare { @if let Some(head) = head { (head) } } },
            }
        }
    }
}

/// That something is told, in one line.
fn head(report: &Report<'_>, news: &News<'_>) -> Markup {
    let told = news.first;
    let mark = text::mark(told.reason, told.urgency, told.stage);
    let receivers = news.told.clone().map(|index| report.notifications[index].receiver);
    let names: Vec<&str> = receivers.map(|receiver| report.spec.receivers[receiver].name.as_str()).collect();
    html! {
        span.at { (told.at.to_string()[11..19]) } " "
        span.mark.(mark_class(mark)) { (mark) } " "
        span { (told.summary) } " "
        span.to { "→ " (names.join(", ")) }
    }
}

/// How it would have read, and its incident.
fn body(report: &Report<'_>, news: &News<'_>, incidents: &Incidents<'_>) -> Markup {
    html! {
        @for (reading, receivers) in readings(report, news).values() {
            p.as { (reading.channel) ", as " (receivers.join(", ")) " would have read it:" }
            div.reading {
                p.title { (reading.title) }
                pre { (reading.text) }
            }
            @if let Some(note) = &reading.note { p.as.poor { (note) } }
        }
        @if let Some(id) = incidents.of(news.first) { p { a href={ "#" (id) } { "Its incident" } } }
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
fn filters(report: &Report<'_>, news: &[News<'_>], listed: &[usize]) -> Markup {
    let news = || listed.iter().map(|index| &news[*index]);
    let journeys: BTreeSet<&str> = news().filter_map(|news| news.first.journey.as_deref()).collect();
    let indices = news().flat_map(|news| news.told.clone());
    let receivers: BTreeSet<usize> = indices.map(|index| report.notifications[index].receiver).collect();
    let mark = |news: &News<'_>| text::mark(news.first.reason, news.first.urgency, news.first.stage);
    let marks: BTreeSet<&str> = news().map(mark).collect();
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
