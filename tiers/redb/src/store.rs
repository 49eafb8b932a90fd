//! The store and its handle.

use std::fmt;
use std::path::{Path, PathBuf};

use nanotier_tier::embedded::{Core, Embedded, Stats};
use nanotier_tier::{Inline, Result, Store};

use crate::backend::{FileStats, Redb};
use crate::builder::{Builder, Config};

/// A store of records in one redb file. See the [crate](crate).
///
/// # After a failure
///
/// If the disk refuses a write, all who shared its transaction have the error, and each of their writes may or may not have
/// happened. The file is then closed and opened anew by the next call, in which redb repairs what the failure left; as long as that
/// fails, calls say why. From then on [`believed_since`](Store::believed_since) is the moment of that opening.
pub struct RedbStore {
    core: Core<Redb>,
}

impl RedbStore {
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
        let (redb, belief) = Redb::open(config)?;
        Ok(Self { core: Core::start(redb, options, belief)? })
    }

    /// The file.
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

    /// Moves what is in use to the front of the file and gives the rest back to the system; true if the file became shorter.
    ///
    /// Everybody who reads or writes below memory waits meanwhile: seconds, for a file of gigabytes. A crash meanwhile is a crash as any other. The
    /// store does so by itself when much of its file is free, unless [told not to](Builder::compact_by_itself).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`](nanotier_tier::ErrorKind::Busy) if somebody has been reading all the time that it waits for readers, a quarter
    /// of a second; what the disk said.
    pub fn compact(&self) -> Result<bool> {
        self.core.backend().compact()
    }

    /// What the file holds, and what was done to it. Reads every page of the tree that is not a value's: for a look by hand, not for each request.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn file_stats(&self) -> Result<FileStats> {
        self.core.backend().file_stats()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl Embedded for RedbStore {
    fn core(&self) -> &dyn Store {
        &self.core
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path()).finish_non_exhaustive()
    }
}
