//! A doubly linked list whose links live in the slots.

use crate::slots::{NONE, Slots};

#[derive(Debug)]
pub(crate) struct List {
    newest: u32,
    oldest: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { newest: NONE, oldest: NONE }
    }
}

impl List {
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(super) fn push_newest<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        let slot = slots.slot_mut(index);
        slot.newer = NONE;
        slot.older = self.newest;
        match self.newest {
            NONE => self.oldest = index,
            newest => slots.slot_mut(newest).newer = index,
        }
        self.newest = index;
    }

    pub(super) fn unlink<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        let slot = slots.slot(index);
        let (newer, older) = (slot.newer, slot.older);
        match newer {
            NONE => self.newest = older,
            newer => slots.slot_mut(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => slots.slot_mut(older).newer = newer,
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn validate<K, V>(&self, slots: &Slots<K, V>) {
        let (mut count, mut newer, mut next) = (0, NONE, self.newest);
        while next != NONE {
            let slot = slots.slot(next);
            assert!(slot.entry().is_some(), "a linked slot has an entry");
            assert_eq!(slot.newer, newer, "links agree in both directions");
            (newer, next) = (next, slot.older);
            count += 1;
            assert!(count <= slots.occupied(), "the list has no cycle");
        }
        assert_eq!(self.oldest, newer, "the walk ends at the oldest");
        assert_eq!(count, slots.occupied(), "every entry is linked");
    }
}
