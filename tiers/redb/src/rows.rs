//! How a store lies in its file: three tables and what their rows mean. `docs/FORMATS.md` describes the records.
//!
//! | table | key | value |
//! |---|---|---|
//! | records | a path's bytes: length of the namespace, namespace, key | a framed record or tombstone |
//! | floors | a namespace | the version of its last clearing, and its bytes inverted |
//! | meta | a word | a number: `layout`, the version of all this; `closed`, 1 if it was closed properly; `believed since` |

use std::time::Duration;

use nanotier_tier::record::{Framing, Unreadable};
use nanotier_tier::rules::Held;
use nanotier_tier::{Bytes, Entry, ErrorKind, Freshness, Namespace, Path, Result, Timestamp, Version};
use redb::{ReadableTable, TableDefinition};

use crate::error::{error, while_doing};

pub(crate) type Bytewise = &'static [u8];

pub(crate) const RECORDS: TableDefinition<'_, Bytewise, Bytewise> = TableDefinition::new("nanotier.records");
pub(crate) const FLOORS: TableDefinition<'_, Bytewise, Bytewise> = TableDefinition::new("nanotier.floors");
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("nanotier.meta");

/// Under this word: the version of the layout.
pub(crate) const LAYOUT: &str = "layout";
/// The layout that is written and read.
pub(crate) const LAYOUT_VERSION: u64 = 1;
/// Under this word, from the first unclean opening on: since when the store is believed, in milliseconds. Closing properly
/// afterwards does not make up for what was missed before.
pub(crate) const BELIEVED_SINCE: &str = "believed since";
/// Under this word: 1 if the store was closed properly, 0 while it is open.
pub(crate) const CLOSED: &str = "closed";

/// What is stored for a path, as far as it can be read.
pub(crate) struct Row {
    /// What the row of the path says. Absent if there is no row, or an unreadable one.
    pub(crate) entry: Entry,
    floor: Floor,
    /// True if there are bytes that are no record of the path.
    pub(crate) unreadable: bool,
}

impl Row {
    pub(crate) fn read(
        framing: &Framing,
        path: &Path<'_>,
        records: &impl ReadableTable<Bytewise, Bytewise>,
        floors: Option<&impl ReadableTable<Bytewise, Bytewise>>,
    ) -> Result<Self> {
        let floor = floors.map_or(Ok(Floor::None), |floors| Floor::read(floors, path.namespace()))?;
        let stored = records.get(path.to_bytes().as_slice()).map_err(while_doing("read"))?;
        let Some(stored) = stored else { return Ok(Self { entry: Entry::Absent, floor, unreadable: false }) };
        // The one copy: the value that is handed out shares these bytes.
        let bytes = Bytes::copy_from_slice(stored.value());
        Ok(match framing.decode(path, &bytes) {
            Ok((entry, _)) => Self { entry, floor, unreadable: false },
            Err(_) => Self { entry: Entry::Absent, floor, unreadable: true },
        })
    }

    /// What counts when a write is judged. Bytes that cannot be read count for nothing, so they can be written over.
    ///
    /// A damaged floor is an error until the namespace is cleared again. Taken for none, what was cleared could come back;
    /// taken for a later one, nothing could be stored.
    pub(crate) fn held(&self) -> Result<Held> {
        match self.floor {
            Floor::Damaged => {
                Err(error(ErrorKind::Corrupt, "read")
                    .with_detail("the mark of a cleared namespace is damaged"))
            }
            Floor::None => Ok(Held { version: self.entry.version(), floor: None }),
            Floor::Version(floor) => Ok(Held { version: self.entry.version(), floor: Some(floor) }),
        }
    }

    /// What a reader is told, where `held` is what counts: what was cleared is removed by its clearing.
    pub(crate) fn into_entry(self, held: Held) -> Entry {
        if held.version > held.floor { self.entry } else { held.floor.map_or(Entry::Absent, Entry::Removed) }
    }
}

/// The version of a namespace's last clearing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    None,
    Version(Version),
    Damaged,
}

impl Floor {
    pub(crate) fn read(
        floors: &impl ReadableTable<Bytewise, Bytewise>,
        namespace: &Namespace,
    ) -> Result<Self> {
        let floor = floors.get(namespace.as_str().as_bytes()).map_err(while_doing("read"))?;
        Ok(floor.map_or(Self::None, |floor| Self::parse(floor.value())))
    }

    fn parse(bytes: &[u8]) -> Self {
        match bytes.split_first_chunk::<16>() {
            Some((plain, inverted)) if *inverted == plain.map(|byte| !byte) => {
                Self::Version(Version::from_bytes(*plain))
            }
            _ => Self::Damaged,
        }
    }

    /// A floor as bytes: the version, then the same bytes inverted, so that damage is noticed.
    pub(crate) fn bytes(version: Version) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (plain, inverted) = bytes.split_at_mut(16);
        plain.copy_from_slice(&version.to_bytes());
        inverted.copy_from_slice(&version.to_bytes().map(|byte| !byte));
        bytes
    }
}

/// When a row may go, and what becomes of it until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing is lost by forgetting it now.
    Now,
    /// Not before this moment.
    At(Timestamp),
}

/// When the row with this key may go: its value is not usable any more and its version has served its time.
///
/// Damaged rows may go at once. Rows that another secret, another limit or a newer build could read stay: a mistake in a
/// configuration must not empty a store.
pub(crate) fn due(framing: &Framing, key: &[u8], value: &[u8], now: Timestamp, horizon: Duration) -> Due {
    let Some(path) = Path::from_bytes(key) else { return Due::Now };
    let (entry, taken_at) = match framing.decode(&path, &Bytes::copy_from_slice(value)) {
        Ok(read) => read,
        Err(Unreadable::Foreign | Unreadable::TooLarge | Unreadable::Unknown) => {
            return Due::At(Timestamp::NEVER);
        }
        Err(_) => return Due::Now,
    };
    // The first millisecond that lies beyond the horizon.
    let served = taken_at.plus(horizon).plus(Duration::from_millis(1));
    match entry {
        Entry::Present(record) if record.freshness(now) != Freshness::Expired => {
            Due::At(record.deadlines.usable_until.max(served))
        }
        _ if taken_at < now.minus(horizon) => Due::Now,
        _ => Due::At(served),
    }
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
