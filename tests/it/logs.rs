//! What the daemon's log tells: who was told of what, what is dropped, and why it did not start.

use std::process::Command;

use serde_json::Value;

use crate::daemon::{Daemon, RULES, config};
use crate::exporter::Exporter;
use crate::fakes::{Fakes, Fault, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_was_told_of_what_and_what_a_reload_drops() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    fakes.fail(Kind::Webhook, Fault::status(410, "gone"));
    let receivers = [
        ("oncall", format!("webhook: {{url: '{}/hook'}}, fallback: team", fakes.base)),
        ("team", format!("slack: {{webhook_url: '{}/services/T/B/X'}}", fakes.base)),
        ("away", "webhook: {url: 'http://127.0.0.1:1/'}".to_owned()),
    ];
    let text = config(&service.url(), &receivers).replace("[oncall, team, away]", "[oncall, away]");
    let mut daemon = Daemon::start(&text).await;
    daemon.ready().await;
    service.slow("edge", 100);

    let words = |line: &Value| ["receiver", "incident", "reason", "fallback"].map(|key| line[key].clone());
    let refused = daemon.will_log("notification refused").await;
    assert_eq!(words(&refused), ["oncall".into(), "checkout".into(), "opened".into(), Value::from("team")]);
    let told = daemon.will_log("notification delivered").await;
    assert_eq!(words(&told), ["team".into(), "checkout".into(), "opened".into(), Value::Null]);
    let note = told["note"].as_str().unwrap();
    assert!(note.contains("receiver 'oncall' refused this: answered 410 Gone"), "{note}");
    let again = daemon.will_log("notification will be tried again").await;
    assert_eq!(words(&again), ["away".into(), "checkout".into(), "opened".into(), Value::Null]);

    let receivers = &receivers[..2];
    std::fs::write(daemon.path("slowburn.yml"), config(&service.url(), receivers)).unwrap();
    assert_eq!(daemon.post("/-/reload").await.0, 200);
    let gone = daemon.will_log("a receiver is gone; what waited for it is dropped").await;
    assert_eq!(
        [&gone["level"], &gone["receiver"], &gone["dropped"], &gone["stay_open"]],
        [&Value::from("warn"), &"away".into(), &1.into(), &"checkout".into()]
    );
}

/// Exit code and stderr of a daemon that does not start.
fn stillborn(text: &str, args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    std::fs::write(folder.path().join("slowburn.yml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    let output = command.arg("run").args(args).current_dir(folder.path()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn why_it_did_not_start_stands_in_the_log_in_its_format() {
    let hook = ("hook", "webhook: {url: 'http://127.0.0.1:9/'}".to_owned());
    let sound = config("http://127.0.0.1:9/metrics", &[hook]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = sound.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    for (text, why) in [
        (sound.replace("interval:", "intervall:"), "slowburn.yml:1:1: error: unknown key 'intervall'"),
        (taken, "cannot listen on 127.0.0.1:"),
    ] {
        let (code, said) = stillborn(&text, &["--log-format", "json"]);
        assert_eq!(code, Some(2), "{said}");
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let told = lines.iter().find(|line| line["level"] == "error").unwrap();
        assert!(told["why"].as_str().unwrap().starts_with(why), "{said}");
        assert_eq!(said.matches(told["why"].as_str().unwrap()).count(), 1, "{said}");
        let (code, said) = stillborn(&text, &[]);
        assert!(code == Some(2) && said.contains("level=error") && !said.contains("error: error"), "{said}");
    }
}
