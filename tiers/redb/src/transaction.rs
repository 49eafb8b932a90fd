//! What a transaction does: every write is judged with what is held, where nobody can come between.

use std::ops::Bound;
use std::time::Duration;

use nanotier_tier::record::Framing;
use nanotier_tier::rules::judge;
use nanotier_tier::{
    Bytes, Effect, ErrorKind, Namespace, Path, Record, Result, Timestamp, Update, Updated, Version, Write,
    Wrote, apply,
};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::error::{error, while_doing};
use crate::group::{Answer, Job};
use crate::rows::{BELIEVED_SINCE, Bytewise, CLOSED, Due, FLOORS, Floor, META, RECORDS, Row, due};

/// An open transaction and the moment at which its jobs are judged.
pub(crate) struct Doing<'t> {
    transaction: &'t WriteTransaction,
    records: Table<'t, Bytewise, Bytewise>,
    floors: Table<'t, Bytewise, Bytewise>,
    framing: &'t Framing,
    horizon: Duration,
    now: Timestamp,
    /// What has to be committed.
    pub(crate) wanted: Wanted,
}

/// How far what was done has to be brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    /// Nothing was changed: everything was refused.
    Nothing,
    /// Something was changed.
    Commit,
    /// Somebody asked for what is not on disk yet.
    Flush,
}

impl<'t> Doing<'t> {
    pub(crate) fn begin(
        transaction: &'t WriteTransaction,
        framing: &'t Framing,
        horizon: Duration,
        now: Timestamp,
    ) -> Result<Self> {
        Ok(Self {
            transaction,
            records: transaction.open_table(RECORDS).map_err(while_doing("write"))?,
            floors: transaction.open_table(FLOORS).map_err(while_doing("write"))?,
            framing,
            horizon,
            now,
            wanted: Wanted::Nothing,
        })
    }

    /// Does a job. An error is one of the file's and ends the transaction; what is refused to one writer alone is in the answer.
    pub(crate) fn job(&mut self, job: &Job<'_>) -> Result<Answer> {
        match job {
            Job::Write(writes) => {
                writes.iter().map(|write| self.write(write)).collect::<Result<_>>().map(Answer::Wrote)
            }
            Job::Update(update) => self.update(update).map(Answer::Updated),
            Job::Clear { namespace, version, as_of } => {
                self.clear(namespace, *version, *as_of).map(Answer::Cleared)
            }
            Job::Sweep(keys) => self.sweep(keys).map(Answer::Swept),
            Job::Flush => {
                self.wanted = Wanted::Flush;
                Ok(Answer::Done)
            }
            Job::Close { believed_since } => {
                let mut meta = self.transaction.open_table(META).map_err(while_doing("close"))?;
                meta.insert(CLOSED, 1).map_err(while_doing("close"))?;
                meta.insert(BELIEVED_SINCE, believed_since.as_millis()).map_err(while_doing("close"))?;
                self.wanted = Wanted::Flush;
                Ok(Answer::Done)
            }
        }
    }

    fn row(&self, path: &Path<'_>) -> Result<Row> {
        Row::read(self.framing, path, &self.records, Some(&self.floors))
    }

    fn write(&mut self, write: &Write<'_>) -> Result<Result<Wrote>> {
        if let Err(error) = check_key(&write.path) {
            return Ok(Err(error));
        }
        let held = match self.row(&write.path)?.held() {
            Ok(held) => held,
            Err(damaged) => return Ok(Err(damaged)),
        };
        let verdict = judge(held, write, self.now, self.horizon);
        if verdict != Wrote::Done {
            return Ok(Ok(verdict));
        }
        let put = self.put(&write.path, write.record.as_deref(), write.version)?;
        Ok(put.map(|()| Wrote::Done))
    }

    fn update(&mut self, update: &Update<'_>) -> Result<Result<Updated>> {
        if let Err(error) = check_key(&update.path) {
            return Ok(Err(error));
        }
        let row = self.row(&update.path)?;
        let applied =
            row.held().and_then(|held| apply(held, row.entry.record(), update, self.now, self.horizon));
        let (effect, updated) = match applied {
            Ok(applied) => applied,
            Err(refused) => return Ok(Err(refused)),
        };
        let put = match effect {
            Effect::Keep => Ok(()),
            Effect::Put(record) => self.put(&update.path, Some(&record), record.version)?,
            Effect::Bury(version) => self.put(&update.path, None, version)?,
        };
        Ok(put.map(|()| updated))
    }

    /// Puts a record, or a tombstone. The inner error is about the record alone.
    fn put(&mut self, path: &Path<'_>, record: Option<&Record>, version: Version) -> Result<Result<()>> {
        let framed = match self.framing.encode(path, record, version, self.now) {
            Ok(framed) => framed,
            Err(refused) => return Ok(Err(refused)),
        };
        self.records.insert(path.to_bytes().as_slice(), framed.as_slice()).map_err(while_doing("write"))?;
        self.wanted = self.wanted.max(Wanted::Commit);
        Ok(Ok(()))
    }

    fn clear(&mut self, namespace: &Namespace, version: Version, as_of: Timestamp) -> Result<Wrote> {
        if as_of < self.now.minus(self.horizon) {
            return Ok(Wrote::TooLate);
        }
        let floor = match Floor::read(&self.floors, namespace)? {
            Floor::Version(floor) => Some(floor),
            // A damaged one is mended by the new one.
            Floor::None | Floor::Damaged => None,
        };
        let newest = self.newest(namespace)?.max(floor);
        if let Some(newest) = newest.filter(|newest| *newest >= version) {
            return Ok(Wrote::Older(newest));
        }
        let (start, end) = bounds(namespace);
        let all =
            (Bound::Included(start.as_slice()), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        self.records.retain_in::<&[u8], _>(all, |_, _| false).map_err(while_doing("clear"))?;
        let (name, floor) = (namespace.as_str().as_bytes(), Floor::bytes(version));
        self.floors.insert(name, floor.as_slice()).map_err(while_doing("clear"))?;
        self.wanted = self.wanted.max(Wanted::Commit);
        Ok(Wrote::Done)
    }

    /// The newest version held in a namespace. Damaged rows have none.
    fn newest(&self, namespace: &Namespace) -> Result<Option<Version>> {
        let mut newest = None;
        let (start, end) = bounds(namespace);
        let all =
            (Bound::Included(start.as_slice()), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        for row in self.records.range::<&[u8]>(all).map_err(while_doing("clear"))? {
            let (key, value) = row.map_err(while_doing("clear"))?;
            let Some(path) = Path::from_bytes(key.value()) else { continue };
            if let Ok((entry, _)) = self.framing.decode(&path, &Bytes::copy_from_slice(value.value())) {
                newest = newest.max(entry.version());
            }
        }
        Ok(newest)
    }

    fn sweep(&mut self, keys: &[Vec<u8>]) -> Result<usize> {
        let mut swept = 0;
        for key in keys {
            // Looked at again: it may have been written since it was found.
            let is_due = match self.records.get(key.as_slice()).map_err(while_doing("sweep"))? {
                Some(value) => due(self.framing, key, value.value(), self.now, self.horizon) == Due::Now,
                None => false,
            };
            if is_due {
                self.records.remove(key.as_slice()).map_err(while_doing("sweep"))?;
                self.wanted = self.wanted.max(Wanted::Commit);
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// From which key on a namespace's rows lie, and before which.
pub(crate) fn bounds(namespace: &Namespace) -> (Vec<u8>, Option<Vec<u8>>) {
    let start = Path::prefix(namespace);
    let end = after_all_with(&start);
    (start, end)
}

/// The first byte string after all that begin with `prefix`; `None` if there is none.
pub(crate) fn after_all_with(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

fn check_key(path: &Path<'_>) -> Result<()> {
    if path.key().len() > Path::KEY_LEN_MAX {
        return Err(error(ErrorKind::TooLarge, "write").with_detail("the key is longer than keys may be"));
    }
    Ok(())
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
