//! JSON Schema of the configuration, for editors. It comes from the declarations that the decoder is made of.

use serde_json::{Value, json};

use super::decode::{Decode, Definitions};
use super::raw;

/// A schema (draft 2020-12) for the main file; rule files are its subset without required keys.
pub fn schema() -> Value {
    let mut definitions = Definitions::new();
    let main = raw::Main::schema(&mut definitions);
    let rule_file = raw::RuleFile::schema(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slowburn configuration",
        "anyOf": [main, rule_file],
        "$defs": definitions,
    })
}
