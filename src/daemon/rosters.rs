//! Posts what stands, again and again, to receivers that would let it end otherwise. Its timer is its own: a source out
//! of sight, a query that fails or an evaluation that is late never lets an alert expire.
//!
//! One post a receiver at a time, each bounded by the sends' deadline; nothing waits for one.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::{Clock, Deadline};
use crate::config::Config;
use crate::engine::Effect;
use crate::engine::notification::Notification;
use crate::engine::time::Duration;
use crate::notify::{Heard, Notifier};

use super::event::Event;
use super::live::Live;

/// Receivers whose alerts must be posted again and again.
#[derive(Debug)]
pub struct Rosters {
    receivers: Vec<Receiver>,
    events: mpsc::Sender<Event>,
    stopped: bool,
}

#[derive(Debug)]
struct Receiver {
    name: String,
    /// In the configuration.
    index: usize,
    every: Duration,
    due: Deadline,
    under_way: bool,
    /// Something changed while a post was under way.
    again: bool,
    /// What is wrong with which instance.
    problems: Vec<(String, String)>,
}

impl Rosters {
    pub fn new(config: &Config, events: mpsc::Sender<Event>) -> Self {
        let mut rosters = Self { receivers: Vec::new(), events, stopped: false };
        rosters.adopt(config);
        rosters
    }

    /// Goes on with another configuration, and posts at once: what an alert is called may have changed.
    pub fn adopt(&mut self, config: &Config) {
        let mut old = std::mem::take(&mut self.receivers);
        for (index, receiver) in config.receivers.iter().enumerate() {
            let Some(every) = receiver.kind.resend() else { continue };
            let known = old.iter().position(|known| known.name == receiver.name).map(|at| old.swap_remove(at));
            let (under_way, problems) = known.map_or((false, Vec::new()), |known| (known.under_way, known.problems));
            let (name, due) = (receiver.name.clone(), Deadline::after(Duration::ZERO));
            self.receivers.push(Receiver { name, index, every, due, under_way, again: false, problems });
        }
    }

    /// Posts at once what an effect changed.
    pub fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Alert(_) | Effect::Incident(_) | Effect::Notify(_) => self.hurry(),
            Effect::Deliver(_) | Effect::Report(_) => {}
        }
    }

    fn hurry(&mut self) {
        for receiver in &mut self.receivers {
            receiver.due = Deadline::after(Duration::ZERO);
            receiver.again = receiver.under_way;
        }
    }

    /// No more posts: what stands is held for some minutes, and whoever starts next goes on.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Returns once a post is due.
    pub async fn due(&self) {
        let idle = self.receivers.iter().filter(|receiver| !receiver.under_way && !self.stopped);
        match idle.map(|receiver| receiver.due.remaining()).min() {
            Some(left) => tokio::time::sleep(left.to_std()).await,
            None => std::future::pending().await,
        }
    }

    /// What is wrong with instances of a receiver.
    pub fn problem(&self, name: &str) -> Option<String> {
        let receiver = self.receivers.iter().find(|receiver| receiver.name == name)?;
        let problems: Vec<&str> = receiver.problems.iter().map(|(_, why)| why.as_str()).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    fn start(&mut self, at: usize, notifier: Arc<Notifier>, roster: Vec<Notification>) {
        let receiver = &mut self.receivers[at];
        receiver.under_way = true;
        receiver.again = false;
        receiver.due = Deadline::after(receiver.every);
        let (name, index, events) = (receiver.name.clone(), receiver.index, self.events.clone());
        tokio::spawn(async move {
            let posted = tokio::spawn(async move { notifier.post_roster(index, &roster, Clock.now()).await }).await;
            // Without a loop there is nobody left to tell.
            let _ = events.send(Event::RosterPosted { receiver: name, heard: posted.unwrap_or_default() }).await;
        });
    }

    /// Takes the end of a post, and logs what changed: who is down, and who is back.
    fn posted(&mut self, name: &str, heard: &[Heard]) {
        let Some(receiver) = self.receivers.iter_mut().find(|receiver| receiver.name == name) else { return };
        receiver.under_way = false;
        if std::mem::take(&mut receiver.again) {
            receiver.due = Deadline::after(Duration::ZERO);
        }
        for Heard { instance, .. } in heard.iter().filter(|heard| heard.problem().is_none()) {
            if receiver.problems.iter().any(|(known, _)| known == instance) {
                tracing::info!(receiver = name, instance, "an instance of a receiver takes all alerts again");
            }
        }
        let problems = heard.iter().filter_map(|heard| Some((heard.instance.clone(), heard.problem()?)));
        let problems: Vec<(String, String)> = problems.collect();
        for (instance, why) in &problems {
            if receiver.problems.iter().all(|(known, _)| known != instance) {
                tracing::warn!(receiver = name, instance, why, "an instance of a receiver does not take all alerts");
            }
        }
        receiver.problems = problems;
    }
}

impl Live {
    /// Posts to each receiver that it is time for.
    pub(super) fn post_rosters(&mut self) {
        let now = self.steady.now();
        for at in 0..self.rosters.receivers.len() {
            let receiver = &self.rosters.receivers[at];
            if receiver.under_way || !receiver.due.remaining().is_zero() {
                continue;
            }
            let roster = self.engine.roster(receiver.index, now);
            self.rosters.start(at, self.world.notifier.clone(), roster);
        }
    }

    pub(super) fn roster_posted(&mut self, receiver: &str, heard: &[Heard]) {
        self.rosters.posted(receiver, heard);
    }
}
