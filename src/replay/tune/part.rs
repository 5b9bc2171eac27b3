//! The two parts of a history, and how rules fare on each.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::config::incidents::Known;
use crate::engine::notification::Notification;
use crate::engine::time::{Duration, Timestamp};
use crate::replay::Recorder;
use crate::replay::document::{Document, NotificationSummary};
use crate::replay::score::telling::pages_somebody;
use crate::replay::score::{self, GRACE, Score, Spread};

use super::frontier::Goals;

const WEEK: Duration = Duration::from_days(7);
/// The cut may move to keep an incident whole, but no further than this part of the history.
const LATEST_CUT: f64 = 5.0 / 6.0;

/// Where a history is cut: the search sees what is before, and what it finds is judged by the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Split {
    pub from: Timestamp,
    /// The first slot that is held back: at two thirds, or later where an incident would be cut in two.
    pub cut: Timestamp,
    pub to: Timestamp,
    pub interval: Duration,
    /// Whether it was moved.
    pub moved: bool,
    /// Incidents that begin before the cut and reach beyond it, though it was moved as far as it may: they count in
    /// neither part.
    pub across: usize,
}

/// How rules fare on a part. Terms are those of [`score`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Part {
    /// That count: within the part.
    pub incidents: u64,
    pub detected: u64,
    /// Of those: a page stood as they began.
    pub early: u64,
    pub delay: Option<Spread<Duration>>,
    pub pages: u64,
    pub pages_a_week: f64,
    pub unexplained_pages: u64,
}

impl Split {
    pub fn new(known: &[Known], from: Timestamp, to: Timestamp, interval: Duration) -> Self {
        let two_thirds = (from + to.since(from).times(2.0 / 3.0)).align_up(interval);
        let latest = from + to.since(from).times(LATEST_CUT);
        // What comes so long after an incident may still be about it.
        let over = |incident: &Known| incident.end + GRACE + interval.times(2.0);
        let mut cut = two_thirds;
        let across = |cut: Timestamp| known.iter().filter(move |known| known.start < cut && cut <= over(known));
        while let Some(later) = across(cut).map(over).max() {
            cut = (later + interval).align_up(interval);
        }
        if cut > latest {
            cut = two_thirds;
        }
        let cut_in_two = known.iter().filter(|known| known.start < cut && cut <= known.end).count();
        Self { from, cut, to, interval, moved: cut != two_thirds, across: cut_in_two }
    }

    /// The last slot of the part that is searched on.
    pub fn last_searched(&self) -> Timestamp {
        self.cut - self.interval
    }

    /// How many of these incidents lie in the part that is searched on.
    pub fn count_searched(&self, known: &[Known]) -> usize {
        known.iter().filter(|known| self.from <= known.start && known.end < self.cut).count()
    }

    pub fn searched_weeks(&self) -> f64 {
        weeks(self.from, self.cut)
    }

    pub fn held_back_weeks(&self) -> f64 {
        weeks(self.cut, self.to + self.interval)
    }

    /// How the rules of `document` fare on the part that is searched on. It may end there.
    pub fn searched(&self, document: &Document, known: &[Known]) -> Part {
        Part::of(document, &score::score(document, known), self.from, self.cut)
    }

    /// How they fare on the rest; the document is about all of history, so that what stands at the cut goes on.
    pub fn held_back(&self, document: &Document, known: &[Known]) -> Part {
        Part::of(document, &score::score(document, known), self.cut, self.to + self.interval)
    }
}

impl Part {
    /// What lies in `[from, to)`: incidents by their start, pages by their time.
    fn of(document: &Document, score: &Score, from: Timestamp, to: Timestamp) -> Self {
        let within = |at: Timestamp| from <= at && at < to;
        let incidents =
            || score.incidents.iter().filter(|incident| within(incident.known.start) && incident.known.end < to);
        let pages = pages(document).into_iter().filter(|at| within(*at)).count() as u64;
        Self {
            incidents: incidents().count() as u64,
            detected: incidents().filter(|incident| incident.detected_at.is_some()).count() as u64,
            early: incidents().filter(|incident| incident.early).count() as u64,
            delay: Spread::of_durations(incidents().filter_map(|incident| incident.delay)),
            pages,
            pages_a_week: pages as f64 / weeks(from, to),
            unexplained_pages: score.unexplained.iter().filter(|page| within(page.at)).count() as u64,
        }
    }

    pub fn goals(&self) -> Goals {
        Goals {
            missed: self.incidents - self.detected,
            delay: self.delay.map(|delay| delay.median),
            pages: self.pages,
            unexplained: self.unexplained_pages,
        }
    }
}

fn weeks(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).secs() / WEEK.secs()
}

/// The moments at which somebody was paged, as [`score`] counts them: however many receivers were told.
fn pages(document: &Document) -> Vec<Timestamp> {
    let is_page = |told: &&NotificationSummary| pages_somebody(told.reason, (told.stage, told.urgency));
    let told = document.notifications.iter().filter(is_page);
    let moments: BTreeSet<(Timestamp, &str)> = told.map(|told| (told.at, told.incident.as_str())).collect();
    moments.into_iter().map(|(at, _)| at).collect()
}

/// How many of these moments there were while history still runs.
pub fn pages_so_far(recorder: &Recorder) -> u64 {
    let is_page = |told: &&Arc<Notification>| pages_somebody(told.reason, (told.stage, told.urgency));
    let told = recorder.notifications().iter().filter(is_page);
    told.map(|told| (told.at, told.incident.as_str())).collect::<BTreeSet<_>>().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_unix_s(1_772_366_400) + Duration::from_hours(hour)
    }

    fn known(from: i64, to: i64) -> Known {
        Known { journey: "checkout".into(), layer: None, start: hour(from), end: hour(to), note: None }
    }

    #[test]
    fn no_incident_is_cut_in_two_if_that_can_be_helped() {
        let check = |incidents: &[(i64, i64)], cut: Timestamp, moved: bool, across: usize| {
            let known: Vec<Known> = incidents.iter().map(|(from, to)| known(*from, *to)).collect();
            let split = Split::new(&known, hour(0), hour(300), Duration::from_secs(30));
            assert_eq!((split.cut, split.moved, split.across), (cut, moved, across), "{incidents:?}");
            assert!(split.last_searched() < split.cut && split.cut < split.to);
        };
        // Past the time in which a page may still be about it: half an hour, two slots, and the next.
        let after = |at: i64| hour(at) + GRACE + Duration::from_secs(90);
        check(&[], hour(200), false, 0);
        check(&[(10, 20), (205, 210)], hour(200), false, 0);
        check(&[(190, 205)], after(205), true, 0);
        check(&[(199, 200)], after(200), true, 0);
        // One after the other.
        check(&[(190, 205), (204, 220)], after(220), true, 0);
        check(&[(190, 260)], hour(200), false, 1);
    }
}
