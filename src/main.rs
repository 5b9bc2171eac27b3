//! The `slowburn` command.

use std::process::ExitCode;

use clap::Parser;
use slowburn::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(&Cli::parse()) {
        Ok(code) => code,
        // Whoever read along has seen enough, and what was found is not known to anybody.
        Err(error) if cli::is_broken_pipe(&error) => cli::UNREAD.into(),
        Err(error) => {
            cli::tell(format_args!("error: {error:#}"));
            cli::COULD_NOT_RUN.into()
        }
    }
}
