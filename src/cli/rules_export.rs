//! `slowburn rules export`: the configured rules as Prometheus alerting rules, so that nobody is locked in.
//!
//! One group a journey, one alert for each SLO, rule and stage. What Prometheus' rules cannot say is said in comments:
//! at the head of the file where it is so for all of them, beside an alert where it is so for that one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::output::Target;
use crate::config::exported::{alert_name, labels};
use crate::config::promql::Query;
use crate::config::selector::Selector;
use crate::config::{self, Secrets};
use crate::engine::Spec;
use crate::engine::histogram::Labels;
use crate::engine::rule::{Limit, Rule, Schedule, Stage};
use crate::engine::sli::{Between, SloSpec};
use crate::engine::time::Duration;

const HEAD: &str = "\
# Written by 'slowburn rules export': edit slowburn's configuration instead of this file.
#
# Prometheus 2.42 or later. What its rules cannot express, and slowburn does:
# - Incidents. Every alert stands for itself: group by [journey] in Alertmanager, and inhibit severity=warning where
#   severity=critical fires with the same journey, layer and rule.
# - Consecutive evaluations. 'for' asks that the condition holds throughout that time.
# - Hysteresis. 'keep_firing_for' runs from when usage falls under the threshold itself.
# - Absence of data. An empty answer, from a source out of sight or a bound that does not exist, resolves an alert.
# - Coverage and counter resets at the edges of a window: rate() extrapolates.
";

#[derive(Debug, clap::Subcommand)]
pub enum Rules {
    /// Print the burn rules as Prometheus alerting rules
    Export(Export),
}

#[derive(Debug, clap::Args)]
pub struct Export {
    /// The main configuration file
    #[arg(long, value_name = "FILE", default_value = "slowburn.yml")]
    config: PathBuf,
    /// Write to this file instead of standard output; it stays as it is if there is a mistake
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Export) -> anyhow::Result<ExitCode> {
    let config = super::sound::loaded(config::load_needing(Secrets::Spare, &args.config), "nothing was exported")?;
    let text = export(&config.spec, &config.selectors);
    match &args.out {
        Some(path) => {
            Target::replacing(path, &[&args.config])?.write(|out| out.write_all(text.as_bytes()))?;
        }
        None => std::io::stdout().write_all(text.as_bytes())?,
    }
    Ok(super::FINE.into())
}

/// The rules of all SLOs as a rule file; `selectors` are the histograms of `spec.slos`, in the same order.
///
/// The same input gives the same bytes.
pub fn export(spec: &Spec, selectors: &[Selector]) -> String {
    let mut journeys: BTreeMap<&str, Vec<(&SloSpec, &Selector)>> = BTreeMap::new();
    for (slo, selector) in spec.slos.iter().zip(selectors) {
        journeys.entry(&slo.journey).or_default().push((slo, selector));
    }
    let mut yaml = Yaml { text: format!("{HEAD}groups:{}\n", if journeys.is_empty() { " []" } else { "" }) };
    for (journey, slos) in journeys {
        yaml.line(2, &format!("- name: {}", scalar(&format!("slowburn-{journey}"))));
        yaml.line(4, &format!("interval: {}", spec.interval));
        let empty = slos.iter().all(|(slo, _)| slo.rules.is_empty());
        yaml.line(4, if empty { "rules: []" } else { "rules:" });
        for (slo, selector) in slos {
            let query = Query { selector, slo, by: &Labels::new(), bounds: &[] };
            for rule in &slo.rules {
                for stage in [Stage::Critical, Stage::Warning] {
                    yaml.alert(query, rule, stage);
                }
            }
        }
    }
    yaml.text
}

struct Yaml {
    text: String,
}

impl Yaml {
    fn line(&mut self, indent: usize, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{text}", "");
    }

    fn map(&mut self, key: &str, entries: &BTreeMap<&str, String>) {
        self.line(8, &format!("{key}:"));
        for (name, value) in entries {
            self.line(10, &format!("{name}: {}", scalar(value)));
        }
    }

    fn alert(&mut self, query: Query, rule: &Rule, stage: Stage) {
        self.line(6, &format!("- alert: {}", scalar(&alert_name(&rule.name))));
        for note in notes(query.slo, rule) {
            self.line(8, &format!("# {note}"));
        }
        self.line(8, "expr: |");
        for line in condition(query, rule, stage).lines() {
            self.line(10, line);
        }
        let holds_for = hold(rule);
        if !holds_for.is_zero() {
            self.line(8, &format!("for: {holds_for}"));
        }
        if !rule.clear_after.is_zero() {
            self.line(8, &format!("keep_firing_for: {}", rule.clear_after));
        }
        let labels = labels(query.slo, rule, stage);
        let labels = labels.into_iter().map(|(name, value)| (name, literal(value)));
        self.map("labels", &labels.collect());
        self.map("annotations", &annotations(query.slo, rule, stage));
    }
}

/// A double-quoted YAML scalar: JSON's strings are YAML's.
fn scalar(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn condition(query: Query, rule: &Rule, stage: Stage) -> String {
    let mut condition = query.breach(rule.limit, threshold_ppm(rule, stage));
    let window = rule.limit.long_window().unwrap_or(query.slo.period);
    if rule.min_events > 0.0 {
        let _ = write!(condition, "\nand\n{} >= {}", query.events(window), rule.min_events);
    }
    if rule.min_bad > 0.0 {
        let (events, bad_ratio) = (query.events(window), query.bad_ratio(window));
        let _ = write!(condition, "\nand\n{events} * ({bad_ratio}) >= {}", rule.min_bad);
    }
    condition
}

fn threshold_ppm(rule: &Rule, stage: Stage) -> u32 {
    match stage {
        Stage::Warning => rule.warning_ppm,
        Stage::Critical => rule.critical_ppm,
    }
}

/// From the first to the last of the evaluations in a row that a stage needs.
fn hold(rule: &Rule) -> Duration {
    match rule.schedule {
        Schedule::Every(every) => every.times(f64::from(rule.consecutive.saturating_sub(1))),
        Schedule::At(_) => Duration::ZERO,
    }
}

/// What this alert says otherwise than slowburn does.
fn notes(slo: &SloSpec, rule: &Rule) -> Vec<String> {
    let mut notes = Vec::new();
    if slo.between != Between::Refuse {
        notes.push(format!(
            "{} s is taken for a bound of the histogram. If it lies between two, nothing matches: write one of them.",
            slo.budget_s
        ));
    }
    if matches!(rule.schedule, Schedule::At(_)) {
        notes.push("Evaluated at every interval: Prometheus has no cron schedules.".to_owned());
    }
    if rule.confidence_z.is_some() {
        notes.push("Without the confidence bound: with few requests this fires sooner than slowburn.".to_owned());
    }
    if matches!(rule.limit, Limit::BudgetConsumed { .. } | Limit::Exhaustion { .. }) {
        notes.push(format!("Reads {} of samples at every evaluation: see to the server's retention.", slo.period));
    }
    notes
}

fn annotations<'a>(slo: &'a SloSpec, rule: &Rule, stage: Stage) -> BTreeMap<&'a str, String> {
    let mut place = literal(&slo.journey);
    if let Some(layer) = &slo.layer {
        let _ = write!(place, " / {}", literal(layer));
    }
    for name in &slo.by {
        let _ = write!(place, ", {name} {{{{ $labels.{name} }}}}");
    }
    let share = f64::from(threshold_ppm(rule, stage)) / 10_000.0;
    let objective = f64::from(slo.objective_ppm) / 10_000.0;
    let mut annotations = BTreeMap::new();
    annotations.insert("summary", format!("{place}: {}", in_words(rule.limit)));
    annotations.insert(
        "description",
        format!(
            "At least {share}% of this limit are in use: {}. \
             The objective is {objective}% of requests within {} ms over {}.",
            value_in_words(rule.limit),
            (slo.budget_s * 1e6).round() / 1e3,
            slo.period
        ),
    );
    if let Some(runbook) = &slo.runbook {
        annotations.insert("runbook_url", literal(runbook));
    }
    annotations
}

fn in_words(limit: Limit) -> String {
    match limit {
        Limit::BurnRate { factor, long, short } => {
            format!("the latency error budget burns at {factor} times the allowed rate over {long} and {short}")
        }
        Limit::BudgetConsumed { share } => {
            format!("{}% of the period's latency error budget are spent", (share * 1e6).round() / 1e4)
        }
        Limit::Exhaustion { within, short } => {
            format!("at the rate of the last {short} the latency error budget is gone within {within}")
        }
        Limit::Latency { quantile, over } => {
            format!("the p{} over {over} comes up to the latency budget", (quantile * 1e6).round() / 1e4)
        }
    }
}

/// What the alert's expression yields.
fn value_in_words(limit: Limit) -> &'static str {
    match limit {
        Limit::BurnRate { .. } => "the burn rate is {{ $value | humanize }}",
        Limit::BudgetConsumed { .. } => "{{ $value | humanizePercentage }} of the error budget are spent",
        Limit::Exhaustion { .. } => "the error budget is gone in {{ $value | humanizeDuration }}",
        Limit::Latency { .. } => "the quantile is {{ $value | humanizeDuration }}",
    }
}

/// Text that Prometheus' templates leave as it is.
fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::engine::rule::Urgency;
    use crate::engine::sli::NewSeries;
    use crate::engine::time::{Calendar, Timestamp};
    use std::sync::Arc;

    #[derive(Debug)]
    struct Never;

    impl Calendar for Never {
        fn next_after(&self, _: Timestamp) -> Option<Timestamp> {
            None
        }
    }

    fn rule(name: &str, urgency: Urgency, limit: Limit) -> Rule {
        Rule {
            name: name.to_owned(),
            urgency,
            limit,
            schedule: Schedule::Every(Duration::from_secs(30)),
            warning_ppm: 800_000,
            critical_ppm: 1_000_000,
            consecutive: 2,
            hysteresis_ppm: 100_000,
            clear_after: limit.short_window().unwrap_or(Duration::from_minutes(5)),
            min_events: 0.0,
            min_bad: 0.0,
            confidence_z: None,
            min_coverage_ppm: 500_000,
        }
    }

    fn slo(layer: Option<&str>, selector: &str, budget_s: f64, rules: Vec<Rule>) -> SloSpec {
        SloSpec {
            journey: "checkout".to_owned(),
            layer: layer.map(str::to_owned),
            tier: None,
            owner: Some("payments".to_owned()),
            runbook: Some("https://wiki.example.com/checkout".to_owned()),
            labels: Labels::new(),
            selector: selector.to_owned(),
            budget_s,
            objective_ppm: 990_000,
            period: Duration::from_days(30),
            between: Between::Refuse,
            new_series: NewSeries::Skip,
            by: Vec::new(),
            max_by: 10,
            rules,
        }
    }

    /// Every kind of rule and everything that is worth a comment.
    fn checkout() -> (Spec, Vec<Selector>) {
        let (hour, minutes) = (Duration::from_hours(1), Duration::from_minutes(5));
        let fast_burn = rule("fast-burn", Urgency::Page, Limit::BurnRate { factor: 14.4, long: hour, short: minutes });
        let runway = rule("runway", Urgency::Page, Limit::Exhaustion { within: hour, short: minutes });
        let mut budget = rule("budget", Urgency::Ticket, Limit::BudgetConsumed { share: 1.0 });
        budget.schedule = Schedule::At(Arc::new(Never));
        budget.clear_after = Duration::ZERO;
        let mut approach = rule("approach", Urgency::Ticket, Limit::Latency { quantile: 0.99, over: hour });
        approach.min_events = 100.0;
        approach.min_bad = 5.0;
        approach.confidence_z = Some(1.645);

        let path = slo(None, r#"http_request_duration_seconds{route="/checkout"}"#, 1.0, vec![fast_burn.clone()]);
        let mut database = slo(
            Some("database"),
            r#"request_duration_seconds{layer="database"}"#,
            0.04,
            vec![fast_burn, runway, budget],
        );
        database.objective_ppm = 999_000;
        database.by = vec!["region".to_owned()];
        database.labels = [("team".to_owned(), "{{ $labels.evil }}".to_owned())].into();
        let mut network = slo(Some("network"), "request_duration_seconds", 0.01, vec![approach]);
        network.journey = "a \"quoted\" journey".to_owned();
        network.tier = Some("gold".to_owned());
        network.between = Between::Interpolate;

        let slos = vec![path, database, network];
        let selectors = slos.iter().map(|slo| Selector::parse(&slo.selector).unwrap()).collect();
        (Spec { interval: Duration::from_secs(30), slos, ..Spec::default() }, selectors)
    }

    #[test]
    fn every_kind_of_rule_is_exported() {
        let (spec, selectors) = checkout();
        insta::assert_snapshot!(export(&spec, &selectors));
    }

    #[test]
    #[ignore = "needs prometheus"]
    fn promtool_accepts_what_is_exported() {
        let (spec, selectors) = checkout();
        let example = config::load_with_process_env("examples/checkout/slowburn.yml".as_ref()).unwrap().config;
        for (text, rules) in [
            (export(&spec, &selectors), 10),
            (export(&example.spec, &example.selectors), 60),
            (export(&Spec::default(), &[]), 0),
        ] {
            let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
            std::fs::write(&file, text).unwrap();
            let promtool =
                std::process::Command::new("promtool").args(["check", "rules"]).arg(file.path()).output().unwrap();
            let said =
                [promtool.stdout, promtool.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
            assert!(promtool.status.success() && said.contains(&format!("SUCCESS: {rules} rules found")), "{said}");
        }
    }
}
