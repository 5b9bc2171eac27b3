//! From the YAML tree to what the user wrote, typed: one declaration per object yields its struct, its decoder and its
//! JSON Schema, so that none of the three can know a key the others do not.
//!
//! Decoding never stops. A value that is wrong is reported and becomes [`Field::Bad`]; whoever looks at it later keeps
//! quiet about it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Span};
use super::yaml::{Kind, Node, Scalar};

/// What decoding collects on its way.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub list: Vec<Diagnostic>,
    /// Where secrets stand in the files.
    pub secrets: Vec<Span>,
    /// Indices of files that are not YAML.
    pub broken: Vec<u16>,
    /// Values with references to the environment: what stood in the file, and what became of it.
    pub from_env: Vec<(String, String)>,
}

/// Beyond this many findings nobody reads suggestions, and looking for them would take long.
const ENOUGH_FINDINGS: usize = 1000;

impl Findings {
    /// The name that `wrong` most likely stands for; see [`nearest`].
    pub fn suggest<'a>(&self, wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        if self.list.len() < ENOUGH_FINDINGS { nearest(wrong, names) } else { None }
    }

    pub fn add(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>) {
        self.add(Diagnostic::error(span, message));
    }
}

/// A value of the configuration.
pub(super) trait Decode: Sized {
    /// Whether such a value is, or holds, a secret.
    const SECRET: bool = false;

    /// `None` once what is wrong has been reported.
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self>;

    fn schema(definitions: &mut Definitions) -> Value;
}

/// The named parts of a JSON Schema.
pub(super) type Definitions = BTreeMap<&'static str, Value>;

#[derive(Debug, Clone)]
pub(super) struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// The value of a key.
#[derive(Debug, Clone, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    /// Written, wrong and reported.
    Bad,
    Set {
        key: Span,
        value: Spanned<T>,
    },
}

impl<T> Field<T> {
    pub fn get(&self) -> Option<&Spanned<T>> {
        match self {
            Field::Set { value, .. } => Some(value),
            _ => None,
        }
    }

    pub fn value(&self) -> Option<&T> {
        self.get().map(|spanned| &spanned.value)
    }

    pub fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Field::Set { value, .. } => Some(&mut value.value),
            _ => None,
        }
    }

    pub fn key(&self) -> Option<Span> {
        match self {
            Field::Set { key, .. } => Some(*key),
            _ => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// `self` unless nothing was written there.
    pub fn or<'a>(&'a self, other: &'a Field<T>) -> &'a Field<T> {
        if self.is_absent() { other } else { self }
    }
}

impl<T: Copy> Field<T> {
    pub fn copied(&self) -> Option<T> {
        self.value().copied()
    }
}

/// A key of an object, as its declaration says.
pub(super) struct KeyInfo {
    pub name: &'static str,
    pub doc: &'static str,
    pub required: bool,
    pub secret: bool,
    pub schema: fn(&mut Definitions) -> Value,
}

/// A map with known keys.
pub(super) trait Object: Sized {
    /// `a journey`, for messages.
    const WHAT: &'static str;

    fn keys() -> Vec<KeyInfo>;

    fn take(entries: &Entries<'_>, findings: &mut Findings) -> Self;
}

/// The entries of a map whose keys have been checked.
pub(super) struct Entries<'a> {
    entries: &'a [(super::yaml::Key, Node)],
    /// Known keys that unknown ones seem to stand for: these are not missing, too.
    meant: Vec<&'static str>,
    pub at: Span,
    pub what: &'static str,
}

impl Entries<'_> {
    pub fn field<T: Decode>(&self, name: &str, required: bool, findings: &mut Findings) -> Field<T> {
        let Some((key, node)) = self.entries.iter().find(|(key, _)| key.name == name) else {
            if self.meant.contains(&name) {
                return Field::Bad;
            }
            if required {
                findings.error(self.at, format!("{} needs '{name}'", self.what));
                return Field::Bad;
            }
            return Field::Absent;
        };
        match T::decode(node, findings) {
            Some(value) => Field::Set { key: key.span, value: Spanned { value, span: node.span } },
            None => Field::Bad,
        }
    }
}

pub(super) fn decode_object<T: Object>(node: &Node, findings: &mut Findings) -> Option<T> {
    let Kind::Map(entries) = &node.kind else {
        let keys = T::keys().iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
        return refuse(node, findings, &format!("a map for {}", T::WHAT), &format!("its keys: {keys}"));
    };
    let meant = report_unknown_keys::<T>(entries, findings);
    Some(T::take(&Entries { entries, meant, at: node.span, what: T::WHAT }, findings))
}

/// Returns the keys that the unknown ones seem to stand for.
fn report_unknown_keys<T: Object>(entries: &[(super::yaml::Key, Node)], findings: &mut Findings) -> Vec<&'static str> {
    let keys = T::keys();
    let mut all_meant = Vec::new();
    let names: Vec<_> = keys.iter().map(|key| key.name).collect();
    for (key, node) in entries.iter().filter(|(key, _)| !names.contains(&key.name.as_str())) {
        let meant = findings.suggest(&key.name, names.iter().copied());
        all_meant.extend(meant);
        // Among secrets, an unknown key may well be a misspelt one.
        let is_harmless = |key: &KeyInfo| !key.secret && meant == Some(key.name);
        if keys.iter().any(|key| key.secret) && !keys.iter().any(is_harmless) {
            findings.secrets.push(node.span);
        }
        let diagnostic = Diagnostic::error(key.span, format!("unknown key '{}' in {}", clipped(&key.name), T::WHAT));
        let diagnostic = match meant {
            Some(name) => diagnostic.label(format!("did you mean '{name}'?")),
            None => diagnostic,
        };
        findings.add(diagnostic.help(format!("known keys: {}", names.join(", "))));
    }
    all_meant
}

/// The schema of an object, put among the definitions under its type's name.
pub(super) fn object_schema<T: Object>(name: &'static str, definitions: &mut Definitions) -> Value {
    let reference = json!({ "$ref": format!("#/$defs/{name}") });
    if definitions.contains_key(name) {
        return reference;
    }
    definitions.insert(name, Value::Null);
    let (mut properties, mut required) = (serde_json::Map::new(), Vec::new());
    for key in T::keys() {
        let mut schema = (key.schema)(definitions);
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".to_owned(), json!(key.doc));
        }
        properties.insert(key.name.to_owned(), schema);
        if key.required {
            required.push(key.name);
        }
    }
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    definitions.insert(name, schema);
    reference
}

/// Declares an object: `key: Type;`, `key: Type, required;`, `field as "key": Type;` where the key is a word of Rust,
/// and `..field: Object;` for keys shared with other objects. The text of each key stands in the schema.
macro_rules! object {
    (
        $what:literal
        $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident $(as $key:literal)? : $type:ty $(, $required:ident)? ; )*
            $( ..$shared:ident : $shared_type:ty ; )*
        }
    ) => {
        #[derive(Debug, Clone)]
        pub(in crate::config) struct $name {
            /// Where the object stands.
            #[allow(dead_code, reason = "not every object is blamed as a whole")]
            pub at: $crate::config::diagnostic::Span,
            $( $(#[doc = $doc])+ pub $field: $crate::config::decode::Field<$type>, )*
            $( pub $shared: $shared_type, )*
        }

        impl $crate::config::decode::Object for $name {
            const WHAT: &'static str = $what;

            fn keys() -> Vec<$crate::config::decode::KeyInfo> {
                #[allow(unused_mut, reason = "not every object shares keys")]
                let mut keys = vec![$( $crate::config::decode::KeyInfo {
                    name: $crate::config::decode::object!(@key $field $($key)?),
                    doc: concat!($($doc),+).trim(),
                    required: $crate::config::decode::object!(@required $($required)?),
                    secret: <$type as $crate::config::decode::Decode>::SECRET,
                    schema: <$type as $crate::config::decode::Decode>::schema,
                }, )*];
                $( keys.extend(<$shared_type as $crate::config::decode::Object>::keys()); )*
                keys
            }

            fn take(
                entries: &$crate::config::decode::Entries<'_>,
                findings: &mut $crate::config::decode::Findings,
            ) -> Self {
                Self {
                    at: entries.at,
                    $( $field: entries.field(
                        $crate::config::decode::object!(@key $field $($key)?),
                        $crate::config::decode::object!(@required $($required)?),
                        findings,
                    ), )*
                    $( $shared: <$shared_type as $crate::config::decode::Object>::take(entries, findings), )*
                }
            }
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                node: &$crate::config::yaml::Node,
                findings: &mut $crate::config::decode::Findings,
            ) -> Option<Self> {
                $crate::config::decode::decode_object(node, findings)
            }

            fn schema(definitions: &mut $crate::config::decode::Definitions) -> serde_json::Value {
                $crate::config::decode::object_schema::<Self>(stringify!($name), definitions)
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@required) => { false };
    (@required required) => { true };
}
pub(super) use object;

/// A scalar read by `parse`; `what` is `a duration`, `example` says what to write.
pub(super) fn scalar<T>(
    node: &Node,
    findings: &mut Findings,
    (what, example): (&str, &str),
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let scalar = text(node, findings, (what, example))?;
    match parse(&scalar.text) {
        Ok(value) => Some(value),
        Err(why) => {
            let diagnostic = Diagnostic::error(node.span, format!("'{}' is not {what}", clipped(scalar.shown())));
            // What came from the environment may be a secret in the wrong place; the reason may quote it.
            let quiet = why.is_empty() || scalar.written.is_some();
            let diagnostic = if quiet { diagnostic } else { diagnostic.label(why) };
            findings.add(if example.is_empty() { diagnostic } else { diagnostic.help(format!("write {example}")) });
            None
        }
    }
}

/// A scalar that is not empty.
pub(super) fn text<'a>(node: &'a Node, findings: &mut Findings, (what, example): (&str, &str)) -> Option<&'a Scalar> {
    match &node.kind {
        Kind::Scalar(scalar) if !scalar.is_null() && !scalar.text.is_empty() => Some(scalar),
        _ if example.is_empty() => refuse(node, findings, what, ""),
        _ => refuse(node, findings, what, &format!("write {example}")),
    }
}

/// Reports that a node is something else than `expected`, unless something was reported of it before.
pub(super) fn refuse<T>(node: &Node, findings: &mut Findings, expected: &str, help: &str) -> Option<T> {
    let found = match &node.kind {
        Kind::Broken(_) => return None,
        Kind::Scalar(scalar) if scalar.is_null() => "nothing",
        Kind::Scalar(scalar) if scalar.text.is_empty() => "an empty text",
        Kind::Scalar(_) => "a single value",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a map",
    };
    let diagnostic = Diagnostic::error(node.span, format!("expected {expected}, found {found}"));
    findings.add(if help.is_empty() { diagnostic } else { diagnostic.help(help) });
    None
}

/// The name that `wrong` most likely stands for.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (strsim::osa_distance(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// A user's text in a message: bounded, on one line.
pub(super) fn clipped(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = clean.take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        out += "...";
    }
    out
}
