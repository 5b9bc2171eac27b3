//! The stage machine of one rule on one SLO: when a stage counts, and when it falls.
//!
//! A stage counts once usage holds its threshold for `consecutive` evaluations in a row. It falls once usage has
//! stayed under the threshold less `hysteresis` for `clear_after`. Evaluations that could not be made change nothing,
//! except that a recovery which was not watched throughout starts its `clear_after` anew.

use serde::{Deserialize, Serialize};

use super::rule::{Rule, Stage};
use super::time::Timestamp;

/// One evaluation's evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Share of the rule's limit in use.
    pub usage: f64,
    /// The usage that there are enough requests to prove: only this raises a stage. Recoveries need no proof.
    pub proven_usage: f64,
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The stage that was about to count `before` the last evaluation, and no longer is.
    pub fn gave_up(&self, before: &Self) -> Option<Stage> {
        if self.critical.gave_up(&before.critical) {
            Some(Stage::Critical)
        } else {
            self.warning.gave_up(&before.warning).then_some(Stage::Warning)
        }
    }

    /// Whether nothing is remembered: no stage counts and none is about to.
    pub fn is_quiet(&self) -> bool {
        *self == Self::default()
    }

    /// Takes the evaluation made at `now`.
    pub fn evaluate(&mut self, now: Timestamp, rule: &Rule, evidence: Evidence) -> Verdict {
        let before = self.stage();
        let warning = self.warning.evaluate(now, rule, threshold(rule, Stage::Warning), evidence);
        let critical = self.critical.evaluate(now, rule, threshold(rule, Stage::Critical), evidence);
        let after = self.stage();
        if before != after {
            return Verdict::Changed;
        }
        let over = if critical { Some(Stage::Critical) } else { warning.then_some(Stage::Warning) };
        match over {
            Some(over) if Some(over) > after && evidence.proven_usage < threshold(rule, over) => Verdict::LowTraffic,
            Some(over) if Some(over) > after => Verdict::NotConsecutive,
            _ if after.is_some() => Verdict::Same,
            _ => Verdict::Quiet,
        }
    }

    /// Takes note that an evaluation was due but could not be made. Returns whether that changed anything.
    pub fn skip(&mut self) -> bool {
        let watched = [&mut self.warning, &mut self.critical].map(|holding| holding.clear_since.take());
        watched.iter().any(Option::is_some)
    }

    /// Goes on at `now` though the clock was set back: what lies in the future is of now, and a recovery is watched
    /// from the beginning.
    pub fn rewind(&mut self, now: Timestamp) {
        self.skip();
        for holding in [&mut self.warning, &mut self.critical] {
            holding.since = holding.since.map(|since| since.min(now));
        }
    }
}

impl Holding {
    fn gave_up(&self, before: &Self) -> bool {
        before.streak > 0 && !before.counts && self.streak == 0
    }

    /// Returns whether usage is at or over the threshold.
    fn evaluate(&mut self, now: Timestamp, rule: &Rule, threshold: f64, evidence: Evidence) -> bool {
        let over = evidence.usage >= threshold;
        if over && (evidence.proven_usage >= threshold || self.counts) {
            self.streak = self.streak.saturating_add(1);
            self.since.get_or_insert(now);
            self.counts |= self.streak >= rule.consecutive;
        } else {
            self.streak = 0;
            if !self.counts {
                self.since = None;
            }
        }
        let keep_share = 1.0 - f64::from(rule.hysteresis_ppm) / 1e6;
        if !self.counts || !evidence.may_clear || evidence.usage >= threshold * keep_share {
            self.clear_since = None;
            return over;
        }
        let clear_since = *self.clear_since.get_or_insert(now);
        if now.since(clear_since) >= rule.clear_after {
            *self = Holding::default();
        }
        over
    }
}

/// The usage from which `stage` holds.
fn threshold(rule: &Rule, stage: Stage) -> f64 {
    let ppm = match stage {
        Stage::Warning => rule.warning_ppm,
        Stage::Critical => rule.critical_ppm,
    };
    f64::from(ppm) / 1e6
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::rule::{Limit, Schedule, Urgency};
    use crate::engine::time::Duration;
    use Verdict::{Changed, LowTraffic, NotConsecutive, Quiet, Same};
    use proptest::prelude::*;

    const STEP: Duration = Duration::from_secs(30);

    pub(in crate::engine) fn rule(consecutive: u32, hysteresis_ppm: u32, clear_after: Duration) -> Rule {
        Rule {
            name: "test".into(),
            urgency: Urgency::Page,
            limit: Limit::BudgetConsumed { share: 1.0 },
            schedule: Schedule::Every(STEP),
            warning_ppm: 800_000,
            critical_ppm: 1_000_000,
            consecutive,
            hysteresis_ppm,
            clear_after,
            min_events: 0.0,
            min_bad: 0.0,
            confidence_z: None,
            min_coverage_ppm: 500_000,
        }
    }

    fn sure(usage: f64) -> Evidence {
        Evidence { usage, proven_usage: usage, may_clear: true }
    }

    /// Runs evaluations 30 s apart; `None` is one that could not be made.
    fn check(rule: &Rule, evaluations: &[(Option<Evidence>, Verdict, Option<Stage>)]) {
        let mut machine = StageMachine::default();
        for (i, (evidence, verdict, stage)) in evaluations.iter().enumerate() {
            let now = Timestamp::from_unix_s(30 * i as i64);
            match evidence {
                Some(evidence) => assert_eq!(machine.evaluate(now, rule, *evidence), *verdict, "evaluation {i}"),
                None => drop(machine.skip()),
            }
            assert_eq!(machine.stage(), *stage, "after evaluation {i}");
        }
    }

    #[test]
    fn stages() {
        let (warning, critical) = (Some(Stage::Warning), Some(Stage::Critical));
        let on = |usage| Some(sure(usage));
        // At the threshold counts as over it; two in a row are needed; a dip starts the run anew.
        check(
            &rule(2, 0, Duration::ZERO),
            &[
                (on(1.0), NotConsecutive, None),
                (on(0.7), Quiet, None),
                (on(0.8), NotConsecutive, None),
                (on(1.2), Changed, warning),
                (on(1.2), Changed, critical),
                (on(1.2), Same, critical),
                (on(0.99), Changed, warning),
                (on(0.79), Changed, None),
            ],
        );
        // Hysteresis keeps what hovers under the threshold, clear_after what only dips.
        check(
            &rule(1, 100_000, Duration::from_minutes(1)),
            &[
                (on(1.0), Changed, critical),
                (on(0.91), Same, critical),
                (on(0.1), Same, critical),
                (on(0.95), Same, critical),
                (on(0.1), Same, critical),
                (on(0.1), Same, critical),
                (on(0.1), Changed, None),
            ],
        );
        // What was not seen neither raises nor clears, and breaks the watch over a recovery.
        check(
            &rule(2, 0, Duration::from_minutes(1)),
            &[
                (on(1.0), NotConsecutive, None),
                (None, Quiet, None),
                (on(1.0), Changed, critical),
                (on(0.0), Same, critical),
                (None, Quiet, critical),
                (on(0.0), Same, critical),
                (on(0.0), Same, critical),
                (on(0.0), Changed, None),
            ],
        );
        // An answer that may be incomplete raises, and never clears.
        let partial = |usage| Some(Evidence { may_clear: false, ..sure(usage) });
        check(
            &rule(1, 0, Duration::ZERO),
            &[(partial(1.0), Changed, critical), (partial(0.0), Same, critical), (on(0.0), Changed, None)],
        );
        // Too few requests raise nothing, but do not end what enough of them raised.
        let thin = Some(Evidence { proven_usage: 0.3, ..sure(1.5) });
        check(
            &rule(1, 0, Duration::ZERO),
            &[(thin, LowTraffic, None), (on(1.5), Changed, critical), (thin, Same, critical)],
        );
    }

    #[test]
    fn what_was_too_brief_is_told_apart_by_what_it_would_have_been() {
        let rule = rule(3, 0, Duration::ZERO);
        let given_up = |usages: &[f64]| {
            let mut machine = StageMachine::default();
            let stages = (0..).zip(usages).filter_map(|(i, usage)| {
                let before = machine;
                machine.evaluate(Timestamp::from_unix_s(30 * i), &rule, sure(*usage));
                machine.gave_up(&before)
            });
            stages.collect::<Vec<_>>()
        };
        let (warning, critical) = (Stage::Warning, Stage::Critical);
        assert_eq!(given_up(&[1.0, 1.0, 0.5, 0.9, 0.5, 0.5]), [critical, warning]);
        // What came to count ended, and was not given up.
        assert_eq!(given_up(&[1.0, 1.0, 1.0, 0.5]), []);
        // It stood as a warning, and was about to be more.
        assert_eq!(given_up(&[0.9, 0.9, 0.9, 1.0, 0.9, 0.5]), [critical]);
    }

    proptest! {
        /// Against the definition: with no hysteresis and no delay the stage follows the last `consecutive` usages.
        #[test]
        fn a_stage_counts_exactly_while_its_run_lasts(
            usages in prop::collection::vec(prop_oneof![Just(0.5), Just(0.8), Just(0.9), Just(1.0), Just(3.0)], 1..60),
            consecutive in 1u32..5,
        ) {
            let rule = rule(consecutive, 0, Duration::ZERO);
            let mut machine = StageMachine::default();
            for (i, usage) in usages.iter().enumerate() {
                machine.evaluate(Timestamp::from_unix_s(30 * i as i64), &rule, sure(*usage));
                let run = |least: f64| usages[..=i].iter().rev().take_while(|usage| **usage >= least).count() as u32;
                let expected = if run(1.0) >= consecutive { Some(Stage::Critical) }
                    else if run(0.8) >= consecutive { Some(Stage::Warning) } else { None };
                prop_assert_eq!(machine.stage(), expected);
            }
        }
    }
}
