//! `${NAME}` in values, read from the environment. Keys are never touched, and what comes in is text: it can neither
//! become YAML nor bring further references. `$${` stands for a plain `${`.

use super::decode::{Findings, clipped};
use super::diagnostic::{Diagnostic, Span};
use super::yaml::{Kind, Node, Scalar};

/// What asks for a variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces all references below `node`; the tree's depth is bounded by its reader.
pub(super) fn substitute(node: &mut Node, env: Env<'_>, findings: &mut Findings) {
    match &mut node.kind {
        Kind::Scalar(scalar) => substitute_scalar(scalar, node.span, env, findings),
        Kind::List(items) => items.iter_mut().for_each(|item| substitute(item, env, findings)),
        Kind::Map(entries) => entries.iter_mut().for_each(|(_, value)| substitute(value, env, findings)),
    }
}

fn substitute_scalar(scalar: &mut Scalar, at: Span, env: Env<'_>, findings: &mut Findings) {
    if !scalar.text.contains("${") {
        return;
    }
    let (mut out, mut rest) = (String::new(), scalar.text.as_str());
    let mut from_env = false;
    while let Some(dollar) = rest.find("${") {
        if rest[..dollar].ends_with('$') {
            out += &rest[..dollar];
            out.push('{');
            rest = &rest[dollar + 2..];
            continue;
        }
        out += &rest[..dollar];
        let Some(end) = rest[dollar..].find('}') else {
            findings.add(Diagnostic::error(at, "'${' without a '}'").help("write '$${' for a plain '${'"));
            return;
        };
        let name = &rest[dollar + 2..dollar + end];
        out += &value_of(name, at, env, findings);
        from_env = true;
        rest = &rest[dollar + end + 1..];
    }
    out += rest;
    scalar.text = out;
    scalar.from_env = from_env;
}

/// The value of a variable, or what is wrong with asking for it.
fn value_of(name: &str, at: Span, env: Env<'_>, findings: &mut Findings) -> String {
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let value = if is_name { env(name) } else { None };
    let shown = clipped(name);
    if value.is_none() && is_name {
        findings.error(at, format!("the environment variable '{shown}' is not set"));
    } else if value.is_none() {
        let diagnostic = Diagnostic::error(at, format!("'${{{shown}}}' does not name an environment variable"));
        findings.add(diagnostic.help("a name has letters, digits and '_'; write '$${' for a plain '${'"));
    }
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_once() {
        let env = |name: &str| (name == "A").then(|| "x: ${A}".to_owned());
        for (text, expected, message) in [
            ("no reference", "no reference", None),
            ("<${A}${A}>", "<x: ${A}x: ${A}>", None),
            ("$${A} costs $5", "${A} costs $5", None),
            ("${B}", "", Some("the environment variable 'B' is not set")),
            ("${B C}", "", Some("'${B C}' does not name an environment variable")),
            ("${A", "${A", Some("'${' without a '}'")),
        ] {
            let at = Span { file: 0, start: 0, end: 0 };
            let mut scalar = Scalar { text: text.to_owned(), plain: true, from_env: false };
            let mut findings = Findings::default();
            substitute_scalar(&mut scalar, at, &env, &mut findings);
            assert_eq!(scalar.text, expected);
            assert_eq!(findings.list.first().map(|found| found.message.as_str()), message);
        }
    }
}
