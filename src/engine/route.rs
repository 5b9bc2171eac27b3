//! The routing tree: which receivers hear of an alert with these labels.

use serde::{Deserialize, Serialize};

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
    /// Index into [`super::Spec::hours`]: outside of them what comes here is held back.
    pub active: Option<usize>,
    pub routes: Vec<Route>,
}

/// `label` must have one of these values, or, negated, none of them; a label that is not there is empty. Labels are
/// `stage`, `urgency`, `journey`, `layer`, `tier`, `owner`, `rule`, the user's own and those of `by`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matcher {
    pub label: String,
    pub any_of: Vec<String>,
    pub negate: bool,
}

/// Why nobody is told of an alert that stands; the most deliberate first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    Silenced,
    Maintenance,
    /// Outside the active hours of its route.
    InactiveHours,
}

/// A receiver that an alert is routed to, and how often it wants to hear of it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Index into [`super::Spec::receivers`].
    pub receiver: usize,
    pub repeat_interval: Option<Duration>,
    /// Why it is not told at present.
    pub held: Option<Hold>,
}

impl Matcher {
    /// Whether an alert matches whose label of a given name is `label(name)`.
    pub fn matches<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        let value = label(&self.label).unwrap_or_default();
        self.any_of.iter().any(|wanted| wanted == value) != self.negate
    }
}

impl Hold {
    pub fn as_str(self) -> &'static str {
        match self {
            Hold::Silenced => "silenced",
            Hold::Maintenance => "maintenance",
            Hold::InactiveHours => "inactive_hours",
        }
    }
}

impl Route {
    /// Where an alert goes whose label of a given name is `label(name)`, in the order of the tree; each receiver
    /// once, as the first route that names it has it, or the first one in its active hours.
    pub fn destinations<'a>(
        &self,
        label: &dyn Fn(&str) -> Option<&'a str>,
        is_open: &dyn Fn(usize) -> bool,
    ) -> Vec<Destination> {
        let mut found: Vec<Destination> = Vec::new();
        for route in self.ends(label) {
            let held = route.active.filter(|hours| !is_open(*hours)).map(|_| Hold::InactiveHours);
            for receiver in &route.receivers {
                let here = Destination { receiver: *receiver, repeat_interval: route.repeat_interval, held };
                match found.iter_mut().find(|known| known.receiver == *receiver) {
                    Some(known) if known.held.is_some() && held.is_none() => *known = here,
                    Some(_) => {}
                    None => found.push(here),
                }
            }
        }
        found
    }

    /// The routes whose receivers hear of such an alert, in the order of the tree.
    pub fn ends<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> Vec<&Route> {
        let mut found = Vec::new();
        if self.matches(label) {
            self.collect(label, &mut found);
        }
        found
    }

    pub fn matches<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(label))
    }

    fn collect<'a, 'r>(&'r self, label: &dyn Fn(&str) -> Option<&'a str>, found: &mut Vec<&'r Route>) {
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
        if !matched {
            found.push(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(label: &str, any_of: &[&str], receivers: &[usize]) -> Route {
        let any_of = any_of.iter().map(|value| value.to_string()).collect();
        let matcher = Matcher { label: label.into(), any_of, negate: false };
        let matchers = if label.is_empty() { Vec::new() } else { vec![matcher] };
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
            let found: Vec<usize> = root.destinations(&lookup, &|_| true).iter().map(|to| to.receiver).collect();
            assert_eq!(found, expected, "{labels:?}");
        };
        check(&[("urgency", "none")], &[1]);
        check(&[("urgency", "page"), ("stage", "warning")], &[2]);
        check(&[("urgency", "page"), ("stage", "critical")], &[3]);
        check(&[("urgency", "ticket"), ("stage", "critical")], &[4]);
        check(&[("layer", "database"), ("urgency", "ticket")], &[7, 4]);
        check(&[("layer", "database")], &[7]);
    }

    #[test]
    fn a_receiver_hears_by_whichever_route_is_in_its_hours() {
        let hours = |active, receivers: &[usize]| Route { active, goes_on: true, ..route("", &[], receivers) };
        let root = Route {
            routes: vec![hours(Some(0), &[1, 2]), hours(None, &[2]), hours(Some(1), &[3])],
            ..route("", &[], &[9])
        };
        let check = |open: &[usize], expected: &[(usize, bool)]| {
            let found = root.destinations(&|_| None, &|hours| open.contains(&hours));
            let found: Vec<(usize, bool)> = found.iter().map(|to| (to.receiver, to.held.is_none())).collect();
            assert_eq!(found, expected, "{open:?} are open");
        };
        check(&[0, 1], &[(1, true), (2, true), (3, true)]);
        check(&[1], &[(1, false), (2, true), (3, true)]);
        check(&[], &[(1, false), (2, true), (3, false)]);
    }

    #[test]
    fn what_is_negated_matches_everything_else() {
        let matches = |value: Option<&str>, negate| {
            let any_of = ["edge", "database"].map(str::to_string).to_vec();
            Matcher { label: "layer".into(), any_of, negate }.matches(&|_| value)
        };
        let found = [Some("edge"), Some("network"), None].map(|value| (matches(value, false), matches(value, true)));
        assert_eq!(found, [(true, false), (false, true), (false, true)]);
    }
}
