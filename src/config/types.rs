//! The kinds of values that keys hold: each with its reader and its JSON Schema.

use serde_json::{Value, json};

use crate::engine::rule::{Stage, Urgency};
use crate::engine::sli::{Between, NewSeries};
use crate::engine::time::Duration;

use super::decode::{Decode, Definitions, Findings, Spanned, refuse, scalar, text};
use super::diagnostic::Diagnostic;
use super::secret::Secret;
use super::units;
use super::yaml::{Kind, Node};

/// A map with names of the user's own, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Named<T>(pub Vec<(Spanned<String>, Spanned<T>)>);

/// One value, or a list of them.
#[derive(Debug, Clone)]
pub(super) struct OneOrMore<T>(pub Vec<Spanned<T>>);

/// A length of time that may be zero; a plain [`Duration`] may not.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaybeZero(pub Duration);

/// A latency in nanoseconds, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latency(pub u64);

/// Parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Percent(pub u32);

/// Bytes, at least one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub usize);

/// An `http` or `https` address without credentials in it.
#[derive(Debug, Clone)]
pub(super) struct Url(pub String);

/// An address that is itself a secret: whoever knows it may post.
#[derive(Debug, Clone)]
pub(super) struct SecretUrl(pub Secret);

/// Whether requests count against a budget during maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    Include,
    Exclude,
}

/// How often an incident is told again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Repeat {
    Every(Duration),
    Never,
}

/// No name, selector or address is longer; each of them may be copied into every objective.
const MAX_TEXT_BYTES: usize = 4096;
const DURATION: (&str, &str) = ("a duration", "30s, 10m, 1h30m, 30d or 4w");
const LATENCY: (&str, &str) = ("a latency", "100ms, 2.5ms, 250us or 1s");
const PERCENT: (&str, &str) = ("a percentage", "99.9%, with at most four decimals");
const DURATION_PATTERN: &str = r"^([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$|^0$";

impl Decode for String {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        let scalar = text(node, findings, ("a text", ""))?;
        if scalar.text.len() > MAX_TEXT_BYTES {
            findings.error(node.span, format!("a text longer than {MAX_TEXT_BYTES} bytes"));
            return None;
        }
        Some(scalar.text.clone())
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": MAX_TEXT_BYTES })
    }
}

impl Decode for bool {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, ("a truth value", "true or false"), |text| match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            "yes" | "no" | "on" | "off" | "Yes" | "No" | "On" | "Off" => Err("YAML 1.2 has true and false".to_owned()),
            _ => Err(String::new()),
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "boolean" })
    }
}

impl Decode for u32 {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, ("a whole number", "a number such as 2, without a unit"), |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { text.parse().ok() } else { None };
            number.ok_or_else(|| if digits { "too large".to_owned() } else { String::new() })
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "integer", "minimum": 0 })
    }
}

impl Decode for f64 {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, ("a number", "a number such as 14.4"), |text| {
            let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let number = if decimal { text.parse::<f64>().ok() } else { None };
            number.filter(|number| *number <= 1e15).ok_or_else(String::new)
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "number", "minimum": 0 })
    }
}

impl Decode for Duration {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, DURATION, |text| match units::duration(text)? {
            Duration::ZERO => Err("it must be longer than zero".to_owned()),
            duration => Ok(duration),
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": DURATION_PATTERN })
    }
}

impl Decode for MaybeZero {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, DURATION, |text| units::duration(text).map(MaybeZero))
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "integer"], "pattern": DURATION_PATTERN, "maximum": 0 })
    }
}

impl Decode for Repeat {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, ("a duration", "4h, or never"), |text| match text {
            "never" => Ok(Repeat::Never),
            _ => match units::duration(text)? {
                Duration::ZERO => Err("did you mean 'never'?".to_owned()),
                duration => Ok(Repeat::Every(duration)),
            },
        })
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "anyOf": [{ "const": "never" }, Duration::schema(definitions)] })
    }
}

impl Decode for Latency {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, LATENCY, |text| match units::latency_ns(text)? {
            0 => Err("it must be longer than zero".to_owned()),
            ns => Ok(Latency(ns)),
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(us|µs|ms|s|m)$" })
    }
}

impl Decode for Percent {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, PERCENT, |text| units::percent_ppm(text).map(Percent))
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,4}0*)? *%$" })
    }
}

impl Decode for Bytes {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, ("a size", "64MiB, or a number of bytes"), |text| match units::bytes(text)? {
            0 => Err("it must be larger than zero".to_owned()),
            bytes => Ok(Bytes(bytes)),
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "integer"], "pattern": r"^[0-9]+ *(B|KiB|MiB|GiB)?$", "minimum": 1 })
    }
}

impl Decode for Url {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        // Somebody wrote a password into it, and the line is about to be shown.
        if text(node, findings, URL)?.text.contains('@') {
            findings.secrets.push(node.span);
            findings.add(Diagnostic::error(node.span, "an address must not hold credentials").help(
                "take them out of the address and use basic_auth: {username, password_file} or bearer_token_file",
            ));
            return None;
        }
        scalar(node, findings, URL, |text| checked_url(text).map(|()| Url(text.to_owned())))
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "format": "uri", "pattern": "^https?://" })
    }
}

impl Decode for Secret {
    const SECRET: bool = true;

    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        cover(node, findings);
        text(node, findings, ("a secret", "")).map(|scalar| Secret::new(scalar.text.clone()))
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Decode for SecretUrl {
    const SECRET: bool = true;

    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        cover(node, findings);
        let scalar = text(node, findings, URL)?;
        match checked_url(&scalar.text) {
            Ok(()) => Some(SecretUrl(Secret::new(scalar.text.clone()))),
            Err(why) => {
                findings.add(Diagnostic::error(node.span, "not an http address").label(why).help(HELP_URL));
                None
            }
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        Url::schema(definitions)
    }
}

impl<T: Decode> Decode for Vec<Spanned<T>> {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.kind {
            Kind::List(items) => Some(decode_all(items, findings)),
            Kind::Scalar(scalar) if scalar.is_null() => Some(Vec::new()),
            _ => refuse(node, findings, "a list", "write [one, another], or one '- ' line each"),
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "type": ["array", "null"], "items": T::schema(definitions) })
    }
}

impl<T: Decode> Decode for OneOrMore<T> {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.kind {
            Kind::List(items) if items.is_empty() => {
                findings.error(node.span, "this list is empty");
                None
            }
            Kind::List(items) => Some(OneOrMore(decode_all(items, findings))),
            _ => T::decode(node, findings).map(|value| OneOrMore(vec![Spanned { value, span: node.span }])),
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        let one = T::schema(definitions);
        json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

impl<T: Decode> Decode for Named<T> {
    const SECRET: bool = T::SECRET;

    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            if matches!(&node.kind, Kind::Scalar(scalar) if scalar.is_null()) {
                return Some(Named(Vec::new()));
            }
            return refuse(node, findings, "a map of names to values", "write {name: value, ...}");
        };
        let decoded = entries.iter().filter_map(|(key, node)| {
            let value = T::decode(node, findings)?;
            Some((Spanned { value: key.name.clone(), span: key.span }, Spanned { value, span: node.span }))
        });
        Some(Named(decoded.collect()))
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "type": ["object", "null"], "additionalProperties": T::schema(definitions) })
    }
}

fn decode_all<T: Decode>(items: &[Node], findings: &mut Findings) -> Vec<Spanned<T>> {
    let decoded = items.iter().map(|item| (T::decode(item, findings), item.span));
    decoded.filter_map(|(value, span)| value.map(|value| Spanned { value, span })).collect()
}

/// Keeps a secret's text from being shown; a mere reference to the environment gives nothing away.
fn cover(node: &Node, findings: &mut Findings) {
    let written = match &node.kind {
        Kind::Scalar(scalar) => scalar.written.as_deref().unwrap_or_default(),
        Kind::Broken(written) => written,
        Kind::List(_) | Kind::Map(_) => "",
    };
    let inside = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    if inside.is_none_or(|inside| inside.contains('}')) {
        findings.secrets.push(node.span);
    }
}

const URL: (&str, &str) = ("an http address", HELP_URL);
const HELP_URL: &str = "an address such as http://localhost:9090 or https://example.com/path";

/// The reason never quotes the address.
pub(super) fn checked_url(text: &str) -> Result<(), String> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err("it must begin with http:// or https://".to_owned());
    }
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it holds white space".to_owned());
    }
    if url.fragment().is_some() { Err("it must not hold a '#'".to_owned()) } else { Ok(()) }
}

/// Declares a value that is one of a few words.
macro_rules! choice {
    ($type:ty, $what:literal, { $($word:literal => $value:expr),+ $(,)? }) => {
        impl $crate::config::decode::Decode for $type {
            fn decode(
                node: &$crate::config::yaml::Node,
                findings: &mut $crate::config::decode::Findings,
            ) -> Option<Self> {
                use $crate::config::decode::{clipped, nearest, text};
                use $crate::config::diagnostic::Diagnostic;
                let words = [$($word),+];
                let scalar = text(node, findings, ($what, ""))?;
                match scalar.text.as_str() {
                    $($word => Some($value),)+
                    wrong => {
                        let message = format!("'{}' is not {}", clipped(scalar.shown()), $what);
                        let diagnostic = Diagnostic::error(node.span, message);
                        let diagnostic = match nearest(wrong, words.into_iter()) {
                            Some(word) => diagnostic.label(format!("did you mean '{word}'?")),
                            None => diagnostic,
                        };
                        findings.add(diagnostic.help(format!("one of: {}", words.join(", "))));
                        None
                    }
                }
            }

            fn schema(_: &mut $crate::config::decode::Definitions) -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
        }
    };
}
pub(super) use choice;

choice!(Urgency, "an urgency", { "page" => Urgency::Page, "ticket" => Urgency::Ticket });
choice!(Stage, "a stage", { "warning" => Stage::Warning, "critical" => Stage::Critical });
choice!(Between, "a choice for a budget between two bounds", {
    "refuse" => Between::Refuse,
    "lower" => Between::Lower,
    "upper" => Between::Upper,
    "interpolate" => Between::Interpolate,
});
choice!(Counting, "a choice for a budget in maintenance", {
    "include" => Counting::Include,
    "exclude" => Counting::Exclude,
});
choice!(NewSeries, "a choice for new series", { "skip" => NewSeries::Skip, "zero" => NewSeries::Zero });
