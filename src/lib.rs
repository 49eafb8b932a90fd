//! A cache whose hits cost what a hash map's do, over any number of slower tiers.
//!
//! ```
//! use nanotier::Cache;
//! use std::time::Duration;
//!
//! # fn main() -> nanotier::Result<()> {
//! let users: Cache<String, u64> = Cache::builder().capacity(10_000).ttl(Duration::from_secs(60)).build()?;
//! users.insert("ada".to_string(), 1815).wait()?;
//! assert_eq!(users.get("ada").wait()?, Some(1815));
//!
//! // One load per key, however many ask at once.
//! let grace = users.get_with("grace", async || 1906).wait()?;
//! assert_eq!(grace, 1906);
//! # Ok(())
//! # }
//! ```
//!
//! Every call that may go below memory returns a [`Lookup`]: `.await` it, or [`wait`](Lookup::wait) for it on
//! a thread without any runtime, or ask it to be quick about it with [`try_now`](Lookup::try_now). What
//! memory holds is answered before anything is polled.
//!
//! `docs/CONSISTENCY.md` in the repository says what is promised when several tiers and processes hold
//! copies.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod below;
pub mod bridges;
mod builder;
mod cache;
mod claim;
mod dice;
mod expiry;
mod fill;
mod finish;
mod flight;
mod get_with;
mod inflight;
mod load;
mod load_error;
mod loader;
mod look;
mod lookup;
mod many;
mod many_with;
pub mod memoize;
mod metrics;
mod negative;
mod options;
mod permits;
mod refill;
mod report;
mod runtime;
mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod ticket;
#[cfg(feature = "tokio")]
mod tokio_spawner;
mod ttl;
mod warm;
mod watch;
mod write;

pub use crate::metrics::{CallMetrics, LoadMetrics, Metrics};
pub use builder::Builder;
pub use cache::Cache;
pub use load_error::LoadError;
pub use loader::Loaded;
pub use lookup::{Detailed, Lookup, Source};
pub use memoize::{Memoize, Memoized, memoize, memoize_async, try_memoize, try_memoize_async};
pub use nanotier_engine::{Equivalent, OwnedFrom, Policy, Stats, WhatIf, WhatIfPoint};
/// Remembers the answers of a function or a method (feature `macros`): [`memoize`](memoize()) as an attribute.
///
/// ```
/// use nanotier::memoize;
/// use std::sync::Arc;
///
/// # struct Db; impl Db { async fn user(&self, id: u64) -> Result<String, std::io::Error> { Ok(format!("user {id}")) } }
/// /// One query for all who ask, at most once in five minutes; if it fails, the last answer of the day.
/// #[memoize(ttl = "5m", stale = "1h", stale_on_error = "1d", key = "id", result)]
/// async fn user(db: &Arc<Db>, id: u64) -> Result<String, Arc<std::io::Error>> {
///     Ok(db.user(id).await?)
/// }
///
/// # fn main() -> nanotier::Result<()> {
/// # let (db, block_on) = (Arc::new(Db), nanotier::tier::waiting::block_on::<_>);
/// assert_eq!(block_on(user(&db, 7)).unwrap(), "user 7");
/// assert_eq!(user_cache().len(), 1); // its cache, a `Cache<(u64,), String>`: to look, to insert, to clear
/// user_remove(7).wait()?; // forgets one answer
/// # Ok(())
/// # }
/// ```
///
/// | option | says |
/// |---|---|
/// | `ttl = "5m"` | how long an answer is fresh; for ever without it |
/// | `stale = "1h"` | how long after that it is given as stale, while the function runs behind |
/// | `stale_on_error = "1d"` | how long an old answer stands in for an error |
/// | `capacity = 10_000` | how many answers memory holds: 10,000 by default, one where there are no arguments |
/// | `key = "(self.id, item)"` | what the answer depends on, if not on all arguments: code, of up to seven parts that own what they are |
/// | `result` | only `Ok` is remembered. The error must be `Clone`: `Arc<E>`, which `?` makes by itself, is |
/// | `name = "users.price"` | the name below memory, as [`Memoize::named`]: by default the module's and the function's |
/// | `configure = \|cache\| cache.stats(true)` | everything else that [`Builder`] can be told; tiers, too |
///
/// Durations are whole numbers with `ms`, `s`, `m`, `h` or `d`: `"500ms"`, `"1h30m"`.
///
/// # What is made
///
/// Of a function `price` it makes the function itself, which asks the cache; `price_cache()`, its [`Cache`], whose key is the tuple of the
/// key's parts; and `price_remove(..)`, which forgets one answer, given what the key speaks of. The last two are as visible as the function. They
/// belong to the type if it is a method: `Shop::price_cache()`.
///
/// A key is looked up by what is passed: `&str` in place of a `String` costs a hit nothing. Where a part of the key is neither an argument nor
/// a tuple of such, its type has no name, and `price_cache()` is a cache of something.
///
/// # Methods
///
/// A method's cache is one for all values of its type, so that `key` has to say by what `self` is known. Of a generic type or function each set of types
/// has a cache of its own.
///
/// A plain method may take `&self`: its caller does the work, and those who ask meanwhile wait. What is awaited, or refreshed
/// behind by `stale`, may outlive its caller and owns its receiver and its arguments: `self: Arc<Self>`, or `&self` of a type whose clones are
/// cheap. References become owned, at a miss. A method of a trait's `impl` cannot be memoized: let it call one that is.
///
/// # Panics
///
/// As the function does, in all who wait; at the first call, if the cache cannot be built as configured; and if the function asks
/// for the very answer that it works out.
#[cfg(feature = "macros")]
pub use nanotier_macros::memoize;
#[cfg(feature = "json")]
pub use nanotier_tier::Json;
// The trait, and with the feature `derive` the macro of the same name.
pub use nanotier_tier::Key;
#[cfg(feature = "postcard")]
pub use nanotier_tier::Postcard;
pub use nanotier_tier::measure::{Latencies, ReadMetrics, TierMetrics, WriteMetrics};
pub use nanotier_tier::{
    AnyTier, Behind, Breaker, Bytes, Call, Capabilities, Chain, Clock, Codec, Durability, Error, ErrorKind,
    Event, Freshness, GuardState, Guarded, Hands, Health, Inline, KeyBytes, Limits, Link, Listed,
    MemoryStore, Moment, Namespace, NullStore, Observer, Offload, Operation, Outcome, Page, PageRequest,
    Promote, Queue, QueueState, Raw, ReadPolicy, Result, Scope, Spawn, Store, Task, Tier, TierIndex,
    Timestamp, WhenFull, Worker, WriteBehind, WritePolicy, chain, shaping,
};
pub use options::{Ahead, Options};
pub use refill::{Refill, RefillEnd, RefillLimit, Refilled};
pub use snapshot::{Keep, Loading, Snapshot, keep, loader, mirror};
#[cfg(feature = "tokio")]
pub use tokio_spawner::TokioSpawner;
pub use ttl::{TimeLeft, Ttl};
pub use warm::{Cold, WarmEnd, WarmPhase, WarmProgress, WarmRestart, Warmth};

/// The durable tier in a folder of log files, for the processes of one host (feature `file`).
#[cfg(feature = "file")]
pub mod file {
    pub use nanotier_file::*;
}

/// The durable tier on redb (feature `redb`).
#[cfg(feature = "redb")]
pub mod redb {
    pub use nanotier_redb::*;
}

/// The durable tier in a SQLite database (feature `sqlite`).
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use nanotier_sqlite::*;
}

/// The contract of tiers, for those who write one.
pub mod tier {
    pub use nanotier_tier::*;
}

/// What the fuzz targets reach that nobody else needs to.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::warm::{read_for_fuzzing, write_for_fuzzing};
}

/// The code in the README runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

/// So does the code in the page on production.
#[cfg(doctest)]
#[doc = include_str!("../docs/PRODUCTION.md")]
struct ProductionExamples;

/// And in the recipes.
#[cfg(doctest)]
#[doc = include_str!("../docs/RECIPES.md")]
struct RecipesExamples;

/// And in the page on testing.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/TESTING.md")]
struct TestingExamples;
