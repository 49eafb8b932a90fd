//! Random shares, from a seed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A source of random numbers that any thread may draw from: splitmix64, by Steele, Lea and Flood, 2014.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, up to 1.
    pub(crate) fn share(&self) -> f64 {
        let steps = u32::try_from(self.draw() >> 32).unwrap_or(u32::MAX);
        (f64::from(steps) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_within_their_bounds_even_and_the_same_by_the_same_seed() {
        let (dice, again) = (Dice::new(7), Dice::new(7));
        let shares: Vec<f64> = (0..10_000).map(|_| dice.share()).collect();
        assert!(shares.iter().all(|share| *share > 0.0 && *share <= 1.0));
        let mean = shares.iter().sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert!(shares.iter().all(|share| again.share().to_bits() == share.to_bits()));
    }
}
