//! Alertmanager, by its API v2: a level that is held, not a message that is sent. What stands is posted again and again
//! with an end that moves ahead, to every instance of a cluster, so that an instance that was down or forgot is caught
//! up by the next post, and none ever says "resolved" because nobody spoke.
//!
//! An instance keeps the valid alerts of a request that it answers with 400. Which ones it refused it does not say, so
//! the request is halved until it is known.
//!
//! Source: Alertmanager, `api/v2/openapi.yaml` and `api/v2/api.go` (`postAlertsHandler`).

mod alert;

use std::sync::Arc;

use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::clock::Deadline;
use crate::config::HttpClient;
use crate::engine::Outcome;
use crate::engine::notification::Notification;
use crate::engine::time::{Duration, Timestamp};
use crate::http;

use self::alert::Alert;
use super::message::Context;
use super::secrets::Scrubber;
use super::transport::{self, Answer};
use super::{Flaw, Reply, text};

/// The most that one request carries: a proxy such as nginx takes 1 MiB unless it is told otherwise.
const MAX_BODY_BYTES: usize = 512 * 1024;
/// Requests spent on finding out which alerts an instance refuses.
const MAX_HALVINGS: usize = 40;
/// Refused alerts that are named.
const MAX_NAMED: usize = 5;
const MAX_NAME: usize = 120;

/// All instances of one receiver.
#[derive(Debug)]
pub struct Cluster {
    client: Client,
    instances: Vec<Instance>,
    /// How long an alert stands there unless it is posted again.
    hold: Duration,
}

#[derive(Debug, Clone)]
struct Instance {
    /// As the configuration has it. No secret: credentials stand elsewhere.
    name: String,
    url: Url,
}

/// How one instance took what was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its address.
    pub instance: String,
    /// Delivered if it took at least one alert, or there was none to take.
    pub outcome: Outcome,
    /// What it refused of the rest, each with its reason; the last line counts those left out.
    pub refused: Vec<String>,
}

/// What is posted of one alert.
#[derive(Debug)]
struct Posted {
    name: String,
    json: String,
}

impl Cluster {
    /// `urls` are base addresses without a trailing slash.
    pub fn new(urls: &[String], resend: Duration, interval: Duration, http: &HttpClient) -> Result<Self, Flaw> {
        let instance = |name: &String| {
            let url = Url::parse(&format!("{name}/api/v2/alerts")).map_err(|_| Flaw::Address)?;
            let is_web = matches!(url.scheme(), "http" | "https");
            is_web.then(|| Instance { name: name.clone(), url }).ok_or(Flaw::Address)
        };
        Ok(Self {
            client: http::client(http)?,
            instances: urls.iter().map(instance).collect::<Result<_, _>>()?,
            // As Prometheus has it: three posts in a row may fail.
            hold: resend.max(interval).times(4.0),
        })
    }

    /// What is posted at `now`.
    pub fn body(&self, notification: &Notification, context: &Context, now: Timestamp) -> Value {
        alert::alerts(notification, context, now + self.hold).iter().map(Alert::json).collect()
    }

    /// Posts to all instances at once, each within the deadline, and hears all of them.
    pub async fn post(
        &self,
        notifications: &[Notification],
        context: &Context,
        manner: (Duration, Timestamp, &Scrubber),
    ) -> Vec<Heard> {
        let mut under_way = self.start(notifications, context, manner);
        let mut heard = self.unheard();
        while let Some(ended) = under_way.join_next().await {
            if let Ok((place, told)) = ended {
                heard[place] = told;
            }
        }
        heard
    }

    /// As [`Self::post`], and over once an instance took all of it. The others go on being told.
    pub async fn post_to_any(
        &self,
        notifications: &[Notification],
        context: &Context,
        manner: (Duration, Timestamp, &Scrubber),
    ) -> Reply {
        let mut under_way = self.start(notifications, context, manner);
        let mut heard = self.unheard();
        while let Some(ended) = under_way.join_next().await {
            let Ok((place, told)) = ended else { continue };
            if told.problem().is_none() {
                under_way.detach_all();
                return Outcome::Delivered.into();
            }
            heard[place] = told;
        }
        reply(&heard)
    }

    /// What there is to say of instances before they have answered.
    fn unheard(&self) -> Vec<Heard> {
        let heard = |instance: &Instance| Heard {
            instance: instance.name.clone(),
            outcome: Outcome::Retry { after: None, why: "posting failed unexpectedly".into() },
            refused: Vec::new(),
        };
        self.instances.iter().map(heard).collect()
    }

    /// One task an instance, which ends with its place in the configuration.
    fn start(
        &self,
        notifications: &[Notification],
        context: &Context,
        (deadline, now, scrubber): (Duration, Timestamp, &Scrubber),
    ) -> JoinSet<(usize, Heard)> {
        let until = now + self.hold;
        let alerts = notifications.iter().flat_map(|notification| alert::alerts(notification, context, until));
        let posted = alerts.map(|alert| Posted { json: alert.json().to_string(), name: alert.name });
        let posted: Arc<[Posted]> = posted.collect();
        let mut under_way = JoinSet::new();
        for (place, instance) in self.instances.iter().enumerate() {
            let exchange = Exchange {
                client: self.client.clone(),
                instance: instance.clone(),
                deadline: Deadline::after(deadline),
                now,
                scrubber: scrubber.clone(),
            };
            let posted = posted.clone();
            under_way.spawn(async move { (place, exchange.tell(&posted).await) });
        }
        under_way
    }
}

/// One answer of all instances: delivered if at least one of them took it, as they tell each other.
pub fn reply(heard: &[Heard]) -> Reply {
    let took = heard.iter().filter(|heard| heard.outcome == Outcome::Delivered).count();
    let failures: Vec<String> = heard.iter().filter_map(Heard::problem).collect();
    let failures = failures.join("; ");
    if took > 0 {
        let rest = if failures.is_empty() { failures } else { format!("; {failures}") };
        let said = format!("was taken by {took} of {} instances{rest}", heard.len());
        return Reply { said: Some(said), ..Outcome::Delivered.into() };
    }
    let later = heard.iter().filter_map(|heard| match &heard.outcome {
        Outcome::Retry { after, .. } => Some(*after),
        Outcome::Unanswered { .. } => Some(None),
        Outcome::Delivered | Outcome::Rejected { .. } => None,
    });
    // The first instance that may take it decides, and one that did not say is asked first.
    let outcome = match later.min() {
        Some(after) => Outcome::Retry { after, why: failures },
        None => Outcome::Rejected { why: failures },
    };
    outcome.into()
}

impl Heard {
    /// What is wrong with this instance, or with what it was told.
    pub fn problem(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Delivered if self.refused.is_empty() => None,
            Outcome::Delivered => Some(format!("{} refused {}", self.instance, self.refused.join(", "))),
            Outcome::Retry { why, .. } | Outcome::Unanswered { why } | Outcome::Rejected { why } => {
                Some(format!("{}: {why}", self.instance))
            }
        }
    }
}

/// The requests to one instance.
struct Exchange {
    client: Client,
    instance: Instance,
    deadline: Deadline,
    now: Timestamp,
    scrubber: Scrubber,
}

impl Exchange {
    async fn tell(&self, posted: &[Posted]) -> Heard {
        let mut refused = Vec::new();
        let outcome = match self.post_all(posted, &mut refused).await {
            Ok(()) if posted.is_empty() || refused.len() < posted.len() => Outcome::Delivered,
            Ok(()) => Outcome::Rejected { why: summed_up(std::mem::take(&mut refused)).join(", ") },
            Err(outcome) => outcome,
        };
        Heard { instance: self.instance.name.clone(), outcome, refused: summed_up(refused) }
    }

    /// Fails with the first answer that ends the exchange.
    async fn post_all(&self, posted: &[Posted], refused: &mut Vec<String>) -> Result<(), Outcome> {
        let mut waiting = batches(posted);
        // The first one is taken from the end.
        waiting.reverse();
        let mut halvings = 0;
        while let Some(batch) = waiting.pop() {
            let answer = self.post(batch).await?;
            let word = self.scrubber.scrub_answer(&word(&answer.body));
            let is_about_content = matches!(
                answer.status,
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
            );
            if !is_about_content {
                match answer.outcome(Some(word)) {
                    Outcome::Delivered => continue,
                    failed => return Err(failed),
                }
            }
            let why = answer.why(Some(word));
            match batch {
                [] => return Err(Outcome::Rejected { why }),
                [alert] => refused.push(format!("{} ({why})", text::line(&alert.name, MAX_NAME))),
                batch if halvings == MAX_HALVINGS => {
                    refused.push(format!("some of {} alerts ({why})", batch.len()));
                }
                batch => {
                    halvings += 1;
                    let (first, second) = batch.split_at(batch.len() / 2);
                    waiting.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    async fn post(&self, batch: &[Posted]) -> Result<Answer, Outcome> {
        let alerts: Vec<&str> = batch.iter().map(|posted| posted.json.as_str()).collect();
        let request = self.client.post(self.instance.url.clone()).header("content-type", "application/json");
        let request = request.body(format!("[{}]", alerts.join(",")));
        let answer = transport::post(request, self.deadline.remaining(), self.now, &self.scrubber).await;
        if answer.is_err() && self.deadline.remaining().is_zero() {
            let why = format!("no whole answer within {}", self.deadline.length());
            return Err(Outcome::Retry { after: None, why });
        }
        answer
    }
}

/// In their order, each short enough for one request. Nothing is posted as well, which shows whether somebody listens.
fn batches(mut posted: &[Posted]) -> Vec<&[Posted]> {
    if posted.is_empty() {
        return vec![posted];
    }
    let mut batches = Vec::new();
    while !posted.is_empty() {
        let mut bytes = 0;
        let fits = posted.iter().take_while(|posted| {
            bytes += posted.json.len() + 1;
            bytes < MAX_BODY_BYTES
        });
        // One alert is bounded well below the limit; should it not be, the instance judges.
        let (batch, rest) = posted.split_at(fits.count().max(1));
        batches.push(batch);
        posted = rest;
    }
    batches
}

fn summed_up(mut refused: Vec<String>) -> Vec<String> {
    let left_out = refused.len().saturating_sub(MAX_NAMED);
    refused.truncate(MAX_NAMED);
    if left_out > 0 {
        refused.push(format!("and {left_out} more"));
    }
    refused
}

/// A refusal in words: Alertmanager answers with a text in JSON, or with an object around one.
fn word(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(Value::String(text)) => text,
        Ok(value) => value["message"].as_str().map_or_else(|| body.to_owned(), str::to_owned),
        Err(_) => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(bytes: usize) -> Posted {
        Posted { name: String::new(), json: "x".repeat(bytes) }
    }

    #[test]
    fn requests_are_bounded_and_nothing_is_left_out() {
        let alerts: Vec<Posted> = (0..700).map(|n| posted(1000 + n)).chain([posted(MAX_BODY_BYTES * 2)]).collect();
        let batches = batches(&alerts);
        assert_eq!(batches.iter().map(|batch| batch.len()).sum::<usize>(), alerts.len());
        let bytes = |batch: &&[Posted]| batch.iter().map(|it| it.json.len() + 1).sum::<usize>();
        assert!(batches.iter().all(|batch| bytes(batch) <= MAX_BODY_BYTES || batch.len() == 1));
        assert_eq!(batches.len(), 3);
    }

    #[test]
    fn one_instance_is_enough() {
        let heard = |outcome| Heard { instance: "http://am".into(), outcome, refused: vec![] };
        let down = || heard(Outcome::Retry { after: None, why: "down".into() });
        let busy = || heard(Outcome::Retry { after: Some(Duration::from_secs(3)), why: "busy".into() });
        let no = || heard(Outcome::Rejected { why: "no".into() });
        let taken = || heard(Outcome::Delivered);
        for (heard, expected) in [
            (vec![taken(), down()], "delivered"),
            (vec![no(), taken()], "delivered"),
            (vec![no(), down()], "to be retried: http://am: no; http://am: down"),
            (vec![busy(), down()], "to be retried: http://am: busy; http://am: down"),
            (vec![no(), no()], "rejected: http://am: no; http://am: no"),
        ] {
            assert_eq!(reply(&heard).outcome.to_string(), expected);
        }
        let Outcome::Retry { after, .. } = reply(&[no(), busy()]).outcome else { panic!() };
        assert_eq!(after, Some(Duration::from_secs(3)));
    }
}
