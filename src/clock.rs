//! The only place that asks what time it is.

use crate::engine::time::{Duration, Timestamp};

/// The wall clock, as a value so that whoever holds none cannot ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    pub fn now(self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_ms(since_epoch.as_millis() as i64)
    }

    /// Waits until the wall clock shows `at`, also when it is set or the machine sleeps meanwhile; or until it goes
    /// back, when the caller has to look again at what it waits for.
    pub async fn sleep_until(self, at: Timestamp) {
        // A timer does not run while the machine sleeps and knows nothing of a clock that is set.
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        let mut before = self.now();
        loop {
            let now = self.now();
            if now >= at || now < before {
                return;
            }
            before = now;
            tokio::time::sleep(at.since(now).min(LOOK_AGAIN).to_std()).await;
        }
    }
}

/// The wall clock, except that it never goes back: while the wall clock is behind, it goes on at half its speed until
/// the two meet. So what waits for a time is late by at most what the wall clock was set back.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    clock: Clock,
    last: Timestamp,
    last_instant: tokio::time::Instant,
}

impl SteadyClock {
    pub fn new(clock: Clock) -> Self {
        Self { clock, last: clock.now(), last_instant: instant() }
    }

    pub fn now(&mut self) -> Timestamp {
        let wall = self.clock.now();
        let least = self.last + self.elapsed().times(0.5);
        if wall >= least {
            (self.last, self.last_instant) = (wall, instant());
        }
        wall.max(least)
    }

    /// Goes back to the wall clock. Returns by how much that was set back.
    pub fn reset(&mut self) -> Duration {
        let steady = self.last + self.elapsed();
        let wall = self.clock.now();
        (self.last, self.last_instant) = (wall, instant());
        steady.since(wall)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_ms(instant().saturating_duration_since(self.last_instant).as_millis() as i64)
    }
}

/// The moment by which something must be over; it does not move when the wall clock is set.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: tokio::time::Instant,
    length: Duration,
}

impl Deadline {
    pub fn after(length: Duration) -> Self {
        Self { at: instant() + length.to_std(), length }
    }

    /// The time there was at first.
    pub fn length(self) -> Duration {
        self.length
    }

    /// Zero once it has passed.
    pub fn remaining(self) -> Duration {
        Duration::from_ms(self.at.saturating_duration_since(instant()).as_millis() as i64)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Self(instant())
    }

    pub fn elapsed_s(self) -> f64 {
        instant().duration_since(self.0).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_waits_for_a_wall_clock_that_was_set_back() {
        let minutes = |minutes| Duration::from_minutes(minutes);
        // An hour ago, as the wall clock had it when it was an hour ahead of what it shows now.
        let set_back = |ago: Duration| SteadyClock {
            clock: Clock,
            last: Clock.now() + minutes(60) - ago,
            last_instant: instant() - ago.to_std(),
        };
        for ago in [0, 10, 20] {
            let ahead = set_back(minutes(ago)).now().since(Clock.now());
            let expected = minutes(60).times(1.0 - ago as f64 / 120.0);
            assert!(ahead <= expected && ahead + Duration::from_secs(5) > expected, "half its speed: {ahead}");
            let mut steady = set_back(minutes(ago));
            let by = steady.reset();
            assert!(by <= minutes(60) && by + Duration::from_secs(5) > minutes(60), "{by}");
            assert!(steady.now() <= Clock.now(), "it is the wall clock again");
        }
        let mut caught_up = set_back(minutes(120));
        assert!(caught_up.now() <= Clock.now());
    }

    #[tokio::test]
    async fn whoever_waits_for_the_wall_clock_hears_that_it_was_reached() {
        let at = Clock.now() + Duration::from_ms(20);
        Clock.sleep_until(at).await;
        assert!(Clock.now() >= at);
    }
}
