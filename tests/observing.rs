//! What an observer is told, what is counted, and what the report says. The tables are those of docs/OBSERVING.md.

mod common;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use common::Watched;
use nanotier::{
    Breaker, Builder, Cache, Call, Clock, Event, Hands, Json, Limits, Lookup, Observer, Operation, Spawn,
    Task, Tier, TierIndex,
};
use parking_lot::Mutex;

/// Keeps what it is told, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    calls: Vec<(Operation, String)>,
    keys: Vec<(usize, Option<String>)>,
    durations: Vec<Option<Duration>>,
    events: Vec<Event>,
}

impl Observer for Log {
    fn call(&self, call: &Call<'_>) {
        let error = call.error.map(|kind| format!(", {kind:?}")).unwrap_or_default();
        let mut told = self.0.lock();
        told.calls.push((call.operation, format!("{}, {}{error}", call.outcome, call.source)));
        told.keys.push((call.keys, call.key.map(str::to_owned)));
        told.durations.push(call.duration);
    }

    fn event(&self, event: &Event) {
        self.0.lock().events.push(event.clone());
    }
}

impl Log {
    /// What was told since the last time, of one operation.
    fn calls(&self, operation: Operation) -> Vec<String> {
        let calls = std::mem::take(&mut self.0.lock().calls);
        calls.into_iter().filter(|(of, _)| *of == operation).map(|(_, told)| told).collect()
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().events)
    }
}

/// Runs what it is given when it is told to.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Task>>>);

impl Spawn for Tasks {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        self.0.lock().push(task);
        Ok(())
    }
}

impl Tasks {
    fn run(&self) {
        loop {
            let tasks = std::mem::take(&mut *self.0.lock());
            if tasks.is_empty() {
                return;
            }
            tasks.into_iter().for_each(nanotier_tier::waiting::block_on);
        }
    }
}

/// A cache, and all that is outside it.
struct World {
    cache: Cache<String, u32>,
    near: Watched,
    far: Watched,
    clock: Clock,
    hands: Hands,
    tasks: Tasks,
    log: Log,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    fn memory() -> Self {
        Self::with(|builder, _, _| builder)
    }

    fn over_a_tier() -> Self {
        Self::with(|builder, near, _| builder.namespace("test").codec(Json::default()).tiers(near))
    }

    fn over_two() -> Self {
        Self::with(|builder, near, far| {
            builder.namespace("test").codec(Json::default()).tiers(near.over(far))
        })
    }

    /// Fresh for 10 s, then stale for 10 s.
    fn with(change: impl FnOnce(Builder<String, u32>, Watched, Watched) -> Builder<String, u32>) -> Self {
        let (clock, hands) = Clock::manual();
        let (near, far) = (Watched::new(), Watched::new());
        let (tasks, log) = (Tasks::default(), Log::default());
        let builder =
            Cache::builder().clock(clock.clone()).spawner(tasks.clone()).observer(log.clone()).seed(1);
        let builder = builder.stats(true).ttl(10 * SECOND).stale_for(10 * SECOND);
        let cache = change(builder, near.clone(), far.clone()).build().unwrap();
        Self { cache, near, far, clock, hands, tasks, log }
    }

    fn put(&self) {
        self.cache.insert("a".to_owned(), 1).wait().unwrap();
        self.tasks.run();
    }

    /// A value is there, and no longer fresh.
    fn put_stale(&self) {
        self.put();
        self.hands.advance(15 * SECOND);
    }

    fn load(&self) -> Lookup<u32> {
        self.cache.get_with("a", async || 2)
    }

    fn fail(&self) -> Lookup<u32, nanotier::LoadError<String>> {
        self.cache.try_get_with("a", async || Err("no".to_owned()))
    }
}

/// Polled once, and left alone then.
fn begin<F: Future + Unpin>(future: &mut F) {
    let mut context = TaskContext::from_waker(Waker::noop());
    assert!(Pin::new(future).poll(&mut context).is_pending());
}

fn never() -> impl Future<Output = u32> + Send + 'static {
    std::future::pending()
}

/// What leads to each row of the table.
fn rows() -> Vec<(&'static str, &'static str, World)> {
    let mut rows = Vec::new();
    let mut row = |call: &'static str, when: &'static str, world: World, act: &dyn Fn(&World)| {
        world.log.calls(Operation::Get);
        act(&world);
        rows.push((call, when, world));
    };
    let (memory, one, two) = (World::memory, World::over_a_tier, World::over_two);
    let forgetful = || {
        let world = one();
        world.put();
        world.cache.clear_memory();
        world
    };
    let get = |world: &World| drop(world.cache.get("a").wait());
    let leave = |world: &World| world.near.set_down(true);
    let too_long = || "k".repeat(70_000);

    row("get", "memory has it fresh", memory(), &|world| {
        world.put();
        get(world);
    });
    row("get", "memory has it stale", memory(), &|world| {
        world.put_stale();
        get(world);
    });
    row("get", "nobody has it", memory(), &get);
    row("get", "a tier has it fresh", forgetful(), &get);
    row("get", "the second tier has it", two(), &|world| {
        world.put();
        world.near.set_down(true);
        world.cache.clear_memory();
        get(world);
    });
    row("get", "a tier has it stale", forgetful(), &|world| {
        world.hands.advance(15 * SECOND);
        get(world);
    });
    row("get", "tiers have nothing", one(), &get);
    for (when, world) in [("another get is looking", forgetful()), ("another get is looking, in vain", one())]
    {
        row("get", when, world, &|world| {
            let (mut first, mut second) = (world.cache.get("a"), world.cache.get("a"));
            begin(&mut first);
            begin(&mut second);
            first.wait().unwrap();
            world.log.calls(Operation::Get);
            second.wait().unwrap();
        });
    }
    row("get", "the tier fails", one(), &|world| {
        leave(world);
        get(world);
    });
    let recheck = World::with(|builder, near, _| {
        builder.namespace("test").codec(Json::default()).recheck(SECOND).tiers(near)
    });
    row("get", "the tier fails, memory has what must be confirmed", recheck, &|world| {
        world.put();
        world.hands.advance(2 * SECOND);
        leave(world);
        get(world);
    });
    row("get", "its caller leaves", one(), &|world| begin(&mut world.cache.get("a")));
    row("get", "by a handle that goes past the cache", one(), &|world| {
        let past = world.cache.with(|options| options.bypass(true)).unwrap();
        past.get("a").wait().unwrap();
    });

    row("get_with", "memory has it fresh", memory(), &|world| {
        world.put();
        world.load().wait().unwrap();
    });
    row("get_with", "memory has it stale", memory(), &|world| {
        world.put_stale();
        world.load().wait().unwrap();
    });
    row("get_with", "nobody has it", memory(), &|world| drop(world.load().wait()));
    row("get_with", "a tier has it", forgetful(), &|world| drop(world.load().wait()));
    row("get_with", "the tier fails", one(), &|world| {
        leave(world);
        world.load().wait().unwrap();
    });
    row("get_with", "another call is loading", memory(), &|world| {
        let slowly = async || {
            common::pending_once().await;
            common::pending_once().await;
            2
        };
        let (mut first, mut second) = (world.cache.get_with("a", slowly), world.load());
        begin(&mut first);
        begin(&mut second);
        first.wait().unwrap();
        world.log.calls(Operation::GetWith);
        second.wait().unwrap();
    });
    row("get_with", "the loader fails", memory(), &|world| drop(world.fail().wait()));
    let patient =
        World::with(|builder, _, _| builder.options(|options| options.stale_on_error_for(100 * SECOND)));
    row("get_with", "the loader fails, an old value is left", patient, &|world| {
        world.put();
        world.hands.advance(50 * SECOND);
        world.fail().wait().unwrap();
    });
    row("get_with", "the loader panics", memory(), &|world| {
        world.cache.get_with_blocking("a", || panic!("planted")).wait().unwrap_err();
    });
    row("get_with", "the loader takes too long", memory(), &|world| {
        let mut load = world.cache.get_with("a", never);
        begin(&mut load);
        world.hands.advance(3600 * SECOND);
        load.wait().unwrap_err();
    });
    row("get_with", "the loader asks for its own key", memory(), &|world| {
        let cache = world.cache.clone();
        let ask = async move || cache.get_with("a", async || 3).await.unwrap_or(0);
        world.cache.get_with("a", ask).wait().unwrap();
        // That of the inner call comes first.
        world.log.0.lock().calls.truncate(1);
    });
    let remember = || {
        World::with(|builder, _, _| builder.options(|options| options.negative_ttl(SECOND).error_ttl(SECOND)))
    };
    let none = |world: &World| drop(world.cache.optionally_get_with("a", async || None).wait());
    row("get_with", "the loader says that there is none", remember(), &none);
    row("get_with", "that there is none is remembered", remember(), &|world| {
        none(world);
        world.log.calls(Operation::GetWith);
        none(world);
    });
    row("get_with", "an error is remembered", remember(), &|world| {
        world.fail().wait().unwrap_err();
        world.log.calls(Operation::GetWith);
        world.fail().wait().unwrap_err();
    });
    row("get_with", "the key is too long", one(), &|world| {
        world.cache.get_with(&too_long(), async || 2).wait().unwrap_err();
    });
    row("get_with", "the cache is closed", one(), &|world| {
        world.cache.close().wait().unwrap();
        world.load().wait().unwrap_err();
    });
    row("get_with", "its caller leaves", memory(), &|world| {
        begin(&mut world.cache.get_with("a", never));
    });

    row("get_many", "all are there", forgetful(), &|world| {
        world.cache.get_many(["a", "a"]).wait().unwrap();
    });
    row("get_many", "one is not", forgetful(), &|world| {
        world.cache.get_many(["a", "b"]).wait().unwrap();
    });
    row("get_many", "the tier fails", one(), &|world| {
        leave(world);
        world.cache.get_many(["a"]).wait().unwrap();
    });
    let squares =
        |world: &World| world.cache.get_many_with(["a", "b"], async |keys: Vec<_>| vec![2; keys.len()]);
    row("get_many_with", "all are there", memory(), &|world| {
        squares(world).wait().unwrap();
        world.log.calls(Operation::GetManyWith);
        squares(world).wait().unwrap();
    });
    row("get_many_with", "one is not", forgetful(), &|world| drop(squares(world).wait().unwrap()));
    row("get_many_with", "another call loads all that is not", one(), &|world| {
        let (mut first, mut second) = (squares(world), squares(world));
        begin(&mut first);
        begin(&mut second);
        first.wait().unwrap();
        world.log.calls(Operation::GetManyWith);
        second.wait().unwrap();
    });
    row("get_many_with", "the loader fails", memory(), &|world| {
        let fail = async |_: Vec<String>| Err::<Vec<u32>, _>("no".to_owned());
        world.cache.try_get_many_with(["a"], fail).wait().unwrap_err();
    });
    row("contains", "it is there", forgetful(), &|world| drop(world.cache.contains("a").wait()));
    row("contains", "it is not", memory(), &|world| drop(world.cache.contains("a").wait()));
    row("time_left", "it is there", forgetful(), &|world| drop(world.cache.time_left("a").wait()));
    row("time_left", "it is not", memory(), &|world| drop(world.cache.time_left("a").wait()));

    row("insert", "memory alone", memory(), &World::put);
    row("insert", "over a tier", one(), &World::put);
    row("insert", "the tier fails", one(), &|world| {
        leave(world);
        world.cache.insert("a".to_owned(), 1).wait().unwrap_err();
    });
    row("insert", "the cache is closed", memory(), &|world| {
        world.cache.close().wait().unwrap();
        world.cache.insert("a".to_owned(), 1).wait().unwrap_err();
    });
    row("insert", "its caller leaves", one(), &|world| {
        begin(&mut world.cache.insert("a".to_owned(), 1));
        world.tasks.run();
        assert_eq!(world.cache.get("a").wait().unwrap(), Some(1), "the write goes on");
    });
    row("insert_many", "over a tier", one(), &|world| {
        world.cache.insert_many([("a".to_owned(), 1), ("b".to_owned(), 2)]).wait().unwrap();
    });
    row("insert_many", "one key is too long", one(), &|world| {
        world.cache.insert_many([("a".to_owned(), 1), (too_long(), 2)]).wait().unwrap();
    });
    row("remove", "it is there", forgetful(), &|world| drop(world.cache.remove("a").wait()));
    row("remove", "it is not", memory(), &|world| drop(world.cache.remove("a").wait()));
    row("remove_many", "over a tier", one(), &|world| drop(world.cache.remove_many(["a", "b"]).wait()));
    row("take", "it is there", forgetful(), &|world| drop(world.cache.take("a").wait()));
    row("take", "it is not", memory(), &|world| drop(world.cache.take("a").wait()));
    row("touch", "it is there", forgetful(), &|world| drop(world.cache.touch("a", SECOND).wait()));
    row("touch", "it is not", memory(), &|world| drop(world.cache.touch("a", SECOND).wait()));
    row("clear", "over a tier", one(), &|world| drop(world.cache.clear().wait()));

    row("refresh", "the loader brings a value", memory(), &|world| {
        world.put_stale();
        world.load().wait().unwrap();
        world.tasks.run();
    });
    row("refresh", "the loader brings a value, over a tier", one(), &|world| {
        world.put_stale();
        world.load().wait().unwrap();
        world.tasks.run();
    });
    row("refresh", "the loader fails", memory(), &|world| {
        world.put_stale();
        world.fail().wait().unwrap();
        world.tasks.run();
    });
    row("refresh", "the tier has a newer value", one(), &|world| {
        world.put_stale();
        let (clock, hands) = Clock::manual();
        hands.advance(15 * SECOND);
        let other = Cache::<String, u32>::builder().clock(clock).seed(2).ttl(10 * SECOND);
        let other = other.namespace("test").codec(Json::default()).tiers(world.near.clone()).build().unwrap();
        other.insert("a".to_owned(), 3).wait().unwrap();
        get(world);
        world.tasks.run();
        assert_eq!(world.cache.get("a").wait().unwrap(), Some(3));
    });
    row("refresh", "the tier has nothing newer", one(), &|world| {
        world.put_stale();
        get(world);
        world.tasks.run();
    });
    row("refresh", "behind `get_many_with`", memory(), &|world| {
        world.put_stale();
        world.cache.get_many_with(["a"], async |_: Vec<_>| vec![2]).wait().unwrap();
        world.tasks.run();
    });
    row("refresh", "behind `get_many`", one(), &|world| {
        world.put_stale();
        world.cache.get_many(["a"]).wait().unwrap();
        world.tasks.run();
    });
    row("refresh", "what runs it is gone", memory(), &|world| {
        world.put_stale();
        world.load().wait().unwrap();
        world.tasks.0.lock().clear();
    });
    rows
}

#[test]
fn every_call_comes_to_what_the_table_says_and_is_told_once() {
    let document = include_str!("../docs/OBSERVING.md");
    let table = document.split("| call | when | told |").nth(1).expect("the table is there");
    let mut expected: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [call, when, told] = cells[..] else { panic!("{line}") };
        assert!(expected.insert((call, when), told).is_none(), "{line} is there twice");
    }
    let mut wrong = Vec::new();
    for (call, when, world) in rows() {
        let operation = Operation::ALL.iter().find(|operation| operation.name() == call).expect(call);
        let told = world.log.calls(*operation).join("; ");
        match expected.remove(&(call, when)) {
            Some(expected) if expected == told => {}
            expected => wrong.push(format!("{call}: {when}: told {told:?}, in the table {expected:?}")),
        }
    }
    wrong.extend(expected.into_iter().map(|row| format!("{row:?}: in the table and not tried")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_all_who_wait_for_a_load_one_is_told_as_the_one_that_computed() {
    let world = World::memory();
    let slowly = async || {
        for _ in 0..20 {
            common::pending_once().await;
        }
        2
    };
    let mut calls: Vec<Lookup<u32>> = (0..8).map(|_| world.cache.get_with("a", slowly)).collect();
    calls.iter_mut().for_each(begin);
    calls.into_iter().rev().for_each(|call| assert_eq!(call.wait().unwrap(), 2));
    let told = world.log.calls(Operation::GetWith);
    let of = |what: &str| told.iter().filter(|told| told.starts_with(what)).count();
    assert_eq!((of("computed"), of("joined"), told.len()), (1, 7, 8), "{told:?}");
}

#[test]
fn a_failed_read_is_told_once_for_each_tier_by_its_place() {
    let world = World::over_a_tier();
    world.near.set_down(true);
    world.cache.get("a").wait().unwrap_err();
    let failed = |at| Event::ReadFailed { tier: "watched", at: TierIndex(at) };
    assert_eq!(world.log.events(), [failed(0)]);

    let world = World::over_two();
    world.near.set_down(true);
    world.cache.get("a").wait().unwrap();
    assert_eq!(world.log.events(), [failed(0)]);
    world.far.set_down(true);
    world.cache.get("a").wait().unwrap_err();
    assert_eq!(world.log.events(), [failed(0), failed(1)]);
    world.cache.get_many(["a", "b", "c"]).wait().unwrap();
    assert_eq!(world.log.events(), [failed(0), failed(1)], "a batch is one read");
}

#[test]
fn two_tiers_of_one_kind_are_told_apart_by_their_places() {
    let world = World::over_two();
    world.near.set_down(true);
    world.cache.insert("a".to_owned(), 1).wait().unwrap();
    assert_eq!(world.log.events(), [Event::CopyFailed { tier: "watched", at: TierIndex(0) }]);
    world.near.set_down(false);
    world.far.set_down(true);
    world.cache.get_with("b", async || 2).wait().unwrap();
    let places: Vec<_> = world.log.events().iter().map(|event| (event.name(), event.tier())).collect();
    assert_eq!(places, [("read_failed", Some(("watched", TierIndex(1))))]);
}

#[test]
fn an_unreadable_record_is_told_by_the_tier_that_held_it() {
    let world = World::over_two();
    world.put();
    let texts = Cache::<String, String>::builder().namespace("test").codec(nanotier::Raw);
    let texts = texts
        .clock(world.clock.clone())
        .observer(world.log.clone())
        .tiers(world.near.clone().over(world.far.clone()));
    let texts = texts.build().unwrap();
    texts.get("a").wait().unwrap();
    let unreadable = |at| Event::RecordUnreadable { tier: "watched", at: TierIndex(at) };
    assert_eq!(world.log.events(), [unreadable(0), unreadable(1)]);
}

#[test]
fn an_observer_that_panics_changes_nothing() {
    struct Panics;
    impl Observer for Panics {
        fn call(&self, _: &Call<'_>) {
            panic!("planted");
        }
        fn event(&self, _: &Event) {
            panic!("planted");
        }
    }
    let log = Log::default();
    let tier = Watched::new();
    let cache = Cache::<String, u32>::builder().observer((Panics, log.clone()));
    let cache = cache.observe_keys(|key| if key == "b" { panic!("planted") } else { key.clone() });
    let cache = cache.namespace("test").codec(Json::default()).tiers(tier.clone()).build().unwrap();
    cache.insert("a".to_owned(), 1).wait().unwrap();
    assert_eq!(cache.get("a").wait().unwrap(), Some(1), "a hit");
    assert_eq!(cache.get_with("b", async || 2).wait().unwrap(), 2);
    tier.set_down(true);
    cache.get("c").wait().unwrap_err();
    assert_eq!(log.events().len(), 1, "the other one is told");
    let keys: Vec<_> = log.0.lock().keys.drain(..).map(|(_, key)| key).collect();
    assert_eq!(keys, [Some("a".to_owned()), Some("a".to_owned()), None, Some("c".to_owned())]);
}

#[test]
fn keys_are_shown_only_if_asked_for_and_as_asked() {
    let use_all = |world: &World| {
        world.put();
        world.cache.get("a").wait().unwrap();
        world.cache.get_with("a", async || 2).wait().unwrap();
        world.cache.get_many(["a"]).wait().unwrap();
        world.cache.clear().wait().unwrap();
        std::mem::take(&mut world.log.0.lock().keys)
    };
    let silent = use_all(&World::over_a_tier());
    assert_eq!(silent, [(1, None), (1, None), (1, None), (1, None), (0, None)]);

    let world = World::with(|builder, near, _| {
        builder.namespace("test").codec(Json::default()).tiers(near).observe_keys(|key| format!("{key}.."))
    });
    let shown = Some("a..".to_owned());
    let all = [(1, shown.clone()), (1, shown.clone()), (1, shown), (1, None), (0, None)];
    assert_eq!(use_all(&world), all, "never of a batch or a whole cache");
}

#[test]
fn what_memory_answers_is_not_timed_and_all_else_is() {
    let world = World::memory();
    let hands = world.hands.clone();
    let load = move || {
        hands.advance(Duration::from_millis(30));
        2
    };
    world.put();
    world.cache.get("a").wait().unwrap();
    world.cache.get("b").wait().unwrap();
    world.cache.get_with_blocking("b", load).wait().unwrap();
    world.cache.get_with("b", async || 2).wait().unwrap();
    let durations = std::mem::take(&mut world.log.0.lock().durations);
    assert_eq!(durations, [None, None, None, Some(Duration::from_millis(30)), None]);
}

/// Some of everything: a load of 20 ms, one that fails, a breaker that opens.
fn some_of_everything() -> World {
    let world = World::with(|builder, near, far| {
        let far = far.guarded(Limits::new().failures_in_a_row(2));
        builder.capacity(100).namespace("users").codec(Json::default()).tiers(near.over(far))
    });
    let hands = world.hands.clone();
    let load = move || {
        hands.advance(Duration::from_millis(20));
        2
    };
    world.cache.get_with_blocking("a", load).wait().unwrap();
    world.tasks.run();
    world.cache.try_get_with("b", async || Err::<u32, _>("no".to_owned())).wait().unwrap_err();
    (0..5).for_each(|_| assert_eq!(world.cache.get("a").wait().unwrap(), Some(2)));
    world.cache.get_many(["a", "c", "d"]).wait().unwrap();
    world.hands.advance(15 * SECOND);
    world.load().wait().unwrap();
    world.tasks.run();
    world.far.set_down(true);
    for key in ["e", "f", "g"] {
        world.cache.get(key).wait().unwrap_err();
    }
    world
}

#[test]
fn metrics_say_what_has_happened() {
    let world = some_of_everything();
    let metrics = world.cache.metrics();
    assert_eq!((metrics.memory.hits, metrics.memory.misses), (7, 7), "{metrics:#?}");
    let calls = metrics.calls;
    assert_eq!((calls.stale, calls.computed, calls.failed), (1, 1, 4), "{calls:?}");
    assert_eq!((calls.joined, calls.rejected, calls.dropped), (0, 0, 0), "{calls:?}");
    assert_eq!((calls.refreshed, calls.refreshed_in_vain), (1, 0), "{calls:?}");
    let loads = metrics.loads;
    assert_eq!((loads.took.count, loads.failed), (3, 1), "{loads:?}");
    assert_eq!((loads.took.total, loads.took.max), (Duration::from_millis(20), Duration::from_millis(20)));
    assert_eq!(world.cache.stats().loads, 3);

    let [near, far] = &metrics.tiers[..] else { panic!("two tiers: {metrics:?}") };
    assert_eq!((near.name, near.at, near.guard), ("watched", TierIndex(0), None));
    assert_eq!((far.name, far.at), ("watched", TierIndex(1)));
    assert_eq!(far.guard.map(|guard| guard.breaker), Some(Breaker::Open));
    assert_eq!((far.reads.failed, near.reads.failed), (3, 0), "{metrics:#?}");
    let reads = near.reads;
    assert_eq!((reads.found + reads.missed, reads.took.count), (8, 7), "a batch is one call: {reads:?}");
    assert_eq!(far.writes.done, 2, "two fills: {metrics:#?}");
}

#[test]
fn the_report_says_it_for_people() {
    let report = some_of_everything().cache.report();
    let (before, after) = report.split_once(" entries, ").unwrap();
    let (_, after) = after.split_once(" of tables").expect("what the tables use is not the same everywhere");
    let expected = "\
cache users
  memory   1 of 100 entries, .. of tables
  hits     50.0 % of 14 look-ups
  calls    1 stale, 1 computed, 4 failed
  behind   1 refreshed
  tier 0   watched, 12.5 % of 8 reads found
  tier 1   watched, breaker open, 0 at it, 0 waiting, 33.3 % of 6 reads found
                       calls   failed      p50      p90      p99      max
  loads                    3        1     0 ns    20 ms    20 ms    20 ms
  tier 0 reads             7        0     0 ns     0 ns     0 ns     0 ns
  tier 0 writes            3        0     0 ns     0 ns     0 ns     0 ns
  tier 1 reads             8        3     0 ns     0 ns     0 ns     0 ns
  tier 1 writes            2        0     0 ns     0 ns     0 ns     0 ns";
    assert_eq!(format!("{before} entries, .. of tables{after}"), expected, "{report}");
}

#[test]
fn without_counting_the_report_says_what_is_known() {
    let cache: Cache<u64, u64> = Cache::builder().capacity(10).build().unwrap();
    cache.insert(1, 1).wait().unwrap();
    cache.get_with(&2, async || 2).wait().unwrap();
    let metrics = cache.metrics();
    assert_eq!((metrics.entries, metrics.loads.took.count, metrics.calls.computed), (2, 0, 0));
    assert_eq!(metrics.hit_ratio(), None);
    let report = cache.report();
    assert!(report.starts_with("cache\n  memory   2 of 10 entries, "), "{report}");
    assert!(report.ends_with("\n  nothing is counted: `Builder::stats(true)`"), "{report}");
}
