//! Cron expressions in a time zone: five fields as in crontab, or six with the seconds first.
//!
//! A field is `*`, a number, a range `9-17`, a step `*/15` or `9-17/2`, or a list of these; months and weekdays have
//! names. Sunday is 0 or 7. As in crontab, a day matches if its day of the month *or* its weekday does, unless one of
//! the two fields starts with `*`.
//!
//! When clocks change, schedules go by what their owner means. One with fixed times (neither the minute nor the hour
//! starts with `*`) has an occurrence for each of them: at the first minute after a gap that swallowed it, and only the
//! first time where an hour comes twice. The others, such as `*/5 * * * *`, go by real time: nothing in a gap, and both
//! passes of an hour that comes twice. These are Vixie cron's rules.
//!
//! ```
//! use slowburn::config::cron::Cron;
//! use slowburn::engine::time::Timestamp;
//! use slowburn::zone::Zone;
//! let cron = Cron::parse("0 9 * * Mon-Fri", Zone::named("Europe/Berlin").unwrap()).unwrap();
//! let saturday = Timestamp::from_unix_s(1_772_265_600);
//! assert_eq!(cron.next_after(saturday).unwrap().to_string(), "2026-03-02T08:00:00Z");
//! ```

use std::str::FromStr as _;

use chrono::{
    DateTime, Datelike as _, Days, MappedLocalTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _,
};
use cron::{Schedule, TimeUnitSpec as _};

use crate::engine::time::{Calendar, Duration, Timestamp};
use crate::zone::Zone;

const MAX_LEN: usize = 1024;
/// 29 February may be eight years away (1896 to 1904, 2096 to 2104).
const HORIZON: Duration = Duration::from_days(9 * 366);

/// What is wrong with a cron expression, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// Offset in the text, in bytes.
    pub at: usize,
    pub message: String,
}

/// A schedule by the calendar of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    time_zone: Zone,
    seconds: Values,
    minutes: Values,
    hours: Values,
    days: Values,
    months: Values,
    /// From Sunday, 0.
    weekdays: Values,
    /// Whether a day may match by only one of its two fields.
    either_day: bool,
    /// Whether it goes by real time when clocks change.
    real_time: bool,
}

/// A set of numbers below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values(u64);

/// The fields in the order of the six-field form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Weekday,
}

impl Cron {
    /// Reads an expression, and refuses one that never occurs.
    pub fn parse(text: &str, time_zone: Zone) -> Result<Cron, CronError> {
        if text.len() > MAX_LEN {
            return Err(CronError { at: 0, message: format!("this cron expression is longer than {MAX_LEN} bytes") });
        }
        let words: Vec<(usize, &str)> =
            text.split_ascii_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word)).collect();
        let (second, rest) = match words.as_slice() {
            rest if rest.len() == 5 => ((0, "0"), rest),
            [second, rest @ ..] if rest.len() == 5 => (*second, rest),
            words => {
                let message = format!(
                    "expected 5 fields as in crontab (minute hour day month weekday), or 6 with seconds first, not {}",
                    words.len()
                );
                return Err(CronError { at: 0, message });
            }
        };
        let values = |field: Field, (at, word): (usize, &str)| {
            field.values(word).ok_or_else(|| CronError { at, message: field.expected(word) })
        };
        let cron = Cron {
            time_zone,
            seconds: values(Field::Second, second)?,
            minutes: values(Field::Minute, rest[0])?,
            hours: values(Field::Hour, rest[1])?,
            days: values(Field::Day, rest[2])?,
            months: values(Field::Month, rest[3])?,
            weekdays: values(Field::Weekday, rest[4])?,
            either_day: !rest[2].1.starts_with('*') && !rest[4].1.starts_with('*'),
            real_time: rest[0].1.starts_with('*') || rest[1].1.starts_with('*'),
        };
        if cron.next_after(Timestamp::from_unix_s(0)).is_none() {
            let message = format!("this never happens: no month of {} has a day {}", rest[3].1, rest[2].1);
            return Err(CronError { at: rest[2].0, message });
        }
        Ok(cron)
    }

    /// The first occurrence after `after`. `None` only at the end of the calendar.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.next_within(after, after + HORIZON)
    }

    /// The first occurrence in `(after, until]`.
    fn next_within(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let start = self.local(after)?;
        let last_date = self.local(until)?.date();
        let mut next = self.walk(start, after, last_date);
        if self.real_time
            && let Some(fold_start) = self.second_pass_ahead(start, after)
        {
            let again = self.walk(fold_start - TimeDelta::seconds(1), after, last_date);
            next = [next, again].into_iter().flatten().min();
        }
        next.filter(|next| *next <= until)
    }

    fn local(&self, at: Timestamp) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_millis(at.unix_ms())?;
        // Far enough from the calendar's ends for every offset.
        let year = utc.year();
        (-9999..=9999).contains(&year).then(|| utc.with_timezone(&self.time_zone).naive_local())
    }

    /// Local times in order from after `start`, up to the first that means an instant after `after`.
    fn walk(&self, start: NaiveDateTime, after: Timestamp, last_date: NaiveDate) -> Option<Timestamp> {
        let mut local = start;
        loop {
            local = self.next_local(local, last_date)?;
            if let Some(at) = self.resolve(local, after) {
                return Some(at);
            }
        }
    }

    /// The instant that a local time of this schedule means, if it lies after `after`.
    fn resolve(&self, local: NaiveDateTime, after: Timestamp) -> Option<Timestamp> {
        match self.time_zone.from_local_datetime(&local).map(instant) {
            MappedLocalTime::Single(at) => Some(at),
            MappedLocalTime::Ambiguous(first, second) if self.real_time => {
                Some(if first > after { first } else { second })
            }
            MappedLocalTime::Ambiguous(first, _) => Some(first),
            MappedLocalTime::None if self.real_time => None,
            MappedLocalTime::None => self.end_of_gap(local).map(instant),
        }
        .filter(|at| *at > after)
    }

    /// The first whole minute after the gap that `local` lies in.
    fn end_of_gap(&self, local: NaiveDateTime) -> Option<DateTime<Zone>> {
        let minute = local.with_second(0)?;
        // The longest gaps skip a whole day.
        (1..=25 * 60).find_map(|minutes| {
            self.time_zone.from_local_datetime(&minute.checked_add_signed(TimeDelta::minutes(minutes))?).earliest()
        })
    }

    /// If `after`, whose local time is `local`, lies in the first pass of an hour that comes twice: the local time with
    /// which the second pass starts.
    fn second_pass_ahead(&self, local: NaiveDateTime, after: Timestamp) -> Option<NaiveDateTime> {
        let is_ambiguous = |local| matches!(self.time_zone.from_local_datetime(&local), MappedLocalTime::Ambiguous(..));
        let MappedLocalTime::Ambiguous(first, _) = self.time_zone.from_local_datetime(&local) else {
            return None;
        };
        if first.timestamp_millis() != after.unix_ms() {
            return None;
        }
        let mut start = local.with_second(0)?.with_nanosecond(0)?;
        while is_ambiguous(start - TimeDelta::minutes(1)) {
            start -= TimeDelta::minutes(1);
        }
        Some(start)
    }

    /// The first local time after `after` that matches, not later than `last_date`.
    fn next_local(&self, after: NaiveDateTime, last_date: NaiveDate) -> Option<NaiveDateTime> {
        let from = after.with_nanosecond(0)?.checked_add_signed(TimeDelta::seconds(1))?;
        let mut date = from.date();
        let mut time = (from.hour(), from.minute(), from.second());
        while date <= last_date {
            if self.has_day(date)
                && let Some((hour, minute, second)) = self.time_from(time)
            {
                return date.and_hms_opt(hour, minute, second);
            }
            date = date.checked_add_days(Days::new(1))?;
            time = (0, 0, 0);
        }
        None
    }

    fn has_day(&self, date: NaiveDate) -> bool {
        let day = self.days.contains(date.day());
        let weekday = self.weekdays.contains(date.weekday().num_days_from_sunday());
        self.months.contains(date.month()) && if self.either_day { day || weekday } else { day && weekday }
    }

    /// The first time of day at or after this hour, minute and second.
    fn time_from(&self, (hour, minute, second): (u32, u32, u32)) -> Option<(u32, u32, u32)> {
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.first_from(second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = self.minutes.first_from(minute + 1) {
                return Some((hour, minute, self.seconds.first_from(0)?));
            }
        }
        Some((self.hours.first_from(hour + 1)?, self.minutes.first_from(0)?, self.seconds.first_from(0)?))
    }
}

fn instant(at: DateTime<Zone>) -> Timestamp {
    Timestamp::from_unix_ms(at.timestamp_millis())
}

impl Calendar for Cron {
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        Cron::next_after(self, after)
    }

    // Without the long way to an occurrence far ahead.
    fn occurs_within(&self, after: Timestamp, until: Timestamp) -> bool {
        self.next_within(after, until).is_some()
    }
}

impl Values {
    fn contains(self, value: u32) -> bool {
        value < 64 && self.0 >> value & 1 == 1
    }

    fn first_from(self, value: u32) -> Option<u32> {
        let rest = self.0.checked_shr(value)?;
        (rest != 0).then(|| value + rest.trailing_zeros())
    }
}

impl FromIterator<u32> for Values {
    fn from_iter<I: IntoIterator<Item = u32>>(values: I) -> Self {
        Values(values.into_iter().fold(0, |set, value| set | 1 << value))
    }
}

impl Field {
    /// The values that one field of an expression names.
    fn values(self, word: &str) -> Option<Values> {
        // The `cron` crate takes more than crontab does, and a step of 0.
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '/' | '-' | ','));
        let steps = word.split(',').filter_map(|part| part.split_once('/'));
        let stepped = |(range, step): (&str, &str)| {
            (range == "*" || range.contains('-')) && step.parse::<u32>().is_ok_and(|step| (1..60).contains(&step))
        };
        if !plain || !steps.into_iter().all(stepped) {
            return None;
        }
        if self == Field::Weekday {
            return weekdays(word);
        }
        let mut fields = ["*"; 6];
        fields[self as usize] = word;
        let schedule = Schedule::from_str(&fields.join(" ")).ok()?;
        Some(match self {
            Field::Second => schedule.seconds().iter().collect(),
            Field::Minute => schedule.minutes().iter().collect(),
            Field::Hour => schedule.hours().iter().collect(),
            Field::Day => schedule.days_of_month().iter().collect(),
            Field::Month => schedule.months().iter().collect(),
            Field::Weekday => schedule.days_of_week().iter().collect(),
        })
    }

    fn expected(self, word: &str) -> String {
        let (name, range, example) = match self {
            Field::Second => ("second", "0 to 59", "*/15"),
            Field::Minute => ("minute", "0 to 59", "*/15"),
            Field::Hour => ("hour", "0 to 23", "9-17"),
            Field::Day => ("day of the month", "1 to 31", "1,15"),
            Field::Month => ("month", "1 to 12 or Jan to Dec", "1-6"),
            Field::Weekday => ("weekday", "0 to 7 (both Sunday) or Sun to Sat", "Mon-Fri"),
        };
        format!("{word:?} is no {name}: write * or {range}, also as a range, list or step, such as {example}")
    }
}

/// Weekdays as POSIX counts them; the `cron` crate counts Sunday as 1 and takes no range that ends on a Sunday.
fn weekdays(word: &str) -> Option<Values> {
    let mut values = Values(0);
    for part in word.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((first, last)) => (weekday(first)?, weekday(last)?),
            None => (weekday(range)?, weekday(range)?),
        };
        let last = if last == 0 && first > 0 { 7 } else { last };
        if first > last {
            return None;
        }
        values.0 |= (first..=last).step_by(step.parse().ok()?).map(|day| day % 7).collect::<Values>().0;
    }
    Some(values)
}

fn weekday(word: &str) -> Option<u32> {
    match word.parse::<u32>() {
        Ok(number) => (number <= 7).then_some(number),
        Err(_) => Some(chrono::Weekday::from_str(word).ok()?.num_days_from_sunday()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::hours::Hours;
    use chrono_tz::{Africa, America, Asia, Australia, Europe, Pacific, Tz, UTC};
    use croner::JobType;
    use croner::parser::{CronParser, Seconds};
    use proptest::prelude::*;

    fn parse(text: &str, time_zone: Tz) -> Result<Cron, CronError> {
        Cron::parse(text, Zone::named(time_zone.name()).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_unix_ms(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    /// The occurrences after `after`, which also must be those that `occurs_within` sees.
    fn check(text: &str, time_zone: Tz, after: &str, expected: &[&str]) {
        let cron = parse(text, time_zone).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut after = at(after);
        for expected in expected {
            let next = cron.next_after(after).unwrap();
            assert_eq!(next.to_string(), *expected, "{text}");
            assert!(cron.occurs_within(after, next) && !cron.occurs_within(after, next - Duration::from_ms(1)));
            after = next;
        }
    }

    #[test]
    fn occurrences_follow_the_calendar() {
        check("*/15 * * * *", UTC, "2026-01-01T00:10:00Z", &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]);
        check("30 59 23 31 12 *", UTC, "2026-12-31T23:59:29.5Z", &["2026-12-31T23:59:30Z", "2027-12-31T23:59:30Z"]);
        check("0 0 29 2 *", UTC, "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
        // 13 November 2026 is a Friday: either field makes a day match.
        check("0 0 13 * Fri", UTC, "2026-11-06T00:00:00Z", &["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"]);
        check("0 0 */2 * Fri", UTC, "2026-11-07T00:00:00Z", &["2026-11-13T00:00:00Z", "2026-11-27T00:00:00Z"]);
        check("0 9 * * 7", UTC, "2026-11-21T09:00:00Z", &["2026-11-22T09:00:00Z", "2026-11-29T09:00:00Z"]);
        check("0 9 * jan-MAR/2 sat-sun", UTC, "2026-01-31T09:00:00Z", &["2026-03-01T09:00:00Z"]);
    }

    #[test]
    fn changing_clocks_neither_lose_nor_repeat_a_fixed_time() {
        // Berlin: 02:00 to 03:00 does not exist on 29 March 2026, and comes twice on 25 October.
        let (spring, autumn) = ("2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z");
        check("30 2 * * *", Europe::Berlin, spring, &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        check("10,30 2,5 * * *", Europe::Berlin, spring, &["2026-03-29T01:00:00Z", "2026-03-29T03:10:00Z"]);
        check("30 2 * * *", Europe::Berlin, autumn, &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        // Schedules with a star go by real time.
        check("30 * * * *", Europe::Berlin, "2026-03-29T00:00:00Z", &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
        check(
            "*/30 2 * * *",
            Europe::Berlin,
            autumn,
            &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"],
        );
        check("*/30 2 * * *", Europe::Berlin, spring, &["2026-03-30T00:00:00Z"]);
        // Midnight that does not exist, half an hour, and a whole day.
        check("0 0 * * *", Africa::Cairo, "2026-04-23T12:00:00Z", &["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]);
        check("15 2 * * *", Australia::Lord_Howe, "2026-10-03T12:00:00Z", &["2026-10-03T15:30:00Z"]);
        check("0 9 30 12 *", Pacific::Apia, "2011-12-30T00:00:00Z", &["2011-12-30T10:00:00Z", "2012-12-29T19:00:00Z"]);
    }

    #[test]
    fn mistakes_say_where_and_what_to_write() {
        let check = |text: &str, at: usize, message: &str| {
            let error = parse(text, UTC).unwrap_err();
            assert!(error.message.contains(message) && error.at == at, "{text:?}: {} {error}", error.at);
        };
        check("", 0, "not 0");
        check("@daily", 0, "expected 5 fields as in crontab");
        check("0 0 0 * * * 2026", 0, "not 7");
        check("60 * * * *", 0, "\"60\" is no minute: write * or 0 to 59");
        check("0  24 * * *", 3, "is no hour");
        check("0 0 0 * *", 4, "is no day of the month");
        check("0 0 L * *", 4, "is no day of the month");
        check("0 0 * 13 *", 6, "is no month: write * or 1 to 12 or Jan to Dec");
        check("0 0 * * 8", 8, "is no weekday");
        check("0 0 * * Funday", 8, "is no weekday");
        check("0 0 ? * *", 4, "is no day");
        check("*/0 * * * *", 0, "is no minute");
        check("5/15 * * * *", 0, "is no minute");
        check("9-5 * * * *", 0, "is no minute");
        check("0 0 * * Fri-Tue", 8, "is no weekday");
        check("1,, * * * *", 0, "is no minute");
        check("99999999999 * * * *", 0, "is no minute");
        check("61 0 0 * * *", 0, "is no second");
        check("0 0 30 2 *", 4, "never happens: no month of 2 has a day 30");
        check(&"1,".repeat(1000), 0, "longer than 1024 bytes");
    }

    const ZONES: [Tz; 9] = [
        UTC,
        Europe::Berlin,
        Europe::London,
        America::New_York,
        America::St_Johns,
        Australia::Lord_Howe,
        Asia::Kathmandu,
        Africa::Cairo,
        Pacific::Chatham,
    ];

    /// A field in crontab's grammar, from `min` to `max`.
    fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
        let range = (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
        let step = (1..=max).prop_map(|step| format!("*/{step}"));
        let list = prop::collection::vec(min..=max, 2..4)
            .prop_map(|values| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        let number = (min..=max).prop_map(|number| number.to_string());
        prop_oneof![3 => Just("*".to_owned()), 3 => number, 1 => range, 1 => step, 1 => list]
    }

    fn expression() -> impl Strategy<Value = String> {
        (field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6))
            .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn croner_finds_the_same_occurrences(
            text in expression(),
            time_zone in prop::sample::select(&ZONES[..]),
            // Near a change of clocks, or anywhere from 2020 to 2035.
            after_s in prop_oneof![
                1_577_836_800i64..2_051_222_400,
                1_774_656_000i64..1_774_828_800,
                1_792_800_000i64..1_792_972_800,
            ],
        ) {
            let cron = parse(&text, time_zone).unwrap();
            let oracle = CronParser::builder().seconds(Seconds::Disallowed).build().parse(&text).unwrap();
            // Lists of fixed times (`0 2,14 * * *`) are fixed to us and to Vixie cron, but not to croner; and it takes a
            // day field such as `*/2` for no star.
            let as_croner_sees_it = cron.real_time == (oracle.determine_job_type() == JobType::IntervalWildcard)
                && cron.either_day == (!oracle.pattern.is_dom_wildcard() && !oracle.pattern.is_dow_wildcard());
            prop_assume!(as_croner_sees_it);
            let mut after = Timestamp::from_unix_s(after_s);
            for _ in 0..5 {
                let start = DateTime::from_timestamp_millis(after.unix_ms()).unwrap().with_timezone(&time_zone);
                let expected = oracle.find_next_occurrence(&start, false).unwrap();
                let next = cron.next_after(after).unwrap();
                prop_assert_eq!(next.unix_ms(), expected.timestamp_millis(), "{} in {} after {}", text, time_zone, after);
                after = next;
            }
        }

        #[test]
        fn windows_are_open_where_croner_says_they_began(
            text in prop::sample::select(&["0 9 * * 1-5", "30 2 * * *", "0 1 * * 0", "15 0 * * *", "45 23 * * *", "*/20 * * * *"][..]),
            time_zone in prop::sample::select(&ZONES[..]),
            lasts_minutes in 1i64..2000,
            // Around both changes of clocks in either hemisphere, and anywhere from 2020 to 2035.
            at_s in prop_oneof![
                1_577_836_800i64..2_051_222_400,
                1_774_656_000i64..1_774_915_200,
                1_775_260_800i64..1_775_433_600,
                1_790_985_600i64..1_791_158_400,
                1_792_800_000i64..1_793_145_600,
            ],
        ) {
            let cron = parse(text, time_zone).unwrap();
            let oracle = CronParser::builder().seconds(Seconds::Disallowed).build().parse(text).unwrap();
            let (at, lasts) = (Timestamp::from_unix_s(at_s), Duration::from_minutes(lasts_minutes));
            let hours = Hours::Recurring { calendar: std::sync::Arc::new(cron), lasts };
            // All beginnings that could matter, one after the other from well before.
            let early = DateTime::from_timestamp_millis((at - lasts - Duration::from_days(3)).unix_ms()).unwrap();
            let begins = oracle.iter_after(early.with_timezone(&time_zone)).map(|at| Timestamp::from_unix_ms(at.timestamp_millis()));
            let begins: Vec<Timestamp> = begins.take_while(|begin| *begin <= at).collect();
            let open = begins.iter().any(|begin| *begin <= at && at < *begin + lasts);
            let phase = hours.phase(at);
            prop_assert_eq!(phase.open, open, "{} in {} for {} at {}", text, time_zone, lasts, at);
            // Nothing changes before the time that is named.
            prop_assert!(phase.until > at);
            let last = phase.until.min(at + Duration::from_days(40)) - Duration::from_ms(1);
            prop_assert_eq!(hours.is_open(last), open);
        }

        #[test]
        fn nothing_panics(text in "[0-9a-zA-Z*/,? -]{0,24}", after_ms in any::<i64>()) {
            if let Ok(cron) = parse(&text, Europe::Berlin) {
                let after = Timestamp::from_unix_ms(after_ms);
                prop_assert!(cron.next_after(after).is_none_or(|next| next > after));
            }
        }
    }
}
