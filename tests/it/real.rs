//! A real Prometheus for tests: on a free loopback port, with its data in a temporary folder, gone with its handle.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration as StdDuration, Instant};

use serde_json::Value;
use slowburn::engine::histogram::Labels;
use slowburn::engine::time::{Duration, Timestamp};

const START_WITHIN: StdDuration = StdDuration::from_secs(60);
const FORM: &str = "application/x-www-form-urlencoded";
const ANSWER_WITHIN: StdDuration = StdDuration::from_secs(120);

/// A running server. Dropping it stops it, also when a test panics; then its log is shown.
pub struct Prometheus {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// One row of an answer.
pub struct Series {
    pub labels: Labels,
    pub points: Vec<(Timestamp, f64)>,
}

impl Prometheus {
    /// Starts a server with this configuration file.
    pub fn start(config_yaml: &str) -> Self {
        Self::start_with(config_yaml, &[])
    }

    /// The same with further flags.
    pub fn start_with(config_yaml: &str, flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config_yaml, flags)
    }

    /// Starts a server that scrapes nothing and whose database holds this OpenMetrics text, timestamps and all.
    pub fn with_history(openmetrics: &str) -> Self {
        Self::with_history_and(openmetrics, "global: {}\n", &[])
    }

    /// The same with a configuration file and further flags.
    pub fn with_history_and(openmetrics: &str, config_yaml: &str, flags: &[&str]) -> Self {
        Self::with_histories_and(&[openmetrics], config_yaml, flags)
    }

    /// The same with blocks of their own for each text.
    pub fn with_histories_and(texts: &[&str], config_yaml: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (text, data) = (folder.path().join("history.om"), folder.path().join("data"));
        for openmetrics in texts {
            fs::write(&text, openmetrics).unwrap();
            // Without the longer blocks promtool reads the whole text once for every two hours of it.
            let promtool = Command::new("promtool")
                .args(["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h"])
                .args([&text, &data])
                .output()
                .expect("promtool is installed");
            assert!(promtool.status.success(), "promtool: {}", String::from_utf8_lossy(&promtool.stderr));
        }
        fs::remove_file(text).unwrap();
        Self::start_in(folder, config_yaml, flags)
    }

    /// Where its database is.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whose processor time the benchmark reads.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The answer to an instant query.
    pub fn query(&self, promql: &str, at: Timestamp) -> Vec<Series> {
        self.ask("query", &[("query", promql), ("time", &at.unix_s().to_string())], "value")
    }

    /// The answer to a range query, at most 11,000 points long.
    pub fn query_range(&self, promql: &str, from: Timestamp, to: Timestamp, step: Duration) -> Vec<Series> {
        let [from, to, step] = [from.unix_s(), to.unix_s(), step.secs()].map(|number| number.to_string());
        self.ask("query_range", &[("query", promql), ("start", &from), ("end", &to), ("step", &step)], "values")
    }

    fn ask(&self, endpoint: &str, form: &[(&str, &str)], values: &str) -> Vec<Series> {
        let (status, body) = http(self.port, &format!("/api/v1/{endpoint}"), form).expect("the server answers");
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status}: {error}: {body}"));
        assert_eq!(answer["status"], "success", "{body}");
        let rows = answer["data"]["result"].as_array().expect("a vector or matrix").iter();
        let series = |row: &Value| Series { labels: labels(&row["metric"]), points: points(&row[values]) };
        rows.map(series).collect()
    }

    fn start_in(folder: tempfile::TempDir, config_yaml: &str, flags: &[&str]) -> Self {
        fs::write(folder.path().join("prometheus.yml"), config_yaml).unwrap();
        // Between finding a free port and using it somebody else may take it; then the server stops at once.
        for _ in 0..3 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut process = launch(folder.path(), port, flags);
            if is_ready(&mut process, port) {
                return Self { process, port, folder };
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("prometheus does not start:\n{}", log(folder.path()));
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("prometheus said:\n{}", log(self.folder.path()));
        }
    }
}

fn launch(folder: &Path, port: u16, flags: &[&str]) -> Child {
    Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--storage.tsdb.retention.time=10y", "--query.max-samples=500000000", "--log.level=warn"])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("log")).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .expect("prometheus is installed")
}

#[expect(clippy::disallowed_methods, reason = "a deadline for a server that does not start")]
fn is_ready(process: &mut Child, port: u16) -> bool {
    let started = Instant::now();
    while started.elapsed() < START_WITHIN && process.try_wait().unwrap().is_none() {
        if http(port, "/-/ready", &[]).is_ok_and(|(status, _)| status == 200) {
            return true;
        }
        sleep(StdDuration::from_millis(20));
    }
    false
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Status and body of a POST, over a connection of its own.
fn http(port: u16, path: &str, form: &[(&str, &str)]) -> std::io::Result<(u16, String)> {
    let form: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
    let (method, form) = if form.is_empty() { ("GET", String::new()) } else { ("POST", form.join("&")) };
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    // HTTP 1.0 has no chunks: the answer ends with the connection.
    write!(
        connection,
        "{method} {path} HTTP/1.0\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn labels(metric: &Value) -> Labels {
    let text = |value: &Value| value.as_str().expect("labels are strings").to_owned();
    metric.as_object().expect("labels").iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// `[time, "value"]`, or an array of these.
fn points(values: &Value) -> Vec<(Timestamp, f64)> {
    let values = values.as_array().expect("points");
    if values.first().is_some_and(Value::is_array) {
        return values.iter().flat_map(points).collect();
    }
    let (at_s, value) = (values[0].as_f64().expect("a time"), values[1].as_str().expect("a value"));
    vec![(Timestamp::from_unix_ms((at_s * 1000.0).round() as i64), value.parse().expect("a number"))]
}

#[test]
#[ignore = "needs prometheus"]
fn history_is_there_to_be_asked_for() {
    let from = Timestamp::from_unix_s(1_772_366_400);
    let sample = |minute: i64| {
        format!("x_total{{a=\"b\"}} {} {}\n", minute * 6, (from + Duration::from_minutes(minute)).unix_s())
    };
    let text = format!("# TYPE x counter\n{}# EOF\n", (0..=60).map(sample).collect::<String>());
    let prometheus = Prometheus::with_history(&text);
    let to = from + Duration::from_hours(1);
    let rate =
        prometheus.query_range("rate(x_total[10m])", from + Duration::from_minutes(30), to, Duration::from_minutes(1));
    assert_eq!(rate.len(), 1);
    assert_eq!(rate[0].labels, Labels::from([("a".to_owned(), "b".to_owned())]));
    assert_eq!(rate[0].points.len(), 31);
    assert!(rate[0].points.iter().all(|(_, rate)| (rate - 0.1).abs() < 1e-12));
    let now = prometheus.query("x_total", to);
    assert_eq!(now[0].points, [(to, 360.0)]);
}

#[test]
#[ignore = "needs prometheus"]
fn a_server_scrapes_what_it_is_told() {
    let config =
        "scrape_configs: [{job_name: nobody, scrape_interval: 1s, static_configs: [{targets: ['127.0.0.1:1']}]}]";
    let prometheus = Prometheus::start(config);
    assert!(prometheus.url().starts_with("http://127.0.0.1:"));
    // Not up, but known: nobody listens there.
    let targets = prometheus.query("count(scrape_samples_scraped) or vector(0)", Timestamp::from_unix_s(1));
    assert_eq!(targets[0].points, [(Timestamp::from_unix_s(1), 0.0)]);
}
