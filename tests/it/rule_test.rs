//! `slowburn test`: what it says of tests that pass, that fail and that are broken; and that promtool means the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use slowburn::config::testing::{Sample, load_tests};
use slowburn::engine::time::{Duration, Timestamp};

use crate::golden;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/rule_test");

/// Exit code, stdout and stderr of `slowburn` in a folder.
fn slowburn(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_slowburn")).args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn check(name: &str, more: &[&str], code: i32) {
    let file = format!("{name}.yml");
    let (found, stdout, stderr) = slowburn(FOLDER.as_ref(), &[&["test", &file], more].concat());
    golden::check(&format!("rule_test/{name}.out"), &stdout);
    assert_eq!((found, stderr.as_str()), (Some(code), ""), "{name}: {stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
}

#[test]
fn tests_that_pass_are_told_in_a_line_each() {
    check("passes", &[], 0);
}

#[test]
fn tests_that_fail_say_what_was_expected_what_came_and_when_it_would_have_been_so() {
    check("fails", &[], 1);
}

#[test]
fn promtools_files_are_read_and_what_is_not_checked_is_said() {
    check("promtool", &["--config", "slowburn.yml"], 0);
    check("promtool_skips", &["--config", "slowburn.yml"], 1);
}

#[test]
fn all_that_was_decided_can_be_shown() {
    let (code, stdout, _) =
        slowburn(FOLDER.as_ref(), &["test", "--show", "--run", "later|silence holds", "fails.yml", "passes.yml"]);
    golden::check("rule_test/show.out", &stdout);
    assert_eq!(code, Some(1));
}

#[test]
fn broken_files_are_told_as_the_golden_files_say() {
    let folder = Path::new(FOLDER).join("broken");
    let mut names: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    assert!(names.len() >= 6);
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (code, stdout, stderr) = slowburn(&folder, &["test", name]);
        golden::check(&format!("rule_test/broken/{}", name.replace(".yml", ".out")), &stderr);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{name}");
    }
}

#[test]
fn one_broken_file_keeps_all_from_running_and_every_one_is_told() {
    let files = ["passes.yml", "broken/config.yml", "nowhere.yml"];
    let (code, stdout, stderr) = slowburn(FOLDER.as_ref(), &[&["test"], &files[..]].concat());
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("no configuration is named") && stderr.contains("cannot read 'nowhere.yml'"), "{stderr}");
}

#[test]
fn tests_are_picked_by_name_and_quiet_tells_only_what_failed() {
    let run = |args: &[&str]| slowburn(FOLDER.as_ref(), &[&["test", "passes.yml", "fails.yml"], args].concat());
    let (code, stdout, _) = run(&["--run", "^a silence|this one", "--quiet"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "2 tests: 2 passed\n"));
    let (code, stdout, _) = run(&["--run", "held back", "-q"]);
    assert_eq!(code, Some(1));
    assert!(
        stdout.starts_with("  FAILED  held back\n") && stdout.ends_with("1 test: 0 passed, 1 failed\n"),
        "{stdout}"
    );
    let (code, _, stderr) = run(&["--run", "no such name"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no test has a name that --run matches"), "{stderr}");
    let (code, _, stderr) = run(&["--run", "("]);
    assert!(code == Some(2) && stderr.contains("regex parse error"), "{stderr}");
}

#[test]
fn the_example_passes() {
    let (code, stdout, stderr) =
        slowburn(env!("CARGO_MANIFEST_DIR").as_ref(), &["test", "examples/checkout/tests.yml"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
}

#[test]
fn results_are_written_as_junit_xml() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("junit.xml");
    let files = ["fails.yml", "promtool_skips.yml"];
    let args = ["--config", "slowburn.yml", "--quiet", "--junit", out.to_str().unwrap()];
    let (code, ..) = slowburn(FOLDER.as_ref(), &[&["test"], &files[..], &args].concat());
    assert_eq!(code, Some(1));
    let xml = fs::read_to_string(&out).unwrap();
    golden::check("rule_test/junit.xml", &xml);
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    let counts = report.test_suites.iter().map(|suite| (suite.tests, suite.failures, suite.skipped));
    assert_eq!(counts.collect::<Vec<_>>(), [(5, 4, 0), (5, 1, 4)]);
}

#[test]
fn a_renamed_rule_does_not_leave_promtools_tests_behind() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("renamed.yml");
    let file = file.to_str().unwrap();
    let check = |alertname: &str, expected: &str| {
        let tests = format!(
            "rule_files: []\ntests:\n  - alert_rule_test:\n      - {{eval_time: 5m, alertname: {alertname}, exp_alerts: \
             [{{exp_labels: {{journey: checkout}}}}]}}\n"
        );
        fs::write(file, tests).unwrap();
        let (code, stdout, stderr) = slowburn(FOLDER.as_ref(), &["test", "--config", "slowburn.yml", file]);
        assert!(code == Some(2) && stderr.contains(expected) && stderr.contains("yml:4:36"), "{stdout}{stderr}");
    };
    check("SlowburnFats", "did you mean 'SlowburnFast'?");
    check("SlowburnElsewhere", "'slowburn rules export' shows the names");
}

#[test]
fn what_no_xml_may_hold_is_left_out_and_strangers_of_any_name_are_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let [file, junit] = ["named.yml", "junit.xml"].map(|name| dir.path().join(name));
    let tests = r#"
evaluation_interval: 30s
tests:
  - name: "of \uFFFE and \uFFFF and \u0001"
    interval: 30s
    input_series: [{series: '{"http.requests", code="200"}', values: '08 09x3'}]
    alert_rule_test: [{eval_time: 1m, alertname: SlowburnFast}]
"#;
    fs::write(&file, tests).unwrap();
    let [file, out] = [&file, &junit].map(|path| path.to_str().unwrap());
    let (code, stdout, stderr) = slowburn(FOLDER.as_ref(), &["test", "--config", "slowburn.yml", "--junit", out, file]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("of \u{fffd} and \u{fffd} and "), "{xml}");
    assert!(!xml.contains(['\u{1}', '\u{fffe}', '\u{ffff}']), "{xml}");
}

#[test]
#[ignore = "needs junitparser"]
fn another_reader_finds_the_same_in_the_xml() {
    let script = "import sys, junitparser\nfor suite in junitparser.JUnitXml.fromfile(sys.argv[1]):\n  \
                  print(suite.name, suite.tests, suite.failures, suite.skipped, suite.errors, [len(case.result) for case in suite])";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .args(["-c", script, "junit.xml"])
        .env("PYTHONPATH", root.join("target/test-python"))
        .current_dir(FOLDER)
        .output()
        .unwrap();
    let read = String::from_utf8(output.stdout).unwrap();
    assert_eq!(read, "fails.yml 5 4 0 0 [1, 1, 1, 1, 0]\npromtool_skips.yml 5 1 4 0 [1, 1, 1, 1, 1]\n");
}

/// The rules as they are exported, without their texts: promtool compares those too.
fn exported_rules() -> String {
    let (code, rules, stderr) = slowburn(FOLDER.as_ref(), &["rules", "export", "--config", "slowburn.yml"]);
    assert_eq!(code, Some(0), "{stderr}");
    let is_text = |line: &str| {
        let line = line.trim_start();
        ["annotations:", "summary:", "description:"].iter().any(|key| line.starts_with(key))
    };
    rules.lines().filter(|line| !is_text(line)).fold(String::new(), |text, line| text + line + "\n")
}

/// Runs promtool's tests on a file; what it says, if it is not content.
fn promtool(file: &Path) -> Result<(), String> {
    let output = Command::new("promtool").args(["test", "rules"]).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
#[ignore = "needs prometheus"]
fn promtool_comes_to_the_same_on_the_exported_rules() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rules.yml"), exported_rules()).unwrap();
    let file = dir.path().join("promtool.yml");
    let tests = fs::read_to_string(Path::new(FOLDER).join("promtool.yml")).unwrap();
    fs::write(&file, &tests).unwrap();
    promtool(&file).unwrap();
    // It could say something else.
    fs::write(&file, tests.replace("severity: warning", "severity: other")).unwrap();
    promtool(&file).unwrap_err();
}

#[test]
fn no_secret_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let config = "\
source:
  prometheus:
    url: https://prometheus.example.com
    bearer_token_file: /run/nowhere/token
    tls: {ca_file: nowhere/ca.pem, cert_file: nowhere/client.pem, key_file: nowhere/client.key}
server: {listen: 127.0.0.1:0, tls: {cert_file: nowhere/server.pem, key_file: nowhere/server.key}, bearer_token_file: nowhere/api}
receivers:
  - {name: pager, pagerduty: {routing_key_file: /run/nowhere/pagerduty}, fallback: chat}
  - {name: chat, slack: {webhook_url_file: /run/nowhere/slack}}
  - {name: hook, webhook: {url_file: nowhere/url, secret_file: nowhere/signing}}
  - {name: mail, email: {smtp: 'smtps://mail.example.com', username: slo, password_file: nowhere/pass, from: slo@example.com, to: [team@example.com]}}
route: {receivers: [pager, hook, mail]}
rules: [{name: fast, burn_rate: 10, long: 10m, urgency: page}]
journeys: [{name: search, histogram: search_seconds, budget: 100ms, objective: 99%, rules: [fast]}]
";
    fs::write(dir.path().join("slowburn.yml"), config).unwrap();
    let tests = "\
config: slowburn.yml
tests:
  - name: a search that fails
    traffic: [{journey: search, requests: 1/s, slow: 50%}]
    expect_alerts: [{at: 10m, alerts: [{rule: fast, stage: critical}]}]
";
    fs::write(dir.path().join("tests.yml"), tests).unwrap();
    let (code, stdout, stderr) = slowburn(dir.path(), &["test", "tests.yml"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    // Where somebody is to be told, they are needed.
    let (code, _, stderr) = slowburn(dir.path(), &["check", "--config", "slowburn.yml"]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr.matches("No such file").count(), 12, "{stderr}");
}

#[test]
fn colours_are_for_those_who_want_them() {
    let run = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        let args = ["test", "fails.yml", "--run", "missing"];
        let output = command.args(args).current_dir(FOLDER).env_remove("NO_COLOR").env(name, "1").output().unwrap();
        output.stdout.contains(&0x1b)
    };
    assert!(run("CLICOLOR_FORCE") && !run("NO_COLOR"));
}

#[test]
fn the_schema_of_test_files_can_be_printed() {
    let (code, stdout, _) = slowburn(FOLDER.as_ref(), &["schema", "--test"]);
    let schema: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &schema["title"]), (Some(0), &"slowburn rule tests".into()));
    assert_eq!(schema["$defs"]["Traffic"]["required"], serde_json::json!(["journey", "requests"]));
}

/// A series in promtool's notation.
fn any_values() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (-99..99i32).prop_map(|n| n.to_string()),
        (-999..999i32).prop_map(|n| (f64::from(n) / 8.0).to_string()),
        prop::sample::select(vec!["0.1", "1e2", "2.5e-1", "+3", "NaN", "-Inf", "Inf", ".5"]).prop_map(str::to_owned),
    ];
    let step = prop::sample::select(vec!["+1", "-2", "+0.1", "-0.3", "+1e1", ""]);
    let item = prop_oneof![
        number.clone(),
        (-9..9i32, step, 0..6usize).prop_map(|(first, step, n)| format!("{first}{step}x{n}")),
        Just("_".to_owned()),
        (0..4usize).prop_map(|n| format!("_x{n}")),
        Just("stale".to_owned()),
        // Most of these mean nothing to either.
        "[-+0-9x_.eNaInfstl]{1,5}",
    ];
    prop::collection::vec(item, 1..6).prop_map(|items| items.join(" "))
}

/// Our samples of a series, or `None` where it is refused.
fn samples(dir: &Path, values: &str) -> Option<Vec<Sample>> {
    let file = dir.join("ours.yml");
    let series = r#"request_seconds_bucket{layer="edge",le="1"}"#;
    let tests = format!(
        "config: {FOLDER}/slowburn.yml\ntests:\n  - name: a series\n    input_series: [{{series: '{series}', values: '{values}'}}]\n    \
         expect_alerts: [{{at: 1h, alerts: []}}]\n"
    );
    fs::write(&file, tests).unwrap();
    load_tests(&file, None).ok().map(|file| file.tests[0].series[0].samples.clone())
}

/// A promtool test that asks for each of these samples, further apart than the lookback.
fn asked(values: &str, samples: &[Sample]) -> String {
    let mut group =
        format!("  - interval: 10m\n    input_series: [{{series: x, values: '{values}'}}]\n    promql_expr_test:\n");
    for (number, sample) in samples.iter().enumerate() {
        let (expr, expected) = match sample {
            // NaN equals nothing, not even what is expected.
            Sample::Value(value) if value.is_nan() => ("count(x != x)", "[{labels: '{}', value: 1}]".to_owned()),
            Sample::Value(value) if value.is_infinite() => {
                ("x", format!("[{{labels: x, value: {value}}}]").replace("inf", ".inf"))
            }
            Sample::Value(value) => ("x", format!("[{{labels: x, value: {value}}}]")),
            Sample::Missing | Sample::Stale => ("x", "[]".to_owned()),
        };
        group += &format!("      - {{expr: {expr}, eval_time: {}m, exp_samples: {expected}}}\n", 10 * number);
    }
    group
}

#[test]
#[ignore = "needs prometheus"]
fn series_mean_what_they_mean_to_promtool() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("theirs.yml");
    let write =
        |groups: &str| fs::write(&file, format!("rule_files: []\nevaluation_interval: 10m\ntests:\n{groups}")).unwrap();
    let (mut runner, mut taken, mut refused) = (TestRunner::deterministic(), String::new(), 0);
    for _ in 0..300 {
        let values = any_values().new_tree(&mut runner).unwrap().current();
        match samples(dir.path(), &values) {
            Some(samples) => taken += &asked(&values, &samples),
            None => {
                refused += 1;
                write(&asked(&values, &[Sample::Value(1.0)]));
                promtool(&file).expect_err(&format!("promtool takes {values:?}"));
            }
        }
    }
    write(&taken);
    promtool(&file).unwrap();
    assert!((50..250).contains(&refused), "{refused} of 300 were refused");
    // It could say something else.
    write(&taken.replacen("value: ", "value: 1", 1));
    promtool(&file).unwrap_err();
}

/// What was told: when, to whom, and why.
type Told = Vec<(Duration, String, String)>;

#[test]
fn a_replay_of_the_same_samples_tells_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let series = [
        (r#"request_seconds_bucket{layer="edge",le="0.01"}"#, "0+300x40 12000x20 _x3 0+300x30 stale _x12 9000+300x60"),
        (
            r#"request_seconds_bucket{layer="edge",le="+Inf"}"#,
            "0+300x40 12000+300x20 _x3 0+300x30 stale _x12 9000+300x60",
        ),
    ];
    let mut tests = format!("config: {FOLDER}/slowburn.yml\ntests:\n  - name: a test\n    input_series:\n");
    for (name, values) in series {
        tests += &format!("      - {{series: '{name}', values: '{values}'}}\n");
    }
    tests += "    expect_notifications: [{notifications: []}]\n";
    let file = dir.path().join("tests.yml");
    fs::write(&file, tests).unwrap();
    let file = load_tests(&file, None).unwrap();
    let test = &file.tests[0];

    let mut text = String::new();
    for (series, (name, _)) in test.series.iter().zip(series) {
        for (number, sample) in (0..).zip(&series.samples) {
            let at = test.start.unix_ms() / 1000 + 30 * number;
            match sample {
                Sample::Value(value) => text += &format!("{name} {value} {at}\n"),
                Sample::Stale => text += &format!("{name} NaN {at}\n"),
                Sample::Missing => {}
            }
        }
    }
    fs::write(dir.path().join("metrics.txt"), text + "# EOF\n").unwrap();
    let config = format!("{FOLDER}/slowburn.yml");
    let args = ["replay", "--config", &config, "--recording", "metrics.txt", "--format", "json"];
    let (code, stdout, stderr) = slowburn(dir.path(), &args);
    assert_eq!(code, Some(0), "{stderr}");
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let text_of = |told: &serde_json::Value, key: &str| told[key].as_str().unwrap().to_owned();
    let replayed: Told = document["notifications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| {
            let at: Timestamp = text_of(told, "at").parse().unwrap();
            (
                at.since(test.start),
                text_of(told, "receiver"),
                format!("{}: {}", text_of(told, "reason"), text_of(told, "summary")),
            )
        })
        .collect();

    let result = slowburn::rule_test::run(&file.config, test);
    let tested: Told = result.told(&file.config).collect();
    assert!(tested.len() > 4, "{tested:?}");
    assert_eq!(tested, replayed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_panics(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..9usize, "[-a-z:{}\\[\\],'0-9 ]{0,5}"), 1..5)) {
        let mut text: Vec<char> = fs::read_to_string(Path::new(FOLDER).join("passes.yml")).unwrap().chars().collect();
        for (at, length, insert) in cuts {
            let start = at.index(text.len());
            text.splice(start..(start + length).min(text.len()), insert.chars());
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tests.yml");
        fs::write(&file, text.into_iter().collect::<String>()).unwrap();
        let config = Path::new(FOLDER).join("slowburn.yml");
        if let Err(mistakes) = load_tests(&file, Some(&config)) {
            prop_assert!(!mistakes.is_empty() && mistakes.iter().all(|of_file| !of_file.render(true).is_empty()));
        }
    }
}

/// The blocks of a kind in the guide.
fn guide(kind: &str) -> Vec<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rule-tests.md")).unwrap();
    let fence = format!("```{kind}\n");
    let blocks = text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

#[test]
fn the_guides_examples_are_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let mut further = "config: slowburn.yml\ntests:\n".to_owned();
    for block in guide("yaml") {
        match block.lines().next().and_then(|line| line.strip_prefix("# ")) {
            Some(name) => write(name, &block),
            None => further += &block,
        }
    }
    write("further.yml", &further);
    let args = ["test", "--config", "slowburn.yml", "tests.yml", "further.yml", "promtool.yml"];
    let (code, stdout, stderr) = slowburn(dir.path(), &args);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.ends_with("5 tests: 5 passed\n"), "{stdout}");

    let tests = fs::read_to_string(dir.path().join("tests.yml")).unwrap();
    let traffic = tests.lines().find(|line| line.contains("requests: 100/s")).unwrap();
    let too_soon = format!(
        "config: slowburn.yml\ntests:\n  - name: too soon\n    history: 30d\n    traffic: [{}]\n    expect_alerts:\n      \
         - {{at: 1h10m, alerts: [{{journey: checkout, layer: database, rule: fast-burn, stage: critical}}]}}\n    \
         until: 3h\n",
        traffic.trim_start_matches([' ', '-'])
    );
    write("tests.yml", &too_soon);
    let (code, stdout, _) = slowburn(dir.path(), &["test", "tests.yml"]);
    assert_eq!((code, vec![stdout]), (Some(1), guide("text")));
}
