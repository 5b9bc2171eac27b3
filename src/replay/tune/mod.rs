//! Rules from history: which settings would have caught the known incidents soonest, for how many pages.
//!
//! History is read once ([`Store`]). Each candidate is a run of the very engine over it, and a score of what that
//! decided; the [`search`] knows only the first part of history. What it finds is then run over all of it, and judged
//! by the part that was held back: settings that fit the past by chance fail there. Nothing is sent, and nothing but
//! settings of burn-rate rules is changed.

pub mod cautions;
pub mod frontier;
pub mod part;
pub mod random;
pub mod rule_file;
pub mod search;
pub mod space;
pub mod store;
mod text;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use serde::Serialize;
use tokio::sync::watch;

use crate::config::incidents::Known;
use crate::engine::Spec;
use crate::engine::time::Timestamp;
use crate::source::reader::Stop;

use super::document::write_pretty;
use super::{Document, Recorder};
use frontier::{Goals, Trial};
use part::{Part, Split, pages_so_far};
use search::{Found, Search};
use space::{Candidate, Knobs, Setting, Space};

pub use store::{Store, StoreError};

/// The version of the JSON document; fields may be added within one.
const VERSION: u32 = 1;
/// Members of the frontier that are run over all of history and shown; more than these nobody weighs.
const MAX_SHOWN: usize = 16;
/// A candidate is given up once it has more pages than twice the limit and these.
const FEW_PAGES: u64 = 10;

/// How to tune.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Candidates to try, the present rules among them.
    pub trials: usize,
    pub seed: u64,
    pub threads: usize,
    /// `None` for as many as the present rules have, or as there are known incidents, whichever is more.
    pub max_pages_a_week: Option<f64>,
}

/// What may end tuning early: the first ends the search, or else the check of what it found; both end both.
#[derive(Debug, Clone)]
pub struct Stops {
    pub search: Stop,
    pub all: Stop,
}

impl Default for Stops {
    /// Nothing ends it early.
    fn default() -> Self {
        let never = || watch::channel(false).1;
        Self { search: never(), all: never() }
    }
}

/// How far tuning has come; checking begins with none done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Tried { done: u64, total: u64 },
    Checked { done: u64, total: u64 },
}

/// What tuning found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuning {
    pub version: u32,
    #[serde(flatten)]
    pub split: Split,
    pub seed: u64,
    pub max_pages_a_week: f64,
    /// Whether somebody gave that limit.
    pub limit_given: bool,
    /// How many candidates there are; `None` if they are too many to count.
    pub combinations: Option<u64>,
    /// Every candidate was tried.
    pub exhausted: bool,
    /// The search was stopped before it had tried as many as it may.
    pub stopped: bool,
    pub rules: Vec<Knobs>,
    pub present: Point,
    /// What nothing beats in everything, the fewest pages first; at most [`MAX_SHOWN`], spread over all.
    pub frontier: Vec<Point>,
    /// How many there are in all.
    pub frontier_size: usize,
    /// The trial to take; `None` if none keeps the limit, or if there are no incidents to judge them by.
    pub recommended: Option<usize>,
    /// What should be known before a rule is changed, in words.
    pub cautions: Vec<String>,
    /// Everything that was tried, in order.
    pub tried: Vec<Tried>,
}

/// A candidate and how it fares on both parts of history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub trial: usize,
    /// By rule.
    pub settings: BTreeMap<String, Setting>,
    pub searched: Part,
    /// `None` if it was stopped before.
    pub held_back: Option<Part>,
}

/// A candidate and what it came to on the part that was searched on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    pub settings: BTreeMap<String, Setting>,
    /// It was given up once it had paged far more often than it may: the counts are what it comes to at least.
    pub abandoned: bool,
    #[serde(flatten)]
    pub goals: Goals,
}

/// Searches `space` for the settings that answer `known` incidents best, over the history in `store`. The same input
/// gives the same result, however many threads share the work, unless it is stopped.
pub fn tune(
    store: &Store,
    spec: &Spec,
    space: &Space,
    known: &[Known],
    options: &Options,
    stops: &Stops,
    mut progress: impl FnMut(Step),
) -> Tuning {
    let split = Split::new(known, store.from, store.to, spec.interval);
    let warm = store.warm(Arc::new(spec.clone()));
    let runs = Runs { store, warm, spec, space, known, split: &split };
    let max_pages_a_week = options.max_pages_a_week.unwrap_or_else(|| {
        let present = runs.searched(&space.present(), |_| true).unwrap_or_default();
        let weeks = split.searched_weeks();
        (present.pages.max(present.incidents) as f64 / weeks * 10.0).ceil() / 10.0
    });
    let max_pages = (max_pages_a_week * split.searched_weeks() + 1e-9) as u64;
    let search =
        Search { trials: options.trials, seed: options.seed, threads: options.threads, max_pages, stop: &stops.search };
    let total = options.trials.min(space.size().saturating_add(1)) as u64;
    let present = space.present();
    let too_many_pages = max_pages.saturating_mul(2).saturating_add(FEW_PAGES);
    let evaluate = |candidate: &Candidate| {
        // The present rules are the measure of all others.
        let most = if *candidate == present { u64::MAX } else { too_many_pages };
        let go_on = |recorder: &Recorder| !*stops.search.borrow() && pages_so_far(recorder) <= most;
        match runs.searched(candidate, go_on) {
            Some(part) => Some((part.goals(), part)),
            None if *stops.search.borrow() => None,
            None => Some((Goals::hopeless(known.len() as u64, too_many_pages + 1), Part::default())),
        }
    };
    let found = search.run(space, evaluate, |done| progress(Step::Tried { done: done as u64, total }));
    // Whoever stopped the search may skip checking as well; who did not stops that.
    let stopped = *stops.search.borrow();
    let skip = if stopped { &stops.all } else { &stops.search };
    // Without incidents whatever pages least looks best.
    let best = found.frontier.recommended(max_pages).filter(|_| split.count_searched(known) > 0);
    let recommended = best.map(|trial| trial.number);
    let shown = shown(found.frontier.trials(), recommended);
    let points = runs.check(&shown, found.first(), options.threads, skip, |done, total| {
        progress(Step::Checked { done, total });
    });
    let (present, frontier) = points;
    let mut tuning = Tuning {
        version: VERSION,
        seed: options.seed,
        max_pages_a_week,
        limit_given: options.max_pages_a_week.is_some(),
        combinations: (space.size() < usize::MAX).then_some(space.size() as u64),
        exhausted: found.exhausted,
        stopped,
        rules: space.knobs.clone(),
        present,
        frontier,
        frontier_size: found.frontier.trials().len(),
        recommended,
        cautions: Vec::new(),
        tried: tried(space, &found, too_many_pages),
        split,
    };
    tuning.cautions = cautions::cautions(&tuning);
    tuning
}

fn tried(space: &Space, found: &Found<Part>, too_many_pages: u64) -> Vec<Tried> {
    let tried = found.tried.iter().enumerate().map(|(number, (candidate, goals))| Tried {
        settings: space.by_rule(candidate),
        abandoned: number > 0 && goals.pages > too_many_pages,
        goals: *goals,
    });
    tried.collect()
}

impl Tuning {
    /// The point to take.
    pub fn recommended(&self) -> Option<&Point> {
        self.frontier.iter().find(|point| Some(point.trial) == self.recommended)
    }

    /// One document, keys sorted: the same result, the same bytes.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        // Through a `Value`, whose maps are sorted.
        write_pretty(&serde_json::to_value(self)?, out)
    }
}

/// What candidates are run over.
struct Runs<'a> {
    store: &'a Store,
    /// At the end of what fills windows, which no burn-rate rule changes.
    warm: Recorder,
    spec: &'a Spec,
    space: &'a Space,
    known: &'a [Known],
    split: &'a Split,
}

impl Runs<'_> {
    fn replay(&self, candidate: &Candidate, until: Timestamp, go_on: impl Fn(&Recorder) -> bool) -> Option<Document> {
        self.store.replay_warm(&self.warm, Arc::new(self.space.apply(self.spec, candidate)), until, go_on)
    }

    /// How a candidate fares on the part that may be searched on; nothing later is looked at.
    fn searched(&self, candidate: &Candidate, go_on: impl Fn(&Recorder) -> bool) -> Option<Part> {
        let document = self.replay(candidate, self.split.last_searched(), go_on)?;
        Some(self.split.searched(&document, self.known))
    }

    fn held_back(&self, candidate: &Candidate, go_on: impl Fn(&Recorder) -> bool) -> Option<Part> {
        let document = self.replay(candidate, self.split.to, go_on)?;
        Some(self.split.held_back(&document, self.known))
    }

    /// The present rules and others on both parts of history.
    fn check(
        &self,
        others: &[&Trial<Part>],
        present: Option<Part>,
        threads: usize,
        skip: &Stop,
        mut done: impl FnMut(u64, u64),
    ) -> (Point, Vec<Point>) {
        let now = self.space.present();
        let go_on = |_: &Recorder| !*skip.borrow();
        let present = present.or_else(|| self.searched(&now, go_on)).unwrap_or_default();
        let all: Vec<(usize, &Candidate, Part)> = std::iter::once((0, &now, present))
            .chain(others.iter().map(|trial| (trial.number, &trial.candidate, trial.outcome)))
            .collect();
        let mut points = Vec::new();
        done(0, all.len() as u64);
        for few in all.chunks(threads.max(1)) {
            let held_back: Vec<Option<Part>> = thread::scope(|scope| {
                let runs: Vec<_> =
                    few.iter().map(|(_, candidate, _)| scope.spawn(move || self.held_back(candidate, go_on))).collect();
                runs.into_iter()
                    .map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            });
            points.extend(few.iter().zip(held_back).map(|((trial, candidate, searched), held_back)| Point {
                trial: *trial,
                settings: self.space.by_rule(candidate),
                searched: *searched,
                held_back,
            }));
            done(points.len() as u64, all.len() as u64);
        }
        let frontier = points.split_off(1);
        (points.remove(0), frontier)
    }
}

impl Found<Part> {
    /// What the present rules came to.
    fn first(&self) -> Option<Part> {
        self.frontier.trials().iter().find(|trial| trial.number == 0).map(|trial| trial.outcome)
    }
}

/// As much of a frontier as can be weighed: evenly spread, the ends and the recommended one among it.
fn shown(trials: &[Trial<Part>], recommended: Option<usize>) -> Vec<&Trial<Part>> {
    if trials.len() <= MAX_SHOWN {
        return trials.iter().collect();
    }
    let mut places: Vec<usize> = (0..MAX_SHOWN - 1).map(|step| step * (trials.len() - 1) / (MAX_SHOWN - 2)).collect();
    places.extend(trials.iter().position(|trial| Some(trial.number) == recommended));
    places.sort_unstable();
    places.dedup();
    places.into_iter().map(|place| &trials[place]).collect()
}
