//! Messages in the user's own words: what each receiver is told, and that a template that fails loses nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use slowburn::clock::Clock;
use slowburn::config::{self, Config, Templates};
use slowburn::engine::Outcome;
use slowburn::engine::notification::Notification;
use slowburn::notify::{Notifier, Remark};
use slowburn::template::{Place, Template};

use crate::fakes::{Fakes, Fault, Kind, pagerduty_verdict, slack_verdict};
use crate::golden;
use crate::notify::samples::{self, PAGERDUTY, ROUTING_KEY, SIGNING_SECRET, SLACK, SLACK_PATH, WEBHOOK};

const TITLE: &str = "{{ stage|upper }} {{ urgency }}: {{ journey or summary }}";
const TEXT: &str = "{% for alert in alerts -%}
*{{ alert.place }}* burns {{ alert.burn_long|factor }} over {{ alert.window_s|duration }}
{% else %}{{ summary }}
{% endfor %}since {{ opened_at|time('Europe/Berlin', format='%H:%M') }}";

fn some(place: Place, source: &str) -> Option<Template> {
    Some(Template::new(place, source.into()))
}

fn with(base: &str, receiver: usize, template: Templates) -> Config {
    let mut config = samples::config(base);
    config.receivers[receiver].template = template;
    config
}

fn body(receiver: usize, template: Templates, notification: &Notification) -> Value {
    let notifier = Notifier::new(&with("https://receivers.example.com", receiver, template)).unwrap();
    notifier.body(&Notification { receiver, ..notification.clone() }).unwrap()
}

fn in_words() -> Templates {
    Templates { title: some(Place::Title, TITLE), text: some(Place::Text, TEXT), ..Templates::default() }
}

#[test]
fn each_receiver_is_told_in_the_users_words() {
    let hook = r#"{"say": {{ message.title|tojson }}, "rules": {{ alerts|map(attribute="rule")|list|tojson }}}"#;
    let hook = Templates { body: some(Place::Json, hook), ..Templates::default() };
    let blocks = r#"[{"type": "section", "text": {"type": "plain_text", "text": {{ message.title|tojson }}}}]"#;
    let blocks = Templates { blocks: some(Place::Json, blocks), ..Templates::default() };
    let mut told = String::new();
    for (name, notification) in samples::all() {
        let slack = body(SLACK, in_words(), &notification);
        assert_eq!(slack_verdict(&slack), Ok(()), "{name}: {slack:#}");
        let in_blocks = body(SLACK, blocks.clone(), &notification);
        assert_eq!(slack_verdict(&in_blocks), Ok(()), "{name}: {in_blocks:#}");
        let mut pagerduty = body(PAGERDUTY, in_words(), &notification);
        pagerduty["routing_key"] = json!(ROUTING_KEY);
        assert_eq!(pagerduty_verdict(&pagerduty), Ok(()), "{name}: {pagerduty:#}");
        if ["opened", "blind", "flood"].contains(&name) {
            told += &format!("# {name}\n{slack:#}\n{in_blocks:#}\n{pagerduty:#}\n");
            told += &format!("{:#}\n", body(WEBHOOK, hook.clone(), &notification));
        }
    }
    golden::check("notify/templates.txt", &told);
}

#[test]
fn what_is_too_long_is_cut() {
    let long = Templates {
        title: some(Place::Title, "{{ 'é&' * 5000 }}"),
        text: some(Place::Text, "{{ 'é&' * 9000 }}"),
        ..Templates::default()
    };
    let slack = body(SLACK, long.clone(), &samples::opened());
    assert_eq!(slack_verdict(&slack), Ok(()), "{slack}");
    let mut pagerduty = body(PAGERDUTY, long, &samples::opened());
    pagerduty["routing_key"] = json!(ROUTING_KEY);
    assert_eq!(pagerduty_verdict(&pagerduty), Ok(()));
    assert!(pagerduty.to_string().len() < 512 * 1024);
}

/// What goes wrong when it counts, though it was right when it was loaded.
const FAILING: [(&str, &str); 5] = [
    ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}x", "does not end"),
    ("{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}", "writes more than"),
    ("{{ group.nowhere }}", "there is no 'group.nowhere'"),
    ("{{ alerts[99].rule }}", "there is no"),
    ("{{ '\u{200b}' }}", "cannot be seen"),
];

#[tokio::test]
async fn a_failing_template_is_replaced_by_the_built_in_message() {
    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let opened = Notification { receiver: PAGERDUTY, ..samples::opened() };
    for (source, expected) in FAILING {
        let template = Templates { title: some(Place::Title, source), ..Templates::default() };
        let notifier = Notifier::new(&with(&fakes.base, PAGERDUTY, template)).unwrap();
        let reply = notifier.send_and_hear(&opened, Clock.now()).await;
        assert_eq!(reply.outcome, Outcome::Delivered, "{source}");
        let [Remark::TemplateFailed(why)] = &reply.remarks[..] else { panic!("{source}: {reply:?}") };
        assert!(why.contains(expected), "{source}: {why}");
        let told = fakes.seen().pop().unwrap().body;
        let note = told["payload"]["custom_details"]["Template"].as_str().unwrap();
        assert!(note.starts_with("template failed: 'title': "), "{note}");
        assert!(told["payload"]["custom_details"]["What"].is_string(), "{told:#}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_or_is_refused_gives_way_to_the_built_in_one() {
    let fakes = Fakes::start(SLACK_PATH, Some(SIGNING_SECRET)).await;
    let opened = Notification { receiver: WEBHOOK, ..samples::opened() };
    let broken = Templates { body: some(Place::Json, "{\"j\": {{ journey }}}"), ..Templates::default() };
    let notifier = Notifier::new(&with(&fakes.base, WEBHOOK, broken)).unwrap();
    let reply = notifier.send_and_hear(&opened, Clock.now()).await;
    assert!(matches!(&reply.remarks[..], [Remark::TemplateFailed(why)] if why.contains("not JSON")), "{reply:?}");
    let told = fakes.seen().pop().unwrap().body;
    assert_eq!(told["version"], "4");
    assert!(told["slowburn"]["template_failed"].as_str().unwrap().contains("not JSON"));

    let refused = Templates { body: some(Place::Json, "{\"mine\": true}"), ..Templates::default() };
    let notifier = Notifier::new(&with(&fakes.base, WEBHOOK, refused)).unwrap();
    fakes.fail(Kind::Webhook, Fault::status(400, "no such shape"));
    let reply = notifier.send_and_hear(&opened, Clock.now()).await;
    assert_eq!(reply.outcome, Outcome::Delivered);
    assert!(matches!(&reply.remarks[..], [Remark::TemplateFailed(why)] if why.contains("no such shape")), "{reply:?}");
    assert_eq!(fakes.seen().pop().unwrap().body["version"], "4");
}

const MAIL: &str = "
source: {prometheus: {url: 'http://localhost:9090'}}
receivers:
  - name: mail
    email: {smtp: 'smtp://localhost:25', from: slo@example.com, to: team@example.com}
    template:
      title: \"{{ stage|upper }}\\n{{ journey }}\"
      text_file: mail.txt
      html: '<p>{{ \"<b>\" }} {{ journey }}</p>'
rules: [{name: fast-burn, burn_rate: 14.4, long: 1h, urgency: page}]
journeys: [{name: search, histogram: search_seconds, budget: 100ms, objective: 99%, rules: [fast-burn]}]
";

fn load(mail_txt: &str) -> Result<config::Loaded, config::Diagnostics> {
    let texts =
        BTreeMap::from([("slowburn.yml".to_owned(), MAIL.to_owned()), ("mail.txt".to_owned(), mail_txt.to_owned())]);
    config::load_texts("slowburn.yml", &texts, &|_| None)
}

#[test]
fn a_mail_has_three_parts_and_no_header_of_the_users() {
    let loaded = load("{{ journey }} is slow\n\n  since {{ opened_at|time }}\n").unwrap();
    let notifier = Notifier::new(&loaded.config).unwrap();
    let body = notifier.body(&Notification { receiver: 0, ..samples::opened() }).unwrap();
    assert_eq!(body["subject"], "CRITICAL checkout");
    assert_eq!(body["text"], "checkout is slow\n\n  since 2026-03-07 03:12 UTC");
    assert_eq!(body["html"], "<p>&lt;b&gt; checkout</p>");
}

#[test]
fn a_mistake_in_a_file_of_its_own_is_told_by_line_and_column() {
    let told = load("ok\n{{ jurney }}\n").unwrap_err().to_string();
    let expected = "the template 'text' cannot be used: mail.txt:2:4: there is no 'jurney'; did you mean 'journey'?";
    assert!(told.contains(expected), "{told}");
}
