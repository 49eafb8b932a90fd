//! A durable tier in a SQLite database: for several processes of one host, and beside the tables of other programs.
//!
//! [`SqliteStore`] keeps the contract of [`Store`](nanotier_tier::Store). [`Inline`](nanotier_tier::Inline) makes it a tier on the
//! caller's thread, [`Offload`](nanotier_tier::Offload) one on threads of its own.
//!
//! ```
//! use nanotier_sqlite::SqliteStore;
//! use nanotier_tier::{Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Timestamp, Version, Write};
//!
//! # fn main() -> nanotier_tier::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for temporary files");
//! # let file = folder.path().join("cache.db");
//! let store = SqliteStore::open(&file)?;
//!
//! let users = Namespace::new("users")?;
//! let path = Path::new(&users, &b"42"[..]);
//! let now = nanotier_tier::Clock::coarse().wall();
//! let value = Encoded::new("Ada", Fingerprint(0));
//! let record = Record { version: Version::from_parts(now.as_millis() << 16, 1), ..Record::new(value, now) };
//! store.write(&[Write::put(path.borrowed(), &record)])?; // on disk when this returns
//!
//! // Another process, or here another store: it sees what was written, at once.
//! let other = SqliteStore::open(&file)?;
//! let found = other.read(&[path], Intent::Look)?.remove(0)?;
//! assert_eq!(found.entry, Entry::Present(record));
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs, and when to choose another
//!
//! A lookup is one statement, kept prepared, on one of a few connections that stay open. A durable put is one transaction and one flush of
//! the write-ahead log; threads that write at the same time share both. Processes that write at the same time take turns.
//!
//! The write-ahead log needs memory that all processes share: the database must lie on a local disk, not on a network file system.
//!
//! # Forking
//!
//! SQLite's own rule: a connection must not be carried across `fork`. A process that forks without executing another program must
//! have closed the store before, or must not touch it in the child, not even by dropping it. [`std::process::Command`] is safe.
#![forbid(unsafe_code)]

mod backend;
mod builder;
mod busy;
mod error;
mod file;
mod openers;
mod readers;
mod rows;
mod sql;
mod store;
mod wal;

pub use builder::{Builder, OnDamage};
pub use nanotier_tier::Durability;
pub use nanotier_tier::embedded::Stats;
pub use store::SqliteStore;
