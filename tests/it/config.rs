//! The configuration: what is shipped loads as it is, and what is broken is told as the golden files say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use slowburn::config::{self, Loaded};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const GOLDEN: &str = "tests/it/golden/config";

/// What the golden files find in the environment.
fn env(name: &str) -> Option<String> {
    (name == "SECRET_IN_WRONG_PLACE").then(|| "hunter2".to_owned())
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

/// `UPDATE_GOLDEN=1` writes the files anew; read the difference.
#[test]
fn mistakes_are_told_as_the_golden_files_say() {
    let folder = Path::new(ROOT).join(GOLDEN);
    let texts = texts(&folder);
    let (mut wrong, mut cases) = (String::new(), 0);
    for name in texts.keys().filter(|name| !name.contains('/') && name.ends_with(".yml")) {
        cases += 1;
        let shown = match config::load_texts(name, &texts, &env) {
            Ok(_) => "loads".to_owned(),
            Err(diagnostics) => format!("{}\n--- in logs ---\n{diagnostics}\n", diagnostics.render(false)),
        };
        assert!(!shown.contains("hunter2"), "{name} gives a secret away:\n{shown}");
        let golden = folder.join(name).with_extension("out");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &shown).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != shown {
            let _ = writeln!(wrong, "=== {name} now says:\n{shown}");
        }
    }
    assert!(cases >= 45, "only {cases} broken configurations were found");
    assert!(wrong.is_empty(), "{wrong}");
}

fn load_text(text: &str) -> Result<Loaded, config::Diagnostics> {
    config::load_texts("main.yml", &BTreeMap::from([("main.yml".to_owned(), text.to_owned())]), &env)
}

/// A sound configuration in one file, to be broken by chance.
fn sound() -> String {
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
            prop_assert!(!diagnostics.render(false).is_empty() && !diagnostics.to_string().is_empty());
        }
    }

    #[test]
    fn no_damage_panics(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "[-a-z0-9:{}\\[\\]'\"&*,%\n ]{0,12}"), 1..6)) {
        let mut chars: Vec<char> = sound().chars().collect();
        for (at, length, insert) in cuts {
            let start = at.index(chars.len().max(1)).min(chars.len());
            let end = (start + length).min(chars.len());
            chars.splice(start..end, insert.chars());
        }
        if let Err(diagnostics) = load_text(&chars.into_iter().collect::<String>()) {
            prop_assert!(!diagnostics.render(true).is_empty());
        }
    }
}

#[test]
fn what_the_damage_tests_break_is_sound() {
    if let Err(diagnostics) = load_text(&sound()) {
        panic!("{}", diagnostics.render(false));
    }
}
