//! What `what_if` promises: near the truth, nothing where it was not asked for, and in step with what happens.

use ahash::RandomState;
use nanotier_engine::{Engine, Lifecycle, Options, Plain, Policy, WhatIf};
use std::collections::HashMap;

const POLICIES: [Policy; 3] = [Policy::Clock, Policy::Lru, Policy::Adaptive];

type Numbers<L = Plain> = Engine<u64, u64, L, RandomState>;

/// The same every time.
fn engine(policy: Policy, capacity: u64, what_if: bool) -> Numbers {
    let options = Options::new(capacity).shards(1).policy(policy).what_if(what_if);
    Engine::with_hasher(options, Plain, RandomState::with_seeds(1, 2, 3, 4)).unwrap()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `range`, the lower ones more often.
    fn uneven(&mut self, range: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        // Between 0 and the range.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let number = ((range as f64).powf(unit) - 1.0) as u64;
        number
    }
}

/// Asks for each in turn, and puts in what is not there. The share of hits.
fn share_of_hits<L: Lifecycle<u64, u64>>(engine: &Numbers<L>, keys: &[u64]) -> f64 {
    let mut hits = 0_u32;
    for &key in keys {
        if engine.get(&key).is_some() {
            hits += 1;
        } else {
            engine.insert(key, key);
        }
    }
    f64::from(hits) / keys.len() as f64
}

fn uneven(requests: usize) -> Vec<u64> {
    let mut random = Random(7);
    (0..requests).map(|_| random.uneven(60_000)).collect()
}

/// Now and then keys that never come again.
fn with_scans(requests: usize) -> Vec<u64> {
    let mut random = Random(8);
    let key = |place: usize| {
        if place % 20_000 < 18_000 { random.uneven(30_000) } else { 1_000_000 + place as u64 }
    };
    (0..requests).map(key).collect()
}

fn round_and_round(requests: usize) -> Vec<u64> {
    (0..3000).cycle().take(requests).collect()
}

fn two_pools(requests: usize) -> Vec<u64> {
    let mut random = Random(9);
    let mut key = |place: usize| {
        if place % 2 == 0 { random.next() % 1000 } else { 1000 + random.next() % 50_000 }
    };
    (0..requests).map(&mut key).collect()
}

#[test]
fn what_it_says_is_within_two_points_of_the_truth() {
    type Kind = (&'static str, fn(usize) -> Vec<u64>);
    let kinds: [Kind; 4] =
        [("uneven", uneven), ("scans", with_scans), ("loop", round_and_round), ("two pools", two_pools)];
    for (name, keys) in kinds {
        let keys = keys(80_000);
        for policy in POLICIES {
            let mut truth = HashMap::new();
            for capacity in if name == "uneven" { &[1000, 4000][..] } else { &[1000] } {
                let capacity = *capacity;
                let watched = engine(policy, capacity, true);
                share_of_hits(&watched, &keys);
                let what_if = watched.what_if().unwrap();
                for point in what_if.points() {
                    let truth = *truth
                        .entry(point.capacity)
                        .or_insert_with(|| share_of_hits(&engine(policy, point.capacity, false), &keys));
                    let off = point.hit_ratio - truth;
                    // What Adaptive keeps of a loop is what it happened to begin with: a hundred entries are few for that.
                    let most = if policy == Policy::Adaptive && point.factor < 0.5 { 0.08 } else { 0.02 };
                    assert!(off.abs() < most, "{name}, {policy:?}, {capacity}: {point:?} off by {off:.4}");
                }
            }
        }
    }
}

#[test]
fn where_nobody_asked_for_it_there_is_none_and_it_takes_no_memory() {
    let (without, with) = (engine(Policy::Clock, 1000, false), engine(Policy::Clock, 1000, true));
    for engine in [&without, &with] {
        share_of_hits(engine, &uneven(10_000));
    }
    assert_eq!(without.what_if(), None);
    assert!(with.what_if().is_some());
    assert!(with.memory_used() > without.memory_used() + 50_000);
}

#[test]
fn before_the_first_look_up_there_is_none() {
    let engine = engine(Policy::Clock, 1000, true);
    assert_eq!(engine.what_if(), None);
    engine.insert(1, 1);
    engine.peek(&1);
    engine.contains(&1);
    assert_eq!(engine.what_if(), None);
    engine.get(&1);
}

#[test]
fn its_own_capacity_has_its_own_hit_ratio_and_more_is_never_worse() {
    for policy in POLICIES {
        let options = Options::new(2000).shards(1).policy(policy).what_if(true).stats(true);
        let engine: Engine<u64, u64> = Engine::with(options, Plain).unwrap();
        for key in two_pools(50_000) {
            engine.get_or_insert_with(&key, || key).unwrap();
        }
        let what_if = engine.what_if().unwrap();
        let own = engine.stats().hit_ratio().unwrap();
        assert!((what_if.hit_ratio_at(2000).unwrap() - own).abs() < 0.001, "{policy:?}: {own} but {what_if}");
        assert!(what_if.points().is_sorted_by(|low, high| low.hit_ratio <= high.hit_ratio), "{what_if}");
        assert!(what_if.points().is_sorted_by(|low, high| low.capacity < high.capacity), "{what_if}");
    }
}

#[test]
fn any_capacity_is_answered() {
    for policy in POLICIES {
        for capacity in [0, 1, 2, 3, 7, 100, 1 << 40, u64::MAX] {
            let engine: Engine<u64, u64> =
                Engine::with(Options::new(capacity).shards(1).policy(policy).what_if(true), Plain).unwrap();
            for key in (0..50).cycle().take(40_000) {
                engine.get_or_insert_with(&key, || key).unwrap();
            }
            if let Some(what_if) = engine.what_if() {
                for point in what_if.points() {
                    assert!((0.0..=1.0).contains(&point.hit_ratio), "{capacity}: {what_if}");
                    assert!(point.capacity > 0 || point.hit_ratio == 0.0, "{capacity}: {what_if}");
                }
                let _ = (what_if.capacity_for(0.5), what_if.hit_ratio_at(0), what_if.hit_ratio_at(u64::MAX));
            }
        }
    }
}

#[test]
fn a_capacity_for_a_ratio_has_that_ratio() {
    let engine = engine(Policy::Lru, 1000, true);
    share_of_hits(&engine, &uneven(200_000));
    let what_if = engine.what_if().unwrap();
    let (least, most) = (what_if.points()[0].hit_ratio, what_if.points()[5].hit_ratio);
    for step in 1..20 {
        let wanted = most * f64::from(step) / 20.0;
        let capacity = what_if.capacity_for(wanted).unwrap();
        assert!(
            what_if.hit_ratio_at(capacity).unwrap() >= wanted - 1e-9,
            "{wanted} at {capacity}: {what_if}"
        );
        if wanted > least {
            assert!(
                what_if.hit_ratio_at(capacity - 2).unwrap() < wanted,
                "{wanted} at {capacity}: {what_if}"
            );
        }
    }
    assert_eq!(what_if.capacity_for(most + 0.01), None);
    assert_eq!(what_if.capacity_for(f64::NAN), None);
    assert_eq!(what_if.capacity_for(0.0), Some(0));
    assert_eq!(what_if.hit_ratio_at(8001), None);
    assert_eq!(what_if.hit_ratio_at(0), Some(0.0));
    assert_eq!(what_if.to_string().lines().count(), 7);
}

#[test]
fn a_new_capacity_begins_anew() {
    let engine = engine(Policy::Clock, 1000, true);
    share_of_hits(&engine, &round_and_round(50_000));
    engine.set_capacity(8000);
    assert_eq!(engine.what_if(), None);
    let keys = round_and_round(100_000);
    let own = share_of_hits(&engine, &keys);
    let what_if = engine.what_if().unwrap();
    assert!((what_if.hit_ratio_at(8000).unwrap() - own).abs() < 0.02, "{own} but {what_if}");
    assert!(what_if.hit_ratio_at(2000).unwrap() < 0.1, "{what_if}");
    engine.set_capacity(0);
    share_of_hits(&engine, &keys);
    assert!(engine.what_if().is_none_or(|what_if: WhatIf| what_if.points()[5].hit_ratio == 0.0));
}

/// A value weighs itself.
struct ByValue;

impl Lifecycle<u64, u64> for ByValue {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;

    fn weight(&self, _: &u64, value: &u64) -> u64 {
        *value
    }
}

#[test]
fn weights_count() {
    let weight = |key: u64| 1 + key % 40;
    let options = |capacity| Options::new(capacity).shards(1);
    let hasher = || RandomState::with_seeds(1, 2, 3, 4);
    let replay = |capacity, what_if| {
        let engine = Engine::with_hasher(options(capacity).what_if(what_if), ByValue, hasher()).unwrap();
        let (mut hits, keys) = (0_u32, uneven(300_000));
        for &key in &keys {
            match engine.get(&key) {
                Some(_) => hits += 1,
                None => drop(engine.insert(key, weight(key))),
            }
        }
        (engine.what_if(), f64::from(hits) / keys.len() as f64)
    };
    let what_if = replay(40_000, true).0.unwrap();
    for point in what_if.points() {
        let truth = replay(point.capacity, false).1;
        // The smallest miniature has some hundred entries.
        assert!((point.hit_ratio - truth).abs() < 0.03, "{truth:.4} but {point:?}");
    }
}

#[test]
fn what_is_removed_is_missed_at_every_capacity() {
    let removals: [fn(&Numbers, u64) -> bool; 4] = [
        |engine, key| engine.remove(&key),
        |engine, key| engine.take(&key).is_some(),
        |engine, key| engine.compute(key, |_| nanotier_engine::Compute::Remove).is_none(),
        |engine, _| {
            engine.clear();
            true
        },
    ];
    for remove in removals {
        let engine = engine(Policy::Clock, 100, true);
        for key in (0..10).cycle().take(2000) {
            engine.get_or_insert_with(&key, || key).unwrap();
            assert!(remove(&engine, key));
        }
        let what_if = engine.what_if().unwrap();
        assert!(what_if.points().iter().all(|point| point.hit_ratio < 0.01), "{what_if}");
    }
}

#[test]
fn threads_share_it() {
    for policy in POLICIES {
        let engine: Engine<u64, u64> =
            Engine::with(Options::new(3000).policy(policy).what_if(true), Plain).unwrap();
        // The sanitizer does not see how the standard library's scopes end.
        crossbeam_utils::thread::scope(|scope| {
            for thread in 0..4 {
                let engine = &engine;
                scope.spawn(move |_| {
                    let mut random = Random(thread + 1);
                    for round in 0..40_000_u64 {
                        let key = random.uneven(20_000);
                        engine.get_or_insert_with(&key, || key).unwrap();
                        if round % 1000 == 0 {
                            engine.remove(&key);
                            let _ = engine.what_if();
                        }
                        if round % 15_000 == 0 && thread == 0 {
                            engine.set_capacity(2000 + round / 20);
                        }
                    }
                });
            }
        })
        .expect("every thread joined");
        let what_if = engine.what_if().unwrap();
        assert!(what_if.hit_ratio_at(engine.capacity()).unwrap() > 0.3, "{what_if}");
    }
}

#[test]
fn reads_inside_closures_are_watched_too() {
    let engine = engine(Policy::Lru, 100, true);
    for key in (0..300).cycle().take(200_000) {
        engine.compute(key, |_| {
            let _ = engine.get(&key);
            nanotier_engine::Compute::Put(key)
        });
    }
    assert!(engine.what_if().is_some());
}
