//! What the user wrote: every value typed, with its place, and nothing filled in. Defaults and everything that needs
//! more than one value to judge are `validate`'s.

mod alertmanager;
mod email;
mod heartbeat;
mod hours;
mod journeys;
mod receivers;
mod routes;
mod rules;
mod server;
mod source;
mod state;
mod template;

use std::collections::BTreeSet;

use crate::engine::time::Duration;

use super::decode::{Field, Spanned, object};
use super::types::Named;

pub(super) use self::alertmanager::Alertmanager;
pub(super) use self::email::{Email, StartTls};
pub(super) use self::heartbeat::Heartbeat;
#[cfg(test)]
pub(super) use self::heartbeat::HeartbeatWebhook;
pub(super) use self::hours::{Active, ActiveHours, Digest, Maintenance};
pub(super) use self::journeys::{Journey, Layer, Objective, Reserve};
pub(super) use self::receivers::{PagerDuty, Receiver, Slack, Webhook};
pub(super) use self::routes::{RootRoute, Route};
pub(super) use self::rules::{Cron, LatencyLimit, Rule, Stages};
pub(super) use self::server::{Server, ServerTls};
pub(super) use self::source::{BasicAuth, Http, Prometheus, Scrape, Source, Tls};
pub(super) use self::state::State;
#[cfg(test)]
pub(super) use self::template::Template;
#[cfg(test)]
pub(super) use self::{email::EmailTls, rules::CronTable};

object! {
    "the main file"
    Main {
        /// How often the source is polled and everything is evaluated (default 30s).
        interval: Duration;
        /// Where histograms come from.
        source: Source, required;
        /// Files with rules, packs and journeys: paths or patterns relative to this file.
        rule_files: Vec<Spanned<String>>;
        /// Where the daemon keeps what must survive a restart. Without it everything is forgotten.
        state: State;
        /// The daemon's own HTTP server.
        server: Server;
        /// Who can be told.
        receivers: Vec<Spanned<Receiver>>;
        /// Who is told what.
        route: RootRoute;
        /// The dead man's switch: posts as long as evaluations go on, so that somebody else notices when they stop.
        heartbeat: Heartbeat;
        /// What warnings and tickets did, told at fixed times.
        digests: Vec<Spanned<Digest>>;
        /// Times at which alerts are expected, and held back.
        maintenance: Vec<Spanned<Maintenance>>;
        ..shared: RuleFile;
    }
}

object! {
    "a rule file"
    RuleFile {
        /// Limits that can be named by journeys and layers.
        rules: Vec<Spanned<Rule>>;
        /// Lists of rules under one name.
        packs: Named<Vec<Spanned<String>>>;
        /// End-to-end paths that users feel, and the layers they cross.
        journeys: Vec<Spanned<Journey>>;
    }
}

impl RuleFile {
    /// Removes what has the name of something in `other`.
    pub fn without_those_of(&mut self, other: &RuleFile) {
        let rules = names(&other.rules, |rule: &Rule| rule.name.value());
        let journeys = names(&other.journeys, |journey: &Journey| journey.name.value());
        let packs: BTreeSet<&str> =
            other.packs.value().into_iter().flat_map(|packs| &packs.0).map(|(name, _)| name.value.as_str()).collect();
        let is_new =
            |name: Option<&String>, gone: &BTreeSet<&str>| name.is_none_or(|name| !gone.contains(name.as_str()));
        // A pack may take a rule's name, and the other way round.
        let taken = &rules | &packs;
        if let Some(own) = self.rules.value_mut() {
            own.retain(|rule| is_new(rule.value.name.value(), &taken));
        }
        if let Some(own) = self.packs.value_mut() {
            own.0.retain(|(name, _)| is_new(Some(&name.value), &taken));
        }
        if let Some(own) = self.journeys.value_mut() {
            own.retain(|journey| is_new(journey.value.name.value(), &journeys));
        }
    }
}

fn names<T>(list: &Field<Vec<Spanned<T>>>, name: fn(&T) -> Option<&String>) -> BTreeSet<&str> {
    list.value().into_iter().flatten().filter_map(|item| name(&item.value)).map(String::as_str).collect()
}
