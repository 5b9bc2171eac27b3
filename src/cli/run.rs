//! `slowburn run`: the daemon.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use tracing_subscriber::filter::LevelFilter;

use crate::daemon::{self, Ended, StartError};
use crate::telemetry::log::{self, Format};

#[derive(Debug, clap::Args)]
pub struct Run {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// How logs are written to stderr
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Logfmt)]
    log_format: LogFormat,
    /// The least level that is logged
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Logfmt,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

pub fn run(args: &Run) -> anyhow::Result<ExitCode> {
    log::init(args.log_format.into(), args.log_level.into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(daemon::run(args.config.clone()));
    // What is still under way was told to end, and may not.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Drained | Ended::Kept { .. }) => Ok(super::FINE.into()),
        Ok(Ended::Cut) => Ok(super::COULD_NOT_RUN.into()),
        // The lines of the files themselves are for a terminal only: a log may be read by more people than they.
        Err(StartError::Config(diagnostics)) if std::io::stderr().is_terminal() => {
            super::sound::show(&diagnostics);
            Ok(super::COULD_NOT_RUN.into())
        }
        Err(error) => {
            log_start(&error);
            Ok(super::COULD_NOT_RUN.into())
        }
    }
}

/// Who reads the daemon's log finds in it why there is no daemon.
fn log_start(error: &StartError) {
    match error {
        StartError::Config(diagnostics) => {
            diagnostics.to_string().lines().for_each(|why| tracing::error!(why, "the configuration is broken"));
        }
        error => tracing::error!(why = %error, "cannot start"),
    }
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Logfmt => Format::Logfmt,
            LogFormat::Json => Format::Json,
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        }
    }
}
