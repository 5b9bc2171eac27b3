//! The results as JUnit XML, which CI systems show: a file is a suite, a test a case. What could not be checked is a
//! skipped case of its own, so that nobody takes it for passed.

use std::path::Path;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{TestResult, Verdict, text, words};

/// The XML of all files' results, in their order.
///
/// # Errors
/// None that a `String` could cause; the writer has one.
pub fn junit(files: &[(&Path, Vec<TestResult<'_>>)]) -> Result<String, SerializeError> {
    let mut report = Report::new("slowburn test");
    for (path, results) in files {
        let name = path.display().to_string();
        let mut suite = TestSuite::new(&name);
        suite.add_test_cases(results.iter().flat_map(|result| cases(path, &name, result)));
        report.add_test_suite(suite);
    }
    // What no XML may hold, escaped or not; others are left out where they are written.
    report.to_string().map(|xml| xml.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}

fn cases(path: &Path, file: &str, result: &TestResult<'_>) -> Vec<TestCase> {
    let mut cases = Vec::new();
    if !result.skipped() {
        cases.push(case(file, &result.test.name, result.test.line, status(path, result)));
    }
    for (check, verdict) in &result.checks {
        if let Verdict::Skipped(why) = verdict {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why);
            cases.push(case(file, &format!("{}: {}", result.test.name, words::title(&check.kind)), check.line, status));
        }
    }
    cases
}

fn status(path: &Path, result: &TestResult<'_>) -> TestCaseStatus {
    let failed = result.checks.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_)));
    let titles: Vec<String> = failed.map(|(check, _)| words::title(&check.kind)).collect();
    if titles.is_empty() {
        return TestCaseStatus::success();
    }
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(format!("not as expected: {}", titles.join("; ")));
    status.set_type("expectation");
    status.set_description(text::failures(path, result));
    status
}

fn case(file: &str, name: &str, line: usize, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(file);
    // Where GitLab and others look for the place.
    case.extra.insert("file".into(), file.into());
    case.extra.insert("line".into(), line.to_string().into());
    case
}
