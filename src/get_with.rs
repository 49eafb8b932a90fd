//! Get or load: the calls, and what of them memory answers. The load itself is in `load.rs`.

use std::fmt;
use std::future::Future;
use std::hash::Hash;

use nanotier_engine::{Equivalent, OwnedFrom};
use nanotier_tier::{Error, Operation, Result};

use crate::cache::Cache;
use crate::expiry::Good;
use crate::flight::Outcome;
use crate::load_error::{Failure, LoadError};
use crate::loader::{Loaded, Loader, asynchronous, blocking};
use crate::lookup::{Detailed, Lookup, Source};
use crate::watch::End;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The value of `key`, loaded by `load` if nobody has it. One load per key in this process, however many
    /// ask.
    ///
    /// The load belongs to the cache: whoever waits for it drives it, and if all leave it goes on by itself.
    /// A stale value is answered at once while `load` runs behind. A write to the key while the load runs
    /// wins over it. [`Options`](crate::Options) say how long a load may take, what is answered when it fails, and more.
    ///
    /// `load` is a closure, not a future: on a hit it is dropped without having begun. It must be `Send` and
    /// own what it uses, since it may outlive its caller.
    ///
    /// # Errors
    ///
    /// Told when awaited: [`LoaderPanicked`](nanotier_tier::ErrorKind::LoaderPanicked);
    /// [`Timeout`](nanotier_tier::ErrorKind::Timeout) at the [hard deadline](crate::Options::hard_deadline);
    /// [`Reentrant`](nanotier_tier::ErrorKind::Reentrant) if the loader asks for its own key itself (through a task or
    /// thread of its own it waits for itself, until that deadline);
    /// [`Loader`](nanotier_tier::ErrorKind::Loader) if another caller's fallible load was joined and failed: what that loader said is
    /// its [`cause`](nanotier_tier::Error::cause);
    /// [`Closed`](nanotier_tier::ErrorKind::Closed) after [`close`](Cache::close).
    /// A tier that fails is no error here: the loader has the answer.
    #[inline]
    pub fn get_with<'a, Q, F, L>(&'a self, key: &'a Q, load: F) -> Lookup<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = V> + Send + 'static,
    {
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(value),
            near => self.load_cold(
                key,
                near,
                || asynchronous(|_| load(), |value| Ok(Loaded::New(value))),
                tell_error,
            ),
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
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(value),
            near => self.load_cold(key, near, || blocking(|_| Ok(Loaded::New(load()))), tell_error),
        }
    }

    /// [`get_with`](Cache::get_with) for a loader that can fail. An error is told to all who wait, and kept
    /// nowhere, unless [`Options::error_ttl`](crate::Options::error_ttl) says for how long.
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
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(value),
            near => self.load_cold(key, near, || asynchronous(|_| load(), Loaded::if_ok), tell_load_error),
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
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(value),
            near => self.load_cold(key, near, || blocking(|_| Loaded::if_ok(load())), tell_load_error),
        }
    }

    /// [`get_with`](Cache::get_with) for a loader that may find that there is no value. `None` is told to all who wait; how long it is
    /// remembered says [`Options::negative_ttl`](crate::Options::negative_ttl), by default not at all. Of a key that had a value, which is stale
    /// by now, `None` removes it.
    ///
    /// ```
    /// use nanotier::Cache;
    /// use std::time::Duration;
    ///
    /// let users: Cache<u64, String> =
    ///     Cache::builder().options(|options| options.negative_ttl(Duration::from_secs(5))).build()?;
    /// assert_eq!(users.optionally_get_with(&7, async || None).wait()?, None);
    /// assert_eq!(users.optionally_get_with(&7, async || unreachable!("known for five seconds")).wait()?, None);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get_with`](Cache::get_with).
    #[inline]
    pub fn optionally_get_with<'a, Q, F, L>(&'a self, key: &'a Q, load: F) -> Lookup<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Option<V>> + Send + 'static,
    {
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(Some(value)),
            near => self.load_cold(
                key,
                near,
                || asynchronous(|_| load(), Loaded::if_some),
                |o| optional(o, Failure::into_error),
            ),
        }
    }

    /// [`optionally_get_with`](Cache::optionally_get_with) for a loader that can fail: a row of a database.
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Cache::try_get_with).
    #[inline]
    pub fn try_optionally_get_with<'a, Q, F, L, E>(
        &'a self,
        key: &'a Q,
        load: F,
    ) -> Lookup<Option<V>, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Option<V>, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(Some(value)),
            near => self.load_cold(
                key,
                near,
                || {
                    asynchronous(
                        |_| load(),
                        |found| found.map_err(Failure::of_loader).and_then(Loaded::if_some),
                    )
                },
                |outcome| optional(outcome, Failure::into_load_error),
            ),
        }
    }

    /// [`try_optionally_get_with`](Cache::try_optionally_get_with) for a loader that blocks.
    #[inline]
    pub fn try_optionally_get_with_blocking<'a, Q, F, E>(
        &'a self,
        key: &'a Q,
        load: F,
    ) -> Lookup<Option<V>, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce() -> Result<Option<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(Some(value)),
            near => self.load_cold(
                key,
                near,
                || blocking(|_| load().map_err(Failure::of_loader).and_then(Loaded::if_some)),
                |outcome| optional(outcome, Failure::into_load_error),
            ),
        }
    }

    /// [`try_get_with`](Cache::try_get_with) for a loader that is shown the value it is to replace, if memory or a tier still has it, and
    /// may answer that it is as good as ever: [`Loaded::Unchanged`]. Then the same value begins another life, without having been sent
    /// again. What an `ETag` is for.
    ///
    /// ```
    /// use nanotier::{Cache, Loaded};
    ///
    /// let pages: Cache<&str, String> = Cache::new(10);
    /// let load = |held: Option<String>| async move {
    ///     // With `held` in hand one would ask "if it has changed since", and answer `Loaded::Unchanged`.
    ///     Ok::<_, std::io::Error>(match held {
    ///         Some(_) => Loaded::Unchanged,
    ///         None => Loaded::New("the page".to_owned()),
    ///     })
    /// };
    /// assert_eq!(pages.try_revalidate_with(&"/", load).wait().unwrap(), "the page");
    /// ```
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Cache::try_get_with); [`Loader`](nanotier_tier::ErrorKind::Loader) for an `Unchanged` where nothing was held.
    #[inline]
    pub fn try_revalidate_with<'a, Q, F, L, E>(&'a self, key: &'a Q, load: F) -> Lookup<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce(Option<V>) -> L + Send + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(value),
            near => self.load_cold(
                key,
                near,
                || asynchronous(load, |loaded| loaded.map_err(Failure::of_loader)),
                tell_load_error,
            ),
        }
    }

    /// [`try_revalidate_with`](Cache::try_revalidate_with) for a loader that blocks.
    #[inline]
    pub fn try_revalidate_with_blocking<'a, Q, F, E>(&'a self, key: &'a Q, load: F) -> Lookup<V, LoadError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        F: FnOnce(Option<V>) -> Result<Loaded<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        match self.near(key) {
            Some((value, Good::Fresh)) => Lookup::hit(value),
            near => {
                let loader = || blocking(|held| load(held).map_err(Failure::of_loader));
                self.load_cold(key, near, loader, tell_load_error)
            }
        }
    }

    /// What memory cannot answer by itself. The loader is made only if it is to run.
    #[cold]
    #[inline(never)]
    pub(crate) fn load_cold<Q, T, E>(
        &self,
        key: &Q,
        near: Option<(V, Good)>,
        loader: impl FnOnce() -> Loader<V>,
        tell: fn(Outcome<V>) -> Result<Detailed<T>, E>,
    ) -> Lookup<T, E>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
        T: 'static,
        E: 'static,
    {
        let (inner, options) = (&self.0, &self.1.options);
        let shown = || inner.watch.shown(|| K::owned_from(key));
        if let Some((value, good)) = near {
            inner.watch.answered(Operation::GetWith, shown().as_deref(), End::in_memory(good.freshness()));
            if good.is_due() && inner.claims(key, options) {
                inner.load_behind(&K::owned_from(key), options, loader());
            }
            let detailed = Detailed { value, freshness: good.freshness(), source: Source::Memory };
            return Lookup::answered(tell(Ok(detailed)));
        }
        let known = if options.bypass { None } else { inner.known(key, options) };
        if let Some(outcome) = known {
            inner.watch.answered(Operation::GetWith, shown().as_deref(), End::known(&outcome));
            return Lookup::answered(tell(outcome));
        }
        let call = inner.watch.begin(Operation::GetWith, shown());
        let (inner, options, key, loader) = (inner.clone(), options.clone(), K::owned_from(key), loader());
        Lookup::below(async move {
            let mut joined = false;
            let outcome = inner.load(key, options, loader, &mut joined).await;
            call.end(|| End::found(&outcome, joined, |_| true));
            tell(outcome)
        })
    }
}

pub(crate) fn tell_error<V>(outcome: Outcome<V>) -> Result<Detailed<V>, Error> {
    outcome.map_err(Failure::into_error)
}

pub(crate) fn tell_load_error<V, E: Send + Sync + 'static>(
    outcome: Outcome<V>,
) -> Result<Detailed<V>, LoadError<E>> {
    outcome.map_err(Failure::into_load_error)
}

/// That there is nothing is an answer, not an error.
fn optional<V, E>(outcome: Outcome<V>, tell: fn(Failure) -> E) -> Result<Detailed<Option<V>>, E> {
    match outcome {
        Ok(detailed) => Ok(detailed.map(Some)),
        Err(Failure::Nothing) => Ok(Detailed::nothing_loaded()),
        Err(failure) => Err(tell(failure)),
    }
}
