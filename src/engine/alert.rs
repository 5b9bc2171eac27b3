//! One rule on one SLO: its stage machine and the alert it makes of it.

use serde::{Deserialize, Serialize};

use super::histogram::Labels;
use super::rule::{Rule, Stage, Urgency};
use super::stage::{Evidence, StageMachine, Verdict};
use super::time::Timestamp;

/// An alert for as long as it stands at one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRecord {
    pub journey: String,
    pub layer: Option<String>,
    /// The values of the SLO's `by` labels.
    pub labels: Labels,
    pub rule: String,
    pub urgency: Urgency,
    pub stage: Stage,
    /// The first evaluation of the unbroken run that raised the stage.
    pub breached_at: Timestamp,
    pub fired_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The greatest usage while it stood at this stage, in limits; for the first stage, since the breach. A view gives
    /// the alert's, see [`RuleState::peak_usage`].
    #[serde(with = "super::exact")]
    pub peak_usage: f64,
    /// Evaluations made while the alert stood at this stage.
    pub evaluations: u64,
}

/// Which rule of which SLO instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    pub slo: usize,
    pub rule: usize,
}

impl AlertKey {
    /// Not an alert of any SLO: the one that stands while the source is out of sight.
    pub const SOURCE: AlertKey = AlertKey { slo: usize::MAX, rule: 0 };
}

/// The state of one rule on one SLO. Nearly all rules are quiet at nearly all times, so what only the others need is
/// kept apart: a tick reads the state of every rule there is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// `None` while usage is under every threshold and no stage counts.
    watched: Option<Box<Watched>>,
    /// The alert as it stands, or as it last stood.
    pub record: Option<Box<AlertRecord>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Watched {
    machine: StageMachine,
    /// The greatest usage since the rule was last quiet.
    #[serde(with = "super::exact")]
    peak_usage: f64,
}

/// Records of the alert that ended and of the one that began, where a stage changed, and what was not to be.
#[derive(Debug, Default)]
pub struct StageChange {
    pub ended: Option<Box<AlertRecord>>,
    pub began: Option<Box<AlertRecord>>,
    /// A stage that held for fewer evaluations than it takes to count.
    pub gave_up: Option<Stage>,
}

impl RuleState {
    /// Takes an evaluation made at `now`. `identity` names the SLO; it is only asked when a stage begins.
    pub fn evaluate(
        &mut self,
        now: Timestamp,
        rule: &Rule,
        evidence: Evidence,
        identity: impl FnOnce() -> (String, Option<String>, Labels),
    ) -> (Verdict, StageChange) {
        let usage = evidence.usage;
        let mut watched = self.watched.as_deref().cloned().unwrap_or_default();
        let before = watched.machine;
        let verdict = watched.machine.evaluate(now, rule, evidence);
        watched.peak_usage = watched.peak_usage.max(usage);
        let (stage, breached_at, peak_usage) =
            (watched.machine.stage(), watched.machine.breached_at(), watched.peak_usage);
        let gave_up = watched.machine.gave_up(&before);
        match &mut self.watched {
            // Most evaluations come to nothing, so they take no memory.
            place if watched.machine.is_quiet() => *place = None,
            Some(place) => **place = watched,
            place => *place = Some(Box::new(watched)),
        }
        if verdict != Verdict::Changed {
            if let Some(record) = self.standing_mut() {
                record.evaluations += 1;
                record.peak_usage = record.peak_usage.max(usage);
            }
            return (verdict, StageChange { gave_up, ..StageChange::default() });
        }
        let mut change = StageChange { gave_up, ..StageChange::default() };
        if let Some(record) = self.standing_mut() {
            record.ended_at = Some(now);
            change.ended = Some(Box::new(record.clone()));
        }
        if let Some(stage) = stage {
            let (journey, layer, labels) = identity();
            let record = AlertRecord {
                journey,
                layer,
                labels,
                rule: rule.name.clone(),
                urgency: rule.urgency,
                stage,
                breached_at: breached_at.unwrap_or(now),
                fired_at: now,
                ended_at: None,
                peak_usage: if change.ended.is_some() { usage } else { peak_usage },
                evaluations: 1,
            };
            change.began = Some(Box::new(record.clone()));
            self.record = Some(Box::new(record));
        }
        (verdict, change)
    }

    /// Whether no evaluation under the lowest threshold could change anything.
    pub fn is_quiet(&self) -> bool {
        self.watched.is_none()
    }

    pub fn machine(&self) -> StageMachine {
        self.watched.as_ref().map(|watched| watched.machine).unwrap_or_default()
    }

    /// Takes note that an evaluation was due but could not be made. Returns whether that changed anything.
    pub fn skip(&mut self) -> bool {
        self.watched.as_mut().is_some_and(|watched| watched.machine.skip())
    }

    /// Goes on at `now` though the clock was set back.
    pub fn rewind(&mut self, now: Timestamp) {
        if let Some(watched) = &mut self.watched {
            watched.machine.rewind(now);
        }
        if let Some(record) = &mut self.record {
            record.breached_at = record.breached_at.min(now);
            record.fired_at = record.fired_at.min(now);
            record.ended_at = record.ended_at.map(|ended| ended.min(now));
        }
    }

    /// The worst stage that counts.
    pub fn stage(&self) -> Option<Stage> {
        self.watched.as_ref()?.machine.stage()
    }

    /// Evaluations in a row over the lowest threshold, for an alert that does not stand yet.
    pub fn pending(&self) -> u32 {
        let pending = self.watched.as_ref().filter(|watched| watched.machine.stage().is_none());
        pending.map_or(0, |watched| watched.machine.pending())
    }

    /// The greatest usage since the rule was last quiet, whatever stages it came to.
    pub fn peak_usage(&self) -> f64 {
        self.watched.as_ref().map_or(0.0, |watched| watched.peak_usage)
    }

    /// The record of the alert while it stands.
    pub fn standing(&self) -> Option<&AlertRecord> {
        self.record.as_deref().filter(|record| record.ended_at.is_none())
    }

    fn standing_mut(&mut self) -> Option<&mut AlertRecord> {
        self.record.as_deref_mut().filter(|record| record.ended_at.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stage;
    use crate::engine::time::Duration;

    #[test]
    fn a_record_has_the_peak_of_its_stage_and_the_rule_that_of_the_breach() {
        let rule = stage::tests::rule(1, 0, Duration::ZERO);
        let mut state = RuleState::default();
        let identity = || ("checkout".to_owned(), None, Labels::new());
        let rows: Vec<_> = [0.85, 3.1, 0.9, 0.95, 0.1]
            .into_iter()
            .enumerate()
            .map(|(slot, usage)| {
                let now = Timestamp::from_unix_s(30 * slot as i64);
                let evidence = Evidence { usage, proven_usage: usage, may_clear: true };
                state.evaluate(now, &rule, evidence, identity);
                (state.standing().map(|record| (record.stage, record.peak_usage)), state.peak_usage())
            })
            .collect();
        let (warning, critical) = (Stage::Warning, Stage::Critical);
        let expected = [
            (Some((warning, 0.85)), 0.85),
            (Some((critical, 3.1)), 3.1),
            (Some((warning, 0.9)), 3.1),
            (Some((warning, 0.95)), 3.1),
            (None, 0.0),
        ];
        assert_eq!(rows, expected);
    }
}
