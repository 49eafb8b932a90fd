//! What a hit must not do at all: lock, or allocate. And what an eviction must not: allocate.

use std::hint::black_box;
use std::sync::Arc;

use nanotier_counting::{count_allocations, switch_off, switch_on};

use super::CAPACITY_FULL;
use super::hit::{HOT, hot_cache};
use super::insert::{full_cache, number};
use super::text;
use crate::bench::Bench;
use crate::contender::{
    Cached, Evicts, Facade, Fibre, Foyer, Lends, MiniMoka, Moka, MutexLru, Nanotier, QuickCache, Reads, Role,
    SccHashCache, TinyUfoCache,
};
use crate::judge::Figure;
use crate::workload::{key, text_key};

/// Every way to hit that promises to do neither, each as a loop of so many hits.
struct Hitter {
    name: &'static str,
    hits: Box<dyn Fn(u64)>,
}

impl Hitter {
    fn new<R>(name: &'static str, hit: impl Fn() -> Option<R> + 'static) -> Self {
        let hits = Box::new(move |count| {
            for _ in 0..count {
                assert!(black_box(hit()).is_some(), "the key is resident");
            }
        });
        Self { name, hits }
    }
}

fn hitters() -> Vec<Hitter> {
    let numbers = hot_cache::<Nanotier<u64, u64>>();
    let texts = text::hot_cache::<Nanotier<String, Arc<Vec<u8>>>>();
    let facade = hot_cache::<Facade<u64, u64>>();
    let (hot, hot_text) = (key(HOT), text_key(HOT));
    let (numbers_too, texts_too, facade_too, hot_text_too) =
        (numbers.clone(), texts.clone(), facade.clone(), hot_text.clone());
    vec![
        Hitter::new("get u64", move || numbers.get(black_box(&hot))),
        Hitter::new("read u64", move || numbers_too.read(black_box(&hot), |value| *value)),
        // Cloning the Arc would count the clone's own lock, so what is cloned is looked at in place here too.
        Hitter::new("get String", get_of_text(hot_text)),
        Hitter::new("read String", move || {
            texts_too.read(black_box(hot_text_too.as_str()), |value| value.len())
        }),
        Hitter::new("facade try_now", move || facade.get(black_box(&hot))),
        Hitter::new("facade wait", move || facade_too.0.get(black_box(&hot)).wait().ok().flatten()),
    ]
}

/// With a value whose clone neither locks nor allocates, so that only the cache is counted.
fn get_of_text(hot: String) -> impl Fn() -> Option<u64> {
    let cache: Nanotier<String, u64> = Nanotier::filled(
        super::CAPACITY_HOT,
        (0..super::RESIDENTS_HOT).map(|number| (text_key(number), number)),
    );
    move || cache.get(black_box(hot.as_str()))
}

pub(super) fn locked_per_hit(bench: &mut Bench) {
    bench.progress.say("locked-per-hit", "", 1, 1);
    let counts = bench.meter.counts_locked();
    let note = if counts { "" } else { "no counters" };
    let empty: Box<dyn Fn(u64)> = Box::new(|count| {
        for _ in 0..count {
            black_box(());
        }
    });
    let mut locked = |hits: &dyn Fn(u64)| {
        hits(LOCKED_HITS / 10);
        let sample = bench.meter.measure(LOCKED_HITS, || {
            hits(LOCKED_HITS);
            LOCKED_HITS
        });
        sample.locked
    };
    let figures: Vec<Figure> = hitters()
        .iter()
        .map(|hitter| {
            let value = locked(&hitter.hits).zip(locked(&empty)).map(|(with, without)| with - without);
            // What the empty loop has more of is chance.
            Figure {
                name: hitter.name,
                role: Role::Ours,
                value: value.map(|v| v.max(0.0)),
                residents: None,
                note,
            }
        })
        .collect();
    bench.figures("locked-per-hit", "locked instructions", &figures);
}

const LOCKED_HITS: u64 = 1_000_000;

pub(super) fn allocs_per_hit(bench: &mut Bench) {
    bench.progress.say("allocs-per-hit", "", 1, 1);
    let figures: Vec<Figure> = hitters()
        .iter()
        .map(|hitter| {
            let value = Some(allocations_per_op(|count| (hitter.hits)(count)));
            Figure { name: hitter.name, role: Role::Ours, value, residents: None, note: "" }
        })
        .collect();
    bench.figures("allocs-per-hit", "allocations", &figures);
}

fn allocations_per_op(work: impl Fn(u64)) -> f64 {
    switch_on();
    let ((), allocations) = count_allocations(|| work(COUNTED_OPS));
    switch_off();
    allocations as f64 / COUNTED_OPS as f64
}

const COUNTED_OPS: u64 = 100_000;

fn evictions<C: Evicts<u64, u64>>() -> Figure {
    let cache = full_cache::<u64, u64, C>(|number| (key(number), number));
    let value = allocations_per_op(|count| {
        for operation in 0..count {
            let number = number(0, operation);
            cache.insert(key(number), number);
        }
    });
    Figure { name: C::NAME, role: C::ROLE, value: Some(value), residents: cache.residents(), note: C::NOTE }
}

pub(super) fn allocs_per_evict(bench: &mut Bench) {
    bench.progress.say("allocs-per-evict", "", 1, 1);
    let figures = [
        evictions::<Nanotier<u64, u64>>(),
        evictions::<QuickCache<u64, u64>>(),
        evictions::<SccHashCache<u64, u64>>(),
        evictions::<Moka<u64, u64>>(),
        evictions::<MiniMoka<u64, u64>>(),
        evictions::<Foyer<u64, u64>>(),
        evictions::<TinyUfoCache<u64, u64>>(),
        evictions::<Fibre<u64, u64>>(),
        evictions::<Cached<u64, u64>>(),
        evictions::<MutexLru<u64, u64>>(),
    ];
    debug_assert!(CAPACITY_FULL < COUNTED_OPS as usize);
    bench.figures("allocs-per-evict", "allocations", &figures);
}
