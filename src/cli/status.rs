//! `slowburn status`: what a running daemon sees, says and could not say. Exit code 1 while something fires.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use super::remote::Remote;

pub(super) mod show;

#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    remote: Remote,
    /// Print the daemon's own answer
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Status) -> anyhow::Result<ExitCode> {
    let body = args.remote.get("/api/v1/status")?;
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

/// As much of the daemon's answer as is shown.
#[derive(Debug, Deserialize)]
struct Answer {
    version: String,
    now: String,
    uptime_s: i64,
    not_ready: Option<String>,
    config_file: String,
    last_reload: Reload,
    backfill: Option<Reading>,
    at: Option<String>,
    source: Source,
    #[serde(default)]
    state: Option<State>,
    heartbeat: Option<Heartbeat>,
    slos: Vec<Slo>,
    alerts: Vec<Alert>,
    incidents: Vec<Incident>,
    silences: Vec<Silence>,
    maintenance: Vec<Maintenance>,
    held_back: BTreeMap<String, u64>,
    missed: Missed,
    receivers: Vec<Receiver>,
    dead_letters: Vec<DeadLetter>,
    dead_letters_total: u64,
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
struct State {
    path: String,
    degraded: Option<String>,
    since: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Heartbeat {
    every: String,
    last_success: Option<String>,
    problem: Option<String>,
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
    /// `null` if nothing was seen, and so is a burn rate; see [`crate::engine::view::SloView`].
    budget_remaining: Option<f64>,
    coverage: f64,
    quantiles_ms: Option<[f64; 3]>,
    windows: Vec<Window>,
}

#[derive(Debug, Deserialize)]
struct Window {
    window: String,
    burn_rate: Option<f64>,
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
    #[serde(default)]
    detail: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Silence {
    matchers: Vec<Matcher>,
    starts_at: String,
    ends_at: String,
    author: String,
    reason: String,
    alerts: usize,
}

#[derive(Debug, Deserialize)]
struct Matcher {
    label: String,
    any_of: Vec<String>,
    negate: bool,
}

#[derive(Debug, Deserialize)]
struct Maintenance {
    name: String,
    until: Option<String>,
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
    summarised: u64,
    held_until: Option<String>,
    down: bool,
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
