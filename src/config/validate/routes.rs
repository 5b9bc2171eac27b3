//! The routing tree: names resolved, values that exist, and no route that nothing can ever reach.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::decode::{Field, Findings, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw;
use crate::config::types::Repeat;
use crate::engine::hours::Hours;
use crate::engine::route::{Matcher, Route};
use crate::engine::rule::{Stage, Urgency};
use crate::engine::time::Duration;

use super::matchers::{Vocabulary, matchers};
use super::names::unknown;
use super::{Context, hours};

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
    /// What routes' active hours are indices into.
    pub hours: Vec<Hours>,
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
    let (used, hours) = (BTreeSet::new(), Vec::new());
    let mut builder = Builder { receivers, vocabulary, used, routes_left: MAX_ROUTES, hours, context };
    let Some(raw) = main.route.value() else {
        if main.route.is_absent() && receivers.len() > 1 {
            let message = "with more than one receiver a 'route' must say who is told what";
            context.findings.add(Diagnostic::nowhere(message).help("write route: {receivers: [NAME]}"));
        }
        let repeat_interval = Some(DEFAULT_REPEAT);
        let root = Route { receivers: vec![0], repeat_interval, ..Route::default() };
        let routing = Routing { root, group_by: Vec::new(), used: vec![0], hours: Vec::new() };
        return (receivers.len() == 1).then_some(routing);
    };
    let root_receivers = builder.receivers(&raw.receivers);
    if let Some(Spanned { value, span }) = raw.receivers.get()
        && value.is_empty()
    {
        builder
            .context
            .findings
            .error(*span, "the root route needs at least one receiver: what no child takes ends here");
    }
    let repeat_interval = repeat(&raw.repeat_interval, Some(DEFAULT_REPEAT));
    let active = builder.active(&raw.active, None);
    let above = Above { receivers: &root_receivers, repeat_interval, active, chain: &[] };
    let routes = builder.routes(&raw.routes, &above);
    builder.report_waiting_pages(active, &[], &routes);
    let group_by = builder.group_by(&raw.group_by);
    let (used, hours) = (builder.used.into_iter().collect(), builder.hours);
    let active = active.map(|(hours, _)| hours);
    let root = Route { receivers: root_receivers, repeat_interval, active, routes, ..Route::default() };
    Some(Routing { root, group_by, used, hours })
}

fn repeat(field: &Field<Repeat>, inherited: Option<Duration>) -> Option<Duration> {
    match field.copied() {
        Some(Repeat::Every(duration)) => Some(duration),
        Some(Repeat::Never) => None,
        None => inherited,
    }
}

struct Builder<'a, 'c> {
    receivers: &'a [String],
    vocabulary: &'a Vocabulary,
    used: BTreeSet<usize>,
    routes_left: usize,
    hours: Vec<Hours>,
    context: &'a mut Context<'c>,
}

/// Active hours, and where they are written.
type HoursAt = (usize, Span);

/// What a route inherits.
struct Above<'a> {
    receivers: &'a [usize],
    repeat_interval: Option<Duration>,
    active: Option<HoursAt>,
    /// From the root down: the routes that had to match before, each with the siblings before it.
    chain: &'a [Step],
}

/// A route that must match, and the earlier siblings that must not have taken the alert.
#[derive(Debug, Clone, Default)]
struct Step {
    own: Vec<Matcher>,
    before: Vec<(Vec<Matcher>, Span)>,
}

impl Builder<'_, '_> {
    fn routes(&mut self, field: &Field<Vec<Spanned<raw::Route>>>, above: &Above<'_>) -> Vec<Route> {
        let mut out = Vec::new();
        let mut before = Vec::new();
        for Spanned { value: raw, .. } in field.value().into_iter().flatten() {
            let Some(routes_left) = self.routes_left.checked_sub(1) else {
                self.context.findings.error(raw.at, format!("more than {MAX_ROUTES} routes"));
                break;
            };
            self.routes_left = routes_left;
            let (matchers, sound) = matchers(&raw.matchers, self.vocabulary, self.context.findings);
            let mut chain = above.chain.to_vec();
            chain.push(Step { own: matchers.clone(), before: before.clone() });
            if sound {
                self.report_unreachable(raw, &chain);
            }
            let receivers = match raw.receivers.get() {
                Some(Spanned { value, span }) => {
                    if value.is_empty() {
                        let diagnostic = Diagnostic::error(*span, "this list is empty: what matches would be dropped");
                        self.context
                            .findings
                            .add(diagnostic.help("leave 'receivers' out to use those of the route above"));
                    }
                    self.receivers(&raw.receivers)
                }
                None => above.receivers.to_vec(),
            };
            let repeat_interval = repeat(&raw.repeat_interval, above.repeat_interval);
            let goes_on = raw.goes_on.copied().unwrap_or(false);
            let active = self.active(&raw.active, above.active);
            let inner = Above { receivers: &receivers, repeat_interval, active, chain: &chain };
            let routes = self.routes(&raw.routes, &inner);
            if sound {
                self.report_waiting_pages(active, &chain, &routes);
            }
            if sound && !goes_on {
                before.push((matchers.clone(), raw.at));
            }
            let active = active.map(|(hours, _)| hours);
            out.push(Route { matchers, receivers, repeat_interval, goes_on, active, routes });
        }
        out
    }

    fn receivers(&mut self, field: &Field<Vec<Spanned<String>>>) -> Vec<usize> {
        let receivers = receivers(field, self.receivers, self.context.findings);
        self.used.extend(&receivers);
        receivers
    }

    fn report_unreachable(&mut self, raw: &raw::Route, chain: &[Step]) {
        let at = raw.matchers.key().unwrap_or(raw.at);
        let mut wanted = Wanted::default();
        for matcher in chain.iter().flat_map(|step| &step.own) {
            if !wanted.narrow(matcher) {
                let message = format!("no alert can come here: '{}' contradicts the route above", matcher.label);
                self.context
                    .findings
                    .add(Diagnostic::error(at, message).help("an alert comes here only through its parent"));
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
            self.context.findings.add(Diagnostic::error(at, message).also(taken_at, "this takes it").help(help));
        }
    }

    fn active(&mut self, field: &Field<raw::Active>, inherited: Option<HoursAt>) -> Option<HoursAt> {
        let Some(Spanned { value, span }) = field.get() else { return inherited };
        let raw::Active::Hours(raw) = value else { return None };
        self.hours.push(hours::active(raw, self.context)?);
        Some((self.hours.len() - 1, *span))
    }

    /// Warns if critical pages can end at a route that is not always active: they would wait.
    fn report_waiting_pages(&mut self, active: Option<HoursAt>, chain: &[Step], children: &[Route]) {
        let Some((_, hours_at)) = active else { return };
        let page = [is("stage", Stage::Critical.as_str()), is("urgency", Urgency::Page.as_str())];
        let mut wanted = Wanted::default();
        if !chain.iter().flat_map(|step| &step.own).chain(&page).all(|matcher| wanted.narrow(matcher)) {
            return;
        }
        let before = chain.iter().flat_map(|step| &step.before).map(|(matchers, _)| matchers);
        if before.chain(children.iter().map(|child| &child.matchers)).any(|matchers| wanted.is_inside(matchers)) {
            return;
        }
        let route = match chain.last().filter(|step| !step.own.is_empty()) {
            Some(step) => format!("the route for {}", clipped(&in_words(&step.own))),
            None if chain.is_empty() => "the root route".to_owned(),
            None => "a route for everything".to_owned(),
        };
        let message = format!("{route} takes critical pages, and they would wait for its hours");
        let help = "take them with a route before it, or with one inside it that says active: always";
        self.context.findings.add(Diagnostic::warning(hours_at, message).help(help));
    }

    fn group_by(&mut self, field: &Field<Vec<Spanned<String>>>) -> Vec<String> {
        let Some(Spanned { value: labels, span }) = field.get() else { return Vec::new() };
        if !labels.iter().any(|label| label.value == "journey") {
            let diagnostic = Diagnostic::error(*span, "'group_by' must name 'journey': an incident is one journey's");
            self.context.findings.add(diagnostic.help("write [journey, ...]"));
        }
        let mut out: Vec<String> = Vec::new();
        for label in labels {
            let name = label.value.as_str();
            if CHANGING_LABELS.contains(&name) {
                let message = format!("'{name}' cannot split incidents: it changes while one is open");
                self.context.findings.error(label.span, message);
            } else if !self.vocabulary.labels.contains_key(name) {
                unknown(label, "label", self.vocabulary.labels.keys().map(String::as_str), self.context.findings);
            } else if out.iter().any(|known| known == name) {
                self.context.findings.error(label.span, format!("'{name}' stands in this list twice"));
            } else if name != "journey" {
                out.push(name.to_owned());
            }
        }
        out
    }
}

fn is(label: &str, value: &str) -> Matcher {
    Matcher { label: label.to_owned(), any_of: vec![value.to_owned()], negate: false }
}

/// `layer edge or database, urgency page`.
fn in_words(matchers: &[Matcher]) -> String {
    let one = |matcher: &Matcher| format!("{} {}", matcher.label, matcher.any_of.join(" or "));
    matchers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The receivers of a list by their place, each once.
pub(super) fn receivers(field: &Field<Vec<Spanned<String>>>, known: &[String], findings: &mut Findings) -> Vec<usize> {
    let mut out = Vec::new();
    for name in field.value().into_iter().flatten() {
        let Some(index) = known.iter().position(|known| *known == name.value) else {
            unknown(name, "receiver", known.iter().map(String::as_str), findings);
            continue;
        };
        if out.contains(&index) {
            findings.error(name.span, format!("'{}' stands in this list twice", clipped(&name.value)));
        } else {
            out.push(index);
        }
    }
    out
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
            if one.narrow(&is("stage", stage.as_str())) && one.narrow(&is("urgency", urgency.as_str())) {
                out.push(one);
            }
        }
    }
    out
}
