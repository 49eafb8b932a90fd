//! The best that is possible: Belady's optimum, which knows the future.

use std::collections::BinaryHeap;

/// How often a cache of this capacity has what it is asked for, if it always evicts the resident that is asked
/// for last, or never again. `ids` are below `distinct`.
///
/// What is missed is always inserted, as by a cache that reads through. A policy that refuses some keys might
/// therefore be better by a hair, never by more than one more entry would bring.
pub(crate) fn hits(ids: &[u32], distinct: usize, capacity: usize) -> u64 {
    let next_uses = next_uses(ids, distinct);
    let mut is_resident = vec![false; distinct];
    let mut residents = 0;
    let mut hits = 0;
    // By next use. What is asked for leaves an entry behind, which is the present by then: every resident is
    // asked for later, so none of those left behind is ever at the top.
    let mut by_next_use = BinaryHeap::new();
    for (&id, &next_use) in ids.iter().zip(&next_uses) {
        let place = id as usize;
        if is_resident[place] {
            hits += 1;
        } else {
            if residents < capacity {
                residents += 1;
            } else if let Some((_, last)) = by_next_use.pop() {
                let last: u32 = last;
                is_resident[last as usize] = false;
            }
            is_resident[place] = true;
        }
        by_next_use.push((next_use, id));
    }
    hits
}

/// When the key of each request is asked for again.
fn next_uses(ids: &[u32], distinct: usize) -> Vec<usize> {
    let mut seen = vec![NEVER; distinct];
    let mut next_uses = vec![NEVER; ids.len()];
    for (place, &id) in ids.iter().enumerate().rev() {
        next_uses[place] = seen[id as usize];
        seen[id as usize] = place;
    }
    next_uses
}

const NEVER: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // The strings of pages that textbooks have: 9 of 20 are missed, then 7 of 12, or 6 with one place more.
        let pages = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];
        assert_eq!(hits(&pages, 8, 3), 20 - 9);
        let pages = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5];
        assert_eq!(hits(&pages, 6, 3), 12 - 7);
        assert_eq!(hits(&pages, 6, 4), 12 - 6);
    }

    #[test]
    fn a_loop_keeps_all_but_one_place_for_those_who_return() {
        // Four keys in a circle with room for three: 0 1 2 are missed, 3 replaces 2; 0 1 are hit, 2 replaces 1;
        // 3 0 are hit, 1 replaces 0; 2 3 are hit.
        let ids: Vec<u32> = (0..12).map(|place| place % 4).collect();
        assert_eq!(hits(&ids, 4, 3), 6);
        assert_eq!(hits(&ids, 4, 4), 8);
        assert_eq!(hits(&ids, 4, 1), 0);
    }

    #[test]
    fn nothing_is_asked_for() {
        assert_eq!(hits(&[], 0, 5), 0);
    }
}
