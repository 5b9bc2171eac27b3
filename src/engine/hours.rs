//! Stretches of time by the calendar: the active hours of a route, and maintenance windows.
//!
//! A stretch lasts its length in real time: eight hours from nine are over at five on every day but those on which the
//! clocks change in between.

use std::sync::Arc;

use super::time::{Calendar, Duration, Timestamp};

/// When something is open: times that come again, or one stretch.
#[derive(Debug, Clone)]
pub enum Hours {
    /// From each occurrence for so long; stretches that overlap are one.
    Recurring { calendar: Arc<dyn Calendar>, lasts: Duration },
    /// `[from, to)`.
    Once { from: Timestamp, to: Timestamp },
}

/// Whether hours are open at some instant, and until when that surely stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    pub open: bool,
    /// The state may change here and not before.
    pub until: Timestamp,
}

/// Later than any slot.
pub const NEVER: Timestamp = Timestamp::from_unix_ms(i64::MAX);

/// Stretches that each begin before the one before ends are followed this far; hours that never end are as good as that.
const MAX_OVERLAPS: usize = 1000;

impl Hours {
    pub fn phase(&self, at: Timestamp) -> Phase {
        match self {
            Hours::Recurring { calendar, lasts } => match calendar.next_after(at - *lasts) {
                // The earliest stretch that can still go on: others may prolong it, none can end it sooner.
                Some(begun) if begun <= at => Phase { open: true, until: begun + *lasts },
                next => Phase { open: false, until: next.unwrap_or(NEVER) },
            },
            Hours::Once { from, .. } if at < *from => Phase { open: false, until: *from },
            Hours::Once { to, .. } if at < *to => Phase { open: true, until: *to },
            Hours::Once { .. } => Phase { open: false, until: NEVER },
        }
    }

    pub fn is_open(&self, at: Timestamp) -> bool {
        self.phase(at).open
    }

    /// When what is open at `at` closes, or what is closed opens; `None` if that never comes.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let Phase { open, mut until } = self.phase(at);
        for _ in 0..MAX_OVERLAPS {
            let next = self.phase(until);
            if until == NEVER || next.open != open {
                return (until != NEVER).then_some(until);
            }
            until = next.until;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens each hour on the hour.
    #[derive(Debug)]
    struct Hourly;

    impl Calendar for Hourly {
        fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
            Some((after + Duration::from_ms(1)).align_up(Duration::from_hours(1)))
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_s(1_772_366_400) + Duration::from_minutes(minutes)
    }

    #[test]
    fn stretches_begin_with_their_first_instant_and_end_before_their_last() {
        let check = |lasts: i64, minutes: i64, open: bool, next: Option<i64>| {
            let hours = Hours::Recurring { calendar: Arc::new(Hourly), lasts: Duration::from_minutes(lasts) };
            let found = (hours.is_open(at(minutes)), hours.next_change(at(minutes)));
            assert_eq!(found, (open, next.map(at)), "{lasts} min an hour, at {minutes} min");
        };
        check(20, 0, true, Some(20));
        check(20, 19, true, Some(20));
        check(20, 20, false, Some(60));
        check(20, 59, false, Some(60));
        // They touch, or overlap: never closed.
        check(60, 59, true, None);
        check(90, 30, true, None);
    }

    #[test]
    fn one_stretch_comes_once() {
        let hours = Hours::Once { from: at(10), to: at(20) };
        let found = [9, 10, 19, 20].map(|minutes| (hours.is_open(at(minutes)), hours.next_change(at(minutes))));
        assert_eq!(found, [(false, Some(at(10))), (true, Some(at(20))), (true, Some(at(20))), (false, None)]);
    }
}
