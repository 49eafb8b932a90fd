//! The order of steps of a load: tiers, then the loader, then the truth, copies, memory.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::sync::schedule_point;
use nanotier_tier::{
    BoxFuture, Error, ErrorKind, Event, Freshness, Intent, Record, Result, Seen, Tier, Timestamp, Version,
    Write, Wrote,
};

use crate::cache::Inner;
use crate::expiry::Resident;
use crate::flight::{self, Flight, Orphan, Outcome};
use crate::load_error::Failure;
use crate::look::{Looked, Taken, look_below, take_in};
use crate::lookup::{Detailed, Source};
use crate::ticket::Ticket;
use crate::ttl::Ttl;

/// A loader as it travels: boxed once, on a miss.
pub(crate) type Loader<V> = Box<dyn FnOnce() -> BoxFuture<'static, Result<V, Failure>> + Send>;

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Loads a key, together with whoever else loads it. A key that no tier could store is an error at once, not a load
    /// each time.
    pub(crate) async fn load(self: Arc<Self>, key: K, loader: Loader<V>) -> Outcome<V> {
        if let Some(below) = &self.below {
            below.path(&key)?;
        }
        let flight = self.load_flight(&key, loader);
        schedule_point();
        // A load is never abandoned: it goes on without anyone.
        match flight.join(&self.context) {
            Some(waiter) => waiter.await,
            None => Err(Failure::Cache(Error::new(ErrorKind::Closed, "cache", "load"))),
        }
    }

    fn load_flight(self: &Arc<Self>, key: &K, loader: Loader<V>) -> Arc<Flight<V>> {
        self.inflight.load(key, || {
            let id = flight::next_id();
            let ticket = Ticket::of_flight(self, key, id);
            Flight::new(id, Orphan::GoesOn, Box::pin(load_flight(ticket, loader)))
        })
    }

    /// Starts a load that nobody waits for, unless one is under way.
    pub(crate) fn load_behind(self: &Arc<Self>, key: &K, loader: Loader<V>) {
        if self.inflight.is_loading(key) {
            return;
        }
        let flight = self.load_flight(key, loader);
        flight.go_on(&self.context);
    }

    /// A load after a stale record was found below: it goes past the look, since the truth is asked by its
    /// own read.
    fn refresh_behind(self: &Arc<Self>, key: &K, loader: Loader<V>) {
        let flight = self.inflight.load(key, || {
            let id = flight::next_id();
            let ticket = Ticket::of_flight(self, key, id);
            Flight::new(id, Orphan::GoesOn, Box::pin(refresh_flight(ticket, loader)))
        });
        flight.go_on(&self.context);
    }
}

async fn load_flight<K, V>(ticket: Ticket<K, V>, loader: Loader<V>) -> Outcome<V>
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
        Looked::Usable(detailed) => return answer_and_refresh(ticket, detailed, loader),
        Looked::Nothing { seen, read_at } => (seen, read_at),
        Looked::Failed(_) => match inner.fallback(&ticket.key) {
            Some(detailed) => return answer_and_refresh(ticket, detailed, loader),
            None => (None, inner.clock().wall()),
        },
    };
    compute(&ticket, loader, seen, read_at).await
}

/// Ends a flight with something usable. If that is stale the next flight brings the new value, behind.
fn answer_and_refresh<K, V>(ticket: Ticket<K, V>, detailed: Detailed<V>, loader: Loader<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if detailed.freshness == Freshness::Stale {
        let (inner, key) = (ticket.inner.clone(), ticket.key.clone());
        drop(ticket);
        inner.refresh_behind(&key, loader);
    }
    Ok(detailed)
}

/// Loads anew though something usable is there: the truth is asked what it holds, so that the fill can be
/// guarded by it.
async fn refresh_flight<K, V>(ticket: Ticket<K, V>, loader: Loader<V>) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let mut read_at = inner.clock().wall();
    let mut seen = None;
    if let Some(below) = &inner.below {
        let asked_at = inner.context.versions.draw();
        if let Ok(found) = below.tier.read_one(&below.path(&ticket.key)?, Intent::Refresh).await {
            (seen, read_at) = (found.seen, found.read_at);
            if let Some(version) = found.entry.version() {
                inner.context.versions.saw(version);
            }
            let fresh =
                found.usable(read_at).is_some_and(|record| record.freshness(read_at) == Freshness::Fresh);
            if fresh {
                if let Taken::Usable(detailed) = take_in(&ticket, below, &found) {
                    return Ok(detailed);
                }
            }
            if fresh || found.usable(read_at).is_none() {
                inner.heed(&ticket.key, &found, asked_at);
            }
        }
    }
    compute(&ticket, loader, seen, read_at).await
}

/// Runs the loader, and fills with what it brings.
async fn compute<K, V>(
    ticket: &Ticket<K, V>,
    loader: Loader<V>,
    seen: Option<Seen>,
    read_at: Timestamp,
) -> Outcome<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    schedule_point();
    // Drawn before the load: the value is as old as that.
    let version = if inner.below.is_some() { inner.context.versions.draw() } else { Version::ZERO };
    let begun = inner.clock().now();
    let value = loader().await?;
    schedule_point();
    let load_cost = inner.clock().now().since(begun);
    fill(ticket, &value, Filling { version, seen, read_at, load_cost }).await;
    Ok(Detailed { value, freshness: Freshness::Fresh, source: Source::Loader })
}

/// What a fill has to know of the load that it ends.
struct Filling {
    version: Version,
    /// What the truth showed before; `None` if it could not be asked.
    seen: Option<Seen>,
    read_at: Timestamp,
    load_cost: Duration,
}

/// A loaded value goes to the truth, and only if that took it, to memory. A truth that is down leaves it in
/// memory for a short time.
async fn fill<K, V>(ticket: &Ticket<K, V>, value: &V, filling: Filling)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let now = inner.clock().wall();
    let deadlines = inner.lifetimes.deadlines(Ttl::Default, now);
    let entry = |deadlines| Resident::admitted(value.clone(), deadlines, now, filling.version, inner.clock());
    let Some(below) = &inner.below else {
        ticket.admit(entry(deadlines));
        return;
    };
    let admit = |deadlines| {
        ticket.admit(entry(deadlines).rechecked(filling.read_at, inner.context.recheck, inner.clock()));
    };
    let degraded = || admit(inner.lifetimes.degraded(Ttl::Default, now));
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
            admit(deadlines);
        }
        // Somebody wrote meanwhile: who waited gets the value once, and it is kept nowhere (O3).
        Ok(Wrote::Older(_) | Wrote::Changed | Wrote::TooLate) => {
            if !is_on(Rule::O3) {
                admit(deadlines);
            }
        }
        Err(error) => {
            inner.context.tell(&Event::FillFailed { tier: error.tier() });
            degraded();
        }
    }
}

pub(crate) fn async_loader<V, F, L>(load: F) -> Loader<V>
where
    F: FnOnce() -> L + Send + 'static,
    L: Future<Output = V> + Send + 'static,
{
    Box::new(|| Box::pin(async { Ok(load().await) }))
}

pub(crate) fn blocking_loader<V: Send + 'static, F>(load: F) -> Loader<V>
where
    F: FnOnce() -> V + Send + 'static,
{
    Box::new(|| Box::pin(async { Ok(load()) }))
}

pub(crate) fn fallible_loader<V, F, L, E>(load: F) -> Loader<V>
where
    F: FnOnce() -> L + Send + 'static,
    L: Future<Output = Result<V, E>> + Send + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    Box::new(|| Box::pin(async { load().await.map_err(Failure::of_loader) }))
}

pub(crate) fn fallible_blocking_loader<V: Send + 'static, F, E>(load: F) -> Loader<V>
where
    F: FnOnce() -> Result<V, E> + Send + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    Box::new(|| Box::pin(async { load().map_err(Failure::of_loader) }))
}
