//! Mail over SMTP: a multipart of text and HTML, threaded by incident, sent within one deadline.
//!
//! How a send ends: what a server answers with 4xx is tried again, and so is every broken exchange, an untrusted
//! certificate included; 5xx is final, also for a wrong password, because no retry heals it and the fallback is to know
//! at once. The mail and its `Message-ID` are the same on every try, so that a mail which was taken in an exchange that
//! broke off is seen to be the same one.
//!
//! Several recipients: those the server takes are told at once. Those it defers are tried again alone, and those it
//! refuses are named in a remark; the send as a whole fails only if all of them are refused.

mod html;
mod letter;
mod session;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use serde_json::{Value, json};

use crate::clock::Deadline;
use crate::config::{Email, Encryption};
use crate::engine::Outcome;
use crate::engine::notification::Notification;
use crate::engine::time::{Duration, Timestamp};

use self::letter::{Letter, Parties};
use self::session::{Answer, Failure, Server, Session};
use super::message::Message;
use super::secrets::Scrubber;
use super::{Flaw, Remark, Reply, text};

/// A mail passes a greeting, two handshakes, a login and a spam filter, and may take this many times as long as a post.
const PATIENCE: f64 = 3.0;
/// An idle connection is closed after this; servers close theirs after five minutes (RFC 5321, section 4.5.3.2.7).
const IDLE_FOR: Duration = Duration::from_secs(30);
/// A connection that brought this many mails is closed: some servers refuse more.
const MAX_MAILS: u32 = 50;
/// Notifications of which some recipients were told and others deferred; the oldest is forgotten beyond it, and then
/// told again as a whole.
const MAX_PARTLY_TOLD: usize = 256;
/// The longest reason that names recipients.
const MAX_WHY: usize = 600;

/// What a mail says, without the headers that only machines read.
pub fn body(notification: &Notification, message: &Message) -> Value {
    let Letter { subject, text, html } = Letter::new(notification, message);
    json!({ "subject": subject, "text": text, "html": html })
}

/// Sends mail for one receiver.
pub struct Mailer {
    settings: Email,
    parties: Parties,
    /// The addresses of `to` and `cc`.
    recipients: Vec<Address>,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    idle: Arc<Mutex<Option<Idle>>>,
    partly_told: Mutex<VecDeque<PartlyTold>>,
}

struct Idle {
    session: Session,
    mails: u32,
    closes: Deadline,
}

/// What is settled of a notification, by index into the recipients: told, or refused with these words.
struct PartlyTold {
    id: String,
    settled: Settled,
}

type Settled = BTreeMap<usize, Option<String>>;

/// How far one exchange came.
#[derive(Default)]
struct Progress {
    settled: Settled,
    /// Why some are to be tried again.
    deferred: Option<Outcome>,
}

impl Mailer {
    pub fn new(settings: &Email) -> Result<Self, Flaw> {
        let mailbox = |it: &crate::config::Mailbox| {
            let address = it.address.parse().map_err(|_| Flaw::MailAddress(it.address.clone()))?;
            Ok(Mailbox::new(it.name.clone(), address))
        };
        let all = |list: &[crate::config::Mailbox]| list.iter().map(mailbox).collect::<Result<Vec<_>, Flaw>>();
        let parties = Parties { from: mailbox(&settings.from)?, to: all(&settings.to)?, cc: all(&settings.cc)? };
        let login = settings.login.as_ref();
        Ok(Self {
            recipients: parties.to.iter().chain(&parties.cc).map(|it| it.email.clone()).collect(),
            parties,
            tls: tls(settings)?,
            credentials: login.map(|it| Credentials::new(it.username.clone(), it.password.expose().to_owned())),
            idle: Arc::default(),
            partly_told: Mutex::default(),
            settings: settings.clone(),
        })
    }

    /// Sends once to all recipients that are not settled.
    pub async fn send(
        &self,
        notification: &Notification,
        message: &Message,
        receiver: &str,
        (deadline, _, scrubber): (Duration, Timestamp, &Scrubber),
    ) -> Reply {
        let deadline = deadline.times(PATIENCE);
        let letter = Letter::new(notification, message);
        let mail = match letter.into_mail(notification, receiver, &self.parties) {
            Ok(mail) => mail,
            Err(error) => {
                return Outcome::Rejected { why: scrubber.scrub(&format!("no mail can be made: {error}")) }.into();
            }
        };
        let mut progress = Progress { settled: self.take_settled(&notification.id), deferred: None };
        let exchange = self.exchange(&mail, &mut progress, scrubber);
        let ended = tokio::time::timeout(deadline.to_std(), exchange).await;
        let (failed, said) = match ended {
            Ok(Ok(said)) => (progress.deferred, said.map(|said| format!("answered {}", scrubber.scrub(&said)))),
            Ok(Err(failure)) => (Some(failure.outcome(scrubber)), None),
            Err(_) => (Some(Outcome::Retry { after: None, why: format!("no whole answer within {deadline}") }), None),
        };
        Reply { said, ..self.conclude(notification, progress.settled, failed) }
    }

    /// What has become of the notification as a whole.
    fn conclude(&self, notification: &Notification, settled: Settled, failed: Option<Outcome>) -> Reply {
        let told = settled.values().any(Option::is_none);
        let refused: Vec<String> = settled
            .iter()
            .filter_map(|(index, why)| Some(format!("{} ({})", self.recipients.get(*index)?, why.as_ref()?)))
            .collect();
        match failed {
            Some(outcome @ Outcome::Retry { .. }) => {
                self.keep_settled(&notification.id, settled);
                outcome.into()
            }
            // Nothing helps those who are left, but somebody knows.
            Some(Outcome::Rejected { why }) if told => partly(why),
            Some(outcome) => outcome.into(),
            None if !told => Outcome::Rejected { why: text::line(&refused.join("; "), MAX_WHY) }.into(),
            None if refused.is_empty() => Outcome::Delivered.into(),
            None => partly(text::line(&refused.join("; "), MAX_WHY)),
        }
    }

    /// One conversation; the server's words where it took the mail.
    async fn exchange(
        &self,
        mail: &[u8],
        progress: &mut Progress,
        scrubber: &Scrubber,
    ) -> Result<Option<String>, Failure> {
        let (mut session, mails) = self.session().await?;
        session.from(&self.parties.from.email).await?;
        let mut accepted = Vec::new();
        for (index, recipient) in self.recipients.iter().enumerate() {
            if progress.settled.contains_key(&index) {
                continue;
            }
            match session.to(recipient).await? {
                Answer::Accepted => accepted.push(index),
                Answer::Refused(failure) => drop(progress.settled.insert(index, Some(failure.why(scrubber)))),
                Answer::Deferred(failure) => progress.deferred = Some(failure.outcome(scrubber)),
            }
        }
        if accepted.is_empty() {
            // A mail without recipients stays begun, so this connection is of no more use.
            session.quit().await;
            return Ok(None);
        }
        let said = session.data(mail).await?;
        progress.settled.extend(accepted.into_iter().map(|index| (index, None)));
        self.keep(session, mails + 1);
        Ok(Some(said))
    }

    /// The idle connection if it is still good, or else a new one; and how many mails it brought.
    async fn session(&self) -> Result<(Session, u32), Failure> {
        let idle = locked(&self.idle).take();
        if let Some(mut idle) = idle
            && !idle.closes.remaining().is_zero()
            && idle.session.is_there().await
        {
            return Ok((idle.session, idle.mails));
        }
        let server = Server {
            host: &self.settings.host,
            port: self.settings.port,
            encryption: self.settings.encryption,
            tls: self.tls.as_ref(),
            credentials: self.credentials.as_ref(),
        };
        Ok((Session::open(&server).await?, 0))
    }

    /// Keeps one connection for the mails that come with this one; in the background, so that no send waits for it.
    fn keep(&self, session: Session, mails: u32) {
        if mails >= MAX_MAILS {
            tokio::spawn(session.quit());
            return;
        }
        let before = locked(&self.idle).replace(Idle { session, mails, closes: Deadline::after(IDLE_FOR) });
        if let Some(before) = before {
            tokio::spawn(before.session.quit());
        }
        let idle = Arc::downgrade(&self.idle);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE_FOR.to_std()).await;
            let Some(idle) = idle.upgrade() else { return };
            let expired = locked(&idle).take_if(|idle| idle.closes.remaining().is_zero());
            if let Some(expired) = expired {
                expired.session.quit().await;
            }
        });
    }

    fn take_settled(&self, id: &str) -> Settled {
        let mut all = locked(&self.partly_told);
        let at = all.iter().position(|it| it.id == id);
        at.and_then(|at| all.remove(at)).map(|it| it.settled).unwrap_or_default()
    }

    fn keep_settled(&self, id: &str, settled: Settled) {
        if settled.is_empty() {
            return;
        }
        let mut all = locked(&self.partly_told);
        if all.len() >= MAX_PARTLY_TOLD {
            all.pop_front();
        }
        all.push_back(PartlyTold { id: id.to_owned(), settled });
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn partly(why: String) -> Reply {
    Reply { remarks: vec![Remark::RecipientsRefused(why)], ..Outcome::Delivered.into() }
}

/// What the connection is encrypted with. On a machine without any authorities every server is refused when it is
/// connected to; that is no reason not to start.
fn tls(settings: &Email) -> Result<Option<TlsParameters>, Flaw> {
    if settings.encryption == Encryption::None {
        return Ok(None);
    }
    let none = || TlsParameters::builder(settings.host.clone()).certificate_store(CertificateStore::None);
    let flaw = |error: lettre::transport::smtp::Error| Flaw::MailTls(error.to_string());
    let Some(pem) = &settings.ca_pem else {
        let system = TlsParameters::builder(settings.host.clone()).build();
        return system.or_else(|_| none().build()).map(Some).map_err(flaw);
    };
    let authorities = Certificate::from_pem(pem).map_err(flaw)?;
    none().add_root_certificate(authorities).build().map(Some).map_err(flaw)
}

/// What a panicked send left behind is whole: nothing here panics while it holds a lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
