//! What goes by the calendar: active hours, maintenance windows, digests.

use serde_json::{Value, json};

use crate::config::decode::{Decode, Definitions, Findings, Spanned, decode_object, object, refuse, text};
use crate::config::types::{Counting, Named, OneOrMore};
use crate::config::yaml::{Kind, Node};
use crate::engine::time::Duration;

object! {
    "'active'"
    ActiveHours {
        /// When they begin: five fields as in crontab; seconds may stand first.
        cron: String, required;
        /// For how long, such as 8h.
        lasts as "for": Duration, required;
        /// Such as Europe/Berlin (default UTC).
        time_zone: String;
    }
}

object! {
    "a maintenance window"
    Maintenance {
        /// Unique among maintenance windows.
        name: String, required;
        /// When it begins, again and again: five fields as in crontab; seconds may stand first.
        cron: String;
        /// When it begins, once: 2026-03-01T02:00:00Z, or 2026-03-01 02:00 in its time zone.
        from: String;
        /// When it ends that once.
        to: String;
        /// For how long, such as 1h.
        lasts as "for": Duration;
        /// Such as Europe/Berlin (default UTC).
        time_zone: String;
        /// Alerts that are held back meanwhile: labels and the values they must have (default all alerts).
        matchers as "match": Named<OneOrMore<String>>;
        /// Whether requests in it count against the budgets of what it matches: include or exclude (default include).
        budget: Counting;
    }
}

object! {
    "a digest"
    Digest {
        /// Unique among digests, and needed where there is more than one (default digest).
        name: String;
        /// When it is sent: five fields as in crontab; seconds may stand first.
        cron: String, required;
        /// Such as Europe/Berlin (default UTC).
        time_zone: String;
        /// Names of the receivers it is sent to.
        receivers: Vec<Spanned<String>>, required;
        /// Alerts it is about: labels and the values they must have (default all warnings and tickets).
        matchers as "match": Named<OneOrMore<String>>;
    }
}

/// When a route tells.
#[derive(Debug, Clone)]
pub(in crate::config) enum Active {
    Always,
    Hours(ActiveHours),
}

impl Decode for Active {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        const EXAMPLE: &str = "write {cron: '0 9 * * Mon-Fri', for: 8h, time_zone: Europe/Berlin}, or always";
        if matches!(node.kind, Kind::Map(_)) {
            return decode_object(node, findings).map(Active::Hours);
        }
        match text(node, findings, ("active hours", ""))?.text.as_str() {
            "always" => Some(Active::Always),
            _ => refuse(node, findings, "active hours", EXAMPLE),
        }
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "anyOf": [{ "const": "always" }, ActiveHours::schema(definitions)] })
    }
}
