//! Six small caches, of capacities from a quarter of the engine's to eight times it, which see a sample of its keys
//! ("miniature simulation": Waldspurger, Saemundsson, Ahmad and Park 2017).
//!
//! Each has the table and the policy of a shard, so that what a policy does is written down once; but whoever has them has
//! them for himself. So they need no locks, and what leaves one need not wait for readers.

use crate::budget::Budget;
use crate::engine::stir;
use crate::options::Policy;
use crate::residents::{Book, Residents};
use crate::sync::Arc;
use crate::table::{Sharded, Table};

/// Their capacities, in quarters of the engine's.
pub(crate) const QUARTERS: [u64; COUNT] = [1, 2, 4, 8, 16, 32];
pub(crate) const COUNT: usize = 6;
/// The one that is as large as the engine itself.
pub(crate) const SAME: usize = 2;

#[derive(Debug)]
pub(crate) struct Miniatures {
    /// From the smallest on.
    caches: [Miniature; COUNT],
    /// The mean of what came with a weight, for what comes without.
    weight: f64,
}

/// Which of them lacked a key: a bit for each, the lowest for the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lacking(u8);

impl Lacking {
    pub(crate) const ALL: Self = Self((1 << COUNT) - 1);

    pub(crate) fn has(self, nth: usize) -> bool {
        self.0 >> nth & 1 != 0
    }
}

impl Miniatures {
    /// For an engine of this capacity of whose keys one of 2^`rarity` is in the sample.
    pub(crate) fn new(capacity: u64, rarity: u32, policy: Policy) -> Self {
        let miniature = |nth| {
            let retained = (self::capacity(capacity, nth) / RETAINED_SHARE).max(RETAINED_MIN) >> rarity;
            Miniature::new(
                share(capacity, nth, rarity),
                usize::try_from(retained).unwrap_or(usize::MAX),
                policy,
                rarity,
            )
        };
        Self { caches: std::array::from_fn(miniature), weight: 1.0 }
    }

    /// A key was asked for, and was there: to those that lack it, it comes now.
    pub(crate) fn hit(&mut self, hash: u64) -> Lacking {
        let mut weight = None;
        let mut lacking = 0;
        // The largest has it if any has, and knows its weight.
        for (nth, cache) in self.caches.iter_mut().enumerate().rev() {
            match cache.look(hash) {
                Some(found) => weight = Some(found),
                None => {
                    lacking |= 1 << nth;
                    cache.put(hash, weight.unwrap_or_else(|| rounded(self.weight)), false);
                }
            }
        }
        Lacking(lacking)
    }

    /// A key was asked for, and was not there. If it comes, that is told.
    pub(crate) fn miss(&mut self, hash: u64) -> Lacking {
        let looks = self.caches.iter_mut().map(|cache| cache.look(hash));
        Lacking(looks.rev().fold(0, |lacking, found| lacking << 1 | u8::from(found.is_none())))
    }

    /// A value came in with this weight: a new one to those that lack it; to those that have it, only if it replaced another.
    pub(crate) fn put(&mut self, hash: u64, weight: u64, is_replacing: bool) {
        self.weight += (weight as f64 - self.weight) / WEIGHTS_MEANT;
        for cache in &mut self.caches {
            cache.put(hash, weight, is_replacing);
        }
    }

    pub(crate) fn remove(&mut self, hash: u64) {
        for cache in &mut self.caches {
            cache.remove(hash);
        }
    }

    /// How many entries the one has that is as large as the engine.
    pub(crate) fn len(&self) -> usize {
        self.caches[SAME].len
    }

    /// How many the smallest has.
    pub(crate) fn len_of_smallest(&self) -> usize {
        self.caches[0].len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.caches.iter().map(Miniature::bytes).sum()
    }
}

/// Of keys that are hashes.
#[derive(Debug)]
struct Miniature {
    /// One.
    tables: Sharded<u64, (), Table<u64, (), Book<u64, ()>>>,
    len: usize,
}

impl Miniature {
    fn new(capacity: u64, retained: usize, policy: Policy, rarity: u32) -> Self {
        let entries = usize::try_from(capacity).unwrap_or(usize::MAX).min(EXPECTED_MAX);
        let budget = Arc::new(Budget::new(capacity, 1));
        let book = |budget| Book::new(budget, policy, entries, rarity);
        let table = |_, seat| Table::new(seat, entries, retained, book(Arc::clone(&budget)));
        Self { tables: Sharded::new(1, table), len: 0 }
    }

    fn residents(&mut self) -> Residents<'_, u64, ()> {
        Residents::new(self.tables.first_mut().alone())
    }

    /// The weight of a key that is there. That is a use of it.
    fn look(&mut self, hash: u64) -> Option<u64> {
        let mut residents = self.residents();
        let id = residents.find(stir(hash), &hash)?;
        residents.used(id);
        Some(residents.book.weight_of(id))
    }

    fn put(&mut self, hash: u64, weight: u64, is_replacing: bool) {
        let stirred = stir(hash);
        let mut residents = self.residents();
        if let Some(id) = residents.find(stirred, &hash) {
            if !is_replacing {
                return;
            }
            if residents.book.weight_of(id) == weight {
                residents.used(id);
                return;
            }
            residents.discard_unread(id);
        }
        if residents.admits(weight) {
            if !residents.has_room(weight, None) {
                residents.draw(weight, None);
            }
            while !residents.has_room(weight, None) {
                let Some(victim) = residents.victim() else { break };
                residents.discard_unread(victim);
            }
            residents.missed(stirred);
            let vacancy = loop {
                match residents.vacancy(stirred) {
                    Ok(vacancy) => break vacancy,
                    Err(rival) => residents.discard_unread(rival),
                }
            };
            residents.add(vacancy, (hash, ()), weight, &mut None);
        }
        self.len = residents.len();
    }

    fn remove(&mut self, hash: u64) {
        let mut residents = self.residents();
        if let Some(id) = residents.find(stir(hash), &hash) {
            residents.discard_unread(id);
            self.len -= 1;
        }
    }

    fn bytes(&self) -> usize {
        self.tables.bytes()
            + self
                .tables
                .iter()
                .map(|table| {
                    let locked = table.lock();
                    locked.bytes() + locked.extra().bytes()
                })
                .sum::<usize>()
    }
}

/// The capacity of the miniature `nth`: rounded, but not to nothing where there is something.
fn share(capacity: u64, nth: usize, rarity: u32) -> u64 {
    let quarters = u128::from(capacity) * u128::from(QUARTERS[nth]);
    let share = ((quarters >> rarity) + 2) / 4;
    u64::try_from(share).unwrap_or(u64::MAX).max(u64::from(quarters >= 4))
}

/// The capacity of which the miniature `nth` is one: saturates.
pub(crate) fn capacity(capacity: u64, nth: usize) -> u64 {
    u64::try_from(u128::from(capacity) * u128::from(QUARTERS[nth]) / 4).unwrap_or(u64::MAX)
}

// A mean of weights is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rounded(weight: f64) -> u64 {
    weight.round() as u64
}

/// Over how many entries weights are averaged, about.
const WEIGHTS_MEANT: f64 = 256.0;
/// How many places an engine leaves vacant for a while, which CLOCK feels: two batches.
const RETAINED_SHARE: u64 = 8;
const RETAINED_MIN: u64 = 32;
/// For how many entries room is made at once.
const EXPECTED_MAX: usize = 1024;
