//! The index of a block: which series there are, and where their chunks lie.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::error::SourceError;

use super::fault;

const MAGIC: u32 = 0xbaaa_d700;
/// Six offsets and a checksum.
const TOC_BYTES: usize = 52;
/// Series lie at multiples of this since version 2.
const ALIGNMENT: usize = 16;
/// An index larger than this, in bytes, is not read into memory.
const MAX_BYTES: u64 = 1 << 30;

/// One block's index, in memory.
#[derive(Debug)]
pub(super) struct Index {
    pub path: PathBuf,
    bytes: Vec<u8>,
    version: u8,
    /// Where each symbol starts, in order.
    symbols: Vec<u32>,
    postings_table: usize,
}

/// A series' labels, and its chunks with the time each spans and its place.
pub(super) type Series = (Vec<(String, String)>, Vec<(i64, i64, u64)>);

impl Index {
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let unreadable = |error: std::io::Error| super::unreadable(path, &error);
        let length = fs::metadata(path).map_err(unreadable)?.len();
        if length > MAX_BYTES {
            return Err(fault(path, "its beginning", &format!("{} MB of index are too many", length >> 20)));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let mut index = Self { path: path.to_owned(), bytes, version: 0, symbols: Vec::new(), postings_table: 0 };
        let mut head = Cursor::new(&index.bytes, 0);
        index.version = match (head.u32(), head.u8()) {
            (Some(MAGIC), Some(version @ (1 | 2))) => version,
            _ => return Err(index.broken(0, "it is not an index of version 1 or 2")),
        };
        let Some(toc) = index.bytes.len().checked_sub(TOC_BYTES) else { return Err(index.broken(0, "it is cut off")) };
        let (offsets, checksum) = index.bytes[toc..].split_at(TOC_BYTES - 4);
        if crc32c::crc32c(offsets).to_be_bytes() != checksum {
            return Err(index.broken(toc, "its table of contents is damaged: the file may be cut off"));
        }
        let offset = |field: usize| Cursor::new(offsets, field * 8).u64().unwrap_or_default() as usize;
        index.postings_table = offset(5);
        index.symbols = index.read_symbols(offset(0))?;
        Ok(index)
    }

    /// The numbers of the series with this name.
    pub fn series_of(&self, metric: &str) -> Result<Vec<u32>, SourceError> {
        let section = self.section(self.postings_table)?;
        let mut cursor = Cursor::new(section, 4);
        let mut postings = None;
        while !cursor.is_at_end() {
            let entry = (|| {
                let two = cursor.uvarint()?;
                let (name, value) = (cursor.text()?, cursor.text()?);
                Some((two, name == "__name__" && value == metric, cursor.uvarint()?))
            })();
            match entry {
                Some((2, true, offset)) => postings = Some(offset as usize),
                Some((2, false, _)) => {}
                _ => return Err(self.broken(self.postings_table + 4 + cursor.at(), "its table of postings is damaged")),
            }
        }
        let Some(postings) = postings else { return Ok(Vec::new()) };
        let section = self.section(postings)?;
        let series = section
            .get(4..)
            .unwrap_or_default()
            .chunks_exact(4)
            .map(|id| u32::from_be_bytes([id[0], id[1], id[2], id[3]]));
        Ok(series.collect())
    }

    pub fn series(&self, id: u32) -> Result<Series, SourceError> {
        let start = if self.version == 1 { id as usize } else { id as usize * ALIGNMENT };
        let broken = || self.broken(start, "a series is damaged");
        let mut head = Cursor::new(&self.bytes, start);
        let length = head.uvarint().ok_or_else(broken)? as usize;
        let body = self.bytes.get(head.at()..).and_then(|rest| rest.get(..length)).ok_or_else(broken)?;
        let checksum = self.bytes[head.at() + length..].get(..4);
        if checksum != Some(&crc32c::crc32c(body).to_be_bytes()[..]) {
            return Err(self.broken(start, "the checksum of a series is wrong"));
        }
        self.read_series(body).ok_or_else(broken)
    }

    fn read_series(&self, body: &[u8]) -> Option<Series> {
        let mut cursor = Cursor::new(body, 0);
        let mut labels = Vec::new();
        for _ in 0..cursor.uvarint()? {
            labels.push((self.symbol(cursor.uvarint()?)?, self.symbol(cursor.uvarint()?)?));
        }
        let mut chunks: Vec<(i64, i64, u64)> = Vec::new();
        for _ in 0..cursor.uvarint()? {
            let chunk = match chunks.last() {
                None => {
                    let from_ms = cursor.varint()?;
                    (from_ms, from_ms.checked_add_unsigned(cursor.uvarint()?)?, cursor.uvarint()?)
                }
                Some((_, before_ms, place)) => {
                    let from_ms = before_ms.checked_add_unsigned(cursor.uvarint()?)?;
                    let to_ms = from_ms.checked_add_unsigned(cursor.uvarint()?)?;
                    (from_ms, to_ms, place.checked_add_signed(cursor.varint()?)?)
                }
            };
            chunks.push(chunk);
        }
        Some((labels, chunks))
    }

    /// By its number; in version 1, by where it stands.
    fn symbol(&self, reference: u64) -> Option<String> {
        let at = match self.version {
            1 => reference as usize,
            _ => *self.symbols.get(usize::try_from(reference).ok()?)? as usize,
        };
        Cursor::new(&self.bytes, at).text().map(str::to_owned)
    }

    fn read_symbols(&self, start: usize) -> Result<Vec<u32>, SourceError> {
        let section = self.section(start)?;
        let mut cursor = Cursor::new(section, 0);
        let count = cursor.u32().unwrap_or_default();
        let mut symbols = Vec::new();
        for _ in 0..count {
            symbols.push((start + 4 + cursor.at()) as u32);
            if cursor.text().is_none() {
                return Err(self.broken(start + 4 + cursor.at(), "its symbols are damaged"));
            }
        }
        Ok(symbols)
    }

    /// A part of the file that starts with its length and ends with its checksum.
    fn section(&self, start: usize) -> Result<&[u8], SourceError> {
        let length = Cursor::new(&self.bytes, start).u32().map(|length| length as usize);
        let rest = self.bytes.get(start.saturating_add(4)..).unwrap_or_default();
        let body = length.filter(|length| rest.len() >= length + 4).map(|length| rest.split_at(length));
        match body {
            Some((body, after)) if after[..4] == crc32c::crc32c(body).to_be_bytes() => Ok(body),
            Some(_) => Err(self.broken(start, "a checksum is wrong")),
            None => Err(self.broken(start, "it is cut off")),
        }
    }

    fn broken(&self, at: usize, why: &str) -> SourceError {
        fault(&self.path, &format!("byte {at}"), why)
    }
}

/// Reads numbers from left to right; `None` where the bytes end.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.take(8)?.first_chunk()?))
    }

    /// Seven bits a byte, the lowest first. Source: Go's `encoding/binary`.
    pub fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub fn varint(&mut self) -> Option<i64> {
        self.uvarint().map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.uvarint()?;
        std::str::from_utf8(self.take(usize::try_from(length).ok()?)?).ok()
    }
}
