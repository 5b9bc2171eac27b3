//! What can go wrong between slowburn and a source, told apart so that each has its own remedy.

use thiserror::Error;

use crate::engine::time::Duration;
use crate::http::Scrubber;

/// The longest piece of a server's own words that is repeated, in characters.
const QUOTE_CHARS: usize = 300;

/// Why a source gave nothing. Bounded in length and free of secrets and addresses.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SourceError {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no complete answer within {0}")]
    Timeout(Duration),
    /// A 503 in plain text: Prometheus says so while it starts or stops.
    #[error("the server is not ready: {0}")]
    Unavailable(String),
    /// An error in the terms of the API, with its `errorType`.
    #[error("the server refused the query ({status} {kind}): {message}")]
    Api { status: u16, kind: String, message: String },
    #[error("the server answered {status}: {message}")]
    Http { status: u16, message: String },
    #[error("the server redirects ({status}) to {location}; write the final address as the source's url")]
    Redirect { status: u16, location: String },
    /// The connection broke, or the text ended, before the answer was whole.
    #[error("the answer is cut off: {0}")]
    Truncated(String),
    #[error("the answer is not JSON: {0}")]
    NotJson(String),
    #[error("the answer is not the protobuf it should be: {0}")]
    Protobuf(String),
    /// JSON, but not what this call answers: a matrix for a vector, a number for a string.
    #[error("the answer has the wrong shape: {0}")]
    WrongShape(String),
    #[error("the answer is larger than {limit_bytes} bytes; ask for less or raise max_response_bytes")]
    TooLarge { limit_bytes: usize },
    #[error("{slots} slots in one slice; at most {limit}")]
    TooManySlots { slots: usize, limit: usize },
    /// The request could not even be made.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// A target's `/metrics` is in a format that is not read here.
    #[error("the content type {0:?} is not one of text/plain and application/openmetrics-text")]
    ContentType(String),
    #[error("the metrics cannot be read: {0}")]
    Exposition(String),
    #[error("more than {limit} series in one answer; raise max_series or drop labels")]
    TooManySeries { limit: usize },
    /// Native histograms, where classic ones with buckets are needed. The selectors.
    #[error(
        "{0}: this is a native histogram only, and slowburn reads classic buckets; have it scraped as both \
         (always_scrape_classic_histograms: true, or scrape_classic_histograms before Prometheus 3)"
    )]
    Native(String),
    /// A file that is damaged, cut off, or something else than it should be. `place` is a line or a byte.
    #[error("{file} is broken at {place}: {why}")]
    File { file: String, place: String, why: String },
    #[error("cannot read '{file}': {why}")]
    Unreadable { file: String, why: String },
    #[error("every target failed: {0}")]
    AllTargets(String),
}

impl SourceError {
    /// For a decoder that panicked, which is a fault of ours that must not take the daemon down.
    pub(super) fn decoder() -> Self {
        SourceError::WrongShape("reading it failed unexpectedly".into())
    }

    /// The same without secrets that a server repeated.
    fn scrubbed(mut self, scrubber: &Scrubber) -> Self {
        let redact = |said: &mut String| *said = scrubber.redact(said);
        match &mut self {
            SourceError::Api { kind, message, .. } => [kind, message].into_iter().for_each(redact),
            SourceError::File { place, why, .. } => [place, why].into_iter().for_each(redact),
            SourceError::Connect(said)
            | SourceError::Unavailable(said)
            | SourceError::Http { message: said, .. }
            | SourceError::Redirect { location: said, .. }
            | SourceError::Truncated(said)
            | SourceError::NotJson(said)
            | SourceError::Protobuf(said)
            | SourceError::WrongShape(said)
            | SourceError::Request(said)
            | SourceError::ContentType(said)
            | SourceError::Exposition(said)
            | SourceError::Native(said)
            | SourceError::Unreadable { why: said, .. }
            | SourceError::AllTargets(said) => redact(said),
            SourceError::Timeout(_)
            | SourceError::TooLarge { .. }
            | SourceError::TooManySlots { .. }
            | SourceError::TooManySeries { .. } => {}
        }
        self
    }

    /// Whether the same request may well succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            SourceError::Connect(_) | SourceError::Unavailable(_) | SourceError::Truncated(_) => true,
            // Mimir answers 422 when its storage fails for a moment.
            SourceError::Api { status, .. } | SourceError::Http { status, .. } => {
                matches!(status, 422 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// A word for metrics and logs, from a small fixed set.
    pub fn kind(&self) -> &'static str {
        match self {
            SourceError::Connect(_) => "connect",
            SourceError::Timeout(_) => "timeout",
            SourceError::Unavailable(_) => "unavailable",
            SourceError::Api { .. } => "refused",
            SourceError::Http { .. } => "http_status",
            SourceError::Redirect { .. } => "redirect",
            SourceError::Truncated(_) => "truncated",
            SourceError::NotJson(_) => "not_json",
            SourceError::Protobuf(_) => "not_protobuf",
            SourceError::WrongShape(_) => "wrong_shape",
            SourceError::TooLarge { .. } => "too_large",
            SourceError::TooManySlots { .. } => "too_many_slots",
            SourceError::Request(_) => "request",
            SourceError::ContentType(_) => "content_type",
            SourceError::Exposition(_) => "exposition",
            SourceError::TooManySeries { .. } => "too_many_series",
            SourceError::Native(_) => "native_histogram",
            SourceError::File { .. } | SourceError::Unreadable { .. } => "file",
            SourceError::AllTargets(_) => "all_targets",
        }
    }
}

/// What a source has to say, without secrets that a server repeated in its errors or `warnings`.
pub(super) fn scrubbed<T>(
    scrubber: &Scrubber,
    result: Result<T, SourceError>,
    warnings: impl FnOnce(&mut T) -> &mut Vec<String>,
) -> Result<T, SourceError> {
    let mut answer = result.map_err(|error| error.scrubbed(scrubber))?;
    warnings(&mut answer).iter_mut().for_each(|warning| *warning = scrubber.redact(warning));
    Ok(answer)
}

/// The beginning of what a server said, on one line.
pub(super) fn quote(text: &str) -> String {
    let mut line: String =
        text.trim().chars().take(QUOTE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().nth(QUOTE_CHARS).is_some() {
        line.push('…');
    }
    if line.is_empty() { "(nothing)".into() } else { line }
}
