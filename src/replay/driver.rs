//! Feeds history to the engine and records what it decides.

use std::sync::Arc;

use rayon::prelude::*;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::engine::alert::AlertRecord;
use crate::engine::histogram::Snapshot;
use crate::engine::incident::IncidentRecord;
use crate::engine::machine::ahead::Job;
use crate::engine::notification::Notification;
use crate::engine::rule::Limit;
use crate::engine::slo::Slo;
use crate::engine::time::{Duration, Timestamp};
use crate::engine::{Effect, Engine, Input, Outcome, Spec};
use crate::source::SourceError;
use crate::source::feed::passage;
use crate::source::prometheus::{Detail, History};
use crate::source::reader::{Origin, Reader, Reading};

use super::document::{Decisions, Document};
use super::score::{Known, Ledger};

/// Each request for a slice of history may take this long.
pub const SLICE_DEADLINE: Duration = Duration::from_minutes(2);
/// Slots that are tried at once after one that had to be stepped by itself; twice as many each time that they can be.
const LEAST_REACH: usize = 64;
const MOST_REACH: usize = 1 << 20;
/// Slots of SLOs below which other threads cost more than they save.
const LEAST_SHARED: usize = 2_000;
/// Slices read ahead while the engine works on one.
const SLICES_AHEAD: usize = 1;

/// Why a replay could not be made.
#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("services that are scraped directly keep no history; replay needs a source that does")]
    NoHistory,
    #[error("there is no slot of {interval} between {from} and {to}")]
    EmptyRange { from: Timestamp, to: Timestamp, interval: Duration },
    #[error(
        "the two configurations poll every {first} and every {second}; give both the same interval to compare them"
    )]
    Intervals { first: Duration, second: Duration },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("reading history stopped at {at}: {error}")]
    Interrupted { at: Timestamp, error: SourceError },
    #[error("the history is not whole: {0}")]
    NotWhole(SourceError),
}

impl ReplayError {
    /// Why reading on from `at` failed, where all up to `to` was to be read.
    pub fn ended(at: Timestamp, to: Timestamp, error: SourceError) -> Self {
        if at > to { Self::NotWhole(error) } else { Self::Interrupted { at, error } }
    }
}

/// How far a replay has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub at: Timestamp,
    /// Slots done and to do, those that only fill the windows before the range included.
    pub done: u64,
    pub total: u64,
}

/// What a replay is told beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// What is known to have happened.
    pub known: Vec<Known>,
}

/// What was replayed.
#[derive(Debug)]
pub struct Replayed {
    /// Of as much as could be read.
    pub document: Document,
    /// Why reading ended before `to`, if it did.
    pub broken: Option<ReplayError>,
}

/// Replays `[from, to]` of the configured source; see [`replay_from`].
pub async fn replay(
    config: &Config,
    from: Timestamp,
    to: Timestamp,
    progress: impl FnMut(Progress) -> bool,
) -> Result<Replayed, ReplayError> {
    let reader = Reader::open(config, &Origin::Source)?.ok_or(ReplayError::NoHistory)?;
    replay_from(config, reader, from, to, &Given::default(), progress).await
}

/// Replays `[from, to]`, rounded inwards to slots. The windows are filled from the history before `from`, as a daemon
/// that had started then would have filled them. `progress` is told of each slice; it says `false` to stop there, which
/// yields what was replayed so far.
pub async fn replay_from(
    config: &Config,
    reader: Reader,
    from: Timestamp,
    to: Timestamp,
    given: &Given,
    progress: impl FnMut(Progress) -> bool,
) -> Result<Replayed, ReplayError> {
    let (recorder, broken) =
        drive(config, reader, (from, to), detail(&config.spec), given, progress, Recorder::take).await?;
    Ok(Replayed { document: recorder.finish(), broken })
}

/// One engine over `[from, to]`, slice by slice; `take` gives each to the recorder. Returns what was recorded, and why
/// reading ended before `to`, if it did.
pub(super) async fn drive(
    config: &Config,
    reader: Reader,
    (from, to): (Timestamp, Timestamp),
    detail: Detail,
    given: &Given,
    progress: impl FnMut(Progress) -> bool,
    mut take: impl FnMut(&mut Recorder, &History),
) -> Result<(Recorder, Option<ReplayError>), ReplayError> {
    let interval = config.spec.interval;
    let (from, to) = inwards((from, to), interval)?;
    let warm_from = warm_from(&config.spec, from);
    let reading = reader.read(warm_from, to, interval, detail, SLICE_DEADLINE);
    let mut recorder = Recorder::new(config.spec.clone(), from, detail).knowing(&given.known);
    let take = |history: &History| take(&mut recorder, history);
    let broken = each_slice(reading, (warm_from, to), interval, progress, take).await?;
    Ok((recorder, broken))
}

/// The slots of a range: its first and its last.
pub(super) fn inwards(
    (from, to): (Timestamp, Timestamp),
    interval: Duration,
) -> Result<(Timestamp, Timestamp), ReplayError> {
    let slots = (from.align_up(interval), to.align_down(interval));
    if slots.0 > slots.1 { Err(ReplayError::EmptyRange { from, to, interval }) } else { Ok(slots) }
}

/// Where history must begin for windows to be full at `from`.
pub fn warm_from(spec: &Spec, from: Timestamp) -> Timestamp {
    (from - spec.longest_window()).align_down(spec.interval)
}

/// Hands out slices as they come, until `progress` says `false`. Returns why reading ended before `to`, if it did.
pub(super) async fn each_slice(
    reading: Reading,
    (first, to): (Timestamp, Timestamp),
    interval: Duration,
    mut progress: impl FnMut(Progress) -> bool,
    mut take: impl FnMut(&History),
) -> Result<Option<ReplayError>, ReplayError> {
    let mut arriving = Arriving::from(reading);
    let total = slots(first, to, interval);
    let mut at = first;
    while let Some(slice) = arriving.next().await {
        let history = match slice {
            Ok(history) => history,
            // Nothing at all is no beginning.
            Err(error) if at == first => return Err(error.into()),
            Err(error) => return Ok(Some(ReplayError::ended(at, to, error))),
        };
        take(&history);
        at = history.to() + interval;
        if !progress(Progress { at, done: total - slots(at, to, interval), total }) {
            break;
        }
    }
    Ok(None)
}

/// Slices that are read while the engine works.
enum Arriving {
    /// The source sees to it.
    Itself(Box<Reading>),
    Ahead(mpsc::Receiver<Result<History, SourceError>>),
}

impl From<Reading> for Arriving {
    fn from(reading: Reading) -> Self {
        if reading.reads_ahead() { Self::Itself(Box::new(reading)) } else { Self::Ahead(read_ahead(reading)) }
    }
}

impl Arriving {
    async fn next(&mut self) -> Option<Result<History, SourceError>> {
        match self {
            Self::Itself(reading) => reading.next().await,
            Self::Ahead(slices) => slices.recv().await,
        }
    }
}

/// Reads slices in a task of its own, so that the source works while the engine does.
fn read_ahead(mut slices: Reading) -> mpsc::Receiver<Result<History, SourceError>> {
    let (send, receive) = mpsc::channel(SLICES_AHEAD);
    tokio::spawn(async move {
        while let Some(slice) = slices.next().await {
            let failed = slice.is_err();
            if send.send(slice).await.is_err() || failed {
                return;
            }
        }
    });
    receive
}

/// Slots in `[from, to]`.
fn slots(from: Timestamp, to: Timestamp, interval: Duration) -> u64 {
    (to.slot_number(interval) - from.slot_number(interval) + 1).max(0) as u64
}

/// All buckets only where a rule looks at quantiles: they are most of the data.
pub(super) fn detail(spec: &Spec) -> Detail {
    let mut limits = spec.slos.iter().flat_map(|slo| &slo.rules).map(|rule| rule.limit);
    if limits.any(|limit| matches!(limit, Limit::Latency { .. })) { Detail::Buckets } else { Detail::Counts }
}

/// Runs jobs on as many threads as there are processors.
fn on_all_cores(jobs: &mut [Job<'_>]) {
    let work: usize = jobs.iter().map(Job::slots).sum();
    if work < LEAST_SHARED {
        return jobs.iter_mut().for_each(Job::run);
    }
    jobs.par_iter_mut().for_each(Job::run);
}

/// An engine and everything it decided since the range began.
pub struct Recorder {
    engine: Engine,
    /// Slots that are tried at once next.
    reach: usize,
    log: Log,
}

/// Requests, slow requests, and the slots that were seen.
type Sums = [f64; 3];

fn sums(slo: &Slo) -> Sums {
    let [events, bad] = slo.totals();
    [events, bad, slo.seen_slots()]
}

struct Log {
    from: Timestamp,
    last: Option<Timestamp>,
    /// What each SLO had counted before `from`; SLOs that appear later start at zero.
    before: Option<Vec<Sums>>,
    slots: u64,
    alerts: Vec<AlertRecord>,
    incidents: Vec<IncidentRecord>,
    notifications: Vec<Arc<Notification>>,
    ledger: Ledger,
}

impl Recorder {
    pub fn new(spec: Arc<Spec>, from: Timestamp, detail: Detail) -> Self {
        let engine = Engine::new(spec);
        let engine = if detail == Detail::Counts { engine.without_quantiles() } else { engine };
        let log = Log {
            from,
            last: None,
            before: None,
            slots: 0,
            alerts: Vec::new(),
            incidents: Vec::new(),
            notifications: Vec::new(),
            ledger: Ledger::new(&[]),
        };
        Self { engine, reach: LEAST_REACH, log }
    }

    /// Goes on from here with other rules, and nothing decided yet: what a recorder for `spec` that took the same slices
    /// would be, as long as they are before the range. `None` if the windows do not serve `spec`.
    pub fn with(&self, spec: Arc<Spec>) -> Option<Self> {
        let mut other = Self::new(spec.clone(), self.log.from, Detail::Buckets);
        other.engine = self.engine.clone();
        other.engine.reload(spec).then_some(other)
    }

    /// Notes what these incidents cost until somebody is told.
    pub fn knowing(mut self, known: &[Known]) -> Self {
        self.log.ledger = Ledger::new(known);
        self
    }

    /// Takes a slice of history: slots before `from` fill the windows, later ones are evaluated.
    pub fn take(&mut self, history: &History) {
        let mut at = self.first_of_use(history);
        let Self { engine, reach, log } = self;
        let passage = passage(engine, history);
        let mut snapshot = Snapshot::default();
        while at < passage.slots {
            let slot = passage.slot(at);
            log.begin(engine, slot);
            let end = at + (*reach).min(passage.slots - at).min(log.slots_alike(slot, history.step));
            if let Some(mut ahead) = engine.run_ahead(&passage, at..end, slot >= log.from, on_all_cores) {
                while let Some((slot, effects)) = engine.follow(&mut ahead) {
                    log.ledger.begin(engine, slot);
                    log.record(engine, slot, effects);
                }
                log.count(slot, passage.slot(at + ahead.slots() - 1), ahead.slots());
                *reach = (*reach * 2).min(MOST_REACH);
                at += ahead.slots();
            } else {
                passage.snapshot(at, &mut snapshot);
                log.step(engine, slot, &snapshot);
                *reach = LEAST_REACH;
                at += 1;
            }
        }
    }

    /// As [`Self::take`], but slot by slot: `observe` looks at the engine after each that was evaluated.
    pub fn take_observed(&mut self, history: &History, mut observe: impl FnMut(&Engine, Timestamp)) {
        let first = self.first_of_use(history);
        let Self { engine, log, .. } = self;
        let passage = passage(engine, history);
        let mut snapshot = Snapshot::default();
        for at in first..passage.slots {
            let slot = passage.slot(at);
            passage.snapshot(at, &mut snapshot);
            log.begin(engine, slot);
            log.step(engine, slot, &snapshot);
            if slot >= log.from {
                observe(engine, slot);
            }
        }
    }

    /// Before there was anything, one slot teaches the windows as much as a month of them.
    fn first_of_use(&self, history: &History) -> usize {
        if self.engine.has_counted() {
            return 0;
        }
        let warming = slots(history.from, self.log.from, history.step).saturating_sub(1) as usize;
        history.idle_slots().min(warming).min(history.slots).saturating_sub(1)
    }

    /// What receivers would have been told so far, in the order of the decisions: that of the document's list.
    pub fn notifications(&self) -> &[Arc<Notification>] {
        &self.log.notifications
    }

    /// Everything decided, in a stable order.
    pub fn finish(self) -> Document {
        let Self { engine, mut log, .. } = self;
        let view = engine.view();
        log.alerts.extend(engine.standing().cloned());
        log.incidents.extend(view.incidents);
        let before = log.before.unwrap_or_default();
        let totals = engine.slos().iter().enumerate().map(|(index, slo)| {
            let (now, before) = (sums(slo), before.get(index).copied().unwrap_or_default());
            (slo.template, slo.labels.clone(), std::array::from_fn(|place| now[place] - before[place]))
        });
        Document::new(Decisions {
            spec: engine.spec(),
            from: log.from,
            to: log.last.unwrap_or(log.from),
            slots: log.slots,
            has_counted: engine.has_counted(),
            totals: totals.collect(),
            alerts: log.alerts,
            incidents: log.incidents,
            notifications: log.notifications,
            held_back: view.held_back,
            missed: view.missed,
            spending: log.ledger.finish(),
        })
    }
}

impl Log {
    /// Before `slot` is counted in.
    fn begin(&mut self, engine: &Engine, slot: Timestamp) {
        self.ledger.begin(engine, slot);
        if slot >= self.from {
            self.before.get_or_insert_with(|| engine.slos().iter().map(sums).collect());
        }
    }

    /// How many slots from `slot` on, which began, begin with nothing to look at.
    fn slots_alike(&self, slot: Timestamp, step: Duration) -> usize {
        let until_range = (slot < self.from).then(|| slots(slot, self.from, step) - 1);
        let until_incident = self.ledger.next_start().map(|start| slots(slot, start, step));
        until_range.into_iter().chain(until_incident).min().map_or(usize::MAX, |slots| slots as usize)
    }

    fn step(&mut self, engine: &mut Engine, slot: Timestamp, snapshot: &Snapshot) {
        self.count(slot, slot, 1);
        if slot < self.from {
            engine.step(slot, Input::Backfilled { slot, snapshot });
            return;
        }
        let effects = engine.step(slot, Input::Polled { slot, snapshot });
        self.record(engine, slot, effects);
    }

    /// Notes that the slots from `first` to `last` passed.
    fn count(&mut self, first: Timestamp, last: Timestamp, slots: usize) {
        self.last = Some(last);
        if first >= self.from {
            self.slots += slots as u64;
        }
    }

    /// Takes all that follows from a slot.
    fn record(&mut self, engine: &mut Engine, slot: Timestamp, effects: Vec<Effect>) {
        self.settle(engine, slot, effects);
        self.ledger.end(engine, slot);
    }

    fn settle(&mut self, engine: &mut Engine, slot: Timestamp, effects: Vec<Effect>) {
        for effect in effects {
            self.ledger.note(&effect);
            match effect {
                Effect::Alert(record) if record.ended_at.is_some() => self.alerts.push(record),
                Effect::Incident(record) if record.resolved_at.is_some() => self.incidents.push(record),
                Effect::Notify(notification) => self.notifications.push(notification),
                Effect::Deliver(delivery) => {
                    let (id, outcome) = (&delivery.notification.id, &Outcome::Delivered);
                    let next = engine.step(slot, Input::Settled { id, outcome });
                    self.settle(engine, slot, next);
                }
                Effect::Alert(_) | Effect::Incident(_) | Effect::Report(_) => {}
            }
        }
    }
}
