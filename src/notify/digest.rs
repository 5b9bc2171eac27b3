//! A digest in words: its title, its facts, and a line an incident, short enough that a hundred fit into one message.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::engine::notification::{Digest, DigestEntry, DigestKind, Notification};
use crate::engine::rule::{Stage, Urgency};

use super::facts::{Fact, fact, several};
use super::format::{instant, since};
use super::text;

/// The longest line about one incident.
pub const MAX_LINE: usize = 100;
const MAX_NAME: usize = 60;

/// What the message is about, without its length limit.
pub fn title(digest: &Digest) -> String {
    let words = digest.in_words();
    match &digest.kind {
        DigestKind::Scheduled { name } => format!("Digest {}: {words}", text::line(name, MAX_NAME)),
        DigestKind::Flood if digest.open == 0 => format!("Over: {words}"),
        DigestKind::Flood => words,
    }
}

/// Most important first.
pub fn facts(digest: &Digest, notification: &Notification) -> Vec<Fact> {
    let what = match &digest.kind {
        DigestKind::Flood => "too many at once to tell one by one; the worst stand first".to_owned(),
        DigestKind::Scheduled { name } => {
            format!("warnings and tickets, and what was held back, for the digest {}", text::line(name, MAX_NAME))
        }
    };
    let open = match (digest.open, &digest.kind) {
        (0, DigestKind::Scheduled { .. }) => "none of them".to_owned(),
        (open, DigestKind::Scheduled { .. }) => several(open as usize, digest.noun()),
        (0, DigestKind::Flood) => "none of those told in lists like this".to_owned(),
        (open, DigestKind::Flood) => format!("{} told in lists like this", several(open as usize, digest.noun())),
    };
    let held = digest.entries.iter().filter(|entry| entry.held).count();
    let mut facts = vec![fact("What", &what)];
    if digest.entries.iter().any(|entry| entry.ended_at.is_none()) {
        facts.push(fact("Levels", &levels(&digest.entries)));
    }
    facts.push(fact("Open now", &open));
    if held > 0 {
        facts.push(fact("Held back", &format!("{held} of them, until now")));
    }
    if !digest.entries.is_empty() {
        facts.push(fact("First began", &since(notification.opened_at, notification.at)));
    }
    facts
}

/// A line an incident; the last one counts those left out.
pub fn lines(digest: &Digest, notification: &Notification) -> Vec<String> {
    let mut lines: Vec<String> = digest.entries.iter().map(|entry| line(entry, notification)).collect();
    if digest.left_out > 0 {
        lines.push(format!("and {} more", digest.left_out));
    }
    lines
}

/// `critical page: checkout/database: error budget burns 34.0x too fast over 10m, since 03:12 UTC`.
fn line(entry: &DigestEntry, notification: &Notification) -> String {
    let began = instant(entry.began_at, notification.at);
    let held = if entry.held { ", held back" } else { "" };
    let (before, after) = match entry.ended_at {
        Some(end) => (format!("over{held}: "), format!(", {began} to {}", instant(end, notification.at))),
        None => (format!("{} {}{held}: ", entry.stage.as_str(), entry.urgency.as_str()), format!(", since {began}")),
    };
    // A long name is cut, not when it was.
    let room = MAX_LINE.saturating_sub(text::units(&before) + text::units(&after));
    format!("{before}{}{after}", text::line(&entry.summary, room))
}

/// `31 critical pages, 6 warning tickets`, worst first, of what stands.
fn levels(entries: &[DigestEntry]) -> String {
    let mut levels: BTreeMap<Reverse<(Urgency, Stage)>, usize> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.ended_at.is_none()) {
        *levels.entry(Reverse((entry.urgency, entry.stage))).or_default() += 1;
    }
    let levels = levels
        .into_iter()
        .map(|(Reverse((urgency, stage)), n)| several(n, &format!("{} {}", stage.as_str(), urgency.as_str())));
    levels.collect::<Vec<_>>().join(", ")
}
