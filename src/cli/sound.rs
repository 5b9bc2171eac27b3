//! What a command reads before its work: all that is wrong with it is shown, and only what is sound is handed on.

use std::io::Write as _;
use std::path::Path;

use crate::config::{self, Config, Diagnostics, Loaded};

/// The configuration of a main file for a command that asks its source and tells nobody; its warnings are shown.
/// `undone` says what a broken one keeps from being done: `nothing was replayed`.
pub fn configuration(file: &Path, undone: &str) -> anyhow::Result<Config> {
    loaded(config::load_for_source(file), undone)
}

/// The same of a configuration that was read in another way.
pub fn loaded(read: Result<Loaded, Diagnostics>, undone: &str) -> anyhow::Result<Config> {
    let Loaded { config, warnings } = sound(read, "the configuration", undone)?;
    show(&warnings);
    Ok(config)
}

/// What was read of the file that `what` names. If it is broken, all that is wrong with it is shown.
pub fn sound<T>(read: Result<T, Diagnostics>, what: &str, undone: &str) -> anyhow::Result<T> {
    read.map_err(|diagnostics| {
        show(&diagnostics);
        anyhow::anyhow!("{what} is broken; {undone}")
    })
}

/// Prints to stderr; anstream drops the colours where they are not wanted (`NO_COLOR`, no terminal).
pub fn show(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        // Whoever closed it does not hear it.
        let _ = write!(anstream::stderr(), "{}", diagnostics.render(true));
    }
}
