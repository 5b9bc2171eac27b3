//! `slowburn test`: what it says of tests that pass, that fail and that are broken; and that promtool means the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
