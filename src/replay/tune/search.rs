//! The search: which candidates to try next, given what those before came to.
//!
//! A space that is small enough is tried whole. In a larger one each setting is moved alone, the others as they are:
//! first from the present rules, then from the best so far. Between that the frontier is bred: its members are crossed and
//! moved a step or two, and now and then anything is tried.
//! The same seed tries the same candidates in the same order, however many threads share the work.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::frontier::{Frontier, Goals, Trial};
use super::random::Random;
use super::space::{Candidate, Space};
use crate::source::reader::Stop;

/// Candidates that are bred from one and the same frontier, whatever the number of threads: enough for many cores to
/// share, and few of all that are tried.
const BATCH: usize = 16;
const BATCHES: usize = 8;
/// Draws without anything new after which a space counts as exhausted.
const MAX_DRAWS: usize = 2000;
/// Of the first candidates, one in so many differs from the present rules in one setting, and one in so many is drawn from
/// the whole space.
const NEAR_PART: usize = 4;
const ANY_PART: usize = 8;
/// Of a hundred bred candidates, so many are drawn from the whole space, and so many cross two members of the frontier.
const ANY_PERCENT: usize = 10;
const CROSSED_PERCENT: usize = 35;
/// Where none keeps the limit, so many of those with the fewest pages are bred from.
const NEAREST: usize = 8;
/// The most steps a bred candidate goes.
const MAX_MOVES: usize = 3;

/// How to search.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Candidates to try, the present rules among them.
    pub trials: usize,
    pub seed: u64,
    pub threads: usize,
    /// Candidates with more pages are seldom bred from as long as others are known.
    pub max_pages: u64,
    /// Set by whoever wants it to end early.
    pub stop: &'a Stop,
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct Found<O> {
    pub frontier: Frontier<O>,
    /// Everything that was tried, in order, with what it came to.
    pub tried: Vec<(Candidate, Goals)>,
    /// Every candidate there is was tried.
    pub exhausted: bool,
}

impl Search<'_> {
    /// Searches `space`. `evaluate` says what a candidate comes to, the same whenever it is asked; `None` if it was
    /// stopped. `done` is told of each trial.
    pub fn run<O: Clone + Send>(
        &self,
        space: &Space,
        evaluate: impl Fn(&Candidate) -> Option<(Goals, O)> + Sync,
        mut done: impl FnMut(usize),
    ) -> Found<O> {
        let present = space.present();
        let mut found = Found {
            frontier: Frontier::new(present.clone()),
            tried: Vec::new(),
            exhausted: space.size() <= self.trials,
        };
        let mut random = Random::new(self.seed);
        let mut planned = vec![present];
        planned.extend(match found.exhausted {
            true => space.all(),
            false => {
                let mut first = space.around(&space.present());
                first.truncate(self.trials / NEAR_PART);
                first.extend((0..self.trials / ANY_PART).filter_map(|_| space.any(&mut random)));
                first
            }
        });
        let mut seen = BTreeSet::new();
        planned.retain(|candidate| seen.insert(candidate.clone()));
        let whole = found.exhausted;
        let batch_size = (self.trials / BATCHES).clamp(1, BATCH);
        loop {
            let room = self.trials.max(1).saturating_sub(if whole { 0 } else { found.tried.len() });
            if planned.is_empty() && !whole && room > 0 {
                planned = self.breed(space, &found.frontier, &mut seen, &mut random, batch_size.min(room));
                // It may have found one more than it was asked for.
                planned.truncate(room);
            }
            let batch: Vec<Candidate> = planned.drain(..planned.len().min(batch_size)).collect();
            if batch.is_empty() || *self.stop.borrow() {
                break;
            }
            let outcomes = self.evaluate(&batch, &evaluate, found.tried.len(), &mut done);
            for (candidate, outcome) in batch.into_iter().zip(outcomes) {
                let Some((goals, outcome)) = outcome else { continue };
                let number = found.tried.len();
                found.tried.push((candidate.clone(), goals));
                found.frontier.offer(Trial { number, candidate, goals, outcome });
            }
        }
        found.exhausted &= !*self.stop.borrow();
        found
    }

    /// New candidates from the frontier; fewer than `count` once there is little left that is new.
    fn breed<O>(
        &self,
        space: &Space,
        frontier: &Frontier<O>,
        seen: &mut BTreeSet<Candidate>,
        random: &mut Random,
        count: usize,
    ) -> Vec<Candidate> {
        let all: Vec<&Candidate> = frontier.trials().iter().map(|trial| &trial.candidate).collect();
        // The fewest pages come first.
        let within = frontier.trials().iter().take_while(|trial| trial.goals.pages <= self.max_pages).count();
        // Where none keeps the limit, those that page least are the nearest to it.
        let parents = &all[..if within == 0 { all.len().min(NEAREST) } else { within }];
        let recommended = frontier.recommended(self.max_pages).map(|trial| &trial.candidate);
        let mut bred = Vec::new();
        // Half of them systematically: around the best, and around each of those that are nearest to the limit.
        let mut near = |member: &Candidate, most: usize| {
            let unseen = space.around(member).into_iter().filter(|near| seen.insert(near.clone()));
            bred.extend(unseen.take(most));
            bred.len()
        };
        recommended.map(|best| near(best, count.div_ceil(4)));
        let mut members: Vec<&Trial<O>> = frontier.trials().iter().collect();
        members.sort_by_key(|trial| (trial.goals.pages.abs_diff(self.max_pages), trial.number));
        members.iter().find(|member| near(&member.candidate, 1) >= count.div_ceil(2));
        for _ in 0..MAX_DRAWS {
            if bred.len() >= count || parents.is_empty() {
                break;
            }
            let dice = random.below(100);
            let child = if dice < ANY_PERCENT {
                space.any(random)
            } else {
                // Half are bred from the best so far; some come down to the limit from beyond it.
                let parent = match (random.below(8), recommended) {
                    (0..4, Some(best)) => best,
                    (4, _) => all[random.below(all.len())],
                    _ => parents[random.below(parents.len())],
                };
                let mut child = parent.clone();
                if dice < ANY_PERCENT + CROSSED_PERCENT {
                    let other = parents[random.below(parents.len())];
                    for (own, others) in child.0.iter_mut().zip(&other.0) {
                        *own = if random.below(2) == 0 { *own } else { *others };
                    }
                }
                (0..=random.below(MAX_MOVES)).for_each(|_| space.step(&mut child, random));
                Some(child)
            };
            let sound = child.filter(|child| space.is_sound(child) && !seen.contains(child));
            if let Some(child) = sound {
                seen.insert(child.clone());
                bred.push(child);
            }
        }
        bred
    }

    /// What the candidates come to, in their order. `done` is told how many trials there were, those `before` included.
    fn evaluate<O: Send>(
        &self,
        batch: &[Candidate],
        evaluate: &(impl Fn(&Candidate) -> Option<(Goals, O)> + Sync),
        before: usize,
        done: &mut impl FnMut(usize),
    ) -> Vec<Option<(Goals, O)>> {
        let next = AtomicUsize::new(0);
        let mut outcomes: Vec<Option<(Goals, O)>> = batch.iter().map(|_| None).collect();
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, batch.len().max(1)) {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    while !*self.stop.borrow() {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(candidate) = batch.get(index) else { return };
                        if send.send((index, evaluate(candidate))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(send);
            for (count, (index, outcome)) in receive.iter().enumerate() {
                outcomes[index] = outcome;
                done(before + count + 1);
            }
        });
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::watch;

    use super::*;
    use crate::engine::time::Duration;
    use crate::replay::tune::space::{Knobs, Setting};

    fn windows(minutes: &[i64]) -> Vec<Duration> {
        minutes.iter().copied().map(Duration::from_minutes).collect()
    }

    fn space(rules: usize) -> Space {
        let (long, short) = (Duration::from_minutes(60), Duration::from_minutes(5));
        let knobs = Knobs {
            rule: "fast".into(),
            present: Setting { burn_rate: 30.0, long, short, consecutive: 4 },
            burn_rate: vec![2.0, 4.0, 6.0, 10.0, 14.4, 20.0, 30.0],
            long: windows(&[5, 10, 30, 60, 120]),
            short: windows(&[1, 5, 15, 30]),
            consecutive: vec![1, 2, 3, 4],
            clears_with_short: true,
        };
        Space { knobs: vec![knobs; rules] }
    }

    /// A made-up world: every rule catches what it is eager enough for, pages the more, and is slow by its windows.
    fn world(candidate: &Candidate) -> Option<(Goals, Vec<u32>)> {
        let eager = |setting: &Setting| 60.0 / setting.burn_rate / f64::from(setting.consecutive);
        let slow =
            |setting: &Setting| setting.long.secs() / 20.0 + setting.short.secs() * f64::from(setting.consecutive);
        let most = candidate.0.iter().map(eager).fold(0.0, f64::max);
        let soonest_s = candidate.0.iter().map(slow).fold(f64::INFINITY, f64::min);
        let noise: f64 = candidate.0.iter().map(|setting| (eager(setting) - 4.0).max(0.0)).sum();
        let caught = (most as u64).min(8);
        let goals = Goals {
            missed: 8 - caught,
            delay: (caught > 0).then(|| Duration::from_secs(soonest_s as i64)),
            pages: caught + noise as u64,
            unexplained: noise as u64,
        };
        Some((goals, candidate.0.iter().map(|setting| setting.consecutive).collect()))
    }

    fn search(trials: usize, seed: u64, threads: usize, rules: usize) -> Found<Vec<u32>> {
        let (_, stop) = watch::channel(false);
        let mut told = 0;
        let found = Search { trials, seed, threads, max_pages: 8, stop: &stop }.run(&space(rules), world, |done| {
            assert_eq!(done, told + 1, "trials are told one by one");
            told = done;
        });
        assert_eq!(told, found.tried.len());
        found
    }

    fn goals<O>(found: &Found<O>) -> Vec<Goals> {
        found.frontier.trials().iter().map(|trial| trial.goals).collect()
    }

    #[test]
    fn a_small_space_is_tried_whole_and_a_large_one_as_often_as_allowed() {
        let size = space(1).size();
        let whole = search(size, 1, 2, 1);
        assert!(whole.exhausted && whole.tried.len() == size, "{} of {size}", whole.tried.len());
        let some = search(100, 1, 2, 3);
        assert!(!some.exhausted && some.tried.len() == 100, "{}", some.tried.len());
        assert_eq!(some.tried[0].0, space(3).present());
        for trials in [1, 2, 9, 33, 50, 51] {
            assert_eq!(search(trials, 1, 2, 3).tried.len(), trials);
        }
    }

    #[test]
    fn a_fifth_of_a_space_mostly_holds_the_best_of_it() {
        let best = search(usize::MAX, 1, 2, 1).frontier;
        let best = best.recommended(8).expect("something keeps the limit").goals;
        let finds = |seed: &u64| {
            let found = search(space(1).size() / 5, *seed, 2, 1).frontier;
            found.recommended(8).map(|trial| trial.goals) == Some(best)
        };
        // Only one burn rate and one count in 28 are right.
        let found = (0..20).filter(finds).count();
        assert!(found >= 16, "{found}");
    }

    #[test]
    fn breeding_beats_drawing() {
        let trials = 300;
        for seed in 0..5 {
            let bred = search(trials, seed, 2, 3).frontier.recommended(8).expect("one keeps the limit").goals;
            let mut random = Random::new(seed);
            let mut drawn = Frontier::new(space(3).present());
            for number in 0..trials {
                let candidate = space(3).any(&mut random).expect("there are sound ones");
                let (goals, outcome) = world(&candidate).expect("nothing stops it");
                drawn.offer(Trial { number, candidate, goals, outcome });
            }
            let drawn = drawn.recommended(8).map(|trial| trial.goals);
            assert!(drawn.is_none_or(|drawn| !drawn.dominates(&bred)), "seed {seed}: {drawn:?} beats {bred:?}");
        }
    }

    #[test]
    fn what_was_found_so_far_stays_when_it_is_stopped() {
        let (stop, stopped) = watch::channel(false);
        let found =
            Search { trials: 500, seed: 1, threads: 2, max_pages: 8, stop: &stopped }.run(&space(3), world, |done| {
                if done == 50 {
                    stop.send(true).expect("the search waits for it");
                }
            });
        assert!((50..50 + BATCH).contains(&found.tried.len()), "{}", found.tried.len());
        assert!(!found.frontier.trials().is_empty() && !found.exhausted);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn threads_and_repetition_change_nothing(seed: u64, trials in 1..200_usize) {
            let (one, many) = (search(trials, seed, 1, 2), search(trials, seed, 7, 2));
            prop_assert_eq!(&one.tried, &many.tried);
            prop_assert_eq!(goals(&one), goals(&many));
            let tried: BTreeSet<&Candidate> = one.tried.iter().map(|(candidate, _)| candidate).collect();
            prop_assert_eq!(tried.len(), one.tried.len(), "nothing is tried twice");
            for trial in one.frontier.trials() {
                prop_assert_eq!((&trial.candidate, &trial.goals), (&one.tried[trial.number].0, &one.tried[trial.number].1));
                prop_assert!(!one.tried.iter().any(|(_, goals)| goals.dominates(&trial.goals)));
            }
        }
    }
}
