//! Sources against servers that mean no good, on loopback: each answer yields its own error, in time, in little memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use slowburn::config::selector::Selector;
use slowburn::config::{self, HttpClient};
use slowburn::engine::histogram::{Labels, Poll};
use slowburn::engine::sli::{Between, NewSeries, SloSpec};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::source::SourceError;
use slowburn::source::plan::Plan;
use slowburn::source::prometheus::{Detail, Prometheus};
use slowburn::source::scrape::Scrape;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const SLOT: Timestamp = Timestamp::from_unix_s(1_772_366_400);
const MAX_BYTES: usize = 4 << 20;
const MAX_SERIES: usize = 100;
const DEADLINE: Duration = Duration::from_ms(1500);

/// A plan for these selectors, each with its budget in seconds.
pub fn plan(slos: &[(&str, f64)]) -> Arc<Plan> {
    let spec = |&(selector, budget_s): &(&str, f64)| SloSpec {
        journey: "checkout".into(),
        layer: None,
        tier: None,
        owner: None,
        runbook: None,
        labels: Labels::new(),
        selector: selector.to_owned(),
        budget_s,
        objective_ppm: 990_000,
        period: Duration::from_days(30),
        between: Between::Refuse,
        new_series: NewSeries::Skip,
        by: vec![],
        max_by: 10,
        rules: vec![],
    };
    let specs: Vec<SloSpec> = slos.iter().map(spec).collect();
    let selectors: Vec<Selector> = slos.iter().map(|(selector, _)| Selector::parse(selector).unwrap()).collect();
    Arc::new(Plan::new(&specs, &selectors))
}

pub fn prometheus(url: &str, plan: Arc<Plan>) -> Prometheus {
    let config = config::Prometheus {
        url: url.to_owned(),
        external_url: url.to_owned(),
        timeout: Duration::from_secs(10),
        delay: Duration::from_secs(2),
        max_response_bytes: MAX_BYTES,
        http: HttpClient::default(),
    };
    Prometheus::new(&config, plan).unwrap()
}

fn scrape(targets: &[String], plan: Arc<Plan>) -> Scrape {
    try_scrape(targets, plan).unwrap()
}

fn try_scrape(targets: &[String], plan: Arc<Plan>) -> Result<Scrape, SourceError> {
    let config = config::Scrape {
        targets: targets.to_vec(),
        timeout: Duration::from_secs(10),
        max_response_bytes: MAX_BYTES,
        max_series: MAX_SERIES,
        http: HttpClient::default(),
    };
    Scrape::new(&config, plan)
}

/// What a server does with a connection once it has read a request.
#[derive(Clone)]
enum Does {
    /// Sends these bytes and closes.
    Sends(Vec<u8>),
    /// Sends the head, then the piece until nobody listens.
    Floods { head: String, piece: Vec<u8> },
    /// Sends the head, then one byte every 20 ms.
    Drips { head: String },
    /// Says nothing and keeps the connection.
    Hangs,
}

struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

/// Starts a server that does the same at every request; it ends with the test's runtime.
async fn server(does: Does) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(answer(stream, does.clone()));
        }
    });
    Server { url, requests }
}

async fn answer(mut stream: TcpStream, does: Does) -> std::io::Result<()> {
    read_request(&mut stream).await?;
    match does {
        Does::Sends(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Does::Floods { head, piece } => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&piece).await?;
            }
        }
        Does::Drips { head } => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        Does::Hangs => std::future::pending().await,
    }
}

/// Reads head and body, so that closing the connection later does not reset it.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while read.len() < head + length && stream.read_buf(&mut read).await? > 0 {}
    Ok(())
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn ok(body: &str) -> Does {
    Does::Sends(response("200 OK", "content-type: application/json\r\n", body.as_bytes()))
}

fn vector(rows: &str) -> Does {
    ok(&format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#))
}

fn row(labels: &str, le: &str, value: &str) -> String {
    format!(r#"{{"metric":{{"__name__":"m_bucket",{labels}"le":"{le}"}},"value":[1772366400,"{value}"]}}"#)
}

async fn poll(does: Does) -> Result<Poll, SourceError> {
    let server = server(does).await;
    let source = prometheus(&server.url, plan(&[("m", 0.1)])).with_max_series(MAX_SERIES);
    in_time(source.poll(SLOT, DEADLINE)).await
}

/// Fails the test if the future outlives its deadline by more than what a busy machine takes.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let limit = DEADLINE.to_std() + std::time::Duration::from_secs(2);
    tokio::time::timeout(limit, future).await.expect("outlived its deadline")
}

#[track_caller]
fn kind(result: Result<Poll, SourceError>) -> &'static str {
    let error = result.expect_err("must fail");
    assert!(error.to_string().chars().count() < 500, "{error}");
    error.kind()
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn each_failure_has_its_name() {
    let error = |status: &str, kind: &str| {
        let body = format!(r#"{{"status":"error","errorType":"{kind}","error":"no such luck"}}"#);
        Does::Sends(response(status, "content-type: application/json\r\n", body.as_bytes()))
    };
    let plain = |status: &str, body: &str| Does::Sends(response(status, "", body.as_bytes()));
    for (does, expected) in [
        (plain("503 Service Unavailable", "Service Unavailable"), "the server is not ready: Service Unavailable"),
        (plain("401 Unauthorized", ""), "the server answered 401: (nothing)"),
        (plain("404 Not Found", "<html>\n<body>"), "the server answered 404: <html> <body>"),
        (error("400 Bad Request", "bad_data"), "the server refused the query (400 bad_data): no such luck"),
        (error("422 Unprocessable", "execution"), "the server refused the query (422 execution): no such luck"),
        (error("503 Service Unavailable", "timeout"), "the server refused the query (503 timeout): no such luck"),
        (error("200 OK", "bad_data"), "the server refused the query (200 bad_data): no such luck"),
        (
            Does::Sends(response("302 Found", "location: https://u:p@sso.example/login?token=t\r\n", b"")),
            "the server redirects (302) to https://sso.example/login; write the final address as the source's url",
        ),
        (plain("200 OK", "<html>Sign in</html>"), "the answer is not JSON: <html>Sign in</html>"),
        (plain("200 OK", ""), "the answer is not JSON: (nothing)"),
        (ok("{\"status\":}"), "the answer is not JSON: expected value"),
        (
            ok("[1, 2]"),
            "the answer has the wrong shape: invalid type: sequence, expected an object with \"status\" and \"data\"",
        ),
        (ok(r#"{"status":"success"}"#), "the answer has the wrong shape: there is no \"data\""),
        (ok(r#"{"status":"success","data":{}}"#), "the answer has the wrong shape: there is no \"data\""),
        (
            ok(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
            "the answer has the wrong shape: it is a \"matrix\", not a \"vector\"",
        ),
        (
            vector(r#"{"metric":{"le":"1"},"value":[1772366400,12]}"#),
            "the answer has the wrong shape: invalid type: integer `12`, expected a string",
        ),
        (
            vector(r#"{"metric":{"le":"1"},"value":[1772366400,"twelve"]}"#),
            "the answer has the wrong shape: \"twelve\" is not a number",
        ),
        (
            vector(r#"{"metric":["le"],"value":[1772366400,"1"]}"#),
            "the answer has the wrong shape: invalid type: sequence, expected an object of labels",
        ),
    ] {
        let told = poll(does).await.unwrap_err().to_string();
        assert_eq!(told.split(" at line ").next(), Some(expected));
    }
}

#[tokio::test]
async fn what_never_ends_is_cut_at_the_deadline() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let polls = [
        Does::Hangs,
        Does::Drips { head: String::new() },
        Does::Drips { head: format!("{head}x-slow: ") },
        Does::Drips { head: format!("{head}content-length: 1000000\r\n\r\n{{\"status\":\"") },
        Does::Drips { head: format!("{head}\r\n{{\"status\":\"") },
    ]
    .map(|does| tokio::spawn(poll(does)));
    for poll in polls {
        let kind = kind(poll.await.unwrap());
        // A status line that is none is noticed at once.
        assert!(matches!(kind, "timeout" | "truncated"), "{kind}");
    }
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let body = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}"#, row("", "+Inf", "1"));
    assert_eq!(kind(poll(ok(&body)).await), "truncated");
    let Does::Sends(mut bytes) = vector(&row("", "+Inf", "1")) else { unreachable!() };
    bytes.truncate(bytes.len() - 5);
    assert_eq!(kind(poll(Does::Sends(bytes)).await), "truncated");
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"sta\r\n".to_vec();
    assert_eq!(kind(poll(Does::Sends(chunked)).await), "truncated");
    assert_eq!(kind(poll(Does::Sends(vec![])).await), "truncated");
    let nobody = prometheus("http://127.0.0.1:1", plan(&[("m", 0.1)]));
    assert_eq!(kind(in_time(nobody.poll(SLOT, DEADLINE)).await), "connect");
}

#[tokio::test]
async fn large_answers_are_cut_and_not_kept() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let before = resident();
    let announced = Does::Sends(format!("{head}content-length: 200000000\r\n\r\n").into_bytes());
    assert_eq!(kind(poll(announced).await), "too_large");
    let piece = row("\"a\":\"b\",", "1", "1").into_bytes().repeat(1000);
    let flood = Does::Floods { head: format!("{head}\r\n"), piece };
    assert_eq!(kind(poll(flood.clone()).await), "too_large");
    // A quarter of a megabyte of gzip that becomes a quarter of a gigabyte of blanks.
    let bomb = Does::Sends(response("200 OK", "content-encoding: gzip\r\n", &gzip_of_blanks(1 << 28)));
    assert_eq!(kind(poll(bomb.clone()).await), "too_large");
    for does in [flood, bomb] {
        let target = server(does).await;
        let error = in_time(scrape(&[target.url], plan(&[("m", 0.1)])).poll(SLOT, DEADLINE)).await.unwrap_err();
        assert!(error.to_string().contains("larger than 4194304 bytes"), "{error}");
    }
    assert!(resident() < before + (128 << 20), "{} MB", (resident() - before) >> 20);
}

/// A gzip stream of `length` blanks, written by hand in one block of fixed codes.
fn gzip_of_blanks(length: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // One literal blank, then matches of length 258 at distance 1.
    bits.push(1, 1);
    bits.push(1, 2);
    bits.push_code(0x30 + u32::from(b' '), 8);
    for _ in 0..length / 258 {
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    bits.push_code(0, 7);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend(bits.bytes);
    out
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) << (self.used % 8)) as u8;
            self.used += 1;
        }
    }

    /// Huffman codes start with their highest bit.
    fn push_code(&mut self, code: u32, count: u32) {
        for bit in (0..count).rev() {
            self.push(code >> bit, 1);
        }
    }
}

#[tokio::test]
async fn flawed_series_are_named_and_left_out() {
    let empty = poll(vector("")).await.unwrap();
    assert!(empty.series.is_empty() && empty.warnings.is_empty() && !empty.partial);
    let good = [row("\"a\":\"0\",", "1e-1", "5"), row("\"a\":\"0\",", "+Inf", "7")].join(",");
    for (rows, why) in [
        (vec![row("", "0.1", "1")], "it has no le=\"+Inf\" bucket"),
        (vec![row("", "0.1", "NaN"), row("", "+Inf", "1")], "a bucket's value is NaN"),
        (vec![row("", "0.1", "-3"), row("", "+Inf", "1")], "a bucket's value -3 cannot be a count"),
        (vec![row("", "0.1", "1"), row("", "+Inf", "+Inf")], "a bucket's value inf cannot be a count"),
        (
            vec![row("", "1", "1"), row("", "1.0", "1"), row("", "+Inf", "1")],
            "two of its buckets have the same bound 1",
        ),
        (vec![row("", "fast", "1"), row("", "+Inf", "1")], "a bucket's le is not a number"),
    ] {
        let poll = poll(vector(&format!("{good},{}", rows.join(",")))).await.unwrap();
        assert_eq!(poll.series.len(), 1);
        assert_eq!(
            (&*poll.series[0].1.bounds, &*poll.series[0].1.counts),
            (&[0.1, f64::INFINITY][..], &[5.0, 7.0][..])
        );
        assert_eq!((poll.warnings, poll.flawed), (vec![format!("m_bucket{{}} is left out: {why}")], vec![0]));
    }
    // Counts that fall from bound to bound are lowered: the total stands.
    let poll = poll(vector(&[row("", "0.1", "9"), row("", "+Inf", "7")].join(","))).await.unwrap();
    assert_eq!(poll.series[0].1.counts, [7.0, 7.0]);
}

#[tokio::test]
async fn partial_answers_are_told() {
    let rows = row("", "+Inf", "1");
    let data = format!(r#""data":{{"resultType":"vector","result":[{rows}]}}"#);
    let warned =
        poll(ok(&format!(r#"{{"status":"success",{data},"warnings":["store gateway lost"]}}"#))).await.unwrap();
    assert!(warned.partial && warned.series.len() == 1);
    assert_eq!(warned.warnings, ["store gateway lost"]);
    let partial = poll(ok(&format!(r#"{{"status":"success","isPartial":true,{data}}}"#))).await.unwrap();
    assert!(partial.partial);
    let whole = poll(ok(&format!(r#"{{"status":"success","isPartial":false,"warnings":null,{data}}}"#))).await.unwrap();
    assert!(!whole.partial && whole.warnings.is_empty());
}

#[tokio::test]
async fn exploding_labels_are_refused_and_told() {
    let rows: Vec<String> = (0..1000).rev().map(|n| row(&format!("\"a\":\"{n:04}\","), "+Inf", "1")).collect();
    let poll = poll(vector(&rows.join(","))).await.unwrap();
    assert_eq!(poll.series.len(), MAX_SERIES);
    assert_eq!(poll.series[MAX_SERIES - 1].1.labels["a"], "0099", "which ones stay must not depend on their order");
    assert!(poll.partial);
    assert_eq!(poll.warnings, ["m_bucket has more than 100 series; those beyond are left out"]);

    let text: String = (0..1000).map(|n| format!("m_bucket{{a=\"{n}\",le=\"+Inf\"}} 1\n")).collect();
    let target = server(Does::Sends(response("200 OK", "content-type: text/plain\r\n", text.as_bytes()))).await;
    let error = scrape(&[target.url], plan(&[("m", 0.1)])).poll(SLOT, DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains("more than 100 series in one answer"), "{error}");
}

#[tokio::test]
async fn errors_that_may_pass_are_tried_again_but_not_often() {
    let unavailable = server(Does::Sends(response("503 Service Unavailable", "", b"starting"))).await;
    let source = prometheus(&unavailable.url, plan(&[("m", 0.1)]));
    let started = started();
    assert!(source.poll(SLOT, DEADLINE).await.is_err());
    assert_eq!(unavailable.requests.load(Ordering::Relaxed), 3);
    assert!(started.elapsed() < DEADLINE.to_std());
    let refused = server(Does::Sends(response("400 Bad Request", "", b"no"))).await;
    assert!(prometheus(&refused.url, plan(&[("m", 0.1)])).poll(SLOT, DEADLINE).await.is_err());
    assert_eq!(refused.requests.load(Ordering::Relaxed), 1);
}

#[expect(clippy::disallowed_methods, reason = "how long something took is no decision")]
fn started() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn hostile_history_is_an_error_too() {
    let to = SLOT + Duration::from_minutes(10);
    for (body, expected) in [
        (r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "wrong_shape"),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"le":"1"},"values":[[1,"1"]]}]}}"#,
            "wrong_shape",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"le":"1"},"values":[[-1e300,"1"]]}]}}"#,
            "wrong_shape",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"le":"1"},"values":[[1772366400,"1"]"#,
            "truncated",
        ),
    ] {
        let server = server(ok(body)).await;
        let source = prometheus(&server.url, plan(&[("m", 0.1)]));
        let history = source.history(SLOT, to, Duration::from_secs(30), Detail::Buckets, DEADLINE);
        assert_eq!(in_time(history).await.unwrap_err().kind(), expected, "{body}");
    }
    // 20,000 series of one point each are not much, unless they have fractions: then 4 MB of answer would be 1.7 GB.
    for (count, expected) in [("1", Ok(20_000)), ("0.5", Err(SourceError::TooLarge { limit_bytes: MAX_BYTES }))] {
        let row = |n| format!(r#"{{"metric":{{"a":"{n}","le":"+Inf"}},"values":[[1772366400,"{count}"]]}}"#);
        let rows: Vec<String> = (0..20_000).map(row).collect();
        let body = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#, rows.join(","));
        let server = server(ok(&body)).await;
        let source = prometheus(&server.url, plan(&[("m", 0.1)]));
        let to = SLOT + Duration::from_secs(10_999 * 30);
        let deadline = Duration::from_secs(20);
        let history = source.history(SLOT, to, Duration::from_secs(30), Detail::Buckets, deadline).await;
        assert_eq!(history.map(|history| history.series.len()), expected);
    }
}

#[tokio::test]
async fn targets_are_scraped_side_by_side() {
    let text = "m_bucket{le=\"0.1\",instance=\"inner\"} 3\nm_bucket{le=\"+Inf\",instance=\"inner\"} 4\nother 1\n";
    let plain =
        server(Does::Sends(response("200 OK", "content-type: text/plain; version=0.0.4\r\n", text.as_bytes()))).await;
    let metrics = "# TYPE m histogram\nm_bucket{le=\"0.1\"} 1 # {t=\"1\"} 0.05\nm_bucket{le=\"+Inf\"} 2\n# EOF\n";
    let headers = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    let open = server(Does::Sends(response("200 OK", headers, metrics.as_bytes()))).await;
    let protobuf =
        server(Does::Sends(response("200 OK", "content-type: application/vnd.google.protobuf\r\n", b"\x08"))).await;
    let silent = server(Does::Hangs).await;
    let cut = server(Does::Sends(response("200 OK", headers, b"m_bucket{le=\"0.1\"} 1\n"))).await;

    let urls: Vec<String> = [&plain, &open, &protobuf, &silent, &cut].map(|server| server.url.clone()).to_vec();
    let poll = in_time(scrape(&urls, plan(&[("m", 0.1)])).poll(SLOT, DEADLINE)).await.unwrap();
    let instance = |server: &Server| server.url.replace("http://", "");
    let mut series: Vec<(Labels, Vec<f64>)> = poll.series.into_iter().map(|(_, h)| (h.labels, h.counts)).collect();
    let mut expected = vec![
        (labels(&[("exported_instance", "inner"), ("instance", &instance(&plain))]), vec![3.0, 4.0]),
        (labels(&[("instance", &instance(&open))]), vec![1.0, 2.0]),
    ];
    series.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(series, expected);
    assert!(poll.partial);
    let mut warnings = vec![
        format!(
            "{}: the content type \"application/vnd.google.protobuf\" is not one of text/plain and application/openmetrics-text",
            instance(&protobuf)
        ),
        format!("{}: no complete answer within 1s500ms", instance(&silent)),
        format!(
            "{}: the metrics cannot be read: line 1, column 1: expected \"# EOF\", found the end of the text",
            instance(&cut)
        ),
    ];
    let mut told = poll.warnings;
    told.sort();
    warnings.sort();
    for (told, expected) in told.iter().zip(&warnings) {
        assert!(told.starts_with(expected), "{told} / {expected}");
    }
    assert_eq!(silent.requests.load(Ordering::Relaxed), 1, "a scrape is not tried again");

    let all = in_time(scrape(&urls[2..3], plan(&[("m", 0.1)])).poll(SLOT, DEADLINE)).await.unwrap_err();
    assert_eq!(all.kind(), "all_targets");
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn native_histograms_are_recognised() {
    // The same for every question: what is asked for `m_bucket` is found under `m` only.
    let row =
        r#"{"metric":{"__name__":"m"},"histogram":[1772366400,{"count":"10","sum":"1","buckets":[[0,"0","1","10"]]}]}"#;
    let server = server(vector(row)).await;
    let probe =
        prometheus(&server.url, plan(&[("m", 0.1)])).probe(SLOT, Duration::from_days(1), DEADLINE).await.unwrap();
    assert_eq!((probe.slos[0].series, probe.slos[0].native), (0, true));
    assert!(probe.warnings.iter().any(|warning| warning.contains("native histograms")), "{:?}", probe.warnings);
}

#[tokio::test]
async fn errors_hold_no_secrets() {
    let bodies = ["{", "<", "m 1"].map(|body| response("200 OK", "", body.as_bytes()));
    let statuses =
        ["302 Found", "401 Unauthorized", "503 Busy"].map(|status| response(status, "location: /x\r\n", b""));
    let mut checks = tokio::task::JoinSet::new();
    for bytes in bodies.into_iter().chain(statuses) {
        let address = server(Does::Sends(bytes)).await.url.replace("http://", "");
        for address in [address, "127.0.0.1:1".to_owned(), "127.0.0.1:x".to_owned()] {
            checks.spawn(async move {
                let url = format!("http://user:hunter2@{address}/hunter2");
                let polled = prometheus(&url, plan(&[("m", 0.1)])).poll(SLOT, DEADLINE).await.unwrap_err();
                let scraped = match try_scrape(&[url], plan(&[("m", 0.1)])) {
                    Ok(scrape) => scrape.poll(SLOT, DEADLINE).await.unwrap_err(),
                    Err(error) => error,
                };
                assert!(
                    !format!("{polled} {polled:?} {scraped} {scraped:?}").contains("hunter2"),
                    "{polled} {scraped}"
                );
            });
        }
    }
    while let Some(check) = checks.join_next().await {
        check.unwrap();
    }
}
