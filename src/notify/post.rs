//! The receivers that are told with one HTTP request: PagerDuty, Slack and webhooks.

use std::fmt;

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use crate::config::HttpClient;
use crate::config::secret::Secret;
use crate::engine::Outcome;
use crate::engine::notification::Notification;
use crate::engine::time::{Duration, Timestamp};
use crate::http;

use super::message::Message;
use super::secrets::Scrubber;
use super::transport::{self, Answer};
use super::{Flaw, Reply, pagerduty, slack, webhook};

/// Where to send, and in which form.
#[derive(Debug)]
pub struct Post {
    client: Client,
    kind: Kind,
}

enum Kind {
    PagerDuty { url: Secret, routing_key: Secret },
    Slack { url: Secret },
    Webhook { url: Secret, signer: Option<webhook::Signer> },
}

impl Post {
    pub fn to_pagerduty(url: &str, routing_key: &Secret) -> Result<Self, Flaw> {
        let kind = Kind::PagerDuty { url: Secret::new(url.to_owned()), routing_key: routing_key.clone() };
        Self::new(kind, &HttpClient::default())
    }

    pub fn to_slack(webhook_url: &Secret) -> Result<Self, Flaw> {
        Self::new(Kind::Slack { url: webhook_url.clone() }, &HttpClient::default())
    }

    /// `secret` signs what is sent.
    pub fn to_webhook(url: &Secret, secret: Option<&Secret>, settings: &HttpClient) -> Result<Self, Flaw> {
        let signer = secret.map(|it| webhook::Signer::new(it.expose()).ok_or(Flaw::SigningSecret)).transpose()?;
        Self::new(Kind::Webhook { url: url.clone(), signer }, settings)
    }

    fn new(kind: Kind, settings: &HttpClient) -> Result<Self, Flaw> {
        let is_web = |url: Url| matches!(url.scheme(), "http" | "https");
        if !Url::parse(kind.url().expose()).is_ok_and(is_web) {
            return Err(Flaw::Address);
        }
        Ok(Self { client: http::client(settings)?, kind })
    }

    /// Whether the receiver keeps an incident open until it hears of its end.
    pub fn keeps_open(&self) -> bool {
        matches!(self.kind, Kind::PagerDuty { .. })
    }

    /// What is sent, without the routing key.
    pub fn body(&self, notification: &Notification, message: &Message, sender: &webhook::Sender<'_>) -> Value {
        self.body_with(notification, message, sender, "[secret]")
    }

    /// Sends once.
    pub async fn send(
        &self,
        notification: &Notification,
        message: &Message,
        sender: &webhook::Sender<'_>,
        (deadline, now, scrubber): (Duration, Timestamp, &Scrubber),
    ) -> Reply {
        let routing_key = match &self.kind {
            Kind::PagerDuty { routing_key, .. } => routing_key.expose(),
            Kind::Slack { .. } | Kind::Webhook { .. } => "",
        };
        let body = self.body_with(notification, message, sender, routing_key).to_string();
        match transport::post(self.request(notification, body, now), deadline, now, scrubber).await {
            Ok(answer) => self.reply(&answer, scrubber),
            Err(outcome) => outcome.into(),
        }
    }

    fn body_with(
        &self,
        notification: &Notification,
        message: &Message,
        sender: &webhook::Sender<'_>,
        routing_key: &str,
    ) -> Value {
        match &self.kind {
            Kind::PagerDuty { .. } => pagerduty::body(notification, message, routing_key),
            Kind::Slack { .. } => slack::body(message),
            Kind::Webhook { .. } => webhook::body(notification, message, sender),
        }
    }

    fn request(&self, notification: &Notification, body: String, now: Timestamp) -> RequestBuilder {
        let request = self.client.post(self.kind.url().expose()).header("content-type", "application/json");
        let Kind::Webhook { signer, .. } = &self.kind else { return request.body(body) };
        let id = webhook::header_id(&notification.id);
        let mut request = request.header("webhook-timestamp", webhook::unix_s(now));
        if let Some(signer) = signer {
            request = request.header("webhook-signature", signer.sign(&id, now, body.as_bytes()));
        }
        request.header("webhook-id", id).body(body)
    }

    fn reply(&self, answer: &Answer, scrubber: &Scrubber) -> Reply {
        let word = match &self.kind {
            Kind::PagerDuty { .. } => pagerduty::word(&answer.body).map(|word| scrubber.scrub_answer(&word)),
            Kind::Slack { .. } => slack::word(&answer.body).map(|word| scrubber.scrub_answer(word)),
            Kind::Webhook { .. } => Some(scrubber.scrub_answer(&answer.body)),
        };
        let said = Some(answer.why(word.clone()));
        let outcome = match (&self.kind, answer.outcome(word.clone())) {
            (Kind::Slack { .. }, Outcome::Delivered) => slack::outcome(answer, word),
            (_, outcome) => outcome,
        };
        Reply { said, ..outcome.into() }
    }
}

impl Kind {
    fn url(&self) -> &Secret {
        match self {
            Kind::PagerDuty { url, .. } | Kind::Slack { url } | Kind::Webhook { url, .. } => url,
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::PagerDuty { .. } => "PagerDuty",
            Kind::Slack { .. } => "Slack",
            Kind::Webhook { .. } => "Webhook",
        })
    }
}
