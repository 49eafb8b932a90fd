//! What a local engine must be able to do.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use nanotier_clock::Timestamp;

use crate::error::Result;

/// Rows from one key to another.
pub type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Is shown rows, key and value, and says whether it wants more.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// How far what a transaction did has to be brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nothing was changed: everything was refused.
    Nothing,
    /// Something was changed: as durable as the store is configured to be.
    Commit,
    /// Somebody asked for what is not on disk yet: flush, whatever the durability.
    Flush,
}

/// A state of the rows, to read from. Keys are the bytes of paths, in their order; values are framed records.
pub trait Rows {
    /// The row with this key. A copy: the value that is handed out shares its bytes.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// The bytes kept as floor of this namespace.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn floor(&self, namespace: &[u8]) -> Result<Option<Bytes>>;

    /// The floor of a namespace and the row with a key of it, of one committed state: what every read and every judgement asks for.
    /// An engine for which one question is cheaper than two answers both at once.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn look(&self, namespace: &[u8], key: &[u8]) -> Result<(Option<Bytes>, Option<Bytes>)> {
        Ok((self.floor(namespace)?, self.get(key)?))
    }

    /// Shows the rows of `range`, in order, until there are no more or `visit` breaks off.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn visit(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()>;

    /// The keys of at most `most` rows that come due at or before `now`, in any order. `None` if the engine keeps no index of
    /// that: the sweep then looks at every row.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn due(&self, now: Timestamp, most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        let _ = (now, most);
        Ok(None)
    }
}

/// The rows within a transaction.
///
/// What a size bound needs comes from here: see [`Options::bytes_max`](super::Options::bytes_max).
pub trait RowsMut: Rows {
    /// Puts a row. `due` is the moment from which it may be swept; [`Timestamp::NEVER`] for never.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn put(&mut self, key: &[u8], framed: &[u8], due: Timestamp) -> Result<()>;

    /// Removes a row, if it is there.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn remove(&mut self, key: &[u8]) -> Result<()>;

    /// Removes all rows of a range.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn remove_all(&mut self, range: Range<'_>) -> Result<()>;

    /// Keeps the floor of a namespace.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn put_floor(&mut self, namespace: &[u8], floor: &[u8]) -> Result<()>;

    /// How many bytes all rows take, keys and framed records, without what the engine adds. Asked once per transaction, and once more
    /// after a clearing: cheap.
    /// `None` if the engine does not know: such a store cannot be bounded.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The keys of at most `most` rows that were taken long ago, in any order. Which of them leave is judged by who asks: those that expired,
    /// then the oldest eighth.
    ///
    /// An engine without an order of age gives a sample of its rows, another one each time, and marks (tombstones and blanks) too. One with
    /// such an order leaves out [marks](crate::record::is_mark), which have to stay and would stand before all else;
    /// [`due`](Rows::due) knows them.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn eldest(&self, most: usize) -> Result<Vec<Vec<u8>>> {
        let _ = most;
        Ok(Vec::new())
    }

    /// Marks the store as closed properly, and believed since then.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn mark_closed(&mut self, believed_since: Timestamp) -> Result<()>;
}

/// A local engine: rows in order, and changes that are whole or not at all.
///
/// A backend that fails half-way mends itself: the next call finds it open again, or says why it cannot be. If what was
/// acknowledged may be lost thereby, it tells its [`Belief`](super::Belief).
pub trait Backend: Send + Sync + 'static {
    /// The store's name in errors and events.
    const NAME: &'static str;

    /// A committed state.
    type View: Rows;

    /// The number of this opening, random and never 0, and of the one before it if that was closed properly; `None` if no
    /// book is kept of them. See [`Lineage`](crate::Lineage). Kept where a crash keeps it before anything is acknowledged, and said
    /// after closing too.
    fn openings(&self) -> Option<(u64, Option<u64>)> {
        None
    }

    /// Reads from the newest committed state.
    ///
    /// # Errors
    ///
    /// What `read` or the engine said; [`ErrorKind::Closed`](crate::ErrorKind::Closed) after [`close`](Backend::close).
    fn read<T>(&self, read: impl FnOnce(&Self::View) -> Result<T>) -> Result<T>;

    /// Calls `work` once, in a transaction that sees all committed ones, and commits as it wishes: nothing, if it was refused. Says whether
    /// all that was acknowledged so far is on disk now. Never called twice at the same time by one store.
    ///
    /// # Errors
    ///
    /// What `work` or the engine said. It may have happened or not, but is whole.
    fn transact(&self, work: &mut dyn FnMut(&mut dyn RowsMut) -> Result<Wanted>) -> Result<bool>;

    /// Lets go of everything. Called once, after the last transaction.
    ///
    /// # Errors
    ///
    /// What the engine said.
    fn close(&self) -> Result<()>;

    /// True after [`close`](Backend::close).
    fn is_closed(&self) -> bool;

    /// What was given until `until` may have missed a write: called after the handle's own [`Belief`](super::Belief) has heard of it. A
    /// store that several processes share tells the others here; if it cannot now, with the next transaction that succeeds.
    fn doubt(&self, until: Timestamp) {
        let _ = until;
    }

    /// From time to time, on the store's own thread, when a sweep has passed: compaction, checkpoints.
    ///
    /// # Errors
    ///
    /// What the engine said. It is tried again after the next sweep.
    fn tidy(&self) -> Result<()> {
        Ok(())
    }
}
