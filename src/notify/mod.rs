//! Receivers: each a pure rendering of a notification and a thin send.
//!
//! A send ends in one of three ways ([`Outcome`]): delivered, to be retried, or refused for good. Nothing here
//! retries, queues, logs, or asks for the time; that is the daemon's. Every send has one deadline around the whole
//! exchange, reads a bounded answer and follows no redirect, and no outcome holds a secret.
//!
//! ```no_run
//! # async fn example(config: slowburn::config::Config, notification: slowburn::engine::notification::Notification) {
//! use slowburn::{clock::Clock, notify::Notifier};
//! let notifier = Notifier::new(&config).expect("the receivers are usable");
//! println!("{}", notifier.send(&notification, Clock.now()).await);
//! # }
//! ```

mod facts;
mod format;
mod links;
mod message;
mod pagerduty;
mod secrets;
mod slack;
mod text;
mod transport;
pub mod trial;
mod webhook;

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;
use thiserror::Error;

use crate::config::secret::Secret;
use crate::config::{Config, HttpClient, Receiver, ReceiverKind};
use crate::engine::notification::Notification;
use crate::engine::time::{Duration, Timestamp};
use crate::engine::{Outcome, stable_hash};
use crate::http::{self, ClientError};

pub use self::facts::Fact;
use self::message::Context;
pub use self::message::Message;
use self::secrets::Scrubber;
use self::transport::Answer;

/// How long a send may take, from the connect to the answer's end.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// All receivers of a configuration.
#[derive(Debug)]
pub struct Notifier {
    context: Context,
    external_url: String,
    deadline: Duration,
    /// In the order of the configuration.
    targets: Vec<Target>,
    /// Knows the secrets of all receivers.
    scrubber: Scrubber,
}

/// A receiver that cannot be sent to. Free of secrets.
#[derive(Debug, Error)]
#[error("receiver {receiver:?}: {why}")]
pub struct NotifyError {
    pub receiver: String,
    pub why: Flaw,
}

/// How a send ended, and what was heard of it. Free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub outcome: Outcome,
    /// The receiver's answer in words, `answered 202 Accepted: Event processed`; `None` if there was none.
    pub said: Option<String>,
}

/// What is wrong with a receiver.
#[derive(Debug, Error)]
pub enum Flaw {
    #[error("its address is not an http or https URL")]
    Address,
    #[error("its secret is not `whsec_` and 24 to 64 bytes in base64")]
    SigningSecret,
    #[error(transparent)]
    Client(#[from] ClientError),
}

#[derive(Debug)]
struct Target {
    name: String,
    client: Client,
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    PagerDuty { url: Secret, routing_key: Secret },
    Slack { url: Secret },
    Webhook { url: Secret, signer: Option<webhook::Signer> },
}

impl Notifier {
    pub fn new(config: &Config) -> Result<Self, NotifyError> {
        let target = |receiver: &Receiver| {
            Target::new(receiver).map_err(|why| NotifyError { receiver: receiver.name.clone(), why })
        };
        let secrets: Vec<String> = config.receivers.iter().flat_map(|receiver| secrets::of(&receiver.kind)).collect();
        Ok(Self {
            targets: config.receivers.iter().map(target).collect::<Result<_, _>>()?,
            scrubber: Scrubber::new(&secrets),
            context: Context::new(config),
            external_url: format!("http://{}", config.server.listen),
            deadline: DEADLINE,
        })
    }

    /// With another deadline for a send than [`DEADLINE`].
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The notification in words, as every receiver tells it.
    pub fn message(&self, notification: &Notification) -> Message {
        Message::new(notification, &self.context)
    }

    /// What is sent to the notification's receiver, without routing keys and signatures; `None` if there is no such
    /// receiver.
    pub fn body(&self, notification: &Notification) -> Option<Value> {
        self.targets.get(notification.receiver).map(|target| self.body_for(target, notification, "[secret]"))
    }

    /// Whether the notification's receiver keeps an incident open until it hears of its end.
    pub fn keeps_open(&self, notification: &Notification) -> bool {
        match self.targets.get(notification.receiver).map(|target| &target.channel) {
            Some(Channel::PagerDuty { .. }) => true,
            Some(Channel::Slack { .. } | Channel::Webhook { .. }) | None => false,
        }
    }

    /// Sends once. `now` is the time of this attempt.
    pub async fn send(&self, notification: &Notification, now: Timestamp) -> Outcome {
        self.send_and_hear(notification, now).await.outcome
    }

    /// As [`Self::send`], with what the receiver said.
    pub async fn send_and_hear(&self, notification: &Notification, now: Timestamp) -> Reply {
        let Some(target) = self.targets.get(notification.receiver) else {
            return Reply { outcome: Outcome::Rejected { why: "there is no such receiver".into() }, said: None };
        };
        let routing_key = match &target.channel {
            Channel::PagerDuty { routing_key, .. } => routing_key.expose(),
            Channel::Slack { .. } | Channel::Webhook { .. } => "",
        };
        let body = self.body_for(target, notification, routing_key).to_string();
        let request = target.request(notification, body, now);
        match transport::post(request, self.deadline, now, &self.scrubber).await {
            Ok(answer) => target.reply(&answer, &self.scrubber),
            Err(outcome) => Reply { outcome, said: None },
        }
    }

    fn body_for(&self, target: &Target, notification: &Notification, routing_key: &str) -> Value {
        let message = self.message(notification);
        match &target.channel {
            Channel::PagerDuty { .. } => pagerduty::body(notification, &message, routing_key),
            Channel::Slack { .. } => slack::body(&message),
            Channel::Webhook { .. } => {
                let (context, external_url) = (&self.context, self.external_url.as_str());
                let sender = webhook::Sender { context, receiver: &target.name, external_url };
                webhook::body(notification, &message, &sender)
            }
        }
    }
}

/// A notification as plain text, for terminals.
pub fn preview(config: &Config, notification: &Notification) -> String {
    Message::new(notification, &Context::new(config)).to_text()
}

impl Target {
    fn new(receiver: &Receiver) -> Result<Self, Flaw> {
        let plain = HttpClient::default();
        let (address, settings) = match &receiver.kind {
            ReceiverKind::PagerDuty { url, .. } => (url.as_str(), &plain),
            ReceiverKind::Slack { webhook_url } => (webhook_url.expose(), &plain),
            ReceiverKind::Webhook { url, http, .. } => (url.expose(), http),
        };
        if !Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(Flaw::Address);
        }
        let (channel, client) = (Channel::new(&receiver.kind)?, http::client(settings)?);
        Ok(Self { name: receiver.name.clone(), client, channel })
    }

    fn request(&self, notification: &Notification, body: String, now: Timestamp) -> RequestBuilder {
        let (url, signer) = match &self.channel {
            Channel::PagerDuty { url, .. } | Channel::Slack { url } => {
                return self.client.post(url.expose()).header("content-type", "application/json").body(body);
            }
            Channel::Webhook { url, signer } => (url, signer),
        };
        let id = webhook::header_id(&notification.id);
        let mut request = self
            .client
            .post(url.expose())
            .header("content-type", "application/json")
            .header("webhook-timestamp", webhook::unix_s(now));
        if let Some(signer) = signer {
            request = request.header("webhook-signature", signer.sign(&id, now, body.as_bytes()));
        }
        request.header("webhook-id", id).body(body)
    }

    fn reply(&self, answer: &Answer, scrubber: &Scrubber) -> Reply {
        let word = match &self.channel {
            Channel::PagerDuty { .. } => pagerduty::word(&answer.body).map(|word| scrubber.scrub_answer(&word)),
            Channel::Slack { .. } => slack::word(&answer.body).map(|word| scrubber.scrub_answer(word)),
            Channel::Webhook { .. } => Some(scrubber.scrub_answer(&answer.body)),
        };
        let said = Some(answer.why(word.clone()));
        let outcome = match (&self.channel, answer.outcome(word.clone())) {
            (Channel::Slack { .. }, Outcome::Delivered) => slack::outcome(answer, word),
            (_, outcome) => outcome,
        };
        Reply { outcome, said }
    }
}

impl Channel {
    fn new(kind: &ReceiverKind) -> Result<Self, Flaw> {
        Ok(match kind {
            ReceiverKind::PagerDuty { routing_key, url } => {
                Channel::PagerDuty { url: Secret::new(url.clone()), routing_key: routing_key.clone() }
            }
            ReceiverKind::Slack { webhook_url } => Channel::Slack { url: webhook_url.clone() },
            ReceiverKind::Webhook { url, secret, .. } => {
                let signer = secret.as_ref().map(|it| webhook::Signer::new(it.expose()).ok_or(Flaw::SigningSecret));
                Channel::Webhook { url: url.clone(), signer: signer.transpose()? }
            }
        })
    }
}

/// 16 hexadecimal digits that name these texts, the same on every machine and in every version.
fn short_hash(parts: &[&str]) -> String {
    let hash = stable_hash(parts);
    format!("{:016x}", (hash >> 64) as u64 ^ hash as u64)
}
