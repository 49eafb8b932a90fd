//! The in-memory level of nanotier: a typed, sharded, bounded cache that is synchronous and cannot fail.
//!
//! ```
//! use nanotier_engine::{Engine, Inserted};
//!
//! let engine: Engine<String, u32> = Engine::new(10_000);
//! assert_eq!(engine.insert("one".to_owned(), 1), Inserted::Done);
//! assert_eq!(engine.get("one"), Some(1));
//! assert!(engine.remove("one"));
//! assert_eq!(engine.get("one"), None);
//! ```
//!
//! [`Engine`] knows no bytes, no clock and no futures. What it should know of its entries (weight, expiry, a
//! listener) it is told by a [`Lifecycle`].
//!
//! # What runs where
//!
//! Reads (`get`, `read`, `peek`, `contains`, `keys`, `for_each`) take no lock and write nothing that other threads
//! read, but for the mark of a use, and that only where it is not yet set. Their closures may take their time and use
//! the engine as they like; what they look at lives until they are done, whatever becomes of the entry. (Two
//! exceptions: under [`Policy::Lru`] about one hit in 64 takes the lock of its shard for a moment, after the closure; and
//! with [`Options::what_if`], a look-up that ends a phase of the sampling takes each shard's in turn. Inside a closure that
//! runs under a lock of any engine neither happens.)
//!
//! [`Engine::hottest_first`] takes the lock of one shard after the other, for 64 clones at a time.
//!
//! Writes hold the lock of one shard; a value too heavy for its own has some leave from the others, one lock after the
//! other. Some user code runs under it: the closures of `insert_if`, `compute`, `retain`,
//! `remove_if` and `take_if`, and `Eq` of keys, [`Lifecycle::is_dead`] and `Clone` within writes. Keep it short. From
//! there, reads are answered; a write to the same engine would wait for itself, so it panics with a sentence that says
//! so, every time and not only when the shards happen to coincide. Loaders and listeners, and drops of keys and values,
//! run outside all locks.
//!
//! # When values are dropped
//!
//! What leaves may still be read, so it is dropped later: when its place is needed again, by a write that comes some
//! evictions after, or by [`Engine::flush`], which says how late that can be; `clear`, `retain` and `set_capacity`
//! flush before they return. Only [`Engine::take`] waits, and gives the value itself.
//!
//! # Single values
//!
//! | for | use |
//! |---|---|
//! | many values by key | [`Engine`] |
//! | the last answer to a question that is asked again and again | [`Slot`]: one key, one value, one load per key |
//! | a configuration, a routing table: published whole, read by all | [`Mirror`]: numbered versions, `update`, `changed` |
//!
//! # Systems and forks
//!
//! On Linux a hit executes no fence: whoever frees makes all processors execute one (`membarrier`). Where there is no such
//! call, found out once, hits execute it. If the system withdraws the call later, as a seccomp filter does that is
//! installed after the first cache was made, the process is aborted with a sentence: to free memory that may be in use
//! is no choice. Install filters before, or let `membarrier` pass.
//!
//! A forked child has the caches as they were. As with every lock, one that another thread had at that moment stays
//! locked; and what another thread was reading then is never dropped in the child, where a [`take`](Engine::take) of it
//! would wait for ever.
//!
//! # Panics of user code
//!
//! A panic in a hook, a closure, or a method of `K` or `V` reaches the caller that ran it. The engine stays whole:
//! nothing is lost but what the operation itself had removed before, nothing is dropped twice, later calls work.

// The oracle needs less than what it stands for.
#![cfg_attr(nanotier_epoch, allow(dead_code, unused_imports, unused_macros))]

// What tests share names the crate as those outside must.
#[cfg(test)]
extern crate self as nanotier_engine;

mod advisor;
mod budget;
mod engine;
mod flight;
mod held;
mod hottest;
mod leaving;
mod lifecycle;
mod load;
mod miniature;
mod mirror;
#[cfg(nanotier_loom)]
#[doc(hidden)]
pub mod models;
mod options;
mod owned;
mod policy;
mod read;
#[expect(
    unsafe_code,
    reason = "frees memory that others may have been reading; each block says why that is sound"
)]
mod reclaim;
mod residents;
mod settle;
mod shard;
mod slot;
mod stats;
mod sync;
#[expect(
    unsafe_code,
    reason = "reads memory that others may be about to unlink; each block says why that is sound"
)]
mod table;
#[cfg(test)]
mod tests;
mod what_if;
mod write;

pub use engine::Engine;
pub use equivalent::Equivalent;
pub use hottest::HottestFirst;
pub use lifecycle::{Cause, Lifecycle, Plain};
pub use load::LoadError;
pub use mirror::Mirror;
pub use options::{ConfigError, Options, Policy};
pub use owned::OwnedFrom;
pub use shard::Inserted;
pub use slot::Slot;
pub use stats::Stats;
pub use what_if::{WhatIf, WhatIfPoint};
pub use write::Compute;
