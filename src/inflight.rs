//! What is under way, per key: who loads, who writes, and below which version memory admits nothing (rule
//! O5).
//!
//! A key has a slot here while anything on it is in flight, and only then. A writer raises the slot's
//! **floor** and unlinks its flights: who comes later starts anew, and what those flights bring is admitted
//! nowhere. The floor stays until the last of all that began before has gone.
//!
//! Each shard is one short lock. Nothing is called under it but `Hash`, `Eq` and `Clone` of keys; the engine
//! calls [`InFlight::admits`] under its own lock, so the engine must not be called from here.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use nanotier_tier::Version;
use nanotier_tier::rules::{Rule, is_on};
use parking_lot::Mutex;

use crate::flight::Flight;

/// Locks, as a power of two.
const SHARDS: usize = 64;

pub(crate) struct InFlight<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    /// Slots in all shards together. Zero lets a cache without tiers write past all of this.
    slots: AtomicUsize,
}

struct Shard<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// The version of the last clearing: a floor for every key, for ever.
    floor: Version,
}

struct Slot<V> {
    floor: Version,
    /// How many tickets there are for the key.
    tickets: usize,
    /// Who comes joins these.
    look: Option<Arc<Flight<Option<V>>>>,
    load: Option<Arc<Flight<V>>>,
}

impl<V> Default for Slot<V> {
    fn default() -> Self {
        Self { floor: Version::ZERO, tickets: 0, look: None, load: None }
    }
}

impl<V> Slot<V> {
    fn unlink(&mut self) {
        self.look = None;
        self.load = None;
    }

    fn is_linked(&self, flight: u64) -> bool
    where
        V: Clone + Send + Sync + 'static,
    {
        self.look.as_ref().is_some_and(|linked| linked.id() == flight)
            || self.load.as_ref().is_some_and(|linked| linked.id() == flight)
    }
}

impl<K: Hash + Eq + Clone, V: Clone + Send + Sync + 'static> InFlight<K, V> {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(Shard { slots: HashMap::new(), floor: Version::ZERO });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            slots: AtomicUsize::new(0),
        }
    }

    /// True if nothing at all is in flight. What begins at this very moment overlaps the caller, and may come
    /// after it.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.load(SeqCst) == 0
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, V>> {
        let hash = self.hasher.hash_one(key);
        // The remainder fits any usize.
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    fn slot<'s>(&self, shard: &'s mut Shard<K, V>, key: &K) -> &'s mut Slot<V> {
        // Cloned first: a clone that panics must not leave a count behind.
        let key = key.clone();
        shard.slots.entry(key).or_insert_with(|| {
            self.slots.fetch_add(1, SeqCst);
            Slot::default()
        })
    }

    /// Begins to be in flight: the key keeps its floor until [`leave`](Self::leave).
    pub(crate) fn enter(&self, key: &K) {
        let mut shard = self.shard(key).lock();
        self.slot(&mut shard, key).tickets += 1;
    }

    /// Ends what [`enter`](Self::enter) or a start began, and unlinks the flight if it is linked.
    pub(crate) fn leave(&self, key: &K, flight: Option<u64>) {
        let mut shard = self.shard(key).lock();
        let Some(slot) = shard.slots.get_mut(key) else { return };
        if slot.look.as_ref().map(|linked| linked.id()) == flight {
            slot.look = None;
        }
        if slot.load.as_ref().map(|linked| linked.id()) == flight {
            slot.load = None;
        }
        slot.tickets -= 1;
        if slot.tickets == 0 {
            let slot = shard.slots.remove(key);
            self.slots.fetch_sub(1, SeqCst);
            drop(shard);
            drop(slot);
        }
    }

    /// A writer's version becomes the floor, and the flights under way lose their key.
    pub(crate) fn raise(&self, key: &K, version: Version) {
        let mut shard = self.shard(key).lock();
        let slot = self.slot(&mut shard, key);
        slot.floor = slot.floor.max(version);
        slot.unlink();
    }

    /// The same for all keys, for ever.
    pub(crate) fn raise_all(&self, version: Version) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.floor = shard.floor.max(version);
            shard.slots.values_mut().for_each(Slot::unlink);
        }
    }

    /// Unlinks the flights of a key, where memory is the truth and there are no versions.
    pub(crate) fn unlink(&self, key: &K) {
        if let Some(slot) = self.shard(key).lock().slots.get_mut(key) {
            slot.unlink();
        }
    }

    /// Whether memory may take `version`, brought by `flight` or by a writer.
    pub(crate) fn admits(&self, key: &K, flight: Option<u64>, version: Version) -> bool {
        if !is_on(Rule::O5) {
            return true;
        }
        let shard = self.shard(key).lock();
        let Some(slot) = shard.slots.get(key) else { return false };
        let above = match flight {
            // A writer's own version is the floor.
            None => version >= slot.floor && version > shard.floor,
            // Versions are drawn only where tiers lie below; without them, being linked is what counts.
            Some(_) if version == Version::ZERO => true,
            Some(_) => version > slot.floor && version > shard.floor,
        };
        above && flight.is_none_or(|flight| slot.is_linked(flight))
    }

    /// True while a flight is the one that who comes joins; of no flight, always.
    pub(crate) fn is_linked(&self, key: &K, flight: Option<u64>) -> bool {
        let Some(flight) = flight else { return true };
        self.shard(key).lock().slots.get(key).is_some_and(|slot| slot.is_linked(flight))
    }

    /// The look under way for a key, or the one that `start` builds.
    pub(crate) fn look(
        &self,
        key: &K,
        start: impl FnOnce() -> Arc<Flight<Option<V>>>,
    ) -> Arc<Flight<Option<V>>> {
        self.linked_or(key, |slot| &mut slot.look, start)
    }

    /// The load under way for a key, or the one that `start` builds.
    pub(crate) fn load(&self, key: &K, start: impl FnOnce() -> Arc<Flight<V>>) -> Arc<Flight<V>> {
        self.linked_or(key, |slot| &mut slot.load, start)
    }

    fn linked_or<T>(
        &self,
        key: &K,
        link: fn(&mut Slot<V>) -> &mut Option<Arc<Flight<T>>>,
        start: impl FnOnce() -> Arc<Flight<T>>,
    ) -> Arc<Flight<T>> {
        let mut shard = self.shard(key).lock();
        let slot = self.slot(&mut shard, key);
        if let Some(flight) = link(slot) {
            return flight.clone();
        }
        // The flight's ticket is counted here and given back when its work ends or is dropped.
        slot.tickets += 1;
        let flight = start();
        *link(slot) = Some(flight.clone());
        flight
    }

    /// True if anything is in flight for the key.
    pub(crate) fn is_busy(&self, key: &K) -> bool {
        self.shard(key).lock().slots.contains_key(key)
    }

    /// True if a look is under way for the key.
    pub(crate) fn is_looking(&self, key: &K) -> bool {
        self.shard(key).lock().slots.get(key).is_some_and(|slot| slot.look.is_some())
    }

    /// True if a load is under way for the key.
    pub(crate) fn is_loading(&self, key: &K) -> bool {
        self.shard(key).lock().slots.get(key).is_some_and(|slot| slot.load.is_some())
    }

    /// Takes a flight out of the way that was abandoned or has been ended.
    pub(crate) fn forget(&self, key: &K, flight: u64) {
        // Dropped outside the lock: a flight owns what its work owns.
        let _forgotten = {
            let mut shard = self.shard(key).lock();
            let Some(slot) = shard.slots.get_mut(key) else { return };
            let look = slot.look.take_if(|linked| linked.id() == flight);
            let load = slot.load.take_if(|linked| linked.id() == flight);
            (look, load)
        };
    }

    /// The loads under way.
    pub(crate) fn loads(&self) -> Vec<Arc<Flight<V>>> {
        let of = |shard: &Mutex<Shard<K, V>>| {
            let shard = shard.lock();
            shard.slots.values().filter_map(|slot| slot.load.clone()).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of).collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use crate::Cache;
    use nanotier_tier::{Inline, Json, MemoryStore};
    use parking_lot::Mutex;

    #[test]
    fn nothing_stays_in_flight_when_all_is_done() {
        let over_a_tier = Cache::<u32, u32>::builder()
            .namespace("test")
            .tiers(Inline(MemoryStore::new()))
            .codec(Json::default())
            .build()
            .unwrap();
        for cache in [Cache::<u32, u32>::new(10), over_a_tier] {
            cache.insert(1, 1).wait().unwrap();
            cache.get(&2).wait().unwrap();
            cache.get_with(&2, async || 2).wait().unwrap();
            cache.get_with_blocking(&3, || panic!("planted")).wait().unwrap_err();
            cache.get_many([&1, &9]).wait().unwrap();
            cache.touch(&1, crate::Ttl::Forever).wait().unwrap();
            cache.take(&1).wait().unwrap();
            cache.remove(&2).wait().unwrap();
            cache.clear().wait().unwrap();
            // A load that everybody leaves goes on behind, and then leaves too.
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let wait_to_end = Mutex::new(ended);
            let load = std::future::poll_fn(move |context| {
                context.waker().wake_by_ref();
                let ended = wait_to_end.lock().try_recv().is_ok();
                if ended { std::task::Poll::Ready(4) } else { std::task::Poll::Pending }
            });
            let mut left = Box::pin(cache.get_with(&4, || load));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(left.as_mut().poll(&mut context).is_pending());
            drop(left);
            assert_eq!(cache.0.inflight.len(), 1);
            end.send(()).unwrap();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while cache.0.inflight.len() > 0 && std::time::Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert_eq!(cache.0.inflight.len(), 0, "{cache:?}");
        }
    }
}
