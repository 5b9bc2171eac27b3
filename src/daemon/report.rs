//! What the daemon logs of the engine's effects and of its sources.

use crate::config::Diagnostics;
use crate::engine::histogram::Labels;
use crate::engine::notification::Notification;
use crate::engine::slo::Sight;
use crate::engine::view::View;
use crate::engine::{Effect, Engine, Gone, Outcome, Report, Spec};

/// What is worth knowing of an effect; a send is told when it ends.
pub fn effect(spec: &Spec, effect: &Effect) {
    match effect {
        Effect::Alert(alert) => {
            let what = if alert.ended_at.is_some() { "alert ended" } else { "alert began" };
            tracing::info!(
                journey = alert.journey,
                layer = alert.layer.as_deref().unwrap_or_default(),
                labels = (!alert.labels.is_empty()).then(|| pairs(&alert.labels)),
                rule = alert.rule,
                urgency = alert.urgency.as_str(),
                stage = alert.stage.as_str(),
                peak_usage = alert.peak_usage,
                breached_at = %alert.breached_at,
                fired_at = %alert.fired_at,
                ended_at = alert.ended_at.map(tracing::field::display),
                "{what}"
            );
        }
        Effect::Incident(incident) => {
            let what = if incident.resolved_at.is_some() { "incident resolved" } else { "incident opened" };
            let (stage, urgency) = (incident.worst_stage.as_str(), incident.worst_urgency.as_str());
            tracing::info!(incident = incident.key, stage, urgency, "{what}");
        }
        Effect::Notify(notification) => {
            let receiver = spec.receivers.get(notification.receiver).map_or("", |receiver| &receiver.name);
            let (reason, id) = (notification.reason.as_str(), &notification.id);
            tracing::info!(receiver, reason, id, summary = notification.summary, "notification decided");
        }
        Effect::Deliver(delivery) => {
            tracing::debug!(id = delivery.notification.id, attempt = delivery.attempt, "sending");
        }
        Effect::Report(report) => data(report),
    }
}

fn data(report: &Report) {
    match report {
        Report::LayoutChanged { slo, bounds } => {
            tracing::warn!(slo, bounds, "the bounds of a histogram changed");
        }
        Report::Unmeasurable { slo, why } => tracing::error!(slo, why, "an SLO cannot be measured"),
        Report::Refused { slo, series, why } => {
            tracing::warn!(slo, series = pairs(series), why, "a series is not watched");
        }
        Report::SightChanged { slo, from, to } => {
            let (gone, from, to) = (is_gone(*from, *to), from.as_str(), to.as_str());
            match gone {
                true => tracing::warn!(slo, from, to, "an SLO is not measured any more"),
                false => tracing::info!(slo, from, to, "what is known of an SLO changed"),
            }
        }
    }
}

/// Whether an SLO that was measured is not, for a reason of its own: a source out of sight is told of by itself.
fn is_gone(from: Sight, to: Sight) -> bool {
    !matches!(from, Sight::Lost | Sight::Unmeasurable) && matches!(to, Sight::Lost | Sight::Unmeasurable)
}

fn pairs(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    pairs.join(",")
}

/// How a send ended. What a fallback is told says in its `note` why.
pub fn sent(spec: &Spec, told: &Notification, outcome: &Outcome) {
    let to = spec.receivers.get(told.receiver);
    let receiver = to.map_or("", |to| to.name.as_str());
    let (id, incident, reason) = (&told.id, &told.incident, told.reason.as_str());
    let note = told.detail.as_ref().filter(|_| told.journey.is_some());
    match outcome {
        Outcome::Delivered => tracing::info!(receiver, incident, reason, note, id, "notification delivered"),
        Outcome::Retry { why, .. } | Outcome::Unanswered { why } => {
            tracing::warn!(receiver, incident, reason, why, note, id, "notification will be tried again")
        }
        Outcome::Rejected { why } => {
            let fallback = to.and_then(|to| to.fallback).map(|index| spec.receivers[index].name.as_str());
            tracing::error!(receiver, incident, reason, why, fallback, note, id, "notification refused");
        }
    }
}

/// A receiver that a reload took away.
pub fn gone(gone: &Gone) {
    let (receiver, dropped) = (&gone.receiver, gone.dropped);
    let stay_open = (!gone.incidents.is_empty()).then(|| gone.incidents.join(", "));
    tracing::warn!(receiver, dropped, stay_open, "a receiver is gone; what waited for it is dropped");
}

pub fn warnings(warnings: &Diagnostics) {
    for line in warnings.to_string().lines() {
        tracing::warn!("{line}");
    }
}

pub fn source_warnings(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(warning, "the source warns");
    }
}

/// How far each SLO's period is covered.
pub fn coverage(view: &View) {
    for slo in &view.slos {
        let place = slo.layer.as_ref().map_or(slo.journey.clone(), |layer| format!("{}/{layer}", slo.journey));
        let percent = format!("{:.1}%", 100.0 * slo.coverage);
        tracing::info!(slo = place, period = %slo.period, covered = percent, "history is read");
    }
}

/// For `systemctl status`.
pub fn one_line(engine: &Engine, degraded: bool) -> String {
    let view = engine.view();
    let unseen = view.slos.iter().filter(|slo| !matches!(slo.sight, Sight::Ok | Sight::Idle)).count();
    let waiting: usize = view.receivers.iter().map(|receiver| receiver.pending).sum();
    format!(
        "{} SLOs ({unseen} unseen), {} alerts, {} incidents, {waiting} notifications waiting{}",
        view.slos.len(),
        view.alerts.len(),
        view.incidents.len(),
        if degraded { "; the state file is degraded" } else { "" }
    )
}
