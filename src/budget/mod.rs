//! Arithmetic on latency budgets: what a journey's budget is promised to.
//!
//! Whole nanoseconds, so that `10ms + 5ms + 30ms + 40ms + 10ms` and a reserve of 5% are exactly `100ms`.
//!
//! ```
//! use slowburn::budget::Allocation;
//! let ms = 1_000_000;
//! let allocation = Allocation { total_ns: 100 * ms, reserve_ns: 5 * ms, layers_ns: vec![60 * ms, 40 * ms] };
//! assert_eq!(allocation.excess_ns(), Some(5 * ms));
//! ```

/// How a journey's latency budget is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The journey's budget.
    pub total_ns: u64,
    /// What no layer gets.
    pub reserve_ns: u64,
    /// The budget of each layer; layers are taken to run one after the other.
    pub layers_ns: Vec<u64>,
}

impl Allocation {
    /// `ppm` parts per million of a budget, rounded down.
    pub fn share_ns(total_ns: u64, ppm: u32) -> u64 {
        (u128::from(total_ns) * u128::from(ppm) / 1_000_000) as u64
    }

    /// Layers and reserve together.
    pub fn promised_ns(&self) -> u64 {
        self.layers_ns.iter().fold(self.reserve_ns, |sum, layer_ns| sum.saturating_add(*layer_ns))
    }

    /// By how much more is promised than there is; `None` if all promises can be kept.
    pub fn excess_ns(&self) -> Option<u64> {
        self.promised_ns().checked_sub(self.total_ns).filter(|excess_ns| *excess_ns > 0)
    }

    /// What nobody was promised.
    pub fn unpromised_ns(&self) -> u64 {
        self.total_ns.saturating_sub(self.promised_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost(total_ns in 0..u64::MAX / 4, reserve_ns in 0..u64::MAX / 4, layer_ns in 0..u64::MAX / 4) {
            let allocation = Allocation { total_ns, reserve_ns, layers_ns: vec![layer_ns] };
            let excess_ns = allocation.excess_ns().unwrap_or(0);
            prop_assert_eq!(allocation.promised_ns() + allocation.unpromised_ns(), total_ns + excess_ns);
        }

        #[test]
        fn shares_stay_inside(total_ns in any::<u64>(), ppm in 0u32..=1_000_000) {
            prop_assert!(Allocation::share_ns(total_ns, ppm) <= total_ns);
        }
    }
}
