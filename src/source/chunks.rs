//! Series as chunks in frames: what remote read streams, and what a recording holds on disk.
//!
//! A frame is its length, a checksum and a message with some series' chunks; a series too long for one frame goes on in
//! the next. Nothing here trusts the bytes: whatever is cut or damaged is an error, never a made-up sample.
//!
//! Source: Prometheus' `prompb/types.proto` and `remote.proto`, and `storage/remote/chunked.go` for the frames.

mod frames;

use std::collections::BTreeSet;

use prost::Message;
use prost::bytes::Bytes;
use thiserror::Error;

use crate::engine::histogram::Labels;

use super::sampler::{Grid, Lookback, Run, Sampler};
use super::series::Named;
use super::xor::{self, Samples};

pub(super) use self::frames::{Frames, frame};

/// The encoding of chunks that hold floats.
pub(super) const XOR: i32 = 1;
/// Those of native histograms, of whole counts and of broken ones. Any other is of a server that is newer.
const NATIVE: [i32; 2] = [2, 3];

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Chunk {
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    #[prost(int32, tag = "3")]
    pub encoding: i32,
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

/// One bucket of a series, as it came: less than it is in slots, a third of that if counts have fractions.
#[derive(Debug)]
pub(super) struct Packed {
    /// Without `__name__` and `le`.
    pub labels: Labels,
    /// The upper bound in seconds; NaN if there is no number.
    pub bound: f64,
    pub chunks: Vec<Chunk>,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// In the order of arrival; a series that two queries find comes once.
    pub series: Vec<Packed>,
    /// Some chunks held native histograms and were left out.
    pub native: bool,
}

impl Answer {
    /// When its first chunk begins, in milliseconds since the epoch.
    pub fn first_ms(&self) -> Option<i64> {
        self.series.iter().flat_map(|series| &series.chunks).map(|chunk| chunk.min_time_ms).min()
    }
}

/// Reads series out of messages, one after the other.
pub(super) struct Collector {
    /// How many more bytes may be kept.
    room: usize,
    open: Option<(i64, Vec<Label>, Vec<Chunk>)>,
    /// Each with all its labels.
    closed: Vec<(Vec<Label>, Vec<Chunk>)>,
    native: bool,
}

/// More than may be kept.
#[derive(Debug, PartialEq)]
pub(super) struct OutOfRoom;

impl Collector {
    /// `room` is how many bytes may be kept.
    pub fn new(room: usize) -> Self {
        Self { room, open: None, closed: Vec::new(), native: false }
    }

    pub fn take(&mut self, message: ChunkedReadResponse) -> Result<(), OutOfRoom> {
        for series in message.chunked_series {
            let goes_on = self
                .open
                .as_ref()
                .is_some_and(|(query, labels, _)| *query == message.query_index && *labels == series.labels);
            if !goes_on {
                self.close();
                self.open = Some((message.query_index, series.labels, Vec::new()));
            }
            let Some((_, _, chunks)) = &mut self.open else { continue };
            let mut more = series.chunks;
            let came = more.len();
            more.retain(|chunk| !NATIVE.contains(&chunk.encoding));
            self.native |= more.len() < came;
            let bytes = more.iter().map(|chunk| chunk.data.len() + size_of::<Chunk>()).sum();
            self.room = self.room.checked_sub(bytes).ok_or(OutOfRoom)?;
            // Nearly always a frame has all of a series.
            match chunks.is_empty() {
                true => *chunks = more,
                false => chunks.append(&mut more),
            }
        }
        Ok(())
    }

    /// Goes on with what another one read.
    pub fn join(&mut self, mut other: Self) {
        self.close();
        other.close();
        self.closed.append(&mut other.closed);
        self.native |= other.native;
    }

    pub fn finish(mut self) -> Answer {
        self.close();
        let mut seen = BTreeSet::new();
        let mut answer = Answer { series: Vec::new(), native: self.native };
        for (labels, chunks) in self.closed {
            let labels: Vec<(String, String)> = labels.into_iter().map(|label| (label.name, label.value)).collect();
            if seen.insert(labels.clone()) {
                let Named { own: labels, le, .. } = Named::from(labels.into_iter().collect::<Labels>());
                let bound = le.parse().unwrap_or(f64::NAN);
                answer.series.push(Packed { labels, bound, chunks });
            }
        }
        answer
    }

    fn close(&mut self) {
        if let Some((_, labels, chunks)) = self.open.take().filter(|(.., chunks)| !chunks.is_empty()) {
            self.closed.push((labels, chunks));
        }
    }
}

/// Chunks of a series that reach into a piece, give or take some.
const USUAL_CHUNKS: usize = 64;

/// Why chunks cannot be put into slots.
#[derive(Debug, PartialEq, Error)]
pub(super) enum Unusable {
    #[error("{0}")]
    Broken(xor::Broken),
    #[error("there are chunks in encoding {0}, which are not read here")]
    Encoding(i32),
}

/// Puts the chunks that reach into the slots, or to where these look back, into slots; `samples` is for those of one.
/// Chunks may come in any order, and overlap.
pub(super) fn sample<'a>(
    chunks: impl IntoIterator<Item = &'a Chunk>,
    grid: Grid,
    lookback: Lookback,
    samples: &mut Samples,
) -> Result<Run, Unusable> {
    let (from_ms, to_ms) = ((grid.from - lookback.length).unix_ms(), grid.last().unix_ms());
    let mut sampler = Sampler::new(grid, lookback);
    let reaches = |chunk: &&Chunk| chunk.max_time_ms >= from_ms && chunk.min_time_ms <= to_ms;
    let all = chunks.into_iter();
    let mut chunks = Vec::with_capacity(all.size_hint().0.min(USUAL_CHUNKS));
    chunks.extend(all.filter(reaches));
    // Nearly always they are.
    if !chunks.is_sorted_by_key(|chunk| chunk.min_time_ms) {
        chunks.sort_by_key(|chunk| chunk.min_time_ms);
    }
    let spans = chunks.iter().map(|chunk| (chunk.min_time_ms, chunk.max_time_ms, *chunk));
    merged(spans, samples, decode, |samples| sampler.push_all(samples))?;
    Ok(sampler.finish())
}

fn decode(chunk: &Chunk, samples: &mut Samples) -> Result<(), Unusable> {
    if chunk.encoding != XOR {
        return Err(Unusable::Encoding(chunk.encoding));
    }
    xor::decode(&chunk.data, samples).map_err(Unusable::Broken)
}

/// Decodes chunks, each with the first and the last millisecond it reaches, by their beginnings, and hands out their
/// samples in the order of time: chunks that overlap hold samples that belong between one another.
pub(super) fn merged<C, E>(
    chunks: impl IntoIterator<Item = (i64, i64, C)>,
    samples: &mut Samples,
    mut decode: impl FnMut(C, &mut Samples) -> Result<(), E>,
    mut each: impl FnMut(&mut Samples),
) -> Result<(), E> {
    let mut chunks = chunks.into_iter().peekable();
    while let Some((_, mut end_ms, chunk)) = chunks.next() {
        samples.clear();
        decode(chunk, samples)?;
        let mut overlap = false;
        while let Some((_, to_ms, chunk)) = chunks.next_if(|(from_ms, ..)| *from_ms <= end_ms) {
            (overlap, end_ms) = (true, end_ms.max(to_ms));
            decode(chunk, samples)?;
        }
        if overlap {
            let mut sorted: Vec<(i64, f64)> = samples.iter().collect();
            sorted.sort_by_key(|(at, _)| *at);
            sorted.dedup_by_key(|(at, _)| *at);
            (samples.unix_ms, samples.values) = sorted.into_iter().unzip();
        }
        each(samples);
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::time::{Duration, Timestamp};
    use crate::source::xor::tests::encode;

    pub(in crate::source) fn frame(message: &ChunkedReadResponse) -> Vec<u8> {
        super::frame(&message.encode_to_vec())
    }

    pub(in crate::source) fn series(
        query: i64,
        labels: &[(&str, &str)],
        samples: &[(i64, f64)],
    ) -> ChunkedReadResponse {
        let label = |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
        let chunk = Chunk {
            min_time_ms: samples[0].0,
            max_time_ms: samples[samples.len() - 1].0,
            encoding: XOR,
            data: encode(samples).into(),
        };
        let series = ChunkedSeries { labels: labels.iter().map(label).collect(), chunks: vec![chunk] };
        ChunkedReadResponse { chunked_series: vec![series], query_index: query }
    }

    const GRID: Grid = Grid { from: Timestamp::from_unix_s(0), step: Duration::from_secs(60), slots: 5 };

    const A: [(&str, &str); 3] = [("__name__", "m_bucket"), ("a", "x"), ("le", "0.1")];
    const B: [(&str, &str); 3] = [("__name__", "m_bucket"), ("a", "y"), ("le", "+Inf")];

    #[test]
    fn series_go_on_over_frames_and_count_once() {
        let mut bytes = Vec::new();
        for message in [
            series(0, &A, &[(0, 1.0), (60_000, 2.0)]),
            series(0, &A, &[(120_000, 3.0)]),
            series(0, &B, &[(60_000, 7.0)]),
            series(1, &B, &[(60_000, 7.0)]),
        ] {
            bytes.extend(frame(&message));
        }
        // However the stream is cut into pieces.
        for piece_bytes in [1, 7, bytes.len()] {
            let (mut collector, mut frames) = (Collector::new(1_000), Frames::default());
            let mut take = |message| {
                collector.take(message).unwrap();
                Ok(())
            };
            bytes.chunks(piece_bytes).for_each(|piece| frames.push(piece, &mut take).unwrap());
            frames.finish(&mut take).unwrap();
            check(collector.finish());
        }
    }

    fn check(answer: Answer) {
        let found = answer.series.iter().map(|Packed { labels, bound, chunks }| {
            let run = sample(chunks, GRID, Lookback::default(), &mut Samples::default()).unwrap();
            (labels["a"].as_str(), *bound, run.points().collect::<Vec<_>>())
        });
        let found: Vec<_> = found.collect();
        let a = vec![(0, 1.0), (1, 2.0), (2, 3.0), (3, 3.0), (4, 3.0)];
        let b = vec![(1, 7.0), (2, 7.0), (3, 7.0), (4, 7.0)];
        assert_eq!(found, [("x", 0.1, a), ("y", f64::INFINITY, b)]);
        assert!(!answer.native);
    }

    #[test]
    fn a_damaged_chunk_and_too_many_are_told() {
        let mut message = series(0, &A, &[(0, 1.0), (60_000, 2.0)]);
        message.chunked_series[0].chunks[0].data.truncate(12);
        let chunks = &message.chunked_series[0].chunks;
        assert!(sample(chunks, GRID, Lookback::default(), &mut Samples::default()).is_err());
        assert_eq!(Collector::new(size_of::<Chunk>()).take(message), Err(OutOfRoom));
    }

    #[test]
    fn only_chunks_that_reach_into_the_slots_are_decoded() {
        let mut chunks = Vec::new();
        // Samples every minute, ten a chunk; those of the grid are in the fourth, and it looks back into the third.
        for first in (0..80).step_by(10) {
            let samples: Vec<(i64, f64)> = (first..first + 10).map(|at| (at * 60_000, at as f64)).collect();
            chunks.extend(series(0, &A, &samples).chunked_series.remove(0).chunks);
        }
        let grid = Grid { from: Timestamp::from_unix_s(33 * 60), ..GRID };
        let found = |chunks: &[Chunk]| {
            let run = sample(chunks, grid, Lookback::default(), &mut Samples::default());
            run.map(|run| run.points().collect::<Vec<_>>())
        };
        let expected: Vec<(u32, f64)> = (0..5).map(|slot| (slot, 33.0 + f64::from(slot))).collect();
        assert_eq!(found(&chunks).unwrap(), expected);
        for (place, is_needed) in [(1, false), (2, true), (3, true), (4, false)] {
            let mut damaged = chunks.clone();
            damaged[place].data.truncate(12);
            assert_eq!(found(&damaged).is_err(), is_needed, "chunk {place}");
        }
    }

    #[test]
    fn native_histograms_are_noticed_and_left_out() {
        let answer = |encoding| {
            let mut message = series(0, &A, &[(0, 1.0)]);
            message.chunked_series[0].chunks[0].encoding = encoding;
            let mut collector = Collector::new(1_000);
            collector.take(message).unwrap();
            collector.finish()
        };
        for encoding in [2, 3] {
            let answer = answer(encoding);
            assert!(answer.native && answer.series.is_empty());
        }
        // What nobody knows may be anything.
        for encoding in [0, 4, 99] {
            let answer = answer(encoding);
            let run = sample(&answer.series[0].chunks, GRID, Lookback::default(), &mut Samples::default());
            assert_eq!((answer.native, run.unwrap_err()), (false, Unusable::Encoding(encoding)));
        }
    }

    #[test]
    fn chunks_may_overlap_and_come_in_any_order() {
        let chunk = |samples: &[(i64, f64)]| series(0, &A, samples).chunked_series.remove(0).chunks.remove(0);
        let chunks = [
            chunk(&[(0, 1.0), (120_000, 3.0)]),
            chunk(&[(60_000, 2.0), (120_000, 3.0)]),
            chunk(&[(180_000, 4.0), (240_000, 5.0)]),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let chunks = order.map(|place| chunks[place].clone());
            let run = sample(&chunks, GRID, Lookback::default(), &mut Samples::default()).unwrap();
            let expected: Vec<(u32, f64)> = (0..5).map(|slot| (slot, f64::from(slot) + 1.0)).collect();
            assert_eq!(run.points().collect::<Vec<_>>(), expected, "{order:?}");
        }
    }
}
