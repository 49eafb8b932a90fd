//! All entries, those first that the policy would keep longest.

use crate::engine::Engine;
use crate::held::Held;
use crate::lifecycle::Lifecycle;
use crate::residents::Residents;
use std::fmt;
use std::hash::{BuildHasher, Hash};

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// Clones of all live entries, those first that the policy would keep longest. No use, no statistics.
    ///
    /// | policy | first | then |
    /// |---|---|---|
    /// | [`Lru`](crate::Policy::Lru) | the most recently used | exactly in that order |
    /// | [`Clock`](crate::Policy::Clock) | those used since the hand came by, the youngest first | the others, the youngest first |
    /// | [`Adaptive`](crate::Policy::Adaptive) | the main part: the more often used, of equals those the hand comes to last | the window, likewise |
    ///
    /// Shards decide for themselves who leaves, so the order is theirs; they are shown side by side, the hottest hundredth
    /// of each, then the next.
    ///
    /// What comes, leaves or is replaced while it runs may be seen or not, or, if it came back, twice; what is there all
    /// the time is seen once. The order is that of the call.
    ///
    /// Cost: the call takes each shard's lock in turn for a walk over its order (some nanoseconds an entry), and keeps 4
    /// bytes an entry; the iterator takes it again for each 64 entries. Clones and [`Lifecycle::is_dead`] run under
    /// it, and nothing else does: what the iterator gives may be used as one likes.
    ///
    /// # Panics
    ///
    /// When called, or gone on with, inside a closure that runs under a lock of this engine.
    ///
    /// ```
    /// use nanotier_engine::{Engine, Options, Plain, Policy};
    ///
    /// let engine: Engine<u32, char> = Engine::with(Options::new(10).policy(Policy::Lru), Plain)?;
    /// engine.insert(1, 'a');
    /// engine.insert(2, 'b');
    /// engine.get(&1);
    /// assert_eq!(engine.hottest_first().collect::<Vec<_>>(), [(1, 'a'), (2, 'b')]);
    /// # Ok::<(), nanotier_engine::ConfigError>(())
    /// ```
    pub fn hottest_first(&self) -> HottestFirst<'_, K, V, L, S> {
        let orders = self.shards.iter().map(|shard| {
            let mut ranked = {
                let _held = Held::exclusive(self.id());
                let mut locked = shard.table.lock();
                Residents::new(locked.parts()).ranked()
            };
            // Stable: of equals, the one that leaves later stays behind the other.
            ranked.sort_by_key(|&(rank, _)| rank);
            ranked.into_iter().map(|(_, id)| id).collect()
        });
        HottestFirst { engine: self, orders: orders.collect(), shard: 0, slice: 0, at: 0, batch: Vec::new() }
    }
}

/// The iterator of [`Engine::hottest_first`].
pub struct HottestFirst<'a, K, V, L, S> {
    engine: &'a Engine<K, V, L, S>,
    /// By shard, the coldest first.
    orders: Vec<Vec<u32>>,
    shard: usize,
    /// Of so many hundredths of each shard all has been seen.
    slice: usize,
    /// How many have been seen of this slice of this shard.
    at: usize,
    /// The next ones, the hottest last.
    batch: Vec<(K, V)>,
}

impl<K, V, L, S> HottestFirst<'_, K, V, L, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// The numbers of the next few entries, the hottest first, and of which shard. `None` at the end.
    fn next_ids(&mut self) -> Option<(usize, Vec<u32>)> {
        while self.slice < SLICES {
            let Some(order) = self.orders.get(self.shard) else {
                (self.shard, self.slice, self.at) = (0, self.slice + 1, 0);
                continue;
            };
            let bound = |slice: usize| order.len() * slice / SLICES;
            let from = bound(self.slice) + self.at;
            let to = bound(self.slice + 1).min(from + BATCH);
            if from >= to {
                (self.shard, self.at) = (self.shard + 1, 0);
                continue;
            }
            self.at += to - from;
            let ids = (from..to).map(|place| order[order.len() - 1 - place]).collect();
            return Some((self.shard, ids));
        }
        None
    }
}

impl<K, V, L, S> Iterator for HottestFirst<'_, K, V, L, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        while self.batch.is_empty() {
            let (shard, ids) = self.next_ids()?;
            let engine = self.engine;
            let _held = Held::exclusive(engine.id());
            let mut locked = engine.shards.at(shard).table.lock();
            // From the coldest on, so that the hottest can be taken off the end.
            for id in ids.into_iter().rev() {
                let residents = Residents::new(locked.parts());
                if residents.next_from(id) != Some(id) {
                    continue;
                }
                let (key, value) = locked.entry(id);
                if !(L::EXPIRES && engine.lifecycle.is_dead(key, value)) {
                    self.batch.push((key.clone(), value.clone()));
                }
            }
        }
        self.batch.pop()
    }
}

/// Sizes only: never a key or a value.
impl<K, V, L, S> fmt::Debug for HottestFirst<'_, K, V, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: usize = self.orders.iter().map(Vec::len).sum();
        f.debug_struct("HottestFirst").field("entries", &entries).finish_non_exhaustive()
    }
}

const SLICES: usize = 100;
/// Cloned in one go, under the lock.
const BATCH: usize = 64;
