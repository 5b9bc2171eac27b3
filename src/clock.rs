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

    /// Waits until the wall clock shows `at`, also when it is set or the machine sleeps meanwhile.
    pub async fn sleep_until(self, at: Timestamp) {
        // A timer does not run while the machine sleeps and knows nothing of a clock that is set.
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_AGAIN).to_std()).await;
        }
    }
}

/// The wall clock, except that it goes on from where it was while the wall clock is behind that.
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
        let elapsed_ms = instant().saturating_duration_since(self.last_instant).as_millis() as i64;
        let wall = self.clock.now();
        if wall >= self.last {
            (self.last, self.last_instant) = (wall, instant());
            return wall;
        }
        self.last + Duration::from_ms(elapsed_ms)
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
