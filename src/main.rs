//! The `slowburn` command.

use std::process::ExitCode;

use clap::Parser;
use slowburn::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(&Cli::parse()) {
        Ok(code) => code,
        // Whoever read along has seen enough.
        Err(error) if cli::is_broken_pipe(&error) => cli::FINE.into(),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            cli::COULD_NOT_RUN.into()
        }
    }
}
