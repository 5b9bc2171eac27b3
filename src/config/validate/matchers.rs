//! Labels and their values, as routes, maintenance windows and digests match on them.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::decode::{Field, Findings};
use crate::config::raw;
use crate::config::types::{Named, OneOrMore};
use crate::engine::route::Matcher;
use crate::engine::rule::{Stage, Urgency};

use super::names::{OWN_LABELS, unknown};

/// The labels that alerts can have, each with its values where they are known beforehand.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// `None` for a label of `by`: its values come from the source.
    pub labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Vocabulary {
    pub fn new(parts: &[&raw::RuleFile]) -> Self {
        let mut vocabulary = Self::default();
        for label in OWN_LABELS {
            vocabulary.labels.insert(label.to_owned(), Some(BTreeSet::new()));
        }
        for value in [Stage::Warning.as_str(), Stage::Critical.as_str()] {
            vocabulary.learn("stage", value);
        }
        for value in [Urgency::Page.as_str(), Urgency::Ticket.as_str()] {
            vocabulary.learn("urgency", value);
        }
        for rule in parts.iter().filter_map(|part| part.rules.value()).flatten() {
            vocabulary.learn_field("rule", &rule.value.name);
        }
        for journey in parts.iter().filter_map(|part| part.journeys.value()).flatten() {
            vocabulary.learn_field("journey", &journey.value.name);
            vocabulary.learn_objective(&journey.value.shared);
            for layer in journey.value.layers.value().into_iter().flatten() {
                vocabulary.learn_field("layer", &layer.value.name);
                vocabulary.learn_objective(&layer.value.shared);
            }
        }
        vocabulary
    }

    fn learn_objective(&mut self, raw: &raw::Objective) {
        self.learn_field("owner", &raw.owner);
        self.learn_field("tier", &raw.tier);
        for (name, value) in raw.labels.value().map_or(&[][..], |labels| &labels.0) {
            self.learn(&name.value, &value.value);
        }
        for name in raw.by.value().into_iter().flatten() {
            self.labels.insert(name.value.clone(), None);
        }
    }

    fn learn_field(&mut self, label: &str, field: &Field<String>) {
        if let Some(value) = field.value() {
            self.learn(label, value);
        }
    }

    fn learn(&mut self, label: &str, value: &str) {
        let values = self.labels.entry(label.to_owned()).or_insert_with(|| Some(BTreeSet::new()));
        if let Some(values) = values {
            values.insert(value.to_owned());
        }
    }
}

/// The matchers of a `match`, and whether all of them were sound.
pub(super) fn matchers(
    field: &Field<Named<OneOrMore<String>>>,
    vocabulary: &Vocabulary,
    findings: &mut Findings,
) -> (Vec<Matcher>, bool) {
    let mut sound = !matches!(field, Field::Bad);
    let mut matchers = Vec::new();
    for (label, values) in field.value().map_or(&[][..], |named| &named.0) {
        let Some(known) = vocabulary.labels.get(&label.value) else {
            unknown(label, "label", vocabulary.labels.keys().map(String::as_str), findings);
            sound = false;
            continue;
        };
        for value in &values.value.0 {
            if let Some(known) = known
                && !known.contains(&value.value)
            {
                unknown(value, &label.value, known.iter().map(String::as_str), findings);
                sound = false;
            }
        }
        let any_of = values.value.0.iter().map(|value| value.value.clone()).collect();
        matchers.push(Matcher { label: label.value.clone(), any_of, negate: false });
    }
    (matchers, sound)
}
