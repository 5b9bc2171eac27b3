//! `slowburn tune`: searches history for settings of burn-rate rules that would have done better. Sends nothing.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Context as _;
use clap::ValueEnum;

use super::output::Target;
use super::progress::{Bar, Remarks};
use super::replay::silences;
use super::stretch::{self, Stretch};
use super::{interrupt, sound};
use crate::clock::Clock;
use crate::config::bounds::{self, Bounds, Values};
use crate::config::incidents::KnownIncidents;
use crate::config::rewrite::WrittenRules;
use crate::config::{Config, process_env};
use crate::engine::rule::Limit;
use crate::engine::time::Duration;
use crate::replay::ReplayError;
use crate::replay::tune::rule_file::rule_file;
use crate::replay::tune::space::Space;
use crate::replay::tune::store::MAX_BYTES;
use crate::replay::tune::{Options, Step, Stops, Store, StoreError, Tuning, tune};
use crate::source::reader::Reader;

/// What something broken comes to.
const UNDONE: &str = "nothing was tuned";

#[derive(Debug, clap::Args)]
#[command(after_help = "A range is written 6..20; a list 6,10,14.4. Without bounds, a setting is moved\n\
    around what it is now. Ctrl-C ends the search and shows what it found so far; a\n\
    second one skips the check of what it found, and a third ends the command.")]
pub struct Tune {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// What is known to have happened: YAML or CSV with journey, start and end, and a layer and a note where there are
    #[arg(long, value_name = "FILE")]
    incidents: PathBuf,
    #[command(flatten)]
    stretch: Stretch,
    /// Hold back what these silences would have: a file as 'slowburn silence list --json' prints it
    #[arg(long, value_name = "FILE")]
    silences: Option<PathBuf>,
    /// How often a week somebody may be paged [default: as often as now, or as there are incidents]
    #[arg(long, value_name = "N", value_parser = pages)]
    max_pages_per_week: Option<f64>,
    /// The burn-rate rules to tune [default: those that page]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    rules: Vec<String>,
    /// Burn rates to try
    #[arg(long, value_name = "RANGE")]
    burn_rate: Option<Values<f64>>,
    /// Long windows to try
    #[arg(long, value_name = "RANGE")]
    long: Option<Values<Duration>>,
    /// Short windows to try
    #[arg(long, value_name = "RANGE")]
    short: Option<Values<Duration>>,
    /// Counts of consecutive evaluations to try
    #[arg(long, value_name = "RANGE")]
    consecutive: Option<Values<u32>>,
    /// Bounds rule by rule, before those above: bounds: [{rule: spike, burn_rate: 6..20, long: 5m..1h}]
    #[arg(long, value_name = "FILE")]
    bounds: Option<PathBuf>,
    /// Candidates to try
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trials: u32,
    /// The same seed makes the same search
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the recommended rules to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write to it even if it exists
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people
    Text,
    /// One JSON document, the same bytes for the same input
    Json,
}

fn pages(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|pages| (0.0..=1e6).contains(pages));
    number.ok_or_else(|| "write a number such as 2 or 0.5".to_owned())
}

impl Tune {
    /// The files that are read, but for those of the configuration: rules are tuned again and again.
    fn read(&self) -> Vec<&Path> {
        let others = [&self.bounds, &self.silences].into_iter().filter_map(Option::as_deref);
        [self.config.as_path(), &self.incidents].into_iter().chain(others).chain(self.stretch.file()).collect()
    }
}

pub fn run(args: &Tune) -> anyhow::Result<ExitCode> {
    let origin = args.stretch.origin();
    let mut config = sound::configuration(&args.config, &origin, UNDONE)?;
    // What may be wrong with the arguments is said before anything is waited for.
    let written = WrittenRules::read(&config.files, &process_env).map_err(anyhow::Error::msg)?;
    let space = space(args, &config, &written)?;
    let known = KnownIncidents::load(&args.incidents, &config.spec);
    let incidents = sound::sound(known, "the file of incidents", UNDONE)?;
    let out = args.out.as_deref().map(|path| Target::new(path, args.force, &args.read())).transpose()?;
    let now = Clock.now();
    let reader = Reader::open(&config, &origin)?.ok_or(ReplayError::NoHistory)?;
    let mut remarks = Remarks::of(&reader);
    let (from, to) = args.stretch.slots(&reader, &config, now)?;
    if let Some(path) = &args.silences {
        Arc::make_mut(&mut config.spec).silences = silences::read(path, from, to)?;
    }
    sound::show(&incidents.outside(from, to));
    let runtime = interrupt::Background::new()?;
    let bar = Bar::of_slots("Reading");
    let (read, stops) = runtime.block_on(async {
        // The first ends reading, which has no use for half of a history, or the search; the second the rest.
        let [search, all] = interrupt::watch();
        let reader = reader.until(search.clone());
        let read = Store::read(&config, reader, (from, to), MAX_BYTES, |progress| {
            bar.show(progress);
            !*search.borrow()
        });
        (read.await, Stops { search, all })
    });
    bar.clear();
    remarks.show();
    let store = match read {
        Ok(store) => store,
        Err(StoreError::Stopped) => {
            super::tell(StoreError::Stopped);
            return Ok(interrupt::INTERRUPTED.into());
        }
        Err(error) => return Err(error.into()),
    };
    let unseen = store.unseen(&config.spec);
    if unseen.len() == config.spec.slos.len() {
        return Err(stretch::nothing_seen(store.from, store.to));
    }
    stretch::warn_of_unseen(&unseen);
    let options = Options {
        trials: args.trials as usize,
        seed: args.seed,
        threads: available_parallelism().map_or(1, usize::from),
        max_pages_a_week: args.max_pages_per_week,
    };
    let bar = |what| Bar::of("candidates", what, "the present rules first");
    let mut shown = bar("Trying");
    let tuning = tune(&store, &config.spec, &space, &incidents.list, &options, &stops, |step| match step {
        Step::Checked { done: 0, .. } => {
            shown.clear();
            shown = bar("Checking");
        }
        Step::Tried { done, total } | Step::Checked { done, total } => shown.count(done, total),
    });
    shown.clear();
    // Written before it is shown: whoever reads along may have seen enough.
    let told = match (out, &args.out) {
        (Some(target), Some(path)) => Some(write(&tuning, &written, path, target)?),
        _ => None,
    };
    print(&tuning, args.format)?;
    told.into_iter().for_each(super::tell);
    let code = match tuning.recommended {
        _ if tuning.stopped || tuning.present.held_back.is_none() => interrupt::INTERRUPTED,
        Some(_) => super::FINE,
        None => super::FOUND,
    };
    Ok(code.into())
}

/// What may be tried: the bounds of the file, then those of the command line, then around what there is.
fn space(args: &Tune, config: &Config, written: &WrittenRules) -> anyhow::Result<Space> {
    let by_rule = match &args.bounds {
        Some(path) => sound::sound(bounds::load(path, &burn_rate_rules(config)), "the file of bounds", UNDONE)?,
        None => BTreeMap::new(),
    };
    let for_all = Bounds {
        burn_rate: args.burn_rate.clone(),
        long: args.long.clone(),
        short: args.short.clone(),
        consecutive: args.consecutive.clone(),
    };
    let bounds = |rule: &str| by_rule.get(rule).cloned().unwrap_or_default().or(&for_all);
    Ok(Space::new(&config.spec, &args.rules, bounds, |rule| !written.says(rule, "clear_after"))?)
}

/// The names of all burn-rate rules that some journey uses.
fn burn_rate_rules(config: &Config) -> Vec<&str> {
    let rules = config.spec.slos.iter().flat_map(|slo| &slo.rules);
    let mut names: Vec<&str> =
        rules.filter(|rule| matches!(rule.limit, Limit::BurnRate { .. })).map(|rule| rule.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn print(tuning: &Tuning, format: Format) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match format {
        Format::Text => write!(out, "{tuning}"),
        Format::Json => tuning.write_json(&mut out),
    };
    written.and_then(|()| out.flush()).context("cannot write the result")
}

/// Writes the recommended rules, if there are any. Returns what is to be said of it.
fn write(tuning: &Tuning, written: &WrittenRules, path: &Path, target: Target) -> anyhow::Result<String> {
    let shown = path.display().to_string();
    let Some(point) = tuning.recommended() else {
        return Ok(format!("Nothing is recommended, so '{shown}' was not written."));
    };
    let text = rule_file(tuning, point, written, &shown, Clock.now());
    target.write(|out| out.write_all(text.as_bytes()))?;
    Ok(format!("Wrote '{shown}'. To use it, {}.", written.adoption(&shown)))
}
