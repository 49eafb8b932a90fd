//! Get or load, for many keys at once: what nobody has is loaded by one call of the loader.
//!
//! Each key has a flight of its own, so that others who want it can join; all of them wait for one more, the *joint* flight, which asks the
//! tiers, runs the loader and fills. Whoever is polled drives it, as ever.

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::sync::Arc;
use std::task::Poll;
use std::task::Wake;

use nanotier_engine::{Equivalent, OwnedFrom};
use nanotier_tier::sync::schedule_point;
use nanotier_tier::{
    BoxFuture, Error, ErrorKind, Found, Intent, Moment, Operation, Outcome, Path, Result, Seen, Tier,
    Timestamp, Version,
};

use parking_lot::Mutex;

use crate::cache::{Cache, Inner};
use crate::fill::{Filling, fill};
use crate::flight::{self, Flight, Orphan, Outcome as Settled, Waiter};
use crate::load::{Failing, closed, make_do};
use crate::load_error::{Failure, LoadError};
use crate::loader::run;
use crate::look::{Taken, take_in};
use crate::lookup::{Detailed, Lookup, Source};
use crate::options::Options;
use crate::ticket::Ticket;
use crate::watch::{End, Ongoing};

/// Given the keys that nobody has, in order, it brings their values in the same order.
type BatchLoader<K, V> =
    Box<dyn FnOnce(Vec<K>) -> BoxFuture<'static, std::result::Result<Vec<V>, Failure>> + Send>;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The values of many keys, in their order. Memory answers what it has; the tiers are asked for the rest in one batch; what nobody has
    /// is loaded by one call of `load`, which is given the keys and brings as many values, in the same order. A key may occur twice, and is
    /// loaded once. A key that somebody else loads already is waited for, and not given to `load`.
    ///
    /// A stale value is answered as it is, and its key is loaded along with the others, or behind if there are none.
    ///
    /// ```
    /// use nanotier::Cache;
    ///
    /// let squares: Cache<u64, u64> = Cache::new(100);
    /// squares.insert(2, 4).wait()?;
    /// let load = |missing: Vec<u64>| async move {
    ///     assert_eq!(missing, [1, 3]);
    ///     missing.iter().map(|n| n * n).collect()
    /// };
    /// assert_eq!(squares.get_many_with([&1, &2, &3], load).wait()?, [1, 4, 9]);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get_with`](Cache::get_with), of the first key in order that has one;
    /// [`Loader`](ErrorKind::Loader) if `load` brings another number of values than it was asked for.
    pub fn get_many_with<'a, Q, F, L>(
        &'a self,
        keys: impl IntoIterator<Item = &'a Q>,
        load: F,
    ) -> Lookup<Vec<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
        F: FnOnce(Vec<K>) -> L + Send + 'static,
        L: Future<Output = Vec<V>> + Send + 'static,
    {
        self.many_with(keys, Box::new(|keys| Box::pin(async { Ok(load(keys).await) })), Failure::into_error)
    }

    /// [`get_many_with`](Cache::get_many_with) for a loader that can fail, for all of its keys.
    ///
    /// # Errors
    ///
    /// The loader's own, shared, or those of [`get_many_with`](Cache::get_many_with).
    pub fn try_get_many_with<'a, Q, F, L, E>(
        &'a self,
        keys: impl IntoIterator<Item = &'a Q>,
        load: F,
    ) -> Lookup<Vec<V>, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
        F: FnOnce(Vec<K>) -> L + Send + 'static,
        L: Future<Output = Result<Vec<V>, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let load = |keys| -> BoxFuture<'static, _> {
            Box::pin(async { load(keys).await.map_err(Failure::of_loader) })
        };
        self.many_with(keys, Box::new(load), Failure::into_load_error)
    }

    /// [`try_get_many_with`](Cache::try_get_many_with) for a loader that blocks.
    ///
    /// # Errors
    ///
    /// As [`try_get_many_with`](Cache::try_get_many_with).
    pub fn try_get_many_with_blocking<'a, Q, F, E>(
        &'a self,
        keys: impl IntoIterator<Item = &'a Q>,
        load: F,
    ) -> Lookup<Vec<V>, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
        F: FnOnce(Vec<K>) -> Result<Vec<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let load =
            |keys| -> BoxFuture<'static, _> { Box::pin(async { load(keys).map_err(Failure::of_loader) }) };
        self.many_with(keys, Box::new(load), Failure::into_load_error)
    }

    fn many_with<'a, Q, E>(
        &'a self,
        keys: impl IntoIterator<Item = &'a Q>,
        loader: BatchLoader<K, V>,
        tell: fn(Failure) -> E,
    ) -> Lookup<Vec<V>, E>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
        E: Send + 'static,
    {
        let (inner, options) = (&self.0, &self.1.options);
        let mut values = Vec::new();
        let mut wanted = Wanted { missing: Vec::new(), due: Vec::new() };
        for (index, key) in keys.into_iter().enumerate() {
            let near = self.near(key);
            match near {
                None => wanted.missing.push((index, K::owned_from(key))),
                Some((_, good)) if good.is_due() && inner.claims(key, options) => {
                    wanted.due.push(K::owned_from(key));
                }
                Some(_) => {}
            }
            values.push(near.map(|(value, _)| value));
        }
        if wanted.missing.is_empty() {
            if !wanted.due.is_empty() {
                let waiters = inner.load_many(wanted, options, loader);
                waiters.into_iter().for_each(|(_, waiter)| waiter.spawn(inner.begin_unnamed_refresh()));
            }
            inner.watch.answered_many(Operation::GetManyWith, values.len(), Outcome::Hit);
            return Lookup::ready(Detailed::nowhere(values.into_iter().flatten().collect()));
        }
        let call = inner.watch.begin_many(Operation::GetManyWith, values.len(), None);
        let (inner, options) = (inner.clone(), options.clone());
        Lookup::below(async move {
            let mut outcome = Outcome::Hit;
            let filled = inner.get_many_with(values, wanted, &options, loader, &mut outcome).await;
            call.end(|| {
                filled.as_ref().map_or_else(|failure| End::failed(failure.kind()), |_| End::of(outcome))
            });
            filled.map(Detailed::nowhere).map_err(tell)
        })
    }
}

/// What of many keys memory could not answer by itself.
struct Wanted<K> {
    /// Each with its place among all that were asked for.
    missing: Vec<(usize, K)>,
    /// Answered, and to be loaded anew.
    due: Vec<K>,
}

/// A flight that was joined, or else begun and joined, with its place in what is asked for; `None` if nobody waits.
type Waiting<V> = (Option<usize>, Waiter<V>);

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    async fn get_many_with(
        self: Arc<Self>,
        mut values: Vec<Option<V>>,
        mut wanted: Wanted<K>,
        options: &Arc<Options<K, V>>,
        loader: BatchLoader<K, V>,
        told: &mut Outcome,
    ) -> std::result::Result<Vec<V>, Failure> {
        if self.is_closed() {
            return Err(closed());
        }
        if let Some(below) = &self.below {
            wanted.missing.iter().try_for_each(|(_, key)| below.path(key).map(drop))?;
        }
        let mut answers: Vec<(usize, Settled<V>)> = Vec::new();
        if options.bypass {
            *told = Outcome::Computed;
            return self.load_many_alone(values, wanted, loader).await;
        }
        wanted.missing.retain(|(index, key)| match self.known(key, options) {
            Some(outcome) => {
                answers.push((*index, outcome));
                false
            }
            None => true,
        });
        let waiters = self.load_many(wanted, options, loader);
        let (mut waiters, behind): (Vec<_>, Vec<_>) =
            waiters.into_iter().partition(|(index, _)| index.is_some());
        let joins_all = waiters.iter().all(|(_, waiter)| !waiter.is_first());
        poll_fn(|context| {
            waiters.retain_mut(|(index, waiter)| match std::pin::Pin::new(waiter).poll(context) {
                Poll::Ready(outcome) => {
                    answers.extend(index.map(|index| (index, outcome)));
                    false
                }
                Poll::Pending => true,
            });
            if waiters.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        // What nobody waits for goes on by itself, if it is not done already.
        behind.into_iter().for_each(|(_, waiter)| waiter.spawn(self.begin_unnamed_refresh()));
        answers.sort_by_key(|(index, _)| *index);
        for (index, outcome) in answers {
            let detailed = outcome?;
            if detailed.source == Source::Loader {
                *told = if joins_all { Outcome::Joined } else { Outcome::Computed };
            }
            values[index] = Some(detailed.value);
        }
        Ok(values.into_iter().flatten().collect())
    }

    /// Begins to load those keys that nobody loads, with one call of the loader, and joins all of them.
    fn load_many(
        self: &Arc<Self>,
        wanted: Wanted<K>,
        options: &Arc<Options<K, V>>,
        loader: BatchLoader<K, V>,
    ) -> Vec<Waiting<V>> {
        let id = flight::next_id();
        let batch: Arc<Mutex<Option<Batch<K, V>>>> = Arc::default();
        let wanted_now = batch.clone();
        let joint = Flight::new(
            id,
            Orphan::IsDropped,
            Box::pin(async move {
                let batch = poll_fn(|_| wanted_now.lock().take().map_or(Poll::Pending, Poll::Ready)).await;
                Ok(Detailed::nowhere(load_all(batch, loader).await.into()))
            }),
        );
        // Until it is known which they are, whatever becomes of the first of them.
        let keeper = joint.join(&self.context);
        let (mut tasks, mut until) = (Vec::new(), Moment::NEVER);
        let mut waiters = Vec::new();
        let missing = wanted.missing.into_iter().map(|(index, key)| (Some(index), key));
        for (index, key) in missing.chain(wanted.due.into_iter().map(|key| (None, key))) {
            let (waiter, _) = self.begin_load(&key, options, Some(id), |ticket, ends| {
                until = ends;
                tasks.push(LoadOne { ticket, is_due: index.is_none() });
                part_of(joint.join(&self.context), tasks.len() - 1)
            });
            waiters.push((index, waiter));
        }
        *batch.lock() = Some(Batch { tasks, until });
        // Who joined one of them before there was anything to load.
        joint.wake();
        drop(keeper);
        waiters
    }

    /// What is loaded anew behind a batch is told key by key, and without the key.
    fn begin_unnamed_refresh(&self) -> Ongoing {
        self.watch.begin(Operation::Refresh, None)
    }

    /// For one caller, and nothing is kept.
    async fn load_many_alone(
        &self,
        mut values: Vec<Option<V>>,
        wanted: Wanted<K>,
        loader: BatchLoader<K, V>,
    ) -> std::result::Result<Vec<V>, Failure> {
        let _permit = self.permit().await;
        let (indices, keys): (Vec<usize>, Vec<K>) = wanted.missing.into_iter().unzip();
        let loaded = counted(indices.len(), self.timed(loader(keys)).await)?;
        indices.into_iter().zip(loaded).for_each(|(index, value)| values[index] = Some(value));
        Ok(values.into_iter().flatten().collect())
    }
}

/// What a single key's flight does: it waits for the joint one, from before it is polled first.
async fn part_of<V: Clone + Send + Sync + 'static>(
    joint: Option<Waiter<Arc<[Settled<V>]>>>,
    place: usize,
) -> Settled<V> {
    let outcomes = joint.ok_or_else(closed)?.await?;
    outcomes.value.get(place).cloned().unwrap_or_else(|| Err(closed()))
}

/// What a joint load is to load, and until when.
struct Batch<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    tasks: Vec<LoadOne<K, V>>,
    until: Moment,
}

/// A key of a joint load.
struct LoadOne<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    ticket: Ticket<K, V>,
    /// A usable value is there, and a new one is wanted.
    is_due: bool,
}

/// What the tiers said of a key that is to be loaded.
struct Asked<V> {
    place: usize,
    seen: Option<Seen>,
    read_at: Timestamp,
    held: Option<V>,
}

/// The order of steps is that of a single load, each step for all keys.
async fn load_all<K, V>(batch: Batch<K, V>, loader: BatchLoader<K, V>) -> Vec<Settled<V>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let Batch { tasks, until } = batch;
    let Some(inner) = tasks.first().map(|task| task.ticket.inner.clone()) else { return Vec::new() };
    inner.clock().catch_up();
    let mut outcomes: Vec<Option<Settled<V>>> = tasks
        .iter()
        .map(|task| if task.is_due { None } else { inner.fresh(&task.ticket.key).map(Ok) })
        .collect();
    let asked = ask_all(&inner, &tasks, &mut outcomes).await;
    if !asked.is_empty() {
        let unless_done: Vec<_> = asked.iter().map(|asked| Failing(&tasks[asked.place].ticket)).collect();
        let _permit = inner.permit().await;
        let version = if inner.below.is_some() { inner.context.versions.draw() } else { Version::ZERO };
        let begun = inner.clock().now();
        let keys = asked.iter().map(|asked| tasks[asked.place].ticket.key.clone()).collect();
        let loaded = if begun < until {
            inner.timed(run(|| loader(keys))).await
        } else {
            Err(flight::too_long().into())
        };
        let loaded = counted(asked.len(), loaded);
        schedule_point();
        inner.clock().catch_up();
        let ended = inner.clock().now();
        match loaded {
            Ok(values) => {
                if ended < until {
                    let load_cost = ended.since(begun);
                    let filling = asked.iter().zip(&values).map(|(asked, value)| {
                        let Asked { place, seen, read_at, .. } = *asked;
                        Filling { ticket: &tasks[place].ticket, value, version, seen, read_at, load_cost }
                    });
                    fill(&filling.collect::<Vec<_>>()).await;
                }
                unless_done.into_iter().for_each(Failing::done);
                for (asked, value) in asked.iter().zip(values) {
                    let freshness = nanotier_tier::Freshness::Fresh;
                    outcomes[asked.place] = Some(Ok(Detailed { value, freshness, source: Source::Loader }));
                }
            }
            Err(failure) => {
                drop(unless_done);
                for Asked { place, held, .. } in asked {
                    outcomes[place] = Some(make_do(&tasks[place].ticket, failure.clone(), held));
                }
            }
        }
    }
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(closed()))).collect()
}

/// Asks the tiers, in a batch, and of what only a copy answered, the truth, in another. What they have is settled; the rest is to be
/// loaded.
async fn ask_all<K, V>(
    inner: &Arc<Inner<K, V>>,
    tasks: &[LoadOne<K, V>],
    outcomes: &mut [Option<Settled<V>>],
) -> Vec<Asked<V>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let places = (0..tasks.len()).filter(|&place| outcomes[place].is_none());
    let (mut fresh, mut done): (Vec<usize>, Vec<Asked<V>>) = (places.collect(), Vec::new());
    let Some(below) = &inner.below else {
        let read_at = inner.clock().wall();
        let asked =
            |place: usize| Asked { place, seen: None, read_at, held: inner.held(&tasks[place].ticket.key) };
        return fresh.into_iter().map(asked).collect();
    };
    // What is due is asked of the truth at once.
    let (due, looked): (Vec<usize>, Vec<usize>) = fresh.drain(..).partition(|&place| tasks[place].is_due);
    let asked_at = inner.context.versions.draw();
    let mut again: Vec<(usize, Option<V>)> = due.into_iter().map(|place| (place, None)).collect();
    for (place, found) in read(inner, tasks, looked, Intent::Load).await {
        let ticket = &tasks[place].ticket;
        let Ok(found) = found else {
            match inner.fallback(&ticket.key) {
                Some(spare) => outcomes[place] = Some(Ok(spare)),
                None => done.push(Asked { place, seen: None, read_at: inner.clock().wall(), held: None }),
            }
            continue;
        };
        let (seen, read_at) = (found.seen, found.read_at);
        match take_in(ticket, below, &found) {
            Taken::Usable(found) => outcomes[place] = Some(Ok(found.detailed)),
            Taken::Spare(value) if seen.is_none() => again.push((place, Some(value))),
            Taken::Spare(value) => done.push(Asked { place, seen, read_at, held: Some(value) }),
            Taken::Unreadable { in_truth: false, .. } => again.push((place, None)),
            Taken::Nothing | Taken::Unreadable { .. } => {
                inner.heed(&ticket.key, &found, asked_at);
                done.push(Asked { place, seen, read_at, held: None });
            }
        }
    }
    let mut held: Vec<Option<V>> = tasks.iter().map(|_| None).collect();
    let places = again.into_iter().map(|(place, value)| {
        held[place] = value;
        place
    });
    let places: Vec<usize> = places.collect();
    for (place, found) in read(inner, tasks, places, Intent::Refresh).await {
        let ticket = &tasks[place].ticket;
        let mut asked = Asked { place, seen: None, read_at: inner.clock().wall(), held: held[place].take() };
        if let Ok(found) = found {
            (asked.seen, asked.read_at) = (found.seen, found.read_at);
            match take_in(ticket, below, &found) {
                // Another process has loaded it.
                Taken::Usable(found) if !found.is_due => {
                    outcomes[place] = Some(Ok(found.detailed));
                    continue;
                }
                Taken::Usable(found) => asked.held = Some(found.detailed.value),
                Taken::Spare(value) => asked.held = Some(value),
                Taken::Nothing | Taken::Unreadable { .. } => {
                    inner.heed(&ticket.key, &found, asked_at);
                    asked.held = None;
                }
            }
        }
        done.push(asked);
    }
    done.sort_by_key(|asked| asked.place);
    done
}

/// One batch; a tier that does not answer at all does not answer any.
async fn read<K, V>(
    inner: &Arc<Inner<K, V>>,
    tasks: &[LoadOne<K, V>],
    places: Vec<usize>,
    intent: Intent,
) -> Vec<(usize, Result<Found>)>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if places.is_empty() {
        return Vec::new();
    }
    let found = async {
        let below = inner.below()?;
        let paths: Result<Vec<Path<'_>>> =
            places.iter().map(|&place| below.path(&tasks[place].ticket.key)).collect();
        below.tier.read(&paths?, intent).await
    };
    let found = found.await.unwrap_or_else(|error| places.iter().map(|_| Err(error.clone())).collect());
    places.into_iter().zip(found).collect()
}

fn counted<V>(
    wanted: usize,
    loaded: std::result::Result<Vec<V>, Failure>,
) -> std::result::Result<Vec<V>, Failure> {
    match loaded {
        Ok(values) if values.len() != wanted => {
            Err(Failure::Cache(Error::new(ErrorKind::Loader, "cache", "load").with_detail(format!(
                "the loader was asked for {wanted} values and brought {}: it must bring one for each key, in their order",
                values.len()
            ))))
        }
        loaded => loaded,
    }
}
