//! When one receiver may be sent to: its pace, the patience it asked for, and how often it failed lately. It never
//! knows what is sent.

use crate::engine::spec::Pace;
use crate::engine::stable_hash;
use crate::engine::time::{Duration, Timestamp};

use super::MAX_IN_FLIGHT;

/// Sends that may fail in a row before the receiver counts as down: from then on one at a time finds out.
pub const DOWN_AFTER: u32 = 3;
/// The longest that a receiver which is down goes untried.
pub const PROBE_AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// No receiver is believed that wants more patience than this, nor a record that a clock set back left in the future.
pub const LONGEST_HOLD: Duration = Duration::from_hours(1);

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_minutes(5);

#[derive(Debug, Clone, Default)]
pub struct Gate {
    in_flight: usize,
    /// When all of the pace's burst is to be had again, were nothing under way.
    restored_at: Option<Timestamp>,
    /// What the receiver asked for.
    held_until: Option<Timestamp>,
    failures: u32,
    /// While it is down: when it is tried next.
    probe_at: Option<Timestamp>,
}

impl Gate {
    /// How many may be started at `now` as far as the pace goes; `None` for as many as one likes.
    ///
    /// What is under way counts as if it arrived now, and what has ended as if it arrived at its end: so the receiver
    /// sees no more than its limit however long a send takes.
    pub fn tokens(&self, now: Timestamp, pace: Option<Pace>) -> Option<u32> {
        let Pace { burst, every } = pace?;
        let owed = self.restored_at.map_or(Duration::ZERO, |at| at.since(now)).in_slots(every);
        let owed = owed + self.in_flight as i64;
        Some(u32::try_from(i64::from(burst) - owed).unwrap_or(0))
    }

    /// Whether a send may start; pages have one more place than tickets.
    pub fn is_open(&self, now: Timestamp, pace: Option<Pace>, page: bool) -> bool {
        self.opens_at(pace, page).is_some_and(|at| at.is_none_or(|at| at <= now))
    }

    /// From when on a send may start: `Some(None)` for any time, `None` if only the end of another one allows it.
    pub fn opens_at(&self, pace: Option<Pace>, page: bool) -> Option<Option<Timestamp>> {
        let places = match (self.is_down(), page) {
            (true, _) => 1,
            (false, true) => MAX_IN_FLIGHT,
            (false, false) => MAX_IN_FLIGHT - 1,
        };
        let mut at = self.held_until.max(self.probe_at);
        if let Some(Pace { burst, every }) = pace {
            let spare = i64::from(burst) - 1 - self.in_flight as i64;
            if spare < 0 {
                return None;
            }
            at = at.max(self.restored_at.map(|at| at - Duration::from_ms(spare.saturating_mul(every.ms()))));
        }
        (self.in_flight < places).then_some(at)
    }

    pub fn start(&mut self) {
        self.in_flight += 1;
    }

    pub fn end(&mut self, now: Timestamp, pace: Option<Pace>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(pace) = pace {
            self.restored_at = Some(self.restored_at.map_or(now, |at| at.max(now)) + pace.every);
        }
    }

    /// Returns whether the receiver was down and is there again.
    pub fn succeed(&mut self) -> bool {
        let was_down = self.is_down();
        self.failures = 0;
        self.probe_at = None;
        was_down
    }

    /// `after` is the patience it asked for, which holds for everything that waits for it.
    pub fn fail(&mut self, now: Timestamp, name: &str, after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        if let Some(after) = after {
            self.held_until = self.held_until.max(Some(now + after.min(LONGEST_HOLD)));
        }
        // A receiver that says when it wants to be asked again is asked then.
        self.probe_at = None;
        if self.is_down() && after.is_none() {
            let wait = backoff(name, self.failures - DOWN_AFTER + 1).min(PROBE_AT_LEAST_EVERY);
            self.probe_at = Some(now + wait);
        }
    }

    pub fn is_down(&self) -> bool {
        self.failures >= DOWN_AFTER
    }

    pub fn held_until(&self) -> Option<Timestamp> {
        self.held_until
    }

    /// Forgets what is past, and what cannot be: a clock that was set back leaves no receiver waiting for hours.
    pub fn tidy(&mut self, now: Timestamp, pace: Option<Pace>) {
        let within =
            |at: Option<Timestamp>, longest: Duration| at.filter(|at| *at > now).map(|at| at.min(now + longest));
        self.held_until = within(self.held_until, LONGEST_HOLD);
        self.probe_at = within(self.probe_at, PROBE_AT_LEAST_EVERY);
        let whole = pace.map_or(Duration::ZERO, |pace| pace.every.times(f64::from(pace.burst)));
        self.restored_at = within(self.restored_at, whole);
    }

    pub fn rewind(&mut self, by: Duration) {
        for at in [&mut self.held_until, &mut self.probe_at, &mut self.restored_at] {
            *at = at.map(|at| at - by);
        }
    }

    pub fn restored_at(&self) -> Option<Timestamp> {
        self.restored_at
    }

    /// Goes on where another run was.
    pub fn restore(&mut self, restored_at: Option<Timestamp>, held_until: Option<Timestamp>) {
        (self.restored_at, self.held_until) = (restored_at, held_until);
    }
}

/// Doubles from a second to five minutes, with up to a quarter less, spread by a hash of id and attempt.
pub fn backoff(id: &str, attempt: u32) -> Duration {
    let doubled = BACKOFF_FIRST.ms().saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(BACKOFF_MOST.ms());
    let spread = (stable_hash(&[id, &attempt.to_string()]) % 1000) as i64;
    Duration::from_ms(doubled - doubled * spread / 4000)
}
