//! The subcommands, one file each, thin.
//!
//! A new subcommand is a file with an `Args` struct and `run(&Args) -> anyhow::Result<ExitCode>`, a variant of
//! [`Command`] and a line in [`run`]. Results go to stdout, everything else to stderr.

pub mod check;
pub mod demo;
pub mod interrupt;
pub mod notify_test;
pub mod output;
pub mod progress;
pub mod record;
pub mod remote;
pub mod replay;
pub mod route;
pub mod rules_export;
pub mod run;
pub mod schema;
pub mod silence;
pub mod sound;
pub mod status;
pub mod stretch;
pub mod test;
pub mod tune;
pub mod when;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Nothing to complain about.
pub const FINE: u8 = 0;
/// The command found what it looks for: a broken configuration, a firing alert.
pub const FOUND: u8 = 1;
/// The command could not do its work.
pub const COULD_NOT_RUN: u8 = 2;
/// What a shell says of a command that ended because nobody reads its output any more: 128 and SIGPIPE's number.
pub const UNREAD: u8 = 141;

/// SLO burn-rate alerting on latency budgets
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "New here? 'slowburn demo' shows it all in a minute, without a configuration.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: poll, evaluate, notify
    Run(run::Run),
    /// Validate the configuration: exit 0 if it is sound, 1 with every mistake if it is not
    Check(check::Check),
    /// Show where an alert would go and why: exit 1 if nobody would be told of it now
    Route(route::Route),
    /// Show what would have been sent over a stretch of history; sends nothing
    Replay(replay::Replay),
    /// Write a stretch of history to a file, for 'slowburn replay --recording'
    Record(record::Record),
    /// Try rules on made-up series: exit 1 if what they lead to is not what is expected
    Test(test::Test),
    /// Search history for settings of the rules that would have done better: exit 1 if none keeps the limit of pages
    Tune(tune::Tune),
    /// Everything on one machine with nothing to install: simulated layers, real alerting, nothing sent
    Demo(demo::Demo),
    /// Hand the rules to others: 'slowburn rules export' writes them for Prometheus
    #[command(subcommand)]
    Rules(rules_export::Rules),
    /// Show what a running daemon sees and says: exit 1 while something fires
    Status(status::Status),
    /// Hold notifications back for a while: say of what, until when, and why
    #[command(subcommand)]
    Silence(silence::Silence),
    /// Send receivers a test notification, marked as one, and show what they answer
    NotifyTest(notify_test::NotifyTest),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::Schema),
}

/// Runs the command. An error is one that kept it from its work (exit code 2).
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Route(args) => route::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Record(args) => record::run(args),
        Command::Test(args) => test::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Rules(rules_export::Rules::Export(args)) => rules_export::run(args),
        Command::Status(args) => status::run(args),
        Command::Silence(args) => silence::run(args),
        Command::NotifyTest(args) => notify_test::run(args),
        Command::Schema(args) => schema::run(args),
    }
}

/// Says something on standard error; whoever closed it or filled its disk does not hear it.
pub fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Whether a command ended because nobody reads its output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
