//! What the rules of each SLO are evaluated by, worked out once for a configuration, and when one look at a window is
//! enough to see that nothing is wrong: nearly always.

use std::sync::Arc;

use crate::engine::rule::{Limit, Rule, Schedule};
use crate::engine::sli::{SloSpec, Traffic};
use crate::engine::slo::{Measurement, Row, Sight, Slo, Windows};
use crate::engine::spec::Spec;
use crate::engine::stage::Evidence;

/// What every evaluation of a rule on an SLO needs.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine) struct Plan {
    pub(in crate::engine) windows: Windows,
    /// Index into the engine's schedules.
    pub(super) schedule: usize,
    limit: Limit,
    allowed_ratio: f64,
    /// The usage from which a rule is more than quiet.
    warning: f64,
    min_coverage: f64,
    quiet: Quiet,
}

/// When the short window alone shows that a burn rate is under every threshold, without a division: on the safe side by
/// far more than rounding, and beyond that the rule itself is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quiet {
    /// With at least so many slots that were measured,
    seen_slots: f64,
    /// and at most this share of slow requests. Negative for other rules.
    bad_ratio: f64,
}

/// What a look at a rule's windows comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// Nothing is wrong, and nothing was.
    Quiet,
    /// Too little was measured to evaluate.
    Unseen,
    Seen(Evidence),
}

/// Beyond any error of rounding in a handful of operations.
const SAFE_SIDE: f64 = 1e-9;

impl Quiet {
    fn new(limit: &Limit, windows: Windows, allowed_ratio: f64, warning: f64, min_coverage: f64) -> Self {
        let seen_slots = min_coverage * windows.short.slots().max(1) as f64 * (1.0 + SAFE_SIDE);
        let bad_ratio = match limit {
            Limit::BurnRate { factor, .. } => warning * factor * allowed_ratio * (1.0 - SAFE_SIDE),
            Limit::BudgetConsumed { .. } | Limit::Exhaustion { .. } | Limit::Latency { .. } => -1.0,
        };
        Self { seen_slots, bad_ratio }
    }

    fn holds(&self, slo: &Slo, newest: Row, windows: Windows) -> bool {
        if self.bad_ratio < 0.0 {
            return false;
        }
        let [good, total, seen] = slo.since(newest, windows.short);
        seen >= self.seen_slots && total - good <= total * self.bad_ratio
    }
}

impl Plan {
    /// Looks at what was counted up to slot number `slot`, for rule number `rule`. `newest` is the newest row, if all was
    /// measured; `is_quiet` whether the rule was so before.
    #[inline]
    pub(super) fn look(
        &self,
        slo: &Slo,
        newest: Option<Row>,
        (spec, rule): (&SloSpec, usize),
        is_quiet: bool,
        slot: i64,
    ) -> Look {
        if is_quiet && newest.is_some_and(|newest| self.quiet.holds(slo, newest, self.windows)) {
            return Look::Quiet;
        }
        self.look_closely(slo, (spec, &spec.rules[rule]), is_quiet, slot)
    }

    fn look_closely(&self, slo: &Slo, (spec, rule): (&SloSpec, &Rule), is_quiet: bool, slot: i64) -> Look {
        let may_clear = slo.sight.is_steady();
        if may_clear && is_quiet && self.is_clearly_under(slo) {
            return Look::Quiet;
        }
        if !may_clear && !(slo.sight == Sight::Partial && slo.is_present(slot)) {
            return Look::Unseen;
        }
        let Measurement { usage, proven_usage, short, .. } = slo.measure(spec, rule, self.windows);
        if self.is_covered(short) { Look::Seen(Evidence { usage, proven_usage, may_clear }) } else { Look::Unseen }
    }

    fn is_covered(&self, short: Traffic) -> bool {
        short.coverage >= self.min_coverage
    }

    /// Whether one window is enough to see that usage is under every threshold: usage takes the lesser burn rate.
    fn is_clearly_under(&self, slo: &Slo) -> bool {
        match self.limit {
            Limit::BurnRate { factor, .. } => {
                let short = slo.traffic(self.windows.short);
                self.is_covered(short) && short.burn(self.allowed_ratio) / factor < self.warning
            }
            Limit::BudgetConsumed { share } => {
                self.is_covered(slo.traffic(self.windows.short))
                    && slo.traffic(self.windows.period).burn(self.allowed_ratio) / share < self.warning
            }
            Limit::Exhaustion { .. } | Limit::Latency { .. } => false,
        }
    }
}

/// The plans of each SLO's rules.
pub(super) fn plans(spec: &Spec, schedules: &mut Vec<Schedule>) -> Vec<Arc<[Plan]>> {
    let mut distinct: Vec<Arc<[Plan]>> = Vec::new();
    let mut plan = |slo: &SloSpec, rule: &Rule| {
        let windows = Windows::new(&rule.limit, slo.period, spec.interval);
        let [warning, min_coverage] = [rule.warning_ppm, rule.min_coverage_ppm].map(|ppm| f64::from(ppm) / 1e6);
        let allowed_ratio = slo.allowed_ratio();
        Plan {
            windows,
            schedule: index_of(schedules, &rule.schedule),
            limit: rule.limit,
            allowed_ratio,
            warning,
            min_coverage,
            quiet: Quiet::new(&rule.limit, windows, allowed_ratio, warning, min_coverage),
        }
    };
    let mut plans = |slo: &SloSpec| {
        let plans: Vec<Plan> = slo.rules.iter().map(|rule| plan(slo, rule)).collect();
        if let Some(known) = distinct.iter().find(|known| ***known == plans[..]) {
            return known.clone();
        }
        distinct.push(plans.into());
        distinct[distinct.len() - 1].clone()
    };
    spec.slos.iter().map(&mut plans).collect()
}

/// The index of a schedule in the list, where it is added if it is new.
fn index_of(schedules: &mut Vec<Schedule>, schedule: &Schedule) -> usize {
    let same = |known: &Schedule| match (known, schedule) {
        (Schedule::Every(known), Schedule::Every(every)) => known == every,
        (Schedule::At(known), Schedule::At(calendar)) => Arc::ptr_eq(known, calendar),
        _ => false,
    };
    schedules.iter().position(same).unwrap_or_else(|| {
        schedules.push(schedule.clone());
        schedules.len() - 1
    })
}
