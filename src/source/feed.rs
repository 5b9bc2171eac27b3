//! From what sources hand over to what the engine takes in.

use crate::engine::Engine;
use crate::engine::histogram::{Poll, Snapshot};

/// Binds a poll's series to the engine's and fills `snapshot` with them. Series beyond a limit are left out; the
/// engine reports them.
pub fn bind(engine: &mut Engine, poll: &Poll, snapshot: &mut Snapshot) {
    engine.forget_ended();
    snapshot.clear();
    snapshot.partial = poll.partial;
    for (template, histogram) in &poll.series {
        if let Some(series) = engine.bind(*template, &histogram.labels, &histogram.bounds) {
            snapshot.push(series, &histogram.counts);
        }
    }
}
