//! A receiver's own templates, run on a notification. Whatever they do, there is a message: where one fails, the
//! built-in message stands and says so.

use serde_json::Value;

use crate::config::Templates;
use crate::engine::notification::Notification;
use crate::template::{Built, BuiltFact, Fields, Template};

use super::facts::fact;
use super::message::Message;
use super::{Remark, slack, text};

/// The longest reason.
const MAX_WHY: usize = 200;

/// What the user's templates wrote, in place of the parts of the built-in message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Custom {
    /// One line.
    pub title: Option<String>,
    /// Lines of visible text.
    pub text: Option<String>,
    pub html: Option<String>,
    pub body: Option<Value>,
    pub blocks: Option<Value>,
    /// Why the templates wrote nothing.
    pub failed: Option<String>,
}

/// The message with all that the templates wrote, or, where one of them failed, as it was with a word about it.
pub fn apply(templates: &Templates, notification: &Notification, mut message: Message) -> (Message, Option<Remark>) {
    let Templates { title, text, html, body, blocks } = templates;
    if [title, text, html, body, blocks].iter().all(|template| template.is_none()) {
        return (message, None);
    }
    let fields = Fields::new(notification, built(&message));
    match run(templates, &fields) {
        Ok(custom) => {
            message.custom = custom;
            (message, None)
        }
        Err(why) => failed(message, why),
    }
}

/// The built-in message, with a word about why it is told.
pub fn failed(mut message: Message, why: String) -> (Message, Option<Remark>) {
    message.facts.insert(0, fact("Template", &format!("template failed: {why}")));
    message.custom = Custom { failed: Some(why.clone()), ..Custom::default() };
    (message, Some(Remark::TemplateFailed(why)))
}

fn run(templates: &Templates, fields: &Fields) -> Result<Custom, String> {
    let part = |name: &str, template: &Option<Template>| {
        let told = template.as_ref().map(|template| template.render(fields));
        told.transpose().map_err(|flaw| text::line(&format!("'{name}': {flaw}"), MAX_WHY))
    };
    let json = |name: &str, template: &Option<Template>| {
        let told = part(name, template)?.map(|told| serde_json::from_str::<Value>(&told));
        told.transpose().map_err(|error| format!("'{name}': {error}"))
    };
    let seen = |name: &str, told: String| match told.is_empty() {
        true => Err(format!("'{name}': what it makes cannot be seen")),
        false => Ok(told),
    };
    let blocks = json("blocks", &templates.blocks)?;
    if blocks.as_ref().is_some_and(|blocks| !slack::is_list_of_blocks(blocks)) {
        return Err("'blocks': not a list of 1 to 50 blocks with at most 13,000 characters".into());
    }
    Ok(Custom {
        title: part("title", &templates.title)?.map(|told| seen("title", text::clean(&told))).transpose()?,
        text: part("text", &templates.text)?.map(|told| seen("text", lines(&told))).transpose()?,
        html: part("html", &templates.html)?,
        body: json("body", &templates.body)?,
        blocks,
        failed: None,
    })
}

/// Line breaks stay; all else that cannot be seen goes.
fn lines(told: &str) -> String {
    told.trim().lines().map(text::clean_indented).collect::<Vec<_>>().join("\n")
}

fn built(message: &Message) -> Built {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Built {
        title: message.title.clone(),
        facts: message
            .facts
            .iter()
            .map(|fact| BuiltFact { label: fact.label.to_owned(), text: fact.text.clone() })
            .collect(),
        lines: message.further.clone(),
        runbook_url: text(&message.runbook),
        query_url: text(&message.query),
        footer: message.footer.clone(),
    }
}
