//! Alertmanager as a receiver.

mod daemon;
mod fake;
mod real;
mod sending;
mod shipped;
