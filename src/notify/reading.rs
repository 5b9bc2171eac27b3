//! A notification as those who get it would read it, as plain text: for reports of what would have been sent.
//!
//! It sends nothing and cannot: there is neither a client nor a secret in here, only names, kinds and templates.

use serde_json::Value;

use crate::config::{Config, ReceiverKind, Templates};
use crate::engine::notification::Notification;

use super::custom;
use super::email;
use super::message::{Context, Message};

/// What a reader sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What the receiver is: `Slack`.
    pub channel: &'static str,
    pub title: String,
    /// Lines.
    pub text: String,
    /// What is to be known beside.
    pub note: Option<String>,
}

/// Renders for the receivers of a configuration.
#[derive(Debug)]
pub struct Reader {
    context: Context,
    receivers: Vec<(Kind, Templates)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PagerDuty,
    Slack,
    Webhook,
    Alertmanager,
    Mail,
}

impl Reader {
    pub fn new(config: &Config) -> Self {
        let kind = |kind: &ReceiverKind| match kind {
            ReceiverKind::PagerDuty { .. } => Kind::PagerDuty,
            ReceiverKind::Slack { .. } => Kind::Slack,
            ReceiverKind::Webhook { .. } => Kind::Webhook,
            ReceiverKind::Alertmanager { .. } => Kind::Alertmanager,
            ReceiverKind::Email(_) => Kind::Mail,
        };
        let receivers = config.receivers.iter().map(|receiver| (kind(&receiver.kind), receiver.template.clone()));
        Self { context: Context::new(config), receivers: receivers.collect() }
    }

    /// What the notification's receiver would have shown; `None` if there is no such receiver.
    pub fn read(&self, notification: &Notification) -> Option<Reading> {
        let (kind, templates) = self.receivers.get(notification.receiver)?;
        let message = Message::new(notification, &self.context);
        let (message, failed) = custom::apply(templates, notification, message);
        let (title, text) = kind.words(notification, &message);
        let note = failed.map(|remark| remark.to_string()).or_else(|| kind.form(notification, &message));
        Some(Reading { channel: kind.name(), title, text, note })
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::PagerDuty => "PagerDuty",
            Kind::Slack => "Slack",
            Kind::Webhook => "Webhook",
            Kind::Alertmanager => "Alertmanager",
            Kind::Mail => "Mail",
        }
    }

    fn words(self, notification: &Notification, message: &Message) -> (String, String) {
        let custom = &message.custom;
        if self == Kind::Mail {
            let body = email::body(notification, message);
            let part = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            return (part("subject"), part("text"));
        }
        // Alertmanager has templates of its own, and words nothing by ours.
        let title = match self {
            Kind::PagerDuty => custom.title.as_ref().unwrap_or(&message.summary),
            _ => custom.title.as_ref().unwrap_or(&message.title),
        };
        let own = match self {
            Kind::Slack => custom.blocks.as_ref().map(pretty),
            Kind::Webhook => custom.body.as_ref().map(pretty),
            _ => None,
        };
        (title.clone(), own.or_else(|| custom.text.clone()).unwrap_or_else(|| built_in(message)))
    }

    /// What the text does not show of the form in which it goes out.
    fn form(self, notification: &Notification, message: &Message) -> Option<String> {
        let note = match self {
            Kind::PagerDuty if notification.is_over() => "Sent as the end of its alert, without words.",
            Kind::Webhook if message.custom.body.is_none() => "Posted as JSON, with each alert and its numbers.",
            Kind::Alertmanager => "Posted as labels and annotations; its own templates word it.",
            Kind::Mail if message.custom.html.is_some() => "Goes with an HTML part of the template's.",
            Kind::PagerDuty | Kind::Slack | Kind::Webhook | Kind::Mail => return None,
        };
        Some(note.to_owned())
    }
}

/// The message below its title.
fn built_in(message: &Message) -> String {
    let text = message.to_text();
    let body = text.split_once('\n').map_or("", |(_, body)| body);
    body.lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
