//! Where histograms come from. Each source yields polls for the engine; absence of data is an error, never a zero.
//!
//! Every answer is bounded in size and time, before and after decompression, and what is wrong with it has a type.

pub mod error;

pub mod feed;

pub mod plan;

pub mod prometheus;

mod body;

mod gather;

mod series;

pub use error::SourceError;
