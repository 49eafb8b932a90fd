//! Whatever bytes a tier hands out: decoding them never panics, and what decodes is canonical: encoded again it is the
//! same bytes.
//!
//! Bytes alone seldom get past checksum and digest. So each input is tried twice: as it is, and with those fields
//! mended that guard the others.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanotier_tier::record::{FORMAT, FORMAT_SHAPED, Framing, HEADER_LEN, MAGIC};
use nanotier_tier::{Bytes, Entry, Namespace, Path};

/// Where FORMATS.md says the length of the tags, the length of the value and the digest lie.
const TAGS_LEN: usize = 6;
const VALUE_LEN: usize = 76;
const DIGEST: usize = 80;
const CHECKSUM_LEN: usize = 4;
/// Compressed, encrypted.
const FLAGS_SHAPED: u8 = 0b110;

fuzz_target!(|bytes: &[u8]| {
    let namespace = Namespace::new("fuzz").expect("a good name");
    let path = Path::new(&namespace, &b"key"[..]);
    let framing = Framing::default().with_value_len_max(1 << 20);
    check(&framing, &path, bytes);
    if let Some(mended) = mend(&framing, &path, bytes) {
        check(&framing, &path, &mended);
    }
});

fn check(framing: &Framing, path: &Path<'_>, bytes: &[u8]) {
    let shared = Bytes::copy_from_slice(bytes);
    let Ok((entry, taken_at)) = framing.decode(path, &shared) else { return };
    let version = entry.version().expect("a decoded record or tombstone has a version");
    let record = match &entry {
        Entry::Present(record) => Some(record),
        Entry::Removed(_) => None,
        Entry::Absent => panic!("bytes that decode are something"),
    };
    let again = framing.encode(path, record, version, taken_at).expect("what was decoded can be encoded");
    assert_eq!(again, bytes, "a record has one encoding");
}

/// The same bytes with magic, format, digest and checksum right, and the value as long as what is left.
fn mend(framing: &Framing, path: &Path<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < HEADER_LEN + CHECKSUM_LEN {
        return None;
    }
    let mut bytes = bytes.to_vec();
    bytes[..4].copy_from_slice(&MAGIC);
    // Flags of shaped values, if any are set, belong to the format that has them.
    bytes[4] = if bytes[5] & FLAGS_SHAPED == 0 { FORMAT } else { FORMAT_SHAPED };
    bytes[DIGEST..HEADER_LEN].copy_from_slice(&framing.digest(path));
    let body_end = bytes.len() - CHECKSUM_LEN;
    let rest = body_end - HEADER_LEN;
    let tags_len = usize::from(u16::from_le_bytes([bytes[TAGS_LEN], bytes[TAGS_LEN + 1]])).min(rest);
    let tags_len_field = u16::try_from(tags_len).ok()?;
    bytes[TAGS_LEN..TAGS_LEN + 2].copy_from_slice(&tags_len_field.to_le_bytes());
    let value_len = u32::try_from(rest - tags_len).ok()?;
    bytes[VALUE_LEN..DIGEST].copy_from_slice(&value_len.to_le_bytes());
    let checksum = crc32c(&bytes[..body_end]);
    bytes[body_end..].copy_from_slice(&checksum.to_le_bytes());
    Some(bytes)
}

/// Bit by bit: the slow obvious twin of the one that the encoder uses.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}
