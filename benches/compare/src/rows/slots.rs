//! One value at a time: `Slot` and `Mirror` against `ArcSwap`.

use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nanotier_engine::{Mirror, Slot};

use crate::bench::Bench;
use crate::crew::Turn;
use crate::race::{Race, Racer};

/// What is kept: more than fits a word, so that nobody gets away with an atomic integer.
type Config = [u64; 8];

const CONFIG: Config = [1, 2, 3, 4, 5, 6, 7, 8];

/// Reads one word of the value, over and over.
pub(super) fn reading(name: &'static str, read: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Racer {
    Racer::bare(name, move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = read();
            hits += u64::from(found.is_some());
            black_box(found);
        }
        hits
    })
}

fn slot() -> Racer {
    let slot = Slot::new();
    slot.insert(7_u64, CONFIG);
    reading("Slot", move || black_box(&slot).read(black_box(&7), |config| config[3]))
}

fn mirror() -> Racer {
    let mirror = Mirror::new([0; 8]);
    mirror.publish(CONFIG);
    reading("Mirror", move || Some(black_box(&mirror).read(|config| config[3])))
}

fn arc_swap() -> Racer {
    let swap = ArcSwap::from(Arc::new(CONFIG));
    reading("arc-swap", move || Some(black_box(&swap).load()[3])).rival()
}

/// By a copy that each thread keeps and looks after: for those that read often and can keep something.
fn arc_swap_cache() -> Racer {
    let swap = ArcSwap::from(Arc::new(CONFIG));
    let lap = move |turn: Turn| {
        let mut cache = arc_swap::Cache::new(black_box(&swap));
        for _ in 0..turn.ops {
            black_box(black_box(&mut cache).load()[3]);
        }
        turn.ops
    };
    Racer::bare("arc-swap cache", lap).bound()
}

fn races(bench: &mut Bench, id: &'static str, ours: fn() -> Racer) {
    let mut race = Race::new(bench, id, 1_000_000).variant("1 thread");
    race.enter(ours());
    race.enter(arc_swap());
    race.enter(arc_swap_cache());
    race.run();
    let mut race = Race::new(bench, id, 500_000).two_threads().variant("2 threads");
    race.enter(ours());
    race.enter(arc_swap());
    race.enter(arc_swap_cache());
    race.run();
}

pub(super) fn slot_read(bench: &mut Bench) {
    races(bench, "slot-read", slot);
}

pub(super) fn mirror_read(bench: &mut Bench) {
    races(bench, "mirror-read", mirror);
}
