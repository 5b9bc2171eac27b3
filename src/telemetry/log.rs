//! Logs on stderr: logfmt for people and journald, JSON for machines.
//!
//! ```text
//! ts=2026-03-01T12:00:00Z level=info msg="incident opened" incident=checkout stage=critical
//! ```
//!
//! Where stderr is the journal itself, lines carry its priorities (`<4>`) instead of a time of their own.

use std::fmt::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::clock::Clock;

/// A field longer than this is cut, in bytes.
const MAX_FIELD_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Logfmt,
    Json,
}

/// Sends all that is logged from here on to stderr. Libraries are heard from `warn` on. A second call does nothing.
pub fn init(format: Format, level: LevelFilter) {
    let lines = Lines { format, journal: is_journal(), clock: Clock };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(lines);
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("slowburn", level);
    let _ = tracing_subscriber::registry().with(targets).with(layer).try_init();
}

/// Whether stderr is the socket that `JOURNAL_STREAM` names as `device:inode`.
fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let stderr = std::fs::metadata("/dev/fd/2").ok();
    named.zip(stderr).is_some_and(|(named, stderr)| named == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// One line an event.
#[derive(Debug)]
struct Lines {
    format: Format,
    journal: bool,
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        if self.journal {
            write!(writer, "<{}>", priority(level))?;
        }
        let time = (!self.journal || self.format == Format::Json).then(|| self.clock.now().to_string());
        let line = match self.format {
            Format::Logfmt => logfmt(time, level, &fields),
            Format::Json => json(time, level, fields),
        };
        writeln!(writer, "{line}")
    }
}

/// Syslog's numbers, as journald reads them. Source: sd-daemon(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn logfmt(time: Option<String>, level: Level, fields: &Fields) -> String {
    let mut line = time.map_or_else(String::new, |time| format!("ts={time} "));
    let _ = write!(line, "level={} msg={}", name(level), quoted(&fields.message));
    for (key, value) in &fields.others {
        let value = match value {
            Value::String(text) => quoted(text),
            other => other.to_string(),
        };
        let _ = write!(line, " {key}={value}");
    }
    line
}

fn json(time: Option<String>, level: Level, fields: Fields) -> String {
    let mut line = Map::new();
    line.extend(time.map(|time| ("ts".to_owned(), Value::from(time))));
    line.insert("level".into(), name(level).into());
    line.insert("msg".into(), fields.message.into());
    line.extend(fields.others.into_iter().map(|(key, value)| (key.to_owned(), value)));
    Value::Object(line).to_string()
}

/// As logfmt wants it: in quotes where a space, a quote, an `=` or a control character would split it.
fn quoted(text: &str) -> String {
    let splits = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\');
    if text.is_empty() || text.contains(splits) { format!("{text:?}") } else { text.to_owned() }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        let value = match value {
            Value::String(text) if text.len() > MAX_FIELD_BYTES => {
                Value::from(format!("{}…", &text[..text.floor_char_boundary(MAX_FIELD_BYTES)]))
            }
            other => other,
        };
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        let fields = |message: &str| Fields {
            message: message.into(),
            others: vec![("slo", "checkout/edge".into()), ("why", "a \"b\"\nc".into()), ("n", 3.into())],
        };
        let time = || Some("2026-03-01T12:00:00Z".to_owned());
        assert_eq!(
            logfmt(time(), Level::WARN, &fields("out of sight")),
            r#"ts=2026-03-01T12:00:00Z level=warn msg="out of sight" slo=checkout/edge why="a \"b\"\nc" n=3"#
        );
        assert_eq!(logfmt(None, Level::INFO, &Fields::default()), r#"level=info msg="""#);
        assert_eq!(
            json(time(), Level::ERROR, fields("out of sight")),
            r#"{"level":"error","msg":"out of sight","n":3,"slo":"checkout/edge","ts":"2026-03-01T12:00:00Z","why":"a \"b\"\nc"}"#
        );
    }

    #[test]
    fn levels_have_the_priorities_of_syslog() {
        assert_eq!([Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG].map(priority), [3, 4, 6, 7]);
    }
}
