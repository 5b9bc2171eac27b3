//! Sends under way, one task each. How many there may be is the engine's business.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::{Clock, Deadline};
use crate::engine::Outcome;
use crate::engine::notification::Notification;
use crate::engine::outbox::Delivery;
use crate::engine::time::Duration;
use crate::notify::{Notifier, Remark, Reply};
use crate::telemetry::metrics::Durations;

use super::event::Event;

/// No retry waits longer, so at a time this far on every one is due.
pub const LONGEST_WAIT: Duration = Duration::from_hours(2);

/// Systemd, and people, wait 10 s for a stop; the rest of them is for the disk.
const DRAIN_FOR: Duration = Duration::from_secs(8);

#[derive(Debug)]
pub struct Sends {
    events: mpsc::Sender<Event>,
    durations: Arc<Durations>,
    under_way: usize,
    draining: Option<Deadline>,
}

impl Sends {
    pub fn new(events: mpsc::Sender<Event>, durations: Arc<Durations>) -> Self {
        Self { events, durations, under_way: 0, draining: None }
    }

    /// `standing` is what is told instead to a receiver that holds alerts only while it is told of them.
    pub fn start(&mut self, notifier: Arc<Notifier>, delivery: Delivery, standing: Option<Vec<Notification>>) {
        self.under_way += 1;
        let (events, durations) = (self.events.clone(), self.durations.clone());
        tokio::spawn(async move {
            let outcome = send(notifier, delivery.notification.clone(), standing, &durations).await;
            // Without a loop there is nobody left to tell.
            let _ = events.send(Event::Sent { delivery, outcome }).await;
        });
    }

    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// From here on the daemon ends with its last send, or when their time is over.
    pub fn drain(&mut self) {
        self.draining.get_or_insert(Deadline::after(DRAIN_FOR));
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    pub fn is_drained(&self) -> bool {
        self.is_draining() && self.under_way == 0
    }

    /// Returns once draining has taken too long.
    pub async fn drain_over(&self) {
        match self.draining {
            Some(deadline) => tokio::time::sleep(deadline.remaining().to_std()).await,
            None => std::future::pending().await,
        }
    }
}

/// Sends once, whatever happens to the sending itself.
async fn send(
    notifier: Arc<Notifier>,
    notification: Arc<Notification>,
    standing: Option<Vec<Notification>>,
    durations: &Durations,
) -> Outcome {
    let (id, receiver) = (notification.id.clone(), notifier.name(&notification).to_owned());
    let sent = tokio::spawn(async move {
        match standing {
            Some(standing) => notifier.send_standing(notification.receiver, &standing, Clock.now()).await,
            None => notifier.send_and_hear(&notification, Clock.now()).await,
        }
    });
    let Ok(Reply { outcome, remarks, .. }) = sent.await else {
        return Outcome::Retry { after: None, why: "sending it failed unexpectedly".into() };
    };
    for remark in remarks {
        if matches!(remark, Remark::TemplateFailed(_)) {
            durations.template_failed(&receiver);
        }
        tracing::warn!(id, receiver, "{remark}");
    }
    outcome
}
