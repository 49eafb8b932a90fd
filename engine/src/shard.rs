//! A shard: a table, its book, and what has left and is to be told.
//!
//! User code that runs under the lock (Eq, Clone, `is_dead`, closures) runs between changes, never inside one, and
//! what leaves is dropped or announced after the lock is released, also when that code panics.

use crate::budget::Budget;
use crate::held::{self, EngineId, Held};
use crate::leaving::{Delivered, Leaving, Outbox};
use crate::lifecycle::{Cause, Lifecycle};
use crate::options::Policy;
use crate::policy::Log;
use crate::residents::{Book, HEAVY_SHARE, Residents};
use crate::stats::Counters;
use crate::sync::{Arc, AtomicU64, AtomicUsize, Ordering};
use crate::table::{Departed, Due, HasTable, Locked, Seat, Table, Touch, Vacancy};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Aligned, so that neighbours share no cache line, nor a pair of them.
// In this order: what every write touches comes after the lock's byte, which comes last in the table.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Shard<K, V> {
    pub(crate) table: Table<K, V, Book<K, V>>,
    /// The entries' number and weight as of the last change: written under the lock, read without one.
    len: AtomicUsize,
    weight: AtomicU64,
    pub(crate) counters: Counters,
    outbox: Outbox<K, V>,
    /// Where uses are noted without the lock, under LRU.
    log: Option<Arc<Log>>,
}

/// What became of a value that wanted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inserted {
    /// It is in, and the key had no live value.
    Done,
    /// It is in, and took the place of a live value.
    Replaced,
    /// It is heavier than the capacity. What the key had before is gone too, so that an older value is never served
    /// after a newer one was refused.
    Rejected,
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(
        seat: Seat<K, V>,
        budget: &Arc<Budget>,
        policy: Policy,
        stats: bool,
        weighs: bool,
    ) -> Self {
        let entries = usize::try_from(budget.expected()).unwrap_or(usize::MAX);
        let expected = if weighs { entries.min(EXPECTED_OF_UNKNOWN) } else { entries };
        let retained = (entries / RETAINED_SHARE).clamp(RETAINED_MIN, RETAINED_MAX);
        let book = Book::new(Arc::clone(budget), policy, if weighs { 0 } else { entries }, 0);
        let log = book.log();
        Self {
            table: Table::new(seat, expected, retained, book),
            log,
            outbox: Outbox::new(),
            counters: Counters::new(stats),
            len: AtomicUsize::new(0),
            weight: AtomicU64::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Those that are not in the shard itself.
    pub(crate) fn bytes(&self) -> usize {
        let locked = self.table.lock();
        locked.bytes().saturating_add(locked.extra().bytes()).saturating_add(self.outbox.bytes())
    }

    pub(crate) fn log(&self) -> Option<&Arc<Log>> {
        self.log.as_ref()
    }

    /// Tells the order that `thread` used an entry, which it protects: by a note if it can.
    #[inline(always)]
    pub(crate) fn used(&self, engine: EngineId, thread: Option<usize>, entry: Touch<'_>) {
        if !self.log.as_ref().is_some_and(|log| log.note(thread, entry)) {
            self.used_in_order(engine, thread, entry.id());
        }
    }

    /// The same under the lock, which makes room in the log.
    #[inline(never)]
    fn used_in_order(&self, engine: EngineId, thread: Option<usize>, id: u32) {
        // A thread that has a lock already moves nothing.
        if held::is_any() {
            return;
        }
        let _held = Held::exclusive(engine);
        let mut locked = self.table.lock();
        Residents::new(locked.parts()).used_by(thread, id);
    }

    #[inline(always)]
    pub(crate) fn writing<'a, L: Lifecycle<K, V>>(
        &'a self,
        engine: EngineId,
        lifecycle: &'a L,
        hash: u64,
    ) -> Writing<'a, K, V, L> {
        let held = Held::exclusive(engine);
        // In place: it is large, and moving it would cost as much as an insert's other work.
        Writing {
            locked: self.table.lock_for(hash),
            _held: held,
            departures: Departures {
                shard: self,
                lifecycle,
                leaving: Leaving::new(),
                dead: None,
                due: Due::Nothing,
                owes: false,
            },
        }
    }
}

impl<K, V> HasTable<K, V> for Shard<K, V> {
    type Extra = Book<K, V>;

    #[inline]
    fn table(&self) -> &Table<K, V, Book<K, V>> {
        &self.table
    }
}

/// The lock. Dropped in the order of the fields: first the lock, then the mark, then what left.
pub(crate) struct Writing<'a, K, V, L: Lifecycle<K, V>> {
    locked: Locked<'a, K, V, Book<K, V>>,
    _held: Held,
    departures: Departures<'a, K, V, L>,
}

/// What must be dropped or announced once the lock is released.
struct Departures<'a, K, V, L: Lifecycle<K, V>> {
    shard: &'a Shard<K, V>,
    lifecycle: &'a L,
    leaving: Leaving<K, V>,
    /// An entry that left long ago: its place is used again.
    dead: Option<(K, V)>,
    /// What is to be done about what left.
    due: Due,
    /// A value was put that there was no room for: others must leave for it.
    owes: bool,
}

impl<'a, K, V, L: Lifecycle<K, V>> Writing<'a, K, V, L> {
    #[inline]
    pub(crate) fn residents(&mut self) -> Residents<'_, K, V> {
        Residents::new(self.locked.parts())
    }

    /// The entry with a number that `find`, `victim` or `next_from` gave.
    #[inline]
    pub(crate) fn entry(&self, id: u32) -> (&K, &V) {
        self.locked.entry(id)
    }

    /// Whether the entry is dead: runs a hook.
    #[inline]
    pub(crate) fn is_dead(&self, id: u32) -> bool {
        if !L::EXPIRES {
            return false;
        }
        let (key, value) = self.locked.entry(id);
        self.departures.lifecycle.is_dead(key, value)
    }

    /// `cause`, unless the entry is dead: runs a hook.
    #[inline]
    pub(crate) fn cause(&self, id: u32, cause: Cause) -> Cause {
        if self.is_dead(id) { Cause::Expired } else { cause }
    }

    /// Removes an entry; runs no user code.
    #[inline(always)]
    pub(crate) fn retire(&mut self, id: u32, cause: Cause) {
        self.departures.shard.counters.left(cause);
        if L::LISTENS {
            let departed = self.residents().remove(id);
            self.departures.leaving.push(departed, cause);
        } else {
            self.residents().discard(id);
        }
    }

    /// Removes an entry for a caller who wants it: [`Table::reclaim`] gives it, outside the lock.
    pub(crate) fn hand_out(&mut self, id: u32) -> Departed<K, V> {
        assert!(
            !self.residents().is_read_here(id),
            "nanotier: a value was to be taken out by a thread that is reading it: it would wait for itself"
        );
        self.departures.shard.counters.left(Cause::Explicit);
        self.residents().remove(id)
    }

    pub(crate) fn retire_all(&mut self) {
        let mut next = 0;
        while let Some(id) = self.residents().next_from(next) {
            self.retire(id, Cause::Explicit);
            next = id + 1;
        }
        self.residents().forget();
    }

    /// What left is to be dropped as soon as the lock is released, and not when its place is needed.
    pub(crate) fn hurry(&mut self) {
        self.departures.due = Due::Flush;
    }

    /// Whether, for what was put, others must leave from other shards: [`Engine::settle`](crate::Engine).
    #[inline]
    pub(crate) fn owes(&self) -> bool {
        self.departures.owes
    }

    /// Admits a value if its weight allows; `found` is where `find` saw its key. The pair is the caller's, outside the
    /// lock, so that it is dropped there if a hook panics or it is refused.
    #[inline(always)]
    pub(crate) fn put(
        &mut self,
        hash: u64,
        found: Option<u32>,
        pair: &mut Option<(K, V)>,
        weight: u64,
    ) -> Inserted {
        if found.is_some() || self.residents().is_heavy(weight) {
            return self.put_over(hash, found, pair, weight);
        }
        if L::EXPIRES {
            self.sweep(None);
        }
        self.add(hash, pair, weight);
        Inserted::Done
    }

    #[inline(always)]
    fn add(&mut self, hash: u64, pair: &mut Option<(K, V)>, weight: u64) {
        self.make_room(weight);
        self.residents().missed(hash);
        let vacancy = self.vacancy(hash);
        let pair = pair.take().expect("nanotier: a pair that is put is there");
        let (slots, book) = self.locked.parts();
        Residents::new((slots, book)).add(vacancy, pair, weight, &mut self.departures.dead);
        self.departures.shard.counters.count(|counters| &counters.inserts);
    }

    /// A pair whose key has a value already, or that weighs much.
    #[inline(never)]
    fn put_over(
        &mut self,
        hash: u64,
        found: Option<u32>,
        pair: &mut Option<(K, V)>,
        weight: u64,
    ) -> Inserted {
        let cause = found.map(|id| self.cause(id, Cause::Replaced));
        if !self.residents().admits(weight) {
            if let (Some(id), Some(cause)) = (found, cause) {
                self.retire(id, cause);
            }
            self.departures.shard.counters.count(|counters| &counters.rejections);
            return Inserted::Rejected;
        }
        if L::EXPIRES {
            self.sweep(found);
        }
        if !self.residents().has_room(weight, found) {
            self.residents().draw(weight, found);
        }
        match (found, cause) {
            (Some(id), Some(cause)) if self.residents().has_room(weight, found) => {
                let pair = pair.take().expect("nanotier: a pair that is put is there");
                let (slots, book) = self.locked.parts();
                let dead = &mut self.departures.dead;
                let departed = Residents::new((slots, book)).replace(id, pair, weight, dead);
                self.departures.shard.counters.left(cause);
                if L::LISTENS {
                    self.departures.leaving.push(departed, cause);
                } else {
                    self.residents().retire(departed);
                }
                self.departures.shard.counters.count(|counters| &counters.inserts);
            }
            _ => {
                if let (Some(id), Some(cause)) = (found, cause) {
                    self.retire(id, cause);
                }
                if self.residents().is_heavy(weight) {
                    self.make_room_for_much(weight);
                }
                self.add(hash, pair, weight);
            }
        }
        match cause {
            Some(Cause::Replaced) => Inserted::Replaced,
            _ => Inserted::Done,
        }
    }

    pub(crate) fn quota(&self) -> u64 {
        self.locked.extra().quota()
    }

    /// Gives so much of what this shard may have back to the others, for which entries leave if they must, but at most so
    /// many at once; `asks` whether they are dead, or not. Says how much it was.
    pub(crate) fn release(&mut self, amount: u64, most: usize, asks: bool) -> u64 {
        for _ in 0..most {
            if self.locked.extra().slack() >= amount {
                break;
            }
            if !self.evict(asks) {
                break;
            }
        }
        self.residents().book.give_back(amount)
    }

    /// Removes the dead among some entries from a number on; answers with which to go on.
    pub(crate) fn retire_dead(&mut self, from: u32, most: usize) -> Option<u32> {
        let mut next = from;
        for _ in 0..most {
            let id = self.residents().next_from(next)?;
            if self.is_dead(id) {
                self.retire(id, Cause::Expired);
            }
            next = id + 1;
        }
        Some(next)
    }

    /// Removes some of what is there; says whether there is more.
    pub(crate) fn retire_some(&mut self, most: usize) -> bool {
        (0..most).all(|_| self.evict(true))
    }

    /// Removes whom the policy gives up; asks whether that one is dead, or not. False if there is nobody.
    #[inline(always)]
    fn evict(&mut self, asks: bool) -> bool {
        let Some(victim) = self.residents().victim() else { return false };
        let cause = if asks { self.cause(victim, Cause::Capacity) } else { Cause::Capacity };
        self.retire(victim, cause);
        true
    }

    /// Lets the dead among the next few entries go. `spared` is about to be replaced, which is another cause.
    fn sweep(&mut self, spared: Option<u32>) {
        for _ in 0..SWEPT_PER_INSERT {
            let Some(id) = self.residents().next_swept() else { return };
            if Some(id) != spared && self.is_dead(id) {
                self.retire(id, Cause::Expired);
            }
        }
    }

    #[inline(always)]
    fn make_room(&mut self, weight: u64) {
        if !self.residents().has_room(weight, None) && self.residents().has_news() {
            self.attend_to_news(weight);
        }
        while !self.residents().has_room(weight, None) && self.evict(true) {}
    }

    /// Draws what is missing if there is any, and releases a little if others want it.
    #[cold]
    #[inline(never)]
    fn attend_to_news(&mut self, weight: u64) {
        self.residents().draw(weight, None);
        // Never so much that what comes would be too much.
        let enough = weight.saturating_mul(HEAVY_SHARE);
        let wanted = self.residents().wanted().min(self.quota().saturating_sub(enough));
        if wanted > 0 {
            self.release(wanted, RELEASED_PER_INSERT, true);
        }
    }

    /// Room for what is heavy for this shard: as large a part of what is here leaves for it as of what is in the others,
    /// which follow when the lock is released.
    fn make_room_for_much(&mut self, weight: u64) {
        if self.residents().has_room(weight, None) {
            return;
        }
        let kept = self.residents().kept_beside(weight);
        while self.locked.extra().weight() > kept && !self.residents().has_room(weight, None) {
            if !self.evict(true) {
                break;
            }
        }
        if self.locked.extra().slack() < weight {
            self.residents().overdraw(weight);
            self.departures.owes = true;
        }
    }

    /// A place for an entry with this hash, whoever has to leave for it.
    #[inline(always)]
    fn vacancy(&mut self, hash: u64) -> Vacancy {
        loop {
            match self.residents().vacancy(hash) {
                Ok(vacancy) => return vacancy,
                Err(rival) => {
                    let cause = self.cause(rival, Cause::Capacity);
                    self.retire(rival, cause);
                }
            }
        }
    }
}

/// Still under the lock: what readers see without it, and the order of departures, are those of the changes.
impl<K, V, L: Lifecycle<K, V>> Drop for Writing<'_, K, V, L> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.locked.extra().has_plenty() {
            self.locked.parts().1.share_plenty();
        }
        let Departures { shard, leaving, due, .. } = &mut self.departures;
        shard.len.store(self.locked.len(), Ordering::Relaxed);
        shard.weight.store(self.locked.extra().weight(), Ordering::Relaxed);
        if L::LISTENS {
            shard.outbox.enqueue(leaving);
        }
        if L::WEIGHS && self.locked.parts().1.is_laden() {
            *due = Due::Flush;
        }
        if !matches!(due, Due::Flush) {
            *due = self.locked.due();
        }
    }
}

impl<K, V, L: Lifecycle<K, V>> Drop for Departures<'_, K, V, L> {
    #[inline(always)]
    fn drop(&mut self) {
        if L::LISTENS || !matches!(self.due, Due::Nothing) {
            self.attend();
        }
    }
}

impl<K, V, L: Lifecycle<K, V>> Departures<'_, K, V, L> {
    /// Whatever panics here, all of it is done; then the first panic goes on, if this thread has none on its way already.
    #[inline(never)]
    fn attend(&mut self) {
        let attempt = |what: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(what)).err();
        let table = &self.shard.table;
        let dead = &mut self.dead;
        let mut panicked = attempt(&mut || drop(dead.take()));
        if L::LISTENS {
            let hurry = matches!(self.due, Due::Flush);
            while let Some(mut delivered) = self.shard.outbox.deliver(table, self.lifecycle, hurry) {
                panicked = panicked.or(delivered.panicked.take());
                let more = delivered.more;
                let due = self.shard.give_back(delivered);
                panicked = panicked.or(attempt(&mut || table.attend(&due)));
                if !more {
                    break;
                }
            }
        }
        panicked = panicked.or(attempt(&mut || table.attend(&self.due)));
        match panicked {
            Some(panic) if !std::thread::panicking() => resume_unwind(panic),
            _ => {}
        }
    }
}

impl<K, V> Shard<K, V> {
    /// Leaves what was announced to be dropped.
    fn give_back(&self, delivered: Delivered<K, V>) -> Due {
        if delivered.heard.is_empty() && !delivered.hurry {
            return Due::Nothing;
        }
        let mut locked = self.table.lock();
        let mut residents = Residents::new(locked.parts());
        delivered.heard.into_iter().for_each(|departed| residents.retire(departed));
        if delivered.hurry { Due::Flush } else { locked.due() }
    }
}

/// How many entries an insert looks at for dead ones.
const SWEPT_PER_INSERT: usize = 8;

/// How many entries leave for other shards in one insert.
const RELEASED_PER_INSERT: usize = 8;

/// How many entries may have left before a barrier is made for them: a share of the capacity, within bounds. A barrier
/// costs some microseconds, and so many share it. Three times as many may take up memory while something comes for each
/// that leaves, five times where nothing does.
const RETAINED_SHARE: usize = 16;
const RETAINED_MIN: usize = if cfg!(nanotier_loom) { 1 } else { 16 };
const RETAINED_MAX: usize = 512;

/// For how many entries an index is made where their weights, and so their number, are not known.
const EXPECTED_OF_UNKNOWN: usize = 64;
