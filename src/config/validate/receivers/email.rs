//! Mail: how the connection is secured, who logs in, and that nobody is written to twice.

use std::collections::BTreeMap;

use crate::config::decode::{Field, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{self, StartTls};
use crate::config::types::OneOrMore;
use crate::config::{Email, Encryption, Login, Mailbox, ReceiverKind};

use super::super::{Context, http};

/// What mails are from where the user gives an address only.
const SENDER_NAME: &str = "slowburn";
/// RFC 5321, section 4.5.3.1.8: what every server takes at least. Beyond it, a mailing list is the better tool.
const MAX_RECIPIENTS: usize = 100;

pub(super) fn email(raw: &raw::Email, context: &mut Context<'_>) -> Option<ReceiverKind> {
    let login = login(raw, context);
    let encryption = encryption(raw, context);
    let ca_pem = raw.tls.value().and_then(|tls| http::authorities(&tls.ca_file, context));
    let recipients = [mailboxes(&raw.to), mailboxes(&raw.cc)];
    report_recipients(&recipients.concat(), context);
    let [to, cc] = recipients.map(|list| list.into_iter().map(|it| it.value).collect::<Vec<_>>());
    let mut from = raw.from.value()?.clone();
    from.name.get_or_insert_with(|| SENDER_NAME.to_owned());
    let server = raw.smtp.value()?;
    Some(ReceiverKind::Email(Box::new(Email {
        host: server.host.clone(),
        port: server.port,
        encryption: encryption?,
        login,
        from,
        to,
        cc,
        ca_pem,
    })))
}

fn login(raw: &raw::Email, context: &mut Context<'_>) -> Option<Login> {
    let password = http::secret("password", &raw.password, &raw.password_file, context);
    let password_key = raw.password.key().or(raw.password_file.key());
    match (raw.username.key(), password_key) {
        (Some(username), None) if raw.password.is_absent() && raw.password_file.is_absent() => {
            let diagnostic = Diagnostic::error(username, "'username' without a password");
            context.findings.add(diagnostic.help("add password_file: PATH, or leave 'username' out"));
        }
        (None, Some(password)) if raw.username.is_absent() => {
            let diagnostic = Diagnostic::error(password, "a password without 'username'");
            context.findings.add(diagnostic.help("add username: NAME, or leave the password out"));
        }
        _ => {}
    }
    let username = raw.username.get()?;
    if username.value.chars().any(char::is_control) {
        context.findings.error(username.span, "the username holds a line break or another control character");
    }
    Some(Login { username: username.value.clone(), password: password?.0 })
}

fn encryption(raw: &raw::Email, context: &mut Context<'_>) -> Option<Encryption> {
    let server = raw.smtp.get()?;
    if server.value.implicit_tls {
        if let Some(key) = raw.starttls.key() {
            let diagnostic = Diagnostic::error(key, "'starttls' beside smtps://, which is encrypted from the start");
            context.findings.add(diagnostic.help("write smtp:// for STARTTLS, or leave 'starttls' out"));
        }
        return Some(Encryption::Implicit);
    }
    let starttls = match &raw.starttls {
        Field::Set { value, .. } => value.value,
        Field::Bad => return None,
        // Whoever names authorities means to be encrypted. Otherwise nothing leaves the machine, and what listens
        // there has seldom a certificate that anybody trusts.
        Field::Absent if server.value.is_loopback() && raw.tls.is_absent() => StartTls::Never,
        Field::Absent => StartTls::Required,
    };
    if let (StartTls::Never, Some(tls)) = (starttls, raw.tls.key()) {
        context.findings.error(tls, "'tls' beside 'starttls: never', which is not encrypted");
    }
    if let (StartTls::Never | StartTls::Optional, Some(username)) = (starttls, raw.username.key())
        && !server.value.is_loopback()
    {
        let message = "the password may cross the network in the clear";
        let diagnostic = Diagnostic::warning(username, message);
        context.findings.add(diagnostic.help("write starttls: required, or smtps:// if the server takes it"));
    }
    Some(match starttls {
        StartTls::Required => Encryption::StartTls,
        StartTls::Optional => Encryption::StartTlsIfOffered,
        StartTls::Never => Encryption::None,
    })
}

fn mailboxes(field: &Field<OneOrMore<Mailbox>>) -> Vec<Spanned<Mailbox>> {
    field.value().map_or_else(Vec::new, |list| list.0.clone())
}

fn report_recipients(recipients: &[Spanned<Mailbox>], context: &mut Context<'_>) {
    if let Some(extra) = recipients.get(MAX_RECIPIENTS) {
        let diagnostic = Diagnostic::error(extra.span, format!("more than {MAX_RECIPIENTS} recipients"));
        context.findings.add(diagnostic.help("write to a mailing list"));
    }
    let mut first: BTreeMap<String, Span> = BTreeMap::new();
    for Spanned { value, span } in recipients.iter().take(MAX_RECIPIENTS) {
        if let Some(first) = first.get(&value.address.to_lowercase()) {
            let message = format!("'{}' stands among the recipients twice", clipped(&value.address));
            context.findings.add(Diagnostic::error(*span, message).also(*first, "first here"));
        } else {
            first.insert(value.address.to_lowercase(), *span);
        }
    }
}
