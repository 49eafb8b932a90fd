//! Bytes per resident entry of a full cache.

use nanotier_counting::{bytes_in_use, switch_off, switch_on};

use crate::bench::Bench;
use crate::contender::{
    Cached, Evicts, Fibre, Foyer, MiniMoka, Moka, MutexLru, Nanotier, QuickCache, SccHashCache, TinyUfoCache,
};
use crate::judge::{self, Figure};
use crate::workload::key;

/// Filled twice over, so that it is full whatever its policy thinks of newcomers.
pub(super) fn bytes<C: Evicts<u64, u64>>() -> Figure {
    switch_on();
    let before = bytes_in_use();
    let cache = C::empty(CAPACITY);
    for number in 0..2 * CAPACITY as u64 {
        cache.insert(key(number), number);
    }
    let residents = cache.residents();
    let bytes = bytes_in_use() - before;
    drop(cache);
    switch_off();
    // Where it does not tell how many it holds, it is taken at its word.
    let value = bytes as f64 / residents.unwrap_or(CAPACITY) as f64;
    Figure { name: C::NAME, role: C::ROLE, value: Some(value), residents, note: C::NOTE }
}

const CAPACITY: usize = 1 << 17;

pub(super) fn bytes_per_entry(bench: &mut Bench) {
    bench.progress.say("bytes-per-entry", "", 1, 1);
    let figures = [
        bytes::<Nanotier<u64, u64>>(),
        bytes::<QuickCache<u64, u64>>(),
        bytes::<SccHashCache<u64, u64>>(),
        bytes::<Moka<u64, u64>>(),
        bytes::<MiniMoka<u64, u64>>(),
        bytes::<Foyer<u64, u64>>(),
        bytes::<TinyUfoCache<u64, u64>>(),
        bytes::<Fibre<u64, u64>>(),
        bytes::<Cached<u64, u64>>(),
        bytes::<MutexLru<u64, u64>>(),
    ];
    bench.rows.extend(judge::figures("bytes-per-entry", "bytes", &figures));
}
