//! The shipped example with everything it needs on this machine: demo, Prometheus, and slowburn's commands in turn.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use slowburn::clock::Clock;

use crate::daemon::{Daemon, slowburn};
use crate::real::Prometheus;

const LAYERS: usize = 5;

/// `slowburn demo`, killed when dropped.
struct Demo(Child);

impl Demo {
    async fn start(address: &str) -> Self {
        let demo = Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .args(["demo", "--plain", "--for", "5m", "--metrics-listen", address])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let demo = Self(demo.unwrap());
        until("metrics of the demo", || TcpStream::connect(address).is_ok()).await;
        demo
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let asked = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap_or_else(|_elapsed| panic!("no {what}"));
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The text of a shipped file with these replaced, each of which must be there.
fn shipped(file: &str, replaced: &[(&str, &str)]) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} does not say {from}");
        text.replace(from, to)
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn the_example_runs_beside_a_prometheus() {
    let metrics = free_address();
    let _demo = Demo::start(&metrics).await;
    // Scrapes and polls come sooner than in the example: a test has no minutes.
    let scrape = [("127.0.0.1:9798", metrics.as_str()), ("scrape_interval: 15s", "scrape_interval: 1s")];
    let prometheus = Prometheus::start(&shipped("examples/checkout/prometheus.yml", &scrape));
    let scraped = || {
        let totals = prometheus.query("request_duration_seconds_bucket{layer!=\"\",le=\"+Inf\"} > 0", Clock.now());
        totals.len() >= LAYERS
    };
    until("scrape", scraped).await;
    // The probe asks for what was there when the last poll would have been made, two seconds ago, and the replay for a slot
    // before that: there is one each five seconds.
    tokio::time::sleep(Duration::from_secs(8)).await;

    let dir = tempfile::tempdir().unwrap();
    let url = prometheus.url();
    let replaced = [
        ("http://localhost:9090", url.as_str()),
        ("interval: 30s", "interval: 5s"),
        ("127.0.0.1:9797", "127.0.0.1:0"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:1"),
    ];
    for (file, replaced) in [
        ("examples/checkout/slowburn.yml", replaced.as_slice()),
        ("examples/checkout/journeys/checkout.yml", &[]),
        ("rules/standard.yml", &[]),
    ] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, shipped(file, replaced)).unwrap();
    }
    let file = dir.path().join("examples/checkout/slowburn.yml");

    let shown = slowburn("check", &file, &["--online"]);
    let asked = shown.split_once("Asked the source:").unwrap().1;
    let findings: Vec<&str> = asked.lines().filter(|line| line.starts_with("      ")).collect();
    assert!(findings.iter().all(|line| line.contains("history reaches back")), "{shown}");
    assert_eq!(asked.matches("1 series, scraped each 1s").count(), LAYERS, "{shown}");

    let document: Value =
        serde_json::from_str(&slowburn("replay", &file, &["--from", "10s", "--format", "json"])).unwrap();
    assert_eq!(document["slos"].as_array().unwrap().len(), LAYERS);

    let mut daemon = Daemon::start_in(dir, "examples/checkout/slowburn.yml").await;
    daemon.ready().await;
    let all_ok = async |daemon: &mut Daemon| {
        let status = daemon.status().await;
        let slos = status["slos"].as_array().unwrap();
        (slos.len() == LAYERS && slos.iter().all(|slo| slo["sight"] == "ok")).then_some(())
    };
    daemon.eventually("sight of all layers", all_ok).await;
}
