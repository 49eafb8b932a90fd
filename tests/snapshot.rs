//! Refreshed values: `keep`, `mirror`, `loader`, and the handles on them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use nanotier::testing::Tasks;
use nanotier::{
    Cache, Clock, Codec, Error, ErrorKind, Hands, Inline, Json, Keep, Loading, Lookup, MemoryStore, Result,
    Snapshot, Tier, keep,
};
use parking_lot::Mutex;

mod common;
use common::Watched;

const MINUTE: Duration = Duration::from_secs(60);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// What the source does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Answer,
    Fail,
    Hang,
    Panic,
    /// Before there is a future.
    PanicAtOnce,
    PanicWhenDropped,
}

/// A source of numbers: its n-th load brings n.
#[derive(Clone)]
struct Source(Arc<State>);

struct State {
    does: Mutex<Does>,
    loads: AtomicUsize,
    /// As many as loads are under way, and one more for each function that is still there.
    alive: Mutex<Weak<()>>,
}

#[derive(Debug, PartialEq)]
struct Down(usize);

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "down at load {}", self.0)
    }
}

impl std::error::Error for Down {}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped, as planned");
    }
}

type Loads = Pin<Box<dyn Future<Output = Result<usize, Down>> + Send>>;

impl Source {
    fn new() -> Self {
        let (does, loads) = (Mutex::new(Does::Answer), AtomicUsize::new(0));
        Self(Arc::new(State { does, loads, alive: Mutex::default() }))
    }

    fn does(&self, does: Does) {
        *self.0.does.lock() = does;
    }

    fn loads(&self) -> usize {
        self.0.loads.load(SeqCst)
    }

    /// Nothing has kept the function, nor a load of it.
    fn is_left_alone(&self) -> bool {
        self.0.alive.lock().strong_count() == 0
    }

    fn function(&self) -> impl FnMut() -> Loads + Send + 'static {
        let token = Arc::new(());
        *self.0.alive.lock() = Arc::downgrade(&token);
        let source = self.clone();
        move || {
            let (token, load) = (token.clone(), source.0.loads.fetch_add(1, SeqCst) + 1);
            let does = *source.0.does.lock();
            assert!(does != Does::PanicAtOnce, "at once, as planned");
            Box::pin(async move {
                let _token = token;
                match does {
                    Does::Answer => Ok(load),
                    Does::Fail => Err(Down(load)),
                    Does::Hang => std::future::pending().await,
                    Does::Panic | Does::PanicAtOnce => panic!("as planned"),
                    Does::PanicWhenDropped => {
                        let _bomb = PanicsWhenDropped;
                        std::future::pending().await
                    }
                }
            })
        }
    }
}

/// A source, and all that a test moves.
struct World {
    source: Source,
    clock: Clock,
    hands: Hands,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let (clock, hands) = Clock::manual();
        Self { source: Source::new(), clock, hands, tasks: Tasks::new() }
    }

    /// Every minute, exactly.
    fn options<V: Send + Sync + 'static>(&self) -> Keep<V> {
        Keep::new(MINUTE).jitter(0.0).clock(self.clock.clone()).spawner(self.tasks.clone()).seed(7)
    }

    fn keep(&self) -> Snapshot<usize> {
        self.options().keep(self.source.function()).wait().unwrap()
    }

    fn pass(&self, time: Duration) {
        self.hands.advance(time);
        self.tasks.run();
    }

    fn nothing_is_left(&self) -> bool {
        self.tasks.run();
        self.source.is_left_alone() && self.tasks.is_empty()
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn poll<T>(lookup: &mut Lookup<T>) -> Poll<Result<T>> {
    Pin::new(lookup).poll(&mut Context::from_waker(Waker::noop()))
}

// The first load.

#[test]
fn a_first_load_that_fails_is_the_error_and_leaves_nothing_running() {
    for (does, expected) in [
        (Does::Fail, ErrorKind::Loader),
        (Does::Panic, ErrorKind::LoaderPanicked),
        (Does::PanicAtOnce, ErrorKind::LoaderPanicked),
    ] {
        let world = World::new();
        world.source.does(does);
        let error = world.options().keep(world.source.function()).wait().unwrap_err();
        assert_eq!(error.kind(), expected, "{does:?}");
        if does == Does::Fail {
            assert_eq!(error.cause().and_then(|cause| cause.downcast_ref()), Some(&Down(1)));
            assert_eq!(error.to_string(), "cache (load): the loader failed: down at load 1");
        }
        assert!(world.nothing_is_left(), "{does:?}");
        world.pass(MINUTE * 10);
        assert_eq!(world.source.loads(), 1, "{does:?}");
    }
}

#[test]
fn a_first_load_that_hangs_ends_at_its_deadline() {
    let world = World::new();
    world.source.does(Does::Hang);
    let mut first = world.options().deadline(secs(5)).keep(world.source.function());
    assert!(poll(&mut first).is_pending());
    world.hands.advance(ms(4_999));
    assert!(poll(&mut first).is_pending());
    world.hands.advance(ms(1));
    let Poll::Ready(Err(error)) = poll(&mut first) else { panic!("it waits on") };
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(first);
    assert!(world.nothing_is_left());
}

#[test]
fn who_no_longer_waits_for_the_first_load_leaves_nothing_running() {
    let world = World::new();
    world.source.does(Does::Hang);
    let mut first = world.options().keep(world.source.function());
    assert!(poll(&mut first).is_pending());
    assert!(!world.source.is_left_alone());
    drop(first);
    assert!(world.nothing_is_left());
}

#[test]
fn options_that_cannot_be_are_refused_with_a_sentence_before_anything_is_loaded() {
    let world = World::new();
    let each = || Keep::<usize>::new(MINUTE);
    for (options, word) in [
        (Keep::new(Duration::ZERO), "interval of zero"),
        (each().jitter(1.0), "jitter"),
        (each().jitter(-0.1), "jitter"),
        (each().jitter(f64::NAN), "jitter"),
        (each().deadline(Duration::ZERO), "deadline of zero"),
        (each().back_off(Duration::ZERO, MINUTE), "begins with zero"),
        (each().back_off(MINUTE, secs(1)), "longer than its longest"),
    ] {
        let error = options.keep(world.source.function()).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = Keep::new(Duration::ZERO).loader(world.source.function()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(world.source.loads(), 0);

    let tier = || Inline(MemoryStore::new());
    let bad_name = each().write_through(tier(), "", "key", Json::default()).keep(world.source.function());
    assert_eq!(kind(bad_name.wait()), Some(ErrorKind::InvalidName));
    let long_key = each().mirror(tier(), "numbers", &"x".repeat(100_000), Json::default());
    assert_eq!(kind(long_key.wait()), Some(ErrorKind::TooLarge));
    let both = each().write_through(tier(), "numbers", "key", Json::default());
    let both = both.mirror(tier(), "numbers", "key", Json::default()).wait().unwrap_err();
    assert!(both.kind() == ErrorKind::Config && both.to_string().contains("a mirror reads"), "{both}");
}

// Refreshing.

#[test]
fn a_value_is_refreshed_every_interval_and_turns_that_were_missed_are_not_made_up_for() {
    let world = World::new();
    let value = world.keep();
    assert_eq!((value.get(), value.version(), world.source.loads()), (1, 0, 1));
    world.pass(MINUTE - ms(1));
    assert_eq!(world.source.loads(), 1);
    world.pass(ms(1));
    assert_eq!((value.get(), value.version(), world.source.loads()), (2, 1, 2));
    for load in 3..10 {
        world.pass(MINUTE);
        assert_eq!((value.get(), value.version() + 1), (load, load as u64));
    }
    let loads = world.source.loads();
    world.pass(MINUTE * 100);
    assert_eq!(world.source.loads(), loads + 1);
    world.pass(MINUTE - ms(1));
    assert_eq!(world.source.loads(), loads + 1, "counted from when it began");
}

#[test]
fn a_load_longer_than_the_interval_is_followed_by_a_pause() {
    let world = World::new();
    let (clock, loads) = (world.clock.clone(), AtomicUsize::new(0));
    let slow = move || {
        let (clock, load) = (clock.clone(), loads.fetch_add(1, SeqCst));
        async move {
            if load > 0 {
                clock.sleep(MINUTE * 3).await;
            }
            Ok::<_, Down>(load)
        }
    };
    let value = world.options().deadline(MINUTE * 10).keep(slow).wait().unwrap();
    world.pass(MINUTE);
    world.pass(MINUTE * 3);
    assert_eq!((value.get(), value.age()), (1, MINUTE * 3), "as old as the beginning of its load");
    world.pass(MINUTE - ms(1));
    world.pass(MINUTE * 3);
    assert_eq!(value.get(), 1, "there was a pause before the next one");
    world.pass(MINUTE * 3);
    assert_eq!(value.get(), 2);
}

#[test]
fn jitter_keeps_within_its_share_and_repeats_by_seed() {
    let moments = |seed| {
        let world = World::new();
        let options = world.options().jitter(0.2).seed(seed);
        let _value = options.keep(world.source.function()).wait().unwrap();
        let mut moments = vec![world.clock.now()];
        while moments.len() < 12 {
            world.pass(ms(50));
            if world.source.loads() > moments.len() {
                moments.push(world.clock.now());
            }
        }
        moments.windows(2).map(|pair| pair[1].since(pair[0])).collect::<Vec<_>>()
    };
    let pauses = moments(1);
    assert!(pauses.iter().all(|pause| (secs(48)..=secs(72) + ms(50)).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().max() > pauses.iter().min().map(|min| *min + secs(5)).as_ref(), "{pauses:?}");
    assert_eq!(pauses, moments(1));
    assert_ne!(pauses, moments(2));
}

#[test]
fn failures_back_off_up_to_the_maximum_and_the_first_success_ends_that() {
    let world = World::new();
    let value = world.options().back_off(secs(1), secs(5)).keep(world.source.function()).wait().unwrap();
    world.source.does(Does::Fail);
    world.pass(MINUTE);
    let mut loads = world.source.loads();
    for pause in [1, 2, 4, 5, 5, 5] {
        world.pass(secs(pause) - ms(1));
        assert_eq!(world.source.loads(), loads, "before {pause} s");
        world.pass(ms(1));
        loads += 1;
        assert_eq!(world.source.loads(), loads, "after {pause} s");
    }
    world.source.does(Does::Answer);
    world.pass(secs(5));
    assert_eq!((value.version(), value.last_error().is_none()), (1, true));
    world.source.does(Does::Fail);
    loads = world.source.loads();
    world.pass(MINUTE - ms(1));
    assert_eq!(world.source.loads(), loads, "the interval again");
    world.pass(ms(1));
    world.pass(secs(1));
    assert_eq!(world.source.loads(), loads + 2, "and the first pause again");
}

#[test]
fn whatever_a_refresh_fails_with_the_last_value_stays_and_says_so_until_the_next_success() {
    for (does, expected) in [
        (Does::Fail, ErrorKind::Loader),
        (Does::Panic, ErrorKind::LoaderPanicked),
        (Does::PanicAtOnce, ErrorKind::LoaderPanicked),
        (Does::Hang, ErrorKind::Timeout),
        (Does::PanicWhenDropped, ErrorKind::Timeout),
    ] {
        let world = World::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let value = world
            .options()
            .deadline(secs(20))
            .on_error(move |error| {
                tell.lock().push(error.kind());
                panic!("contained, too");
            })
            .keep(world.source.function())
            .wait()
            .unwrap();
        assert!(value.healthy() && value.last_error().is_none());
        world.source.does(does);
        world.pass(MINUTE);
        world.pass(secs(20)); // for those that hang
        assert_eq!((value.get(), value.version()), (1, 0), "{does:?}");
        assert_eq!(value.last_error().map(|error| error.kind()), Some(expected), "{does:?}");
        assert_eq!((value.age(), value.healthy()), (secs(80), false), "{does:?}");
        assert_eq!(told.lock().first(), Some(&expected), "{does:?}");

        world.source.does(Does::Answer);
        world.pass(secs(30));
        assert_eq!((value.get(), value.version()), (world.source.loads(), 1), "{does:?}");
        assert!(value.healthy() && value.last_error().is_none() && value.age() == Duration::ZERO, "{does:?}");
        drop(value);
        assert!(world.nothing_is_left(), "{does:?}");
    }
}

#[test]
fn a_value_that_nobody_refreshes_is_not_healthy() {
    let world = World::new();
    let value = world.options().deadline(secs(20)).keep(world.source.function()).wait().unwrap();
    // Time passes, and the executor does nothing.
    world.hands.advance(secs(80));
    assert!(value.healthy(), "the next one may still be under way");
    world.hands.advance(ms(1));
    assert!(!value.healthy());
    assert_eq!(value.age(), secs(80) + ms(1));
    world.tasks.run();
    assert!(value.healthy());
}

#[test]
fn a_runtime_that_ends_leaves_the_value_and_says_so() {
    let world = World::new();
    let value = world.keep();
    let mut changed = value.changed(0);
    assert!(poll(&mut changed).is_pending());
    world.tasks.cancel();
    assert_eq!((value.get(), value.healthy()), (1, false));
    assert_eq!(value.last_error().map(|error| error.kind()), Some(ErrorKind::Closed));
    assert_eq!(kind(changed.wait()), Some(ErrorKind::Closed), "nobody waits for ever");
    assert!(world.nothing_is_left());
    value.close().wait().unwrap();
}

#[test]
fn a_refresh_that_is_asked_for_comes_at_once_and_once_however_often_it_is_asked_for() {
    let world = World::new();
    let value = world.keep();
    value.refresh();
    value.refresh();
    world.tasks.run();
    assert_eq!((value.version(), world.source.loads()), (1, 2));
    world.pass(MINUTE - ms(1));
    assert_eq!(world.source.loads(), 2, "the interval counts from there");
    // During a load: what it brings may be older than the change.
    world.source.does(Does::Hang);
    world.pass(ms(1));
    assert_eq!(world.source.loads(), 3);
    value.refresh();
    world.source.does(Does::Answer);
    world.pass(secs(20));
    assert_eq!((world.source.loads(), value.get()), (4, 4), "right after it, without a pause");
    value.close().wait().unwrap();
    value.refresh();
    world.tasks.run();
    assert_eq!(world.source.loads(), 4);
}

// Waiting for the next version.

#[test]
fn whoever_waits_for_changes_sees_every_version() {
    let world = World::new();
    let value = world.keep();
    let (mut seen, mut changed) = (vec![value.version()], value.changed(0));
    for round in 0..20 {
        assert!(poll(&mut changed).is_pending());
        // Failures wake nobody for good.
        if round % 3 == 0 {
            world.source.does(Does::Fail);
            world.pass(MINUTE);
            assert!(poll(&mut changed).is_pending());
            world.source.does(Does::Answer);
        }
        world.pass(MINUTE);
        let Poll::Ready(Ok(version)) = poll(&mut changed) else { panic!("missed {round}") };
        seen.push(version);
        changed = value.changed(version);
    }
    assert_eq!(seen, (0..=20).collect::<Vec<_>>());
    // One that came before the question is known at once.
    assert_eq!(value.changed(19).try_now().ok(), Some(20));
}

#[test]
fn a_change_wakes_who_waits_and_a_task_that_left_leaves_nothing_behind() {
    let world = World::new();
    let value = world.keep();
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut changed = pin!(value.changed(0));
    for _ in 0..100 {
        assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(Arc::strong_count(&woken) <= 3, "kept once, however often it asks");
    world.pass(MINUTE);
    assert!(woken.0.load(SeqCst));
    assert!(changed.poll(&mut Context::from_waker(&waker)).is_ready());
    drop(waker);
    assert_eq!(Arc::strong_count(&woken), 1);
}

#[test]
fn waiting_threads_miss_no_version_that_threads_publish() {
    // The worker thread, real time: nothing here waits for a clock but the deadline of a load that never hangs.
    let source = Source::new();
    let value = keep(source.function(), secs(3600)).wait().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut version = 0;
                while version < 200 {
                    version = value.changed(version).wait_for(secs(60)).unwrap();
                    assert!(value.version() >= version);
                }
            });
        }
        // Each asks for the next one only when it has seen the last.
        for version in 0..200 {
            value.refresh();
            value.changed(version).wait_for(secs(60)).unwrap();
        }
    });
    value.close().wait().unwrap();
    assert!(source.is_left_alone());
}

// Ending.

#[test]
fn closing_ends_it_for_all_handles_twice_is_once_and_the_value_stays() {
    let world = World::new();
    let value = world.keep();
    let other = value.clone();
    let mut changed = other.changed(0);
    assert!(poll(&mut changed).is_pending());
    value.close().wait().unwrap();
    other.close().wait().unwrap();
    assert!(world.nothing_is_left() && !value.healthy());
    assert_eq!(kind(changed.wait()), Some(ErrorKind::Closed));
    assert_eq!(kind(value.changed(0).wait()), Some(ErrorKind::Closed));
    world.pass(MINUTE * 10);
    assert_eq!((value.get(), other.get(), world.source.loads()), (1, 1, 1));
    assert_eq!((other.age(), other.healthy()), (MINUTE * 10, false));
}

#[test]
fn dropped_in_any_order_at_any_moment_nothing_is_left() {
    type Part = Box<dyn std::any::Any>;
    // Idle; while a load hangs; with an executor that has stopped; and both.
    for (hangs, stands_still) in [(false, false), (true, false), (false, true), (true, true)] {
        for order in permutations(4) {
            let world = World::new();
            let value = world.keep();
            if hangs {
                world.source.does(Does::Hang);
                world.pass(MINUTE);
                assert_eq!(world.source.loads(), 2);
            }
            let mut changed = value.changed(0);
            assert!(poll(&mut changed).is_pending());
            let closing: Part = if stands_still { Box::new(()) } else { Box::new(value.clone().close()) };
            let mut parts: Vec<Option<Part>> = vec![
                Some(Box::new(value.clone())),
                Some(Box::new(changed)),
                Some(closing),
                Some(Box::new(value)),
            ];
            for index in order {
                drop(parts[index].take());
                if !stands_still {
                    world.tasks.run();
                }
            }
            assert!(world.source.is_left_alone(), "without the executor's help");
            assert!(world.nothing_is_left());
        }
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(count - 1);
    let inserted = |order: &Vec<usize>, at| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(move |at| inserted(order, at))).collect()
}

#[test]
fn the_last_handle_may_go_inside_the_loader_itself() {
    let world = World::new();
    let slot: Arc<Mutex<Option<Snapshot<usize>>>> = Arc::default();
    let (own, function) = (slot.clone(), world.source.function());
    let mut function = function;
    let value = world.options().keep(move || {
        let own = own.clone();
        let load = function();
        async move {
            let held = own.lock().take();
            let closed = held.is_some();
            if let Some(value) = held {
                drop(value.close());
                drop(value);
            }
            if closed { std::future::pending().await } else { load.await }
        }
    });
    *slot.lock() = Some(value.wait().unwrap());
    world.pass(MINUTE);
    assert_eq!(world.source.loads(), 2);
    assert!(world.nothing_is_left());
}

// A value that is not there yet.

fn loading(world: &World) -> Loading<usize> {
    world.options().back_off(secs(1), secs(4)).loader(world.source.function()).unwrap()
}

#[test]
fn a_loader_waits_for_its_first_success_and_serves_from_then_on() {
    let world = World::new();
    world.source.does(Does::Fail);
    let loading = loading(&world);
    assert_eq!(world.source.loads(), 0, "it returns at once");
    let mut value = loading.value();
    assert!(poll(&mut value).is_pending() && loading.value().try_now().is_err());
    world.tasks.run();
    for (pause, loads) in [(1, 2), (2, 3), (4, 4), (4, 5)] {
        let error = loading.last_error().expect("it says why");
        assert_eq!(error.to_string(), format!("cache (load): the loader failed: down at load {}", loads - 1));
        assert!(!loading.healthy() && poll(&mut value).is_pending());
        world.pass(secs(pause));
        assert_eq!(world.source.loads(), loads);
    }
    let mut left = loading.value();
    assert!(poll(&mut left).is_pending());
    drop(left);
    world.source.does(Does::Answer);
    world.pass(secs(4));
    assert_eq!(value.wait().unwrap(), 6);
    assert!(loading.healthy() && loading.last_error().is_none());
    let snapshot = loading.snapshot().try_now().expect("at once from now on");
    assert_eq!((snapshot.get(), snapshot.version()), (6, 0));

    world.source.does(Does::Panic);
    world.pass(MINUTE);
    assert_eq!(loading.last_error().map(|error| error.kind()), Some(ErrorKind::LoaderPanicked));
    assert_eq!(loading.value().try_now().ok(), Some(6), "the newest there is");
    world.source.does(Does::Answer);
    world.pass(secs(1));
    assert_eq!((loading.value().wait().unwrap(), snapshot.version()), (8, 1));

    drop(loading);
    world.pass(MINUTE);
    assert_eq!(snapshot.get(), 9, "a snapshot of it is a handle, too");
    drop(snapshot);
    assert!(world.nothing_is_left());
}

#[test]
fn a_first_load_that_hangs_does_not_keep_a_loader_from_trying_again_nor_from_ending() {
    let world = World::new();
    world.source.does(Does::Hang);
    let loading = loading(&world);
    world.tasks.run();
    world.pass(secs(20));
    assert_eq!(loading.last_error().map(|error| error.kind()), Some(ErrorKind::Timeout));
    world.pass(secs(1));
    assert_eq!(world.source.loads(), 2);
    let mut value = loading.value();
    assert!(poll(&mut value).is_pending());
    loading.close().wait().unwrap();
    loading.close().wait().unwrap();
    assert!(world.nothing_is_left());
    let error = value.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("deadline"), "it says why there is none: {error}");
    assert_eq!(kind(loading.value().wait()), Some(ErrorKind::Closed));
}

// Writing through.

fn shared() -> (Watched, impl Fn() -> Watched) {
    let tier = Watched::new();
    (tier.clone(), move || tier.clone())
}

fn numbers(world: &World, tier: impl Tier) -> Cache<String, usize> {
    let builder = Cache::builder().clock(world.clock.clone()).namespace("numbers").capacity(0);
    let builder = builder.ttl(MINUTE * 60).stale_for(MINUTE * 60);
    builder.codec(Json::default()).tiers(tier).build().unwrap()
}

#[test]
fn what_is_loaded_is_written_through_at_first_and_later_with_when_it_was_made() {
    let world = World::new();
    let (_, tier) = shared();
    let options = world.options().write_through(tier(), "numbers", "n", Json::default());
    let value = options.keep(world.source.function()).wait().unwrap();
    let cache = numbers(&world, tier());
    let get = || cache.get("n").detailed().wait().unwrap();
    assert_eq!((get().value, value.write_error().is_none()), (Some(1), true));
    world.pass(MINUTE);
    assert_eq!(get().value, Some(2));

    // A mirror elsewhere knows how old it is, and when its writer is late.
    world.hands.advance(secs(10));
    let mirror = world.options::<usize>().mirror(tier(), "numbers", "n", Json::default()).wait().unwrap();
    assert_eq!((mirror.get(), mirror.age(), mirror.healthy()), (2, secs(10), true));
    value.close().wait().unwrap();
    world.pass(secs(80));
    world.pass(MINUTE);
    assert_eq!((mirror.get(), mirror.age(), mirror.healthy()), (2, secs(150), false));
    assert!(mirror.last_error().is_none(), "it has been read: only its writer is late");
    assert_eq!(get().freshness, nanotier::Freshness::Stale);
}

#[test]
fn a_write_through_that_fails_is_told_and_costs_the_value_nothing() {
    let world = World::new();
    let (watched, tier) = shared();
    watched.set_down(true);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let value = world
        .options()
        .write_through(tier(), "numbers", "n", Json::default())
        .on_error(move |error| tell.lock().push((error.kind(), error.operation())))
        .keep(world.source.function())
        .wait()
        .unwrap();
    assert_eq!(value.write_error().map(|error| error.kind()), Some(ErrorKind::Unavailable));
    assert!(value.healthy() && value.last_error().is_none());
    world.pass(MINUTE);
    assert_eq!((value.get(), value.version(), value.write_error().is_some()), (2, 1, true));
    assert_eq!(*told.lock(), [(ErrorKind::Unavailable, "call"); 2]);
    watched.set_down(false);
    world.pass(MINUTE);
    assert!(value.write_error().is_none());
    assert_eq!(numbers(&world, tier()).get("n").wait().unwrap(), Some(3));
}

#[test]
fn a_write_through_above_a_writer_with_a_clock_ahead_wins_nevertheless() {
    let world = World::new();
    let (_, tier) = shared();
    let ours = numbers(&world, tier());
    let (ahead, hands) = Clock::manual();
    hands.advance(secs(100));
    let other = Cache::<String, usize>::builder().clock(ahead).namespace("numbers").codec(Json::default());
    other.tiers(tier()).build().unwrap().insert("n".to_owned(), 77).wait().unwrap();
    assert_eq!(ours.get("n").wait().unwrap(), Some(77));
    let options = world.options().write_through(tier(), "numbers", "n", Json::default());
    let value = options.keep(world.source.function()).wait().unwrap();
    assert!(value.write_error().is_none(), "{:?}", value.write_error());
    assert_eq!(ours.get("n").wait().unwrap(), Some(1));
}

/// A codec that does what no codec should.
struct Broken(Arc<Mutex<&'static str>>);

impl Codec<usize> for Broken {
    fn encode(&self, value: &usize, out: &mut Vec<u8>) -> Result<()> {
        match *self.0.lock() {
            "fail" => Err(Error::new(ErrorKind::Codec, "cache", "encode")),
            "panic" => panic!("as planned"),
            _ => Json::default().encode(value, out),
        }
    }
    fn decode(&self, bytes: &nanotier::Bytes) -> Result<usize> {
        match *self.0.lock() {
            "fail" => Err(Error::new(ErrorKind::Codec, "cache", "decode")),
            "panic" => panic!("as planned"),
            _ => Json::default().decode(bytes),
        }
    }
    fn fingerprint(&self) -> nanotier::tier::Fingerprint {
        nanotier::tier::Fingerprint(7)
    }
}

#[test]
fn a_value_without_an_encoding_is_kept_and_not_written() {
    let world = World::new();
    let (_, tier) = shared();
    let mode = Arc::new(Mutex::new("fail"));
    let options = world.options().write_through(tier(), "numbers", "n", Broken(mode.clone()));
    let value = options.keep(world.source.function()).wait().unwrap();
    assert_eq!(value.write_error().map(|error| error.kind()), Some(ErrorKind::Codec));
    *mode.lock() = "panic";
    world.pass(MINUTE);
    assert_eq!(value.write_error().map(|error| error.kind()), Some(ErrorKind::LoaderPanicked));
    *mode.lock() = "well";
    world.pass(MINUTE);
    assert_eq!((value.get(), value.write_error().is_none()), (3, true));
}

/// A tier that never answers while it is told to hang.
#[derive(Clone)]
struct Stalls(Watched, Arc<AtomicBool>);

impl Tier for Stalls {
    fn name(&self) -> &'static str {
        "stalls"
    }
    fn capabilities(&self) -> nanotier::Capabilities {
        self.0.capabilities()
    }
    fn attach(&self, context: &nanotier::tier::Context) {
        self.0.attach(context);
    }
    async fn read(
        &self,
        paths: &[nanotier::tier::Path<'_>],
        intent: nanotier::tier::Intent,
    ) -> Result<Vec<Result<nanotier::tier::Found>>> {
        if self.1.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        self.0.read(paths, intent).await
    }
    async fn write(
        &self,
        writes: &[nanotier::tier::Write<'_>],
    ) -> Result<Vec<Result<nanotier::tier::Wrote>>> {
        if self.1.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        self.0.write(writes).await
    }
    async fn clear(&self, cleared: &nanotier::tier::Cleared<'_>) -> Result<nanotier::tier::Wrote> {
        self.0.clear(cleared).await
    }
}

#[test]
fn a_tier_that_hangs_holds_up_neither_writer_nor_mirror_beyond_the_deadline() {
    let world = World::new();
    let hangs = Arc::new(AtomicBool::new(false));
    let tier = Stalls(Watched::new(), hangs.clone());
    let options = world.options().write_through(tier.clone(), "numbers", "n", Json::default());
    let value = options.keep(world.source.function()).wait().unwrap();
    let mirror = world.options::<usize>().mirror(tier, "numbers", "n", Json::default()).wait().unwrap();
    hangs.store(true, SeqCst);
    world.pass(MINUTE);
    assert_eq!(value.get(), 2, "published before it is written");
    world.pass(secs(20));
    assert_eq!(value.write_error().map(|error| error.kind()), Some(ErrorKind::Timeout));
    assert_eq!(mirror.last_error().map(|error| error.kind()), Some(ErrorKind::Timeout));
    assert_eq!(mirror.get(), 1);
    hangs.store(false, SeqCst);
    world.pass(secs(40));
    world.pass(MINUTE);
    assert!(value.write_error().is_none() && mirror.healthy());
    drop((value, mirror));
    assert!(world.nothing_is_left());
}

// Following a key.

fn follow(world: &World, tier: impl Tier) -> Result<Snapshot<usize>> {
    world.options().back_off(secs(1), secs(1)).mirror(tier, "numbers", "n", Json::default()).wait()
}

#[test]
fn a_mirror_follows_what_a_cache_writes_and_publishes_each_record_once() {
    let world = World::new();
    let (watched, tier) = shared();
    let cache = numbers(&world, tier());
    cache.insert("n".to_owned(), 5).wait().unwrap();
    let mirror = follow(&world, tier()).unwrap();
    assert_eq!((mirror.get(), mirror.version()), (5, 0));
    let reads = watched.reads();
    world.pass(MINUTE);
    world.pass(MINUTE);
    assert_eq!((watched.reads(), mirror.version()), (reads + 2, 0), "looked at, and found the same");
    assert_eq!((mirror.age(), mirror.healthy()), (MINUTE * 2, true));
    cache.insert("n".to_owned(), 6).wait().unwrap();
    world.pass(MINUTE);
    assert_eq!((mirror.get(), mirror.version(), mirror.age()), (6, 1, MINUTE));
}

#[test]
fn a_mirror_of_nothing_is_an_error_and_leaves_nothing_running() {
    let world = World::new();
    let (watched, tier) = shared();
    assert_eq!(kind(follow(&world, tier())), Some(ErrorKind::Absent));
    watched.set_down(true);
    assert_eq!(kind(follow(&world, tier())), Some(ErrorKind::Unavailable));
    watched.set_down(false);
    let cache = numbers(&world, tier());
    cache.insert_for("n".to_owned(), 5, secs(1)).wait().unwrap();
    world.hands.advance(MINUTE * 61);
    assert_eq!(kind(follow(&world, tier())), Some(ErrorKind::Absent), "expired");
    cache.insert("n".to_owned(), 5).wait().unwrap();
    cache.remove("n").wait().unwrap();
    assert_eq!(kind(follow(&world, tier())), Some(ErrorKind::Absent), "removed");
    assert_eq!(world.tasks.len(), 0);
}

#[test]
fn a_mirror_keeps_the_last_value_over_misses_and_errors_and_says_so() {
    let world = World::new();
    let (watched, tier) = shared();
    let cache = numbers(&world, tier());
    cache.insert("n".to_owned(), 5).wait().unwrap();
    let mirror = follow(&world, tier()).unwrap();
    let failed_with = |expected, age| {
        assert_eq!(mirror.last_error().map(|error| error.kind()), Some(expected));
        assert_eq!((mirror.get(), mirror.version(), mirror.age(), mirror.healthy()), (5, 0, age, false));
    };
    cache.remove("n").wait().unwrap();
    world.pass(MINUTE);
    failed_with(ErrorKind::Absent, MINUTE);
    watched.set_down(true);
    world.pass(secs(1));
    failed_with(ErrorKind::Unavailable, secs(61));
    watched.set_down(false);
    cache.insert("n".to_owned(), 6).wait().unwrap();
    world.pass(secs(1));
    assert_eq!((mirror.get(), mirror.version(), mirror.healthy()), (6, 1, true));
    assert!(mirror.last_error().is_none());
}

#[test]
fn a_record_that_does_not_decode_is_an_error_and_the_last_value_stays() {
    let world = World::new();
    let (_, tier) = shared();
    let mode = Arc::new(Mutex::new("well"));
    let write = |value: usize, codec: Broken| {
        let builder = Cache::<String, usize>::builder().clock(world.clock.clone()).namespace("numbers");
        let cache = builder.codec(codec).tiers(tier()).build().unwrap();
        cache.insert("n".to_owned(), value).wait().unwrap();
    };
    write(1, Broken(Arc::new(Mutex::new("well"))));
    let options = world.options().back_off(secs(1), secs(1));
    let mirror = options.mirror(tier(), "numbers", "n", Broken(mode.clone())).wait().unwrap();
    for (fault, expected) in [("fail", ErrorKind::Codec), ("panic", ErrorKind::LoaderPanicked)] {
        *mode.lock() = fault;
        write(2, Broken(Arc::new(Mutex::new("well"))));
        world.pass(MINUTE);
        assert_eq!((mirror.get(), mirror.healthy()), (1, false), "{fault}");
        assert_eq!(mirror.last_error().map(|error| error.kind()), Some(expected), "{fault}");
    }
    *mode.lock() = "well";
    world.pass(secs(1));
    assert_eq!((mirror.get(), mirror.version()), (2, 1), "the same record, once it can be read");
    // Another codec's bytes are not even tried.
    numbers(&world, tier()).insert("n".to_owned(), 3).wait().unwrap();
    world.pass(MINUTE);
    assert_eq!((mirror.get(), mirror.last_error().unwrap().kind()), (2, ErrorKind::Codec));
}

#[test]
fn a_mirror_asks_the_truth_past_the_copies() {
    let world = World::new();
    let (_, truth) = shared();
    let near = Arc::new(MemoryStore::new());
    let chain = || Inline(near.clone()).over(truth());
    numbers(&world, chain()).insert("n".to_owned(), 5).wait().unwrap();
    let mirror = follow(&world, chain()).unwrap();
    // By another process, which knows nothing of the copy here.
    numbers(&world, truth()).insert("n".to_owned(), 6).wait().unwrap();
    assert_eq!(
        numbers(&world, chain()).get("n").wait().unwrap(),
        Some(5),
        "there is a copy, and it is believed"
    );
    mirror.refresh();
    world.tasks.run();
    assert_eq!(mirror.get(), 6);
}

#[test]
fn a_mirror_over_a_clock_that_is_behind_its_writers_is_of_age_zero() {
    let world = World::new();
    let (_, tier) = shared();
    let (ahead, hands) = Clock::manual();
    hands.advance(secs(100));
    let other = Cache::<String, usize>::builder().clock(ahead).namespace("numbers").codec(Json::default());
    other.tiers(tier()).build().unwrap().insert("n".to_owned(), 77).wait().unwrap();
    let mirror = follow(&world, tier()).unwrap();
    assert_eq!((mirror.age(), mirror.healthy()), (Duration::ZERO, true));
}

// Functions that block.

/// A function that blocks until it is told what to answer.
struct Gate {
    answers: mpsc::Sender<Result<u32, &'static str>>,
    /// One for each call.
    called: mpsc::Receiver<()>,
    token: Weak<()>,
}

impl Gate {
    fn new() -> (Self, impl FnMut() -> Result<u32, &'static str> + Send + 'static) {
        let (answers, answer) = mpsc::channel();
        let (call, called) = mpsc::channel();
        let token = Arc::new(());
        let gate = Self { answers, called, token: Arc::downgrade(&token) };
        (gate, move || {
            let _token = &token;
            call.send(()).unwrap();
            let answer: Result<u32, &'static str> = answer.recv().unwrap();
            assert!(answer != Err("panic"), "as planned");
            answer
        })
    }

    fn wait_until_called(&self) {
        self.called.recv_timeout(secs(60)).expect("it is called");
    }
}

/// Runs the tasks until `done`: other threads wake them.
fn run_until(world: &World, done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        world.tasks.run();
        assert!(begun.elapsed() < secs(60), "it does not come");
        std::thread::yield_now();
    }
}

#[test]
fn a_blocking_function_is_called_on_a_thread_of_its_own() {
    let world = World::new();
    let (gate, function) = Gate::new();
    let first = world.options().keep_blocking(function);
    gate.answers.send(Ok(1)).unwrap();
    let value = first.wait().unwrap();
    gate.wait_until_called();
    assert_eq!(value.get(), 1);
    for (answer, expected) in [(Err("no"), ErrorKind::Loader), (Err("panic"), ErrorKind::LoaderPanicked)] {
        world.pass(MINUTE);
        gate.wait_until_called();
        gate.answers.send(answer).unwrap();
        run_until(&world, || value.last_error().is_some_and(|error| error.kind() == expected));
    }
    world.pass(MINUTE);
    gate.answers.send(Ok(2)).unwrap();
    run_until(&world, || value.version() == 1);
    assert_eq!((value.get(), value.healthy()), (2, true));
    value.close().wait().unwrap();
    world.tasks.run();
    assert_eq!((world.tasks.len(), gate.token.strong_count()), (0, 0));
}

#[test]
fn a_blocking_function_that_hangs_is_called_once_and_what_it_brings_late_is_not_published() {
    let world = World::new();
    let (gate, function) = Gate::new();
    gate.answers.send(Ok(1)).unwrap();
    let options = world.options().deadline(secs(20)).back_off(secs(1), secs(1));
    let value = options.keep_blocking(function).wait().unwrap();
    gate.wait_until_called();
    world.pass(MINUTE);
    gate.wait_until_called();
    world.pass(secs(20));
    assert_eq!(value.last_error().map(|error| error.kind()), Some(ErrorKind::Timeout));
    for _ in 0..10 {
        world.pass(secs(1));
        assert_eq!(value.last_error().map(|error| error.kind()), Some(ErrorKind::Busy));
    }
    assert!(gate.called.try_recv().is_err(), "no second call while the first is at it");
    gate.answers.send(Ok(2)).unwrap();
    // Its thread needs a moment to return; no load fails for another reason meanwhile.
    run_until(&world, || {
        world.hands.advance(secs(1));
        gate.called.try_recv().is_ok()
    });
    gate.answers.send(Ok(3)).unwrap();
    run_until(&world, || value.version() > 0);
    assert_eq!(value.get(), 3, "not what came long after its deadline");
}

#[test]
fn closing_waits_for_a_blocking_function_and_dropping_does_not() {
    let world = World::new();
    let (gate, function) = Gate::new();
    gate.answers.send(Ok(1)).unwrap();
    let value = world.options().keep_blocking(function).wait().unwrap();
    gate.wait_until_called();
    world.pass(MINUTE);
    gate.wait_until_called();
    let mut closing = value.close();
    assert!(poll(&mut closing).is_pending(), "it is still at it");
    drop(value);
    world.tasks.run();
    assert_eq!(world.tasks.len(), 0);
    gate.answers.send(Ok(2)).unwrap();
    closing.wait().unwrap();
    assert_eq!(gate.token.strong_count(), 0);
}

#[test]
fn a_blocking_loader_serves_once_it_has_succeeded() {
    let world = World::new();
    let (gate, function) = Gate::new();
    let loading = world.options().back_off(secs(1), secs(1)).loader_blocking(function).unwrap();
    world.tasks.run();
    gate.wait_until_called();
    gate.answers.send(Err("no")).unwrap();
    run_until(&world, || loading.last_error().is_some());
    gate.answers.send(Ok(5)).unwrap();
    world.pass(secs(1));
    run_until(&world, || loading.healthy());
    assert_eq!(loading.value().wait().unwrap(), 5);
}

// On a runtime.

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn a_load_may_use_the_runtime_and_closing_leaves_no_task() {
        let runtime = runtime();
        let tasks = || runtime.metrics().num_alive_tasks();
        runtime.block_on(async {
            let value = keep(
                || async {
                    tokio::time::sleep(ms(1)).await;
                    Ok::<_, Down>(1)
                },
                ms(5),
            )
            .await
            .unwrap();
            let mut version = 0;
            while version < 5 {
                version = value.changed(version).await.unwrap();
            }
            assert!(value.healthy(), "{:?}", value.last_error());
            assert_eq!(tasks(), 1);
            value.close().await.unwrap();
            // What is left is the shell, which has been woken to find nothing.
            while tasks() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn a_blocking_function_may_use_the_callers_runtime() {
        let runtime = runtime();
        let handle = move || Ok::<_, Down>(tokio::runtime::Handle::try_current().is_ok());
        let value = runtime.block_on(async { Keep::new(MINUTE).keep_blocking(handle).await.unwrap() });
        assert!(value.get());
    }

    #[test]
    fn a_runtime_that_ends_leaves_a_value_that_is_not_healthy_and_can_be_closed() {
        let (runtime, source) = (runtime(), Source::new());
        let value = runtime.block_on(async { keep(source.function(), MINUTE).await.unwrap() });
        runtime.shutdown_timeout(secs(10));
        assert_eq!((value.get(), value.healthy()), (1, false));
        assert_eq!(value.last_error().map(|error| error.kind()), Some(ErrorKind::Closed));
        value.close().wait().unwrap();
        assert!(source.is_left_alone());
    }
}
