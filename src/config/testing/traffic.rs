//! Requests and the share of slow ones in phases of time, so that nobody has to write a dozen buckets by hand:
//! `100/s for 10m, 0/s for 5m, 100/s` and `0% for 30m, 20% for 10m, 0%`.

use serde_json::{Value, json};

use crate::config::decode::{Decode, Definitions, Findings, scalar};
use crate::config::units;
use crate::config::yaml::Node;
use crate::engine::time::Duration;

/// More phases than this are not written by hand.
const MAX_PHASES: usize = 1000;
/// Requests a second.
const MAX_RATE: f64 = 1e9;

/// A number that changes at fixed times.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Phases {
    /// When each phase ends, from the beginning of the test, and the number until then; `None` for the last one if it
    /// goes on.
    steps: Vec<(Option<i64>, f64)>,
}

/// Requests a second.
#[derive(Debug, Clone)]
pub(in crate::config) struct Requests(pub(super) Phases);

/// The share of slow requests.
#[derive(Debug, Clone)]
pub(in crate::config) struct Slow(pub(super) Phases);

impl Phases {
    /// One number throughout.
    pub fn constant(value: f64) -> Self {
        Self { steps: vec![(None, value)] }
    }

    fn parse(text: &str, number: impl Fn(&str) -> Result<f64, String>) -> Result<Self, String> {
        let (mut steps, mut end_ms) = (Vec::new(), 0_i64);
        let mut parts = text.split(',').map(str::trim).peekable();
        while let Some(part) = parts.next() {
            let (value, length) = match part.split_once(" for ") {
                Some((value, length)) => (value.trim(), Some(units::duration(length.trim())?)),
                None if parts.peek().is_some() => {
                    return Err(format!("'{part}' does not say for how long, and another phase follows"));
                }
                None => (part, None),
            };
            if length == Some(Duration::ZERO) {
                return Err(format!("'{part}' is over at once"));
            }
            end_ms += length.map_or(0, Duration::ms);
            steps.push((length.map(|_| end_ms), number(value)?));
        }
        if steps.len() > MAX_PHASES { Err(format!("more than {MAX_PHASES} phases")) } else { Ok(Self { steps }) }
    }

    /// When the last phase ends; `None` if it goes on.
    pub fn end(&self) -> Option<Duration> {
        self.steps.last().and_then(|(end_ms, _)| *end_ms).map(Duration::from_ms)
    }

    /// The number at a time and when that changes next, at the latest at `limit_ms`; `None` once all is over.
    fn at(&self, ms: i64, limit_ms: i64) -> Option<(f64, i64)> {
        let step = self.steps.iter().find(|(end_ms, _)| end_ms.is_none_or(|end_ms| ms < end_ms));
        step.map(|(end_ms, value)| (*value, end_ms.unwrap_or(limit_ms).min(limit_ms)))
    }
}

/// Requests, and slow ones, of one interval before the beginning, when the first phases went on.
pub(super) fn growth_before(requests: &Phases, slow: &Phases, interval: Duration) -> [f64; 2] {
    let [rate, share] = [requests, slow].map(|phases| phases.at(0, 0).map_or(0.0, |(value, _)| value));
    [rate * interval.secs(), rate * interval.secs() * share]
}

/// Requests, and slow ones, counted up from `first` at the beginning by the multiples of `interval` up to `until`; not
/// beyond where the requests end.
pub(super) fn count_up(
    requests: &Phases,
    slow: &Phases,
    interval: Duration,
    (first, until): ([f64; 2], Duration),
) -> Vec<[f64; 2]> {
    let end_ms = requests.end().unwrap_or(until).min(until).ms();
    let [mut total, mut bad] = first;
    let mut counts = vec![first];
    for sample in 1..=end_ms / interval.ms() {
        let (mut at_ms, to_ms) = ((sample - 1) * interval.ms(), sample * interval.ms());
        while at_ms < to_ms {
            let Some((rate, changes_ms)) = requests.at(at_ms, to_ms) else { break };
            let (share, changes_ms) = slow.at(at_ms, changes_ms).unwrap_or((0.0, changes_ms));
            let events = rate * (changes_ms - at_ms) as f64 / 1000.0;
            total += events;
            bad += events * share;
            at_ms = changes_ms;
        }
        counts.push([total, bad]);
    }
    counts
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("'{text}' is no rate: write 100/s, 50/m or 3/h");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let rate = number / seconds;
    if (0.0..=MAX_RATE).contains(&rate) { Ok(rate) } else { Err(wrong()) }
}

fn share(text: &str) -> Result<f64, String> {
    match units::percent_ppm(text)? {
        ppm if ppm > 1_000_000 => Err(format!("'{text}' is more than all")),
        ppm => Ok(f64::from(ppm) / 1e6),
    }
}

impl Decode for Requests {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        let what = ("a rate of requests", "100/s, or '100/s for 10m, 0/s for 5m, 100/s'");
        scalar(node, findings, what, |text| Phases::parse(text, rate).map(Requests))
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "/" })
    }
}

impl Decode for Slow {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        let what = ("a share of slow requests", "5%, or '0% for 30m, 20% for 10m, 0%'");
        scalar(node, findings, what, |text| {
            let phases = Phases::parse(text, share)?;
            match phases.end() {
                Some(_) => Err("the last share has no 'for': it goes on".to_owned()),
                None => Ok(Slow(phases)),
            }
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "%" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_count_up() {
        let check = |requests: &str, slow: &str, until_s: i64, expected: &[[f64; 2]]| {
            let phases = (Phases::parse(requests, rate).unwrap(), Phases::parse(slow, share).unwrap());
            let (interval, until) = (Duration::from_secs(10), Duration::from_secs(until_s));
            let count = |first| count_up(&phases.0, &phases.1, interval, (first, until));
            assert_eq!(count([0.0; 2]), expected, "{requests}; {slow}");
            let higher: Vec<[f64; 2]> = expected.iter().map(|[total, bad]| [total + 64.0, bad + 32.0]).collect();
            assert_eq!(count([64.0, 32.0]), higher, "{requests}; {slow}");
        };
        check("6/m", "0%", 30, &[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]);
        check("1/s for 10s, 0/s for 10s, 1/s", "50%", 30, &[[0.0, 0.0], [10.0, 5.0], [10.0, 5.0], [20.0, 10.0]]);
        // Phases that change between two samples.
        check("2/s for 5s, 4/s", "0% for 8s, 100%", 20, &[[0.0, 0.0], [30.0, 8.0], [70.0, 48.0]]);
        // The series ends with its requests.
        check("1/s for 10s", "0%", 30, &[[0.0, 0.0], [10.0, 0.0]]);
        let phases = (Phases::parse("2/s for 1m, 9/s", rate).unwrap(), Phases::parse("25% for 1s, 0%", share).unwrap());
        assert_eq!(growth_before(&phases.0, &phases.1, Duration::from_secs(10)), [20.0, 5.0]);
    }

    #[test]
    fn what_is_no_phase_is_refused() {
        let wrong = |text: &str| Phases::parse(text, rate).unwrap_err();
        assert_eq!(wrong("100"), "'100' is no rate: write 100/s, 50/m or 3/h");
        assert_eq!(wrong("-1/s"), "'-1/s' is no rate: write 100/s, 50/m or 3/h");
        assert_eq!(wrong("1/s, 2/s"), "'1/s' does not say for how long, and another phase follows");
        assert_eq!(wrong("1/s for 0, 2/s"), "'1/s for 0' is over at once");
        assert!(wrong("1/s for ever").contains("a whole number must come first"), "{}", wrong("1/s for ever"));
        assert!(wrong("1/s for 1m,").contains("'' is no rate"));
        assert!(Phases::parse("101%", share).is_err() && Phases::parse("5", share).is_err());
    }
}
