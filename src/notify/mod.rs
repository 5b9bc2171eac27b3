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

mod alertmanager;
mod custom;
mod digest;
mod email;
mod facts;
pub mod heartbeat;
mod links;
mod message;
mod pagerduty;
mod post;
pub mod reading;
mod secrets;
mod slack;
mod text;
mod transport;
pub mod trial;
mod webhook;

use serde_json::Value;
use thiserror::Error;

use crate::config::{Config, Receiver, ReceiverKind, Server, Templates};
use crate::engine::notification::Notification;
use crate::engine::time::{Duration, Timestamp};
use crate::engine::{Outcome, stable_hash};
use crate::http::ClientError;
use crate::template::format;

use self::alertmanager::Cluster;
pub use self::alertmanager::Heard;
use self::email::Mailer;
pub use self::facts::Fact;
use self::message::Context;
pub use self::message::Message;
use self::post::Post;
use self::secrets::Scrubber;
pub use self::transport::retry_after;

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
    /// What is to be known beside.
    pub remarks: Vec<Remark>,
}

/// Something that did not keep a notification from being told, and yet somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Remark {
    /// A mail was refused for some of its recipients: which, and why.
    #[error("not told to {0}")]
    RecipientsRefused(String),
    /// A template of the user's failed: which, and why. The built-in message was told.
    #[error("template failed: {0}")]
    TemplateFailed(String),
}

/// What is wrong with a receiver.
#[derive(Debug, Error)]
pub enum Flaw {
    #[error("its address is not an http or https URL")]
    Address,
    #[error("its secret is not `whsec_` and 24 to 64 bytes in base64")]
    SigningSecret,
    #[error("{0:?} is not a mail address")]
    MailAddress(String),
    #[error("TLS to its mail server cannot be set up: {0}")]
    MailTls(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

#[derive(Debug)]
struct Target {
    name: String,
    template: Templates,
    channel: Channel,
}

/// How a receiver is told.
#[derive(Debug)]
enum Channel {
    Post(Post),
    Alertmanager(Cluster),
    Mail(Box<Mailer>),
}

impl Notifier {
    pub fn new(config: &Config) -> Result<Self, NotifyError> {
        let target = |receiver: &Receiver| match Channel::new(&receiver.kind, config.spec.interval) {
            Ok(channel) => Ok(Target { name: receiver.name.clone(), template: receiver.template.clone(), channel }),
            Err(why) => Err(NotifyError { receiver: receiver.name.clone(), why }),
        };
        let secrets: Vec<String> = config.receivers.iter().flat_map(|receiver| secrets::of(&receiver.kind)).collect();
        Ok(Self {
            targets: config.receivers.iter().map(target).collect::<Result<_, _>>()?,
            scrubber: Scrubber::new(&secrets),
            context: Context::new(config),
            external_url: external_url(&config.server),
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

    /// What its receiver is called.
    pub fn name(&self, notification: &Notification) -> &str {
        self.targets.get(notification.receiver).map_or("", |target| &target.name)
    }

    /// What is sent to the notification's receiver, without routing keys and signatures; `None` if there is no such
    /// receiver.
    pub fn body(&self, notification: &Notification) -> Option<Value> {
        let target = self.targets.get(notification.receiver)?;
        Some(match &target.channel {
            Channel::Post(post) => post.body(notification, &self.worded(target, notification).0, &self.sender(target)),
            Channel::Alertmanager(cluster) => cluster.body(notification, &self.context, notification.at),
            Channel::Mail(_) => email::body(notification, &self.worded(target, notification).0),
        })
    }

    /// Whether the notification's receiver keeps an incident open until it hears of its end.
    pub fn keeps_open(&self, notification: &Notification) -> bool {
        match self.targets.get(notification.receiver).map(|target| &target.channel) {
            Some(Channel::Post(post)) => post.keeps_open(),
            // What is not posted again ends there by itself. Ended at once, it would tell nobody of itself.
            Some(Channel::Alertmanager(_) | Channel::Mail(_)) | None => false,
        }
    }

    /// Sends once. `now` is the time of this attempt.
    pub async fn send(&self, notification: &Notification, now: Timestamp) -> Outcome {
        self.send_and_hear(notification, now).await.outcome
    }

    /// As [`Self::send`], with what the receiver said.
    pub async fn send_and_hear(&self, notification: &Notification, now: Timestamp) -> Reply {
        let Some(target) = self.targets.get(notification.receiver) else {
            return Outcome::Rejected { why: "there is no such receiver".into() }.into();
        };
        let manner = (self.deadline, now, &self.scrubber);
        let (message, remark) = self.worded(target, notification);
        let mut reply = match &target.channel {
            Channel::Post(post) => {
                let reply = post.send(notification, &message, &self.sender(target), manner).await;
                match &reply.outcome {
                    // It may be the user's words that are refused, and a page is not to be lost over them.
                    Outcome::Rejected { why } if message.custom.blocks.is_some() || message.custom.body.is_some() => {
                        let (plain, remark) =
                            custom::failed(self.message(notification), format!("it was refused: {why}"));
                        let mut reply = post.send(notification, &plain, &self.sender(target), manner).await;
                        reply.remarks.extend(remark);
                        reply
                    }
                    _ => reply,
                }
            }
            Channel::Alertmanager(cluster) => {
                let notifications = std::slice::from_ref(notification);
                alertmanager::reply(&cluster.post(notifications, &self.context, manner).await)
            }
            Channel::Mail(mailer) => mailer.send(notification, &message, &target.name, manner).await,
        };
        reply.remarks.extend(remark);
        reply
    }

    /// The message as this receiver is to tell it.
    fn worded(&self, target: &Target, notification: &Notification) -> (Message, Option<Remark>) {
        custom::apply(&target.template, notification, self.message(notification))
    }

    /// Posts all that stands at a receiver (see [`Engine::roster`](crate::engine::Engine::roster)), once, to each of
    /// its instances; returns how each took it, in the order of the configuration. Nothing for a receiver that is not
    /// told in this way.
    pub async fn post_roster(&self, receiver: usize, roster: &[Notification], now: Timestamp) -> Vec<Heard> {
        match self.targets.get(receiver).map(|target| &target.channel) {
            Some(Channel::Alertmanager(cluster)) => {
                cluster.post(roster, &self.context, (self.deadline, now, &self.scrubber)).await
            }
            Some(Channel::Post(_) | Channel::Mail(_)) | None => Vec::new(),
        }
    }

    /// As [`Self::post_roster`], and delivered as soon as one instance took it.
    pub async fn send_standing(&self, receiver: usize, standing: &[Notification], now: Timestamp) -> Reply {
        match self.targets.get(receiver).map(|target| &target.channel) {
            Some(Channel::Alertmanager(cluster)) => {
                cluster.post_to_any(standing, &self.context, (self.deadline, now, &self.scrubber)).await
            }
            Some(Channel::Post(_) | Channel::Mail(_)) | None => {
                Outcome::Rejected { why: "it holds no alerts".into() }.into()
            }
        }
    }

    fn sender<'a>(&'a self, target: &'a Target) -> webhook::Sender<'a> {
        webhook::Sender { context: &self.context, receiver: &target.name, external_url: &self.external_url }
    }
}

/// A notification as plain text, for terminals.
pub fn preview(config: &Config, notification: &Notification) -> String {
    Message::new(notification, &Context::new(config)).to_text()
}

impl Channel {
    fn new(kind: &ReceiverKind, interval: Duration) -> Result<Self, Flaw> {
        Ok(match kind {
            ReceiverKind::PagerDuty { routing_key, url } => Channel::Post(Post::to_pagerduty(url, routing_key)?),
            ReceiverKind::Slack { webhook_url } => Channel::Post(Post::to_slack(webhook_url)?),
            ReceiverKind::Webhook { url, secret, http } => Channel::Post(Post::to_webhook(url, secret.as_ref(), http)?),
            ReceiverKind::Alertmanager { urls, resend, http } => {
                Channel::Alertmanager(Cluster::new(urls, *resend, interval, http)?)
            }
            ReceiverKind::Email(settings) => Channel::Mail(Box::new(Mailer::new(settings)?)),
        })
    }
}

/// Where the daemon's own page is.
fn external_url(server: &Server) -> String {
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", server.listen)
}

/// Nothing was said.
impl From<Outcome> for Reply {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, said: None, remarks: Vec::new() }
    }
}

/// 16 hexadecimal digits that name these texts, the same on every machine and in every version.
fn short_hash(parts: &[&str]) -> String {
    let hash = stable_hash(parts);
    format!("{:016x}", (hash >> 64) as u64 ^ hash as u64)
}
