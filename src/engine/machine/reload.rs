//! Another configuration for an engine that runs: what still applies goes on, so that nothing is resolved or told again
//! only because a file changed.
//!
//! SLOs are the same if journey, layer and `by` labels are, their rules if name and kind of limit are, receivers if
//! their name is. Windows go on where the same requests are counted for the same length of time.

use std::collections::BTreeMap;
use std::mem::{discriminant, replace, swap, take};
use std::sync::Arc;

use super::{Engine, SeriesId};
use crate::engine::alert::AlertKey;
use crate::engine::notification::Moves;
use crate::engine::outbox::Outbox;
use crate::engine::rule::Rule;
use crate::engine::sli::SloSpec;
use crate::engine::slo::{Slo, quantile_window};
use crate::engine::spec::Spec;

/// A receiver that another configuration has not, and what is not told to it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    pub receiver: String,
    /// Notifications that wait for it.
    pub dropped: usize,
    /// Incidents that it heard of, or was to hear of, and whose end it will not hear of; sorted.
    pub incidents: Vec<String>,
}

impl Engine {
    /// The receivers that `spec` has not and that know of something, or were to: [`Engine::reload`] drops what waits.
    pub fn gone(&self, spec: &Spec) -> Vec<Gone> {
        let receivers = self.spec.receivers.iter().enumerate();
        let gone = receivers.filter(|(_, old)| spec.receivers.iter().all(|new| new.name != old.name));
        let gone = gone.map(|(index, old)| {
            let open = self.incidents.iter().filter(|(_, incident)| incident.is_open_at(index));
            let mut incidents = self.outbox.incidents(index);
            incidents.extend(open.map(|(key, _)| key.clone()));
            Gone {
                receiver: old.name.clone(),
                dropped: self.outbox.pending(index),
                incidents: incidents.into_iter().collect(),
            }
        });
        gone.filter(|gone| gone.dropped > 0 || !gone.incidents.is_empty()).collect()
    }

    /// Goes on with `spec`; incidents are brought in line with it at the next evaluation. Returns whether all windows
    /// are there: [`Engine::forget_windows`] makes room for a backfill where they are not.
    pub fn reload(&mut self, spec: Arc<Spec>) -> bool {
        let mut old = replace(self, Engine::new(spec));
        self.quantiles = old.quantiles;
        let mut moves = Moves {
            slos: old.spec.slos.iter().map(|slo| position(&self.spec.slos, |new| is_same_slo(slo, new))).collect(),
            receivers: (old.spec.receivers.iter())
                .map(|receiver| position(&self.spec.receivers, |new| new.name == receiver.name))
                .collect(),
            alerts: BTreeMap::new(),
        };
        let kept: Vec<Option<usize>> =
            (0..old.slos.len()).map(|slo| self.take_slo(&mut old, slo, &mut moves)).collect();
        self.take_series(&mut old, &kept, &moves);
        self.standing = old.standing.iter().filter_map(|key| moves.alert(*key)).collect();
        self.incidents = take(&mut old.incidents);
        self.incidents.values_mut().for_each(|incident| incident.renumber(&moves));
        let outbox = replace(&mut old.outbox, Outbox::new(Vec::new()));
        self.outbox = outbox.renumbered(self.spec.receivers.clone(), &moves);
        self.roster = take(&mut old.roster).renumbered(&moves);
        self.held_back = old.held_back;
        self.digests = take(&mut old.digests).renumbered(&self.spec, &moves);
        self.holds = take(&mut old.holds);
        self.holds.forget_hours();
        self.missed = old.missed;
        self.evaluations = old.evaluations;
        self.failed_in_a_row = old.failed_in_a_row;
        self.last_answer = old.last_answer;
        self.polls = old.polls;
        self.newest_slot = old.newest_slot;
        self.evaluated_slot = old.evaluated_slot;
        self.due_slot = old.due_slot;
        self.incidents_stale = true;
        self.remembered = old.remembered.take();
        if let Some(remembered) = &mut self.remembered {
            remembered.start_anew();
        }
        if self.spec.interval != old.spec.interval {
            self.forget_windows();
        }
        let goes_on =
            |new: &SloSpec| old.spec.slos.iter().any(|old| is_same_slo(old, new) && counts_the_same(old, new));
        self.spec.interval == old.spec.interval && self.spec.slos.iter().all(goes_on)
    }

    /// Forgets what was counted, and only that: slots from any time on can be counted in anew.
    pub fn forget_windows(&mut self) {
        for slo in &mut self.slos {
            let (sight, since) = (slo.sight, slo.sight_since);
            let spec = &self.spec.slos[slo.template];
            *slo = Slo::new(slo.template, take(&mut slo.labels), spec, self.spec.interval, since);
            slo.sight = sight;
        }
        self.series.clear();
        self.free.clear();
        self.lines.clear();
        self.free_lines.clear();
        self.index.iter_mut().for_each(BTreeMap::clear);
        self.newest_slot = None;
    }

    /// Takes one instance over, and returns its place if its windows came along.
    fn take_slo(&mut self, old: &mut Engine, slo: usize, moves: &mut Moves) -> Option<usize> {
        let labels = old.slos[slo].labels.clone();
        let template = old.slos[slo].template;
        let moved_template = moves.slos[template]?;
        let place = self.instance(moved_template, &labels)?;
        let (before, after) = (&old.spec.slos[template], &self.spec.slos[moved_template]);
        let pairs = before.rules.iter().zip(take(&mut old.rules[slo])).enumerate();
        for (rule, (spec, mut state)) in pairs {
            let Some(moved_rule) = position(&after.rules, |new| is_same_rule(spec, new)) else { continue };
            if let Some(record) = &mut state.record {
                record.urgency = after.rules[moved_rule].urgency;
            }
            self.rules[place][moved_rule] = state;
            moves.alerts.insert(AlertKey { slo, rule }, AlertKey { slo: place, rule: moved_rule });
        }
        let kept = counts_the_same(before, after);
        if kept {
            swap(&mut self.slos[place], &mut old.slos[slo]);
            self.slos[place].template = moved_template;
        } else {
            self.slos[place].sight = old.slos[slo].sight;
            self.slos[place].sight_since = old.slos[slo].sight_since;
        }
        kept.then_some(place)
    }

    /// Takes over the series of the instances that were `kept`, which their new places are given for.
    fn take_series(&mut self, old: &mut Engine, kept: &[Option<usize>], moves: &Moves) {
        self.series = take(&mut old.series);
        self.free = take(&mut old.free);
        self.lines = take(&mut old.lines);
        self.free_lines = take(&mut old.free_lines);
        for (template, mut index) in take(&mut old.index).into_iter().enumerate() {
            index.retain(|_, line| {
                let ids: Vec<SeriesId> = line.layouts.iter().map(|(_, id)| *id).collect();
                let slo = ids.first().and_then(|id| kept[self.series[id.0 as usize].slo as usize]);
                match slo {
                    Some(slo) => ids.iter().for_each(|id| self.series[id.0 as usize].slo = slo as u32),
                    None => {
                        self.free.extend(ids);
                        self.free_lines.push(line.number);
                    }
                }
                slo.is_some()
            });
            if let Some(moved) = moves.slos[template] {
                self.index[moved] = index;
            }
        }
    }
}

fn position<T>(list: &[T], is_it: impl FnMut(&T) -> bool) -> Option<usize> {
    list.iter().position(is_it)
}

fn is_same_slo(old: &SloSpec, new: &SloSpec) -> bool {
    old.journey == new.journey && old.layer == new.layer && old.by == new.by
}

/// Another threshold moves the usage; the alert that stands is still the same alert.
fn is_same_rule(old: &Rule, new: &Rule) -> bool {
    old.name == new.name && discriminant(&old.limit) == discriminant(&new.limit)
}

/// Whether the windows of one serve the other.
fn counts_the_same(old: &SloSpec, new: &SloSpec) -> bool {
    let counted =
        |slo: &SloSpec| (slo.budget_s, slo.between, slo.new_series, slo.longest_window(), quantile_window(slo));
    old.selector == new.selector && counted(old) == counted(new)
}
