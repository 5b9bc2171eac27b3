//! Ctrl-C, the bar, and files for a replay, by the command itself against a source that hangs in the middle of history.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration as StdDuration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use slowburn::engine::time::{Duration, Timestamp};

use crate::source::SLOT;
use crate::source_real::{SPAN, openmetrics};

const PODS: usize = 2;
const WITHIN: StdDuration = StdDuration::from_secs(60);
/// Four slices of the most slots that a query answers.
const LENGTH: Duration = Duration::from_days(14);
/// What a pipe holds that nobody reads.
const PIPE_BYTES: usize = 64 << 10;

/// A configuration of one layer, which is as `layer` says.
pub fn one_layer(url: &str, layer: &str) -> String {
    format!(
        "
source: {{prometheus: {{url: '{url}'}}}}
receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}]
rules: [{{name: spike, burn_rate: 14.4, long: 10m, short: 1m, urgency: page}}]
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 1h
    rules: [spike]
    layers: [{{name: edge, budget: 100ms, {layer}}}]
"
    )
}

/// A source without remote read that answers some slices and then hangs.
struct Source {
    url: String,
    asked: Arc<AtomicUsize>,
    folder: tempfile::TempDir,
}

#[derive(Clone)]
struct Shared {
    answers: usize,
    asked: Arc<AtomicUsize>,
}

impl Source {
    async fn start(answers: usize) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/api/v1/series", post(series))
            .route("/api/v1/query_range", post(range))
            .fallback(async || StatusCode::NOT_FOUND)
            .with_state(Shared { answers, asked: Arc::clone(&asked) });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("slowburn.yml"), one_layer(&url, "by: [pod], histogram: m")).unwrap();
        Self { url, asked, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, command: &str) -> Command {
        let mut slowburn = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        let [from, to] = [SLOT, SLOT + LENGTH].map(|at| at.unix_s().to_string());
        slowburn.arg(command).arg("--config").arg(self.path("slowburn.yml")).args(["--from", &from, "--to", &to]);
        slowburn.stdout(Stdio::piped()).stderr(Stdio::piped());
        slowburn
    }

    /// Waits for the request that hangs.
    async fn hangs(&self, answers: usize) {
        let hanging = async {
            while self.asked.load(Ordering::Relaxed) <= answers {
                tokio::time::sleep(StdDuration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(WITHIN, hanging).await.expect("the source was not asked");
    }
}

fn metrics() -> impl Iterator<Item = Value> {
    let one = |pod| ["0.1", "+Inf"].map(|le| json!({"__name__": "m_bucket", "pod": format!("pod-{pod}"), "le": le}));
    (0..PODS).flat_map(one)
}

async fn series() -> Json<Value> {
    Json(json!({"status": "success", "data": metrics().collect::<Vec<_>>()}))
}

async fn range(State(shared): State<Shared>, form: String) -> Response {
    if shared.asked.fetch_add(1, Ordering::Relaxed) >= shared.answers {
        std::future::pending::<()>().await;
    }
    let form = reqwest::Url::parse(&format!("form:?{form}")).unwrap();
    let number = |name: &str| -> f64 {
        let found = form.query_pairs().find(|(key, _)| key == name);
        found.unwrap().1.parse().unwrap()
    };
    let (start, end, step) = (number("start"), number("end"), number("step"));
    let times = || (0..).map(|slot| start + step * f64::from(slot)).take_while(|at| *at <= end);
    let values: Vec<Value> = times().map(|at| json!([at, ((at / step) as i64).to_string()])).collect();
    let rows = metrics().map(|metric| json!({"metric": metric, "values": values}));
    let data = json!({"resultType": "matrix", "result": rows.collect::<Vec<_>>()});
    Json(json!({"status": "success", "data": data})).into_response()
}

fn interrupt(child: &Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

async fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    said(tokio::time::timeout(WITHIN, output).await.expect("it does not end").unwrap())
}

fn said(output: Output) -> (Option<i32>, String, String) {
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

fn end_of(document: &str) -> Timestamp {
    let document: Value = serde_json::from_str(document).unwrap();
    serde_json::from_value(document["to"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_shows_how_far_it_came() {
    let source = Source::start(2).await;
    let child = source.command("replay").args(["--format", "json"]).spawn().unwrap();
    source.hangs(2).await;
    // Let what was answered be worked through: that is the whole point of waiting for more.
    tokio::time::sleep(StdDuration::from_millis(500)).await;
    interrupt(&child);
    let (code, out, err) = ended(child).await;
    assert_eq!(code, Some(130), "{err}");
    let to = end_of(&out);
    assert!(to > SLOT && to < SLOT + LENGTH, "{to}");
    assert_eq!(err, format!("interrupted: what is shown ends at {to}\n"));
    // Of nothing there is nothing to show.
    let nothing = Source::start(0).await;
    let child = nothing.command("replay").spawn().unwrap();
    nothing.hangs(0).await;
    interrupt(&child);
    let expected = (Some(130), String::new(), "interrupted before anything was replayed\n".to_owned());
    assert_eq!(ended(child).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_at_once() {
    let source = Source::start(2).await;
    // Nobody reads what it prints, and there is no room for it, so it cannot end by itself.
    let (_unread, mut full) = std::io::pipe().unwrap();
    full.write_all(&vec![0; PIPE_BYTES]).unwrap();
    let mut child = source.command("replay").stdout(full).spawn().unwrap();
    source.hangs(2).await;
    tokio::time::sleep(StdDuration::from_millis(500)).await;
    interrupt(&child);
    for _ in 0..20 {
        tokio::time::sleep(StdDuration::from_millis(50)).await;
        assert!(child.try_wait().unwrap().is_none(), "there was room for what it prints");
    }
    interrupt(&child);
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    assert_eq!(tokio::time::timeout(WITHIN, code).await.expect("it does not end").unwrap(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_recording_is_a_shorter_one() {
    let source = Source::start(2).await;
    let file = source.path("cut.rec");
    let child = source.command("record").arg("--out").arg(&file).spawn().unwrap();
    source.hangs(2).await;
    tokio::time::sleep(StdDuration::from_millis(500)).await;
    interrupt(&child);
    let (code, out, err) = ended(child).await;
    assert_eq!((code, &*out), (Some(130), ""), "{err}");
    assert!(err.starts_with("recorded ") && err.ends_with("cut.rec; interrupted, so it ends early\n"), "{err}");
    let replay = |file: &Path| {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        let config = source.path("slowburn.yml");
        said(
            replay
                .args(["replay", "--format", "json", "--config"])
                .arg(config)
                .arg("--recording")
                .arg(file)
                .output()
                .unwrap(),
        )
    };
    let (code, out, err) = replay(&file);
    assert_eq!((code, &*err), (Some(0), ""));
    assert!(end_of(&out) > SLOT && end_of(&out) < SLOT + LENGTH, "{out}");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["missed"]["slots"], 0);
    // Nothing is left where there was nothing to record.
    let nothing = Source::start(0).await;
    let child = nothing.command("record").arg("--out").arg(nothing.path("none.rec")).spawn().unwrap();
    nothing.hangs(0).await;
    interrupt(&child);
    let (code, _, err) = ended(child).await;
    assert_eq!((code, &*err), (Some(130), "interrupted before anything was recorded\n"));
    assert!(!nothing.path("none.rec").exists() && !nothing.url.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_bar_says_how_fast_and_how_long() {
    let source = Source::start(2).await;
    let [from, to] = [SLOT, SLOT + LENGTH].map(|at| at.unix_s().to_string());
    let config = source.path("slowburn.yml").display().to_string();
    let program = env!("CARGO_BIN_EXE_slowburn");
    let line = format!(
        "stty cols 80; timeout --foreground -s INT 5 {program} replay --config {config} --from {from} --to {to} >/dev/null"
    );
    let output = Command::new("script").args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::null()).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let shown = anstream::adapter::strip_str(&text).to_string();
    let bars: Vec<&str> = shown.split(['\r', '\n']).filter(|line| line.contains("slots/s")).collect();
    let last = bars.last().expect("there is no bar");
    assert!(last.starts_with("Replaying ━") && last.contains("%  ") && last.contains(" left  2026-03-0"), "{last}");
    assert!(bars.iter().all(|bar| bar.trim_end().chars().count() <= 80), "{bars:?}");
    assert!(shown.contains("interrupted: what is shown ends at"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_narrow_terminal_words_do_without_a_bar() {
    let source = Source::start(2).await;
    let [from, to] = [SLOT, SLOT + LENGTH].map(|at| at.unix_s().to_string());
    let config = source.path("slowburn.yml").display().to_string();
    let program = env!("CARGO_BIN_EXE_slowburn");
    let line = format!(
        "stty cols 40 rows 20; timeout --foreground -s INT 5 {program} replay --config {config} --from {from} --to {to} >/dev/null"
    );
    let output = Command::new("script").args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::null()).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let shown = anstream::adapter::strip_str(&text).to_string();
    let bars: Vec<&str> = shown.split(['\r', '\n']).filter(|line| line.contains(" left  2026-03-0")).collect();
    assert!(!bars.is_empty() && bars.iter().all(|bar| bar.trim_end().chars().count() <= 40), "{shown}");
    assert!(!shown.contains("slots/s"), "{shown}");
}

#[test]
fn an_interrupted_search_shows_and_writes_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("slowburn.yml"), crate::files::text("http://127.0.0.1:9")).unwrap();
    fs::write(path("history.txt"), openmetrics()).unwrap();
    let [start, end] = [SLOT, SLOT + Duration::from_minutes(30)];
    fs::write(path("incidents.csv"), format!("journey,start,end\ncheckout,{start},{end}\n")).unwrap();
    // More candidates than anybody waits for.
    let args = ["--trials", "100000", "--max-pages-per-week", "1000000", "--burn-rate", "0.1..10", "--consecutive"];
    let tune = format!(
        "echo $$ > {}; exec {} tune --config {} --recording {} --incidents {} {} 1..10 --out {}",
        path("pid"),
        env!("CARGO_BIN_EXE_slowburn"),
        path("slowburn.yml"),
        path("history.txt"),
        path("incidents.csv"),
        args.join(" "),
        path("tuned.yml"),
    );
    fs::write(path("tune.sh"), tune).unwrap();
    let line = format!("stty cols 80; exec sh {}", path("tune.sh"));
    let mut terminal = Command::new("script");
    terminal.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().unwrap();
    let mut shown = terminal.stdout.take().unwrap();
    let mut text = Vec::new();
    let mut some = [0; 4096];
    let is_searching = |text: &[u8]| String::from_utf8_lossy(text).contains("candidates/s");
    while !is_searching(&text) {
        let length = shown.read(&mut some).unwrap();
        assert!(length > 0, "it ended by itself: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&some[..length]);
    }
    let killed = Command::new("kill").args(["-INT", fs::read_to_string(path("pid")).unwrap().trim()]).status();
    assert!(killed.unwrap().success());
    shown.read_to_end(&mut text).unwrap();
    assert_eq!(terminal.wait().unwrap().code(), Some(130));
    let text = anstream::adapter::strip_str(&String::from_utf8(text).unwrap()).to_string();
    let lines = || text.split(['\r', '\n']);
    let bars = || lines().filter(|line| line.contains("candidates/s, "));
    assert!(bars().any(|bar| bar.starts_with("Trying ")) && text.contains("Checking"), "{text}");
    assert!(bars().all(|bar| bar.trim_end().chars().count() <= 80), "{text}");
    assert!(text.contains("combinations (seed 1), then stopped, of"), "{text}");
    let written = fs::read_to_string(path("tuned.yml")).unwrap();
    assert!(written.contains("# The search was stopped early: there may be better ones."), "{written}");
}

#[test]
fn a_recording_can_be_made_of_any_file_and_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("slowburn.yml"), crate::files::text("http://127.0.0.1:9")).unwrap();
    fs::write(path("history.txt"), openmetrics()).unwrap();
    let slowburn = |command: &str, args: &[&str]| {
        let mut slowburn = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        said(slowburn.args([command, "--config", &path("slowburn.yml")]).args(args).output().unwrap())
    };
    let replay = |file: &str| slowburn("replay", &["--format", "json", "--recording", &path(file)]);
    let record = |more: &[&str]| {
        let [from, to] = ["history.txt", "history.rec"].map(path);
        let args = [&["--recording", &from, "--out", &to], more].concat();
        slowburn("record", &args)
    };
    let (code, out, err) = record(&[]);
    assert_eq!((code, &*out), (Some(0), ""), "{err}");
    let bytes = fs::metadata(path("history.rec")).unwrap().len();
    let told = err.lines().last().unwrap_or_default();
    assert!(
        told.starts_with("recorded 240 slots, 2026-") && told.contains(&format!("{} kB", bytes.div_ceil(1000))),
        "{err}"
    );
    let text = fs::metadata(path("history.txt")).unwrap().len();
    assert!(bytes * 10 < text, "{bytes} of {text}");
    assert_eq!(replay("history.rec"), replay("history.txt"));
    let (code, _, err) = record(&[]);
    assert!(code == Some(2) && err.contains("history.rec' is there already; --force writes it anew"), "{err}");
    assert_eq!(record(&["--force"]).0, Some(0));
    assert_eq!(replay("history.rec"), replay("history.txt"));
    let (code, _, err) = slowburn("record", &["--out", &path("no.rec")]);
    assert!(code == Some(2) && err.contains("cannot connect") && err.contains("nothing was recorded"), "{err}");
    assert!(!folder.path().join("no.rec").exists());
}

#[test]
fn silences_hold_back_in_a_replay_what_they_did_in_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("slowburn.yml"), crate::files::text("http://127.0.0.1:9")).unwrap();
    fs::write(path("history.txt"), openmetrics()).unwrap();
    let replay = |args: &[&str]| {
        let mut slowburn = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        slowburn.args(["replay", "--format", "json", "--config", &path("slowburn.yml")]);
        said(slowburn.args(["--recording", &path("history.txt")]).args(args).output().unwrap())
    };
    let (_, plain, remarks) = replay(&[]);
    let with = |silences: Value| {
        fs::write(path("silences.json"), silences.to_string()).unwrap();
        let (code, out, err) = replay(&["--silences", &path("silences.json")]);
        assert_eq!((code, &err), (Some(0), &remarks));
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let silence = |journey: &str, from: Timestamp, to: Timestamp| {
        let matcher = json!({"name": "journey", "value": journey, "isRegex": false, "isEqual": true});
        json!({"id": "a", "matchers": [matcher], "startsAt": from, "endsAt": to, "createdBy": "ada", "comment": "x"})
    };
    let listed = |silence: Value| json!({"status": "success", "data": {"now": SLOT, "silences": [silence]}});
    // That the source is out of sight is nobody's journey.
    let told = |document: &Value| {
        let notifications = document["notifications"].as_array().unwrap();
        notifications.iter().filter(|told| told["incident"].as_str().unwrap().contains("checkout")).count()
    };

    let plain: Value = serde_json::from_str(&plain).unwrap();
    assert!(told(&plain) > 0);
    assert_eq!(with(listed(silence("no-such", SLOT, SLOT + SPAN))), plain);
    assert_eq!(with(listed(silence("checkout", SLOT - SPAN, SLOT))), plain, "it is over");
    let held = with(json!([silence("checkout", SLOT, SLOT + SPAN + SPAN)]));
    assert!(told(&held) == 0 && held["held_back"]["silenced"].as_u64() > Some(0), "{held}");
    // What is not told still is.
    assert_eq!((&held["alerts"], &held["slos"]), (&plain["alerts"], &plain["slos"]));
    // What stands when a silence ends is told then.
    let end = SLOT + Duration::from_minutes(10);
    let late = with(json!([silence("checkout", SLOT, end)]));
    assert_eq!(late["notifications"][0]["at"], json!(end), "{late}");

    let refused = |text: &str, why: &str| {
        fs::write(path("bad.json"), text).unwrap();
        let (code, out, err) = replay(&["--silences", &path("bad.json")]);
        assert!(code == Some(2) && out.is_empty() && err.contains("bad.json") && err.contains(why), "{err}");
    };
    refused("silences: []", "is not JSON");
    refused("{}", "no list of");
    refused("[{\"id\": \"b\"}]", "silence 1 (b): missing field");
    let (code, _, err) = replay(&["--silences", &path("no-such.json")]);
    assert!(code == Some(2) && err.contains("cannot read"), "{err}");
}
