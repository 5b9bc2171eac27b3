//! The write-ahead log: records in fragments in pages in segments, the newest checkpoint first.
//!
//! A server that runs, or was killed, leaves half a record at the very end: there the log ends. Half a record anywhere
//! else, and whatever else does not fit, is damage.
//!
//! Source: Prometheus' `tsdb/docs/format/wal.md` and `tsdb/wlog`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::source::error::SourceError;

use super::{fault, unreadable};

const PAGE_BYTES: usize = 32 << 10;
/// Type, length and checksum.
const HEAD_BYTES: usize = 7;
/// A record longer than this, unpacked, is none: the largest hold the samples of one scrape or one request.
const MAX_RECORD_BYTES: usize = 256 << 20;
const KIND: u8 = 0b111;
const SNAPPY: u8 = 0b1000;
const ZSTD: u8 = 0b1_0000;

/// A log that was found. Its files stay open: a server that runs may delete them meanwhile.
#[derive(Debug, Default)]
pub(super) struct Log {
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    /// A server may be writing to it.
    is_newest: bool,
    /// The segment that should stand before this one, and does not.
    missing: Option<u64>,
}

/// Why a segment is not read on.
enum Stop {
    /// Half a record, and nothing behind it.
    Torn(u64),
    Damage(u64, String),
}

impl Log {
    /// Finds the segments in `folder`, which need not exist.
    pub fn open(folder: &Path) -> Result<Self, SourceError> {
        let checkpoint = numbered(folder, "checkpoint.")?.pop();
        let mut log = Self::default();
        let first = match &checkpoint {
            None => 0,
            Some((until, path)) => {
                log.add(numbered(path, "")?, 0)?;
                until + 1
            }
        };
        let mut segments = numbered(folder, "")?;
        // They may outlive the checkpoint that stands for them.
        segments.retain(|(number, _)| *number >= first);
        log.add(segments, first)?;
        Ok(log.ended())
    }

    /// The same for the log of what came out of order, which is cut off at its beginning without a checkpoint.
    pub fn open_late(folder: &Path) -> Result<Self, SourceError> {
        let (mut log, segments) = (Self::default(), numbered(folder, "")?);
        let first = segments.first().map_or(0, |(number, _)| *number);
        log.add(segments, first)?;
        Ok(log.ended())
    }

    fn ended(mut self) -> Self {
        if let Some(newest) = self.segments.last_mut() {
            newest.is_newest = true;
        }
        self
    }

    /// The first of them should be number `next`.
    fn add(&mut self, segments: Vec<(u64, PathBuf)>, mut next: u64) -> Result<(), SourceError> {
        for (number, path) in segments {
            let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
            let missing = (number != next).then_some(next);
            self.segments.push(Segment { path, file, is_newest: false, missing });
            next = number + 1;
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Hands every record to `each`, which says what is wrong with one, in the order of writing.
    pub fn read(self, mut each: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), SourceError> {
        for Segment { path, file, is_newest, missing } in self.segments {
            if let Some(missing) = missing {
                return Err(fault(&path, "its beginning", &format!("the segment {missing:08} before it is missing")));
            }
            match read_segment(file, &mut each) {
                Ok(()) => {}
                Err(Stop::Torn(_)) if is_newest => {}
                Err(Stop::Torn(at)) => {
                    return Err(fault(&path, &format!("byte {at}"), "the segment ends inside a record"));
                }
                Err(Stop::Damage(at, why)) => return Err(fault(&path, &format!("byte {at}"), &why)),
            }
        }
        Ok(())
    }
}

/// What is called `prefix` and a number, in the order of the numbers; nothing if there is no such folder.
pub(super) fn numbered(folder: &Path, prefix: &str) -> Result<Vec<(u64, PathBuf)>, SourceError> {
    let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let number = |path: &Path| -> Option<u64> {
        let digits = path.file_name()?.to_str()?.strip_prefix(prefix)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let paths = entries.iter().map(fs::DirEntry::path);
    let mut found: Vec<(u64, PathBuf)> = paths.filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    Ok(found)
}

fn read_segment(mut input: impl Read, each: &mut impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), Stop> {
    let mut page = vec![0; PAGE_BYTES];
    let mut record = Pending::default();
    let mut page_at = 0;
    loop {
        let length = fill(&mut input, &mut page).map_err(|error| Stop::Damage(page_at, error.to_string()))?;
        let mut rest = &page[..length];
        while !rest.is_empty() {
            let at = page_at + (length - rest.len()) as u64;
            let damage = |why: String| Stop::Damage(at, why);
            let fragment = match Fragment::take(&mut rest, PAGE_BYTES - length).map_err(damage)? {
                Taken::Fragment(fragment) => fragment,
                Taken::Padding => break,
                Taken::Cut => return Err(Stop::Torn(at)),
            };
            if record.add(fragment, at).map_err(damage)? {
                each(record.unpacked().map_err(damage)?).map_err(damage)?;
                record.clear();
            }
        }
        page_at += length as u64;
        if length < PAGE_BYTES {
            return match record.began {
                Some(at) => Err(Stop::Torn(at)),
                None => Ok(()),
            };
        }
    }
}

/// As much as there is.
fn fill(input: &mut impl Read, page: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < page.len() {
        match input.read(&mut page[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

struct Fragment<'a> {
    kind: u8,
    packed: u8,
    bytes: &'a [u8],
}

enum Taken<'a> {
    Fragment(Fragment<'a>),
    /// The rest of the page is empty.
    Padding,
    /// What there is of the page ends inside it.
    Cut,
}

impl<'a> Fragment<'a> {
    /// Takes the next one off the front of what there is of a page, which lacks so many bytes.
    fn take(page: &mut &'a [u8], lacking: usize) -> Result<Taken<'a>, String> {
        let head = page[0];
        if head & KIND == 0 {
            return match page.iter().all(|byte| *byte == 0) {
                true => Ok(Taken::Padding),
                false => Err("a page's end is not empty".to_owned()),
            };
        }
        let leaves = || Err("a record leaves its page".to_owned());
        if page.len() < HEAD_BYTES {
            return if page.len() + lacking < HEAD_BYTES { leaves() } else { Ok(Taken::Cut) };
        }
        let length = usize::from(u16::from_be_bytes([page[1], page[2]]));
        let checksum = [page[3], page[4], page[5], page[6]];
        if length > PAGE_BYTES - HEAD_BYTES {
            return Err("a record is impossibly long".to_owned());
        }
        if page.len() + lacking < HEAD_BYTES + length {
            return leaves();
        }
        if page.len() < HEAD_BYTES + length {
            return Ok(Taken::Cut);
        }
        let (bytes, rest) = page[HEAD_BYTES..].split_at(length);
        if crc32c::crc32c(bytes).to_be_bytes() != checksum {
            return Err("the checksum of a record is wrong".to_owned());
        }
        *page = rest;
        Ok(Taken::Fragment(Self { kind: head & KIND, packed: head & (SNAPPY | ZSTD), bytes }))
    }
}

/// A record in the making.
#[derive(Default)]
struct Pending {
    /// Where its first fragment stands, if it has one.
    began: Option<u64>,
    packed: u8,
    bytes: Vec<u8>,
    unpacked: Vec<u8>,
}

impl Pending {
    /// Whether the record is whole.
    fn add(&mut self, fragment: Fragment, at: u64) -> Result<bool, String> {
        const FULL: u8 = 1;
        const FIRST: u8 = 2;
        const MIDDLE: u8 = 3;
        const LAST: u8 = 4;
        match (fragment.kind, self.began) {
            (FULL | FIRST, None) => self.began = Some(at),
            (MIDDLE | LAST, Some(_)) => {}
            (FULL | FIRST, Some(_)) => return Err("a record begins inside another".to_owned()),
            (MIDDLE | LAST, None) => return Err("a record has no beginning".to_owned()),
            (kind, _) => return Err(format!("there is no kind {kind} of fragment")),
        }
        if self.bytes.len() + fragment.bytes.len() > MAX_RECORD_BYTES {
            return Err("a record is impossibly long".to_owned());
        }
        self.packed = fragment.packed;
        self.bytes.extend_from_slice(fragment.bytes);
        Ok(matches!(fragment.kind, FULL | LAST))
    }

    fn unpacked(&mut self) -> Result<&[u8], String> {
        let unpacked = match self.packed {
            0 => return Ok(&self.bytes),
            _ if self.bytes.is_empty() => return Ok(&[]),
            SNAPPY => self.unpack_snappy(),
            ZSTD => self.unpack_zstd(),
            _ => return Err("a record says that it is packed twice".to_owned()),
        };
        unpacked.map_err(|why| format!("a record cannot be unpacked: {why}"))?;
        Ok(&self.unpacked)
    }

    fn unpack_snappy(&mut self) -> Result<(), String> {
        let length = snap::raw::decompress_len(&self.bytes).map_err(|error| error.to_string())?;
        if length > MAX_RECORD_BYTES {
            return Err(format!("it says that it has {length} bytes"));
        }
        self.unpacked.resize(length, 0);
        let unpacked = snap::raw::Decoder::new().decompress(&self.bytes, &mut self.unpacked);
        unpacked.map(drop).map_err(|error| error.to_string())
    }

    fn unpack_zstd(&mut self) -> Result<(), String> {
        let decoder =
            ruzstd::decoding::StreamingDecoder::new(&*self.bytes).map_err(|error| format!("its head: {error}"))?;
        self.unpacked.clear();
        let read = decoder.take(MAX_RECORD_BYTES as u64 + 1).read_to_end(&mut self.unpacked);
        read.map_err(|error| error.to_string())?;
        if self.unpacked.len() > MAX_RECORD_BYTES { Err("it is impossibly long".to_owned()) } else { Ok(()) }
    }

    fn clear(&mut self) {
        self.began = None;
        self.bytes.clear();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A segment of these records, as the server writes them; the flag is 0, [`SNAPPY`] or [`ZSTD`].
    pub(in super::super) fn segment(records: &[Vec<u8>], packed: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            let bytes = match packed {
                SNAPPY => snap::raw::Encoder::new().compress_vec(record).unwrap(),
                ZSTD => {
                    let level = ruzstd::encoding::CompressionLevel::Fastest;
                    ruzstd::encoding::compress_to_vec(&**record, level)
                }
                _ => record.clone(),
            };
            let mut rest = &*bytes;
            let mut is_first = true;
            loop {
                let room = PAGE_BYTES - out.len() % PAGE_BYTES;
                if room < HEAD_BYTES + 1 {
                    out.resize(out.len() + room, 0);
                    continue;
                }
                let (fragment, after) = rest.split_at(rest.len().min(room - HEAD_BYTES));
                let kind = match (is_first, after.is_empty()) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                out.push(kind | packed);
                out.extend((fragment.len() as u16).to_be_bytes());
                out.extend(crc32c::crc32c(fragment).to_be_bytes());
                out.extend(fragment);
                (rest, is_first) = (after, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        out
    }

    fn records() -> Vec<Vec<u8>> {
        let record =
            |length: usize, seed: usize| (0..length).map(|at| ((at * 7 + at / 256 + seed) % 251) as u8).collect();
        [1, 300, 32 << 10, 5, 40_000, 40, 9].into_iter().zip(1..).map(|(length, seed)| record(length, seed)).collect()
    }

    /// Where a record was cut, or else the damage.
    type Stopped = Result<u64, (u64, String)>;

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<Stopped>) {
        let mut found = Vec::new();
        let read = read_segment(bytes, &mut |record: &[u8]| {
            found.push(record.to_vec());
            Ok(())
        });
        let stop = read.err().map(|stop| match stop {
            Stop::Torn(at) => Ok(at),
            Stop::Damage(at, why) => Err((at, why)),
        });
        (found, stop)
    }

    #[test]
    fn records_go_over_pages_packed_or_not() {
        for packed in [0, SNAPPY, ZSTD] {
            assert_eq!(read(&segment(&records(), packed)), (records(), None), "{packed}");
        }
        let padded = [segment(&records()[..2], 0), vec![0; 1000]].concat();
        assert_eq!(read(&padded), (records()[..2].to_vec(), None));
    }

    #[test]
    fn a_cut_yields_the_records_before_it_and_a_flipped_bit_is_damage() {
        for packed in [0, SNAPPY, ZSTD] {
            let whole = segment(&records(), packed);
            for cut in (0..whole.len()).step_by(1231).chain(0..20) {
                let (found, stop) = read(&whole[..cut]);
                assert_eq!(found, records()[..found.len()], "cut at {cut}");
                assert!(matches!(stop, None | Some(Ok(_))), "cut at {cut}: {stop:?}");
            }
            for bit in (0..whole.len() * 8).step_by(9001).chain(0..56) {
                if [3, 4].contains(&bit) {
                    // How it is packed is not in the checksum; what is unpacked wrongly is no record.
                    continue;
                }
                let mut bad = whole.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let (found, stop) = read(&bad);
                // The length of the last record may point beyond the end, and a page's end may stay empty.
                assert!(stop.is_some() || found == records(), "bit {bit}");
                assert_eq!(found, records()[..found.len()], "bit {bit}");
            }
        }
    }

    #[test]
    fn a_length_that_leaves_the_page_is_no_torn_end() {
        let whole = segment(&vec![vec![7; 100]; 5], 0);
        let third = 2 * (100 + HEAD_BYTES);
        for (length, is_torn) in [(1_000, true), (32_700, false)] {
            let mut bytes = whole.clone();
            bytes[third + 1..third + 3].copy_from_slice(&u16::to_be_bytes(length));
            let (found, stop) = read(&bytes);
            assert_eq!(found.len(), 2);
            assert_eq!(stop.unwrap().is_ok(), is_torn, "{length}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_unpacked() {
        // Snappy's length of 2 GB, and fragments in an order that makes no sense.
        let bomb = [0x80, 0x80, 0x80, 0x80, 0x08, 0x00].to_vec();
        let mut bytes = segment(&[bomb], 0);
        bytes[0] |= SNAPPY;
        assert!(matches!(read(&bytes).1, Some(Err((0, why))) if why.contains("says that it has")));
        for (kinds, why) in [(&[3][..], "no beginning"), (&[2, 1][..], "inside another"), (&[7][..], "no kind 7")] {
            let mut bytes = segment(&vec![b"abc".to_vec(); kinds.len()], 0);
            kinds.iter().enumerate().for_each(|(at, kind)| bytes[at * 10] = *kind);
            assert!(matches!(read(&bytes).1, Some(Err((_, said))) if said.contains(why)), "{why}");
        }
    }
}
