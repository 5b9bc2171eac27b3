//! From what sources hand over to what the engine takes in.

use crate::engine::Engine;
use crate::engine::histogram::{Poll, Snapshot};
use crate::engine::machine::ahead::{Passage, Row};
use crate::engine::time::Timestamp;

use super::prometheus::{History, HistorySeries};

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
    poll.flawed.iter().for_each(|template| snapshot.push_flawed(*template));
}

/// Binds a slice of history to the engine's series: what polls at its slots would have seen. Series beyond a limit are
/// left out; the engine reports them.
pub fn passage<'a>(engine: &mut Engine, history: &'a History) -> Passage<'a> {
    engine.forget_ended();
    let row = |series: &'a HistorySeries| {
        let id = engine.bind(series.slo, &series.labels, &series.bounds)?;
        Some(Row { series: id, counts: &series.counts })
    };
    let series = history.series.iter().filter_map(row).collect();
    let History { from, step, slots, flawed, partial, .. } = history;
    Passage { from: *from, step: *step, slots: *slots, series, flawed, partial: *partial }
}

/// Goes through a slice of history slot by slot, as polls at those slots would have seen it. `each` steps the engine
/// with the snapshot.
pub fn feed(engine: &mut Engine, history: &History, mut each: impl FnMut(&mut Engine, Timestamp, &Snapshot)) {
    let passage = passage(engine, history);
    let mut snapshot = Snapshot::default();
    for number in 0..passage.slots {
        passage.snapshot(number, &mut snapshot);
        each(engine, passage.slot(number), &snapshot);
    }
}
