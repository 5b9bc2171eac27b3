//! Remote read against a real Prometheus: the same history as by queries, whatever befell the series, and queries
//! instead where a server has nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use slowburn::config::HttpClient;
use slowburn::engine::counts::Counts;
use slowburn::engine::histogram::Labels;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::source::prometheus::{Detail, History, HistorySeries, Prometheus, Slices};

use crate::exporter::Exporter;
use crate::real;
use crate::source::{SLOT, plan, prometheus};
use crate::source_real::{DEADLINE, SLOS, SPAN, STEP, at, openmetrics, polled};

const EXTERNAL: &str = "global: {external_labels: {region: eu, replica: '1'}}\n";
/// For 23 series of 20,000 slots each.
const MANY_SLOTS_STEP: Duration = Duration::from_ms(400);

/// A proxy in front of a server, which passes remote read on or says no to it, and counts both.
pub struct Proxy {
    pub url: String,
    reads: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Behind {
    upstream: String,
    refusal: Option<StatusCode>,
    /// What is refused, if anything is.
    path: &'static str,
    reads: Arc<AtomicUsize>,
    client: reqwest::Client,
}

impl Proxy {
    async fn start(upstream: &str, refusal: Option<u16>) -> Self {
        Self::refusing(upstream, "/api/v1/read", refusal).await
    }

    /// Says no to requests for this path, and counts them.
    pub async fn refusing(upstream: &str, path: &'static str, refusal: Option<u16>) -> Self {
        let reads = Arc::new(AtomicUsize::new(0));
        let behind = Behind {
            upstream: upstream.to_owned(),
            refusal: refusal.map(|status| StatusCode::from_u16(status).unwrap()),
            path,
            reads: Arc::clone(&reads),
            client: slowburn::http::client(&HttpClient::default()).unwrap(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(pass).with_state(behind);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, reads }
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

async fn pass(State(behind): State<Behind>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.uri.path() == behind.path {
        behind.reads.fetch_add(1, Ordering::Relaxed);
        if let Some(refusal) = behind.refusal {
            return (refusal, "<html>not here</html>").into_response();
        }
    }
    let mut headers = head.headers;
    headers.remove("host");
    let url = format!("{}{}", behind.upstream, head.uri);
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let answer = behind.client.request(head.method, url).headers(headers).body(body).send().await.unwrap();
    let (status, kind) = (answer.status(), answer.headers().get("content-type").cloned());
    let kind = kind.map(|kind| [("content-type", kind)]);
    (status, kind.map_or([("x-kind", "none".parse().unwrap())], |kind| kind), answer.bytes().await.unwrap())
        .into_response()
}

async fn history(source: &Prometheus, detail: Detail) -> History {
    let (from, to) = (SLOT - Duration::from_minutes(10), SLOT + SPAN + Duration::from_minutes(10));
    source.history(from, to, STEP, detail, DEADLINE).await.unwrap()
}

/// All series to the bit: NaN, which stands for nothing, equals itself.
fn rows(history: &History) -> Vec<(usize, Labels, Vec<f64>, Vec<u64>)> {
    let bits = |counts: &Counts| counts.iter().map(f64::to_bits).collect();
    let row = |one: &HistorySeries| (one.slo, one.labels.clone(), one.bounds.to_vec(), bits(&one.counts));
    history.series.iter().map(row).collect()
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn both_ways_tell_one_history() {
    for (config, flags, regions) in [
        ("global: {}\n", &[][..], 0),
        (EXTERNAL, &["--query.lookback-delta=90s"][..], 0),
        // Selectors on an external label mean another thing to remote read.
        (EXTERNAL, &[][..], 1),
    ] {
        let server = real::Prometheus::with_history_and(&openmetrics(), config, flags);
        let slos = SLOS.map(|(selector, budget_s)| match (regions, selector.strip_suffix('}')) {
            (1, Some(selector)) => (format!("{selector},region!=\"us\"}}"), budget_s),
            _ => (selector.to_owned(), budget_s),
        });
        let slos: Vec<(&str, f64)> = slos.iter().map(|(selector, budget_s)| (&**selector, *budget_s)).collect();
        let passing = Proxy::start(&server.url(), None).await;
        let by_chunks = prometheus(&passing.url, plan(&slos));
        for (refusal, detail) in
            [(404, Detail::Buckets), (405, Detail::Counts), (415, Detail::Buckets), (502, Detail::Counts)]
        {
            let refusing = Proxy::start(&server.url(), Some(refusal)).await;
            let by_query = prometheus(&refusing.url, plan(&slos));
            let (mut expected, found) = (history(&by_query, detail).await, history(&by_chunks, detail).await);
            let series = (rows(&found), rows(&expected));
            assert!(!series.0.is_empty());
            assert!(series.0 == series.1, "{refusal} {detail:?}");
            // A refusal is taken for an answer, and trouble is told.
            let told = expected.warnings.iter().filter(|warning| warning.contains("502")).count();
            assert_eq!(told > 0, refusal == 502, "{:?}", expected.warnings);
            expected.warnings.retain(|warning| !warning.contains("502"));
            assert_eq!((&found.warnings, &found.flawed), (&expected.warnings, &expected.flawed));
            let asked = refusing.reads();
            assert!(asked > 0);
            if refusal < 500 {
                history(&by_query, detail).await;
                assert_eq!(refusing.reads(), asked, "it was asked again");
            }
        }
        assert!(passing.reads() > 0);
    }
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn polls_and_chunks_bind_the_same_series_under_external_labels() {
    let server = real::Prometheus::with_history_and(&openmetrics(), EXTERNAL, &[]);
    let passing = Proxy::start(&server.url(), None).await;
    let source = prometheus(&passing.url, plan(&SLOS));
    let found = history(&source, Detail::Buckets).await;
    assert!(passing.reads() > 0);
    for slot in (0..found.slots).step_by(20) {
        let at_slot = found.from + Duration::from_ms(STEP.ms() * slot as i64);
        assert_eq!(at(&found, slot), polled(&source, at_slot).await, "{at_slot}");
    }
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn the_edge_of_the_lookback_is_the_servers() {
    // Samples lie on slots and on the millisecond beside them, with gaps of about the lookback.
    let mut text = String::new();
    for (pod, off_ms) in [("on", 0), ("after", 1), ("before", -1)] {
        for minute in [0, 1, 2, 7, 8, 14, 15, 30] {
            let at_ms = SLOT.unix_ms() + minute * 60_000 + off_ms;
            let labels = format!("layer=\"edge\",pod=\"{pod}\"");
            text += &format!("m_bucket{{{labels},le=\"+Inf\"}} {minute} {}.{:03}\n", at_ms / 1000, at_ms % 1000);
        }
    }
    text += "# EOF\n";
    for flags in [&[][..], &["--query.lookback-delta=3m"][..]] {
        let server = real::Prometheus::with_history_and(&text, "global: {}\n", flags);
        let passing = Proxy::start(&server.url(), None).await;
        let source = prometheus(&passing.url, plan(&SLOS[..1]));
        let found = history(&source, Detail::Buckets).await;
        assert!(passing.reads() > 0);
        for slot in 0..100 {
            let at_slot = found.from + Duration::from_ms(STEP.ms() * slot as i64);
            assert_eq!(at(&found, slot), polled(&source, at_slot).await, "{at_slot} {flags:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn slices_of_chunks_may_be_longer_than_a_query() {
    let server = real::Prometheus::with_history(&openmetrics());
    let refusing = Proxy::start(&server.url(), Some(404)).await;
    let passing = Proxy::start(&server.url(), None).await;
    let mut rows = [Vec::new(), Vec::new()];
    for (proxy, rows) in [&passing, &refusing].into_iter().zip(&mut rows) {
        let source = prometheus(&proxy.url, plan(&SLOS));
        let mut slices = Slices::new(source, SLOT, SLOT + SPAN, MANY_SLOTS_STEP, Detail::Counts, DEADLINE);
        while let Some(slice) = slices.next().await {
            let slice = slice.unwrap();
            assert!(slice.slots <= 11_000, "{}", slice.slots);
            rows.extend((0..slice.slots).map(|slot| at(&slice, slot)));
        }
    }
    // A wrong guess at each of three metrics, then one for each of two of them, and one for all buckets where the bounds of
    // one change.
    assert!(rows[0].len() > 11_000 && passing.reads() <= 3 + 3, "{} slots by {} reads", rows[0].len(), passing.reads());
    assert_eq!(rows[0].len(), rows[1].len());
    // Bounds beyond those that the budget needs may come along where they change within a slice.
    for (slot, (chunks, query)) in rows[0].iter().zip(&rows[1]).enumerate() {
        let counted = |row: &[crate::source_real::Row]| -> Vec<_> {
            row.iter().map(|(slo, labels, _, counts)| (*slo, labels.clone(), counts.last().copied())).collect()
        };
        assert_eq!(counted(chunks), counted(query), "slot {slot}");
    }
}

#[tokio::test]
#[ignore = "needs prometheus"]
async fn a_survey_is_asked_for_where_a_guess_leaves_something_open() {
    let [edge, database, worker, other_pods, spelled_twice, nothing] = SLOS;
    let plain = real::Prometheus::with_history(&openmetrics());
    let adding = real::Prometheus::with_history_and(&openmetrics(), EXTERNAL, &[]);
    for (server, slos, surveys) in [
        (&plain, &[edge, database, other_pods, spelled_twice][..], 0),
        // Whose label is which?
        (&adding, &[edge, database, other_pods, spelled_twice][..], 2),
        // A budget that is no bound, and one that nothing is measured by.
        (&plain, &[edge, worker][..], 1),
        (&plain, &[edge, nothing][..], 2),
    ] {
        let proxy = Proxy::refusing(&server.url(), "/api/v1/series", None).await;
        let (from, to) = (SLOT - Duration::from_minutes(10), SLOT + SPAN);
        let mut slices = Slices::new(prometheus(&proxy.url, plan(slos)), from, to, STEP, Detail::Counts, DEADLINE);
        let mut found = Vec::new();
        while let Some(slice) = slices.next().await {
            let slice = slice.unwrap();
            found.extend((0..slice.slots).map(|slot| at(&slice, slot)));
        }
        assert_eq!(proxy.reads(), surveys, "{slos:?}");
        let source = prometheus(&server.url(), plan(slos));
        let whole = source.history(from, to, STEP, Detail::Counts, DEADLINE).await.unwrap();
        let expected: Vec<_> = (0..whole.slots).map(|slot| at(&whole, slot)).collect();
        assert!(found == expected && found.iter().map(Vec::len).sum::<usize>() > 200, "{slos:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn a_target_that_vanishes_is_gone_at_once() {
    const SECOND: Duration = Duration::from_secs(1);
    let exporters = [Exporter::start(&["edge"]).await, Exporter::start(&["edge"]).await];
    let targets = exporters.each_ref().map(|exporter| format!("'{}'", exporter.address)).join(", ");
    let server = real::Prometheus::start(&format!(
        "scrape_configs: [{{job_name: shop, scrape_interval: 1s, static_configs: [{{targets: [{targets}]}}]}}]"
    ));
    let pass = async |seconds| tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)).await;
    let up = || server.query("sum(up)", slowburn::clock::Clock.now()).first().map(|up| up.points[0].1);
    // The server takes some seconds to find its targets.
    for expected in [2.0, 1.0, 2.0] {
        exporters[0].down(expected == 1.0);
        for _ in 0..600 {
            if up() == Some(expected) {
                break;
            }
            pass(0.05).await;
        }
        pass(3.0).await;
    }
    let slo = [("request_seconds{layer=\"edge\"}", 0.01)];
    let passing = Proxy::start(&server.url(), None).await;
    let source = prometheus(&passing.url, plan(&slo));
    let scraped = server.query("max(timestamp(up))", slowburn::clock::Clock.now());
    let to = Timestamp::from_unix_s(scraped[0].points[0].1 as i64);
    let from = to - Duration::from_secs(20);
    let found = source.history(from, to, SECOND, Detail::Buckets, DEADLINE).await.unwrap();
    assert!(passing.reads() > 0);
    let mut present = Vec::new();
    for slot in 0..found.slots {
        let at_slot = found.from + Duration::from_secs(slot as i64);
        let polled = polled(&source, at_slot).await;
        assert_eq!(at(&found, slot), polled, "{at_slot}");
        present.push(polled.len());
    }
    present.dedup();
    assert!(present.ends_with(&[2, 1, 2]), "one of two was gone for a while: {present:?}");
}
