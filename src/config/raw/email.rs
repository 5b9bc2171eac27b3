//! Mail as a receiver: the server, who writes, and to whom.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::config::Mailbox;
use crate::config::decode::{Decode, Definitions, Findings, clipped, object, scalar, text};
use crate::config::diagnostic::Diagnostic;
use crate::config::secret::Secret;
use crate::config::types::{OneOrMore, choice};
use crate::config::yaml::Node;

object! {
    "'email'"
    Email {
        /// The mail server: smtps://HOST with TLS from the start (port 465), or smtp://HOST with STARTTLS (port 587).
        smtp: SmtpAddress, required;
        /// Whether smtp:// must be encrypted before anything is said: required (the default), optional (where the server offers it) or never (the default on loopback).
        starttls: StartTls;
        /// Who logs in at the server.
        username: String;
        /// The password of that user.
        password: Secret;
        /// A file that holds it.
        password_file: String;
        /// Who the mails are from: slo@example.com or 'Name <slo@example.com>' (default name: slowburn).
        from: Mailbox, required;
        /// Who the mails go to.
        to: OneOrMore<Mailbox>, required;
        /// Who gets a copy.
        cc: OneOrMore<Mailbox>;
        /// Whom to trust beside the system's certificates.
        tls: EmailTls;
    }
}

object! {
    "'tls' of 'email'"
    EmailTls {
        /// PEM file of the authorities to trust instead of the system's.
        ca_file: String, required;
    }
}

/// Where a mail server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct SmtpAddress {
    /// TLS from the first byte on.
    pub implicit_tls: bool,
    /// A name in its ASCII form, or an IP address without brackets.
    pub host: String,
    pub port: u16,
}

/// When a connection that begins in the clear is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum StartTls {
    Required,
    Optional,
    Never,
}

const SMTP: (&str, &str) = ("a mail server's address", "smtps://mail.example.com or smtp://mail.example.com:587");
const MAILBOX: (&str, &str) = ("a mail address", "slo@example.com or 'Name <slo@example.com>', one address each");
const SMTPS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
/// RFC 5321, section 4.5.3.1.3: a path has 256 bytes, its angle brackets included.
const MAX_ADDRESS_BYTES: usize = 254;
const MAX_DISPLAY_NAME_CHARS: usize = 100;

choice!(StartTls, "a choice for STARTTLS", {
    "required" => StartTls::Required,
    "optional" => StartTls::Optional,
    "never" => StartTls::Never,
});

impl SmtpAddress {
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The reason never quotes the address.
    fn parse(text: &str) -> Result<Self, String> {
        let (implicit_tls, rest) = match (text.strip_prefix("smtps://"), text.strip_prefix("smtp://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            (None, None) => return Err("it must begin with smtps:// or smtp://".to_owned()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '\\']) {
            return Err("a host and at most a port are wanted after smtp://".to_owned());
        }
        // A colon within the brackets of an IPv6 address parts no port.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None => {
                if implicit_tls {
                    SMTPS_PORT
                } else {
                    SUBMISSION_PORT
                }
            }
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err("the port is no number between 1 and 65535".to_owned()),
                Ok(port) => port,
            },
        };
        // What the web calls a host is what a resolver can look up, with other scripts in their ASCII form.
        let url = reqwest::Url::parse(&format!("http://{host}/")).map_err(|_| "the host is none".to_owned())?;
        let host = url.host_str().unwrap_or_default();
        Ok(Self { implicit_tls, host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

impl Decode for SmtpAddress {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        // Somebody wrote a password into it, and the line is about to be shown.
        if text(node, findings, SMTP)?.text.contains('@') {
            findings.secrets.push(node.span);
            let diagnostic = Diagnostic::error(node.span, "an address must not hold credentials");
            findings.add(diagnostic.help("take them out of the address and use username and password_file"));
            return None;
        }
        scalar(node, findings, SMTP, SmtpAddress::parse)
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "^smtps?://[^@/?#]+/?$" })
    }
}

impl Decode for Mailbox {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, MAILBOX, mailbox)
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "@", "maxLength": MAX_ADDRESS_BYTES + MAX_DISPLAY_NAME_CHARS })
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    // A line break in a name or an address could begin a header of its own.
    if text.chars().any(char::is_control) {
        return Err("it holds a line break or another control character".to_owned());
    }
    let parsed: lettre::message::Mailbox = text.parse().map_err(|_| String::new())?;
    let address = parsed.email.to_string();
    if !address.is_ascii() {
        // Not every server on the way knows SMTPUTF8, and a page must not hang on that.
        let host = reqwest::Url::parse(&format!("http://{}/", parsed.email.domain())).ok();
        let domain = host.as_ref().and_then(|url| url.host_str()).filter(|_| parsed.email.user().is_ascii());
        return Err(match domain {
            Some(domain) => format!("in ASCII it is {}", clipped(&format!("{}@{domain}", parsed.email.user()))),
            None => "what stands before the '@' must be ASCII".to_owned(),
        });
    }
    if address.len() > MAX_ADDRESS_BYTES {
        return Err(format!("an address has at most {MAX_ADDRESS_BYTES} bytes"));
    }
    let name = parsed.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    if name.as_ref().is_some_and(|name| name.chars().count() > MAX_DISPLAY_NAME_CHARS) {
        return Err(format!("a name has at most {MAX_DISPLAY_NAME_CHARS} characters"));
    }
    Ok(Mailbox { name, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        for (text, implicit_tls, host, port) in [
            ("smtps://mail.example.com", true, "mail.example.com", 465),
            ("smtp://mail.example.com", false, "mail.example.com", 587),
            ("smtp://Mail.Example.com:25/", false, "mail.example.com", 25),
            ("smtp://mail.example.com:80", false, "mail.example.com", 80),
            ("smtps://[2001:db8::1]", true, "2001:db8::1", 465),
            ("smtps://[2001:db8::1]:2465", true, "2001:db8::1", 2465),
            ("smtps://bücher.example", true, "xn--bcher-kva.example", 465),
        ] {
            assert_eq!(SmtpAddress::parse(text), Ok(SmtpAddress { implicit_tls, host: host.into(), port }), "{text}");
        }
        for text in [
            "",
            "mail.example.com",
            "https://mail.example.com",
            "smtp://",
            "smtp://:25",
            "smtp://a b",
            "smtp://a:0",
            "smtp://a:65536",
            "smtp://a:b",
            "smtp://a/b",
            "smtp://a?b",
            "smtps://[::1",
        ] {
            assert!(SmtpAddress::parse(text).is_err(), "{text}");
        }
        for (text, loopback) in [
            ("smtp://localhost", true),
            ("smtp://127.0.0.9:25", true),
            ("smtp://[::1]", true),
            ("smtp://localhost.example.com", false),
        ] {
            assert_eq!(SmtpAddress::parse(text).map(|it| it.is_loopback()), Ok(loopback), "{text}");
        }
    }

    #[test]
    fn a_mailbox_is_an_address_and_perhaps_a_name() {
        let read = |text| mailbox(text).map(|it| (it.name.unwrap_or_default(), it.address));
        for (text, name, address) in [
            ("slo@example.com", "", "slo@example.com"),
            ("SLO alerts <slo@example.com>", "SLO alerts", "slo@example.com"),
            ("\"Ada, desk 4\" <ada@localhost>", "Ada, desk 4", "ada@localhost"),
            ("Zoë <zoe@example.com>", "Zoë", "zoe@example.com"),
        ] {
            assert_eq!(read(text), Ok((name.into(), address.into())), "{text}");
        }
        for text in [
            "",
            "slo",
            "@example.com",
            "slo@",
            "a@example.com, b@example.com",
            "a b@example.com",
            "<a@example.com",
            "x\r\nBcc: evil@example.com <a@example.com>",
            "a@exa\nmple.com",
            "ö@example.com",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("zoe@bücher.example"), Err("in ASCII it is zoe@xn--bcher-kva.example".into()));
    }
}
