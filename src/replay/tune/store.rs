//! History that is read once and replayed many times: packed in memory, bounded, cut where a part is held back.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use crate::config::Config;
use crate::engine::Spec;
use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};
use crate::replay::driver::{SLICE_DEADLINE, detail, warm_from};
use crate::replay::{Document, Progress, Recorder};
use crate::source::SourceError;
use crate::source::prometheus::{Detail, History, HistorySeries};
use crate::source::reader::Reader;

/// As much as packed history may take: 30 days and the 30 before them of some 250 layers with two instances each.
pub const MAX_BYTES: usize = 2 << 30;
/// Stands for "not there" among differences.
const ABSENT: u32 = u32::MAX;

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
    slices: Vec<Packed>,
}

/// A slice of history.
#[derive(Debug)]
struct Packed {
    from: Timestamp,
    step: Duration,
    slots: usize,
    series: Vec<PackedSeries>,
    flawed: Vec<(usize, usize)>,
    partial: bool,
}

#[derive(Debug)]
struct PackedSeries {
    slo: usize,
    labels: Labels,
    bounds: Arc<[f64]>,
    counts: Counts,
}

/// Slot by slot, one count a bound.
#[derive(Debug)]
enum Counts {
    /// Whole numbers: differences to each bound's least count, half the size.
    Narrow {
        least: Vec<f64>,
        above: Vec<u32>,
    },
    Wide(Vec<f64>),
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
    fn push(&mut self, history: History) -> usize {
        let packed = Packed::new(history);
        let bytes = packed.bytes();
        self.slices.push(packed);
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
        self.slices[..self.warming()].iter().for_each(|slice| recorder.take(&slice.unpacked(self.from)));
        recorder
    }

    /// How many slices end before anything is evaluated.
    fn warming(&self) -> usize {
        let last = |slice: &Packed| slice.from + slice.step.times(slice.slots as f64 - 1.0);
        self.slices.iter().take_while(|slice| last(slice) < self.from).count()
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
        slices: &[Packed],
        until: Timestamp,
        go_on: impl Fn(&Recorder) -> bool,
    ) -> Option<Document> {
        for slice in slices.iter().take_while(|slice| slice.from <= until) {
            recorder.take(&slice.unpacked(until));
            if !go_on(&recorder) {
                return None;
            }
        }
        Some(recorder.finish())
    }
}

impl Packed {
    fn new(history: History) -> Self {
        let History { from, step, slots, series, flawed, partial, warnings: _ } = history;
        let packed = series.into_iter().map(|HistorySeries { slo, labels, bounds, counts }| {
            let counts = Counts::new(counts, bounds.len());
            PackedSeries { slo, labels, bounds, counts }
        });
        Self { from, step, slots, series: packed.collect(), flawed, partial }
    }

    fn bytes(&self) -> usize {
        let counts = self.series.iter().map(|series| match &series.counts {
            Counts::Narrow { least, above } => size_of_val(&least[..]) + size_of_val(&above[..]),
            Counts::Wide(counts) => size_of_val(&counts[..]),
        });
        counts.sum::<usize>() + self.series.len() * size_of::<PackedSeries>() + size_of_val(&self.flawed[..])
    }

    /// As it was read, up to `until`.
    fn unpacked(&self, until: Timestamp) -> History {
        let end = until.slot_number(self.step) - self.from.slot_number(self.step) + 1;
        let slots = self.slots.min(end.max(0) as usize);
        let series = self.series.iter().map(|series| HistorySeries {
            slo: series.slo,
            labels: series.labels.clone(),
            bounds: Arc::clone(&series.bounds),
            counts: series.counts.unpacked(slots * series.bounds.len()),
        });
        History {
            from: self.from,
            step: self.step,
            slots,
            series: series.collect(),
            flawed: self.flawed.iter().filter(|(slot, _)| *slot < slots).copied().collect(),
            warnings: Vec::new(),
            partial: self.partial,
        }
    }
}

impl Counts {
    fn new(counts: Vec<f64>, bounds: usize) -> Self {
        let mut least = vec![f64::INFINITY; bounds];
        for row in counts.chunks_exact(bounds) {
            // NaN is never the lesser one.
            least.iter_mut().zip(row).for_each(|(least, count)| *least = least.min(*count));
        }
        let mut above = Vec::with_capacity(counts.len());
        for (index, count) in counts.iter().enumerate() {
            let least = least[index % bounds];
            let difference = count - least;
            let narrow = difference as u32;
            match count.is_nan() {
                true => above.push(ABSENT),
                false if narrow < ABSENT && (least + f64::from(narrow)).to_bits() == count.to_bits() => {
                    above.push(narrow);
                }
                false => return Counts::Wide(counts),
            }
        }
        Counts::Narrow { least, above }
    }

    fn unpacked(&self, cells: usize) -> Vec<f64> {
        match self {
            Counts::Wide(counts) => counts[..cells].to_vec(),
            Counts::Narrow { least, above } => {
                let mut counts = Vec::with_capacity(cells);
                for row in above[..cells].chunks_exact(least.len()) {
                    let count = |(above, least): (&u32, &f64)| match *above {
                        ABSENT => f64::NAN,
                        above => least + f64::from(above),
                    };
                    counts.extend(row.iter().zip(least).map(count));
                }
                counts
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_count() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (0..10_000_u32).prop_map(f64::from),
            2 => Just(f64::NAN),
            1 => Just(1e12 + 1.0),
            1 => Just(0.5),
            1 => Just(1e300),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(counts in prop::collection::vec([any_count(), any_count()], 1..20), until in 0..25_i64) {
            let step = Duration::from_secs(30);
            let from = Timestamp::from_unix_s(1_772_366_400);
            let slots = counts.len();
            let series = HistorySeries {
                slo: 3,
                labels: Labels::new(),
                bounds: [0.1, f64::INFINITY].into(),
                counts: counts.concat(),
            };
            let flawed = vec![(0, 3), (slots - 1, 3)];
            let history = History { from, step, slots, series: vec![series], flawed, warnings: vec![], partial: true };
            let back = Packed::new(history.clone()).unpacked(from + Duration::from_secs(30 * until));
            let kept = slots.min(until as usize + 1);
            prop_assert_eq!(back.slots, kept);
            prop_assert_eq!((back.from, back.partial), (history.from, history.partial));
            prop_assert!(back.flawed.iter().all(|(slot, _)| *slot < kept));
            let bits = |counts: &[f64]| -> Vec<Option<u64>> {
                counts.iter().map(|count| (!count.is_nan()).then_some(count.to_bits())).collect()
            };
            prop_assert_eq!(bits(&back.series[0].counts), bits(&history.series[0].counts[..kept * 2]));
        }
    }

    #[test]
    fn whole_numbers_take_half_the_room() {
        let narrow = Counts::new(vec![5.0, 1e12, f64::NAN, f64::NAN, 9.0, 1e12 + 7.0], 2);
        assert!(matches!(narrow, Counts::Narrow { .. }), "{narrow:?}");
        assert!(matches!(Counts::new(vec![0.5, 1.25], 1), Counts::Wide(_)));
    }
}
