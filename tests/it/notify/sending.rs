//! How a send ends: delivered, to be retried or refused, and never with a secret in what is said about it.

use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use slowburn::clock::{Clock, Stopwatch};
use slowburn::config::secret::Secret;
use slowburn::config::{Auth, Config, ReceiverKind};
use slowburn::engine::Outcome;
use slowburn::engine::notification::{Notification, Reason};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::notify::Notifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::samples::{self, HOOK_PATH, PAGERDUTY, ROUTING_KEY, SIGNING_SECRET, SLACK, SLACK_PATH, WEBHOOK};
use crate::fakes::{Fakes, Fault, Kind};
use crate::golden;

const TOKEN: &str = "t0kenOfTheHeader";
const PASSWORD: &str = "p4ssw0rdOfTheHook";
const RECEIVERS: [(usize, Kind); 3] = [(PAGERDUTY, Kind::PagerDuty), (SLACK, Kind::Slack), (WEBHOOK, Kind::Webhook)];

fn to(receiver: usize) -> Notification {
    Notification { receiver, ..samples::opened() }
}

/// With every kind of credential a webhook can have.
fn config(base: &str) -> Config {
    let mut config = samples::config(base);
    if let ReceiverKind::Webhook { http, .. } = &mut config.receivers[WEBHOOK].kind {
        http.headers.insert("x-token".into(), Secret::new(TOKEN.into()));
        http.auth = Auth::Basic { username: "slo".into(), password: Secret::new(PASSWORD.into()) };
    }
    config
}

#[tokio::test]
async fn each_receiver_takes_each_message() {
    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let notifier = Notifier::new(&config(&fakes.base)).unwrap();
    for (name, notification) in samples::all() {
        for receiver in [PAGERDUTY, WEBHOOK] {
            let outcome = notifier.send(&Notification { receiver, ..notification.clone() }, Clock.now()).await;
            assert_eq!(outcome, Outcome::Delivered, "{name}");
        }
    }
    assert_eq!(notifier.send(&to(SLACK), Clock.now()).await, Outcome::Delivered);
    // A second message within a second is one too many for Slack; the machine may be slow, so this sends a few.
    let after = Some(Duration::from_secs(1));
    let too_many = Outcome::Retry { after, why: "answered 429 Too Many Requests: rate_limited".into() };
    let mut outcomes = vec![];
    while outcomes.len() < 10 && !outcomes.contains(&too_many) {
        outcomes.push(notifier.send(&to(SLACK), Clock.now()).await);
    }
    assert!(outcomes.contains(&too_many), "{outcomes:?}");
}

#[tokio::test]
async fn a_retry_has_the_same_id_and_a_new_time() {
    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let notifier = Notifier::new(&config(&fakes.base)).unwrap();
    fakes.fail(Kind::Webhook, Fault::status(503, ""));
    let (first, second) = (Clock.now() - Duration::from_secs(20), Clock.now());
    assert!(matches!(notifier.send(&to(WEBHOOK), first).await, Outcome::Retry { .. }));
    assert_eq!(notifier.send(&to(WEBHOOK), second).await, Outcome::Delivered);

    let seen = fakes.seen();
    let header = |i: usize, name: &str| seen[i].headers[name].to_str().unwrap().to_owned();
    assert_eq!((seen[0].status, seen[1].status), (Some(503), Some(204)));
    assert_eq!(header(0, "webhook-id"), to(WEBHOOK).id);
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"));
    assert_eq!(header(1, "webhook-timestamp"), second.unix_ms().div_euclid(1000).to_string());
    assert_ne!(header(0, "webhook-signature"), header(1, "webhook-signature"));
    assert_eq!(header(1, "x-token"), TOKEN);
    assert_eq!(seen[0].body, seen[1].body);
}

#[tokio::test]
async fn pagerduty_resolves_what_it_was_told_of() {
    let fakes = Fakes::start(SLACK_PATH, None).await;
    let notifier = Notifier::new(&config(&fakes.base)).unwrap();
    let incident = "journey=checkout,region=".to_owned() + &"é".repeat(300);
    for reason in [Reason::Opened, Reason::Escalated, Reason::Resolved] {
        let notification = Notification { reason, incident: incident.clone(), ..to(PAGERDUTY) };
        assert_eq!(notifier.send(&notification, Clock.now()).await, Outcome::Delivered);
    }
    let other = Notification { incident: incident.clone() + "x", ..to(PAGERDUTY) };
    notifier.send(&other, Clock.now()).await;

    let seen = fakes.seen();
    let actions: Vec<_> = seen.iter().map(|it| it.body["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve", "trigger"]);
    assert!(seen.iter().all(|it| it.body["routing_key"] == ROUTING_KEY));
    assert_eq!(seen[0].body["dedup_key"], seen[2].body["dedup_key"]);
    assert_ne!(seen[0].body["dedup_key"], seen[3].body["dedup_key"]);
}

/// What goes wrong, by name. Some say every secret back.
fn faults() -> Vec<(&'static str, Fault)> {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("slo:{PASSWORD}"));
    let tattle = format!(
        "no {ROUTING_KEY} {SLACK_PATH} {} {HOOK_PATH} {SIGNING_SECRET} {TOKEN} {PASSWORD} {basic}",
        &SLACK_PATH[9..]
    );
    let in_json = serde_json::json!({"status": "invalid event", "errors": [tattle, "second"]}).to_string();
    let flood = format!("{}\n", tattle.repeat(2000));
    vec![
        ("a server error", Fault::status(500, "oops")),
        ("unavailable, seconds", Fault::status(503, "").with_header("retry-after", "7")),
        ("too many, seconds", Fault::status(429, "rate_limited").with_header("retry-after", "30")),
        ("too many, date", Fault::status(429, "").with_header("retry-after", "Sat, 07 Mar 2026 03:17:00 GMT")),
        ("too many, days", Fault::status(429, "").with_header("retry-after", "864000")),
        ("too many, nonsense", Fault::status(429, "").with_header("retry-after", "soon")),
        ("too many, nothing", Fault::status(429, "")),
        ("request timeout", Fault::status(408, "")),
        ("bad request", Fault::status(400, "invalid_payload")),
        ("forbidden", Fault::status(403, "action_prohibited")),
        ("not found", Fault::status(404, "no_service")),
        ("gone", Fault::status(410, "channel_is_archived")),
        ("moved", Fault::status(302, "").with_header("location", "http://127.0.0.1:1/elsewhere")),
        ("success, another word", Fault::status(200, "no_text")),
        ("success, a page", Fault::status(200, "<html>maintenance</html>")),
        ("tattles", Fault::status(400, &tattle)),
        ("tattles in JSON", Fault::status(400, &in_json)),
        ("tattles without end", Fault::status(400, &flood)),
        ("tattles in passing", Fault::status(500, &tattle)),
        ("cut", Fault::Cut),
        ("hang", Fault::Hang),
    ]
}

#[tokio::test]
async fn failures_are_told_without_secrets() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let config = config(&fakes.base);
    let notifier = Notifier::new(&config).unwrap().with_deadline(Duration::from_secs(5));
    let hasty = Notifier::new(&config).unwrap().with_deadline(Duration::from_ms(50));
    let mut told = String::new();
    for (receiver, kind) in RECEIVERS {
        told += &format!("# {kind:?}\n");
        for (name, fault) in faults() {
            let notifier = if matches!(fault, Fault::Hang) { &hasty } else { &notifier };
            fakes.fail(kind, fault);
            let outcome = notifier.send(&to(receiver), samples::night()).await;
            tracing::warn!(?outcome, %outcome, ?notifier, receivers = ?config.receivers, "not sent");
            told += &format!("{name:22} {}\n", shown(&outcome));
        }
    }
    golden::check("notify/outcomes.txt", &told);
    assert!(log.text().contains("not sent"));
    assert_no_secret(&told);
    assert_no_secret(&log.text());
}

#[tokio::test]
async fn nobody_listens() {
    // A port that was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for base in [format!("http://{free}"), format!("https://{free}")] {
        let notifier = Notifier::new(&config(&base)).unwrap();
        for (receiver, _) in RECEIVERS {
            let outcome = notifier.send(&to(receiver), Timestamp::from_unix_s(0)).await;
            let Outcome::Retry { after: None, why } = &outcome else { panic!("{outcome:?}") };
            assert!(why.starts_with("cannot connect: "), "{why}");
            assert_no_secret(why);
        }
    }
}

/// A server that answers every request with these bytes and then keeps the connection open.
async fn mumbling(bytes: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = vec![];
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(&bytes).await;
            kept.push(socket);
        }
    });
    base
}

#[tokio::test]
async fn what_is_hardly_http_is_bounded() {
    // Without a status the deadline is what ends it, however busy the machine. With one it is not, and the body that
    // does not come is waited for a fifth of it: long enough for any machine to see the status before.
    let (hasty, patient) = (Duration::from_secs(1), Duration::from_secs(20));
    let answers: [(&[u8], Duration, &str); 6] = [
        (b"220 mail.example.com ESMTP\r\n", patient, "unanswered the exchange broke off: invalid HTTP version parsed"),
        (b"HTTP/1.1 202 Accepted\r\ncontent-length: 99\r\n\r\n{", patient, "delivered"),
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 99\r\n\r\n{", patient, "rejected   answered 400 Bad Request"),
        (b"HTTP/1.1 299 \xff\xfe\r\ncontent-length: 0\r\n\r\n", patient, "delivered"),
        (b"HTTP/1.1 200 OK\r\nx: ", hasty, "unanswered no whole answer within 1s"),
        (b"", hasty, "unanswered no whole answer within 1s"),
    ];
    let mut notifiers = Vec::new();
    for (bytes, deadline, expected) in answers {
        // To make one takes a while, in which no other may be waiting for its answer.
        let notifier = Notifier::new(&config(&mumbling(bytes.to_vec()).await)).unwrap().with_deadline(deadline);
        notifiers.push((bytes, deadline, notifier, expected));
    }
    let mut sends = tokio::task::JoinSet::new();
    for (bytes, deadline, notifier, expected) in notifiers {
        sends.spawn(async move {
            let stopwatch = Stopwatch::start();
            let outcome = notifier.send(&to(PAGERDUTY), samples::night()).await;
            assert_eq!(shown(&outcome), expected, "{}", String::from_utf8_lossy(bytes));
            assert!(stopwatch.elapsed_s() < deadline.secs() + 10.0, "{}", String::from_utf8_lossy(bytes));
        });
    }
    while let Some(send) = sends.join_next().await {
        send.unwrap();
    }
}

#[test]
fn unusable_receivers_are_refused_without_their_secrets() {
    let refused = |change: fn(&mut ReceiverKind)| {
        let mut config = config("https://receivers.example.com");
        config.receivers.iter_mut().for_each(|receiver| change(&mut receiver.kind));
        let error = Notifier::new(&config).expect_err("must be refused");
        assert_no_secret(&format!("{error:?}"));
        error.to_string()
    };
    let bad_address = refused(|kind| {
        if let ReceiverKind::Slack { webhook_url } = kind {
            *webhook_url = Secret::new(format!("hooks.slack.com{SLACK_PATH}"));
        }
    });
    assert_eq!(bad_address, "receiver \"team\": its address is not an http or https URL");
    let short_secret = refused(|kind| {
        if let ReceiverKind::Webhook { secret, .. } = kind {
            *secret = Some(Secret::new("whsec_c2hvcnQ=".into()));
        }
    });
    assert_eq!(short_secret, "receiver \"hook\": its secret is not `whsec_` and 24 to 64 bytes in base64");
    let bad_header = refused(|kind| {
        if let ReceiverKind::Webhook { http, .. } = kind {
            http.headers.insert("x-token".into(), Secret::new(format!("{TOKEN}\n")));
        }
    });
    assert!(bad_header.starts_with("receiver \"hook\": the value of header \"x-token\""), "{bad_header}");
}

pub fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered => "delivered".into(),
        Outcome::Rejected { why } => format!("rejected   {why}"),
        Outcome::Unanswered { why } => format!("unanswered {why}"),
        Outcome::Retry { after: None, why } => format!("retry      {why}"),
        Outcome::Retry { after: Some(after), why } => format!("retry {:4} {why}", after.to_string()),
    }
}

fn assert_no_secret(text: &str) {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("slo:{PASSWORD}"));
    let mut secrets = vec![ROUTING_KEY, SIGNING_SECRET, TOKEN, PASSWORD, &basic, "s3cretReader", "h00kSecretPath"];
    secrets.extend(SLACK_PATH.split('/').filter(|part| part.len() > 8));
    for secret in secrets {
        // Half of a secret is one, too.
        let (head, tail) = (&secret[..secret.len().min(9)], &secret[secret.len().saturating_sub(9)..]);
        for part in [secret, head, tail] {
            assert!(!text.contains(part), "{part:?} in: {text}");
        }
    }
}

/// Everything that is logged on this thread.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
