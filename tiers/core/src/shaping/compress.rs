//! Compression: what there is, and how much of it is believed.

#[cfg(feature = "zstd")]
use crate::sync::Mutex;

use super::scratch::Scratch;

/// How values are compressed. Only where it makes them smaller: what does not shrink is stored as it is.
///
/// The length of what was compressed tells something of what is in it. Where a secret and bytes that an attacker can choose
/// lie in one value, and the attacker can see how long stored values are, leave compression off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// LZ4, in blocks, by safe Rust: a fifth of the time of the others; the choice below 4 KiB.
    #[cfg(feature = "lz4")]
    Lz4,
    /// Zstandard: smaller, for large values. Contexts are kept: one for each call at the same time, about a megabyte each.
    #[cfg(feature = "zstd")]
    Zstd {
        /// -7 (quick) to 22 (small); 1 is a good one.
        level: i32,
    },
    /// gzip: slow. For those who want to read it elsewhere.
    #[cfg(feature = "gzip")]
    Gzip {
        /// 0 (not at all) to 9 (small).
        level: u32,
    },
}

/// The numbers of the algorithms in a record.
pub(super) const NONE: u8 = 0;
pub(super) const LZ4: u8 = 1;
pub(super) const ZSTD: u8 = 2;
pub(super) const GZIP: u8 = 3;

impl Compression {
    /// Its number in a record.
    pub(super) const fn code(self) -> u8 {
        match self {
            #[cfg(feature = "lz4")]
            Self::Lz4 => LZ4,
            #[cfg(feature = "zstd")]
            Self::Zstd { .. } => ZSTD,
            #[cfg(feature = "gzip")]
            Self::Gzip { .. } => GZIP,
        }
    }

    /// What is wrong with it.
    pub(super) fn judge(self) -> Result<(), &'static str> {
        match self {
            #[cfg(feature = "lz4")]
            Self::Lz4 => Ok(()),
            #[cfg(feature = "zstd")]
            Self::Zstd { level } if !(-7..=22).contains(&level) => Err("zstd has the levels -7 to 22"),
            #[cfg(feature = "zstd")]
            Self::Zstd { .. } => Ok(()),
            #[cfg(feature = "gzip")]
            Self::Gzip { level } if level > 9 => Err("gzip has the levels 0 to 9"),
            #[cfg(feature = "gzip")]
            Self::Gzip { .. } => Ok(()),
        }
    }
}

/// True if this build can decompress what has this number.
pub(super) const fn is_known(code: u8) -> bool {
    code == NONE
        || (cfg!(feature = "lz4") && code == LZ4)
        || (cfg!(feature = "zstd") && code == ZSTD)
        || (cfg!(feature = "gzip") && code == GZIP)
}

/// The most bytes that one byte of this algorithm can stand for. A length beyond that is a lie, found without allocating.
pub(super) const fn expansion_max(code: u8) -> usize {
    match code {
        // A match's length grows by at most 255 with each byte.
        LZ4 => 255,
        // 258 bytes for two bits at best.
        GZIP => 1032,
        // A block of 128 KiB that repeats one byte takes four.
        _ => 32 * 1024,
    }
}

/// Contexts that are dear to make, kept for the next call.
#[derive(Default)]
pub(super) struct Contexts {
    #[cfg(feature = "zstd")]
    compressors: Kept<zstd::bulk::Compressor<'static>>,
    #[cfg(feature = "zstd")]
    decompressors: Kept<zstd::bulk::Decompressor<'static>>,
}

/// Values that were used and are to be used again.
#[cfg(feature = "zstd")]
struct Kept<T>(Mutex<Vec<T>>);

#[cfg(feature = "zstd")]
impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

#[cfg(feature = "zstd")]
impl<T> Kept<T> {
    /// How many are kept: as many as threads that are likely to be here at once.
    const COUNT_MAX: usize = 16;

    /// Uses a kept one or a new one. Kept also if it fails, for want of room mostly: zstd begins each call anew.
    fn with<R>(
        &self,
        make: impl FnOnce() -> std::io::Result<T>,
        run: impl FnOnce(&mut T) -> std::io::Result<R>,
    ) -> Option<R> {
        let kept = self.0.lock().pop();
        let mut used = kept.map_or_else(make, Ok).ok()?;
        let result = run(&mut used).ok();
        let mut all = self.0.lock();
        if all.len() < Self::COUNT_MAX {
            all.push(used);
        }
        result
    }
}

impl Contexts {
    /// Compresses `bytes` into the front of the scratch's body and answers how many they have become; `None` if that is
    /// not at least `spare` fewer.
    #[cfg_attr(
        not(any(feature = "lz4", feature = "zstd", feature = "gzip")),
        expect(
            unreachable_code,
            unused_variables,
            reason = "without an algorithm there is nothing to match"
        )
    )]
    pub(super) fn compress(
        &self,
        compression: Compression,
        bytes: &[u8],
        spare: usize,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let len_max = bytes.len().checked_sub(spare.max(1))?;
        let len = match compression {
            #[cfg(feature = "lz4")]
            Compression::Lz4 => lz4_compress(bytes, scratch)?,
            #[cfg(feature = "zstd")]
            Compression::Zstd { level } => self.compressors.with(
                || zstd::bulk::Compressor::new(level),
                |compressor| compressor.compress_to_buffer(bytes, scratch.body(len_max)),
            )?,
            #[cfg(feature = "gzip")]
            Compression::Gzip { level } => gzip_compress(bytes, level, scratch.body(len_max))?,
        };
        (len <= len_max).then_some(len)
    }

    /// Decompresses `bytes` into `out`, which is as long as they are to become; false if they become anything else.
    pub(super) fn decompress(&self, code: u8, bytes: &[u8], out: &mut [u8]) -> bool {
        match code {
            #[cfg(feature = "lz4")]
            LZ4 => lz4_flex::block::decompress_into(bytes, out).is_ok_and(|len| len == out.len()),
            #[cfg(feature = "zstd")]
            ZSTD => {
                let len = self.decompressors.with(zstd::bulk::Decompressor::new, |decompressor| {
                    decompressor.decompress_to_buffer(bytes, out)
                });
                len == Some(out.len())
            }
            #[cfg(feature = "gzip")]
            GZIP => gzip_decompress(bytes, out),
            _ => {
                let _ = (bytes, out);
                false
            }
        }
    }
}

#[cfg(feature = "lz4")]
fn lz4_compress(bytes: &[u8], scratch: &mut Scratch) -> Option<usize> {
    use lz4_flex::block::{compress_into, compress_into_with_table, get_maximum_output_size};
    let (body, table) = scratch.body_and_table(get_maximum_output_size(bytes.len()));
    // A kept table for large values would cost small ones more to wipe.
    if bytes.len() < usize::from(u16::MAX) {
        compress_into_with_table(bytes, body, table).ok()
    } else {
        compress_into(bytes, body).ok()
    }
}

#[cfg(feature = "gzip")]
fn gzip_compress(bytes: &[u8], level: u32, out: &mut [u8]) -> Option<usize> {
    use std::io::Write;
    let room = out.len();
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(level));
    // What does not fit is an error of the slice.
    encoder.write_all(bytes).ok()?;
    let left = encoder.finish().ok()?;
    Some(room - left.len())
}

#[cfg(feature = "gzip")]
fn gzip_decompress(bytes: &[u8], out: &mut [u8]) -> bool {
    use std::io::Read;
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    // The end is read too: gzip's own checksum is there, and nothing may follow it.
    decoder.read_exact(out).is_ok()
        && matches!(decoder.read(&mut [0]), Ok(0))
        && decoder.into_inner().is_empty()
}
