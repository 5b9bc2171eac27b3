//! What tuning found, for people: the frontier on both parts of history, what to change, what was tried and what to
//! beware of. At most 80 columns wide, but for names that are longer than that.

use std::fmt;

use crate::config::units;
use crate::engine::time::Duration;
use crate::replay::score::text::some;
use crate::replay::text::{grouped, time, wrapped};

use super::part::Part;
use super::space::{Knobs, Setting};
use super::{Point, Tuning};

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        self.frontier(f)?;
        self.settings(f)?;
        self.recommendation(f)?;
        self.tried(f)?;
        if !self.cautions.is_empty() {
            writeln!(f, "\nBeware")?;
            self.cautions.iter().try_for_each(|caution| wrapped(f, "  - ", caution))?;
        }
        Ok(())
    }
}

impl Tuning {
    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.rules.iter().map(|knobs| knobs.rule.as_str()).collect();
        let split = &self.split;
        let length = split.to.since(split.from).coarse();
        wrapped(f, "", &format!("Tuned {} over {length} of history; nothing was sent.", names.join(", ")))?;
        let parts = [
            ("searched on", split.from, split.cut, Some(self.present.searched)),
            ("held back", split.cut, split.to, self.present.held_back),
        ];
        for (what, from, to, part) in parts {
            let incidents = part.map_or(String::new(), |part| match part.incidents {
                1 => ", 1 incident".into(),
                n => format!(", {n} incidents"),
            });
            writeln!(f, "  {what:<12} {} to {}{incidents}", time(from), time(to))?;
        }
        let limit = units::short(self.max_pages_a_week);
        let whose = if self.limit_given { "" } else { " (--max-pages-per-week sets another limit)" };
        wrapped(f, "  ", &format!("At most {limit} pages a week are allowed{whose}."))
    }

    fn frontier(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.frontier.len();
        let of =
            if shown < self.frontier_size { format!(" ({shown} of {})", self.frontier_size) } else { String::new() };
        writeln!(f, "\nWhat nothing else beats in everything{of}")?;
        writeln!(f, "  {:>6} {:^30}   {:>20}", "", "searched on", "held back")?;
        let columns = format!("{:>7} {:>7} {:>8} {:>5}", "found", "delay", "pages/wk", "false");
        writeln!(f, "  {:>6} {columns}   {columns}", "trial")?;
        let is_on_it = self.frontier.iter().any(|point| point.trial == self.present.trial);
        if !is_on_it {
            self.row(f, &self.present)?;
        }
        self.frontier.iter().try_for_each(|point| self.row(f, point))?;
        writeln!(f, "  'now' is the present rules; 'found' is of known incidents; 'delay' is the")?;
        writeln!(f, "  median to the first page; 'false' is pages that no incident explains.")?;
        if self.recommended.is_some() { writeln!(f, "  > is recommended.") } else { Ok(()) }
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, point: &Point) -> fmt::Result {
        let mark = if Some(point.trial) == self.recommended { '>' } else { ' ' };
        let searched = figures(Some(&point.searched));
        writeln!(f, "{mark} {:>6} {searched}   {}", self.name(point), figures(point.held_back.as_ref()).trim_end())
    }

    fn name(&self, point: &Point) -> String {
        if point.trial == 0 { "now".to_owned() } else { point.trial.to_string() }
    }

    /// What each of them would have, as far as it differs from the present rules.
    fn settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nTheir settings: burn rate, windows (long/short), consecutive evaluations")?;
        let show = |settings: &mut dyn Iterator<Item = (&String, &Setting)>| -> String {
            let settings: Vec<String> = settings.map(|(rule, setting)| format!("{rule} {}", brief(setting))).collect();
            settings.join(", ")
        };
        wrapped(f, &format!("  {:>6}  ", "now"), &show(&mut self.present.settings.iter()))?;
        for point in self.frontier.iter().filter(|point| point.trial != 0) {
            let present = &self.present.settings;
            let mut changed = point.settings.iter().filter(|(rule, setting)| present.get(*rule) != Some(setting));
            let mark = if Some(point.trial) == self.recommended { '>' } else { ' ' };
            wrapped(f, &format!("{mark} {:>6}  ", point.trial), &show(&mut changed))?;
        }
        Ok(())
    }

    fn recommendation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(point) = self.recommended() else { return writeln!(f, "\nNothing is recommended.") };
        if point.trial == 0 {
            return writeln!(f, "\nRecommended: the rules as they are");
        }
        writeln!(f, "\nRecommended: trial {}", point.trial)?;
        let width = self.rules.iter().map(|knobs| knobs.rule.chars().count()).max().unwrap_or(0).clamp(8, 24);
        for knobs in &self.rules {
            let Some(setting) = point.settings.get(&knobs.rule) else { continue };
            let mut name = knobs.rule.as_str();
            let changes = changes(&knobs.present, setting);
            if changes.is_empty() {
                writeln!(f, "  {name:<width$}  as it is")?;
            }
            for change in changes {
                writeln!(f, "  {name:<width$}  {change}")?;
                name = "";
            }
        }
        Ok(())
    }

    fn tried(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried = grouped(self.tried.len() as u64);
        let of = match self.combinations {
            Some(all) if self.exhausted => format!("all {} combinations", grouped(all)),
            Some(all) => format!("{tried} of {} combinations (seed {})", grouped(all), self.seed),
            None => format!("{tried} combinations of very many (seed {})", self.seed),
        };
        let stopped = if self.stopped { ", then stopped" } else { "" };
        writeln!(f, "\nTried: {of}{stopped}, of")?;
        for Knobs { rule, burn_rate, long, short, consecutive, .. } in &self.rules {
            writeln!(f, "  {rule}")?;
            wrapped(f, "    burn_rate    ", &list(burn_rate))?;
            wrapped(f, "    long         ", &list(long))?;
            wrapped(f, "    short        ", &list(short))?;
            wrapped(f, "    consecutive  ", &list(consecutive))?;
        }
        Ok(())
    }
}

fn figures(part: Option<&Part>) -> String {
    let Some(part) = part else { return format!("{:>7} {:>7} {:>8} {:>5}", "-", "-", "-", "-") };
    let found = format!("{}/{}", part.detected, part.incidents);
    let delay = part.delay.map_or("-".to_owned(), |delay| seconds(delay.median));
    format!("{found:>7} {delay:>7} {:>8.1} {:>5}", part.pages_a_week, part.unexplained_pages)
}

/// What is said of a part in a sentence.
pub fn sentence(part: &Part) -> String {
    let delay = part.delay.map_or(String::new(), |delay| format!(", median delay {}", seconds(delay.median)));
    let (found, of, pages) = (part.detected, part.incidents, part.pages_a_week);
    let unexplained = some(part.unexplained_pages, "unexplained page");
    format!("{found} of {of} incidents found{delay}, {pages:.1} pages a week; {unexplained} in all")
}

/// Whole seconds, at most two units.
fn seconds(delay: Duration) -> String {
    Duration::from_secs(delay.secs().round() as i64).coarse().to_string()
}

fn brief(Setting { burn_rate, long, short, consecutive }: &Setting) -> String {
    format!("{burn_rate} {long}/{short} {consecutive}")
}

/// `burn_rate 14.4 -> 10`, for what differs.
fn changes(before: &Setting, after: &Setting) -> Vec<String> {
    let rows = [
        ("burn_rate", before.burn_rate.to_string(), after.burn_rate.to_string()),
        ("long", before.long.to_string(), after.long.to_string()),
        ("short", before.short.to_string(), after.short.to_string()),
        ("consecutive", before.consecutive.to_string(), after.consecutive.to_string()),
    ];
    let changed = rows.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(what, before, after)| format!("{what} {before} -> {after}")).collect()
}

fn list<T: fmt::Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}
