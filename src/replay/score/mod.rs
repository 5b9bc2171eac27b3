//! How rules fare: against incidents that are known to have happened, and, without any, by how much they disturb.
//!
//! Everything is read off a [`Document`]: no rule is evaluated and nothing is measured anew. The one thing a document
//! alone does not know is what an incident cost before somebody was told; a [`Ledger`] notes that while history runs.
//!
//! The terms, which `docs/backtest.md` has for users:
//!
//! - A **page** is one moment at which an incident was told as new or as worse, critical and urgent, to however many
//!   receivers. A **ticket** is such a moment of a warning or of something less urgent. Repetitions and ends are neither.
//! - A page **stands** until each receiver of it was told that it is over.
//! - A page **concerns** a known incident of its journey from the moment it is told; one of a layer from the moment an
//!   alert of that layer is among the pages that stand.
//! - It **answers** the incident if it concerns it from a moment between its start and [`GRACE`] (and two slots) after
//!   its end: windows look back. So does one that stood when the incident began, if that was at most [`LEAD`] after it was
//!   told, or if it answers an incident that had not ended: it is *early*, and its delay zero. A page that stood for longer
//!   was about something else; an incident that nothing but such a page covers is missed, and that is said of it.
//! - An incident is **detected** if a page answers it; **recall** is the share of incidents that are.
//! - A page is **explained** if it answers some incident, be it one that does not count as it lies across the edge of the
//!   range; **precision** is the share of pages that are. Nothing explains a page about the source itself.

mod figures;
mod ledger;
mod statistics;
pub(super) mod telling;
pub(super) mod text;

use serde::Serialize;

use crate::engine::rule::Urgency;
use crate::engine::time::{Duration, Timestamp};

use super::document::Document;
use figures::{Case, judge};
use telling::Telling;

pub use crate::config::incidents::Known;
pub use figures::{Figures, Outcome, Spread};
pub use ledger::{Ledger, Spending};
pub use statistics::{Count, Noise, Quiet, Spared, Statistics, statistics};
pub use text::Percent;

/// A page so long after an incident's end may still be about it: what the longest short window of usual page rules
/// looks back on.
pub const GRACE: Duration = Duration::from_minutes(30);
/// A page so long before an incident's start is about it, if it still stands: people round the beginnings they write down.
pub const LEAD: Duration = Duration::from_minutes(15);

/// How all rules together, and each of them alone, fare against known incidents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    pub overall: Figures,
    /// By name: each as if it were the only one and nothing were held back, over the incidents of what it watches.
    pub rules: Vec<RuleScore>,
    /// Those that count, by start.
    pub incidents: Vec<Outcome>,
    /// Pages that no incident explains, by time.
    pub unexplained: Vec<Unexplained>,
    /// Those that are not within the replayed range.
    pub not_counted: Vec<Known>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleScore {
    pub rule: String,
    /// One that pages detects by pages. One that does not pages nobody: it detects by coming to its critical stage, and
    /// has neither pages nor precision.
    pub urgency: Urgency,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unexplained {
    pub at: Timestamp,
    /// `None` for the source itself.
    pub journey: Option<String>,
    pub summary: String,
}

/// Judges what was decided by what is known to have happened.
pub fn score(document: &Document, known: &[Known]) -> Score {
    let mut known: Vec<&Known> = known.iter().collect();
    known.sort_by(|a, b| (a.start, a).cmp(&(b.start, b)));
    let grace = GRACE + Duration::from_ms((document.interval_s * 2000.0) as i64);
    let cases = Case::of(&known, grace, document.from, document.to);
    let telling = Telling::of_all(document);
    let incidents: Vec<Outcome> =
        cases.iter().filter(|case| case.counts).map(|case| Outcome::of(case, &telling, &document.spending)).collect();
    let unexplained = telling
        .critical
        .iter()
        .filter(|page| !figures::explained(page, &cases))
        .map(|page| Unexplained { at: page.at, journey: page.journey.clone(), summary: page.summary.clone() });
    Score {
        overall: judge(&cases, &telling, &document.spending),
        rules: rules(document, &cases),
        incidents,
        unexplained: unexplained.collect(),
        not_counted: cases.iter().filter(|case| !case.counts).map(|case| case.known.clone()).collect(),
    }
}

fn rules(document: &Document, cases: &[Case<'_>]) -> Vec<RuleScore> {
    let mut names: Vec<_> = document.slos.iter().flat_map(|slo| &slo.rules).collect();
    names.sort();
    names.dedup();
    let score = |rule: &&super::document::RuleName| {
        let watches = |known: &Known| {
            let mut slos = document.slos.iter().filter(|slo| slo.rules.contains(rule));
            slos.any(|slo| slo.journey == known.journey && (known.layer.is_none() || known.layer == slo.layer))
        };
        // What it does not watch still explains: a page of a journey may be about another layer's incident.
        let cases: Vec<Case<'_>> = cases.iter().map(|case| case.clone().counting_if(watches(case.known))).collect();
        let telling = Telling::of_rule(document, &rule.name, rule.urgency);
        RuleScore {
            rule: rule.name.clone(),
            urgency: rule.urgency,
            figures: judge(&cases, &telling, &document.spending),
        }
    };
    names.iter().map(score).collect()
}
