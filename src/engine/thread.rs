//! What one receiver hears of one incident: a thread from the first alert it is told of to the last.
//!
//! Alerts that are held back open nothing, make nothing worse and repeat nothing. But what was told before goes on and
//! is told to be over when it is; and what still stands when it is let go is told then. What comes and goes is held back
//! as well, see [`super::flapping`]. Beside the thread as it was
//! heard runs the one that would have been, so that what was held back is counted notification by notification.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::alert::AlertKey;
use super::flapping::Recent;
use super::notification::Reason;
use super::route::Hold;
use super::rule::{Level, Stage, Urgency};
use super::time::{Duration, Timestamp};

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

/// What follows for one receiver.
#[derive(Debug, Clone, Default)]
pub struct Update {
    pub news: Vec<News>,
    /// Notifications that were held back, and by what.
    pub held: Option<(Hold, u64)>,
    /// Notifications that were held back because the incident comes and goes.
    pub flapping: u64,
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
    /// It is over, and that is not told yet.
    is_ending: bool,
}

/// A thread, and what was told of late in it and in those before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Story<A: Ord> {
    thread: Option<Thread<A>>,
    recent: Recent,
    /// It has begun again, and that is not told yet.
    is_beginning: bool,
}

/// The story as it would be were nothing held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unheld<A: Ord> {
    story: Story<A>,
    hold: Hold,
}

/// One receiver's threads of one incident. Alerts are known by `A`: by their keys, or, to be remembered, by their names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener<A: Ord = AlertKey> {
    heard: Story<A>,
    /// While, and only while, something is held.
    unheld: Option<Unheld<A>>,
}

impl<A: Ord> Default for Story<A> {
    fn default() -> Self {
        Self { thread: None, recent: Recent::default(), is_beginning: false }
    }
}

impl<A: Ord> Default for Listener<A> {
    fn default() -> Self {
        Self { heard: Story::default(), unheld: None }
    }
}

impl<A: Ord> Listener<A> {
    /// The same with alerts known by something else; those that are not known by it are left out.
    pub fn map<B: Ord>(self, to: &dyn Fn(&A) -> Option<B>) -> Listener<B> {
        let unheld = self.unheld.map(|Unheld { story, hold }| Unheld { story: story.map(to), hold });
        Listener { heard: self.heard.map(to), unheld }
    }
}

impl Listener {
    /// Takes all alerts that stand for the receiver at `now`. What flaps `within` this time is held back.
    pub fn update(&mut self, now: Timestamp, alerts: &[Concern], within: Duration) -> Update {
        let hold = alerts.iter().filter_map(|alert| alert.held).min();
        if let Some(hold) = hold {
            let story = &self.heard;
            self.unheld.get_or_insert_with(|| Unheld { story: story.clone(), hold }).hold = hold;
        }
        let was_told =
            |alert: &AlertKey| self.heard.thread.as_ref().is_some_and(|thread| thread.alerts.contains(alert));
        let known = alerts.iter().filter(|alert| alert.held.is_none() || was_told(&alert.alert));
        let known: Vec<Concern> = known.copied().collect();
        let mut update = self.heard.advance(now, &known, within);
        let Some(unheld) = &mut self.unheld else { return update };
        let free: Vec<Concern> = alerts.iter().map(|alert| Concern { held: None, ..*alert }).collect();
        let would_be_told = unheld.story.advance(now, &free, within).news.len();
        update.held = Some((unheld.hold, would_be_told.saturating_sub(update.news.len()) as u64));
        // What would have ended, and flaps, would be told of later.
        let goes_on = alerts.is_empty() && unheld.story.thread.is_some();
        if hold.is_none() && !goes_on {
            self.unheld = None;
        }
        update
    }

    /// Whether something is to be told at `now`, or would be, or is to be forgotten, though nothing changed.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let unheld = self.unheld.as_ref().map(|unheld| &unheld.story);
        [&self.heard].into_iter().chain(unheld).any(|story| story.is_due(now))
    }

    /// Whether the receiver was told of something that it was not told to be over.
    pub fn is_open(&self) -> bool {
        self.heard.thread.is_some()
    }

    /// Forgets what is long past; returns whether there is anything left to remember.
    pub fn remembers(&mut self, now: Timestamp) -> bool {
        self.heard.recent.forget(now);
        self.heard.thread.is_some() || self.unheld.is_some() || !self.heard.recent.is_empty()
    }

    /// See [`super::incident::Incident::rewind`].
    pub fn rewind(&mut self, now: Timestamp, by: Duration) {
        let unheld = self.unheld.as_mut().map(|unheld| &mut unheld.story);
        for story in [&mut self.heard].into_iter().chain(unheld) {
            story.recent.rewind(by);
            if let Some(thread) = &mut story.thread {
                thread.began_at = thread.began_at.min(now);
                thread.last_told_at = thread.last_told_at.min(now);
            }
        }
    }
}

impl<A: Ord> Story<A> {
    fn map<B: Ord>(self, to: &dyn Fn(&A) -> Option<B>) -> Story<B> {
        Story { thread: self.thread.map(|thread| thread.map(to)), recent: self.recent, is_beginning: self.is_beginning }
    }
}

impl<A: Ord> Thread<A> {
    fn map<B: Ord>(self, to: &dyn Fn(&A) -> Option<B>) -> Thread<B> {
        let Thread { alerts, told, worst, began_at, last_told_at, repeat_interval, is_held, is_ending } = self;
        let alerts = alerts.iter().filter_map(to).collect();
        Thread { alerts, told, worst, began_at, last_told_at, repeat_interval, is_held, is_ending }
    }
}

impl Story<AlertKey> {
    fn advance(&mut self, now: Timestamp, alerts: &[Concern], within: Duration) -> Update {
        let mut update = Update::default();
        self.recent.forget(now);
        self.end(now + within, alerts, &mut update);
        self.begin(now, alerts, &mut update);
        if let Some(thread) = &mut self.thread {
            let news = thread.go_on(now, alerts, &self.recent, &mut update.flapping);
            update.news.extend(news);
        }
        let told = update.news.iter().filter(|news| matches!(news.reason, Reason::Opened | Reason::Escalated));
        told.for_each(|news| self.recent.note(now + within, news.level, false));
        update
    }

    /// Tells that the thread is over, if it is, which counts until then.
    fn end(&mut self, until: Timestamp, alerts: &[Concern], update: &mut Update) {
        let Some(thread) = &mut self.thread else { return };
        let was_ending = thread.is_ending;
        thread.is_ending = thread.is_over(alerts);
        if !thread.is_ending {
            return;
        }
        if !self.recent.may_end(thread.worst, !alerts.is_empty()) {
            update.flapping += u64::from(!was_ending);
            return;
        }
        let Some(mut over) = self.thread.take() else { return };
        self.recent.note(until, over.worst, true);
        // What stands on is told anew, and is no part of what is over.
        for alert in alerts {
            over.alerts.remove(&alert.alert);
        }
        update.news.push(News {
            reason: Reason::Resolved,
            level: over.worst,
            began_at: over.began_at,
            alerts: over.alerts,
            leaves_some: !alerts.is_empty(),
        });
    }

    /// Begins a thread, if there is none and something is to be told.
    fn begin(&mut self, now: Timestamp, alerts: &[Concern], update: &mut Update) {
        let was_beginning = std::mem::take(&mut self.is_beginning);
        let free = || alerts.iter().filter(|alert| alert.held.is_none());
        let (None, Some(worst)) = (&self.thread, free().max_by_key(|alert| alert.level)) else { return };
        // What stands on beside what ended now is told at once.
        if update.news.is_empty() && !self.recent.may_begin(worst.level) {
            self.is_beginning = true;
            update.flapping += u64::from(!was_beginning);
            return;
        }
        let current: BTreeSet<AlertKey> = free().map(|alert| alert.alert).collect();
        let began_at = free().map(|alert| alert.breached_at).min().unwrap_or(now);
        self.thread = Some(Thread {
            alerts: current.clone(),
            told: worst.level,
            worst: worst.level,
            began_at,
            last_told_at: now,
            repeat_interval: worst.repeat_interval,
            is_held: false,
            is_ending: false,
        });
        let (reason, level) = (Reason::Opened, worst.level);
        update.news.push(News { reason, level, began_at, alerts: current, leaves_some: false });
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let waits = self.is_beginning || self.thread.as_ref().is_some_and(|thread| thread.is_ending);
        waits && self.recent.next_at().is_none_or(|at| at <= now)
            || self.thread.is_none() && self.recent.is_past(now)
            || self.thread.as_ref().is_some_and(|thread| thread.repeat_due(now))
    }
}

impl Thread<AlertKey> {
    /// Takes the alerts that stand; returns what is to be told of a thread that was there before.
    fn go_on(&mut self, now: Timestamp, alerts: &[Concern], recent: &Recent, flapping: &mut u64) -> Option<News> {
        let free = || alerts.iter().filter(|alert| alert.held.is_none());
        let Some(worst) = free().max_by_key(|alert| alert.level) else {
            self.is_held = true;
            self.come_to(alerts);
            return None;
        };
        let current: BTreeSet<AlertKey> = free().map(|alert| alert.alert).collect();
        self.alerts.extend(&current);
        self.repeat_interval = worst.repeat_interval;
        self.is_held = false;
        let repeat_due = self.repeat_due(now);
        let is_worse = worst.level > self.told;
        self.come_to(alerts);
        self.worst = self.worst.max(worst.level);
        let is_known = is_worse && recent.knows(worst.level);
        *flapping += u64::from(is_known);
        let reason = match (is_worse && !is_known, repeat_due) {
            (true, _) => Reason::Escalated,
            (false, true) => Reason::Repeated,
            (false, false) => return None,
        };
        self.last_told_at = now;
        Some(News { reason, level: worst.level, began_at: self.began_at, alerts: current, leaves_some: false })
    }

    /// What got better and then worse again is news unless it was told of late, so the level is kept that it has come to;
    /// what got worse while held is not known to the receiver yet.
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

    const HOUR: Duration = Duration::from_hours(1);
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
            let update = listener.update(at(minute), alerts, HOUR);
            told.extend(update.news.iter().map(|news| (minute, news.reason)));
            let counted = update.held.filter(|(_, count)| *count > 0);
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
        // It got worse meanwhile, which is news once it is let go; what got better and is as bad again is known.
        let escalated = (2, Reason::Escalated);
        check(&[&free(Warning), &held(Critical), &free(Critical)], &[opened, escalated], &[(Silenced, 1)]);
        check(&[&free(Critical), &held(Warning), &free(Critical)], &[opened], &[]);
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
        /// Whatever alerts do: holding all of them back from begin to end holds back each notification.
        #[test]
        fn what_is_held_throughout_is_at_least_what_would_have_been_told(
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
            let quiet = vec![0; 3];
            let over = [100, 200, 300].map(|minute| (minute, &quiet));
            for (minute, step) in (0..).zip(&steps).chain(over) {
                told += free.update(at(minute), &alerts(step, None), HOUR).news.len() as u64;
                let update = held.update(at(minute), &alerts(step, Some(Silenced)), HOUR);
                prop_assert!(update.news.is_empty());
                held_back += update.held.map_or(0, |(_, count)| count);
            }
            // What flaps while nothing of it is told is counted each time.
            prop_assert!(told <= held_back, "{told} told, {held_back} held back");
            prop_assert!(!free.remembers(at(400)) && !held.remembers(at(400)));
        }

        /// Whatever is held when: a receiver hears of an end only after a beginning, and of each beginning's end.
        #[test]
        fn every_beginning_has_its_end(
            steps in prop::collection::vec(prop::collection::vec((0u8..5, any::<bool>()), 3), 1..60),
        ) {
            let mut listener = Listener::default();
            let mut is_open = false;
            // So far apart that nothing flaps.
            for (minute, step) in (0..).step_by(61).zip(steps.iter().chain([&vec![(0, false); 3]])) {
                let standing = step.iter().enumerate().filter(|(_, (how, _))| *how > 0);
                let alert = |(rule, (how, held)): (usize, &(u8, bool))| {
                    page(rule, if *how > 2 { Critical } else { Warning }, held.then_some(Silenced))
                };
                let alerts: Vec<Concern> = standing.map(alert).collect();
                for news in listener.update(at(minute), &alerts, HOUR).news {
                    prop_assert_eq!(is_open, news.reason != Reason::Opened);
                    is_open = news.reason != Reason::Resolved;
                    if is_open {
                        prop_assert!(alerts.iter().any(|alert| alert.held.is_none()), "held, and told");
                    }
                }
                prop_assert!(is_open || alerts.iter().all(|alert| alert.held.is_some()), "free, and not told");
            }
            prop_assert!(!is_open && !listener.remembers(at(10_000)));
        }

        /// However one rule comes and goes: at most four times an hour, and nobody waits for a page.
        #[test]
        fn what_flaps_is_told_four_times_an_hour_and_never_late(
            steps in prop::collection::vec((0u8..3, 1i64..40), 1..300),
        ) {
            let mut listener = Listener::default();
            let (mut minute, mut told, mut known) = (0, Vec::new(), None);
            let quiet = [(0, 100), (0, 100), (0, 100)];
            for (how, wait) in steps.iter().copied().chain(quiet) {
                minute += if wait < 30 { 1 } else { wait };
                let stage = [None, Some(Warning), Some(Critical)][usize::from(how)];
                let alert = stage.map(|stage| Concern { repeat_interval: None, ..page(0, stage, None) });
                for news in listener.update(at(minute), alert.as_slice(), HOUR).news {
                    prop_assert_eq!(known.is_none(), news.reason == Reason::Opened);
                    known = (news.reason != Reason::Resolved).then_some(news.level.0);
                    told.push(minute);
                }
                prop_assert!(stage != Some(Critical) || known == Some(Critical), "a page waits");
                let recent = told.iter().filter(|at| minute - **at < 60).count();
                prop_assert!(recent <= 4, "{recent} within an hour");
            }
            prop_assert_eq!(known, None, "it was told that it is over");
            prop_assert!(!listener.remembers(at(minute + 100)));
        }
    }
}
