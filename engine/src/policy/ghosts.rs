//! Who has left not long ago: a few bits of their hashes, and when.

use crate::table::{nth_of, prefetch};

/// Two lists in one table: of who left from the window, and of who left from the main part. Nothing is linked: who is too
/// old is nobody, and its place is the next one's.
#[derive(Debug)]
pub(super) struct Ghosts {
    buckets: Vec<Bucket>,
    sides: [Side; 2],
}

/// One cache line: half of it for each side, in the order in which they left, the last one first.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([Ghost; WAYS]);

/// From below: 11 bits of when it was last seen in use before it left, by the caller's ticks; 8 bits of when it left, by
/// its side's; one of which side that is; 12 of its hash, which are never all zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ghost(u32);

/// Counts those that leave.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    tick: u8,
    in_tick: u32,
    /// All there were.
    left: u32,
}

/// A ghost that came back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Returned {
    pub(super) side: usize,
    /// How many have left from its side since, as a share of the cache's entries.
    pub(super) age: f32,
    since: u16,
}

impl Returned {
    /// When it was last seen in use before it left: the caller's latest tick before `now` with these lower bits.
    pub(super) fn since_before(self, now: u16) -> u16 {
        now.wrapping_sub(now.wrapping_sub(self.since) & SINCE_MASK)
    }
}

impl Ghosts {
    pub(super) const fn new() -> Self {
        const NONE: Side = Side { tick: 0, in_tick: 0, left: 0 };
        Self { buckets: Vec::new(), sides: [NONE; 2] }
    }

    /// Makes room for as many ghosts as there may be beside this many entries, of whom there will be `expected` in the end.
    #[inline]
    pub(super) fn fit(&mut self, entries: usize, expected: usize) {
        while entries > self.buckets.len() * ENTRIES_PER_BUCKET {
            self.grow(expected);
        }
    }

    #[cold]
    fn grow(&mut self, expected: usize) {
        let old = self.buckets.len();
        let wanted = super::grown(old, expected.div_ceil(ENTRIES_PER_BUCKET)).max(BUCKETS_MIN);
        // A bucket is chosen by the upper part of the hash: what was in one may be in any that it becomes.
        let of = |new: usize| if old == 0 { Bucket::default() } else { self.buckets[new * old / wanted] };
        self.buckets = (0..wanted).map(of).collect();
    }

    #[inline]
    fn bucket_of(&self, hash: u32) -> usize {
        nth_of(self.buckets.len(), hash)
    }

    /// Has the processor fetch what a look for this hash will need.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        if let Some(bucket) = self.buckets.get(self.bucket_of(hash)) {
            prefetch(bucket);
        }
    }

    /// How many have left from a side, up to a number beyond which it does not matter.
    pub(super) fn left(&self, side: usize) -> u32 {
        self.sides[side].left
    }

    /// Its side's ticks since it left.
    #[inline]
    fn age_of(&self, ghost: Ghost) -> u8 {
        self.sides[ghost.side()].tick.wrapping_sub(ghost.tick())
    }

    /// An entry has left. It takes the place of the one of its side and bucket that left longest ago.
    pub(super) fn add(&mut self, hash: u32, side: usize, since: u16, entries: usize) {
        if self.buckets.is_empty() {
            return;
        }
        let of = &mut self.sides[side];
        of.left = of.left.saturating_add(1);
        of.in_tick += 1;
        if of.in_tick as usize >= tick_len(entries) {
            of.in_tick = 0;
            of.tick = of.tick.wrapping_add(1);
        }
        let ghost = Ghost::new(hash, side, of.tick, since);
        let at = self.bucket_of(hash);
        let (one, other) = self.buckets[at].0.split_at_mut(WAYS / 2);
        let half = if side == 0 { one } else { other };
        half.copy_within(..WAYS / 2 - 1, 1);
        half[0] = ghost;
    }

    /// Takes out the ghost with this hash, if there is one, and answers it if it is younger than `share` of the entries.
    /// One in some hundreds is somebody else's.
    pub(super) fn take(&mut self, hash: u32, entries: usize, share: f32) -> Option<Returned> {
        let at = self.bucket_of(hash);
        let wanted = Ghost::bits_of(hash);
        let ghosts = &self.buckets.get(at)?.0;
        // All at once: the compiler does it without a jump.
        let same = |way: usize| u32::from(ghosts[way].0 >> HASH_SHIFT == wanted) << way;
        let way = (0..WAYS).fold(0, |ways, way| ways | same(way)).trailing_zeros() as usize;
        if way >= WAYS {
            return None;
        }
        let ghost = std::mem::replace(&mut self.buckets[at].0[way], NOBODY);
        let age = f32::from(self.age_of(ghost)) * tick_len(entries) as f32 / entries.max(1) as f32;
        (age < share).then_some(Returned { side: ghost.side(), age, since: ghost.since() })
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

impl Ghost {
    fn new(hash: u32, side: usize, tick: u8, since: u16) -> Self {
        let side = if side == 0 { 0 } else { 1 << SIDE_SHIFT };
        let since = u32::from(since & SINCE_MASK);
        Self(Self::bits_of(hash) << HASH_SHIFT | side | u32::from(tick) << TICK_SHIFT | since)
    }

    /// The lower part of the hash: the upper one has chosen the bucket.
    fn bits_of(hash: u32) -> u32 {
        (hash & HASH_MASK).max(1)
    }

    fn side(self) -> usize {
        (self.0 >> SIDE_SHIFT & 1) as usize
    }

    // Eight bits.
    #[allow(clippy::cast_possible_truncation)]
    fn tick(self) -> u8 {
        (self.0 >> TICK_SHIFT) as u8
    }

    // Eleven bits.
    #[allow(clippy::cast_possible_truncation)]
    fn since(self) -> u16 {
        self.0 as u16 & SINCE_MASK
    }
}

/// How many evictions make a tick.
#[inline]
fn tick_len(entries: usize) -> usize {
    (entries / TICKS).max(1)
}

const NOBODY: Ghost = Ghost(0);
const WAYS: usize = 16;
/// As many ghosts on each side as there are entries, and some more places: nine bytes an entry.
const ENTRIES_PER_BUCKET: usize = 7;
const BUCKETS_MIN: usize = 8;
/// In so many ticks as many leave as there are entries.
const TICKS: usize = 64;
const SINCE_BITS: u32 = 11;
const SINCE_MASK: u16 = (1 << SINCE_BITS) - 1;
const TICK_SHIFT: u32 = SINCE_BITS;
const SIDE_SHIFT: u32 = 19;
const HASH_SHIFT: u32 = 20;
const HASH_MASK: u32 = (1 << 12) - 1;

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;
    use crate::table::HASH_BITS;

    const ENTRIES: usize = 10_000;

    fn hash(nth: u32) -> u32 {
        nth.wrapping_mul(0x9e37_79b1) >> (u32::BITS - HASH_BITS)
    }

    /// Of so many that left one after the other from one side, how many of those from `range` are found.
    fn found(count: u32, range: std::ops::Range<u32>) -> usize {
        let mut ghosts = Ghosts::new();
        ghosts.fit(ENTRIES, ENTRIES);
        (0..count).for_each(|nth| ghosts.add(hash(nth), 1, 0, ENTRIES));
        range.filter(|&nth| ghosts.take(hash(nth), ENTRIES, 0.5).is_some()).count()
    }

    #[test]
    fn nearly_all_that_left_lately_are_known() {
        let found = found(20_000, 16_000..20_000);
        assert!(found > 3900, "{found} of 4000");
    }

    #[test]
    fn who_left_long_ago_is_nobody() {
        // But for one in some hundreds, whose bits are somebody else's.
        assert!(found(20_000, 0..4000) < 80);
    }

    #[test]
    fn a_ghost_is_found_once_and_says_where_it_left_and_when_it_was_used() {
        let mut ghosts = Ghosts::new();
        ghosts.fit(ENTRIES, ENTRIES);
        ghosts.add(hash(1), 0, 5, ENTRIES);
        ghosts.add(hash(2), 1, 4000, ENTRIES);
        let one = ghosts.take(hash(1), ENTRIES, 0.5).expect("it has just left");
        let other = ghosts.take(hash(2), ENTRIES, 0.5).expect("it has just left");
        assert_eq!((one.side, one.since_before(7), one.age), (0, 5, 0.0));
        assert_eq!((other.side, other.since_before(4100)), (1, 4000));
        assert_eq!(ghosts.take(hash(1), ENTRIES, 0.5), None);
    }

    #[test]
    fn who_left_is_known_after_the_table_has_grown() {
        let mut ghosts = Ghosts::new();
        ghosts.fit(100, 0);
        (0..40).for_each(|nth| ghosts.add(hash(nth), 0, 0, 100));
        ghosts.fit(1000, 0);
        ghosts.fit(1100, 1300);
        let found = (0..40).filter(|&nth| ghosts.take(hash(nth), 1100, 0.5).is_some()).count();
        assert!(found > 30, "{found} of 40");
    }
}
