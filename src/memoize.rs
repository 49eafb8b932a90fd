//! Functions that remember their answers.
//!
//! A memoized function holds a [`Cache`](crate::Cache) whose keys are its arguments, as a tuple, and nothing else: it has no map, no
//! lock and no clock of its own. Keys are compared by `Eq`, never by a digest. What a cache promises holds for a memoized
//! function too: one computation per key, staleness, refreshes behind, order of removes and loads.

mod answer;
mod argument;
#[doc(hidden)]
pub mod attribute;
mod builder;
mod function;
mod here;
mod memoized;
mod mode;

pub use answer::Answer;
pub use argument::{Argument, Arguments};
pub use builder::Memoize;
pub use function::{AsyncFunction, Function};
pub use memoized::Memoized;
pub use mode::{Async, AsyncFallible, Fallible, Mode, Plain};

use std::fmt;

/// Remembers the answers of a function of up to seven arguments.
///
/// The arguments are the key, so they own what they are: `String`, not `&str`. The types of a closure's arguments have to be
/// written down. A call may pass the borrowed form all the same: see [`Argument`].
///
/// | the function | memoized by | a call returns |
/// |---|---|---|
/// | `fn(A, B) -> V` | [`memoize`] | `V` |
/// | `fn(A, B) -> Result<V, E>` | [`try_memoize`] | `Result<V, `[`LoadError<E>`](crate::LoadError)`>` |
/// | `async fn(A, B) -> V` | [`memoize_async`] | [`Answer<V>`], which is `V` when awaited |
/// | `async fn(A, B) -> Result<V, E>` | [`try_memoize_async`] | [`Lookup<V, LoadError<E>>`](crate::Lookup) |
///
/// Whoever asks while another works out the same answer waits for that one. The function runs on the thread that asks; a
/// stale answer's successor is worked out behind, on the cache's spawner. A panic of the function is a panic of all who wait for
/// it, and the next call runs it anew. Where tiers lie below and are down, the function runs.
///
/// A function may ask itself for other answers. Each level of such a recursion takes about 7 KiB of stack, or 1 by the attribute
/// of the same name (feature `macros`); without optimisation three times as much.
///
/// ```
/// use nanotier::memoize;
/// use std::time::Duration;
///
/// let price = memoize(|item: u64, currency: String| format!("{item} {currency}"))
///     .ttl(Duration::from_secs(60))
///     .build()?;
/// assert_eq!(price.call(7, "EUR"), "7 EUR");
/// assert_eq!(price.call(7, "EUR"), "7 EUR"); // remembered, and nothing is allocated for the key
/// price.remove(7, "EUR").wait()?;
/// # Ok::<(), nanotier::Error>(())
/// ```
pub fn memoize<A, V>(function: impl Function<A, Output = V>) -> Memoize<A, V>
where
    A: Arguments,
    V: Clone + Send + Sync + 'static,
{
    Memoize::new(move |arguments| function.run(arguments))
}

/// [`memoize`] for a function that can fail. An error is told to all who wait, and kept nowhere.
///
/// ```
/// use nanotier::{LoadError, try_memoize};
///
/// let parse = try_memoize(|text: String| text.parse::<u32>()).build()?;
/// assert_eq!(parse.call("42")?, 42);
/// assert!(matches!(parse.call("many"), Err(LoadError::Loader(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn try_memoize<A, V, E>(function: impl Function<A, Output = Result<V, E>>) -> Memoize<A, V, Fallible<E>>
where
    A: Arguments,
    V: Clone + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    Memoize::new(move |arguments| function.run(arguments))
}

/// [`memoize`] for a function that answers asynchronously: an `async fn`, or an `async move |..| ..` that owns what it
/// uses. Its clone runs at each miss, so that what it captured is to be cheap to clone: an `Arc`, a connection pool.
///
/// The computation belongs to the cache: a caller that is dropped takes nothing with it. The future must be `Send`, and runs
/// where it is awaited.
///
/// ```
/// use nanotier::memoize_async;
/// use std::sync::Arc;
///
/// let names = Arc::new(vec!["Ada", "Grace"]);
/// let name = memoize_async(async move |id: usize| names[id].to_owned()).capacity(1000).build()?;
/// assert_eq!(name.call(1_usize).wait(), "Grace"); // or `.await`
/// # Ok::<(), nanotier::Error>(())
/// ```
pub fn memoize_async<A, V>(function: impl AsyncFunction<A, Output = V>) -> Memoize<A, V, Async>
where
    A: Arguments,
    V: Clone + Send + Sync + 'static,
{
    Memoize::new(move |arguments| function.begin(arguments))
}

/// [`memoize_async`] for a function that can fail. An error is told to all who wait, and kept nowhere.
///
/// ```
/// use nanotier::try_memoize_async;
/// use std::time::Duration;
///
/// # async fn query(id: u64) -> Result<String, std::io::Error> { Ok(format!("user {id}")) }
/// let user = try_memoize_async(query).ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(600)).build()?;
/// assert_eq!(user.call(7).wait()?, "user 7"); // or `.await?`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn try_memoize_async<A, V, E>(
    function: impl AsyncFunction<A, Output = Result<V, E>>,
) -> Memoize<A, V, AsyncFallible<E>>
where
    A: Arguments,
    V: Clone + Send + Sync + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    Memoize::new(move |arguments| function.begin(arguments))
}
