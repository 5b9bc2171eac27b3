//! One beat of the dead man's switch: a POST that says "I evaluate". When to beat is the daemon's business.

use reqwest::Client;
use serde_json::json;

use crate::config::Heartbeat;
use crate::config::secret::Secret;
use crate::engine::Outcome;
use crate::engine::time::{Duration, Timestamp};
use crate::http::{self, ClientError};

use super::secrets::{self, Scrubber};
use super::{DEADLINE, transport};

/// Who hears the beats. Prints no secret.
#[derive(Debug)]
pub struct Heart {
    client: Client,
    url: Secret,
    deadline: Duration,
    scrubber: Scrubber,
}

impl Heart {
    pub fn new(heartbeat: &Heartbeat) -> Result<Self, ClientError> {
        Ok(Self {
            client: http::client(&heartbeat.http)?,
            url: heartbeat.url.clone(),
            // The next beat finds the one before over.
            deadline: heartbeat.every.min(DEADLINE),
            scrubber: Scrubber::new(&secrets::of_webhook(&heartbeat.url, &heartbeat.http)),
        })
    }

    /// Beats once, for the evaluation of `slot`.
    ///
    /// # Errors
    /// Why nobody took it; free of secrets.
    pub async fn beat(&self, slot: Timestamp, now: Timestamp) -> Result<(), String> {
        let body = json!({"status": "evaluating", "evaluated_at": slot, "version": env!("CARGO_PKG_VERSION")});
        let request = self.client.post(self.url.expose()).json(&body);
        let outcome = match transport::post(request, self.deadline, now, &self.scrubber).await {
            Ok(answer) => answer.outcome(Some(self.scrubber.scrub_answer(&answer.body))),
            Err(outcome) => outcome,
        };
        match outcome {
            Outcome::Delivered => Ok(()),
            Outcome::Retry { why, .. } | Outcome::Unanswered { why } | Outcome::Rejected { why } => Err(why),
        }
    }
}
