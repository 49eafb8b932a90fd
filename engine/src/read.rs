//! Reads: without a lock, except that under LRU what was noted must be applied now and then.

use crate::advisor::Asked;
use crate::engine::Engine;
use crate::lifecycle::Lifecycle;
use crate::options::Policy;
use crate::table::Touch;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// A clone of the live value for `key`; counts as a use.
    ///
    /// Costs a hash, a look at two cache lines and the clone: no lock, no allocation but the clone's own. Under
    /// [`Policy::Lru`], a note of the use, and now and then the lock of a shard.
    // Always: out of line it costs half as much again.
    #[inline(always)]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.read(key, V::clone)
    }

    /// What `f` makes of the live value for `key`, without cloning it; counts as a use. Costs what
    /// [`get`](Self::get) does without the clone.
    ///
    /// `f` runs under no lock: it may take its time, and use this engine as it likes; only to
    /// [`take`](Self::take) what it is looking at would mean to wait for itself, and panics. The value lives while `f`
    /// looks at it, whatever becomes of the entry; nothing else is kept from being freed.
    ///
    /// ```
    /// use nanotier_engine::Engine;
    ///
    /// let engine: Engine<u32, String> = Engine::new(10);
    /// engine.insert(1, "a long text".to_owned());
    /// assert_eq!(engine.read(&1, |text| text.len()), Some(11));
    /// ```
    #[inline(always)]
    pub fn read<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.read_hashed(self.hash(key), key, f)
    }

    /// As [`read`](Self::read), but `f` judges: it is shown the value even where the lifecycle says that it is dead,
    /// and if it answers `None`, that is a miss: no use, and counted as one. For who would otherwise ask the same
    /// question twice on each hit.
    ///
    /// ```
    /// use nanotier_engine::Engine;
    ///
    /// let engine: Engine<u32, u32> = Engine::new(10);
    /// engine.insert(1, 7);
    /// assert_eq!(engine.read_if(&1, |value| (*value % 2 == 0).then_some(*value)), None);
    /// assert_eq!(engine.read_if(&1, |value| (*value % 2 == 1).then_some(*value)), Some(7));
    /// ```
    #[inline(always)]
    pub fn read_if<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> Option<R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.read_judged(self.hash(key), key, |_, value| f(value))
    }

    #[inline(always)]
    pub(crate) fn read_hashed<Q, R>(&self, hash: u64, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.read_judged(hash, key, |resident, value| {
            if L::EXPIRES && self.lifecycle.is_dead(resident, value) { None } else { Some(f(value)) }
        })
    }

    #[inline(always)]
    fn read_judged<Q, R>(&self, hash: u64, key: &Q, f: impl FnOnce(&K, &V) -> Option<R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if self.policy == Policy::Lru {
            return self.read_moving(hash, key, f);
        }
        let looked = self.shards.glance(hash, key, f, |f, resident, value, touch, stripe| {
            // What is to be told goes the long way, so that the others need not ask again later.
            let Some(used) = touch.mark_untold() else { return Err(f) };
            let answer = f(resident, value);
            if answer.is_some() {
                self.stats.hit(stripe);
            } else {
                touch.unmark(used);
            }
            Ok(answer)
        });
        match looked {
            Ok(Ok(Some(answer))) => Some(answer),
            Ok(Ok(None)) => self.refuse(hash),
            Ok(Err(f)) | Err(f) => self.read_further(hash, key, f, |touch, _| touch.mark()),
        }
    }

    // Out of line, and last: so that a hit saves no registers for it.
    #[inline(never)]
    fn read_further<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        f: impl FnOnce(&K, &V) -> Option<R>,
        used: impl FnOnce(Touch<'_>, Option<usize>),
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let looked =
            self.shards.read_further(hash, key, |resident: &K, value: &V, touch: Touch<'_>, stripe| {
                let answer = f(resident, value)?;
                used(touch, stripe);
                self.stats.hit(stripe);
                Some((answer, touch.is_told()))
            });
        match looked {
            Some(Some((answer, false))) => Some(answer),
            Some(Some((answer, true))) => self.tell(hash, answer),
            Some(None) => self.refuse(hash),
            None => self.miss(hash),
        }
    }

    /// Tells the advisor of a hit on a key of its sample. Out of line, and last, as above.
    #[inline(never)]
    fn tell<R>(&self, hash: u64, answer: R) -> Option<R> {
        self.advise(hash, Asked::Hit);
        Some(answer)
    }

    /// A miss although the key is there.
    #[inline(never)]
    fn refuse<R>(&self, hash: u64) -> Option<R> {
        self.stats.miss();
        self.advise(hash, Asked::Dead);
        None
    }

    #[inline(never)]
    fn miss<R>(&self, hash: u64) -> Option<R> {
        self.stats.miss();
        self.advise(hash, Asked::Missing);
        None
    }

    /// A read that moves the entry in an order: notes that it is to be moved, while the look protects it (see the log).
    /// This is for a thread that is alone.
    #[inline(never)]
    fn read_moving<Q, R>(&self, hash: u64, key: &Q, f: impl FnOnce(&K, &V) -> Option<R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(log) = self.logs.get(self.shards.nth(hash)) else {
            return self.read_moving_further(hash, key, f);
        };
        let looked = self.shards.glance(hash, key, f, |f, resident, value, touch, stripe| {
            if touch.is_told() {
                return Err(f);
            }
            let Some(answer) = f(resident, value) else { return Ok(None) };
            self.stats.hit(stripe);
            Ok(Some((answer, log.note_alone(stripe, touch))))
        });
        match looked {
            Ok(Ok(Some((answer, true)))) => Some(answer),
            Ok(Ok(Some((answer, false)))) => self.move_after(hash, key, answer),
            Ok(Ok(None)) => self.refuse(hash),
            Ok(Err(f)) | Err(f) => self.read_moving_further(hash, key, f),
        }
    }

    /// The same where a glance is not enough.
    // Out of line, and last, as the next one is: see above.
    #[inline(never)]
    fn read_moving_further<Q, R>(&self, hash: u64, key: &Q, f: impl FnOnce(&K, &V) -> Option<R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.read_further(hash, key, f, |touch, stripe| self.shard(hash).used(self.id(), stripe, touch))
    }

    /// Moves the entry that was read and could not be noted.
    #[inline(never)]
    fn move_after<Q, R>(&self, hash: u64, key: &Q, answer: R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut answer = Some(answer);
        let moved = self.shards.read(hash, key, |_, _, touch, stripe| {
            self.shard(hash).used(self.id(), stripe, touch);
            answer.take()
        });
        moved.flatten().or(answer)
    }

    /// A clone of the live value for `key`, as if nobody had looked: no use, no statistics. No lock.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.look(key, V::clone)
    }

    /// As [`read_if`](Self::read_if), as if nobody had looked: no use, no statistics. No lock.
    ///
    /// ```
    /// use nanotier_engine::{Engine, Options, Plain, Policy};
    ///
    /// let engine: Engine<u32, u32> = Engine::with(Options::new(2).policy(Policy::Lru), Plain)?;
    /// engine.insert(1, 10);
    /// engine.insert(2, 20);
    /// assert_eq!(engine.peek_if(&1, |value| Some(*value)), Some(10));
    /// engine.insert(3, 30);
    /// assert!(!engine.contains(&1)); // the look did not count
    /// # Ok::<(), nanotier_engine::ConfigError>(())
    /// ```
    pub fn peek_if<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> Option<R>) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.shards.read(self.hash(key), key, |_, value, _, _| f(value)).flatten()
    }

    /// Whether `key` has a live value: no use, no statistics. No lock.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look(key, |_| ()).is_some()
    }

    fn look<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let found = self.shards.read(hash, key, |resident, value, _, _| {
            if L::EXPIRES && self.lifecycle.is_dead(resident, value) { None } else { Some(f(value)) }
        });
        found.flatten()
    }

    /// Shows every live entry to `f`, in no particular order: no use, no statistics. What comes, leaves or is replaced
    /// while it runs may or may not be seen; what is there all the time is seen once. No lock: `f` may use this engine
    /// as it likes, but for taking what it is looking at.
    pub fn for_each(&self, mut f: impl FnMut(&K, &V)) {
        for shard in &self.shards {
            shard.table.for_each(|key, value| {
                if !(L::EXPIRES && self.lifecycle.is_dead(key, value)) {
                    f(key, value);
                }
            });
        }
    }

    /// The keys of all live entries, as [`for_each`](Self::for_each) sees them.
    #[must_use]
    pub fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        let mut keys = Vec::with_capacity(self.len());
        self.for_each(|key, _| keys.push(key.clone()));
        keys
    }
}
