//! One record: from as the codec wrote it to as it is stored, and back. Pure but for nonces.

use bytes::Bytes;

use super::builder::Shaping;
use super::compress;
use super::prefix::{PREFIX_LEN, Prefix};
use super::scratch::Scratch;
use super::{KeyId, Refused};
use crate::error::{Error, ErrorKind, Result};
use crate::path::Path;
use crate::stored::{Encoded, Record, Shape};
use crate::update::COUNTER;

#[cfg(feature = "encrypt")]
use super::keyring::{Key, NONCE_LEN_MAX, TAG_LEN};
#[cfg(feature = "encrypt")]
use crate::record::{FORMAT_SHAPED, cost_micros, flags_of};

/// A counter: the tier computes with it.
fn is_counter(value: &Encoded) -> bool {
    value.fingerprint == COUNTER && value.bytes.len() == 8
}

/// A place taken by a version, with no value in it: expired from the start.
fn is_blank(record: &Record) -> bool {
    let blank = Record::blank(record.version, record.written_at);
    *record == Record { confirmed_at: record.confirmed_at, ..blank }
}

impl Shaping {
    /// `record` as it is to be stored under `path`.
    ///
    /// Costs what the algorithms cost, and one allocation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for a value beyond the limit; [`ErrorKind::Unsupported`] for one that was shaped already;
    /// [`ErrorKind::Unavailable`] if the system has no random numbers for a nonce.
    pub fn shape(&self, path: &Path<'_>, record: &Record) -> Result<Record> {
        self.shape_in(self.process(), path, record)
    }

    /// The process that nonces are drawn for. A call of the system: once for a batch.
    pub(super) fn process(&self) -> u32 {
        if self.encrypts() { std::process::id() } else { 0 }
    }

    pub(super) fn shape_in(&self, process: u32, path: &Path<'_>, record: &Record) -> Result<Record> {
        let value = self.shape_value(process, path, record)?;
        let Record { value: _, deadlines, written_at, confirmed_at, version, load_cost, ref tags } = *record;
        Ok(Record { value, deadlines, written_at, confirmed_at, version, load_cost, tags: tags.clone() })
    }

    /// `record`, found under `path`, as the codec wrote it.
    ///
    /// Costs what the algorithms cost, and one allocation, made when its length is known to be within the limit and, where
    /// encryption is on, proved by its key.
    ///
    /// # Errors
    ///
    /// Why it cannot be believed.
    pub fn open(&self, path: &Path<'_>, record: Record) -> Result<Record, Refused> {
        let value = &record.value;
        if value.shape.is_plain() {
            if value.bytes.len() > self.value_len_max() {
                return Err(Refused::TooLarge);
            }
            let believed = !self.encrypts() || is_counter(value) || is_blank(&record);
            return if believed { Ok(record) } else { Err(Refused::NotEncrypted) };
        }
        if self.encrypts() && !value.shape.encrypted {
            return Err(Refused::NotEncrypted);
        }
        let (prefix, rest) = Prefix::read(value.shape, &value.bytes)?;
        let bytes = if value.shape.encrypted {
            self.unseal(path, &record, prefix, rest)?
        } else {
            let mut out = room_for(prefix.judge(rest.len(), self.value_len_max())?)?;
            self.decompress(prefix, rest, &mut out)?;
            Bytes::from(out)
        };
        let value = Encoded::new(bytes, value.fingerprint);
        Ok(Record { value, ..record })
    }

    fn shape_value(&self, process: u32, path: &Path<'_>, record: &Record) -> Result<Encoded> {
        let value = &record.value;
        if !value.shape.is_plain() {
            return Err(Error::new(ErrorKind::Unsupported, "shaping", "write")
                .with_detail("the value was shaped already: one shaping lies around a tier, not two"));
        }
        if is_counter(value) || is_blank(record) {
            return Ok(value.clone());
        }
        let too_large = || Error::new(ErrorKind::TooLarge, "shaping", "write");
        let logical_len = u32::try_from(value.bytes.len()).map_err(|_| too_large())?;
        if value.bytes.len() > self.value_len_max() {
            return Err(too_large());
        }
        Scratch::with(|scratch| {
            // What is only compressed has to make up for its prefix; what is encrypted has one anyway.
            let spare = if self.encrypts() { 1 } else { PREFIX_LEN + 1 };
            let compressed_len =
                self.0.compression.filter(|_| value.bytes.len() >= self.0.compress_from).and_then(
                    |compression| {
                        let len = self.0.contexts.compress(compression, &value.bytes, spare, scratch)?;
                        Some((compression.code(), len))
                    },
                );
            let (compression, len) = compressed_len.unwrap_or((compress::NONE, value.bytes.len()));
            let prefix = Prefix { compression, cipher: 0, key: KeyId(0), logical_len };
            #[cfg(feature = "encrypt")]
            if let Some(keys) = &self.0.keys {
                let sealed = seal((&keys.writer(), process), path, record, prefix, len, scratch)?;
                scratch.wipe(if compression == compress::NONE { 0 } else { len });
                return Ok(sealed);
            }
            let _ = (path, process);
            if compression == compress::NONE {
                return Ok(value.clone());
            }
            let mut out = Vec::with_capacity(PREFIX_LEN + len);
            out.extend_from_slice(&prefix.to_bytes());
            out.extend_from_slice(scratch.body(len));
            let shape = Shape { compressed: true, encrypted: false };
            Ok(Encoded { shape, ..Encoded::new(out, value.fingerprint) })
        })
    }

    fn decompress(&self, prefix: Prefix, bytes: &[u8], out: &mut [u8]) -> Result<(), Refused> {
        if self.0.contexts.decompress(prefix.compression, bytes, out) {
            Ok(())
        } else {
            Err(Refused::Malformed)
        }
    }

    #[cfg(not(feature = "encrypt"))]
    fn unseal(&self, _: &Path<'_>, _: &Record, prefix: Prefix, _: &[u8]) -> Result<Bytes, Refused> {
        Err(Refused::UnknownKey(prefix.key))
    }

    #[cfg(feature = "encrypt")]
    fn unseal(
        &self,
        path: &Path<'_>,
        record: &Record,
        prefix: Prefix,
        rest: &[u8],
    ) -> Result<Bytes, Refused> {
        let key = self.0.keys.as_ref().and_then(|keys| keys.find(prefix.key));
        let key = key.ok_or(Refused::UnknownKey(prefix.key))?;
        if key.cipher().code() != prefix.cipher {
            return Err(Refused::UnknownAlgorithm);
        }
        let (nonce, rest) = rest.split_at_checked(key.cipher().nonce_len()).ok_or(Refused::Malformed)?;
        let (sealed, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(Refused::Malformed)?;
        let logical_len = prefix.judge(sealed.len(), self.value_len_max())?;
        let mut padded = [0; NONCE_LEN_MAX];
        padded[..nonce.len()].copy_from_slice(nonce);

        Scratch::with(|scratch| {
            associate(&mut scratch.associated, path, record, prefix);
            if prefix.compression == compress::NONE {
                let mut out = Vec::new();
                out.try_reserve_exact(logical_len).map_err(|_| Refused::TooLarge)?;
                out.extend_from_slice(sealed);
                let authentic = key.open(&padded, &scratch.associated, &mut out, *tag);
                return if authentic { Ok(Bytes::from(out)) } else { Err(Refused::Forged) };
            }
            // As long as what was read: nothing is allocated for its promise before its tag is proved.
            let (body, associated) = scratch.body_and_associated(sealed.len());
            body.copy_from_slice(sealed);
            if !key.open(&padded, associated, body, *tag) {
                return Err(Refused::Forged);
            }
            let out = room_for(logical_len).and_then(|mut out| {
                self.decompress(prefix, scratch.body(sealed.len()), &mut out)?;
                Ok(Bytes::from(out))
            });
            scratch.wipe(sealed.len());
            out
        })
    }
}

/// As many zeros, or [`Refused::TooLarge`] where there is no memory for them.
fn room_for(len: usize) -> Result<Vec<u8>, Refused> {
    let mut out = Vec::new();
    out.try_reserve_exact(len).map_err(|_| Refused::TooLarge)?;
    out.resize(len, 0);
    Ok(out)
}

/// Encrypts `len` bytes: of the scratch's body if they were compressed, else of the record's value.
#[cfg(feature = "encrypt")]
fn seal(
    (key, process): (&Key, u32),
    path: &Path<'_>,
    record: &Record,
    prefix: Prefix,
    len: usize,
    scratch: &mut Scratch,
) -> Result<Encoded> {
    let prefix = Prefix { cipher: key.cipher().code(), key: key.id, ..prefix };
    let shape = Shape { compressed: prefix.compression != compress::NONE, encrypted: true };
    let mut nonce = [0; NONCE_LEN_MAX];
    key.draw_nonce(process, &mut nonce)?;
    let nonce_len = key.cipher().nonce_len();
    associate(&mut scratch.associated, path, record, prefix);

    // Exactly as long as it will be: it becomes `Bytes` without another allocation.
    let mut out = Vec::with_capacity(PREFIX_LEN + nonce_len + len + TAG_LEN);
    out.extend_from_slice(&prefix.to_bytes());
    out.extend_from_slice(&nonce[..nonce_len]);
    let body_at = out.len();
    out.extend_from_slice(if shape.compressed { scratch.body(len) } else { &record.value.bytes });
    let tag = key.seal(&nonce, &scratch.associated, &mut out[body_at..])?;
    out.extend_from_slice(&tag);
    Ok(Encoded { shape, ..Encoded::new(out, record.value.fingerprint) })
}

/// What is authenticated beside the value, in the order of FORMATS.md: everything in the record that is not the tier's own.
#[cfg(feature = "encrypt")]
fn associate(out: &mut Vec<u8>, path: &Path<'_>, record: &Record, prefix: Prefix) {
    let shape = Shape { compressed: prefix.compression != compress::NONE, encrypted: true };
    let (hlc, writer) = record.version.parts();
    let words = [
        hlc,
        writer,
        record.written_at.as_millis(),
        record.deadlines.fresh_until.as_millis(),
        record.deadlines.usable_until.as_millis(),
        record.value.fingerprint.0,
    ];
    // Put together in one piece: field by field it would cost as much as the cipher.
    let mut fixed = [0; 2 + PREFIX_LEN + 6 * 8 + 4];
    fixed[0] = FORMAT_SHAPED;
    fixed[1] = flags_of(shape);
    let (prefix_bytes, rest) = fixed[2..].split_at_mut(PREFIX_LEN);
    prefix_bytes.copy_from_slice(&prefix.to_bytes());
    let (word_bytes, cost_bytes) = rest.split_at_mut(6 * 8);
    for (bytes, word) in word_bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    cost_bytes.copy_from_slice(&cost_micros(record.load_cost).to_le_bytes());

    out.clear();
    out.extend_from_slice(&fixed);
    let mut part = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    part(path.namespace().as_str().as_bytes());
    part(path.key());
    record.tags.iter().for_each(|tag| part(tag.as_bytes()));
}
