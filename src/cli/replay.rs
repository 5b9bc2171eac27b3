//! `slowburn replay`: what would have been sent over a stretch of history. Sends nothing.

mod judging;
pub mod page;
mod silences;
mod subject;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use self::judging::TimeZone;
use self::subject::Subject;
use super::progress::{Bar, Remarks};
use super::{interrupt, when};
use crate::clock::Clock;
use crate::config;
use crate::engine::time::{Duration, Timestamp};
use crate::replay::ReplayError;
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
    /// Show what another configuration would page more, less, earlier or later over the same data: a main file, or a file
    /// of rules, packs and journeys that replace those of the same names
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Whose night pages are counted in, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: TimeZone,
    /// Hold back what these silences would have: a file as 'slowburn silence list --json' prints it
    #[arg(long, value_name = "FILE")]
    silences: Option<PathBuf>,
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
    /// One page with plots and every message, which needs nothing else and prints well
    Html,
}

pub fn run(args: &Replay) -> anyhow::Result<ExitCode> {
    let mut subject = Subject::read(&args.config, args.compare.as_deref(), args.format)?;
    let now = Clock.now();
    let incidents = judging::read(args.incidents.as_deref(), subject.config())?;
    let origin = match (&args.recording, &args.tsdb) {
        (Some(file), _) => Origin::Recording(file.clone()),
        (None, Some(folder)) => Origin::Tsdb(folder.clone()),
        (None, None) => Origin::Source,
    };
    let reader = Reader::open(subject.config(), &origin)?.ok_or(ReplayError::NoHistory)?;
    let mut remarks = Remarks::of(&reader);
    let (from, to) = range((args.from.as_deref(), args.to.as_deref()), &reader, &origin, subject.config(), now)?;
    if let Some(path) = &args.silences {
        subject.silence(&silences::read(path, from, to)?);
    }
    let given = judging::given(incidents.as_ref(), from, to);
    // Opened before the work, so that a path that cannot be written to costs no wait.
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write '{}'", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(io::stdout().lock()),
    };
    let runtime = interrupt::Background::new()?;
    let bar = Bar::new("Replaying");
    let (replayed, stopped) = runtime.block_on(async {
        let stop = interrupt::watch();
        let replayed = subject.replay(reader.until(stop.clone()), (from, to), args.format, &given, |progress| {
            bar.show(progress.at, progress.done, progress.total);
            !*stop.borrow()
        });
        (replayed.await, *stop.borrow())
    });
    bar.clear();
    remarks.show();
    let mut found = replayed?;
    let reached = found.document().to;
    let stopped = stopped && reached < to.align_down(subject.config().spec.interval);
    if stopped && found.document().evaluations == 0 {
        anstream::eprintln!("interrupted before anything was replayed");
        return Ok(interrupt::INTERRUPTED.into());
    }
    found.judge(args.time_zone.0, incidents.is_some().then_some(&given.known));
    subject.write(&found, args.format, &mut *out).context("cannot write the result")?;
    match found.broken() {
        Some(broken) => Err(broken.into()),
        None if stopped => {
            anstream::eprintln!("interrupted: what is shown ends at {reached}");
            Ok(interrupt::INTERRUPTED.into())
        }
        None => Ok(super::FINE.into()),
    }
}

/// What is to be read: what the user says, within what there is.
pub(super) fn range(
    (from, to): (Option<&str>, Option<&str>),
    reader: &Reader,
    origin: &Origin,
    config: &config::Config,
    now: Timestamp,
) -> anyhow::Result<(Timestamp, Timestamp)> {
    let time = |name, text: Option<&str>| match text {
        Some(text) => when::parse(text, now).map(Some).map_err(anyhow::Error::msg).context(name),
        None => Ok(None),
    };
    let (from, to) = (time("--from", from)?, time("--to", to)?);
    if *origin == Origin::Source {
        return Ok((from.unwrap_or(now - DEFAULT_AGE), to.unwrap_or(now).min(newest(config, now))));
    }
    let (first, last) = reader.span().context("it holds nothing that the configuration asks for")?;
    // Slots before the first sample and after the last would say that all is lost.
    Ok((from.unwrap_or(first).max(first), to.unwrap_or(last).min(last)))
}

/// The newest slot the source can be trusted to have in full: the one a daemon would have polled by now.
fn newest(config: &config::Config, now: Timestamp) -> Timestamp {
    match &config.source {
        config::Source::Prometheus(source) => now - source.delay,
        config::Source::Scrape(_) => now,
    }
}
