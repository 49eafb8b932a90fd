//! CLOCK, told as a queue: first in, first out, but who was used since goes round once more.
//!
//! The hand of the textbook is the queue's end; moving an entry to the front is the hand passing it.

use super::list::List;
use crate::slots::Slots;

#[derive(Debug, Default)]
pub(crate) struct Clock {
    list: List,
}

impl Clock {
    pub(super) fn added<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        self.list.push_newest(slots, index);
    }

    pub(super) fn removed<K, V>(&mut self, slots: &mut Slots<K, V>, index: u32) {
        self.list.unlink(slots, index);
    }

    pub(super) fn victim<K, V>(&mut self, slots: &mut Slots<K, V>) -> Option<u32> {
        for _ in 0..ROUNDS_MAX {
            let oldest = self.list.oldest()?;
            if !slots.slot_mut(oldest).forget_visit() {
                return Some(oldest);
            }
            self.list.unlink(slots, oldest);
            self.list.push_newest(slots, oldest);
        }
        self.list.oldest()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn list(&self) -> &List {
        &self.list
    }
}

/// How many used entries one eviction lets pass. When all were used, no order among them is worth a long walk.
const ROUNDS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_entry_goes_round_once_more() {
        let (mut slots, mut clock) = (Slots::new(), Clock::default());
        for key in 0..3_u32 {
            let index = slots.add(0, 1, key, ());
            clock.added(&mut slots, index);
        }
        slots.slot(0).visit();
        let mut left = Vec::new();
        while let Some(victim) = clock.victim(&mut slots) {
            clock.removed(&mut slots, victim);
            left.push(slots.take(victim).0);
        }
        assert_eq!(left, [1, 2, 0]);
    }

    #[test]
    fn a_use_is_spent_by_one_more_round() {
        let (mut slots, mut clock) = (Slots::new(), Clock::default());
        for key in 0..3_u32 {
            let index = slots.add(0, 1, key, ());
            clock.added(&mut slots, index);
            if key == 1 {
                slots.slot(0).visit();
                let victim = clock.victim(&mut slots);
                assert_eq!(victim, Some(1));
                clock.removed(&mut slots, 1);
            }
        }
        assert_eq!(clock.victim(&mut slots), Some(0));
    }

    #[test]
    fn one_eviction_lets_a_bounded_number_pass() {
        let (mut slots, mut clock) = (Slots::new(), Clock::default());
        for key in 0..1000_u32 {
            let index = slots.add(0, 1, key, ());
            clock.added(&mut slots, index);
            slots.slot(index).visit();
        }
        let passed = u32::try_from(ROUNDS_MAX).unwrap();
        assert_eq!(clock.victim(&mut slots), Some(passed));
        clock.list().validate(&slots);
    }
}
