//! Rules and alerts as Prometheus' API shapes them, for what reads that: Grafana, Karma.

use serde_json::{Map, Value, json};

use crate::config::promql::Query;
use crate::engine::rule::{Rule, Stage};
use crate::engine::sli::SloSpec;
use crate::engine::slo::Sight;
use crate::engine::view::{RuleView, SloView};

use crate::daemon::status::Status;

/// One rule on one SLO, with what the configuration says of both.
#[derive(Clone, Copy)]
struct Entry<'a> {
    status: &'a Status,
    slo: &'a SloView,
    rule: &'a RuleView,
    /// Index into the configuration's SLOs.
    template: usize,
    spec: &'a SloSpec,
    rule_spec: &'a Rule,
}

/// The `data` of `/api/v1/alerts`.
pub fn alerts(status: &Status) -> Value {
    let alerts: Vec<Value> =
        status.view.slos.iter().flat_map(|slo| entries(status, slo)).filter_map(Entry::alert).collect();
    json!({"alerts": alerts})
}

/// The `data` of `/api/v1/rules`: a group a journey, a rule for each rule of each of its SLOs.
pub fn rules(status: &Status) -> Value {
    let mut groups: Vec<(&str, Vec<Value>)> = Vec::new();
    for slo in &status.view.slos {
        let rules = entries(status, slo).map(Entry::shape);
        match groups.iter_mut().find(|(journey, _)| *journey == slo.journey) {
            Some((_, known)) => known.extend(rules),
            None => groups.push((&slo.journey, rules.collect())),
        }
    }
    let group = |(journey, rules): (&str, Vec<Value>)| {
        json!({
            "name": journey,
            "file": status.config_file,
            "interval": status.view.interval.secs(),
            "limit": 0,
            "rules": rules,
            "lastEvaluation": status.view.at,
            "evaluationTime": status.evaluation_s,
        })
    };
    json!({"groups": groups.into_iter().map(group).collect::<Vec<_>>()})
}

fn entries<'a>(status: &'a Status, slo: &'a SloView) -> impl Iterator<Item = Entry<'a>> {
    let specs = status.config.spec.slos.iter().enumerate();
    let found = specs.into_iter().find(|(_, spec)| spec.journey == slo.journey && spec.layer == slo.layer);
    found.into_iter().flat_map(move |(template, spec)| {
        let rules = slo.rules.iter().zip(&spec.rules);
        rules.map(move |(rule, rule_spec)| Entry { status, slo, rule, template, spec, rule_spec })
    })
}

impl Entry<'_> {
    fn shape(self) -> Value {
        let alert = self.alert();
        let unseen = !matches!(self.slo.sight, Sight::Ok | Sight::Idle);
        let sight = self.slo.sight.as_str();
        let error = unseen.then(|| self.slo.problem.clone().unwrap_or_else(|| sight.to_owned()));
        let mut entry = json!({
            "type": "alerting",
            "name": self.rule.rule,
            "query": self.query(),
            "duration": self.status.view.interval.secs() * f64::from(self.rule.consecutive.saturating_sub(1)),
            "keepFiringFor": self.rule_spec.clear_after.secs(),
            "labels": self.labels(),
            "annotations": self.annotations(),
            "state": alert.as_ref().map_or("inactive", |_| self.state()),
            "alerts": alert.into_iter().collect::<Vec<_>>(),
            "health": if error.is_some() { "unknown" } else { "ok" },
            "lastEvaluation": self.status.view.at,
            "evaluationTime": self.status.evaluation_s,
        });
        if let Some(error) = error {
            entry["lastError"] = error.into();
        }
        entry
    }

    /// The alert, if it stands or is about to.
    fn alert(self) -> Option<Value> {
        let view = &self.status.view;
        let record = view.alerts.iter().find(|alert| {
            let place = (&alert.journey, &alert.layer, &alert.labels, &alert.rule);
            place == (&self.slo.journey, &self.slo.layer, &self.slo.labels, &self.rule.rule)
        });
        if record.is_none() && self.rule.pending == 0 {
            return None;
        }
        let pending_for = view.interval.times(f64::from(self.rule.pending.saturating_sub(1)));
        let active_at = record.map(|alert| alert.breached_at).or(view.at.map(|at| at - pending_for));
        Some(json!({
            "labels": self.labels(),
            "annotations": self.annotations(),
            "state": self.state(),
            "activeAt": active_at,
            "value": self.rule.usage.map_or_else(|| "NaN".into(), |usage| format!("{usage:e}")),
        }))
    }

    fn state(self) -> &'static str {
        if self.rule.stage.is_some() { "firing" } else { "pending" }
    }

    fn stage(self) -> Stage {
        self.rule.stage.unwrap_or(Stage::Critical)
    }

    fn query(self) -> String {
        let Some(selector) = self.status.config.selectors.get(self.template) else { return String::new() };
        let query = Query { selector, slo: self.spec, by: &self.slo.labels, bounds: &[] };
        let threshold_ppm = match self.stage() {
            Stage::Warning => self.rule_spec.warning_ppm,
            Stage::Critical => self.rule_spec.critical_ppm,
        };
        query.breach(self.rule.limit, threshold_ppm)
    }

    /// As notifications have them; an empty label is no label.
    fn labels(self) -> Map<String, Value> {
        let stage = self.stage().as_str();
        let own = [
            ("alertname", self.rule.rule.as_str()),
            ("journey", &self.slo.journey),
            ("layer", self.slo.layer.as_deref().unwrap_or_default()),
            ("rule", &self.rule.rule),
            ("stage", stage),
            ("severity", stage),
            ("urgency", self.rule.urgency.as_str()),
            ("owner", self.slo.owner.as_deref().unwrap_or_default()),
        ];
        let users =
            self.spec.labels.iter().chain(&self.slo.labels).map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = users.chain(own).filter(|(_, value)| !value.is_empty());
        labels.map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    fn annotations(self) -> Map<String, Value> {
        let (mut annotations, place, rule) = (Map::new(), self.spec.place(), &self.rule.rule);
        let summary = match self.rule.usage {
            Some(usage) => format!("{place}: {:.0}% of the limit of {rule}", 100.0 * usage),
            None => format!("{place}: nothing seen of late that {rule} could judge"),
        };
        annotations.insert("summary".into(), summary.into());
        if let Some(runbook) = &self.spec.runbook {
            annotations.insert("runbook_url".into(), runbook.clone().into());
        }
        annotations
    }
}
