//! A comparison for people, at most 80 columns wide but for longer names.

use std::collections::BTreeSet;
use std::fmt;

use crate::engine::time::{Duration, Timestamp};
use crate::replay::score::text::Percent;
use crate::replay::score::{Figures, Outcome, Score, Spread};
use crate::replay::text::{grouped, time, wrapped};

use super::{Changed, Changes, Comparison, Journeys, Kept, Moment};

/// Longer lists are cut; the JSON document has them whole.
const MAX_LISTED: usize = 40;

/// A row: what it is, of the first, of the second, and how the second differs where that is a number.
type Row = (&'static str, String, String, String);

/// One of the delays of figures.
type Delay = fn(&Figures) -> Option<Spread<Duration>>;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.to.since(self.from).coarse();
        writeln!(f, "Comparison over {length}, {} to {}", time(self.from), time(self.to))?;
        wrapped(f, "  first:  ", &self.first.config)?;
        wrapped(f, "  second: ", &self.second.config)?;
        writeln!(f, "{} slots evaluated by each, of data read once; nothing was sent.", grouped(self.evaluations))?;
        for (which, side) in [("first", &self.first), ("second", &self.second)] {
            if !side.unseen.is_empty() {
                let (shown, more) = side.unseen.split_at(side.unseen.len().min(MAX_LISTED));
                let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
                wrapped(f, "", &format!("Of the {which} nothing was seen of {}{more}.", shown.join(", ")))?;
            }
        }
        self.journeys.fmt(f)?;
        self.table(f)?;
        self.rules(f)?;
        self.incidents(f)?;
        changes(f, "Pages", &self.pages)?;
        changes(f, "Tickets and warnings", &self.tickets)
    }
}

impl Comparison {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        if let (Some(first), Some(second)) = (&self.first.statistics, &self.second.statistics) {
            rows.push(counts("pages", first.pages, second.pages));
            rows.push(rates("pages a week", first.pages_a_week, second.pages_a_week));
            rows.push(counts("pages at night", first.pages_at_night, second.pages_at_night));
            rows.push(counts("tickets and warnings", first.tickets, second.tickets));
            let quiet = [first, second].map(|it| it.longest_quiet.to.since(it.longest_quiet.from));
            rows.push(lengths("longest without a page", Some(quiet[0]), Some(quiet[1])));
            let noisiest = |noise: &Option<crate::replay::score::Noise>| {
                noise.as_ref().map_or_else(|| "-".to_owned(), |noise| noise.name.clone())
            };
            let layers = [first, second].map(|it| noisiest(&it.noisiest_layer));
            let rules = [first, second].map(|it| noisiest(&it.noisiest_rule));
            rows.extend(
                [("noisiest layer", layers), ("noisiest rule", rules)]
                    .map(|(what, [a, b])| (what, a, b, String::new())),
            );
            let spared = [first, second].map(|it| it.spared);
            rows.push(counts("pages spared by incidents", spared[0].by_incidents.pages, spared[1].by_incidents.pages));
            let brief = spared.map(|it| it.by_consecutive_at_most.pages);
            rows.push(counts("... by consecutive, at most", brief[0], brief[1]));
            rows.push(counts("notifications held back", spared[0].notifications, spared[1].notifications));
        }
        if let (Some(first), Some(second)) = (&self.first.score, &self.second.score) {
            figures(&first.overall, &second.overall, &mut rows);
        }
        writeln!(f, "\n  {:27} {:>16} {:>16} {:>14}", "", "first", "second", "change")?;
        for (what, first, second, change) in rows {
            writeln!(f, "{}", format!("  {what:27} {first:>16} {second:>16} {change:>14}").trim_end())?;
        }
        Ok(())
    }

    /// What each rule by itself detects of the known incidents.
    fn rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(second)) = (&self.first.score, &self.second.score) else { return Ok(()) };
        let names: BTreeSet<&str> =
            [first, second].iter().flat_map(|it| &it.rules).map(|it| it.rule.as_str()).collect();
        writeln!(f, "\n  {:27} {:>16} {:>16}", "found by a rule alone", "first", "second")?;
        for name in names {
            let found = |score: &Score| {
                let figures = score.rules.iter().find(|it| it.rule == name).map(|it| &it.figures);
                figures.map_or_else(|| "-".to_owned(), |it| format!("{}/{}", it.detected, it.detected + it.missed))
            };
            writeln!(f, "  {name:27} {:>16} {:>16}", found(first), found(second))?;
        }
        Ok(())
    }

    /// The incidents in which the two differ.
    fn incidents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(second)) = (&self.first.score, &self.second.score) else { return Ok(()) };
        let pairs = first.incidents.iter().zip(&second.incidents);
        let differing: Vec<_> = pairs.filter(|(a, b)| (a.delay, a.early) != (b.delay, b.early)).collect();
        writeln!(f, "\nKnown incidents: {} of {} told otherwise", differing.len(), first.incidents.len())?;
        for (first, second) in differing.iter().take(MAX_LISTED) {
            let how = |it: &Outcome| match it.delay {
                Some(_) if it.early => "early".to_owned(),
                Some(delay) => format!("after {}", delay.coarse()),
                None => "MISSED".to_owned(),
            };
            let place = first.known.place();
            wrapped(
                f,
                &format!("  {}  ", time(first.known.start)),
                &format!("{place}: {}, now {}", how(first), how(second)),
            )?;
        }
        left_out(f, differing.len())
    }
}

impl fmt::Display for Journeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Journeys::default() {
            return Ok(());
        }
        writeln!(f, "\nThey do not watch the same")?;
        for (which, places) in [("first", &self.only_in_first), ("second", &self.only_in_second)] {
            if !places.is_empty() {
                wrapped(f, &format!("  only in the {which}: "), &places.join(", "))?;
            }
        }
        for Changed { name, what, first, second } in self.changed.iter().take(MAX_LISTED) {
            wrapped(f, "  ", &format!("{name}: {what} {first} in the first, {second} in the second"))?;
        }
        left_out(f, self.changed.len())
    }
}

fn figures(first: &Figures, second: &Figures, rows: &mut Vec<Row>) {
    rows.push(counts("incidents detected", first.detected, second.detected));
    rows.push(counts("incidents missed", first.missed, second.missed));
    rows.push(shares("recall", first.recall, second.recall));
    rows.push(shares("precision", first.precision, second.precision));
    rows.push(counts("unexplained pages", first.unexplained_pages, second.unexplained_pages));
    let delays: [([&'static str; 2], Delay); 3] = [
        (["delay, median", "delay, worst"], |it| it.delay),
        (["ticket delay, median", "ticket delay, worst"], |it| it.ticket_delay),
        (["told to be over, median", "told to be over, worst"], |it| it.reset_delay),
    ];
    for ([median, worst], delay) in delays {
        let (first, second) = (delay(first), delay(second));
        rows.push(lengths(median, first.map(|it| it.median), second.map(|it| it.median)));
        rows.push(lengths(worst, first.map(|it| it.worst), second.map(|it| it.worst)));
    }
    let budget = [first, second].map(|it| it.budget_before_page);
    rows.push(shares("budget before page, median", budget[0].map(|it| it.median), budget[1].map(|it| it.median)));
    rows.push(shares("budget before page, worst", budget[0].map(|it| it.worst), budget[1].map(|it| it.worst)));
}

fn counts(what: &'static str, first: u64, second: u64) -> Row {
    let change = match second.checked_sub(first) {
        Some(0) => String::new(),
        Some(more) => format!("+{}", grouped(more)),
        None => format!("-{}", grouped(first - second)),
    };
    (what, grouped(first), grouped(second), change)
}

fn rates(what: &'static str, first: Option<f64>, second: Option<f64>) -> Row {
    let shown = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let change = first.zip(second).map(|(first, second)| format!("{:+.1}", second - first));
    (what, shown(first), shown(second), change.filter(|it| !is_none(it)).unwrap_or_default())
}

fn shares(what: &'static str, first: Option<f64>, second: Option<f64>) -> Row {
    let shown = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| Percent(share).to_string());
    let change = first.zip(second).map(|(first, second)| format!("{:+.1} points", 100.0 * (second - first)));
    (what, shown(first), shown(second), change.filter(|it| !is_none(it)).unwrap_or_default())
}

/// Whether a change rounds to nothing.
fn is_none(change: &str) -> bool {
    change.starts_with("+0.0") || change.starts_with("-0.0")
}

fn lengths(what: &'static str, first: Option<Duration>, second: Option<Duration>) -> Row {
    let shown = |length: Option<Duration>| length.map_or_else(|| "-".to_owned(), |length| length.coarse().to_string());
    let change = first.zip(second).filter(|(first, second)| first != second).map(|(first, second)| {
        let by = Duration::from_ms((first.ms() - second.ms()).abs()).coarse();
        format!("{by} {}", if second > first { "longer" } else { "shorter" })
    });
    (what, shown(first), shown(second), change.unwrap_or_default())
}

fn changes(f: &mut fmt::Formatter<'_>, what: &str, changes: &Changes) -> fmt::Result {
    let Changes { gained, lost, kept } = changes;
    moments(f, &format!("{what} gained"), gained)?;
    moments(f, &format!("{what} lost"), lost)?;
    let moved: Vec<&Kept> = kept.iter().filter(|kept| kept.first_at != kept.second_at).collect();
    writeln!(
        f,
        "\n{what} kept: {}, {} of them at another time",
        grouped(kept.len() as u64),
        grouped(moved.len() as u64)
    )?;
    for kept in moved.iter().take(MAX_LISTED) {
        let by = shift(kept.first_at, kept.second_at);
        let first = if kept.first_summary == kept.summary {
            String::new()
        } else {
            format!(" (in the first: {})", kept.first_summary)
        };
        wrapped(f, &format!("  {}  ", time(kept.second_at)), &format!("{by}: {}{first}", kept.summary))?;
    }
    left_out(f, moved.len())
}

fn moments(f: &mut fmt::Formatter<'_>, what: &str, moments: &[Moment]) -> fmt::Result {
    writeln!(f, "\n{what}: {}", if moments.is_empty() { "none".to_owned() } else { grouped(moments.len() as u64) })?;
    for moment in moments.iter().take(MAX_LISTED) {
        wrapped(f, &format!("  {}  ", time(moment.at)), &moment.summary)?;
    }
    left_out(f, moments.len())
}

fn left_out(f: &mut fmt::Formatter<'_>, listed: usize) -> fmt::Result {
    match listed.saturating_sub(MAX_LISTED) {
        0 => Ok(()),
        more => writeln!(f, "  and {} more, which --format json has", grouped(more as u64)),
    }
}

/// How far one moment lies from another: `5m earlier`.
fn shift(from: Timestamp, to: Timestamp) -> String {
    if to > from {
        format!("{} later", to.since(from).coarse())
    } else {
        format!("{} earlier", from.since(to).coarse())
    }
}
