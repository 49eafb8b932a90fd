//! How long things took, in fixed memory.
//!
//! Buckets are log-linear: each power of two is divided into [`LINEAR`] equal parts, so that a bucket is at most an eighth
//! as wide as what it holds is long. A crate for this would bring a histogram that one thread at a time writes to, and
//! here many do: what is left of it is these two functions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::striped::Striped;

/// Into how many parts a power of two is divided, as a power of two.
const LINEAR_BITS: u32 = 3;
/// And as a number.
const LINEAR: usize = 1 << LINEAR_BITS;
/// Longer is counted as this long: 2^42 ns, 73 minutes.
const LONGEST_BITS: u32 = 42;
/// How many buckets there are.
const BUCKETS: usize = ((LONGEST_BITS - LINEAR_BITS) as usize + 1) * LINEAR;

/// How long things took, from a nanosecond to 73 minutes: what is longer counts as that long, but for [`Latencies::max`].
///
/// Quantiles are off by at most 6.25 % of themselves; count, total and maximum are exact. 2.6 KiB for each [group of
/// threads](Striped) that counts. Counting costs about 10 ns and never waits.
///
/// ```
/// use nanotier_tier::measure::Histogram;
/// use std::time::Duration;
///
/// let took = Histogram::new();
/// (1..=100).for_each(|ms| took.count(Duration::from_millis(ms)));
/// let latencies = took.latencies();
/// assert_eq!((latencies.count, latencies.max), (100, Duration::from_millis(100)));
/// assert!(latencies.p50.abs_diff(Duration::from_millis(50)) < Duration::from_millis(4));
/// ```
#[derive(Debug, Default)]
pub struct Histogram(Striped<Buckets>);

#[derive(Debug)]
struct Buckets {
    counts: [AtomicU64; BUCKETS],
    total_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            total_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }
}

/// What a [`Histogram`] holds. All is zero if nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// How many were counted.
    pub count: u64,
    /// How long all took together.
    pub total: Duration,
    /// Half of them took at most as long as this.
    pub p50: Duration,
    /// Nine of ten.
    pub p90: Duration,
    /// 99 of a hundred.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latencies {
    /// How long one took on average; `None` if there was none.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.total.checked_div(count)
    }
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Striped::new())
    }

    /// One more that took so long.
    pub fn count(&self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let buckets = self.0.own();
        buckets.counts[bucket_of(took_ns)].fetch_add(1, Relaxed);
        buckets.total_ns.fetch_add(took_ns, Relaxed);
        // Mostly it is not the longest: then nothing is written.
        if took_ns > buckets.max_ns.load(Relaxed) {
            buckets.max_ns.fetch_max(took_ns, Relaxed);
        }
    }

    /// What was counted so far. Costs a pass over all buckets, some microseconds.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let mut counts = [0_u64; BUCKETS];
        let (mut total_ns, mut max_ns) = (0_u64, 0_u64);
        for buckets in self.0.all() {
            for (sum, count) in counts.iter_mut().zip(&buckets.counts) {
                *sum += count.load(Relaxed);
            }
            total_ns = total_ns.saturating_add(buckets.total_ns.load(Relaxed));
            max_ns = max_ns.max(buckets.max_ns.load(Relaxed));
        }
        let count = counts.iter().sum();
        let quantile = |percent| Duration::from_nanos(quantile(&counts, count, percent).min(max_ns));
        Latencies {
            count,
            total: Duration::from_nanos(total_ns),
            p50: quantile(50),
            p90: quantile(90),
            p99: quantile(99),
            max: Duration::from_nanos(max_ns),
        }
    }
}

/// The middle of the bucket in which the given share of `count` is reached.
fn quantile(counts: &[u64; BUCKETS], count: u64, percent: u64) -> u64 {
    let wanted = (u128::from(count) * u128::from(percent)).div_ceil(100);
    let mut seen = 0_u128;
    let reached = counts.iter().position(|&count| {
        seen += u128::from(count);
        seen >= wanted && wanted > 0
    });
    reached.map_or(0, middle_of)
}

/// Up to 15 ns each has a bucket of its own; from there on `LINEAR` follow for each power of two.
fn bucket_of(ns: u64) -> usize {
    let ns = ns.min((1 << LONGEST_BITS) - 1);
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(LINEAR_BITS + 1);
    // Below 16 and below 40 * 8: neither can be cut off.
    usize::try_from(ns >> shift).unwrap_or(0) + LINEAR * shift as usize
}

/// In the middle of all that lie in this bucket.
fn middle_of(bucket: usize) -> u64 {
    let shift = (bucket / LINEAR).saturating_sub(1);
    let first = ((bucket - LINEAR * shift) as u64) << shift;
    first + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_lies_in_one_bucket_whose_middle_is_near() {
        let mut last = 0;
        for bits in 0..64 {
            for ns in [1_u64 << bits, (1 << bits) + (1 << bits) / 3, (1 << bits) - 1] {
                let bucket = bucket_of(ns);
                assert!(bucket < BUCKETS, "{ns} ns: bucket {bucket}");
                let ns = ns.min((1 << LONGEST_BITS) - 1);
                assert!(middle_of(bucket).abs_diff(ns) <= ns / 16, "{ns} ns: {}", middle_of(bucket));
            }
        }
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(middle_of(bucket)), bucket);
            assert!(bucket == 0 || middle_of(bucket) > last, "buckets are in order");
            last = middle_of(bucket);
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted_by_all_threads() {
        let took = Histogram::new();
        assert_eq!(took.latencies(), Latencies::default());
        std::thread::scope(|scope| {
            for part in 0..4_u64 {
                let took = &took;
                scope.spawn(move || {
                    for us in (1..=10_000_u64).filter(|us| us % 4 == part) {
                        took.count(Duration::from_micros(us));
                    }
                });
            }
        });
        let latencies = took.latencies();
        assert_eq!(latencies.count, 10_000);
        assert_eq!(latencies.total, Duration::from_micros(10_000 * 10_001 / 2));
        assert_eq!(latencies.max, Duration::from_millis(10));
        for (share, quantile) in [(50, latencies.p50), (90, latencies.p90), (99, latencies.p99)] {
            let exact = Duration::from_micros(100 * share);
            assert!(quantile.abs_diff(exact) <= exact / 16, "p{share}: {quantile:?} for {exact:?}");
        }
        assert_eq!(latencies.mean(), Some(Duration::from_nanos(5_000_500)));
    }

    #[test]
    fn one_alone_is_every_quantile_and_none_is_longer_than_the_longest() {
        let took = Histogram::new();
        took.count(Duration::from_nanos(1_000_001));
        let latencies = took.latencies();
        assert!(latencies.p50 <= latencies.max && latencies.p50 == latencies.p99, "{latencies:?}");
        took.count(Duration::MAX);
        assert_eq!(took.latencies().max, Duration::from_nanos(u64::MAX));
        assert!(
            took.latencies().p99 < Duration::from_secs(4400),
            "what is too long is counted in the last bucket"
        );
    }
}
