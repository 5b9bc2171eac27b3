//! From alerts that stand to incidents, and from those to what receivers are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effect, Engine};
use crate::engine::alert::{AlertKey, AlertRecord};
use crate::engine::histogram::Labels;
use crate::engine::incident::{Identity, Incident, SOURCE_INCIDENT, Standing, incident_key};
use crate::engine::notification::AlertFacts;
use crate::engine::rule::{Level, Stage, Urgency};
use crate::engine::slo::{Sight, Windows};
use crate::engine::time::Timestamp;

impl Engine {
    pub(super) fn update_incidents(&mut self, slot: Timestamp, effects: &mut Vec<Effect>) {
        let mut standing: BTreeMap<String, Vec<Standing>> = BTreeMap::new();
        let mut seen = Vec::new();
        for key in &self.standing {
            let Some((identity, alert)) = self.stand(*key) else { continue };
            match self.incidents.get_mut(&identity.key) {
                Some(known) if known.is_over() => known.open_again(slot, identity.clone(), alert.level),
                Some(_) => {}
                None => {
                    let incident = Incident::open(slot, identity.clone(), alert.level);
                    self.incidents.insert(identity.key.clone(), incident);
                }
            }
            if !self.spec.digests.is_empty() {
                seen.push((*key, identity.key.clone(), alert.destinations.iter().all(|to| to.held.is_some())));
            }
            standing.entry(identity.key).or_default().push(alert);
        }
        self.collect(slot, &seen);
        let mut incidents = std::mem::take(&mut self.incidents);
        for (key, incident) in &mut incidents {
            if key == SOURCE_INCIDENT {
                continue;
            }
            let alerts = standing.remove(key).unwrap_or_default();
            if !incident.is_over() {
                self.update_incident(slot, incident, &alerts, effects);
            }
        }
        incidents.retain(|key, incident| {
            let forgotten = incident.is_forgotten(slot);
            if let (true, Some(remembered)) = (forgotten, &mut self.remembered) {
                remembered.touch_incident(key);
            }
            !forgotten
        });
        self.roster.forget(slot);
        self.incidents = incidents;
    }

    fn update_incident(
        &mut self,
        slot: Timestamp,
        incident: &mut Incident,
        alerts: &[Standing],
        effects: &mut Vec<Effect>,
    ) {
        let fresh = incident.members().is_empty();
        let before = self.remembered.is_some().then(|| incident.clone());
        self.note_roster(slot, incident, alerts);
        let mut held_back = self.held_back;
        let notifications =
            incident.update(slot, alerts, &|keys| self.facts(keys), &mut held_back, self.spec.flapping_within);
        self.held_back = held_back;
        if fresh || incident.is_over() {
            effects.push(Effect::Incident(incident.record.clone()));
        }
        if let Some(before) = before.filter(|before| before != incident) {
            self.note_incident(&before, incident);
        }
        for mut notification in notifications {
            notification.identify(&self.spec.receivers[notification.receiver].name, self.missed.clock_set_back);
            effects.push(Effect::Notify(Arc::new(notification.clone())));
            self.outbox.push(slot, notification);
        }
    }

    /// Notes that an incident is not what it was. Once it is over, the last of its alerts' records may go, too.
    fn note_incident(&mut self, before: &Incident, incident: &Incident) {
        let Some(remembered) = &mut self.remembered else { return };
        remembered.touch_incident(&incident.identity.key);
        if incident.is_over() {
            let members = before.members().iter().filter(|key| **key != AlertKey::SOURCE);
            members.for_each(|key| remembered.touch_rule(*key));
        }
    }

    /// A standing alert, the incident it belongs to and where it is told.
    pub(super) fn stand(&self, key: AlertKey) -> Option<(Identity, Standing)> {
        let record = self.rules[key.slo][key.rule].standing()?;
        let spec = &self.spec.slos[self.slos[key.slo].template];
        let label = |name: &str| self.alert_label(key, record, name);
        let mut group: Labels = [("journey".to_string(), spec.journey.clone())].into();
        for name in &self.spec.group_by {
            group.insert(name.clone(), label(name).unwrap_or_default().to_string());
        }
        let identity = Identity {
            key: incident_key(&spec.journey, &group),
            journey: Some(spec.journey.clone()),
            owner: spec.owner.clone(),
            runbook: spec.runbook.clone(),
            group,
        };
        let standing = Standing {
            alert: key,
            level: (record.stage, record.urgency),
            breached_at: record.breached_at,
            destinations: self.destinations(&label),
        };
        Some((identity, standing))
    }

    /// The value of a label that routes and silences match on.
    pub(super) fn alert_label<'a>(&'a self, key: AlertKey, record: &'a AlertRecord, name: &str) -> Option<&'a str> {
        match name {
            "stage" => Some(record.stage.as_str()),
            "urgency" => Some(record.urgency.as_str()),
            "rule" => Some(record.rule.as_str()),
            _ => self.slo_label(key.slo, name),
        }
    }

    /// The value of a label that all alerts of an SLO have.
    pub(super) fn slo_label(&self, slo: usize, name: &str) -> Option<&str> {
        let slo = &self.slos[slo];
        slo.labels.get(name).map(String::as_str).or_else(|| self.spec.slos[slo.template].routing_label(name))
    }

    /// Alerts as they stand or last stood, worst first.
    fn facts(&self, keys: &BTreeSet<AlertKey>) -> Vec<AlertFacts> {
        let mut facts: Vec<AlertFacts> = keys.iter().filter_map(|key| self.alert_facts(*key)).collect();
        let rank = |alert: &AlertFacts| (alert.ended_at.is_none(), alert.stage, alert.urgency);
        facts.sort_by(|a, b| {
            let worse = rank(b).cmp(&rank(a)).then(b.usage.total_cmp(&a.usage));
            // Instances may stand in any order, rules stand as they were written.
            worse.then_with(|| a.layer.cmp(&b.layer)).then_with(|| a.labels.cmp(&b.labels))
        });
        facts
    }

    pub(super) fn alert_facts(&self, key: AlertKey) -> Option<AlertFacts> {
        // The source's own alert is no rule's.
        let record = self.rules.get(key.slo)?[key.rule].record.as_deref()?;
        let slo = &self.slos[key.slo];
        let spec = &self.spec.slos[slo.template];
        let rule = &spec.rules[key.rule];
        let windows = self.plans[slo.template][key.rule].windows;
        let measured = slo.measure(spec, rule, windows);
        let burn_short = measured.short.burn(spec.allowed_ratio());
        let period = slo.traffic(windows.period);
        let budget_remaining = 1.0 - period.burn(spec.allowed_ratio());
        let exhausted_in =
            (burn_short > 0.0 && budget_remaining > 0.0).then(|| spec.period.times(budget_remaining / burn_short));
        Some(AlertFacts {
            slo: slo.template,
            layer: spec.layer.clone(),
            labels: slo.labels.clone(),
            rule: rule.name.clone(),
            limit: rule.limit,
            urgency: rule.urgency,
            stage: record.stage,
            usage: measured.usage,
            breached_at: record.breached_at,
            fired_at: record.fired_at,
            ended_at: record.ended_at,
            burn_long: measured.long.burn(spec.allowed_ratio()),
            burn_short,
            events: measured.long.total,
            bad_events: measured.long.bad(),
            share_of_slow: self.share_of_slow(key.slo, windows),
            quantiles_s: slo.quantiles_s(),
            budget_s: spec.budget_s,
            objective_ppm: spec.objective_ppm,
            period: spec.period,
            budget_remaining,
            exhausted_in,
            period_coverage: period.coverage,
        })
    }

    /// This layer's share of the slow requests of all layers of its journey. The journey's own SLO has all of them.
    fn share_of_slow(&self, slo: usize, windows: Windows) -> f64 {
        let own = &self.slos[slo];
        let spec = &self.spec.slos[own.template];
        let bad = own.traffic(windows.long).bad();
        if spec.layer.is_none() || bad <= 0.0 {
            return if bad > 0.0 { 1.0 } else { 0.0 };
        }
        let siblings = self.slos.iter().filter(|slo| {
            let sibling = &self.spec.slos[slo.template];
            sibling.journey == spec.journey && sibling.layer.is_some()
        });
        bad / siblings.map(|slo| slo.traffic(windows.long).bad()).sum::<f64>()
    }

    /// A source that answers but has lost every histogram it ever had is out of sight as well.
    pub(super) fn look_after_source(&mut self, slot: Timestamp, effects: &mut Vec<Effect>) {
        let mut known = self.slos.iter().filter(|slo| slo.sight != Sight::Unborn).peekable();
        let all_lost = known.peek().is_some() && known.all(|slo| slo.sight == Sight::Lost);
        if all_lost {
            self.failed_in_a_row += 1;
            if self.failed_in_a_row >= self.spec.blind_after {
                let why = "the source answers, but every histogram is gone from it".to_string();
                self.update_source_incident(slot, Some(why), effects);
            }
        } else {
            self.failed_in_a_row = 0;
            self.update_source_incident(slot, None, effects);
        }
    }

    /// One incident for the source, however many SLOs it blinds; `None` when sight has returned.
    pub(super) fn update_source_incident(&mut self, slot: Timestamp, why: Option<String>, effects: &mut Vec<Effect>) {
        let level: Level = (Stage::Critical, Urgency::Page);
        let identity = || Identity {
            key: SOURCE_INCIDENT.into(),
            journey: None,
            owner: None,
            runbook: None,
            group: Labels::new(),
        };
        let is_open = self.incidents.get(SOURCE_INCIDENT).is_some_and(|incident| !incident.is_over());
        if !is_open && why.is_none() {
            return;
        }
        let mut incident = match self.incidents.remove(SOURCE_INCIDENT) {
            Some(mut known) => {
                if !is_open {
                    known.open_again(slot, identity(), level);
                }
                known
            }
            None => Incident::open(slot, identity(), level),
        };
        let label = |name: &str| match name {
            "stage" => Some(level.0.as_str()),
            "urgency" => Some(level.1.as_str()),
            _ => None,
        };
        let blind_for = self.spec.interval.times(f64::from(self.failed_in_a_row.saturating_sub(1)));
        let standing = why.is_some().then(|| Standing {
            alert: AlertKey::SOURCE,
            level,
            breached_at: slot - blind_for,
            destinations: self.destinations(&label),
        });
        if why.is_some() {
            incident.record.detail = why;
            if let Some(remembered) = &mut self.remembered {
                remembered.touch_incident(SOURCE_INCIDENT);
            }
        }
        let standing: Vec<Standing> = standing.into_iter().collect();
        self.update_incident(slot, &mut incident, &standing, effects);
        self.incidents.insert(SOURCE_INCIDENT.into(), incident);
    }
}
