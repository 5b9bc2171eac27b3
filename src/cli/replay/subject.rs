//! What is replayed: a configuration, or, with `--compare`, two of them side by side.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Format, UNDONE, page};
use crate::cli::sound;
use crate::config::incidents::Known;
use crate::config::{self, Config};
use crate::engine::silence::Silence;
use crate::engine::time::Timestamp;
use crate::replay::compare::{self, Comparison, Judged, Pair};
use crate::replay::report::{Observed, observe};
use crate::replay::{Document, Given, Progress, ReplayError, Replayed, replay_from};
use crate::source::reader::{Origin, Reader};
use crate::zone::Zone;

pub enum Subject {
    One(Box<Config>),
    Two { pair: Box<Pair>, files: [PathBuf; 2] },
}

/// What came of it.
pub enum Found {
    /// With what a page shows beside the document, if one is asked for.
    One {
        replayed: Box<Replayed>,
        observed: Option<Box<Observed>>,
    },
    Two(Box<compare::Replayed>),
}

impl Subject {
    /// Reads the main file, and the file it is compared with; shows all that is wrong with them.
    pub fn read(file: &Path, other: Option<&Path>, origin: &Origin, format: Format) -> anyhow::Result<Self> {
        if other.is_some() && format == Format::Html {
            anyhow::bail!("a comparison has no page: write --format text or json, or replay each by itself");
        }
        let first = sound::configuration(file, origin, UNDONE)?;
        let Some(other) = other else { return Ok(Self::One(Box::new(first))) };
        let second = config::load_other_needing(sound::secrets(origin), file, other);
        let second = sound::sound(second, "the configuration to compare with", UNDONE)?;
        sound::show(&second.warnings);
        let pair = Box::new(Pair::new(first, second.config)?);
        Ok(Self::Two { pair, files: [file.to_owned(), other.to_owned()] })
    }

    /// What must be read for it.
    pub fn config(&self) -> &Config {
        match self {
            Self::One(config) => config,
            Self::Two { pair, .. } => pair.union(),
        }
    }

    pub fn silence(&mut self, silences: &[Silence]) {
        match self {
            Self::One(config) => Arc::make_mut(&mut config.spec).silences = silences.to_vec(),
            Self::Two { pair, .. } => pair.silence(silences),
        }
    }

    pub async fn replay(
        &self,
        reader: Reader,
        (from, to): (Timestamp, Timestamp),
        format: Format,
        given: &Given,
        progress: impl FnMut(Progress) -> bool,
    ) -> Result<Found, ReplayError> {
        match (self, format) {
            (Self::One(config), Format::Html) => {
                let (replayed, observed) = observe(config, reader, from, to, given, progress).await?;
                Ok(Found::One { replayed: Box::new(replayed), observed: Some(Box::new(observed)) })
            }
            (Self::One(config), Format::Text | Format::Json) => {
                let replayed = replay_from(config, reader, from, to, given, progress).await?;
                Ok(Found::One { replayed: Box::new(replayed), observed: None })
            }
            (Self::Two { pair, .. }, _) => {
                Ok(Found::Two(Box::new(pair.replay(reader, (from, to), given, progress).await?)))
            }
        }
    }

    pub fn write(&self, found: &Found, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match (self, found, format) {
            (Self::Two { pair, files }, Found::Two(replayed), _) => {
                let comparison = comparison(pair, files, &replayed.documents);
                match format {
                    Format::Json => comparison.write_json(out)?,
                    Format::Text | Format::Html => write!(out, "{comparison}")?,
                }
            }
            (Self::One(config), Found::One { replayed, observed: Some(observed) }, _) => {
                out.write_all(page::page(config, replayed, observed).as_bytes())?;
            }
            (_, _, Format::Json) => found.document().write_json(out)?,
            (_, _, Format::Text | Format::Html) => write!(out, "{}", found.document())?,
        }
        out.flush()
    }
}

fn comparison(pair: &Pair, files: &[PathBuf; 2], documents: &[Document; 2]) -> Comparison {
    let names = files.each_ref().map(|file| file.display().to_string());
    let judged =
        |index: usize| Judged { name: &names[index], spec: &pair.configs()[index].spec, document: &documents[index] };
    Comparison::new(judged(0), judged(1))
}

impl Found {
    /// The only one, or the first: as far as ranges go they are the same.
    pub fn document(&self) -> &Document {
        match self {
            Self::One { replayed, .. } => &replayed.document,
            Self::Two(replayed) => &replayed.documents[0],
        }
    }

    fn documents(&self) -> &[Document] {
        match self {
            Self::One { replayed, .. } => std::slice::from_ref(&replayed.document),
            Self::Two(replayed) => &replayed.documents,
        }
    }

    /// Whether there was any series; a configuration without SLOs looks for none.
    pub fn has_seen(&self) -> bool {
        self.documents().iter().any(|document| document.has_counted || document.unseen.is_empty())
    }

    /// Of each of them, the SLOs of which nothing was seen; of the second those that the first has not named.
    pub fn unseen(&self) -> Vec<Vec<String>> {
        let mut named = BTreeSet::new();
        let unnamed = |document: &Document| {
            document.unseen.iter().filter(|place| named.insert((*place).clone())).cloned().collect()
        };
        self.documents().iter().map(unnamed).collect()
    }

    pub fn judge(&mut self, zone: &Zone, known: Option<&[Known]>) {
        match self {
            Self::One { replayed, .. } => replayed.document.judge(zone, known),
            Self::Two(replayed) => replayed.documents.iter_mut().for_each(|document| document.judge(zone, known)),
        }
    }

    /// Why reading ended early, if it did; told once.
    pub fn broken(&mut self) -> Option<ReplayError> {
        match self {
            Self::One { replayed, .. } => replayed.broken.take(),
            Self::Two(replayed) => replayed.broken.take(),
        }
    }
}
