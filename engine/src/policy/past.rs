//! What is known of keys, here or not: how often they were asked for of late, and which of them left not long ago.

use crate::table::{nth_of, prefetch};

/// Two tables in one, so that one look finds both parts of what is known of a key: 16 bytes an entry.
///
/// How often keys were asked for is estimated by a count-min sketch (Cormode and Muthukrishnan 2005) that is halved again
/// and again (Einziger, Friedman and Manes 2017). All counts are halved at one moment, so that keys asked for equally
/// often stay equal; but the work of it is done page by page, when each is next looked at.
///
/// Who left are *ghosts*, of the two sides they left from. Nothing is linked: who is too old is nobody, and its place is
/// the next one's.
#[derive(Debug)]
pub(super) struct Past {
    pages: Vec<Page>,
    /// How many entries these are for.
    fits: usize,
    halvings: u64,
    /// How many times keys were asked for, halved as often as all counts.
    additions: u64,
    sides: [Side; 2],
}

/// Two cache lines, side by side.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(128))]
struct Page {
    counts: Counts,
    ghosts: Ghosts,
}

/// Counters of four bits; a key has four of them.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Counts {
    /// The last of them is how often all counts had been halved when these were last looked at.
    words: [u64; WORDS + 1],
}

/// Of each side as many, in the order in which they left, the last one first.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Ghosts {
    /// Some bits of their hashes; zero for nobody.
    tags: [Eight; 2],
    /// Of each: in the lower ten bits, when it was last seen in use before it left, by the caller's ticks; above, when it
    /// left, by its side's.
    when: [Eight; 2],
}

/// Eight numbers, the last one first.
#[derive(Debug, Clone, Copy, Default)]
struct Eight(u128);

/// Counts those that leave.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    tick: u16,
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
    /// When it was last seen in use before it left: the caller's latest tick before `now` that it can have been.
    pub(super) fn since_before(self, now: u16) -> u16 {
        now.wrapping_sub(now.wrapping_sub(self.since) & SINCE_MASK)
    }
}

impl Past {
    pub(super) const fn new() -> Self {
        const NONE: Side = Side { tick: 0, in_tick: 0, left: 0 };
        Self { pages: Vec::new(), fits: 0, halvings: 0, additions: 0, sides: [NONE; 2] }
    }

    /// Makes room for what is to be known beside this many entries, of whom there will be `expected` in the end. What was
    /// known stays.
    #[inline]
    pub(super) fn fit(&mut self, entries: usize, expected: usize) {
        while entries > self.fits {
            self.grow(expected);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, expected: usize) {
        let old = self.pages.len();
        let wanted = grown(old, expected.div_ceil(ENTRIES_PER_PAGE)).max(PAGES_MIN);
        // A page is chosen by the upper part of the hash: what was in one may be in any that it becomes.
        let mut fresh = Page::default();
        fresh.counts.words[WORDS] = self.halvings;
        let of = |new: usize| self.pages.get(new * old / wanted).copied().unwrap_or(fresh);
        self.pages = (0..wanted).map(of).collect();
        self.fits = wanted * ENTRIES_PER_PAGE;
    }

    /// Has the processor fetch what a look for this hash will need.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        if let Some(page) = self.pages.get(nth_of(self.pages.len(), hash)) {
            prefetch(&raw const page.counts);
            prefetch(&raw const page.ghosts);
        }
    }

    /// The key with this hash was asked for so many times.
    #[inline]
    pub(super) fn add(&mut self, hash: u32, times: u8, entries: usize) {
        let Some(counts) = self.counts(hash) else { return };
        for (word, shift) in counters(hash) {
            let count = counts.words[word] >> shift & COUNT_MAX;
            let sum = (count + u64::from(times)).min(COUNT_MAX);
            counts.words[word] += (sum - count) << shift;
        }
        self.additions += u64::from(times);
        if self.additions >= PERIOD * entries as u64 {
            // As many as are still counted.
            self.additions /= 2;
            self.halvings += 1;
        }
    }

    /// How often the key with this hash was asked for, at least if others do not share its counters; 15 and more are not
    /// told apart.
    #[inline]
    pub(super) fn count(&mut self, hash: u32) -> u8 {
        let Some(counts) = self.counts(hash) else { return 0 };
        let of = |(word, shift): (usize, u32)| counts.words[word] >> shift & COUNT_MAX;
        // Four bits.
        #[allow(clippy::cast_possible_truncation)]
        let least = counters(hash).into_iter().map(of).fold(COUNT_MAX, u64::min) as u8;
        least
    }

    /// How often all counts have been halved.
    #[inline]
    pub(super) fn halvings(&self) -> u64 {
        self.halvings
    }

    /// The counters of a hash's page, halved as often as all have been; `None` only before the first `fit`.
    #[inline]
    fn counts(&mut self, hash: u32) -> Option<&mut Counts> {
        let at = nth_of(self.pages.len(), hash);
        let counts = &mut self.pages.get_mut(at)?.counts;
        if counts.words[WORDS] != self.halvings {
            counts.halve(self.halvings);
        }
        Some(counts)
    }

    /// How many have left from a side, up to a number beyond which it does not matter.
    pub(super) fn left(&self, side: usize) -> u32 {
        self.sides[side].left
    }

    /// An entry has left. It takes the place of the ghost of its side and page that left longest ago.
    #[inline]
    pub(super) fn leave(&mut self, hash: u32, side: usize, since: u16, entries: usize) {
        let of = &mut self.sides[side];
        of.left = of.left.saturating_add(1);
        of.in_tick += 1;
        if of.in_tick as usize >= tick_len(entries) {
            of.in_tick = 0;
            of.tick = of.tick.wrapping_add(1) & TICK_MASK;
        }
        let when = of.tick << SINCE_BITS | since & SINCE_MASK;
        let at = nth_of(self.pages.len(), hash);
        if let Some(page) = self.pages.get_mut(at) {
            page.ghosts.tags[side].push(tag(hash));
            page.ghosts.when[side].push(when);
        }
    }

    /// Takes out the ghost with this hash, if there is one, and answers it if fewer have left from its side since than
    /// there are entries. One in some thousands is somebody else's.
    #[inline]
    pub(super) fn take(&mut self, hash: u32, entries: usize) -> Option<Returned> {
        let at = nth_of(self.pages.len(), hash);
        let Ghosts { tags, when } = &mut self.pages.get_mut(at)?.ghosts;
        let wanted = tag(hash);
        let ways = tags.map(|tags| tags.find(wanted));
        let side = usize::from(ways[0].is_none());
        let way = ways[side]?;
        tags[side].clear(way);
        let when = when[side].get(way);
        let since = when & SINCE_MASK;
        let age = self.sides[side].tick.wrapping_sub(when >> SINCE_BITS) & TICK_MASK;
        let age = f32::from(age) * tick_len(entries) as f32 / entries.max(1) as f32;
        (age < 1.0).then_some(Returned { side, age, since })
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Page>()
    }
}

impl Counts {
    #[cold]
    #[inline(never)]
    fn halve(&mut self, halvings: u64) {
        let behind = halvings - std::mem::replace(&mut self.words[WORDS], halvings);
        // After four there is nothing left.
        for _ in 0..behind.min(4) {
            self.words[..WORDS].iter_mut().for_each(|word| *word = *word >> 1 & HALVED);
        }
    }
}

impl Eight {
    /// Puts one before the others; the last of them goes.
    #[inline]
    fn push(&mut self, first: u16) {
        self.0 = self.0 << u16::BITS | u128::from(first);
    }

    /// The place of the first that is the wanted one: of all at once.
    #[inline]
    fn find(self, wanted: u16) -> Option<u32> {
        let differing = self.0 ^ (u128::from(wanted) * ONES);
        // A borrow can only come from a zero below: the first one found is one (Mycroft 1987).
        let zeros = differing.wrapping_sub(ONES) & !differing & (ONES << (u16::BITS - 1));
        (zeros != 0).then(|| zeros.trailing_zeros() / u16::BITS)
    }

    #[inline]
    fn get(self, place: u32) -> u16 {
        // The lower part is meant.
        #[allow(clippy::cast_possible_truncation)]
        let number = (self.0 >> (place * u16::BITS)) as u16;
        number
    }

    #[inline]
    fn clear(&mut self, place: u32) {
        self.0 &= !(u128::from(u16::MAX) << (place * u16::BITS));
    }
}

/// Where a key's counters are in its page: the word and the shift.
#[inline]
fn counters(hash: u32) -> [(usize, u32); 4] {
    // The page was chosen by the upper bits alone.
    let mixed = hash.wrapping_mul(0x9e37_79b1) >> 12;
    std::array::from_fn(|nth| {
        // Five bits for each.
        let at = COUNTERS_FROM[nth] + (mixed >> (5 * nth) & 31);
        // Less than there are words, which the compiler would not see.
        ((at / 16) as usize % (WORDS + 1), (at % 16) * 4)
    })
}

/// The lower part of the hash: the upper one has chosen the page.
// The lower part is meant.
#[allow(clippy::cast_possible_truncation)]
#[inline]
fn tag(hash: u32) -> u16 {
    (hash as u16).max(1)
}

/// How many departures make a side's tick.
#[inline]
fn tick_len(entries: usize) -> usize {
    (entries / TICKS).max(1)
}

/// What a table of `old` pages grows to: twice as much, or at once what it will be in the end, if that is near.
fn grown(old: usize, last: usize) -> usize {
    if (old..4 * old).contains(&last) { last + 1 } else { 2 * old }
}

const WORDS: usize = 7;
const COUNT_MAX: u64 = 15;
const HALVED: u64 = 0x7777_7777_7777_7777;
/// A key has one of the 32 counters that begin at each of these: of 112 in all.
const COUNTERS_FROM: [u32; 4] = [0, 27, 54, 80];
/// So many times as many as there are entries are counted before all are halved.
const PERIOD: u64 = 20;
/// A one in each of eight.
const ONES: u128 = 0x0001_0001_0001_0001_0001_0001_0001_0001;
/// Fourteen counters for each, and as many ghosts on each side as there are entries.
const ENTRIES_PER_PAGE: usize = 8;
const PAGES_MIN: usize = 8;
/// In so many ticks as many leave as there are entries.
const TICKS: usize = 32;
const SINCE_BITS: u32 = 10;
const SINCE_MASK: u16 = (1 << SINCE_BITS) - 1;
const TICK_MASK: u16 = (1 << (u16::BITS - SINCE_BITS)) - 1;

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;
    use crate::table::HASH_BITS;

    const ENTRIES: usize = 10_000;

    fn hash(nth: u32) -> u32 {
        nth.wrapping_mul(0x9e37_79b1) >> (u32::BITS - HASH_BITS)
    }

    fn past(entries: usize) -> Past {
        let mut past = Past::new();
        past.fit(entries, entries);
        past
    }

    #[test]
    fn a_page_is_two_cache_lines() {
        assert_eq!(size_of::<Page>(), 128);
    }

    #[test]
    fn a_count_is_never_too_low_and_seldom_too_high() {
        let mut past = past(ENTRIES);
        // A tenth of them come four times, the others once.
        let times = |nth: u32| if nth % 10 == 0 { 4 } else { 1 };
        for nth in 0..20_000 {
            past.add(hash(nth), times(nth), ENTRIES);
        }
        assert!((0..20_000).all(|nth| past.count(hash(nth)) >= times(nth)));
        let too_high = (0..20_000).filter(|&nth| past.count(hash(nth)) > times(nth)).count();
        assert!(too_high < 4000, "{too_high} of 20,000");
    }

    #[test]
    fn counts_end_at_fifteen() {
        let mut past = past(ENTRIES);
        for _ in 0..10 {
            past.add(hash(1), 3, ENTRIES);
        }
        assert_eq!(past.count(hash(1)), 15);
    }

    #[test]
    fn all_are_halved_at_one_moment_whenever_they_are_looked_at() {
        let mut past = past(ENTRIES);
        for nth in 0..100 {
            past.add(hash(nth), 8, ENTRIES);
        }
        let other = hash(1_000_000);
        while past.halvings < 1 {
            past.add(other, 1, ENTRIES);
        }
        let page = |hash| nth_of(past.pages.len(), hash);
        let alone: Vec<u32> = (0..100).filter(|&nth| page(hash(nth)) != page(other)).collect();
        assert!(alone.iter().all(|&nth| (4..8).contains(&past.count(hash(nth)))));
        while past.halvings < 6 {
            past.add(other, 1, ENTRIES);
        }
        assert!(alone.iter().all(|&nth| past.count(hash(nth)) == 0));
    }

    /// Of so many that left one after the other from one side, how many of those from `range` are found.
    fn found(count: u32, range: std::ops::Range<u32>) -> usize {
        let mut past = past(ENTRIES);
        (0..count).for_each(|nth| past.leave(hash(nth), 1, 0, ENTRIES));
        let is_lately = |ghost: Returned| ghost.age < 0.5;
        range.filter(|&nth| past.take(hash(nth), ENTRIES).is_some_and(is_lately)).count()
    }

    #[test]
    fn nearly_all_that_left_lately_are_known() {
        let found = found(20_000, 16_000..20_000);
        assert!(found > 3900, "{found} of 4000");
    }

    #[test]
    fn who_left_long_ago_is_nobody() {
        // But for one in some thousands, whose bits are somebody else's.
        let found = found(20_000, 0..4000);
        assert!(found < 8, "{found} of 4000");
    }

    #[test]
    fn a_ghost_is_found_once_and_says_where_it_left_and_when_it_was_used() {
        let mut past = past(ENTRIES);
        past.leave(hash(1), 0, 5, ENTRIES);
        past.leave(hash(2), 1, 500, ENTRIES);
        let one = past.take(hash(1), ENTRIES).expect("it has just left");
        let other = past.take(hash(2), ENTRIES).expect("it has just left");
        assert_eq!((one.side, one.since_before(7), one.age), (0, 5, 0.0));
        assert_eq!((other.side, other.since_before(1400)), (1, 500));
        assert_eq!(past.take(hash(1), ENTRIES), None);
    }

    #[test]
    fn what_was_known_stays_when_there_are_more_entries() {
        let mut past = Past::new();
        past.fit(100, 0);
        for nth in 0..40 {
            past.add(hash(nth), 5, 100);
            past.leave(hash(nth), 0, 0, 100);
        }
        past.fit(1000, 0);
        past.fit(1100, 1500);
        assert!((0..40).all(|nth| past.count(hash(nth)) >= 5));
        let found = (0..40).filter(|&nth| past.take(hash(nth), 1100).is_some()).count();
        assert!(found > 30, "{found} of 40");
    }
}
