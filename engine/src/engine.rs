//! The engine: shards side by side, how it is built and sized. Its operations are in `read`, `write` and `load`.

use crate::advisor::Advisor;
use crate::budget::Budget;
use crate::held::EngineId;
use crate::lifecycle::{Lifecycle, Plain};
use crate::options::{Config, ConfigError, Options, Policy};
use crate::policy::Log;
#[cfg(any(test, fuzzing))]
use crate::residents::Residents;
use crate::settle::Settlement;
use crate::shard::{Shard, Writing};
use crate::stats::{Lookups, Stats};
use crate::sync::Arc;
use crate::table::Sharded;
use ahash::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// A bounded in-memory cache. See the [crate](crate) for what it is, and for what may run under its locks.
///
/// Keys are looked up by anything that is [`Equivalent`](crate::Equivalent) and hashes alike (`&str` for `String`), without
/// allocating. Shared between threads by reference; it is `Send` and `Sync` where keys and values are. When it is
/// dropped, its entries are dropped and no listener is called.
///
/// What is *dead* by the lifecycle is a miss for all reads, though it may still count in `len` and `weight`.
pub struct Engine<K, V, L = Plain, S = RandomState> {
    pub(crate) shards: Sharded<K, V, Shard<K, V>>,
    hasher: S,
    pub(crate) lifecycle: L,
    pub(crate) policy: Policy,
    /// Where the shards' uses are noted, under LRU; else empty.
    pub(crate) logs: Box<[Arc<Log>]>,
    pub(crate) stats: Lookups,
    pub(crate) advisor: Option<Box<Advisor>>,
    pub(crate) budget: Arc<Budget>,
}

impl<K: Hash + Eq, V> Engine<K, V> {
    /// An engine for at most `capacity` entries, with defaults for all else. Zero keeps nothing.
    ///
    /// From 2,000 on, entries are shared out among shards by their hashes, and each shard evicts for itself, once there is
    /// no capacity left that it could draw.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let config = Options::new(capacity).parse().expect("a capacity alone is always valid");
        Self::build(config, Plain, RandomState::new())
    }
}

impl<K: Hash + Eq, V, L: Lifecycle<K, V>> Engine<K, V, L> {
    /// An engine with these options and hooks, and a hash keyed at random.
    ///
    /// # Errors
    ///
    /// When the options contradict themselves: see [`ConfigError`].
    pub fn with(options: Options, lifecycle: L) -> Result<Self, ConfigError> {
        Self::with_hasher(options, lifecycle, RandomState::new())
    }
}

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// An engine with a hasher of one's own. A poor one costs speed, never correctness; one that an adversary can
    /// predict lets him choose keys that collide.
    ///
    /// # Errors
    ///
    /// When the options contradict themselves: see [`ConfigError`].
    // By value, as options are spent; a reference would only invite a second use.
    #[allow(clippy::needless_pass_by_value)]
    pub fn with_hasher(options: Options, lifecycle: L, hasher: S) -> Result<Self, ConfigError> {
        Ok(Self::build(options.parse()?, lifecycle, hasher))
    }

    fn build(config: Config, lifecycle: L, hasher: S) -> Self {
        let Config { capacity, shards: count, policy, stats, what_if } = config;
        let budget = Arc::new(Budget::new(capacity, count));
        let shards = Sharded::new(count, |_, seat| Shard::new(seat, &budget, policy, stats, L::WEIGHS));
        let logs = shards.iter().filter_map(Shard::log).cloned().collect();
        let advisor = what_if.then(|| Box::new(Advisor::new(capacity, policy, L::WEIGHS)));
        let stats = Lookups::new(stats, what_if);
        let engine = Self { shards, hasher, lifecycle, policy, logs, stats, advisor, budget };
        if let Some(advisor) = &engine.advisor {
            engine.follow(advisor.begin(&engine.stats));
        }
        engine
    }

    /// How much weight may be resident in all.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.budget.capacity()
    }

    /// Changes the capacity. What is then too much leaves before this returns: the dead, then as many as the policy must
    /// give up, from all shards alike. Zero removes everything and keeps nothing. Of calls at the same time, one wins as a
    /// whole.
    ///
    /// Each lock is held for some hundred entries at a time, so that others go on meanwhile.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    ///
    /// ```
    /// use nanotier_engine::Engine;
    ///
    /// let engine: Engine<u32, u32> = Engine::new(100);
    /// (0..100).for_each(|key| drop(engine.insert(key, key)));
    /// engine.set_capacity(10);
    /// assert_eq!(engine.len(), 10);
    /// ```
    pub fn set_capacity(&self, capacity: u64) {
        self.id().assert_not_held();
        self.budget.resize(capacity);
        Settlement::of(self, None).pay();
        if let Some(advisor) = &self.advisor {
            self.follow(advisor.set_capacity(self.capacity(), &self.stats));
        }
    }

    /// What happened so far; all zero unless [`Options::stats`] asked for it. Costs a walk over the shards, no
    /// lock.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.stats.add_to(&mut sum);
        for shard in &self.shards {
            shard.counters.add_to(&mut sum);
        }
        sum
    }

    /// The bytes of the tables, vacant places and entries on their way out included. What keys and values own on the
    /// heap is not counted. Takes each shard's lock in turn.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.id().assert_not_held();
        let advisor = self.advisor.as_ref().map_or(0, |advisor| advisor.bytes());
        let own = size_of::<Self>() + size_of_val(&*self.logs);
        let fixed = own + self.shards.bytes() + self.stats.bytes() + advisor;
        self.shards.iter().fold(fixed, |sum, shard| sum.saturating_add(shard.bytes()))
    }

    /// Drops what has left and is not being read.
    ///
    /// An entry that leaves is not dropped at once: a reader may be looking at it. Without this it is dropped when its
    /// place is needed again, after some more have left; at the latest when five batches have left its shard, a batch
    /// being a sixteenth of what the shard can hold, but 16 entries at least and 512 at most; with a weigher, also when a
    /// thirty-second part of the shard's capacity has. `clear`, `retain` and `set_capacity` flush of themselves.
    ///
    /// What is being read while this runs is dropped later, and what another flush has begun to drop perhaps a moment
    /// after this returns. Costs a barrier (2 to 3 µs) for each shard that has something to drop, and the drops.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    ///
    /// ```
    /// use nanotier_engine::Engine;
    /// use std::sync::Arc;
    ///
    /// let engine: Engine<u32, Arc<str>> = Engine::new(10);
    /// let text: Arc<str> = "text".into();
    /// engine.insert(1, Arc::clone(&text));
    /// engine.remove(&1);
    /// engine.flush();
    /// assert_eq!(Arc::strong_count(&text), 1);
    /// ```
    pub fn flush(&self) {
        self.id().assert_not_held();
        for shard in &self.shards {
            shard.table.flush();
        }
    }

    /// The hooks this engine was built with.
    #[must_use]
    pub fn lifecycle(&self) -> &L {
        &self.lifecycle
    }

    /// The keys of each shard under LRU, the least recently used first. Applies nothing that waits to be applied.
    #[cfg(test)]
    pub(crate) fn in_order(&self) -> Vec<Vec<K>>
    where
        K: Clone,
    {
        let order = |shard: &Shard<K, V>| {
            let mut locked = shard.table.lock();
            let order = Residents::new(locked.parts()).in_order()?.into_iter().cloned().collect();
            Some(order)
        };
        self.shards.iter().filter_map(order).collect()
    }

    /// Walks the whole structure and panics if an invariant does not hold.
    #[cfg(any(test, fuzzing))]
    pub fn validate(&self) {
        let mut drawn = 0;
        for shard in &self.shards {
            let mut locked = shard.table.lock();
            locked.validate(|key| {
                let hash = self.hash(key);
                assert!(std::ptr::eq(self.shard(hash), shard), "a key is in its shard");
                hash
            });
            assert_eq!(shard.len(), locked.len(), "the published length is the true one");
            assert_eq!(shard.weight(), locked.extra().weight(), "the published weight is the true one");
            let residents = Residents::new(locked.parts());
            residents.validate();
            drawn += residents.book.quota();
        }
        self.budget.validate(drawn);
    }

    #[inline]
    pub(crate) fn id(&self) -> EngineId {
        EngineId::of(&self.shards)
    }

    #[inline(always)]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        let hash = self.hasher.hash_one(key);
        // A hasher without a state of its own is often one that hardly mixes: small numbers stay small, and the upper
        // half, which chooses the bucket, stays empty. Decided when this is compiled.
        if size_of::<S>() == 0 { stir(hash) } else { hash }
    }

    #[inline]
    pub(crate) fn shard(&self, hash: u64) -> &Shard<K, V> {
        self.shards.shard(hash)
    }

    #[inline(always)]
    pub(crate) fn writing(&self, hash: u64) -> Writing<'_, K, V, L> {
        self.shard(hash).writing(self.id(), &self.lifecycle, hash)
    }
}

impl<K, V, L, S> Engine<K, V, L, S> {
    /// How many entries are resident, dead ones that have not left yet included. Costs a walk over the shards, no
    /// lock; exact when nothing else runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Whether nothing is resident: as [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight of what is resident, never more than the capacity when nothing else runs. Costs what
    /// [`len`](Self::len) does; saturates.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.saturating_add(shard.weight()))
    }
}

/// Sizes only: never a key or a value. Takes no lock.
impl<K, V, L, S> fmt::Debug for Engine<K, V, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("capacity", &self.budget.capacity())
            .field("shards", &self.shards.len())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Spreads what differs over all bits: a multiplication of which both halves are kept.
#[inline(always)]
pub(crate) fn stir(hash: u64) -> u64 {
    let product = u128::from(hash) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    // Both halves are meant.
    #[allow(clippy::cast_possible_truncation)]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low.rotate_left(32) ^ high
}
