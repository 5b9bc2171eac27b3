//! Whatever a notification holds, what is made of it fits the receivers' limits and reads as text.

use std::sync::LazyLock;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use slowburn::engine::histogram::Labels;
use slowburn::engine::notification::{AlertFacts, Digest, DigestEntry, DigestKind, Notification, Reason};
use slowburn::engine::rule::{Limit, Stage, Urgency};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::notify::{Message, Notifier};

use super::samples::{self, PAGERDUTY, ROUTING_KEY, SLACK, WEBHOOK};
use crate::fakes::{pagerduty_verdict, slack_verdict};

static NOTIFIER: LazyLock<Notifier> =
    LazyLock::new(|| Notifier::new(&samples::config("https://receivers.example.com")).unwrap());

/// Short and long, plain and hostile.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{0,12}",
        (select(vec!["&", "<!channel>", "🔥", "\u{202e}", "\n", "a ", "\u{0}", "\"", "é"]), 0usize..1200)
            .prop_map(|(piece, n)| piece.repeat(n)),
    ]
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(text(), text(), 0..4)
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), 0.0..100.0, Just(f64::NAN), Just(f64::INFINITY)]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![any::<i64>(), 0i64..10_000_000_000].prop_map(Duration::from_ms)
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (-62_000_000_000i64..250_000_000_000).prop_map(Timestamp::from_unix_s)
}

fn limit() -> impl Strategy<Value = Limit> {
    (0u8..4, number(), duration(), duration()).prop_map(|(kind, number, long, short)| match kind {
        0 => Limit::BurnRate { factor: number, long, short },
        1 => Limit::BudgetConsumed { share: number },
        2 => Limit::Exhaustion { within: long, short },
        _ => Limit::Latency { quantile: number, over: long },
    })
}

fn alert() -> impl Strategy<Value = AlertFacts> {
    let names = (option::of(text()), labels(), text(), limit(), 0usize..8);
    let numbers = (number(), number(), number(), number(), number(), number(), number(), number());
    let rest = (option::of([number(), number(), number()]), option::of(duration()), option::of(instant()), duration());
    let grades = (select(vec![Stage::Warning, Stage::Critical]), any::<u32>());
    (names, numbers, rest, grades).prop_map(|(names, numbers, rest, grades)| AlertFacts {
        slo: names.4,
        layer: names.0,
        labels: names.1,
        rule: names.2,
        limit: names.3,
        stage: grades.0,
        objective_ppm: grades.1,
        usage: numbers.0,
        burn_long: numbers.1,
        burn_short: numbers.2,
        events: numbers.3,
        bad_events: numbers.4,
        share_of_slow: numbers.5,
        budget_s: numbers.6,
        budget_remaining: numbers.7,
        period_coverage: numbers.7,
        quantiles_s: rest.0,
        exhausted_in: rest.1,
        ended_at: rest.2,
        period: rest.3,
        ..samples::spike()
    })
}

fn notification() -> impl Strategy<Value = Notification> {
    let texts =
        (text(), text(), text(), option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let reasons = vec![Reason::Opened, Reason::Escalated, Reason::Repeated, Reason::Resolved, Reason::Blind];
    let grades = (select(reasons), select(vec![Urgency::Page, Urgency::Ticket]));
    let times = (instant(), instant(), option::of(instant()));
    (texts, labels(), vec(alert(), 0..12), grades, times).prop_map(|(texts, group, alerts, grades, times)| {
        Notification {
            id: texts.0,
            incident: texts.1,
            summary: texts.2,
            journey: texts.3,
            owner: texts.4,
            runbook: texts.5,
            detail: texts.6,
            group,
            alerts,
            reason: grades.0,
            urgency: grades.1,
            at: times.0,
            opened_at: times.1,
            resolved_at: times.2,
            ..samples::opened()
        }
    })
}

/// Every text that a person reads.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

fn entry() -> impl Strategy<Value = DigestEntry> {
    let texts = (text(), option::of(text()), text());
    let times = (instant(), option::of(instant()), any::<bool>());
    let sample = samples::entry(1, Reason::Opened, Stage::Critical, Urgency::Page);
    (texts, times).prop_map(move |(texts, times)| DigestEntry {
        incident: texts.0,
        journey: texts.1,
        summary: texts.2,
        began_at: times.0,
        ended_at: times.1,
        held: times.2,
        ..sample.clone()
    })
}

fn digest() -> impl Strategy<Value = Notification> {
    let name = prop_oneof![Just(DigestKind::Flood), text().prop_map(|name| DigestKind::Scheduled { name })];
    (name, vec(entry(), 0..130), 0u64..3, option::of(text()), instant()).prop_map(
        |(kind, entries, open, detail, at)| {
            let digest = Digest::new(kind, entries, open * 1_000_000);
            let told = digest.into_notification("sb-1".into(), at, SLACK, "slowburn:flood:team".into());
            Notification { detail, ..told }
        },
    )
}

fn check(notification: &Notification) -> Result<(), TestCaseError> {
    let body = |receiver| NOTIFIER.body(&Notification { receiver, ..notification.clone() }).unwrap();

    let slack = body(SLACK);
    prop_assert_eq!(slack_verdict(&slack), Ok(()), "{:#}", slack);
    let mut shown = vec![];
    texts(&slack, &mut shown);
    for text in shown {
        let ours = text.replace("<!date^", "");
        prop_assert!(!ours.contains("<!") && !ours.contains("<@"), "{text}");
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    let mut pagerduty = body(PAGERDUTY);
    pagerduty["routing_key"] = json!(ROUTING_KEY);
    prop_assert_eq!(pagerduty_verdict(&pagerduty), Ok(()), "{:#}", pagerduty);
    prop_assert!(pagerduty.to_string().len() <= 512 * 1024);

    let webhook = body(WEBHOOK);
    prop_assert!(webhook.to_string().len() <= 2 << 20);
    prop_assert_eq!(&webhook["version"], "4");
    prop_assert!(webhook["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_notification_fits(notification in notification()) {
        check(&notification)?;
    }

    #[test]
    fn any_digest_fits(digest in digest()) {
        check(&digest)?;
    }
}

#[test]
fn thousands_of_alerts_fit() {
    let notification = Notification { alerts: vec![samples::spike(); 1000], ..samples::opened() };
    check(&notification).unwrap();
    let body = NOTIFIER.body(&Notification { receiver: WEBHOOK, ..notification }).unwrap();
    assert_eq!((body["alerts"].as_array().unwrap().len(), &body["truncatedAlerts"]), (100, &json!(900)));
}

/// A hundred incidents with the longest and widest of names, each still there to be told apart by its time.
#[test]
fn a_hundred_incidents_fit_in_one_message() {
    for piece in ["journey-", "&", "🔥", "<!channel>"] {
        let sample = samples::entry(1, Reason::Opened, Stage::Critical, Urgency::Page);
        let entry =
            |number: usize| DigestEntry { summary: format!("{number} {}", piece.repeat(900)), ..sample.clone() };
        let kind = DigestKind::Scheduled { name: piece.repeat(900) };
        let digest = Digest::new(kind, (0..100).map(entry).collect(), 100);
        let told = digest.into_notification("sb-1".into(), samples::night(), SLACK, piece.repeat(900));
        check(&told).unwrap();
        let slack = NOTIFIER.body(&told).unwrap().to_string();
        let pagerduty = NOTIFIER.body(&Notification { receiver: PAGERDUTY, ..told.clone() }).unwrap().to_string();
        let webhook = NOTIFIER.body(&Notification { receiver: WEBHOOK, ..told }).unwrap().to_string();
        for body in [slack, pagerduty, webhook] {
            assert!(
                (0..100).all(|number| body.contains(&format!("critical page: {number} "))
                    || body.contains(&format!("\"summary\":\"{number} "))),
                "{body}"
            );
        }
    }
}

#[test]
fn numbers_that_are_none_are_not_shown() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX, f64::MIN_POSITIVE] {
        for limit in [
            Limit::BurnRate { factor: number, long: Duration::ZERO, short: Duration::ZERO },
            Limit::BudgetConsumed { share: number },
            Limit::Exhaustion { within: Duration::ZERO, short: Duration::ZERO },
            Limit::Latency { quantile: number, over: Duration::ZERO },
        ] {
            let alert = AlertFacts {
                limit,
                usage: number,
                burn_long: number,
                burn_short: number,
                events: number,
                bad_events: number,
                share_of_slow: number,
                quantiles_s: Some([number; 3]),
                budget_s: number,
                budget_remaining: number,
                period_coverage: number,
                ..samples::spike()
            };
            let alerts = vec![alert.clone(), alert];
            let message = NOTIFIER.message(&Notification { alerts, ..samples::opened() });
            let text = Message { query: None, ..message }.to_text();
            let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
            assert!(!words.contains(&"NaN") && !words.contains(&"inf") && !text.contains(" -0"), "{text}");
        }
    }
}
