//! Numbers and times in templates as the built-in messages write them.

use chrono::DateTime;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind};

use crate::engine::time::Duration;
use crate::zone::Zone;

use super::format;

/// The longest pattern of a time.
const MAX_PATTERN_BYTES: usize = 100;

pub fn add(environment: &mut Environment<'_>) {
    environment.add_filter("percent", |share: f64| format::percent(share));
    environment.add_filter("latency", |seconds: f64| format::latency(seconds));
    environment.add_filter("factor", |value: f64| format::factor(value));
    environment.add_filter("count", |value: f64| format::count(value));
    environment.add_filter("duration", duration);
    environment.add_filter("time", time);
}

/// `2h10m` of seconds.
fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return format::UNKNOWN.into();
    }
    format::span(Duration::from_ms((seconds * 1000.0) as i64))
}

/// `15:04` of an RFC 3339 time: `time('Europe/Berlin', format='%H:%M')`. What is no time yet is an empty text.
fn time(at: &str, zone: Option<&str>, options: Kwargs) -> Result<String, Error> {
    let pattern = options.get::<Option<&str>>("format")?.unwrap_or("%Y-%m-%d %H:%M %Z");
    options.assert_all_used()?;
    if at.is_empty() {
        return Ok(String::new());
    }
    let wrong = |why: String| Error::new(ErrorKind::InvalidOperation, why);
    let zone = zone.unwrap_or("UTC");
    let zone =
        Zone::named(zone).ok_or_else(|| wrong(format!("'{zone}' is not a time zone; write Europe/Berlin or UTC")))?;
    let at = DateTime::parse_from_rfc3339(at).map_err(|_| wrong(format!("'{at}' is not a time")))?;
    let parsed: Vec<_> = chrono::format::StrftimeItems::new(pattern).collect();
    if pattern.len() > MAX_PATTERN_BYTES || parsed.contains(&chrono::format::Item::Error) {
        return Err(wrong(format!("'{pattern}' is no pattern of a time; write '%H:%M'")));
    }
    Ok(at.with_timezone(&zone).format_with_items(parsed.into_iter()).to_string())
}

#[cfg(test)]
mod tests {
    use crate::template::{Place, Template, samples};

    #[test]
    fn values_read_as_in_the_built_in_messages() {
        for (source, expected) in [
            (
                "{{ 0.34|percent }} {{ 0.0613|latency }} {{ 34.04|factor }} {{ 12300|count }} {{ 7800|duration }}",
                "34% 61ms 34x 12,300 2h10m",
            ),
            ("{{ at|time }}", "2026-03-07 03:15 UTC"),
            ("{{ at|time('Europe/Berlin', format='%H:%M') }}", "04:15"),
            ("[{{ resolved_at|time }}]", "[]"),
        ] {
            let told = Template::new(Place::Text, source.into()).render(&samples::fields()[0]);
            assert_eq!(told.as_deref(), Ok(expected), "{source}");
        }
        for source in ["{{ at|time('Mars') }}", "{{ at|time(format='%Q') }}", "{{ journey|time }}"] {
            assert!(Template::new(Place::Text, source.into()).render(&samples::fields()[0]).is_err(), "{source}");
        }
    }
}
