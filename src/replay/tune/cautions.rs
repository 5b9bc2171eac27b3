//! What the figures of a search cannot tell, or tell against it: said before anybody changes a rule.
//!
//! A recommendation is clearly worse on the part held back if it misses a larger share of incidents there, if it pages
//! more often a week than allowed, or if its median delay is more than half as long again and longer by a minute.

use crate::engine::time::Duration;

use super::part::Part;
use super::space::Setting;
use super::{Point, Tuning};

/// With fewer incidents in a part, one more or less decides.
const FEW_INCIDENTS: u64 = 5;
const MUCH_SLOWER: f64 = 1.5;
const SLOWER_AT_LEAST: Duration = Duration::from_minutes(1);

/// In the order of their weight.
pub fn cautions(tuning: &Tuning) -> Vec<String> {
    let mut cautions = Vec::new();
    if tuning.recommended.is_none() {
        let limit = tuning.max_pages_a_week;
        cautions.push(format!(
            "Nothing that was tried keeps to {limit} pages a week. Allow more (--max-pages-per-week), or wider bounds."
        ));
    }
    if let Some(recommended) = tuning.recommended() {
        of_held_back(tuning, recommended, &mut cautions);
    }
    few(tuning, &mut cautions);
    if let Some(recommended) = tuning.recommended() {
        at_the_edge(tuning, recommended, &mut cautions);
    }
    let split = &tuning.split;
    if split.moved {
        cautions.push(format!(
            "The part held back begins at {}, later than at two thirds, so that no incident is cut in two.",
            split.cut
        ));
    }
    if split.across > 0 {
        let incidents = count(split.across as u64, "known incident");
        cautions.push(format!("{incidents} lie across the cut at {} and count in neither part.", split.cut));
    }
    cautions
}

fn of_held_back(tuning: &Tuning, recommended: &Point, cautions: &mut Vec<String>) {
    let searched = &recommended.searched;
    let (Some(held), Some(present)) = (&recommended.held_back, &tuning.present.held_back) else {
        cautions.push("It was stopped before the part held back was looked at: nothing confirms these figures.".into());
        return;
    };
    let mut worse = Vec::new();
    if held.detected * searched.incidents < searched.detected * held.incidents {
        let (found, of) = (held.detected, held.incidents);
        worse
            .push(format!("it detects {found} of {of} incidents, not {} of {}", searched.detected, searched.incidents));
    }
    if held.pages_a_week > tuning.max_pages_a_week {
        worse.push(format!(
            "it pages {:.1} times a week, where {} are allowed",
            held.pages_a_week, tuning.max_pages_a_week
        ));
    }
    if let (Some(before), Some(then)) = (searched.delay, held.delay)
        && then.median > before.median.times(MUCH_SLOWER).max(before.median + SLOWER_AT_LEAST)
    {
        worse.push(format!("its median delay is {}, not {}", then.median, before.median));
    }
    if !worse.is_empty() {
        let worse = worse.join("; ");
        cautions.push(format!(
            "Over-fitted: on the part held back, which the search never saw, {worse}. Expect those figures, not the others."
        ));
    }
    if recommended.settings == tuning.present.settings {
        cautions.push("The present rules are the best of what was tried: there is nothing to change.".into());
    } else if no_better(held, present) {
        cautions.push(
            "On the part held back the present rules do as well or better. That is no reason to change them.".into(),
        );
    }
}

/// Whether the present rules are nowhere worse.
fn no_better(held: &Part, present: &Part) -> bool {
    held.goals() == present.goals() || present.goals().dominates(&held.goals())
}

fn few(tuning: &Tuning, cautions: &mut Vec<String>) {
    let searched = tuning.present.searched.incidents;
    let held_back = tuning.present.held_back.map_or(0, |part| part.incidents);
    let few = |incidents: u64, part: &str| match incidents {
        0 => format!("no known incident lies in {part}"),
        incidents => format!(
            "{part} has {}, so that one more or less found moves recall by {:.0} points",
            count(incidents, "known incident"),
            100.0 / incidents as f64
        ),
    };
    let mut said = Vec::new();
    if searched < FEW_INCIDENTS {
        said.push(few(searched, "the part searched on"));
    }
    if held_back < FEW_INCIDENTS && tuning.present.held_back.is_some() {
        said.push(few(held_back, "the part held back"));
    }
    if !said.is_empty() {
        let said = said.join("; ");
        let tried = tuning.tried.len();
        cautions.push(format!(
            "Too few incidents to tell skill from luck: {said}. Of {tried} candidates some look good by chance; add \
             history or incidents, or change little."
        ));
    }
}

/// Settings at the end of their ladders, where the best may lie beyond; ends that nothing lies beyond do not count.
fn at_the_edge(tuning: &Tuning, recommended: &Point, cautions: &mut Vec<String>) {
    let mut edges = Vec::new();
    for knobs in &tuning.rules {
        let Some(Setting { burn_rate, long, short, consecutive }) = recommended.settings.get(&knobs.rule) else {
            continue;
        };
        let mut edge = |what: &str, steps: usize, is_first: bool, is_last: bool| {
            if steps > 1 && (is_first || is_last) {
                let end = if is_first { "least" } else { "greatest" };
                edges.push(format!("the {what} of {} is the {end} it may be", knobs.rule));
            }
        };
        let changed = |is_present: bool, is_end: bool| is_end && !is_present;
        let present = &knobs.present;
        let rates = &knobs.burn_rate;
        let same = present.burn_rate == *burn_rate;
        edge(
            "burn_rate",
            rates.len(),
            changed(same, rates.first() == Some(burn_rate)),
            changed(same, rates.last() == Some(burn_rate)),
        );
        for (what, ladder, window, present) in
            [("long window", &knobs.long, long, present.long), ("short window", &knobs.short, short, present.short)]
        {
            let same = present == *window;
            edge(
                what,
                ladder.len(),
                changed(same, ladder.first() == Some(window)),
                changed(same, ladder.last() == Some(window)),
            );
        }
        let counts = &knobs.consecutive;
        // One evaluation is the least there can be.
        edge(
            "consecutive",
            counts.len(),
            false,
            changed(present.consecutive == *consecutive, counts.last() == Some(consecutive)),
        );
    }
    if !edges.is_empty() {
        let edges = edges.join(", ");
        cautions.push(format!("Wider bounds may hold something better: {edges}."));
    }
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::time::Timestamp;
    use crate::replay::score::Spread;
    use crate::replay::tune::part::Split;
    use crate::replay::tune::space::Knobs;

    fn part(detected: u64, incidents: u64, delay_min: i64, pages_a_week: f64) -> Part {
        let delay = Duration::from_minutes(delay_min);
        let pages = pages_a_week as u64;
        let delay = Some(Spread { median: delay, worst: delay });
        Part { incidents, detected, delay, pages, pages_a_week, unexplained_pages: pages.saturating_sub(detected) }
    }

    /// Rules that find 10 of 10 in two minutes with 2 pages a week where they were searched, and `held_back` there.
    fn said(burn_rate: f64, held_back: Part, present: Part) -> String {
        let setting = |burn_rate| {
            let (long, short) = (Duration::from_hours(1), Duration::from_minutes(5));
            Setting { burn_rate, long, short, consecutive: 2 }
        };
        let point = |trial, burn_rate, searched, held_back| Point {
            trial,
            settings: BTreeMap::from([("fast".to_owned(), setting(burn_rate))]),
            searched,
            held_back: Some(held_back),
        };
        let at = |day| Timestamp::from_unix_s(1_772_366_400) + Duration::from_days(day);
        let (from, cut, to, interval) = (at(0), at(20), at(30), Duration::from_secs(30));
        let knobs = Knobs {
            rule: "fast".into(),
            present: setting(14.4),
            burn_rate: vec![6.0, 10.0, 14.4, 20.0],
            long: vec![setting(1.0).long],
            short: vec![setting(1.0).short],
            consecutive: vec![2],
            clears_with_short: true,
        };
        let tuning = Tuning {
            version: 1,
            split: Split { from, cut, to, interval, moved: false, across: 0 },
            seed: 1,
            max_pages_a_week: 3.0,
            limit_given: true,
            combinations: Some(4),
            exhausted: true,
            stopped: false,
            rules: vec![knobs],
            present: point(0, 14.4, part(5, 10, 9, 1.0), present),
            frontier: vec![point(1, burn_rate, part(10, 10, 2, 2.0), held_back)],
            frontier_size: 1,
            recommended: Some(1),
            cautions: Vec::new(),
            tried: Vec::new(),
        };
        cautions(&tuning).join("\n")
    }

    #[test]
    fn what_does_worse_on_the_part_held_back_is_told_in_figures() {
        let before = part(2, 6, 9, 1.0);
        let check = |held_back: Part, expected: &str| {
            let said = said(10.0, held_back, before);
            assert!(if expected.is_empty() { said.is_empty() } else { said.contains(expected) }, "{said}");
        };
        check(part(6, 6, 3, 3.0), "");
        check(part(5, 6, 2, 2.0), "it detects 5 of 6 incidents, not 10 of 10");
        check(part(6, 6, 2, 3.5), "it pages 3.5 times a week, where 3 are allowed");
        check(part(6, 6, 4, 2.0), "its median delay is 4m, not 2m");
        check(part(5, 6, 4, 9.0), "Over-fitted: on the part held back, which the search never saw, it detects 5 of 6");
    }

    #[test]
    fn the_present_rules_the_number_of_incidents_and_the_edges_are_told_of() {
        let fine = part(6, 6, 2, 2.0);
        assert!(said(10.0, fine, fine).contains("the present rules do as well or better"));
        assert!(said(14.4, fine, fine).contains("there is nothing to change"));
        let few = said(10.0, part(4, 4, 2, 2.0), part(2, 4, 9, 1.0));
        assert!(few.contains("the part held back has 4 known incidents") && few.contains("by 25 points"), "{few}");
        let none = said(10.0, part(0, 0, 2, 0.0), part(0, 0, 9, 0.0));
        assert!(none.contains("no known incident lies in the part held back"), "{none}");
        let edge = said(20.0, fine, part(2, 6, 9, 1.0));
        assert!(edge.contains("the burn_rate of fast is the greatest it may be"), "{edge}");
    }
}
