//! What is to be done to values.

use std::fmt;
use std::sync::Arc;

use super::compress::{Compression, Contexts};
#[cfg(feature = "encrypt")]
use super::keyring::KeyRing;
use super::prefix::PREFIX_LEN;
use crate::error::{Error, ErrorKind, Result};

/// What is done to values on their way to a tier and back. Cloning shares it.
#[derive(Clone)]
pub struct Shaping(pub(super) Arc<Config>);

pub(super) struct Config {
    pub(super) compression: Option<Compression>,
    pub(super) compress_from: usize,
    #[cfg(feature = "encrypt")]
    pub(super) keys: Option<KeyRing>,
    pub(super) value_len_max: Option<usize>,
    pub(super) contexts: Contexts,
}

impl Shaping {
    /// The shortest value that is compressed unless told otherwise, in bytes: below it there is little to gain.
    pub const COMPRESS_FROM_DEFAULT: usize = 64;
    /// The longest value unless told otherwise or the tier takes less, in bytes: half a gibibyte.
    pub const VALUE_LEN_MAX_DEFAULT: usize = 512 * 1024 * 1024;

    /// Options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// True if values are encrypted, and nothing else is believed.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        #[cfg(feature = "encrypt")]
        let encrypts = self.0.keys.is_some();
        #[cfg(not(feature = "encrypt"))]
        let encrypts = false;
        encrypts
    }

    /// The longest value, as the codec wrote it, in bytes.
    pub(super) fn value_len_max(&self) -> usize {
        self.0.value_len_max.unwrap_or(Self::VALUE_LEN_MAX_DEFAULT)
    }

    /// The longest value that fits a tier which takes `tier_max` bytes.
    pub(super) fn value_len_max_over(&self, tier_max: usize) -> usize {
        let fits = tier_max.saturating_sub(self.overhead());
        self.0.value_len_max.unwrap_or_else(|| fits.min(Self::VALUE_LEN_MAX_DEFAULT))
    }

    /// By how much a value may grow, in bytes.
    fn overhead(&self) -> usize {
        #[cfg(feature = "encrypt")]
        let sealed =
            self.0.keys.as_ref().map(|keys| PREFIX_LEN + keys.cipher().nonce_len() + super::keyring::TAG_LEN);
        #[cfg(not(feature = "encrypt"))]
        let sealed: Option<usize> = None.filter(|_: &usize| PREFIX_LEN == 0);
        // What is only compressed is stored as it is where it would grow.
        sealed.unwrap_or(0)
    }
}

impl fmt::Debug for Shaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Shaping");
        debug.field("compression", &self.0.compression);
        #[cfg(feature = "encrypt")]
        debug.field("keys", &self.0.keys);
        debug.field("value_len_max", &self.value_len_max()).finish_non_exhaustive()
    }
}

/// Options of a [`Shaping`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    compression: Option<Compression>,
    compress_from: Option<usize>,
    #[cfg(feature = "encrypt")]
    keys: Option<KeyRing>,
    value_len_max: Option<usize>,
}

impl Builder {
    /// Compresses values that get smaller by it. Off by default. What was compressed otherwise, or not at all, is still
    /// read: this can be changed at any time.
    pub fn compress(self, compression: Compression) -> Self {
        Self { compression: Some(compression), ..self }
    }

    /// Leaves values shorter than `len` bytes uncompressed. [`Shaping::COMPRESS_FROM_DEFAULT`] by default.
    pub fn compress_from(self, len: usize) -> Self {
        Self { compress_from: Some(len), ..self }
    }

    /// Encrypts values, after compressing them, and believes nothing that is not encrypted. Off by default. What was stored
    /// before it was switched on is a miss.
    #[cfg(feature = "encrypt")]
    pub fn encrypt(self, keys: KeyRing) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// Takes values of at most `len` bytes, as the codec wrote them; longer ones are refused on both ways, before anything is
    /// allocated for them. By default as many as the tier is sure to take, and
    /// [`Shaping::VALUE_LEN_MAX_DEFAULT`] at most. Set it higher than the tier's own limit where values are known to shrink: what
    /// does not fit when it is compressed is refused by the tier.
    pub fn value_len_max(self, len: usize) -> Self {
        Self { value_len_max: Some(len), ..self }
    }

    /// The shaping.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a level that the compression does not have, a limit beyond 4 GiB - 1, or if there is
    /// nothing to do at all.
    pub fn build(self) -> Result<Shaping> {
        let config =
            |detail: &'static str| Error::new(ErrorKind::Config, "shaping", "build").with_detail(detail);
        if let Some(compression) = self.compression {
            compression.judge().map_err(config)?;
        }
        if self.value_len_max.is_some_and(|len| u32::try_from(len).is_err()) {
            return Err(config("a value has at most 4294967295 bytes"));
        }
        let shaping = Shaping(Arc::new(Config {
            compression: self.compression,
            compress_from: self.compress_from.unwrap_or(Shaping::COMPRESS_FROM_DEFAULT),
            #[cfg(feature = "encrypt")]
            keys: self.keys,
            value_len_max: self.value_len_max,
            contexts: Contexts::default(),
        }));
        if self.compression.is_none() && self.value_len_max.is_none() && !shaping.encrypts() {
            return Err(config("nothing to do: compress, encrypt, or limit values"));
        }
        Ok(shaping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_said_by_build() {
        let refused = |builder: Builder| builder.build().map(drop).unwrap_err().kind();
        assert_eq!(refused(Shaping::builder()), ErrorKind::Config);
        assert_eq!(refused(Shaping::builder().value_len_max(usize::MAX)), ErrorKind::Config);
        #[cfg(feature = "zstd")]
        for level in [-8, 23] {
            assert_eq!(refused(Shaping::builder().compress(Compression::Zstd { level })), ErrorKind::Config);
        }
        #[cfg(feature = "gzip")]
        assert_eq!(refused(Shaping::builder().compress(Compression::Gzip { level: 10 })), ErrorKind::Config);
        assert!(Shaping::builder().value_len_max(0).build().is_ok(), "a limit alone is something to do");
    }
}
