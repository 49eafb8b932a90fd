//! Options in, a cache that cannot be misconfigured out.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use nanotier_engine::{Engine, Options, Policy};
use nanotier_tier::{
    AnyTier, Clock, Codec, Context, Error, ErrorKind, Key, Namespace, Observer, Result, Spawn, Tier,
};

use crate::below::{Below, KeyBytesOf};
use crate::cache::{Cache, Inner};
use crate::expiry::Expiry;
use crate::inflight::InFlight;
use crate::ttl::Lifetimes;

/// What a cache is to be. Nothing is judged before [`build`](Builder::build), and all of it there.
#[must_use = "a builder does nothing until `build()`"]
pub struct Builder<K, V> {
    capacity: u64,
    policy: Policy,
    stats: bool,
    what_if: bool,
    lifetimes: Lifetimes,
    recheck: Duration,
    namespace: Option<String>,
    tiers: Option<(AnyTier, KeyBytesOf<K>)>,
    codec: Option<Arc<dyn Codec<V>>>,
    clock: Option<Clock>,
    spawner: Option<Arc<dyn Spawn>>,
    observer: Option<Arc<dyn Observer>>,
    seed: Option<u64>,
}

impl<K, V> Builder<K, V> {
    /// How many entries memory holds unless told otherwise.
    pub const CAPACITY_DEFAULT: u64 = 10_000;
    /// How long a loaded value is kept in memory that the truth could not take.
    pub const DEGRADED_TTL_DEFAULT: Duration = Duration::from_secs(5);

    pub(crate) fn new() -> Self {
        Self {
            capacity: Self::CAPACITY_DEFAULT,
            policy: Policy::default(),
            stats: false,
            what_if: false,
            lifetimes: Lifetimes {
                ttl: None,
                stale_for: Duration::ZERO,
                degraded_ttl: Self::DEGRADED_TTL_DEFAULT,
            },
            recheck: Context::RECHECK_DEFAULT,
            namespace: None,
            tiers: None,
            codec: None,
            clock: None,
            spawner: None,
            observer: None,
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

    /// Counts memory's hits and misses. Off by default.
    pub fn stats(self, on: bool) -> Self {
        Self { stats: on, ..self }
    }

    /// Watches a sample of the keys, for [`Cache::what_if`]. Off by default, and then free; that says what it costs.
    pub fn what_if(self, on: bool) -> Self {
        Self { what_if: on, ..self }
    }

    /// How long entries are fresh. For ever unless told otherwise; a call may say something else.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lifetimes.ttl = Some(ttl);
        self
    }

    /// How long after that they are served as stale, while a new value is fetched or when none can be had.
    /// Zero by default.
    pub fn stale_for(mut self, stale_for: Duration) -> Self {
        self.lifetimes.stale_for = stale_for;
        self
    }

    /// How long a loaded value stays in memory that the truth could not take because it was down. Short, so
    /// that the truth is soon asked again. Default [`DEGRADED_TTL_DEFAULT`](Self::DEGRADED_TTL_DEFAULT).
    pub fn degraded_ttl(mut self, degraded_ttl: Duration) -> Self {
        self.lifetimes.degraded_ttl = degraded_ttl;
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

    /// What lies below memory: one tier, or a [`chain`](nanotier_tier::chain) of them, or `near.over(far)`.
    pub fn tiers(self, tiers: impl Tier) -> Self
    where
        K: Key,
    {
        Self { tiers: Some((tiers.erase(), K::key_bytes)), ..self }
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

    /// Is told what happens below memory.
    pub fn observer(self, observer: impl Observer) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// The number by which this cache's writes are told from those of others that share its tiers. Random by
    /// default, and only a test has a reason to choose it: it must differ between them.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }
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
        let mut context = Context::new(clock.clone(), writer);
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
        let below = match (self.tiers, self.namespace, self.codec) {
            (Some((tier, key_bytes)), Some(namespace), Some(codec)) => {
                tier.verify()?;
                tier.attach(&context);
                Some(Below::new(tier, Namespace::new(namespace)?, key_bytes, codec))
            }
            _ => None,
        };
        let options = Options::new(self.capacity).policy(self.policy).stats(self.stats).what_if(self.what_if);
        let memory = Engine::with(options, Expiry { clock })
            .map_err(|error| Error::new(ErrorKind::Config, "cache", "build").with_source(error))?;
        Ok(Cache(Arc::new(Inner {
            memory,
            inflight: InFlight::new(),
            below,
            context,
            lifetimes: self.lifetimes,
        })))
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
            (None, Some(_), _) | (None, _, Some(_)) => {
                return refuse("a namespace or a codec does nothing without `.tiers(..)`");
            }
            _ => {}
        }
        if self.lifetimes.ttl == Some(Duration::ZERO) {
            return refuse("a ttl of zero would keep nothing: leave it out to keep entries for ever");
        }
        if self.lifetimes.stale_for > Duration::ZERO && self.lifetimes.ttl.is_none() {
            return refuse("`stale_for` needs a `ttl`: what is fresh for ever is never stale");
        }
        if self.tiers.is_some() && self.recheck == Duration::ZERO {
            return refuse(
                "a recheck of zero would ask the truth at every read: then use no memory, or a millisecond",
            );
        }
        Ok(())
    }
}

impl<K, V> fmt::Debug for Builder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .field("lifetimes", &self.lifetimes)
            .field("recheck", &self.recheck)
            .field("namespace", &self.namespace)
            .field("tiers", &self.tiers.as_ref().map(|(tier, _)| tier))
            .finish_non_exhaustive()
    }
}
