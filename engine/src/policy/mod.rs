//! Who leaves when room is needed. Single owner, safe: all of it runs under the shard's lock, but for the mark of a
//! use, which readers set on the entry.

mod clock;
mod list;
mod lru;

use crate::options::Policy;
use crate::table::Slots;
use clock::Clock;
use lru::Lru;

#[derive(Debug)]
pub(crate) enum Order {
    Clock(Clock),
    Lru(Lru),
}

impl Order {
    pub(crate) fn new(policy: Policy) -> Self {
        match policy {
            Policy::Clock => Self::Clock(Clock::default()),
            Policy::Lru => Self::Lru(Lru::default()),
        }
    }

    /// A use seen under the lock.
    #[inline]
    pub(crate) fn used<K, V>(&mut self, slots: &Slots<'_, K, V>, id: u32) {
        match self {
            Self::Clock(_) => slots.mark_used(id),
            Self::Lru(lru) => lru.used(id),
        }
    }

    #[inline]
    pub(crate) fn added(&mut self, id: u32) {
        match self {
            Self::Clock(_) => {}
            Self::Lru(lru) => lru.added(id),
        }
    }

    /// `new` has the place of `old` now.
    pub(crate) fn replaced(&mut self, old: u32, new: u32) {
        match self {
            Self::Clock(_) => {}
            Self::Lru(lru) => {
                lru.removed(old);
                lru.added(new);
            }
        }
    }

    #[inline]
    pub(crate) fn removed(&mut self, id: u32) {
        match self {
            Self::Clock(_) => {}
            Self::Lru(lru) => lru.removed(id),
        }
    }

    /// Who should leave next; still in its place. `None` only when there is nobody.
    #[inline]
    pub(crate) fn victim<K, V>(&mut self, slots: &Slots<'_, K, V>) -> Option<u32> {
        match self {
            Self::Clock(clock) => clock.victim(slots),
            Self::Lru(lru) => lru.victim(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Clock(_) => 0,
            Self::Lru(lru) => lru.bytes(),
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn validate<K, V>(&self, slots: &Slots<'_, K, V>) {
        match self {
            Self::Clock(_) => {}
            Self::Lru(lru) => lru.validate(slots),
        }
    }
}
