//! Options in, a refreshed value out.

use std::error::Error as StdError;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nanotier_tier::{Clock, Codec, Context, Error, ErrorKind, Key, Moment, Result, Spawn, Tier};

use super::place::{Followed, Named};
use super::plan::Times;
use super::refresher::{OnError, Refresher};
use super::source::{BlockingFunction, Function, Source};
use super::supervisor::Supervisor;
use super::{Loading, Snapshot};
use crate::lookup::Lookup;

/// Publishes what `load` brings, and brings it anew every `every`. [`Keep`] has the options, and says what is promised.
///
/// The first load is waited for.
///
/// ```
/// use std::time::Duration;
///
/// async fn rates() -> Result<Vec<f64>, std::io::Error> {
///     Ok(vec![1.09, 0.85])
/// }
///
/// let rates = nanotier::keep(rates, Duration::from_secs(30)).wait()?; // or `.await`
/// assert_eq!(rates.read(|rates| rates[0]), 1.09);
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// # Errors
///
/// As [`Keep::keep`].
pub fn keep<V, F, L, E>(load: F, every: Duration) -> Lookup<Snapshot<V>>
where
    V: Send + Sync + 'static,
    F: FnMut() -> L + Send + 'static,
    L: Future<Output = Result<V, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    Keep::new(every).keep(load)
}

/// Follows the value under `key`, which others write: read now, and every `every` from then on. [`Keep::mirror`] says more.
///
/// ```
/// use nanotier::{Cache, Inline, Json, MemoryStore};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let store = Arc::new(MemoryStore::new());
/// let settings = Cache::<String, u32>::builder().namespace("settings").tiers(Inline(store.clone()));
/// settings.codec(Json::default()).build()?.insert("limit".into(), 100).wait()?;
///
/// let every = Duration::from_secs(5);
/// let limit = nanotier::mirror::<u32>(Inline(store), "settings", "limit", Json::default(), every).wait()?;
/// assert_eq!(limit.get(), 100);
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// # Errors
///
/// As [`Keep::mirror`].
pub fn mirror<V: Send + Sync + 'static>(
    tier: impl Tier,
    namespace: impl Into<String>,
    key: &(impl Key + ?Sized),
    codec: impl Codec<V>,
    every: Duration,
) -> Lookup<Snapshot<V>> {
    Keep::new(every).mirror(tier, namespace, key, codec)
}

/// Loads a value in the background until that succeeds, and anew every `every` from then on. [`Keep`] has the options.
///
/// ```
/// use std::time::Duration;
///
/// let motd = nanotier::loader(async || Ok::<_, std::io::Error>("hello"), Duration::from_secs(30))?;
/// assert_eq!(motd.value().wait()?, "hello");
/// # Ok::<(), nanotier::Error>(())
/// ```
///
/// # Errors
///
/// As [`Keep::loader`].
pub fn loader<V, F, L, E>(load: F, every: Duration) -> Result<Loading<V>>
where
    V: Send + Sync + 'static,
    F: FnMut() -> L + Send + 'static,
    L: Future<Output = Result<V, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    Keep::new(every).loader(load)
}

/// How a value is refreshed in the background. Nothing is judged before one of the methods that begin it, and all of it there.
///
/// | begin by | the value is | the first load |
/// |---|---|---|
/// | [`keep`](Self::keep), [`keep_blocking`](Self::keep_blocking) | what a function brings | is waited for; if it fails there is nothing |
/// | [`mirror`](Self::mirror) | what others write under a key of a tier | the same |
/// | [`loader`](Self::loader), [`loader_blocking`](Self::loader_blocking) | what a function brings | is tried until it succeeds |
///
/// | what happens | the value | [`last_error`](Snapshot::last_error) | the next load |
/// |---|---|---|---|
/// | a load brings a value | is published, as one version more | none | after the interval |
/// | a mirror finds the record it has | stays | none | after the interval |
/// | the loader fails | stays | [`ErrorKind::Loader`], with its error as cause | after the back-off |
/// | the loader, or a codec, panics | stays | [`ErrorKind::LoaderPanicked`] | after the back-off |
/// | a load is past its [deadline](Self::deadline) | stays; the load is dropped | [`ErrorKind::Timeout`] | after the back-off |
/// | a mirror finds nothing, nothing it can read, or no tier that answers | stays | [`ErrorKind::Absent`], [`ErrorKind::Codec`], the tier's own | after the back-off |
/// | a write through fails | is published here | none; [`write_error`](Snapshot::write_error) has it | after the interval |
/// | the runtime ends | stays | [`ErrorKind::Closed`] | never |
/// | the last handle goes, or [`close`](Snapshot::close) | stays | as it was | never |
///
/// One load runs at a time. The interval counts from the beginning of a load to that of the next, give or take the
/// [jitter](Self::jitter); a load that took longer than that is followed by a whole pause. The [back-off](Self::back_off)
/// counts from the end of a load. A function that has panicked is called again: what it shares with others must bear that.
///
/// Background work runs on the [spawner](Self::spawner) and needs no runtime.
///
/// ```
/// use nanotier::Keep;
/// use std::time::Duration;
///
/// let zones = Keep::new(Duration::from_secs(3600))
///     .deadline(Duration::from_secs(5))
///     .back_off(Duration::from_millis(200), Duration::from_secs(60))
///     .on_error(|error| eprintln!("time zones stay as they are: {error}"))
///     .keep_blocking(|| std::fs::read_to_string("Cargo.toml"))
///     .wait()?;
/// assert!(zones.read(|zones| zones.contains("nanotier")));
/// # Ok::<(), nanotier::Error>(())
/// ```
#[must_use = "options do nothing until `keep`, `mirror` or `loader`"]
pub struct Keep<V> {
    times: Times,
    write_through: Option<Named<V>>,
    on_error: Option<OnError>,
    clock: Option<Clock>,
    spawner: Option<Arc<dyn Spawn>>,
    seed: Option<u64>,
}

impl<V: Send + Sync + 'static> Keep<V> {
    /// How long a load may take unless told otherwise.
    pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(20);
    /// The jitter unless told otherwise: a tenth.
    pub const JITTER_DEFAULT: f64 = 0.1;

    /// Loads that begin `every` apart; rounded up to a millisecond. Zero is refused.
    pub fn new(every: Duration) -> Self {
        let (jitter, deadline) = (Self::JITTER_DEFAULT, Self::DEADLINE_DEFAULT);
        let times = Times { every, jitter, back_off: None, deadline };
        Self { times, write_through: None, on_error: None, clock: None, spawner: None, seed: None }
    }

    /// By what share of itself each pause is longer or shorter, at random, so that processes that began together do not
    /// load together for ever. From 0 to below 1; default [`JITTER_DEFAULT`](Self::JITTER_DEFAULT).
    pub fn jitter(mut self, share: f64) -> Self {
        self.times.jitter = share;
        self
    }

    /// The pause after a failed load, doubled with each further one, up to `max`; the first success ends it. The jitter
    /// applies, but not beyond `max`.
    ///
    /// By default it begins with a second, or with the interval if that is shorter, and ends at 30 s, or at the interval if
    /// that is longer.
    pub fn back_off(mut self, first: Duration, max: Duration) -> Self {
        self.times.back_off = Some((first, max));
        self
    }

    /// How long a load may take, the first one too: at its deadline it is dropped and counts as failed
    /// ([`ErrorKind::Timeout`]). The same holds for a write through. Default
    /// [`DEADLINE_DEFAULT`](Self::DEADLINE_DEFAULT); as long as you like, but not zero.
    ///
    /// A blocking function cannot be interrupted: what it brings after its deadline is dropped, and until it returns every
    /// load fails ([`ErrorKind::Busy`]) without another call of it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.times.deadline = deadline;
        self
    }

    /// Also puts each value under `key` of `tier`, for [mirrors](Self::mirror) or a [`Cache`](crate::Cache) over the same
    /// namespace to read: the value and when its load began. It is fresh there for the interval with its jitter and the
    /// deadline together; then, if no next one has come, stale: a cache serves it within its own `stale_for`.
    ///
    /// A value is published here first, and the first load is waited for together with its write. A write that fails
    /// is told by [`write_error`](Snapshot::write_error) and [`on_error`](Self::on_error), and goes again with the next value;
    /// the value here is as good as ever. Of several processes that keep one key, the last to write has its value there.
    ///
    /// ```
    /// use nanotier::{Inline, Json, Keep, MemoryStore};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let shared = || Inline(store.clone());
    /// let writer = Keep::new(Duration::from_secs(60))
    ///     .write_through(shared(), "settings", "limit", Json::default())
    ///     .keep(async || Ok::<_, std::io::Error>(100_u32))
    ///     .wait()?;
    ///
    /// // In another process, with no access to the source:
    /// let reader = Keep::<u32>::new(Duration::from_secs(5)).mirror(shared(), "settings", "limit", Json::default()).wait()?;
    /// assert_eq!(reader.get(), writer.get());
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn write_through(
        self,
        tier: impl Tier,
        namespace: impl Into<String>,
        key: &(impl Key + ?Sized),
        codec: impl Codec<V>,
    ) -> Self {
        Self { write_through: Some(Named::new(tier, namespace, key, codec)), ..self }
    }

    /// Is told of each refresh and each write through that failed, where it happens; for a log. Not of a first load
    /// that is waited for: who waits is told. Must be quick; a panic of it is dropped.
    pub fn on_error(self, tell: impl FnMut(&Error) + Send + 'static) -> Self {
        Self { on_error: Some(Box::new(tell)), ..self }
    }

    /// The clock. [`Clock::ticking`] by default; [`Clock::manual`] in tests.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Where background work runs. By default the tokio runtime of whoever waits for the first load, with the feature
    /// `tokio` and inside one; else one worker thread, which is there only while there is something to do.
    ///
    /// If a runtime ends, what was refreshed on it stays as it is and says so; if nobody drives it,
    /// [`healthy`](Snapshot::healthy) is false once a refresh is overdue. A blocking function runs on a thread of its own in any
    /// case.
    pub fn spawner(self, spawner: impl Spawn) -> Self {
        Self { spawner: Some(Arc::new(spawner)), ..self }
    }

    /// Where the random numbers of the jitter begin, for tests; and the number by which what is written through is told
    /// from what others write there, from which it must differ. Random by default.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Publishes what `load` brings. The first load is driven by whoever awaits this, or waits; if that leaves, or the load
    /// fails, nothing is left running.
    ///
    /// The error of `load` may be anything that can be boxed as an error, `anyhow`'s and plain text too. One that cannot
    /// fail says `Ok::<_, std::convert::Infallible>(value)`.
    ///
    /// # Errors
    ///
    /// Told when awaited: [`ErrorKind::Config`] for options that cannot be; the first load's failure:
    /// [`ErrorKind::Loader`] with its error as [`cause`](Error::cause), [`ErrorKind::LoaderPanicked`],
    /// [`ErrorKind::Timeout`].
    pub fn keep<F, L, E>(self, load: F) -> Lookup<Snapshot<V>>
    where
        F: FnMut() -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        self.refresher(|_, _| Ok(Box::new(Function(load)))).map_or_else(Lookup::failed, Refresher::keep)
    }

    /// The same of a function that blocks its thread. It is called on a thread of its own, one call at a time; inside
    /// the tokio runtime of the caller, with the feature `tokio` and if there is one. The thread is there while it is at
    /// work, and some seconds longer.
    ///
    /// If the first load is past its deadline, or nobody waits for it any more, it is left to return.
    ///
    /// # Errors
    ///
    /// As [`keep`](Self::keep).
    pub fn keep_blocking<F, E>(self, load: F) -> Lookup<Snapshot<V>>
    where
        F: FnMut() -> Result<V, E> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        self.refresher(|supervisor, _| Ok(Box::new(BlockingFunction::new(load, supervisor.clone()))))
            .map_or_else(Lookup::failed, Refresher::keep)
    }

    /// Follows the value under `key`, which others write: by [`write_through`](Self::write_through), or by a
    /// [`Cache`](crate::Cache) of that namespace. The first read is waited for.
    ///
    /// It is the truth that is asked, in a chain too. What does not come leaves the last value in place and is an error
    /// until it does: the tier does not answer, nothing is under the key any more or only what expired
    /// ([`ErrorKind::Absent`]), what is there does not decode or is another codec's ([`ErrorKind::Codec`]). Each record is
    /// published once, however often it is found.
    ///
    /// # Errors
    ///
    /// Told when awaited: [`ErrorKind::Config`] for options that cannot be, and for one that writes through, since a mirror reads;
    /// [`ErrorKind::InvalidName`]; [`ErrorKind::TooLarge`] for the key; and those above, of the first read.
    pub fn mirror(
        self,
        tier: impl Tier,
        namespace: impl Into<String>,
        key: &(impl Key + ?Sized),
        codec: impl Codec<V>,
    ) -> Lookup<Snapshot<V>> {
        if self.write_through.is_some() {
            let error = Error::new(ErrorKind::Config, "cache", "mirror");
            return Lookup::failed(
                error.with_detail("a mirror reads: only what is loaded can be written through"),
            );
        }
        let place = Named::new(tier, namespace, key, codec);
        self.refresher(|_, context| Ok(Box::new(Followed::new(place.found(context)?))))
            .map_or_else(Lookup::failed, Refresher::keep)
    }

    /// Begins to load in the background, and returns. Until the first load has succeeded, failures are followed by the
    /// back-off and told by [`last_error`](Loading::last_error).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for options that cannot be.
    pub fn loader<F, L, E>(self, load: F) -> Result<Loading<V>>
    where
        F: FnMut() -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        self.refresher(|_, _| Ok(Box::new(Function(load)))).map(Refresher::load_behind)
    }

    /// The same of a function that blocks its thread; see [`keep_blocking`](Self::keep_blocking).
    ///
    /// # Errors
    ///
    /// As [`loader`](Self::loader).
    pub fn loader_blocking<F, E>(self, load: F) -> Result<Loading<V>>
    where
        F: FnMut() -> Result<V, E> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        self.refresher(|supervisor, _| Ok(Box::new(BlockingFunction::new(load, supervisor.clone()))))
            .map(Refresher::load_behind)
    }

    /// All judged, nothing begun.
    fn refresher(
        self,
        source: impl FnOnce(&Arc<Supervisor>, &Context) -> Result<Box<dyn Source<V>>>,
    ) -> Result<Refresher<V>> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let plan = self.times.judged(seed)?;
        let clock = self.clock.unwrap_or_default();
        let mut context = Context::new(clock.clone(), seed);
        #[cfg(feature = "tokio")]
        {
            context = context.with_spawner(Arc::new(crate::tokio_spawner::Wherever));
        }
        if let Some(spawner) = self.spawner {
            context = context.with_spawner(spawner);
        }
        let supervisor = Supervisor::new(clock, plan.promised());
        Ok(Refresher {
            source: source(&supervisor, &context)?,
            write_through: self.write_through.map(|named| named.found(&context)).transpose()?,
            on_error: self.on_error,
            shown: Arc::new(OnceLock::new()),
            begun: Moment::ZERO,
            plan,
            supervisor,
            context,
        })
    }
}

impl<V> fmt::Debug for Keep<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep")
            .field("times", &self.times)
            .field("writes_through", &self.write_through.is_some())
            .finish_non_exhaustive()
    }
}
