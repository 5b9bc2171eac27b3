//! The house rules that no compiler checks: who may use whom, how long a file may get, what may not be left behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, and what each may use beside itself.
const ROOMS: [(&str, &[&str]); 12] = [
    ("engine", &[]),
    ("zone", &[]),
    ("budget", &["engine"]),
    ("template", &["engine", "zone"]),
    ("config", &["engine", "budget", "template", "zone"]),
    ("source", &["engine", "config", "clock", "telemetry", "http"]),
    ("notify", &["engine", "config", "template", "clock", "telemetry", "http"]),
    ("store", &["engine", "clock", "telemetry", "http"]),
    ("replay", &["engine", "config", "source", "budget", "clock", "telemetry", "http", "zone"]),
    ("rule_test", &["engine", "config", "source"]),
    ("daemon", &["engine", "budget", "config", "source", "notify", "store", "clock", "telemetry", "http"]),
    (
        "cli",
        &[
            "engine",
            "budget",
            "config",
            "source",
            "notify",
            "store",
            "replay",
            "rule_test",
            "daemon",
            "clock",
            "telemetry",
            "http",
            "zone",
        ],
    ),
];

/// The helpers on the top level may use the vocabulary and each other.
const HELPERS: [&str; 3] = ["clock", "telemetry", "http"];
const HELPERS_MAY_USE: [&str; 5] = ["engine", "config", "clock", "telemetry", "http"];

const MAX_LINES: usize = 600;

struct Source {
    /// From the repository's root.
    path: PathBuf,
    text: String,
}

impl Source {
    /// `engine::machine::bind` for `src/engine/machine/bind.rs`.
    fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src").expect("only src has modules").with_extension("");
        let mut module: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        module
    }

    /// The text without its unit tests and comments, line by line, numbered.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        (1..).zip(code.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Every path into this crate, from its root, with its line. Braces end a path.
    fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let module = self.module();
        let mut paths = Vec::new();
        for (number, line) in self.code() {
            for (start, _) in line.match_indices("crate::").chain(line.match_indices("super::")) {
                // A `super::super::` is one path, and `mycrate::` is none.
                let before = &line[..start];
                if before.ends_with("super::") || before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let path = line[start..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                let mut base = module.clone();
                for part in path.into_iter().next().unwrap_or_default().split("::") {
                    match part {
                        "crate" => base.clear(),
                        "super" => drop(base.pop()),
                        "" => {}
                        name => base.push(name.to_owned()),
                    }
                }
                paths.push((number, base));
            }
        }
        paths
    }
}

/// Every Rust file under these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> =
        folders.iter().map(|folder| root.join(folder)).filter(|path| path.exists()).collect();
    let mut sources = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            sources.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), text });
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn paths_are_read_from_the_root() {
    let text = "//! Doc of crate::a.\nuse crate::b::c;\nuse super::d::E;\nfn f() { super::super::g(mycrate::h) }\n\
                #[cfg(test)]\nmod tests { use crate::i; }\n";
    let source = Source { path: PathBuf::from("src/room/file.rs"), text: text.to_owned() };
    let paths: Vec<String> = source.paths().iter().map(|(line, path)| format!("{line} {}", path.join("::"))).collect();
    assert_eq!(paths, ["2 b::c", "3 room::d::E", "4 g"]);
}

#[test]
fn rooms_use_only_what_they_may() {
    let rooms: BTreeMap<&str, &[&str]> =
        ROOMS.into_iter().chain(HELPERS.map(|name| (name, &HELPERS_MAY_USE[..]))).collect();
    let mut offences = Vec::new();
    for source in sources(&["src"]) {
        let module = source.module();
        let Some(room) = module.first() else { continue };
        let Some(allowed) = rooms.get(room.as_str()) else {
            offences.push(format!("{}: {room} is no room of the house", source.path.display()));
            continue;
        };
        for (line, _) in source.code().filter(|(_, code)| code.contains("crate::{")) {
            offences.push(format!("{}:{line}: one 'use' a room, so that this test can read it", source.path.display()));
        }
        for (line, path) in source.paths() {
            let Some(used) = path.first().filter(|used| rooms.contains_key(used.as_str())) else { continue };
            if used != room && !allowed.contains(&used.as_str()) {
                offences.push(format!("{}:{line}: {room} may not use {used}", source.path.display()));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn the_engine_flows_one_way() {
    let sources = sources(&["src/engine"]);
    let root = sources.iter().find(|source| source.path.ends_with("engine/mod.rs")).expect("the engine has a mod.rs");
    let flow: Vec<&str> =
        root.text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let place = |name: Option<&String>| flow.iter().position(|file| name.is_some_and(|name| name == file));
    let mut offences = Vec::new();
    for source in &sources {
        let module = source.module();
        let Some(here) = place(module.get(1)) else { continue };
        for (line, path) in source.paths() {
            if path.first() == module.first() && place(path.get(1)).is_some_and(|used| used > here) {
                offences.push(format!("{}:{line}: {} comes later in the flow", source.path.display(), path[1]));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn files_are_short_finished_and_introduced() {
    // Put together here so that this file does not find itself.
    let left_behind = ["todo!", "unimplemented!", "dbg!"].map(|name| format!("{name}("));
    let notes = ["FIX", "TO", "XX"].into_iter().zip(["ME", "DO", "X"]).map(|(a, b)| format!("{a}{b}"));
    let unwanted: Vec<String> = left_behind.into_iter().chain(notes).collect();
    let mut offences = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples"]) {
        let path = source.path.display();
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            offences
                .push(format!("{path}: {lines} lines are more than {MAX_LINES}; what are its two reasons to change?"));
        }
        if !source.text.starts_with("//!") {
            offences.push(format!("{path}: open with a comment on what it is and what it never does"));
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            for word in unwanted.iter().filter(|word| line.contains(word.as_str())) {
                offences.push(format!("{path}:{number}: {word} is left behind"));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn only_the_clock_asks_for_the_time() {
    let asking = ["SystemTime", "Instant", "Utc", "Local"].map(|clock| format!("{clock}::now"));
    let mut offences = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| source.module() != ["clock"]) {
        for (line, code) in source.code() {
            if asking.iter().any(|asking| code.contains(asking.as_str())) {
                offences.push(format!("{}:{line}: take a Timestamp or a Clock", source.path.display()));
            }
        }
    }
    assert_none(&offences);
}
