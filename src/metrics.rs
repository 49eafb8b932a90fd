//! What a cache has counted, as plain numbers.

use std::hash::Hash;

use nanotier_tier::measure::{Latencies, TierMetrics};

use crate::Stats;
use crate::cache::Cache;

/// What a cache holds and has counted since it was built: [`Cache::metrics`](crate::Cache::metrics).
///
/// As text ([`Display`](std::fmt::Display)) it is the [report](crate::Cache::report) for people.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// The cache's namespace, where it has one.
    pub name: Option<String>,
    /// Whether it counts: [`Builder::stats`](crate::Builder::stats). If not, all that is counted is zero.
    pub counts: bool,
    /// How many entries memory holds.
    pub entries: u64,
    /// How many it may hold.
    pub capacity: u64,
    /// Bytes that memory uses for its tables; what keys and values own on the heap is not in it.
    pub memory_used: usize,
    /// Look-ups in memory, and who came and left.
    pub memory: Stats,
    /// What calls came to that memory had no fresh answer for.
    pub calls: CallMetrics,
    /// Loaders that were run.
    pub loads: LoadMetrics,
    /// What lies below memory, near to far.
    pub tiers: Vec<TierMetrics>,
}

/// Of calls that memory had no fresh answer for, how many came to what. Misses and fresh values of tiers are not here:
/// [`Metrics::memory`] and [`Metrics::tiers`] have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallMetrics {
    /// Answered with a value no longer fresh.
    pub stale: u64,
    /// Answered by a look or a load that another call had begun.
    pub joined: u64,
    /// Answered by their own loader.
    pub computed: u64,
    /// Refused before anything was tried.
    pub rejected: u64,
    /// Failed.
    pub failed: u64,
    /// Left by their callers before the end.
    pub dropped: u64,
    /// Values that were replaced behind by new ones.
    pub refreshed: u64,
    /// Values that were to be replaced behind, and were not: nothing newer was found, or it failed.
    pub refreshed_in_vain: u64,
}

/// Loaders that were run, whether somebody waited or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadMetrics {
    /// Those of them that failed, panicked or were cut off.
    pub failed: u64,
    /// How many there were and how long they took, those that failed included.
    pub took: Latencies,
}

impl Metrics {
    /// The share of look-ups that memory answered, 0 to 1; `None` before the first one.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        self.memory.hit_ratio()
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What the cache holds, and what it has counted since it was built if [`Builder::stats`](crate::Builder::stats) asked for
    /// that. Each number is exact once the cache is at rest; while it works they are not of one moment.
    ///
    /// Costs some microseconds, and as many for each tier: for a scrape each few seconds.
    ///
    /// ```
    /// use nanotier::Cache;
    ///
    /// let squares: Cache<u64, u64> = Cache::builder().stats(true).build()?;
    /// for key in [1, 2, 1] {
    ///     squares.get_with(&key, async move || key * key).wait()?;
    /// }
    /// let metrics = squares.metrics();
    /// assert_eq!((metrics.memory.hits, metrics.calls.computed, metrics.loads.took.count), (1, 2, 2));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let inner = &*self.0;
        Metrics {
            name: inner.below.as_ref().map(|below| below.namespace.as_str().to_owned()),
            counts: inner.watch.counts(),
            entries: self.len() as u64,
            capacity: self.capacity(),
            memory_used: self.memory_used(),
            memory: self.stats(),
            calls: inner.watch.calls(),
            loads: inner.watch.loads(),
            tiers: inner.context.meters().tiers(),
        }
    }

    /// The same as text for people: hit ratio, what calls came to, each tier with its breaker, how long loads and tiers
    /// took. Its form may change.
    ///
    /// ```
    /// # let cache = nanotier::Cache::<u64, u64>::builder().stats(true).build()?;
    /// println!("{}", cache.report());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// ```text
    /// cache users
    ///   memory   9,812 of 10,000 entries, 462.3 KiB of tables
    ///   hits     98.2 % of 1,203,331 look-ups
    ///   calls    41 stale, 340 joined, 8,403 computed
    ///   tier 0   redb, 61.2 % of 21,660 reads found
    ///   tier 1   redis, breaker closed, 3 at it, 0 waiting, 0.1 % of 8,404 reads found
    ///                       calls   failed      p50      p90      p99      max
    ///   loads               8,403        1   5.2 ms   7.9 ms    12 ms    80 ms
    ///   tier 0 reads       21,660        0    11 µs    19 µs    62 µs   1.1 ms
    /// ```
    #[must_use]
    pub fn report(&self) -> String {
        self.metrics().to_string()
    }
}
