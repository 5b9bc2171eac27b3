//! Journeys and their layers.

use crate::config::decode::{Decode, Definitions, Findings, Spanned, object};
use crate::config::types::{Latency, Named, Percent};
use crate::config::units;
use crate::config::yaml::Node;
use crate::engine::sli::{Between, NewSeries};
use crate::engine::time::Duration;
use serde_json::{Value, json};

object! {
    "a journey"
    Journey {
        /// Unique among journeys; part of the incident's key.
        name: String, required;
        /// The latency budget of the whole path.
        budget: Latency;
        /// The part of the budget that no layer gets: a percentage of it, or a latency.
        reserve: Reserve;
        /// PromQL selector of the journey as its users feel it, without _bucket.
        histogram: String;
        /// The layers it crosses.
        layers: Vec<Spanned<Layer>>;
        ..shared: Objective;
    }
}

object! {
    "a layer"
    Layer {
        /// Unique within the journey.
        name: String, required;
        /// The layer's latency budget.
        budget: Latency, required;
        /// PromQL selector of the layer's histogram, without _bucket.
        histogram: String, required;
        ..shared: Objective;
    }
}

object! {
    "an objective"
    Objective {
        /// The share of requests that must be within the budget, such as 99.9%.
        objective: Percent;
        /// The rolling period of the error budget (default 30d).
        period: Duration;
        /// Rules and packs that watch it; a layer's replace the journey's.
        rules: Vec<Spanned<String>>;
        /// Whom messages name as responsible.
        owner: String;
        /// Address of what to do about it.
        runbook: String;
        /// How important it is, for routing.
        tier: String;
        /// The user's own labels, for routing.
        labels: Named<String>;
        /// When the budget lies between two bounds of the histogram (default refuse).
        between: Between;
        /// What the first sample of a series counts for (default skip).
        new_series: NewSeries;
        /// Labels of the histogram whose every combination of values is watched on its own.
        by: Vec<Spanned<String>>;
        /// At most this many combinations (default 100).
        max_by: u32;
    }
}

/// The part of a journey's budget that is kept back.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Reserve {
    Share(Percent),
    Fixed(Latency),
}

impl Decode for Reserve {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        let what = ("a part of the budget", "5% or 5ms");
        crate::config::decode::scalar(node, findings, what, |text| {
            if text.ends_with('%') {
                return match units::percent_ppm(text)? {
                    ppm @ 0..1_000_000 => Ok(Reserve::Share(Percent(ppm))),
                    _ => Err("nothing would be left for the layers".to_owned()),
                };
            }
            units::latency_ns(text).map(|ns| Reserve::Fixed(Latency(ns)))
        })
    }

    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "anyOf": [Percent::schema(definitions), Latency::schema(definitions)] })
    }
}
