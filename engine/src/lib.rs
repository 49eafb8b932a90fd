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
//! # Under a lock
//!
//! Some user code runs under the lock of one shard: the closures of `read`, `for_each`, `insert_if`, `compute`,
//! `retain` and `remove_if`, [`Lifecycle::is_dead`], `Eq` of keys, and `Clone` of values on a hit. Keep it short.
//! Inside a shared lock (`get`, `read`, `peek`, `keys`, `for_each`) the same thread may read the same engine again.
//! Any other re-entry would wait for itself, so it panics with a sentence that says so, every time and not only
//! when the shards happen to coincide. Loaders and listeners, and drops of values, run outside all locks.
//!
//! # Panics of user code
//!
//! A panic in a hook, a closure, or a method of `K` or `V` reaches the caller that ran it. The engine stays whole:
//! nothing is lost but what the operation itself had removed before, nothing is dropped twice, later calls work.

mod engine;
mod flight;
mod held;
mod leaving;
mod lifecycle;
mod load;
mod mirror;
mod options;
mod policy;
mod read;
#[expect(
    unsafe_code,
    reason = "frees memory that others may have been reading; each block says why that is sound"
)]
mod reclaim;
mod residents;
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
mod write;

pub use engine::Engine;
pub use equivalent::Equivalent;
pub use lifecycle::{Cause, Lifecycle, Plain};
pub use load::LoadError;
pub use mirror::Mirror;
pub use options::{ConfigError, Options, Policy};
pub use shard::Inserted;
pub use slot::Slot;
pub use stats::Stats;
pub use write::Compute;
