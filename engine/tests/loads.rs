//! One load per key at a time, and what wins over it. Directed: threads meet at barriers, nobody sleeps.

use nanotier_engine::{Compute, Engine, LoadError, Options, Plain};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

type Small = Engine<u32, String>;

fn one_shard() -> Small {
    Engine::with(Options::new(100).shards(1).stats(true), Plain).unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn eight_threads_share_one_load() {
    let (engine, loads, arrived) = (one_shard(), AtomicUsize::new(0), AtomicUsize::new(0));
    crossbeam_utils::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|_| {
                arrived.fetch_add(1, Ordering::SeqCst);
                let value = engine.get_or_insert_with(&1, || {
                    while arrived.load(Ordering::SeqCst) < 8 {
                        thread::yield_now();
                    }
                    loads.fetch_add(1, Ordering::SeqCst);
                    text("loaded")
                });
                assert_eq!(value, Ok(text("loaded")));
            });
        }
    })
    .expect("every thread joined");
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(engine.stats().loads, 1);
}

#[test]
fn other_keys_do_not_wait_during_a_load() {
    let engine = one_shard();
    engine.insert(2, text("two"));
    let value = engine.get_or_insert_with(&1, || {
        // Were the shard locked, this join would never return.
        crossbeam_utils::thread::scope(|scope| {
            let other = scope.spawn(|_| {
                assert_eq!(engine.get(&2), Some(text("two")));
                engine.insert(3, text("three"));
                assert!(engine.remove(&2));
                engine.get_or_insert_with(&4, || text("four"))
            });
            assert_eq!(other.join().unwrap(), Ok(text("four")));
        })
        .expect("every thread joined");
        text("one")
    });
    assert_eq!(value, Ok(text("one")));
    assert_eq!(engine.get(&3), Some(text("three")));
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_told_at_once() {
    let engine = one_shard();
    let value = engine.get_or_insert_with(&1, || {
        assert_eq!(engine.get_or_insert_with(&1, || text("inner")), Err(LoadError::Reentrant));
        text("outer")
    });
    assert_eq!(value, Ok(text("outer")));
    assert_eq!(engine.get(&1), Some(text("outer")));
}

#[test]
fn two_loaders_that_wait_for_each_other_do_not_hang() {
    let (left, right, both) = (one_shard(), one_shard(), Barrier::new(2));
    let ask = |own: &Small, other: &Small| {
        let mut told = false;
        let value = own.get_or_insert_with(&1, || {
            both.wait();
            told = other.get_or_insert_with(&1, || text("nobody's")).is_err();
            text("mine")
        });
        assert_eq!(value, Ok(text("mine")));
        told
    };
    crossbeam_utils::thread::scope(|scope| {
        let first = scope.spawn(|_| ask(&left, &right));
        let second = scope.spawn(|_| ask(&right, &left));
        assert!(first.join().unwrap() ^ second.join().unwrap(), "one of the two closes the circle");
    })
    .expect("every thread joined");
}

#[test]
fn a_panicking_load_is_settled_and_a_waiter_runs_its_own() {
    let (engine, loading) = (one_shard(), Barrier::new(2));
    crossbeam_utils::thread::scope(|scope| {
        let waiter = scope.spawn(|_| {
            loading.wait();
            engine.get_or_insert_with(&1, || text("second"))
        });
        let first = catch_unwind(AssertUnwindSafe(|| {
            engine.get_or_insert_with(&1, || {
                loading.wait();
                thread::yield_now();
                panic!("the loader panics, as planned");
            })
        }));
        assert!(first.is_err(), "the panic goes to the loader's caller");
        assert_eq!(waiter.join().unwrap(), Ok(text("second")));
    })
    .expect("every thread joined");
    assert_eq!(engine.get(&1), Some(text("second")));
}

#[test]
fn a_failed_load_admits_nothing_and_may_be_tried_again() {
    let engine = one_shard();
    assert_eq!(engine.try_get_or_insert_with(&1, || Err("no")), Err(LoadError::Failed("no")));
    assert!(!engine.contains(&1));
    assert_eq!(engine.try_get_or_insert_with(&1, || Ok::<_, ()>(text("yes"))), Ok(text("yes")));
    assert_eq!(engine.get(&1), Some(text("yes")));
}

/// Loads key 1 while `meddle` runs; the loader's caller gets its value in any case. What is resident then?
fn after_meddling(meddle: impl FnOnce(&Small)) -> Option<String> {
    let engine = one_shard();
    let loaded = engine.get_or_insert_with(&1, || {
        meddle(&engine);
        text("loaded")
    });
    assert_eq!(loaded, Ok(text("loaded")));
    engine.get(&1)
}

#[test]
fn a_removed_key_is_gone_even_while_its_load_runs() {
    assert_eq!(after_meddling(|engine| assert!(!engine.remove(&1))), None);
    assert_eq!(after_meddling(|engine| ignore(engine.take(&1))), None);
    assert_eq!(after_meddling(|engine| ignore(engine.compute(1, |_| Compute::Remove))), None);
    assert_eq!(after_meddling(Engine::clear), None);
    assert_eq!(after_meddling(|engine| engine.retain(|_, _| true)), None);
}

#[test]
fn a_write_during_a_load_wins() {
    let new = || text("new");
    assert_eq!(after_meddling(|engine| ignore(engine.insert(1, new()))), Some(new()));
    assert_eq!(after_meddling(|engine| ignore(engine.insert_if(1, new(), |_| true))), Some(new()));
    assert_eq!(after_meddling(|engine| ignore(engine.compute(1, |_| Compute::Put(new())))), Some(new()));
}

#[test]
fn what_changes_nothing_leaves_the_load_alone() {
    let loaded = Some(text("loaded"));
    assert_eq!(after_meddling(|engine| ignore(engine.insert_if(1, text("new"), |_| false))), loaded);
    assert_eq!(after_meddling(|engine| ignore(engine.compute(1, |_| Compute::Keep))), loaded);
    assert_eq!(after_meddling(|engine| ignore(engine.take_if(&1, |_| true))), loaded);
    assert_eq!(after_meddling(|engine| ignore(engine.remove(&2))), loaded);
    assert_eq!(after_meddling(|engine| engine.set_capacity(50)), loaded);
}

#[test]
fn who_comes_after_a_removal_does_not_get_the_older_load() {
    let resident = after_meddling(|engine| {
        engine.remove(&1);
        crossbeam_utils::thread::scope(|scope| {
            let late = scope.spawn(|_| engine.get_or_insert_with(&1, || text("later")));
            assert_eq!(late.join().unwrap(), Ok(text("later")));
        })
        .expect("every thread joined");
    });
    assert_eq!(resident, Some(text("later")), "the older load is not admitted over the later one");
}

#[test]
fn loads_work_where_nothing_is_kept() {
    let engine: Small = Engine::new(0);
    assert_eq!(engine.get_or_insert_with(&1, || text("a")), Ok(text("a")));
    assert_eq!(engine.get_or_insert_with(&1, || text("b")), Ok(text("b")));
    assert!(engine.is_empty());
}

/// Operations answer with all sorts of things; here only what they do counts.
fn ignore<T>(_: T) {}
