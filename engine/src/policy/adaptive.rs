//! The adaptive policy: W-TinyLFU (Einziger, Friedman and Manes 2017) rebuilt so that a hit only counts up a small number
//! on its entry.
//!
//! - A *window* takes every new entry, a *main part* holds those that have proved themselves. Neither moves on a hit.
//! - How often keys were asked for is estimated by a sketch ([`Past`]), which is touched on misses only: the missing key is
//!   counted at once, the uses of an entry when a hand passes it.
//! - Who comes to the end of the window contends with whom main's hand stands on: the one asked for more often stays, or
//!   the one used more lately (as in LIRS, Jiang and Zhang 2002, at the grain of the hand's passes). Who loses, but was
//!   used, goes round the window once more.
//! - The window's share follows two lists of ghosts, of those who left from the window and from the main part. A miss that
//!   is found on one is a hit that this part, a little larger, would have had.
//!
//! All of it runs under the lock of the insertion. One eviction lets at most [`STEPS_MAX`] entries pass.

use super::past::{Past, Returned};
use super::ring::{MAIN, Note, Rings, WINDOW};
use crate::table::Slots;

#[derive(Debug)]
pub(crate) struct Adaptive {
    rings: Rings,
    past: Past,
    /// How many entries there will be in the end; zero if nobody knows.
    expected: usize,
    /// Each entry stands for two to this power.
    rarity: u32,
    /// Of the capacity, what the window should have.
    share: f32,
    /// A capacity, and what this share of it is.
    target: (u64, u64),
    /// Counts misses, some at a time.
    tick: u16,
    in_tick: u32,
    /// Of this round: the ghosts found on either side, each as a part of those that there are; and how many in all.
    density: [f32; 2],
    found: u32,
    /// Hits of those that came to the end of the window in this round.
    window_hits: u32,
    /// What is noted of the entry that is about to be added.
    coming: Note,
    /// Whom main's hand was on last, and how often that one was asked for, by counts halved so often.
    standing: (u32, u8, u64),
}

impl Adaptive {
    pub(super) fn new(expected: usize, rarity: u32) -> Self {
        Self {
            rings: Rings::new(),
            past: Past::new(),
            expected,
            rarity,
            share: SHARE_FIRST,
            target: (0, 0),
            tick: 0,
            in_tick: 0,
            density: [0.0; 2],
            found: 0,
            window_hits: 0,
            coming: Note::new(0, false),
            standing: (NOBODY, 0, 0),
        }
    }

    /// Has the processor fetch what [`missed`](Self::missed) will need.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        self.past.prefetch(hash);
    }

    /// A key is about to be added that was not there, and has room.
    #[inline(never)]
    pub(super) fn missed(&mut self, hash: u32, entries: usize) {
        self.past.fit(entries + 1, self.expected);
        self.in_tick += 1;
        if self.in_tick as usize >= entries / TICKS {
            self.in_tick = 0;
            self.tick = self.tick.wrapping_add(1);
        }
        self.past.add(hash, 1, entries + 1);
        self.coming = match self.past.take(hash, entries) {
            None => Note::new(self.tick, false),
            Some(ghost) => {
                self.learn(ghost, entries as f32);
                Note::new(ghost.since_before(self.tick), true)
            }
        };
    }

    /// Lets a missing key that was found among the ghosts vote on the shares.
    fn learn(&mut self, ghost: Returned, entries: f32) {
        let reach = (entries * REACH).max(REACH_MIN);
        if ghost.age * entries >= reach {
            return;
        }
        // One vote counts as much as it says about a part that were one entry larger.
        let ghosts = self.past.left(ghost.side) as f32;
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

    #[inline]
    pub(super) fn added(&mut self, id: u32, weight: u64) {
        self.rings.push_newest(WINDOW, id, weight, self.coming);
    }

    #[inline]
    pub(super) fn removed(&mut self, id: u32, weight: u64) {
        if self.standing.0 == id {
            self.standing.0 = NOBODY;
        }
        self.rings.remove(id, weight);
    }

    /// `new` has the place of `old` now; among those of its part it is the newest.
    pub(super) fn replaced(&mut self, old: u32, old_weight: u64, new: u32, weight: u64) {
        let (ring, note) = (self.rings.ring(old), self.rings.note(old));
        self.removed(old, old_weight);
        self.rings.push_newest(ring, new, weight, note);
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
        let leeway = self.leeway(target, entries);
        let mut steps = STEPS_MAX;
        loop {
            let candidate = self.rings.hand(WINDOW);
            let is_small =
                self.rings.weight(WINDOW).saturating_add(leeway) < target && self.rings.len(MAIN) > 0;
            let Some(candidate) = candidate.filter(|_| !is_small) else {
                let incumbent = self.incumbent(slots, &mut steps)?;
                return Some(self.leaves(incumbent, MAIN, slots));
            };
            let hash = slots.hash(candidate);
            let uses = slots.uses(candidate);
            if uses > 0 {
                slots.set_uses(candidate, 0);
                self.past.add(hash, uses, entries);
            }
            self.window_hits = self.window_hits.saturating_add(uses.into());
            let note = self.rings.note(candidate);
            let weight = weight_of(candidate);
            let wanted = self.rings.weight(MAIN).saturating_add(weight).saturating_add(leeway);
            let has_room = wanted <= capacity.saturating_sub(target);
            if has_room && steps > 0 {
                steps -= 1;
                self.promote(candidate, weight);
                continue;
            }
            let Some(incumbent) = self.incumbent(slots, &mut steps) else {
                return Some(self.leaves(candidate, WINDOW, slots));
            };
            let was_reused = uses > 0 || note.has_returned();
            let asked = self.past.count(hash);
            let other = self.asked_of(incumbent, slots, entries);
            if self.is_better(note, asked, was_reused, incumbent, other, entries) {
                self.promote(candidate, weight);
                return Some(self.leaves(incumbent, MAIN, slots));
            }
            if uses == 0 || steps == 0 {
                return Some(self.leaves(candidate, WINDOW, slots));
            }
            steps -= 1;
            self.rings.set_note(candidate, Note::new(self.tick, true));
            self.rings.advance(WINDOW);
        }
    }

    /// How far the shares may be off before entries change sides without having to contend: nothing while all weigh 1.
    /// Else, as an entry seldom has the weight of the one whose place it takes, they always are a little.
    #[inline]
    fn leeway(&self, target: u64, entries: usize) -> u64 {
        let weight = self.rings.weight(WINDOW).saturating_add(self.rings.weight(MAIN));
        let entries = entries.max(1) as u64;
        if weight == entries { 0 } else { (weight / entries).saturating_mul(LEEWAY).min(target / 2) }
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
        self.rings.push_newest(MAIN, id, weight, Note::new(self.tick, false));
    }

    /// Writes down that an entry leaves.
    fn leaves<K, V>(&mut self, id: u32, side: usize, slots: &Slots<'_, K, V>) -> u32 {
        // Who was in the window came as long ago as it takes to go through it.
        let since = if side == WINDOW {
            // A few ticks.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let through = (self.share * TICKS as f32) as u16;
            self.tick.wrapping_sub(through)
        } else {
            self.rings.note(id).since()
        };
        self.past.leave(slots.hash(id), side, since, slots.len());
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
            self.past.add(slots.hash(id), 1, slots.len());
            slots.set_uses(id, uses - 1);
            self.rings.set_note(id, Note::new(self.tick, false));
            self.rings.advance(MAIN);
        }
    }

    #[inline]
    fn is_small(&self, entries: usize) -> bool {
        entries < LARGE >> self.rarity
    }

    /// How often the one that main's hand is on was asked for. In a large cache looked up once for each that it comes to:
    /// while an entry is there, only others that share its counters change them. In a small one, where the hand may stand
    /// for long, that would make a difference, and the look costs little.
    #[inline]
    fn asked_of<K, V>(&mut self, incumbent: u32, slots: &Slots<'_, K, V>, entries: usize) -> u8 {
        let halvings = self.past.halvings();
        if self.standing.0 != incumbent || self.standing.2 != halvings || self.is_small(entries) {
            self.standing = (incumbent, self.past.count(slots.hash(incumbent)), halvings);
        }
        self.standing.1
    }

    /// Whether the candidate should have the incumbent's place.
    #[inline]
    fn is_better(
        &self,
        note: Note,
        asked: u8,
        was_reused: bool,
        incumbent: u32,
        other: u8,
        entries: usize,
    ) -> bool {
        if asked > other {
            return true;
        }
        // Of late counts for more than often, but not for more than twice as often: where nothing changes, often is right.
        // In small caches, what goes back and forth would pass for what comes again.
        let counts = was_reused && (asked == other || !self.is_small(entries) && asked * 2 >= other);
        counts && note.age(self.tick) < self.rings.note(incumbent).age(self.tick)
    }

    /// The window, above it the main part; in each by how often they were used since its hand came by, and from there on.
    pub(super) fn ranked<K, V>(&self, slots: &Slots<'_, K, V>) -> Vec<(u8, u32)> {
        let mut ranked = Vec::with_capacity(slots.len());
        for (ring, rank) in [(WINDOW, 0), (MAIN, RANKS_IN_WINDOW)] {
            ranked.extend(self.rings.in_order(ring).map(|id| (rank + slots.uses(id), id)));
        }
        ranked
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.expected, self.rarity);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.rings.bytes() + self.past.bytes()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn validate<K, V>(&self, slots: &Slots<'_, K, V>, weight_of: impl Fn(u32) -> u64) {
        self.rings.validate(|id| slots.next_from(id) == Some(id), weight_of, slots.len());
    }
}

/// More than uses are counted.
const RANKS_IN_WINDOW: u8 = 16;

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
/// From so many entries on a cache is not small.
const LARGE: usize = 1000;
const TRUST: f32 = 16.0;
/// In so many ticks as many are missed as there are entries.
const TICKS: usize = 64;
const STEPS_MAX: u32 = 128;
/// In entries of the mean weight.
const LEEWAY: u64 = 8;
/// No entry: numbers are smaller.
const NOBODY: u32 = u32::MAX;
