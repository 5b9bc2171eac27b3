//! Rules that can never fire for an objective.

use crate::config::decode::{Findings, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::units::{short, show_ppm};
use crate::engine::rule::{Limit, Rule};
use crate::engine::time::Duration;

const MILLION: f64 = 1e6;

/// Reports at the place where an objective names the rule, and beside it where the rule's limit stands.
pub(super) fn report_unreachable(
    rule: &Rule,
    (objective_ppm, period): (u32, Duration),
    (named_at, limit_at): (Span, Span),
    findings: &mut Findings,
) {
    let name = clipped(&rule.name);
    let windows = match rule.limit {
        Limit::BurnRate { long, .. } => Some(("long window", long)),
        Limit::Exhaustion { within, .. } => Some(("time", within)),
        Limit::Latency { over, .. } => Some(("window", over)),
        Limit::BudgetConsumed { .. } => None,
    };
    if let Some((what, window)) = windows
        && window > period
    {
        let message = format!("the {what} of rule '{name}' ({window}) is longer than the period ({period})");
        findings.add(Diagnostic::error(named_at, message).also(limit_at, "the rule's limit"));
    }
    let limit = match rule.limit {
        Limit::BurnRate { factor, .. } => Some(("burn rate", factor)),
        Limit::BudgetConsumed { share } => Some(("share of the budget", share)),
        Limit::Exhaustion { .. } | Limit::Latency { .. } => None,
    };
    let Some((what, limit)) = limit else { return };
    let critical = limit * f64::from(rule.critical_ppm) / MILLION;
    // If every request is slow, the burn rate is 1 / (1 - objective), and never more.
    let highest = MILLION / (MILLION - f64::from(objective_ppm));
    if critical > highest * (1.0 + 1e-9) {
        let (critical, highest) = (short(critical), short(highest));
        let objective = show_ppm(objective_ppm);
        let message = format!("rule '{name}' can never fire for an objective of {objective}");
        let label = format!("its {what} of {critical} cannot be reached");
        let help = format!("with all requests slow the budget burns at 1 / (1 - {objective}) = {highest}, not faster");
        findings.add(Diagnostic::error(named_at, message).label(label).also(limit_at, "the limit").help(help));
    }
}
