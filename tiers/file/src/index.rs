//! What is in the log, in memory: where each row lies, when it comes due, how old it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use nanotier_tier::Timestamp;
use nanotier_tier::embedded::Range;

use crate::format::{CHANGE_LEN, Change};
use crate::segment::{Batch, Segment};

pub(crate) type Key = Arc<[u8]>;

/// Where a row's value lies.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) segment: Arc<Segment>,
    pub(crate) at: u64,
    pub(crate) len: u32,
    pub(crate) due: Timestamp,
    pub(crate) age: u64,
}

/// A namespace's floor, and the segment that says it.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) segment: u64,
}

#[derive(Debug)]
pub(crate) struct Index {
    rows: BTreeMap<Key, Slot>,
    floors: BTreeMap<Box<[u8]>, Floor>,
    due: BTreeSet<(Timestamp, Key)>,
    /// Only where something is evicted by age, and without marks, whose age is 0.
    by_age: Option<BTreeMap<u64, Key>>,
    /// Keys and values of all rows.
    row_bytes: u64,
    /// What the rows and floors that count take in the log.
    live_bytes: u64,
    last_age: u64,
    /// The segment in which the log begins, as far as batches have said.
    begins: u64,
}

fn live_len(key: &[u8], len: usize) -> u64 {
    (CHANGE_LEN + key.len() + len) as u64
}

impl Index {
    pub(crate) fn new(keeps_age: bool) -> Self {
        Self {
            rows: BTreeMap::new(),
            floors: BTreeMap::new(),
            due: BTreeSet::new(),
            by_age: keeps_age.then(BTreeMap::new),
            row_bytes: 0,
            live_bytes: 0,
            last_age: 0,
            begins: 0,
        }
    }

    pub(crate) fn slot(&self, key: &[u8]) -> Option<&Slot> {
        self.rows.get(key)
    }

    pub(crate) fn floor(&self, namespace: &[u8]) -> Option<&Floor> {
        self.floors.get(namespace)
    }

    /// The namespaces that have floors.
    pub(crate) fn floors(&self) -> impl Iterator<Item = &[u8]> {
        self.floors.keys().map(|namespace| &**namespace)
    }

    pub(crate) fn range(&self, range: Range<'_>) -> impl Iterator<Item = (&Key, &Slot)> {
        // An empty range is asked for by nobody, and the map would panic.
        let is_empty = match range {
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Excluded(start), Bound::Included(end)) => start >= end,
            _ => false,
        };
        (!is_empty).then(|| self.rows.range::<[u8], _>(range)).into_iter().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn last_age(&self) -> u64 {
        self.last_age
    }

    pub(crate) fn begins(&self) -> u64 {
        self.begins
    }

    /// Those that come due at or before `now`, the first first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.due.iter().take_while(move |(due, _)| *due <= now).map(|(_, key)| key)
    }

    /// From the eldest on, if ages are kept.
    pub(crate) fn by_age(&self) -> impl Iterator<Item = &Key> {
        self.by_age.iter().flat_map(BTreeMap::values)
    }

    /// Takes what a batch changes.
    pub(crate) fn apply(&mut self, segment: &Arc<Segment>, batch: &Batch<'_>) {
        for change in &batch.changes {
            match *change {
                Change::Put { key, at, len, due, age } => {
                    let slot = Slot { segment: segment.clone(), at: batch.values_at + at, len, due, age };
                    self.put(key, slot);
                }
                Change::Remove { key } => self.remove(key),
                Change::Clear { start, end } => self.clear(start, end),
                Change::Floor { namespace, floor } => {
                    let floor = Floor { bytes: floor.into(), segment: segment.number() };
                    self.live_bytes += live_len(namespace, floor.bytes.len());
                    if let Some(old) = self.floors.insert(namespace.into(), floor) {
                        self.live_bytes -= live_len(namespace, old.bytes.len());
                    }
                }
                Change::Begins { segment } => self.begins = self.begins.max(segment),
            }
        }
    }

    fn put(&mut self, key: &[u8], slot: Slot) {
        let (due, age, len) = (slot.due, slot.age, slot.len as usize);
        let (key, old) = match self.rows.get_key_value(key) {
            Some((key, old)) => (key.clone(), Some(old.clone())),
            None => (Key::from(key), None),
        };
        if let Some(old) = old {
            self.forget(&key, &old);
        }
        self.row_bytes += (key.len() + len) as u64;
        self.live_bytes += live_len(&key, len);
        self.last_age = self.last_age.max(age);
        if due != Timestamp::NEVER {
            self.due.insert((due, key.clone()));
        }
        if let Some(by_age) = self.by_age.as_mut().filter(|_| age > 0) {
            by_age.insert(age, key.clone());
        }
        self.rows.insert(key, slot);
    }

    /// Takes a row that goes out of everything but the rows themselves.
    fn forget(&mut self, key: &Key, slot: &Slot) {
        self.row_bytes -= key.len() as u64 + u64::from(slot.len);
        self.live_bytes -= live_len(key, slot.len as usize);
        if slot.due != Timestamp::NEVER {
            self.due.remove(&(slot.due, key.clone()));
        }
        let by_age = self.by_age.as_mut().filter(|by_age| by_age.get(&slot.age) == Some(key));
        if let Some(by_age) = by_age {
            by_age.remove(&slot.age);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, slot)) = self.rows.remove_entry(key) {
            self.forget(&key, &slot);
        }
    }

    fn clear(&mut self, start: &[u8], end: Option<&[u8]>) {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let keys: Vec<Key> = self.range((Bound::Included(start), end)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// Lets go of what lies in segments before this one: it was copied before the log's beginning was moved, or is void.
    pub(crate) fn forget_before(&mut self, segment: u64) {
        let gone = |slot: &Slot| slot.segment.number() < segment;
        let keys: Vec<Key> =
            self.rows.iter().filter(|(_, slot)| gone(slot)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
        self.floors.retain(|namespace, floor| {
            let stays = floor.segment >= segment;
            if !stays {
                self.live_bytes -= live_len(namespace, floor.bytes.len());
            }
            stays
        });
    }
}
