//! Records as bytes: the only encoder and the only decoder. `docs/FORMATS.md` describes them field by field.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use nanotier_clock::Timestamp;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::path::Path;
use crate::stored::{Deadlines, Encoded, Fingerprint, Record, Shape, Stored, Tags};
use crate::version::Version;

/// The first four bytes of every record.
pub const MAGIC: [u8; 4] = *b"nTr\x93";
/// The format version of tombstones, and of records whose value is as the codec wrote it. Older ones are read as long as
/// their golden files are in the tests.
pub const FORMAT: u8 = 1;
/// The format version of records whose value was [shaped](crate::shaping).
pub const FORMAT_SHAPED: u8 = 2;
/// Length of all fields before the tags.
pub const HEADER_LEN: usize = 96;
/// Length of the checksum at the end.
const CHECKSUM_LEN: usize = 4;
/// Length of a tombstone or a blank: nothing is shorter.
pub const MARK_LEN: usize = HEADER_LEN + CHECKSUM_LEN;

/// The record is a tombstone: header only.
const FLAG_REMOVED: u8 = 1;
/// The value was compressed.
const FLAG_COMPRESSED: u8 = 1 << 1;
/// The value was encrypted.
const FLAG_ENCRYPTED: u8 = 1 << 2;
/// The flags that a shaped record may have, and at least one of which it has.
const FLAGS_SHAPED: u8 = FLAG_COMPRESSED | FLAG_ENCRYPTED;

/// The flags of a record whose value has this shape.
pub(crate) const fn flags_of(shape: Shape) -> u8 {
    (if shape.compressed { FLAG_COMPRESSED } else { 0 }) | (if shape.encrypted { FLAG_ENCRYPTED } else { 0 })
}

/// True for a format version and flags that are written together. Any others are unreadable, as FORMATS.md promises.
const fn is_known(format: u8, flags: u8) -> bool {
    match format {
        FORMAT => flags & !FLAG_REMOVED == 0,
        FORMAT_SHAPED => flags & !FLAGS_SHAPED == 0 && flags != 0,
        _ => false,
    }
}

/// How records are framed: whose they are, and how large they may be.
#[derive(Clone)]
pub struct Framing {
    /// The key of the digest: the cache's secret where one is configured, else a constant of the format.
    digest_key: [u8; 16],
    /// The largest value, in bytes.
    value_len_max: usize,
}

/// Why bytes are no record of the asked path. Always a miss, never an error to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreadable {
    /// Shorter than a header and its checksum, or than it says itself.
    Short,
    /// Does not begin as a record does.
    NotARecord,
    /// Of a format version or with a flag that this build does not know.
    Unknown,
    /// The checksum does not match: damaged.
    Damaged,
    /// Belongs to another path.
    Foreign,
    /// The value is beyond the limit.
    TooLarge,
    /// The checksum matches but a field makes no sense.
    Malformed,
}

impl Default for Framing {
    fn default() -> Self {
        Self { digest_key: *b"nanotier.record1", value_len_max: 512 * 1024 * 1024 }
    }
}

impl std::fmt::Debug for Framing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Framing").field("value_len_max", &self.value_len_max).finish_non_exhaustive()
    }
}

impl Framing {
    /// Framing whose digests are keyed by `secret`: records of another secret are foreign.
    #[must_use]
    pub fn with_secret(self, secret: [u8; 16]) -> Self {
        Self { digest_key: secret, ..self }
    }

    /// Framing that takes values of at most `len` bytes, on both ways.
    #[must_use]
    pub fn with_value_len_max(self, len: usize) -> Self {
        Self { value_len_max: len, ..self }
    }

    /// The keyed digest of a path: 128 bits by SipHash-1-3, over the path's injective bytes.
    #[must_use]
    pub fn digest(&self, path: &Path<'_>) -> [u8; 16] {
        use std::hash::Hasher;
        let mut hasher = SipHasher13::new_with_key(&self.digest_key);
        let name = path.namespace().as_str().as_bytes();
        hasher.write_u64(name.len() as u64);
        hasher.write(name);
        hasher.write(path.key());
        hasher.finish128().as_bytes()
    }

    /// The bytes of `record` under `path`; of a tombstone if there is no record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for a value beyond the limit.
    pub fn encode(
        &self,
        path: &Path<'_>,
        record: Option<&Record>,
        version: Version,
        taken_at: Timestamp,
    ) -> Result<Vec<u8>> {
        let too_large = || Error::new(ErrorKind::TooLarge, "cache", "encode");
        let value = record.map(|record| &record.value.bytes[..]).unwrap_or_default();
        if value.len() > self.value_len_max {
            return Err(too_large());
        }
        let value_len = u32::try_from(value.len()).map_err(|_| too_large())?;
        let tags_len = record.map_or(0, |record| record.tags.iter().map(|tag| 1 + tag.len()).sum::<usize>());
        let mut out = Vec::with_capacity(HEADER_LEN + tags_len + value.len() + CHECKSUM_LEN);

        let (hlc, writer) = version.parts();
        out.put_slice(&MAGIC);
        let flags = record.map_or(FLAG_REMOVED, |record| flags_of(record.value.shape));
        out.put_u8(if flags & FLAGS_SHAPED == 0 { FORMAT } else { FORMAT_SHAPED });
        out.put_u8(flags);
        // At most 64 tags of at most 255 bytes: fits.
        out.put_u16_le(u16::try_from(tags_len).map_err(|_| too_large())?);
        out.put_u64_le(taken_at.as_millis());
        out.put_u64_le(record.map_or(Timestamp::ZERO, |record| record.confirmed_at).as_millis());
        out.put_u64_le(hlc);
        out.put_u64_le(writer);
        out.put_u64_le(record.map_or(Timestamp::ZERO, |record| record.written_at).as_millis());
        let deadlines = record.map_or(Deadlines::NEVER, |record| record.deadlines);
        out.put_u64_le(deadlines.fresh_until.as_millis());
        out.put_u64_le(deadlines.usable_until.as_millis());
        out.put_u64_le(record.map_or(0, |record| record.value.fingerprint.0));
        out.put_u32_le(cost_micros(record.map_or(Duration::ZERO, |record| record.load_cost)));
        out.put_u32_le(value_len);
        out.put_slice(&self.digest(path));
        debug_assert_eq!(out.len(), HEADER_LEN, "FORMATS.md and the encoder must agree");

        for tag in record.iter().flat_map(|record| record.tags.iter()) {
            // A tag is at most 255 bytes long, by `Tags`.
            out.put_u8(u8::try_from(tag.len()).map_err(|_| too_large())?);
            out.put_slice(tag.as_bytes());
        }
        out.put_slice(value);
        let checksum = crc32c::crc32c(&out);
        out.put_u32_le(checksum);
        Ok(out)
    }

    /// What `bytes`, found under `path`, say; with when the tier took them.
    ///
    /// Nothing is allocated but the tags: the value shares `bytes`.
    ///
    /// # Errors
    ///
    /// Why they are no record of this path.
    pub fn decode(&self, path: &Path<'_>, bytes: &Bytes) -> Result<(Entry, Timestamp), Unreadable> {
        let header = Header::read(bytes)?;
        let body_end = bytes.len() - CHECKSUM_LEN;
        let expected_len = HEADER_LEN + usize::from(header.tags_len) + header.value_len as usize;
        if body_end != expected_len {
            return Err(Unreadable::Short);
        }
        let checksum = bytes[body_end..].iter().rev().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        if crc32c::crc32c(&bytes[..body_end]) != checksum {
            return Err(Unreadable::Damaged);
        }
        if header.digest != self.digest(path) {
            return Err(Unreadable::Foreign);
        }
        if header.value_len as usize > self.value_len_max {
            return Err(Unreadable::TooLarge);
        }
        if header.flags & FLAG_REMOVED != 0 {
            let removed = header.is_bare().then_some((Entry::Removed(header.version), header.taken_at));
            return removed.ok_or(Unreadable::Malformed);
        }
        if header.deadlines.usable_until < header.deadlines.fresh_until {
            return Err(Unreadable::Malformed);
        }
        let tags_end = HEADER_LEN + usize::from(header.tags_len);
        let tags = read_tags(&bytes[HEADER_LEN..tags_end]).ok_or(Unreadable::Malformed)?;
        let shape = Shape {
            compressed: header.flags & FLAG_COMPRESSED != 0,
            encrypted: header.flags & FLAG_ENCRYPTED != 0,
        };
        let record = Stored {
            value: Encoded { shape, ..Encoded::new(bytes.slice(tags_end..body_end), header.fingerprint) },
            deadlines: header.deadlines,
            written_at: header.written_at,
            confirmed_at: header.confirmed_at,
            version: header.version,
            load_cost: header.load_cost,
            tags,
        };
        Ok((Entry::Present(record), header.taken_at))
    }
}

/// True for the bytes of a tombstone or a blank, as far as a look at the header tells: no checksum is verified.
///
/// For stores that keep an order of age: a mark that has to stay need not stand before what can leave.
#[must_use]
pub fn is_mark(bytes: &[u8]) -> bool {
    bytes.len() == MARK_LEN
        && Header::read(bytes).is_ok_and(|header| {
            header.flags & FLAG_REMOVED != 0 || header.deadlines.usable_until == Timestamp::ZERO
        })
}

/// The cost of a load as it is stored: in microseconds, and no more than fits.
pub(crate) fn cost_micros(cost: Duration) -> u32 {
    u32::try_from(cost.as_micros()).unwrap_or(u32::MAX)
}

/// The fixed fields, in the order of FORMATS.md.
struct Header {
    flags: u8,
    tags_len: u16,
    taken_at: Timestamp,
    confirmed_at: Timestamp,
    version: Version,
    written_at: Timestamp,
    deadlines: Deadlines,
    fingerprint: Fingerprint,
    load_cost: Duration,
    value_len: u32,
    digest: [u8; 16],
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() < MARK_LEN {
            return Err(Unreadable::Short);
        }
        let mut fields = Fields(bytes);
        if fields.array::<4>() != MAGIC {
            return Err(Unreadable::NotARecord);
        }
        let [format] = fields.array();
        let [flags] = fields.array();
        if !is_known(format, flags) {
            return Err(Unreadable::Unknown);
        }
        Ok(Self {
            flags,
            tags_len: u16::from_le_bytes(fields.array()),
            taken_at: fields.timestamp(),
            confirmed_at: fields.timestamp(),
            version: Version::from_parts(fields.word(), fields.word()),
            written_at: fields.timestamp(),
            deadlines: Deadlines { fresh_until: fields.timestamp(), usable_until: fields.timestamp() },
            fingerprint: Fingerprint(fields.word()),
            load_cost: Duration::from_micros(u64::from(u32::from_le_bytes(fields.array()))),
            value_len: u32::from_le_bytes(fields.array()),
            digest: fields.array(),
        })
    }

    /// True if all is empty that only a record fills: a tombstone has one encoding.
    fn is_bare(&self) -> bool {
        (self.tags_len, self.value_len) == (0, 0)
            && (self.confirmed_at, self.written_at) == (Timestamp::ZERO, Timestamp::ZERO)
            && self.deadlines == Deadlines::NEVER
            && (self.fingerprint, self.load_cost) == (Fingerprint(0), Duration::ZERO)
    }
}

/// Takes fields off the front. The caller has checked the length once, for all of them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the header's length was checked");
        self.0 = rest;
        *field
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn timestamp(&mut self) -> Timestamp {
        Timestamp::from_millis(self.word())
    }
}

fn read_tags(mut bytes: &[u8]) -> Option<Tags> {
    if bytes.is_empty() {
        return Some(Tags::NONE);
    }
    let mut names = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(len))?;
        names.push(std::str::from_utf8(name).ok()?);
        bytes = rest;
    }
    // In order and without repetition, as they are written: a record has one encoding.
    names.is_sorted_by(|one, next| one < next).then(|| Tags::new(names))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Namespace;

    fn record() -> Record {
        let value = Encoded::new(Bytes::from_static(b"a value"), Fingerprint(77));
        Record {
            deadlines: Deadlines {
                fresh_until: Timestamp::from_millis(2_000),
                usable_until: Timestamp::from_millis(3_000),
            },
            confirmed_at: Timestamp::from_millis(1_500),
            version: Version::from_parts(0x0102_0304, 9),
            load_cost: Duration::from_micros(250),
            tags: Tags::new(["red", "blue"]).unwrap(),
            ..Record::new(value, Timestamp::from_millis(1_000))
        }
    }

    fn framed() -> (Namespace, Vec<u8>) {
        let namespace = Namespace::new("test").unwrap();
        let path = Path::new(&namespace, &b"key"[..]);
        let record = record();
        let bytes = Framing::default()
            .encode(&path, Some(&record), record.version, Timestamp::from_millis(1_234))
            .unwrap();
        (namespace, bytes)
    }

    #[test]
    fn records_and_tombstones_come_back_as_they_went() {
        let (namespace, bytes) = framed();
        let path = Path::new(&namespace, &b"key"[..]);
        let (entry, taken_at) = Framing::default().decode(&path, &bytes.clone().into()).unwrap();
        assert_eq!(entry, Entry::Present(record()));
        assert_eq!(taken_at.as_millis(), 1_234);

        let version = Version::from_parts(5, 6);
        let tombstone = Framing::default().encode(&path, None, version, taken_at).unwrap();
        let (entry, _) = Framing::default().decode(&path, &tombstone.into()).unwrap();
        assert_eq!(entry, Entry::Removed(version));
    }

    #[test]
    fn tombstones_and_blanks_are_marks_and_nothing_else_is() {
        let (namespace, bytes) = framed();
        let path = Path::new(&namespace, &b"key"[..]);
        let framed = |record: Option<&Record>| {
            Framing::default().encode(&path, record, Version::ZERO, Timestamp::from_millis(9)).unwrap()
        };
        let blank = Record::blank(Version::ZERO, Timestamp::from_millis(7));
        let empty = Record { deadlines: Deadlines::NEVER, ..blank.clone() };
        assert!(is_mark(&framed(None)) && is_mark(&framed(Some(&blank))));
        assert!(!is_mark(&framed(Some(&empty))), "an empty value is a value");
        assert!(!is_mark(&bytes) && !is_mark(b"") && !is_mark(&[0; MARK_LEN]));
    }

    #[test]
    fn a_record_of_another_path_or_secret_is_foreign() {
        let (namespace, bytes) = framed();
        let bytes = Bytes::from(bytes);
        let other = Namespace::new("other").unwrap();
        let wrong = [Path::new(&namespace, &b"kez"[..]), Path::new(&other, &b"key"[..])];
        for path in wrong {
            assert_eq!(Framing::default().decode(&path, &bytes).unwrap_err(), Unreadable::Foreign);
        }
        let path = Path::new(&namespace, &b"key"[..]);
        let secret = Framing::default().with_secret([1; 16]);
        assert_eq!(secret.decode(&path, &bytes).unwrap_err(), Unreadable::Foreign);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_read_as_a_record() {
        let (namespace, bytes) = framed();
        let path = Path::new(&namespace, &b"key"[..]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Framing::default().decode(&path, &flipped.into()).is_err(), "byte {at} bit {bit}");
            }
            let cut = Bytes::copy_from_slice(&bytes[..at]);
            assert!(Framing::default().decode(&path, &cut).is_err(), "cut at {at}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Framing::default().decode(&path, &longer.into()).is_err());
    }

    #[test]
    fn values_beyond_the_limit_are_refused_on_both_ways() {
        let (namespace, bytes) = framed();
        let path = Path::new(&namespace, &b"key"[..]);
        let small = Framing::default().with_value_len_max(6);
        let error = small.encode(&path, Some(&record()), Version::ZERO, Timestamp::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(small.decode(&path, &bytes.into()).unwrap_err(), Unreadable::TooLarge);
        let exact = Framing::default().with_value_len_max(7);
        assert!(exact.encode(&path, Some(&record()), Version::ZERO, Timestamp::ZERO).is_ok());
    }
}
