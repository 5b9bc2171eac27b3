//! History that lies where this process can reach it: chunks in memory or in files, put into slots slice by slice.
//!
//! Only where each chunk lies is kept, and one chunk at a time is read, so a month takes no more memory than an hour.

pub(super) mod text;

pub(super) mod tsdb;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};

use super::chunks::merged;
use super::columns::Column;
use super::error::SourceError;
use super::history::{Detail, History, Part, TIMES_MS};
use super::needed::needed;
use super::plan::Plan;
use super::sampler::{Grid, Lookback, Run, Sampler};
use super::series::{Bounded, MAX_SERIES, Warnings};
use super::xor::{self, Encoder, Samples};

use self::tsdb::Segments;

/// What the counts of a slice may take in memory, in bytes: a processor's cache holds them until they are counted.
const SLICE_BYTES: usize = 1 << 20;
/// Slots of a slice, at least, in sixteen times as much: chunks at its edges are decoded for the next one once more.
const LEAST_SLOTS: usize = 2_880;
/// What one slice may take at most, bounds that come and go included.
const MAX_SLICE_BYTES: usize = 256 << 20;
const MAX_SLOTS: usize = 1 << 20;
/// What chunks may take in memory, in bytes: of a text, or of a write-ahead log.
const MAX_CHUNK_BYTES: usize = 1 << 30;
/// A chunk's samples: one more a sample of the slice's edge is read in vain.
const CHUNK_SAMPLES: u16 = 480;
const STRAYS: &str = "samples before 1970 or after 2200 are left out";
/// A place with this bit is one in memory.
const IN_MEMORY: u64 = 1 << 63;

/// Where a chunk lies and the time it spans.
#[derive(Debug, Clone, Copy)]
struct Place {
    from_ms: i64,
    to_ms: i64,
    at: u64,
}

/// One bucket of a series.
#[derive(Debug)]
struct Stored {
    /// As written: `1` and `1.0` are two buckets with one bound, which is a flaw where both are there.
    le: String,
    bound: f64,
    /// By their beginnings.
    places: Vec<Place>,
    /// Deleted times, both ends included.
    deleted: Vec<(i64, i64)>,
}

/// Where the chunks are.
#[derive(Debug, Default)]
struct Keeper {
    files: Segments,
    chunks: Vec<Vec<u8>>,
    /// What the latter take.
    bytes: usize,
}

/// For one chunk after the other.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    samples: Samples,
}

/// One bucket's samples, packed into chunks as they come.
#[derive(Debug, Clone, Default)]
struct Packer {
    encoder: Encoder,
    from_ms: i64,
    last_ms: Option<i64>,
    places: Vec<Place>,
}

/// Where reading ended too early.
#[derive(Debug, Clone)]
pub(super) struct Break {
    /// What is at this time or later was not read.
    pub unix_ms: i64,
    pub error: SourceError,
}

/// All that the plan asks for.
#[derive(Debug)]
pub(super) struct Archive {
    plan: Arc<Plan>,
    /// By request of the plan, then labels.
    series: Vec<Bounded<Labels, Vec<Stored>>>,
    keeper: Keeper,
    /// Of the first and the last sample.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What the reader of the history should know.
    pub warnings: Vec<String>,
    /// The earliest one.
    pub broken: Option<Break>,
    /// The first reason why something is missing from all of the time.
    pub missing: Option<SourceError>,
    /// SLOs whose selectors find native histograms.
    native: BTreeSet<usize>,
}

impl Archive {
    fn new(plan: Arc<Plan>) -> Self {
        let series = plan.requests.iter().map(|_| Bounded::new(MAX_SERIES)).collect();
        let (keeper, native) = (Keeper::default(), BTreeSet::new());
        Self { plan, series, keeper, span: None, warnings: Vec::new(), broken: None, missing: None, native }
    }

    /// Adds a bucket that a request of the plan asks for. A bucket that is known goes on.
    fn add(&mut self, request: usize, labels: Labels, mut stored: Stored) {
        let chunks = stored.places.len();
        stored.places.retain(|place| TIMES_MS.contains(&place.from_ms) && TIMES_MS.contains(&place.to_ms));
        if stored.places.len() < chunks && self.warnings.iter().all(|warning| warning != STRAYS) {
            self.warnings.push(STRAYS.to_owned());
        }
        let Some(buckets) = self.series[request].entry(labels) else { return };
        for place in &stored.places {
            let (from, to) =
                self.span.unwrap_or((Timestamp::from_unix_ms(i64::MAX), Timestamp::from_unix_ms(i64::MIN)));
            let [first, last] = [place.from_ms, place.to_ms].map(Timestamp::from_unix_ms);
            self.span = Some((from.min(first), to.max(last)));
        }
        match buckets.iter_mut().find(|known| known.le == stored.le) {
            Some(known) => {
                known.places.extend(stored.places);
                known.deleted.extend(stored.deleted);
            }
            None => buckets.push(stored),
        }
    }

    /// Nothing at `unix_ms` or later is known.
    fn breaks(&mut self, unix_ms: i64, error: SourceError) {
        if self.broken.as_ref().is_none_or(|known| unix_ms < known.unix_ms) {
            self.broken = Some(Break { unix_ms, error });
        }
    }

    /// Something is missing from all of the time.
    fn misses(&mut self, error: SourceError) {
        self.missing.get_or_insert(error);
    }

    /// Why not all of it was read.
    pub fn fault(&self) -> Option<&SourceError> {
        self.broken.as_ref().map(|broken| &broken.error).or(self.missing.as_ref())
    }

    /// Refuses what holds native histograms, and no buckets, for an SLO.
    fn refuse_native(&self) -> Result<(), SourceError> {
        let mut only = self.native.clone();
        for (request, series) in self.plan.requests.iter().zip(&self.series) {
            let found: BTreeSet<usize> = series.series().keys().flat_map(|labels| request.assign(labels)).collect();
            only.retain(|slo| !found.contains(slo));
        }
        self.plan.only_native(only)
    }

    /// Call once all is added.
    fn sort(&mut self) {
        for stored in self.series.iter_mut().flat_map(Bounded::series_mut).flatten() {
            stored.places.sort_by_key(|place| (place.from_ms, place.to_ms));
        }
    }

    /// How many slots a slice should have.
    pub fn slots_per_slice(&self, detail: Detail) -> usize {
        let buckets = |(request, series): (usize, &Bounded<Labels, Vec<Stored>>)| -> usize {
            let series = series.series();
            match detail {
                Detail::Buckets => series.values().map(Vec::len).sum(),
                Detail::Counts => {
                    series.iter().map(|(labels, stored)| self.wanted(request, labels, stored).len()).sum()
                }
            }
        };
        let columns: usize = self.series.iter().enumerate().map(buckets).sum();
        let fit = |bytes: usize| bytes / size_of::<f64>() / columns.max(1);
        fit(SLICE_BYTES).max(fit(16 * SLICE_BYTES).min(LEAST_SLOTS)).clamp(1, MAX_SLOTS)
    }

    /// What polls at the slots from `from` to `to`, both multiples of `step`, would have seen. An error says where a
    /// slice that ends before it would have none.
    pub fn history(&self, from: Timestamp, to: Timestamp, step: Duration, detail: Detail) -> Result<History, Break> {
        let grid = Grid { from, step, slots: (to.slot_number(step) - from.slot_number(step) + 1).max(0) as usize };
        let parts: Result<Vec<Part>, Break> =
            (0..self.series.len()).map(|request| self.part(request, grid, detail)).collect();
        Ok(History::empty(from, step, grid.slots).with(parts?))
    }

    fn part(&self, request: usize, grid: Grid, detail: Detail) -> Result<Part, Break> {
        if detail == Detail::Counts {
            let part = self.buckets(request, grid, detail)?;
            let is_whole = |labels: &Labels, bounds: &[f64]| {
                let stored = &self.series[request].series()[labels];
                self.wanted(request, labels, stored).iter().all(|bound| bounds.contains(bound))
            };
            if !part.changes && part.series.iter().all(|series| is_whole(&series.labels, &series.bounds)) {
                return Ok(part);
            }
        }
        self.buckets(request, grid, Detail::Buckets)
    }

    fn buckets(&self, request: usize, grid: Grid, detail: Detail) -> Result<Part, Break> {
        let mut warnings = Warnings::default();
        self.warnings.iter().filter(|_| request == 0).for_each(|warning| warnings.push(warning));
        let mut part = Part { warnings, ..Part::default() };
        let metric = &self.plan.requests[request];
        if self.series[request].overflowed {
            part.overflow(metric, self.series[request].limit);
        }
        let mut filling = part.filling(metric, grid.slots, MAX_SLICE_BYTES);
        let mut buffer = Buffer::default();
        for (labels, all) in self.series[request].series() {
            let wanted = (detail == Detail::Counts).then(|| self.wanted(request, labels, all));
            let mut columns = Vec::new();
            for stored in all {
                if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&stored.bound)) {
                    continue;
                }
                let run = self.sample(stored, grid, &mut buffer)?;
                columns.push(Column { bound: stored.bound, run });
            }
            let broken = |error| Break { unix_ms: grid.from.unix_ms(), error };
            filling.add(labels, columns).map_err(broken)?;
        }
        Ok(filling.finish())
    }

    fn sample(&self, stored: &Stored, grid: Grid, buffer: &mut Buffer) -> Result<Run, Break> {
        let lookback = Lookback::default();
        let (from_ms, to_ms) = ((grid.from - lookback.length).unix_ms(), grid.last().unix_ms());
        let mut sampler = Sampler::new(grid, lookback);
        let Buffer { bytes, samples } = buffer;
        let places = stored.places.iter().filter(|place| place.to_ms >= from_ms && place.from_ms <= to_ms);
        let places = places.map(|place| (place.from_ms, place.to_ms, place));
        let decode = |place: &Place, samples: &mut Samples| {
            let broken = |error| Break { unix_ms: place.from_ms, error };
            self.keeper.decode(place, bytes, samples).map_err(broken)
        };
        merged(places, samples, decode, |samples| {
            if !stored.deleted.is_empty() {
                let is_deleted = |at: i64| stored.deleted.iter().any(|(from, to)| *from <= at && at <= *to);
                let left = samples.iter().filter(|(at, _)| !is_deleted(*at));
                (samples.unix_ms, samples.values) = left.unzip();
            }
            sampler.push_all(samples);
        })?;
        Ok(sampler.finish())
    }

    /// The bounds that the budgets of a series need.
    fn wanted(&self, request: usize, labels: &Labels, stored: &[Stored]) -> Vec<f64> {
        let budgets = self.plan.requests[request].assign(labels).into_iter().map(|slo| self.plan.budgets_s[slo]);
        needed(stored.iter().map(|stored| stored.bound), budgets)
    }
}

impl Stored {
    fn new(le: String, places: Vec<Place>, deleted: Vec<(i64, i64)>) -> Self {
        let bound = le.parse().unwrap_or(f64::NAN);
        Self { le, bound, places, deleted }
    }
}

impl Keeper {
    fn is_full(&self) -> bool {
        self.bytes > MAX_CHUNK_BYTES
    }

    /// Returns where it is.
    fn keep(&mut self, chunk: Vec<u8>) -> u64 {
        self.bytes += chunk.len() + size_of::<Place>() + size_of::<Vec<u8>>();
        self.chunks.push(chunk);
        (self.chunks.len() as u64 - 1) | IN_MEMORY
    }

    /// Adds a chunk's samples; `bytes` is for those of a file.
    fn decode(&self, place: &Place, bytes: &mut Vec<u8>, samples: &mut Samples) -> Result<(), SourceError> {
        if place.at & IN_MEMORY != 0 {
            // It was written here.
            return xor::decode(&self.chunks[(place.at ^ IN_MEMORY) as usize], samples)
                .map_err(|_| SourceError::decoder());
        }
        self.files.read(place.at, bytes)?;
        xor::decode(bytes, samples).map_err(|broken| self.files.broken(place.at, &broken.to_string()))
    }
}

impl Packer {
    /// `false` if the sample is not later than the one before, and so is left out.
    fn push(&mut self, keeper: &mut Keeper, unix_ms: i64, value: f64) -> bool {
        if self.last_ms.is_some_and(|last_ms| unix_ms <= last_ms) {
            return false;
        }
        if self.encoder.is_empty() {
            self.from_ms = unix_ms;
        }
        self.encoder.push(unix_ms, value);
        self.last_ms = Some(unix_ms);
        if self.encoder.samples() == CHUNK_SAMPLES {
            self.flush(keeper);
        }
        true
    }

    /// The same, but a sample that is not later begins another chunk.
    fn push_anyhow(&mut self, keeper: &mut Keeper, unix_ms: i64, value: f64) {
        if !self.push(keeper, unix_ms, value) {
            self.flush(keeper);
            self.last_ms = None;
            self.push(keeper, unix_ms, value);
        }
    }

    fn flush(&mut self, keeper: &mut Keeper) {
        if let Some(to_ms) = self.last_ms.filter(|_| !self.encoder.is_empty()) {
            let at = keeper.keep(self.encoder.finish());
            self.places.push(Place { from_ms: self.from_ms, to_ms, at });
        }
    }

    /// All of it.
    fn finish(mut self, keeper: &mut Keeper) -> Vec<Place> {
        self.flush(keeper);
        self.places
    }
}
