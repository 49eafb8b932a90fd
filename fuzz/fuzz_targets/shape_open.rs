//! Whatever bytes a record brings: opening them never panics, never yields more than was promised, never allocates beyond the limit,
//! and where encryption is on never yields anything that was not sealed for this very record. What is shaped is opened again.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use nanotier_tier::shaping::{Cipher, Compression, KeyId, KeyRing, Secret, Shaping};
use nanotier_tier::{COUNTER, Encoded, Fingerprint, Namespace, Path, Record, Shape, Timestamp, Version};

const VALUE_LEN_MAX: usize = 1 << 20;

#[derive(Arbitrary, Debug)]
struct Input {
    compressed: bool,
    encrypted: bool,
    fingerprint: u64,
    /// A prefix of our own before the bytes: they alone seldom have a good one.
    prefix: Option<(u8, u8, u32)>,
    /// A bit that is changed in what was shaped honestly.
    flip: Option<(u16, u8)>,
    bytes: Vec<u8>,
}

/// The ways of shaping; the last two are strict.
fn shapings() -> &'static [Shaping] {
    static SHAPINGS: OnceLock<Vec<Shaping>> = OnceLock::new();
    SHAPINGS.get_or_init(|| {
        let ring =
            |cipher| KeyRing::with_cipher(cipher, KeyId(1), &Secret::new([7; 32])).expect("a good key");
        let with = |compression| Shaping::builder().compress(compression).value_len_max(VALUE_LEN_MAX);
        [
            with(Compression::Lz4),
            with(Compression::Zstd { level: 1 }),
            with(Compression::Gzip { level: 1 }),
            with(Compression::Lz4).encrypt(ring(Cipher::Aes256Gcm)),
            with(Compression::Zstd { level: 1 }).encrypt(ring(Cipher::XChaCha20Poly1305)),
        ]
        .map(|builder| builder.build().expect("a good shaping"))
        .into()
    })
}

fuzz_target!(|input: Input| {
    let namespace = Namespace::new("fuzz").expect("a good name");
    let path = Path::new(&namespace, &b"key"[..]);
    let mut bytes = Vec::new();
    if let Some((compression, cipher, logical_len)) = input.prefix {
        bytes.extend_from_slice(&[compression % 5, cipher % 4, 0, 0, u8::from(cipher % 4 != 0), 0, 0, 0]);
        bytes.extend_from_slice(&(logical_len % (2 << 20)).to_le_bytes());
    }
    bytes.extend_from_slice(&input.bytes);
    let shape = Shape { compressed: input.compressed, encrypted: input.encrypted };
    let value = Encoded { shape, ..Encoded::new(bytes, Fingerprint(input.fingerprint)) };
    let version = Version::from_parts(1 << 30, 1);
    let stored = Record { version, ..Record::new(value, Timestamp::from_millis(1)) };
    let plain = Record { value: Encoded::new(input.bytes, Fingerprint(input.fingerprint)), ..stored.clone() };

    for shaping in shapings() {
        if let Ok(opened) = shaping.open(&path, stored.clone()) {
            assert!(opened.value.shape.is_plain() && opened.value.bytes.len() <= VALUE_LEN_MAX);
            assert!(!shaping.encrypts() || opened.value.fingerprint == COUNTER, "forged");
        }
        let mut shaped = shaping.shape(&path, &plain).expect("within the limits");
        assert_eq!(shaping.open(&path, shaped.clone()).as_ref(), Ok(&plain));
        let Some((at, mask)) = input.flip.filter(|(_, mask)| *mask != 0) else { continue };
        let mut bytes = shaped.value.bytes.to_vec();
        if bytes.is_empty() {
            continue;
        }
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= mask;
        shaped.value.bytes = bytes.into();
        let opened = shaping.open(&path, shaped);
        assert!(
            opened.is_err() || !shaping.encrypts() || plain.value.fingerprint == COUNTER,
            "tampered with"
        );
    }
});
