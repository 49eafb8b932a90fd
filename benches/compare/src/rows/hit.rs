//! One hot key.

use std::hint::black_box;
use std::sync::Arc;

use super::{CAPACITY_FULL, CAPACITY_HOT, RESIDENTS_HOT};
use crate::bench::Bench;
use crate::contender::{Nanotier, Reads};
use crate::crew::Turn;
use crate::race::{Hits, Race, Racer, enter};
use crate::workload::key;

pub(super) const HOT: u64 = 77;

/// Each key has itself as its value, for the row that asks for what it has found.
pub(super) fn hot_cache<C: Reads<u64, u64>>() -> Arc<C> {
    Arc::new(C::filled(CAPACITY_HOT, (0..RESIDENTS_HOT).map(|number| (key(number), key(number)))))
}

pub(super) fn hot_get<C: Reads<u64, u64>>() -> Racer {
    getting(&hot_cache::<C>())
}

pub(super) fn getting<C: Reads<u64, u64>>(cache: &Arc<C>) -> Racer {
    let reads = cache.clone();
    let hot = key(HOT);
    Racer::new(cache, move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = reads.get(black_box(&hot));
            hits += u64::from(found.is_some());
            black_box(found);
        }
        hits
    })
}

fn chain<C: Reads<u64, u64>>() -> Racer {
    let cache = hot_cache::<C>();
    let reads = cache.clone();
    Racer::new(&cache, move |turn: Turn| {
        let mut next = black_box(key(HOT));
        let mut hits = 0;
        for _ in 0..turn.ops {
            // The value is the key, which nobody but us can know.
            if let Some(found) = reads.get(&next) {
                next = found;
                hits += 1;
            }
        }
        black_box(next);
        hits
    })
}

/// Keys that nobody has inserted, another each time.
fn absent_get<C: Reads<u64, u64>>() -> Racer {
    let residents = (0..CAPACITY_FULL as u64).map(|number| (key(number), number));
    let cache = Arc::new(C::filled(CAPACITY_FULL, residents));
    let reads = cache.clone();
    Racer::new(&cache, move |turn: Turn| {
        let mut hits = 0;
        for number in turn.start..turn.start + turn.ops {
            let found = reads.get(&key(ABSENT + number));
            hits += u64::from(found.is_some());
            black_box(found);
        }
        hits
    })
}

/// From here on no number has been used.
const ABSENT: u64 = 1 << 40;

pub(super) fn miss(bench: &mut Bench) {
    let mut race = Race::new(bench, "miss-1t", 200_000).hits(Hits::None);
    enter!(race <- absent_get() for <u64, u64>
        Nanotier QuickCache Moka HashBrown MiniMoka Foyer SccHashCache TinyUfoCache Fibre Cached MutexLru
        Papaya DashMap);
    race.run();
}

pub(super) fn one_thread(bench: &mut Bench) {
    let mut race = Race::new(bench, "hot-hit-1t", 500_000);
    enter!(race <- hot_get() for <u64, u64>
        Nanotier QuickCache Moka HashBrown MiniMoka Foyer SccHashCache TinyUfoCache Fibre Cached MutexLru
        Papaya DashMap);
    race.run();
}

pub(super) fn two_threads(bench: &mut Bench) {
    let mut race = Race::new(bench, "hot-hit-2t", 200_000).two_threads();
    enter!(race <- hot_get() for <u64, u64>
        Nanotier QuickCache Moka MiniMoka Foyer SccHashCache TinyUfoCache Fibre Cached MutexLru
        Papaya DashMap);
    race.enter(hot_get::<Nanotier<u64, u64>>().named("nanotier 1 thread").alone());
    race.run();
}

pub(super) fn latency(bench: &mut Bench) {
    let mut race = Race::new(bench, "hot-hit-latency", 500_000);
    enter!(race <- chain() for <u64, u64>
        Nanotier QuickCache Moka HashBrown MiniMoka Foyer SccHashCache TinyUfoCache Fibre Cached MutexLru
        Papaya DashMap);
    race.run();
}
