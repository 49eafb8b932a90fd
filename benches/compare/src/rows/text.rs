//! Text keys and shared values of 256 bytes, looked up by `&str`.

use std::hint::black_box;
use std::sync::Arc;

use super::hit::HOT;
use super::{CAPACITY_HOT, RESIDENTS_HOT};
use crate::bench::Bench;
use crate::contender::{Lends, Reads};
use crate::crew::Turn;
use crate::race::{Race, Racer, enter};
use crate::workload::{blob, text_key};

type Blob = Arc<Vec<u8>>;

pub(super) fn hot_cache<C: Reads<String, Blob>>() -> Arc<C> {
    Arc::new(C::filled(CAPACITY_HOT, (0..RESIDENTS_HOT).map(|number| (text_key(number), blob(number)))))
}

fn borrowing<C: Lends<String, Blob>>() -> Racer {
    let cache = hot_cache::<C>();
    let reads = cache.clone();
    let hot = text_key(HOT);
    Racer::new(&cache, move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let length = reads.read(black_box(hot.as_str()), |value| value.len());
            hits += u64::from(length.is_some());
            black_box(length);
        }
        hits
    })
}

fn cloning<C: Reads<String, Blob>>() -> Racer {
    let cache = hot_cache::<C>();
    let reads = cache.clone();
    let hot = text_key(HOT);
    Racer::new(&cache, move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = reads.get(black_box(hot.as_str()));
            hits += u64::from(found.is_some());
            black_box(&found);
        }
        hits
    })
}

fn borrow(mut race: Race<'_>) {
    enter!(race <- borrowing() for <String, Blob> Nanotier Foyer SccHashCache Fibre MutexLru Papaya DashMap);
    race.run();
}

pub(super) fn borrow_one_thread(bench: &mut Bench) {
    borrow(Race::new(bench, "string-borrow-1t", 400_000));
}

pub(super) fn borrow_two_threads(bench: &mut Bench) {
    borrow(Race::new(bench, "string-borrow-2t", 200_000).two_threads());
}

pub(super) fn clone_one_thread(bench: &mut Bench) {
    let mut race = Race::new(bench, "string-clone-1t", 400_000);
    enter!(race <- cloning() for <String, Blob>
        Nanotier QuickCache Moka HashBrown Foyer SccHashCache Fibre Cached MutexLru Papaya DashMap);
    race.run();
}
