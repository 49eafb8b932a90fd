//! Sizes, clearing and visits, against writers.

use std::sync::Arc;

use loom::thread;
use nanotier_engine::{Lifecycle, Options};
use nanotier_loom_tests::explore::{Bound, explore};
use nanotier_loom_tests::subject::{Census, Subject, Value, key, subject, subject_with};

const A: u64 = key(0, 1);
const B: u64 = key(200, 2);
const C: u64 = key(100, 3);

/// Each weighs its version.
struct Weighed;

impl Lifecycle<u64, Value> for Weighed {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;

    fn weight(&self, _: &u64, value: &Value) -> u64 {
        value.version
    }
}

fn keys_seen(engine: &Subject) -> Vec<u64> {
    let mut seen = Vec::new();
    engine.for_each(|key, value| {
        let _ = value.of(*key);
        seen.push(*key);
    });
    seen
}

/// Length and weight against an insert, a replacement and a removal.
#[test]
fn length_and_weight_are_never_more_than_there_can_be_and_exact_at_rest() {
    explore(Bound::None, || {
        let engine = subject_with(Options::new(8), Weighed);
        engine.insert(A, Value::new(A, 3));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(B, Value::new(B, 4));
            other.insert(B, Value::new(B, 5));
            assert!(other.remove(&A));
        });
        let (len, weight) = (engine.len(), engine.weight());
        assert!((1..=2).contains(&len), "{len}");
        assert!([3, 5, 7, 8].contains(&weight), "{weight}");
        writer.join().unwrap();
        assert_eq!((engine.len(), engine.weight()), (1, 5));
    });
}

/// Length and weight while two writers want more than there is room for.
#[test]
fn weight_never_exceeds_the_capacity_whoever_wants_room() {
    explore(Bound::Preemptions(5), || {
        let engine = subject_with(Options::new(8), Weighed);
        engine.insert(A, Value::new(A, 3));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(B, Value::new(B, 6));
            assert!(other.weight() <= 8);
        });
        engine.insert(C, Value::new(C, 4));
        assert!(engine.weight() <= 8);
        writer.join().unwrap();
        let weights: Vec<u64> =
            [A, B, C].iter().filter_map(|key| engine.read(key, |value| value.of(*key))).collect();
        assert_eq!((engine.len(), engine.weight()), (weights.len(), weights.iter().sum()));
    });
}

/// A visit against growth and a removal.
#[test]
fn a_visit_shows_what_stays_once_while_the_index_grows() {
    explore(Bound::Preemptions(2), || {
        let engine = subject(8);
        engine.insert(A, Value::new(A, 0));
        engine.insert(B, Value::new(B, 0));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(C, Value::new(C, 0));
            assert!(other.remove(&A));
        });
        let seen = keys_seen(&engine);
        let times = |key| seen.iter().filter(|seen| **seen == key).count();
        assert_eq!(times(B), 1, "{seen:?}");
        assert!(times(A) <= 1 && times(C) <= 1, "{seen:?}");
        writer.join().unwrap();
    });
}

/// Clearing, an insert and a visit: three threads.
#[test]
fn clearing_leaves_what_came_after_it_and_nothing_else() {
    explore(Bound::Preemptions(2), || {
        let census = Census::default();
        let engine = subject(2);
        engine.insert(A, Value::counted(A, 0, &census));
        let (one, other) = (Arc::clone(&engine), Arc::clone(&engine));
        let counted = census.clone();
        let writer = thread::spawn(move || {
            other.insert(B, Value::counted(B, 0, &counted));
        });
        let clearer = thread::spawn(move || one.clear());
        let seen = keys_seen(&engine);
        assert!(seen.len() <= 2);
        writer.join().unwrap();
        clearer.join().unwrap();
        let left = keys_seen(&engine);
        assert!(left.is_empty() || left == [B], "{left:?}");
        assert_eq!((engine.len(), engine.weight()), (left.len(), left.len() as u64));
        engine.flush();
        assert_eq!(census.living(), left.len());
    });
}
