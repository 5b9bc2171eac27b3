//! The fast path decides what slow steps decide: a replay over chunks, and an engine stepped over one JSON poll a slot,
//! print the same bytes for histories in which processes restart, fall silent, end and come back.

mod ahead;

use std::collections::BTreeMap;

use prost::Message;
use slowburn::config::{self, Config, HttpClient};
use slowburn::engine::counts::Counts;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::replay::{Document, Recorder, replay};
use slowburn::source::Source;
use slowburn::source::prometheus::{Detail, History, HistorySeries};

use crate::history::{Incident, Layer, METRIC, Plan, Pod, Random, Series};
use crate::real::Prometheus;

const HISTORIES: u64 = 20;
const FROM: Timestamp = Timestamp::from_unix_s(1_772_409_600);
const LENGTH: Duration = Duration::from_hours(4);
const STEP: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(20);
/// Prometheus' stale marker.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
/// Samples in one request to the server.
const BATCH: usize = 5_000;

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<NativeHistogram>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NativeHistogram {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    pub zero_count: u64,
    #[prost(int64, tag = "15")]
    pub unix_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub unix_ms: i64,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn chunks_and_single_polls_print_the_same_bytes() {
    let server = Prometheus::start_with("global: {}\n", &["--web.enable-remote-write-receiver"]);
    let mut samples = Vec::new();
    for seed in 0..HISTORIES {
        plan(seed).series().into_iter().for_each(|series| add(seed, series, &mut samples));
    }
    // The server takes samples in the order of time.
    samples.sort_by_key(|(_, sample)| sample.unix_ms);
    assert!(samples.iter().any(|(_, sample)| sample.value.is_nan()), "no series ends");
    write(&server.url(), &samples).await;

    let mut told = 0;
    for seed in 0..HISTORIES {
        let config = config(&server.url(), seed);
        let fast = replay(&config, FROM, FROM + LENGTH, |_| true).await.unwrap().document;
        let slow = stepped(&config).await;
        assert_eq!(printed(&fast), printed(&slow), "history {seed}");
        told += fast.notifications.len();
    }
    assert!(told > 100, "too little was decided: {told}");
}

/// Two layers of two or three processes each, whose lives are as the seed has them.
fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed);
    let mut some = |most: f64| {
        let many = (random.unit() * most) as usize;
        (0..many).map(|_| random.duration(LENGTH)).collect::<Vec<Duration>>()
    };
    let mut pods = |layer: &str| -> Vec<Pod> {
        let pod = |number: i64| {
            let gaps = some(4.0).into_iter().map(|at| (at, Duration::from_minutes(1 + at.ms() / 1000 % 14))).collect();
            let late = some(2.0).first().copied().unwrap_or_default();
            Pod {
                name: format!("{layer}-{number}"),
                offset: Duration::from_secs((seed as i64 * 7 + number * 11) % 30),
                born: if number == 2 { late } else { Duration::ZERO },
                dies: if number == 1 { some(2.0).first().copied() } else { None },
                resets: some(4.0),
                gaps,
            }
        };
        (0..3).map(pod).collect()
    };
    let layer = |name: &str, bounds_s: &[f64], pods| Layer {
        name: name.to_owned(),
        bounds_s: bounds_s.to_vec(),
        budget_s: 0.01,
        slow: 0.003,
        rps: 20.0,
        pods,
    };
    let layers = vec![
        layer("edge", &[0.002, 0.005, 0.01, 0.05], pods("edge")),
        // The budget lies between two bounds.
        layer("database", &[0.004, 0.008, 0.016], pods("database")),
    ];
    let incidents = (0..3).map(|number| {
        let from = FROM + Duration::from_minutes(20 + 70 * number) + random.duration(Duration::from_minutes(30));
        let layer = if random.unit() < 0.5 { "edge" } else { "database" };
        let length = Duration::from_minutes(2) + random.duration(Duration::from_minutes(25));
        Incident { layer: layer.to_owned(), from, to: from + length, slow: 0.1 + 0.8 * random.unit() }
    });
    let incidents = incidents.collect();
    Plan { seed, from: FROM, length: LENGTH, scrape_interval: STEP, layers, incidents, idle: Duration::ZERO }
}

/// Every bucket's samples; a marker ends each that stops, and every other one that pauses.
fn add(seed: u64, series: Series, out: &mut Vec<(Vec<Label>, Sample)>) {
    let end = (FROM + LENGTH).unix_ms();
    for (bucket, bound_s) in series.bounds_s.iter().enumerate() {
        let le = if bound_s.is_finite() { bound_s.to_string() } else { "+Inf".to_owned() };
        let own = series.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        let mut labels: Vec<(String, String)> = own.collect();
        labels.extend([
            ("__name__".into(), format!("{METRIC}_bucket")),
            ("history".into(), seed.to_string()),
            ("le".into(), le),
        ]);
        labels.sort();
        let labels: Vec<Label> = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
        let times: Vec<i64> = series.samples.iter().map(|(at, _)| at.unix_ms()).collect();
        for (number, (at, counts)) in series.samples.iter().enumerate() {
            out.push((labels.clone(), Sample { value: counts[bucket], unix_ms: at.unix_ms() }));
            let next = times.get(number + 1).copied().unwrap_or(end);
            if next - at.unix_ms() > STEP.ms() && (number % 2 == 0 || next == end) {
                out.push((labels.clone(), Sample { value: STALE, unix_ms: at.unix_ms() + STEP.ms() }));
            }
        }
    }
}

/// Writes samples as Prometheus' remote write does, in the order of time.
pub async fn write(url: &str, samples: &[(Vec<Label>, Sample)]) {
    for batch in samples.chunks(BATCH) {
        let series = batch.iter().map(|(labels, sample)| TimeSeries {
            labels: labels.clone(),
            samples: vec![*sample],
            histograms: vec![],
        });
        send(url, &WriteRequest { series: series.collect() }).await;
    }
}

pub async fn send(url: &str, request: &WriteRequest) {
    let client = slowburn::http::client(&HttpClient::default()).unwrap();
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let sent = client
        .post(format!("{url}/api/v1/write"))
        .header("content-encoding", "snappy")
        .header("content-type", "application/x-protobuf")
        .header("x-prometheus-remote-write-version", "0.1.0");
    let answer = sent.body(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

fn config(url: &str, seed: u64) -> Config {
    let text = format!(
        "
interval: 30s
source: {{prometheus: {{url: '{url}'}}}}
receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}, {{name: team, webhook: {{url: 'http://127.0.0.1:9'}}}}]
route: {{receivers: [team], repeat_interval: 20m, routes: [{{match: {{urgency: page}}, receivers: [oncall, team]}}]}}
rules:
  - {{name: spike, burn_rate: 14.4, long: 10m, short: 1m, urgency: page, consecutive: 2}}
  - {{name: fast-burn, burn_rate: 6, long: 1h, short: 5m, urgency: page}}
  - {{name: budget, budget_consumed: 100%, urgency: ticket}}
  - {{name: runway, exhaustion: 1h, urgency: page, min_events: 300}}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 2h
    rules: [spike, fast-burn, budget, runway]
    layers:
      - {{name: edge, budget: 10ms, by: [pod], histogram: '{METRIC}{{history=\"{seed}\",layer=\"edge\"}}'}}
      - {{name: database, budget: 10ms, between: interpolate, new_series: zero, histogram: '{METRIC}{{history=\"{seed}\",layer=\"database\"}}'}}
"
    );
    let texts = BTreeMap::from([("slowburn.yml".to_owned(), text)]);
    match config::load_texts("slowburn.yml", &texts, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

/// One poll of every bound a slot, as the daemon would have made it.
async fn stepped(config: &Config) -> Document {
    let source = Source::new(config).unwrap();
    let mut recorder = Recorder::new(config.spec.clone(), FROM, Detail::Buckets);
    let mut slot = (FROM - config.spec.longest_window()).align_down(STEP);
    while slot <= FROM + LENGTH {
        let poll = source.poll(slot, DEADLINE).await.unwrap();
        let series = poll.series.into_iter().map(|(slo, histogram)| HistorySeries {
            slo,
            labels: histogram.labels,
            counts: Counts::new(histogram.counts, histogram.bounds.len()),
            bounds: histogram.bounds,
        });
        recorder.take(&History {
            from: slot,
            step: STEP,
            slots: 1,
            series: series.collect(),
            flawed: poll.flawed.iter().map(|slo| (0, *slo)).collect(),
            warnings: poll.warnings,
            partial: poll.partial,
        });
        slot += STEP;
    }
    recorder.finish()
}

fn printed(document: &Document) -> String {
    let mut json = Vec::new();
    document.write_json(&mut json).unwrap();
    String::from_utf8(json).unwrap()
}
