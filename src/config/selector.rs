//! PromQL selectors of one histogram: `name{label="value", other=~"regex"}` and nothing more.
//!
//! The name is the histogram's base name, without `_bucket`. Functions, ranges, offsets and operators are refused with
//! a word on what to write instead: the windows belong to the rules, and the rates are computed here.
//!
//! ```
//! use slowburn::config::selector::Selector;
//! let selector = Selector::parse("request_duration_seconds{layer='edge'}").unwrap();
//! assert_eq!(selector.to_string(), r#"request_duration_seconds{layer="edge"}"#);
//! assert_eq!(Selector::parse("rate(x[5m])").unwrap_err().at, 4);
//! ```

use std::fmt;

use regex::Regex;

use crate::engine::histogram::Labels;

use super::quote::quote;

mod parse;

pub use parse::SelectorError;

/// A plain instant-vector selector of a histogram's base name.
#[derive(Debug, Clone)]
pub struct Selector {
    /// Without `_bucket`.
    pub metric: String,
    /// In the order the user wrote them.
    pub matchers: Vec<LabelMatcher>,
}

#[derive(Debug, Clone)]
pub struct LabelMatcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    /// Compiled and anchored at both ends, for the two regex operators.
    pub(crate) regex: Option<Regex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl Selector {
    /// Whether a series with these labels is selected; a label that is absent counts as empty, as in PromQL.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).map_or("", String::as_str)))
    }
}

impl LabelMatcher {
    pub fn matches(&self, value: &str) -> bool {
        let hit = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => self.value == value,
        };
        hit == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }
}

impl MatchOp {
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

impl fmt::Display for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.name, self.op.as_str(), quote(&self.value))
    }
}

impl fmt::Display for Selector {
    /// PromQL text that Prometheus reads back as the same selector.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        if self.matchers.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, matcher) in self.matchers.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{matcher}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_matched_as_prometheus_does() {
        let labels: Labels = [("layer", "edge"), ("path", "/a\nb")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let check = |text: &str, expected: bool| {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        };
        check("x", true);
        check("x{layer=\"edge\"}", true);
        check("x{layer=\"edg\"}", false);
        check("x{layer!=\"edge\"}", false);
        check("x{layer!=\"gateway\",layer=~\"e.*\"}", true);
        // Anchored at both ends, also around an alternative.
        check("x{layer=~\"dge\"}", false);
        check("x{layer=~\"ed|ge\"}", false);
        check("x{layer!~\"ed|ge\"}", true);
        check("x{layer=~\"(?i)EDGE\"}", true);
        check("x{path=~\"/a.b\"}", true);
        // A label that is absent is an empty one.
        check("x{zone=\"\"}", true);
        check("x{zone!=\"\"}", false);
        check("x{zone=~\".*\"}", true);
        check("x{zone=~\".+\"}", false);
        check("x{zone!~\".+\"}", true);
    }
}
