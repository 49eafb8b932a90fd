//! Values compressed and encrypted on their way to any tier.
//!
//! [`Tier::shaped`](crate::Tier::shaped) wraps a tier, a chain of them, or one chosen at run time;
//! [`Store::shaped`](crate::Store::shaped) a store, so that [`Offload`](crate::Offload) does the work on its own threads. Only the
//! value of a record changes; versions, deadlines, tags and keys stay readable for the tier, and everything else is
//! passed on as it is, batches as batches.
//!
//! ```
//! use nanotier_tier::shaping::{Compression, KeyId, KeyRing, Secret, Shaping};
//! use nanotier_tier::{Inline, MemoryStore, Tier};
//!
//! # fn main() -> nanotier_tier::Result<()> {
//! let ring = KeyRing::new(KeyId(1), &Secret::generate()?)?;
//! let shaping = Shaping::builder().compress(Compression::Lz4).encrypt(ring).build()?;
//! let tier = Inline(MemoryStore::new()).shaped(shaping);
//! # let _ = tier;
//! # Ok(())
//! # }
//! ```
//!
//! # What encryption keeps
//!
//! Who controls a tier can neither read a value nor make one up, alter it, or pass it off under another key, namespace or
//! version, with other deadlines, tags or another codec: all of these are authenticated. **Strict** is the only way there is: where
//! encryption is on, whatever is not encrypted is a miss. `docs/FORMATS.md` says what is left to such an attacker: to remove, to
//! bring back an older value of the same key within its deadline, to count, and to see keys, tags, times and lengths.
//!
//! What cannot be opened is a miss, told to the observer as [`Event::RecordRefused`](crate::Event::RecordRefused). It may be
//! written over, and is not removed: a key that is missing by mistake must not empty a tier.
//!
//! # What stays as it is
//!
//! Counters, since the tier computes with them; tombstones and blanks, which hold no value.

mod builder;
mod compress;
#[cfg(feature = "encrypt")]
mod keyring;
#[cfg(feature = "encrypt")]
mod nonce;
mod prefix;
mod scratch;
#[cfg(feature = "encrypt")]
mod secret;
mod store;
mod tier;
mod transform;

use std::fmt;

pub use builder::{Builder, Shaping};
pub use compress::Compression;
#[cfg(feature = "encrypt")]
pub use keyring::{Cipher, KeyRing};
#[cfg(feature = "encrypt")]
pub use secret::Secret;
pub use store::ShapedStore;
pub use tier::Shaped;

/// The number of a key: not secret, written into every record that the key encrypts. Any will do; a date as a number
/// (20260131) says when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

/// Why a stored value could not be opened. Always a miss, never an error to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// Encryption is on, and the value is not encrypted.
    NotEncrypted,
    /// Encrypted with a key that is not in the ring, or there is no ring.
    UnknownKey(KeyId),
    /// By an algorithm that this build does not know, or the ring does not use.
    UnknownAlgorithm,
    /// Its tag is wrong: damaged, moved from elsewhere, made up, or encrypted with another key of the same number.
    Forged,
    /// Longer than values may be.
    TooLarge,
    /// It makes no sense: cut short, or not what it says to be.
    Malformed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEncrypted => f.write_str("not encrypted"),
            Self::UnknownKey(id) => write!(f, "encrypted with key {}, which is not in the ring", id.0),
            Self::UnknownAlgorithm => f.write_str("by an algorithm that is not known or not used here"),
            Self::Forged => f.write_str("its tag is wrong"),
            Self::TooLarge => f.write_str("longer than values may be"),
            Self::Malformed => f.write_str("not what it says to be"),
        }
    }
}
