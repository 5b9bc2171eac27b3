//! Two configurations side by side over the same history: what the second pages more, less, earlier and later.
//!
//! History is read once, for both, so that no difference comes from the data. Pages of both are the same *episode* if
//! they are of one journey and stand at the same time, or one of them is told no later than [`GRACE`] after the other was
//! over: rules with longer windows see the same thing later. Each page has at most one counterpart, the nearest of those
//! that the same layers raised, or else the nearest; a page of the second without one is *gained*, one of the first *lost*.
//! Tickets are compared in the same way, but only those of equal urgency, or that the same rules raised: a warning of
//! a page does not stand in for a ticket.

mod both;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;

use crate::config::units::{show_ns, show_ppm};
use crate::engine::Spec;
use crate::engine::rule::Urgency;
use crate::engine::sli::SloSpec;
use crate::engine::time::Timestamp;

use super::document::{Document, write_pretty};
use super::score::telling::{Telling, Told};
use super::score::{GRACE, Score, Statistics};

pub use both::{Pair, Replayed};

/// The document's version; fields may be added within one.
const VERSION: u32 = 1;

/// What differs, and what either comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub version: u32,
    pub from: Timestamp,
    /// The last slot that was replayed.
    pub to: Timestamp,
    pub evaluations: u64,
    pub first: Side,
    pub second: Side,
    pub journeys: Journeys,
    pub pages: Changes,
    pub tickets: Changes,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The file.
    pub config: String,
    pub statistics: Option<Statistics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Places of the SLOs of which nothing was seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// Where the two do not watch the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Journeys {
    /// `checkout`, or `checkout/edge`, in the order of the configurations.
    pub only_in_first: Vec<String>,
    pub only_in_second: Vec<String>,
    /// In both, with another budget, objective, period or histogram.
    pub changed: Vec<Changed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub name: String,
    /// `budget`, `objective`, `period` or `histogram`.
    pub what: &'static str,
    pub first: String,
    pub second: String,
}

/// Each by time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Changes {
    pub gained: Vec<Moment>,
    pub lost: Vec<Moment>,
    pub kept: Vec<Kept>,
}

/// Something that only one of them tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    pub at: Timestamp,
    /// When it was told to be over.
    pub until: Option<Timestamp>,
    /// `None` for the source itself.
    pub journey: Option<String>,
    /// The rules that raised it.
    pub rules: BTreeSet<String>,
    pub summary: String,
}

/// Something that both tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    pub journey: Option<String>,
    pub first_at: Timestamp,
    pub second_at: Timestamp,
    /// How much later the second tells it, in seconds; negative for earlier.
    pub later_s: f64,
    /// As the first tells it, and the second.
    pub first_summary: String,
    pub summary: String,
}

/// A configuration's name, what it says, and what it would have decided.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    pub name: &'a str,
    pub spec: &'a Spec,
    pub document: &'a Document,
}

impl Comparison {
    /// Of two replays of the same range.
    pub fn new(first: Judged<'_>, second: Judged<'_>) -> Self {
        let tellings = [first, second].map(|side| Telling::of_all(side.document));
        let side = |side: Judged<'_>| Side {
            config: side.name.to_owned(),
            statistics: side.document.statistics.clone(),
            score: side.document.score.clone(),
            unseen: side.document.unseen.clone(),
        };
        Self {
            version: VERSION,
            from: first.document.from,
            to: first.document.to,
            evaluations: first.document.evaluations,
            first: side(first),
            second: side(second),
            journeys: journeys(first.spec, second.spec),
            pages: changes([0, 1].map(|side| &tellings[side].critical[..]), &OF_PAGES),
            tickets: changes([0, 1].map(|side| &tellings[side].lesser[..]), &OF_TICKETS),
        }
    }

    /// Writes it as JSON with sorted keys, ended by a newline.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        // Through a `Value`, whose maps are sorted.
        write_pretty(&serde_json::to_value(self)?, out)
    }
}

fn journeys(first: &Spec, second: &Spec) -> Journeys {
    let missing = |from: &Spec, other: &Spec| -> Vec<String> {
        let places: BTreeSet<String> = other.slos.iter().map(SloSpec::place).collect();
        from.slos.iter().map(SloSpec::place).filter(|place| !places.contains(place)).collect()
    };
    let seconds: BTreeMap<String, &SloSpec> = second.slos.iter().map(|slo| (slo.place(), slo)).collect();
    let both = first.slos.iter().filter_map(|slo| Some((slo, *seconds.get(&slo.place())?)));
    Journeys {
        only_in_first: missing(first, second),
        only_in_second: missing(second, first),
        changed: both.flat_map(|(first, second)| changed(first, second)).collect(),
    }
}

fn changed(first: &SloSpec, second: &SloSpec) -> Vec<Changed> {
    let facts = |slo: &SloSpec| {
        [
            ("budget", show_ns((slo.budget_s * 1e9).round() as u64)),
            ("objective", show_ppm(slo.objective_ppm)),
            ("period", slo.period.to_string()),
            ("histogram", slo.selector.clone()),
        ]
    };
    let pairs = facts(first).into_iter().zip(facts(second)).filter(|(first, second)| first != second);
    pairs.map(|((what, a), (_, b))| Changed { name: first.place(), what, first: a, second: b }).collect()
}

/// What moments have in common, beside their journey, to be looked at as counterparts.
type Likeness = for<'a> fn(&'a Told) -> (Option<Urgency>, BTreeSet<&'a str>);

const SAME_LAYERS: Likeness = |told| (Some(told.urgency), layers(told));
const SAME_URGENCY: Likeness = |told| (Some(told.urgency), BTreeSet::new());
const SAME_RULES: Likeness = |told| (None, told.raised_by.iter().map(|(_, rule)| rule.as_str()).collect());
/// Tried one after the other on what is left.
const OF_PAGES: [Likeness; 2] = [SAME_LAYERS, SAME_URGENCY];
const OF_TICKETS: [Likeness; 3] = [SAME_LAYERS, SAME_URGENCY, SAME_RULES];

/// The layers that raised it, the empty name being the journey itself.
fn layers(told: &Told) -> BTreeSet<&str> {
    told.raised_by.iter().map(|(layer, _)| layer.as_deref().unwrap_or_default()).collect()
}

fn changes(sides: [&[Told]; 2], likenesses: &[Likeness]) -> Changes {
    let mut changes = Changes::default();
    let mut left = sides.map(|side| side.iter().collect::<Vec<&Told>>());
    for likeness in likenesses {
        let mut groups: BTreeMap<_, [Vec<&Told>; 2]> = BTreeMap::new();
        for (side, list) in left.iter_mut().enumerate() {
            for told in list.drain(..) {
                groups.entry((told.journey.as_deref(), likeness(told))).or_default()[side].push(told);
            }
        }
        for [first, second] in groups.values() {
            matched(first, second, &mut changes.kept, &mut left);
        }
        left.iter_mut().for_each(|list| list.sort_by_key(|told| (told.at, &told.journey)));
    }
    let [lost, gained] = left.map(|list| list.into_iter().map(moment).collect());
    (changes.lost, changes.gained) = (lost, gained);
    changes.kept.sort_by(|a, b| (a.first_at, a.second_at, &a.journey).cmp(&(b.first_at, b.second_at, &b.journey)));
    changes
}

/// Finds counterparts among moments that are alike, both lists by time; those of either side without one are left.
fn matched<'a>(first: &[&'a Told], second: &[&'a Told], kept: &mut Vec<Kept>, left: &mut [Vec<&'a Told>; 2]) {
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (first.get(i), second.get(j)) {
        let apart = |a: &Told, b: &Told| a.at.since(b.at).max(b.at.since(a.at));
        let nearer = |a: Option<&&Told>, b: Option<&&Told>, than| {
            a.zip(b).is_some_and(|(a, b)| is_same_episode(a, b) && apart(a, b) < than)
        };
        let is_same = is_same_episode(a, b);
        // If the next of one side is nearer, it is the counterpart.
        let skip_first = if is_same { nearer(first.get(i + 1), Some(b), apart(a, b)) } else { a.at < b.at };
        let skip_second = if is_same { nearer(Some(a), second.get(j + 1), apart(a, b)) } else { !skip_first };
        if skip_first {
            left[0].push(*a);
            i += 1;
        } else if skip_second {
            left[1].push(*b);
            j += 1;
        } else {
            kept.push(counterparts(a, b));
            (i, j) = (i + 1, j + 1);
        }
    }
    left[0].extend_from_slice(&first[i..]);
    left[1].extend_from_slice(&second[j..]);
}

fn is_same_episode(a: &Told, b: &Told) -> bool {
    let shows = |told: &Told, at: Timestamp| told.until.is_none_or(|until| at <= until + GRACE);
    shows(a, b.at) && shows(b, a.at)
}

fn moment(told: &Told) -> Moment {
    Moment {
        at: told.at,
        until: told.until,
        journey: told.journey.clone(),
        rules: told.raised_by.iter().map(|(_, rule)| rule.clone()).collect(),
        summary: told.summary.clone(),
    }
}

fn counterparts(first: &Told, second: &Told) -> Kept {
    Kept {
        journey: second.journey.clone(),
        first_at: first.at,
        second_at: second.at,
        later_s: second.at.since(first.at).secs() - first.at.since(second.at).secs(),
        first_summary: first.summary.clone(),
        summary: second.summary.clone(),
    }
}
