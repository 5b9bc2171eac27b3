//! Reads a selector, and says what is wrong with what is none.

use regex::{Regex, RegexBuilder};

use crate::config::quote::unquote;

use super::{LabelMatcher, MatchOp, Selector};

/// Longer selectors are refused.
const MAX_LEN: usize = 4096;
/// What one compiled regular expression may take, in bytes.
const MAX_REGEX_SIZE: usize = 1 << 20;

/// What is wrong with a selector, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectorError {
    /// Offset in the text, in bytes; always on a character's boundary.
    pub at: usize,
    pub message: String,
}

impl Selector {
    /// Reads a plain selector of a histogram's base name.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        if text.len() > MAX_LEN {
            return Err(error(0, format!("this selector is longer than {MAX_LEN} bytes")));
        }
        let mut parser = Parser { text, at: 0 };
        let selector = parser.selector()?;
        parser.end()?;
        Ok(selector)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

fn error(at: usize, message: impl Into<String>) -> SelectorError {
    SelectorError { at, message: message.into() }
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Selector, SelectorError> {
        self.skip_space();
        let name_at = self.at;
        let name = self.take_while(|c| is_name_char(c) || c == ':').to_owned();
        if name.is_empty() && self.peek() != Some('{') {
            return Err(error(self.at, self.not_a_name()));
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(error(name_at, format!("expected the name of a histogram, not the number {name}")));
        }
        self.skip_space();
        if self.peek() == Some('(') {
            return Err(error(self.at, not_plain(&format!("the function {name}()"))));
        }
        let mut selector = Selector { metric: name, matchers: Vec::new() };
        let mut name_at = (!selector.metric.is_empty()).then_some(name_at);
        if self.take('{') {
            self.matchers(&mut selector, &mut name_at)?;
        }
        let Some(name_at) = name_at else {
            let message =
                "this names no histogram: write http_request_duration_seconds{...}, with the histogram's name";
            return Err(error(self.at, message));
        };
        check_metric(&selector.metric).map_err(|message| error(name_at, message))?;
        Ok(selector)
    }

    /// What stands between the braces, and the closing one. A `__name__` becomes the metric if there is none yet.
    fn matchers(&mut self, selector: &mut Selector, name_at: &mut Option<usize>) -> Result<(), SelectorError> {
        loop {
            self.skip_space();
            if self.take('}') {
                return Ok(());
            }
            let at = self.at;
            let matcher = self.matcher()?;
            match matcher.name.as_str() {
                "__name__" if matcher.op == MatchOp::Equal && name_at.is_none() => {
                    selector.metric = matcher.value;
                    *name_at = Some(at);
                }
                "__name__" => {
                    return Err(error(at, "a selector names one histogram, once: drop this matcher on __name__"));
                }
                "le" => return Err(error(at, "drop this matcher on le: the latency budget says which bucket counts")),
                _ => selector.matchers.push(matcher),
            }
            self.skip_space();
            if !self.take(',') && self.peek() != Some('}') {
                return Err(error(self.at, self.after_matcher()));
            }
        }
    }

    fn matcher(&mut self) -> Result<LabelMatcher, SelectorError> {
        let at = self.at;
        let name = self.take_while(is_name_char).to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = match self.peek() {
                _ if !name.is_empty() => "a label's name does not start with a digit",
                Some('"' | '\'' | '`') => "expected the plain name of a label; quoted names are not taken here",
                Some(_) => "expected the name of a label, such as layer",
                None => "this selector is not closed: write } at its end",
            };
            return Err(error(at, message));
        }
        self.skip_space();
        let op = self.operator(&name)?;
        self.skip_space();
        let value_at = self.at;
        let (value, len) =
            unquote(&self.text[value_at..]).map_err(|(offset, message)| error(value_at + offset, message))?;
        self.at += len;
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(compile(&value).map_err(|message| error(value_at, message))?),
        };
        Ok(LabelMatcher { name, op, value, regex })
    }

    fn operator(&mut self, name: &str) -> Result<MatchOp, SelectorError> {
        for op in [MatchOp::Regex, MatchOp::NotRegex, MatchOp::NotEqual, MatchOp::Equal] {
            if self.text[self.at..].starts_with(op.as_str()) {
                self.at += op.as_str().len();
                return Ok(op);
            }
        }
        Err(error(self.at, format!("expected =, !=, =~ or !~ after the label {name}")))
    }

    /// Nothing may follow a selector.
    fn end(&mut self) -> Result<(), SelectorError> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let word: &str = rest.split(|c| !is_name_char(c)).next().unwrap_or_default();
        let message = match (rest.chars().next(), word.to_ascii_lowercase().as_str()) {
            (None, _) => return Ok(()),
            (Some('['), _) => "drop the range [...]: the rules say how long their windows are",
            (Some('@'), _) | (_, "offset") => "drop the offset or @: slowburn reads every slot at its own time",
            (Some('+' | '-' | '*' | '/' | '%' | '^' | '=' | '!' | '<' | '>'), _)
            | (_, "and" | "or" | "unless" | "atan2") => {
                "a plain selector of one histogram is wanted, without operators: give the other histogram its own layer"
            }
            (Some('{'), _) => "expected the end of the selector: put all matchers into one {...}, with commas between",
            _ => "expected the end of the selector, or {...} with matchers",
        };
        Err(error(self.at, message))
    }

    fn not_a_name(&self) -> String {
        match self.peek() {
            None => "expected the name of a histogram, such as http_request_duration_seconds".to_owned(),
            Some('(') => not_plain("a parenthesis"),
            Some('"' | '\'' | '`') => {
                "expected the plain name of a histogram; quoted names are not taken here".to_owned()
            }
            Some(c) => format!("expected the name of a histogram, such as http_request_duration_seconds, not {c:?}"),
        }
    }

    fn after_matcher(&self) -> &'static str {
        match self.peek() {
            None => "this selector is not closed: write } at its end",
            Some(_) => "expected , or } after the matcher",
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let len = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn skip_space(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn not_plain(what: &str) -> String {
    format!("a plain selector is wanted, not {what}: write name{{label=\"value\"}}, slowburn computes the rates itself")
}

fn check_metric(metric: &str) -> Result<(), String> {
    if metric.is_empty() {
        return Err("the histogram's name is empty".to_owned());
    }
    let plain =
        metric.chars().all(|c| is_name_char(c) || c == ':') && !metric.starts_with(|c: char| c.is_ascii_digit());
    if !plain {
        return Err(format!("{metric:?} is no metric name: letters, digits, _ and : are taken, and no digit first"));
    }
    for suffix in ["_bucket", "_count", "_sum"] {
        if let Some(base) = metric.strip_suffix(suffix) {
            return Err(format!("write the histogram's base name, without {suffix}: {base}"));
        }
    }
    Ok(())
}

/// As Prometheus compiles it: anchored at both ends, and `.` matches a line's end too.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(MAX_REGEX_SIZE).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "this regular expression is too big: write it shorter".to_owned(),
        error => {
            // The parser's report draws the pattern over several lines; its last one says what is wrong.
            let report = error.to_string();
            let why = report.lines().last().unwrap_or_default();
            format!("this is not a regular expression: {}", why.trim_start_matches("error: "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql_parser::label::{MatchOp as OracleOp, Matchers};
    use promql_parser::parser::{Expr, VectorSelector, parse};
    use proptest::prelude::*;

    #[test]
    fn selectors_read_as_written() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Selector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).to_string(), expected);
        };
        check("http_request_duration_seconds", "http_request_duration_seconds");
        check(" job:latency:seconds { } ", "job:latency:seconds");
        check("x{a=\"b\"}", "x{a=\"b\"}");
        check("x{a='b',}", "x{a=\"b\"}");
        check("x{\n\ta = `\\d+` ,\r\n b!~'c|d'\n}", "x{a=\"\\\\d+\",b!~\"c|d\"}");
        check("x{a!=\"\",a=~\"b\",a=\"b\"}", "x{a!=\"\",a=~\"b\",a=\"b\"}");
        check("{__name__=\"x\",a=\"{}\"}", "x{a=\"{}\"}");
        check("{a=\"b\",__name__='x'}", "x{a=\"b\"}");
        check("x{a=\"/users/{id}\"}", "x{a=\"/users/{id}\"}");
    }

    #[test]
    fn what_is_refused_says_where_and_what_to_write() {
        let check = |text: &str, at: usize, message: &str| {
            let found = Selector::parse(text).unwrap_err();
            assert!(found.message.contains(message), "{text}: {found}");
            assert_eq!(found.at, at, "{text}: {found}");
        };
        check("", 0, "such as http_request_duration_seconds");
        check("  ", 2, "expected the name of a histogram");
        check("5m", 0, "not the number 5m");
        check("%", 0, "not '%'");
        check("(x)", 0, "not a parenthesis");
        check("\"x\"", 0, "quoted names");
        check("rate(x[5m])", 4, "not the function rate()");
        check("histogram_quantile (0.9, x)", 19, "slowburn computes the rates itself");
        check("x[5m]", 1, "drop the range");
        check("x{a=\"b\"}[5m]", 8, "drop the range");
        check("x offset 5m", 2, "drop the offset");
        check("x @ 5", 2, "drop the offset or @");
        check("x / y", 2, "without operators");
        check("x{} OR y", 4, "without operators");
        check("x > 1", 2, "without operators");
        check("x{a=\"b\"}{c=\"d\"}", 8, "one {...}");
        check("sum by (a) (x)", 4, "expected the end");
        check("x_bucket{a=\"b\"}", 0, "without _bucket: x");
        check("x_count", 0, "without _count: x");
        check("{__name__=\"x_sum\"}", 1, "without _sum: x");
        check("x{le=\"1\"}", 2, "drop this matcher on le");
        check("x{__name__=\"x\"}", 2, "drop this matcher on __name__");
        check("{__name__=~\"x.*\"}", 1, "drop this matcher on __name__");
        check("{__name__=\"x\",__name__=\"x\"}", 14, "drop this matcher on __name__");
        check("{__name__=\"\"}", 1, "is empty");
        check("{__name__=\"a b\"}", 1, "is no metric name");
        check("{a=\"b\"}", 7, "this names no histogram");
        check("x{", 2, "write } at its end");
        check("x{a", 3, "expected =, !=, =~ or !~ after the label a");
        check("x{a=b}", 4, "expected a quoted value");
        check("x{a=\"b}", 4, "not closed: write \"");
        check("x{a=\"b\" c=\"d\"}", 8, "expected , or }");
        check("x{a=\"b\"", 7, "write } at its end");
        check("x{,}", 2, "expected the name of a label");
        check("x{1a=\"b\"}", 2, "does not start with a digit");
        check("x{\"a\"=\"b\"}", 2, "quoted names");
        check("x{a=\"\\d\"}", 5, "backticks");
        check("x{a=~\"(\"}", 5, "not a regular expression: unclosed group");
        check("x{a=~\"(a{1000}){1000}\"}", 5, "too big");
        check("x{é=\"b\"}", 2, "expected the name of a label");
        check(&"x".repeat(5000), 0, "longer than 4096 bytes");
    }

    /// What `promql-parser` makes of a text: the metric and its other matchers.
    fn oracle(text: &str) -> (String, Vec<(String, MatchOp, String)>) {
        let Ok(Expr::VectorSelector(VectorSelector {
            name,
            matchers: Matchers { matchers, .. },
            offset: None,
            at: None,
        })) = parse(text)
        else {
            panic!("the oracle does not take {text:?} as a selector: {:?}", parse(text));
        };
        let mut metric = name;
        let mut rest = Vec::new();
        for matcher in matchers {
            let op = match matcher.op {
                OracleOp::Equal => MatchOp::Equal,
                OracleOp::NotEqual => MatchOp::NotEqual,
                OracleOp::Re(_) => MatchOp::Regex,
                OracleOp::NotRe(_) => MatchOp::NotRegex,
            };
            if matcher.name == "__name__" {
                metric = Some(matcher.value);
            } else {
                rest.push((matcher.name, op, matcher.value));
            }
        }
        (metric.unwrap_or_default(), rest)
    }

    fn parts(selector: &Selector) -> (String, Vec<(String, MatchOp, String)>) {
        let matchers = selector.matchers.iter().map(|m| (m.name.clone(), m.op, m.value.clone())).collect();
        (selector.metric.clone(), matchers)
    }

    /// Pieces of selectors, put together at random: many make one, most do not.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-z_:]{1,3}_seconds",
            "\\{|\\}|,|=|!=|=~|!~| |\n",
            "[a-z_]{1,4}(=|!=|=~|!~)(\"[a-zé.*+\\[\\]{}| ]{0,6}\"|'[a-z\"]{0,3}'|`[a-z\\\\.]{0,3}`),?",
            "\"(\\\\[abfnrtv\\\\\"x0-7u][0-9a-f]{0,4}|[a-z]){0,3}\"",
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn whole() -> impl Strategy<Value = String> {
        let matcher = "[a-z_]{1,6} ?(=|!=|=~|!~) ?(\"([a-zé.*{}| 0-9/-]|\\\\[nt\\\\\"]|\\\\u00e9){0,6}\"|'[a-z\"]{0,3}'|`[a-z.+]{0,3}`)";
        ("[a-z:]{1,6}_seconds", prop::collection::vec(matcher, 0..4), "[ \n]?", ",?").prop_map(
            |(name, matchers, space, comma)| {
                let comma = if matchers.is_empty() { "" } else { &comma };
                format!("{name}{space}{{{}{comma}{space}}}", matchers.join(","))
            },
        )
    }

    proptest! {
        #[test]
        fn the_oracle_reads_the_same(text in prop_oneof![pieces(), whole()]) {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(parts(&selector), oracle(&text));
                let shown = selector.to_string();
                prop_assert_eq!(parts(&selector), oracle(&shown));
                prop_assert_eq!(parts(&selector), parts(&Selector::parse(&shown).unwrap()));
            }
        }

        #[test]
        fn any_value_survives(value in any::<String>()) {
            let matcher = LabelMatcher { name: "a".to_owned(), op: MatchOp::Equal, value, regex: None };
            let selector = Selector { metric: "x".to_owned(), matchers: vec![matcher] };
            prop_assert_eq!(parts(&selector), parts(&Selector::parse(&selector.to_string()).unwrap()));
        }

        #[test]
        fn nothing_panics(text in prop_oneof![any::<String>(), "[a-z{}(\\[\"'`\\\\=~!,é ]{0,20}"]) {
            if let Err(error) = Selector::parse(&text) {
                prop_assert!(text.is_char_boundary(error.at));
            }
        }
    }
}
