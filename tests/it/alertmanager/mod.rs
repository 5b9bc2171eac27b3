//! Alertmanager as a receiver.

mod fake;
mod sending;
