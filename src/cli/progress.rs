//! A bar on the terminal for what takes a while: how much is done, how fast, and how long it will take. Nothing where
//! standard error is no terminal. And what is to be known of the history that was read.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::replay::Progress;
use crate::source::reader::{self, Reader};

/// How often it moves while nothing else does.
const TICK: std::time::Duration = std::time::Duration::from_millis(200);
const WAITING: &str = "{spinner} {prefix}: {msg}, {elapsed}";
const GOING: &str = "{prefix} {wide_bar} {percent:>3}%  {rate}, {eta} left  {msg}";
/// Where there is no room for a bar beside the words.
const NARROW_WAITING: &str = "{spinner} {msg}";
const NARROW_GOING: &str = "{percent}% {eta} left  {msg}";
const NARROW_COLUMNS: u16 = 60;

/// What is worked through.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    /// What there are many of.
    unit: &'static str,
}

impl Bar {
    /// Of slots of history; `what` says what is done to them: `Replaying`.
    pub fn of_slots(what: &'static str) -> Self {
        Self::of("slots", what, "waiting for the first answer")
    }

    /// Of something else, in the plural; `first` says what it takes until the first is done.
    pub fn of(unit: &'static str, what: &'static str, first: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), unit };
        }
        let bar = ProgressBar::new(0).with_prefix(what).with_message(first);
        bar.set_style(style(if is_narrow() { NARROW_WAITING } else { WAITING }, unit));
        bar.enable_steady_tick(TICK);
        Self { bar, unit }
    }

    /// Slots are done up to `at`.
    pub fn show(&self, Progress { at, done, total }: Progress) {
        self.go(done, total, at.to_string()[..10].to_owned());
    }

    pub fn count(&self, done: u64, total: u64) {
        self.go(done, total, format!("{done} of {total}"));
    }

    fn go(&self, done: u64, total: u64, message: String) {
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(style(if is_narrow() { NARROW_GOING } else { GOING }, self.unit));
        }
        self.bar.set_message(message);
        self.bar.set_position(done);
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// What is to be known of history, shown once each: what is known before it is read before the bar, the rest after it.
#[derive(Debug)]
pub struct Remarks {
    remarks: reader::Remarks,
    shown: usize,
}

impl Remarks {
    pub fn of(reader: &Reader) -> Self {
        let mut remarks = Self { remarks: reader.remarks(), shown: 0 };
        remarks.show();
        remarks
    }

    /// Shows what is new.
    pub fn show(&mut self) {
        let list = self.remarks.list();
        list[self.shown..].iter().for_each(|remark| super::tell(format_args!("warning: {remark}")));
        self.shown = list.len();
    }
}

fn is_narrow() -> bool {
    terminal_size::terminal_size_of(io::stderr()).is_some_and(|(columns, _)| columns.0 < NARROW_COLUMNS)
}

fn style(template: &str, unit: &'static str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{} {unit}/s", rate(state.per_sec()));
    };
    style.with_key("rate", rate).progress_chars("━╸─")
}

/// `850`, `1.2M`, and `0.3` of what takes its time.
fn rate(per_s: f64) -> String {
    let (number, unit) = match per_s {
        per_s if per_s >= 1e6 => (per_s / 1e6, "M"),
        per_s if per_s >= 1e3 => (per_s / 1e3, "k"),
        per_s => (per_s, ""),
    };
    let digits = usize::from(number > 0.0 && number < 10.0);
    format!("{number:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_well() {
        let rates = [0.0, 0.32, 7.4, 850.2, 1_234.0, 56_789.0, 1_234_567.0].map(rate);
        let expected = ["0", "0.3", "7.4", "850", "1.2k", "57k", "1.2M"];
        assert_eq!(rates, expected);
    }
}
