//! Rows as SQLite holds them: asked for by a reader's connection, asked for and changed by the writer's.

use std::cell::{Cell, RefCell};
use std::ops::Bound;

use nanotier_tier::embedded::{Range, Rows, RowsMut, Visit};
use nanotier_tier::{Bytes, ErrorKind, Result, Timestamp};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, params};

use crate::error::{error, while_doing};
use crate::readers::Heard;
use crate::sql::{Sql, id_of};

/// So many other keys may have the ids that a key could have. By chance not even one does.
const OTHERS_MAX: u8 = 64;

/// What a look shows.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How many times everything that was given was doubted.
    pub(crate) lost: i64,
    pub(crate) believed_since: Option<i64>,
    pub(crate) floor: Option<Bytes>,
    /// Where the row lies.
    pub(crate) place: Place,
    pub(crate) record: Option<Bytes>,
}

/// Where the row with a key lies, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Under this id.
    At(i64),
    /// Nowhere, and no other row has the id that it would have.
    Free,
    /// Nowhere, and another key's row has that id.
    Taken,
}

fn prepared<'c>(connection: &'c Connection, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
    connection.prepare_cached(sql)
}

/// A floor and a row of one state. Nearly always one question: only where some row lies under another id than its hash, what was
/// not found is asked for by its key.
pub(crate) fn look(connection: &Connection, sql: &Sql, namespace: &[u8], key: &[u8]) -> Result<Seen> {
    let by_id = ask(connection, &sql.look, params![id_of(key, 0), namespace], key);
    let (seen, strays) = by_id.map_err(while_doing("read"))?;
    if seen.record.is_some() || strays == 0 {
        return Ok(seen);
    }
    let by_key = ask(connection, &sql.look_by_key, params![key, namespace], key);
    let (stray, _) = by_key.map_err(while_doing("read"))?;
    let place = if stray.record.is_some() { stray.place } else { seen.place };
    Ok(Seen { place, ..stray })
}

fn ask(connection: &Connection, sql: &str, params: impl Params, key: &[u8]) -> rusqlite::Result<(Seen, i64)> {
    let mut look = prepared(connection, sql)?;
    let mut answer = look.query(params)?;
    // Without the row of marks there is no store, however many rows it has.
    let row = answer.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let floor = row.get_ref(3)?.as_blob_or_null().map_err(|_| wrong_type(3))?.map(Bytes::copy_from_slice);
    let its_key = row.get_ref(5)?.as_blob_or_null().map_err(|_| wrong_type(5))?;
    let (place, record) = match its_key {
        Some(its_key) if its_key == key => {
            // The one copy: the value that is handed out shares these bytes.
            let record = row.get_ref(6)?.as_blob().map_err(|_| wrong_type(6))?;
            (Place::At(row.get(4)?), Some(Bytes::copy_from_slice(record)))
        }
        Some(_) => (Place::Taken, None),
        None => (Place::Free, None),
    };
    let seen = Seen { lost: row.get(0)?, believed_since: row.get(1)?, floor, place, record };
    Ok((seen, row.get(2)?))
}

fn wrong_type(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, String::new(), rusqlite::types::Type::Blob)
}

pub(crate) fn floor(connection: &Connection, sql: &Sql, namespace: &[u8]) -> Result<Option<Bytes>> {
    let kept = prepared(connection, &sql.floor)
        .and_then(|mut ask| ask.query_row([namespace], |row| row.get::<_, Vec<u8>>(0)).optional());
    Ok(kept.map_err(while_doing("read"))?.map(Bytes::from))
}

pub(crate) fn visit(
    connection: &Connection,
    sql: &Sql,
    range: Range<'_>,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let (from, before) = from_before(range);
    let mut shown = || -> rusqlite::Result<()> {
        let [open, ended] = &sql.visit;
        let mut ask = prepared(connection, if before.is_some() { ended } else { open })?;
        let mut rows = match &before {
            Some(before) => ask.query(params![from, before])?,
            None => ask.query(params![from])?,
        };
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob().map_err(|_| wrong_type(0))?;
            let record = row.get_ref(1)?.as_blob().map_err(|_| wrong_type(1))?;
            if visit(key, record).is_break() {
                break;
            }
        }
        Ok(())
    };
    shown().map_err(while_doing("read"))
}

pub(crate) fn due(connection: &Connection, sql: &Sql, now: Timestamp, most: usize) -> Result<Vec<Vec<u8>>> {
    let keys = || -> rusqlite::Result<_> {
        let mut ask = prepared(connection, &sql.due)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        ask.query_map(params![moment(now).unwrap_or(i64::MAX), most], |row| row.get(0))?.collect()
    };
    keys().map_err(while_doing("sweep"))
}

/// A moment as the column `due` has it. `None` for never, and for what is as good as that.
fn moment(at: Timestamp) -> Option<i64> {
    i64::try_from(at.as_millis()).ok()
}

/// From which key on, and before which, if there is an end. A key's successor is the same and a zero byte.
fn from_before(range: Range<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let after = |key: &[u8]| [key, &[0]].concat();
    let from = match range.0 {
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => after(key),
        Bound::Unbounded => Vec::new(),
    };
    let before = match range.1 {
        Bound::Included(key) => Some(after(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
        Bound::Unbounded => None,
    };
    (from, before)
}

/// The rows within a transaction.
pub(crate) struct Doing<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) sql: &'c Sql,
    pub(crate) heard: &'c Heard,
    /// This store's id among those who have the database open.
    pub(crate) own: i64,
    /// What was looked for last: who writes looked before.
    pub(crate) last: RefCell<Last>,
    /// Counts samples, so that each is another one.
    pub(crate) samples: &'c Cell<u64>,
    pub(crate) marked_closed: bool,
}

/// The key that was looked for last, and the place of its row.
#[derive(Debug, Default)]
pub(crate) struct Last {
    key: Vec<u8>,
    /// `None` if that may have changed since.
    place: Option<Place>,
}

impl Doing<'_> {
    fn change(&self, operation: &'static str, sql: &str, params: impl Params) -> Result<usize> {
        prepared(self.connection, sql)
            .and_then(|mut change| change.execute(params))
            .map_err(while_doing(operation))
    }

    fn find(&self, key: &[u8]) -> Result<Place> {
        {
            let last = self.last.borrow();
            if let Last { key: looked_for, place: Some(place) } = &*last
                && looked_for == key
            {
                return Ok(*place);
            }
        }
        look(self.connection, self.sql, b"", key).map(|seen| seen.place)
    }

    fn remember(&self, key: &[u8], place: Place) {
        let mut last = self.last.borrow_mut();
        last.key.clear();
        last.key.extend_from_slice(key);
        last.place = Some(place);
    }

    fn forget(&self) {
        self.last.borrow_mut().place = None;
    }

    /// An id that no row has, where another key has the hash.
    #[cold]
    fn stray_id(&self, key: &[u8]) -> Result<i64> {
        for others in 1..OTHERS_MAX {
            let id = id_of(key, others);
            let taken = prepared(self.connection, &self.sql.has_id).and_then(|mut ask| ask.exists([id]));
            if !taken.map_err(while_doing("write"))? {
                self.change("write", &self.sql.note_stray, [])?;
                return Ok(id);
            }
        }
        // Not by chance, and nobody can choose keys so well that nothing else would be broken.
        Err(error(ErrorKind::Corrupt, "write").with_detail("other rows have all ids that a row could have"))
    }
}

impl Rows for Doing<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.look(b"", key).map(|(_, record)| record)
    }

    fn floor(&self, namespace: &[u8]) -> Result<Option<Bytes>> {
        floor(self.connection, self.sql, namespace)
    }

    fn look(&self, namespace: &[u8], key: &[u8]) -> Result<(Option<Bytes>, Option<Bytes>)> {
        let seen = look(self.connection, self.sql, namespace, key)?;
        let Seen { lost, believed_since, floor, place, record } = seen;
        self.heard.note(lost, believed_since);
        self.remember(key, place);
        Ok((floor, record))
    }

    fn visit(&self, range: Range<'_>, show: &mut Visit<'_>) -> Result<()> {
        visit(self.connection, self.sql, range, show)
    }

    fn due(&self, now: Timestamp, most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        due(self.connection, self.sql, now, most).map(Some)
    }
}

impl RowsMut for Doing<'_> {
    fn put(&mut self, key: &[u8], framed: &[u8], due: Timestamp) -> Result<()> {
        let due = moment(due);
        let id = match self.find(key)? {
            Place::At(id) => {
                self.change("write", &self.sql.update, params![id, due, framed])?;
                return Ok(());
            }
            Place::Free => id_of(key, 0),
            Place::Taken => self.stray_id(key)?,
        };
        self.change("write", &self.sql.insert, params![id, key, due, framed])?;
        self.remember(key, Place::At(id));
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<()> {
        if let Place::At(id) = self.find(key)? {
            self.forget();
            self.change("write", &self.sql.delete, [id])?;
        }
        Ok(())
    }

    fn remove_all(&mut self, range: Range<'_>) -> Result<()> {
        self.forget();
        let [open, ended] = &self.sql.delete_all;
        let (from, before) = from_before(range);
        match before {
            Some(before) => self.change("clear", ended, params![from, before])?,
            None => self.change("clear", open, params![from])?,
        };
        Ok(())
    }

    fn put_floor(&mut self, namespace: &[u8], floor: &[u8]) -> Result<()> {
        self.change("clear", &self.sql.put_floor, params![namespace, floor]).map(drop)
    }

    fn bytes(&self) -> Result<Option<u64>> {
        let bytes = prepared(self.connection, &self.sql.meta)
            .and_then(|mut ask| ask.query_row([], |row| row.get::<_, Option<i64>>(4)));
        Ok(bytes.map_err(while_doing("write"))?.map(|bytes| u64::try_from(bytes).unwrap_or(0)))
    }

    /// Rows lie in the order of their hashes: any of them that follow each other are a fair sample.
    fn eldest(&self, most: usize) -> Result<Vec<Vec<u8>>> {
        let count = self.samples.replace(self.samples.get() + 1);
        let start = id_of(b"sample", 0) ^ id_of(&count.to_ne_bytes(), 0);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for from in [start, i64::MIN] {
            let missing = i64::try_from(most.saturating_sub(keys.len())).unwrap_or(i64::MAX);
            if missing > 0 {
                let more = || -> rusqlite::Result<Vec<Vec<u8>>> {
                    let mut ask = prepared(self.connection, &self.sql.sample)?;
                    ask.query_map([from, missing], |row| row.get(0))?.collect()
                };
                keys.extend(more().map_err(while_doing("write"))?);
            }
        }
        Ok(keys)
    }

    fn mark_closed(&mut self, believed_since: Timestamp) -> Result<()> {
        let lost = prepared(self.connection, &self.sql.meta)
            .and_then(|mut ask| ask.query_row([], |row| row.get::<_, i64>(1)))
            .map_err(while_doing("close"))?;
        // Somebody lost something that this store had not heard of when it said since when it is believed: the next one finds out.
        if self.heard.knows(lost) {
            self.change("close", &self.sql.believe, [moment(believed_since).unwrap_or(i64::MAX)])?;
        }
        self.change("close", &self.sql.go, [self.own])?;
        self.marked_closed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_a_range_become_from_and_before() {
        use Bound::{Excluded, Included, Unbounded};
        let key = &b"k"[..];
        let successor = b"k\0".to_vec();
        assert_eq!(from_before((Included(key), Excluded(key))), (b"k".to_vec(), Some(b"k".to_vec())));
        assert_eq!(from_before((Excluded(key), Included(key))), (successor.clone(), Some(successor)));
        assert_eq!(from_before((Unbounded, Unbounded)), (Vec::new(), None));
    }
}
