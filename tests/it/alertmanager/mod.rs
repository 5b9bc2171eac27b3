//! Alertmanager as a receiver.

mod daemon;
mod fake;
mod sending;
mod shipped;
