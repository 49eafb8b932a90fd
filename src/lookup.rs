//! The named future of every call that may go below memory.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use nanotier_tier::Source;
use nanotier_tier::waiting::{block_on, block_on_for};
use nanotier_tier::{BoxFuture, Error, ErrorKind, Freshness};

/// A call under way: ready at once where memory had the answer.
///
/// | to finish it | use |
/// |---|---|
/// | in async code, on any runtime | `.await` |
/// | on this thread, without a runtime | [`wait`](Lookup::wait), [`wait_for`](Lookup::wait_for) |
/// | only if that costs nothing | [`try_now`](Lookup::try_now) |
///
/// A read does nothing below memory until it is polled, and nothing more once everybody who asked has left; a load, once
/// begun, goes on. A write begins when it is called: memory no longer serves the older value from then on, and if
/// the `Lookup` is dropped the cache finishes the write by itself, unless a newer one comes first; only the error is lost.
///
/// A fresh hit has allocated nothing.
#[must_use = "await it or call `.wait()`: a read does nothing below memory until then, and a write tells its errors there"]
pub struct Lookup<T, E = Error>(State<T, E>);

enum State<T, E> {
    Ready(Detailed<T>),
    Failed(E),
    Below(BoxFuture<'static, Result<Detailed<T>, E>>),
    Taken,
}

/// A value, how good it is, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detailed<T> {
    /// The value.
    pub value: T,
    /// How good it is. What was computed or written just now is fresh; so is the absence of a value.
    pub freshness: Freshness,
    /// Where it came from.
    pub source: Source,
}

impl<T> Detailed<T> {
    pub(crate) fn nowhere(value: T) -> Self {
        Self { value, freshness: Freshness::Fresh, source: Source::Nowhere }
    }

    /// A loader found that there is no value.
    pub(crate) fn nothing_loaded() -> Self
    where
        T: Default,
    {
        Self { value: T::default(), freshness: Freshness::Fresh, source: Source::Loader }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Detailed<U> {
        Detailed { value: change(self.value), freshness: self.freshness, source: self.source }
    }
}

impl<T, E> Lookup<T, E> {
    #[inline]
    pub(crate) fn ready(detailed: Detailed<T>) -> Self {
        Self(State::Ready(detailed))
    }

    /// A fresh value from memory.
    #[inline(always)]
    pub(crate) fn hit(value: T) -> Self {
        Self(State::Ready(Detailed { value, freshness: Freshness::Fresh, source: Source::Memory }))
    }

    /// What is known already.
    pub(crate) fn known(answer: Result<T, E>) -> Self {
        Self(answer.map_or_else(State::Failed, |value| State::Ready(Detailed::nowhere(value))))
    }

    pub(crate) fn answered(answer: Result<Detailed<T>, E>) -> Self {
        Self(answer.map_or_else(State::Failed, State::Ready))
    }

    pub(crate) fn failed(error: E) -> Self {
        Self(State::Failed(error))
    }

    pub(crate) fn below(future: impl Future<Output = Result<Detailed<T>, E>> + Send + 'static) -> Self {
        Self(State::Below(Box::pin(future)))
    }

    /// Itself if it is answered already, else what will answer it.
    pub(crate) fn known_or_future(self) -> Result<Self, BoxFuture<'static, Result<Detailed<T>, E>>> {
        match self.0 {
            State::Below(future) => Err(future),
            state => Ok(Self(state)),
        }
    }

    /// The answer that is there already.
    pub(crate) fn known_value(&self) -> Result<&T, &E> {
        match &self.0 {
            State::Ready(detailed) => Ok(&detailed.value),
            State::Failed(error) => Err(error),
            State::Below(_) | State::Taken => taken(),
        }
    }

    /// The answer if it is there already, else the lookup back, to be awaited or waited for. Never blocks,
    /// never polls.
    ///
    /// # Errors
    ///
    /// The lookup itself, if it has to go below memory or has failed.
    #[inline(always)]
    pub fn try_now(self) -> Result<T, Self> {
        match self.0 {
            State::Ready(detailed) => Ok(detailed.value),
            state => Err(Self(state)),
        }
    }

    /// Asks for freshness and source along with the value.
    pub fn detailed(self) -> Lookup<Detailed<T>, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let around = |detailed: Detailed<T>| {
            let (freshness, source) = (detailed.freshness, detailed.source);
            Detailed { value: detailed, freshness, source }
        };
        let state = match self.0 {
            State::Ready(detailed) => State::Ready(around(detailed)),
            State::Failed(error) => State::Failed(error),
            State::Below(future) => State::Below(Box::pin(async move { Ok(around(future.await?)) })),
            State::Taken => State::Taken,
        };
        Lookup(state)
    }
}

impl<T, E> Lookup<T, E> {
    /// Finishes on this thread: parks it if the answer lies below and cannot be had at the first poll.
    ///
    /// Not for code that runs on an asynchronous runtime's own threads: the thread is blocked, and a loader that needs
    /// that very thread to go on (a timer of a single-threaded runtime) never does. `.await` there.
    ///
    /// # Errors
    ///
    /// What the call failed with.
    ///
    /// # Panics
    ///
    /// If the lookup was polled to its end before.
    #[inline(always)]
    pub fn wait(self) -> Result<T, E> {
        match self.0 {
            State::Ready(detailed) => Ok(detailed.value),
            state => Self(state).wait_below(),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_below(self) -> Result<T, E> {
        match self.0 {
            State::Ready(detailed) => Ok(detailed.value),
            State::Failed(error) => Err(error),
            State::Below(future) => block_on(future).map(|detailed| detailed.value),
            State::Taken => taken(),
        }
    }

    /// The same for at most `limit` of real time. A load that took too long goes on for whoever else waits for it; a
    /// write is finished by the cache. What blocks this very thread (a blocking loader that it runs, a store that works
    /// inline) is not interrupted: the limit counts from when it lets go.
    ///
    /// # Errors
    ///
    /// What the call failed with, or [`ErrorKind::Timeout`].
    ///
    /// # Panics
    ///
    /// If the lookup was polled to its end before.
    pub fn wait_for(self, limit: Duration) -> Result<T, E>
    where
        E: From<Error>,
    {
        match self.0 {
            State::Below(mut future) => match block_on_for(Pin::new(&mut future), limit) {
                Some(answer) => answer.map(|detailed| detailed.value),
                None => Err(Error::new(ErrorKind::Timeout, "cache", "wait").into()),
            },
            state => Self(state).wait(),
        }
    }
}

#[cold]
fn taken() -> ! {
    panic!("a lookup was polled again after it had answered")
}

// Values are only moved out, never pinned in place.
impl<T, E> Unpin for Lookup<T, E> {}

impl<T, E> Future for Lookup<T, E> {
    type Output = Result<T, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Below(future) = &mut self.0 {
            let answer = std::task::ready!(future.as_mut().poll(context));
            self.0 = State::Taken;
            return Poll::Ready(answer.map(|detailed| detailed.value));
        }
        match std::mem::replace(&mut self.0, State::Taken) {
            State::Ready(detailed) => Poll::Ready(Ok(detailed.value)),
            State::Failed(error) => Poll::Ready(Err(error)),
            State::Below(_) | State::Taken => taken(),
        }
    }
}

impl<T, E> fmt::Debug for Lookup<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Ready(_) => "Lookup(ready)",
            State::Failed(_) => "Lookup(failed)",
            State::Below(_) => "Lookup(below)",
            State::Taken => "Lookup(taken)",
        })
    }
}
