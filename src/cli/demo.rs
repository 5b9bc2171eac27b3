//! `slowburn demo`: everything on one machine with nothing to install and no configuration file.
//!
//! Only the world at the edges is simulated: five layers of a checkout under load, whose metrics are served on a real
//! port, and receivers that answer at once. Configuration, scrapes, engine and messages are those of the daemon.

mod exporter;
mod line;
mod plain;
mod random;
mod screen;
mod script;
mod show;
mod simulation;
mod story;
mod terminal;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::config::{self, Config, Source};
use crate::engine::time::{Duration, Timestamp};
use crate::source::plan::Plan;
use crate::source::scrape::Scrape;

use self::exporter::Live;
use self::show::Show;
use self::simulation::Simulation;
use self::story::Story;

const CONFIG: &str = include_str!("demo/slowburn.yml");
/// What came before is simulated in one go, so that the error budgets have a past.
const PAST: Duration = Duration::from_hours(1);

#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Serve the simulated metrics here, for a real Prometheus to scrape [default: a free loopback port]
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// End after this time, such as 90s or 5m [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = config::units::duration)]
    run_for: Option<Duration>,
    /// Decides what happens: the same seed tells the same story
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Make incidents and pauses N times as long, for rules with the windows of production
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    stretch: u32,
    /// Print lines instead of redrawing the terminal
    #[arg(long)]
    plain: bool,
}

pub fn run(args: &Demo) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(watch(args, Clock))?;
    Ok(super::FINE.into())
}

/// Runs until somebody ends it or the time is up.
async fn watch(args: &Demo, clock: Clock) -> anyhow::Result<()> {
    let listener = exporter::listen(args.metrics_listen).await?;
    let metrics_url = format!("http://{}/metrics", listener.local_addr()?);
    let config = configuration(&metrics_url)?;
    let scrape = scrape(&config)?;
    // The past is simulated in the meantime.
    let start = clock.now().align_up(config.spec.interval) + config.spec.interval;
    let simulation = Simulation::new(args.seed, args.stretch, -PAST.ms());
    let (simulation, mut story) = prepare(simulation, Story::new(config, start, metrics_url), &scrape, start)?;
    let live = Live::new(simulation, clock, start);
    let mut show = Show::open(args.plain, &story)?;
    let outcome = tokio::select! {
        served = exporter::serve(listener, live.clone()) => {
            served.map_err(Into::into).and_then(|()| bail!("the simulated metrics are no longer served"))
        }
        signalled = signalled() => signalled.map_err(Into::into),
        watched = rounds(&mut story, &mut show, &scrape, &live, args.run_for) => watched,
    };
    show.close(&story.scene(), outcome)
}

/// The embedded configuration, through the loader that reads everybody's.
fn configuration(metrics_url: &str) -> anyhow::Result<Config> {
    let texts = BTreeMap::from([("slowburn.yml".to_owned(), CONFIG.to_owned())]);
    let env = |name: &str| (name == "SLOWBURN_DEMO_TARGET").then(|| metrics_url.to_owned());
    let loaded = config::load_texts("slowburn.yml", &texts, &env);
    loaded.map(|loaded| loaded.config).map_err(|diagnostics| anyhow::anyhow!("{}", diagnostics.render(false)))
}

fn scrape(config: &Config) -> anyhow::Result<Scrape> {
    let Source::Scrape(source) = &config.source else { bail!("the demo's configuration does not scrape") };
    let plan = Arc::new(Plan::new(&config.spec.slos, &config.selectors));
    Scrape::new(source, plan).context("cannot scrape the simulated metrics")
}

/// Lets the past happen: a simulation that has come as far as `start`, and a story that has seen it.
fn prepare(
    mut simulation: Simulation,
    mut story: Story,
    scrape: &Scrape,
    start: Timestamp,
) -> anyhow::Result<(Simulation, Story)> {
    let mut slot = start - PAST;
    let mut poll = scrape.read(&simulation.metrics(), slot)?;
    while slot < start {
        simulation.advance_to(slot.unix_ms() - start.unix_ms());
        // Reading every second's text would take seconds, for a past that nobody watches.
        simulation.update(&mut poll);
        story.backfill(slot, poll.clone());
        slot += story.interval();
    }
    Ok((simulation, story))
}

/// One scrape a slot, and what follows from it.
async fn rounds(
    story: &mut Story,
    show: &mut Show,
    scrape: &Scrape,
    live: &Live,
    run_for: Option<Duration>,
) -> anyhow::Result<()> {
    let interval = story.interval();
    let mut slot = live.start;
    while run_for.is_none_or(|run_for| slot.since(live.start) <= run_for) {
        tokio::time::sleep(slot.since(live.clock.now()).to_std()).await;
        let poll = scrape.poll(slot, interval).await;
        let events = story.polled(slot, poll.map_err(|error| error.to_string()), live.incident());
        show.update(&story.scene(), &events)?;
        // What was missed while the machine slept is not made up for.
        slot = (slot + interval).max(live.clock.now().align_down(interval));
    }
    Ok(())
}

/// Returns when somebody asks for the end, with Ctrl-C or SIGTERM.
async fn signalled() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
