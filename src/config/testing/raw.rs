//! What the author of a test file wrote: slowburn's own form, and promtool's.

#![expect(dead_code, reason = "some keys of promtool's are known only so that they are not refused")]

use serde_json::{Value, json};

use crate::config::decode::{Decode, Definitions, Findings, Spanned, object, refuse, scalar};
use crate::config::types::{MaybeZero, Named, OneOrMore, Percent, choice};
use crate::config::units;
use crate::config::yaml::{Kind, Node};
use crate::engine::notification::Reason;
use crate::engine::rule::{Stage, Urgency};
use crate::engine::slo::Sight;
use crate::engine::time::{Duration, Timestamp};

use super::traffic::{Requests, Slow};

object! {
    "a file of rule tests"
    RuleTests {
        /// The main file of the configuration that is tested, relative to this file.
        config: String;
        /// Distance of two samples of a series (default the configuration's interval).
        interval: Duration;
        /// When each test begins: RFC 3339 or Unix seconds (default a Monday noon, 2026-01-05T12:00:00Z).
        start: Instant;
        /// What is tried.
        tests: Vec<Spanned<RuleTest>>, required;
    }
}

object! {
    "a test"
    RuleTest {
        /// Unique within the file.
        name: String, required;
        /// Distance of two samples of a series (default the file's).
        interval: Duration;
        /// When the test begins (default the file's).
        start: Instant;
        /// For how long the first phase of the traffic went on before the beginning (default not at all). It fills the
        /// windows; nothing is evaluated yet.
        history: Duration;
        /// How long the test goes on (default to the last expectation, or the end of the series).
        until: Duration;
        /// Buckets, sample by sample.
        input_series: Vec<Spanned<InputSeries>>;
        /// Requests by journey and layer, without writing buckets.
        traffic: Vec<Spanned<Traffic>>;
        /// Times at which the source does not answer.
        outages: Vec<Spanned<Outage>>;
        /// Silences that are made in the course of the test.
        silences: Vec<Spanned<TestSilence>>;
        /// Alerts that stand at a time: these and no others.
        expect_alerts: Vec<Spanned<AlertsAt>>;
        /// Notifications over a time: these and no others.
        expect_notifications: Vec<Spanned<NotificationsIn>>;
        /// Burn rates, usages and budgets at a time.
        expect_values: Vec<Spanned<ValueAt>>;
    }
}

object! {
    "a series"
    InputSeries {
        /// Such as request_duration_seconds_bucket{layer="edge", le="0.01"}.
        series: String, required;
        /// promtool's notation: 0+10x60 _x5 stale.
        values: Text, required;
    }
}

object! {
    "traffic"
    Traffic {
        /// The journey it goes through.
        journey: String, required;
        /// The layer; without it, the journey as its users feel it.
        layer: LayerName;
        /// Labels of the series beside those that the histogram's selector demands.
        labels: Named<String>;
        /// How many: 100/s, or '100/s for 10m, 0/s for 5m, 100/s'.
        requests: Requests, required;
        /// The share beyond the latency budget: 5%, or '0% for 30m, 20% for 10m, 0%' (default none).
        slow: Slow;
    }
}

object! {
    "an outage"
    Outage {
        /// The first moment without an answer.
        from: MaybeZero, required;
        /// The first moment with an answer again.
        to: MaybeZero, required;
    }
}

object! {
    "a silence of a test"
    TestSilence {
        /// When it is made (default the beginning).
        from: MaybeZero;
        /// When it ends.
        to: MaybeZero, required;
        /// Which alerts: values of their labels.
        matches as "match": Named<OneOrMore<String>>, required;
    }
}

object! {
    "an item of expect_alerts"
    AlertsAt {
        /// How long after the beginning.
        time as "at": MaybeZero, required;
        /// Those that stand; [] for none.
        alerts: Vec<Spanned<AlertWords>>, required;
        ..only: AlertWords;
    }
}

object! {
    "an alert"
    AlertWords {
        /// Of this journey.
        journey: String;
        /// Of this layer; null for the journey as its users feel it.
        layer: LayerName;
        /// With these values of the labels that 'by' splits by.
        labels: Named<String>;
        /// Of this rule.
        rule: String;
        /// At this stage.
        stage: Stage;
        /// Of this urgency.
        urgency: Urgency;
    }
}

object! {
    "an item of expect_notifications"
    NotificationsIn {
        /// From here on (default the beginning).
        from: MaybeZero;
        /// Up to and with here (default the end).
        to: MaybeZero;
        /// Those that are sent; [] for none.
        notifications: Vec<Spanned<NotificationAt>>, required;
        ..only: NotificationWords;
    }
}

object! {
    "a notification"
    NotificationAt {
        /// When it is sent.
        time as "at": MaybeZero;
        /// The first and the last moment at which it may be sent, such as [10m, 12m].
        between: Vec<Spanned<MaybeZero>>;
        ..words: NotificationWords;
    }
}

object! {
    "a notification"
    NotificationWords {
        /// To this receiver.
        receiver: String;
        /// For this reason.
        reason: Reason;
        /// At this stage.
        stage: Stage;
        /// Of this urgency.
        urgency: Urgency;
        /// Of this journey.
        journey: String;
        /// With an alert of this layer; null for the journey as its users feel it.
        layer: LayerName;
        /// With an alert of this rule.
        rule: String;
        /// Its summary says this somewhere.
        text: String;
    }
}

object! {
    "an item of expect_values"
    ValueAt {
        /// How long after the beginning.
        time as "at": MaybeZero, required;
        /// Of this journey.
        journey: String, required;
        /// Of this layer; without it, of the journey as its users feel it.
        layer: LayerName;
        /// With these values of the labels that 'by' splits by.
        labels: Named<String>;
        /// The burn rate over a window that a rule looks at.
        burn_rate: f64;
        /// The window of burn_rate.
        over: Duration;
        /// The share of a rule's limit that is used.
        usage: Percent;
        /// The rule of usage.
        rule: String;
        /// The share of the period's error budget that is spent.
        budget_spent: Percent;
        /// What is known of it: ok, idle, unborn, lost, partial, blind or unmeasurable.
        sight: Sight;
        /// How far a number may be off (default 0.1% of it).
        tolerance: Percent;
    }
}

object! {
    "a test file of promtool"
    PromtoolTests {
        /// Not read: the configuration is what is tested.
        rule_files: Anything;
        /// How often promtool evaluates (default 1m).
        evaluation_interval: Duration;
        /// Means nothing here.
        group_eval_order: Anything;
        /// Means nothing here.
        fuzzy_compare: Anything;
        /// What is tried.
        tests: Vec<Spanned<PromtoolTest>>, required;
    }
}

object! {
    "a test group of promtool"
    PromtoolTest {
        /// Distance of two samples (default evaluation_interval).
        interval: Duration;
        /// The name of the group.
        name: String;
        /// When the test begins (default 1970-01-01T00:00:00Z).
        start_timestamp: Instant;
        /// Series, sample by sample.
        input_series: Vec<Spanned<InputSeries>>;
        /// Alerts that fire at a time.
        alert_rule_test: Vec<Spanned<AlertRuleTest>>;
        /// Not evaluated here.
        promql_expr_test: Vec<Spanned<ExprTest>>;
        /// Means nothing here.
        external_labels: Anything;
        /// Means nothing here.
        external_url: Anything;
    }
}

object! {
    "an item of alert_rule_test"
    AlertRuleTest {
        /// How long after the beginning (default 0).
        eval_time: MaybeZero;
        /// As 'slowburn rules export' names it.
        alertname: String, required;
        /// Those that fire; none if left out.
        exp_alerts: Vec<Spanned<ExpectedAlert>>;
    }
}

object! {
    "an item of exp_alerts"
    ExpectedAlert {
        /// All labels but the alert's name.
        exp_labels: Named<Text>;
        /// Not compared here.
        exp_annotations: Anything;
    }
}

object! {
    "an item of promql_expr_test"
    ExprTest {
        /// The expression.
        expr: Text;
        /// How long after the beginning.
        eval_time: MaybeZero;
        /// What promtool expects.
        exp_samples: Anything;
    }
}

/// A layer's name, or null for the journey as its users feel it.
#[derive(Debug, Clone)]
pub(in crate::config) struct LayerName(pub Option<String>);

/// A text that may be empty, and as long as the file.
#[derive(Debug, Clone)]
pub(in crate::config) struct Text(pub String);

/// Whatever stands there.
#[derive(Debug, Clone)]
pub(in crate::config) struct Anything;

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Instant(pub Timestamp);

/// The year 2200: far beyond any test, and far from overflow.
const LATEST_UNIX_S: i64 = 7_258_118_400;

impl Decode for LayerName {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => Some(LayerName(None)),
            _ => String::decode(node, findings).map(|name| LayerName(Some(name))),
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "anyOf": [{ "type": "null" }, String::schema(definitions)] })
    }
}

impl Decode for Text {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => Some(Text(String::new())),
            Kind::Scalar(scalar) => Some(Text(scalar.text.clone())),
            _ => refuse(node, findings, "a text", ""),
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "number", "boolean", "null"] })
    }
}

impl Decode for Anything {
    fn decode(_: &Node, _: &mut Findings) -> Option<Self> {
        Some(Anything)
    }

    fn schema(_: &mut Definitions) -> Value {
        json!(true)
    }
}

impl Decode for Instant {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        scalar(node, findings, ("a point in time", "2026-01-05T12:00:00Z, or Unix seconds"), |text| {
            let unix_ms = match units::instant(text) {
                Some(at) => Some(at.unix_ms()),
                None => text.parse::<i64>().ok().and_then(|unix_s| unix_s.checked_mul(1000)),
            };
            let unix_ms = unix_ms.ok_or_else(String::new)?;
            if !(0..=LATEST_UNIX_S * 1000).contains(&unix_ms) {
                return Err("it must lie between 1970 and 2200".to_owned());
            }
            Ok(Instant(Timestamp::from_unix_ms(unix_ms)))
        })
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "integer"] })
    }
}

choice!(Reason, "a reason", {
    "opened" => Reason::Opened,
    "escalated" => Reason::Escalated,
    "repeated" => Reason::Repeated,
    "resolved" => Reason::Resolved,
    "blind" => Reason::Blind,
    "digest" => Reason::Digest,
});
choice!(Sight, "what can be known of an SLO", {
    "ok" => Sight::Ok,
    "idle" => Sight::Idle,
    "unborn" => Sight::Unborn,
    "lost" => Sight::Lost,
    "partial" => Sight::Partial,
    "blind" => Sight::Blind,
    "unmeasurable" => Sight::Unmeasurable,
});
