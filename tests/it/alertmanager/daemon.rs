//! The running daemon posts what stands, whatever happens to its source and to the instances.

use serde_json::Value;
use slowburn::clock::Clock;

use super::fake::Fake;
use crate::daemon::{Daemon, RULES, config};
use crate::exporter::Exporter;

/// A receiver that is posted to each second, so that a post holds for four.
fn receiver(urls: &[&str]) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
    format!("alertmanager: {{urls: [{}], resend: 1s}}", urls.join(", "))
}

async fn start(service: &Exporter, urls: &[&str]) -> Daemon {
    Daemon::start_with(&config(&service.url(), &[("am", receiver(urls))]), RULES).await
}

/// `SlowburnLatency critical`, and `ended` or not, of all that an instance knows.
fn known(instance: &Fake) -> Vec<String> {
    let now = Clock.now().to_string();
    let mut known: Vec<String> = instance.alerts().iter().map(|alert| shown(alert, &now)).collect();
    known.sort();
    known
}

fn shown(alert: &Value, now: &str) -> String {
    let [name, stage] = ["alertname", "stage"].map(|label| alert["labels"][label].as_str().unwrap());
    let ended = if alert["endsAt"].as_str().unwrap() <= now { " ended" } else { "" };
    format!("{name} {stage}{ended}")
}

async fn becomes(daemon: &mut Daemon, instance: &Fake, expected: &[&str]) {
    let what = format!("{expected:?}");
    daemon.eventually(&what, async |_| (known(instance) == expected).then_some(())).await;
}

const BURNING: [&str; 2] = ["SlowburnLatency critical", "SlowburnLatency warning"];

/// For more than two holds, nothing that stands comes near its end.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_expires_while_the_source_is_out_of_sight() {
    let (service, instance) = (Exporter::start(&["edge"]).await, Fake::start().await);
    let mut daemon = start(&service, &[&instance.url]).await;
    daemon.ready().await;
    service.slow("edge", 100);
    becomes(&mut daemon, &instance, &BURNING).await;

    service.down(true);
    let blind = ["SlowburnBlind critical", BURNING[0], BURNING[1]];
    becomes(&mut daemon, &instance, &blind).await;
    let end = |instance: &Fake| instance.alerts().iter().map(|alert| alert["endsAt"].to_string()).min().unwrap();
    let from = Clock.now() + slowburn::engine::time::Duration::from_secs(10);
    daemon
        .eventually("posts for ten seconds", async |_| {
            assert_eq!(known(&instance), blind, "it is out of sight, not over");
            (end(&instance).trim_matches('"') > from.to_string().as_str()).then_some(())
        })
        .await;

    service.slow("edge", 0);
    service.down(false);
    becomes(
        &mut daemon,
        &instance,
        &["SlowburnBlind critical ended", "SlowburnLatency critical ended", "SlowburnLatency warning ended"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_down_is_named_and_caught_up() {
    let service = Exporter::start(&["edge"]).await;
    let (up, down) = (Fake::start().await, Fake::start().await);
    down.fail(Some((503, "starting")));
    let mut daemon = start(&service, &[&up.url, &down.url]).await;
    // Before anything burns.
    let problem = daemon
        .eventually("problem", async |daemon| {
            daemon.status().await["receivers"][0]["problem"].as_str().map(str::to_owned)
        })
        .await;
    assert!(problem.starts_with(&format!("{}: answered 503", down.url)) && !problem.contains(&up.url), "{problem}");

    service.slow("edge", 100);
    becomes(&mut daemon, &up, &BURNING).await;
    let status = daemon.status().await;
    assert_eq!(status["dead_letters"], Value::Array(vec![]));
    assert_eq!(known(&down), [""; 0]);
    down.fail(None);
    becomes(&mut daemon, &down, &BURNING).await;
    daemon
        .eventually("no problem", async |daemon| {
            daemon.status().await["receivers"][0]["problem"].is_null().then_some(())
        })
        .await;
    assert_eq!(daemon.status().await["receivers"][0]["delivered"], 1);
    // Once when it went and once when it came, however often it was tried.
    for (message, times) in [("does not take all alerts", 1), ("takes all alerts again", 1)] {
        assert_eq!(daemon.log().matches(message).count(), times, "{}", daemon.log());
    }

    // A hanging instance delays neither the other nor a stop.
    down.hang();
    service.slow("edge", 0);
    becomes(&mut daemon, &up, &["SlowburnLatency critical ended", "SlowburnLatency warning ended"]).await;
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
}
