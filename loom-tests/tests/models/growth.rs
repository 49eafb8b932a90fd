//! Looks and writes while the index grows.

use std::sync::Arc;

use loom::thread;
use nanotier_loom_tests::explore::{Bound, explore};
use nanotier_loom_tests::subject::{Subject, Value, key, subject};

/// The first index has room for two.
const A: u64 = key(0, 1);
const B: u64 = key(200, 2);
const C: u64 = key(100, 3);
const D: u64 = key(220, 4);

fn full(capacity: u64) -> Arc<Subject> {
    let engine = subject(capacity);
    for key in [A, B] {
        engine.insert(key, Value::new(key, 0));
    }
    engine
}

fn version(engine: &Subject, key: u64) -> Option<u64> {
    engine.read(&key, |value| value.of(key))
}

/// An insert that makes the index grow against another.
#[test]
fn what_is_inserted_while_the_index_grows_is_there() {
    explore(Bound::Preemptions(5), || {
        let engine = full(8);
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(C, Value::new(C, 0));
            assert_eq!(version(&other, C), Some(0));
        });
        engine.insert(D, Value::new(D, 0));
        assert_eq!(version(&engine, D), Some(0));
        writer.join().unwrap();
        for key in [A, B, C, D] {
            assert_eq!(version(&engine, key), Some(0));
        }
    });
}

/// A look for what is there all the time.
#[test]
fn what_stays_is_found_while_the_index_grows() {
    explore(Bound::Preemptions(5), || {
        let engine = full(8);
        assert_eq!(version(&engine, A), Some(0));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || other.insert(C, Value::new(C, 0)));
        assert_eq!(version(&engine, A), Some(0));
        assert_eq!(version(&engine, B), Some(0));
        writer.join().unwrap();
    });
}

/// The same by the long way, as a thread goes that has no record yet: a short look that finds nothing asks again in any
/// case, and would hide that the long one must.
#[test]
fn what_stays_is_found_by_the_long_way_while_the_index_grows() {
    explore(Bound::Preemptions(5), || {
        let engine = full(8);
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || other.insert(C, Value::new(C, 0)));
        assert_eq!(version(&engine, A), Some(0));
        writer.join().unwrap();
    });
}

/// A look that began in the old index for what leaves the new one, and whose memory is used again.
#[test]
fn what_left_after_the_index_grew_is_not_touched_by_who_began_before() {
    explore(Bound::Preemptions(5), || {
        let engine = full(8);
        assert_eq!(version(&engine, A), Some(0));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(C, Value::new(C, 0));
            assert!(other.remove(&B));
            other.flush();
        });
        assert!(matches!(version(&engine, B), None | Some(0)));
        writer.join().unwrap();
        assert_eq!(version(&engine, B), None);
    });
}

/// Growth, a removal, and a reader: three threads.
#[test]
fn growth_and_a_removal_show_a_reader_what_stays_and_what_left() {
    explore(Bound::Preemptions(3), || {
        let engine = full(8);
        assert_eq!(version(&engine, A), Some(0));
        let (one, other) = (Arc::clone(&engine), Arc::clone(&engine));
        let grower = thread::spawn(move || other.insert(C, Value::new(C, 0)));
        let remover = thread::spawn(move || assert!(one.remove(&B)));
        let gone = version(&engine, B).is_none();
        assert_eq!(version(&engine, A), Some(0));
        assert!(!gone || version(&engine, B).is_none(), "what has left does not come back");
        remover.join().unwrap();
        grower.join().unwrap();
        assert_eq!(version(&engine, B), None);
    });
}
