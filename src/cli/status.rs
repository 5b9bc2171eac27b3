//! `slowburn status`: what a running daemon sees, says and could not say. Exit code 1 while something fires.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use reqwest::Url;
use serde::Deserialize;

use crate::config::HttpClient;
use crate::engine::time::Duration;
use crate::http;

mod show;

/// From the connect to the answer's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ten thousand SLOs take about 20 MB.
const MAX_ANSWER_BYTES: usize = 256 << 20;

#[derive(Debug, clap::Args)]
pub struct Status {
    /// Where the daemon listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9797")]
    url: Url,
    /// Print the daemon's own answer
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Status) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = runtime.block_on(async {
        let asked = tokio::time::timeout(PATIENCE.to_std(), ask(&args.url));
        asked.await.unwrap_or_else(|_elapsed| bail!("no answer within {PATIENCE}"))
    });
    let body = body.with_context(|| format!("cannot ask the daemon at {}", shown(&args.url)))?;
    let answer: Answer = serde_json::from_slice(&body).context("the answer is not that of a slowburn daemon")?;
    if args.json {
        let value: serde_json::Value = serde_json::from_slice(&body)?;
        writeln!(anstream::stdout(), "{value:#}")?;
    } else {
        anstream::stdout().write_all(show::text(&answer).as_bytes())?;
    }
    let quiet = answer.alerts.is_empty() && answer.incidents.is_empty();
    Ok(if quiet { super::FINE } else { super::FOUND }.into())
}

/// The address without a password that somebody may have put into it.
fn shown(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

async fn ask(url: &Url) -> anyhow::Result<Vec<u8>> {
    let url = format!("{}/api/v1/status", url.as_str().trim_end_matches('/'));
    let client = http::client(&HttpClient::default())?;
    let mut response = client.get(url).send().await.map_err(|error| anyhow::anyhow!(http::reason(error)))?;
    if !response.status().is_success() {
        bail!("it answered {}", response.status());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| anyhow::anyhow!(http::reason(error)))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            bail!("its answer is larger than {MAX_ANSWER_BYTES} bytes");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// As much of the daemon's answer as is shown.
#[derive(Debug, Deserialize)]
struct Answer {
    version: String,
    uptime_s: i64,
    not_ready: Option<String>,
    config_file: String,
    last_reload: Reload,
    backfill: Option<Reading>,
    at: Option<String>,
    source: Source,
    slos: Vec<Slo>,
    alerts: Vec<Alert>,
    incidents: Vec<Incident>,
    held_back: BTreeMap<String, u64>,
    missed: Missed,
    receivers: Vec<Receiver>,
    dead_letters: Vec<DeadLetter>,
    notifications: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Reload {
    at: String,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Reading {
    to: String,
    read_to: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Source {
    up: bool,
    last_answer: Option<String>,
    failed_in_a_row: u32,
}

#[derive(Debug, Deserialize)]
struct Slo {
    journey: String,
    layer: Option<String>,
    labels: BTreeMap<String, String>,
    sight: String,
    problem: Option<String>,
    budget_ms: f64,
    period: String,
    budget_remaining: f64,
    coverage: f64,
    quantiles_ms: Option<[f64; 3]>,
    windows: Vec<Window>,
}

#[derive(Debug, Deserialize)]
struct Window {
    window: String,
    burn_rate: f64,
}

#[derive(Debug, Deserialize)]
struct Alert {
    journey: String,
    layer: Option<String>,
    labels: BTreeMap<String, String>,
    rule: String,
    urgency: String,
    stage: String,
    breached_at: String,
    peak_usage: f64,
}

#[derive(Debug, Deserialize)]
struct Incident {
    key: String,
    opened_at: String,
    stage: String,
    urgency: String,
    alerts: usize,
}

#[derive(Debug, Deserialize)]
struct Missed {
    slots: u64,
    partial: u64,
    #[serde(default)]
    clock_set_back: u64,
}

#[derive(Debug, Deserialize)]
struct Receiver {
    name: String,
    pending: usize,
    delivered: u64,
    rejected: u64,
    problem: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DeadLetter {
    at: String,
    receiver: String,
    summary: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Told {
    at: String,
    receiver: String,
    reason: String,
    summary: String,
    outcome: Option<String>,
}
