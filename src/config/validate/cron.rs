//! Cron expressions with their time zones.

use crate::config::decode::{Field, Spanned, nearest};
use crate::config::diagnostic::Diagnostic;
use crate::config::{cron, raw};
use crate::zone::Zone;

use super::Context;

pub(super) fn calendar(raw: &raw::Cron, field: &Field<raw::Cron>, context: &mut Context<'_>) -> Option<cron::Cron> {
    let utc = field.get().zip(match raw {
        raw::Cron::Utc(text) => Some(text),
        raw::Cron::Zoned(_) => None,
    });
    match raw {
        raw::Cron::Utc(_) => {
            let (spanned, text) = utc?;
            parsed(&Spanned { value: text.clone(), span: spanned.span }, Zone::UTC, context)
        }
        raw::Cron::Zoned(table) => calendar_in(&table.cron, &table.time_zone, context),
    }
}

/// The calendar of two keys of one object; both are looked at, whatever is wrong with either.
pub(super) fn calendar_in(
    expression: &Field<String>,
    zone: &Field<String>,
    context: &mut Context<'_>,
) -> Option<cron::Cron> {
    let zone = time_zone(zone, context);
    // In any zone, so that its mistakes are told beside that of the zone.
    let calendar = parsed(expression.get()?, zone.clone().unwrap_or(Zone::UTC), context);
    zone.and(calendar)
}

fn parsed(expression: &Spanned<String>, zone: Zone, context: &mut Context<'_>) -> Option<cron::Cron> {
    match cron::Cron::parse(&expression.value, zone) {
        Ok(cron) => Some(cron),
        Err(error) => {
            let at = context.inside(expression, error.at);
            let diagnostic = Diagnostic::error(at, "not a cron expression").label(error.message);
            context.findings.add(diagnostic.help("five fields: minute, hour, day of month, month, day of week"));
            None
        }
    }
}

pub(super) fn time_zone(field: &Field<String>, context: &mut Context<'_>) -> Option<Zone> {
    let Some(name) = field.get() else { return field.is_absent().then_some(Zone::UTC) };
    let zone = Zone::named(&name.value);
    if zone.is_none() {
        let message = format!("there is no time zone '{}'", crate::config::decode::clipped(&name.value));
        let diagnostic = Diagnostic::error(name.span, message).help("write UTC or a name such as Europe/Berlin");
        context.findings.add(match nearest(&name.value, Zone::names().iter().map(String::as_str)) {
            Some(name) => diagnostic.label(format!("did you mean '{name}'?")),
            None => diagnostic,
        });
    }
    zone
}
