//! A source, or a proxy before it, that repeats the credentials it was sent: they are in no error and no warning.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;
use slowburn::config::secret::Secret;
use slowburn::config::{self, Auth, HttpClient};
use slowburn::engine::time::Duration;
use slowburn::http::basic;
use slowburn::source::prometheus::{Detail, Prometheus, Slices};
use slowburn::source::scrape::Scrape;

use crate::source::{SLOT, plan};

const SECRET: &str = "hunter2-hunter2-hunter2";
const DEADLINE: Duration = Duration::from_secs(5);

/// Status and body of an answer to whom has `said` this.
type Manner = fn(said: &str) -> (u16, String);

/// All that a server repeats, whole and where it is cut.
const MANNERS: [Manner; 7] = [
    |said| (400, json!({"status": "error", "errorType": said, "error": format!("no: {said}")}).to_string()),
    |said| (200, json!({"status": "error", "errorType": "auth", "error": said}).to_string()),
    |said| (401, format!("<html>{said} may not")),
    |said| (503, format!("busy with {said}")),
    |said| (403, format!("{}{said}", "x".repeat(300 - 20))),
    |said| (200, format!("<html>{said}")),
    |said| {
        let data = json!({"resultType": "vector", "result": []});
        (200, json!({"status": "success", "warnings": [format!("slow for {said}")], "data": data}).to_string())
    },
];

async fn server(manner: Manner) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(async move |headers: HeaderMap| {
        let said = ["authorization", "x-token"].map(|name| headers.get(name).map(|value| value.to_str().unwrap()));
        let (status, body) = manner(&said.into_iter().flatten().collect::<Vec<_>>().join(" "));
        (StatusCode::from_u16(status).unwrap(), body)
    });
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

fn clients() -> [HttpClient; 3] {
    let secret = || Secret::new(SECRET.into());
    let with = |auth| HttpClient { auth, ..HttpClient::default() };
    let mut header = with(Auth::None);
    header.headers.insert("X-Token".into(), secret());
    [with(Auth::Bearer(secret())), with(Auth::Basic { username: "ann".into(), password: secret() }), header]
}

/// All that the two kinds of sources say of such a server.
async fn said(manner: Manner, http: HttpClient) -> String {
    let url = server(manner).await;
    let (timeout, max_response_bytes) = (DEADLINE, 1 << 20);
    let scrape = config::Scrape {
        targets: vec![format!("{url}/metrics")],
        timeout,
        max_response_bytes,
        max_series: 10,
        http: http.clone(),
    };
    let scraped = Scrape::new(&scrape, plan(&[("m", 0.1)])).unwrap().poll(SLOT, DEADLINE).await;
    let (delay, external_url) = (Duration::ZERO, url.clone());
    let config = config::Prometheus { url, external_url, timeout, delay, max_response_bytes, http };
    let source = Prometheus::new(&config, plan(&[("m", 0.1)])).unwrap();
    let polled = source.poll(SLOT, DEADLINE).await;
    let probed = source.probe(SLOT, Duration::from_hours(1), DEADLINE).await;
    let step = Duration::from_secs(30);
    let slices = Slices::new(source, SLOT, SLOT + step, step, Detail::Counts, DEADLINE).next().await;
    let words = |error: Option<String>| error.unwrap_or_default();
    let errors =
        [words(scraped.as_ref().err().map(ToString::to_string)), words(polled.as_ref().err().map(ToString::to_string))];
    format!("{errors:?} {scraped:?} {polled:?} {probed:?} {slices:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_repeats_is_scrubbed() {
    let packed = basic("ann", &Secret::new(SECRET.into()));
    let mut checks = tokio::task::JoinSet::new();
    for manner in MANNERS {
        for http in clients() {
            checks.spawn(said(manner, http));
        }
    }
    let mut scrubbed = 0;
    while let Some(said) = checks.join_next().await {
        let said = said.unwrap();
        assert!(!said.contains("hunt") && !said.contains(&packed[..6]), "{said}");
        scrubbed += usize::from(said.contains("[secret]"));
    }
    assert_eq!(scrubbed, MANNERS.len() * clients().len());
}
