//! Messages in the user's own words: Jinja templates over the fields of a notification.
//!
//! A template reads no file, no environment and no secret: all it can see is [`Fields`]. It ends by itself, after
//! [`FUEL`] instructions or [`MAX_OUTPUT_BYTES`], and what is not there is an error, not an empty text. It is checked when
//! the configuration is loaded, against a sample of every kind of notification ([`samples`]).
//!
//! ```
//! use slowburn::template::{Place, Template, samples};
//! let template = Template::new(Place::Text, "{{ journey }} is {{ stage }}".into());
//! assert_eq!(template.render(&samples::fields()[0]).unwrap(), "checkout is critical");
//! ```

mod fields;
mod filters;
pub mod format;
pub mod samples;

use std::io;
use std::ops::Range;
use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

pub use self::fields::{Built, BuiltFact, Fields};

/// Steps a template may take; the built-in message would take some hundreds.
pub const FUEL: u64 = 50_000;
/// No receiver takes a longer message.
pub const MAX_OUTPUT_BYTES: usize = 256 << 10;
/// Calls within calls, such as macros that call themselves.
const MAX_DEPTH: usize = 50;
/// The longest piece of a template that an error repeats.
const MAX_SHOWN_CHARS: usize = 60;

/// What a template writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One line: a subject, a headline.
    Title,
    Text,
    /// Values are escaped for HTML.
    Html,
    /// A JSON document.
    Json,
}

/// The source of a template that was found to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    place: Place,
    source: String,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Flaw {
    pub why: String,
    /// Where in the template's text, in bytes.
    pub range: Option<Range<usize>>,
    /// The field that was most likely meant.
    pub meant: Option<&'static str>,
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_DEPTH);
    environment.set_auto_escape_callback(|name| if name == "html" { AutoEscape::Html } else { AutoEscape::None });
    filters::add(&mut environment);
    environment
});

impl Place {
    /// As people call the key that holds it.
    fn name(self) -> &'static str {
        match self {
            Place::Title => "title",
            Place::Text => "text",
            Place::Html => "html",
            Place::Json => "json",
        }
    }
}

impl Template {
    pub fn new(place: Place, source: String) -> Self {
        Self { place, source }
    }

    /// What the template makes of a notification.
    pub fn render(&self, fields: &Fields) -> Result<String, Flaw> {
        let told = self.run(fields).map_err(|error| self.flaw(&error))?;
        if self.place == Place::Json
            && let Err(error) = serde_json::from_str::<serde_json::Value>(&told)
        {
            return Err(Flaw { why: format!("what it makes is not JSON: {error}"), range: None, meant: None });
        }
        if told.trim().is_empty() {
            return Err(Flaw { why: "what it makes is empty".into(), range: None, meant: None });
        }
        Ok(told)
    }

    /// The first flaw that shows with any kind of notification.
    pub fn check(&self) -> Result<(), Flaw> {
        samples::fields().iter().try_for_each(|fields| self.render(fields).map(drop))
    }

    fn run(&self, fields: &Fields) -> Result<String, Error> {
        let template = ENVIRONMENT.template_from_named_str(self.place.name(), &self.source)?;
        let mut out = Bounded(Vec::new());
        template.render_captured_to(Serde(fields), &mut out)?;
        // What is written is made of texts.
        Ok(String::from_utf8(out.0).unwrap_or_default())
    }

    fn flaw(&self, error: &Error) -> Flaw {
        let range = error.range().filter(|range| self.source.get(range.clone()).is_some());
        let piece = range.clone().and_then(|range| self.source.get(range)).unwrap_or_default();
        let shown: String = piece.chars().take(MAX_SHOWN_CHARS).collect();
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let mut meant = None;
        let undefined = detail.split_once("(`").and_then(|(_, rest)| rest.strip_suffix("` is undefined)"));
        let why = match error.kind() {
            _ if undefined.is_some() => {
                let name = undefined.unwrap_or_default();
                meant = fields::nearest(last_name(name));
                format!("there is no '{name}'")
            }
            ErrorKind::UndefinedError => {
                let name = last_name(piece);
                meant = fields::nearest(name);
                format!("there is no '{}'", if shown.is_empty() { "such field" } else { shown.as_str() })
            }
            ErrorKind::OutOfFuel => format!("it does not end within {FUEL} steps"),
            ErrorKind::WriteFailure => format!("it writes more than {MAX_OUTPUT_BYTES} bytes"),
            ErrorKind::TemplateNotFound => "a template cannot take in another".into(),
            _ => detail,
        };
        Flaw { why, range, meant }
    }
}

impl Flaw {
    /// Line and column in a template's text, both from 1 on.
    pub fn line_and_column(&self, source: &str) -> Option<(usize, usize)> {
        let before = source.get(..self.range.as_ref()?.start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }
}

/// `bar` of `foo.bar`, or of `foo.bar|percent`.
fn last_name(piece: &str) -> &str {
    let piece = piece.split(['|', '(']).next().unwrap_or_default().trim();
    piece.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Takes no more than a message may have.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(source: &str) -> String {
        let template = Template::new(Place::Text, source.into());
        let flaw = template.check().expect_err(source);
        let place = flaw.line_and_column(source).map(|(line, column)| format!("{line}:{column}: "));
        let meant = flaw.meant.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
        format!("{}{}{meant}", place.unwrap_or_default(), flaw.why)
    }

    #[test]
    fn flaws_are_told_with_their_place() {
        for (source, expected) in [
            ("{{ jurney }}", "1:4: there is no 'jurney' (did you mean 'journey'?)"),
            (
                "ok\n{% for alert in alerts %}{{ alert.layr }}{% endfor %}",
                "there is no 'alert.layr' (did you mean 'layer'?)",
            ),
            ("{{ alerts[0].burn_lng|factor }}", "there is no 'alerts[0].burn_lng' (did you mean 'burn_long'?)"),
            ("{{ journey", "unexpected end of input"),
            ("{{ journey|shout }}", "shout"),
            ("{% include '/etc/passwd' %}", "a template cannot take in another"),
            (
                "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
                "it does not end within",
            ),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
            ("{% for a in range(9999) %}{{ 'x' * 100 }}{% endfor %}", "it writes more than 262144 bytes"),
            ("{% if false %}x{% endif %}", "what it makes is empty"),
        ] {
            let said = why(source);
            assert!(said.contains(expected), "{source}: {said}");
        }
    }

    #[test]
    fn only_html_is_escaped_and_json_must_be_json() {
        let fields = &samples::fields()[0];
        let render = |place, source: &str| Template::new(place, source.into()).render(fields);
        assert_eq!(render(Place::Text, "{{ '<b>' }}").as_deref(), Ok("<b>"));
        assert_eq!(render(Place::Html, "{{ '<b>' }}").as_deref(), Ok("&lt;b&gt;"));
        assert_eq!(render(Place::Json, "{\"j\": {{ journey|tojson }}}").as_deref(), Ok("{\"j\": \"checkout\"}"));
        assert!(render(Place::Json, "{{ journey }}").is_err_and(|flaw| flaw.why.contains("not JSON")));
    }
}
