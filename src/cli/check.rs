//! `slowburn check`: reads the whole configuration and says what is wrong with it, or what it would watch.

mod online;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::sound;
use crate::config::units::{show_ns, show_ppm};
use crate::config::{self, Config, Loaded, Source};
use crate::engine::sli::SloSpec;

#[derive(Debug, clap::Args)]
pub struct Check {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// Also ask the source for each histogram, its bounds, its scrape interval and its history
    #[arg(long)]
    online: bool,
}

pub fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let Loaded { config, warnings } = match config::load_with_process_env(&args.config) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            sound::show(&diagnostics);
            let code = if diagnostics.is_unreadable() { super::COULD_NOT_RUN } else { super::FOUND };
            return Ok(code.into());
        }
    };
    sound::show(&warnings);
    std::io::stdout().write_all(summary(&config).as_bytes())?;
    if args.online {
        return online::run(&config);
    }
    Ok(super::FINE.into())
}

/// What a sound configuration watches and whom it tells.
fn summary(config: &Config) -> String {
    let mut out = String::new();
    let source = match &config.source {
        Source::Prometheus(prometheus) => prometheus.url.clone(),
        Source::Scrape(scrape) => scrape.targets.join(", "),
    };
    let _ = writeln!(out, "The configuration is sound: {} polled every {}.", source, config.spec.interval);
    for slos in config.spec.slos.chunk_by(|a, b| a.journey == b.journey) {
        let _ = writeln!(out, "\n{}", slos[0].journey);
        let rules = |slo: &SloSpec| slo.rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        for same in slos.chunk_by(|a, b| rules(a) == rules(b)) {
            for slo in same {
                let _ = writeln!(out, "{}", slo_line(slo));
            }
            let rules = rules(&same[0]).join(" ");
            let rules = if rules.is_empty() { "no rules".to_owned() } else { format!("rules: {rules}") };
            let _ = writeln!(out, "{}", indented("    ", &rules));
        }
    }
    out.push('\n');
    for receiver in &config.receivers {
        let _ = writeln!(out, "receiver {} ({})", receiver.name, receiver.kind.name());
    }
    out
}

fn slo_line(slo: &SloSpec) -> String {
    let layer = slo.layer.as_deref().unwrap_or("(whole journey)");
    let budget = show_ns((slo.budget_s * 1e9).round() as u64);
    let by = if slo.by.is_empty() { String::new() } else { format!(" by {}", slo.by.join(", ")) };
    let objective = show_ppm(slo.objective_ppm);
    format!("  {layer:<16} {objective:>7} within {budget:<8} over {}{by}", slo.period)
}

/// Text in lines at most 80 columns wide, as far as its words allow.
pub(super) fn indented(indent: &str, text: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line == indent => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= 80 => *line = format!("{line} {word}"),
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n")
}
