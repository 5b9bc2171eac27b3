//! Alertmanager as a receiver: the instances of a cluster, and how often they are told what stands.

use crate::config::decode::{Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::types::Url;
use crate::config::{ReceiverKind, raw};
use crate::engine::time::Duration;

use super::names::report_repeats;
use super::{Context, http};

/// Clusters have two to five.
const MAX_INSTANCES: usize = 16;
/// What Prometheus takes by default.
const DEFAULT_RESEND: Duration = Duration::from_minutes(1);
const SHORTEST_RESEND: Duration = Duration::from_secs(1);
/// What has ended is posted for a quarter of an hour, which should be a few times.
const LONGEST_RESEND: Duration = Duration::from_minutes(5);

pub(super) fn alertmanager(raw: &raw::Alertmanager, context: &mut Context<'_>) -> Option<ReceiverKind> {
    let http = http::client(&raw.http, context);
    let resend = resend(raw, context);
    let list = raw.urls.get()?;
    // An address that is none was reported and is not in the list.
    let is_within =
        |span: &Span| span.file == list.span.file && span.start >= list.span.start && span.end <= list.span.end;
    let blamed = context.findings.list.iter().any(|found| found.span.as_ref().is_some_and(is_within));
    if list.value.is_empty() && !blamed {
        let diagnostic = Diagnostic::error(list.span, "'urls' is empty: nobody would be told");
        context
            .findings
            .add(diagnostic.help("write urls: ['http://localhost:9093'], with every instance of a cluster"));
    }
    if let Some(extra) = list.value.get(MAX_INSTANCES) {
        context.findings.error(extra.span, format!("more than {MAX_INSTANCES} instances of one Alertmanager"));
    }
    let urls: Vec<_> = list.value.iter().take(MAX_INSTANCES).map(|url| base_url(url, context)).collect();
    report_repeats(&urls, context.findings);
    Some(ReceiverKind::Alertmanager { urls: urls.into_iter().map(|url| url.value).collect(), resend, http })
}

/// Without a trailing slash, so that paths can be added to it.
fn base_url(url: &Spanned<Url>, context: &mut Context<'_>) -> Spanned<String> {
    let Spanned { value: Url(text), span } = url;
    let base = text.trim_end_matches('/').to_owned();
    if text.contains('?') {
        context.findings.error(*span, "a base address cannot hold a '?': paths are added to it");
    } else if let Some(api) = text.find("/api/v") {
        let diagnostic = Diagnostic::error(*span, "the base address is wanted, without the path of the API");
        context.findings.add(diagnostic.help(format!("write {}", clipped(&text[..api]))));
    }
    Spanned { value: base, span: *span }
}

fn resend(raw: &raw::Alertmanager, context: &mut Context<'_>) -> Duration {
    let Some(&Spanned { value: resend, span }) = raw.resend.get() else { return DEFAULT_RESEND };
    if resend < SHORTEST_RESEND || resend > LONGEST_RESEND {
        let message = format!("'resend' of {resend} is not between {SHORTEST_RESEND} and {LONGEST_RESEND}");
        context.findings.error(span, message);
        return DEFAULT_RESEND;
    }
    resend
}
