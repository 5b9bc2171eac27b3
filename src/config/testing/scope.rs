//! Names in expectations: each must be one of the configuration's, or the test would expect what can never be.

use std::collections::BTreeSet;

use crate::config::decode::{Field, Spanned};
use crate::config::types::{Named, OneOrMore};
use crate::config::validate::{OWN_LABELS, unknown};
use crate::engine::histogram::Labels;
use crate::engine::route::Matcher;
use crate::engine::sli::SloSpec;

use super::raw::{AlertWords, LayerName, NotificationWords};
use super::{AlertPattern, NotificationPattern, Reading};

impl Reading<'_> {
    /// `words` as far as they say something, else `only`.
    pub(super) fn alert(&mut self, words: &AlertWords, only: &AlertPattern) -> AlertPattern {
        self.journey(&words.journey);
        self.layer(&words.journey, &words.layer);
        self.rule(&words.rule);
        AlertPattern {
            journey: words.journey.value().cloned().or_else(|| only.journey.clone()),
            layer: words.layer.value().map(|layer| layer.0.clone()).or_else(|| only.layer.clone()),
            labels: only.labels.clone().into_iter().chain(self.by(&words.labels)).collect(),
            rule: words.rule.value().cloned().or_else(|| only.rule.clone()),
            stage: words.stage.copied().or(only.stage),
            urgency: words.urgency.copied().or(only.urgency),
        }
    }

    pub(super) fn notification(
        &mut self,
        words: &NotificationWords,
        only: &NotificationPattern,
    ) -> NotificationPattern {
        self.journey(&words.journey);
        self.layer(&words.journey, &words.layer);
        self.rule(&words.rule);
        let config = self.config;
        self.one_of(&words.receiver, "receiver", config.receivers.iter().map(|receiver| receiver.name.as_str()));
        NotificationPattern {
            between: None,
            receiver: words.receiver.value().cloned().or_else(|| only.receiver.clone()),
            reason: words.reason.copied().or(only.reason),
            stage: words.stage.copied().or(only.stage),
            urgency: words.urgency.copied().or(only.urgency),
            journey: words.journey.value().cloned().or_else(|| only.journey.clone()),
            layer: words.layer.value().map(|layer| layer.0.clone()).or_else(|| only.layer.clone()),
            rule: words.rule.value().cloned().or_else(|| only.rule.clone()),
            text: words.text.value().cloned().or_else(|| only.text.clone()),
        }
    }

    /// The index of an SLO, if journey and layer are known.
    pub(super) fn slo(&mut self, journey: &Field<String>, layer: &Field<LayerName>) -> Option<usize> {
        let known = self.journey(journey) & self.layer(journey, layer);
        let (journey, layer_name) = (journey.get()?, layer.value().and_then(|layer| layer.0.as_deref()));
        let is_it = |slo: &SloSpec| slo.journey == journey.value && slo.layer.as_deref() == layer_name;
        let found = self.config.spec.slos.iter().position(is_it);
        if known && found.is_none() {
            let message = match layer_name {
                Some(layer) => format!("the journey '{}' has no layer '{layer}'", journey.value),
                None => format!("the journey '{}' has no histogram of its own: name a layer", journey.value),
            };
            self.findings.error(layer.get().map_or(journey.span, |layer| layer.span), message);
        }
        found
    }

    /// Values of labels that `by` splits by.
    pub(super) fn by(&mut self, field: &Field<Named<String>>) -> Labels {
        let config = self.config;
        let known: BTreeSet<&str> = config.spec.slos.iter().flat_map(|slo| &slo.by).map(String::as_str).collect();
        let mut labels = Labels::new();
        for (name, value) in field.value().map_or(&[][..], |named| &named.0) {
            if !known.contains(name.value.as_str()) {
                unknown(name, "label of 'by'", known.iter().copied(), self.findings);
            }
            labels.insert(name.value.clone(), value.value.clone());
        }
        labels
    }

    pub(super) fn matchers(&mut self, field: &Field<Named<OneOrMore<String>>>) -> Vec<Matcher> {
        let config = self.config;
        let slos = &config.spec.slos;
        let theirs = slos.iter().flat_map(|slo| slo.labels.keys().chain(&slo.by)).map(String::as_str);
        let known: BTreeSet<&str> = OWN_LABELS.into_iter().chain(theirs).collect();
        let mut matchers = Vec::new();
        for (label, values) in field.value().map_or(&[][..], |named| &named.0) {
            if !known.contains(label.value.as_str()) {
                unknown(label, "label", known.iter().copied(), self.findings);
            }
            let any_of: Vec<String> = values.value.0.iter().map(|value| value.value.clone()).collect();
            for value in &values.value.0 {
                match label.value.as_str() {
                    "journey" => self.known(value, "journey", slos.iter().map(|slo| slo.journey.as_str())),
                    "layer" => self.known(value, "layer", slos.iter().filter_map(|slo| slo.layer.as_deref())),
                    "rule" => self.known(value, "rule", rules(slos)),
                    _ => true,
                };
            }
            matchers.push(Matcher { label: label.value.clone(), any_of, negate: false });
        }
        matchers
    }

    fn journey(&mut self, field: &Field<String>) -> bool {
        let config = self.config;
        self.one_of(field, "journey", config.spec.slos.iter().map(|slo| slo.journey.as_str()))
    }

    fn layer(&mut self, journey: &Field<String>, field: &Field<LayerName>) -> bool {
        let Some(Spanned { value: LayerName(Some(layer)), span }) = field.get() else { return true };
        let (config, journey) = (self.config, journey.value());
        let slos = config.spec.slos.iter().filter(|slo| journey.is_none_or(|journey| slo.journey == *journey));
        let layer = Spanned { value: layer.clone(), span: *span };
        self.known(&layer, "layer", slos.filter_map(|slo| slo.layer.as_deref()))
    }

    pub(super) fn rule(&mut self, field: &Field<String>) -> bool {
        let config = self.config;
        self.one_of(field, "rule", rules(&config.spec.slos))
    }

    fn one_of<'a>(&mut self, field: &Field<String>, what: &str, known: impl Iterator<Item = &'a str>) -> bool {
        field.get().is_none_or(|name| self.known(name, what, known))
    }

    /// Whether a name is known; if not, that is reported.
    pub(super) fn known<'a>(
        &mut self,
        name: &Spanned<String>,
        what: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> bool {
        let known: BTreeSet<&str> = known.collect();
        let found = known.contains(name.value.as_str());
        // A journey that is misspelt has no layers that could be meant.
        let is_follow_up = what == "layer" && known.is_empty();
        if !found && !is_follow_up {
            unknown(name, what, known.into_iter(), self.findings);
        }
        found
    }
}

fn rules(slos: &[SloSpec]) -> impl Iterator<Item = &str> {
    slos.iter().flat_map(|slo| &slo.rules).map(|rule| rule.name.as_str())
}
