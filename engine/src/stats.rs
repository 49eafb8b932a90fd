//! Counters: one set per shard, so that counting threads do not meet, and free when not asked for.

use crate::lifecycle::Cause;
use crate::sync::{AtomicU64, Ordering};

/// What happened since the engine was built: [`Engine::stats`](crate::Engine::stats). Each number is exact once
/// the engine is at rest; while it works, they are not of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Look-ups (`get`, `read`, `get_or_insert_with`) that found a live entry.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Loaders that were run, whatever came of it.
    pub loads: u64,
    /// Values admitted: by `insert`, `compute` or a load; replacements included.
    pub inserts: u64,
    /// Values refused as too heavy.
    pub rejections: u64,
    /// Live entries that left for [`Cause::Capacity`].
    pub evictions: u64,
    /// Entries that left for [`Cause::Expired`].
    pub expirations: u64,
    /// Entries that left for [`Cause::Replaced`].
    pub replacements: u64,
    /// Entries that left for [`Cause::Explicit`], or were taken.
    pub removals: u64,
}

impl Stats {
    /// The share of look-ups that were hits, 0 to 1; `None` before the first look-up.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let lookups = self.hits.saturating_add(self.misses);
        // The conversion loses digits beyond 2^53 look-ups, which a ratio does not show.
        (lookups > 0).then(|| self.hits as f64 / lookups as f64)
    }
}

/// One shard's counters. Written by whoever works in the shard, read by `stats`. Relaxed throughout: nothing is
/// published by them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    on: bool,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) inserts: AtomicU64,
    pub(crate) rejections: AtomicU64,
    evictions: AtomicU64,
    expirations: AtomicU64,
    replacements: AtomicU64,
    removals: AtomicU64,
}

impl Counters {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    #[inline]
    pub(crate) fn count(&self, which: impl FnOnce(&Self) -> &AtomicU64) {
        if self.on {
            which(self).fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn left(&self, cause: Cause) {
        self.count(|counters| match cause {
            Cause::Expired => &counters.expirations,
            Cause::Capacity => &counters.evictions,
            Cause::Replaced => &counters.replacements,
            Cause::Explicit => &counters.removals,
        });
    }

    pub(crate) fn add_to(&self, sum: &mut Stats) {
        let add = |to: &mut u64, from: &AtomicU64| *to = to.saturating_add(from.load(Ordering::Relaxed));
        add(&mut sum.hits, &self.hits);
        add(&mut sum.misses, &self.misses);
        add(&mut sum.loads, &self.loads);
        add(&mut sum.inserts, &self.inserts);
        add(&mut sum.rejections, &self.rejections);
        add(&mut sum.evictions, &self.evictions);
        add(&mut sum.expirations, &self.expirations);
        add(&mut sum.replacements, &self.replacements);
        add(&mut sum.removals, &self.removals);
    }
}
