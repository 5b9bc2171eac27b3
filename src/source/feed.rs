//! From what sources hand over to what the engine takes in.

use crate::engine::Engine;
use crate::engine::histogram::{Poll, SeriesId, Snapshot};
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

/// Goes through a slice of history slot by slot, as polls at those slots would have seen it. `each` steps the engine
/// with the snapshot.
pub fn feed(engine: &mut Engine, history: &History, mut each: impl FnMut(&mut Engine, Timestamp, &Snapshot)) {
    engine.forget_ended();
    let bound: Vec<(SeriesId, &HistorySeries)> = history
        .series
        .iter()
        .filter_map(|series| Some((engine.bind(series.slo, &series.labels, &series.bounds)?, series)))
        .collect();
    let mut snapshot = Snapshot::default();
    let mut slot = history.from;
    let mut flawed = history.flawed.iter().peekable();
    for number in 0..history.slots {
        snapshot.clear();
        snapshot.partial = history.partial;
        while let Some((_, template)) = flawed.next_if(|(at, _)| *at == number) {
            snapshot.push_flawed(*template);
        }
        for (id, series) in &bound {
            let buckets = series.bounds.len();
            let counts = &series.counts[number * buckets..][..buckets];
            // A slot without the series is NaN in all its columns.
            if !counts[0].is_nan() {
                snapshot.push(*id, counts);
            }
        }
        each(engine, slot, &snapshot);
        slot += history.step;
    }
}
