//! A restart, whatever the rule: what fires goes on firing, what ended meanwhile ends once, what began meanwhile is told
//! once with its true beginning.

use slowburn::engine::notification::Reason;
use slowburn::engine::time::Duration;

use super::world::{Decided, JOURNEYS, RECEIVERS, RULES, START, STEP, World};

const KINDS: [&str; 5] = ["spike", "drain", "budget", "runway", "approach"];
const DOWN: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(20), Duration::from_minutes(2), Duration::from_minutes(11)];

/// A world with one layer and one rule, slow in these slots.
fn world(rule: &str, slow: std::ops::Range<usize>) -> World {
    let journeys = JOURNEYS.split("  - name: search").next().unwrap();
    let journeys = journeys.replace("rules: [spike, drain, budget, runway, approach]", &format!("rules: [{rule}]"));
    let lines: Vec<&str> = journeys.lines().filter(|line| !line.contains("database")).collect();
    let config = [RECEIVERS, RULES, &lines.join("\n")].concat();
    let script = (0..400).map(|slot| if slow.contains(&slot) { 60 } else { 0 }).collect();
    World::new(&config, &[script], 7)
}

fn at(slot: i64) -> slowburn::engine::time::Timestamp {
    // Just after the slot was evaluated.
    START + Duration::from_ms(slot * STEP.ms()) + Duration::from_secs(5)
}

/// What was told to the hook, which hears everything.
fn told(world: &World) -> Vec<(Reason, bool)> {
    let hook = world.receivers.iter().position(|receiver| receiver.name == "hook").unwrap();
    let told = world.decided.iter().filter(|decided| decided.notification.receiver == hook);
    told.map(|Decided { notification, .. }| (notification.reason, notification.resolved_at.is_some())).collect()
}

#[test]
fn a_restart_while_firing_is_no_news_whatever_the_rule() {
    for rule in KINDS {
        for down in DOWN {
            let case = format!("{rule}, down for {down}");
            let mut world = world(rule, 4..150);
            world.run_until(at(60));
            let before = told(&world);
            assert!(!before.is_empty(), "{case}: it fires");
            // Twice, as what was restored must be saved again.
            for _ in 0..2 {
                world.restart(down);
                world.run_for(Duration::from_minutes(1));
            }
            world.run_until(at(148));
            assert_eq!(told(&world), before, "{case}: neither resolved nor told again");
            world.run_until(at(390));
            let resolved = told(&world)[before.len()..].to_vec();
            assert_eq!(resolved, [(Reason::Resolved, true)], "{case}: one end");
            world.judge();
        }
    }
}

#[test]
fn what_ended_while_down_ends_once() {
    for rule in KINDS {
        let mut world = world(rule, 4..60);
        world.run_until(at(58));
        let before = told(&world).len();
        world.restart(Duration::from_minutes(100));
        world.run_until(at(390));
        assert_eq!(told(&world)[before..], [(Reason::Resolved, true)], "{rule}");
        world.judge();
    }
}

#[test]
fn what_began_while_down_is_told_once_with_its_true_beginning() {
    for rule in KINDS {
        let mut straight = world(rule, 50..140);
        straight.run_until(at(139));
        let mut world = world(rule, 50..140);
        world.run_until(at(48));
        assert_eq!(told(&world), []);
        world.restart(Duration::from_minutes(40));
        world.run_until(at(139));
        let hook = |world: &World| {
            let hook = world.receivers.iter().position(|receiver| receiver.name == "hook").unwrap();
            let mut decided = world.decided.iter().filter(|decided| decided.notification.receiver == hook);
            let first = decided.next().unwrap_or_else(|| panic!("{rule} is told"));
            (first.notification.opened_at, first.notification.reason, decided.count())
        };
        let (began_at, reason, _) = hook(&straight);
        assert_eq!(hook(&world), (began_at, reason, 0), "{rule}");
    }
}

#[test]
fn what_was_about_to_fire_still_is() {
    // Three evaluations in a row, with a restart after each.
    let mut straight = world("spike", 20..60);
    straight.run_until(at(30));
    let fired_at = straight.alerts[0].fired_at;
    for kill in 18..26 {
        let mut world = world("spike", 20..60);
        world.run_until(at(kill));
        world.restart(Duration::ZERO);
        world.run_until(at(30));
        assert_eq!(world.alerts[0].fired_at, fired_at, "restarted after slot {kill}");
        assert_eq!(told(&world).iter().filter(|(reason, _)| *reason == Reason::Opened).count(), 1);
    }
}
