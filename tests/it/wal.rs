//! The newest hours of a Prometheus directory, which are in its write-ahead log only: the same document, to the byte, as
//! the server's own remote read gives, while it runs and on a copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use slowburn::config::HttpClient;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::replay::{Given, replay_from};
use slowburn::source::reader::{Origin, Reader};

use crate::fast_path::{Label, Sample, write};
use crate::files::{config, document};
use crate::real::Prometheus;
use crate::source::SLOT;
use crate::source_real::{SPAN, openmetrics};

const RECEIVER: [&str; 2] = ["--web.enable-remote-write-receiver", "--web.enable-admin-api"];

/// The samples of an OpenMetrics text, in the order of time; each series ends with a stale marker.
pub fn samples(openmetrics: &str) -> Vec<(Vec<Label>, Sample)> {
    let mut samples: Vec<(Vec<Label>, Sample)> = Vec::new();
    for line in openmetrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, rest) = line.split_once("} ").unwrap();
        let (name, labels) = series.split_once('{').unwrap();
        let pair = |(name, value): (&str, &str)| Label { name: name.into(), value: value.trim_matches('"').into() };
        let own = labels.split(',').map(|label| pair(label.split_once('=').unwrap()));
        let mut labels: Vec<Label> = own.chain([pair(("__name__", name))]).collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let (value, at) = rest.split_once(' ').unwrap();
        let unix_ms = (at.parse::<f64>().unwrap() * 1000.0).round() as i64;
        samples.push((labels, Sample { value: value.parse().unwrap(), unix_ms }));
    }
    let ends: Vec<(Vec<Label>, Sample)> = samples
        .chunk_by(|a, b| a.0 == b.0)
        .map(|series| {
            let (labels, last) = &series[series.len() - 1];
            (labels.clone(), Sample { value: f64::from_bits(0x7ff0_0000_0000_0002), unix_ms: last.unix_ms + 15_000 })
        })
        .collect();
    samples.extend(ends);
    samples.sort_by_key(|(_, sample)| sample.unix_ms);
    samples
}

pub fn copied(data: &Path, to: &Path) -> PathBuf {
    let status = Command::new("cp").arg("-r").args([data, to]).status().unwrap();
    assert!(status.success());
    to.to_owned()
}

pub async fn post(url: &str, form: &[(&str, String)]) -> String {
    let client = slowburn::http::client(&HttpClient::default()).unwrap();
    let answer = client.post(url).form(form).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.text().await.unwrap()
}

fn blocks(data: &Path) -> usize {
    fs::read_dir(data).unwrap().flatten().filter(|entry| entry.path().join("meta.json").exists()).count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn what_is_only_in_the_log_is_read_as_the_server_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    for packed in ["--storage.tsdb.wal-compression", "--no-storage.tsdb.wal-compression"] {
        let flags = [&RECEIVER[..], &[packed]].concat();
        let server = Prometheus::start_with("global: {}\n", &flags);
        write(&server.url(), &samples(&openmetrics())).await;
        let config = config(&server.url());
        let expected = document(&config, &Origin::Source).await;
        assert!(expected.contains("\"alerts\":[{") || expected.contains("\"breached_at\""), "{expected}");
        assert_eq!(blocks(&server.data()), 0);
        let of = async |folder: &Path| document(&config, &Origin::Tsdb(folder.to_owned())).await;
        assert_eq!(of(&server.data()).await, expected, "while it runs");
        assert_eq!(of(&copied(&server.data(), &folder.path().join(packed))).await, expected, "a copy");

        post(&format!("{}/api/v1/admin/tsdb/snapshot", server.url()), &[]).await;
        let snapshots = server.data().join("snapshots");
        let snapshot = fs::read_dir(snapshots).unwrap().next().unwrap().unwrap().path();
        assert_eq!((blocks(&snapshot), of(&snapshot).await), (1, expected), "a snapshot");

        // What is deleted in the head is gone from the log, too.
        let [from, to] = [20, 26].map(|minute| (SLOT + Duration::from_minutes(minute)).unix_s().to_string());
        let matcher = ("match[]", "m_bucket{pod=\"a\"}".to_owned());
        let delete = format!("{}/api/v1/admin/tsdb/delete_series", server.url());
        post(&delete, &[matcher, ("start", from), ("end", to)]).await;
        let fewer = document(&config, &Origin::Source).await;
        assert_eq!(of(&server.data()).await, fewer, "with deletions");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn blocks_and_log_are_one_history() {
    // The server cuts a block once the head spans three hours, and drops what is in it from the log.
    let old = openmetrics();
    let ago = Duration::from_hours(4);
    let server = Prometheus::start_with("global: {}\n", &RECEIVER);
    let mut all: Vec<(Vec<Label>, Sample)> = Vec::new();
    for hours in [4, 2, 0] {
        let earlier = Duration::from_hours(hours).ms();
        all.extend(
            samples(&old)
                .into_iter()
                .map(|(labels, sample)| (labels, Sample { unix_ms: sample.unix_ms - earlier, ..sample })),
        );
    }
    all.sort_by_key(|(_, sample)| sample.unix_ms);
    // A stale marker at the seam and the first sample of the next part may have one time.
    all.dedup_by(|b, a| a.0 == b.0 && a.1.unix_ms == b.1.unix_ms);
    write(&server.url(), &all).await;
    for _ in 0..900 {
        if blocks(&server.data()) > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(blocks(&server.data()) > 0, "no block was cut");
    let config = config(&server.url());
    let from = SLOT - ago;
    let replayed = async |origin: Origin| {
        let reader = Reader::open(&config, &origin).unwrap().unwrap();
        let replayed = replay_from(&config, reader, from, SLOT + SPAN, &Given::default(), |_| true).await.unwrap();
        assert!(replayed.broken.is_none(), "{:?}", replayed.broken);
        let mut json = Vec::new();
        replayed.document.write_json(&mut json).unwrap();
        String::from_utf8(json).unwrap()
    };
    let expected = replayed(Origin::Source).await;
    assert_eq!(replayed(Origin::Tsdb(server.data())).await, expected);
    // Neither alone has it all.
    let folder = tempfile::tempdir().unwrap();
    let without_log = copied(&server.data(), &folder.path().join("blocks"));
    fs::remove_dir_all(without_log.join("wal")).unwrap();
    assert_ne!(replayed(Origin::Tsdb(without_log)).await, expected);
}

fn slowburn(config: &Path, data: &Path, times: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    command.args(["replay", "--format", "json", "--config"]).arg(config).arg("--tsdb").arg(data).args(times);
    let run = command.output().unwrap();
    let [out, err] = [run.stdout, run.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (run.status.code(), out, err)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn a_torn_end_is_normal_and_damage_before_it_is_told() {
    let server = Prometheus::start_with("global: {}\n", &RECEIVER);
    write(&server.url(), &samples(&openmetrics())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slowburn.yml");
    fs::write(&file, crate::files::text(&server.url())).unwrap();
    let copy = copied(&server.data(), &folder.path().join("copy"));
    let segment = copy.join("wal/00000000");
    let whole = fs::read(&segment).unwrap();
    let (code, _, err) = slowburn(&file, &copy, &[]);
    assert_eq!((code, &*err), (Some(0), ""));
    let to = |out: &str| -> Timestamp {
        let document: serde_json::Value = serde_json::from_str(out).unwrap();
        serde_json::from_value(document["to"].clone()).unwrap()
    };
    for cut in [whole.len() - 1, whole.len() - 9, whole.len() / 2, whole.len() / 3 + 5] {
        fs::write(&segment, &whole[..cut]).unwrap();
        let (code, out, err) = slowburn(&file, &copy, &[]);
        assert_eq!((code, &*err), (Some(0), ""), "cut at {cut}");
        assert!(to(&out) <= SLOT + SPAN, "{out}");
    }
    for (at, why) in [(whole.len() / 2, "byte "), (whole.len() - 3, "byte ")] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        fs::write(&segment, damaged).unwrap();
        let (code, out, err) = slowburn(&file, &copy, &[]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("wal/00000000") && err.contains(why), "{err}");
        assert!(to(&out) > SLOT, "{out}");
    }
    // A segment in the middle is gone, or ends too early.
    fs::write(&segment, &whole).unwrap();
    fs::write(copy.join("wal/00000002"), &whole[..0]).unwrap();
    let (code, out, err) = slowburn(&file, &copy, &[]);
    assert!(code == Some(2) && err.contains("the segment 00000001 before it is missing"), "{err}");
    assert!(to(&out) > SLOT, "{out}");
    let hour = (SLOT + SPAN.times(0.5)).unix_s().to_string();
    let (code, _, err) = slowburn(&file, &copy, &["--to", &hour]);
    assert_eq!((code, &*err), (Some(0), ""), "what is missing is later");
    fs::rename(copy.join("wal/00000002"), copy.join("wal/00000001")).unwrap();
    fs::write(&segment, &whole[..whole.len() - 1]).unwrap();
    let (code, _, err) = slowburn(&file, &copy, &[]);
    assert!(code == Some(2) && err.contains("ends inside a record"), "{err}");
}
