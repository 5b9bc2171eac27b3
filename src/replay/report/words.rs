//! Numbers and times as a report writes them.

use crate::engine::time::{Duration, Timestamp};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Times the rate that is allowed.
    Factor,
    Milliseconds,
    /// Shares, written in percent.
    Percent,
}

impl Unit {
    /// The number as it is plotted and kept for tooltips.
    pub fn scaled(self, value: f64) -> f64 {
        if self == Unit::Percent { 100.0 * value } else { value }
    }

    pub fn suffix(self) -> &'static str {
        match self {
            Unit::Factor => "x",
            Unit::Milliseconds => "ms",
            Unit::Percent => "%",
        }
    }

    /// `14.4x`, `40ms`, `99.5%`.
    pub fn words(self, value: f64) -> String {
        format!("{}{}", digits(self.scaled(value)), self.suffix())
    }
}

/// At least three digits, without zeros that say nothing: `0.125`, `14.4`, `1234`.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    let places = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The same in the fewest characters, for data: two places are enough there.
pub fn compact(value: f64) -> String {
    let text = if value.abs() < 1.0 { digits((value * 100.0).round() / 100.0) } else { digits(value) };
    match text.strip_prefix("0.") {
        Some(rest) => format!(".{rest}"),
        None => text.strip_prefix("-0.").map(|rest| format!("-.{rest}")).unwrap_or(text),
    }
}

/// `2026-03-01 12:00`, with seconds if there are any.
pub fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let clock = text[11..19].strip_suffix(":00").unwrap_or(&text[11..19]);
    format!("{} {clock}", &text[..10])
}

/// `Mar 1` at midnight, or else `12:00`.
pub fn tick(at: Timestamp) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = at.to_string();
    if at == at.align_down(Duration::from_days(1)) {
        let month = text[5..7].parse::<usize>().map_or("", |month| MONTHS[month.clamp(1, 12) - 1]);
        return format!("{month} {}", text[8..10].trim_start_matches('0'));
    }
    time(at)[11..].to_owned()
}

/// Letters, digits and dashes, for anchors.
pub fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let check = |value, expected: &str, data: &str| {
            assert_eq!(digits(value), expected);
            assert_eq!(compact(value), data);
        };
        check(0.0, "0", "0");
        check(0.125, "0.125", ".13");
        check(-0.5, "-0.5", "-.5");
        check(-0.0001, "0", "0");
        check(14.4, "14.4", "14.4");
        check(10.0, "10", "10");
        check(100.0, "100", "100");
        check(1234.5, "1234", "1234");
        assert_eq!(Unit::Percent.words(0.995), "99.5%");
    }

    #[test]
    fn times_and_anchors() {
        let at = Timestamp::from_unix_s(1_772_366_400);
        assert_eq!((time(at), tick(at)), ("2026-03-01 12:00".into(), "12:00".into()));
        assert_eq!(tick(at - Duration::from_hours(12)), "Mar 1");
        assert_eq!(slug("checkout/db{region=\"eu\"}"), "checkout-db-region-eu");
        assert_eq!(slug("<script>"), "script");
    }
}
