//! Where histograms come from. Each source yields polls for the engine; absence of data is an error, never a zero.
//!
//! Every answer is bounded in size and time, before and after decompression, and what is wrong with it has a type.

pub mod error;

pub mod feed;

pub mod made_up;

pub mod plan;

pub mod prometheus;

pub mod exposition;

pub mod scrape;

pub mod probe;

pub mod reader;

pub mod recording;

pub mod sampler;

pub mod xor;

mod archive;

mod body;

mod chunks;

mod columns;

mod gather;

mod history;

mod needed;

mod series;

use std::sync::Arc;

use crate::config;
use crate::engine::histogram::Poll;
use crate::engine::time::{Duration, Timestamp};

pub use self::error::SourceError;
use self::plan::Plan;
use self::probe::Probe;
use self::prometheus::Prometheus;
use self::scrape::Scrape;

/// The source that the configuration names. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub enum Source {
    Prometheus(Prometheus),
    Scrape(Scrape),
}

impl Source {
    pub fn new(config: &config::Config) -> Result<Self, SourceError> {
        let plan = Arc::new(Plan::new(&config.spec.slos, &config.selectors));
        match &config.source {
            config::Source::Prometheus(prometheus) => {
                let prometheus = Prometheus::new(prometheus, plan)?.with_interval(config.spec.interval);
                Ok(Source::Prometheus(prometheus))
            }
            config::Source::Scrape(scrape) => Scrape::new(scrape, plan).map(Source::Scrape),
        }
    }

    /// All histograms at `slot`, within `deadline`; see [`Prometheus::poll`] and [`Scrape::poll`].
    pub async fn poll(&self, slot: Timestamp, deadline: Duration) -> Result<Poll, SourceError> {
        match self {
            Source::Prometheus(prometheus) => prometheus.poll(slot, deadline).await,
            Source::Scrape(scrape) => scrape.poll(slot, deadline).await,
        }
    }

    /// What the source knows of each SLO's histogram; see [`Prometheus::probe`] and [`Scrape::probe`]. `reach` is how
    /// far back history is looked for.
    pub async fn probe(&self, now: Timestamp, reach: Duration, deadline: Duration) -> Result<Probe, SourceError> {
        match self {
            Source::Prometheus(prometheus) => prometheus.probe(now, reach, deadline).await,
            Source::Scrape(scrape) => scrape.probe(now, deadline).await,
        }
    }
}
