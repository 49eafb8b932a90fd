//! What is read from a tier and what is written to it.

use std::borrow::Cow;
use std::fmt;

use nanotier_clock::Timestamp;

use crate::path::{Namespace, Path};
use crate::stored::{Freshness, Record};
use crate::version::Version;

/// What a tier holds under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is known.
    Absent,
    /// It was removed, or its namespace cleared, by a write of this version: a tombstone.
    Removed(Version),
    /// A record, whatever its age: who reads it judges.
    Present(Record),
}

impl Entry {
    /// The version of the write that left this entry; `None` for nothing.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Absent => None,
            Self::Removed(version) => Some(*version),
            Self::Present(record) => Some(record.version),
        }
    }

    /// The record, if there is one.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Present(record) => Some(record),
            Self::Absent | Self::Removed(_) => None,
        }
    }
}

/// What a tier showed a reader, in the tier's own words: a revision, a row version, a CAS id, a lease.
///
/// Opaque: only the tier that minted it can compare it. At most [`LEN_MAX`](Self::LEN_MAX) bytes, without
/// allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    len: u8,
    bytes: [u8; Self::LEN_MAX],
}

impl Seen {
    /// The most bytes it can hold.
    pub const LEN_MAX: usize = 48;

    /// From the tier's own bytes; `None` if there are too many.
    #[must_use]
    pub fn new(minted: &[u8]) -> Option<Self> {
        let len = u8::try_from(minted.len()).ok()?;
        let mut bytes = [0; Self::LEN_MAX];
        bytes.get_mut(..minted.len())?.copy_from_slice(minted);
        Some(Self { len, bytes })
    }

    /// The tier's own bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen(")?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The place of a tier in a chain, counted from the near end: 0 is the first below memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TierIndex(pub u8);

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is there.
    pub entry: Entry,
    /// What the truth showed. `None` if the truth was not asked: a copy answered, or the truth could not be
    /// reached.
    pub seen: Option<Seen>,
    /// Which tier answered.
    pub from: TierIndex,
    /// When the read began, by the reader's wall clock. What is copied because of it was decided then.
    pub read_at: Timestamp,
    /// False if a copy answered that may have missed something: its record is at most stale until the truth
    /// confirms it.
    pub trusted: bool,
}

impl Found {
    /// The answer of one tier for itself: it vouches for what it holds.
    #[must_use]
    pub fn new(entry: Entry, seen: Seen, read_at: Timestamp) -> Self {
        Self { entry, seen: Some(seen), from: TierIndex(0), read_at, trusted: true }
    }
}

/// Why a tier is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// To look. Leaves nothing behind.
    Look,
    /// A loader follows if nothing fresh is found. A tier that hands out leases does so now.
    Load,
    /// To hear it from the truth: copies are passed over.
    Confirm,
    /// Both: the truth is asked, and a loader follows whatever it says.
    Refresh,
}

impl Intent {
    /// True if a loader may follow: a tier that hands out leases on a miss does so.
    #[must_use]
    pub fn may_load(self) -> bool {
        matches!(self, Self::Load | Self::Refresh)
    }

    /// True if copies are passed over.
    #[must_use]
    pub fn asks_truth(self) -> bool {
        matches!(self, Self::Confirm | Self::Refresh)
    }
}

/// On what condition a tier takes a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It is newer than what the tier holds, tombstones included. The same version again is the same write
    /// again: taken.
    Newer,
    /// The tier still holds what it showed then. Expiry is not a change.
    Unchanged(Seen),
}

/// A write: put, remove, fill and copy are all this.
#[derive(Clone, Debug)]
pub struct Write<'a> {
    /// Where.
    pub path: Path<'a>,
    /// What; `None` removes and leaves a tombstone.
    pub record: Option<Cow<'a, Record>>,
    /// The version of the write; that of the record too, if there is one.
    pub version: Version,
    /// On what condition.
    pub guard: Guard,
    /// When it was decided, by the writer's wall clock. A tier refuses what was decided longer ago than it
    /// keeps tombstones.
    pub as_of: Timestamp,
}

impl<'a> Write<'a> {
    /// Puts `record`, if it is newer than what is there. Decided when the record was written.
    #[must_use]
    pub fn put(path: Path<'a>, record: &'a Record) -> Self {
        let (version, as_of) = (record.version, record.written_at);
        Self { path, record: Some(Cow::Borrowed(record)), version, guard: Guard::Newer, as_of }
    }

    /// Removes, if `version` is newer than what is there.
    #[must_use]
    pub fn remove(path: Path<'a>, version: Version, as_of: Timestamp) -> Self {
        Self { path, record: None, version, guard: Guard::Newer, as_of }
    }

    /// Fills with what a loader found, if nothing was written since `seen` was minted at `as_of`.
    #[must_use]
    pub fn fill(path: Path<'a>, record: &'a Record, seen: Seen, as_of: Timestamp) -> Self {
        let guard = Guard::Unchanged(seen);
        Self { path, record: Some(Cow::Borrowed(record)), version: record.version, guard, as_of }
    }

    /// The same write, owning its parts.
    #[must_use]
    pub fn into_owned(self) -> Write<'static> {
        Write {
            path: self.path.into_owned(),
            record: self.record.map(|record| Cow::Owned(record.into_owned())),
            version: self.version,
            guard: self.guard,
            as_of: self.as_of,
        }
    }
}

/// The answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wrote {
    /// The tier has it, or had this very version already.
    Done,
    /// Refused: the tier holds this version, which is newer.
    Older(Version),
    /// Refused: the tier no longer holds what was seen, or cannot tell.
    Changed,
    /// Refused: decided too long ago to be ordered against tombstones.
    TooLate,
}

/// Empties a namespace: whatever in it is older than `version` is gone, and what is older does not come back.
#[derive(Clone, Debug)]
pub struct Cleared<'a> {
    /// Which namespace. Nothing outside it is touched.
    pub namespace: &'a Namespace,
    /// The version of the clearing.
    pub version: Version,
    /// When it was decided.
    pub as_of: Timestamp,
}

/// Which part of a listing is wanted.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Only keys that begin with these bytes. The cheap way to ask for less: a tier does not look at the others.
    pub prefix: Vec<u8>,
    /// Only keys in which these bytes occur somewhere; empty means all. A tier looks at every key with the prefix for that.
    pub contains: Vec<u8>,
    /// Where the last page ended, by its [`next`](Page::next). `None` for the first page.
    pub after: Option<Vec<u8>>,
    /// Which tier is listed, counted from the nearest; `None` for the truth. A chain knows several, every other tier is its own truth, and
    /// number 0. One that is not there is [`ErrorKind::Config`](crate::ErrorKind::Config).
    pub tier: Option<TierIndex>,
    /// How many at most: 0 means [`LIMIT_DEFAULT`](Self::LIMIT_DEFAULT), more than
    /// [`LIMIT_MAX`](Self::LIMIT_MAX) means that.
    pub limit: usize,
}

impl PageRequest {
    /// The size of a page if none is asked for.
    pub const LIMIT_DEFAULT: usize = 100;
    /// The largest page.
    pub const LIMIT_MAX: usize = 500;

    /// True if a key that has the prefix is wanted.
    #[must_use]
    pub fn wants(&self, key: &[u8]) -> bool {
        self.contains.is_empty() || key.windows(self.contains.len()).any(|part| part == self.contains)
    }

    /// The limit as it is applied.
    #[must_use]
    pub fn limit(&self) -> usize {
        if self.limit == 0 { Self::LIMIT_DEFAULT } else { self.limit.min(Self::LIMIT_MAX) }
    }
}

/// What a namespace takes in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// Usable records.
    pub entries: u64,
    /// The bytes of their values.
    pub value_bytes: u64,
    /// What is kept for its version alone: tombstones, blanks, records that expired.
    pub marks: u64,
    /// Rows that are no record of their path: damaged, of another secret, a newer format or a larger limit.
    pub unreadable: u64,
}

impl Count {
    /// Counts a row: a record, or a tombstone.
    pub(crate) fn add(&mut self, record: Option<&Record>, now: Timestamp) {
        match record.filter(|record| record.freshness(now) != Freshness::Expired) {
            Some(record) => {
                self.entries += 1;
                self.value_bytes += record.value.bytes.len() as u64;
            }
            None => self.marks += 1,
        }
    }
}

/// A part of a listing, in the order of the keys' bytes. Expired and removed entries are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What is there.
    pub entries: Vec<Listed>,
    /// Ask with this to go on; `None` on the last page.
    pub next: Option<Vec<u8>>,
}

/// One key of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The bytes of the key.
    pub key: Vec<u8>,
    /// The length of the stored value, in bytes.
    pub value_len: usize,
    /// Until when it is usable.
    pub usable_until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_keeps_its_bytes_and_refuses_too_many() {
        assert_eq!(Seen::new(b"abc").unwrap().as_bytes(), b"abc");
        assert_eq!(Seen::new(&[7; Seen::LEN_MAX]).unwrap().as_bytes(), [7; Seen::LEN_MAX]);
        assert!(Seen::new(&[7; Seen::LEN_MAX + 1]).is_none());
        assert!(Seen::new(&[7; 1000]).is_none());
        assert_ne!(Seen::new(b""), Seen::new(b"\0"), "length counts");
    }
}
