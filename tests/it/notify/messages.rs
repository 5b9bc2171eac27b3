//! What each receiver is told, as golden files: the bodies as they are posted, and Slack's blocks as one sees them.

use serde_json::Value;
use slowburn::config::Config;
use slowburn::engine::notification::Notification;
use slowburn::notify::{Notifier, preview};

use super::samples::{self, PAGERDUTY, SLACK, WEBHOOK};
use crate::golden;

fn body(notifier: &Notifier, receiver: usize, notification: &Notification) -> Value {
    notifier.body(&Notification { receiver, ..notification.clone() }).unwrap()
}

#[test]
fn messages_read_as_they_did() {
    let config: Config = samples::config("https://receivers.example.com");
    let notifier = Notifier::new(&config).unwrap();
    for (name, notification) in samples::all() {
        golden::check(&format!("notify/{name}.txt"), &preview(&config, &notification));
        let slack = body(&notifier, SLACK, &notification);
        golden::check(&format!("notify/{name}.slack.txt"), &as_seen(&slack));
        for (receiver, body) in [
            ("slack", slack),
            ("pagerduty", body(&notifier, PAGERDUTY, &notification)),
            ("webhook", body(&notifier, WEBHOOK, &notification)),
        ] {
            golden::check(&format!("notify/{name}.{receiver}.json"), &format!("{body:#}\n"));
        }
    }
}

/// Slack's blocks roughly as Slack shows them.
fn as_seen(body: &Value) -> String {
    let mut lines = vec![format!("({})", text(&body["text"])), String::new()];
    for block in body["blocks"].as_array().unwrap() {
        match block["type"].as_str().unwrap() {
            "header" => lines.push(format!("# {}", text(&block["text"]["text"]))),
            "section" => {
                lines.extend(block["fields"].as_array().into_iter().flatten().map(|field| text(&field["text"])));
                lines.extend(block["text"]["text"].is_string().then(|| text(&block["text"]["text"])));
            }
            "actions" => lines.extend(
                block["elements"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|button| format!("[ {} ]", text(&button["text"]["text"]))),
            ),
            "context" => lines.extend(block["elements"].as_array().unwrap().iter().map(|it| text(&it["text"]))),
            other => panic!("a block of type {other} that nobody rendered"),
        }
        lines.push(String::new());
    }
    lines.join("\n")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
