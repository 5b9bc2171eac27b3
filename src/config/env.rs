//! `${NAME}` in values, read from the environment. Keys are never touched, and what comes in is text: it can neither
//! become YAML nor bring further references. `$${` stands for a plain `${`.

use super::decode::{Findings, clipped};
use super::diagnostic::Diagnostic;
use super::yaml::{Kind, Node};

/// What asks for a variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of the process. A variable that is not UTF-8 counts as not set.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Replaces all references below `node`; the tree's depth is bounded by its reader.
pub(super) fn substitute(node: &mut Node, env: Env<'_>, findings: &mut Findings) {
    match &mut node.kind {
        Kind::Scalar(scalar) if scalar.text.contains("${") => match substituted(&scalar.text, env) {
            Ok(Substituted { text, from_env }) => {
                let written = std::mem::replace(&mut scalar.text, text);
                if from_env {
                    findings.from_env.push((written.clone(), scalar.text.clone()));
                    scalar.written = Some(written);
                }
            }
            Err(problems) => {
                let diagnostic = |(message, help): &(String, &str)| {
                    let diagnostic = Diagnostic::error(node.span, message);
                    if help.is_empty() { diagnostic } else { diagnostic.help(*help) }
                };
                findings.list.extend(problems.iter().map(diagnostic));
                node.kind = Kind::Broken(std::mem::take(&mut scalar.text));
            }
        },
        Kind::Scalar(_) | Kind::Broken(_) => {}
        Kind::List(items) => items.iter_mut().for_each(|item| substitute(item, env, findings)),
        Kind::Map(entries) => entries.iter_mut().for_each(|(_, value)| substitute(value, env, findings)),
    }
}

#[derive(Debug, PartialEq)]
struct Substituted {
    text: String,
    from_env: bool,
}

/// The text with its references replaced, or what is wrong with them and what to write.
fn substituted(text: &str, env: Env<'_>) -> Result<Substituted, Vec<(String, &'static str)>> {
    let (mut out, mut rest, mut problems) = (String::new(), text, Vec::new());
    let mut from_env = false;
    while let Some(dollar) = rest.find("${") {
        let (before, reference) = rest.split_at(dollar);
        out += before;
        if before.ends_with('$') {
            out.push('{');
            rest = &reference[2..];
            continue;
        }
        let Some(end) = reference.find('}') else {
            problems.push(("'${' without a '}'".to_owned(), "write '$${' for a plain '${'"));
            return Err(problems);
        };
        match value_of(&reference[2..end], env) {
            Ok(value) => out += &value,
            Err(problem) => problems.push(problem),
        }
        from_env = true;
        rest = &reference[end + 1..];
    }
    out += rest;
    if problems.is_empty() { Ok(Substituted { text: out, from_env }) } else { Err(problems) }
}

fn value_of(name: &str, env: Env<'_>) -> Result<String, (String, &'static str)> {
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let shown = clipped(name);
    if is_name {
        return env(name).ok_or_else(|| (format!("the environment variable '{shown}' is not set"), ""));
    }
    let message = format!("'${{{shown}}}' does not name an environment variable");
    Err((message, "a name has letters, digits and '_'; write '$${' for a plain '${'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_once() {
        let env = |name: &str| (name == "A").then(|| "x: ${A}".to_owned());
        for (text, expected) in [
            ("no reference", Ok(("no reference", false))),
            ("<${A}${A}>", Ok(("<x: ${A}x: ${A}>", true))),
            ("$${A} costs $5", Ok(("${A} costs $5", false))),
            ("${B}", Err(vec!["the environment variable 'B' is not set"])),
            (
                "${B C}${}",
                Err(vec![
                    "'${B C}' does not name an environment variable",
                    "'${}' does not name an environment variable",
                ]),
            ),
            ("${A", Err(vec!["'${' without a '}'"])),
        ] {
            let found = substituted(text, &env);
            let found = match &found {
                Ok(found) => Ok((found.text.as_str(), found.from_env)),
                Err(problems) => Err(problems.iter().map(|(message, _)| message.as_str()).collect()),
            };
            assert_eq!(found, expected, "{text}");
        }
    }
}
