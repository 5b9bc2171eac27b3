//! What stands at receivers that hold alerts only for as long as they are told of them (Alertmanager): each alert at
//! each stage it has come to, and for a while what has ended, so that a receiver that missed the end hears of it.
//!
//! A critical alert stands as a warning, too: nothing ends there because something got worse, and the warning goes on
//! when it gets better. What is held back (silences and the like) does not begin here; but what had begun stands until
//! it is over, as a receiver that is told no more of it would say that it has ended while it still burns.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::AlertKey;
use super::histogram::Labels;
use super::notification::{Moves, Notification, Reason};
use super::rule::Stage;
use super::time::{Duration, Timestamp};

/// What has ended is told for this long. Prometheus does the same (`resolvedRetention`).
pub const RESENT_FOR: Duration = Duration::from_minutes(15);
/// Ended alerts remembered for one receiver; the oldest give way beyond it. Each takes about a kilobyte.
pub const MAX_ENDED: usize = 20_000;

/// Which alert, whatever the configuration calls it inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    layer: Option<String>,
    labels: Labels,
    /// Empty for the incident of the source.
    rule: String,
    stage: Stage,
}

/// One alert at one stage. Its notification tells of it alone, and has neither id nor receiver of its own: it is posted
/// and not delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// `None` once the rule is of no configuration any more.
    pub alert: Option<AlertKey>,
    pub notification: Notification,
}

/// What stands, or ended lately: by receiver, then incident.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    receivers: BTreeMap<usize, BTreeMap<String, BTreeMap<Name, Post>>>,
}

/// An alert that stands and is routed to the receiver.
#[derive(Debug, Clone)]
pub struct Standing {
    pub alert: AlertKey,
    pub layer: Option<String>,
    pub labels: Labels,
    /// Empty for the incident of the source, which is critical or nothing.
    pub rule: String,
    pub stage: Stage,
    /// Nobody is to be told of it now.
    pub held: bool,
}

impl Roster {
    /// Takes all that stands of one incident at one receiver; what stood before and does not any more has ended.
    /// `describe` tells of one alert as it stands.
    pub fn note(
        &mut self,
        now: Timestamp,
        (receiver, incident): (usize, &str),
        standing: &[Standing],
        describe: &dyn Fn(AlertKey) -> Notification,
    ) {
        let incidents = self.receivers.entry(receiver).or_default();
        let posts = incidents.entry(incident.to_owned()).or_default();
        let mut current = BTreeSet::new();
        for alert in standing {
            for name in alert.names() {
                match posts.get_mut(&name).filter(|post| post.stands()) {
                    Some(known) => known.alert = Some(alert.alert),
                    None if alert.held => continue,
                    None => {
                        let notification = describe(alert.alert).at_stage(name.stage);
                        posts.insert(name.clone(), Post { alert: Some(alert.alert), notification });
                    }
                }
                current.insert(name);
            }
        }
        for (name, post) in posts.iter_mut() {
            if post.stands() && !current.contains(name) {
                post.notification = post.told(now, |key| Some(describe(key)));
                post.end(now);
            }
        }
    }

    /// What stands at a receiver, and what has ended there lately.
    pub fn posts(&self, receiver: usize, now: Timestamp) -> impl Iterator<Item = &Post> {
        let incidents = self.receivers.get(&receiver).into_iter().flat_map(BTreeMap::values);
        incidents.flat_map(BTreeMap::values).filter(move |post| !post.is_over(now))
    }

    /// The same for another configuration; receivers that are gone are told nothing more.
    pub fn renumbered(self, moves: &Moves) -> Self {
        let mut moved = Self::default();
        for (receiver, mut incidents) in self.receivers {
            let Some(place) = moves.receivers.get(receiver).copied().flatten() else { continue };
            for post in incidents.values_mut().flat_map(BTreeMap::values_mut) {
                post.alert = post.alert.and_then(|key| moves.alert(key));
                if let Some(notification) = moves.notification(&post.notification) {
                    post.notification = notification;
                }
            }
            moved.receivers.insert(place, incidents);
        }
        moved
    }

    /// The wall clock was set back to `now`.
    pub fn rewind(&mut self, now: Timestamp) {
        let incidents = self.receivers.values_mut().flat_map(BTreeMap::values_mut);
        for post in incidents.flat_map(BTreeMap::values_mut) {
            let began_at = post.notification.opened_at.min(now);
            post.notification.begin(began_at);
            if post.notification.resolved_at.is_some_and(|at| at > now) {
                post.end(now);
            }
        }
    }

    /// Drops what ended long ago.
    pub fn forget(&mut self, now: Timestamp) {
        for incidents in self.receivers.values_mut() {
            incidents.values_mut().for_each(|posts| posts.retain(|_, post| !post.is_over(now)));
            let ended = incidents.values().flat_map(BTreeMap::values).filter_map(|post| post.notification.resolved_at);
            let mut ended: Vec<Timestamp> = ended.collect();
            if let Some(too_many) = ended.len().checked_sub(MAX_ENDED).filter(|too_many| *too_many > 0) {
                ended.sort_unstable();
                let keep_from = ended[too_many];
                // Of those that ended together with the first that is kept, some go as well.
                let mut surplus = too_many - ended.partition_point(|at| *at < keep_from);
                let mut is_kept = |post: &Post| match post.notification.resolved_at {
                    Some(at) if at == keep_from && surplus > 0 => {
                        surplus -= 1;
                        false
                    }
                    Some(at) => at >= keep_from,
                    None => true,
                };
                incidents.values_mut().for_each(|posts| posts.retain(|_, post| is_kept(post)));
            }
            incidents.retain(|_, posts| !posts.is_empty());
        }
    }
}

impl Post {
    pub fn stands(&self) -> bool {
        self.notification.resolved_at.is_none()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.notification.resolved_at.is_some_and(|at| now.since(at) > RESENT_FOR)
    }

    fn end(&mut self, now: Timestamp) {
        self.notification.reason = Reason::Resolved;
        self.notification.resolved_at = Some(now);
        for alert in &mut self.notification.alerts {
            alert.ended_at = Some(now);
        }
    }
}

impl Standing {
    /// A critical alert of a rule stands as a critical one and as a warning.
    fn names(&self) -> Vec<Name> {
        let at =
            |stage| Name { layer: self.layer.clone(), labels: self.labels.clone(), rule: self.rule.clone(), stage };
        match self.stage {
            Stage::Critical if !self.rule.is_empty() => vec![at(Stage::Critical), at(Stage::Warning)],
            stage => vec![at(stage)],
        }
    }
}

impl Post {
    /// What it tells at `now`, where `describe` knows how the alert stands.
    pub fn told(&self, now: Timestamp, describe: impl FnOnce(AlertKey) -> Option<Notification>) -> Notification {
        let known = &self.notification;
        let fresh = self.alert.filter(|_| self.stands()).and_then(describe);
        // An SLO that is gone is not described any more.
        let Some(fresh) = fresh.filter(|fresh| fresh.alerts.len() == known.alerts.len()) else {
            return Notification { at: now, ..known.clone() };
        };
        let mut told = fresh.at_stage(self.notification.stage);
        told.begin(self.notification.opened_at);
        Notification { at: now, ..told }
    }
}

impl Notification {
    /// The same of one alert at another stage.
    fn at_stage(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self.alerts.iter_mut().for_each(|alert| alert.stage = stage);
        self.summarize();
        self
    }

    fn begin(&mut self, at: Timestamp) {
        self.opened_at = at;
        self.alerts.iter_mut().for_each(|alert| alert.breached_at = at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice;

    use crate::engine::notification::AlertFacts;
    use crate::engine::rule::{Limit, Urgency};
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_unix_s(1_772_366_400);
    const AM: usize = 2;

    fn standing(rule: usize, stage: Stage, held: bool) -> Standing {
        Standing {
            alert: AlertKey { slo: 0, rule },
            layer: Some("edge".into()),
            labels: Labels::new(),
            rule: format!("rule-{rule}"),
            stage,
            held,
        }
    }

    fn describe(key: AlertKey) -> Notification {
        let alert = AlertFacts {
            slo: key.slo,
            layer: Some("edge".into()),
            labels: Labels::new(),
            rule: format!("rule-{}", key.rule),
            limit: Limit::BudgetConsumed { share: 1.0 },
            urgency: Urgency::Page,
            stage: Stage::Critical,
            usage: 1.0,
            breached_at: START,
            fired_at: START,
            ended_at: None,
            burn_long: 1.0,
            burn_short: 1.0,
            events: 1.0,
            bad_events: 1.0,
            share_of_slow: 1.0,
            quantiles_s: None,
            budget_s: 0.1,
            objective_ppm: 990_000,
            period: Duration::from_days(30),
            budget_remaining: 0.5,
            exhausted_in: None,
            period_coverage: 1.0,
        };
        Notification {
            id: String::new(),
            at: START,
            receiver: AM,
            reason: Reason::Opened,
            incident: "checkout".into(),
            journey: Some("checkout".into()),
            owner: None,
            runbook: None,
            group: Labels::new(),
            stage: Stage::Critical,
            urgency: Urgency::Page,
            opened_at: START,
            resolved_at: None,
            alerts: vec![alert],
            detail: None,
            digest: None,
            summary: String::new(),
        }
    }

    /// `rule-0 critical`, and `ended` or not, of all that would be posted.
    fn posted(roster: &Roster, now: Timestamp) -> Vec<String> {
        let told = roster.posts(AM, now).map(|post| post.told(now, |_| None));
        let told = told.map(|told| {
            let alert = &told.alerts[0];
            assert_eq!((told.stage, told.resolved_at), (alert.stage, alert.ended_at));
            let end = if told.resolved_at.is_some() { " ended" } else { "" };
            format!("{} {}{end}", alert.rule, alert.stage.as_str())
        });
        let mut told: Vec<String> = told.collect();
        told.sort();
        told
    }

    /// Notes each row a minute after the one before, and compares what is posted then.
    fn check(rows: &[(&[Standing], &[&str])]) -> Roster {
        let (mut roster, mut now) = (Roster::default(), START);
        for (standing, expected) in rows {
            roster.note(now, (AM, "checkout"), standing, &describe);
            assert_eq!(posted(&roster, now), *expected, "{standing:?}");
            now += Duration::from_minutes(1);
        }
        roster
    }

    #[test]
    fn nothing_ends_because_it_got_worse_and_the_warning_goes_on_when_it_gets_better() {
        let (warning, critical) = (standing(0, Stage::Warning, false), standing(0, Stage::Critical, false));
        let roster = check(&[
            (slice::from_ref(&warning), &["rule-0 warning"]),
            (slice::from_ref(&critical), &["rule-0 critical", "rule-0 warning"]),
            (slice::from_ref(&warning), &["rule-0 critical ended", "rule-0 warning"]),
            (slice::from_ref(&critical), &["rule-0 critical", "rule-0 warning"]),
            (&[], &["rule-0 critical ended", "rule-0 warning ended"]),
        ]);
        // What ended at minute four is told until minute 19.
        let at = |minutes| posted(&roster, START + Duration::from_minutes(minutes)).len();
        assert_eq!((at(19), at(20)), (2, 0));
    }

    #[test]
    fn what_is_held_begins_later_and_what_had_begun_stands() {
        let held = |stage| standing(0, stage, true);
        let told = |stage| standing(0, stage, false);
        check(&[
            (&[held(Stage::Warning)], &[]),
            (&[told(Stage::Warning)], &["rule-0 warning"]),
            (&[held(Stage::Warning)], &["rule-0 warning"]),
            (&[held(Stage::Critical)], &["rule-0 warning"]),
            (&[told(Stage::Critical)], &["rule-0 critical", "rule-0 warning"]),
            (&[held(Stage::Critical)], &["rule-0 critical", "rule-0 warning"]),
            (&[], &["rule-0 critical ended", "rule-0 warning ended"]),
            (&[held(Stage::Critical)], &["rule-0 critical ended", "rule-0 warning ended"]),
        ]);
    }

    #[test]
    fn the_source_has_one_stage() {
        let source = Standing { rule: String::new(), ..standing(0, Stage::Critical, false) };
        assert_eq!(source.names().len(), 1);
    }

    #[test]
    fn ended_alerts_are_bounded() {
        let (mut roster, many) = (Roster::default(), MAX_ENDED / 2 + 100);
        let all: Vec<Standing> = (0..many).map(|rule| standing(rule, Stage::Critical, false)).collect();
        roster.note(START, (AM, "checkout"), &all, &describe);
        roster.note(START + Duration::from_secs(1), (AM, "checkout"), &all[..200], &describe);
        roster.note(START + Duration::from_secs(2), (AM, "checkout"), &[], &describe);
        roster.forget(START + Duration::from_secs(2));
        let kept = posted(&roster, START + Duration::from_secs(3));
        assert_eq!(kept.len(), MAX_ENDED);
        // Those that ended last.
        assert!((0..200).all(|rule| kept.contains(&format!("rule-{rule} critical ended"))));
    }

    proptest! {
        /// Whatever comes and goes: what stands is posted as standing, what it stood for is posted as ended, and a
        /// critical alert never without its warning.
        #[test]
        fn what_was_posted_is_posted_until_it_has_ended(
            steps in prop::collection::vec(prop::collection::vec(0u8..3, 3), 1..30),
        ) {
            let (mut roster, mut now) = (Roster::default(), START);
            let mut ever = BTreeSet::new();
            for step in steps {
                let stages = step.iter().enumerate().filter_map(|(rule, level)| match level {
                    0 => None,
                    1 => Some(standing(rule, Stage::Warning, false)),
                    _ => Some(standing(rule, Stage::Critical, false)),
                });
                let all: Vec<Standing> = stages.collect();
                roster.note(now, (AM, "checkout"), &all, &describe);
                roster.forget(now);
                let posted: BTreeSet<String> = posted(&roster, now).into_iter().collect();
                let mut expected = BTreeSet::new();
                for alert in &all {
                    expected.extend(alert.names().iter().map(|name| format!("{} {}", name.rule, name.stage.as_str())));
                }
                ever.extend(expected.iter().cloned());
                let ended = ever.difference(&expected).map(|name| format!("{name} ended"));
                let ended: BTreeSet<String> = ended.collect();
                prop_assert_eq!(posted, expected.union(&ended).cloned().collect::<BTreeSet<_>>());
                now += Duration::from_secs(10);
            }
        }
    }
}
