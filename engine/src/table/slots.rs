//! What whoever has the lock may do.

use super::garbage::{Due, Garbage};
use super::index::{self, Index, Place};
use super::node::{Node, Touch};
use super::slab::{IDS_MAX, Slab};
use crate::reclaim::{Grace, Guard};
use crate::sync::{AtomicPtr, Ordering};
use equivalent::Equivalent;
use std::fmt;
use std::hash::Hash;

/// A table's memory, reached under its lock only.
// In this order: what every write touches lies together at the end.
#[repr(C)]
pub(super) struct Owner<K, V> {
    /// Emptied, and kept since readers may still be in them. Each is at most half of the next.
    outgrown: Vec<*mut Index<K, V>>,
    /// How many entries there will be in the end, as far as anyone knows.
    expected: usize,
    garbage: Garbage,
    slab: Slab<K, V>,
    /// The current one: as published.
    index: *mut Index<K, V>,
    /// The index grows when there are as many.
    grow_at: usize,
    len: usize,
    /// Whose uses are told: see [`Slots::sample`].
    sampled_below: u32,
}

/// An entry that has left the index and waits for what is to become of it. Dropping this by mistake leaves the entry
/// to the end of the table.
#[must_use]
#[derive(Debug)]
pub(crate) struct Departed<K, V> {
    id: u32,
    node: *mut Node<K, V>,
    /// Of the table.
    identity: usize,
}

// SAFETY: the token gives `&K` and `&V`, or the entry itself, to whoever has it: what sending and sharing those asks.
// Checked by the thread sanitizer on `engine/tests/listeners.rs`.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Departed<K, V> {}

impl<K, V> Departed<K, V> {
    pub(super) fn node(&self) -> *mut Node<K, V> {
        self.node
    }

    pub(super) fn assert_of(&self, identity: usize) {
        assert_eq!(self.identity, identity, "nanotier: an entry was given to a table that it did not leave");
    }
}

/// A place for one entry, and its hash.
#[derive(Debug)]
pub(crate) struct Vacancy {
    place: Place,
    hash: u64,
}

/// A table's entries, for as long as its lock is held. Entries go by number: one number for as long as they are
/// linked.
pub(crate) struct Slots<'a, K, V> {
    owner: &'a mut Owner<K, V>,
    published: &'a AtomicPtr<Index<K, V>>,
    identity: usize,
    /// Nobody can be reading.
    is_alone: bool,
}

impl<K, V> Owner<K, V> {
    pub(super) fn new(expected: usize, retained: usize) -> Self {
        let first = if expected <= EXPECTED_MAX { expected } else { FIRST_INDEX };
        let index = Index::boxed(first);
        // SAFETY: just made.
        let grow_at = unsafe { &*index }.room();
        Self {
            slab: Slab::new(),
            garbage: Garbage::new(retained.max(1)),
            index,
            outgrown: Vec::new(),
            len: 0,
            grow_at,
            expected,
            sampled_below: 0,
        }
    }

    pub(super) fn index(&self) -> *mut Index<K, V> {
        self.index
    }

    fn current(&self) -> &Index<K, V> {
        // SAFETY: indices live as long as the owner, and only atomics in them are written to.
        unsafe { &*self.index }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn linked_node(&self, id: u32) -> *mut Node<K, V> {
        assert!(self.slab.is_linked(id), "nanotier: an entry was asked for after it had left; this is a bug");
        self.slab.node(id)
    }

    #[inline]
    pub(super) fn entry(&self, id: u32) -> (&K, &V) {
        // SAFETY: it is linked, so it has an entry (T1); to unlink or write it takes a `&mut` to this.
        unsafe { Node::entry(self.linked_node(id)) }
    }

    #[inline]
    pub(super) fn due(&mut self) -> Due {
        self.garbage.due()
    }

    pub(super) fn close_all(&mut self) -> Option<Grace> {
        self.garbage.close_all()
    }

    // By value: the token is spent.
    #[allow(clippy::needless_pass_by_value)]
    pub(super) fn vacate(&mut self, departed: Departed<K, V>) {
        self.slab.set_empty(departed.id);
        self.garbage.vacate(departed.id);
    }

    /// A node to fill, and the entry that was in it.
    #[inline(always)]
    fn take_node(&mut self, dead: &mut Option<(K, V)>) -> u32 {
        let slab = &self.slab;
        if let Some(id) = self.garbage.ready(|id| slab.node(id)) {
            // What needs no drop is as good as gone.
            if std::mem::needs_drop::<(K, V)>() {
                // SAFETY: `ready` keeps R4: its grace is over, and the look after it has not seen it.
                *dead = Some(unsafe { Node::take_entry(self.slab.node(id)) });
            }
            return id;
        }
        match self.garbage.vacant() {
            Some(id) => id,
            None => self.slab.fresh(),
        }
    }

    /// Takes some ready entries out, to be dropped outside the lock. True if there may be more.
    pub(super) fn sweep(&mut self, dead: &mut Vec<(K, V)>, most: usize) -> bool {
        for _ in 0..most {
            let slab = &self.slab;
            let Some(id) = self.garbage.ready(|id| slab.node(id)) else { return false };
            // SAFETY: as in `take_node`.
            dead.push(unsafe { Node::take_entry(self.slab.node(id)) });
            self.slab.set_empty(id);
            self.garbage.vacate(id);
        }
        true
    }

    /// Gives the nodes' memory back, if there is no entry at all.
    pub(super) fn shrink(&mut self) {
        if self.len == 0 && self.garbage.is_empty() && self.slab.shrink() {
            self.garbage.clear();
        }
    }

    /// Drops everything, even if some drops panic. Nobody may be reading.
    pub(super) fn drop_all(&mut self) {
        let rest = Rest(self);
        rest.0.drop_entries();
    }

    fn drop_entries(&mut self) {
        // A chunk's entries are dropped as a list: if one panics, the others of the list still are.
        while let Some(entries) = self.slab.pop_chunk() {
            drop(entries);
        }
        let indices = std::mem::take(&mut self.outgrown).into_iter();
        for index in indices.chain([std::mem::replace(&mut self.index, std::ptr::null_mut())]) {
            if !index.is_null() {
                // SAFETY: from `Index::boxed`, freed once, and nobody is reading.
                drop(unsafe { Box::from_raw(index) });
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let outgrown = self.outgrown.iter().map(|&index| {
            // SAFETY: as in `current`.
            unsafe { &*index }.bytes()
        });
        self.slab.bytes() + self.garbage.bytes() + self.current().bytes() + outgrown.sum::<usize>()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn validate(&self, rehash: impl Fn(&K) -> u64) {
        let linked = self.current().validate(|node, tag| {
            // SAFETY: nodes live as long as the slab; a linked one has an entry.
            let (id, hash, (key, _)) = unsafe { ((*node).id(), (*node).hash(), Node::entry(node)) };
            assert_eq!(self.slab.node(id), node, "a node knows its number");
            assert!(self.slab.is_linked(id), "T1: what is linked is written down as such");
            let expected = rehash(key);
            assert_eq!(hash, index::upper(expected), "a node remembers its key's hash");
            assert_eq!(tag, index::tag(expected), "a tag is of its key");
        });
        assert_eq!(linked, self.len, "T1: all that is linked is counted");
        let (in_slab, full) = self.slab.count();
        assert_eq!(in_slab, self.len, "T1: what is written down as linked is linked");
        assert!(
            full <= self.len + self.garbage.len() + DEPARTED_MAX,
            "entries are linked or on their way out"
        );
        let mut seen = std::collections::HashSet::new();
        for id in self.garbage.all() {
            assert!(self.slab.is_full(id) && !self.slab.is_linked(id), "garbage is unlinked");
            assert!(seen.insert(id), "a node is retired once");
        }
        for &id in self.garbage.all_vacant() {
            assert!(!self.slab.is_full(id), "what is vacant has no entry");
            assert!(seen.insert(id), "a node is vacant once");
        }
        for &index in &self.outgrown {
            // SAFETY: as in `current`.
            let linked = unsafe { &*index }.validate(|_, _| {});
            assert_eq!(linked, 0, "T5: an outgrown index links nothing");
        }
    }
}

/// Drops the rest, if dropping some has panicked.
struct Rest<'a, K, V>(&'a mut Owner<K, V>);

impl<K, V> Drop for Rest<'_, K, V> {
    fn drop(&mut self) {
        self.0.drop_entries();
    }
}

impl<'a, K, V> Slots<'a, K, V> {
    pub(super) fn new(
        owner: &'a mut Owner<K, V>,
        published: &'a AtomicPtr<Index<K, V>>,
        identity: usize,
    ) -> Self {
        Self { owner, published, identity, is_alone: false }
    }

    /// For who has the table for himself (a `&mut` to it) as long as this lives.
    pub(super) fn alone(
        owner: &'a mut Owner<K, V>,
        published: &'a AtomicPtr<Index<K, V>>,
        identity: usize,
    ) -> Self {
        Self { owner, published, identity, is_alone: true }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.owner.len
    }

    /// No more can be numbered.
    #[inline]
    pub(crate) fn is_exhausted(&self) -> bool {
        // Some room for what is on its way out.
        self.owner.len >= (IDS_MAX - IDS_MAX / 8) as usize
    }

    #[inline]
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let node = self.owner.current().locate(hash, key)?;
        // SAFETY: nodes live as long as the slab.
        Some(unsafe { &*node }.id())
    }

    #[cfg(test)]
    pub(crate) fn entry(&self, id: u32) -> (&K, &V) {
        self.owner.entry(id)
    }

    fn node(&self, id: u32) -> &Node<K, V> {
        // SAFETY: nodes live as long as the slab.
        unsafe { &*self.owner.linked_node(id) }
    }

    /// How often it was used since that was last said.
    #[inline]
    pub(crate) fn uses(&self, id: u32) -> u8 {
        self.any_node(id).uses()
    }

    #[inline]
    pub(crate) fn set_uses(&self, id: u32, uses: u8) {
        self.any_node(id).set_uses(uses);
    }

    /// The part of the key's hash that is kept.
    #[inline]
    pub(crate) fn hash(&self, id: u32) -> u32 {
        self.any_node(id).hash()
    }

    /// Linked or not: what is beside an entry can be looked at in any case.
    #[inline]
    fn any_node(&self, id: u32) -> &Node<K, V> {
        // SAFETY: nodes live as long as the slab.
        unsafe { &*self.owner.slab.node(id) }
    }

    /// Has the processor fetch the bucket that such a hash means.
    #[inline]
    pub(crate) fn prefetch_home(&self, hash: u32) {
        self.owner.current().prefetch(hash);
    }

    #[inline]
    pub(crate) fn prefetch_node(&self, id: u32) {
        index::prefetch(self.owner.slab.node(id).cast_const());
    }

    /// As a reader would say.
    pub(crate) fn mark_used(&self, id: u32) {
        Touch::of(self.node(id)).mark();
    }

    /// Has readers told when they use an entry of the sample ([`index::is_sampled`]), of those that are here and of those that
    /// will be. Walks all entries. Zero: of none.
    pub(crate) fn sample(&mut self, below: u32) {
        self.owner.sampled_below = below;
        let mut next = 0;
        while let Some(id) = self.next_from(next) {
            let node = self.node(id);
            node.set_told(index::is_sampled(node.hash(), below));
            next = id + 1;
        }
    }

    /// The first entry with this number or a higher one.
    #[inline]
    pub(crate) fn next_from(&self, id: u32) -> Option<u32> {
        self.owner.slab.next_linked(id)
    }

    /// Has the processor fetch what it takes to unlink the entry that comes next, and to look at those after it.
    #[inline(always)]
    pub(crate) fn prefetch_from(&self, id: u32) {
        let slab = &self.owner.slab;
        if let Some(next) = slab.next_linked(id) {
            index::prefetch(slab.node_ahead(next));
            // SAFETY: nodes live as long as the slab.
            self.owner.current().prefetch(unsafe { &*slab.node(next) }.hash());
        }
    }

    /// The first entry with this number or a higher one, going round; and whether it was used, which is forgotten.
    #[inline(always)]
    pub(crate) fn pass(&self, id: u32) -> Option<(u32, bool)> {
        let slab = &self.owner.slab;
        let next = slab.next_linked(id).or_else(|| slab.next_linked(0))?;
        // SAFETY: nodes live as long as the slab.
        let was_used = unsafe { &*slab.node(next) }.forget_use();
        Some((next, was_used))
    }

    /// All numbers are below this.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn bound(&self) -> u32 {
        self.owner.slab.bound()
    }

    /// Where an entry with this hash can be linked. If nowhere, one of its rivals must go first.
    #[inline(always)]
    pub(crate) fn vacancy(&mut self, hash: u64) -> Option<Vacancy> {
        if self.owner.len >= self.owner.grow_at {
            self.grow();
        }
        self.owner.current().vacancy(index::upper(hash)).map(|place| Vacancy { place, hash })
    }

    /// One of those that take up all the places where an entry with this hash could be: one that was not used, if
    /// there is one.
    #[cold]
    pub(crate) fn rival(&self, hash: u64) -> Option<u32> {
        let mut any = None;
        for node in self.owner.current().rivals(index::upper(hash)) {
            // SAFETY: nodes live as long as the slab.
            let node = unsafe { &*node };
            if !node.forget_use() {
                return Some(node.id());
            }
            any = any.or(Some(node.id()));
        }
        any
    }

    /// Links an entry in a vacancy that was found just before. Its key must not be there. Answers its number; `dead`
    /// gets an entry that left long ago, to be dropped outside the lock.
    // By value: it is taken then.
    #[allow(clippy::needless_pass_by_value)]
    #[inline(always)]
    pub(crate) fn insert(
        &mut self,
        vacancy: Vacancy,
        (key, value): (K, V),
        dead: &mut Option<(K, V)>,
    ) -> u32 {
        let id = self.owner.take_node(dead);
        let node = self.owner.slab.set_linked(id);
        let (upper, tag) = (index::upper(vacancy.hash), index::tag(vacancy.hash));
        // SAFETY: `take_node` answers nodes that nobody looks at, and has taken out what was there.
        unsafe { Node::put_entry(node, upper, vacancy.place.way, key, value) };
        if index::is_sampled(upper, self.owner.sampled_below) {
            // SAFETY: nodes live as long as the slab.
            unsafe { &*node }.set_told(true);
        }
        self.owner.current().link(vacancy.place, tag, node);
        self.owner.len += 1;
        id
    }

    /// Puts another entry with an equal key in one's place: no reader sees neither. As `insert`, and what was there.
    pub(crate) fn replace(
        &mut self,
        id: u32,
        (key, value): (K, V),
        dead: &mut Option<(K, V)>,
    ) -> (u32, Departed<K, V>) {
        let old = self.owner.linked_node(id);
        // SAFETY: nodes live as long as the slab.
        let (hash, way) = unsafe { ((*old).hash(), (*old).way()) };
        let new_id = self.owner.take_node(dead);
        let node = self.owner.slab.set_linked(new_id);
        // SAFETY: as in `insert`.
        unsafe { Node::put_entry(node, hash, way, key, value) };
        // SAFETY: as above.
        unsafe { (*node).take_after(&*old) };
        let index = self.owner.current();
        let place = index.place_of(hash, way, old).expect("nanotier: what is linked has a place");
        index.relink(place, node);
        self.owner.slab.set_unlinked(id);
        (new_id, Departed { id, node: old, identity: self.identity })
    }

    /// Takes an entry out of the index, and leaves it to be dropped when nobody reads it any more.
    #[inline(always)]
    pub(crate) fn discard(&mut self, id: u32) {
        self.unlink_node(id);
        self.owner.garbage.retire(id);
    }

    /// Takes an entry out of the index, where nobody can be reading: when as many as the table retains have left after it,
    /// its place may be used again.
    pub(crate) fn discard_unread(&mut self, id: u32) {
        // R4, without waiting: to look takes a `&` to the table, and while this lives there is a `&mut`.
        assert!(
            self.is_alone,
            "nanotier: an entry that others may be reading was to be discarded; this is a bug"
        );
        self.unlink_node(id);
        self.owner.garbage.retire_unread(id);
    }

    /// Takes an entry out of the index. Readers that have it keep it.
    pub(crate) fn unlink(&mut self, id: u32) -> Departed<K, V> {
        let node = self.unlink_node(id);
        Departed { id, node, identity: self.identity }
    }

    #[inline(always)]
    fn unlink_node(&mut self, id: u32) -> *mut Node<K, V> {
        let node = self.owner.slab.set_unlinked(id);
        // SAFETY: nodes live as long as the slab.
        let (hash, way) = unsafe { ((*node).hash(), (*node).way()) };
        let index = self.owner.current();
        // That it has a place says also that it was linked.
        let place = index.place_of(hash, way, node).expect("nanotier: what is linked has a place");
        index.unlink(place);
        self.owner.len -= 1;
        node
    }

    /// Leaves an entry that has left to be dropped when nobody reads it any more.
    // By value: the token is spent.
    #[allow(clippy::needless_pass_by_value)]
    #[inline]
    pub(crate) fn retire(&mut self, departed: Departed<K, V>) {
        departed.assert_of(self.identity);
        self.owner.garbage.retire(departed.id);
    }

    /// Whether this thread is reading this entry, or might be: then it must not wait for its readers.
    pub(crate) fn is_read_here(&self, id: u32) -> bool {
        Guard::is_held_here(self.owner.linked_node(id))
    }

    #[cold]
    fn grow(&mut self) {
        let owner = &mut *self.owner;
        let room = owner.current().room();
        let wanted = room.saturating_mul(4).min(owner.expected).max(room.saturating_mul(2));
        let next = Index::boxed(wanted);
        // SAFETY: just made.
        let larger = unsafe { &*next };
        if !larger.copy_from(owner.current()) {
            // A hash so bad that a larger index does not help. Not again before there are twice as many.
            owner.grow_at = owner.grow_at.saturating_mul(2);
            // SAFETY: from `boxed`, and known to nobody.
            drop(unsafe { Box::from_raw(next) });
            return;
        }
        larger.tell_ways();
        // Release: T3. Before the old one is emptied: T5.
        self.published.store(next, Ordering::Release);
        owner.current().empty();
        owner.outgrown.push(owner.index);
        owner.index = next;
        owner.grow_at = larger.room();
    }
}

impl<K, V> fmt::Debug for Owner<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Up to as many entries, the index is made as large as it will be; above, it grows.
const EXPECTED_MAX: usize = if cfg!(nanotier_loom) { 2 } else { 32_768 };
/// For how many entries the index is made when there will be more, or nobody knows.
const FIRST_INDEX: usize = if cfg!(nanotier_loom) { 1 } else { 1024 };

/// How many entries can be between leaving and being retired: as many as listeners may be behind, and some.
#[cfg(any(test, fuzzing))]
const DEPARTED_MAX: usize = 1 << 16;
