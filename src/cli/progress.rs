//! A bar on the terminal for what takes a while: how much is done, how fast, and how long it will take. Nothing where
//! standard error is no terminal. And what is to be known of the history that was read.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::engine::time::Timestamp;
use crate::source::reader::{self, Reader};

/// How often it moves while nothing else does.
const TICK: std::time::Duration = std::time::Duration::from_millis(200);
const WAITING: &str = "{spinner} {prefix}: waiting for the first answer, {elapsed}";
const GOING: &str = "{prefix} {wide_bar} {percent:>3}%  {rate}, {eta} left  {msg}";

/// Slots of history that are worked through.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// `what` says what is done to the slots: `Replaying`.
    pub fn new(what: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new(0).with_prefix(what);
        bar.set_style(style(WAITING));
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// `done` of `total` slots are, up to `at`.
    pub fn show(&self, at: Timestamp, done: u64, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(style(GOING));
        }
        self.bar.set_message(at.to_string()[..10].to_owned());
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
        list[self.shown..].iter().for_each(|remark| anstream::eprintln!("warning: {remark}"));
        self.shown = list.len();
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{}", rate(state.per_sec()));
    };
    style.with_key("rate", rate).progress_chars("━╸─")
}

/// `850 slots/s`, `1.2M slots/s`.
fn rate(per_s: f64) -> String {
    let (number, unit) = match per_s {
        per_s if per_s >= 1e6 => (per_s / 1e6, "M"),
        per_s if per_s >= 1e3 => (per_s / 1e3, "k"),
        per_s => (per_s, ""),
    };
    let digits = usize::from(number < 10.0 && !unit.is_empty());
    let mut text = String::new();
    let _ = write!(text, "{number:.digits$}{unit} slots/s");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_well() {
        let rates = [0.0, 7.4, 850.2, 1_234.0, 56_789.0, 1_234_567.0].map(rate);
        let expected = ["0 slots/s", "7 slots/s", "850 slots/s", "1.2k slots/s", "57k slots/s", "1.2M slots/s"];
        assert_eq!(rates, expected);
    }
}
