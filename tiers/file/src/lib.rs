//! A durable tier in a folder of log files, shared by the processes of one host: acknowledged means on disk, and no database is
//! needed.
//!
//! [`FileStore`] keeps the contract of [`Store`](nanotier_tier::Store). Any number of processes may have the folder open: each one
//! sees what the others wrote, and `add`, `take` and counters are decided between all of them.
//! [`Inline`](nanotier_tier::Inline) makes it a tier on the caller's thread, [`Offload`](nanotier_tier::Offload) one on threads
//! of its own.
//!
//! ```
//! use nanotier_file::FileStore;
//! use nanotier_tier::{Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Timestamp, Version, Write};
//!
//! # fn main() -> nanotier_tier::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for temporary files");
//! # let folder = folder.path().join("cache");
//! let store = FileStore::open(&folder)?;
//!
//! let users = Namespace::new("users")?;
//! let path = Path::new(&users, &b"42"[..]);
//! let now = nanotier_tier::Clock::coarse().wall();
//! let value = Encoded::new("Ada", Fingerprint(0));
//! let record = Record { version: Version::from_parts(now.as_millis() << 16, 1), ..Record::new(value, now) };
//! store.write(&[Write::put(path.borrowed(), &record)])?; // on disk when this returns
//!
//! let another = FileStore::open(&folder)?; // in another process, as a rule
//! let found = another.read(&[path], Intent::Look)?.remove(0)?;
//! assert_eq!(found.entry, Entry::Present(record));
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs, and when to choose another
//!
//! All keys are in memory, with about 200 bytes each besides: some millions of entries per process, not more. Values stay on
//! disk. A lookup asks the index, makes sure by one small read that no other process has written since, and reads the value by
//! another: no file is opened. A durable put appends to one file and flushes it once; threads that write at the same
//! time share that, processes take turns. Opening reads the whole log, some hundredths of a second per 100 000 entries.
//!
//! The folder holds up to twice what counts, and two segments. Compaction is part of writing: who writes while more than
//! half of the log does not count any more copies a little of its oldest part.
//!
//! # What it takes
//!
//! Unix, and a local file system: the lock between processes (`flock`) is not relied on over networks. The folder belongs to the store alone:
//! files in it that are not the store's own are never touched, but a folder that holds any when the store is created is refused. A process
//! that was forked off reads what its parent had open and is refused writes ([`ErrorKind::Unsupported`](nanotier_tier::ErrorKind)):
//! it opens the store itself.
#![forbid(unsafe_code)]

mod backend;
mod builder;
mod change;
mod compaction;
mod disk;
mod error;
#[cfg(test)]
mod failures;
mod folder;
mod format;
mod index;
mod log;
mod processes;
mod segment;
mod store;
mod view;

pub use backend::Usage;
pub use builder::{Builder, OnDamage};
pub use nanotier_tier::Durability;
pub use nanotier_tier::embedded::Stats;
pub use store::FileStore;
