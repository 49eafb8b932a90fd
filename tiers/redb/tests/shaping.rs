//! Values compressed and encrypted on their way into the file.

mod common;

use std::path::Path as FilePath;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nanotier_redb::{Durability, RedbStore};
use nanotier_tier::conformance::{Subject, run_all};
use nanotier_tier::shaping::{Compression, KeyId, KeyRing, Secret, Shaped, ShapedStore, Shaping};
use nanotier_tier::waiting::block_on;
use nanotier_tier::{
    Bytes, Clock, Context, Encoded, Entry, Fingerprint, Inline, Intent, Namespace, Offload, Path, Record,
    Store, Tier, Version, Write, Wrote,
};

fn ring() -> KeyRing {
    KeyRing::new(KeyId(1), &Secret::new([1; 32])).unwrap()
}

fn open(file: &FilePath) -> RedbStore {
    // Durability is another file's business: many small commits would only take their time here.
    let durability = Durability::Async { loss_window: Duration::from_millis(50) };
    RedbStore::builder(file).durability(durability).sweep_interval(Duration::from_secs(3600)).build().unwrap()
}

fn keeps_the_contract(shaping: Shaping) {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hands) = Clock::manual();
    let made = AtomicUsize::new(0);
    let place = folder.path().to_owned();
    let again = shaping.clone();
    let fresh = move || {
        open(&place.join(format!("{}.redb", made.fetch_add(1, Relaxed)))).inline().shaped(shaping.clone())
    };
    let reopen =
        move |tier: Shaped<Inline<RedbStore>>| open(tier.inner().0.path()).inline().shaped(again.clone());
    let subject = Subject::new(clock, fresh).with_hands(hands).with_reopen(reopen).with_shaped_values();
    let report = run_all(&subject);
    assert_eq!(report.skipped, [("what_keeps_nothing_says_yes", "it keeps what it is given")]);
}

#[test]
fn a_store_of_compressed_values_keeps_the_contract() {
    keeps_the_contract(Shaping::builder().compress(Compression::Lz4).compress_from(0).build().unwrap());
}

#[test]
fn a_store_of_compressed_and_encrypted_values_keeps_the_contract() {
    let zstd = Compression::Zstd { level: 1 };
    keeps_the_contract(Shaping::builder().compress(zstd).encrypt(ring()).build().unwrap());
}

#[test]
fn a_shaped_store_on_threads_of_its_own_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hands) = Clock::manual();
    let made = AtomicUsize::new(0);
    let place = folder.path().to_owned();
    let shaping = Shaping::builder().compress(Compression::Lz4).encrypt(ring()).build().unwrap();
    let fresh = move || {
        let store = open(&place.join(format!("{}.redb", made.fetch_add(1, Relaxed))));
        Offload::<ShapedStore<RedbStore>>::new(store.shaped(shaping.clone()), 2, 1024).unwrap()
    };
    run_all(&Subject::new(clock, fresh).with_hands(hands).with_shaped_values());
}

/// Nothing of a value is in the file, and the key that it was written with brings it back; no other does, and none removes it.
#[test]
fn what_is_in_the_file_is_of_no_use_without_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.redb");
    let (clock, _hands) = Clock::manual();
    let context = Context::new(clock.clone(), 1);
    let namespace = Namespace::new("secrets").unwrap();
    let path = Path::new(&namespace, &b"k"[..]);
    let canary = Bytes::from_static(b"CANARY tweet tweet, a value that nobody else is to read");
    let value = Encoded::new(canary.clone(), Fingerprint(1));
    let record = Record { version: Version::from_parts(1 << 40, 1), ..Record::new(value, clock.wall()) };

    let tier_with = |keys| {
        let tier = open(&file).inline().shaped(Shaping::builder().encrypt(keys).build().unwrap());
        tier.attach(&context);
        tier
    };
    let tier = tier_with(ring());
    assert_eq!(block_on(tier.write_one(&Write::put(path.borrowed(), &record))).unwrap(), Wrote::Done);
    block_on(tier.close()).unwrap();
    drop(tier);
    let bytes = std::fs::read(&file).unwrap();
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(contains(b"nTr\x93") && !contains(b"CANARY") && !contains(b"tweet"));
    assert!(!contains(&[1; 32]), "nor is the key");

    let stranger = tier_with(KeyRing::new(KeyId(1), &Secret::new([2; 32])).unwrap());
    let found = block_on(stranger.read_one(&path, Intent::Look)).unwrap();
    assert_eq!(found.entry, Entry::Absent);
    stranger.inner().0.sweep().unwrap();
    block_on(stranger.close()).unwrap();
    drop(stranger);
    let found = block_on(tier_with(ring()).read_one(&path, Intent::Look)).unwrap();
    assert_eq!(found.entry.record().map(|record| record.value.bytes.clone()), Some(canary));
}
