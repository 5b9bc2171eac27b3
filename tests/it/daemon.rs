//! The daemon as its users run it: the real program, signals and HTTP, services scraped on loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use slowburn::clock::Stopwatch;
use tempfile::TempDir;

use crate::browser::objections;
use crate::exporter::Exporter;
use crate::fakes::{Fakes, Fault, Kind};
use crate::real::Prometheus;

const PATIENCE: Duration = Duration::from_secs(30);

/// `slowburn run`, killed when dropped.
pub struct Daemon {
    child: Child,
    dir: TempDir,
    client: reqwest::Client,
    pub base: String,
}

/// A configuration with one layer, evaluated twice a second, and these receivers, all of which hear everything.
pub fn config(target: &str, receivers: &[(&str, String)]) -> String {
    let names: Vec<&str> = receivers.iter().map(|(name, _)| *name).collect();
    let receivers: String = receivers.iter().map(|(name, kind)| format!("  - {{name: {name}, {kind}}}\n")).collect();
    format!(
        "interval: 500ms\nsource: {{scrape: {{targets: ['{target}']}}}}\nserver: {{listen: '127.0.0.1:0'}}\n\
         rule_files: [rules.yml]\nreceivers:\n{receivers}route: {{receivers: [{}]}}\n",
        names.join(", ")
    )
}

pub const RULES: &str = "\
rules:
  - {name: spike, burn_rate: 14.4, long: 2s, short: 1s, urgency: page, consecutive: 2, clear_after: 500ms, stages: {warning: 99%}}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 1h
    rules: [spike]
    layers: [{name: edge, budget: 10ms, histogram: request_seconds}]
";

impl Daemon {
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, RULES).await
    }

    /// `rules` holds rules and journeys.
    pub async fn start_with(config: &str, rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("slowburn.yml"), config).unwrap();
        std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
        Self::start_in(dir, "slowburn.yml").await
    }

    /// `config` is a file in `dir`.
    pub async fn start_in(dir: TempDir, config: &str) -> Self {
        Self::start_under(dir, config, &[]).await
    }

    /// With these variables in its environment.
    pub async fn start_under(dir: TempDir, config: &str, environment: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .args(["run", "--log-format", "json", "--config"])
            .arg(dir.path().join(config))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        // No test talks TLS, and a client without it needs no root certificates.
        let client = slowburn::http::client(&slowburn::config::HttpClient::default()).unwrap();
        let mut daemon = Self { child, dir, client, base: String::new() };
        let started = daemon.will_log("started").await;
        daemon.base = format!("http://{}", started["listen"].as_str().unwrap());
        daemon
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again in the same directory, after it ended; `wrapper` is a program that runs it, with arguments.
    pub async fn start_again(&mut self, wrapper: &[&str]) {
        let _ = self.child.wait();
        let log = std::fs::File::create(self.path("log")).unwrap();
        let program = [wrapper, &[env!("CARGO_BIN_EXE_slowburn")]].concat();
        self.child = Command::new(program[0])
            .args(&program[1..])
            .args(["run", "--log-format", "json", "--config"])
            .arg(self.path("slowburn.yml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let started = self.will_log("started").await;
        self.base = format!("http://{}", started["listen"].as_str().unwrap());
    }

    /// Asks until there is something.
    pub async fn eventually<T>(&mut self, what: &str, mut ask: impl AsyncFnMut(&mut Self) -> Option<T>) -> T {
        let asked = async {
            loop {
                if let Some(found) = ask(self).await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(found) => found,
            Err(_) => panic!("no {what} within {PATIENCE:?}; the log:\n{}", self.log()),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// The last line of the log with this message.
    pub fn logged(&self, message: &str) -> Option<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.rev().find(|line| line["msg"] == message)
    }

    /// Waits for a line with this message: what is logged after an answer or another line may come a moment later.
    pub async fn will_log(&mut self, message: &str) -> Value {
        self.eventually(message, async |daemon| daemon.logged(message)).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let ask = || self.client.get(format!("{}{path}", self.base)).send();
        // The daemon may close a connection that was idle for long just when it is used again.
        let response = match ask().await {
            Ok(response) => response,
            Err(_) => ask().await.unwrap(),
        };
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn post(&self, path: &str) -> (u16, String) {
        let response = self.client.post(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status").await.1).unwrap()
    }

    pub async fn ready(&mut self) {
        self.eventually("readiness", async |daemon| (daemon.get("/-/ready").await.0 == 200).then_some(())).await;
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.eventually("end", async |daemon| daemon.child.try_wait().unwrap()).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program prints; it must succeed.
pub fn slowburn(command: &str, config: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args([command, "--config"])
        .arg(config)
        .args(args)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{command}: {}\n{stdout}{stderr}", output.status);
    stdout
}

/// Reason and incident of every PagerDuty event that was accepted.
pub fn pages(fakes: &Fakes) -> Vec<String> {
    let accepted = fakes.seen().into_iter().filter(|seen| seen.kind == Kind::PagerDuty && seen.status == Some(202));
    accepted
        .map(|seen| {
            format!("{} {}", seen.body["event_action"].as_str().unwrap(), seen.body["dedup_key"].as_str().unwrap())
        })
        .collect()
}

pub fn pagerduty(fakes: &Fakes) -> String {
    format!("pagerduty: {{routing_key: {}, url: '{}/v2/enqueue'}}", "k".repeat(32), fakes.base)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_layer_pages_once_through_reloads_and_resolves_once() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let text = config(&service.url(), &[("oncall", pagerduty(&fakes))]);
    let mut daemon = Daemon::start(&text).await;
    daemon.ready().await;

    service.slow("edge", 100);
    daemon.eventually("page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;
    let page = pages(&fakes)[0].clone();
    assert!(page.starts_with("trigger "), "{page}");
    let key = page.trim_start_matches("trigger ").to_owned();

    // A broken file changes nothing and says where it is broken; the whole of it, never a part.
    std::fs::write(daemon.path("slowburn.yml"), text.replace("interval: 500ms", "interval: 2s\nintervall: 2s"))
        .unwrap();
    let (code, answer) = daemon.post("/-/reload").await;
    assert_eq!(code, 422, "{answer}");
    assert!(answer.contains("slowburn.yml:2:1: error") && answer.contains("did you mean 'interval'"), "{answer}");
    let status = daemon.status().await;
    assert_eq!(status["interval"], "500ms");
    assert!(status["last_reload"]["error"].as_str().unwrap().contains("intervall"));
    assert!(daemon.get("/metrics").await.1.contains("slowburn_config_last_reload_successful 0"));

    // A sound one is in force at once, and what fires goes on firing.
    std::fs::write(daemon.path("slowburn.yml"), &text).unwrap();
    std::fs::write(daemon.path("rules.yml"), RULES.replace("14.4", "14.5")).unwrap();
    daemon.signal("HUP");
    daemon.will_log("configuration reloaded").await;
    let status = daemon.status().await;
    assert_eq!(status["last_reload"]["error"], Value::Null);
    assert_eq!(status["alerts"][0]["stage"], "critical");
    assert_eq!(status["slos"][0]["rules"][0]["limit"]["burn_rate"]["factor"], 14.5);
    let rules: Value = serde_json::from_str(&daemon.get("/api/v1/rules").await.1).unwrap();
    let rule = &rules["data"]["groups"][0]["rules"][0];
    assert_eq!((&rule["state"], &rule["alerts"][0]["labels"]["layer"]), (&"firing".into(), &"edge".into()), "{rules}");
    let metrics = daemon.get("/metrics").await.1;
    assert!(metrics.contains(r#"slowburn_alert_stage{journey="checkout",layer="edge",rule="spike",urgency="page"} 2"#));
    assert!(metrics.contains(r#"slowburn_burn_rate{journey="checkout",layer="edge",window="2s"} "#), "{metrics}");
    assert!(
        metrics.contains(r#"slowburn_error_budget_remaining_ratio{journey="checkout",layer="edge"} "#),
        "{metrics}"
    );

    // Some more evaluations of the same evidence tell nothing.
    let at = daemon.status().await["evaluations"].as_u64().unwrap();
    let more = async |daemon: &mut Daemon| (daemon.status().await["evaluations"].as_u64() > Some(at + 3)).then_some(());
    daemon.eventually("evaluations", more).await;
    assert_eq!(pages(&fakes).len(), 1);

    service.slow("edge", 0);
    daemon.eventually("resolve", async |_| (pages(&fakes).len() > 1).then_some(())).await;
    assert_eq!(pages(&fakes), [page, format!("resolve {key}")]);

    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    assert_eq!(pages(&fakes).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_out_of_sight_is_one_incident_until_it_is_back() {
    let service = Exporter::start(&["edge"]).await;
    service.down(true);
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let mut daemon = Daemon::start(&config(&service.url(), &[("oncall", pagerduty(&fakes))])).await;

    daemon.eventually("page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;
    let status = daemon.status().await;
    assert_eq!(status["source"]["up"], false);
    let why = status["incidents"][0]["detail"].as_str().unwrap().to_owned();
    let text = Command::new(env!("CARGO_BIN_EXE_slowburn")).args(["status", "--url", &daemon.base]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let first_words = why.split(": ").next().unwrap();
    assert!(text.contains(first_words) && daemon.get("/").await.1.contains(first_words), "{why}: {text}");
    assert!(status["missed"]["slots"].as_u64() >= Some(3));
    let (code, why) = daemon.get("/-/ready").await;
    assert!(code == 503 && why.contains("the source does not answer"), "{code} {why}");
    assert_eq!(daemon.get("/-/healthy").await.0, 200);
    daemon
        .eventually("more polls", async |daemon| {
            (daemon.status().await["missed"]["slots"].as_u64() >= Some(6)).then_some(())
        })
        .await;
    assert_eq!(pages(&fakes).len(), 1);

    service.down(false);
    daemon.eventually("end", async |_| (pages(&fakes).len() > 1).then_some(())).await;
    let pages = pages(&fakes);
    assert_eq!(pages.len(), 2);
    assert_eq!(pages[1], pages[0].replace("trigger", "resolve"));
    assert_eq!(daemon.get("/-/ready").await.0, 200);
}

/// A daemon that pages, the service that is slow, and who is paged.
pub async fn paging() -> (Exporter, Fakes, Daemon) {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let mut daemon = Daemon::start(&config(&service.url(), &[("oncall", pagerduty(&fakes))])).await;
    daemon.ready().await;
    service.slow("edge", 100);
    daemon.eventually("page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;
    (service, fakes, daemon)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and axe-core"]
async fn nobody_is_kept_from_reading_the_page() {
    let (_service, _fakes, daemon) = paging().await;
    let page = daemon.get("/").await.1;
    assert!(page.contains("Incidents"), "{page}");
    assert_eq!(objections(&page), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_seen_has_no_number() {
    let service = Exporter::start(&["edge", "disk"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let layer = |name: &str, budget: &str, histogram: &str| {
        format!("{{name: {name}, budget: {budget}, histogram: '{histogram}'}}")
    };
    let layers = [
        layer("edge", "10ms", r#"request_seconds{layer="edge"}"#),
        layer("disk", "10ms", r#"request_seconds{layer="disk"}"#),
        layer("typo", "10ms", "request_secondz"),
        layer("odd", "7ms", r#"request_seconds{layer="edge"}"#),
    ];
    let rules = RULES.replace("{name: edge, budget: 10ms, histogram: request_seconds}", &layers.join(", "));
    let mut daemon = Daemon::start_with(&config(&service.url(), &[("oncall", pagerduty(&fakes))]), &rules).await;
    daemon.ready().await;
    let counted = async |daemon: &mut Daemon| {
        daemon.get("/metrics").await.1.contains(r#"slowburn_burn_rate{journey="checkout",layer="disk",window="1s"} 0"#)
    };
    daemon.eventually("measurement", async |daemon| counted(daemon).await.then_some(())).await;
    service.lose("disk");
    daemon.eventually("loss", async |daemon| (!counted(daemon).await).then_some(())).await;

    let status = daemon.status().await;
    let metrics = daemon.get("/metrics").await.1;
    let text = Command::new(env!("CARGO_BIN_EXE_slowburn")).args(["status", "--url", &daemon.base]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let page = daemon.get("/").await.1;
    for (layer, sight, is_seen) in
        [("edge", "ok", true), ("disk", "lost", false), ("typo", "unborn", false), ("odd", "unmeasurable", false)]
    {
        let slo = status["slos"].as_array().unwrap().iter().find(|slo| slo["layer"] == layer).unwrap();
        assert_eq!(slo["sight"], sight, "{slo}");
        let short = &slo["windows"][0];
        assert_eq!((&short["window"], short["burn_rate"].is_number()), (&"1s".into(), is_seen), "{slo}");
        assert_eq!(slo["rules"][0]["usage"].is_number(), is_seen, "{slo}");
        // Of the period something was seen before it was lost.
        let some_seen = matches!(layer, "edge" | "disk");
        assert_eq!(slo["budget_remaining"].is_number(), some_seen, "{slo}");

        let labels = format!(r#"{{journey="checkout",layer="{layer}""#);
        let has = |metric: &str, own: &str| metrics.contains(&format!("slowburn_{metric}{labels}{own}}} "));
        assert_eq!(has("burn_rate", r#",window="1s""#), is_seen, "{metrics}");
        assert_eq!(has("error_budget_remaining_ratio", ""), some_seen, "{metrics}");
        assert!(has("window_coverage_ratio", r#",window="1s""#), "{metrics}");
        for state in ["ok", "idle", "unborn", "lost", "partial", "blind", "unmeasurable"] {
            let value = if state == sight { "1.0" } else { "0.0" };
            let line = format!(r#"slowburn_slo_sight{labels},state="{state}"}} {value}"#);
            assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
        }
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("checkout/{layer}"))).unwrap();
        assert!(line.contains("1s\u{a0}-") != is_seen && line.contains("not seen") != some_seen, "{text}");
    }
    assert!(page.contains("1s <b>–</b>"), "{page}");
    let rules: Value = serde_json::from_str(&daemon.get("/api/v1/rules?type=record").await.1).unwrap();
    assert_eq!(rules["data"]["groups"], serde_json::json!([]));
    let warned = daemon.will_log("an SLO is not measured any more").await;
    assert_eq!((&warned["level"], &warned["slo"]), (&"warn".into(), &"checkout/disk".into()), "{warned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_delays_no_other_and_no_stop() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    fakes.fail(Kind::Webhook, Fault::Hang);
    let hook = format!("webhook: {{url: '{}/hook'}}", fakes.base);
    let mut daemon = Daemon::start(&config(&service.url(), &[("hook", hook), ("oncall", pagerduty(&fakes))])).await;
    daemon.ready().await;

    service.slow("edge", 100);
    let hangs = || fakes.seen().iter().any(|seen| seen.kind == Kind::Webhook && seen.status.is_none());
    daemon.eventually("page", async |_| (hangs() && !pages(&fakes).is_empty()).then_some(())).await;

    let stopwatch = Stopwatch::start();
    daemon.signal("TERM");
    daemon.ended().await;
    assert!(stopwatch.elapsed_s() < 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_refuses_in_json() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let mut daemon = Daemon::start(&config(&service.url(), &[("oncall", pagerduty(&fakes))])).await;
    let (code, body) = daemon.get("/nowhere").await;
    assert_eq!(
        (code, body.as_str()),
        (404, r#"{"error":"there is nothing at /nowhere","errorType":"not_found","status":"error"}"#)
    );
    let (code, body) = daemon.post("/api/v1/status").await;
    assert!(code == 405 && body.contains("method_not_allowed"), "{code} {body}");
    assert_eq!(daemon.get("/-/reload").await.0, 405);

    // The command's exit codes.
    daemon.ready().await;
    let status = |url: &str| {
        Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .args(["status", "--url", url])
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    };
    let shown = status(&daemon.base);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("checkout/edge") && text.contains("Nothing fires."), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    drop(daemon);
    assert_eq!(status("http://127.0.0.1:1").status.code(), Some(2));
}

/// Histogram samples each 5 s from `minutes` ago to a little while from now; slow since ten minutes ago.
pub fn history(minutes: i64) -> String {
    let now_s = slowburn::clock::Clock.now().unix_ms() / 1000;
    let mut text = "# TYPE request_seconds histogram\n".to_owned();
    for (bound, stops) in [("0.01", true), ("+Inf", false)] {
        let mut count = 0;
        for at in (now_s - minutes * 60..now_s + 120).step_by(5) {
            count += if stops && at > now_s - 600 { 0 } else { 50 };
            text += &format!("request_seconds_bucket{{le=\"{bound}\"}} {count} {at}\n");
        }
    }
    text + "# EOF\n"
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn beside_a_prometheus_with_history_windows_are_full_at_once() {
    let text = history(75);
    let prometheus = tokio::task::spawn_blocking(move || Prometheus::with_history(&text)).await.unwrap();
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let source = format!("prometheus: {{url: '{}', delay: 100ms, timeout: 300ms}}", prometheus.url());
    let text = config("http://unused", &[("oncall", pagerduty(&fakes))])
        .replace("scrape: {targets: ['http://unused']}", &source);
    let rules = RULES.replace("long: 2s, short: 1s", "long: 5m, short: 1m");
    let mut daemon = Daemon::start_with(&text, &rules).await;
    daemon.ready().await;
    let status = daemon.status().await;
    let slo = &status["slos"][0];
    assert!(slo["coverage"].as_f64() > Some(0.99), "{slo}");
    // Ten of sixty minutes were slow.
    let spent = 1.0 - slo["budget_remaining"].as_f64().unwrap();
    assert!((spent - 100.0 / 6.0).abs() < 0.5, "{spent}");
    daemon.eventually("page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;
    assert_eq!(pages(&fakes).len(), 1);
    assert_eq!(daemon.status().await["missed"]["slots"], 0);
}
