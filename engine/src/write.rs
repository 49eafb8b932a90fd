//! Writes: each finds, asks, voids the key's load, then changes, in this order. Up to the change nothing has
//! happened, so that a panic of what is asked leaves all as it was; and a load is void before the key is changed.

use crate::engine::Engine;
use crate::lifecycle::{Cause, Lifecycle};
use crate::settle::Owing;
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
    /// There is one capacity for all shards. Only for a value that weighs more than its shard can make room for by itself,
    /// some leave from the others right after it came, and before this returns: for as long the capacity is exceeded, by
    /// no more than such values that are on their way in. Two at once may make each other leave.
    ///
    /// Cost: one hash, one lock of one shard, amortised constant work; for such a heavy value, the locks of all shards one
    /// after the other.
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
        let weight = self.weigh(&key, &value);
        let hash = self.hash(&key);
        // Declared before the lock, to be dropped after it.
        let mut pair = Some((key, value));
        let key = &pair.as_ref().expect("it was put here right above").0;
        // The lock's block: it is large, and to drop it by name would move it.
        let mut owing = Owing::of(self, hash);
        let inserted = {
            let mut shard = self.writing(hash);
            shard.residents().prefetch(hash);
            let found = shard.residents().find(hash, key);
            shard.residents().book.flights.void(hash, key);
            let inserted = shard.put(hash, found, &mut pair, weight);
            owing.owes = shard.owes();
            inserted
        };
        drop(owing);
        self.put_advised(hash, weight, inserted);
        inserted
    }

    /// As [`insert`](Self::insert), if `admit` says yes to what is there; else `None`, and nothing has changed.
    ///
    /// Nothing happens to the key between the question and the insert. `admit` sees the resident value even where
    /// it is dead, so that a caller who compares versions is not led astray by an expiry. It runs under the
    /// lock of the key's shard.
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
        let weight = self.weigh(&key, &value);
        let hash = self.hash(&key);
        // Declared before the lock, to be dropped after it.
        let mut pair = Some((key, value));
        let key = &pair.as_ref().expect("it was put here right above").0;
        let mut owing = Owing::of(self, hash);
        let inserted = {
            let mut shard = self.writing(hash);
            let found = shard.residents().find(hash, key);
            if !admit(found.map(|id| shard.entry(id).1)) {
                return None;
            }
            shard.residents().book.flights.void(hash, key);
            let inserted = shard.put(hash, found, &mut pair, weight);
            owing.owes = shard.owes();
            inserted
        };
        drop(owing);
        self.put_advised(hash, weight, inserted);
        Some(inserted)
    }

    /// Decides what becomes of `key` by what it has, and says what it has then. Nothing happens to the key in
    /// between. `f` sees the live value, `None` if there is none; it runs under the lock of the key's
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
        let mut key = Some(key);
        let mut fresh = None;
        let mut pair;
        let answer;
        let named = key.as_ref().expect("it was put here right above");
        let mut owing = Owing::of(self, hash);
        let mut shard = self.writing(hash);
        let found = shard.residents().find(hash, named);
        let live = found.filter(|&id| !shard.is_dead(id));
        let wish = f(live.map(|id| shard.entry(id).1));
        let is_removed = matches!(wish, Compute::Remove);
        match wish {
            Compute::Keep => {
                answer = live.map(|id| shard.entry(id).1.clone());
                if let Some(id) = live {
                    shard.residents().used(id);
                }
            }
            Compute::Put(value) => {
                let value_ref = fresh.insert(value);
                let weight = self.weigh(named, value_ref);
                answer = Some(value_ref.clone());
                shard.residents().book.flights.void(hash, named);
                pair = key.take().zip(fresh.take());
                let inserted = shard.put(hash, found, &mut pair, weight);
                owing.owes = shard.owes();
                drop(shard);
                // By name: a value on its way out leaks if another's drop panics then.
                drop(pair);
                drop(owing);
                self.put_advised(hash, weight, inserted);
                return answer.filter(|_| inserted != Inserted::Rejected);
            }
            Compute::Remove => {
                answer = None;
                shard.residents().book.flights.void(hash, named);
                if let Some(id) = found {
                    let cause = if live.is_some() { Cause::Explicit } else { Cause::Expired };
                    shard.retire(id, cause);
                }
            }
        }
        drop(shard);
        // By name: a value on its way out leaks if a key's drop panics then.
        drop(key);
        if is_removed {
            self.removed_advised(hash);
        }
        answer
    }

    /// Removes `key`, and says whether it had a live value. A load of it that is under way will not be admitted:
    /// once this returns, no value from before is seen again. Who is reading the value keeps it, and nobody waits.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.remove_checked(key, true, |_| true)
    }

    /// Removes `key` if it has a live value and `f` says yes to it; says whether it did. Nothing happens to the key
    /// between the question and the removal. `f` runs under the lock of the key's shard; it is not asked about a dead
    /// value, which leaves in any case. A load under way is voided only if a live value was removed.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn remove_if<Q>(&self, key: &Q, f: impl FnOnce(&V) -> bool) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.remove_checked(key, false, f)
    }

    fn remove_checked<Q>(&self, key: &Q, always_void: bool, f: impl FnOnce(&V) -> bool) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let mut shard = self.writing(hash);
        let found = shard.residents().find(hash, key);
        let live = found.filter(|&id| !shard.is_dead(id));
        let wanted = live.filter(|&id| f(shard.entry(id).1));
        if always_void || wanted.is_some() {
            shard.residents().book.flights.void(hash, key);
        }
        if let Some(id) = wanted {
            shard.retire(id, Cause::Explicit);
        } else if let (Some(id), None) = (found, live) {
            shard.retire(id, Cause::Expired);
        }
        drop(shard);
        if always_void || wanted.is_some() || live != found {
            self.removed_advised(hash);
        }
        wanted.is_some()
    }

    /// As [`remove`](Self::remove), and returns the live value it had. No listener is told of it.
    ///
    /// The value is the caller's alone then: this waits, outside the lock, for reads of this very value to end (with
    /// none, it costs a barrier of 2 to 3 µs). Nobody else waits meanwhile, and who looks finds nothing.
    ///
    /// So it has no place inside `read` or `for_each`: two threads, each reading what the other takes, would wait for
    /// each other for ever.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine, or in one that is reading this value.
    pub fn take<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.take_checked(key, true, |_| true)
    }

    /// Takes the live value of `key` if `f` says yes to it. Nothing happens to the key between the question and
    /// the removal. `f` runs under the lock of the key's shard; it is not asked about a dead value,
    /// which leaves in any case. A load under way is voided only if a live value was taken. Waits for reads as
    /// [`take`](Self::take) does.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine, or in one that is reading this value.
    pub fn take_if<Q>(&self, key: &Q, f: impl FnOnce(&V) -> bool) -> Option<V>
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
        let found = shard.residents().find(hash, key);
        let live = found.filter(|&id| !shard.is_dead(id));
        let wanted = live.filter(|&id| f(shard.entry(id).1));
        if always_void || wanted.is_some() {
            shard.residents().book.flights.void(hash, key);
        }
        let mut taken = None;
        if let Some(id) = wanted {
            taken = Some(shard.hand_out(id));
        } else if let (Some(id), None) = (found, live) {
            shard.retire(id, Cause::Expired);
        }
        drop(shard);
        if always_void || wanted.is_some() || live != found {
            self.removed_advised(hash);
        }
        // As soon as nobody reads it.
        let (resident, value) = self.shard(hash).table.reclaim(taken?);
        // By name: a value on its way out leaks if a key's drop panics then.
        drop(resident);
        Some(value)
    }

    /// Removes every live entry to which `keep` says no, and every dead one without asking. Entries that come
    /// while it runs may be passed over. Loads under way will not be admitted, since `keep` cannot be asked about
    /// them. Holds the lock of one shard at a time, and `keep` runs under it.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.writing(self.id(), &self.lifecycle, 0);
            shard.residents().book.flights.void_all();
            let mut next = 0;
            while let Some(id) = shard.residents().next_from(next) {
                next = id + 1;
                if shard.is_dead(id) {
                    shard.retire(id, Cause::Expired);
                    continue;
                }
                let (key, value) = shard.entry(id);
                if !keep(key, value) {
                    shard.retire(id, Cause::Explicit);
                }
            }
            shard.hurry();
        }
    }

    /// Removes everything, gives the memory of it back, and forgets how often keys were asked for. Loads under way will not be admitted. Shard after
    /// shard: an insert that runs at the same time may or may not survive. What is being read is dropped later.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.writing(self.id(), &self.lifecycle, 0);
            shard.residents().book.flights.void_all();
            shard.retire_all();
            shard.hurry();
        }
        if let Some(advisor) = &self.advisor {
            advisor.cleared();
        }
    }

    #[inline]
    pub(crate) fn weigh(&self, key: &K, value: &V) -> u64 {
        if L::WEIGHS { self.lifecycle.weight(key, value) } else { 1 }
    }
}
