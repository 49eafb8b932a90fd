//! What a hit costs, and what each way of asking for it adds.
//!
//! A thousand keys are read in turn out of ten thousand residents, so that no single line is all that is measured.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use nanotier::{Cache, Inline, MemoryStore, Raw, Tier};
use nanotier_engine::Engine;

const RESIDENTS: usize = 10_000;
const READ: usize = 1_000;

fn keys() -> Vec<String> {
    (0..RESIDENTS).map(|n| format!("user:{n:0>24}")).collect()
}

/// The keys to read, one after the other and from the beginning again.
struct Turn<'a> {
    keys: &'a [String],
    next: usize,
}

impl<'a> Turn<'a> {
    fn new(keys: &'a [String]) -> Self {
        Self { keys: &keys[..READ], next: 0 }
    }

    fn key(&mut self) -> &'a str {
        self.next = if self.next + 1 == READ { 0 } else { self.next + 1 };
        &self.keys[self.next]
    }
}

/// Polled once, as an executor would poll a task that it has woken.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn of_engine(group: &mut BenchmarkGroup<'_, WallTime>, keys: &[String]) {
    let engine: Engine<String, u64> = Engine::new(2 * RESIDENTS as u64);
    (0_u64..).zip(keys).for_each(|(n, key)| {
        engine.insert(key.clone(), n);
    });
    let mut turn = Turn::new(keys);
    group.bench_function("engine/get", |b| b.iter(|| black_box(engine.get(turn.key()))));
}

fn of_cache(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    cache: &Cache<String, String>,
    keys: &[String],
) {
    for key in keys {
        cache.insert(key.clone(), "value".to_owned()).wait().expect("memory takes everything");
    }
    // Values are read, not cloned, where the question is what the way to them costs.
    let mut turn = Turn::new(keys);
    group.bench_function(format!("{name}/read"), |b| {
        b.iter(|| black_box(cache.read(turn.key(), String::len)));
    });
    let mut turn = Turn::new(keys);
    group.bench_function(format!("{name}/try_now"), |b| {
        b.iter(|| black_box(cache.get(turn.key()).try_now().ok()));
    });
    let mut turn = Turn::new(keys);
    group.bench_function(format!("{name}/wait"), |b| b.iter(|| black_box(cache.get(turn.key()).wait().ok())));
    let mut turn = Turn::new(keys);
    group.bench_function(format!("{name}/poll_once"), |b| {
        b.iter(|| black_box(poll_once(cache.get(turn.key()))));
    });
    let mut turn = Turn::new(keys);
    group.bench_function(format!("{name}/get_with"), |b| {
        b.iter(|| black_box(cache.get_with(turn.key(), async || unreachable!("it is resident")).wait().ok()));
    });
}

fn hit(criterion: &mut Criterion) {
    let keys = keys();
    let mut group = criterion.benchmark_group("hit");
    of_engine(&mut group, &keys);
    let memory_only = Cache::new(2 * RESIDENTS as u64);
    of_cache(&mut group, "cache", &memory_only, &keys);
    let tiers = Inline(MemoryStore::new()).over(Inline(MemoryStore::new()));
    let over_tiers = Cache::builder()
        .capacity(2 * RESIDENTS as u64)
        .namespace("bench")
        .tiers(tiers)
        .codec(Raw)
        .build()
        .expect("a configuration that works");
    of_cache(&mut group, "chain", &over_tiers, &keys);
    group.finish();
}

criterion_group!(benches, hit);
criterion_main!(benches);
