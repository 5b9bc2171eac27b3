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
use crate::engine::counts::Counts;
use crate::engine::histogram::{SeriesId, Snapshot};
use crate::engine::incident::SOURCE_INCIDENT;
use crate::engine::rule::Schedule;
use crate::engine::sli::NewSeries;
use crate::engine::slo::{Counting, Sight, Slo, Slots};
use crate::engine::spec::Spec;
use crate::engine::stage::{Evidence, StageMachine, Verdict};
use crate::engine::time::{Duration, Timestamp};

/// Slots that SLOs run ahead at most, and at least where there are many SLOs: each keeps a row of all of them.
const MAX_SLOTS_AHEAD: usize = 4_096;
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
    /// In all slots.
    pub counts: &'a Counts,
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
    ids: Vec<SeriesId>,
    /// In the order of `ids`.
    series: Vec<Counting<'a>>,
    /// Slots at which some series could not be used.
    flawed: Vec<usize>,
    /// What others see of it meanwhile.
    seen: (Sight, Timestamp),
    notes: Vec<Note>,
    evaluations: u64,
    /// For the counts of one slot.
    row: Vec<f64>,
}

/// What all jobs of a stretch of slots share.
#[derive(Debug)]
struct Stretch<'a> {
    spec: &'a Spec,
    slots: Slots,
    /// How many there may be in any stretch.
    most: usize,
    return_within_polls: i64,
    /// By schedule; empty where nothing is evaluated.
    due: Vec<Due>,
}

/// The slots of a stretch at which a schedule is due.
#[derive(Debug)]
struct Due {
    at: Vec<bool>,
    /// How many are due before each slot, and in all.
    before: Vec<u64>,
}

/// What is to be done about an SLO at a slot of the stretch.
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
    slots: Slots,
    /// In the order of slots, then SLOs.
    notes: std::iter::Peekable<std::vec::IntoIter<Note>>,
    /// The first slot that was not gone through.
    at: usize,
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
            if let Some(counts) = row.counts.row(number) {
                snapshot.push_row(row.series, counts);
            }
        }
    }

    fn flawed_in(&self, range: Range<usize>) -> impl Iterator<Item = &(usize, usize)> {
        let first = self.flawed.partition_point(|(at, _)| *at < range.start);
        self.flawed[first..].iter().take_while(move |(at, _)| *at < range.end)
    }
}

impl Ahead {
    /// How many slots it takes in.
    pub fn slots(&self) -> usize {
        self.slots.many
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
        let most = self.most_ahead();
        let range = range.start..self.known_until(passage, range.start..range.end.min(range.start + most), evaluates);
        // One is quicker stepped.
        if range.len() < 2 {
            return None;
        }
        let from = passage.slot(range.start);
        let first = Seen { poll: self.polls + 1, slot: from.slot_number(passage.step) };
        let slots = Slots { from, step: passage.step, first, many: range.len() };
        let spec = self.spec.clone();
        let due = if evaluates { self.due_slots(&slots) } else { Vec::new() };
        let stretch = Stretch { spec: &spec, slots, most, return_within_polls: self.return_within_polls, due };
        let mut jobs = self.jobs(&stretch, passage, &range);
        run(&mut jobs);
        let (mut notes, mut counters, mut evaluations) = (Vec::new(), Vec::new(), 0);
        for job in jobs {
            job.slo.come_back(job.seen);
            notes.extend(job.notes);
            evaluations += job.evaluations;
            counters.extend(job.ids.into_iter().zip(job.series.into_iter().map(|counting| counting.counter)));
        }
        for (id, counter) in counters {
            self.series[id.0 as usize].counter = counter;
        }
        // Stable: SLOs stay in their order, and what was noted of one.
        notes.sort_by_key(|note| note.at);
        Some(Ahead { slots, notes: notes.into_iter().peekable(), at: 0, evaluates, evaluations })
    }

    /// Goes on through what SLOs went through before, until something follows from a slot; `None` at the end.
    pub fn follow(&mut self, ahead: &mut Ahead) -> Option<(Timestamp, Vec<Effect>)> {
        let many = ahead.slots.many;
        let mut wake_at = self.outbox.wake_at();
        while ahead.at < many {
            let noted = ahead.notes.peek().map_or(many, |note| note.at);
            let is_due = |at: usize| ahead.evaluates && self.has_business_by(ahead.slots.time(at), wake_at);
            let at = first_where(ahead.at..noted, is_due);
            if at == many {
                break;
            }
            let is_due = at < noted || is_due(at);
            ahead.at = at + 1;
            let mut effects = self.step_noted(ahead, at, is_due);
            // Otherwise there is nothing to send.
            if is_due || !effects.is_empty() {
                self.hand_out(ahead.slots.time(at), &mut effects);
                wake_at = self.outbox.wake_at();
            }
            if !effects.is_empty() {
                return Some((ahead.slots.time(at), effects));
            }
        }
        self.stand_at(ahead, many - 1);
        self.show_windows();
        self.evaluations += std::mem::take(&mut ahead.evaluations);
        None
    }

    /// How many slots SLOs run ahead at most.
    fn most_ahead(&self) -> usize {
        let widths: usize = self.slos.iter().map(Slo::row_counts).sum();
        (MAX_COUNTS_AHEAD / widths.max(1)).clamp(MIN_SLOTS_AHEAD, MAX_SLOTS_AHEAD)
    }

    /// The first slot of `range` that cannot be counted in without looking at what was before, or the end.
    fn known_until(&self, passage: &Passage<'_>, range: Range<usize>, evaluates: bool) -> usize {
        let interval = self.spec.interval;
        let (start, first) = (range.start, passage.slot(range.start));
        let goes_on = passage.step == interval
            && self.newest_slot.is_none_or(|newest| newest + interval == first)
            && (evaluates || self.evaluated_slot.is_none());
        let are_ready = self.slos.iter().all(|slo| !slo.has_counted() || slo.may_run_ahead());
        let Some(counts_until) = self.all_count_until(first) else { return start };
        if passage.partial || !goes_on || !are_ready || self.remembered.is_some() {
            return start;
        }
        let mut end = first_where(range, |at| passage.slot(at) > counts_until);
        for row in &passage.series {
            let Some(present) = row.counts.first_present(start..end) else { continue };
            let series = &self.series[row.series.0 as usize];
            let slo = &self.slos[series.slo as usize];
            let slot = first.slot_number(interval) + (present - start) as i64;
            let seen = series.counter.seen();
            let is_late = seen.is_some_and(|seen| slot - seen.slot > self.lookback_slots);
            if !series.current || !slo.has_counted() || is_late || slo.is_excluded(slot, seen) {
                end = present;
            } else {
                end = row.counts.first_return(present..end, self.lookback_slots as usize);
            }
        }
        end
    }

    fn due_slots(&self, slots: &Slots) -> Vec<Due> {
        let due = |schedule: &Schedule| {
            // The usual one needs no calendar, nor a division a slot.
            if matches!(schedule, Schedule::Every(every) if *every == self.spec.interval) {
                return Due::new(vec![true; slots.many]);
            }
            let mut before = self.evaluated_slot.unwrap_or(slots.from - self.spec.interval);
            let is_due = (0..slots.many).map(|at| {
                let slot = slots.time(at);
                schedule.is_due(std::mem::replace(&mut before, slot), slot)
            });
            Due::new(is_due.collect())
        };
        self.schedules.iter().map(due).collect()
    }

    /// One an SLO, in their order. Counters are taken out of the engine meanwhile.
    fn jobs<'a>(&'a mut self, stretch: &'a Stretch<'a>, passage: &Passage<'a>, range: &Range<usize>) -> Vec<Job<'a>> {
        let jobs = self.slos.iter_mut().zip(&self.rules).enumerate();
        let jobs = jobs.map(|(index, (slo, rules))| Job {
            seen: (slo.sight, slo.sight_since),
            plans: self.plans[slo.template].clone(),
            slo,
            index,
            stretch,
            machines: rules.iter().map(|rule| rule.machine()).collect(),
            ids: Vec::new(),
            series: Vec::new(),
            flawed: Vec::new(),
            notes: Vec::new(),
            evaluations: 0,
            row: Vec::new(),
        });
        let mut jobs: Vec<Job<'a>> = jobs.collect();
        for row in &passage.series {
            let known = &mut self.series[row.series.0 as usize];
            let counter = std::mem::replace(&mut known.counter, Counter::new(0));
            let job = &mut jobs[known.slo as usize];
            job.ids.push(row.series);
            job.series.push(Counting { counts: row.counts, from: range.start, layout: known.layout as usize, counter });
        }
        for (at, template) in passage.flawed_in(range.clone()) {
            let of_template = self.instances[*template].values();
            of_template.for_each(|slo| jobs[*slo].flawed.push(at - range.start));
        }
        jobs
    }

    /// Whether something may follow from `slot`, or from one since the last, though no SLO noted it, if a send waits for
    /// `wake_at`.
    fn has_business_by(&self, slot: Timestamp, wake_at: Option<Timestamp>) -> bool {
        let source = self.incidents.get(SOURCE_INCIDENT).is_some_and(|incident| !incident.is_over());
        source
            || self.failed_in_a_row > 0
            || self.incidents_stale
            || !self.reports.is_empty()
            || self.holds_are_due(slot)
            || self.digests_are_due(slot)
            || wake_at.is_some_and(|wake_at| wake_at <= slot)
            || self.incidents.values().any(|incident| incident.is_due(slot))
    }

    fn step_noted(&mut self, ahead: &mut Ahead, at: usize, is_due: bool) -> Vec<Effect> {
        let slot = ahead.slots.time(at);
        let mut effects = Vec::new();
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
        effects
    }

    fn stand_at(&mut self, ahead: &Ahead, at: usize) {
        let slot = Some(ahead.slots.time(at));
        self.polls = ahead.slots.seen(at).poll;
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
        self.stretch.slots.many
    }

    /// Counts and evaluates.
    pub fn run(&mut self) {
        let slots = self.stretch.slots;
        // Here, where all processors are at work: tiers take over what the last stretch left.
        self.slo.run_ahead(self.stretch.most);
        // Once: many SLOs share it, on several processors.
        let plans = Arc::clone(&self.plans);
        if self.count_ahead(&slots) {
            self.evaluate_loud(&plans, &slots);
            return;
        }
        let flawed = self.flawed.clone();
        let mut flawed = flawed.into_iter().peekable();
        for at in 0..slots.many {
            self.count_in(at, slots.seen(at));
            while flawed.next_if_eq(&at).is_some() {
                self.slo.note_flawed(slots.number(at));
            }
            let before = self.slo.sight;
            self.slo.close_slot(slots.number(at), slots.time(at), false);
            if self.slo.sight != before {
                self.note(at, What::Sight(self.slo.sight));
            }
            self.evaluate(&plans, at, &slots);
        }
    }

    fn born_at_zero(&self) -> bool {
        self.stretch.spec.slos[self.slo.template].new_series == NewSeries::Zero
    }

    fn count_in(&mut self, at: usize, now: Seen) {
        let born_at_zero = self.born_at_zero();
        for counting in &mut self.series {
            let (layout, is_new) = (counting.layout, counting.counter.seen().is_none());
            let Some(counts) = counting.counts.row(counting.from + at) else { continue };
            self.row.clear();
            self.row.extend(counts);
            let sums = self.slo.sums_of(now.slot, layout);
            let (within, born_at_zero) = (self.stretch.return_within_polls, is_new && born_at_zero);
            if counting.counter.advance(now, &self.row, within, born_at_zero, sums) {
                self.slo.note_measured(now.slot, layout);
            }
        }
    }

    /// Counts all slots at one go, if nothing is out of the ordinary.
    fn count_ahead(&mut self, slots: &Slots) -> bool {
        let born_at_zero = self.born_at_zero();
        let Self { slo, index, series, notes, flawed, .. } = self;
        let changed = |at, sight| notes.push(Note { at, slo: *index, what: What::Sight(sight) });
        flawed.is_empty() && slo.count_ahead(series, slots, born_at_zero, changed)
    }

    /// Evaluates the slots at which a rule may be more than quiet, once all are counted in.
    fn evaluate_loud(&mut self, plans: &[Plan], slots: &Slots) {
        if self.stretch.due.is_empty() {
            return;
        }
        let sights: Vec<(usize, Sight)> = self.notes.iter().filter_map(Note::sight).collect();
        let mut loud = vec![false; slots.many];
        for plan in plans {
            let due = &self.stretch.due[plan.schedule];
            plan.each_loud(self.slo, slots, |at| loud[at] |= due.at[at]);
        }
        let changes = sights.iter().map(|(at, _)| *at).chain([slots.many]);
        let mut sight = self.seen.0;
        let mut from = 0;
        for (to, next) in changes.zip(sights.iter().map(|(_, sight)| Some(*sight)).chain([None])) {
            if !sight.is_steady() {
                loud[from..to].fill(true);
            }
            (from, sight) = (to, next.unwrap_or(sight));
        }
        let mut sights = sights.into_iter().peekable();
        self.slo.sight = self.seen.0;
        let mut at = 0;
        while at < slots.many {
            if self.machines.iter().all(StageMachine::is_quiet) {
                let next = loud[at..].iter().position(|loud| *loud).map_or(slots.many, |quiet| at + quiet);
                let due = plans.iter().map(|plan| self.stretch.due[plan.schedule].within(at..next));
                self.evaluations += due.sum::<u64>();
                at = next;
            }
            while let Some((_, sight)) = sights.next_if(|(changed, _)| *changed <= at) {
                self.slo.sight = sight;
            }
            if at < slots.many {
                self.slo.stand_at(slots.number(at));
                self.evaluate(plans, at, slots);
                at += 1;
            }
        }
    }

    fn evaluate(&mut self, plans: &[Plan], at: usize, slots: &Slots) {
        let spec = &self.stretch.spec.slos[self.slo.template];
        let newest = self.slo.steady_newest();
        for (rule, plan) in plans.iter().enumerate() {
            if !self.stretch.due.get(plan.schedule).is_some_and(|due| due.at[at]) {
                continue;
            }
            let machine = &mut self.machines[rule];
            let what = match plan.look(self.slo, newest, (spec, rule), machine.is_quiet(), slots.number(at)) {
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
                    let was_quiet = machine.is_quiet();
                    let verdict = machine.evaluate(slots.time(at), &spec.rules[rule], evidence);
                    if was_quiet && machine.is_quiet() && verdict == Verdict::Quiet {
                        self.evaluations += 1;
                        continue;
                    }
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

impl Note {
    fn sight(&self) -> Option<(usize, Sight)> {
        match self.what {
            What::Sight(sight) => Some((self.at, sight)),
            What::Unseen { .. } | What::Evaluate { .. } => None,
        }
    }
}

/// The first of `range` that meets `holds`, or the end, if those that meet it follow those that do not.
fn first_where(range: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let Range { start: mut low, end: mut high } = range;
    // Nearly always none does.
    if low >= high || !holds(high - 1) {
        return high;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

impl Due {
    fn new(at: Vec<bool>) -> Self {
        let mut before = Vec::with_capacity(at.len() + 1);
        let mut due = 0;
        before.push(due);
        before.extend(at.iter().map(|is_due| {
            due += u64::from(*is_due);
            due
        }));
        Self { before, at }
    }

    /// How many slots of `range` are due.
    fn within(&self, range: Range<usize>) -> u64 {
        self.before[range.end] - self.before[range.start]
    }
}
