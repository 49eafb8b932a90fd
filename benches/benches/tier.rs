//! What the embedded durable tier costs by itself: a get out of 100 000 records, a put that is on disk when it returns, a
//! put that is not yet, and puts in one batch.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use nanotier_redb::{Durability, RedbStore};
use nanotier_tier::{
    Bytes, Encoded, Fingerprint, Intent, Namespace, Path, Record, Store, Version, Write, Wrote,
};

const RECORDS: u64 = 100_000;
const BATCH: u64 = 100;
const VALUE_LEN: usize = 256;

/// Draws versions that rise, at the present moment.
struct Source {
    namespace: Namespace,
    hlc: u64,
}

impl Source {
    fn new() -> Self {
        Self { namespace: Namespace::new("bench").expect("a good name"), hlc: 1 << 40 }
    }

    fn record(&mut self) -> Record {
        self.hlc += 1;
        let now = nanotier_tier::Clock::coarse().wall();
        // Never the same bytes twice: a store could see that nothing changes.
        let mut value = self.hlc.to_le_bytes().to_vec();
        value.resize(VALUE_LEN, 7);
        let value = Encoded::new(Bytes::from(value), Fingerprint(1));
        Record { version: Version::from_parts(self.hlc, 7), ..Record::new(value, now) }
    }

    fn path(&self, n: u64) -> Path<'_> {
        Path::new(&self.namespace, format!("user:{:0>27}", n * 7_919 % RECORDS).into_bytes())
    }

    fn put(&mut self, store: &RedbStore, from: u64, count: u64) {
        let records: Vec<Record> = (0..count).map(|_| self.record()).collect();
        let writes: Vec<Write<'_>> =
            (from..).zip(&records).map(|(n, record)| Write::put(self.path(n), record)).collect();
        for answer in store.write(&writes).expect("the disk takes it") {
            assert_eq!(answer.ok(), Some(Wrote::Done));
        }
    }
}

fn tier(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut source = Source::new();
    let open = |name: &str, durability| {
        RedbStore::builder(folder.path().join(name)).durability(durability).build().expect("a new file")
    };
    let later = Durability::Async { loss_window: Duration::from_secs(10) };
    let mut group = criterion.benchmark_group("tier/redb");

    let store = open("filled", later);
    (0..RECORDS / 1_000).for_each(|nth| source.put(&store, nth * 1_000, 1_000));
    let mut n = 0;
    group.bench_function("get", |b| {
        b.iter(|| {
            n += 1;
            black_box(store.read(&[source.path(n)], Intent::Look))
        });
    });
    group.bench_function("get_batch_100", |b| {
        b.iter(|| {
            n += BATCH;
            let paths: Vec<Path<'_>> = (n..n + BATCH).map(|n| source.path(n)).collect();
            black_box(store.read(&paths, Intent::Look))
        });
    });
    group.bench_function("put_async", |b| {
        b.iter(|| {
            n += 1;
            source.put(&store, n, 1);
        });
    });
    let store = open("durable", Durability::Sync);
    group.bench_function("put_sync", |b| {
        b.iter(|| {
            n += 1;
            source.put(&store, n, 1);
        });
    });
    group.bench_function("put_sync_batch_100", |b| {
        b.iter(|| {
            n += BATCH;
            source.put(&store, n, BATCH);
        });
    });
    group.finish();
}

criterion_group!(benches, tier);
criterion_main!(benches);
