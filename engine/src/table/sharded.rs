//! Tables side by side: what chooses one, and the pointers that readers begin with, close together.

use super::Table;
use super::index::Index;
use super::node::{Node, Touch};
use crate::reclaim::{Glance, Guard, stripe};
use crate::sync::{AtomicPtr, Ordering};
use equivalent::Equivalent;
use std::fmt;
use std::hash::Hash;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// A power of two of shards, each with a table, and whatever else it has.
///
/// Where each table's index is stands apart from the tables: eight to a cache line that hardly ever changes.
pub(crate) struct Sharded<K, V, T> {
    /// Dropped before the heads, which their tables point to.
    shards: Box<[T]>,
    // Shared, though nobody else has it: what is boxed must not be pointed to from elsewhere.
    heads: Arc<[Head<K, V>]>,
    /// One less than there are.
    mask: usize,
}

/// Where a table's current index is. It stays where it is for as long as its `Sharded` lives.
#[derive(Debug)]
pub(super) struct Head<K, V>(AtomicPtr<Index<K, V>>);

/// The right to be the table of one shard: given once for each. The table must not be taken out of its `Sharded`.
#[derive(Debug)]
pub(crate) struct Seat<K, V>(NonNull<Head<K, V>>);

impl<K, V> Seat<K, V> {
    pub(super) fn take(self) -> NonNull<Head<K, V>> {
        self.0
    }
}

impl<K, V> Head<K, V> {
    #[inline(always)]
    pub(super) fn cell(&self) -> &AtomicPtr<Index<K, V>> {
        &self.0
    }
}

/// What a shard is, to who reads: something with a table.
pub(crate) trait HasTable<K, V> {
    /// What its lock guards besides.
    type Extra;

    fn table(&self) -> &Table<K, V, Self::Extra>;
}

impl<K, V, X> HasTable<K, V> for Table<K, V, X> {
    type Extra = X;

    fn table(&self) -> &Self {
        self
    }
}

impl<K, V, T: HasTable<K, V>> Sharded<K, V, T> {
    /// `count` shards, made by `new`, which must seat a table in each.
    pub(crate) fn new(count: usize, mut new: impl FnMut(usize, Seat<K, V>) -> T) -> Self {
        assert!(count.is_power_of_two(), "nanotier: {count} shards: not a power of two");
        let heads: Arc<[_]> = (0..count).map(|_| Head(AtomicPtr::new(ptr::null_mut()))).collect();
        let seat = |nth: usize| Seat(NonNull::from(&heads[nth]));
        let shards = (0..count).map(|nth| new(nth, seat(nth))).collect();
        assert!(
            heads.iter().all(|head| !head.0.load(Ordering::Relaxed).is_null()),
            "nanotier: a shard has no table; this is a bug"
        );
        Self { shards, heads, mask: count - 1 }
    }

    /// Which shard a hash means: by bits that neither the tag nor the bucket is chosen by.
    #[inline(always)]
    pub(crate) fn nth(&self, hash: u64) -> usize {
        // The mask leaves less than there are shards.
        #[allow(clippy::cast_possible_truncation)]
        let bits = (hash >> u8::BITS) as usize;
        bits & self.mask
    }

    #[inline]
    pub(crate) fn shard(&self, hash: u64) -> &T {
        &self.shards[self.nth(hash)]
    }

    /// Shows the entry of `key` to `f`, if there is one. No lock, and no write to what other threads read but for those
    /// of `f`. `f` may do what it likes: nothing is held but the one entry.
    #[inline]
    pub(crate) fn read<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        f: impl FnOnce(&K, &V, Touch<'_>, Option<usize>) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.glance(hash, key, f, |f, key, value, touch, stripe| f(key, value, touch, stripe))
            .map_or_else(|f| self.read_further(hash, key, f), Some)
    }

    /// As [`read`](Self::read), if the entry is the first that comes into question, as most are; else `asked` comes back,
    /// and [`read_further`](Self::read_further) has the answer. `f` is told this thread's stripe.
    #[inline(always)]
    pub(crate) fn glance<Q, R, A>(
        &self,
        hash: u64,
        key: &Q,
        asked: A,
        f: impl FnOnce(A, &K, &V, Touch<'_>, Option<usize>) -> R,
    ) -> Result<R, A>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(glance) = Glance::begin() else { return Err(asked) };
        // SAFETY: the mask is one less than the number of heads. Checked by the assertions in `new`.
        let head = unsafe { self.heads.get_unchecked(self.nth(hash)) };
        // SAFETY: never null (asserted in `new`); an index was published whole (release in `grow`), and lives as long
        // as its table, which lives as long as this.
        let index = unsafe { &*head.0.load(Ordering::Acquire) };
        let node = index.find_at_a_glance(&glance, hash, key);
        if node.is_null() {
            return Err(asked);
        }
        // SAFETY: the node was protected by the glance, which lives to the end of this function: T1 and R1. Checked by
        // `loom-tests` L1 to L3 and by the sharp stress under the address sanitizer.
        Ok(unsafe { Node::look(node, |key, value, touch| f(asked, key, value, touch, glance.stripe())) })
    }

    /// As [`read`](Self::read), wherever the entry may be.
    #[inline(never)]
    pub(crate) fn read_further<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        f: impl FnOnce(&K, &V, Touch<'_>, Option<usize>) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let table = self.shard(hash).table();
        if table.is_surely_absent(hash) {
            return None;
        }
        let guard = Guard::enter();
        let node = table.find(&guard, hash, key);
        if node.is_null() {
            return None;
        }
        // SAFETY: the node was protected by the guard, which lives to the end of this function: T1 and R1.
        Some(unsafe { Node::look(node, |key, value, touch| f(key, value, touch, stripe())) })
    }
}

impl<K, V, T> Sharded<K, V, T> {
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn at(&self, nth: usize) -> &T {
        &self.shards[nth]
    }

    /// The first, by somebody who has them all for himself: nobody reads.
    pub(crate) fn first_mut(&mut self) -> &mut T {
        &mut self.shards[0]
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.shards.iter()
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.shards) + size_of_val(&*self.heads)
    }
}

impl<'a, K, V, T> IntoIterator for &'a Sharded<K, V, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V, T> fmt::Debug for Sharded<K, V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
