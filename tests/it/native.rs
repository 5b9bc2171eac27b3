//! Native histograms where buckets are needed: refused, with the selector, by whatever way history comes.

use std::fs;
use std::process::Command;

use slowburn::engine::time::Duration;

use crate::fast_path::{Label, NativeHistogram, TimeSeries, WriteRequest, send};
use crate::interrupt::one_layer;
use crate::real::Prometheus;
use crate::source::SLOT;
use crate::wal::post;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn they_are_refused_by_name() {
    let flags = ["--web.enable-remote-write-receiver", "--web.enable-admin-api", "--enable-feature=native-histograms"];
    let server = Prometheus::start_with("global: {}\n", &flags);
    let pair = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
    let labels: Vec<Label> = [("__name__", "request_seconds"), ("layer", "edge")].map(pair).into();
    for minute in 0..=30 {
        let unix_ms = (SLOT + Duration::from_minutes(minute)).unix_ms();
        let (count, sum) = (minute as u64, minute as f64);
        let histogram = NativeHistogram { count, sum, zero_threshold: 1e-128, zero_count: count, unix_ms };
        let series = TimeSeries { labels: labels.clone(), samples: vec![], histograms: vec![histogram] };
        send(&server.url(), &WriteRequest { series: vec![series] }).await;
    }
    post(&format!("{}/api/v1/admin/tsdb/snapshot", server.url()), &[]).await;
    let snapshot = fs::read_dir(server.data().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slowburn.yml");
    fs::write(&file, one_layer(&server.url(), "histogram: 'request_seconds{layer=\"edge\"}'")).unwrap();
    let [from, to] = [SLOT, SLOT + Duration::from_minutes(30)].map(|at| at.unix_s().to_string());
    let [data, snapshot] = [server.data(), snapshot].map(|path| path.display().to_string());
    for origin in [&[][..], &["--tsdb", &data][..], &["--tsdb", &snapshot][..]] {
        let mut slowburn = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        slowburn.args(["replay", "--from", &from, "--to", &to, "--config"]).arg(&file).args(origin);
        let output = slowburn.output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{origin:?} {err}");
        let selector = "request_seconds{layer=\"edge\"}: this is a native histogram only";
        assert!(err.contains(selector) && err.contains("always_scrape_classic_histograms"), "{origin:?} {err}");
    }
}
