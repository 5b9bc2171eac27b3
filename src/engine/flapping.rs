//! How often a receiver is told of one incident that comes and goes: at most [`MAX_TOLD`] times within an hour for as long
//! as one rule makes it come and go; beyond that only of what is worse than all it was told of late.
//!
//! The first beginning, all that makes it worse, and the first end are never held back. It is the further ends that wait:
//! so whoever was woken takes what comes back for what it is, the same incident, and no page ever waits behind a count.

use serde::{Deserialize, Serialize};

use super::rule::{Level, Stage};
use super::time::{Duration, Timestamp};

pub const MAX_TOLD: usize = 4;
/// What is told counts for so long, unless a spec says otherwise.
pub const WITHIN: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// How long it counts.
    until: Timestamp,
    level: Level,
    ends: bool,
}

/// What a receiver was told of one incident of late, oldest first; repetitions apart, which it asked for. There are few:
/// beyond [`MAX_TOLD`] only what is worse each time comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    told: Vec<Told>,
}

impl Recent {
    pub fn forget(&mut self, now: Timestamp) {
        self.told.retain(|told| told.until > now);
    }

    /// Notes what is told, which counts until then.
    pub fn note(&mut self, until: Timestamp, level: Level, ends: bool) {
        self.told.push(Told { until, level, ends });
    }

    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Whether it may be told that what came to `worst` is over: the first time at once, and further ones if it may begin
    /// again after that, and get worse. `leaves_some` is when a lesser beginning is told with the end.
    pub fn may_end(&self, worst: Level, leaves_some: bool) -> bool {
        let first = !self.told.iter().any(|told| told.ends);
        let after_it = 1 + usize::from(worst.0 == Stage::Warning) + usize::from(leaves_some);
        first || self.told.len() + 1 + after_it <= MAX_TOLD
    }

    /// Whether it may be told that it has begun: what is as bad as before at once, and what is not if it may get worse
    /// after that.
    pub fn may_begin(&self, level: Level) -> bool {
        let worse_before = self.told.iter().any(|told| told.level > level);
        !worse_before || self.told.len() + 2 <= MAX_TOLD
    }

    /// Whether the receiver was told of this level, or of a worse one, and not that it is over since.
    pub fn knows(&self, level: Level) -> bool {
        self.told.iter().rev().take_while(|told| !told.ends).any(|told| told.level >= level)
    }

    /// Whether all of it is to be forgotten at `now`.
    pub fn is_past(&self, now: Timestamp) -> bool {
        self.told.last().is_some_and(|told| told.until <= now)
    }

    /// When there is room for one more.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.told.first().map(|told| told.until)
    }

    /// Goes on though the clock was set back by `by`: what was told is as long ago as it was.
    pub fn rewind(&mut self, by: Duration) {
        self.told.iter_mut().for_each(|told| told.until = told.until - by);
    }
}
