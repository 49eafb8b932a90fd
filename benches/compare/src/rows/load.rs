//! Get, or else load: once per key.

use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::hit::{HOT, hot_cache, hot_get};
use super::insert::{full_cache, number};
use crate::bench::Bench;
use crate::contender::{Loads, Moka, Nanotier, QuickCache};
use crate::crew::Turn;
use crate::judge::Figure;
use crate::race::{Hits, Race, Racer, enter};
use crate::workload::key;

pub(super) fn resident<C: Loads<u64, u64>>() -> Racer {
    let cache = hot_cache::<C>();
    let level = cache.clone();
    let hot = key(HOT);
    Racer::new(&cache, move |turn: Turn| {
        let mut loads = 0;
        for _ in 0..turn.ops {
            let load = || {
                loads += 1;
                0
            };
            black_box(level.get_or_load(black_box(&hot), load));
        }
        turn.ops - loads
    })
}

pub(super) fn hit(bench: &mut Bench) {
    let mut race = Race::new(bench, "get-or-load-hit", 500_000);
    race.enter(hot_get::<Nanotier<u64, u64>>());
    race.enter(resident::<Nanotier<u64, u64>>().named("nanotier get_or_insert_with"));
    enter!(race <- resident() for <u64, u64> QuickCache Moka);
    race.run();
}

fn absent<C: Loads<u64, u64>>() -> Racer {
    let cache = full_cache::<u64, u64, C>(|number| (key(number), number));
    let level = cache.clone();
    Racer::new(&cache, move |turn: Turn| {
        for operation in turn.start..turn.start + turn.ops {
            let number = number(turn.thread, operation);
            black_box(level.get_or_load(&key(number), || number));
        }
        turn.ops
    })
}

pub(super) fn miss(bench: &mut Bench) {
    let mut race = Race::new(bench, "get-or-load-miss", 100_000).hits(Hits::None);
    enter!(race <- absent() for <u64, u64> Nanotier QuickCache Moka);
    race.run();
}

fn loads<C: Loads<u64, u64>>() -> Figure {
    let cache = C::empty(KEYS_CAPACITY);
    let loads = AtomicU64::new(0);
    let barrier = Barrier::new(ASKERS);
    let load = |number| {
        loads.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        while start.elapsed() < LOAD_TAKES {
            spin_loop();
        }
        number
    };
    thread::scope(|scope| {
        for _ in 0..ASKERS {
            scope.spawn(|| {
                barrier.wait();
                for number in 0..KEYS {
                    assert_eq!(cache.get_or_load(&key(number), || load(number)), number);
                }
            });
        }
    });
    let value = Some(loads.into_inner() as f64 / KEYS as f64);
    Figure { name: C::NAME, role: C::ROLE, value, residents: cache.residents(), note: C::NOTE }
}

pub(super) fn loads_per_key(bench: &mut Bench) {
    bench.progress.say("loads-per-key", "", 1, 1);
    let figures = [loads::<Nanotier<u64, u64>>(), loads::<QuickCache<u64, u64>>(), loads::<Moka<u64, u64>>()];
    bench.figures("loads-per-key", "loads", &figures);
}

const ASKERS: usize = 8;
const KEYS: u64 = 2000;
const KEYS_CAPACITY: usize = 1 << 13;
const LOAD_TAKES: Duration = Duration::from_micros(20);
