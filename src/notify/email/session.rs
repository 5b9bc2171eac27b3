//! The conversation with a mail server, one command at a time, over lettre's connection.
//!
//! It knows no deadline of its own but that of a single connect and of a look at an idle connection: whoever calls wraps
//! the whole in one.

use std::error::Error as _;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Quit, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Severity};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};

use crate::config::Encryption;
use crate::engine::Outcome;
use crate::engine::time::Duration;
use crate::notify::secrets::Scrubber;

/// The most that a server may say in one connection before it has proven who it is.
const MAX_HEARD_BYTES: usize = 1 << 20;
/// One address of a host may take this long to connect to before the next is tried.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// An idle connection that does not answer within this is left.
const STILL_THERE_WITHIN: Duration = Duration::from_secs(2);
/// A farewell is a courtesy and not waited for longer.
const QUIT_WITHIN: Duration = Duration::from_secs(2);

/// What a conversation needs to begin.
pub struct Server<'a> {
    pub host: &'a str,
    pub port: u16,
    pub encryption: Encryption,
    /// `None` only for a connection that is never encrypted.
    pub tls: Option<&'a TlsParameters>,
    pub credentials: Option<&'a Credentials>,
}

/// An open connection, logged in and between two mails.
pub struct Session(AsyncSmtpConnection);

/// What did not go on, and where.
#[derive(Debug)]
pub struct Failure {
    step: &'static str,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Smtp(Error),
    Io(io::Error),
    NoStartTls,
    NoMechanism,
}

/// What the server said to one recipient.
#[derive(Debug)]
pub enum Answer {
    Accepted,
    /// Not now; the server's words.
    Deferred(Failure),
    /// Never.
    Refused(Failure),
}

impl Session {
    pub async fn open(server: &Server<'_>) -> Result<Self, Failure> {
        let hello = ClientId::default();
        let mut connection = match (server.encryption, server.tls) {
            (Encryption::Implicit, Some(tls)) => {
                let (address, within) = ((server.host, server.port), Some(CONNECT_WITHIN.to_std()));
                AsyncSmtpConnection::connect_tokio1(address, within, &hello, Some(tls.clone()), None)
                    .await
                    .map_err(at("connect"))?
            }
            _ => {
                let stream = connect(server.host, server.port).await?;
                let stream = Box::new(Bounded { stream, left: MAX_HEARD_BYTES });
                AsyncSmtpConnection::connect_with_transport(stream, &hello).await.map_err(at("the greeting"))?
            }
        };
        match (server.encryption, server.tls) {
            (Encryption::StartTls, Some(_)) if !connection.can_starttls() => {
                return Err(Failure { step: "EHLO", cause: Cause::NoStartTls });
            }
            (Encryption::StartTls | Encryption::StartTlsIfOffered, Some(tls)) if connection.can_starttls() => {
                connection.starttls(tls.clone(), &hello).await.map_err(at("STARTTLS"))?;
            }
            _ => {}
        }
        if let Some(credentials) = server.credentials {
            if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
                return Err(Failure { step: "EHLO", cause: Cause::NoMechanism });
            }
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(at("AUTH"))?;
        }
        Ok(Self(connection))
    }

    /// Whether an idle connection still answers.
    pub async fn is_there(&mut self) -> bool {
        let answer = tokio::time::timeout(STILL_THERE_WITHIN.to_std(), self.0.command(Noop)).await;
        matches!(answer, Ok(Ok(_)))
    }

    /// Begins a mail.
    pub async fn from(&mut self, sender: &Address) -> Result<(), Failure> {
        self.command("MAIL", Mail::new(Some(sender.clone()), vec![])).await
    }

    /// Names one recipient. Fails only where the conversation is over.
    pub async fn to(&mut self, recipient: &Address) -> Result<Answer, Failure> {
        let Err(failure) = self.command("RCPT", Rcpt::new(recipient.clone(), vec![])).await else {
            return Ok(Answer::Accepted);
        };
        match failure.severity() {
            Some(Severity::PermanentNegativeCompletion) => Ok(Answer::Refused(failure)),
            Some(_) if !failure.is_farewell() => Ok(Answer::Deferred(failure)),
            _ => Err(failure),
        }
    }

    /// Hands the mail over; once this returns it is the server's. The server's words, as they are.
    pub async fn data(&mut self, mail: &[u8]) -> Result<String, Failure> {
        self.command("DATA", Data).await?;
        let taken = self.0.message(mail).await.map_err(at("the mail"))?;
        Ok(format!("{} {}", taken.code(), taken.message().collect::<Vec<_>>().join(" ")))
    }

    pub async fn quit(mut self) {
        let _ = tokio::time::timeout(QUIT_WITHIN.to_std(), self.0.command(Quit)).await;
    }

    async fn command(&mut self, step: &'static str, command: impl Display) -> Result<(), Failure> {
        self.0.command(command).await.map(drop).map_err(at(step))
    }
}

impl Failure {
    /// How the send ended. What a server says with a 5 at the front it will say again, a wrong password included: then
    /// it is better that the fallback is told at once.
    pub fn outcome(&self, scrubber: &Scrubber) -> Outcome {
        let why = self.why(scrubber);
        match (&self.cause, self.severity()) {
            (Cause::NoStartTls | Cause::NoMechanism, _) | (_, Some(Severity::PermanentNegativeCompletion)) => {
                Outcome::Rejected { why }
            }
            _ => Outcome::Retry { after: None, why },
        }
    }

    /// `answered 550 to RCPT: no such user`, without secrets.
    pub fn why(&self, scrubber: &Scrubber) -> String {
        let error = match &self.cause {
            Cause::NoStartTls => return "the server offers no STARTTLS, and 'starttls' is 'required'".into(),
            Cause::NoMechanism => return "the server takes no login by PLAIN or LOGIN on this connection".into(),
            Cause::Io(error) => return format!("cannot connect: {}", scrubber.scrub(&error.to_string())),
            Cause::Smtp(error) => error,
        };
        let words = scrubber.scrub(&innermost(error));
        if error.is_response() {
            return format!("the exchange broke off at {}: {}", self.step, unreadable(&words));
        }
        match error.status() {
            Some(code) if words.is_empty() => format!("answered {code} to {}", self.step),
            Some(code) => format!("answered {code} to {}: {words}", self.step),
            None if self.step == "connect" => format!("cannot connect: {words}"),
            None => format!("the exchange broke off at {}: {words}", self.step),
        }
    }

    fn severity(&self) -> Option<Severity> {
        match &self.cause {
            Cause::Smtp(error) => error.status().map(|code| code.severity),
            Cause::Io(_) | Cause::NoStartTls | Cause::NoMechanism => None,
        }
    }

    /// 421 closes the connection, whatever it answers.
    fn is_farewell(&self) -> bool {
        matches!(&self.cause, Cause::Smtp(error) if error.status().is_some_and(|code| u16::from(code) == 421))
    }
}

fn at(step: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure { step, cause: Cause::Smtp(error) }
}

/// What lettre says of an answer that it cannot read, in words.
fn unreadable(words: &str) -> &str {
    match words {
        "incomplete response" => "the connection was closed",
        "SMTP response line too long" | "SMTP response too large" => "the server says too much",
        _ => "what it says is no answer of a mail server",
    }
}

fn innermost(error: &Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let failed = |error| Failure { step: "connect", cause: Cause::Io(error) };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await.map_err(failed)? {
        match tokio::time::timeout(CONNECT_WITHIN.to_std(), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no connection within 5s"),
        }
    }
    Err(failed(last))
}

/// A stream that ends when it was listened to for too long: lettre reads a line to its end, however far that is.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(Err(io::Error::other("the server says too much")));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.left = this.left.saturating_sub(buffer.filled().len() - before);
        result
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}
