//! Remote read: the server's chunks as they are stored, stale markers included.
//!
//! The server neither decodes nor evaluates anything, so a month costs it as much as reading a file. What is asked for
//! and what comes back is what a range query would have said; only [`super::history`] needs to know that it came by
//! another way. Where the two could differ, the range query is asked.
//!
//! Source: Prometheus' `prompb/remote.proto` and `storage/remote/read_handler.go`.

mod message;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use prost::bytes::Bytes;
use reqwest::RequestBuilder;
use tokio::sync::OnceCell;

use crate::clock::Deadline;
use crate::config;
use crate::config::selector::{LabelMatcher, MatchOp};
use crate::config::units::duration;
use crate::engine::histogram::Labels;
use crate::engine::time::Duration;
use crate::source::body;
use crate::source::chunks::{Answer, ChunkedReadResponse, Collector, Frames, OutOfRoom};
use crate::source::error::SourceError;
use crate::source::gather::gather;
use crate::source::sampler::{Grid, Lookback};

use self::message::{Matcher, Query, ReadRequest};
use super::{Prometheus, refused, retry};

const STREAMED: &str = "application/x-streamed-protobuf";
/// Chunks in memory may take so many times the largest answer: each has its own place beside its bytes.
const ROOM_FACTOR: usize = 2;

/// Requests that share what is asked for of one metric.
const READS_AT_ONCE: usize = 2;

/// What a server is known to do; found out once.
#[derive(Debug, Default)]
pub(super) struct Remote {
    missing: AtomicBool,
    /// It refuses queries over a range and exports samples.
    pub exports: AtomicBool,
    lookback: OnceCell<Lookback>,
    /// `None` where the server does not say.
    external_labels: OnceCell<Option<Labels>>,
}

impl Prometheus {
    /// Whether chunks are worth asking for: false once the server has said that it hands over none.
    pub(super) fn may_have_chunks(&self) -> bool {
        !self.remote.missing.load(Ordering::Relaxed)
    }

    /// The chunks behind the selectors that the slots of `grid` need, if each looks back by `lookback`; `None` if this
    /// server has no remote read.
    pub(super) async fn read_chunks(
        &self,
        selectors: &[Vec<LabelMatcher>],
        grid: Grid,
        lookback: Duration,
        deadline: Deadline,
    ) -> Result<Option<Answer>, SourceError> {
        if !self.may_have_chunks() {
            return Ok(None);
        }
        let share = selectors.len().div_ceil(self.reads_at_once()).max(1);
        let reads = selectors.chunks(share).map(|selectors| {
            let (prometheus, body) = (self.clone(), Bytes::from(request(selectors, grid, lookback)));
            async move { prometheus.read(body, deadline).await }
        });
        let mut all = Collector::new(0);
        for read in gather(reads.collect(), READS_AT_ONCE).await {
            match read.unwrap_or_else(|| Err(SourceError::decoder()))? {
                Some(collected) => all.join(collected),
                None => return Ok(None),
            }
        }
        Ok(Some(all.finish()))
    }

    /// A server reads what one request asks for on one of its processors. Several metrics are several requests.
    fn reads_at_once(&self) -> usize {
        if self.plan.requests.len() == 1 { READS_AT_ONCE } else { 1 }
    }

    async fn read(&self, body: Bytes, deadline: Deadline) -> Result<Option<Collector>, SourceError> {
        // The protocol has no timeout of its own.
        let asked = retry(deadline, |_left| {
            let request = self
                .client
                .post(format!("{}/api/v1/read", self.url))
                .header("content-type", "application/x-protobuf")
                .header("content-encoding", "snappy")
                .header("x-prometheus-remote-read-version", "0.1.0")
                .body(body.clone());
            self.stream(request)
        });
        match asked.await {
            Ok(collected) => Ok(Some(collected)),
            Err(error) if is_missing(&error) => {
                self.remote.missing.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes frames as they come, so that no answer is ever there twice.
    async fn stream(&self, request: RequestBuilder) -> Result<Collector, SourceError> {
        let mut pieces = match body::pieces(request, self.max_response_bytes).await? {
            Ok(pieces) => pieces,
            Err(answer) => return Err(refused(answer.status, &answer.body)),
        };
        if !pieces.content_type().starts_with(STREAMED) {
            return Err(SourceError::ContentType(pieces.content_type().to_owned()));
        }
        let mut unpacking = Unpacking::new(self.max_response_bytes);
        while let Some(piece) = pieces.next().await? {
            unpacking.take(&piece)?;
        }
        unpacking.finish()
    }

    /// The labels that the server adds to all it hands out; `None` if it does not say.
    pub(super) async fn external_labels(&self, deadline: Deadline) -> Result<Option<&Labels>, SourceError> {
        #[derive(serde::Deserialize)]
        struct Config {
            yaml: String,
        }
        let ask = async || {
            let config = self.status::<Config>("config", deadline).await?;
            let labels = |config: Config| config::texts_at(&config.yaml, &["global", "external_labels"]);
            Ok(config.and_then(labels).map(Labels::from_iter))
        };
        self.remote.external_labels.get_or_try_init(ask).await.map(Option::as_ref)
    }

    /// How far a query looks back on this server: what its flags and version say, or the default where it has neither.
    pub(super) async fn lookback(&self, deadline: Deadline) -> Lookback {
        // A server that did not answer may do so next time.
        let known = self.remote.lookback.get_or_try_init(|| self.ask_lookback(deadline)).await;
        known.copied().unwrap_or_default()
    }

    async fn ask_lookback(&self, deadline: Deadline) -> Result<Lookback, SourceError> {
        #[derive(serde::Deserialize)]
        struct Flags {
            #[serde(rename = "query.lookback-delta")]
            lookback_delta: String,
        }
        #[derive(serde::Deserialize)]
        struct Build {
            version: String,
        }
        let known = Lookback::default();
        let flags = self.status::<Flags>("flags", deadline).await?;
        let build = self.status::<Build>("buildinfo", deadline).await?;
        let length = flags.and_then(|flags| duration(&flags.lookback_delta).ok()).unwrap_or(known.length);
        Ok(Lookback { length, closed: build.is_some_and(|build| looks_back_closed(&build.version)) })
    }
}

/// Whether a sample exactly as old as the lookback counts: it did until Prometheus 3.
fn looks_back_closed(version: &str) -> bool {
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major < 3)
}

/// A server without remote read, or a proxy that lets only queries pass, says so in one of these ways.
pub(super) fn is_missing(error: &SourceError) -> bool {
    match error {
        SourceError::ContentType(_) | SourceError::Redirect { .. } => true,
        SourceError::Api { status, .. } | SourceError::Http { status, .. } => {
            (400..500).contains(status) && !matches!(status, 408 | 422 | 429) || *status == 501
        }
        _ => false,
    }
}

fn request(selectors: &[Vec<LabelMatcher>], grid: Grid, lookback: Duration) -> Vec<u8> {
    let matcher = |matcher: &LabelMatcher| Matcher {
        kind: match matcher.op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        },
        name: matcher.name.clone(),
        value: matcher.value.clone(),
    };
    let query = |matchers: &Vec<LabelMatcher>| Query {
        start_timestamp_ms: (grid.from - lookback).unix_ms(),
        end_timestamp_ms: grid.last().unix_ms(),
        matchers: matchers.iter().map(matcher).collect(),
    };
    ReadRequest::of(selectors.iter().map(query).collect()).packed()
}

/// An answer that is being read.
struct Unpacking {
    frames: Frames,
    collector: Collector,
    max_bytes: usize,
}

impl Unpacking {
    fn new(max_bytes: usize) -> Self {
        let collector = Collector::new(max_bytes.saturating_mul(ROOM_FACTOR));
        Self { frames: Frames::default(), collector, max_bytes }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), SourceError> {
        self.frames.push(piece, keep(&mut self.collector, self.max_bytes))
    }

    fn finish(mut self) -> Result<Collector, SourceError> {
        self.frames.finish(keep(&mut self.collector, self.max_bytes))?;
        Ok(self.collector)
    }
}

fn keep(collector: &mut Collector, limit_bytes: usize) -> impl FnMut(ChunkedReadResponse) -> Result<(), SourceError> {
    move |message| collector.take(message).map_err(|OutOfRoom| SourceError::TooLarge { limit_bytes })
}

/// Whether the server would take one of these matchers for one on a label that it adds, which no series has there.
pub(super) fn selects_external(selectors: &[Vec<LabelMatcher>], external: Option<&Labels>) -> bool {
    let is_external = |name: &String| external.is_some_and(|external| external.contains_key(name));
    selectors.iter().flatten().any(|matcher| is_external(&matcher.name))
}

/// Takes away what the server adds to every series it hands out and to none that it answers queries with: its external
/// labels. `known` are the series as queries name them. `false` if what is left is not among them.
pub(super) fn as_queries_name_them(
    answer: &mut Answer,
    external: Option<&Labels>,
    known: &BTreeMap<Labels, impl Sized>,
) -> bool {
    let external = match external {
        Some(external) => external.clone(),
        // What all series have here, and not all have there.
        None => {
            let own = common(known.keys());
            let mut external = common(answer.series.iter().map(|series| &series.labels));
            external.retain(|name, value| own.get(name) != Some(value));
            external
        }
    };
    for series in &mut answer.series {
        if !known.contains_key(&series.labels) {
            series.labels.retain(|name, value| external.get(name) != Some(value));
        }
    }
    answer.series.iter().all(|series| known.contains_key(&series.labels))
}

/// The labels that all of them have.
fn common<'a>(mut series: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut common = series.next().cloned().unwrap_or_default();
    series.for_each(|labels| common.retain(|name, value| labels.get(name) == Some(value)));
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::chunks::tests::{frame, series};

    const M: [(&str, &str); 2] = [("__name__", "m_bucket"), ("le", "+Inf")];

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let whole = frame(&series(0, &M, &[(0, 1.0), (60_000, 2.0)]));
        let kind = |body: &[u8], max_bytes| {
            let mut unpacking = Unpacking::new(max_bytes);
            let taken = unpacking.take(body).and_then(|()| unpacking.finish()).map(Collector::finish);
            taken.map_err(|error| error.kind())
        };
        assert_eq!(kind(&whole, 1000).unwrap().series.len(), 1);
        assert!(kind(&[], 1000).unwrap().series.is_empty());
        assert_eq!(kind(&whole[..whole.len() - 1], 1000).unwrap_err(), "truncated");
        assert_eq!(kind(&whole, 8).unwrap_err(), "too_large");
    }

    #[test]
    fn versions_before_3_look_back_one_sample_further() {
        let closed = ["2.42.0", "2.42.0+ds", "v2.55.1", "1.8.2"];
        let open = ["3.0.0", "3.11.1", "v3.0.0-rc.0", "10.1", "", "unknown", "mimir-2.14"];
        assert!(closed.iter().all(|version| looks_back_closed(version)));
        assert!(!open.iter().any(|version| looks_back_closed(version)));
    }

    #[test]
    fn what_says_that_there_is_no_remote_read() {
        let http = |status| SourceError::Http { status, message: String::new() };
        let api = |status| SourceError::Api { status, kind: String::new(), message: String::new() };
        for status in [400, 401, 403, 404, 405, 406, 415, 501] {
            assert!(is_missing(&http(status)) && is_missing(&api(status)), "{status}");
        }
        for status in [408, 422, 429, 500, 502, 503, 504] {
            assert!(!is_missing(&http(status)), "{status}");
        }
        assert!(!is_missing(&SourceError::TooLarge { limit_bytes: 1 }));
    }

    #[test]
    fn external_labels_are_taken_away_and_own_ones_are_not() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let check = |external: Option<Pairs>, known: &[Pairs], answered: &[Pairs], expected: Option<&[Pairs]>| {
            let known: BTreeMap<Labels, ()> = known.iter().map(|pairs| (labels(pairs), ())).collect();
            let mut answer = Answer::default();
            for pairs in answered {
                let mut collector = Collector::new(1_000);
                let all: Vec<(&str, &str)> = M.iter().chain(*pairs).copied().collect();
                collector.take(series(0, &all, &[(0, 1.0)])).unwrap();
                answer.series.extend(collector.finish().series);
            }
            let agrees = as_queries_name_them(&mut answer, external.map(labels).as_ref(), &known);
            let found: Vec<Labels> = answer.series.into_iter().map(|series| series.labels).collect();
            let expected = expected.map(|expected| expected.iter().map(|pairs| labels(pairs)).collect::<Vec<_>>());
            assert_eq!(agrees.then_some(found), expected);
        };
        let eu = ("region", "eu");
        let (a, b) = (("pod", "a"), ("pod", "b"));
        for external in [Some(&[eu][..]), None] {
            check(external, &[&[a], &[b]], &[&[a, eu], &[b, eu]], Some(&[&[a], &[b]]));
            // One of them has the label itself.
            check(external, &[&[a], &[b, eu]], &[&[a, eu], &[b, eu]], Some(&[&[a], &[b, eu]]));
            check(external, &[&[a]], &[], Some(&[]));
            // A server that adds more than can be told apart is asked in another way.
            check(external, &[&[a]], &[&[a, eu], &[b, ("region", "us")]], None);
        }
        // All of them have it themselves.
        check(None, &[&[a, eu], &[b, eu]], &[&[a, eu], &[b, eu]], Some(&[&[a, eu], &[b, eu]]));
        check(Some(&[]), &[&[a]], &[&[a, eu]], None);
    }
}
