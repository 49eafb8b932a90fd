//! Writers of one key.

use std::sync::Arc;

use loom::thread;
use nanotier_engine::Inserted;
use nanotier_loom_tests::explore::{Bound, explore};
use nanotier_loom_tests::subject::{Census, Subject, Value, key, subject};

const A: u64 = key(0, 1);

fn version(engine: &Subject) -> Option<u64> {
    engine.read(&A, |value| value.of(A))
}

/// Put against put.
#[test]
fn of_two_puts_one_stays_and_the_other_is_dropped_once() {
    explore(Bound::Preemptions(4), || {
        let census = Census::default();
        let engine = subject(2);
        let put = |engine: &Subject, version| {
            engine.insert(A, Value::counted(A, version, &census)) == Inserted::Replaced
        };
        let (other, counted) = (Arc::clone(&engine), census.clone());
        let writer = thread::spawn(move || {
            let replaced = other.insert(A, Value::counted(A, 1, &counted)) == Inserted::Replaced;
            assert!(matches!(version(&other), Some(1 | 2)));
            replaced
        });
        let second = put(&engine, 2);
        let found = version(&engine);
        let first = writer.join().unwrap();
        assert!(first != second, "one came after the other");
        assert_eq!(version(&engine), Some(if first { 1 } else { 2 }));
        assert!(!second || found == Some(2));
        engine.flush();
        assert_eq!(census.living(), 1);
        drop(engine);
        assert_eq!(census.living(), 0);
    });
}

/// Put against remove, and a reader.
#[test]
fn a_put_and_a_remove_come_one_after_the_other_for_everyone() {
    explore(Bound::Preemptions(3), || {
        let engine = subject(2);
        engine.insert(A, Value::new(A, 0));
        assert_eq!(version(&engine), Some(0));
        let (one, other) = (Arc::clone(&engine), Arc::clone(&engine));
        let putter = thread::spawn(move || one.insert(A, Value::new(A, 1)) == Inserted::Replaced);
        let remover = thread::spawn(move || assert!(other.remove(&A)));
        let first = version(&engine);
        let second = version(&engine);
        remover.join().unwrap();
        let replaced = putter.join().unwrap();
        assert_eq!(version(&engine), if replaced { None } else { Some(1) });
        let order: &[Option<u64>] =
            if replaced { &[Some(0), Some(1), None] } else { &[Some(0), None, Some(1)] };
        let place = |found| order.iter().position(|state| *state == found);
        assert!(place(first) <= place(second), "{first:?}, then {second:?}, of {order:?}");
    });
}
