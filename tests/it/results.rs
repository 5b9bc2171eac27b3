//! What becomes of results: files that stand where a result is to go, readers that have seen enough, and history that
//! holds nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use slowburn::engine::time::Duration;

use crate::source::SLOT;
use crate::source_real::openmetrics;

/// A folder with a configuration, history, and a file of known incidents.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("slowburn.yml", &crate::files::text("http://127.0.0.1:9"));
        folder.write("history.txt", &openmetrics());
        let [start, end] = [SLOT, SLOT + Duration::from_minutes(30)];
        folder.write("incidents.csv", &format!("journey,start,end\ncheckout,{start},{end}\n"));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.0.path().join(name)).unwrap()).into_owned()
    }

    fn command(&self, args: &str) -> Command {
        command(self.0.path(), args)
    }

    /// Exit code and what was said on standard error.
    fn run(&self, args: &str) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.command(args).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn command(folder: &Path, args: &str) -> Command {
    let mut slowburn = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    slowburn.args(args.split(' ')).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    slowburn
}

/// The exit code of a command whose output nobody reads.
fn unread(mut command: Command) -> Option<i32> {
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    output.status.code()
}

#[test]
fn what_stands_there_stays_where_there_is_no_result() {
    let folder = Folder::new();
    for name in ["page.html", "old.rec"] {
        folder.write(name, "yesterday's");
    }
    let before = folder.names();
    // The source is down.
    for args in ["replay --format html --out page.html", "record --force --out old.rec", "record --out new.rec"] {
        let (code, said) = folder.run(args);
        assert!(code == Some(2) && said.contains("cannot connect"), "{args}: {said}");
        assert_eq!(["page.html", "old.rec"].map(|name| folder.read(name)), ["yesterday's"; 2], "{args}");
        assert_eq!(folder.names(), before, "{args}");
    }
    let (code, said) = folder.run("replay --recording history.txt --format html --out page.html");
    assert!(code == Some(0) && folder.read("page.html").starts_with("<!DOCTYPE html>"), "{said}");
    assert_eq!(folder.names(), before);
}

#[test]
fn what_is_read_is_not_replaced_and_what_cannot_be_written_is_said_first() {
    let folder = Folder::new();
    let history = folder.read("history.txt");
    let tune = "tune --incidents incidents.csv";
    for (args, expected) in [
        ("record --recording history.txt --out history.txt --force".into(), "'history.txt' is read here"),
        ("replay --recording history.txt --out history.txt".into(), "'history.txt' is read here"),
        (format!("{tune} --recording history.txt --out incidents.csv --force"), "'incidents.csv' is read here"),
        (format!("{tune} --out slowburn.yml"), "'slowburn.yml' is there already; --force writes it anew"),
        // Nothing listens where the source is said to be.
        (format!("{tune} --out none/x.yml"), "cannot write 'none/x.yml': No such file"),
        ("replay --out none/x".into(), "cannot write 'none/x': No such file"),
        ("record --out none/x".into(), "cannot write 'none/x': No such file"),
    ] {
        let (code, said) = folder.run(&args);
        assert!(code == Some(2) && said.contains(expected), "{args}: {said}");
    }
    assert_eq!(folder.read("history.txt"), history);
    assert_eq!(folder.names(), ["history.txt", "incidents.csv", "slowburn.yml"]);
    let (code, said) = folder.run("record --recording history.txt --out /dev/null");
    assert!(code == Some(0) && said.contains(" kB: /dev/null"), "{said}");
    assert!(Path::new("/dev/null").exists());
}

#[test]
fn whoever_stops_reading_changes_no_verdict() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/rule_test");
    let folder = Folder::new();
    let junit = folder.0.path().join("junit.xml");
    let failing = command(&tests, &format!("test fails.yml --junit {}", junit.display()));
    assert_eq!(unread(failing), Some(1));
    assert!(folder.read("junit.xml").ends_with("</testsuites>\n"));
    let replay = "replay --recording history.txt --format json";
    assert_eq!(unread(folder.command(replay)), Some(141));
    let search = "--incidents incidents.csv --trials 3 --max-pages-per-week 1000000 --burn-rate 0.1..10";
    let tune = format!("tune --recording history.txt {search} --out tuned.yml");
    assert_eq!(unread(folder.command(&tune)), Some(141));
    assert!(folder.read("tuned.yml").contains("rules:"));
}

#[test]
fn a_standard_error_that_is_full_keeps_nobody_from_the_result() {
    let folder = Folder::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let to = SLOT + Duration::from_minutes(10);
    for (args, code) in [("replay", 2), (&*format!("replay --recording history.txt --to {to} --format json"), 0)] {
        assert_eq!(folder.command(args).stderr(full()).status().unwrap().code(), Some(code), "{args}");
    }
}

#[test]
fn a_recording_may_come_from_standard_input() {
    let folder = Folder::new();
    let replay = |file: &str| {
        let mut command = folder.command(&format!("replay --format json --recording {file}"));
        command.stdin(File::open(folder.0.path().join("history.txt")).unwrap()).output().unwrap()
    };
    let [piped, named] = ["-", "history.txt"].map(replay);
    assert_eq!((piped.status.code(), &piped.stdout), (Some(0), &named.stdout));
}

#[test]
fn rules_are_exported_without_any_secret() {
    let folder = Folder::new();
    let webhook = "webhook: {url: 'http://127.0.0.1:9'}";
    let text = folder.read("slowburn.yml").replace(webhook, "pagerduty: {routing_key_file: /none}");
    assert!(text.contains("/none"));
    folder.write("slowburn.yml", &text);
    assert_eq!(folder.run("rules export"), (Some(0), String::new()));
    assert_eq!(folder.run("rules export --out exported.yml"), (Some(0), String::new()));
    assert!(folder.read("exported.yml").contains("- alert: \"SlowburnSpike\""));
    folder.write("slowburn.yml", "journeys: 1\n");
    let (code, said) = folder.run("rules export --out exported.yml");
    assert!(code == Some(2) && folder.read("exported.yml").contains("SlowburnSpike"), "{said}");
}

#[test]
fn history_that_holds_nothing_is_no_good_news() {
    let folder = Folder::new();
    let config = folder.read("slowburn.yml");
    folder.write("typo.yml", &config.replace("'m{", "'mm{").replace("histogram: n", "histogram: nn"));
    folder.write("part.yml", &config.replace("histogram: n", "histogram: nn"));
    let nothing = "error: nothing that the configuration asks for is there from 2026-";
    let given = "--recording history.txt --config";
    assert_eq!(folder.run(&format!("record --out full.rec {given} slowburn.yml")).0, Some(0));
    for args in
        ["replay", "replay --format html --out page.html", "record --out none.rec", "tune --incidents incidents.csv"]
    {
        let (code, said) = folder.run(&format!("{args} --recording full.rec --config typo.yml"));
        assert!(code == Some(2) && said.contains(nothing), "{args}: {said}");
    }
    assert!(!folder.names().iter().any(|name| name.starts_with("page") || name.starts_with("none")));
    // A range that is seen in part, and an SLO that never is.
    let warning = "warning: nothing was seen of checkout/n: what would have come of it is not known";
    let output = folder.command(&format!("replay {given} part.yml")).output().unwrap();
    let [text, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.code() == Some(0) && said.contains(warning), "{said}");
    assert!(text.contains("\nNot seen, so nothing could be told of it\n  checkout/n: all of it\n"), "{text}");
    assert!(text.contains("Longest without a page: ") && text.contains(", as far as was seen\n"), "{text}");
    let output = folder.command(&format!("replay --format json {given} part.yml")).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["unseen"], json!(["checkout/n"]));
    let slos = document["slos"].as_array().unwrap();
    let seen = |layer: &str| slos.iter().find(|slo| slo["layer"] == layer).unwrap()["seen_slots"].as_u64().unwrap();
    assert!(seen("n") == 0 && seen("database") > 0 && seen("database") <= document["evaluations"].as_u64().unwrap());
    let output = folder.command(&format!("replay {given} slowburn.yml --compare part.yml")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nOf the second nothing was seen of checkout/n.\n"), "{text}");
    let (code, said) = folder.run(&format!("record --out part.rec {given} part.yml"));
    assert!(code == Some(0) && said.contains(warning), "{said}");
}
