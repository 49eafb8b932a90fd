//! Options in, a cache that cannot be misconfigured out.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nanotier_engine::{Engine, Policy};
use nanotier_tier::measure::{Metered, Meters};
use nanotier_tier::{
    AnyTier, Clock, Codec, Context, Error, ErrorKind, Key, Namespace, Observer, Result, Scope, Spawn, Tier,
};

use crate::below::{Below, KeyBytesOf, KeyOf};
use crate::cache::{Cache, Handle, Inner};
use crate::dice::Dice;
use crate::expiry::Expiry;
use crate::inflight::InFlight;
use crate::negative::Negatives;
use crate::options::Options;
use crate::permits::Permits;
use crate::warm::{Disk, Seam, System, Times, Truth, Warm, WarmRestart};
use crate::watch::{KeyText, Watch};

/// What a cache is to be. Nothing is judged before [`build`](Builder::build), and all of it there.
#[must_use = "a builder does nothing until `build()`"]
pub struct Builder<K, V> {
    capacity: u64,
    policy: Policy,
    stats: bool,
    what_if: bool,
    options: Options<K, V>,
    close_within: Duration,
    recheck: Duration,
    namespace: Option<String>,
    tiers: Option<AnyTier>,
    /// How keys become bytes, and keys again where that is possible. Known where something is asked for that needs it.
    key: Option<(KeyBytesOf<K>, Option<KeyOf<K>>)>,
    warm: Option<WarmRestart>,
    pub(crate) disk: Arc<dyn Disk>,
    codec: Option<Arc<dyn Codec<V>>>,
    clock: Option<Clock>,
    spawner: Option<Arc<dyn Spawn>>,
    observer: Option<Arc<dyn Observer>>,
    key_text: Option<KeyText<K>>,
    seed: Option<u64>,
}

impl<K, V> Builder<K, V> {
    /// How many entries memory holds unless told otherwise.
    pub const CAPACITY_DEFAULT: u64 = 10_000;
    /// How long [`Cache::close`] waits for loads unless told otherwise.
    pub const CLOSE_WITHIN_DEFAULT: Duration = Duration::from_secs(5);

    pub(crate) fn new() -> Self {
        Self {
            capacity: Self::CAPACITY_DEFAULT,
            policy: Policy::default(),
            stats: false,
            what_if: false,
            options: Options::default(),
            close_within: Self::CLOSE_WITHIN_DEFAULT,
            recheck: Context::RECHECK_DEFAULT,
            namespace: None,
            tiers: None,
            key: None,
            warm: None,
            disk: Arc::new(System),
            codec: None,
            clock: None,
            spawner: None,
            observer: None,
            key_text: None,
            seed: None,
        }
    }

    /// How many entries memory holds at most. With 0 it keeps none. Default
    /// [`CAPACITY_DEFAULT`](Self::CAPACITY_DEFAULT).
    ///
    /// From 2,000 on they are shared out among shards, each of which decides for itself who leaves, once there is no
    /// capacity left that it could draw.
    pub fn capacity(self, entries: u64) -> Self {
        Self { capacity: entries, ..self }
    }

    /// Who leaves memory when it is full. Under [`Policy::Lru`] a hit notes its use, and about
    /// one in 64 takes the lock of a shard.
    pub fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Counts hits and misses, what calls come to, and how long loads and tiers take, for [`Cache::metrics`]. Off by default.
    ///
    /// A hit then costs one store to a line that its thread has for itself; a call below memory some tens of nanoseconds;
    /// each tier, and the cache, up to 5 KiB for each group of threads.
    pub fn stats(self, on: bool) -> Self {
        Self { stats: on, ..self }
    }

    /// Watches a sample of the keys, for [`Cache::what_if`]. Off by default, and then free; that says what it costs.
    pub fn what_if(self, on: bool) -> Self {
        Self { what_if: on, ..self }
    }

    /// How long entries live and how they are loaded, in full: `change` gets what has been said so far. A call may say something
    /// else, by [`Cache::with`].
    ///
    /// ```
    /// use nanotier::Cache;
    /// use std::time::Duration;
    ///
    /// let cache: Cache<u32, String> = Cache::builder()
    ///     .ttl(Duration::from_secs(60))
    ///     .options(|options| options.jitter(0.1).refresh_ahead(0.8).hard_deadline(Duration::from_secs(5)))
    ///     .build()?;
    /// # drop(cache);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn options(mut self, change: impl FnOnce(Options<K, V>) -> Options<K, V>) -> Self {
        self.options = change(self.options);
        self
    }

    /// How long [`Cache::close`] waits for loads under way before it ends them. Default
    /// [`CLOSE_WITHIN_DEFAULT`](Self::CLOSE_WITHIN_DEFAULT), 5 s. With zero it ends them at once.
    pub fn close_within(self, close_within: Duration) -> Self {
        Self { close_within, ..self }
    }

    /// How long entries are fresh. For ever unless told otherwise; a call may say something else.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options = self.options.ttl(ttl);
        self
    }

    /// How long after that they are served as stale, while a new value is fetched or when none can be had.
    /// Zero by default.
    pub fn stale_for(mut self, stale_for: Duration) -> Self {
        self.options = self.options.stale_for(stale_for);
        self
    }

    /// How long a loaded value stays in memory that the truth could not take because it was down. Short, so
    /// that the truth is soon asked again. Default [`Options::DEGRADED_TTL_DEFAULT`].
    pub fn degraded_ttl(mut self, degraded_ttl: Duration) -> Self {
        self.options = self.options.degraded_ttl(degraded_ttl);
        self
    }

    /// How long memory and private copies are believed before a truth that others write too is asked again.
    /// Default 60 s.
    pub fn recheck(self, recheck: Duration) -> Self {
        Self { recheck, ..self }
    }

    /// This cache's own part of its tiers. Needed with tiers; see [`Namespace`] for what a name may be.
    pub fn namespace(self, name: impl Into<String>) -> Self {
        Self { namespace: Some(name.into()), ..self }
    }

    /// The namespace it was given, if any.
    pub(crate) fn namespace_given(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Whether anything outlives the cache: then its namespace counts.
    pub(crate) fn lasts(&self) -> bool {
        self.tiers.is_some() || self.warm.is_some()
    }

    /// What lies below memory: one tier, or a [`chain`](nanotier_tier::chain) of them, or `near.over(far)`.
    pub fn tiers(self, tiers: impl Tier) -> Self
    where
        K: Key,
    {
        // A chain counts each of its tiers.
        let tiers = if tiers.depth() > 1 { tiers.erase() } else { Metered::new(tiers).erase() };
        Self { tiers: Some(tiers), key: Some(both_ways()), ..self }
    }

    /// Keeps memory in a file while the process is down: [`close`](Cache::close) writes it, the hottest entries first, and
    /// [`build`](Self::build) loads it, with what is left of each lifetime.
    ///
    /// Nothing that was removed comes back by it: a file is loaded only if it is the last act of the last run, and if the
    /// tiers below have not been changed since; above tiers that others write too, each entry is checked before it is
    /// served. In every other case memory begins empty, and [`Cache::warmth`] says why; a file that cannot be used is never an
    /// error here. `docs/CONSISTENCY.md` has the table.
    ///
    /// Needs a namespace and a codec, also without tiers; and keys that can be made from their bytes again, as all of the
    /// library's own and those with `#[derive(Key)]` can that own what they are made of.
    ///
    /// Cost: `build()` reads for at most [`warm_for`](WarmRestart::warm_for), on the calling thread, and flushes the folder
    /// twice; `close()` writes all of memory.
    ///
    /// ```
    /// use nanotier::{Cache, Json, WarmRestart};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path();
    /// let open = || {
    ///     let users = Cache::<String, u32>::builder().namespace("users").codec(Json::default());
    ///     users.warm_restart(WarmRestart::new(folder.join("users.warm"))).build()
    /// };
    /// let users = open()?;
    /// users.insert("ada".to_string(), 1815).wait()?;
    /// users.close().wait()?;
    ///
    /// let users = open()?;
    /// assert_eq!(users.get("ada").wait()?, Some(1815));
    /// assert_eq!(users.warmth().unwrap().loaded, 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn warm_restart(self, warm: WarmRestart) -> Self
    where
        K: Key,
    {
        Self { warm: Some(warm), key: Some(both_ways()), ..self }
    }

    /// How values become bytes. Needed with tiers. For a shared value, `Arc<V>`, serde wants its own feature `rc`.
    pub fn codec(self, codec: impl Codec<V>) -> Self {
        Self { codec: Some(Arc::new(codec)), ..self }
    }

    /// The clock. [`Clock::ticking`] by default; [`Clock::manual`] in tests.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Where work runs that no caller waits for any more. By default the tokio runtime of the caller, with
    /// the feature `tokio` and inside one; else one worker thread, started when first needed.
    pub fn spawner(self, spawner: impl Spawn) -> Self {
        Self { spawner: Some(Arc::new(spawner)), ..self }
    }

    /// Is told what each call comes to, and what happens below memory. For two of them give a pair. `docs/OBSERVING.md` has
    /// the table of what is told when.
    ///
    /// While nobody observes, a hit costs nothing for it. If somebody does, each hit costs the observer's own time and some
    /// nanoseconds.
    ///
    /// ```
    /// use nanotier::{Cache, Call, Observer, Outcome};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// #[derive(Default)]
    /// struct Misses(AtomicU64);
    ///
    /// impl Observer for Misses {
    ///     fn call(&self, call: &Call<'_>) {
    ///         self.0.fetch_add(u64::from(call.outcome == Outcome::Miss), Relaxed);
    ///     }
    /// }
    ///
    /// let misses = Arc::new(Misses::default());
    /// let cache: Cache<u32, u32> = Cache::builder().observer(misses.clone()).build()?;
    /// cache.get(&1).wait()?;
    /// assert_eq!(misses.0.load(Relaxed), 1);
    /// # Ok::<(), nanotier::Error>(())
    /// ```
    pub fn observer(self, observer: impl Observer) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// Shows the observer keys, as `text` says: all of a key, a part of it, or its hash. Without this no event has any.
    ///
    /// It runs once for each call about one key, before the call, and not at all without an observer. If it panics the key is
    /// not shown. On a hit it costs a clone of the key besides.
    ///
    /// ```
    /// # use nanotier::Cache;
    /// let cache = Cache::<String, u32>::builder().observe_keys(|email| {
    ///     let domain = email.split_once('@').map_or("", |(_, domain)| domain);
    ///     format!("someone@{domain}")
    /// });
    /// ```
    pub fn observe_keys(self, text: impl Fn(&K) -> String + Send + Sync + 'static) -> Self {
        Self { key_text: Some(Arc::new(text)), ..self }
    }

    /// The number by which this cache's writes are told from those of others that share its tiers. Random by
    /// default, and only a test has a reason to choose it: it must differ between them.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }
}

fn both_ways<K: Key>() -> (KeyBytesOf<K>, Option<KeyOf<K>>) {
    (K::key_bytes, K::READS.then_some(K::from_key_bytes as KeyOf<K>))
}

impl<K, V> Builder<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The cache.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] or [`ErrorKind::InvalidName`], with a sentence that says what to change.
    pub fn build(self) -> Result<Cache<K, V>> {
        self.judge()?;
        let clock = self.clock.unwrap_or_default();
        let writer = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let mut context = Context::new(clock.clone(), writer).with_meters(Arc::new(Meters::new(self.stats)));
        context.recheck = self.recheck;
        #[cfg(feature = "tokio")]
        {
            context = context.with_spawner(Arc::new(crate::tokio_spawner::Wherever));
        }
        if let Some(spawner) = self.spawner {
            context = context.with_spawner(spawner);
        }
        if let Some(observer) = self.observer {
            context = context.with_observer(observer);
        }
        let namespace = self.namespace.map(Namespace::new).transpose()?;
        let mut truth = Truth::Memory;
        let below = match (self.tiers, &namespace, self.key, &self.codec) {
            (Some(tier), Some(namespace), Some((key_bytes, key_of)), Some(codec)) => {
                tier.verify()?;
                truth = Truth::of(&tier);
                tier.attach(&context);
                Some(Below::new(tier, namespace.clone(), key_bytes, key_of, codec.clone()))
            }
            _ => None,
        };
        let kept = nanotier_engine::Options::new(self.capacity)
            .policy(self.policy)
            .stats(self.stats)
            .what_if(self.what_if);
        let options = self.options;
        let idles = options.time_to_idle.is_some();
        let memory = Engine::with(kept, Expiry { clock: clock.clone(), idles })
            .map_err(|error| Error::new(ErrorKind::Config, "cache", "build").with_source(error))?;
        let warm = match (self.warm, namespace, self.key, self.codec) {
            (Some(warm), Some(namespace), Some((key_bytes, Some(key_of))), Some(codec)) => {
                let seam = Seam::new(namespace, key_bytes, key_of, codec);
                let times = Times {
                    clock: &context.clock,
                    versions: &context.versions,
                    recheck: context.recheck,
                    truth,
                };
                let (mut warm, entries) = Warm::open(warm, seam, self.disk, &times, memory.capacity());
                // The hottest last: it is the youngest then, whatever the policy.
                entries.into_iter().rev().for_each(|(key, entry)| _ = memory.insert(key, entry));
                warm.warmth.loaded = memory.len() as u64;
                Some(warm)
            }
            _ => None,
        };
        let remembers = options.negative_ttl.is_some() || options.error_ttl.is_some();
        let options = Arc::new(options);
        let inner = Inner {
            memory,
            inflight: InFlight::new(),
            deadline_max: below.as_ref().map_or(Duration::MAX, deadline_max),
            below,
            watch: Watch::new(&context, self.stats, self.key_text),
            context,
            dice: Dice::new(writer),
            permits: options.loads_max.map(Permits::new),
            negatives: if remembers { Some(Negatives::new(clock)?) } else { None },
            close_within: self.close_within,
            options: options.clone(),
            warm,
            closed: AtomicBool::new(false),
        };
        let is_observed = inner.watch.is_observed();
        Ok(Cache(Arc::new(inner), Handle::new(options, is_observed)))
    }

    fn judge(&self) -> Result<()> {
        let refuse =
            |why: &'static str| Err(Error::new(ErrorKind::Config, "cache", "build").with_detail(why));
        match (&self.tiers, &self.namespace, &self.codec) {
            (Some(_), None, _) => {
                return refuse(
                    "tiers need a namespace, so that caches that share them do not meet: `.namespace(\"users\")`",
                );
            }
            (Some(_), _, None) => {
                return refuse("tiers need a codec to turn values into bytes: `.codec(Json::default())`");
            }
            (None, Some(_), _) | (None, _, Some(_)) if self.warm.is_none() => {
                return refuse(
                    "a namespace or a codec does nothing without `.tiers(..)` or `.warm_restart(..)`",
                );
            }
            _ => {}
        }
        if let Some(warm) = &self.warm {
            self.judge_warm(warm)?;
        }
        self.options.judge()?;
        if let (Some(tiers), Some(deadline)) = (&self.tiers, self.options.hard_deadline) {
            if deadline > tiers.capabilities().horizon / 2 {
                return refuse(
                    "the hard deadline is longer than half of what a tier remembers removals for, so that a late load might bring \
                     back what was removed: shorten it, or give the tier a longer horizon",
                );
            }
        }
        if self.tiers.is_some() && self.recheck == Duration::ZERO {
            return refuse(
                "a recheck of zero would ask the truth at every read: then use no memory, or a millisecond",
            );
        }
        Ok(())
    }

    fn judge_warm(&self, warm: &WarmRestart) -> Result<()> {
        let refuse =
            |why: &'static str| Err(Error::new(ErrorKind::Config, "cache", "build").with_detail(why));
        if self.namespace.is_none() {
            return refuse(
                "a warm restart needs a namespace, so that no other cache's file is taken for this one's: \
                 `.namespace(\"users\")`",
            );
        }
        if self.codec.is_none() {
            return refuse(
                "a warm restart needs a codec to turn values into bytes: `.codec(Json::default())`",
            );
        }
        if self.key.is_none_or(|(_, key_of)| key_of.is_none()) {
            return refuse(
                "a warm restart needs keys that can be made from their bytes again: derive `Key`, or implement \
                 `Key::read_part` and `Key::READS`",
            );
        }
        if warm.file.file_name().is_none() {
            return refuse("the path of the warm file names no file");
        }
        if warm.time_max == Duration::ZERO || warm.entries_max == 0 {
            return refuse("a warm restart of no time or no entries loads nothing: leave it out");
        }
        match &self.tiers {
            Some(tier) if tier.capabilities().encrypts && !warm.encrypts() && !warm.is_in_the_clear => {
                refuse(
                    "values lie encrypted below memory and would lie in the clear in the warm file: give it a shaping that \
                 encrypts, `WarmRestart::new(..).shaped(shaping)`, or say that this is meant, `.in_the_clear()`",
                )
            }
            Some(tier) if tier.lineage().is_none() && tier.capabilities().scope == Scope::Process => refuse(
                "what lies below belongs to this process alone and cannot say whether it was changed since the warm file \
                 was written: a tier that keeps book of its openings can, as redb does",
            ),
            _ => Ok(()),
        }
    }
}

/// Half of what the truth remembers removals for (rule O4).
fn deadline_max<K, V>(below: &Below<K, V>) -> Duration {
    below.tier.capabilities().horizon / 2
}

impl Truth {
    pub(crate) fn of(tier: &AnyTier) -> Self {
        tier.lineage().map_or(Self::Shared, Self::Known)
    }
}

impl<K, V> fmt::Debug for Builder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .field("options", &self.options)
            .field("recheck", &self.recheck)
            .field("namespace", &self.namespace)
            .field("tiers", &self.tiers)
            .field("warm", &self.warm)
            .finish_non_exhaustive()
    }
}
