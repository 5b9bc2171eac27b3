//! A strict reader of what services show under `/metrics`: Prometheus' text format and OpenMetrics' text format.
//!
//! It yields samples one by one, borrowed from the text, and stops at the first line that is not as the format says,
//! with the place and what was expected. It never guesses, and never skips a line it cannot read.
//!
//! ```
//! use slowburn::source::exposition::{Format, Reader};
//! let text = "# TYPE requests counter\nrequests{path=\"/users/{id}\"} 12 1772366400000\n";
//! let samples: Vec<_> = Reader::new(text, Format::Prometheus).collect::<Result<_, _>>().unwrap();
//! assert_eq!((samples[0].name.as_ref(), samples[0].labels[0].1.as_ref()), ("requests", "/users/{id}"));
//!
//! let error = Reader::new("requests{path=} 1\n", Format::Prometheus).next().unwrap().unwrap_err();
//! assert_eq!(error.to_string(), "line 1, column 15: expected a value in double quotes, found \"} 1\"");
//! ```

mod line;

use std::borrow::Cow;

use thiserror::Error;

use self::line::Line;

/// The longest line that is read, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4` and `1.0.0`: timestamps in milliseconds, blanks where one likes.
    Prometheus,
    /// `application/openmetrics-text`: timestamps in seconds, exemplars, `# EOF` at the end.
    OpenMetrics,
}

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    pub name: Cow<'a, str>,
    /// As they stand; no name occurs twice.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub value: f64,
    pub timestamp_ms: Option<i64>,
}

/// Where a text leaves the format, and what should have been there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: expected {expected}, found {found}")]
pub struct ExpositionError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    pub expected: String,
    /// The beginning of what stands there instead.
    pub found: String,
}

/// The samples of a text, in order; ends after the first error.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    /// `# EOF` was read, or an error was.
    ended: bool,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str, format: Format) -> Self {
        Self { rest: text, format, line: 0, ended: false }
    }

    /// The next line without its end, or `None` at the end of the text.
    fn line(&mut self) -> Result<Option<Line<'a>>, ExpositionError> {
        if self.rest.is_empty() {
            return match self.format {
                Format::OpenMetrics => Err(self.error("\"# EOF\"", "the end of the text")),
                Format::Prometheus => Ok(None),
            };
        }
        self.line += 1;
        let window = &self.rest.as_bytes()[..self.rest.len().min(MAX_LINE_BYTES + 1)];
        let (line, rest) = match window.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None if window.len() > MAX_LINE_BYTES => {
                return Err(self.error(&format!("at most {MAX_LINE_BYTES} bytes in a line"), "more"));
            }
            None if self.format == Format::OpenMetrics && self.rest == "# EOF" => (self.rest, ""),
            // A text that was cut off may end in half a number.
            None => return Err(self.error("a line feed after the last line", "the end of the text")),
        };
        self.rest = rest;
        Ok(Some(Line::new(line, self.line, self.format)))
    }

    fn error(&self, expected: &str, found: &str) -> ExpositionError {
        ExpositionError { line: self.line.max(1), column: 1, expected: expected.to_owned(), found: found.to_owned() }
    }

    fn sample(&mut self) -> Result<Option<Sample<'a>>, ExpositionError> {
        while let Some(line) = self.line()? {
            if line.is_eof() {
                self.ended = true;
                return match self.rest {
                    "" => Ok(None),
                    _ => Err(self.error("nothing after \"# EOF\"", "more lines")),
                };
            }
            if let Some(sample) = line.read()? {
                return Ok(Some(sample));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Sample<'a>, ExpositionError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.sample().transpose();
        self.ended |= !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests;
