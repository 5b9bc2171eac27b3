//! Scores and statistics for people, at most 80 columns wide but for longer names.

use std::fmt;

use crate::engine::rule::Urgency;
use crate::engine::time::Duration;
use crate::replay::text::{grouped, time, wrapped};

use super::statistics::{Count, Noise};
use super::{Figures, Outcome, Score, Spread, Statistics};

const WEEK: Duration = Duration::from_days(7);

/// A share as people read it: `83.3%`.
#[derive(Debug, Clone, Copy)]
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padding is for the whole of it.
        f.pad(&format!("{:.1}%", self.0 * 100.0))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { pages, tickets } = self;
        write!(f, "{} and {}", some(*pages, "page"), some(*tickets, "ticket"))
    }
}

/// The section of a replay's text, with the range that it is about, and whether all of that was seen.
pub(in crate::replay) fn noise(
    f: &mut fmt::Formatter<'_>,
    it: &Statistics,
    range: Duration,
    is_seen: bool,
) -> fmt::Result {
    writeln!(f, "\nNoise")?;
    let count = Count { pages: it.pages, tickets: it.tickets };
    let rate = match (it.pages_a_week, it.tickets_a_week) {
        (Some(pages), Some(tickets)) if range >= WEEK => format!(": {pages:.1} and {tickets:.1} a week"),
        _ => String::new(),
    };
    wrapped(f, "  ", &format!("{count} (warnings among them){rate}"))?;
    writeln!(f, "  {} at night, 22:00-07:00 {}", some(it.pages_at_night, "page"), it.time_zone)?;
    let quiet = it.longest_quiet;
    let length = quiet.to.since(quiet.from).coarse();
    let as_seen = if is_seen { "" } else { ", as far as was seen" };
    writeln!(f, "  Longest without a page: {length}, from {}{as_seen}", time(quiet.from))?;
    for (what, noise) in [("layer", &it.noisiest_layer), ("rule", &it.noisiest_rule)] {
        if let Some(Noise { name, count }) = noise {
            wrapped(f, &format!("  Noisiest {what}: "), &format!("{name}, with {count}"))?;
        }
    }
    let (joined, brief) = (it.spared.by_incidents, it.spared.by_consecutive_at_most);
    if joined != Count::default() {
        wrapped(f, "  Spared by incidents: ", &format!("{joined}, of alerts that joined one"))?;
    }
    if brief != Count::default() {
        wrapped(f, "  Spared by consecutive windows: ", &format!("at most {brief}"))?;
    }
    if it.spared.notifications > 0 {
        let held = some(it.spared.notifications, "notification");
        wrapped(f, "  Spared by silences, hours and the like: ", &format!("{held}, one a receiver"))?;
    }
    Ok(())
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nAgainst {}", some(self.incidents.len() as u64, "known incident"))?;
        self.in_words(f)?;
        if !self.incidents.is_empty() {
            table(f, self)?;
            writeln!(f)?;
            self.incidents.iter().try_for_each(|outcome| line(f, outcome))?;
        }
        if !self.unexplained.is_empty() {
            writeln!(f, "\n  Pages that no incident explains")?;
            for page in &self.unexplained {
                wrapped(f, &format!("    {}  ", time(page.at)), &page.summary)?;
            }
        }
        if !self.not_counted.is_empty() {
            writeln!(f, "\n  Not counted, as they are not within the replayed range")?;
            for known in &self.not_counted {
                wrapped(f, &format!("    {}  ", time(known.start)), &known.place())?;
            }
        }
        Ok(())
    }
}

impl Score {
    fn in_words(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { detected, early, missed, pages, unexplained_pages, .. } = &self.overall;
        let early = if *early > 0 { format!(", {early} of them early") } else { String::new() };
        let recall = self.overall.recall.map_or(String::new(), |recall| format!("; recall {}", Percent(recall)));
        wrapped(f, "  ", &format!("{detected} detected{early}, {missed} missed{recall}"))?;
        let precision = self.overall.precision.map_or(String::new(), |it| format!("; precision {}", Percent(it)));
        wrapped(f, "  ", &format!("{}, {unexplained_pages} of them unexplained{precision}", some(*pages, "page")))
    }
}

fn table(f: &mut fmt::Formatter<'_>, score: &Score) -> fmt::Result {
    let width = score.rules.iter().map(|rule| rule.rule.chars().count()).max().unwrap_or(0).clamp(9, 16);
    writeln!(
        f,
        "\n  {:width$} {:7} {:>15} {:>15}  {:>7} {:>9}",
        "", "", "delay of a page", "told to be over", "budget", "pages not"
    )?;
    writeln!(
        f,
        "  {:width$} {:>7} {:>7} {:>7} {:>7} {:>7}  {:>7} {:>9} {:>7}",
        "", "found", "median", "worst", "median", "worst", "before", "explained", "tickets"
    )?;
    let rules = score.rules.iter().map(|rule| (rule.rule.as_str(), &rule.figures));
    for (name, figures) in [("all rules", &score.overall)].into_iter().chain(rules) {
        // A longer name stands above its figures.
        let name = if name.chars().count() > width {
            writeln!(f, "  {name}")?;
            ""
        } else {
            name
        };
        row(f, name, width, figures)?;
    }
    let by_tickets = score.rules.iter().filter(|rule| rule.urgency == Urgency::Ticket);
    let by_tickets: Vec<&str> = by_tickets.map(|rule| rule.rule.as_str()).collect();
    if !by_tickets.is_empty() {
        writeln!(f)?;
        wrapped(f, "  By their critical tickets, as they page nobody: ", &by_tickets.join(", "))?;
    }
    Ok(())
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, width: usize, figures: &Figures) -> fmt::Result {
    let found = format!("{}/{}", figures.detected, figures.detected + figures.missed);
    let [delay, worst_delay] = both(figures.delay);
    let [reset, worst_reset] = both(figures.reset_delay);
    let budget = figures.budget_before_page.map_or_else(|| "-".to_owned(), |it| Percent(it.median).to_string());
    let pages = format!("{}/{}", figures.unexplained_pages, figures.pages);
    writeln!(
        f,
        "  {name:width$} {found:>7} {delay:>7} {worst_delay:>7} {reset:>7} {worst_reset:>7}  {budget:>7} {pages:>9} {:>7}",
        grouped(figures.tickets)
    )
}

/// Median and worst.
pub(in crate::replay) fn both(spread: Option<Spread<Duration>>) -> [String; 2] {
    spread.map_or(["-", "-"].map(str::to_owned), |it| [it.median, it.worst].map(|it| it.coarse().to_string()))
}

fn line(f: &mut fmt::Formatter<'_>, outcome: &Outcome) -> fmt::Result {
    let known = &outcome.known;
    let how = match (outcome.delay, outcome.page_stood_since) {
        (Some(_), _) if outcome.early => "a page stood as it began".to_owned(),
        (Some(delay), _) => match outcome.joined_page_of {
            Some(page) => format!("joined the page of {} after {}", time(page), delay.coarse()),
            None => format!("paged after {}", delay.coarse()),
        },
        (None, Some(since)) => format!("MISSED: the page of {} stood, about something else", time(since)),
        (None, None) => "MISSED".to_owned(),
    };
    let budget = outcome.budget_before_page.filter(|_| !outcome.early);
    let budget = budget.map_or(String::new(), |spent| format!(" and {} of the budget", Percent(spent)));
    let reset = outcome.reset_delay.map_or(String::new(), |delay| format!("; over {} after its end", delay.coarse()));
    let note = known.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
    let lasted = known.end.since(known.start).coarse();
    let text = format!("{}{note}, for {lasted}: {how}{budget}{reset}", known.place());
    wrapped(f, &format!("    {}  ", time(known.start)), &text)
}

/// `1 page`, `2 pages`.
pub(in crate::replay) fn some(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}
