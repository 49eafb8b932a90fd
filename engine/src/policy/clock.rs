//! CLOCK: a hand goes round the entries' places; who was used since it last came by is spared once.
//!
//! Places are used again in the order in which they were vacated, so the round is nearly the order of arrival: first
//! in, first out, with another round for what was used.

use crate::table::Slots;

#[derive(Debug, Default)]
pub(crate) struct Clock {
    hand: u32,
}

impl Clock {
    #[inline]
    pub(super) fn victim<K, V>(&mut self, slots: &Slots<'_, K, V>) -> Option<u32> {
        let mut passed = 0;
        loop {
            let (next, was_used) = slots.pass(self.hand)?;
            self.hand = next + 1;
            passed += 1;
            if !was_used || passed > ROUNDS_MAX {
                // The next one will be wanted, too.
                slots.prefetch_from(self.hand);
                return Some(next);
            }
        }
    }
}

impl Clock {
    /// From the hand on; the used ones above.
    pub(super) fn ranked<K, V>(&self, slots: &Slots<'_, K, V>) -> Vec<(u8, u32)> {
        let entries = |from| std::iter::successors(slots.next_from(from), |id| slots.next_from(id + 1));
        let round = entries(self.hand).chain(entries(0).take_while(|id| *id < self.hand));
        round.map(|id| (u8::from(slots.uses(id) > 0), id)).collect()
    }
}

/// How many used entries one eviction lets pass. When all were used, no order among them is worth a long walk.
const ROUNDS_MAX: usize = 128;

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;
    use crate::table::{Sharded, Table};

    /// Keys 0 to `count - 1`; what evicting all of them says, after `prepare`.
    fn left(count: u32, prepare: impl FnOnce(&Slots<'_, u32, ()>), most: usize) -> Vec<u32> {
        let tables = Sharded::new(1, |_, seat| Table::new(seat, count as usize, 8, ()));
        let mut locked = tables.shard(0).lock();
        let (mut slots, ()) = locked.parts();
        for key in 0..count {
            let hash = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let vacancy = slots.vacancy(hash).expect("room for all");
            assert_eq!(slots.insert(vacancy, (key, ()), &mut None), key);
        }
        prepare(&slots);
        let (mut clock, mut left) = (Clock::default(), Vec::new());
        while left.len() < most {
            let Some(victim) = clock.victim(&slots) else { break };
            left.push(*slots.entry(victim).0);
            let departed = slots.unlink(victim);
            slots.retire(departed);
        }
        left
    }

    #[test]
    fn a_used_entry_goes_round_once_more() {
        assert_eq!(left(3, |slots| slots.mark_used(0), 9), [1, 2, 0]);
    }

    #[test]
    fn a_use_is_spent_by_one_more_round() {
        assert_eq!(left(3, |slots| (0..3).for_each(|id| slots.mark_used(id)), 9), [0, 1, 2]);
    }

    #[test]
    fn one_eviction_lets_a_bounded_number_pass() {
        let all_used = |slots: &Slots<'_, u32, ()>| (0..1000).for_each(|id| slots.mark_used(id));
        assert_eq!(left(1000, all_used, 1), [u32::try_from(ROUNDS_MAX).unwrap()]);
    }
}
