//! What a listener hears: everything that left, once, and for each key in order.

use nanotier_engine::{Cause, Compute, Engine, Inserted, Lifecycle, Options};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

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

/// Holds up the delivery of the first key until told to go on, and counts those heard.
#[derive(Default)]
struct HeldUp {
    in_listener: AtomicBool,
    go_on: AtomicBool,
    heard: AtomicUsize,
}

impl<V: Send + Sync> Lifecycle<u32, V> for HeldUp {
    fn on_leave(&self, &key: &u32, _: &V, _: Cause) {
        if key == 0 {
            self.in_listener.store(true, Ordering::SeqCst);
            while !self.go_on.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        self.heard.fetch_add(1, Ordering::SeqCst);
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within half a minute");
        thread::yield_now();
    }
}

#[test]
fn writers_wait_for_a_listener_that_is_far_behind() {
    let engine = Engine::with(Options::new(1).shards(1), HeldUp::default()).unwrap();
    let written = AtomicUsize::new(0);
    engine.insert(0, ());
    crossbeam_utils::thread::scope(|scope| {
        scope.spawn(|_| engine.remove(&0));
        until("the listener is called", || engine.lifecycle().in_listener.load(Ordering::SeqCst));
        scope.spawn(|_| {
            for key in 1..3000 {
                engine.insert(key, ());
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
        // The first insert makes nobody leave, and the last has left its own behind before it waits.
        until("a thousand wait to be heard", || written.load(Ordering::SeqCst) >= 1025);
        thread::sleep(Duration::from_millis(50));
        let stopped_at = written.load(Ordering::SeqCst);
        engine.lifecycle().go_on.store(true, Ordering::SeqCst);
        assert_eq!(stopped_at, 1025, "the writer waits");
    })
    .expect("every thread joined");
    assert_eq!(engine.lifecycle().heard.load(Ordering::SeqCst), 2999);
}

/// Loads key 77 of this engine from inside the listener of key 0.
static LOADED_BY_A_LISTENER: OnceLock<Engine<u32, u32, Loading>> = OnceLock::new();

#[derive(Default)]
struct Loading {
    in_listener: AtomicBool,
    loaded: AtomicUsize,
}

impl Lifecycle<u32, u32> for Loading {
    fn on_leave(&self, &key: &u32, _: &u32, _: Cause) {
        if key == 0 {
            let engine = LOADED_BY_A_LISTENER.get().expect("set before anything leaves");
            self.in_listener.store(true, Ordering::SeqCst);
            let value = engine.get_or_insert_with(&77, || 1).expect("it waits for nobody who waits for it");
            self.loaded.store(value as usize, Ordering::SeqCst);
        }
    }
}

/// The listener waits for the load, so the load must not wait for the listener; not even one that writes.
#[test]
fn a_listener_may_wait_for_a_load_while_others_wait_for_the_listener() {
    let engine = LOADED_BY_A_LISTENER
        .get_or_init(|| Engine::with(Options::new(16).shards(1), Loading::default()).unwrap());
    engine.insert(0, 0);
    let (is_loading, land, written) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    crossbeam_utils::thread::scope(|scope| {
        scope.spawn(|_| {
            let loaded = engine.get_or_insert_with(&77, || {
                is_loading.store(true, Ordering::SeqCst);
                until("it may land", || land.load(Ordering::SeqCst));
                assert!((5000..5100).all(|key| engine.insert(key, 0) == Inserted::Done));
                7
            });
            assert_eq!(loaded, Ok(7));
        });
        until("the load begins", || is_loading.load(Ordering::SeqCst));
        scope.spawn(|_| engine.remove(&0));
        until("the listener is called", || engine.lifecycle().in_listener.load(Ordering::SeqCst));
        scope.spawn(|_| {
            for key in 1000..4000 {
                engine.insert(key, 0);
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
        until("writers have much to wait for", || written.load(Ordering::SeqCst) > 1000);
        land.store(true, Ordering::SeqCst);
    })
    .expect("every thread joined");
    assert_eq!((written.load(Ordering::SeqCst), engine.lifecycle().loaded.load(Ordering::SeqCst)), (3000, 7));
}

#[test]
fn clear_has_all_dropped_also_where_another_thread_delivers() {
    let engine = Engine::with(Options::new(10_000).shards(1), HeldUp::default()).unwrap();
    let alive = Arc::new(());
    for key in 0..900 {
        engine.insert(key, Arc::clone(&alive));
    }
    crossbeam_utils::thread::scope(|scope| {
        scope.spawn(|_| engine.remove(&0));
        until("the listener is called", || engine.lifecycle().in_listener.load(Ordering::SeqCst));
        engine.clear();
        engine.lifecycle().go_on.store(true, Ordering::SeqCst);
    })
    .expect("every thread joined");
    assert_eq!((engine.len(), Arc::strong_count(&alive)), (0, 1));
}

/// Panics when it is dropped, until it is told to forgive.
struct Grudge(Arc<AtomicBool>);

impl Drop for Grudge {
    fn drop(&mut self) {
        assert!(self.0.load(Ordering::SeqCst), "the drop panics, as planned");
    }
}

struct Touchy;

impl Lifecycle<u32, Option<Grudge>> for Touchy {
    fn on_leave(&self, _: &u32, value: &Option<Grudge>, _: Cause) {
        assert!(value.is_none(), "the listener panics, as planned");
    }
}

#[test]
fn a_listener_and_a_drop_that_panic_in_one_write_are_one_panic() {
    let engine = Engine::with(Options::new(1).shards(1), Touchy).unwrap();
    let forgives = Arc::new(AtomicBool::new(false));
    let insert = |key| engine.insert(key, Some(Grudge(Arc::clone(&forgives))));
    let caught = (0..200).filter(|&key| catch_unwind(AssertUnwindSafe(|| insert(key))).is_err()).count();
    forgives.store(true, Ordering::SeqCst);
    assert_eq!((caught, engine.len()), (199, 1));
    engine.flush();
    assert_eq!(Arc::strong_count(&forgives), 2, "each was dropped, but for the one that is there");
}
