//! What goes wrong at night: one test for each fault, named after it, each with the figure that must hold.
//!
//! Most of it is a simulation in virtual time: the real engine, its memory and its schedule between a source and
//! receivers that fail. Every choice comes from a seed, and a failure prints it:
//!
//! ```text
//! SLOWBURN_SEED=17 cargo test --test it -- faults::kill
//! SLOWBURN_ROUNDS=100000 cargo test --release --test it -- --ignored faults::long
//! ```
//!
//! The first runs one seed again, the second as many rounds of everything as it says, which takes hours. What the real
//! program does under SIGKILL and on a broken disk is in `durable`.

mod blind;
mod clock;
mod flapping;
mod kill;
mod receiver;
mod receivers;
mod restart;
mod source;
mod world;

use slowburn::engine::time::Duration;

use self::world::{JOURNEYS, RECEIVERS, RULES, World};
use crate::history::Random;

/// So many slots are an hour.
const HOUR_SLOTS: usize = 120;

/// Runs with as many seeds, or with the one that SLOWBURN_SEED names.
fn rounds(default: u64, run: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let seeds = match number("SLOWBURN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..default,
    };
    for seed in seeds {
        let _told = TellsSeed(seed);
        run(seed);
    }
}

/// Says which seed it was when a test fails.
struct TellsSeed(u64);

impl Drop for TellsSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with SLOWBURN_SEED={}", self.0);
        }
    }
}

/// The percentage of slow requests by SLO and slot: quiet, and incidents of every size, some of which flap.
fn incidents(random: &mut Random, slos: usize, slots: usize) -> Vec<Vec<u8>> {
    let mut script = vec![Vec::new(); slos];
    for slow in &mut script {
        while slow.len() < slots {
            slow.extend(std::iter::repeat_n(0, 5 + random.below(40)));
            let (percent, flaps) = (8 + random.below(70) as u8, random.below(3) == 0);
            let length = 3 + random.below(36);
            slow.extend((0..length).map(|slot| if flaps && slot % 4 == 3 { 0 } else { percent }));
        }
        slow.truncate(slots);
        // Well again in the end.
        slow.push(0);
    }
    script
}

/// A world with every kind of rule and receiver, and an hour of incidents from a seed.
fn hour(seed: u64) -> World {
    let mut random = Random::new(seed);
    World::new(&[RECEIVERS, RULES, JOURNEYS].concat(), &incidents(&mut random, 3, HOUR_SLOTS), seed)
}

/// How long it takes until even the rules on the whole period are over.
const UNTIL_OVER: Duration = Duration::from_minutes(150);

/// As many rounds of everything as SLOWBURN_ROUNDS says, each with a seed of its own.
#[test]
#[ignore = "needs as long as SLOWBURN_ROUNDS says"]
fn long() {
    let rounds = std::env::var("SLOWBURN_ROUNDS").map_or(20, |text| text.parse().expect("a whole number"));
    // Beyond those that run each time.
    for seed in 1000..1000 + rounds {
        let _told = TellsSeed(seed);
        kill::killed(seed, 20);
        kill::killed(seed, 300);
        receivers::troubled(seed);
        clock::set_at_random(seed, false);
        clock::set_at_random(seed, true);
        assert!(flapping::day(seed).0 <= 4);
    }
}
