//! `slowburn record`: a stretch of history in one file, for a postmortem, a test, or a replay without the source.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{check, replay, when};
use crate::clock::Clock;
use crate::config;
use crate::engine::time::Duration;
use crate::source::prometheus::Detail;
use crate::source::reader::{Origin, Reader};
use crate::source::recording::Writer;

/// Each request for a slice of history may take this long.
const SLICE_DEADLINE: Duration = Duration::from_minutes(2);

#[derive(Debug, clap::Args)]
pub struct Record {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// First slot of its replay: RFC 3339, Unix seconds, or an age such as 7d. What fills the windows before it is
    /// recorded too
    #[arg(long, value_name = "TIME", default_value = "30d")]
    from: String,
    /// Last slot: RFC 3339, Unix seconds, or an age
    #[arg(long, value_name = "TIME", default_value = "now")]
    to: String,
    /// The file to write; 'slowburn replay --recording' reads it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(args: &Record) -> anyhow::Result<ExitCode> {
    let loaded = match config::load_with_process_env(&args.config) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            check::show(&diagnostics);
            anyhow::bail!("the configuration is broken; nothing was recorded");
        }
    };
    check::show(&loaded.warnings);
    let (config, now) = (&loaded.config, Clock.now());
    let interval = config.spec.interval;
    let from = when::parse(&args.from, now).map_err(anyhow::Error::msg).context("--from")?.align_up(interval);
    let to = when::parse(&args.to, now).map_err(anyhow::Error::msg).context("--to")?;
    let to = to.min(replay::newest(config, now)).align_down(interval);
    anyhow::ensure!(from <= to, "there is no slot of {interval} between {from} and {to}");
    let reader = Reader::open(config, &Origin::Source)?
        .context("services that are scraped directly keep no history; a recording needs a source that does")?;
    let first = (from - config.spec.longest_window()).align_down(interval);
    let path = args.out.display();
    let file = File::create(&args.out).with_context(|| format!("cannot write '{path}'"))?;
    let mut writer = Writer::new(BufWriter::new(file), config, from, to).with_context(|| format!("'{path}'"))?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut slices = reader.read(first, to, interval, Detail::Buckets, SLICE_DEADLINE);
        while let Some(slice) = slices.next().await {
            writer.push(&slice?).with_context(|| format!("'{path}'"))?;
        }
        anyhow::Ok(())
    })?;
    writer.finish().with_context(|| format!("'{path}'"))?;
    Ok(super::FINE.into())
}
