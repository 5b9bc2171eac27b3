//! What a notification says, in words and before any receiver's markup: the one text that Slack, PagerDuty, webhooks
//! and the terminal share.
//!
//! It never decides anything and asks nothing: the same notification and configuration yield the same message. Every
//! text in it is one line, harmless and bounded, so that a receiver only adds its markup.

use std::sync::Arc;

use reqwest::Url;

use crate::config::selector::Selector;
use crate::config::{Config, Source};
use crate::engine::Spec;
use crate::engine::notification::{AlertFacts, Notification, Reason};
use crate::engine::time::Timestamp;

use super::custom::Custom;
use super::facts::{self, Fact, is_of_source};
use super::{digest, links, text};

/// The longest title, as Slack's header allows.
pub const MAX_TITLE: usize = 150;
/// The longest line about a further alert, and how many there are.
pub const MAX_LINE: usize = 200;
pub const MAX_LINES: usize = 8;
/// The longest one-line summary.
pub const MAX_SUMMARY: usize = 1000;

/// What a message needs to know beside the notification.
#[derive(Debug, Clone)]
pub struct Context {
    pub spec: Arc<Spec>,
    /// One for each of `spec.slos`.
    pub selectors: Vec<Selector>,
    /// Where links to queries lead, free of credentials; `None` without a Prometheus.
    pub prometheus: Option<Url>,
}

/// A notification in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What is wrong and how badly, at most [`MAX_TITLE`] long.
    pub title: String,
    /// One line for lists and lock screens: what the replay printed for this notification.
    pub summary: String,
    /// Most important first, each once.
    pub facts: Vec<Fact>,
    /// The alerts after the worst one, or the incidents of a digest, a line each; the last line counts those left out.
    pub further: Vec<String>,
    pub runbook: Option<String>,
    /// Opens a graph of the worst alert in Prometheus.
    pub query: Option<String>,
    /// For receivers that show times in the reader's own zone.
    pub opened_at: Timestamp,
    /// What only a search needs: urgency, stage, incident key.
    pub footer: String,
    /// What the user's templates say instead.
    pub custom: Custom,
}

impl Context {
    pub fn new(config: &Config) -> Self {
        let prometheus = match &config.source {
            Source::Prometheus(prometheus) => links::public_url(&prometheus.external_url),
            Source::Scrape(_) => None,
        };
        Self { spec: config.spec.clone(), selectors: config.selectors.clone(), prometheus }
    }

    /// A link to a graph of the alert in Prometheus.
    pub fn query(&self, alert: &AlertFacts) -> Option<String> {
        let (slo, selector) = (self.spec.slos.get(alert.slo)?, self.selectors.get(alert.slo)?);
        links::query(self.prometheus.as_ref()?, selector, slo, alert)
    }
}

impl Message {
    pub fn new(notification: &Notification, context: &Context) -> Self {
        let title = title(notification);
        let summary = text::line(&notification.summary, MAX_SUMMARY);
        Self {
            summary: if summary.is_empty() { title.clone() } else { summary },
            title,
            facts: facts::of(notification, &context.spec),
            further: further(notification),
            runbook: notification.runbook.as_deref().and_then(links::web_link),
            query: notification.alerts.first().and_then(|worst| context.query(worst)),
            opened_at: notification.opened_at,
            footer: footer(notification),
            custom: Custom::default(),
        }
    }

    /// The message as plain text, for terminals.
    pub fn to_text(&self) -> String {
        let mut lines = vec![self.title.clone()];
        let width = self.facts.iter().map(|fact| fact.label.len()).max().unwrap_or_default();
        lines.extend(self.facts.iter().map(|fact| format!("  {:width$}  {}", fact.label, fact.text)));
        lines.extend(self.further.iter().map(|line| format!("  + {line}")));
        lines.extend(self.runbook.iter().map(|url| format!("  Runbook: {url}")));
        lines.extend(self.query.iter().map(|url| format!("  Query: {url}")));
        lines.push(format!("  {}", self.footer));
        lines.push(String::new());
        lines.join("\n")
    }
}

fn title(notification: &Notification) -> String {
    if let Some(digest) = &notification.digest {
        return text::line(&digest::title(digest), MAX_TITLE);
    }
    let (prefix, suffix) = if is_of_source(notification) { around_source(notification) } else { around(notification) };
    // A long name is cut, not what is wrong with it.
    let room = MAX_TITLE.saturating_sub(text::units(&prefix) + text::units(&suffix));
    format!("{prefix}{}{suffix}", text::clip(&facts::worst_place(notification), room))
}

/// What stands before and after the place in a journey's title.
fn around(notification: &Notification) -> (String, String) {
    let (stage, urgency) = (notification.stage.as_str(), notification.urgency.as_str());
    let lasted = facts::lasted(notification);
    let prefix = match notification.reason {
        Reason::Resolved => return ("Resolved: ".into(), format!(", after {lasted}")),
        Reason::Opened | Reason::Blind | Reason::Digest => format!("{} {urgency}: ", capitalised(stage)),
        Reason::Escalated => format!("Now a {stage} {urgency}: "),
        Reason::Repeated => format!("Still a {stage} {urgency} after {lasted}: "),
        Reason::Test => return ("".into(), " of slowburn: nothing is wrong, and nobody has to do anything".into()),
    };
    let predicate = notification.alerts.first().map_or_else(|| "is over its limits".into(), facts::predicate);
    (prefix, format!(" {predicate}"))
}

/// The same for an incident of the source itself.
fn around_source(notification: &Notification) -> (String, String) {
    let lasted = facts::lasted(notification);
    match notification.reason {
        Reason::Resolved => ("In sight again: ".into(), format!(", after {lasted}")),
        Reason::Repeated => (format!("Still blind after {lasted}: "), " is out of sight, alerts are held".into()),
        Reason::Opened | Reason::Escalated | Reason::Blind | Reason::Test | Reason::Digest => {
            ("Blind: ".into(), " is out of sight, alerts are held".into())
        }
    }
}

fn further(notification: &Notification) -> Vec<String> {
    if let Some(digest) = &notification.digest {
        return digest::lines(digest, notification);
    }
    // A resolved incident has no worst alert any more that the facts tell of.
    let skip = usize::from(notification.reason != Reason::Resolved);
    let journey = notification.journey.as_deref().unwrap_or_default();
    let alerts = notification.alerts.iter().skip(skip);
    let left_out = alerts.len().saturating_sub(MAX_LINES);
    let mut lines: Vec<String> = alerts
        .take(MAX_LINES)
        .map(|alert| {
            let place = text::clip(&facts::place_within(journey, alert), 60);
            text::line(&format!("{place}: {}", facts::one_line(alert, notification)), MAX_LINE)
        })
        .collect();
    if left_out > 0 {
        lines.push(format!("and {left_out} more"));
    }
    lines
}

fn footer(notification: &Notification) -> String {
    let key = text::line(&notification.incident, 255);
    let (stage, urgency) = (notification.stage.as_str(), notification.urgency.as_str());
    format!("slowburn · {stage} {urgency} · {} at {} · {key}", notification.reason.as_str(), notification.at)
}

pub fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
