//! The adaptive policy: W-TinyLFU (Einziger, Friedman and Manes 2017) rebuilt so that a hit only counts up a small number
//! on its entry.
//!
//! - A *window* takes every new entry, a *main part* holds those that have proved themselves. Neither moves on a hit.
//! - How often keys were asked for is estimated by a sketch, which is touched on misses only: the missing key is counted
//!   at once, the uses of an entry when a hand passes it.
//! - Who comes to the end of the window contends with whom main's hand stands on: the one asked for more often stays, or
//!   the one used more lately (as in LIRS, Jiang and Zhang 2002, at the grain of the hand's passes). Who loses, but was
//!   used, goes round the window once more.
//! - The window's share follows two lists of ghosts, of those who left from the window and from the main part. A miss that
//!   is found on one is a hit that this part, a little larger, would have had.
//!
//! All of it runs under the lock of the insertion. One eviction lets at most [`STEPS_MAX`] entries pass.

use super::ghosts::{Ghosts, Returned};
use super::ring::{MAIN, Rings, WINDOW};
use super::sketch::Sketch;
use crate::table::Slots;

#[derive(Debug)]
pub(crate) struct Adaptive {
    rings: Rings,
    ghosts: Ghosts,
    sketch: Sketch,
    /// How many entries there will be in the end; zero if nobody knows.
    expected: usize,
    /// Of the capacity, what the window should have.
    share: f32,
    /// A capacity, and what this share of it is.
    target: (u64, u64),
    /// Counts misses, some at a time: 14 bits, which come round after 256 times as many misses as there are entries.
    tick: u16,
    in_tick: u32,
    /// Of this round: the ghosts found on either side, each as a part of those that there are; and how many in all.
    density: [f32; 2],
    found: u32,
    /// Hits of those that came to the end of the window in this round.
    window_hits: u32,
    /// The ghost of the entry that is about to be added.
    returned: Option<Returned>,
}

impl Adaptive {
    pub(super) const fn new(expected: usize) -> Self {
        Self {
            rings: Rings::new(),
            ghosts: Ghosts::new(),
            sketch: Sketch::new(),
            expected,
            share: SHARE_FIRST,
            target: (0, 0),
            tick: 0,
            in_tick: 0,
            density: [0.0; 2],
            found: 0,
            window_hits: 0,
            returned: None,
        }
    }

    /// Has the processor fetch what [`missed`](Self::missed) will need.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        self.sketch.prefetch(hash);
        self.ghosts.prefetch(hash);
    }

    /// A key is about to be added that was not there: before room is made for it.
    #[inline(never)]
    pub(super) fn missed(&mut self, hash: u32, entries: usize) {
        self.sketch.fit(entries + 1, self.expected);
        self.ghosts.fit(entries + 1, self.expected);
        self.in_tick += 1;
        if self.in_tick as usize >= entries / TICKS {
            self.in_tick = 0;
            self.tick = self.tick.wrapping_add(1) & TICK_MASK;
        }
        self.sketch.add(hash, 1);
        self.returned = self.ghosts.take(hash, entries, GHOSTS);
        if let Some(ghost) = self.returned {
            self.learn(ghost, entries as f32);
        }
    }

    /// Lets a missing key that was found among the ghosts vote on the shares.
    fn learn(&mut self, ghost: Returned, entries: f32) {
        let reach = (entries * REACH).max(REACH_MIN);
        if ghost.age * entries >= reach {
            return;
        }
        // One vote counts as much as it says about a part that were one entry larger.
        let ghosts = self.ghosts.left(ghost.side) as f32;
        self.density[ghost.side] += 1.0 / ghosts.clamp((reach / 8.0).max(REACH_MIN), reach);
        self.found += 1;
        if (self.found as f32) < (entries * ROUND).max(ROUND_MIN) {
            return;
        }
        self.found = 0;
        let [window, main] = std::mem::take(&mut self.density);
        let own = std::mem::take(&mut self.window_hits) as f32 / self.rings.len(WINDOW).max(1) as f32;
        // A loop that is a little longer than the cache fills the window's ghosts with hits that no larger window
        // would get: they are not believed where the window itself has next to none.
        if window < main || window <= TRUST * own {
            self.share += (window - main) / (window + main) * STEP;
            self.share = self.share.clamp(SHARE_MIN, SHARE_MAX);
            self.target = (0, 0);
        }
    }

    #[inline(never)]
    pub(super) fn added(&mut self, id: u32, weight: u64) {
        // A ghost keeps the lower bits of its tick.
        let since = self.returned.map_or(self.tick, |ghost| ghost.since_before(self.tick));
        self.rings.push_newest(WINDOW, id, weight, since & TICK_MASK, self.returned.is_some());
    }

    #[inline(never)]
    pub(super) fn removed(&mut self, id: u32, weight: u64) {
        self.rings.remove(id, weight);
    }

    /// `new` has the place of `old` now; among those of its part it is the newest.
    pub(super) fn replaced(&mut self, old: u32, old_weight: u64, new: u32, weight: u64) {
        let (part, since, has_returned) =
            (self.rings.part(old), self.rings.since(old), self.rings.has_returned(old));
        self.rings.remove(old, old_weight);
        self.rings.push_newest(part, new, weight, since, has_returned);
    }

    /// Who should leave next; still in its place. `None` only when there is nobody.
    #[inline(never)]
    pub(super) fn victim<K, V>(
        &mut self,
        slots: &Slots<'_, K, V>,
        weight_of: impl Fn(u32) -> u64,
        capacity: u64,
    ) -> Option<u32> {
        let entries = slots.len();
        let target = self.target(capacity);
        let mut steps = STEPS_MAX;
        loop {
            let candidate = self.rings.hand(WINDOW);
            let is_small = self.rings.weight(WINDOW) < target && self.rings.len(MAIN) > 0;
            let Some(candidate) = candidate.filter(|_| !is_small) else {
                let incumbent = self.incumbent(slots, &mut steps)?;
                return Some(self.leaves(incumbent, MAIN, slots));
            };
            let hash = slots.hash(candidate);
            let uses = slots.uses(candidate);
            slots.set_uses(candidate, 0);
            self.window_hits = self.window_hits.saturating_add(uses.into());
            self.sketch.add(hash, uses);
            let weight = weight_of(candidate);
            let has_room = self.rings.weight(MAIN).saturating_add(weight) <= capacity.saturating_sub(target);
            if has_room && steps > 0 {
                steps -= 1;
                self.promote(candidate, weight);
                continue;
            }
            let Some(incumbent) = self.incumbent(slots, &mut steps) else {
                return Some(self.leaves(candidate, WINDOW, slots));
            };
            if self.is_better(candidate, hash, uses, incumbent, slots.hash(incumbent), entries) {
                self.promote(candidate, weight);
                return Some(self.leaves(incumbent, MAIN, slots));
            }
            if uses == 0 || steps == 0 {
                return Some(self.leaves(candidate, WINDOW, slots));
            }
            steps -= 1;
            self.rings.set_returned(candidate, self.tick);
            self.rings.advance(WINDOW);
        }
    }

    /// How much the window should have.
    #[inline]
    fn target(&mut self, capacity: u64) -> u64 {
        if self.target.0 != capacity {
            let most = capacity.saturating_sub(1).max(1);
            // Beyond 2^53 the share loses digits that no share has.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let wanted = (capacity as f64 * f64::from(self.share)) as u64;
            self.target = (capacity, wanted.clamp(1, most));
        }
        self.target.1
    }

    fn promote(&mut self, id: u32, weight: u64) {
        self.rings.remove(id, weight);
        self.rings.push_newest(MAIN, id, weight, self.tick, false);
    }

    /// Writes down that an entry leaves.
    fn leaves<K, V>(&mut self, id: u32, side: usize, slots: &Slots<'_, K, V>) -> u32 {
        self.ghosts.add(slots.hash(id), side, self.rings.since(id), slots.len());
        // The next eviction begins with the one after it.
        let next = self.rings.newer(id);
        let hash = slots.hash(next);
        self.prefetch(hash);
        slots.prefetch_home(hash);
        slots.prefetch_node(self.rings.newer(next));
        id
    }

    /// Moves main's hand to an entry that was not used since the hand was there as often as it was used.
    fn incumbent<K, V>(&mut self, slots: &Slots<'_, K, V>, steps: &mut u32) -> Option<u32> {
        loop {
            let id = self.rings.hand(MAIN)?;
            let uses = slots.uses(id);
            if uses == 0 || *steps == 0 {
                return Some(id);
            }
            *steps -= 1;
            self.sketch.add(slots.hash(id), 1);
            slots.set_uses(id, uses - 1);
            self.rings.set_since(id, self.tick);
            self.rings.advance(MAIN);
        }
    }

    /// Whether the candidate should have the incumbent's place.
    fn is_better(
        &mut self,
        candidate: u32,
        hash: u32,
        uses: u8,
        incumbent: u32,
        other_hash: u32,
        entries: usize,
    ) -> bool {
        let (one, other) = (self.sketch.count(hash), self.sketch.count(other_hash));
        if one > other {
            return true;
        }
        let age = |id| self.tick.wrapping_sub(self.rings.since(id)) & TICK_MASK;
        let was_reused = uses > 0 || self.rings.has_returned(candidate);
        // In small caches, what goes back and forth would pass for what comes again.
        was_reused && age(candidate) < age(incumbent) && (one == other || entries >= LARGE)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.rings.bytes() + self.ghosts.bytes() + self.sketch.bytes()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn validate<K, V>(&self, slots: &Slots<'_, K, V>, weight_of: impl Fn(u32) -> u64) {
        self.rings.validate(|id| slots.next_from(id) == Some(id), weight_of, slots.len());
    }
}

/// The surface is flat: half or twice as much of each of these changes hit ratios by some tenths of a point.
const SHARE_FIRST: f32 = 0.1;
const SHARE_MIN: f32 = 0.01;
const SHARE_MAX: f32 = 0.9;
/// How much of the capacity one round moves at most.
const STEP: f32 = 0.06;
/// How many votes make a round, as a share of the entries.
const ROUND: f32 = 0.01;
const ROUND_MIN: f32 = 32.0;
/// How far back ghosts have a vote, as a share of the entries.
const REACH: f32 = 0.1;
const REACH_MIN: f32 = 8.0;
/// How far back ghosts are known, as a share of the entries.
const GHOSTS: f32 = 1.0;
/// From so many entries on a cache is not small.
const LARGE: usize = 1000;
const TRUST: f32 = 16.0;
/// In so many ticks as many are missed as there are entries.
const TICKS: usize = 64;
pub(super) const TICK_BITS: u32 = 14;
const TICK_MASK: u16 = (1 << TICK_BITS) - 1;
const STEPS_MAX: u32 = 128;
