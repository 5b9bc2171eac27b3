//! What instances are posted, and how it is told how they took it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::btree_map;
use proptest::prelude::*;
use serde_json::Value;
use slowburn::clock::{Clock, Stopwatch};
use slowburn::config::secret::Secret;
use slowburn::config::{Auth, Config, HttpClient, Receiver, ReceiverKind, Templates};
use slowburn::engine::Outcome;
use slowburn::engine::histogram::Labels;
use slowburn::engine::notification::{AlertFacts, Notification, Reason};
use slowburn::engine::rule::{Stage, Urgency};
use slowburn::engine::time::Duration;
use slowburn::notify::Notifier;

use super::fake::{Fake, verdict};
use crate::golden;
use crate::notify::samples;

const NOBODY: &str = "http://127.0.0.1:1";
const TOKEN: &str = "t0kenOfTheHeader";
const PASSWORD: &str = "p4ssw0rdOfTheProxy";
const BEARER: &str = "b3arerOfTheGateway";

/// The samples' configuration with one more receiver, which is the last.
fn config(urls: &[&str], http: HttpClient) -> Config {
    let mut config = samples::config("http://receivers.example.com");
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    let kind = ReceiverKind::Alertmanager { urls, resend: Duration::from_minutes(1), http };
    config.receivers.push(Receiver { name: "am".into(), kind, template: Templates::default() });
    config
}

fn notifier(urls: &[&str]) -> Notifier {
    Notifier::new(&config(urls, HttpClient::default())).unwrap().with_deadline(Duration::from_secs(5))
}

fn to_am(notification: Notification) -> Notification {
    Notification { receiver: samples::WEBHOOK + 1, ..notification }
}

fn posted(notification: Notification) -> Vec<Value> {
    notifier(&[NOBODY]).body(&to_am(notification)).unwrap().as_array().unwrap().clone()
}

fn with_alerts(alerts: Vec<AlertFacts>) -> Notification {
    to_am(Notification { alerts, ..samples::opened() })
}

#[test]
fn alerts_read_as_the_golden_files_say() {
    for (name, notification) in samples::all() {
        if ["opened", "escalated", "resolved", "blind", "blind_resolved", "other_rules", "hostile"].contains(&name) {
            let body = Value::Array(posted(notification));
            golden::check(&format!("notify/{name}.alertmanager.json"), &format!("{body:#}\n"));
        }
    }
}

#[test]
fn whatever_is_posted_is_valid() {
    for (name, notification) in samples::all() {
        for alert in posted(notification) {
            assert_eq!(verdict(&alert, None), Ok(()), "{name}: {alert:#}");
        }
    }
}

/// Whatever changes while an alert stands, it stays the same alert.
#[test]
fn an_alert_keeps_its_labels_for_as_long_as_it_stands() {
    let labels = |notification| posted(notification)[0]["labels"].clone();
    let opened = labels(samples::opened());
    let later = samples::night() + Duration::from_hours(5);
    let changed = AlertFacts { usage: 9.0, burn_long: 200.0, budget_remaining: -1.0, ..samples::spike() };
    let repeated = Notification {
        at: later,
        reason: Reason::Repeated,
        urgency: Urgency::Page,
        alerts: vec![changed.clone()],
        ..samples::opened()
    };
    assert_eq!(labels(repeated), opened);
    let ended = AlertFacts { ended_at: Some(later), ..changed.clone() };
    let resolved =
        Notification { reason: Reason::Resolved, resolved_at: Some(later), alerts: vec![ended], ..samples::opened() };
    assert_eq!(labels(resolved), opened);

    // Another stage is another alert, and differs in nothing but what follows from the stage.
    let warning = Notification { alerts: vec![AlertFacts { stage: Stage::Warning, ..changed }], ..samples::opened() };
    let mut warning = labels(warning);
    assert_eq!((&warning["stage"], &warning["severity"]), (&"warning".into(), &"warning".into()));
    (warning["stage"], warning["severity"]) = ("critical".into(), "critical".into());
    assert_eq!(warning, opened);
}

#[test]
fn what_stands_is_held_for_four_resends_and_what_ended_has_its_end() {
    let alert = &posted(samples::opened())[0];
    assert_eq!(alert["startsAt"], (samples::night() - Duration::from_minutes(3)).to_string());
    assert_eq!(alert["endsAt"], (samples::night() + Duration::from_minutes(4)).to_string());
    let ended = AlertFacts { ended_at: Some(samples::night()), ..samples::spike() };
    assert_eq!(posted(with_alerts(vec![ended]))[0]["endsAt"], samples::night().to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Labels of `by` may be called and hold what they like: no two alerts become one, and each is valid.
    #[test]
    fn no_two_alerts_have_the_same_labels(sets in prop::collection::btree_set(btree_map(
        prop_oneof!["[a-c]{1,2}", Just("stage-2".into()), Just("stage.2".into()), Just("slo".into()),
            Just("alertname".into()), Just("1st".into()), Just("team".into()), any::<String>()],
        prop_oneof!["[a-c]{1,2}", any::<String>(), "é{500,530}"].prop_filter("", |value| !value.trim().is_empty()),
        0..4,
    ), 2..6)) {
        let alerts = sets.iter().map(|labels: &Labels| AlertFacts { labels: labels.clone(), ..samples::spike() });
        let posted = posted(with_alerts(alerts.collect()));
        for alert in &posted {
            prop_assert_eq!(verdict(alert, None), Ok(()), "{:#}", alert);
        }
        let distinct: BTreeSet<String> = posted.iter().map(|alert| alert["labels"].to_string()).collect();
        prop_assert_eq!(distinct.len(), sets.len());
    }
}

#[tokio::test]
async fn every_instance_is_told_and_one_is_enough() {
    let (one, other, hanging) = (Fake::start().await, Fake::start().await, Fake::start().await);
    let notification = to_am(samples::opened());
    let outcome = notifier(&[&one.url, &other.url]).send(&notification, Clock.now()).await;
    assert_eq!(outcome, Outcome::Delivered);
    assert_eq!((one.alerts().len(), one.alerts()), (1, other.alerts()));

    // One that is down or hangs delays nothing, and is named.
    hanging.hang();
    let notifier = notifier(&[NOBODY, &one.url, &hanging.url]).with_deadline(Duration::from_secs(1));
    let stopwatch = Stopwatch::start();
    let heard = notifier.post_roster(notification.receiver, std::slice::from_ref(&notification), Clock.now()).await;
    assert!(stopwatch.elapsed_s() < 4.0);
    assert_eq!(heard[1].problem(), None);
    let problems: Vec<String> = heard.iter().filter_map(|heard| heard.problem()).collect();
    assert!(problems[0].starts_with("http://127.0.0.1:1: cannot connect: "), "{problems:?}");
    assert_eq!(problems[1], format!("{}: no whole answer within 1s", hanging.url));
    assert_eq!(notifier.send(&notification, Clock.now()).await, Outcome::Delivered);

    one.fail(Some((503, "starting")));
    let Outcome::Retry { why, .. } = notifier.send(&notification, Clock.now()).await else { panic!("delivered") };
    for instance in [NOBODY, &one.url, &hanging.url] {
        assert!(why.contains(instance), "{why}");
    }
}

#[tokio::test]
async fn what_is_refused_is_named_and_the_rest_is_taken() {
    let instance = Fake::start().await;
    let notifier = notifier(&[&instance.url]);
    let alert = |rule: &str| AlertFacts { rule: rule.into(), ..samples::spike() };
    let alerts: Vec<AlertFacts> = (0..9).map(|n| alert(&format!("rule-{n}"))).collect();
    instance.refuse("rule-4");
    let notification = with_alerts(alerts);
    let heard = notifier.post_roster(notification.receiver, std::slice::from_ref(&notification), Clock.now()).await;
    assert_eq!((instance.alerts().len(), &heard[0].outcome), (8, &Outcome::Delivered));
    assert_eq!(heard[0].refused.len(), 1, "{heard:?}");
    let expected = "checkout/database rule-4 critical (answered 400 Bad Request: 1 error occurred: * invalid label set";
    assert!(heard[0].refused[0].starts_with(expected), "{heard:?}");

    let outcome = notifier.send(&with_alerts(vec![alert("rule-4")]), Clock.now()).await;
    assert!(matches!(&outcome, Outcome::Rejected { why } if why.contains("rule-4")), "{outcome}");

    // An instance that refuses everything is not asked without end.
    instance.fail(Some((400, "no")));
    let before = instance.sizes().len();
    let many = with_alerts((0..500).map(|n| alert(&format!("rule-{n}"))).collect());
    let heard = notifier.post_roster(many.receiver, std::slice::from_ref(&many), Clock.now()).await;
    let asked = instance.sizes().len() - before;
    assert!(asked < 100 && heard[0].problem().is_some_and(|it| it.len() < 2000), "{asked} {heard:?}");
    for (status, expected) in [(401, "rejected"), (404, "rejected"), (500, "to be retried"), (429, "to be retried")] {
        instance.fail(Some((status, "")));
        let outcome = notifier.send(&with_alerts(vec![alert("x")]), Clock.now()).await.to_string();
        assert!(outcome.starts_with(expected), "{status}: {outcome}");
    }
}

#[tokio::test]
async fn thousands_of_alerts_go_in_several_requests() {
    let instance = Fake::start().await;
    let alert = |n: usize| AlertFacts { labels: Labels::from([("shard".into(), n.to_string())]), ..samples::spike() };
    let notification = with_alerts((0..2000).map(alert).collect());
    let outcome = notifier(&[&instance.url]).send(&notification, Clock.now()).await;
    assert_eq!(outcome, Outcome::Delivered);
    assert_eq!(instance.alerts().len(), 2000);
    let sizes = instance.sizes();
    assert!(sizes.len() > 2 && sizes.iter().all(|bytes| *bytes <= 512 * 1024), "{sizes:?}");
}

#[tokio::test]
async fn credentials_are_sent_and_never_told() {
    let instance = Fake::start().await;
    let basic = Auth::Basic { username: "slo".into(), password: Secret::new(PASSWORD.into()) };
    for auth in [basic, Auth::Bearer(Secret::new(BEARER.into()))] {
        let headers = BTreeMap::from([("x-token".to_owned(), Secret::new(TOKEN.into()))]);
        let config = config(&[&instance.url, NOBODY], HttpClient { headers, auth, ..HttpClient::default() });
        let notifier = Notifier::new(&config).unwrap().with_deadline(Duration::from_secs(5));
        let header = slowburn::http::basic("slo", &Secret::new(PASSWORD.into()));
        let tattle = format!("no {TOKEN} {PASSWORD} {BEARER} {header} {}", "x".repeat(300));
        let in_json = serde_json::json!({ "code": 400, "message": tattle }).to_string();
        let mut told = format!("{notifier:?} {:?}", config.receivers);
        for (status, body) in [(200, ""), (400, &*tattle), (400, &in_json), (401, &tattle), (500, &tattle)] {
            instance.fail(Some((status, body)));
            told += &format!("{:?}\n", notifier.send_and_hear(&with_alerts(vec![samples::spike()]), Clock.now()).await);
            let roster = [with_alerts(vec![samples::spike(), AlertFacts { rule: "b".into(), ..samples::spike() }])];
            told += &format!("{:?}\n", notifier.post_roster(roster[0].receiver, &roster, Clock.now()).await);
        }
        let sent = instance.headers().pop().unwrap();
        assert_eq!(sent["x-token"], TOKEN);
        let auth = sent["authorization"].to_str().unwrap().to_owned();
        assert!([format!("Bearer {BEARER}"), format!("Basic {header}")].contains(&auth), "{auth}");
        // Of the two kinds of credentials only the one that is in use is known to be a secret.
        let used = if auth.starts_with("Basic") { [TOKEN, PASSWORD, &header] } else { [TOKEN, BEARER, BEARER] };
        for secret in used {
            assert!(!told.contains(secret), "{secret} in: {told}");
        }
        assert!(told.contains("[secret]"), "{told}");
    }
}
