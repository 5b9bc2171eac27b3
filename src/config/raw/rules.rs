//! Rules: one limit each, and how strictly it is read.

use serde_json::{Value, json};

use crate::config::decode::{Decode, Definitions, Findings, decode_object, object, text};
use crate::config::types::{MaybeZero, Percent};
use crate::config::yaml::{Kind, Node};
use crate::engine::rule::Urgency;
use crate::engine::time::Duration;

object! {
    "a rule"
    Rule {
        /// Unique among rules and packs.
        name: String, required;
        /// How quickly a human must look.
        urgency: Urgency, required;
        /// Limit: the error budget is burnt this many times as fast as it may.
        burn_rate: f64;
        /// The window of burn_rate.
        long: Duration;
        /// The window that confirms (default a twelfth of the long one, at least two polls).
        short: Duration;
        /// Limit: this share of the period's error budget is gone.
        budget_consumed: Percent;
        /// Limit: at the present rate the rest of the error budget is gone within this time.
        exhaustion: Duration;
        /// Limit: a quantile of the latency is over the latency budget.
        latency: LatencyLimit;
        /// A stage counts once it holds for this many evaluations in a row (default 2).
        consecutive: u32;
        /// Shares of the limit at which the stages begin (default 80% and 100%).
        stages: Stages;
        /// How far under its threshold usage must fall before a stage ends (default 10%).
        hysteresis: Percent;
        /// For how long (default the short window).
        clear_after: MaybeZero;
        /// Fewer requests than this in the long window raise nothing.
        min_events: f64;
        /// Fewer slow requests than this in the long window raise nothing.
        min_bad: f64;
        /// How sure it must be that the share of slow requests is over the threshold, such as 95%.
        confidence: Percent;
        /// The share of the short window that must have been seen (default 50%).
        min_coverage: Percent;
        /// How often it is evaluated: a multiple of the interval (default the interval).
        every: Duration;
        /// When it is evaluated, instead of `every`.
        cron: Cron;
    }
}

object! {
    "'latency'"
    LatencyLimit {
        /// Such as 99%.
        quantile: Percent, required;
        /// The window it is taken over.
        over: Duration, required;
    }
}

object! {
    "'stages'"
    Stages {
        /// Share of the limit (default 80%).
        warning: Percent;
        /// Share of the limit (default 100%).
        critical: Percent;
    }
}

object! {
    "'cron'"
    CronTable {
        /// Five fields as in crontab; seconds may stand first.
        cron: String, required;
        /// Such as Europe/Berlin (default UTC).
        time_zone: String;
    }
}

/// A cron expression in UTC, or one with its time zone.
#[derive(Debug, Clone)]
pub(in crate::config) enum Cron {
    Utc(String),
    Zoned(CronTable),
}

impl Decode for Cron {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        if matches!(node.kind, Kind::Map(_)) {
            return decode_object(node, findings).map(Cron::Zoned);
        }
        let what = ("a cron expression", "'*/5 * * * *', or {cron: '0 9 * * *', time_zone: Europe/Berlin}");
        text(node, findings, what).map(|scalar| Cron::Utc(scalar.text.clone()))
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "anyOf": [{ "type": "string" }, CronTable::schema(definitions)] })
    }
}
