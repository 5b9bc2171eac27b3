//! Receivers: what each needs to be told, and who stands in for whom.

mod email;
mod template;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::decode::{Field, Spanned};
use crate::config::diagnostic::{Diagnostic, Severity, Span};
use crate::config::secret::Secret;
use crate::config::types::{SecretUrl, Url};
use crate::config::{Receiver, ReceiverKind, raw};
use crate::engine::ReceiverSpec;
use crate::engine::collect::DigestSpec;

use super::names::{Names, unknown};
use super::routes::Routing;
use super::{Context, alertmanager, http};

const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
const ROUTING_KEY_CHARS: usize = 32;
/// Far more than anybody has, and few enough to look them up one by one.
const MAX_RECEIVERS: usize = 1000;

/// The receivers in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    /// The names of all that have one, sound or not: what refers to a broken one is no further mistake.
    pub names: Vec<String>,
    pub specs: Vec<ReceiverSpec>,
    pub built: Vec<Receiver>,
}

pub(super) fn receivers(field: &Field<Vec<Spanned<raw::Receiver>>>, context: &mut Context<'_>) -> Receivers {
    let mut raw = field.value().map_or(&[][..], Vec::as_slice);
    if let Some(extra) = raw.get(MAX_RECEIVERS) {
        context.findings.error(extra.span, format!("more than {MAX_RECEIVERS} receivers"));
        raw = &raw[..MAX_RECEIVERS];
    }
    let mut names = Names::default();
    let mut out = Receivers::default();
    let mut fallbacks = Vec::new();
    for Spanned { value: raw, .. } in raw {
        let kind = kind(raw, context);
        let template = template::templates(raw, context);
        let Some(name) = raw.name.get() else { continue };
        if !names.claim(name, "receiver", context.findings) {
            continue;
        }
        out.names.push(name.value.clone());
        fallbacks.push(&raw.fallback);
        if let Some(kind) = kind {
            out.built.push(Receiver { name: name.value.clone(), kind, template });
        }
    }
    let fallback_of: Vec<_> = fallbacks.iter().map(|field| fallback(field, &out.names, context)).collect();
    report_cycles(&fallbacks, &fallback_of, &out.names, context);
    report_levels(&fallbacks, &fallback_of, &out, context);
    let specs = out.names.iter().zip(fallback_of);
    out.specs = specs.map(|(name, fallback)| spec(name, fallback, &out.built)).collect();
    out
}

/// What the engine must know. What a broken receiver would be like is no matter, as nothing is loaded then.
fn spec(name: &str, fallback: Option<usize>, built: &[Receiver]) -> ReceiverSpec {
    let kind = built.iter().find(|receiver| receiver.name == name).map(|receiver| &receiver.kind);
    ReceiverSpec {
        name: name.to_owned(),
        fallback,
        pace: kind.and_then(ReceiverKind::pace),
        keeps_alerts: kind.is_some_and(ReceiverKind::keeps_alerts),
        resends: kind.is_some_and(|kind| kind.resend().is_some()),
    }
}

/// Receivers that no route, no digest and no other receiver names.
pub(super) fn report_unused(
    main: &raw::Main,
    receivers: &Receivers,
    routing: Option<&Routing>,
    digests: &[DigestSpec],
    context: &mut Context<'_>,
) {
    let Some(routing) = routing else { return };
    // What is misspelt elsewhere may be what would use it.
    if context.findings.list.iter().any(|found| found.severity == Severity::Error) {
        return;
    }
    let fallbacks = receivers.specs.iter().filter_map(|spec| spec.fallback);
    let digests = digests.iter().flat_map(|digest| &digest.receivers).copied();
    let used: Vec<usize> = routing.used.iter().copied().chain(digests).chain(fallbacks).collect();
    for raw in main.receivers.value().into_iter().flatten() {
        let Some(name) = raw.value.name.get() else { continue };
        let index = receivers.names.iter().position(|known| *known == name.value);
        if index.is_some_and(|index| !used.contains(&index)) {
            let message = format!("no route and no digest uses the receiver '{}'", name.value);
            context.findings.add(Diagnostic::warning(name.span, message));
        }
    }
}

fn fallback(field: &Field<String>, names: &[String], context: &mut Context<'_>) -> Option<usize> {
    let name = field.get()?;
    let index = names.iter().position(|known| *known == name.value);
    if index.is_none() {
        unknown(name, "receiver", names.iter().map(String::as_str), context.findings);
    }
    index
}

/// Each cycle is reported once, at its first receiver.
fn report_cycles(
    fields: &[&Field<String>],
    fallback_of: &[Option<usize>],
    names: &[String],
    context: &mut Context<'_>,
) {
    for (start, field) in fields.iter().enumerate() {
        let mut path = vec![start];
        let mut at = start;
        while let Some(next) = fallback_of[at] {
            // Cycles through an earlier receiver were reported there; one that does not lead back here is not this one's.
            if next < start || (next != start && path.contains(&next)) {
                break;
            }
            path.push(next);
            if next == start {
                let shown: Vec<_> = path.iter().map(|index| names[*index].as_str()).collect();
                let message = format!("the fallbacks go in a circle: {}", shown.join(" -> "));
                if let Some(field) = field.get() {
                    context.findings.error(field.span, message);
                }
                break;
            }
            at = next;
        }
    }
}

/// What stands is not known to a receiver that is only told what another refused, so it could not be held there.
fn report_levels(fields: &[&Field<String>], fallback_of: &[Option<usize>], out: &Receivers, context: &mut Context<'_>) {
    for (field, fallback) in fields.iter().zip(fallback_of) {
        let (Some(field), Some(fallback)) = (field.get(), fallback) else { continue };
        let name = &out.names[*fallback];
        let built = out.built.iter().find(|receiver| receiver.name == *name);
        if built.is_some_and(|receiver| receiver.kind.resend().is_some()) {
            let message = format!("'{name}' cannot stand in for another receiver");
            let label = "an Alertmanager lets an alert end that it is not told of again and again";
            let diagnostic = Diagnostic::error(field.span, message).label(label);
            context.findings.add(diagnostic.help("name it in the route, beside the receiver"));
        }
    }
}

fn kind(raw: &raw::Receiver, context: &mut Context<'_>) -> Option<ReceiverKind> {
    let kinds = [
        ("pagerduty", raw.pagerduty.key(), raw.pagerduty.is_absent()),
        ("slack", raw.slack.key(), raw.slack.is_absent()),
        ("webhook", raw.webhook.key(), raw.webhook.is_absent()),
        ("alertmanager", raw.alertmanager.key(), raw.alertmanager.is_absent()),
        ("email", raw.email.key(), raw.email.is_absent()),
    ];
    if kinds.iter().all(|(.., absent)| *absent) {
        let names = kinds.map(|(name, ..)| name).join(", ");
        let diagnostic = Diagnostic::error(raw.at, format!("a receiver needs one of: {names}"));
        context.findings.add(diagnostic.help("write, for example, webhook: {url: 'http://localhost:8080/slo'}"));
    }
    let given: Vec<(&str, Span)> = kinds.iter().filter_map(|(name, key, _)| Some((*name, (*key)?))).collect();
    if let [(first, first_key), (second, second_key), ..] = given[..] {
        let message = format!("a receiver is one thing, not both '{first}' and '{second}'");
        let diagnostic = Diagnostic::error(second_key, message).also(first_key, "the other");
        context.findings.add(diagnostic.help("write two receivers, and name both in a route"));
    }
    let pagerduty = raw.pagerduty.value().and_then(|raw| pagerduty(raw, context));
    let slack = raw.slack.value().and_then(|raw| slack(raw, context));
    let webhook = raw.webhook.value().and_then(|raw| webhook(raw, context));
    let alertmanager = raw.alertmanager.value().and_then(|raw| alertmanager::alertmanager(raw, context));
    let email = raw.email.value().and_then(|raw| email::email(raw, context));
    pagerduty.or(slack).or(webhook).or(alertmanager).or(email)
}

fn pagerduty(raw: &raw::PagerDuty, context: &mut Context<'_>) -> Option<ReceiverKind> {
    let key = http::required_secret("routing_key", &raw.routing_key, &raw.routing_key_file, raw.at, context);
    if let Some((key, at)) = &key
        && (key.expose().len() != ROUTING_KEY_CHARS || !key.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()))
    {
        let message = format!("a routing key has {ROUTING_KEY_CHARS} letters and digits, and this has not");
        let help = "it is the 'Integration Key' of an Events API v2 integration of a PagerDuty service";
        context.findings.add(Diagnostic::error(*at, message).help(help));
    }
    let url = match raw.url.get() {
        Some(Spanned { value: Url(url), span }) => {
            let path = reqwest::Url::parse(url).map_or(String::new(), |url| url.path().to_owned());
            if path.trim_matches('/').is_empty() {
                let diagnostic = Diagnostic::error(*span, "the whole address is wanted, with its path");
                context.findings.add(diagnostic.help(format!("write {}/v2/enqueue", url.trim_end_matches('/'))));
            }
            url.clone()
        }
        None => PAGERDUTY_URL.to_owned(),
    };
    Some(ReceiverKind::PagerDuty { routing_key: key?.0, url })
}

fn slack(raw: &raw::Slack, context: &mut Context<'_>) -> Option<ReceiverKind> {
    let webhook_url = secret_url("webhook_url", &raw.webhook_url, &raw.webhook_url_file, raw.at, context)?;
    Some(ReceiverKind::Slack { webhook_url })
}

fn webhook(raw: &raw::Webhook, context: &mut Context<'_>) -> Option<ReceiverKind> {
    let url = secret_url("url", &raw.url, &raw.url_file, raw.at, context);
    let secret = http::secret("secret", &raw.secret, &raw.secret_file, context);
    if let Some((secret, at)) = &secret
        && !is_signing_secret(secret)
    {
        let message = "a signing secret is 'whsec_' and the base64 of 24 to 64 bytes, and this is not";
        let help = "make one with: echo \"whsec_$(openssl rand -base64 32)\"";
        context.findings.add(Diagnostic::error(*at, message).help(help));
    }
    let http = http::client(&raw.http, context);
    Some(ReceiverKind::Webhook { url: url?, secret: secret.map(|(secret, _)| secret), http })
}

fn is_signing_secret(secret: &Secret) -> bool {
    let key = secret.expose().strip_prefix("whsec_").and_then(|base64| STANDARD.decode(base64).ok());
    key.is_some_and(|key| (24..=64).contains(&key.len()))
}

pub(super) fn secret_url(
    name: &str,
    inline: &Field<SecretUrl>,
    file: &Field<String>,
    at: Span,
    context: &mut Context<'_>,
) -> Option<Secret> {
    let inline = match inline {
        Field::Absent => Field::Absent,
        Field::Bad => Field::Bad,
        Field::Set { key, value } => {
            Field::Set { key: *key, value: Spanned { value: value.value.0.clone(), span: value.span } }
        }
    };
    let (url, at) = http::required_secret(name, &inline, file, at, context)?;
    if let Err(why) = crate::config::types::checked_url(url.expose()) {
        context.findings.add(Diagnostic::error(at, "the file does not hold an http address").label(why));
        return None;
    }
    Some(url)
}
