//! Reads the main file and all files it names, and makes one configuration of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::decode::{Decode, Findings, Spanned, clipped};
use super::diagnostic::{Diagnostic, Diagnostics};
use super::env::{self, Env, process_env};
use super::files::{Disk, Files, Memory};
use super::validate::{Context, validate};
use super::{Config, Secrets, raw, yaml};
use crate::engine::time::Duration;

/// Larger files are refused unread.
pub(super) const MAX_FILE_BYTES: usize = 4 << 20;
/// All files together.
const MAX_TOTAL_BYTES: usize = 64 << 20;
/// More files than this are not a configuration but a pattern gone wrong.
const MAX_FILES: usize = 1000;

/// A configuration that may be run, and what somebody should look at nevertheless.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Warnings only.
    pub warnings: Diagnostics,
}

/// Loads the main file at `path` and the files it names; `env` is asked for the variables that `${NAME}` refers to.
///
/// # Errors
/// All mistakes of all files, warnings among them.
pub fn load(path: &Path, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    load_from(&Disk, path, env, Secrets::Needed)
}

/// [`load`] with the environment of the process.
pub fn load_with_process_env(path: &Path) -> Result<Loaded, Diagnostics> {
    load_needing(Secrets::Needed, path)
}

/// [`load_with_process_env`] for those who need only some of the secrets.
pub fn load_needing(secrets: Secrets, path: &Path) -> Result<Loaded, Diagnostics> {
    load_from(&Disk, path, &process_env, secrets)
}

/// [`load`] from texts by path instead of the disk; `main` is the path of the main file. Secret files are looked up
/// among the texts, too.
pub fn load_texts(main: &str, texts: &BTreeMap<String, String>, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    load_from(&Memory(texts), Path::new(main), env, Secrets::Needed)
}

/// What `other` makes of the configuration at `path`: itself, if it is a main file, that is if it names a source; or else
/// the configuration with the rules, packs and journeys of `other` in place of those of the same names, and beside the
/// others. The environment is that of the process.
pub fn load_other_needing(secrets: Secrets, path: &Path, other: &Path) -> Result<Loaded, Diagnostics> {
    load_other_from(&Disk, path, other, &process_env, secrets)
}

/// [`load_other_needing`] from texts by path, for those who ask the source.
pub fn load_other_texts(
    path: &str,
    other: &str,
    texts: &BTreeMap<String, String>,
    env: Env<'_>,
) -> Result<Loaded, Diagnostics> {
    load_other_from(&Memory(texts), Path::new(path), Path::new(other), env, Secrets::OfSource)
}

fn load_other_from(
    files: &dyn Files,
    path: &Path,
    other: &Path,
    env: Env<'_>,
    secrets: Secrets,
) -> Result<Loaded, Diagnostics> {
    let text = files.read(other, MAX_FILE_BYTES).map_err(|error| unreadable(other, &error))?;
    let tree = yaml::parse(&text, 0, &mut Vec::new());
    let is_main = |tree: yaml::Node| match tree.kind {
        yaml::Kind::Map(entries) => entries.iter().any(|(key, _)| key.name == "source"),
        _ => false,
    };
    if tree.is_some_and(is_main) {
        return load_from(files, other, env, secrets);
    }
    load_replacing(files, path, Some((other, text)), env, secrets)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostics {
    Diagnostics::unreadable(format!("cannot read '{}': {error}", path.display()))
}

fn load_from(files: &dyn Files, path: &Path, env: Env<'_>, secrets: Secrets) -> Result<Loaded, Diagnostics> {
    load_replacing(files, path, None, env, secrets)
}

/// `by` is a rule file, whose rules replace others.
fn load_replacing(
    files: &dyn Files,
    path: &Path,
    by: Option<(&Path, String)>,
    env: Env<'_>,
    secrets: Secrets,
) -> Result<Loaded, Diagnostics> {
    let text = files.read(path, MAX_FILE_BYTES).map_err(|error| unreadable(path, &error))?;
    let mut loader = Loader { files, env, read: Vec::new(), findings: Findings::default() };
    let mut main: Option<raw::Main> = loader.decode(path.to_owned(), text);
    let mut rule_files = Vec::new();
    for path in main.as_ref().map_or(Vec::new(), |main| loader.rule_files(main, path)) {
        let read_bytes: usize = loader.read.iter().map(|(_, text)| text.len()).sum();
        match files.read(&path.value, MAX_FILE_BYTES.min(MAX_TOTAL_BYTES - read_bytes)) {
            Ok(text) => rule_files.extend(loader.decode(path.value, text)),
            Err(error) => {
                let message = format!("cannot read '{}': {error}", path.value.display());
                loader.findings.error(path.span, message);
            }
        }
    }
    if let Some((path, text)) = by
        && let Some(by) = loader.decode::<raw::RuleFile>(path.to_owned(), text)
    {
        let shared = main.as_mut().map(|main| &mut main.shared);
        rule_files.iter_mut().chain(shared).for_each(|part| part.without_those_of(&by));
        rule_files.push(by);
    }
    let Loader { read, mut findings, .. } = loader;
    let config = main.and_then(|main| {
        let interval = Duration::ZERO;
        validate(&main, &rule_files, Context { findings: &mut findings, files, read: &read, interval, secrets })
    });
    let texts = read.into_iter().map(|(path, text)| (path.display().to_string(), text)).collect();
    let diagnostics = Diagnostics::new(texts, findings);
    match config {
        Some(config) if !diagnostics.has_errors() => Ok(Loaded { config, warnings: diagnostics }),
        _ => Err(diagnostics),
    }
}

struct Loader<'a> {
    files: &'a dyn Files,
    env: Env<'a>,
    read: Vec<(PathBuf, String)>,
    findings: Findings,
}

impl Loader<'_> {
    /// Keeps the text for messages and reads it as a `T`.
    fn decode<T: Decode>(&mut self, path: PathBuf, text: String) -> Option<T> {
        let file = self.read.len() as u16;
        let errors_before = self.findings.list.len();
        let tree = yaml::parse(&text, file, &mut self.findings.list);
        if tree.is_none() && self.findings.list.len() == errors_before {
            let message = format!("'{}' is empty", path.display());
            self.findings.add(Diagnostic::nowhere(message));
        }
        if tree.is_none() {
            self.findings.broken.push(file);
        }
        self.read.push((path, text));
        let mut tree = tree?;
        env::substitute(&mut tree, self.env, &mut self.findings);
        T::decode(&tree, &mut self.findings)
    }

    /// The files that `rule_files` names, in its order and sorted within a pattern, each once and with the place that
    /// names it.
    fn rule_files(&mut self, main: &raw::Main, main_path: &Path) -> Vec<Spanned<PathBuf>> {
        let directory = main_path.parent().unwrap_or(Path::new(""));
        let mut out: Vec<Spanned<PathBuf>> = Vec::new();
        for pattern in main.rule_files.value().into_iter().flatten() {
            let shown = clipped(&pattern.value);
            let found = match self.files.matching(directory, &pattern.value) {
                Ok(found) => found,
                Err(why) => {
                    let message = format!("'{shown}' is not a pattern of paths: {why}");
                    self.findings.error(pattern.span, message);
                    continue;
                }
            };
            if found.is_empty() {
                let message = format!("no file matches '{shown}'");
                let diagnostic = Diagnostic::error(pattern.span, message);
                let is_shipped = pattern.value.ends_with("standard.yml");
                let shipped = if is_shipped { "; rules/standard.yml comes with slowburn: copy it there" } else { "" };
                self.findings
                    .add(diagnostic.help(format!("paths and patterns are relative to the main file{shipped}")));
            }
            for path in found {
                if path != main_path && !out.iter().any(|known| known.value == path) {
                    out.push(Spanned { value: path, span: pattern.span });
                }
            }
        }
        if let Some(first_extra) = out.get(MAX_FILES) {
            let message = format!("{} files match; at most {MAX_FILES} are read", out.len());
            self.findings.error(first_extra.span, message);
            out.truncate(MAX_FILES);
        }
        out
    }
}
