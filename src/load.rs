//! The order of steps of a load: tiers, then the loader, then the truth, copies, memory.

use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nanotier_engine::{Equivalent, OwnedFrom};
use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::sync::schedule_point;
use nanotier_tier::waiting::within;
use nanotier_tier::{
    Error, ErrorKind, Event, Freshness, Intent, Moment, Operation, Seen, Tier, Timestamp, Version,
};

use crate::cache::Inner;
use crate::claim::Claim;
use crate::expiry::State;
use crate::fill::{Filling, fill};
use crate::flight::{self, Flight, Orphan, Outcome, Waiter};
use crate::load_error::Failure;
use crate::loader::{Loaded, Loader, run};
use crate::look::{Looked, Taken, look_below, take_in};
use crate::lookup::{Detailed, Source};
use crate::options::Options;
use crate::permits::Permit;
use crate::ticket::Ticket;
use crate::watch::Ongoing;

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Loads a key, together with whoever else loads it. A key that no tier could store is an error at once, not a load
    /// each time.
    pub(crate) async fn load(
        self: Arc<Self>,
        key: K,
        options: Arc<Options<K, V>>,
        loader: Loader<V>,
        joined: &mut bool,
    ) -> Outcome<V> {
        if let Some(below) = &self.below {
            below.path(&key)?;
        }
        if self.is_closed() {
            return Err(closed());
        }
        let waiter = if options.bypass {
            self.load_alone(&options, loader).join(&self.context)
        } else {
            Some(self.join_load(&key, &options, loader, load_flight).0)
        };
        let waiter = waiter.ok_or_else(closed)?;
        *joined = !waiter.is_first();
        let mut waiter = pin!(waiter);
        if let Some(soft) = options.soft_deadline {
            let until = self.clock().now().plus(soft);
            if let Some(outcome) = within(self.clock(), until, waiter.as_mut()).await {
                return outcome;
            }
            if let Some(spare) = self.fallback(&key) {
                return Ok(spare);
            }
        }
        waiter.await
    }

    /// Joins the load under way for a key; or else one that begins now. True if it begins.
    fn join_load<F>(
        self: &Arc<Self>,
        key: &K,
        options: &Arc<Options<K, V>>,
        loader: Loader<V>,
        work: fn(Ticket<K, V>, Moment, Loader<V>) -> F,
    ) -> (Waiter<V>, bool)
    where
        F: Future<Output = Outcome<V>> + Send + 'static,
    {
        self.begin_load(key, options, None, |ticket, until| work(ticket, until, loader))
    }

    /// Joins the load under way for a key; or else one whose work is made now, perhaps as a part of another's. True if it
    /// begins: so it is not abandoned before its caller has joined it.
    pub(crate) fn begin_load<F>(
        self: &Arc<Self>,
        key: &K,
        options: &Arc<Options<K, V>>,
        part_of: Option<u64>,
        work: impl FnOnce(Ticket<K, V>, Moment) -> F,
    ) -> (Waiter<V>, bool)
    where
        F: Future<Output = Outcome<V>> + Send + 'static,
    {
        let mut work = Some(work);
        loop {
            let mut first = None;
            let flight = self.inflight.load(key, || {
                let id = flight::next_id();
                let until = self.clock().now().plus(self.deadline(options));
                let orphan = if options.cancel_unwanted { Orphan::IsDropped } else { Orphan::GoesOn };
                // Cloned before there is a ticket: a clone that panics must not drop one under this lock.
                let (inner, ended, theirs) = (Arc::downgrade(self), key.clone(), options.clone());
                let at_end = Box::new(move |why| match inner.upgrade() {
                    Some(inner) => inner.end_load(&ended, id, &theirs, why),
                    None => Err(Failure::Cache(why)),
                });
                let ticket = Ticket::of_flight(self, key, id, options);
                let work = work.take().map(|work| work(ticket, until));
                let work = Box::pin(async move { work.ok_or_else(closed)?.await });
                let flight = Flight::new_until(id, orphan, work, until, at_end, part_of);
                first = flight.join(&self.context);
                flight
            });
            schedule_point();
            if let Some(first) = first {
                return (first, true);
            }
            if flight.is_overdue(self.clock().now()) {
                // Nobody has ended it, since all who wait for it are blocked by it or poll no more.
                flight.end(flight::too_long());
            } else if let Some(waiter) = flight.join(&self.context) {
                return (waiter, false);
            }
            // Nobody waited for it any more, and it was dropped; or its time is over.
            self.inflight.forget(key, flight.id());
        }
    }

    /// A load for one caller, of which nothing is kept.
    fn load_alone(self: &Arc<Self>, options: &Options<K, V>, loader: Loader<V>) -> Arc<Flight<V>> {
        let inner = self.clone();
        let work = async move {
            let _permit = inner.permit().await;
            match inner.timed(loader(None)).await? {
                Loaded::New(value) => {
                    Ok(Detailed { value, freshness: Freshness::Fresh, source: Source::Loader })
                }
                Loaded::Unchanged => Err(unchanged_from_nothing()),
            }
        };
        let orphan = if options.cancel_unwanted { Orphan::IsDropped } else { Orphan::GoesOn };
        let until = self.clock().now().plus(self.deadline(options));
        let at_end = Box::new(|why| Err(Failure::Cache(why)));
        Flight::new_until(flight::next_id(), orphan, Box::pin(work), until, at_end, None)
    }

    /// Starts a load that nobody waits for, unless one is under way.
    pub(crate) fn load_behind(self: &Arc<Self>, key: &K, options: &Arc<Options<K, V>>, loader: Loader<V>) {
        if self.is_closed() {
            return;
        }
        // Without tiers nobody else can have loaded it meanwhile.
        let (waiter, begins) = match self.below {
            Some(_) => self.join_load(key, options, loader, load_flight),
            None => self.join_load(key, options, loader, refresh_flight),
        };
        if begins {
            waiter.spawn(self.begin_refresh(key).handing_on());
        }
    }

    /// A load after a stale record was found below: it goes past the look, since the truth is asked by its
    /// own read.
    fn refresh_behind(self: &Arc<Self>, key: &K, options: &Arc<Options<K, V>>, loader: Loader<V>) {
        let (waiter, begins) = self.join_load(key, options, loader, refresh_flight);
        if begins {
            waiter.spawn(self.begin_refresh(key));
        }
    }

    /// What is begun behind a call is a call of its own.
    pub(crate) fn begin_refresh(&self, key: &K) -> Ongoing {
        self.watch.begin(Operation::Refresh, self.watch.shown(|| key.clone()))
    }

    /// A loader runs, and is timed.
    pub(crate) async fn timed<T>(
        &self,
        load: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let loading = self.watch.begin_load();
        let loaded = load.await;
        loading.end(matches!(loaded, Ok(_) | Err(Failure::Nothing)));
        loaded
    }

    /// True for one caller of all who find a value for which a new one is wanted. It costs the others a look at memory, no
    /// lock.
    pub(crate) fn claims<Q>(&self, key: &Q, options: &Options<K, V>) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        let now = self.clock().now();
        let claimed = self.memory.peek_if(key, |entry| {
            // The caller saw the old value; meanwhile its successor has come, and nobody wants another.
            if entry.state(now, options) == State::Fresh {
                return Some(false);
            }
            let claim = entry.claim()?;
            Some(claim.take(now, now.plus(self.deadline(options))))
        });
        // An entry from times when nobody thought of refreshing, or none any more: then a lock decides.
        claimed.unwrap_or_else(|| !self.inflight.is_loading(&K::owned_from(key)))
    }

    /// What is answered without a load though memory holds nothing fresh or stale: what a loader said a moment ago, or an old
    /// value while the loader is left alone.
    pub(crate) fn known<Q>(&self, key: &Q, options: &Options<K, V>) -> Option<Outcome<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        if options.stale_on_error_for > Duration::ZERO {
            let now = self.clock().now();
            let spare = self.memory.peek_if(key, |entry| {
                let is_left = entry.claim().is_some_and(|claim| claim.has_failed(now));
                (is_left && entry.state(now, options) == State::Spare).then(|| entry.value.clone())
            });
            if let Some(value) = spare {
                return Some(Ok(Detailed { value, freshness: Freshness::Stale, source: Source::Memory }));
            }
        }
        self.negatives.as_ref()?.get(key).map(Err)
    }

    /// A load never takes longer than half of what the truth remembers removals for.
    fn deadline(&self, options: &Options<K, V>) -> Duration {
        if is_on(Rule::O4) { options.deadline().min(self.deadline_max) } else { Duration::MAX }
    }

    pub(crate) async fn permit(&self) -> Option<Permit> {
        match &self.permits {
            Some(permits) => Some(permits.acquire().await),
            None => None,
        }
    }

    /// A flight is ended before its work is: its key is free, and what is left of the old value is answered.
    fn end_load(&self, key: &K, flight: u64, options: &Options<K, V>, why: Error) -> Outcome<V> {
        let stands = self.inflight.is_linked(key, Some(flight));
        self.inflight.forget(key, flight);
        schedule_point();
        if !stands {
            return Err(Failure::Cache(why));
        }
        self.load_failed(key, options);
        let spare = self.fallback(key).ok_or(Failure::Cache(why))?;
        self.context.tell(&Event::LoadFailed);
        Ok(spare)
    }

    /// The next load of a key that has an old value begins after a pause.
    fn load_failed(&self, key: &K, options: &Options<K, V>) {
        self.at_claim(key, options, |claim, now| claim.failed(now, options.back_off));
    }

    /// The next load of a key may begin, whatever became of this one's value.
    fn load_done(&self, key: &K, options: &Options<K, V>) {
        self.at_claim(key, options, |claim, _| claim.release());
    }

    /// Changes the claim of an entry for which a new value is wanted. One that has come meanwhile is left alone.
    fn at_claim(&self, key: &K, options: &Options<K, V>, change: impl FnOnce(&Claim, Moment)) {
        let now = self.clock().now();
        self.memory.peek_if(key, |entry| {
            if entry.state(now, options) != State::Fresh {
                change(entry.claim()?, now);
            }
            Some(())
        });
    }

    /// Waits for the loads under way, and ends those that take too long.
    pub(crate) async fn end_loads(&self) {
        let until = self.clock().now().plus(self.close_within);
        for flight in self.inflight.loads() {
            let Some(waiter) = flight.join(&self.context) else { continue };
            if within(self.clock(), until, waiter).await.is_none() {
                flight.end(Error::new(ErrorKind::Closed, "cache", "load"));
            }
        }
    }
}

pub(crate) fn closed() -> Failure {
    Failure::Cache(Error::new(ErrorKind::Closed, "cache", "load"))
}

fn unchanged_from_nothing() -> Failure {
    Failure::Cache(
        Error::new(ErrorKind::Loader, "cache", "load")
            .with_detail("the loader answered `Unchanged`, and there was no value that it could mean"),
    )
}

async fn load_flight<K, V>(ticket: Ticket<K, V>, until: Moment, loader: Loader<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    inner.clock().catch_up();
    if let Some(fresh) = inner.fresh(&ticket.key) {
        return Ok(fresh);
    }
    let (seen, read_at) = match look_below(&ticket, Intent::Load).await {
        Looked::Usable(found) => return answer_and_refresh(ticket, found.detailed, found.is_due, loader),
        Looked::Spare { seen: None, value, .. } => return refresh(ticket, until, loader, Some(value)).await,
        Looked::Spare { seen, read_at, value } => {
            return compute(&ticket, until, loader, Some(value), seen, read_at).await;
        }
        Looked::Nothing { seen, read_at } => (seen, read_at),
        Looked::Failed(_) => match inner.fallback(&ticket.key) {
            Some(detailed) => return answer_and_refresh(ticket, detailed, true, loader),
            None => (None, inner.clock().wall()),
        },
    };
    let held = inner.held(&ticket.key);
    compute(&ticket, until, loader, held, seen, read_at).await
}

/// Ends a flight with something usable. If a new value is wanted the next flight brings it, behind.
fn answer_and_refresh<K, V>(
    ticket: Ticket<K, V>,
    detailed: Detailed<V>,
    is_due: bool,
    loader: Loader<V>,
) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if is_due {
        let (inner, key, options) = (ticket.inner.clone(), ticket.key.clone(), ticket.options.clone());
        drop(ticket);
        inner.refresh_behind(&key, &options, loader);
    }
    Ok(detailed)
}

async fn refresh_flight<K, V>(ticket: Ticket<K, V>, until: Moment, loader: Loader<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    refresh(ticket, until, loader, None).await
}

/// Loads anew though something usable is there: the truth is asked what it holds, so that the fill can be
/// guarded by it.
async fn refresh<K, V>(ticket: Ticket<K, V>, until: Moment, loader: Loader<V>, held: Option<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let mut read_at = inner.clock().wall();
    let mut seen = None;
    let mut held = held;
    if let Some(below) = &inner.below {
        let asked_at = inner.context.versions.draw();
        if let Ok(found) = below.tier.read_one(&below.path(&ticket.key)?, Intent::Refresh).await {
            (seen, read_at) = (found.seen, found.read_at);
            if let Some(version) = found.entry.version() {
                inner.context.versions.saw(version);
            }
            let is_usable = found.usable(read_at).is_some();
            let fresh =
                found.usable(read_at).is_some_and(|record| record.freshness(read_at) == Freshness::Fresh);
            if fresh {
                match take_in(&ticket, below, &found) {
                    Taken::Usable(found) if !found.is_due => return Ok(found.detailed),
                    Taken::Usable(found) => held = Some(found.detailed.value),
                    Taken::Spare(_) | Taken::Nothing | Taken::Unreadable { .. } => {}
                }
            }
            if !is_usable {
                held = None;
            }
            if fresh || !is_usable {
                inner.heed(&ticket.key, &found, asked_at);
            }
        }
    }
    let held = held.or_else(|| inner.held(&ticket.key));
    compute(&ticket, until, loader, held, seen, read_at).await
}

/// Runs the loader, and fills with what it brings. If it brings nothing, what is still `held` has to do.
async fn compute<K, V>(
    ticket: &Ticket<K, V>,
    until: Moment,
    loader: Loader<V>,
    held: Option<V>,
    seen: Option<Seen>,
    read_at: Timestamp,
) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let unless_done = Failing(ticket);
    let _permit = inner.permit().await;
    schedule_point();
    // Drawn before the load: the value is as old as that.
    let version = if inner.below.is_some() { inner.context.versions.draw() } else { Version::ZERO };
    let begun = inner.clock().now();
    let shown = held.clone();
    // Nobody waits any more for a load whose turn has come too late, and the key may be somebody else's.
    let loaded =
        if begun < until { inner.timed(run(|| loader(shown))).await } else { Err(flight::too_long().into()) };
    schedule_point();
    inner.clock().catch_up();
    let ended = inner.clock().now();
    let value = match loaded {
        Ok(Loaded::New(value)) => value,
        Ok(Loaded::Unchanged) => held.ok_or_else(unchanged_from_nothing)?,
        Err(Failure::Nothing) => {
            unless_done.done();
            nothing_there(ticket, seen, read_at, version).await;
            return Err(Failure::Nothing);
        }
        Err(failure) => {
            drop(unless_done);
            return make_do(ticket, failure, held);
        }
    };
    // What comes when the time is over is answered to whoever still waits, and kept nowhere.
    if ended < until {
        let load_cost = ended.since(begun);
        fill(&[Filling { ticket, value: &value, version, seen, read_at, load_cost }]).await;
    }
    unless_done.done();
    Ok(Detailed { value, freshness: Freshness::Fresh, source: Source::Loader })
}

/// A load counts as failed unless it says otherwise: also one that panics or is dropped.
pub(crate) struct Failing<'t, K, V>(pub(crate) &'t Ticket<K, V>)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static;

impl<K, V> Failing<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn done(self) {
        if self.0.stands() {
            self.0.inner.load_done(&self.0.key, &self.0.options);
        }
        std::mem::forget(self);
    }
}

impl<K, V> Drop for Failing<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        // Of a key that was written meanwhile nothing is known, and a flight that was ended has said so.
        if self.0.stands() {
            self.0.inner.load_failed(&self.0.key, &self.0.options);
        }
    }
}

/// No new value can be had: the old one is answered, if there is one and nobody has written the key since; else the error, which is
/// remembered if it is the loader's own, and is to be.
pub(crate) fn make_do<K, V>(ticket: &Ticket<K, V>, failure: Failure, held: Option<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let spare = inner.fallback(&ticket.key).or_else(|| {
        let value = held.filter(|_| ticket.options.stale_on_error_for > Duration::ZERO)?;
        Some(Detailed { value, freshness: Freshness::Stale, source: Source::Memory })
    });
    schedule_point();
    if let Some(spare) = spare.filter(|_| ticket.stands()) {
        inner.context.tell(&Event::LoadFailed);
        return Ok(spare);
    }
    if let Failure::Loader { .. } = failure {
        remember(ticket, ticket.options.error_ttl, &failure);
    }
    Err(failure)
}

fn remember<K, V>(ticket: &Ticket<K, V>, ttl: Option<Duration>, failure: &Failure)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    if let (Some(negatives), Some(ttl)) = (&inner.negatives, ttl) {
        let until = inner.clock().now().plus(ttl);
        schedule_point();
        negatives.insert(ticket.key.clone(), failure.clone(), until, || ticket.stands());
    }
}

/// The loader found that there is no value: what is left of one goes, here and in the truth if it is still what was read.
async fn nothing_there<K, V>(ticket: &Ticket<K, V>, seen: Option<Seen>, read_at: Timestamp, version: Version)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let now = inner.clock().now();
    let options = &ticket.options;
    inner.memory.remove_if(&ticket.key, |entry| {
        ticket.stands() && entry.version() <= version && entry.state(now, options) != State::Fresh
    });
    if let Some(below) = &inner.below {
        if let Ok(path) = below.path(&ticket.key) {
            inner.bury(below, &path, seen, read_at).await;
        }
    }
    remember(ticket, options.negative_ttl, &Failure::Nothing);
}
