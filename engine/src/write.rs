//! Writes: each finds, asks, voids the key's load, then changes, in this order. Up to the change nothing has
//! happened, so that a panic of what is asked leaves all as it was; and a load is void before the key is changed.

use crate::engine::Engine;
use crate::lifecycle::{Cause, Lifecycle};
use crate::shard::Inserted;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// What [`Engine::compute`] is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compute<V> {
    /// Leave the key as it is.
    Keep,
    /// Give the key this value.
    Put(V),
    /// Remove the key.
    Remove,
}

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// Gives `key` this value. What has to leave for it leaves first: the key's old value, a few dead entries, then
    /// as many as the policy must give up. So the capacity holds at every moment, and the new value is never the
    /// one that leaves. A load of this key that is under way will not be admitted.
    ///
    /// Cost: one hash, one exclusive lock of one shard, amortised constant work.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    ///
    /// ```
    /// use nanotier_engine::{Engine, Inserted};
    ///
    /// let engine: Engine<&str, u32> = Engine::new(1);
    /// assert_eq!(engine.insert("a", 1), Inserted::Done);
    /// assert_eq!(engine.insert("a", 2), Inserted::Replaced);
    /// assert_eq!(engine.insert("b", 3), Inserted::Done);
    /// assert_eq!((engine.get("a"), engine.get("b")), (None, Some(3)));
    /// assert_eq!(Engine::new(0).insert("a", 1), Inserted::Rejected);
    /// ```
    pub fn insert(&self, key: K, value: V) -> Inserted {
        let weight = self.lifecycle.weight(&key, &value);
        let hash = self.hash(&key);
        let mut shard = self.writing(hash);
        let found = shard.residents.find(hash, &key);
        shard.residents.flights.void(hash, &key);
        let inserted = shard.put(hash, found, key, value, weight);
        drop(shard);
        inserted
    }

    /// As [`insert`](Self::insert), if `admit` says yes to what is there; else `None`, and nothing has changed.
    ///
    /// Nothing happens to the key between the question and the insert. `admit` sees the resident value even where
    /// it is dead, so that a caller who compares versions is not led astray by an expiry. It runs under the
    /// exclusive lock of the key's shard.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    ///
    /// ```
    /// use nanotier_engine::{Engine, Inserted};
    ///
    /// let engine: Engine<&str, (u64, char)> = Engine::new(10);
    /// let newer = |version| move |old: Option<&(u64, char)>| old.is_none_or(|old| old.0 < version);
    /// assert_eq!(engine.insert_if("k", (5, 'a'), newer(5)), Some(Inserted::Done));
    /// assert_eq!(engine.insert_if("k", (4, 'b'), newer(4)), None);
    /// assert_eq!(engine.get("k"), Some((5, 'a')));
    /// ```
    pub fn insert_if(&self, key: K, value: V, admit: impl FnOnce(Option<&V>) -> bool) -> Option<Inserted> {
        let weight = self.lifecycle.weight(&key, &value);
        let hash = self.hash(&key);
        let mut shard = self.writing(hash);
        let found = shard.residents.find(hash, &key);
        if !admit(found.map(|index| shard.residents.entry(index).1)) {
            return None;
        }
        shard.residents.flights.void(hash, &key);
        let inserted = shard.put(hash, found, key, value, weight);
        drop(shard);
        Some(inserted)
    }

    /// Decides what becomes of `key` by what it has, and says what it has then. Nothing happens to the key in
    /// between. `f` sees the live value, `None` if there is none; it runs under the exclusive lock of the key's
    /// shard, and so do the clone of the answer and the weigher. Putting a value too heavy for the capacity
    /// removes the key. `Keep` counts as a use, and does not void a load under way; the others do.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    ///
    /// ```
    /// use nanotier_engine::{Compute, Engine};
    ///
    /// let engine: Engine<&str, u32> = Engine::new(10);
    /// let count = |old: Option<&u32>| Compute::Put(old.map_or(1, |count| count + 1));
    /// assert_eq!(engine.compute("k", count), Some(1));
    /// assert_eq!(engine.compute("k", count), Some(2));
    /// assert_eq!(engine.compute("k", |_| Compute::Remove), None);
    /// ```
    pub fn compute(&self, key: K, f: impl FnOnce(Option<&V>) -> Compute<V>) -> Option<V>
    where
        V: Clone,
    {
        let hash = self.hash(&key);
        // Declared before the lock, to be dropped after it, even if a hook panics.
        let mut fresh = None;
        let answer;
        let mut shard = self.writing(hash);
        let found = shard.residents.find(hash, &key);
        let live = found.filter(|&index| !shard.is_dead(index));
        let wish = f(live.map(|index| shard.residents.entry(index).1));
        match wish {
            Compute::Keep => {
                answer = live.map(|index| shard.residents.entry(index).1.clone());
                if let Some(index) = live {
                    shard.residents.used(index);
                }
            }
            Compute::Put(value) => {
                let value_ref = fresh.insert(value);
                let weight = self.lifecycle.weight(&key, value_ref);
                answer = Some(value_ref.clone());
                shard.residents.flights.void(hash, &key);
                let value = fresh.take().expect("the value was put here right above");
                let inserted = shard.put(hash, found, key, value, weight);
                drop(shard);
                return answer.filter(|_| inserted != Inserted::Rejected);
            }
            Compute::Remove => {
                answer = None;
                shard.residents.flights.void(hash, &key);
                if let Some(index) = found {
                    let cause = if live.is_some() { Cause::Explicit } else { Cause::Expired };
                    shard.retire(index, cause);
                }
            }
        }
        drop(shard);
        // By name: a value on its way out leaks if a key's drop panics then.
        drop(key);
        answer
    }

    /// Removes `key`, and says whether it had a live value. A load of it that is under way will not be admitted:
    /// once this returns, no value from before is seen again.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let mut shard = self.writing(hash);
        let found = shard.residents.find(hash, key);
        let cause = found.map(|index| (index, shard.cause(index, Cause::Explicit)));
        shard.residents.flights.void(hash, key);
        if let Some((index, cause)) = cause {
            shard.retire(index, cause);
        }
        drop(shard);
        matches!(cause, Some((_, Cause::Explicit)))
    }

    /// As [`remove`](Self::remove), and returns the live value it had. No listener is told of it.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn take<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.take_checked(key, true, |_| true)
    }

    /// Takes the live value of `key` if `f` says yes to it. Nothing happens to the key between the question and
    /// the removal. `f` runs under the exclusive lock of the key's shard; it is not asked about a dead value,
    /// which leaves in any case. A load under way is voided only if a live value was taken.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn remove_if<Q>(&self, key: &Q, f: impl FnOnce(&V) -> bool) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.take_checked(key, false, f)
    }

    fn take_checked<Q>(&self, key: &Q, always_void: bool, f: impl FnOnce(&V) -> bool) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let mut shard = self.writing(hash);
        let found = shard.residents.find(hash, key);
        let live = found.filter(|&index| !shard.is_dead(index));
        let wanted = live.filter(|&index| f(shard.residents.entry(index).1));
        if always_void || wanted.is_some() {
            shard.residents.flights.void(hash, key);
        }
        let mut taken = None;
        if let Some(index) = wanted {
            taken = Some(shard.hand_out(index));
        } else if let (Some(index), None) = (found, live) {
            shard.retire(index, Cause::Expired);
        }
        drop(shard);
        let (resident, value) = taken?;
        // By name: a value on its way out leaks if a key's drop panics then.
        drop(resident);
        Some(value)
    }

    /// Removes every live entry to which `keep` says no, and every dead one without asking. Entries that come
    /// while it runs may be passed over. Loads under way will not be admitted, since `keep` cannot be asked about
    /// them. Holds the exclusive lock of one shard at a time, and `keep` runs under it.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.writing(self.id(), &self.lifecycle);
            shard.residents.flights.void_all();
            for index in 0..shard.residents.slot_count() {
                if shard.residents.slot(index).entry().is_none() {
                    continue;
                }
                if shard.is_dead(index) {
                    shard.retire(index, Cause::Expired);
                    continue;
                }
                let (key, value) = shard.residents.entry(index);
                if !keep(key, value) {
                    shard.retire(index, Cause::Explicit);
                }
            }
        }
    }

    /// Removes everything, and gives the tables' memory back. Loads under way will not be admitted. Shard after
    /// shard: an insert that runs at the same time may or may not survive.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.writing(self.id(), &self.lifecycle);
            shard.residents.flights.void_all();
            shard.retire_all(self.policy);
        }
    }
}
