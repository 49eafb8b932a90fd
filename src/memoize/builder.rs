//! What a memoized function is to remember.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nanotier_tier::{Clock, Error, ErrorKind, Result, Spawn};

use super::argument::Arguments;
use super::memoized::Memoized;
use super::mode::{Mode, Plain};
use crate::{Builder, Options, Policy};

/// A function that is to be memoized. Nothing is judged before [`build`](Self::build).
#[must_use = "a builder does nothing until `build()`"]
pub struct Memoize<A, V, M: Mode<V> = Plain> {
    cache: Builder<A, V>,
    name: Option<String>,
    function: Arc<dyn Fn(A) -> M::Output + Send + Sync>,
}

impl<A: Arguments, V: Clone + Send + Sync + 'static, M: Mode<V>> Memoize<A, V, M> {
    pub(super) fn new(function: impl Fn(A) -> M::Output + Send + Sync + 'static) -> Self {
        let cache = Builder::new().capacity(A::CAPACITY_DEFAULT);
        Self { cache, name: None, function: Arc::new(function) }
    }

    /// How long answers are fresh; for ever unless told otherwise. See [`Builder::ttl`].
    pub fn ttl(self, ttl: Duration) -> Self {
        self.configure(|cache| cache.ttl(ttl))
    }

    /// How long after that they are given as stale, while the function runs behind. See [`Builder::stale_for`].
    pub fn stale_for(self, stale_for: Duration) -> Self {
        self.configure(|cache| cache.stale_for(stale_for))
    }

    /// How long answers live and how they are worked out, beyond that: [`Options`].
    ///
    /// ```
    /// use nanotier::try_memoize;
    /// use std::time::Duration;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let read = try_memoize(|path: String| std::fs::read_to_string(path))
    ///     .ttl(hour)
    ///     .options(|options| options.stale_on_error_for(24 * hour))
    ///     .build()?;
    /// assert!(read.call("/no/such/file").is_err());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn options(self, change: impl FnOnce(Options<A, V>) -> Options<A, V>) -> Self {
        self.configure(|cache| cache.options(change))
    }

    /// How many answers memory holds: 10,000 unless told otherwise, and one where there are no arguments. With 0 none is
    /// kept, and those who ask at the same time still share one computation.
    pub fn capacity(self, answers: u64) -> Self {
        self.configure(|cache| cache.capacity(answers))
    }

    /// Which answers leave memory when it is full.
    pub fn policy(self, policy: Policy) -> Self {
        self.configure(|cache| cache.policy(policy))
    }

    /// Counts hits and misses for [`Memoized::stats`]. Off by default.
    pub fn stats(self, on: bool) -> Self {
        self.configure(|cache| cache.stats(on))
    }

    /// The clock. [`Clock::ticking`] by default; [`Clock::manual`] in tests.
    pub fn clock(self, clock: Clock) -> Self {
        self.configure(|cache| cache.clock(clock))
    }

    /// Where the function runs when nobody waits for it. See [`Builder::spawner`].
    pub fn spawner(self, spawner: impl Spawn) -> Self {
        self.configure(|cache| cache.spawner(spawner))
    }

    /// The name by which the function's answers are told from those of others in the same tiers: needed with tiers, and with a warm
    /// restart, and of no use otherwise. Choose it for good: under another name, what the tiers hold is not found.
    ///
    /// It is the cache's namespace; or follows it, with a `/` between, if `configure` names one. So functions that share a
    /// configuration, namespace and all, do not meet. It has itself no `/`.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Everything else that a cache can be told: tiers, a codec, options.
    ///
    /// ```
    /// use nanotier::{Inline, Json, MemoryStore, memoize};
    ///
    /// let square = memoize(|x: u64| x * x)
    ///     .named("square")
    ///     .configure(|cache| cache.tiers(Inline(MemoryStore::new())).codec(Json::default()))
    ///     .build()?;
    /// assert_eq!(square.call(12), 144);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn configure(self, change: impl FnOnce(Builder<A, V>) -> Builder<A, V>) -> Self {
        Self { cache: change(self.cache), ..self }
    }

    /// The memoized function.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`]; and [`ErrorKind::Config`] if tiers lie below and the function has no name.
    pub fn build(self) -> Result<Memoized<A, V, M>> {
        let cache = named(self.cache, self.name)?.build()?;
        Ok(Memoized { cache, function: self.function })
    }
}

/// What lies below memory is known by the function's name as well.
pub(super) fn named<A, V>(cache: Builder<A, V>, name: Option<String>) -> Result<Builder<A, V>> {
    if !cache.lasts() {
        return Ok(cache);
    }
    let Some(name) = name else {
        return Err(Error::new(ErrorKind::Config, "cache", "build").with_detail(
            "a memoized function over tiers needs a name, so that no other function's answers are taken for its own: \
             `.named(\"price\")`",
        ));
    };
    if name.contains('/') {
        return Err(Error::new(ErrorKind::InvalidName, "cache", "build").with_detail(
            "the name of a memoized function takes no `/`: that stands between a namespace and the name",
        ));
    }
    let namespace = cache.namespace_given().map_or_else(|| name.clone(), |space| format!("{space}/{name}"));
    Ok(cache.namespace(namespace))
}

impl<A, V, M: Mode<V>> fmt::Debug for Memoize<A, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memoize")
            .field("cache", &self.cache)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
