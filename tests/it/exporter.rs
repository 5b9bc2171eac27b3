//! A service whose every scrape finds a hundred requests more of each layer, as slow as the test says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const BOUNDS_S: [&str; 6] = ["0.005", "0.01", "0.02", "0.05", "0.1", "+Inf"];
/// A request takes at most 5 ms, or over 50.
const FAST_BELOW: usize = 0;
const SLOW_BELOW: usize = 4;
const REQUESTS: u64 = 100;

/// A running service; clones are handles of the same one. It runs as long as the test's runtime does.
#[derive(Clone)]
pub struct Exporter {
    /// `127.0.0.1:PORT`
    pub address: String,
    service: Arc<Mutex<Service>>,
}

#[derive(Default)]
struct Service {
    down: bool,
    layers: BTreeMap<&'static str, Layer>,
}

#[derive(Default)]
struct Layer {
    slow_percent: u64,
    buckets: [u64; BOUNDS_S.len()],
}

impl Exporter {
    pub async fn start(layers: &[&'static str]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let layers = layers.iter().map(|name| (*name, Layer::default())).collect();
        let service = Arc::new(Mutex::new(Service { down: false, layers }));
        let app = Router::new().route("/metrics", get(metrics)).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, service }
    }

    /// Where its metrics are.
    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// From here on this share of the layer's requests is slow.
    pub fn slow(&self, layer: &str, percent: u64) {
        self.service.lock().unwrap().layers.get_mut(layer).unwrap().slow_percent = percent;
    }

    /// Its series are there no more.
    pub fn lose(&self, layer: &str) {
        self.service.lock().unwrap().layers.remove(layer);
    }

    /// Answers scrapes with an error, or no more. Back up, all counters start at zero.
    pub fn down(&self, down: bool) {
        let mut service = self.service.lock().unwrap();
        service.down = down;
        service.layers.values_mut().for_each(|layer| layer.buckets = Default::default());
    }
}

async fn metrics(State(service): State<Arc<Mutex<Service>>>) -> Response {
    let mut service = service.lock().unwrap();
    if service.down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut text = "# TYPE request_seconds histogram\n".to_owned();
    for (name, layer) in &mut service.layers {
        let slow = REQUESTS * layer.slow_percent / 100;
        for (below, requests) in [(FAST_BELOW, REQUESTS - slow), (SLOW_BELOW, slow)] {
            layer.buckets[below..].iter_mut().for_each(|count| *count += requests);
        }
        for (bound, count) in BOUNDS_S.iter().zip(layer.buckets) {
            let _ = writeln!(text, "request_seconds_bucket{{layer=\"{name}\",le=\"{bound}\"}} {count}");
        }
        let total = layer.buckets[BOUNDS_S.len() - 1];
        let _ = writeln!(text, "request_seconds_count{{layer=\"{name}\"}} {total}");
        let _ = writeln!(text, "request_seconds_sum{{layer=\"{name}\"}} {total}");
    }
    ([("content-type", "text/plain; version=0.0.4")], text).into_response()
}
