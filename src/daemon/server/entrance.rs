//! What every request passes before its handler: who asks, whether they may, and how long the answer may take.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use crate::engine::time::Duration;

use super::api::failure;
use super::guard::{Guard, Verdict};

/// The whole of a request from the end of its head to the beginning of its answer, its body included.
const PATIENCE: Duration = Duration::from_secs(20);

/// The guard in force.
pub type Guards = watch::Receiver<Arc<Guard>>;

/// Asks who is there, and lets those write who may. `/-/healthy` and `/-/ready` lie outside.
pub async fn admit(
    State(guards): State<Guards>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let guard = guards.borrow().clone();
    let is_known = match guard.judge(request.headers()).await {
        Verdict::Known => true,
        Verdict::Anybody => false,
        Verdict::Unknown => return unknown(),
        Verdict::Busy => return failure(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "too many ask at once"),
    };
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if writes && let Err(why) = may_write(request.headers(), peer.ip(), is_known) {
        return failure(StatusCode::FORBIDDEN, "forbidden", why);
    }
    next.run(request).await
}

/// Answers in the handler's place when that takes too long.
pub async fn bounded(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(PATIENCE.to_std(), next.run(request)).await;
    answered.unwrap_or_else(|_elapsed| failure(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long"))
}

fn unknown() -> Response {
    let error = "say who you are: basic authentication, or a bearer token";
    let mut response = failure(StatusCode::UNAUTHORIZED, "unauthorized", error).into_response();
    let challenge = HeaderValue::from_static(r#"Basic realm="slowburn", charset="UTF-8""#);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// Whoever said who they are may write, and so may this machine where nobody is asked; but no page of another site
/// that somebody's browser has open.
fn may_write(headers: &HeaderMap, peer: IpAddr, is_known: bool) -> Result<(), &'static str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        if from != Some(host) {
            return Err("another site's page may not write here");
        }
    }
    if is_known {
        return Ok(());
    }
    if !peer.to_canonical().is_loopback() {
        return Err("without authentication only clients on this machine may write; see server.basic_auth_users");
    }
    // A foreign name that was made to lead here would make a foreign page one of our own.
    if !is_of_this_machine(host) {
        return Err("without authentication only localhost, or an address, may be named as the host");
    }
    Ok(())
}

fn is_of_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write() {
        let check = |peer: &str, host: &str, origin: Option<&str>, is_known: bool, may: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
            let verdict = may_write(&headers, peer.parse().unwrap(), is_known);
            assert_eq!(verdict.is_ok(), may, "{peer} {host} {origin:?} {is_known}: {verdict:?}");
        };
        check("127.0.0.1", "127.0.0.1:9797", None, false, true);
        check("::1", "[::1]:9797", None, false, true);
        check("::ffff:127.0.0.1", "localhost:9797", None, false, true);
        check("127.0.0.1", "evil.example:9797", None, false, false);
        check("127.0.0.1", "", None, false, false);
        check("127.0.0.1", "localhost:9797", Some("http://localhost:9797"), false, true);
        check("127.0.0.1", "localhost:9797", Some("http://evil.example"), false, false);
        check("127.0.0.1", "localhost:9797", Some("null"), false, false);
        check("10.0.0.7", "10.0.0.1:9797", None, false, false);
        check("10.0.0.7", "slo.example.com", None, true, true);
        check("10.0.0.7", "slo.example.com", Some("https://slo.example.com"), true, true);
        check("10.0.0.7", "slo.example.com", Some("https://evil.example"), true, false);
    }
}
