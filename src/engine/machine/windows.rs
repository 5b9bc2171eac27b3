//! All that one SLO counted, taken out whole and put back whole: for a source that keeps no history.

use serde::{Deserialize, Serialize};

use super::{Engine, Line, Series};
use crate::engine::counter::Counter;
use crate::engine::histogram::{Labels, SeriesId};
use crate::engine::names::slo_name;
use crate::engine::slo::{SloMemory, quantile_window};
use crate::engine::stable_hash;
use crate::engine::time::Timestamp;

/// A series: its layout, whether it is the current one of its labels, and its counter.
type Counted = (u32, bool, Counter);

/// What one SLO and its series counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SloWindows {
    journey: String,
    layer: Option<String>,
    labels: Labels,
    /// A hash of all that decides what is counted, and for how long.
    counts: u128,
    /// How many polls were answered.
    polls: i64,
    slo: SloMemory,
    /// By labels.
    lines: Vec<(Labels, Vec<Counted>)>,
}

impl Engine {
    /// How many SLOs there are, each combination of `by` labels for itself.
    pub fn instances(&self) -> usize {
        self.slos.len()
    }

    /// The name of an SLO and what it counted; `None` before it counted anything.
    pub fn windows_of(&self, slo: usize) -> Option<(String, SloWindows)> {
        let own = &self.slos[slo];
        let spec = &self.spec.slos[own.template];
        let memory = own.remember()?;
        let lines = self.index[own.template].iter().filter_map(|(labels, line)| {
            let series = line.layouts.iter().map(|(_, id)| &self.series[id.0 as usize]);
            let series = series.filter(|series| series.slo as usize == slo);
            let series: Vec<_> = series.map(|it| (it.layout, it.current, it.counter.clone())).collect();
            (!series.is_empty()).then(|| (labels.clone(), series))
        });
        let windows = SloWindows {
            journey: spec.journey.clone(),
            layer: spec.layer.clone(),
            labels: own.labels.clone(),
            counts: self.counts(own.template),
            polls: self.polls,
            slo: memory,
            lines: lines.collect(),
        };
        Some((slo_name(&spec.journey, spec.layer.as_deref(), &own.labels), windows))
    }

    /// Goes on from what an SLO counted in another life of the program, before anything was taken in. Returns whether
    /// there is such an SLO, and it counts the same.
    pub fn restore_windows(&mut self, windows: SloWindows) -> bool {
        let SloWindows { journey, layer, labels, counts, polls, slo: memory, lines } = windows;
        let template = self.spec.slos.iter().position(|slo| slo.journey == journey && slo.layer == layer);
        let Some(template) = template.filter(|template| self.counts(*template) == counts) else { return false };
        let Some(slo) = self.instance(template, &labels).filter(|slo| self.slos[*slo].labels == labels) else {
            return false;
        };
        let (spec, interval) = (self.spec.clone(), self.spec.interval);
        let over = self.quantiles_over(template);
        if !self.slos[slo].recall(memory, &spec.slos[template], interval, over) {
            return false;
        }
        for (labels, series) in lines {
            self.restore_line(template, slo, labels, series);
        }
        self.polls = self.polls.max(polls);
        let newest = self.slos[slo].newest_slot().map(|slot| Timestamp::from_unix_ms(slot * interval.ms()));
        self.newest_slot = self.newest_slot.max(newest);
        true
    }

    fn restore_line(&mut self, template: usize, slo: usize, labels: Labels, series: Vec<Counted>) {
        let own = &self.slos[slo];
        let fits = |(layout, _, counter): &Counted| {
            (*layout as usize) < own.layouts() && own.bounds(*layout as usize).len() == counter.buckets()
        };
        let current = series.iter().filter(|(_, current, _)| *current).count();
        if current != 1 || !series.iter().all(fits) || self.index[template].contains_key(&labels) {
            return;
        }
        let number = self.lines.len() as u32;
        let mut layouts = Vec::new();
        for (layout, current, counter) in series {
            let id = SeriesId(self.series.len() as u32);
            layouts.push((self.slos[slo].bounds(layout as usize).into(), id));
            self.series.push(Series { slo: slo as u32, layout, line: number, current, counter });
            if current {
                self.lines.push(id);
            }
        }
        self.index[template].insert(labels, Line { number, layouts });
    }

    fn counts(&self, template: usize) -> u128 {
        let slo = &self.spec.slos[template];
        let counted = (
            (self.spec.interval, &slo.selector, slo.budget_s.to_bits(), slo.between, slo.new_series, &slo.by),
            (slo.longest_window(), quantile_window(slo), self.quantiles),
        );
        stable_hash(&[&format!("{counted:?}")])
    }
}
