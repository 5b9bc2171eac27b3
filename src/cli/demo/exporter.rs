//! The simulation as a service that shows metrics: on a real port, for slowburn's own scrapes and anybody else's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::engine::time::Timestamp;

use super::script::Incident;
use super::simulation::Simulation;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A simulation that keeps up with the clock. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Live {
    simulation: Arc<Mutex<Simulation>>,
    pub clock: Clock,
    /// The moment 0 of the simulation.
    pub start: Timestamp,
}

impl Live {
    pub fn new(simulation: Simulation, clock: Clock, start: Timestamp) -> Self {
        Self { simulation: Arc::new(Mutex::new(simulation)), clock, start }
    }

    /// The incident under way, or else the next.
    pub fn incident(&self) -> Option<Incident> {
        self.now(|simulation| simulation.current_or_next().cloned())
    }

    fn now<T>(&self, look: impl FnOnce(&Simulation) -> T) -> T {
        // A simulation is whole after every tick, whatever happened to the thread that held it.
        let mut simulation = self.simulation.lock().unwrap_or_else(PoisonError::into_inner);
        simulation.advance_to(self.clock.now().unix_ms() - self.start.unix_ms());
        look(&simulation)
    }
}

/// Listens where the simulated metrics are to be scraped; a free loopback port unless `address` says where.
pub async fn listen(address: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    let wanted = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    TcpListener::bind(wanted).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => ": something else listens there; choose another port",
            _ => "",
        };
        anyhow::anyhow!("cannot serve the simulated metrics on {wanted}: {error}{hint}")
    })
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, live: Live) -> std::io::Result<()> {
    let metrics = move || async move { ([(CONTENT_TYPE, TEXT_FORMAT)], live.now(Simulation::metrics)) };
    let root = "slowburn's demo: simulated metrics are at /metrics\n";
    let router = Router::new().route("/metrics", get(metrics)).route("/", get(move || async move { root }));
    axum::serve(listener, router).await
}
