//! Slack's incoming webhooks: Block Kit within its limits, `text` as the fallback beside it.
//!
//! Limits (Slack's reference of blocks): 50 blocks, a header of 150 characters, a section's text of 3,000, 10 fields of
//! 2,000, 25 actions, a link of 3,000. The bounds of [`Message`] keep all text together under 13,000.

use serde_json::{Value, json};

use crate::engine::Outcome;
use crate::engine::time::Timestamp;

use super::message::Message;
use super::text;
use super::transport::Answer;

const MAX_BLOCKS: usize = 50;
const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3000;
const MAX_FIELDS: usize = 10;
const MAX_FIELD: usize = 2000;
/// All text together.
const MAX_TEXT: usize = 13_000;

/// The body to post.
pub fn body(message: &Message) -> Value {
    let summary = message.custom.title.as_ref().unwrap_or(&message.summary);
    let text = escape(summary, MAX_SECTION);
    if let Some(blocks) = &message.custom.blocks {
        return json!({"text": text, "blocks": blocks});
    }
    if let Some(said) = &message.custom.text {
        return custom_body(message, said, &text);
    }
    let footer = [local_time(message.opened_at), escape(&message.footer, MAX_FIELD)];
    let mut blocks = vec![json!({"type": "header", "text": plain(title(message), MAX_HEADER)})];
    let fields: Vec<Value> = message
        .facts
        .iter()
        .take(MAX_FIELDS)
        .map(|fact| {
            let label = format!("*{}*\n", fact.label);
            let room = MAX_FIELD - text::units(&label);
            markdown(label + &escape(&fact.text, room))
        })
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    let buttons = buttons(message);
    if !message.further.is_empty() {
        let said = length(&json!([text, footer, blocks, buttons]));
        let sections = sections(&message.further, MAX_TEXT.saturating_sub(said));
        blocks.extend(sections.into_iter().map(|text| json!({"type": "section", "text": markdown(text)})));
    }
    if !buttons.is_empty() {
        blocks.push(json!({"type": "actions", "elements": buttons}));
    }
    blocks.push(json!({"type": "context", "elements": footer.map(markdown)}));
    json!({"text": text, "blocks": blocks})
}

/// Whether a message may hold these instead of ours. Whether each of them is a block, only Slack knows.
pub fn is_list_of_blocks(blocks: &Value) -> bool {
    blocks.as_array().is_some_and(|them| (1..=MAX_BLOCKS).contains(&them.len())) && length(blocks) <= MAX_TEXT
}

/// The user's text, which is mrkdwn as it is, between our header and our links.
fn custom_body(message: &Message, said: &str, text: &str) -> Value {
    let mut blocks = vec![json!({"type": "header", "text": plain(title(message), MAX_HEADER)})];
    blocks.push(json!({"type": "section", "text": markdown(text::clip(said, MAX_SECTION))}));
    let buttons = buttons(message);
    if !buttons.is_empty() {
        blocks.push(json!({"type": "actions", "elements": buttons}));
    }
    json!({"text": text, "blocks": blocks})
}

fn title(message: &Message) -> &str {
    message.custom.title.as_ref().unwrap_or(&message.title)
}

/// The word Slack answers with, if it is one of its kind: `invalid_payload`, `no_service`.
pub fn word(answer: &str) -> Option<&str> {
    let word = answer.trim();
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!word.is_empty() && word.len() <= 64 && word.chars().all(is_word)).then_some(word)
}

/// A success is `ok`. Another of Slack's words beside a 200 is final; anything else was not said by Slack but by
/// something in between, so the message is sent again.
pub fn outcome(answer: &Answer, word: Option<String>) -> Outcome {
    match word.as_deref() {
        Some("ok") => Outcome::Delivered,
        Some(_) => Outcome::Rejected { why: answer.why(word) },
        None => Outcome::Retry { after: answer.retry_after, why: format!("{}, but not `ok`", answer.why(None)) },
    }
}

/// A bullet a line, in as few sections as hold them all. Where entities make them too long together, each is cut.
fn sections(lines: &[String], room: usize) -> Vec<String> {
    let room_each = (room / lines.len()).min(MAX_SECTION).saturating_sub("• \n".chars().count());
    let mut sections: Vec<String> = Vec::new();
    for line in lines {
        let line = format!("• {}", escape(line, room_each));
        match sections.last_mut() {
            Some(section) if text::units(section) + 1 + text::units(&line) <= MAX_SECTION => {
                section.push('\n');
                section.push_str(&line);
            }
            _ => sections.push(line),
        }
    }
    sections
}

/// At least the length of all the text in a value.
fn length(value: &Value) -> usize {
    match value {
        Value::String(said) => text::units(said),
        Value::Array(values) => values.iter().map(length).sum(),
        Value::Object(fields) => fields.values().map(length).sum(),
        _ => 0,
    }
}

fn buttons(message: &Message) -> Vec<Value> {
    let links = [("runbook", "Runbook", &message.runbook), ("query", "Query in Prometheus", &message.query)];
    let button = |(id, label, url): (&str, &str, &Option<String>)| {
        let url = url.as_ref()?;
        Some(json!({"type": "button", "action_id": id, "text": plain(label, 75), "url": url}))
    };
    links.into_iter().filter_map(button).collect()
}

fn plain(content: &str, max: usize) -> Value {
    json!({"type": "plain_text", "text": escape(content, max), "emoji": false})
}

/// Without `verbatim`, Slack would make links of addresses and channel names that it finds in the text.
fn markdown(escaped: String) -> Value {
    json!({"type": "mrkdwn", "text": escaped, "verbatim": true})
}

/// Slack shows this in the reader's own time zone.
fn local_time(opened_at: Timestamp) -> String {
    let unix_s = opened_at.unix_ms().div_euclid(1000);
    format!("<!date^{unix_s}^Began {{date_short_pretty}} at {{time}}, your time|Began {opened_at}>")
}

/// Slack's control characters as entities, so that a name can neither call `<!channel>` nor pose as a link.
fn escape(content: &str, max: usize) -> String {
    text::clip_mapped(content, max, |c, out| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    })
}
