//! A replay sends nothing, as the kernel saw it: every connection that the program opens is to the source it reads from,
//! and with a file or a directory there is none at all.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use slowburn::engine::time::Timestamp;

use crate::history::openmetrics;
use crate::quality;
use crate::real::Prometheus;

/// What asks the kernel for a connection, or sends without one.
const CALLS: &str = "trace=connect,sendto,sendmsg,sendmmsg";
const FORMATS: [&str; 2] = ["text", "json"];

#[test]
#[ignore = "needs prometheus, strace"]
fn a_replay_connects_to_nobody_but_the_source() {
    let plan = quality::plan(3, 1);
    let text = openmetrics(&plan.series());
    let server = Prometheus::with_history(&text);
    let traced = Traced::new(&server.url(), (plan.from, plan.to()));
    let source: u16 = server.url().rsplit(':').next().unwrap().parse().unwrap();

    // That the trace shows what there is to see.
    assert_eq!(traced.replay("json", &[]), BTreeSet::from([source]));
    assert_eq!(traced.replay("text", &[]), BTreeSet::from([source]));
    let recording = traced.folder.path().join("checkout.recording");
    assert_eq!(traced.run("record", &["--out", path(&recording)]), BTreeSet::from([source]));
    let openmetrics = traced.folder.path().join("history.om");
    std::fs::write(&openmetrics, text).unwrap();
    let data = server.data();
    for (flag, file) in [("--recording", &recording), ("--recording", &openmetrics), ("--tsdb", &data)] {
        for format in FORMATS {
            assert_eq!(traced.replay(format, &[flag, path(file)]), BTreeSet::new(), "{flag} --format {format}");
        }
    }
    traced.assert_left_alone();
}

/// The program under strace, with receivers of every kind whose addresses nobody may connect to.
struct Traced {
    folder: tempfile::TempDir,
    range: [String; 2],
    decoy: TcpListener,
}

impl Traced {
    fn new(source: &str, (from, to): (Timestamp, Timestamp)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whoever connects to it stays in its queue.
        let decoy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = decoy.local_addr().unwrap();
        std::fs::write(folder.path().join("slowburn.yml"), config(source, &address.to_string())).unwrap();
        Self { folder, range: [from, to].map(|at| at.to_string()), decoy }
    }

    /// The ports that a replay connected to. Fails if it had nothing to tell anybody.
    fn replay(&self, format: &str, origin: &[&str]) -> BTreeSet<u16> {
        let out = self.folder.path().join("out");
        let ports = self.run("replay", &[&["--format", format, "--out", path(&out)], origin].concat());
        let told = std::fs::read_to_string(out).unwrap();
        if format == "json" {
            let document: Value = serde_json::from_str(&told).unwrap();
            let receivers = document["notifications"].as_array().unwrap().iter().map(|told| told["receiver"].as_str());
            let receivers: BTreeSet<&str> = receivers.flatten().collect();
            assert_eq!(receivers.len(), 5, "not everybody would have been told: {receivers:?}");
        }
        ports
    }

    fn run(&self, command: &str, args: &[&str]) -> BTreeSet<u16> {
        let trace = self.folder.path().join("trace");
        let run = Command::new("strace")
            .args(["-f", "-qq", "-e", CALLS, "-o", path(&trace), env!("CARGO_BIN_EXE_slowburn"), command])
            .args(["--config", path(&self.folder.path().join("slowburn.yml"))])
            .args(["--from", &self.range[0], "--to", &self.range[1]])
            .args(args)
            .output()
            .expect("strace is installed");
        assert!(run.status.success(), "{command} {args:?}: {}", String::from_utf8_lossy(&run.stderr));
        ports(&std::fs::read_to_string(trace).unwrap())
    }

    fn assert_left_alone(&self) {
        self.decoy.set_nonblocking(true).unwrap();
        assert_eq!(self.decoy.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a receiver was connected to");
    }
}

/// The ports in the addresses of a trace. Any address but an IPv4 loopback's is a failure.
fn ports(trace: &str) -> BTreeSet<u16> {
    let addressed = trace.lines().filter(|line| line.contains("sa_family="));
    let port = |line: &str| {
        let loopback = line.contains("sa_family=AF_INET,") && line.contains("inet_addr(\"127.0.0.1\")");
        assert!(loopback, "an address nobody configured: {line}");
        line.split("htons(").nth(1)?.split(')').next()?.parse().ok()
    };
    addressed.map(|line| port(line).expect("an address has a port")).collect()
}

fn config(source: &str, decoy: &str) -> String {
    let key = "k".repeat(32);
    let layers = ["edge: 10ms", "gateway: 5ms", "service: 30ms", "database: 40ms", "network: 10ms"].map(|layer| {
        let (name, budget) = layer.split_once(": ").unwrap();
        format!(
            "      - {{name: {name}, budget: {budget}, histogram: 'request_duration_seconds{{layer=\"{name}\"}}'}}\n"
        )
    });
    format!(
        "
source: {{prometheus: {{url: '{source}'}}}}
receivers:
  - {{name: hook, webhook: {{url: 'http://{decoy}/hook'}}}}
  - {{name: pager, pagerduty: {{routing_key: {key}, url: 'http://{decoy}/v2/enqueue'}}}}
  - {{name: chat, slack: {{webhook_url: 'http://{decoy}/services/T/B/X'}}}}
  - {{name: am, alertmanager: {{urls: ['http://{decoy}']}}}}
  - {{name: mail, email: {{smtp: 'smtp://{decoy}', from: slo@example.com, to: [team@example.com]}}}}
route: {{receivers: [hook, pager, chat, am, mail]}}
heartbeat: {{webhook: {{url: 'http://{decoy}/ping'}}, every: 1s}}
rules:
  - {{name: spike, burn_rate: 14.4, long: 10m, short: 1m, urgency: page, consecutive: 2}}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    rules: [spike]
    layers:
{}",
        layers.concat()
    )
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
