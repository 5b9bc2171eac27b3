//! A mail server by hand, for what no real one does: it plays a part at each step and writes down what it heard.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does at a step: `greeting`, a command as it came, or `mail` once one was read.
#[derive(Debug, Clone)]
pub enum Act {
    /// These lines.
    Say(String),
    /// Nothing, for ever.
    Hang,
    /// The connection is closed.
    Cut,
    /// A byte now and then, and never a line's end.
    Drip,
    /// Bytes without a line's end, as fast as they are taken.
    Flood,
}

#[derive(Debug, Default)]
struct Heard {
    /// Every step of every connection.
    steps: Vec<(usize, String)>,
    mails: Vec<String>,
}

type Part = dyn Fn(usize, &str) -> Act + Send + Sync;

/// The running server; it stops when it is dropped.
pub struct Server {
    pub port: u16,
    heard: Arc<Mutex<Heard>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// `part` is told the connection's number, from 0 on, and the step.
    pub async fn start(part: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, part): (Arc<Mutex<Heard>>, Arc<Part>) = (Arc::default(), Arc::new(part));
        let shared = heard.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                connections.spawn(converse(stream, number, part.clone(), shared.clone()));
            }
        });
        Self { port, heard, task }
    }

    /// The mails that were read to their end, taken or not, in order.
    pub fn mails(&self) -> Vec<String> {
        self.heard.lock().unwrap().mails.clone()
    }

    /// The steps of all connections that begin with `word`.
    pub fn steps(&self, word: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.steps.iter().filter(|(_, step)| step.starts_with(word)).map(|(_, step)| step.clone()).collect()
    }

    pub fn connections(&self) -> usize {
        self.steps("greeting").len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a server says that has nothing against anybody.
pub fn polite(step: &str) -> Act {
    let word = step.split(' ').next().unwrap_or_default();
    say(match word {
        "greeting" => "220 mail.example.com ESMTP",
        "EHLO" => "250-mail.example.com\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
        "AUTH" => "235 2.7.0 welcome",
        "DATA" => "354 go on",
        "mail" => "250 2.0.0 queued as 4711",
        "QUIT" => "221 bye",
        _ => "250 2.1.0 fine",
    })
}

pub fn say(lines: &str) -> Act {
    Act::Say(lines.to_owned())
}

async fn converse(stream: TcpStream, number: usize, part: Arc<Part>, heard: Arc<Mutex<Heard>>) {
    let mut stream = BufReader::new(stream);
    let mut step = "greeting".to_owned();
    loop {
        heard.lock().unwrap().steps.push((number, step.clone()));
        let act = part(number, &step);
        let goes_on = play(&mut stream, &act).await;
        if !goes_on {
            return;
        }
        let reads_mail = step == "DATA" && matches!(&act, Act::Say(lines) if lines.starts_with("354"));
        let next = if reads_mail { mail(&mut stream, &heard).await } else { line(&mut stream).await };
        let Some(next) = next else { return };
        step = next;
    }
}

/// Whether the conversation goes on.
async fn play(stream: &mut BufReader<TcpStream>, act: &Act) -> bool {
    match act {
        Act::Say(lines) => stream.write_all(format!("{lines}\r\n").as_bytes()).await.is_ok(),
        Act::Cut => false,
        Act::Hang => std::future::pending().await,
        Act::Drip => loop {
            if stream.write_all(b"2").await.is_err() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        Act::Flood => loop {
            if stream.write_all(&[b'2'; 16 << 10]).await.is_err() {
                return false;
            }
        },
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

async fn mail(stream: &mut BufReader<TcpStream>, heard: &Mutex<Heard>) -> Option<String> {
    let mut mail = String::new();
    loop {
        let line = line(stream).await?;
        if line == "." {
            break;
        }
        mail += line.strip_prefix('.').unwrap_or(&line);
        mail += "\r\n";
    }
    heard.lock().unwrap().mails.push(mail);
    Some("mail".to_owned())
}
