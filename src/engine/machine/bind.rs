//! Which series feeds which SLO: names for series, instances for `by` labels, and the limits on both.

use std::sync::Arc;

use super::{Engine, Line, Refusal, Report, Series};
use crate::engine::alert::RuleState;
use crate::engine::counter::Counter;
use crate::engine::histogram::{Labels, SeriesId};
use crate::engine::rule::Limit;
use crate::engine::slo::{Sight, Slo, quantile_window};
use crate::engine::time::{Duration, Timestamp};

const REPORT_EVERY: Duration = Duration::from_hours(1);

impl Engine {
    /// Names a series for snapshots: `template` is the index of its SLO in the spec, `labels` are without `le`.
    /// `None` if it is beyond a limit, which is reported.
    pub fn bind(&mut self, template: usize, labels: &Labels, bounds: &Arc<[f64]>) -> Option<SeriesId> {
        let known = self.index[template].get(labels);
        if let Some((_, id)) = known.and_then(|line| line.layouts.iter().find(|(known, _)| known == bounds)) {
            return Some(*id);
        }
        let line = known.map(|line| line.number);
        let slo = self.instance(template, labels)?;
        let layout = self.layout(slo, template, labels, bounds)?;
        let id = self.free.pop().unwrap_or(SeriesId(self.series.len() as u32));
        let current = line.is_none();
        let line = line.unwrap_or_else(|| match self.free_lines.pop() {
            Some(free) => {
                self.lines[free as usize] = id;
                free
            }
            None => {
                self.lines.push(id);
                self.lines.len() as u32 - 1
            }
        });
        let counter = Counter::new(bounds.len());
        let series = Series { slo: slo as u32, layout: layout as u32, line, current, counter };
        match self.series.get_mut(id.0 as usize) {
            Some(free) => *free = series,
            None => self.series.push(series),
        }
        let entry = self.index[template].entry(labels.clone()).or_insert(Line { number: line, layouts: Vec::new() });
        entry.layouts.push((bounds.clone(), id));
        Some(id)
    }

    fn layout(&mut self, slo: usize, template: usize, labels: &Labels, bounds: &Arc<[f64]>) -> Option<usize> {
        let spec = &self.spec.slos[template];
        let window = self.quantiles_over(template);
        let had_misfit = self.slos[slo].misfit();
        let Some(layout) = self.slos[slo].layout(spec, bounds, self.spec.interval, window) else {
            self.refuse(template, labels, || "its histograms come in too many different bounds".to_string());
            return None;
        };
        if let (None, Some(misfit)) = (had_misfit, self.slos[slo].misfit()) {
            self.reports.push(Report::Unmeasurable { slo: spec.place(), why: misfit.to_string() });
        }
        Some(layout)
    }

    /// How far back quantiles of an SLO look; zero where nobody asks for them.
    pub(super) fn quantiles_over(&self, template: usize) -> Duration {
        let spec = &self.spec.slos[template];
        let asked = spec.rules.iter().any(|rule| matches!(rule.limit, Limit::Latency { .. }));
        if self.quantiles || asked { quantile_window(spec) } else { Duration::ZERO }
    }

    /// Makes a series that has other bounds than before the current one of its labels. It goes on from where the one
    /// before stood if the bounds around the budget are in both; were one of them new, it would take all that went on
    /// below it for slow.
    pub(super) fn take_over(&mut self, id: SeriesId) {
        let line = self.series[id.0 as usize].line as usize;
        let old = std::mem::replace(&mut self.lines[line], id);
        self.series[old.0 as usize].current = false;
        self.series[id.0 as usize].current = true;
        let (old, new) = (&self.series[old.0 as usize], &self.series[id.0 as usize]);
        let slo = &self.slos[new.slo as usize];
        let (old_layout, new_layout) = (old.layout as usize, new.layout as usize);
        let recent = old.counter.seen().is_some_and(|seen| self.polls - seen.poll <= self.return_within_polls);
        let counter = if recent && slo.same_good(old_layout, new_layout) {
            old.counter.with_bounds(slo.bounds(old_layout), slo.bounds(new_layout))
        } else {
            Counter::new(slo.bounds(new_layout).len())
        };
        if recent {
            let slo = self.spec.slos[slo.template].place();
            self.reports.push(Report::LayoutChanged { slo, bounds: new.counter.buckets() });
        }
        self.series[id.0 as usize].counter = counter;
    }

    pub(super) fn instance(&mut self, template: usize, labels: &Labels) -> Option<usize> {
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
            if let Some(gone) = self.longest_gone(template) {
                self.replace_instance(gone, values);
                return Some(gone);
            }
            let (most, by) = (slo.max_by, slo.by.join(", "));
            self.refuse(template, &values, || {
                format!("more than {most} combinations of {by}; the others are not watched")
            });
            return None;
        }
        Some(self.add_instance(template, values))
    }

    /// Notes that a series is not watched, and reports the first one, and one an hour from then on: there may be
    /// thousands of them in every poll.
    fn refuse(&mut self, template: usize, series: &Labels, why: impl FnOnce() -> String) {
        let now = self.newest_slot.unwrap_or(Timestamp::from_unix_ms(0));
        if let Some(known) = &mut self.refused[template]
            && now.since(known.reported) < REPORT_EVERY
        {
            known.poll = self.polls;
            return;
        }
        let why = why();
        let slo = self.spec.slos[template].place();
        self.reports.push(Report::Refused { slo, series: series.clone(), why: why.clone() });
        self.refused[template] = Some(Refusal { reported: now, poll: self.polls, why });
    }

    /// Why some series of a template are not watched, if the newest poll had such.
    pub(in crate::engine) fn refusal(&self, template: usize) -> Option<&str> {
        let refusal = self.refused[template].as_ref()?;
        (self.polls - refusal.poll <= 1).then_some(&refusal.why)
    }

    /// The instance that has been lost for longest, of those that nothing remembers: none of its series may still
    /// return, and none of its alerts stands. Values that come and go, such as versions, would fill the limit for good.
    fn longest_gone(&self, template: usize) -> Option<usize> {
        let remembered = |slo: usize| {
            let ids = self.index[template].values().map(|line| self.lines[line.number as usize]);
            let alerts = self.rules[slo].iter().any(|rule| rule.standing().is_some());
            alerts || ids.map(|id| self.series[id.0 as usize].slo as usize).any(|of| of == slo)
        };
        let lost = self.instances[template].values().filter(|slo| self.slos[**slo].sight == Sight::Lost);
        lost.filter(|slo| !remembered(**slo)).min_by_key(|slo| self.slos[**slo].sight_since).copied()
    }

    fn replace_instance(&mut self, slo: usize, labels: Labels) {
        self.forget_rules(slo);
        let old = &self.slos[slo];
        let template = old.template;
        self.instances[template].remove(&old.labels);
        self.instances[template].insert(labels.clone(), slo);
        let born = self.newest_slot.unwrap_or(old.sight_since);
        let spec = &self.spec.slos[template];
        self.slos[slo] = Slo::new(template, labels, spec, self.spec.interval, born);
        self.rules[slo] = vec![RuleState::default(); spec.rules.len()];
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
        let oldest = self.polls - self.return_within_polls;
        let series = &self.series;
        let ended = |id: SeriesId| series[id.0 as usize].counter.seen().is_some_and(|seen| seen.poll < oldest);
        for index in &mut self.index {
            index.retain(|_, line| {
                // The current one was seen last, so it is the last to go.
                if !ended(self.lines[line.number as usize]) {
                    return true;
                }
                self.free.extend(line.layouts.iter().map(|(_, id)| *id));
                self.free_lines.push(line.number);
                false
            });
        }
    }
}
