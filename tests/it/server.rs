//! The daemon's own HTTP server from outside: who is let in, TLS, and clients that mean ill.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::{Client, Method};
use slowburn::clock::Stopwatch;
use slowburn::config::{HttpClient, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, RULES, config};
use crate::exporter::Exporter;

const PASSWORD: &str = "c0rrectHorse";
const TOKEN: &str = "b4tteryStapleB4tteryStaple";

/// A daemon with these lines under `server`.
async fn start(service: &Exporter, server: &str) -> Daemon {
    let hook = ("hook", "webhook: {url: 'http://127.0.0.1:9/'}".to_owned());
    let text = config(&service.url(), &[hook]).replace("server: {listen: '127.0.0.1:0'}", server);
    Daemon::start_with(&text, RULES).await
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name)).unwrap()
}

/// A client that trusts this certificate alone.
fn trusting(certificate: &str) -> Client {
    let tls = Tls { ca_pem: Some(pem(certificate)), identity_pem: None };
    slowburn::http::client(&HttpClient { tls, ..HttpClient::default() }).unwrap()
}

fn plain() -> Client {
    slowburn::http::client(&HttpClient::default()).unwrap()
}

async fn code(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// Exit code and output of `slowburn status`.
async fn status(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String) {
    status_with(daemon, args, &[]).await
}

async fn status_with(daemon: &Daemon, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    command.args(["status", "--url", &daemon.base]).args(args).current_dir(daemon.path("")).env("NO_COLOR", "1");
    command.envs(env.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unknown_sees_and_does_nothing() {
    let service = Exporter::start(&["edge"]).await;
    let hash = bcrypt::hash(PASSWORD, 8).unwrap();
    let guarded = format!(
        "server: {{listen: '127.0.0.1:0', basic_auth_users: {{ann: '{hash}', bob: '{hash}'}}, bearer_token: {TOKEN}}}"
    );
    let mut daemon = start(&service, &guarded).await;
    let (client, base) = (plain(), daemon.base.clone());
    let get = |path: &str| client.get(format!("{base}{path}"));
    daemon.ready().await;
    assert_eq!(code(get("/-/healthy")).await, 200);

    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/rules", "/nowhere"] {
        let refused = get(path).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 401, "{path}");
        assert_eq!(refused.headers()["www-authenticate"], r#"Basic realm="slowburn", charset="UTF-8""#);
        assert!(refused.text().await.unwrap().contains("unauthorized"), "{path}");
        assert_eq!(code(get(path).basic_auth("ann", Some("wrong"))).await, 401, "{path}");
        assert_eq!(code(get(path).bearer_auth("wrong")).await, 401, "{path}");
    }
    assert_eq!(code(client.post(format!("{base}/-/reload"))).await, 401);
    for path in ["/", "/metrics", "/api/v1/status"] {
        assert_eq!(code(get(path).basic_auth("ann", Some(PASSWORD))).await, 200, "{path}");
        assert_eq!(code(get(path).bearer_auth(TOKEN)).await, 200, "{path}");
    }
    assert_eq!(code(get("/nowhere").bearer_auth(TOKEN)).await, 404);
    let reload = client.post(format!("{base}/-/reload")).bearer_auth(TOKEN);
    assert_eq!(code(reload.try_clone().unwrap().header("origin", "https://evil.example")).await, 403);
    assert_eq!(code(reload).await, 200);

    // The command.
    std::fs::write(daemon.path("password"), format!("{PASSWORD}\n")).unwrap();
    std::fs::write(daemon.path("token"), TOKEN).unwrap();
    let (code, said) = status(&daemon, &[]).await;
    assert!(code == Some(2) && said.contains("does not know who asks: give --username"), "{said}");
    assert_eq!(status(&daemon, &["--username", "bob", "--password-file", "password"]).await.0, Some(0));
    assert_eq!(status(&daemon, &["--username", "bob", "--password-file", "token"]).await.0, Some(2));
    assert_eq!(status(&daemon, &["--bearer-token-file", "token"]).await.0, Some(0));
    assert_eq!(status(&daemon, &["--username", "bob"]).await.0, Some(2));

    let mut shown = vec![daemon.log()];
    for path in ["/", "/metrics", "/api/v1/status"] {
        shown.push(get(path).bearer_auth(TOKEN).send().await.unwrap().text().await.unwrap());
    }
    for secret in [PASSWORD, TOKEN, &hash, &hash[29..]] {
        assert!(shown.iter().all(|text| !text.contains(secret)), "{secret} in {shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_costs_a_bcrypt_once_and_a_wrong_one_always() {
    let service = Exporter::start(&["edge"]).await;
    let hash = bcrypt::hash(PASSWORD, 10).unwrap();
    let server = format!("server: {{listen: '127.0.0.1:0', basic_auth_users: {{ann: '{hash}'}}}}");
    let daemon = start(&service, &server).await;
    let client = plain();
    // The best of a few: the machine has other things to do.
    let best = async |user: &str, password: &str, tries: usize| {
        let mut best_s = f64::MAX;
        for _ in 0..tries {
            let stopwatch = Stopwatch::start();
            code(client.get(format!("{}/metrics", daemon.base)).basic_auth(user, Some(password))).await;
            best_s = best_s.min(stopwatch.elapsed_s());
        }
        best_s
    };
    let (wrong_s, unknown_s) = (best("ann", "wrong", 3).await, best("eve", "wrong", 3).await);
    best("ann", PASSWORD, 1).await;
    let known_s = best("ann", PASSWORD, 10).await;
    assert!(known_s < wrong_s / 4.0, "{known_s} s, and {wrong_s} s for a wrong one");
    assert!(unknown_s > wrong_s / 2.0 && unknown_s < wrong_s * 2.0, "{unknown_s} s for nobody, {wrong_s} s for ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_and_its_files_are_read_again() {
    let service = Exporter::start(&["edge"]).await;
    let dir = tempfile::tempdir().unwrap();
    let write = |dir: &Path, name: &str| {
        std::fs::write(dir.join("tls.pem"), pem(&format!("{name}.pem"))).unwrap();
        std::fs::write(dir.join("tls.key"), pem(&format!("{name}.key"))).unwrap();
    };
    write(dir.path(), "first");
    let hook = ("hook", "webhook: {url: 'http://127.0.0.1:9/'}".to_owned());
    let server = "server: {listen: '127.0.0.1:0', tls: {cert_file: tls.pem, key_file: tls.key}}";
    let text = config(&service.url(), &[hook]).replace("server: {listen: '127.0.0.1:0'}", server);
    std::fs::write(dir.path().join("slowburn.yml"), text).unwrap();
    std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
    let mut daemon = Daemon::start_in(dir, "slowburn.yml").await;
    let address: SocketAddr = daemon.base.trim_start_matches("http://").parse().unwrap();
    daemon.base = format!("https://{address}");

    // One that says nothing holds nobody up.
    let _silent = TcpStream::connect(address).await.unwrap();
    let healthy = format!("{}/-/healthy", daemon.base);
    assert_eq!(code(trusting("first.pem").get(&healthy)).await, 200);
    assert!(trusting("second.pem").get(&healthy).send().await.is_err());
    assert!(plain().get(format!("http://{address}/-/healthy")).send().await.is_err());
    std::fs::write(daemon.path("ca.pem"), pem("first.pem")).unwrap();
    assert_eq!(status(&daemon, &["--ca-file", "ca.pem"]).await.0, Some(0));
    // Where no file names others, the system's authorities are asked, and there may be none.
    let by_system =
        async |file: &str| status_with(&daemon, &[], &[("SSL_CERT_FILE", file), ("SSL_CERT_DIR", "none")]).await;
    assert_eq!(by_system("ca.pem").await.0, Some(0));
    let (refused, said) = by_system("no-such.pem").await;
    assert!(refused == Some(2) && said.contains("No CA certificates were loaded from the system"), "{said}");

    // A pair that does not fit changes nothing.
    std::fs::write(daemon.path("tls.key"), pem("second.key")).unwrap();
    let refused = trusting("first.pem").post(format!("{}/-/reload", daemon.base)).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 422);
    assert!(refused.text().await.unwrap().contains("the key is not the certificate's"));
    assert_eq!(code(trusting("first.pem").get(&healthy)).await, 200);

    write(&daemon.path(""), "second");
    assert_eq!(code(trusting("first.pem").post(format!("{}/-/reload", daemon.base))).await, 200);
    assert_eq!(code(trusting("second.pem").get(&healthy)).await, 200);
    assert!(trusting("first.pem").get(&healthy).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_little_are_cut_off_and_those_that_say_much_refused() {
    let service = Exporter::start(&["edge"]).await;
    let daemon = start(&service, "server: {listen: '127.0.0.1:0'}").await;
    let address: SocketAddr = daemon.base.trim_start_matches("http://").parse().unwrap();

    let mut long = TcpStream::connect(address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: {address}\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    // It may hang up before it has heard all of it.
    let _ = long.write_all(head.as_bytes()).await;
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(Duration::from_secs(20), long.read_exact(&mut answer)).await.expect("an end");
    assert!(read.is_err() || answer == b"HTTP/1.1 431", "{}", String::from_utf8_lossy(&answer));

    // As many as may be connected at once, each with half a head; the one after them is heard all the same.
    let stopwatch = Stopwatch::start();
    let mut silent = Vec::new();
    for _ in 0..256 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let dripping = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        loop {
            // A byte now and then keeps nobody in.
            if stream.write_all(b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let healthy =
        tokio::time::timeout(Duration::from_secs(40), code(plain().get(format!("{}/-/healthy", daemon.base))));
    assert_eq!(healthy.await.expect("an answer"), 200);
    assert!(stopwatch.elapsed_s() > 5.0, "there was room for more connections than are allowed");
    tokio::time::timeout(Duration::from_secs(40), dripping).await.expect("a cut").unwrap();
}

/// An address of this machine that is not loopback, if it has one.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this only looks up the way.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_other_machines_only_those_who_say_who_they_are_write() {
    let Some(ip) = outer_address() else { return eprintln!("skipped: this machine has only loopback addresses") };
    let service = Exporter::start(&["edge"]).await;
    let ask = async |server: &str, method: Method, path: &str, token: Option<&str>| {
        let daemon = start(&service, server).await;
        let port = daemon.base.rsplit(':').next().unwrap().to_owned();
        let request = plain().request(method, format!("http://{ip}:{port}{path}"));
        (code(token.into_iter().fold(request, |request, token| request.bearer_auth(token))).await, daemon.log())
    };
    let open = "server: {listen: '0.0.0.0:0'}";
    let (code, log) = ask(open, Method::GET, "/api/v1/status", None).await;
    assert!(code == 200 && log.contains("there is no authentication"), "{code} {log}");
    assert_eq!(ask(open, Method::POST, "/-/reload", None).await.0, 403);
    let guarded = format!("server: {{listen: '0.0.0.0:0', bearer_token: {TOKEN}}}");
    let (code, log) = ask(&guarded, Method::POST, "/-/reload", Some(TOKEN)).await;
    assert!(code == 200 && log.contains("credentials go there in the clear"), "{code} {log}");
    assert_eq!(ask(&guarded, Method::POST, "/-/reload", None).await.0, 401);
}
