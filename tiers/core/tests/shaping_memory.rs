//! What shaping allocates: little for honest values, and nothing on the word of a forged length.

use nanotier_counting::{CountingAllocator, bytes_in_use, bytes_peak, count_allocations, forget_peak};
use nanotier_tier::shaping::{Compression, KeyId, KeyRing, Refused, Secret, Shaping};
use nanotier_tier::{Bytes, Encoded, Fingerprint, Namespace, Path, Record, Shape, Timestamp};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MIB: usize = 1024 * 1024;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;
const GZIP: u8 = 3;

fn shaping(value_len_max: usize) -> Shaping {
    Shaping::builder().compress(Compression::Lz4).value_len_max(value_len_max).build().unwrap()
}

/// A compressed value as somebody would forge it, who says it becomes `logical_len` bytes.
fn forged(code: u8, body: &[u8], logical_len: usize) -> Record {
    let mut bytes = vec![code, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&u32::try_from(logical_len).unwrap().to_le_bytes());
    bytes.extend_from_slice(body);
    let shape = Shape { compressed: true, encrypted: false };
    let value = Encoded { shape, ..Encoded::new(bytes, Fingerprint(1)) };
    Record::new(value, Timestamp::from_millis(1))
}

/// A block of LZ4 that becomes about `len` bytes: one literal, and one match that goes on and on.
fn lz4_bomb(len: usize) -> Vec<u8> {
    let mut block = vec![0x1f, b'a', 1, 0];
    block.resize(4 + len / 255, 255);
    block.extend_from_slice(&[0, 0x50, b'a', b'a', b'a', b'a', b'a']);
    block
}

/// A frame of zstd: blocks of 128 KiB that repeat one byte.
fn zstd_bomb(len: usize) -> Vec<u8> {
    const BLOCK: usize = 128 * 1024;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    let count = len / BLOCK;
    for n in 0..count {
        let header = u32::from(n + 1 == count) | (1 << 1) | (u32::try_from(BLOCK).unwrap() << 3);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'a');
    }
    frame
}

/// A member of gzip. Made by compressing zeros, so not too many of them.
fn gzip_bomb(len: usize) -> Vec<u8> {
    let shaping = Shaping::builder().compress(Compression::Gzip { level: 1 }).build().unwrap();
    let namespace = Namespace::new("bombs").unwrap();
    let record = Record::new(Encoded::new(vec![0; len], Fingerprint(1)), Timestamp::from_millis(1));
    let stored = shaping.shape(&Path::new(&namespace, &b"k"[..]), &record).unwrap();
    stored.value.bytes[12..].to_vec()
}

/// Opens it and answers how many bytes were allocated at most meanwhile.
fn peak_of(shaping: &Shaping, record: Record) -> (Result<Record, Refused>, usize) {
    let namespace = Namespace::new("bombs").unwrap();
    let path = Path::new(&namespace, &b"k"[..]);
    forget_peak();
    let before = bytes_in_use();
    let opened = shaping.open(&path, record);
    (opened, usize::try_from(bytes_peak() - before).unwrap_or(0))
}

/// One test: what threads allocate at the same time would be counted too.
#[test]
fn memory_is_bounded_whatever_is_stored() {
    bombs_are_refused_before_they_are_unpacked();
    a_seal_is_proved_before_its_promise_is_allocated();
    a_value_of_a_kibibyte_allocates_once_on_each_way();
}

fn bombs_are_refused_before_they_are_unpacked() {
    let slack = 200 * 1024;
    for (code, bomb, len) in [
        (LZ4, lz4_bomb(1024 * MIB), 1024 * MIB),
        (ZSTD, zstd_bomb(1024 * MIB), 1024 * MIB),
        (LZ4, lz4_bomb(10 * MIB), 10 * MIB),
        (ZSTD, zstd_bomb(10 * MIB), 10 * MIB),
        (GZIP, gzip_bomb(4 * MIB), 4 * MIB),
    ] {
        // Honest about its length, and beyond the limit.
        let (opened, peak) = peak_of(&shaping(MIB), forged(code, &bomb, len));
        assert_eq!((opened, peak), (Err(Refused::TooLarge), 0), "{code}");
        // It says that it is within the limit, and is not: what is unpacked ends there.
        if bomb.len() < MIB {
            let (opened, peak) = peak_of(&shaping(MIB), forged(code, &bomb, MIB));
            assert_eq!(opened, Err(Refused::Malformed), "{code}");
            assert!(peak <= MIB + slack, "{code}: {peak} bytes");
        }
        // It says that it is longer than it is.
        let (opened, peak) =
            peak_of(&shaping(2048 * MIB), forged(code, &bomb[..100.min(bomb.len() / 2)], 1024 * MIB));
        assert_eq!((opened, peak), (Err(Refused::Malformed), 0), "{code}");
    }
    // The bombs do go off: this is what they are.
    let (opened, _) = peak_of(&shaping(16 * MIB), forged(ZSTD, &zstd_bomb(10 * MIB), 10 * MIB));
    assert_eq!(opened.unwrap().value.bytes.len(), 10 * MIB);
    let bomb = lz4_bomb(MIB);
    let lens =
        (MIB - 600..MIB + 600).filter(|len| peak_of(&shaping(16 * MIB), forged(LZ4, &bomb, *len)).0.is_ok());
    assert_eq!(lens.count(), 1, "it has one length");
}

fn a_seal_is_proved_before_its_promise_is_allocated() {
    let ring = KeyRing::new(KeyId(1), &Secret::new([9; 32])).unwrap();
    let sealing = Shaping::builder().compress(Compression::Zstd { level: 1 }).encrypt(ring).build().unwrap();
    let namespace = Namespace::new("bombs").unwrap();
    let path = Path::new(&namespace, &b"k"[..]);
    let honest = Record::new(Encoded::new(vec![0; 64 * MIB], Fingerprint(1)), Timestamp::from_millis(1));
    let stored = sealing.shape(&path, &honest).unwrap();
    assert!(stored.value.bytes.len() < 16 * 1024);
    let mut bytes = stored.value.bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let tampered = Record { value: Encoded { bytes: Bytes::from(bytes), ..stored.value.clone() }, ..stored };
    let (opened, peak) = peak_of(&sealing, tampered);
    assert_eq!(opened, Err(Refused::Forged));
    assert!(peak < 64 * 1024, "{peak} bytes");
}

fn a_value_of_a_kibibyte_allocates_once_on_each_way() {
    let ring = KeyRing::new(KeyId(1), &Secret::new([9; 32])).unwrap();
    let namespace = Namespace::new("kibibyte").unwrap();
    let path = Path::new(&namespace, &b"a key of some length"[..]);
    let value: String =
        (0..1024 / 32).map(|n| format!("{{\"id\": {n:>8}, \"name\": \"u{n:>4}\"}}")).collect();
    let record = Record::new(Encoded::new(value, Fingerprint(1)), Timestamp::from_millis(1));
    for builder in [
        Shaping::builder().compress(Compression::Lz4).encrypt(ring.clone()),
        Shaping::builder().compress(Compression::Zstd { level: 1 }).encrypt(ring.clone()),
        Shaping::builder().compress(Compression::Lz4),
        Shaping::builder().encrypt(ring.clone()),
    ] {
        let shaping = builder.build().unwrap();
        // The thread's buffers are there from the first one on.
        for _ in 0..2 {
            drop(shaping.open(&path, shaping.shape(&path, &record).unwrap()));
        }
        let (stored, allocations) = count_allocations(|| shaping.shape(&path, &record).unwrap());
        assert_eq!(allocations, 1, "in: {shaping:?}");
        let (opened, allocations) = count_allocations(|| shaping.open(&path, stored).unwrap());
        assert_eq!(allocations, 1, "out: {shaping:?}");
        assert_eq!(opened, record);
    }
}
