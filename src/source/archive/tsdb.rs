//! A Prometheus data or snapshot directory, read without a server: the blocks, their deletions, blocks that overlap, and
//! the write-ahead log, which holds the hours that are in no block yet. The server may be running meanwhile.
//!
//! Source: Prometheus' `tsdb/docs/format`: `index.md`, `chunks.md`, `tombstones.md`, `wal.md`.

mod head;

mod index;

mod record;

mod wal;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::engine::histogram::Labels;
use crate::source::error::SourceError;
use crate::source::plan::{MetricRequest, Plan};
use crate::source::series::Named;

use self::index::{Cursor, Index};
use self::wal::Log;
use super::{Archive, Place, Stored};

const CHUNKS_MAGIC: u32 = 0x85bd_40dd;
const TOMBSTONES_MAGIC: u32 = 0x0130_ba30;
/// What stands before a chunk's bytes, at most: their number and the encoding.
const CHUNK_HEAD_BYTES: usize = 6;
/// A chunk's bytes are read in one go that nearly always holds all of it.
const READ_BYTES: usize = 1024;
const MAX_CHUNK_BYTES: usize = 1 << 20;
const XOR: u8 = 1;
/// The encodings of native histograms, of whole counts and of broken ones.
const NATIVE: [u8; 2] = [2, 3];
/// How often the blocks are listed anew, because a running server compacted one of them meanwhile.
const ATTEMPTS: usize = 5;
/// What a block says that it was made of, if there may be newer samples in the write-ahead log than its newest.
const NOT_IN_ORDER: [&str; 2] = ["from-out-of-order", "from-stale-series"];
/// A chunk's place holds the segment above these bits and the offset in it below.
const OFFSET_BITS: u32 = 32;

/// The files that hold the chunks of all blocks.
#[derive(Debug, Default)]
pub(super) struct Segments {
    files: Vec<(PathBuf, File)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    ulid: String,
    min_time: i64,
    /// Not included.
    max_time: i64,
    #[serde(default)]
    compaction: Compaction,
}

#[derive(Default, Deserialize)]
struct Compaction {
    #[serde(default)]
    parents: Vec<Parent>,
    #[serde(default)]
    hints: Vec<String>,
}

#[derive(Deserialize)]
struct Parent {
    ulid: String,
}

/// Finds all that `plan` asks for in `folder`.
pub(in crate::source) fn open(folder: &Path, plan: Arc<Plan>) -> Result<Archive, SourceError> {
    if folder.is_file() {
        let why = "it is a file, and a Prometheus directory is expected; did you mean --recording?";
        return Err(SourceError::Unreadable { file: folder.display().to_string(), why: why.to_owned() });
    }
    // Before the blocks: what a running server moves into one meanwhile is seen twice, which does no harm.
    let (log, late) = (Log::open(&folder.join("wal"))?, Log::open_late(&folder.join("wbl"))?);
    let mut attempt = 1;
    let (mut archive, oldest_ms) = loop {
        match read_blocks(folder, &plan, log.is_empty())? {
            Some(read) => break read,
            None if attempt == ATTEMPTS => {
                return Err(fault(folder, "its blocks", "they vanish while they are read; read a snapshot instead"));
            }
            None => attempt += 1,
        }
    };
    head::read(log, late, oldest_ms, &mut archive);
    archive.sort();
    archive.refuse_native()?;
    Ok(archive)
}

/// What is in the blocks, and where that which is not begins; `None` if a block vanished meanwhile.
fn read_blocks(folder: &Path, plan: &Arc<Plan>, needed: bool) -> Result<Option<(Archive, i64)>, SourceError> {
    let Listed { mut blocks, without_meta } = blocks(folder)?;
    if without_meta.iter().any(|(path, _)| !path.exists()) {
        return Ok(None);
    }
    if blocks.is_empty() && without_meta.is_empty() && needed {
        return Err(SourceError::Unreadable { file: folder.display().to_string(), why: what_else(folder).to_owned() });
    }
    // What was compacted into another block may not be gone yet.
    let parents: BTreeSet<String> =
        blocks.iter().flat_map(|(_, meta)| &meta.compaction.parents).map(|parent| parent.ulid.clone()).collect();
    blocks.retain(|(_, meta)| !parents.contains(&meta.ulid));
    let mut reading = Reading { archive: Archive::new(Arc::clone(plan)), segments: Segments::default() };
    without_meta.into_iter().for_each(|(_, error)| reading.archive.misses(error));
    for (path, meta) in &blocks {
        match reading.block(path) {
            Ok(()) => {}
            Err(_) if !path.exists() => return Ok(None),
            Err(error) => reading.archive.breaks(meta.min_time, error),
        }
    }
    let Reading { mut archive, segments } = reading;
    archive.keeper.files = segments;
    let in_order =
        blocks.iter().filter(|(_, meta)| !meta.compaction.hints.iter().any(|hint| NOT_IN_ORDER.contains(&&**hint)));
    let oldest_ms = in_order.map(|(_, meta)| meta.max_time).max().unwrap_or(i64::MIN);
    Ok(Some((archive, oldest_ms)))
}

/// What there is of blocks.
struct Listed {
    /// By name, which is by time of making.
    blocks: Vec<(PathBuf, Meta)>,
    /// Those of which nobody knows what they hold, and why.
    without_meta: Vec<(PathBuf, SourceError)>,
}

/// Whatever is not called like a block is none: the server leaves some folders behind that it did not finish.
fn blocks(folder: &Path) -> Result<Listed, SourceError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| unreadable(folder, &error))?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(|path| is_block(path)).collect();
    paths.sort();
    let mut listed = Listed { blocks: Vec::new(), without_meta: Vec::new() };
    for path in paths {
        let file = path.join("meta.json");
        let left_out = |why: String| {
            let why = format!("{why}; what this block holds is missing");
            fault(&file, "its beginning", &why)
        };
        match fs::read(&file) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(meta) => listed.blocks.push((path, meta)),
                Err(error) => listed.without_meta.push((path, left_out(error.to_string()))),
            },
            Err(error) => listed.without_meta.push((path, left_out(error.to_string()))),
        }
    }
    Ok(listed)
}

/// Whether a folder is called as only blocks are: by a ULID.
fn is_block(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_digit = |c: u8| c.is_ascii_alphanumeric() && !b"ILOU".contains(&c.to_ascii_uppercase());
    name.len() == 26 && name.bytes().all(is_digit) && path.is_dir()
}

/// What a folder without blocks may be.
fn what_else(folder: &Path) -> &'static str {
    if folder.join("meta.json").exists() {
        return "it is a single block; give the directory that it lies in";
    }
    if wal::numbered(folder, "").is_ok_and(|segments| !segments.is_empty()) {
        return "it is a write-ahead log; give the directory that it lies in";
    }
    "there is neither a block nor a write-ahead log in it; is it a Prometheus data directory?"
}

struct Reading {
    archive: Archive,
    segments: Segments,
}

impl Reading {
    fn block(&mut self, path: &Path) -> Result<(), SourceError> {
        let first_segment = self.segments.files.len() as u64;
        self.segments.open(&path.join("chunks"))?;
        let deleted = tombstones(&path.join("tombstones"))?;
        let index = Index::open(&path.join("index"))?;
        let plan = Arc::clone(&self.archive.plan);
        for (request, metric) in plan.requests.iter().enumerate() {
            self.find_native(&index, metric, first_segment)?;
            for id in index.series_of(&format!("{}_bucket", metric.metric))? {
                let (labels, chunks) = index.series(id)?;
                let Named { own: labels, le, .. } = Named::from(labels.into_iter().collect::<Labels>());
                if metric.assign(&labels).is_empty() {
                    continue;
                }
                let place = |(from_ms, to_ms, at): (i64, i64, u64)| {
                    let at = self.segments.of_block(path, at, first_segment)?;
                    Ok(Place { from_ms, to_ms, at })
                };
                let places: Result<Vec<Place>, SourceError> = chunks.into_iter().map(place).collect();
                let places = places?;
                let of_series = deleted.iter().filter(|(series, ..)| *series == u64::from(id));
                let deleted = of_series.map(|(_, from_ms, to_ms)| (*from_ms, *to_ms)).collect();
                self.archive.add(request, labels, Stored::new(le, places, deleted));
            }
        }
        Ok(())
    }

    /// Native histograms have the metric's own name.
    fn find_native(&mut self, index: &Index, metric: &MetricRequest, first_segment: u64) -> Result<(), SourceError> {
        for id in index.series_of(&metric.metric)? {
            let (labels, chunks) = index.series(id)?;
            let slos = metric.assign(&Named::from(labels.into_iter().collect::<Labels>()).own);
            if let Some((_, _, at)) = chunks.last().filter(|_| !slos.is_empty()) {
                let path = index.path.parent().unwrap_or(&index.path);
                let at = self.segments.of_block(path, *at, first_segment)?;
                let (_, encoding, _) = self.segments.head(at, &mut Vec::new())?;
                if NATIVE.contains(&encoding) {
                    self.archive.native.extend(slos);
                }
            }
        }
        Ok(())
    }
}

/// Series and the times that were deleted of it, both ends included.
fn tombstones(path: &Path) -> Result<Vec<(u64, i64, i64)>, SourceError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let broken = |at: usize| fault(path, &format!("byte {at}"), "it is not a list of deletions");
    if bytes.len() < 9 {
        return Err(broken(bytes.len()));
    }
    let (body, checksum) = bytes.split_at(bytes.len() - 4);
    let mut cursor = Cursor::new(body, 0);
    if cursor.u32() != Some(TOMBSTONES_MAGIC) || cursor.u8() != Some(1) {
        return Err(broken(0));
    }
    if crc32c::crc32c(&body[5..]).to_be_bytes() != checksum {
        return Err(fault(path, &format!("byte {}", body.len()), "its checksum is wrong"));
    }
    let mut deleted = Vec::new();
    while !cursor.is_at_end() {
        let entry = (|| Some((cursor.uvarint()?, cursor.varint()?, cursor.varint()?)))();
        deleted.push(entry.ok_or_else(|| broken(cursor.at()))?);
    }
    Ok(deleted)
}

impl Segments {
    fn open(&mut self, folder: &Path) -> Result<(), SourceError> {
        for (next, (number, path)) in (1..).zip(wal::numbered(folder, "")?) {
            if number != next {
                return Err(fault(&path, "its beginning", &format!("the file {next:06} before it is missing")));
            }
            let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
            let mut head = [0; 8];
            let whole = file.read_exact_at(&mut head, 0);
            if whole.is_err() || head[..4] != CHUNKS_MAGIC.to_be_bytes() || head[4] != 1 {
                return Err(fault(&path, "byte 0", "it is not a file of chunks"));
            }
            self.files.push((path, file));
        }
        Ok(())
    }

    /// Where a chunk of the block at `path` lies among all, if it is at `at` in the block's own files.
    fn of_block(&self, path: &Path, at: u64, first_segment: u64) -> Result<u64, SourceError> {
        let segment = at >> OFFSET_BITS;
        if segment < self.files.len() as u64 - first_segment {
            return Ok(at + (first_segment << OFFSET_BITS));
        }
        let file = path.join("chunks").join(format!("{:06}", segment + 1));
        Err(SourceError::Unreadable {
            file: file.display().to_string(),
            why: "the block's index names it, and it is missing".into(),
        })
    }

    /// Puts the chunk's bytes into `buffer`; none if it holds no floats.
    pub fn read(&self, at: u64, buffer: &mut Vec<u8>) -> Result<(), SourceError> {
        let (start, encoding, length) = self.head(at, buffer)?;
        if buffer.len() < start + length + 4 {
            let (_, file, offset) = self.place(at)?;
            buffer.resize(start + length + 4, 0);
            file.read_exact_at(buffer, offset).map_err(|_| self.broken(at, "the file ends inside a chunk"))?;
        }
        let checksum = &buffer[start + length..][..4];
        if crc32c::crc32c(&buffer[start - 1..start + length]).to_be_bytes() != checksum {
            return Err(self.broken(at, "a chunk's checksum is wrong"));
        }
        buffer.truncate(start + length);
        buffer.drain(..start);
        match encoding {
            XOR => {}
            // An empty chunk of floats: a series may be both, one after the other.
            encoding if NATIVE.contains(&encoding) => {
                buffer.clear();
                buffer.extend([0, 0]);
            }
            encoding => {
                let why =
                    format!("chunks in encoding {encoding}, of a newer Prometheus, are not read; use its remote read");
                return Err(self.broken(at, &why));
            }
        }
        Ok(())
    }

    /// Fills `buffer` from the chunk's beginning. Returns where its bytes start there, their encoding and number.
    fn head(&self, at: u64, buffer: &mut Vec<u8>) -> Result<(usize, u8, usize), SourceError> {
        let (_, file, offset) = self.place(at)?;
        buffer.resize(READ_BYTES, 0);
        let mut read = 0;
        while read < buffer.len() {
            match file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) => return Err(self.broken(at, &error.to_string())),
            }
        }
        buffer.truncate(read);
        let mut cursor = Cursor::new(&buffer[..read.min(CHUNK_HEAD_BYTES)], 0);
        let head = (|| Some((cursor.uvarint()?, cursor.u8()?)))();
        let (length, encoding) = head.ok_or_else(|| self.broken(at, "the file ends before a chunk"))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_CHUNK_BYTES);
        let length = length.ok_or_else(|| self.broken(at, "a chunk is impossibly long"))?;
        Ok((cursor.at(), encoding, length))
    }

    fn place(&self, at: u64) -> Result<(&Path, &File, u64), SourceError> {
        let segment = self.files.get((at >> OFFSET_BITS) as usize);
        let (path, file) = segment.ok_or_else(|| self.broken(at, "there is no such file of chunks"))?;
        Ok((path, file, at & ((1 << OFFSET_BITS) - 1)))
    }

    /// The error for a chunk that cannot be read.
    pub fn broken(&self, at: u64, why: &str) -> SourceError {
        let segment = self.files.get((at >> OFFSET_BITS) as usize);
        let path = segment.map_or(Path::new("the index"), |(path, _)| path);
        fault(path, &format!("byte {}", at & ((1 << OFFSET_BITS) - 1)), why)
    }
}

fn fault(path: &Path, place: &str, why: &str) -> SourceError {
    SourceError::File { file: path.display().to_string(), place: place.to_owned(), why: why.to_owned() }
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Unreadable { file: path.display().to_string(), why: error.to_string() }
}
