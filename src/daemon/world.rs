//! What a configuration connects the daemon to: its source and its receivers.

use std::sync::Arc;

use thiserror::Error;

use crate::config::{self, Config};
use crate::engine::time::Duration;
use crate::http::ClientError;
use crate::notify::heartbeat::Heart;
use crate::notify::{Notifier, NotifyError};
use crate::source::{Source, SourceError};

use super::schedule::Schedule;

/// One configuration, connected.
#[derive(Debug)]
pub struct World {
    pub config: Arc<Config>,
    pub source: Source,
    pub notifier: Arc<Notifier>,
    pub heart: Option<Arc<Heart>>,
}

/// Why a valid configuration cannot be run. Free of secrets.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("source: {0}")]
    Source(#[from] SourceError),
    #[error(transparent)]
    Receiver(#[from] NotifyError),
    #[error("heartbeat: {0}")]
    Heartbeat(#[from] ClientError),
}

impl World {
    pub fn connect(config: Config) -> Result<Self, ConnectError> {
        let source = Source::new(&config)?;
        let notifier = Arc::new(Notifier::new(&config)?);
        let heart = config.heartbeat.as_ref().map(Heart::new).transpose()?.map(Arc::new);
        Ok(Self { config: Arc::new(config), source, notifier, heart })
    }

    pub fn schedule(&self) -> Schedule {
        let interval = self.config.spec.interval;
        match &self.config.source {
            config::Source::Prometheus(prometheus) => Schedule::with_memory(interval, prometheus.delay),
            config::Source::Scrape(_) => Schedule::without_memory(interval),
        }
    }

    /// How long one request to the source may take.
    pub fn timeout(&self) -> Duration {
        match &self.config.source {
            config::Source::Prometheus(prometheus) => prometheus.timeout,
            config::Source::Scrape(scrape) => scrape.timeout,
        }
    }
}
