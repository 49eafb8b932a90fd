//! The future of a call that cannot fail.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::lookup::Lookup;

/// An answer under way, of [`memoize_async`](crate::memoize_async): the value when awaited, ready at once where it is
/// remembered.
///
/// Nothing runs before it is polled. Once begun, the computation belongs to the cache, and goes on if this is dropped.
///
/// # Panics
///
/// When awaited: if the function panicked, or asked for the very answer that it works out.
#[must_use = "await it or call `.wait()`: nothing runs before"]
pub struct Answer<V>(pub(super) Lookup<V, Infallible>);

impl<V> Answer<V> {
    /// The answer if it is remembered, fresh or stale, else itself back. Never blocks, never polls.
    ///
    /// # Errors
    ///
    /// The answer that is still to come.
    #[inline(always)]
    pub fn try_now(self) -> Result<V, Self> {
        self.0.try_now().map_err(Self)
    }

    /// Finishes on this thread, as [`Lookup::wait`] does; not for the threads of an asynchronous runtime.
    ///
    /// # Panics
    ///
    /// As when awaited.
    #[inline(always)]
    pub fn wait(self) -> V {
        let Ok(value) = self.0.wait();
        value
    }
}

impl<V> Future for Answer<V> {
    type Output = V;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<V> {
        Pin::new(&mut self.0).poll(context).map(|answer| {
            let Ok(value) = answer;
            value
        })
    }
}

impl<V> fmt::Debug for Answer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&self.0).finish()
    }
}
