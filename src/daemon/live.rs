//! The running daemon: its state, its loop, and what each event does to it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, SteadyClock};
use crate::engine::outbox::Delivery;
use crate::engine::time::{Duration, Timestamp};
use crate::engine::view::View;
use crate::engine::{Effect, Engine, Input};
use crate::telemetry::metrics::Durations;
use crate::telemetry::systemd::Systemd;

use super::event::{Answer, Event, Request};
use super::heartbeats::Heartbeats;
use super::polls::Polls;
use super::reload::Reloads;
use super::report;
use super::rosters::Rosters;
use super::saves::Saves;
use super::sends::{self, Sends};
use super::server::{Asker, Server};
use super::signals::Signals;
use super::status::{Journal, Status};
use super::world::World;
use super::{Ended, StartError};

/// Answers of tasks that wait for the loop; a task that finds it full waits too.
const MAX_EVENTS: usize = 256;
/// A status younger than this is handed out again.
const STATUS_FRESH: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub struct Live {
    pub(super) clock: Clock,
    pub(super) steady: SteadyClock,
    pub(super) world: World,
    pub(super) engine: Engine,
    pub(super) polls: Polls,
    pub(super) sends: Sends,
    pub(super) heartbeats: Heartbeats,
    pub(super) rosters: Rosters,
    pub(super) reloads: Reloads,
    pub(super) server: Server,
    pub(super) systemd: Systemd,
    pub(super) durations: Arc<Durations>,
    pub(super) saves: Saves,
    /// The SLO whose windows are saved next.
    pub(super) next_windows: usize,
    pub(super) journal: Journal,
    pub(super) started_at: Timestamp,
    /// Why nothing was evaluated yet.
    pub(super) not_ready: Option<String>,
    pub(super) evaluation_s: f64,
    status: Option<Arc<Status>>,
    pub(super) inbox: mpsc::Receiver<Event>,
}

impl Live {
    pub fn start(clock: Clock, config_file: PathBuf, world: World) -> Result<Self, StartError> {
        let (events, inbox) = mpsc::channel(MAX_EVENTS);
        let durations = Arc::new(Durations::default());
        let (saves, saved) = Saves::open(world.config.state.as_ref(), clock.now(), events.clone())?;
        let server = Server::bind(&world.config.server, Asker::new(events.clone()), durations.clone())?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            listen = %server.address(),
            slos = world.config.spec.slos.len(),
            interval = %world.config.spec.interval,
            "started"
        );
        let engine = Engine::new(world.config.spec.clone());
        let mut live = Self {
            clock,
            steady: SteadyClock::new(clock),
            engine: if saves.path().is_some() { engine.remembering() } else { engine },
            polls: Polls::new(&world, events.clone()),
            sends: Sends::new(events.clone(), durations.clone()),
            heartbeats: Heartbeats::new(events.clone()),
            rosters: Rosters::new(&world.config, events.clone()),
            reloads: Reloads::new(config_file, clock.now(), events),
            server,
            systemd: Systemd::from_env(),
            durations,
            saves,
            next_windows: 0,
            journal: Journal::default(),
            started_at: clock.now(),
            not_ready: Some("the first slot is not evaluated yet".into()),
            evaluation_s: 0.0,
            status: None,
            world,
            inbox,
        };
        live.restore(saved);
        Ok(live)
    }

    /// Runs until told to stop.
    pub async fn run(mut self, mut signals: Signals) -> Ended {
        let mut watchdog = Watchdog::new(self.systemd.watchdog_every());
        self.systemd.status("waiting for the first slot");
        loop {
            match self.next(&mut signals, &mut watchdog).await {
                Event::StopAsked if self.sends.is_draining() => return self.end().await,
                Event::DrainOver => return self.end().await,
                event => self.take(event),
            }
            if self.sends.is_drained() && !self.saves.is_anybody_waiting() {
                return self.end().await;
            }
        }
    }

    /// The next thing that happens.
    async fn next(&mut self, signals: &mut Signals, watchdog: &mut Watchdog) -> Event {
        // While draining, whatever may be tried is under way already.
        let wake_at = self.engine.wake_at().filter(|_| !self.sends.is_draining());
        let retry_in = wake_at.map(|at| at.since(self.steady.now()));
        let poll_at = self.polls.due_at(self.clock.now());
        tokio::select! {
            event = signals.next() => event,
            () = watchdog.due() => Event::WatchdogDue,
            () = self.sends.drain_over() => Event::DrainOver,
            event = self.inbox.recv() => event.unwrap_or(Event::StopAsked),
            () = self.saves.patience_over() => Event::SaveLate,
            () = self.saves.retry_due() => Event::SaveRetryDue,
            () = sleep(retry_in) => Event::RetryDue,
            () = self.rosters.due() => Event::RosterDue,
            slice = self.polls.next_slice() => Event::Backfilled(slice),
            () = sleep_until(self.clock, poll_at) => Event::PollDue,
        }
    }

    fn take(&mut self, event: Event) {
        self.look_at_clock();
        match event {
            Event::PollDue => self.polls.start(&self.world, self.clock.now()),
            Event::Polled { generation, slot, took_s, result } => self.polled(generation, slot, took_s, result),
            Event::Backfilled(slice) => self.backfilled(slice),
            Event::RetryDue => self.step(Input::Tick),
            Event::Sent { delivery, outcome } => self.sent(&delivery, &outcome),
            Event::Saved(written) => self.saved(written),
            Event::SaveLate => {
                self.saves.late(self.clock.now());
                self.release();
            }
            Event::SaveRetryDue => self.saves.save_anew(self.clock.now(), self.engine.memory()),
            Event::Beaten { slot, result } => self.beaten(slot, result),
            Event::RosterDue => self.post_rosters(),
            Event::RosterPosted { receiver, heard } => self.roster_posted(&receiver, &heard),
            Event::Asked(request) => return self.answer(request),
            Event::ReloadAsked => self.reload(None),
            Event::Loaded(loaded) => self.loaded(*loaded),
            Event::StopAsked => self.stop(),
            // Only the loop ends itself.
            Event::DrainOver => {}
            Event::WatchdogDue => return self.systemd.alive(),
        }
        self.status = None;
    }

    /// Gives the engine one input and does what follows from it.
    pub(super) fn step(&mut self, input: Input<'_>) {
        let now = self.now();
        let effects = self.engine.step(now, input);
        self.follow(effects);
    }

    /// The time for the engine. While draining all retries are due, once: nothing is worth waiting for any more, unless
    /// the next start goes on with it.
    fn now(&mut self) -> Timestamp {
        let is_last_chance = self.sends.is_draining() && !self.saves.is_durable();
        let ahead = if is_last_chance { sends::LONGEST_WAIT } else { Duration::ZERO };
        self.steady.now() + ahead
    }

    pub(super) fn follow(&mut self, effects: Vec<Effect>) {
        let mut deliveries = Vec::new();
        for effect in effects {
            report::effect(&self.world.config.spec, &effect);
            self.rosters.note(&effect);
            match effect {
                Effect::Notify(notification) => self.journal.push(&self.world.config.spec, &notification),
                Effect::Deliver(delivery) => deliveries.push(delivery),
                Effect::Alert(_) | Effect::Incident(_) | Effect::Report(_) => {}
            }
        }
        self.save(deliveries);
    }

    pub(super) fn send(&mut self, delivery: Delivery) {
        let notification = &delivery.notification;
        let receiver = self.world.config.receivers.get(notification.receiver);
        let holds = receiver.is_some_and(|receiver| receiver.kind.resend().is_some());
        let now = self.steady.now();
        let standing = holds.then(|| self.engine.roster_for(notification, now));
        self.sends.start(self.world.notifier.clone(), delivery, standing);
    }

    fn answer(&mut self, request: Request) {
        // Whoever asked may have gone away, which is no matter.
        match request {
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Ready(reply) => drop(reply.send(self.not_ready.clone().map_or(Ok(()), Err))),
            Request::Reload(reply) => self.reload(Some(reply)),
            Request::Silence(wanted, reply) => {
                let made = self.silence(*wanted);
                self.status = None;
                self.saves.hold(Answer::Silence(reply, made));
                self.release();
            }
            Request::Unsilence(id, reply) => {
                let ended = self.unsilence(&id);
                self.status = None;
                self.saves.hold(Answer::Unsilence(reply, ended));
                self.release();
            }
        }
    }

    fn status(&mut self) -> Arc<Status> {
        let now = self.clock.now();
        // One of the future was made before the clock was set back.
        let is_fresh = |status: &&Arc<Status>| status.now <= now && now.since(status.now) < STATUS_FRESH;
        if let Some(status) = self.status.as_ref().filter(is_fresh) {
            return status.clone();
        }
        let status = Arc::new(Status {
            version: env!("CARGO_PKG_VERSION"),
            now,
            started_at: self.started_at,
            uptime_s: now.since(self.started_at).ms() / 1000,
            not_ready: self.not_ready.clone(),
            config_file: self.reloads.file().to_owned(),
            last_reload: self.reloads.last().clone(),
            backfill: self.polls.reading(),
            config: self.world.config.clone(),
            evaluation_s: self.evaluation_s,
            heartbeat: self.heartbeat(),
            state: self.saves.view(),
            view: self.view(),
            notifications: self.journal.newest_first(),
        });
        self.status = Some(status.clone());
        status
    }

    fn view(&self) -> View {
        let mut view = self.engine.view();
        for receiver in &mut view.receivers {
            receiver.problem = receiver.problem.take().or_else(|| self.rosters.problem(&receiver.name));
        }
        view
    }

    /// Polls no more, tries what waits once more, and lets what is under way end.
    fn stop(&mut self) {
        tracing::info!(sending = self.sends.under_way(), "stopping");
        self.systemd.stopping();
        self.polls.stop();
        self.sends.drain();
        self.rosters.stop();
        self.step(Input::Tick);
    }

    pub(super) fn reload(&mut self, reply: Option<oneshot::Sender<Result<(), String>>>) {
        self.systemd.reloading();
        self.reloads.start(reply);
    }
}

async fn sleep(length: Option<Duration>) {
    match length {
        Some(length) => tokio::time::sleep(length.to_std()).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(clock: Clock, at: Option<Timestamp>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// When systemd wants to hear of the loop.
#[derive(Debug)]
struct Watchdog {
    every: Option<tokio::time::Interval>,
}

impl Watchdog {
    fn new(every: Option<std::time::Duration>) -> Self {
        let every = every.filter(|every| !every.is_zero()).map(|every| {
            let mut interval = tokio::time::interval(every);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval
        });
        Self { every }
    }

    async fn due(&mut self) {
        match &mut self.every {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}
