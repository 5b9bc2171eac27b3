//! Incidents that are known to have happened, as somebody wrote them down: what a replay's pages are judged by.
//!
//! A file is YAML or CSV. Both become the same tree, so that a mistake in either is told in the same way, with its place.
//!
//! ```yaml
//! incidents:
//!   - {journey: checkout, layer: database, start: 2026-03-03T19:20:00Z, end: 2026-03-03T19:45:00Z, note: pool exhausted}
//! ```
//!
//! ```csv
//! journey,layer,start,end,note
//! checkout,database,2026-03-03T19:20:00Z,2026-03-03T19:45:00Z,pool exhausted
//! ```

mod csv;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::Spec;
use crate::engine::time::Timestamp;

use super::decode::{Decode, Definitions, Findings, Spanned, object, scalar};
use super::diagnostic::{Diagnostic, Diagnostics, Span};
use super::files::{Disk, Files};
use super::units;
use super::validate::unknown;
use super::yaml::{self, Node};

/// Larger files are refused unread: years of incidents are a few hundred KiB.
const MAX_FILE_BYTES: usize = 4 << 20;
/// More are no record of what happened but an alert log.
const MAX_INCIDENTS: usize = 10_000;
/// Seconds beyond this are in fact milliseconds: it is the year 5138.
const MAX_UNIX_S: f64 = 1e11;

/// Something that did happen, in `[start, end]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Known {
    pub journey: String,
    /// `None` for the journey as a whole, or where nobody knows.
    pub layer: Option<String>,
    pub start: Timestamp,
    /// Later than `start`.
    pub end: Timestamp,
    pub note: Option<String>,
}

/// A file of incidents that was read.
#[derive(Debug)]
pub struct KnownIncidents {
    /// In the order of the file.
    pub list: Vec<Known>,
    /// Where each of them stands.
    spans: Vec<Span>,
    /// Name and text, for messages.
    file: (String, String),
}

object! {
    "a file of incidents"
    File {
        /// What is known to have happened.
        incidents: Vec<Spanned<Incident>>, required;
    }
}

object! {
    "an incident"
    Incident {
        /// The journey that suffered.
        journey: String, required;
        /// The layer at fault; only what names it counts then.
        layer: String;
        /// When requests began to suffer: RFC 3339, or Unix seconds.
        start: Instant, required;
        /// When they no longer did.
        end: Instant, required;
        /// What it was, in words.
        note: String;
    }
}

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant(Timestamp);

impl Decode for Instant {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, ("a point in time", "2026-03-01T12:00:00Z, or Unix seconds"), |text| {
            instant(text).map(Instant)
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "number"] })
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    if let Some(at) = units::instant(text) {
        return Ok(at);
    }
    match text.parse::<f64>() {
        Ok(unix_s) if unix_s.abs() < MAX_UNIX_S => Ok(Timestamp::from_unix_ms((unix_s * 1000.0).round() as i64)),
        Ok(unix_ms) if unix_ms.abs() < MAX_UNIX_S * 1000.0 => Err("these are milliseconds".to_owned()),
        Ok(_) => Err(String::new()),
        // A zone that is left out is the most common mistake, and a guess at it would shift every delay by hours.
        Err(_) if units::instant(&format!("{text}Z")).is_some() => {
            Err(format!("the zone is missing: write '{text}Z' if it is UTC"))
        }
        Err(_) => Err(String::new()),
    }
}

impl Known {
    /// `journey/layer`, or the journey alone.
    pub fn place(&self) -> String {
        match &self.layer {
            Some(layer) => format!("{}/{layer}", self.journey),
            None => self.journey.clone(),
        }
    }
}

impl KnownIncidents {
    /// Reads a file of incidents of the journeys in `spec`.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn load(path: &Path, spec: &Spec) -> Result<Self, Diagnostics> {
        let text = Disk
            .read(path, MAX_FILE_BYTES)
            .map_err(|error| Diagnostics::unreadable(format!("cannot read '{}': {error}", path.display())))?;
        Self::parse(&path.display().to_string(), &text, spec)
    }

    /// [`Self::load`] from a text; `name` ends with `.csv`, `.yml` or `.yaml`, or the text tells what it is.
    pub fn parse(name: &str, text: &str, spec: &Spec) -> Result<Self, Diagnostics> {
        let mut findings = Findings::default();
        let tree =
            if is_csv(name, text) { csv::parse(text, &mut findings) } else { yaml::parse(text, 0, &mut findings.list) };
        if tree.is_none() && findings.list.is_empty() {
            let help = match is_csv(name, text) {
                true => "write the first line alone for none: journey,start,end",
                false => "write 'incidents: []' for none",
            };
            findings.add(Diagnostic::nowhere(format!("'{name}' is empty")).help(help));
        }
        let file = tree.and_then(|tree| File::decode(&tree, &mut findings));
        let found = file.map_or(Vec::new(), |file| incidents(&file, spec, &mut findings));
        let (list, spans) = found.into_iter().unzip();
        let diagnostics = Diagnostics::new(vec![(name.to_owned(), text.to_owned())], findings);
        if diagnostics.has_errors() {
            return Err(diagnostics);
        }
        Ok(Self { list, spans, file: (name.to_owned(), text.to_owned()) })
    }

    /// Warnings of those that do not lie within `[from, to]`: nobody can say how a replay of it fares in them.
    pub fn outside(&self, from: Timestamp, to: Timestamp) -> Diagnostics {
        let mut findings = Findings::default();
        for (known, span) in self.list.iter().zip(&self.spans).filter(|(known, _)| known.start < from || known.end > to)
        {
            let diagnostic =
                Diagnostic::warning(*span, "this incident is not within the replayed range, so it does not count");
            let (start, end) = (known.start, known.end);
            let help = if start < from {
                format!("--from {start} or earlier takes it in, if history goes back that far")
            } else {
                format!("--to {end} or later takes it in, if history goes that far")
            };
            findings.add(diagnostic.help(help));
        }
        Diagnostics::new(vec![self.file.clone()], findings)
    }
}

fn is_csv(name: &str, text: &str) -> bool {
    let extension = Path::new(name).extension().map(|extension| extension.to_ascii_lowercase());
    match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("csv") => true,
        Some("yml" | "yaml") => false,
        _ => csv::seems_so(text),
    }
}

fn incidents(file: &File, spec: &Spec, findings: &mut Findings) -> Vec<(Known, Span)> {
    let mut raw = file.incidents.value().map_or(&[][..], Vec::as_slice);
    if let Some(extra) = raw.get(MAX_INCIDENTS) {
        findings.error(extra.span, format!("more than {MAX_INCIDENTS} incidents"));
        raw = &raw[..MAX_INCIDENTS];
    }
    let mut layers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for slo in &spec.slos {
        layers.entry(&slo.journey).or_default().extend(slo.layer.as_deref());
    }
    let mut first: BTreeMap<Known, Span> = BTreeMap::new();
    let mut out = Vec::new();
    for Spanned { value: raw, span } in raw {
        let Some(known) = incident(raw, &layers, findings) else { continue };
        let unnoted = Known { note: None, ..known.clone() };
        if let Some(first) = first.get(&unnoted) {
            let diagnostic = Diagnostic::error(*span, "the same incident stands here twice").also(*first, "first here");
            findings.add(diagnostic.help("remove one of the two: it would count twice"));
            continue;
        }
        first.insert(unnoted, *span);
        out.push((known, *span));
    }
    out
}

/// `None` once what is wrong has been reported.
fn incident(raw: &Incident, layers: &BTreeMap<&str, BTreeSet<&str>>, findings: &mut Findings) -> Option<Known> {
    if let Some(journey) = raw.journey.get() {
        match layers.get(journey.value.as_str()) {
            None => unknown(journey, "journey", layers.keys().copied(), findings),
            Some(layers) => {
                let stranger = raw.layer.get().filter(|layer| !layers.contains(layer.value.as_str()));
                if let Some(layer) = stranger {
                    let what = format!("layer of '{}' named", journey.value);
                    unknown(layer, &what, layers.iter().copied(), findings);
                }
            }
        }
    }
    let (start, end) = (raw.start.get()?, raw.end.get());
    let end = end?;
    if end.value.0 == start.value.0 {
        let diagnostic = Diagnostic::error(end.span, "it ends as it begins").also(start.span, "it begins here");
        findings.add(diagnostic.help("write when requests suffered no longer"));
        return None;
    }
    if end.value.0 < start.value.0 {
        let message = format!("it ends ({}) before it begins ({})", end.value.0, start.value.0);
        findings.add(Diagnostic::error(end.span, message).also(start.span, "it begins here").help("swap the two?"));
        return None;
    }
    Some(Known {
        journey: raw.journey.value()?.clone(),
        layer: raw.layer.value().cloned(),
        start: start.value.0,
        end: end.value.0,
        note: raw.note.value().cloned(),
    })
}
