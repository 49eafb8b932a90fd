//! The cache: the order of steps of a read and of a load. The order of a write is in `write.rs`.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use nanotier_engine::{Engine, Equivalent, Stats};
use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::sync::schedule_point;
use nanotier_tier::{
    BoxFuture, Clock, Context, Error, Event, Found, Freshness, Intent, Record, Result, Seen, Tier, Timestamp,
    Version, Write, Wrote,
};

use crate::below::Below;
use crate::builder::Builder;
use crate::expiry::{Expiry, Resident, State};
use crate::flight::{self, Flight, Orphan, Outcome};
use crate::inflight::InFlight;
use crate::load::{Failure, LoadError};
use crate::lookup::{Detailed, Lookup, Source};
use crate::owned::OwnedFrom;
use crate::ttl::{Lifetimes, Ttl};

/// A cache of `V` by `K`: memory first, then whatever tiers lie below it. Clones are handles on the same cache.
///
/// | call | memory holds it fresh | else |
/// |---|---|---|
/// | [`get`](Cache::get) | ready at once | tiers near to far; `None` if nobody has it |
/// | [`get_with`](Cache::get_with) | ready at once | tiers, then the loader, once per key |
/// | [`insert`](Cache::insert), [`remove`](Cache::remove) | | truth first, copies after, memory last |
///
/// A hit allocates nothing. What it costs beyond the engine's own hit is a compare with the coarse clock.
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
}

/// A loader as it travels: boxed once, on a miss.
pub(crate) type Loader<V> = Box<dyn FnOnce() -> BoxFuture<'static, Result<V, Failure>> + Send>;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache in memory alone, of up to `capacity` entries that never expire.
    ///
    /// # Panics
    ///
    /// Never: every capacity is fine. With 0 nothing is kept, and loads still run once per key.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self::builder().capacity(capacity).build().expect("a capacity alone is a configuration that works")
    }

    /// Everything that can be chosen.
    #[must_use]
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }

    /// The value of `key`: from memory at once, else from the nearest tier that has it fresh, else the freshest that is usable.
    ///
    /// A stale value is answered as it is; where tiers lie below, a fresher one is looked for behind. `None` is a miss, not an error.
    ///
    /// # Errors
    ///
    /// Told when awaited: a tier failed and no other, nor memory, had anything usable.
    #[inline]
    pub fn get<'a, Q>(&'a self, key: &'a Q) -> Lookup<'a, Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        match self.resident(key) {
            Some((value, Freshness::Fresh)) => Lookup::ready(Detailed {
                value: Some(value),
                freshness: Freshness::Fresh,
                source: Source::Memory,
            }),
            resident => self.get_cold(key, resident),
        }
    }

    /// The value of `key` if memory holds it, and how good it is. Asks nobody, refreshes nothing, never waits.
    #[inline]
    pub fn resident<Q>(&self, key: &Q) -> Option<(V, Freshness)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let now = self.0.clock().now();
        self.0
            .memory
            .read(key, |entry| entry.freshness(now).map(|freshness| (entry.value.clone(), freshness)))?
    }

    /// Looks at the value of `key` in memory without cloning it. `None` if memory does not hold it fresh or stale.
    ///
    /// `f` runs under the entry's protection: keep it short, and do not write to the same cache from it.
    #[inline]
    pub fn read<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let now = self.0.clock().now();
        self.0.memory.read(key, |entry| entry.freshness(now).map(|_| f(&entry.value)))?
    }

    #[cold]
    #[inline(never)]
    fn get_cold<Q>(&self, key: &Q, stale: Option<(V, Freshness)>) -> Lookup<'_, Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let has_tiers = self.0.below.is_some();
        match stale {
            Some((value, freshness)) => {
                if has_tiers {
                    self.0.look_behind(K::owned_from(key));
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

    /// The value of `key`, loaded by `load` if nobody has it. One load per key in this process, however many ask.
    ///
    /// The load belongs to the cache: whoever waits for it drives it, and if all leave it goes on by itself. A stale value is answered at
    /// once while `load` runs behind. A write to the key while the load runs wins over it.
    ///
    /// `load` is a closure, not a future: on a hit it is dropped without having begun. It must be `Send` and own what it uses,
    /// since it may outlive its caller.
    ///
    /// # Errors
    ///
    /// Told when awaited: [`LoaderPanicked`](nanotier_tier::ErrorKind::LoaderPanicked);
    /// [`Reentrant`](nanotier_tier::ErrorKind::Reentrant) if the loader asks for its own key;
    /// [`Loader`](nanotier_tier::ErrorKind::Loader) if another caller's fallible load was joined and failed. A tier that fails is no error here: the loader has the
    /// answer.
    #[inline]
    pub fn get_with<'a, Q, F, L>(&'a self, key: &'a Q, load: F) -> Lookup<'a, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = V> + Send + 'static,
    {
        match self.hit(key) {
            Some(ready) => ready,
            None => self.load_cold(key, async_loader(load), Failure::into_error),
        }
    }

    /// [`get_with`](Cache::get_with) for a loader that blocks: it runs on the thread that drives the load, which is the caller's own if it
    /// [waits](Lookup::wait).
    #[inline]
    pub fn get_with_blocking<'a, Q, F>(&'a self, key: &'a Q, load: F) -> Lookup<'a, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> V + Send + 'static,
    {
        match self.hit(key) {
            Some(ready) => ready,
            None => self.load_cold(key, blocking_loader(load), Failure::into_error),
        }
    }

    /// [`get_with`](Cache::get_with) for a loader that can fail. An error is told to all who wait, and kept nowhere.
    ///
    /// # Errors
    ///
    /// Told when awaited: the loader's own, shared, or those of [`get_with`](Cache::get_with).
    #[inline]
    pub fn try_get_with<'a, Q, F, L, E>(&'a self, key: &'a Q, load: F) -> Lookup<'a, V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.hit(key) {
            Some(ready) => ready,
            None => self.load_cold(key, fallible_loader(load), Failure::into_load_error),
        }
    }

    /// [`try_get_with`](Cache::try_get_with) for a loader that blocks.
    #[inline]
    pub fn try_get_with_blocking<'a, Q, F, E>(&'a self, key: &'a Q, load: F) -> Lookup<'a, V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> Result<V, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.hit(key) {
            Some(ready) => ready,
            None => self.load_cold(key, fallible_blocking_loader(load), Failure::into_load_error),
        }
    }

    /// A fresh value in memory, as a finished lookup of any kind.
    #[inline]
    fn hit<'a, Q, E>(&'a self, key: &Q) -> Option<Lookup<'a, V, E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.resident(key) {
            Some((value, Freshness::Fresh)) => {
                Some(Lookup::ready(Detailed { value, freshness: Freshness::Fresh, source: Source::Memory }))
            }
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn load_cold<Q, E: Send + 'static>(
        &self,
        key: &Q,
        loader: Loader<V>,
        tell: fn(Failure) -> E,
    ) -> Lookup<'_, V, E>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let (inner, key_owned) = (self.0.clone(), K::owned_from(key));
        if let Some((value, freshness)) = self.resident(key) {
            self.0.load_behind(key_owned, loader);
            return Lookup::ready(Detailed { value, freshness, source: Source::Memory });
        }
        Lookup::below(async move { inner.load(key_owned, loader).await.map_err(tell) })
    }

    /// Whether anybody has a usable value of `key`: memory, else the tiers. Moves nothing.
    pub fn contains<'a, Q>(&'a self, key: &'a Q) -> Lookup<'a, bool>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        if self.resident(key).is_some() || self.0.below.is_none() {
            return Lookup::ready(Detailed::nowhere(self.resident(key).is_some()));
        }
        let (inner, key) = (self.0.clone(), K::owned_from(key));
        Lookup::below(async move {
            let Some(below) = &inner.below else { return Ok(Detailed::nowhere(false)) };
            let found = below.tier.read_one(&below.path(&key)?, Intent::Look).await?;
            Ok(Detailed::nowhere(found.usable(inner.clock().wall()).is_some()))
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

    /// Counts of memory's hits, misses and departures. All zero unless [`Builder::stats`] was asked for.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.memory.stats()
    }

    /// Bytes that memory uses for its tables and slots; what keys and values own on the heap is not counted.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.0.memory.memory_used()
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

    /// Whether the tiers can be used now. Always, without tiers.
    ///
    /// # Errors
    ///
    /// Told when awaited: why not.
    pub fn ready(&self) -> Lookup<'_, ()> {
        self.on_tiers(|tier| Box::pin(async move { tier.ready().await }))
    }

    /// Writes what is pending and lets go of files and connections. Memory goes on serving what it holds.
    ///
    /// # Errors
    ///
    /// Told when awaited: what could not be written.
    pub fn close(&self) -> Lookup<'_, ()> {
        self.on_tiers(|tier| Box::pin(async move { tier.close().await }))
    }

    fn on_tiers(&self, call: fn(nanotier_tier::AnyTier) -> BoxFuture<'static, Result<()>>) -> Lookup<'_, ()> {
        match &self.0.below {
            None => Lookup::ready(Detailed::nowhere(())),
            Some(below) => {
                let tier = below.tier.clone();
                Lookup::below(async move { call(tier).await.map(Detailed::nowhere) })
            }
        }
    }
}

fn async_loader<V, F, L>(load: F) -> Loader<V>
where
    F: FnOnce() -> L + Send + 'static,
    L: Future<Output = V> + Send + 'static,
{
    Box::new(|| Box::pin(async { Ok(load().await) }))
}

fn blocking_loader<V: Send + 'static, F>(load: F) -> Loader<V>
where
    F: FnOnce() -> V + Send + 'static,
{
    Box::new(|| Box::pin(async { Ok(load()) }))
}

fn fallible_loader<V, F, L, E>(load: F) -> Loader<V>
where
    F: FnOnce() -> L + Send + 'static,
    L: Future<Output = Result<V, E>> + Send + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    Box::new(|| Box::pin(async { load().await.map_err(Failure::of_loader) }))
}

fn fallible_blocking_loader<V: Send + 'static, F, E>(load: F) -> Loader<V>
where
    F: FnOnce() -> Result<V, E> + Send + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    Box::new(|| Box::pin(async { load().map_err(Failure::of_loader) }))
}

/// A flight's right to admit what it brings, and its duty to leave.
pub(crate) struct Ticket<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) inner: Arc<Inner<K, V>>,
    pub(crate) key: K,
    /// The flight; `None` for a writer.
    pub(crate) flight: Option<u64>,
}

impl<K, V> Drop for Ticket<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.inner.inflight.leave(&self.key, self.flight);
    }
}

impl<K, V> Ticket<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Puts an entry into memory unless a newer write forbids it. The check and the insert are one step.
    pub(crate) fn admit(&self, entry: Resident<V>) -> bool {
        let (inner, version) = (&*self.inner, entry.version);
        let admitted = inner.memory.insert_if(self.key.clone(), entry, |resident| {
            let newest = resident.is_none_or(|resident| resident.version <= version);
            newest && inner.inflight.admits(&self.key, self.flight, version)
        });
        admitted.is_some()
    }
}

/// What a look below memory came to.
enum Looked<V> {
    Usable(Detailed<V>),
    Nothing { seen: Option<Seen>, read_at: Timestamp },
    Failed(Error),
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

    fn ticket(self: &Arc<Self>, key: &K, flight: u64) -> Ticket<K, V> {
        Ticket { inner: self.clone(), key: key.clone(), flight: Some(flight) }
    }

    /// Looks below memory, together with whoever else looks for the same key.
    pub(crate) async fn look(self: Arc<Self>, key: K) -> Outcome<Option<V>> {
        loop {
            let flight = self.inflight.look(&key, || {
                let id = flight::next_id();
                let ticket = self.ticket(&key, id);
                Flight::new(id, Orphan::IsDropped, Box::pin(look_flight(ticket)))
            });
            schedule_point();
            match flight.join(&self.context) {
                Some(waiter) => return waiter.await,
                None => self.inflight.forget_look(&key, flight.id()),
            }
        }
    }

    /// Loads a key, together with whoever else loads it.
    pub(crate) async fn load(self: Arc<Self>, key: K, loader: Loader<V>) -> Outcome<V> {
        let flight = self.load_flight(&key, loader);
        schedule_point();
        // A load is never abandoned: it goes on without anyone.
        match flight.join(&self.context) {
            Some(waiter) => waiter.await,
            None => Err(Failure::Cache(Error::new(nanotier_tier::ErrorKind::Closed, "cache", "load"))),
        }
    }

    fn load_flight(self: &Arc<Self>, key: &K, loader: Loader<V>) -> Arc<Flight<V>> {
        self.inflight.load(key, || {
            let id = flight::next_id();
            let ticket = self.ticket(key, id);
            Flight::new(id, Orphan::GoesOn, Box::pin(load_flight(ticket, loader)))
        })
    }

    /// Starts a look that nobody waits for, unless one is under way.
    fn look_behind(self: &Arc<Self>, key: K) {
        if self.inflight.is_looking(&key) {
            return;
        }
        let inner = self.clone();
        // Nobody waits; a tier that fails has told the observer.
        self.context.spawn(Box::pin(async move { drop(inner.look(key).await) }));
    }

    /// Starts a load that nobody waits for, unless one is under way.
    pub(crate) fn load_behind(self: &Arc<Self>, key: K, loader: Loader<V>) {
        if self.inflight.is_loading(&key) {
            return;
        }
        let flight = self.load_flight(&key, loader);
        if let Some(waiter) = flight.join(&self.context) {
            waiter.spawn();
        }
    }

    /// What memory still has that is better than an error: usable, though the truth could not confirm it.
    pub(crate) fn fallback(&self, key: &K) -> Option<Detailed<V>> {
        let now = self.clock().now();
        let value = self
            .memory
            .read(key, |entry| (entry.state(now) != State::Gone).then(|| entry.value.clone()))??;
        Some(Detailed { value, freshness: Freshness::Stale, source: Source::Memory })
    }
}

async fn look_flight<K, V>(ticket: Ticket<K, V>) -> Outcome<Option<V>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    match look_below(&ticket, Intent::Look).await {
        Looked::Usable(detailed) => Ok(detailed.map(Some)),
        Looked::Nothing { .. } => Ok(Detailed::nowhere(None)),
        Looked::Failed(error) => match ticket.inner.fallback(&ticket.key) {
            Some(detailed) => Ok(detailed.map(Some)),
            None => Err(Failure::Cache(error)),
        },
    }
}

async fn load_flight<K, V>(ticket: Ticket<K, V>, loader: Loader<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    inner.clock().catch_up();
    let (seen, read_at) = match look_below(&ticket, Intent::Load).await {
        Looked::Usable(detailed) => {
            if detailed.freshness == Freshness::Stale {
                let (inner, key) = (inner.clone(), ticket.key.clone());
                // This flight ends with the stale value; the next one brings the new.
                drop(ticket);
                inner.refresh_behind(key, loader);
            }
            return Ok(detailed);
        }
        Looked::Nothing { seen, read_at } => (seen, read_at),
        Looked::Failed(_) => match inner.fallback(&ticket.key) {
            Some(detailed) => return Ok(detailed),
            None => (None, inner.clock().wall()),
        },
    };
    schedule_point();
    // Drawn before the load: the value is as old as that.
    let version = if inner.below.is_some() { inner.context.versions.draw() } else { Version::ZERO };
    let begun = inner.clock().now();
    let value = loader().await?;
    schedule_point();
    let load_cost = inner.clock().now().since(begun);
    fill(&ticket, &value, Filling { version, seen, read_at, load_cost }).await;
    Ok(Detailed { value, freshness: Freshness::Fresh, source: Source::Loader })
}

/// What a fill has to know of the load that it ends.
struct Filling {
    version: Version,
    /// What the truth showed before; `None` if it could not be asked.
    seen: Option<Seen>,
    read_at: Timestamp,
    load_cost: std::time::Duration,
}

/// A loaded value goes to the truth, and only if that took it, to memory. A truth that is down leaves it in memory for a short time.
async fn fill<K, V>(ticket: &Ticket<K, V>, value: &V, filling: Filling)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let now = inner.clock().wall();
    let admit = |deadlines, recheck| {
        let entry = Resident::admitted(value.clone(), deadlines, now, filling.version, inner.clock());
        ticket.admit(entry.rechecked(filling.read_at, recheck, inner.clock()));
    };
    let Some(below) = &inner.below else { return admit(inner.lifetimes.deadlines(Ttl::Default, now), None) };
    let deadlines = inner.lifetimes.deadlines(Ttl::Default, now);
    let degraded = || admit(inner.lifetimes.degraded(Ttl::Default, now), below.recheck);
    let Some(seen) = filling.seen else { return degraded() };
    // A value that has no encoding is still an answer, and still worth keeping for a moment.
    let (Ok(path), Ok(record)) =
        (below.path(&ticket.key), below.record(value, deadlines, filling.version, now))
    else {
        return degraded();
    };
    let record = Record { confirmed_at: filling.read_at, load_cost: filling.load_cost, ..record };
    match below.tier.write_one(&Write::fill(path, &record, seen, filling.read_at)).await {
        Ok(Wrote::Done) => {
            schedule_point();
            admit(deadlines, below.recheck);
        }
        // Somebody wrote meanwhile: who waited gets the value once, and it is kept nowhere (O3).
        Ok(Wrote::Older(_) | Wrote::Changed | Wrote::TooLate) => {
            if !is_on(Rule::O3) {
                admit(deadlines, below.recheck);
            }
        }
        Err(_) => degraded(),
    }
}

/// Asks the tiers, admits what they have to memory, and has it promoted.
async fn look_below<K, V>(ticket: &Ticket<K, V>, intent: Intent) -> Looked<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let read_at = inner.clock().wall();
    let Some(below) = &inner.below else { return Looked::Nothing { seen: None, read_at } };
    let path = match below.path(&ticket.key) {
        Ok(path) => path,
        Err(error) => return Looked::Failed(error),
    };
    // Whatever memory holds that was written before this is outdated if the truth has nothing.
    let asked_at = inner.context.versions.draw();
    let mut intent = intent;
    loop {
        let found = match below.tier.read_one(&path, intent).await {
            Ok(found) => found,
            Err(error) => return Looked::Failed(error),
        };
        schedule_point();
        let (seen, read_at) = (found.seen, found.read_at);
        match take_in(ticket, below, found) {
            Taken::Usable(detailed) => return Looked::Usable(detailed),
            Taken::Nothing => {
                if seen.is_some() && is_on(Rule::O8) {
                    inner.memory.remove_if(&ticket.key, |entry| entry.version < asked_at);
                }
                return Looked::Nothing { seen, read_at };
            }
            Taken::Unreadable { in_truth: false } if intent != Intent::Confirm => intent = Intent::Confirm,
            Taken::Unreadable { .. } => {
                // Removed if unchanged, so that the next reader need not meet it. The loader, if there is one, sees what the burial left.
                inner.bury(below, &path, seen, read_at).await;
                intent = Intent::Confirm;
                match below.tier.read_one(&path, intent).await {
                    Ok(found) if found.usable(inner.clock().wall()).is_none() => {
                        return Looked::Nothing { seen: found.seen, read_at: found.read_at };
                    }
                    Ok(_) => return Looked::Nothing { seen: None, read_at },
                    Err(error) => return Looked::Failed(error),
                }
            }
        }
    }
}

/// What became of an answer of the tiers.
enum Taken<V> {
    Usable(Detailed<V>),
    Nothing,
    Unreadable { in_truth: bool },
}

/// Decodes what was found, admits it, then has it promoted: what does not decode goes nowhere.
fn take_in<K, V>(ticket: &Ticket<K, V>, below: &Below<K, V>, found: Found) -> Taken<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    if let Some(version) = found.entry.version() {
        inner.context.versions.saw(version);
    }
    let now = inner.clock().wall();
    let Some(record) = found.usable(now) else { return Taken::Nothing };
    if !is_on(Rule::DecodeBeforePromote) {
        promote(ticket, &found);
    }
    let value = match below.decode(record) {
        Ok(value) => value,
        Err(_) => {
            inner.context.tell(&Event::RecordUnreadable { tier: below.tier.name() });
            return Taken::Unreadable { in_truth: below.is_truth(found.from) };
        }
    };
    let trusted = found.trusted || !is_on(Rule::O7);
    let freshness = if trusted { record.freshness(now) } else { Freshness::Stale };
    let entry =
        Resident::admitted(value.clone(), record.deadlines, record.written_at, record.version, inner.clock())
            .rechecked(confirmed_at(&found, record), below.recheck, inner.clock());
    // An untrusted copy is answered but not kept: the next reader asks again.
    if trusted {
        ticket.admit(entry);
    }
    if is_on(Rule::DecodeBeforePromote) {
        promote(ticket, &found);
    }
    Taken::Usable(Detailed { value, freshness, source: Source::Tier(found.from) })
}

/// The same for one of a batch: what does not decode is a miss, left to the next single read to mend.
pub(crate) fn take_in_batch<K, V>(ticket: &Ticket<K, V>, below: &Below<K, V>, found: Found) -> Option<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    match take_in(ticket, below, found) {
        Taken::Usable(detailed) => Some(detailed.value),
        Taken::Nothing | Taken::Unreadable { .. } => None,
    }
}

/// Since when a record counts as confirmed: just now, if the truth itself answered.
fn confirmed_at(found: &Found, record: &Record) -> Timestamp {
    if found.seen.is_some() { found.read_at } else { record.confirmed_at }
}

/// Copies a record found further out into the nearer tiers, off the reader's path.
fn promote<K, V>(ticket: &Ticket<K, V>, found: &Found)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if found.from.0 == 0 {
        return;
    }
    let (inner, key, found) = (ticket.inner.clone(), ticket.key.clone(), found.clone());
    ticket.inner.context.spawn(Box::pin(async move {
        let Some(below) = &inner.below else { return };
        if let Ok(path) = below.path(&key) {
            // A copy that failed costs a slower next read, nothing else.
            let _ = below.tier.promote(&path, &found).await;
        }
    }));
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Removes an unreadable record, if it is still the one that was read.
    async fn bury(
        &self,
        below: &Below<K, V>,
        path: &nanotier_tier::Path<'_>,
        seen: Option<Seen>,
        read_at: Timestamp,
    ) {
        let Some(seen) = seen else { return };
        let version = self.context.versions.draw();
        let guard = nanotier_tier::Guard::Unchanged(seen);
        let write = Write { guard, ..Write::remove(path.borrowed(), version, read_at) };
        // Whatever it answers: the reader has a miss, and the next one tries again.
        let _ = below.tier.write_one(&write).await;
    }

    /// A load after a stale record was found below: it goes past the look, since the truth is asked by its own read.
    fn refresh_behind(self: &Arc<Self>, key: K, loader: Loader<V>) {
        let flight = self.inflight.load(&key, || {
            let id = flight::next_id();
            let ticket = self.ticket(&key, id);
            Flight::new(id, Orphan::GoesOn, Box::pin(refresh_flight(ticket, loader)))
        });
        if let Some(waiter) = flight.join(&self.context) {
            waiter.spawn();
        }
    }
}

/// Loads anew though something usable is there: the truth is asked what it holds, so that the fill can be guarded by it.
async fn refresh_flight<K, V>(ticket: Ticket<K, V>, loader: Loader<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let mut read_at = inner.clock().wall();
    let mut seen = None;
    if let Some(below) = &inner.below {
        if let Ok(found) = below.tier.read_one(&below.path(&ticket.key)?, Intent::Confirm).await {
            (seen, read_at) = (found.seen, found.read_at);
            if let Some(version) = found.entry.version() {
                inner.context.versions.saw(version);
            }
            let fresh =
                found.usable(read_at).is_some_and(|record| record.freshness(read_at) == Freshness::Fresh);
            if fresh {
                if let Taken::Usable(detailed) = take_in(&ticket, below, found) {
                    return Ok(detailed);
                }
            }
        }
    }
    let version = if inner.below.is_some() { inner.context.versions.draw() } else { Version::ZERO };
    let begun = inner.clock().now();
    let value = loader().await?;
    schedule_point();
    let load_cost = inner.clock().now().since(begun);
    fill(&ticket, &value, Filling { version, seen, read_at, load_cost }).await;
    Ok(Detailed { value, freshness: Freshness::Fresh, source: Source::Loader })
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
