//! `slowburn replay`: what would have been sent over a stretch of history. Sends nothing.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::{check, when};
use crate::clock::Clock;
use crate::config;
use crate::replay::{Document, Progress, replay};

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// First slot: RFC 3339, Unix seconds, or an age such as 7d
    #[arg(long, value_name = "TIME", default_value = "30d")]
    from: String,
    /// Last slot: RFC 3339, Unix seconds, or an age
    #[arg(long, value_name = "TIME", default_value = "now")]
    to: String,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A timeline and a summary for people
    Text,
    /// One JSON document, the same bytes for the same input
    Json,
}

pub fn run(args: &Replay) -> anyhow::Result<ExitCode> {
    let loaded = match config::load_with_process_env(&args.config) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            check::show(&diagnostics);
            anyhow::bail!("the configuration is broken; nothing was replayed");
        }
    };
    check::show(&loaded.warnings);
    let now = Clock.now();
    let from = when::parse(&args.from, now).map_err(anyhow::Error::msg).context("--from")?;
    // The newest slot the source can be trusted to have in full is the one a daemon would have polled by now.
    let newest = match &loaded.config.source {
        config::Source::Prometheus(source) => now - source.delay,
        config::Source::Scrape(_) => now,
    };
    let to = when::parse(&args.to, now).map_err(anyhow::Error::msg).context("--to")?.min(newest);
    // Opened before the work, so that a path that cannot be written to costs no wait.
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write '{}'", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(io::stdout().lock()),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let bar = progress_bar();
    let document = runtime.block_on(async {
        let stop = stop_on_ctrl_c();
        replay(&loaded.config, from, to, |progress| {
            show_progress(&bar, progress);
            !stop.load(Ordering::Relaxed)
        })
        .await
    })?;
    bar.finish_and_clear();
    write(&document, args.format, &mut *out).context("cannot write the result")?;
    Ok(super::FINE.into())
}

fn write(document: &Document, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => write!(out, "{document}")?,
        Format::Json => document.write_json(out)?,
    }
    out.flush()
}

/// Ctrl-C ends the replay where it is; what was replayed so far is printed.
fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    stop
}

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{bar:40} {percent:>3}%  {per_sec} slots, {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show_progress(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
    bar.set_message(progress.at.to_string());
}
