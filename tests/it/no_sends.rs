//! What works on history sends nothing, as the kernel saw it: every connection that the program opens is to the source
//! it reads from, and with a file or a directory there is none at all.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::history::{Plan, openmetrics};
use crate::quality;
use crate::real::Prometheus;

/// What asks the kernel for a connection, or sends without one.
const CALLS: &str = "trace=connect,sendto,sendmsg,sendmmsg";
/// Each over every origin of history. What is in capitals is a file of the folder.
const COMMANDS: [&str; 9] = [
    "replay --out OUT --format json",
    "replay --out OUT --format text",
    "replay --out OUT --format html",
    "replay --out OUT --compare RULES",
    "replay --out OUT --compare RULES --format json",
    "replay --out OUT --incidents INCIDENTS --silences SILENCES",
    "tune --incidents INCIDENTS --trials 3",
    "tune --incidents INCIDENTS --silences SILENCES --trials 3 --force --out RULES",
    "record --force --out OUT",
];
const TESTS: &str = "test --show TESTS";

#[test]
#[ignore = "needs prometheus, strace"]
fn nothing_that_works_on_history_connects_to_anybody_but_the_source() {
    let plan = quality::plan(3, 1);
    let text = openmetrics(&plan.series());
    let server = Prometheus::with_history(&text);
    let traced = Traced::new(&server.url(), &plan);
    std::fs::write(traced.path("OPENMETRICS"), text).unwrap();
    let source: u16 = server.url().rsplit(':').next().unwrap().parse().unwrap();
    // First, because it writes what the others read.
    assert_eq!(traced.run("record --out RECORDING", &[]), BTreeSet::from([source]));

    let data = server.data().display().to_string();
    let (recording, openmetrics) = (traced.path("RECORDING"), traced.path("OPENMETRICS"));
    let files = [["--recording", &recording], ["--recording", &openmetrics], ["--tsdb", &data]];
    for command in COMMANDS {
        // That the trace shows what there is to see.
        assert_eq!(traced.run(command, &[]), BTreeSet::from([source]), "{command}");
        for origin in &files {
            assert_eq!(traced.run(command, origin), BTreeSet::new(), "{command} {origin:?}");
        }
        if command == COMMANDS[0] {
            traced.assert_that_everybody_would_be_told();
        }
    }
    assert_eq!(traced.run(TESTS, &[]), BTreeSet::new());
    traced.assert_left_alone();
}

/// The program under strace, with receivers of every kind whose addresses nobody may connect to.
struct Traced {
    folder: tempfile::TempDir,
    range: [String; 2],
    decoy: TcpListener,
}

impl Traced {
    fn new(source: &str, plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whoever connects to it stays in its queue.
        let decoy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = decoy.local_addr().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("slowburn.yml", config(source, &address.to_string()));
        write("RULES", RULES.replace("consecutive: 2", "consecutive: 1"));
        write("TESTS", TESTED.to_owned());
        let incidents = plan.incidents.iter().map(|known| format!("checkout,{},{}\n", known.from, known.to));
        write("INCIDENTS", format!("journey,start,end\n{}", incidents.collect::<String>()));
        write("SILENCES", silences(plan).to_string());
        Self { folder, range: [plan.from, plan.to()].map(|at| at.to_string()), decoy }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The ports that a command connected to.
    fn run(&self, command: &str, origin: &[&str]) -> BTreeSet<u16> {
        let is_file = |word: &str| word.chars().all(|letter| letter.is_ascii_uppercase());
        let words = command.split(' ').map(|word| if is_file(word) { self.path(word) } else { word.to_owned() });
        let trace = self.path("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "--seccomp-bpf", "-e", CALLS, "-o", &trace, env!("CARGO_BIN_EXE_slowburn")]);
        strace.args(words).args(["--config", &self.path("slowburn.yml")]).args(origin);
        if command != TESTS {
            strace.args(["--from", &self.range[0], "--to", &self.range[1]]);
        }
        let run = strace.output().expect("strace is installed");
        assert!(run.status.success(), "{command} {origin:?}: {}", String::from_utf8_lossy(&run.stderr));
        ports(&std::fs::read_to_string(trace).unwrap())
    }

    /// By the document that was written last.
    fn assert_that_everybody_would_be_told(&self) {
        let document: Value = serde_json::from_str(&std::fs::read_to_string(self.path("OUT")).unwrap()).unwrap();
        let receivers = document["notifications"].as_array().unwrap().iter().map(|told| told["receiver"].as_str());
        let receivers: BTreeSet<&str> = receivers.flatten().collect();
        assert_eq!(receivers.len(), 5, "not everybody would have been told: {receivers:?}");
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

const RULES: &str = "\
rules:
  - {name: spike, burn_rate: 14.4, long: 10m, short: 1m, urgency: page, consecutive: 2}
";

const TESTED: &str = "
tests:
  - name: everybody
    traffic: [{journey: checkout, layer: edge, requests: 100/s, slow: 50%}]
    expect_alerts:
      - {at: 30m, alerts: [{journey: checkout, layer: edge, rule: spike, stage: critical}]}
";

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
{RULES}journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    rules: [spike]
    layers:
{}",
        layers.concat()
    )
}

/// One over the second half.
fn silences(plan: &Plan) -> Value {
    let matcher = json!({"name": "layer", "value": "edge", "isRegex": false, "isEqual": true});
    let from = plan.from + plan.length.times(0.5);
    json!([{"id": "a", "matchers": [matcher], "startsAt": from, "endsAt": plan.to(), "createdBy": "ada", "comment": "x"}])
}
