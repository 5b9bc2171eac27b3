//! History from files against the same history from a server: one document, to the byte. What is cut off or damaged is
//! told, with what was read before.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use slowburn::config::{self, Config, HttpClient};
use slowburn::engine::time::Duration;
use slowburn::replay::{Given, Recorder, replay_from};
use slowburn::source::prometheus::Detail;
use slowburn::source::reader::{Origin, Reader};
use slowburn::source::recording::Writer;

use crate::damage::recorded;
use crate::real::Prometheus;
use crate::source::SLOT;
use crate::source_real::{DEADLINE, SPAN, openmetrics};

pub fn text(url: &str) -> String {
    format!(
        "
source: {{prometheus: {{url: '{url}', delay: 2s}}}}
receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}]
rules:
  - {{name: spike, burn_rate: 1, long: 10m, short: 2m, urgency: page}}
  - {{name: budget, budget_consumed: 10%, urgency: ticket}}
journeys:
  - name: checkout
    budget: 2s
    objective: 90%
    period: 1h
    rules: [spike, budget]
    layers:
      - {{name: edge, budget: 100ms, by: [pod], histogram: 'm{{layer=\"edge\"}}'}}
      - {{name: database, budget: 500ms, histogram: 'm{{layer=\"database\"}}'}}
      - {{name: worker, budget: 300ms, between: interpolate, histogram: 'm{{layer=~\"work.*\"}}'}}
      - {{name: n, budget: 1s, histogram: n}}
"
    )
}

pub fn config(url: &str) -> Config {
    let texts = BTreeMap::from([("slowburn.yml".to_owned(), text(url))]);
    match config::load_texts("slowburn.yml", &texts, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

pub async fn document(config: &Config, origin: &Origin) -> String {
    let reader = Reader::open(config, origin).unwrap().unwrap();
    let replayed = replay_from(config, reader, SLOT, SLOT + SPAN, &Given::default(), |_| true).await.unwrap();
    assert!(replayed.broken.is_none(), "{:?}", replayed.broken);
    let mut json = Vec::new();
    replayed.document.write_json(&mut json).unwrap();
    String::from_utf8(json).unwrap()
}

async fn record(config: &Config, path: &Path) {
    let reader = Reader::open(config, &Origin::Source).unwrap().unwrap();
    let mut writer = Writer::new(fs::File::create(path).unwrap(), config, SLOT, SLOT + SPAN).unwrap();
    let first = SLOT - config.spec.longest_window();
    let mut slices = reader.read(first, SLOT + SPAN, config.spec.interval, Detail::Buckets, DEADLINE);
    while let Some(slice) = slices.next().await {
        writer.push(&slice.unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

fn packed(path: &Path) -> PathBuf {
    let target = path.with_added_extension("gz");
    let mut encoder = GzEncoder::new(fs::File::create(&target).unwrap(), Compression::fast());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap();
    target
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn every_file_tells_what_the_server_tells() {
    let server = Prometheus::with_history(&openmetrics());
    let config = config(&server.url());
    let folder = tempfile::tempdir().unwrap();
    let expected = document(&config, &Origin::Source).await;
    let value: Value = serde_json::from_str(&expected).unwrap();
    assert!(value["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()), "{expected}");

    let path = |name: &str| folder.path().join(name);
    fs::write(path("openmetrics.txt"), openmetrics()).unwrap();
    let dump = Command::new("promtool").args(["tsdb", "dump"]).arg(server.data()).output().unwrap();
    assert!(dump.status.success());
    fs::write(path("dump.txt"), dump.stdout).unwrap();
    record(&config, &path("recording")).await;
    let sizes = ["recording", "openmetrics.txt"].map(|name| fs::metadata(path(name)).unwrap().len());
    assert!(sizes[0] * 10 < sizes[1], "{sizes:?}");

    assert_eq!(document(&config, &Origin::Tsdb(server.data())).await, expected, "tsdb");
    for name in ["openmetrics.txt", "dump.txt", "recording"] {
        for path in [path(name), packed(&path(name))] {
            assert_eq!(document(&config, &Origin::Recording(path)).await, expected, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn deletions_and_blocks_that_overlap_are_as_the_server_has_them() {
    // Every other sample is in another block.
    let text = openmetrics();
    let half = |odd: usize| {
        let lines = text.lines().filter(|line| !line.starts_with('#')).enumerate();
        let lines = lines.filter(|(number, _)| number % 2 == odd).map(|(_, line)| format!("{line}\n"));
        lines.collect::<String>() + "# EOF\n"
    };
    let flags = ["--web.enable-admin-api"];
    let server = Prometheus::with_histories_and(&[&half(0), &half(1)], "global: {}\n", &flags);
    let client = slowburn::http::client(&HttpClient::default()).unwrap();
    let [from, to] = [20, 26].map(|minute| (SLOT + Duration::from_minutes(minute)).unix_s().to_string());
    let url = format!("{}/api/v1/admin/tsdb/delete_series", server.url());
    let matcher = ("match[]", "m_bucket{pod=\"a\"}".to_owned());
    let sent = client.post(url).form(&[matcher, ("start", from), ("end", to)]);
    assert!(sent.send().await.unwrap().status().is_success());

    let config = config(&server.url());
    let expected = document(&config, &Origin::Source).await;
    assert_eq!(document(&config, &Origin::Tsdb(server.data())).await, expected);
    let whole = Prometheus::with_history(&text);
    let other = self::config(&whole.url());
    assert_ne!(document(&other, &Origin::Source).await, expected, "nothing was deleted");
}

fn slowburn(config: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    command.args(["replay", "--format", "json", "--config"]).arg(config).args(arguments);
    let run = command.output().unwrap();
    let [out, err] = [run.stdout, run.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (run.status.code(), out, err)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn what_is_cut_off_is_replayed_as_far_as_it_goes() {
    let server = Prometheus::with_history(&openmetrics());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = folder.path().join("slowburn.yml");
    fs::write(&file, text(&server.url())).unwrap();
    // By the command itself; its replay needs no times.
    let [from, to] = [SLOT, SLOT + SPAN].map(|at| at.unix_s().to_string());
    let mut record = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    record.args(["record", "--from", &from, "--to", &to, "--out", &path("whole"), "--config"]).arg(&file);
    assert!(record.status().unwrap().success());
    let (code, expected, remarks) = slowburn(&file, &["--from", &from, "--to", &to]);
    assert_eq!(code, Some(0));
    // What had to be left out is left out of a recording as well, and said of both.
    assert!(remarks.starts_with("warning: 9 slots of n_bucket{job=\"n\"} are left out: "), "{remarks}");
    assert_eq!(slowburn(&file, &["--recording", &path("whole")]), (Some(0), expected, remarks));

    let whole = fs::read(path("whole")).unwrap();
    let check = |name: &str, bytes: &[u8], why: &str| {
        fs::write(path(name), bytes).unwrap();
        let (code, out, err) = slowburn(&file, &["--recording", &path(name)]);
        assert_eq!(code, Some(2), "{name}: {err}");
        assert!(err.contains(why) && err.contains(name), "{name}: {err}");
        out
    };
    check("cut", &whole[..whole.len() / 2], "the file ends before the recording does");
    let out = check("no-end", &whole[..whole.len() - 1], "the file ends before the recording does");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert!(document["evaluations"].as_u64().is_some_and(|evaluations| evaluations > 100), "{document}");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x10;
    check("damaged", &damaged, "byte ");
    let om = openmetrics();
    let out = check("cut.txt", &om.as_bytes()[..om.len() / 2], "line ");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert!(document["evaluations"].as_u64().is_some_and(|evaluations| evaluations > 200), "{document}");
    let gz = fs::read(packed(Path::new(&path("cut.txt")))).unwrap();
    check("cut.gz", &gz[..gz.len() - 20], "line ");
    check("nothing", b"", "holds nothing");
    // A block with a damaged file names it.
    for (name, file_name) in [("index", "index"), ("chunks/000001", "000001")] {
        let copy = folder.path().join(file_name);
        let copied = Command::new("cp").arg("-r").args([server.data(), copy.clone()]).status().unwrap();
        assert!(copied.success());
        let block = fs::read_dir(&copy).unwrap().flatten().find(|entry| entry.path().join("meta.json").exists());
        let target = block.unwrap().path().join(name);
        let mut bytes = fs::read(&target).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0x55);
        fs::write(&target, bytes).unwrap();
        let (code, _, err) = slowburn(&file, &["--tsdb", &copy.display().to_string()]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(name) && err.contains("byte "), "{err}");
    }
}

/// A process starts anew, at the half, without a bound that it had; nothing says that this bound's series ended.
fn restarted() -> String {
    let mut text = String::new();
    for (le, slow, lasts) in [("0.1", 1, SPAN), ("0.25", 0, SPAN.times(0.5)), ("+Inf", 0, SPAN)] {
        for s in (0..lasts.ms() / 1000).step_by(30) {
            let since = s % (SPAN.ms() / 2000);
            let at = SLOT.unix_ms() / 1000 + s;
            let count = since * (1000 - slow) / 10;
            text += &format!("m_bucket{{layer=\"edge\",pod=\"a\",le=\"{le}\"}} {count} {at}\n");
        }
    }
    text + "# EOF\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_vanishes_in_a_restart_is_no_burn() {
    let config = config("http://127.0.0.1:9");
    let folder = tempfile::tempdir().unwrap();
    let [text, recording] = ["text", "recording"].map(|name| folder.path().join(name));
    fs::write(&text, restarted()).unwrap();
    recorded(&config, &text, &recording).await;
    let mut found = Vec::new();
    for (file, detail) in [(&text, Detail::Counts), (&text, Detail::Buckets), (&recording, Detail::Counts)] {
        let reader = Reader::open(&config, &Origin::Recording(file.clone())).unwrap().unwrap();
        let mut slices = reader.read(SLOT, SLOT + SPAN, config.spec.interval, detail, DEADLINE);
        let mut recorder = Recorder::new(config.spec.clone(), SLOT, detail);
        while let Some(slice) = slices.next().await {
            recorder.take(&slice.unwrap());
        }
        let document = recorder.finish();
        assert!(document.notifications.is_empty(), "{detail:?}: {:?}", document.notifications);
        found.push(document.slos);
    }
    assert!(found[0].iter().any(|slo| slo.events > 10_000), "{found:?}");
    assert!(found.iter().all(|slos| *slos == found[0]), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config_file = folder.path().join("slowburn.yml");
    fs::write(&config_file, text("http://127.0.0.1:9")).unwrap();
    fs::write(path("text"), openmetrics()).unwrap();
    fs::write(path("empty"), "").unwrap();
    let lines = [5, 4]
        .map(|s| format!("m_bucket{{layer=\"edge\",pod=\"a\",le=\"+Inf\"}} 1 {}\n", SLOT.unix_s() + f64::from(s)));
    fs::write(path("back"), lines.concat()).unwrap();
    fs::write(path("zstd"), [0x28, 0xb5, 0x2f, 0xfd, 0]).unwrap();
    fs::write(path("newer"), "slowburn recording 2\n1234").unwrap();
    fs::create_dir_all(path("data/wal")).unwrap();
    fs::write(path("data/wal/00000000"), "").unwrap();
    fs::create_dir(path("nothing")).unwrap();
    let [begin, middle, end] = [0.0, 0.5, 1.0].map(|part| (SLOT + SPAN.times(part)).unix_s().to_string());
    let cases: [(&[&str], &str); 13] = [
        (&["--recording", &path("no-such")], "cannot read '"),
        (&["--tsdb", &path("no-such")], "cannot read '"),
        (&["--recording", &path("data")], "did you mean --tsdb?"),
        (&["--tsdb", &path("text")], "did you mean --recording?"),
        (&["--tsdb", &path("data/wal")], "it is a write-ahead log; give the directory that it lies in"),
        (&["--tsdb", &path("nothing")], "neither a block nor a write-ahead log"),
        (&["--recording", &path("zstd")], "packed with zstd"),
        (&["--recording", &path("newer")], "a newer slowburn recorded it"),
        (&["--recording", &path("empty")], "empty' holds nothing of m{layer=\"edge\"}"),
        (&["--recording", &path("back")], "line 2: "),
        (&["--recording", &path("text"), "--from", "1h"], "is after it"),
        (&["--recording", &path("text"), "--to", "1000"], "is before it"),
        (&["--recording", &path("text"), "--from", &middle, "--to", &begin], "is after --to"),
    ];
    for (arguments, why) in cases {
        let (code, out, err) = slowburn(&config_file, arguments);
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(why), "{arguments:?}: {err}");
    }
    let (code, _, err) = slowburn(&config_file, &["--recording", &path("text"), "--to", "1h"]);
    assert!(code == Some(0) && err.contains("before --to"), "{err}");
    // Damage in what fills the windows leaves nothing of the range.
    recorded(&config("http://127.0.0.1:9"), Path::new(&path("text")), Path::new(&path("recording"))).await;
    let whole = fs::read(path("recording")).unwrap();
    fs::write(path("cut"), &whole[..whole.len() * 6 / 10]).unwrap();
    let (code, out, err) = slowburn(&config_file, &["--recording", &path("cut"), "--from", &end]);
    assert_eq!((code, &*out), (Some(2), ""), "{err}");
    assert!(err.contains("byte "), "{err}");
}
