//! A notification as a mail: headers that thread an incident, and the same message as text and as HTML.
//!
//! Threads: every mail of an incident to one receiver refers to one root, an id made of the incident's key, the
//! receiver and when it was opened, so that clients show them as one conversation whichever of them arrived. The subject
//! says stage and urgency and no number, so that it stays the same (with a `Re:`) until the incident gets worse; the
//! clients that also compare subjects begin a new conversation there, which is what an escalation is.

use std::time::{Duration as StdDuration, SystemTime};

use lettre::error::Error;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{MessageBuilder, MultiPart, MultiPartKind, SinglePart};

use crate::engine::histogram::place;
use crate::engine::notification::{Digest, DigestKind, Notification, Reason};
use crate::engine::time::Timestamp;
use crate::notify::facts::is_of_source;
use crate::notify::message::{MAX_TITLE, Message, capitalised};
use crate::notify::{short_hash, text};

use super::html;

/// The longest subject: what a phone shows of one, and some more for long names.
const MAX_SUBJECT: usize = 120;
/// The longest value of a header of slowburn's own.
const MAX_HEADER: usize = 255;
/// The last second that has a date of four digits.
const LAST_DATE_S: u64 = 253_402_300_799;

/// What a mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Everybody who stands in the headers.
#[derive(Debug, Clone)]
pub struct Parties {
    pub from: lettre::message::Mailbox,
    pub to: Vec<lettre::message::Mailbox>,
    pub cc: Vec<lettre::message::Mailbox>,
}

impl Letter {
    pub fn new(notification: &Notification, message: &Message) -> Self {
        let custom = &message.custom;
        let subject = |title: &String| text::clip(title, MAX_TITLE);
        Self {
            subject: custom.title.as_ref().map_or_else(|| self::subject(notification, message), subject),
            text: custom.text.clone().unwrap_or_else(|| plain(notification, message)),
            html: custom.html.clone().unwrap_or_else(|| html::page(notification, message)),
        }
    }

    /// The whole mail as it goes over the wire, the same for every try.
    pub fn into_mail(self, notification: &Notification, receiver: &str, parties: &Parties) -> Result<Vec<u8>, Error> {
        let domain = parties.from.email.domain();
        let id = token(&notification.id);
        let mut builder = MessageBuilder::new()
            .from(parties.from.clone())
            .subject(self.subject)
            .date(date(notification.at))
            .message_id(Some(format!("<{id}@{domain}>")));
        for to in &parties.to {
            builder = builder.to(to.clone());
        }
        for cc in &parties.cc {
            builder = builder.cc(cc.clone());
        }
        // A list of many incidents belongs to none of them.
        if notification.digest.is_none() {
            let root = root(notification, receiver, domain);
            builder = builder.references(root.clone());
            if !is_first(notification.reason) {
                builder = builder.in_reply_to(root);
            }
        }
        let alternatives = MultiPart::builder()
            .kind(MultiPartKind::Alternative)
            .boundary(format!("slowburn-{}", short_hash(&[&notification.id, "boundary"])));
        let body = alternatives.singlepart(SinglePart::plain(self.text)).singlepart(SinglePart::html(self.html));
        Ok(own_headers(builder, notification).multipart(body)?.formatted())
    }
}

/// `Critical page: checkout{region="eu"}`, with `Re: ` where something of the same subject went before.
fn subject(notification: &Notification, message: &Message) -> String {
    let re = if is_first(notification.reason) || notification.reason == Reason::Escalated { "" } else { "Re: " };
    if is_of_source(notification) {
        return format!("{re}Blind: the source of histograms is out of sight");
    }
    let (stage, urgency) = (capitalised(notification.stage.as_str()), notification.urgency.as_str());
    match &notification.digest {
        Some(Digest { kind: DigestKind::Flood, open: 1.., .. }) => {
            return text::line(&format!("{stage} {urgency}: {}", message.title), MAX_SUBJECT);
        }
        Some(_) => return text::line(&message.title, MAX_SUBJECT),
        None if notification.reason == Reason::Test => return text::line(&message.title, MAX_SUBJECT),
        None => {}
    }
    let mut labels = notification.group.clone();
    labels.remove("journey");
    let place = place(notification.journey.as_deref().unwrap_or_default(), None, &labels);
    text::line(&format!("{re}{stage} {urgency}: {place}"), MAX_SUBJECT)
}

fn is_first(reason: Reason) -> bool {
    matches!(reason, Reason::Opened | Reason::Blind | Reason::Test)
}

/// What every mail of an incident refers to.
fn root(notification: &Notification, receiver: &str, domain: &str) -> String {
    let opened_at = notification.opened_at.to_string();
    format!("<incident-{}@{domain}>", short_hash(&[&notification.incident, receiver, &opened_at]))
}

/// An id as it may stand in `Message-ID`: itself where every character may, or else its hash.
fn token(id: &str) -> String {
    let fits = !id.is_empty() && id.len() <= 200 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits { id.to_owned() } else { short_hash(&[id]) }
}

fn date(at: Timestamp) -> SystemTime {
    let unix_s = u64::try_from(at.unix_ms().div_euclid(1000)).unwrap_or(0).min(LAST_DATE_S);
    SystemTime::UNIX_EPOCH + StdDuration::from_secs(unix_s)
}

/// For filters and automatic answers: what no person reads.
fn own_headers(builder: MessageBuilder, notification: &Notification) -> MessageBuilder {
    let own = [
        // RFC 3834: no vacation notice is to answer this; Exchange listens to the second.
        (HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated"),
        (HeaderName::new_from_ascii_str("X-Auto-Response-Suppress"), "OOF, AutoReply"),
        (HeaderName::new_from_ascii_str("X-Slowburn-Incident"), notification.incident.as_str()),
        (HeaderName::new_from_ascii_str("X-Slowburn-Reason"), notification.reason.as_str()),
        (HeaderName::new_from_ascii_str("X-Slowburn-Stage"), notification.stage.as_str()),
        (HeaderName::new_from_ascii_str("X-Slowburn-Urgency"), notification.urgency.as_str()),
    ];
    own.into_iter().fold(builder, |builder, (name, value)| {
        builder.raw_header(HeaderValue::new(name, text::line(value, MAX_HEADER)))
    })
}

/// Of the lines about alerts. What is over has no worst alert any more that the facts tell of.
pub fn heading(notification: &Notification) -> &'static str {
    match (&notification.digest, notification.reason) {
        (Some(_), _) => "Incidents",
        (None, Reason::Resolved) => "Alerts",
        (None, _) => "Further alerts",
    }
}

/// The message for those who read text: a fact a paragraph, which every client wraps as wide as it is.
fn plain(notification: &Notification, message: &Message) -> String {
    let mut lines = vec![message.title.clone(), String::new()];
    lines.extend(message.facts.iter().map(|fact| format!("{}: {}", fact.label, fact.text)));
    if !message.further.is_empty() {
        lines.extend([String::new(), format!("{}:", heading(notification))]);
        lines.extend(message.further.iter().map(|line| format!("- {line}")));
    }
    let links = [("Runbook", &message.runbook), ("Query in Prometheus", &message.query)];
    for (label, url) in links.into_iter().filter_map(|(label, url)| Some((label, url.as_ref()?))) {
        lines.extend([String::new(), format!("{label}:"), url.clone()]);
    }
    // Clients show what follows two dashes and a space as a signature.
    lines.extend([String::new(), "-- ".into(), message.footer.clone(), String::new()]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mail_parser::{HeaderValue as Parsed, Message as Mail, MessageParser, MimeHeaders as _};
    use proptest::prelude::*;

    use super::*;
    use crate::engine::rule::{Stage, Urgency};
    use crate::notify::Fact;

    fn notification(reason: Reason) -> Notification {
        Notification {
            id: "sb-1".into(),
            at: Timestamp::from_unix_s(1_772_853_300),
            receiver: 0,
            reason,
            incident: "checkout".into(),
            journey: Some("checkout".into()),
            owner: None,
            runbook: None,
            group: BTreeMap::from([("journey".into(), "checkout".into())]),
            stage: Stage::Critical,
            urgency: Urgency::Page,
            opened_at: Timestamp::from_unix_s(1_772_853_120),
            resolved_at: None,
            alerts: vec![],
            detail: None,
            digest: None,
            summary: String::new(),
        }
    }

    fn message(text: &str) -> Message {
        Message {
            title: text.into(),
            summary: text.into(),
            facts: vec![Fact { label: "What", text: text.into() }],
            further: vec![text.into()],
            runbook: None,
            query: None,
            opened_at: Timestamp::from_unix_s(0),
            footer: text.into(),
            custom: Default::default(),
        }
    }

    fn parties() -> Parties {
        let mailbox = |text: &str| text.parse().expect("a mailbox");
        Parties { from: mailbox("slowburn <slo@example.com>"), to: vec![mailbox("Zoë <zoe@example.com>")], cc: vec![] }
    }

    fn wire(notification: &Notification, message: &Message) -> Vec<u8> {
        Letter::new(notification, message).into_mail(notification, "mail", &parties()).expect("a mail")
    }

    fn header(mail: &Mail<'_>, name: &str) -> String {
        match mail.header(name) {
            Some(Parsed::Text(text)) => text.to_string(),
            Some(Parsed::TextList(texts)) => texts.join(" "),
            _ => String::new(),
        }
    }

    #[test]
    fn an_incident_is_one_thread() {
        let told = [Reason::Opened, Reason::Escalated, Reason::Repeated, Reason::Resolved]
            .map(|reason| Notification { id: format!("sb-{}", reason.as_str()), ..notification(reason) });
        let wires = told.each_ref().map(|notification| wire(notification, &message("x")));
        let mails = wires.each_ref().map(|wire| MessageParser::new().parse(wire).expect("a mail"));
        let root = header(&mails[0], "References");
        assert!(root.starts_with("incident-") && root.ends_with("@example.com"), "{root}");
        for (mail, (subject, replies)) in mails.iter().zip([
            ("Critical page: checkout", false),
            ("Critical page: checkout", true),
            ("Re: Critical page: checkout", true),
            ("Re: Critical page: checkout", true),
        ]) {
            assert_eq!(mail.subject(), Some(subject));
            assert_eq!(header(mail, "References"), root);
            assert_eq!(header(mail, "In-Reply-To"), if replies { root.as_str() } else { "" });
        }
        assert_eq!(
            mails.each_ref().map(|mail| mail.message_id().unwrap_or_default()),
            ["sb-opened@example.com", "sb-escalated@example.com", "sb-repeated@example.com", "sb-resolved@example.com"]
        );

        let opened = notification(Reason::Opened);
        let later = Notification { opened_at: opened.at, ..opened.clone() };
        let other = Notification { incident: "search".into(), ..opened.clone() };
        let roots = [&opened, &later, &other].map(|it| super::root(it, "mail", "example.com"));
        assert!(roots[0] != roots[1] && roots[0] != roots[2], "{roots:?}");
        assert_ne!(roots[0], super::root(&opened, "another", "example.com"));
    }

    #[test]
    fn every_try_sends_the_same_bytes() {
        let notification = notification(Reason::Opened);
        assert_eq!(wire(&notification, &message("é")), wire(&notification, &message("é")));
    }

    #[test]
    fn a_date_that_mail_cannot_write_is_the_nearest_it_can() {
        for (unix_s, expected) in [
            (1_772_853_300, "2026-03-07T03:15:00Z"),
            (-5, "1970-01-01T00:00:00Z"),
            (300_000_000_000, "9999-12-31T23:59:59Z"),
        ] {
            let at = Timestamp::from_unix_s(unix_s);
            let wire = wire(&Notification { at, ..notification(Reason::Opened) }, &message("x"));
            let mail = MessageParser::new().parse(&wire).expect("a mail");
            assert_eq!(mail.date().map(|date| date.to_rfc3339()).as_deref(), Some(expected));
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~]{0,200}",
            "(\\r|\\n|\\r\\n|Bcc: a@b.c|<|>|@|\\.|--|é|🔥|=\\?utf-8\\?q\\?|, |\t| ){0,40}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_text_makes_a_header_or_leaves_its_part(
            texts in (text(), text(), text(), text(), text(), any::<i64>()),
            reason in prop::sample::select(vec![Reason::Opened, Reason::Escalated, Reason::Resolved, Reason::Blind]),
        ) {
            let (id, incident, journey, label, said, at) = texts;
            let notification = Notification {
                id,
                incident,
                journey: (reason != Reason::Blind).then_some(journey),
                group: BTreeMap::from([("region".into(), label)]),
                at: Timestamp::from_unix_ms(at),
                ..notification(reason)
            };
            let message = message(&text::line(&said, 600));
            let letter = Letter::new(&notification, &message);
            let wire = wire(&notification, &message);
            prop_assert!(wire.is_ascii());
            prop_assert!(wire.split(|byte| *byte == b'\n').all(|line| line.len() <= 998));

            let mail = MessageParser::new().parse(&wire).expect("a mail");
            let names: Vec<String> = mail.headers().iter().map(|it| it.name.as_str().to_ascii_lowercase()).collect();
            let mut expected = vec![
                "from", "subject", "date", "message-id", "to", "references", "in-reply-to", "auto-submitted",
                "x-auto-response-suppress", "x-slowburn-incident", "x-slowburn-reason", "x-slowburn-stage",
                "x-slowburn-urgency", "mime-version", "content-type",
            ];
            expected.retain(|name| *name != "in-reply-to" || !is_first(reason));
            let sorted = |mut names: Vec<String>| { names.sort(); names };
            prop_assert_eq!(sorted(names), sorted(expected.into_iter().map(str::to_owned).collect()));
            prop_assert_eq!(mail.subject().unwrap_or_default(), letter.subject.trim_end());
            prop_assert!(text::units(&letter.subject) <= MAX_SUBJECT);

            prop_assert_eq!((mail.parts.len(), mail.text_body_count(), mail.html_body_count()), (3, 1, 1));
            prop_assert!(mail.parts[0].is_content_type("multipart", "alternative"));
            let lines = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
            prop_assert_eq!(lines(&mail.body_text(0).unwrap_or_default()), lines(&letter.text));
            prop_assert_eq!(lines(&mail.body_html(0).unwrap_or_default()), lines(&letter.html));
        }
    }
}
