//! A transaction in the making: what it has changed lies over what the log says.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use nanotier_tier::embedded::{Range, Rows, RowsMut, Visit};
use nanotier_tier::record::is_mark;
use nanotier_tier::{Bytes, Error, ErrorKind, Result, Timestamp};
use parking_lot::RwLock;

use crate::error::error;
use crate::format::{BatchBuilder, TooLong};
use crate::log::Log;
use crate::view::{read_slot, visit_rows};

/// What a transaction sees and changes. Nothing is in the log before it is committed.
pub(crate) struct Doing<'a> {
    pub(crate) log: &'a RwLock<Option<Log>>,
    pub(crate) batch: BatchBuilder,
    /// Rows that were changed: where the new value lies in the batch, or that they are gone.
    rows: BTreeMap<Vec<u8>, Option<(usize, usize)>>,
    floors: BTreeMap<Vec<u8>, Vec<u8>>,
    cleared: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Keys and values of all rows, as they will be.
    row_bytes: u64,
    last_age: u64,
    /// The store is closed with this: since when it is believed.
    pub(crate) closes: Option<Timestamp>,
}

pub(crate) fn too_long(_: TooLong) -> Error {
    error(ErrorKind::TooLarge, "write").with_detail("more than one transaction can hold")
}

impl<'a> Doing<'a> {
    pub(crate) fn new(log: &'a RwLock<Option<Log>>) -> Result<Self> {
        let (row_bytes, last_age) = with(log, |log| Ok((log.index.row_bytes(), log.index.last_age())))?;
        Ok(Self {
            log,
            batch: BatchBuilder::default(),
            rows: BTreeMap::new(),
            floors: BTreeMap::new(),
            cleared: Vec::new(),
            row_bytes,
            last_age,
            closes: None,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
        with(self.log, work)
    }

    fn is_cleared(&self, key: &[u8]) -> bool {
        let within = |end: &Option<Vec<u8>>| end.as_deref().is_none_or(|end| key < end);
        self.cleared.iter().any(|(start, end)| key >= start.as_slice() && within(end))
    }

    /// True if the transaction has changed the row.
    pub(crate) fn overrides(&self, key: &[u8]) -> bool {
        self.rows.contains_key(key) || self.is_cleared(key)
    }

    pub(crate) fn overrides_floor(&self, namespace: &[u8]) -> bool {
        self.floors.contains_key(namespace)
    }

    /// What the row takes now, key and value; 0 if it is not there.
    fn len_of(&self, key: &[u8]) -> Result<u64> {
        let len = match self.rows.get(key) {
            Some(changed) => changed.map(|(_, len)| len as u64),
            None if self.is_cleared(key) => None,
            None => self.with(|log| Ok(log.index.slot(key).map(|slot| u64::from(slot.len))))?,
        };
        Ok(len.map_or(0, |len| len + key.len() as u64))
    }
}

fn with<T>(log: &RwLock<Option<Log>>, work: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
    log.read().as_ref().map_or_else(|| Err(error(ErrorKind::Closed, "write")), work)
}

impl Rows for Doing<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.rows.get(key) {
            Some(changed) => Ok(changed.map(|place| Bytes::copy_from_slice(self.batch.value(place)))),
            None if self.is_cleared(key) => Ok(None),
            None => self.with(|log| log.index.slot(key).map(read_slot).transpose()),
        }
    }

    fn floor(&self, namespace: &[u8]) -> Result<Option<Bytes>> {
        match self.floors.get(namespace) {
            Some(floor) => Ok(Some(Bytes::copy_from_slice(floor))),
            None => self
                .with(|log| Ok(log.index.floor(namespace).map(|floor| Bytes::copy_from_slice(&floor.bytes)))),
        }
    }

    fn visit(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<()> {
        self.with(|log| {
            if self.rows.is_empty() && self.cleared.is_empty() {
                return visit_rows(log, range, visit);
            }
            // Both in order; where both have a row, the transaction's counts.
            let mut ours = self.rows.range::<[u8], _>(range).peekable();
            let mut theirs = log.index.range(range).filter(|(key, _)| !self.overrides(key)).peekable();
            loop {
                let is_ours = match (ours.peek(), theirs.peek()) {
                    (None, None) => return Ok(()),
                    (Some((our, _)), Some((their, _))) => our.as_slice() < &***their,
                    (our, _) => our.is_some(),
                };
                let flow = if is_ours {
                    match ours.next() {
                        Some((key, Some(place))) => visit(key, self.batch.value(*place)),
                        _ => ControlFlow::Continue(()),
                    }
                } else {
                    match theirs.next() {
                        Some((key, slot)) => visit(key, &read_slot(slot)?),
                        None => ControlFlow::Continue(()),
                    }
                };
                if flow.is_break() {
                    return Ok(());
                }
            }
        })
    }

    fn due(&self, now: Timestamp, most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        let wanted = |key: &&crate::index::Key| !self.overrides(key);
        self.with(|log| {
            Ok(Some(log.index.due(now).filter(wanted).take(most).map(|key| key.to_vec()).collect()))
        })
    }
}

impl RowsMut for Doing<'_> {
    fn put(&mut self, key: &[u8], framed: &[u8], due: Timestamp) -> Result<()> {
        self.row_bytes = self.row_bytes - self.len_of(key)? + (key.len() + framed.len()) as u64;
        // Marks have no age: they have to stay, and would stand before all that may leave.
        let age = if is_mark(framed) { 0 } else { self.last_age + 1 };
        self.last_age = self.last_age.max(age);
        let place = self.batch.put(key, framed, due, age).map_err(too_long)?;
        self.rows.insert(key.to_vec(), Some(place));
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<()> {
        let len = self.len_of(key)?;
        if len > 0 {
            self.row_bytes -= len;
            self.batch.remove(key).map_err(too_long)?;
            self.rows.insert(key.to_vec(), None);
        }
        Ok(())
    }

    fn remove_all(&mut self, (start, end): Range<'_>) -> Result<()> {
        let after = |key: &[u8]| [key, &[0]].concat();
        let start = match start {
            Bound::Included(start) => start.to_vec(),
            Bound::Excluded(start) => after(start),
            Bound::Unbounded => Vec::new(),
        };
        let end = match end {
            Bound::Excluded(end) => Some(end.to_vec()),
            Bound::Included(end) => Some(after(end)),
            Bound::Unbounded => None,
        };
        if end.as_ref().is_some_and(|end| *end <= start) {
            return Ok(());
        }
        let range =
            (Bound::Included(start.as_slice()), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        let theirs = self.with(|log| {
            let stay = log.index.range(range).filter(|(key, _)| !self.overrides(key));
            Ok(stay.map(|(key, slot)| key.len() as u64 + u64::from(slot.len)).sum::<u64>())
        })?;
        let ours: Vec<_> =
            self.rows.range::<[u8], _>(range).map(|(key, place)| (key.clone(), *place)).collect();
        let our_bytes: u64 =
            ours.iter().filter_map(|(key, place)| place.map(|(_, len)| (key.len() + len) as u64)).sum();
        self.row_bytes -= theirs + our_bytes;
        self.batch.clear(&start, end.as_deref()).map_err(too_long)?;
        for (key, _) in ours {
            self.rows.remove(&key);
        }
        self.cleared.push((start, end));
        Ok(())
    }

    fn put_floor(&mut self, namespace: &[u8], floor: &[u8]) -> Result<()> {
        self.batch.floor(namespace, floor).map_err(too_long)?;
        self.floors.insert(namespace.to_vec(), floor.to_vec());
        Ok(())
    }

    fn bytes(&self) -> Result<Option<u64>> {
        Ok(Some(self.row_bytes))
    }

    fn eldest(&self, most: usize) -> Result<Vec<Vec<u8>>> {
        self.with(|log| {
            let wanted = |key: &&crate::index::Key| !self.overrides(key);
            Ok(log.index.by_age().filter(wanted).take(most).map(|key| key.to_vec()).collect())
        })
    }

    fn mark_closed(&mut self, believed_since: Timestamp) -> Result<()> {
        self.closes = Some(believed_since);
        Ok(())
    }
}
