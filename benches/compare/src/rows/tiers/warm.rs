//! A restart from the warm file, against reading and decoding the same bytes, and against filling memory from redb.

use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Instant;

use nanotier::tier::record::Framing;
use nanotier::tier::{Encoded, Fingerprint, Path, Record};
use nanotier::{Bytes, Cache, Inline, Namespace, Raw, RefillLimit, Timestamp, WarmRestart};
use nanotier_redb::RedbStore;

use super::shelf::{ENTRIES, folder, key, value};
use crate::bench::Bench;
use crate::contender::Role;
use crate::judge::Figure;

type Words = Cache<String, Bytes>;

fn open(file: &FilePath) -> Words {
    // Room for all, however they fall on the shards.
    let builder = Cache::builder().namespace("bench").codec(Raw).capacity(ENTRIES * 5 / 4);
    builder.warm_restart(WarmRestart::new(file)).build().expect("a good configuration")
}

fn word(number: u64) -> String {
    String::from_utf8_lossy(&key(number)).into_owned()
}

/// The same records, one after the other in one file: read, and decoded into a list.
fn read_and_decode(file: &FilePath, namespace: &Namespace) -> usize {
    let framing = Framing::default();
    let bytes = Bytes::from(fs::read(file).expect("it was written"));
    let len = bytes.len() / ENTRIES as usize;
    let read = (0..ENTRIES).map(|number| {
        let key = word(number);
        let at = number as usize * len;
        let path = Path::new(namespace, key.as_bytes());
        let (entry, _) = framing.decode(&path, &bytes.slice(at..at + len)).expect("it is whole");
        (key.clone(), entry)
    });
    read.collect::<Vec<_>>().len()
}

pub(super) fn restart(bench: &mut Bench) {
    let folder = folder();
    let (warm, raw) = (folder.path().join("bench.warm"), folder.path().join("raw"));
    let namespace = Namespace::new("bench").expect("a name");
    let framed = (0..ENTRIES).flat_map(|number| {
        let value = Encoded::new(Bytes::copy_from_slice(&value(number)), Fingerprint(1));
        let record = Record::new(value, Timestamp::from_millis(1_700_000_000_000));
        let key = word(number);
        let path = Path::new(&namespace, key.as_bytes());
        let framed = Framing::default().encode(&path, Some(&record), record.version, record.written_at);
        framed.expect("it fits")
    });
    fs::write(&raw, framed.collect::<Vec<u8>>()).expect("the disk takes it");

    let first = open(&warm);
    (0..ENTRIES).for_each(|number| {
        first.insert(word(number), Bytes::copy_from_slice(&value(number))).wait().expect("open");
    });
    first.close().wait().expect("the disk takes it");
    drop(first);

    let store = Arc::new(RedbStore::open(folder.path().join("bench.redb")).expect("a new store"));
    let over = || -> Words {
        let builder = Cache::builder().namespace("bench").codec(Raw).capacity(ENTRIES * 5 / 4);
        builder.tiers(Inline(store.clone())).build().expect("a good configuration")
    };
    let filled = over();
    let numbers: Vec<u64> = (0..ENTRIES).collect();
    for some in numbers.chunks(1000) {
        let entries = some.iter().map(|&number| (word(number), Bytes::copy_from_slice(&value(number))));
        filled.insert_many(entries.collect::<Vec<_>>()).wait().expect("open");
    }

    let (mut restarts, mut reads, mut refills) = (Vec::new(), Vec::new(), Vec::new());
    let timed = |times: &mut Vec<f64>, work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    };
    for round in 0..bench.rounds {
        bench.progress.say("warm-restart", "", round + 1, bench.rounds);
        let mut cache = None;
        timed(&mut restarts, &mut || cache = Some(open(&warm)));
        let cache = cache.expect("it was opened");
        assert_eq!(cache.warmth().map(|warmth| warmth.loaded), Some(ENTRIES), "all came back");
        timed(&mut reads, &mut || assert_eq!(read_and_decode(&raw, &namespace), ENTRIES as usize));
        timed(&mut refills, &mut || {
            let refilled = over().refill(RefillLimit::NONE).wait().expect("redb answers");
            assert_eq!(refilled.admitted, ENTRIES, "all came back");
        });
        cache.close().wait().expect("the disk takes it");
    }
    let figure = |name, role, times: &[f64], note| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        Figure { name, role, value: times.get(times.len() / 2).copied(), residents: None, note }
    };
    let figures = [
        figure("nanotier", Role::Ours, &restarts, "100,000 entries of 256 bytes"),
        figure("read and decode", Role::Bound, &reads, ""),
        figure("refill from redb", Role::Bound, &refills, ""),
    ];
    bench.figures("warm-restart", "ms", &figures);
}
