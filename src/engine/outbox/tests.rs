//! Whatever receivers answer, and however much there is to tell.

mod flood;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::names::Places;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::spec::Pace;

const START: Timestamp = Timestamp::from_unix_s(1_772_366_400);
const PAGERDUTY: Pace = Pace { burst: 60, every: Duration::from_secs(1) };
const SLACK: Pace = Pace { burst: 1, every: Duration::from_secs(1) };

fn spec(name: &str, pace: Option<Pace>, keeps_alerts: bool) -> ReceiverSpec {
    ReceiverSpec { pace, keeps_alerts, ..ReceiverSpec::new(name) }
}

/// On-call and the team; what on-call refuses is for the team.
fn outbox() -> Outbox {
    Outbox::new(vec![ReceiverSpec { fallback: Some(1), ..ReceiverSpec::new("oncall") }, ReceiverSpec::new("team")])
}

/// Incidents with an even number are pages.
fn notification(number: usize, receiver: usize, incident: usize, reason: Reason) -> Notification {
    let mut told = Notification {
        id: format!("sb-{number}"),
        at: START,
        receiver,
        reason,
        incident: format!("journey-{incident}"),
        journey: Some(format!("journey-{incident}")),
        owner: None,
        runbook: None,
        group: Default::default(),
        stage: Stage::Critical,
        urgency: if incident.is_multiple_of(2) { Urgency::Page } else { Urgency::Ticket },
        opened_at: START,
        resolved_at: (reason == Reason::Resolved).then_some(START),
        alerts: Vec::new(),
        detail: None,
        digest: None,
        summary: String::new(),
    };
    told.summarize();
    told
}

fn retry(after: Option<i64>) -> Outcome {
    Outcome::Retry { after: after.map(Duration::from_secs), why: "503".into() }
}

/// What a receiver knows, from all that it took.
#[derive(Debug, Default)]
struct Listener {
    keeps_alerts: bool,
    /// Incidents told by themselves, and whether they stand.
    single: BTreeMap<String, bool>,
    /// The same for those told in summaries.
    listed: BTreeMap<String, bool>,
    /// Incidents of which something was sent and not taken, for all that the sender knows.
    perhaps: BTreeSet<String>,
    /// What it took, by id: it knows a repetition by that.
    taken: BTreeSet<String>,
    /// Ends that it refused: they stand there for good.
    stuck: BTreeSet<String>,
}

impl Listener {
    fn hear(&mut self, told: &Notification) -> Result<(), TestCaseError> {
        if !self.taken.insert(told.id.clone()) {
            return Ok(());
        }
        if let Some(digest) = &told.digest {
            for entry in &digest.entries {
                let by_itself = self.single.get(&entry.incident) == Some(&true);
                let stands = entry.ended_at.is_none();
                prop_assert!(!(self.keeps_alerts && by_itself), "{} is told in two ways", entry.incident);
                // A list ends what was told by itself; it does not undo that its beginning was.
                self.single.entry(entry.incident.clone()).and_modify(|single| *single &= stands);
                self.listed.insert(entry.incident.clone(), stands);
            }
            if self.keeps_alerts && digest.open == 0 {
                self.listed.values_mut().for_each(|stands| *stands = false);
            }
            return Ok(());
        }
        let stands = self.single.get(&told.incident).copied();
        match told.reason {
            Reason::Escalated | Reason::Repeated => {
                prop_assert_eq!(stands, Some(true), "{:?} of {} came first", told.reason, told.incident);
            }
            Reason::Resolved if self.keeps_alerts && !self.perhaps.contains(&told.incident) => {
                prop_assert_eq!(stands, Some(true), "a resolve of {} without its trigger", told.incident);
            }
            _ => {}
        }
        self.single.insert(told.incident.clone(), told.reason != Reason::Resolved);
        self.listed.remove(&told.incident);
        Ok(())
    }

    fn knows(&self, incident: &str) -> Option<bool> {
        let states = [self.single.get(incident), self.listed.get(incident)];
        states.into_iter().flatten().copied().reduce(|a, b| a || b)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// The incident opens, goes on, or resolves, as its state allows.
    Change {
        incident: usize,
        resolve: bool,
        page: bool,
    },
    /// The oldest send under way ends; one without an answer was taken or not.
    Settle(Outcome, bool),
    Wait {
        s: i64,
    },
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let refused = Outcome::Rejected { why: "400".into() };
    let lost = Outcome::Unanswered { why: "cut".into() };
    prop_oneof![6 => Just(Outcome::Delivered), 2 => Just(retry(None)), 2 => Just(retry(Some(40))), 1 => Just(lost), 1 => Just(refused)]
}

fn step(incidents: usize) -> impl Strategy<Value = Step> {
    let change = (0..incidents, any::<bool>(), any::<bool>());
    prop_oneof![
        5 => change.prop_map(|(incident, resolve, page)| Step::Change { incident, resolve, page }),
        4 => (outcome(), any::<bool>()).prop_map(|(outcome, taken)| Step::Settle(outcome, taken)),
        2 => (1i64..120).prop_map(|s| Step::Wait { s }),
    ]
}

/// The world around an outbox: two receivers, the second of which takes everything.
struct World {
    outbox: Outbox,
    now: Timestamp,
    /// Open incidents, by number, and whether they are pages.
    open: BTreeMap<usize, bool>,
    ever: BTreeSet<usize>,
    under_way: VecDeque<Delivery>,
    listeners: [Listener; 2],
    ids: BTreeMap<String, Arc<Notification>>,
    number: usize,
}

impl World {
    fn new(pace: Option<Pace>, keeps_alerts: bool) -> Self {
        let first = ReceiverSpec { fallback: Some(1), ..spec("oncall", pace, keeps_alerts) };
        Self {
            outbox: Outbox::new(vec![first, spec("team", None, false)]),
            now: START,
            open: BTreeMap::new(),
            ever: BTreeSet::new(),
            under_way: VecDeque::new(),
            listeners: [Listener { keeps_alerts, ..Listener::default() }, Listener::default()],
            ids: BTreeMap::new(),
            number: 0,
        }
    }

    fn change(&mut self, incident: usize, resolve: bool, page: bool) {
        let reason = match (self.open.get(&incident), resolve) {
            (None, _) => Reason::Opened,
            (Some(_), true) => Reason::Resolved,
            (Some(was), false) if page && !was => Reason::Escalated,
            (Some(_), false) => Reason::Repeated,
        };
        let page = page || self.open.get(&incident) == Some(&true);
        if reason == Reason::Resolved {
            self.open.remove(&incident)
        } else {
            self.open.insert(incident, page)
        };
        self.ever.insert(incident);
        self.number += 1;
        let urgency = if page { Urgency::Page } else { Urgency::Ticket };
        let told = notification(self.number, 0, incident, reason);
        self.outbox.push(self.now, Notification { at: self.now, urgency, ..told });
    }

    /// Ends the oldest send under way, or waits for the next one.
    fn settle(&mut self, outcome: Outcome, taken: bool) -> Result<(), TestCaseError> {
        let Some(sent) = self.under_way.pop_front() else {
            self.now = self.outbox.wake_at().map_or(self.now, |at| at.max(self.now));
            return Ok(());
        };
        let told = &sent.notification;
        let outcome = if told.receiver == 1 { Outcome::Delivered } else { outcome };
        match &outcome {
            Outcome::Delivered => self.listeners[told.receiver].hear(told)?,
            Outcome::Unanswered { .. } if taken => self.listeners[told.receiver].hear(told)?,
            Outcome::Unanswered { .. } => drop(self.listeners[0].perhaps.insert(told.incident.clone())),
            Outcome::Rejected { .. } if told.reason == Reason::Resolved || told.digest.is_some() => {
                let named = told.digest.iter().flat_map(|digest| &digest.entries).map(|entry| entry.incident.clone());
                self.listeners[0].single.remove(&told.incident);
                self.listeners[0].stuck.extend(named.chain([told.incident.clone()]));
            }
            // Summaries tell of it no more, and it is not told by itself.
            Outcome::Rejected { .. } if self.listeners[0].keeps_alerts => {
                self.listeners[0].listed.remove(&told.incident);
            }
            _ => {}
        }
        self.outbox.settle(self.now, &told.id, outcome);
        Ok(())
    }

    fn send(&mut self) -> Result<(), TestCaseError> {
        for delivery in self.outbox.due(self.now) {
            let told = &delivery.notification;
            if delivery.attempt > 0 {
                prop_assert_eq!(self.ids.get(&told.id), Some(told), "a retry has the same id and content");
            }
            prop_assert!(!self.under_way.iter().any(|other| other.notification.id == told.id));
            self.ids.insert(told.id.clone(), told.clone());
            self.under_way.push_back(delivery);
        }
        prop_assert!(self.under_way.len() <= 2 * MAX_IN_FLIGHT);
        prop_assert!(self.outbox.pending(0) <= MAX_PENDING + MAX_SUMMARISED);
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Change { incident, resolve, page } => self.change(incident, resolve, page),
            Step::Settle(outcome, taken) => self.settle(outcome, taken)?,
            Step::Wait { s } => self.now += Duration::from_secs(s),
        }
        self.send()
    }

    /// Every receiver takes everything from here on, and in the end knows what is so.
    fn end(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2000 {
            self.step(Step::Settle(Outcome::Delivered, true))?;
        }
        prop_assert_eq!((self.outbox.pending(0), self.outbox.pending(1), self.outbox.wake_at()), (0, 0, None));
        let [oncall, team] = &self.listeners;
        for incident in &self.ever {
            let name = format!("journey-{incident}");
            if oncall.stuck.contains(&name) {
                continue;
            }
            let (at_oncall, at_team) = (oncall.knows(&name), team.knows(&name));
            // One alert there stands for the whole list, and what has left the list is told by itself.
            let alerted = if oncall.keeps_alerts { oncall.single.get(&name).copied() } else { at_oncall };
            if self.open.contains_key(incident) {
                prop_assert!(at_oncall == Some(true) || at_team == Some(true), "{} stands unheard", name);
            } else {
                prop_assert!(
                    alerted != Some(true) && at_team != Some(true),
                    "{} is over: {:?}",
                    name,
                    (at_oncall, at_team)
                );
                prop_assert!(at_oncall.is_some() || at_team.is_some(), "nobody heard of {}", name);
            }
        }
        if oncall.keeps_alerts && oncall.stuck.is_empty() {
            let stands = oncall.listed.values().any(|stands| *stands);
            prop_assert_eq!(self.outbox.summarised(0) > 0, stands, "the alert of the list");
        }
        Ok(())
    }
}

fn pace() -> impl Strategy<Value = Option<Pace>> {
    let slow = Pace { burst: 1, every: Duration::from_secs(20) };
    let quick = Pace { burst: 4, every: Duration::from_secs(10) };
    prop_oneof![Just(None), Just(Some(slow)), Just(Some(quick))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a receiver answers and however often: it hears of every incident first that it opened, and in the end
    /// how it stands; by itself, in a summary, or by the fallback.
    #[test]
    fn order_and_the_newest_state_survive_any_receiver(
        steps in vec(step(12), 1..200),
        pace in pace(),
        keeps_alerts in any::<bool>(),
    ) {
        let mut world = World::new(pace, keeps_alerts);
        for step in steps {
            world.step(step)?;
        }
        world.end()?;
    }

    /// However long sends take and wherever in between they arrive.
    #[test]
    fn no_receiver_sees_more_than_its_pace(sends in vec((0i64..10_000, 0.0..1.0f64), 1..250), pagerduty in any::<bool>()) {
        let (pace, window, limit) =
            if pagerduty { (PAGERDUTY, Duration::from_minutes(1), 120) } else { (SLACK, Duration::from_secs(1), 1) };
        let mut outbox = Outbox::new(vec![spec("oncall", Some(pace), true)]);
        for number in 0..sends.len() {
            // A key that is never folded, as if each had been told of by itself.
            outbox.push(START, notification(number, 0, number, Reason::Resolved));
        }
        let (mut now, mut sends, mut arrivals) = (START, sends.into_iter(), Vec::new());
        let mut under_way: BTreeMap<(Timestamp, String), ()> = BTreeMap::new();
        loop {
            for delivery in outbox.due(now) {
                let (takes_ms, share) = sends.next().unwrap_or_default();
                arrivals.push(now + Duration::from_ms(takes_ms).times(share));
                under_way.insert((now + Duration::from_ms(takes_ms), delivery.notification.id.clone()), ());
            }
            let ends = under_way.first_key_value().map(|((at, _), ())| *at);
            let Some(next) = ends.into_iter().chain(outbox.wake_at()).min() else { break };
            now = now.max(next);
            while let Some(((at, id), ())) = under_way.first_key_value().map(|(key, ())| (key.clone(), ()))
                && at <= now
            {
                under_way.pop_first();
                outbox.settle(now, &id, Outcome::Delivered);
            }
        }
        prop_assert_eq!(outbox.pending(0), 0);
        arrivals.sort();
        for (first, at) in arrivals.iter().enumerate() {
            let within = arrivals[first..].iter().take_while(|other| other.since(*at) < window).count();
            prop_assert!(within <= limit, "{} within {}", within, window);
        }
    }
}

#[test]
fn pages_go_before_tickets() {
    let mut outbox = outbox();
    for incident in [1, 3, 5, 7, 0] {
        outbox.push(START, notification(incident, 0, incident, Reason::Opened));
    }
    let first = &outbox.due(START)[0].notification;
    assert_eq!((first.urgency, first.incident.as_str()), (Urgency::Page, "journey-0"));
    // Tickets leave room for the page that comes next.
    outbox.push(START, notification(8, 0, 2, Reason::Opened));
    let mut hung = super::tests::outbox();
    for incident in [1, 3, 5, 7] {
        hung.push(START, notification(incident, 0, incident, Reason::Opened));
    }
    assert_eq!(hung.due(START).len(), MAX_IN_FLIGHT - 1);
    hung.push(START, notification(8, 0, 2, Reason::Opened));
    assert_eq!(hung.due(START)[0].notification.incident, "journey-2");
}

#[test]
fn a_receiver_with_its_hands_full_wakes_nobody() {
    let mut outbox = outbox();
    for incident in 0..10 {
        outbox.push(START, notification(incident, 0, 2 * incident, Reason::Opened));
    }
    let under_way = outbox.due(START);
    assert_eq!((under_way.len(), outbox.wake_at()), (MAX_IN_FLIGHT, None));
    outbox.settle(START, &under_way[0].notification.id, Outcome::Delivered);
    assert!(outbox.wake_at().is_some_and(|at| at <= START));
}

#[test]
fn retries_wait_longer_and_are_given_up_and_told_elsewhere() {
    let (mut outbox, mut now) = (outbox(), START);
    outbox.push(now, notification(1, 0, 0, Reason::Opened));
    let mut waits_s = Vec::new();
    while outbox.dead_letters().count() == 0 {
        let at = outbox.wake_at().expect("it is tried until it is given up");
        waits_s.push(at.since(now).secs());
        now = now.max(at);
        for delivery in outbox.due(now) {
            assert_eq!(delivery.notification.id, "sb-1", "the id is constant over retries");
            outbox.settle(now, "sb-1", retry(None));
        }
    }
    assert!(waits_s[1..3].windows(2).all(|pair| pair[0] < pair[1]), "{waits_s:?}");
    assert!(waits_s.iter().all(|wait_s| *wait_s <= 30.0), "{waits_s:?}");
    assert!(now.since(START) >= GIVE_UP_AFTER && now.since(START) <= GIVE_UP_AFTER + Duration::from_minutes(1));
    let elsewhere = &outbox.due(now)[0].notification;
    assert_eq!((elsewhere.receiver, elsewhere.reason), (1, Reason::Opened));
    assert_eq!(elsewhere.detail.as_deref(), Some("receiver 'oncall' refused this: given up after 1d: 503"));
}

/// 429 ten times, with seconds: waited for, never early, by everything that waits; others go on.
#[test]
fn the_patience_that_is_asked_for_holds_for_all_of_the_receiver() {
    let (mut outbox, mut now) = (outbox(), START);
    for incident in [0, 1, 2] {
        outbox.push(now, notification(incident, 0, incident, Reason::Opened));
    }
    let mut first = outbox.due(now);
    assert_eq!(first.len(), 3);
    for refused in 0..10 {
        outbox.settle(now, &first.remove(0).notification.id.clone(), retry(Some(7)));
        for rest in first.drain(..) {
            outbox.settle(now, &rest.notification.id, retry(None));
        }
        outbox.push(now, notification(100 + refused, 1, 0, Reason::Repeated));
        assert!(outbox.due(now).iter().all(|due| due.notification.receiver == 1), "the other receiver is told at once");
        outbox.settle(now, &format!("sb-{}", 100 + refused), Outcome::Delivered);
        assert!(outbox.due(now + Duration::from_ms(6999)).is_empty());
        let at = outbox.wake_at().unwrap();
        assert_eq!(at.since(now), Duration::from_secs(7));
        now = at;
        first = outbox.due(now);
        assert_eq!(first[0].notification.urgency, Urgency::Page, "pages go before tickets among retries, too");
    }
    for delivery in first {
        outbox.settle(now, &delivery.notification.id, Outcome::Delivered);
    }
    assert_eq!(told_until_quiet(&mut outbox, &mut now), 2);
    assert_eq!((outbox.pending(0), outbox.counts(0).delivered), (0, 3));
}

/// Takes everything; returns how many sends it took.
fn told_until_quiet(outbox: &mut Outbox, now: &mut Timestamp) -> usize {
    let mut sends = 0;
    loop {
        let due = outbox.due(*now);
        sends += due.len();
        for delivery in &due {
            outbox.settle(*now, &delivery.notification.id, Outcome::Delivered);
        }
        match outbox.wake_at() {
            _ if !due.is_empty() => {}
            Some(at) => *now = (*now).max(at),
            None => return sends,
        }
    }
}

#[test]
fn a_receiver_that_is_down_costs_one_send_at_a_time_and_is_soon_found_again() {
    let (mut outbox, mut now) = (outbox(), START);
    for incident in 0..50 {
        outbox.push(now, notification(incident, 0, incident, Reason::Opened));
    }
    let until = now + Duration::from_hours(1);
    let mut sends = 0;
    while now < until {
        let due = outbox.due(now);
        assert!(sends < 4 || due.len() <= 1, "{}", due.len());
        sends += due.len();
        for delivery in due {
            assert_eq!(delivery.notification.urgency, Urgency::Page);
            outbox.settle(now, &delivery.notification.id, retry(None));
        }
        now = outbox.wake_at().unwrap().max(now);
    }
    assert!((120..200).contains(&sends), "{sends} sends in an hour");
    let found = outbox.due(now);
    assert_eq!(found.len(), 1);
    outbox.settle(now, &found[0].notification.id, Outcome::Delivered);
    let back = now;
    told_until_quiet(&mut outbox, &mut now);
    assert_eq!((outbox.counts(0).delivered, now), (50, back), "all at once when it is there again");
}

#[test]
fn what_came_and_went_unheard_is_told_in_order() {
    let check = |keeps_alerts: bool, lost: Outcome, expected: &[(usize, Reason)]| {
        let first = ReceiverSpec { fallback: Some(1), ..spec("oncall", None, keeps_alerts) };
        let (mut outbox, mut now) = (Outbox::new(vec![first, ReceiverSpec::new("team")]), START);
        outbox.push(now, notification(1, 0, 0, Reason::Opened));
        for delivery in outbox.due(now) {
            outbox.settle(now, &delivery.notification.id, lost.clone());
        }
        outbox.push(now, notification(2, 0, 0, Reason::Escalated));
        outbox.push(now, notification(3, 0, 0, Reason::Resolved));
        let mut told = Vec::new();
        now += Duration::from_minutes(1);
        while let [delivery, ..] = &outbox.due(now)[..] {
            told.push((delivery.notification.receiver, delivery.notification.reason));
            assert_eq!(delivery.notification.opened_at, START);
            outbox.settle(now, &delivery.notification.id, Outcome::Delivered);
        }
        assert_eq!(told, expected, "{keeps_alerts} {lost:?}");
        assert_eq!(outbox.pending(0), 0);
    };
    let cut = Outcome::Unanswered { why: "cut".into() };
    check(false, retry(None), &[(0, Reason::Opened), (0, Reason::Resolved)]);
    check(true, retry(None), &[(0, Reason::Opened), (0, Reason::Resolved)]);
    check(true, cut, &[(0, Reason::Opened), (0, Reason::Resolved)]);
}

#[test]
fn what_is_refused_is_told_and_ended_by_the_fallback() {
    let receiver = |name: &str, fallback| ReceiverSpec { fallback, ..ReceiverSpec::new(name) };
    // The third in the chain would lead back to the first.
    let mut outbox = Outbox::new(vec![receiver("a", Some(1)), receiver("b", Some(2)), receiver("c", Some(0))]);
    let mut told = Vec::new();
    let mut number = 0;
    let mut tell = |outbox: &mut Outbox, reason, refusing: &[usize]| {
        number += 1;
        outbox.push(START, notification(number, 0, 0, reason));
        let mut due = VecDeque::from(outbox.due(START));
        while let Some(Delivery { notification, .. }) = due.pop_front() {
            let refused = refusing.contains(&notification.receiver);
            let outcome = if refused { Outcome::Rejected { why: "404".into() } } else { Outcome::Delivered };
            let mark = if refused { "refused" } else { "took" };
            told.push(format!("{} {mark} {}", ["a", "b", "c"][notification.receiver], notification.reason.as_str()));
            outbox.settle(START, &notification.id, outcome);
            due.extend(outbox.due(START));
        }
        std::mem::take(&mut told)
    };
    assert_eq!(tell(&mut outbox, Reason::Opened, &[0, 1]), ["a refused opened", "b refused opened", "c took opened"]);
    assert_eq!(
        tell(&mut outbox, Reason::Escalated, &[0]),
        ["a refused opened", "b took opened"],
        "the receiver may have been mended; each hears first that it opened"
    );
    assert_eq!(tell(&mut outbox, Reason::Resolved, &[0]), ["b took resolved", "c took resolved"]);
    assert_eq!(
        tell(&mut outbox, Reason::Opened, &[0, 1, 2]),
        ["a refused opened", "b refused opened", "c refused opened"]
    );
    assert_eq!(outbox.buried(), 6);
    let last = outbox.dead_letters().last().unwrap();
    assert_eq!((last.receiver.as_str(), last.why.as_str()), ("c", "404"));
    let moves = Moves { receivers: vec![Some(0), None, Some(1)], ..Moves::default() };
    let outbox = outbox.renumbered(vec![receiver("a", None), receiver("c", None)], &moves);
    assert_eq!((outbox.buried(), outbox.counts(0).rejected, outbox.counts(1).rejected), (6, 3, 1));
}

/// It may have arrived though no answer was seen.
#[test]
fn what_was_refused_and_was_under_way_again_at_a_restart_ends_at_the_same_receiver() {
    let (mut outbox, mut now) = (outbox(), START);
    outbox.push(now, notification(1, 0, 0, Reason::Opened));
    outbox.due(now);
    outbox.settle(now, "sb-1", Outcome::Rejected { why: "400".into() });
    outbox.push(now, notification(2, 0, 0, Reason::Repeated));
    assert!(outbox.due(now).iter().any(|due| due.notification.id == "sb-2"));
    let (pending, receivers) = (outbox.remembered().collect(), outbox.receivers().collect());
    let mut outbox = super::tests::outbox();
    let places = Places { receivers: [("oncall".into(), 0), ("team".into(), 1)].into(), ..Places::default() };
    outbox.restore(now, pending, receivers, Vec::new(), &places);
    outbox.push(now, notification(3, 0, 0, Reason::Resolved));
    let mut told = Vec::new();
    loop {
        let due = outbox.due(now);
        for Delivery { notification, .. } in &due {
            told.extend((notification.receiver == 0).then_some(notification.reason));
            outbox.settle(now, &notification.id, Outcome::Delivered);
        }
        match outbox.wake_at() {
            _ if !due.is_empty() => {}
            Some(at) => now = now.max(at),
            None => break,
        }
    }
    assert_eq!(told, [Reason::Opened, Reason::Resolved]);
}
