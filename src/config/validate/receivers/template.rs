//! Templates: which parts a receiver has, and that each is sound with every kind of notification.

use crate::config::decode::{Field, Spanned, clipped};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::{Templates, raw};
use crate::template::{Flaw, Place, Template};

use super::super::Context;

const MAX_FILE_BYTES: usize = 64 << 10;

/// The parts of each kind of receiver.
const PARTS: [(&str, &[&str]); 4] = [
    ("pagerduty", &["title", "text"]),
    ("slack", &["title", "text", "blocks"]),
    ("webhook", &["body"]),
    ("email", &["title", "text", "html"]),
];

pub(super) fn templates(raw: &raw::Receiver, context: &mut Context<'_>) -> Templates {
    let Some(template) = raw.template.value() else { return Templates::default() };
    let written = [
        ("title", &template.title, &template.title_file, Place::Title),
        ("text", &template.text, &template.text_file, Place::Text),
        ("html", &template.html, &template.html_file, Place::Html),
        ("body", &template.body, &template.body_file, Place::Json),
        ("blocks", &template.blocks, &template.blocks_file, Place::Json),
    ];
    let given = [
        ("pagerduty", !raw.pagerduty.is_absent()),
        ("slack", !raw.slack.is_absent()),
        ("webhook", !raw.webhook.is_absent()),
        ("email", !raw.email.is_absent()),
    ];
    let kind = given.iter().find(|(_, given)| *given).map(|(kind, _)| *kind);
    if kind.is_none()
        && let Some(key) = raw.template.key()
    {
        let diagnostic = Diagnostic::error(key, "this receiver has no message to replace");
        context.findings.add(diagnostic.help("Alertmanager writes its own messages: see alertmanager/ for templates"));
    }
    if written.iter().all(|(_, inline, file, _)| inline.is_absent() && file.is_absent()) {
        context.findings.error(template.at, "a template needs at least one of: title, text, html, body, blocks");
    }
    let parts = PARTS.iter().find(|(name, _)| Some(*name) == kind).map_or(&[][..], |(_, parts)| parts);
    let [title, text, html, body, blocks] = written.map(|(name, inline, file, place)| {
        if let (Some(kind), Some(key)) = (kind, inline.key().or(file.key()))
            && !parts.contains(&name)
        {
            let diagnostic = Diagnostic::error(key, format!("a template of '{kind}' has no '{name}'"));
            context.findings.add(diagnostic.help(format!("it has: {}", parts.join(", "))));
        }
        part(name, inline, file, place, context)
    });
    Templates { title, text, html, body, blocks }
}

fn part(
    name: &str,
    inline: &Field<String>,
    file: &Field<String>,
    place: Place,
    context: &mut Context<'_>,
) -> Option<Template> {
    if let (Some(inline), Some(file)) = (inline.key(), file.key()) {
        let message = format!("both '{name}' and '{name}_file' are given");
        context.findings.add(Diagnostic::error(file, message).also(inline, "the other").help("keep one"));
        return None;
    }
    let (source, path) = match (inline.get(), file.get()) {
        (Some(inline), _) => (inline.clone(), None),
        (None, Some(path)) => {
            let value = context.read_named(path, MAX_FILE_BYTES)?;
            (Spanned { value, span: path.span }, Some(&path.value))
        }
        (None, None) => return None,
    };
    let template = Template::new(place, source.value.clone());
    if let Err(flaw) = template.check() {
        report(name, &source, path, &flaw, context);
        return None;
    }
    Some(template)
}

/// A flaw in the configuration itself is shown where it is; one in a file of its own is named by line and column.
fn report(name: &str, source: &Spanned<String>, path: Option<&String>, flaw: &Flaw, context: &mut Context<'_>) {
    let (span, place): (Span, String) = match (path, &flaw.range) {
        (None, Some(range)) => {
            let span = context.inside(source, range.start);
            // A folded or a quoted text stands in the file in another way than it is.
            let at = flaw
                .line_and_column(&source.value)
                .filter(|_| (span.start, span.end) == (source.span.start, source.span.end));
            (span, at.map_or_else(String::new, |(line, column)| format!("in its line {line}, column {column}: ")))
        }
        (None, None) => (source.span, String::new()),
        (Some(path), _) => {
            let at = flaw.line_and_column(&source.value);
            let at = at.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
            (source.span, format!("{}{at}: ", clipped(path)))
        }
    };
    let diagnostic = Diagnostic::error(span, format!("the template '{name}' cannot be used: {place}{}", flaw.why));
    context.findings.add(match flaw.meant {
        Some(meant) => diagnostic.label(format!("did you mean '{meant}'?")),
        None => diagnostic,
    });
}
