//! A reader that is stopped in the middle of a look, for however long, keeps what it looks at and nothing else: what
//! others replace is dropped, memory stays as it is, and everyone else goes on.
//!
//! Each test stops its reader for a moment; `NANOTIER_STOPPED_SECS` makes it longer.
//!
//! Not under `--cfg nanotier_epoch`: there one stopped reader keeps all that leaves from then on, in whatever engine,
//! which is the very reason why it is the oracle and not the strategy.
#![cfg(not(nanotier_epoch))]

use crossbeam_utils::thread::{Scope, scope};
use nanotier_engine::{Engine, Inserted, Lifecycle, Options, Plain, Policy};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Counts how many of its test's values are alive, and how much they weigh.
#[derive(Debug, Default)]
struct Census {
    alive: AtomicI64,
    weight: AtomicI64,
}

impl Census {
    const fn new() -> Self {
        Self { alive: AtomicI64::new(0), weight: AtomicI64::new(0) }
    }

    fn alive(&self) -> usize {
        usize::try_from(self.alive.load(Ordering::Relaxed)).expect("no value is dropped twice")
    }

    fn weight(&self) -> u64 {
        u64::try_from(self.weight.load(Ordering::Relaxed)).expect("no value is dropped twice")
    }
}

/// A value that knows its key, and on the heap, a check over it.
struct Canary {
    key: u64,
    weight: u32,
    body: Box<[AtomicU64; 4]>,
    census: &'static Census,
}

impl Canary {
    fn new(key: u64, census: &'static Census) -> Self {
        Self::heavy(key, 1, census)
    }

    fn heavy(key: u64, weight: u32, census: &'static Census) -> Self {
        census.alive.fetch_add(1, Ordering::Relaxed);
        census.weight.fetch_add(weight.into(), Ordering::Relaxed);
        Self { key, weight, body: Box::new([(); 4].map(|()| mix(key).into())), census }
    }

    fn assert_whole(&self, key: u64) {
        assert_eq!(self.key, key, "a value was served for another key");
        let is_whole = self.body.iter().all(|word| word.load(Ordering::Relaxed) == mix(key));
        assert!(is_whole, "a value was dropped while it was read");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.assert_whole(self.key);
        self.body.iter().for_each(|word| word.store(0xdead, Ordering::Relaxed));
        self.census.alive.fetch_sub(1, Ordering::Relaxed);
        self.census.weight.fetch_sub(self.weight.into(), Ordering::Relaxed);
    }
}

fn mix(key: u64) -> u64 {
    (key ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17)
}

/// For how long a reader is stopped.
fn stop() -> Duration {
    let long = std::env::var("NANOTIER_STOPPED_SECS").ok().and_then(|secs| secs.parse().ok());
    long.map_or(Duration::from_millis(300), Duration::from_secs)
}

/// What never comes is a failure, not a hang.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within half a minute");
        thread::yield_now();
    }
}

/// Where readers stop until they are told to go on.
#[derive(Default)]
struct Stop {
    stopped: AtomicUsize,
    go_on: AtomicBool,
}

impl Stop {
    fn here(&self) {
        self.stopped.fetch_add(1, Ordering::Release);
        while !self.go_on.load(Ordering::Acquire) {
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn wait_for(&self, readers: usize) {
        until("the readers have stopped", || self.stopped.load(Ordering::Acquire) == readers);
    }
}

/// Lets the readers go on also where the test has failed, so that it says so instead of hanging.
struct GoOn<'a>(&'a Stop);

impl Drop for GoOn<'_> {
    fn drop(&mut self) {
        self.0.go_on.store(true, Ordering::Release);
    }
}

type Counted<L> = Engine<u64, Canary, L>;

/// One shard, of which up to 16 that have left wait for one barrier: the least there is.
const CAPACITY: u64 = 64;
const BATCH: usize = 16;
/// More than threads of one test look at in the same engine at the same time, those that are stopped included.
const LOOKED_AT: usize = 64;
const THREADS: usize = 4;

/// What may be alive beside what is resident. Three batches: one that is gathered, one that waits for its barrier, one
/// whose places are about to be used again; a batch is closed when it is full of what nobody looks at. And what each
/// writer has in hand: one that it brings, one that it drops.
const GARBAGE_MAX: usize = 3 * (BATCH + LOOKED_AT) + 2 * THREADS;

fn counted<L: Lifecycle<u64, Canary>>(policy: Policy, lifecycle: L) -> Counted<L> {
    Engine::with(Options::new(CAPACITY).shards(1).policy(policy), lifecycle).unwrap()
}

/// Everything that makes entries leave, for as long as readers are stopped; with other readers beside it. In the end,
/// how often each has done something.
struct Churn<'a, L> {
    engine: &'a Counted<L>,
    census: &'static Census,
    over: AtomicBool,
    writes: [AtomicUsize; 2],
    reads: AtomicUsize,
}

impl<'a, L: Lifecycle<u64, Canary>> Churn<'a, L> {
    fn new(engine: &'a Counted<L>, census: &'static Census) -> Self {
        let writes = [const { AtomicUsize::new(0) }; 2];
        Self { engine, census, over: AtomicBool::new(false), writes, reads: AtomicUsize::new(0) }
    }

    fn start<'s>(&'s self, scope: &Scope<'s>) {
        for writes in &self.writes {
            scope.spawn(move |_| self.write(writes));
        }
        scope.spawn(|_| {
            while !self.over.load(Ordering::Relaxed) {
                for key in 0..2 * CAPACITY {
                    self.engine.read(&key, |value| value.assert_whole(key));
                }
                self.reads.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn write(&self, writes: &AtomicUsize) {
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let key = turn * 7 % (2 * CAPACITY);
            match turn % 8 {
                0 => drop(self.engine.remove(&key)),
                1 => drop(self.engine.insert(turn % 4, Canary::new(turn % 4, self.census))),
                _ => drop(self.engine.insert(key, Canary::new(key, self.census))),
            }
            writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn progress(&self) -> [usize; 3] {
        let [first, second] = &self.writes;
        [first, second, &self.reads].map(|count| count.load(Ordering::Relaxed))
    }

    /// Watches for as long as readers are stopped, who keep `held` values that have left.
    fn watch(&self, held: usize) {
        let _over = Over(&self.over);
        let mut before = self.progress();
        let mut used = Vec::new();
        for _ in 0..WINDOWS {
            let end = Instant::now() + stop() / WINDOWS;
            // On a machine with much else to do, a window lasts until everyone has had his turn.
            let late = end + Duration::from_secs(20);
            loop {
                // Not at the same moment: all that is resident may have come or left in between.
                let resident = self.engine.len();
                let alive = self.census.alive();
                let most = resident.max(self.engine.len()) + IN_BETWEEN + held + GARBAGE_MAX;
                assert!(alive <= most, "{alive} values are alive, of which {resident} are resident");
                let now = self.progress();
                let all_went_on = now.iter().zip(&before).all(|(now, before)| now > before);
                if Instant::now() >= end && all_went_on {
                    before = now;
                    break;
                }
                assert!(Instant::now() < late, "somebody is held up: {before:?}, then {now:?}");
                thread::sleep(Duration::from_millis(1));
            }
            used.push(self.engine.memory_used());
        }
        // After the first, there is nothing more that would be needed for the first time, but places for as much as
        // may be alive at once.
        let most = used[0] + (GARBAGE_MAX + held) * ENTRY_BYTES;
        assert!(used.iter().all(|&bytes| bytes <= most), "memory has grown: {used:?}");
    }
}

const WINDOWS: u32 = 6;
const IN_BETWEEN: usize = 64;
/// An entry's node, and what is written down about it beside.
const ENTRY_BYTES: usize = 128;

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// At rest and without readers, what is resident is all that lives.
fn assert_nothing_held<L: Lifecycle<u64, Canary>>(engine: &Counted<L>, census: &Census) {
    engine.flush();
    assert_eq!(census.alive(), engine.len(), "something is held though nobody reads");
}

/// Stops a reader in `look`, which keeps `held` values (or so many wait elsewhere), under everything that others do.
fn stopped_in<L: Lifecycle<u64, Canary>>(
    engine: Counted<L>,
    census: &'static Census,
    held: usize,
    look: impl Fn(&Counted<L>, &dyn Fn()) + Sync,
) {
    for key in 0..CAPACITY {
        engine.insert(key, Canary::new(key, census));
    }
    let stop = Stop::default();
    let churn = Churn::new(&engine, census);
    scope(|scope| {
        let _go_on = GoOn(&stop);
        scope.spawn(|_| look(&engine, &|| stop.here()));
        stop.wait_for(1);
        churn.start(scope);
        churn.watch(held);
    })
    .expect("every thread joined");
    assert_nothing_held(&engine, census);
    drop(engine);
    assert_eq!(census.alive(), 0);
}

fn look(engine: &Counted<Plain>, stop: &dyn Fn()) {
    let seen = engine.read(&0, |value| {
        stop();
        value.assert_whole(0);
    });
    assert!(seen.is_some());
}

#[test]
fn a_stopped_reader_keeps_the_value_that_it_looks_at_and_nothing_else() {
    static CENSUS: Census = Census::new();
    stopped_in(counted(Policy::Clock, Plain), &CENSUS, 1, look);
}

#[test]
fn a_reader_stopped_in_a_look_that_moves_the_entry_keeps_its_value_and_nothing_else() {
    static CENSUS: Census = Census::new();
    stopped_in(counted(Policy::Lru, Plain), &CENSUS, 1, look);
}

/// Looks at as many values, one within the other, as `depth` says.
fn nest<L: Lifecycle<u64, Canary>>(engine: &Counted<L>, depth: u64, innermost: &dyn Fn()) {
    if depth == 0 {
        return innermost();
    }
    let seen = engine.read(&depth, |value| {
        nest(engine, depth - 1, innermost);
        value.assert_whole(depth);
    });
    assert!(seen.is_some());
}

#[test]
fn a_reader_stopped_in_nested_looks_keeps_those_values_and_nothing_else() {
    static CENSUS: Census = Census::new();
    stopped_in(counted(Policy::Clock, Plain), &CENSUS, 20, |engine, stop| nest(engine, 20, stop));
}

#[test]
fn a_visitor_that_is_stopped_keeps_the_value_that_it_was_shown_and_nothing_else() {
    static CENSUS: Census = Census::new();
    stopped_in(counted(Policy::Clock, Plain), &CENSUS, 1, |engine, stop| {
        let mut nth = 0;
        engine.for_each(|&key, value| {
            nth += 1;
            if nth == 10 {
                stop();
            }
            value.assert_whole(key);
        });
    });
}

/// Has all hooks, so that departures are queued for the listener.
struct Listening;

impl Lifecycle<u64, Canary> for Listening {
    fn on_leave(&self, &key: &u64, value: &Canary, _: nanotier_engine::Cause) {
        value.assert_whole(key);
    }
}

#[test]
fn a_stopped_reader_keeps_nothing_else_where_a_listener_is_told() {
    static CENSUS: Census = Census::new();
    let engine = counted(Policy::Clock, Listening);
    // As many departures may await their listener, and as many more have been heard of by it.
    const WAITING: usize = 2 * 1024;
    stopped_in(engine, &CENSUS, 1 + WAITING, |engine, stop| nest(engine, 1, stop));
}

/// A taker waits for who looks at the very value that it takes. Nobody else waits, not even for the same key.
#[test]
fn a_taker_that_waits_for_a_stopped_reader_holds_up_nobody_else() {
    static CENSUS: Census = Census::new();
    let engine = counted(Policy::Clock, Plain);
    engine.insert(1, Canary::new(1, &CENSUS));
    let stop = Stop::default();
    let churn = Churn::new(&engine, &CENSUS);
    let taken = Mutex::new(None);
    scope(|scope| {
        let _go_on = GoOn(&stop);
        scope.spawn(|_| nest(&engine, 1, &|| stop.here()));
        stop.wait_for(1);
        scope.spawn(|_| {
            let value = engine.take(&1).expect("nobody else removes it");
            assert!(stop.go_on.load(Ordering::Acquire), "a value was taken from under its reader");
            value.assert_whole(1);
            *taken.lock() = Some(value);
        });
        until("it is gone for all who come now", || !engine.contains(&1));
        churn.start(scope);
        churn.watch(1);
    })
    .expect("every thread joined");
    assert!(taken.into_inner().is_some());
    assert_nothing_held(&engine, &CENSUS);
}

#[test]
fn a_thread_that_panics_in_looks_leaves_nothing_held() {
    static CENSUS: Census = Census::new();
    for policy in [Policy::Clock, Policy::Lru, Policy::Adaptive] {
        let engine = counted(policy, Plain);
        for key in 0..CAPACITY {
            engine.insert(key, Canary::new(key, &CENSUS));
        }
        let panic_in = |depth| {
            let looked = catch_unwind(AssertUnwindSafe(|| {
                nest(&engine, depth, &|| panic!("in the middle of a look"));
            }));
            assert!(looked.is_err());
        };
        for depth in [1, 8, 20] {
            // A thread that lives on, and one that ends of it.
            panic_in(depth);
            scope(|scope| scope.spawn(|_| panic_in(depth)).join().unwrap()).unwrap();
            let ended = scope(|scope| {
                scope.spawn(|_| nest(&engine, depth, &|| panic!("in the middle of a look"))).join().is_err()
            });
            assert!(ended.unwrap());
        }
        let visited =
            catch_unwind(AssertUnwindSafe(|| engine.for_each(|_, _| panic!("in the middle of a visit"))));
        assert!(visited.is_err());
        engine.clear();
        assert_eq!(CENSUS.alive(), 0, "something is held though nobody reads");
    }
}

/// However much has left since it was last looked at, and so wherever it waits by then.
#[test]
fn what_was_being_read_is_dropped_by_the_first_flush_after() {
    static CENSUS: Census = Census::new();
    for churned in 0..120 {
        let engine = counted(Policy::Clock, Plain);
        let put = |key| engine.insert(key, Canary::new(key, &CENSUS));
        put(0);
        let seen = engine.read(&0, |value| {
            (0..=churned).for_each(|turn| _ = put(turn % 2));
            value.assert_whole(0);
        });
        assert!(seen.is_some());
        assert_nothing_held(&engine, &CENSUS);
    }
}

/// Weighs what it says.
struct Weighing;

impl Lifecycle<u64, Canary> for Weighing {
    const LISTENS: bool = false;
    const EXPIRES: bool = false;

    fn weight(&self, _: &u64, value: &Canary) -> u64 {
        value.weight.into()
    }
}

/// The most that may have left and not yet be dropped, by weight.
fn garbage_max(capacity: u64) -> u64 {
    (capacity / 20).max(8 << 20)
}

/// Weights are said, not had: so this needs no memory to speak of.
#[test]
fn of_what_is_weighed_no_more_than_a_twentieth_waits_to_be_dropped() {
    static CENSUS: Census = Census::new();
    for capacity in [64 << 20, 4 << 30_u64] {
        for weight in [100_000, 1 << 20, 8 << 20] {
            let options = Options::new(capacity).shards(1);
            let engine = Engine::with(options, Weighing).unwrap();
            engine.insert(0, Canary::heavy(0, 1, &CENSUS));
            let stop = Stop::default();
            let (mut worst, mut writes) = (0, 0);
            scope(|scope| {
                let _go_on = GoOn(&stop);
                scope.spawn(|_| engine.read(&0, |_| stop.here()));
                stop.wait_for(1);
                let rounds = 2 * capacity / u64::from(weight);
                for key in 1..rounds {
                    engine.insert(key, Canary::heavy(key, weight, &CENSUS));
                    if key % 5 == 0 {
                        engine.remove(&(key - 1));
                    }
                    writes += 1;
                    worst = worst.max(CENSUS.weight() - engine.weight());
                }
            })
            .expect("every thread joined");
            assert!(writes > 0);
            // And one that is just being dropped or brought.
            let most = garbage_max(capacity) + u64::from(weight);
            assert!(worst <= most, "{worst} of {weight} each have left {capacity}, and are still there");
        }
    }
}

/// Who looks at another engine's values holds up nothing here.
#[test]
fn what_is_looked_at_elsewhere_makes_no_room_for_garbage() {
    static CENSUS: Census = Census::new();
    const DEPTH: u64 = 200;
    fn nested(engine: &Engine<u64, u64>, depth: u64, f: &mut dyn FnMut()) {
        match depth {
            0 => f(),
            _ => engine.read(&depth, |_| nested(engine, depth - 1, f)).expect("it is there"),
        }
    }
    let other: Engine<u64, u64> = Engine::with(Options::new(10_000).shards(1), Plain).unwrap();
    (1..=DEPTH).for_each(|key| assert_eq!(other.insert(key, key), Inserted::Done));
    let engine: Counted<Plain> = counted(Policy::Clock, Plain);
    let mut worst = 0;
    nested(&other, DEPTH, &mut || {
        for key in 0..20_000 {
            engine.insert(key, Canary::new(key, &CENSUS));
            worst = worst.max(CENSUS.alive() - engine.len());
        }
    });
    // With 200 names, as many would be let through if they counted.
    assert!(worst <= 5 * BATCH, "{worst} have left and are still there");
}

/// However much leaves by name, with nothing in its place: it is dropped all the same.
#[test]
fn what_is_removed_one_by_one_does_not_pile_up() {
    static CENSUS: Census = Census::new();
    const MANY: u64 = 20_000;
    let engine: Engine<u64, Canary> = Engine::with(Options::new(MANY).shards(1), Plain).unwrap();
    for key in 0..MANY {
        engine.insert(key, Canary::new(key, &CENSUS));
    }
    let mut worst = 0;
    for key in 0..MANY {
        engine.remove(&key);
        worst = worst.max(CENSUS.alive() - engine.len());
    }
    // Batches of the largest size: one that is gathered, one that waits, and up to three whose places nobody needs.
    assert!(worst <= 5 * (512 + LOOKED_AT), "{worst} of {MANY} have left, and are still there");
}
