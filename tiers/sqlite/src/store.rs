//! The store and its handle.

use std::fmt;
use std::path::{Path, PathBuf};

use nanotier_tier::embedded::{Core, Embedded, Stats};
use nanotier_tier::{Inline, Result, Store};

use crate::backend::Sqlite;
use crate::builder::{Builder, Config};

/// A store of records in a SQLite database. See the [crate](crate).
///
/// # After a failure
///
/// If the disk refuses a write, all who shared its transaction have the error; it was rolled back. The connection is then opened anew by the
/// next call; as long as that fails, calls say why. From then on [`believed_since`](Store::believed_since) is the moment after the
/// failure, in every process that has the store open.
///
/// If the system does not let go of a lock when SQLite wants it, this process keeps it unseen, locks out others and itself. Whoever waits
/// for a quarter of a second to write therefore has all of the store's connections made anew, which lets go of every lock, unless another store
/// of the process has the same file open; so does whoever is refused a read. SQLite itself tries for ten seconds before it refuses
/// a read that cannot lock, which nothing shortens: that long a read may take once after such a failure.
///
/// # Several processes
///
/// Every process sees what every other one committed, with the next read. Writing takes turns: who waits for longer than the
/// [busy timeout](Builder::busy_timeout) is told [`Contended`](nanotier_tier::ErrorKind::Contended). A process that ends
/// without closing the store may have missed a write: all others doubt what was given until they notice, which is when the next
/// store is opened, and with each sweep.
pub struct SqliteStore {
    core: Core<Sqlite>,
}

impl SqliteStore {
    /// Opens the store in this file with the default options. Creates what is missing: the file, for its owner alone, and
    /// the folders above it.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::builder(path).build()
    }

    /// Options for a store in this file.
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(path.into())
    }

    pub(crate) fn start(config: Config) -> Result<Self> {
        let options = config.options.clone();
        let sqlite = Sqlite::open(config)?;
        let belief = sqlite.belief();
        Ok(Self { core: Core::start(sqlite, options, belief)? })
    }

    /// The file, by the one name that it has for all who open it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.core.backend().config.path
    }

    /// The store as a tier on the caller's thread.
    #[must_use]
    pub fn inline(self) -> Inline<Self> {
        Inline(self)
    }

    /// Removes now what has expired and whose version has served its time, and says how many rows that were. The store
    /// does so by itself from time to time.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn sweep(&self) -> Result<usize> {
        self.core.sweep()
    }

    /// Brings to disk what was acknowledged before it was there. With [`Durability::Sync`](crate::Durability::Sync) that is nothing.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn flush(&self) -> Result<()> {
        self.core.flush()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl Embedded for SqliteStore {
    fn core(&self) -> &dyn Store {
        &self.core
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path()).finish_non_exhaustive()
    }
}
