//! Digests: what is collected while nobody is told, and that it comes in time.

use slowburn::engine::collect::DigestSpec;
use slowburn::engine::hours::Hours;
use slowburn::engine::notification::{Digest, DigestEntry, Notification, Reason};
use slowburn::engine::time::Calendar;

use super::*;

/// Occurs at these instants.
#[derive(Debug)]
struct Times(Vec<Timestamp>);

impl Calendar for Times {
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.0.iter().find(|at| **at > after).copied()
    }
}

/// A ticket at night: the team's hours begin 100 polls on, and a digest comes after 50, 60 and 70, ten seconds before
/// the slot.
fn night() -> World {
    let mut world = World::new(vec![slo("database", vec![burn_rule("leak", Urgency::Ticket)])]);
    let after = |polls: f64| world.slot + STEP.times(polls);
    let times = [50.0, 60.0, 70.0].map(|polls| after(polls) - Duration::from_secs(10)).to_vec();
    let hours = vec![Hours::Once { from: after(100.0), to: after(1000.0) }];
    let daily = DigestSpec {
        name: "daily".into(),
        calendar: Arc::new(Times(times)),
        receivers: vec![TEAM],
        matchers: Vec::new(),
    };
    world.reload(|spec| {
        spec.hours = hours;
        spec.route.active = Some(0);
        spec.digests = vec![daily];
    });
    world
}

impl World {
    /// Steps a poll and returns the digests that it told of.
    fn digests(&mut self, slow: f64) -> Vec<Digest> {
        self.counts[0] = [self.counts[0][0] + 100.0 - slow, self.counts[0][1] + 100.0];
        let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
        let mut snapshot = Snapshot::default();
        let id = self.engine.bind(0, &Labels::new(), &bounds).expect("within the limits");
        snapshot.push(id, &self.counts[0]);
        let effects = self.engine.step(self.slot, Input::Polled { slot: self.slot, snapshot: &snapshot });
        let digests = effects.iter().filter_map(|effect| match effect {
            Effect::Notify(told) => Some(told),
            _ => None,
        });
        let digests: Vec<_> = digests.cloned().collect();
        self.handle(effects);
        self.slot += STEP;
        let is_digest = |told: &Notification| told.reason == Reason::Digest && told.receiver == TEAM;
        assert!(digests.iter().all(|told| told.journey.is_none() && (is_digest(told) || told.digest.is_none())));
        digests.into_iter().filter_map(|told| told.digest.clone()).collect()
    }

    /// Polls until a digest comes; how many that took, and what it says of its alerts.
    fn until_digest(&mut self, slow: f64) -> (usize, Vec<String>) {
        for polls in 1..200 {
            if let Some(digest) = self.digests(slow).pop() {
                let line = |entry: &DigestEntry| {
                    let state = if entry.ended_at.is_some() { "over" } else { "stands" };
                    let held = if entry.held { ", held" } else { "" };
                    format!("{} {state}{held}", entry.summary)
                };
                return (polls, digest.entries.iter().map(line).collect());
            }
        }
        panic!("no digest came");
    }
}

#[test]
fn a_ticket_of_the_night_is_read_of_in_the_morning() {
    let mut world = night();
    (0..20).for_each(|_| assert_eq!(world.digests(60.0), vec![]));
    // The first slot at or after its time.
    assert_eq!(world.until_digest(0.0), (31, vec!["checkout/database: leak at 600% of its limit over, held".into()]));
    // Nothing happened, so nothing is sent.
    (0..15).for_each(|_| assert_eq!(world.digests(0.0), vec![]));
    let (_, lines) = world.until_digest(30.0);
    assert_eq!(lines, ["checkout/database: leak at 300% of its limit stands, held"]);
    assert_eq!(world.engine.view().held_back.inactive_hours, 3, "an end is no news without its beginning");
}

#[test]
fn a_digest_comes_though_the_source_is_away_or_slots_were_missed() {
    let mut world = night();
    (0..20).for_each(|_| assert_eq!(world.digests(60.0), vec![]));
    (0..30).for_each(|_| drop(world.fail()));
    assert_eq!(world.fail(), ["team digest slowburn:digest:daily:2026-03-01T12:29:00Z critical ticket"]);
    // Nobody evaluated anything for a quarter of an hour, in which two were due: one tells it all.
    world.slot += STEP.times(30.0);
    assert_eq!(world.until_digest(0.0), (1, vec!["checkout/database: leak at 600% of its limit stands, held".into()]));
    (0..30).for_each(|_| assert_eq!(world.digests(0.0), vec![]));
}

#[test]
fn what_a_digest_has_collected_outlives_a_reload() {
    let mut world = night();
    (0..20).for_each(|_| assert_eq!(world.digests(60.0), vec![]));
    world.reload(|spec| spec.slos.insert(0, slo("edge", vec![burn_rule("other", Urgency::Page)])));
    // The one at whose place another stands now.
    world.counts.swap(0, 1);
    let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
    let mut told = Vec::new();
    for _ in 0..40 {
        let mut snapshot = Snapshot::default();
        world.counts[1] = world.counts[1].map(|count| count + 100.0);
        let id = world.engine.bind(1, &Labels::new(), &bounds).expect("within the limits");
        snapshot.push(id, &world.counts[1]);
        told.extend(world.engine.step(world.slot, Input::Polled { slot: world.slot, snapshot: &snapshot }));
        world.slot += STEP;
    }
    let digests = told.iter().filter_map(|effect| match effect {
        Effect::Notify(told) => told.digest.as_ref(),
        _ => None,
    });
    let lines: Vec<&str> = digests.flat_map(|digest| &digest.entries).map(|entry| entry.summary.as_str()).collect();
    assert_eq!(lines, ["checkout/database: leak at 600% of its limit"]);
}

#[test]
fn what_a_digest_has_collected_outlives_a_restart() {
    let mut world = night();
    (0..20).for_each(|_| assert_eq!(world.digests(60.0), vec![]));
    let mut engine = Engine::new(world.engine.spec().clone());
    engine.restore(world.slot, world.engine.memory());
    world.engine = engine;
    // The daemon was away over the digest's time; the alert was over when it came back.
    world.slot += STEP.times(40.0);
    world.counts[0] = [0.0; 2];
    assert_eq!(world.until_digest(0.0), (1, vec!["checkout/database: leak at 600% of its limit stands, held".into()]));
}
