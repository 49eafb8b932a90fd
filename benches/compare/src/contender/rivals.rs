//! Other caches, each with its own defaults but for the capacity and the hasher.

use std::marker::PhantomData;
use std::num::NonZeroUsize;

use ahash::RandomState;
use mini_moka::sync::ConcurrentCacheExt;
use parking_lot::Mutex;

use super::{Evicts, Key, Lends, Loads, Reads, Value, filled};

pub(crate) struct QuickCache<K: Key, V: Value>(
    quick_cache::sync::Cache<K, V, quick_cache::UnitWeighter, RandomState>,
);

impl<K: Key, V: Value> Reads<K, V> for QuickCache<K, V> {
    const NAME: &'static str = "quick_cache";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key)
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl<K: Key, V: Value> Evicts<K, V> for QuickCache<K, V> {
    fn empty(capacity: usize) -> Self {
        let weighter = quick_cache::UnitWeighter;
        let lifecycle = quick_cache::sync::DefaultLifecycle::default();
        let cache = quick_cache::sync::Cache::with(
            capacity,
            capacity as u64,
            weighter,
            RandomState::new(),
            lifecycle,
        );
        Self(cache)
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

impl<K: Key, V: Value> Loads<K, V> for QuickCache<K, V> {
    #[inline(always)]
    fn get_or_load(&self, key: &K::Lent, load: impl FnOnce() -> V) -> V {
        let loaded = self.0.get_or_insert_with(key, || Ok::<_, std::convert::Infallible>(load()));
        match loaded {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

pub(crate) struct Moka<K, V>(moka::sync::Cache<K, V, RandomState>);

impl<K: Key, V: Value> Reads<K, V> for Moka<K, V> {
    const NAME: &'static str = "moka";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key)
    }

    fn residents(&self) -> Option<usize> {
        self.0.run_pending_tasks();
        usize::try_from(self.0.entry_count()).ok()
    }
}

impl<K: Key, V: Value> Evicts<K, V> for Moka<K, V> {
    fn empty(capacity: usize) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(capacity as u64).build_with_hasher(RandomState::new()))
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

impl<K: Key, V: Value> Loads<K, V> for Moka<K, V> {
    #[inline(always)]
    fn get_or_load(&self, key: &K::Lent, load: impl FnOnce() -> V) -> V {
        self.0.get_with_by_ref(key, load)
    }
}

/// Only for integers here: it looks up by `&K` alone.
pub(crate) struct MiniMoka<K, V>(mini_moka::sync::Cache<K, V, RandomState>);

impl<V: Value> Reads<u64, V> for MiniMoka<u64, V> {
    const NAME: &'static str = "mini-moka";

    fn filled(capacity: usize, entries: impl Iterator<Item = (u64, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.get(key)
    }

    fn residents(&self) -> Option<usize> {
        self.0.sync();
        usize::try_from(self.0.entry_count()).ok()
    }
}

impl<V: Value> Evicts<u64, V> for MiniMoka<u64, V> {
    fn empty(capacity: usize) -> Self {
        Self(
            mini_moka::sync::Cache::builder()
                .max_capacity(capacity as u64)
                .build_with_hasher(RandomState::new()),
        )
    }

    #[inline(always)]
    fn insert(&self, key: u64, value: V) {
        self.0.insert(key, value);
    }
}

pub(crate) struct Foyer<K: Key, V: Value>(pub(crate) foyer::Cache<K, V, RandomState>);

impl<K: Key, V: Value> Reads<K, V> for Foyer<K, V> {
    const NAME: &'static str = "foyer";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.entries())
    }
}

impl<K: Key, V: Value> Evicts<K, V> for Foyer<K, V> {
    fn empty(capacity: usize) -> Self {
        Self(foyer::CacheBuilder::new(capacity).with_hash_builder(RandomState::new()).build())
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

/// By its entry, which counts references to the record: the value is not cloned.
impl<K: Key, V: Value> Lends<K, V> for Foyer<K, V> {
    #[inline(always)]
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.get(key).map(|entry| f(entry.value()))
    }
}

/// foyer with a policy other than its default, each as its documentation has it.
pub(crate) struct FoyerWith<P>(Foyer<u64, u64>, PhantomData<P>);

/// One of foyer's policies: its configuration by default.
pub(crate) trait FoyerPolicy: Default + Into<foyer::EvictionConfig> + Send + Sync + 'static {
    const NAME: &'static str;
}

impl FoyerPolicy for foyer::S3FifoConfig {
    const NAME: &'static str = "foyer-s3fifo";
}

impl FoyerPolicy for foyer::LfuConfig {
    const NAME: &'static str = "foyer-lfu";
}

impl FoyerPolicy for foyer::SieveConfig {
    const NAME: &'static str = "foyer-sieve";
}

pub(crate) type FoyerS3Fifo = FoyerWith<foyer::S3FifoConfig>;
pub(crate) type FoyerLfu = FoyerWith<foyer::LfuConfig>;
pub(crate) type FoyerSieve = FoyerWith<foyer::SieveConfig>;

impl<P: FoyerPolicy> Reads<u64, u64> for FoyerWith<P> {
    const NAME: &'static str = P::NAME;

    fn filled(capacity: usize, entries: impl Iterator<Item = (u64, u64)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &u64) -> Option<u64> {
        self.0.get(key)
    }

    fn residents(&self) -> Option<usize> {
        self.0.residents()
    }
}

impl<P: FoyerPolicy> Evicts<u64, u64> for FoyerWith<P> {
    fn empty(capacity: usize) -> Self {
        let builder = foyer::CacheBuilder::new(capacity).with_eviction_config(P::default());
        Self(Foyer(builder.with_hash_builder(RandomState::new()).build()), PhantomData)
    }

    #[inline(always)]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }
}

pub(crate) struct SccHashCache<K: Key, V: Value>(scc::HashCache<K, V, RandomState>);

impl<K: Key, V: Value> Reads<K, V> for SccHashCache<K, V> {
    const NAME: &'static str = "scc";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.read_sync(key, |_, value| value.clone())
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl<K: Key, V: Value> Evicts<K, V> for SccHashCache<K, V> {
    fn empty(capacity: usize) -> Self {
        Self(scc::HashCache::with_capacity_and_hasher(capacity, capacity, RandomState::new()))
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        // A key that is there already is handed back; rows insert new ones, or what they have just missed.
        drop(self.0.put_sync(key, value));
    }
}

impl<K: Key, V: Value> Lends<K, V> for SccHashCache<K, V> {
    #[inline(always)]
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.read_sync(key, |_, value| f(value))
    }
}

/// Only for integers here: it looks up by `&K` alone.
pub(crate) struct TinyUfoCache<K, V>(tinyufo::TinyUfo<K, V>);

impl<V: Value> Reads<u64, V> for TinyUfoCache<u64, V> {
    const NAME: &'static str = "TinyUFO";
    const NOTE: &'static str = "keeps hashes of keys, not keys; does not tell how many";

    fn filled(capacity: usize, entries: impl Iterator<Item = (u64, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &u64) -> Option<V> {
        self.0.get(key)
    }

    fn residents(&self) -> Option<usize> {
        None
    }
}

impl<V: Value> Evicts<u64, V> for TinyUfoCache<u64, V> {
    fn empty(capacity: usize) -> Self {
        Self(tinyufo::TinyUfo::new(capacity, capacity))
    }

    #[inline(always)]
    fn insert(&self, key: u64, value: V) {
        self.0.put(key, value, 1);
    }
}

pub(crate) struct Fibre<K: Key, V: Value>(fibre_cache::Cache<K, V, RandomState>);

impl<K: Key, V: Value> Reads<K, V> for Fibre<K, V> {
    const NAME: &'static str = "fibre_cache";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key, V::clone)
    }

    fn residents(&self) -> Option<usize> {
        self.0.run_maintenance();
        usize::try_from(self.0.metrics().current_cost).ok()
    }
}

impl<K: Key, V: Value> Evicts<K, V> for Fibre<K, V> {
    fn empty(capacity: usize) -> Self {
        let built =
            fibre_cache::CacheBuilder::new().capacity(capacity as u64).hasher(RandomState::new()).build();
        Self(built.expect("a capacity and a hasher go together"))
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value, 1);
    }
}

impl<K: Key, V: Value> Lends<K, V> for Fibre<K, V> {
    #[inline(always)]
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.get(key, f)
    }
}

pub(crate) struct Cached<K: Key, V: Value>(cached::ShardedLruCache<K, V>);

impl<K: Key, V: Value> Reads<K, V> for Cached<K, V> {
    const NAME: &'static str = "cached";
    const NOTE: &'static str = "ShardedLruCache";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key)
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl<K: Key, V: Value> Evicts<K, V> for Cached<K, V> {
    fn empty(capacity: usize) -> Self {
        Self(cached::ShardedLruCache::new(capacity))
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        drop(self.0.set(key, value));
    }
}

pub(crate) struct MutexLru<K: Key, V: Value>(Mutex<lru::LruCache<K, V, RandomState>>);

impl<K: Key, V: Value> Reads<K, V> for MutexLru<K, V> {
    const NAME: &'static str = "Mutex<lru>";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.lock().get(key).cloned()
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.lock().len())
    }
}

impl<K: Key, V: Value> Evicts<K, V> for MutexLru<K, V> {
    fn empty(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).expect("no row asks for a capacity of zero");
        Self(Mutex::new(lru::LruCache::with_hasher(capacity, RandomState::new())))
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        // What has to leave is dropped after the lock, as a careful user would.
        let left = self.0.lock().push(key, value);
        drop(left);
    }
}

impl<K: Key, V: Value> Lends<K, V> for MutexLru<K, V> {
    #[inline(always)]
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.lock().get(key).map(f)
    }
}
