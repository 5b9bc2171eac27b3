//! The engine itself: takes inputs one at a time and says what follows from each.
//!
//! ```
//! use std::sync::Arc;
//! use slowburn::engine::{Engine, Input, Spec, histogram::Snapshot, time::{Duration, Timestamp}};
//! let mut engine = Engine::new(Arc::new(Spec { interval: Duration::from_secs(30), ..Spec::default() }));
//! let slot = Timestamp::from_unix_s(1_772_366_400);
//! let effects = engine.step(slot, Input::Polled { slot, snapshot: &Snapshot::default() });
//! assert!(effects.is_empty());
//! ```

pub mod ahead;
mod bind;
mod collect;
mod hold;
mod plan;
mod reload;
mod remember;
mod rewind;
mod roster;
mod tell;
mod windows;

pub use self::reload::Gone;
pub use self::remember::Restored;
pub use self::windows::SloWindows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::alert::{AlertKey, AlertRecord, RuleState};
use super::counter::{Counter, LOOKBACK, RETURN_WITHIN, Seen};
use super::histogram::{Labels, SeriesId, Snapshot};
use super::incident::{Incident, IncidentRecord};
use super::memory::Missed;
use super::notification::{HeldBack, Notification};
use super::outbox::{Delivery, Outbox};
use super::roster::Roster;
use super::rule::Schedule;
use super::silence::Silence;
use super::sli::NewSeries;
use super::slo::{Sight, Slo};
use super::spec::{Outcome, Spec};
use super::stage::{Evidence, Verdict};
use super::time::Timestamp;
use collect::Digests;
use hold::Holds;
use plan::{Look, Plan, plans};
use remember::Remembered;

/// What happened in the world. Absence of data is an input, never a zero.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// The source answered for `slot`: count it in and evaluate.
    Polled { slot: Timestamp, snapshot: &'a Snapshot },
    /// What the source had for a slot that passed before: count it in. If the engine evaluated before it and not since
    /// (it was not running, or blind), alerts begin and end with it; who is told what waits for the next poll.
    Backfilled { slot: Timestamp, snapshot: &'a Snapshot },
    /// The source did not answer for `slot`; `why` is free of secrets.
    PollFailed { slot: Timestamp, why: &'a str },
    /// A send ended.
    Settled { id: &'a str, outcome: &'a Outcome },
    /// A silence was made, or replaces the one of its id; it holds from the next slot on. One that
    /// [`Engine::check_silence`] refuses changes nothing.
    Silence(&'a Silence),
    /// A silence is to end now.
    Unsilence { id: &'a str },
    /// Time passed: retries may be due.
    Tick,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// An alert began or ended at a stage.
    Alert(AlertRecord),
    /// An incident opened or resolved.
    Incident(IncidentRecord),
    /// It was decided to tell a receiver.
    Notify(Arc<Notification>),
    /// To be sent now; its end comes back as [`Input::Settled`].
    Deliver(Delivery),
    /// Something a human should know that is no alert.
    Report(Report),
}

/// Facts about the data itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A series changed its bounds in mid-window. It burned nothing by that: it goes on where the bounds around the
    /// budget stay, and counts anew where they do not.
    LayoutChanged { slo: String, bounds: usize },
    /// The bounds of an SLO's histogram cannot measure its budget.
    Unmeasurable { slo: String, why: String },
    /// Combinations of `by` labels, or layouts, beyond a limit are not watched; told once an hour with one of them.
    Refused { slo: String, series: Labels, why: String },
    /// What is known of an SLO changed.
    SightChanged { slo: String, from: Sight, to: Sight },
}

/// One bound series.
#[derive(Debug, Clone)]
struct Series {
    slo: u32,
    layout: u32,
    line: u32,
    /// Whether it is the one of its line that was seen last.
    current: bool,
    counter: Counter,
}

/// All series of the same labels: one for each set of bounds they ever had.
#[derive(Debug, Clone)]
struct Line {
    number: u32,
    layouts: Vec<(Arc<[f64]>, SeriesId)>,
}

/// The last series of a template that was not watched.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    reported: Timestamp,
    /// The newest poll before it.
    poll: i64,
    why: String,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) spec: Arc<Spec>,
    /// By template, then rule. Alike ones are shared, so that a tick reads few of them.
    pub(super) plans: Vec<Arc<[Plan]>>,
    schedules: Vec<Schedule>,
    /// By schedule: whether it is due in the slot being evaluated.
    due: Vec<bool>,
    pub(super) slos: Vec<Slo>,
    /// By SLO, then rule.
    pub(super) rules: Vec<Vec<RuleState>>,
    /// By template: instances by the values of their `by` labels.
    instances: Vec<BTreeMap<Labels, usize>>,
    series: Vec<Series>,
    free: Vec<SeriesId>,
    /// The current series of each line.
    lines: Vec<SeriesId>,
    free_lines: Vec<u32>,
    /// By template.
    index: Vec<BTreeMap<Labels, Line>>,
    /// By template.
    refused: Vec<Option<Refusal>>,
    lookback_slots: i64,
    return_within_polls: i64,
    quantiles: bool,
    /// How many polls were answered.
    polls: i64,
    newest_slot: Option<Timestamp>,
    evaluated_slot: Option<Timestamp>,
    /// The newest slot that was due, whether the source answered or not.
    due_slot: Option<Timestamp>,
    pub(super) failed_in_a_row: u32,
    pub(super) last_answer: Option<Timestamp>,
    pub(super) standing: BTreeSet<AlertKey>,
    pub(super) incidents: BTreeMap<String, Incident>,
    pub(super) outbox: Outbox,
    roster: Roster,
    pub(super) held_back: HeldBack,
    pub(super) missed: Missed,
    pub(super) evaluations: u64,
    /// Another configuration came, which incidents know nothing of yet.
    incidents_stale: bool,
    pub(super) holds: Holds,
    /// `None` for a driver that keeps nothing.
    remembered: Option<Box<Remembered>>,
    digests: Digests,
    reports: Vec<Report>,
}

impl Engine {
    pub fn new(spec: Arc<Spec>) -> Self {
        let mut schedules = Vec::new();
        let plans = plans(&spec, &mut schedules);
        let mut engine = Self {
            plans,
            due: vec![false; schedules.len()],
            schedules,
            slos: Vec::new(),
            rules: Vec::new(),
            instances: vec![BTreeMap::new(); spec.slos.len()],
            series: Vec::new(),
            free: Vec::new(),
            lines: Vec::new(),
            free_lines: Vec::new(),
            index: vec![BTreeMap::new(); spec.slos.len()],
            refused: vec![None; spec.slos.len()],
            lookback_slots: LOOKBACK.in_slots(spec.interval).max(1),
            return_within_polls: RETURN_WITHIN.in_slots(spec.interval).max(1),
            quantiles: true,
            polls: 0,
            newest_slot: None,
            evaluated_slot: None,
            due_slot: None,
            failed_in_a_row: 0,
            last_answer: None,
            standing: BTreeSet::new(),
            incidents: BTreeMap::new(),
            outbox: Outbox::new(spec.receivers.clone()),
            roster: Roster::default(),
            held_back: HeldBack::default(),
            missed: Missed::default(),
            evaluations: 0,
            incidents_stale: false,
            holds: Holds::new(&spec.silences),
            remembered: None,
            digests: Digests::default(),
            reports: Vec::new(),
            spec,
        };
        for template in 0..engine.spec.slos.len() {
            if engine.spec.slos[template].by.is_empty() {
                engine.add_instance(template, Labels::new());
            }
        }
        engine
    }

    /// Keeps buckets only where a rule needs them: for sources that hand over no more bounds than the budgets need.
    pub fn without_quantiles(mut self) -> Self {
        self.quantiles = false;
        self
    }

    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The newest slot that was counted in.
    pub fn newest_slot(&self) -> Option<Timestamp> {
        self.newest_slot
    }

    /// The newest slot that was evaluated, whoever drove the engine then.
    pub fn evaluated_slot(&self) -> Option<Timestamp> {
        self.evaluated_slot
    }

    /// When [`Input::Tick`] is worth giving next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.outbox.wake_at()
    }

    /// Takes one input. Slots must ascend; one that is not later than the newest is ignored.
    pub fn step(&mut self, now: Timestamp, input: Input<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Polled { slot, .. } | Input::Backfilled { slot, .. }
                if self.newest_slot.is_some_and(|newest| slot <= newest) => {}
            Input::Polled { slot, snapshot } if self.evaluated_slot.is_none_or(|evaluated| slot > evaluated) => {
                self.note_due(slot);
                self.count_in(slot, snapshot);
                self.evaluate(slot, snapshot.partial, &mut effects);
            }
            // A slot that was evaluated before a restart counts once.
            Input::Polled { slot, snapshot } | Input::Backfilled { slot, snapshot } => {
                self.backfill(slot, snapshot, &mut effects);
            }
            Input::PollFailed { slot, why } => self.poll_failed(slot, why, &mut effects),
            Input::Settled { id, outcome } => self.outbox.settle(now, id, outcome.clone()),
            Input::Silence(silence) => self.holds.silences.set(now, silence),
            Input::Unsilence { id } => self.holds.silences.end(now, id),
            Input::Tick => {}
        }
        self.hand_out(now, &mut effects);
        effects
    }

    /// Adds what is to be reported and sent.
    fn hand_out(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        effects.extend(self.reports.drain(..).map(Effect::Report));
        effects.extend(self.outbox.due(now).into_iter().map(Effect::Deliver));
    }

    fn note_due(&mut self, slot: Timestamp) {
        if let Some(due) = self.due_slot {
            let skipped = slot.slot_number(self.spec.interval) - due.slot_number(self.spec.interval) - 1;
            self.missed.slots += skipped.max(0) as u64;
        }
        self.due_slot = Some(slot);
    }

    /// Adds a slot's increases to the SLOs.
    fn count_in(&mut self, slot: Timestamp, snapshot: &Snapshot) {
        let number = slot.slot_number(self.spec.interval);
        let watching = self.newest_slot.is_some();
        self.polls += 1;
        self.note_excluded(slot);
        let mut aside = Vec::new();
        let now = Seen { poll: self.polls, slot: number };
        for (id, at) in &snapshot.rows {
            if !self.series[id.0 as usize].current {
                self.take_over(*id);
            }
            let Series { slo, layout, counter, .. } = &mut self.series[id.0 as usize];
            let slo = &mut self.slos[*slo as usize];
            let (at, layout) = (*at as usize, *layout as usize);
            let is_new = watching && counter.seen().is_none();
            let born_at_zero = is_new && self.spec.slos[slo.template].new_series == NewSeries::Zero;
            let counts = &snapshot.counts[at..at + counter.buckets()];
            let before = counter.seen().filter(|seen| number - seen.slot > self.lookback_slots);
            let counted_before = before.map(|before| (before.slot, slo.counted(layout)));
            let excluded = slo.is_excluded(number, counter.seen());
            let sums = slo.sums_of(number, layout);
            if excluded {
                // The baseline moves on, and nothing is counted.
                aside.resize(counter.buckets(), 0.0);
                counter.advance(now, counts, self.return_within_polls, born_at_zero, &mut aside);
                continue;
            }
            if counter.advance(now, counts, self.return_within_polls, born_at_zero, sums) {
                slo.note_measured(number, layout);
                if let Some((last, counted)) = counted_before {
                    slo.count_late(last, layout, counted);
                }
            }
        }
        for template in &snapshot.flawed {
            self.instances[*template].values().for_each(|slo| self.slos[*slo].note_flawed(number));
        }
        self.newest_slot = Some(slot);
    }

    /// Counts a slot in that passed before. One that nobody evaluated is evaluated now, in its turn: so a breach that
    /// began while nobody looked has its true start, and a recovery its true end. Telling waits for the next poll.
    fn backfill(&mut self, slot: Timestamp, snapshot: &Snapshot, effects: &mut Vec<Effect>) {
        self.count_in(slot, snapshot);
        if self.evaluated_slot.is_some_and(|evaluated| slot > evaluated) {
            self.incidents_stale |= self.evaluate_rules(slot, snapshot.partial, effects);
            return;
        }
        let number = slot.slot_number(self.spec.interval);
        self.slos.iter_mut().for_each(|slo| slo.close_slot(number, slot, snapshot.partial));
    }

    fn evaluate(&mut self, slot: Timestamp, partial: bool, effects: &mut Vec<Effect>) {
        self.last_answer = Some(slot);
        let held_otherwise = self.look_at_holds(slot);
        let changed = self.evaluate_rules(slot, partial, effects);
        self.conclude(slot, changed || held_otherwise, effects);
    }

    /// What follows once all rules of a slot are evaluated; `changed` says that alerts changed, or what holds them.
    fn conclude(&mut self, slot: Timestamp, changed: bool, effects: &mut Vec<Effect>) {
        self.look_after_source(slot, effects);
        let stale = std::mem::take(&mut self.incidents_stale);
        if changed || stale || self.incidents.values().any(|incident| incident.is_due(slot)) {
            self.update_incidents(slot, effects);
        }
        self.look_at_digests(slot, effects);
    }

    /// Evaluates what is due in a slot that was counted in. Returns whether an alert changed.
    fn evaluate_rules(&mut self, slot: Timestamp, partial: bool, effects: &mut Vec<Effect>) -> bool {
        self.missed.partial += u64::from(partial);
        let before = self.evaluated_slot.unwrap_or(slot - self.spec.interval);
        for (due, schedule) in self.due.iter_mut().zip(&self.schedules) {
            *due = schedule.is_due(before, slot);
        }
        let (number, spec) = (slot.slot_number(self.spec.interval), self.spec.clone());
        let mut changed = false;
        // One SLO after the other, so that each one's memory is fetched once.
        for index in 0..self.slos.len() {
            let slo = &mut self.slos[index];
            let template = slo.template;
            let from = slo.sight;
            slo.close_slot(number, slot, partial);
            let newest = slo.steady_newest();
            if slo.sight != from {
                self.report_sight(index, from, effects);
            }
            for rule in 0..self.plans[template].len() {
                let plan = &self.plans[template][rule];
                if !self.due[plan.schedule] {
                    continue;
                }
                let key = AlertKey { slo: index, rule };
                let is_quiet = self.rules[index][rule].is_quiet();
                match plan.look(&self.slos[index], newest, (&spec.slos[template], rule), is_quiet, number) {
                    Look::Quiet => self.evaluations += 1,
                    Look::Unseen => self.skip_rule(key),
                    Look::Seen(evidence) => changed |= self.take_evidence(slot, key, evidence, effects),
                }
            }
        }
        self.evaluated_slot = Some(slot);
        changed
    }

    /// Reports what is known of an SLO now, unless requests only came or stayed away.
    fn report_sight(&self, index: usize, from: Sight, effects: &mut Vec<Effect>) {
        let slo = &self.slos[index];
        if !(slo.sight.is_steady() && from.is_steady()) {
            let (slo, to) = (self.spec.slos[slo.template].place(), slo.sight);
            effects.push(Effect::Report(Report::SightChanged { slo, from, to }));
        }
    }

    /// An evaluation was due and could not be made.
    fn skip_rule(&mut self, key: AlertKey) {
        if let (true, Some(remembered)) = (self.rules[key.slo][key.rule].skip(), &mut self.remembered) {
            remembered.touch_rule(key);
        }
    }

    /// Returns whether an alert changed.
    fn take_evidence(&mut self, slot: Timestamp, key: AlertKey, evidence: Evidence, effects: &mut Vec<Effect>) -> bool {
        let slo = &self.slos[key.slo];
        let spec = &self.spec.slos[slo.template];
        let rule = &spec.rules[key.rule];
        let state = &mut self.rules[key.slo][key.rule];
        let was_quiet = state.is_quiet();
        self.evaluations += 1;
        let identity = || (spec.journey.clone(), spec.layer.clone(), slo.labels.clone());
        let (verdict, change) = state.evaluate(slot, rule, evidence, identity);
        if let (false, Some(remembered)) = (was_quiet && state.is_quiet(), &mut self.remembered) {
            remembered.touch_rule(key);
        }
        if let Some(stage) = change.gave_up {
            self.held_back.brief((stage, rule.urgency));
        }
        match verdict {
            Verdict::Quiet => {}
            Verdict::NotConsecutive => self.held_back.not_consecutive += 1,
            Verdict::LowTraffic => self.held_back.low_traffic += 1,
            Verdict::Same => self.held_back.same_stage += 1,
            Verdict::Changed => {}
        }
        if verdict != Verdict::Changed {
            return false;
        }
        if change.began.is_some() {
            self.standing.insert(key);
        } else if change.ended.is_some() {
            self.standing.remove(&key);
        }
        effects.extend(change.ended.into_iter().chain(change.began).map(|record| Effect::Alert(*record)));
        true
    }

    fn poll_failed(&mut self, slot: Timestamp, why: &str, effects: &mut Vec<Effect>) {
        if self.due_slot.is_some_and(|due| slot <= due) {
            return;
        }
        self.note_due(slot);
        self.missed.slots += 1;
        self.failed_in_a_row += 1;
        for slo in &mut self.slos {
            slo.see(Sight::Blind, slot);
        }
        for slo in 0..self.rules.len() {
            for rule in 0..self.rules[slo].len() {
                self.skip_rule(AlertKey { slo, rule });
            }
        }
        let held_otherwise = self.look_at_holds(slot);
        if self.failed_in_a_row >= self.spec.blind_after {
            self.update_source_incident(slot, Some(why.to_string()), effects);
        }
        if held_otherwise {
            self.update_incidents(slot, effects);
        }
        self.look_at_digests(slot, effects);
    }

    /// Bytes of the windows on the heap, for all SLOs.
    pub fn window_bytes(&self) -> usize {
        self.slos.iter().map(Slo::heap_bytes).sum()
    }
}
