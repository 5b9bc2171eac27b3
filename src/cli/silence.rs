//! `slowburn silence`: makes, shows and ends silences of a running daemon.
//!
//! Exit code 0 if it did, 1 if the daemon refused (what is wrong with a silence, an id that it does not have), 2 if it
//! could not be asked.

mod show;

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use owo_colors::OwoColorize as _;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::engine::time::{Duration, Timestamp};

use super::remote::Remote;
use super::status::show::wrapped;
use super::when;

const PATH: &str = "/api/v1/silences";

#[derive(Debug, clap::Subcommand)]
pub enum Silence {
    /// Make a silence: exit 1 if the daemon refuses it
    #[command(
        after_help = "EXAMPLE:\n  slowburn silence add layer=database 'stage!=critical' --for 2h --reason 'vacuum'\n\n\
        Alerts that match all of the matchers are told to nobody meanwhile. They go on: what still stands when the\n\
        silence ends is told then."
    )]
    Add(Add),
    /// Show silences that are active or about to be
    List(List),
    /// End a silence now: exit 1 if there is no such
    Expire(Expire),
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// LABEL=VALUE or LABEL!=VALUE; LABEL=~'ONE|OTHER' and LABEL!~'ONE|OTHER' name several values
    #[arg(required = true, value_name = "MATCHER", value_parser = matcher)]
    matchers: Vec<Value>,
    /// How long, such as 2h or 1h30m
    #[arg(long = "for", value_name = "DURATION", required_unless_present = "until", conflicts_with = "until")]
    length: Option<String>,
    /// Until when: 2026-03-01T12:00:00Z or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = ahead)]
    until: Option<Timestamp>,
    /// When it begins (default now): as --until, or 30m for half an hour from now
    #[arg(long, value_name = "TIME", value_parser = ahead)]
    start: Option<Timestamp>,
    /// Why, for whoever finds it
    #[arg(long, visible_alias = "comment", value_name = "TEXT")]
    reason: String,
    /// Who silences (default the user that runs this)
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// The silence to replace
    #[arg(long, value_name = "ID")]
    replace: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Also those that ended lately
    #[arg(long)]
    expired: bool,
    /// Print the daemon's own answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub struct Expire {
    /// As 'slowburn silence list' shows it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: &Silence) -> anyhow::Result<ExitCode> {
    match args {
        Silence::Add(args) => add(args),
        Silence::List(args) => list(args),
        Silence::Expire(args) => expire(args),
    }
}

fn add(args: &Add) -> anyhow::Result<ExitCode> {
    let user = || std::env::var("USER").ok().filter(|user| !user.trim().is_empty());
    // A service or a container has no $USER.
    let uid = || std::fs::metadata("/proc/self").ok().map(|own| format!("uid {}", own.uid()));
    let Some(author) = args.author.clone().or_else(user).or_else(uid) else {
        bail!("who silences? Give --author NAME");
    };
    let silence = json!({
        "id": args.replace,
        "matchers": args.matchers,
        "startsAt": args.start,
        "endsAt": args.until,
        "duration": args.length,
        "createdBy": author,
        "comment": args.reason,
    });
    let answer = args.remote.ask(Method::POST, PATH, Some(&silence))?;
    if is_refusal(answer.status) {
        return Ok(refused(&answer.why()));
    }
    if !answer.status.is_success() {
        bail!("the daemon answered {}", answer.why());
    }
    let made: Made = serde_json::from_slice(&answer.body).context("the answer is not that of a slowburn daemon")?;
    for warning in &made.warnings {
        super::tell(wrapped(&format!("warning: {warning}")).yellow());
    }
    writeln!(anstream::stdout(), "{}", made.data.id)?;
    Ok(super::FINE.into())
}

fn list(args: &List) -> anyhow::Result<ExitCode> {
    let body = args.remote.get(PATH)?;
    let value: Value = serde_json::from_slice(&body).context("the answer is not that of a slowburn daemon")?;
    if args.json {
        writeln!(anstream::stdout(), "{value:#}")?;
        return Ok(super::FINE.into());
    }
    let answer: Listed = serde_json::from_value(value).context("the answer is not that of a slowburn daemon")?;
    anstream::stdout().write_all(show::text(&answer.data, args.expired).as_bytes())?;
    Ok(super::FINE.into())
}

fn expire(args: &Expire) -> anyhow::Result<ExitCode> {
    if args.id.is_empty() || !args.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Ok(refused(&format!("'{}' is no silence's id", args.id)));
    }
    let answer = args.remote.ask(Method::DELETE, &format!("{PATH}/{}", args.id), None)?;
    if is_refusal(answer.status) {
        return Ok(refused(&answer.why()));
    }
    if !answer.status.is_success() {
        bail!("the daemon answered {}", answer.why());
    }
    Ok(super::FINE.into())
}

fn refused(why: &str) -> ExitCode {
    super::tell(wrapped(&format!("refused: {why}")).red());
    super::FOUND.into()
}

/// Whether the daemon understood, and will not.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::FORBIDDEN)
}

fn ahead(text: &str) -> Result<Timestamp, String> {
    when::parse_ahead(text, Clock.now())
}

/// A matcher as it is posted. The value may stand in quotes, as Alertmanager's users write it.
fn matcher(text: &str) -> Result<Value, String> {
    let wrong =
        || format!("'{text}' is no matcher: write layer=database, 'stage!=critical' or layer=~'database|cache'");
    let at = text.find(['=', '!']).ok_or_else(wrong)?;
    let (name, rest) = text.split_at(at);
    let operators = [("=~", true, true), ("!~", true, false), ("!=", false, false), ("=", false, true)];
    let found = operators.into_iter().find_map(|(operator, is_regex, is_equal)| {
        rest.strip_prefix(operator).map(|value| (value, is_regex, is_equal))
    });
    let (value, is_regex, is_equal) = found.ok_or_else(wrong)?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if name.trim().is_empty() {
        return Err(wrong());
    }
    Ok(json!({"name": name.trim(), "value": value, "isRegex": is_regex, "isEqual": is_equal}))
}

#[derive(Debug, Deserialize)]
struct Made {
    data: MadeId,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct MadeId {
    #[serde(rename = "silenceID")]
    id: String,
}

#[derive(Debug, Deserialize)]
struct Listed {
    data: show::Silences,
}

/// How far `to` is from `now`, both as the daemon writes them.
fn span(now: &str, to: &str) -> Option<Duration> {
    let [now, to] = [now, to].map(|text| when::parse(text, Timestamp::from_unix_s(0)).ok());
    Some(to?.since(now?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers() {
        let check = |text: &str, name: &str, value: &str, is_regex: bool, is_equal: bool| {
            let expected = json!({"name": name, "value": value, "isRegex": is_regex, "isEqual": is_equal});
            assert_eq!(matcher(text), Ok(expected), "{text}");
        };
        check("layer=database", "layer", "database", false, true);
        check("layer!=database", "layer", "database", false, false);
        check("layer=~database|cache", "layer", "database|cache", true, true);
        check("layer!~\"a|b\"", "layer", "a|b", true, false);
        check("path=/a=b", "path", "/a=b", false, true);
        check("layer=", "layer", "", false, true);
        for wrong in ["layer", "=database", "layer!database", ""] {
            assert!(matcher(wrong).is_err(), "{wrong}");
        }
    }
}
