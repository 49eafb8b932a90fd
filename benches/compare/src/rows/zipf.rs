//! Many keys, all resident, some asked for far more often than others.

use std::hint::black_box;
use std::sync::Arc;

use crate::bench::Bench;
use crate::contender::Reads;
use crate::crew::Turn;
use crate::race::{Race, Racer, enter};
use crate::workload::{Sequence, key, shuffled};

/// Keys, the order in which they are inserted, and the order in which they are asked for.
pub(super) struct Workload {
    capacity: usize,
    inserted: Vec<u64>,
    asked: Sequence,
}

impl Workload {
    pub(super) fn new(population: u64, capacity: usize, length: usize) -> Self {
        Self { capacity, inserted: shuffled(population), asked: Sequence::zipf(population, 1.0, length) }
    }
}

pub(super) fn asking<C: Reads<u64, u64>>(workload: &Workload) -> Racer {
    let entries = workload.inserted.iter().map(|&number| (key(number), number));
    let cache = Arc::new(C::filled(workload.capacity, entries));
    let (reads, asked) = (cache.clone(), workload.asked.clone());
    Racer::new(&cache, move |turn: Turn| {
        let mut hits = 0;
        let start = turn.start + turn.thread * asked.len() / 2;
        for place in start..start + turn.ops {
            let found = reads.get(asked.at(place));
            hits += u64::from(found.is_some());
            black_box(found);
        }
        hits
    })
}

/// A hundred thousand keys where 131072 have room.
pub(super) fn hundred_thousand_keys() -> Workload {
    Workload::new(100_000, 1 << 17, 1 << 20)
}

pub(super) fn hundred_thousand(bench: &mut Bench) {
    let workload = hundred_thousand_keys();
    let mut race = Race::new(bench, "zipf-100k", 400_000);
    enter!(race <- asking(&workload) for <u64, u64>
        Nanotier QuickCache Moka HashBrown MiniMoka Foyer SccHashCache TinyUfoCache Fibre Cached MutexLru
        Papaya DashMap);
    race.run();
}

/// Room for two million, since some spread their capacity over small buckets and would evict before they
/// are full.
pub(super) fn million(bench: &mut Bench) {
    let workload = Workload::new(1_000_000, 1 << 21, 1 << 21);
    let mut race = Race::new(bench, "zipf-1m", 500_000);
    enter!(race <- asking(&workload) for <u64, u64>
        Nanotier SccHashCache QuickCache Moka HashBrown MiniMoka Foyer TinyUfoCache Fibre Cached MutexLru
        Papaya DashMap);
    race.run();
}
