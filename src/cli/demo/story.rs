//! What slowburn makes of the simulation: the real engine, fed poll by poll, and what it would have told whom.
//!
//! No clock and no I/O: the demo's loop feeds it scrapes as they come, a test feeds it a minute in no time. Every
//! delivery counts as delivered at once, for the receivers are simulated.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::Config;
use crate::engine::histogram::{Histogram, Poll, Snapshot};
use crate::engine::notification::Notification;
use crate::engine::sli::quantile_s;
use crate::engine::time::{Duration, Timestamp};
use crate::engine::view::View;
use crate::engine::{Effect, Engine, Input, Outcome, Report, Spec};
use crate::notify;
use crate::source::feed;

use super::script::Incident;

/// Latencies are shown for this many polls back.
const RECENT_POLLS: usize = 5;
/// As many notifications as any terminal shows.
const MOST_TOLD: usize = 200;

/// See the module's documentation.
#[derive(Debug)]
pub struct Story {
    config: Config,
    start: Timestamp,
    metrics_url: String,
    engine: Engine,
    snapshot: Snapshot,
    recent: VecDeque<Poll>,
    told: VecDeque<Told>,
    told_in_all: u64,
    incident: Option<Incident>,
    elapsed_ms: i64,
}

/// A notification that would have gone out.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub elapsed_ms: i64,
    pub receiver: String,
    pub notification: Arc<Notification>,
}

/// Something worth a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Told(Told),
    /// What a human should know of the data itself.
    Note(String),
}

/// Everything there is to show at one moment.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Since the start, in milliseconds.
    pub elapsed_ms: i64,
    pub view: View,
    /// By SLO of the spec.
    pub p95_ms: Vec<Option<f64>>,
    /// The incident that is simulated now, or the next.
    pub incident: Option<&'a Incident>,
    /// Oldest first.
    pub told: &'a VecDeque<Told>,
    /// How many notifications there were, also those that are not kept.
    pub told_in_all: u64,
    /// The newest notification as its receiver would read it.
    pub message: Option<String>,
    /// Where the simulated metrics are served.
    pub metrics_url: &'a str,
}

impl Story {
    /// `start` is the moment that times are counted from.
    pub fn new(config: Config, start: Timestamp, metrics_url: String) -> Self {
        // A day of the story takes minutes: an hour would be all of it.
        let spec = Spec { flapping_within: Duration::ZERO, ..Spec::clone(&config.spec) };
        Self {
            engine: Engine::new(Arc::new(spec)),
            config,
            start,
            metrics_url,
            snapshot: Snapshot::default(),
            recent: VecDeque::new(),
            told: VecDeque::new(),
            told_in_all: 0,
            incident: None,
            elapsed_ms: 0,
        }
    }

    pub fn interval(&self) -> Duration {
        self.config.spec.interval
    }

    /// Takes a poll from before the start: it fills the windows and decides nothing.
    pub fn backfill(&mut self, slot: Timestamp, poll: Poll) {
        feed::bind(&mut self.engine, &poll, &mut self.snapshot);
        self.engine.step(slot, Input::Backfilled { slot, snapshot: &self.snapshot });
        self.remember(poll);
    }

    /// Takes the poll of `slot`, or why there is none, and what really goes on at that time.
    pub fn polled(&mut self, slot: Timestamp, poll: Result<Poll, String>, incident: Option<Incident>) -> Vec<Event> {
        self.elapsed_ms = slot.since(self.start).ms();
        self.incident = incident;
        let (effects, mut events) = match poll {
            Ok(poll) => {
                feed::bind(&mut self.engine, &poll, &mut self.snapshot);
                let effects = self.engine.step(slot, Input::Polled { slot, snapshot: &self.snapshot });
                self.remember(poll);
                (effects, Vec::new())
            }
            Err(why) => {
                let effects = self.engine.step(slot, Input::PollFailed { slot, why: &why });
                (effects, vec![Event::Note(format!("scrape failed: {why}"))])
            }
        };
        self.settle(slot, effects, &mut events);
        events
    }

    /// Answers deliveries for the simulated receivers, and those that follow.
    fn settle(&mut self, slot: Timestamp, effects: Vec<Effect>, events: &mut Vec<Event>) {
        let mut pending = VecDeque::from(effects);
        while let Some(effect) = pending.pop_front() {
            match effect {
                Effect::Deliver(delivery) => {
                    let settled = Input::Settled { id: &delivery.notification.id, outcome: &Outcome::Delivered };
                    pending.extend(self.engine.step(slot, settled));
                }
                Effect::Notify(notification) => events.push(Event::Told(self.tell(notification))),
                Effect::Report(report) => events.push(Event::Note(in_words(&report))),
                Effect::Alert(_) | Effect::Incident(_) => {}
            }
        }
    }

    fn tell(&mut self, notification: Arc<Notification>) -> Told {
        let receiver = self.config.spec.receivers.get(notification.receiver);
        let receiver = receiver.map_or_else(String::new, |receiver| receiver.name.clone());
        let told = Told { elapsed_ms: self.elapsed_ms, receiver, notification };
        self.told_in_all += 1;
        self.told.push_back(told.clone());
        if self.told.len() > MOST_TOLD {
            self.told.pop_front();
        }
        told
    }

    fn remember(&mut self, poll: Poll) {
        self.recent.push_back(poll);
        if self.recent.len() > RECENT_POLLS + 1 {
            self.recent.pop_front();
        }
    }

    pub fn scene(&self) -> Scene<'_> {
        let message = self.told.back().map(|told| notify::preview(&self.config, &told.notification));
        Scene {
            elapsed_ms: self.elapsed_ms,
            view: self.engine.view(),
            p95_ms: self.p95_ms(),
            incident: self.incident.as_ref(),
            told: &self.told,
            told_in_all: self.told_in_all,
            message,
            metrics_url: &self.metrics_url,
        }
    }

    /// The 95th percentile of the last seconds, by SLO; `None` without requests.
    fn p95_ms(&self) -> Vec<Option<f64>> {
        let newest = |slo| self.recent.back().and_then(|poll| histogram(poll, slo));
        let oldest = |slo| self.recent.front().and_then(|poll| histogram(poll, slo));
        let p95_ms = |slo| {
            let (now, then) = (newest(slo)?, oldest(slo)?);
            let counts: Vec<f64> = now.counts.iter().zip(&then.counts).map(|(now, then)| now - then).collect();
            quantile_s(0.95, &now.bounds, &counts).map(|s| s * 1000.0)
        };
        (0..self.config.spec.slos.len()).map(p95_ms).collect()
    }
}

/// Every SLO of the demo has one series.
fn histogram(poll: &Poll, slo: usize) -> Option<&Histogram> {
    poll.series.iter().find(|(template, _)| *template == slo).map(|(_, histogram)| histogram)
}

fn in_words(report: &Report) -> String {
    match report {
        Report::LayoutChanged { slo, bounds } => format!("{slo}: its histogram has {bounds} bounds now"),
        Report::Unmeasurable { slo, why } | Report::Refused { slo, why, .. } => format!("{slo}: {why}"),
        Report::SightChanged { slo, from, to } => format!("{slo}: {} became {}", from.as_str(), to.as_str()),
    }
}
