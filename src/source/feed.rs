//! From what sources hand over to what the engine takes in.

use crate::engine::Engine;
use crate::engine::histogram::{Poll, SeriesId, Snapshot};
use crate::engine::time::{Duration, Timestamp};

use super::prometheus::History;

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
pub fn feed(engine: &mut Engine, history: &History, each: impl FnMut(&mut Engine, Timestamp, &Snapshot)) {
    feed_from(engine, history, 0, each);
}

/// The same from slot `first` of the slice on.
pub fn feed_from(
    engine: &mut Engine,
    history: &History,
    first: usize,
    mut each: impl FnMut(&mut Engine, Timestamp, &Snapshot),
) {
    engine.forget_ended();
    let bound: Vec<(SeriesId, usize, &[f64])> = history
        .series
        .iter()
        .filter_map(|series| {
            let id = engine.bind(series.slo, &series.labels, &series.bounds)?;
            Some((id, series.bounds.len(), &series.counts[..]))
        })
        .collect();
    let mut snapshot = Snapshot::default();
    let mut slot = history.from + Duration::from_ms(history.step.ms() * first as i64);
    let mut flawed = history.flawed.iter().skip_while(|(at, _)| *at < first).peekable();
    for number in first..history.slots {
        snapshot.clear();
        snapshot.partial = history.partial;
        while let Some((_, template)) = flawed.next_if(|(at, _)| *at == number) {
            snapshot.push_flawed(*template);
        }
        for (id, buckets, counts) in &bound {
            let counts = &counts[number * buckets..][..*buckets];
            // A slot without the series is NaN in all its columns.
            if !counts[0].is_nan() {
                snapshot.push(*id, counts);
            }
        }
        each(engine, slot, &snapshot);
        slot += history.step;
    }
}
