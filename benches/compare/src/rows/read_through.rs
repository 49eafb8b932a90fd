//! Get, or else insert: what most caches do all day.

use std::hint::black_box;
use std::sync::Arc;

use super::CAPACITY_FULL;
use crate::bench::Bench;
use crate::contender::Evicts;
use crate::crew::Turn;
use crate::race::{Hits, Race, Racer, enter};
use crate::workload::Sequence;

pub(super) fn sequence() -> Sequence {
    Sequence::zipf(100_000, 0.99, 1 << 20)
}

pub(super) fn reading_through<C: Evicts<u64, u64>>(asked: &Sequence) -> Racer {
    let cache = Arc::new(C::empty(CAPACITY_FULL));
    let (level, asked) = (cache.clone(), asked.clone());
    let lap = move |turn: Turn| {
        let mut hits = 0;
        // The second thread is half the sequence ahead.
        let start = turn.start + turn.thread * asked.len() / 2;
        for place in start..start + turn.ops {
            let key = asked.at(place);
            if let Some(found) = level.get(key) {
                hits += 1;
                black_box(found);
            } else {
                level.insert(*key, place);
            }
        }
        hits
    };
    // Full, and as its policy wants it, before anything is measured.
    lap(Turn { thread: 0, start: 1 << 19, ops: 1 << 19 });
    Racer::new(&cache, lap)
}

fn run(mut race: Race<'_>) {
    let asked = sequence();
    enter!(race <- reading_through(&asked) for <u64, u64>
        Nanotier QuickCache Moka MiniMoka Foyer SccHashCache TinyUfoCache Fibre Cached MutexLru);
    race.run();
}

pub(super) fn one_thread(bench: &mut Bench) {
    run(Race::new(bench, "read-through-1t", 300_000).hits(Hits::Some));
}

pub(super) fn two_threads(bench: &mut Bench) {
    run(Race::new(bench, "read-through-2t", 150_000).two_threads().hits(Hits::Some));
}
