//! Whom people ask for: a few all the time, most hardly ever.

/// Draws numbers below `len` by Zipf's law with s = 1: the second is drawn half as often as the first, the third a third as often.
/// Which number is first, second, ... is shuffled. The same seed draws the same.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// The shares of the ranks, summed up; the last is the sum of all.
    sums: Vec<f64>,
    by_rank: Vec<usize>,
    random: Random,
}

impl Zipf {
    /// For at least one number.
    pub(crate) fn new(len: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        #[expect(clippy::cast_precision_loss, reason = "a rank is far below 2^52")]
        let sums = (1..=len).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        let sums = sums.collect();
        let mut by_rank: Vec<usize> = (0..len).collect();
        // Every drawer has the same favourites, so their order comes from a seed of its own.
        let mut shuffle = Random(0x5eed);
        for index in (1..len).rev() {
            by_rank.swap(index, shuffle.below(index + 1));
        }
        Self { sums, by_rank, random: Random(seed) }
    }

    /// The number drawn most often.
    pub(crate) fn favourite(&self) -> usize {
        self.by_rank[0]
    }

    pub(crate) fn draw(&mut self) -> usize {
        let sum = self.sums.last().copied().unwrap_or_default();
        let point = self.random.unit() * sum;
        let rank = self.sums.partition_point(|sum| *sum <= point).min(self.by_rank.len() - 1);
        self.by_rank[rank]
    }
}

/// SplitMix64, by Steele, Lea and Flood.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to just below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below `end`")]
    #[expect(clippy::cast_precision_loss, reason = "an index is far below 2^52")]
    fn below(&mut self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end - 1)
    }
}
