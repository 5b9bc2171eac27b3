//! Kill -9 between any two steps: no transition is lost, and what comes twice comes with the same id.

use std::collections::BTreeSet;
use std::ops::Range;

use slowburn::engine::alert::AlertRecord;
use slowburn::engine::time::{Duration, Timestamp};

use super::receiver::Trouble;
use super::world::{START, World};
use super::{UNTIL_OVER, hour, rounds};
use crate::history::Random;

const KILLS: usize = 10;
const ALWAYS: Range<Timestamp> = START..Timestamp::from_unix_ms(i64::MAX);

fn world(seed: u64) -> World {
    let mut world = hour(seed);
    // Answers get lost without anybody's being killed, too.
    world.receiver("hook").troubles.push((ALWAYS, Trouble::Cuts(0.1)));
    world
}

/// Runs to the end; killed at these steps, and down for as long as `down` says.
fn run(world: &mut World, kills: &[u64], mut down: impl FnMut() -> Duration) {
    let end = START + UNTIL_OVER;
    for kill in kills {
        world.kill_at = Some(*kill);
        if world.try_until(end).is_ok() {
            break;
        }
        world.restart(down());
    }
    world.kill_at = None;
    world.run_until(end.max(world.now));
    world.judge();
}

/// An alert, apart from what depends on how often it was looked at.
fn key(alert: &AlertRecord) -> String {
    let AlertRecord { journey, layer, rule, stage, breached_at, fired_at, ended_at, .. } = alert;
    format!("{journey}/{layer:?} {rule} {stage:?} {breached_at} {fired_at} {ended_at:?}")
}

pub fn killed(seed: u64, longest_down_s: usize) -> World {
    let mut straight = world(seed);
    run(&mut straight, &[], || Duration::ZERO);
    let mut random = Random::new(seed + 1_000_000);
    let mut kills: Vec<u64> = (0..KILLS).map(|_| 1 + random.below(straight.steps as usize) as u64).collect();
    kills.sort_unstable();
    let mut killed = world(seed);
    run(&mut killed, &kills, || Duration::from_ms(random.below(longest_down_s * 1000) as i64));

    let alerts = |world: &World| world.alerts.iter().map(key).collect::<BTreeSet<String>>();
    let (left, right) = (alerts(&straight), alerts(&killed));
    let lost: Vec<&String> = left.difference(&right).collect();
    let made_up: Vec<&String> = right.difference(&left).collect();
    assert!(lost.is_empty() && made_up.is_empty(), "lost {lost:#?}, made up {made_up:#?}");
    if longest_down_s < 30 {
        // No slot was missed, so each decision is the very same, and all of them are heard.
        let ids = |world: &World| -> BTreeSet<String> {
            world.decided.iter().map(|decided| decided.notification.id.clone()).collect()
        };
        assert_eq!(ids(&straight), ids(&killed));
        for decided in &killed.decided {
            let notification = &decided.notification;
            let heard = &killed.receivers[notification.receiver].heard;
            assert!(heard.contains_key(&notification.id), "{:#?}", killed.story(&notification.incident));
        }
    }
    killed
}

#[test]
fn a_thousand_kills_lose_no_transition() {
    let (kills, twice) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    rounds(50, |seed| {
        // Killed and back at once, and killed and gone for some slots.
        for longest_down_s in [20, 300] {
            let world = killed(seed, longest_down_s);
            kills.set(kills.get() + KILLS);
            let heard = world.receivers.iter().flat_map(|receiver| receiver.heard.values());
            twice.set(twice.get() + heard.filter(|heard| heard.times > 1).count());
        }
    });
    println!("{} kills, {} notifications heard twice, each under the same id", kills.get(), twice.get());
}
