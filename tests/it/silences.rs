//! Silences of a running daemon, by the command and over HTTP.

use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::{Daemon, RULES, config, pagerduty, pages};
use crate::exporter::Exporter;
use crate::fakes::Fakes;

/// Exit code and output of `slowburn ARGS --url ...`.
async fn slowburn(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    command.args(args).args(["--url", &daemon.base]).env("NO_COLOR", "1").env("USER", "ada");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // How a wrong command line is told is not ours.
    let fits = output.status.code() == Some(2) || said.lines().all(|line| line.chars().count() <= 80);
    assert!(fits, "{said}");
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_silenced_is_told_when_the_silence_ends() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let mut daemon = Daemon::start_with(&config(&service.url(), &[("oncall", pagerduty(&fakes))]), RULES).await;
    daemon.ready().await;
    assert_eq!(slowburn(&daemon, &["silence", "list"]).await, (Some(0), "No silences.\n".into()));

    let add = ["silence", "add", "layer=edge", "stage!=warning", "--for", "2h", "--reason", "vacuum of the <shards>"];
    let (code, said) = slowburn(&daemon, &add).await;
    let id = said.trim().to_owned();
    assert!(code == Some(0) && id.len() == 36, "{said}");
    service.slow("edge", 100);
    let standing = async |daemon: &mut Daemon| {
        let status = daemon.status().await;
        (status["silences"][0]["alerts"] == 1).then_some(status)
    };
    let status = daemon.eventually("an alert that is held back", standing).await;
    assert_eq!((&status["silences"][0]["author"], &status["alerts"][0]["stage"]), (&"ada".into(), &"critical".into()));
    let at = status["evaluations"].as_u64().unwrap();
    let more = async |daemon: &mut Daemon| (daemon.status().await["evaluations"].as_u64() > Some(at + 3)).then_some(());
    daemon.eventually("evaluations", more).await;
    assert!(pages(&fakes).is_empty(), "{:?}", pages(&fakes));
    assert!(daemon.status().await["held_back"]["silenced"].as_u64() >= Some(1));

    // Everybody who looks can see it.
    let (code, said) = slowburn(&daemon, &["silence", "list"]).await;
    assert_eq!(code, Some(0));
    for line in [format!("{id}  active"), "layer=edge stage!=warning".into(), "ada: vacuum of the <shards>".into()] {
        assert!(said.contains(&line), "{line} is not in:\n{said}");
    }
    assert!(said.contains("h59m from now") && said.contains("holds back: 1 alert"), "{said}");
    let (_, said) = slowburn(&daemon, &["status"]).await;
    assert!(said.contains("\nSilences\n  layer=edge stage!=warning until 20"), "{said}");
    assert!(said.contains("ada: vacuum of the <shards>; holds back 1 alert"), "{said}");
    let page = daemon.get("/").await.1;
    assert!(
        page.contains("<h2>Silences and maintenance</h2>") && page.contains("vacuum of the &lt;shards&gt;"),
        "{page}"
    );

    assert_eq!(slowburn(&daemon, &["silence", "expire", &id]).await, (Some(0), String::new()));
    daemon.eventually("page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;
    let (_, said) = slowburn(&daemon, &["silence", "list", "--expired"]).await;
    assert!(said.contains(&format!("{id}  expired")), "{said}");
    assert_eq!(slowburn(&daemon, &["silence", "list"]).await.1, "No silences.\n");

    // The exit codes: what the daemon refuses, and a daemon that is not there.
    let (code, said) = slowburn(&daemon, &["silence", "expire", "no-such"]).await;
    assert!(code == Some(1) && said.contains("there is no silence no-such"), "{said}");
    let regex = ["silence", "add", "layer=~data.*", "--for", "1h", "--reason", "x"];
    let (code, said) = slowburn(&daemon, &regex).await;
    assert!(code == Some(1) && said.contains("is a regular expression;"), "{said}");
    assert_eq!(slowburn(&daemon, &["silence", "add", "layer", "--for", "1h", "--reason", "x"]).await.0, Some(2));
    assert_eq!(slowburn(&daemon, &["silence", "add", "layer=edge", "--reason", "x"]).await.0, Some(2));
    daemon.base = "http://127.0.0.1:1".into();
    assert_eq!(slowburn(&daemon, &["silence", "list"]).await.0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_over_http() {
    let service = Exporter::start(&["edge"]).await;
    let hook = ("hook", "webhook: {url: 'http://127.0.0.1:9/'}".to_owned());
    let mut daemon = Daemon::start_with(&config(&service.url(), &[hook]), RULES).await;
    daemon.ready().await;
    let client = slowburn::http::client(&slowburn::config::HttpClient::default()).unwrap();
    let url = format!("{}/api/v1/silences", daemon.base);
    let post = async |body: &Value| {
        let answer = client.post(&url).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let get = async |path: &str| client.get(format!("{url}{path}")).send().await.unwrap();
    let wanted = json!({
        "matchers": [
            {"name": "layr", "value": "edge"},
            {"name": "layer", "value": "egde|edge", "isRegex": true, "isEqual": false},
        ],
        "duration": "1h", "createdBy": "ada", "comment": "vacuum",
    });

    let (code, made) = post(&wanted).await;
    assert_eq!((code, &made["status"]), (200, &"success".into()), "{made}");
    let warnings =
        json!(["no alert has a label 'layr'; did you mean 'layer'?", "no alert has layer=egde; did you mean 'edge'?"]);
    assert_eq!(made["warnings"], warnings);
    let id = made["data"]["silenceID"].as_str().unwrap().to_owned();
    let shown: Value = get(&format!("/{id}")).await.json().await.unwrap();
    let shown = &shown["data"];
    assert_eq!((&shown["status"]["state"], &shown["createdBy"]), (&"active".into(), &"ada".into()));
    assert_eq!(shown["matchers"][1], json!({"name": "layer", "value": "egde|edge", "isRegex": true, "isEqual": false}));

    // Replaced under its id, which it keeps.
    let mut again = wanted.clone();
    again["id"] = id.clone().into();
    again["comment"] = "vacuum, again".into();
    assert_eq!(post(&again).await.1["data"]["silenceID"], id.as_str());
    let mut later = wanted.clone();
    later["startsAt"] = "2099-01-01T00:00:00Z".into();
    let (code, refused) = post(&later).await;
    assert!(code == 400 && refused["error"].as_str().unwrap().contains("more than 90d from now"), "{refused}");
    let listed: Value = get("").await.json().await.unwrap();
    let listed = listed["data"]["silences"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["comment"]), (1, &"vacuum, again".into()));

    // What is not understood.
    again["id"] = "no-such".into();
    assert_eq!(post(&again).await.0, 404);
    assert_eq!(get("/no-such").await.status().as_u16(), 404);
    let (code, refused) = post(&json!({"matchers": [], "comment": ""})).await;
    let error = refused["error"].as_str().unwrap();
    assert!(
        code == 400 && error.contains("'matchers' is missing") && error.contains("'createdBy' is missing"),
        "{error}"
    );
    let form = client.post(&url).body(wanted.to_string()).send().await.unwrap();
    assert_eq!(form.status().as_u16(), 415);
    let mut long = wanted.clone();
    long["comment"] = "x".repeat(100_000).into();
    assert_eq!(post(&long).await.0, 413);
    assert_eq!(client.put(&url).send().await.unwrap().status().as_u16(), 405);

    let delete = async |id: &str| client.delete(format!("{url}/{id}")).send().await.unwrap().status().as_u16();
    assert_eq!((delete(&id).await, delete(&id).await, delete("no-such").await), (200, 200, 404));
    let (code, refused) = post(&{
        again["id"] = id.into();
        again
    })
    .await;
    assert!(code == 400 && refused["error"].as_str().unwrap().contains("that silence is over"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_was_answered_for_outlives_a_kill() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let text = config(&service.url(), &[("oncall", pagerduty(&fakes))]) + "state: {sqlite: state.db}\n";
    let mut daemon = Daemon::start_with(&text, RULES).await;
    for number in 0..5 {
        let reason = format!("number {number}");
        let (code, _) = slowburn(&daemon, &["silence", "add", "layer=edge", "--for", "2h", "--reason", &reason]).await;
        daemon.kill();
        assert_eq!(code, Some(0));
        daemon.start_again(&[]).await;
        let (_, said) = slowburn(&daemon, &["silence", "list"]).await;
        assert!(said.contains(&reason), "{said}\n{}", daemon.log());
    }
}
