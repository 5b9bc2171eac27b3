//! What came of tests, for people: at most 80 columns wide, but for names that are longer than that. Colours are for
//! the caller to drop where they are not wanted.

use std::fmt::Write as _;
use std::path::Path;

use owo_colors::{OwoColorize as _, Style};

use crate::config::Config;
use crate::engine::time::Duration;

use super::{Failure, Row, TestResult, Verdict, words};

const WIDTH: usize = 80;

/// How many tests came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    /// Tests of which nothing could be checked.
    pub skipped: usize,
    /// Expectations that could not be checked, in whatever tests.
    pub checks_skipped: usize,
}

impl Tally {
    pub fn add(&mut self, result: &TestResult<'_>) {
        match () {
            () if result.failed() => self.failed += 1,
            () if result.skipped() => self.skipped += 1,
            () => self.passed += 1,
        }
        let skipped = result.checks.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Skipped(_)));
        self.checks_skipped += skipped.count();
    }

    /// The last line.
    pub fn in_words(&self) -> String {
        let Self { passed, failed, skipped, checks_skipped } = *self;
        let mut parts = vec![format!("{passed} passed")];
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        if skipped > 0 {
            parts.push(format!("{skipped} skipped"));
        }
        let mut line = format!("{}: {}", counted(passed + failed + skipped, "test"), parts.join(", "));
        if checks_skipped > 0 {
            let _ = write!(line, "; {} not checked", counted(checks_skipped, "expectation"));
        }
        line
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One test: a line, and where it failed, what was expected and what came. `quiet` leaves out tests that did not fail.
pub fn result(path: &Path, result: &TestResult<'_>, quiet: bool) -> String {
    let mut out = String::new();
    let (name, plain) = (&result.test.name, Style::new());
    let (mark, style) = match () {
        () if result.failed() => ("FAILED  ", plain.red().bold()),
        () if quiet => return out,
        () if result.skipped() => ("skipped ", plain.yellow()),
        () => ("ok      ", plain.green()),
    };
    wrapped(&mut out, ("  ", mark, style), name, plain);
    for (check, verdict) in &result.checks {
        let place = format!("{}:{}", path.display(), check.line);
        let title = words::title(&check.kind);
        match verdict {
            Verdict::Failed(failure) => {
                wrapped(&mut out, ("    ", "", plain), &format!("{place}: {title}"), plain.bold());
                rows(&mut out, failure);
            }
            Verdict::Skipped(why) if !quiet => {
                wrapped(&mut out, ("    ", "", plain), &format!("not checked: {title}: {why}"), plain.dimmed());
            }
            Verdict::Passed | Verdict::Skipped(_) => {}
        }
    }
    if result.failed() {
        for note in &result.notes {
            wrapped(&mut out, ("      ", "note          ", plain.cyan()), note, plain);
        }
    }
    out
}

fn rows(out: &mut String, failure: &Failure) {
    let plain = Style::new();
    for row in &failure.rows {
        let (what, style, text) = match row {
            Row::AsExpected(text) => ("as expected   ", plain.green(), text),
            Row::Missing(text) => ("expected      ", plain.red(), text),
            Row::Unexpected(text) => ("not expected  ", plain.yellow(), text),
            Row::Instead(text) => ("but it is     ", plain.yellow(), text),
        };
        wrapped(out, ("      ", what, style), text, plain);
    }
    for hint in &failure.hints {
        wrapped(out, ("      ", "hint          ", plain.cyan()), hint, plain);
    }
}

/// The failed expectations of a test, as a report of another format carries them.
pub(super) fn failures(path: &Path, result: &TestResult<'_>) -> String {
    let mut out = String::new();
    for (check, verdict) in &result.checks {
        let Verdict::Failed(failure) = verdict else { continue };
        let _ = writeln!(out, "{}:{}: {}", path.display(), check.line, words::title(&check.kind));
        for row in &failure.rows {
            let (what, text) = match row {
                Row::AsExpected(text) => ("as expected", text),
                Row::Missing(text) => ("expected", text),
                Row::Unexpected(text) => ("not expected", text),
                Row::Instead(text) => ("but it is", text),
            };
            let _ = writeln!(out, "  {what}: {text}");
        }
        failure.hints.iter().for_each(|hint| out += &format!("  hint: {hint}\n"));
    }
    result.notes.iter().for_each(|note| out += &format!("note: {note}\n"));
    out
}

/// What was decided in the course of a test, in the order of time.
pub fn timeline(config: &Config, result: &TestResult<'_>) -> String {
    let TestResult { test, run, .. } = result;
    let mut events: Vec<(Duration, String)> = Vec::new();
    for alert in &run.alerts {
        events.push((words::since(test, alert.fired_at), format!("alert   {}", words::alert(alert))));
        if let Some(ended_at) = alert.ended_at {
            events.push((words::since(test, ended_at), format!("over    {}", words::alert(alert))));
        }
    }
    for (at, receiver, what) in result.told(config) {
        events.push((at, format!("told    {receiver} {what}")));
    }
    for (from, to) in &test.outages {
        events.push((*from, "source  out".to_owned()));
        events.push((*to, "source  back".to_owned()));
    }
    for silence in &test.silences {
        for (at, what) in [(silence.starts_at, "begins"), (silence.ends_at, "ends")] {
            events.push((words::since(test, at), format!("silence {what}")));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let (mut out, plain) = (String::new(), Style::new());
    let end = test.start + test.until;
    let _ = writeln!(out, "    from {} to {end}", test.start);
    if events.is_empty() {
        out += "    nothing was decided\n";
    }
    for (at, text) in events {
        wrapped(&mut out, ("    ", &format!("{:>9}  ", at.to_string()), plain), &text, plain);
    }
    out
}

/// `text` behind an indent and a head, its further lines indented as far as these are long.
fn wrapped(out: &mut String, (indent, head, head_style): (&str, &str, Style), text: &str, style: Style) {
    let width = WIDTH - indent.chars().count() - head.chars().count();
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => *line = format!("{line} {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    let blank = " ".repeat(head.chars().count());
    for (number, line) in lines.iter().enumerate() {
        let head = if number == 0 { head } else { &blank };
        let _ = writeln!(out, "{indent}{}{}", head.style(head_style), line.style(style));
    }
}
