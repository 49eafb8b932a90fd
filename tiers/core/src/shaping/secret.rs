//! Key material that nobody gets to see.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// The 32 bytes of a key. Never printed, and wiped from memory when dropped.
///
/// It is a key, not a password: 32 bytes that cannot be guessed, from a vault or a random generator. The copy that the
/// caller made it from is the caller's to wipe. What a cipher computes from it lives as long as its
/// [`KeyRing`](super::KeyRing), and is not wiped.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; Self::LEN]>);

impl Secret {
    /// The length of a key, in bytes.
    pub const LEN: usize = 32;

    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key from 64 hexadecimal digits, as an environment variable or a file would hold it. White space around them
    /// does not count.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for anything else; the error does not say what it was, but for nothing at all.
    pub fn from_hex(digits: &str) -> Result<Self> {
        let digits = digits.trim().as_bytes();
        let error = || {
            Error::new(ErrorKind::Config, "shaping", "key").with_detail(if digits.is_empty() {
                "a key is 64 hexadecimal digits, 32 bytes; there is nothing: is its variable set?"
            } else {
                "a key is 64 hexadecimal digits, 32 bytes"
            })
        };
        if digits.len() != 2 * Self::LEN {
            return Err(error());
        }
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte =
                pair.iter().try_fold(0, |byte, digit| Some((byte << 4) | hex(*digit)?)).ok_or_else(error)?;
        }
        Ok(Self(bytes))
    }

    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the system has none to give.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        fill_with_random(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// Whoever asks for them must not let them go further than into a cipher.
    pub(super) fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// True for 32 zeros: nobody's key, but that of a variable nobody has set.
    pub(super) fn is_blank(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Fills `bytes` from the operating system's random numbers.
pub(super) fn fill_with_random(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| {
        Error::new(ErrorKind::Unavailable, "shaping", "encrypt")
            .with_detail("the system has no random numbers")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_a_key_and_nothing_else_is() {
        let digits = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
        let expected: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        assert_eq!(Secret::from_hex(digits).unwrap().bytes(), &expected);
        assert_eq!(Secret::from_hex(&format!(" {digits}\n")).unwrap().bytes(), &expected);
        for wrong in
            ["", "00", &digits[1..], &format!("{digits}0"), &digits.replace('0', "g"), &"é".repeat(32)]
        {
            let error = Secret::from_hex(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{wrong:?}");
            assert!(wrong.len() < 3 || !format!("{error} {error:?}").contains(wrong), "{error}");
        }
    }

    #[test]
    fn generated_keys_differ() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one.bytes(), other.bytes());
        assert!(!one.is_blank());
    }
}
