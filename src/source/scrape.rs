//! Services' `/metrics` read directly, for those who run no Prometheus.
//!
//! A poll reads every target once, all at the same time, and never twice: what a target cannot say now it says at the
//! next slot. Series get an `instance` label, as Prometheus gives them one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::ACCEPT;

use crate::clock::Deadline;
use crate::config;
use crate::engine::histogram::{Labels, Poll};
use crate::engine::time::{Duration, Timestamp};
use crate::http::Scrubber;

use super::body;
use super::error::{SourceError, quote, scrubbed};
use super::exposition::{Format, Reader, Sample};
use super::gather::gather;
use super::plan::Plan;
use super::probe::Probe;
use super::series::PollBuilder;

/// The text formats; protobuf is not read here.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// A sample that says to be older than this is as good as gone, as in PromQL.
const LOOKBACK: Duration = Duration::from_minutes(5);
const TARGETS_AT_ONCE: usize = 64;

/// The targets and what is looked for in them. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub struct Scrape {
    client: reqwest::Client,
    targets: Arc<[Target]>,
    plan: Arc<Plan>,
    max_response_bytes: usize,
    max_series: usize,
    scrubber: Arc<Scrubber>,
}

#[derive(Debug)]
struct Target {
    url: Url,
    /// The `instance` label: host and port, and the path where those are not enough to tell two targets apart.
    instance: String,
}

impl Scrape {
    /// Refuses targets that are no addresses, or the same one twice.
    pub fn new(config: &config::Scrape, plan: Arc<Plan>) -> Result<Self, SourceError> {
        let client = crate::http::client(&config.http).map_err(|error| SourceError::Request(error.to_string()))?;
        let (max_response_bytes, max_series) = (config.max_response_bytes, config.max_series);
        let scrubber = Arc::new(Scrubber::new(&crate::http::secrets(&config.http)));
        Ok(Self { client, targets: targets(&config.targets)?, plan, max_response_bytes, max_series, scrubber })
    }

    /// What the targets show now, for the slot `slot`. A target that fails makes the poll partial; it is an error if
    /// all of them fail.
    pub async fn poll(&self, slot: Timestamp, deadline: Duration) -> Result<Poll, SourceError> {
        scrubbed(&self.scrubber, self.poll_all(slot, deadline).await, |poll| &mut poll.warnings)
    }

    async fn poll_all(&self, slot: Timestamp, deadline: Duration) -> Result<Poll, SourceError> {
        let deadline = Deadline::after(deadline);
        let scrape = |index| {
            let scrape = self.clone();
            async move { scrape.target(index, slot, deadline).await }
        };
        let results = gather((0..self.targets.len()).map(scrape).collect(), TARGETS_AT_ONCE).await;
        let mut poll = PollBuilder::default();
        let mut failures = Vec::new();
        for (target, result) in self.targets.iter().zip(results) {
            match result.unwrap_or_else(|| Err(SourceError::decoder())) {
                Ok(part) => poll.extend(part),
                Err(error) => failures.push(format!("{}: {error}", target.instance)),
            }
        }
        if failures.len() == self.targets.len() {
            return Err(SourceError::AllTargets(quote(&failures.join("; "))));
        }
        poll.partial |= !failures.is_empty();
        failures.iter().for_each(|failure| poll.warnings.push(failure));
        Ok(poll.finish())
    }

    /// What the targets' histograms look like now; nothing is known of their past.
    pub async fn probe(&self, now: Timestamp, deadline: Duration) -> Result<Probe, SourceError> {
        Ok(Probe::from_poll(&self.plan, self.poll(now, deadline).await?))
    }

    /// The poll that a text in Prometheus' format comes to, as if the first target had shown it for `slot`.
    pub fn read(&self, text: &str, slot: Timestamp) -> Result<Poll, SourceError> {
        let instance = self.targets.first().map_or("", |target| &target.instance);
        let format = Format::Prometheus;
        Ok(read_metrics(text.as_bytes(), format, &self.plan, instance, self.max_series, slot)?.finish())
    }

    async fn target(&self, index: usize, slot: Timestamp, deadline: Deadline) -> Result<PollBuilder, SourceError> {
        let read = async {
            let request = self.client.get(self.targets[index].url.clone()).header(ACCEPT, ACCEPTED);
            let answer = body::fetch(request, self.max_response_bytes).await?;
            if answer.status != 200 {
                let message = quote(&String::from_utf8_lossy(&answer.body));
                return Err(SourceError::Http { status: answer.status, message });
            }
            let format = format(&answer.content_type)?;
            let (plan, targets, max_series) = (Arc::clone(&self.plan), Arc::clone(&self.targets), self.max_series);
            let decode = move || read_metrics(&answer.body, format, &plan, &targets[index].instance, max_series, slot);
            tokio::task::spawn_blocking(decode).await.unwrap_or_else(|_panicked| Err(SourceError::decoder()))
        };
        let left = deadline.remaining().to_std();
        tokio::time::timeout(left, read).await.unwrap_or(Err(SourceError::Timeout(deadline.length())))
    }
}

fn targets(urls: &[String]) -> Result<Arc<[Target]>, SourceError> {
    let mut by_address: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    for text in urls {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some((url, host)) = url.and_then(|url| url.host_str().map(str::to_owned).map(|host| (url, host))) else {
            return Err(SourceError::Request("a target is not an http:// or https:// address".into()));
        };
        let port = url.port_or_known_default().unwrap_or(80);
        by_address.entry(format!("{host}:{port}")).or_default().push(url);
    }
    let mut targets = BTreeMap::new();
    for (address, urls) in by_address {
        let alone = urls.len() == 1;
        for url in urls {
            let instance = if alone { address.clone() } else { format!("{address}{}", url.path()) };
            if targets.insert(instance.clone(), Target { url, instance: instance.clone() }).is_some() {
                return Err(SourceError::Request(format!("the target {instance} is listed twice")));
            }
        }
    }
    Ok(targets.into_values().collect())
}

fn format(content_type: &str) -> Result<Format, SourceError> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        // Some exporters send no type at all.
        "text/plain" | "" => Ok(Format::Prometheus),
        _ => Err(SourceError::ContentType(quote(content_type))),
    }
}

/// Sorted by name.
type SeriesLabels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// One bucket: its bound, when it was taken if the target says so, its count.
type Bucket = (f64, Option<i64>, f64);

/// The histograms of the plan among a target's metrics.
fn read_metrics(
    body: &[u8],
    format: Format,
    plan: &Plan,
    instance: &str,
    max_series: usize,
    slot: Timestamp,
) -> Result<PollBuilder, SourceError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| SourceError::Exposition(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    let oldest_ms = (slot - LOOKBACK).unix_ms();
    let mut series: BTreeMap<(usize, SeriesLabels), Vec<Bucket>> = BTreeMap::new();
    for (count, sample) in Reader::new(text, format).enumerate() {
        let sample = sample.map_err(|error| SourceError::Exposition(error.to_string()))?;
        if count >= max_series {
            return Err(SourceError::TooManySeries { limit: max_series });
        }
        let metric = sample.name.strip_suffix("_bucket").and_then(|name| plan.position(name));
        if let Some(metric) = metric
            && sample.timestamp_ms.is_none_or(|ms| ms >= oldest_ms)
        {
            let (labels, bucket) = bucket(sample);
            series.entry((metric, labels)).or_default().push(bucket);
        }
    }
    let mut poll = PollBuilder::default();
    for ((metric, labels), buckets) in series {
        poll.push(&plan.requests[metric], with_instance(labels, instance), newest(buckets));
    }
    Ok(poll)
}

/// A sample's labels, sorted and without `le`, and the bucket.
fn bucket(sample: Sample<'_>) -> (SeriesLabels<'_>, Bucket) {
    let Sample { mut labels, value, timestamp_ms, .. } = sample;
    let le = labels.iter().position(|(name, _)| name == "le").map(|place| labels.swap_remove(place).1);
    labels.sort_unstable();
    (labels, (le.and_then(|le| le.parse().ok()).unwrap_or(f64::NAN), timestamp_ms, value))
}

/// Of a bucket that occurs with several timestamps, the newest. Two without any are two equal bounds.
fn newest(mut buckets: Vec<Bucket>) -> Vec<(f64, f64)> {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    buckets.dedup_by(|later, kept| later.0 == kept.0 && later.1 < kept.1);
    buckets.into_iter().map(|(bound, _, count)| (bound, count)).collect()
}

/// Adds the `instance` label; one that the service set itself becomes `exported_instance`, as in Prometheus.
fn with_instance(labels: SeriesLabels<'_>, instance: &str) -> Labels {
    let mut labels: Labels = labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    if let Some(own) = labels.insert("instance".to_owned(), instance.to_owned()) {
        let mut name = "exported_instance".to_owned();
        while labels.contains_key(&name) {
            name.insert_str(0, "exported_");
        }
        labels.insert(name, own);
    }
    labels
}
