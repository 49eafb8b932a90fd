//! The engine and a naive twin, operation by operation.

use super::subject::{Naive, Op, Subject, Value, number, op};
use crate::{Engine, Options, Plain, Policy};
use proptest::prelude::*;
use std::sync::mpsc;

/// Runs both, comparing answers, departures, length, weight and contents after each step.
fn same_as_naive(options: Options, capacity: u64, mut ops: Vec<Op>) -> Result<(), TestCaseError> {
    number(&mut ops);
    let (subject, mut naive) = (Subject::new(options), Naive::new(capacity));
    for op in ops {
        let context = format!("{op:?}");
        prop_assert_eq!(subject.run(op.clone()), naive.run(op), "the answer to {}", context);
        prop_assert_eq!(subject.heard(), naive.left(), "who left by {}", context);
        prop_assert_eq!(subject.engine.len(), naive.entries.len(), "the length after {}", context);
        prop_assert_eq!(subject.engine.weight(), naive.weight(), "the weight after {}", context);
        prop_assert_eq!(subject.engine.capacity(), naive.capacity);
        prop_assert_eq!(subject.run(Op::Keys), naive.run(Op::Keys), "the keys after {}", context);
        for key in 0..16 {
            prop_assert_eq!(subject.run(Op::Peek(key)), naive.run(Op::Peek(key)), "after {}", context);
        }
        if let [order] = &subject.engine.in_order()[..] {
            let naive: Vec<u8> = naive.entries.iter().map(|&(key, _)| key).collect();
            prop_assert_eq!(order, &naive, "the order after {}", context);
        }
        subject.engine.validate();
    }
    Ok(())
}

fn immortal() -> Value {
    Value { id: 0, weight: 1, dies_at: u64::MAX }
}

/// Moves of the capacity belong to the tests with a bound.
fn unbounded(ops: Vec<Op>) -> Vec<Op> {
    ops.into_iter().filter(|op| !matches!(op, Op::SetCapacity(_))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_a_bound_clock_is_a_map(ops in prop::collection::vec(op(5, 0, false), 0..120)) {
        same_as_naive(Options::new(u64::MAX).shards(4), u64::MAX, unbounded(ops))?;
    }

    #[test]
    fn without_a_bound_lru_is_a_map(ops in prop::collection::vec(op(5, 0, false), 0..120)) {
        same_as_naive(Options::new(u64::MAX).shards(2).policy(Policy::Lru), u64::MAX, unbounded(ops))?;
    }

    // A capacity of eight of weight is at most eight entries, so that each insert looks at all of them for dead
    // ones: then "the dead leave first" is exact, and the naive twin can say who leaves.
    #[test]
    fn lru_is_exact_move_for_move(
        capacity in 0..=8_u64,
        ops in prop::collection::vec(op(4, 8, false), 0..150),
    ) {
        same_as_naive(Options::new(capacity).shards(1).policy(Policy::Lru), capacity, ops)?;
    }

    // So many hits between changes that the log fills up.
    #[test]
    fn lru_is_exact_however_many_hits_wait_to_be_applied(
        hits in prop::collection::vec((0..8_u8, 0..80_u8), 0..12),
        ops in prop::collection::vec(op(1, 8, false), 0..40),
    ) {
        let filled = (0..8).map(|key| Op::Insert(key, immortal()));
        let hits = hits.into_iter().flat_map(|(key, count)| {
            (0..count).map(move |nth| Op::Get(key.wrapping_add(nth.wrapping_mul(nth)) % 8))
        });
        let ops = filled.chain(hits.clone()).chain(ops).chain(hits).collect();
        same_as_naive(Options::new(8).shards(1).policy(Policy::Lru), 8, ops)?;
    }

    // Each thread has a lane of its own, more threads than lanes have one after the other the turn.
    #[test]
    fn lru_is_exact_whichever_threads_take_turns(
        turns in prop::collection::vec((0..10_usize, 0..8_u8, 0..100_u8), 0..300),
    ) {
        let engine: Engine<u8, u8> = Engine::with(Options::new(8).shards(1).policy(Policy::Lru), Plain).unwrap();
        let mut naive: Vec<u8> = (0..8).collect();
        (0..8).for_each(|key| _ = engine.insert(key, key));
        let turn = |key: u8, what: u8| match what {
            0..3 => _ = engine.insert(key + 8 * (what % 2), 0),
            3..5 => _ = engine.remove(&key),
            _ => _ = engine.get(&key),
        };
        let in_turn = |(key, what): (u8, u8), naive: &mut Vec<u8>| {
            let (new, old) = match what {
                0..3 => (Some(key + 8 * (what % 2)), key + 8 * (what % 2)),
                3..5 => (None, key),
                _ => (naive.contains(&key).then_some(key), key),
            };
            naive.retain(|&resident| resident != old);
            naive.extend(new);
            if naive.len() > 8 {
                naive.remove(0);
            }
        };
        crossbeam_utils::thread::scope(|scope| {
            let workers: Vec<_> = (0..10)
                .map(|_| {
                    let (send, receive) = mpsc::channel::<(u8, u8)>();
                    let (done, wait) = mpsc::channel();
                    scope.spawn(move |_| receive.iter().for_each(|(key, what)| {
                        turn(key, what);
                        done.send(()).unwrap();
                    }));
                    (send, wait)
                })
                .collect();
            for (thread, key, what) in turns {
                workers[thread].0.send((key, what)).unwrap();
                workers[thread].1.recv().unwrap();
                in_turn((key, what), &mut naive);
                prop_assert_eq!(&engine.in_order()[0], &naive);
            }
            Ok(())
        })
        .expect("every thread joined")?;
    }

    #[test]
    fn lru_is_exact_with_weights_expiry_and_a_moving_capacity(
        capacity in 0..=8_u64,
        ops in prop::collection::vec(op(4, 8, true), 0..150),
    ) {
        same_as_naive(Options::new(capacity).shards(1).policy(Policy::Lru), capacity, ops)?;
    }
}
