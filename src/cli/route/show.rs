//! The answer for people: at most 80 columns wide, but for names that are longer than that.

use std::fmt;

use super::{Answer, Digest, Outcome, Receiver, Step, Window};
use crate::cli::check::indented;
use crate::engine::histogram::Labels;
use crate::engine::route::Hold;
use crate::engine::time::Timestamp;

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", indented("", &format!("An alert with {} at {}", listed(&self.labels), self.at)))?;
        if !self.added.is_empty() {
            writeln!(f, "{}", indented("", &format!("has by its configuration {}", listed(&self.added))))?;
        }
        writeln!(f, "\nRoutes")?;
        self.route.show(f, "  ")?;
        writeln!(f, "\n{}", if self.told { "Receivers" } else { "Receivers: nobody would be told now" })?;
        self.receivers.iter().try_for_each(|receiver| hanging(f, &receiver.in_words()))?;
        if !self.maintenance.is_empty() {
            writeln!(f, "\nMaintenance")?;
            self.maintenance.iter().try_for_each(|window| hanging(f, &window.in_words()))?;
        }
        if !self.digests.is_empty() {
            writeln!(f, "\nDigests")?;
            self.digests.iter().try_for_each(|digest| hanging(f, &digest.in_words()))?;
        }
        let silences = "Silences are the running daemon's and not looked at: 'slowburn status' shows them.";
        writeln!(f, "\n{}", indented("", silences))
    }
}

impl Step {
    fn show(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        let (mark, what) = match (self.outcome, &self.why) {
            (Outcome::Takes, _) => ("=>", format!("takes it, for {}", self.receivers.join(", "))),
            (Outcome::PassesOn, _) => ("=>", "matches".to_owned()),
            (Outcome::NoMatch, Some(why)) => ("--", format!("no, {why}")),
            (Outcome::NoMatch, None) => ("--", "no".to_owned()),
            (Outcome::NotAsked, _) => ("--", "not asked, as the one before took it".to_owned()),
        };
        let name = if self.matchers.is_empty() { "root".to_owned() } else { self.matchers.join(", ") };
        let asks_on = self.goes_on && matches!(self.outcome, Outcome::Takes | Outcome::PassesOn);
        let asks_on = if asks_on { "; the next are asked, too" } else { "" };
        let text = indented(&format!("{indent}   "), &format!("{name}: {what}{asks_on}"));
        writeln!(f, "{indent}{mark}{}", &text[indent.len() + mark.len()..])?;
        self.routes.iter().try_for_each(|route| route.show(f, &format!("{indent}   ")))
    }
}

impl Receiver {
    fn in_words(&self) -> String {
        let change = |what: &str| self.hours_change_at.map(|at| format!("{what} {at}")).unwrap_or_default();
        let now = match self.held {
            None if self.has_hours => format!("told now, in its active hours{}", change(" until")),
            None => "told now".to_owned(),
            Some(Hold::InactiveHours) => format!("not told outside its active hours{}", change(", which begin")),
            Some(Hold::Maintenance) => "not told during maintenance".to_owned(),
            Some(Hold::Silenced) => "silenced".to_owned(),
        };
        let again = match self.repeat_interval {
            Some(every) => format!("again every {every}"),
            None => "never again".to_owned(),
        };
        let fallbacks = match &self.fallbacks[..] {
            [] => String::new(),
            names => format!("; what it refuses goes to {}", names.join(", then ")),
        };
        format!("{}: {now}; {again}{fallbacks}", self.name)
    }
}

impl Window {
    fn in_words(&self) -> String {
        let change = |what: &str| self.changes_at.map_or(String::new(), |at: Timestamp| format!("{what} {at}"));
        let now = match self.open {
            true => format!("open{}", change(" until")),
            false if self.changes_at.is_some() => format!("not now, but{}", change(" from")),
            false => return format!("{}: over", self.name),
        };
        let counts = if self.counts { "requests count meanwhile" } else { "no request counts meanwhile" };
        format!("{}: {now}; {counts}", self.name)
    }
}

impl Digest {
    fn in_words(&self) -> String {
        let next = self.next_at.map_or("never again".to_owned(), |at| format!("next at {at}"));
        let only = if self.only_if_held { ", with this alert only if it was held back" } else { "" };
        format!("{}: to {}, {next}{only}", self.name, self.receivers.join(", "))
    }
}

fn listed(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// A paragraph whose further lines stand a little to the right.
fn hanging(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let text = indented("    ", text);
    writeln!(f, "{}", &text[2..])
}
