//! What is owed is paid: entries of all shards leave for a value that was too heavy for its own, or for a capacity that was
//! made smaller.

use crate::engine::Engine;
use crate::lifecycle::Lifecycle;
use crate::shard::{Shard, Writing};
use std::hash::{BuildHasher, Hash};

/// The duty to pay what is owed: when dropped, at the latest, and without asking the user's hooks then.
pub(crate) struct Settlement<'a, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    engine: &'a Engine<K, V, L, S>,
    /// The shard from which nobody leaves, unless nobody else is left.
    spared: Option<usize>,
}

impl<'a, K, V, L, S> Settlement<'a, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    pub(crate) fn of(engine: &'a Engine<K, V, L, S>, spared: Option<usize>) -> Self {
        Self { engine, spared }
    }

    /// Takes what nobody needs; if that is not enough, has all the dead leave; then as many as it takes, from all shards
    /// alike. Each lock is held for some hundred entries at a time.
    pub(crate) fn pay(&self) {
        for shard in &self.engine.shards {
            let owed = self.still();
            if owed > 0 {
                self.writing(shard).release(owed, 0, false);
            }
        }
        if L::EXPIRES && (self.still() > 0 || self.engine.capacity() == 0) {
            self.engine.shards.iter().for_each(|shard| self.bury(shard));
        }
        self.evict(true);
        if self.engine.capacity() == 0 {
            self.engine.shards.iter().for_each(|shard| self.empty(shard));
        }
    }

    fn still(&self) -> u64 {
        u64::try_from(self.engine.budget.owed()).unwrap_or(u64::MAX)
    }

    fn writing<'s>(&'s self, shard: &'s Shard<K, V>) -> Writing<'s, K, V, L> {
        shard.writing(self.engine.id(), &self.engine.lifecycle, 0)
    }

    fn bury(&self, shard: &Shard<K, V>) {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.writing(shard).retire_dead(from, LEAVING_AT_ONCE);
        }
    }

    /// Asks those that must leave whether they are dead, or not.
    fn evict(&self, asks: bool) {
        let mut spared = self.spared;
        loop {
            let owed = self.engine.budget.owed();
            if owed == 0 {
                return;
            }
            let kept = spared.map_or(0, |nth| self.writing(self.engine.shards.at(nth)).quota());
            let (mut released, mut left) = (0, 0);
            // Small debts are paid by one shard: not always by the same.
            let (count, turn) = (self.engine.shards.len(), self.engine.budget.turn());
            for nth in (0..count).map(|nth| (nth + turn) % count) {
                if Some(nth) == spared {
                    continue;
                }
                let mut shard = self.writing(self.engine.shards.at(nth));
                let due = self.engine.budget.due(owed, shard.quota(), kept);
                if due == 0 {
                    continue;
                }
                let before = shard.residents().len();
                released += shard.release(due, LEAVING_AT_ONCE, asks);
                // Who weighs nothing releases nothing, but is out of the way.
                left += before - shard.residents().len();
                shard.hurry();
            }
            if released == 0 && left == 0 && spared.take().is_none() {
                return;
            }
        }
    }

    /// Where nothing is kept, what weighs nothing is not, either.
    fn empty(&self, shard: &Shard<K, V>) {
        while self.engine.capacity() == 0 {
            let mut shard = self.writing(shard);
            shard.hurry();
            if !shard.retire_some(LEAVING_AT_ONCE) {
                return;
            }
        }
    }
}

impl<K, V, L, S> Drop for Settlement<'_, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    fn drop(&mut self) {
        self.evict(false);
    }
}

/// The duty of who puts a value: if others must leave for it, they do so when this is dropped, and so also where dropping
/// what left panics.
pub(crate) struct Owing<'a, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    engine: &'a Engine<K, V, L, S>,
    hash: u64,
    pub(crate) owes: bool,
}

impl<'a, K, V, L, S> Owing<'a, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    #[inline(always)]
    pub(crate) fn of(engine: &'a Engine<K, V, L, S>, hash: u64) -> Self {
        Self { engine, hash, owes: false }
    }

    #[cold]
    #[inline(never)]
    fn settle(&self) {
        let settlement = Settlement::of(self.engine, Some(self.engine.shards.nth(self.hash)));
        if !std::thread::panicking() {
            settlement.pay();
        }
    }
}

impl<K, V, L, S> Drop for Owing<'_, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    #[inline(always)]
    fn drop(&mut self) {
        if self.owes {
            self.settle();
        }
    }
}

/// How many entries leave under one lock.
const LEAVING_AT_ONCE: usize = 256;
