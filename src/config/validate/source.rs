//! Where histograms come from.

use crate::config::decode::{Field, Spanned, clipped};
use crate::config::diagnostic::Diagnostic;
use crate::config::types::{Bytes, MaybeZero, Url};
use crate::config::{Prometheus, Scrape, Source, raw};
use crate::engine::time::Duration;

use super::names::report_repeats;
use super::{Context, http};

const DEFAULT_BLIND_AFTER: u32 = 3;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_DELAY: Duration = Duration::from_secs(2);
const DEFAULT_MAX_RESPONSE: Bytes = Bytes(64 << 20);
const DEFAULT_MAX_SERIES: u32 = 50_000;

/// The source, and after how many polls without an answer it counts as out of sight.
pub(super) fn source(raw: &raw::Source, context: &mut Context<'_>) -> Option<(Source, u32)> {
    let blind_after = blind_after(&raw.blind_after, context);
    let prometheus = raw.prometheus.value().and_then(|raw| prometheus(raw, context)).map(Source::Prometheus);
    let scrape = raw.scrape.value().and_then(|raw| scrape(raw, context)).map(Source::Scrape);
    if let (Some(prometheus), Some(scrape)) = (raw.prometheus.key(), raw.scrape.key()) {
        let message = "both 'prometheus' and 'scrape' are given; histograms come from one source";
        context.findings.add(Diagnostic::error(scrape, message).also(prometheus, "the other").help("keep one"));
    }
    if raw.prometheus.is_absent() && raw.scrape.is_absent() {
        let diagnostic = Diagnostic::error(raw.at, "'source' needs 'prometheus' or 'scrape'");
        context.findings.add(diagnostic.help("write prometheus: {url: 'http://localhost:9090'}"));
    }
    Some((prometheus.or(scrape)?, blind_after))
}

/// A poll may take until the next one is due: the whole interval, however late polls are made.
fn timeout(field: &Field<Duration>, context: &mut Context<'_>) -> Duration {
    let interval = context.interval;
    let Some(&Spanned { value: timeout, span }) = field.get() else { return DEFAULT_TIMEOUT.min(interval) };
    if timeout > interval {
        let message = format!("a timeout of {timeout} is longer than the interval {interval}");
        let help = "a poll is cut off when the next is due";
        context.findings.add(Diagnostic::warning(span, message).help(help));
    }
    timeout
}

fn blind_after(field: &Field<u32>, context: &mut Context<'_>) -> u32 {
    match field.get() {
        Some(Spanned { value: 0, span }) => {
            context.findings.error(*span, "'blind_after' must be at least 1");
            DEFAULT_BLIND_AFTER
        }
        Some(polls) => polls.value,
        None => DEFAULT_BLIND_AFTER,
    }
}

fn prometheus(raw: &raw::Prometheus, context: &mut Context<'_>) -> Option<Prometheus> {
    let delay = raw.delay.copied().unwrap_or(MaybeZero(DEFAULT_DELAY)).0;
    let timeout = timeout(&raw.timeout, context);
    let http = http::client(&raw.http, context);
    let url = base_url(&raw.url, context);
    let external_url = base_url(&raw.external_url, context);
    let max_response_bytes = raw.max_response_bytes.copied().unwrap_or(DEFAULT_MAX_RESPONSE).0;
    let url = url?;
    let external_url = external_url.unwrap_or_else(|| url.clone());
    Some(Prometheus { url, external_url, timeout, delay, max_response_bytes, http })
}

/// Without a trailing slash, so that paths can be added to it.
fn base_url(field: &Field<Url>, context: &mut Context<'_>) -> Option<String> {
    let Spanned { value: Url(url), span } = field.get()?;
    if url.contains('?') {
        context.findings.error(*span, "a base address cannot hold a '?': paths are added to it");
    }
    if let Some(api) = url.find("/api/v1") {
        let diagnostic = Diagnostic::error(*span, "the base address is wanted, without /api/v1");
        context.findings.add(diagnostic.help(format!("write {}", clipped(&url[..api]))));
    }
    Some(url.trim_end_matches('/').to_owned())
}

fn scrape(raw: &raw::Scrape, context: &mut Context<'_>) -> Option<Scrape> {
    let http = http::client(&raw.http, context);
    let targets = raw.targets.get()?;
    if targets.value.is_empty() {
        context.findings.error(targets.span, "'targets' is empty: nothing would be scraped");
    }
    let timeout = timeout(&raw.timeout, context);
    let names: Vec<_> =
        targets.value.iter().map(|Spanned { value, span }| Spanned { value: value.0.clone(), span: *span }).collect();
    report_repeats(&names, context.findings);
    if let Some(Spanned { value: 0, span }) = raw.max_series.get() {
        context.findings.error(*span, "'max_series' must be at least 1");
    }
    Some(Scrape {
        targets: names.into_iter().map(|target| target.value).collect(),
        timeout,
        max_response_bytes: raw.max_response_bytes.copied().unwrap_or(DEFAULT_MAX_RESPONSE).0,
        max_series: raw.max_series.copied().unwrap_or(DEFAULT_MAX_SERIES) as usize,
        http,
    })
}
