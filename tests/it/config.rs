//! The configuration: what is shipped loads as it is, and what is broken is told as the golden files say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use slowburn::clock::Clock;
use slowburn::config::{self, Diagnostics, Loaded};
use slowburn::engine::time::Duration;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Broken configurations, and what is said of them.
const BROKEN: &str = "tests/it/golden/config";
/// Sound configurations, the warnings about them, and what the program makes of them.
const SOUND: &str = "tests/it/golden/sound";

/// What the golden files find in the environment. Every secret in them is a "hunter2".
fn env(name: &str) -> Option<String> {
    match name {
        "SECRET_IN_WRONG_PLACE" | "TOKEN" => Some("hunter2".to_owned()),
        "TEAM" => Some("find".to_owned()),
        _ => None,
    }
}

/// The texts below a folder, by path relative to it.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_none_or(|extension| extension != "out") {
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            texts.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

#[test]
fn the_example_loads_without_a_word() {
    let path = Path::new(ROOT).join("examples/checkout/slowburn.yml");
    match config::load(&path, &|_| None) {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false)),
        Err(diagnostics) => panic!("{}", diagnostics.render(false)),
    }
}

/// Holds each main file of `folder` against the `.out` beside it. `UPDATE_GOLDEN=1` writes those anew; read the
/// difference. Returns how many there are.
fn check_golden(folder: &str, show: impl Fn(Result<Loaded, Diagnostics>) -> String) -> usize {
    let folder = Path::new(ROOT).join(folder);
    let texts = texts(&folder);
    let (mut wrong, mut cases) = (String::new(), 0);
    for name in texts.keys().filter(|name| !name.contains('/') && name.ends_with(".yml")) {
        cases += 1;
        let shown = show(config::load_texts(name, &texts, &env));
        assert!(!shown.contains("hunter2"), "{name} gives a secret away:\n{shown}");
        let golden = folder.join(name).with_extension("out");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &shown).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != shown {
            let _ = writeln!(wrong, "=== {name} now says:\n{shown}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    cases
}

#[test]
fn mistakes_are_told_as_the_golden_files_say() {
    let cases = check_golden(BROKEN, |loaded| match loaded {
        Ok(_) => "loads".to_owned(),
        Err(diagnostics) => format!("{}\n--- in logs ---\n{diagnostics}\n", diagnostics.render(false)),
    });
    assert!(cases >= 45, "only {cases} broken configurations were found");
}

#[test]
fn sound_configurations_mean_what_the_golden_files_say() {
    check_golden(SOUND, |loaded| match loaded {
        Ok(Loaded { config, warnings }) => format!("{}\n{config:#?}\n", warnings.render(false)),
        Err(diagnostics) => diagnostics.render(false),
    });
}

#[test]
fn a_command_shows_what_is_broken_and_says_what_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slowburn.yml");
    fs::write(&path, example().replace("objective:", "objctive:")).unwrap();
    for (command, undone) in [
        ("replay", "nothing was replayed"),
        ("record --out out.rec", "nothing was recorded"),
        ("tune --incidents incidents.csv", "nothing was tuned"),
        ("route --labels stage=critical", "no alert has a way"),
        ("rules export", "nothing was exported"),
        ("notify-test --all", "nothing was sent"),
    ] {
        let mut slowburn = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        let output = slowburn.args(command.split(' ')).arg("--config").arg(&path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{command}: {said}");
        assert!(said.contains("did you mean 'objective'?"), "{command}: {said}");
        assert!(said.ends_with(&format!("error: the configuration is broken; {undone}\n")), "{command}: {said}");
    }
}

#[test]
fn who_sends_nothing_needs_no_secret_of_a_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slowburn.yml");
    let text = example().replace("webhook: {url: 'http://127.0.0.1:8080/slo'}", "slack: {webhook_url_file: slack.url}");
    let text = text.replace("url: http://localhost:9090", "url: http://127.0.0.1:1\n    bearer_token_file: token");
    let (of_receiver, of_source) = ("slack.url': No such file", "token': No such file");
    let run = |command: &str| {
        let mut slowburn = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        let output = slowburn.args(command.split(' ')).arg("--config").arg(&path).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    for (token, needs_source) in [(false, true), (true, false)] {
        fs::write(&path, &text).unwrap();
        if token {
            fs::write(folder.path().join("token"), "hunter2hunter2").unwrap();
        }
        assert_eq!(run("route --labels journey=checkout,stage=critical"), "");
        for command in ["replay --from 1h", "record --from 1h --out /dev/null"] {
            let said = run(command);
            assert_eq!((said.contains(of_receiver), said.contains(of_source)), (false, needs_source), "{said}");
            // From a file, the source is not asked.
            for from in ["--tsdb /nowhere", "--recording /nowhere"] {
                let said = run(&format!("{command} {from}"));
                let mistakes = [of_receiver, of_source].map(|mistake| said.contains(mistake));
                assert!(said.contains("/nowhere") && mistakes == [false; 2], "{said}");
            }
        }
        let said = run("notify-test --all --dry-run");
        assert_eq!((said.contains(of_receiver), said.contains(of_source)), (true, needs_source), "{said}");
    }
}

fn load_text(text: &str) -> Result<Loaded, Diagnostics> {
    config::load_texts("main.yml", &BTreeMap::from([("main.yml".to_owned(), text.to_owned())]), &env)
}

/// The example in one file.
fn example() -> String {
    let texts = texts(&Path::new(ROOT).join("examples/checkout"));
    let rules = fs::read_to_string(Path::new(ROOT).join("rules/standard.yml")).unwrap();
    let main = texts["slowburn.yml"].lines().filter(|line| !line.starts_with("rule_files"));
    format!("{}\n{rules}\n{}", main.collect::<Vec<_>>().join("\n"), texts["journeys/checkout.yml"])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "[-a-z:{}\\[\\]'\"&*!|>%#,\t\n ${}~<é\u{feff}0-9]{0,200}") {
        if let Err(diagnostics) = load_text(&text) {
            prop_assert!(diagnostics.has_errors());
            prop_assert!(!diagnostics.render(false).is_empty() && !diagnostics.to_string().is_empty());
        }
    }

    #[test]
    fn no_damage_panics(cuts in prop::collection::vec(damage(), 1..6)) {
        let mut texts = texts(&Path::new(ROOT).join(SOUND));
        let main = texts.get_mut("everything.yml").unwrap();
        let mut chars: Vec<char> = main.chars().collect();
        for (at, length, insert) in cuts {
            let start = at.index(chars.len().max(1)).min(chars.len());
            let end = (start + length).min(chars.len());
            chars.splice(start..end, insert.chars());
        }
        *main = chars.into_iter().collect();
        if let Err(diagnostics) = config::load_texts("everything.yml", &texts, &env) {
            prop_assert!(diagnostics.has_errors());
            prop_assert!(!diagnostics.render(true).is_empty());
        }
    }
}

/// Where to cut, how many characters to take out, and what to put there.
fn damage() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    (any::<prop::sample::Index>(), 0..40_usize, "[-a-z0-9:{}\\[\\]'\"&*,%\n ]{0,12}")
}

/// Runs `slowburn check` on a text and gives its exit code, stdout and stderr.
fn check(text: &[u8]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slowburn.yml");
    fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    let output = command.arg("check").current_dir(folder.path()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_says_whether_it_is_sound_by_its_exit_code() {
    let (code, stdout, stderr) = check(example().as_bytes());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("checkout") && stdout.contains("fast-burn"), "{stdout}");

    let (code, stdout, stderr) = check(b"interval: 5M\n");
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("slowburn.yml:1:11") && !stderr.contains('\u{1b}'), "{stderr}");

    let (code, _, stderr) = check(b"interval: \xff\n");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("it is not UTF-8 (byte 11)"), "{stderr}");

    let (code, _, stderr) = check(&b"# too large\n".repeat(400_000));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("it is larger than 4194304 bytes"), "{stderr}");
}

/// Texts up to the largest size that is read, made to be slow.
#[test]
fn large_files_are_judged_in_bounded_time() {
    for text in [
        "a: 1\n".repeat(400_000),
        "- ".repeat(2_000_000),
        format!("rules: [{}]", "{name: x, urgency: page, exhaustion: 1h},".repeat(5_000)),
        format!("interval: '{}'", "é".repeat(2_000_000)),
        format!("rule_files: [{}]", "'${A}', ".repeat(20_000)),
    ] {
        let begun_at = Clock.now();
        let Err(diagnostics) = load_text(&text) else { panic!("it loads") };
        let shown = diagnostics.render(false);
        assert!(shown.len() < 200_000, "{} bytes", shown.len());
        let took = Clock.now().since(begun_at);
        assert!(took < Duration::from_secs(20), "{took} for {}...", &text[..20]);
    }
}
