//! Numbers and times as people read them at night: few digits, a unit on each, and never `NaN` or `inf`.
//!
//! What is not a finite number is shown as [`UNKNOWN`]. Nothing here knows what the numbers mean; see `message`.

use crate::engine::time::{Duration, Timestamp};

/// Stands where a number should.
pub const UNKNOWN: &str = "?";

/// A factor: `0.04x`, `2.5x`, `14.4x`, `21x`, `1,000x`.
pub fn factor(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.into();
    }
    let decimals = match value.abs() {
        x if x < 0.095 => 2,
        x if x < 19.95 => 1,
        _ => return format!("{}x", count(value)),
    };
    format!("{}x", trimmed(value, decimals))
}

/// A share of 1 in percent: `0.34%`, `3.4%`, `34%`. What is not quite all is never rounded up to `100%`, nor what is
/// not quite nothing down to `0%`.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return UNKNOWN.into();
    }
    let value = share * 100.0;
    match value.abs() {
        0.0 => "0%".into(),
        x if x < 0.01 => "under 0.01%".into(),
        x if x < 0.995 => format!("{}%", trimmed(value, 2)),
        x if x < 9.95 => format!("{}%", trimmed(value, 1)),
        x if (99.5..100.0).contains(&x) => "over 99%".into(),
        _ => format!("{}%", count(value)),
    }
}

/// Parts per million in percent, exactly: 999,000 is `99.9%`.
pub fn percent_ppm(ppm: u32) -> String {
    let (whole, fraction) = (ppm / 10_000, ppm % 10_000);
    let digits = format!("{whole}.{fraction:04}");
    format!("{}%", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A number of things: `0`, `12,300`, `1.24 million`.
pub fn count(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.into();
    }
    let size = value.abs().round();
    for (unit, name) in [(1e12, "trillion"), (1e9, "billion"), (1e6, "million")] {
        if size >= unit * 1e6 {
            return format!("over a million {name}");
        }
        if size >= unit {
            return format!("{} {name}", trimmed(value / unit, 2));
        }
    }
    let digits = format!("{size:.0}");
    let mut grouped = String::from(if value < 0.0 && size > 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A latency given in seconds: `400µs`, `2.5ms`, `61ms`, `1.5s`, `2m5s`.
pub fn latency(value_s: f64) -> String {
    if !value_s.is_finite() || value_s < 0.0 {
        return UNKNOWN.into();
    }
    match value_s {
        0.0 => "0ms".into(),
        s if s < 0.000_000_5 => "under 1µs".into(),
        s if s < 0.000_999_5 => format!("{:.0}µs", s * 1e6),
        s if s < 0.009_95 => format!("{}ms", trimmed(s * 1e3, 1)),
        s if s < 0.999_5 => format!("{:.0}ms", s * 1e3),
        s if s < 9.995 => format!("{}s", trimmed(s, 2)),
        s if s < 60.0 => format!("{}s", trimmed(s, 1)),
        s => span(Duration::from_ms((s * 1000.0) as i64)),
    }
}

/// A length of time by its two largest units: `45s`, `2h10m`, `30d`.
pub fn span(length: Duration) -> String {
    length.coarse().to_string()
}

/// An instant in UTC, to the minute; the date stands only where it is not `today`'s.
pub fn instant(at: Timestamp, today: Timestamp) -> String {
    let (text, today) = (at.to_string(), today.to_string());
    match (text.split_once('T'), today.split_once('T')) {
        (Some((date, time)), Some((today, _))) => {
            let minute = time.get(..5).unwrap_or(time);
            if date == today { format!("{minute} UTC") } else { format!("{date} {minute} UTC") }
        }
        _ => text,
    }
}

/// Since when, and for how long by now.
pub fn since(from: Timestamp, at: Timestamp) -> String {
    format!("{}, {} ago", instant(from, at), span(at.since(from)))
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `format` of each value, joined: one line a function to read and compare.
    fn check<T: Copy>(format: fn(T) -> String, values: &[T], expected: &str) {
        let shown: Vec<String> = values.iter().map(|value| format(*value)).collect();
        assert_eq!(shown.join(" | "), expected);
    }

    #[test]
    fn numbers_have_few_digits() {
        check(
            factor,
            &[0.0, 0.041, 1.0, 2.46, 14.4, 21.3, 999.6, -0.001],
            "0x | 0.04x | 1x | 2.5x | 14.4x | 21x | 1,000x | 0x",
        );
        check(
            percent,
            &[0.0, 1e-5, 0.0034, 0.034, 0.34, 1.0, 1.04],
            "0% | under 0.01% | 0.34% | 3.4% | 34% | 100% | 104%",
        );
        check(percent, &[0.9999, 0.995, 0.994, -0.12, 0.0995], "over 99% | over 99% | 99% | -12% | 10%");
        check(percent_ppm, &[999_000, 990_000, 999_950, 500_000, 1], "99.9% | 99% | 99.995% | 50% | 0.0001%");
        check(
            count,
            &[0.0, 0.4, 999.0, 12_300.0, 1_240_000.0, 2.5e9, 1e300],
            "0 | 0 | 999 | 12,300 | 1.24 million | 2.5 billion | over a million trillion",
        );
        check(
            latency,
            &[0.0, 0.0004, 0.0025, 0.0613, 0.04, 0.9999, 1.5, 12.34, 125.0],
            "0ms | 400µs | 2.5ms | 61ms | 40ms | 1s | 1.5s | 12.3s | 2m5s",
        );
    }

    #[test]
    fn times_have_two_units() {
        check(
            |s| span(Duration::from_secs(s)),
            &[0, 45, 600, 7800, 7859, 90_000, 2_592_000],
            "0s | 45s | 10m | 2h10m | 2h10m | 1d1h | 30d",
        );
        let noon = Timestamp::from_unix_s(1_772_366_400);
        assert_eq!(instant(noon, noon + Duration::from_hours(3)), "12:00 UTC");
        assert_eq!(instant(noon, noon + Duration::from_hours(13)), "2026-03-01 12:00 UTC");
    }

    #[test]
    fn what_is_no_number_is_unknown() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for format in [factor, percent, count, latency] {
                assert_eq!(format(value), UNKNOWN);
            }
        }
    }

    proptest! {
        #[test]
        fn any_number_is_short(value in any::<f64>(), ms in any::<i64>()) {
            for text in [factor(value), percent(value), count(value), latency(value), span(Duration::from_ms(ms))] {
                prop_assert!(text.chars().count() <= 32, "{text}");
                prop_assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            }
        }
    }
}
