//! The engine from polls to notifications, as one machine: scenarios a person on call would recognise.

mod digests;
mod holds;

use std::sync::Arc;

use slowburn::engine::histogram::{Labels, Snapshot};
use slowburn::engine::outbox::Delivery;
use slowburn::engine::route::{Matcher, Route};
use slowburn::engine::rule::{Limit, Rule, Schedule, Urgency};
use slowburn::engine::sli::{Between, NewSeries, SloSpec};
use slowburn::engine::slo::Sight;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::{Effect, Engine, Input, Outcome, ReceiverSpec, Report, Spec};

pub const STEP: Duration = Duration::from_secs(30);
pub const ONCALL: usize = 0;
const TEAM: usize = 1;

/// A rule that burns at 10x over two minutes, the short window one; nothing but the threshold decides.
pub fn burn_rule(name: &str, urgency: Urgency) -> Rule {
    let (long, short) = (Duration::from_minutes(2), Duration::from_minutes(1));
    Rule {
        name: name.into(),
        urgency,
        limit: Limit::BurnRate { factor: 10.0, long, short },
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

pub fn slo(layer: &str, rules: Vec<Rule>) -> SloSpec {
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

/// Critical pages go to on-call and the team, everything else to the team.
fn route(oncall: usize, team: usize) -> Route {
    let matcher = |label: &str, value: &str| Matcher { label: label.into(), any_of: vec![value.into()], negate: false };
    let page = Route {
        matchers: vec![matcher("urgency", "page"), matcher("stage", "critical")],
        receivers: vec![oncall, team],
        repeat_interval: Some(Duration::from_minutes(10)),
        ..Route::default()
    };
    Route { receivers: vec![team], routes: vec![page], ..Route::default() }
}

/// An engine at a source whose layers count as they are told to.
pub struct World {
    pub engine: Engine,
    pub slot: Timestamp,
    /// Cumulative `[good, total]` of each SLO's only series.
    pub counts: Vec<[f64; 2]>,
    pub told: Vec<String>,
    pub ids: Vec<String>,
    reports: Vec<Report>,
    outcome: fn(&Delivery) -> Option<Outcome>,
}

impl World {
    pub fn new(slos: Vec<SloSpec>) -> Self {
        let receivers = [("oncall", Some(TEAM)), ("team", None)];
        let receivers = receivers.map(|(name, fallback)| ReceiverSpec { fallback, ..ReceiverSpec::new(name) }).to_vec();
        let counts = vec![[0.0; 2]; slos.len()];
        let route = route(ONCALL, TEAM);
        let spec = Spec { interval: STEP, blind_after: 3, slos, route, receivers, ..Spec::default() };
        let engine = Engine::new(Arc::new(spec));
        let slot = Timestamp::from_unix_s(1_772_366_400);
        let mut world = Self {
            engine,
            slot,
            counts,
            told: vec![],
            ids: vec![],
            reports: vec![],
            outcome: |_| Some(Outcome::Delivered),
        };
        world.healthy(8);
        world
    }

    /// One poll in which the layers had 100 requests each, of which so many were slow. Returns what was told.
    pub fn poll(&mut self, slow: &[f64]) -> Vec<String> {
        for (counts, slow) in self.counts.iter_mut().zip(slow) {
            counts[0] += 100.0 - slow;
            counts[1] += 100.0;
        }
        let all: Vec<usize> = (0..self.counts.len()).collect();
        self.poll_of(&all, false)
    }

    /// A poll that shows only some SLOs' series, with their counts as they stand.
    pub fn poll_of(&mut self, present: &[usize], partial: bool) -> Vec<String> {
        let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
        let mut snapshot = Snapshot::default();
        snapshot.partial = partial;
        for slo in present {
            let id = self.engine.bind(*slo, &Labels::new(), &bounds).expect("within the limits");
            snapshot.push(id, &self.counts[*slo]);
        }
        let slot = self.slot;
        self.step(Input::Polled { slot, snapshot: &snapshot })
    }

    /// Another configuration; returns whether all windows went on.
    fn reload(&mut self, change: impl FnOnce(&mut Spec)) -> bool {
        let mut spec = Spec::clone(self.engine.spec());
        change(&mut spec);
        self.counts.resize(spec.slos.len(), [0.0; 2]);
        self.engine.reload(Arc::new(spec))
    }

    pub fn fail(&mut self) -> Vec<String> {
        let slot = self.slot;
        self.step(Input::PollFailed { slot, why: "no answer" })
    }

    fn step(&mut self, input: Input<'_>) -> Vec<String> {
        let before = self.told.len();
        let effects = self.engine.step(self.slot, input);
        self.handle(effects);
        self.slot += STEP;
        self.told[before..].to_vec()
    }

    fn handle(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Notify(told) => {
                    let receiver = &self.engine.spec().receivers[told.receiver].name;
                    let (reason, stage, urgency) = (told.reason.as_str(), told.stage.as_str(), told.urgency.as_str());
                    self.told.push(format!("{receiver} {reason} {} {stage} {urgency}", told.incident));
                    self.ids.push(told.id.clone());
                }
                Effect::Deliver(delivery) => {
                    if let Some(outcome) = (self.outcome)(&delivery) {
                        let id = &delivery.notification.id;
                        let next = self.engine.step(self.slot, Input::Settled { id, outcome: &outcome });
                        self.handle(next);
                    }
                }
                Effect::Report(report) => self.reports.push(report),
                Effect::Alert(_) | Effect::Incident(_) => {}
            }
        }
    }

    /// Polls without a slow request; nothing may be told.
    pub fn healthy(&mut self, polls: usize) {
        for _ in 0..polls {
            let quiet = vec![0.0; self.counts.len()];
            assert_eq!(self.poll(&quiet), Vec::<String>::new());
        }
    }

    /// Polls until something is told; how many it took, and what.
    pub fn until_told(&mut self, slow: &[f64]) -> (usize, Vec<String>) {
        for polls in 1..100 {
            let told = self.poll(slow);
            if !told.is_empty() {
                return (polls, told);
            }
        }
        panic!("nothing was told");
    }

    fn sight(&self, slo: usize) -> Sight {
        self.engine.view().slos[slo].sight
    }
}

#[test]
fn a_page_opens_escalates_repeats_and_resolves() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    // 18% of requests slow: 9% over two minutes after the second poll is a burn rate of 9.
    let (polls, told) = world.until_told(&[18.0]);
    assert_eq!((polls, told), (3, vec!["team opened checkout warning page".to_string()]));
    let (_, told) = world.until_told(&[18.0]);
    assert_eq!(told, ["oncall opened checkout critical page", "team escalated checkout critical page"]);
    // Firing on is no news, but for the repetition after ten minutes.
    let (polls, told) = world.until_told(&[18.0]);
    assert_eq!(
        (polls, told),
        (20, vec!["oncall repeated checkout critical page".into(), "team repeated checkout critical page".into()])
    );
    let (_, told) = world.until_told(&[0.0]);
    assert_eq!(told, ["oncall resolved checkout critical page", "team resolved checkout critical page"]);
    world.healthy(30);
    assert!(world.engine.view().incidents.is_empty());
}

#[test]
fn layers_join_one_incident() {
    let rules = || vec![burn_rule("spike", Urgency::Page)];
    let mut world = World::new(vec![slo("database", rules()), slo("service", rules())]);
    let (_, told) = world.until_told(&[50.0, 0.0]);
    assert_eq!(told, ["oncall opened checkout critical page", "team opened checkout critical page"]);
    for _ in 0..8 {
        assert_eq!(world.poll(&[50.0, 50.0]), Vec::<String>::new(), "the service's alert joins");
    }
    let view = world.engine.view();
    assert_eq!((view.incidents.len(), view.incidents[0].alerts, view.alerts.len()), (1, 2, 2));
    assert_eq!(view.held_back.joined, 1);
    for _ in 0..8 {
        assert_eq!(world.poll(&[0.0, 50.0]), Vec::<String>::new(), "one layer's recovery resolves nothing");
    }
    let (_, told) = world.until_told(&[0.0, 0.0]);
    assert_eq!(told, ["oncall resolved checkout critical page", "team resolved checkout critical page"]);
}

#[test]
fn a_page_that_returns_pages_again_while_a_ticket_stays_open() {
    let ticket = Rule {
        limit: Limit::BurnRate { factor: 1.0, long: Duration::from_minutes(30), short: Duration::from_minutes(15) },
        clear_after: Duration::from_minutes(15),
        ..burn_rule("leak", Urgency::Ticket)
    };
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page), ticket])]);
    world.healthy(20);
    let (_, first) = world.until_told(&[60.0]);
    assert!(first.iter().any(|told| told.contains("opened checkout")), "{first:?}");
    while world.told.iter().all(|told| !told.starts_with("oncall opened")) {
        world.poll(&[60.0]);
    }
    let (_, told) = world.until_told(&[0.0]);
    let over = ["oncall resolved checkout critical page", "team resolved checkout critical page"];
    assert_eq!(told, [&over[..], &["team opened checkout critical ticket"]].concat());
    let incident = world.engine.view().incidents[0].clone();
    assert_eq!((incident.urgency, incident.worst_urgency), (Urgency::Ticket, Urgency::Page));
    let (_, told) = world.until_told(&[60.0]);
    assert_eq!(told, ["oncall opened checkout critical page", "team escalated checkout critical page"]);
}

#[test]
fn a_blind_source_is_one_incident_and_resolves_nothing() {
    let rules = || vec![burn_rule("spike", Urgency::Page)];
    let mut world = World::new(vec![slo("database", rules()), slo("service", rules())]);
    world.until_told(&[50.0, 50.0]);
    let opened = world.told.len();
    assert_eq!((world.fail(), world.fail()), (vec![], vec![]));
    assert_eq!(
        world.fail(),
        ["oncall blind slowburn:source critical page", "team blind slowburn:source critical page"]
    );
    assert_eq!(world.sight(0), Sight::Blind);
    for _ in 0..15 {
        assert_eq!(world.fail(), Vec::<String>::new());
    }
    assert_eq!(world.engine.view().missed.slots, 18);
    assert_eq!(world.engine.view().alerts.len(), 2, "both still fire");
    let told = world.poll(&[50.0, 50.0]);
    assert!(told.contains(&"oncall resolved slowburn:source critical page".to_string()), "{told:?}");
    assert!(!told.iter().any(|told| told.contains("resolved checkout")), "{told:?}");
    assert!(world.told.len() > opened);
    while !world.told.iter().any(|told| told == "oncall resolved checkout critical page") {
        world.poll(&[0.0, 0.0]);
    }
}

#[test]
fn absence_and_partial_answers_resolve_nothing() {
    let rules = || vec![burn_rule("spike", Urgency::Page)];
    let mut world = World::new(vec![slo("database", rules()), slo("service", rules())]);
    world.until_told(&[50.0, 0.0]);
    for _ in 0..8 {
        assert_eq!(world.poll_of(&[1], false), Vec::<String>::new());
    }
    assert_eq!((world.sight(0), world.sight(1)), (Sight::Lost, Sight::Idle));
    for _ in 0..4 {
        world.counts[0] = [world.counts[0][0] + 100.0, world.counts[0][1] + 100.0];
        assert_eq!(world.poll_of(&[0, 1], true), Vec::<String>::new());
    }
    assert_eq!(world.sight(0), Sight::Partial);
    let (_, told) = world.until_told(&[0.0, 0.0]);
    assert_eq!(told, ["oncall resolved checkout critical page", "team resolved checkout critical page"]);
}

#[test]
fn the_first_minutes_are_no_verdict_on_the_budget() {
    let budget = Rule { limit: Limit::BudgetConsumed { share: 1.0 }, ..burn_rule("budget", Urgency::Page) };
    let month = SloSpec { period: Duration::from_days(30), ..slo("database", vec![budget]) };
    let mut world = World::new(vec![month]);
    for _ in 0..40 {
        assert_eq!(world.poll(&[50.0]), Vec::<String>::new());
    }
    assert_eq!(
        world.until_told(&[50.0]).1,
        ["oncall opened checkout critical page", "team opened checkout critical page"]
    );
}

#[test]
fn what_was_counted_while_the_source_was_away_is_not_lost() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    let events = |world: &World| world.engine.view().slos[0].events;
    let before = events(&world);
    for _ in 0..30 {
        world.counts[0] = world.counts[0].map(|count| count + 100.0);
        world.fail();
    }
    world.poll(&[0.0]);
    assert_eq!(events(&world) - before, 3100.0);
}

#[test]
fn a_series_that_cannot_be_used_resolves_nothing() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
    let mut poll = |pods: &[(&str, f64)], round: i32, flawed: bool| {
        let mut snapshot = Snapshot::default();
        for (pod, slow) in pods {
            let labels: Labels = [("pod".to_string(), pod.to_string())].into();
            let id = world.engine.bind(0, &labels, &bounds).expect("within the limits");
            snapshot.push(id, &[f64::from(round) * (100.0 - slow), f64::from(round) * 100.0]);
        }
        if flawed {
            snapshot.push_flawed(0);
        }
        let slot = world.slot;
        (world.step(Input::Polled { slot, snapshot: &snapshot }), world.sight(0))
    };
    let told: Vec<String> = (0..12).flat_map(|round| poll(&[("a", 0.0), ("b", 60.0)], round, false).0).collect();
    assert!(told.contains(&"oncall opened checkout critical page".to_string()), "{told:?}");
    // The slow pod's buckets lost their +Inf: the other one looks fine, and that proves nothing.
    for round in 12..18 {
        assert_eq!(poll(&[("a", 0.0)], round, true), (vec![], Sight::Partial));
    }
    let told: Vec<String> = (18..28).flat_map(|round| poll(&[("a", 0.0)], round, false).0).collect();
    assert!(told.contains(&"oncall resolved checkout critical page".to_string()), "{told:?}");
}

#[test]
fn a_source_that_lost_everything_is_blind() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    let told: Vec<String> = (0..10).flat_map(|_| world.poll_of(&[], false)).collect();
    assert_eq!(told, ["oncall blind slowburn:source critical page", "team blind slowburn:source critical page"]);
    assert_eq!(world.poll(&[0.0]).len(), 2, "and its end is told");
}

#[test]
fn too_few_requests_raise_nothing_and_say_so() {
    let careful = Rule { min_events: 10_000.0, ..burn_rule("spike", Urgency::Page) };
    let mut world = World::new(vec![slo("database", vec![careful])]);
    for _ in 0..20 {
        assert_eq!(world.poll(&[100.0]), Vec::<String>::new());
    }
    assert!(world.engine.view().held_back.low_traffic > 10);
}

#[test]
fn a_quantile_needs_requests_to_be_sure_of() {
    let limit = Limit::Latency { quantile: 0.99, over: Duration::from_minutes(2) };
    let sure =
        Rule { limit, confidence_z: Some(1.645), warning_ppm: 1_000_000, ..burn_rule("approach", Urgency::Page) };
    let mut world = World::new(vec![slo("database", vec![sure])]);
    // 400 requests: 1.25% of them slow put p99 over the budget, and 5% do so beyond doubt.
    for _ in 0..20 {
        world.poll(&[1.25]);
    }
    assert_eq!(world.told, Vec::<String>::new());
    assert!(world.engine.view().held_back.low_traffic > 10);
    let (_, told) = world.until_told(&[5.0]);
    assert_eq!(told, ["oncall opened checkout critical page", "team opened checkout critical page"]);
}

#[test]
fn new_bounds_are_reported_and_burn_nothing() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    let poll = |world: &mut World, bounds: &[f64], counts: &[f64]| {
        let bounds: Arc<[f64]> = bounds.into();
        let id = world.engine.bind(0, &Labels::new(), &bounds).expect("within the limits");
        let mut snapshot = Snapshot::default();
        snapshot.push(id, counts);
        let slot = world.slot;
        world.step(Input::Polled { slot, snapshot: &snapshot })
    };
    let [good, total] = world.counts[0];
    let events = |world: &World| world.engine.view().slos[0].events;
    let before = events(&world);
    // The budget's bound stays: nothing is lost and nothing burns, back and forth.
    for round in 1..20 {
        let (good, total) = (good + 100.0 * f64::from(round), total + 100.0 * f64::from(round));
        let wide = round % 2 == 0;
        let bounds: &[f64] = if wide { &[0.05, 0.1, 0.2, f64::INFINITY] } else { &[0.1, f64::INFINITY] };
        let counts: &[f64] = if wide { &[good, good, total, total] } else { &[good, total] };
        assert_eq!(poll(&mut world, bounds, counts), Vec::<String>::new());
    }
    assert_eq!(events(&world) - before, 1900.0);
    assert_eq!(world.engine.view().slos[0].bad_events, 0.0);
    assert!(world.reports.iter().any(|report| matches!(report, Report::LayoutChanged { .. })));
    // The budget's bound vanishes: unmeasurable, and no burn.
    for round in 20..30 {
        let total = total + 100.0 * f64::from(round);
        assert_eq!(poll(&mut world, &[0.05, f64::INFINITY], &[0.0, total]), Vec::<String>::new());
    }
    assert_eq!(events(&world) - before, 1900.0);
}

#[test]
fn by_labels_are_slos_of_their_own_up_to_a_limit() {
    let mut world = World::new(vec![SloSpec {
        by: vec!["region".into()],
        ..slo("database", vec![burn_rule("spike", Urgency::Page)])
    }]);
    let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
    let mut refused = 0;
    for round in 0..12 {
        let mut snapshot = Snapshot::default();
        for (region, slow) in [("eu", 0.0), ("us", 50.0), ("xx", 50.0)] {
            let labels: Labels = [("region".to_string(), region.to_string())].into();
            match world.engine.bind(0, &labels, &bounds) {
                Some(id) => snapshot.push(id, &[f64::from(round) * (100.0 - slow), f64::from(round) * 100.0]),
                None => refused += 1,
            }
        }
        let slot = world.slot;
        world.step(Input::Polled { slot, snapshot: &snapshot });
    }
    // The series without a region that the world began with is one of the two.
    assert_eq!(refused, 24);
    let view = world.engine.view();
    assert_eq!(view.slos.len(), 2);
    let problem = view.slos[0].problem.as_deref();
    assert_eq!(problem, Some("more than 2 combinations of region; the others are not watched"));
    let reports = world.reports.iter().filter(|report| matches!(report, Report::Refused { .. }));
    assert_eq!(reports.count(), 1, "once, not once a series and poll")
}

#[test]
fn values_that_are_gone_make_room_for_new_ones() {
    let by = vec!["version".to_string()];
    let mut world = World::new(vec![SloSpec { by, ..slo("database", vec![burn_rule("spike", Urgency::Page)]) }]);
    let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
    let mut deploy = |version: &str| -> bool {
        let labels: Labels = [("version".to_string(), version.to_string())].into();
        let mut bound = false;
        for round in 0..180 {
            world.engine.forget_ended();
            let mut snapshot = Snapshot::default();
            let id = world.engine.bind(0, &labels, &bounds);
            bound = id.is_some();
            id.into_iter().for_each(|id| snapshot.push(id, &[f64::from(round), f64::from(round)]));
            let slot = world.slot;
            world.step(Input::Polled { slot, snapshot: &snapshot });
        }
        bound
    };
    // Room for two, an hour and a half each: by then nobody waits for the first ones' return.
    assert!(["1.0", "1.1", "1.2", "1.3"].into_iter().all(&mut deploy));
    let versions: Vec<Labels> = world.engine.view().slos.into_iter().map(|slo| slo.labels).collect();
    assert_eq!(versions.len(), 2);
    assert!(versions.iter().any(|labels| labels["version"] == "1.3"), "{versions:?}");
}

#[test]
fn a_receiver_that_is_down_gets_trigger_before_resolve() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    world.outcome = |_| Some(Outcome::Retry { after: Some(Duration::from_hours(1)), why: "503".into() });
    world.until_told(&[60.0]);
    for _ in 0..10 {
        world.poll(&[60.0]);
    }
    while !world.told.iter().any(|told| told.starts_with("oncall resolved")) {
        world.poll(&[0.0]);
    }
    assert_eq!(world.engine.view().receivers[ONCALL].pending, 2);
    // Up again: the next wake delivers both, in order.
    let mut sent = Vec::new();
    while let Some(at) = world.engine.wake_at() {
        let at = at.max(world.slot);
        let mut effects = world.engine.step(at, Input::Tick);
        while let Some(effect) = effects.pop() {
            let Effect::Deliver(delivery) = effect else { continue };
            let told = &delivery.notification;
            if told.receiver == ONCALL {
                sent.push((told.reason.as_str(), delivery.attempt > 0));
            }
            effects.extend(world.engine.step(at, Input::Settled { id: &told.id, outcome: &Outcome::Delivered }));
        }
    }
    assert_eq!(sent, [("opened", true), ("resolved", false)]);
}

#[test]
fn what_a_receiver_refuses_is_told_to_its_fallback() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    world.outcome = |delivery| {
        let refused = delivery.notification.receiver == ONCALL;
        Some(if refused { Outcome::Rejected { why: "invalid key".into() } } else { Outcome::Delivered })
    };
    while !world.told.iter().any(|told| told.starts_with("oncall opened")) {
        world.poll(&[60.0]);
    }
    let view = world.engine.view();
    assert_eq!(view.dead_letters.len(), 1);
    assert_eq!(view.dead_letters[0].why, "invalid key");
    // Its own news, and what on-call refused.
    assert!(view.receivers[TEAM].counts.delivered >= 2, "{:?}", view.receivers);
}

#[test]
fn a_reload_tells_nothing_and_forgets_nothing() {
    let rules = || vec![burn_rule("spike", Urgency::Page)];
    let mut world = World::new(vec![slo("database", rules()), slo("service", rules())]);
    world.until_told(&[50.0, 0.0]);
    let before = world.engine.view();

    // Everything has another place, and a threshold and a repetition changed.
    let complete = world.reload(|spec| {
        spec.slos.reverse();
        spec.receivers.reverse();
        spec.receivers[1].fallback = Some(0);
        spec.route = route(1, 0);
        spec.slos[1].rules.insert(0, burn_rule("other", Urgency::Ticket));
        spec.slos[1].rules[1].limit =
            Limit::BurnRate { factor: 12.0, long: Duration::from_minutes(2), short: Duration::from_minutes(1) };
    });
    assert!(complete, "every window goes on");
    world.counts.reverse();
    let view = world.engine.view();
    assert_eq!((&view.alerts, &view.incidents), (&before.alerts, &before.incidents));
    assert_eq!(view.receivers[0].counts, before.receivers[1].counts);
    assert_eq!(view.slos[1].events, before.slos[0].events);
    for _ in 0..5 {
        let told = world.poll(&[0.0, 50.0]);
        assert!(told.iter().all(|told| told.contains("escalated") || told.contains("ticket")), "{told:?}");
    }
    let (_, told) = world.until_told(&[0.0, 0.0]);
    assert_eq!(told, ["team resolved checkout critical page", "oncall resolved checkout critical page"]);
    world.healthy(10);
}

#[test]
fn what_a_reload_takes_away_resolves() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    world.until_told(&[50.0]);
    assert!(world.reload(|spec| spec.slos[0].rules[0].name = "sharper".into()));
    let (polls, told) = world.until_told(&[0.0]);
    assert_eq!(polls, 1);
    assert_eq!(told, ["oncall resolved checkout critical page", "team resolved checkout critical page"]);
}

#[test]
fn windows_that_a_reload_ends_are_filled_again() {
    let mut world = World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])]);
    world.until_told(&[50.0]);
    // Another selector counts other requests: what was seen of the old ones says nothing of them.
    assert!(!world.reload(|spec| spec.slos[0].selector = "other_seconds".into()));
    world.engine.forget_windows();
    assert_eq!(world.engine.newest_slot(), None);
    assert_eq!(world.engine.view().alerts.len(), 1, "it fires until somebody has seen that it does not");
    let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
    let mut past = world.slot - Duration::from_minutes(5);
    while past < world.slot {
        let id = world.engine.bind(0, &Labels::new(), &bounds).expect("within the limits");
        world.counts[0][0] += 50.0;
        world.counts[0][1] += 100.0;
        let mut snapshot = Snapshot::default();
        snapshot.push(id, &world.counts[0]);
        assert_eq!(world.engine.step(world.slot, Input::Backfilled { slot: past, snapshot: &snapshot }), vec![]);
        past += STEP;
    }
    assert_eq!(world.poll(&[50.0]), Vec::<String>::new(), "still firing is no news");
    assert_eq!(world.engine.view().alerts.len(), 1);
}
