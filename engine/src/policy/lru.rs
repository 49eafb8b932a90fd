//! Exact LRU: a use moves the entry to the front, and the last one leaves.

use super::list::List;
use crate::slots::Slots;

#[derive(Debug, Default)]
pub(crate) struct Lru {
    list: List,
}

impl Lru {
    pub(super) fn used<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        self.list.unlink(slots, index);
        self.list.push_newest(slots, index);
    }

    pub(super) fn added<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        self.list.push_newest(slots, index);
    }

    pub(super) fn removed<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        self.list.unlink(slots, index);
    }

    pub(super) fn victim(&self) -> Option<u32> {
        self.list.oldest()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn list(&self) -> &List {
        &self.list
    }
}
