//! The routing tree: names resolved, values that exist, and no route that nothing can ever reach.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::decode::{Field, Findings, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw;
use crate::config::types::Repeat;
use crate::engine::route::{Matcher, Route};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::Duration;

use super::Context;
use super::names::{OWN_LABELS, unknown};

const DEFAULT_REPEAT: Duration = Duration::from_hours(4);
/// Far more than anybody can read, and few enough to compare each with each.
const MAX_ROUTES: usize = 1000;
/// Labels that differ between the alerts of one incident, or change while it is open.
const CHANGING_LABELS: [&str; 2] = ["stage", "urgency"];

/// The tree, what splits incidents, and which receivers it names.
#[derive(Debug)]
pub(super) struct Routing {
    pub root: Route,
    pub group_by: Vec<String>,
    pub used: Vec<usize>,
}

/// The labels that alerts can have, each with its values where they are known beforehand.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// `None` for a label of `by`: its values come from the source.
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
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

pub(super) fn routing(
    main: &raw::Main,
    receivers: &[String],
    vocabulary: &Vocabulary,
    context: &mut Context<'_>,
) -> Option<Routing> {
    if receivers.is_empty() && (main.receivers.is_absent() || main.receivers.value().is_some_and(Vec::is_empty)) {
        let diagnostic = Diagnostic::nowhere("there are no 'receivers', so nobody would be told");
        context
            .findings
            .add(diagnostic.help("write receivers: [{name: hook, webhook: {url: 'http://localhost:8080'}}]"));
    }
    let mut builder =
        Builder { receivers, vocabulary, used: BTreeSet::new(), routes_left: MAX_ROUTES, findings: context.findings };
    let Some(raw) = main.route.value() else {
        if main.route.is_absent() && receivers.len() > 1 {
            let message = "with more than one receiver a 'route' must say who is told what";
            context.findings.add(Diagnostic::nowhere(message).help("write route: {receivers: [NAME]}"));
        }
        let repeat_interval = Some(DEFAULT_REPEAT);
        let root = Route { receivers: vec![0], repeat_interval, ..Route::default() };
        return (receivers.len() == 1).then(|| Routing { root, group_by: Vec::new(), used: vec![0] });
    };
    let root_receivers = builder.receivers(&raw.receivers);
    if let Some(Spanned { value, span }) = raw.receivers.get()
        && value.is_empty()
    {
        builder.findings.error(*span, "the root route needs at least one receiver: what no child takes ends here");
    }
    let repeat_interval = repeat(&raw.repeat_interval, Some(DEFAULT_REPEAT));
    let above = Above { receivers: &root_receivers, repeat_interval, chain: &[] };
    let routes = builder.routes(&raw.routes, &above);
    let group_by = builder.group_by(&raw.group_by);
    let used = builder.used.into_iter().collect();
    let root = Route { matchers: Vec::new(), receivers: root_receivers, repeat_interval, routes, ..Route::default() };
    Some(Routing { root, group_by, used })
}

fn repeat(field: &Field<Repeat>, inherited: Option<Duration>) -> Option<Duration> {
    match field.copied() {
        Some(Repeat::Every(duration)) => Some(duration),
        Some(Repeat::Never) => None,
        None => inherited,
    }
}

struct Builder<'a> {
    receivers: &'a [String],
    vocabulary: &'a Vocabulary,
    used: BTreeSet<usize>,
    routes_left: usize,
    findings: &'a mut Findings,
}

/// What a route inherits.
struct Above<'a> {
    receivers: &'a [usize],
    repeat_interval: Option<Duration>,
    /// From the root down: the routes that had to match before, each with the siblings before it.
    chain: &'a [Step],
}

/// A route that must match, and the earlier siblings that must not have taken the alert.
#[derive(Debug, Clone, Default)]
struct Step {
    own: Vec<Matcher>,
    before: Vec<(Vec<Matcher>, Span)>,
}

impl Builder<'_> {
    fn routes(&mut self, field: &Field<Vec<Spanned<raw::Route>>>, above: &Above<'_>) -> Vec<Route> {
        let mut out = Vec::new();
        let mut before = Vec::new();
        for Spanned { value: raw, .. } in field.value().into_iter().flatten() {
            let Some(routes_left) = self.routes_left.checked_sub(1) else {
                self.findings.error(raw.at, format!("more than {MAX_ROUTES} routes"));
                break;
            };
            self.routes_left = routes_left;
            let (matchers, sound) = self.matchers(raw);
            let mut chain = above.chain.to_vec();
            chain.push(Step { own: matchers.clone(), before: before.clone() });
            if sound {
                self.report_unreachable(raw, &chain);
            }
            let receivers = match raw.receivers.get() {
                Some(Spanned { value, span }) => {
                    if value.is_empty() {
                        let diagnostic = Diagnostic::error(*span, "this list is empty: what matches would be dropped");
                        self.findings.add(diagnostic.help("leave 'receivers' out to use those of the route above"));
                    }
                    self.receivers(&raw.receivers)
                }
                None => above.receivers.to_vec(),
            };
            let repeat_interval = repeat(&raw.repeat_interval, above.repeat_interval);
            let goes_on = raw.goes_on.copied().unwrap_or(false);
            let inner = Above { receivers: &receivers, repeat_interval, chain: &chain };
            let routes = self.routes(&raw.routes, &inner);
            if sound && !goes_on {
                before.push((matchers.clone(), raw.at));
            }
            out.push(Route { matchers, receivers, repeat_interval, goes_on, active: None, routes });
        }
        out
    }

    fn receivers(&mut self, field: &Field<Vec<Spanned<String>>>) -> Vec<usize> {
        let mut out = Vec::new();
        for name in field.value().into_iter().flatten() {
            let Some(index) = self.receivers.iter().position(|known| *known == name.value) else {
                unknown(name, "receiver", self.receivers.iter().map(String::as_str), self.findings);
                continue;
            };
            self.used.insert(index);
            if out.contains(&index) {
                self.findings.error(name.span, format!("'{}' stands in this list twice", clipped(&name.value)));
            } else {
                out.push(index);
            }
        }
        out
    }

    /// The matchers of a route, and whether all of them were sound.
    fn matchers(&mut self, raw: &raw::Route) -> (Vec<Matcher>, bool) {
        let mut sound = !matches!(raw.matchers, Field::Bad);
        let mut matchers = Vec::new();
        for (label, values) in raw.matchers.value().map_or(&[][..], |named| &named.0) {
            let Some(known) = self.vocabulary.labels.get(&label.value) else {
                let labels = self.vocabulary.labels.keys().map(String::as_str);
                unknown(label, "label", labels, self.findings);
                sound = false;
                continue;
            };
            for value in &values.value.0 {
                if let Some(known) = known
                    && !known.contains(&value.value)
                {
                    unknown(value, &label.value, known.iter().map(String::as_str), self.findings);
                    sound = false;
                }
            }
            let any_of = values.value.0.iter().map(|value| value.value.clone()).collect();
            matchers.push(Matcher { label: label.value.clone(), any_of, negate: false });
        }
        (matchers, sound)
    }

    fn report_unreachable(&mut self, raw: &raw::Route, chain: &[Step]) {
        let at = raw.matchers.key().unwrap_or(raw.at);
        let mut wanted = Wanted::default();
        for matcher in chain.iter().flat_map(|step| &step.own) {
            if !wanted.narrow(matcher) {
                let message = format!("no alert can come here: '{}' contradicts the route above", matcher.label);
                self.findings.add(Diagnostic::error(at, message).help("an alert comes here only through its parent"));
                return;
            }
        }
        let takers: Vec<_> = chain.iter().flat_map(|step| &step.before).collect();
        let mut first_taker = takers.iter().find(|(matchers, _)| wanted.is_inside(matchers)).map(|(_, at)| *at);
        for closed in closed_combinations(&wanted) {
            let taker = takers.iter().find(|(matchers, _)| closed.is_inside(matchers));
            let Some((_, taken_at)) = taker else { return };
            first_taker.get_or_insert(*taken_at);
        }
        if let Some(taken_at) = first_taker {
            let message = "no alert can come here: the routes before it take all that it matches";
            let help = "move it up, or let the route before it say continue: true";
            self.findings.add(Diagnostic::error(at, message).also(taken_at, "this takes it").help(help));
        }
    }

    fn group_by(&mut self, field: &Field<Vec<Spanned<String>>>) -> Vec<String> {
        let Some(Spanned { value: labels, span }) = field.get() else { return Vec::new() };
        if !labels.iter().any(|label| label.value == "journey") {
            let diagnostic = Diagnostic::error(*span, "'group_by' must name 'journey': an incident is one journey's");
            self.findings.add(diagnostic.help("write [journey, ...]"));
        }
        let mut out: Vec<String> = Vec::new();
        for label in labels {
            let name = label.value.as_str();
            if CHANGING_LABELS.contains(&name) {
                let message = format!("'{name}' cannot split incidents: it changes while one is open");
                self.findings.error(label.span, message);
            } else if !self.vocabulary.labels.contains_key(name) {
                unknown(label, "label", self.vocabulary.labels.keys().map(String::as_str), self.findings);
            } else if out.iter().any(|known| known == name) {
                self.findings.error(label.span, format!("'{name}' stands in this list twice"));
            } else if name != "journey" {
                out.push(name.to_owned());
            }
        }
        out
    }
}

/// What the labels of an alert must be to come to a route; a label that is not named may be anything.
#[derive(Debug, Clone, Default)]
struct Wanted {
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Wanted {
    /// Adds a condition; false if nothing is left.
    fn narrow(&mut self, matcher: &Matcher) -> bool {
        let any_of: BTreeSet<String> = matcher.any_of.iter().cloned().collect();
        let left = match self.labels.get(&matcher.label) {
            Some(before) => before.intersection(&any_of).cloned().collect(),
            None => any_of,
        };
        let possible = !left.is_empty();
        self.labels.insert(matcher.label.clone(), left);
        possible
    }

    /// Whether every alert that is wanted here has what `matchers` ask for.
    fn is_inside(&self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| {
            let wanted = self.labels.get(&matcher.label);
            wanted.is_some_and(|wanted| wanted.iter().all(|value| matcher.any_of.contains(value)))
        })
    }
}

/// `wanted` once for each stage and urgency it allows: together those two cover everything, so several routes can take
/// between them what none of them takes alone.
fn closed_combinations(wanted: &Wanted) -> Vec<Wanted> {
    let mut out = Vec::new();
    for stage in [Stage::Warning, Stage::Critical] {
        for urgency in [Urgency::Page, Urgency::Ticket] {
            let mut one = wanted.clone();
            let stage = Matcher { label: "stage".to_owned(), any_of: vec![stage.as_str().to_owned()], negate: false };
            let urgency =
                Matcher { label: "urgency".to_owned(), any_of: vec![urgency.as_str().to_owned()], negate: false };
            if one.narrow(&stage) && one.narrow(&urgency) {
                out.push(one);
            }
        }
    }
    out
}
