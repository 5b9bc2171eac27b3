//! A replay as one page that needs nothing else: no server, no font, no picture, no script from elsewhere. It can be
//! attached to a postmortem, opened on a train and printed.
//!
//! What it shows was decided by the engine and rendered by the receivers' own code, which hands the texts in: nothing here
//! words a message, and no secret is within reach. The same replay makes the same bytes.

mod axis;
mod layer;
mod overview;
mod plot;
pub mod samples;
mod scores;
mod timeline;
mod told;
mod words;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use self::axis::TimeAxis;
use self::layer::{Layer, MAX_PLOTTED, layers};
use self::samples::Samples;
use self::timeline::Incidents;
use self::told::Listing;
use super::document::Document;
use super::driver::{self, Given, Progress, Recorder, ReplayError, Replayed};
use super::score::Known;
use crate::config::Config;
use crate::engine::Spec;
use crate::engine::notification::Notification;
use crate::engine::time::Timestamp;
use crate::source::prometheus::{Detail, History};
use crate::source::reader::Reader;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The numbers of all plots together, in values, beyond which stretches are made longer: some two megabytes of a page.
const MAX_VALUES: usize = 100_000;

/// A notification as its receiver would have read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// `Slack`, `Mail`.
    pub channel: &'static str,
    pub title: String,
    /// Lines.
    pub text: String,
    /// What is to be known beside: a template that failed.
    pub note: Option<String>,
}

/// All that a page shows.
pub struct Report<'a> {
    pub spec: &'a Spec,
    pub document: &'a Document,
    pub samples: &'a Samples,
    /// Those of the document, in full.
    pub notifications: &'a [Arc<Notification>],
    /// One for each notification.
    pub readings: &'a [Reading],
    /// Why reading ended before the range did, if so. Free of secrets.
    pub broken: Option<String>,
}

/// What a replay leaves behind beside its document.
#[derive(Debug)]
pub struct Observed {
    pub samples: Samples,
    /// Those of the document, in full.
    pub notifications: Vec<Arc<Notification>>,
}

/// Replays `[from, to]` as [`super::replay_from`] does, with all buckets, and keeps what every SLO measured.
pub async fn observe(
    config: &Config,
    reader: Reader,
    from: Timestamp,
    to: Timestamp,
    given: &Given,
    progress: impl FnMut(Progress) -> bool,
) -> Result<(Replayed, Observed), ReplayError> {
    let interval = config.spec.interval;
    let mut samples = Samples::new(config.spec.clone(), from.align_up(interval), to.align_down(interval));
    let take = |recorder: &mut Recorder, history: &History| {
        recorder.take_observed(history, |engine, slot| samples.look(engine, slot));
    };
    let (recorder, broken) = driver::drive(config, reader, (from, to), Detail::Buckets, given, progress, take).await?;
    let notifications = recorder.notifications().to_vec();
    let observed = Observed { samples: samples.light(), notifications };
    Ok((Replayed { document: recorder.finish(), broken }, observed))
}

impl Samples {
    /// In stretches so long that a page of them is light.
    pub fn light(self) -> Self {
        let tracks: usize = self.slos.iter().take(MAX_PLOTTED).map(|slo| slo.tracks.len()).sum();
        let times = (tracks * self.stretches).div_ceil(MAX_VALUES);
        self.coarser(times)
    }
}

impl Report<'_> {
    /// Incidents that are known to have happened, if somebody wrote them down.
    fn known(&self) -> Vec<&Known> {
        let score = self.document.score.iter();
        score.flat_map(|score| score.incidents.iter().map(|it| &it.known).chain(&score.not_counted)).collect()
    }

    /// The whole page.
    pub fn page(&self) -> String {
        let layers = layers(self);
        let news = told::news(self.notifications);
        let incidents = Incidents::of_report(self);
        let document = self.document;
        let summary = html! {
            (overview::warnings(self, &layers))
            (overview::figures(self, &layers))
            (overview::budgets(self, &layers))
            (scores::sections(self))
        };
        let plots = plots(self, &layers);
        let end = html! { (overview::held_back(self)) (shared(self, &layers)) };
        // What is told takes the room that all else leaves.
        let draft = incidents.section(self, &news, |_| true);
        let rest: usize = [&summary, &plots, &end, &draft].iter().map(|part| part.0.len()).sum();
        let room = told::room(rest + STYLE.len() + SCRIPT.len());
        let listing = Listing::fit(self, &news, &incidents, room);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    // Without it a browser asks the server for one.
                    link rel="icon" href="data:,";
                    title { "slowburn replay, " (words::time(document.from)) " to " (words::time(document.to)) " UTC" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the report" }
                    header {
                        h1 { "slowburn replay" }
                        (overview::heading(self))
                        button.theme type="button" hidden { "Dark" }
                    }
                    (contents(document, &layers))
                    main id="main" tabindex="-1" {
                        (summary)
                        (incidents.section(self, &news, |index| listing.has(index)))
                        (plots)
                        (told::section(self, &news, &listing))
                        (end)
                    }
                    footer {
                        "slowburn " (env!("CARGO_PKG_VERSION")) ". All times are UTC. A point of a curve is "
                        (self.samples.stretch) "."
                    }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
        .into_string()
    }
}

/// Nothing is loaded from anywhere, and nothing runs but the page's own script.
fn policy() -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; base-uri 'none'; \
         form-action 'none'"
    )
}

fn contents(document: &Document, layers: &[Layer<'_>]) -> Markup {
    let sections = [
        ("budgets", "Budgets", true),
        ("score", "Score", document.score.is_some()),
        ("noise", "Noise", document.statistics.is_some()),
        ("incidents", "Incidents", true),
        ("layers", "Plots", true),
        ("notifications", "Notifications", true),
        ("held-back", "Held back", true),
    ];
    html! {
        nav aria-label="Contents" {
            ul {
                @for (id, name, _) in sections.iter().filter(|it| it.2) { li { a href={ "#" (id) } { (name) } } }
            }
            ul.layers { @for layer in layers { li { a href={ "#" (layer.id) } { (layer.name) } } } }
        }
    }
}

fn plots(report: &Report<'_>, layers: &[Layer<'_>]) -> Markup {
    let slots = report.samples.stretch.in_slots(report.spec.interval);
    html! {
        section id="layers" aria-labelledby="layers-h" {
            h2 id="layers-h" { "Burn rates, latencies and budgets" }
            p.about {
                "All plots share one time axis. "
                @if slots > 1 {
                    "A point is " (report.samples.stretch) ", " (slots) " evaluations: the curve goes through its highest value \
                     (for what is left of a budget its lowest), and behind the strongest a shade spans all of them. "
                } @else { "A point is one evaluation. " }
                "Behind the curves stand the journey's incidents; the strip at the top tells at which stage the rule's alert \
                 stood, thin for warning and thick for critical. "
                @if !report.known().is_empty() { "Dark bars at the bottom are incidents that are known to have happened. " }
                "Hatched is what was not seen, and the strip at the bottom marks what was seen in part."
            }
            @if layers.len() > MAX_PLOTTED {
                p.notice role="note" {
                    strong { (layers.len() - MAX_PLOTTED) " of " (layers.len()) " SLOs are not plotted. " }
                    "Those that came nearest to a limit are, and a page with all would be too heavy. The JSON document has \
                     the alerts of all."
                }
            }
            p.about.keyboard hidden {
                "Pointing at a plot tells its values. By keyboard: each SLO has a reader before its plots, on which left and right \
                 move through time and up and down from plot to plot."
            }
            @for layer in layers { (layer.render(report)) }
        }
    }
}

/// What many plots have in common: what unseen time is filled with, round times, and incidents.
fn shared(report: &Report<'_>, layers: &[Layer<'_>]) -> Markup {
    html! {
        svg.unseen width="0" height="0" aria-hidden="true" {
            defs {
                pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    line.hatch x1="0" y1="0" x2="0" y2="6" {}
                }
                (plot::ticks(&TimeAxis::of(report.samples)))
                (layer::incidents(report, layers))
                (layer::known(report))
            }
        }
    }
}
