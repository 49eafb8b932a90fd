//! A slab: entries with their bookkeeping, found by a small index that stays the same while the entry lives.

use crate::sync::{AtomicBool, Ordering};

#[derive(Debug)]
pub(crate) struct Slots<K, V> {
    slots: Vec<Slot<K, V>>,
    /// The first vacant slot; the others follow through `older`.
    vacant: u32,
    occupied: usize,
}

#[derive(Debug)]
pub(crate) struct Slot<K, V> {
    /// Kept so that moving the entry about never asks the user's hasher.
    pub(crate) hash: u64,
    /// As the weigher said on admission: it is what must be subtracted later.
    pub(crate) weight: u64,
    pub(crate) newer: u32,
    pub(crate) older: u32,
    /// Written by readers under the shared lock, read and cleared by the policy under the exclusive one.
    visited: AtomicBool,
    /// `None` in a vacant slot.
    entry: Option<(K, V)>,
}

impl<K, V> Slots<K, V> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), vacant: NONE, occupied: 0 }
    }

    /// How many entries there are.
    pub(crate) fn occupied(&self) -> usize {
        self.occupied
    }

    /// How many slots there are, vacant ones included: indices are below this.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("slots are limited to what an index can name")
    }

    pub(crate) fn is_full(&self) -> bool {
        self.vacant == NONE && self.slots.len() >= SLOTS_MAX
    }

    #[inline]
    pub(crate) fn slot(&self, index: u32) -> &Slot<K, V> {
        &self.slots[index as usize]
    }

    pub(crate) fn slot_mut(&mut self, index: u32) -> &mut Slot<K, V> {
        &mut self.slots[index as usize]
    }

    /// Must not be called when full.
    pub(crate) fn add(&mut self, hash: u64, weight: u64, key: K, value: V) -> u32 {
        let slot = Slot {
            hash,
            weight,
            newer: NONE,
            older: NONE,
            visited: AtomicBool::new(false),
            entry: Some((key, value)),
        };
        self.occupied += 1;
        if self.vacant == NONE {
            let index = self.count();
            self.slots.push(slot);
            return index;
        }
        let index = self.vacant;
        let place = self.slot_mut(index);
        let next = place.older;
        *place = slot;
        self.vacant = next;
        index
    }

    pub(crate) fn take(&mut self, index: u32) -> (K, V) {
        let vacant = self.vacant;
        let slot = self.slot_mut(index);
        let entry = slot.entry.take().expect("an indexed slot has an entry");
        slot.older = vacant;
        self.vacant = index;
        self.occupied -= 1;
        entry
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot<K, V>, &K, &V)> {
        (0_u32..).zip(&self.slots).filter_map(|(index, slot)| {
            let (key, value) = slot.entry.as_ref()?;
            Some((index, slot, key, value))
        })
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (K, V)> {
        self.slots.into_iter().filter_map(|slot| slot.entry)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity().saturating_mul(size_of::<Slot<K, V>>())
    }

    /// Counts the vacant slots by their list.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn count_vacant(&self) -> usize {
        let mut count = 0;
        let mut next = self.vacant;
        while next != NONE {
            assert!(self.slot(next).entry.is_none(), "a vacant slot has no entry");
            next = self.slot(next).older;
            count += 1;
            assert!(count <= self.slots.len(), "the vacant list has no cycle");
        }
        count
    }
}

impl<K, V> Slot<K, V> {
    #[inline]
    pub(crate) fn entry(&self) -> Option<(&K, &V)> {
        self.entry.as_ref().map(|(key, value)| (key, value))
    }

    pub(crate) fn replace(&mut self, weight: u64, key: K, value: V) -> (K, V) {
        self.weight = weight;
        self.entry.replace((key, value)).expect("only an occupied slot is replaced")
    }

    /// Marks a use. Writes only if that changes something: a hot entry's line stays shared.
    #[inline]
    pub(crate) fn visit(&self) {
        if !self.visited.load(Ordering::Relaxed) {
            self.visited.store(true, Ordering::Relaxed);
        }
    }

    /// Clears the mark and says what it was.
    pub(crate) fn forget_visit(&mut self) -> bool {
        std::mem::take(self.visited.get_mut())
    }
}

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;
const SLOTS_MAX: usize = NONE as usize;
