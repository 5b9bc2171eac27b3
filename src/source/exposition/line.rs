//! One line of an exposition, read from left to right.

use std::borrow::Cow;

use super::{ExpositionError, Format, Sample};

/// More labels than this on one series are refused.
const MAX_LABELS: usize = 128;
/// How much of the text an error repeats, in characters.
const FOUND_CHARS: usize = 20;

type Label<'a> = (Cow<'a, str>, Cow<'a, str>);
type Read<T> = Result<T, ExpositionError>;

pub(super) struct Line<'a> {
    text: &'a str,
    /// Offset of what is not read yet, in bytes.
    at: usize,
    number: usize,
    format: Format,
}

impl<'a> Line<'a> {
    pub fn new(text: &'a str, number: usize, format: Format) -> Self {
        Self { text, at: 0, number, format }
    }

    pub fn is_eof(&self) -> bool {
        self.format == Format::OpenMetrics && self.text == "# EOF"
    }

    /// The line's sample; `None` for a comment, or for a blank line where those are allowed.
    pub fn read(mut self) -> Read<Option<Sample<'a>>> {
        if self.format == Format::Prometheus {
            self.skip_blanks();
        }
        match self.peek() {
            None if self.format == Format::Prometheus => Ok(None),
            None => self.fail("a sample or a comment"),
            Some('#') => self.comment().map(|()| None),
            Some(_) => self.sample().map(Some),
        }
    }

    /// `# TYPE`, `# HELP` and `# UNIT` must name a metric; OpenMetrics knows no others. What a help says is read by
    /// nobody here, so nothing in it is refused.
    fn comment(&mut self) -> Read<()> {
        self.at += 1;
        if self.format == Format::OpenMetrics {
            self.one(' ', "a blank after \"#\"")?;
        }
        self.skip_blanks();
        let start = self.at;
        match self.word() {
            "TYPE" => self.type_comment(),
            "HELP" => self.metric_of_comment(),
            "UNIT" if self.format == Format::OpenMetrics => self.metric_of_comment(),
            _ if self.format == Format::Prometheus => Ok(()),
            _ => {
                self.at = start;
                self.fail("TYPE, HELP, UNIT or EOF after \"# \"")
            }
        }
    }

    fn type_comment(&mut self) -> Read<()> {
        const PROMETHEUS: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];
        const OPENMETRICS: [&str; 8] =
            ["counter", "gauge", "histogram", "gaugehistogram", "stateset", "info", "summary", "unknown"];
        self.metric_of_comment()?;
        let start = self.at;
        let kinds: &[&str] = if self.format == Format::Prometheus { &PROMETHEUS } else { &OPENMETRICS };
        if !kinds.contains(&self.word()) {
            self.at = start;
            return self.fail(&format!("one of {}", kinds.join(", ")));
        }
        self.end()
    }

    /// The metric that a comment is about, and the blank behind it.
    fn metric_of_comment(&mut self) -> Read<()> {
        self.gap()?;
        match self.peek() {
            Some('"') => drop(self.quoted("a metric's name")?),
            _ => drop(self.name(true, "a metric's name")?),
        }
        if self.peek().is_some() { self.gap() } else { Ok(()) }
    }

    fn sample(&mut self) -> Read<Sample<'a>> {
        let mut name = match self.peek() {
            Some('{') => None,
            _ => Some(Cow::Borrowed(self.name(true, "a metric's name")?)),
        };
        if self.format == Format::Prometheus {
            self.skip_blanks();
        }
        let mut labels = Vec::new();
        if self.peek() == Some('{') {
            self.labels(&mut name, &mut labels)?;
            if self.format == Format::OpenMetrics {
                self.one(' ', "a blank before the value")?;
            }
            self.skip_inner_blanks();
        } else if self.format == Format::OpenMetrics {
            self.one(' ', "a blank or \"{\" after the name")?;
        }
        let Some(name) = name else { return self.fail("a metric's name within or before the braces") };
        let value = self.number("a number")?;
        let timestamp_ms = self.timestamp()?;
        self.exemplar()?;
        self.end()?;
        Ok(Sample { name, labels, value, timestamp_ms })
    }

    /// From `{` to `}`. A quoted string that no `=` follows is the metric's name.
    fn labels(&mut self, name: &mut Option<Cow<'a, str>>, labels: &mut Vec<Label<'a>>) -> Read<()> {
        self.one('{', "\"{\"")?;
        loop {
            self.skip_inner_blanks();
            if self.peek() == Some('}') {
                break;
            }
            let start = self.at;
            let label = match self.peek() {
                Some('"') => self.quoted("a label's name")?,
                _ => Cow::Borrowed(self.name(false, "a label's name or \"}\"")?),
            };
            self.skip_inner_blanks();
            if self.text[start..].starts_with('"') && self.peek() != Some('=') && name.is_none() && labels.is_empty() {
                *name = Some(label);
            } else {
                self.one('=', "\"=\" after the label's name")?;
                self.skip_inner_blanks();
                let value = self.quoted("a value in double quotes")?;
                self.add(labels, (label, value), start)?;
            }
            self.skip_inner_blanks();
            if self.peek() != Some('}') {
                self.one(',', "\",\" or \"}\" after the label")?;
            }
        }
        self.one('}', "\"}\"")
    }

    fn add(&mut self, labels: &mut Vec<Label<'a>>, label: Label<'a>, start: usize) -> Read<()> {
        let expected = match () {
            () if labels.len() == MAX_LABELS => format!("at most {MAX_LABELS} labels"),
            () if labels.iter().any(|(name, _)| *name == label.0) => "each label only once".to_owned(),
            () => {
                labels.push(label);
                return Ok(());
            }
        };
        self.at = start;
        self.fail(&expected)
    }

    fn timestamp(&mut self) -> Read<Option<i64>> {
        if !self.gap_before(|c| c != '#')? {
            return Ok(None);
        }
        let start = self.at;
        let word = self.word();
        let ms = match self.format {
            Format::Prometheus => word.parse().ok(),
            Format::OpenMetrics => {
                word.parse().ok().filter(|s: &f64| s.is_finite()).map(|s| (s * 1000.0).round() as i64)
            }
        };
        if ms.is_none() {
            self.at = start;
            let unit = if self.format == Format::Prometheus { "whole milliseconds" } else { "seconds" };
            return self.fail(&format!("a timestamp in {unit} or the end of the line"));
        }
        Ok(ms)
    }

    /// ` # {labels} value [timestamp]`, which is checked and dropped.
    fn exemplar(&mut self) -> Read<()> {
        if self.format == Format::Prometheus || !self.gap_before(|c| c == '#')? {
            return Ok(());
        }
        self.one('#', "\"#\"")?;
        self.one(' ', "a blank after \"#\"")?;
        // Within an exemplar's braces there is no metric's name to find.
        self.labels(&mut Some(Cow::Borrowed("")), &mut Vec::new())?;
        self.one(' ', "a blank before the exemplar's value")?;
        self.number("a number")?;
        self.timestamp().map(drop)
    }

    fn number(&mut self, expected: &str) -> Read<f64> {
        let start = self.at;
        if let Ok(number) = self.word().parse() {
            return Ok(number);
        }
        self.at = start;
        self.fail(expected)
    }

    fn name(&mut self, colons: bool, expected: &str) -> Read<&'a str> {
        let rest = &self.text[self.at..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
        let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if length == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.fail(expected);
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn quoted(&mut self, expected: &str) -> Read<Cow<'a, str>> {
        self.one('"', expected)?;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            let plain = self.at;
            let rest = &self.text[plain..];
            let Some(length) = rest.find(['"', '\\']) else {
                self.at = self.text.len();
                return self.fail("a closing double quote");
            };
            self.at += length + 1;
            if rest.as_bytes()[length] == b'"' {
                return Ok(match unescaped {
                    None => Cow::Borrowed(&self.text[start..plain + length]),
                    Some(text) => Cow::Owned(text + &rest[..length]),
                });
            }
            let c = match self.peek() {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                _ => {
                    self.at -= 1;
                    return self.fail("one of the escapes \\\\, \\\" and \\n");
                }
            };
            self.at += 1;
            let text = unescaped.get_or_insert_default();
            text.push_str(&rest[..length]);
            text.push(c);
        }
    }

    /// What stands before the next blank.
    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.find([' ', '\t']).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// The blanks between two parts: exactly one in OpenMetrics.
    fn gap(&mut self) -> Read<()> {
        match self.format {
            Format::OpenMetrics => self.one(' ', "one blank"),
            Format::Prometheus if matches!(self.peek(), Some(' ' | '\t')) => {
                self.skip_blanks();
                Ok(())
            }
            Format::Prometheus => self.fail("a blank"),
        }
    }

    /// Takes the gap if a part follows it that starts as `wanted`; leaves everything where it is if none does.
    fn gap_before(&mut self, wanted: impl Fn(char) -> bool) -> Read<bool> {
        let start = self.at;
        if self.peek().is_none() {
            return Ok(false);
        }
        self.gap()?;
        let follows = self.peek().is_some_and(wanted);
        if !follows {
            self.at = start;
        }
        Ok(follows)
    }

    fn end(&mut self) -> Read<()> {
        if self.format == Format::Prometheus {
            self.skip_blanks();
        }
        if self.peek().is_some() { self.fail("the end of the line") } else { Ok(()) }
    }

    fn one(&mut self, wanted: char, expected: &str) -> Read<()> {
        if self.peek() != Some(wanted) {
            return self.fail(expected);
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    fn skip_inner_blanks(&mut self) {
        if self.format == Format::Prometheus {
            self.skip_blanks();
        }
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn fail<T>(&self, expected: &str) -> Read<T> {
        let found: String = self.text[self.at..].chars().take(FOUND_CHARS).collect();
        let found = if found.is_empty() { "the end of the line".to_owned() } else { format!("{found:?}") };
        let column = self.text[..self.at].chars().count() + 1;
        Err(ExpositionError { line: self.number, column, expected: expected.to_owned(), found })
    }
}
