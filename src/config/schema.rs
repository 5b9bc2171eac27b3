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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::decode::{Findings, Object};
    use crate::config::yaml;

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
}
