//! nanotier: the engine, and the cache in front of it.

use std::marker::PhantomData;
use std::time::Duration;

use nanotier::Cache;
use nanotier_engine::{Engine, Options, Plain, Policy};

use super::{Evicts, Key, Lends, Loads, Reads, Role, Value, filled};

/// The engine with default options.
pub(crate) struct Nanotier<K, V>(pub(crate) Engine<K, V>);

impl<K: Key, V: Value> Reads<K, V> for Nanotier<K, V> {
    const NAME: &'static str = "nanotier";
    const ROLE: Role = Role::Ours;

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

impl<K: Key, V: Value> Evicts<K, V> for Nanotier<K, V> {
    fn empty(capacity: usize) -> Self {
        Self(Engine::new(capacity as u64))
    }

    #[inline(always)]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

impl<K: Key, V: Value> Lends<K, V> for Nanotier<K, V> {
    #[inline(always)]
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.read(key, f)
    }
}

impl<K: Key, V: Value> Loads<K, V> for Nanotier<K, V> {
    #[inline(always)]
    fn get_or_load(&self, key: &K::Lent, load: impl FnOnce() -> V) -> V {
        self.0.get_or_insert_with(key, load).expect("no loader here asks for its own key")
    }
}

/// The engine with exact LRU.
pub(crate) struct NanotierLru<K, V>(Engine<K, V>);

impl<K: Key, V: Value> Reads<K, V> for NanotierLru<K, V> {
    const NAME: &'static str = "nanotier LRU";
    const ROLE: Role = Role::Ours;

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        let options = Options::new(capacity as u64).policy(Policy::Lru);
        let engine = Engine::with(options, Plain).expect("a capacity and a policy go together");
        for (key, value) in entries {
            engine.insert(key, value);
        }
        Self(engine)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key)
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The cache, as a user builds it: in memory alone, entries live for an hour. Asked by `try_now`.
pub(crate) struct Facade<K, V>(pub(crate) Cache<K, V>);

impl Reads<u64, u64> for Facade<u64, u64> {
    const NAME: &'static str = "facade try_now";
    const ROLE: Role = Role::Ours;

    fn filled(capacity: usize, entries: impl Iterator<Item = (u64, u64)>) -> Self {
        filled(capacity, entries)
    }

    #[inline(always)]
    fn get(&self, key: &u64) -> Option<u64> {
        self.0.get(key).try_now().ok()?
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl Evicts<u64, u64> for Facade<u64, u64> {
    fn empty(capacity: usize) -> Self {
        let built = Cache::builder().capacity(capacity as u64).ttl(Duration::from_secs(3600)).build();
        Self(built.expect("a capacity and a ttl go together"))
    }

    #[inline(always)]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value).wait().expect("memory takes everything");
    }
}

/// The cache as a hit ratio is asked of it: nothing expires. Asked by `try_now`.
pub(crate) struct FacadeWith<B>(Facade<u64, u64>, PhantomData<B>);

/// A way to build a cache.
pub(crate) trait Build: Send + Sync + 'static {
    const NAME: &'static str;

    fn build(capacity: u64) -> Cache<u64, u64>;
}

/// A capacity and nothing else, as the documentation begins.
pub(crate) struct ByDefault;

impl Build for ByDefault {
    const NAME: &'static str = "nanotier";

    fn build(capacity: u64) -> Cache<u64, u64> {
        Cache::new(capacity)
    }
}

/// Exact LRU.
pub(crate) struct AsLru;

impl Build for AsLru {
    const NAME: &'static str = "nanotier-lru";

    fn build(capacity: u64) -> Cache<u64, u64> {
        let built = Cache::builder().capacity(capacity).policy(nanotier::Policy::Lru).build();
        built.expect("a capacity and a policy go together")
    }
}

pub(crate) type FacadeDefault = FacadeWith<ByDefault>;
pub(crate) type FacadeLru = FacadeWith<AsLru>;

impl<B: Build> Reads<u64, u64> for FacadeWith<B> {
    const NAME: &'static str = B::NAME;
    const ROLE: Role = Role::Ours;

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

impl<B: Build> Evicts<u64, u64> for FacadeWith<B> {
    fn empty(capacity: usize) -> Self {
        Self(Facade(B::build(capacity as u64)), PhantomData)
    }

    #[inline(always)]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }
}
