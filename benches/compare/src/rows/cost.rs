//! What an option adds to a hit, and what a hit costs under another policy.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nanotier_engine::{Engine, Lifecycle, Options, Plain};

use super::hit::{HOT, hot_get};
use super::zipf::{Workload, asking};
use super::{CAPACITY_HOT, RESIDENTS_HOT};
use crate::bench::Bench;
use crate::contender::Nanotier;
use crate::crew::Turn;
use crate::race::{Race, Racer, enter};
use crate::workload::key;

/// A value that says until when it lives.
#[derive(Clone, Copy, Debug)]
struct Timed {
    value: u64,
    deadline: u64,
}

/// The time as another thread would write it down: one word, read by one relaxed load.
struct Deadlines {
    now: AtomicU64,
}

impl Lifecycle<u64, Timed> for Deadlines {
    const LISTENS: bool = false;

    #[inline]
    fn is_dead(&self, _: &u64, timed: &Timed) -> bool {
        self.now.load(Ordering::Relaxed) >= timed.deadline
    }
}

fn timed<L: Lifecycle<u64, Timed>>(name: &'static str, lifecycle: L) -> Racer {
    let engine =
        Engine::with(Options::new(CAPACITY_HOT as u64), lifecycle).expect("a capacity alone is valid");
    for number in 0..RESIDENTS_HOT {
        engine.insert(key(number), Timed { value: number, deadline: u64::MAX });
    }
    let hot = key(HOT);
    Racer::bare(name, move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = engine.read(black_box(&hot), |timed| timed.value);
            hits += u64::from(found.is_some());
            black_box(found);
        }
        hits
    })
}

pub(super) fn with_ttl() -> Racer {
    timed("nanotier with ttl", Deadlines { now: AtomicU64::new(black_box(1)) })
}

pub(super) fn ttl(bench: &mut Bench) {
    let mut race = Race::new(bench, "ttl-cost", 500_000);
    race.enter(timed("nanotier", Plain));
    race.enter(with_ttl());
    race.run();
}

pub(super) fn stats(bench: &mut Bench) {
    let mut race = Race::new(bench, "stats-cost", 500_000);
    race.enter(hot_get::<Nanotier<u64, u64>>());
    let options = Options::new(CAPACITY_HOT as u64).stats(true);
    let engine: Engine<u64, u64> = Engine::with(options, Plain).expect("a capacity and counting go together");
    for number in 0..RESIDENTS_HOT {
        engine.insert(key(number), key(number));
    }
    let counting = Arc::new(Nanotier(engine));
    race.enter(super::hit::getting(&counting).named("nanotier with stats"));
    race.run();
}

pub(super) fn lru(bench: &mut Bench) {
    let workload = Workload::new(1000, CAPACITY_HOT, 1 << 20);
    let mut race = Race::new(bench, "lru-hit", 400_000);
    enter!(race <- asking(&workload) for <u64, u64> NanotierLru MutexLru Cached);
    race.run();
}

/// The entry that is asked for is the one that was used last.
pub(super) fn lru_again(bench: &mut Bench) {
    let mut race = Race::new(bench, "lru-hit-again", 500_000);
    enter!(race <- hot_get() for <u64, u64> NanotierLru MutexLru Cached);
    race.run();
}
