//! A cache of capacity one: a single key with its value, and one load per key.
//!
//! Whoever writes takes a lock; whoever reads takes none. Every change of the slot and of the list of its loads adds
//! one to a count, under that lock. So a caller may look at keys outside the lock, where their `Eq` can do what it
//! likes, and act under it if the count says that nothing has changed since the look.

use crate::flight::Flight;
use crate::leaving::Unwaiting;
use crate::load::LoadError;
use crate::owned::OwnedFrom;
use crate::reclaim::Shared;
use crate::sync::{Arc, Mutex, MutexGuard};
use equivalent::Equivalent;
use std::fmt;
use std::mem;

/// One value with its key: a cache of capacity one, read without waiting.
///
/// For what is asked again and again with the same question, of which only the last answer matters: the session of
/// this connection, the parsed form of the file that is open. A look with another key is a miss; an insert puts its
/// pair in place of whatever is there.
///
/// | call | cost | waits for |
/// |---|---|---|
/// | [`get`](Self::get), [`read`](Self::read) | a few loads, two stores to a line of this thread's own, `Eq`: no lock, no read-modify-write | nobody |
/// | [`insert`](Self::insert), [`remove`](Self::remove), [`clear`](Self::clear) | an allocation, a lock, and a barrier on all processors: 2 to 3 µs | other writers, for as long |
/// | [`get_or_insert_with`](Self::get_or_insert_with) | a hit: as `get`; a miss: an insert and the load | a load of the same key under way |
///
/// No code of the user's runs under a lock: `Eq`, `Clone`, closures, loaders and drops may all call the slot. A panic
/// there reaches the caller that ran it, and the slot works on. A reader that is stopped inside `read` keeps the
/// pair that it is looking at, and nothing else; it holds up nobody. Every key and value is dropped exactly once:
/// when it leaves, or, if it is still being read then, by a later write or [`flush`](Self::flush), or with the slot.
///
/// The slot knows no time. A value that should die carries its deadline, and who reads it looks.
///
/// ```
/// use nanotier_engine::Slot;
///
/// let slot: Slot<String, u32> = Slot::new();
/// assert_eq!(slot.get_or_insert_with("ada", || 1815), Ok(1815));
/// assert_eq!(slot.get("ada"), Some(1815));
/// slot.insert("grace".to_owned(), 1906);
/// assert_eq!((slot.get("ada"), slot.get("grace")), (None, Some(1906)));
/// ```
pub struct Slot<K, V> {
    current: Shared<Option<Pair<K, V>>>,
    desk: Mutex<Desk<K, V>>,
}

struct Pair<K, V> {
    key: K,
    value: V,
}

/// What is written under the slot's lock, besides `current`.
struct Desk<K, V> {
    /// Of `current` and `loads`.
    changes: u64,
    loads: Vec<Arc<Load<K, V>>>,
}

/// A load that is to be admitted, for as long as it is on the list: who writes over it takes it off.
struct Load<K, V> {
    key: K,
    flight: Flight<(), V>,
}

/// What the desk was like at one moment.
struct Seen<K, V> {
    changes: u64,
    loads: Vec<Arc<Load<K, V>>>,
}

impl<K, V> Slot<K, V> {
    /// An empty slot.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::<u32, String>::new();
    /// assert!(slot.is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { current: Shared::new(None), desk: Mutex::new(Desk { changes: 0, loads: Vec::new() }) }
    }

    /// A clone of the value, if the slot holds `key`. Costs what [`read`](Self::read) and `Clone` cost.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert("one".to_owned(), 1);
    /// assert_eq!(slot.get("one"), Some(1));
    /// assert_eq!(slot.get("two"), None);
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.read(key, V::clone)
    }

    /// Shows the value to `f`, if the slot holds `key`. The value stays as it is until `f` returns, whatever is
    /// inserted or removed meanwhile, and nobody waits for `f`.
    ///
    /// Costs a few loads, two stores, and the comparison; no lock, nothing that other readers notice.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert(1, String::from("abc"));
    /// assert_eq!(slot.read(&1, String::len), Some(3));
    /// assert_eq!(slot.read(&2, String::len), None);
    /// ```
    #[inline(always)]
    pub fn read<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.current.read(|pair| match pair {
            Some(pair) if key.equivalent(&pair.key) => Some(f(&pair.value)),
            _ => None,
        })
    }

    /// Shows what the slot holds to `f`, whichever key it has; `None` if it is empty. Costs and promises what
    /// [`read`](Self::read) does.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert(7, "seven");
    /// assert_eq!(slot.read_any(|&key, &value| (key, value)), Some((7, "seven")));
    /// ```
    #[inline]
    pub fn read_any<R>(&self, f: impl FnOnce(&K, &V) -> R) -> Option<R> {
        self.current.read(|pair| pair.as_ref().map(|pair| f(&pair.key, &pair.value)))
    }

    /// Whether the slot holds `key`. Costs a read; out of date as soon as somebody writes.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert(7, "seven");
    /// assert!(slot.contains(&7) && !slot.contains(&8));
    /// ```
    #[inline]
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.read(key, |_| ()).is_some()
    }

    /// Whether the slot holds nothing. Costs a read; out of date as soon as somebody writes.
    ///
    /// ```
    /// assert!(nanotier_engine::Slot::<u32, u32>::default().is_empty());
    /// ```
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.current.read(Option::is_none)
    }

    /// Puts this pair in place of what the slot holds. All reads that begin after this see it, or what is written
    /// later.
    ///
    /// Loads under way, of whichever key, are overtaken: their values go to those who wait for them and are not
    /// admitted. Costs an allocation, a lock, and a barrier on all processors: 2 to 3 µs. What was there is dropped
    /// before this returns, unless it is being read.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert(1, "one");
    /// slot.insert(2, "two");
    /// assert_eq!((slot.get(&1), slot.get(&2)), (None, Some("two")));
    /// ```
    pub fn insert(&self, key: K, value: V) {
        self.replace(Some(Pair { key, value }));
    }

    /// Empties the slot. Loads under way are overtaken: their values go to those who wait for them and are not
    /// admitted. Costs what [`insert`](Self::insert) does; of an empty slot, a lock for a moment.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert(1, "one");
    /// slot.clear();
    /// assert!(slot.is_empty());
    /// ```
    pub fn clear(&self) {
        self.replace(None);
    }

    /// Empties the slot if it holds `key`, and says whether it did. A load of that key under way is overtaken, also
    /// if the slot does not hold the key.
    ///
    /// Costs a lock for a moment, and what [`insert`](Self::insert) costs if the key is there. Of all who remove
    /// what was inserted once, one hears `true`.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert(1, "one");
    /// assert!(!slot.remove(&2));
    /// assert!(slot.remove(&1));
    /// assert!(!slot.remove(&1));
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        Q: Equivalent<K> + ?Sized,
    {
        loop {
            let seen = self.look();
            let is_here = self.contains(key);
            let load = seen.load_of(key);
            if !is_here && load.is_none() {
                return false;
            }
            let Some(mut desk) = self.unchanged_since(&seen) else { continue };
            if is_here {
                self.current.put(None);
            }
            // Nothing is dropped here: `seen` has it, too.
            desk.loads.retain(|listed| load.is_none_or(|load| !Arc::ptr_eq(listed, load)));
            drop(desk);
            drop(seen);
            self.current.flush();
            return is_here;
        }
    }

    /// Drops what has left the slot and is not being read any more, and answers how many pairs still are.
    ///
    /// Each write does this; a call is needed only to have a pair that left while it was being read gone before the
    /// next one. Costs a barrier if there is such a pair, else a lock for a moment.
    ///
    /// ```
    /// let slot = nanotier_engine::Slot::new();
    /// slot.insert(1, "one");
    /// slot.read(&1, |_| {
    ///     slot.clear();
    ///     assert_eq!(slot.flush(), 1); // this read's
    /// });
    /// assert_eq!(slot.flush(), 0);
    /// ```
    pub fn flush(&self) -> usize {
        self.current.flush()
    }

    fn replace(&self, pair: Option<Pair<K, V>>) {
        let mut desk = self.desk.lock();
        desk.changes += 1;
        let overtaken = mem::take(&mut desk.loads);
        if pair.is_some() || !self.is_empty() {
            self.current.put(pair);
        }
        drop(desk);
        // A loader that has ended meanwhile has left its key to this.
        drop(overtaken);
        self.current.flush();
    }

    fn look(&self) -> Seen<K, V> {
        let desk = self.desk.lock();
        Seen { changes: desk.changes, loads: desk.loads.clone() }
    }

    /// The desk, to make a change that follows from what was seen; `None` if there was another since.
    fn unchanged_since(&self, seen: &Seen<K, V>) -> Option<MutexGuard<'_, Desk<K, V>>> {
        let mut desk = self.desk.lock();
        if desk.changes != seen.changes {
            return None;
        }
        desk.changes += 1;
        Some(desk)
    }
}

impl<K, V: Clone> Slot<K, V> {
    /// The value for `key`: the one that the slot holds, or else the one that `load` makes, which then takes the
    /// place of what the slot holds.
    ///
    /// For each key, one loader runs at a time; callers on the same key wait for it and get a clone of what it made,
    /// callers on other keys never wait: they load side by side, and who ends last stays. No lock is held while
    /// `load` runs.
    ///
    /// | during the load | then |
    /// |---|---|
    /// | any pair is inserted, this key is removed, or the slot cleared | that wins: the loaded value goes to those who were waiting, and is not admitted |
    /// | `load` panics | the panic goes to its caller; of those who wait, one runs its own loader |
    /// | `load` asks for the same key, itself or through a circle of loaders that wait for each other | [`LoadError::Reentrant`], at once |
    ///
    /// A hit costs what [`get`](Self::get) costs; a miss what the load and an [`insert`](Self::insert) cost.
    ///
    /// # Errors
    ///
    /// [`LoadError::Reentrant`] when waiting would never end.
    ///
    /// ```
    /// use nanotier_engine::{LoadError, Slot};
    ///
    /// let slot: Slot<String, usize> = Slot::new();
    /// assert_eq!(slot.get_or_insert_with("abc", || "abc".len()), Ok(3));
    /// assert_eq!(slot.get_or_insert_with("abc", || unreachable!("it is there")), Ok(3));
    ///
    /// slot.clear();
    /// let inner = slot.get_or_insert_with("abc", || {
    ///     assert_eq!(slot.get_or_insert_with("abc", || 4), Err(LoadError::Reentrant));
    ///     5
    /// });
    /// assert_eq!(inner, Ok(5));
    /// ```
    #[inline]
    pub fn get_or_insert_with<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> Result<V, LoadError>
    where
        Q: Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
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
    /// ```
    /// use nanotier_engine::{LoadError, Slot};
    ///
    /// let slot: Slot<u32, u32> = Slot::new();
    /// assert_eq!(slot.try_get_or_insert_with(&1, || Err("no")), Err(LoadError::Failed("no")));
    /// assert_eq!(slot.try_get_or_insert_with(&1, || Ok::<_, ()>(10)), Ok(10));
    /// ```
    #[inline]
    pub fn try_get_or_insert_with<Q, E>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        match self.get(key) {
            Some(value) => Ok(value),
            None => self.load(key, load),
        }
    }

    #[cold]
    #[inline(never)]
    fn load<Q, E>(&self, key: &Q, load: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
    where
        Q: Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let _leading = Unwaiting::begin();
        let own = Arc::new(Load { key: K::owned_from(key), flight: Flight::new(0, ()) });
        let mut own = Lead { slot: self, load: own, is_listed: false };
        let loaded = self.join_or_lead(key, &mut own, load);
        // Before the result is on its way out: one that is being returned leaks if a key's drop panics then.
        drop(own);
        loaded
    }

    fn join_or_lead<Q, E>(
        &self,
        key: &Q,
        own: &mut Lead<'_, K, V>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        loop {
            let seen = self.look();
            if let Some(value) = self.get(key) {
                return Ok(value);
            }
            if let Some(other) = seen.load_of(key).cloned() {
                drop(seen);
                match other.flight.wait() {
                    Ok(Some(value)) => return Ok(value.clone()),
                    // The load came to nothing: perhaps ours does better.
                    Ok(None) => continue,
                    Err(_) => return Err(LoadError::Reentrant),
                }
            }
            let Some(mut desk) = self.unchanged_since(&seen) else { continue };
            own.is_listed = true;
            desk.loads.push(Arc::clone(&own.load));
            drop(desk);
            drop(seen);
            return self.lead(own, K::owned_from(key), load);
        }
    }

    fn lead<E>(
        &self,
        own: &Lead<'_, K, V>,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>> {
        let value = load().map_err(LoadError::Failed)?;
        let copy = value.clone();
        let pair = Pair { key, value };

        let mut desk = self.desk.lock();
        if own.leave(&mut desk) {
            self.current.put(Some(pair));
            drop(desk);
        } else {
            drop(desk);
            drop(pair);
        }
        // Nobody joins a load that is not listed, so a count of one stays one.
        let is_awaited = Arc::strong_count(&own.load) > 1;
        own.load.flight.settle(is_awaited.then(|| copy.clone()));
        self.current.flush();
        Ok(copy)
    }
}

impl<K, V> Seen<K, V> {
    fn load_of<Q>(&self, key: &Q) -> Option<&Arc<Load<K, V>>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.loads.iter().find(|load| key.equivalent(&load.key))
    }
}

/// The duty of a leader: however the load ends, it leaves the list and those who wait hear of it.
struct Lead<'a, K, V> {
    slot: &'a Slot<K, V>,
    load: Arc<Load<K, V>>,
    /// Until then, or when another was joined instead, there is nothing to end.
    is_listed: bool,
}

impl<K, V> Lead<'_, K, V> {
    /// Takes the load off the list. False if it was overtaken.
    fn leave(&self, desk: &mut Desk<K, V>) -> bool {
        let Some(place) = desk.loads.iter().position(|load| Arc::ptr_eq(load, &self.load)) else {
            return false;
        };
        desk.loads.swap_remove(place);
        desk.changes += 1;
        true
    }
}

impl<K, V> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        if self.is_listed && !self.load.flight.is_settled() {
            self.leave(&mut self.slot.desk.lock());
            self.load.flight.settle(None);
        }
    }
}

impl<K, V> Default for Slot<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Slot<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.read(|pair| match pair {
            Some(Pair { key, value }) => {
                f.debug_struct("Slot").field("key", key).field("value", value).finish()
            }
            None => f.write_str("Slot(empty)"),
        })
    }
}
