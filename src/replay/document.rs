//! What a replay found, as the one JSON document that `--format json` prints.
//!
//! Its keys are sorted: fields stand in the order of their names here, and what is declared elsewhere is sorted on the way.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use crate::engine::Spec;
use crate::engine::alert::AlertRecord;
use crate::engine::exact;
use crate::engine::histogram::Labels;
use crate::engine::incident::IncidentRecord;
use crate::engine::memory::Missed;
use crate::engine::notification::{AlertFacts, HeldBack, Notification, Reason};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::sli::SloSpec;
use crate::engine::time::{Duration, Timestamp};
use crate::zone::Zone;

use super::score::{Known, Score, Spending, Statistics, score, statistics};

/// The document's version; fields may be added within one.
const VERSION: u32 = 1;

/// What was decided, in a stable order: the same history and rules print the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    #[serde(serialize_with = "sorted_alerts")]
    pub alerts: Vec<AlertRecord>,
    /// Slots that were evaluated.
    pub evaluations: u64,
    pub from: Timestamp,
    /// Whether there was any series, in the range or in what fills windows before it.
    #[serde(skip)]
    pub has_counted: bool,
    #[serde(serialize_with = "sorted")]
    pub held_back: HeldBack,
    pub incidents: Vec<IncidentSummary>,
    pub interval_s: f64,
    /// Maintenance windows that were open in the range.
    pub maintenance: Vec<MaintenanceSummary>,
    #[serde(serialize_with = "sorted")]
    pub missed: Missed,
    pub notifications: Vec<NotificationSummary>,
    #[serde(serialize_with = "sorted", skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    pub slos: Vec<SloSummary>,
    /// What the known incidents had cost when somebody was told; it is part of the score.
    #[serde(skip)]
    pub spending: Spending,
    /// Once it was judged: see [`Document::judge`].
    #[serde(serialize_with = "sorted", skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
    /// The last slot that was replayed.
    pub to: Timestamp,
    /// Places of the SLOs of which nothing was seen: what they would have led to is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    pub version: u32,
}

/// A maintenance window over the replayed range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaintenanceSummary {
    /// Whether the requests of its SLOs counted meanwhile.
    pub counts: bool,
    pub name: String,
    pub open: Duration,
    /// How often it was open, and for how long in all.
    pub times: u64,
}

/// One SLO over the replayed range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloSummary {
    pub bad_events: u64,
    /// Share of the error budget of these events that is spent: 1 is all of it.
    pub budget_consumed: f64,
    pub budget_ms: f64,
    pub events: u64,
    pub journey: String,
    pub labels: Labels,
    pub layer: Option<String>,
    pub objective_ppm: u32,
    /// Those that watch it, by name.
    pub rules: Vec<RuleName>,
    /// Slots in which it was measured, of [`Document::evaluations`]; not those of a maintenance that does not count.
    pub seen_slots: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleName {
    pub name: String,
    pub urgency: Urgency,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IncidentSummary {
    pub alerts: usize,
    pub journey: Option<String>,
    pub key: String,
    pub opened_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub worst_stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotificationSummary {
    /// What it is about, worst first.
    pub alerts: Vec<AlertName>,
    pub at: Timestamp,
    pub incident: String,
    pub reason: Reason,
    pub receiver: String,
    pub stage: Stage,
    pub summary: String,
    pub urgency: Urgency,
}

/// Which alert, as it stood when it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertName {
    pub fired_at: Timestamp,
    pub labels: Labels,
    pub layer: Option<String>,
    pub rule: String,
    pub stage: Stage,
    pub urgency: Urgency,
}

/// What [`Document::new`] is made of.
pub(super) struct Decisions<'a> {
    pub spec: &'a Spec,
    pub from: Timestamp,
    pub to: Timestamp,
    pub slots: u64,
    pub has_counted: bool,
    /// Template, values of `by`, requests, slow requests and slots that were seen.
    pub totals: Vec<(usize, Labels, [f64; 3])>,
    pub alerts: Vec<AlertRecord>,
    pub incidents: Vec<IncidentRecord>,
    pub notifications: Vec<Arc<Notification>>,
    pub held_back: HeldBack,
    pub missed: Missed,
    pub spending: Spending,
}

impl Document {
    pub(super) fn new(mut decisions: Decisions<'_>) -> Self {
        let spec = decisions.spec;
        decisions.totals.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        decisions.alerts.sort_by(|a, b| alert_order(a).cmp(&alert_order(b)));
        decisions.incidents.sort_by(|a, b| (a.opened_at, &a.key).cmp(&(b.opened_at, &b.key)));
        let seen = |template: usize| decisions.totals.iter().any(|(of, _, [.., seen])| *of == template && *seen > 0.0);
        let unseen = spec.slos.iter().enumerate().filter(|(template, _)| !seen(*template));
        let unseen = unseen.map(|(_, slo)| slo.place()).collect();
        let slos = decisions.totals.into_iter().map(|(template, labels, [events, bad, seen])| {
            let slo = &spec.slos[template];
            let bad_ratio = if events > 0.0 { bad / events } else { 0.0 };
            SloSummary {
                journey: slo.journey.clone(),
                layer: slo.layer.clone(),
                labels,
                objective_ppm: slo.objective_ppm,
                budget_ms: slo.budget_s * 1000.0,
                events: events.round() as u64,
                bad_events: bad.round() as u64,
                budget_consumed: bad_ratio / slo.allowed_ratio(),
                rules: rule_names(slo),
                seen_slots: seen as u64,
            }
        });
        let incidents = decisions.incidents.into_iter().map(|incident| IncidentSummary {
            key: incident.key,
            journey: incident.journey,
            opened_at: incident.opened_at,
            resolved_at: incident.resolved_at,
            worst_stage: incident.worst_stage,
            alerts: incident.alerts,
        });
        let notifications = decisions.notifications.iter().map(|notification| NotificationSummary {
            at: notification.at,
            receiver: spec.receivers[notification.receiver].name.clone(),
            reason: notification.reason,
            incident: notification.incident.clone(),
            stage: notification.stage,
            urgency: notification.urgency,
            summary: notification.summary.clone(),
            alerts: notification.alerts.iter().map(alert_name).collect(),
        });
        Self {
            version: VERSION,
            from: decisions.from,
            to: decisions.to,
            interval_s: spec.interval.secs(),
            evaluations: decisions.slots,
            has_counted: decisions.has_counted,
            unseen,
            slos: slos.collect(),
            alerts: decisions.alerts,
            incidents: incidents.collect(),
            notifications: notifications.collect(),
            held_back: decisions.held_back,
            maintenance: maintenance(spec, decisions.from, decisions.to),
            missed: decisions.missed,
            statistics: None,
            score: None,
            spending: decisions.spending,
        }
    }

    /// Adds how much it disturbs, the night being that of `zone`, and, if incidents are known, how it fares in them.
    pub fn judge(&mut self, zone: &Zone, known: Option<&[Known]>) {
        self.statistics = Some(statistics(self, zone));
        self.score = known.map(|known| score(self, known));
    }

    /// Writes the document as JSON with sorted keys, ended by a newline.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write_pretty(self, out)
    }
}

/// Writes JSON for programs and people, ended by a newline.
pub(super) fn write_pretty(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    // Nearly all that is written are a few bytes, and a call each would take longer than they do.
    let mut out = BufWriter::new(out);
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Through a `Value`, whose maps are sorted.
fn sorted<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::to_value(value).map_err(S::Error::custom)?.serialize(serializer)
}

/// There may be thousands, so they go without a `Value` each.
fn sorted_alerts<S: Serializer>(alerts: &[AlertRecord], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Sorted<'a> {
        breached_at: Timestamp,
        ended_at: Option<Timestamp>,
        evaluations: u64,
        fired_at: Timestamp,
        journey: &'a str,
        labels: &'a Labels,
        layer: &'a Option<String>,
        #[serde(serialize_with = "exact::serialize")]
        peak_usage: f64,
        rule: &'a str,
        stage: Stage,
        urgency: Urgency,
    }
    serializer.collect_seq(alerts.iter().map(|alert| {
        let AlertRecord { journey, layer, labels, rule, urgency, stage, .. } = alert;
        let AlertRecord { breached_at, fired_at, ended_at, peak_usage, evaluations, .. } = *alert;
        let (stage, urgency) = (*stage, *urgency);
        Sorted {
            breached_at,
            ended_at,
            evaluations,
            fired_at,
            journey,
            labels,
            layer,
            peak_usage,
            rule,
            stage,
            urgency,
        }
    }))
}

fn maintenance(spec: &Spec, from: Timestamp, to: Timestamp) -> Vec<MaintenanceSummary> {
    let summaries = spec.maintenance.iter().map(|window| {
        let hours = &spec.hours[window.hours];
        let (mut times, mut open, mut at) = (0, Duration::ZERO, from);
        while at < to {
            let until = hours.next_change(at).unwrap_or(to).min(to);
            if hours.is_open(at) {
                times += 1;
                open = open + until.since(at);
            }
            at = until;
        }
        MaintenanceSummary { name: window.name.clone(), times, open, counts: window.counts }
    });
    summaries.filter(|window| window.times > 0).collect()
}

fn rule_names(slo: &SloSpec) -> Vec<RuleName> {
    let mut names: Vec<_> =
        slo.rules.iter().map(|rule| RuleName { name: rule.name.clone(), urgency: rule.urgency }).collect();
    names.sort();
    names
}

fn alert_name(alert: &AlertFacts) -> AlertName {
    AlertName {
        layer: alert.layer.clone(),
        labels: alert.labels.clone(),
        rule: alert.rule.clone(),
        urgency: alert.urgency,
        stage: alert.stage,
        fired_at: alert.fired_at,
    }
}

fn alert_order(alert: &AlertRecord) -> impl Ord + '_ {
    (alert.fired_at, &alert.journey, &alert.layer, &alert.labels, &alert.rule, alert.stage)
}
