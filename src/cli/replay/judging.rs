//! What a replay is judged by: a file of known incidents, and whose night it is.

use std::path::Path;

use super::UNDONE;
use crate::cli::sound;
use crate::config::incidents::KnownIncidents;
use crate::config::{Config, nearest};
use crate::engine::time::Timestamp;
use crate::replay::Given;
use crate::zone::Zone;

/// The time zone of this name, or why there is none.
pub fn time_zone(name: &str) -> Result<Zone, String> {
    Zone::named(name).ok_or_else(|| match nearest(name, Zone::names().iter().map(String::as_str)) {
        Some(near) => format!("there is no time zone '{name}'; did you mean '{near}'?"),
        None => format!("there is no time zone '{name}'; write UTC or a name such as Europe/Berlin"),
    })
}

/// Reads the file, if there is one; shows all that is wrong with it.
pub fn read(file: Option<&Path>, config: &Config) -> anyhow::Result<Option<KnownIncidents>> {
    let Some(file) = file else { return Ok(None) };
    sound::sound(KnownIncidents::load(file, &config.spec), "the file of incidents", UNDONE).map(Some)
}

/// What a replay of `[from, to]` is told; warns of incidents that are not within it.
pub fn given(incidents: Option<&KnownIncidents>, from: Timestamp, to: Timestamp) -> Given {
    let Some(incidents) = incidents else { return Given::default() };
    sound::show(&incidents.outside(from, to));
    Given { known: incidents.list.clone() }
}
