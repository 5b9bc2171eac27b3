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
