//! Looks, while what is looked at leaves and its memory is used again.

use std::sync::Arc;

use loom::thread;
use nanotier_loom_tests::explore::{Bound, explore};
use nanotier_loom_tests::subject::{Subject, Value, key, subject};

const A: u64 = key(0, 1);
const B: u64 = key(128, 2);
const C: u64 = key(0, 3);

fn version(engine: &Subject, key: u64) -> Option<u64> {
    engine.read(&key, |value| value.of(key))
}

/// What a reader does: with a record from before, so that its looks are short ones.
fn seasoned(engine: &Subject) {
    assert_eq!(version(engine, A), Some(0));
}

/// A short look against an eviction and the reuse of the node, after a barrier of `flush`.
#[test]
fn a_reader_never_touches_a_node_that_was_reused() {
    explore(Bound::Preemptions(5), || {
        let engine = subject(1);
        engine.insert(A, Value::new(A, 0));
        seasoned(&engine);
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(B, Value::new(B, 0));
            other.flush();
            other.insert(A, Value::new(A, 1));
        });
        let found = version(&engine, A);
        assert!(matches!(found, None | Some(0 | 1)));
        writer.join().unwrap();
        assert_eq!(version(&engine, A), Some(1));
    });
}

/// The same, where the writer has the node back by the grace that its next writes hasten.
#[test]
fn a_node_is_reused_without_a_flush_only_when_nobody_reads_it() {
    explore(Bound::Preemptions(5), || {
        let engine = subject(2);
        engine.insert(A, Value::new(A, 0));
        engine.insert(B, Value::new(B, 0));
        seasoned(&engine);
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            assert!(other.remove(&A));
            assert!(other.remove(&B));
            other.insert(C, Value::new(C, 0));
        });
        assert!(matches!(version(&engine, A), None | Some(0)));
        writer.join().unwrap();
        assert_eq!((version(&engine, A), version(&engine, C)), (None, Some(0)));
    });
}

/// The long look: inside another, where the thread's first slot is taken.
#[test]
fn a_nested_reader_never_touches_a_node_that_was_reused() {
    explore(Bound::Preemptions(5), || {
        let (outer, engine) = (subject(1), subject(1));
        outer.insert(B, Value::new(B, 0));
        engine.insert(A, Value::new(A, 0));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            assert!(other.remove(&A));
            other.flush();
            other.insert(C, Value::new(C, 0));
        });
        outer.read(&B, |_| assert!(matches!(version(&engine, A), None | Some(0))));
        writer.join().unwrap();
    });
}

/// The first look of a thread, which makes its record first; and its last, since it ends.
#[test]
fn a_thread_that_comes_and_goes_never_touches_a_node_that_was_reused() {
    explore(Bound::Preemptions(5), || {
        let engine = subject(1);
        engine.insert(A, Value::new(A, 0));
        let other = Arc::clone(&engine);
        let reader = thread::spawn(move || {
            assert!(matches!(version(&other, A), None | Some(0)));
        });
        assert!(engine.remove(&A));
        engine.flush();
        engine.insert(C, Value::new(C, 0));
        reader.join().unwrap();
    });
}

/// Two looks against a replacement and a removal of the same key.
#[test]
fn a_key_never_goes_back_to_an_older_value() {
    explore(Bound::Preemptions(3), || {
        let engine = subject(2);
        engine.insert(A, Value::new(A, 0));
        seasoned(&engine);
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(A, Value::new(A, 1));
            other.insert(A, Value::new(A, 2));
            assert!(other.remove(&A));
        });
        let age = |found: Option<u64>| found.map_or(3, |version| version);
        let first = age(version(&engine, A));
        let second = age(version(&engine, A));
        assert!(first <= second, "{first}, then {second}");
        writer.join().unwrap();
        assert_eq!(version(&engine, A), None);
    });
}

/// A look against a replacement: the old value or the new one.
#[test]
fn a_replaced_key_is_never_missed() {
    explore(Bound::None, || {
        let engine = subject(2);
        engine.insert(A, Value::new(A, 0));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(A, Value::new(A, 1));
            other.insert(A, Value::new(A, 2));
        });
        assert!(version(&engine, A).is_some());
        writer.join().unwrap();
        assert_eq!(version(&engine, A), Some(2));
    });
}

/// `take` waits for the reader and for nobody else.
#[test]
fn who_takes_a_value_has_it_alone() {
    explore(Bound::Preemptions(5), || {
        let engine = subject(1);
        engine.insert(A, Value::new(A, 0));
        seasoned(&engine);
        let other = Arc::clone(&engine);
        let taker = thread::spawn(move || {
            let value = other.take(&A).expect("nobody else takes it");
            // Dropped here, while the reader may have tried to look at it.
            drop(value);
        });
        assert!(matches!(version(&engine, A), None | Some(0)));
        taker.join().unwrap();
        assert_eq!(version(&engine, A), None);
    });
}
