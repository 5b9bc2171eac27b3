//! Active hours and maintenance windows: when they are, and that they begin and end.

use std::sync::Arc;

use chrono::{NaiveDateTime, TimeZone as _};

use crate::config::cron::Cron;
use crate::config::decode::{Field, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw;
use crate::config::types::Counting;
use crate::config::units;
use crate::engine::hours::Hours;
use crate::engine::maintenance::Maintenance;
use crate::engine::time::{Duration, Timestamp};
use crate::zone::Zone;

use super::matchers::{Vocabulary, matchers};
use super::names::Names;
use super::{Context, cron};

/// Each is asked at every slot.
const MAX_WINDOWS: usize = 1000;
/// So many occurrences show how far apart they are: a year of days.
const LOOKED_AT: usize = 366;
/// What distances of occurrences are taken from; any day would do.
const SOME_DAY: Timestamp = Timestamp::from_unix_s(1_767_225_600);
/// Labels that an SLO has by itself, whatever its alerts do.
const NOT_OF_AN_SLO: [&str; 3] = ["stage", "urgency", "rule"];

pub(super) fn active(raw: &raw::ActiveHours, context: &mut Context<'_>) -> Option<Hours> {
    let calendar = cron::calendar_in(&raw.cron, &raw.time_zone, context)?;
    let lasts = raw.lasts.get()?;
    let (shortest, longest) = distances(&calendar);
    if lasts.value >= longest {
        let message = format!("these hours never end: they begin every {longest} or less and last {}", lasts.value);
        context.findings.add(Diagnostic::warning(lasts.span, message).help("write active: always, or a shorter time"));
    } else if lasts.value > shortest {
        report_overlap(lasts, shortest, context);
    }
    Some(Hours::Recurring { calendar: Arc::new(calendar), lasts: lasts.value })
}

/// The windows, and the hours they are open.
pub(super) fn maintenance(
    field: &Field<Vec<Spanned<raw::Maintenance>>>,
    vocabulary: &Vocabulary,
    hours: &mut Vec<Hours>,
    context: &mut Context<'_>,
) -> Vec<Maintenance> {
    let mut raw = field.value().map_or(&[][..], Vec::as_slice);
    if let Some(extra) = raw.get(MAX_WINDOWS) {
        context.findings.error(extra.span, format!("more than {MAX_WINDOWS} maintenance windows"));
        raw = &raw[..MAX_WINDOWS];
    }
    let mut names = Names::default();
    let mut out = Vec::new();
    for Spanned { value: raw, .. } in raw {
        let is_new = raw.name.get().is_some_and(|name| names.claim(name, "maintenance window", context.findings));
        let (matchers, _) = matchers(&raw.matchers, vocabulary, context.findings);
        let counts = raw.budget.copied() != Some(Counting::Exclude);
        if !counts {
            report_labels_of_alerts(raw, context);
        }
        if let (true, Some(name), Some(open)) = (is_new, raw.name.value(), window(raw, context)) {
            out.push(Maintenance { name: name.clone(), hours: hours.len(), matchers, counts });
            hours.push(open);
        }
    }
    out
}

/// Requests are counted before there is an alert, so what only an alert has cannot say which of them count.
fn report_labels_of_alerts(raw: &raw::Maintenance, context: &mut Context<'_>) {
    for (label, _) in raw.matchers.value().map_or(&[][..], |named| &named.0) {
        if NOT_OF_AN_SLO.contains(&label.value.as_str()) {
            let message = format!("'{}' is an alert's, and 'budget: exclude' is about requests", label.value);
            let help = "match journey, layer, tier, owner or labels of your own; or write two windows";
            let diagnostic = Diagnostic::error(label.span, message).help(help);
            context.findings.add(match raw.budget.key() {
                Some(key) => diagnostic.also(key, "no request counts meanwhile"),
                None => diagnostic,
            });
        }
    }
}

fn window(raw: &raw::Maintenance, context: &mut Context<'_>) -> Option<Hours> {
    match (raw.cron.key(), raw.from.key()) {
        (Some(_), Some(from)) => {
            let message = "a maintenance window begins by 'cron' or by 'from', not both";
            let diagnostic = Diagnostic::error(from, message);
            context.findings.add(diagnostic.help("write two windows"));
            None
        }
        (None, None) => {
            if raw.cron.is_absent() && raw.from.is_absent() {
                let diagnostic =
                    Diagnostic::error(raw.at, "a maintenance window needs 'cron' and 'for', or 'from' and 'to'");
                context.findings.add(diagnostic.help("write cron: '0 2 * * Sun', for: 1h"));
            }
            None
        }
        (Some(cron), None) => recurring(raw, cron, context),
        (None, Some(from)) => once(raw, from, context),
    }
}

fn recurring(raw: &raw::Maintenance, cron: Span, context: &mut Context<'_>) -> Option<Hours> {
    let calendar = cron::calendar_in(&raw.cron, &raw.time_zone, context);
    if let Some(to) = raw.to.key() {
        let diagnostic =
            Diagnostic::error(to, "'to' ends a window that begins by 'from'").also(cron, "this one comes again");
        context.findings.add(diagnostic.help("say how long it lasts: for: 1h"));
        return None;
    }
    let Some(lasts) = raw.lasts.get() else {
        if raw.lasts.is_absent() {
            let diagnostic = Diagnostic::error(cron, "a window that comes again needs 'for': how long it lasts");
            context.findings.add(diagnostic.help("write for: 1h"));
        }
        return None;
    };
    let calendar = calendar?;
    let (shortest, longest) = distances(&calendar);
    if lasts.value >= longest {
        let message =
            format!("this maintenance never ends: it begins every {longest} or less and lasts {}", lasts.value);
        context.findings.error(lasts.span, message);
        return None;
    }
    if lasts.value > shortest {
        report_overlap(lasts, shortest, context);
    }
    Some(Hours::Recurring { calendar: Arc::new(calendar), lasts: lasts.value })
}

fn report_overlap(lasts: &Spanned<Duration>, shortest: Duration, context: &mut Context<'_>) {
    let message = format!("{} is longer than the {shortest} until some of its next beginnings", lasts.value);
    context.findings.add(Diagnostic::warning(lasts.span, message).help("what overlaps is one stretch"));
}

/// The shortest and the longest time from an occurrence to the next.
fn distances(cron: &Cron) -> (Duration, Duration) {
    let mut distances = (Duration::from_ms(i64::MAX), Duration::ZERO);
    let Some(mut last) = cron.next_after(SOME_DAY) else { return distances };
    for _ in 0..LOOKED_AT {
        let Some(next) = cron.next_after(last) else { break };
        distances = (distances.0.min(next.since(last)), distances.1.max(next.since(last)));
        last = next;
    }
    distances
}

fn once(raw: &raw::Maintenance, key: Span, context: &mut Context<'_>) -> Option<Hours> {
    let zone = cron::time_zone(&raw.time_zone, context)?;
    let from = instant(&raw.from, &zone, context);
    let to = match (raw.to.get(), raw.lasts.get()) {
        (Some(to), Some(lasts)) => {
            let diagnostic = Diagnostic::error(lasts.span, "a window ends by 'to' or by 'for', not both");
            context.findings.add(diagnostic.also(to.span, "the other"));
            return None;
        }
        (Some(_), None) => instant(&raw.to, &zone, context),
        (None, Some(lasts)) => from.map(|from| from + lasts.value),
        (None, None) => {
            if raw.to.is_absent() && raw.lasts.is_absent() {
                let diagnostic = Diagnostic::error(key, "a window that begins by 'from' needs 'to', or 'for'");
                context.findings.add(diagnostic.help("write when it ends: to: 2026-03-01T04:00:00Z"));
            }
            return None;
        }
    };
    let (from, to) = (from?, to?);
    if to <= from {
        let at = raw.to.get().map_or(key, |to| to.span);
        let diagnostic = Diagnostic::error(at, format!("it ends ({to}) before it begins ({from})"));
        context.findings.add(diagnostic.also(key, "it begins here"));
        return None;
    }
    Some(Hours::Once { from, to })
}

/// Reads RFC 3339, or a local time without an offset.
fn instant(field: &Field<String>, zone: &Zone, context: &mut Context<'_>) -> Option<Timestamp> {
    let written = field.get()?;
    let text = written.value.as_str();
    if let Some(instant) = units::instant(text) {
        return Some(instant);
    }
    let formats = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
    let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let Some(local) = local else {
        let diagnostic = Diagnostic::error(written.span, format!("'{}' is no point in time", clipped(text)));
        context.findings.add(diagnostic.help("write 2026-03-01T02:00:00Z, or 2026-03-01 02:00 in its time zone"));
        return None;
    };
    let at = zone.from_local_datetime(&local).map(|at| Timestamp::from_unix_ms(at.timestamp_millis()));
    if let Some(at) = at.single() {
        return Some(at);
    }
    let often = if at.earliest().is_some() { "comes twice" } else { "does not exist" };
    let message = format!("{} {often} in {zone}: the clocks change", clipped(text));
    context.findings.add(Diagnostic::error(written.span, message).help("write it with its offset, or in UTC with a Z"));
    None
}
