//! The one poll or backfill under way, and when the next poll is due.

use tokio::sync::mpsc;

use crate::clock::Stopwatch;
use crate::engine::histogram::{Poll, Snapshot};
use crate::engine::time::{Duration, Timestamp};
use crate::engine::{Effect, Input, Report};
use crate::source::prometheus::History;
use crate::source::{Source, SourceError, feed};

use super::backfill::Backfill;
use super::event::Event;
use super::live::Live;
use super::report;
use super::schedule::{Schedule, Turn, missing};
use super::status::Reading;
use super::world::World;

/// A slot that is further from the newest one than the time that passed by as many intervals was reached by a leap.
const LEAP_INTERVALS: f64 = 2.0;

/// Polls never overlap: the next is due once this one, and the backfill it called for, is over.
#[derive(Debug)]
pub struct Polls {
    schedule: Schedule,
    /// Counts configurations, so that the answer to a poll of an old one is known for what it is.
    generation: u64,
    state: State,
    snapshot: Snapshot,
    /// Of the newest answer.
    warnings: Vec<String>,
    /// Since the newest evaluation.
    evaluated: Option<Stopwatch>,
    events: mpsc::Sender<Event>,
}

#[derive(Debug)]
enum State {
    Idle,
    Polling {
        slot: Timestamp,
    },
    /// The answer for `slot` waits for the history before it.
    Backfilling {
        backfill: Backfill,
        slot: Timestamp,
        poll: Poll,
        read_to: Option<Timestamp>,
    },
    Stopped,
}

impl Polls {
    pub fn new(world: &World, events: mpsc::Sender<Event>) -> Self {
        Self {
            schedule: world.schedule(),
            generation: 0,
            state: State::Idle,
            snapshot: Snapshot::default(),
            warnings: Vec::new(),
            evaluated: None,
            events,
        }
    }

    /// Polls only slots after `slot` from here on.
    pub fn go_on_after(&mut self, slot: Option<Timestamp>) {
        self.schedule = self.schedule.after(slot);
    }

    /// When the next poll is due; `None` while one is under way. At once when the clock was set back, see
    /// [`Polls::ahead`].
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let next = || if self.ahead(now).is_some() { now } else { self.schedule.next(now).at };
        matches!(self.state, State::Idle).then(next)
    }

    /// How far the newest slot lies in the future, if that is more than a poll can wait for.
    pub fn ahead(&self, now: Timestamp) -> Option<Duration> {
        let newest = match &self.state {
            State::Polling { slot } | State::Backfilling { slot, .. } => Some(*slot),
            State::Idle => self.schedule.last(),
            State::Stopped => None,
        };
        self.schedule.is_ahead(newest?, now)
    }

    /// Polls the slot that is due at `now`, if one is.
    pub fn start(&mut self, world: &World, now: Timestamp) {
        let Turn { slot, at } = self.schedule.next(now);
        if !matches!(self.state, State::Idle) || at > now {
            return;
        }
        self.state = State::Polling { slot };
        let deadline = world.timeout().min(self.schedule.time_left(slot, now));
        let (source, generation, events) = (world.source.clone(), self.generation, self.events.clone());
        tokio::spawn(async move {
            let stopwatch = Stopwatch::start();
            let result = poll(source, slot, deadline).await;
            let took_s = stopwatch.elapsed_s();
            // Without a loop there is nobody left to tell.
            let _ = events.send(Event::Polled { generation, slot, took_s, result }).await;
        });
    }

    /// The next slice of the backfill under way; never without one.
    pub async fn next_slice(&mut self) -> Option<Result<History, SourceError>> {
        match &mut self.state {
            State::Backfilling { backfill, .. } => backfill.next().await,
            State::Idle | State::Polling { .. } | State::Stopped => std::future::pending().await,
        }
    }

    pub fn reading(&self) -> Option<Reading> {
        match &self.state {
            State::Backfilling { backfill, read_to, .. } => {
                Some(Reading { from: backfill.from, to: backfill.to, read_to: *read_to })
            }
            State::Idle | State::Polling { .. } | State::Stopped => None,
        }
    }

    /// Goes on with another configuration; what is under way for the old one is dropped.
    pub fn restart(&mut self, world: &World) {
        self.generation += 1;
        self.schedule = world.schedule().after(self.schedule.last());
        if !matches!(self.state, State::Stopped) {
            self.state = State::Idle;
        }
    }

    /// Goes on as if the newest slot had been `by` earlier; what is under way for the slots of before is dropped.
    pub fn rewind(&mut self, by: Duration) {
        self.generation += 1;
        self.schedule.rewind(by);
        self.state = State::Idle;
    }

    pub fn stop(&mut self) {
        self.state = State::Stopped;
    }

    fn is_awaited(&self, generation: u64) -> bool {
        generation == self.generation && matches!(self.state, State::Polling { .. })
    }
}

/// Polls once, whatever happens to the polling itself.
async fn poll(source: Source, slot: Timestamp, deadline: Duration) -> Result<Poll, SourceError> {
    let polled = tokio::spawn(async move {
        match tokio::time::timeout(deadline.to_std(), source.poll(slot, deadline)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(SourceError::Timeout(deadline)),
        }
    });
    polled.await.unwrap_or_else(|_panicked| Err(SourceError::WrongShape("reading it failed unexpectedly".into())))
}

impl Live {
    /// Numbers slots anew if the wall clock was set back, or else nothing would be evaluated until it has caught up.
    pub(super) fn look_at_clock(&mut self) {
        let now = self.clock.now();
        let Some(ahead) = self.polls.ahead(now) else { return };
        let by = self.steady.reset().max(ahead);
        tracing::warn!(by = %by.coarse(), "the wall clock was set back; evaluation goes on from there");
        self.started_at = self.started_at.min(now);
        let by_slots = self.engine.rewind(now, by);
        self.polls.rewind(by_slots);
        if matches!(self.world.source, Source::Prometheus(_)) {
            self.engine.forget_windows();
        }
    }

    pub(super) fn polled(&mut self, generation: u64, slot: Timestamp, took_s: f64, result: Result<Poll, SourceError>) {
        if !self.polls.is_awaited(generation) {
            return;
        }
        self.durations.polled_in(took_s);
        self.polls.state = State::Idle;
        self.polls.schedule.done(slot);
        match result {
            Ok(poll) => self.answered(slot, poll),
            Err(error) => self.unanswered(slot, &error),
        }
    }

    fn answered(&mut self, slot: Timestamp, poll: Poll) {
        if poll.warnings != self.polls.warnings {
            report::source_warnings(&poll.warnings);
            self.polls.warnings.clone_from(&poll.warnings);
        }
        let Source::Prometheus(prometheus) = &self.world.source else {
            return self.evaluate(slot, &poll);
        };
        let spec = &self.world.config.spec;
        let leapt = self.polls.evaluated.zip(self.engine.evaluated_slot()).is_some_and(|(since, evaluated)| {
            slot.since(evaluated).secs() > since.elapsed_s() + LEAP_INTERVALS * spec.interval.secs()
        });
        if leapt {
            tracing::warn!(slot = %slot, "the wall clock leapt ahead, or the machine slept; what lies between is not evaluated");
            self.engine.leap(slot);
        }
        let Some(range) = missing(spec, &self.engine, slot) else {
            return self.evaluate(slot, &poll);
        };
        tracing::info!(from = %range.0, to = %range.1, "reading history");
        let backfill = Backfill::start(prometheus.clone(), spec, range, self.world.timeout());
        self.polls.state = State::Backfilling { backfill, slot, poll, read_to: None };
        self.systemd.status("reading history");
    }

    fn unanswered(&mut self, slot: Timestamp, error: &SourceError) {
        let why = error.to_string();
        tracing::warn!(slot = %slot, kind = error.kind(), why, "the source did not answer");
        self.systemd.status(&format!("the source does not answer: {why}"));
        if let Some(not_ready) = &mut self.not_ready {
            *not_ready = format!("the source does not answer: {why}");
        }
        self.step(Input::PollFailed { slot, why: &why });
    }

    pub(super) fn backfilled(&mut self, slice: Option<Result<History, SourceError>>) {
        let State::Backfilling { read_to, .. } = &mut self.polls.state else { return };
        match slice {
            Some(Ok(history)) => {
                *read_to = Some(history.to());
                self.take_history(&history);
            }
            Some(Err(error)) => tracing::warn!(kind = error.kind(), why = %error, "a slice of history is missing"),
            None => {
                if let State::Backfilling { slot, poll, .. } = std::mem::replace(&mut self.polls.state, State::Idle) {
                    self.evaluate(slot, &poll);
                    report::coverage(&self.engine.view());
                }
            }
        }
    }

    fn take_history(&mut self, history: &History) {
        report::source_warnings(&history.warnings);
        let now = self.steady.now();
        let mut effects = Vec::new();
        feed::feed(&mut self.engine, history, |engine, slot, snapshot| {
            effects.extend(engine.step(now, Input::Backfilled { slot, snapshot }));
        });
        // Slices bring all bounds of a series or only some of them, which is no news.
        effects.retain(|effect| !matches!(effect, Effect::Report(Report::LayoutChanged { .. })));
        self.follow(effects);
    }

    /// Gives the engine a slot that the source answered for.
    pub(super) fn evaluate(&mut self, slot: Timestamp, poll: &Poll) {
        let stopwatch = Stopwatch::start();
        let snapshot = &mut self.polls.snapshot;
        feed::bind(&mut self.engine, poll, snapshot);
        let effects = self.engine.step(self.steady.now(), Input::Polled { slot, snapshot });
        self.save_windows_in_turn();
        self.evaluation_s = stopwatch.elapsed_s();
        self.polls.evaluated = Some(stopwatch);
        self.durations.evaluated_in(self.evaluation_s);
        self.follow(effects);
        if self.not_ready.take().is_some() {
            tracing::info!(slot = %slot, "ready: the first slot is evaluated");
        }
        self.beat(slot);
        self.systemd.ready();
        let degraded = self.saves.view().is_some_and(|state| state.degraded.is_some());
        self.systemd.status(&report::one_line(&self.engine, degraded));
    }
}
