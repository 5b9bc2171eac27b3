//! A daemon in virtual time: the real engine and schedule, driven as the daemon drives them, between a source and
//! receivers that fail as a test says. It saves what changed before it sends, and may be killed between any two steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use slowburn::config::{self, Config};
use slowburn::daemon::schedule::{Schedule, missing};
use slowburn::engine::alert::AlertRecord;
use slowburn::engine::histogram::Snapshot;
use slowburn::engine::incident::IncidentRecord;
use slowburn::engine::memory::Memory;
use slowburn::engine::notification::{Notification, Reason};
use slowburn::engine::outbox::Delivery;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::{Effect, Engine, Input, Outcome};

use super::receiver::{Heard, Kind, Receiver};
use super::source::Source;
use crate::history::Random;

pub const STEP: Duration = Duration::from_secs(30);
/// Noon on a Sunday in winter.
pub const START: Timestamp = Timestamp::from_unix_s(1_772_366_400);
const DELAY: Duration = Duration::from_secs(2);

/// Receivers of every kind; pages go to the pager, everything to chat and hook.
pub const RECEIVERS: &str = "\
interval: 30s
source: {prometheus: {url: 'http://prometheus.example.com'}}
receivers:
  - {name: pager, pagerduty: {routing_key: 0123456789abcdef0123456789abcdef}, fallback: hook}
  - {name: chat, slack: {webhook_url: 'https://hooks.slack.com/services/T/B/X'}}
  - {name: hook, webhook: {url: 'https://ops.example.com/hook'}}
route:
  receivers: [chat, hook]
  repeat_interval: never
  routes:
    - {match: {urgency: page, stage: critical}, receivers: [pager, chat, hook]}
";

/// Every kind of rule, over windows short enough for an hour.
pub const RULES: &str = "\
rules:
  - {name: spike, burn_rate: 10, long: 2m, short: 1m, urgency: page, consecutive: 2, clear_after: 1m}
  - {name: drain, burn_rate: 3, long: 10m, short: 2m, urgency: ticket}
  - {name: budget, budget_consumed: 100%, urgency: ticket}
  - {name: runway, exhaustion: 10m, short: 2m, urgency: page}
  - {name: approach, latency: {quantile: 95%, over: 3m}, urgency: ticket}
";

/// Two journeys with three layers, each with all rules.
pub const JOURNEYS: &str = "\
journeys:
  - name: checkout
    budget: 200ms
    objective: 99%
    period: 1h
    rules: [spike, drain, budget, runway, approach]
    layers:
      - {name: edge, budget: 100ms, histogram: 'request_seconds{layer=\"edge\"}'}
      - {name: database, budget: 100ms, histogram: 'request_seconds{layer=\"database\"}'}
  - name: search
    budget: 100ms
    objective: 99%
    period: 1h
    rules: [spike, drain, budget, runway, approach]
    layers: [{name: index, budget: 100ms, histogram: 'request_seconds{layer=\"index\"}'}]
";

pub fn load(text: &str) -> Config {
    let texts = BTreeMap::from([("slowburn.yml".to_owned(), text.to_owned())]);
    match config::load_texts("slowburn.yml", &texts, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(diagnostics) => panic!("{}", diagnostics.render(false)),
    }
}

/// The daemon was killed.
#[derive(Debug)]
pub struct Killed;

/// Somebody was decided to be told.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The true time.
    pub at: Timestamp,
    pub notification: Arc<Notification>,
}

struct Flight {
    receiver: usize,
    id: String,
    outcome: Outcome,
}

pub struct World {
    /// The true time.
    pub now: Timestamp,
    /// How far the daemon's wall clock is ahead of that.
    ahead_ms: i64,
    config: Config,
    pub engine: Engine,
    saved: Memory,
    schedule: Schedule,
    pub source: Source,
    pub receivers: Vec<Receiver>,
    /// Sends under way, by when they end.
    flights: BTreeMap<(Timestamp, u64), Flight>,
    started: u64,
    snapshot: Snapshot,
    random: Random,
    pub decided: Vec<Decided>,
    pub alerts: Vec<AlertRecord>,
    pub incidents: Vec<IncidentRecord>,
    /// Slots that were evaluated, and when by the wall clock.
    pub evaluated: Vec<(Timestamp, Timestamp)>,
    /// Steps between which it may be killed, so far.
    pub steps: u64,
    pub kill_at: Option<u64>,
}

impl World {
    pub fn new(config: &str, script: &[Vec<u8>], seed: u64) -> Self {
        Self::new_at(START, config, script, seed)
    }

    /// The script begins at `start`.
    pub fn new_at(start: Timestamp, config: &str, script: &[Vec<u8>], seed: u64) -> Self {
        let config = load(config);
        let spec = config.spec.clone();
        let kind = |name: &str| match name {
            "pager" => Kind::PagerDuty,
            "chat" => Kind::Slack,
            _ => Kind::Webhook,
        };
        Self {
            now: start,
            ahead_ms: 0,
            engine: Engine::new(spec.clone()).remembering(),
            saved: Memory::default(),
            schedule: Schedule::with_memory(spec.interval, DELAY),
            source: Source::new(spec.interval, start, spec.longest_window(), script),
            receivers: spec.receivers.iter().map(|spec| Receiver::new(&spec.name, kind(&spec.name))).collect(),
            config,
            flights: BTreeMap::new(),
            started: 0,
            snapshot: Snapshot::default(),
            random: Random::new(seed),
            decided: Vec::new(),
            alerts: Vec::new(),
            incidents: Vec::new(),
            evaluated: Vec::new(),
            steps: 0,
            kill_at: None,
        }
    }

    /// Reads only what is there now.
    pub fn scraping(mut self) -> Self {
        self.source.keeps_history = false;
        self.schedule = Schedule::without_memory(self.config.spec.interval);
        self
    }

    pub fn receiver(&mut self, name: &str) -> &mut Receiver {
        self.receivers.iter_mut().find(|receiver| receiver.name == name).expect("a known receiver")
    }

    pub fn wall(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.now.unix_ms() + self.ahead_ms)
    }

    fn true_time(&self, wall: Timestamp) -> Timestamp {
        Timestamp::from_unix_ms(wall.unix_ms() - self.ahead_ms)
    }

    /// Runs until `end`, which must come before the daemon is killed.
    pub fn run_until(&mut self, end: Timestamp) {
        self.try_until(end).expect("nobody kills it");
    }

    pub fn run_for(&mut self, length: Duration) {
        self.run_until(self.now + length);
    }

    /// Runs until `end`, or until the daemon is killed.
    pub fn try_until(&mut self, end: Timestamp) -> Result<(), Killed> {
        loop {
            let answer = self.flights.first_key_value().map(|((at, _), _)| *at);
            let poll = self.true_time(self.schedule.next(self.wall()).at);
            let wake = self.engine.wake_at().map(|at| self.true_time(at));
            let next = [answer, Some(poll), wake].into_iter().flatten().min().unwrap_or(end).max(self.now);
            if next > end {
                self.now = end;
                return Ok(());
            }
            self.now = next;
            if answer.is_some_and(|at| at <= next) {
                self.settle()?;
            } else if wake.is_some_and(|at| at <= next) {
                self.tick()?;
            } else {
                self.poll()?;
            }
        }
    }

    fn settle(&mut self) -> Result<(), Killed> {
        let Some((_, flight)) = self.flights.pop_first() else { return Ok(()) };
        let wall = self.wall();
        let effects = self.engine.step(wall, Input::Settled { id: &flight.id, outcome: &flight.outcome });
        let followed = self.follow(effects);
        if followed.is_err() {
            self.receivers[flight.receiver].answer_was_lost(&flight.id);
        }
        followed
    }

    fn tick(&mut self) -> Result<(), Killed> {
        let wall = self.wall();
        let effects = self.engine.step(wall, Input::Tick);
        self.follow(effects)?;
        // Or else the daemon would go round and round.
        assert!(self.engine.wake_at().is_none_or(|at| at > wall), "{wall}: it wants to be woken now, for nothing");
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Killed> {
        let (wall, now) = (self.wall(), self.now);
        let slot = self.schedule.next(wall).slot;
        self.schedule.done(slot);
        if let Some(why) = self.source.silence(now) {
            let effects = self.engine.step(wall, Input::PollFailed { slot, why });
            return self.follow(effects);
        }
        let mut snapshot = std::mem::take(&mut self.snapshot);
        if self.source.keeps_history
            && let Some((from, to)) = missing(&self.config.spec, &self.engine, slot)
        {
            let mut at = from;
            while at <= to {
                self.source.fill(&mut self.engine, now, at, &mut snapshot);
                let effects = self.engine.step(wall, Input::Backfilled { slot: at, snapshot: &snapshot });
                self.save(&effects);
                at += self.config.spec.interval;
            }
            self.step()?;
        }
        self.source.fill(&mut self.engine, now, slot, &mut snapshot);
        let effects = self.engine.step(wall, Input::Polled { slot, snapshot: &snapshot });
        self.snapshot = snapshot;
        self.evaluated.push((slot, wall));
        self.follow(effects)
    }

    /// Saves what changed, then does what follows.
    fn follow(&mut self, effects: Vec<Effect>) -> Result<(), Killed> {
        self.step()?;
        self.save(&effects);
        self.step()?;
        for effect in effects {
            if let Effect::Deliver(delivery) = effect {
                self.send(&delivery);
                self.step()?;
            }
        }
        Ok(())
    }

    fn save(&mut self, effects: &[Effect]) {
        self.engine.take_changes().into_iter().for_each(|change| self.saved.apply(change));
        for effect in effects {
            match effect {
                Effect::Notify(notification) => {
                    self.decided.push(Decided { at: self.now, notification: notification.clone() });
                }
                Effect::Alert(alert) => self.alerts.push(alert.clone()),
                Effect::Incident(incident) => self.incidents.push(incident.clone()),
                Effect::Deliver(_) | Effect::Report(_) => {}
            }
        }
    }

    fn send(&mut self, Delivery { notification, .. }: &Delivery) {
        let receiver = notification.receiver;
        let (at, outcome) = self.receivers[receiver].take(self.now, notification, &mut self.random);
        self.started += 1;
        self.flights.insert((at, self.started), Flight { receiver, id: notification.id.clone(), outcome });
    }

    /// Where the daemon may be killed.
    fn step(&mut self) -> Result<(), Killed> {
        self.steps += 1;
        if self.kill_at == Some(self.steps) { Err(Killed) } else { Ok(()) }
    }

    /// Starts again after it was killed, with what was saved; nobody hears the answers to what was under way.
    pub fn restart(&mut self, after: Duration) {
        for flight in std::mem::take(&mut self.flights).into_values() {
            self.receivers[flight.receiver].answer_was_lost(&flight.id);
        }
        self.now += after;
        let wall = self.wall();
        self.engine = Engine::new(self.config.spec.clone()).remembering();
        self.engine.restore(wall, self.saved.clone());
        self.schedule = Schedule::with_memory(self.config.spec.interval, DELAY);
    }

    /// Sets the wall clock so far ahead of the true time, and does what the daemon does when it sees that.
    pub fn set_clock(&mut self, ahead_ms: i64) {
        let before = self.wall();
        self.ahead_ms = ahead_ms;
        let wall = self.wall();
        if let Some(last) = self.schedule.last()
            && let Some(ahead) = self.schedule.is_ahead(last, wall)
        {
            let by = before.since(wall).max(ahead);
            self.schedule.rewind(self.engine.rewind(wall, by));
            if self.source.keeps_history {
                self.engine.forget_windows();
            }
        }
    }

    /// Lets everything end: receivers are well, and all that waits is delivered.
    pub fn heal(&mut self) {
        self.receivers.iter_mut().for_each(|receiver| receiver.troubles.clear());
        self.source.troubles.clear();
    }

    /// What receivers must never have heard, and what every one of them must know in the end: how each incident stands.
    pub fn judge(&self) {
        let wrongs: Vec<&String> = self.receivers.iter().flat_map(|receiver| &receiver.wrongs).collect();
        assert!(wrongs.is_empty(), "{wrongs:#?}");
        let mut newest: BTreeMap<(usize, &str), &Notification> = BTreeMap::new();
        for Decided { notification, .. } in &self.decided {
            newest.insert((notification.receiver, &notification.incident), notification);
        }
        for ((receiver, incident), notification) in newest {
            let receiver = &self.receivers[receiver];
            let (is_open, takes_it_to_be) =
                (notification.reason != Reason::Resolved, receiver.open.get(incident).copied().unwrap_or(false));
            assert_eq!(
                takes_it_to_be,
                is_open,
                "what {} knows of {incident}: {:#?}",
                receiver.name,
                self.story(incident)
            );
        }
        let mut ids: Vec<&str> = self.decided.iter().map(|decided| decided.notification.id.as_str()).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "two notifications have the same id");
    }

    /// Everything decided and heard of an incident, for a human.
    pub fn story(&self, incident: &str) -> Vec<String> {
        let decided = self.decided.iter().filter(|decided| decided.notification.incident == incident);
        let decided = decided.map(|decided| {
            let Notification { reason, receiver, id, .. } = &*decided.notification;
            (decided.at, format!("{} decided {reason:?} for {} ({id})", decided.at, self.receivers[*receiver].name))
        });
        let heard = self.receivers.iter().flat_map(|receiver| {
            let heard = receiver.heard.iter().filter(|(_, heard)| heard.incident == incident);
            heard.map(|(id, heard)| {
                let Heard { first_at, reason, times, .. } = heard;
                (*first_at, format!("{first_at} {} heard {reason:?} {times} times ({id})", receiver.name))
            })
        });
        let mut story: Vec<(Timestamp, String)> = decided.chain(heard).collect();
        story.sort();
        story.into_iter().map(|(_, line)| line).collect()
    }
}
