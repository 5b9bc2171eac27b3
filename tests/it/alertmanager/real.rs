//! The whole way in earnest: slowburn, a cluster of two Alertmanagers that runs the configuration that is shipped, with
//! short waits, and a webhook behind it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Json, State};
use axum::routing::post;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, RULES, config};
use crate::exporter::Exporter;

/// Two instances that know each other; stopped when dropped.
struct Cluster {
    folder: TempDir,
    /// Of the API, then of the gossip.
    ports: [[u16; 2]; 2],
    instances: [Option<Child>; 2],
}

impl Cluster {
    fn start(hook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("alertmanager.yml"), shipped(hook)).unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = [[free(), free()], [free(), free()]];
        let mut cluster = Self { folder, ports, instances: [None, None] };
        cluster.launch(0);
        cluster.launch(1);
        cluster
    }

    /// Starts an instance that knows nothing.
    fn launch(&mut self, at: usize) {
        let [api, gossip] = self.ports[at];
        let path = |name: &str| self.folder.path().join(name);
        let storage = path(&format!("data-{at}"));
        let _ = fs::remove_dir_all(&storage);
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", path("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", storage.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{api}"))
            .arg(format!("--cluster.listen-address=127.0.0.1:{gossip}"))
            .arg(format!("--cluster.peer=127.0.0.1:{}", self.ports[1 - at][1]))
            .args(["--cluster.settle-timeout=2s", "--cluster.peer-timeout=2s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path(&format!("log-{at}"))).unwrap())
            .spawn()
            .expect("prometheus-alertmanager is installed");
        self.instances[at] = Some(child);
    }

    fn stop(&mut self, at: usize) {
        if let Some(mut child) = self.instances[at].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn url(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[at][0])
    }

    /// `SlowburnLatency critical active`, and when the first of them would end; nothing while it does not answer.
    async fn knows(&self, at: usize) -> (Vec<String>, String) {
        let client = slowburn::http::client(&slowburn::config::HttpClient::default()).unwrap();
        let Ok(answer) = client.get(format!("{}/api/v2/alerts", self.url(at))).send().await else {
            return Default::default();
        };
        let alerts: Vec<Value> = answer.json().await.unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shown = |alert: &Value| {
            let [name, stage] = ["alertname", "stage"].map(|label| text(&alert["labels"][label]));
            format!("{name} {stage} {}", text(&alert["status"]["state"]))
        };
        let mut names: Vec<String> = alerts.iter().map(shown).collect();
        names.sort();
        (names, alerts.iter().map(|alert| text(&alert["endsAt"])).min().unwrap_or_default())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop(0);
        self.stop(1);
    }
}

/// What is shipped, with shorter waits and the hook in the place of Slack.
fn shipped(hook: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/alertmanager");
    let text = fs::read_to_string(format!("{folder}/alertmanager.yml")).unwrap();
    let (routing, _) = text.split_once("\nreceivers:\n").unwrap();
    let routing = routing.replace("- slack.tmpl", &format!("- {folder}/slack.tmpl"));
    let routing =
        routing.replace("group_wait: 15s", "group_wait: 2s").replace("group_interval: 1m", "group_interval: 3s");
    let hooks = ["oncall", "team", "digest"]
        .map(|name| format!("  - name: {name}\n    webhook_configs: [{{url: '{hook}', send_resolved: true}}]\n"));
    format!("{routing}\nreceivers:\n{}", hooks.concat())
}

type Messages = Arc<Mutex<Vec<Value>>>;

async fn hook() -> (String, Messages) {
    let messages = Messages::default();
    let take = async |State(messages): State<Messages>, Json(body): Json<Value>| messages.lock().unwrap().push(body);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(post(take)).with_state(messages.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, messages)
}

/// `critical firing` of every latency alert in every message.
fn told(messages: &Messages) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = messages.lock().unwrap();
    let alerts = messages.iter().flat_map(|message| message["alerts"].as_array().into_iter().flatten());
    let latency = alerts.filter(|alert| alert["labels"]["alertname"] == "SlowburnLatency");
    latency.map(|alert| format!("{} {}", text(&alert["labels"]["stage"]), text(&alert["status"]))).collect()
}

const BURNING: [&str; 2] = ["SlowburnLatency critical active", "SlowburnLatency warning suppressed"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus-alertmanager"]
async fn an_incident_is_one_notification_until_it_is_over() {
    let service = Exporter::start(&["edge"]).await;
    let (hook, messages) = hook().await;
    let mut cluster = Cluster::start(&hook);
    let receiver = format!("alertmanager: {{urls: ['{}', '{}'], resend: 1s}}", cluster.url(0), cluster.url(1));
    let text = config(&service.url(), &[("am", receiver)]);
    let mut daemon = Daemon::start_with(&text, RULES).await;
    daemon.will_log("ready: the first slot is evaluated").await;
    let takes_all =
        async |daemon: &mut Daemon| daemon.status().await["receivers"][0]["problem"].is_null().then_some(());
    daemon.eventually("instances", takes_all).await;

    // Both instances know both stages; one message tells one of them.
    service.slow("edge", 100);
    for at in [0, 1] {
        daemon.eventually("alerts", async |_| (cluster.knows(at).await.0 == BURNING).then_some(())).await;
    }
    daemon.eventually("message", async |_| (!told(&messages).is_empty()).then_some(())).await;

    // Out of sight for more than two holds: the end moves on, and nothing is said to be over.
    service.down(true);
    let from = (slowburn::clock::Clock.now() + slowburn::engine::time::Duration::from_secs(10)).to_string();
    daemon.eventually("moving ends", async |_| (cluster.knows(0).await.1 > from).then_some(())).await;
    assert_eq!(told(&messages), ["critical firing"]);

    // An instance that forgot everything is caught up, all the same.
    cluster.stop(1);
    cluster.launch(1);
    daemon.eventually("catching up", async |_| (cluster.knows(1).await.0.len() == 3).then_some(())).await;
    service.down(false);

    service.slow("edge", 0);
    let over = async |_: &mut Daemon| told(&messages).contains(&"critical resolved".to_owned()).then_some(());
    daemon.eventually("resolve", over).await;
    assert!(told(&messages).iter().all(|told| told.starts_with("critical ")), "{:?}", told(&messages));
}
