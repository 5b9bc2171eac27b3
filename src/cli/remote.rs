//! Asking a running daemon over HTTP: where it is, who asks, and how its refusals read.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::config::secret::Secret;
use crate::config::{Auth, HttpClient, Tls};
use crate::engine::time::Duration;
use crate::http;

/// From the connect to the answer's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ten thousand SLOs take about 20 MB.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// A password, a token or a certificate.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub struct Remote {
    /// Where the daemon listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9797")]
    url: Url,
    /// Whom the daemon knows you as
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// The file that holds the password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// The file that holds a bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    bearer_token_file: Option<PathBuf>,
    /// PEM file with the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// What the daemon answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Remote {
    /// Asks for `path`, which begins with a slash, and takes nothing but a success.
    pub fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.ask(Method::GET, path, None)?;
        if !answer.status.is_success() {
            bail!("the daemon at {} answered {}", self.shown(), answer.why());
        }
        Ok(answer.body)
    }

    /// Asks, whatever comes of it; refused credentials are an error.
    pub fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async {
            let asked = tokio::time::timeout(PATIENCE.to_std(), self.exchange(method, path, body));
            asked.await.unwrap_or_else(|_elapsed| bail!("no answer within {PATIENCE}"))
        });
        let answer = answer.with_context(|| format!("cannot ask the daemon at {}", self.shown()))?;
        if answer.status == StatusCode::UNAUTHORIZED {
            let help = "give --username and --password-file, or --bearer-token-file";
            bail!("the daemon at {} does not know who asks: {help}", self.shown());
        }
        Ok(answer)
    }

    /// The address without a password that somebody may have put into it.
    fn shown(&self) -> String {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        let mut request = http::client(&self.settings()?)?.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| anyhow::anyhow!(http::reason(error)))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| anyhow::anyhow!(http::reason(error)))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                bail!("its answer is larger than {MAX_ANSWER_BYTES} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }

    fn settings(&self) -> anyhow::Result<HttpClient> {
        let auth = match (&self.username, &self.password_file, &self.bearer_token_file) {
            (Some(username), Some(file), _) => Auth::Basic { username: username.clone(), password: secret(file)? },
            (_, _, Some(file)) => Auth::Bearer(secret(file)?),
            _ => Auth::None,
        };
        let ca_pem = self.ca_file.as_deref().map(read).transpose()?.map(String::into_bytes);
        Ok(HttpClient { auth, tls: Tls { ca_pem, identity_pem: None }, ..HttpClient::default() })
    }
}

impl Answer {
    /// The daemon's own words, or else the status.
    pub fn why(&self) -> String {
        let said = serde_json::from_slice::<Value>(&self.body).ok();
        match said.as_ref().and_then(|said| said["error"].as_str()) {
            Some(error) => format!("{}: {error}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// One line.
fn secret(file: &Path) -> anyhow::Result<Secret> {
    let text = read(file)?;
    let line = text.trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.contains('\n') {
        bail!("{} does not hold one line", file.display());
    }
    Ok(Secret::new(line.to_owned()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    let read = || {
        let length = std::fs::metadata(file)?.len();
        if length > MAX_FILE_BYTES {
            return Err(std::io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes")));
        }
        std::fs::read_to_string(file)
    };
    read().with_context(|| format!("cannot read {}", file.display()))
}
