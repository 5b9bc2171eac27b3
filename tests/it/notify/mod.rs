//! Receivers: what they are told, that it fits, and how a send ends.

mod limits;
mod messages;
pub mod samples;
pub mod sending;
