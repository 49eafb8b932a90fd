//! The engine: shards side by side, how it is built and sized. Its operations are in `read`, `write` and `load`.

use crate::held::EngineId;
use crate::lifecycle::{Lifecycle, Plain};
use crate::options::{Config, ConfigError, Options, Policy};
use crate::shard::{Shard, Writing};
use crate::stats::Stats;
use crate::sync::{AtomicU64, Ordering};
use ahash::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// A bounded in-memory cache. See the [crate](crate) for what it is, and for what may run under its locks.
///
/// Keys are looked up by anything that is [`Equivalent`] and hashes alike (`&str` for `String`), without
/// allocating. Shared between threads by reference; it is `Send` and `Sync` where keys and values are. When it is
/// dropped, its entries are dropped and no listener is called.
///
/// What is *dead* by the lifecycle is a miss for all reads, though it may still count in `len` and `weight`.
pub struct Engine<K, V, L = Plain, S = RandomState> {
    /// A power of two of them.
    pub(crate) shards: Box<[Shard<K, V>]>,
    /// How many bits of a hash choose the shard.
    shard_bits: u32,
    hasher: S,
    pub(crate) lifecycle: L,
    pub(crate) policy: Policy,
    /// Set by `set_capacity`, before it tells the shards their shares.
    capacity: AtomicU64,
}

impl<K: Hash + Eq, V> Engine<K, V> {
    /// An engine for at most `capacity` entries, with defaults for all else. Zero keeps nothing.
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
        let Config { capacity, shards: count, policy, stats } = config;
        let shards = (0..count).map(|nth| Shard::new(share(capacity, count, nth), policy, stats)).collect();
        let capacity = AtomicU64::new(capacity);
        Self { shards, shard_bits: count.ilog2(), hasher, lifecycle, policy, capacity }
    }

    /// How much weight may be resident in all.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Changes the capacity. What is then too much leaves before this returns: the dead, then as many as the
    /// policy must give up; that walks the shards' slots once. Zero removes everything and keeps nothing. With
    /// fewer than one for each shard, the keys of some shards are no longer kept. Of calls at the same time, one
    /// wins as a whole.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn set_capacity(&self, capacity: u64) {
        self.id().assert_not_held();
        self.capacity.store(capacity, Ordering::Relaxed);
        for (nth, shard) in self.shards.iter().enumerate() {
            let mut shard = shard.writing(self.id(), &self.lifecycle);
            // Read again under the lock: of two callers, the one whose value stays comes to each shard after its
            // own store, so whoever is last there reads that value.
            shard.set_capacity(share(self.capacity(), self.shards.len(), nth));
        }
    }

    /// What happened so far; all zero unless [`Options::stats`] asked for it. Costs a walk over the shards, no
    /// lock.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            shard.counters.add_to(&mut sum);
        }
        sum
    }

    /// The bytes of the tables and slots, vacant ones included. What keys and values own on the heap is not
    /// counted. Takes each shard's shared lock in turn.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under this engine's exclusive lock.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        let fixed = size_of::<Self>().saturating_add(size_of_val(&*self.shards));
        self.shards.iter().fold(fixed, |sum, shard| {
            let reading = shard.reading(self.id());
            sum.saturating_add(reading.residents.bytes())
        })
    }

    /// The hooks this engine was built with.
    #[must_use]
    pub fn lifecycle(&self) -> &L {
        &self.lifecycle
    }

    /// Walks the whole structure and panics if an invariant does not hold.
    #[cfg(any(test, fuzzing))]
    pub fn validate(&self) {
        for (nth, shard) in self.shards.iter().enumerate() {
            let reading = shard.reading(self.id());
            reading.residents.validate(|key| {
                let hash = self.hash(key);
                assert!(std::ptr::eq(self.shard(hash), &raw const self.shards[nth]), "a key is in its shard");
                hash
            });
            assert_eq!(shard.len(), reading.residents.len(), "the published length is the true one");
            assert_eq!(shard.weight(), reading.residents.weight(), "the published weight is the true one");
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> EngineId {
        EngineId::of(&self.shards)
    }

    #[inline]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The shard's bits come right below the top seven, which tell entries apart inside a shard's table; the
    /// lowest bits choose the place there.
    #[inline]
    pub(crate) fn shard(&self, hash: u64) -> &Shard<K, V> {
        let bits = (hash << TAG_BITS) >> 1 >> (63 - self.shard_bits);
        // The shift leaves fewer bits than there are shards.
        #[allow(clippy::cast_possible_truncation)]
        &self.shards[bits as usize]
    }

    pub(crate) fn writing(&self, hash: u64) -> Writing<'_, K, V, L> {
        self.shard(hash).writing(self.id(), &self.lifecycle)
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
            .field("capacity", &self.capacity.load(Ordering::Relaxed))
            .field("shards", &self.shards.len())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The part of `capacity` that the shard `nth` of `count` has: the shares differ by one at most and add up.
fn share(capacity: u64, count: usize, nth: usize) -> u64 {
    let count = count as u64;
    capacity / count + u64::from((nth as u64) < capacity % count)
}

/// The top bits of a hash that hashbrown keeps as an entry's tag.
const TAG_BITS: u32 = 7;
