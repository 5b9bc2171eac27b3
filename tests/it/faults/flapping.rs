//! A burn that flaps at the threshold, each interval, for a day: at most four notifications an hour, whatever the rule.

use slowburn::engine::time::Duration;

use super::rounds;
use super::world::{RECEIVERS, START, World};
use crate::history::Random;

const DAY_SLOTS: usize = 2880;
const LIMITS: [&str; 4] = [
    "burn_rate: 10, long: 90s, short: 1m",
    "latency: {quantile: 90%, over: 1m}",
    "exhaustion: 6m, short: 1m",
    "burn_rate: 10, long: 10m, short: 1m",
];

/// Slow requests around each threshold, chosen anew in each slot.
fn at_the_threshold(random: &mut Random) -> Vec<u8> {
    let percents = [0, 7, 8, 9, 10, 11, 30];
    // Some days hover, others leap, others follow one pattern.
    let (choices, pattern) = (2 + random.below(6), 1 + random.below(5));
    let offset = random.below(7);
    let choice = |random: &mut Random| percents[(offset + random.below(choices)) % 7];
    let repeated: Vec<u8> = (0..pattern + 1).map(|_| choice(random)).collect();
    let by_pattern = random.below(2) == 0;
    (0..DAY_SLOTS).map(|slot| if by_pattern { repeated[slot % repeated.len()] } else { choice(random) }).collect()
}

/// The most that a receiver was told within an hour, and how much was held back.
pub fn day(seed: u64) -> (usize, u64) {
    let mut random = Random::new(seed + 4_000_000);
    let limit = LIMITS[random.below(4)];
    let (consecutive, hysteresis) = (1 + random.below(2), [0, 1, 10][random.below(3)]);
    let clear_after = ["0s", "30s", "1m"][random.below(3)];
    let urgency = ["page", "ticket"][random.below(2)];
    let config = format!(
        "{RECEIVERS}rules:\n  - {{name: flaps, {limit}, urgency: {urgency}, consecutive: {consecutive}, \
         hysteresis: {hysteresis}%, clear_after: {clear_after}}}\n\
         journeys:\n  - {{name: checkout, budget: 100ms, objective: 99%, period: 1h, rules: [flaps], \
         layers: [{{name: edge, budget: 100ms, histogram: request_seconds}}]}}\n"
    );
    let mut script = at_the_threshold(&mut random);
    script.push(0);
    let mut world = World::new(&config, &[script], seed);
    world.run_until(START + Duration::from_hours(28));
    world.judge();
    assert!(world.engine.view().incidents.is_empty(), "it is over, and told");
    let most = (0..world.receivers.len()).map(|receiver| {
        let told = world.decided.iter().filter(|decided| decided.notification.receiver == receiver);
        let told: Vec<_> = told.map(|decided| decided.notification.at).collect();
        let within =
            |at| told.iter().filter(|other| **other >= at && other.since(at) < Duration::from_hours(1)).count();
        told.iter().map(|at| within(*at)).max().unwrap_or(0)
    });
    (most.max().unwrap_or(0), world.engine.view().held_back.flapping)
}

#[test]
fn a_burn_that_flaps_for_a_day_is_told_four_times_an_hour_at_most() {
    let (worst, held_back) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    rounds(24, |seed| {
        let (most, held) = day(seed);
        assert!(most <= 4, "{most} within an hour");
        worst.set(worst.get().max(most));
        held_back.set(held_back.get() + held);
    });
    println!("at most {} within an hour; {} held back", worst.get(), held_back.get());
    assert!(held_back.get() > 0 || std::env::var("SLOWBURN_SEED").is_ok(), "or else nothing flapped");
}
