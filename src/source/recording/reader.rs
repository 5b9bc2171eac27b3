//! Reading a recording: its slices, as many at once as are worth the engine's while.
//!
//! A slice counts once it was read whole. Chunks are kept as they are until it is known which bounds the budgets need; the
//! others are not decoded.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;

use crate::config::Config;
use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};
use crate::source::chunks::{self, Chunk, Label};
use crate::source::columns::Column;
use crate::source::error::SourceError;
use crate::source::history::{Detail, History, Part, TIMES_MS};
use crate::source::needed::needed;
use crate::source::plan::Plan;
use crate::source::sampler::{Grid, Lookback, Run};
use crate::source::series::{Bounded, MAX_SERIES, Named, Warnings};
use crate::source::xor::Samples;

use super::{Header, MAGIC, Slice};

/// A frame longer than this is none: one holds a bucket's samples of one slice.
const MAX_FRAME_BYTES: usize = 16 << 20;
/// A slice of more slots than this is none.
const MAX_SLICE_SLOTS: u32 = 1 << 16;
/// What slices that are read at once may take in memory, in bytes.
const MAX_SLICES_BYTES: usize = 256 << 20;
/// Slices are read together until they hold so many samples: what they become stays in a processor's cache.
const SAMPLES_AT_ONCE: usize = 1 << 19;

/// As it is written, but its series are looked into later.
#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    slice: Option<Slice>,
    #[prost(message, repeated, tag = "3")]
    series: Vec<Series>,
    #[prost(bool, tag = "4")]
    end: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    /// Each a [`Label`].
    #[prost(bytes = "bytes", repeated, tag = "1")]
    labels: Vec<Bytes>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

/// Reads a recording from its beginning to its end.
pub struct Reader {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    /// Bytes read so far.
    at: u64,
    header: Header,
    plan: Arc<Plan>,
    /// Of each SLO.
    selectors: Vec<String>,
    /// The slice whose mark was read.
    slice: Option<Slice>,
    /// Where that one, or the one before, ends.
    end_ms: i64,
    /// Why nothing more can be read; told once what stands before is handed over.
    broken: Option<SourceError>,
}

/// Slices that follow one another.
#[derive(Default)]
struct Slices {
    marks: Vec<Slice>,
    chunks: BTreeMap<Vec<Bytes>, Vec<Chunk>>,
    samples: usize,
    bytes: usize,
}

/// One bucket and its chunks.
struct Bucket {
    bound: f64,
    chunks: Vec<Chunk>,
}

impl Slices {
    /// Where they end, in milliseconds.
    fn end_ms(&self, interval_ms: i64) -> Option<i64> {
        self.marks.last().map(|slice| slice.from_ms + interval_ms * i64::from(slice.slots))
    }

    fn add(&mut self, mark: Slice, series: Vec<Series>) {
        self.marks.push(mark);
        for Series { labels, chunks } in series {
            for chunk in &chunks {
                let promised = chunk.data.first_chunk().map_or(0, |promised| u16::from_be_bytes(*promised));
                self.samples += usize::from(promised);
                self.bytes += chunk.data.len() + size_of::<Chunk>();
            }
            self.chunks.entry(labels).or_default().extend(chunks);
        }
    }
}

impl Reader {
    /// `input` stands behind [`MAGIC`].
    pub fn new(
        path: &Path,
        input: Box<dyn Read + Send>,
        config: &Config,
        plan: Arc<Plan>,
    ) -> Result<Self, SourceError> {
        let selectors = config.spec.slos.iter().map(|slo| slo.selector.clone()).collect();
        let at = MAGIC.len() as u64;
        let header = Header { from_ms: 0, to_ms: 0, interval_ms: 0 };
        let mut reader = Self {
            path: path.to_owned(),
            input,
            at,
            header,
            plan,
            selectors,
            slice: None,
            end_ms: i64::MIN,
            broken: None,
        };
        let Frame { header: Some(header), .. } = reader.frame()? else { return Err(reader.fault("it has no header")) };
        reader.header = header;
        if header.from_ms > header.to_ms || [header.from_ms, header.to_ms].iter().any(|at| !TIMES_MS.contains(at)) {
            return Err(reader.fault("its times are not between 1970 and 2200, from the first to the last"));
        }
        let interval = config.spec.interval;
        if header.interval_ms <= 0 || interval.ms() % header.interval_ms != 0 {
            let recorded = Duration::from_ms(header.interval_ms);
            let why = format!("it was recorded every {recorded}, which the interval of {interval} is no multiple of");
            return Err(reader.fault(&why));
        }
        match reader.frame()? {
            Frame { slice: Some(slice), .. } => reader.slice = Some(reader.checked(slice)?),
            Frame { end: true, .. } => reader.broken = reader.rest().err(),
            _ => return Err(reader.fault("a slice of time was expected")),
        }
        Ok(reader)
    }

    /// The slots that it is about.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (Timestamp::from_unix_ms(self.header.from_ms), Timestamp::from_unix_ms(self.header.to_ms))
    }

    /// The slots of the next slices that are multiples of `step` and within `[from, to]`; `None` at the end.
    pub fn next(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
        detail: Detail,
    ) -> Result<Option<History>, SourceError> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let mut slices = Slices::default();
        // What comes after the range is not even looked at.
        let is_next = |mark: &mut Slice, slices: &Slices, interval_ms: i64| {
            mark.from_ms <= to.unix_ms() && goes_on(slices, mark, interval_ms)
        };
        while let Some(mark) = self.slice.take_if(|mark| is_next(mark, &slices, self.header.interval_ms)) {
            match self.series() {
                Ok(series) if self.grid(&mark, &mark, (from, to), step).slots > 0 => slices.add(mark, series),
                // Nobody asks for it.
                Ok(_) if slices.marks.is_empty() => {}
                Ok(_) => break,
                Err(broken) if slices.marks.is_empty() => return Err(broken),
                Err(broken) => self.broken = Some(broken),
            }
            if slices.bytes > MAX_SLICES_BYTES {
                return Err(self.fault("a slice is too large"));
            }
        }
        let (Some(first), Some(last)) = (slices.marks.first(), slices.marks.last()) else { return Ok(None) };
        let grid = self.grid(first, last, (from, to), step);
        self.put(slices, grid, detail).map(Some)
    }

    /// What is asked for of the slices from `first` to `last`.
    fn grid(&self, first: &Slice, last: &Slice, (from, to): (Timestamp, Timestamp), step: Duration) -> Grid {
        let slots = i64::from(last.slots) - 1;
        let start = Timestamp::from_unix_ms(first.from_ms).max(from).align_up(step);
        let end = Timestamp::from_unix_ms(last.from_ms + self.header.interval_ms * slots).min(to).align_down(step);
        let slots = end.slot_number(step) - start.slot_number(step) + 1;
        Grid { from: start, step, slots: slots.max(0) as usize }
    }

    /// The series of the slice whose mark was read, up to the next mark or the end.
    fn series(&mut self) -> Result<Vec<Series>, SourceError> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        loop {
            let begin = self.at;
            let frame = self.frame()?;
            bytes += (self.at - begin) as usize;
            if bytes > MAX_SLICES_BYTES {
                return Err(self.fault("a slice is too large"));
            }
            all.extend(frame.series);
            if frame.end {
                self.broken = self.rest().err();
                return Ok(all);
            }
            if let Some(slice) = frame.slice {
                match self.checked(slice) {
                    Ok(slice) => self.slice = Some(slice),
                    Err(broken) => self.broken = Some(broken),
                }
                return Ok(all);
            }
        }
    }

    fn checked(&mut self, slice: Slice) -> Result<Slice, SourceError> {
        // What fills windows lies before the times that it is about.
        if slice.from_ms.unsigned_abs() >= TIMES_MS.end.unsigned_abs() || slice.slots > MAX_SLICE_SLOTS {
            return Err(self.fault("a slice of time is impossibly long or far"));
        }
        if slice.from_ms < self.end_ms {
            return Err(self.fault("a slice of time begins before the one before it ends"));
        }
        self.end_ms = slice.from_ms + self.header.interval_ms * i64::from(slice.slots);
        Ok(slice)
    }

    /// Nothing may follow the end.
    fn rest(&mut self) -> Result<(), SourceError> {
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.fault("more follows the recording's end: keep one recording in a file")),
            Err(error) => Err(self.fault(&error.to_string())),
        }
    }

    fn put(&self, slices: Slices, grid: Grid, detail: Detail) -> Result<History, SourceError> {
        let mut series: Vec<Bounded<Labels, Vec<Bucket>>> =
            self.plan.requests.iter().map(|_| Bounded::new(MAX_SERIES)).collect();
        for (labels, chunks) in slices.chunks {
            let (name, labels, bound) = self.labels(&labels)?;
            let request = name.strip_suffix("_bucket").and_then(|metric| self.plan.position(metric));
            if let Some(buckets) = request.and_then(|request| series[request].entry(labels)) {
                buckets.push(Bucket { bound, chunks });
            }
        }
        let mut parts = Vec::new();
        for (request, series) in series.into_iter().enumerate() {
            parts.push(self.part(request, series, grid, detail)?);
        }
        let mut warnings = Warnings::default();
        slices.marks.iter().flat_map(|slice| &slice.warnings).for_each(|warning| warnings.push(warning));
        let partial = slices.marks.iter().any(|slice| slice.partial);
        let flawed = slices.marks.iter().flat_map(|slice| self.flawed(slice, grid)).collect();
        parts.push(Part { partial, warnings, flawed, ..Part::default() });
        Ok(History::empty(grid.from, grid.step, grid.slots).with(parts))
    }

    /// One metric's share.
    fn part(
        &self,
        request: usize,
        series: Bounded<Labels, Vec<Bucket>>,
        grid: Grid,
        detail: Detail,
    ) -> Result<Part, SourceError> {
        let (limit, overflowed) = (series.limit, series.overflowed);
        let series = series.into_series();
        let wanted = |labels: &Labels| -> Vec<f64> {
            let slos = self.plan.requests[request].assign(labels).into_iter();
            let bounds = series[labels].iter().map(|bucket| bucket.bound);
            needed(bounds, slos.map(|slo| self.plan.budgets_s[slo]))
        };
        let read = |detail: Detail| -> Result<Part, SourceError> {
            let request = &self.plan.requests[request];
            let mut part = Part::default();
            if overflowed {
                part.overflow(request, limit);
            }
            let mut filling = part.filling(request, grid.slots, MAX_SLICES_BYTES);
            let mut samples = Samples::default();
            for (labels, buckets) in &series {
                let wanted = (detail == Detail::Counts).then(|| wanted(labels));
                let is_wanted = |bucket: &&Bucket| wanted.as_ref().is_none_or(|wanted| wanted.contains(&bucket.bound));
                let mut columns = Vec::new();
                for bucket in buckets.iter().filter(is_wanted) {
                    let run = self.sample(&bucket.chunks, grid, &mut samples)?;
                    columns.push(Column { bound: bucket.bound, run });
                }
                filling.add(labels, columns)?;
            }
            Ok(filling.finish())
        };
        let part = read(detail)?;
        let is_whole = |labels: &Labels, bounds: &[f64]| wanted(labels).iter().all(|bound| bounds.contains(bound));
        let is_met = detail == Detail::Buckets
            || !part.changes && part.series.iter().all(|series| is_whole(&series.labels, &series.bounds));
        if is_met { Ok(part) } else { read(Detail::Buckets) }
    }

    fn sample(&self, chunks: &[Chunk], grid: Grid, samples: &mut Samples) -> Result<Run, SourceError> {
        // A sample is what was seen at its slot, and says nothing of any other.
        let lookback = Lookback { length: Duration::from_ms(self.header.interval_ms), closed: false };
        chunks::sample(chunks, grid, lookback, samples).map_err(|broken| self.fault(&broken.to_string()))
    }

    /// The metric's name with `_bucket`, the labels without it and `le`, and the upper bound in seconds.
    fn labels(&self, labels: &[Bytes]) -> Result<(String, Labels, f64), SourceError> {
        let mut all = Labels::new();
        for label in labels {
            let Label { name, value } = Label::decode(label.clone()).map_err(|error| self.fault(&error.to_string()))?;
            all.insert(name, value);
        }
        let Named { name, le, own } = Named::from(all);
        Ok((name, own, le.parse().unwrap_or(f64::NAN)))
    }

    fn flawed(&self, slice: &Slice, grid: Grid) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for flawed in &slice.flawed {
            for slo in (0..self.selectors.len()).filter(|slo| self.selectors[*slo] == flawed.selector) {
                let unix_ms = |slot: &u32| slice.from_ms + self.header.interval_ms * i64::from(*slot);
                let slots = flawed.slots.iter().filter_map(|slot| grid.slot(unix_ms(slot) as f64 / 1000.0));
                found.extend(slots.map(|slot| (slot as usize, slo)));
            }
        }
        found
    }

    fn frame(&mut self) -> Result<Frame, SourceError> {
        let start = self.at;
        let mut length = 0usize;
        for shift in (0..32).step_by(7) {
            let [byte] = self.bytes::<1>()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let checksum = self.bytes::<4>()?;
        if length > MAX_FRAME_BYTES {
            return Err(self.fault_at(start, "a frame is impossibly long"));
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        if crc32c::crc32c(&body).to_be_bytes() != checksum {
            return Err(self.fault_at(start, "a frame's checksum is wrong"));
        }
        Frame::decode(Bytes::from(body)).map_err(|error| self.fault_at(start, &error.to_string()))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], SourceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SourceError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.fault("the file ends before the recording does"),
            _ => self.fault(&error.to_string()),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn fault(&self, why: &str) -> SourceError {
        self.fault_at(self.at, why)
    }

    fn fault_at(&self, at: u64, why: &str) -> SourceError {
        let (file, place) = (self.path.display().to_string(), format!("byte {at}"));
        SourceError::File { file, place, why: why.to_owned() }
    }
}

/// Whether the slice with this mark can be read together with those.
fn goes_on(slices: &Slices, mark: &Slice, interval_ms: i64) -> bool {
    let Some(last) = slices.marks.last() else { return true };
    slices.samples < SAMPLES_AT_ONCE && slices.end_ms(interval_ms) == Some(mark.from_ms) && last.partial == mark.partial
}
