//! What one receiver hears of one incident: a thread from the first alert it is told of to the last.
//!
//! Alerts that are held back open nothing, make nothing worse and repeat nothing. But what was told before goes on and
//! is told to be over when it is; and what still stands when it is let go is told then. Beside the thread as it was
//! heard runs the one that would have been, so that what was held back is counted notification by notification.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::alert::AlertKey;
use super::notification::Reason;
use super::route::Hold;
use super::rule::{Stage, Urgency};
use super::time::{Duration, Timestamp};

/// How bad an alert is; ordered.
pub type Level = (Stage, Urgency);

/// An alert that stands, as far as one receiver is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Concern {
    pub alert: AlertKey,
    pub level: Level,
    pub breached_at: Timestamp,
    pub repeat_interval: Option<Duration>,
    pub held: Option<Hold>,
}

/// What is to be told of a thread.
#[derive(Debug, Clone)]
pub struct News {
    /// `Opened` where the source opens an incident, too.
    pub reason: Reason,
    pub level: Level,
    pub began_at: Timestamp,
    /// Those that stand and are not held; of a thread that is over, those it was about.
    pub alerts: BTreeSet<AlertKey>,
    /// It is over though some alerts stand on, which are no part of it.
    pub leaves_some: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thread<A: Ord> {
    alerts: BTreeSet<A>,
    /// The level the receiver knows of, or the lower one it has come to since.
    told: Level,
    worst: Level,
    began_at: Timestamp,
    last_told_at: Timestamp,
    repeat_interval: Option<Duration>,
    /// Whether all of it that stands is held: nothing is repeated then.
    is_held: bool,
}

/// The thread as it would be were nothing held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unheld<A: Ord> {
    thread: Option<Thread<A>>,
    hold: Hold,
}

/// One receiver's thread of one incident. Alerts are known by `A`: by their keys, or, to be remembered, by their names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener<A: Ord = AlertKey> {
    heard: Option<Thread<A>>,
    /// While, and only while, something is held.
    unheld: Option<Unheld<A>>,
}

impl<A: Ord> Default for Listener<A> {
    fn default() -> Self {
        Self { heard: None, unheld: None }
    }
}

impl<A: Ord> Listener<A> {
    /// The same with alerts known by something else; those that are not known by it are left out.
    pub fn map<B: Ord>(self, to: &dyn Fn(&A) -> Option<B>) -> Listener<B> {
        let unheld = self.unheld.map(|Unheld { thread, hold }| Unheld { thread: thread.map(|it| it.map(to)), hold });
        Listener { heard: self.heard.map(|thread| thread.map(to)), unheld }
    }
}

impl Listener {
    /// Takes all alerts that stand for the receiver at `now`. Returns what is to be told, and how many notifications were
    /// held back by what.
    pub fn update(&mut self, now: Timestamp, alerts: &[Concern]) -> (Vec<News>, Option<(Hold, u64)>) {
        let hold = alerts.iter().filter_map(|alert| alert.held).min();
        if let Some(hold) = hold {
            let thread = &self.heard;
            self.unheld.get_or_insert_with(|| Unheld { thread: thread.clone(), hold }).hold = hold;
        }
        let was_told = |alert: &AlertKey| self.heard.as_ref().is_some_and(|thread| thread.alerts.contains(alert));
        let known = alerts.iter().filter(|alert| alert.held.is_none() || was_told(&alert.alert));
        let known: Vec<Concern> = known.copied().collect();
        let news = Thread::advance(&mut self.heard, now, &known);
        let Some(unheld) = &mut self.unheld else { return (news, None) };
        let free: Vec<Concern> = alerts.iter().map(|alert| Concern { held: None, ..*alert }).collect();
        let would_be_told = Thread::advance(&mut unheld.thread, now, &free).len();
        let held_back = (unheld.hold, would_be_told.saturating_sub(news.len()) as u64);
        if hold.is_none() {
            self.unheld = None;
        }
        (news, Some(held_back))
    }

    /// Whether it is to be told again at `now`, or would be, though nothing changed.
    pub fn repeat_due(&self, now: Timestamp) -> bool {
        let unheld = self.unheld.as_ref().and_then(|unheld| unheld.thread.as_ref());
        self.heard.iter().chain(unheld).any(|thread| thread.repeat_due(now))
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.heard.is_none() && self.unheld.is_none()
    }

    /// See [`super::incident::Incident::rewind`].
    pub fn rewind(&mut self, now: Timestamp) {
        for thread in self.threads_mut() {
            thread.began_at = thread.began_at.min(now);
            thread.last_told_at = thread.last_told_at.min(now);
        }
    }

    fn threads_mut(&mut self) -> impl Iterator<Item = &mut Thread<AlertKey>> {
        let unheld = self.unheld.as_mut().and_then(|unheld| unheld.thread.as_mut());
        self.heard.iter_mut().chain(unheld)
    }
}

impl<A: Ord> Thread<A> {
    fn map<B: Ord>(self, to: &dyn Fn(&A) -> Option<B>) -> Thread<B> {
        let Thread { alerts, told, worst, began_at, last_told_at, repeat_interval, is_held } = self;
        let alerts = alerts.iter().filter_map(to).collect();
        Thread { alerts, told, worst, began_at, last_told_at, repeat_interval, is_held }
    }
}

impl Thread<AlertKey> {
    fn advance(kept: &mut Option<Self>, now: Timestamp, alerts: &[Concern]) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(mut over) = kept.take_if(|thread| thread.is_over(alerts)) {
            // What stands on is told anew, and is no part of what is over.
            for alert in alerts {
                over.alerts.remove(&alert.alert);
            }
            news.push(News {
                reason: Reason::Resolved,
                level: over.worst,
                began_at: over.began_at,
                alerts: over.alerts,
                leaves_some: !alerts.is_empty(),
            });
        }
        let free = || alerts.iter().filter(|alert| alert.held.is_none());
        let Some(worst) = free().max_by_key(|alert| alert.level) else {
            if let Some(thread) = kept {
                thread.is_held = true;
                thread.come_to(alerts);
            }
            return news;
        };
        let is_new = kept.is_none();
        let thread = kept.get_or_insert_with(|| Thread {
            alerts: BTreeSet::new(),
            told: worst.level,
            worst: worst.level,
            began_at: free().map(|alert| alert.breached_at).min().unwrap_or(now),
            last_told_at: now,
            repeat_interval: None,
            is_held: false,
        });
        let current: BTreeSet<AlertKey> = free().map(|alert| alert.alert).collect();
        thread.alerts.extend(&current);
        thread.repeat_interval = worst.repeat_interval;
        thread.is_held = false;
        let repeat_due = thread.repeat_due(now);
        let is_worse = worst.level > thread.told;
        thread.come_to(alerts);
        thread.worst = thread.worst.max(worst.level);
        let reason = match is_new {
            true => Reason::Opened,
            false if is_worse => Reason::Escalated,
            false if repeat_due => Reason::Repeated,
            false => return news,
        };
        thread.last_told_at = now;
        let began_at = thread.began_at;
        news.push(News { reason, level: worst.level, began_at, alerts: current, leaves_some: false });
        news
    }

    /// What got better and then worse again is news, so the level is kept that it has come to; what got worse while held
    /// is not known to the receiver yet.
    fn come_to(&mut self, alerts: &[Concern]) {
        let known = |alert: &Concern| if alert.held.is_some() { alert.level.min(self.told) } else { alert.level };
        self.told = alerts.iter().map(known).max().unwrap_or(self.told);
    }

    /// Over is a thread without alerts, and one that paged once only tickets are left: whoever was woken hears that it
    /// is over, and neither they nor their pager take the next page for part of an old ticket.
    fn is_over(&self, alerts: &[Concern]) -> bool {
        let paged = self.worst == (Stage::Critical, Urgency::Page);
        let pages = alerts.iter().any(|alert| alert.level.1 == Urgency::Page);
        alerts.is_empty() || paged && !pages
    }

    fn repeat_due(&self, now: Timestamp) -> bool {
        !self.is_held && self.repeat_interval.is_some_and(|every| now.since(self.last_told_at) >= every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Hold::{InactiveHours, Maintenance, Silenced};
    use Stage::{Critical, Warning};
    use proptest::prelude::*;

    const REPEAT: Duration = Duration::from_minutes(10);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_s(1_772_366_400) + Duration::from_minutes(minutes)
    }

    fn page(rule: usize, stage: Stage, held: Option<Hold>) -> Concern {
        let alert = AlertKey { slo: 0, rule };
        Concern { alert, level: (stage, Urgency::Page), breached_at: at(0), repeat_interval: Some(REPEAT), held }
    }

    /// Steps of a minute, each with the alerts that stand; what was told in each of them, and all that was held back.
    fn check(steps: &[&[Concern]], expected: &[(i64, Reason)], held_back: &[(Hold, u64)]) {
        let mut listener = Listener::default();
        let (mut told, mut held) = (Vec::new(), std::collections::BTreeMap::new());
        for (minute, alerts) in (0..).zip(steps) {
            let (news, held_now) = listener.update(at(minute), alerts);
            told.extend(news.iter().map(|news| (minute, news.reason)));
            let counted = held_now.filter(|(_, count)| *count > 0);
            counted.into_iter().for_each(|(hold, count)| *held.entry(hold).or_insert(0) += count);
        }
        assert_eq!((&told[..], held.into_iter().collect::<Vec<_>>()), (expected, held_back.to_vec()));
    }

    #[test]
    fn what_is_held_is_told_when_it_is_let_go() {
        let held = |stage| [page(0, stage, Some(Silenced))];
        let free = |stage| [page(0, stage, None)];
        // Nobody heard of it: its opening and its end were held back.
        check(&[&held(Critical), &held(Critical), &[]], &[], &[(Silenced, 2)]);
        check(&[&held(Warning), &held(Critical), &free(Critical)], &[(2, Reason::Opened)], &[(Silenced, 2)]);
        // It ended in the very minute in which it would have been let go.
        check(&[&held(Critical), &[], &free(Critical)], &[(2, Reason::Opened)], &[(Silenced, 2)]);
        // Told before: it goes on, and its end is told though it is held.
        let (opened, resolved) = ((0, Reason::Opened), (3, Reason::Resolved));
        check(&[&free(Critical), &held(Critical), &held(Critical), &[]], &[opened, resolved], &[]);
        check(&[&free(Critical), &held(Critical), &free(Critical), &[]], &[opened, resolved], &[]);
        // It got worse meanwhile, which is news once it is let go; and what got better and worse again, too.
        let escalated = (2, Reason::Escalated);
        check(&[&free(Warning), &held(Critical), &free(Critical)], &[opened, escalated], &[(Silenced, 1)]);
        check(&[&free(Critical), &held(Warning), &free(Critical)], &[opened, escalated], &[]);
    }

    #[test]
    fn what_is_held_from_the_beginning_is_no_part_of_what_is_told() {
        let (a, b) = (page(0, Critical, None), page(1, Critical, Some(Maintenance)));
        let opened = (0, Reason::Opened);
        check(&[&[a, b], &[b], &[]], &[opened, (1, Reason::Resolved)], &[(Maintenance, 1)]);
        // A warning beside it is told as what it is, and lets nobody forget that the page was told.
        let (told, warning) = (page(1, Critical, Some(InactiveHours)), page(0, Warning, None));
        let steps: [&[Concern]; 4] =
            [&[page(1, Critical, None)], &[told, warning], &[page(1, Critical, None), warning], &[]];
        check(&steps, &[opened, (3, Reason::Resolved)], &[]);
    }

    #[test]
    fn a_repetition_waits_for_the_end_of_a_hold_and_comes_once() {
        let (free, held) = ([page(0, Critical, None)], [page(0, Critical, Some(InactiveHours))]);
        let steps =
            |hold: usize, rest: usize| [vec![&free[..]; 2], vec![&held[..]; hold], vec![&free[..]; rest]].concat();
        let opened = (0, Reason::Opened);
        // Three of them were due.
        check(&steps(33, 5), &[opened, (35, Reason::Repeated)], &[(InactiveHours, 3)]);
        check(&steps(33, 11), &[opened, (35, Reason::Repeated), (45, Reason::Repeated)], &[(InactiveHours, 3)]);
        check(&steps(3, 6), &[opened, (10, Reason::Repeated)], &[]);
    }

    proptest! {
        /// Whatever alerts do: holding all of them back from begin to end holds back each notification, and no other.
        #[test]
        fn what_is_held_throughout_is_what_would_have_been_told(
            steps in prop::collection::vec(prop::collection::vec(0u8..5, 3), 1..60),
        ) {
            let alerts = |step: &Vec<u8>, held| {
                let standing = step.iter().enumerate().filter(|(_, how)| **how > 0);
                let alert = |(rule, how): (usize, &u8)| {
                    let urgency = if how % 2 == 0 { Urgency::Page } else { Urgency::Ticket };
                    let alert = page(rule, if *how > 2 { Critical } else { Warning }, held);
                    Concern { level: (alert.level.0, urgency), ..alert }
                };
                standing.map(alert).collect::<Vec<_>>()
            };
            let (mut free, mut held) = (Listener::default(), Listener::default());
            let (mut told, mut held_back) = (0, 0);
            for (minute, step) in (0..).zip(steps.iter().chain([&vec![0; 3]])) {
                told += free.update(at(minute), &alerts(step, None)).0.len() as u64;
                let (news, held) = held.update(at(minute), &alerts(step, Some(Silenced)));
                prop_assert!(news.is_empty());
                held_back += held.map_or(0, |(_, count)| count);
            }
            prop_assert_eq!(told, held_back);
            prop_assert!(free.is_idle() && held.is_idle());
        }

        /// Whatever is held when: a receiver hears of an end only after a beginning, and of each beginning's end.
        #[test]
        fn every_beginning_has_its_end(
            steps in prop::collection::vec(prop::collection::vec((0u8..5, any::<bool>()), 3), 1..60),
        ) {
            let mut listener = Listener::default();
            let mut is_open = false;
            for (minute, step) in (0..).zip(steps.iter().chain([&vec![(0, false); 3]])) {
                let standing = step.iter().enumerate().filter(|(_, (how, _))| *how > 0);
                let alert = |(rule, (how, held)): (usize, &(u8, bool))| {
                    page(rule, if *how > 2 { Critical } else { Warning }, held.then_some(Silenced))
                };
                let alerts: Vec<Concern> = standing.map(alert).collect();
                for news in listener.update(at(minute), &alerts).0 {
                    prop_assert_eq!(is_open, news.reason != Reason::Opened);
                    is_open = news.reason != Reason::Resolved;
                    if is_open {
                        prop_assert!(alerts.iter().any(|alert| alert.held.is_none()), "held, and told");
                    }
                }
                prop_assert!(is_open || alerts.iter().all(|alert| alert.held.is_some()), "free, and not told");
            }
            prop_assert!(!is_open && listener.is_idle());
        }
    }
}
