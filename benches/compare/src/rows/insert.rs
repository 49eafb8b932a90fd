//! Inserts of keys that were never there, into a cache that is full.

use std::array;
use std::sync::Arc;

use parking_lot::Mutex;

use super::CAPACITY_FULL;
use crate::bench::Bench;
use crate::contender::{Evicts, Key, Value};
use crate::crew::{Crew, Turn};
use crate::race::{Hits, Race, Racer, enter};
use crate::workload::{blob, key, text_key};

/// Full many times over: also those that fill bucket by bucket are full then.
pub(super) fn full_cache<K: Key, V: Value, C: Evicts<K, V>>(entry: impl Fn(u64) -> (K, V)) -> Arc<C> {
    let cache = C::empty(CAPACITY_FULL);
    for number in 0..FILLED_TIMES * CAPACITY_FULL as u64 {
        let (key, value) = entry(FILL_FROM + number);
        cache.insert(key, value);
    }
    Arc::new(cache)
}

const FILLED_TIMES: u64 = 8;
/// Numbers from here on belong to the filling; those below, to the threads.
const FILL_FROM: u64 = 1 << 50;

/// The number of a thread's operation; each number occurs once.
#[inline]
pub(super) fn number(thread: u64, operation: u64) -> u64 {
    (thread << 48) | operation
}

pub(super) fn inserting<C: Evicts<u64, u64>>() -> Racer {
    let cache = full_cache::<u64, u64, C>(|number| (key(number), number));
    let writes = cache.clone();
    Racer::new(&cache, move |turn: Turn| {
        for operation in turn.start..turn.start + turn.ops {
            let number = number(turn.thread, operation);
            writes.insert(key(number), number);
        }
        turn.ops
    })
}

type Blob = Arc<Vec<u8>>;
/// What one thread will insert.
type Made = Mutex<Vec<(String, Blob)>>;

/// Keys and values are made by the thread that will insert them, before the clock starts.
fn inserting_text<C: Evicts<String, Blob>>() -> Racer {
    let entry = |number| (text_key(number), blob(number));
    let cache = full_cache::<String, Blob, C>(entry);
    let writes = cache.clone();
    let made: Arc<[Made; Crew::THREADS]> = Arc::new(array::from_fn(|_| Made::default()));
    let used = made.clone();
    let prepare = move |turn: Turn| {
        let operations = turn.start..turn.start + turn.ops;
        let entries = operations.map(|operation| entry(number(turn.thread, operation)));
        made[turn.thread as usize].lock().extend(entries);
    };
    Racer::new(&cache, move |turn: Turn| {
        for (key, value) in used[turn.thread as usize].lock().drain(..) {
            writes.insert(key, value);
        }
        turn.ops
    })
    .prepared(prepare)
}

fn plain(mut race: Race<'_>) {
    enter!(race <- inserting() for <u64, u64>
        Nanotier SccHashCache QuickCache Moka MiniMoka Foyer TinyUfoCache Fibre Cached MutexLru);
    race.run();
}

fn any(mut race: Race<'_>) {
    enter!(race <- inserting_text() for <String, Blob>
        Nanotier SccHashCache QuickCache Moka Foyer Fibre Cached MutexLru);
    race.run();
}

const PLAIN: &str = "plain types";
const ANY: &str = "any type";
const PLAIN_NOTE: &str = "u64 to u64";
const ANY_NOTE: &str = "String to Arc<Vec<u8>> of 256 B";

pub(super) fn one_thread(bench: &mut Bench) {
    const ID: &str = "insert-evict-1t";
    plain(Race::new(bench, ID, 200_000).by_wall().hits(Hits::None).variant(PLAIN).note(PLAIN_NOTE));
    any(Race::new(bench, ID, 50_000).by_wall().hits(Hits::None).variant(ANY).note(ANY_NOTE));
}

pub(super) fn two_threads(bench: &mut Bench) {
    const ID: &str = "insert-evict-2t";
    plain(Race::new(bench, ID, 100_000).two_threads().hits(Hits::None).variant(PLAIN).note(PLAIN_NOTE));
    any(Race::new(bench, ID, 40_000).two_threads().hits(Hits::None).variant(ANY).note(ANY_NOTE));
}
