//! History that is read once and replayed many times: bounded in memory, and cut where a part is held back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use crate::config::Config;
use crate::engine::Spec;
use crate::engine::time::{Duration, Timestamp};
use crate::replay::driver::{SLICE_DEADLINE, detail, warm_from};
use crate::replay::{Document, Progress, Recorder};
use crate::source::SourceError;
use crate::source::prometheus::{Detail, History, HistorySeries};
use crate::source::reader::Reader;

/// As much as history may take: 30 days and the 30 before them of some 250 layers with two instances each.
pub const MAX_BYTES: usize = 2 << 30;

/// Why history could not be kept.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("there is no slot of {interval} between {from} and {to}")]
    EmptyRange { from: Timestamp, to: Timestamp, interval: Duration },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("reading history stopped at {at}: {error}\nwith --to {at} it ends before that")]
    Interrupted { at: Timestamp, error: SourceError },
    #[error(
        "this history takes about {need_mib} MiB in memory, packed, and may take {max_mib} MiB: shorten it with --from, \
         or tune with a configuration of fewer journeys"
    )]
    TooLarge { need_mib: usize, max_mib: usize },
    #[error("interrupted before anything was tried")]
    Stopped,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Store {
    /// The first slot that is evaluated; slots before it fill the windows.
    pub from: Timestamp,
    pub to: Timestamp,
    detail: Detail,
    slices: Vec<History>,
}

impl Store {
    /// Reads `[from, to]`, rounded inwards to slots, and what fills the windows before it. `progress` is told of
    /// each slice; it says `false` to stop.
    ///
    /// # Errors
    /// Unlike a replay, a search has no use for half of a history: whatever ends reading early is an error.
    pub async fn read(
        config: &Config,
        reader: Reader,
        (from, to): (Timestamp, Timestamp),
        max_bytes: usize,
        mut progress: impl FnMut(Progress) -> bool,
    ) -> Result<Self, StoreError> {
        let interval = config.spec.interval;
        let empty = StoreError::EmptyRange { from, to, interval };
        let (from, to) = (from.align_up(interval), to.align_down(interval));
        if from >= to {
            return Err(empty);
        }
        let first = warm_from(&config.spec, from);
        let detail = detail(&config.spec);
        let slots = |to: Timestamp| (to.slot_number(interval) - first.slot_number(interval)).max(0) as u64;
        let total = slots(to) + 1;
        let mut slices = reader.read(first, to, interval, detail, SLICE_DEADLINE);
        let mut store = Self { from, to, detail, slices: Vec::new() };
        let (mut bytes, mut at) = (0, first);
        while let Some(slice) = slices.next().await {
            let history = match slice {
                Ok(history) => history,
                // Of all of the time, or of none, something is missing.
                Err(error) if at == first || at > to => return Err(error.into()),
                Err(error) => return Err(StoreError::Interrupted { at: at - interval, error }),
            };
            at = history.to() + interval;
            bytes += store.push(history);
            let done = slots(at);
            if bytes > max_bytes {
                let need = (bytes as f64 * total as f64 / done.max(1) as f64) as usize;
                return Err(StoreError::TooLarge { need_mib: need >> 20, max_mib: max_bytes >> 20 });
            }
            if !progress(Progress { at, done, total }) {
                return Err(StoreError::Stopped);
            }
        }
        // A reader that is stopped ends as if there was no more.
        if at <= to { Err(StoreError::Stopped) } else { Ok(store) }
    }

    /// A store of slices that are at hand, oldest first; those before `from` fill the windows.
    pub fn of(slices: impl IntoIterator<Item = History>, from: Timestamp, detail: Detail) -> Self {
        let mut store = Self { from, to: from, detail, slices: Vec::new() };
        for slice in slices {
            store.to = slice.to();
            store.push(slice);
        }
        store
    }

    /// Returns how many bytes the slice takes.
    fn push(&mut self, mut slice: History) -> usize {
        slice.series = slice.series.into_iter().map(HistorySeries::packed).collect();
        let bytes = bytes(&slice);
        self.slices.push(slice);
        bytes
    }

    /// The SLOs of `spec` that have no series in it, by their places.
    pub fn unseen(&self, spec: &Spec) -> Vec<String> {
        let seen: BTreeSet<usize> =
            self.slices.iter().flat_map(|slice| &slice.series).map(|series| series.slo).collect();
        let slos = spec.slos.iter().enumerate();
        slos.filter(|(slo, _)| !seen.contains(slo)).map(|(_, slo)| slo.place()).collect()
    }

    /// Takes the engine through the history that only fills windows, for [`Self::replay_warm`].
    pub fn warm(&self, spec: Arc<Spec>) -> Recorder {
        let mut recorder = Recorder::new(spec, self.from, self.detail);
        self.slices[..self.warming()].iter().for_each(|slice| recorder.take(&cut(slice, self.from)));
        recorder
    }

    /// How many slices end before anything is evaluated.
    fn warming(&self) -> usize {
        self.slices.iter().take_while(|slice| slice.to() < self.from).count()
    }

    /// As [`Self::replay`], without going through what fills windows once more where `warm`, which may be of other
    /// rules, went through it.
    pub fn replay_warm(
        &self,
        warm: &Recorder,
        spec: Arc<Spec>,
        until: Timestamp,
        go_on: impl Fn(&Recorder) -> bool,
    ) -> Option<Document> {
        match warm.with(spec.clone()) {
            Some(recorder) => self.record(recorder, &self.slices[self.warming()..], until, go_on),
            None => self.replay(spec, until, go_on),
        }
    }

    /// What `spec` decides up to `until`, that slot included; `None` if `go_on` says `false` of what was decided by the
    /// end of a slice, the last one included.
    ///
    /// The windows and all that stands at any time come from the history before.
    pub fn replay(&self, spec: Arc<Spec>, until: Timestamp, go_on: impl Fn(&Recorder) -> bool) -> Option<Document> {
        self.record(Recorder::new(spec, self.from, self.detail), &self.slices, until, go_on)
    }

    fn record(
        &self,
        mut recorder: Recorder,
        slices: &[History],
        until: Timestamp,
        go_on: impl Fn(&Recorder) -> bool,
    ) -> Option<Document> {
        for slice in slices.iter().take_while(|slice| slice.from <= until) {
            recorder.take(&cut(slice, until));
            if !go_on(&recorder) {
                return None;
            }
        }
        Some(recorder.finish())
    }
}

/// What a slice takes in memory.
fn bytes(slice: &History) -> usize {
    let counts: usize = slice.series.iter().map(|series| series.counts.bytes()).sum();
    counts + size_of_val(&slice.series[..]) + size_of_val(&slice.flawed[..])
}

/// A slice as it would have been read up to `until`.
fn cut(slice: &History, until: Timestamp) -> Cow<'_, History> {
    if slice.to() <= until {
        return Cow::Borrowed(slice);
    }
    let slots = until.slot_number(slice.step) - slice.from.slot_number(slice.step) + 1;
    let slots = slots.max(0) as usize;
    let series = slice.series.iter().map(|series| HistorySeries {
        slo: series.slo,
        labels: series.labels.clone(),
        bounds: Arc::clone(&series.bounds),
        counts: series.counts.part(0..slots),
    });
    let flawed = slice.flawed.iter().filter(|(slot, _)| *slot < slots).copied();
    Cow::Owned(History { slots, series: series.collect(), flawed: flawed.collect(), warnings: Vec::new(), ..*slice })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::counts::Counts;
    use crate::engine::histogram::Labels;

    proptest! {
        #[test]
        fn what_is_cut_is_what_would_have_been_read(
            counts in prop::collection::vec(prop::option::of(0..10_000_u32), 1..20),
            until in 0..25_i64,
        ) {
            let step = Duration::from_secs(30);
            let from = Timestamp::from_unix_s(1_772_366_400);
            let row = |count: &Option<u32>| [count.map_or(f64::NAN, f64::from); 2];
            let slice = |slots: usize| {
                let series = HistorySeries {
                    slo: 3,
                    labels: Labels::new(),
                    bounds: [0.1, f64::INFINITY].into(),
                    counts: Counts::new(counts[..slots].iter().flat_map(row).collect(), 2),
                };
                let flawed = (0..slots).step_by(5).map(|slot| (slot, 3)).collect();
                History { from, step, slots, series: vec![series], flawed, warnings: vec![], partial: true }
            };
            let kept = counts.len().min(until as usize + 1);
            let store = Store::of([slice(counts.len())], from, Detail::Counts);
            let (cut, expected) = (cut(&store.slices[0], from + Duration::from_secs(30 * until)), slice(kept));
            prop_assert_eq!((cut.from, cut.slots, cut.partial), (from, kept, true));
            prop_assert_eq!(&cut.flawed, &expected.flawed);
            for slot in 0..kept {
                let row = |history: &History| history.series[0].counts.row(slot).map(Iterator::collect::<Vec<f64>>);
                prop_assert_eq!(row(&cut), row(&expected));
            }
        }
    }
}
