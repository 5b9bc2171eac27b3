//! What is needed to send mail.

use super::secret::Secret;

/// A mail server, and who is written to by whom.
#[derive(Debug, Clone)]
pub struct Email {
    /// A name in its ASCII form, or an IP address without brackets.
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
    pub login: Option<Login>,
    /// Has a name.
    pub from: Mailbox,
    /// At least one; none of them again among `cc`.
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    /// The authorities to trust instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// How the way to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// From the first byte on.
    Implicit,
    /// By STARTTLS, and nothing is said to a server that does not offer it.
    StartTls,
    /// By STARTTLS where it is offered.
    StartTlsIfOffered,
    None,
}

#[derive(Debug, Clone)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

/// `Name <address>`. Neither part holds a control character, and the address is ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    pub name: Option<String>,
    pub address: String,
}
