//! What a command reads before its work: all that is wrong with it is shown, and only what is sound is handed on.

use std::io::Write as _;
use std::path::Path;

use crate::config::{self, Config, Diagnostics, Loaded, Secrets};
use crate::source::reader::Origin;

/// The configuration of a main file for a command that reads history from `origin` and tells nobody; its warnings are
/// shown. `undone` says what a broken one keeps from being done: `nothing was replayed`.
pub fn configuration(file: &Path, origin: &Origin, undone: &str) -> anyhow::Result<Config> {
    loaded(config::load_needing(secrets(origin), file), undone)
}

/// The secrets that reading history needs.
pub fn secrets(origin: &Origin) -> Secrets {
    match origin {
        Origin::Source => Secrets::OfSource,
        Origin::Recording(_) | Origin::Tsdb(_) => Secrets::Spare,
    }
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
