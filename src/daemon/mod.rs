//! The daemon: polls, drives the engine, sends what it decides, and answers over HTTP.
//!
//! One loop over one closed [`event::Event`] owns the [`Engine`](crate::engine::Engine) and all other state; polls,
//! backfills, sends and HTTP run beside it as tasks and never touch that state. Decisions are the engine's alone:
//! nothing here looks at a burn rate.

mod backfill;

mod event;

mod heartbeats;

mod live;

mod polls;

mod reload;

mod report;

mod restart;

mod rosters;

mod saves;

pub mod schedule;

mod sends;

mod server;

mod signals;

mod silences;

pub mod status;

mod world;

mod windows;

mod writer;

use std::path::PathBuf;

use thiserror::Error;

use crate::clock::Clock;
use crate::config::{self, Diagnostics};
use crate::store::StoreError;

pub(crate) use self::server::{PostedMatcher, read_matcher};

use self::live::Live;
use self::signals::Signals;
use self::world::{ConnectError, World};

/// Why the daemon could not start. Free of secrets, and of any text of the configuration.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Config(Diagnostics),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen on {address}: {why}")]
    Listen { address: std::net::SocketAddr, why: std::io::Error },
    #[error("server.tls: {0}")]
    Tls(String),
    #[error("state: {0}")]
    State(#[from] StoreError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop, and everything that could be sent was.
    Drained,
    /// Asked to stop, and what was not sent is in the state file: the next start goes on with it.
    Kept { waiting: usize },
    /// Asked twice, or sends took too long: what was not delivered is lost.
    Cut,
}

/// Runs until SIGTERM or SIGINT. `config` is the main file.
pub async fn run(config: PathBuf) -> Result<Ended, StartError> {
    let signals = Signals::listen().map_err(StartError::Signals)?;
    let loaded = config::load_with_process_env(&config).map_err(StartError::Config)?;
    report::warnings(&loaded.warnings);
    let world = World::connect(loaded.config)?;
    let live = Live::start(Clock, config, world)?;
    Ok(live.run(signals).await)
}
