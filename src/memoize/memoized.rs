//! A function with its answers.

use std::fmt;
use std::sync::Arc;

use super::argument::{Argument, Arguments, Passed};
use super::mode::{Mode, Near, Plain};
use crate::Stats;
use crate::cache::Cache;
use crate::expiry::Good;
use crate::lookup::Lookup;

/// A function that remembers its answers, by [`memoize`](super::memoize) and its sisters. Clones are handles on the same
/// answers.
///
/// `A` is the tuple of the arguments, `V` the answer, `M` says what a [`call`](Self::call) returns: so the type can be named,
/// whatever the function is. A hit costs a [`Cache::get`] of the same key, and allocates nothing.
///
/// ```
/// use nanotier::{Memoized, memoize};
///
/// struct Prices { net: Memoized<(u64, String), u64> }
///
/// let prices = Prices { net: memoize(|item: u64, _country: String| item * 100).build()? };
/// assert_eq!(prices.net.call(7, "DE"), 700);
/// # Ok::<(), nanotier::Error>(())
/// ```
pub struct Memoized<A, V, M: Mode<V> = Plain> {
    pub(super) cache: Cache<A, V>,
    pub(super) function: Arc<dyn Fn(A) -> M::Output + Send + Sync>,
}

impl<A, V, M: Mode<V>> Clone for Memoized<A, V, M> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), function: self.function.clone() }
    }
}

impl<A, V, M> Memoized<A, V, M>
where
    A: Arguments,
    V: Clone + Send + Sync + 'static,
    M: Mode<V>,
{
    /// The cache of its answers, by its arguments: to look without computing, to insert what is known already, to close.
    ///
    /// ```
    /// let square = nanotier::memoize(|x: u64| x * x).build()?;
    /// assert_eq!(square.cache().get(&(3,)).wait()?, None);
    /// square.call(3);
    /// assert_eq!(square.cache().get(&(3,)).wait()?, Some(9));
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache<A, V> {
        &self.cache
    }

    /// Forgets all answers, in memory and in the tiers, as [`Cache::clear`] does. A computation that is under way is
    /// not remembered.
    ///
    /// # Errors
    ///
    /// Told when awaited: as [`Cache::clear`].
    pub fn clear(&self) -> Lookup<()> {
        self.cache.clear()
    }

    /// Counts of memory's hits and misses. All zero unless [`Memoize::stats`](super::Memoize::stats) was asked for.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.cache.stats()
    }

    #[inline(always)]
    fn answer<T>(&self, passed: Passed<T>) -> M::Answer
    where
        Passed<T>: Argument<A>,
    {
        match self.cache.near(&passed) {
            Some((value, Good::Fresh)) => M::hit(value),
            near => self.miss(passed, Near(near)),
        }
    }

    #[cold]
    #[inline(never)]
    fn miss<T>(&self, passed: Passed<T>, near: Near<V>) -> M::Answer
    where
        Passed<T>: Argument<A>,
    {
        M::miss(self, passed.into_owned(), near)
    }
}

impl<A, V, M: Mode<V>> fmt::Debug for Memoized<A, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memoized").finish_non_exhaustive()
    }
}

macro_rules! calls {
    ($($name:ident $argument:ident)*) => {
        impl<$($name,)* V, M> Memoized<($($name,)*), V, M>
        where
            ($($name,)*): Arguments,
            V: Clone + Send + Sync + 'static,
            M: Mode<V>,
        {
            /// The answer: remembered, or worked out by the function, once for all who ask at the same time. What may be passed
            /// for an argument says [`Argument`]; what is returned, the table at [`memoize`](crate::memoize()).
            ///
            /// # Panics
            ///
            /// A function that has no error to return panics here, if it panicked or asked for the very answer that it
            /// works out.
            #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
            #[inline]
            pub fn call(&self, $($argument: impl Argument<$name>),*) -> M::Answer {
                self.answer(Passed(($($argument,)*)))
            }

            /// Forgets the answer to these arguments, in memory and in the tiers, as [`Cache::remove`] does. A computation
            /// of it that is under way is not remembered.
            ///
            /// # Errors
            ///
            /// Told when awaited: as [`Cache::remove`].
            #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
            pub fn remove(&self, $($argument: impl Argument<$name>),*) -> Lookup<()> {
                self.cache.remove(&Passed(($($argument,)*)).into_owned())
            }
        }
    };
}
calls! {}
calls! { A a }
calls! { A a B b }
calls! { A a B b C c }
calls! { A a B b C c D d }
calls! { A a B b C c D d E e }
calls! { A a B b C c D d E e F f }
calls! { A a B b C c D d E e F f G g }
