//! The hand of CLOCK, against uses and removals; and the order of LRU, of which readers only note their uses.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use nanotier_engine::{Options, Plain, Policy};
use nanotier_loom_tests::explore::{Bound, explore};
use nanotier_loom_tests::subject::{Subject, Value, key, subject, subject_with};

const A: u64 = key(0, 1);
const B: u64 = key(200, 2);
const C: u64 = key(100, 3);
const D: u64 = key(50, 4);
const E: u64 = key(150, 5);

fn lru(capacity: u64, keys: &[u64]) -> Arc<Subject> {
    let engine = subject_with(Options::new(capacity).policy(Policy::Lru), Plain);
    keys.iter().for_each(|&key| _ = engine.insert(key, Value::new(key, 0)));
    engine
}

fn is_there(engine: &Subject, key: u64) -> bool {
    engine.read(&key, |value| value.of(key)).is_some()
}

/// The hand passes what was used before, whatever is used meanwhile.
#[test]
fn an_eviction_spares_what_was_used_and_never_takes_more_than_it_needs() {
    explore(Bound::None, || {
        let engine = subject(2);
        engine.insert(A, Value::new(A, 0));
        engine.insert(B, Value::new(B, 0));
        assert!(is_there(&engine, A));
        let other = Arc::clone(&engine);
        let writer = thread::spawn(move || {
            other.insert(C, Value::new(C, 0));
        });
        let used_in_time = is_there(&engine, B);
        writer.join().unwrap();
        assert!(is_there(&engine, C), "what came last stays");
        let (a, b) = (is_there(&engine, A), is_there(&engine, B));
        assert!(a != b, "one left for one");
        assert!(a || used_in_time, "A was used, and B was not: B leaves");
        assert_eq!(engine.len(), 2);
    });
}

/// The hand, a use and a removal of the same entry.
#[test]
fn the_hand_a_use_and_a_removal_may_meet_at_one_entry() {
    explore(Bound::Preemptions(5), || {
        let engine = subject(2);
        engine.insert(A, Value::new(A, 0));
        engine.insert(B, Value::new(B, 0));
        let (one, other) = (Arc::clone(&engine), Arc::clone(&engine));
        let writer = thread::spawn(move || {
            other.insert(C, Value::new(C, 0));
        });
        let remover = thread::spawn(move || one.remove(&A));
        let _ = is_there(&engine, A);
        writer.join().unwrap();
        let removed = remover.join().unwrap();
        let (a, b, c) = (is_there(&engine, A), is_there(&engine, B), is_there(&engine, C));
        assert!(c && !a);
        assert!(b || removed, "without the removal in time, nobody else has to leave");
        assert_eq!(engine.len(), 1 + usize::from(b));
        assert_eq!(engine.weight(), 1 + u64::from(b));
    });
}

/// The first look of a thread takes the lock; the next ones are noted.
#[test]
fn under_lru_a_use_after_anothers_is_the_later_one() {
    explore(Bound::Preemptions(3), || {
        let engine = lru(2, &[A, B]);
        let other = Arc::clone(&engine);
        assert!(is_there(&engine, A));
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let user = thread::spawn(move || {
            assert!(is_there(&other, B) && is_there(&other, A));
            over.store(true, Ordering::Release);
        });
        let is_later = is_over.load(Ordering::Acquire);
        if is_later {
            assert!(is_there(&engine, B));
        }
        user.join().unwrap();
        engine.insert(C, Value::new(C, 0));
        assert_eq!((is_there(&engine, A), is_there(&engine, B)), (!is_later, is_later));
    });
}

/// Who applies the log may meet any of it, but no use without those that were over before. He looks at the lanes in the
/// order in which they were begun, so the later use is in the second one.
#[test]
fn under_lru_uses_stay_in_their_order_whoever_applies_them_meanwhile() {
    explore(Bound::Preemptions(2), || {
        let engine = lru(3, &[A, B]);
        let (one, two) = (Arc::clone(&engine), Arc::clone(&engine));
        assert!(is_there(&engine, A));
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let user = thread::spawn(move || {
            assert!(is_there(&one, B));
            let is_later = over.load(Ordering::Acquire);
            if is_later {
                assert!(is_there(&one, B));
            }
            is_later
        });
        let writer = thread::spawn(move || {
            two.insert(C, Value::new(C, 0));
        });
        assert!(is_there(&engine, A));
        is_over.store(true, Ordering::Release);
        let is_later = user.join().unwrap();
        writer.join().unwrap();
        engine.insert(D, Value::new(D, 0));
        assert!(is_there(&engine, B) || !is_later, "what was used last is not the first to leave");
    });
}

/// With one thread that notes, which need not note the same entry twice: unless something has changed.
#[test]
fn under_lru_a_use_of_the_last_one_used_counts_again_once_another_is_newer() {
    explore(Bound::Preemptions(3), || {
        let engine = lru(2, &[A]);
        assert!(is_there(&engine, A));
        let other = Arc::clone(&engine);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let writer = thread::spawn(move || {
            other.insert(B, Value::new(B, 0));
            over.store(true, Ordering::Release);
        });
        assert!(is_there(&engine, A));
        let is_later = is_over.load(Ordering::Acquire);
        assert!(is_there(&engine, A));
        writer.join().unwrap();
        engine.insert(C, Value::new(C, 0));
        assert!(is_there(&engine, A) || !is_later);
        assert_eq!(engine.len(), 2);
    });
}

/// Its place in the table, and so its number, may be another's by the time the use is applied.
#[test]
fn under_lru_a_use_of_what_has_left_is_nobody_elses() {
    explore(Bound::Preemptions(3), || {
        let engine = lru(2, &[A]);
        let other = Arc::clone(&engine);
        let user = thread::spawn(move || {
            let _ = is_there(&other, A);
            let _ = is_there(&other, A);
        });
        engine.remove(&A);
        engine.flush();
        engine.insert(C, Value::new(C, 0));
        engine.insert(D, Value::new(D, 0));
        engine.insert(E, Value::new(E, 0));
        user.join().unwrap();
        assert!(!is_there(&engine, C), "the oldest leaves first");
        assert!(is_there(&engine, D) && is_there(&engine, E));
    });
}
