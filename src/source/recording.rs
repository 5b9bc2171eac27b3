//! slowburn's own recording: what polls saw, every bound of it, small enough to attach to a postmortem or a test.
//!
//! After one line of text come frames as remote read has them: a header, then slices of time, each with its series'
//! chunks, and an end. Slices are in the order of time, so a recording of any length is read in little memory; every
//! frame has a checksum, and the end is there so that a file that was cut off is known for that.

mod reader;

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

use prost::Message;

use crate::config::Config;
use crate::engine::histogram::Labels;
use crate::engine::time::Timestamp;

use super::chunks::{self, Chunk, ChunkedSeries, Label};
use super::history::{History, HistorySeries};
use super::xor::Encoder;

pub use self::reader::Reader;

/// The first line of every recording.
pub const MAGIC: &[u8] = b"slowburn recording 1\n";
/// The most slots of a slice: no more is lost where a file is damaged, and a chunk of more is hardly smaller.
const SLICE_SLOTS: usize = 120;

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
        let counts = columns.iter().map(|(series, bucket)| series.counts.count(slot, *bucket));
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
