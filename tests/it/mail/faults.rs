//! How a send ends with servers that refuse, defer, hang or break off at each step, and that nothing said about it holds
//! a secret.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use mail_parser::MessageParser;
use slowburn::clock::{Clock, Stopwatch};
use slowburn::config::Email;
use slowburn::engine::Outcome;
use slowburn::engine::time::Duration;
use slowburn::notify::{Remark, Reply};

use super::script::{Act, Server, polite, say};
use super::{PASSWORD, config, login, notifier, opened, settings};
use crate::golden;
use crate::notify::sending::{Log, shown};

/// The steps of one mail, as a client goes through them.
const STEPS: [&str; 7] = ["greeting", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "mail"];

fn one_recipient(server: &Server) -> Email {
    Email { login: login(), ..settings(server.port, &["team@example.com"]) }
}

async fn send_within(email: Email, deadline: Duration) -> Reply {
    // Mail may take three times as long as a post.
    let notifier = notifier(email).with_deadline(deadline.times(1.0 / 3.0));
    notifier.send_and_hear(&opened(), Clock.now()).await
}

async fn send(email: Email) -> Reply {
    send_within(email, Duration::from_secs(30)).await
}

/// A server that plays `act` at the steps that begin with `at`.
async fn playing(at: &str, act: Act) -> Server {
    let at = at.to_owned();
    Server::start(move |_, step| if step.starts_with(&at) { act.clone() } else { polite(step) }).await
}

#[tokio::test]
async fn each_answer_ends_a_send_as_the_golden_file_says() {
    let mut told = String::new();
    for step in STEPS {
        for answer in ["451 4.3.0 try again later", "550 5.7.1 not here", "421 closing", "nonsense"] {
            let server = playing(step, say(answer)).await;
            let reply = send(one_recipient(&server)).await;
            told += &format!("{step:10} {answer:26} {}\n", shown(&reply.outcome));
        }
    }
    golden::check("notify/mail_outcomes.txt", &told);
}

#[tokio::test]
async fn whatever_hangs_drips_or_floods_ends_within_the_deadline() {
    let mut sends = tokio::task::JoinSet::new();
    for step in STEPS {
        for act in [Act::Hang, Act::Drip, Act::Flood, Act::Cut] {
            sends.spawn(async move {
                let server = playing(step, act.clone()).await;
                let stopwatch = Stopwatch::start();
                let reply = send_within(one_recipient(&server), Duration::from_secs(3)).await;
                let took_s = stopwatch.elapsed_s();
                let Outcome::Retry { after: None, why } = &reply.outcome else { panic!("{step} {act:?}: {reply:?}") };
                let expected = match act {
                    Act::Hang | Act::Drip => "no whole answer within 3s".to_owned(),
                    // A mebibyte without a line's end is no answer, and nobody waits for more of it.
                    Act::Flood | Act::Cut | Act::Say(_) => String::new(),
                };
                assert!(why.contains(&expected) && took_s < 15.0, "{step} {act:?}: {why} after {took_s} s");
                assert!(!matches!(act, Act::Flood) || why.contains("says too much"), "{step}: {why}");
            });
        }
    }
    while let Some(send) = sends.join_next().await {
        send.unwrap();
    }
}

#[tokio::test]
async fn a_mail_taken_in_an_exchange_that_broke_off_comes_again_as_itself() {
    let server = Server::start(|connection, step| match (connection, step) {
        (0, "mail") => Act::Cut,
        (1, "mail") => say("451 4.3.0 try again later"),
        _ => polite(step),
    })
    .await;
    let notifier = notifier(settings(server.port, &["team@example.com"]));
    for _ in 0..2 {
        assert!(matches!(notifier.send(&opened(), Clock.now()).await, Outcome::Retry { .. }));
    }
    let reply = notifier.send_and_hear(&opened(), Clock.now()).await;
    let said = Some("answered 250 2.0.0 queued as 4711".into());
    assert_eq!(reply, Reply { outcome: Outcome::Delivered, said, remarks: vec![] });

    let mails = server.mails();
    assert_eq!((mails.len(), &mails[0], &mails[0]), (3, &mails[1], &mails[2]));
    let mail = MessageParser::new().parse(mails[0].as_bytes()).unwrap();
    assert_eq!(mail.message_id(), Some(format!("{}@example.com", opened().id).as_str()));
    assert_eq!(mail.date().unwrap().to_timestamp() as f64, opened().at.unix_s(), "the time of the decision");
}

#[tokio::test]
async fn some_recipients_refused_is_a_remark_and_all_a_refusal() {
    let refuse = |_, step: &str| if step.contains("<gone") { say("550 5.1.1 no such user") } else { polite(step) };
    let server = Server::start(refuse).await;
    let to = ["gone@example.com", "ada@example.com", "gone.too@example.com"];
    let reply = send(settings(server.port, &to)).await;
    let refused = "gone@example.com (answered 550 to RCPT: 5.1.1 no such user); \
                   gone.too@example.com (answered 550 to RCPT: 5.1.1 no such user)";
    assert_eq!(
        (&reply.outcome, &reply.remarks[..]),
        (&Outcome::Delivered, &[Remark::RecipientsRefused(refused.into())][..])
    );
    assert_eq!(server.mails().len(), 1);

    let reply = send(settings(server.port, &["gone@example.com"])).await;
    let why = "gone@example.com (answered 550 to RCPT: 5.1.1 no such user)".into();
    assert_eq!((reply.outcome, reply.remarks), (Outcome::Rejected { why }, vec![]));
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn who_was_told_is_not_told_again_while_others_wait() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_, step| {
        let greylisted = step.contains("<grey") && asked.fetch_add(1, Ordering::SeqCst) < 2;
        if greylisted { say("450 4.2.0 greylisted, come back") } else { polite(step) }
    })
    .await;
    let notifier = notifier(settings(server.port, &["ada@example.com", "grey@example.com"]));
    let mut outcomes = vec![];
    for _ in 0..3 {
        outcomes.push(shown(&notifier.send(&opened(), Clock.now()).await));
    }
    let deferred = "retry      answered 450 to RCPT: 4.2.0 greylisted, come back";
    assert_eq!(outcomes, [deferred, deferred, "delivered"]);
    assert_eq!(
        server.steps("RCPT"),
        ["ada", "grey", "grey", "grey"].map(|name| format!("RCPT TO:<{name}@example.com>"))
    );
    assert_eq!(server.mails().len(), 2);
}

#[tokio::test]
async fn a_connection_is_used_again_and_replaced_when_it_is_dead() {
    let server = Server::start(|connection, step| match (connection, step) {
        // The first connection is closed while it is idle.
        (0, "NOOP") => Act::Cut,
        _ => polite(step),
    })
    .await;
    let notifier = notifier(settings(server.port, &["team@example.com"]));
    for expected in [1, 2, 2, 2] {
        assert_eq!(notifier.send(&opened(), Clock.now()).await, Outcome::Delivered);
        assert_eq!(server.connections(), expected);
    }
    assert_eq!(server.mails().len(), 4);
    // The fiftieth mail of a connection is its last.
    for _ in 3..51 {
        assert_eq!(notifier.send(&opened(), Clock.now()).await, Outcome::Delivered);
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn no_password_goes_where_it_cannot_be_used() {
    let plain = |_, step: &str| if step.starts_with("EHLO") { say("250 mail.example.com") } else { polite(step) };
    let server = Server::start(plain).await;
    let outcome = send(one_recipient(&server)).await.outcome;
    let why = "the server takes no login by PLAIN or LOGIN on this connection".into();
    assert_eq!(outcome, Outcome::Rejected { why });

    let email = Email { encryption: slowburn::config::Encryption::StartTls, ..one_recipient(&server) };
    let why = "the server offers no STARTTLS, and 'starttls' is 'required'".into();
    assert_eq!(send(email).await.outcome, Outcome::Rejected { why });
    assert!(server.steps("AUTH").is_empty() && server.mails().is_empty());
}

#[tokio::test]
async fn nobody_listens() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for encryption in [slowburn::config::Encryption::None, slowburn::config::Encryption::Implicit] {
        let outcome = send(Email { encryption, ..settings(port, &["team@example.com"]) }).await.outcome;
        let Outcome::Retry { after: None, why } = outcome else { panic!("{outcome:?}") };
        assert!(why.starts_with("cannot connect: Connection refused"), "{why}");
    }
}

/// Every form in which the login's secret may come back.
fn forms() -> [String; 4] {
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let plain = encode(&format!("\0slo\0{PASSWORD}"));
    [PASSWORD.to_owned(), encode(PASSWORD), plain.trim_end_matches('=').to_owned(), plain]
}

#[tokio::test]
async fn a_server_that_repeats_what_it_heard_gives_no_secret_away() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut told = String::new();
    for step in STEPS {
        for code in [451, 535] {
            let lines: Vec<String> = forms().iter().map(|form| format!("{code}-you said {form}!")).collect();
            let server = playing(step, say(&format!("{}\r\n{code} end", lines.join("\r\n")))).await;
            let email = one_recipient(&server);
            let config = config(email.clone());
            let reply = send(email).await;
            let notifier = notifier(one_recipient(&server));
            tracing::warn!(?reply, outcome = %reply.outcome, ?notifier, receivers = ?config.receivers, "not sent");
            told += &format!("{reply:?} {}\n", reply.outcome);
        }
    }
    assert!(log.text().contains("not sent") && told.contains("[secret]"), "{told}");
    for text in [told, log.text()] {
        for form in forms() {
            for part in [&form[..], &form[..9], &form[form.len() - 9..]] {
                assert!(!text.contains(part), "{part} in {text}");
            }
        }
    }
}
