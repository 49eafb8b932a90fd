//! Whatever bytes lie where a segment of the file store's log should be: opening it never panics and takes no more memory than a
//! few times their length. It opens or says that it is damaged; what opens works, and opens again.
//!
//! Bytes alone seldom get past the checksums. So each input is also tried with the header and the first batch's checksums
//! mended.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use nanotier_file::{FileStore, OnDamage};
use nanotier_tier::{
    Bytes, Encoded, ErrorKind, Fingerprint, Intent, Namespace, PageRequest, Path, Record, Store, Timestamp,
    Version, Write,
};

const SEGMENT: &str = "nanotier-0000000000000001.log";
const CONTROL: &str = "nanotier.control";
const SEGMENT_HEADER_LEN: usize = 64;
const BATCH_HEADER_LEN: usize = 40;

/// A store that was not closed, with one record: its control file and its segment.
fn template() -> &'static (Vec<u8>, Vec<u8>) {
    static TEMPLATE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = place().join("template");
        let _ = fs::remove_dir_all(&folder);
        let store = FileStore::open(&folder).expect("a new store");
        let control = fs::read(folder.join(CONTROL)).expect("the control file");
        put(&store, b"template");
        (control, fs::read(folder.join(SEGMENT)).expect("the segment"))
    })
}

fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let place = place.join(format!("nanotier-fuzz-{}", std::process::id()));
    fs::create_dir_all(&place).expect("a folder for temporary files");
    place
}

fn put(store: &FileStore, value: &'static [u8]) {
    let space = Namespace::new("fuzz").expect("a good name");
    let value = Encoded::new(Bytes::from_static(value), Fingerprint(0));
    let now = Timestamp::from_millis(1);
    let record = Record { version: Version::from_parts(u64::MAX, 1), ..Record::new(value, now) };
    let _ = store.write(&[Write::put(Path::new(&space, &b"k"[..]), &record)]).map(drop);
}

fuzz_target!(|bytes: &[u8]| {
    let (control, whole) = template();
    let header = &whole[..SEGMENT_HEADER_LEN];
    check(control, bytes);
    check(control, &[header, bytes].concat());
    check(control, &[header, &mended(bytes)].concat());
    check(control, &[whole, bytes].concat());
});

/// The same bytes as a batch whose magic, place in the chain and checksums are right.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let heads_len = bytes.first().map_or(0, |first| usize::from(*first)).min(bytes.len());
    let (heads, values) = bytes.split_at(heads_len);
    let mut batch = Vec::with_capacity(BATCH_HEADER_LEN + bytes.len());
    batch.extend(b"nTb\x93");
    batch.extend([0; 4]);
    batch.extend(1_u64.to_le_bytes());
    batch.extend((values.len() as u64).to_le_bytes());
    batch.extend(u32::try_from(heads_len).expect("a byte").to_le_bytes());
    batch.extend(crc32c(values).to_le_bytes());
    batch.extend([0; 8]);
    batch.extend(heads);
    let sum = crc32c(&batch[8..]);
    batch[4..8].copy_from_slice(&sum.to_le_bytes());
    batch.extend(values);
    batch
}

fn check(control: &[u8], segment: &[u8]) {
    let folder = place().join("store");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join(CONTROL), control).expect("the control file");
    fs::write(folder.join(SEGMENT), segment).expect("the segment");
    let store = match FileStore::open(&folder) {
        Ok(store) => store,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            FileStore::builder(&folder).on_damage(OnDamage::StartCold).build().expect("a cold start")
        }
    };
    let space = Namespace::new("fuzz").expect("a good name");
    let read = |store: &FileStore| store.read(&[Path::new(&space, &b"k"[..])], Intent::Look).expect("a read").remove(0);
    let _ = read(&store);
    let _ = store.list(&space, &PageRequest::default());
    put(&store, b"new");
    let before = read(&store);
    store.compact().expect("compaction");
    store.close().expect("closing");
    let after = read(&FileStore::open(&folder).expect("opening what was closed"));
    // A floor that makes no sense is an error until it is cleared: the same before and after.
    match (before, after) {
        (Ok(before), Ok(after)) => assert_eq!(before.entry, after.entry),
        (before, after) => assert_eq!(before.is_err(), after.is_err()),
    }
}

/// Bit by bit: the slow obvious twin of the one that the store uses.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}
