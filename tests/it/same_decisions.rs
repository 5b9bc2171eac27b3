//! The daemon beside a real Prometheus, and a replay of that time: the same alerts and notifications at the same slots.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, slowburn};
use crate::exporter::Exporter;
use crate::fakes::{Fakes, Kind};
use crate::real::Prometheus;

/// Scraped for so long before the daemon starts: what it reads back.
const PAST: Duration = Duration::from_secs(20);

/// Burn rates alone: a replay asks for no more than the bounds it needs, the daemon's polls for all.
const BURN: &str = "
rules:
  - {name: spike, burn_rate: 14.4, long: 12s, short: 3s, urgency: page, consecutive: 2, clear_after: 4s}
  - {name: drain, burn_rate: 6, long: 30s, short: 6s, urgency: ticket, every: 5s, consecutive: 2, clear_after: 10s, hysteresis: 20%}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 5m
    rules: [spike, drain]
    layers:
      - {name: edge, budget: 10ms, histogram: 'request_seconds{layer=\"edge\"}'}
      - {name: database, budget: 20ms, histogram: 'request_seconds{layer=\"database\"}'}
";

/// The other kinds of rule, on a schedule of their own, one SLO an instance, and a budget between two bounds.
const OTHER: &str = "
rules:
  - {name: budget, budget_consumed: 100%, urgency: ticket, consecutive: 3, clear_after: 2s}
  - {name: runway, exhaustion: 20s, short: 4s, urgency: page, cron: '*/4 * * * * *', clear_after: 4s, min_events: 300}
  - {name: approach, latency: {quantile: 95%, over: 10s}, urgency: page, confidence: 95%, clear_after: 3s}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 40s
    rules: [budget, runway, approach]
    layers:
      - {name: edge, budget: 10ms, histogram: 'request_seconds{layer=\"edge\"}', by: [instance]}
      - {name: database, budget: 30ms, histogram: 'request_seconds{layer=\"database\"}', between: interpolate, new_series: zero}
";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn a_replay_decides_what_the_daemon_decided() {
    let exporters = [Exporter::start(&["edge", "database"]).await, Exporter::start(&["edge", "database"]).await];
    let targets = exporters.each_ref().map(|exporter| format!("'{}'", exporter.address)).join(", ");
    let prometheus = Prometheus::start(&format!(
        "scrape_configs: [{{job_name: shop, scrape_interval: 1s, static_configs: [{{targets: [{targets}]}}]}}]"
    ));
    tokio::time::sleep(PAST).await;
    let burn = Watch::start(&prometheus, BURN).await;
    let other = Watch::start(&prometheus, OTHER).await;
    tell(&exporters).await;
    let told = [burn.end().await, other.end().await];
    // Else nothing was compared.
    let all = told.concat();
    for word in ["opened", "escalated", "repeated", "resolved", "oncall", "team"] {
        assert!(all.iter().any(|told| told.contains(word)), "nothing was {word}: {all:#?}");
    }
    assert!(told.iter().all(|told| told.len() >= 10), "{told:#?}");
}

/// An incident that spreads, a restart with a gap and one without, and a second incident.
async fn tell([first, second]: &[Exporter; 2]) {
    let slow = |layer, percent| [first, second].map(|exporter| exporter.slow(layer, percent));
    let pass = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
    pass(5).await;
    slow("edge", 30);
    pass(12).await;
    slow("database", 100);
    pass(10).await;
    slow("edge", 0);
    slow("database", 0);
    pass(22).await;
    second.down(true);
    second.down(false);
    first.down(true);
    pass(3).await;
    first.down(false);
    pass(5).await;
    second.slow("database", 12);
    pass(4).await;
    slow("database", 25);
    pass(10).await;
    slow("database", 0);
    pass(20).await;
}

/// A daemon beside `prometheus`, and where its notifications go.
struct Watch<'a> {
    prometheus: &'a Prometheus,
    daemon: Daemon,
    fakes: Fakes,
}

/// What was decided, in lines that say everything of it.
#[derive(Debug, PartialEq)]
struct Decisions {
    notifications: Vec<String>,
    alerts: Vec<String>,
    held_back: Value,
    missed: Value,
}

impl<'a> Watch<'a> {
    async fn start(prometheus: &'a Prometheus, rules: &str) -> Self {
        let fakes = Fakes::start("/services/T/B/X", None).await;
        let hook = |name: &str| format!("{{name: {name}, webhook: {{url: '{}'}}}}", fakes.base);
        let config = config(prometheus, &[hook("oncall"), hook("team")]);
        let mut daemon = Daemon::start_with(&config, rules).await;
        daemon.ready().await;
        Self { prometheus, daemon, fakes }
    }

    /// Ends the daemon, and holds a replay against it. Returns what it told.
    async fn end(mut self) -> Vec<String> {
        let from = self.daemon.will_log("ready: the first slot is evaluated").await["slot"].clone();
        let coverage = self.daemon.will_log("history is read").await["covered"].clone();
        assert_ne!(coverage, "0.0%", "the daemon found no history");
        let status = self.daemon.status().await;
        assert_eq!(status["missed"]["slots"], 0, "the machine is too busy: the daemon missed slots");
        self.daemon.signal("TERM");
        assert!(self.daemon.ended().await.success());
        let daemon = self.decided(&status);
        self.assert_delivered(&daemon.notifications);

        // Whoever connects to the decoy stays in its queue.
        let decoy = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = self.daemon.path("replay.yml");
        let receivers = decoys(&format!("http://{}", decoy.local_addr().unwrap()));
        std::fs::write(&file, config(self.prometheus, &receivers)).unwrap();
        let replay = |format| {
            let range = ["--from", text(&from), "--to", text(&status["at"]), "--format", format];
            slowburn("replay", &file, &range)
        };
        let document = replay("json");
        assert_eq!(replay("json"), document);
        assert_eq!(replay("text"), replay("text"));
        slowburn("check", &file, &[]);
        slowburn("check", &file, &["--online"]);
        decoy.set_nonblocking(true).unwrap();
        assert_eq!(decoy.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a receiver was connected to");

        assert_eq!(replayed(&serde_json::from_str(&document).unwrap()), daemon);
        daemon.notifications
    }

    /// What the daemon had decided when it said this.
    fn decided(&self, status: &Value) -> Decisions {
        let told = status["notifications"].as_array().unwrap().iter().rev();
        let log = self.daemon.log();
        let log = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let at = text(&status["at"]);
        let ended = log.filter(|line: &Value| line["msg"] == "alert ended" && text(&line["ended_at"]) <= at);
        let ended: Vec<Value> = ended.collect();
        Decisions {
            notifications: told.map(notification).collect(),
            alerts: sorted(ended.iter().chain(status["alerts"].as_array().unwrap()).map(alert)),
            held_back: status["held_back"].clone(),
            missed: status["missed"].clone(),
        }
    }

    /// Whether each receiver got what was decided for it, once and in this order; later ones may have followed.
    fn assert_delivered(&self, decided: &[String]) {
        let seen = self.fakes.seen();
        assert!(seen.iter().all(|seen| seen.kind == Kind::Webhook && seen.status == Some(204)));
        for receiver in ["oncall", "team"] {
            let bodies = seen.iter().map(|seen| &seen.body).filter(|body| body["receiver"] == receiver);
            let got = bodies.map(|body| {
                let mut told = body["slowburn"].clone();
                told["receiver"] = receiver.into();
                notification(&told)
            });
            let decided: Vec<&String> = decided.iter().filter(|told| told.contains(receiver)).collect();
            let got: Vec<String> = got.collect();
            assert_eq!(got.iter().take(decided.len()).collect::<Vec<_>>(), decided);
        }
    }
}

fn replayed(document: &Value) -> Decisions {
    let rows = |name: &str| document[name].as_array().unwrap().iter();
    Decisions {
        notifications: rows("notifications").map(notification).collect(),
        alerts: sorted(rows("alerts").map(alert)),
        held_back: document["held_back"].clone(),
        missed: document["missed"].clone(),
    }
}

fn config(prometheus: &Prometheus, receivers: &[String]) -> String {
    format!(
        "interval: 1s\nsource: {{prometheus: {{url: '{}', delay: 2s}}}}\nserver: {{listen: '127.0.0.1:0'}}\n\
         rule_files: [rules.yml]\nreceivers: [{}]\n\
         route: {{receivers: [team], repeat_interval: 15s, \
         routes: [{{match: {{urgency: page, stage: critical}}, receivers: [oncall, team]}}]}}\n",
        prometheus.url(),
        receivers.join(", ")
    )
}

/// The same receivers, of kinds that must never hear of a replay.
fn decoys(base: &str) -> [String; 2] {
    let key = "k".repeat(32);
    [
        format!("{{name: oncall, pagerduty: {{routing_key: {key}, url: '{base}/v2/enqueue'}}}}"),
        format!("{{name: team, slack: {{webhook_url: '{base}/services/T/B/X'}}}}"),
    ]
}

fn notification(told: &Value) -> String {
    let fields = ["at", "receiver", "reason", "incident", "stage", "urgency", "summary"];
    fields.map(|field| text(&told[field])).join(" | ")
}

/// From a replay, from the status, or from the log, which writes labels as text and no layer as an empty one.
fn alert(record: &Value) -> String {
    let labels = match &record["labels"] {
        Value::Object(labels) => {
            labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
        }
        labels => labels.as_str().unwrap_or_default().to_owned(),
    };
    let fields = ["journey", "layer", "rule", "urgency", "stage", "breached_at", "fired_at"];
    let fields = fields.map(|field| text(&record[field])).join(" | ");
    let ended_at = record["ended_at"].as_str().unwrap_or_default();
    format!("{fields} | {ended_at} | {{{labels}}} {}", record["peak_usage"])
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
