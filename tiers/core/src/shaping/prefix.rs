//! The first bytes of a shaped value: what was done to it. `docs/FORMATS.md` describes them field by field.

use super::{KeyId, Refused, compress};
use crate::stored::Shape;

/// The length of the prefix without the nonce, in bytes.
pub(super) const PREFIX_LEN: usize = 12;

/// What was done to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The number of the compression; 0 for none.
    pub(super) compression: u8,
    /// The number of the cipher; 0 for none.
    pub(super) cipher: u8,
    /// Whose key; 0 without a cipher.
    pub(super) key: KeyId,
    /// The length of the value as the codec wrote it, in bytes.
    pub(super) logical_len: u32,
}

impl Prefix {
    pub(super) fn to_bytes(self) -> [u8; PREFIX_LEN] {
        let [k0, k1, k2, k3] = self.key.0.to_le_bytes();
        let [l0, l1, l2, l3] = self.logical_len.to_le_bytes();
        [self.compression, self.cipher, 0, 0, k0, k1, k2, k3, l0, l1, l2, l3]
    }

    /// The prefix of a value of this shape, and what follows it.
    pub(super) fn read(shape: Shape, bytes: &[u8]) -> Result<(Self, &[u8]), Refused> {
        let (prefix, rest) = bytes.split_first_chunk::<PREFIX_LEN>().ok_or(Refused::Malformed)?;
        let [compression, cipher, 0, 0, k0, k1, k2, k3, l0, l1, l2, l3] = *prefix else {
            return Err(Refused::Malformed);
        };
        let prefix = Self {
            compression,
            cipher,
            key: KeyId(u32::from_le_bytes([k0, k1, k2, k3])),
            logical_len: u32::from_le_bytes([l0, l1, l2, l3]),
        };
        // The header says the same.
        let says = Shape { compressed: compression != compress::NONE, encrypted: cipher != 0 };
        if says != shape || (!shape.encrypted && prefix.key != KeyId(0)) {
            return Err(Refused::Malformed);
        }
        if !compress::is_known(compression) {
            return Err(Refused::UnknownAlgorithm);
        }
        Ok((prefix, rest))
    }

    /// Checks the length that is promised against the one that is there, and the limit: before anything is allocated.
    pub(super) fn judge(self, body_len: usize, value_len_max: usize) -> Result<usize, Refused> {
        let logical_len = usize::try_from(self.logical_len).map_err(|_| Refused::TooLarge)?;
        if logical_len > value_len_max {
            return Err(Refused::TooLarge);
        }
        let possible = match self.compression {
            compress::NONE => logical_len == body_len,
            // Only what shrinks is compressed, and there is an end to how far it can.
            code => body_len < logical_len && logical_len / compress::expansion_max(code) <= body_len,
        };
        if possible { Ok(logical_len) } else { Err(Refused::Malformed) }
    }
}
