//! From what the user wrote to what the program needs: defaults filled in, names resolved, secrets read, and every
//! contradiction reported. Nothing here stops at the first mistake; a part that cannot be built is left out, and the
//! caller refuses the whole if anything was an error.

mod alertmanager;
mod cron;
mod digests;
mod heartbeat;
mod hours;
mod http;
mod journeys;
mod matchers;
mod names;
mod reach;
mod receivers;
mod routes;
mod rules;
mod server;
mod source;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::time::Duration;
use crate::engine::{Spec, flapping};

use super::Config;
use super::decode::{Field, Findings, Spanned};
use super::diagnostic::{Diagnostic, Span};
use super::files::Files;
use super::raw;

pub(super) use self::names::{OWN_LABELS, unknown};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const SHORTEST_INTERVAL: Duration = Duration::from_ms(100);
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);

/// What validation needs beside the values.
pub(super) struct Context<'a> {
    pub findings: &'a mut Findings,
    pub files: &'a dyn Files,
    /// The files that were read and their texts, by the index in a [`Span`].
    pub read: &'a [(PathBuf, String)],
    pub interval: Duration,
    pub secrets: Secrets,
}

/// Which secrets are needed, and so what it means that the file of one, or of a certificate, cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// All of them: it is an error.
    Needed,
    /// Those of the source, as nobody is told anything: with others it is nothing.
    OfSource,
    /// None, as nobody is asked, either, and a CI need not know them: what it would hold is made up.
    Spare,
}

/// The configuration, if all of its parts could be built; it is only sound if no finding is an error.
pub(super) fn validate(main: &raw::Main, rule_files: &[raw::RuleFile], context: Context<'_>) -> Option<Config> {
    let mut context = Context { interval: interval(&main.interval, context.findings), ..context };
    let parts: Vec<&raw::RuleFile> = std::iter::once(&main.shared).chain(rule_files).collect();

    let source = main.source.value().and_then(|raw| source::source(raw, &mut context));
    if context.secrets == Secrets::OfSource {
        context.secrets = Secrets::Spare;
    }
    let state = state::state(main.state.value(), &mut context);
    let server = server::server(main.server.value(), &mut context);
    let heartbeat = main.heartbeat.value().and_then(|raw| heartbeat::heartbeat(raw, &mut context));
    let catalogue = rules::Catalogue::new(&parts, &mut context);
    let journeys = journeys::journeys(&parts, &catalogue, &mut context);
    let receivers = receivers::receivers(&main.receivers, &mut context);
    let vocabulary = matchers::Vocabulary::new(&parts);
    let routing = routes::routing(main, &receivers.names, &vocabulary, &mut context);
    let digests = digests::digests(&main.digests, &receivers, &vocabulary, &mut context);
    let mut hours = routing.as_ref().map_or(Vec::new(), |routing| routing.hours.clone());
    let maintenance = hours::maintenance(&main.maintenance, &vocabulary, &mut hours, &mut context);
    receivers::report_unused(main, &receivers, routing.as_ref(), &digests, &mut context);

    let (source, blind_after) = source?;
    let routing = routing?;
    let (slos, selectors) = journeys.into_iter().unzip();
    let spec = Spec {
        interval: context.interval,
        blind_after,
        flapping_within: flapping::WITHIN,
        slos,
        group_by: routing.group_by,
        route: routing.root,
        receivers: receivers.specs,
        hours,
        maintenance,
        digests,
        silences: Vec::new(),
    };
    let files = context.read.iter().map(|(path, _)| path.clone()).collect();
    Some(Config {
        spec: Arc::new(spec),
        selectors,
        source,
        receivers: receivers.built,
        state,
        server,
        heartbeat,
        files,
    })
}

fn interval(field: &Field<Duration>, findings: &mut Findings) -> Duration {
    let Some(Spanned { value, span }) = field.get() else { return DEFAULT_INTERVAL };
    if *value < SHORTEST_INTERVAL || *value > LONGEST_INTERVAL {
        let message = format!("an interval of {value} is not between {SHORTEST_INTERVAL} and {LONGEST_INTERVAL}");
        findings.error(*span, message);
        return DEFAULT_INTERVAL;
    }
    *value
}

impl Context<'_> {
    /// The place `at` bytes into a text value, or the whole value if it does not stand in the file as it was read
    /// (escapes, folded lines, the environment).
    fn inside(&self, value: &Spanned<String>, at: usize) -> Span {
        let whole = value.span;
        let written = self.read.get(usize::from(whole.file)).and_then(|(_, text)| {
            let slice = text.get(whole.start as usize..whole.end as usize)?;
            slice.find(&value.value)
        });
        let Some(offset) = written else { return whole };
        let start = whole.start + (offset + at) as u32;
        let length = value.value.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        Span { start, end: start + length as u32, ..whole }
    }

    /// The text of the file of a secret; `made_up` if it cannot be read and need not be.
    fn read_secret(
        &mut self,
        value: &Spanned<String>,
        max_bytes: usize,
        made_up: impl Fn() -> String,
    ) -> Option<String> {
        if self.secrets == Secrets::Spare && self.files.read(&self.named(value), max_bytes).is_err() {
            return Some(made_up());
        }
        self.read_named(value, max_bytes)
    }

    fn named(&self, value: &Spanned<String>) -> PathBuf {
        let base = self.read.get(usize::from(value.span.file)).and_then(|(path, _)| path.parent());
        base.unwrap_or(Path::new("")).join(&value.value)
    }

    /// The text of a file that a value names, relative to the file the value stands in.
    fn read_named(&mut self, value: &Spanned<String>, max_bytes: usize) -> Option<String> {
        let path = self.named(value);
        match self.files.read(&path, max_bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = format!("cannot read '{}': {error}", path.display());
                self.findings.add(Diagnostic::error(value.span, message));
                None
            }
        }
    }
}
