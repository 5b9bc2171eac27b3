//! Frames: a message's length, its checksum, and the message.
//!
//! A page of memory that the system hands out for the first time costs about what decoding its chunks does. So what comes
//! is gathered in blocks large enough for huge pages, and read where it lies.

use memmap2::MmapMut;
use prost::Message;
use prost::bytes::{Buf, Bytes};

use crate::source::error::SourceError;

use super::ChunkedReadResponse;

/// What a frame's length takes at most, in bytes.
const MAX_LENGTH_BYTES: usize = 10;
const CHECKSUM_BYTES: usize = 4;
/// How much is gathered before frames are read, at first and later, in bytes. Prometheus has about one megabyte in a frame.
const FIRST_BYTES: usize = 256 << 10;
const BLOCK_BYTES: usize = 4 << 20;

/// A stream of frames that comes in pieces.
#[derive(Debug, Default)]
pub struct Frames {
    gathered: Block,
}

/// Bytes that are put in until it is full.
#[derive(Debug)]
enum Block {
    Heap(Vec<u8>),
    Mapped(Mapped),
}

#[derive(Debug)]
struct Mapped {
    memory: MmapMut,
    length: usize,
}

impl Frames {
    /// Hands out messages when a block is full, and the rest in [`Frames::finish`].
    pub fn push(
        &mut self,
        piece: &[u8],
        each: impl FnMut(ChunkedReadResponse) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        if piece.len() > self.gathered.room() {
            let rest = std::mem::take(&mut self.gathered).open(each)?;
            // A frame that is longer than a block is not copied once a piece.
            self.gathered = Block::of(BLOCK_BYTES.max(2 * (rest.len() + piece.len())));
            self.gathered.put(&rest);
        }
        self.gathered.put(piece);
        Ok(())
    }

    pub fn finish(self, each: impl FnMut(ChunkedReadResponse) -> Result<(), SourceError>) -> Result<(), SourceError> {
        if self.gathered.open(each)?.is_empty() {
            return Ok(());
        }
        Err(SourceError::Truncated("the stream of chunks ends inside a frame".into()))
    }
}

impl Block {
    fn of(bytes: usize) -> Self {
        let Ok(memory) = MmapMut::map_anon(bytes) else { return Self::Heap(Vec::with_capacity(bytes)) };
        // Where there are none, pages of the usual size do.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        Self::Mapped(Mapped { memory, length: 0 })
    }

    fn room(&self) -> usize {
        match self {
            Self::Heap(bytes) => FIRST_BYTES.max(bytes.capacity()) - bytes.len(),
            Self::Mapped(Mapped { memory, length }) => memory.len() - length,
        }
    }

    /// There must be room.
    fn put(&mut self, piece: &[u8]) {
        match self {
            Self::Heap(bytes) => {
                // At one go: of what is not used, nothing is taken from the system.
                if bytes.capacity() == 0 {
                    bytes.reserve(FIRST_BYTES);
                }
                bytes.extend_from_slice(piece);
            }
            Self::Mapped(Mapped { memory, length }) => {
                memory[*length..][..piece.len()].copy_from_slice(piece);
                *length += piece.len();
            }
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Self::Heap(bytes) => bytes.into(),
            Self::Mapped(mapped) => Bytes::from_owner(mapped),
        }
    }

    /// Hands out the messages of all frames that are whole. Returns what is left.
    fn open(self, mut each: impl FnMut(ChunkedReadResponse) -> Result<(), SourceError>) -> Result<Bytes, SourceError> {
        let mut rest = self.freeze();
        while let Some(message) = next(&mut rest)? {
            each(message)?;
        }
        Ok(rest)
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

/// Takes the next frame's message out of `bytes`; `None` if not all of it is there.
fn next(bytes: &mut Bytes) -> Result<Option<ChunkedReadResponse>, SourceError> {
    let mut rest = &bytes[..];
    let length = match prost::decode_length_delimiter(&mut rest) {
        Ok(length) => length,
        Err(_) if bytes.len() < MAX_LENGTH_BYTES => return Ok(None),
        Err(_) => return Err(SourceError::Truncated("a frame's length is no number".into())),
    };
    if rest.len() < CHECKSUM_BYTES || rest.len() - CHECKSUM_BYTES < length {
        return Ok(None);
    }
    bytes.advance(bytes.len() - rest.len());
    let checksum = bytes.get_u32();
    let frame = bytes.split_to(length);
    if crc32c::crc32c(&frame) != checksum {
        return Err(SourceError::Truncated("a frame's checksum is wrong".into()));
    }
    ChunkedReadResponse::decode(frame).map(Some).map_err(|error| SourceError::Protobuf(error.to_string()))
}

/// The frame of a message: its length, a checksum, and the message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 14);
    let mut length = message.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(crc32c::crc32c(message).to_be_bytes());
    bytes.extend(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::tests::{frame, series};
    use super::*;

    const A: [(&str, &str); 2] = [("__name__", "m_bucket"), ("le", "0.1")];

    fn read(pieces: &[&[u8]]) -> Result<Vec<ChunkedReadResponse>, &'static str> {
        let (mut frames, mut messages) = (Frames::default(), Vec::new());
        let mut take = |message| {
            messages.push(message);
            Ok(())
        };
        let pushed = pieces.iter().try_for_each(|piece| frames.push(piece, &mut take));
        let read = pushed.and_then(|()| frames.finish(&mut take));
        read.map(|()| messages).map_err(|error| error.kind())
    }

    #[test]
    fn damage_is_told() {
        let whole = frame(&series(0, &A, &[(0, 1.0), (60_000, 2.0)]));
        assert_eq!(read(&[&whole]).unwrap().len(), 1);
        assert!(read(&[]).unwrap().is_empty());
        for cut in 1..whole.len() {
            assert_eq!(read(&[&whole[..cut]]), Err("truncated"), "cut at {cut}");
        }
        // Whichever bit is wrong, the checksum or the length shows it.
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&[&bad]).is_err(), "bit {bit}");
        }
        let mut nonsense = vec![3, 0, 0, 0, 0, 0xff, 0xff, 0xff];
        let checksum = crc32c::crc32c(&nonsense[5..]).to_be_bytes();
        nonsense[1..5].copy_from_slice(&checksum);
        assert_eq!(read(&[&nonsense]), Err("not_protobuf"));
    }

    #[test]
    fn blocks_end_anywhere() {
        // Some thousands of small frames, and one that is longer than a block.
        let samples: Vec<(i64, f64)> = (0..200).map(|at| (at * 15_000, f64::from(at as u32) * 0.37)).collect();
        let mut messages: Vec<_> = (0..6_000).map(|query| series(query, &A, &samples)).collect();
        let mut long = series(7, &A, &samples);
        let chunk = long.chunked_series[0].chunks[0].clone();
        long.chunked_series[0].chunks = vec![chunk; 6_000];
        messages.insert(3_000, long);
        let bytes: Vec<u8> = messages.iter().flat_map(frame).collect();
        assert!(bytes.len() > 4 * BLOCK_BYTES, "{}", bytes.len());
        for piece_bytes in [999, FIRST_BYTES, FIRST_BYTES + 1, BLOCK_BYTES - 7, BLOCK_BYTES * 2, bytes.len()] {
            let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
            assert!(read(&pieces).unwrap() == messages, "in pieces of {piece_bytes}");
        }
    }
}
