//! Tests of rules: made-up series go through the very engine that the daemon runs, and what it decides is held against
//! what was expected.
//!
//! Nothing is asked and nothing is sent: there is no source and no receiver in here.

mod judge;
mod junit;
mod stage;
mod text;
mod words;

pub use self::junit::junit;
pub use self::text::{Tally, result as show, timeline};

use crate::config::Config;
use crate::config::testing::{Check, CheckKind, Test};
use crate::engine::time::Duration;

use self::stage::Run;

/// What came of one test.
#[derive(Debug)]
pub struct TestResult<'a> {
    pub test: &'a Test,
    /// One of each of the test's checks, in their order.
    pub checks: Vec<(&'a Check, Verdict)>,
    /// What the data itself had wrong; bounded in number.
    pub notes: Vec<String>,
    run: Run,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(Failure),
    /// Why it was not checked.
    Skipped(String),
}

/// What is otherwise than expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub rows: Vec<Row>,
    /// When it would have been true, and the like.
    pub hints: Vec<String>,
}

/// One line of what was expected beside what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    AsExpected(String),
    Missing(String),
    Unexpected(String),
    /// What a value is instead.
    Instead(String),
}

impl TestResult<'_> {
    pub fn failed(&self) -> bool {
        self.checks.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(_)))
    }

    /// What was told in the course of the test: when since its beginning, the receiver, and reason and summary.
    pub fn told(&self, config: &Config) -> impl Iterator<Item = (Duration, String, String)> {
        self.run.notifications.iter().map(|told| {
            let receiver = config.spec.receivers[told.receiver].name.clone();
            let what = format!("{}: {}", told.reason.as_str(), told.summary);
            (words::since(self.test, told.at), receiver, what)
        })
    }

    /// Whether there was nothing that could be checked.
    pub fn skipped(&self) -> bool {
        self.checks.iter().all(|(_, verdict)| matches!(verdict, Verdict::Skipped(_)))
    }
}

/// Runs a test on a configuration.
pub fn run<'a>(config: &Config, test: &'a Test) -> TestResult<'a> {
    let run = stage::run(config, test);
    let judge = judge::Judge::new(config, test, &run);
    let checks = test.checks.iter().map(|check| (check, judge.judge(&check.kind))).collect();
    let annotated = |check: &Check| matches!(check.kind, CheckKind::Exported { annotations: true, .. });
    let not_compared = test.checks.iter().any(annotated).then(|| "annotations are not compared".to_owned());
    let notes = run.notes.iter().cloned().chain(not_compared).collect();
    TestResult { test, checks, notes, run }
}
