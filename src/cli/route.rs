//! `slowburn route`: where an alert would go, and why. Reads the configuration alone; sends nothing and asks nobody.

mod labels;
mod show;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use super::{sound, when};
use crate::clock::Clock;
use crate::config::{self, Secrets};
use crate::engine::Spec;
use crate::engine::histogram::Labels;
use crate::engine::route::{Hold, Matcher};
use crate::engine::time::{Duration, Timestamp};

#[derive(Debug, clap::Args)]
pub struct Route {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// The alert's labels, such as journey=checkout,layer=database,stage=critical,urgency=page
    #[arg(long, value_name = "LABELS", required = true)]
    labels: Vec<String>,
    /// When it would be told: RFC 3339, Unix seconds, or an age
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Route) -> anyhow::Result<ExitCode> {
    let config = sound::loaded(config::load_needing(Secrets::Spare, &args.config), "no alert has a way")?;
    let at = when::parse(&args.at, Clock.now()).map_err(anyhow::Error::msg).context("--at")?;
    let spec = &config.spec;
    let (given, known) = labels::read(&args.labels, spec).map_err(anyhow::Error::msg).context("--labels")?;
    let answer = Answer::new(spec, at, given, known);
    let text = if args.json { serde_json::to_string_pretty(&answer)? + "\n" } else { answer.to_string() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if answer.told { super::FINE } else { super::FOUND }.into())
}

/// Where an alert goes, and why.
#[derive(Debug, Serialize)]
struct Answer {
    at: Timestamp,
    /// As they were asked for.
    labels: Labels,
    /// What the configuration adds to them.
    added: Labels,
    /// Whether anybody would be told at once.
    told: bool,
    route: Step,
    receivers: Vec<Receiver>,
    maintenance: Vec<Window>,
    digests: Vec<Digest>,
}

/// A route, and what becomes of the alert there.
#[derive(Debug, Serialize)]
struct Step {
    /// Empty for the root.
    #[serde(rename = "match")]
    matchers: Vec<String>,
    outcome: Outcome,
    /// Which condition does not hold, and what the alert has.
    why: Option<String>,
    #[serde(rename = "continue")]
    goes_on: bool,
    receivers: Vec<String>,
    routes: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The alert ends here.
    Takes,
    /// A route below takes it.
    PassesOn,
    NoMatch,
    /// A sibling before took it.
    NotAsked,
}

#[derive(Debug, Serialize)]
struct Receiver {
    name: String,
    /// `None` for never.
    repeat_interval: Option<Duration>,
    /// Why it would not be told now.
    held: Option<Hold>,
    /// When the active hours it is told by begin or end next.
    hours_change_at: Option<Timestamp>,
    /// Whether it has hours at all.
    has_hours: bool,
    /// Who is told what it refuses, and so on.
    fallbacks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Window {
    name: String,
    open: bool,
    /// When it closes or opens next.
    changes_at: Option<Timestamp>,
    /// Whether requests count meanwhile.
    counts: bool,
}

#[derive(Debug, Serialize)]
struct Digest {
    name: String,
    receivers: Vec<String>,
    next_at: Option<Timestamp>,
    /// A critical page is told by itself, and collected only if it is held back.
    only_if_held: bool,
}

impl Answer {
    fn new(spec: &Spec, at: Timestamp, labels: Labels, added: Labels) -> Self {
        let label = |name: &str| labels.get(name).or_else(|| added.get(name)).map(String::as_str);
        let maintenance = spec.maintenance.iter().filter(|window| window.matches(&label)).map(|window| {
            let hours = &spec.hours[window.hours];
            let (open, changes_at) = (hours.is_open(at), hours.next_change(at));
            Window { name: window.name.clone(), open, changes_at, counts: window.counts }
        });
        let maintenance: Vec<Window> = maintenance.collect();
        let is_maintained = maintenance.iter().any(|window| window.open);
        let mut receivers = receivers(spec, at, &label);
        for receiver in receivers.iter_mut().filter(|_| is_maintained) {
            receiver.held = Some(Hold::Maintenance);
        }
        let is_page = label("stage") == Some("critical") && label("urgency") == Some("page");
        let collects = |matchers: &[Matcher]| matchers.iter().all(|matcher| matcher.matches(&label));
        let digests = spec.digests.iter().filter(|digest| collects(&digest.matchers)).map(|digest| Digest {
            name: digest.name.clone(),
            receivers: names(spec, &digest.receivers),
            next_at: digest.calendar.next_after(at),
            only_if_held: is_page,
        });
        Self {
            at,
            told: receivers.iter().any(|receiver| receiver.held.is_none()),
            route: step(spec, &spec.route, &label),
            receivers,
            maintenance,
            digests: digests.collect(),
            added,
            labels: labels.clone(),
        }
    }
}

fn names(spec: &Spec, receivers: &[usize]) -> Vec<String> {
    receivers.iter().map(|receiver| spec.receivers[*receiver].name.clone()).collect()
}

fn receivers<'a>(spec: &Spec, at: Timestamp, label: &dyn Fn(&str) -> Option<&'a str>) -> Vec<Receiver> {
    let ends = spec.route.ends(label);
    let destinations = spec.route.destinations(label, &|hours| spec.hours[hours].is_open(at));
    let receivers = destinations.into_iter().map(|to| {
        let by = ends.iter().filter(|route| route.receivers.contains(&to.receiver));
        let hours: Vec<_> = by.map(|route| route.active.map(|hours| &spec.hours[hours])).collect();
        // One route without hours is enough to be told at all times.
        let hours = hours.into_iter().collect::<Option<Vec<_>>>();
        let changes = hours.iter().flatten().filter_map(|hours| hours.next_change(at));
        let mut fallbacks = Vec::new();
        let mut next = spec.receivers[to.receiver].fallback;
        while let Some(fallback) = next.filter(|next| !fallbacks.contains(next)) {
            fallbacks.push(fallback);
            next = spec.receivers[fallback].fallback;
        }
        Receiver {
            name: spec.receivers[to.receiver].name.clone(),
            repeat_interval: to.repeat_interval,
            held: to.held,
            hours_change_at: changes.min(),
            has_hours: hours.is_some(),
            fallbacks: names(spec, &fallbacks),
        }
    });
    receivers.collect()
}

/// What becomes of an alert that has come to a route.
fn step<'a>(spec: &Spec, route: &crate::engine::route::Route, label: &dyn Fn(&str) -> Option<&'a str>) -> Step {
    let mut step = described(spec, route, Outcome::Takes);
    let mut is_taken = false;
    for child in &route.routes {
        let misses = child.matchers.iter().find(|matcher| !matcher.matches(label));
        step.routes.push(match misses {
            _ if is_taken => described(spec, child, Outcome::NotAsked),
            Some(matcher) => {
                let why = match label(&matcher.label) {
                    Some(value) => format!("{} is {value}", matcher.label),
                    None => format!("it has no {}", matcher.label),
                };
                Step { why: Some(why), ..described(spec, child, Outcome::NoMatch) }
            }
            None => {
                step.outcome = Outcome::PassesOn;
                is_taken = !child.goes_on;
                self::step(spec, child, label)
            }
        });
    }
    step
}

fn described(spec: &Spec, route: &crate::engine::route::Route, outcome: Outcome) -> Step {
    let condition = |matcher: &Matcher| format!("{}={}", matcher.label, matcher.any_of.join("|"));
    Step {
        matchers: route.matchers.iter().map(condition).collect(),
        outcome,
        why: None,
        goes_on: route.goes_on,
        receivers: names(spec, &route.receivers),
        routes: Vec::new(),
    }
}
