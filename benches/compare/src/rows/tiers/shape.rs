//! Shaping against what it is made of: one value of 1 KiB into its stored form, and out of it.

use std::hint::black_box;

use nanotier::shaping::{Compression, KeyId, KeyRing, Secret, Shaping};
use nanotier::tier::{Encoded, Fingerprint, Path, Record};
use nanotier::{Bytes, Namespace, Timestamp};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::bench::Bench;
use crate::crew::Turn;
use crate::race::{Race, Racer};

const LEN: usize = 1024;
const TAG_LEN: usize = 16;

/// JSON as services store it.
fn text() -> Bytes {
    let mut text = String::new();
    for number in 1.. {
        text += &format!(
            r#"{{"id":{number},"name":"user {number}","mail":"user{}@example.org","active":true,"score":{}}},"#,
            number * 7919,
            number * 104_729 % 1000
        );
        if text.len() >= LEN {
            break;
        }
    }
    text.truncate(LEN);
    text.into()
}

fn record() -> Record {
    Record::new(Encoded::new(text(), Fingerprint(1)), Timestamp::from_millis(1_700_000_000_000))
}

fn namespace() -> Namespace {
    Namespace::new("bench").expect("a name")
}

fn into(shaping: Shaping) -> Racer {
    let (namespace, record) = (namespace(), record());
    Racer::bare("nanotier", move |turn: Turn| {
        let path = Path::new(&namespace, &b"user:1"[..]);
        for _ in 0..turn.ops {
            black_box(shaping.shape(&path, black_box(&record)).expect("it fits"));
        }
        turn.ops
    })
}

fn out_of(shaping: Shaping) -> Racer {
    let namespace = namespace();
    let path = Path::new(&namespace, &b"user:1"[..]);
    let shaped = shaping.shape(&path, &record()).expect("it fits");
    let namespace = namespace.clone();
    Racer::bare("nanotier", move |turn: Turn| {
        let path = Path::new(&namespace, &b"user:1"[..]);
        for _ in 0..turn.ops {
            let opened = shaping.open(&path, black_box(&shaped).clone());
            assert!(black_box(opened).is_ok(), "it is what was shaped");
        }
        turn.ops
    })
}

/// lz4 into a new buffer, and, where there is a key, sealed in place.
fn parts_into(key: Option<LessSafeKey>) -> Racer {
    let text = text();
    let lap = move |turn: Turn| {
        for nth in 0..turn.ops {
            let room = lz4_flex::block::get_maximum_output_size(text.len()) + TAG_LEN;
            let mut out = vec![0; room];
            let len = lz4_flex::block::compress_into(black_box(&text), &mut out).expect("it fits");
            out.truncate(len);
            if let Some(key) = &key {
                seal(key, nth, &mut out);
            }
            black_box(out);
        }
        turn.ops
    };
    Racer::bare("parts", lap).bound()
}

fn parts_out_of(key: Option<LessSafeKey>) -> Racer {
    let mut packed = lz4_flex::block::compress(&text());
    if let Some(key) = &key {
        seal(key, 1, &mut packed);
    }
    let lap = move |turn: Turn| {
        for _ in 0..turn.ops {
            let mut scratch = black_box(&packed).clone();
            let packed = match &key {
                Some(key) => &*key.open_in_place(nonce(1), Aad::empty(), &mut scratch).expect("it is whole"),
                None => &scratch[..],
            };
            let mut out = vec![0; LEN];
            lz4_flex::block::decompress_into(packed, &mut out).expect("it is whole");
            black_box(out);
        }
        turn.ops
    };
    Racer::bare("parts", lap).bound()
}

fn seal(key: &LessSafeKey, nth: u64, bytes: &mut Vec<u8>) {
    key.seal_in_place_append_tag(nonce(nth), Aad::empty(), bytes).expect("it fits");
}

fn nonce(nth: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&nth.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"))
}

fn compressed() -> Shaping {
    Shaping::builder().compress(Compression::Lz4).build().expect("options that work")
}

fn sealed() -> Shaping {
    let keys = KeyRing::new(KeyId(1), &Secret::new([7; 32])).expect("a key");
    Shaping::builder().compress(Compression::Lz4).encrypt(keys).build().expect("options that work")
}

fn both_ways(
    bench: &mut Bench,
    id: &'static str,
    shaping: fn() -> Shaping,
    key: fn() -> Option<LessSafeKey>,
) {
    let mut race = Race::new(bench, id, 50_000).variant("in");
    race.enter(into(shaping()));
    race.enter(parts_into(key()));
    race.run();
    let mut race = Race::new(bench, id, 50_000).variant("out");
    race.enter(out_of(shaping()));
    race.enter(parts_out_of(key()));
    race.run();
}

pub(super) fn lz4(bench: &mut Bench) {
    both_ways(bench, "shape-lz4", compressed, || None);
}

pub(super) fn aead(bench: &mut Bench) {
    both_ways(bench, "shape-aead", sealed, || Some(key()));
}
