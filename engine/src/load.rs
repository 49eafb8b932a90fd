//! Get or load: one loader per key at a time, and no lock held while it runs.

use crate::engine::Engine;
use crate::flight::Flight;
use crate::leaving::Unwaiting;
use crate::lifecycle::Lifecycle;
use crate::owned::OwnedFrom;
use crate::settle::Owing;
use crate::sync::Arc;
use equivalent::Equivalent;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};

impl<K, V, L, S> Engine<K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    /// The value for `key`: the resident one, or else the one that `load` makes, which is then admitted.
    ///
    /// For each key, one loader runs at a time; callers on the same key wait for it and get a clone of what it
    /// made, callers on other keys never wait. No lock is held while `load` runs: it may use the engine freely.
    ///
    /// | during the load | then |
    /// |---|---|
    /// | the key is inserted, removed, taken, computed anew, or `clear` or `retain` runs | that wins: the loaded value goes to those who were waiting, and is not admitted; who comes later finds what the writer left, or loads anew |
    /// | `load` panics | the panic goes to its caller; of those who wait, one runs its own loader |
    /// | `load` asks for the same key, itself or through a circle of loaders that wait for each other | [`LoadError::Reentrant`], at once |
    ///
    /// A value too heavy for the capacity is returned, not kept. A hit costs what [`get`](Self::get) costs.
    ///
    /// # Errors
    ///
    /// [`LoadError::Reentrant`] when waiting would never end.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    ///
    /// ```
    /// use nanotier_engine::Engine;
    ///
    /// let engine: Engine<String, usize> = Engine::new(100);
    /// assert_eq!(engine.get_or_insert_with("abc", || "abc".len()), Ok(3));
    /// assert_eq!(engine.get_or_insert_with("abc", || unreachable!("it is resident")), Ok(3));
    /// ```
    #[inline]
    pub fn get_or_insert_with<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> Result<V, LoadError>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        V: Clone,
    {
        self.try_get_or_insert_with(key, || Ok(load()))
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), for a loader that can fail. Its error goes to its own
    /// caller, and nothing is admitted; of those who wait, one runs its own loader next.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] with the loader's error; [`LoadError::Reentrant`] when waiting would never end.
    ///
    /// # Panics
    ///
    /// When called inside a closure that runs under a lock of this engine.
    #[inline]
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        V: Clone,
    {
        // Also on a hit: what may hang on a miss is refused every time.
        self.id().assert_not_held();
        let hash = self.hash(key);
        match self.read_hashed(hash, key, V::clone) {
            Some(value) => Ok(value),
            None => self.load(hash, key, load),
        }
    }

    #[cold]
    #[inline(never)]
    fn load<Q, E>(&self, hash: u64, key: &Q, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        V: Clone,
    {
        let _leading = Unwaiting::begin();
        let mut own =
            Lead { engine: self, flight: Arc::new(Flight::new(hash, K::owned_from(key))), is_up: false };
        let loaded = self.join_or_lead(hash, key, &mut own, load);
        // Before the result is on its way out: one that is being returned leaks if a key's drop panics then.
        drop(own);
        loaded
    }

    fn join_or_lead<Q, E>(
        &self,
        hash: u64,
        key: &Q,
        own: &mut Lead<'_, K, V, L, S>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        V: Clone,
    {
        loop {
            let other = match self.join(hash, key, own) {
                Joined::Leading => return self.lead(own, K::owned_from(key), load),
                Joined::Waiting(other) => other,
                Joined::Resident => match self.peek(key) {
                    Some(value) => return Ok(value),
                    // It left again in between.
                    None => continue,
                },
            };
            let waited = other.wait().map(Option::<&V>::cloned);
            drop(other);
            match waited {
                Ok(Some(value)) => return Ok(value),
                // The load came to nothing: perhaps ours does better.
                Ok(None) => {}
                Err(_) => return Err(LoadError::Reentrant),
            }
        }
    }

    /// Whatever there is to join for this key; else `own` takes off.
    fn join<Q>(&self, hash: u64, key: &Q, own: &mut Lead<'_, K, V, L, S>) -> Joined<K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut shard = self.writing(hash);
        if let Some(id) = shard.residents().find(hash, key) {
            if !shard.is_dead(id) {
                shard.residents().used(id);
                return Joined::Resident;
            }
        }
        if let Some(other) = shard.residents().book.flights.find(hash, key) {
            return Joined::Waiting(Arc::clone(other));
        }
        // The duty first: from here on a panic, be it of a listener heard on the way out, must end the flight.
        own.is_up = true;
        shard.residents().book.flights.start(Arc::clone(&own.flight));
        Joined::Leading
    }

    fn lead<E>(
        &self,
        own: &mut Lead<'_, K, V, L, S>,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        V: Clone,
    {
        let hash = own.flight.hash();
        self.shard(hash).counters.count(|counters| &counters.loads);
        let value = load().map_err(LoadError::Failed)?;
        let weight = self.weigh(&key, &value);
        let copy = value.clone();

        // Declared before the lock, to be dropped after it.
        let mut pair = Some((key, value));
        let key = &pair.as_ref().expect("it was put here right above").0;
        let mut owing = Owing::of(self, hash);
        let mut shard = self.writing(hash);
        if shard.residents().book.flights.land(&own.flight) {
            // Whoever put a value there has voided the flight; but a dead one, which the load follows, may be left.
            let found = if L::EXPIRES { shard.residents().find(hash, key) } else { None };
            let inserted = shard.put(hash, found, &mut pair, weight);
            owing.owes = shard.owes();
            drop(shard);
            drop(owing);
            self.put_advised(hash, weight, inserted);
        } else {
            drop(shard);
        }
        drop(pair);
        // Nobody joins a flight that is not listed, so a count of one stays one.
        if Arc::strong_count(&own.flight) > 1 {
            own.flight.settle(Some(copy.clone()));
        } else {
            // It has left the list, and there is nobody to hear of it.
            own.is_up = false;
        }
        Ok(copy)
    }
}

/// What a caller who found nothing finds on a second look, under the lock.
enum Joined<K, V> {
    /// Not cloned here: `Clone` is the user's, and may take its time.
    Resident,
    Waiting(Arc<Flight<K, V>>),
    Leading,
}

/// The duty of a leader: however the load ends, its flight leaves the list and those who wait hear of it.
struct Lead<'a, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    engine: &'a Engine<K, V, L, S>,
    flight: Arc<Flight<K, V>>,
    /// It took off: until then, or when another was joined instead, there is nothing to end.
    is_up: bool,
}

impl<K, V, L, S> Drop for Lead<'_, K, V, L, S>
where
    K: Hash + Eq,
    L: Lifecycle<K, V>,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if !self.is_up || self.flight.is_settled() {
            return;
        }
        // Also if releasing the lock makes this thread hear a listener that panics.
        let _settled = SettledEmpty(&self.flight);
        self.engine.writing(self.flight.hash()).residents().book.flights.land(&self.flight);
    }
}

/// Settles a flight without a value when dropped.
struct SettledEmpty<'a, K, V>(&'a Flight<K, V>);

impl<K, V> Drop for SettledEmpty<'_, K, V> {
    fn drop(&mut self) {
        self.0.settle(None);
    }
}

/// Why a load brought no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError<E = Infallible> {
    /// This thread is already loading this key, or a chain of loaders, each waiting for the next, leads back to
    /// this thread: waiting would never end.
    Reentrant,
    /// The loader's own error.
    Failed(E),
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reentrant => f.write_str("the load waits for itself"),
            Self::Failed(error) => write!(f, "the loader failed: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Reentrant => None,
            Self::Failed(error) => Some(error),
        }
    }
}
