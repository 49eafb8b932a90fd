//! Values that notice when they are freed while somebody looks at them, in a table so small that places are used again
//! at once. What is freed a moment too early is found here within a second.
//!
//! Each test runs for a moment; `NANOTIER_SHARP_SECS` makes it longer.

use crossbeam_utils::thread::scope;
use nanotier_engine::{Cause, Compute, Engine, Inserted, Lifecycle, Options, Plain, Policy};
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Who is alive, written down apart from the values themselves: each has a number that is never given again, and stands
/// in the place of its number until it is dropped. All relaxed: it must not order what the engine should.
struct Ledger {
    last: AtomicU64,
    places: [AtomicU64; PLACES],
}

const PLACES: usize = 1 << 13;

impl Ledger {
    const fn new() -> Self {
        Self { last: AtomicU64::new(0), places: [const { AtomicU64::new(0) }; PLACES] }
    }

    fn place(&self, id: u64) -> &AtomicU64 {
        &self.places[usize::try_from(id).unwrap() % PLACES]
    }

    fn enter(&self) -> u64 {
        loop {
            let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            if self.place(id).compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return id;
            }
        }
    }

    fn leave(&self, id: u64) {
        let left = self.place(id).compare_exchange(id, 0, Ordering::Relaxed, Ordering::Relaxed);
        assert!(left.is_ok(), "a value was dropped twice");
    }

    fn alive(&self) -> usize {
        self.places.iter().filter(|place| place.load(Ordering::Relaxed) != 0).count()
    }
}

/// A value that says thrice which it is: in its own bytes, on the heap and in the ledger. In atomics, so that each look
/// is one, and so that a wrong one is found by the check and not by luck.
struct Canary {
    key: AtomicU64,
    id: AtomicU64,
    check: AtomicU64,
    body: Box<[AtomicU64; 2]>,
    ledger: &'static Ledger,
}

impl Canary {
    fn new(key: u64, ledger: &'static Ledger) -> Self {
        let id = ledger.enter();
        let check = mix(key, id);
        Self {
            key: key.into(),
            id: id.into(),
            check: check.into(),
            body: Box::new([check.into(), (!check).into()]),
            ledger,
        }
    }

    fn assert_whole(&self, key: u64) {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        assert_eq!(load(&self.key), key, "a value was served for another key");
        let id = load(&self.id);
        let check = mix(key, id);
        assert_eq!(load(&self.check), check, "a value was overwritten while it was read");
        assert_eq!(load(self.ledger.place(id)), id, "a value was dropped while it was read");
        let body = (load(&self.body[0]), load(&self.body[1]));
        assert_eq!(body, (check, !check), "a value's body was freed while it was read");
    }

    /// The least that there is to check.
    fn assert_alive(&self) {
        let id = self.id.load(Ordering::Relaxed);
        let is_alive = self.ledger.place(id).load(Ordering::Relaxed) == id;
        assert!(is_alive, "a value was dropped while it was read");
    }

    /// Looks for as long as a slow reader would, and lets others go first on the way.
    fn assert_stays_whole(&self, key: u64, yields: bool) {
        let id = self.id.load(Ordering::Relaxed);
        for check in 0..40 {
            if yields && check == 20 {
                thread::yield_now();
            }
            self.assert_whole(key);
            assert_eq!(self.id.load(Ordering::Relaxed), id, "a value became another one while it was read");
        }
    }
}

impl Clone for Canary {
    fn clone(&self) -> Self {
        let key = self.key.load(Ordering::Relaxed);
        self.assert_whole(key);
        Self::new(key, self.ledger)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.assert_whole(self.key.load(Ordering::Relaxed));
        self.ledger.leave(*self.id.get_mut());
        for word in &*self.body {
            word.store(0xdead, Ordering::Relaxed);
        }
    }
}

fn mix(key: u64, id: u64) -> u64 {
    (key ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(id | 1).rotate_left(17)
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// When a test has run for long enough.
struct Deadline(Instant);

impl Deadline {
    fn new() -> Self {
        let long = std::env::var("NANOTIER_SHARP_SECS").ok().and_then(|secs| secs.parse().ok());
        Self(Instant::now() + long.map_or(Duration::from_millis(400), Duration::from_secs))
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// What never comes is a failure, not a hang.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within half a minute");
        thread::yield_now();
    }
}

/// At rest, and after a flush, what is resident is all that lives; and without the engine, nothing does.
fn assert_dropped_once<L, S>(engine: Engine<u64, Canary, L, S>, ledger: &Ledger)
where
    L: Lifecycle<u64, Canary>,
    S: BuildHasher,
{
    until("all that left is dropped", || {
        // Once is enough, but for where another strategy than hazard pointers reclaims.
        engine.flush();
        ledger.alive() == engine.len()
    });
    let mut resident = 0;
    engine.for_each(|&key, value| {
        value.assert_whole(key);
        resident += 1;
    });
    assert!(resident <= engine.len());
    drop(engine);
    assert_eq!(ledger.alive(), 0, "leaked");
}

/// Four entries in one shard, and eight keys for them.
const CAPACITY: u64 = 4;
const KEYS: u64 = 8;

fn tiny<L: Lifecycle<u64, Canary>>(policy: Policy, lifecycle: L) -> Engine<u64, Canary, L> {
    Engine::with(Options::new(CAPACITY).shards(1).policy(policy), lifecycle).unwrap()
}

/// Everything that makes entries leave.
fn churn<L, S>(
    engine: &Engine<u64, Canary, L, S>,
    ledger: &'static Ledger,
    seed: u64,
    over: impl Fn() -> bool,
) where
    L: Lifecycle<u64, Canary>,
    S: BuildHasher,
{
    let mut seed = seed * 0x9e37_79b9;
    while !over() {
        for _ in 0..16 {
            let random = next(&mut seed);
            let key = (random >> 8) % KEYS;
            match random % 16 {
                0..8 => drop(engine.insert(key, Canary::new(key, ledger))),
                8 => drop(engine.insert_if(key, Canary::new(key, ledger), |old| {
                    old.inspect(|old| old.assert_whole(key)).is_some()
                })),
                9 => drop(engine.compute(key, |_| Compute::Put(Canary::new(key, ledger)))),
                10 | 11 => drop(engine.remove(&key)),
                12 => drop(engine.take(&key).inspect(|value| value.assert_whole(key))),
                13 if random >> 60 == 0 => engine.clear(),
                13 if random >> 60 == 1 => engine.retain(|key, value| {
                    value.assert_whole(*key);
                    key % 2 == 0
                }),
                _ => engine.flush(),
            }
        }
    }
}

/// Looks at each key in turn; says how often something was found.
fn look<L, S>(engine: &Engine<u64, Canary, L, S>, yields: bool, over: impl Fn() -> bool) -> usize
where
    L: Lifecycle<u64, Canary>,
    S: BuildHasher,
{
    let (mut turn, mut found) = (0, 0);
    while !over() {
        for _ in 0..64 {
            turn += 1;
            let key = turn % KEYS;
            let shown = engine.read(&key, |value| value.assert_stays_whole(key, yields && turn % 8 == 0));
            found += usize::from(shown.is_some());
        }
    }
    found
}

/// Writers, and readers that look for long; then all is dropped once.
fn looks_and_churn<L, S>(engine: Engine<u64, Canary, L, S>, ledger: &'static Ledger, writers: u64)
where
    L: Lifecycle<u64, Canary>,
    S: BuildHasher + Sync,
{
    let deadline = Deadline::new();
    let found = AtomicUsize::new(0);
    scope(|scope| {
        for seed in 1..=writers {
            let (engine, deadline) = (&engine, &deadline);
            scope.spawn(move |_| churn(engine, ledger, seed, || deadline.is_over()));
        }
        for yields in [true, false] {
            let (engine, deadline, found) = (&engine, &deadline, &found);
            scope.spawn(move |_| {
                found.fetch_add(look(engine, yields, || deadline.is_over()), Ordering::Relaxed);
            });
        }
    })
    .expect("every thread joined");
    assert!(found.into_inner() > 0, "the readers have found nothing to look at");
    assert_dropped_once(engine, ledger);
}

#[test]
fn a_value_stays_whole_for_as_long_as_it_is_looked_at() {
    static LEDGER: Ledger = Ledger::new();
    looks_and_churn(tiny(Policy::Clock, Plain), &LEDGER, 1);
}

#[test]
fn a_value_stays_whole_under_two_writers() {
    static LEDGER: Ledger = Ledger::new();
    looks_and_churn(tiny(Policy::Clock, Plain), &LEDGER, 2);
}

#[test]
fn a_value_stays_whole_where_a_look_takes_the_lock_first() {
    static LEDGER: Ledger = Ledger::new();
    looks_and_churn(tiny(Policy::Lru, Plain), &LEDGER, 2);
}

/// Weighs, expires and is told.
struct Curious;

impl Lifecycle<u64, Canary> for Curious {
    fn is_dead(&self, &key: &u64, value: &Canary) -> bool {
        value.assert_whole(key);
        value.id.load(Ordering::Relaxed) % 13 == 0
    }

    fn on_leave(&self, &key: &u64, value: &Canary, _: Cause) {
        value.assert_stays_whole(key, false);
    }
}

#[test]
fn a_value_stays_whole_until_its_listener_has_heard_of_it() {
    static LEDGER: Ledger = Ledger::new();
    looks_and_churn(tiny(Policy::Clock, Curious), &LEDGER, 2);
}

/// Short looks, each preceded by writes to lines that the writer also writes to: the naming of the node queues behind
/// them on its way to memory, for far longer than the writer needs to replace the value and drop it. Without a barrier
/// on the reader's processor, the writer would not see the name.
#[test]
fn a_value_stays_whole_when_its_naming_is_slow_to_arrive() {
    #[repr(align(128))]
    struct Line(AtomicU64);
    static LEDGER: Ledger = Ledger::new();
    static LINES: [Line; 40] = [const { Line(AtomicU64::new(0)) }; 40];
    let engine = tiny(Policy::Clock, Plain);
    let deadline = Deadline::new();
    engine.insert(0, Canary::new(0, &LEDGER));
    scope(|scope| {
        scope.spawn(|_| {
            let mut turn = 0;
            while !deadline.is_over() {
                for _ in 0..64 {
                    turn += 1;
                    for line in &LINES {
                        line.0.store(turn, Ordering::Relaxed);
                    }
                    engine.insert(0, Canary::new(0, &LEDGER));
                    engine.flush();
                }
            }
        });
        scope.spawn(|_| {
            let mut turn = 0;
            while !deadline.is_over() {
                for _ in 0..64 {
                    turn += 1;
                    for line in &LINES {
                        line.0.store(turn, Ordering::Relaxed);
                    }
                    let seen = engine.read(&0, |value| (0..12).for_each(|_| value.assert_whole(0)));
                    assert!(seen.is_some(), "neither the old value nor the new");
                }
            }
        });
    })
    .expect("every thread joined");
    assert_dropped_once(engine, &LEDGER);
}

/// More threads than processors that do nothing but look up: whatever moment they are stopped at, it is often the one
/// between finding a node and naming it. There are two nodes for the one key: half of the time, the one that was found
/// has its old value still, and that has been dropped.
#[test]
fn a_value_stays_whole_for_who_was_stopped_between_finding_and_naming_it() {
    static LEDGER: Ledger = Ledger::new();
    let engine = tiny(Policy::Clock, Plain);
    let deadline = Deadline::new();
    engine.insert(0, Canary::new(0, &LEDGER));
    scope(|scope| {
        scope.spawn(|_| {
            while !deadline.is_over() {
                engine.insert(0, Canary::new(0, &LEDGER));
                engine.flush();
            }
        });
        for nth in 0..6 {
            let (engine, deadline) = (&engine, &deadline);
            scope.spawn(move |_| {
                let look = || {
                    for _ in 0..256 {
                        let seen = engine.read(&0, Canary::assert_alive);
                        assert!(seen.is_some(), "neither the old value nor the new");
                    }
                };
                while !deadline.is_over() {
                    // By the long way, too.
                    if nth % 2 == 0 { look() } else { assert!(engine.read(&0, |_| look()).is_some()) }
                }
            });
        }
    })
    .expect("every thread joined");
    assert_dropped_once(engine, &LEDGER);
}

/// Looks within looks, deeper than a thread has slots of its own; each stays whole to its end.
fn nest<L: Lifecycle<u64, Canary>>(engine: &Engine<u64, Canary, L>, depth: u64) -> usize {
    let key = depth % KEYS;
    let deeper = |value: &Canary| {
        let id = value.id.load(Ordering::Relaxed);
        let found = if depth > 0 { nest(engine, depth - 1) } else { 0 };
        value.assert_stays_whole(key, depth == 12);
        assert_eq!(value.id.load(Ordering::Relaxed), id, "a value became another one while it was read");
        found + 1
    };
    match engine.read(&key, deeper) {
        Some(found) => found,
        None if depth > 0 => nest(engine, depth - 1),
        None => 0,
    }
}

#[test]
fn values_stay_whole_in_looks_nested_deeper_than_a_thread_has_slots() {
    static LEDGER: Ledger = Ledger::new();
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        let engine = tiny(policy, Plain);
        let deadline = Deadline::new();
        let deepest = AtomicUsize::new(0);
        scope(|scope| {
            for seed in 1..=2 {
                let (engine, deadline) = (&engine, &deadline);
                scope.spawn(move |_| churn(engine, &LEDGER, seed, || deadline.is_over()));
            }
            for _ in 0..2 {
                scope.spawn(|_| {
                    while !deadline.is_over() {
                        deepest.fetch_max(nest(&engine, 30), Ordering::Relaxed);
                    }
                });
            }
        })
        .expect("every thread joined");
        assert!(deepest.into_inner() > 8, "no look was nested deeply enough");
        assert_dropped_once(engine, &LEDGER);
    }
}

#[test]
fn threads_that_come_and_go_are_protected_from_their_first_look_to_their_last() {
    static LEDGER: Ledger = Ledger::new();
    let engine = tiny(Policy::Clock, Plain);
    let deadline = Deadline::new();
    let looks = AtomicUsize::new(0);
    scope(|scope| {
        for seed in 1..=2 {
            let (engine, deadline) = (&engine, &deadline);
            scope.spawn(move |_| churn(engine, &LEDGER, seed, || deadline.is_over()));
        }
        while !deadline.is_over() {
            let short: Vec<_> = (0..4).map(|_| scope.spawn(|_| nest(&engine, 10))).collect();
            for thread in short {
                looks.fetch_add(thread.join().unwrap(), Ordering::Relaxed);
            }
        }
    })
    .expect("every thread joined");
    assert!(looks.into_inner() > 0);
    assert_dropped_once(engine, &LEDGER);
}

type Tiny = Engine<u64, Canary>;

/// Looks when its thread ends. A panic there would end the process, so it is written down.
struct Late(Arc<Tiny>, Arc<AtomicUsize>);

static SPOILT: AtomicBool = AtomicBool::new(false);

impl Drop for Late {
    fn drop(&mut self) {
        match catch_unwind(AssertUnwindSafe(|| nest(&self.0, 12))) {
            Ok(found) => drop(self.1.fetch_add(found, Ordering::Relaxed)),
            Err(_) => SPOILT.store(true, Ordering::Relaxed),
        }
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

/// A thread-local made before the thread's first look is dropped after the engine's own; one made after it, before; and
/// where the destructor makes the first look, there is nothing of the engine's yet.
#[test]
fn a_destructor_of_a_thread_local_may_look() {
    static LEDGER: Ledger = Ledger::new();
    let engine: Arc<Tiny> = Arc::new(tiny(Policy::Clock, Plain));
    let deadline = Deadline::new();
    let found = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    scope(|scope| {
        for seed in 1..=2 {
            let (engine, deadline) = (&engine, &deadline);
            scope.spawn(move |_| churn(engine, &LEDGER, seed, || deadline.is_over()));
        }
        while !deadline.is_over() {
            let ending = found.each_ref().map(|found| Late(Arc::clone(&engine), Arc::clone(found)));
            let late = |late| LATE.with(|place| *place.borrow_mut() = Some(late));
            let looks = || nest(&engine, 1);
            let [before, after, only] = ending;
            let threads = [
                scope.spawn(move |_| (late(before), looks()).1),
                scope.spawn(move |_| (looks(), late(after)).0),
                scope.spawn(move |_| (late(only), 0).1),
            ];
            for thread in threads {
                thread.join().unwrap();
            }
        }
    })
    .expect("every thread joined");
    // Joined is not ended: thread-locals may outlive what was joined by a moment.
    until("the last thread-locals are gone", || Arc::strong_count(&engine) == 1);
    assert!(!SPOILT.load(Ordering::Relaxed), "a look in a destructor has failed; see above");
    assert!(
        found.iter().all(|found| found.load(Ordering::Relaxed) > 0),
        "a destructor has found nothing at all"
    );
    assert_dropped_once(Arc::into_inner(engine).unwrap(), &LEDGER);
}

/// Says that it weighs, so that the index begins small.
struct Weighing;

impl<V> Lifecycle<u64, V> for Weighing {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;
}

#[test]
fn what_is_there_all_the_time_is_visited_once_and_always_found_while_the_index_grows() {
    static LEDGER: Ledger = Ledger::new();
    const STABLE: u64 = 60;
    const MOST: u64 = 3000;
    let deadline = Deadline::new();
    let mut visits = 0;
    while !deadline.is_over() {
        let engine = Engine::with(Options::new(1 << 20).shards(2), Weighing).unwrap();
        for key in 0..STABLE {
            engine.insert(key, Canary::new(key, &LEDGER));
        }
        let done = AtomicBool::new(false);
        scope(|scope| {
            scope.spawn(|_| {
                for key in STABLE..MOST {
                    engine.insert(key, Canary::new(key, &LEDGER));
                    // Some leave again, so that places are used again.
                    if key % 3 == 2 {
                        engine.remove(&(key - 1));
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            scope.spawn(|_| {
                let mut key = 0;
                while !done.load(Ordering::Relaxed) {
                    key = (key + 1) % STABLE;
                    let seen = engine.read(&key, |value| value.assert_whole(key));
                    assert!(seen.is_some(), "a look-up has missed what is there");
                }
            });
            while !done.load(Ordering::Relaxed) {
                let mut seen = vec![0_u32; usize::try_from(STABLE).unwrap()];
                engine.for_each(|&key, value| {
                    value.assert_whole(key);
                    if let Some(times) = seen.get_mut(usize::try_from(key).unwrap()) {
                        *times += 1;
                    }
                });
                assert!(seen.iter().all(|&times| times == 1), "not once each: {seen:?}");
                visits += 1;
            }
        })
        .expect("every thread joined");
        assert_dropped_once(engine, &LEDGER);
    }
    assert!(visits > 0);
}

/// Hashes nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Constant;

impl BuildHasher for Constant {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }

    fn write(&mut self, _: &[u8]) {}
}

#[test]
fn keys_that_all_collide_are_never_taken_for_one_another() {
    static LEDGER: Ledger = Ledger::new();
    let engine = Engine::with_hasher(Options::new(CAPACITY).shards(1), Plain, Constant).unwrap();
    looks_and_churn(engine, &LEDGER, 2);
}

#[test]
fn colliding_keys_that_stay_are_found_while_others_of_the_same_hash_come_and_go() {
    static LEDGER: Ledger = Ledger::new();
    const STABLE: u64 = 12;
    let engine = Engine::with_hasher(Options::new(200).shards(1), Plain, Constant).unwrap();
    // Every other one leaves again: the others are in several buckets, with gaps before them.
    for key in 0..2 * STABLE {
        engine.insert(key, Canary::new(key, &LEDGER));
    }
    let deadline = Deadline::new();
    scope(|scope| {
        scope.spawn(|_| {
            let mut seed = 7;
            while !deadline.is_over() {
                let random = next(&mut seed);
                let key = random % STABLE * 2 + 1;
                match random >> 60 {
                    0..8 => drop(engine.insert(key, Canary::new(key, &LEDGER))),
                    8..15 => drop(engine.remove(&key)),
                    _ => engine.flush(),
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|_| {
                while !deadline.is_over() {
                    for key in (0..STABLE).map(|nth| 2 * nth) {
                        let seen = engine.read(&key, |value| value.assert_whole(key));
                        assert!(seen.is_some(), "a look-up has missed what is there");
                    }
                }
            });
        }
    })
    .expect("every thread joined");
    assert_dropped_once(engine, &LEDGER);
}

#[test]
fn what_is_taken_belongs_to_one_taker_and_is_looked_at_by_nobody_any_more() {
    static LEDGER: Ledger = Ledger::new();
    let engine = tiny(Policy::Clock, Plain);
    let deadline = Deadline::new();
    let (put, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    scope(|scope| {
        scope.spawn(|_| {
            let mut key = 0;
            while !deadline.is_over() {
                key = (key + 1) % CAPACITY;
                let inserted = engine.insert_if(key, Canary::new(key, &LEDGER), |old| old.is_none());
                put.fetch_add(usize::from(inserted.is_some()), Ordering::Relaxed);
            }
        });
        for _ in 0..2 {
            scope.spawn(|_| {
                let mut key = 0;
                while !deadline.is_over() {
                    key = (key + 1) % CAPACITY;
                    if let Some(value) = engine.take(&key) {
                        value.assert_whole(key);
                        taken.fetch_add(1, Ordering::Relaxed);
                        // Dropped here: the ledger knows if it is taken twice, and whoever looks at it, too.
                    }
                }
            });
        }
        scope.spawn(|_| look(&engine, true, || deadline.is_over()));
    })
    .expect("every thread joined");
    let (put, taken) = (put.into_inner(), taken.into_inner());
    assert!(taken > 0);
    assert_eq!(put, taken + engine.len(), "each value is taken once, or still there");
    assert_dropped_once(engine, &LEDGER);
}

/// A key whose comparison with others can be held up: it is user code, and runs in the middle of a look-up.
struct Slow {
    key: u64,
    gate: Option<Arc<Gate>>,
}

/// Stops who comes by once more than `free` times, until it is opened.
#[derive(Default)]
struct Gate {
    free: AtomicUsize,
    reached: AtomicBool,
    open: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        if self.free.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.reached.store(true, Ordering::Release);
            until("the gate opens", || self.open.load(Ordering::Acquire));
        }
    }
}

fn slow(key: u64) -> Slow {
    Slow { key, gate: None }
}

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Eq for Slow {}

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        let is_same = self.key == other.key;
        if let (Some(gate), false) = (&self.gate, is_same) {
            gate.pass();
        }
        is_same
    }
}

/// As [`Weighing`], for slow keys.
struct Growing;

impl Lifecycle<Slow, Canary> for Growing {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;
}

/// Small keys collide; the others are spread.
#[derive(Debug, Clone, Copy, Default)]
struct Clustered(u64);

impl BuildHasher for Clustered {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Clustered {
    fn finish(&self) -> u64 {
        if self.0 < 10 { 0 } else { self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Whether a look-up of key 4, stopped in its comparison with another key after `free` such comparisons, finds
/// anything, if it is stopped at all: while it is, the index is outgrown, and key 4 leaves and is dropped.
fn found_after_growth(free: usize, ledger: &'static Ledger) -> Option<bool> {
    let engine: Engine<Slow, Canary, Growing, Clustered> =
        Engine::with_hasher(Options::new(1 << 20).shards(1), Growing, Clustered::default()).unwrap();
    let insert = |key| assert_eq!(engine.insert(slow(key), Canary::new(key, ledger)), Inserted::Done);
    (1..=4).for_each(insert);
    let gate = Arc::new(Gate { free: free.into(), ..Gate::default() });
    let sought = Slow { key: 4, gate: Some(Arc::clone(&gate)) };
    let (done, found) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut stopped = false;
    scope(|scope| {
        scope.spawn(|_| {
            let seen = engine.read(&sought, |value| value.assert_whole(4));
            found.store(seen.is_some(), Ordering::Relaxed);
            done.store(true, Ordering::Release);
        });
        let is = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        until("the reader has come to the gate, or by it", || is(&gate.reached) || is(&done));
        stopped = is(&gate.reached);
        (10..2000).for_each(insert);
        assert!(engine.remove(&slow(4)));
        engine.flush();
        if cfg!(not(nanotier_epoch)) {
            assert_eq!(ledger.alive(), engine.len(), "who looks for something holds nothing else");
        }
        gate.open.store(true, Ordering::Release);
    })
    .expect("every thread joined");
    stopped.then_some(found.into_inner())
}

#[test]
fn a_look_up_that_an_index_outgrew_on_the_way_finds_nothing_that_has_left() {
    static LEDGER: Ledger = Ledger::new();
    let mut stops = 0;
    while let Some(found) = found_after_growth(stops, &LEDGER) {
        assert!(!found, "stopped after {stops} comparisons: what has left is found");
        assert_eq!(LEDGER.alive(), 0);
        stops += 1;
    }
    assert!(stops > 1, "no look-up was stopped on its long way");
}
