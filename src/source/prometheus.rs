//! Prometheus' HTTP API, as Thanos, Mimir, Cortex and VictoriaMetrics speak it too.
//!
//! A poll is one instant query a metric name, evaluated at the slot itself; a slice of history is one range query a
//! metric name, evaluated at the same slots, so both see the same numbers. Nothing outlives the deadline it was given.

mod answer;

mod export;

mod guess;

mod history;

mod probe;

mod put;

mod remote;

mod slices;

mod survey;

use std::sync::Arc;

use reqwest::RequestBuilder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::clock::Deadline;
use crate::config;
use crate::engine::histogram::Poll;
use crate::engine::time::{Duration, Timestamp};
use crate::http::Scrubber;

use self::answer::{Notes, Shape, VectorRow};
use self::remote::Remote;
use super::body;
use super::error::{SourceError, quote, scrubbed};
use super::gather::gather;
pub use super::history::{Detail, History, HistorySeries};
use super::plan::{MetricRequest, Plan};
use super::series::{Bounded, MAX_SERIES, PollBuilder};

pub use self::history::{MAX_SLOTS, slots_per_slice};
pub use self::slices::Slices;

/// Queries in flight at once; Prometheus runs 20 for everybody.
const QUERIES_AT_ONCE: usize = 4;
const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_ms(100);

/// A server and what is asked of it. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub struct Prometheus {
    client: reqwest::Client,
    url: Arc<str>,
    plan: Arc<Plan>,
    max_response_bytes: usize,
    max_series: usize,
    interval: Option<Duration>,
    remote: Arc<Remote>,
    scrubber: Arc<Scrubber>,
}

impl Prometheus {
    pub fn new(config: &config::Prometheus, plan: Arc<Plan>) -> Result<Self, SourceError> {
        let client = crate::http::client(&config.http).map_err(|error| SourceError::Request(error.to_string()))?;
        let url = Arc::from(config.url.trim_end_matches('/'));
        Ok(Self {
            client,
            url,
            plan,
            max_response_bytes: config.max_response_bytes,
            max_series: MAX_SERIES,
            interval: None,
            remote: Arc::default(),
            scrubber: Arc::new(Scrubber::new(&crate::http::secrets(&config.http))),
        })
    }

    /// How many SLOs it is asked about.
    fn slos(&self) -> usize {
        self.plan.budgets_s.len()
    }

    /// At most this many series of each metric, instead of 50,000.
    pub fn with_max_series(self, max_series: usize) -> Self {
        Self { max_series, ..self }
    }

    /// Tells the server how far apart polls are: VictoriaMetrics looks back as far as that, and only then do its polls
    /// agree with its history about series that end.
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval: Some(interval), ..self }
    }

    /// The value of every bucket at `slot`. A metric whose query fails makes the poll partial; it is an error if all
    /// of them fail. A metric without any series is no error.
    pub async fn poll(&self, slot: Timestamp, deadline: Duration) -> Result<Poll, SourceError> {
        scrubbed(&self.scrubber, self.poll_all(slot, deadline).await, |poll| &mut poll.warnings)
    }

    async fn poll_all(&self, slot: Timestamp, deadline: Duration) -> Result<Poll, SourceError> {
        let deadline = Deadline::after(deadline);
        let metric = |index| {
            let prometheus = self.clone();
            async move { prometheus.poll_metric(index, slot, deadline).await }
        };
        let results = gather((0..self.plan.requests.len()).map(metric).collect(), QUERIES_AT_ONCE).await;
        let mut poll = PollBuilder::default();
        let mut failures = Vec::new();
        for (request, result) in self.plan.requests.iter().zip(results) {
            match result {
                Some(Ok(part)) => poll.extend(part),
                Some(Err(error)) => failures.push((request, error)),
                None => failures.push((request, SourceError::decoder())),
            }
        }
        if failures.len() == self.plan.requests.len()
            && let Some((_, error)) = failures.pop()
        {
            return Err(error);
        }
        for (request, error) in failures {
            poll.partial = true;
            poll.warnings.push(&format!("{}: {error}", request.metric));
        }
        Ok(poll.finish())
    }

    async fn poll_metric(&self, index: usize, slot: Timestamp, deadline: Deadline) -> Result<PollBuilder, SourceError> {
        let mut form = vec![("query", self.plan.requests[index].query("")), ("time", seconds(slot))];
        form.extend(self.interval.map(|interval| ("step", format!("{}ms", interval.ms()))));
        let (plan, max_series) = (Arc::clone(&self.plan), self.max_series);
        self.ask("query", form, deadline, move |body| read_poll(body, &plan.requests[index], max_series)).await
    }

    /// Posts `form`, with the time left as the query's own `timeout`, and decodes the answer; tries again while the
    /// error may pass and time is left.
    async fn ask<T, F>(
        &self,
        call: &str,
        form: Vec<(&'static str, String)>,
        deadline: Deadline,
        decode: F,
    ) -> Result<T, SourceError>
    where
        T: Send + 'static,
        F: Fn(&[u8]) -> Result<T, SourceError> + Clone + Send + 'static,
    {
        let attempt = |left: Duration| {
            // Thanos: rather an error than half an answer, and raw samples only.
            let always = [
                ("timeout", format!("{}ms", left.ms())),
                ("partial_response", "false".to_owned()),
                ("max_source_resolution", "0s".to_owned()),
            ];
            let form: Vec<&(&str, String)> = form.iter().chain(&always).collect();
            let request = self.client.post(format!("{}/api/v1/{call}", self.url)).form(&form);
            self.attempt(request, decode.clone())
        };
        retry(deadline, attempt).await
    }

    async fn attempt<T, F>(&self, request: RequestBuilder, decode: F) -> Result<T, SourceError>
    where
        T: Send + 'static,
        F: Fn(&[u8]) -> Result<T, SourceError> + Send + 'static,
    {
        let answer = body::fetch(request, self.max_response_bytes).await?;
        if !(200..300).contains(&answer.status) {
            return Err(refused(answer.status, &answer.body));
        }
        // Decoding hundreds of megabytes must not hold up the other tasks.
        let decoded = tokio::task::spawn_blocking(move || decode(&answer.body)).await;
        decoded.unwrap_or_else(|_panicked| Err(SourceError::decoder()))
    }

    /// What `/api/v1/status/WHAT` says; `None` if the server has no such thing: only Prometheus itself has them all.
    async fn status<T: DeserializeOwned>(&self, what: &str, deadline: Deadline) -> Result<Option<T>, SourceError> {
        #[derive(Deserialize)]
        struct Answer<T> {
            data: T,
        }
        // So little that packing it costs the server more than sending it.
        let request =
            self.client.get(format!("{}/api/v1/status/{what}", self.url)).header("accept-encoding", "identity");
        let asked = tokio::time::timeout(deadline.remaining().to_std(), body::fetch(request, self.max_response_bytes));
        let answer = asked.await.map_err(|_elapsed| SourceError::Timeout(deadline.length()))??;
        match answer.status {
            500.. => Err(refused(answer.status, &answer.body)),
            _ => Ok(serde_json::from_slice(&answer.body).ok().map(|Answer { data }| data)),
        }
    }
}

/// Tries again while the error may pass and time is left, which each attempt is told.
async fn retry<T, F: Future<Output = Result<T, SourceError>>>(
    deadline: Deadline,
    attempt: impl Fn(Duration) -> F,
) -> Result<T, SourceError> {
    // What the last attempt met says more than that the time is over.
    let mut failure = SourceError::Timeout(deadline.length());
    let mut backoff = FIRST_BACKOFF;
    for tried in 1.. {
        let left = deadline.remaining();
        match tokio::time::timeout(left.to_std(), attempt(left)).await {
            Err(_elapsed) => break,
            Ok(Err(error)) if error.is_transient() && tried < ATTEMPTS && deadline.remaining() > backoff => {
                failure = error;
                tokio::time::sleep(backoff.to_std()).await;
                backoff = backoff.times(3.0);
            }
            Ok(result) => return result,
        }
    }
    Err(failure)
}

fn refused(status: u16, body: &[u8]) -> SourceError {
    if let Some(refusal) = answer::refusal(status, body) {
        return refusal;
    }
    let message = quote(&String::from_utf8_lossy(body));
    if status == 503 { SourceError::Unavailable(message) } else { SourceError::Http { status, message } }
}

fn read_poll(body: &[u8], request: &MetricRequest, max_series: usize) -> Result<PollBuilder, SourceError> {
    let mut series: Bounded<answer::Key, Vec<(f64, f64)>> = Bounded::new(max_series);
    let mut native = false;
    let read = answer::read(body, Shape::Result("vector"), |row: VectorRow| {
        native |= row.histogram.is_some();
        let bound = row.metric.bound();
        if let (Some(point), Some(buckets)) = (row.value, series.entry(row.metric.labels)) {
            buckets.push((bound, point.1));
        }
    });
    let Notes { warnings, partial } = read?;
    let mut poll = PollBuilder::new(warnings, partial);
    if native {
        poll.warnings.push(&format!("{}_bucket holds native histograms, which are not read", request.metric));
    }
    if series.overflowed {
        poll.overflow(&request.metric, max_series);
    }
    for (labels, buckets) in series.into_series() {
        poll.push(request, answer::owned(labels), buckets);
    }
    Ok(poll)
}

/// An instant as the API reads it.
fn seconds(at: Timestamp) -> String {
    format!("{}.{:03}", at.unix_ms().div_euclid(1000), at.unix_ms().rem_euclid(1000))
}
