//! The `slowburn` command.

use std::process::ExitCode;

use clap::Parser;
use slowburn::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            cli::COULD_NOT_RUN.into()
        }
    }
}
