//! How long a replay of 30 days takes, beside those who do alike: fetching the same chunks and throwing them away,
//! `vmalert -replay` of the same rules, and `promtool tsdb dump` of the same buckets; and what 5, 50 and 200 layers take.
//!
//! Run with `cargo bench --bench replay`; needs prometheus, promtool and vmalert. Every figure is the median of five
//! runs, which take turns, or of five times as many where one takes a fraction of a second. The server's time is what its
//! process used of the processors, from `/proc/PID/stat`.
//!
//! vmalert runs twice: with what `slowburn rules export` makes of the very rules, both stages of them; and with less,
//! the way Sloth writes rules: each window's error ratio recorded once, and one alert a rule on the recorded series.
//! Those alerts find nothing, because what is recorded goes to a sink; that only makes vmalert faster.
//!
//! The layers of the last table are made up and come from a recording: their blocks would take promtool too long.

#[path = "../tests/it/history.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod history;

#[path = "../src/source/prometheus/remote/message.rs"]
mod message;

#[path = "../tests/it/quality.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod quality;

#[path = "../tests/it/real.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod real;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use message::{Matcher, Query, ReadRequest};
use slowburn::clock::Stopwatch;
use slowburn::config::{self, HttpClient};
use slowburn::engine::counts::Counts;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::source::prometheus::{History, HistorySeries};
use slowburn::source::recording::Writer;

const DAYS: i64 = 30;
const RUNS: usize = 5;
/// How often what takes a fraction of a second runs in each of them.
const SHORT_RUNS: usize = 5;
/// How many half seconds a server may take to clear up after what was asked of it.
const MOST_RESTS: usize = 20;
const RULES: &str = "
rules:
  - {name: spike,     burn_rate: 14.4, long: 10m, short: 1m,  urgency: page}
  - {name: fast-burn, burn_rate: 14.4, long: 1h,  short: 5m,  urgency: page}
  - {name: slow-burn, burn_rate: 6,    long: 6h,  short: 30m, urgency: page}
  - {name: drain,     burn_rate: 3,    long: 1d,  short: 2h,  urgency: ticket}
";
/// Factor, long and short window of each.
const BURN_RATES: [(&str, &str, &str); 4] =
    [("14.4", "10m", "1m"), ("14.4", "1h", "5m"), ("6", "6h", "30m"), ("3", "1d", "2h")];
/// Name, budget in seconds and in milliseconds.
const LAYERS: [(&str, &str, &str); 5] = [
    ("edge", "0.01", "10ms"),
    ("gateway", "0.005", "5ms"),
    ("service", "0.03", "30ms"),
    ("database", "0.04", "40ms"),
    ("network", "0.01", "10ms"),
];
/// A clock tick of `/proc/PID/stat`: a hundred a second on every Linux there is.
const TICKS_PER_S: f64 = 100.0;

/// Seconds of each run, and of the server's processors.
#[derive(Default)]
struct Times {
    wall_s: Vec<f64>,
    server_s: Vec<f64>,
}

fn main() {
    let plan = quality::plan(1, DAYS);
    let (from, to) = (plan.from, plan.to());
    let server = real::Prometheus::with_history(&history::openmetrics(&plan.series()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("slowburn.yml");
    std::fs::write(&config, configuration(&server.url())).expect("a file");
    let [rules, like_sloth] = ["rules.yml", "like-sloth.yml"].map(|name| folder.path().join(name));
    std::fs::write(&like_sloth, sloth_rules()).expect("a file");
    // This vmalert does not know how long an alert is to be kept firing.
    let exported = String::from_utf8(slowburn(&["rules", "export", "--config", text(&config)])).expect("it is UTF-8");
    let known: Vec<&str> = exported.lines().filter(|line| !line.contains("keep_firing_for")).collect();
    std::fs::write(&rules, known.join("\n")).expect("a file");
    let sink = sink();

    let [mut replay, mut fetch, mut vmalert, mut sloth] = [(); 4].map(|()| Times::default());
    let [from_s, to_s] = [from, to].map(|at| at.unix_s().to_string());
    let mut bytes = 0;
    let out = folder.path().join("out.json");
    for _ in 0..RUNS {
        // Both are so short that the first one would pay for what vmalert leaves behind.
        rest(&server);
        fetch_chunks(&server.url(), from - Duration::from_days(DAYS), to);
        for _ in 0..SHORT_RUNS {
            replay.run(&server, || {
                let range = ["--from", &from_s, "--to", &to_s, "--format", "json", "--out", text(&out)];
                slowburn(&[&["replay", "--config", text(&config)], &range[..]].concat());
            });
            fetch.run(&server, || bytes = fetch_chunks(&server.url(), from - Duration::from_days(DAYS), to));
        }
        vmalert.run(&server, || replay_with_vmalert(&server.url(), &sink, &rules, from, to));
        sloth.run(&server, || replay_with_vmalert(&server.url(), &sink, &like_sloth, from, to));
    }
    println!("{DAYS} days at 30 s, 5 layers of 2 instances, 4 rules; medians of {RUNS}; {} KB of chunks", bytes / 1024);
    println!("{:<44} {:>9} {:>12}", "", "wall", "server's CPU");
    for (name, times) in [
        ("slowburn replay", &replay),
        ("fetching the chunks", &fetch),
        ("vmalert -replay, the same rules", &vmalert),
        ("vmalert -replay, rules like Sloth's", &sloth),
    ] {
        println!("{name:<44} {:>7.3} s {:>10.3} s", median(&times.wall_s), mean(&times.server_s));
    }
    ratio("as fast as vmalert (at least 50)", median(&vmalert.wall_s) / median(&replay.wall_s));
    ratio("  with rules like Sloth's", median(&sloth.wall_s) / median(&replay.wall_s));
    ratio("times fetching alone (at most 4)", median(&replay.wall_s) / median(&fetch.wall_s));
    ratio("of the server's CPU saved (at least 50)", mean(&vmalert.server_s) / mean(&replay.server_s).max(0.001));
    files(&server, &config, [&from_s, &to_s]);
    layers();
}

/// The same from files, beside promtool's dump of the same buckets.
fn files(server: &real::Prometheus, config: &Path, [from_s, to_s]: [&str; 2]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [recording, packed, dump, out] =
        ["recording", "recording.gz", "dump", "out.json"].map(|name| folder.path().join(name));
    let range = ["--config", text(config), "--from", from_s, "--to", to_s];
    slowburn(&[&["record", "--out", text(&recording)], &range[..]].concat());
    let data = server.data();
    let dump_tsdb = || {
        let of = "{__name__=\"request_duration_seconds_bucket\"}";
        let dump = Command::new("promtool").args(["tsdb", "dump", "--match", of, text(&data)]).output();
        dump.expect("promtool is installed").stdout
    };
    std::fs::write(&dump, dump_tsdb()).expect("a file");
    let file = File::create(&packed).expect("a file");
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(&std::fs::read(&recording).expect("a recording")).and_then(|()| gzip.finish()).expect("a file");
    println!("\n{:<44} {:>9} {:>9} {:>9} {:>9}", "the same from files", "wall", "own CPU", "memory", "size");
    for (name, flag, file) in [
        ("slowburn replay --tsdb", "--tsdb", &data),
        ("slowburn replay --recording", "--recording", &recording),
        ("  packed with gzip", "--recording", &packed),
        ("  what promtool dumps, as text", "--recording", &dump),
    ] {
        let arguments = [&["replay", "--format", "json", "--out", text(&out), flag, text(file)], &range[..]].concat();
        let runs: Vec<Cost> = (0..RUNS).map(|_| cost(&arguments)).collect();
        row(name, &runs, std::fs::metadata(file).map_or(0, |file| if file.is_file() { file.len() } else { 0 }));
    }
    let mut wall_s = Vec::new();
    for _ in 0..RUNS {
        let stopwatch = Stopwatch::start();
        dump_tsdb();
        wall_s.push(stopwatch.elapsed_s());
    }
    println!("{:<44} {:>7.3} s", "promtool tsdb dump", median(&wall_s));
}

/// What more layers cost.
fn layers() {
    println!(
        "\n{:<44} {:>9} {:>9} {:>9} {:>9}",
        "30 days from a recording, 2 instances", "wall", "own CPU", "memory", "size"
    );
    for (layers, gaps) in [(5, false), (50, false), (50, true), (200, false)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [config, recording, out] = ["slowburn.yml", "recording", "out.json"].map(|name| folder.path().join(name));
        let made = made_up(layers);
        std::fs::write(&config, &made).expect("a file");
        record(&made, layers, gaps, &recording);
        let arguments = ["replay", "--config", text(&config), "--format", "json", "--out", text(&out)];
        let arguments = [&arguments[..], &["--recording", text(&recording)]].concat();
        let runs: Vec<Cost> = (0..RUNS).map(|_| cost(&arguments)).collect();
        let name = format!("{layers} layers{}", if gaps { ", each series gone now and then" } else { "" });
        row(&name, &runs, std::fs::metadata(&recording).map_or(0, |file| file.len()));
    }
}

/// Journeys of five layers each.
fn made_up(layers: usize) -> String {
    let journey = |number: usize| {
        let layer = |layer: usize| {
            format!("      - {{name: l{layer}, budget: 10ms, histogram: 'made_up_seconds{{layer=\"{layer}\"}}'}}\n")
        };
        let layers: String = (number * 5..layers.min(number * 5 + 5)).map(layer).collect();
        let rules = "rules: [spike, fast-burn, slow-burn, drain]";
        format!("  - name: journey-{number}\n    budget: 100ms\n    objective: 99%\n    {rules}\n    layers:\n{layers}")
    };
    let journeys: String = (0..layers.div_ceil(5)).map(journey).collect();
    format!(
        "source: {{prometheus: {{url: 'http://127.0.0.1:9'}}}}\n\
         receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}]{RULES}journeys:\n{journeys}"
    )
}

/// Writes the history of layers with some slow requests, and an hour each in which many are. With `gaps`, each series is
/// not there for a minute or two, six times a day.
fn record(config: &str, layers: usize, gaps: bool, file: &Path) {
    let texts = BTreeMap::from([("slowburn.yml".to_owned(), config.to_owned())]);
    let config = match config::load_texts("slowburn.yml", &texts, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    };
    let (from, step, slots) = (Timestamp::from_unix_s(1_772_409_600), Duration::from_secs(30), 2_880);
    let day = |day: i64| from + Duration::from_days(day);
    let out = BufWriter::new(File::create(file).expect("a file"));
    let mut writer = Writer::new(out, &config, from, day(DAYS) - step).expect("a file");
    let bounds: Arc<[f64]> = [0.01, f64::INFINITY].into();
    let mut random = history::Random::new(1);
    let mut counted = vec![[0.0; 2]; layers * 2];
    for number in 0..DAYS {
        let mut series = Vec::new();
        for (index, counted) in counted.iter_mut().enumerate() {
            let (slo, instance) = (index / 2, index % 2);
            let labels = [("layer", slo.to_string()), ("pod", instance.to_string())];
            let mut counts = Vec::with_capacity(slots * 2);
            let mut gone_until = 0;
            for slot in 0..slots {
                let is_bad = (number as usize + slo) % 10 == 3 && (1_000..1_120).contains(&slot);
                let requests = 900 + random.below(200);
                let slow = if is_bad { requests / 3 } else { random.below(4) };
                counted[0] += (requests - slow) as f64;
                counted[1] += requests as f64;
                if gaps && random.below(480) == 0 {
                    gone_until = slot + 2 + random.below(3);
                }
                counts.extend(if slot < gone_until { [f64::NAN; 2] } else { *counted });
            }
            let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
            series.push(HistorySeries { slo, labels, bounds: bounds.clone(), counts: Counts::new(counts, 2) });
        }
        let (flawed, warnings) = (Vec::new(), Vec::new());
        let history = History { from: day(number), step, slots, series, flawed, warnings, partial: false };
        writer.push(&history).expect("a file");
    }
    writer.finish().expect("a file");
}

/// What a run of the program took.
struct Cost {
    wall_s: f64,
    cpu_s: f64,
    memory_mb: f64,
}

fn row(name: &str, runs: &[Cost], size: u64) {
    let of = |part: fn(&Cost) -> f64| median(&runs.iter().map(part).collect::<Vec<f64>>());
    let (wall_s, cpu_s, memory_mb) = (of(|run| run.wall_s), of(|run| run.cpu_s), of(|run| run.memory_mb));
    println!("{name:<44} {wall_s:>7.3} s {cpu_s:>7.3} s {memory_mb:>6.0} MB {:>6.1} MB", size as f64 / 1e6);
}

fn cost(arguments: &[&str]) -> Cost {
    let stopwatch = Stopwatch::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .expect("slowburn is built");
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
    let mut memory_kb = 0.0f64;
    loop {
        let status = of("status");
        if status.contains("State:\tZ") {
            break;
        }
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        memory_kb = memory_kb.max(peak.unwrap_or(0.0));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (wall_s, cpu_s) = (stopwatch.elapsed_s(), cpu_s(child.id()));
    assert!(child.wait().expect("it ended").success(), "{arguments:?}");
    Cost { wall_s, cpu_s, memory_mb: memory_kb / 1024.0 }
}

fn ratio(what: &str, ratio: f64) {
    println!("{what:<44} {ratio:>8.1}x");
}

impl Times {
    fn run(&mut self, server: &real::Prometheus, work: impl FnOnce()) {
        let before_s = cpu_s(server.pid());
        let stopwatch = Stopwatch::start();
        work();
        self.wall_s.push(stopwatch.elapsed_s());
        self.server_s.push(cpu_s(server.pid()) - before_s);
    }
}

/// Waits until the server has cleared up.
fn rest(server: &real::Prometheus) {
    for _ in 0..MOST_RESTS {
        let before_s = cpu_s(server.pid());
        std::thread::sleep(std::time::Duration::from_millis(500));
        if cpu_s(server.pid()) == before_s {
            return;
        }
    }
}

/// The processor time of a process so far, in seconds.
fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name may hold anything; what follows it does not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number of ticks");
    (ticks(11) + ticks(12)) / TICKS_PER_S
}

fn median(runs: &[f64]) -> f64 {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

/// For times as short as the clock's ticks are.
fn mean(runs: &[f64]) -> f64 {
    runs.iter().sum::<f64>() / runs.len() as f64
}

fn configuration(url: &str) -> String {
    let layer = |(name, _, budget): &(&str, &str, &str)| {
        format!(
            "      - {{name: {name}, budget: {budget}, histogram: 'request_duration_seconds{{layer=\"{name}\"}}'}}\n"
        )
    };
    format!(
        "source: {{prometheus: {{url: '{url}'}}}}\n\
         receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}]{RULES}journeys:\n  \
         - name: checkout\n    budget: 100ms\n    objective: 99%\n    rules: [spike, fast-burn, slow-burn, drain]\n    \
         layers:\n{}",
        LAYERS.iter().map(layer).collect::<String>()
    )
}

/// The rules as Sloth would have them: recorded error ratios, one a window, and alerts on these.
fn sloth_rules() -> String {
    let mut text = "groups:\n- name: slo\n  interval: 30s\n  rules:\n".to_owned();
    for (layer, le, _) in LAYERS {
        let rate = |le: &str, window: &str| {
            format!("sum(rate(request_duration_seconds_bucket{{layer=\"{layer}\",le=\"{le}\"}}[{window}]))")
        };
        for window in BURN_RATES.iter().flat_map(|(_, long, short)| [long, short]) {
            let ratio = format!("1 - {} / {}", rate(le, window), rate("+Inf", window));
            text += &format!("  - record: slo:sli_error:ratio_rate{window}\n    expr: {ratio}\n");
            text += &format!("    labels: {{layer: {layer}}}\n");
        }
        for (factor, long, short) in BURN_RATES {
            let over = |window| format!("slo:sli_error:ratio_rate{window}{{layer=\"{layer}\"}} > ({factor} * 0.01)");
            text += &format!("  - alert: BurnRate{long}\n    expr: {} and {}\n", over(long), over(short));
        }
    }
    text
}

fn slowburn(arguments: &[&str]) -> Vec<u8> {
    let run = Command::new(env!("CARGO_BIN_EXE_slowburn")).args(arguments).output().expect("slowburn is built");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

/// The very chunks that a replay asks for. Returns their bytes.
fn fetch_chunks(url: &str, from: Timestamp, to: Timestamp) -> usize {
    let matcher = |kind, name: &str, value: &str| Matcher { kind, name: name.into(), value: value.into() };
    let query = |(layers, le): (&str, &str)| {
        let metric = matcher(0, "__name__", "request_duration_seconds_bucket");
        let matchers = vec![metric, matcher(2, "layer", layers), matcher(2, "le", le)];
        Query { start_timestamp_ms: from.unix_ms(), end_timestamp_ms: to.unix_ms(), matchers }
    };
    let asked = [
        ("edge|network", r"0\.01|\+Inf"),
        ("gateway", r"0\.005|\+Inf"),
        ("service", r"0\.03|\+Inf"),
        ("database", r"0\.04|\+Inf"),
    ];
    let body = ReadRequest::of(asked.map(query).to_vec()).packed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = slowburn::http::client(&HttpClient::default()).expect("a client");
        let sent = client
            .post(format!("{url}/api/v1/read"))
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0");
        let mut answer = sent.body(body).send().await.expect("an answer");
        assert!(answer.status().is_success());
        let mut bytes = 0;
        while let Some(chunk) = answer.chunk().await.expect("all of it") {
            bytes += chunk.len();
        }
        bytes
    })
}

fn replay_with_vmalert(url: &str, sink: &str, rules: &Path, from: Timestamp, to: Timestamp) {
    // As kind to it as its flags allow: long queries, and no pause between rules.
    let run = Command::new("vmalert")
        .args(["-replay.disableProgressBar", "-replay.maxDatapointsPerQuery=10000", "-replay.rulesDelay=0s"])
        .arg(format!("-rule={}", rules.display()))
        .arg(format!("-datasource.url={url}"))
        .arg(format!("-remoteWrite.url={sink}"))
        .arg(format!("-replay.timeFrom={from}"))
        .arg(format!("-replay.timeTo={to}"))
        .args(["-evaluationInterval=30s", "-loggerLevel=ERROR", "-httpListenAddr=127.0.0.1:0"])
        .stdout(Stdio::null())
        .output()
        .expect("vmalert is installed");
    assert!(run.status.success(), "vmalert: {}", String::from_utf8_lossy(&run.stderr));
}

/// Takes whatever is written to it. Returns its address.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || swallow(connection));
        }
    });
    url
}

fn swallow(mut connection: TcpStream) -> Option<()> {
    let mut read = Vec::new();
    let mut piece = [0; 64 * 1024];
    loop {
        while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            let whole = end + 4 + length.unwrap_or(0usize);
            while read.len() < whole {
                let more = connection.read(&mut piece).ok().filter(|more| *more > 0)?;
                read.extend_from_slice(&piece[..more]);
            }
            read.drain(..whole);
            connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
        }
        let more = connection.read(&mut piece).ok().filter(|more| *more > 0)?;
        read.extend_from_slice(&piece[..more]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
