//! Numbers that look random: the same seed, the same search.

/// SplitMix64. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of the whole numbers below `n`, which is at least 1; 0 otherwise.
    pub fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The upper half of a 128-bit product: as even as 64 bits allow, and never `n` itself.
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_and_the_same_each_time() {
        let draw = || {
            let mut random = Random::new(7);
            (0..10_000).map(move |_| random.below(5))
        };
        let count = |number: usize| draw().filter(|drawn| *drawn == number).count();
        assert!((0..5).map(count).all(|count| (1850..2150).contains(&count)));
        assert!(draw().eq(draw()));
    }
}
