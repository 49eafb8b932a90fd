//! Uses that readers have noted, and that the order has yet to hear of: under LRU a hit moves nothing itself.
//!
//! Each thread notes its uses in a *lane* of its own, by plain stores, and with each a time. A time is later than all that
//! are to be seen in any lane when it is made (Lamport's clocks): so of two uses, one of which was over before the other
//! began, the earlier has the earlier time, whichever threads they were of. Of others, any order will do.
//!
//! Whoever has the shard's lock applies what was noted, in the order of the times, before he asks or changes the order. He
//! first takes a cut through all lanes, which is what was there at one moment: with a use, it has all that were over
//! before. He waits for nobody: what is being noted meanwhile is in the next cut.
//!
//! What is noted, is noted while the entry is protected. So its number is not given to another entry before; and as
//! the log is applied before an entry gets a number, no use is ever taken for another entry's. That of an entry which
//! has left meanwhile finds it no longer in the order.

use crate::sync::{AtomicU8, AtomicU64, AtomicUsize, OnceLock, Ordering};
use crate::table::Touch;

/// Aligned, so that readers of neighbours do not meet.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Log {
    /// The thread with the first lane, while there is no other lane: it need not look at others' times.
    sole: AtomicUsize,
    /// How many lanes there are. Changed under the lock.
    begun: AtomicUsize,
    /// By thread: one more than its lane's number, or zero.
    lane_of: [AtomicU8; THREADS],
    first: Lane,
    others: [OnceLock<Box<Lane>>; LANES - 1],
}

/// Written by its thread, but for `end` and `newest`.
#[derive(Debug)]
#[repr(C, align(128))]
struct Lane {
    /// What was used last, if this is the only lane and the order has not heard of it: an address that means nothing
    /// else. Cleared under the lock.
    newest: AtomicUsize,
    /// How many uses there ever were.
    noted: AtomicU64,
    /// How many there may be: as many more as fit than the order has heard of. Written under the lock.
    end: AtomicU64,
    /// The time of the last use that has one.
    clock: AtomicU64,
    /// The use's time, as far as it fits, and the entry's number. While this is the only lane, none has a time.
    slots: [AtomicU64; LEN],
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            sole: AtomicUsize::new(NOBODY),
            begun: AtomicUsize::new(0),
            lane_of: std::array::from_fn(|_| AtomicU8::new(0)),
            first: Lane::new(),
            others: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Notes that `thread` used an entry which it protects, if it is the only one that notes anything. False if it is
    /// not, or its lane is full. Three plain stores; none if this was the last entry that was used.
    #[inline(always)]
    pub(crate) fn note_alone(&self, thread: Option<usize>, entry: Touch<'_>) -> bool {
        // Acquire: what others did before they got a lane has been applied.
        if thread != Some(self.sole.load(Ordering::Acquire)) {
            return false;
        }
        let lane = &self.first;
        // Nobody else has used anything since, and nothing has changed the order: that would have applied this one.
        if lane.newest.load(Ordering::Acquire) == entry.address() {
            return true;
        }
        let noted = lane.noted.load(Ordering::Relaxed);
        if noted == lane.end.load(Ordering::Acquire) {
            return false;
        }
        lane.slot(noted).store(word(0, entry.id()), Ordering::Relaxed);
        // Before it is seen to be noted: who then applies it clears this.
        lane.newest.store(entry.address(), Ordering::Relaxed);
        // Release: of whatever is seen of a use, all that came before it is seen too.
        lane.noted.store(noted + 1, Ordering::Release);
        true
    }

    /// The same whether it is the only one or not. False if its lane is full, or it has none.
    pub(crate) fn note(&self, thread: Option<usize>, entry: Touch<'_>) -> bool {
        // Acquire: as above.
        if thread == Some(self.sole.load(Ordering::Acquire)) {
            return self.note_alone(thread, entry);
        }
        let Some(lane_of) = thread.and_then(|thread| self.lane_of.get(thread)) else { return false };
        // Written by this thread, or by one that had its number before.
        let Some(nth) = lane_of.load(Ordering::Relaxed).checked_sub(1) else { return false };
        let Some(own) = self.lane(nth.into()) else { return false };
        // Acquire: the lanes, and their times.
        let begun = self.begun.load(Ordering::Acquire);
        let clocks =
            (0..begun).filter_map(|nth| self.lane(nth)).map(|lane| lane.clock.load(Ordering::Acquire));
        let latest = clocks.max().unwrap_or(0);
        own.note(latest + 1, entry.id())
    }

    #[inline]
    fn lane(&self, nth: usize) -> Option<&Lane> {
        match nth.checked_sub(1) {
            None => Some(&self.first),
            Some(nth) => self.others.get(nth)?.get().map(|lane| &**lane),
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        // Changed by who has the lock alone.
        (0..self.begun.load(Ordering::Relaxed)).filter_map(|nth| self.lane(nth))
    }

    /// Gives this thread a lane, if there is one left. For who has the lock, and has applied the log: so what was noted
    /// before there were two lanes has no part in it.
    pub(super) fn begin(&self, thread: usize) {
        let nth = self.begun.load(Ordering::Relaxed);
        let Some(lane_of) = self.lane_of.get(thread) else { return };
        if nth == LANES || lane_of.load(Ordering::Relaxed) > 0 {
            return;
        }
        if let Some(other) = nth.checked_sub(1) {
            self.others[other].get_or_init(|| Box::new(Lane::new()));
        }
        // There are few.
        #[allow(clippy::cast_possible_truncation)]
        lane_of.store(nth as u8 + 1, Ordering::Relaxed);
        // Release, both: whoever hears of a use in this lane looks at it, and no longer thinks that he is alone.
        self.sole.store(if nth == 0 { thread } else { NOBODY }, Ordering::Release);
        self.begun.store(nth + 1, Ordering::Release);
    }

    /// Whether nothing was noted since, as far as one look shows. For who has the lock.
    #[inline(always)]
    pub(super) fn is_surely_applied(&self) -> bool {
        self.begun.load(Ordering::Relaxed) <= 1
            && self.first.noted.load(Ordering::Acquire) == self.first.applied()
    }

    /// Shows what was noted since, in the order of the times, and makes room. For who has the lock.
    #[inline]
    pub(super) fn apply(&self, each: impl FnMut(u32)) {
        if self.begun.load(Ordering::Relaxed) > 1 {
            return self.apply_all(each);
        }
        let cut = self.first.noted.load(Ordering::Acquire);
        self.first.apply(cut, each);
    }

    #[inline(never)]
    fn apply_all(&self, mut each: impl FnMut(u32)) {
        let Some(cut) = self.cut() else { return };
        for id in self.merged(cut) {
            each(id);
        }
        for (lane, noted) in self.lanes().zip(cut) {
            lane.set_applied(noted);
        }
    }

    /// How many uses each lane had at one moment; `None` if all have been applied.
    fn cut(&self) -> Option<[u64; LANES]> {
        let mut cut = [0; LANES];
        loop {
            let (mut is_same, mut is_new) = (true, false);
            for (lane, seen) in self.lanes().zip(&mut cut) {
                // Acquire: of whatever was over before this use, the next look at its lane shows it.
                let noted = lane.noted.load(Ordering::Acquire);
                is_same &= noted == *seen;
                is_new |= noted != lane.applied();
                *seen = noted;
            }
            if !is_new {
                return None;
            }
            // Twice the same: so it was there in between. Lanes that are not applied fill up, so this ends.
            if is_same {
                return Some(cut);
            }
        }
    }

    /// What was noted before a cut, and not yet applied, in the order of the times.
    fn merged(&self, cut: [u64; LANES]) -> impl Iterator<Item = u32> {
        let mut heads = [0; LANES];
        for (lane, head) in self.lanes().zip(&mut heads) {
            *head = lane.applied();
        }
        std::iter::from_fn(move || {
            let waiting = self.lanes().zip(cut).zip(&mut heads).filter(|((_, noted), head)| *noted != **head);
            let words = waiting.map(|((lane, _), head)| (lane.slot(*head).load(Ordering::Relaxed), head));
            let (word, head) = words.reduce(|a, b| if is_later(a.0, b.0) { b } else { a })?;
            *head += 1;
            Some(id_of(word))
        })
    }

    /// What would be applied now.
    #[cfg(test)]
    pub(super) fn pending(&self) -> Vec<u32> {
        let mut cut = [0; LANES];
        for (lane, noted) in self.lanes().zip(&mut cut) {
            *noted = lane.noted.load(Ordering::Acquire);
        }
        self.merged(cut).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.begun.load(Ordering::Relaxed).saturating_sub(1) * size_of::<Lane>()
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            newest: AtomicUsize::new(0),
            noted: AtomicU64::new(0),
            end: AtomicU64::new(LEN as u64),
            clock: AtomicU64::new(0),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn note(&self, time: u64, id: u32) -> bool {
        let noted = self.noted.load(Ordering::Relaxed);
        if noted == self.end.load(Ordering::Acquire) {
            return false;
        }
        self.slot(noted).store(word(time, id), Ordering::Relaxed);
        // Release, both: of whatever is seen of a use, all that came before it is seen too.
        self.clock.store(time, Ordering::Release);
        self.noted.store(noted + 1, Ordering::Release);
        true
    }

    /// How many uses the order has heard of. For who has the lock.
    #[inline]
    fn applied(&self) -> u64 {
        self.end.load(Ordering::Relaxed) - LEN as u64
    }

    /// The order has heard of as many.
    #[inline]
    fn set_applied(&self, noted: u64) {
        self.newest.store(0, Ordering::Release);
        // Release: the slots have been read.
        self.end.store(noted + LEN as u64, Ordering::Release);
    }

    #[inline]
    fn apply(&self, cut: u64, mut each: impl FnMut(u32)) {
        let applied = self.applied();
        if cut == applied {
            return;
        }
        for nth in applied..cut {
            each(id_of(self.slot(nth).load(Ordering::Relaxed)));
        }
        self.set_applied(cut);
    }

    #[inline(always)]
    fn slot(&self, nth: u64) -> &AtomicU64 {
        // The remainder leaves less than there are slots.
        #[allow(clippy::cast_possible_truncation)]
        let nth = (nth % LEN as u64) as usize;
        &self.slots[nth]
    }
}

/// Times wrap around where they do not fit.
#[inline(always)]
fn word(time: u64, id: u32) -> u64 {
    debug_assert!(id >> ID_BITS == 0, "numbers of entries have three bytes");
    time << ID_BITS | u64::from(id)
}

#[inline]
fn id_of(word: u64) -> u32 {
    // The lower bits alone are meant.
    #[allow(clippy::cast_possible_truncation)]
    let low = word as u32;
    low & ((1 << ID_BITS) - 1)
}

/// Whether the first is later. Times of uses that wait at once lie near each other.
#[inline]
fn is_later(one: u64, other: u64) -> bool {
    let past = (one >> ID_BITS).wrapping_sub(other >> ID_BITS) << ID_BITS;
    past != 0 && past >> (u64::BITS - 1) == 0
}

/// How many uses of one thread may wait. Applying them takes the lock once for as many.
const LEN: usize = if cfg!(nanotier_loom) { 2 } else { 64 };

/// How many threads note their uses: the first that use anything. All others take the lock.
const LANES: usize = if cfg!(nanotier_loom) { 2 } else { 8 };

/// Threads whose numbers are higher get no lane.
const THREADS: usize = if cfg!(nanotier_loom) { 4 } else { 64 };

const NOBODY: usize = usize::MAX;

const ID_BITS: u32 = 24;
