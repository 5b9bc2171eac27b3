//! Names: what one may look like, and that no two things share one.

use std::collections::BTreeMap;

use crate::config::decode::{Findings, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};

/// PagerDuty's incident keys hold 255 characters, and a key holds a journey's name and the grouping labels' values.
const MAX_NAME_CHARS: usize = 100;

/// Labels that every alert has; users can neither redefine them nor split by them.
pub(in crate::config) const OWN_LABELS: [&str; 7] = ["stage", "urgency", "journey", "layer", "tier", "owner", "rule"];

/// Names of one kind, each with the place where it was given first.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: BTreeMap<String, (Span, &'static str)>,
}

impl Names {
    /// Whether `name` was new; if not, or if it is no fit name, that is reported.
    pub fn claim(&mut self, name: &Spanned<String>, what: &'static str, findings: &mut Findings) -> bool {
        check(name, what, findings);
        let Some((first, first_what)) = self.places.get(&name.value) else {
            self.places.insert(name.value.clone(), (name.span, what));
            return true;
        };
        let shown = clipped(&name.value);
        let message = if *first_what == what {
            format!("two {what}s are named '{shown}'")
        } else {
            format!("a {first_what} and a {what} are both named '{shown}'")
        };
        findings.add(Diagnostic::error(name.span, message).also(*first, "first here").help("rename one of the two"));
        false
    }
}

fn check(name: &Spanned<String>, what: &str, findings: &mut Findings) {
    let text = &name.value;
    let problem = if text.chars().count() > MAX_NAME_CHARS {
        format!("is longer than {MAX_NAME_CHARS} characters")
    } else if text.chars().any(char::is_control) {
        "holds a line break or another control character".to_owned()
    } else if text.trim() != text || text.is_empty() {
        "begins or ends with white space".to_owned()
    } else {
        return;
    };
    findings.error(name.span, format!("the {what}'s name '{}' {problem}", clipped(text)));
}

/// Reports a name that nothing has, with the nearest that something has.
pub(in crate::config) fn unknown<'a>(
    name: &Spanned<String>,
    what: &str,
    known: impl Iterator<Item = &'a str>,
    findings: &mut Findings,
) {
    const MAX_LISTED: usize = 12;
    let known: Vec<_> = known.collect();
    let diagnostic = Diagnostic::error(name.span, format!("there is no {what} '{}'", clipped(&name.value)));
    let diagnostic = match findings.suggest(&name.value, known.iter().copied()) {
        Some(name) => diagnostic.label(format!("did you mean '{name}'?")),
        None => diagnostic,
    };
    let mut listed = known.iter().take(MAX_LISTED).copied().collect::<Vec<_>>().join(", ");
    if known.len() > MAX_LISTED {
        listed += &format!(" and {} more", known.len() - MAX_LISTED);
    }
    findings.add(match listed.as_str() {
        "" => diagnostic,
        listed => diagnostic.help(format!("known: {listed}")),
    });
}

/// Reports each name that stands in a list a second time.
pub(super) fn report_repeats(list: &[Spanned<String>], findings: &mut Findings) {
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for name in list {
        if let Some(first) = first.get(name.value.as_str()) {
            let message = format!("'{}' stands in this list twice", clipped(&name.value));
            findings.add(Diagnostic::error(name.span, message).also(*first, "first here"));
        } else {
            first.insert(&name.value, name.span);
        }
    }
}

/// Reports a label name that cannot be a user's own.
pub(super) fn check_label(name: &Spanned<String>, findings: &mut Findings) -> bool {
    let text = name.value.as_str();
    let fits = !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let problem = if !fits {
        "a label's name has letters, digits and '_', and no digit first"
    } else if OWN_LABELS.contains(&text) {
        "this label is slowburn's own"
    } else if text == "le" {
        "'le' tells the buckets of a histogram apart"
    } else if text.starts_with("__") {
        "labels that begin with '__' are Prometheus' own"
    } else {
        return true;
    };
    findings.add(Diagnostic::error(name.span, format!("'{}' cannot be used here", clipped(text))).label(problem));
    false
}
