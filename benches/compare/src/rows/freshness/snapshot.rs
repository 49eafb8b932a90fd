//! Values that are kept: what a read of them costs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nanotier::{Cache, Inline, Json, MemoryStore, Snapshot};
use nanotier_engine::Mirror;

use crate::bench::Bench;
use crate::race::{Race, Racer};
use crate::rows::slots::reading;

/// More than fits a word, so that nobody gets away with an atomic integer.
type Config = [u64; 8];

const CONFIG: Config = [1, 2, 3, 4, 5, 6, 7, 8];
/// Not while it is measured.
const EVERY: Duration = Duration::from_secs(3600);

fn snapshot(name: &'static str, snapshot: Snapshot<Config>) -> Racer {
    reading(name, move || Some(black_box(&snapshot).read(|config| config[3])))
}

fn race(bench: &mut Bench, id: &'static str, ours: &'static str, kept: Snapshot<Config>) {
    let mut race = Race::new(bench, id, 1_000_000);
    race.enter(snapshot(ours, kept));
    let mirror = Mirror::new(CONFIG);
    race.enter(reading("engine's Mirror", move || Some(black_box(&mirror).read(|config| config[3]))));
    let swap = ArcSwap::from(Arc::new(CONFIG));
    race.enter(reading("arc-swap", move || Some(black_box(&swap).load()[3])).rival());
    race.run();
}

pub(super) fn keep(bench: &mut Bench) {
    let kept = nanotier::keep(async || Ok::<_, std::io::Error>(CONFIG), EVERY).wait().expect("it loads");
    race(bench, "keep-read", "keep", kept);
}

pub(super) fn mirror(bench: &mut Bench) {
    let store = Arc::new(MemoryStore::new());
    let writer = Cache::<String, Config>::builder().namespace("bench").tiers(Inline(store.clone()));
    let writer = writer.codec(Json::default()).build().expect("a good configuration");
    writer.insert("config".to_owned(), CONFIG).wait().expect("memory takes everything");
    let mirrored = nanotier::mirror::<Config>(Inline(store), "bench", "config", Json::default(), EVERY);
    race(bench, "mirror-read", "mirror", mirrored.wait().expect("it is there"));
}
