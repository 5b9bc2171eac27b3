//! Ctrl-C during what takes long: the first ends it where it is, so that what there is can be shown; one more than there
//! is anything to end ends the command.

use std::ops::Deref;

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::output;
use crate::source::reader::Stop;

/// What a shell says of a command that Ctrl-C ended: 128 and the signal's number.
pub const INTERRUPTED: u8 = 130;

/// A runtime that nobody waits for: a reader in the middle of a file may take its time. Keep it until all is shown, as
/// long as the second Ctrl-C is to be heard.
pub struct Background(Option<Runtime>);

impl Background {
    pub fn new() -> std::io::Result<Self> {
        Runtime::new().map(|runtime| Self(Some(runtime)))
    }
}

impl Deref for Background {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        match &self.0 {
            Some(runtime) => runtime,
            None => unreachable!("it is taken when it is dropped"),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Each becomes true at a Ctrl-C of its own, the first one first; the next Ctrl-C ends the command. Needs a runtime.
pub fn watch<const N: usize>() -> [Stop; N] {
    let channels = [(); N].map(|()| watch::channel(false));
    let stops = channels.each_ref().map(|(_, stopped)| stopped.clone());
    tokio::spawn(async move {
        for (stop, _) in channels {
            if tokio::signal::ctrl_c().await.is_err() {
                // Then it ends the command as ever.
                return;
            }
            // Whoever waits may be gone already.
            let _ = stop.send(true);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            output::discard_drafts();
            std::process::exit(INTERRUPTED.into());
        }
    });
    stops
}
