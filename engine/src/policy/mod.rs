//! Who leaves when room is needed. Single owner, safe: all of it runs under the shard's exclusive lock, except the
//! mark of a use under CLOCK, which readers set.

mod clock;
mod list;
mod lru;

use crate::options::Policy;
use crate::slots::{Slot, Slots};
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

    /// A use seen under the shared lock.
    #[inline]
    pub(crate) fn used_shared<K, V>(&self, slot: &Slot<K, V>) {
        match self {
            Self::Clock(_) => slot.visit(),
            // Only a read nested in another comes here under LRU: it cannot move anything.
            Self::Lru(_) => {}
        }
    }

    /// A use seen under the exclusive lock.
    pub(crate) fn used<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        match self {
            Self::Clock(_) => slots.slot(index).visit(),
            Self::Lru(lru) => lru.used(slots, index),
        }
    }

    pub(crate) fn added<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        match self {
            Self::Clock(clock) => clock.added(slots, index),
            Self::Lru(lru) => lru.added(slots, index),
        }
    }

    pub(crate) fn removed<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        match self {
            Self::Clock(clock) => clock.removed(slots, index),
            Self::Lru(lru) => lru.removed(slots, index),
        }
    }

    /// Who should leave next; still in its place. `None` only when there is nobody.
    pub(crate) fn victim<K, V>(&mut self, slots: &mut Slots<K, V>) -> Option<u32> {
        match self {
            Self::Clock(clock) => clock.victim(slots),
            Self::Lru(lru) => lru.victim(),
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn validate<K, V>(&self, slots: &Slots<K, V>) {
        match self {
            Self::Clock(clock) => clock.list().validate(slots),
            Self::Lru(lru) => lru.list().validate(slots),
        }
    }
}
