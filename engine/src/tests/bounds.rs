//! What holds under every policy, whoever it is that leaves.

use super::subject::{Op, Subject, Value, number, op};
use crate::{Cause, Engine, Inserted, Lifecycle, Options, Plain, Policy};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold_and_a_fresh_insert_is_readable(
        capacity in 4..20_u64,
        shards in prop_oneof![Just(1_usize), Just(4)],
        policy in prop_oneof![Just(Policy::Clock), Just(Policy::Lru), Just(Policy::Adaptive)],
        mut ops in prop::collection::vec(op(6, 20, true), 0..150),
    ) {
        number(&mut ops);
        let subject = Subject::new(Options::new(capacity).shards(shards).policy(policy));
        for op in ops {
            let answer = subject.run(op.clone());
            subject.engine.validate();
            prop_assert!(subject.engine.weight() <= subject.engine.capacity());
            if let Op::Insert(key, value) = op {
                let capacity = subject.engine.capacity();
                prop_assert_eq!(answer == "Rejected", capacity == 0 || value.weight > capacity);
                let found = subject.engine.peek(&key);
                if answer == "Rejected" {
                    prop_assert_eq!(found, None, "an older value survived a refused newer one");
                } else {
                    prop_assert_eq!(found, Some(value), "a fresh insert is lost");
                }
            }
        }
    }
}

fn immortal(id: u32) -> Value {
    Value { id, weight: 1, dies_at: u64::MAX }
}

#[test]
fn the_dead_leave_before_the_living() {
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        let subject = Subject::new(Options::new(8).shards(1).policy(policy));
        for key in 0..8 {
            let dies_at = if key % 4 == 3 { 5 } else { u64::MAX };
            subject.run(Op::Insert(key, Value { id: key.into(), weight: 1, dies_at }));
        }
        subject.run(Op::Advance(5));
        subject.run(Op::Insert(8, immortal(8)));
        assert_eq!(subject.heard(), [(3, 3, Cause::Expired), (7, 7, Cause::Expired)], "{policy:?}");
        subject.engine.validate();
    }
}

#[test]
fn the_dead_leave_first_when_the_capacity_shrinks() {
    let subject = Subject::new(Options::new(100).shards(1));
    for key in 0..100 {
        let dies_at = if key >= 50 { 5 } else { u64::MAX };
        subject.run(Op::Insert(key, Value { id: key.into(), weight: 1, dies_at }));
    }
    subject.run(Op::Advance(5));
    subject.run(Op::SetCapacity(50));
    assert!(subject.heard().iter().all(|&(key, _, cause)| key >= 50 && cause == Cause::Expired));
    assert_eq!(subject.engine.len(), 50);
    subject.engine.validate();
}

#[test]
fn the_dead_leave_in_time_without_any_pressure() {
    let subject = Subject::new(Options::new(1000).shards(1));
    for key in 0..80 {
        subject.run(Op::Insert(key, Value { id: 0, weight: 1, dies_at: 5 }));
    }
    subject.run(Op::Advance(5));
    for _ in 0..11 {
        subject.run(Op::Insert(200, immortal(1)));
    }
    assert_eq!(subject.engine.len(), 1);
}

#[test]
fn clock_spares_what_was_used() {
    let engine: Engine<u32, u32> =
        Engine::with(Options::new(4).shards(1).policy(Policy::Clock), Plain).unwrap();
    for key in 0..4 {
        engine.insert(key, key);
    }
    engine.get(&0);
    engine.insert(4, 4);
    assert!(engine.contains(&0) && !engine.contains(&1));
}

#[test]
fn a_look_that_is_no_use_moves_nothing() {
    let engine: Engine<u32, u32> =
        Engine::with(Options::new(2).shards(1).policy(Policy::Lru), Plain).unwrap();
    engine.insert(0, 0);
    engine.insert(1, 1);
    engine.peek(&0);
    engine.contains(&0);
    engine.for_each(|_, _| {});
    engine.insert(2, 2);
    assert!(!engine.contains(&0));
}

#[test]
fn a_use_is_not_taken_for_one_of_who_has_the_place_later() {
    let engine: Engine<u32, u32> =
        Engine::with(Options::new(4).shards(1).policy(Policy::Lru), Plain).unwrap();
    engine.insert(9, 9);
    engine.get(&9);
    for round in 0..50 {
        let [old, one, two] = [3 * round + 10, 3 * round + 11, 3 * round + 12];
        engine.insert(old, 0);
        engine.get(&9);
        engine.get(&old);
        engine.remove(&old);
        engine.flush();
        engine.insert(one, 0);
        engine.insert(two, 0);
        assert_eq!(engine.in_order(), [[9, one, two]], "round {round}");
        engine.remove(&one);
        engine.remove(&two);
        engine.validate();
    }
}

// More threads than have lanes, so that some note and some do not.
#[test]
fn lru_keeps_every_entry_in_order_once_whoever_uses_removes_and_evicts_at_once() {
    let engine: Engine<u64, u64> =
        Engine::with(Options::new(60).shards(1).policy(Policy::Lru), Plain).unwrap();
    for _ in 0..3 {
        crossbeam_utils::thread::scope(|scope| {
            for thread in 1..=12_u64 {
                let engine = &engine;
                scope.spawn(move |_| {
                    let mut random = thread;
                    for _ in 0..8000 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                        let key = random >> 40 & 127;
                        match random >> 56 & 15 {
                            0 => _ = engine.remove(&key),
                            1..4 => _ = engine.insert(key, key),
                            4 => _ = engine.get_or_insert_with(&key, || key),
                            _ => _ = engine.get(&key).map(|value| assert_eq!(value, key)),
                        }
                    }
                });
            }
        })
        .expect("every thread joined");
        engine.validate();
        let order = &engine.in_order()[0];
        assert_eq!(order.len(), engine.len());
        let used: Vec<u64> = order.iter().copied().filter(|key| key % 2 == 0).collect();
        used.iter().for_each(|key| _ = engine.get(key));
        assert!(engine.in_order()[0].ends_with(&used), "at rest it is exact again");
    }
}

/// Says another weight each time it is asked.
#[derive(Debug, Default)]
struct Liar(std::sync::atomic::AtomicU64);

impl Lifecycle<u32, u32> for Liar {
    fn weight(&self, _: &u32, _: &u32) -> u64 {
        self.0.fetch_add(3, std::sync::atomic::Ordering::Relaxed) % 7
    }
}

#[test]
fn a_weigher_that_lies_breaks_no_sum() {
    let engine: Engine<u32, u32, Liar> = Engine::with(Options::new(20).shards(1), Liar::default()).unwrap();
    for round in 0..500_u32 {
        engine.insert(round * 7 % 13, round);
        engine.remove(&(round % 5));
        engine.validate();
    }
    engine.retain(|_, _| false);
    assert_eq!((engine.len(), engine.weight()), (0, 0));
}

/// The value is the weight.
#[derive(Debug)]
struct Weighed;

impl Lifecycle<u32, u64> for Weighed {
    fn weight(&self, _: &u32, value: &u64) -> u64 {
        *value
    }
}

#[test]
fn extreme_weights_neither_overflow_nor_stay_over_the_bound() {
    let engine: Engine<u32, u64, Weighed> = Engine::with(Options::new(u64::MAX).shards(1), Weighed).unwrap();
    assert_eq!(engine.insert(1, u64::MAX), Inserted::Done);
    assert_eq!(engine.insert(2, u64::MAX - 1), Inserted::Done);
    assert_eq!((engine.len(), engine.weight()), (1, u64::MAX - 1));
    assert_eq!(engine.insert(3, 1), Inserted::Done);
    assert_eq!(engine.insert(3, 0), Inserted::Replaced);
    engine.validate();
    engine.set_capacity(10);
    assert_eq!(engine.insert(4, u64::MAX), Inserted::Rejected);
    engine.validate();
}

#[test]
fn zero_capacity_keeps_nothing_not_even_the_weightless() {
    let engine: Engine<u32, u64, Weighed> = Engine::with(Options::new(4).shards(4), Weighed).unwrap();
    for key in 0..50 {
        assert_eq!(engine.insert(key, 0), Inserted::Done);
    }
    engine.set_capacity(0);
    assert!(engine.is_empty());
    assert_eq!(engine.insert(1, 0), Inserted::Rejected);
    assert_eq!(engine.get_or_insert_with(&1, || 7), Ok(7));
    assert!(engine.is_empty());
    engine.validate();
}
