//! What slowburn says about itself: logs on stderr, metrics, and its state to systemd.

pub mod exposition;

pub mod log;

pub mod metrics;

pub mod systemd;
