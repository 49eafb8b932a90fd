//! Who leaves when room is needed. Single owner, safe: all of it runs under the shard's lock, but for the count of
//! uses, which readers keep on the entry.

mod adaptive;
mod clock;
mod list;
mod log;
mod lru;
mod past;
mod ring;

use crate::options::Policy;
use crate::sync::Arc;
use crate::table::Slots;
use adaptive::Adaptive;
use clock::Clock;
use lru::Lru;

pub(crate) use log::Log;

#[derive(Debug)]
pub(crate) enum Order {
    Adaptive(Box<Adaptive>),
    Clock(Clock),
    Lru(Lru),
}

impl Order {
    pub(crate) fn new(policy: Policy, expected: usize, rarity: u32) -> Self {
        match policy {
            Policy::Adaptive => Self::Adaptive(Box::new(Adaptive::new(expected, rarity))),
            Policy::Clock => Self::Clock(Clock::default()),
            Policy::Lru => Self::Lru(Lru::new()),
        }
    }

    /// Where readers note their uses, if they do not on the entry.
    pub(crate) fn log(&self) -> Option<Arc<Log>> {
        match self {
            Self::Adaptive(_) | Self::Clock(_) => None,
            Self::Lru(lru) => Some(lru.log()),
        }
    }

    /// A use seen under the lock.
    #[inline]
    pub(crate) fn used<K, V>(&mut self, slots: &Slots<'_, K, V>, id: u32) {
        match self {
            Self::Adaptive(_) | Self::Clock(_) => slots.mark_used(id),
            Self::Lru(lru) => lru.used(id),
        }
    }

    /// As `used`, by a reader that could not note it.
    pub(crate) fn used_by<K, V>(&mut self, slots: &Slots<'_, K, V>, thread: Option<usize>, id: u32) {
        match self {
            Self::Adaptive(_) | Self::Clock(_) => slots.mark_used(id),
            Self::Lru(lru) => lru.used_by(thread, id),
        }
    }

    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u32) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.prefetch(hash);
        }
    }

    /// A key is about to be added that was not there, and has room.
    #[inline(always)]
    pub(crate) fn missed(&mut self, hash: u32, entries: usize) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.missed(hash, entries);
        }
    }

    #[inline]
    pub(crate) fn added(&mut self, id: u32, weight: u64) {
        match self {
            Self::Adaptive(adaptive) => adaptive.added(id, weight),
            Self::Clock(_) => {}
            Self::Lru(lru) => lru.added(id),
        }
    }

    /// `new` has the place of `old` now.
    pub(crate) fn replaced(&mut self, old: u32, old_weight: u64, new: u32, weight: u64) {
        match self {
            Self::Adaptive(adaptive) => adaptive.replaced(old, old_weight, new, weight),
            Self::Clock(_) => {}
            Self::Lru(lru) => {
                lru.removed(old);
                lru.added(new);
            }
        }
    }

    #[inline]
    pub(crate) fn removed(&mut self, id: u32, weight: u64) {
        match self {
            Self::Adaptive(adaptive) => adaptive.removed(id, weight),
            Self::Clock(_) => {}
            Self::Lru(lru) => lru.removed(id),
        }
    }

    /// Who should leave next; still in its place. `None` only when there is nobody.
    #[inline(always)]
    pub(crate) fn victim<K, V>(
        &mut self,
        slots: &Slots<'_, K, V>,
        weight_of: impl Fn(u32) -> u64,
        capacity: u64,
    ) -> Option<u32> {
        match self {
            Self::Adaptive(adaptive) => adaptive.victim(slots, weight_of, capacity),
            Self::Clock(clock) => clock.victim(slots),
            Self::Lru(lru) => lru.victim(),
        }
    }

    /// All entries, by number, each with a rank: the higher is kept longer, and of equals the one that comes later here.
    pub(crate) fn ranked<K, V>(&mut self, slots: &Slots<'_, K, V>) -> Vec<(u8, u32)> {
        match self {
            Self::Adaptive(adaptive) => adaptive.ranked(slots),
            Self::Clock(clock) => clock.ranked(slots),
            Self::Lru(lru) => lru.ranked(),
        }
    }

    /// Forgets all it knows, and gives its memory back. There must be no entry.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Adaptive(adaptive) => adaptive.clear(),
            Self::Clock(_) => {}
            Self::Lru(lru) => lru.clear(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Adaptive(adaptive) => adaptive.bytes(),
            Self::Clock(_) => 0,
            Self::Lru(lru) => lru.bytes(),
        }
    }

    /// The least recently used first, where that is kept.
    #[cfg(test)]
    pub(crate) fn in_order(&self) -> Option<Vec<u32>> {
        match self {
            Self::Adaptive(_) | Self::Clock(_) => None,
            Self::Lru(lru) => Some(lru.in_order()),
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn validate<K, V>(&self, slots: &Slots<'_, K, V>, weight_of: impl Fn(u32) -> u64) {
        match self {
            Self::Adaptive(adaptive) => adaptive.validate(slots, weight_of),
            Self::Clock(_) => {}
            Self::Lru(lru) => lru.validate(slots),
        }
    }
}
