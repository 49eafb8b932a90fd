//! Functions that remember, and what a hit of theirs costs beside a look into the engine by the same key.

use std::hint::black_box;

use cached::macros::{cached, concurrent_cached};
use nanotier_engine::Engine;

use super::super::hit::HOT;
use super::super::{CAPACITY_HOT, RESIDENTS_HOT};
use crate::bench::Bench;
use crate::contender::{Evicts, Loads, Moka, QuickCache, Role};
use crate::crew::Turn;
use crate::race::{Race, Racer};
use crate::workload::{key, text_key};

/// What a remembered function returns of these arguments: so that all have the same, and nobody can leave the call out.
fn work(number: u64) -> u64 {
    number ^ 0x5555
}

#[nanotier::memoize(capacity = 1024)]
fn attribute_1(number: u64) -> u64 {
    work(number)
}

#[nanotier::memoize(capacity = 1024)]
fn attribute_3(number: u64, name: &str, page: u32) -> u64 {
    work(number) + name.len() as u64 + u64::from(page)
}

#[cached(max_size = 1024)]
fn cached_1(number: u64) -> u64 {
    work(number)
}

#[cached(max_size = 1024)]
fn cached_3(number: u64, name: String, page: u32) -> u64 {
    work(number) + name.len() as u64 + u64::from(page)
}

#[concurrent_cached(max_size = 1024)]
fn concurrent_1(number: u64) -> u64 {
    work(number)
}

#[concurrent_cached(max_size = 1024)]
fn concurrent_3(number: u64, name: String, page: u32) -> u64 {
    work(number) + name.len() as u64 + u64::from(page)
}

/// Calls with the same arguments over and over. All others of the row have been asked for once before.
fn calling(name: &'static str, call: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Racer {
    for number in 0..RESIDENTS_HOT {
        call(key(number));
    }
    let hot = key(HOT);
    Racer::bare(name, move |turn: Turn| {
        for _ in 0..turn.ops {
            black_box(call(black_box(hot)));
        }
        turn.ops
    })
}

pub(super) fn one(bench: &mut Bench) {
    let mut race = Race::new(bench, "memoize-hit-1", 500_000);
    let engine: Engine<(u64,), u64> = Engine::new(CAPACITY_HOT as u64);
    (0..RESIDENTS_HOT).for_each(|number| {
        engine.insert((key(number),), work(number));
    });
    race.enter(calling("engine", move |number| engine.get(&(number,)).unwrap_or(0)));
    let value =
        nanotier::memoize(work).capacity(CAPACITY_HOT as u64).build().expect("a capacity alone is valid");
    race.enter(calling("#[memoize]", attribute_1));
    race.enter(calling("memoize()", move |number| value.call(number)));
    let (quick, moka) = (QuickCache::<u64, u64>::empty(CAPACITY_HOT), Moka::<u64, u64>::empty(CAPACITY_HOT));
    let rivals = [
        calling("#[cached]", cached_1),
        calling("#[concurrent_cached]", concurrent_1),
        calling("moka", move |number| moka.get_or_load(&number, || work(number))),
        calling("quick_cache", move |number| quick.get_or_load(&number, || work(number))),
    ];
    enter(&mut race, rivals);
    race.run();
}

fn enter(race: &mut Race<'_>, rivals: impl IntoIterator<Item = Racer>) {
    for rival in rivals {
        if race.wants(rival.name, Role::Rival) {
            race.enter(rival.rival());
        }
    }
}

/// A number, a text and a number: what is passed is borrowed, except where a rival's function wants to own it.
pub(super) fn three(bench: &mut Bench) {
    const PAGE: u32 = 3;
    let mut race = Race::new(bench, "memoize-hit-3", 500_000);
    let name = text_key(HOT);
    let asked = name.clone();
    let engine: Engine<(u64, String, u32), u64> = Engine::new(CAPACITY_HOT as u64);
    (0..RESIDENTS_HOT).for_each(|number| {
        engine.insert((key(number), name.clone(), PAGE), work(number));
    });
    let key = (key(HOT), name.clone(), PAGE);
    race.enter(calling("engine", move |_| engine.get(black_box(&key)).unwrap_or(0)));
    let value = nanotier::memoize(|number: u64, name: String, page: u32| {
        work(number) + name.len() as u64 + u64::from(page)
    })
    .capacity(CAPACITY_HOT as u64)
    .build()
    .expect("a capacity alone is valid");
    let text = asked.clone();
    race.enter(calling("#[memoize]", move |number| attribute_3(number, black_box(&text), black_box(PAGE))));
    let text = asked.clone();
    race.enter(calling("memoize()", move |number| {
        value.call(number, black_box(text.as_str()), black_box(PAGE))
    }));
    let text = asked.clone();
    let rivals = [
        calling("#[cached]", move |number| cached_3(number, asked.clone(), black_box(PAGE))),
        calling("#[concurrent_cached]", move |number| concurrent_3(number, text.clone(), black_box(PAGE))),
    ];
    enter(&mut race, rivals);
    race.run();
}
