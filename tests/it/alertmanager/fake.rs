//! An Alertmanager of which only `POST /api/v2/alerts` is there: it judges alerts as the real one does, keeps those it
//! takes, and fails on command.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// A running instance; it stops when the value is dropped.
pub struct Fake {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// The newest post of each alert, by its labels.
    alerts: BTreeMap<String, Value>,
    headers: Vec<HeaderMap>,
    /// Bytes of each request.
    sizes: Vec<usize>,
    fault: Option<(u16, String)>,
    hangs: bool,
    /// An alert with this value of the label `rule` is refused.
    refused_rule: Option<String>,
}

impl Fake {
    pub async fn start() -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let limit = axum::extract::DefaultBodyLimit::max(1 << 20);
        let app = Router::new().route("/api/v2/alerts", post(receive)).layer(limit).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, server }
    }

    /// Answers with this from here on; with nothing special if there is no status.
    pub fn fail(&self, fault: Option<(u16, &str)>) {
        self.shared.lock().unwrap().fault = fault.map(|(status, body)| (status, body.to_owned()));
    }

    /// Answers nothing from here on.
    pub fn hang(&self) {
        self.shared.lock().unwrap().hangs = true;
    }

    pub fn refuse(&self, rule: &str) {
        self.shared.lock().unwrap().refused_rule = Some(rule.to_owned());
    }

    /// What it knows.
    pub fn alerts(&self) -> Vec<Value> {
        self.shared.lock().unwrap().alerts.values().cloned().collect()
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.shared.lock().unwrap().headers.clone()
    }

    pub fn sizes(&self) -> Vec<usize> {
        self.shared.lock().unwrap().sizes.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Arc<Mutex<Shared>>>, headers: HeaderMap, raw: Bytes) -> Response {
    let answer = {
        let mut shared = shared.lock().unwrap();
        shared.headers.push(headers);
        shared.sizes.push(raw.len());
        if shared.hangs { None } else { Some(shared.judge(&raw)) }
    };
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

impl Shared {
    fn judge(&mut self, raw: &[u8]) -> Response {
        if let Some((status, body)) = &self.fault {
            return (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response();
        }
        let Ok(Value::Array(alerts)) = serde_json::from_slice(raw) else {
            let body = json!({"code": 400, "message": "parsing alerts body from \"\" failed"});
            return (StatusCode::BAD_REQUEST, axum::Json(body)).into_response();
        };
        let mut errors = String::new();
        for alert in alerts {
            match verdict(&alert, self.refused_rule.as_deref()) {
                Ok(()) => drop(self.alerts.insert(alert["labels"].to_string(), alert)),
                Err(error) => errors += &format!("\n\t* {error}"),
            }
        }
        if errors.is_empty() {
            return StatusCode::OK.into_response();
        }
        (StatusCode::BAD_REQUEST, axum::Json(format!("1 error occurred:{errors}\n\n"))).into_response()
    }
}

/// What Alertmanager has to say against an alert.
pub fn verdict(alert: &Value, refused_rule: Option<&str>) -> Result<(), String> {
    let labels = alert["labels"].as_object().ok_or("at least one label pair required")?;
    if labels.is_empty() {
        return Err("at least one label pair required".into());
    }
    if refused_rule.is_some_and(|rule| alert["labels"]["rule"] == rule) {
        return Err("invalid label set: it is the one that is refused".into());
    }
    for pairs in [labels, alert["annotations"].as_object().ok_or("no annotations")?] {
        for (name, value) in pairs {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(fits) || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(format!("invalid label set: invalid name {name:?}"));
            }
            // The real one takes these for missing, so two alerts may become one.
            if value.as_str().is_none_or(|value| value.trim().is_empty()) {
                return Err(format!("the value of {name:?} is empty"));
            }
        }
    }
    let [from, to] = ["startsAt", "endsAt"].map(|key| alert[key].as_str().unwrap_or_default());
    // These sort as text.
    if from.is_empty() || to < from {
        return Err("start time must be before end time".into());
    }
    Ok(())
}
