//! The hand of CLOCK, against uses and removals.

use std::sync::Arc;

use loom::thread;
use nanotier_loom_tests::explore::{Bound, explore};
use nanotier_loom_tests::subject::{Subject, Value, key, subject};

const A: u64 = key(0, 1);
const B: u64 = key(200, 2);
const C: u64 = key(100, 3);

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
