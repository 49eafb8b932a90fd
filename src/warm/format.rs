//! The bytes of a warm file, and of the mark beside it. `docs/FORMATS.md` describes them field by field.

use std::io::{self, BufReader, BufWriter, Read, SeekFrom, Write};

use nanotier_tier::{Fingerprint, Path, Timestamp};

#[cfg(any(test, fuzzing))]
use parking_lot::Mutex;
#[cfg(any(test, fuzzing))]
use std::sync::Arc;

use crate::warm::disk::{Input, Output};

/// What a warm file begins with.
pub(crate) const MAGIC: [u8; 4] = *b"nTw\x93";
/// What its last part begins with.
const FOOTER_MAGIC: [u8; 4] = *b"nTw\x94";
/// What the mark of a run begins with.
const MARK_MAGIC: [u8; 4] = *b"nTw\x95";
/// The format version of files whose values are as the codec wrote them.
pub(crate) const FORMAT: u8 = 1;
/// The format version of files whose values are shaped.
pub(crate) const FORMAT_SHAPED: u8 = 2;
/// Values are encrypted, and so is the seal.
const FLAG_ENCRYPTED: u8 = 1;
pub(crate) const HEADER_LEN: usize = 60;
pub(crate) const FOOTER_LEN: usize = 28;
pub(crate) const MARK_LEN: usize = 16;
/// Length of the two lengths before each entry.
const LENGTHS_LEN: usize = 8;
/// Length of the length of the seal.
const SEAL_LENGTH_LEN: usize = 4;
/// No seal is longer.
const SEAL_LEN_MAX: usize = 1024;
/// No record is longer: half a gibibyte of value, and what is around it.
const RECORD_LEN_MAX: usize = 512 * 1024 * 1024 + 64 * 1024;

/// Why bytes are no warm file that this build can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Of a format version that this build does not know.
    Format,
    Damaged,
}

/// What was done to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    Plain,
    /// Compressed where it helps, and all of them encrypted or none.
    Shaped {
        encrypted: bool,
    },
}

/// Whose the file is, and to which state it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) saved_at: Timestamp,
    /// The run that wrote it.
    pub(crate) run: u64,
    /// The opening of the tiers that ended with it; 0 where they have none.
    pub(crate) opening: u64,
    pub(crate) fingerprint: Fingerprint,
    /// Keyed digest of the namespace.
    pub(crate) digest: [u8; 16],
    pub(crate) values: Values,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        (bytes[4], bytes[5]) = match self.values {
            Values::Plain => (FORMAT, 0),
            Values::Shaped { encrypted } => (FORMAT_SHAPED, if encrypted { FLAG_ENCRYPTED } else { 0 }),
        };
        bytes[8..16].copy_from_slice(&self.saved_at.as_millis().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.run.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.opening.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.fingerprint.0.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.digest);
        seal(&mut bytes);
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Self, Bad> {
        if bytes[..4] != MAGIC {
            return Err(Bad::Damaged);
        }
        if !is_known(bytes[4]) {
            return Err(Bad::Format);
        }
        if !is_sealed(bytes) || bytes[6..8] != [0; 2] {
            return Err(Bad::Damaged);
        }
        let values = match (bytes[4], bytes[5]) {
            (FORMAT, 0) => Values::Plain,
            (FORMAT_SHAPED, flags) if flags & !FLAG_ENCRYPTED == 0 => {
                Values::Shaped { encrypted: flags & FLAG_ENCRYPTED != 0 }
            }
            _ => return Err(Bad::Damaged),
        };
        let mut digest = [0; 16];
        digest.copy_from_slice(&bytes[40..56]);
        Ok(Self {
            saved_at: Timestamp::from_millis(word(&bytes[8..16])),
            run: word(&bytes[16..24]),
            opening: word(&bytes[24..32]),
            fingerprint: Fingerprint(word(&bytes[32..40])),
            digest,
            values,
        })
    }
}

const fn is_known(format: u8) -> bool {
    matches!(format, FORMAT | FORMAT_SHAPED)
}

/// How much there is, and what its checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footer {
    entries: u64,
    /// The seal and all entries together.
    len: u64,
    /// Of header, seal and entries.
    checksum: u32,
}

impl Footer {
    fn to_bytes(self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..4].copy_from_slice(&FOOTER_MAGIC);
        bytes[4..12].copy_from_slice(&self.entries.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.len.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.checksum.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    fn from_bytes(bytes: &[u8; FOOTER_LEN]) -> Result<Self, Bad> {
        if bytes[..4] != FOOTER_MAGIC || !is_sealed(bytes) {
            return Err(Bad::Damaged);
        }
        let mut checksum = [0; 4];
        checksum.copy_from_slice(&bytes[20..24]);
        Ok(Self {
            entries: word(&bytes[4..12]),
            len: word(&bytes[12..20]),
            checksum: u32::from_le_bytes(checksum),
        })
    }
}

/// The mark of the run that has begun last.
pub(crate) fn mark_of(run: u64) -> [u8; MARK_LEN] {
    let mut bytes = [0; MARK_LEN];
    bytes[..4].copy_from_slice(&MARK_MAGIC);
    bytes[4..12].copy_from_slice(&run.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// The run that left this mark; `None` if it is none.
pub(crate) fn run_of(mark: &[u8]) -> Option<u64> {
    let is_one = mark.len() == MARK_LEN && mark[..4] == MARK_MAGIC && is_sealed(mark);
    is_one.then(|| word(&mark[4..12]))
}

/// Whether what begins with these bytes is a warm file or was to become one. What is shorter than its magic is one that was
/// cut, or nothing.
pub(crate) fn is_ours(first: &[u8]) -> bool {
    first.iter().zip(MAGIC).all(|(byte, magic)| *byte == magic)
}

/// The last four bytes become the checksum of those before.
fn seal(bytes: &mut [u8]) {
    let (before, checksum) = bytes.split_at_mut(bytes.len() - 4);
    checksum.copy_from_slice(&crc32c::crc32c(before).to_le_bytes());
}

fn is_sealed(bytes: &[u8]) -> bool {
    let (before, checksum) = bytes.split_at(bytes.len() - 4);
    crc32c::crc32c(before).to_le_bytes() == checksum
}

/// Eight bytes as a number, the little end first.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// Writes a warm file from its beginning to its end.
pub(crate) struct Writer {
    out: BufWriter<Box<dyn Output>>,
    footer: Footer,
}

impl Writer {
    /// The header, and its seal where values are shaped.
    pub(crate) fn begin(out: Box<dyn Output>, header: Header, seal: &[u8]) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(BUFFER_LEN, out);
        let bytes = header.to_bytes();
        out.write_all(&bytes)?;
        let footer = Footer { entries: 0, len: 0, checksum: crc32c::crc32c(&bytes) };
        let mut writer = Self { out, footer };
        if header.values != Values::Plain {
            let len = u32::try_from(seal.len()).map_err(io::Error::other)?;
            writer.part(&len.to_le_bytes())?;
            writer.part(seal)?;
        }
        Ok(writer)
    }

    fn part(&mut self, part: &[u8]) -> io::Result<()> {
        self.out.write_all(part)?;
        self.footer.checksum = crc32c::crc32c_append(self.footer.checksum, part);
        self.footer.len += part.len() as u64;
        Ok(())
    }

    /// One entry; false if it is too long for one, and nothing was written.
    pub(crate) fn entry(&mut self, key: &[u8], record: &[u8]) -> io::Result<bool> {
        let (Ok(key_len), Ok(record_len)) = (u32::try_from(key.len()), u32::try_from(record.len())) else {
            return Ok(false);
        };
        for part in [&key_len.to_le_bytes()[..], &record_len.to_le_bytes()[..], key, record] {
            self.part(part)?;
        }
        self.footer.entries += 1;
        Ok(true)
    }

    /// The footer, and all of it on disk. Says how many entries there are.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        self.out.write_all(&self.footer.to_bytes())?;
        self.out.flush()?;
        self.out.get_mut().sync()?;
        Ok(self.footer.entries)
    }
}

/// Reads a warm file: header and footer first, then one entry after the other.
pub(crate) struct Reader {
    input: BufReader<Box<dyn Input>>,
    footer: Footer,
    seal: Vec<u8>,
    /// Of the entries' bytes, those not yet read.
    left: u64,
    entries_left: u64,
    checksum: u32,
}

/// A key's bytes, and its record's.
type KeyAndRecord = (Vec<u8>, Vec<u8>);

impl Reader {
    /// Header and footer of what is long enough and whole at both ends.
    pub(crate) fn begin(mut input: Box<dyn Input>) -> Result<(Header, Self), Bad> {
        let damaged = |_| Bad::Damaged;
        let len = input.seek(SeekFrom::End(0)).map_err(damaged)?;
        let ends = (HEADER_LEN + FOOTER_LEN) as u64;
        let mut header = [0; HEADER_LEN];
        input.seek(SeekFrom::Start(0)).map_err(damaged)?;
        // Another version's may be shorter: what it says of itself comes first.
        input.read_exact(&mut header[..5]).map_err(damaged)?;
        if header[..4] == MAGIC && !is_known(header[4]) {
            return Err(Bad::Format);
        }
        let Some(entries_len) = len.checked_sub(ends) else { return Err(Bad::Damaged) };
        input.read_exact(&mut header[5..]).map_err(damaged)?;
        let parsed = Header::from_bytes(&header)?;
        let mut footer = [0; FOOTER_LEN];
        input.seek(SeekFrom::Start(len - FOOTER_LEN as u64)).map_err(damaged)?;
        input.read_exact(&mut footer).map_err(damaged)?;
        let footer = Footer::from_bytes(&footer)?;
        if footer.len != entries_len {
            return Err(Bad::Damaged);
        }
        input.seek(SeekFrom::Start(HEADER_LEN as u64)).map_err(damaged)?;
        let input = BufReader::with_capacity(BUFFER_LEN, input);
        let mut reader = Self {
            input,
            footer,
            seal: Vec::new(),
            left: entries_len,
            entries_left: footer.entries,
            checksum: crc32c::crc32c(&header),
        };
        if parsed.values != Values::Plain {
            let len = reader.take(SEAL_LENGTH_LEN)?;
            let len = usize::try_from(word(&len)).map_err(|_| Bad::Damaged)?;
            if len > SEAL_LEN_MAX {
                return Err(Bad::Damaged);
            }
            reader.seal = reader.take(len)?;
        }
        Ok((parsed, reader))
    }

    /// What proves who wrote the header; empty where nothing does.
    pub(crate) fn seal(&self) -> &[u8] {
        &self.seal
    }

    /// How many entries there should be.
    pub(crate) fn entries(&self) -> u64 {
        self.footer.entries
    }

    /// The next entry; `None` after the last, when all was as it was written.
    pub(crate) fn next(&mut self) -> Result<Option<KeyAndRecord>, Bad> {
        if self.entries_left == 0 {
            let is_whole = self.left == 0 && self.checksum == self.footer.checksum;
            return if is_whole { Ok(None) } else { Err(Bad::Damaged) };
        }
        self.entries_left -= 1;
        let lengths = self.take(LENGTHS_LEN)?;
        let len = |bytes: &[u8]| usize::try_from(word(bytes)).map_err(|_| Bad::Damaged);
        let (key_len, record_len) = (len(&lengths[..4])?, len(&lengths[4..])?);
        if key_len > Path::KEY_LEN_MAX || record_len > RECORD_LEN_MAX {
            return Err(Bad::Damaged);
        }
        let key = self.take(key_len)?;
        Ok(Some((key, self.take(record_len)?)))
    }

    /// So many bytes, if there are so many: nothing is allocated on the word of a length.
    fn take(&mut self, len: usize) -> Result<Vec<u8>, Bad> {
        self.left = self.left.checked_sub(len as u64).ok_or(Bad::Damaged)?;
        let mut bytes = vec![0; len];
        self.input.read_exact(&mut bytes).map_err(|_| Bad::Damaged)?;
        self.checksum = crc32c::crc32c_append(self.checksum, &bytes);
        Ok(bytes)
    }
}

const BUFFER_LEN: usize = 64 * 1024;

#[cfg(any(test, fuzzing))]
/// What was written, to be looked at.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

#[cfg(any(test, fuzzing))]
impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(any(test, fuzzing))]
impl Output for Kept {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(any(test, fuzzing))]
impl Kept {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().clone()
    }
}
