//! The dead man's switch.

use crate::config::decode::Spanned;
use crate::config::diagnostic::Diagnostic;
use crate::config::{Heartbeat, raw};
use crate::engine::time::Duration;

use super::receivers::secret_url;
use super::{Context, http};

const DEFAULT_EVERY: Duration = Duration::from_minutes(1);
const SHORTEST_EVERY: Duration = Duration::from_ms(100);
/// Whoever waits longer for the alarm does not want one.
const LONGEST_EVERY: Duration = Duration::from_days(1);

pub(super) fn heartbeat(raw: &raw::Heartbeat, context: &mut Context<'_>) -> Option<Heartbeat> {
    if let Some(Spanned { value: every, span }) = raw.every.get() {
        if !(SHORTEST_EVERY..=LONGEST_EVERY).contains(every) {
            let message = format!("a heartbeat every {every} is not between {SHORTEST_EVERY} and {LONGEST_EVERY}");
            context.findings.error(*span, message);
        } else if *every < context.interval {
            let message = format!("a heartbeat every {every} comes more often than an evaluation");
            let help = format!("a beat follows an evaluation, so there will be one every {}", context.interval);
            context.findings.add(Diagnostic::warning(*span, message).help(help));
        }
    }
    let webhook = raw.webhook.value()?;
    let url = secret_url("url", &webhook.url, &webhook.url_file, webhook.at, context);
    let http = http::client(&webhook.http, context);
    Some(Heartbeat { url: url?, http, every: raw.every.copied().unwrap_or(DEFAULT_EVERY) })
}
