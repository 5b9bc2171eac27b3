//! What the rules of each SLO are evaluated by, worked out once for a configuration, and when one look at a window is
//! enough to see that nothing is wrong: nearly always.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::rule::{Limit, Rule, Schedule};
use crate::engine::sli::SloSpec;
use crate::engine::slo::{Bounds, Measurement, Row, Sight, Slo, Slots, Windows};
use crate::engine::spec::Spec;
use crate::engine::stage::Evidence;
use crate::engine::window::Age;

/// What every evaluation of a rule on an SLO needs.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine) struct Plan {
    pub(in crate::engine) windows: Windows,
    /// Index into the engine's schedules.
    pub(super) schedule: usize,
    min_coverage: f64,
    quiet: Quiet,
}

/// When a look at one window or two shows that a limit is far enough away, without a division: on the safe side by far
/// more than rounding, and beyond that the rule itself is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quiet {
    /// With at least so many slots of the short window that were measured,
    seen_slots: f64,
    /// and at most this share of slow requests. Negative for rules that are always asked.
    bad_ratio: f64,
    /// In either of these windows: of a burn rate the short one and the long one, since usage takes the lesser of both.
    windows: [Age; 2],
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

/// Slots that are looked at together where most are quiet, at most and at least.
const MOST_TOGETHER: usize = 64;
const LEAST_TOGETHER: usize = 16;

impl Quiet {
    fn new(limit: &Limit, windows: Windows, allowed_ratio: f64, warning: f64, min_coverage: f64) -> Self {
        let Windows { long, short, period } = windows;
        let seen_slots = min_coverage * short.slots().max(1) as f64 * (1.0 + SAFE_SIDE);
        let (usage_at_allowed, windows) = match *limit {
            Limit::BurnRate { factor, .. } => (factor, [short, long]),
            Limit::BudgetConsumed { share } => (share, [period; 2]),
            Limit::Exhaustion { .. } | Limit::Latency { .. } => (-1.0, [short; 2]),
        };
        Self { seen_slots, bad_ratio: warning * usage_at_allowed * allowed_ratio * (1.0 - SAFE_SIDE), windows }
    }

    fn is_seen(&self, [_, _, seen]: Row) -> bool {
        seen >= self.seen_slots
    }

    fn is_under(&self, [good, total, _]: Row) -> bool {
        total - good <= total * self.bad_ratio
    }

    fn holds(&self, slo: &Slo, newest: Row, short: Age) -> bool {
        if self.bad_ratio < 0.0 {
            return false;
        }
        let [first, second] = self.windows;
        let since = slo.since(newest, short);
        self.is_seen(since)
            && (self.is_under(if first == short { since } else { slo.since(newest, first) })
                || second != first && self.is_under(slo.since(newest, second)))
    }

    /// Whether it holds at every slot from `first` to `last`, as far as their bounds tell.
    fn holds_throughout(&self, slo: &Slo, short: Age, first: i64, last: i64) -> bool {
        let is_under =
            |bounds: Bounds| bounds.least_total >= 0.0 && bounds.most_bad <= bounds.least_total * self.bad_ratio;
        let [window, other] = self.windows;
        let Some(bounds) = slo.bounds_since(short, first, last) else { return false };
        bounds.least_seen >= self.seen_slots
            && (if window == short {
                is_under(bounds)
            } else {
                slo.bounds_since(window, first, last).is_some_and(is_under)
            } || other != window && slo.bounds_since(other, first, last).is_some_and(is_under))
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
        if is_quiet && newest.is_some_and(|newest| self.quiet.holds(slo, newest, self.windows.short)) {
            return Look::Quiet;
        }
        self.look_closely(slo, (spec, &spec.rules[rule]), slot)
    }

    fn look_closely(&self, slo: &Slo, (spec, rule): (&SloSpec, &Rule), slot: i64) -> Look {
        let may_clear = slo.sight.is_steady();
        let may_raise = may_clear || slo.sight == Sight::Partial && slo.is_present(slot);
        if !may_raise {
            return Look::Unseen;
        }
        let Measurement { usage, proven_usage, short, .. } = slo.measure(spec, rule, self.windows);
        let is_covered = short.coverage >= self.min_coverage;
        if is_covered { Look::Seen(Evidence { usage, proven_usage, may_clear }) } else { Look::Unseen }
    }

    /// Calls `loud` with each of the slots, all of which the SLO ran through, at which more than [`Look::Quiet`] may come
    /// of a look, if all was measured.
    pub(super) fn each_loud(&self, slo: &Slo, slots: &Slots, mut loud: impl FnMut(usize)) {
        let Quiet { bad_ratio, windows: [window, _], .. } = self.quiet;
        if bad_ratio < 0.0 {
            return (0..slots.many).for_each(loud);
        }
        let together = (self.windows.short.slots().min(window.slots()) / 2) as usize;
        let bounds_tell = together >= LEAST_TOGETHER;
        let together = if bounds_tell { together.min(MOST_TOGETHER) } else { MOST_TOGETHER };
        for from in (0..slots.many).step_by(together) {
            let range = from..slots.many.min(from + together);
            match bounds_tell {
                true => self.look_together(slo, slots, range, &mut loud),
                false => self.each_loud_within(slo, slots, range, &mut loud),
            }
        }
    }

    /// Halves the slots until those that are quiet are told from the others.
    fn look_together(&self, slo: &Slo, slots: &Slots, range: Range<usize>, loud: &mut impl FnMut(usize)) {
        let (first, last) = (slots.number(range.start), slots.number(range.end - 1));
        if self.quiet.holds_throughout(slo, self.windows.short, first, last) {
            return;
        }
        if range.len() <= LEAST_TOGETHER {
            return self.each_loud_within(slo, slots, range, loud);
        }
        let half = range.start + range.len() / 2;
        self.look_together(slo, slots, range.start..half, loud);
        self.look_together(slo, slots, half..range.end, loud);
    }

    /// Looks at slot after slot.
    fn each_loud_within(&self, slo: &Slo, slots: &Slots, range: Range<usize>, loud: &mut impl FnMut(usize)) {
        let (quiet, short, start) = (&self.quiet, self.windows.short, range.start);
        let (first, last) = (slots.number(start), slots.number(range.end - 1));
        let [window, other] = quiet.windows;
        if window == short {
            // Nearly always the short window alone shows it, at all of them: without a branch, several at once.
            let mut is_quiet = true;
            slo.each_since(short, first, last, |_, since| is_quiet &= quiet.is_seen(since) & quiet.is_under(since));
            if is_quiet {
                return;
            }
        }
        let is_under = |window: Age, at: usize| {
            let mut under = false;
            slo.each_since(window, first + at as i64, first + at as i64, |_, since| under = quiet.is_under(since));
            under
        };
        slo.each_since(short, first, last, |at, since| {
            let is_quiet = quiet.is_seen(since)
                && (if window == short { quiet.is_under(since) } else { is_under(window, at) }
                    || other != window && is_under(other, at));
            if !is_quiet {
                loud(start + at);
            }
        });
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
