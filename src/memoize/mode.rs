//! The four kinds of functions, and what a call of each returns.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use nanotier_tier::{BoxFuture, Error, ErrorKind, Freshness};

use super::answer::Answer;
use super::argument::Arguments;
use super::memoized::Memoized;
use crate::get_with::{tell_error, tell_load_error};
use crate::load_error::LoadError;
use crate::loader::{Loaded, asynchronous, blocking};
use crate::lookup::{Detailed, Lookup, Source};

/// How a memoized function answers. Yours to name, in the type of a field; not to implement.
pub trait Mode<V>: Sized + sealed::Sealed + 'static {
    /// What the function itself returns.
    #[doc(hidden)]
    type Output;
    /// What a call returns.
    type Answer;

    #[doc(hidden)]
    fn hit(value: V) -> Self::Answer;
    #[doc(hidden)]
    fn miss<A: Arguments>(memoized: &Memoized<A, V, Self>, arguments: A, near: Near<V>) -> Self::Answer;
}

mod sealed {
    use crate::expiry::Good;

    /// What memory holds that does not answer a call by itself.
    #[derive(Debug)]
    pub struct Near<V>(pub(in crate::memoize) Option<(V, Good)>);

    pub trait Sealed {}
    impl Sealed for super::Plain {}
    impl Sealed for super::Async {}
    impl<E> Sealed for super::Fallible<E> {}
    impl<E> Sealed for super::AsyncFallible<E> {}
}

pub(super) use sealed::Near;

/// Of [`memoize`](super::memoize): a call returns `V`.
#[derive(Clone, Copy, Debug)]
pub struct Plain(Infallible);

/// Of [`try_memoize`](super::try_memoize): a call returns `Result<V, LoadError<E>>`.
pub struct Fallible<E>(Infallible, PhantomData<fn() -> E>);

/// Of [`memoize_async`](super::memoize_async): a call returns an [`Answer<V>`].
#[derive(Clone, Copy, Debug)]
pub struct Async(Infallible);

/// Of [`try_memoize_async`](super::try_memoize_async): a call returns a [`Lookup<V, LoadError<E>>`](Lookup).
pub struct AsyncFallible<E>(Infallible, PhantomData<fn() -> E>);

impl<E> fmt::Debug for Fallible<E> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl<E> fmt::Debug for AsyncFallible<E> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl<V: Clone + Send + Sync + 'static> Mode<V> for Plain {
    type Output = V;
    type Answer = V;

    #[inline(always)]
    fn hit(value: V) -> V {
        value
    }

    fn miss<A: Arguments>(memoized: &Memoized<A, V>, arguments: A, near: Near<V>) -> V {
        let loader = || {
            let (function, own) = (memoized.function.clone(), arguments.clone());
            blocking(move |_| Ok(Loaded::New(function(own))))
        };
        let lookup = memoized.cache.load_cold(&arguments, near.0, loader, tell_error);
        lookup.wait().unwrap_or_else(|error| {
            blame_the_function(&error);
            (memoized.function)(arguments)
        })
    }
}

impl<V, E> Mode<V> for Fallible<E>
where
    V: Clone + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    type Output = Result<V, E>;
    type Answer = Result<V, LoadError<E>>;

    #[inline(always)]
    fn hit(value: V) -> Self::Answer {
        Ok(value)
    }

    fn miss<A: Arguments>(memoized: &Memoized<A, V, Self>, arguments: A, near: Near<V>) -> Self::Answer {
        let loader = || {
            let (function, own) = (memoized.function.clone(), arguments.clone());
            blocking(move |_| Loaded::if_ok(function(own)))
        };
        memoized.cache.load_cold(&arguments, near.0, loader, tell_load_error).wait()
    }
}

impl<V: Clone + Send + Sync + 'static> Mode<V> for Async {
    type Output = BoxFuture<'static, V>;
    type Answer = Answer<V>;

    #[inline(always)]
    fn hit(value: V) -> Answer<V> {
        Answer(Lookup::hit(value))
    }

    fn miss<A: Arguments>(memoized: &Memoized<A, V, Self>, arguments: A, near: Near<V>) -> Answer<V> {
        let loader = || {
            let (function, own) = (memoized.function.clone(), arguments.clone());
            asynchronous(move |_| function(own), |value| Ok(Loaded::New(value)))
        };
        let lookup = memoized.cache.load_cold(&arguments, near.0, loader, tell_error);
        let function = memoized.function.clone();
        Answer(match lookup.try_now() {
            Ok(stale) => Lookup::hit(stale),
            Err(lookup) => Lookup::below(async move {
                let value = match lookup.await {
                    Ok(value) => value,
                    Err(error) => {
                        blame_the_function(&error);
                        function(arguments).await
                    }
                };
                Ok(Detailed { value, freshness: Freshness::Fresh, source: Source::Loader })
            }),
        })
    }
}

impl<V, E> Mode<V> for AsyncFallible<E>
where
    V: Clone + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    type Output = BoxFuture<'static, Result<V, E>>;
    type Answer = Lookup<V, LoadError<E>>;

    #[inline(always)]
    fn hit(value: V) -> Self::Answer {
        Lookup::hit(value)
    }

    fn miss<A: Arguments>(memoized: &Memoized<A, V, Self>, arguments: A, near: Near<V>) -> Self::Answer {
        let loader = || {
            let (function, own) = (memoized.function.clone(), arguments.clone());
            asynchronous(move |_| function(own), Loaded::if_ok)
        };
        memoized.cache.load_cold(&arguments, near.0, loader, tell_load_error)
    }
}

/// Where a function has no other way to fail, its own fault is a panic of whoever waits. Every other error is the
/// cache's (it is closed, a load took too long, the key is too long for a tier), and the function has the answer.
pub(crate) fn blame_the_function(error: &Error) {
    match error.kind() {
        ErrorKind::LoaderPanicked => panic!("a memoized function panicked"),
        ErrorKind::Reentrant => panic!("a memoized function asked for the very answer that it works out"),
        _ => {}
    }
}
