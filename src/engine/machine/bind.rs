//! Which series feeds which SLO: names for series, instances for `by` labels, and the limits on both.

use std::sync::Arc;

use super::{Engine, Report, Series};
use crate::engine::alert::RuleState;
use crate::engine::counter::Counter;
use crate::engine::histogram::{Labels, SeriesId};
use crate::engine::rule::Limit;
use crate::engine::slo::{Slo, quantile_window};
use crate::engine::time::{Duration, Timestamp};

impl Engine {
    /// Names a series for snapshots: `template` is the index of its SLO in the spec, `labels` are without `le`.
    /// `None` if it is beyond a limit, which is reported.
    pub fn bind(&mut self, template: usize, labels: &Labels, bounds: &Arc<[f64]>) -> Option<SeriesId> {
        let known = self.index[template].get(labels);
        if let Some((_, id)) = known.and_then(|layouts| layouts.iter().find(|(known, _)| known == bounds)) {
            return Some(*id);
        }
        let changed = known.is_some_and(|layouts| layouts.iter().any(|(_, id)| self.is_recent(*id)));
        let slo = self.instance(template, labels)?;
        let spec = self.spec.clone();
        let window = match self.quantiles
            || spec.slos[template].rules.iter().any(|rule| matches!(rule.limit, Limit::Latency { .. }))
        {
            true => quantile_window(&spec.slos[template]),
            false => Duration::ZERO,
        };
        let place = || spec.slos[template].place();
        let had_misfit = self.slos[slo].misfit();
        let Some(layout) = self.slos[slo].layout(&spec.slos[template], bounds, spec.interval, window) else {
            let why = "its histograms come in too many different bounds".to_string();
            self.reports.push(Report::Refused { slo: place(), series: labels.clone(), why });
            return None;
        };
        if let (None, Some(misfit)) = (had_misfit, self.slos[slo].misfit()) {
            self.reports.push(Report::Unmeasurable { slo: place(), why: misfit.to_string() });
        }
        if changed {
            self.reports.push(Report::LayoutChanged { slo: place(), series: labels.clone(), bounds: bounds.len() });
        }
        let series = Series { slo: slo as u32, layout: layout as u32, counter: Counter::new(bounds.len()) };
        let id = match self.free.pop() {
            Some(id) => {
                self.series[id.0 as usize] = series;
                id
            }
            None => {
                self.series.push(series);
                SeriesId(self.series.len() as u32 - 1)
            }
        };
        self.index[template].entry(labels.clone()).or_default().push((bounds.clone(), id));
        Some(id)
    }

    fn is_recent(&self, id: SeriesId) -> bool {
        let newest = self.newest_slot.map(|newest| newest.slot_number(self.spec.interval));
        match (self.series[id.0 as usize].counter.last_slot(), newest) {
            (Some(last), Some(newest)) => newest - last <= self.lookback_slots,
            _ => false,
        }
    }

    fn instance(&mut self, template: usize, labels: &Labels) -> Option<usize> {
        let slo = &self.spec.slos[template];
        if slo.by.is_empty() {
            return Some(self.instances[template][&Labels::new()]);
        }
        let value = |name: &String| (name.clone(), labels.get(name).cloned().unwrap_or_default());
        let values: Labels = slo.by.iter().map(value).collect();
        if let Some(known) = self.instances[template].get(&values) {
            return Some(*known);
        }
        if self.instances[template].len() >= slo.max_by {
            let why = format!("more than {} combinations of {}", slo.max_by, slo.by.join(", "));
            self.reports.push(Report::Refused { slo: slo.place(), series: values, why });
            return None;
        }
        Some(self.add_instance(template, values))
    }

    pub(super) fn add_instance(&mut self, template: usize, labels: Labels) -> usize {
        let spec = &self.spec.slos[template];
        let born = self.newest_slot.unwrap_or(Timestamp::from_unix_ms(0));
        self.slos.push(Slo::new(template, labels.clone(), spec, self.spec.interval, born));
        self.rules.push(vec![RuleState::default(); spec.rules.len()]);
        self.instances[template].insert(labels, self.slos.len() - 1);
        self.slos.len() - 1
    }

    /// Forgets series that were absent for longer than any return could matter. Ids bound before may be handed out
    /// anew, so call it before binding a poll's series, never between binding and stepping.
    pub fn forget_ended(&mut self) {
        let Some(newest) = self.newest_slot.map(|newest| newest.slot_number(self.spec.interval)) else { return };
        let oldest = newest - 12 * self.lookback_slots;
        let series = &self.series;
        let ended = |id: SeriesId| series[id.0 as usize].counter.last_slot().is_some_and(|last| last < oldest);
        for index in &mut self.index {
            index.retain(|_, layouts| {
                layouts.retain(|(_, id)| {
                    let ended = ended(*id);
                    if ended {
                        self.free.push(*id);
                    }
                    !ended
                });
                !layouts.is_empty()
            });
        }
    }
}
