//! Mail: how it reads, how a send ends, and what a real server makes of it.

mod faults;
mod letters;
mod real;
mod script;
mod settings;

use slowburn::config::secret::Secret;
use slowburn::config::{Config, Email, Encryption, Login, Mailbox, Receiver, ReceiverKind, Templates};
use slowburn::engine::notification::Notification;
use slowburn::notify::Notifier;

use crate::notify::samples;

const PASSWORD: &str = "p4ssw0rdOfTheMail";
const RECEIVER: &str = "mail";

/// Settings for a server on loopback that is spoken to in the clear.
fn settings(port: u16, to: &[&str]) -> Email {
    let mailbox = |address: &str| Mailbox { name: None, address: address.into() };
    Email {
        host: "127.0.0.1".into(),
        port,
        encryption: Encryption::None,
        login: None,
        from: Mailbox { name: Some("slowburn".into()), address: "slo@example.com".into() },
        to: to.iter().map(|address| mailbox(address)).collect(),
        cc: vec![],
        ca_pem: None,
    }
}

fn login() -> Option<Login> {
    Some(Login { username: "slo".into(), password: Secret::new(PASSWORD.into()) })
}

/// The usual configuration with mail as its only receiver.
fn config(email: Email) -> Config {
    let mut config = samples::config("https://receivers.example.com");
    let kind = ReceiverKind::Email(Box::new(email));
    config.receivers = vec![Receiver { name: RECEIVER.into(), kind, template: Templates::default() }];
    config
}

fn notifier(email: Email) -> Notifier {
    Notifier::new(&config(email)).unwrap()
}

fn opened() -> Notification {
    Notification { receiver: 0, ..samples::opened() }
}
