//! Keys by their ids: one writes, all read.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use super::KeyId;
use super::nonce::Nonces;
use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;

/// The length of what proves that nobody has changed a value, in bytes. The same for all ciphers.
pub(super) const TAG_LEN: usize = 16;

/// How values are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-256-GCM, by `ring`: the quickest where the processor helps, as all of today's do.
    #[default]
    Aes256Gcm,
    /// XChaCha20-Poly1305, by RustCrypto: about ten times the time. Each record has a random nonce of 24 bytes, so that
    /// no count of records or processes matters, and no time depends on data without help of the processor.
    #[cfg(feature = "xchacha")]
    XChaCha20Poly1305,
}

impl Cipher {
    /// Its number in a record.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            #[cfg(feature = "xchacha")]
            Self::XChaCha20Poly1305 => 2,
        }
    }

    /// The length of its nonces, in bytes.
    pub(super) const fn nonce_len(self) -> usize {
        match self {
            Self::Aes256Gcm => super::nonce::NONCE_LEN,
            #[cfg(feature = "xchacha")]
            Self::XChaCha20Poly1305 => 24,
        }
    }
}

/// The longest nonce of any cipher.
pub(super) const NONCE_LEN_MAX: usize = 24;

/// Keys by their ids. Cloning shares it: a key added to one clone is known to all, in every tier that was shaped with it.
///
/// One key encrypts what is written; every key of the ring reads. A record names its key, so that reading never tries.
///
/// # Rotation
///
/// In a fleet a key must be known everywhere before it is first written with: what names a key that a process does not have is a
/// miss to it, for locks and other atomic changes too.
///
/// 1. [`add`](Self::add) the new key in every process.
/// 2. [`write_with`](Self::write_with) it, process by process.
/// 3. When what the old one wrote has aged away, [`retire`](Self::retire) it: what is left of it is a miss from then on.
///
/// Use a key for nothing else, and in no other cache's ring with another meaning. With AES-256-GCM rotate before a key has seen a
/// million starts of processes; with any cipher, once in a while.
///
/// ```
/// use nanotier_tier::shaping::{KeyId, KeyRing, Secret};
///
/// # fn main() -> nanotier_tier::Result<()> {
/// let ring = KeyRing::new(KeyId(20_260_101), &Secret::generate()?)?;
/// ring.add(KeyId(20_260_701), &Secret::generate()?)?;
/// ring.write_with(KeyId(20_260_701))?;
/// ring.retire(KeyId(20_260_101))?;
/// assert_eq!(ring.ids(), [KeyId(20_260_701)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<Mutex<Keys>>);

struct Keys {
    cipher: Cipher,
    writer: Arc<Key>,
    /// All of them, the writer too.
    all: Vec<Arc<Key>>,
}

impl KeyRing {
    /// The most keys of a ring.
    pub const KEYS_MAX: usize = 256;

    /// A ring of one key, which reads and writes, by AES-256-GCM.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a key of zeros: nobody has set it.
    pub fn new(id: KeyId, secret: &Secret) -> Result<Self> {
        Self::with_cipher(Cipher::default(), id, secret)
    }

    /// The same by a cipher of choice. All keys of the ring are used with it alone; who changes the cipher changes the ring, and
    /// what was written by the old one is a miss.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_cipher(cipher: Cipher, id: KeyId, secret: &Secret) -> Result<Self> {
        let writer = Arc::new(Key::new(cipher, id, secret)?);
        Ok(Self(Arc::new(Mutex::new(Keys { cipher, all: vec![writer.clone()], writer }))))
    }

    /// Adds a key that reads. It writes from [`write_with`](Self::write_with) on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the id is in use, if the key is all zeros, or if the ring has
    /// [`KEYS_MAX`](Self::KEYS_MAX) keys already.
    pub fn add(&self, id: KeyId, secret: &Secret) -> Result<()> {
        let mut keys = self.0.lock();
        if keys.all.iter().any(|key| key.id == id) {
            return Err(config(format!("there is a key {} already", id.0)));
        }
        if keys.all.len() >= Self::KEYS_MAX {
            return Err(config(format!("a ring has at most {} keys", Self::KEYS_MAX)));
        }
        let key = Key::new(keys.cipher, id, secret)?;
        keys.all.push(Arc::new(key));
        Ok(())
    }

    /// Writes with this key from now on. The one that wrote before still reads.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if there is no such key.
    pub fn write_with(&self, id: KeyId) -> Result<()> {
        let mut keys = self.0.lock();
        keys.writer = keys.find(id).ok_or_else(|| config(format!("there is no key {}", id.0)))?;
        Ok(())
    }

    /// Forgets a key: what it has written is a miss from now on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if there is no such key, or if it is the one that writes.
    pub fn retire(&self, id: KeyId) -> Result<()> {
        let mut keys = self.0.lock();
        if keys.writer.id == id {
            return Err(config(format!("key {} is the one that writes", id.0)));
        }
        let before = keys.all.len();
        keys.all.retain(|key| key.id != id);
        if keys.all.len() == before {
            return Err(config(format!("there is no key {}", id.0)));
        }
        Ok(())
    }

    /// The ids of all keys, in the order in which they came.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        self.0.lock().all.iter().map(|key| key.id).collect()
    }

    pub(super) fn cipher(&self) -> Cipher {
        self.0.lock().cipher
    }

    pub(super) fn writer(&self) -> Arc<Key> {
        self.0.lock().writer.clone()
    }

    pub(super) fn find(&self, id: KeyId) -> Option<Arc<Key>> {
        self.0.lock().find(id)
    }
}

impl Keys {
    fn find(&self, id: KeyId) -> Option<Arc<Key>> {
        self.all.iter().find(|key| key.id == id).cloned()
    }
}

fn config(detail: String) -> Error {
    Error::new(ErrorKind::Config, "shaping", "key").with_detail(detail)
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.lock();
        f.debug_struct("KeyRing")
            .field("cipher", &keys.cipher)
            .field("writes", &keys.writer.id.0)
            .field("reads", &keys.all.iter().map(|key| key.id.0).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A key, ready for use.
pub(super) struct Key {
    pub(super) id: KeyId,
    kind: Kind,
}

enum Kind {
    Aes {
        key: Box<LessSafeKey>,
        nonces: Nonces,
    },
    #[cfg(feature = "xchacha")]
    XChaCha(Box<chacha20poly1305::XChaCha20Poly1305>),
}

impl Key {
    fn new(cipher: Cipher, id: KeyId, secret: &Secret) -> Result<Self> {
        if secret.is_blank() {
            return Err(config(format!("key {} is all zeros: nobody has set it", id.0)));
        }
        let kind = match cipher {
            Cipher::Aes256Gcm => {
                let key = UnboundKey::new(&AES_256_GCM, secret.bytes());
                let key = key.map_err(|_| config(format!("key {} is none", id.0)))?;
                Kind::Aes { key: Box::new(LessSafeKey::new(key)), nonces: Nonces::new() }
            }
            #[cfg(feature = "xchacha")]
            Cipher::XChaCha20Poly1305 => {
                use chacha20poly1305::KeyInit;
                Kind::XChaCha(Box::new(chacha20poly1305::XChaCha20Poly1305::new(secret.bytes().into())))
            }
        };
        Ok(Self { id, kind })
    }

    pub(super) fn cipher(&self) -> Cipher {
        match &self.kind {
            Kind::Aes { .. } => Cipher::Aes256Gcm,
            #[cfg(feature = "xchacha")]
            Kind::XChaCha(_) => Cipher::XChaCha20Poly1305,
        }
    }

    /// A nonce that this key has never used, into the front of `nonce`; `process` is the calling one.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub(super) fn draw_nonce(&self, process: u32, nonce: &mut [u8; NONCE_LEN_MAX]) -> Result<()> {
        match &self.kind {
            Kind::Aes { nonces, .. } => {
                let drawn = nonces.next(process)?;
                nonce[..drawn.len()].copy_from_slice(&drawn);
                Ok(())
            }
            #[cfg(feature = "xchacha")]
            Kind::XChaCha(_) => super::secret::fill_with_random(nonce),
        }
    }

    /// Encrypts `bytes` where they are, and answers what authenticates them and `associated`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] beyond what the cipher can do (64 GiB).
    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN_MAX],
        associated: &[u8],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG_LEN]> {
        let too_large = || Error::new(ErrorKind::TooLarge, "shaping", "encrypt");
        match &self.kind {
            Kind::Aes { key, .. } => {
                let tag = key
                    .seal_in_place_separate_tag(aes_nonce(nonce), Aad::from(associated), bytes)
                    .map_err(|_| too_large())?;
                let mut out = [0; TAG_LEN];
                out.copy_from_slice(tag.as_ref());
                Ok(out)
            }
            #[cfg(feature = "xchacha")]
            Kind::XChaCha(key) => {
                use chacha20poly1305::AeadInPlace;
                let tag = key.encrypt_in_place_detached(nonce.into(), associated, bytes);
                Ok(tag.map_err(|_| too_large())?.into())
            }
        }
    }

    /// Decrypts `bytes` where they are if `tag` authenticates them and `associated`. If not they are wiped.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LEN_MAX],
        associated: &[u8],
        bytes: &mut [u8],
        tag: [u8; TAG_LEN],
    ) -> bool {
        let authentic = match &self.kind {
            Kind::Aes { key, .. } => key
                .open_in_place_separate_tag(
                    aes_nonce(nonce),
                    Aad::from(associated),
                    Tag::from(tag),
                    bytes,
                    0..,
                )
                .is_ok(),
            #[cfg(feature = "xchacha")]
            Kind::XChaCha(key) => {
                use chacha20poly1305::AeadInPlace;
                key.decrypt_in_place_detached(nonce.into(), associated, bytes, &tag.into()).is_ok()
            }
        };
        if !authentic {
            // The ciphers do so too, or decrypt only afterwards; here it does not hang on their details.
            zeroize::Zeroize::zeroize(bytes);
        }
        authentic
    }
}

fn aes_nonce(nonce: &[u8; NONCE_LEN_MAX]) -> Nonce {
    let mut bytes = [0; super::nonce::NONCE_LEN];
    bytes.copy_from_slice(&nonce[..super::nonce::NONCE_LEN]);
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciphers() -> Vec<Cipher> {
        vec![
            Cipher::Aes256Gcm,
            #[cfg(feature = "xchacha")]
            Cipher::XChaCha20Poly1305,
        ]
    }

    fn kind(result: Result<()>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn what_fails_its_tag_leaves_no_plaintext() {
        for cipher in ciphers() {
            let key = Key::new(cipher, KeyId(1), &Secret::new([3; 32])).unwrap();
            let mut nonce = [0; NONCE_LEN_MAX];
            key.draw_nonce(1, &mut nonce).unwrap();
            let mut bytes = *b"a secret value, long enough for several blocks of any cipher";
            let tag = key.seal(&nonce, b"associated", &mut bytes).unwrap();
            for broken in 0..TAG_LEN {
                let mut wrong = tag;
                wrong[broken] ^= 1;
                let mut copy = bytes;
                assert!(!key.open(&nonce, b"associated", &mut copy, wrong));
                assert_eq!(copy, [0; 60], "{cipher:?}");
            }
            let mut copy = bytes;
            assert!(!key.open(&nonce, b"associates", &mut copy, tag));
            assert_eq!(copy, [0; 60], "{cipher:?}");
            assert!(key.open(&nonce, b"associated", &mut bytes, tag));
            assert!(bytes.starts_with(b"a secret value"));
        }
    }

    #[test]
    fn a_ring_judges_what_is_done_to_it() {
        let secret = Secret::new([7; 32]);
        assert_eq!(kind(KeyRing::new(KeyId(1), &Secret::new([0; 32])).map(drop)), ErrorKind::Config);
        let ring = KeyRing::new(KeyId(1), &secret).unwrap();
        assert_eq!(kind(ring.add(KeyId(1), &secret)), ErrorKind::Config, "in use");
        assert_eq!(kind(ring.add(KeyId(2), &Secret::new([0; 32]))), ErrorKind::Config, "nobody's key");
        assert_eq!(kind(ring.retire(KeyId(1))), ErrorKind::Config, "it writes");
        assert_eq!(kind(ring.retire(KeyId(2))), ErrorKind::Config, "unknown");
        assert_eq!(kind(ring.write_with(KeyId(2))), ErrorKind::Config, "unknown");
        for id in 2..=256 {
            ring.add(KeyId(id), &secret).unwrap();
        }
        assert_eq!(kind(ring.add(KeyId(257), &secret)), ErrorKind::Config, "full");
        ring.write_with(KeyId(2)).unwrap();
        ring.retire(KeyId(1)).unwrap();
        assert!(ring.find(KeyId(1)).is_none() && ring.writer().id == KeyId(2));
    }
}
