//! The notification that `slowburn notify-test` sends: marked as a test from its first word on, and under a key that
//! no incident has, so that it neither joins nor ends anything real.

use std::collections::BTreeMap;

use crate::engine::notification::{Notification, Reason};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::stable_hash;
use crate::engine::time::Timestamp;

/// Stands where a journey's name would, and so begins every title.
const NAME: &str = "TEST";

/// A test for one receiver: an index into [`crate::engine::Spec::receivers`] and its name. `urgency` decides how loud
/// a receiver that tells pages from tickets is.
pub fn opening(receiver: usize, name: &str, urgency: Urgency, at: Timestamp) -> Notification {
    // No key of an incident begins like this.
    let incident = format!("slowburn:test:{name}:{}", at.unix_ms());
    Notification {
        id: id(&incident, Reason::Test),
        at,
        receiver,
        reason: Reason::Test,
        journey: Some(NAME.into()),
        owner: None,
        runbook: None,
        group: BTreeMap::from([("journey".to_owned(), NAME.to_owned())]),
        stage: if urgency == Urgency::Page { Stage::Critical } else { Stage::Warning },
        urgency,
        opened_at: at,
        resolved_at: None,
        alerts: Vec::new(),
        detail: None,
        digest: None,
        summary: format!("{NAME}: slowburn can tell {name}; nothing is wrong"),
        incident,
    }
}

/// What ends the test where a receiver would keep it open.
pub fn closing(opening: &Notification, at: Timestamp) -> Notification {
    Notification {
        id: id(&opening.incident, Reason::Resolved),
        at,
        reason: Reason::Resolved,
        resolved_at: Some(at),
        summary: format!("{NAME}: over; nothing was wrong"),
        ..opening.clone()
    }
}

fn id(incident: &str, reason: Reason) -> String {
    format!("sb-{:032x}", stable_hash(&[incident, reason.as_str()]))
}
