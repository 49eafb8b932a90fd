//! Identity is by equality, never by hash; look-ups take what is equivalent.

use nanotier_engine::{ConfigError, Engine, Equivalent, Inserted, Options, Plain, Policy};
use std::hash::{BuildHasher, Hash, Hasher};

#[derive(Debug, Clone, Copy)]
struct Constant(u64);

impl BuildHasher for Constant {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}
}

#[test]
fn keys_that_all_collide_are_told_apart() {
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            let options = Options::new(400).shards(4).policy(policy);
            let engine = Engine::with_hasher(options, Plain, Constant(hash)).unwrap();
            for key in 0..200_u32 {
                engine.insert(key, key * 2);
            }
            // One of four shards has all of them, and draws what the others do not need.
            assert_eq!(engine.len(), 200);
            let found = (0..200).filter(|key| engine.get(key) == Some(key * 2)).count();
            assert_eq!(found, 200);
            assert!(engine.remove(&199) && !engine.remove(&199) && engine.contains(&198));
        }
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Owned(String, u32);

#[derive(Hash)]
struct Borrowed<'a>(&'a str, u32);

impl Equivalent<Owned> for Borrowed<'_> {
    fn equivalent(&self, key: &Owned) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

#[test]
fn a_key_is_found_by_what_is_equivalent() {
    let engine: Engine<Owned, u32> = Engine::new(10);
    engine.insert(Owned("a".into(), 1), 7);
    assert_eq!(engine.get(&Borrowed("a", 1)), Some(7));
    assert_eq!(engine.get(&Borrowed("a", 2)), None);
    assert_eq!(engine.take(&Borrowed("a", 1)), Some(7));
    let engine: Engine<std::sync::Arc<str>, u32> = Engine::new(10);
    assert_eq!(engine.get_or_insert_with("key", || 1), Ok(1));
    assert_eq!(engine.get("key"), Some(1));
}

#[test]
fn options_that_contradict_themselves_are_refused() {
    let build = |capacity, shards| {
        Engine::<u32, u32>::with(Options::new(capacity).shards(shards), Plain).map(drop).unwrap_err()
    };
    assert_eq!(build(10, 0), ConfigError::ShardsNotPowerOfTwo { shards: 0 });
    assert_eq!(build(10, 3), ConfigError::ShardsNotPowerOfTwo { shards: 3 });
    assert_eq!(build(u64::MAX, 1 << 17), ConfigError::TooManyShards { shards: 1 << 17 });
    let error = build(10, 16);
    assert_eq!(error, ConfigError::MoreShardsThanCapacity { shards: 16, capacity: 10 });
    assert_eq!(error.to_string(), "16 shards cannot share a capacity of 10");
}

#[test]
fn the_capacity_is_exact_for_the_sum_of_the_shards() {
    let engine: Engine<u32, u32> = Engine::with(Options::new(1003).shards(8), Plain).unwrap();
    for key in 0..50_000 {
        engine.insert(key, key);
    }
    assert_eq!((engine.len(), engine.weight(), engine.capacity()), (1003, 1003, 1003));
    engine.set_capacity(7);
    assert_eq!(engine.len(), 7);
    engine.set_capacity(0);
    assert!(engine.is_empty());
    assert_eq!(engine.insert(1, 1), Inserted::Rejected);
}

#[test]
fn what_happened_is_counted_only_when_asked_for() {
    let run = |stats| {
        let engine: Engine<u32, u32> = Engine::with(Options::new(2).shards(1).stats(stats), Plain).unwrap();
        engine.insert(1, 1);
        engine.insert(1, 1);
        engine.insert(2, 2);
        engine.insert(3, 3);
        engine.get(&3);
        engine.get(&9);
        engine.peek(&9);
        engine.remove(&3);
        engine.get_or_insert_with(&5, || 5).unwrap();
        engine.stats()
    };
    let stats = run(true);
    assert_eq!((stats.hits, stats.misses, stats.loads, stats.inserts), (1, 2, 1, 5));
    assert_eq!((stats.evictions, stats.replacements, stats.removals, stats.rejections), (1, 1, 1, 0));
    assert_eq!(run(false), nanotier_engine::Stats::default());
}

#[test]
fn memory_used_grows_with_entries_and_falls_when_cleared() {
    let engine: Engine<u64, [u64; 8]> = Engine::new(10_000);
    let empty = engine.memory_used();
    for key in 0..10_000 {
        engine.insert(key, [key; 8]);
    }
    assert!(engine.memory_used() > empty + 10_000 * 72);
    engine.clear();
    assert_eq!(engine.memory_used(), empty);
}

#[test]
fn an_engine_is_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Engine<String, Vec<u8>>>();
}

#[test]
fn a_conditional_removal_asks_about_what_is_there() {
    let engine: Engine<u32, u32> = Engine::new(10);
    engine.insert(1, 10);
    assert!(!engine.remove_if(&1, |value| *value > 10) && engine.contains(&1));
    assert!(engine.remove_if(&1, |value| *value == 10) && !engine.contains(&1));
    assert!(!engine.remove_if(&1, |_| unreachable!("there is nothing to ask about")));
    engine.insert(1, 10);
    assert_eq!(engine.take_if(&1, |value| *value > 10), None);
    assert_eq!(engine.take_if(&1, |value| *value == 10), Some(10));
}
