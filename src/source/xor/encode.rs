//! Writing chunks, as Prometheus' `tsdb/chunkenc/xor.go` does.

/// A chunk in the making. Times ascend; it holds at most 65,535 samples.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// Bits that are not in `bytes` yet: the lowest `pending`, fewer than eight.
    rest: u8,
    pending: u32,
    samples: u16,
    unix_ms: i64,
    delta_ms: i64,
    value: u64,
    leading: u32,
    trailing: u32,
}

impl Encoder {
    pub fn push(&mut self, unix_ms: i64, value: f64) {
        debug_assert!(self.samples < u16::MAX);
        let (value, delta_ms) = (value.to_bits(), unix_ms.wrapping_sub(self.unix_ms));
        match self.samples {
            0 => {
                self.varint((unix_ms << 1 ^ unix_ms >> 63) as u64);
                self.put(value, 64);
                // No later value fits into what is wider than anything.
                self.leading = u32::MAX;
            }
            1 => {
                self.varint(delta_ms as u64);
                self.put_change(value);
            }
            _ => {
                self.put_delta_of_delta(delta_ms.wrapping_sub(self.delta_ms));
                self.put_change(value);
            }
        }
        (self.unix_ms, self.delta_ms, self.value) = (unix_ms, delta_ms, value);
        self.samples += 1;
    }

    pub fn samples(&self) -> u16 {
        self.samples
    }

    /// The time of the last sample.
    pub fn last_unix_ms(&self) -> i64 {
        self.unix_ms
    }

    /// What it takes so far, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() + 3
    }

    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// The chunk's bytes. The encoder is empty again.
    pub fn finish(&mut self) -> Vec<u8> {
        let done = std::mem::take(self);
        let mut chunk = Vec::with_capacity(done.len());
        chunk.extend(done.samples.to_be_bytes());
        chunk.extend(done.bytes);
        if done.pending > 0 {
            chunk.push(done.rest << (8 - done.pending));
        }
        chunk
    }

    fn put_delta_of_delta(&mut self, dod: i64) {
        let fits = |width: u32| -((1i64 << (width - 1)) - 1) <= dod && dod <= 1 << (width - 1);
        match dod {
            0 => self.put(0, 1),
            _ if fits(14) => (self.put(0b10, 2), self.put(dod as u64, 14)).0,
            _ if fits(17) => (self.put(0b110, 3), self.put(dod as u64, 17)).0,
            _ if fits(20) => (self.put(0b1110, 4), self.put(dod as u64, 20)).0,
            _ => (self.put(0b1111, 4), self.put(dod as u64, 64)).0,
        }
    }

    fn put_change(&mut self, value: u64) {
        let changed = value ^ self.value;
        if changed == 0 {
            return self.put(0, 1);
        }
        let (zeros, end) = (changed.leading_zeros().min(31), changed.trailing_zeros());
        if self.leading != u32::MAX && zeros >= self.leading && end >= self.trailing {
            self.put(0b10, 2);
        } else {
            (self.leading, self.trailing) = (zeros, end);
            self.put(0b11, 2);
            self.put(u64::from(zeros), 5);
            self.put(u64::from(64 - zeros - end) & 63, 6);
        }
        self.put(changed >> self.trailing, 64 - self.leading - self.trailing);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    /// The lowest `width` bits, the highest of them first.
    fn put(&mut self, value: u64, width: u32) {
        let mut left = width;
        while left > 0 {
            let taken = left.min(8 - self.pending);
            let bits = (value >> (left - taken)) as u8 & (0xff >> (8 - taken));
            self.rest = if taken == 8 { bits } else { self.rest << taken | bits };
            self.pending += taken;
            left -= taken;
            if self.pending == 8 {
                self.bytes.push(self.rest);
                (self.rest, self.pending) = (0, 0);
            }
        }
    }
}
