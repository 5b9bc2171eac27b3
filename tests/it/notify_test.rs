//! `slowburn notify-test` against receivers that answer as the real ones do.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::fakes::{Fakes, Fault, Kind};

const ROUTING_KEY: &str = "R0UT1NGKEY0123456789abcdef012345";
const SLACK_PATH: &str = "/services/T0SECRET1/B0SECRET2/x0SecretTokenOfSlack";
const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn folder(base: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "source: {{prometheus: {{url: 'http://127.0.0.1:1'}}}}\n\
         receivers:\n\
         \x20 - {{name: oncall, pagerduty: {{routing_key: {ROUTING_KEY}, url: '{base}/v2/enqueue'}}}}\n\
         \x20 - {{name: team, slack: {{webhook_url: '{base}{SLACK_PATH}'}}}}\n\
         \x20 - {{name: hook, webhook: {{url: '{base}/h00kSecretPath', secret: {SIGNING_SECRET}}}}}\n\
         route: {{receivers: [oncall, team, hook]}}\n\
         rules: [{{name: fast-burn, burn_rate: 14.4, long: 1h, urgency: page}}]\n\
         journeys: [{{name: search, histogram: m, budget: 100ms, objective: 99%, rules: [fast-burn]}}]\n"
    );
    std::fs::write(dir.path().join("slowburn.yml"), text).unwrap();
    dir
}

async fn notify_test(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    command.arg("notify-test").args(args).current_dir(dir).env("NO_COLOR", "1");
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    for secret in [ROUTING_KEY, "T0SECRET1", "x0SecretTokenOfSlack", "h00kSecretPath", &SIGNING_SECRET[6..]] {
        assert!(!said.contains(secret), "{secret} in: {said}");
    }
    assert!(said.lines().all(|line| args.contains(&"--dry-run") || line.chars().count() <= 100), "{said}");
    (status.code(), said)
}

/// The output without the times it took.
fn steady(said: &str) -> String {
    let words = said.split(' ').map(|word| if word.contains('.') && word.parse::<f64>().is_ok() { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn every_receiver_is_told_that_it_is_a_test_and_its_answer_is_shown() {
    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let dir = folder(&fakes.base);
    let (code, said) = notify_test(dir.path(), &["--all"]).await;
    let expected = "oncall (PagerDuty)\n\
                    \x20 test delivered in N s: it answered 202 Accepted: Event processed\n\
                    \x20 its end delivered in N s: it answered 202 Accepted: Event processed\n\
                    team (Slack)\n\
                    \x20 test delivered in N s: it answered 200 OK: ok\n\
                    hook (webhook)\n\
                    \x20 test delivered in N s: it answered 204 No Content\n";
    assert_eq!((code, steady(&said).as_str()), (Some(0), expected));

    let seen = fakes.seen();
    let events: Vec<&Value> = seen.iter().filter(|seen| seen.kind == Kind::PagerDuty).map(|seen| &seen.body).collect();
    assert_eq!((&events[0]["event_action"], &events[1]["event_action"]), (&"trigger".into(), &"resolve".into()));
    assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
    assert!(events[0]["dedup_key"].as_str().unwrap().starts_with("slowburn:test:oncall:"));
    assert_eq!(events[0]["payload"]["severity"], "info");
    let titles = [
        &events[0]["payload"]["summary"],
        &seen[2].body["blocks"][0]["text"]["text"],
        &seen[2].body["text"],
        &seen[3].body["alerts"][0]["annotations"]["summary"],
    ];
    for title in titles {
        assert!(title.as_str().unwrap().starts_with("TEST"), "{title}");
    }
    assert_eq!(seen[3].body["slowburn"]["reason"], "test");

    notify_test(dir.path(), &["oncall", "--page"]).await;
    let event = fakes.seen().into_iter().rev().find(|seen| seen.body["event_action"] == "trigger").unwrap().body;
    assert_eq!(event["payload"]["severity"], "critical");
    assert_ne!(event["dedup_key"], events[0]["dedup_key"], "each test is its own");
}

#[tokio::test]
async fn what_a_receiver_refuses_is_told_and_is_the_exit_code() {
    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let dir = folder(&fakes.base);
    fakes.fail(Kind::Slack, Fault::status(404, &format!("no_service for {SLACK_PATH}")));
    fakes.fail(Kind::Webhook, Fault::status(503, "busy at /h00kSecretPath").with_header("retry-after", "30"));
    let (code, said) = notify_test(dir.path(), &["hook", "team"]).await;
    let expected = "hook (webhook)\n\
                    \x20 test not delivered in N s: answered 503 Service Unavailable: busy at [secret]\n\
                    \x20 (the daemon would try again, not before 30s are over)\n\
                    team (Slack)\n\
                    \x20 test refused for good in N s: answered 404 Not Found\n";
    assert_eq!((code, steady(&said).as_str()), (Some(1), expected));

    // A test that was told and cannot be ended says so.
    fakes.fail(Kind::PagerDuty, Fault::status(202, "{}"));
    fakes.fail(Kind::PagerDuty, Fault::status(400, "{}"));
    let (code, said) = notify_test(dir.path(), &["oncall"]).await;
    assert!(code == Some(1) && said.contains("stays open there under the key slowburn:test:oncall:"), "{said}");

    let (code, said) = notify_test(folder("http://127.0.0.1:1").path(), &["team"]).await;
    assert!(code == Some(1) && said.contains("not delivered") && said.contains("cannot connect"), "{said}");
}

#[tokio::test]
async fn a_wrong_name_and_a_dry_run_send_nothing() {
    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let dir = folder(&fakes.base);
    let (code, said) = notify_test(dir.path(), &["team", "oncal"]).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no receiver 'oncal' in slowburn.yml; did you mean 'oncall'?"), "{said}");
    assert!(said.contains("known: oncall, team, hook"), "{said}");
    assert_eq!(notify_test(dir.path(), &[]).await.0, Some(2));
    assert_eq!(notify_test(dir.path(), &["--config", "none.yml", "team"]).await.0, Some(2));

    let (code, said) = notify_test(dir.path(), &["--all", "--dry-run"]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains(r#""event_action": "trigger""#) && said.contains(r#""event_action": "resolve""#), "{said}");
    assert!(said.contains(r#""routing_key": "[secret]""#) && said.contains("TEST of slowburn"), "{said}");
    assert!(fakes.seen().is_empty());
}
