//! One load per key at a time: who loads, who waits, and what they get.
//!
//! A flight is *up* while its shard lists it. Whoever writes or removes its key takes it off the list, under the
//! shard's lock: it is *void* then, its value goes to those who already wait, and not into the engine.
//! A leader whose flight is still up takes it off itself, in the same critical section that admits the value. So:
//! if the writer is first, the leader finds its flight gone and admits nothing; if the leader is first, the writer
//! finds the value and replaces or removes it.

use crate::sync::{Arc, Condvar, Mutex, OnceLock, shared_static, this_thread};
use equivalent::Equivalent;
use hashbrown::HashTable;
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Flight<K, V> {
    hash: u64,
    key: K,
    /// The thread that runs the loader.
    leader: usize,
    /// Set once, by the leader: the value, or `None` when the load came to nothing.
    outcome: OnceLock<Option<V>>,
    /// Guards nothing but the moment between a waiter's look at `outcome` and its sleep.
    landing: Mutex<()>,
    landed: Condvar,
}

/// A wait that would never end, because the loader waited for is (by way of other waits) waiting for this thread.
#[derive(Debug)]
pub(crate) struct Cycle;

impl<K, V> Flight<K, V> {
    /// A flight led by this thread.
    pub(crate) fn new(hash: u64, key: K) -> Self {
        Self {
            hash,
            key,
            leader: this_thread(),
            outcome: OnceLock::new(),
            landing: Mutex::new(()),
            landed: Condvar::new(),
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Blocks until the leader has settled it. The value is borrowed, so that cloning it holds up nobody.
    pub(crate) fn wait(&self) -> Result<Option<&V>, Cycle> {
        self.announce_wait()?;
        let mut landing = self.landing.lock();
        while self.outcome.get().is_none() {
            self.landed.wait(&mut landing);
        }
        drop(landing);
        Ok(self.outcome.get().and_then(Option::as_ref))
    }

    /// Called once, by the leader, after the flight has left its shard's list.
    pub(crate) fn settle(&self, outcome: Option<V>) {
        // Under the lock that a waiter holds when it looks.
        let landing = self.landing.lock();
        let is_first = self.outcome.set(outcome).is_ok();
        drop(landing);
        if is_first {
            // The waits go before the waiters wake: a wait that is listed is one that still lasts.
            WAITS.lock().retain(|wait| wait.flight != self.address());
            self.landed.notify_all();
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.outcome.get().is_some()
    }

    fn announce_wait(&self) -> Result<(), Cycle> {
        let waiter = this_thread();
        let mut waits = WAITS.lock();
        if self.is_settled() {
            return Ok(());
        }
        let mut next = self.leader;
        loop {
            if next == waiter {
                return Err(Cycle);
            }
            match waits.iter().find(|wait| wait.waiter == next) {
                Some(wait) => next = wait.leader,
                None => break,
            }
        }
        waits.push(Wait { waiter, leader: self.leader, flight: self.address() });
        Ok(())
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}

/// One thread waits for another. A thread waits for one flight at a time, so following the leaders decides at once
/// whether a wait would close a circle.
struct Wait {
    waiter: usize,
    leader: usize,
    flight: usize,
}

shared_static! {
    /// All waits of the process: a circle may go through several engines. Touched only by who waits or is waited for.
    static WAITS: Mutex<Vec<Wait>> = Mutex::new(Vec::new());
}

/// The flights of one shard that are up. Guarded by the shard's lock.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    table: HashTable<Arc<Flight<K, V>>>,
}

impl<K, V> Flights<K, V> {
    pub(crate) const fn new() -> Self {
        Self { table: HashTable::new() }
    }

    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<K, V>>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.table.find(hash, |flight| flight.hash == hash && key.equivalent(&flight.key))
    }

    /// The key must not have a flight.
    pub(crate) fn start(&mut self, flight: Arc<Flight<K, V>>) {
        self.table.insert_unique(flight.hash, flight, |flight| flight.hash);
    }

    /// The key was written or removed. Nothing of the user's is dropped here: a leader keeps its flight alive.
    #[inline]
    pub(crate) fn void<Q>(&mut self, hash: u64, key: &Q)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if self.table.is_empty() {
            return;
        }
        let same = |flight: &Arc<Flight<K, V>>| flight.hash == hash && key.equivalent(&flight.key);
        if let Ok(found) = self.table.find_entry(hash, same) {
            found.remove();
        }
    }

    pub(crate) fn void_all(&mut self) {
        self.table.clear();
    }

    /// Takes the flight off the list. False if it was void.
    pub(crate) fn land(&mut self, flight: &Arc<Flight<K, V>>) -> bool {
        match self.table.find_entry(flight.hash, |other| Arc::ptr_eq(other, flight)) {
            Ok(found) => {
                found.remove();
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }
}
