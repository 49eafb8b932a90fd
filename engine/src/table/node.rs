//! A node: one entry, and the little that must lie beside it.

use super::index::HASH_BITS;
use crate::sync::{AtomicU8, AtomicU32, Ordering, UnsafeCell};
use std::mem::MaybeUninit;

/// Eight bytes, then the entry.
#[repr(C)]
pub(super) struct Node<K, V> {
    /// The upper part of the key's hash, so that moving the node about never asks the user's hasher; and in the lowest
    /// three bits, the node's way in its bucket. Written under the lock; a visitor reads it without.
    hash_and_way: AtomicU32,
    /// How often it was used: counted by readers, up to [`USES_MAX`], and back by the policy. And in the highest bit,
    /// whether uses are told ([`TOLD`]).
    used: AtomicU8,
    /// Its number in the slab.
    id: [u8; 3],
    entry: UnsafeCell<MaybeUninit<(K, V)>>,
}

impl<K, V> Node<K, V> {
    pub(super) fn vacant(id: u32) -> Self {
        let [a, b, c, _] = id.to_le_bytes();
        Self {
            hash_and_way: AtomicU32::new(0),
            used: AtomicU8::new(0),
            id: [a, b, c],
            entry: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    pub(super) fn id(&self) -> u32 {
        let [a, b, c] = self.id;
        u32::from_le_bytes([a, b, c, 0])
    }

    #[inline]
    pub(super) fn hash(&self) -> u32 {
        self.hash_and_way.load(Ordering::Relaxed) >> WAY_BITS
    }

    #[inline]
    pub(super) fn way(&self) -> usize {
        (self.hash_and_way.load(Ordering::Relaxed) & WAY_MASK) as usize
    }

    /// The node is linked in another index now. Nothing that readers look at.
    pub(super) fn set_way(&self, way: usize) {
        // Ways are few.
        #[allow(clippy::cast_possible_truncation)]
        let way = way as u32;
        let hash_and_way = self.hash_and_way.load(Ordering::Relaxed) & !WAY_MASK | way;
        self.hash_and_way.store(hash_and_way, Ordering::Relaxed);
    }

    /// How often it was used since that was last said.
    #[inline(always)]
    pub(super) fn uses(&self) -> u8 {
        self.used.load(Ordering::Relaxed) & !TOLD
    }

    #[inline(always)]
    pub(super) fn set_uses(&self, uses: u8) {
        let told = self.used.load(Ordering::Relaxed) & TOLD;
        self.used.store(told | uses, Ordering::Relaxed);
    }

    /// Clears the mark of a use and says what it was.
    #[inline(always)]
    pub(super) fn forget_use(&self) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        let was_used = used & !TOLD != 0;
        if was_used {
            self.used.store(used & TOLD, Ordering::Relaxed);
        }
        was_used
    }

    /// Whether readers are to be told when they use it.
    #[inline(always)]
    pub(super) fn set_told(&self, is_told: bool) {
        self.used.store(self.uses() | if is_told { TOLD } else { 0 }, Ordering::Relaxed);
    }

    /// For a replacement, which is as much used, and told, as what it replaces.
    pub(super) fn take_after(&self, other: &Self) {
        self.used.store(other.used.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Shows the entry.
    ///
    /// # Safety
    ///
    /// The node has an entry, and nobody writes to it, for as long as `f` runs.
    #[inline(always)]
    pub(super) unsafe fn look<R>(node: *mut Self, f: impl FnOnce(&K, &V, Touch<'_>) -> R) -> R {
        // SAFETY: nodes live as long as their slab, and no `&mut` to one exists.
        let node = unsafe { &*node };
        node.entry.with(|entry| {
            // SAFETY: as the caller promises.
            let (key, value) = unsafe { (*entry).assume_init_ref() };
            f(key, value, Touch::of(node))
        })
    }

    /// The entry, for longer than one call.
    ///
    /// # Safety
    ///
    /// The node has an entry, and nobody writes to it, for as long as `'a` lasts.
    pub(super) unsafe fn entry<'a>(node: *mut Self) -> (&'a K, &'a V) {
        // SAFETY: as in `look`.
        let entry = unsafe { &*node }.entry.with(|entry| entry);
        // SAFETY: as the caller promises.
        let (key, value) = unsafe { (*entry).assume_init_ref() };
        (key, value)
    }

    /// Gives the node an entry.
    ///
    /// # Safety
    ///
    /// Nobody looks at the node's entry, and what was there has been taken.
    #[inline]
    pub(super) unsafe fn put_entry(node: *mut Self, hash: u32, way: usize, key: K, value: V) {
        // SAFETY: as in `look`.
        let node = unsafe { &*node };
        // Ways are few.
        #[allow(clippy::cast_possible_truncation)]
        node.hash_and_way.store(hash << WAY_BITS | way as u32, Ordering::Relaxed);
        node.used.store(0, Ordering::Relaxed);
        node.entry.with_mut(|entry| {
            // SAFETY: as the caller promises.
            unsafe { (*entry).write((key, value)) };
        });
    }

    /// Takes the entry out. The node has none then.
    ///
    /// # Safety
    ///
    /// The node has an entry, and nobody looks at it.
    #[inline]
    pub(super) unsafe fn take_entry(node: *mut Self) -> (K, V) {
        // SAFETY: as in `look`.
        unsafe { &*node }.entry.with_mut(|entry| {
            // SAFETY: as the caller promises; whoever takes it writes down that it is gone.
            unsafe { (*entry).assume_init_read() }
        })
    }
}

/// More uses are not told apart.
const USES_MAX: u8 = 3;

/// A bit beside the count of uses. Readers and the policy write the byte whole, and may undo what the other has
/// just written: then a use too many is counted, or an entry is not told until it comes again.
const TOLD: u8 = 0x80;

const WAY_BITS: u32 = u32::BITS - HASH_BITS;
const WAY_MASK: u32 = (1 << WAY_BITS) - 1;

/// How a reader says that it used what it found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch<'a>(&'a AtomicU8, &'a [u8; 3]);

impl<'a> Touch<'a> {
    #[inline(always)]
    pub(super) fn of<K, V>(node: &'a Node<K, V>) -> Self {
        Self(&node.used, &node.id)
    }

    /// The entry's number: no other gets it while this one is protected.
    #[inline(always)]
    pub(crate) fn id(self) -> u32 {
        let [a, b, c] = *self.1;
        u32::from_le_bytes([a, b, c, 0])
    }

    /// Of the node, as long as it is protected; else it means nothing.
    #[inline(always)]
    pub(crate) fn address(self) -> usize {
        std::ptr::from_ref(self.0).addr()
    }

    /// Whether somebody wants to be told of it.
    #[inline(always)]
    pub(crate) fn is_told(self) -> bool {
        self.0.load(Ordering::Relaxed) & TOLD != 0
    }

    /// As [`mark`](Self::mark), but marks nothing if somebody wants to be told. Answers what was there, for
    /// [`unmark`](Self::unmark).
    #[inline(always)]
    pub(crate) fn mark_untold(self) -> Option<u8> {
        let used = self.0.load(Ordering::Relaxed);
        // One question for most: who is told is below zero.
        if (used as i8) < USES_MAX as i8 {
            if used & TOLD != 0 {
                return None;
            }
            self.0.store(used + 1, Ordering::Relaxed);
        }
        Some(used)
    }

    /// It was no use after all.
    #[cold]
    pub(crate) fn unmark(self, used: u8) {
        self.0.store(used, Ordering::Relaxed);
    }

    /// Writes only if that changes something: a hot entry's line stays shared.
    #[inline(always)]
    pub(crate) fn mark(self) {
        let used = self.0.load(Ordering::Relaxed);
        if used & !TOLD < USES_MAX {
            self.0.store(used + 1, Ordering::Relaxed);
        }
    }
}
