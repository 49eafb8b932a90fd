//! What a transaction does: every write is judged with what is held, where nobody can come between.

use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use bytes::Bytes;
use nanotier_clock::Timestamp;

use super::backend::{Range, RowsMut, Wanted};
use super::group::{Answer, Job};
use super::room::Room;
use super::row::{Due, Floor, Row, due, due_of};
use crate::entry::{Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Namespace, Path};
use crate::record::Framing;
use crate::rules::judge;
use crate::stored::Record;
use crate::update::{Effect, Update, Updated, apply};
use crate::version::Version;

/// An open transaction and the moment at which its jobs are judged.
pub(super) struct Desk<'t> {
    pub(super) rows: &'t mut dyn RowsMut,
    pub(super) tier: &'static str,
    pub(super) framing: &'t Framing,
    pub(super) horizon: Duration,
    pub(super) now: Timestamp,
    /// What has to be committed.
    pub(super) wanted: Wanted,
    /// What a size bound needs; `None` without one.
    pub(super) room: Option<Room>,
}

impl Desk<'_> {
    /// Does a job. An error is one of the file's and ends the transaction; what is refused to one writer alone is in the answer.
    pub(super) fn job(&mut self, job: &Job<'_>) -> Result<Answer> {
        match job {
            Job::Write(writes) => {
                writes.iter().map(|write| self.write(write)).collect::<Result<_>>().map(Answer::Wrote)
            }
            Job::Update(update) => self.update(update).map(Answer::Updated),
            Job::Clear { namespace, version, as_of } => {
                self.clear(namespace, *version, *as_of).map(Answer::Cleared)
            }
            Job::Sweep { keys, indexed } => self.sweep(keys, *indexed).map(Answer::Swept),
            Job::Shrink => self.shrink().map(Answer::Shrunk),
            Job::Flush => {
                self.wanted = Wanted::Flush;
                Ok(Answer::Done)
            }
            Job::Close { believed_since } => {
                self.rows.mark_closed(*believed_since)?;
                self.wanted = Wanted::Flush;
                Ok(Answer::Done)
            }
        }
    }

    fn row(&self, path: &Path<'_>, key: &[u8]) -> Result<Row> {
        Row::read(&*self.rows, self.framing, path, key)
    }

    fn write(&mut self, write: &Write<'_>) -> Result<Result<Wrote>> {
        if let Err(error) = self.check_key(&write.path) {
            return Ok(Err(error));
        }
        let key = write.path.to_bytes();
        let row = self.row(&write.path, &key)?;
        let held = match row.held(self.tier) {
            Ok(held) => held,
            Err(damaged) => return Ok(Err(damaged)),
        };
        let verdict = judge(held, write, self.now, self.horizon);
        if verdict != Wrote::Done {
            return Ok(Ok(verdict));
        }
        let put = self.put(&write.path, &key, row.framed_len, write.record.as_deref(), write.version)?;
        Ok(put.map(|()| Wrote::Done))
    }

    fn update(&mut self, update: &Update<'_>) -> Result<Result<Updated>> {
        if let Err(error) = self.check_key(&update.path) {
            return Ok(Err(error));
        }
        let key = update.path.to_bytes();
        let row = self.row(&update.path, &key)?;
        let applied = row
            .held(self.tier)
            .and_then(|held| apply(held, row.entry.record(), update, self.now, self.horizon));
        let (effect, updated) = match applied {
            Ok(applied) => applied,
            Err(refused) => return Ok(Err(refused)),
        };
        let put = match effect {
            Effect::Keep => Ok(()),
            Effect::Put(record) => {
                self.put(&update.path, &key, row.framed_len, Some(&record), record.version)?
            }
            Effect::Bury(version) => self.put(&update.path, &key, row.framed_len, None, version)?,
        };
        Ok(put.map(|()| updated))
    }

    /// Puts a record, or a tombstone, where a row of `old` bytes is. The inner error is about the record alone.
    fn put(
        &mut self,
        path: &Path<'_>,
        key: &[u8],
        old: Option<usize>,
        record: Option<&Record>,
        version: Version,
    ) -> Result<Result<()>> {
        let framed = match self.framing.encode(path, record, version, self.now) {
            Ok(framed) => framed,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Err(refused) = self.make_room(key, old, framed.len())? {
            return Ok(Err(refused));
        }
        self.rows.put(key, &framed, due_of(record, self.now, self.horizon))?;
        self.note_change(key, old, Some(framed.len()));
        self.wanted = self.wanted.max(Wanted::Commit);
        Ok(Ok(()))
    }

    fn clear(&mut self, namespace: &Namespace, version: Version, as_of: Timestamp) -> Result<Wrote> {
        if as_of < self.now.minus(self.horizon) {
            return Ok(Wrote::TooLate);
        }
        let floor = match Floor::read(&*self.rows, namespace)? {
            Floor::Version(floor) => Some(floor),
            // A damaged one is mended by the new one.
            Floor::None | Floor::Damaged => None,
        };
        let newest = self.newest(namespace)?.max(floor);
        if let Some(newest) = newest.filter(|newest| *newest >= version) {
            return Ok(Wrote::Older(newest));
        }
        let (start, end) = bounds(namespace);
        self.rows.remove_all(range(&start, end.as_deref()))?;
        self.note_removal();
        self.rows.put_floor(namespace.as_str().as_bytes(), &Floor::bytes(version))?;
        self.wanted = self.wanted.max(Wanted::Commit);
        Ok(Wrote::Done)
    }

    /// The newest version held in a namespace. Damaged rows have none.
    fn newest(&self, namespace: &Namespace) -> Result<Option<Version>> {
        let mut newest = None;
        let (start, end) = bounds(namespace);
        self.rows.visit(range(&start, end.as_deref()), &mut |key, framed| {
            let read = Path::from_bytes(key)
                .and_then(|path| self.framing.decode(&path, &Bytes::copy_from_slice(framed)).ok());
            newest = newest.max(read.and_then(|(entry, _)| entry.version()));
            ControlFlow::Continue(())
        })?;
        Ok(newest)
    }

    fn check_key(&self, path: &Path<'_>) -> Result<()> {
        if path.key().len() > Path::KEY_LEN_MAX {
            return Err(Error::new(ErrorKind::TooLarge, self.tier, "write")
                .with_detail("the key is longer than keys may be"));
        }
        Ok(())
    }

    fn sweep(&mut self, keys: &[Vec<u8>], indexed: bool) -> Result<usize> {
        let mut swept = 0;
        for key in keys {
            // Looked at again: it may have been written since it was found.
            let Some(framed) = self.rows.get(key)? else { continue };
            match due(self.framing, key, &framed, self.now, self.horizon) {
                Due::Now => {
                    self.rows.remove(key)?;
                    self.note_change(key, Some(framed.len()), None);
                    swept += 1;
                }
                // One that stays must not stand in the index's way for ever.
                Due::At(at) if indexed => self.rows.put(key, &framed, at)?,
                Due::At(_) => continue,
            }
            self.wanted = self.wanted.max(Wanted::Commit);
        }
        Ok(swept)
    }
}

/// From which key on a namespace's rows lie, and before which.
#[must_use]
pub fn bounds(namespace: &Namespace) -> (Vec<u8>, Option<Vec<u8>>) {
    let start = Path::prefix(namespace);
    let end = after_all_with(&start);
    (start, end)
}

/// The first byte string after all that begin with `prefix`; `None` if there is none.
#[must_use]
pub fn after_all_with(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

/// The rows from `start` on that lie before `end`.
pub(super) fn range<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Range<'a> {
    (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_comes_right_after_all_that_begin_with_it() {
        assert_eq!(after_all_with(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_all_with(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_all_with(b"\xff"), None);
        assert_eq!(after_all_with(b""), None);
    }
}
