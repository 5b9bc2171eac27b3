//! `slowburn route`: where an alert would go, as the golden files say.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::golden;

/// Exit code, stdout and stderr of a question about the sound configuration with hours of every kind.
fn ask(labels: &str, at: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/sound/routing.yml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    let output = command.args(["route", "--labels", labels, "--at", at, "--config"]).arg(config).args(more).output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_alerts_way_is_told_as_the_golden_files_say() {
    let page = "journey=search,layer=database,stage=critical,urgency=page";
    let ticket = "journey=search,layer=edge,stage=warning,urgency=ticket";
    let (sunday, monday, night) = ("2026-03-08T02:30:00Z", "2026-03-09T14:30:00Z", "2026-03-09T23:00:00+01:00");
    for (name, labels, at, code) in [
        ("page", page, monday, 0),
        ("maintenance", page, sunday, 1),
        ("ticket-by-day", ticket, monday, 0),
        ("ticket-at-night", ticket, night, 1),
        ("rule", "journey=search,layer=network,rule=fast-burn", monday, 0),
    ] {
        let (found, stdout, _) = ask(labels, at, &[]);
        golden::check(&format!("route/{name}.txt"), &stdout);
        assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
        assert_eq!(found, Some(code), "{name}");
    }
}

#[test]
fn the_same_is_there_as_json() {
    let labels = "journey=search,layer=database,stage=critical,urgency=page";
    let (code, stdout, _) = ask(labels, "2026-03-08T02:30:00Z", &["--json"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &answer["told"]), (Some(1), &Value::Bool(false)));
    assert_eq!(answer["receivers"][0]["held"], "maintenance");
    assert_eq!(answer["maintenance"][0]["changes_at"], "2026-03-08T03:00:00Z");
    assert_eq!(answer["maintenance"][0]["counts"], false);
    assert_eq!(answer["route"]["routes"][0]["outcome"], "takes");
    assert_eq!(answer["route"]["routes"][1]["outcome"], "not_asked");
}

#[test]
fn what_the_configuration_does_not_know_is_told_with_what_was_meant() {
    for (labels, said) in [
        ("jurney=search", "there is no label 'jurney'; did you mean 'journey'?"),
        ("journey=serch", "there is no journey 'serch'; did you mean 'search'? (known: search)"),
        ("stage=bad", "there is no stage 'bad' (known: critical, warning)"),
        ("stage", "'stage' is no label: write NAME=VALUE"),
        ("stage=warning,stage=critical", "'stage' is given twice"),
    ] {
        let (code, stdout, stderr) = ask(labels, "now", &[]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{labels}");
        assert!(stderr.contains(said), "{stderr}");
    }
    let (code, _, stderr) = ask("stage=warning", "noon", &[]);
    assert!(code == Some(2) && stderr.contains("'noon' is no point in time"), "{stderr}");
}
