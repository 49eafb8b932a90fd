//! What lies under a path, as far as it can be read, and when it may go.

use std::time::Duration;

use bytes::Bytes;
use nanotier_clock::Timestamp;

use super::backend::Rows;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::path::{Namespace, Path};
use crate::record::{Framing, Unreadable};
use crate::rules::Held;
use crate::stored::{Freshness, Record};
use crate::version::Version;

/// What is stored for a path, as far as it can be read.
pub(super) struct Row {
    /// What the row of the path says. Absent if there is no row, or an unreadable one.
    pub(super) entry: Entry,
    floor: Floor,
    /// True if there are bytes that are no record of the path.
    pub(super) unreadable: bool,
    /// How many bytes there are; `None` if there is no row.
    pub(super) framed_len: Option<usize>,
}

impl Row {
    /// The row of `path`, whose bytes are `key`.
    pub(super) fn read(
        rows: &(impl Rows + ?Sized),
        framing: &Framing,
        path: &Path<'_>,
        key: &[u8],
    ) -> Result<Self> {
        let (floor, row) = rows.look(path.namespace().as_str().as_bytes(), key)?;
        let floor = Floor::of(floor.as_deref());
        let Some(bytes) = row else {
            return Ok(Self { entry: Entry::Absent, floor, unreadable: false, framed_len: None });
        };
        let framed_len = Some(bytes.len());
        Ok(match framing.decode(path, &bytes) {
            Ok((entry, _)) => Self { entry, floor, unreadable: false, framed_len },
            Err(_) => Self { entry: Entry::Absent, floor, unreadable: true, framed_len },
        })
    }

    /// What counts when a write is judged. Bytes that cannot be read count for nothing, so they can be written over.
    ///
    /// A damaged floor is an error until the namespace is cleared again. Taken for none, what was cleared could come back;
    /// taken for a later one, nothing could be stored.
    pub(super) fn held(&self, tier: &'static str) -> Result<Held> {
        match self.floor {
            Floor::Damaged => Err(Error::new(ErrorKind::Corrupt, tier, "read")
                .with_detail("the mark of a cleared namespace is damaged")),
            Floor::None => Ok(Held { version: self.entry.version(), floor: None }),
            Floor::Version(floor) => Ok(Held { version: self.entry.version(), floor: Some(floor) }),
        }
    }

    /// What a reader is told, where `held` is what counts: what was cleared is removed by its clearing.
    pub(super) fn into_entry(self, held: Held) -> Entry {
        if held.version > held.floor { self.entry } else { held.floor.map_or(Entry::Absent, Entry::Removed) }
    }
}

/// The version of a namespace's last clearing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// It was never cleared.
    None,
    /// It was cleared by this version.
    Version(Version),
    /// Something is kept that says neither.
    Damaged,
}

impl Floor {
    /// What is kept for the namespace of a path.
    pub(super) fn read(rows: &(impl Rows + ?Sized), namespace: &Namespace) -> Result<Self> {
        Ok(Self::of(rows.floor(namespace.as_str().as_bytes())?.as_deref()))
    }

    fn of(kept: Option<&[u8]>) -> Self {
        kept.map_or(Self::None, Self::parse)
    }

    /// What these bytes say.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        match bytes.split_first_chunk::<16>() {
            Some((plain, inverted)) if *inverted == plain.map(|byte| !byte) => {
                Self::Version(Version::from_bytes(*plain))
            }
            _ => Self::Damaged,
        }
    }

    /// A floor as bytes: the version, then the same bytes inverted, so that damage is noticed.
    #[must_use]
    pub fn bytes(version: Version) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (plain, inverted) = bytes.split_at_mut(16);
        plain.copy_from_slice(&version.to_bytes());
        inverted.copy_from_slice(&version.to_bytes().map(|byte| !byte));
        bytes
    }
}

/// When a row may go, and what becomes of it until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing is lost by forgetting it now.
    Now,
    /// Not before this moment.
    At(Timestamp),
}

/// When the row with this key may go: its value is not usable any more and its version has served its time.
///
/// Damaged rows may go at once. Rows that another secret, another limit or a newer build could read stay: a mistake in a
/// configuration must not empty a store.
pub(super) fn due(framing: &Framing, key: &[u8], value: &[u8], now: Timestamp, horizon: Duration) -> Due {
    let Some(path) = Path::from_bytes(key) else { return Due::Now };
    let (entry, taken_at) = match framing.decode(&path, &Bytes::copy_from_slice(value)) {
        Ok(read) => read,
        Err(Unreadable::Foreign | Unreadable::TooLarge | Unreadable::Unknown) => {
            return Due::At(Timestamp::NEVER);
        }
        Err(_) => return Due::Now,
    };
    let served = served(taken_at, horizon);
    match entry {
        Entry::Present(record) if record.freshness(now) != Freshness::Expired => {
            Due::At(record.deadlines.usable_until.max(served))
        }
        _ if has_served(taken_at, now, horizon) => Due::Now,
        _ => Due::At(served),
    }
}

/// When a row may go that is taken now: a record that ends at `usable_until`, or, without one, a tombstone.
pub(super) fn due_of(record: Option<&Record>, now: Timestamp, horizon: Duration) -> Timestamp {
    let served = served(now, horizon);
    record
        .filter(|record| record.freshness(now) != Freshness::Expired)
        .map_or(served, |record| record.deadlines.usable_until.max(served))
}

/// True once the version of what was taken at `taken_at` has served its time.
pub(super) fn has_served(taken_at: Timestamp, now: Timestamp, horizon: Duration) -> bool {
    taken_at < now.minus(horizon)
}

/// The first millisecond that lies beyond the horizon of what was taken at `taken_at`.
pub(super) fn served(taken_at: Timestamp, horizon: Duration) -> Timestamp {
    taken_at.plus(horizon).plus(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_comes_back_as_it_went_and_no_flipped_bit_is_taken_for_one() {
        let version = Version::from_parts(0x0102_0304, 7);
        let bytes = Floor::bytes(version);
        assert_eq!(Floor::parse(&bytes), Floor::Version(version));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Floor::parse(&flipped), Floor::Damaged, "bit {bit}");
        }
        assert_eq!(Floor::parse(&bytes[..16]), Floor::Damaged);
        assert_eq!(Floor::parse(b""), Floor::Damaged);
    }
}
