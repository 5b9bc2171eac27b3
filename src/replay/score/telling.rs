//! What was told as new, moment by moment: by all rules as it went out, or by one rule alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::alert::AlertRecord;
use crate::engine::notification::Reason;
use crate::engine::rule::{Level, Stage, Urgency};
use crate::engine::time::Timestamp;
use crate::replay::document::{AlertName, Document, NotificationSummary};

use super::Known;

pub const PAGE: Level = (Stage::Critical, Urgency::Page);

/// One moment at which something was told as new or as worse, to however many receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub at: Timestamp,
    /// When all who were told had been told that it is over.
    pub until: Option<Timestamp>,
    /// `None` for the source itself.
    pub journey: Option<String>,
    pub urgency: Urgency,
    /// The layers it is about, and since when each of them.
    pub layers: BTreeMap<Option<String>, Timestamp>,
    /// Layers and rules of the alerts that made it: those that fired at that very moment, or else all that stood.
    pub raised_by: BTreeSet<(Option<String>, String)>,
    pub summary: String,
}

/// All that was told as new, each list by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// What detects: of all rules the pages, of one rule those moments at which it came to its critical stage.
    pub critical: Vec<Told>,
    /// All else.
    pub lesser: Vec<Told>,
    /// Whether what detects wakes somebody.
    pub pages: bool,
}

impl Told {
    pub fn stands_at(&self, at: Timestamp) -> bool {
        self.at <= at && self.until.is_none_or(|until| at < until)
    }

    /// Since when it is about an incident, whenever that was; `None` if it never is.
    pub fn concerns(&self, known: &Known) -> Option<Timestamp> {
        if self.journey.as_ref() != Some(&known.journey) {
            return None;
        }
        match &known.layer {
            None => Some(self.at),
            layer => self.layers.get(layer).copied(),
        }
    }
}

impl Telling {
    /// What was told by all rules, as it went out.
    pub fn of_all(document: &Document) -> Self {
        let journeys: BTreeMap<&str, Option<&str>> =
            document.incidents.iter().map(|incident| (incident.key.as_str(), incident.journey.as_deref())).collect();
        let mut ends: BTreeMap<(&str, &str), Vec<Timestamp>> = BTreeMap::new();
        for told in document.notifications.iter().filter(|told| told.reason == Reason::Resolved) {
            ends.entry((&told.incident, &told.receiver)).or_default().push(told.at);
        }
        let end = |told: &NotificationSummary| {
            let ends = ends.get(&(told.incident.as_str(), told.receiver.as_str()))?;
            ends.iter().find(|at| **at > told.at).copied()
        };
        let mut moments: BTreeMap<(Timestamp, &str, bool), Vec<&NotificationSummary>> = BTreeMap::new();
        for told in document.notifications.iter().filter(|told| is_news(told.reason)) {
            moments.entry((told.at, &told.incident, is_page(told))).or_default().push(told);
        }
        let by_journey = by_journey(&document.alerts);
        let mut telling = Self { critical: Vec::new(), lesser: Vec::new(), pages: true };
        for ((at, incident, is_page), receivers) in moments {
            let journey = journeys.get(incident).copied().flatten();
            // `None`, standing, is later than any end.
            let until = receivers.iter().map(|told| end(told)).reduce(|a, b| Some(a?.max(b?))).flatten();
            let first = receivers[0];
            let meant = |level: Level| (level == PAGE) == is_page;
            let about = || receivers.iter().flat_map(|told| &told.alerts).filter(|alert| meant(level(alert)));
            let mut layers: BTreeMap<Option<String>, Timestamp> =
                about().map(|alert| (alert.layer.clone(), at)).collect();
            let alerts = journey.and_then(|journey| by_journey.get(journey)).map_or(&[][..], Vec::as_slice);
            // What joins later is not told, but whoever was told sees it.
            join(&mut layers, alerts, at, until, |alert| !is_page || (alert.stage, alert.urgency) == PAGE);
            let fresh: BTreeSet<_> = about().filter(|alert| alert.fired_at == at).map(raiser).collect();
            let told = Told {
                at,
                until,
                journey: journey.map(str::to_owned),
                urgency: first.urgency,
                layers,
                raised_by: if fresh.is_empty() { about().map(raiser).collect() } else { fresh },
                summary: first.summary.clone(),
            };
            if is_page { telling.critical.push(told) } else { telling.lesser.push(told) }
        }
        telling
    }

    /// What one rule would have told alone, were nothing held back: each rise of the worst level of its alerts in a
    /// journey.
    pub fn of_rule(document: &Document, rule: &str, urgency: Urgency) -> Self {
        let mut telling = Self { critical: Vec::new(), lesser: Vec::new(), pages: urgency == Urgency::Page };
        let own: Vec<AlertRecord> = document.alerts.iter().filter(|alert| alert.rule == rule).cloned().collect();
        for (journey, alerts) in by_journey(&own) {
            for (at, stage, until) in rises(&alerts) {
                let mut layers = BTreeMap::new();
                let is_critical = stage == Stage::Critical;
                join(&mut layers, &alerts, at, until, |alert| !is_critical || alert.stage == Stage::Critical);
                let told = Told {
                    at,
                    until,
                    journey: Some(journey.to_owned()),
                    urgency,
                    layers,
                    raised_by: BTreeSet::new(),
                    summary: String::new(),
                };
                if is_critical { telling.critical.push(told) } else { telling.lesser.push(told) }
            }
        }
        telling.critical.sort_by_key(|told| told.at);
        telling.lesser.sort_by_key(|told| told.at);
        telling
    }
}

/// Whether somebody is woken by it.
pub fn pages_somebody(reason: Reason, level: Level) -> bool {
    is_news(reason) && level == PAGE
}

pub fn is_news(reason: Reason) -> bool {
    matches!(reason, Reason::Opened | Reason::Escalated | Reason::Blind)
}

fn is_page(told: &NotificationSummary) -> bool {
    (told.stage, told.urgency) == PAGE
}

fn level(alert: &AlertName) -> Level {
    (alert.stage, alert.urgency)
}

fn raiser(alert: &AlertName) -> (Option<String>, String) {
    (alert.layer.clone(), alert.rule.clone())
}

/// Alerts by journey, in their order.
pub fn by_journey(alerts: &[AlertRecord]) -> BTreeMap<&str, Vec<&AlertRecord>> {
    let mut journeys: BTreeMap<&str, Vec<&AlertRecord>> = BTreeMap::new();
    for alert in alerts {
        journeys.entry(&alert.journey).or_default().push(alert);
    }
    journeys
}

/// Adds the layers of alerts that stand at some time from `at` to `until`.
fn join(
    layers: &mut BTreeMap<Option<String>, Timestamp>,
    alerts: &[&AlertRecord],
    at: Timestamp,
    until: Option<Timestamp>,
    meant: impl Fn(&AlertRecord) -> bool,
) {
    // They are sorted by the time they fired.
    let fired = alerts.partition_point(|alert| until.is_none_or(|until| alert.fired_at < until));
    for alert in alerts[..fired].iter().filter(|alert| meant(alert)) {
        if alert.ended_at.is_none_or(|ended| ended > at) && !layers.contains_key(&alert.layer) {
            layers.insert(alert.layer.clone(), alert.fired_at.max(at));
        }
    }
}

/// Each moment at which the worst stage of some alerts rises, that stage, and when the last of them is over then.
fn rises(alerts: &[&AlertRecord]) -> Vec<(Timestamp, Stage, Option<Timestamp>)> {
    let mut changes: BTreeMap<Timestamp, [i64; 2]> = BTreeMap::new();
    for alert in alerts {
        let stage = usize::from(alert.stage == Stage::Critical);
        changes.entry(alert.fired_at).or_default()[stage] += 1;
        if let Some(ended) = alert.ended_at {
            changes.entry(ended).or_default()[stage] -= 1;
        }
    }
    let (mut standing, mut worst) = ([0, 0], None);
    let mut rises: Vec<(Timestamp, Stage, Option<Timestamp>)> = Vec::new();
    let mut open = 0;
    for (at, change) in changes {
        standing = [standing[0] + change[0], standing[1] + change[1]];
        let now = match standing {
            [_, critical] if critical > 0 => Some(Stage::Critical),
            [warnings, _] if warnings > 0 => Some(Stage::Warning),
            _ => None,
        };
        match now {
            Some(stage) if now > worst => rises.push((at, stage, None)),
            None => {
                rises[open..].iter_mut().for_each(|(_, _, until)| *until = Some(at));
                open = rises.len();
            }
            Some(_) => {}
        }
        worst = now;
    }
    rises
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::histogram::Labels;

    fn alert(stage: Stage, from: i64, to: Option<i64>) -> AlertRecord {
        AlertRecord {
            journey: "checkout".into(),
            layer: Some("edge".into()),
            labels: Labels::new(),
            rule: "spike".into(),
            urgency: Urgency::Page,
            stage,
            breached_at: Timestamp::from_unix_s(from),
            fired_at: Timestamp::from_unix_s(from),
            ended_at: to.map(Timestamp::from_unix_s),
            peak_usage: 1.0,
            evaluations: 1,
        }
    }

    #[test]
    fn what_rises_is_news_and_what_falls_is_not() {
        use Stage::{Critical, Warning};
        let check = |alerts: &[(Stage, i64, Option<i64>)], expected: &[(i64, Stage, Option<i64>)]| {
            let alerts: Vec<AlertRecord> = alerts.iter().map(|(stage, from, to)| alert(*stage, *from, *to)).collect();
            let found = rises(&alerts.iter().collect::<Vec<_>>());
            let at = Timestamp::from_unix_s;
            let expected: Vec<_> = expected.iter().map(|(from, stage, to)| (at(*from), *stage, to.map(at))).collect();
            assert_eq!(found, expected);
        };
        check(&[], &[]);
        check(&[(Critical, 1, Some(5))], &[(1, Critical, Some(5))]);
        // One that goes from stage to stage rises twice, and one that joins it raises nothing.
        check(
            &[(Warning, 1, Some(3)), (Critical, 2, Some(4)), (Critical, 3, Some(8)), (Warning, 8, None)],
            &[(1, Warning, None), (2, Critical, None)],
        );
        check(
            &[(Warning, 1, Some(3)), (Critical, 3, Some(5)), (Critical, 7, None)],
            &[(1, Warning, Some(5)), (3, Critical, Some(5)), (7, Critical, None)],
        );
        // One ends as another begins: it went on.
        check(&[(Critical, 1, Some(3)), (Critical, 3, Some(5))], &[(1, Critical, Some(5))]);
    }
}
