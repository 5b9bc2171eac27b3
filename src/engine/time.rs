//! Instants and lengths of time in whole milliseconds, and the slots that evaluation is aligned to.
//!
//! The engine never asks what time it is: every instant comes in as an argument.
//!
//! ```
//! use slowburn::engine::time::{Duration, Timestamp};
//! let at = Timestamp::from_unix_s(1_772_366_400);
//! assert_eq!((at + Duration::from_minutes(10)).to_string(), "2026-03-01T12:10:00Z");
//! assert_eq!(Duration::from_minutes(90).to_string(), "1h30m");
//! ```

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY_MS: i64 = 86_400_000;

/// An instant: milliseconds since the Unix epoch, UTC. Shown and serialised as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_ms: i64,
}

/// A length of time in milliseconds, never negative. Shown as Prometheus users write it (`1h30m`, `30d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    ms: i64,
}

impl Timestamp {
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self { unix_ms }
    }

    pub const fn from_unix_s(unix_s: i64) -> Self {
        Self { unix_ms: unix_s * 1000 }
    }

    pub const fn unix_ms(self) -> i64 {
        self.unix_ms
    }

    /// Seconds since the Unix epoch, with the milliseconds as a fraction.
    pub fn unix_s(self) -> f64 {
        self.unix_ms as f64 / 1000.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is in fact later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_ms((self.unix_ms - earlier.unix_ms).max(0))
    }

    /// The slot `self` lies in: the greatest multiple of `interval` not after `self`.
    pub fn align_down(self, interval: Duration) -> Timestamp {
        Self { unix_ms: self.unix_ms.div_euclid(interval.ms) * interval.ms }
    }

    /// The least multiple of `interval` not before `self`.
    pub fn align_up(self, interval: Duration) -> Timestamp {
        let down = self.align_down(interval);
        if down == self { self } else { down + interval }
    }

    /// How many whole `interval`s lie between the epoch and `self`.
    pub fn slot_number(self, interval: Duration) -> i64 {
        self.unix_ms.div_euclid(interval.ms)
    }
}

impl Duration {
    pub const ZERO: Duration = Duration { ms: 0 };

    /// `ms` below zero counts as zero.
    pub const fn from_ms(ms: i64) -> Self {
        Self { ms: if ms < 0 { 0 } else { ms } }
    }

    pub const fn from_secs(s: i64) -> Self {
        Self::from_ms(s * 1000)
    }

    pub const fn from_minutes(minutes: i64) -> Self {
        Self::from_secs(minutes * 60)
    }

    pub const fn from_hours(hours: i64) -> Self {
        Self::from_minutes(hours * 60)
    }

    pub const fn from_days(days: i64) -> Self {
        Self::from_ms(days * DAY_MS)
    }

    pub const fn ms(self) -> i64 {
        self.ms
    }

    pub fn secs(self) -> f64 {
        self.ms as f64 / 1000.0
    }

    pub const fn is_zero(self) -> bool {
        self.ms == 0
    }

    /// How many `interval`s cover this length, rounded up.
    pub fn in_slots(self, interval: Duration) -> i64 {
        (self.ms + interval.ms - 1).div_euclid(interval.ms)
    }

    pub fn times(self, factor: f64) -> Duration {
        Self::from_ms((self.ms as f64 * factor).round() as i64)
    }

    /// At most two units, for people: `2d5h` rather than `2d5h13m7s123ms`.
    pub fn coarse(self) -> Duration {
        let unit_ms = match self.ms {
            0..1000 => 1,
            1000..3_600_000 => 1000,
            3_600_000..DAY_MS => 60_000,
            _ => 3_600_000,
        };
        Self { ms: self.ms / unit_ms * unit_ms }
    }

    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms as u64)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp { unix_ms: self.unix_ms.saturating_add(rhs.ms) }
    }
}

impl Add for Duration {
    type Output = Duration;
    fn add(self, rhs: Duration) -> Duration {
        Duration { ms: self.ms.saturating_add(rhs.ms) }
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, rhs: Duration) -> Timestamp {
        Timestamp { unix_ms: self.unix_ms.saturating_sub(rhs.ms) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.unix_ms.div_euclid(DAY_MS), self.unix_ms.rem_euclid(DAY_MS));
        let (year, month, day) = civil_from_days(days);
        let s = ms / 1000;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)?;
        if ms % 1000 != 0 {
            write!(f, ".{:03}", ms % 1000)?;
        }
        f.write_str("Z")
    }
}

/// Gregorian date of a day counted from 1970-01-01.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, ms) in [("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // In one piece: JSON looks for what to escape in each.
        serializer.serialize_str(&self.to_string())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text that is not what this program writes for an instant or a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotATime;

impl fmt::Display for NotATime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time as slowburn writes it")
    }
}

/// Reads what [`Timestamp`]'s `Display` writes, and nothing else: years from 0 to 9999, UTC.
impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
        let is_instant = ["0000-00-00T00:00:00Z", "0000-00-00T00:00:00.000Z"]
            .iter()
            .any(|form| text.len() == form.len() && text.chars().map(shape).eq(form.chars()));
        let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<i64>().ok());
        let read = || {
            let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?);
            let s = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
            Some(days * DAY_MS + s * 1000 + number(20, 23).unwrap_or(0))
        };
        let read = if is_instant { read() } else { None };
        // A thirtieth of February would come out as another day.
        let read = read.map(Self::from_unix_ms).filter(|at| at.to_string() == text);
        read.ok_or(NotATime)
    }
}

/// Reads what [`Duration`]'s `Display` writes, and nothing else.
impl FromStr for Duration {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let mut rest = text;
        let mut total_ms = 0_i64;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let unit = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            let unit_ms = match &tail[..unit] {
                "d" => DAY_MS,
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1000,
                "ms" => 1,
                _ => return Err(NotATime),
            };
            let ms = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit_ms)).ok_or(NotATime)?;
            total_ms = total_ms.checked_add(ms).ok_or(NotATime)?;
            rest = &tail[unit..];
        }
        Some(Self::from_ms(total_ms)).filter(|read| read.to_string() == text).ok_or(NotATime)
    }
}

/// The inverse of [`civil_from_days`], from the same source.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A schedule that only the calendar knows: cron expressions, working hours. The engine asks, `config` answers.
pub trait Calendar: fmt::Debug + Send + Sync {
    /// The first occurrence after `after`, if there is one.
    fn next_after(&self, after: Timestamp) -> Option<Timestamp>;

    /// Whether the schedule has an occurrence in `(after, until]`.
    fn occurs_within(&self, after: Timestamp, until: Timestamp) -> bool {
        self.next_after(after).is_some_and(|next| next <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_prometheus_writes_them() {
        let shown = |ms| Duration::from_ms(ms).to_string();
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(30_000), "30s");
        assert_eq!(shown(5_400_000), "1h30m");
        assert_eq!(shown(30 * DAY_MS), "30d");
        assert_eq!(shown(1_500), "1s500ms");
    }

    #[test]
    fn instants_read_as_rfc_3339() {
        let shown = |ms| Timestamp::from_unix_ms(ms).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(1_709_251_199_500), "2024-02-29T23:59:59.500Z");
        assert_eq!(shown(-1000), "1969-12-31T23:59:59Z");
    }

    proptest! {
        #[test]
        fn dates_agree_with_chrono(unix_s in -62_000_000_000i64..250_000_000_000) {
            let expected = chrono::DateTime::from_timestamp(unix_s, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string();
            prop_assert_eq!(Timestamp::from_unix_s(unix_s).to_string(), expected);
        }

        #[test]
        fn what_is_written_is_read_again(unix_ms in -62_000_000_000_000i64..250_000_000_000_000, ms in 0i64..i64::MAX) {
            let (at, length) = (Timestamp::from_unix_ms(unix_ms), Duration::from_ms(ms));
            prop_assert_eq!(at.to_string().parse(), Ok(at));
            prop_assert_eq!(length.to_string().parse(), Ok(length));
        }

        #[test]
        fn nothing_else_is(text in "[-0-9TZ:.dhms]{0,24}") {
            if let Ok(at) = text.parse::<Timestamp>() {
                prop_assert_eq!(at.to_string(), text.clone());
            }
            if let Ok(length) = text.parse::<Duration>() {
                prop_assert_eq!(length.to_string(), text);
            }
        }

        #[test]
        fn slots_hold_their_instants(unix_ms in any::<i32>(), interval_s in 1i64..4000) {
            let (at, interval) = (Timestamp::from_unix_ms(i64::from(unix_ms)), Duration::from_secs(interval_s));
            let slot = at.align_down(interval);
            prop_assert!(slot <= at && at < slot + interval);
            prop_assert_eq!(slot.slot_number(interval) * interval.ms(), slot.unix_ms());
        }
    }
}
