//! Reloading: a configuration comes into force as a whole, or not at all.

use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use crate::config::{self, Diagnostics, Loaded};
use crate::engine::time::Timestamp;
use crate::source::Source;

use super::event::Event;
use super::live::Live;
use super::report;
use super::status;
use super::world::World;

/// Told how a reload went.
type Reply = oneshot::Sender<Result<(), String>>;

/// More wait for one reload than this, and the rest hears nothing of its end.
const MAX_REPLIES: usize = 64;

/// The configuration's file, and its loading.
#[derive(Debug)]
pub struct Reloads {
    file: PathBuf,
    last: status::Reload,
    /// Who waits for the loading under way.
    loading: Option<Vec<Reply>>,
    /// Who asked since it began: the files may have changed after they were read.
    again: Option<Vec<Reply>>,
    events: mpsc::Sender<Event>,
}

impl Reloads {
    pub fn new(file: PathBuf, now: Timestamp, events: mpsc::Sender<Event>) -> Self {
        Self { file, last: status::Reload { at: now, error: None }, loading: None, again: None, events }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn last(&self) -> &status::Reload {
        &self.last
    }

    /// Reads the files anew; one reading at a time.
    pub fn start(&mut self, reply: Option<Reply>) {
        let busy = self.loading.is_some();
        let replies = if busy { &mut self.again } else { &mut self.loading }.get_or_insert_default();
        if replies.len() < MAX_REPLIES {
            replies.extend(reply);
        }
        if !busy {
            self.load();
        }
    }

    fn load(&self) {
        let (file, events) = (self.file.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let loaded = config::load_with_process_env(&file);
            // Without a loop there is nobody left to tell.
            let _ = events.blocking_send(Event::Loaded(Box::new(loaded)));
        });
    }

    /// Tells everybody, and starts anew for those who asked meanwhile.
    fn end(&mut self, now: Timestamp, result: Result<(), String>) {
        self.last = status::Reload { at: now, error: result.clone().err() };
        for reply in self.loading.take().into_iter().flatten() {
            // Whoever asked may have gone away.
            let _ = reply.send(result.clone());
        }
        self.loading = self.again.take();
        if self.loading.is_some() {
            self.load();
        }
    }
}

impl Live {
    pub(super) fn loaded(&mut self, loaded: Result<Loaded, Diagnostics>) {
        let result = loaded.map_err(|diagnostics| diagnostics.to_string()).and_then(|loaded| {
            let moved = loaded.config.state.as_ref().map(|state| state.sqlite.as_path()) != self.saves.path();
            if moved {
                // What is under way would be in neither file.
                return Err("'state' names another file, which takes a restart".into());
            }
            let world = World::connect(loaded.config).map_err(|error| error.to_string())?;
            self.server.follow(&world.config.server).map_err(|error| error.to_string())?;
            report::warnings(&loaded.warnings);
            self.adopt(world);
            Ok(())
        });
        match &result {
            Ok(()) => tracing::info!(slos = self.world.config.spec.slos.len(), "configuration reloaded"),
            Err(why) => tracing::error!(why, "configuration not reloaded; the old one stays in force"),
        }
        self.systemd.reloaded();
        self.reloads.end(self.clock.now(), result);
    }

    fn adopt(&mut self, world: World) {
        self.engine.gone(&world.config.spec).iter().for_each(report::gone);
        let complete = self.engine.reload(world.config.spec.clone());
        // Where there is history, the next poll reads it again for all SLOs.
        if !complete && matches!(world.source, Source::Prometheus(_)) {
            self.engine.forget_windows();
        }
        self.world = world;
        self.rosters.adopt(&self.world.config);
        self.polls.restart(&self.world);
    }
}
