//! Tests of rules as users write them: made-up series and what they should lead to. slowburn's own form and promtool's
//! are read into one; nothing is run here.
//!
//! As with the configuration, every mistake of a file is told at once, each with its place and what to write instead,
//! and nothing is half-loaded.

mod expectations;
mod notation;
mod own;
mod promtool;
mod raw;
mod scope;
mod series;
mod traffic;
mod world;

pub use self::notation::{MAX_SAMPLES, Sample};

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::engine::histogram::Labels;
use crate::engine::notification::Reason;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::silence::Silence;
use crate::engine::slo::Sight;
use crate::engine::time::{Duration, Timestamp};

use super::decode::{Decode, Definitions, Findings};
use super::diagnostic::{Diagnostic, Diagnostics, Span};
use super::files::{Disk, Files};
use super::load::{MAX_FILE_BYTES, load_needing};
use super::yaml::{self, Kind, Node};
use super::{Config, Loaded, Secrets};

/// The most slots of one test: a year at 30 s. More would be a mistyped duration.
pub const MAX_SLOTS: i64 = 1 << 20;
/// The most samples of all tests of a file, 16 bytes each.
const MAX_FILE_SAMPLES: usize = 1 << 24;

/// A file of tests that can be run.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// As it was given.
    pub path: PathBuf,
    /// What is tested.
    pub config: Config,
    pub tests: Vec<Test>,
    /// Of the configuration and of the file.
    pub warnings: Vec<Diagnostics>,
}

/// One test: a made-up world and what is expected of slowburn in it. Times are since `start`.
#[derive(Debug, Clone)]
pub struct Test {
    pub name: String,
    /// Where it stands in its file, from 1.
    pub line: usize,
    /// A slot: everything begins here.
    pub start: Timestamp,
    /// The windows are filled with what was for so long before `start`.
    pub history: Duration,
    /// The last slot is the last one not after this.
    pub until: Duration,
    /// Distance of two samples of a series.
    pub interval: Duration,
    pub series: Vec<Series>,
    /// Times without an answer of the source, the end not among them.
    pub outages: Vec<(Duration, Duration)>,
    pub silences: Vec<Silence>,
    pub checks: Vec<Check>,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The histogram's base name, without `_bucket`.
    pub metric: String,
    /// Without `le`.
    pub labels: Labels,
    /// The upper bound in seconds.
    pub bound_s: f64,
    /// So many samples lie before the test's beginning, each by `growth` higher than the one before it.
    pub lead: usize,
    pub growth: f64,
    /// The first one lies at the test's beginning.
    pub samples: Vec<Sample>,
}

/// One expectation.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Where it stands in its file, from 1.
    pub line: usize,
    pub kind: CheckKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CheckKind {
    /// Of the alerts that stand at `at` and match `only`, each is one of `expected`, and the other way round.
    Alerts { at: Duration, only: AlertPattern, expected: Vec<AlertPattern> },
    /// The same for the notifications that were decided from `from` to `to`, both included.
    Notifications { from: Duration, to: Duration, only: NotificationPattern, expected: Vec<NotificationPattern> },
    /// One SLO's figures at `at`.
    Value(ValueCheck),
    /// The alerts that Prometheus would show firing at `at` under one name, by their labels.
    Exported { at: Duration, alertname: String, expected: Vec<Labels>, annotations: bool },
    /// What cannot be checked here, and why.
    Skipped { what: String, why: String },
}

/// What an alert must be; what is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertPattern {
    pub journey: Option<String>,
    /// `Some(None)` for the journey as its users feel it.
    pub layer: Option<Option<String>>,
    /// These among the values of the SLO's `by` labels.
    pub labels: Labels,
    pub rule: Option<String>,
    pub stage: Option<Stage>,
    pub urgency: Option<Urgency>,
}

/// What a notification must be; what is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NotificationPattern {
    /// The first and the last moment it may be decided at.
    pub between: Option<(Duration, Duration)>,
    pub receiver: Option<String>,
    pub reason: Option<Reason>,
    pub stage: Option<Stage>,
    pub urgency: Option<Urgency>,
    pub journey: Option<String>,
    /// Of any of its alerts.
    pub layer: Option<Option<String>>,
    /// Of any of its alerts.
    pub rule: Option<String>,
    /// A part of its summary.
    pub text: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ValueCheck {
    pub at: Duration,
    pub journey: String,
    pub layer: Option<String>,
    pub labels: Labels,
    pub quantity: Quantity,
    /// How far the number may be off, as a share of what is expected.
    pub tolerance: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    BurnRate {
        over: Duration,
        expected: f64,
    },
    /// Shares of a rule's limit.
    Usage {
        rule: String,
        expected: f64,
    },
    /// Shares of the period's error budget.
    BudgetSpent {
        expected: f64,
    },
    Sight(Sight),
}

/// Loads a file of tests, in slowburn's form or promtool's, and the configuration it is about: `config`, or else the
/// one that the file names. Secrets that cannot be read are made up: nobody is told anything.
///
/// # Errors
/// All mistakes of the file, and of the configuration if that is broken.
pub fn load_tests(path: &Path, config: Option<&Path>) -> Result<TestFile, Vec<Diagnostics>> {
    let unreadable = |error| Diagnostics::unreadable(format!("cannot read '{}': {error}", path.display()));
    let text = Disk.read(path, MAX_FILE_BYTES).map_err(|error| vec![unreadable(error)])?;
    let name = path.display().to_string();
    let mut findings = Findings::default();
    let mut warnings = Vec::new();
    let tests = read(path, &text, config, &mut findings, &mut warnings);
    let own = Diagnostics::new(vec![(name, text)], findings);
    match tests {
        Some((config, tests)) if !own.has_errors() => {
            warnings.push(own);
            warnings.retain(|diagnostics| !diagnostics.is_empty());
            Ok(TestFile { path: path.to_owned(), config, tests, warnings })
        }
        _ => {
            warnings.push(own);
            warnings.retain(Diagnostics::has_errors);
            Err(warnings)
        }
    }
}

/// The tests and what they are about; `of_config` gets what is to be said of the configuration.
fn read(
    path: &Path,
    text: &str,
    config: Option<&Path>,
    findings: &mut Findings,
    of_config: &mut Vec<Diagnostics>,
) -> Option<(Config, Vec<Test>)> {
    let tree = yaml::parse(text, 0, &mut findings.list);
    if tree.is_none() && findings.list.is_empty() {
        findings.add(Diagnostic::nowhere(format!("'{}' is empty", path.display())));
    }
    let tree = tree?;
    if is_promtools(&tree) {
        let tests = raw::PromtoolTests::decode(&tree, findings);
        if config.is_none() {
            let message = format!("'{}' is a test file of promtool, and no configuration is given", path.display());
            let help = "name it: slowburn test --config slowburn.yml FILE";
            findings.add(Diagnostic::nowhere(message).help(help));
        }
        let config = load_config(config?, of_config);
        let (tests, config) = (tests?, config?);
        let tests = promtool::tests(&tests, &mut Reading { findings, config: &config, text, room: MAX_FILE_SAMPLES });
        return Some((config, tests));
    }
    let tests = raw::RuleTests::decode(&tree, findings);
    let named = tests.as_ref().and_then(|tests| tests.config.value());
    let named = named.map(|named| path.parent().unwrap_or(Path::new("")).join(named));
    if config.is_none() && tests.as_ref().is_some_and(|tests| tests.config.is_absent()) {
        let diagnostic = Diagnostic::error(tree.span, "no configuration is named");
        findings.add(diagnostic.help("write 'config: slowburn.yml', relative to this file, or use --config"));
    }
    let config = load_config(config.or(named.as_deref())?, of_config);
    let (tests, config) = (tests?, config?);
    let tests = own::tests(&tests, &mut Reading { findings, config: &config, text, room: MAX_FILE_SAMPLES });
    Some((config, tests))
}

/// Promtool's form has keys of its own.
fn is_promtools(tree: &Node) -> bool {
    let keys = |node: &Node, names: &[&str]| match &node.kind {
        Kind::Map(entries) => entries.iter().any(|(key, _)| names.contains(&key.name.as_str())),
        _ => false,
    };
    let Kind::Map(entries) = &tree.kind else { return false };
    let tests = entries.iter().find(|(key, _)| key.name == "tests").map(|(_, tests)| &tests.kind);
    let groups = if let Some(Kind::List(groups)) = tests { groups.as_slice() } else { &[] };
    keys(tree, &["rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare"])
        || groups.iter().any(|group| keys(group, &["alert_rule_test", "promql_expr_test"]))
}

fn load_config(path: &Path, of_config: &mut Vec<Diagnostics>) -> Option<Config> {
    match load_needing(Secrets::Spare, path) {
        Ok(Loaded { config, warnings }) => {
            of_config.push(warnings);
            Some(config)
        }
        Err(diagnostics) => {
            of_config.push(diagnostics);
            None
        }
    }
}

/// What is needed to make tests of what was written.
struct Reading<'a> {
    findings: &'a mut Findings,
    config: &'a Config,
    /// Of the test file.
    text: &'a str,
    /// How many samples there may still be.
    room: usize,
}

impl Reading<'_> {
    fn line(&self, span: Span) -> usize {
        let before = self.text.as_bytes().get(..span.start as usize).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Whether so many samples may be made; if not, that is reported.
    fn takes_up(&mut self, samples: usize, at: Span) -> bool {
        let enough = samples <= self.room;
        if !enough && self.room > 0 {
            let message = format!("with this the series of the file have more than {MAX_FILE_SAMPLES} samples");
            self.findings.add(Diagnostic::error(at, message).help("make it shorter, or use two files"));
        }
        self.room = if enough { self.room - samples } else { 0 };
        enough
    }

    /// Reports what is wrong inside a text value, at its place in the file if it stands there as it was read.
    fn wrong(&mut self, value: &str, whole: Span, wrong: notation::Wrong) {
        let written = self.text.get(whole.start as usize..whole.end as usize).and_then(|slice| slice.find(value));
        let span = written.map_or(whole, |offset| {
            let start = whole.start + (offset + wrong.at) as u32;
            Span { start, end: start + wrong.length as u32, ..whole }
        });
        self.findings.error(span, wrong.message);
    }
}

/// JSON Schema (draft 2020-12) of slowburn's own form, for editors.
pub fn schema() -> Value {
    let mut definitions = Definitions::new();
    let tests = raw::RuleTests::schema(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slowburn rule tests",
        "allOf": [tests],
        "$defs": definitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_every_key_and_every_part_it_refers_to() {
        let schema = schema();
        let text = schema.to_string();
        let references = text.split("#/$defs/").skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
        for name in references {
            assert!(schema["$defs"][name].is_object(), "{name}");
        }
        let keys = |name: &str| schema["$defs"][name]["properties"].as_object().map(serde_json::Map::len);
        assert_eq!(keys("RuleTests"), Some(4));
        // Its own, and those of an alert.
        assert_eq!(keys("AlertsAt"), Some(2 + 6));
    }
}
