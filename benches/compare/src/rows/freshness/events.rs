//! What it costs to be watched, and what it costs that one could be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nanotier::{Builder, Cache, Call, Observer};

use super::super::cost::with_ttl;
use super::super::{CAPACITY_HOT, RESIDENTS_HOT};
use super::hit::asking;
use crate::bench::Bench;
use crate::race::{Race, Racer};
use crate::workload::key;

fn watched(name: &'static str, watch: impl FnOnce(Builder<u64, u64>) -> Builder<u64, u64>) -> Racer {
    let builder = Cache::builder().capacity(CAPACITY_HOT as u64).ttl(Duration::from_secs(3600));
    let cache = Arc::new(watch(builder).build().expect("options that go together"));
    for number in 0..RESIDENTS_HOT {
        cache.insert(key(number), key(number)).wait().expect("memory takes everything");
    }
    asking(name, move |key| cache.get(key).wait().ok().flatten())
}

/// The least that an observer can do: counts calls.
struct Calls(AtomicU64);

impl Observer for Calls {
    fn call(&self, _: &Call<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const UNWATCHED: &str = "unwatched";

pub(super) fn off(bench: &mut Bench) {
    let mut race = Race::new(bench, "events-off", 500_000);
    race.enter(watched(UNWATCHED, |builder| builder));
    race.enter(with_ttl());
    race.run();
}

pub(super) fn on(bench: &mut Bench) {
    let mut race = Race::new(bench, "events-on", 500_000);
    race.enter(watched(UNWATCHED, |builder| builder));
    race.enter(watched("with counters", |builder| builder.stats(true)));
    race.enter(watched("with an observer", |builder| builder.observer(Calls(AtomicU64::new(0)))));
    race.run();
}
