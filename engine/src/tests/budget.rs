//! There is one capacity, whatever the number of shards.

use crate::{Cause, Engine, Inserted, Lifecycle, Options, Policy};
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A value is its weight. The hook about death counts, and may panic.
#[derive(Debug, Default)]
struct ByValue {
    panics: AtomicBool,
    is_deaf: AtomicBool,
    evicted: AtomicU64,
}

impl Lifecycle<u64, u64> for ByValue {
    fn weight(&self, _: &u64, value: &u64) -> u64 {
        *value
    }

    fn is_dead(&self, _: &u64, _: &u64) -> bool {
        assert!(!self.panics.load(Ordering::Relaxed), "as planned");
        false
    }

    fn on_leave(&self, _: &u64, value: &u64, cause: Cause) {
        assert!(!self.is_deaf.load(Ordering::Relaxed), "as planned");
        if cause == Cause::Capacity {
            self.evicted.fetch_add(*value, Ordering::Relaxed);
        }
    }
}

const POLICIES: [Policy; 3] = [Policy::Adaptive, Policy::Clock, Policy::Lru];
const SHARDS: usize = 8;
const CAPACITY: u64 = 8000;

fn engine(policy: Policy) -> Engine<u64, u64, ByValue> {
    Engine::with(Options::new(CAPACITY).shards(SHARDS).policy(policy), ByValue::default()).unwrap()
}

fn weights(engine: &Engine<u64, u64, ByValue>) -> Vec<u64> {
    engine.shards.iter().map(crate::shard::Shard::weight).collect()
}

#[test]
fn nobody_leaves_before_the_whole_is_nearly_full() {
    for policy in POLICIES {
        let engine = engine(policy);
        (0..CAPACITY - CAPACITY / 100).for_each(|key| {
            engine.insert(key, 1);
        });
        assert_eq!(engine.lifecycle().evicted.load(Ordering::Relaxed), 0, "{policy:?}");
        engine.validate();
        (CAPACITY..3 * CAPACITY).for_each(|key| {
            engine.insert(key, 1);
        });
        assert_eq!(engine.weight(), CAPACITY, "{policy:?}");
        engine.validate();
    }
}

#[test]
fn a_value_as_heavy_as_many_shards_makes_others_leave_from_all_alike() {
    for policy in POLICIES {
        let engine = engine(policy);
        (0..2 * CAPACITY).for_each(|key| {
            engine.insert(key, 1);
        });
        assert_eq!(engine.insert(1 << 40, CAPACITY / 2), Inserted::Done);
        assert!(engine.contains(&(1 << 40)));
        assert!(engine.weight() <= CAPACITY && engine.weight() > CAPACITY * 9 / 10, "{}", engine.weight());
        engine.validate();
        let mut light = weights(&engine);
        for weight in &mut light {
            *weight %= CAPACITY / 2;
        }
        let share = CAPACITY / 2 / SHARDS as u64;
        assert!(light.iter().all(|weight| (share * 8 / 10..share * 12 / 10).contains(weight)), "{light:?}");
    }
}

#[test]
fn what_weighs_as_much_as_the_capacity_is_admitted_and_what_weighs_more_is_not() {
    for policy in POLICIES {
        let engine = engine(policy);
        (0..2 * CAPACITY).for_each(|key| {
            engine.insert(key, 1);
        });
        assert_eq!(engine.insert(1, CAPACITY + 1), Inserted::Rejected);
        assert_eq!(engine.insert(1, u64::MAX), Inserted::Rejected);
        assert!(engine.weight() > CAPACITY / 2);
        assert_eq!(engine.insert(1, CAPACITY), Inserted::Done);
        assert_eq!((engine.len(), engine.weight(), engine.get(&1)), (1, CAPACITY, Some(CAPACITY)));
        engine.validate();
    }
    let endless: Engine<u64, u64, ByValue> =
        Engine::with(Options::new(u64::MAX).shards(SHARDS), ByValue::default()).unwrap();
    for key in 0..4 {
        assert_ne!(endless.insert(key, u64::MAX), Inserted::Rejected);
        assert_eq!(endless.get(&key), Some(u64::MAX));
        assert_ne!(endless.insert(key + 9, u64::MAX / 2 + 1), Inserted::Rejected);
        endless.validate();
    }
}

/// The key is the hash.
#[derive(Debug, Default)]
struct Bare(u64);

impl BuildHasher for Bare {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Bare {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A key of a shard: the bits above the tag choose it.
fn key_of(shard: u64, nth: u64) -> u64 {
    nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff | shard << 8 | nth & 0xff
}

#[test]
fn a_shard_may_have_what_the_others_do_not_need_and_gives_it_back_when_they_do() {
    for policy in POLICIES {
        let options = Options::new(CAPACITY).shards(SHARDS).policy(policy);
        let engine = Engine::with_hasher(options, ByValue::default(), Bare::default()).unwrap();
        (0..2 * CAPACITY).for_each(|nth| {
            engine.insert(key_of(0, nth), 1);
        });
        let one = engine.shards.iter().map(crate::shard::Shard::weight).max();
        assert!(one > Some(CAPACITY * 9 / 10), "{one:?}");
        for nth in 0..20 * CAPACITY {
            engine.insert(key_of(nth % SHARDS as u64, nth), 1);
        }
        let share = CAPACITY / SHARDS as u64;
        let weights: Vec<u64> = engine.shards.iter().map(crate::shard::Shard::weight).collect();
        assert!(weights.iter().all(|weight| *weight > share * 9 / 10), "{policy:?}: {weights:?}");
        assert!(engine.weight() > CAPACITY * 98 / 100, "{policy:?}: {weights:?}");
        engine.validate();
    }
}

#[test]
fn a_hook_that_panics_while_others_make_room_leaves_nothing_owed() {
    for policy in POLICIES {
        let engine = engine(policy);
        (0..2 * CAPACITY).for_each(|key| {
            engine.insert(key, 1);
        });
        for capacity in [CAPACITY / 2, CAPACITY / 100, CAPACITY, 0] {
            engine.lifecycle().panics.store(true, Ordering::Relaxed);
            let _ = catch_unwind(AssertUnwindSafe(|| engine.set_capacity(capacity)));
            engine.lifecycle().panics.store(false, Ordering::Relaxed);
            assert!(engine.weight() <= capacity);
            engine.validate();
        }
    }
}

#[test]
fn heavy_values_from_many_threads_and_a_moving_capacity_leave_the_sum_right() {
    for policy in POLICIES {
        let engine = engine(policy);
        // The sanitizer does not see how the standard library's scopes end.
        crossbeam_utils::thread::scope(|scope| {
            for seed in 0..4_u64 {
                let engine = &engine;
                scope.spawn(move |_| {
                    let mut random = seed + 1;
                    for _ in 0..if cfg!(miri) { 50 } else { 3000 } {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let weight = match random % 50 {
                            0 => CAPACITY / 3,
                            1 => CAPACITY,
                            2 => 0,
                            other => other,
                        };
                        engine.insert(random >> 50, weight);
                        if random % 97 == 0 {
                            engine.set_capacity(CAPACITY / (1 + random % 3));
                        }
                        if random % 11 == 0 {
                            engine.remove(&(random >> 51));
                        }
                    }
                });
            }
        })
        .expect("every thread joined");
        engine.validate();
        assert!(engine.weight() <= engine.capacity());
        engine.set_capacity(0);
        assert_eq!((engine.len(), engine.weight()), (0, 0));
        engine.validate();
    }
}

#[test]
fn what_weighs_nothing_stands_in_nobodys_way() {
    for policy in POLICIES {
        let engine = engine(policy);
        for key in 0..20_000 {
            engine.insert(key, 0);
        }
        for key in 0..CAPACITY - 100 {
            engine.insert(100_000 + key, 1);
        }
        assert_eq!(engine.insert(1 << 40, CAPACITY * 3 / 4), Inserted::Done);
        assert!(engine.contains(&(1 << 40)) && engine.weight() <= CAPACITY, "{policy:?}");
        engine.validate();
        engine.set_capacity(100);
        assert!(engine.weight() <= 100, "{policy:?}: {}", engine.weight());
        engine.validate();
    }
}

#[test]
fn a_listener_that_panics_leaves_nothing_owed_for_a_heavy_value() {
    for policy in POLICIES {
        let engine = engine(policy);
        for key in 0..2 * CAPACITY {
            engine.insert(key, 1);
        }
        engine.lifecycle().is_deaf.store(true, Ordering::Relaxed);
        let panicked = catch_unwind(AssertUnwindSafe(|| engine.insert(1 << 40, CAPACITY / 2)));
        engine.lifecycle().is_deaf.store(false, Ordering::Relaxed);
        assert!(panicked.is_err() && engine.contains(&(1 << 40)), "{policy:?}");
        assert!(engine.weight() <= CAPACITY, "{policy:?}: {}", engine.weight());
        engine.validate();
    }
}

#[test]
fn a_capacity_that_shrinks_in_small_steps_is_taken_from_all_shards() {
    for policy in POLICIES {
        let engine = engine(policy);
        for key in 0..2 * CAPACITY {
            engine.insert(key, 1);
        }
        for capacity in (CAPACITY * 3 / 4..CAPACITY).rev() {
            engine.set_capacity(capacity);
        }
        let share = CAPACITY * 3 / 4 / SHARDS as u64;
        let weights = weights(&engine);
        assert!(weights.iter().all(|weight| *weight > share * 8 / 10), "{policy:?}: {weights:?}");
        engine.validate();
    }
}
