//! The engine and a naive twin, operation by operation.

use super::subject::{Naive, Op, Subject, number, op};
use crate::{Options, Policy};
use proptest::prelude::*;

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
        subject.engine.validate();
    }
    Ok(())
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

    #[test]
    fn lru_is_exact_with_weights_expiry_and_a_moving_capacity(
        capacity in 0..=8_u64,
        ops in prop::collection::vec(op(4, 8, true), 0..150),
    ) {
        same_as_naive(Options::new(capacity).shards(1).policy(Policy::Lru), capacity, ops)?;
    }
}
