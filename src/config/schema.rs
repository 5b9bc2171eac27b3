//! JSON Schema of the configuration, for editors. It comes from the declarations that the decoder is made of.

use serde_json::{Map, Value, json};

use super::decode::{Decode, Definitions};
use super::raw;

/// A schema (draft 2020-12) for the main file; rule files are its subset without required keys.
pub fn schema() -> Value {
    let mut definitions = Definitions::new();
    let main = raw::Main::schema(&mut definitions);
    let rule_file = raw::RuleFile::schema(&mut definitions);
    let definitions = definitions.into_iter().map(|(name, part)| (name.to_owned(), with_references(part)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slowburn configuration",
        "anyOf": [main, rule_file],
        "$defs": definitions.collect::<Map<_, _>>(),
    })
}

/// `${NAME}` in a text, which the loader replaces before it looks at the value.
fn reference() -> Value {
    json!({ "type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}" })
}

/// The same schema, but a reference to the environment fits wherever a value may stand.
fn with_references(schema: Value) -> Value {
    match schema {
        Value::Object(mut schema) if is_scalar(&schema) => {
            let description = schema.remove("description");
            let either = [("anyOf".to_owned(), json!([schema, reference()]))];
            either.into_iter().chain(description.map(|text| ("description".to_owned(), text))).collect()
        }
        Value::Object(mut schema) => {
            let is_choice = |choice: &Value| choice.as_object().is_some_and(is_scalar);
            let choices = schema.get_mut("anyOf").and_then(Value::as_array_mut);
            // Once for all scalars among which there is a choice.
            if let Some(choices) = choices.filter(|choices| choices.iter().any(is_choice)) {
                let (mut scalars, others): (Vec<_>, Vec<_>) = choices.drain(..).partition(is_choice);
                scalars.push(reference());
                scalars.extend(others.into_iter().map(with_references));
                *choices = scalars;
                return Value::Object(schema);
            }
            schema.into_iter().map(|(key, part)| (key, with_references(part))).collect()
        }
        Value::Array(parts) => parts.into_iter().map(with_references).collect(),
        other => other,
    }
}

/// Whether only scalars fit, and not every text does.
fn is_scalar(schema: &Map<String, Value>) -> bool {
    let types =
        schema.get("type").map_or(&[][..], |types| types.as_array().map_or(std::slice::from_ref(types), Vec::as_slice));
    let is = |name: &str| types.iter().any(|known| known == name);
    let chosen = schema.get("enum").is_some_and(Value::is_array) || schema.get("const").is_some_and(Value::is_string);
    let narrow =
        !is("string") || ["pattern", "format"].iter().any(|key| schema.get(*key).is_some_and(Value::is_string));
    chosen || (types.iter().any(Value::is_string) && !is("object") && !is("array") && narrow)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    use regex::Regex;

    use super::*;
    use crate::config::decode::{Findings, Object};
    use crate::config::yaml::{self, Kind, Node, Scalar};

    /// Every key of the schema is one the decoder reads, and the decoder reads no other.
    fn check<T: Object + Decode>(definition: &str) -> &str {
        let schema = schema();
        let properties = schema["$defs"][definition]["properties"].as_object().expect("an object with properties");
        let decode = |key: &str| {
            let mut findings = Findings::default();
            let tree = yaml::parse(&format!("{key}: [[]]"), 0, &mut findings.list).expect("YAML");
            T::decode(&tree, &mut findings);
            findings.list.into_iter().map(|found| found.message).collect::<Vec<_>>()
        };
        assert!(decode("no_such_key").iter().any(|message| message.contains("unknown key")), "{definition}");
        for key in properties.keys() {
            let messages = decode(key);
            assert!(messages.iter().any(|message| message.starts_with("expected")), "{definition}.{key} is not read");
            assert!(!messages.iter().any(|message| message.contains("unknown key")), "{definition}.{key} is unknown");
        }
        assert_eq!(properties.len(), T::keys().len(), "{definition} has a key twice");
        definition
    }

    #[test]
    fn schema_and_decoder_know_the_same_keys() {
        let checked = [
            check::<raw::Main>("Main"),
            check::<raw::RuleFile>("RuleFile"),
            check::<raw::Server>("Server"),
            check::<raw::ServerTls>("ServerTls"),
            check::<raw::State>("State"),
            check::<raw::Heartbeat>("Heartbeat"),
            check::<raw::HeartbeatWebhook>("HeartbeatWebhook"),
            check::<raw::Source>("Source"),
            check::<raw::Prometheus>("Prometheus"),
            check::<raw::Scrape>("Scrape"),
            check::<raw::BasicAuth>("BasicAuth"),
            check::<raw::Tls>("Tls"),
            check::<raw::Receiver>("Receiver"),
            check::<raw::PagerDuty>("PagerDuty"),
            check::<raw::Slack>("Slack"),
            check::<raw::Webhook>("Webhook"),
            check::<raw::Alertmanager>("Alertmanager"),
            check::<raw::Template>("Template"),
            check::<raw::Email>("Email"),
            check::<raw::EmailTls>("EmailTls"),
            check::<raw::RootRoute>("RootRoute"),
            check::<raw::Route>("Route"),
            check::<raw::ActiveHours>("ActiveHours"),
            check::<raw::Digest>("Digest"),
            check::<raw::Maintenance>("Maintenance"),
            check::<raw::Rule>("Rule"),
            check::<raw::LatencyLimit>("LatencyLimit"),
            check::<raw::Stages>("Stages"),
            check::<raw::CronTable>("CronTable"),
            check::<raw::Journey>("Journey"),
            check::<raw::Layer>("Layer"),
        ];
        let schema = schema();
        let defined: BTreeSet<&str> =
            schema["$defs"].as_object().expect("definitions").keys().map(String::as_str).collect();
        assert_eq!(defined, BTreeSet::from(checked));
    }

    /// Made once: that takes longer than to use one.
    fn matches(pattern: &str, text: &str) -> bool {
        thread_local! {
            static KNOWN: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
        }
        KNOWN.with_borrow_mut(|known| {
            let regex = known.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).expect("a pattern"));
            regex.is_match(text)
        })
    }

    /// As far as our schemas go, whether `node` fits `schema`, as an editor would see it.
    fn fits(schema: &Value, root: &Value, node: &Node) -> bool {
        let Value::Object(schema) = schema else { return *schema == Value::Bool(true) };
        let each = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return fits(root.pointer(&name[1..]).expect("a definition"), root, node);
        }
        if each("anyOf").is_some_and(|choices| !choices.iter().any(|choice| fits(choice, root, node))) {
            return false;
        }
        let types = schema.get("type").map(|types| types.as_array().cloned().unwrap_or_else(|| vec![types.clone()]));
        let kinds = kinds(node);
        if types.is_some_and(|types| !types.iter().any(|known| kinds.contains(&known.as_str().expect("a type")))) {
            return false;
        }
        match &node.kind {
            Kind::Scalar(scalar) => fits_scalar(schema, scalar, &kinds),
            Kind::List(items) => {
                let enough = schema.get("minItems").and_then(Value::as_u64).is_none_or(|n| items.len() as u64 >= n);
                enough && items.iter().all(|item| schema.get("items").is_none_or(|schema| fits(schema, root, item)))
            }
            Kind::Map(entries) => {
                let required = each("required").into_iter().flatten();
                let known = |name: &str| schema.get("properties").and_then(|properties| properties.get(name));
                let part = |name: &str| known(name).or(schema.get("additionalProperties"));
                required.into_iter().all(|name| entries.iter().any(|(key, _)| *name == key.name.as_str()))
                    && entries.iter().all(|(key, node)| part(&key.name).is_none_or(|schema| fits(schema, root, node)))
            }
            Kind::Broken(_) => false,
        }
    }

    /// The types that YAML's core schema gives a value.
    fn kinds(node: &Node) -> Vec<&'static str> {
        let is = |scalar: &Scalar, pattern| matches(pattern, &scalar.text);
        match &node.kind {
            Kind::Map(_) => vec!["object"],
            Kind::List(_) => vec!["array"],
            Kind::Scalar(scalar) if scalar.is_null() => vec!["null"],
            Kind::Scalar(scalar) if !scalar.plain => vec!["string"],
            Kind::Scalar(scalar) if is(scalar, "^(true|True|TRUE|false|False|FALSE)$") => vec!["boolean"],
            Kind::Scalar(scalar) if is(scalar, "^[-+]?[0-9]+$") => vec!["integer", "number"],
            Kind::Scalar(scalar) if is(scalar, r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$") => {
                vec!["number"]
            }
            _ => vec!["string"],
        }
    }

    fn fits_scalar(schema: &Map<String, Value>, scalar: &Scalar, kinds: &[&str]) -> bool {
        let text = scalar.text.as_str();
        if schema.get("const").is_some_and(|word| word != text) {
            return false;
        }
        if schema.get("enum").and_then(Value::as_array).is_some_and(|words| words.iter().all(|word| word != text)) {
            return false;
        }
        if kinds.contains(&"string") {
            let pattern = schema.get("pattern").and_then(Value::as_str);
            let fits = pattern.is_none_or(|pattern| matches(pattern, text));
            let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
            let length = text.chars().count() as u64;
            return fits
                && limit("minLength").is_none_or(|n| length >= n)
                && limit("maxLength").is_none_or(|n| length <= n);
        }
        let number = text.parse::<f64>().ok();
        let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
        number.is_none_or(|number| {
            limit("minimum").is_none_or(|n| number >= n) && limit("maximum").is_none_or(|n| number <= n)
        })
    }

    fn scalars(node: &mut Node) -> Vec<&mut Scalar> {
        match &mut node.kind {
            Kind::Scalar(scalar) => vec![scalar],
            Kind::List(items) => items.iter_mut().flat_map(scalars).collect(),
            Kind::Map(entries) => entries.iter_mut().flat_map(|(_, node)| scalars(node)).collect(),
            Kind::Broken(_) => Vec::new(),
        }
    }

    /// What is shipped, and what the loader's own tests know as sound.
    #[test]
    fn what_the_loader_takes_fits_the_schema_with_and_without_the_environment() {
        let schema = schema();
        let (mut files, mut values) = (0, 0);
        for pattern in [
            "examples/*/slowburn.yml",
            "examples/*/journeys/*.yml",
            "rules/*.yml",
            "src/cli/demo/*.yml",
            "tests/it/golden/sound/*.yml",
        ] {
            let found = glob::glob(&format!("{}/{pattern}", env!("CARGO_MANIFEST_DIR"))).expect("a pattern");
            for path in found.map(|path| path.expect("a path")) {
                let text = std::fs::read_to_string(&path).expect("a file");
                let mut node = yaml::parse(&text, 0, &mut Vec::new()).expect("YAML");
                assert!(fits(&schema, &schema, &node), "{} does not fit", path.display());
                files += 1;
                for number in 0..scalars(&mut node).len() {
                    let read = |node: &mut Node| scalars(node).remove(number).clone();
                    let (before, now) =
                        (read(&mut node), Scalar { text: "${NAME}".into(), plain: true, written: None });
                    *scalars(&mut node).remove(number) = now;
                    assert!(fits(&schema, &schema, &node), "{}: ${{NAME}} for '{}'", path.display(), before.text);
                    *scalars(&mut node).remove(number) = before;
                    values += 1;
                }
            }
        }
        assert!(files >= 9 && values >= 200, "{files} {values}");
    }
}
