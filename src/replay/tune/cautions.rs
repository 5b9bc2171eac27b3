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
