//! The HTTP server: questions go to the loop, answers come from there; nothing here touches the daemon's state.

mod api;

mod doors;

mod entrance;

mod guard;

mod page;

mod prometheus;

mod silences;

pub(crate) use self::silences::{PostedMatcher, read_matcher};

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config;
use crate::engine::silence::Silence;
use crate::engine::time::Duration;
use crate::telemetry::metrics::Durations;

use self::guard::Guard;
use super::StartError;
use super::event::{Event, Request};
use super::silences::{Made, NotMade, Wanted};
use super::status::Status;

/// The loop answers in microseconds, except while it takes in a large slice of history.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server in force. Dropping it closes its port.
#[derive(Debug)]
pub struct Server {
    listen: SocketAddr,
    address: SocketAddr,
    asker: Asker,
    durations: Arc<Durations>,
    tls: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
    guard: watch::Sender<Arc<Guard>>,
    task: JoinHandle<()>,
}

/// How handlers speak to the loop.
#[derive(Debug, Clone)]
pub struct Asker {
    events: mpsc::Sender<Event>,
}

/// The loop did not answer in time, or is gone.
#[derive(Debug)]
pub struct NoAnswer;

impl Server {
    pub fn bind(config: &config::Server, asker: Asker, durations: Arc<Durations>) -> Result<Self, StartError> {
        let listen = config.listen;
        let (listener, address) = open(listen).map_err(|why| StartError::Listen { address: listen, why })?;
        let (tls, newest_tls) = watch::channel(tls(config)?);
        let (guard, newest_guard) = watch::channel(Arc::new(Guard::new(config.access.clone())));
        let router = api::router(asker.clone(), durations.clone(), newest_guard);
        let task = tokio::spawn(doors::open(listener, newest_tls, router));
        Ok(Self { listen, address, asker, durations, tls, guard, task })
    }

    /// Where it listens; the port is a real one where the configuration has 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes by another configuration, at another address if it has one. Stays as it is if it cannot.
    pub fn follow(&mut self, config: &config::Server) -> Result<(), StartError> {
        if config.listen != self.listen {
            *self = Self::bind(config, self.asker.clone(), self.durations.clone())?;
            tracing::info!(listen = %self.address, "listening elsewhere");
            return Ok(());
        }
        self.tls.send_replace(tls(config)?);
        self.guard.send_replace(Arc::new(Guard::new(config.access.clone())));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open(listen: SocketAddr) -> io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn tls(config: &config::Server) -> Result<Option<Arc<rustls::ServerConfig>>, StartError> {
    config.tls.as_ref().map(config::ServerTls::for_rustls).transpose().map_err(StartError::Tls)
}

impl Asker {
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events }
    }

    pub async fn status(&self) -> Result<Arc<Status>, NoAnswer> {
        self.ask(Request::Status).await
    }

    /// Whether the daemon evaluates, or why not.
    pub async fn ready(&self) -> Result<Result<(), String>, NoAnswer> {
        self.ask(Request::Ready).await
    }

    /// Returns once the new configuration is in force, or why it is not.
    pub async fn reload(&self) -> Result<Result<(), String>, NoAnswer> {
        self.ask(Request::Reload).await
    }

    /// Makes a silence, or replaces one.
    pub async fn silence(&self, wanted: Wanted) -> Result<Result<Made, NotMade>, NoAnswer> {
        self.ask(|reply| Request::Silence(Box::new(wanted), reply)).await
    }

    /// Ends a silence and returns it; `None` if there is none.
    pub async fn unsilence(&self, id: String) -> Result<Option<Silence>, NoAnswer> {
        self.ask(|reply| Request::Unsilence(id, reply)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        let asked = async {
            self.events.send(Event::Asked(request(sender))).await.map_err(|_| NoAnswer)?;
            receiver.await.map_err(|_| NoAnswer)
        };
        tokio::time::timeout(PATIENCE.to_std(), asked).await.unwrap_or(Err(NoAnswer))
    }
}
