//! Slack, PagerDuty and a signed webhook on one loopback port: they hold what is sent against the limits the real ones
//! document, answer as the real ones do, and fail on command. The server stops when the value is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use slowburn::clock::Clock;
use slowburn::engine::time::{Duration, Timestamp};
use standardwebhooks::Webhook;

/// Which receiver a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v2/enqueue`
    PagerDuty,
    /// `/services/...`
    Slack,
    /// Everything else.
    Webhook,
}

/// What goes wrong with one request instead of its being judged.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The request is read and nothing is ever answered.
    Hang,
    /// The request is read and the connection closed.
    Cut,
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
}

/// A request as it came, and the status it was answered with.
#[derive(Debug, Clone)]
pub struct Seen {
    pub kind: Kind,
    pub at: Timestamp,
    pub headers: HeaderMap,
    pub body: Value,
    /// `None` for a hang or a cut.
    pub status: Option<u16>,
}

/// The running fakes.
pub struct Fakes {
    /// `http://127.0.0.1:PORT`
    pub base: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    /// The path of the one Slack webhook there is.
    slack_path: String,
    /// Verifies what webhooks are sent, if they are to be signed.
    webhook: Option<Webhook>,
    seen: Mutex<Vec<Seen>>,
    faults: Mutex<VecDeque<(Kind, Fault)>>,
}

impl Fakes {
    /// `signing_secret` is what webhooks must be signed with.
    pub async fn start(slack_path: &str, signing_secret: Option<&str>) -> Self {
        let shared = Arc::new(Shared {
            slack_path: slack_path.to_owned(),
            webhook: signing_secret.map(|secret| Webhook::new(secret).unwrap()),
            seen: Mutex::default(),
            faults: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(receive).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { base, shared, server }
    }

    /// The next request of this kind that has no fault waiting gets this one.
    pub fn fail(&self, kind: Kind, fault: Fault) {
        self.shared.faults.lock().unwrap().push_back((kind, fault));
    }

    /// All requests so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Fakes {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fault {
    pub fn status(status: u16, body: &str) -> Self {
        Self::Answer { status, headers: vec![], body: body.to_owned() }
    }

    pub fn with_header(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Answer { status, mut headers, body } => {
                headers.push((name, value.to_owned()));
                Self::Answer { status, headers, body }
            }
            other => other,
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, raw: Bytes) -> Response {
    let kind = match uri.path() {
        "/v2/enqueue" => Kind::PagerDuty,
        path if path.starts_with("/services/") => Kind::Slack,
        _ => Kind::Webhook,
    };
    let answer = match shared.next_fault(kind) {
        Some(fault @ (Fault::Hang | Fault::Cut)) => {
            shared.record(kind, headers, &raw, None);
            if let Fault::Hang = fault {
                std::future::pending::<()>().await;
            }
            // Ends the connection's task without a word on stderr.
            std::panic::resume_unwind(Box::new("cut"));
        }
        Some(Fault::Answer { status, headers, body }) => {
            let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
            answer
        }
        None => match kind {
            Kind::PagerDuty => shared.pagerduty(&raw),
            Kind::Slack => shared.slack(uri.path(), &raw),
            Kind::Webhook => shared.webhook(&headers, &raw),
        },
    };
    shared.record(kind, headers, &raw, Some(answer.status().as_u16()));
    answer
}

impl Shared {
    fn next_fault(&self, kind: Kind) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(of, _)| *of == kind)?;
        faults.remove(at).map(|(_, fault)| fault)
    }

    fn record(&self, kind: Kind, headers: HeaderMap, raw: &[u8], status: Option<u16>) {
        let body = serde_json::from_slice(raw).unwrap_or_default();
        self.seen.lock().unwrap().push(Seen { kind, at: Clock.now(), headers, body, status });
    }

    /// How many requests of this kind were taken since `window` ago.
    fn taken(&self, kind: Kind, window: Duration) -> usize {
        let from = Clock.now() - window;
        let is_recent = |seen: &&Seen| seen.kind == kind && seen.at > from && matches!(seen.status, Some(200..=299));
        self.seen.lock().unwrap().iter().filter(is_recent).count()
    }

    fn slack(&self, path: &str, raw: &[u8]) -> Response {
        if path != self.slack_path {
            return (StatusCode::NOT_FOUND, "no_service").into_response();
        }
        if self.taken(Kind::Slack, Duration::from_secs(1)) >= 1 {
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "rate_limited").into_response();
        }
        let verdict = match serde_json::from_slice(raw) {
            Ok(body) => slack_verdict(&body),
            Err(_) => Err("invalid_payload"),
        };
        match verdict {
            Ok(()) => (StatusCode::OK, "ok").into_response(),
            Err(word) => (StatusCode::BAD_REQUEST, word).into_response(),
        }
    }

    fn pagerduty(&self, raw: &[u8]) -> Response {
        let Ok(body) = serde_json::from_slice::<Value>(raw) else {
            return refusal(vec!["the event is not JSON".into()]);
        };
        if raw.len() > 512 * 1024 {
            return refusal(vec!["the event is larger than 512 KB".into()]);
        }
        // The real one counts by routing key; here there is one.
        if self.taken(Kind::PagerDuty, Duration::from_minutes(1)) >= 120 {
            let answer = json!({"status": "throttle exceeded", "message": "Requests for this service are arriving too quickly.", "errors": ["Enhance Your Calm."]});
            return (StatusCode::TOO_MANY_REQUESTS, axum::Json(answer)).into_response();
        }
        match pagerduty_verdict(&body) {
            Ok(()) => {
                let answer = json!({"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]});
                (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
            }
            Err(errors) => refusal(errors),
        }
    }

    fn webhook(&self, headers: &HeaderMap, raw: &[u8]) -> Response {
        match self.webhook.as_ref().map(|webhook| webhook.verify(raw, headers)) {
            Some(Err(error)) => (StatusCode::UNAUTHORIZED, error.to_string()).into_response(),
            Some(Ok(())) | None => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

fn refusal(errors: Vec<String>) -> Response {
    let answer = json!({"status": "invalid event", "message": "Event object is invalid", "errors": errors});
    (StatusCode::BAD_REQUEST, axum::Json(answer)).into_response()
}

/// What Slack says to a message. Characters are counted as UTF-16 units, the strictest reading.
pub fn slack_verdict(body: &Value) -> Result<(), &'static str> {
    let blocks = match &body["blocks"] {
        Value::Array(blocks) => blocks.as_slice(),
        Value::Null => &[],
        _ => return Err("invalid_blocks"),
    };
    if blocks.is_empty() && !is_text(&body["text"], 40_000) {
        return Err("no_text");
    }
    let fits = blocks.len() <= 50 && blocks.iter().all(is_block) && all_text(body) <= 13_000;
    if fits { Ok(()) } else { Err("invalid_blocks") }
}

fn is_block(block: &Value) -> bool {
    match block["type"].as_str() {
        Some("header") => is_text_object(&block["text"], &["plain_text"], 150),
        Some("section") => {
            let has_text = is_text_object(&block["text"], &["plain_text", "mrkdwn"], 3000);
            let is_field = |field: &Value| is_text_object(field, &["plain_text", "mrkdwn"], 2000);
            match &block["fields"] {
                Value::Null => has_text,
                Value::Array(fields) => {
                    (1..=10).contains(&fields.len())
                        && fields.iter().all(is_field)
                        && (has_text || block["text"].is_null())
                }
                _ => false,
            }
        }
        Some("context") => are(&block["elements"], 10, |it| is_text_object(it, &["plain_text", "mrkdwn"], 2000)),
        Some("actions") => are(&block["elements"], 25, |button| {
            button["type"] == "button"
                && is_text_object(&button["text"], &["plain_text"], 75)
                && is_text(&button["action_id"], 255)
                && is_text(&button["url"], 3000)
                && button["url"].as_str().is_some_and(|url| url.starts_with("http"))
        }),
        Some("divider") => true,
        _ => false,
    }
}

fn are(elements: &Value, max: usize, is_one: impl Fn(&Value) -> bool) -> bool {
    elements.as_array().is_some_and(|them| (1..=max).contains(&them.len()) && them.iter().all(is_one))
}

fn is_text_object(text: &Value, types: &[&str], max: usize) -> bool {
    text["type"].as_str().is_some_and(|it| types.contains(&it)) && is_text(&text["text"], max)
}

fn is_text(text: &Value, max: usize) -> bool {
    text.as_str().is_some_and(|text| (1..=max).contains(&text.encode_utf16().count()))
}

/// The length of all that is shown.
fn all_text(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(all_text).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) if name == "text" => text.encode_utf16().count(),
                other => all_text(other),
            })
            .sum(),
        _ => 0,
    }
}

/// What PagerDuty has to say against an event.
pub fn pagerduty_verdict(event: &Value) -> Result<(), Vec<String>> {
    let mut errors = Vec::new();
    let mut demand = |holds: bool, error: &str| {
        if !holds {
            errors.push(error.to_owned());
        }
    };
    let length = |value: &Value| value.as_str().map(|text| text.encode_utf16().count());
    let within = |value: &Value, max: usize| length(value).is_some_and(|n| (1..=max).contains(&n));
    let action = event["event_action"].as_str().unwrap_or_default();
    demand(length(&event["routing_key"]) == Some(32), "'routing_key' must be 32 characters long");
    demand(["trigger", "acknowledge", "resolve"].contains(&action), "'event_action' is missing or unknown");
    let may_lack_key = action == "trigger" && event["dedup_key"].is_null();
    demand(may_lack_key || within(&event["dedup_key"], 255), "'dedup_key' is missing, blank or too long");
    if action == "trigger" {
        let payload = &event["payload"];
        demand(within(&payload["summary"], 1024), "'payload.summary' is missing, blank or too long");
        demand(within(&payload["source"], usize::MAX), "'payload.source' is missing or blank");
        let severity = payload["severity"].as_str().unwrap_or_default();
        demand(["critical", "error", "warning", "info"].contains(&severity), "'payload.severity' is unknown");
        let is_link = |link: &Value| link["href"].as_str().is_some_and(|href| href.starts_with("http"));
        let links = event["links"].as_array();
        demand(event["links"].is_null() || links.is_some_and(|it| it.iter().all(is_link)), "'links' is invalid");
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
