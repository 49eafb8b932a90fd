//! What a restart costs by its ways, for 100 000 entries of 256 bytes: the warm file; the same bytes read and decoded and
//! put nowhere, the least that can be; refilled from redb; asked of redb one by one. And writing the file.

use std::fs;
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use nanotier::{Bytes, Cache, Raw, RefillLimit, WarmEnd, WarmRestart};
use nanotier_redb::{Durability, RedbStore};
use nanotier_tier::record::Framing;
use nanotier_tier::{Namespace, Path};

const ENTRIES: u64 = 100_000;
const VALUE_LEN: usize = 256;
const HEADER_LEN: usize = 60;
const FOOTER_LEN: usize = 28;

type Words = Cache<String, Bytes>;

fn key(n: u64) -> String {
    format!("user:{n:0>27}")
}

fn open(folder: &FilePath) -> Words {
    let warm = WarmRestart::new(folder.join("bench.warm"));
    // Room for all, however they fall on the shards.
    let builder = Cache::builder().namespace("bench").codec(Raw).capacity(ENTRIES * 5 / 4);
    builder.warm_restart(warm).build().expect("a good configuration")
}

fn over(store: RedbStore) -> Words {
    let builder = Cache::builder().namespace("bench").codec(Raw).capacity(ENTRIES * 5 / 4);
    builder.tiers(store.inline()).build().expect("a good configuration")
}

fn entries() -> impl Iterator<Item = (String, Bytes)> {
    (0..ENTRIES).map(|n| (key(n), Bytes::from(vec![n.to_le_bytes()[0]; VALUE_LEN])))
}

/// What stands in the file, as the least that must be done to have it.
fn read_and_decode(file: &FilePath) -> Vec<(String, Bytes)> {
    let namespace = Namespace::new("bench").expect("a good name");
    let framing = Framing::default();
    let bytes = fs::read(file).expect("it was written");
    let mut rest = &bytes[HEADER_LEN..bytes.len() - FOOTER_LEN];
    let mut read = Vec::new();
    while let Some((lengths, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *lengths;
        let (key_len, record_len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let (key, after) = after.split_at(key_len as usize);
        let (record, after) = after.split_at(record_len as usize);
        let path = Path::new(&namespace, key);
        let (entry, _) = framing.decode(&path, &Bytes::copy_from_slice(record)).expect("it is whole");
        let value = entry.record().expect("no tombstone").value.bytes.clone();
        read.push((String::from_utf8(key.to_vec()).expect("text"), value));
        rest = after;
    }
    read
}

fn warm(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let file = folder.path().join("bench.warm");
    let (kept, mark) = (folder.path().join("kept"), folder.path().join("bench.warm.nanotier-run"));
    let kept_mark = folder.path().join("kept-mark");
    let cache = open(folder.path());
    entries().for_each(|(key, value)| cache.insert(key, value).wait().expect("open"));
    cache.close().wait().expect("the disk takes it");
    drop(cache);
    fs::copy(&file, &kept).expect("room for two");
    fs::copy(&mark, &kept_mark).expect("room for two");

    let path = folder.path().join("bench.redb");
    let later = Durability::Async { loss_window: Duration::from_secs(10) };
    let store = || RedbStore::builder(&path).durability(later).build().expect("a file of ours");
    let cache = over(store());
    for from in (0..ENTRIES).step_by(1000) {
        let batch = entries().skip(usize::try_from(from).expect("small")).take(1000);
        assert!(cache.insert_many(batch).wait().expect("open").iter().all(Result::is_ok));
    }
    cache.close().wait().expect("the disk takes it");
    drop(cache);

    let mut group = criterion.benchmark_group("warm");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    let timed = |times: u64, mut once: Box<dyn FnMut() -> Duration + '_>| (0..times).map(|_| once()).sum();
    group.bench_function("restart", |bencher| {
        bencher.iter_custom(|times| {
            timed(
                times,
                Box::new(|| {
                    fs::copy(&kept, &file).expect("room for two");
                    fs::copy(&kept_mark, &mark).expect("room for two");
                    let begun = Instant::now();
                    let cache = open(folder.path());
                    let took = begun.elapsed();
                    let warmth = cache.warmth().expect("asked for");
                    assert_eq!((warmth.loaded, &warmth.end), (ENTRIES, &WarmEnd::Complete));
                    took
                }),
            )
        });
    });
    group.bench_function("read and decode", |bencher| {
        bencher.iter_custom(|times| {
            timed(
                times,
                Box::new(|| {
                    let begun = Instant::now();
                    let read = read_and_decode(&kept);
                    let took = begun.elapsed();
                    assert_eq!(read.len() as u64, ENTRIES);
                    took
                }),
            )
        });
    });
    group.bench_function("refill from redb", |bencher| {
        bencher.iter_custom(|times| {
            timed(
                times,
                Box::new(|| {
                    let begun = Instant::now();
                    let cache = over(store());
                    let refilled = cache.refill(RefillLimit::NONE).wait().expect("redb lists");
                    let took = begun.elapsed();
                    assert_eq!(refilled.admitted, ENTRIES);
                    took
                }),
            )
        });
    });
    group.bench_function("ask redb one by one", |bencher| {
        bencher.iter_custom(|times| {
            timed(
                times,
                Box::new(|| {
                    let begun = Instant::now();
                    let cache = over(store());
                    for n in 0..ENTRIES {
                        assert!(cache.get(key(n).as_str()).wait().expect("redb answers").is_some());
                    }
                    begun.elapsed()
                }),
            )
        });
    });
    group.bench_function("close", |bencher| {
        bencher.iter_custom(|times| {
            timed(
                times,
                Box::new(|| {
                    fs::copy(&kept, &file).expect("room for two");
                    fs::copy(&kept_mark, &mark).expect("room for two");
                    let cache = open(folder.path());
                    let begun = Instant::now();
                    cache.close().wait().expect("the disk takes it");
                    begun.elapsed()
                }),
            )
        });
    });
    group.finish();
}

criterion_group!(benches, warm);
criterion_main!(benches);
