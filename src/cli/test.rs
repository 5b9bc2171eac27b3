//! `slowburn test`: tries rules on made-up series, for a user's CI. Asks nobody and sends nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use regex::Regex;

use super::output::Target;
use super::sound;
use crate::config::testing::{TestFile, load_tests};
use crate::rule_test::{self, Tally, TestResult};

#[derive(Debug, clap::Args)]
pub struct Test {
    /// Files of tests, in slowburn's form or promtool's
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The main configuration file that is tested, instead of the one that a file names; promtool's name none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run only tests whose name this regular expression matches somewhere
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Also write the results as JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print all alerts and notifications of each test
    #[arg(long)]
    show: bool,
    /// Print only what failed, and how many
    #[arg(long, short, conflicts_with = "show")]
    quiet: bool,
}

pub fn run(args: &Test) -> anyhow::Result<ExitCode> {
    let Some(files) = load(args) else {
        return Ok(super::COULD_NOT_RUN.into());
    };
    let read: Vec<&Path> = args.files.iter().chain(&args.config).map(PathBuf::as_path).collect();
    let junit = args.junit.as_deref().map(|path| Target::replacing(path, &read)).transpose()?;
    let mut tally = Tally::default();
    let mut results: Vec<(&Path, Vec<TestResult<'_>>)> = Vec::new();
    for file in &files {
        results.push((&file.path, try_all(args, file, &mut tally)?));
    }
    say(&format!("{}\n", tally.in_words()))?;
    if let Some(target) = junit {
        let xml = rule_test::junit(&results).context("cannot make JUnit XML")?;
        target.write(|out| out.write_all(xml.as_bytes()))?;
    }
    if tally == Tally::default() {
        anyhow::bail!("no test has a name that --run matches");
    }
    Ok(if tally.failed > 0 { super::FOUND } else { super::FINE }.into())
}

/// All files, or none if any is broken: then every mistake of every file has been shown.
fn load(args: &Test) -> Option<Vec<TestFile>> {
    let (mut files, mut broken) = (Vec::new(), false);
    for path in &args.files {
        match load_tests(path, args.config.as_deref()) {
            Ok(file) => {
                file.warnings.iter().for_each(sound::show);
                files.push(file);
            }
            Err(mistakes) => {
                mistakes.iter().for_each(sound::show);
                broken = true;
            }
        }
    }
    (!broken).then_some(files)
}

/// Runs a file's tests and shows each as soon as it is done.
fn try_all<'a>(args: &Test, file: &'a TestFile, tally: &mut Tally) -> anyhow::Result<Vec<TestResult<'a>>> {
    let mut results = Vec::new();
    if !args.quiet {
        say(&format!("{}\n", file.path.display()))?;
    }
    let wanted = |name: &str| args.run.as_ref().is_none_or(|regex| regex.is_match(name));
    for test in file.tests.iter().filter(|test| wanted(&test.name)) {
        let result = rule_test::run(&file.config, test);
        say(&rule_test::show(&file.path, &result, args.quiet))?;
        if args.show {
            say(&rule_test::timeline(&file.config, &result))?;
        }
        tally.add(&result);
        results.push(result);
    }
    Ok(results)
}

/// Prints it at once. Whoever has seen enough (`| head`) does not keep the rest from being tried, nor from counting.
fn say(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}
