//! The routes and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::telemetry::exposition::Exposition;
use crate::telemetry::metrics::{self, Durations, Facts};

use super::entrance::{self, Guards};
use super::{Asker, NoAnswer, page, prometheus, silences};

/// Nobody has anything to say that is longer.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The page is one file; no other site may frame it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub asker: Asker,
    durations: Arc<Durations>,
}

pub fn router(asker: Asker, durations: Arc<Durations>, guards: Guards) -> Router {
    let only = |methods: MethodRouter<Server>| methods.fallback(wrong_method);
    Router::new()
        .route("/", only(get(page)))
        .route("/metrics", only(get(own_metrics)))
        .route("/-/reload", only(post(reload)))
        .route("/api/v1/status", only(get(status)))
        .route("/api/v1/incidents", only(get(incidents)))
        .route("/api/v1/alerts", only(get(alerts)))
        .route("/api/v1/rules", only(get(rules)))
        .route("/api/v1/silences", only(get(silences::list).post(silences::set)))
        .route("/api/v1/silences/{id}", only(get(silences::one).delete(silences::end)))
        .fallback(not_found)
        .layer(from_fn_with_state(guards, entrance::admit))
        // Whoever starts and watches processes asks these, and they tell nothing else.
        .route("/-/healthy", only(get(healthy)))
        .route("/-/ready", only(get(ready)))
        .layer(from_fn(entrance::bounded))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Server { asker, durations })
}

async fn page(State(server): State<Server>) -> Result<Response, NoAnswer> {
    let page = Html(page::page(&*server.asker.status().await?).into_string());
    Ok(([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY), (header::CACHE_CONTROL, "no-store")], page).into_response())
}

async fn healthy(State(server): State<Server>) -> Result<&'static str, NoAnswer> {
    server.asker.ready().await.map(|_| "healthy\n")
}

async fn ready(State(server): State<Server>) -> Result<Response, NoAnswer> {
    Ok(match server.asker.ready().await? {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    })
}

async fn reload(State(server): State<Server>) -> Result<Response, NoAnswer> {
    Ok(match server.asker.reload().await? {
        Ok(()) => Json(json!({"status": "success"})).into_response(),
        Err(why) => failure(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", &why),
    })
}

async fn status(State(server): State<Server>) -> Result<Response, NoAnswer> {
    Ok(Json(&*server.asker.status().await?).into_response())
}

async fn incidents(State(server): State<Server>) -> Result<Response, NoAnswer> {
    let status = server.asker.status().await?;
    Ok(success(json!({"incidents": status.view.incidents})))
}

async fn alerts(State(server): State<Server>) -> Result<Response, NoAnswer> {
    Ok(success(prometheus::alerts(&*server.asker.status().await?)))
}

/// `type=record` asks for recording rules alone, of which there are none.
async fn rules(
    State(server): State<Server>,
    Query(wanted): Query<BTreeMap<String, String>>,
) -> Result<Response, NoAnswer> {
    if wanted.get("type").is_some_and(|kind| kind == "record") {
        return Ok(success(json!({"groups": []})));
    }
    Ok(success(prometheus::rules(&*server.asker.status().await?)))
}

async fn own_metrics(State(server): State<Server>, headers: HeaderMap) -> Result<Response, NoAnswer> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Exposition::accepted_by(accept);
    let status = server.asker.status().await?;
    let facts = Facts {
        last_reload_successful: status.last_reload.error.is_none(),
        version: status.version,
        heartbeat: status.heartbeat.as_ref().map(|heartbeat| heartbeat.counts),
        state_degraded: status.state.as_ref().map(|state| state.degraded.is_some()),
    };
    let text = metrics::render(&status.view, &server.durations, facts, format);
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

async fn not_found(uri: Uri) -> Response {
    failure(StatusCode::NOT_FOUND, "not_found", &format!("there is nothing at {:.200}", uri.path()))
}

async fn wrong_method() -> Response {
    failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address does not take that method")
}

/// As Prometheus shapes its answers.
pub(super) fn success(data: serde_json::Value) -> Response {
    Json(json!({"status": "success", "data": data})).into_response()
}

pub(super) fn failure(status: StatusCode, kind: &str, error: &str) -> Response {
    (status, Json(json!({"status": "error", "errorType": kind, "error": error}))).into_response()
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        failure(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the daemon's loop does not answer")
    }
}
