//! Maps without eviction: what is possible, not what is competed with.

use ahash::RandomState;

use super::{Key, Lends, Reads, Role, Value};

/// Only ever read, and by one thread: no lock, no atomic, no eviction.
pub(crate) struct HashBrown<K, V>(hashbrown::HashMap<K, V, RandomState>);

impl<K: Key, V: Value> Reads<K, V> for HashBrown<K, V> {
    const NAME: &'static str = "hashbrown";
    const ROLE: Role = Role::Bound;
    const NOTE: &'static str = "a map for one thread, without eviction";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        let mut map = hashbrown::HashMap::with_capacity_and_hasher(capacity, RandomState::new());
        map.extend(entries);
        Self(map)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key).cloned()
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

pub(crate) struct Papaya<K, V>(papaya::HashMap<K, V, RandomState>);

impl<K: Key, V: Value> Reads<K, V> for Papaya<K, V> {
    const NAME: &'static str = "papaya";
    const ROLE: Role = Role::Bound;
    const NOTE: &'static str = "a map without eviction";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        let map = papaya::HashMap::with_capacity_and_hasher(capacity, RandomState::new());
        let pinned = map.pin();
        for (key, value) in entries {
            pinned.insert(key, value);
        }
        drop(pinned);
        Self(map)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.pin().get(key).cloned()
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl<K: Key, V: Value> Lends<K, V> for Papaya<K, V> {
    #[inline(always)]
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.pin().get(key).map(f)
    }
}

pub(crate) struct DashMap<K, V>(dashmap::DashMap<K, V, RandomState>);

impl<K: Key, V: Value> Reads<K, V> for DashMap<K, V> {
    const NAME: &'static str = "dashmap";
    const ROLE: Role = Role::Bound;
    const NOTE: &'static str = "a map without eviction";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self {
        let map = dashmap::DashMap::with_capacity_and_hasher(capacity, RandomState::new());
        for (key, value) in entries {
            map.insert(key, value);
        }
        Self(map)
    }

    #[inline(always)]
    fn get(&self, key: &K::Lent) -> Option<V> {
        self.0.get(key).map(|entry| entry.value().clone())
    }

    fn residents(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl<K: Key, V: Value> Lends<K, V> for DashMap<K, V> {
    #[inline(always)]
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.get(key).map(|entry| f(entry.value()))
    }
}
