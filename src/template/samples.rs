//! A notification of every kind, to try templates on: with all that can be known, and with as little.

use std::collections::BTreeMap;

use crate::engine::histogram::Labels;
use crate::engine::notification::{AlertFacts, Digest, DigestEntry, DigestKind, Notification, Reason};
use crate::engine::rule::{Limit, Stage, Urgency};
use crate::engine::time::{Duration, Timestamp};

use super::fields::{Built, BuiltFact, Fields};

/// Opened first, then every other reason, a digest of both kinds, and one that knows next to nothing.
pub fn fields() -> Vec<Fields> {
    notifications().iter().map(|notification| Fields::new(notification, built(notification))).collect()
}

fn notifications() -> Vec<Notification> {
    let opened = opened();
    let mut all: Vec<Notification> = [Reason::Opened, Reason::Escalated, Reason::Repeated, Reason::Test]
        .map(|reason| Notification { reason, ..opened.clone() })
        .into();
    let ended = AlertFacts { ended_at: Some(opened.at), exhausted_in: None, ..spike() };
    all.push(Notification {
        reason: Reason::Resolved,
        resolved_at: Some(opened.at),
        alerts: vec![ended],
        ..opened.clone()
    });
    all.push(Notification {
        reason: Reason::Blind,
        incident: "slowburn:source".into(),
        journey: None,
        owner: None,
        runbook: None,
        group: Labels::new(),
        alerts: vec![],
        detail: Some("3 polls in a row failed".into()),
        ..opened.clone()
    });
    all.push(bare(&opened));
    for kind in [DigestKind::Flood, DigestKind::Scheduled { name: "daily".into() }] {
        let mut entry = DigestEntry::of(&opened);
        entry.ended_at = (kind != DigestKind::Flood).then_some(opened.at);
        let digest = Digest::new(kind, vec![entry], 1);
        all.push(digest.into_notification("digest".into(), opened.at, 0, "slowburn:flood".into()));
    }
    all.iter_mut().for_each(Notification::summarize);
    all
}

/// What has neither owner nor runbook, no layer, no traffic and another kind of rule.
fn bare(opened: &Notification) -> Notification {
    let alert = AlertFacts {
        layer: None,
        labels: Labels::new(),
        limit: Limit::BudgetConsumed { share: 1.0 },
        events: 0.0,
        burn_long: f64::NAN,
        burn_short: f64::NAN,
        quantiles_s: None,
        exhausted_in: None,
        ..spike()
    };
    Notification { owner: None, runbook: None, alerts: vec![alert], ..opened.clone() }
}

fn opened() -> Notification {
    let at = Timestamp::from_unix_s(1_772_853_300);
    Notification {
        id: "sb-0123456789abcdef".into(),
        at,
        receiver: 0,
        reason: Reason::Opened,
        incident: "checkout".into(),
        journey: Some("checkout".into()),
        owner: Some("payments".into()),
        runbook: Some("https://wiki.example.com/checkout".into()),
        group: BTreeMap::from([("journey".into(), "checkout".into())]),
        stage: Stage::Critical,
        urgency: Urgency::Page,
        opened_at: at - Duration::from_minutes(3),
        resolved_at: None,
        alerts: vec![spike(), AlertFacts { layer: Some("service".into()), ..spike() }],
        detail: None,
        digest: None,
        summary: String::new(),
    }
}

fn spike() -> AlertFacts {
    let at = Timestamp::from_unix_s(1_772_853_300);
    AlertFacts {
        slo: 0,
        layer: Some("database".into()),
        labels: BTreeMap::from([("region".into(), "eu".into())]),
        rule: "spike".into(),
        limit: Limit::BurnRate { factor: 14.4, long: Duration::from_minutes(10), short: Duration::from_minutes(1) },
        urgency: Urgency::Page,
        stage: Stage::Critical,
        usage: 2.361,
        breached_at: at - Duration::from_minutes(3),
        fired_at: at - Duration::from_minutes(2),
        ended_at: None,
        burn_long: 34.0,
        burn_short: 51.2,
        events: 12_300.0,
        bad_events: 4182.0,
        share_of_slow: 0.92,
        quantiles_s: Some([0.0123, 0.0877, 0.2411]),
        budget_s: 0.040,
        objective_ppm: 990_000,
        period: Duration::from_days(30),
        budget_remaining: 0.613,
        exhausted_in: Some(Duration::from_minutes(518)),
        period_coverage: 1.0,
    }
}

fn built(notification: &Notification) -> Built {
    let link = |text: &str| if notification.alerts.is_empty() { String::new() } else { text.to_owned() };
    Built {
        title: notification.summary.clone(),
        facts: vec![BuiltFact { label: "What".into(), text: "burning 34x too fast over 10m".into() }],
        lines: notification.alerts.iter().skip(1).map(|alert| alert.place()).collect(),
        runbook_url: link("https://wiki.example.com/checkout"),
        query_url: link("https://prometheus.example.com/graph"),
        footer: "slowburn".into(),
    }
}
