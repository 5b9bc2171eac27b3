//! Time zones by name, from a table within the program: what a schedule means depends on no machine's files.
//!
//! The table is jiff's, which is one block of bytes. Tables of addresses would have to be put right whenever the program
//! starts, also by those who name no time zone.

use std::fmt;
use std::sync::LazyLock;

use chrono::{
    Datelike as _, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike as _,
    Utc,
};
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZoneDatabase};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone of the IANA database, for chrono's dates.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// The zone of this name, whatever the case of its letters.
    pub fn named(name: &str) -> Option<Self> {
        ZONES.get(name).ok().map(Self)
    }

    /// What [`Self::named`] knows.
    pub fn names() -> Vec<String> {
        ZONES.available().map(|name| name.to_string()).collect()
    }

    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    fn shift(&self, by: jiff::tz::Offset, at: Timestamp) -> Shift {
        Shift { zone: self.clone(), by, at }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Its name: a whole table tells nobody anything.
impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How far a zone is from UTC at a point in time.
#[derive(Clone)]
pub struct Shift {
    zone: Zone,
    by: jiff::tz::Offset,
    at: Timestamp,
}

impl fmt::Debug for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.by, f)
    }
}

/// As the zone's people write it: CEST, or +0545.
impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.zone.0.to_offset_info(self.at).abbreviation())
    }
}

impl Offset for Shift {
    fn fix(&self) -> FixedOffset {
        // Below a day in every zone there is.
        FixedOffset::east_opt(self.by.seconds()).unwrap_or(Utc.fix())
    }
}

impl TimeZone for Zone {
    type Offset = Shift;

    fn from_offset(shift: &Shift) -> Self {
        shift.zone.clone()
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<Shift> {
        self.offset_from_local_datetime(&local.and_time(NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<Shift> {
        let Some(civil) = civil(local) else { return MappedLocalTime::None };
        let shift = |by: jiff::tz::Offset| self.shift(by, by.to_timestamp(civil).unwrap_or_default());
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => MappedLocalTime::Single(shift(offset)),
            AmbiguousOffset::Fold { before, after } => MappedLocalTime::Ambiguous(shift(before), shift(after)),
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> Shift {
        self.offset_from_utc_datetime(&utc.and_time(NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> Shift {
        // A calendar of four digits a year ends before chrono's does; no clock changes there.
        let ends = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        let at = utc.and_utc().timestamp().clamp(*ends.start(), *ends.end());
        let at = Timestamp::from_second(at).unwrap_or_default();
        self.shift(self.0.to_offset(at), at)
    }
}

/// `None` beyond the year 9999.
fn civil(local: &NaiveDateTime) -> Option<civil::DateTime> {
    let [month, day] = [local.month(), local.day()].map(|number| number as i8);
    let [hour, minute, second] = [local.hour(), local.minute(), local.second()].map(|number| number as i8);
    civil::DateTime::new(local.year().try_into().ok()?, month, day, hour, minute, second, 0).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::DateTime;
    use chrono_tz::TZ_VARIANTS;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_are_known_by_the_names_that_others_know() {
        let names: BTreeSet<String> = Zone::names().into_iter().collect();
        let missing: Vec<&str> =
            TZ_VARIANTS.iter().map(|zone| zone.name()).filter(|name| !names.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for name in names {
            assert_eq!(Zone::named(&name).unwrap().name(), name);
        }
        assert_eq!(Zone::named("europe/BERLIN").unwrap().to_string(), "Europe/Berlin");
        assert_eq!(Zone::named("UTC"), Some(Zone::UTC));
        assert!(["", "Mars", "Local", "+02:00", "EST5EDT,M3.2.0"].iter().all(|name| Zone::named(name).is_none()));
    }

    /// From an instant on: what its clock shows, and what that may mean there.
    fn shown<Z: TimeZone>(zone: &Z, unix_s: i64) -> (String, Vec<i64>)
    where
        Z::Offset: fmt::Display,
    {
        let utc = DateTime::from_timestamp(unix_s, 0).unwrap();
        let local = utc.with_timezone(zone);
        // An hour on, the clock may show what it never shows, or shows again.
        let meant =
            [0, 1, 2].map(|hours| zone.from_local_datetime(&(local.naive_local() + chrono::TimeDelta::hours(hours))));
        let meant = meant.into_iter().flat_map(|meant| [meant.clone().earliest(), meant.latest()]);
        (local.format("%F %T %z %Z").to_string(), meant.map(|at| at.map_or(i64::MIN, |at| at.timestamp())).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// From 2000 to 2025: what clocks showed earlier is still found out, and what they will show decided.
        #[test]
        fn clocks_show_what_chrono_tz_says(
            zone in prop::sample::select(&TZ_VARIANTS[..]),
            unix_s in 946_684_800..1_735_689_600i64,
        ) {
            prop_assert_eq!(shown(&Zone::named(zone.name()).unwrap(), unix_s), shown(&zone, unix_s), "{}", zone);
        }
    }

    #[test]
    fn no_date_is_too_far() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        for date in [NaiveDateTime::MIN, NaiveDateTime::MAX] {
            assert!(berlin.offset_from_utc_datetime(&date).fix().local_minus_utc() > 0);
            assert!(berlin.offset_from_local_datetime(&date).single().is_none());
        }
    }
}
