//! Exact LRU: a use moves the entry to the front, and the last one leaves.

use super::list::List;
#[cfg(any(test, fuzzing))]
use crate::table::Slots;

#[derive(Debug, Default)]
pub(crate) struct Lru {
    list: List,
}

impl Lru {
    #[inline]
    pub(super) fn used(&mut self, id: u32) {
        if !self.list.is_newest(id) {
            self.list.unlink(id);
            self.list.push_newest(id);
        }
    }

    pub(super) fn added(&mut self, id: u32) {
        self.list.push_newest(id);
    }

    pub(super) fn removed(&mut self, id: u32) {
        self.list.unlink(id);
    }

    pub(super) fn victim(&self) -> Option<u32> {
        self.list.oldest()
    }

    pub(super) fn bytes(&self) -> usize {
        self.list.bytes()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn validate<K, V>(&self, slots: &Slots<'_, K, V>) {
        self.list.validate(|id| slots.next_from(id) == Some(id), slots.len());
    }
}
