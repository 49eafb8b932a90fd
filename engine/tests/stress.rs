//! Threads that do everything at once: no value is served for another key, none older than what was promised.

use nanotier_engine::{Cause, Compute, Engine, Lifecycle, Options, Plain, Policy};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;

/// A value that knows its key and a check over both.
#[derive(Debug)]
struct Canary {
    key: u64,
    stamp: u64,
    check: u64,
}

static ALIVE: AtomicI64 = AtomicI64::new(0);

impl Canary {
    fn new(key: u64, stamp: u64) -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self { key, stamp, check: mix(key, stamp) }
    }

    fn assert_sound(&self, key: u64) {
        assert_eq!(self.key, key, "a value was served for another key");
        assert_eq!(self.check, mix(self.key, self.stamp), "a torn value");
    }
}

impl Clone for Canary {
    fn clone(&self) -> Self {
        self.assert_sound(self.key);
        Self::new(self.key, self.stamp)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.assert_sound(self.key);
        self.check = !self.check;
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

fn mix(key: u64, stamp: u64) -> u64 {
    (key ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(stamp | 1).rotate_left(17)
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Weighs by stamp, dies by stamp, and checks what it hears.
struct Checking;

impl Lifecycle<u64, Canary> for Checking {
    fn weight(&self, _: &u64, value: &Canary) -> u64 {
        value.stamp % 4
    }

    fn is_dead(&self, key: &u64, value: &Canary) -> bool {
        value.assert_sound(*key);
        value.stamp % 11 == 0
    }

    fn on_leave(&self, &key: &u64, value: &Canary, _: Cause) {
        value.assert_sound(key);
    }
}

fn meddle(engine: &Engine<u64, Canary, Checking>, mut seed: u64) {
    for _ in 0..20_000 {
        let random = next(&mut seed);
        let (key, stamp) = (random >> 8 & 63, random >> 20);
        match random % 32 {
            0..12 => ignore(engine.read(&key, |value| value.assert_sound(key))),
            12..16 => ignore(engine.get(&key).map(|value| value.assert_sound(key))),
            16..22 => ignore(engine.insert(key, Canary::new(key, stamp))),
            22..26 => engine.get_or_insert_with(&key, || Canary::new(key, stamp)).unwrap().assert_sound(key),
            26 => ignore(engine.remove(&key)),
            27 => ignore(engine.take(&key).map(|value| value.assert_sound(key))),
            28 => ignore(engine.compute(key, |_| Compute::Put(Canary::new(key, stamp)))),
            29 => ignore(engine.insert_if(key, Canary::new(key, stamp), |old| old.is_none())),
            30 if random >> 50 & 15 == 0 => engine.retain(|key, value| {
                value.assert_sound(*key);
                value.stamp % 3 > 0
            }),
            31 if random >> 50 & 63 == 0 => engine.clear(),
            31 if random >> 50 & 15 == 1 => engine.set_capacity(random >> 57),
            _ => engine.for_each(|key, value| value.assert_sound(*key)),
        }
    }
}

#[test]
fn no_value_is_served_for_another_key_and_each_is_dropped_once() {
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        for shards in [1, 4] {
            let engine = Engine::with(Options::new(60).shards(shards).policy(policy), Checking).unwrap();
            crossbeam_utils::thread::scope(|scope| {
                for seed in 1..=4 {
                    let engine = &engine;
                    scope.spawn(move |_| meddle(engine, seed * 0x1234_5677));
                }
            })
            .expect("every thread joined");
            assert!(engine.weight() <= engine.capacity());
        }
    }
    assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
}

#[test]
fn a_completed_removal_is_never_undone_by_a_late_load() {
    const ROUNDS: u64 = 4000;
    let engine: Engine<u64, u64> = Engine::with(Options::new(10).shards(1), Plain).unwrap();
    // The truth is written by one thread, and then the key is removed: nothing older may be seen after that.
    let (truth, promised) = (AtomicU64::new(0), AtomicU64::new(0));
    crossbeam_utils::thread::scope(|scope| {
        scope.spawn(|_| {
            for version in 1..=ROUNDS {
                truth.store(version, Ordering::SeqCst);
                engine.remove(&1);
                promised.store(version, Ordering::SeqCst);
            }
        });
        for _ in 0..3 {
            scope.spawn(|_| {
                loop {
                    let floor = promised.load(Ordering::SeqCst);
                    let loaded = engine.get_or_insert_with(&1, || {
                        let version = truth.load(Ordering::SeqCst);
                        thread::yield_now();
                        version
                    });
                    assert!(loaded.unwrap() >= floor);
                    assert!(engine.get(&1).is_none_or(|version| version >= floor));
                    if floor == ROUNDS {
                        return;
                    }
                }
            });
        }
    })
    .expect("every thread joined");
}

#[test]
fn a_reader_never_sees_a_key_go_back_in_time() {
    let engine: Engine<u64, u64> = Engine::with(Options::new(8).shards(2), Plain).unwrap();
    let done = AtomicU64::new(0);
    crossbeam_utils::thread::scope(|scope| {
        for key in 0..2 {
            let (engine, done) = (&engine, &done);
            scope.spawn(move |_| {
                for version in 1..20_000 {
                    engine.insert(key, version);
                    // Others push it out now and then.
                    engine.insert(100 + version % 16, 0);
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
            scope.spawn(move |_| {
                let mut seen = 0;
                while done.load(Ordering::SeqCst) < 2 {
                    let Some(version) = engine.get(&key) else { continue };
                    assert!(version >= seen, "{version} after {seen}");
                    seen = version;
                }
            });
        }
    })
    .expect("every thread joined");
}

/// Operations answer with all sorts of things; here only what they do counts.
fn ignore<T>(_: T) {}
