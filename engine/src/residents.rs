//! What one shard holds: the entries, their order and their weight, kept in step.
//!
//! Nothing here runs user code but the key's equality in `find`, which changes nothing. So no panic of the user's
//! can come between two steps of one change.
//!
//! Invariants, checked by `validate`:
//! - E1: the table keeps its own.
//! - E2: `weight` is the sum of the entries' weights, and at most `quota`, which was drawn from the budget.
//! - E3: the order knows every entry once.

use crate::budget::Budget;
use crate::flight::Flights;
use crate::options::Policy;
use crate::policy::{Log, Order};
use crate::sync::Arc;
use crate::table::{Departed, Slots, Vacancy, upper};
use equivalent::Equivalent;
use std::hash::Hash;

/// What is written down about the entries, beside them.
// In this order: what every write touches lies together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Book<K, V> {
    weight: u64,
    /// What may be here, in weight.
    quota: u64,
    /// Beyond this, what is not needed is given back.
    spare: u64,
    /// Below this, others give.
    poor: u64,
    /// What has left, in weight, since the table was last told to hurry.
    departed: u64,
    /// Where the search for dead entries goes on.
    sweep: u32,
    order: Order,
    /// By number; empty while all that was ever here weighs 1.
    weights: Vec<u64>,
    budget: Arc<Budget>,
    /// Loads under way, here because they start and land in the same critical sections as entries change.
    pub(crate) flights: Flights<K, V>,
}

impl<K, V> Book<K, V> {
    /// For so many `expected` entries, zero if nobody knows; each of which stands for 2^`rarity`.
    pub(crate) fn new(budget: Arc<Budget>, policy: Policy, expected: usize, rarity: u32) -> Self {
        Self {
            order: Order::new(policy, expected, rarity),
            weights: Vec::new(),
            weight: 0,
            quota: budget.draw(0, 0),
            spare: budget.spare(),
            poor: budget.poor(),
            budget,
            departed: 0,
            sweep: 0,
            flights: Flights::new(),
        }
    }

    pub(crate) fn log(&self) -> Option<Arc<Log>> {
        self.order.log()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) fn quota(&self) -> u64 {
        self.quota
    }

    /// What may still come.
    #[inline]
    pub(crate) fn slack(&self) -> u64 {
        self.quota - self.weight
    }

    /// Whether there is so much slack that others should have it.
    #[inline]
    pub(crate) fn has_plenty(&self) -> bool {
        self.slack() > self.spare
    }

    /// Gives most of the slack back.
    #[cold]
    #[inline(never)]
    pub(crate) fn share_plenty(&mut self) {
        self.give_back(self.slack() - self.spare / 2);
    }

    /// The capacity may have changed, and with it what is plenty and what is little.
    fn heed_capacity(&mut self) {
        (self.spare, self.poor) = (self.budget.spare(), self.budget.poor());
    }

    /// Gives so much back, or all the slack if that is less; says how much.
    pub(crate) fn give_back(&mut self, amount: u64) -> u64 {
        let amount = amount.min(self.slack());
        self.quota -= amount;
        self.budget.give_back(amount);
        self.heed_capacity();
        amount
    }

    #[inline]
    pub(crate) fn weight_of(&self, id: u32) -> u64 {
        weight_in(&self.weights, id)
    }

    #[inline]
    fn set_weight(&mut self, id: u32, weight: u64) {
        if weight != 1 || !self.weights.is_empty() {
            self.set_other_weight(id, weight);
        }
    }

    fn set_other_weight(&mut self, id: u32, weight: u64) {
        let index = id as usize;
        if index >= self.weights.len() {
            self.weights.resize(index + 1, 1);
        }
        self.weights[index] = weight;
    }

    /// Whether so much has left, by weight, that it should be dropped at once. Asked once per much.
    #[inline]
    pub(crate) fn is_laden(&mut self) -> bool {
        // While each weighs 1, the table counts for itself.
        if self.weights.is_empty() || self.departed <= self.quota / LADEN_SHARE {
            return false;
        }
        self.departed = 0;
        true
    }

    pub(crate) fn bytes(&self) -> usize {
        let weights = self.weights.capacity().saturating_mul(size_of::<u64>());
        weights.saturating_add(self.order.bytes()).saturating_add(self.flights.bytes())
    }
}

#[inline]
fn weight_in(weights: &[u64], id: u32) -> u64 {
    weights.get(id as usize).copied().unwrap_or(1)
}

/// The entries and the book, under the lock.
pub(crate) struct Residents<'a, K, V> {
    slots: Slots<'a, K, V>,
    pub(crate) book: &'a mut Book<K, V>,
}

impl<'a, K, V> Residents<'a, K, V> {
    #[inline]
    pub(crate) fn new((slots, book): (Slots<'a, K, V>, &'a mut Book<K, V>)) -> Self {
        Self { slots, book }
    }

    #[inline]
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.slots.find(hash, key)
    }

    /// The first entry with this number or a higher one.
    #[inline]
    pub(crate) fn next_from(&self, id: u32) -> Option<u32> {
        self.slots.next_from(id)
    }

    pub(crate) fn is_read_here(&self, id: u32) -> bool {
        self.slots.is_read_here(id)
    }

    /// Whether an entry of this weight could be kept at all. Nothing can, where the capacity is zero.
    pub(crate) fn admits(&self, weight: u64) -> bool {
        if weight <= self.book.quota && self.book.quota > 0 {
            return true;
        }
        let capacity = self.book.budget.capacity();
        weight <= capacity && capacity > 0
    }

    /// Whether an entry of this weight is much for this shard, which may mean that it is too much.
    #[inline]
    pub(crate) fn is_heavy(&self, weight: u64) -> bool {
        weight > self.book.quota / HEAVY_SHARE || self.book.quota == 0
    }

    /// Forgets what was known of those that were here, and gives the memory of that back. There must be nobody.
    pub(crate) fn forget(&mut self) {
        debug_assert!(self.slots.len() == 0, "who is here is not forgotten");
        self.book.order.clear();
        self.book.weights = Vec::new();
        self.book.heed_capacity();
    }

    /// Whether an entry of this weight has room now, where `replaced` would leave for it.
    #[inline]
    pub(crate) fn has_room(&self, weight: u64, replaced: Option<u32>) -> bool {
        let freed = replaced.map_or(0, |id| self.book.weight_of(id));
        let fits = weight <= self.book.slack() + freed;
        fits && (replaced.is_some() || !self.slots.is_exhausted())
    }

    /// Whether there may be more to draw, or others want something, or others should know that this one does.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.book.budget.concerns(self.book.quota, self.book.poor)
    }

    /// Draws what is missing for an entry of this weight, as far as there is any.
    pub(crate) fn draw(&mut self, weight: u64, replaced: Option<u32>) {
        let book = &mut *self.book;
        let freed = replaced.map_or(0, |id| book.weight_of(id));
        let missing = weight.saturating_sub(book.slack() + freed);
        book.quota += book.budget.draw(book.quota, missing);
        book.heed_capacity();
    }

    /// How much of what is here should make room for others.
    pub(crate) fn wanted(&self) -> u64 {
        self.book.budget.wanted(self.book.quota)
    }

    /// What may stay beside an entry of this weight: as large a part as of everything in the cache.
    pub(crate) fn kept_beside(&self, weight: u64) -> u64 {
        let capacity = self.book.budget.capacity();
        let left = u128::from(capacity.saturating_sub(weight));
        // A part of the weight.
        #[allow(clippy::cast_possible_truncation)]
        let kept = (u128::from(self.book.weight) * left / u128::from(capacity.max(1))) as u64;
        kept
    }

    /// Makes room for an entry of this weight out of nothing: it is owed then.
    pub(crate) fn overdraw(&mut self, weight: u64) {
        let missing = weight.saturating_sub(self.book.slack());
        // What is kept beside it and itself are less than the capacity together.
        self.book.quota += missing;
        self.book.budget.overdraw(missing);
    }

    #[inline]
    pub(crate) fn used(&mut self, id: u32) {
        self.book.order.used(&self.slots, id);
    }

    pub(crate) fn used_by(&mut self, thread: Option<usize>, id: u32) {
        self.book.order.used_by(&self.slots, thread, id);
    }

    #[inline(always)]
    pub(crate) fn victim(&mut self) -> Option<u32> {
        let Book { order, weights, quota, .. } = &mut *self.book;
        order.victim(&self.slots, |id| weight_in(weights, id), *quota)
    }

    /// A place for an entry with this hash; or else who must leave before there is one, room in the capacity or not:
    /// where the hash is so bad that all places it may have are taken.
    #[inline(always)]
    pub(crate) fn vacancy(&mut self, hash: u64) -> Result<Vacancy, u32> {
        match self.slots.vacancy(hash) {
            Some(vacancy) => Ok(vacancy),
            None => Err(self.slots.rival(hash).expect("nanotier: places that are all taken are somebody's")),
        }
    }

    /// The next entry in turn.
    #[inline]
    pub(crate) fn next_swept(&mut self) -> Option<u32> {
        let next = self.slots.next_from(self.book.sweep).or_else(|| self.slots.next_from(0))?;
        self.book.sweep = next + 1;
        Some(next)
    }

    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.book.order.prefetch(upper(hash));
    }

    /// A key is about to be added that is not resident.
    #[inline]
    pub(crate) fn missed(&mut self, hash: u64) {
        self.book.order.missed(upper(hash), self.slots.len());
    }

    /// There must be room, and the key must not be resident. `dead` gets an entry to be dropped outside the lock.
    #[inline(always)]
    pub(crate) fn add(&mut self, vacancy: Vacancy, pair: (K, V), weight: u64, dead: &mut Option<(K, V)>) {
        debug_assert!(self.has_room(weight, None), "room is made before an entry is added");
        let id = self.slots.insert(vacancy, pair, dead);
        self.book.order.added(id, weight);
        self.book.set_weight(id, weight);
        self.book.weight = self.book.weight.saturating_add(weight);
    }

    /// Puts a new entry for the same key in the old one's place. There must be room.
    pub(crate) fn replace(
        &mut self,
        id: u32,
        pair: (K, V),
        weight: u64,
        dead: &mut Option<(K, V)>,
    ) -> Departed<K, V> {
        debug_assert!(self.has_room(weight, Some(id)), "room is made before an entry is replaced");
        let old_weight = self.book.weight_of(id);
        let (new, departed) = self.slots.replace(id, pair, dead);
        self.book.order.replaced(id, old_weight, new, weight);
        self.book.set_weight(new, weight);
        self.book.weight = (self.book.weight - old_weight).saturating_add(weight);
        self.book.departed = self.book.departed.saturating_add(old_weight);
        self.used(new);
        departed
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: u32) -> Departed<K, V> {
        let weight = self.book.weight_of(id);
        self.book.order.removed(id, weight);
        self.book.weight -= weight;
        self.book.departed = self.book.departed.saturating_add(weight);
        self.slots.unlink(id)
    }

    /// Removes an entry, to be dropped when nobody reads it any more.
    #[inline(always)]
    pub(crate) fn discard(&mut self, id: u32) {
        let weight = self.book.weight_of(id);
        self.book.order.removed(id, weight);
        self.book.weight -= weight;
        self.book.departed = self.book.departed.saturating_add(weight);
        self.slots.discard(id);
    }

    /// As [`discard`](Self::discard), where nobody can be reading.
    pub(crate) fn discard_unread(&mut self, id: u32) {
        let weight = self.book.weight_of(id);
        self.book.order.removed(id, weight);
        self.book.weight -= weight;
        self.slots.discard_unread(id);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Leaves what was removed to be dropped when nobody reads it any more.
    #[inline]
    pub(crate) fn retire(&mut self, departed: Departed<K, V>) {
        self.slots.retire(departed);
    }

    /// All entries with their ranks: see [`Order::ranked`].
    pub(crate) fn ranked(&mut self) -> Vec<(u8, u32)> {
        self.book.order.ranked(&self.slots)
    }

    #[cfg(test)]
    pub(crate) fn in_order(&self) -> Option<Vec<&K>> {
        Some(self.book.order.in_order()?.into_iter().map(|id| self.slots.entry(id).0).collect())
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn validate(&self) {
        let mut weight = 0_u64;
        let mut next = 0;
        while let Some(id) = self.slots.next_from(next) {
            assert!(id < self.slots.bound(), "numbers are below their bound");
            weight += self.book.weight_of(id);
            next = id + 1;
        }
        assert_eq!(self.book.weight, weight, "E2: the weight is the sum of the entries'");
        assert!(weight <= self.book.quota, "E2: {weight} of weight in {}", self.book.quota);
        self.book.order.validate(&self.slots, |id| self.book.weight_of(id));
    }
}

/// When this part of the quota has left, by weight, it is dropped without waiting for its places to be needed.
const LADEN_SHARE: u64 = 32;

/// What weighs more than this part of what its shard may have makes entries of other shards leave, too.
pub(crate) const HEAVY_SHARE: u64 = 8;
