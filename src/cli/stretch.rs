//! The stretch of history that a command reads: from where, and from when to when.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::when;
use crate::config::{self, Config};
use crate::engine::counter::LOOKBACK;
use crate::engine::time::{Duration, Timestamp};
use crate::source::reader::{Origin, Reader};

/// How much history is read if nobody says.
const DEFAULT_AGE: Duration = Duration::from_days(30);

/// So many selectors are named where nothing is found.
const SHOWN: usize = 5;

#[derive(Debug, clap::Args)]
pub struct Stretch {
    /// First slot: RFC 3339, Unix seconds, or an age such as 7d. What fills the windows before it is read too [default:
    /// 30d, or where a file begins]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Last slot: RFC 3339, Unix seconds, or an age [default: now, or where a file ends]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Read this instead of the source: a recording made by 'slowburn record', or text with timestamps as 'promtool
    /// tsdb dump-openmetrics' writes it; plain or gzip; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "tsdb")]
    recording: Option<PathBuf>,
    /// Read this Prometheus data or snapshot directory instead of the source; needs no server
    #[arg(long, value_name = "DIR")]
    tsdb: Option<PathBuf>,
}

impl Stretch {
    pub fn origin(&self) -> Origin {
        match (&self.recording, &self.tsdb) {
            (Some(file), _) if file.as_os_str() == "-" => Origin::Recording("/dev/stdin".into()),
            (Some(file), _) => Origin::Recording(file.clone()),
            (None, Some(folder)) => Origin::Tsdb(folder.clone()),
            (None, None) => Origin::Source,
        }
    }

    /// The file that is read, if it is one.
    pub fn file(&self) -> Option<&Path> {
        self.recording.as_deref()
    }

    /// What is to be read: what the user says, within what there is.
    pub fn slots(&self, reader: &Reader, config: &Config, now: Timestamp) -> anyhow::Result<(Timestamp, Timestamp)> {
        let time = |name, text: Option<&str>| match text {
            Some(text) => when::parse(text, now).map(Some).map_err(anyhow::Error::msg).context(name),
            None => Ok(None),
        };
        let (from, to) = (time("--from", self.from.as_deref())?, time("--to", self.to.as_deref())?);
        if let (Some(from), Some(to)) = (from, to) {
            anyhow::ensure!(from <= to, "--from {from} is after --to {to}");
        }
        let (Origin::Recording(path) | Origin::Tsdb(path)) = &self.origin() else {
            return Ok((from.unwrap_or(now - DEFAULT_AGE), to.unwrap_or(now).min(newest(config, now))));
        };
        let path = path.display();
        let (first, last) =
            reader.span().with_context(|| format!("'{path}' holds nothing of {}", selectors(config)))?;
        let holds = format!("'{path}' holds {first} to {last}");
        match (from, to) {
            (Some(from), _) if from > last => anyhow::bail!("{holds}; --from {from} is after it"),
            (_, Some(to)) if to < first => anyhow::bail!("{holds}; --to {to} is before it"),
            (_, Some(to)) if to.since(last) > LOOKBACK => {
                super::tell(format_args!("warning: {holds}, and ends {} before --to", to.since(last)));
            }
            _ => {}
        }
        // Slots before the first sample and after the last would say that all is lost.
        let (from, to) = (from.unwrap_or(first).max(first), to.unwrap_or(last).min(last));
        let interval = config.spec.interval;
        match reader.fault() {
            // That there is no slot follows from it.
            Some(error) if from.align_up(interval) > to.align_down(interval) => Err(error.clone().into()),
            _ => Ok((from, to)),
        }
    }
}

/// What the configuration asks for, the first of many.
fn selectors(config: &Config) -> String {
    let selectors: Vec<&str> = config.spec.slos.iter().map(|slo| &*slo.selector).take(SHOWN).collect();
    let more = match config.spec.slos.len() - selectors.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}, which the configuration asks for", selectors.join(", "))
}

/// What a range that holds nothing at all comes to: whatever it said would read as if all had been well.
pub fn nothing_seen(from: Timestamp, to: Timestamp) -> anyhow::Error {
    anyhow::anyhow!(
        "nothing that the configuration asks for is there from {from} to {to}: look at the range and at the histograms"
    )
}

/// Warns of SLOs of which nothing was seen, by their places.
pub fn warn_of_unseen(places: &[String]) {
    let Some((first, others)) = places.split_first() else { return };
    let others = match others {
        [] => String::new(),
        [second] => format!(" and {second}"),
        others => format!(" and {} others", others.len()),
    };
    super::tell(format_args!("warning: nothing was seen of {first}{others}: what would have come of it is not known"));
}

/// The newest slot the source can be trusted to have in full: the one a daemon would have polled by now.
fn newest(config: &Config, now: Timestamp) -> Timestamp {
    match &config.source {
        config::Source::Prometheus(source) => now - source.delay,
        config::Source::Scrape(_) => now,
    }
}
