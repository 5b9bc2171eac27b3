//! What the engine remembers: that it is all that later decisions depend on, and that a restart is no news.

use std::sync::Arc;

use proptest::prelude::*;
use slowburn::engine::alert::AlertRecord;
use slowburn::engine::histogram::{Labels, Snapshot};
use slowburn::engine::incident::IncidentRecord;
use slowburn::engine::memory::{Change, Memory, Record};
use slowburn::engine::notification::Notification;
use slowburn::engine::outbox::Delivery;
use slowburn::engine::route::{Matcher, Route};
use slowburn::engine::rule::{Limit, Rule, Schedule, Urgency};
use slowburn::engine::silence::Silence;
use slowburn::engine::sli::{Between, NewSeries, SloSpec};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::{Effect, Engine, Input, Outcome, ReceiverSpec, Spec, stable_hash};
use slowburn::store::windows;

const STEP: Duration = Duration::from_secs(30);
const START: Timestamp = Timestamp::from_unix_s(1_772_366_400);

fn rule(name: &str, urgency: Urgency, limit: Limit) -> Rule {
    Rule {
        name: name.into(),
        urgency,
        limit,
        schedule: Schedule::Every(STEP),
        warning_ppm: 800_000,
        critical_ppm: 1_000_000,
        consecutive: 2,
        hysteresis_ppm: 100_000,
        clear_after: Duration::from_minutes(1),
        min_events: 0.0,
        min_bad: 0.0,
        confidence_z: None,
        min_coverage_ppm: 500_000,
    }
}

fn burn() -> Rule {
    let (long, short) = (Duration::from_minutes(2), Duration::from_minutes(1));
    rule("spike", Urgency::Page, Limit::BurnRate { factor: 10.0, long, short })
}

fn slo(layer: &str, rules: Vec<Rule>) -> SloSpec {
    SloSpec {
        journey: "checkout".into(),
        layer: Some(layer.into()),
        tier: None,
        owner: Some("payments".into()),
        runbook: None,
        labels: Labels::new(),
        selector: "request_duration_seconds".into(),
        budget_s: 0.1,
        objective_ppm: 990_000,
        period: Duration::from_hours(1),
        between: Between::Refuse,
        new_series: NewSeries::Skip,
        by: Vec::new(),
        max_by: 2,
        rules,
    }
}

/// Three SLOs, one of them by region, with every kind of rule; pages to on-call and the team, the rest to the team.
fn spec() -> Spec {
    let approach = Limit::Latency { quantile: 0.95, over: Duration::from_minutes(3) };
    let runway = Limit::Exhaustion { within: Duration::from_minutes(30), short: Duration::from_minutes(2) };
    let slow =
        Rule { schedule: Schedule::Every(Duration::from_minutes(1)), ..rule("approach", Urgency::Ticket, approach) };
    let page = Route {
        matchers: vec![Matcher { label: "urgency".into(), any_of: vec!["page".into()], negate: false }],
        receivers: vec![0, 1],
        repeat_interval: Some(Duration::from_minutes(4)),
        ..Route::default()
    };
    let receiver = |name: &str, fallback| ReceiverSpec { fallback, ..ReceiverSpec::new(name) };
    Spec {
        interval: STEP,
        blind_after: 2,
        slos: vec![
            slo("database", vec![burn(), slow]),
            slo("edge", vec![burn(), rule("runway", Urgency::Ticket, runway)]),
            SloSpec { journey: "search".into(), by: vec!["region".into()], ..slo("edge", vec![burn()]) },
        ],
        route: Route { receivers: vec![1], routes: vec![page], ..Route::default() },
        receivers: vec![receiver("oncall", Some(1)), receiver("team", None)],
        ..Spec::default()
    }
}

/// One series of each: database, edge, and search in two regions.
const SERIES: [(usize, &str); 4] = [(0, ""), (1, ""), (2, "eu"), (2, "us")];

/// What happens in one slot.
#[derive(Debug, Clone)]
enum Slot {
    /// Slow requests of a hundred for each series; `None` where it is absent.
    Poll {
        slow: [Option<u8>; 4],
        partial: bool,
    },
    Fail,
}

/// What a source had for a slot: the counts of the series that were present.
type Answer = (Timestamp, [Option<[f64; 2]>; 4], bool);

/// An engine, what it decided, and all that a restart leaves of it.
pub struct World {
    pub engine: Engine,
    slot: Timestamp,
    counts: [[f64; 2]; 4],
    answers: Vec<Answer>,
    saved: Memory,
    notified: Vec<Notification>,
    alerts: Vec<AlertRecord>,
    incidents: Vec<IncidentRecord>,
    /// Sends whose end is not known yet.
    under_way: Vec<Delivery>,
}

impl World {
    fn new(spec: Spec) -> Self {
        Self {
            engine: Engine::new(Arc::new(spec)).remembering(),
            slot: START,
            counts: [[0.0; 2]; 4],
            answers: Vec::new(),
            saved: Memory::default(),
            notified: Vec::new(),
            alerts: Vec::new(),
            incidents: Vec::new(),
            under_way: Vec::new(),
        }
    }

    fn pass(&mut self, slot: &Slot) {
        match slot {
            Slot::Poll { slow, partial } => {
                let answer = self.answer(slow, *partial);
                self.give(&answer, |slot, snapshot| Input::Polled { slot, snapshot });
            }
            Slot::Fail => {
                let slot = self.slot;
                let effects = self.engine.step(slot, Input::PollFailed { slot, why: "no answer" });
                self.follow(effects);
            }
        }
        self.slot += STEP;
        self.settle();
    }

    /// The source goes on counting, and remembers; nobody asks.
    fn unseen(&mut self, slow: [Option<u8>; 4]) {
        self.answer(&slow, false);
        self.slot += STEP;
    }

    fn answer(&mut self, slow: &[Option<u8>; 4], partial: bool) -> Answer {
        let mut present = [None; 4];
        for ((counts, slow), present) in self.counts.iter_mut().zip(slow).zip(&mut present) {
            let Some(slow) = slow else { continue };
            counts[0] += 100.0 - f64::from(*slow);
            counts[1] += 100.0;
            *present = Some(*counts);
        }
        self.answers.push((self.slot, present, partial));
        (self.slot, present, partial)
    }

    fn give<'a>(
        &mut self,
        (slot, present, partial): &Answer,
        input: impl FnOnce(Timestamp, &'a Snapshot) -> Input<'a>,
    ) {
        let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
        let mut snapshot = Snapshot::default();
        snapshot.partial = *partial;
        for ((template, region), counts) in SERIES.iter().zip(present) {
            let labels: Labels = [("region".to_owned(), (*region).to_owned())].into();
            let labels = if region.is_empty() { Labels::new() } else { labels };
            if let Some(counts) = counts {
                let id = self.engine.bind(*template, &labels, &bounds).expect("within the limits");
                snapshot.push(id, counts);
            }
        }
        // The engine keeps nothing of it; a test may let it live on.
        let snapshot: &'static Snapshot = Box::leak(Box::new(snapshot));
        let effects = self.engine.step(self.slot, input(*slot, snapshot));
        self.follow(effects);
    }

    /// Some sends end at once, some in the next slot, as their ids have it.
    fn settle(&mut self) {
        for delivery in std::mem::take(&mut self.under_way) {
            let id = &delivery.notification.id;
            let outcome = match stable_hash(&[id, &delivery.attempt.to_string()]) % 8 {
                0 => Outcome::Rejected { why: "no".into() },
                1 | 2 => Outcome::Retry { after: Some(Duration::from_minutes(1)), why: "busy".into() },
                _ => Outcome::Delivered,
            };
            let effects = self.engine.step(self.slot, Input::Settled { id, outcome: &outcome });
            self.follow(effects);
        }
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Notify(told) => self.notified.push(Notification::clone(&told)),
                Effect::Alert(alert) => self.alerts.push(alert),
                Effect::Incident(incident) => self.incidents.push(incident),
                Effect::Deliver(delivery) => self.under_way.push(delivery),
                Effect::Report(_) => {}
            }
        }
        for change in self.engine.take_changes() {
            self.saved.apply(change);
        }
    }

    /// Ends without a word and starts anew with `spec`: only what was saved is left, and what the source has.
    fn restart_with(&mut self, spec: Spec) {
        self.engine = Engine::new(Arc::new(spec)).remembering();
        self.engine.restore(self.slot, through_json(&self.saved));
        self.under_way.clear();
        for answer in std::mem::take(&mut self.answers) {
            self.give(&answer, |slot, snapshot| Input::Backfilled { slot, snapshot });
            self.answers.push(answer);
        }
    }

    /// The same, of a source that keeps no history: the windows were saved, and come back through bytes.
    fn restart_with_windows(&mut self) {
        let old = &self.engine;
        let saved = (0..old.instances()).filter_map(|slo| old.windows_of(slo));
        let saved: Vec<Vec<u8>> = saved.map(|(_, counted)| windows::encode(&counted).unwrap()).collect();
        self.engine = Engine::new(old.spec().clone()).remembering();
        for bytes in saved {
            assert!(self.engine.restore_windows(windows::decode(&bytes).unwrap()));
        }
        self.engine.restore(self.slot, through_json(&self.saved));
        self.under_way.clear();
    }

    fn restart(&mut self) {
        let spec = Spec::clone(self.engine.spec());
        self.restart_with(spec);
    }

    /// Regions have the order in which they appeared, and a restart finds them sorted: alerts of one slot may swap.
    fn sorted_alerts(&self) -> Vec<String> {
        let mut alerts: Vec<String> = self.alerts.iter().map(|alert| format!("{alert:?}")).collect();
        alerts.sort();
        alerts
    }

    /// What was told since the last call: reason, receiver and incident.
    fn told(&mut self) -> Vec<String> {
        let receivers = &self.engine.spec().receivers;
        let line = |told: &Notification| {
            format!("{} {} {}", receivers[told.receiver].name, told.reason.as_str(), told.incident)
        };
        self.notified.drain(..).map(|told| line(&told)).collect()
    }
}

fn through_json(memory: &Memory) -> Memory {
    let read = |record: &Record| serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap();
    memory.records().map(read).collect()
}

fn slots() -> impl Strategy<Value = Vec<Slot>> {
    let slow = || prop_oneof![4 => Just(Some(0)), 4 => Just(Some(40)), 2 => Just(Some(9)), 1 => Just(None)];
    // Whoever is slow stays so for a while, or nothing would ever be consecutive.
    let poll = ([slow(), slow(), slow(), slow()], prop::bool::weighted(0.1));
    let spell = prop_oneof![
        8 => (poll, 1usize..8).prop_map(|((slow, partial), polls)| vec![Slot::Poll { slow, partial }; polls]),
        1 => (1usize..5).prop_map(|polls| vec![Slot::Fail; polls]),
    ];
    prop::collection::vec(spell, 1..12).prop_map(|spells| spells.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// An engine that was killed and restarted anywhere decides what one decides that never stopped: the same
    /// notifications under the same ids, the same alerts, and the same counts of what was held back.
    #[test]
    fn a_restart_changes_no_decision(slots in slots(), kills in prop::collection::btree_set(0usize..60, 1..4)) {
        let (mut steady, mut killed) = (World::new(spec()), World::new(spec()));
        for (at, slot) in slots.iter().enumerate() {
            steady.pass(slot);
            killed.pass(slot);
            prop_assert_eq!(&killed.saved, &killed.engine.memory(), "changes add up to everything");
            if kills.contains(&at) {
                killed.restart();
            }
            prop_assert_eq!(format!("{:#?}", steady.notified), format!("{:#?}", killed.notified));
            prop_assert_eq!(steady.sorted_alerts(), killed.sorted_alerts());
            prop_assert_eq!(&steady.incidents, &killed.incidents);
        }
        let (steady, killed) = (steady.engine.view(), killed.engine.view());
        prop_assert_eq!((steady.held_back, steady.missed, steady.evaluations), (killed.held_back, killed.missed, killed.evaluations));
    }

    /// So does one whose windows were saved beside its memory, and what it shows is the same, too.
    #[test]
    fn a_restart_with_saved_windows_changes_no_decision(
        slots in slots(),
        kills in prop::collection::btree_set(0usize..60, 1..4),
    ) {
        let (mut steady, mut killed) = (World::new(spec()), World::new(spec()));
        for (at, slot) in slots.iter().enumerate() {
            steady.pass(slot);
            killed.pass(slot);
            if kills.contains(&at) {
                killed.restart_with_windows();
            }
            prop_assert_eq!(format!("{:#?}", steady.notified), format!("{:#?}", killed.notified));
            prop_assert_eq!(steady.sorted_alerts(), killed.sorted_alerts());
        }
        // Sums since the beginning are the same to the last bit.
        let totals = |world: &World| {
            let mut totals: Vec<String> = world.engine.totals().map(|total| format!("{total:?}")).collect();
            totals.sort();
            totals
        };
        prop_assert_eq!(totals(&steady), totals(&killed));
    }

    /// Whatever floats are in it, those that JSON has no number for included.
    #[test]
    fn memory_comes_back_from_json_as_it_was(slots in slots(), floats in prop::array::uniform9(any::<u64>())) {
        let mut world = World::new(spec());
        slots.iter().for_each(|slot| world.pass(slot));
        let mut floats = floats.map(f64::from_bits).into_iter().cycle();
        let mut float = || floats.next().unwrap();
        let odd = world.engine.memory().into_records().map(|mut record| {
            match &mut record {
                Record::Alert(rule) => rule.state.record.iter_mut().for_each(|alert| alert.peak_usage = float()),
                Record::Delivery(pending) => {
                    for item in &mut pending.items {
                        let notification = Arc::make_mut(&mut item.notification);
                        for alert in &mut notification.alerts {
                            (alert.usage, alert.burn_long, alert.burn_short) = (float(), float(), float());
                            (alert.share_of_slow, alert.budget_remaining) = (float(), f64::NAN);
                            alert.quantiles_s = Some([float(), f64::NEG_INFINITY, f64::INFINITY]);
                            // Written by names alone.
                            alert.slo = 0;
                        }
                        notification.receiver = 0;
                    }
                }
                _ => {}
            }
            record
        });
        let odd: Memory = odd.collect();
        prop_assert_eq!(format!("{odd:?}"), format!("{:?}", through_json(&odd)));
    }
}

const FINE: [Option<u8>; 4] = [Some(0); 4];
const DATABASE_SLOW: [Option<u8>; 4] = [Some(60), Some(0), Some(0), Some(0)];
const OPENED: [&str; 2] = ["oncall opened checkout", "team opened checkout"];
const RESOLVED: [&str; 2] = ["oncall resolved checkout", "team resolved checkout"];

/// The database's page alone, and no repetitions.
pub fn plain() -> Spec {
    let mut spec = spec();
    spec.slos[0].rules.truncate(1);
    spec.slos[1].rules.truncate(1);
    spec.route.routes[0].repeat_interval = None;
    spec
}

fn poll(slow: [Option<u8>; 4]) -> Slot {
    Slot::Poll { slow, partial: false }
}

pub fn healthy() -> World {
    let mut world = World::new(plain());
    (0..8).for_each(|_| world.pass(&poll(FINE)));
    assert_eq!(world.told(), Vec::<String>::new());
    world
}

fn firing() -> World {
    let mut world = healthy();
    (0..4).for_each(|_| world.pass(&poll(DATABASE_SLOW)));
    let told = world.told();
    assert!(OPENED.iter().all(|opened| told.iter().any(|told| told == opened)), "{told:?}");
    world
}

#[test]
fn firing_stays_firing() {
    let mut world = firing();
    world.restart();
    (0..6).for_each(|_| world.pass(&poll(DATABASE_SLOW)));
    assert_eq!(world.told(), Vec::<String>::new());
    assert_eq!(world.engine.view().alerts.len(), 1);
}

#[test]
fn what_cleared_while_down_resolves_once() {
    let mut world = firing();
    (0..10).for_each(|_| world.unseen(FINE));
    world.restart();
    assert_eq!(world.told(), Vec::<String>::new(), "history alone tells nobody");
    (0..4).for_each(|_| world.pass(&poll(FINE)));
    assert_eq!(world.told(), RESOLVED);
    assert_eq!(world.engine.view().missed.slots, 10);
}

#[test]
fn what_began_while_down_is_told_once_with_its_true_start() {
    let mut world = healthy();
    world.unseen(FINE);
    let first_slow = world.slot;
    (0..10).for_each(|_| world.unseen(DATABASE_SLOW));
    world.restart();
    (0..4).for_each(|_| world.pass(&poll(DATABASE_SLOW)));
    let opened = &world.notified[0];
    assert!(opened.opened_at.since(first_slow) <= STEP, "{} after {first_slow}", opened.opened_at);
    assert_eq!(opened.alerts[0].breached_at, opened.opened_at);
    assert_eq!(world.told(), OPENED);
}

#[test]
fn what_came_and_went_while_down_is_told_to_nobody() {
    let mut world = healthy();
    (0..6).for_each(|_| world.unseen(DATABASE_SLOW));
    (0..10).for_each(|_| world.unseen(FINE));
    world.restart();
    (0..4).for_each(|_| world.pass(&poll(FINE)));
    assert_eq!(world.told(), Vec::<String>::new());
    let ended = world.alerts.iter().filter(|alert| alert.ended_at.is_some()).count();
    assert!(ended >= 1, "it was an alert for all that");
}

#[test]
fn counts_on_the_way_to_an_alert_go_on() {
    let mut world = healthy();
    let slow = poll([Some(40), Some(0), Some(0), Some(0)]);
    let mut untouched = healthy();
    let mut polls = 0;
    while untouched.notified.is_empty() {
        untouched.pass(&slow);
        polls += 1;
    }
    for poll in 1..=polls {
        world.restart();
        assert!(world.notified.is_empty(), "before poll {poll} of {polls}");
        world.pass(&slow);
    }
    assert_eq!(world.told(), untouched.told());
}

#[test]
fn a_slot_polled_again_after_a_restart_counts_once() {
    let mut world = healthy();
    let slow = poll([Some(40), Some(0), Some(0), Some(0)]);
    while world.engine.view().slos[0].rules[0].pending == 0 {
        world.pass(&slow);
    }
    let answer = world.answers.pop().unwrap();
    world.slot = answer.0;
    world.restart();
    world.give(&answer, |slot, snapshot| Input::Polled { slot, snapshot });
    assert_eq!(world.engine.view().slos[0].rules[0].pending, 1);
    assert!(world.notified.is_empty());
}

#[test]
fn sight_that_returns_is_caught_up_with_like_a_restart() {
    let mut world = firing();
    for _ in 0..10 {
        // The source counts on, and does not answer.
        let answer = world.answer(&FINE, false);
        assert_eq!(answer.0, world.slot);
        world.pass(&Slot::Fail);
    }
    assert!(world.told().iter().all(|told| told.contains(" blind ")));
    let missed = world.answers.split_off(world.answers.len() - 10);
    missed.iter().for_each(|answer| world.give(answer, |slot, snapshot| Input::Backfilled { slot, snapshot }));
    assert_eq!(world.told(), Vec::<String>::new());
    world.pass(&poll(FINE));
    let told = world.told();
    let count = |what: &str| told.iter().filter(|told| told.contains(what)).count();
    assert_eq!((count("resolved checkout"), count("resolved slowburn:source"), told.len()), (2, 2, 4), "{told:?}");
}

#[test]
fn history_alone_begins_nothing() {
    let mut world = World::new(plain());
    (0..8).for_each(|_| world.unseen(FINE));
    (0..8).for_each(|_| world.unseen(DATABASE_SLOW));
    world.restart();
    assert!(world.alerts.is_empty() && world.engine.view().evaluations == 0);
}

#[test]
fn what_the_configuration_has_no_more_resolves() {
    let mut world = firing();
    let mut spec = plain();
    let over = Duration::from_minutes(2);
    spec.slos[0].rules[0].limit = Limit::Latency { quantile: 0.5, over };
    spec.receivers.swap(0, 1);
    spec.route.receivers = vec![0];
    world.restart_with(spec);
    world.pass(&poll(FINE));
    let mut told = world.told();
    told.sort();
    assert_eq!(told, RESOLVED, "by the names of receivers, wherever they stand");
    (0..4).for_each(|_| world.pass(&poll(FINE)));
    assert_eq!(world.told(), Vec::<String>::new());
    // What was told is remembered for an hour, in case it comes back.
    (0..120).for_each(|_| world.pass(&poll(FINE)));
    let left = world.saved.records().filter(|record| matches!(record, Record::Alert(_) | Record::Incident(_)));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_quiet_tick_changes_one_record() {
    let mut world = healthy();
    let counts = world.counts.map(|[good, total]| Some([good + 100.0, total + 100.0]));
    let answer = (world.slot, counts, false);
    // Everything was taken before, so this is the tick's alone.
    let before = world.saved.clone();
    world.give(&answer, |slot, snapshot| Input::Polled { slot, snapshot });
    let changed = world.saved.records().filter(|record| !before.records().any(|known| known == *record));
    assert!(matches!(changed.collect::<Vec<_>>()[..], [Record::Progress(_)]));
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_up() {
    let mut world = healthy();
    let ahead = world.slot;
    let mut engine = Engine::new(Arc::new(plain())).remembering();
    engine.restore(START, through_json(&world.saved));
    let effects = engine.step(START + STEP, Input::PollFailed { slot: START + STEP, why: "no answer" });
    assert!(effects.is_empty() && engine.view().missed.slots == 1, "before {ahead}");
    assert!(matches!(engine.take_changes()[..], [Change::Anew(_)]));
    world.restart();
}

#[test]
fn a_silence_holds_on() {
    let mut world = healthy();
    let silence = Silence {
        id: "s1".into(),
        matchers: vec![Matcher { label: "layer".into(), any_of: vec!["database".into()], negate: false }],
        starts_at: START,
        ends_at: world.slot + Duration::from_minutes(10),
        author: "ada".into(),
        reason: "moving house".into(),
        created_at: START,
    };
    let effects = world.engine.step(world.slot, Input::Silence(&silence));
    world.follow(effects);
    (0..4).for_each(|_| world.pass(&poll(DATABASE_SLOW)));
    world.restart();
    (0..4).for_each(|_| world.pass(&poll(DATABASE_SLOW)));
    assert_eq!(world.told(), Vec::<String>::new());
    (0..20).for_each(|_| world.pass(&poll(DATABASE_SLOW)));
    assert_eq!(world.told(), OPENED, "told once the silence is over");
    let effects = world.engine.step(world.slot, Input::Unsilence { id: "s1" });
    world.follow(effects);
    assert_eq!(world.saved, world.engine.memory());
}

/// At a receiver that is told of it again and again, before the source answers anything.
#[test]
fn what_stands_is_posted_on_at_once() {
    let mut spec = plain();
    spec.receivers[1].resends = true;
    let mut world = World::new(spec.clone());
    (0..10).for_each(|_| world.pass(&poll([Some(0); 4])));
    (0..10).for_each(|_| world.pass(&poll([Some(90), Some(0), Some(0), Some(0)])));
    let names = |world: &World| {
        let roster = world.engine.roster(1, world.slot);
        let name = |it: &Notification| (it.incident.clone(), it.alerts[0].rule.clone(), it.stage, it.resolved_at);
        let mut names: Vec<_> = roster.iter().map(name).collect();
        names.sort();
        names
    };
    let before = names(&world);
    assert!(before.len() >= 2 && before.iter().all(|(.., ended)| ended.is_none()), "{before:?}");
    world.restart_with(spec);
    assert_eq!(names(&world), before);
    world.pass(&Slot::Fail);
    assert_eq!(names(&world), before);
}
