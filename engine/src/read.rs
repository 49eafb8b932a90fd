//! Reads: under the shared lock, except that LRU must move what it finds.

use crate::engine::Engine;
use crate::lifecycle::Lifecycle;
use crate::options::Policy;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// A clone of the live value for `key`; counts as a use. No allocation but the clone's own.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.read(key, V::clone)
    }

    /// What `f` makes of the live value for `key`, without cloning it; counts as a use. `f` runs under a shared
    /// lock: it may read this engine, and panics if it writes to it.
    ///
    /// ```
    /// use nanotier_engine::Engine;
    ///
    /// let engine: Engine<u32, String> = Engine::new(10);
    /// engine.insert(1, "a long text".to_owned());
    /// assert_eq!(engine.read(&1, |text| text.len()), Some(11));
    /// ```
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under this engine's exclusive lock.
    #[inline]
    pub fn read<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.read_hashed(self.hash(key), key, f)
    }

    #[inline]
    pub(crate) fn read_hashed<Q, R>(&self, hash: u64, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if self.policy == Policy::Lru && !self.id().is_held() {
            return self.read_moving(hash, key, f);
        }
        let shard = self.shard(hash);
        let reading = shard.reading(self.id());
        if let Some(index) = reading.residents.find(hash, key) {
            let (resident, value) = reading.residents.entry(index);
            if !self.lifecycle.is_dead(resident, value) {
                reading.residents.used_shared(index);
                shard.counters.count(|counters| &counters.hits);
                return Some(f(value));
            }
        }
        shard.counters.count(|counters| &counters.misses);
        None
    }

    /// A read that moves the entry in an order, and so needs the exclusive lock; `f` runs under the shared one.
    #[inline(never)]
    fn read_moving<Q, R>(&self, hash: u64, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let shard = self.shard(hash);
        let mut found = None;
        let reading = shard.reading_after(self.id(), |residents| {
            found = residents.find(hash, key).filter(|&index| {
                let (resident, value) = residents.entry(index);
                !self.lifecycle.is_dead(resident, value)
            });
            if let Some(index) = found {
                residents.used(index);
            }
        });
        let Some(index) = found else {
            shard.counters.count(|counters| &counters.misses);
            return None;
        };
        shard.counters.count(|counters| &counters.hits);
        Some(f(reading.residents.entry(index).1))
    }

    /// A clone of the live value for `key`, as if nobody had looked: no use, no statistics.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under this engine's exclusive lock.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.look(key, V::clone)
    }

    /// Whether `key` has a live value: no use, no statistics.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under this engine's exclusive lock.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look(key, |_| ()).is_some()
    }

    fn look<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let reading = self.shard(hash).reading(self.id());
        let index = reading.residents.find(hash, key)?;
        let (resident, value) = reading.residents.entry(index);
        if self.lifecycle.is_dead(resident, value) { None } else { Some(f(value)) }
    }

    /// Shows every live entry to `f`, in no particular order: no use, no statistics. What comes or leaves while
    /// it runs may or may not be seen; nothing is seen twice but what was removed and inserted again meanwhile.
    /// Holds the shared lock of one shard at a time; `f` runs under it, may read this engine, and panics if it
    /// writes to it.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under this engine's exclusive lock.
    pub fn for_each(&self, mut f: impl FnMut(&K, &V)) {
        for shard in &self.shards {
            let reading = shard.reading(self.id());
            for (_, key, value) in reading.residents.iter() {
                if !self.lifecycle.is_dead(key, value) {
                    f(key, value);
                }
            }
        }
    }

    /// The keys of all live entries, as [`for_each`](Self::for_each) sees them.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under this engine's exclusive lock.
    #[must_use]
    pub fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        let mut keys = Vec::with_capacity(self.len());
        self.for_each(|key, _| keys.push(key.clone()));
        keys
    }
}
