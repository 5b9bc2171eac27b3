//! The signals a daemon obeys.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::event::Event;

/// SIGHUP reloads, SIGTERM and SIGINT stop.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::StopAsked,
            _ = self.interrupt.recv() => Event::StopAsked,
            _ = self.hangup.recv() => Event::ReloadAsked,
        }
    }
}
