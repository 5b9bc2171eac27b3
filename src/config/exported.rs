//! The names and labels that alerts have where Prometheus evaluates the exported rules.

use std::collections::BTreeMap;

use crate::engine::rule::{Rule, Stage};
use crate::engine::sli::SloSpec;

/// How the names of all exported alerts begin.
pub const PREFIX: &str = "Slowburn";

/// `fast-burn` becomes `SlowburnFastBurn`.
pub fn alert_name(rule: &str) -> String {
    let mut name = PREFIX.to_owned();
    for word in rule.split(|c: char| !c.is_alphanumeric()) {
        let mut chars = word.chars();
        name.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(chars.as_str());
    }
    name
}

/// The labels of a rule's alert at a stage, without the values of `by` labels, which come with the samples.
pub fn labels<'a>(slo: &'a SloSpec, rule: &'a Rule, stage: Stage) -> BTreeMap<&'a str, &'a str> {
    let mut labels: BTreeMap<&str, &str> =
        slo.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let optional = [("layer", &slo.layer), ("owner", &slo.owner), ("tier", &slo.tier)];
    labels.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
    labels.insert("journey", &slo.journey);
    labels.insert("rule", &rule.name);
    labels.insert("severity", stage.as_str());
    labels.insert("urgency", rule.urgency.as_str());
    labels
}
