//! Mail to a real server: STARTTLS, TLS from the start and a login, read back by another's parser.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration as StdDuration;

use base64::Engine as _;
use mail_parser::{HeaderValue, Message, MessageParser};
use serde_json::Value;
use slowburn::clock::Clock;
use slowburn::config::secret::Secret;
use slowburn::config::{Email, Encryption, Login, Mailbox};
use slowburn::engine::Outcome;
use slowburn::engine::notification::{Notification, Reason};
use slowburn::notify::{Notifier, Remark};

use super::{PASSWORD, login, notifier, opened, settings};
use crate::notify::samples;

const HEARD_WITHIN: StdDuration = StdDuration::from_secs(20);

/// A running aiosmtpd. It stops when it is dropped.
struct Server {
    process: Child,
    /// The server stops when this is closed.
    _input: ChildStdin,
    ports: Value,
    heard: Receiver<Value>,
    ca_pem: Vec<u8>,
    folder: tempfile::TempDir,
}

/// A mail as the server took it.
struct Heard {
    envelope: Value,
    bytes: Vec<u8>,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_pem = make_certificates(folder.path());
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-python");
        let mut process = Command::new("python3")
            .args(["-W", "ignore"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mail/server.py"))
            .args([folder.path().join("server.pem"), folder.path().join("server.key")])
            .arg(PASSWORD)
            .env("PYTHONPATH", packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens any more once a test is over.
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let ports = heard.recv_timeout(HEARD_WITHIN).expect("aiosmtpd starts; tests/run.sh installs it");
        Self { process, _input: input, ports, heard, ca_pem, folder }
    }

    fn settings(&self, kind: &str, to: &[&str]) -> Email {
        let port = u16::try_from(self.ports[kind].as_u64().unwrap()).unwrap();
        let encryption = match kind {
            "starttls" => Encryption::StartTls,
            "tls" => Encryption::Implicit,
            _ => return settings(port, to),
        };
        Email { encryption, login: login(), ca_pem: Some(self.ca_pem.clone()), ..settings(port, to) }
    }

    fn next(&self) -> Heard {
        let envelope = self.heard.recv_timeout(HEARD_WITHIN).expect("a mail");
        let bytes = base64::engine::general_purpose::STANDARD.decode(envelope["mail"].as_str().unwrap()).unwrap();
        Heard { envelope, bytes }
    }

    fn heard_nothing_more(&self) -> bool {
        self.heard.try_recv().is_err()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Heard {
    fn mail(&self) -> Message<'_> {
        MessageParser::new().parse(&self.bytes).expect("a mail")
    }
}

/// A certificate for 127.0.0.1, and the authority that signed it, which is returned.
fn make_certificates(folder: &Path) -> Vec<u8> {
    let extensions = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
    fs::write(folder.join("extensions"), extensions).unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let run = |words: &str, key: &[&str]| {
        let output = Command::new("openssl").args(words.split(' ')).args(key).current_dir(folder).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("req -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem", &key);
    run("req -new -subj /CN=127.0.0.1 -keyout server.key -out server.csr", &key);
    run(
        "x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out server.pem",
        &[],
    );
    fs::read(folder.join("ca.pem")).unwrap()
}

fn texts(mail: &Message<'_>, name: &str) -> String {
    match mail.header(name) {
        Some(HeaderValue::Text(text)) => text.to_string(),
        Some(HeaderValue::TextList(texts)) => texts.join(" "),
        _ => String::new(),
    }
}

async fn send(notifier: &Notifier, notification: &Notification) -> Outcome {
    notifier.send(&Notification { receiver: 0, ..notification.clone() }, Clock.now()).await
}

#[tokio::test]
#[ignore = "needs aiosmtpd and openssl"]
async fn an_incident_reaches_a_real_server_as_one_thread() {
    let server = Server::start();
    let zoe = Mailbox { name: Some("Zoë, desk 4".into()), address: "zoe@example.com".into() };
    for kind in ["starttls", "tls"] {
        let email = Email { cc: vec![zoe.clone()], ..server.settings(kind, &["team@example.com"]) };
        let notifier = notifier(email);
        let told = ["opened", "escalated", "resolved", "hostile"];
        let all = samples::all();
        let mut peers = vec![];
        let mut roots = vec![];
        for name in told {
            let notification = &all.iter().find(|(it, _)| *it == name).unwrap().1;
            let id = format!("{}-{name}", notification.id);
            let notification = Notification { id: id.clone(), receiver: 0, ..notification.clone() };
            assert_eq!(send(&notifier, &notification).await, Outcome::Delivered, "{kind} {name}");

            let heard = server.next();
            assert_eq!((&heard.envelope["login"], &heard.envelope["tls"]), (&"slo".into(), &true.into()));
            assert_eq!(heard.envelope["sender"], "slo@example.com");
            assert_eq!(heard.envelope["recipients"], serde_json::json!(["team@example.com", "zoe@example.com"]));
            peers.push(heard.envelope["peer"].clone());

            let mail = heard.mail();
            let body = notifier.body(&notification).unwrap();
            let lines = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
            assert_eq!(lines(&mail.body_text(0).unwrap()), lines(body["text"].as_str().unwrap()));
            assert_eq!(lines(&mail.body_html(0).unwrap()), lines(body["html"].as_str().unwrap()));
            assert_eq!(mail.subject(), body["subject"].as_str());
            assert_eq!(mail.message_id(), Some(format!("{id}@example.com").as_str()));
            let from = mail.from().unwrap().first().unwrap();
            assert_eq!((from.name(), from.address()), (Some("slowburn"), Some("slo@example.com")));
            assert_eq!(mail.cc().unwrap().first().unwrap().name(), Some("Zoë, desk 4"));
            assert_eq!(texts(&mail, "Auto-Submitted").trim(), "auto-generated");
            assert_eq!(texts(&mail, "X-Slowburn-Urgency").trim(), "page");
            roots.push((texts(&mail, "References"), texts(&mail, "In-Reply-To")));
        }
        assert!(peers.iter().all(|peer| *peer == peers[0]), "one connection brought them all: {peers:?}");
        let root = &roots[0].0;
        assert_eq!(
            roots[..3],
            [(root.clone(), String::new()), (root.clone(), root.clone()), (root.clone(), root.clone())]
        );
        assert_ne!(roots[3].0, *root, "another incident is another thread");
    }
}

#[tokio::test]
#[ignore = "needs aiosmtpd and openssl"]
async fn a_wrong_password_is_final_and_an_unknown_certificate_is_not() {
    let server = Server::start();
    for kind in ["starttls", "tls"] {
        let right = server.settings(kind, &["team@example.com"]);
        let wrong = Login { username: "slo".into(), password: Secret::new("n0tThePassword".into()) };
        let outcome = send(&notifier(Email { login: Some(wrong), ..right.clone() }), &opened()).await;
        let why = "answered 535 to AUTH: 5.7.8 Authentication credentials invalid".into();
        assert_eq!(outcome, Outcome::Rejected { why }, "{kind}");

        // Those of the system, and another authority of the same name.
        let other = tempfile::tempdir().unwrap();
        for ca_pem in [None, Some(make_certificates(other.path()))] {
            let outcome = send(&notifier(Email { ca_pem, ..right.clone() }), &opened()).await;
            let Outcome::Retry { after: None, why } = &outcome else { panic!("{kind}: {outcome:?}") };
            assert!(why.contains("invalid peer certificate"), "{kind}: {why}");
        }
        let outcome = send(&notifier(Email { login: None, ..right.clone() }), &opened()).await;
        assert_eq!(outcome, Outcome::Rejected { why: "answered 530 to MAIL: 5.7.0 Authentication required".into() });

        // The certificate is not for this name.
        let outcome = send(&notifier(Email { host: "127.0.0.2".into(), ..right.clone() }), &opened()).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{kind}: {outcome:?}");
    }
    // Nothing is said in the clear to a server that wants TLS, and the other way round.
    let in_clear = Email { encryption: Encryption::None, ..server.settings("starttls", &["team@example.com"]) };
    assert!(matches!(send(&notifier(in_clear), &opened()).await, Outcome::Rejected { .. }));
    let no_tls = Email { encryption: Encryption::StartTls, ..server.settings("clear", &["team@example.com"]) };
    assert!(matches!(send(&notifier(no_tls), &opened()).await, Outcome::Rejected { .. }));
    assert!(server.heard_nothing_more());
    assert!(server.folder.path().exists());
}

#[tokio::test]
#[ignore = "needs aiosmtpd and openssl"]
async fn a_real_server_refuses_one_recipient_and_defers_another() {
    let server = Server::start();
    let to = ["gone@example.com", "later@example.com", "ada@example.com"];
    let notifier = notifier(server.settings("clear", &to));
    let deferred = Outcome::Retry { after: None, why: "answered 451 to RCPT: 4.2.0 greylisted".into() };
    assert_eq!(send(&notifier, &opened()).await, deferred);
    let first = server.next();
    let reply = notifier.send_and_hear(&opened(), Clock.now()).await;
    let second = server.next();
    let refused = "gone@example.com (answered 550 to RCPT: 5.1.1 no such user)".into();
    assert_eq!((reply.outcome, reply.remarks), (Outcome::Delivered, vec![Remark::RecipientsRefused(refused)]));
    assert_eq!(first.envelope["recipients"], serde_json::json!(["ada@example.com"]));
    assert_eq!(second.envelope["recipients"], serde_json::json!(["later@example.com"]));
    assert_eq!(first.bytes, second.bytes, "both got the same mail");
    assert!(server.heard_nothing_more());
}

#[tokio::test]
#[ignore = "needs aiosmtpd and openssl"]
async fn opportunistic_encryption_takes_what_is_offered() {
    let server = Server::start();
    let encryption = Encryption::StartTlsIfOffered;
    for (kind, login, tls) in [("starttls", login(), true), ("clear", None, false)] {
        let ca_pem = Some(server.ca_pem.clone());
        let email = Email { encryption, login, ca_pem, ..server.settings(kind, &["team@example.com"]) };
        let resolved = Notification { reason: Reason::Resolved, ..opened() };
        assert_eq!(send(&notifier(email), &resolved).await, Outcome::Delivered);
        assert_eq!(server.next().envelope["tls"], tls);
    }
}
