//! User code that calls back: what may, works; what would wait for itself, panics with a sentence.

use nanotier_engine::{Cause, Compute, Engine, Inserted, Lifecycle, Options, Plain, Policy};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

type Numbers = Engine<u32, u32>;

fn each_policy() -> [Numbers; 3] {
    [Policy::Clock, Policy::Lru, Policy::Adaptive].map(|policy| {
        let engine = Engine::with(Options::new(100).shards(4).policy(policy), Plain).unwrap();
        engine.insert(1, 10);
        engine.insert(2, 20);
        engine
    })
}

fn refused(f: impl FnOnce()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(f)) else { return false };
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied())
        .is_some_and(|sentence| sentence.contains("it would wait for itself"))
}

#[test]
fn reads_nest_in_reads() {
    for engine in each_policy() {
        let sum = engine.read(&1, |one| engine.read(&2, |two| engine.get(&1).map(|again| one + two + again)));
        assert_eq!(sum, Some(Some(Some(40))));
        let mut seen = 0;
        engine.for_each(|key, _| {
            seen += engine.get(key).unwrap_or_default() + engine.peek(key).unwrap_or_default();
        });
        assert_eq!(seen, 60);
    }
}

#[test]
fn a_nested_read_does_not_queue_behind_a_waiting_writer() {
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        let engine: Numbers = Engine::with(Options::new(10).shards(1).policy(policy), Plain).unwrap();
        engine.insert(1, 10);
        let done = AtomicBool::new(false);
        crossbeam_utils::thread::scope(|scope| {
            scope.spawn(|_| {
                while !done.load(Ordering::SeqCst) {
                    engine.insert(2, 20);
                }
            });
            for _ in 0..2000 {
                let nested = engine.read(&1, |_| {
                    std::thread::yield_now();
                    engine.get(&1)
                });
                assert_eq!(nested, Some(Some(10)));
            }
            done.store(true, Ordering::SeqCst);
        })
        .expect("every thread joined");
    }
}

#[test]
fn deeply_nested_reads_work_and_a_write_in_them_too() {
    fn nest(engine: &Numbers, depth: u32, innermost: &dyn Fn()) -> u32 {
        let deeper = |_: &u32| {
            if depth > 0 {
                return nest(engine, depth - 1, innermost) + 1;
            }
            innermost();
            0
        };
        engine.read(&1, deeper).unwrap()
    }
    for engine in each_policy() {
        for depth in [0, 1, 6, 7, 8, 9, 50] {
            let write = || {
                assert_eq!(
                    engine.insert(3, depth),
                    if depth == 0 { Inserted::Done } else { Inserted::Replaced }
                );
            };
            assert_eq!(nest(&engine, depth, &write), depth);
            assert_eq!(engine.get(&3), Some(depth));
        }
    }
}

#[test]
fn a_read_may_do_anything_even_to_what_it_reads() {
    let writes: [fn(&Numbers); 9] = [
        |engine| ignore(engine.insert(1, 7)),
        |engine| ignore(engine.insert_if(1, 7, |_| true)),
        |engine| ignore(engine.compute(1, |_| Compute::Remove)),
        |engine| ignore(engine.remove(&1)),
        |engine| ignore(engine.take(&3)),
        |engine| engine.retain(|_, _| false),
        |engine| engine.clear(),
        |engine| engine.set_capacity(0),
        |engine| {
            engine.remove(&1);
            ignore(engine.get_or_insert_with(&1, || 7));
            engine.flush();
        },
    ];
    for write in writes {
        for engine in each_policy() {
            let seen = engine.read(&1, |value| {
                write(&engine);
                // Reused, were it free.
                (100..200).for_each(|key| ignore(engine.insert(key, key)));
                *value
            });
            assert_eq!(seen, Some(10));
        }
        for engine in each_policy() {
            engine.for_each(|_, _| write(&engine));
            engine.for_each(|key, value| assert!(*value == key * 10 || *value == 7));
        }
    }
}

#[test]
fn to_take_what_one_is_reading_is_refused_with_a_sentence_and_not_a_hang() {
    for engine in each_policy() {
        assert!(refused(|| ignore(engine.read(&1, |_| engine.take(&1)))));
        assert!(refused(|| ignore(engine.read(&1, |_| engine.read(&2, |_| engine.take_if(&1, |_| true))))));
        assert!(refused(|| engine.for_each(|key, _| ignore(engine.take(key)))));
        assert_eq!(
            (engine.get(&1), engine.get(&2), engine.len()),
            (Some(10), Some(20), 2),
            "nothing is lost"
        );
        assert_eq!(engine.take(&1), Some(10));
    }
}

#[test]
fn a_write_from_under_a_lock_is_refused_with_a_sentence_and_not_a_hang() {
    let writes: [fn(&Numbers); 12] = [
        |engine| ignore(engine.insert(7, 7)),
        |engine| ignore(engine.insert_if(7, 7, |_| true)),
        |engine| ignore(engine.compute(7, |_| Compute::Keep)),
        |engine| ignore(engine.remove(&7)),
        |engine| ignore(engine.take(&7)),
        |engine| ignore(engine.take_if(&7, |_| true)),
        |engine| ignore(engine.remove_if(&7, |_| true)),
        |engine| engine.retain(|_, _| true),
        |engine| engine.clear(),
        |engine| engine.set_capacity(10),
        // Also on a hit, which alone would not hang.
        |engine| ignore(engine.get_or_insert_with(&1, || 7)),
        |engine| ignore(engine.try_get_or_insert_with(&7, || Err::<u32, ()>(()))),
    ];
    for engine in each_policy() {
        for write in writes {
            assert!(refused(|| ignore(engine.insert_if(1, 0, |_| {
                write(&engine);
                true
            }))));
            assert!(refused(|| ignore(engine.compute(1, |_| {
                write(&engine);
                Compute::Remove
            }))));
            assert!(refused(|| engine.retain(|_, _| {
                write(&engine);
                false
            })));
            assert!(refused(|| ignore(engine.take_if(&1, |_| {
                write(&engine);
                true
            }))));
        }
        assert_eq!((engine.get(&1), engine.get(&2), engine.len()), (Some(10), Some(20), 2));
    }
}

#[test]
fn a_read_from_under_a_lock_is_answered_whichever_its_shard() {
    for engine in each_policy() {
        for key in 0..50 {
            let expected = engine.peek(&key);
            engine.compute(1, |_| {
                assert_eq!(engine.get(&key), expected);
                assert_eq!(engine.read(&key, |value| *value), expected);
                engine.for_each(|key, value| assert_eq!(*value, key * 10));
                Compute::Keep
            });
            engine.retain(|_, _| {
                assert_eq!(engine.contains(&key), expected.is_some());
                true
            });
        }
        engine.retain(|_, _| engine.len() == 2 && engine.weight() == 2 && !format!("{engine:?}").is_empty());
        assert_eq!(engine.len(), 2);
    }
}

#[test]
fn another_engine_may_be_written_to_and_the_first_is_still_remembered() {
    let [left, right, _] = each_policy();
    left.compute(1, |_| {
        right.insert(9, 9);
        right.compute(9, |_| {
            assert!(refused(|| ignore(left.insert(9, 9))));
            Compute::Put(left.get(&2).unwrap())
        });
        Compute::Keep
    });
    assert_eq!(right.get(&9), Some(20));
}

#[derive(Default)]
struct Echo(OnceLock<Weak<Engine<u32, u32, Echo>>>);

impl Lifecycle<u32, u32> for Echo {
    fn on_leave(&self, &key: &u32, &value: &u32, cause: Cause) {
        let Some(engine) = self.0.get().and_then(Weak::upgrade) else { return };
        if cause == Cause::Capacity && value > 0 {
            engine.get(&key);
            engine.insert(key, value - 1);
        }
    }
}

#[test]
fn a_listener_may_write_to_the_engine_it_listens_to() {
    let engine = Arc::new(Engine::with(Options::new(2).shards(1), Echo::default()).unwrap());
    engine.lifecycle().0.set(Arc::downgrade(&engine)).unwrap();
    for key in 0..50 {
        engine.insert(key, 3);
    }
    assert_eq!(engine.len(), 2);
}

#[derive(Clone)]
struct Bouncing(Weak<Engine<u32, Bouncing>>, u32);

impl Drop for Bouncing {
    fn drop(&mut self) {
        let Some(engine) = self.0.upgrade() else { return };
        if self.1 > 0 {
            engine.insert(1000 + self.1, Bouncing(self.0.clone(), self.1 - 1));
        }
    }
}

#[test]
fn a_drop_may_write_to_the_engine_it_left() {
    let engine: Arc<Engine<u32, Bouncing>> = Arc::new(Engine::new(4));
    for key in 0..20 {
        engine.insert(key, Bouncing(Arc::downgrade(&engine), 3));
    }
    engine.remove(&19);
    engine.retain(|_, _| false);
    engine.clear();
    assert!(engine.len() <= 4);
}

/// Operations answer with all sorts of things; here only what they do counts.
fn ignore<T>(_: T) {}
