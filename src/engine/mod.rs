//! The pure engine: a deterministic state machine from polls to notifications.
//!
//! There is no I/O, no clock, no randomness, no async and no logging in here; `now` is a parameter. The daemon and
//! the replay are two drivers of this one machine, so a replay decides what the daemon would have decided.
//!
//! The files stand in the order of the flow, each using only earlier ones.

pub mod exact;

pub mod time;

pub mod histogram;

pub mod counts;

pub mod counter;

pub mod window;

pub mod rule;

pub mod sli;

pub mod slo;

pub mod stage;

pub mod alert;

pub mod hours;

pub mod route;

pub mod silence;

pub mod maintenance;

pub mod notification;

pub mod flapping;

pub mod thread;

pub mod digest;

pub mod names;

pub mod incident;

pub mod collect;

pub mod roster;

pub mod spec;

pub mod outbox;

pub mod memory;

pub mod machine;

pub mod view;

pub use machine::{Effect, Engine, Gone, Input, Report};
pub use spec::{Outcome, ReceiverSpec, Spec};

/// A 128-bit FNV-1a hash of the parts, each ended by a zero byte. Stable over versions of Rust and of slowburn: it
/// makes ids that must not change over retries, and spreads that must be reproducible.
/// Source: Fowler, Noll, Vo, "FNV Hash".
pub fn stable_hash(parts: &[&str]) -> u128 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}
