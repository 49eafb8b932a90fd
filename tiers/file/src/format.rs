//! The bytes of the store's files: pure functions, no file is touched here. `docs/FORMATS.md` describes them field by field.

use nanotier_tier::Timestamp;

/// The only layout that is written and read.
pub(crate) const LAYOUT: u32 = 1;

const CONTROL_MAGIC: [u8; 8] = *b"nTrCtrl\x93";
const SEGMENT_MAGIC: [u8; 8] = *b"nTrLog\x93\0";
const BATCH_MAGIC: [u8; 4] = *b"nTb\x93";

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight))
}

// ---- the control file

/// What the control file begins with; two states follow.
pub(crate) const CONTROL_HEADER_LEN: usize = 64;
/// Both states, one after the other.
pub(crate) const STATES_LEN: usize = 2 * State::LEN;
/// The whole control file.
pub(crate) const CONTROL_LEN: usize = CONTROL_HEADER_LEN + STATES_LEN;

/// What the first bytes of a control file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Ours, and whose segments.
    Store(u64),
    /// Ours, of a layout that this build does not know.
    Layout(u32),
    /// Nothing yet: a creation that a crash cut short.
    Empty,
    /// Anything else.
    Unknown,
}

impl Control {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Empty;
        }
        let parse = || {
            let header = bytes.get(..CONTROL_HEADER_LEN)?;
            let whole =
                header.starts_with(&CONTROL_MAGIC) && u32_at(header, 60)? == crc32c::crc32c(&header[..60]);
            whole.then_some(())?;
            let layout = u32_at(header, 8)?;
            if layout != LAYOUT {
                return Some(Self::Layout(layout));
            }
            u64_at(header, 16).map(Self::Store)
        };
        parse().unwrap_or(Self::Unknown)
    }

    /// The header of the control file of this store.
    pub(crate) fn header(store: u64) -> [u8; CONTROL_HEADER_LEN] {
        let mut bytes = [0; CONTROL_HEADER_LEN];
        bytes[..8].copy_from_slice(&CONTROL_MAGIC);
        bytes[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        bytes[16..24].copy_from_slice(&store.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// What all processes know of the log: where it begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// Who has read the log under another number reads all of it anew.
    pub(crate) generation: u32,
    /// How many states were published before this one.
    pub(crate) commit: u64,
    /// The segment in which the log begins.
    pub(crate) first: u64,
    /// The segment that is appended to.
    pub(crate) segment: u64,
    /// The next segment, while it is being made; 0 if none is. Who finds a number here that is not the segment's own removes what was
    /// made of it, since the segment before it goes on.
    pub(crate) begun: u64,
    /// Where what was committed ends in it.
    pub(crate) end: u64,
    /// Where what is known to be on disk ends in it. All of the segments before it is.
    pub(crate) synced_end: u64,
    /// Since when the store is believed, in milliseconds.
    pub(crate) believed_since: u64,
    /// How many processes ended without closing.
    pub(crate) unclean: u32,
    /// How many of them `believed_since` allows for.
    pub(crate) settled: u32,
}

impl State {
    pub(crate) const LEN: usize = 72;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[4..8].copy_from_slice(&self.generation.to_le_bytes());
        let Self { commit, first, segment, begun, end, synced_end, believed_since, .. } = self;
        let words = [commit, first, segment, begun, end, synced_end, believed_since];
        for (place, word) in bytes[8..64].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[64..68].copy_from_slice(&self.unclean.to_le_bytes());
        bytes[68..].copy_from_slice(&self.settled.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::LEN)?;
        (u32_at(bytes, 0)? == crc32c::crc32c(&bytes[4..])).then_some(())?;
        Some(Self {
            generation: u32_at(bytes, 4)?,
            commit: u64_at(bytes, 8)?,
            first: u64_at(bytes, 16)?,
            segment: u64_at(bytes, 24)?,
            begun: u64_at(bytes, 32)?,
            end: u64_at(bytes, 40)?,
            synced_end: u64_at(bytes, 48)?,
            believed_since: u64_at(bytes, 56)?,
            unclean: u32_at(bytes, 64)?,
            settled: u32_at(bytes, 68)?,
        })
    }

    /// The newest of two states that is whole.
    pub(crate) fn newest(both: &[u8; STATES_LEN]) -> Option<Self> {
        let (one, other) = both.split_at(Self::LEN);
        [one, other].into_iter().filter_map(Self::from_bytes).max_by_key(|state| state.commit)
    }

    /// Which of the two places the state takes: never that of the one before it.
    pub(crate) fn place(&self) -> usize {
        if self.commit.is_multiple_of(2) { 0 } else { Self::LEN }
    }
}

// ---- segments

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store: u64,
    pub(crate) number: u64,
    /// The segment in which the log began when this one was made.
    pub(crate) first: u64,
    /// Where the segment before this one ends. What lies behind that is void.
    pub(crate) previous_end: u64,
    /// What comes before the first batch.
    pub(crate) before: Link,
}

/// A batch's place in the chain of all batches: its number and its checksum, which the next one repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) sum: u32,
}

impl SegmentHeader {
    pub(crate) const LEN: usize = 64;
    /// The same, as a place in a file.
    pub(crate) const END: u64 = 64;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[12..16].copy_from_slice(&LAYOUT.to_le_bytes());
        let words = [self.store, self.number, self.first, self.previous_end, self.before.number];
        for (place, word) in bytes[16..56].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[56..60].copy_from_slice(&self.before.sum.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::LEN)?;
        let whole = Self::is_ours(bytes)
            && u32_at(bytes, 8)? == crc32c::crc32c(&bytes[12..])
            && u32_at(bytes, 12)? == LAYOUT;
        whole.then_some(())?;
        Some(Self {
            store: u64_at(bytes, 16)?,
            number: u64_at(bytes, 24)?,
            first: u64_at(bytes, 32)?,
            previous_end: u64_at(bytes, 40)?,
            before: Link { number: u64_at(bytes, 48)?, sum: u32_at(bytes, 56)? },
        })
    }

    /// True for bytes that a segment begins with, whole or not.
    pub(crate) fn is_ours(bytes: &[u8]) -> bool {
        bytes.starts_with(&SEGMENT_MAGIC)
    }
}

// ---- batches

/// One change of a row, as a batch says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// A row. Its value lies `at` so many bytes behind the batch's heads.
    Put {
        key: &'a [u8],
        at: u64,
        len: u32,
        due: Timestamp,
        age: u64,
    },
    Remove {
        key: &'a [u8],
    },
    /// All rows from `start` on that lie before `end`.
    Clear {
        start: &'a [u8],
        end: Option<&'a [u8]>,
    },
    Floor {
        namespace: &'a [u8],
        floor: &'a [u8],
    },
    /// Nothing in segments before this one counts any more.
    Begins {
        segment: u64,
    },
}

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CLEAR_BEFORE: u8 = 3;
const CLEAR_ALL: u8 = 4;
const FLOOR: u8 = 5;
const BEGINS: u8 = 6;

/// What a change takes besides its key and value.
pub(crate) const CHANGE_LEN: usize = 28;

/// A batch in the making: changes that are committed together.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    heads: Vec<u8>,
    values: Vec<u8>,
    /// Folded from the last bytes of each value. A record ends with its own CRC, so the CRC of all of it is the same for all records:
    /// without this, batches of different records could have one checksum, and take each other's place in the chain.
    ends: u32,
}

/// A key or value, or all of them together, that no length field can hold.
#[derive(Debug)]
pub(crate) struct TooLong;

impl BatchBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// About how long the batch will be.
    pub(crate) fn len(&self) -> usize {
        BatchHeader::LEN + self.heads.len() + self.values.len()
    }

    fn head(
        &mut self,
        kind: u8,
        key: &[u8],
        second_len: usize,
        due: Timestamp,
        age: u64,
    ) -> Result<(), TooLong> {
        let key_len = u32::try_from(key.len()).map_err(|_| TooLong)?;
        let second_len = u32::try_from(second_len).map_err(|_| TooLong)?;
        self.heads.extend([kind, 0, 0, 0]);
        self.heads.extend(key_len.to_le_bytes());
        self.heads.extend(second_len.to_le_bytes());
        self.heads.extend(due.as_millis().to_le_bytes());
        self.heads.extend(age.to_le_bytes());
        self.heads.extend(key);
        Ok(())
    }

    /// Says where the value lies, for [`value`](Self::value).
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        due: Timestamp,
        age: u64,
    ) -> Result<(usize, usize), TooLong> {
        self.head(PUT, key, value.len(), due, age)?;
        let at = self.values.len();
        self.values.extend(value);
        let end = value.last_chunk().map_or(0, |last| u32::from_le_bytes(*last));
        self.ends = self.ends.rotate_left(5) ^ end;
        Ok((at, value.len()))
    }

    pub(crate) fn value(&self, (at, len): (usize, usize)) -> &[u8] {
        self.values.get(at..at + len).unwrap_or_default()
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<(), TooLong> {
        self.head(REMOVE, key, 0, Timestamp::ZERO, 0)
    }

    pub(crate) fn clear(&mut self, start: &[u8], end: Option<&[u8]>) -> Result<(), TooLong> {
        let kind = if end.is_some() { CLEAR_BEFORE } else { CLEAR_ALL };
        let end = end.unwrap_or_default();
        self.head(kind, start, end.len(), Timestamp::ZERO, 0)?;
        self.heads.extend(end);
        Ok(())
    }

    pub(crate) fn floor(&mut self, namespace: &[u8], floor: &[u8]) -> Result<(), TooLong> {
        self.head(FLOOR, namespace, floor.len(), Timestamp::ZERO, 0)?;
        self.heads.extend(floor);
        Ok(())
    }

    pub(crate) fn begins(&mut self, segment: u64) -> Result<(), TooLong> {
        self.head(BEGINS, &[], 0, Timestamp::ZERO, segment)
    }

    /// The batch as it goes behind `before`, and its own link.
    pub(crate) fn finish(self, before: Link) -> Result<(Vec<u8>, Link), TooLong> {
        let heads_len = u32::try_from(self.heads.len()).map_err(|_| TooLong)?;
        let number = before.number.wrapping_add(1);
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend(BATCH_MAGIC);
        bytes.extend([0; 4]);
        bytes.extend(number.to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        bytes.extend(heads_len.to_le_bytes());
        bytes.extend(crc32c::crc32c(&self.values).to_le_bytes());
        bytes.extend(before.sum.to_le_bytes());
        bytes.extend(self.ends.to_le_bytes());
        bytes.extend(self.heads);
        let sum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes.extend(self.values);
        Ok((bytes, Link { number, sum }))
    }
}

/// What a batch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) link: Link,
    pub(crate) before: u32,
    pub(crate) heads_len: u32,
    pub(crate) values_len: u64,
    pub(crate) values_sum: u32,
}

impl BatchHeader {
    pub(crate) const LEN: usize = 40;

    /// What the first bytes say; not yet checked by their checksum.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.starts_with(&BATCH_MAGIC).then_some(())?;
        Some(Self {
            link: Link { number: u64_at(bytes, 8)?, sum: u32_at(bytes, 4)? },
            values_len: u64_at(bytes, 16)?,
            heads_len: u32_at(bytes, 24)?,
            values_sum: u32_at(bytes, 28)?,
            before: u32_at(bytes, 32)?,
        })
    }

    pub(crate) fn follows(&self, before: Link) -> bool {
        self.before == before.sum && self.link.number == before.number.wrapping_add(1)
    }

    /// The heads, if header and heads are whole. `bytes` begin with the header.
    pub(crate) fn heads<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let checked = bytes.get(8..self.values_at())?;
        (crc32c::crc32c(checked) == self.link.sum).then(|| &bytes[Self::LEN..self.values_at()])
    }

    /// Where the values begin, from the batch's beginning.
    pub(crate) fn values_at(&self) -> usize {
        Self::LEN + self.heads_len as usize
    }

    pub(crate) fn len(&self) -> Option<u64> {
        (self.values_at() as u64).checked_add(self.values_len)
    }

    /// The changes that whole heads tell of; `None` if they make no sense although their checksum is right.
    pub(crate) fn changes<'a>(&self, heads: &'a [u8]) -> Option<Vec<Change<'a>>> {
        let mut rest = heads;
        let mut at = 0_u64;
        let mut changes = Vec::new();
        while !rest.is_empty() {
            let kind = *rest.first()?;
            let (key_len, second_len) = (u32_at(rest, 4)? as usize, u32_at(rest, 8)?);
            let (due, age) = (Timestamp::from_millis(u64_at(rest, 12)?), u64_at(rest, 20)?);
            let behind = rest.get(CHANGE_LEN..)?;
            let (key, behind) = behind.split_at_checked(key_len)?;
            let second = behind.get(..second_len as usize);
            rest = match kind {
                CLEAR_BEFORE | CLEAR_ALL | FLOOR => behind.get(second_len as usize..)?,
                _ => behind,
            };
            changes.push(match kind {
                PUT => {
                    let change = Change::Put { key, at, len: second_len, due, age };
                    at += u64::from(second_len);
                    change
                }
                REMOVE => Change::Remove { key },
                CLEAR_BEFORE => Change::Clear { start: key, end: Some(second?) },
                CLEAR_ALL => Change::Clear { start: key, end: None },
                FLOOR => Change::Floor { namespace: key, floor: second? },
                BEGINS => Change::Begins { segment: age },
                _ => return None,
            });
        }
        (at == self.values_len).then_some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(commit: u64) -> State {
        State {
            generation: 1,
            commit,
            first: 2,
            segment: 3,
            begun: 9,
            end: 4,
            synced_end: 5,
            believed_since: 6,
            unclean: 7,
            settled: 8,
        }
    }

    #[test]
    fn of_two_states_the_newest_whole_one_counts_and_no_flipped_bit_is_taken_for_one() {
        let (older, newer) = (state(6), state(7));
        assert_ne!(older.place(), newer.place());
        let mut both = [0; STATES_LEN];
        assert_eq!(State::newest(&both), None);
        for state in [older, newer] {
            both[state.place()..][..State::LEN].copy_from_slice(&state.to_bytes());
        }
        assert_eq!(State::newest(&both), Some(newer));
        for bit in 0..State::LEN * 8 {
            let mut flipped = both;
            flipped[newer.place() + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(State::newest(&flipped), Some(older), "bit {bit}");
        }
    }

    #[test]
    fn headers_come_back_as_they_went_and_no_flipped_bit_is_taken_for_one() {
        let control = Control::header(9);
        assert_eq!(Control::parse(&control), Control::Store(9));
        let header = SegmentHeader {
            store: 1,
            number: 2,
            first: 3,
            previous_end: 4,
            before: Link { number: 5, sum: 6 },
        };
        let bytes = header.to_bytes();
        assert_eq!(SegmentHeader::parse(&bytes), Some(header));
        for bit in 0..64 * 8 {
            let (mut control, mut segment) = (control, bytes);
            control[bit / 8] ^= 1 << (bit % 8);
            segment[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Control::parse(&control), Control::Unknown, "bit {bit}");
            assert_eq!(SegmentHeader::parse(&segment), None, "bit {bit}");
        }
        assert_eq!(Control::parse(&[]), Control::Empty);
        assert_eq!(Control::parse(&[0; CONTROL_LEN]), Control::Empty);
    }

    #[test]
    fn changes_come_back_as_they_went_and_a_flipped_bit_of_their_heads_is_noticed() {
        let mut builder = BatchBuilder::default();
        let due = Timestamp::from_millis(77);
        builder.put(b"a", b"one", due, 5).unwrap();
        builder.remove(b"b").unwrap();
        builder.clear(b"c", Some(b"d")).unwrap();
        builder.clear(b"e", None).unwrap();
        builder.floor(b"f", b"floor").unwrap();
        builder.begins(9).unwrap();
        builder.put(b"g", b"", Timestamp::NEVER, 6).unwrap();
        let before = Link { number: 41, sum: 7 };
        let (bytes, link) = builder.finish(before).unwrap();
        let read = |bytes: &[u8]| {
            let header = BatchHeader::parse(bytes)?;
            let heads = header.heads(bytes)?;
            header.follows(before).then_some(())?;
            header.changes(heads).map(|changes| format!("{changes:?}"))
        };
        let expected = [
            Change::Put { key: b"a", at: 0, len: 3, due, age: 5 },
            Change::Remove { key: b"b" },
            Change::Clear { start: b"c", end: Some(b"d") },
            Change::Clear { start: b"e", end: None },
            Change::Floor { namespace: b"f", floor: b"floor" },
            Change::Begins { segment: 9 },
            Change::Put { key: b"g", at: 3, len: 0, due: Timestamp::NEVER, age: 6 },
        ];
        assert_eq!(read(&bytes).unwrap(), format!("{expected:?}"));
        assert_eq!(link, Link { number: 42, ..BatchHeader::parse(&bytes).unwrap().link });
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.len(), Some(bytes.len() as u64));
        for bit in 0..header.values_at() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), None, "bit {bit}");
        }
        for len in 0..header.values_at() {
            assert_eq!(read(&bytes[..len]), None, "cut at {len}");
        }
    }
}
