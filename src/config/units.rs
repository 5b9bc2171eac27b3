//! Durations, points in time, latencies, percentages and sizes as users write them: strict, exact, and with a word on
//! what to write.
//!
//! ```
//! use slowburn::config::units;
//! assert_eq!(units::duration("1h30m").unwrap().ms(), 5_400_000);
//! assert_eq!(units::latency_ns("2.5ms").unwrap(), 2_500_000);
//! assert_eq!(units::percent_ppm("99.9%").unwrap(), 999_000);
//! assert_eq!(units::instant("2026-03-01T12:00:00+01:00").unwrap().unix_ms(), 1_772_362_800_000);
//! assert!(units::duration("5M").unwrap_err().contains("'m' for minutes"));
//! ```

use chrono::DateTime;

use crate::engine::time::{Duration, Timestamp};

const DAY_MS: i64 = 86_400_000;
/// Largest first, as they must be written.
const UNITS_MS: [(&str, i64); 7] =
    [("y", 365 * DAY_MS), ("w", 7 * DAY_MS), ("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Far beyond any window, and far from overflow in sums.
const MAX_DURATION_MS: i64 = 100 * 365 * DAY_MS;
const MAX_LATENCY_NS: u64 = 86_400 * 1_000_000_000;

/// A length of time as Prometheus users write it: whole numbers with units, the largest unit first, each at most once;
/// `0` needs no unit. A year is 365 days.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total_ms, mut next_unit) = (text, 0_i64, 0);
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let (unit, after) = split_unit(after);
        if number.is_empty() {
            return Err("a whole number must come first".to_owned());
        }
        if number.contains('.') {
            return Err("fractions are not taken: write '1h30m' instead of '1.5h'".to_owned());
        }
        if unit.is_empty() {
            return Err(format!("a unit is missing after {number}: ms, s, m, h, d, w or y"));
        }
        let Some(index) = UNITS_MS.iter().position(|(name, _)| *name == unit) else {
            return Err(unknown_unit(unit));
        };
        if index < next_unit {
            return Err("units must come largest first and once each".to_owned());
        }
        next_unit = index + 1;
        let part_ms = number.parse::<i64>().ok().and_then(|n| n.checked_mul(UNITS_MS[index].1));
        total_ms = part_ms
            .and_then(|part_ms| total_ms.checked_add(part_ms))
            .filter(|total_ms| *total_ms <= MAX_DURATION_MS)
            .ok_or("longer than 100 years")?;
        rest = after;
    }
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Duration::from_ms(total_ms)) }
}

/// A point in time as RFC 3339 writes it, with its zone: `2026-03-01T12:00:00Z`.
pub fn instant(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp::from_unix_ms(time.timestamp_millis()))
}

/// A latency in nanoseconds: one number, decimals allowed, and one unit of `us`, `ms`, `s` or `m`.
pub fn latency_ns(text: &str) -> Result<u64, String> {
    let (number, rest) = split_number(text);
    let (unit, rest) = split_unit(rest);
    if number.is_empty() {
        return Err("a number must come first".to_owned());
    }
    if !rest.is_empty() {
        return Err("one number and one unit are enough: write '1.5s' instead of '1s500ms'".to_owned());
    }
    let decimals = match unit {
        "us" | "µs" => 3,
        "ms" => 6,
        "s" | "m" => 9,
        "" => return Err(format!("a unit is missing after {number}: us, ms, s or m")),
        other => return Err(format!("'{other}' is no unit of latency: us, ms, s or m")),
    };
    let ns = scaled(number, decimals, "a nanosecond")?;
    let ns = if unit == "m" { ns.checked_mul(60) } else { Some(ns) };
    ns.filter(|ns| *ns <= MAX_LATENCY_NS).ok_or_else(|| "longer than a day".to_owned())
}

/// A percentage in parts per million; at most four decimals, so that nothing is rounded.
pub fn percent_ppm(text: &str) -> Result<u32, String> {
    let Some(number) = text.strip_suffix('%') else {
        let percent = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).map(|ratio| ratio * 100.0);
        return Err(match percent {
            Some(percent) if text.contains('.') => format!("the '%' is missing: did you mean '{}%'?", short(percent)),
            _ => "the '%' is missing".to_owned(),
        });
    };
    let (digits, rest) = split_number(number.trim_end());
    if digits.is_empty() || !rest.is_empty() {
        return Err("a number must stand before the '%'".to_owned());
    }
    let ppm = scaled(digits, 4, "0.0001%")?;
    u32::try_from(ppm).map_err(|_| "too large".to_owned())
}

/// A size in bytes: a whole number, or one with `KiB`, `MiB` or `GiB`.
pub fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split_number(text);
    let factor: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("'{other}' is no unit of size: KiB, MiB or GiB")),
    };
    let number = number.parse::<usize>().map_err(|_| "a whole number must come first".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

/// Parts per million as a percentage without needless zeros: `99.9%`.
pub fn show_ppm(ppm: u32) -> String {
    let (whole, decimals) = (ppm / 10_000, ppm % 10_000);
    if decimals == 0 {
        return format!("{whole}%");
    }
    format!("{whole}.{}%", format!("{decimals:04}").trim_end_matches('0'))
}

/// Nanoseconds in the unit a person would choose: `2.5ms`.
pub fn show_ns(ns: u64) -> String {
    let (unit, decimals) = match ns {
        1_000_000_000.. => ("s", 9),
        1_000_000.. => ("ms", 6),
        _ => ("us", 3),
    };
    let scale = 10_u64.pow(decimals);
    let (whole, rest) = (ns / scale, ns % scale);
    if rest == 0 {
        return format!("{whole}{unit}");
    }
    let rest = format!("{rest:0width$}", width = decimals as usize);
    format!("{whole}.{}{unit}", rest.trim_end_matches('0'))
}

/// A number without needless decimals.
pub fn short(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Digits and at most one point from the start of a text.
fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(text.len()))
}

fn unknown_unit(unit: &str) -> String {
    match unit {
        "M" => "'M' could be months or minutes: write 'm' for minutes, or days".to_owned(),
        "S" | "H" | "D" | "W" | "Y" | "MS" => format!("units are lower case: '{}'", unit.to_ascii_lowercase()),
        _ => format!("'{}' is no unit: ms, s, m, h, d, w or y", unit.trim()),
    }
}

/// `number` times ten to the power of `decimals`, exactly.
fn scaled(number: &str, decimals: usize, finest: &str) -> Result<u64, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err(format!("'{number}' is not a number"));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals {
        return Err(format!("finer than {finest}"));
    }
    format!("{whole}{fraction:0<decimals$}").parse().map_err(|_| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, ms) in [("0", 0), ("30s", 30_000), ("1h30m", 5_400_000), ("30d", 30 * DAY_MS), ("4w", 28 * DAY_MS)] {
            assert_eq!(duration(text).map(Duration::ms), Ok(ms), "{text}");
        }
        assert_eq!(duration("1y"), Ok(Duration::from_days(365)));
        assert_eq!(duration("1s500ms"), Ok(Duration::from_ms(1500)));
        for text in
            ["", "5", "5M", "1.5h", "5m5m", "5s5m", "m", "-5m", "5 m", "5min", "1y1y", "999999999999y", "101y", "5m "]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn latencies_are_exact() {
        let seconds = |text| latency_ns(text).map(|ns| ns as f64 / 1e9);
        for (text, s) in
            [("2.5ms", 0.0025), ("100ms", 0.1), ("1s", 1.0), ("250us", 0.00025), ("0.3s", 0.3), ("1m", 60.0)]
        {
            assert_eq!(seconds(text), Ok(s), "{text}");
        }
        for text in ["", "100", "1h", "1s500ms", "1.2.3ms", ".5s", "5.s", "0.0001us", "-1ms", "1e3ms", "99999999999s"] {
            assert!(latency_ns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_are_exact() {
        for (text, ppm) in
            [("99.9%", 999_000), ("99.9999%", 999_999), ("0%", 0), ("100%", 1_000_000), ("80 %", 800_000)]
        {
            assert_eq!(percent_ppm(text), Ok(ppm), "{text}");
        }
        for text in ["99.99999%", "99", "0.99", "%", "1e1%", "-1%", "99,9%", "9999999999%"] {
            assert!(percent_ppm(text).is_err(), "{text}");
        }
        assert!(percent_ppm("0.999").unwrap_err().contains("'99.9%'"));
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
        assert!(bytes("64MB").is_err() && bytes("").is_err() && bytes("99999999999999GiB").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(ppm in 0u32..2_000_000, ns in 1u64..MAX_LATENCY_NS, ms in 1i64..MAX_DURATION_MS) {
            prop_assert_eq!(percent_ppm(&show_ppm(ppm)), Ok(ppm));
            prop_assert_eq!(latency_ns(&show_ns(ns)), Ok(ns));
            prop_assert_eq!(duration(&Duration::from_ms(ms).to_string()), Ok(Duration::from_ms(ms)));
        }

        #[test]
        fn no_text_panics(text in "[0-9.smhdwyM%iB µ]{0,12}") {
            let _ = (duration(&text), latency_ns(&text), percent_ppm(&text), bytes(&text));
        }
    }
}
