//! The dead man's switch: beats after evaluations and never otherwise, so that whoever listens notices when they stop.
//!
//! A beat runs beside the loop, one at a time and within its deadline; the loop never waits for it.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::engine::time::{Duration, Timestamp};
use crate::notify::heartbeat::Heart;
use crate::telemetry::metrics;

use super::event::Event;
use super::live::Live;
use super::status;

/// A beat that failed is tried again after an evaluation this much later, or after `every` if that is shorter.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// When the last beat was, and how it went.
#[derive(Debug)]
pub struct Heartbeats {
    events: mpsc::Sender<Event>,
    under_way: bool,
    /// No evaluation of an earlier slot beats.
    due_from: Option<Timestamp>,
    counts: metrics::Heartbeat,
    /// Why the last beat was not taken.
    problem: Option<String>,
}

impl Heartbeats {
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, under_way: false, due_from: None, counts: metrics::Heartbeat::default(), problem: None }
    }

    /// `slot` was evaluated.
    fn evaluated(&mut self, heart: &Arc<Heart>, every: Duration, slot: Timestamp) {
        if self.under_way || !is_due(self.due_from, slot, every) {
            return;
        }
        self.under_way = true;
        // Slots, and not the clock, which jitters: `every` of two intervals is every second evaluation.
        self.due_from = Some(slot + every);
        let (heart, events) = (heart.clone(), self.events.clone());
        tokio::spawn(async move {
            let beaten = tokio::spawn(async move { heart.beat(slot, Clock.now()).await }).await;
            let result = beaten.unwrap_or_else(|_panicked| Err("it failed unexpectedly".into()));
            // Without a loop there is nobody left to tell.
            let _ = events.send(Event::Beaten { slot, result }).await;
        });
    }

    fn ended(&mut self, every: Duration, slot: Timestamp, now: Timestamp, result: Result<(), String>) {
        self.under_way = false;
        match result {
            Ok(()) => {
                if self.problem.take().is_some() {
                    tracing::info!("the heartbeat is taken again");
                }
                self.counts.delivered += 1;
                self.counts.last_success = Some(now);
            }
            Err(why) => {
                self.due_from = Some(slot + every.min(RETRY_AFTER));
                self.counts.failed += 1;
                // Once for each reason: the log is no place for a line a minute.
                if self.problem.as_ref() != Some(&why) {
                    tracing::warn!(why, "the heartbeat was not taken");
                }
                self.problem = Some(why);
            }
        }
    }
}

/// A beat that is due further off than `every` was so before the clock was set back.
fn is_due(due_from: Option<Timestamp>, slot: Timestamp, every: Duration) -> bool {
    due_from.is_none_or(|due| slot >= due || due.since(slot) > every)
}

impl Live {
    pub(super) fn beat(&mut self, slot: Timestamp) {
        if let (Some(heart), Some(config)) = (&self.world.heart, &self.world.config.heartbeat) {
            self.heartbeats.evaluated(heart, config.every, slot);
        }
    }

    pub(super) fn beaten(&mut self, slot: Timestamp, result: Result<(), String>) {
        // A reload may have taken the heartbeat away meanwhile.
        let every = self.world.config.heartbeat.as_ref().map_or(Duration::ZERO, |config| config.every);
        self.heartbeats.ended(every, slot, self.clock.now(), result);
    }

    /// `None` without a heartbeat in the configuration.
    pub(super) fn heartbeat(&self) -> Option<status::Heartbeat> {
        let every = self.world.config.heartbeat.as_ref()?.every;
        let Heartbeats { counts, problem, .. } = &self.heartbeats;
        Some(status::Heartbeat { every, counts: *counts, problem: problem.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_beat_is_due() {
        let is_due = |due_s: Option<i64>, slot_s| {
            super::is_due(due_s.map(Timestamp::from_unix_s), Timestamp::from_unix_s(slot_s), Duration::from_secs(60))
        };
        assert!(is_due(None, 30));
        assert!(!is_due(Some(90), 30) && !is_due(Some(90), 60) && is_due(Some(90), 90) && is_due(Some(90), 3600));
        assert!(is_due(Some(3690), 30), "the clock was set back an hour");
    }
}
