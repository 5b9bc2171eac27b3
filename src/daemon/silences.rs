//! Making and ending silences: what was asked for becomes one the engine takes, or a word on why not.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::config::nearest;
use crate::engine::Input;
use crate::engine::route::Matcher;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::silence::{Refused, Silence};
use crate::engine::sli::SloSpec;
use crate::engine::stable_hash;
use crate::engine::time::{Duration, Timestamp};

use super::live::Live;

/// Whoever wants nothing of something for longer wants another configuration.
pub const LONGEST_AHEAD: Duration = Duration::from_days(90);

/// A silence as somebody asked for it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The silence to replace.
    pub id: Option<String>,
    pub matchers: Vec<Matcher>,
    /// Now, if not said or past.
    pub starts_at: Option<Timestamp>,
    pub end: End,
    pub author: String,
    pub reason: String,
}

#[derive(Debug, Clone, Copy)]
pub enum End {
    At(Timestamp),
    /// After the start.
    After(Duration),
}

/// A silence that was made, and what its author should know of it.
#[derive(Debug, Clone)]
pub struct Made {
    pub silence: Silence,
    /// Labels and values that no alert can have.
    pub warnings: Vec<String>,
}

/// Why a silence was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotMade {
    /// There is no silence of that id to replace.
    Unknown,
    Refused(String),
}

impl From<Refused> for NotMade {
    fn from(refused: Refused) -> Self {
        NotMade::Refused(refused.to_string())
    }
}

impl Live {
    /// Makes a silence, or replaces one.
    pub(super) fn silence(&mut self, wanted: Wanted) -> Result<Made, NotMade> {
        let now = self.steady.now();
        let view = self.engine.view();
        let replaced = match &wanted.id {
            None => None,
            Some(id) => Some(view.silences.iter().find(|known| known.silence.id == *id).ok_or(NotMade::Unknown)?),
        };
        let silence = built(wanted, replaced.map(|known| &known.silence), now)?;
        self.engine.check_silence(now, &silence)?;
        self.step(Input::Silence(&silence));
        tracing::info!(
            id = silence.id,
            matchers = in_words(&silence.matchers),
            starts_at = %silence.starts_at,
            ends_at = %silence.ends_at,
            author = silence.author,
            reason = silence.reason,
            "silence set"
        );
        let seen =
            view.slos.iter().flat_map(|slo| slo.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let warnings = doubts(&self.world.config.spec.slos, seen, &silence.matchers);
        Ok(Made { silence, warnings })
    }

    /// Ends a silence now; one that had not begun is gone. Returns it as it was, `None` if there is none.
    pub(super) fn unsilence(&mut self, id: &str) -> Option<Silence> {
        let found = self.engine.view().silences.into_iter().find(|known| known.silence.id == id)?.silence;
        if !found.is_over(self.steady.now()) {
            self.step(Input::Unsilence { id });
            tracing::info!(id, author = found.author, reason = found.reason, "silence ended by hand");
        }
        Some(found)
    }
}

fn built(wanted: Wanted, replaced: Option<&Silence>, now: Timestamp) -> Result<Silence, NotMade> {
    if replaced.is_some_and(|known| known.is_over(now)) {
        return Err(NotMade::Refused("that silence is over: leave its id out to make a new one".into()));
    }
    let created_at = replaced.map_or(now, |known| known.created_at);
    // Whole seconds read better.
    let now = now.align_down(Duration::from_secs(1));
    // What has begun does not begin again.
    let begun = replaced.map(|known| known.starts_at).filter(|at| *at <= now);
    let starts_at = begun.unwrap_or_else(|| wanted.starts_at.map_or(now, |at| at.max(now)));
    let ends_at = match wanted.end {
        End::At(at) => at,
        End::After(length) => starts_at.max(now) + length,
    };
    let [starts_at, ends_at] = [starts_at, ends_at].map(|at| at.align_down(Duration::from_secs(1)));
    if ends_at > now + LONGEST_AHEAD {
        let why =
            format!("it would end more than {LONGEST_AHEAD} from now: make it shorter, and renew it when it ends");
        return Err(NotMade::Refused(why));
    }
    let mut silence = Silence {
        id: String::new(),
        matchers: wanted.matchers,
        starts_at,
        ends_at,
        author: wanted.author,
        reason: wanted.reason,
        created_at,
    };
    silence.id = replaced.map_or_else(|| id(&silence), |known| known.id.clone());
    Ok(silence)
}

/// In the shape of a UUID. The same silence asked for twice within a millisecond is one.
fn id(silence: &Silence) -> String {
    let Silence { starts_at, ends_at, author, reason, created_at, .. } = silence;
    let [starts_at, ends_at, created_at] = [starts_at, ends_at, created_at].map(|at| at.unix_ms().to_string());
    let matchers = in_words(&silence.matchers);
    let hash = stable_hash(&[&matchers, author, reason, &starts_at, &ends_at, &created_at]);
    let hex = format!("{hash:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `layer=database stage!=critical`; several values are parted by bars.
pub fn in_words(matchers: &[Matcher]) -> String {
    let mut words = String::new();
    for matcher in matchers {
        let operator = if matcher.negate { "!=" } else { "=" };
        let space = if words.is_empty() { "" } else { " " };
        let _ = write!(words, "{space}{}{operator}{}", matcher.label, matcher.any_of.join("|"));
    }
    words
}

/// What of these conditions no alert can have, with the nearest that one can. `seen` are values of `by` labels.
fn doubts<'a>(
    slos: &'a [SloSpec],
    seen: impl Iterator<Item = (&'a str, &'a str)>,
    matchers: &[Matcher],
) -> Vec<String> {
    let own = ["stage", "urgency", "journey", "layer", "tier", "owner", "rule"];
    let by: BTreeSet<&str> = slos.iter().flat_map(|slo| &slo.by).map(String::as_str).collect();
    let of_users = slos.iter().flat_map(|slo| slo.labels.keys()).map(String::as_str);
    let names: BTreeSet<&str> = own.into_iter().chain(of_users).chain(by.iter().copied()).collect();
    let seen: Vec<(&str, &str)> = seen.collect();
    let mut doubts = Vec::new();
    for matcher in matchers {
        let label = matcher.label.as_str();
        if !names.contains(label) {
            let meant = did_you_mean(label, names.iter().copied());
            doubts.push(format!("no alert has a label '{label}'{meant}"));
            continue;
        }
        let mut values: BTreeSet<&str> = values(slos, label).collect();
        values.extend(seen.iter().filter(|(name, _)| *name == label).map(|(_, value)| *value));
        for value in matcher.any_of.iter().filter(|value| !value.is_empty() && !values.contains(value.as_str())) {
            let meant = did_you_mean(value, values.iter().copied());
            let yet = if by.contains(label) { " yet" } else { "" };
            doubts.push(format!("no alert has {label}={value}{yet}{meant}"));
        }
    }
    doubts
}

/// The values a label can have, as far as the configuration knows them.
fn values<'a>(slos: &'a [SloSpec], label: &'a str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    match label {
        "stage" => Box::new([Stage::Warning, Stage::Critical].map(Stage::as_str).into_iter()),
        "urgency" => Box::new([Urgency::Page, Urgency::Ticket].map(Urgency::as_str).into_iter()),
        "rule" => Box::new(slos.iter().flat_map(|slo| &slo.rules).map(|rule| rule.name.as_str())),
        label => Box::new(slos.iter().filter_map(move |slo| slo.routing_label(label))),
    }
}

fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_unix_s(1_772_366_400)
    }

    fn wanted() -> Wanted {
        let matcher = Matcher { label: "layer".into(), any_of: vec!["database".into()], negate: false };
        let end = End::After(Duration::from_hours(2));
        Wanted {
            id: None,
            matchers: vec![matcher],
            starts_at: None,
            end,
            author: "ada".into(),
            reason: "vacuum".into(),
        }
    }

    #[test]
    fn when_a_silence_begins_and_ends() {
        let hours = |n| now() + Duration::from_hours(n);
        let check = |wanted: Wanted, replaced: Option<&Silence>, expected: Result<(Timestamp, Timestamp), &str>| {
            let built = built(wanted, replaced, now());
            let times = built.map(|silence| (silence.starts_at, silence.ends_at));
            assert_eq!(times, expected.map_err(|why| NotMade::Refused(why.into())));
        };
        check(wanted(), None, Ok((now(), hours(2))));
        let later = Wanted { starts_at: Some(hours(3)), ..wanted() };
        check(later.clone(), None, Ok((hours(3), hours(5))));
        let past = Wanted { starts_at: Some(now() - Duration::from_hours(3)), ..wanted() };
        check(past, None, Ok((now(), hours(2))));
        check(Wanted { end: End::At(hours(1)), ..wanted() }, None, Ok((now(), hours(1))));
        let why = "it would end more than 90d from now: make it shorter, and renew it when it ends";
        check(Wanted { end: End::At(hours(24 * 91)), ..wanted() }, None, Err(why));

        // One that is replaced keeps its beginning, its age and its name, and lasts from now on.
        let old = Silence { starts_at: now() - Duration::from_hours(1), ..built(wanted(), None, now()).unwrap() };
        check(wanted(), Some(&old), Ok((old.starts_at, hours(2))));
        check(later, Some(&old), Ok((old.starts_at, hours(2))));
        assert_eq!(built(wanted(), Some(&old), hours(1)).unwrap().id, old.id);
        let over = Silence { ends_at: now(), ..old };
        check(wanted(), Some(&over), Err("that silence is over: leave its id out to make a new one"));
    }

    #[test]
    fn an_id_has_the_shape_of_a_uuid() {
        let silence = built(wanted(), None, now()).unwrap();
        let lengths: Vec<usize> = silence.id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{}", silence.id);
        let other = built(Wanted { reason: "another".into(), ..wanted() }, None, now()).unwrap();
        assert_ne!(silence.id, other.id);
        assert_ne!(silence.id, built(wanted(), None, now() + Duration::from_ms(1)).unwrap().id);
    }
}
