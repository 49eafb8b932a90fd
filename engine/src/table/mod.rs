//! The map of one shard: read by anyone without a lock, changed by whoever has the shard's lock.
//!
//! Entries live in *nodes*, which never move, in chunks of a slab. An *index* of buckets points to them: a bucket is
//! one cache line, a word of tags and seven pointers. A look-up hashes once, compares seven tags at a time, names the
//! node that it found, sees that it is still there, and compares keys. That is all: two cache lines, no lock.
//!
//! An entry that finds its bucket full goes to the next one that is not, and each bucket that it passed counts it:
//! a look-up goes on only where somebody has passed, and nothing has to be moved or marked when an entry leaves. (The
//! counting is that of Bronson's and Shi's F14.) Nobody goes further than [`PROBES`] buckets, whatever the hash does.
//!
//! Invariants:
//! - T1: a node is linked by one cell of the current index, or by none. While it is linked, its entry is there, and
//!   nobody writes to it.
//! - T2: all changes of cells, headers and nodes are made under the lock.
//! - T3: what is linked was written before, and is linked by a store with release.
//! - T4: an entry never moves within an index, and a replacement is linked by the cell of what it replaces. So who
//!   finds nothing has seen a moment at which nothing was there.
//! - T5: an index that is no longer current has been emptied, after its successor was published and before the lock
//!   was released. So no reader finds in it what has left since, and who finds nothing in it looks whether it was
//!   still the current one. It is freed with the table.
//! - T6: a node that was unlinked is written to again only by the rules of `reclaim`.
//!
//! Checked by `validate` after each step of the fuzzer and of the property tests, by the models in `loom-tests`, and
//! by the stress tests under the sanitizers.

mod garbage;
mod index;
mod node;
mod sharded;
mod slab;
mod slots;
mod visit;

use crate::reclaim::{Grace, Guard, Held, prepare};
use crate::sync::{AtomicPtr, Mutex, MutexGuard, Ordering, yield_now};
use equivalent::Equivalent;
use index::Index;
use node::Node;
use sharded::Head;
use slots::Owner;
use std::fmt;
use std::hash::Hash;
use std::ptr::{self, NonNull};

pub(crate) use garbage::Due;
#[cfg(all(test, not(nanotier_loom)))]
pub(crate) use index::HASH_BITS;
pub(crate) use index::{is_sampled, nth_of, prefetch, upper};
pub(crate) use node::Touch;
pub(crate) use sharded::{HasTable, Seat, Sharded};
pub(crate) use slots::{Departed, Slots, Vacancy};

/// One shard's entries, and whatever else its lock guards (`X`). Readers begin at the head, which is elsewhere.
pub(crate) struct Table<K, V, X> {
    head: NonNull<Head<K, V>>,
    state: Mutex<State<K, V, X>>,
}

// In this order: what every write touches lies together, and the lock's own byte comes after it.
#[repr(C)]
struct State<K, V, X> {
    owner: Owner<K, V>,
    extra: X,
}

// SAFETY: the pointers in a table are to what it owns: to send it is to send keys, values and `X`. Checked, as is the
// next, by the thread sanitizer on `engine/tests/stress.rs`.
unsafe impl<K: Send, V: Send, X: Send> Send for Table<K, V, X> {}

// SAFETY: threads that share a table get at `&K` and `&V` at the same time (`Sync`), take entries out of it and drop
// them (`Send`), and reach `X` one after the other (`Send`).
unsafe impl<K: Send + Sync, V: Send + Sync, X: Send> Sync for Table<K, V, X> {}

impl<K, V, X> Table<K, V, X> {
    /// An empty table with room for `expected` entries before its index must grow. `retained` entries that have
    /// left may wait for one barrier, and as many more for their place to be used again.
    pub(crate) fn new(seat: Seat<K, V>, expected: usize, retained: usize, extra: X) -> Self {
        prepare();
        let owner = Owner::new(expected, retained);
        let table = Self { head: seat.take(), state: Mutex::new(State { owner, extra }) };
        // Release: T3.
        table.index().store(table.state.lock().owner.index(), Ordering::Release);
        table
    }

    #[inline]
    fn index(&self) -> &AtomicPtr<Index<K, V>> {
        // SAFETY: a seat's head lives as long as the `Sharded` that gave it, in which the table lives.
        unsafe { self.head.as_ref() }.cell()
    }

    /// Whether no entry with this hash is here, as far as one look shows: most misses need no more.
    #[inline]
    fn is_surely_absent(&self, hash: u64) -> bool {
        let current = self.index().load(Ordering::Acquire);
        // SAFETY: as in `find`.
        let is_absent = unsafe { &*current }.is_surely_absent(hash);
        // As in `find`: of an index that was not the current one, nothing follows.
        is_absent && ptr::eq(self.index().load(Ordering::Acquire), current)
    }

    /// The node with this key, protected by `guard`, or null.
    fn find<Q>(&self, guard: &Guard, hash: u64, key: &Q) -> *mut Node<K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut current = self.index().load(Ordering::Acquire);
        loop {
            // SAFETY: an index lives as long as the table, and was published whole (release in `grow`).
            let found = unsafe { &*current }.find(guard, hash, key);
            // Nothing found, in an index that was not the current one, means nothing (T5).
            let now = self.index().load(Ordering::Acquire);
            if !found.is_null() || ptr::eq(now, current) {
                return found;
            }
            current = now;
        }
    }

    #[inline(always)]
    pub(crate) fn lock(&self) -> Locked<'_, K, V, X> {
        Locked { table: self, state: self.state.lock() }
    }

    /// As [`lock`](Self::lock), for a write to an entry with this hash: its bucket is on its way meanwhile.
    #[inline(always)]
    pub(crate) fn lock_for(&self, hash: u64) -> Locked<'_, K, V, X> {
        // SAFETY: an index lives as long as the table, and was published whole.
        unsafe { &*self.index().load(Ordering::Acquire) }.prefetch(upper(hash));
        self.lock()
    }

    /// The entries, and what else there is, for who has the table for himself: nobody else reads or writes.
    pub(crate) fn alone(&mut self) -> (Slots<'_, K, V>, &mut X) {
        let identity = self.identity();
        // SAFETY: as in `index`.
        let published = unsafe { self.head.as_ref() }.cell();
        let State { owner, extra } = self.state.get_mut();
        (Slots::alone(owner, published, identity), extra)
    }

    /// Shows an entry that has left.
    pub(crate) fn departed<'a>(&'a self, departed: &'a Departed<K, V>) -> (&'a K, &'a V) {
        departed.assert_of(self.identity());
        // SAFETY: it left this table (asserted), which lives; its node is written to again only after `retire` or
        // `reclaim` was given the token, which is borrowed here.
        unsafe { Node::entry(departed.node()) }
    }

    /// Takes out an entry that has left, as soon as nobody reads it any more: waits for that. The caller must not be
    /// reading it itself ([`Slots::is_read_here`]).
    pub(crate) fn reclaim(&self, departed: Departed<K, V>) -> (K, V) {
        departed.assert_of(self.identity());
        let grace = Grace::begin();
        let mut held = Held::none();
        let mut rounds = 0_u32;
        loop {
            grace.hasten();
            if grace.is_over() {
                held.look();
                if !held.holds(departed.node()) {
                    break;
                }
            }
            rounds += 1;
            if rounds < 64 || cfg!(nanotier_loom) {
                yield_now();
            } else {
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        }
        // SAFETY: unlinked before the grace began, which is over, and no slot names it: R4. The token was the only one.
        let entry = unsafe { Node::take_entry(departed.node()) };
        self.lock().state.owner.vacate(departed);
        entry
    }

    /// Drops all entries that have left and are not being read, outside the lock. Costs a barrier.
    pub(crate) fn flush(&self) {
        let Some(grace) = self.lock().state.owner.close_all() else { return };
        grace.hasten();
        loop {
            let mut dead = Vec::new();
            let is_more = self.lock().state.owner.sweep(&mut dead, SWEPT_AT_ONCE);
            drop(dead);
            if !is_more {
                break;
            }
        }
        self.lock().state.owner.shrink();
    }

    /// Does what is due. Not to be called with the lock.
    pub(crate) fn attend(&self, due: &Due) {
        match due {
            Due::Nothing => {}
            Due::Grace { grace, is_urgent } if *is_urgent || !grace.is_ending() => grace.hasten(),
            Due::Grace { .. } => {}
            Due::Flush => self.flush(),
        }
    }

    /// Tells this table's departed from another's: the state's place is the table's own.
    fn identity(&self) -> usize {
        ptr::from_ref(&self.state).addr()
    }
}

impl<K, V, X> Drop for Table<K, V, X> {
    fn drop(&mut self) {
        // Nobody is reading: that takes a `&self`. So all that has an entry is dropped, whether it left or not.
        self.state.get_mut().owner.drop_all();
    }
}

impl<K, V, X> fmt::Debug for Table<K, V, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// A table whose lock this thread has.
pub(crate) struct Locked<'a, K, V, X> {
    table: &'a Table<K, V, X>,
    state: MutexGuard<'a, State<K, V, X>>,
}

impl<'a, K, V, X> Locked<'a, K, V, X> {
    /// The entries, and what else the lock guards.
    #[inline]
    pub(crate) fn parts(&mut self) -> (Slots<'_, K, V>, &mut X) {
        let identity = self.table.identity();
        let State { owner, extra } = &mut *self.state;
        (Slots::new(owner, self.table.index(), identity), extra)
    }

    #[inline]
    pub(crate) fn extra(&self) -> &X {
        &self.state.extra
    }

    #[inline]
    pub(crate) fn entry(&self, id: u32) -> (&K, &V) {
        self.state.owner.entry(id)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.state.owner.len()
    }

    /// What somebody should do about what has left, outside the lock.
    #[inline]
    pub(crate) fn due(&mut self) -> Due {
        self.state.owner.due()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state.owner.bytes()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn validate(&self, rehash: impl Fn(&K) -> u64) {
        assert!(
            ptr::eq(self.table.index().load(Ordering::Relaxed), self.state.owner.index()),
            "the owner's index is the published one"
        );
        self.state.owner.validate(rehash);
    }
}

/// In how many buckets an entry may be. At the load that the index is kept at, a third of them are full, so that chance
/// brings none further than a few.
const PROBES: usize = if cfg!(nanotier_loom) { 2 } else { 32 };

/// How many entries are taken out under the lock at once, to be dropped outside it.
const SWEPT_AT_ONCE: usize = 256;
