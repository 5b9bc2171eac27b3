//! The labels of an alert as a user writes them, held against those that the configuration knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::nearest;
use crate::engine::Spec;
use crate::engine::histogram::Labels;

/// Labels that every alert has.
const OWN: [&str; 7] = ["stage", "urgency", "journey", "layer", "tier", "owner", "rule"];

/// Reads `name=value,name=value`. Returns them, and what the configuration knows besides: the SLO's owner, tier and own
/// labels where journey and layer are given, and the urgency of the rule.
pub fn read(texts: &[String], spec: &Spec) -> Result<(Labels, Labels), String> {
    let known = vocabulary(spec);
    let mut labels = Labels::new();
    for pair in texts.iter().flat_map(|text| text.split(',')) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(format!("'{pair}' is no label: write NAME=VALUE, such as stage=critical"));
        };
        let (name, value) = (name.trim(), value.trim());
        let Some(values) = known.get(name) else {
            return Err(unknown("label", name, known.keys().copied()));
        };
        if let Some(values) = values
            && !values.contains(value)
        {
            return Err(unknown(name, value, values.iter().copied()));
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("'{name}' is given twice"));
        }
    }
    let added = added(&labels, spec);
    Ok((labels, added))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    const MAX_LISTED: usize = 12;
    let guess = nearest(name, known.clone()).map(|guess| format!("; did you mean '{guess}'?")).unwrap_or_default();
    let listed: Vec<&str> = known.clone().take(MAX_LISTED).collect();
    let more = known.count().saturating_sub(MAX_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") + &more };
    format!("there is no {what} '{name}'{guess} (known: {listed})")
}

/// Labels with their values; `None` for those of `by`, whose values the source has.
fn vocabulary(spec: &Spec) -> BTreeMap<&str, Option<BTreeSet<&str>>> {
    let mut known: BTreeMap<&str, Option<BTreeSet<&str>>> =
        OWN.into_iter().map(|name| (name, Some(BTreeSet::new()))).collect();
    let mut learn = |name, value| {
        if let Some(values) = known.entry(name).or_insert_with(|| Some(BTreeSet::new())) {
            values.insert(value);
        }
    };
    ["warning", "critical"].into_iter().for_each(|stage| learn("stage", stage));
    ["page", "ticket"].into_iter().for_each(|urgency| learn("urgency", urgency));
    for slo in &spec.slos {
        for name in ["journey", "layer", "tier", "owner"] {
            slo.routing_label(name).into_iter().for_each(|value| learn(name, value));
        }
        slo.rules.iter().for_each(|rule| learn("rule", &rule.name));
        slo.labels.iter().for_each(|(name, value)| learn(name, value));
    }
    for name in spec.slos.iter().flat_map(|slo| &slo.by) {
        known.insert(name, None);
    }
    known
}

fn added(labels: &Labels, spec: &Spec) -> Labels {
    let mut added = Labels::new();
    let is_it = |name: &str, value: Option<&str>| labels.get(name).map(String::as_str) == value;
    let mut slos = spec.slos.iter();
    if let Some(slo) = slos.find(|slo| is_it("journey", Some(&slo.journey)) && is_it("layer", slo.layer.as_deref())) {
        for name in ["tier", "owner"].into_iter().chain(slo.labels.keys().map(String::as_str)) {
            let value = slo.routing_label(name).map(str::to_owned);
            added.extend(value.map(|value| (name.to_owned(), value)));
        }
        let rule = slo.rules.iter().find(|rule| is_it("rule", Some(&rule.name)));
        added.extend(rule.map(|rule| ("urgency".to_owned(), rule.urgency.as_str().to_owned())));
    }
    added.retain(|name, _| !labels.contains_key(name));
    added
}
