//! One rule on one SLO: its stage machine and the alert it makes of it.

use serde::Serialize;

use super::histogram::Labels;
use super::rule::{Rule, Stage, Urgency};
use super::slo::Measurement;
use super::stage::{Evidence, StageMachine, Verdict};
use super::time::Timestamp;

/// An alert for as long as it stands at one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// The greatest usage since the breach, in limits.
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

/// The state of one rule on one SLO.
#[derive(Debug, Clone, Default)]
pub struct RuleState {
    pub machine: StageMachine,
    /// At the last evaluation that could be made.
    pub usage: f64,
    /// The greatest usage since the rule was last quiet.
    peak_usage: f64,
    /// The alert as it stands, or as it last stood.
    pub record: Option<Box<AlertRecord>>,
}

/// Records of the alert that ended and of the one that began, where a stage changed.
#[derive(Debug, Default)]
pub struct StageChange {
    pub ended: Option<AlertRecord>,
    pub began: Option<AlertRecord>,
}

impl RuleState {
    /// Takes an evaluation made at `now`. `identity` names the SLO; it is only asked when a stage begins.
    pub fn evaluate(
        &mut self,
        now: Timestamp,
        rule: &Rule,
        measured: &Measurement,
        may_clear: bool,
        identity: impl FnOnce() -> (String, Option<String>, Labels),
    ) -> (Verdict, StageChange) {
        let Measurement { usage, proven_usage, .. } = *measured;
        self.usage = usage;
        let verdict = self.machine.evaluate(now, rule, Evidence { usage, proven_usage, may_clear });
        self.peak_usage = if verdict == Verdict::Quiet { 0.0 } else { self.peak_usage.max(usage) };
        if verdict != Verdict::Changed {
            if let Some(record) = self.standing_mut() {
                record.evaluations += 1;
                record.peak_usage = record.peak_usage.max(usage);
            }
            return (verdict, StageChange::default());
        }
        let mut change = StageChange::default();
        if let Some(record) = self.standing_mut() {
            record.ended_at = Some(now);
            change.ended = Some(record.clone());
        }
        if let Some(stage) = self.machine.stage() {
            let (journey, layer, labels) = identity();
            let record = AlertRecord {
                journey,
                layer,
                labels,
                rule: rule.name.clone(),
                urgency: rule.urgency,
                stage,
                breached_at: self.machine.breached_at().unwrap_or(now),
                fired_at: now,
                ended_at: None,
                peak_usage: if change.ended.is_some() { usage } else { self.peak_usage },
                evaluations: 1,
            };
            change.began = Some(record.clone());
            self.record = Some(Box::new(record));
        } else {
            self.peak_usage = 0.0;
        }
        (verdict, change)
    }

    /// The record of the alert while it stands.
    pub fn standing(&self) -> Option<&AlertRecord> {
        self.record.as_deref().filter(|record| record.ended_at.is_none())
    }

    fn standing_mut(&mut self) -> Option<&mut AlertRecord> {
        self.record.as_deref_mut().filter(|record| record.ended_at.is_none())
    }
}
