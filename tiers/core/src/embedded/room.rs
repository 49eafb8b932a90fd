//! Room in a store whose size is bounded: which rows leave, and what stays in their place.
//!
//! `docs/TIERS.md` has the table of cases ("When a store is full"); it is tested row by row.

use std::time::Duration;

use bytes::Bytes;
use nanotier_clock::Timestamp;

use super::backend::Wanted;
use super::desk::Desk;
use super::row::{Due, due, has_served, served};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::path::Path;
use crate::record::MARK_LEN;
use crate::stored::{Freshness, Record};
use crate::update::COUNTER;
use crate::version::Version;

/// How many rows are looked at together, to begin with.
const SAMPLE: usize = 32;
/// One in so many of them leaves, though fewer were enough: finding the sample costs more than letting some go.
const SHARE: usize = 8;
/// How many are at most, where fewer held nothing that could leave.
const SAMPLE_MAX: usize = 4_096;
/// How many rows a transaction looks at before it gives up. What left by then has left: the next one goes on.
const LOOKS_MAX: usize = 8_192;
/// And so many more for each byte to be put: a large value may push out many small ones.
const BYTES_PER_LOOK: u64 = 64;
/// How long nobody looks again once nothing was found that could leave.
const EXHAUSTED_FOR: Duration = Duration::from_millis(100);

/// What a bounded store knows of its size within a transaction.
#[derive(Debug)]
pub(super) struct Room {
    bytes_max: u64,
    /// What all rows take now. `None` before anybody asked, and where it has to be asked anew.
    bytes: Option<u64>,
    /// Rows looked at in this transaction.
    looks: usize,
    /// Rows that lost their value to others in this transaction.
    pub(super) evicted: u64,
    /// Nothing could leave at this size and at this moment.
    pub(super) exhausted: Option<(u64, Timestamp)>,
}

impl Room {
    pub(super) fn new(bytes_max: u64, exhausted: Option<(u64, Timestamp)>) -> Self {
        Self { bytes_max, bytes: None, looks: 0, evicted: 0, exhausted }
    }

    /// A row of `old` bytes, key and all, has become one of `new`; 0 for none.
    fn changed(&mut self, old: u64, new: u64) {
        self.bytes = self.bytes.map(|bytes| bytes.saturating_sub(old).saturating_add(new));
    }

    /// So much was removed that it is not known.
    fn forget(&mut self) {
        self.bytes = None;
    }
}

/// How a row may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// Nothing that has to be known is in it.
    Whole,
    /// Its version has to be known until the horizon has passed: a blank stays, taken when the row was.
    Blank(Version),
    /// It stays as it is.
    No,
}

/// A row that may leave.
struct Candidate {
    key: Vec<u8>,
    framed_len: usize,
    leaving: Leaving,
    is_usable: bool,
    taken_at: Timestamp,
}

/// The bytes that a row takes.
fn row_len(key: &[u8], framed_len: usize) -> u64 {
    (key.len() + framed_len) as u64
}

impl Desk<'_> {
    /// A row's length has changed.
    pub(super) fn note_change(&mut self, key: &[u8], old: Option<usize>, new: Option<usize>) {
        if let Some(room) = &mut self.room {
            let len = |framed_len: Option<usize>| framed_len.map_or(0, |framed_len| row_len(key, framed_len));
            room.changed(len(old), len(new));
        }
    }

    /// Many rows have gone.
    pub(super) fn note_removal(&mut self) {
        if let Some(room) = &mut self.room {
            room.forget();
        }
    }

    /// What all rows take now.
    fn bytes(&mut self) -> Result<u64> {
        if let Some(bytes) = self.room.as_ref().and_then(|room| room.bytes) {
            return Ok(bytes);
        }
        let Some(bytes) = self.rows.bytes()? else {
            return Err(Error::new(ErrorKind::Unsupported, self.tier, "write")
                .with_detail("this store cannot be bounded: it does not know its size"));
        };
        if let Some(room) = &mut self.room {
            room.bytes = Some(bytes);
        }
        Ok(bytes)
    }

    /// Makes room for a row that is to have `new` bytes in place of `old`. What makes nothing grow always has it.
    ///
    /// The inner error is the one writer's: nothing that must be kept was given up for it.
    pub(super) fn make_room(&mut self, key: &[u8], old: Option<usize>, new: usize) -> Result<Result<()>> {
        let Some(bytes_max) = self.room.as_ref().map(|room| room.bytes_max) else { return Ok(Ok(())) };
        let tier = self.tier;
        let refused = |kind, why: &'static str| Ok(Err(Error::new(kind, tier, "write").with_detail(why)));
        let (old, new) = (old.map_or(0, |old| row_len(key, old)), row_len(key, new));
        if new > bytes_max {
            return refused(ErrorKind::TooLarge, "the record is larger than the whole store may be");
        }
        let grows_by = new.saturating_sub(old);
        if grows_by == 0 || self.bytes()?.saturating_add(grows_by) <= bytes_max {
            return Ok(Ok(()));
        }
        match self.shrink_to(bytes_max - grows_by.min(bytes_max), key, new)? {
            Shrunk::Enough => Ok(Ok(())),
            Shrunk::NothingLeft => refused(
                ErrorKind::Full,
                "what is left may not leave: marks within the horizon, locks, counters, rows of another secret",
            ),
            Shrunk::GaveUp => refused(
                ErrorKind::Full,
                "room is being made, which takes more than one transaction: later there will be some",
            ),
        }
    }

    /// Lets rows leave until the store is no larger than it may be, or this transaction has done its part. True if there is more to do.
    pub(super) fn shrink(&mut self) -> Result<bool> {
        let Some(bytes_max) = self.room.as_ref().map(|room| room.bytes_max) else { return Ok(false) };
        if self.bytes()? <= bytes_max {
            return Ok(false);
        }
        Ok(self.shrink_to(bytes_max, &[], 0)? == Shrunk::GaveUp)
    }

    fn shrink_to(&mut self, target: u64, spared: &[u8], for_bytes: u64) -> Result<Shrunk> {
        let before = self.bytes()?;
        let exhausted = self.room.as_ref().and_then(|room| room.exhausted);
        if exhausted
            .is_some_and(|(bytes, at)| before >= bytes && at <= self.now && self.now < at.plus(EXHAUSTED_FOR))
        {
            return Ok(Shrunk::NothingLeft);
        }
        let looks_max =
            LOOKS_MAX.saturating_add(usize::try_from(for_bytes / BYTES_PER_LOOK).unwrap_or(usize::MAX));
        let mut most = SAMPLE;
        loop {
            let bytes = self.bytes()?;
            if bytes <= target {
                return Ok(Shrunk::Enough);
            }
            if self.room.as_ref().is_some_and(|room| room.looks >= looks_max) {
                return Ok(Shrunk::GaveUp);
            }
            if self.evict_some(most, spared)? {
                continue;
            }
            if most >= SAMPLE_MAX {
                let (bytes, now) = (self.bytes()?, self.now);
                self.room.iter_mut().for_each(|room| room.exhausted = Some((bytes, now)));
                return Ok(Shrunk::NothingLeft);
            }
            most *= 4;
        }
    }

    /// Looks at up to `most` rows and lets those leave that expired, and the oldest of the others. True if any did.
    fn evict_some(&mut self, most: usize, spared: &[u8]) -> Result<bool> {
        let mut keys = self.rows.due(self.now, most)?.unwrap_or_default();
        keys.retain(|key| key != spared);
        if keys.is_empty() {
            keys = self.rows.eldest(most)?;
        }
        if let Some(room) = &mut self.room {
            room.looks += keys.len().max(1);
        }
        let mut candidates = Vec::new();
        for key in keys {
            if key == spared {
                continue;
            }
            let Some(framed) = self.rows.get(&key)? else { continue };
            candidates.extend(self.candidate(key, &framed));
        }
        // Expired before usable, then old before new.
        candidates.sort_by_key(|candidate| (candidate.is_usable, candidate.taken_at));
        let part = candidates.len().div_ceil(SHARE);
        let mut any = false;
        for (index, candidate) in candidates.into_iter().enumerate() {
            // What expired goes whenever it is met: there may be no room again soon.
            if candidate.is_usable && index >= part {
                break;
            }
            self.evict(&candidate)?;
            any = true;
        }
        Ok(any)
    }

    fn candidate(&self, key: Vec<u8>, framed: &Bytes) -> Option<Candidate> {
        let due = due(self.framing, &key, framed, self.now, self.horizon);
        let read = Path::from_bytes(&key).map(|path| (self.framing.decode(&path, framed), path));
        let (entry, taken_at, is_beside) = match read {
            Some((Ok((entry, taken_at)), path)) => (entry, taken_at, path.namespace().is_beside()),
            // Damaged, unless somebody else can read it.
            _ if due == Due::Now => (Entry::Absent, Timestamp::ZERO, false),
            _ => return None,
        };
        let is_usable = entry.record().is_some_and(|record| record.freshness(self.now) != Freshness::Expired);
        let leaving = match &entry {
            _ if due == Due::Now => Leaving::Whole,
            Entry::Present(record) if is_usable && (is_beside || record.value.fingerprint == COUNTER) => {
                Leaving::No
            }
            Entry::Present(_) if is_usable && has_served(taken_at, self.now, self.horizon) => Leaving::Whole,
            // A mark in its place has to be worth it.
            Entry::Present(record) if framed.len() > MARK_LEN => Leaving::Blank(record.version),
            Entry::Present(_) | Entry::Removed(_) | Entry::Absent => Leaving::No,
        };
        let framed_len = framed.len();
        (leaving != Leaving::No).then_some(Candidate { key, framed_len, leaving, is_usable, taken_at })
    }

    fn evict(&mut self, candidate: &Candidate) -> Result<()> {
        let Candidate { key, framed_len, leaving, is_usable, taken_at } = candidate;
        let left = match (*leaving, Path::from_bytes(key)) {
            (Leaving::Blank(version), Some(path)) => {
                let blank = Record::blank(version, *taken_at);
                let framed = self.framing.encode(&path, Some(&blank), version, *taken_at)?;
                self.rows.put(key, &framed, served(*taken_at, self.horizon))?;
                Some(framed.len())
            }
            _ => {
                self.rows.remove(key)?;
                None
            }
        };
        self.note_change(key, Some(*framed_len), left);
        self.wanted = self.wanted.max(Wanted::Commit);
        if let (Some(room), true) = (&mut self.room, *is_usable) {
            room.evicted += 1;
        }
        Ok(())
    }
}

/// How far shrinking got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shrunk {
    Enough,
    NothingLeft,
    GaveUp,
}
