//! The contract between a cache and what lies below its memory.
//!
//! A **tier** stores records by path: a file, an embedded database, a server somewhere. This crate says what
//! a tier must do ([`Tier`], or [`Store`] for one that blocks), gives the parts every tier needs, and a kit
//! that checks whether a tier keeps the contract (`conformance`, behind the feature of that name).
//!
//! | part | what it is |
//! |---|---|
//! | [`Record`], [`Deadlines`], [`Version`] | what is stored under a key: value, times, order |
//! | [`record`] | its one encoding; `docs/FORMATS.md` describes it byte by byte |
//! | [`Tier`], [`Store`], [`AnyTier`], [`Inline`], [`Offload`] | the contract, asynchronous, blocking, erased, and the bridges |
//! | [`rules`] | who wins: which write a tier takes and which it refuses |
//! | [`Chain`] | two tiers that behave as one |
//! | [`Behind`] | a queue of writes before a tier |
//! | [`Guarded`] | a tier within a deadline, a breaker and a bulkhead |
//! | [`shaping`] | values compressed and encrypted on their way to any tier |
//! | [`Key`], [`Codec`] | how keys and values become bytes |
//! | [`Observer`], [`measure`] | who is told what happens, and what is counted |
//! | [`MemoryStore`], [`NullStore`] | the two tiers that need nothing |
//!
//! The crate knows neither the in-memory engine nor any driver, and needs no async runtime.
#![forbid(unsafe_code)]

mod any_tier;
pub mod behind;
mod breaker;
mod capabilities;
mod chain;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
#[cfg(not(nanotier_schedules))]
pub mod embedded;
mod entry;
mod error;
mod guarded;
mod key;
mod link;
pub mod measure;
mod memory;
mod merge;
mod null;
mod observer;
mod offload;
mod path;
pub mod record;
pub mod rules;
pub mod shaping;
mod store;
mod stored;
#[doc(hidden)]
pub mod sync;
mod tier;
mod update;
mod version;
pub mod waiting;

pub use any_tier::AnyTier;
pub use behind::{Behind, Queue, QueueState, WhenFull, WriteBehind};
pub use breaker::Breaker;
pub use bytes::Bytes;
pub use capabilities::{Capabilities, Durability, Scope};
pub use chain::{Chain, chain};
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use codec::{Codec, Raw};
pub use context::{Attachment, Context, Spawn, Task, Worker};
pub use entry::{
    Cleared, Count, Entry, Found, Guard, Intent, Listed, Page, PageRequest, Seen, TierIndex, Write, Wrote,
};
pub use error::{Error, ErrorKind, Result};
pub use guarded::{GuardState, Guarded, Health, Limits};
pub use key::{Key, KeyBytes};
pub use link::{Link, Promote, ReadPolicy, WritePolicy};
pub use memory::MemoryStore;
pub use merge::{Answer, Merged, Repair, merge};
pub use nanotier_clock::{Clock, Hands, Moment, Sleep, Timestamp};
#[cfg(feature = "derive")]
pub use nanotier_macros::Key;
pub use null::NullStore;
pub use observer::{Call, Event, Observer, Operation, Outcome, Source, contained};
pub use offload::Offload;
pub use path::{Namespace, Path};
pub use store::{Inline, Store};
pub use stored::{AHEAD_MAX, Deadlines, Encoded, Fingerprint, Freshness, Record, Shape, Stored, Tags};
pub use tier::{BoxFuture, Lineage, Tier};
pub use update::{COUNTER, Change, Effect, Expect, Renewal, Update, Updated, apply, read_counter};
pub use version::{HybridClock, Version};
