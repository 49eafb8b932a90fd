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
mod negative;
mod options;
mod permits;
mod refill;
mod runtime;
#[cfg(feature = "testing")]
pub mod testing;
mod ticket;
#[cfg(feature = "tokio")]
mod tokio_spawner;
mod ttl;
mod warm;
mod write;

pub use builder::Builder;
pub use cache::Cache;
pub use load_error::LoadError;
pub use loader::Loaded;
pub use lookup::{Detailed, Lookup, Source};
pub use memoize::{Memoize, Memoized, memoize, memoize_async, try_memoize, try_memoize_async};
pub use nanotier_engine::{Equivalent, OwnedFrom, Policy, Stats, WhatIf, WhatIfPoint};
#[cfg(feature = "json")]
pub use nanotier_tier::Json;
// The trait, and with the feature `derive` the macro of the same name.
pub use nanotier_tier::Key;
#[cfg(feature = "postcard")]
pub use nanotier_tier::Postcard;
pub use nanotier_tier::{
    AnyTier, Behind, Breaker, Bytes, Capabilities, Chain, Clock, Codec, Durability, Error, ErrorKind, Event,
    Freshness, GuardState, Guarded, Hands, Health, Inline, KeyBytes, Limits, Link, Listed, MemoryStore,
    Moment, Namespace, NullStore, Observer, Offload, Page, PageRequest, Promote, Queue, QueueState, Raw,
    ReadPolicy, Result, Scope, Spawn, Store, Task, Tier, TierIndex, Timestamp, WhenFull, Worker, WriteBehind,
    WritePolicy, chain, shaping,
};
pub use options::{Ahead, Options};
pub use refill::{Refill, RefillEnd, RefillLimit, Refilled};
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

/// And in the page on testing.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/TESTING.md")]
struct TestingExamples;
