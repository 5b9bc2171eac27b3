//! Which candidates are worth a look: those that no other beats in everything.

use serde::{Serialize, Serializer};

use super::space::Candidate;
use crate::engine::time::Duration;

/// A delay that is this much shorter is not worth another page: a minute, or a tenth.
const DELAY_SLACK: Duration = Duration::from_minutes(1);
const DELAY_SLACK_SHARE: f64 = 0.1;

/// What is weighed; of each, less is better. Counts are over one and the same stretch of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Goals {
    /// Known incidents that nobody was paged for.
    pub missed: u64,
    /// From the beginning of an incident to its first page, the median; `None` if there is none.
    #[serde(rename = "delay_s", serialize_with = "seconds")]
    pub delay: Option<Duration>,
    pub pages: u64,
    /// Pages that no known incident explains.
    pub unexplained: u64,
}

/// A candidate and what it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial<O> {
    /// In the order of trying; 0 is the present rules.
    pub number: usize,
    pub candidate: Candidate,
    pub goals: Goals,
    pub outcome: O,
}

/// What no other trial dominates. Of those that come to the same, the one that is nearest to the present rules.
#[derive(Debug, Clone)]
pub struct Frontier<O> {
    present: Candidate,
    trials: Vec<Trial<O>>,
}

impl Goals {
    /// Of what was given up after so many pages: worse than anything that was not.
    pub fn hopeless(missed: u64, pages: u64) -> Self {
        Self { missed, delay: None, pages, unexplained: pages }
    }

    fn delay_ms(&self) -> i64 {
        self.delay.map_or(i64::MAX, Duration::ms)
    }

    fn all(&self) -> [i64; 4] {
        [self.missed as i64, self.delay_ms(), self.pages as i64, self.unexplained as i64]
    }

    /// Whether this is nowhere worse than `other`, and somewhere better.
    pub fn dominates(&self, other: &Goals) -> bool {
        let (own, others) = (self.all(), other.all());
        own != others && own.iter().zip(&others).all(|(own, other)| own <= other)
    }
}

fn seconds<S: Serializer>(delay: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    delay.map(Duration::secs).serialize(serializer)
}

impl<O> Frontier<O> {
    pub fn new(present: Candidate) -> Self {
        Self { present, trials: Vec::new() }
    }

    /// The trials, the fewest pages first.
    pub fn trials(&self) -> &[Trial<O>] {
        &self.trials
    }

    pub fn into_trials(self) -> Vec<Trial<O>> {
        self.trials
    }

    /// Takes a trial in, unless others are better.
    pub fn offer(&mut self, trial: Trial<O>) {
        let order = |trial: &Trial<O>, present: &Candidate| (trial.candidate.differs(present), trial.number);
        let rank = order(&trial, &self.present);
        let beats = |known: &Trial<O>| {
            known.goals.dominates(&trial.goals) || (known.goals == trial.goals && order(known, &self.present) < rank)
        };
        if self.trials.iter().any(beats) {
            return;
        }
        self.trials.retain(|known| !trial.goals.dominates(&known.goals) && known.goals != trial.goals);
        let by_pages = |trial: &Trial<O>| (trial.goals.pages, trial.goals);
        let place = self.trials.partition_point(|known| by_pages(known) < by_pages(&trial));
        self.trials.insert(place, trial);
    }

    /// The one to take if there may be `max_pages`: the fewest missed; of those, all that are not much later than the
    /// soonest; of those, the fewest unexplained pages, then pages, then the soonest. `None` if none keeps the limit.
    pub fn recommended(&self, max_pages: u64) -> Option<&Trial<O>> {
        let within = || self.trials.iter().filter(|trial| trial.goals.pages <= max_pages);
        let missed = within().map(|trial| trial.goals.missed).min()?;
        let best = || within().filter(|trial| trial.goals.missed == missed);
        let soonest_ms = best().map(|trial| trial.goals.delay_ms()).min()?;
        let slack_ms = DELAY_SLACK.ms().max((soonest_ms as f64 * DELAY_SLACK_SHARE) as i64);
        best()
            .filter(|trial| trial.goals.delay_ms() <= soonest_ms.saturating_add(slack_ms))
            .min_by_key(|trial| (trial.goals.unexplained, trial.goals.pages, trial.goals.delay_ms()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::replay::tune::space::Setting;

    pub fn any_goals() -> impl Strategy<Value = Goals> {
        (0..4_u64, prop::option::of(0..6_i64), 0..9_u64, 0..4_u64).prop_map(|(missed, delay, pages, unexplained)| {
            Goals { missed, delay: delay.map(Duration::from_minutes), pages, unexplained }
        })
    }

    fn candidate(consecutive: u32) -> Candidate {
        let (long, short) = (Duration::from_minutes(60), Duration::from_minutes(5));
        Candidate(vec![Setting { burn_rate: 14.4, long, short, consecutive }])
    }

    fn frontier(goals: &[Goals]) -> Frontier<()> {
        let mut frontier = Frontier::new(candidate(0));
        for (number, goals) in goals.iter().enumerate() {
            let candidate = candidate(number as u32 % 2);
            frontier.offer(Trial { number, candidate, goals: *goals, outcome: () });
        }
        frontier
    }

    proptest! {
        #[test]
        fn a_frontier_holds_what_nothing_dominates(goals in prop::collection::vec(any_goals(), 1..40)) {
            let frontier = frontier(&goals);
            let mut kept: Vec<Goals> = frontier.trials().iter().map(|trial| trial.goals).collect();
            let mut expected: Vec<Goals> =
                goals.iter().filter(|own| !goals.iter().any(|other| other.dominates(own))).copied().collect();
            prop_assert!(kept.is_sorted_by_key(|goals| goals.pages));
            kept.sort();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(kept, expected);
            for trial in frontier.trials() {
                let same = goals.iter().enumerate().filter(|(_, goals)| **goals == trial.goals);
                let nearest = same.map(|(number, _)| (number % 2, number)).min();
                prop_assert_eq!(nearest, Some((trial.number % 2, trial.number)));
            }
        }

        #[test]
        fn what_is_recommended_keeps_the_limit_and_misses_least(
            goals in prop::collection::vec(any_goals(), 1..40),
            max_pages in 0..9_u64,
        ) {
            let frontier = frontier(&goals);
            let within = || goals.iter().filter(|goals| goals.pages <= max_pages);
            match frontier.recommended(max_pages) {
                None => prop_assert_eq!(within().count(), 0),
                Some(trial) => {
                    prop_assert!(trial.goals.pages <= max_pages);
                    prop_assert_eq!(Some(trial.goals.missed), within().map(|goals| goals.missed).min());
                    let best = within().filter(|goals| goals.missed == trial.goals.missed);
                    let soonest = best.filter_map(|goals| goals.delay).min();
                    prop_assert_eq!(soonest.is_some(), trial.goals.delay.is_some());
                    if let (Some(soonest), Some(delay)) = (soonest, trial.goals.delay) {
                        prop_assert!(delay <= soonest + DELAY_SLACK);
                    }
                }
            }
        }
    }
}
