//! What a replay is judged by: a file of known incidents, and whose night it is.

use std::path::Path;
use std::str::FromStr;

use chrono_tz::{TZ_VARIANTS, Tz};

use super::UNDONE;
use crate::cli::sound;
use crate::config::incidents::KnownIncidents;
use crate::config::{Config, nearest};
use crate::engine::time::Timestamp;
use crate::replay::Given;

/// A time zone by its name.
#[derive(Debug, Clone, Copy)]
pub struct TimeZone(pub Tz);

impl FromStr for TimeZone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        known.map(|zone| Self(*zone)).ok_or_else(|| match nearest(name, TZ_VARIANTS.iter().map(|zone| zone.name())) {
            Some(near) => format!("there is no time zone '{name}'; did you mean '{near}'?"),
            None => format!("there is no time zone '{name}'; write UTC or a name such as Europe/Berlin"),
        })
    }
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
