//! What one shard holds: the index, the entries, their order and their weight, kept in step.
//!
//! Nothing here runs user code but the key's equality in `find`, which changes nothing. So no panic of the user's
//! can come between two steps of one change.
//!
//! Invariants, checked by `validate`:
//! - E1: the index has each occupied slot once, under the hash the slot remembers, and nothing else.
//! - E2: `weight` is the sum of the slots' weights, and at most `capacity`.
//! - E3: the order links every occupied slot once.

use crate::flight::Flights;
use crate::options::Policy;
use crate::policy::Order;
use crate::slots::{Slot, Slots};
use equivalent::Equivalent;
use hashbrown::HashTable;
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Residents<K, V> {
    /// Slot indices by the hash of their keys.
    index: HashTable<u32>,
    slots: Slots<K, V>,
    order: Order,
    weight: u64,
    capacity: u64,
    /// Where the search for dead entries goes on.
    sweep: u32,
    /// Loads under way, here because they start and land in the same critical sections as entries change.
    pub(crate) flights: Flights<K, V>,
}

impl<K, V> Residents<K, V> {
    pub(crate) fn new(capacity: u64, policy: Policy) -> Self {
        Self {
            index: HashTable::new(),
            slots: Slots::new(),
            order: Order::new(policy),
            weight: 0,
            capacity,
            sweep: 0,
            flights: Flights::new(),
        }
    }

    #[inline]
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let same = |&index: &u32| {
            let slot = self.slots.slot(index);
            slot.hash == hash && slot.entry().is_some_and(|(resident, _)| key.equivalent(resident))
        };
        self.index.find(hash, same).copied()
    }

    #[inline]
    pub(crate) fn slot(&self, index: u32) -> &Slot<K, V> {
        self.slots.slot(index)
    }

    /// The entry at an index that `find`, `victim` or `next_swept` gave.
    #[inline]
    pub(crate) fn entry(&self, index: u32) -> (&K, &V) {
        self.slots.slot(index).entry().expect("an indexed slot has an entry")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &K, &V)> {
        self.slots.iter().map(|(index, _, key, value)| (index, key, value))
    }

    /// What is below this may be an index.
    pub(crate) fn slot_count(&self) -> u32 {
        self.slots.count()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.occupied()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether an entry of this weight could be kept at all. Nothing can, where the capacity is zero.
    pub(crate) fn admits(&self, weight: u64) -> bool {
        weight <= self.capacity && self.capacity > 0
    }

    /// The caller evicts what is then too much.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    pub(crate) fn is_over_capacity(&self) -> bool {
        self.weight > self.capacity || (self.capacity == 0 && self.len() > 0)
    }

    /// Whether an entry of this weight has room now, where `replaced` would leave for it.
    pub(crate) fn has_room(&self, weight: u64, replaced: Option<u32>) -> bool {
        let freed = replaced.map_or(0, |index| self.slot(index).weight);
        let fits = weight <= self.capacity.saturating_sub(self.weight - freed);
        fits && (replaced.is_some() || !self.slots.is_full())
    }

    #[inline]
    pub(crate) fn used_shared(&self, index: u32) {
        self.order.used_shared(self.slots.slot(index));
    }

    pub(crate) fn used(&mut self, index: u32) {
        self.order.used(&mut self.slots, index);
    }

    pub(crate) fn victim(&mut self) -> Option<u32> {
        self.order.victim(&mut self.slots)
    }

    /// The next slot in turn, where it holds an entry.
    pub(crate) fn next_swept(&mut self) -> Option<u32> {
        if self.sweep >= self.slots.count() {
            self.sweep = 0;
        }
        let index = self.sweep;
        if index < self.slots.count() {
            self.sweep = index + 1;
            return self.slots.slot(index).entry().map(|_| index);
        }
        None
    }

    /// There must be room, and the key must not be resident.
    pub(crate) fn add(&mut self, hash: u64, key: K, value: V, weight: u64) {
        debug_assert!(self.has_room(weight, None), "room is made before an entry is added");
        let index = self.slots.add(hash, weight, key, value);
        self.order.added(&mut self.slots, index);
        let slots = &self.slots;
        self.index.insert_unique(hash, index, |&index| slots.slot(index).hash);
        self.weight = self.weight.saturating_add(weight);
    }

    /// Puts a new entry for the same key in the old one's place. There must be room.
    pub(crate) fn replace(&mut self, index: u32, key: K, value: V, weight: u64) -> (K, V) {
        debug_assert!(self.has_room(weight, Some(index)), "room is made before an entry is replaced");
        let slot = self.slots.slot_mut(index);
        let old_weight = slot.weight;
        let old = slot.replace(weight, key, value);
        self.weight = (self.weight - old_weight).saturating_add(weight);
        self.used(index);
        old
    }

    pub(crate) fn remove(&mut self, index: u32) -> (K, V) {
        let slot = self.slots.slot(index);
        let (hash, weight) = (slot.hash, slot.weight);
        let found = self.index.find_entry(hash, |&other| other == index);
        found.expect("every occupied slot is indexed").remove();
        self.order.removed(&mut self.slots, index);
        self.weight -= weight;
        self.slots.take(index)
    }

    /// Removes all at once, with the memory they took.
    pub(crate) fn remove_all(&mut self, policy: Policy) -> impl Iterator<Item = (K, V)> + use<K, V> {
        self.index = HashTable::new();
        self.order = Order::new(policy);
        self.weight = 0;
        self.sweep = 0;
        std::mem::replace(&mut self.slots, Slots::new()).into_entries()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes().saturating_add(self.index.allocation_size()).saturating_add(self.flights.bytes())
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn validate(&self, rehash: impl Fn(&K) -> u64)
    where
        K: Eq,
    {
        let mut weight = 0_u64;
        for (index, slot, key, _) in self.slots.iter() {
            weight += slot.weight;
            assert_eq!(slot.hash, rehash(key), "E1: a slot remembers its key's hash");
            let same = |&other: &u32| other != index && self.entry(other).0 == key;
            assert!(self.index.find(slot.hash, same).is_none(), "E1: a key is resident once");
            let own = self.index.iter_hash(slot.hash).filter(|&&other| other == index).count();
            assert_eq!(own, 1, "E1: an occupied slot is indexed once");
        }
        assert_eq!(self.index.len(), self.slots.occupied(), "E1: nothing else is indexed");
        let vacant = self.slots.count_vacant();
        assert_eq!(
            vacant + self.slots.occupied(),
            self.slots.count() as usize,
            "every slot is accounted for"
        );
        assert_eq!(self.weight, weight, "E2: the weight is the sum of the slots'");
        assert!(self.weight <= self.capacity, "E2: {} of weight in {}", self.weight, self.capacity);
        self.order.validate(&self.slots);
    }
}
