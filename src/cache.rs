//! The cache, and what is read from it. The order of steps of a miss is in `look.rs`, of a load in `load.rs`,
//! of a write in `write.rs`, and nowhere else.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use nanotier_engine::{Engine, Equivalent, OwnedFrom, Stats, WhatIf};
use nanotier_tier::{
    BoxFuture, Clock, Context, Error, ErrorKind, Freshness, Moment, Operation, Page, PageRequest, Result,
    Tier, TierIndex,
};

use crate::below::Below;
use crate::builder::Builder;
use crate::dice::Dice;
use crate::expiry::{Expiry, Good, Resident};
use crate::inflight::InFlight;
use crate::load_error::Failure;
use crate::lookup::{Detailed, Lookup, Source};
use crate::negative::Negatives;
use crate::options::Options;
use crate::permits::Permits;
use crate::warm::{Truth, Warm, Warmth};
use crate::watch::{End, Watch};

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
pub struct Cache<K, V>(pub(crate) Arc<Inner<K, V>>, pub(crate) Handle<K, V>);

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1.clone())
    }
}

/// What a handle says of its calls.
pub(crate) struct Handle<K, V> {
    pub(crate) options: Arc<Options<K, V>>,
    /// Whether a hit has to look at the options, or at when the entry was used, or has to be told: here, where it costs a hit
    /// one byte.
    is_odd: bool,
    /// Whether hits are told to an observer.
    is_observed: bool,
}

impl<K, V> Clone for Handle<K, V> {
    fn clone(&self) -> Self {
        Self { options: self.options.clone(), is_odd: self.is_odd, is_observed: self.is_observed }
    }
}

impl<K, V> Handle<K, V> {
    pub(crate) fn new(options: Arc<Options<K, V>>, is_observed: bool) -> Self {
        let is_odd = is_observed || options.bypass || options.time_to_idle.is_some();
        Self { options, is_odd, is_observed }
    }

    /// What an entry is good for to this handle, if that sees it at all; if so it is used now.
    #[inline(never)]
    fn sees(&self, entry: &Resident<V>, now: Moment, good: Good) -> Option<Good> {
        if self.options.bypass || entry.is_idle(now) {
            return None;
        }
        entry.used(now);
        Some(if self.is_observed && good == Good::Fresh { Good::Told } else { good })
    }
}

pub(crate) struct Inner<K, V> {
    pub(crate) memory: Engine<K, Resident<V>, Expiry>,
    pub(crate) inflight: InFlight<K, V>,
    pub(crate) below: Option<Below<K, V>>,
    pub(crate) context: Context,
    /// What the cache says where no call has options of its own.
    pub(crate) options: Arc<Options<K, V>>,
    pub(crate) dice: Dice,
    /// A load's deadline is never later: half of what the truth remembers removals for (rule O4).
    pub(crate) deadline_max: Duration,
    /// How many loads may run at once, if there is a limit.
    pub(crate) permits: Option<Arc<Permits>>,
    /// What loaders said of keys that have no value, if that is to be remembered.
    pub(crate) negatives: Option<Negatives<K>>,
    pub(crate) close_within: Duration,
    /// Who is told of calls, and what is counted.
    pub(crate) watch: Watch<K>,
    pub(crate) warm: Option<Warm<K, V>>,
    /// From then on no load begins and, where memory is the truth, no write is acknowledged.
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
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(Some(value)),
            near => self.get_cold(key, near),
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
        self.look_near(key, |value, good| (value.clone(), good.freshness()))
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
        self.look_near(key, |value, _| f(value))
    }

    #[inline(always)]
    pub(crate) fn near<Q>(&self, key: &Q) -> Option<(V, Good)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look_near(key, |value, good| (value.clone(), good))
    }

    /// The one way into memory of all that reads for use.
    #[inline(always)]
    fn look_near<Q, R>(&self, key: &Q, f: impl FnOnce(&V, Good) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let now = self.0.clock().now();
        self.0.memory.read_if(key, |entry| {
            let mut good = entry.state(now, &self.1.options).good()?;
            if self.1.is_odd {
                good = self.1.sees(entry, now, good)?;
            }
            Some(f(&entry.value, good))
        })
    }

    #[cold]
    #[inline(never)]
    fn get_cold<Q>(&self, key: &Q, near: Option<(V, Good)>) -> Lookup<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let has_tiers = self.0.below.is_some();
        let watch = &self.0.watch;
        let shown = || watch.shown(|| K::owned_from(key));
        match near {
            Some((value, good)) => {
                watch.answered(Operation::Get, shown().as_deref(), End::in_memory(good.freshness()));
                if has_tiers && good == Good::Stale {
                    self.0.look_behind(&K::owned_from(key));
                }
                Lookup::ready(Detailed {
                    value: Some(value),
                    freshness: good.freshness(),
                    source: Source::Memory,
                })
            }
            None if has_tiers && !self.1.options.bypass => {
                let call = watch.begin(Operation::Get, shown());
                let (inner, key) = (self.0.clone(), K::owned_from(key));
                Lookup::below(async move {
                    let mut joined = false;
                    let outcome = inner.look(key, &mut joined).await;
                    call.end(|| End::found(&outcome, joined, Option::is_some));
                    outcome.map_err(Failure::into_error)
                })
            }
            None => {
                watch.answered(Operation::Get, shown().as_deref(), End::hit_or_miss(false));
                Lookup::ready(Detailed::nowhere(None))
            }
        }
    }

    /// A handle on this same cache whose calls have other options: `change` gets those of this handle. Entries, tiers and loads under way
    /// are shared; who joins a load gets it as it was begun.
    ///
    /// Costs an allocation: make it once and keep it.
    ///
    /// ```
    /// use nanotier::Cache;
    /// use std::time::Duration;
    ///
    /// let cache: Cache<String, u32> = Cache::builder().ttl(Duration::from_secs(60)).build()?;
    /// let brief = cache.with(|options| options.ttl(Duration::from_secs(1)))?;
    /// brief.insert("code".to_owned(), 4711).wait()?;
    /// assert_eq!(cache.get("code").wait()?, Some(4711), "one cache, for a second");
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`]: the options contradict each other, or change what belongs to the cache as a whole.
    pub fn with(&self, change: impl FnOnce(Options<K, V>) -> Options<K, V>) -> Result<Self> {
        let options = change((*self.1.options).clone());
        options.judge()?;
        let ours = &self.0.options;
        if (options.time_to_idle, options.loads_max) != (ours.time_to_idle, ours.loads_max) {
            return Err(Error::new(ErrorKind::Config, "cache", "with")
                .with_detail("`time_to_idle` and `loads_max` are the cache's: say them to its builder"));
        }
        let remembers =
            |options: &Options<K, V>| options.negative_ttl.is_some() || options.error_ttl.is_some();
        if remembers(&options) && !remembers(ours) {
            return Err(Error::new(ErrorKind::Config, "cache", "with").with_detail(
                "a `negative_ttl` or `error_ttl` needs one of the cache's, said to its builder: it has no room for them yet",
            ));
        }
        Ok(Self(self.0.clone(), Handle::new(Arc::new(options), self.1.is_observed)))
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
        let watch = &self.0.watch;
        let shown = watch.shown(|| K::owned_from(key));
        self.is_anywhere(key)
            .told(watch, Operation::Contains, 1, shown, |is_there| End::hit_or_miss(*is_there))
    }

    fn is_anywhere<Q>(&self, key: &Q) -> Lookup<bool>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let is_resident = self.peek_near(key, |_, _| ()).is_some();
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

    /// Looks at what a read would be answered from memory, without using it.
    pub(crate) fn peek_near<Q, R>(&self, key: &Q, f: impl FnOnce(&Resident<V>, Moment) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let now = self.0.clock().now();
        self.0.memory.peek_if(key, |entry| {
            entry.state(now, &self.1.options).good()?;
            let is_seen = !self.1.options.bypass && !entry.is_idle(now);
            is_seen.then(|| f(entry, now))
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

    /// Counts of memory's hits, misses and departures, and of loads. All zero unless [`Builder::stats`] was asked for;
    /// [`metrics`](Self::metrics) has more.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.memory.stats();
        stats.loads = self.0.watch.loads().took.count;
        stats
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

    /// Waits for the loads under way, writes what is pending and lets go of files and connections; then, as its last act, writes the warm file, if
    /// [`Builder::warm_restart`] asked for one. Memory goes on serving what it holds. Writes and loads answer
    /// [`ErrorKind::Closed`](nanotier_tier::ErrorKind::Closed) from the call on, also without tiers; one that overlaps it may be done nevertheless.
    /// A load that takes longer than [`Builder::close_within`] is ended, and who waits for it is told `Closed`.
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
        inner.closed.store(true, SeqCst);
        if inner.below.is_none() && inner.warm.is_none() && inner.inflight.is_idle() {
            return Lookup::ready(Detailed::nowhere(()));
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
        self.end_loads().await;
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

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
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
