//! The engine over history: what it would have decided, without sending anything.
//!
//! Replay is a second driver of the very engine the daemon runs. It never touches receivers, the store or the daemon,
//! so there is nothing here that could send.

pub mod compare;

pub mod document;

pub mod driver;

pub mod report;

pub mod score;

pub mod text;

pub mod tune;

pub use document::Document;
pub use driver::{Given, Progress, Recorder, ReplayError, Replayed, SLICE_DEADLINE, replay, replay_from};
