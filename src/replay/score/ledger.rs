//! What incidents cost before somebody was told, noted while history runs.
//!
//! The cost of an incident at a moment is the share of the period's error budget that its slow requests since its start
//! are: `slow requests / ((1 - objective) * requests in the period)`, the period ending at that moment and reaching as
//! far back as history was seen, as for a `budget_consumed` rule. Of the SLOs that it is about, the worst counts. Both
//! counts are the engine's own; they are as of the newest slot at or before the start, and of the moment's slot.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::histogram::Labels;
use crate::engine::notification::Reason;
use crate::engine::rule::Stage;
use crate::engine::sli::SloSpec;
use crate::engine::time::Timestamp;
use crate::engine::{Effect, Engine};

use super::telling::is_news;
use super::{GRACE, Known};

/// Moments noted of one incident: the first of each rule come long before so many.
const MAX_MOMENTS: usize = 1000;

/// What incidents had cost at the moments at which somebody may have been told of them first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spending(BTreeMap<Known, BTreeMap<Timestamp, f64>>);

/// See the module's documentation.
#[derive(Debug)]
pub struct Ledger {
    /// The next one last.
    to_come: Vec<Known>,
    open: Vec<Open>,
    /// Journeys in which something is critical, or told, as of this slot.
    touched: BTreeSet<String>,
    spending: Spending,
}

#[derive(Debug)]
struct Open {
    known: Known,
    /// Slow requests before it, by SLO and the values of its `by` labels; none of those that came later.
    bad_before: BTreeMap<(usize, Labels), f64>,
}

impl Spending {
    /// The share of a period's error budget that had gone by `at`.
    pub fn at(&self, known: &Known, at: Timestamp) -> Option<f64> {
        self.0.get(known)?.get(&at).copied()
    }
}

impl Ledger {
    pub fn new(known: &[Known]) -> Self {
        let mut to_come = known.to_vec();
        to_come.sort_by(|a, b| (b.start, b).cmp(&(a.start, a)));
        Self { to_come, open: Vec::new(), touched: BTreeSet::new(), spending: Spending::default() }
    }

    /// When the next incident begins: what was counted up to then has to be looked at.
    pub fn next_start(&self) -> Option<Timestamp> {
        self.to_come.last().map(|known| known.start)
    }

    /// Before `slot` is counted in: what had been counted when incidents began.
    pub fn begin(&mut self, engine: &Engine, slot: Timestamp) {
        while self.to_come.last().is_some_and(|known| known.start < slot) {
            let Some(known) = self.to_come.pop() else { return };
            let bad_before = totals(engine, &known).map(|(slo, labels, bad, _)| ((slo, labels.clone()), bad)).collect();
            self.open.push(Open { known, bad_before });
        }
        if !self.open.is_empty() {
            let grace = GRACE + engine.spec().interval + engine.spec().interval;
            self.open.retain(|open| slot <= open.known.end + grace);
        }
    }

    /// Takes note of what followed from a slot.
    pub fn note(&mut self, effect: &Effect) {
        if self.open.is_empty() {
            return;
        }
        match effect {
            Effect::Alert(alert) if alert.ended_at.is_none() && alert.stage == Stage::Critical => {
                self.touched.insert(alert.journey.clone());
            }
            Effect::Notify(told) if is_news(told.reason) && told.reason != Reason::Blind => {
                self.touched.extend(told.journey.clone());
            }
            _ => {}
        }
    }

    /// After `slot` was counted in, and all that followed noted.
    pub fn end(&mut self, engine: &Engine, slot: Timestamp) {
        for journey in std::mem::take(&mut self.touched) {
            for Open { known, bad_before } in self.open.iter().filter(|open| open.known.journey == journey) {
                let spent = totals(engine, known).map(|(slo, labels, bad, allowed)| {
                    let before = bad_before.get(&(slo, labels.clone())).copied().unwrap_or_default();
                    if allowed > 0.0 { (bad - before).max(0.0) / allowed } else { 0.0 }
                });
                let worst = spent.fold(0.0, f64::max);
                let moments = self.spending.0.entry(known.clone()).or_default();
                if moments.len() < MAX_MOMENTS {
                    moments.insert(slot, worst);
                }
            }
        }
    }

    pub fn finish(self) -> Spending {
        self.spending
    }
}

/// The SLOs an incident is about: which, slow requests so far, and slow requests that the period's budget allows.
fn totals<'a>(engine: &'a Engine, known: &'a Known) -> impl Iterator<Item = (usize, &'a Labels, f64, f64)> {
    let slos = engine.totals().zip(engine.period_events());
    slos.filter_map(|((template, labels, [_, bad]), period_events)| {
        let spec: &SloSpec = &engine.spec().slos[template];
        let is_about = spec.journey == known.journey && (known.layer.is_none() || known.layer == spec.layer);
        is_about.then(|| (template, labels, bad, spec.allowed_ratio() * period_events))
    })
}
