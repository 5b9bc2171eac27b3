//! Slots that are all known beforehand, many at once.
//!
//! Counting and rules look at nothing but their own SLO. So each SLO goes through a passage of history for itself, ahead
//! of the others and on whatever processor there is, and notes the slots at which a rule was more than quiet. Then the
//! engine goes through the passage, from one slot with something to do to the next: incidents, messages and all else
//! that looks at several SLOs happen there, in their turn, with the windows as they stood.
//!
//! What follows is what [`Engine::step`] would have made of the same slots one by one.

use std::ops::Range;
use std::sync::Arc;

use super::plan::{Look, Plan};
use super::{Effect, Engine};
use crate::engine::alert::AlertKey;
use crate::engine::counter::{Counter, Seen};
use crate::engine::histogram::{SeriesId, Snapshot};
use crate::engine::incident::SOURCE_INCIDENT;
use crate::engine::rule::Schedule;
use crate::engine::sli::NewSeries;
use crate::engine::slo::{Sight, Slo};
use crate::engine::spec::Spec;
use crate::engine::stage::{Evidence, StageMachine};
use crate::engine::time::{Duration, Timestamp};

/// Slots that SLOs run ahead at most, and at least where there are many SLOs: each keeps a row of all of them.
const MAX_SLOTS_AHEAD: usize = 2_048;
const MIN_SLOTS_AHEAD: usize = 64;
/// Counts in the rows of all SLOs together: 16 MB.
const MAX_COUNTS_AHEAD: usize = 2 << 20;

/// What polls at successive slots would have seen.
#[derive(Debug)]
pub struct Passage<'a> {
    /// The first slot.
    pub from: Timestamp,
    pub step: Duration,
    pub slots: usize,
    pub series: Vec<Row<'a>>,
    /// `(slot, SLO template)` where a series was there and could not be used, sorted.
    pub flawed: &'a [(usize, usize)],
    /// The source said that its answer may be incomplete.
    pub partial: bool,
}

/// One series of a passage.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub series: SeriesId,
    pub buckets: usize,
    /// Cumulative counts, `buckets` a slot; a slot without the series is NaN throughout.
    pub counts: &'a [f64],
}

/// One SLO's part of a passage. No two of them touch the same.
#[derive(Debug)]
pub struct Job<'a> {
    slo: &'a mut Slo,
    index: usize,
    stretch: &'a Stretch<'a>,
    plans: Arc<[Plan]>,
    /// By rule.
    machines: Vec<StageMachine>,
    series: Vec<Counting<'a>>,
    /// What others see of it meanwhile.
    seen: (Sight, Timestamp),
    notes: Vec<Note>,
    evaluations: u64,
}

/// What all jobs of a passage share.
#[derive(Debug)]
struct Stretch<'a> {
    spec: &'a Spec,
    passage: &'a Passage<'a>,
    range: Range<usize>,
    /// Polls that were answered before it.
    polls: i64,
    return_within_polls: i64,
    /// By schedule, then slot; empty where nothing is evaluated.
    due: Vec<Vec<bool>>,
}

#[derive(Debug)]
struct Counting<'a> {
    row: Row<'a>,
    layout: usize,
    counter: Counter,
}

/// What is to be done about an SLO at a slot of the passage.
#[derive(Debug)]
struct Note {
    at: usize,
    slo: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Sight(Sight),
    Unseen { rule: usize },
    Evaluate { rule: usize, evidence: Evidence },
}

/// A part of a passage that every SLO has gone through for itself; the engine follows by [`Engine::follow`].
#[derive(Debug)]
#[must_use = "the engine has to follow"]
pub struct Ahead {
    from: Timestamp,
    step: Duration,
    range: Range<usize>,
    /// In the order of slots, then SLOs.
    notes: std::iter::Peekable<std::vec::IntoIter<Note>>,
    /// The first slot that was not gone through.
    at: usize,
    polls: i64,
    evaluates: bool,
    evaluations: u64,
}

impl Passage<'_> {
    pub fn slot(&self, number: usize) -> Timestamp {
        self.from + Duration::from_ms(self.step.ms() * number as i64)
    }

    /// Fills `snapshot` with what the poll at slot `number` saw.
    pub fn snapshot(&self, number: usize, snapshot: &mut Snapshot) {
        snapshot.clear();
        snapshot.partial = self.partial;
        self.flawed_in(number..number + 1).for_each(|(_, template)| snapshot.push_flawed(*template));
        for row in &self.series {
            if let Some(counts) = row.counts_at(number) {
                snapshot.push(row.series, counts);
            }
        }
    }

    fn flawed_in(&self, range: Range<usize>) -> impl Iterator<Item = &(usize, usize)> {
        let first = self.flawed.partition_point(|(at, _)| *at < range.start);
        self.flawed[first..].iter().take_while(move |(at, _)| *at < range.end)
    }
}

impl<'a> Row<'a> {
    fn is_present(&self, number: usize) -> bool {
        !self.counts[number * self.buckets].is_nan()
    }

    fn counts_at(&self, number: usize) -> Option<&'a [f64]> {
        let counts = &self.counts[number * self.buckets..][..self.buckets];
        (!counts[0].is_nan()).then_some(counts)
    }
}

impl Ahead {
    /// The first slot of the passage that it does not reach.
    pub fn end(&self) -> usize {
        self.range.end
    }

    fn slot(&self, number: usize) -> Timestamp {
        self.from + Duration::from_ms(self.step.ms() * number as i64)
    }
}

impl Engine {
    /// Has every SLO go through the slots of `range`, or as many of them from the first on as can be known beforehand;
    /// `None` if one has to be stepped first. `run` runs all jobs, in any order, at once or one after the other.
    /// As [`super::Input::Polled`], or as [`super::Input::Backfilled`] if not `evaluates`, which is for before any slot
    /// was evaluated. [`Engine::follow`] must be called until it returns `None` before another slot is given.
    pub fn run_ahead(
        &mut self,
        passage: &Passage<'_>,
        range: Range<usize>,
        evaluates: bool,
        run: impl FnOnce(&mut [Job<'_>]),
    ) -> Option<Ahead> {
        let range = range.start..self.known_until(passage, range, evaluates);
        // One is quicker stepped.
        if range.len() < 2 {
            return None;
        }
        let spec = self.spec.clone();
        let stretch = Stretch {
            spec: &spec,
            passage,
            polls: self.polls,
            return_within_polls: self.return_within_polls,
            due: if evaluates { self.due_slots(passage, &range) } else { Vec::new() },
            range: range.clone(),
        };
        let mut jobs = self.jobs(&stretch);
        run(&mut jobs);
        let (mut notes, mut counters, mut evaluations) = (Vec::new(), Vec::new(), 0);
        for job in jobs {
            job.slo.come_back(job.seen);
            notes.extend(job.notes);
            evaluations += job.evaluations;
            counters.extend(job.series.into_iter().map(|counting| (counting.row.series, counting.counter)));
        }
        for (id, counter) in counters {
            self.series[id.0 as usize].counter = counter;
        }
        // Stable: rules stay in their order.
        notes.sort_by_key(|note| note.at);
        let notes = notes.into_iter().peekable();
        let (from, step, polls, at) = (passage.from, passage.step, self.polls, range.start);
        Some(Ahead { from, step, range, notes, at, polls, evaluates, evaluations })
    }

    /// Goes on through what SLOs went through before, until something follows from a slot; `None` at the end.
    pub fn follow(&mut self, ahead: &mut Ahead) -> Option<(Timestamp, Vec<Effect>)> {
        while ahead.at < ahead.range.end {
            let noted = ahead.notes.peek().map_or(ahead.range.end, |note| note.at);
            let due = (ahead.at..noted).find(|at| ahead.evaluates && self.has_business(ahead.slot(*at)));
            let at = due.unwrap_or(noted);
            ahead.at = at + 1;
            if at == ahead.range.end {
                break;
            }
            let slot = ahead.slot(at);
            let effects = self.step_noted(ahead, at, slot);
            if !effects.is_empty() {
                return Some((slot, effects));
            }
        }
        self.stand_at(ahead, ahead.range.end - 1);
        self.show_windows();
        self.evaluations += std::mem::take(&mut ahead.evaluations);
        None
    }

    /// The first slot of `range` that cannot be counted in without looking at what was before, or the end.
    fn known_until(&self, passage: &Passage<'_>, range: Range<usize>, evaluates: bool) -> usize {
        let interval = self.spec.interval;
        let (start, first) = (range.start, passage.slot(range.start));
        let goes_on = passage.step == interval
            && self.newest_slot.is_none_or(|newest| newest + interval == first)
            && (evaluates || self.evaluated_slot.is_none());
        let are_ready = self.slos.iter().all(|slo| !slo.has_counted() || slo.may_run_ahead());
        if passage.partial || !goes_on || !are_ready || self.remembered.is_some() {
            return start;
        }
        let widths: usize = self.slos.iter().map(Slo::row_counts).sum();
        let most = (MAX_COUNTS_AHEAD / widths.max(1)).clamp(MIN_SLOTS_AHEAD, MAX_SLOTS_AHEAD);
        let end = range.end.min(start + most);
        let mut end = (start..end).find(|at| !self.all_counts(passage.slot(*at))).unwrap_or(end);
        let first = first.slot_number(interval);
        for row in &passage.series {
            let series = &self.series[row.series.0 as usize];
            let slo = &self.slos[series.slo as usize];
            let mut seen = series.counter.seen();
            let found = (start..end).find(|at| {
                let slot = first + (at - start) as i64;
                if !row.is_present(*at) {
                    return false;
                }
                let is_late = seen.is_some_and(|seen| slot - seen.slot > self.lookback_slots);
                let is_plain = series.current && slo.has_counted() && !is_late && !slo.is_excluded(slot, seen);
                seen = Some(Seen { poll: 0, slot });
                !is_plain
            });
            end = found.unwrap_or(end);
        }
        end
    }

    /// Whether in each slot of `range` a schedule is due, by schedule.
    fn due_slots(&self, passage: &Passage<'_>, range: &Range<usize>) -> Vec<Vec<bool>> {
        let due = |schedule: &Schedule| {
            let mut before = self.evaluated_slot.unwrap_or(passage.slot(range.start) - self.spec.interval);
            let slots = range.clone().map(|at| {
                let slot = passage.slot(at);
                schedule.is_due(std::mem::replace(&mut before, slot), slot)
            });
            slots.collect()
        };
        self.schedules.iter().map(due).collect()
    }

    /// One a SLO, in their order. Counters are taken out of the engine meanwhile.
    fn jobs<'a>(&'a mut self, stretch: &'a Stretch<'a>) -> Vec<Job<'a>> {
        let mut series: Vec<Vec<Counting>> = self.slos.iter().map(|_| Vec::new()).collect();
        for row in &stretch.passage.series {
            let known = &mut self.series[row.series.0 as usize];
            let counter = std::mem::replace(&mut known.counter, Counter::new(0));
            series[known.slo as usize].push(Counting { row: *row, layout: known.layout as usize, counter });
        }
        let jobs = self.slos.iter_mut().zip(&self.rules).zip(series).enumerate();
        let jobs = jobs.map(|(index, ((slo, rules), series))| Job {
            seen: slo.run_ahead(stretch.range.len() as i64),
            plans: self.plans[slo.template].clone(),
            slo,
            index,
            stretch,
            machines: rules.iter().map(|rule| rule.machine()).collect(),
            series,
            notes: Vec::new(),
            evaluations: 0,
        });
        jobs.collect()
    }

    /// Whether something may follow from `slot` though no SLO noted it.
    fn has_business(&self, slot: Timestamp) -> bool {
        let source = self.incidents.get(SOURCE_INCIDENT).is_some_and(|incident| !incident.is_over());
        source
            || self.failed_in_a_row > 0
            || self.incidents_stale
            || !self.reports.is_empty()
            || self.holds_are_due(slot)
            || self.digests_are_due(slot)
            || self.outbox.wake_at().is_some_and(|wake_at| wake_at <= slot)
            || self.incidents.values().any(|incident| incident.is_due(slot))
    }

    fn step_noted(&mut self, ahead: &mut Ahead, at: usize, slot: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        let is_due = self.has_business(slot);
        self.stand_at(ahead, at);
        let held_otherwise = self.look_at_holds(slot);
        let (mut sights, mut changed) = (false, false);
        while let Some(Note { slo, what, .. }) = ahead.notes.next_if(|note| note.at == at) {
            match what {
                What::Sight(sight) => {
                    sights = true;
                    let from = std::mem::replace(&mut self.slos[slo].sight, sight);
                    self.slos[slo].sight_since = slot;
                    self.report_sight(slo, from, &mut effects);
                }
                What::Unseen { rule } => self.skip_rule(AlertKey { slo, rule }),
                What::Evaluate { rule, evidence } => {
                    changed |= self.take_evidence(slot, AlertKey { slo, rule }, evidence, &mut effects);
                }
            }
        }
        // Nobody looks at windows otherwise.
        if is_due || sights || changed || held_otherwise {
            self.show_windows();
        }
        self.conclude(slot, changed || held_otherwise, &mut effects);
        self.hand_out(slot, &mut effects);
        effects
    }

    fn stand_at(&mut self, ahead: &Ahead, at: usize) {
        let slot = Some(ahead.slot(at));
        self.polls = ahead.polls + (at - ahead.range.start) as i64 + 1;
        self.newest_slot = slot;
        if ahead.evaluates {
            (self.evaluated_slot, self.due_slot, self.last_answer) = (slot, slot, slot);
        }
    }

    fn show_windows(&mut self) {
        let Some(slot) = self.newest_slot else { return };
        let number = slot.slot_number(self.spec.interval);
        self.slos.iter_mut().for_each(|slo| slo.follow(number));
    }
}

impl Job<'_> {
    /// How many slots it goes through.
    pub fn slots(&self) -> usize {
        self.stretch.range.len()
    }

    /// Counts and evaluates.
    pub fn run(&mut self) {
        let Stretch { spec, passage, range, .. } = self.stretch;
        let first = passage.slot(range.start).slot_number(spec.interval);
        let mut flawed = passage.flawed_in(range.clone()).peekable();
        for at in range.clone() {
            let offset = (at - range.start) as i64;
            let (slot, number) = (passage.slot(at), first + offset);
            self.count_in(at, Seen { poll: self.stretch.polls + offset + 1, slot: number });
            while let Some((_, template)) = flawed.next_if(|(flawed, _)| *flawed == at) {
                if *template == self.slo.template {
                    self.slo.note_flawed(number);
                }
            }
            let before = self.slo.sight;
            self.slo.close_slot(number, slot, false);
            if self.slo.sight != before {
                self.note(at, What::Sight(self.slo.sight));
            }
            if !self.stretch.due.is_empty() {
                self.evaluate(at, slot, number);
            }
        }
    }

    fn count_in(&mut self, at: usize, now: Seen) {
        let born_at_zero = self.stretch.spec.slos[self.slo.template].new_series == NewSeries::Zero;
        for Counting { row, layout, counter } in &mut self.series {
            let Some(counts) = row.counts_at(at) else { continue };
            let born_at_zero = born_at_zero && counter.seen().is_none();
            let sums = self.slo.sums_of(now.slot, *layout);
            if counter.advance(now, counts, self.stretch.return_within_polls, born_at_zero, sums) {
                self.slo.note_measured(now.slot, *layout);
            }
        }
    }

    fn evaluate(&mut self, at: usize, slot: Timestamp, number: i64) {
        let spec = &self.stretch.spec.slos[self.slo.template];
        let newest = self.slo.steady_newest();
        for (rule, plan) in self.plans.clone().iter().enumerate() {
            if !self.stretch.due[plan.schedule][at - self.stretch.range.start] {
                continue;
            }
            let machine = &mut self.machines[rule];
            let what = match plan.look(self.slo, newest, (spec, rule), machine.is_quiet(), number) {
                Look::Quiet => {
                    self.evaluations += 1;
                    continue;
                }
                Look::Unseen if machine.is_quiet() => continue,
                Look::Unseen => {
                    machine.skip();
                    What::Unseen { rule }
                }
                Look::Seen(evidence) => {
                    machine.evaluate(slot, &spec.rules[rule], evidence);
                    What::Evaluate { rule, evidence }
                }
            };
            self.note(at, what);
        }
    }

    fn note(&mut self, at: usize, what: What) {
        self.notes.push(Note { at, slo: self.index, what });
    }
}
