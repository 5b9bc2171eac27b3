//! Digests: when they are sent, to whom, and what they are about.

use std::sync::Arc;

use crate::config::ReceiverKind;
use crate::config::decode::{Field, Spanned};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw;
use crate::engine::collect::DigestSpec;

use super::matchers::{Vocabulary, matchers};
use super::names::Names;
use super::receivers::Receivers;
use super::{Context, cron, routes};

const DEFAULT_NAME: &str = "digest";
/// Each keeps a list of its own.
const MAX_DIGESTS: usize = 100;

pub(super) fn digests(
    field: &Field<Vec<Spanned<raw::Digest>>>,
    receivers: &Receivers,
    vocabulary: &Vocabulary,
    context: &mut Context<'_>,
) -> Vec<DigestSpec> {
    let mut raw = field.value().map_or(&[][..], Vec::as_slice);
    if let Some(extra) = raw.get(MAX_DIGESTS) {
        context.findings.error(extra.span, format!("more than {MAX_DIGESTS} digests"));
        raw = &raw[..MAX_DIGESTS];
    }
    let mut names = Names::default();
    let mut out = Vec::new();
    for Spanned { value: digest, .. } in raw {
        let name = match &digest.name {
            Field::Set { value: name, .. } => names.claim(name, "digest", context.findings).then(|| name.value.clone()),
            Field::Absent if raw.len() > 1 => {
                let diagnostic =
                    Diagnostic::error(digest.at, "where there is more than one digest, each needs a 'name'");
                context.findings.add(diagnostic.help("what a digest has collected goes by its name"));
                None
            }
            Field::Absent => Some(DEFAULT_NAME.to_owned()),
            Field::Bad => None,
        };
        let calendar = cron::calendar_in(&digest.cron, &digest.time_zone, context);
        let to = routes::receivers(&digest.receivers, &receivers.names, context.findings);
        report_left_open(&digest.receivers, receivers, context);
        if let Some(Spanned { value, span }) = digest.receivers.get()
            && value.is_empty()
        {
            context.findings.error(*span, "this list is empty: nobody would be told");
        }
        let (matchers, _) = matchers(&digest.matchers, vocabulary, context.findings);
        if let (Some(name), Some(calendar)) = (name, calendar) {
            out.push(DigestSpec { name, calendar: Arc::new(calendar), receivers: to, matchers });
        }
    }
    out
}

/// A digest is there to be read and has no end to tell of, and PagerDuty keeps what it is told until it hears of one.
fn report_left_open(names: &Field<Vec<Spanned<String>>>, receivers: &Receivers, context: &mut Context<'_>) {
    for name in names.value().into_iter().flatten() {
        let kind = receivers.built.iter().find(|built| built.name == name.value).map(|built| &built.kind);
        if matches!(kind, Some(ReceiverKind::PagerDuty { .. })) {
            let message = format!("each digest would open an alert at '{}' that nothing resolves", name.value);
            let diagnostic = Diagnostic::warning(name.span, message).label("PagerDuty waits for its end");
            context.findings.add(diagnostic.help("it is there to be read: name mail, a chat or a webhook"));
        }
    }
}
