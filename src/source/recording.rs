//! slowburn's own recording: what polls saw, every bound of it, small enough to attach to a postmortem or a test.
//!
//! After one line of text come frames as remote read has them: a header, then slices of time, each with its series'
//! chunks, and an end. Slices are in the order of time, so a recording of any length is read in little memory; every
//! frame has a checksum, and the end is there so that a file that was cut off is known for that.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;

use crate::config::Config;
use crate::engine::histogram::Labels;
use crate::engine::time::{Duration, Timestamp};

use super::chunks::{self, Chunk, ChunkedReadResponse, ChunkedSeries, Collector, Label, OutOfRoom};
use super::columns::Column;
use super::error::SourceError;
use super::history::{History, HistorySeries, Part, room};
use super::plan::Plan;
use super::sampler::{Grid, Lookback};
use super::series::{Bounded, Warnings};
use super::xor::Encoder;

/// The first line of every recording.
pub const MAGIC: &[u8] = b"slowburn recording 1\n";
/// The most slots of a slice: no more is lost where a file is damaged, and a chunk of more is hardly smaller.
const SLICE_SLOTS: usize = 120;
/// A frame longer than this is none: one holds a bucket's samples of one slice.
const MAX_FRAME_BYTES: usize = 16 << 20;
/// What a slice may take in memory when it is read, in bytes.
const MAX_SLICE_BYTES: usize = 256 << 20;
/// More series than this of one metric are left out, and the slice counts as partial.
const MAX_SERIES: usize = 50_000;

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    slice: Option<Slice>,
    #[prost(message, repeated, tag = "3")]
    series: Vec<ChunkedSeries>,
    #[prost(bool, tag = "4")]
    end: bool,
}

/// Always of one length, zeros aside, so that it can be written anew where a recording ends early.
#[derive(Clone, Copy, PartialEq, Message)]
struct Header {
    /// What the recording is of: slots before it only fill windows.
    #[prost(sfixed64, tag = "1")]
    from_ms: i64,
    #[prost(sfixed64, tag = "2")]
    to_ms: i64,
    #[prost(int64, tag = "3")]
    interval_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Slice {
    #[prost(int64, tag = "1")]
    from_ms: i64,
    #[prost(uint32, tag = "2")]
    slots: u32,
    #[prost(bool, tag = "3")]
    partial: bool,
    #[prost(string, repeated, tag = "4")]
    warnings: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    flawed: Vec<Flawed>,
}

/// Slots in which a series that an SLO selects could not be used.
#[derive(Clone, PartialEq, Message)]
struct Flawed {
    #[prost(string, tag = "1")]
    selector: String,
    #[prost(uint32, repeated, tag = "2")]
    slots: Vec<u32>,
}

/// A bucket's columns by the metric's name, the labels and the bits of its bound.
type Buckets<'a> = BTreeMap<(String, &'a Labels, u64), Vec<(&'a HistorySeries, usize)>>;

/// Writes a recording slice by slice.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    header: Header,
    /// The metric and the selector of each SLO.
    slos: Vec<(String, String)>,
}

impl<W: Write> Writer<W> {
    /// `from` and `to` are the slots that a replay of it is about; slices may begin earlier.
    pub fn new(mut out: W, config: &Config, from: Timestamp, to: Timestamp) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        let slos = config.spec.slos.iter().zip(&config.selectors);
        let slos = slos.map(|(slo, selector)| (selector.metric.clone(), slo.selector.clone())).collect();
        let interval_ms = config.spec.interval.ms();
        let header = Header { from_ms: from.unix_ms(), to_ms: to.unix_ms(), interval_ms };
        let mut writer = Self { out, header, slos };
        writer.header()?;
        Ok(writer)
    }

    /// Adds a slice, which begins where the one before ended, with all bounds.
    pub fn push(&mut self, history: &History) -> io::Result<()> {
        for first in (0..history.slots).step_by(SLICE_SLOTS) {
            self.piece(history, first..history.slots.min(first + SLICE_SLOTS))?;
        }
        Ok(())
    }

    fn piece(&mut self, history: &History, slots: Range<usize>) -> io::Result<()> {
        let slice = Slice {
            from_ms: history.from.unix_ms() + history.step.ms() * slots.start as i64,
            slots: slots.len() as u32,
            partial: history.partial,
            warnings: if slots.start == 0 { history.warnings.clone() } else { Vec::new() },
            flawed: self.flawed(history, &slots),
        };
        self.frame(&Frame { slice: Some(slice), ..Frame::default() })?;
        // What two SLOs select is there twice, and a series whose bounds changed once for each set of them.
        let mut buckets: Buckets = BTreeMap::new();
        for series in &history.series {
            let name = format!("{}_bucket", self.slos[series.slo].0);
            for (bucket, bound) in series.bounds.iter().enumerate() {
                let key = (name.clone(), &series.labels, bound.to_bits());
                buckets.entry(key).or_default().push((series, bucket));
            }
        }
        for ((name, own, bound), columns) in buckets {
            if let Some(chunk) = encode(history, &columns, slots.clone()) {
                let labels = labels(&name, own, f64::from_bits(bound));
                let series = vec![ChunkedSeries { labels, chunks: vec![chunk] }];
                self.frame(&Frame { series, ..Frame::default() })?;
            }
        }
        Ok(())
    }

    /// Ends the recording.
    pub fn finish(mut self) -> io::Result<W> {
        self.frame(&Frame { end: true, ..Frame::default() })?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self) -> io::Result<()> {
        self.frame(&Frame { header: Some(self.header), ..Frame::default() })
    }

    fn flawed(&self, history: &History, slots: &Range<usize>) -> Vec<Flawed> {
        let mut flawed: Vec<Flawed> = Vec::new();
        for (slot, slo) in history.flawed.iter().filter(|(slot, _)| slots.contains(slot)) {
            let (selector, slot) = (&self.slos[*slo].1, (slot - slots.start) as u32);
            match flawed.iter_mut().find(|known| known.selector == *selector) {
                Some(known) => known.slots.push(slot),
                None => flawed.push(Flawed { selector: selector.clone(), slots: vec![slot] }),
            }
        }
        flawed
    }

    fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        self.out.write_all(&chunks::frame(&frame.encode_to_vec()))
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Ends the recording after `to`, before the slot it was to end at. A whole one, only shorter.
    pub fn finish_at(mut self, to: Timestamp) -> io::Result<W> {
        self.header.to_ms = to.unix_ms();
        self.out.seek(SeekFrom::Start(MAGIC.len() as u64))?;
        self.header()?;
        self.out.seek(SeekFrom::End(0))?;
        self.finish()
    }
}

/// One bucket's samples, each at its slot, from whichever of the columns has one; `None` if there are none.
fn encode(history: &History, columns: &[(&HistorySeries, usize)], slots: Range<usize>) -> Option<Chunk> {
    let mut encoder = Encoder::default();
    let mut first_ms = None;
    for slot in slots {
        let counts = columns.iter().map(|(series, bucket)| series.counts[slot * series.bounds.len() + bucket]);
        if let Some(count) = counts.into_iter().find(|count| !count.is_nan()) {
            let unix_ms = history.from.unix_ms() + history.step.ms() * slot as i64;
            first_ms.get_or_insert(unix_ms);
            encoder.push(unix_ms, count);
        }
    }
    let (min_time_ms, max_time_ms) = (first_ms?, encoder.last_unix_ms());
    Some(Chunk { min_time_ms, max_time_ms, encoding: chunks::XOR, data: encoder.finish().into() })
}

fn labels(name: &str, own: &Labels, bound: f64) -> Vec<Label> {
    let le = if bound == f64::INFINITY { "+Inf".to_owned() } else { bound.to_string() };
    let added = [("__name__".to_owned(), name.to_owned()), ("le".to_owned(), le)];
    let mut labels: Vec<Label> = own
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(added)
        .map(|(name, value)| Label { name, value })
        .collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}

/// Reads a recording slice by slice.
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
        let mut reader = Self { path: path.to_owned(), input, at, header, plan, selectors, slice: None };
        let Frame { header: Some(header), .. } = reader.frame()? else { return Err(reader.broken("it has no header")) };
        reader.header = header;
        let interval = config.spec.interval;
        if header.interval_ms <= 0 || interval.ms() % header.interval_ms != 0 {
            let recorded = Duration::from_ms(header.interval_ms);
            let why = format!("it was recorded every {recorded}, which the interval of {interval} is no multiple of");
            return Err(reader.broken(&why));
        }
        match reader.frame()? {
            Frame { slice: Some(slice), .. } => reader.slice = Some(slice),
            Frame { end: true, .. } => {}
            _ => return Err(reader.broken("a slice of time was expected")),
        }
        Ok(reader)
    }

    /// The slots that it is about.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (Timestamp::from_unix_ms(self.header.from_ms), Timestamp::from_unix_ms(self.header.to_ms))
    }

    /// The slots of the next slice that are multiples of `step` and within `[from, to]`; `None` at the end.
    pub fn next(&mut self, from: Timestamp, to: Timestamp, step: Duration) -> Result<Option<History>, SourceError> {
        let Some(slice) = self.slice.take() else { return Ok(None) };
        let recorded = Duration::from_ms(self.header.interval_ms);
        let start = Timestamp::from_unix_ms(slice.from_ms);
        let last = start + Duration::from_ms(recorded.ms() * (i64::from(slice.slots) - 1));
        let first = start.max(from).align_up(step);
        let slots = last.min(to).align_down(step).slot_number(step) - first.slot_number(step) + 1;
        let grid = Grid { from: first, step, slots: slots.max(0) as usize };
        // A sample is what was seen at its slot, and says nothing of any other.
        let lookback = Lookback { length: recorded, closed: false };
        let mut collector = Collector::new(grid, lookback, room(MAX_SLICE_BYTES));
        loop {
            let frame = self.frame()?;
            if !frame.series.is_empty() {
                let message = ChunkedReadResponse { chunked_series: frame.series, query_index: 0 };
                collector.take(message).map_err(|refused| self.broken(&format!("{refused:?}")))?;
            }
            if frame.end || frame.slice.is_some() {
                self.slice = frame.slice;
                break;
            }
        }
        let answer = collector.finish().map_err(|OutOfRoom| self.broken("a slice is too large"))?;
        self.put(answer, &slice, grid).map(Some)
    }

    fn put(&self, answer: chunks::Answer, slice: &Slice, grid: Grid) -> Result<History, SourceError> {
        let mut series: Vec<Bounded<Labels, Vec<Column>>> =
            self.plan.requests.iter().map(|_| Bounded::new(MAX_SERIES)).collect();
        for chunks::Read { name, labels, bound, run } in answer.series {
            let request = name.strip_suffix("_bucket").and_then(|metric| self.plan.position(metric));
            if let Some(columns) = request.and_then(|request| series[request].entry(labels)) {
                columns.push(Column { bound, run });
            }
        }
        let mut parts = Vec::new();
        for (request, series) in self.plan.requests.iter().zip(series) {
            parts.push(Part::default().fill(request, series, |labels| labels, grid.slots, MAX_SLICE_BYTES)?);
        }
        let mut warnings = Warnings::default();
        slice.warnings.iter().for_each(|warning| warnings.push(warning));
        let flawed = self.flawed(slice, grid);
        parts.push(Part { partial: slice.partial, warnings, flawed, ..Part::default() });
        Ok(History::empty(grid.from, grid.step, grid.slots).with(parts))
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
            return Err(self.broken_at(start, "a frame is impossibly long"));
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        if crc32c::crc32c(&body).to_be_bytes() != checksum {
            return Err(self.broken_at(start, "a frame's checksum is wrong"));
        }
        Frame::decode(Bytes::from(body)).map_err(|error| self.broken_at(start, &error.to_string()))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], SourceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SourceError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.broken("the file ends before the recording does"),
            _ => self.broken(&error.to_string()),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn broken(&self, why: &str) -> SourceError {
        self.broken_at(self.at, why)
    }

    fn broken_at(&self, at: u64, why: &str) -> SourceError {
        let (file, place) = (self.path.display().to_string(), format!("byte {at}"));
        SourceError::File { file, place, why: why.to_owned() }
    }
}
