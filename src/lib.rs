//! slowburn: SLO burn-rate alerting on latency budgets.
//!
//! A pure [`engine`] stands in the middle and the world at the edges: sources of histograms, receivers of
//! notifications, a daemon and a replay that both drive the same engine.

pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod http;
pub mod notify;
pub mod replay;
pub mod rule_test;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod template;
pub mod zone;
