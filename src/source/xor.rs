//! Prometheus' XOR chunks: how its TSDB keeps samples, and how remote read hands them over.
//!
//! A chunk is a count of samples and a stream of bits. Times are second differences, values are the bits in which
//! they differ from the one before. Source: Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database"
//! (VLDB 2015), with the bit widths of Prometheus' `tsdb/chunkenc/xor.go`.
//!
//! Nothing here trusts the bytes: a chunk that ends early is an error, never a panic and never a made-up sample.

mod encode;

use thiserror::Error;

pub use self::encode::Encoder;

/// The value that ends a series: a NaN with these bits. Any other NaN is a value.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Bits that one look always shows: eight bytes, less the seven bits that were read of the first.
const PEEKED: u32 = 57;

/// The bytes end before the samples they promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a chunk ends after {read} of {promised} samples")]
pub struct Broken {
    pub read: u16,
    pub promised: u16,
}

/// Samples in the order they came in.
#[derive(Debug, Default)]
pub struct Samples {
    /// Milliseconds since the epoch.
    pub unix_ms: Vec<i64>,
    /// As many.
    pub values: Vec<f64>,
}

impl Samples {
    pub fn clear(&mut self) {
        self.unix_ms.clear();
        self.values.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, f64)> {
        self.unix_ms.iter().copied().zip(self.values.iter().copied())
    }
}

/// Adds a chunk's samples; those before the place where it is broken are added too.
pub fn decode(chunk: &[u8], samples: &mut Samples) -> Result<(), Broken> {
    let Some((promised, bits)) = chunk.split_first_chunk() else { return Err(Broken { read: 0, promised: 0 }) };
    let promised = u16::from_be_bytes(*promised);
    let (begin, end) = (samples.values.len(), samples.values.len() + usize::from(promised));
    samples.unix_ms.resize(end, 0);
    samples.values.resize(end, 0.0);
    let (unix_ms, values) = (&mut samples.unix_ms[begin..], &mut samples.values[begin..]);
    let mut decoder = Decoder { bits: Bits { bytes: bits, at: 0 }, ..Decoder::default() };
    let mut read = 0;
    while read < unix_ms.len() {
        let Some((at, value)) = decoder.next(read) else {
            samples.unix_ms.truncate(begin + read);
            samples.values.truncate(begin + read);
            return Err(Broken { read: read as u16, promised });
        };
        (unix_ms[read], values[read]) = (at, value);
        read += 1;
        if read > 1 {
            read += decoder.on_time(&mut unix_ms[read..], &mut values[read..]);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Decoder<'a> {
    bits: Bits<'a>,
    unix_ms: i64,
    delta_ms: i64,
    value: u64,
    leading: u32,
    trailing: u32,
}

impl Decoder<'_> {
    /// The sample that follows `read` others.
    fn next(&mut self, read: usize) -> Option<(i64, f64)> {
        match read {
            0 => {
                self.unix_ms = zigzag(self.bits.varint()?);
                self.value = self.bits.take(64)?;
                return Some((self.unix_ms, f64::from_bits(self.value)));
            }
            1 => self.delta_ms = self.bits.varint()? as i64,
            _ => self.delta_ms = self.delta_ms.wrapping_add(self.delta_of_delta()?),
        }
        self.unix_ms = self.unix_ms.wrapping_add(self.delta_ms);
        self.value ^= self.changed_bits()?;
        Some((self.unix_ms, f64::from_bits(self.value)))
    }

    /// Reads samples as long as they come when they are due and one look at eight bytes shows all of each: nearly every
    /// sample is such a one. Returns how many it read; what stopped it is still to be read.
    fn on_time(&mut self, unix_ms: &mut [i64], values: &mut [f64]) -> usize {
        let Self { bits: Bits { bytes, at }, unix_ms: mut now_ms, delta_ms, mut value, mut leading, mut trailing } =
            *self;
        let mut at = at;
        let mut significant = 64 - leading - trailing;
        let mut is_short = (1..=PEEKED - 3).contains(&significant);
        let top = |bits: u32| u64::MAX << (64 - bits);
        let mut shown = if is_short { top(significant) } else { 0 };
        let (promised, mut left) = (values.len(), values.iter_mut());
        'looks: loop {
            let eight = bytes.get(at / 8..at / 8 + 8).and_then(<[u8]>::first_chunk);
            let Some(mut next) = eight.map(|eight| u64::from_be_bytes(*eight) << (at % 8)) else { break };
            let kind = next >> 61;
            if kind == 0b010 && is_short {
                // In the bits in which the one before differed; and one look may show several such samples.
                let (takes, mut left_bits) = (3 + significant, PEEKED);
                while next >> 61 == 0b010 && left_bits >= takes {
                    let Some(to) = left.next() else { break 'looks };
                    value ^= (next << 3 & shown) >> leading;
                    *to = f64::from_bits(value);
                    at += takes as usize;
                    next <<= takes;
                    left_bits -= takes;
                }
            } else if kind < 0b010 {
                let Some(to) = left.next() else { break };
                *to = f64::from_bits(value);
                at += 2;
            } else if kind == 0b011 {
                let (zeros, width) = ((next >> 56) as u32 & 31, (next >> 50) as u32 & 63);
                if !(1..=PEEKED - 14).contains(&width) || zeros + width > 64 {
                    break;
                }
                let Some(to) = left.next() else { break };
                (leading, significant, trailing) = (zeros, width, 64 - zeros - width);
                (shown, is_short) = (top(width), true);
                value ^= (next << 14 & shown) >> leading;
                *to = f64::from_bits(value);
                at += 14 + width as usize;
            } else {
                break;
            }
        }
        let read = promised - left.len();
        for unix_ms in &mut unix_ms[..read] {
            now_ms = now_ms.wrapping_add(delta_ms);
            *unix_ms = now_ms;
        }
        (self.bits.at, self.unix_ms, self.value) = (at, now_ms, value);
        (self.leading, self.trailing) = (leading, trailing);
        read
    }

    fn delta_of_delta(&mut self) -> Option<i64> {
        // Scrapes are regular: nearly always one zero bit.
        let width = match self.bits.peek().leading_ones() {
            0 => return self.bits.skip(1).map(|()| 0),
            1 => 14,
            2 => 17,
            3 => 20,
            _ => {
                self.bits.skip(4)?;
                return Some(self.bits.take(64)? as i64);
            }
        };
        self.bits.skip(if width == 14 { 2 } else { (width - 14) / 3 + 2 })?;
        let bits = self.bits.take(width)? as i64;
        // Prometheus keeps the greatest positive value where two's complement has the least negative one.
        Some(if bits > 1 << (width - 1) { bits - (1 << width) } else { bits })
    }

    fn changed_bits(&mut self) -> Option<u64> {
        let next = self.bits.peek();
        if next >> 63 == 0 {
            self.bits.skip(1)?;
            return Some(0);
        }
        if next >> 62 == 0b11 {
            self.leading = (next >> 57) as u32 & 31;
            let significant = (next >> 51) as u32 & 63;
            let significant = if significant == 0 { 64 } else { significant };
            self.trailing = 64u32.checked_sub(self.leading + significant)?;
            self.bits.skip(13)?;
        } else {
            self.bits.skip(2)?;
        }
        let significant = 64 - self.leading - self.trailing;
        Some(self.bits.take(significant)? << self.trailing)
    }
}

fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Bits, most significant first.
#[derive(Default)]
struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    /// The next [`PEEKED`] bits or more, from the top; zeros follow the end.
    #[inline(always)]
    fn peek(&self) -> u64 {
        let (byte, bit) = (self.at / 8, self.at % 8);
        let next = match self.bytes.get(byte..byte + 8).and_then(|bytes| bytes.first_chunk()) {
            Some(eight) => u64::from_be_bytes(*eight),
            None => {
                let rest = self.bytes.get(byte..).unwrap_or_default();
                let mut eight = [0; 8];
                eight[..rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(eight)
            }
        };
        next << bit
    }

    #[inline(always)]
    fn skip(&mut self, bits: u32) -> Option<()> {
        self.at += bits as usize;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// At most 64 bits.
    #[inline(always)]
    fn take(&mut self, bits: u32) -> Option<u64> {
        if bits > PEEKED {
            let high = self.take_peeked(bits - 32)?;
            return Some(high << 32 | self.take_peeked(32)?);
        }
        self.take_peeked(bits)
    }

    /// At most [`PEEKED`] bits.
    #[inline(always)]
    fn take_peeked(&mut self, bits: u32) -> Option<u64> {
        let taken = if bits == 0 { 0 } else { self.peek() >> (64 - bits) };
        self.skip(bits)?;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first. Source: Go's `encoding/binary`.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::source) fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        samples.iter().for_each(|(unix_ms, value)| encoder.push(*unix_ms, *value));
        encoder.finish()
    }

    fn read(chunk: &[u8]) -> (Vec<(i64, u64)>, Result<(), Broken>) {
        // They are added to those of other chunks.
        let mut samples = Samples { unix_ms: vec![7], values: vec![7.0] };
        let result = decode(chunk, &mut samples);
        (samples.iter().skip(1).map(|(unix_ms, value)| (unix_ms, value.to_bits())).collect(), result)
    }

    fn any_samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
        let step = prop_oneof![8 => Just(15_000i64), 4 => 14_900..15_100i64, 1 => 1..10_000_000i64];
        let value = prop_oneof![6 => (0..1000u32).prop_map(f64::from), 2 => any::<f64>(), 1 => Just(f64::from_bits(STALE_BITS))];
        (any::<i32>(), prop::collection::vec((step, value), 0..150)).prop_map(|(start, steps)| {
            let mut unix_ms = i64::from(start) * 1000;
            let mut sample = |(step, value)| {
                unix_ms += step;
                (unix_ms, value)
            };
            steps.into_iter().map(&mut sample).collect()
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(samples in any_samples()) {
            let expected: Vec<_> = samples.iter().map(|(at, value)| (*at, value.to_bits())).collect();
            prop_assert_eq!(read(&encode(&samples)), (expected, Ok(())));
        }

        /// Cut anywhere, the samples before the cut are right and the rest is an error; any bytes at all are no panic.
        #[test]
        fn damage_is_told(samples in any_samples(), cut in 0.0..1.0f64, noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let whole = encode(&samples);
            let (expected, _) = read(&whole);
            let (got, result) = read(&whole[..(whole.len() as f64 * cut) as usize]);
            prop_assert!(result.is_err());
            prop_assert_eq!(&got[..], &expected[..got.len()]);
            let _ = read(&noise);
        }
    }
}
