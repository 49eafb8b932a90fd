//! What `#[memoize]` is made of. Not for use by hand: it changes with the macro.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use nanotier_tier::Error;

use super::argument::{Argument, Arguments, Passed};
use super::builder::named;
use super::here::{Desk, wait};
use super::mode::blame_the_function;
use crate::expiry::Good;
use crate::get_with::{tell_error, tell_load_error};
use crate::load_error::LoadError;
use crate::loader::{Loaded, Loader, asynchronous, blocking};
use crate::lookup::Lookup;
use crate::{Builder, Cache};

/// The caches of one function: one for each set of types that it is used with, made when first needed.
///
/// A static cannot be generic, and cannot name the type of an expression. So a cache is found by its type, in the order in
/// which they were first used; for most functions there is but one.
#[derive(Debug, Default)]
pub struct Caches {
    held: OnceLock<Box<dyn Any + Send + Sync>>,
    next: OnceLock<Box<Self>>,
}

/// `Of`: the types that the function is used with, beyond those of its key and its answer.
struct Held<Of, K, V> {
    cache: Cache<K, V>,
    of: PhantomData<fn() -> Of>,
}

impl Caches {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: OnceLock::new(), next: OnceLock::new() }
    }

    /// The cache of these types.
    ///
    /// # Panics
    ///
    /// If it cannot be built as configured.
    #[inline]
    pub fn of<Of, K, V>(
        &'static self,
        name: Name,
        configure: impl FnOnce(Builder<K, V>) -> Builder<K, V>,
    ) -> &'static Cache<K, V>
    where
        Of: 'static,
        K: Arguments,
        V: Value,
    {
        let mut at = self;
        let mut configure = Some(configure);
        loop {
            let held = at.held.get_or_init(|| {
                let configure = configure.take().expect("a cache is built at the first free place");
                let is_first = std::ptr::eq(at, self);
                Box::new(Held { cache: build(name, is_first, configure), of: PhantomData::<fn() -> Of> })
            });
            if let Some(held) = held.downcast_ref::<Held<Of, K, V>>() {
                return &held.cache;
            }
            at = at.next.get_or_init(Box::default);
        }
    }

    /// The same where only an expression knows the type of the key. It is never run.
    #[inline]
    pub fn by<Of, P, K, V>(
        &'static self,
        _: impl FnOnce(P) -> K,
        name: Name,
        configure: impl FnOnce(Builder<K, V>) -> Builder<K, V>,
    ) -> &'static Cache<K, V>
    where
        Of: 'static,
        K: Arguments,
        V: Value,
    {
        self.of::<Of, K, V>(name, configure)
    }
}

/// By what a function is known below memory.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// In a panic.
    pub function: &'static str,
    /// Below memory; `None` where the macro cannot know one that is its alone.
    pub below: Option<&'static str>,
}

/// A cache for a function of this name, which is its only one, or not.
///
/// # Panics
///
/// If it cannot be built as configured.
#[cold]
#[inline(never)]
pub fn build<K, V>(
    name: Name,
    is_first: bool,
    configure: impl FnOnce(Builder<K, V>) -> Builder<K, V>,
) -> Cache<K, V>
where
    K: Arguments,
    V: Value,
{
    let builder = configure(Builder::new().capacity(K::CAPACITY_DEFAULT));
    let refuse =
        |error: &dyn fmt::Display| -> ! { panic!("`{}` cannot be memoized: {error}", name.function) };
    if builder.lasts() {
        if !is_first {
            refuse(
                &"over tiers it can be used with one set of types alone, since its name does not tell them apart",
            );
        }
        if name.below.is_none() {
            refuse(&"over tiers it needs a name that no other function has: `name = \"users.price\"`");
        }
    }
    named(builder, name.below.map(Into::into))
        .and_then(Builder::build)
        .unwrap_or_else(|error: Error| refuse(&error))
}

/// Changes a builder: says which type a closure of the user's is given.
pub fn configure<K, V>(
    builder: Builder<K, V>,
    change: impl FnOnce(Builder<K, V>) -> Builder<K, V>,
) -> Builder<K, V> {
    change(builder)
}

/// A `Result`, whose `Ok` is what is remembered.
#[diagnostic::on_unimplemented(
    message = "`result` remembers the `Ok` of a `Result`, and this function returns `{Self}`",
    note = "leave `result` out to remember whatever is returned"
)]
pub trait Fails {
    /// What is remembered.
    type Value;
    /// What is told.
    type Error;
}

impl<V, E> Fails for Result<V, E> {
    type Value = V;
    type Error = E;
}

/// An error that all who waited for one load can be told.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be told to all who waited: it is not `Clone + Display + Send + Sync`",
    label = "this error is not `Clone + Display + Send + Sync`",
    note = "return `Result<_, Arc<{Self}>>`: `?` makes the `Arc` by itself"
)]
pub trait Shared: Clone + fmt::Display + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<E: Clone + fmt::Display + Send + Sync + 'static> Shared for E {}

/// A receiver that a computation can own.
#[diagnostic::on_unimplemented(
    message = "the computation may outlive `&self`, and `{Self}` is not `Clone + Send + Sync`: take `self: Arc<Self>`",
    label = "`&self` ends with the call",
    note = "an asynchronous method, or one with `stale`, is worked out by the cache, which has to own its receiver: `self: Arc<Self>`, or `&self` of a type that is cheap to clone"
)]
pub trait Receiver: Send + Sync + 'static {
    /// A receiver of its own.
    #[must_use]
    fn own(&self) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> Receiver for T {
    fn own(&self) -> Self {
        self.clone()
    }
}

/// An answer that can be remembered.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be remembered: it is not `Clone + Send + Sync`, or borrows",
    label = "every call gets a clone of the answer",
    note = "return an `Arc<{Self}>`: a clone is cheap then"
)]
pub trait Value: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<V: Clone + Send + Sync + 'static> Value for V {}

/// Forgets one answer.
pub fn remove<K: Arguments, V: Value, T>(cache: &Cache<K, V>, passed: T) -> Lookup<()>
where
    Passed<T>: Argument<K>,
{
    cache.remove(&Passed(passed).into_owned())
}

fn place<K, V>(cache: &Cache<K, V>) -> usize {
    std::ptr::from_ref(cache).addr()
}

/// A call whose work is done on this stack.
#[inline]
pub fn call<K: Arguments, V: Value, T>(cache: &'static Cache<K, V>, passed: T, work: impl FnOnce() -> V) -> V
where
    Passed<T>: Argument<K>,
{
    let passed = Passed(passed);
    match cache.near(&passed) {
        Some((value, Good::Fresh)) => value,
        near => call_cold(cache, &passed.into_owned(), near, work),
    }
}

#[cold]
#[inline(never)]
fn call_cold<K: Arguments, V: Value>(
    cache: &Cache<K, V>,
    key: &K,
    near: Option<(V, Good)>,
    work: impl FnOnce() -> V,
) -> V {
    let desk = Desk::new();
    let loader = || -> Loader<V> {
        let asked = desk.clone();
        Box::new(|_| Box::pin(async { asked.ask().await.map(Loaded::New) }))
    };
    let lookup = cache.load_cold(key, near, loader, tell_error);
    let mut work = Some(work);
    let (answer, own) = wait(lookup, &desk, (place(cache), key.clone()), &mut work);
    answer.unwrap_or_else(|error| match (own, work) {
        (Some(own), _) => own,
        (None, Some(work)) => {
            blame_the_function(&error);
            work()
        }
        (None, None) => unreachable!("work that was done has a result"),
    })
}

/// [`call`] for work that can fail.
#[inline]
pub fn try_call<K: Arguments, V: Value, E: Shared, T>(
    cache: &'static Cache<K, V>,
    passed: T,
    work: impl FnOnce() -> Result<V, E>,
) -> Result<V, E>
where
    Passed<T>: Argument<K>,
{
    let passed = Passed(passed);
    match cache.near(&passed) {
        Some((value, Good::Fresh)) => Ok(value),
        near => try_call_cold(cache, &passed.into_owned(), near, work),
    }
}

#[cold]
#[inline(never)]
fn try_call_cold<K: Arguments, V: Value, E: Shared>(
    cache: &Cache<K, V>,
    key: &K,
    near: Option<(V, Good)>,
    work: impl FnOnce() -> Result<V, E>,
) -> Result<V, E> {
    let desk = Desk::<Result<V, E>>::new();
    let loader = || -> Loader<V> {
        let asked = desk.clone();
        Box::new(|_| Box::pin(async { asked.ask().await.and_then(Loaded::if_ok) }))
    };
    let lookup = cache.load_cold(key, near, loader, tell_load_error);
    let mut work = Some(work);
    let (answer, own) = wait(lookup, &desk, (place(cache), key.clone()), &mut work);
    answer.or_else(|error| match (error, own, work) {
        (LoadError::Loader(error), ..) => Err(Arc::unwrap_or_clone(error)),
        (LoadError::Cache(_), Some(own), _) => own,
        (LoadError::Cache(error), None, Some(work)) => {
            blame_the_function(&error);
            work()
        }
        (LoadError::Cache(_), None, None) => unreachable!("work that was done has a result"),
    })
}

/// A call whose work may be done behind. `own` makes it, at a miss.
#[inline]
pub fn call_behind<K: Arguments, V: Value, T, W>(
    cache: &'static Cache<K, V>,
    passed: T,
    own: impl FnOnce() -> W,
) -> V
where
    Passed<T>: Argument<K>,
    W: FnOnce() -> V + Clone + Send + 'static,
{
    let passed = Passed(passed);
    match cache.near(&passed) {
        Some((value, Good::Fresh)) => value,
        near => {
            let work = own();
            let loader = || {
                let work = work.clone();
                blocking(|_| Ok(Loaded::New(work())))
            };
            let lookup = cache.load_cold(&passed.into_owned(), near, loader, tell_error);
            lookup.wait().unwrap_or_else(|error| {
                blame_the_function(&error);
                work()
            })
        }
    }
}

/// [`call_behind`] for work that can fail.
#[inline]
pub fn try_call_behind<K: Arguments, V: Value, E: Shared, T, W>(
    cache: &'static Cache<K, V>,
    passed: T,
    own: impl FnOnce() -> W,
) -> Result<V, E>
where
    Passed<T>: Argument<K>,
    W: FnOnce() -> Result<V, E> + Clone + Send + 'static,
{
    let passed = Passed(passed);
    match cache.near(&passed) {
        Some((value, Good::Fresh)) => Ok(value),
        near => {
            let work = own();
            let loader = || {
                let work = work.clone();
                blocking(|_| Loaded::if_ok(work()))
            };
            let lookup = cache.load_cold(&passed.into_owned(), near, loader, tell_load_error);
            lookup.wait().or_else(|error| of_the_function(error).map_or_else(work, Err))
        }
    }
}

/// A call whose work is awaited. `own` makes it, at a miss.
#[inline]
pub fn call_async<K: Arguments, V: Value, T, W, F>(
    cache: &'static Cache<K, V>,
    passed: T,
    own: impl FnOnce() -> W,
) -> impl Future<Output = V> + Send
where
    Passed<T>: Argument<K>,
    W: FnOnce() -> F + Clone + Send + 'static,
    F: Future<Output = V> + Send + 'static,
{
    let passed = Passed(passed);
    let near = match cache.near(&passed) {
        Some((value, Good::Fresh)) => Ok(value),
        near => {
            let work = own();
            let loader = || {
                let work = work.clone();
                asynchronous(|_| work(), |value| Ok(Loaded::New(value)))
            };
            Err((cache.load_cold(&passed.into_owned(), near, loader, tell_error), work))
        }
    };
    async move {
        let (lookup, work) = match near {
            Ok(value) => return value,
            Err(cold) => cold,
        };
        match lookup.await {
            Ok(value) => value,
            Err(error) => {
                blame_the_function(&error);
                work().await
            }
        }
    }
}

/// [`call_async`] for work that can fail.
#[inline]
pub fn try_call_async<K: Arguments, V: Value, E: Shared, T, W, F>(
    cache: &'static Cache<K, V>,
    passed: T,
    own: impl FnOnce() -> W,
) -> impl Future<Output = Result<V, E>> + Send
where
    Passed<T>: Argument<K>,
    W: FnOnce() -> F + Clone + Send + 'static,
    F: Future<Output = Result<V, E>> + Send + 'static,
{
    let passed = Passed(passed);
    let near = match cache.near(&passed) {
        Some((value, Good::Fresh)) => Ok(value),
        near => {
            let work = own();
            let loader = || {
                let work = work.clone();
                asynchronous(|_| work(), Loaded::if_ok)
            };
            Err((cache.load_cold(&passed.into_owned(), near, loader, tell_load_error), work))
        }
    };
    async move {
        let (lookup, work) = match near {
            Ok(value) => return Ok(value),
            Err(cold) => cold,
        };
        match lookup.await {
            Ok(value) => Ok(value),
            Err(error) => match of_the_function(error) {
                Some(error) => Err(error),
                None => work().await,
            },
        }
    }
}

/// The function's own error; `None` if it was the cache's, and the function is still to be asked.
fn of_the_function<E: Clone>(error: LoadError<E>) -> Option<E> {
    match error {
        LoadError::Loader(error) => Some(Arc::unwrap_or_clone(error)),
        LoadError::Cache(error) => {
            blame_the_function(&error);
            None
        }
    }
}
