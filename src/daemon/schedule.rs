//! Which slot is polled next, and when. Pure: the wall clock is a parameter and may jump.

use crate::engine::time::{Duration, Timestamp};
use crate::engine::{Engine, Spec};

/// A poll to make: for `slot`, once the wall clock shows `at`, which may have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub slot: Timestamp,
    pub at: Timestamp,
}

/// The wall clock may go back by as many intervals, and the next slot just waits for it. Beyond that it was set back, and
/// slots must be numbered anew.
const PATIENCE_INTERVALS: f64 = 2.0;

/// Slots ascend, none comes twice and none before its time; those that passed unpolled are skipped, not made up for.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    interval: Duration,
    /// The poll for slot T is made at T + `delay`.
    delay: Duration,
    /// How late a slot may be polled.
    patience: Duration,
    last: Option<Timestamp>,
}

impl Schedule {
    /// For a source that can be asked for the values at a slot that has passed.
    pub fn with_memory(interval: Duration, delay: Duration) -> Self {
        Self { interval, delay, patience: interval, last: None }
    }

    /// For a source that only knows its values of now.
    pub fn without_memory(interval: Duration) -> Self {
        Self { interval, delay: Duration::ZERO, patience: interval.times(0.1), last: None }
    }

    /// Only slots after `slot` from here on.
    pub fn after(self, slot: Option<Timestamp>) -> Self {
        Self { last: slot, ..self }
    }

    /// The newest slot that was polled.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    pub fn next(&self, now: Timestamp) -> Turn {
        let current = (now - self.delay).align_down(self.interval);
        let fresh = self.last.is_none_or(|last| current > last);
        let slot = if fresh && now.since(current + self.delay) <= self.patience {
            current
        } else {
            // The last slot may be one of another interval.
            self.last.map_or(current, |last| last.max(current)).align_down(self.interval) + self.interval
        };
        Turn { slot, at: slot + self.delay }
    }

    /// How far `slot` lies before its time, if that is more than can be waited for: the wall clock was set back since.
    pub fn is_ahead(&self, slot: Timestamp, now: Timestamp) -> Option<Duration> {
        let ahead = (slot + self.delay).since(now);
        (ahead > self.interval.times(PATIENCE_INTERVALS)).then_some(ahead)
    }

    /// Goes on as if the newest slot had been `by` earlier.
    pub fn rewind(&mut self, by: Duration) {
        self.last = self.last.map(|last| last - by);
    }

    /// What is left for the poll of `slot` before the next one is due.
    pub fn time_left(&self, slot: Timestamp, now: Timestamp) -> Duration {
        (slot + self.delay + self.interval).since(now)
    }

    /// Notes that the poll of `slot` is over.
    pub fn done(&mut self, slot: Timestamp) {
        self.last = Some(self.last.map_or(slot, |last| last.max(slot)));
    }
}

/// The slots that are missing before `slot`: all that the windows reach, or those since the newest one. Slots that nobody
/// evaluated since the newest that was are evaluated in their turn, and need whole windows, too.
pub fn missing(spec: &Spec, engine: &Engine, slot: Timestamp) -> Option<(Timestamp, Timestamp)> {
    missing_since(spec, engine.newest_slot(), engine.evaluated_slot(), slot)
}

fn missing_since(
    spec: &Spec,
    newest: Option<Timestamp>,
    evaluated: Option<Timestamp>,
    slot: Timestamp,
) -> Option<(Timestamp, Timestamp)> {
    let (interval, windows) = (spec.interval, spec.longest_window());
    let first = evaluated.map_or(slot, |evaluated| slot.min(evaluated + interval)).max(slot - windows);
    let reach = (first - windows).align_down(interval) - interval;
    let from = newest.map_or(reach, |newest| reach.max(newest + interval));
    let to = slot - interval;
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    /// `now`, last slot, expected slot and time of its poll, in seconds.
    fn check(schedule: Schedule, rows: &[(i64, Option<i64>, i64, i64)]) {
        for (now, last, slot, at) in rows {
            let turn = schedule.after(last.map(Timestamp::from_unix_s)).next(Timestamp::from_unix_s(*now));
            let expected = Turn { slot: Timestamp::from_unix_s(*slot), at: Timestamp::from_unix_s(*at) };
            assert_eq!(turn, expected, "at {now} after {last:?}");
        }
    }

    #[test]
    fn slots_of_a_source_with_memory() {
        check(
            Schedule::with_memory(INTERVAL, Duration::from_secs(2)),
            &[
                // At the start the newest slot is polled at once.
                (3000, None, 2970, 2972),
                (3002, None, 3000, 3002),
                (3029, None, 3000, 3002),
                // Then each in turn.
                (3003, Some(3000), 3030, 3032),
                (3031, Some(3000), 3030, 3032),
                (3032, Some(3000), 3030, 3032),
                // A poll that took the whole interval, and one that came back late.
                (3070, Some(3000), 3060, 3062),
                // The clock was set, or the machine slept: one slot, not 120 of them.
                (3000 + 3600, Some(3000), 6570, 6572),
                (3000 - 60, Some(3000), 3030, 3032),
            ],
        );
    }

    #[test]
    fn slots_of_a_source_without_memory() {
        check(
            Schedule::without_memory(INTERVAL),
            &[
                (3000, None, 3000, 3000),
                (3003, None, 3000, 3000),
                (3004, None, 3030, 3030),
                (3000, Some(3000), 3030, 3030),
                (3031, Some(3000), 3030, 3030),
                (3050, Some(3000), 3060, 3060),
                (3000 + 3610, Some(3000), 6630, 6630),
                (3000 - 60, Some(3000), 3030, 3030),
            ],
        );
    }

    proptest! {
        /// However the clock is set: it never takes longer than that until the next slot is polled.
        #[test]
        fn slots_ascend_until_the_clock_is_set_back_and_never_lie_in_the_future(
            steps in prop::collection::vec(prop_oneof![8 => -5i64..40, 1 => -4000i64..4000], 1..200),
            memory in any::<bool>(),
        ) {
            let mut schedule = match memory {
                true => Schedule::with_memory(INTERVAL, Duration::from_secs(2)),
                false => Schedule::without_memory(INTERVAL),
            };
            let (mut now, mut last) = (1_000_000, None);
            for step in steps {
                now += step;
                if let Some(ahead) = last.and_then(|last| schedule.is_ahead(last, Timestamp::from_unix_s(now))) {
                    schedule.rewind(Duration::from_ms(ahead.in_slots(INTERVAL) * INTERVAL.ms()));
                    last = schedule.last();
                }
                let turn = schedule.next(Timestamp::from_unix_s(now));
                prop_assert!(turn.at.since(Timestamp::from_unix_s(now)) <= INTERVAL.times(PATIENCE_INTERVALS + 1.0));
                prop_assert_eq!(turn.slot.align_down(INTERVAL), turn.slot);
                if turn.at <= Timestamp::from_unix_s(now) {
                    prop_assert!(turn.slot <= Timestamp::from_unix_s(now));
                    prop_assert!(last.is_none_or(|last| turn.slot > last));
                    prop_assert!(!schedule.time_left(turn.slot, Timestamp::from_unix_s(now)).is_zero() || now % 30 == 2);
                    schedule.done(turn.slot);
                    last = Some(turn.slot);
                }
            }
        }
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_s(s)
    }

    #[test]
    fn what_is_missing() {
        let slo = crate::engine::sli::SloSpec { period: Duration::from_hours(1), ..slo() };
        let spec = Spec { interval: Duration::from_secs(30), slos: vec![slo], ..Spec::default() };
        let missing = |newest: Option<i64>, slot| missing_since(&spec, newest.map(at), newest.map(at), at(slot));
        assert_eq!(missing(None, 36_000), Some((at(32_370), at(35_970))), "a baseline and every slot of the window");
        assert_eq!(missing(Some(35_970), 36_000), None);
        assert_eq!(missing(Some(35_940), 36_000), Some((at(35_970), at(35_970))));
        assert_eq!(missing(Some(30), 36_000), Some((at(28_770), at(35_970))), "no more than windows for the windows");
        let restarted = |evaluated| missing_since(&spec, None, Some(at(evaluated)), at(36_000));
        assert_eq!(restarted(36_000), Some((at(32_370), at(35_970))), "the slot was evaluated before the restart");
        assert_eq!(
            restarted(35_370),
            Some((at(31_770), at(35_970))),
            "whole windows for the first slot to be evaluated"
        );
        assert_eq!(restarted(30), Some((at(28_770), at(35_970))), "but not for what is long past");
    }

    fn slo() -> crate::engine::sli::SloSpec {
        crate::engine::sli::SloSpec { period: Duration::ZERO, ..crate::engine::sli::tests::slo() }
    }
}
