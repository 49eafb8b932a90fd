//! A durable tier in one file, by [redb]: acknowledged means on disk.
//!
//! [`RedbStore`] keeps the contract of [`Store`](nanotier_tier::Store) in a redb database that belongs to one process at a time.
//! [`Inline`](nanotier_tier::Inline) makes it a tier on the caller's thread, [`Offload`](nanotier_tier::Offload) one on threads
//! of its own.
//!
//! ```
//! use nanotier_redb::RedbStore;
//! use nanotier_tier::{Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Timestamp, Version, Write};
//!
//! # fn main() -> nanotier_tier::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for temporary files");
//! # let file = folder.path().join("cache.redb");
//! let store = RedbStore::open(&file)?;
//!
//! let users = Namespace::new("users")?;
//! let path = Path::new(&users, &b"42"[..]);
//! let now = nanotier_tier::Clock::coarse().wall();
//! let value = Encoded::new("Ada", Fingerprint(0));
//! let record = Record { version: Version::from_parts(now.as_millis() << 16, 1), ..Record::new(value, now) };
//! store.write(&[Write::put(path.borrowed(), &record)])?; // on disk when this returns
//! store.close()?;
//!
//! let store = RedbStore::open(&file)?;
//! let found = store.read(&[path], Intent::Look)?.remove(0)?;
//! assert_eq!(found.entry, Entry::Present(record));
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs, and when to choose another
//!
//! A durable put is one redb transaction and one flush. Threads that write at the same time share both: sixteen of them
//! write several times as much per second as one. Whoever finds nobody committing commits; there is no writer
//! thread, so a lone writer pays for no hand-over. A lookup touches the memory that redb caches pages in
//! ([`cache_size`](Builder::cache_size)), then the file.
//!
//! After a crash redb reads the whole file once when it is opened: a file of many gigabytes takes its time.
#![forbid(unsafe_code)]

mod backend;
mod builder;
mod disk;
mod error;
#[cfg(test)]
mod failures;
mod file;
mod look;
#[cfg(test)]
mod power_cut;
mod sample;
mod store;
mod tables;

pub use backend::FileStats;
pub use builder::{Builder, OnDamage};
pub use look::RedbLook;
pub use nanotier_tier::Durability;
pub use nanotier_tier::embedded::Stats;
pub use store::RedbStore;
