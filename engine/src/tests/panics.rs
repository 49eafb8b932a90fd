//! User code that panics at its n-th call, for every kind and every n: nothing is corrupted, leaked or stuck.

use crate::{Cause, Compute, Engine, Lifecycle, Options, Policy};
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Eq,
    Hash,
    KeyClone,
    KeyDrop,
    Clone,
    Drop,
    Weight,
    IsDead,
    Listener,
    Loader,
    Closure,
}

const HOOKS: [Hook; 11] = [
    Hook::Eq,
    Hook::Hash,
    Hook::KeyClone,
    Hook::KeyDrop,
    Hook::Clone,
    Hook::Drop,
    Hook::Weight,
    Hook::IsDead,
    Hook::Listener,
    Hook::Loader,
    Hook::Closure,
];

thread_local! {
    /// Which hook blows, and after how many more calls.
    static FUSE: Cell<Option<(Hook, u32)>> = const { Cell::new(None) };
    /// Keys and values alive.
    static ALIVE: Cell<i64> = const { Cell::new(0) };
    /// A key or value was dropped under a lock. Noted, not asserted: a panic while unwinding would abort.
    static DIED_UNDER_LOCK: Cell<bool> = const { Cell::new(false) };
}

fn call(hook: Hook) {
    match FUSE.get() {
        Some((lit, 0)) if lit == hook => {
            FUSE.set(None);
            panic!("{hook:?} panics, as planned");
        }
        Some((lit, left)) if lit == hook => FUSE.set(Some((lit, left - 1))),
        _ => {}
    }
}

fn died() {
    ALIVE.set(ALIVE.get() - 1);
    DIED_UNDER_LOCK.set(DIED_UNDER_LOCK.get() || crate::held::depth() > 0);
}

#[derive(Debug)]
struct Key(u32);

#[derive(Debug)]
struct Value {
    weight: u64,
    dead: bool,
}

fn key(name: u32) -> Key {
    ALIVE.set(ALIVE.get() + 1);
    Key(name)
}

fn value(weight: u64) -> Value {
    ALIVE.set(ALIVE.get() + 1);
    Value { weight, dead: false }
}

fn dead() -> Value {
    let mut value = value(1);
    value.dead = true;
    value
}

fn plain() -> Value {
    value(1)
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        call(Hook::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        call(Hook::Hash);
        self.0.hash(state);
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        call(Hook::KeyClone);
        key(self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        died();
        call(Hook::KeyDrop);
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        call(Hook::Clone);
        let mut clone = value(self.weight);
        clone.dead = self.dead;
        clone
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        died();
        call(Hook::Drop);
    }
}

struct Fused<const LISTENS: bool>;

impl<const LISTENS: bool> Lifecycle<Key, Value> for Fused<LISTENS> {
    const LISTENS: bool = LISTENS;

    fn weight(&self, _: &Key, value: &Value) -> u64 {
        call(Hook::Weight);
        value.weight
    }

    fn is_dead(&self, _: &Key, value: &Value) -> bool {
        call(Hook::IsDead);
        value.dead
    }

    fn on_leave(&self, _: &Key, _: &Value, _: Cause) {
        call(Hook::Listener);
    }
}

type Step<const LISTENS: bool> = fn(&Engine<Key, Value, Fused<LISTENS>>);

/// Small, but every operation is in it, and every way to leave. The keys that look up are made outside the engine.
fn script<const LISTENS: bool>() -> Vec<Step<LISTENS>> {
    vec![
        |engine| ignore(engine.insert(key(1), value(1))),
        |engine| ignore(engine.insert(key(2), value(2))),
        |engine| ignore(engine.get(&key(1))),
        |engine| ignore(engine.insert(key(1), value(2))),
        |engine| ignore(engine.insert(key(3), dead())),
        |engine| {
            ignore(engine.get_or_insert_with(&key(3), || {
                call(Hook::Loader);
                value(1)
            }));
        },
        |engine| ignore(engine.insert(key(4), value(3))),
        |engine| ignore(engine.insert(key(4), value(4))),
        |engine| {
            ignore(engine.insert_if(key(5), value(1), |_| {
                call(Hook::Closure);
                true
            }));
        },
        |engine| ignore(engine.insert_if(key(5), value(1), |_| false)),
        |engine| {
            ignore(engine.compute(key(5), |old| {
                call(Hook::Closure);
                Compute::Put(value(old.map_or(1, |old| old.weight + 1)))
            }));
        },
        |engine| ignore(engine.compute(key(5), |_| Compute::Keep)),
        |engine| {
            ignore(engine.get_or_insert_with(&key(6), || {
                ignore(engine.insert(key(6), value(1)));
                call(Hook::Loader);
                value(2)
            }));
        },
        |engine| ignore(engine.try_get_or_insert_with(&key(7), || Err::<Value, ()>(()))),
        |engine| ignore(engine.remove(&key(6))),
        |engine| ignore(engine.insert(key(6), dead())),
        |engine| ignore(engine.insert(key(7), value(1))),
        |engine| {
            ignore(engine.take_if(&key(7), |_| {
                call(Hook::Closure);
                true
            }));
        },
        |engine| ignore(engine.insert(key(7), value(9))),
        |engine| ignore(engine.insert(key(8), value(1))),
        |engine| ignore(engine.take(&key(8))),
        |engine| ignore(engine.insert(key(9), dead())),
        |engine| ignore(engine.compute(key(5), |_| Compute::Remove)),
        |engine| ignore(engine.insert(key(5), value(2))),
        |engine| engine.set_capacity(3),
        |engine| ignore(engine.keys()),
        |engine| engine.for_each(|_, _| call(Hook::Closure)),
        |engine| engine.set_capacity(6),
        |engine| ignore(engine.insert(key(2), value(2))),
        |engine| {
            engine.retain(|key, _| {
                call(Hook::Closure);
                key.0 != 2
            });
        },
        |engine| ignore(engine.insert(key(2), value(2))),
        |engine| engine.clear(),
        |engine| ignore(engine.insert(key(2), value(2))),
    ]
}

/// Runs the script with a fuse; says whether it blew.
fn blows<const LISTENS: bool>(policy: Policy, hook: Hook, nth: u32) -> bool {
    let options = Options::new(6).shards(1).policy(policy);
    let engine = Engine::with(options, Fused::<LISTENS>).unwrap();
    FUSE.set(Some((hook, nth)));
    let mut blown = false;
    for step in script::<LISTENS>() {
        blown |= catch_unwind(AssertUnwindSafe(|| step(&engine))).is_err();
        let fuse = FUSE.take();
        assert!(!DIED_UNDER_LOCK.get(), "{hook:?} {nth} {policy:?}: drops run outside all locks");
        assert_eq!(crate::held::depth(), 0, "{hook:?} {nth} {policy:?}: no mark of a lock stays behind");
        engine.validate();
        let mut weight = 0;
        let mut count = 0;
        for name in 1..10 {
            // Dead values are seen by this look, too, and nothing is changed by it.
            let inserted = engine.insert_if(key(name), plain(), |old| {
                weight += old.map_or(0, |old| old.weight);
                count += usize::from(old.is_some());
                false
            });
            assert_eq!(inserted, None);
        }
        assert_eq!((count, weight), (engine.len(), engine.weight()), "{hook:?} {nth}");
        FUSE.set(fuse);
    }
    FUSE.set(None);
    for name in 1..10 {
        let loaded = engine.get_or_insert_with(&key(name), || value(1));
        assert!(loaded.is_ok(), "{hook:?} {nth}: no flight stayed behind");
    }
    engine.clear();
    assert_eq!(ALIVE.get(), 0, "{hook:?} {nth} {policy:?}: all that left is dropped, once");
    ignore(engine.insert(key(1), value(1)));
    assert_eq!(engine.get(&key(1)).map(|value| value.weight), Some(1));
    drop(engine);
    assert_eq!(ALIVE.get(), 0, "{hook:?} {nth} {policy:?}: the engine drops what it holds, once");
    blown
}

#[test]
fn a_panic_at_any_call_of_any_hook_loses_and_breaks_nothing() {
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        for hook in HOOKS {
            let mut heard = 0;
            while blows::<true>(policy, hook, heard) {
                heard += 1;
            }
            let mut unheard = 0;
            while blows::<false>(policy, hook, unheard) {
                unheard += 1;
            }
            assert!(heard > 0, "{hook:?} is called at all");
            assert_eq!(unheard == 0, hook == Hook::Listener);
        }
    }
}

/// Operations answer with all sorts of things; here only what they do counts.
fn ignore<T>(_: T) {}
