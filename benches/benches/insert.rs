//! What an insert costs: over a resident, and of new keys into a full cache, where each makes another leave.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use nanotier::{Cache, Inline, MemoryStore, Raw, Tier};
use nanotier_engine::{Engine, Options, Plain, Policy};

const CAPACITY: u64 = 10_000;

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert/engine");
    for (name, policy) in [("clock", Policy::Clock), ("lru", Policy::Lru), ("adaptive", Policy::Adaptive)] {
        let full = || {
            let options = Options::new(CAPACITY).policy(policy);
            let engine: Engine<u64, u64> = Engine::with(options, Plain).expect("options that work");
            (0..2 * CAPACITY).for_each(|n| {
                engine.insert(n, n);
            });
            engine
        };
        let (replaced, mut key) = (full(), 0);
        group.bench_function(format!("{name}/replace"), |b| {
            b.iter(|| {
                key = (key + 1) % (CAPACITY / 10);
                black_box(replaced.insert(key, key))
            });
        });
        let (evicting, mut key) = (full(), 2 * CAPACITY);
        group.bench_function(format!("{name}/evict"), |b| {
            b.iter(|| {
                key += 1;
                black_box(evicting.insert(key, key))
            });
        });
    }
    group.finish();
}

fn cache(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert/cache");
    let (memory_only, mut key) = (Cache::<u64, String>::new(CAPACITY), 0);
    group.bench_function("memory", |b| {
        b.iter(|| {
            key += 1;
            black_box(memory_only.insert(key, "value".to_owned()).wait())
        });
    });
    let tiers = Inline(MemoryStore::new()).over(Inline(MemoryStore::new()));
    let over_tiers: Cache<u64, String> = Cache::builder()
        .capacity(CAPACITY)
        .namespace("bench")
        .tiers(tiers)
        .codec(Raw)
        .build()
        .expect("a configuration that works");
    // The tiers are unbounded: a fixed set of keys keeps them as they are.
    let mut key = 0;
    group.bench_function("chain", |b| {
        b.iter(|| {
            key = (key + 1) % CAPACITY;
            black_box(over_tiers.insert(key, "value".to_owned()).wait())
        });
    });
    group.finish();
}

criterion_group!(benches, engine, cache);
criterion_main!(benches);
