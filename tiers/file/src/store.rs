//! The store and its handle.

use std::fmt;
use std::path::{Path, PathBuf};

use nanotier_tier::embedded::{Core, Embedded, Stats};
use nanotier_tier::{Inline, Result, Store};

use crate::backend::{FileLog, Usage};
use crate::builder::{Builder, Config};

/// A store of records in a folder of log files. See the [crate](crate).
///
/// # After a failure
///
/// If the disk refuses a write, all who shared its transaction have the error, and what they wrote is cut off again: it is there for
/// nobody, unless the process ends before that is done, and then it is whole. A flush that failed is never repeated and believed: what
/// was acknowledged before ([`Durability::Async`](crate::Durability::Async)) and may not be on disk is written once more, to a new
/// file, by the next transaction.
pub struct FileStore {
    core: Core<FileLog>,
}

impl FileStore {
    /// Opens the store in this folder with the default options. Creates what is missing, for its owner alone: the folder, those
    /// above it, and the files.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::builder(folder).build()
    }

    /// Options for a store in this folder.
    pub fn builder(folder: impl Into<PathBuf>) -> Builder {
        Builder::new(folder.into())
    }

    pub(crate) fn start(config: Config) -> Result<Self> {
        let options = config.options.clone();
        let (log, belief) = FileLog::open(config)?;
        Ok(Self { core: Core::start(log, options, belief)? })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.core.backend().config.folder
    }

    /// The store as a tier on the caller's thread.
    #[must_use]
    pub fn inline(self) -> Inline<Self> {
        Inline(self)
    }

    /// Removes now what has expired and whose version has served its time, and says how many rows that were. The store
    /// does so by itself from time to time. Costs what comes due: the index knows.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn sweep(&self) -> Result<usize> {
        self.core.sweep()
    }

    /// Brings to disk what was acknowledged before it was there, by any process. With [`Durability::Sync`](crate::Durability::Sync)
    /// that is nothing.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub fn flush(&self) -> Result<()> {
        self.core.flush()
    }

    /// Writes what counts anew and removes the rest of the log, in steps of about a megabyte between which others have their turn. The
    /// store does so by itself once more than half of the log, and twice a segment, does not count any more.
    ///
    /// # Errors
    ///
    /// What the disk said. What was compacted until then stays so.
    pub fn compact(&self) -> Result<()> {
        self.core.backend().compact()
    }

    /// What was done so far, by this handle.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// What is in the folder now. Costs a walk over the list of segments.
    ///
    /// # Errors
    ///
    /// What the disk said; [`ErrorKind::Closed`](nanotier_tier::ErrorKind::Closed) after closing.
    pub fn usage(&self) -> Result<Usage> {
        self.core.backend().usage()
    }
}

impl Embedded for FileStore {
    fn core(&self) -> &dyn Store {
        &self.core
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("path", &self.path()).finish_non_exhaustive()
    }
}
