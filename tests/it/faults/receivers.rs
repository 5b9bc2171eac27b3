//! Receivers that are busy, hang, are down, cut answers or refuse: waited for, not waiting for each other, in order.

use slowburn::engine::notification::Reason;
use slowburn::engine::time::{Duration, Timestamp};

use super::receiver::{Request, Said, Trouble};
use super::world::{JOURNEYS, RECEIVERS, RULES, START, World};
use super::{UNTIL_OVER, hour, rounds};

fn minute(minute: i64) -> Timestamp {
    START + Duration::from_minutes(minute)
}

/// One layer that is slow from the second minute to the tenth.
fn one_incident() -> World {
    let script =
        [(0..400).map(|slot| if (4..20).contains(&slot) { 60 } else { 0 }).collect(), vec![0; 400], vec![0; 400]];
    World::new(&[RECEIVERS, RULES, JOURNEYS].concat(), &script, 7)
}

/// How long each notification took from its decision to the receiver's acceptance, in milliseconds, sorted.
fn delays_ms(world: &World, name: &str) -> Vec<i64> {
    let receiver = world.receivers.iter().find(|receiver| receiver.name == name).unwrap();
    let decided = world.decided.iter().filter_map(|decided| {
        let heard = receiver.heard.get(&decided.notification.id)?;
        Some(heard.first_at.since(decided.at).ms())
    });
    let mut delays: Vec<i64> = decided.collect();
    delays.sort_unstable();
    delays
}

#[test]
fn ten_times_429_is_waited_for_in_any_form_and_hurts_nobody_else() {
    let mut straight = one_incident();
    straight.run_until(minute(200));
    for said in [Said::Seconds(37), Said::Date(37), Said::Seconds(0), Said::Nothing] {
        let mut world = one_incident();
        world.receiver("pager").busy = [said; 10].into();
        world.run_until(minute(200));
        world.judge();
        let pager = world.receiver("pager");
        let refused: Vec<Request> =
            pager.requests.iter().filter(|request| request.said == Some(said)).cloned().collect();
        assert_eq!(refused.len(), 10, "{said:?}");
        for request in &refused {
            // The next try of the same, or of what took its place.
            let next = pager.requests.iter().find(|next| next.at > request.at).expect("another try");
            let waited_s = next.at.since(request.answered_at).secs();
            match said {
                Said::Seconds(s) | Said::Date(s) if s > 0 => {
                    // A date has whole seconds.
                    let least = s as f64 - if matches!(said, Said::Date(_)) { 1.0 } else { 0.0 };
                    assert!(waited_s >= least && waited_s <= s as f64 * 1.1, "{said:?}: waited {waited_s} s");
                }
                _ => assert!(waited_s <= 300.0, "{said:?}: waited {waited_s} s"),
            }
        }
        if said == Said::Nothing {
            let waits: Vec<f64> = refused.windows(2).map(|pair| pair[1].at.since(pair[0].answered_at).secs()).collect();
            assert!(waits.iter().sum::<f64>() > 60.0, "it backs off: {waits:?}");
        }
        let reasons: Vec<Reason> = pager.order.iter().map(|id| pager.heard[id].reason).collect();
        assert_eq!(
            (reasons.first(), reasons.last()),
            (Some(&Reason::Opened), Some(&Reason::Resolved)),
            "nothing is lost"
        );
        for other in ["chat", "hook"] {
            let (with, without) = (delays_ms(&world, other), delays_ms(&straight, other));
            assert_eq!(with.len(), without.len(), "{other} hears the same");
            assert!(with.last() < Some(&2000), "{other} waits for nobody: {with:?}");
        }
    }
}

#[test]
fn a_receiver_that_hangs_throughout_delays_no_other() {
    rounds(8, |seed| {
        let mut straight = hour(seed);
        straight.run_until(START + UNTIL_OVER);
        let mut hanging = hour(seed);
        hanging.receiver("hook").troubles.push((START..minute(10_000), Trouble::Hangs));
        hanging.run_until(START + UNTIL_OVER);
        for other in ["pager", "chat"] {
            let (with, without) = (delays_ms(&hanging, other), delays_ms(&straight, other));
            assert_eq!(with.len(), without.len());
            let median = |delays: &[i64]| delays[delays.len() / 2].max(1) as f64;
            let ratio = median(&with) / median(&without);
            assert!(ratio < 1.2, "{other}: {ratio}");
        }
        hanging.heal();
        hanging.run_for(Duration::from_hours(1));
        hanging.judge();
    });
}

/// Many journeys with one layer each, all slow in the same slots.
fn many(journeys: usize, slow: std::ops::Range<usize>) -> World {
    let journey = |number: usize| {
        let histogram = format!("'request_seconds{{service=\"{number}\"}}'");
        let layers = format!("[{{name: edge, budget: 100ms, histogram: {histogram}}}]");
        format!(
            "  - {{name: j{number}, budget: 100ms, objective: 99%, period: 1h, rules: [spike], layers: {layers}}}\n"
        )
    };
    let journeys_yaml: String = (0..journeys).map(journey).collect();
    let script: Vec<u8> = (0..400).map(|slot| if slow.contains(&slot) { 60 } else { 0 }).collect();
    World::new(&[RECEIVERS, RULES, "journeys:\n", &journeys_yaml].concat(), &vec![script; journeys], 7)
}

#[test]
fn what_waits_for_a_hanging_receiver_costs_nothing() {
    let mut world = many(20, 4..20);
    world.receiver("hook").troubles.push((START..minute(30), Trouble::Hangs));
    // The world itself fails if the engine wants to be woken for nothing.
    world.run_until(minute(60));
    world.judge();
    assert!(world.receiver("pager").requests.len() < 60);
}

#[test]
fn what_fires_and_resolves_while_a_receiver_is_down_is_told_once_in_order() {
    let mut world = one_incident();
    world.receiver("pager").troubles.push((START..minute(180), Trouble::Down));
    world.run_until(minute(180));
    assert!(world.receiver("pager").heard.is_empty());
    assert!(world.engine.view().incidents.is_empty(), "it is over");
    world.run_until(minute(200));
    world.judge();
    let pager = world.receiver("pager");
    let reasons: Vec<Reason> = pager.order.iter().map(|id| pager.heard[id].reason).collect();
    assert_eq!(reasons, [Reason::Opened, Reason::Resolved]);
}

#[test]
fn an_answer_cut_after_acceptance_is_asked_for_again_under_the_same_id() {
    rounds(8, |seed| {
        let mut world = hour(seed);
        for receiver in &mut world.receivers {
            receiver.troubles.push((START..minute(10_000), Trouble::Cuts(0.5)));
        }
        world.run_until(START + UNTIL_OVER);
        world.heal();
        world.run_for(Duration::from_hours(1));
        world.judge();
        let twice = world.receivers.iter().flat_map(|receiver| receiver.heard.values()).filter(|heard| heard.times > 1);
        assert!(twice.count() > 3);
    });
}

/// Every receiver down, hanging, cutting answers and busy at times.
pub fn troubled(seed: u64) {
    let mut world = hour(seed);
    let mut random = crate::history::Random::new(seed + 2_000_000);
    for receiver in &mut world.receivers {
        let mut from = 0;
        while from < 120 {
            let trouble = match random.below(6) {
                0 => Trouble::Down,
                1 => Trouble::Hangs,
                _ => Trouble::Cuts(random.unit() / 2.0),
            };
            let to = from + 1 + random.below(30) as i64;
            receiver.troubles.push((minute(from)..minute(to), trouble));
            from = to + random.below(10) as i64;
            let said = [Said::Seconds(5), Said::Date(20), Said::Nothing][random.below(3)];
            receiver.busy.extend(vec![said; random.below(3)]);
        }
    }
    world.run_until(START + UNTIL_OVER);
    world.heal();
    world.run_for(Duration::from_hours(2));
    world.judge();
}

#[test]
fn whatever_receivers_do_they_know_how_things_stand_in_the_end() {
    rounds(40, troubled);
}

#[test]
fn what_a_receiver_refuses_its_fallback_hears() {
    let mut world = one_incident();
    world.receiver("pager").troubles.push((START..minute(10_000), Trouble::Refuses));
    world.run_until(minute(200));
    let pages = world.decided.iter().filter(|decided| decided.notification.receiver == 0).count();
    let own = world.decided.iter().filter(|decided| decided.notification.receiver == 2).count();
    let ends = world.decided.iter().map(|decided| &decided.notification);
    let ends = ends.filter(|told| told.receiver == 0 && told.reason == Reason::Resolved).count();
    assert!(pages >= 2 && world.receiver("pager").heard.is_empty());
    let hook = world.receiver("hook");
    assert!(hook.wrongs.is_empty(), "{:?}", hook.wrongs);
    assert_eq!(hook.heard.len(), own + pages, "its own, and what the pager refused");
    assert!(hook.open.values().all(|open| !open));
    // Whoever refused the beginning is not told of the end.
    assert_eq!(world.engine.view().dead_letters.len(), pages - ends);
}
