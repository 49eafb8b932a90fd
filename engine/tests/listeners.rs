//! What a listener hears: everything that left, once, and for each key in order.

use nanotier_engine::{Cause, Compute, Engine, Lifecycle, Options};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[derive(Default)]
struct Log(Mutex<Vec<(u32, u64, Cause)>>);

impl Lifecycle<u32, u64> for Log {
    fn on_leave(&self, &key: &u32, &value: &u64, cause: Cause) {
        self.0.lock().push((key, value, cause));
        assert_ne!(value, u64::MAX, "the listener panics, as planned");
    }
}

fn engine(capacity: u64) -> Engine<u32, u64, Log> {
    Engine::with(Options::new(capacity).shards(1), Log::default()).unwrap()
}

fn heard(engine: &Engine<u32, u64, Log>) -> Vec<(u32, u64, Cause)> {
    std::mem::take(&mut *engine.lifecycle().0.lock())
}

#[test]
fn each_key_is_heard_in_the_order_it_left() {
    let engine = engine(100);
    crossbeam_utils::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|_| {
                for round in 0..4000 {
                    let next = |old: Option<&u64>| Compute::Put(old.map_or(0, |old| old + 1));
                    engine.compute(round % 3, next);
                }
            });
        }
    })
    .expect("every thread joined");
    let heard = heard(&engine);
    for key in 0..3 {
        let values: Vec<u64> = heard.iter().filter(|left| left.0 == key).map(|left| left.1).collect();
        assert_eq!(values, (0..values.len() as u64).collect::<Vec<_>>());
    }
    assert_eq!(heard.len() + engine.len(), 16_000, "every value is heard once or resident");
}

/// Holds up the delivery of value 0 until told that a later value has left.
struct Held {
    log: Mutex<Vec<u64>>,
    delivering: Barrier,
    later_left: AtomicBool,
}

impl Lifecycle<u32, u64> for Held {
    fn on_leave(&self, _: &u32, &value: &u64, _: Cause) {
        if value == 0 {
            self.delivering.wait();
            while !self.later_left.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        self.log.lock().push(value);
    }
}

#[test]
fn a_slow_listener_is_not_overtaken_and_holds_up_no_writer() {
    let held =
        Held { log: Mutex::default(), delivering: Barrier::new(2), later_left: AtomicBool::new(false) };
    let engine = Engine::with(Options::new(10).shards(1), held).unwrap();
    engine.insert(1, 0);
    crossbeam_utils::thread::scope(|scope| {
        scope.spawn(|_| engine.insert(1, 1));
        engine.lifecycle().delivering.wait();
        engine.insert(1, 2);
        engine.lifecycle().later_left.store(true, Ordering::SeqCst);
    })
    .expect("every thread joined");
    assert_eq!(*engine.lifecycle().log.lock(), [0, 1]);
}

#[test]
fn causes_are_told_apart() {
    let engine = engine(2);
    engine.insert(1, 10);
    engine.insert(1, 11);
    engine.insert(2, 20);
    // Key 1 was used since it came, so it stays.
    engine.insert(3, 30);
    engine.remove(&3);
    engine.take(&1);
    let expected = [(1, 10, Cause::Replaced), (2, 20, Cause::Capacity), (3, 30, Cause::Explicit)];
    assert_eq!(heard(&engine), expected, "what is taken is in the caller's hands, not the listener's");
}

#[test]
fn a_panicking_listener_does_not_keep_the_others_from_being_heard() {
    let engine = engine(10);
    for key in 0..10 {
        engine.insert(key, if key == 3 { u64::MAX } else { 0 });
    }
    assert!(catch_unwind(AssertUnwindSafe(|| engine.clear())).is_err());
    assert_eq!(heard(&engine).len(), 10);
    engine.insert(1, 1);
    assert!(engine.remove(&1));
    assert_eq!(heard(&engine), [(1, 1, Cause::Explicit)]);
}

#[test]
fn more_departures_than_may_wait_are_all_heard() {
    let engine = engine(16);
    crossbeam_utils::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move |_| {
                for key in 0..5000 {
                    engine.insert(thread * 5000 + key, 0);
                }
            });
        }
    })
    .expect("every thread joined");
    assert_eq!(heard(&engine).len() + engine.len(), 20_000);
}
