//! The same questions, asked through `nanotier::Cache`.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::hit::{HOT, hot_cache, hot_get};
use super::insert::inserting;
use super::read_through::{reading_through, sequence};
use super::zipf::{asking, hundred_thousand_keys};
use crate::bench::Bench;
use crate::contender::{Facade, Nanotier, Reads};
use crate::crew::Turn;
use crate::race::{Hits, Race, Racer, enter};
use crate::workload::key;

pub(super) fn waiting() -> Racer {
    let cache = hot_cache::<Facade<u64, u64>>();
    let reads = cache.clone();
    let hot = key(HOT);
    let lap = move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = reads.0.get(black_box(&hot)).wait();
            hits += u64::from(matches!(found, Ok(Some(_))));
            black_box(found.ok().flatten());
        }
        hits
    };
    Racer::new(&cache, lap).named("facade wait")
}

pub(super) fn hot_hit_one_thread(bench: &mut Bench) {
    let mut race = Race::new(bench, "facade-hot-hit-1t", 500_000);
    enter!(race <- hot_get() for <u64, u64> Facade Nanotier QuickCache Moka);
    race.enter(waiting());
    race.run();
}

pub(super) fn hot_hit_two_threads(bench: &mut Bench) {
    let mut race = Race::new(bench, "facade-hot-hit-2t", 200_000).two_threads();
    enter!(race <- hot_get() for <u64, u64> Facade Nanotier QuickCache Moka);
    race.run();
}

pub(super) fn zipf_hundred_thousand(bench: &mut Bench) {
    let workload = hundred_thousand_keys();
    let mut race = Race::new(bench, "facade-zipf-100k", 400_000);
    enter!(race <- asking(&workload) for <u64, u64> Facade Nanotier QuickCache Moka);
    race.run();
}

pub(super) fn read_through(bench: &mut Bench) {
    let asked = sequence();
    let mut race = Race::new(bench, "facade-read-through-1t", 300_000).hits(Hits::Some);
    enter!(race <- reading_through(&asked) for <u64, u64> Facade Nanotier QuickCache Moka);
    race.run();
}

pub(super) fn insert_evict(bench: &mut Bench) {
    let mut race = Race::new(bench, "facade-insert-evict-1t", 200_000).by_wall().hits(Hits::None);
    enter!(race <- inserting() for <u64, u64> Facade Nanotier SccHashCache QuickCache Moka);
    race.run();
}

/// The least that an executor can be: polls, and lets others run while there is nothing to poll.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(black_box(Waker::noop()));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::yield_now(),
        }
    }
}

fn awaiting() -> Racer {
    let cache = hot_cache::<Facade<u64, u64>>();
    let reads = cache.clone();
    let hot = key(HOT);
    let lap = move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = block_on(async { reads.0.get(black_box(&hot)).await });
            hits += u64::from(matches!(found, Ok(Some(_))));
            black_box(found.ok().flatten());
        }
        hits
    };
    Racer::new(&cache, lap).named("facade await")
}

/// The engine's own get, by the same executor: what is left of the difference is the cache's future.
fn awaiting_ready() -> Racer {
    let cache = hot_cache::<Nanotier<u64, u64>>();
    let reads = cache.clone();
    let hot = key(HOT);
    let lap = move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = block_on(async { std::future::ready(reads.get(black_box(&hot))).await });
            hits += u64::from(found.is_some());
            black_box(found);
        }
        hits
    };
    Racer::new(&cache, lap).named("nanotier, ready")
}

pub(super) fn awaited(bench: &mut Bench) {
    let mut race = Race::new(bench, "facade-await", 500_000);
    race.enter(awaiting());
    race.enter(awaiting_ready());
    enter!(race <- hot_get() for <u64, u64> QuickCache);
    race.run();
}
