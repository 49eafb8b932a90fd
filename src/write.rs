//! The order of steps of a write: memory lets go, the truth is written, then the copies, memory last.
//!
//! A write begins when it is called. Its caller drives it; if the caller leaves, the cache finishes it (rule
//! O6). One that was refused as older goes again above what it was refused for, as long as its caller is
//! there: a live write wins, a dead one never does (O1).

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use nanotier_engine::{Compute, Equivalent, OwnedFrom};
use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::sync::schedule_point;
use nanotier_tier::{
    Change, Cleared, Deadlines, Error, ErrorKind, Guard, Intent, Moment, Operation, Outcome, Record, Result,
    Tier, Timestamp, Update, Updated, Version, Write, Wrote,
};

use crate::below::Below;
use crate::cache::{Cache, Inner};
use crate::expiry::{Resident, State};
use crate::finish::{Attended, Finish};
use crate::lookup::{Detailed, Lookup};
use crate::negative::Negatives;
use crate::options::{Options, Spent};
use crate::ticket::Ticket;
use crate::ttl::{TimeLeft, Ttl};
use crate::watch::End;

/// How often a refused write goes again before it is [`ErrorKind::Contended`].
pub(crate) const TRIES_MAX: usize = 16;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Stores `value` under `key`, for as long as the cache says.
    ///
    /// Without tiers it is done when the call returns. With tiers it begins at the call: memory lets go of
    /// the older value at once; when the lookup is ready the truth has the new one, and so do the copies,
    /// memory last. Of two writes at once one comes after the other, in every tier alike.
    ///
    /// # Errors
    ///
    /// Told when awaited: the value has no encoding, the key is too long, or the truth did not take it. In the
    /// first two cases nothing has changed; in the last the truth holds the older value or the new one, and no
    /// copy serves the older one.
    pub fn insert(&self, key: K, value: V) -> Lookup<()> {
        self.insert_for(key, value, Ttl::Default)
    }

    /// [`insert`](Cache::insert) with a lifetime of its own: a [`Duration`](std::time::Duration) or a
    /// [`Ttl`].
    ///
    /// A lifetime of zero stores a value that is gone at once: it removes whatever was there.
    ///
    /// # Errors
    ///
    /// As [`insert`](Cache::insert).
    pub fn insert_for(&self, key: K, value: V, ttl: impl Into<Ttl>) -> Lookup<()> {
        let watch = &self.0.watch;
        let shown = watch.shown(|| key.clone());
        self.begin_insert(key, value, ttl.into()).told(watch, Operation::Insert, 1, shown, done)
    }

    fn begin_insert(&self, key: K, value: V, ttl: Ttl) -> Lookup<()> {
        let Some(below) = &self.0.below else {
            return Lookup::known(self.0.while_open(|| self.insert_in_memory(key, value, ttl)));
        };
        self.0.clock().catch_up();
        let now = self.0.clock().wall();
        let options = &self.1.options;
        let deadlines = options.deadlines(options.lifetime(&key, &value, ttl, &self.0.dice), now);
        let record = below.path(&key).and_then(|_| below.record(&value, deadlines, Version::ZERO, now));
        match record {
            Ok(record) => self.begin_one(key, Some((value, record))),
            Err(error) => Lookup::failed(error),
        }
    }

    /// Removes `key` everywhere; [`take`](Cache::take) also answers what was there. When the lookup is ready no older value is served by the truth, nor by any
    /// copy of this process, whatever was in flight. Removing what is not there is fine.
    ///
    /// # Errors
    ///
    /// Told when awaited: the truth did not take it.
    #[doc(alias = "invalidate")]
    pub fn remove<Q>(&self, key: &Q) -> Lookup<()>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let (watch, key) = (&self.0.watch, K::owned_from(key));
        let shown = watch.shown(|| key.clone());
        self.begin_remove(key).told(watch, Operation::Remove, 1, shown, done)
    }

    fn begin_remove(&self, key: K) -> Lookup<()> {
        let Some(below) = &self.0.below else {
            let removed = self.0.while_open(|| self.0.in_memory(&key, || self.0.memory.remove(&key)));
            return Lookup::known(removed.map(drop));
        };
        self.0.clock().catch_up();
        match below.path(&key) {
            Ok(_) => self.begin_one(key, None),
            Err(error) => Lookup::failed(error),
        }
    }

    fn begin_one(&self, key: K, value: Option<(V, Record)>) -> Lookup<()> {
        let begun = self.0.begin(key, value, &self.1.options);
        self.finish(|attended| async move {
            match begun.inner().settle_all(vec![begun], &attended).await.pop() {
                Some(result) => result.map(Detailed::nowhere),
                None => Ok(Detailed::nowhere(())),
            }
        })
    }

    /// A lookup of work that is finished even if the lookup is dropped.
    pub(crate) fn finish<T, F>(&self, work: impl FnOnce(Attended) -> F) -> Lookup<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<Detailed<T>>> + Send + 'static,
    {
        let attended = Attended::new();
        let work = Box::pin(work(attended.clone()));
        Lookup::below(Finish::new(work, attended, self.0.context.clone()))
    }

    /// Removes `key` and answers what was there. Of all who take at once, in all processes that share the
    /// truth, one gets it. Waits for no reader: what is answered from memory is a clone, made under a lock; the value in
    /// memory is [dropped later](Cache#when-values-are-dropped).
    ///
    /// # Errors
    ///
    /// Told when awaited: [`ErrorKind::Unsupported`] if the truth cannot take atomically;
    /// [`ErrorKind::Codec`] if what was taken does not decode.
    ///
    /// # Panics
    ///
    /// Without tiers, if `V::clone` calls this cache: it is cloned under a lock.
    pub fn take<Q>(&self, key: &Q) -> Lookup<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let (watch, key) = (&self.0.watch, K::owned_from(key));
        let shown = watch.shown(|| key.clone());
        self.begin_take(key).told(watch, Operation::Take, 1, shown, |taken| End::hit_or_miss(taken.is_some()))
    }

    fn begin_take(&self, key: K) -> Lookup<Option<V>> {
        let Some(below) = &self.0.below else {
            let now = self.0.clock().now();
            // A clone, and not the value itself: that would have to wait for whoever is reading it.
            let mut taken = None;
            let removed = self.0.while_open(|| {
                self.0.in_memory(&key, || {
                    self.0.memory.remove_if(&key, |entry| {
                        let is_seen =
                            entry.state(now, &self.1.options).good().is_some() && !entry.is_idle(now);
                        taken = is_seen.then(|| entry.value.clone());
                        true
                    })
                })
            });
            return Lookup::known(removed.map(|_| taken));
        };
        if let Err(error) = below.path(&key) {
            return Lookup::failed(error);
        }
        self.0.clock().catch_up();
        let begun = self.0.begin(key, None, &self.1.options);
        self.finish(|attended| async move {
            let mut begun = begun;
            for _ in 0..TRIES_MAX {
                match begun.take().await? {
                    Took::Done(value) => return Ok(Detailed::nowhere(value)),
                    // Dead: what is there stays, and nobody is left to be given it.
                    Took::Older if !attended.is_attended() => return Ok(Detailed::nowhere(None)),
                    Took::Older => begun.go_again(),
                }
            }
            Err(Error::new(ErrorKind::Contended, "cache", "take"))
        })
    }

    /// Gives what is under `key` another lifetime, counted from now. False if nothing usable is there.
    ///
    /// With tiers it asks the truth and writes the record anew: two round trips.
    ///
    /// # Errors
    ///
    /// Told when awaited: the truth could not be asked or did not take it; [`ErrorKind::Contended`] if others
    /// kept writing the key.
    pub fn touch<Q>(&self, key: &Q, ttl: impl Into<Ttl>) -> Lookup<bool>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let (watch, key) = (&self.0.watch, K::owned_from(key));
        let shown = watch.shown(|| key.clone());
        let end = |touched: &bool| End::of(if *touched { Outcome::Done } else { Outcome::Miss });
        self.begin_touch(key, ttl.into()).told(watch, Operation::Touch, 1, shown, end)
    }

    fn begin_touch(&self, key: K, ttl: Ttl) -> Lookup<bool> {
        if self.0.below.is_none() {
            return Lookup::known(self.0.while_open(|| self.touch_in_memory(key, ttl)));
        }
        self.0.clock().catch_up();
        let (inner, options) = (self.0.clone(), self.1.options.clone());
        self.finish(|attended| async move {
            inner.touch_below(key, ttl, &options, attended).await.map(Detailed::nowhere)
        })
    }

    /// How long the value of `key` has left: by memory, else by the tiers. `None` if nobody has it. No use of the entry.
    ///
    /// # Errors
    ///
    /// Told when awaited: a tier failed and no other, nor memory, had anything usable.
    pub fn time_left<'a, Q>(&'a self, key: &'a Q) -> Lookup<Option<TimeLeft>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let watch = &self.0.watch;
        let shown = watch.shown(|| K::owned_from(key));
        let end = |left: &Option<TimeLeft>| End::hit_or_miss(left.is_some());
        self.find_time_left(key).told(watch, Operation::TimeLeft, 1, shown, end)
    }

    fn find_time_left<Q>(&self, key: &Q) -> Lookup<Option<TimeLeft>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let resident = self.peek_near(key, |entry, now| entry.time_left(now, &self.1.options));
        if resident.is_some() || self.0.below.is_none() {
            return Lookup::ready(Detailed::nowhere(resident));
        }
        let (inner, key) = (self.0.clone(), K::owned_from(key));
        Lookup::below(async move {
            let left = match inner.peek_below(&key).await {
                Ok(found) => {
                    let (stale_for, now) = (inner.options.stale_for, inner.clock().wall());
                    found.map(|(deadlines, trusted)| left_of(deadlines, trusted, stale_for, now))
                }
                Err(error) => {
                    // What could not be confirmed is stale.
                    let now = inner.clock().now();
                    let left = |entry: &Resident<V>| {
                        (entry.state(now, &inner.options) != State::Gone)
                            .then(|| entry.usable_until().since(now))
                    };
                    Some(TimeLeft::Stale(inner.memory.peek_if(&key, left).ok_or(error)?))
                }
            };
            Ok(Detailed::nowhere(left))
        })
    }

    /// Empties the cache: memory, and the cache's own namespace in every tier; nothing else is touched.
    ///
    /// When the lookup is ready nothing older is served, as after a [`remove`](Cache::remove) of every key.
    ///
    /// # Errors
    ///
    /// Told when awaited: the truth could not be emptied, or only in part.
    pub fn clear(&self) -> Lookup<()> {
        self.begin_clear().told(&self.0.watch, Operation::Clear, 0, None, done)
    }

    fn begin_clear(&self) -> Lookup<()> {
        if self.0.below.is_none() {
            return Lookup::known(self.0.while_open(|| {
                self.0.inflight.raise_all(Version::ZERO);
                schedule_point();
                self.0.memory.clear();
                schedule_point();
                self.0.inflight.raise_all(Version::ZERO);
                schedule_point();
                self.0.negatives.iter().for_each(Negatives::clear);
            }));
        }
        self.0.clock().catch_up();
        let version = self.0.context.versions.draw();
        self.0.let_go_of_all(version);
        let inner = self.0.clone();
        self.finish(
            |attended| async move { inner.clear_below(version, attended).await.map(Detailed::nowhere) },
        )
    }
}

/// A write that was taken.
fn done((): &()) -> End {
    End::of(Outcome::Done)
}

/// A writer's ticket. When it goes, flights that began while the write was under way lose their key too: they
/// may have read what the write replaced, and who comes after the write has returned must not join them, nor be told what
/// they said of it.
struct Writer<K, V>(Ticket<K, V>)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static;

impl<K, V> Drop for Writer<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if is_on(Rule::O5) {
            self.0.inner.inflight.unlink(&self.0.key);
            schedule_point();
            self.0.inner.forget_negative(&self.0.key);
        }
    }
}

/// A write that has begun: memory no longer serves what it replaces.
pub(crate) struct Begun<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    writer: Writer<K, V>,
    value: Option<(V, Record)>,
    version: Version,
    as_of: Timestamp,
}

impl<K, V> Begun<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn inner(&self) -> Arc<Inner<K, V>> {
        self.writer.0.inner.clone()
    }

    /// A newer version, above everything seen: this write is decided anew.
    fn go_again(&mut self) {
        let inner = &self.writer.0.inner;
        self.version = inner.context.versions.draw();
        self.as_of = inner.clock().wall();
        if let Some((_, record)) = &mut self.value {
            record.version = self.version;
        }
        self.let_go(self.version);
    }

    /// The floor rises above what has outdone this write so far. That may be in memory by now, if it was a
    /// write of this process that settled in between: memory lets go once more.
    fn let_go(&self, version: Version) {
        let Ticket { inner, key, .. } = &self.writer.0;
        inner.inflight.raise(key, version);
        schedule_point();
        if is_on(Rule::O6) {
            inner.memory.remove(key);
        }
    }

    fn write<'a>(&'a self, below: &'a Below<K, V>) -> Result<Write<'a>> {
        let path = below.path(&self.writer.0.key)?;
        Ok(match &self.value {
            Some((_, record)) => Write { as_of: self.as_of, ..Write::put(path, record) },
            None => Write::remove(path, self.version, self.as_of),
        })
    }

    /// The truth has it, and so have the copies: memory last.
    fn settle_memory(self) {
        let Some((value, record)) = self.value else { return };
        let inner = &self.writer.0.inner;
        let entry = self.writer.0.resident(value, &record, Duration::ZERO);
        let recheck = inner.context.recheck;
        self.writer.0.admit(entry.rechecked(record.written_at, recheck, inner.clock()));
    }

    /// The atomic change of [`Cache::take`].
    async fn take(&self) -> Result<Took<V>> {
        let inner = &self.writer.0.inner;
        let below = inner.below()?;
        let path = below.path(&self.writer.0.key)?;
        let update = Update { path, change: Change::Take, version: self.version, as_of: self.as_of };
        let updated = below.tier.update(&update).await;
        // The truth lifts a take above what it holds; if its answer was lost, nobody knows how far.
        match &updated {
            Ok(Updated::Taken(Some(record))) => self.let_go(record.version.next().max(self.version)),
            Err(_) => self.let_go(inner.context.versions.draw()),
            Ok(_) => {}
        }
        match updated? {
            Updated::Taken(Some(record)) => {
                inner.context.versions.saw(record.version);
                below.decode(&record).map(Some).map(Took::Done)
            }
            Updated::Older(held) => {
                inner.context.versions.saw(held);
                Ok(Took::Older)
            }
            Updated::TooLate => Err(too_late()),
            _ => Ok(Took::Done(None)),
        }
    }
}

/// What an atomic take came to.
enum Took<V> {
    Done(Option<V>),
    Older,
}

pub(crate) fn too_late() -> Error {
    Error::new(ErrorKind::Timeout, "cache", "write").with_detail(
        "decided longer ago than the truth remembers removals: are the clocks of all processes set?",
    )
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// # Errors
    ///
    /// None: called only where tiers lie below. An error is kinder than a panic should that change.
    pub(crate) fn below(&self) -> Result<&Below<K, V>> {
        self.below.as_ref().ok_or_else(|| Error::new(ErrorKind::Unsupported, "cache", "write"))
    }

    /// Begins a write: the floor rises, flights lose their key, memory lets go.
    pub(crate) fn begin(
        self: &Arc<Self>,
        key: K,
        value: Option<(V, Record)>,
        options: &Arc<Options<K, V>>,
    ) -> Begun<K, V> {
        self.inflight.enter(&key);
        let writer = Writer(Ticket { inner: self.clone(), key, flight: None, options: options.clone() });
        let version = self.context.versions.draw();
        let as_of = self.clock().wall();
        self.inflight.raise(&writer.0.key, version);
        schedule_point();
        if is_on(Rule::O6) {
            self.memory.remove(&writer.0.key);
        }
        self.forget_negative(&writer.0.key);
        let value = value.map(|(value, record)| (value, Record { version, ..record }));
        Begun { writer, value, version, as_of }
    }

    /// Drives writes to their ends, in one batch, and those that were refused in another; answers in order.
    pub(crate) async fn settle_all(&self, begun: Vec<Begun<K, V>>, attended: &Attended) -> Vec<Result<()>> {
        let below = match self.below() {
            Ok(below) => below,
            Err(error) => return begun.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut results: Vec<Option<Result<()>>> = begun.iter().map(|_| None).collect();
        let mut pending: Vec<(usize, Begun<K, V>)> = begun.into_iter().enumerate().collect();
        for _ in 0..TRIES_MAX {
            if pending.is_empty() {
                break;
            }
            let answers = write_batch(below, &pending).await;
            schedule_point();
            let mut refused = Vec::new();
            for ((index, mut begun), answer) in pending.into_iter().zip(answers) {
                let result = match answer {
                    Ok(Wrote::Done) => {
                        begun.settle_memory();
                        Ok(())
                    }
                    // Dead: what is newer stays, and nobody is left to be told.
                    Ok(Wrote::Older(_) | Wrote::TooLate) if !attended.is_attended() => Ok(()),
                    Ok(Wrote::Older(held)) => {
                        self.context.versions.saw(held);
                        begun.go_again();
                        refused.push((index, begun));
                        continue;
                    }
                    Ok(Wrote::TooLate) => Err(too_late()),
                    Ok(Wrote::Changed) => Err(Error::new(ErrorKind::Contended, below.tier.name(), "write")),
                    Err(error) => Err(error),
                };
                results[index] = Some(result);
            }
            pending = refused;
        }
        let contended = || Err(Error::new(ErrorKind::Contended, below.tier.name(), "write"));
        results.into_iter().map(|result| result.unwrap_or_else(contended)).collect()
    }

    async fn touch_below(
        self: Arc<Self>,
        key: K,
        ttl: Ttl,
        options: &Arc<Options<K, V>>,
        attended: Attended,
    ) -> Result<bool> {
        let below = self.below()?;
        for _ in 0..TRIES_MAX {
            let asked_at = self.context.versions.draw();
            let found = below.tier.read_one(&below.path(&key)?, Intent::Confirm).await?;
            if let Some(version) = found.entry.version() {
                self.context.versions.saw(version);
            }
            let now = self.clock().wall();
            let readable = found.usable(now).and_then(|record| Some((record, below.decode(record).ok()?)));
            let (Some((record, value)), Some(seen)) = (readable, found.seen) else {
                self.heed(&key, &found, asked_at);
                return Ok(false);
            };
            if !attended.is_attended() {
                // Dead before anything was written: what others wrote since is theirs.
                return Ok(false);
            }
            let deadlines = options.deadlines(options.lifetime(&key, &value, ttl, &self.dice), now);
            let record = Record { deadlines, written_at: now, confirmed_at: now, ..record.clone() };
            let begun = self.begin(key.clone(), Some((value, record)), options);
            let write = Write { guard: Guard::Unchanged(seen), ..begun.write(below)? };
            match below.tier.write_one(&write).await? {
                Wrote::Done => {
                    drop(write);
                    begun.settle_memory();
                    return Ok(true);
                }
                Wrote::TooLate => return Err(too_late()),
                // Somebody wrote it meanwhile: what they wrote is to be touched.
                Wrote::Changed | Wrote::Older(_) => {}
            }
        }
        Err(Error::new(ErrorKind::Contended, below.tier.name(), "touch"))
    }

    fn let_go_of_all(&self, version: Version) {
        self.inflight.raise_all(version);
        schedule_point();
        if is_on(Rule::O6) {
            self.memory.clear();
        }
        self.negatives.iter().for_each(Negatives::clear);
    }

    async fn clear_below(self: Arc<Self>, mut version: Version, attended: Attended) -> Result<()> {
        let below = self.below()?;
        let mut as_of = self.clock().wall();
        for _ in 0..TRIES_MAX {
            let cleared = Cleared { namespace: &below.namespace, version, as_of };
            match below.tier.clear(&cleared).await? {
                Wrote::Done => {
                    // What was read while the tiers were being emptied is not to be joined by who comes now.
                    self.inflight.raise_all(version);
                    schedule_point();
                    self.negatives.iter().for_each(Negatives::clear);
                    return Ok(());
                }
                Wrote::Older(held) if attended.is_attended() => {
                    self.context.versions.saw(held);
                    version = self.context.versions.draw();
                    as_of = self.clock().wall();
                    self.let_go_of_all(version);
                }
                Wrote::Older(_) => return Ok(()),
                Wrote::TooLate => return Err(too_late()),
                Wrote::Changed => break,
            }
        }
        Err(Error::new(ErrorKind::Contended, below.tier.name(), "clear"))
    }

    /// A write where memory is the truth: flights that began before it or during it lose their key, if there
    /// are any.
    pub(crate) fn in_memory<R>(&self, key: &K, write: impl FnOnce() -> R) -> R {
        self.unlink_if_any(key);
        schedule_point();
        let result = write();
        schedule_point();
        self.unlink_if_any(key);
        schedule_point();
        // Last: what a flight remembers while it is linked is forgotten here, and afterwards it remembers nothing.
        self.forget_negative(key);
        result
    }

    /// A write outdates what a loader said of a key: flights have lost it by now.
    fn forget_negative(&self, key: &K) {
        if let Some(negatives) = &self.negatives {
            negatives.remove(key);
        }
    }

    #[inline]
    fn unlink_if_any(&self, key: &K) {
        if !self.inflight.is_idle() {
            self.inflight.unlink(key);
        }
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn insert_in_memory(&self, key: K, value: V, ttl: Ttl) {
        let (inner, options, now) = (&self.0, &self.1.options, self.0.clock().now());
        let lifetime = options.lifetime(&key, &value, ttl, &inner.dice);
        let (fresh_until, usable_until) = options.moments(lifetime, now);
        let spent = Spent { lifetime, load_cost: Duration::ZERO };
        let entry = options.dress(Resident::until(value, fresh_until, usable_until), spent, now, &inner.dice);
        if inner.inflight.is_idle() && inner.negatives.is_none() {
            // A load that begins from here on overlaps this call, and may well come after it.
            inner.memory.insert(key, entry);
            return;
        }
        let stored = key.clone();
        inner.in_memory(&key, || inner.memory.insert(stored, entry));
    }

    fn touch_in_memory(&self, key: K, ttl: Ttl) -> bool {
        let (inner, options, now) = (&self.0, &self.1.options, self.0.clock().now());
        let mut touched = false;
        let owned = key.clone();
        inner.memory.compute(key, |entry| match entry {
            Some(entry) if entry.state(now, options).good().is_some() && !entry.is_idle(now) => {
                touched = true;
                let lifetime = options.lifetime(&owned, &entry.value, ttl, &inner.dice);
                let (fresh_until, usable_until) = options.moments(lifetime, now);
                entry.used(now);
                Compute::Put(entry.clone().living(fresh_until, usable_until))
            }
            _ => Compute::Keep,
        });
        touched
    }
}

/// One batch below, with an answer for each: a tier that did not answer at all did not answer any of them.
async fn write_batch<K, V>(below: &Below<K, V>, pending: &[(usize, Begun<K, V>)]) -> Vec<Result<Wrote>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let writes: Result<Vec<Write<'_>>> = pending.iter().map(|(_, begun)| begun.write(below)).collect();
    let answers = match writes {
        Ok(writes) => below.tier.write(&writes).await,
        Err(error) => Err(error),
    };
    answers.unwrap_or_else(|error| pending.iter().map(|_| Err(error.clone())).collect())
}

impl<V> Resident<V> {
    fn time_left<K>(&self, now: Moment, options: &Options<K, V>) -> TimeLeft {
        let fresh_until = self.fresh_until();
        if fresh_until.is_never() {
            TimeLeft::Forever
        } else if now < fresh_until {
            TimeLeft::Fresh(fresh_until.since(now))
        } else {
            TimeLeft::Stale(self.usable_until().min(fresh_until.plus(options.stale_for)).since(now))
        }
    }
}

/// The time left to a usable record, for one who takes what is stale for so long. One that is not trusted is stale.
fn left_of(deadlines: Deadlines, trusted: bool, stale_for: Duration, now: Timestamp) -> TimeLeft {
    if !trusted || now >= deadlines.fresh_until {
        TimeLeft::Stale(deadlines.usable_until.min(deadlines.fresh_until.plus(stale_for)).since(now))
    } else if deadlines.fresh_until.is_never() {
        TimeLeft::Forever
    } else {
        TimeLeft::Fresh(deadlines.fresh_until.since(now))
    }
}
