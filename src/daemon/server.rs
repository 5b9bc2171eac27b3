//! The HTTP server: questions go to the loop, answers come from there; nothing here touches the daemon's state.

mod api;

mod page;

mod prometheus;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::engine::time::Duration;
use crate::telemetry::metrics::Durations;

use super::StartError;
use super::event::{Event, Request};
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
    pub fn bind(listen: SocketAddr, asker: Asker, durations: Arc<Durations>) -> Result<Self, StartError> {
        let failed = |why| StartError::Listen { address: listen, why };
        let (listener, address) = open(listen).map_err(failed)?;
        let router = api::router(asker.clone(), durations.clone());
        let task = tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            if let Err(why) = axum::serve(listener, service).await {
                tracing::error!(%why, "the HTTP server ended");
            }
        });
        Ok(Self { listen, address, asker, durations, task })
    }

    /// Where it listens; the port is a real one where the configuration has 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Moves to another address, if it is another. Stays where it is if it cannot.
    pub fn listen_on(&mut self, listen: SocketAddr) -> Result<(), StartError> {
        if listen != self.listen {
            *self = Self::bind(listen, self.asker.clone(), self.durations.clone())?;
            tracing::info!(listen = %self.address, "listening elsewhere");
        }
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

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        let asked = async {
            self.events.send(Event::Asked(request(sender))).await.map_err(|_| NoAnswer)?;
            receiver.await.map_err(|_| NoAnswer)
        };
        tokio::time::timeout(PATIENCE.to_std(), asked).await.unwrap_or(Err(NoAnswer))
    }
}
