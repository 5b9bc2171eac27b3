//! Silences: somebody said who need not be told of what, for how long and why. They hold notifications back and touch
//! nothing else: alerts and incidents go on, and what still stands when a silence ends is told then.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::route::Matcher;
use super::time::{Duration, Timestamp};

/// Silences that are not over.
pub const MAX_SILENCES: usize = 1000;
/// Conditions of one silence, and values they name between them.
pub const MAX_VALUES: usize = 100;
/// Bytes of each text of a silence.
pub const MAX_TEXT_BYTES: usize = 1000;
/// A silence that is over is shown for this long, if there are not more than [`MAX_SILENCES`] of them.
pub const KEEP_FOR: Duration = Duration::from_days(5);

/// Nobody is told of alerts that match all of `matchers`, in `[starts_at, ends_at)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    pub matchers: Vec<Matcher>,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub author: String,
    /// Why, in words.
    pub reason: String,
    pub created_at: Timestamp,
}

/// What is wrong with a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It would hold everything back.
    NoMatcher,
    /// It would be over as soon as it began, or is over already.
    Over,
    TooLong,
    TooMany,
}

/// Those that are not over, and those that were lately.
#[derive(Debug, Clone, Default)]
pub struct Silences {
    by_id: BTreeMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    silence: Silence,
    /// As of the newest slot.
    is_active: bool,
}

impl Silence {
    pub fn matches<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(label))
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at <= now || self.ends_at <= self.starts_at
    }

    /// Whether it holds at `slot`. A slot is evaluated some time after it: what began meanwhile holds already.
    fn is_active(&self, slot: Timestamp, interval: Duration) -> bool {
        self.starts_at < slot + interval && !self.is_over(slot)
    }
}

impl Silences {
    /// Whether a silence could be taken in at `now`.
    pub fn check(&self, now: Timestamp, silence: &Silence) -> Result<(), Refused> {
        let values = silence.matchers.iter().flat_map(|matcher| matcher.any_of.iter().chain([&matcher.label]));
        let texts = || values.clone().chain([&silence.id, &silence.author, &silence.reason]);
        if silence.matchers.is_empty() || silence.matchers.iter().any(|matcher| matcher.any_of.is_empty()) {
            return Err(Refused::NoMatcher);
        }
        if silence.is_over(now) {
            return Err(Refused::Over);
        }
        if texts().count() > MAX_VALUES || texts().any(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(Refused::TooLong);
        }
        let others = self.all().filter(|known| known.id != silence.id && !known.is_over(now));
        if others.count() < MAX_SILENCES { Ok(()) } else { Err(Refused::TooMany) }
    }

    /// Adds a silence, or replaces the one of the same id. One that [`Silences::check`] refuses changes nothing.
    pub fn set(&mut self, now: Timestamp, silence: &Silence) {
        if self.check(now, silence).is_ok() {
            if self.by_id.len() >= 2 * MAX_SILENCES {
                let over = self.all().filter(|known| known.is_over(now)).min_by_key(|known| known.ends_at);
                over.map(|over| over.id.clone()).and_then(|id| self.by_id.remove(&id));
            }
            let is_active = self.by_id.get(&silence.id).is_some_and(|known| known.is_active);
            self.by_id.insert(silence.id.clone(), Known { silence: silence.clone(), is_active });
        }
    }

    /// Ends a silence at `now`; one that had not begun is gone.
    pub fn end(&mut self, now: Timestamp, id: &str) {
        let Some(Known { silence, .. }) = self.by_id.get_mut(id) else { return };
        silence.ends_at = silence.ends_at.min(now);
        if silence.ends_at <= silence.starts_at {
            self.by_id.remove(id);
        }
    }

    /// Brings them to `slot`; returns whether another set of them is active now.
    pub fn advance(&mut self, slot: Timestamp, interval: Duration) -> bool {
        let mut changed = false;
        self.by_id.retain(|_, known| {
            let is_active = known.silence.is_active(slot, interval);
            changed |= is_active != known.is_active;
            known.is_active = is_active;
            slot.since(known.silence.ends_at) < KEEP_FOR
        });
        changed
    }

    /// Whether [`Silences::advance`] may change anything up to `slot`, after it was called for the slot `before`.
    pub fn change_by(&self, before: Timestamp, slot: Timestamp, interval: Duration) -> bool {
        let mut known = self.by_id.values();
        known.any(|Known { silence, is_active }| {
            let turns = if *is_active {
                silence.is_over(slot)
            } else {
                !silence.is_over(before) && silence.starts_at < slot + interval
            };
            turns || slot.since(silence.ends_at) >= KEEP_FOR
        })
    }

    /// Whether one that is active matches.
    pub fn hold<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        self.by_id.values().any(|known| known.is_active && known.silence.matches(label))
    }

    /// Takes in what was remembered, whatever it is.
    pub fn restore(&mut self, silence: Silence) {
        self.by_id.insert(silence.id.clone(), Known { silence, is_active: false });
    }

    pub fn all(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values().map(|known| &known.silence)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoMatcher => f.write_str("a silence needs at least one matcher, and each a value"),
            Refused::Over => f.write_str("it would be over before it began"),
            Refused::TooLong => {
                write!(f, "its texts are longer than {MAX_TEXT_BYTES} bytes, or it names more than {MAX_VALUES} values")
            }
            Refused::TooMany => write!(f, "there are {MAX_SILENCES} silences already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(30);

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix_s(1_772_366_400 + s)
    }

    fn silence(id: &str, from_s: i64, to_s: i64) -> Silence {
        let matcher = Matcher { label: "layer".into(), any_of: vec!["database".into()], negate: false };
        Silence {
            id: id.into(),
            matchers: vec![matcher],
            starts_at: at(from_s),
            ends_at: at(to_s),
            author: "ada".into(),
            reason: "vacuum".into(),
            created_at: at(0),
        }
    }

    #[test]
    fn a_silence_holds_from_its_start_to_before_its_end() {
        let mut silences = Silences::default();
        silences.set(at(0), &silence("a", 60, 120));
        let mut check = |s: i64, changed: bool, holds: bool| {
            assert_eq!(silences.advance(at(s), STEP), changed, "at {s}");
            assert_eq!(silences.hold(&|_| Some("database")), holds, "at {s}");
            assert!(!silences.hold(&|_| Some("edge")));
        };
        check(0, false, false);
        check(30, false, false);
        check(60, true, true);
        check(90, false, true);
        check(120, true, false);
        assert_eq!(silences.all().count(), 1, "it is still shown");
        silences.advance(at(120) + KEEP_FOR, STEP);
        assert_eq!(silences.all().count(), 0);
    }

    #[test]
    fn a_silence_made_just_before_an_evaluation_counts_in_it() {
        let mut silences = Silences::default();
        silences.set(at(1), &silence("a", 1, 120));
        assert!(silences.advance(at(0), STEP) && silences.hold(&|_| Some("database")));
        silences.end(at(40), "a");
        assert!(!silences.advance(at(30), STEP), "it still held then");
        assert!(silences.advance(at(60), STEP) && !silences.hold(&|_| Some("database")));
        // One that never began leaves no trace.
        silences.set(at(60), &silence("b", 600, 700));
        silences.end(at(70), "b");
        assert_eq!(silences.all().count(), 1);
    }

    #[test]
    fn what_makes_no_sense_or_too_much_is_refused() {
        let mut silences = Silences::default();
        let mut check = |silence: Silence, expected| {
            assert_eq!(silences.check(at(0), &silence), expected);
            silences.set(at(0), &silence);
        };
        check(Silence { matchers: Vec::new(), ..silence("a", 0, 60) }, Err(Refused::NoMatcher));
        check(silence("a", 60, 60), Err(Refused::Over));
        check(silence("a", -60, 0), Err(Refused::Over));
        check(Silence { reason: "x".repeat(1001), ..silence("a", 0, 60) }, Err(Refused::TooLong));
        for number in 0..MAX_SILENCES {
            check(silence(&number.to_string(), 0, 60), Ok(()));
        }
        check(silence("one more", 0, 60), Err(Refused::TooMany));
        check(silence("0", 0, 90), Ok(()));
        assert_eq!(silences.check(at(60), &silence("one more", 60, 90)), Ok(()));
        assert_eq!(silences.all().count(), MAX_SILENCES);
    }
}
