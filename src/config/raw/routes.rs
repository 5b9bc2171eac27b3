//! The tree that decides who is told what.

use crate::config::decode::{Spanned, object};
use crate::config::types::{Named, OneOrMore, Repeat};

use super::hours::Active;

object! {
    "'route'"
    RootRoute {
        /// Names of the receivers that are told what no child route takes.
        receivers: Vec<Spanned<String>>, required;
        /// How often an incident that stays as it is is told again: a duration or never (default 4h).
        repeat_interval: Repeat;
        /// Labels whose values make an incident of their own; journey is always among them (default [journey]).
        group_by: Vec<Spanned<String>>;
        /// Hours outside of which alerts wait: {cron, for, time_zone}, or always (default always).
        active: Active;
        /// The first that matches wins, unless it says continue: true.
        routes: Vec<Spanned<Route>>;
    }
}

object! {
    "a route"
    Route {
        /// Labels and the values they must have: stage, urgency, journey, layer, tier, owner, rule and your own.
        matchers as "match": Named<OneOrMore<String>>;
        /// Names of receivers (default those of the route above).
        receivers: Vec<Spanned<String>>;
        /// How often an incident that stays as it is is told again (default as in the route above).
        repeat_interval: Repeat;
        /// Hours outside of which alerts wait: {cron, for, time_zone}, or always (default as in the route above).
        active: Active;
        /// Ask the routes after this one, too (default false).
        goes_on as "continue": bool;
        /// Finer routes; the first that matches wins.
        routes: Vec<Spanned<Route>>;
    }
}
