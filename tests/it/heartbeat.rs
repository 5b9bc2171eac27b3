//! The dead man's switch: it beats while the real program evaluates, and stops when that stops.

use serde_json::Value;

use crate::daemon::{Daemon, RULES, config};
use crate::exporter::Exporter;
use crate::fakes::{Fakes, Fault, Kind, Seen};

const PATH: &str = "/ping/s3cretPing";

/// A daemon that evaluates twice a second and beats after every other evaluation.
async fn start(service: &Exporter, fakes: &Fakes) -> Daemon {
    // Nothing fires here, so that all the fakes see of webhooks is beats.
    let text = config(&service.url(), &[("hook", "webhook: {url: 'http://127.0.0.1:9/'}".to_owned())])
        + &format!(
            "heartbeat: {{webhook: {{url: '{}{PATH}', headers: {{x-team: s3cretTeam}}}}, every: 1s}}\n",
            fakes.base
        );
    Daemon::start_with(&text, RULES).await
}

fn beats(fakes: &Fakes) -> Vec<Seen> {
    fakes.seen().into_iter().filter(|seen| seen.kind == Kind::Webhook).collect()
}

async fn missed(daemon: &mut Daemon, slots: u64) {
    let enough =
        async |daemon: &mut Daemon| (daemon.status().await["missed"]["slots"].as_u64() >= Some(slots)).then_some(());
    daemon.eventually("missed slots", enough).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_beats_while_slots_are_evaluated_and_stops_with_the_source() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let mut daemon = start(&service, &fakes).await;
    daemon.eventually("beats", async |_| (beats(&fakes).len() >= 3).then_some(())).await;
    let seen = beats(&fakes);
    assert_eq!(
        (&seen[0].body["status"], &seen[0].headers["x-team"]),
        (&"evaluating".into(), &"s3cretTeam".parse().unwrap())
    );
    let slots: Vec<&str> = seen.iter().map(|beat| beat.body["evaluated_at"].as_str().unwrap()).collect();
    let unix_ms = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
    assert!(slots.windows(2).all(|pair| unix_ms(pair[1]) - unix_ms(pair[0]) >= 1000), "{slots:?}");

    service.down(true);
    missed(&mut daemon, 1).await;
    let told = beats(&fakes).len();
    missed(&mut daemon, 7).await;
    // One may have been under way.
    assert!(beats(&fakes).len() <= told + 1, "it beats without sight");

    service.down(false);
    let told = beats(&fakes).len();
    daemon.eventually("a beat", async |_| (beats(&fakes).len() > told).then_some(())).await;
    let status = daemon.status().await;
    assert!(status["heartbeat"]["last_success"].is_string() && status["heartbeat"]["every"] == "1s", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_that_is_not_taken_is_told_without_the_address_and_delays_nothing() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    fakes.fail(Kind::Webhook, Fault::status(503, "gone: /ping/s3cretPing s3cretTeam"));
    fakes.fail(Kind::Webhook, Fault::Hang);
    let mut daemon = start(&service, &fakes).await;
    let failed = async |daemon: &mut Daemon| {
        let heartbeat = daemon.status().await["heartbeat"].take();
        (heartbeat["failed"].as_u64() >= Some(1)).then_some(heartbeat)
    };
    let heartbeat = daemon.eventually("a failed beat", failed).await;
    assert_eq!(heartbeat["problem"], "answered 503 Service Unavailable: gone: [secret] [secret]");
    assert_eq!((&heartbeat["last_success"], &heartbeat["delivered"]), (&Value::Null, &0.into()));
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.contains("slowburn_heartbeat_last_success_timestamp_seconds 0.0"), "{metrics}");
    assert!(metrics.contains(r#"slowburn_heartbeats_total{outcome="failed"} 1"#), "{metrics}");

    // The second one hangs and evaluation goes on; once it is given up, the third is taken.
    daemon.eventually("a beat that hangs", async |_| (beats(&fakes).len() >= 2).then_some(())).await;
    let at = daemon.status().await["evaluations"].as_u64().unwrap();
    let on = async |daemon: &mut Daemon| (daemon.status().await["evaluations"].as_u64() > Some(at + 1)).then_some(());
    daemon.eventually("evaluations", on).await;
    let taken =
        async |daemon: &mut Daemon| daemon.status().await["heartbeat"]["last_success"].is_string().then_some(());
    daemon.eventually("a taken beat", taken).await;

    assert!(
        daemon.logged("the heartbeat was not taken").is_some()
            && daemon.logged("the heartbeat is taken again").is_some()
    );
    let page = daemon.get("/").await.1;
    for text in [daemon.log(), metrics, page, daemon.status().await.to_string()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}
