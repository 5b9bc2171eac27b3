//! From one life of the daemon to the next: what is saved after each step, and what is made of it at a start.

use crate::clock::Deadline;
use crate::engine::memory::Record;
use crate::engine::outbox::Delivery;
use crate::engine::time::Duration;
use crate::engine::{Input, Outcome};
use crate::store::{Attempt, Saved};

use super::Ended;
use super::event::Event;
use super::live::Live;
use super::report;
use super::saves::Held;
use super::status::Told;
use super::writer::Written;

/// The last write has this long at the end.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// SLOs whose windows are written then, those written longest ago first: as many as a slow disk takes in that time.
const MAX_LAST_WINDOWS: usize = 500;

impl Live {
    /// Goes on from what was saved.
    pub(super) fn restore(&mut self, saved: Saved) {
        if saved.memory.is_empty() {
            return;
        }
        let windows = self.restore_windows(saved.windows);
        let pending = saved.memory.records().filter_map(|record| match record {
            Record::Delivery(pending) => Some(pending),
            _ => None,
        });
        let waiting = pending
            .flat_map(|pending| pending.items.iter().map(|item| Told::new(&pending.receiver, &item.notification)));
        self.journal.restore(saved.attempts, waiting.collect());
        let restored = self.engine.restore(self.clock.now(), saved.memory);
        self.polls.go_on_after(self.engine.evaluated_slot());
        tracing::info!(
            evaluated = self.engine.evaluated_slot().map(tracing::field::display),
            alerts = restored.alerts,
            pending = restored.pending,
            incidents = restored.incidents,
            deliveries = restored.deliveries,
            dropped = restored.dropped,
            windows,
            "state restored"
        );
    }

    /// Saves what changed, and sends what follows from it once that is done.
    pub(super) fn save(&mut self, deliveries: Vec<Delivery>) {
        let changes = self.engine.take_changes();
        self.saves.take(self.clock.now(), changes, deliveries);
        self.release();
    }

    /// Does what waits for the disk no longer.
    pub(super) fn release(&mut self) {
        for held in self.saves.ready() {
            match held {
                Held::Delivery(delivery) => self.send(delivery),
                Held::Answer(answer) => answer.give(),
            }
        }
    }

    pub(super) fn saved(&mut self, written: Written) {
        self.durations.saved_in(written.took_s);
        if self.saves.written(self.clock.now(), written) {
            self.saves.save_anew(self.clock.now(), self.engine.memory());
        }
        self.release();
    }

    pub(super) fn sent(&mut self, delivery: &Delivery, outcome: &Outcome) {
        let told = &delivery.notification;
        self.sends.ended();
        report::sent(&self.world.config.spec, told, outcome);
        self.journal.settle(&told.id, outcome);
        let receiver = self.world.config.spec.receivers.get(told.receiver);
        let (word, why) = match outcome {
            Outcome::Delivered => ("delivered", None),
            Outcome::Retry { why, .. } | Outcome::Unanswered { why, .. } => ("to be retried", Some(why.clone())),
            Outcome::Rejected { why } => ("rejected", Some(why.clone())),
        };
        self.saves.log(Attempt {
            at: self.clock.now(),
            id: told.id.clone(),
            receiver: receiver.map(|receiver| receiver.name.clone()).unwrap_or_default(),
            incident: told.incident.clone(),
            reason: told.reason,
            stage: told.stage,
            urgency: told.urgency,
            summary: told.summary.clone(),
            attempt: delivery.attempt,
            outcome: word.into(),
            why,
        });
        self.step(Input::Settled { id: &told.id, outcome });
    }

    /// Waits for the disk a last time, and says what is left.
    pub(super) async fn end(mut self) -> Ended {
        self.save_windows(MAX_LAST_WINDOWS);
        self.save(Vec::new());
        let deadline = Deadline::after(LAST_WRITE);
        while !self.saves.is_settled() {
            let event = tokio::time::timeout(deadline.remaining().to_std(), self.inbox.recv()).await;
            match event {
                Ok(Some(Event::Saved(written))) => self.saved(written),
                Ok(Some(Event::Sent { delivery, outcome })) => self.sent(&delivery, &outcome),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let waiting = self.engine.view().receivers.iter().map(|receiver| receiver.pending).sum();
        match waiting {
            0 => {
                tracing::info!("stopped");
                Ended::Drained
            }
            _ if self.saves.is_durable() && self.saves.is_settled() => {
                tracing::info!(waiting, "stopped; what waits is in the state file");
                Ended::Kept { waiting }
            }
            _ => {
                tracing::error!(waiting, "stopped; what waits is lost");
                Ended::Cut
            }
        }
    }
}
