//! `slowburn replay --format html`: joins what was decided and measured with the words of the receivers.

use crate::config::Config;
use crate::engine::notification::Notification;
use crate::notify::reading::Reader;
use crate::replay::Replayed;
use crate::replay::report::{Observed, Reading, Report};

/// The whole page; a replay that could be read in part shows that part and says so.
pub fn page(config: &Config, replayed: &Replayed, observed: &Observed) -> String {
    let words = Reader::new(config);
    let readings: Vec<Reading> = observed.notifications.iter().map(|told| reading(&words, told)).collect();
    Report {
        spec: &config.spec,
        document: &replayed.document,
        samples: &observed.samples,
        notifications: &observed.notifications,
        readings: &readings,
        broken: replayed.broken.as_ref().map(ToString::to_string),
    }
    .page()
}

/// Notifications name receivers of the configuration, so there is always one.
fn reading(words: &Reader, told: &Notification) -> Reading {
    match words.read(told) {
        Some(read) => Reading { channel: read.channel, title: read.title, text: read.text, note: read.note },
        None => Reading { channel: "Receiver", title: told.summary.clone(), text: String::new(), note: None },
    }
}
