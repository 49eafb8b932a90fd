//! Where nodes lie: chunks that never move, and which of their places are taken.

use super::node::Node;
use std::ptr::{self, NonNull};

/// How many nodes a chunk has: as many as a word has bits.
pub(super) const CHUNK: usize = if cfg!(nanotier_loom) { 2 } else { 64 };

/// One more than the highest number of a node: what three bytes hold.
pub(super) const IDS_MAX: u32 = 1 << 24;

/// How far ahead of the hand nodes are fetched.
const AHEAD: usize = 8;

pub(super) struct Slab<K, V> {
    chunks: Vec<Chunk<K, V>>,
    /// From here on, no node has been given out since its chunk was made.
    fresh: u32,
}

struct Chunk<K, V> {
    /// `CHUNK` of them.
    nodes: NonNull<Node<K, V>>,
    /// Which are linked.
    linked: u64,
    /// Which have an entry: linked, or left and not yet dropped.
    full: u64,
}

impl<K, V> Slab<K, V> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), fresh: 0 }
    }

    /// What numbers are below.
    #[cfg(any(test, fuzzing))]
    pub(super) fn bound(&self) -> u32 {
        self.fresh
    }

    /// A node that was never used. None is left at `IDS_MAX`.
    pub(super) fn fresh(&mut self) -> u32 {
        assert!(
            self.fresh < IDS_MAX,
            "nanotier: a shard has more entries than it can number; use more shards"
        );
        let id = self.fresh;
        if id as usize / CHUNK == self.chunks.len() {
            self.chunks.push(Chunk::new(id));
        }
        self.fresh += 1;
        id
    }

    /// The node's address. It stays the same until the chunk is freed.
    #[inline]
    pub(super) fn node(&self, id: u32) -> *mut Node<K, V> {
        self.chunks[id as usize / CHUNK].node(id)
    }

    /// An address some lines after a node's: to be fetched, not looked at.
    #[inline(always)]
    pub(super) fn node_ahead(&self, id: u32) -> *const Node<K, V> {
        self.node(id).wrapping_add(AHEAD).cast_const()
    }

    #[inline]
    pub(super) fn is_linked(&self, id: u32) -> bool {
        let linked = self.chunks.get(id as usize / CHUNK).map_or(0, |chunk| chunk.linked);
        linked & bit(id) != 0
    }

    /// Writes down that the node has an entry and is linked. Answers its address.
    #[inline]
    pub(super) fn set_linked(&mut self, id: u32) -> *mut Node<K, V> {
        let chunk = &mut self.chunks[id as usize / CHUNK];
        chunk.linked |= bit(id);
        chunk.full |= bit(id);
        chunk.node(id)
    }

    /// Writes down that the node is not linked. Answers its address.
    #[inline]
    pub(super) fn set_unlinked(&mut self, id: u32) -> *mut Node<K, V> {
        let chunk = &mut self.chunks[id as usize / CHUNK];
        chunk.linked &= !bit(id);
        chunk.node(id)
    }

    #[inline]
    pub(super) fn set_empty(&mut self, id: u32) {
        self.chunks[id as usize / CHUNK].full &= !bit(id);
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn is_full(&self, id: u32) -> bool {
        self.chunks[id as usize / CHUNK].full & bit(id) != 0
    }

    /// The first linked node from this number on.
    #[inline]
    pub(super) fn next_linked(&self, from: u32) -> Option<u32> {
        let mut nth = from as usize / CHUNK;
        let mut linked = self.chunks.get(nth)?.linked >> (from as usize % CHUNK) << (from as usize % CHUNK);
        while linked == 0 {
            nth += 1;
            linked = self.chunks.get(nth)?.linked;
        }
        // Numbers are limited to 24 bits.
        #[allow(clippy::cast_possible_truncation)]
        Some((nth * CHUNK) as u32 + linked.trailing_zeros())
    }

    /// Frees all chunks if nothing lies in any.
    pub(super) fn shrink(&mut self) -> bool {
        let is_empty = self.chunks.iter().all(|chunk| chunk.full == 0);
        if is_empty {
            self.chunks = Vec::new();
            self.fresh = 0;
        }
        is_empty
    }

    /// Takes the last chunk away, with the entries that lie in it. Nobody may be looking at any of them.
    pub(super) fn pop_chunk(&mut self) -> Option<Vec<(K, V)>> {
        let mut chunk = self.chunks.pop()?;
        let mut entries = Vec::with_capacity(chunk.full.count_ones() as usize);
        while chunk.full != 0 {
            let nth = chunk.full.trailing_zeros() as usize;
            chunk.full &= chunk.full - 1;
            // SAFETY: the bit said that there is an entry, and says so no more; the caller knows that nobody looks.
            entries.push(unsafe { Node::take_entry(chunk.nodes.as_ptr().add(nth)) });
        }
        Some(entries)
    }

    pub(super) fn bytes(&self) -> usize {
        let chunk = CHUNK * size_of::<Node<K, V>>();
        self.chunks.capacity() * size_of::<Chunk<K, V>>() + self.chunks.len() * chunk
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn count(&self) -> (usize, usize) {
        let count = |bits: fn(&Chunk<K, V>) -> u64| {
            self.chunks.iter().map(|chunk| bits(chunk).count_ones() as usize).sum::<usize>()
        };
        (count(|chunk| chunk.linked), count(|chunk| chunk.full))
    }
}

impl<K, V> Chunk<K, V> {
    fn new(first: u32) -> Self {
        let nodes: Box<[Node<K, V>]> = (first..).take(CHUNK).map(Node::vacant).collect();
        // SAFETY: a box is not null.
        let nodes = unsafe { NonNull::new_unchecked(Box::into_raw(nodes).cast()) };
        Self { nodes, linked: 0, full: 0 }
    }

    #[inline(always)]
    fn node(&self, id: u32) -> *mut Node<K, V> {
        // SAFETY: a chunk has `CHUNK` nodes, and this is one of them.
        unsafe { self.nodes.as_ptr().add(id as usize % CHUNK) }
    }
}

/// Entries that are still in it are leaked: `pop_chunk` takes them out first.
impl<K, V> Drop for Chunk<K, V> {
    fn drop(&mut self) {
        let nodes = ptr::slice_from_raw_parts_mut(self.nodes.as_ptr(), CHUNK);
        // SAFETY: made in `new` from a box of as many, and freed once, here. Whoever drops a chunk knows that nobody
        // looks at its nodes: none is linked, and none has an entry that a reader could hold.
        drop(unsafe { Box::from_raw(nodes) });
    }
}

#[inline]
fn bit(id: u32) -> u64 {
    1 << (id as usize % CHUNK)
}
