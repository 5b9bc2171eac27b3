//! `slowburn notify-test`: whether a receiver can be told, and what it answers. What is sent is marked as a test.
//!
//! Exit code 0 if every receiver took it, 1 if one did not, 2 if there is no such receiver or no sound configuration.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use owo_colors::OwoColorize as _;

use crate::clock::{Clock, Stopwatch};
use crate::config::{self, Config};
use crate::engine::Outcome;
use crate::engine::notification::Notification;
use crate::engine::rule::Urgency;
use crate::notify::{Notifier, Reply, trial};

#[derive(Debug, clap::Args)]
pub struct NotifyTest {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// Names of receivers, as the configuration has them
    #[arg(value_name = "RECEIVER", required_unless_present = "all", conflicts_with = "all")]
    receivers: Vec<String>,
    /// Every receiver of the configuration, one after the other
    #[arg(long)]
    all: bool,
    /// As loud as a critical page: this may wake somebody. Without it, as quiet as a ticket's warning
    #[arg(long)]
    page: bool,
    /// Send nothing; print what would be sent, without secrets
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &NotifyTest) -> anyhow::Result<ExitCode> {
    let config = super::sound::loaded(config::load_with_process_env(&args.config), "nothing was sent")?;
    let receivers = chosen(args, &config)?;
    let notifier = Notifier::new(&config)?;
    let urgency = if args.page { Urgency::Page } else { Urgency::Ticket };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all_told = true;
    for index in receivers {
        let receiver = &config.receivers[index];
        writeln!(anstream::stdout(), "{} ({})", receiver.name.bold(), receiver.kind.name())?;
        let test = trial::opening(index, &receiver.name, urgency, Clock.now());
        if args.dry_run {
            show(&notifier, &test)?;
        } else {
            all_told &= runtime.block_on(tell(&notifier, &test))?;
        }
    }
    Ok(if all_told { super::FINE } else { super::FOUND }.into())
}

/// Indices of the receivers to test, in the order in which they were named.
fn chosen(args: &NotifyTest, config: &Config) -> anyhow::Result<Vec<usize>> {
    if args.all {
        return Ok((0..config.receivers.len()).collect());
    }
    let names: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
    let index = |name: &String| match names.iter().position(|known| known == name) {
        Some(index) => Ok(index),
        None => {
            let meant = config::nearest(name, names.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"));
            bail!("there is no receiver '{name}' in {}{meant}\nknown: {}", args.config.display(), names.join(", "))
        }
    };
    args.receivers.iter().map(index).collect()
}

/// Sends the test, and its end where it would stay open otherwise. Whether the receiver took all of it.
async fn tell(notifier: &Notifier, test: &Notification) -> anyhow::Result<bool> {
    let told = send(notifier, "test", test).await?;
    if told && notifier.keeps_open(test) {
        let ended = send(notifier, "its end", &trial::closing(test, Clock.now())).await?;
        if !ended {
            let mut out = anstream::stdout();
            writeln!(out, "  The test stays open there under the key {}: resolve it by hand.", test.incident)?;
        }
        return Ok(ended);
    }
    Ok(told)
}

async fn send(notifier: &Notifier, what: &str, notification: &Notification) -> anyhow::Result<bool> {
    let stopwatch = Stopwatch::start();
    let Reply { outcome, said, remarks } = notifier.send_and_hear(notification, Clock.now()).await;
    let took = format!("in {:.2} s", stopwatch.elapsed_s());
    let mut out = anstream::stdout();
    match &outcome {
        Outcome::Delivered => {
            let said = said.map_or_else(String::new, |said| format!(": it {said}"));
            writeln!(out, "  {what} {} {took}{said}", "delivered".green())?;
        }
        Outcome::Retry { why, after } => {
            let after = after.map_or_else(String::new, |after| format!(", not before {after} are over"));
            let failed = "not delivered".red();
            writeln!(out, "  {what} {failed} {took}: {why}\n  (the daemon would try again{after})")?;
        }
        Outcome::Unanswered { why } => {
            let failed = "not answered".red();
            writeln!(out, "  {what} {failed} {took}: {why}\n  (it may have come; the daemon would try again)")?;
        }
        Outcome::Rejected { why } => writeln!(out, "  {what} {} {took}: {why}", "refused for good".red())?,
    }
    for remark in remarks {
        writeln!(out, "  {}: {remark}", "but".yellow())?;
    }
    Ok(outcome == Outcome::Delivered)
}

fn show(notifier: &Notifier, test: &Notification) -> anyhow::Result<()> {
    let body = |notification| notifier.body(notification).unwrap_or_default();
    let mut out = anstream::stdout();
    writeln!(out, "{:#}", body(test))?;
    if notifier.keeps_open(test) {
        writeln!(out, "and then, so that nothing stays open:\n{:#}", body(&trial::closing(test, test.at)))?;
    }
    Ok(())
}
