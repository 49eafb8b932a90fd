//! The cache, and what is read from it. The order of steps of a miss is in `look.rs`, of a load in `load.rs`,
//! of a write in `write.rs`, and nowhere else.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use nanotier_engine::{Engine, Equivalent, OwnedFrom, Stats, WhatIf};
use nanotier_tier::{
    BoxFuture, Clock, Context, Error, ErrorKind, Freshness, Page, PageRequest, Result, Tier, TierIndex,
};

use crate::below::Below;
use crate::builder::Builder;
use crate::expiry::{Expiry, Resident};
use crate::inflight::InFlight;
use crate::load::{Loader, async_loader, blocking_loader, fallible_blocking_loader, fallible_loader};
use crate::load_error::{Failure, LoadError};
use crate::lookup::{Detailed, Lookup, Source};
use crate::ttl::Lifetimes;
use crate::warm::{Truth, Warm, Warmth};

/// A cache of `V` by `K`: memory first, then whatever tiers lie below it. Clones are handles on the same
/// cache.
///
/// | call | memory holds it fresh | else |
/// |---|---|---|
/// | [`get`](Cache::get) | ready at once | tiers near to far; `None` if nobody has it |
/// | [`get_with`](Cache::get_with) | ready at once | tiers, then the loader, once per key |
/// | [`insert`](Cache::insert), [`remove`](Cache::remove) | | truth first, copies after, memory last |
///
/// A hit allocates nothing. What it costs beyond the engine's own hit is a compare with the coarse clock.
///
/// # When values are dropped
///
/// What leaves memory may still be read by somebody, so it is dropped a little later: when its place is needed again, some
/// insertions after, or by [`flush`](Cache::flush). At most five batches wait in each shard, a batch being a sixteenth of
/// what the shard can hold (16 to 512 entries). Nothing that has left is ever served.
pub struct Cache<K, V>(pub(crate) Arc<Inner<K, V>>);

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) struct Inner<K, V> {
    pub(crate) memory: Engine<K, Resident<V>, Expiry>,
    pub(crate) inflight: InFlight<K, V>,
    pub(crate) below: Option<Below<K, V>>,
    pub(crate) context: Context,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) warm: Option<Warm<K, V>>,
    /// Set where memory is the truth: what is written from then on is not acknowledged.
    pub(crate) closed: AtomicBool,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache in memory alone, of up to `capacity` entries that never expire. Every capacity is fine: with 0 nothing is
    /// kept, and loads still run once per key.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self::builder().capacity(capacity).build().expect("a capacity alone is a configuration that works")
    }

    /// Everything that can be chosen.
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }

    /// The value of `key`: from memory at once, else from the nearest tier that has it fresh, else the
    /// freshest that is usable.
    ///
    /// A stale value is answered as it is; where tiers lie below, a fresher one is looked for behind. `None`
    /// is a miss, not an error.
    ///
    /// # Errors
    ///
    /// Told when awaited: a tier failed and no other, nor memory, had anything usable.
    // Always: what a hit answers then never leaves the registers.
    #[inline(always)]
    pub fn get<'a, Q>(&'a self, key: &'a Q) -> Lookup<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        match self.resident(key) {
            Some((value, Freshness::Fresh)) => Lookup::hit(Some(value)),
            resident => self.get_cold(key, resident),
        }
    }

    /// The value of `key` if memory holds it, and how good it is. Asks nobody, refreshes nothing, never
    /// waits.
    // Always: what a hit answers then never leaves the registers.
    #[inline(always)]
    pub fn resident<Q>(&self, key: &Q) -> Option<(V, Freshness)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let now = self.0.clock().now();
        self.0
            .memory
            .read_if(key, |entry| entry.freshness(now).map(|freshness| (entry.value.clone(), freshness)))
    }

    /// Looks at the value of `key` in memory without cloning it. `None` if memory does not hold it fresh or
    /// stale.
    ///
    /// No lock under the default policy, no allocation. `f` may take its time, and use the cache as it likes: the value lives while it is looked
    /// at, whatever becomes of the entry.
    // Always: what a hit answers then never leaves the registers.
    #[inline(always)]
    pub fn read<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let now = self.0.clock().now();
        self.0.memory.read_if(key, |entry| entry.freshness(now).map(|_| f(&entry.value)))
    }

    #[cold]
    #[inline(never)]
    fn get_cold<Q>(&self, key: &Q, stale: Option<(V, Freshness)>) -> Lookup<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let has_tiers = self.0.below.is_some();
        match stale {
            Some((value, freshness)) => {
                if has_tiers {
                    self.0.look_behind(&K::owned_from(key));
                }
                Lookup::ready(Detailed { value: Some(value), freshness, source: Source::Memory })
            }
            None if has_tiers => {
                let (inner, key) = (self.0.clone(), K::owned_from(key));
                Lookup::below(async move { inner.look(key).await.map_err(Failure::into_error) })
            }
            None => Lookup::ready(Detailed::nowhere(None)),
        }
    }

    /// The value of `key`, loaded by `load` if nobody has it. One load per key in this process, however many
    /// ask.
    ///
    /// The load belongs to the cache: whoever waits for it drives it, and if all leave it goes on by itself.
    /// A stale value is answered at once while `load` runs behind. A write to the key while the load runs
    /// wins over it.
    ///
    /// `load` is a closure, not a future: on a hit it is dropped without having begun. It must be `Send` and
    /// own what it uses, since it may outlive its caller.
    ///
    /// # Errors
    ///
    /// Told when awaited: [`LoaderPanicked`](nanotier_tier::ErrorKind::LoaderPanicked);
    /// [`Reentrant`](nanotier_tier::ErrorKind::Reentrant) if the loader asks for its own key itself (through a task or
    /// thread of its own it waits for itself, for ever);
    /// [`Loader`](nanotier_tier::ErrorKind::Loader) if another caller's fallible load was joined and failed.
    /// A tier that fails is no error here: the loader has the answer.
    #[inline]
    pub fn get_with<'a, Q, F, L>(&'a self, key: &'a Q, load: F) -> Lookup<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = V> + Send + 'static,
    {
        match self.resident(key) {
            Some((value, Freshness::Fresh)) => Lookup::hit(value),
            stale => self.load_cold(key, stale, async_loader(load), Failure::into_error),
        }
    }

    /// [`get_with`](Cache::get_with) for a loader that blocks: it runs on the thread that drives the load,
    /// which is the caller's own if it [waits](Lookup::wait).
    #[inline]
    pub fn get_with_blocking<'a, Q, F>(&'a self, key: &'a Q, load: F) -> Lookup<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> V + Send + 'static,
    {
        match self.resident(key) {
            Some((value, Freshness::Fresh)) => Lookup::hit(value),
            stale => self.load_cold(key, stale, blocking_loader(load), Failure::into_error),
        }
    }

    /// [`get_with`](Cache::get_with) for a loader that can fail. An error is told to all who wait, and kept
    /// nowhere.
    ///
    /// # Errors
    ///
    /// Told when awaited: the loader's own, shared, or those of [`get_with`](Cache::get_with).
    #[inline]
    pub fn try_get_with<'a, Q, F, L, E>(&'a self, key: &'a Q, load: F) -> Lookup<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.resident(key) {
            Some((value, Freshness::Fresh)) => Lookup::hit(value),
            stale => self.load_cold(key, stale, fallible_loader(load), Failure::into_load_error),
        }
    }

    /// [`try_get_with`](Cache::try_get_with) for a loader that blocks.
    #[inline]
    pub fn try_get_with_blocking<'a, Q, F, E>(&'a self, key: &'a Q, load: F) -> Lookup<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> Result<V, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.resident(key) {
            Some((value, Freshness::Fresh)) => Lookup::hit(value),
            stale => self.load_cold(key, stale, fallible_blocking_loader(load), Failure::into_load_error),
        }
    }

    #[cold]
    #[inline(never)]
    fn load_cold<Q, E: Send + 'static>(
        &self,
        key: &Q,
        stale: Option<(V, Freshness)>,
        loader: Loader<V>,
        tell: fn(Failure) -> E,
    ) -> Lookup<V, E>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let (inner, key_owned) = (self.0.clone(), K::owned_from(key));
        if let Some((value, freshness)) = stale {
            self.0.load_behind(&key_owned, loader);
            return Lookup::ready(Detailed { value, freshness, source: Source::Memory });
        }
        Lookup::below(async move { inner.load(key_owned, loader).await.map_err(tell) })
    }

    /// Whether anybody has a usable value of `key`: memory, else the tiers. Moves nothing, and is no use of the entry, nor
    /// counted by [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// Told when awaited: a tier failed and no other, nor memory, had anything usable.
    pub fn contains<'a, Q>(&'a self, key: &'a Q) -> Lookup<bool>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let now = self.0.clock().now();
        let is_resident = self.0.memory.peek_if(key, |entry| entry.freshness(now)).is_some();
        if is_resident || self.0.below.is_none() {
            return Lookup::ready(Detailed::nowhere(is_resident));
        }
        let (inner, key) = (self.0.clone(), K::owned_from(key));
        Lookup::below(async move {
            match inner.peek_below(&key).await {
                Ok(record) => Ok(Detailed::nowhere(record.is_some())),
                Err(_) if inner.fallback(&key).is_some() => Ok(Detailed::nowhere(true)),
                Err(error) => Err(error),
            }
        })
    }

    /// How many entries memory holds, expired ones included that nobody has met yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.memory.len()
    }

    /// True if memory holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.memory.is_empty()
    }

    /// How much memory may hold, in entries.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.0.memory.capacity()
    }

    /// Counts of memory's hits, misses and departures. All zero unless [`Builder::stats`] was asked for. Its `loads` are
    /// those of a bare engine: a cache's loads are not counted yet.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.memory.stats()
    }

    /// The hit ratio that memory would have had at 0.25 to 8 times its capacity, from a sample of its keys, while it works;
    /// as text, a small table. `None` unless [`Builder::what_if`] asked for it, and before anything of the sample was asked
    /// for. [`Engine::what_if`](nanotier_engine::Engine::what_if) says how good it is, what it costs, and how it is made.
    ///
    /// ```
    /// use nanotier::Cache;
    ///
    /// let cache: Cache<u64, u64> = Cache::builder().capacity(100).what_if(true).build()?;
    /// for key in (0..300).cycle().take(50_000) {
    ///     cache.get_with(&key, async move || key * key).wait()?;
    /// }
    /// let what_if = cache.what_if().expect("it was asked for");
    /// println!("{what_if}");
    /// assert!(what_if.hit_ratio_at(400).unwrap() > 0.9);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn what_if(&self) -> Option<WhatIf> {
        self.0.memory.what_if()
    }

    /// Bytes that memory uses for its tables and slots; what keys and values own on the heap is not counted.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.0.memory.memory_used()
    }

    /// Drops the values that have left memory and are not being read. Without this each is dropped soon, but not at once:
    /// see [when values are dropped](Cache#when-values-are-dropped). Costs a barrier, 2 to 3 µs, for each shard that has
    /// something to drop, and the drops.
    ///
    /// ```
    /// use nanotier::Cache;
    /// use std::sync::Arc;
    ///
    /// let value = Arc::new([0_u8; 1000]);
    /// let cache: Cache<u32, Arc<[u8; 1000]>> = Cache::new(100);
    /// cache.insert(1, Arc::clone(&value)).wait()?;
    /// cache.remove(&1).wait()?;
    /// cache.flush();
    /// assert_eq!(Arc::strong_count(&value), 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[doc(alias = "run_pending_tasks")]
    pub fn flush(&self) {
        self.0.memory.flush();
    }

    /// Forgets what memory holds, and keeps what the tiers hold. For tests, and to give memory back.
    pub fn clear_memory(&self) {
        self.0.memory.clear();
    }

    /// The tiers below memory; `None` if there are none.
    #[must_use]
    pub fn tiers(&self) -> Option<&nanotier_tier::AnyTier> {
        self.0.below.as_ref().map(|below| &below.tier)
    }

    /// Lists the keys of this cache's namespace in a tier, as bytes and in their order, a page at a time: for people who look, not for
    /// requests. Keys, sizes and ends are those of the tier; memory may hold what is newer.
    ///
    /// Which tier: the one the request names, counted from the nearest; the truth if it names none. What expired or was removed is not listed.
    ///
    /// # Errors
    ///
    /// Told when awaited: [`ErrorKind::Unsupported`] if the tier cannot list or there is none (memory is not listed: its keys are yours, not
    /// bytes); [`ErrorKind::Config`] for a tier that is not there.
    ///
    /// ```
    /// # use nanotier::{Cache, Inline, Json, MemoryStore, PageRequest};
    /// let cache: Cache<String, u32> = Cache::builder().namespace("users").codec(Json::default()).tiers(Inline(MemoryStore::new())).build()?;
    /// cache.insert("anna".to_owned(), 1).wait()?;
    /// cache.insert("bert".to_owned(), 2).wait()?;
    /// let page = cache.list(PageRequest { prefix: b"an".to_vec(), ..PageRequest::default() }).wait()?;
    /// assert_eq!(page.entries[0].key, b"anna");
    /// assert_eq!(page.next, None, "the last page");
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn list(&self, request: PageRequest) -> Lookup<Page> {
        let below = self.0.below.as_ref().map(|below| (below.tier.clone(), below.namespace.clone()));
        Lookup::below(async move {
            let refused = |kind, why: &'static str| Error::new(kind, "cache", "list").with_detail(why);
            let Some((tier, namespace)) = below else {
                return Err(refused(
                    ErrorKind::Unsupported,
                    "there is no tier below memory, and memory is not listed",
                ));
            };
            if request.tier.is_some_and(|TierIndex(index)| index >= tier.depth()) {
                return Err(refused(
                    ErrorKind::Config,
                    "there is no such tier: they count from 0, the nearest",
                ));
            }
            tier.list(&namespace, &request).await.map(Detailed::nowhere)
        })
    }

    /// Whether the tiers can be used now. Always, without tiers.
    ///
    /// # Errors
    ///
    /// Told when awaited: why not.
    pub fn ready(&self) -> Lookup<()> {
        self.on_tiers(|tier| Box::pin(async move { tier.ready().await }))
    }

    /// What the warm restart came to; `None` unless [`Builder::warm_restart`] asked for one.
    #[must_use]
    pub fn warmth(&self) -> Option<&Warmth> {
        self.0.warm.as_ref().map(|warm| &warm.warmth)
    }

    /// Writes what is pending and lets go of files and connections; then, as its last act, writes the warm file, if
    /// [`Builder::warm_restart`] asked for one. Memory goes on serving what it holds. Writes answer
    /// [`ErrorKind::Closed`](nanotier_tier::ErrorKind::Closed) from the call on, also without tiers; one that overlaps it may be done nevertheless.
    ///
    /// Closing twice is closing once, and answers the same. It goes on if the lookup is dropped. Writing the warm file blocks
    /// the thread that drives it, for some seconds for each million small entries.
    ///
    /// # Errors
    ///
    /// Told when awaited: what could not be written, to the tiers or to the warm file. If the tiers could not be closed
    /// there is no warm file. [`ErrorKind::InUse`](nanotier_tier::ErrorKind::InUse) if another run has begun that uses the same warm file:
    /// it belongs to that one.
    pub fn close(&self) -> Lookup<()> {
        let inner = &self.0;
        if inner.below.is_none() {
            inner.closed.store(true, SeqCst);
            if inner.warm.is_none() {
                return Lookup::ready(Detailed::nowhere(()));
            }
        }
        let inner = inner.clone();
        self.finish(|_| async move { inner.close().await.map(Detailed::nowhere) })
    }

    fn on_tiers(&self, call: fn(nanotier_tier::AnyTier) -> BoxFuture<'static, Result<()>>) -> Lookup<()> {
        match &self.0.below {
            None => Lookup::ready(Detailed::nowhere(())),
            Some(below) => {
                let tier = below.tier.clone();
                Lookup::below(async move { call(tier).await.map(Detailed::nowhere) })
            }
        }
    }
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.context.clock
    }

    async fn close(&self) -> Result<()> {
        let mut truth = Truth::Memory;
        if let Some(below) = &self.below {
            let closed = below.tier.close().await;
            if let (Err(error), Some(warm)) = (&closed, &self.warm) {
                warm.give_up(error);
            }
            closed?;
            // Afterwards: nothing changes the tiers any more.
            truth = Truth::of(&below.tier);
        }
        match &self.warm {
            Some(warm) => warm.save(self, truth),
            None => Ok(()),
        }
    }

    /// A write where memory is the truth. One that overlaps the closing is not acknowledged, since the warm file may have
    /// been written before it.
    pub(crate) fn while_open<R>(&self, write: impl FnOnce() -> R) -> Result<R> {
        let closed = || Err(Error::new(ErrorKind::Closed, "cache", "write"));
        if self.closed.load(SeqCst) {
            return closed();
        }
        let answer = write();
        if self.closed.load(SeqCst) { closed() } else { Ok(answer) }
    }
}

impl<K, V> fmt::Debug for Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("tiers", &self.tiers())
            .finish_non_exhaustive()
    }
}
