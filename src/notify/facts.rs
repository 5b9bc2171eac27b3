//! The sentences of a message: what an alert's numbers mean, a fact at a time.

use crate::engine::Spec;
use crate::engine::notification::{AlertFacts, Notification, Reason};
use crate::engine::rule::Limit;
use crate::engine::time::Duration;

use super::format::{count, factor, instant, latency, percent, percent_ppm, since, span};
use super::{digest, links, text};

/// Journeys that are named when the source is out of sight.
const MAX_NAMED: usize = 5;
/// The longest text of one fact.
pub const MAX_FACT: usize = 600;

/// `label: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub label: &'static str,
    pub text: String,
}

/// The facts of a notification, most important first.
pub fn of(notification: &Notification, spec: &Spec) -> Vec<Fact> {
    let mut facts = if let Some(digest) = &notification.digest {
        digest::facts(digest, notification)
    } else if is_of_source(notification) {
        of_source(notification, spec)
    } else if notification.reason == Reason::Resolved {
        of_resolved(notification)
    } else if notification.reason == Reason::Test {
        of_test(notification)
    } else {
        of_burning(notification)
    };
    // For a journey, why this came by another way than usual: the receiver it was meant for refused it.
    if let Some(note) = notification.detail.as_deref().filter(|_| !is_of_source(notification)) {
        facts.push(fact("Note", note));
    }
    if let Some(owner) = &notification.owner {
        facts.push(fact("Owner", owner));
    }
    // A runbook that is no link cannot be a button, so it is told in words.
    if let Some(runbook) = notification.runbook.as_deref().filter(|it| links::web_link(it).is_none()) {
        facts.push(fact("Runbook", runbook));
    }
    facts.retain(|fact| !fact.text.is_empty());
    facts
}

/// What the worst alert's place does, for the title: `is burning its error budget 21x too fast`.
pub fn predicate(alert: &AlertFacts) -> String {
    match alert.limit {
        Limit::BurnRate { .. } if alert.burn_long >= 1.05 => {
            format!("is burning its error budget {} too fast", factor(alert.burn_long))
        }
        Limit::BurnRate { .. } if alert.burn_long.is_finite() => {
            format!("is burning its error budget at {}", factor(alert.burn_long))
        }
        Limit::BudgetConsumed { .. } if alert.budget_remaining.is_finite() => {
            format!("has used {} of its error budget", percent(1.0 - alert.budget_remaining))
        }
        Limit::Exhaustion { .. } => match alert.exhausted_in {
            Some(left) => format!("will have no error budget left in {}", span(left)),
            None if alert.budget_remaining <= 0.0 => "has no error budget left".into(),
            None => "is running out of error budget".into(),
        },
        Limit::Latency { quantile, .. } if alert.usage.is_finite() => {
            let (q, value) = (quantile_name(quantile), latency(alert.usage * alert.budget_s));
            let against = if alert.usage > 1.0 { "over its budget of" } else { "close to its budget of" };
            format!("has a {q} of {value}, {against} {}", latency(alert.budget_s))
        }
        Limit::BurnRate { .. } | Limit::BudgetConsumed { .. } | Limit::Latency { .. } => "is over its limits".into(),
    }
}

/// One alert on one line, without its place.
pub fn one_line(alert: &AlertFacts, notification: &Notification) -> String {
    let (rule, urgency, stage) = (text::line(&alert.rule, 40), alert.urgency.as_str(), alert.stage.as_str());
    let from = instant(alert.breached_at, notification.at);
    match alert.ended_at {
        Some(end) => format!("{rule}, {stage} {urgency}, {} from {from}", span(end.since(alert.breached_at))),
        None => format!("{} ({rule}, {stage} {urgency} since {from})", measure(alert)),
    }
}

/// Whether the notification tells of the source and not of a journey.
pub fn is_of_source(notification: &Notification) -> bool {
    notification.journey.is_none() && notification.digest.is_none()
}

/// `checkout/database{region="eu"}`; a journey's own SLO has no layer.
pub fn place(journey: &str, alert: &AlertFacts) -> String {
    named(&format!("{journey}{}", alert.place()))
}

/// The same within a message that names the journey already: `database{region="eu"}`.
pub fn place_within(journey: &str, alert: &AlertFacts) -> String {
    if alert.layer.is_none() { place(journey, alert) } else { named(alert.place().trim_start_matches('/')) }
}

/// Where the worst of it is.
pub fn worst_place(notification: &Notification) -> String {
    if let Some(digest) = &notification.digest {
        return match &digest.entries[..] {
            [only] => named(&only.incident),
            several => format!("{} incidents", several.len()),
        };
    }
    match (&notification.journey, notification.alerts.first()) {
        (Some(journey), Some(worst)) => place(journey, worst),
        (Some(journey), None) => named(journey),
        (None, _) => "the source of histograms".into(),
    }
}

fn named(place: &str) -> String {
    let place = text::clean(place);
    if place.is_empty() { "unnamed".into() } else { place }
}

/// The window a rule looks back over; the whole period for a rule on the period's budget.
pub fn window(alert: &AlertFacts) -> Duration {
    alert.limit.long_window().unwrap_or(alert.period)
}

/// What a rule limits, as receivers that classify name it.
pub fn kind(limit: &Limit) -> &'static str {
    match limit {
        Limit::BurnRate { .. } => "burn_rate",
        Limit::BudgetConsumed { .. } => "budget_consumed",
        Limit::Exhaustion { .. } => "exhaustion",
        Limit::Latency { .. } => "latency",
    }
}

/// How long the incident has lasted, or did.
pub fn lasted(notification: &Notification) -> String {
    span(notification.resolved_at.unwrap_or(notification.at).since(notification.opened_at))
}

fn of_burning(notification: &Notification) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(worst) = notification.alerts.first() {
        facts.push(fact("What", &what(worst)));
        facts.push(fact("Since", &since(notification.opened_at, notification.at)));
        facts.push(fact("Slow requests", &slow_requests(worst)));
        facts.push(fact("Worst layer", &share_of_slow(worst)));
        facts.push(fact("Latency", &quantiles(worst)));
        facts.push(fact("Error budget", &budget(worst)));
    } else {
        facts.push(fact("Since", &since(notification.opened_at, notification.at)));
    }
    facts
}

fn of_resolved(notification: &Notification) -> Vec<Fact> {
    let end = notification.resolved_at.unwrap_or(notification.at);
    let (from, to) = (instant(notification.opened_at, notification.at), instant(end, notification.at));
    let mut facts = vec![
        fact("Lasted", &format!("{}, from {from} to {to}", lasted(notification))),
        fact("At its worst", &format!("{} {}", notification.stage.as_str(), notification.urgency.as_str())),
    ];
    if let Some(worst) = notification.alerts.first() {
        facts.push(fact("Latency now", &quantiles(worst)));
        facts.push(fact("Error budget", &budget(worst)));
    }
    facts
}

fn of_test(notification: &Notification) -> Vec<Fact> {
    vec![
        fact("What", "somebody ran 'slowburn notify-test' to see whether this place can be told"),
        fact("To do", "nothing: no journey is slow because of this, and nothing stays open"),
        fact("Sent", &notification.at.to_string()),
    ]
}

fn of_source(notification: &Notification, spec: &Spec) -> Vec<Fact> {
    let slos = &spec.slos;
    let mut journeys: Vec<&str> = slos.iter().map(|slo| slo.journey.as_str()).collect();
    journeys.sort_unstable();
    journeys.dedup();
    let named = journeys.iter().take(MAX_NAMED).map(|name| text::clip(name, 60)).collect::<Vec<_>>().join(", ");
    let rest = if journeys.len() > MAX_NAMED { ", ..." } else { "" };
    let unseen = format!("{} of {}: {named}{rest}", several(slos.len(), "SLO"), several(journeys.len(), "journey"));
    if notification.reason == Reason::Resolved {
        let end = notification.resolved_at.unwrap_or(notification.at);
        let (from, to) = (instant(notification.opened_at, notification.at), instant(end, notification.at));
        return vec![
            fact("Lasted", &format!("{}, from {from} to {to}", lasted(notification))),
            fact("Seen again", &unseen),
            fact("Was", notification.detail.as_deref().unwrap_or_default()),
        ];
    }
    vec![
        fact("What", notification.detail.as_deref().unwrap_or("the source does not answer")),
        fact("Since", &since(notification.opened_at, notification.at)),
        fact("Out of sight", &unseen),
        fact("Meanwhile", "alerts are held: nothing opens and nothing resolves until the source can be seen again"),
    ]
}

fn what(alert: &AlertFacts) -> String {
    let rule = text::line(&alert.rule, 60);
    let limit = match alert.limit {
        Limit::BurnRate { factor: limit, .. } => factor(limit),
        Limit::BudgetConsumed { share } => percent(share),
        Limit::Exhaustion { within, .. } => span(within),
        Limit::Latency { .. } => latency(alert.budget_s),
    };
    format!("{}; rule {rule}, limit {limit}", measure(alert))
}

/// What the rule measured, in words.
fn measure(alert: &AlertFacts) -> String {
    match alert.limit {
        Limit::BurnRate { long, short, .. } => {
            if !alert.burn_long.is_finite() {
                return format!("burn rate unknown over {}", span(long));
            }
            let pace = if alert.burn_long >= 1.05 { " too fast" } else { "" };
            let burning = format!("burning {}{pace} over {}", factor(alert.burn_long), span(long));
            if !alert.burn_short.is_finite() {
                return burning;
            }
            format!("{burning} (short window {}: {})", span(short), factor(alert.burn_short))
        }
        Limit::BudgetConsumed { .. } => {
            format!("{} of {}'s error budget used", percent(1.0 - alert.budget_remaining), span(alert.period))
        }
        Limit::Exhaustion { short, .. } => {
            let burn = factor(alert.burn_short);
            match alert.exhausted_in {
                Some(left) => format!("burning {burn} over {}, error budget gone in {}", span(short), span(left)),
                None if alert.budget_remaining <= 0.0 => {
                    format!("no error budget left, burning {burn} over {}", span(short))
                }
                None => format!("burning {burn} over {}", span(short)),
            }
        }
        Limit::Latency { quantile, over } => {
            let value = latency(alert.usage * alert.budget_s);
            let (q, used) = (quantile_name(quantile), percent(alert.usage));
            format!("{q} over {} is {value}, {used} of the {} budget", span(over), latency(alert.budget_s))
        }
    }
}

fn slow_requests(alert: &AlertFacts) -> String {
    let window = span(window(alert));
    if !(alert.events.is_finite() && alert.events >= 0.5 && alert.bad_events.is_finite()) {
        return format!("no requests in the last {window}");
    }
    format!(
        "{} of {} requests took longer than {} (last {window}; objective: at most {})",
        percent((alert.bad_events / alert.events).clamp(0.0, 1.0)),
        count(alert.events),
        latency(alert.budget_s),
        percent_ppm(1_000_000_u32.saturating_sub(alert.objective_ppm)),
    )
}

fn share_of_slow(alert: &AlertFacts) -> String {
    match &alert.layer {
        Some(_) if alert.share_of_slow.is_finite() && alert.share_of_slow > 0.0 => {
            let layer = text::clip(&place_within("", alert), 200);
            format!("{layer}: {} of the incident's slow requests", percent(alert.share_of_slow.min(1.0)))
        }
        Some(_) | None => String::new(),
    }
}

fn quantiles(alert: &AlertFacts) -> String {
    let budget = latency(alert.budget_s);
    match alert.quantiles_s {
        Some([p50, p95, p99]) => {
            format!("p50 {}, p95 {}, p99 {} (budget {budget})", latency(p50), latency(p95), latency(p99))
        }
        None => format!("p50, p95, p99 unknown: no requests lately, or not all buckets (budget {budget})"),
    }
}

fn budget(alert: &AlertFacts) -> String {
    let (left, period) = (alert.budget_remaining, span(alert.period));
    let mut text = if !left.is_finite() {
        format!("unknown for {period}")
    } else if left < 0.0 {
        format!("gone: {} of {period}'s used", percent(1.0 - left))
    } else {
        let rest = match alert.exhausted_in {
            // A budget that lasts longer than its period is renewed faster than it burns.
            Some(exhausted_in) if alert.ended_at.is_none() && exhausted_in <= alert.period => {
                format!(", gone in {} at this rate", span(exhausted_in))
            }
            _ => String::new(),
        };
        format!("{} left of {period}{rest}", percent(left))
    };
    if alert.period_coverage < 0.9 {
        text.push_str(&format!("; only {} of the period was seen", percent(alert.period_coverage.max(0.0))));
    }
    text
}

/// `p99`, `p99.9`.
fn quantile_name(quantile: f64) -> String {
    format!("p{}", percent_ppm((quantile.clamp(0.0, 1.0) * 1e6).round() as u32).trim_end_matches('%'))
}

/// `1 incident`, `2 incidents`.
pub fn several(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(n as f64), if n == 1 { "" } else { "s" })
}

/// One line, harmless and bounded.
pub fn fact(label: &'static str, text: &str) -> Fact {
    Fact { label, text: text::line(text, MAX_FACT) }
}
