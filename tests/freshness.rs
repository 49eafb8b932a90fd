//! What options promise of freshness and loads, row by row, on a clock that stands still until it is moved.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nanotier::testing::Tasks;
use nanotier::{
    Ahead, Builder, Cache, Clock, Detailed, ErrorKind, Freshness, Hands, Inline, Json, LoadError, Loaded,
    MemoryStore, Options, Source, TimeLeft, Ttl,
};
use parking_lot::Mutex;

use common::Watched;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

struct World {
    cache: Cache<u32, u32>,
    hands: Hands,
    tasks: Tasks,
    loads: Arc<AtomicUsize>,
}

type Change = fn(Options<u32, u32>) -> Options<u32, u32>;

/// A cache in memory alone.
fn world(change: Change) -> World {
    build(Cache::builder().capacity(100), change)
}

/// The same over a tier.
fn over(tier: Watched, change: Change) -> World {
    build(Cache::builder().namespace("test").tiers(tier).codec(Json::default()), change)
}

fn both(change: Change) -> [World; 2] {
    [world(change), over(Watched::new(), change)]
}

fn build(builder: Builder<u32, u32>, change: Change) -> World {
    let (clock, hands) = Clock::manual();
    let tasks = Tasks::new();
    let builder = builder.clock(clock).spawner(tasks.clone()).seed(1).options(change);
    World { cache: builder.build().unwrap(), hands, tasks, loads: Arc::default() }
}

impl World {
    fn loader(&self, value: u32) -> impl FnOnce() -> Result<u32, String> + Send + 'static {
        let loads = self.loads.clone();
        move || {
            loads.fetch_add(1, SeqCst);
            Ok(value)
        }
    }

    fn failing(&self) -> impl FnOnce() -> Result<u32, String> + Send + 'static {
        let loads = self.loads.clone();
        move || {
            loads.fetch_add(1, SeqCst);
            Err("the origin is down".to_owned())
        }
    }

    fn load(&self, value: u32) -> Detailed<u32> {
        self.cache.try_get_with_blocking(&1, self.loader(value)).detailed().wait().unwrap()
    }

    fn fail(&self) -> Result<Detailed<u32>, LoadError<String>> {
        self.cache.try_get_with_blocking(&1, self.failing()).detailed().wait()
    }

    fn get(&self) -> Option<u32> {
        self.cache.get(&1).wait().unwrap()
    }

    fn loads(&self) -> usize {
        self.loads.swap(0, SeqCst)
    }
}

fn stale(value: u32) -> Detailed<u32> {
    Detailed { value, freshness: Freshness::Stale, source: Source::Memory }
}

fn loaded(value: u32) -> Detailed<u32> {
    Detailed { value, freshness: Freshness::Fresh, source: Source::Loader }
}

#[test]
fn a_value_is_fresh_then_stale_then_kept_for_errors_then_gone() {
    let change: Change =
        |o| o.ttl(ms(10)).stale_for(ms(10)).stale_on_error_for(ms(100)).back_off(ms(1), ms(1));
    for world in both(change) {
        world.load(1);
        assert_eq!((world.loads(), world.get()), (1, Some(1)));
        world.hands.advance(ms(10));
        assert_eq!(world.fail().unwrap(), stale(1), "at once");
        assert_eq!(world.loads(), 0, "the load is behind");
        world.tasks.run();
        assert_eq!((world.get(), world.cache.contains(&1).wait().unwrap()), (Some(1), true));
        // The load has failed, and the grace is over.
        assert_eq!(world.loads(), 1);
        world.hands.advance(ms(10));
        assert_eq!(world.get(), None, "kept for errors only");
        assert!(!world.cache.contains(&1).wait().unwrap());
        assert_eq!(world.cache.time_left(&1).wait().unwrap(), None);
        let answer = world.fail().unwrap();
        assert_eq!((answer.value, answer.freshness), (1, Freshness::Stale));
        assert_eq!(world.loads(), 1, "the loader was asked first");
        world.hands.advance(ms(20));
        assert_eq!(world.load(3), loaded(3), "a loader that can is waited for");
        world.hands.advance(ms(110));
        assert!(matches!(world.fail(), Err(LoadError::Loader(_))), "nothing is kept for ever");
    }
}

#[test]
fn a_value_kept_for_errors_is_answered_at_once_while_the_loader_is_left_alone() {
    let change: Change = |o| o.ttl(ms(10)).stale_on_error_for(ms(10_000)).back_off(ms(100), ms(400));
    for world in both(change) {
        world.load(1);
        let mut pause = 100;
        world.hands.advance(ms(20));
        for round in 0..4 {
            world.loads();
            assert_eq!(world.fail().unwrap().value, 1);
            assert_eq!(world.loads(), 1, "round {round}");
            for _ in 0..5 {
                assert_eq!(world.fail().unwrap().value, 1);
            }
            world.hands.advance(ms(pause - 1));
            assert_eq!(world.fail().unwrap().freshness, Freshness::Stale);
            assert_eq!(world.loads(), 0, "round {round}: not before {pause} ms are over");
            world.hands.advance(ms(1));
            pause = (pause * 2).min(400);
        }
    }
}

#[test]
fn what_was_removed_is_never_kept_for_errors() {
    for world in both(|o| o.ttl(ms(10)).stale_on_error_for(ms(1000))) {
        world.load(1);
        world.cache.remove(&1).wait().unwrap();
        assert!(world.fail().is_err());
        world.load(2);
        world.hands.advance(ms(20));
        // Removed while the loader runs.
        let cache = world.cache.clone();
        let load = move || {
            cache.remove(&1).wait().unwrap();
            Err::<u32, _>("down".to_owned())
        };
        assert!(world.cache.try_get_with_blocking(&1, load).wait().is_err());
        world.load(3);
        world.hands.advance(ms(20));
        world.cache.clear().wait().unwrap();
        assert!(world.fail().is_err());
    }
}

#[test]
fn a_loader_that_panics_costs_no_more_than_one_that_fails() {
    for world in both(|o| o.ttl(ms(10)).stale_for(ms(100)).back_off(ms(50), ms(50))) {
        world.load(1);
        world.hands.advance(ms(10));
        let answer = world.cache.get_with_blocking(&1, || panic!("planted")).wait().unwrap();
        assert_eq!(answer, 1);
        world.tasks.run();
        world.loads();
        assert_eq!(world.load(2).value, 1, "it is left alone for a while");
        world.tasks.run();
        assert_eq!(world.loads(), 0);
        world.hands.advance(ms(50));
        assert_eq!(world.load(2).value, 1);
        world.tasks.run();
        assert_eq!((world.loads(), world.get()), (1, Some(2)));
    }
}

#[test]
fn of_all_who_find_a_stale_value_one_starts_a_load() {
    for world in both(|o| o.ttl(ms(10)).stale_for(ms(1000))) {
        world.load(1);
        world.hands.advance(ms(10));
        for _ in 0..100 {
            assert_eq!(world.load(2), stale(1));
        }
        world.tasks.run();
        assert_eq!((world.loads(), world.get()), (2, Some(2)), "the first load and one refresh");
    }
}

#[test]
fn a_refresh_that_was_lost_with_its_runtime_is_begun_anew_after_its_deadline() {
    let world = world(|o| o.ttl(ms(10)).stale_for(ms(100_000)).hard_deadline(ms(50)));
    world.load(1);
    world.hands.advance(ms(10));
    world.load(2);
    world.hands.advance(ms(49));
    world.load(2);
    assert_eq!(world.tasks.len(), 1);
    world.hands.advance(ms(1));
    world.tasks.run();
    assert_eq!(world.get(), Some(1), "its time was over before it began");
    world.hands.advance(ms(1000));
    world.load(3);
    world.tasks.run();
    assert_eq!(world.get(), Some(3));
}

#[test]
fn a_refresh_ahead_begins_at_its_share_of_the_life_and_callers_get_the_fresh_value() {
    for world in both(|o| o.ttl(ms(100)).refresh_ahead(0.8)) {
        world.load(1);
        world.hands.advance(ms(79));
        world.load(2);
        assert_eq!(world.tasks.len(), 0, "not yet");
        world.hands.advance(ms(1));
        let answer = world.load(2);
        assert_eq!((answer.value, answer.freshness), (1, Freshness::Fresh));
        assert_eq!(world.load(3).value, 1, "one load is enough");
        world.tasks.run();
        assert_eq!((world.loads(), world.get()), (2, Some(2)));
        world.hands.advance(ms(80));
        assert_eq!(world.get(), Some(2), "`get` has no loader, and is answered all the same");
    }
}

#[test]
fn a_refresh_ahead_by_time_leaves_half_of_a_short_life_alone() {
    let world = world(|o| o.ttl(ms(100)).refresh_ahead(ms(30)));
    world.cache.insert(1, 1).wait().unwrap();
    world.hands.advance(ms(69));
    world.load(2);
    assert_eq!(world.tasks.len(), 0);
    world.hands.advance(ms(1));
    world.load(2);
    assert_eq!(world.tasks.len(), 1);
    world.tasks.run();
    world.cache.insert_for(1, 5, ms(10)).wait().unwrap();
    world.hands.advance(ms(4));
    assert_eq!((world.load(6).value, world.tasks.len()), (5, 0));
    world.hands.advance(ms(1));
    assert_eq!((world.load(6).value, world.tasks.len()), (5, 1));
}

#[test]
fn a_refresh_ahead_that_fails_keeps_the_value_and_pauses() {
    for world in both(|o| o.ttl(ms(100)).refresh_ahead(0.5).back_off(ms(10), ms(10))) {
        world.load(1);
        world.hands.advance(ms(50));
        assert_eq!(world.fail().unwrap().value, 1);
        world.tasks.run();
        world.loads();
        assert_eq!(world.fail().unwrap().freshness, Freshness::Fresh);
        world.tasks.run();
        assert_eq!(world.loads(), 0);
        world.hands.advance(ms(10));
        world.load(2);
        world.tasks.run();
        assert_eq!((world.loads(), world.get()), (1, Some(2)));
    }
}

/// A loader that never ends, and says when it is dropped.
struct Hangs(Arc<AtomicUsize>);

impl Drop for Hangs {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl World {
    fn hanging(&self) -> (Arc<AtomicUsize>, impl Future<Output = Result<u32, String>> + Send + 'static) {
        let dropped = Arc::new(AtomicUsize::new(0));
        let hangs = Hangs(dropped.clone());
        let load = async move {
            std::future::pending::<()>().await;
            drop(hangs);
            Ok(9)
        };
        (dropped, load)
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn is_timeout<T>(answer: &Poll<Result<T, LoadError<String>>>) -> bool {
    matches!(answer, Poll::Ready(Err(LoadError::Cache(error))) if error.kind() == ErrorKind::Timeout)
}

#[test]
fn at_the_hard_deadline_the_load_ends_its_key_is_free_and_all_who_wait_are_told() {
    for world in both(|o| o.hard_deadline(ms(100))) {
        let (dropped, load) = world.hanging();
        let mut leader = world.cache.try_get_with(&1, || load);
        let mut follower = world.cache.try_get_with(&1, async || Ok::<_, String>(1));
        assert!(poll(&mut leader).is_pending() && poll(&mut follower).is_pending());
        // Watched's own calls are pending once each.
        (0..4).for_each(|_| assert!(poll(&mut leader).is_pending()));
        world.hands.advance(ms(99));
        assert!(poll(&mut leader).is_pending() && poll(&mut follower).is_pending());
        world.hands.advance(ms(1));
        assert!(is_timeout(&poll(&mut follower)), "whoever looks first ends it");
        assert_eq!(dropped.load(SeqCst), 1);
        assert!(is_timeout(&poll(&mut leader)));
        assert_eq!(world.load(2), loaded(2));
    }
}

#[test]
fn a_loader_that_blocks_its_thread_keeps_the_others_no_longer_than_the_deadline() {
    let world = world(|o| o.hard_deadline(ms(100)));
    let (begun, wait_until_begun) = std::sync::mpsc::channel();
    let (go, wait_to_go) = std::sync::mpsc::channel::<()>();
    let cache = world.cache.clone();
    let blocked = std::thread::spawn(move || {
        let load = move || {
            begun.send(()).unwrap();
            wait_to_go.recv().unwrap();
            Ok::<_, String>(1)
        };
        cache.try_get_with_blocking(&1, load).wait()
    });
    wait_until_begun.recv().unwrap();
    let mut follower = world.cache.try_get_with(&1, async || Ok::<_, String>(7));
    assert!(poll(&mut follower).is_pending());
    world.hands.advance(ms(100));
    assert!(is_timeout(&poll(&mut follower)));
    assert_eq!(world.load(2), loaded(2), "the key is free");
    go.send(()).unwrap();
    let late = blocked.join().unwrap();
    assert!(matches!(late, Err(LoadError::Cache(error)) if error.kind() == ErrorKind::Timeout));
    assert_eq!(world.get(), Some(2), "what came late is kept nowhere");
}

#[test]
fn at_the_hard_deadline_a_value_kept_for_errors_is_answered() {
    let world = world(|o| o.ttl(ms(10)).stale_on_error_for(ms(10_000)).hard_deadline(ms(100)));
    world.load(1);
    world.hands.advance(ms(20));
    let (dropped, load) = world.hanging();
    let mut leader = world.cache.try_get_with(&1, || load).detailed();
    assert!(poll(&mut leader).is_pending());
    world.hands.advance(ms(100));
    assert!(matches!(poll(&mut leader), Poll::Ready(Ok(answer)) if answer == stale(1)));
    assert_eq!(dropped.load(SeqCst), 1);
    assert_eq!(world.fail().unwrap(), stale(1), "and the loader is left alone");
}

#[test]
fn at_the_soft_deadline_the_old_value_is_answered_and_the_load_goes_on() {
    let world = world(|o| o.ttl(ms(10)).stale_on_error_for(ms(10_000)).soft_deadline(ms(30)));
    world.load(1);
    world.hands.advance(ms(20));
    let (end, ended) = (Arc::new(AtomicUsize::new(0)), ());
    let () = ended;
    let may_end = end.clone();
    let load = std::future::poll_fn(move |_| match may_end.load(SeqCst) {
        0 => Poll::Pending,
        _ => Poll::Ready(Ok::<_, String>(2)),
    });
    let mut asked = world.cache.try_get_with(&1, || load).detailed();
    assert!(poll(&mut asked).is_pending());
    world.hands.advance(ms(29));
    assert!(poll(&mut asked).is_pending());
    world.hands.advance(ms(1));
    assert!(matches!(poll(&mut asked), Poll::Ready(Ok(answer)) if answer == stale(1)));
    end.store(1, SeqCst);
    world.tasks.run();
    assert_eq!(world.get(), Some(2));
    // With nothing to answer it means nothing.
    let (_, load) = world.hanging();
    let mut other = world.cache.try_get_with(&2, || load);
    assert!(poll(&mut other).is_pending());
    world.hands.advance(ms(1000));
    assert!(poll(&mut other).is_pending());
}

#[test]
fn a_deadline_is_at_most_half_of_what_the_truth_remembers_removals_for() {
    let tier = || Inline(MemoryStore::new());
    let horizon = nanotier::Tier::capabilities(&tier()).horizon;
    let build = |deadline: Duration| {
        let cache = Cache::<u32, u32>::builder().namespace("test").tiers(tier()).codec(Json::default());
        cache.options(|o| o.hard_deadline(deadline)).build()
    };
    assert!(build(horizon / 2).is_ok());
    let refused = build(horizon / 2 + ms(1)).unwrap_err();
    assert!(refused.to_string().contains("hard deadline"), "{refused}");
    // Said by a call it is shortened.
    let (clock, hands) = Clock::manual();
    let cache = Cache::<u32, u32>::builder().namespace("test").tiers(tier()).codec(Json::default());
    let cache = cache.clock(clock).spawner(Tasks::new()).build().unwrap();
    let patient = cache.with(|o| o.hard_deadline(Duration::from_secs(1_000_000))).unwrap();
    let mut hangs = patient.try_get_with(&1, std::future::pending::<Result<u32, String>>);
    assert!(poll(&mut hangs).is_pending());
    hands.advance(horizon / 2);
    assert!(is_timeout(&poll(&mut hangs)));
}

#[test]
fn no_more_loads_run_at_once_than_are_allowed_and_turns_come_in_order() {
    let world = world(|o| o.loads_max(2).hard_deadline(ms(100)));
    let running = Arc::new(AtomicUsize::new(0));
    let may_end = Arc::new(AtomicUsize::new(0));
    let load = |key: u32| {
        let (running, may_end) = (running.clone(), may_end.clone());
        move || {
            running.fetch_add(1, SeqCst);
            std::future::poll_fn(move |_| {
                if may_end.load(SeqCst) <= key as usize {
                    return Poll::Pending;
                }
                running.fetch_sub(1, SeqCst);
                Poll::Ready(Ok::<_, String>(key))
            })
        }
    };
    let mut asked: Vec<_> =
        (0..5_u32).map(|key| Box::pin(world.cache.try_get_with(&key, load(key)))).collect();
    asked.iter_mut().for_each(|asked| assert!(poll(asked).is_pending()));
    assert_eq!(running.load(SeqCst), 2);
    for key in 0..5 {
        may_end.store(key + 1, SeqCst);
        let answer = poll(&mut asked[key]);
        assert!(matches!(answer, Poll::Ready(Ok(value)) if value as usize == key), "{answer:?}");
        asked.iter_mut().skip(key + 1).for_each(|asked| assert!(poll(asked).is_pending()));
        assert_eq!(running.load(SeqCst), 2.min(4 - key));
    }
    // One that waits for its turn waits no longer than its deadline.
    may_end.store(0, SeqCst);
    let mut asked: Vec<_> =
        (10..13_u32).map(|key| Box::pin(world.cache.try_get_with(&key, load(key)))).collect();
    asked.iter_mut().for_each(|asked| assert!(poll(asked).is_pending()));
    world.hands.advance(ms(100));
    assert!(asked.iter_mut().all(|asked| is_timeout(&poll(asked))));
    world.cache.clear().wait().unwrap();
    assert_eq!(world.load(1), loaded(1), "all turns were given back");
}

#[test]
fn that_there_is_nothing_is_remembered_for_so_long_and_until_a_write() {
    for world in both(|o| o.negative_ttl(ms(50))) {
        let find = |found: Option<u32>| {
            let loads = world.loads.clone();
            let load = move || {
                loads.fetch_add(1, SeqCst);
                Ok::<_, String>(found)
            };
            world.cache.try_optionally_get_with_blocking(&1, load).wait().unwrap()
        };
        assert_eq!((find(None), find(Some(2)), world.loads()), (None, None, 1));
        world.hands.advance(ms(49));
        assert_eq!((find(Some(2)), world.loads()), (None, 0));
        world.hands.advance(ms(1));
        assert_eq!((find(None), world.loads()), (None, 1));
        world.cache.insert(1, 5).wait().unwrap();
        assert_eq!(find(None), Some(5));
        world.cache.remove(&1).wait().unwrap();
        assert_eq!((find(None), world.loads()), (None, 1), "a removal forgets it too");
        world.cache.clear().wait().unwrap();
        assert_eq!((find(Some(3)), world.loads()), (Some(3), 1));
        let cache = world.cache.clone();
        world.cache.remove(&1).wait().unwrap();
        let written_meanwhile = move || {
            cache.insert(1, 8).wait().unwrap();
            cache.clear_memory();
            Ok::<_, String>(None)
        };
        assert_eq!(world.cache.try_optionally_get_with_blocking(&1, written_meanwhile).wait().unwrap(), None);
        assert_ne!(find(Some(8)), None, "what was found before a write is not remembered after it");
    }
}

#[test]
fn nothing_where_there_was_something_removes_it() {
    for world in both(|o| o.ttl(ms(10)).stale_for(ms(1000)).stale_on_error_for(ms(10_000))) {
        world.load(1);
        world.hands.advance(ms(10));
        let answer =
            world.cache.try_optionally_get_with_blocking(&1, || Ok::<_, String>(None)).wait().unwrap();
        assert_eq!(answer, Some(1), "stale, at once");
        world.tasks.run();
        assert_eq!(world.get(), None);
        world.cache.clear_memory();
        assert_eq!(world.get(), None, "nor does the truth have it");
        assert!(world.fail().is_err(), "nor is it kept for errors");
    }
}

#[test]
fn an_error_is_remembered_only_if_that_was_asked_for() {
    for world in both(|o| o) {
        assert!(world.fail().is_err() && world.fail().is_err());
        assert_eq!(world.loads(), 2);
    }
    for world in both(|o| o.error_ttl(ms(50))) {
        assert!(matches!(world.fail(), Err(LoadError::Loader(error)) if *error == "the origin is down"));
        assert!(matches!(world.fail(), Err(LoadError::Loader(error)) if *error == "the origin is down"));
        assert_eq!(world.loads(), 1);
        // Of another type of error it is still an error with a source that says what was said.
        let other = world.cache.get_with_blocking(&1, || 1).wait().unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Loader);
        let source = other.cause().expect("what the loader said");
        assert_eq!(source.to_string(), "the origin is down");
        world.hands.advance(ms(50));
        assert_eq!(world.load(1), loaded(1));
    }
}

#[test]
fn a_loader_that_is_shown_the_old_value_may_answer_that_it_is_as_good_as_ever() {
    for world in both(|o| o.ttl(ms(10)).stale_for(ms(100))) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ask = |answer: Loaded<u32>| {
            let seen = seen.clone();
            let load = move |held| {
                seen.lock().push(held);
                Ok::<_, String>(answer)
            };
            world.cache.try_revalidate_with_blocking(&1, load).wait()
        };
        let nothing_held = ask(Loaded::Unchanged).unwrap_err();
        assert!(nothing_held.to_string().contains("Unchanged"), "{nothing_held}");
        assert_eq!(ask(Loaded::New(1)).unwrap(), 1);
        world.hands.advance(ms(10));
        assert_eq!(ask(Loaded::Unchanged).unwrap(), 1);
        world.tasks.run();
        assert_eq!(*seen.lock(), [None, None, Some(1)]);
        assert_eq!(world.cache.time_left(&1).wait().unwrap(), Some(TimeLeft::Fresh(ms(10))), "another life");
        world.cache.clear_memory();
        let left = world.cache.time_left(&1).wait().unwrap();
        assert!(left.is_none() || left == Some(TimeLeft::Fresh(ms(10))), "in the truth too: {left:?}");
    }
}

#[test]
fn past_the_cache_nothing_is_found_and_nothing_is_kept() {
    for world in both(|o| o.ttl(ms(1000))) {
        world.load(1);
        let past = world.cache.with(|o| o.bypass(true)).unwrap();
        assert_eq!(past.get(&1).wait().unwrap(), None);
        assert_eq!((past.resident(&1), past.read(&1, |_| ())), (None, None));
        assert_eq!(past.get_many([&1]).wait().unwrap().pop().unwrap().unwrap(), None);
        assert!(!past.contains(&1).wait().unwrap() || world.cache.tiers().is_some());
        for value in [5, 6] {
            assert_eq!(past.get_with_blocking(&1, move || value).wait().unwrap(), value);
        }
        assert_eq!(world.get(), Some(1));
        past.insert(1, 7).wait().unwrap();
        assert_eq!(world.get(), Some(7), "a write is a write");
    }
}

#[test]
fn an_entry_that_nobody_reads_rests_so_long_in_memory() {
    let world = world(|o| o.time_to_idle(ms(50)));
    world.cache.insert(1, 1).wait().unwrap();
    for _ in 0..5 {
        world.hands.advance(ms(49));
        assert_eq!(world.get(), Some(1));
    }
    assert!(world.cache.contains(&1).wait().unwrap());
    world.hands.advance(ms(49));
    assert!(world.cache.contains(&1).wait().unwrap(), "to ask whether is no use");
    world.hands.advance(ms(1));
    assert!(!world.cache.contains(&1).wait().unwrap());
    assert_eq!((world.get(), world.cache.resident(&1)), (None, None));
    let over = over(Watched::new(), |o| o.time_to_idle(ms(50)));
    over.cache.insert(1, 1).wait().unwrap();
    over.hands.advance(ms(60));
    assert_eq!(over.cache.resident(&1), None);
    assert_eq!(over.get(), Some(1), "the tier has it still");
}

#[test]
fn an_entry_may_be_given_a_life_by_what_it_is() {
    for world in both(|o| {
        o.ttl(ms(100)).expire_with(|key, value| match (key, value) {
            (1, _) => Ttl::For(ms(10)),
            (_, 0) => Ttl::Forever,
            _ => Ttl::Default,
        })
    }) {
        let left = |key: u32| world.cache.time_left(&key).wait().unwrap();
        world.load(1);
        assert_eq!(left(1), Some(TimeLeft::Fresh(ms(10))), "loaded");
        world.cache.insert(1, 2).wait().unwrap();
        assert_eq!(left(1), Some(TimeLeft::Fresh(ms(10))), "inserted");
        world.cache.insert_many([(2, 0), (3, 1)]).wait().unwrap();
        assert_eq!((left(2), left(3)), (Some(TimeLeft::Forever), Some(TimeLeft::Fresh(ms(100)))));
        world.cache.insert_for(1, 2, ms(70)).wait().unwrap();
        assert_eq!(left(1), Some(TimeLeft::Fresh(ms(70))), "what a call says goes before it");
        world.cache.touch(&3, Ttl::Default).wait().unwrap();
        assert_eq!(left(3), Some(TimeLeft::Fresh(ms(100))));
    }
}

#[test]
fn jitter_shortens_lives_by_up_to_its_share_and_by_the_seed() {
    let lives = || {
        let world = world(|o| o.ttl(ms(1000)).jitter(0.3));
        let life = |key: u32| {
            world.cache.insert(key, 0).wait().unwrap();
            let Some(TimeLeft::Fresh(left)) = world.cache.time_left(&key).wait().unwrap() else { panic!() };
            left
        };
        (0..100).map(life).collect::<Vec<_>>()
    };
    let drawn = lives();
    assert!(drawn.iter().all(|life| *life >= ms(700) && *life <= ms(1000)), "{drawn:?}");
    assert!(drawn.iter().max() > Some(&ms(950)) && drawn.iter().min() < Some(&ms(750)), "{drawn:?}");
    assert_eq!(drawn, lives());
    let world = world(|o| o.ttl(ms(1000)).jitter(0.3));
    world.cache.insert_for(1, 1, ms(500)).wait().unwrap();
    assert_eq!(world.cache.time_left(&1).wait().unwrap(), Some(TimeLeft::Fresh(ms(500))), "as said");
}

#[test]
fn a_load_that_nobody_waits_for_goes_on_unless_it_is_to_be_cancelled() {
    for (cancel, dropped_at_once) in [(false, 0), (true, 1)] {
        let world = world(|o| o);
        let cache = world.cache.with(|o| o.cancel_unwanted(cancel)).unwrap();
        let (dropped, load) = world.hanging();
        let mut asked = cache.try_get_with(&1, || load);
        let mut other = cache.try_get_with(&1, async || Ok::<_, String>(1));
        assert!(poll(&mut asked).is_pending() && poll(&mut other).is_pending());
        drop(asked);
        assert_eq!(dropped.load(SeqCst), 0, "somebody waits");
        drop(other);
        assert_eq!(dropped.load(SeqCst), dropped_at_once);
        if cancel {
            assert_eq!(world.load(4), loaded(4), "the next caller starts anew");
        }
    }
}

#[test]
fn closing_waits_for_loads_and_ends_those_that_take_too_long_and_none_begins_after_it() {
    for world in both(|o| o) {
        world.load(1);
        let (dropped, load) = world.hanging();
        let mut hangs = world.cache.try_get_with(&2, || load);
        (0..5).for_each(|_| assert!(poll(&mut hangs).is_pending()));
        let mut closing = world.cache.close();
        (0..5).for_each(|_| assert!(poll(&mut closing).is_pending()));
        let refused = world.cache.get_with(&3, async || 3).wait().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Closed);
        assert_eq!(world.cache.resident(&1), Some((1, Freshness::Fresh)), "memory goes on");
        world.hands.advance(Builder::<u32, u32>::CLOSE_WITHIN_DEFAULT);
        assert!((0..5).any(|_| poll(&mut closing).is_ready()));
        assert_eq!(dropped.load(SeqCst), 1);
        let told = poll(&mut hangs);
        assert!(
            matches!(told, Poll::Ready(Err(LoadError::Cache(ref error))) if error.kind() == ErrorKind::Closed),
            "{told:?}"
        );
        world.cache.close().wait().unwrap();
    }
}

#[test]
fn a_handle_with_options_of_its_own_is_the_same_cache() {
    let world = world(|o| o.ttl(ms(100)).stale_for(ms(100)));
    let brief = world.cache.with(|o| o.ttl(ms(10))).unwrap();
    brief.insert(1, 1).wait().unwrap();
    assert_eq!(world.cache.time_left(&1).wait().unwrap(), Some(TimeLeft::Fresh(ms(10))));
    world.hands.advance(ms(20));
    let strict = world.cache.with(|o| o.stale_for(ms(5))).unwrap();
    assert_eq!((strict.get(&1).wait().unwrap(), world.get()), (None, Some(1)), "each takes what it takes");
    for refused in [
        world.cache.with(|o| o.time_to_idle(ms(5))),
        world.cache.with(|o| o.loads_max(5)),
        world.cache.with(|o| o.error_ttl(ms(5))),
        world.cache.with(|o| o.jitter(2.0)),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
    }
}

#[test]
fn options_that_cannot_work_are_refused_with_a_sentence() {
    let rows: &[(Change, &str)] = &[
        (|o| o.ttl(ms(0)), "a ttl of zero"),
        (|o| o.time_to_idle(ms(0)), "a time_to_idle of zero"),
        (|o| o.stale_for(ms(1)), "`stale_for` needs a `ttl`"),
        (|o| o.stale_on_error_for(ms(1)), "`stale_on_error_for` needs a `ttl`"),
        (|o| o.ttl(ms(1)).stale_for(ms(5)).stale_on_error_for(ms(5)), "longer than `stale_for`"),
        (|o| o.ttl(ms(1)).jitter(1.1), "from 0 to 1"),
        (|o| o.ttl(ms(1)).jitter(f64::NAN), "from 0 to 1"),
        (|o| o.jitter(0.5), "`jitter` needs a `ttl`"),
        (|o| o.refresh_ahead(0.5), "`refresh_ahead` needs a `ttl`"),
        (|o| o.ttl(ms(1)).refresh_ahead(1.0), "below 1"),
        (|o| o.ttl(ms(1)).refresh_ahead(Ahead::Share(0.0)), "above 0"),
        (|o| o.ttl(ms(1)).refresh_ahead(ms(0)), "refreshes nothing"),
        (|o| o.ttl(ms(9)).refresh_ahead(ms(9)), "each read would load"),
        (|o| o.ttl(ms(1)).early_expiry(0.0), "above 0"),
        (|o| o.ttl(ms(1)).early_expiry(f64::INFINITY), "above 0"),
        (|o| o.early_expiry(1.0), "`early_expiry` needs a `ttl`"),
        (|o| o.negative_ttl(ms(0)), "keeps nothing"),
        (|o| o.error_ttl(ms(0)), "keeps nothing"),
        (|o| o.hard_deadline(ms(0)), "before it began"),
        (|o| o.soft_deadline(ms(1)), "`soft_deadline` needs"),
        (
            |o| o.ttl(ms(1)).stale_on_error_for(ms(9)).soft_deadline(ms(5)).hard_deadline(ms(5)),
            "must be shorter",
        ),
        (|o| o.loads_max(0), "`loads_max` of zero"),
        (|o| o.back_off(ms(2), ms(1)), "no longer than its longest"),
    ];
    for (change, words) in rows {
        let refused = Cache::<u32, u32>::builder().options(change).build().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(refused.to_string().contains(words), "{refused}, and not: {words}");
    }
}

/// A load that is begun, and never ends.
fn hanging(world: &World) -> nanotier::Lookup<u32> {
    let mut asked = world.cache.get_with(&1, std::future::pending);
    let mut context = Context::from_waker(Waker::noop());
    (0..4).for_each(|_| assert!(pin!(&mut asked).poll(&mut context).is_pending()));
    asked
}

#[test]
fn who_comes_after_the_deadline_begins_anew_though_nobody_has_ended_the_load() {
    for world in both(|o| o.ttl(ms(10)).stale_for(ms(10_000)).hard_deadline(ms(100))) {
        // Held, and polled no more.
        let held = hanging(&world);
        world.hands.advance(ms(100));
        assert_eq!(world.load(2).value, 2, "a load of its own, not the end of another's");
        drop(held);
        world.hands.advance(ms(10));
        assert_eq!(world.cache.get_with(&1, std::future::pending).wait().unwrap(), 2);
        // The refresh hangs, and nobody runs what would end it.
        world.hands.advance(ms(100));
        world.loads();
        assert_eq!(world.load(3), stale(2));
        world.tasks.run();
        assert_eq!((world.loads(), world.get()), (1, Some(3)));
    }
}

#[test]
fn a_value_kept_for_errors_is_answered_when_the_loader_panics() {
    for world in both(|o| o.ttl(ms(10)).stale_on_error_for(ms(1000))) {
        world.load(1);
        world.hands.advance(ms(10));
        let answer = world.cache.get_with_blocking(&1, || panic!("planted")).detailed().wait().unwrap();
        assert_eq!((answer.value, answer.freshness), (1, Freshness::Stale));
        world.hands.advance(ms(5000));
        let error = world.cache.get_with_blocking(&1, || panic!("planted")).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LoaderPanicked);
    }
}

#[test]
fn what_a_loader_did_not_find_while_a_write_was_under_way_is_forgotten_with_its_end() {
    type Write = fn(&Cache<u32, u32>) -> nanotier::Lookup<()>;
    let writes: [Write; 3] = [|cache| cache.insert(1, 5), Cache::clear, |cache| cache.remove(&1)];
    let nothing = async || None;
    for begin in writes {
        let world = over(Watched::new(), |o| o.negative_ttl(ms(10_000)));
        let write = begin(&world.cache);
        assert_eq!(world.cache.optionally_get_with(&1, nothing).wait().unwrap(), None);
        write.wait().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let told = asked.clone();
        world.cache.clear_memory();
        let load = async move || {
            told.fetch_add(1, SeqCst);
            None
        };
        let answer = world.cache.optionally_get_with(&1, load).wait().unwrap();
        assert!(answer == Some(5) || asked.load(SeqCst) == 1, "{answer:?} was known from before");
    }
}

#[test]
fn the_pause_after_a_deadline_is_as_long_as_the_call_said_that_began_the_load() {
    for world in both(|o| o.ttl(ms(10)).stale_on_error_for(ms(100_000)).hard_deadline(ms(100))) {
        world.load(1);
        world.hands.advance(ms(10));
        let hasty = world.cache.with(|o| o.back_off(ms(20), ms(20))).unwrap();
        let mut asked = hasty.get_with(&1, std::future::pending);
        let mut context = Context::from_waker(Waker::noop());
        (0..4).for_each(|_| assert!(pin!(&mut asked).poll(&mut context).is_pending()));
        world.hands.advance(ms(100));
        assert_eq!(asked.wait().unwrap(), 1);
        world.hands.advance(ms(20));
        assert_eq!(world.load(2).value, 2, "the default would be a second");
    }
}
