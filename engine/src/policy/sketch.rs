//! How often keys were asked for of late, roughly: a count-min sketch of small counters (Cormode and Muthukrishnan 2005)
//! that is halved again and again (Einziger, Friedman and Manes 2017).

use crate::table::{nth_of, prefetch};

/// Four counters of four bits for each key, all in one cache line: eight bytes an entry.
///
/// All counts are halved at one moment, so that keys asked for equally often stay equal; but the work of it is done line by
/// line, when each is next looked at.
#[derive(Debug)]
pub(super) struct Sketch {
    lines: Vec<Line>,
    /// How often all counts had been halved when a line was last looked at.
    halved: Vec<u8>,
    halvings: u8,
    /// How many there were, halved as often as all counts; and how many there are to be when all are halved.
    additions: u64,
    period: u64,
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line([u64; WORDS]);

impl Sketch {
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new(), halved: Vec::new(), halvings: 0, additions: 0, period: 0 }
    }

    /// Makes room for the keys of a cache with this many entries, of which there will be `expected` in the end. What was
    /// counted stays.
    #[inline]
    pub(super) fn fit(&mut self, entries: usize, expected: usize) {
        self.period = PERIOD * entries as u64;
        while entries > self.lines.len() * ENTRIES_PER_LINE {
            self.grow(expected);
        }
    }

    #[cold]
    fn grow(&mut self, expected: usize) {
        let old = self.lines.len();
        let wanted = super::grown(old, expected.div_ceil(ENTRIES_PER_LINE)).max(LINES_MIN);
        // A line is chosen by the upper part of the hash: what was counted in one goes to each that it becomes.
        let from = |new: usize| new * old / wanted;
        self.lines = (0..wanted).map(|new| self.lines.get(from(new)).copied().unwrap_or_default()).collect();
        let halvings = self.halvings;
        self.halved =
            (0..wanted).map(|new| self.halved.get(from(new)).copied().unwrap_or(halvings)).collect();
    }

    #[inline]
    fn line_of(&self, hash: u32) -> usize {
        nth_of(self.lines.len(), hash)
    }

    /// Has the processor fetch what this hash's count is in.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        if let Some(line) = self.lines.get(self.line_of(hash)) {
            prefetch(line);
        }
    }

    /// The key with this hash was asked for so many times. There must be room for some keys.
    #[inline]
    pub(super) fn add(&mut self, hash: u32, times: u8) {
        if times == 0 {
            return;
        }
        let line = self.line(hash);
        for (word, shift) in counters(hash) {
            let count = line.0[word] >> shift & COUNT_MAX;
            let sum = (count + u64::from(times)).min(COUNT_MAX);
            line.0[word] += (sum - count) << shift;
        }
        self.additions += u64::from(times);
        if self.additions >= self.period {
            // As many as are still counted.
            self.additions /= 2;
            self.halvings = self.halvings.wrapping_add(1);
        }
    }

    /// How often it was, at least if others do not share its counters; 15 and more are not told apart.
    #[inline]
    pub(super) fn count(&mut self, hash: u32) -> u8 {
        let line = self.line(hash);
        let counts = counters(hash).map(|(word, shift)| line.0[word] >> shift & COUNT_MAX);
        // Four bits.
        #[allow(clippy::cast_possible_truncation)]
        let least = counts.into_iter().fold(COUNT_MAX, u64::min) as u8;
        least
    }

    /// A hash's line, halved as often as all have been.
    #[inline]
    fn line(&mut self, hash: u32) -> &mut Line {
        let at = self.line_of(hash);
        let line = &mut self.lines[at];
        let behind = self.halvings.wrapping_sub(self.halved[at]);
        if behind != 0 {
            self.halved[at] = self.halvings;
            // After four there is nothing left.
            (0..behind.min(4)).for_each(|_| line.0.iter_mut().for_each(|word| *word = *word >> 1 & HALVED));
        }
        line
    }

    pub(super) fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>() + self.halved.capacity()
    }
}

/// Where a key's counters are in its line: the word and the shift, one in each quarter.
#[inline]
fn counters(hash: u32) -> [(usize, u32); 4] {
    // The line was chosen by the upper bits alone.
    let mixed = hash.wrapping_mul(0x9e37_79b1) >> 12;
    std::array::from_fn(|quarter| {
        // One bit for the word, four for the counter in it.
        let nth = mixed >> (5 * quarter);
        // Less than there are words, which the compiler would not see.
        let word = (quarter * WORDS / 4 + (nth >> 4 & 1) as usize) % WORDS;
        (word, (nth & 15) * 4)
    })
}

const WORDS: usize = 8;
const COUNT_MAX: u64 = 15;
const HALVED: u64 = 0x7777_7777_7777_7777;
/// Sixteen counters for each.
const ENTRIES_PER_LINE: usize = 8;
const LINES_MIN: usize = 8;
/// So many times as many as there are entries.
const PERIOD: u64 = 20;

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;
    use crate::table::HASH_BITS;

    const ENTRIES: usize = 10_000;

    fn hash(nth: u32) -> u32 {
        nth.wrapping_mul(0x9e37_79b1) >> (u32::BITS - HASH_BITS)
    }

    fn sketch() -> Sketch {
        let mut sketch = Sketch::new();
        sketch.fit(ENTRIES, ENTRIES);
        sketch
    }

    #[test]
    fn a_count_is_never_too_low_and_seldom_too_high() {
        let mut sketch = sketch();
        // A tenth of them come four times, the others once.
        let times = |nth: u32| if nth % 10 == 0 { 4 } else { 1 };
        (0..20_000).for_each(|nth| sketch.add(hash(nth), times(nth)));
        assert!((0..20_000).all(|nth| sketch.count(hash(nth)) >= times(nth)));
        let too_high = (0..20_000).filter(|&nth| sketch.count(hash(nth)) > times(nth)).count();
        assert!(too_high < 4000, "{too_high} of 20,000");
    }

    #[test]
    fn counts_end_at_fifteen() {
        let mut sketch = sketch();
        (0..10).for_each(|_| sketch.add(hash(1), 3));
        assert_eq!(sketch.count(hash(1)), 15);
    }

    #[test]
    fn all_are_halved_at_one_moment_whenever_they_are_looked_at() {
        let mut sketch = sketch();
        (0..100).for_each(|nth| sketch.add(hash(nth), 8));
        let other = hash(1_000_000);
        while sketch.halvings < 1 {
            sketch.add(other, 1);
        }
        let alone = |nth: &u32| sketch.line_of(hash(*nth)) != sketch.line_of(other);
        let alone: Vec<u32> = (0..100).filter(alone).collect();
        assert!(alone.iter().all(|&nth| (4..8).contains(&sketch.count(hash(nth)))));
        while sketch.halvings < 6 {
            sketch.add(other, 1);
        }
        assert!(alone.iter().all(|&nth| sketch.count(hash(nth)) == 0));
    }

    #[test]
    fn what_was_counted_stays_when_the_sketch_grows() {
        let mut sketch = Sketch::new();
        sketch.fit(100, 0);
        (0..100).for_each(|nth| sketch.add(hash(nth), 5));
        sketch.fit(900, 0);
        sketch.fit(1000, 1500);
        assert!((0..100).all(|nth| sketch.count(hash(nth)) >= 5));
    }
}
