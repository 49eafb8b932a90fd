//! What a cache promises over whatever tier lies below it.

use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Waker};
use std::time::{Duration, Instant};

use nanotier::testing::{Fake, Fault, Op};
use nanotier::tier::conformance::Outcome;
use nanotier::{AnyTier, Cache, ErrorKind, Freshness, Hands, Json, Tier, Ttl};

use crate::tiers::Keeps;

/// A cache over a fresh tier that can be watched, held up and broken.
pub(crate) struct World {
    pub(crate) keeps: Keeps,
    tier: Fake,
    hands: Hands,
    loads: Arc<AtomicUsize>,
}

pub(crate) type Promise = (&'static str, fn(&World) -> Outcome);

macro_rules! all {
    ($($name:ident)*) => {
        &[$((stringify!($name), $name as fn(&World) -> Outcome)),*]
    };
}

/// Every promise of a cache over one tier.
pub(crate) const PROMISES: &[Promise] = all! {
    a_value_is_loaded_once_and_found_again
    the_caches_ttl_counts_where_a_call_says_none
    memory_answers_what_it_was_told_until_it_is_written
    a_read_held_up_across_a_write_publishes_nothing_older
    a_write_to_another_key_disturbs_no_read
    what_another_cache_writes_is_seen_after_recheck
    an_error_is_told_as_it_is_and_nothing_is_tried_again
    a_failed_write_leaves_nothing_in_memory
    a_call_that_nobody_polls_asks_nobody_and_loads_nothing
    a_slow_read_is_given_up_in_time_and_loads_nothing
    each_call_asks_the_tier_once
    a_tier_that_refuses_a_configuration_says_so_before_it_is_used
};

const TTL: Duration = Duration::from_secs(10);
const KEEPS_NOTHING: Outcome = Outcome::Skipped("it keeps nothing");

impl World {
    pub(crate) fn new(tier: AnyTier, keeps: Keeps) -> Self {
        let tier = Fake::over(tier);
        Self { keeps, hands: tier.hands(), tier, loads: Arc::default() }
    }

    fn keeps_nothing(&self) -> bool {
        self.keeps == Keeps::Nothing
    }

    /// A cache whose memory holds so much.
    fn cache(&self, capacity: u64) -> Cache<String, String> {
        self.tier.cache().capacity(capacity).ttl(TTL).build().unwrap()
    }

    /// Reads are done, but not answered, until the tier is healed.
    fn hold_answers(&self) {
        self.tier.faults().add(Fault::hold_answer().reads());
    }

    /// So many calls fail from now on, without reaching the tier.
    fn fail_next(&self, calls: u64) {
        self.tier.faults().heal();
        self.tier.faults().add(Fault::fail(ErrorKind::Storage).first(calls));
    }

    /// A loader that is counted, and brings its number.
    fn loader(&self) -> impl FnOnce() -> Ready<String> + Send + use<> {
        let loads = self.loads.clone();
        move || ready(format!("load {}", loads.fetch_add(1, SeqCst) + 1))
    }

    fn loads(&self) -> usize {
        self.loads.load(SeqCst)
    }
}

fn poll(future: &mut (impl Future + Unpin)) -> bool {
    std::pin::Pin::new(future).poll(&mut TaskContext::from_waker(Waker::noop())).is_ready()
}

/// Without memory: the tier has what was loaded, whoever asks. Over one that keeps nothing each call loads.
fn a_value_is_loaded_once_and_found_again(world: &World) -> Outcome {
    let cache = world.cache(0);
    let load = |expected: &str| {
        assert_eq!(cache.get_with("k", world.loader()).wait().unwrap(), expected);
    };
    load("load 1");
    load(if world.keeps_nothing() { "load 2" } else { "load 1" });
    Outcome::Kept
}

/// A call that says no lifetime gets the cache's, in memory and below alike; for ever is said, not meant by a number.
fn the_caches_ttl_counts_where_a_call_says_none(world: &World) -> Outcome {
    let (with, without) = (world.cache(100), world.cache(0));
    with.insert("insert".into(), "value".into()).wait().unwrap();
    with.insert_for("default".into(), "value".into(), Ttl::Default).wait().unwrap();
    with.insert_many([("many".into(), "value".into())]).wait().unwrap().remove(0).unwrap();
    with.get_with("load", world.loader()).wait().unwrap();
    with.insert_for("for ever".into(), "value".into(), Ttl::Forever).wait().unwrap();
    let keys = ["insert", "default", "many", "load", "for ever"];
    let there = |cache: &Cache<String, String>| keys.map(|key| cache.get(key).wait().unwrap().is_some());
    world.hands.advance(TTL - Duration::from_millis(1));
    assert_eq!(there(&with), [true; 5], "to the end");
    assert_eq!(there(&without), [!world.keeps_nothing(); 5], "in the tier too");
    world.hands.advance(Duration::from_millis(1));
    assert_eq!(there(&with), [false, false, false, false, true], "and no longer");
    assert_eq!(there(&without), [false, false, false, false, !world.keeps_nothing()]);
    Outcome::Kept
}

/// Memory answers repeated reads by itself; every call that changes the value changes what memory answers.
fn memory_answers_what_it_was_told_until_it_is_written(world: &World) -> Outcome {
    if world.keeps_nothing() {
        return KEEPS_NOTHING;
    }
    let cache = world.cache(100);
    let put = |value: &str| cache.insert("k".into(), value.into()).wait().unwrap();
    let get = || cache.get("k").wait().unwrap();
    put("0");
    cache.clear_memory();
    let reads = world.tier.total(Op::Read);
    for _ in 0..10 {
        assert_eq!(get().as_deref(), Some("0"));
    }
    assert_eq!(world.tier.total(Op::Read) - reads, 1, "the first one asked");
    put("1");
    assert_eq!(get().as_deref(), Some("1"));
    cache.insert_many([("k".into(), "2".into())]).wait().unwrap().remove(0).unwrap();
    assert_eq!(get().as_deref(), Some("2"));
    assert!(cache.touch("k", Ttl::Forever).wait().unwrap());
    assert_eq!(get().as_deref(), Some("2"));
    if let Ok(taken) = cache.take("k").wait() {
        assert_eq!((taken.as_deref(), get()), (Some("2"), None));
    }
    type Removal = fn(&Cache<String, String>);
    let removals: [Removal; 3] = [
        |cache| cache.remove("k").wait().unwrap(),
        |cache| cache.remove_many(["k"]).wait().unwrap().remove(0).unwrap(),
        |cache| cache.clear().wait().unwrap(),
    ];
    for remove in removals {
        put("again");
        remove(&cache);
        assert_eq!(get(), None);
    }
    Outcome::Kept
}

/// A read that was held up below while a write was done answers either, but memory keeps the new value.
fn a_read_held_up_across_a_write_publishes_nothing_older(world: &World) -> Outcome {
    if world.keeps_nothing() {
        return KEEPS_NOTHING;
    }
    let cache = world.cache(100);
    for remove in [false, true] {
        cache.insert("k".into(), "old".into()).wait().unwrap();
        cache.clear_memory();
        world.hold_answers();
        let mut read = Box::pin(cache.get("k"));
        assert!(!poll(&mut read), "held up");
        world.tier.faults().heal();
        if remove {
            cache.remove("k").wait().unwrap();
        } else {
            cache.insert("k".into(), "new".into()).wait().unwrap();
        }
        assert_eq!(
            nanotier::tier::waiting::block_on(read).unwrap().as_deref(),
            Some("old"),
            "it began before"
        );
        let resident = cache.resident("k").map(|(value, _)| value);
        assert_eq!(resident.as_deref(), (!remove).then_some("new"));
        assert_eq!(cache.get("k").wait().unwrap().as_deref(), (!remove).then_some("new"));
    }
    Outcome::Kept
}

/// What a read brings is kept, whatever was written to other keys meanwhile.
fn a_write_to_another_key_disturbs_no_read(world: &World) -> Outcome {
    if world.keeps_nothing() {
        return KEEPS_NOTHING;
    }
    let cache = world.cache(100);
    cache.insert("k".into(), "value".into()).wait().unwrap();
    cache.clear_memory();
    world.hold_answers();
    let mut read = Box::pin(cache.get("k"));
    assert!(!poll(&mut read), "held up");
    world.tier.faults().heal();
    for n in 0..100 {
        cache.insert(format!("other {n}"), "value".into()).wait().unwrap();
    }
    cache.remove("other 1").wait().unwrap();
    world.hands.advance(Duration::from_millis(1));
    assert_eq!(nanotier::tier::waiting::block_on(read).unwrap().as_deref(), Some("value"));
    assert_eq!(cache.resident("k").map(|(value, _)| value).as_deref(), Some("value"));
    Outcome::Kept
}

/// Two caches over one tier: what one holds in memory it may answer for `recheck`, and no longer.
fn what_another_cache_writes_is_seen_after_recheck(world: &World) -> Outcome {
    if world.keeps_nothing() {
        return KEEPS_NOTHING;
    }
    let (ours, theirs) = (world.cache(100), world.cache(100));
    let for_ever = |cache: &Cache<String, String>, value: &str| {
        cache.insert_for("k".into(), value.into(), Ttl::Forever).wait().unwrap();
    };
    for_ever(&theirs, "first");
    assert_eq!(ours.get("k").wait().unwrap().as_deref(), Some("first"));
    world.hands.advance(Duration::from_secs(1));
    for_ever(&theirs, "second");
    let resident = ours.get("k").detailed().wait().unwrap();
    assert_eq!(
        (resident.value.as_deref(), resident.freshness),
        (Some("first"), Freshness::Fresh),
        "the window"
    );
    world.hands.advance(Duration::from_secs(60));
    assert_eq!(ours.get("k").wait().unwrap().as_deref(), Some("second"));
    Outcome::Kept
}

/// An error of the tier comes up as it is, after one call; nothing of it is kept, and the next call goes well.
fn an_error_is_told_as_it_is_and_nothing_is_tried_again(world: &World) -> Outcome {
    let cache = world.cache(100);
    type Call = fn(&Cache<String, String>) -> nanotier::Result<()>;
    let calls: [(&str, Call); 8] = [
        ("get", |cache| cache.get("k").wait().map(drop)),
        ("get_many", |cache| cache.get_many(["k"]).wait()?.remove(0).map(drop)),
        ("contains", |cache| cache.contains("k").wait().map(drop)),
        ("insert", |cache| cache.insert("k".into(), "value".into()).wait()),
        ("remove", |cache| cache.remove("k").wait()),
        ("take", |cache| cache.take("k").wait().map(drop)),
        ("touch", |cache| cache.touch("k", Ttl::Forever).wait().map(drop)),
        ("clear", |cache| cache.clear().wait()),
    ];
    for (name, call) in calls {
        cache.clear_memory();
        for _ in 0..2 {
            let before = world.tier.round_trips();
            world.fail_next(1);
            let error = call(&cache).expect_err(name);
            let told = (error.kind(), error.tier());
            assert_eq!(told, (ErrorKind::Storage, world.tier.inner().name()), "{name}");
            assert_eq!(world.tier.round_trips() - before, 1, "{name} was tried again");
        }
        call(&cache).unwrap_or_else(|error| panic!("{name} once it works: {error}"));
    }
    // A load does without the tier.
    cache.remove("k").wait().unwrap();
    world.fail_next(2);
    assert_eq!(cache.get_with("k", world.loader()).wait().unwrap(), "load 1");
    Outcome::Kept
}

/// After a write that failed memory answers neither the older value nor the one that may not be there.
fn a_failed_write_leaves_nothing_in_memory(world: &World) -> Outcome {
    let cache = world.cache(100);
    type Call = fn(&Cache<String, String>) -> nanotier::Result<()>;
    let calls: [Call; 6] = [
        |cache| cache.insert("k".into(), "new".into()).wait(),
        |cache| cache.insert_many([("k".into(), "new".into())]).wait()?.remove(0),
        |cache| cache.remove("k").wait(),
        |cache| cache.remove_many(["k"]).wait()?.remove(0),
        |cache| cache.take("k").wait().map(drop),
        |cache| cache.clear().wait(),
    ];
    for call in calls {
        cache.insert("k".into(), "old".into()).wait().unwrap();
        assert!(cache.resident("k").is_some());
        world.fail_next(1);
        assert!(call(&cache).is_err());
        assert_eq!(cache.resident("k"), None);
        // The tier did nothing: what it holds is answered.
        assert_eq!(cache.get("k").wait().unwrap().is_some(), !world.keeps_nothing());
    }
    Outcome::Kept
}

/// Who asks and goes away before anything was done has asked for nothing.
fn a_call_that_nobody_polls_asks_nobody_and_loads_nothing(world: &World) -> Outcome {
    let cache = world.cache(100);
    drop(cache.get("k"));
    drop(cache.get_many(["k"]));
    drop(cache.contains("k"));
    drop(cache.time_left("k"));
    drop(cache.get_with("k", world.loader()));
    assert_eq!((world.tier.round_trips(), world.loads()), (0, 0));
    Outcome::Kept
}

/// Who waits for a limited time gets an error when it is over, however long the tier takes; the loader does not run meanwhile,
/// and nothing is written.
fn a_slow_read_is_given_up_in_time_and_loads_nothing(world: &World) -> Outcome {
    let cache = world.cache(100);
    world.hold_answers();
    let limit = Duration::from_millis(30);
    let begun = Instant::now();
    let loaded = cache.get_with("k", world.loader()).wait_for(limit);
    assert_eq!(loaded.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(cache.get("k2").wait_for(limit).unwrap_err().kind(), ErrorKind::Timeout);
    // Much: the machine may have other things to do.
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!((world.loads(), world.tier.total(Op::Fill)), (0, 0));
    world.tier.faults().heal();
    world.tier.run(); // the load belongs to the cache, and goes on
    assert_eq!(world.loads(), 1);
    Outcome::Kept
}

/// One call of a cache is one call of the tier.
fn each_call_asks_the_tier_once(world: &World) -> Outcome {
    let cache = world.cache(0);
    type Call = fn(&Cache<String, String>);
    let calls: [(&str, Call, u64); 9] = [
        ("get", |cache| drop(cache.get("k").wait().unwrap()), 1),
        ("get_many", |cache| drop(cache.get_many(["k", "l", "m"]).wait().unwrap()), 1),
        ("contains", |cache| _ = cache.contains("k").wait().unwrap(), 1),
        ("time_left", |cache| _ = cache.time_left("k").wait().unwrap(), 1),
        ("insert", |cache| cache.insert("k".into(), "v".into()).wait().unwrap(), 1),
        (
            "insert_many",
            |cache| drop(cache.insert_many([("k".into(), "v".into()), ("l".into(), "v".into())]).wait()),
            1,
        ),
        ("remove", |cache| cache.remove("k").wait().unwrap(), 1),
        ("take", |cache| drop(cache.take("k").wait()), 1),
        ("clear", |cache| cache.clear().wait().unwrap(), 1),
    ];
    for (name, call, expected) in calls {
        let before = world.tier.round_trips();
        call(&cache);
        assert_eq!(world.tier.round_trips() - before, expected, "{name}");
    }
    // A load looks, and fills.
    let before = world.tier.round_trips();
    cache.get_with("new", world.loader()).wait().unwrap();
    assert_eq!(world.tier.round_trips() - before, 2, "a load");
    Outcome::Kept
}

/// What cannot work is said by `build()`, and the tier was not touched.
fn a_tier_that_refuses_a_configuration_says_so_before_it_is_used(world: &World) -> Outcome {
    let builder = || Cache::<String, String>::builder().clock(world.tier.clock());
    let refused = [
        builder().tiers(world.tier.tier()).codec(Json::default()).build(),
        builder().tiers(world.tier.tier()).namespace("kit").build(),
        builder().tiers(world.tier.tier()).namespace("").codec(Json::default()).build(),
        builder().tiers(world.tier.tier()).namespace("a*").codec(Json::default()).build(),
        builder()
            .tiers(world.tier.tier())
            .namespace("kit")
            .codec(Json::default())
            .ttl(Duration::ZERO)
            .build(),
        builder()
            .tiers(world.tier.tier())
            .namespace("kit")
            .codec(Json::default())
            .recheck(Duration::ZERO)
            .build(),
    ];
    for answer in refused {
        let kind = answer.expect_err("it cannot work").kind();
        assert!(matches!(kind, ErrorKind::Config | ErrorKind::InvalidName), "{kind:?}");
    }
    assert_eq!(world.tier.round_trips(), 0);
    Outcome::Kept
}
