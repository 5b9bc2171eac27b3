//! `slowburn record`: a stretch of history in one file, for a postmortem, a test, or a replay without the source.

use std::collections::BTreeSet;
use std::io::{BufWriter, IntoInnerError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::output::{Draft, Target};
use super::progress::{Bar, Remarks};
use super::stretch::{self, Stretch};
use super::{interrupt, sound};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::time::{Duration, Timestamp};
use crate::replay::driver::warm_from;
use crate::replay::{Progress, ReplayError, SLICE_DEADLINE};
use crate::source::prometheus::Detail;
use crate::source::reader::{Reader, Stop};
use crate::source::recording::Writer;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "EXAMPLE:\n  slowburn record --from 6h --out outage.rec\n  slowburn replay --recording outage.rec\n\n\
    A recording holds every bound that the configuration's histograms have, in one or two\n\
    bytes a sample, so other budgets and rules can be tried on it. It is checked when read."
)]
pub struct Record {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    #[command(flatten)]
    stretch: Stretch,
    /// The file to write; 'slowburn replay --recording' reads it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write it even if there is such a file
    #[arg(long)]
    force: bool,
}

pub fn run(args: &Record) -> anyhow::Result<ExitCode> {
    let (origin, now) = (args.stretch.origin(), Clock.now());
    let config = &sound::configuration(&args.config, &origin, "nothing was recorded")?;
    let interval = config.spec.interval;
    let reader = Reader::open(config, &origin)?
        .context("services that are scraped directly keep no history; a recording needs a source that does")?;
    let mut remarks = Remarks::of(&reader);
    let (from, to) = args.stretch.slots(&reader, config, now)?;
    let (from, to) = (from.align_up(interval), to.align_down(interval));
    anyhow::ensure!(from <= to, "there is no slot of {interval} between {from} and {to}");
    let read = [args.config.as_path()].into_iter().chain(args.stretch.file()).collect::<Vec<_>>();
    let draft = Target::new(&args.out, args.force, &read)?.draft()?;
    let mut recorder = Recorder::new(&args.out, draft, config, (from, to))?;
    let runtime = interrupt::Background::new()?;
    let bar = Bar::of_slots("Recording");
    let (ended, stopped) = runtime.block_on(async {
        let [stop] = interrupt::watch();
        (recorder.record(reader, &bar, stop.clone()).await, *stop.borrow())
    });
    bar.clear();
    remarks.show();
    let path = args.out.display();
    let unseen = recorder.unseen(config);
    let recorded = recorder.finish().with_context(|| format!("cannot write '{path}'"));
    match (ended, recorded?) {
        (Err(error), None) => Err(error.context("nothing was recorded")),
        (Err(error), Some(told)) => {
            super::tell(told);
            Err(error.context(format!("'{path}' ends early")))
        }
        (Ok(()), None) if !stopped => Err(stretch::nothing_seen(from, to)),
        (Ok(()), None) => {
            super::tell("interrupted before anything was recorded");
            Ok(interrupt::INTERRUPTED.into())
        }
        (Ok(()), Some(told)) => {
            stretch::warn_of_unseen(&unseen);
            super::tell(told + if stopped { "; interrupted, so it ends early" } else { "" });
            Ok(if stopped { interrupt::INTERRUPTED } else { super::FINE }.into())
        }
    }
}

/// A recording that is being made.
struct Recorder<'a> {
    path: &'a Path,
    writer: Writer<BufWriter<Draft>>,
    interval: Duration,
    /// The first slot that fills windows.
    first: Timestamp,
    from: Timestamp,
    to: Timestamp,
    /// The first slot that is not recorded yet.
    next: Timestamp,
    /// SLOs that had a series.
    seen: BTreeSet<usize>,
}

impl<'a> Recorder<'a> {
    fn new(path: &'a Path, draft: Draft, config: &Config, (from, to): (Timestamp, Timestamp)) -> anyhow::Result<Self> {
        let writer = Writer::new(BufWriter::new(draft), config, from, to);
        let writer = writer.with_context(|| format!("cannot write '{}'", path.display()))?;
        let interval = config.spec.interval;
        let first = warm_from(&config.spec, from);
        Ok(Self { path, writer, interval, first, from, to, next: first, seen: BTreeSet::new() })
    }

    /// An error leaves what was recorded before it.
    async fn record(&mut self, reader: Reader, bar: &Bar, stop: Stop) -> anyhow::Result<()> {
        let (first, to, interval) = (self.first, self.to, self.interval);
        let slots = |to: Timestamp| (to.slot_number(interval) - first.slot_number(interval)) as u64;
        let mut slices = reader.until(stop).read(first, to, interval, Detail::Buckets, SLICE_DEADLINE);
        while let Some(slice) = slices.next().await {
            let slice = slice.map_err(|error| ReplayError::ended(self.next, to, error))?;
            self.writer.push(&slice).with_context(|| format!("cannot write '{}'", self.path.display()))?;
            self.seen.extend(slice.series.iter().map(|series| series.slo));
            self.next = slice.to() + interval;
            bar.show(Progress { at: self.next, done: slots(self.next), total: slots(to) + 1 });
        }
        Ok(())
    }

    /// The SLOs that had no series.
    fn unseen(&self, config: &Config) -> Vec<String> {
        let slos = config.spec.slos.iter().enumerate();
        slos.filter(|(slo, _)| !self.seen.contains(slo)).map(|(_, slo)| slo.place()).collect()
    }

    /// Says what was recorded; `None`, and no file, if there is nothing of what it is about.
    fn finish(self) -> std::io::Result<Option<String>> {
        let last = self.next - self.interval;
        if last < self.from || self.seen.is_empty() {
            return Ok(None);
        }
        let file = if last < self.to { self.writer.finish_at(last)? } else { self.writer.finish()? };
        let bytes = file.into_inner().map_err(IntoInnerError::into_error)?.keep()?;
        let slots = last.slot_number(self.interval) - self.from.slot_number(self.interval) + 1;
        let (path, from) = (self.path.display(), self.from);
        Ok(Some(format!("recorded {slots} slots, {from} to {last}, in {}: {path}", size(bytes))))
    }
}

/// `512 bytes`, `34 kB`, `1.2 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
