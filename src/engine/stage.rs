//! The stage machine of one rule on one SLO: when a stage counts, and when it falls.
//!
//! A stage counts once usage holds its threshold for `consecutive` evaluations in a row. It falls once usage has
//! stayed under the threshold less `hysteresis` for `clear_after`. Evaluations that could not be made change nothing,
//! except that a recovery which was not watched throughout starts its `clear_after` anew.

use super::rule::{Rule, Stage};
use super::time::Timestamp;

/// One evaluation's evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Share of the rule's limit in use.
    pub usage: f64,
    /// Whether there were enough requests to raise a stage at `usage`; recoveries need none.
    pub enough_traffic: bool,
    /// Whether the data may lower a stage; an answer that may be incomplete may only raise one.
    pub may_clear: bool,
}

/// What an evaluation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Under every threshold, and no stage counts.
    Quiet,
    /// Over a threshold, but not for enough evaluations in a row.
    NotConsecutive,
    /// Over a threshold, but with too few requests.
    LowTraffic,
    /// The stage that counted before still does.
    Same,
    /// Another stage counts now, or none.
    Changed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holding {
    /// Evaluations in a row at or over the threshold.
    streak: u32,
    /// The first of them.
    since: Option<Timestamp>,
    counts: bool,
    /// Since when usage is clear of the threshold, while the stage still counts.
    clear_since: Option<Timestamp>,
}

/// The state of one rule on one SLO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageMachine {
    warning: Holding,
    critical: Holding,
}

impl StageMachine {
    /// The worst stage that counts.
    pub fn stage(&self) -> Option<Stage> {
        if self.critical.counts {
            Some(Stage::Critical)
        } else if self.warning.counts {
            Some(Stage::Warning)
        } else {
            None
        }
    }

    /// The first evaluation of the unbroken run that made the current stage count.
    pub fn breached_at(&self) -> Option<Timestamp> {
        match self.stage()? {
            Stage::Critical => self.critical.since,
            Stage::Warning => self.warning.since,
        }
    }

    /// Evaluations in a row over the lowest threshold, for a stage that does not count yet.
    pub fn pending(&self) -> u32 {
        self.warning.streak
    }

    /// Takes the evaluation made at `now`.
    pub fn evaluate(&mut self, now: Timestamp, rule: &Rule, evidence: Evidence) -> Verdict {
        let before = self.stage();
        let warning = self.warning.evaluate(now, rule, rule.warning_ppm, evidence);
        let critical = self.critical.evaluate(now, rule, rule.critical_ppm, evidence);
        let after = self.stage();
        if before != after {
            return Verdict::Changed;
        }
        let over = if critical { Some(Stage::Critical) } else { warning.then_some(Stage::Warning) };
        match over {
            Some(over) if Some(over) > after && !evidence.enough_traffic => Verdict::LowTraffic,
            Some(over) if Some(over) > after => Verdict::NotConsecutive,
            _ if after.is_some() => Verdict::Same,
            _ => Verdict::Quiet,
        }
    }

    /// Takes note that an evaluation was due but could not be made.
    pub fn skip(&mut self) {
        self.warning.clear_since = None;
        self.critical.clear_since = None;
    }
}

impl Holding {
    /// Returns whether usage is at or over the threshold.
    fn evaluate(&mut self, now: Timestamp, rule: &Rule, threshold_ppm: u32, evidence: Evidence) -> bool {
        let threshold = f64::from(threshold_ppm) / 1e6;
        let over = evidence.usage >= threshold;
        if over && (evidence.enough_traffic || self.counts) {
            self.streak = self.streak.saturating_add(1);
            self.since.get_or_insert(now);
            self.counts |= self.streak >= rule.consecutive;
        } else {
            self.streak = 0;
            if !self.counts {
                self.since = None;
            }
        }
        if !self.counts || !evidence.may_clear || evidence.usage >= threshold * self.keep_share(rule) {
            self.clear_since = None;
            return over;
        }
        let clear_since = *self.clear_since.get_or_insert(now);
        if now.since(clear_since) >= rule.clear_after {
            *self = Holding::default();
        }
        over
    }

    fn keep_share(&self, rule: &Rule) -> f64 {
        1.0 - f64::from(rule.hysteresis_ppm) / 1e6
    }
}
