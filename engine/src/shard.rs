//! A shard: residents behind a lock, and the two ways to hold it.
//!
//! User code that runs under the lock (Eq, Clone, `is_dead`, closures) runs between changes, never inside one, and
//! what leaves is dropped or announced after the lock is released, also when that code panics.

use crate::held::{EngineId, Held};
use crate::leaving::{Leaving, Outbox};
use crate::lifecycle::{Cause, Lifecycle};
use crate::options::Policy;
use crate::residents::Residents;
use crate::stats::Counters;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Aligned, so that neighbours share no cache line, nor a pair of them.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard<K, V> {
    residents: RwLock<Residents<K, V>>,
    outbox: Outbox<K, V>,
    pub(crate) counters: Counters,
    /// `residents`' length and weight as of the last change: written under the exclusive lock, read without one.
    len: AtomicUsize,
    weight: AtomicU64,
}

/// What became of a value that wanted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inserted {
    /// It is in, and the key had no live value.
    Done,
    /// It is in, and took the place of a live value.
    Replaced,
    /// It is heavier than the capacity allows: than the capacity of its shard. What the key had before is gone
    /// too, so that an older value is never served after a newer one was refused.
    Rejected,
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(capacity: u64, policy: Policy, stats: bool) -> Self {
        Self {
            residents: RwLock::new(Residents::new(capacity, policy)),
            outbox: Outbox::new(),
            counters: Counters::new(stats),
            len: AtomicUsize::new(0),
            weight: AtomicU64::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn reading(&self, engine: EngineId) -> Reading<'_, K, V> {
        let held = Held::shared(engine);
        // Recursive: a read nested in another must not queue behind a writer that waits for the outer one.
        Reading { residents: self.residents.read_recursive(), _held: held }
    }

    /// A shared lock, after `touch` had the exclusive one.
    pub(crate) fn reading_after(
        &self,
        engine: EngineId,
        touch: impl FnOnce(&mut Residents<K, V>),
    ) -> Reading<'_, K, V> {
        let held = Held::exclusive(engine);
        let mut residents = self.residents.write();
        touch(&mut residents);
        held.downgrade();
        Reading { residents: RwLockWriteGuard::downgrade(residents), _held: held }
    }

    pub(crate) fn writing<'a, L: Lifecycle<K, V>>(
        &'a self,
        engine: EngineId,
        lifecycle: &'a L,
    ) -> Writing<'a, K, V, L> {
        let held = Held::exclusive(engine);
        let departures = Departures { shard: self, lifecycle, leaving: Leaving::new(), arriving: None };
        Writing { residents: self.residents.write(), _held: held, departures }
    }
}

/// The shared lock. The mark goes after the lock.
pub(crate) struct Reading<'a, K, V> {
    pub(crate) residents: RwLockReadGuard<'a, Residents<K, V>>,
    _held: Held,
}

/// The exclusive lock. Dropped in the order of the fields: first the lock, then the mark, then what left.
pub(crate) struct Writing<'a, K, V, L: Lifecycle<K, V>> {
    pub(crate) residents: RwLockWriteGuard<'a, Residents<K, V>>,
    _held: Held,
    departures: Departures<'a, K, V, L>,
}

/// What must be dropped or announced once the lock is released.
struct Departures<'a, K, V, L: Lifecycle<K, V>> {
    shard: &'a Shard<K, V>,
    lifecycle: &'a L,
    leaving: Leaving<K, V>,
    /// A pair on its way in: here, so that it is dropped outside the lock if a hook panics or it is refused.
    arriving: Option<(K, V)>,
}

impl<K, V, L: Lifecycle<K, V>> Writing<'_, K, V, L> {
    /// Whether the entry is dead: runs a hook.
    pub(crate) fn is_dead(&self, index: u32) -> bool {
        let (key, value) = self.residents.entry(index);
        self.departures.lifecycle.is_dead(key, value)
    }

    /// `cause`, unless the entry is dead: runs a hook.
    pub(crate) fn cause(&self, index: u32, cause: Cause) -> Cause {
        if self.is_dead(index) { Cause::Expired } else { cause }
    }

    /// Removes an entry; runs no user code.
    pub(crate) fn retire(&mut self, index: u32, cause: Cause) {
        let (key, value) = self.residents.remove(index);
        self.leave(key, value, cause);
    }

    /// Removes an entry for a caller who wants it.
    pub(crate) fn hand_out(&mut self, index: u32) -> (K, V) {
        self.departures.shard.counters.left(Cause::Explicit);
        self.residents.remove(index)
    }

    pub(crate) fn retire_all(&mut self, policy: Policy) {
        for (key, value) in self.residents.remove_all(policy) {
            self.leave(key, value, Cause::Explicit);
        }
    }

    /// Admits a value if its weight allows; `found` is where `find` saw its key.
    pub(crate) fn put(&mut self, hash: u64, found: Option<u32>, key: K, value: V, weight: u64) -> Inserted {
        self.departures.arriving = Some((key, value));
        let cause = found.map(|index| self.cause(index, Cause::Replaced));
        if !self.residents.admits(weight) {
            if let (Some(index), Some(cause)) = (found, cause) {
                self.retire(index, cause);
            }
            self.departures.shard.counters.count(|counters| &counters.rejections);
            return Inserted::Rejected;
        }
        self.sweep(found);
        match (found, cause) {
            (Some(index), Some(cause)) if self.residents.has_room(weight, found) => {
                let (key, value) = self.arrived();
                let (old_key, old_value) = self.residents.replace(index, key, value, weight);
                self.leave(old_key, old_value, cause);
            }
            _ => {
                if let (Some(index), Some(cause)) = (found, cause) {
                    self.retire(index, cause);
                }
                self.make_room(weight);
                let (key, value) = self.arrived();
                self.residents.add(hash, key, value, weight);
            }
        }
        self.departures.shard.counters.count(|counters| &counters.inserts);
        match cause {
            Some(Cause::Replaced) => Inserted::Replaced,
            _ => Inserted::Done,
        }
    }

    /// Changes the capacity; the dead leave first, then as many as the policy must give up.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.residents.set_capacity(capacity);
        if !self.residents.is_over_capacity() {
            return;
        }
        // A panicking hook must not leave the shard over its bound, so what follows ends even then.
        let bounded = Bounded(self);
        for index in 0..bounded.0.residents.slot_count() {
            if bounded.0.residents.slot(index).entry().is_some() && bounded.0.is_dead(index) {
                bounded.0.retire(index, Cause::Expired);
            }
        }
    }

    /// Lets the dead among the next few entries go. `spared` is about to be replaced, which is another cause.
    fn sweep(&mut self, spared: Option<u32>) {
        for _ in 0..SWEPT_PER_INSERT {
            let Some(index) = self.residents.next_swept() else { continue };
            if Some(index) != spared && self.is_dead(index) {
                self.retire(index, Cause::Expired);
            }
        }
    }

    fn make_room(&mut self, weight: u64) {
        while !self.residents.has_room(weight, None) {
            let Some(victim) = self.residents.victim() else { return };
            let cause = self.cause(victim, Cause::Capacity);
            self.retire(victim, cause);
        }
    }

    fn arrived(&mut self) -> (K, V) {
        self.departures.arriving.take().expect("a pair that is put has arrived")
    }

    fn leave(&mut self, key: K, value: V, cause: Cause) {
        self.departures.shard.counters.left(cause);
        self.departures.leaving.push(key, value, cause);
    }
}

/// Evicts down to the capacity when dropped, without asking any hook.
struct Bounded<'w, 'a, K, V, L: Lifecycle<K, V>>(&'w mut Writing<'a, K, V, L>);

impl<K, V, L: Lifecycle<K, V>> Drop for Bounded<'_, '_, K, V, L> {
    fn drop(&mut self) {
        while self.0.residents.is_over_capacity() {
            let Some(victim) = self.0.residents.victim() else { return };
            self.0.retire(victim, Cause::Capacity);
        }
    }
}

/// Still under the lock: what readers see without it, and the order of departures, are those of the changes.
impl<K, V, L: Lifecycle<K, V>> Drop for Writing<'_, K, V, L> {
    fn drop(&mut self) {
        let Departures { shard, leaving, .. } = &mut self.departures;
        shard.len.store(self.residents.len(), Ordering::Relaxed);
        shard.weight.store(self.residents.weight(), Ordering::Relaxed);
        if L::LISTENS {
            shard.outbox.enqueue(leaving);
        }
    }
}

impl<K, V, L: Lifecycle<K, V>> Drop for Departures<'_, K, V, L> {
    fn drop(&mut self) {
        if L::LISTENS {
            self.shard.outbox.deliver(self.lifecycle);
        }
    }
}

/// How many entries an insert looks at for dead ones.
const SWEPT_PER_INSERT: usize = 8;
