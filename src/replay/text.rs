//! A replay for people: what would have gone out, when, and how the budgets stood. At most 80 columns wide, but for
//! names that are longer than that.

use std::collections::BTreeMap;
use std::fmt;

use crate::engine::alert::AlertRecord;
use crate::engine::histogram::place;
use crate::engine::notification::{HeldBack, Reason};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::{Duration, Timestamp};

use super::document::{Document, MaintenanceSummary, NotificationSummary, SloSummary};
use super::score::text::{noise, some};

const WIDTH: usize = 80;
/// Of so many slots one may be missing without a word.
const UNNOTICED: u64 = 100;
/// Longer lists of what was not seen are cut.
const MAX_UNSEEN: usize = 20;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        self.budgets(f)?;
        self.sight(f)?;
        self.timeline(f)?;
        self.summary(f)?;
        if let Some(statistics) = &self.statistics {
            noise(f, statistics, self.to.since(self.from), self.is_seen())?;
        }
        self.score.iter().try_for_each(|score| score.fmt(f))
    }
}

impl Document {
    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.to.since(self.from).coarse();
        let interval = Duration::from_ms((self.interval_s * 1000.0) as i64);
        writeln!(f, "Replay of {length}, {} to {}", time(self.from), time(self.to))?;
        writeln!(f, "{} slots of {interval} evaluated; nothing was sent.", grouped(self.evaluations))
    }

    fn budgets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.slos.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nBudgets")?;
        let places: Vec<String> =
            self.slos.iter().map(|slo| place(&slo.journey, slo.layer.as_deref(), &slo.labels)).collect();
        let width = places.iter().map(String::len).max().unwrap_or(0).clamp(12, 30);
        writeln!(f, "  {:<width$}  {:>9} {:>9} {:>14} {:>9}", "", "budget", "objective", "requests", "spent")?;
        for (slo, place) in self.slos.iter().zip(&places) {
            let objective = format!("{}%", f64::from(slo.objective_ppm) / 1e4);
            let budget = format!("{}ms", slo.budget_ms);
            let spent = if slo.events == 0 { "-".into() } else { format!("{:.1}%", slo.budget_consumed * 100.0) };
            // A longer name stands above its figures.
            let place = if place.chars().count() > width {
                writeln!(f, "  {place}")?;
                ""
            } else {
                place
            };
            writeln!(f, "  {place:<width$}  {budget:>9} {objective:>9} {:>14} {spent:>9}", grouped(slo.events))?;
        }
        Ok(())
    }

    /// SLOs of which less was seen than would go unnoticed. What is split by labels comes and goes.
    fn seen_in_part(&self) -> impl Iterator<Item = &SloSummary> {
        let uncounted = self.maintenance.iter().filter(|window| !window.counts).map(|window| window.open.secs());
        let uncounted = (uncounted.sum::<f64>() / self.interval_s).ceil() as u64;
        let enough = self.evaluations.saturating_sub(self.evaluations / UNNOTICED + uncounted);
        self.slos.iter().filter(move |slo| slo.labels.is_empty() && (1..enough).contains(&slo.seen_slots))
    }

    /// Whether as good as all was seen.
    fn is_seen(&self) -> bool {
        self.unseen.is_empty() && self.seen_in_part().next().is_none()
    }

    fn sight(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_seen() {
            return Ok(());
        }
        writeln!(f, "\nNot seen, so nothing could be told of it")?;
        let part = |slo: &SloSummary| {
            let unseen = grouped(self.evaluations - slo.seen_slots);
            format!(
                "{}: {unseen} of {} slots",
                place(&slo.journey, slo.layer.as_deref(), &slo.labels),
                grouped(self.evaluations)
            )
        };
        let all = self.unseen.iter().map(|place| format!("{place}: all of it"));
        let places: Vec<String> = all.chain(self.seen_in_part().map(part)).collect();
        places.iter().take(MAX_UNSEEN).try_for_each(|place| wrapped(f, "  ", place))?;
        match places.len().saturating_sub(MAX_UNSEEN) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more, which --format json has"),
        }
    }

    fn timeline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhat would have gone out")?;
        if self.notifications.is_empty() {
            return writeln!(f, "  nothing");
        }
        let mut day = "";
        let times: Vec<String> = self.notifications.iter().map(|told| told.at.to_string()).collect();
        let mut rows = times.iter().zip(&self.notifications).peekable();
        while let Some((time, told)) = rows.next() {
            let mut receivers = vec![told.receiver.as_str()];
            // The same news to several receivers is one line.
            while let Some((_, next)) = rows.next_if(|(_, next)| same_news(told, next)) {
                receivers.push(&next.receiver);
            }
            if time[..10] != *day {
                day = &time[..10];
                writeln!(f, "  {day}")?;
            }
            let mark = mark(told.reason, told.urgency, told.stage);
            let head = format!("    {} {mark:<8} ", &time[11..19]);
            wrapped(f, &head, &format!("{} -> {}", told.summary, receivers.join(", ")))?;
        }
        Ok(())
    }

    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSummary")?;
        let pages = self.opened(Urgency::Page);
        let tickets = self.opened(Urgency::Ticket);
        let weeks = (self.to.since(self.from).secs() / 604_800.0).max(1e-9);
        let per_week = if weeks >= 1.0 { format!(" ({:.1} a week)", pages as f64 / weeks) } else { String::new() };
        let incidents = self.incidents.len();
        let (pages, tickets) = (some(pages as u64, "page"), some(tickets as u64, "ticket"));
        let told = format!("{incidents}; told as new: {pages}{per_week} and {tickets}, warnings among them");
        wrapped(f, "  Incidents: ", &told)?;
        for (rule, (alerts, longest)) in self.by_rule() {
            let plural = if alerts == 1 { "" } else { "s" };
            writeln!(f, "    {alerts:>10} alert{plural} of {rule}, the longest {}", longest.coarse())?;
        }
        let [evaluations, notifications] = held_back(&self.held_back);
        reasons(f, "evaluations", &evaluations)?;
        reasons(f, "notifications", &notifications)?;
        for window in &self.maintenance {
            let MaintenanceSummary { name, times, open, counts } = window;
            let times = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
            let counts = if *counts { "requests counted" } else { "no request counted" };
            wrapped(f, "  Maintenance: ", &format!("{name}, {times}, {} in all; {counts} meanwhile", open.coarse()))?;
        }
        if self.missed.slots + self.missed.partial > 0 {
            let (slots, partial) = (grouped(self.missed.slots), grouped(self.missed.partial));
            writeln!(f, "  Missed: {slots} slots without an answer, {partial} with a partial one")?;
        }
        Ok(())
    }

    /// Distinct moments at which receivers were told of something new that is at least this urgent and critical.
    pub(super) fn opened(&self, urgency: Urgency) -> usize {
        let is_page = |told: &&NotificationSummary| told.urgency == Urgency::Page && told.stage == Stage::Critical;
        let mut news: Vec<(Timestamp, &str)> = self
            .notifications
            .iter()
            .filter(|told| matches!(told.reason, Reason::Opened | Reason::Escalated | Reason::Blind))
            .filter(|told| is_page(told) == (urgency == Urgency::Page))
            .map(|told| (told.at, told.incident.as_str()))
            .collect();
        news.dedup();
        news.len()
    }

    /// Alerts and the longest of them, by rule. An alert that went from stage to stage is one.
    pub(super) fn by_rule(&self) -> BTreeMap<&str, (usize, Duration)> {
        let mut alerts: Vec<&AlertRecord> = self.alerts.iter().collect();
        let whose = |alert: &AlertRecord| (alert.journey.clone(), alert.layer.clone(), alert.labels.clone());
        alerts.sort_by_cached_key(|alert| (alert.rule.clone(), whose(alert), alert.fired_at));
        let same = |a: &&AlertRecord, b: &&AlertRecord| {
            a.rule == b.rule && whose(a) == whose(b) && a.ended_at == Some(b.fired_at)
        };
        let mut rules: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
        for stages in alerts.chunk_by(same) {
            let (first, last) = (stages[0], stages[stages.len() - 1]);
            let (count, longest) = rules.entry(&first.rule).or_default();
            *count += 1;
            *longest = (*longest).max(last.ended_at.unwrap_or(self.to).since(first.fired_at));
        }
        rules
    }
}

/// What was held back of evaluations and of notifications, with the reasons.
pub(super) fn held_back(held: &HeldBack) -> [[(u64, &'static str); 4]; 2] {
    let evaluations = [
        (held.not_consecutive, "over a threshold, but not in consecutive windows"),
        (held.same_stage, "already told, nothing new"),
        (held.joined, "joined an open incident without making it worse"),
        (held.low_traffic, "too few requests to be sure"),
    ];
    let notifications = [
        (held.silenced, "silenced"),
        (held.maintenance, "in maintenance"),
        (held.inactive_hours, "outside active hours"),
        (held.flapping, "of what comes and goes"),
    ];
    [evaluations, notifications]
}

fn same_news(a: &NotificationSummary, b: &NotificationSummary) -> bool {
    let news = |told: &NotificationSummary| (told.at, mark(told.reason, told.urgency, told.stage));
    (news(a), &a.incident, &a.summary) == (news(b), &b.incident, &b.summary)
}

/// One word for what a notification is.
pub(super) fn mark(reason: Reason, urgency: Urgency, stage: Stage) -> &'static str {
    match (reason, urgency, stage) {
        (Reason::Resolved, ..) => "resolved",
        (Reason::Repeated, ..) => "repeat",
        (Reason::Blind, ..) => "blind",
        (Reason::Digest, ..) => "digest",
        (_, Urgency::Page, Stage::Critical) => "PAGE",
        (_, Urgency::Ticket, Stage::Critical) => "ticket",
        (_, _, Stage::Warning) => "warning",
    }
}

/// `2026-03-01 12:00 UTC`, with seconds if there are any.
pub(super) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let clock = text[11..19].strip_suffix(":00").unwrap_or(&text[11..19]);
    format!("{} {clock} UTC", &text[..10])
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn reasons(f: &mut fmt::Formatter<'_>, what: &str, counts: &[(u64, &str)]) -> fmt::Result {
    if counts.iter().all(|(count, _)| *count == 0) {
        return Ok(());
    }
    writeln!(f, "  Held back ({what}):")?;
    for (count, reason) in counts.iter().filter(|(count, _)| *count > 0) {
        writeln!(f, "    {:>10} {reason}", grouped(*count))?;
    }
    Ok(())
}

/// Breaks `text` between words to the width of a terminal, each further line under the first.
pub(super) fn wrapped(f: &mut fmt::Formatter<'_>, head: &str, text: &str) -> fmt::Result {
    let mut line = head.to_string();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{line}")?;
            line = " ".repeat(head.chars().count());
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    writeln!(f, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_counts() {
        let at = Timestamp::from_unix_s(1_772_366_400);
        assert_eq!(time(at), "2026-03-01 12:00 UTC");
        assert_eq!(time(at + Duration::from_secs(5)), "2026-03-01 12:00:05 UTC");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
