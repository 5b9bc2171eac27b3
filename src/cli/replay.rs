//! `slowburn replay`: what would have been sent over a stretch of history. Sends nothing.

mod judging;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use self::judging::TimeZone;
use super::{check, when};
use crate::clock::Clock;
use crate::config;
use crate::engine::time::{Duration, Timestamp};
use crate::replay::{Document, Progress, ReplayError, replay_from};
use crate::source::reader::{Origin, Reader};

/// How much history is replayed if nobody says.
const DEFAULT_AGE: Duration = Duration::from_days(30);

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// First slot: RFC 3339, Unix seconds, or an age such as 7d [default: 30d, or where a file begins]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Last slot: RFC 3339, Unix seconds, or an age [default: now, or where a file ends]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Read this instead of the source: a recording made by 'slowburn record', or text with timestamps as 'promtool
    /// tsdb dump-openmetrics' writes it; plain or gzip
    #[arg(long, value_name = "FILE", conflicts_with = "tsdb")]
    recording: Option<PathBuf>,
    /// Read this Prometheus data or snapshot directory instead of the source; needs no server
    #[arg(long, value_name = "DIR")]
    tsdb: Option<PathBuf>,
    /// Score what would have paged against what is known to have happened: YAML or CSV with journey, start and end, and
    /// a layer and a note where there are
    #[arg(long, value_name = "FILE")]
    incidents: Option<PathBuf>,
    /// Whose night pages are counted in, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: TimeZone,
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
    let incidents = judging::read(args.incidents.as_deref(), &loaded.config)?;
    let origin = match (&args.recording, &args.tsdb) {
        (Some(file), _) => Origin::Recording(file.clone()),
        (None, Some(folder)) => Origin::Tsdb(folder.clone()),
        (None, None) => Origin::Source,
    };
    let reader = Reader::open(&loaded.config, &origin)?.ok_or(ReplayError::NoHistory)?;
    reader.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    let (from, to) = range(args, &reader, &origin, &loaded.config, now)?;
    let given = judging::given(incidents.as_ref(), from, to);
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
    let mut replayed = runtime.block_on(async {
        let stop = stop_on_ctrl_c();
        replay_from(&loaded.config, reader, from, to, &given, |progress| {
            show_progress(&bar, progress);
            !stop.load(Ordering::Relaxed)
        })
        .await
    })?;
    bar.finish_and_clear();
    replayed.document.judge(args.time_zone.0, incidents.is_some().then_some(&given.known));
    write(&replayed.document, args.format, &mut *out).context("cannot write the result")?;
    match replayed.broken {
        Some(broken) => Err(broken.into()),
        None => Ok(super::FINE.into()),
    }
}

/// What is to be replayed: what the user says, within what there is.
fn range(
    args: &Replay,
    reader: &Reader,
    origin: &Origin,
    config: &config::Config,
    now: Timestamp,
) -> anyhow::Result<(Timestamp, Timestamp)> {
    let time = |name, text: &Option<String>| match text {
        Some(text) => when::parse(text, now).map(Some).map_err(anyhow::Error::msg).context(name),
        None => Ok(None),
    };
    let (from, to) = (time("--from", &args.from)?, time("--to", &args.to)?);
    if *origin == Origin::Source {
        return Ok((from.unwrap_or(now - DEFAULT_AGE), to.unwrap_or(now).min(newest(config, now))));
    }
    let (first, last) = reader.span().context("it holds nothing that the configuration asks for")?;
    // Slots before the first sample and after the last would say that all is lost.
    Ok((from.unwrap_or(first).max(first), to.unwrap_or(last).min(last)))
}

/// The newest slot the source can be trusted to have in full: the one a daemon would have polled by now.
pub(super) fn newest(config: &config::Config, now: Timestamp) -> Timestamp {
    match &config.source {
        config::Source::Prometheus(source) => now - source.delay,
        config::Source::Scrape(_) => now,
    }
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
