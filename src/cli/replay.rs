//! `slowburn replay`: what would have been sent over a stretch of history. Sends nothing.

mod judging;
pub mod page;
pub mod silences;
mod subject;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use self::subject::Subject;
use super::interrupt;
use super::output::Target;
use super::progress::{Bar, Remarks};
use super::stretch::{self, Stretch};
use crate::clock::Clock;
use crate::replay::ReplayError;
use crate::source::reader::Reader;
use crate::zone::Zone;

/// What something broken comes to.
const UNDONE: &str = "nothing was replayed";

#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    #[command(flatten)]
    stretch: Stretch,
    /// Score what would have paged against what is known to have happened: YAML or CSV with journey, start and end, and
    /// a layer and a note where there are
    #[arg(long, value_name = "FILE")]
    incidents: Option<PathBuf>,
    /// Show what another configuration would page more, less, earlier or later over the same data: a main file, or a file
    /// of rules, packs and journeys that replace those of the same names
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Whose night pages are counted in, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = judging::time_zone)]
    time_zone: Zone,
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

impl Replay {
    /// The files that are read.
    fn read(&self) -> Vec<&Path> {
        let others = [&self.incidents, &self.compare, &self.silences].into_iter().filter_map(Option::as_deref);
        [self.config.as_path()].into_iter().chain(others).chain(self.stretch.file()).collect()
    }
}

pub fn run(args: &Replay) -> anyhow::Result<ExitCode> {
    let origin = args.stretch.origin();
    let mut subject = Subject::read(&args.config, args.compare.as_deref(), &origin, args.format)?;
    let now = Clock.now();
    let incidents = judging::read(args.incidents.as_deref(), subject.config())?;
    let reader = Reader::open(subject.config(), &origin)?.ok_or(ReplayError::NoHistory)?;
    let mut remarks = Remarks::of(&reader);
    let (from, to) = args.stretch.slots(&reader, subject.config(), now)?;
    if let Some(path) = &args.silences {
        subject.silence(&silences::read(path, from, to)?);
    }
    let given = judging::given(incidents.as_ref(), from, to);
    let out = args.out.as_deref().map(|path| Target::replacing(path, &args.read())).transpose()?;
    keep_freed_memory();
    work_on_this_thread_too();
    let runtime = interrupt::Background::new()?;
    let bar = Bar::of_slots("Replaying");
    let (replayed, stopped) = runtime.block_on(async {
        let [stop] = interrupt::watch();
        let replayed = subject.replay(reader.until(stop.clone()), (from, to), args.format, &given, |progress| {
            bar.show(progress);
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
        super::tell("interrupted before anything was replayed");
        return Ok(interrupt::INTERRUPTED.into());
    }
    let has_seen = found.has_seen();
    // Nothing of the range was read, only some of what fills the windows before it; or nothing was in it.
    if (!has_seen || found.document().evaluations == 0)
        && let Some(broken) = found.broken()
    {
        return Err(broken.into());
    }
    if !has_seen && stopped {
        super::tell("interrupted before anything was seen");
        return Ok(interrupt::INTERRUPTED.into());
    }
    if !has_seen {
        return Err(stretch::nothing_seen(from, to));
    }
    found.unseen().iter().for_each(|places| stretch::warn_of_unseen(places));
    found.judge(&args.time_zone, incidents.is_some().then_some(&given.known));
    match out {
        Some(target) => target.write(|out| subject.write(&found, args.format, out))?,
        None => subject.write(&found, args.format, &mut io::stdout().lock()).context("cannot write the result")?,
    }
    let broken = found.broken();
    // The process ends: the system takes all of it back at once.
    std::mem::forget((found, subject, runtime));
    match broken {
        Some(broken) => Err(broken.into()),
        None if stopped => {
            super::tell(format_args!("interrupted: what is shown ends at {reached}"));
            Ok(interrupt::INTERRUPTED.into())
        }
        None => Ok(super::FINE.into()),
    }
}

/// Makes this thread one of those that share the engine's work: it would only wait for them, and be woken after each
/// piece.
fn work_on_this_thread_too() {
    // Somebody may have started them already; then it waits.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
}

/// Has the C library keep memory that is freed: each slice takes what the one before gave back, and without this it would
/// take it from the kernel, page by page. Once a block is freed that was mapped for itself, glibc maps only larger ones,
/// and keeps twice as much. Source: mallopt(3), on `M_MMAP_THRESHOLD`, whose limit is 32 MB.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(31 << 20)));
}
