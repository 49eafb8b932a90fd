//! The cache over a durable tier: what a hit in memory costs then, and what a hit below it costs.

use std::hint::black_box;
use std::sync::Arc;

use foyer::{
    BlockEngineConfig, DeviceBuilder as _, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    PsyncIoEngineConfig, StorageValue,
};
use nanotier::{Bytes, Cache, Codec, Json, Raw};
use nanotier_redb::RedbStore;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::shelf::{ENTRIES, folder, value};
use crate::bench::Bench;
use crate::crew::Turn;
use crate::race::{Race, Racer};
use crate::rows::facade::block_on;

/// Entries that are asked for, out of those that memory holds.
const HOT: u64 = 1024;
const RESIDENT: u64 = 10_000;
/// What memory holds where hits below it are measured.
const SMALL: usize = 16;

fn name(number: u64) -> String {
    format!("user:{number:016}:profile:v1")
}

/// What is kept in memory where hits there are measured: three words, shared.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: u64,
    group: u64,
    score: u64,
}

fn user(id: u64) -> User {
    User { id, group: id % 10, score: id * 7 }
}

/// The cache, over redb or over nothing.
struct Ours<V> {
    cache: Cache<String, V>,
    _folder: TempDir,
}

impl<V: Clone + Send + Sync + 'static> Ours<V> {
    fn new(capacity: u64, is_tiered: bool, codec: impl Codec<V>) -> Arc<Self> {
        let folder = folder();
        let builder = Cache::builder().capacity(capacity);
        let builder = match is_tiered {
            true => {
                let durability =
                    nanotier::Durability::Async { loss_window: std::time::Duration::from_secs(60) };
                let store = RedbStore::builder(folder.path().join("l2.redb")).durability(durability).build();
                builder.namespace("bench").codec(codec).tiers(store.expect("a new store").inline())
            }
            false => builder,
        };
        Arc::new(Self { cache: builder.build().expect("a cache"), _folder: folder })
    }

    fn filled(self: Arc<Self>, entries: u64, make: fn(u64) -> V) -> Arc<Self> {
        let numbers: Vec<u64> = (0..entries).collect();
        for some in numbers.chunks(1000) {
            let entries = some.iter().map(|&number| (name(number), make(number)));
            let _ = self.cache.insert_many(entries.collect::<Vec<_>>()).wait();
        }
        self
    }
}

/// foyer's cache over its own store on disk.
struct Foyer<V: StorageValue> {
    cache: HybridCache<String, V>,
    /// Its tasks run here.
    runtime: Runtime,
    _folder: TempDir,
}

impl<V: StorageValue> Foyer<V> {
    fn filled(capacity: usize, entries: u64, make: fn(u64) -> V) -> Arc<Self> {
        let folder = folder();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let device = FsDeviceBuilder::new(folder.path()).with_capacity(1 << 30).build().expect("a device");
        let cache = runtime
            .block_on(
                HybridCacheBuilder::new()
                    .memory(capacity)
                    .with_shards(if capacity < 64 { 1 } else { 8 })
                    .storage()
                    .with_io_engine_config(PsyncIoEngineConfig::new())
                    .with_engine_config(BlockEngineConfig::new(device).with_block_size(16 << 20))
                    .build(),
            )
            .expect("a hybrid cache");
        for number in 0..entries {
            cache.insert(name(number), make(number));
            if number % 100 == 99 {
                // It drops what its queue has no room for.
                runtime.block_on(cache.storage().wait());
            }
        }
        Arc::new(Self { cache, runtime, _folder: folder })
    }
}

fn hot(turn: Turn) -> impl Iterator<Item = u64> {
    (turn.start..turn.start + turn.ops).map(|operation| operation.wrapping_mul(0x9E37_79B9) % HOT)
}

fn names(count: u64) -> Arc<[String]> {
    (0..count).map(name).collect()
}

/// A cache of ours, and the names that it is asked for.
type Asked = (Arc<Ours<Arc<User>>>, Arc<[String]>);

fn awaiting((shelf, names): Asked) -> Racer {
    Racer::bare("nanotier await", move |turn: Turn| {
        hot(turn)
            .map(|number| {
                let found = block_on(shelf.cache.get(names[number as usize].as_str()));
                u64::from(black_box(found).is_ok_and(|found| found.is_some()))
            })
            .sum()
    })
}

/// The value is looked at in place.
fn reading((shelf, names): Asked) -> Racer {
    Racer::bare("nanotier read", move |turn: Turn| {
        hot(turn)
            .map(|number| {
                let found = shelf.cache.read(names[number as usize].as_str(), |user| user.score);
                u64::from(black_box(found).is_some())
            })
            .sum()
    })
}

pub(super) fn memory_hit(bench: &mut Bench) {
    let names = names(HOT);
    let ours = |is_tiered| {
        let ours = Ours::new(2 * RESIDENT, is_tiered, Json::default());
        (ours.filled(RESIDENT, |number| Arc::new(user(number))), names.clone())
    };
    let (tiered, bare) = (ours(true), ours(false));
    let foyer = Foyer::filled(64 << 20, RESIDENT, |id| [id, id % 10, id * 7].map(u64::to_le_bytes).concat());
    let mut race = Race::new(bench, "chain-memory-hit", 200_000);
    race.enter(awaiting(tiered.clone()));
    race.enter(reading(tiered));
    race.enter(awaiting(bare.clone()).named("nanotier await, no tier"));
    race.enter(reading(bare).named("nanotier read, no tier"));
    let (shelf, asked) = (foyer.clone(), names.clone());
    let lap = move |turn: Turn| {
        let _inside = shelf.runtime.enter();
        hot(turn)
            .map(|number| {
                let found = block_on(shelf.cache.get(&asked[number as usize]));
                u64::from(black_box(found).is_ok_and(|found| found.is_some()))
            })
            .sum()
    };
    race.enter(Racer::bare("foyer hybrid await", lap).rival());
    let lap = move |turn: Turn| {
        let _inside = foyer.runtime.enter();
        hot(turn)
            .map(|number| {
                let found = foyer.cache.get(&names[number as usize]).try_unwrap();
                u64::from(black_box(found).is_ok())
            })
            .sum()
    };
    race.enter(Racer::bare("foyer hybrid try_unwrap", lap).rival());
    race.run();
}

pub(super) fn l2_hit(bench: &mut Bench) {
    let names = names(ENTRIES);
    let ours =
        Ours::new(SMALL as u64, true, Raw).filled(ENTRIES, |number| Bytes::copy_from_slice(&value(number)));
    let foyer = Foyer::filled(SMALL * 512, ENTRIES, |number| value(number).to_vec());
    let scattered = |operation: u64| operation.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) % ENTRIES;
    let mut race = Race::new(bench, "chain-l2-hit", 2_000).by_wall();
    let asked = names.clone();
    race.enter(Racer::bare("nanotier", move |turn: Turn| {
        (turn.start..turn.start + turn.ops)
            .map(|operation| {
                let found = ours.cache.get(asked[scattered(operation) as usize].as_str()).wait();
                u64::from(black_box(found).is_ok_and(|found| found.is_some()))
            })
            .sum()
    }));
    let lap = move |turn: Turn| {
        (turn.start..turn.start + turn.ops)
            .map(|operation| {
                let found = foyer.runtime.block_on(async {
                    foyer.cache.get(&names[scattered(operation) as usize]).await.ok().flatten()
                });
                u64::from(black_box(found).is_some())
            })
            .sum()
    };
    race.enter(Racer::bare("foyer hybrid", lap).rival());
    race.run();
}
