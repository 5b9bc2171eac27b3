//! CSV as the tree that YAML would be: a row is a map of the header's names to its values, and each knows its place.
//!
//! RFC 4180, with `;` or tabs between values where the header has them (as spreadsheets of some countries write), and
//! without the byte order mark that others begin with. No type is guessed; an empty value is one that is not there.

use crate::config::decode::Findings;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::yaml::{Key, Kind, Node, Scalar};

const SEPARATORS: [char; 3] = [',', ';', '\t'];
/// The columns that every file has.
const REQUIRED: [&str; 3] = ["journey", "start", "end"];
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    text: String,
    span: Span,
}

/// Whether a text's first line names columns, `journey` among them.
pub(super) fn seems_so(text: &str) -> bool {
    let header = text.trim_start_matches(BYTE_ORDER_MARK).lines().next().unwrap_or_default();
    let separator = separator(header);
    header.contains(separator) && header.split(separator).any(|name| name.trim().trim_matches('"') == "journey")
}

/// `None` if there is not even a header, or it is wrong, or a quote is never closed, which is reported.
pub(super) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    let mut rows = Rows::new(text).read(findings)?.into_iter();
    let header = rows.next()?;
    if !is_sound(&header, findings) {
        return None;
    }
    let incidents = rows.map(|cells| row(&header, cells, findings)).collect();
    let whole = Span { file: 0, start: 0, end: text.len() as u32 };
    let start = Span { end: 0, ..whole };
    let key = Key { name: "incidents".to_owned(), span: start };
    let list = Node { span: whole, kind: Kind::List(incidents) };
    Some(Node { span: whole, kind: Kind::Map(vec![(key, list)]) })
}

/// Reports a column that is there twice, of which one would be left out without a word, and one that is missing, once
/// instead of row by row.
fn is_sound(header: &[Cell], findings: &mut Findings) -> bool {
    let mut sound = true;
    for (index, cell) in header.iter().enumerate().filter(|(_, cell)| !cell.text.is_empty()) {
        if let Some(first) = header[..index].iter().find(|first| first.text == cell.text) {
            let message = format!("the column '{}' stands here twice", cell.text);
            findings.add(
                Diagnostic::error(cell.span, message).also(first.span, "first here").help("rename one of the two"),
            );
            sound = false;
        }
    }
    let missing: Vec<String> = REQUIRED
        .iter()
        .filter(|name| header.iter().all(|cell| cell.text != **name))
        .map(|name| format!("'{name}'"))
        .collect();
    if let (Some(first), false) = (header.first(), missing.is_empty()) {
        let span = Span { end: header[header.len() - 1].span.end, ..first.span };
        let message = format!("the first line names no column {}", missing.join(", "));
        findings.add(
            Diagnostic::error(span, message)
                .help("write journey,layer,start,end,note, of which layer and note may be left out"),
        );
        sound = false;
    }
    sound
}

fn row(header: &[Cell], cells: Vec<Cell>, findings: &mut Findings) -> Node {
    let span = match (cells.first(), cells.last()) {
        (Some(first), Some(last)) => Span { end: last.span.end, ..first.span },
        _ => Span { file: 0, start: 0, end: 0 },
    };
    if let Some(extra) = cells.get(header.len()) {
        let message = format!("{} values under {} names", cells.len(), header.len());
        let help = "quote a value that has a separator in it: \"one, two\"";
        findings.add(Diagnostic::error(extra.span, message).help(help));
    }
    let present = header.iter().zip(cells).filter(|(_, cell)| !cell.text.is_empty());
    let entries = present.map(|(name, cell)| {
        let key = Key { name: name.text.clone(), span: name.span };
        let scalar = Scalar { text: cell.text, plain: false, written: None };
        (key, Node { span: cell.span, kind: Kind::Scalar(scalar) })
    });
    Node { span, kind: Kind::Map(entries.collect()) }
}

/// The separator that a header has most of.
fn separator(header: &str) -> char {
    let count = |separator: &char| header.matches(*separator).count();
    // Of equals the last is taken, and the comma is it.
    SEPARATORS.into_iter().rev().max_by_key(count).unwrap_or(SEPARATORS[0])
}

struct Rows<'a> {
    text: &'a str,
    at: usize,
    separator: char,
}

impl<'a> Rows<'a> {
    fn new(text: &'a str) -> Self {
        let at = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        Self { text, at, separator: separator(text[at..].lines().next().unwrap_or_default()) }
    }

    /// All rows but those without a value. Every name of the first is kept, an empty one, too.
    fn read(mut self, findings: &mut Findings) -> Option<Vec<Vec<Cell>>> {
        let (mut rows, mut row) = (Vec::new(), Vec::new());
        while self.at < self.text.len() {
            row.push(self.cell(findings)?);
            let rest = &self.text[self.at..];
            if let Some(after) = rest.strip_prefix(self.separator) {
                self.at = self.text.len() - after.len();
                if !after.is_empty() {
                    continue;
                }
                row.push(Cell { text: String::new(), span: self.span(self.at, self.at) });
            }
            self.at += rest.starts_with('\r') as usize;
            self.at += self.text[self.at..].starts_with('\n') as usize;
            let row = std::mem::take(&mut row);
            if row.iter().any(|cell| !cell.text.is_empty()) {
                rows.push(row);
            }
        }
        Some(rows)
    }

    /// Reads up to the next separator or the line's end.
    fn cell(&mut self, findings: &mut Findings) -> Option<Cell> {
        let start = self.at;
        let rest = &self.text[start..];
        if !rest.starts_with('"') {
            let length = rest.find([self.separator, '\n', '\r']).unwrap_or(rest.len());
            self.at += length;
            let written = &rest[..length];
            let (before, text) = (written.len() - written.trim_start().len(), written.trim());
            let span = self.span(start + before, start + before + text.len());
            return Some(Cell { text: text.to_owned(), span });
        }
        let mut text = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let Some(length) = rest.find('"') else {
                let quote = self.span(start, start + 1);
                findings.add(
                    Diagnostic::error(quote, "this quote is never closed")
                        .help("a quote within quotes is written \"\""),
                );
                return None;
            };
            text.push_str(&rest[..length]);
            self.at += length + 1;
            if !self.text[self.at..].starts_with('"') {
                break;
            }
            text.push('"');
            self.at += 1;
        }
        let rest = &self.text[self.at..];
        let length = rest.find([self.separator, '\n', '\r']).unwrap_or(rest.len());
        if !rest[..length].trim().is_empty() {
            let stray = self.span(self.at, self.at + length);
            let diagnostic = Diagnostic::error(stray, "a value goes on after its closing quote");
            findings.add(diagnostic.help("a quote within quotes is written \"\""));
        }
        let span = self.span(start, self.at);
        self.at += length;
        Some(Cell { text, span })
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: 0, start: start as u32, end: end as u32 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let mut findings = Findings::default();
        let rows = Rows::new(text).read(&mut findings).unwrap_or_default();
        let rows = rows.into_iter().map(|row| row.into_iter().map(|cell| cell.text).collect());
        (rows.collect(), findings.list.into_iter().map(|found| found.message).collect())
    }

    #[test]
    fn rows_are_read() {
        let check = |text: &str, expected: &[&[&str]]| {
            assert_eq!(
                rows(text),
                (expected.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect(), vec![]),
                "{text:?}"
            )
        };
        check("", &[]);
        check("a,b\n1,2\n", &[&["a", "b"], &["1", "2"]]);
        check("\u{feff}a;b\r\n1;2\r\n\r\n;\r\n3;", &[&["a", "b"], &["1", "2"], &["3", ""]]);
        check("a\tb\n 1 \t x y \n", &[&["a", "b"], &["1", "x y"]]);
        check("a,b\n\"x, \"\"y\"\"\nz\",2", &[&["a", "b"], &["x, \"y\"\nz", "2"]]);
        assert_eq!(rows("a,b\n\"x,2\n").1, ["this quote is never closed"]);
        assert_eq!(rows("a,b\n\"x\"y,2\n").1, ["a value goes on after its closing quote"]);
        assert!(
            seems_so("note,journey\n") && !seems_so("journey: checkout\n") && !seems_so("incidents:\n  - journey, x\n")
        );
    }

    proptest! {
        /// Against what the csv crate writes.
        #[test]
        fn what_was_written_is_read(
            table in prop::collection::vec(prop::collection::vec("[a-z\",;\n\t ]{0,6}[a-z]", 3), 1..6),
            separator in prop::sample::select(vec![b',', b';', b'\t']),
        ) {
            let mut written = csv::WriterBuilder::new().delimiter(separator).quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
            written.write_record(["journey", "start", "end"]).unwrap();
            table.iter().for_each(|row| written.write_record(row).unwrap());
            let text = String::from_utf8(written.into_inner().unwrap()).unwrap();
            let (read, wrong) = rows(&text);
            prop_assert_eq!(&read[1..], &table[..]);
            prop_assert!(wrong.is_empty());
        }

        #[test]
        fn no_text_panics(text in "[a,;\"\r\n\tä\u{feff} ]{0,24}") {
            parse(&text, &mut Findings::default());
        }
    }
}
