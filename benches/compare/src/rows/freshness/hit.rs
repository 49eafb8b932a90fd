//! Hits: through a loader that is not needed, and where a refresh may be due.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use nanotier::Cache;
use tokio::runtime::Runtime;

use super::super::facade::{block_on, waiting};
use super::super::hit::{HOT, hot_cache, hot_get};
use super::super::load::resident;
use super::super::{CAPACITY_HOT, RESIDENTS_HOT};
use crate::bench::Bench;
use crate::contender::{Facade, Foyer, Role};
use crate::crew::Turn;
use crate::race::{Race, Racer, enter};
use crate::workload::key;

const GET: &str = "Cache::get";

/// Asks for one hot key, over and over.
pub(super) fn asking(name: &'static str, ask: impl Fn(&u64) -> Option<u64> + Send + Sync + 'static) -> Racer {
    let hot = key(HOT);
    Racer::bare(name, move |turn: Turn| {
        let mut hits = 0;
        for _ in 0..turn.ops {
            let found = ask(black_box(&hot));
            hits += u64::from(found.is_some());
            black_box(found);
        }
        hits
    })
}

pub(super) fn get(bench: &mut Bench) {
    let mut race = Race::new(bench, "hit", 500_000);
    race.enter(waiting().named(GET));
    enter!(race <- hot_get() for <u64, u64> Nanotier QuickCache Moka Foyer Cached);
    race.run();
}

/// A value of no key: a loader that runs is no hit.
const LOADED: u64 = u64::MAX;

fn unless_loaded<E>(found: Result<u64, E>) -> Option<u64> {
    found.ok().filter(|&value| value != LOADED)
}

/// foyer's, which is asynchronous: its future is polled where a tokio runtime is entered.
fn fetching(runtime: &Arc<Runtime>) -> Racer {
    let cache = hot_cache::<Foyer<u64, u64>>();
    let (runtime, hot) = (runtime.clone(), key(HOT));
    let lap = move |turn: Turn| {
        let _inside = runtime.enter();
        let mut hits = 0;
        for _ in 0..turn.ops {
            let fetch = || async { Ok::<_, std::io::Error>(LOADED) };
            let found = block_on(cache.0.get_or_fetch(black_box(&hot), fetch));
            hits += u64::from(unless_loaded(found.map(|entry| *entry.value())).is_some());
        }
        hits
    };
    Racer::bare("foyer", lap).rival()
}

pub(super) fn get_with(bench: &mut Bench) {
    let runtime =
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime"));
    let (futures, blocking) = (hot_cache::<Facade<u64, u64>>(), hot_cache::<Facade<u64, u64>>());
    let mut race = Race::new(bench, "get-with-hit", 500_000);
    race.enter(asking("get_with", move |key| unless_loaded(futures.0.get_with(key, async || LOADED).wait())));
    race.enter(asking("get_with_blocking", move |key| {
        unless_loaded(blocking.0.get_with_blocking(key, || LOADED).wait())
    }));
    race.enter(waiting().named(GET));
    enter!(race <- resident() for <u64, u64> QuickCache Moka);
    if race.wants("foyer", Role::Rival) {
        race.enter(fetching(&runtime));
    }
    race.run();
}

/// The same entries, each good for an hour; with `refreshing` a new value is wanted before that, and the old one stays a while.
fn cache(refreshing: bool) -> Arc<Facade<u64, u64>> {
    let builder = Cache::builder().capacity(CAPACITY_HOT as u64).ttl(Duration::from_secs(3600));
    let builder = match refreshing {
        true => builder.options(|options| options.refresh_ahead(0.2).stale_for(Duration::from_secs(600))),
        false => builder,
    };
    let cache = builder.build().expect("options that go together");
    for number in 0..RESIDENTS_HOT {
        cache.insert(key(number), key(number)).wait().expect("memory takes everything");
    }
    Arc::new(Facade(cache))
}

pub(super) fn refresh_overhead(bench: &mut Bench) {
    let mut race = Race::new(bench, "refresh-overhead", 500_000);
    for (refreshing, gets, loads) in [(false, "get, plain", "get_with, plain"), (true, "get", "get_with")] {
        let (reads, loading) = (cache(refreshing), cache(refreshing));
        race.enter(asking(gets, move |key| reads.0.get(key).wait().ok().flatten()));
        race.enter(asking(loads, move |key| unless_loaded(loading.0.get_with(key, async || LOADED).wait())));
    }
    race.run();
}
