//! More at once than receivers take.

use super::*;
use crate::engine::notification::DigestKind;

/// A receiver that counts what comes in any window, as the real ones do, and says 429 beyond it.
struct Limited {
    most: usize,
    window: Duration,
    taken: VecDeque<Timestamp>,
    too_many: usize,
}

impl Limited {
    fn new(most: usize, window: Duration) -> Self {
        Self { most, window, taken: VecDeque::new(), too_many: 0 }
    }

    fn answer(&mut self, now: Timestamp) -> Outcome {
        while self.taken.front().is_some_and(|at| now.since(*at) >= self.window) {
            self.taken.pop_front();
        }
        if self.taken.len() >= self.most {
            self.too_many += 1;
            return retry(Some(1));
        }
        self.taken.push_back(now);
        Outcome::Delivered
    }
}

/// 10,000 incidents at once, and all of their ends at once.
#[test]
fn ten_thousand_at_once_are_all_told_within_the_limits() {
    const MANY: usize = 10_000;
    let specs = vec![spec("oncall", Some(PAGERDUTY), true), spec("team", Some(SLACK), false)];
    let (mut outbox, mut now) = (Outbox::new(specs), START);
    let mut limits = [Limited::new(120, Duration::from_minutes(1)), Limited::new(1, Duration::from_secs(1))];
    let mut heard = [Listener { keeps_alerts: true, ..Listener::default() }, Listener::default()];
    let mut named = [BTreeSet::new(), BTreeSet::new()];
    let mut largest = 0;
    for reason in [Reason::Opened, Reason::Resolved] {
        let began = now;
        for incident in 0..MANY {
            for receiver in 0..2 {
                let told = notification(incident, receiver, incident, reason);
                let id = format!("{}-{}-{receiver}", told.id, reason.as_str());
                outbox.push(now, Notification { id, at: now, ..told });
            }
        }
        let mut by_itself = [0, 0];
        loop {
            let due = outbox.due(now);
            largest = largest.max(outbox.pending(0).max(outbox.pending(1)));
            for Delivery { notification: told, .. } in &due {
                let outcome = limits[told.receiver].answer(now);
                if outcome == Outcome::Delivered {
                    heard[told.receiver].hear(told).unwrap();
                    by_itself[told.receiver] += usize::from(told.digest.is_none());
                    let entries = told.digest.iter().flat_map(|digest| &digest.entries);
                    named[told.receiver]
                        .extend(entries.map(|entry| entry.incident.clone()).chain([told.incident.clone()]));
                }
                outbox.settle(now, &told.id, outcome);
            }
            match outbox.wake_at() {
                _ if !due.is_empty() => {}
                Some(at) => now = now.max(at),
                None => break,
            }
        }
        assert!(now.since(began) <= Duration::from_minutes(2), "told after {}", now.since(began));
        assert!(by_itself[0] >= 30 && by_itself[1] >= 1, "{by_itself:?} told by themselves");
        now += Duration::from_minutes(10);
        let stands = reason == Reason::Opened;
        for (heard, named) in heard.iter().zip(&named) {
            for incident in (0..MANY).map(|incident| format!("journey-{incident}")) {
                assert!(named.contains(&incident), "{incident} was never named");
                assert_eq!(heard.knows(&incident), Some(stands), "{incident}");
            }
        }
        assert_eq!(outbox.summarised(0), if stands { MANY as u64 - by_itself[0] as u64 } else { 0 });
    }
    assert_eq!((limits[0].too_many, limits[1].too_many), (0, 0));
    assert_eq!((outbox.buried(), outbox.pending(0), outbox.pending(1)), (0, 0, 0));
    assert!(largest <= MANY + 1, "{largest} waited");
}

#[test]
fn a_summarised_incident_that_becomes_a_page_is_told_by_itself() {
    let slow = Pace { burst: 2, every: Duration::from_secs(30) };
    let (mut outbox, mut now) = (Outbox::new(vec![spec("oncall", Some(slow), true)]), START);
    for incident in (1..20).step_by(2) {
        outbox.push(now, notification(incident, 0, incident, Reason::Opened));
    }
    told_until_quiet(&mut outbox, &mut now);
    assert_eq!(outbox.summarised(0), 9);
    let worse = Notification { urgency: Urgency::Page, ..notification(100, 0, 19, Reason::Escalated) };
    outbox.push(now, worse);
    now += Duration::from_minutes(2);
    let due = outbox.due(now);
    let told = &due[0].notification;
    assert_eq!((told.reason, told.incident.as_str()), (Reason::Opened, "journey-19"));
    outbox.settle(now, "sb-100", Outcome::Delivered);
    assert_eq!(outbox.summarised(0), 8);
    // All others end: one end for the list, and one for what left it.
    for incident in (1..20).step_by(2) {
        outbox.push(now, notification(200 + incident, 0, incident, Reason::Resolved));
    }
    let mut ends = Vec::new();
    loop {
        let due = outbox.due(now);
        for Delivery { notification: told, .. } in &due {
            let open = told.digest.as_ref().map(|digest| (digest.kind == DigestKind::Flood, digest.open));
            ends.push((told.incident.clone(), open));
            outbox.settle(now, &told.id, Outcome::Delivered);
        }
        match outbox.wake_at() {
            _ if !due.is_empty() => {}
            Some(at) => now = now.max(at),
            None => break,
        }
    }
    ends.sort();
    assert!(ends.contains(&("journey-19".into(), None)), "{ends:?}");
    assert_eq!(ends.last(), Some(&("slowburn:flood:oncall".into(), Some((true, 0)))));
    assert_eq!(ends.len(), 3, "the first that was told by itself ends by itself: {ends:?}");
}

#[test]
fn a_flood_at_a_receiver_without_a_pace_stays_bounded_and_loses_nothing() {
    let (mut outbox, mut now) = (outbox(), START);
    // More than one in three is folded.
    for number in 0..2 * MAX_PENDING {
        outbox.push(now, notification(number, 1, number, Reason::Opened));
    }
    assert_eq!((outbox.pending(1), outbox.summarised(1) >= MAX_PENDING as u64), (2 * MAX_PENDING, true));
    told_until_quiet(&mut outbox, &mut now);
    assert_eq!((outbox.buried(), outbox.pending(1)), (0, 0));
}

/// A receiver at which tickets were told in summaries, that keeps no alerts, and the team that stands in for it.
struct Summarised {
    outbox: Outbox,
    oncall: Listener,
    now: Timestamp,
}

impl Summarised {
    fn new() -> Self {
        let slow = Pace { burst: 1, every: Duration::from_secs(20) };
        let first = ReceiverSpec { fallback: Some(1), ..spec("oncall", Some(slow), false) };
        let outbox = Outbox::new(vec![first, spec("team", None, false)]);
        let mut world = Self { outbox, oncall: Listener::default(), now: START };
        (1..20).step_by(2).for_each(|incident| world.ticket(incident, incident, Reason::Opened));
        world.takes_all();
        assert_eq!(world.outbox.summarised(0), 9);
        world
    }

    fn ticket(&mut self, number: usize, incident: usize, reason: Reason) {
        self.outbox.push(self.now, notification(number, 0, incident, reason));
    }

    fn page(&mut self, number: usize, incident: usize, reason: Reason) {
        let told = notification(number, 0, incident, reason);
        self.outbox.push(self.now, Notification { urgency: Urgency::Page, ..told });
    }

    /// What comes next is told by itself, and refused.
    fn refuses(&mut self, number: usize) {
        self.now += Duration::from_minutes(1);
        let id = format!("sb-{number}");
        assert_eq!(self.outbox.due(self.now)[0].notification.id, id);
        self.outbox.settle(self.now, &id, Outcome::Rejected { why: "400".into() });
    }

    /// Everything is taken from here on.
    fn takes_all(&mut self) {
        loop {
            let due = self.outbox.due(self.now);
            for Delivery { notification: told, .. } in &due {
                if told.receiver == 0 {
                    self.oncall.hear(told).unwrap();
                }
                self.outbox.settle(self.now, &told.id, Outcome::Delivered);
            }
            match self.outbox.wake_at() {
                _ if !due.is_empty() => {}
                Some(at) => self.now = self.now.max(at),
                None => return,
            }
        }
    }
}

#[test]
fn an_incident_that_left_the_summaries_and_came_back_unheard_ends_where_it_was_listed() {
    let mut world = Summarised::new();
    // Two that leave at once are too many, so they go back before they are told by themselves.
    world.page(100, 19, Reason::Escalated);
    world.page(101, 17, Reason::Escalated);
    assert!(world.outbox.due(world.now).is_empty());
    world.page(102, 19, Reason::Resolved);
    world.page(103, 19, Reason::Opened);
    world.refuses(103);
    world.page(104, 19, Reason::Resolved);
    world.takes_all();
    assert_eq!(world.oncall.knows("journey-19"), Some(false));
}

#[test]
fn the_first_telling_by_itself_that_is_taken_is_of_the_beginning() {
    let mut world = Summarised::new();
    // It refuses one that is its own, hears of it in a summary, and refuses it once more when it leaves.
    world.ticket(100, 21, Reason::Opened);
    world.refuses(100);
    world.ticket(101, 21, Reason::Repeated);
    world.ticket(102, 23, Reason::Repeated);
    world.takes_all();
    assert_eq!(world.oncall.listed.get("journey-21"), Some(&true));
    world.page(103, 21, Reason::Escalated);
    world.refuses(103);
    world.page(104, 21, Reason::Repeated);
    world.takes_all();
    assert_eq!(world.oncall.single.get("journey-21"), Some(&true));
    world.page(105, 21, Reason::Resolved);
    world.takes_all();
    assert_eq!(world.oncall.knows("journey-21"), Some(false));
}

#[test]
fn what_was_refused_and_is_over_before_the_summary_that_names_it_has_ended_ends_there_too() {
    let mut world = Summarised::new();
    world.ticket(100, 21, Reason::Opened);
    world.refuses(100);
    world.ticket(101, 21, Reason::Opened);
    world.ticket(102, 23, Reason::Opened);
    world.outbox.due(world.now);
    world.now += Duration::from_secs(20);
    let under_way = world.outbox.due(world.now).pop().unwrap().notification;
    assert!(under_way.digest.is_some());
    world.page(103, 21, Reason::Escalated);
    world.page(104, 21, Reason::Resolved);
    world.oncall.hear(&under_way).unwrap();
    world.outbox.settle(world.now, &under_way.id, Outcome::Delivered);
    world.takes_all();
    assert_eq!(world.oncall.knows("journey-21"), Some(false));
}
