//! Lines of coloured text of a known width, painted last.

use std::fmt::Write as _;

use owo_colors::Style;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Title,
    Dim,
    Good,
    Warning,
    Critical,
}

/// Spans of text, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<(String, Paint)>,
}

impl Line {
    pub fn new(text: impl Into<String>, paint: Paint) -> Self {
        Self::default().then(text, paint)
    }

    pub fn then(mut self, text: impl Into<String>, paint: Paint) -> Self {
        self.spans.push((text.into(), paint));
        self
    }

    /// The line as the terminal gets it, cut to `columns`.
    pub fn painted(&self, columns: usize, colours: bool) -> String {
        let mut left = columns;
        let mut out = String::new();
        for (text, paint) in &self.spans {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            if colours && *paint != Paint::Plain {
                let _ = write!(out, "{}", paint.style().style(&text));
            } else {
                out.push_str(&text);
            }
        }
        if colours { out } else { out.trim_end().to_owned() }
    }
}

impl Paint {
    fn style(self) -> Style {
        match self {
            Paint::Plain => Style::new(),
            Paint::Title => Style::new().bold(),
            Paint::Dim => Style::new().dimmed(),
            Paint::Good => Style::new().green(),
            Paint::Warning => Style::new().yellow().bold(),
            Paint::Critical => Style::new().red().bold(),
        }
    }
}

/// Breaks `text` at blanks into lines of at most `columns`; a longer word is cut.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().take(columns.max(1)).collect();
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_before_they_are_painted() {
        let line = Line::new("all ", Paint::Plain).then("is well", Paint::Good).then(" here", Paint::Dim);
        assert_eq!(line.painted(80, false), "all is well here");
        assert_eq!(line.painted(6, false), "all is");
        assert_eq!(line.painted(6, true), "all \u{1b}[32mis\u{1b}[0m\u{1b}[2m\u{1b}[0m");
    }

    #[test]
    fn text_is_broken_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one twothree", 5), ["one", "twoth"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
