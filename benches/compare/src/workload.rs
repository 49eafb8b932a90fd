//! Keys, and the order in which they are asked for. The same for all contenders, and the same in every run.

use std::sync::Arc;

/// A key from a number: different for different numbers, and neighbours end up far apart.
#[inline]
pub(crate) fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

pub(crate) fn text_key(number: u64) -> String {
    format!("user:{number:0>24}")
}

/// What the rows with text keys keep: 256 bytes, shared.
pub(crate) fn blob(number: u64) -> Arc<Vec<u8>> {
    Arc::new(vec![number.to_le_bytes()[0]; 256])
}

/// The numbers below `count` in an arbitrary order, so that what is asked for most does not lie together.
pub(crate) fn shuffled(count: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count).collect();
    let mut random = Random::new(0x5EED);
    for last in (1..numbers.len()).rev() {
        let other = random.below(last as u64 + 1) as usize;
        numbers.swap(last, other);
    }
    numbers
}

/// A sequence of look-ups whose length is a power of two, so that an index wraps by a mask.
#[derive(Clone)]
pub(crate) struct Sequence(Arc<[u64]>);

impl Sequence {
    /// Keys of the numbers below `population`: the number `n` is asked for in proportion to
    /// `1 / (n + 1)^exponent`.
    pub(crate) fn zipf(population: u64, exponent: f64, length: usize) -> Self {
        assert!(length.is_power_of_two());
        let zipf = Zipf::new(population, exponent);
        let mut random = Random::new(0xC0FFEE);
        let draw = |_| key(zipf.draw(&mut random));
        Self((0..length).map(draw).collect())
    }

    #[inline]
    pub(crate) fn at(&self, place: u64) -> &u64 {
        &self.0[place as usize & (self.0.len() - 1)]
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Draws numbers: `n` in proportion to `1 / (n + 1)^exponent`.
pub(crate) struct Zipf(Vec<f64>);

impl Zipf {
    /// Of the numbers below `population`.
    pub(crate) fn new(population: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let upto = |n| {
            sum += 1.0 / ((n + 1) as f64).powf(exponent);
            sum
        };
        Self((0..population).map(upto).collect())
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        let sum = self.0.last().copied().unwrap_or(0.0);
        let point = random.below_one() * sum;
        let number = self.0.partition_point(|&upto| upto <= point) as u64;
        number.min(self.0.len() as u64 - 1)
    }
}

/// SplitMix64: small, and good enough to draw from.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, all equally likely as far as anyone here can tell.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.below_one() * limit as f64) as u64
    }

    pub(crate) fn below_one(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_zipf_is_asked_for_twice_as_often_as_the_second() {
        let sequence = Sequence::zipf(1000, 1.0, 1 << 16);
        let count = |number| (0..sequence.len()).filter(|&n| *sequence.at(n) == key(number)).count() as f64;
        assert!((count(0) / count(1) - 2.0).abs() < 0.2);
        assert!((count(0) / count(9) - 10.0).abs() < 1.5);
    }

    #[test]
    fn shuffling_keeps_every_number() {
        let mut numbers = shuffled(1000);
        assert_ne!(numbers[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    }
}
