//! What silences, maintenance windows and active hours hold back, and what is told when they end.

use slowburn::engine::hours::Hours;
use slowburn::engine::maintenance::Maintenance;
use slowburn::engine::route::Hold;
use slowburn::engine::silence::{Refused, Silence};

use super::*;

const NOTHING: Vec<String> = Vec::new();

/// The field's text of what the world's only page is told as.
fn page(reason: &str) -> [String; 2] {
    ["oncall", "team"].map(|receiver| format!("{receiver} {reason} checkout critical page"))
}

fn database() -> World {
    World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])])
}

fn of(label: &str, value: &str) -> Vec<Matcher> {
    vec![Matcher { label: label.into(), any_of: vec![value.into()], negate: false }]
}

impl World {
    fn silence(&mut self, label: &str, value: &str, polls: u32) -> Silence {
        let silence = Silence {
            id: "s".into(),
            matchers: of(label, value),
            starts_at: self.slot,
            ends_at: self.slot + STEP.times(f64::from(polls)),
            author: "ada".into(),
            reason: "we know".into(),
            created_at: self.slot,
        };
        assert_eq!(self.engine.check_silence(self.slot, &silence), Ok(()));
        assert_eq!(self.engine.step(self.slot, Input::Silence(&silence)), vec![]);
        silence
    }

    /// Polls that all show the same; nothing may be told.
    fn quiet(&mut self, polls: usize, slow: &[f64]) {
        for poll in 0..polls {
            assert_eq!(self.poll(slow), NOTHING, "at poll {poll}");
        }
    }

    fn held_back(&self) -> [u64; 3] {
        let held = self.engine.view().held_back;
        [held.silenced, held.maintenance, held.inactive_hours]
    }

    /// Hours that are open from now on for so many polls.
    fn hours(&self, polls: u32) -> Hours {
        Hours::Once { from: self.slot, to: self.slot + STEP.times(f64::from(polls)) }
    }

    /// A window over the database's alerts.
    fn maintain(&mut self, polls: u32, counts: bool) {
        let hours = vec![self.hours(polls)];
        let window = Maintenance { name: "vacuum".into(), hours: 0, matchers: of("layer", "database"), counts };
        assert!(self.reload(|spec| (spec.hours, spec.maintenance) = (hours, vec![window])), "no window is lost");
    }
}

#[test]
fn a_silenced_alert_that_outlasts_its_silence_is_told_then() {
    let mut world = database();
    world.silence("layer", "database", 30);
    world.quiet(30, &[60.0]);
    let view = world.engine.view();
    assert_eq!((view.alerts.len(), view.silences[0].alerts), (1, 1));
    assert_eq!(view.incidents[0].held, Some(Hold::Silenced));
    // Its opening at both, and a repetition at both after ten minutes.
    assert_eq!(world.held_back(), [4, 0, 0]);
    // Nothing changes but the time.
    assert_eq!(world.poll(&[60.0]), page("opened"));
    assert_eq!(world.engine.view().incidents[0].held, None);
    world.quiet(10, &[60.0]);
    assert_eq!(world.until_told(&[0.0]).1, page("resolved"));
    assert_eq!(world.held_back(), [4, 0, 0]);
}

#[test]
fn a_silence_that_is_known_from_the_start_holds_as_one_that_was_made() {
    let mut made = database();
    let silence = made.silence("layer", "database", 30);
    let mut known = database();
    let spec = Spec { silences: vec![silence], ..Spec::clone(known.engine.spec()) };
    known.engine = Engine::new(Arc::new(spec));
    (known.slot, known.counts) = (known.slot - STEP.times(8.0), vec![[0.0; 2]]);
    known.healthy(8);
    for poll in 0..80 {
        let slow = [if poll < 45 { 60.0 } else { 0.0 }];
        assert_eq!(known.poll(&slow), made.poll(&slow), "at poll {poll}");
    }
    assert!(made.held_back()[0] > 0 && !made.ids.is_empty());
    assert_eq!((known.held_back(), &known.ids), (made.held_back(), &made.ids));
}

#[test]
fn what_begins_and_ends_in_a_silence_is_told_to_nobody() {
    let mut world = database();
    world.silence("journey", "checkout", 60);
    world.quiet(10, &[60.0]);
    world.quiet(60, &[0.0]);
    assert_eq!(world.engine.view().incidents, vec![]);
    assert_eq!(world.held_back(), [4, 0, 0]);
}

#[test]
fn a_silence_resolves_nothing_and_hides_no_end() {
    let mut world = database();
    world.until_told(&[60.0]);
    world.quiet(5, &[60.0]);
    world.silence("layer", "database", 100);
    world.quiet(10, &[60.0]);
    assert_eq!(world.until_told(&[0.0]).1, page("resolved"), "whoever was woken hears that it is over");
    world.quiet(10, &[0.0]);
    assert_eq!(world.held_back(), [0; 3]);
}

#[test]
fn a_silence_holds_only_what_it_matches() {
    let rules = || vec![burn_rule("spike", Urgency::Page)];
    let mut world = World::new(vec![slo("database", rules()), slo("service", rules())]);
    world.silence("layer", "database", 100);
    world.quiet(8, &[60.0, 0.0]);
    assert_eq!(world.until_told(&[60.0, 60.0]).1, page("opened"));
    assert_eq!(world.engine.view().incidents[0].held, None);
    // What is over is what was told, though the other alert stands on.
    assert_eq!(world.until_told(&[60.0, 0.0]).1, page("resolved"));
    assert_eq!(world.engine.view().incidents[0].held, Some(Hold::Silenced));
}

#[test]
fn a_silence_can_be_ended_early_and_refused() {
    let mut world = database();
    let silence = world.silence("layer", "database", 100);
    world.quiet(10, &[60.0]);
    assert_eq!(world.engine.step(world.slot, Input::Unsilence { id: "unknown" }), vec![]);
    world.engine.step(world.slot, Input::Unsilence { id: &silence.id });
    assert_eq!(world.poll(&[60.0]), page("opened"));
    let nothing = Silence { matchers: Vec::new(), ..silence };
    assert_eq!(world.engine.check_silence(world.slot, &nothing), Err(Refused::NoMatcher));
    world.engine.step(world.slot, Input::Silence(&nothing));
    assert!(world.engine.view().silences[0].silence.is_over(world.slot));
}

#[test]
fn silences_outlive_a_reload() {
    let mut world = database();
    world.silence("layer", "database", 20);
    world.quiet(10, &[60.0]);
    assert!(world.reload(|spec| spec.receivers.reverse()));
    world.quiet(10, &[60.0]);
    assert_eq!(world.poll(&[60.0]).len(), 2);
}

#[test]
fn a_hold_that_ends_while_the_source_is_away_is_told() {
    let mut world = database();
    world.silence("layer", "database", 10);
    world.quiet(9, &[60.0]);
    assert_eq!(world.fail(), NOTHING);
    assert_eq!(world.fail(), page("opened"), "nobody has seen that it is over");
}

#[test]
fn the_source_out_of_sight_can_be_silenced_too() {
    let mut world = database();
    world.silence("urgency", "page", 10);
    for _ in 0..10 {
        assert_eq!(world.fail(), NOTHING);
    }
    assert_eq!(world.held_back(), [2, 0, 0]);
    let told = ["oncall", "team"].map(|receiver| format!("{receiver} blind slowburn:source critical page"));
    assert_eq!(world.fail(), told);
}

#[test]
fn maintenance_holds_what_it_matches_until_it_is_over() {
    let mut world = database();
    world.maintain(20, true);
    world.quiet(20, &[60.0]);
    let window = world.engine.view().maintenance.remove(0);
    assert_eq!((window.name.as_str(), window.counts, window.alerts), ("vacuum", true, 1));
    assert_eq!(window.until, Some(world.slot));
    assert_eq!(world.held_back(), [0, 2, 0]);
    assert_eq!(world.poll(&[60.0]), page("opened"));
    assert_eq!(world.engine.view().maintenance, vec![]);
}

#[test]
fn active_hours_hold_back_one_route_and_not_the_other() {
    let mut world = database();
    let hours = vec![Hours::Once { from: world.slot + STEP.times(20.0), to: world.slot + STEP.times(40.0) }];
    world.reload(|spec| {
        spec.hours = hours;
        spec.route.active = Some(0);
    });
    let (_, told) = world.until_told(&[60.0]);
    assert_eq!(told, page("opened"), "the child route has no hours of its own here");
    assert_eq!(world.until_told(&[0.0]).1, page("resolved"));
    // 18% slow is a warning first, for the root route: it waits for its hours.
    let mut world = database();
    let hours = vec![Hours::Once { from: world.slot + STEP.times(20.0), to: world.slot + STEP.times(40.0) }];
    world.reload(|spec| {
        spec.hours = hours;
        spec.route.active = Some(0);
        spec.slos[0].rules[0].critical_ppm = 2_000_000;
    });
    world.quiet(20, &[18.0]);
    assert_eq!(world.held_back(), [0, 0, 1]);
    assert_eq!(world.poll(&[18.0]), ["team opened checkout warning page"]);
}

/// Requests and slow ones that count.
fn counted(world: &World) -> (f64, f64) {
    let slo = world.engine.view().slos.remove(0);
    (slo.events, slo.bad_events)
}

#[test]
fn requests_in_a_window_that_excludes_them_burn_nothing_before_and_after() {
    let mut world = database();
    world.poll(&[1.0]);
    let before = counted(&world);
    let from = world.slot - STEP;
    // Begins and ends at a slot, between two, and lasts less than one: what was counted in part of it is left out.
    for (begins_s, lasts_s, polls) in [(0, 600, 20), (10, 600, 21), (7, 9, 1)] {
        let from = world.slot - STEP + Duration::from_secs(begins_s);
        let hours = vec![Hours::Once { from, to: from + Duration::from_secs(lasts_s) }];
        let window = Maintenance { name: "m".into(), hours: 0, matchers: of("layer", "database"), counts: false };
        world.reload(|spec| (spec.hours, spec.maintenance) = (hours, vec![window]));
        let before = counted(&world);
        world.quiet(polls, &[100.0]);
        assert_eq!(counted(&world), before, "begins after {begins_s} s, lasts {lasts_s} s");
        assert_eq!(world.sight(0), Sight::Ok);
        world.healthy(10);
        assert_eq!(counted(&world), (before.0 + 1000.0, before.1));
    }
    assert!(world.slot.since(from) < Duration::from_hours(1), "else the first one is out of the period");
    assert_eq!(counted(&world).1, before.1);
    assert_eq!(world.held_back(), [0; 3]);
}

#[test]
fn nothing_is_counted_of_a_gap_that_a_window_lay_in() {
    let mut world = database();
    let before = counted(&world);
    let from = world.slot + STEP;
    let hours = vec![Hours::Once { from, to: from + STEP }];
    let window = Maintenance { name: "m".into(), hours: 0, matchers: Vec::new(), counts: false };
    world.reload(|spec| (spec.hours, spec.maintenance) = (hours, vec![window]));
    // The source is away before, during and after; what comes back counted it all.
    (0..8).for_each(|_| drop(world.fail()));
    world.counts[0][1] += 900.0;
    world.poll(&[0.0]);
    assert_eq!(counted(&world), before);
    world.healthy(5);
    assert_eq!(counted(&world), (before.0 + 500.0, before.1));
}

#[test]
fn an_alert_that_stands_is_not_resolved_by_what_does_not_count() {
    let mut world = database();
    world.until_told(&[60.0]);
    world.maintain(12, false);
    world.quiet(12, &[0.0]);
    assert_eq!(world.engine.view().alerts.len(), 1, "nobody has seen that it is over");
    assert_eq!(world.until_told(&[0.0]).1, page("resolved"));
}

#[test]
fn a_window_leaves_out_only_what_it_matches() {
    let rules = || vec![burn_rule("spike", Urgency::Page)];
    let by = SloSpec { by: vec!["region".into()], max_by: 3, ..slo("edge", rules()) };
    let mut world = World::new(vec![slo("database", rules()), by]);
    let regions = |world: &mut World, round: i32| {
        let bounds: Arc<[f64]> = [0.1, f64::INFINITY].into();
        let mut snapshot = Snapshot::default();
        for region in ["eu", "us"] {
            let labels: Labels = [("region".to_string(), region.to_string())].into();
            let id = world.engine.bind(1, &labels, &bounds).expect("within the limits");
            snapshot.push(id, &[f64::from(round) * 100.0; 2]);
        }
        let slot = world.slot;
        world.step(Input::Polled { slot, snapshot: &snapshot });
    };
    regions(&mut world, 1);
    let hours = vec![world.hours(100)];
    let window = Maintenance { name: "m".into(), hours: 0, matchers: of("region", "eu"), counts: false };
    world.reload(|spec| (spec.hours, spec.maintenance) = (hours, vec![window]));
    (2..10).for_each(|round| regions(&mut world, round));
    let events =
        world.engine.view().slos.into_iter().filter(|slo| slo.labels.get("region").is_some_and(|it| !it.is_empty()));
    let events: Vec<(String, f64)> = events.map(|slo| (slo.labels["region"].clone(), slo.events)).collect();
    // The poll in which the reload's window began had its increase before it.
    assert_eq!(events, [("eu".to_string(), 100.0), ("us".to_string(), 800.0)]);
}
