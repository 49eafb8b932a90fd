//! Who is newer: versions that are totally ordered across processes, from a hybrid logical clock.
//!
//! After Kulkarni, Demirbas et al., "Logical Physical Clocks" (2014): the wall clock's milliseconds, made
//! monotonic, with a counter below them; what a process reads or is refused by moves its own clock forward,
//! so that a version drawn after seeing another is always the newer one, however far the wall clocks are
//! apart.

use std::fmt;

use nanotier_clock::{Clock, Timestamp};

use crate::sync::Mutex;

/// Bits of the counter below the milliseconds.
const COUNTER_BITS: u32 = 16;

/// A version: totally ordered, first by time, then by who wrote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    /// Milliseconds since the Unix epoch in the upper 48 bits, a counter in the lower 16.
    hlc: u64,
    /// The writer: one random number per cache in a process. Breaks ties, says nothing else.
    writer: u64,
}

impl Version {
    /// Older than every version that is ever drawn.
    pub const ZERO: Self = Self { hlc: 0, writer: 0 };

    /// A version from its two words, as a tier has stored them.
    #[must_use]
    pub const fn from_parts(hlc: u64, writer: u64) -> Self {
        Self { hlc, writer }
    }

    /// The two words: hybrid time and writer.
    #[must_use]
    pub const fn parts(self) -> (u64, u64) {
        (self.hlc, self.writer)
    }

    /// The wall-clock time in it, by the writer's clock (or ahead of it, never behind what the writer had
    /// seen).
    #[must_use]
    pub const fn time(self) -> Timestamp {
        Timestamp::from_millis(self.hlc >> COUNTER_BITS)
    }

    /// The smallest version of the same writer above this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { hlc: self.hlc.saturating_add(1), writer: self.writer }
    }

    /// Fixed-width bytes whose order is the order of versions.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.hlc.to_be_bytes());
        bytes[8..].copy_from_slice(&self.writer.to_be_bytes());
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let (hlc, writer) = bytes.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
        Self { hlc: word(hlc), writer: word(writer) }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counter = self.hlc & ((1 << COUNTER_BITS) - 1);
        write!(f, "v{}.{}@{:x}", self.hlc >> COUNTER_BITS, counter, self.writer)
    }
}

/// Draws versions: one per cache, shared by all that write for it.
///
/// A draw takes one uncontended lock (about 20 ns); it happens on writes and misses, never on a hit.
#[derive(Debug)]
pub struct HybridClock {
    clock: Clock,
    writer: u64,
    /// The largest hybrid time drawn or seen.
    last: Mutex<u64>,
}

impl HybridClock {
    /// The largest hybrid time that moves the clock forward: the year 6429.
    const SEEN_MAX: u64 = u64::MAX >> 1;

    /// A hybrid clock over `clock`. `writer` must differ between all caches that share a tier: draw it at
    /// random.
    #[must_use]
    pub fn new(clock: Clock, writer: u64) -> Self {
        Self { clock, writer, last: Mutex::new(0) }
    }

    /// The writer's number.
    #[must_use]
    pub fn writer(&self) -> u64 {
        self.writer
    }

    /// A version newer than every one drawn or seen so far.
    #[must_use]
    pub fn draw(&self) -> Version {
        let wall = self.clock.wall().as_millis().min(u64::MAX >> COUNTER_BITS) << COUNTER_BITS;
        let mut last = self.last.lock();
        *last = wall.max(last.saturating_add(1));
        Version { hlc: *last, writer: self.writer }
    }

    /// Takes note of a version that was read, or that a write was refused for: later draws are newer.
    pub fn saw(&self, version: Version) {
        let mut last = self.last.lock();
        // A damaged version must not leave no room above it.
        *last = version.hlc.min(Self::SEEN_MAX).max(*last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn versions_rise_within_one_millisecond_and_when_the_wall_clock_is_set_back() {
        let (clock, hands) = Clock::manual();
        let hybrid = HybridClock::new(clock.clone(), 7);
        let first = hybrid.draw();
        let second = hybrid.draw();
        hands.set_wall(clock.wall().minus(Duration::from_secs(3600)));
        let third = hybrid.draw();
        assert!(first < second && second < third);
    }

    #[test]
    fn a_version_drawn_after_seeing_another_is_newer_however_slow_the_clock() {
        let (fast, hands) = Clock::manual();
        hands.advance(Duration::from_secs(5));
        let (slow, _hands) = Clock::manual();
        let (ahead, behind) = (HybridClock::new(fast, 1), HybridClock::new(slow, 2));
        let seen = ahead.draw();
        assert!(behind.draw() < seen, "five seconds behind");
        behind.saw(seen);
        assert!(behind.draw() > seen);
    }

    #[test]
    fn bytes_keep_the_order() {
        let versions = [
            Version::ZERO,
            Version::from_parts(1, u64::MAX),
            Version::from_parts(2, 0),
            Version::from_parts(1 << 40, 3),
        ];
        for pair in versions.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_bytes() < pair[1].to_bytes());
        }
        for version in versions {
            assert_eq!(Version::from_bytes(version.to_bytes()), version);
        }
    }
}
