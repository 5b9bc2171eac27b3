//! `check --online`: whether the source has what the configuration relies on.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use super::indented;
use crate::cli::{FINE, FOUND};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::engine::sli::{Good, SloSpec};
use crate::engine::time::{Duration, Timestamp};
use crate::source::Source;
use crate::source::probe::{Probe, SloProbe};

/// For all questions together.
const DEADLINE: Duration = Duration::from_minutes(1);

/// Of what is said about an SLO.
const INDENT: &str = "      ";

pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let now = Clock.now();
    let runtime = tokio::runtime::Runtime::new()?;
    let probe = runtime.block_on(ask(config, now)).context("the source cannot be asked")?;
    let findings = judge(config, &probe, now);
    anstream::stdout().write_all(show(config, &probe, &findings, now).as_bytes())?;
    let broken = findings.iter().flatten().any(|finding| finding.severity == Severity::Error);
    Ok(if broken { FOUND } else { FINE }.into())
}

async fn ask(config: &Config, now: Timestamp) -> anyhow::Result<Probe> {
    // What the daemon would have polled by now.
    let delay = match &config.source {
        config::Source::Prometheus(source) => source.delay,
        config::Source::Scrape(_) => Duration::ZERO,
    };
    Ok(Source::new(config)?.probe(now - delay, config.spec.longest_window(), DEADLINE).await?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    text: String,
}

/// What is wrong with each SLO, in their order.
fn judge(config: &Config, probe: &Probe, now: Timestamp) -> Vec<Vec<Finding>> {
    let interval = config.spec.interval;
    let judge = |(slo, found): (&SloSpec, &SloProbe)| {
        let mut findings = Vec::new();
        let mut add = |severity, text: Option<String>| findings.extend(text.map(|text| Finding { severity, text }));
        add(Severity::Error, missing(slo, found));
        add(Severity::Error, misfit(slo, found));
        add(Severity::Error, forgetful(slo, probe.retention));
        add(Severity::Error, sparse(slo, found));
        add(Severity::Warning, hasty(interval, found));
        add(Severity::Warning, young(slo, found, now));
        findings
    };
    config.spec.slos.iter().zip(&probe.slos).map(judge).collect()
}

fn missing(slo: &SloSpec, found: &SloProbe) -> Option<String> {
    match (found.series, found.native) {
        (0, true) => Some(format!(
            "{} is a native histogram only; slowburn reads classic buckets, so have it scraped as both",
            slo.selector
        )),
        (0, false) => Some(format!("no series matches {} (with _bucket)", slo.selector)),
        _ => None,
    }
}

fn misfit(slo: &SloSpec, found: &SloProbe) -> Option<String> {
    if found.between == 0 {
        return None;
    }
    // The bounds next to the budget are all that decides.
    let (below, above) = found.neighbours_s;
    let bounds: Vec<f64> = below.into_iter().chain(above).chain([f64::INFINITY]).collect();
    let misfit = Good::locate(slo.budget_s, &bounds, slo.between).err()?;
    let of = if found.between == found.series {
        String::new()
    } else {
        format!("{} of {} series: ", found.between, found.series)
    };
    Some(format!("{of}{misfit}"))
}

/// A period longer than the source keeps could never be filled after a restart.
fn forgetful(slo: &SloSpec, retention: Option<Duration>) -> Option<String> {
    let retention = retention.filter(|retention| *retention < slo.period)?;
    Some(format!("the period is {} but the source keeps only {retention}; keep more or shorten the period", slo.period))
}

/// A window that holds fewer than two scrapes cannot show an increase.
fn sparse(slo: &SloSpec, found: &SloProbe) -> Option<String> {
    let apart = found.scrape_interval?;
    let short = |rule: &crate::engine::rule::Rule| Some((rule.limit.short_window()?, rule.name.clone()));
    let (short, rule) = slo.rules.iter().filter_map(short).min()?;
    (short < apart.times(2.0)).then(|| {
        format!("the short window of '{rule}' ({short}) holds fewer than two scrapes, which are {apart} apart")
    })
}

fn hasty(interval: Duration, found: &SloProbe) -> Option<String> {
    let apart = found.scrape_interval.filter(|apart| interval < *apart)?;
    Some(format!("polled each {interval} but scraped each {apart}: most polls will see nothing new"))
}

fn young(slo: &SloSpec, found: &SloProbe, now: Timestamp) -> Option<String> {
    let reach = now.since(found.earliest?);
    // The probe looks in steps of a two-hundredth of the time asked about.
    (reach < slo.period.times(0.99)).then(|| {
        format!("history reaches back {} of the {} period; budgets cover that much", reach.coarse(), slo.period)
    })
}

/// A line an SLO, and one a finding.
fn show(config: &Config, probe: &Probe, findings: &[Vec<Finding>], now: Timestamp) -> String {
    let mut out = String::from("\nAsked the source:\n");
    let places: Vec<String> = config.spec.slos.iter().map(SloSpec::place).collect();
    let common = common(findings);
    let width = places.iter().map(String::len).max().unwrap_or(0);
    for ((place, found), findings) in places.iter().zip(&probe.slos).zip(findings) {
        let verdict = match findings.iter().map(|finding| finding.severity).min_by_key(|severity| *severity as u8) {
            None => "ok",
            Some(Severity::Warning) => "warning",
            Some(Severity::Error) => "error",
        };
        let _ = writeln!(out, "  {place:<width$}  {verdict:<7}  {}", known(found, now));
        for finding in findings.iter().filter(|finding| !common.contains(finding)) {
            let _ = writeln!(out, "{}", indented(INDENT, &finding.text));
        }
    }
    if !common.is_empty() {
        let _ = writeln!(out, "  all of them");
    }
    for finding in common {
        let _ = writeln!(out, "{}", indented(INDENT, &finding.text));
    }
    for warning in &probe.warnings {
        let _ = writeln!(out, "  the source warns: {warning}");
    }
    out
}

/// What is found of every SLO, where there are several: worth saying once.
fn common(findings: &[Vec<Finding>]) -> Vec<&Finding> {
    match findings {
        [first, rest @ ..] if !rest.is_empty() => {
            first.iter().filter(|finding| rest.iter().all(|others| others.contains(finding))).collect()
        }
        _ => Vec::new(),
    }
}

/// What was found, in a few words.
fn known(found: &SloProbe, now: Timestamp) -> String {
    let mut parts = vec![format!("{} series", found.series)];
    parts.extend(found.scrape_interval.map(|apart| format!("scraped each {apart}")));
    parts.extend(found.earliest.map(|at| format!("{} of history", now.since(at).coarse())));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const CONFIG: &str = "
source: {prometheus: {url: 'http://127.0.0.1:9090'}}
receivers: [{name: hook, webhook: {url: 'http://127.0.0.1:8080'}}]
rules: [{name: spike, burn_rate: 14.4, long: 10m, short: 1m, urgency: page}]
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    rules: [spike]
    layers: [{name: database, budget: 40ms, histogram: 'request_duration_seconds{layer=\"database\"}'}]
";

    /// Judges one SLO by what `found` says, and returns what is shown of it.
    fn check(found: SloProbe, retention: Option<Duration>, expected: &str) {
        let texts: BTreeMap<String, String> = [("slowburn.yml".to_string(), CONFIG.to_string())].into();
        let config = crate::config::load_texts("slowburn.yml", &texts, &|_| None).expect("sound").config;
        let now = Timestamp::from_unix_s(1_772_366_400);
        let probe = Probe { slos: vec![found], retention, warnings: Vec::new() };
        let shown = show(&config, &probe, &judge(&config, &probe, now), now);
        assert_eq!(shown.trim_start_matches("\nAsked the source:\n"), expected);
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
    }

    #[test]
    fn what_is_true_of_all_is_said_once() {
        let finding = |text: &str| Finding { severity: Severity::Warning, text: text.to_owned() };
        let (ours, mine) = (finding("ours"), finding("mine"));
        let all = [vec![ours.clone(), mine.clone()], vec![ours.clone()]];
        assert_eq!(common(&all), [&ours]);
        assert!(common(&all[..1]).is_empty(), "one SLO is told all that is its own");
        assert!(common(&[vec![mine], vec![]]).is_empty());
    }

    #[test]
    fn what_the_source_has_is_judged() {
        let good = SloProbe {
            series: 2,
            bounds_s: vec![0.03, 0.04, 0.05],
            scrape_interval: Some(Duration::from_secs(15)),
            earliest: Some(Timestamp::from_unix_s(1_772_366_400) - Duration::from_days(30)),
            ..SloProbe::default()
        };
        check(good.clone(), None, "  checkout/database  ok       2 series, scraped each 15s, 30d of history\n");
        check(
            SloProbe::default(),
            None,
            "  checkout/database  error    0 series\n      no series matches request_duration_seconds{layer=\"database\"} (with\n      _bucket)\n",
        );
        check(
            SloProbe { between: 2, neighbours_s: (Some(0.03), Some(0.05)), ..good.clone() },
            None,
            "  checkout/database  error    2 series, scraped each 15s, 30d of history\n      the budget of 0.04 s is not a bound of the histogram: it lies between 0.03\n      and 0.05; use one of them, or say 'between: lower', 'upper' or\n      'interpolate'\n",
        );
        check(
            SloProbe { scrape_interval: Some(Duration::from_minutes(1)), ..good.clone() },
            Some(Duration::from_days(15)),
            "  checkout/database  error    2 series, scraped each 1m, 30d of history\n      the period is 30d but the source keeps only 15d; keep more or shorten the\n      period\n      the short window of 'spike' (1m) holds fewer than two scrapes, which are\n      1m apart\n      polled each 30s but scraped each 1m: most polls will see nothing new\n",
        );
        check(
            SloProbe { earliest: Some(Timestamp::from_unix_s(1_772_366_400) - Duration::from_days(3)), ..good },
            None,
            "  checkout/database  warning  2 series, scraped each 15s, 3d of history\n      history reaches back 3d of the 30d period; budgets cover that much\n",
        );
    }
}
