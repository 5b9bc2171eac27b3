//! Against a real VictoriaMetrics: it has no remote read, so its queries are asked; where they are refused, its samples
//! are exported.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use slowburn::config::HttpClient;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::replay::{Given, replay_from};
use slowburn::source::prometheus::{Detail, Slices};
use slowburn::source::reader::{Origin, Reader};

use crate::fast_path::{Label, Sample, write};
use crate::files::{config, document};
use crate::remote_read::Proxy;
use crate::source::{SLOT, plan, prometheus};
use crate::source_real::{DEADLINE, SLOS, SPAN, STEP, at, openmetrics, polled};
use crate::wal::samples;

/// The server keeps what is at most so old.
const KEEPS: &str = "-retentionPeriod=100y";

struct VictoriaMetrics {
    process: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl VictoriaMetrics {
    async fn start() -> Self {
        // Between finding a free port and using it somebody else may take it; then the server stops at once.
        for _ in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let process = Command::new("victoria-metrics")
                .arg(format!("-storageDataPath={}", folder.path().join("data").display()))
                .args([&format!("-httpListenAddr=127.0.0.1:{port}"), KEEPS, "-memory.allowedPercent=10"])
                .stdout(Stdio::null())
                .stderr(File::create(folder.path().join("log")).unwrap())
                .spawn()
                .expect("victoria-metrics is installed");
            let mut server = Self { process, url: format!("http://127.0.0.1:{port}"), folder };
            if server.is_ready().await {
                return server;
            }
        }
        panic!("victoria-metrics does not start");
    }

    async fn is_ready(&mut self) -> bool {
        let client = slowburn::http::client(&HttpClient::default()).unwrap();
        for _ in 0..1200 {
            let asked = client.get(format!("{}/health", self.url)).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }

    async fn take(&self, samples: &[(Vec<Label>, Sample)]) {
        write(&self.url, samples).await;
        let client = slowburn::http::client(&HttpClient::default()).unwrap();
        assert!(client.get(format!("{}/internal/force_flush", self.url)).send().await.unwrap().status().is_success());
    }
}

impl Drop for VictoriaMetrics {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("victoria-metrics said:\n{log}");
        }
    }
}

/// The same samples as text, series by series.
fn text(samples: &[(Vec<Label>, Sample)]) -> String {
    let mut sorted: Vec<&(Vec<Label>, Sample)> = samples.iter().collect();
    let key = |labels: &[Label]| -> Vec<(String, String)> {
        labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
    };
    sorted.sort_by_cached_key(|(labels, sample)| (key(labels), sample.unix_ms));
    let mut out = String::new();
    for (labels, sample) in sorted {
        let name = labels.iter().find(|label| label.name == "__name__").unwrap();
        let own = labels.iter().filter(|label| label.name != "__name__");
        let own: Vec<String> = own.map(|label| format!("{}={:?}", label.name, label.value)).collect();
        out += &format!("{}{{{}}} {} {}\n", name.value, own.join(","), sample.value, sample.unix_ms);
    }
    out
}

/// The document of a text, as raw samples have it.
async fn expected(url: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.txt");
    std::fs::write(&path, text).unwrap();
    document(&config(url), &Origin::Recording(path)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs victoria-metrics"]
async fn queries_tell_what_polls_see_and_exports_what_was_written() {
    let server = VictoriaMetrics::start().await;
    let samples = samples(&openmetrics());
    server.take(&samples).await;

    // Gaps, series that end, bounds that change: history by queries is what polls see at every slot.
    let source = prometheus(&server.url, plan(&SLOS[..4])).with_interval(STEP);
    let history = source.history(SLOT, SLOT + SPAN, STEP, Detail::Buckets, DEADLINE).await.unwrap();
    let mut seen = 0;
    for slot in 0..history.slots {
        let at_slot = SLOT + Duration::from_ms(STEP.ms() * slot as i64);
        let polled = polled(&source, at_slot).await;
        assert_eq!(at(&history, slot), polled, "{at_slot}");
        seen += polled.len();
    }
    assert!(seen > 800, "{seen}");

    // Where queries are refused, the samples themselves are put into slots.
    for refusal in [422, 403] {
        let refusing = Proxy::refusing(&server.url, "/api/v1/query_range", Some(refusal)).await;
        let exported = document(&config(&refusing.url), &Origin::Source).await;
        assert!(refusing.reads() > 0);
        assert_eq!(exported, expected(&server.url, &text(&samples)).await, "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs victoria-metrics"]
async fn a_long_history_is_exported_slice_by_slice() {
    const SAMPLES: i64 = 20_000;
    const APART_MS: i64 = 15_000;
    let server = VictoriaMetrics::start().await;
    let from = SLOT - Duration::from_ms(SAMPLES * APART_MS);
    let pair = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let mut all = Vec::new();
    for number in 0..SAMPLES {
        for (place, le) in [(7, "0.1"), (9, "0.25"), (10, "+Inf")] {
            let labels = [("__name__", "m_bucket"), ("layer", "edge"), ("le", le), ("pod", "a")];
            let labels = labels.map(|(name, value)| pair(name, value)).to_vec();
            // Slow for an hour in the middle, and gone for some time.
            let slow = if (10_000..10_240).contains(&number) && place == 7 { 7 * (number - 10_000) } else { 0 };
            let value = (number * place * 10 - slow) as f64;
            if !(5_000..5_100).contains(&number) {
                all.push((labels, Sample { value, unix_ms: from.unix_ms() + number * APART_MS }));
            }
        }
    }
    server.take(&all).await;
    let refusing = Proxy::refusing(&server.url, "/api/v1/query_range", Some(422)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.txt");
    std::fs::write(&path, text(&all)).unwrap();
    let (mut documents, mut remarks) = (Vec::new(), Vec::new());
    for (url, origin) in [(&refusing.url, Origin::Source), (&server.url, Origin::Recording(path))] {
        let config = config(url);
        let reader = Reader::open(&config, &origin).unwrap().unwrap();
        let heard = reader.remarks();
        let replayed = replay_from(&config, reader, from, SLOT, &Given::default(), |_| true).await.unwrap();
        assert!(replayed.broken.is_none(), "{:?}", replayed.broken);
        remarks.push(heard.list());
        let mut json = Vec::new();
        replayed.document.write_json(&mut json).unwrap();
        documents.push(String::from_utf8(json).unwrap());
    }
    assert!(documents[0] == documents[1], "{} {}", documents[0], documents[1]);
    assert!(documents[0].contains("\"fired_at\""), "{}", documents[0]);
    // It is said once, though there are several slices.
    assert!(
        matches!(&remarks[0][..], [said] if said.contains("samples were exported")) && remarks[1].is_empty(),
        "{remarks:?}"
    );
    // A metric a slice is asked for once; that queries are refused is found out in the first.
    assert!(refusing.reads() <= 6, "{}", refusing.reads());
}

/// A server that refuses queries and exports this.
async fn exporting(answer: impl Fn() -> Body + Clone + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let series =
        r#"{"status":"success","data":[{"__name__":"n_bucket","le":"1"},{"__name__":"n_bucket","le":"+Inf"}]}"#;
    let app = Router::new()
        .route("/api/v1/series", post(move || async move { series }))
        .route("/api/v1/query_range", post(async || (StatusCode::UNPROCESSABLE_ENTITY, "too many points")))
        .route(
            "/api/v1/export",
            post(move || {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answer();
                async move { answer.into_response() }
            }),
        )
        .fallback(async || StatusCode::NOT_FOUND);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, asked)
}

fn line(labels: &str, at: Timestamp) -> String {
    format!(
        "{{\"metric\":{{\"__name__\":\"n_bucket\",{labels}}},\"values\":[1,2],\"timestamps\":[{},{}]}}\n",
        at.unix_ms(),
        at.unix_ms() + 30_000
    )
}

#[tokio::test]
async fn hostile_exports_are_refused() {
    let both = line("\"le\":\"1\"", SLOT) + &line("\"le\":\"+Inf\"", SLOT);
    let read = async |answer: Body, max_series: usize| {
        // A body can be sent once.
        let answer = std::sync::Mutex::new(Some(answer));
        let answer = Arc::new(answer);
        let (url, asked) = exporting(move || answer.lock().unwrap().take().unwrap_or_default()).await;
        let source = prometheus(&url, plan(&[("n", 1.0)])).with_max_series(max_series);
        let result = source.history(SLOT, SLOT + SPAN, STEP, Detail::Buckets, DEADLINE).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        result.map_err(|error| error.kind())
    };
    let good = read(both.clone().into(), 100).await.unwrap();
    let counts: Vec<f64> = good.series[0].counts.iter().take(4).collect();
    assert_eq!((good.series.len(), counts), (1, vec![1.0, 1.0, 2.0, 2.0]));
    assert!(good.warnings[0].contains("queries are refused"), "{:?}", good.warnings);
    let cut = both[..both.len() - 9].to_owned();
    assert_eq!(read(cut.into(), 100).await.unwrap_err(), "truncated");
    assert_eq!(read("<html>no</html>\n".into(), 100).await.unwrap_err(), "not_json");
    assert_eq!(read(both.replace("[1,2]", "[1]").into(), 100).await.unwrap_err(), "wrong_shape");
    assert_eq!(read(both.replace("[1,2]", "\"x\"").into(), 100).await.unwrap_err(), "wrong_shape");
    // Too much of it, and of one line.
    for piece in [&both, "x"] {
        assert_eq!(read(flood(piece).into(), 100).await.unwrap_err(), "too_large");
    }
    let many: String = (0..20).map(|pod| line(&format!("\"pod\":\"{pod}\",\"le\":\"+Inf\""), SLOT)).collect();
    let few = read(many.into(), 5).await.unwrap();
    assert!(few.partial && few.series.len() == 5, "{:?}", few.warnings);
    // Slices try again with less, and give up in the end.
    let (url, asked) = exporting(|| flood("x").into()).await;
    let mut slices =
        Slices::new(prometheus(&url, plan(&[("n", 1.0)])), SLOT, SLOT + STEP, STEP, Detail::Buckets, DEADLINE);
    assert_eq!(slices.next().await.unwrap().unwrap_err().kind(), "too_large");
    assert!(asked.load(Ordering::Relaxed) < 30);
}

/// Twice what may come.
fn flood(piece: &str) -> String {
    piece.repeat((8 << 20) / piece.len())
}
