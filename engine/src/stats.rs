//! Counters, free when not asked for: of look-ups one set per thread, of all else one per shard, so that counting
//! threads do not meet.

use crate::lifecycle::Cause;
use crate::reclaim::stripe;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

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

/// Look-ups, counted on a line that the thread has for itself: by a load, an addition and a store.
#[derive(Debug)]
pub(crate) struct Lookups {
    /// Hits are counted now. Misses always are. All that a hit asks that is not counted.
    counts_hits: AtomicBool,
    /// `None`: nobody asked for it.
    stripes: Option<Box<Stripes>>,
    /// Who built the engine asked for it.
    is_shown: bool,
}

#[derive(Debug)]
struct Stripes {
    own: [Stripe; STRIPES],
    /// For all threads that have none of their own.
    common: Stripe,
}

/// Two lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Lookups {
    /// Counts if they are to be shown; or if the advisor needs them, and then hits only when it says so.
    pub(crate) fn new(is_shown: bool, is_advised: bool) -> Self {
        let stripes =
            || Stripes { own: std::array::from_fn(|_| Stripe::default()), common: Stripe::default() };
        Self {
            counts_hits: AtomicBool::new(is_shown),
            stripes: (is_shown || is_advised).then(|| Box::new(stripes())),
            is_shown,
        }
    }

    /// Whether hits are counted from now on; always, if they are to be shown.
    pub(crate) fn count_hits(&self, wanted: bool) {
        self.counts_hits.store(wanted || self.is_shown, Ordering::Relaxed);
    }

    /// `stripe` is this thread's.
    #[inline(always)]
    pub(crate) fn hit(&self, stripe: Option<usize>) {
        // The model checker has one place less to look at.
        if cfg!(nanotier_loom) && self.stripes.is_none() {
            return;
        }
        if self.counts_hits.load(Ordering::Relaxed) {
            if let Some(stripes) = &self.stripes {
                stripes.count(stripe, |stripe| &stripe.hits);
            }
        }
    }

    pub(crate) fn miss(&self) {
        if let Some(stripes) = &self.stripes {
            stripes.count(stripe(), |stripe| &stripe.misses);
        }
    }

    pub(crate) fn add_to(&self, sum: &mut Stats) {
        if self.is_shown {
            let (hits, misses) = self.counted();
            sum.hits = sum.hits.saturating_add(hits);
            sum.misses = sum.misses.saturating_add(misses);
        }
    }

    /// Hits and misses, as far as they were counted.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let Some(stripes) = &self.stripes else { return (0, 0) };
        let (mut hits, mut misses) = (0_u64, 0_u64);
        for stripe in stripes.own.iter().chain([&stripes.common]) {
            hits = hits.saturating_add(stripe.hits.load(Ordering::Relaxed));
            misses = misses.saturating_add(stripe.misses.load(Ordering::Relaxed));
        }
        (hits, misses)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.stripes.as_deref().map_or(0, size_of_val)
    }
}

impl Stripes {
    #[inline(always)]
    fn count(&self, stripe: Option<usize>, which: impl FnOnce(&Stripe) -> &AtomicU64) {
        match stripe.and_then(|nth| self.own.get(nth)) {
            Some(own) => {
                let counter = which(own);
                // No other thread writes to it while this one lives, and the one that had the number before has ended.
                counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            None => {
                which(&self.common).fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// How many threads can have a line of their own.
const STRIPES: usize = 64;

/// One shard's counters. Written by whoever works in the shard, read by `stats`. Relaxed throughout: nothing is
/// published by them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    on: bool,
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

    #[inline]
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
        add(&mut sum.loads, &self.loads);
        add(&mut sum.inserts, &self.inserts);
        add(&mut sum.rejections, &self.rejections);
        add(&mut sum.evictions, &self.evictions);
        add(&mut sum.expirations, &self.expirations);
        add(&mut sum.replacements, &self.replacements);
        add(&mut sum.removals, &self.removals);
    }
}
