//! The message as HTML for mail: one column, styles inline, no image and nothing fetched, and only colours that read on
//! light and on dark.

use maud::{DOCTYPE, Markup, html};

use crate::engine::notification::Notification;
use crate::engine::rule::{Stage, Urgency};
use crate::notify::message::Message;

use super::letter::heading;

const BODY: &str = "margin:0;padding:16px;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;\
                    font-size:15px;line-height:1.45";
const COLUMN: &str = "max-width:640px;margin:0 auto;overflow-wrap:anywhere;word-break:break-word";
const LABEL: &str = "padding:5px 14px 5px 0;vertical-align:top;white-space:nowrap;opacity:.65";
const TEXT: &str = "padding:5px 0;vertical-align:top";
const BUTTON: &str = "display:inline-block;margin:0 8px 8px 0;padding:8px 14px;border:1px solid;border-radius:6px;\
                      color:inherit;text-decoration:none;font-weight:600";

/// The whole document.
pub fn page(notification: &Notification, message: &Message) -> String {
    let colour = colour(notification);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="supported-color-schemes" content="light dark";
                title { (message.title) }
                // Without this a browser shows a dark page in dark mode and black text on it.
                style { ":root{color-scheme:light dark}" }
            }
            body style=(BODY) {
                div style=(COLUMN) {
                    div style={ "border-left:6px solid " (colour) ";padding:2px 0 2px 14px;margin:0 0 14px" } {
                        h1 style="margin:0;font-size:19px;line-height:1.3" { (message.title) }
                    }
                    (facts(message))
                    (further(notification, message))
                    (links(message))
                    p style="margin:18px 0 0;font-size:12px;opacity:.65" { (message.footer) }
                }
            }
        }
    }
    .into_string()
}

fn facts(message: &Message) -> Markup {
    html! {
        table role="presentation" cellpadding="0" cellspacing="0" style="border-collapse:collapse;margin:0 0 14px" {
            @for fact in &message.facts {
                tr {
                    td style=(LABEL) { (fact.label) }
                    td style=(TEXT) { (fact.text) }
                }
            }
        }
    }
}

fn further(notification: &Notification, message: &Message) -> Markup {
    html! {
        @if !message.further.is_empty() {
            p style="margin:0 0 4px;font-weight:600" { (heading(notification)) }
            ul style="margin:0 0 14px;padding-left:20px" {
                @for line in &message.further { li style="margin:0 0 3px" { (line) } }
            }
        }
    }
}

fn links(message: &Message) -> Markup {
    let links = [("Runbook", &message.runbook), ("Query in Prometheus", &message.query)];
    html! {
        @for (label, url) in links {
            @if let Some(url) = url { a href=(url) style=(BUTTON) { (label) } }
        }
    }
}

/// Of the bar beside the title: seen on white and on black.
fn colour(notification: &Notification) -> &'static str {
    match (notification.is_over(), notification.urgency, notification.stage) {
        (true, ..) => "#2e9e44",
        (_, Urgency::Page, Stage::Critical) => "#e0352b",
        (_, Urgency::Page, Stage::Warning) => "#e8790c",
        (_, Urgency::Ticket, Stage::Critical) => "#c99700",
        (_, Urgency::Ticket, Stage::Warning) => "#3b82d0",
    }
}
