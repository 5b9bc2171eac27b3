//! How to speak HTTP: headers, credentials, certificates; and every secret, inline or from a file.

use std::collections::BTreeMap;

use crate::config::decode::{Field, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw;
use crate::config::secret::Secret;
use crate::config::types::Named;
use crate::config::{Auth, HttpClient, Tls};

use super::Context;

const MAX_SECRET_BYTES: usize = 64 << 10;
const MAX_PEM_BYTES: usize = 1 << 20;

pub(super) fn client(raw: &raw::Http, context: &mut Context<'_>) -> HttpClient {
    let headers = headers(&raw.headers, context);
    let auth = auth(raw, context);
    if !matches!(auth, Auth::None)
        && let Field::Set { value, .. } = &raw.headers
        && let Some((name, _)) = value.value.0.iter().find(|(name, _)| name.value.eq_ignore_ascii_case("authorization"))
    {
        context.findings.error(name.span, "this header would be sent beside bearer_token or basic_auth");
    }
    HttpClient { headers, auth, tls: raw.tls.value().map(|raw| tls(raw, context)).unwrap_or_default() }
}

/// One secret out of `inline` and `file`, which are keys of the object at `at`. `None` if neither is given or what is
/// wrong has been reported.
pub(super) fn secret<'a>(
    name: &str,
    inline: &'a Field<Secret>,
    file: &'a Field<String>,
    context: &mut Context<'_>,
) -> Option<(Secret, Span)> {
    if let (Some(inline_key), Some(file_key)) = (inline.key(), file.key()) {
        let message = format!("both '{name}' and '{name}_file' are given");
        context.findings.add(Diagnostic::error(file_key, message).also(inline_key, "the other").help("keep one"));
        return None;
    }
    if let Some(Spanned { value, span }) = inline.get() {
        return Some((value.clone(), *span));
    }
    let path = file.get()?;
    let text = context.read_secret(path, MAX_SECRET_BYTES, || made_up(name))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        context.findings.error(path.span, format!("the file '{}' is empty", clipped(&path.value)));
        return None;
    }
    if text.contains(['\n', '\r']) {
        let message = format!("the file '{}' holds more than one line", clipped(&path.value));
        context.findings.error(path.span, message);
        return None;
    }
    Some((Secret::new(text.to_owned()), path.span))
}

/// Something that would pass for the secret of this name.
fn made_up(name: &str) -> String {
    match name {
        "url" | "webhook_url" => "https://made-up.invalid/".to_owned(),
        "routing_key" => "0".repeat(32),
        // 24 bytes of zeros.
        "secret" => format!("whsec_{}", "A".repeat(32)),
        _ => "0".repeat(64),
    }
}

/// As [`secret`], but one of the two must be given.
pub(super) fn required_secret(
    name: &str,
    inline: &Field<Secret>,
    file: &Field<String>,
    at: Span,
    context: &mut Context<'_>,
) -> Option<(Secret, Span)> {
    if inline.is_absent() && file.is_absent() {
        context.findings.error(at, format!("'{name}' or '{name}_file' is missing"));
    }
    secret(name, inline, file, context)
}

fn headers(field: &Field<Named<Secret>>, context: &mut Context<'_>) -> BTreeMap<String, Secret> {
    let mut headers: BTreeMap<String, Secret> = BTreeMap::new();
    for (name, value) in field.value().map_or(&[][..], |named| &named.0) {
        if reqwest::header::HeaderName::from_bytes(name.value.as_bytes()).is_err() {
            context.findings.error(name.span, format!("'{}' cannot name a header", clipped(&name.value)));
        }
        if reqwest::header::HeaderValue::from_str(value.value.expose()).is_err() {
            let message = format!("the value of the header '{}' holds control characters", clipped(&name.value));
            context.findings.error(value.span, message);
        }
        if headers.keys().any(|other| other.eq_ignore_ascii_case(&name.value)) {
            let message = format!("the header '{}' stands here twice (case makes no difference)", clipped(&name.value));
            context.findings.error(name.span, message);
        }
        headers.insert(name.value.clone(), value.value.clone());
    }
    headers
}

fn auth(raw: &raw::Http, context: &mut Context<'_>) -> Auth {
    let bearer = secret("bearer_token", &raw.bearer_token, &raw.bearer_token_file, context);
    let bearer_key = raw.bearer_token.key().or(raw.bearer_token_file.key());
    let basic = raw.basic_auth.value().map(|raw| basic(raw, context));
    if let (Some(bearer), Some(basic)) = (bearer_key, raw.basic_auth.key()) {
        let message = "both a bearer token and basic_auth are given; a request carries one of them";
        context.findings.add(Diagnostic::error(basic, message).also(bearer, "the other").help("keep one"));
    }
    match (bearer, basic.flatten()) {
        (Some((token, _)), _) => Auth::Bearer(token),
        (None, Some(basic)) => basic,
        (None, None) => Auth::None,
    }
}

fn basic(raw: &raw::BasicAuth, context: &mut Context<'_>) -> Option<Auth> {
    let password = required_secret("password", &raw.password, &raw.password_file, raw.at, context);
    let username = raw.username.get()?;
    if username.value.contains(':') {
        context.findings.error(username.span, "a username of basic_auth cannot hold a ':'");
    }
    Some(Auth::Basic { username: username.value.clone(), password: password?.0 })
}

fn tls(raw: &raw::Tls, context: &mut Context<'_>) -> Tls {
    let ca_pem = authorities(&raw.ca_file, context);
    let certificate = raw.cert_file.get().and_then(|path| pem(path, "CERTIFICATE", context));
    let key = raw.key_file.get().and_then(|path| pem(path, "PRIVATE KEY", context));
    for (one, other, missing) in
        [(&raw.cert_file, &raw.key_file, "key_file"), (&raw.key_file, &raw.cert_file, "cert_file")]
    {
        if let (Some(key), true) = (one.key(), other.is_absent()) {
            context.findings.error(key, format!("'{missing}' is missing: a client needs both certificate and key"));
        }
    }
    let identity = certificate.zip(key).map(|(certificate, key)| Secret::new(format!("{certificate}\n{key}")));
    Tls { ca_pem, identity_pem: identity }
}

/// The authorities of a `ca_file`.
pub(super) fn authorities(ca_file: &Field<String>, context: &mut Context<'_>) -> Option<Vec<u8>> {
    ca_file.get().and_then(|path| pem(path, "CERTIFICATE", context)).map(String::into_bytes)
}

/// A PEM file that holds at least one block whose kind ends with `kind`.
pub(super) fn pem(path: &Spanned<String>, kind: &str, context: &mut Context<'_>) -> Option<String> {
    let text = context.read_secret(path, MAX_PEM_BYTES, || format!("-----BEGIN {kind}-----\n"))?;
    let has_block =
        text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{kind}-----")));
    if !has_block {
        let message = format!("the file '{}' holds no PEM block '{kind}'", clipped(&path.value));
        context.findings.error(path.span, message);
        return None;
    }
    Some(text)
}
