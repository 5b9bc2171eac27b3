//! Points in time as a user writes them: RFC 3339, Unix seconds, or an age.

use crate::config::units::{duration, instant};
use crate::engine::time::Timestamp;

/// Reads `2026-03-01T12:00:00Z`, `1772366400` or `30d` (so long before `now`).
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(at) = absolute(text, now) {
        return Ok(at);
    }
    let age = duration(text).map_err(|_| {
        format!("'{text}' is no point in time: write 2026-03-01T12:00:00Z, Unix seconds, or an age such as 30d")
    })?;
    Ok(now - age)
}

/// As [`parse`], but `30m` is so long after `now`.
pub fn parse_ahead(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(at) = absolute(text, now) {
        return Ok(at);
    }
    let ahead = duration(text).map_err(|_| {
        format!(
            "'{text}' is no point in time: write 2026-03-01T12:00:00Z, Unix seconds, or 30m for half an hour from now"
        )
    })?;
    Ok(now + ahead)
}

fn absolute(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(at) = instant(text) {
        return Some(at);
    }
    if let Ok(unix_s) = text.parse::<f64>()
        && unix_s.abs() < 1e11
    {
        return Some(Timestamp::from_unix_ms((unix_s * 1000.0).round() as i64));
    }
    (text == "now").then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        let now = Timestamp::from_unix_s(1_772_366_400);
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(parse(text, now).ok().map(Timestamp::unix_ms), expected, "{text}");
        };
        check("2026-03-01T12:00:00Z", Some(1_772_366_400_000));
        check("2026-03-01T12:00:00.25+02:00", Some(1_772_359_200_250));
        check("1772366400", Some(1_772_366_400_000));
        check("1772366400.5", Some(1_772_366_400_500));
        check("1h", Some(1_772_362_800_000));
        check("now", Some(1_772_366_400_000));
        for wrong in ["", "yesterday", "2026-03-01", "2026-13-01T00:00:00Z", "NaN", "inf", "1e99", "-1d"] {
            check(wrong, None);
        }
        assert_eq!(parse_ahead("30m", now), Ok(now + crate::engine::time::Duration::from_minutes(30)));
        assert_eq!(parse_ahead("2026-03-01T12:00:00Z", now), Ok(now));
        assert!(parse_ahead("tomorrow", now).is_err());
    }
}
