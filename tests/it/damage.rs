//! Files that are cut off or damaged, at many places: never a panic and never a made-up history. What stood before the
//! damage is replayed, and the damage is told with the file and the place.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use slowburn::config::Config;
use slowburn::engine::time::Timestamp;
use slowburn::replay::{Given, replay_from};
use slowburn::source::prometheus::Detail;
use slowburn::source::reader::{Origin, Reader};
use slowburn::source::recording::Writer;

use crate::files::config;
use crate::history::Random;
use crate::real::Prometheus;
use crate::source::SLOT;
use crate::source_real::{DEADLINE, SPAN, openmetrics};
use crate::wal::{copied, samples};

/// What came of reading a file: how much of it was evaluated, the document, and what is said to be wrong.
#[derive(Debug, PartialEq)]
struct Outcome {
    evaluations: u64,
    document: String,
    error: Option<String>,
}

async fn outcome(config: &Config, origin: &Origin) -> Outcome {
    let nothing = |error: String| Outcome { evaluations: 0, document: String::new(), error: Some(error) };
    let reader = match Reader::open(config, origin) {
        Ok(reader) => reader.unwrap(),
        Err(error) => return nothing(error.to_string()),
    };
    match replay_from(config, reader, SLOT, SLOT + SPAN, &Given::default(), |_| true).await {
        Ok(replayed) => {
            let mut json = Vec::new();
            replayed.document.write_json(&mut json).unwrap();
            let document = String::from_utf8(json).unwrap();
            let error = replayed.broken.map(|broken| broken.to_string());
            Outcome { evaluations: replayed.document.evaluations, document, error }
        }
        Err(error) => nothing(error.to_string()),
    }
}

/// That it is told, in words that help.
#[track_caller]
fn told(found: &Outcome, file: &Path, place: &str) {
    let error = found.error.as_deref().unwrap_or_default();
    assert!(error.contains(&*file.display().to_string()), "{place}: {error}");
    assert!(["byte ", "line ", "its beginning"].iter().any(|at| error.contains(at)), "{place}: {error}");
    assert!(!error.contains("unexpectedly"), "{place}: {error}");
}

/// Places all over a file of this length, its ends among them.
fn places(length: usize, seed: u64, count: usize) -> Vec<usize> {
    let mut random = Random::new(seed);
    let some = (0..count).map(|_| (random.unit() * length as f64) as usize);
    let mut places: Vec<usize> = some.chain([0, 1, 7, length / 2, length.saturating_sub(9), length - 1]).collect();
    places.sort_unstable();
    places
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub async fn recorded(config: &Config, from: &Path, to: &Path) {
    let reader = Reader::open(config, &Origin::Recording(from.to_owned())).unwrap().unwrap();
    let mut writer = Writer::new(fs::File::create(to).unwrap(), config, SLOT, SLOT + SPAN).unwrap();
    let first = SLOT - config.spec.longest_window();
    let mut slices = reader.read(first, SLOT + SPAN, config.spec.interval, Detail::Buckets, DEADLINE);
    while let Some(slice) = slices.next().await {
        writer.push(&slice.unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_and_texts() {
    let config = config("http://127.0.0.1:9");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("text"), openmetrics()).unwrap();
    recorded(&config, &path("text"), &path("recording")).await;
    for name in ["text", "recording"] {
        fs::write(path(&format!("{name}.gz")), gzip(&fs::read(path(name)).unwrap())).unwrap();
    }
    let file = path("damaged");
    let origin = Origin::Recording(file.clone());
    for (name, seed) in [("text", 1), ("text.gz", 2), ("recording", 3), ("recording.gz", 4)] {
        let bytes = fs::read(path(name)).unwrap();
        let whole = outcome(&config, &Origin::Recording(path(name))).await;
        assert!(whole.error.is_none() && whole.evaluations > 200, "{name}: {:?}", whole.error);
        let mut evaluations = 0;
        for cut in places(bytes.len(), seed, 20) {
            fs::write(&file, &bytes[..cut]).unwrap();
            let found = outcome(&config, &origin).await;
            let place = format!("{name} cut at {cut} of {}", bytes.len());
            // Nothing at all is an empty text.
            if cut == 0 {
                continue;
            }
            // The end mark needs no line feed.
            if found != whole {
                told(&found, &file, &place);
            }
            assert!(found.evaluations >= evaluations, "{place}: less than of a shorter one");
            evaluations = found.evaluations;
        }
        assert!(evaluations > 100, "{name}: nothing of what was cut off was replayed");
        for at in places(bytes.len(), seed + 10, 30) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&file, &damaged).unwrap();
            let found = outcome(&config, &origin).await;
            let place = format!("{name} damaged at {at} of {}", bytes.len());
            match &found.error {
                Some(_) => told(&found, &file, &place),
                // A digit of a text is as good as another; packing adds a checksum, but for its own head.
                None => assert!(name == "text" || found == whole, "{place}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_behind_the_end_or_the_range() {
    let config = config("http://127.0.0.1:9");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("text"), openmetrics()).unwrap();
    recorded(&config, &path("text"), &path("recording")).await;
    let whole = fs::read(path("recording")).unwrap();
    let file = path("damaged");
    let origin = Origin::Recording(file.clone());
    let expected = outcome(&config, &Origin::Recording(path("recording"))).await;
    for more in [&whole[..], b"\0"] {
        fs::write(&file, [&whole[..], more].concat()).unwrap();
        let found = outcome(&config, &origin).await;
        let error = found.error.as_deref().unwrap_or_default();
        assert!(error.starts_with("the history is not whole") && error.contains("more follows"), "{error}");
        assert_eq!(found.document, expected.document);
    }
    // Damage in the last hour is none of the first one's concern.
    fs::write(&file, &whole[..whole.len() * 9 / 10]).unwrap();
    assert!(outcome(&config, &origin).await.error.is_some());
    let reader = Reader::open(&config, &origin).unwrap().unwrap();
    let hour = SLOT + SPAN.times(0.5);
    let replayed = replay_from(&config, reader, SLOT, hour, &Given::default(), |_| true).await.unwrap();
    assert!(replayed.broken.is_none(), "{:?}", replayed.broken);
    assert_eq!(replayed.document.to, hour);
    // Twice the same slice of time.
    let reader = Reader::open(&config, &Origin::Recording(path("recording"))).unwrap().unwrap();
    let slice = reader.read(SLOT, hour, config.spec.interval, Detail::Buckets, DEADLINE).next().await.unwrap().unwrap();
    let mut writer = Writer::new(fs::File::create(&file).unwrap(), &config, SLOT, SLOT + SPAN).unwrap();
    writer.push(&slice).unwrap();
    writer.push(&slice).unwrap();
    writer.finish().unwrap();
    let error = outcome(&config, &origin).await.error.unwrap_or_default();
    assert!(error.contains("begins before the one before it ends"), "{error}");
    // Times that would take forever.
    for to in [i64::MAX, 9_000_000_000_000, -1].map(Timestamp::from_unix_ms) {
        Writer::new(fs::File::create(&file).unwrap(), &config, SLOT, to).unwrap().finish().unwrap();
        let error = Reader::open(&config, &origin).map(drop).unwrap_err().to_string();
        assert!(error.contains("between 1970 and 2200"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn blocks_and_logs() {
    let folder = tempfile::tempdir().unwrap();
    let with_block = Prometheus::with_history(&openmetrics());
    let with_log = Prometheus::start_with("global: {}\n", &["--web.enable-remote-write-receiver"]);
    crate::fast_path::write(&with_log.url(), &samples(&openmetrics())).await;
    let block = copied(&with_block.data(), &folder.path().join("block"));
    let log = copied(&with_log.data(), &folder.path().join("log"));
    let config = config("http://127.0.0.1:9");
    let of_block = fs::read_dir(&block).unwrap().flatten().find(|entry| entry.path().join("meta.json").exists());
    let of_block = of_block.unwrap().path();
    let files: [(&Path, PathBuf); 4] = [
        (&block, of_block.join("index")),
        (&block, of_block.join("chunks/000001")),
        (&block, of_block.join("tombstones")),
        (&log, log.join("wal/00000000")),
    ];
    for (seed, (data, file)) in (20..).zip(files) {
        let name = file.file_name().unwrap().display().to_string();
        let is_log = name == "00000000";
        let origin = Origin::Tsdb(data.to_owned());
        let bytes = fs::read(&file).unwrap();
        let whole = outcome(&config, &origin).await;
        assert!(whole.error.is_none() && whole.evaluations > 200, "{name}: {:?}", whole.error);
        for cut in places(bytes.len(), seed, 20) {
            fs::write(&file, &bytes[..cut]).unwrap();
            let found = outcome(&config, &origin).await;
            // The log of a server that runs ends anywhere.
            if !is_log && found != whole {
                told(&found, &file, &format!("{name} cut at {cut}"));
            }
        }
        for at in places(bytes.len() * 3 / 4, seed + 10, 60) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&file, &damaged).unwrap();
            let found = outcome(&config, &origin).await;
            if found != whole {
                told(&found, &file, &format!("{name} damaged at {at} of {}", bytes.len()));
            }
        }
        fs::write(&file, &bytes).unwrap();
    }
}
