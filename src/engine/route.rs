//! The routing tree: which receivers hear of an alert with these labels.

use super::time::Duration;

/// A node of the routing tree. The first child that matches wins, unless it says `goes_on`; without a matching child
/// the node itself applies.
#[derive(Debug, Clone, Default)]
pub struct Route {
    pub matchers: Vec<Matcher>,
    /// Indices into [`super::Spec::receivers`].
    pub receivers: Vec<usize>,
    /// How often an incident that stays as it is is told again; `None` for never.
    pub repeat_interval: Option<Duration>,
    /// After this route matched, later siblings are asked too (`continue: true`).
    pub goes_on: bool,
    pub routes: Vec<Route>,
}

/// `label` must have one of these values. Labels are `stage`, `urgency`, `journey`, `layer`, `tier`, `owner`, `rule`,
/// the user's own and those of `by`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    pub label: String,
    pub any_of: Vec<String>,
}

/// A receiver that an alert is routed to, and how often it wants to hear of it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Index into [`super::Spec::receivers`].
    pub receiver: usize,
    pub repeat_interval: Option<Duration>,
}

impl Route {
    /// Where an alert goes whose label of a given name is `label(name)`, in the order of the tree; each receiver
    /// once, as the first route that names it has it.
    pub fn destinations<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> Vec<Destination> {
        let mut found = Vec::new();
        if self.matches(label) {
            self.collect(label, &mut found);
        }
        found
    }

    fn matches<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = label(&matcher.label).unwrap_or_default();
            matcher.any_of.iter().any(|wanted| wanted == value)
        })
    }

    fn collect<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>, found: &mut Vec<Destination>) {
        let mut matched = false;
        for child in &self.routes {
            if child.matches(label) {
                matched = true;
                child.collect(label, found);
                if !child.goes_on {
                    break;
                }
            }
        }
        if matched {
            return;
        }
        for receiver in &self.receivers {
            if !found.iter().any(|known| known.receiver == *receiver) {
                found.push(Destination { receiver: *receiver, repeat_interval: self.repeat_interval });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(label: &str, any_of: &[&str], receivers: &[usize]) -> Route {
        let any_of = any_of.iter().map(|value| value.to_string()).collect();
        let matchers = if label.is_empty() { Vec::new() } else { vec![Matcher { label: label.into(), any_of }] };
        Route { matchers, receivers: receivers.to_vec(), ..Route::default() }
    }

    #[test]
    fn the_first_child_that_matches_wins() {
        let going_on = Route { goes_on: true, ..route("layer", &["database"], &[7]) };
        let nested = Route { routes: vec![route("stage", &["critical"], &[3])], ..route("urgency", &["page"], &[2]) };
        let root = Route {
            routes: vec![going_on, nested, route("urgency", &["page", "ticket"], &[4])],
            ..route("", &[], &[1])
        };
        let check = |labels: &[(&str, &str)], expected: &[usize]| {
            let lookup = |name: &str| labels.iter().find(|(label, _)| *label == name).map(|(_, value)| *value);
            let found: Vec<usize> = root.destinations(&lookup).iter().map(|to| to.receiver).collect();
            assert_eq!(found, expected, "{labels:?}");
        };
        check(&[("urgency", "none")], &[1]);
        check(&[("urgency", "page"), ("stage", "warning")], &[2]);
        check(&[("urgency", "page"), ("stage", "critical")], &[3]);
        check(&[("urgency", "ticket"), ("stage", "critical")], &[4]);
        check(&[("layer", "database"), ("urgency", "ticket")], &[7, 4]);
        check(&[("layer", "database")], &[7]);
    }
}
