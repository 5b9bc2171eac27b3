//! How mails read, as golden files: the subject and the text, and the page that most people see.

use slowburn::engine::notification::Notification;
use slowburn::notify::Notifier;

use super::{notifier, samples, settings};
use crate::golden;

/// The notifications whose page has a golden file; the others differ from them in words only.
const PAGES: [&str; 4] = ["opened", "resolved", "many_layers", "hostile"];

fn letter(notifier: &Notifier, notification: Notification) -> (String, String) {
    let body = notifier.body(&Notification { receiver: 0, ..notification }).unwrap();
    let part = |name: &str| body[name].as_str().unwrap().to_owned();
    (format!("Subject: {}\n\n{}", part("subject"), part("text")), part("html"))
}

#[test]
fn mails_read_as_they_did() {
    let notifier = notifier(settings(25, &["team@example.com"]));
    for (name, notification) in samples::all() {
        let (text, html) = letter(&notifier, notification);
        golden::check(&format!("notify/{name}.mail.txt"), &text);
        if PAGES.contains(&name) {
            golden::check(&format!("notify/{name}.mail.html"), &html.replace("><", ">\n<"));
        }
    }
}

#[test]
fn pages_fetch_nothing_and_run_nothing() {
    let notifier = notifier(settings(25, &["team@example.com"]));
    for (name, notification) in samples::all() {
        let (_, html) = letter(&notifier, notification);
        for tag in ["<img", "<script", "<link", "<iframe", "url(", "@import", "src=", "href=\"javascript"] {
            assert!(!html.contains(tag), "{name}: {tag} in {html}");
        }
        assert!(html.len() < 100_000, "{name}: mail clients cut what is longer than 102 KB");
    }
}
