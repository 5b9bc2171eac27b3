//! What the figures of a search cannot tell, or tell against it: said before anybody changes a rule.
//!
//! A recommendation is worse on the part held back if it misses a larger share of incidents there, if it pages more
//! often a week than allowed, or if its median delay is more than half as long again and longer by a minute. It is
//! over-fitted if that is more than chance makes of so few: with counts, more than two standard deviations beyond what
//! was to be expected; with a delay, over no fewer than five incidents.

use crate::config::units;
use crate::engine::time::Duration;

use super::part::Part;
use super::space::Setting;
use super::{Point, Tuning};

/// With fewer incidents in a part, one more or less decides.
const FEW_INCIDENTS: u64 = 5;
const MUCH_SLOWER: f64 = 1.5;
const SLOWER_AT_LEAST: Duration = Duration::from_minutes(1);
/// A best one that was found in the last part of the search, if that is more than a few trials.
const LATE: f64 = 2.0 / 3.0;
const MANY_TRIALS: usize = 100;
/// Standard deviations beyond which a count is no chance: some 2% of counts.
const BEYOND_CHANCE: f64 = 2.0;

/// In the order of their weight.
pub fn cautions(tuning: &Tuning) -> Vec<String> {
    let mut cautions = Vec::new();
    if tuning.present.searched.incidents == 0 {
        cautions.push(
            "No known incident lies in the part searched on, so nothing tells a good rule from one that never pages: \
             nothing is recommended. Take more history (--from), or write down what happened in it."
                .into(),
        );
    } else if tuning.recommended.is_none() {
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
        early(tuning, recommended, &mut cautions);
        late(tuning, recommended, &mut cautions);
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
        let (lie, count) = if split.across == 1 { ("lies", "counts") } else { ("lie", "count") };
        cautions.push(format!("{incidents} {lie} across the cut at {} and {count} in neither part.", split.cut));
    }
    cautions
}

fn of_held_back(tuning: &Tuning, recommended: &Point, cautions: &mut Vec<String>) {
    let searched = &recommended.searched;
    let (Some(held), Some(present)) = (&recommended.held_back, &tuning.present.held_back) else {
        cautions.push("It was stopped before the part held back was looked at: nothing confirms these figures.".into());
        return;
    };
    let worse: Vec<Worse> =
        [misses(searched, held), pages(tuning, held), slower(searched, held)].into_iter().flatten().collect();
    if !worse.is_empty() {
        let (name, expect) = match worse.iter().any(|worse| worse.beyond_chance) {
            true => ("Over-fitted", "Expect those figures, not the others"),
            false => ("Not quite confirmed", "So little may be chance: expect something between the two"),
        };
        let worse: Vec<&str> = worse.iter().map(|worse| worse.how.as_str()).collect();
        cautions.push(format!(
            "{name}: on the part held back, which the search never saw, {}. {expect}.",
            worse.join("; ")
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

/// A figure that is worse on the part held back.
struct Worse {
    how: String,
    beyond_chance: bool,
}

fn misses(searched: &Part, held: &Part) -> Option<Worse> {
    if held.detected * searched.incidents >= searched.detected * held.incidents {
        return None;
    }
    // By Laplace's rule of succession: that none was missed does not say that none ever will be.
    let share = (searched.incidents - searched.detected + 1) as f64 / (searched.incidents + 2) as f64;
    let of = held.incidents as f64;
    let (found, before) = (held.detected, searched.detected);
    Some(Worse {
        how: format!("it detects {found} of {} incidents, not {before} of {}", held.incidents, searched.incidents),
        beyond_chance: is_beyond_chance(held.incidents - found, of * share, of * share * (1.0 - share)),
    })
}

fn pages(tuning: &Tuning, held: &Part) -> Option<Worse> {
    let (a_week, limit) = (held.pages_a_week, tuning.max_pages_a_week);
    let allowed = limit * tuning.split.held_back_weeks();
    let length = tuning.split.to.since(tuning.split.cut).coarse();
    (a_week > limit).then(|| Worse {
        how: format!(
            "{} in {length} are {a_week:.1} a week, where {} are allowed ({} in that time)",
            count(held.pages, "page"),
            units::short(limit),
            units::short((allowed * 10.0).round() / 10.0)
        ),
        // A Poisson count varies by as much as it is.
        beyond_chance: is_beyond_chance(held.pages, allowed, allowed),
    })
}

fn slower(searched: &Part, held: &Part) -> Option<Worse> {
    let (before, then) = (searched.delay?.median, held.delay?.median);
    (then > before.times(MUCH_SLOWER).max(before + SLOWER_AT_LEAST)).then(|| Worse {
        how: format!("its median delay is {then}, not {before}"),
        beyond_chance: held.detected >= FEW_INCIDENTS,
    })
}

fn is_beyond_chance(counted: u64, expected: f64, variance: f64) -> bool {
    counted as f64 > expected + BEYOND_CHANCE * variance.sqrt()
}

/// Whether the present rules are nowhere worse.
fn no_better(held: &Part, present: &Part) -> bool {
    held.goals() == present.goals() || present.goals().dominates(&held.goals())
}

fn few(tuning: &Tuning, cautions: &mut Vec<String>) {
    let searched = tuning.present.searched.incidents;
    let held_back = tuning.present.held_back.map_or(0, |part| part.incidents);
    let few = |incidents: u64, part: &str| match incidents {
        // Of the part searched on that is said already.
        0 => format!("no known incident lies in {part}"),
        incidents => format!(
            "{part} has {}, so that one more or less found moves recall by {:.0} points",
            count(incidents, "known incident"),
            100.0 / incidents as f64
        ),
    };
    let mut said = Vec::new();
    if (1..FEW_INCIDENTS).contains(&searched) {
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

/// A page that comes later, and so stands as the next incident begins, answers that without any delay.
fn early(tuning: &Tuning, recommended: &Point, cautions: &mut Vec<String>) {
    let (now, then) = (tuning.present.searched.early, recommended.searched.early);
    if then > now {
        let incidents = count(then, "incident");
        cautions.push(format!(
            "{incidents} of those searched on count as found at once, as a page stood when they began (with the present \
             rules {now}). If those pages were only late for something else, that is no merit: 'slowburn replay \
             --compare' shows which."
        ));
    }
}

/// The best was found so late that the search seems to have been cut short.
fn late(tuning: &Tuning, recommended: &Point, cautions: &mut Vec<String>) {
    let (trial, tried) = (recommended.trial, tuning.tried.len());
    if !tuning.exhausted && tried >= MANY_TRIALS && trial as f64 > tried as f64 * LATE {
        cautions.push(format!(
            "The search was still finding better ones: this was the {trial}th of {tried}. More --trials or another \
             --seed may find better."
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
    use crate::replay::tune::Tried;
    use crate::replay::tune::part::Split;
    use crate::replay::tune::space::Knobs;

    /// A week.
    fn part(detected: u64, incidents: u64, delay_min: i64, pages: u64) -> Part {
        let delay = Duration::from_minutes(delay_min);
        let pages_a_week = pages as f64;
        let delay = Some(Spread { median: delay, worst: delay });
        let unexplained_pages = pages.saturating_sub(detected);
        Part { incidents, detected, early: 0, delay, pages, pages_a_week, unexplained_pages }
    }

    /// Rules that find 10 of 10 in two minutes with 2 pages a week where they were searched, and `held_back` there.
    fn said(burn_rate: f64, held_back: Part, present: Part) -> String {
        cautions(&tuning(burn_rate, held_back, present)).join("\n")
    }

    fn tuning(burn_rate: f64, held_back: Part, present: Part) -> Tuning {
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
        let (from, cut, to, interval) = (at(0), at(14), at(21), Duration::from_secs(30));
        let knobs = Knobs {
            rule: "fast".into(),
            present: setting(14.4),
            burn_rate: vec![6.0, 10.0, 14.4, 20.0],
            long: vec![setting(1.0).long],
            short: vec![setting(1.0).short],
            consecutive: vec![2],
            clears_with_short: true,
        };
        Tuning {
            version: 1,
            split: Split { from, cut, to, interval, moved: false, across: 0 },
            seed: 1,
            max_pages_a_week: 3.0,
            limit_given: true,
            combinations: Some(4),
            exhausted: true,
            stopped: false,
            rules: vec![knobs],
            present: point(0, 14.4, part(5, 10, 9, 1), present),
            frontier: vec![point(1, burn_rate, part(10, 10, 2, 2), held_back)],
            frontier_size: 1,
            recommended: Some(1),
            cautions: Vec::new(),
            tried: Vec::new(),
        }
    }

    #[test]
    fn what_looks_good_by_its_counting_or_was_found_late_is_told_of() {
        let fine = part(6, 6, 2, 2);
        let check = |change: &dyn Fn(&mut Tuning), expected: &str| {
            let mut tuning = tuning(10.0, fine, part(2, 6, 9, 1));
            change(&mut tuning);
            assert_eq!(cautions(&tuning).first().map_or("", |said| &said[..expected.len().min(said.len())]), expected);
        };
        check(&|_| {}, "");
        check(
            &|tuning| tuning.frontier[0].searched.early = 3,
            "3 incidents of those searched on count as found at once",
        );
        let same = |tuning: &mut Tuning| {
            (tuning.frontier[0].searched.early, tuning.present.searched.early) = (1, 1);
        };
        check(&same, "");
        let late = |tuning: &mut Tuning, trial: usize| {
            let goals = fine.goals();
            tuning.tried = vec![Tried { settings: BTreeMap::new(), abandoned: false, goals }; 300];
            tuning.exhausted = false;
            (tuning.recommended, tuning.frontier[0].trial) = (Some(trial), trial);
        };
        check(&|tuning| late(tuning, 250), "The search was still finding better ones: this was the 250th of 300.");
        check(&|tuning| late(tuning, 150), "");
        let none = |tuning: &mut Tuning| {
            (tuning.recommended, tuning.present.searched) = (None, part(0, 0, 0, 0));
        };
        check(&none, "No known incident lies in the part searched on");
    }

    #[test]
    fn what_does_worse_on_the_part_held_back_is_told_in_figures() {
        let before = part(2, 6, 9, 1);
        let check = |held_back: Part, name: &str, expected: &str| {
            let said = said(10.0, held_back, before);
            let held = "on the part held back, which the search never saw";
            let expected = if name.is_empty() { String::new() } else { format!("{name}: {held}, {expected}") };
            assert!(if expected.is_empty() { said.is_empty() } else { said.starts_with(&expected) }, "{said}");
        };
        check(part(6, 6, 3, 3), "", "");
        let (chance, clear) = ("Not quite confirmed", "Over-fitted");
        check(part(5, 6, 2, 2), chance, "it detects 5 of 6 incidents, not 10 of 10. So little may be chance: expect");
        check(part(4, 6, 2, 2), clear, "it detects 4 of 6 incidents, not 10 of 10. Expect those figures");
        let pages =
            |pages: u64| format!("{pages} pages in 7d are {pages}.0 a week, where 3 are allowed (3 in that time).");
        check(part(6, 6, 2, 4), chance, &pages(4));
        check(part(6, 6, 2, 6), chance, &pages(6));
        check(part(6, 6, 2, 7), clear, &pages(7));
        check(part(6, 6, 4, 2), clear, "its median delay is 4m, not 2m. Expect");
        check(part(4, 4, 4, 2), chance, "its median delay is 4m, not 2m. So little");
        // One that is clear is enough.
        check(part(5, 6, 2, 9), clear, "it detects 5 of 6 incidents, not 10 of 10; 9 pages in 7d are 9.0 a week");
    }

    #[test]
    fn the_present_rules_the_number_of_incidents_and_the_edges_are_told_of() {
        let fine = part(6, 6, 2, 2);
        assert!(said(10.0, fine, fine).contains("the present rules do as well or better"));
        assert!(said(14.4, fine, fine).contains("there is nothing to change"));
        let few = said(10.0, part(4, 4, 2, 2), part(2, 4, 9, 1));
        assert!(few.contains("the part held back has 4 known incidents") && few.contains("by 25 points"), "{few}");
        let none = said(10.0, part(0, 0, 2, 0), part(0, 0, 9, 0));
        assert!(none.contains("no known incident lies in the part held back"), "{none}");
        let edge = said(20.0, fine, part(2, 6, 9, 1));
        assert!(edge.contains("the burn_rate of fast is the greatest it may be"), "{edge}");
    }
}
