//! PromQL selectors of one metric: `name{label="value", other=~"regex"}` and nothing more.

use std::fmt;

use regex::Regex;

use crate::engine::histogram::Labels;

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
            write!(f, "{comma}{}{}{:?}", matcher.name, matcher.op.as_str(), matcher.value)?;
        }
        f.write_str("}")
    }
}
