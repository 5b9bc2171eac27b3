//! What is wrong with a configuration, where, and what to write instead.
//!
//! A [`Diagnostics`] holds every finding of every file in the order of the files. Two forms exist: [`Diagnostics::render`]
//! shows the lines themselves and is for the user's own terminal; `Display` gives one line a finding without any text
//! of the file, for logs and HTTP, because a neighbouring secret could stand on the same line. Secrets are masked in
//! both: the unmasked text is gone once loading has ended.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::decode::Findings;
use super::mask::{masked, without_env};

/// Findings beyond this many are counted, not shown.
const MAX_FINDINGS: usize = 200;
/// Two places at most this many lines apart are shown in one piece.
const MAX_GAP_LINES: usize = 60;
/// Longer labels stand below the line, not beside it.
const MAX_LABEL_CHARS: usize = 40;
/// Longer pieces of a file are named by line and column, not shown.
const MAX_SHOWN_BYTES: usize = 16 << 10;
const WIDTH: usize = 80;

/// A piece of one of the files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Index into the files that were read, the main file first.
    pub file: u16,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is not loaded.
    Error,
    /// The configuration is loaded; somebody should look.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// `None` if it concerns no place in a file that was read.
    pub span: Option<Span>,
    /// One sentence without a full stop; free of secrets.
    pub message: String,
    /// What stands under the caret, often `did you mean 'objective'?`.
    pub label: Option<String>,
    /// Another place that belongs to it, and what it is.
    pub also: Option<(Span, String)>,
    /// What to write instead.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub(super) fn error(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some(span), message)
    }

    pub(super) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Some(span), message)
    }

    /// An error that no line of a file can be blamed for.
    pub(super) fn nowhere(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, None, message)
    }

    fn new(severity: Severity, span: Option<Span>, message: impl Into<String>) -> Self {
        Self { severity, span, message: message.into(), label: None, also: None, help: Vec::new() }
    }

    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let also = self.also.as_mut().map(|(_, text)| text);
        std::iter::once(&mut self.message).chain(&mut self.label).chain(also).chain(&mut self.help)
    }

    fn short_label(&self) -> Option<&str> {
        self.label.as_deref().filter(|label| label.chars().count() <= MAX_LABEL_CHARS)
    }

    pub(super) fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    pub(super) fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.also = Some((span, text.into()));
        self
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

impl Span {
    /// From the start of `self` to the end of `other`.
    pub(super) fn to(self, other: Span) -> Span {
        Span { end: other.end.max(self.end), ..self }
    }
}

/// A file that was read, with its secrets masked.
#[derive(Debug, Clone)]
struct File {
    name: String,
    text: String,
    /// Where each line begins.
    line_starts: Vec<usize>,
}

/// All findings of a load, sorted by file, line and column.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    files: Vec<File>,
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    unreadable: bool,
}

impl Diagnostics {
    /// Sorts the findings and takes every secret out of them and out of the files' texts.
    pub(super) fn new(files: Vec<(String, String)>, findings: Findings) -> Self {
        let Findings { mut list, secrets, broken, from_env } = findings;
        let mask = |(index, (name, text)): (usize, (String, String))| {
            let spans = secrets.iter().filter(|span| usize::from(span.file) == index);
            let is_broken = broken.iter().any(|file| usize::from(*file) == index);
            File::new(name, masked(text, spans, is_broken))
        };
        let files = files.into_iter().enumerate().map(mask).collect();
        list.sort_by(|a, b| a.span.cmp(&b.span).then(a.severity.cmp(&b.severity)).then(a.message.cmp(&b.message)));
        list.dedup();
        if !from_env.is_empty() {
            list.iter_mut().flat_map(Diagnostic::texts).for_each(|text| *text = without_env(text, &from_env));
        }
        let warnings = list.iter().filter(|found| found.severity == Severity::Warning).count();
        let errors = list.len() - warnings;
        list.truncate(MAX_FINDINGS);
        Self { files, list, errors, warnings, unreadable: false }
    }

    /// The main file could not be read at all.
    pub(super) fn unreadable(message: String) -> Self {
        Self { list: vec![Diagnostic::nowhere(message)], errors: 1, unreadable: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether the main file could not be read, so that nothing is known about it.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// File name, line and column (both from 1, the column in characters) of a place.
    pub fn position(&self, span: Span) -> Option<(&str, usize, usize)> {
        let file = self.files.get(usize::from(span.file))?;
        let (line_start, line) = file.line_of(span.start as usize);
        let column = file.text.get(line_start..span.start as usize)?.chars().count() + 1;
        Some((&file.name, line, column))
    }

    /// The findings with the lines they are about, for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
        let mut out = String::new();
        for diagnostic in &self.list {
            out += &renderer.render(&[self.group(diagnostic)]);
            out += "\n\n";
        }
        out += &self.summary();
        out.push('\n');
        out
    }

    /// `2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (n, what) in [(self.errors, "error"), (self.warnings, "warning")] {
            if n > 0 {
                parts.push(format!("{n} {what}{}", if n == 1 { "" } else { "s" }));
            }
        }
        let left_out = self.left_out();
        if left_out > 0 {
            parts.push(format!("the last {left_out} of them not shown"));
        }
        parts.join(", ")
    }

    fn left_out(&self) -> usize {
        self.errors + self.warnings - self.list.len()
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&diagnostic.message));
        for snippet in self.pieces(diagnostic) {
            group = match snippet {
                Piece::Shown(snippet) => group.element(snippet),
                Piece::Named(origin) => group.element(origin),
            };
        }
        if let Some(label) = diagnostic.label.as_ref().filter(|_| diagnostic.short_label().is_none()) {
            group = group.element(Level::NOTE.message(wrapped(label)));
        }
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(wrapped(help)));
        }
        group
    }

    fn pieces<'a>(&'a self, diagnostic: &'a Diagnostic) -> Vec<Piece<'a>> {
        let Some(span) = diagnostic.span else { return Vec::new() };
        let main = Mark { span, label: diagnostic.short_label(), kind: AnnotationKind::Primary };
        let Some((also, text)) = &diagnostic.also else { return self.piece(&[main]).into_iter().collect() };
        let also = Mark { span: *also, label: Some(text), kind: AnnotationKind::Context };
        let line = |span: Span| self.position(span).map_or(0, |(_, line, _)| line);
        if span.file == also.span.file && line(span).abs_diff(line(also.span)) <= MAX_GAP_LINES {
            return self.piece(&[main, also]).into_iter().collect();
        }
        self.piece(&[main]).into_iter().chain(self.piece(&[also])).collect()
    }

    /// The lines from the first to the last of `marks`, all of one file.
    fn piece<'a>(&'a self, marks: &[Mark<'a>]) -> Option<Piece<'a>> {
        let first = marks.first()?;
        let file = self.files.get(usize::from(first.span.file))?;
        let first_byte = marks.iter().map(|mark| mark.span.start as usize).min()?;
        let last_byte = marks.iter().map(|mark| mark.span.start as usize).max()?;
        let (start, line) = file.line_of(first_byte);
        let end = file.line_end(last_byte);
        if end - start > MAX_SHOWN_BYTES {
            let (name, line, column) = self.position(first.span)?;
            return Some(Piece::Named(Origin::path(name).line(line).char_column(column)));
        }
        let annotations = marks.iter().map(|mark| {
            let from = (mark.span.start as usize).clamp(start, end);
            // A value of several lines is marked on its first.
            let to = (mark.span.end as usize).min(file.line_end(from)).max(from);
            mark.kind.span(from - start..to - start).label(mark.label)
        });
        let text = file.text.get(start..end)?;
        Some(Piece::Shown(Snippet::source(text).line_start(line).path(&file.name).annotations(annotations)))
    }
}

enum Piece<'a> {
    Shown(Snippet<'a, annotate_snippets::Annotation<'a>>),
    Named(Origin<'a>),
}

struct Mark<'a> {
    span: Span,
    label: Option<&'a str>,
    kind: AnnotationKind,
}

impl File {
    fn new(name: String, text: String) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, line_starts }
    }

    /// Where the line of a byte begins, and its number from 1.
    fn line_of(&self, byte: usize) -> (usize, usize) {
        let number = self.line_starts.partition_point(|start| *start <= byte);
        (number.checked_sub(1).map_or(0, |index| self.line_starts[index]), number)
    }

    /// Where the line of a byte ends, without its line break.
    fn line_end(&self, byte: usize) -> usize {
        let (start, number) = self.line_of(byte);
        let end = self.line_starts.get(number).copied().unwrap_or(self.text.len());
        let line = self.text.get(start..end).unwrap_or_default();
        start + line.trim_end_matches(['\n', '\r']).len()
    }
}

impl fmt::Display for Diagnostics {
    /// `file:line:column: error: message; what to do`, one line a finding, without any text of the files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            if let Some((file, line, column)) = diagnostic.span.and_then(|span| self.position(span)) {
                write!(f, "{file}:{line}:{column}: ")?;
            }
            let severity = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
            write!(f, "{severity}: {}", one_line(&diagnostic.message))?;
            for part in diagnostic.label.iter().chain(&diagnostic.help) {
                write!(f, "; {}", one_line(part))?;
            }
        }
        if self.left_out() > 0 {
            write!(f, "\nand {} more", self.left_out())?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Breaks a help text so that it fits beside the renderer's margin.
fn wrapped(text: &str) -> String {
    const TEXT_WIDTH: usize = WIDTH - 14;
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > TEXT_WIDTH {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += length;
    }
    out
}
