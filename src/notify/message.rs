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
use crate::engine::incident::{Notification, Reason};

use super::facts::{self, Fact, is_of_source};
use super::{links, text};

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
    /// The alerts after the worst one, a line each; the last line counts those left out.
    pub further: Vec<String>,
    pub runbook: Option<String>,
    /// Opens a graph of the worst alert in Prometheus.
    pub query: Option<String>,
    /// What only a search needs: urgency, stage, incident key.
    pub footer: String,
}

impl Context {
    pub fn new(config: &Config) -> Self {
        let prometheus = match &config.source {
            Source::Prometheus(prometheus) => links::public_url(&prometheus.external_url),
            Source::Scrape(_) => None,
        };
        Self { spec: config.spec.clone(), selectors: config.selectors.clone(), prometheus }
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
            query: query(notification, context),
            footer: footer(notification),
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
    let lasted = facts::lasted(notification);
    let stage = notification.stage.as_str();
    let prefix = match notification.reason {
        Reason::Resolved => format!("Resolved after {lasted}: "),
        _ if is_of_source(notification) && notification.reason == Reason::Repeated => {
            format!("Still blind after {lasted}: ")
        }
        Reason::Blind => "Blind: ".into(),
        _ if is_of_source(notification) => "Blind: ".into(),
        Reason::Opened => format!("{}: ", capitalised(stage)),
        Reason::Escalated => format!("Now {stage}: "),
        Reason::Repeated => format!("Still {stage} after {lasted}: "),
    };
    let predicate = match (notification.reason, notification.alerts.first()) {
        (Reason::Resolved, _) if is_of_source(notification) => " can be seen again".into(),
        (Reason::Resolved, _) => " is within its limits".into(),
        _ if is_of_source(notification) => " cannot be seen, alerts are held".into(),
        (_, Some(worst)) => format!(" {}", facts::predicate(worst)),
        (_, None) => " is over its limits".into(),
    };
    // A long name is cut, not what is wrong with it.
    let room = MAX_TITLE.saturating_sub(text::units(&prefix) + text::units(&predicate));
    format!("{prefix}{}{predicate}", text::clip(&facts::worst_place(notification), room))
}

fn further(notification: &Notification) -> Vec<String> {
    // A resolved incident has no worst alert any more that the facts tell of.
    let skip = usize::from(notification.reason != Reason::Resolved);
    let journey = notification.journey.as_deref().unwrap_or_default();
    let alerts = notification.alerts.iter().skip(skip);
    let left_out = alerts.len().saturating_sub(MAX_LINES);
    let mut lines: Vec<String> = alerts
        .take(MAX_LINES)
        .map(|alert| {
            let place = text::clip(&facts::place(alert.layer.as_deref().unwrap_or(journey), None, &alert.labels), 60);
            text::line(&format!("{place}: {}", facts::one_line(alert, notification)), MAX_LINE)
        })
        .collect();
    if left_out > 0 {
        lines.push(format!("and {left_out} more"));
    }
    lines
}

fn footer(notification: &Notification) -> String {
    let urgency = notification.urgency.as_str();
    let key = text::line(&notification.incident, 255);
    format!("slowburn, {urgency}, {}, incident {key}, {}", notification.reason.as_str(), notification.at)
}

/// The worst alert, drawn in Prometheus.
fn query(notification: &Notification, context: &Context) -> Option<String> {
    let (prometheus, worst) = (context.prometheus.as_ref()?, notification.alerts.first()?);
    let (slo, selector) = (context.spec.slos.get(worst.slo)?, context.selectors.get(worst.slo)?);
    links::query(prometheus, selector, slo, worst)
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
